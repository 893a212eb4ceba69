/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sharing: see sharing.h. */
#include "memflex/sharing.h"

#include "util/util.h"

/* Levels are so much finer than a KiB, as a share is one of 10000 at most. */
#define FINE 10000

static uint64_t fill(MlgFlexClaim *claims, size_t n, uint64_t level) {
        uint64_t sum = 0;

        for (size_t i = 0; i < n; i++) {
                MlgFlexClaim *c = &claims[i];

                c->give_kib = mlg_min(c->want_kib, mlg_mul_div(level, c->shares, FINE));
                sum = mlg_add_sat(sum, c->give_kib);
        }
        return sum;
}

uint64_t mlg_flex_share(MlgFlexClaim *claims, size_t n, uint64_t kib) {
        uint64_t low = 0,
                 high = mlg_mul_div(kib, FINE,
                                    1); /* low fits; with a share of 1 the level is at most all of it */

        if (fill(claims, n, UINT64_MAX) <= kib)
                return fill(claims, n, UINT64_MAX);
        while (low < high) {
                uint64_t middle = high - (high - low) / 2;

                if (fill(claims, n, middle) <= kib)
                        low = middle;
                else
                        high = middle - 1;
        }
        return fill(claims, n, low);
}
