/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt: the adapter's side on the loop: what is known of each guest, one poll at a time, one connection
 * that listens.
 *
 * Invariants:
 * (1) No call of libvirt's is made here: workers make them (libvirt-calls.c), each with its own connection.
 * (2) A QEMU that stops answering blocks the first call that reaches it without limit, even a bulk read that
 *     asks not to wait. That call is parked at its deadline; as it holds the guest's job, later bulk reads
 *     pass the guest by and come back in milliseconds. Hence a poll tries again at once when half of its
 *     remaining time is over, and a guest that hangs mostly parks one thread; at worst one for each call
 *     that is under way to it when it stops: a poll, a look, a target, a statistics period, a question for
 *     its job.
 * (3) A guest that did not answer, or has a call that hangs, is sent nothing until a poll had its answer. A
 *     call of ours holds the guest's job too, and a poll passes it by: that is no silence.
 * (4) State is read, never concluded: an event only says that a guest must be read anew; polls find what
 *     events missed.
 *
 * Migration: QEMU tells the start of each pass over the memory, the first at its very start; the end is told
 * when it succeeded. For a failed one, and one that was under way when the adapter started, no event exists:
 * marked guests are asked each other second, and an unmarked one shows up with its next pass. */
#include "hypervisor/libvirt.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>

#include <glib.h>

#include "hypervisor/libvirt-calls.h"
#include "hypervisor/libvirt-events.h"
#include "hypervisor/workers.h"
#include "util/util.h"

#define WORKERS_MAX 16
#define PARKED_MAX 8     /* with the workers less than the 20 calls that libvirtd serves at a time */
#define QUEUED_MAX 16384 /* libvirt's own limit of guests: each may have to be read anew */

#define CONNECT_TIMEOUT_USEC (60 * MLG_USEC_PER_SEC) /* libvirtd may have to probe QEMU first */
#define BACKOFF_MAX_SEC 30

/* A poll is not tried again with less than this: a bulk read of few guests takes some 25 ms, of 40 guests 60
 * ms. */
#define ATTEMPT_MIN_USEC (100 * 1000)

#define JOB_CHECK_USEC (2 * MLG_USEC_PER_SEC)

typedef struct Guest {
        MlgGuestInfo info;   /* as it was reported last */
        bool reported;
        bool seen;           /* by the list or the poll that is looked at */
        bool stale;          /* must be read anew */
        bool reading;
        bool silent;         /* see (3) */
        bool passed_by;      /* by the poll that is looked at, because of a call of ours */
        bool late;           /* a call to it passed its deadline; until *calls is 0 it still hangs */
        gint *calls;         /* to this guest, not yet returned; shared with the threads */
        uint64_t answered_usec; /* when the last call to it came back well */
        bool job;            /* its memory is being copied */
        unsigned job_events; /* that said so */
        bool job_checking;
        uint64_t job_checked_usec;
} Guest;

/* A callback that is due in the next dispatch. */
typedef struct Reply {
        int r;
        char *why;
        MlgDoneFn fn; /* one of these two */
        MlgLookFn look;
        void *userdata;
} Reply;

typedef struct Libvirt {
        MlgHypervisor base; /* must stay first */
        MlgPollable pollable;
        char *uri;
        uint64_t call_timeout_usec;
        MlgWorkers *workers;
        GHashTable *guests;       /* uuid -> Guest */
        GQueue replies;           /* Reply */

        MlgLibvirtEvents *events; /* NULL: not connected */
        unsigned epoch;           /* counts connections: results from before are dropped */
        GQueue unclosed;          /* MlgLibvirtEvents: no thread was free to close them; shut */
        bool connecting;
        bool told_failure;        /* on_connection(false) was the last word */
        unsigned backoff_sec;
        uint64_t connect_at_usec;

        bool polling;
        bool poll_refused;        /* answered in the next dispatch, with poll_error */
        int poll_error;
        uint64_t poll_deadline_usec;
        uint64_t attempt_usec;    /* when the bulk read under way was asked for */
        uint64_t bulk_took_usec;  /* by the last one that came back well */
        bool poll_timed_out;      /* the last one, all attempts of it */
        MlgPollFn poll_fn;
        void *poll_userdata;
} Libvirt;

/* What a worker works on. Each kind of job uses some of it; a job never touches the adapter. */
typedef struct CallData {
        char uuid[MLG_UUID_LEN + 1];
        uint64_t value;
        gint *calls;
        char *uri;
        int wake_fd;
        char *why;
        MlgGuestInfo info;
        MlgRawStats raw;
        bool flag;
        GArray *array;
        MlgLibvirtEvents *events;
} CallData;

