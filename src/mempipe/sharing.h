/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sharing: a group's quota divided among its members by what they ask for. Pure. */
#pragma once

#include <stdint.h>

typedef struct MlgPipeClaim {
        uint32_t demand_chunks; /* as it was said last */
        uint64_t lately; /* of this module's own: the demand lately, in 1/1024 of a chunk; 0 at first */
        uint32_t target_chunks; /* out */
} MlgPipeClaim;

/* A demand counts at once where it rises, and falls with this half-life: what a pause of a few windows takes
 * from a member, its next burst would wait for. */
#define MLG_PIPE_HALF_LIFE_USEC 1000000

/* Of 64 KiB: a member without traffic has as much as a first connection fills in a round trip, and a
 * group of 31 idle members is promised 31 MiB. */
#define MLG_PIPE_FLOOR_CHUNKS 16

#define MLG_PIPE_CLAIMS_MAX 128

/* Sets the targets of `n` claims (MLG_PIPE_CLAIMS_MAX at most), `passed_usec` after the last time. */
void mlg_pipe_share(MlgPipeClaim *claims, uint32_t n, uint32_t quota_chunks, uint64_t passed_usec);
