/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bound: an upper bound of the greatest demand within the horizon that is missed as often as was asked for, in the long run,
 * whatever the guest does (adaptive conformal inference: I. Gibbs and E. Candes, "Adaptive conformal inference under
 * distribution shift", NeurIPS 2021).
 *
 * Time is cut into slots (predict/slots.h). At the end of each slot the horizon that ends
 * then is looked at: by how many levels (predict/levels.h) the greatest demand within it was above a *base* that was known at
 * its begin, or below it. These *scores* are remembered in a histogram, the older the less. The next bound is the base and the upper
 * quantile of the scores that leaves out the part m of them, and
 *
 *      m = m + GAMMA * (TARGET - missed)          missed: 1 if demand exceeded the bound, else 0
 *
 * Each miss makes the bounds higher, until only one in 1 / TARGET is missed; while there are none they go down. Where the
 * histogram has no quantile as high as that (m below zero, or few scores yet) the bound is above all of them, by more the
 * more that is wanting.
 *
 * Part of a predictor's state: plain data, no pointers, all zeroes before begin. Times are in one place, `slots`. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "predict/levels.h"
#include "predict/slots.h"

typedef struct MlgBoundSlot {
        uint8_t peak;        /* level of the greatest demand within it */
        uint8_t base, bound; /* said at its begin, for the horizon that began then */
} MlgBoundSlot;

typedef struct MlgBound {
        struct {
                uint64_t horizon_usec, usec, end_usec; /* usec: length of a slot */
                uint32_t n, ended;                     /* of one horizon; how many have ended since the last gap */
        } slots;
        double unit_kib;      /* 0: nothing seen yet */
        MlgBoundSlot ring[MLG_SLOTS_MOST];
        uint8_t at;           /* in the ring: the slot that runs */
        double miss_part;     /* m */
        double increment, sum; /* weight of a new score: grows instead of all others shrinking; of all scores */
        float weight[MLG_N_LEVELS]; /* by score */
} MlgBound;

/* True at the end of a slot: then, and only then, mlg_bound_next() says the bound for the horizon that begins. */
bool mlg_bound_add(MlgBound *b, uint64_t at_usec, uint64_t used_kib, uint64_t maximum_kib, uint64_t horizon_usec);
uint64_t mlg_bound_next(MlgBound *b, uint8_t base);

/* A base: level of the greatest demand in the slots that ended last, an hour of five minutes. */
uint8_t mlg_bound_recent(const MlgBound *b);

/* What runs now is not what was foretold (the guest was started anew, or nobody looked): it is not counted. */
void mlg_bound_interrupt(MlgBound *b);
