/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Levels: demand on a logarithmic scale, as predictors remember it: 16 levels to an octave (4 %), from a 2048th of the guest's
 * maximum, the *unit*, to twice the maximum. A guest whose maximum grows beyond that needs another scale.
 *
 *      kib = unit * (2^(level / 16) - 1),   level: the lowest that covers kib */
#pragma once

#include <math.h>
#include <stdint.h>

#define MLG_LEVELS_PER_OCTAVE 16
#define MLG_LEVEL_OCTAVES 12
#define MLG_LEVEL_DOWN 0.95760328 /* 2^(-1 / MLG_LEVELS_PER_OCTAVE) */
#define MLG_N_LEVELS (MLG_LEVEL_OCTAVES * MLG_LEVELS_PER_OCTAVE + 1)

static inline double mlg_level_unit_kib(uint64_t maximum_kib) {
        return fmax((double) maximum_kib / (1 << (MLG_LEVEL_OCTAVES - 1)), 1.0);
}

static inline double mlg_level_kib(double unit_kib, double level) {
        return unit_kib * (exp2(level / MLG_LEVELS_PER_OCTAVE) - 1.0);
}

static inline uint8_t mlg_level_of(double unit_kib, uint64_t kib) {
        double l = ceil(MLG_LEVELS_PER_OCTAVE * log2(1.0 + (double) kib / unit_kib) - 1e-6);

        return (uint8_t) fmin(l, MLG_N_LEVELS - 1);
}
