/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Statistics: the period of balloon statistics, the one thing besides targets that is changed in guests. It is
 * turned on where it is off, what was found is remembered in the state file, and given back at a clean stop or
 * when a guest gets Mode=off.
 *
 * Invariants: at most one such request is under way per guest; one that fails is made again later, because a
 * guest that somebody else asks something just now is refused for that moment only. */
#include <errno.h>

#include "service/daemon-private.h"
#include "service/log.h"
#include "util/util.h"

/* A guest without a driver refuses; it may get one. */
#define AGAIN_USEC (10 * MLG_USEC_PER_SEC)
/* How long a stop waits for periods to be given back: service managers wait 90 s, people do not. */
#define STOP_USEC (3 * MLG_USEC_PER_SEC)
#define STOP_AGAIN_USEC (100 * 1000)

typedef struct PeriodRequest {
        MlgDaemon *daemon;
        char uuid[MLG_UUID_LEN + 1];
        uint32_t instance, found_sec, set_sec;
        bool restores;
} PeriodRequest;

static void on_period(int r, const char *why, void *userdata) {
        g_autofree PeriodRequest *q = userdata;
        MlgDaemon *d = q->daemon;
        MlgVm *vm = mlg_engine_find(d->engine, q->uuid);
        MlgStateGuest g;

        g_hash_table_steal(d->requests, q);
        if (!vm)
                return;
        vm->asking_period = false;
        if (r < 0) {
                mlg_log(MLG_LOG_DEBUG, "Statistics period of %s could not be set to %u s: %s", vm->name, q->set_sec,
                        why ? why : g_strerror(-r));
                return;
        }
        if (q->instance != vm->instance)
                return; /* it was started anew meanwhile */
        g = mlg_daemon_record(d, vm);
        g.stats_period_changed = !q->restores;
        vm->stats_period_sec = q->set_sec;
        g.stats_period_found_sec = q->restores ? 0 : q->found_sec;
        mlg_state_put_guest(d->state, &g);
}

static void ask(MlgDaemon *d, MlgVm *vm, uint32_t found_sec, uint32_t set_sec, bool restores) {
        uint64_t now = mlg_loop_now_usec(d->loop);
        PeriodRequest *q = g_new(PeriodRequest, 1);
        int r;

        *q = (PeriodRequest) { .daemon = d, .instance = vm->instance, .found_sec = found_sec, .set_sec = set_sec, .restores = restores };
        g_strlcpy(q->uuid, vm->uuid, sizeof(q->uuid));
        g_hash_table_add(d->requests, q);
        vm->asking_period = true;
        vm->period_asked_usec = now;
        r = d->hypervisor->ops->set_stats_period(d->hypervisor, q->uuid, set_sec,
                                                 now + mlg_config_daemon(d->config)->call_timeout_usec, on_period, q);
        if (r < 0)
                on_period(r, NULL, q);
}

/* False: there is nothing of ours to give back, or nobody to give it back to. */
static bool give_back(MlgDaemon *d, MlgVm *vm) {
        const MlgStateGuest *g = mlg_state_guest(d->state, vm->uuid);

        if (!g || g->instance != vm->instance || !g->stats_period_changed || vm->run_state == MLG_RUN_OFF)
                return false;
        if (!vm->asking_period)
                ask(d, vm, 0, g->stats_period_found_sec, true);
        return true;
}

void mlg_daemon_want_statistics(MlgDaemon *d, MlgVm *vm) {
        uint32_t period = mlg_config_daemon(d->config)->stats_period_sec;
        uint64_t now = mlg_loop_now_usec(d->loop);

        if (d->dry_run || vm->asking_period ||
            (vm->period_asked_usec > 0 && now - vm->period_asked_usec < AGAIN_USEC))
                return;
        if (vm->settings.mode == MLG_MODE_OFF)
                (void) give_back(d, vm);
        else if (vm->has_balloon && vm->stats_period_sec == 0 && period > 0 && vm->run_state == MLG_RUN_RUNNING)
                ask(d, vm, vm->stats_period_sec, period, false);
}

void mlg_daemon_give_back_statistics(uint64_t now_usec, void *daemon) {
        MlgDaemon *d = daemon;
        bool waits = false;

        if (d->stop_at_usec == 0)
                d->stop_at_usec = now_usec + STOP_USEC;
        for (size_t i = 0; d->connected && i < mlg_engine_n_guests(d->engine); i++)
                waits |= give_back(d, mlg_engine_guest_at(d->engine, i));
        if (!waits || now_usec >= d->stop_at_usec)
                mlg_loop_quit(d->loop);
        else
                mlg_timer_at(d->stop_timer, now_usec + STOP_AGAIN_USEC);
}