/* Whom a job was for. */
typedef struct Ticket {
        Libvirt *l;
        unsigned epoch;
        char uuid[MLG_UUID_LEN + 1];
        MlgDoneFn fn; /* one of these two */
        MlgLookFn look;
        void *userdata;
        unsigned job_events;       /* of the guest, when it was asked for its job */
        MlgLibvirtEvents *closing; /* the thread's from when it begins */
} Ticket;

static uint64_t now_usec(void) {
        return (uint64_t) g_get_monotonic_time();
}

static uint64_t deadline_or_default(const Libvirt *l, uint64_t deadline_usec) {
        if (deadline_usec == 0 || deadline_usec == MLG_USEC_NEVER)
                return now_usec() + l->call_timeout_usec;
        return deadline_usec;
}

static Guest *guest_new(const char *uuid) {
        Guest *g = g_new0(Guest, 1);

        (void) g_strlcpy(g->info.uuid, uuid, sizeof(g->info.uuid));
        g->calls = g_atomic_rc_box_new0(gint);
        return g;
}

static void guest_free(gpointer data) {
        Guest *g = data;

        g_atomic_rc_box_release(g->calls);
        g_free(g);
}

static Guest *guest_get(Libvirt *l, const char *uuid) {
        return g_hash_table_lookup(l->guests, uuid);
}

static Guest *guest_add(Libvirt *l, const char *uuid) {
        Guest *g = guest_new(uuid);

        g_hash_table_insert(l->guests, g->info.uuid, g);
        return g;
}

static bool is_late(Guest *g) {
        g->late = g->late && g_atomic_int_get(g->calls) > 0;
        return g->late;
}

static bool guest_hangs(Guest *g) {
        return is_late(g) || g->silent;
}

/* Frees what the job still owns. events is closed by a job of its own: closing blocks. */
static void call_data_free(void *userdata) {
        CallData *d = userdata;

        if (d->calls) {
                (void) g_atomic_int_dec_and_test(d->calls);
                g_atomic_rc_box_release(d->calls);
        }
        mlg_close_fd(&d->wake_fd);
        if (d->array)
                g_array_unref(d->array);
        g_free(d->uri);
        g_free(d->why);
        g_free(d);
}

static CallData *call_data_new(const char *uuid) {
        CallData *d = g_new0(CallData, 1);

        d->wake_fd = -1;
        if (uuid)
                (void) g_strlcpy(d->uuid, uuid, sizeof(d->uuid));
        return d;
}

/* Takes d and ticket in any case. */
static int submit(Libvirt *l, MlgJobRunFn run, CallData *d, MlgJobDoneFn done, Ticket *ticket,
                  uint64_t deadline_usec, bool urgent) {
        MlgJob job = {
                .run = run, .done = done, .data = d, .data_free = call_data_free, .userdata = ticket,
                .deadline_usec = deadline_usec, .urgent = urgent,
        };
        int r = mlg_workers_submit(l->workers, &job);

        if (r < 0) {
                call_data_free(d);
                g_free(ticket);
        }
        return r;
}

static Ticket *ticket_new(Libvirt *l, const char *uuid) {
        Ticket *t = g_new0(Ticket, 1);

        t->l = l;
        t->epoch = l->epoch;
        if (uuid)
                (void) g_strlcpy(t->uuid, uuid, sizeof(t->uuid));
        return t;
}

/* What was asked before the connection was made anew tells nothing of the new one. */
static bool is_current(const Ticket *t) {
        return t->epoch == t->l->epoch;
}

static void report(Libvirt *l, Guest *g) {
        g->reported = true;
        l->base.callbacks->on_guest(&g->info, l->base.userdata);
}

static void forget(Libvirt *l, const char *uuid) {
        g_autofree char *key = g_strdup(uuid); /* uuid may be the guest's own */
        Guest *g = guest_get(l, key);
        bool reported = g && g->reported;

        (void) g_hash_table_remove(l->guests, key);
        if (reported)
                l->base.callbacks->on_guest_gone(key, l->base.userdata);
}

/* --- losing the connection --- */

static int run_close(void *context, void *data) {
        CallData *d = data;

        d->events = mlg_libvirt_events_close(d->events);
        return 0;
}

