/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Probe: the libvirt adapter by hand, without the rest of memlegod. Polls once a period and prints, with
 * times, all that the adapter says. For experiments in a private host (tests/vm/host up, tests/vm/shell):
 *
 *     probe-libvirt [URI [SECONDS [PERIOD_MS]]]
 *
 * Reads commands from stdin: "target UUID MIB", "period UUID SECONDS". The last line of stdout is a summary.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/libvirt.h"
#include "service/loop.h"
#include "util/util.h"

typedef struct Probe {
        MlgLoop *loop;
        MlgHypervisor *h;
        MlgTimer *tick, *end;
        uint64_t start_usec, period_usec, due_usec, asked_usec;
        uint64_t n_polls, n_failed, n_busy, worst_usec, sum_usec, worst_gap_usec, last_answer_usec;
} Probe;

__attribute__((format(printf, 2, 3))) static void say(Probe *p, const char *format, ...) {
        uint64_t t = mlg_loop_now_usec(p->loop) - p->start_usec;
        va_list ap;

        printf("%4" PRIu64 ".%03" PRIu64 " ", t / MLG_USEC_PER_SEC, t % MLG_USEC_PER_SEC / 1000);
        va_start(ap, format);
        vprintf(format, ap);
        va_end(ap);
        putchar('\n');
        fflush(stdout);
}

static void on_connection(bool connected, const char *why, void *userdata) {
        say(userdata, "connection %s: %s", connected ? "made" : "lost", why);
}

static void on_guest(const MlgGuestInfo *i, void *userdata) {
        say(userdata,
            "guest %s %s state %d instance %u max %" PRIu64 " MiB period %u labels '%s'%s%s%s%s%s%s%s",
            i->uuid, i->name, i->run_state, i->instance, i->maximum_kib / 1024, i->stats_period_sec,
            i->labels, i->has_balloon ? " balloon" : "", i->autodeflate ? " autodeflate" : "",
            i->free_page_reporting ? " reporting" : "", i->vfio ? " vfio" : "", i->locked ? " locked" : "",
            i->hugepages ? " hugepages" : "", i->migrating ? " migrating" : "");
}

static void on_guest_gone(const char *uuid, void *userdata) {
        say(userdata, "guest %s gone", uuid);
}

static void on_event(const char *uuid, MlgGuestEvent event, uint64_t value, void *userdata) {
        say(userdata, "event %s %s %" PRIu64, uuid, event == MLG_GUEST_EVENT_REBOOT ? "reboot" : "balloon",
            value);
}

static const MlgHypervisorCallbacks callbacks = {
        .on_connection = on_connection,
        .on_guest = on_guest,
        .on_guest_gone = on_guest_gone,
        .on_event = on_event,
};

static void on_polled(int r, const MlgPollEntry *entries, size_t n, void *userdata) {
        Probe *p = userdata;
        uint64_t now = (uint64_t) g_get_monotonic_time(), took = now - p->asked_usec;
        g_autoptr(GString) text = g_string_new(NULL);
        unsigned silent = 0;

        for (size_t i = 0; i < n; i++) {
                const MlgRawStats *raw = entries[i].raw;

                silent += !raw;
                if (!raw)
                        g_string_append_printf(text, " %.8s:-", entries[i].uuid);
                else
                        g_string_append_printf(text, " %.8s:%" PRIu64 "/%" PRIu64, entries[i].uuid,
                                               raw->actual_kib / 1024,
                                               raw->have & MLG_HAVE_USABLE ? raw->usable_kib / 1024 : 0);
        }
        say(p, "poll %d in %" PRIu64 ".%03" PRIu64 " ms, %zu guests, %u silent:%s", r, took / 1000,
            took % 1000, n, silent, text->str);
        p->n_polls++;
        p->n_failed += r < 0;
        p->sum_usec += took;
        p->worst_usec = mlg_max(p->worst_usec, took);
        if (r >= 0 && n > 0) {
                if (p->last_answer_usec > 0)
                        p->worst_gap_usec = mlg_max(p->worst_gap_usec, now - p->last_answer_usec);
                p->last_answer_usec = now;
        }
}

