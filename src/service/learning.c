/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Learning: when what predictors have learned is saved, and taken up again.
 *
 * A state is looked for soon after its guest appeared, or got another predictor; it is saved each hour, when the guest
 * goes, and at an orderly stop. So a crash costs an hour of learning at most.
 * Invariants: nothing is saved before it was looked for (a state of days is never replaced by one of seconds); the loop
 * is held up for some milliseconds at a time only, however many guests there are and however slow the disk is. */
#include "service/daemon-private.h"
#include "service/log.h"
#include "util/clock.h"
#include "util/parse.h"
#include "util/util.h"

#define EACH_USEC (3600 * MLG_USEC_PER_SEC)
#define TICK_USEC MLG_USEC_PER_SEC
/* 1,000 guests are one in four seconds; if they all are due at once, it takes some minutes. */
#define SAVES_PER_TICK 4
/* Of each SEEK_USEC so much is spent on reading: 1,000 files are read within seconds where the disk is fast, and a slow one
 * delays no poll. */
#define SEEK_USEC (50 * 1000)
#define SEEK_WORK_USEC (10 * 1000)
/* A stop is not held up longer than that; a state takes some 0.2 ms, ten times as long on a busy disk. */
#define STOP_USEC (5 * MLG_USEC_PER_SEC)

/* False: it could not be written. One warning for as long as that lasts. */
static bool save(MlgDaemon *d, MlgVm *vm, uint64_t now) {
        MlgLearnedAbout about = {
                .instance = vm->instance,
                .horizon_usec = vm->settings.horizon_usec,
                .learned_usec = mlg_vm_learned_usec(vm),
                .saved_real_usec = mlg_real_usec(),
        };
        int r;

        vm->save_usec = now + EACH_USEC;
        if (!vm->sought || !mlg_vm_is_worth_saving(vm))
                return true;
        r = mlg_learned_save(d->learned, vm->uuid, vm->predictor, vm->predictor_priv, &about);
        if (r < 0 && !d->saving_fails && mlg_log_limited("", MLG_CAUSE_LEARNED, now))
                mlg_log(MLG_LOG_WARNING,
                        "Cannot save what is learned of guests: %s. After a restart it would be learned anew.",
                        g_strerror(-r));
        d->saving_fails = r < 0;
        return r >= 0;
}

static void tell_resumed(const MlgVm *vm, const MlgLearnedAbout *about) {
        g_autofree char *learned = mlg_format_whole_sec(about->learned_usec);
        g_autofree char *ago = mlg_format_whole_sec(mlg_sub_sat(mlg_real_usec(), about->saved_real_usec));

        mlg_log_guest(MLG_LOG_INFO, NULL, vm->uuid, vm->name,
                      "Guest %s: goes on with what predictor %s learned in %s, saved %s ago", vm->name,
                      vm->predictor->name, learned, ago);
}

static void seek(MlgDaemon *d, MlgVm *vm, uint64_t now) {
        g_autofree void *state = g_malloc0(vm->predictor->priv_size + 1);
        g_autofree char *warning = NULL;
        MlgLearnedAbout about = { .instance = vm->instance, .horizon_usec = vm->settings.horizon_usec };

        vm->sought = true;
        /* Anywhere within the hour, so that guests that came together are not saved together. */
        vm->save_usec = now + (uint64_t) g_str_hash(vm->uuid) * MLG_USEC_PER_SEC % EACH_USEC;
        if (mlg_learned_load(d->learned, vm->uuid, vm->predictor, &about, state, &warning) &&
            mlg_vm_resume_predictor(vm, state, about.learned_usec, about.same_run, now))
                tell_resumed(vm, &about);
        if (warning)
                mlg_log_guest(MLG_LOG_WARNING, NULL, vm->uuid, vm->name, "Guest %s: %s", vm->name, warning);
}

/* True: there are more. */
static bool seek_some(MlgDaemon *d, uint64_t now) {
        uint64_t until = mlg_clock_usec(CLOCK_MONOTONIC) + SEEK_WORK_USEC;

        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++) {
                MlgVm *vm = mlg_engine_guest_at(d->engine, i);

                if (vm->sought)
                        continue;
                if (mlg_clock_usec(CLOCK_MONOTONIC) >= until)
                        return true;
                seek(d, vm, now);
        }
        return false;
}

static void save_some(MlgDaemon *d, uint64_t now) {
        unsigned int n = 0;

        for (size_t i = 0; i < mlg_engine_n_guests(d->engine) && n < SAVES_PER_TICK; i++) {
                MlgVm *vm = mlg_engine_guest_at(d->engine, i);

                if (!vm->sought || now < vm->save_usec)
                        continue;
                (void) save(d, vm, now);
                n++;
        }
}

void mlg_daemon_learn(uint64_t now_usec, void *daemon) {
        MlgDaemon *d = daemon;
        bool more = seek_some(d, now_usec);

        save_some(d, now_usec);
        /* Not at the start: until then a clock that was wrong at boot has been set. */
        if (d->drop_learned_usec == 0)
                d->drop_learned_usec = now_usec + EACH_USEC;
        else if (now_usec >= d->drop_learned_usec) {
                mlg_learned_drop_old(d->learned, mlg_real_usec() / MLG_USEC_PER_SEC);
                d->drop_learned_usec = now_usec + EACH_USEC;
        }
        mlg_timer_at(d->learn_timer, now_usec + (more ? SEEK_USEC : TICK_USEC));
}

void mlg_daemon_want_learned(MlgDaemon *d, const MlgVm *vm) {
        if (!vm->sought)
                mlg_timer_at(d->learn_timer, mlg_loop_now_usec(d->loop));
}

void mlg_daemon_save_learned(MlgDaemon *d, MlgVm *vm) {
        (void) save(d, vm, mlg_loop_now_usec(d->loop));
}

void mlg_daemon_save_all_learned(MlgDaemon *d) {
        uint64_t now = mlg_loop_now_usec(d->loop), until = mlg_clock_usec(CLOCK_MONOTONIC) + STOP_USEC;
        size_t n = mlg_engine_n_guests(d->engine), i;

        for (i = 0; i < n && mlg_clock_usec(CLOCK_MONOTONIC) < until; i++)
                (void) save(d, mlg_engine_guest_at(d->engine, i), now);
        if (i < n)
                mlg_log(MLG_LOG_WARNING,
                        "What was learned in the last hour of %zu of %zu guests is not saved: the disk is too slow.",
                        n - i, n);
}