/* A close that was begun is the thread's, however long it takes. */
static void on_closed(int r, void *data, void *userdata) {
        g_autofree Ticket *t = userdata;

        if (r == -ETIME)
                g_queue_push_tail(&t->l->unclosed, t->closing);
}

/* Closing blocks: this is left to a worker. */
static int submit_close(Libvirt *l, MlgLibvirtEvents *events) {
        CallData *d = call_data_new(NULL);
        Ticket *t = ticket_new(l, NULL);

        d->events = t->closing = events;
        return submit(l, run_close, d, on_closed, t, now_usec() + CONNECT_TIMEOUT_USEC, true);
}

static void close_events(Libvirt *l, MlgLibvirtEvents *events) {
        if (!events)
                return;
        mlg_libvirt_events_shut(events);
        if (submit_close(l, events) < 0)
                g_queue_push_tail(&l->unclosed, events);
}

/* Not one thread was left then; each that comes back wakes the adapter. */
static void close_unclosed(Libvirt *l) {
        while (l->unclosed.length > 0 && submit_close(l, l->unclosed.head->data) >= 0)
                (void) g_queue_pop_head(&l->unclosed);
}

static void connect_later(Libvirt *l) {
        l->connect_at_usec = now_usec() + l->backoff_sec * MLG_USEC_PER_SEC;
        l->backoff_sec = MIN(l->backoff_sec * 2, BACKOFF_MAX_SEC);
}

static void lost(Libvirt *l, const char *why) {
        g_autofree char *reason = g_strdup(why); /* may belong to what is freed here */

        if (!l->events)
                return;
        l->epoch++;
        close_events(l, g_steal_pointer(&l->events));
        connect_later(l);
        l->told_failure = true;
        l->base.callbacks->on_connection(false, reason ?: "connection to libvirt lost", l->base.userdata);
}

/* --- reading one guest anew --- */

static int run_read(void *context, void *data) {
        CallData *d = data;

        return mlg_libvirt_read(context, d->uuid, &d->info, &d->why);
}

static void take_info(Libvirt *l, Guest *g, const MlgGuestInfo *from, bool always) {
        MlgGuestInfo info;
        bool changed;

        memcpy(&info, from, sizeof(info));
        if (info.instance != g->info.instance || info.run_state == MLG_RUN_OFF) {
                g->job = false;
                g->silent = false;
        }
        info.migrating |= g->job;
        /* Both are copies of a struct that was zeroed first: no difference in padding. */
        changed = memcmp(&info, &g->info, sizeof(info)) != 0;
        memcpy(&g->info, &info, sizeof(info));
        if (changed || always || !g->reported)
                report(l, g);
}

static void read_guest(Libvirt *l, Guest *g);

static void on_read(int r, void *data, void *userdata) {
        g_autofree Ticket *t = userdata;
        Libvirt *l = t->l;
        CallData *d = data;
        Guest *g = r == -ECANCELED || !is_current(t) ? NULL : guest_get(l, t->uuid);
        bool changed;

        if (!g)
                return;
        g->reading = false;
        changed = g->stale; /* while it was read */
        if (r == -ENOTCONN) {
                lost(l, d->why);
                return;
        }
        /* Taken although it has changed since: who changes its metadata again and again must not be able to
         * keep its facts from being known at all. */
        if (r >= 0 && strcmp(d->info.uuid, t->uuid) == 0)
                take_info(l, g, &d->info, false);
        if (changed && d)
                read_guest(l, g);
        else if (r == -ENODEV || (r == -EBADMSG && !g->reported))
                forget(l, t->uuid);
        else if (r < 0)
                g->stale = r != -EBADMSG; /* tried again with the next poll */
}

static void read_guest(Libvirt *l, Guest *g) {
        int r;

        g->stale = true;
        if (g->reading || !l->events)
                return;
        r = submit(l, run_read, call_data_new(g->info.uuid), on_read, ticket_new(l, g->info.uuid),
                   now_usec() + l->call_timeout_usec, false);
        if (r < 0)
                return; /* stays stale: the next poll tries again */
        g->stale = false;
        g->reading = true;
}

/* --- jobs that copy a guest's memory --- */

static void set_job(Libvirt *l, Guest *g, bool job) {
        g->job_events += job;
        if (g->job == job)
                return;
        g->job = job;
        g->job_checked_usec = now_usec();
        if (!job) {
                read_guest(l, g);
                return;
        }
        if (!g->info.migrating && g->reported) {
                g->info.migrating = true;
                report(l, g);
        }
}

