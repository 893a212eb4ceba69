/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sharing: what may be lent, divided among those who want it. Pure. */
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef struct MlgFlexClaim {
        uint64_t want_kib;
        uint32_t shares;   /* > 0 */
        uint64_t give_kib; /* out; at most want_kib */
} MlgFlexClaim;

/* By shares, one level for all: who wants less than its part gets what it wants, and the others share the
 * rest. The sum is at most `kib`. Returns it. */
uint64_t mlg_flex_share(MlgFlexClaim *claims, size_t n, uint64_t kib);
