/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host: the host alone, between two polls, and the alarm when it is short of memory itself.
 *
 * A program can take GiBs between two polls. So /proc is read besides, the more often the less is left,
 * which costs next to nothing; when the core says so, the next poll comes at once. A pressure trigger of
 * the kernel would be later: memory is gone before tasks wait for it, and without privileges a trigger
 * looks every two seconds only. */
#include "memlego/names.h"
#include "service/daemon-private.h"
#include "service/log.h"
#include "util/parse.h"
#include "util/util.h"

/* Polls follow each other at this pace when the host is in trouble, or with as long a rest as they took. */
#define POLL_LEAST_USEC (100 * 1000)
/* And at this one as long as there is an alarm, whatever PollIntervalSec= says. */
#define POLL_ALARM_USEC (500 * 1000)

/* Told again within an alarm: when half as much again is missing, but not each moment of a fall. */
#define TOLD_AGAIN_USEC (10 * MLG_USEC_PER_SEC)

void mlg_daemon_watch_host(uint64_t now_usec, void *daemon) {
        uint64_t next, poll_usec = MLG_USEC_NEVER, least;
        MlgDaemon *d = daemon;
        MlgRawHost host = {};

        next = now_usec + mlg_config_host(d->config)->poll_usec;
        if (d->connected && !d->stopping && mlg_hostmem_read(d->hostmem, &host) >= 0)
                next = mlg_engine_watch_host(d->engine, &host, now_usec, &poll_usec);
        if (d->alarm != MLG_ALARM_NONE) {
                poll_usec = mlg_min(poll_usec, d->poll_started_usec + POLL_ALARM_USEC);
                next = mlg_min(next, now_usec + POLL_ALARM_USEC);
        }
        least = d->poll_started_usec + mlg_max(POLL_LEAST_USEC, 2 * d->last_poll_usec);
        poll_usec = poll_usec == MLG_USEC_NEVER ? poll_usec : mlg_max(poll_usec, least);
        if (!d->polling && poll_usec < d->poll_due_usec) {
                d->poll_due_usec = poll_usec;
                mlg_timer_at(d->poll_timer, poll_usec);
        }
        mlg_timer_at(d->watch_timer, next);
}

static void log_alarm(MlgDaemon *d, const MlgHostStatus *s) {
        g_autofree char *missing = mlg_format_kib(s->missing_kib), *givable = mlg_format_kib(s->givable_kib);
        g_autofree char *reserve = mlg_format_kib(s->reserve_kib), *span = NULL;

        switch (s->alarm) {
        case MLG_ALARM_SHORT:
                d->alarm_logged = mlg_log_limited("", MLG_CAUSE_ALARM, s->now_usec);
                if (d->alarm_logged)
                        mlg_log_guest(
                                MLG_LOG_WARNING, MLG_MSG_HOST_SHORT, NULL, NULL,
                                "The host is short of memory: %s of its reserve of %s are missing. "
                                "Guests give up to %s, by priority, down to their floors",
                                missing, reserve, givable);
                break;
        case MLG_ALARM_EXHAUSTED:
                d->alarm_logged = true;
                mlg_log_guest(
                        MLG_LOG_ERROR, MLG_MSG_HOST_EXHAUSTED, NULL, NULL,
                        "The host is short of memory, and its guests cannot cure it: "
                        "%s of its reserve of %s are missing, guests can give %s more",
                        missing, reserve, givable);
                break;
        case MLG_ALARM_NONE:
                span = mlg_format_usec(s->now_usec - d->alarm_since_usec);
                if (d->alarm_logged)
                        mlg_log_guest(MLG_LOG_INFO, MLG_MSG_HOST_RECOVERED, NULL, NULL,
                                      "The host has enough memory left again, after %s", span);
                d->alarm_logged = false;
                break;
        case _MLG_ALARM_MAX:
                break;
        }
}

void mlg_daemon_tell_alarm(MlgDaemon *d, const MlgHostStatus *s) {
        bool changed = s->alarm != d->alarm;
        bool worse = s->alarm != MLG_ALARM_NONE && s->missing_kib / 3 > d->alarm_missing_kib / 2 &&
                s->now_usec - d->alarm_told_usec >= TOLD_AGAIN_USEC;
        if (!changed && !worse)
                return;
        log_alarm(d, s);
        d->alarm = s->alarm;
        d->alarm_since_usec = s->alarm_since_usec;
        d->alarm_missing_kib = s->missing_kib;
        d->alarm_told_usec = s->now_usec;
        if (d->bus)
                mlg_bus_host_alarm(d->bus, s->alarm, s->missing_kib, s->givable_kib);
}