static int run_has_job(void *context, void *data) {
        CallData *d = data;

        return mlg_libvirt_has_job(context, d->uuid, &d->flag, &d->why);
}

static void on_has_job(int r, void *data, void *userdata) {
        g_autofree Ticket *t = userdata;
        CallData *d = data;
        Guest *g = r == -ECANCELED || !is_current(t) ? NULL : guest_get(t->l, t->uuid);

        if (!g)
                return;
        g->job_checking = false;
        g->job_checked_usec = now_usec();
        if (g->job_events != t->job_events)
                return; /* the answer may be older than the job that was told of meanwhile */
        if (r == -ENODEV || (r == 0 && !d->flag))
                set_job(t->l, g, false);
}

static void check_job(Libvirt *l, Guest *g) {
        Ticket *t;
        int r;

        if (!g->job || g->job_checking || guest_hangs(g))
                return;
        if (now_usec() - g->job_checked_usec < JOB_CHECK_USEC)
                return;
        t = ticket_new(l, g->info.uuid);
        t->job_events = g->job_events;
        r = submit(l, run_has_job, call_data_new(g->info.uuid), on_has_job, t,
                   now_usec() + l->call_timeout_usec, false);
        g->job_checking = r >= 0;
}

/* --- making the connection --- */

static int run_connect(void *context, void *data) {
        CallData *d = data;
        int wake_fd = d->wake_fd;
        int r;

        d->wake_fd = -1;
        r = mlg_libvirt_events_open(d->uri, wake_fd, &d->events, &d->why);
        if (r < 0)
                return r;
        r = mlg_libvirt_list(mlg_libvirt_events_connection(d->events), &d->array, &d->why);
        if (r < 0)
                d->events = mlg_libvirt_events_close(d->events);
        return r;
}

/* A connection that was made too late, or is not wanted because the adapter ends: closing it takes up to a
 * dozen calls, which the pool leaves to a thread. At the end it may stay open, for the kernel to close. */
static void connect_data_free(void *userdata) {
        CallData *d = userdata;

        mlg_libvirt_events_close(d->events);
        call_data_free(d);
}

static void forget_unseen(Libvirt *l) {
        g_autoptr(GPtrArray) gone = g_ptr_array_new_with_free_func(g_free);
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, l->guests);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                Guest *g = value;

                if (!g->seen)
                        g_ptr_array_add(gone, g_strdup(g->info.uuid));
                g->seen = false;
        }
        for (guint i = 0; i < gone->len; i++)
                forget(l, gone->pdata[i]);
}

static void take_list(Libvirt *l, const GArray *infos) {
        for (guint i = 0; i < infos->len; i++) {
                const MlgGuestInfo *info = &g_array_index(infos, MlgGuestInfo, i);
                Guest *g = guest_get(l, info->uuid) ?: guest_add(l, info->uuid);

                g->seen = true;
                g->reading = g->stale = g->job = g->job_checking = false; /* old answers are dropped */
                take_info(l, g, info, true);
        }
        forget_unseen(l);
}

static void connected(Libvirt *l, CallData *d) {
        g_autofree char *why = g_strdup_printf("connected to %s, %u guests", l->uri, d->array->len);

        l->events = g_steal_pointer(&d->events);
        l->backoff_sec = 1;
        l->told_failure = false;
        l->base.callbacks->on_connection(true, why, l->base.userdata);
        take_list(l, d->array);
}

static void on_connected(int r, void *data, void *userdata) {
        g_autofree Ticket *t = userdata;
        Libvirt *l = t->l;
        CallData *d = data;
        const char *why;

        if (r == -ECANCELED)
                return;
        l->connecting = false;
        if (r >= 0) {
                connected(l, d);
                return;
        }
        connect_later(l);
        if (l->told_failure)
                return; /* each attempt fails the same way: said once */
        l->told_failure = true;
        why = d && d->why ? d->why : "libvirt does not answer";
        l->base.callbacks->on_connection(false, why, l->base.userdata);
}

static void connect_now(Libvirt *l) {
        CallData *d = call_data_new(NULL);
        MlgJob job = {
                .run = run_connect, .done = on_connected, .data = d, .data_free = connect_data_free,
                .deadline_usec = now_usec() + CONNECT_TIMEOUT_USEC,
        };

        l->connect_at_usec = MLG_USEC_NEVER;
        d->uri = g_strdup(l->uri);
        d->wake_fd = mlg_workers_dup_wake_fd(l->workers);
        job.userdata = ticket_new(l, NULL);
        if (d->wake_fd >= 0 && mlg_workers_submit(l->workers, &job) >= 0) {
                l->connecting = true;
                return;
        }
        g_free(job.userdata);
        call_data_free(d);
        connect_later(l);
}

