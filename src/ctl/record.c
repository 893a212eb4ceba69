/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Record: see record.h; the format is memlego-trace(5).
 *
 * Rows are written where demand changed by enough to matter, or the guest had to wait for memory: a quiet
 * guest costs nothing. Guests that never told what they use are left out. */
#include "ctl/record.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "ctl/client.h"
#include "ctl/ctl.h"
#include "ctl/snapshot.h"
#include "ctl/text.h"
#include "memlego/sample.h"
#include "util/util.h"

/* Guests' figures tremble by some 100 KiB when nothing happens; a thousandth of a guest no policy cares for. */
#define CHANGE_KIB 256
#define CHANGE_PART 1024

/* As often as memlegoctl's other watchers: a memlegod that hangs is told in the trace. */
#define PATIENCE_USEC MLG_USEC_PER_SEC

typedef struct Known {
        unsigned int number;
        uint64_t demand_kib;
        bool gone;
        uint64_t seen_usec; /* in which round */
} Known;

typedef struct Recorder {
        const MlgArgs *args;
        MlgClient *client;    /* NULL: to be connected anew */
        FILE *file;
        GHashTable *guests;   /* UUID -> Known */
        uint64_t start_usec, now_usec;
        bool silent;          /* no answer; noted already */
} Recorder;

static uint64_t at_sec(const Recorder *r) {
        return (r->now_usec - r->start_usec + MLG_USEC_PER_SEC / 2) / MLG_USEC_PER_SEC;
}

static MlgSnapshot *take_snapshot(Recorder *r, uint64_t patience_usec, GError **error) {
        g_autofree char *text = NULL;
        MlgSnapshot *s;

        if (!r->client)
                r->client = mlg_client_open(r->args->address, patience_usec, error);
        if (!r->client)
                return NULL;
        text = mlg_client_dump(r->client, error);
        s = text ? mlg_snapshot_parse(text, error) : NULL;
        if (!s)
                r->client = mlg_client_free(r->client); /* a connection that broke does not come back */
        return s;
}

/* In one line, and neither empty nor longer than a reader takes. */
static char *name_of(const MlgCtlGuest *g) {
        char *name = g_strstrip(mlg_text_escape(*g->name ? g->name : g->uuid, MLG_TEXT_LINE, true));
        const char *end;

        if (strlen(name) > MLG_NAME_MAX && !g_utf8_validate(name, MLG_NAME_MAX, &end))
                name[end - name] = '\0';
        name[mlg_min(strlen(name), MLG_NAME_MAX)] = '\0';
        return name;
}

static Known *get_known(Recorder *r, const MlgCtlGuest *g) {
        Known *k = g_hash_table_lookup(r->guests, g->uuid);
        g_autofree char *name = NULL;

        if (k)
                return k;
        k = g_new0(Known, 1);
        k->number = g_hash_table_size(r->guests);
        k->gone = true;
        name = name_of(g);
        (void) fprintf(r->file, "guest %u %" PRIu64 " %s\n", k->number, g->maximum_kib, *name ? name : "-");
        g_hash_table_insert(r->guests, g_strdup(g->uuid), k);
        return k;
}

static void write_guest(Recorder *r, const MlgCtlGuest *g) {
        bool runs = g_str_equal(g->run_state, "running"),
             waits = g->stall_some_permille > 0 || g->swap_in_kib_per_sec > 0;
        Known *k;

        if (g->sample_age_usec == UINT64_MAX || g->maximum_kib == 0 || !runs)
                return; /* one that does not run any more is found by what is missing */
        k = get_known(r, g);
        k->seen_usec = r->now_usec;
        if (!k->gone && !waits &&
            mlg_abs_diff(k->demand_kib, g->used_kib) < mlg_max(CHANGE_KIB, g->maximum_kib / CHANGE_PART))
                return;
        k->gone = false;
        k->demand_kib = g->used_kib;
        (void) fprintf(r->file, "%" PRIu64 " %u %" PRIu64, at_sec(r), k->number, g->used_kib);
        if (waits)
                (void) fprintf(r->file, " %" PRIu64 " %" PRIu64, mlg_min(g->stall_some_permille, 1000),
                               g->swap_in_kib_per_sec);
        (void) fputc('\n', r->file);
}

static void write_gone(Recorder *r) {
        GHashTableIter i;
        void *value;

        g_hash_table_iter_init(&i, r->guests);
        while (g_hash_table_iter_next(&i, NULL, &value)) {
                Known *k = value;

                if (k->gone || k->seen_usec == r->now_usec)
                        continue;
                k->gone = true;
                (void) fprintf(r->file, "%" PRIu64 " %u -\n", at_sec(r), k->number);
        }
}

