/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Swap-in: see swap-in.h. */
#include "core/swap-in.h"

#include "util/util.h"

/* Less is over in a few faults. */
#define LEAST_KIB (4 * MLG_KIB_PER_MIB)
/* While memory still comes: what a guest brings in within a fraction of a second, so it does not fall far behind a fast balloon. */
#define PART_KIB (64 * MLG_KIB_PER_MIB)
/* Who was told has to answer, and to end. */
#define AGAIN_USEC (2 * MLG_USEC_PER_SEC)
/* Who gave way to others goes on with what is left when they may be through. */
#define PRESSED_USEC (30 * MLG_USEC_PER_SEC)
/* Who says for so long that it runs is not believed any more: 64 GiB take some minutes. */
#define RUNS_MOST_USEC (600 * MLG_USEC_PER_SEC)

static uint64_t again_usec(const MlgSwapIn *s) {
        return s->state == MLG_SWAP_IN_RUNNING    ? RUNS_MOST_USEC
               : s->state == MLG_SWAP_IN_PRESSURE ? PRESSED_USEC
                                                  : AGAIN_USEC;
}

static bool may_be_told(const MlgSwapIn *s, const MlgRawMonitor *raw, uint64_t now_usec) {
        if ((raw->have & MLG_MONITOR_SWAP_IN_TOLD) == 0 || (raw->have & MLG_MONITOR_SWAPPED) == 0 ||
            (raw->have & MLG_MONITOR_SIZES) == 0)
                return false;
        return s->told_usec == 0 || now_usec - s->told_usec >= again_usec(s);
}

uint64_t mlg_swap_in_offer(MlgSwapIn *s, const MlgRawMonitor *raw, uint64_t actual_kib, bool arrived, uint64_t now_usec) {
        uint64_t grown_kib, kib;

        if (s->base_kib == 0 || actual_kib < s->base_kib)
                s->base_kib = actual_kib;
        grown_kib = actual_kib - s->base_kib;
        if (!may_be_told(s, raw, now_usec) || (!arrived && grown_kib < PART_KIB))
                return 0;
        kib = mlg_min(grown_kib, raw->free_kib);
        if (mlg_min(kib, raw->swapped_kib) < LEAST_KIB)
                return 0;
        s->base_kib += kib; /* for the rest it is told when there is room */
        s->told_usec = now_usec;
        s->n_told++;
        s->limit_kib = kib;
        s->done_kib = 0;
        s->state = MLG_SWAP_IN_NONE;
        return kib;
}

void mlg_swap_in_take(MlgSwapIn *s, const MlgRawMonitor *raw, uint64_t number) {
        bool was_pressed;

        if ((raw->have & MLG_MONITOR_SWAP_IN_TOLD) == 0 || number == 0 || s->n_told == 0)
                return;
        if (raw->swap_in_number != number) {
                if (s->state == MLG_SWAP_IN_RUNNING) /* another session: nobody will tell of its end */
                        s->state = MLG_SWAP_IN_FAILED;
                return;
        }
        was_pressed = s->state == MLG_SWAP_IN_PRESSURE;
        s->state = raw->swap_in_state < _MLG_SWAP_IN_STATE_MAX ? (MlgSwapInState) raw->swap_in_state : MLG_SWAP_IN_FAILED;
        s->done_kib = mlg_min(raw->swap_in_done_kib, s->limit_kib + PART_KIB); /* a block more than ordered, or two: no more */
        if (s->state == MLG_SWAP_IN_PRESSURE && !was_pressed)
                s->base_kib = mlg_max(mlg_sub_sat(s->base_kib, mlg_sub_sat(s->limit_kib, s->done_kib)), 1);
}