/* --- events --- */

static void handle_event(Libvirt *l, const MlgLibvirtEvent *e) {
        const MlgHypervisorCallbacks *callbacks = l->base.callbacks;
        Guest *g = e->kind == MLG_LIBVIRT_EVENT_CLOSED ? NULL : guest_get(l, e->uuid);

        switch (e->kind) {
        case MLG_LIBVIRT_EVENT_CLOSED:
                lost(l, "libvirt closed the connection");
                return;
        case MLG_LIBVIRT_EVENT_CHANGED:
                read_guest(l, g ?: guest_add(l, e->uuid));
                return;
        case MLG_LIBVIRT_EVENT_BALLOON:
                if (g && g->reported)
                        callbacks->on_event(e->uuid, MLG_GUEST_EVENT_BALLOON, e->value, l->base.userdata);
                return;
        case MLG_LIBVIRT_EVENT_REBOOT:
                if (g && g->reported)
                        callbacks->on_event(e->uuid, MLG_GUEST_EVENT_REBOOT, 0, l->base.userdata);
                return;
        case MLG_LIBVIRT_EVENT_JOB:
        case MLG_LIBVIRT_EVENT_JOB_ENDED:
                if (g)
                        set_job(l, g, e->kind == MLG_LIBVIRT_EVENT_JOB);
                return;
        case _MLG_LIBVIRT_EVENT_MAX:
                return;
        }
}

static void handle_events(Libvirt *l) {
        g_autoptr(GArray) events = l->events ? mlg_libvirt_events_take(l->events) : NULL;

        for (guint i = 0; events && i < events->len && l->events; i++)
                handle_event(l, &g_array_index(events, MlgLibvirtEvent, i));
}

/* --- poll --- */

static int run_poll(void *context, void *data) {
        CallData *d = data;

        return mlg_libvirt_poll(context, &d->array, &d->why);
}

static bool is_active(MlgRunState s) {
        return s == MLG_RUN_RUNNING || s == MLG_RUN_PAUSED;
}

/* Our own calls explain why a poll passed the guest by: one that is under way and has time left, or one that
 * came back since the poll was asked for. */
static bool is_explained(const Libvirt *l, Guest *g) {
        return !is_late(g) && (g_atomic_int_get(g->calls) > 0 || g->answered_usec > l->attempt_usec);
}

/* Of a guest without balloon a poll asks QEMU nothing: it can only tell what libvirtd knows. */
static void take_answer(const Libvirt *l, Guest *g, const MlgLibvirtRecord *record) {
        bool passed_by = !record->answered && is_active(record->raw.run_state) && g->info.has_balloon;

        g->passed_by = passed_by && is_explained(l, g);
        g->silent = passed_by && !g->passed_by;
}

static void take_record(Libvirt *l, const MlgLibvirtRecord *record) {
        Guest *g = guest_get(l, record->uuid);
        bool migrating;

        if (!g || !g->reported || g->info.instance != record->instance) {
                g = g ?: guest_add(l, record->uuid);
                g->seen = true;
                read_guest(l, g);
                return;
        }
        g->seen = true;
        take_answer(l, g, record);
        migrating = record->migrating || g->job;
        if (g->info.run_state == record->raw.run_state && g->info.migrating == migrating)
                return;
        g->info.run_state = record->raw.run_state;
        g->info.migrating = migrating;
        report(l, g);
}

/* Guests that should be there and are not, and those whose last reading failed. */
static void read_missing(Libvirt *l) {
        GHashTableIter iter;
        gpointer value;

        g_hash_table_iter_init(&iter, l->guests);
        while (g_hash_table_iter_next(&iter, NULL, &value)) {
                Guest *g = value;

                if (g->stale || (!g->seen && g->info.run_state != MLG_RUN_OFF))
                        read_guest(l, g);
                g->seen = false;
        }
}

