/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guard: see guard.h for the invariants. */
#include "core/guard.h"

#include "util/util.h"

/* Time that counts for a rate: unused allowance does not pile up, or a long-quiet guest could be cut at
 * once. */
#define RATE_WINDOW_SEC 2

/* What the rate allows by now; `least_kib`, the least step, is saved up for, however slow the rate. */
static uint64_t allowance_kib(const MlgGuardInput *in, uint32_t permille, uint64_t last_usec, uint64_t least_kib) {
        uint64_t per_sec = mlg_mul_div(in->maximum_kib, permille, 1000);
        uint64_t most = mlg_max(RATE_WINDOW_SEC * per_sec, least_kib);

        return mlg_min(mlg_mul_div(per_sec, mlg_sub_sat(in->now_usec, last_usec), MLG_USEC_PER_SEC), most);
}

/* Less than a granule would come to nothing, and an allowance must be saved up until it is one. */
static uint64_t least_step_kib(const MlgGuardInput *in) {
        return mlg_max(MLG_LEAST_STEP_KIB, in->granule_kib);
}

uint64_t mlg_guard_dead_band_kib(const MlgGuardInput *in) {
        return mlg_max(mlg_mul_div(in->maximum_kib, in->settings->dead_band_permille, 1000), least_step_kib(in));
}

static MlgStep stay(const MlgGuardInput *in, MlgReason why) {
        return (MlgStep) { .target_kib = in->target_kib, .reason = why };
}

MlgReason mlg_guard_no_shrink(const MlgGuardInput *in) {
        if (in->host_short)
                return MLG_REASON_NONE;
        if (in->pressure != MLG_PRESSURE_NONE && !in->unmissed)
                return MLG_REASON_PRESSURE;
        if (in->suffered_usec > 0 && mlg_sub_sat(in->now_usec, in->suffered_usec) < in->settings->cool_down_usec)
                return MLG_REASON_COOL_DOWN;
        if (in->settling)
                return MLG_REASON_NEW;
        return in->outdated ? MLG_REASON_STALE : MLG_REASON_NONE;
}

static MlgStep shrink(const MlgGuardInput *in, MlgStep wish) {
        uint64_t wanted = in->target_kib - wish.target_kib, allowed, least;
        MlgReason no = mlg_guard_no_shrink(in);

        if (no != MLG_REASON_NONE)
                return stay(in, no);
        /* A donor's small change counts when somebody suffers: many of them make a relief. */
        least = in->urgent || in->host_short ? least_step_kib(in) : mlg_guard_dead_band_kib(in);
        if (wanted < least)
                return stay(in, MLG_REASON_SETTLED);
        allowed = allowance_kib(in, in->urgent || in->host_short ? in->settings->urgent_permille :
                                                                in->settings->shrink_permille, in->shrunk_usec, least);
        if (wanted <= allowed)
                return wish;
        if (allowed < least)
                return stay(in, MLG_REASON_RATE); /* it adds up; a move each is a call, and work for the guest */
        return (MlgStep) { .target_kib = in->target_kib - allowed, .reason = MLG_REASON_RATE };
}

static MlgStep grow(const MlgGuardInput *in, MlgStep wish) {
        uint64_t wanted = wish.target_kib - in->target_kib, allowed;
        bool suffers = in->pressure != MLG_PRESSURE_NONE;
        uint64_t least = suffers ? least_step_kib(in) : mlg_guard_dead_band_kib(in);

        if (wanted < least)
                return stay(in, MLG_REASON_SETTLED);
        if (suffers)
                return wish;
        allowed = allowance_kib(in, in->settings->grow_permille, in->grown_usec, least);
        if (wanted <= allowed)
                return wish;
        if (allowed < least)
                return stay(in, MLG_REASON_RATE);
        return (MlgStep) { .target_kib = in->target_kib + allowed, .reason = MLG_REASON_RATE };
}

/* Towards where it is: a grow stays within what there is room for, a shrink takes nothing that is needed. */
static MlgStep to_granule(const MlgGuardInput *in, MlgStep step) {
        uint64_t kib = step.target_kib < in->target_kib ?
                mlg_min(mlg_grid_up(step.target_kib, in->base_kib, in->granule_kib), in->target_kib) :
                mlg_max(mlg_grid_down(step.target_kib, in->base_kib, in->granule_kib), in->target_kib);

        if (kib == in->target_kib && kib != step.target_kib)
                return stay(in, MLG_REASON_SETTLED);
        step.target_kib = kib;
        return step;
}

MlgStep mlg_guard_step(const MlgGuardInput *in, MlgStep wish) {
        if (wish.target_kib == 0)
                return stay(in, MLG_REASON_SETTLED);
        if (wish.target_kib < in->floor_kib)
                wish = (MlgStep) { .target_kib = in->floor_kib, .reason = MLG_REASON_FLOOR };
        if (wish.target_kib > in->ceiling_kib)
                wish = (MlgStep) { .target_kib = in->ceiling_kib, .reason = MLG_REASON_CEILING };
        if (wish.target_kib < in->target_kib)
                return to_granule(in, shrink(in, wish));
        if (wish.target_kib > in->target_kib)
                return to_granule(in, grow(in, wish));
        return stay(in, wish.reason == MLG_REASON_FLOOR || wish.reason == MLG_REASON_CEILING ? wish.reason :
                                                                                           MLG_REASON_SETTLED);
}