static void on_tick(uint64_t now_usec, void *userdata) {
        Probe *p = userdata;

        p->due_usec = mlg_max(p->due_usec + p->period_usec, now_usec);
        mlg_timer_at(p->tick, p->due_usec);
        if (p->h->ops->poll(p->h, now_usec + p->period_usec, on_polled, p) < 0)
                p->n_busy++;
        else
                p->asked_usec = now_usec;
}

static void on_done(int r, const char *why, void *userdata) {
        say(userdata, "done %d %s", r, why ?: "");
}

static short stdin_events(void *userdata) {
        return POLLIN;
}

static uint64_t stdin_deadline(void *userdata) {
        return MLG_USEC_NEVER;
}

static int stdin_dispatch(uint64_t now_usec, void *userdata) {
        Probe *p = userdata;
        char line[128], uuid[64];
        unsigned value;
        ssize_t n = read(STDIN_FILENO, line, sizeof(line) - 1);

        if (n <= 0)
                return -EPIPE;
        line[n] = '\0';
        if (sscanf(line, "target %63s %u", uuid, &value) == 2)
                p->h->ops->set_target(p->h, uuid, value * MLG_KIB_PER_MIB, now_usec + 2 * MLG_USEC_PER_SEC,
                                      on_done, p);
        else if (sscanf(line, "period %63s %u", uuid, &value) == 2)
                p->h->ops->set_stats_period(p->h, uuid, value, now_usec + 2 * MLG_USEC_PER_SEC, on_done, p);
        return 0;
}

static void on_end(uint64_t now_usec, void *userdata) {
        mlg_loop_quit(((Probe *) userdata)->loop);
}

static void on_signal(int signo, void *userdata) {
        mlg_loop_quit(((Probe *) userdata)->loop);
}

int main(int argc, char *argv[]) {
        MlgLibvirtOptions options = {
                .uri = argc > 1 ? argv[1] : "qemu:///system",
                .workers = 4,
                .call_timeout_usec = 5 * MLG_USEC_PER_SEC,
        };
        Probe p = { .period_usec = (argc > 3 ? strtoull(argv[3], NULL, 10) : 1000) * 1000 };
        MlgPollable input = {
                .fd = STDIN_FILENO,
                .events = stdin_events,
                .deadline_usec = stdin_deadline,
                .dispatch = stdin_dispatch,
                .userdata = &p,
        };
        uint64_t seconds = argc > 2 ? strtoull(argv[2], NULL, 10) : 3600;
        MlgWatch *watch, *input_watch;

        if (mlg_loop_new(&p.loop) < 0 || mlg_loop_register_libvirt(p.loop) < 0 ||
            mlg_libvirt_new(&options, &callbacks, &p, &p.h) < 0 ||
            mlg_loop_watch(p.loop, mlg_libvirt_pollable(p.h), &watch) < 0 ||
            mlg_loop_watch(p.loop, &input, &input_watch) < 0 ||
            mlg_timer_new(p.loop, on_tick, &p, &p.tick) < 0 ||
            mlg_timer_new(p.loop, on_end, &p, &p.end) < 0 ||
            mlg_loop_on_signal(p.loop, SIGTERM, on_signal, &p) < 0 ||
            mlg_loop_on_signal(p.loop, SIGINT, on_signal, &p) < 0) {
                fprintf(stderr, "cannot start\n");
                return EXIT_FAILURE;
        }
        p.start_usec = mlg_loop_now_usec(p.loop);
        p.due_usec = p.start_usec;
        mlg_timer_at(p.tick, p.start_usec);
        mlg_timer_at(p.end, p.start_usec + seconds * MLG_USEC_PER_SEC);
        p.h->ops->start(p.h);
        (void) mlg_loop_run(p.loop);

        mlg_watch_free(watch);
        mlg_watch_free(input_watch);
        p.h->ops->free(p.h);
        mlg_loop_free(p.loop);
        printf("polls %" PRIu64 " failed %" PRIu64 " busy %" PRIu64 " mean %" PRIu64 " us worst %" PRIu64
               " us worst gap %" PRIu64 " us\n", p.n_polls, p.n_failed, p.n_busy,
               p.n_polls > 0 ? p.sum_usec / p.n_polls : 0, p.worst_usec, p.worst_gap_usec);
        return EXIT_SUCCESS;
}