static void end_poll(Libvirt *l, int r, const GArray *records) {
        g_autofree MlgPollEntry *entries = NULL;
        guint n = r < 0 ? 0 : records->len, n_entries = 0;

        entries = g_new0(MlgPollEntry, n);
        for (guint i = 0; i < n; i++)
                take_record(l, &g_array_index(records, MlgLibvirtRecord, i));
        if (r >= 0)
                read_missing(l);
        for (guint i = 0; i < n; i++) {
                const MlgLibvirtRecord *record = &g_array_index(records, MlgLibvirtRecord, i);
                const Guest *g = guest_get(l, record->uuid);

                if (!g || !g->reported || g->info.instance != record->instance)
                        continue; /* it has not been introduced yet, or was started anew and is being read */
                if (g->passed_by)
                        continue;
                entries[n_entries++] = (MlgPollEntry) {
                        .uuid = record->uuid, .raw = g->silent ? NULL : &record->raw,
                };
        }
        l->polling = false;
        l->poll_fn(r, entries, n_entries, l->poll_userdata);
}

static void refuse_poll(Libvirt *l, int r) {
        l->poll_refused = true;
        l->poll_error = r;
}

static void attempt_poll(Libvirt *l);

static void on_polled(int r, void *data, void *userdata) {
        g_autofree Ticket *t = userdata;
        Libvirt *l = t->l;
        CallData *d = data;
        uint64_t left_usec;

        if (r == -ECANCELED)
                return;
        if (r == -ETIME)
                r = -ETIMEDOUT; /* for the caller it makes no difference which call hangs */
        left_usec = mlg_sub_sat(l->poll_deadline_usec, now_usec());
        if (r == -ETIMEDOUT && l->events && left_usec >= ATTEMPT_MIN_USEC) {
                attempt_poll(l);
                return;
        }
        if (r >= 0 && !is_current(t))
                r = -ENOTCONN; /* lost meanwhile: what is known of the guests is settled by the next list */
        if (r >= 0)
                l->bulk_took_usec = now_usec() - l->attempt_usec;
        l->poll_timed_out = r == -ETIMEDOUT;
        end_poll(l, r, d ? d->array : NULL);
        if (r == -ENOTCONN && is_current(t))
                lost(l, d ? d->why : NULL);
}

/* Half of the time that is left, so that one QEMU that stopped, or some that stop one after the other, leave
 * enough for an attempt that passes them by. But a bulk read that is merely slow must come to an end too: it
 * has at least twice what the last one took, and all there is after a poll whose attempts timed out. */
static uint64_t attempt_time_usec(const Libvirt *l, uint64_t left_usec) {
        uint64_t usec = mlg_max(mlg_max(left_usec / 2, ATTEMPT_MIN_USEC), 2 * l->bulk_took_usec);

        return l->poll_timed_out ? left_usec : mlg_min(usec, left_usec);
}

static void attempt_poll(Libvirt *l) {
        uint64_t now = now_usec();
        uint64_t attempt_usec = attempt_time_usec(l, mlg_sub_sat(l->poll_deadline_usec, now));
        int r;

        l->attempt_usec = now;
        r = submit(l, run_poll, call_data_new(NULL), on_polled, ticket_new(l, NULL),
                   mlg_add_sat(now, attempt_usec), true);
        if (r < 0)
                refuse_poll(l, -ETIMEDOUT); /* every thread hangs in a call */
}

static int libvirt_poll(MlgHypervisor *h, uint64_t deadline_usec, MlgPollFn fn, void *userdata) {
        Libvirt *l = (Libvirt *) h;
        GHashTableIter iter;
        gpointer value;

        if (l->polling)
                return -EBUSY;
        l->polling = true;
        l->poll_fn = fn;
        l->poll_userdata = userdata;
        l->poll_deadline_usec = deadline_or_default(l, deadline_usec);
        if (!l->events) {
                refuse_poll(l, -ENOTCONN);
                return 0;
        }
        attempt_poll(l);
        g_hash_table_iter_init(&iter, l->guests);
        while (g_hash_table_iter_next(&iter, NULL, &value))
                check_job(l, value);
        return 0;
}

/* --- requests for one guest --- */

static void reply_later(Libvirt *l, int r, const char *why, MlgDoneFn fn, MlgLookFn look, void *userdata) {
        Reply *reply = g_new(Reply, 1);

        *reply = (Reply) { .r = r, .why = g_strdup(why), .fn = fn, .look = look, .userdata = userdata };
        g_queue_push_tail(&l->replies, reply);
}

static Reply *reply_free(Reply *reply) {
        g_free(reply->why);
        g_free(reply);
        return NULL;
}

