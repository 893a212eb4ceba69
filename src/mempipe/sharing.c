/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sharing: see sharing.h. What remains for the host is the time window; how a quota is divided by demand is the guests'
 * own rule (mempipe/core/share.h), so that both ends mean the same by a fair share. */
#include "mempipe/sharing.h"

#include "memlego/mempipe-abi.h"
#include "mempipe/core/share.h"
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

void mlg_pipe_share(MlgPipeClaim *claims, uint32_t n, uint32_t quota_chunks, uint64_t passed_usec) {
        struct mp_claim shares[MLG_PIPE_CLAIMS_MAX];

        g_assert(n <= G_N_ELEMENTS(shares));
        for (uint32_t i = 0; i < n; i++) {
                MlgPipeClaim *c = &claims[i];

                c->lately = mlg_max(c->demand_chunks * ONE, fall(c->lately, passed_usec));
                shares[i] = (struct mp_claim) { .demand = (uint32_t) ((c->lately + ONE - 1) / ONE),
                                                .floor = MLG_PIPE_FLOOR_CHUNKS };
        }
        mp_share(shares, n, quota_chunks);
        for (uint32_t i = 0; i < n; i++)
                claims[i].target_chunks = shares[i].share;
}
