/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Check: what must hold after every decision, whatever the policy wished and the guests do.
 *
 * It looks from outside at what the engine did; a violation is a defect of the core, not of a policy:
 * - the books: each guest is charged what is due, the ledger has the sum, and what was granted was free;
 * - floors and ceilings: no shrink ends below the floor, no grow above the ceiling, a stuck one's target
 *   is what it has;
 * - no shrink of a guest that suffers or suffered within its cool-down, while the host has its reserve; with a policy
 *   that probes the same of a guest that lacks memory in fact;
 * - no shrink on the strength of a report that is not fresh, nor of a guest that is not managed;
 * - no shrink larger than the faster one of the two rates allows;
 * - one move for a guest at a time. */
#pragma once

#include "core/engine.h"

typedef struct SimCheck {
        uint64_t n_violations;
        char first[256]; /* the first one, in words */
} SimCheck;

/* After decide(), before any answer. `raw`: the host as the engine was told last. */
void sim_check(SimCheck *c, const MlgEngine *e, const MlgRawHost *raw, const MlgHostSettings *host,
               const MlgMove *moves, size_t n_moves, uint64_t now_usec);