/* Only those that are due now: a callback may cause the next one. */
static void send_replies(Libvirt *l) {
        for (guint n = l->replies.length; n > 0; n--) {
                Reply *reply = g_queue_pop_head(&l->replies);

                if (reply->look)
                        reply->look(reply->r, NULL, reply->userdata);
                else
                        reply->fn(reply->r, reply->why, reply->userdata);
                reply_free(reply);
        }
        if (l->poll_refused) {
                l->poll_refused = false;
                end_poll(l, l->poll_error, NULL);
        }
}

/* What the outcome of a call tells of the guest. */
static void take_outcome(Libvirt *l, Guest *g, int r, const CallData *d) {
        if (r == -ETIMEDOUT && !d)
                g->silent = g->late = true;
        if (r == -ENODEV)
                read_guest(l, g);
        if (r != 0)
                return;
        g->answered_usec = now_usec();
        g->silent = g->silent && is_late(g);
}

static void on_request(int r, void *data, void *userdata) {
        g_autofree Ticket *t = userdata;
        Libvirt *l = t->l;
        CallData *d = data;
        const char *why = d ? d->why : "libvirt did not answer in time";
        Guest *g;

        if (r == -ECANCELED)
                return;
        if (r == -ETIME) {
                r = -EAGAIN; /* that says nothing about this guest */
                why = "libvirt was busy with other calls";
        }
        g = guest_get(l, t->uuid);
        if (g)
                take_outcome(l, g, r, d);
        if (t->look)
                t->look(r, r == 0 ? &d->raw : NULL, t->userdata);
        else
                t->fn(r, why, t->userdata);
        if (r == -ENOTCONN && is_current(t))
                lost(l, why);
}

/* Why this guest cannot be sent anything now, or 0. */
static int refusal(Libvirt *l, Guest *g, const char **ret_why) {
        if (!l->events) {
                *ret_why = "no connection to libvirt";
                return -ENOTCONN;
        }
        if (!g || !g->reported) {
                *ret_why = "no such guest";
                return -ENODEV;
        }
        if (g->info.run_state == MLG_RUN_OFF) {
                *ret_why = "the guest is off";
                return -ENODEV;
        }
        if (!g->info.has_balloon) {
                *ret_why = "the guest has no balloon";
                return -EOPNOTSUPP;
        }
        if (guest_hangs(g)) {
                *ret_why = "the guest's QEMU does not answer";
                return -EAGAIN;
        }
        return 0;
}

static int request(Libvirt *l, const char *uuid, uint64_t value, MlgJobRunFn run, uint64_t deadline_usec,
                   MlgDoneFn fn, MlgLookFn look, void *userdata) {
        Guest *g = guest_get(l, uuid);
        const char *why = NULL;
        CallData *d;
        Ticket *t;
        int r;

        r = refusal(l, g, &why);
        if (r >= 0) {
                d = call_data_new(uuid);
                d->value = value;
                d->calls = g_atomic_rc_box_acquire(g->calls);
                g_atomic_int_inc(d->calls);
                t = ticket_new(l, uuid);
                t->fn = fn;
                t->look = look;
                t->userdata = userdata;
                r = submit(l, run, d, on_request, t, deadline_or_default(l, deadline_usec), false);
                why = r == -EBUSY ? "all threads hang in calls" : "too many calls wait for libvirt";
        }
        if (r < 0)
                reply_later(l, r, why, fn, look, userdata);
        return 0;
}

static int run_look(void *context, void *data) {
        CallData *d = data;

        return mlg_libvirt_look(context, d->uuid, &d->raw, &d->why);
}

static int libvirt_look(MlgHypervisor *h, const char *uuid, uint64_t deadline_usec, MlgLookFn fn, void *userdata) {
        return request((Libvirt *) h, uuid, 0, run_look, deadline_usec, NULL, fn, userdata);
}

static int run_set_target(void *context, void *data) {
        CallData *d = data;

        return mlg_libvirt_set_target(context, d->uuid, d->value, &d->why);
}

static int libvirt_set_target(MlgHypervisor *h, const char *uuid, uint64_t target_kib,
                              uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        Libvirt *l = (Libvirt *) h;

        if (target_kib == 0 || target_kib > LONG_MAX) {
                reply_later(l, -ERANGE, "not a size of a guest", fn, NULL, userdata);
                return 0;
        }
        return request(l, uuid, target_kib, run_set_target, deadline_usec, fn, NULL, userdata);
}

static int run_set_stats_period(void *context, void *data) {
        CallData *d = data;

        return mlg_libvirt_set_stats_period(context, d->uuid, (uint32_t) d->value, &d->why);
}