static void write_round(Recorder *r, const MlgSnapshot *s) {
        if (r->silent)
                (void) fprintf(r->file, "# it answers again at second %" PRIu64 "\n", at_sec(r));
        r->silent = false;
        if (!s->host.connected)
                return; /* memlegod itself does not see the guests */
        for (size_t i = 0; i < s->n_guests; i++)
                write_guest(r, &s->guests[i]);
        write_gone(r);
}

static void look(Recorder *r) {
        MlgSnapshot *s = take_snapshot(r, PATIENCE_USEC, NULL);

        if (s)
                write_round(r, s);
        else if (!r->silent) {
                r->silent = true;
                (void) fprintf(r->file, "# memlegod does not answer from second %" PRIu64 " on\n",
                               at_sec(r));
        }
        mlg_snapshot_free(s);
}

/* False: a signal came. */
static bool wait_until(uint64_t until_usec, const sigset_t *signals) {
        uint64_t left = mlg_sub_sat(until_usec, (uint64_t) g_get_monotonic_time());
        struct timespec ts = { .tv_sec = (time_t) (left / MLG_USEC_PER_SEC),
                               .tv_nsec = (long) (left % MLG_USEC_PER_SEC) * 1000 };

        return sigtimedwait(signals, NULL, &ts) < 0; /* EINTR: too early, once, after ctrl-Z */
}

static bool write_error(const Recorder *r, GError **error) {
        g_set_error(error, MLG_CTL_ERROR, MLG_EXIT_FAILED, "cannot write %s: %s", r->args->output,
                    g_strerror(errno));
        return false;
}

static bool loop(Recorder *r, const sigset_t *signals, GError **error) {
        uint64_t end_usec = r->args->duration_usec ? r->start_usec + r->args->duration_usec : UINT64_MAX;
        uint64_t next_usec = r->start_usec;
        bool goes_on;

        do {
                next_usec += r->args->interval_usec;
                goes_on = wait_until(mlg_min(next_usec, end_usec), signals);
                r->now_usec = mlg_min((uint64_t) g_get_monotonic_time(), end_usec);
                if (goes_on && r->now_usec < end_usec)
                        look(r);
                if (fflush(r->file) != 0)
                        return write_error(r, error);
        } while (goes_on && r->now_usec < end_usec);
        (void) fprintf(r->file, "end %" PRIu64 "\n", mlg_max(at_sec(r), 1));
        return true;
}

static bool begin(Recorder *r, const MlgSnapshot *s, GError **error) {
        r->file = g_str_equal(r->args->output, "-") ? stdout : fopen(r->args->output, "we");
        if (!r->file)
                return write_error(r, error);
        r->start_usec = r->now_usec = (uint64_t) g_get_monotonic_time();
        (void) fprintf(r->file,
                       "memlego-trace 1\n# by memlegoctl " MLG_VERSION ", policy %s\nstart %" PRIi64 "\n",
                       g_str_is_ascii(s->host.policy) && !strpbrk(s->host.policy, "\r\n") ? s->host.policy
                                                                                          : "-",
                       g_get_real_time() / G_USEC_PER_SEC);
        if (s->host.total_kib > 0)
                (void) fprintf(r->file, "host %" PRIu64 "\n", s->host.total_kib);
        write_round(r, s);
        return true;
}

bool mlg_record_run(const MlgArgs *args, GError **error) {
        Recorder r = { .args = args,
                       .guests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free) };
        MlgSnapshot *s = take_snapshot(&r, MLG_CLIENT_PATIENCE_USEC, error);
        sigset_t signals;
        bool ok;

        sigemptyset(&signals);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigaddset(&signals, SIGHUP);
        (void) sigprocmask(SIG_BLOCK, &signals, NULL);
        /* Nothing is overwritten before there is something to write. */
        ok = s && begin(&r, s, error);
        mlg_snapshot_free(s);
        if (r.client)
                mlg_client_set_patience(r.client, PATIENCE_USEC);
        ok = ok && loop(&r, &signals, error);
        if (r.file && (r.file == stdout ? fflush(r.file) : fclose(r.file)) != 0 && ok)
                ok = write_error(&r, error);
        mlg_client_free(r.client);
        g_hash_table_unref(r.guests);
        return ok;
}
