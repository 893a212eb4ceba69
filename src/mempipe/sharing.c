/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sharing: see sharing.h.
 *
 *     floor   = min(16, quota / n)
 *     want_i  = max(floor, demand_i)
 *     target_i = want_i                                                    if sum(want) <= quota
 *              = floor + (quota - n * floor) * (want_i - floor) / sum(want - floor)   otherwise
 *
 * So nobody is ever without a chunk because others want many, and the sum never exceeds the quota. */
#include "mempipe/sharing.h"

#include "util/util.h"

#define ONE UINT64_C(1024)

/* lately / 2^(passed / half-life), the fraction linear between the powers: monotonous, and exact at each
 * half-life. */
static uint64_t fall(uint64_t lately, uint64_t passed_usec) {
        uint64_t halves = passed_usec / MLG_PIPE_HALF_LIFE_USEC,
                 rest = passed_usec % MLG_PIPE_HALF_LIFE_USEC;

        if (halves >= 63)
                return 0;
        lately >>= halves;
        return lately - mlg_mul_div(lately, rest, UINT64_C(2) * MLG_PIPE_HALF_LIFE_USEC);
}

static uint32_t want(const MlgPipeClaim *c, uint32_t floor) {
        return (uint32_t) mlg_max(floor, (c->lately + ONE - 1) / ONE);
}

void mlg_pipe_share(MlgPipeClaim *claims, uint32_t n, uint32_t quota_chunks, uint64_t passed_usec) {
        uint32_t floor = n > 0 ? (uint32_t) mlg_min(MLG_PIPE_FLOOR_CHUNKS, quota_chunks / n) : 0;
        uint64_t above = 0, room = quota_chunks - (uint64_t) n * floor;

        for (uint32_t i = 0; i < n; i++) {
                MlgPipeClaim *c = &claims[i];

                c->lately = mlg_max(c->demand_chunks * ONE, fall(c->lately, passed_usec));
                above += want(c, floor) - floor;
        }
        for (uint32_t i = 0; i < n; i++) {
                uint32_t more = want(&claims[i], floor) - floor;

                claims[i].target_chunks = floor +
                                          (above <= room ? more : (uint32_t) mlg_mul_div(room, more, above));
        }
}