static int libvirt_set_stats_period(MlgHypervisor *h, const char *uuid, uint32_t period_sec,
                                    uint64_t deadline_usec, MlgDoneFn fn, void *userdata) {
        Libvirt *l = (Libvirt *) h;

        if (period_sec > INT_MAX) {
                reply_later(l, -ERANGE, "not a period", fn, NULL, userdata);
                return 0;
        }
        return request(l, uuid, period_sec, run_set_stats_period, deadline_usec, fn, NULL, userdata);
}

/* --- life --- */

static void libvirt_start(MlgHypervisor *h) {
        Libvirt *l = (Libvirt *) h;

        if (!l->events && !l->connecting)
                l->connect_at_usec = 0;
}

static void libvirt_free(MlgHypervisor *h) {
        Libvirt *l = (Libvirt *) h;
        Reply *reply;

        if (!h)
                return;
        close_events(l, g_steal_pointer(&l->events));
        close_unclosed(l);
        g_queue_clear(&l->unclosed); /* everything hangs: the kernel closes what is left */
        mlg_workers_free(l->workers);
        while ((reply = g_queue_pop_head(&l->replies)))
                reply_free(reply);
        g_hash_table_unref(l->guests);
        g_free(l->uri);
        g_free(l);
}

static short libvirt_events(void *userdata) {
        return POLLIN;
}

static uint64_t libvirt_deadline_usec(void *userdata) {
        Libvirt *l = userdata;
        const MlgPollable *workers = mlg_workers_pollable(l->workers);

        if (l->replies.length > 0 || l->poll_refused)
                return 0;
        return mlg_min(l->connect_at_usec, workers->deadline_usec(workers->userdata));
}

static int libvirt_dispatch(uint64_t now, void *userdata) {
        Libvirt *l = userdata;
        const MlgPollable *workers = mlg_workers_pollable(l->workers);
        int r;

        r = workers->dispatch(now, workers->userdata);
        if (r < 0)
                return r;
        close_unclosed(l);
        handle_events(l);
        send_replies(l);
        if (l->connect_at_usec <= now)
                connect_now(l);
        return 0;
}

static const MlgHypervisorOps libvirt_ops = {
        .name = "libvirt",
        .start = libvirt_start,
        .poll = libvirt_poll,
        .look = libvirt_look,
        .set_target = libvirt_set_target,
        .set_stats_period = libvirt_set_stats_period,
        .free = libvirt_free,
};

static void *context_new(void *userdata) {
        return mlg_libvirt_context_new(((Libvirt *) userdata)->uri);
}

static void context_free(void *context) {
        mlg_libvirt_context_free(context);
}

static int workers_new(Libvirt *l, uint32_t n_threads) {
        MlgWorkersOptions options = {
                .n_threads = n_threads, .max_parked = PARKED_MAX, .max_queued = QUEUED_MAX,
                .context_new = context_new, .context_free = context_free, .userdata = l,
        };

        return mlg_workers_new(&options, &l->workers);
}

int mlg_libvirt_new(const MlgLibvirtOptions *options, const MlgHypervisorCallbacks *callbacks,
                    void *userdata, MlgHypervisor **ret) {
        Libvirt *l;
        int r;

        if (options->workers < 1 || options->workers > WORKERS_MAX || options->call_timeout_usec == 0)
                return -EINVAL;
        mlg_libvirt_calls_init();
        l = g_new0(Libvirt, 1);
        l->base = (MlgHypervisor) { .ops = &libvirt_ops, .callbacks = callbacks, .userdata = userdata };
        l->uri = g_strdup(options->uri);
        l->call_timeout_usec = options->call_timeout_usec;
        l->connect_at_usec = MLG_USEC_NEVER;
        l->backoff_sec = 1;
        l->guests = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, guest_free);
        r = workers_new(l, options->workers);
        if (r < 0) {
                g_hash_table_unref(l->guests);
                g_free(l->uri);
                g_free(l);
                return r;
        }
        l->pollable = (MlgPollable) {
                .fd = mlg_workers_pollable(l->workers)->fd, .events = libvirt_events,
                .deadline_usec = libvirt_deadline_usec, .dispatch = libvirt_dispatch, .userdata = l,
        };
        *ret = &l->base;
        return 0;
}

const MlgPollable *mlg_libvirt_pollable(MlgHypervisor *h) {
        return &((Libvirt *) h)->pollable;
}
