/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bound: upper bounds of demand with a miss rate that is kept; see bound.h. */
#include "predict/bound.h"

#include <math.h>
#include <string.h>

#include "util/util.h"

/* A week of five minutes. It must be some 1 / TARGET at least for the quantile to be there. */
#define HALF_LIFE_SLOTS 2016.0

/* The score of demand at its base: so many levels below it are told apart. */
#define BELOW (4 * MLG_LEVELS_PER_OCTAVE)

/* Three horizons in a thousand: of some hundred guests one is short at any time. */
#define TARGET 0.003
/* A miss is made up for by 1 / TARGET horizons without one, whatever the step. The paper's 0.005 is for targets of a tenth:
 * here it would make a single miss the end of all quantiles, and the bound swing. */
#define GAMMA 0.001
/* m goes no further: what was long ago should not be made up for when the guest has changed its ways. */
#define MISS_PART_LEAST (-0.05)
#define MISS_PART_MOST 0.05

/* How far above all that was seen: each doubling of what is wanting, in targets, takes it higher by this part of an octave. */
#define LEVELS_PER_DOUBLING 2.0

static void begin(MlgBound *b, uint64_t maximum_kib, uint64_t horizon_usec) {
        memset(b, 0, sizeof(*b));
        b->slots.horizon_usec = horizon_usec;
        b->slots.usec = mlg_slot_usec(horizon_usec);
        b->slots.n = (uint32_t) mlg_clamp((horizon_usec + b->slots.usec - 1) / b->slots.usec, 1, MLG_SLOTS_MOST);
        b->slots.end_usec = MLG_USEC_NEVER; /* none runs */
        b->unit_kib = mlg_level_unit_kib(maximum_kib);
        b->increment = 1.0;
        b->miss_part = TARGET;
}

static void forget_older(MlgBound *b) {
        b->increment *= exp2(1.0 / HALF_LIFE_SLOTS);
        if (b->increment < 1e9)
                return;
        for (int i = 0; i < MLG_N_LEVELS; i++)
                b->weight[i] *= 1e-9f;
        b->increment *= 1e-9;
        b->sum *= 1e-9;
}

/* The horizon that ends now began as many slots ago as it has. */
static void learn(MlgBound *b) {
        const MlgBoundSlot *first = NULL;
        uint8_t peak = 0;
        int score;

        if (b->slots.ended < b->slots.n)
                return;
        for (uint32_t i = 0; i < b->slots.n; i++) {
                first = &b->ring[(b->at + MLG_SLOTS_MOST - i) % MLG_SLOTS_MOST];
                peak = MAX(peak, first->peak);
        }
        b->miss_part = CLAMP(b->miss_part + GAMMA * (TARGET - (peak > first->bound)), MISS_PART_LEAST, MISS_PART_MOST);
        score = CLAMP(peak - first->base + BELOW, 0, MLG_N_LEVELS - 1);
        forget_older(b);
        b->weight[score] += (float) b->increment;
        b->sum += b->increment;
}

static void begin_slot(MlgBound *b, uint64_t at_usec) {
        b->slots.end_usec = at_usec + b->slots.usec;
        b->at = (uint8_t) ((b->at + 1) % MLG_SLOTS_MOST);
        b->ring[b->at].peak = 0;
}

bool mlg_bound_add(MlgBound *b, uint64_t at_usec, uint64_t used_kib, uint64_t maximum_kib, uint64_t horizon_usec) {
        uint8_t *peak;

        if (b->unit_kib <= 0 || b->slots.horizon_usec != horizon_usec ||
            mlg_level_of(b->unit_kib, maximum_kib) == MLG_N_LEVELS - 1)
                begin(b, maximum_kib, horizon_usec);
        peak = &b->ring[b->at].peak;
        *peak = MAX(*peak, mlg_level_of(b->unit_kib, used_kib));
        if (at_usec < b->slots.end_usec && b->slots.end_usec - at_usec <= 2 * b->slots.usec)
                return false;
        if (at_usec >= b->slots.end_usec && at_usec - b->slots.end_usec <= b->slots.usec) {
                b->slots.ended++;
                learn(b);
        } else /* the first one, after a long silence, or in another run of the host, whose clock began anew */
                b->slots.ended = 0;
        begin_slot(b, at_usec);
        return true;
}

uint8_t mlg_bound_recent(const MlgBound *b) {
        uint8_t most = 0;

        for (int i = 0; i < MLG_SLOTS_MOST; i++)
                most = MAX(most, b->ring[i].peak);
        return most;
}

/* The score that the part m of all exceeded, or one above all. */
static double quantile(const MlgBound *b) {
        double n = b->sum / b->increment, wanting = 1.0 / (n + 1.0) - b->miss_part, above = 0;
        int i = MLG_N_LEVELS - 1;

        while (i > 0 && b->weight[i] <= 0)
                i--;
        if (wanting > 0)
                return MAX(i, BELOW) + LEVELS_PER_DOUBLING * log2(1.0 + wanting / TARGET);
        while (i > 0 && (above + (double) b->weight[i]) / (b->sum + b->increment) <= b->miss_part)
                above += (double) b->weight[i--];
        return i;
}

uint64_t mlg_bound_next(MlgBound *b, uint8_t base) {
        MlgBoundSlot *slot = &b->ring[b->at];
        double level = CLAMP(base - BELOW + quantile(b), 0, MLG_N_LEVELS - 1);

        slot->base = base;
        slot->bound = (uint8_t) ceil(level);
        return (uint64_t) mlg_level_kib(b->unit_kib, slot->bound) + 1;
}

void mlg_bound_interrupt(MlgBound *b) {
        b->slots.end_usec = MLG_USEC_NEVER;
}
