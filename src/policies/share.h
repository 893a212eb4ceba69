/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Share: claims on memory, and how it is shared out among them. What policies have in common.
 *
 * A policy makes a claim for each movable guest, which says what it wants and what of that it must keep; mlg_share_out()
 * turns claims into targets. With B = what the movable guests may have together there are four cases:
 *   plenty    sum(want) <= B: targets = want + a share of the surplus, never above the ceiling. While the
 *             host itself stalls on memory nothing is added: its memory is worth more to the host than to
 *             guests that do not need it.
 *   tight     sum(keep) <= B < sum(want): each guest keeps what it must; what is left is poured out like water,
 *             weighted by shares, one level for all, so that those with most slack give first and most:
 *               1. relief for guests in critical state: in full, or half of what is left where it does not suffice
 *               2. over the lower halves of all cushions: a guest with less than half counts as one that may suffer, so it
 *                  could not be shrunk and would ask for relief; to press others as low for it would only send the same
 *                  memory around, until some are left with nothing
 *               3. relief for the others that suffer, like 1.
 *               4. over the rest of the slack (want - keep)
 *   short     sum(keep) > B, but nobody has to give: what is free goes to unmet needs, higher priority
 *             first, in proportion within one priority; guests of lower priority give down to their floors
 *             for those of higher.
 *   overrun   even what the guests hold exceeds B. Only if the host itself is short of memory it is taken: from lower
 *             priorities first, from guests that do not suffer before those that do, in proportion to what they have
 *             above their floors. Else it is only promised too much, to a guest that just started, say, and nobody is
 *             made to suffer for a promise: each keeps half of its cushion as far as it has it.
 * No guest is cut below what it must keep for the sake of another one of the same priority.
 *
 * Invariants of the targets, for claims with floor <= keep <= want <= ceiling:
 *   - floor <= target <= ceiling;
 *   - their sum is at most B, unless the floors, or promises alone (overrun), exceed it;
 *   - of two guests that differ in shares, or in priority, only, the one with more does not get less.
 * Cost: O(n log B) time, no allocation. */
#pragma once

#include "memlego/policy.h"
#include "util/util.h"

/* One guest's claim; the beginning of MlgVmView.priv. Made anew for each decision, but for `offer_kib`. */
typedef struct MlgClaim {
        uint64_t offer_kib;    /* relief that stands until the guest may be shrunk again; 0: none */
        uint64_t want_kib, keep_kib;
        uint64_t held_want_kib, held_keep_kib; /* what want and keep are greater by only because it cannot be shrunk */
        uint64_t give_kib;     /* result of mlg_share_pour() */
        MlgReason why;         /* ... it wants that */
        bool suffers;          /* is not cut before others are, when even that must be */
        bool asks;             /* gets relief before slack is shared; all that suffer do ... */
        uint32_t weight;       /* ... by this; its shares, if the policy says nothing else */
        MlgStep *step;         /* these two only when memory is short */
        const MlgVmView *next; /* on the same rung */
} MlgClaim;

static inline MlgClaim *mlg_claim_of(const MlgVmView *vm) {
        return (MlgClaim *) vm->priv;
}

/* The claim of a guest that `need_kib` would do for, of which it must keep `keep_kib`:
 *      want = need + cushion; for a suffering guest at least its offer
 *      keep; for a suffering guest at least what it has, for one that cannot be shrunk now its target
 * both within [floor, ceiling], keep <= want. */
void mlg_claim_make(const MlgVmView *vm, uint64_t need_kib, uint64_t keep_kib);

/* What it needs as far as it uses that now: a forecast alone is no reason to keep memory from others. */
static inline uint64_t mlg_claim_keep_kib(const MlgVmView *vm) {
        return mlg_min(vm->need_kib, vm->used_kib + vm->error_kib);
}

/* How much of what it uses was not touched for minutes, at least: the cache among the cold memory is none of what it uses. */
static inline uint64_t mlg_claim_cold_kib(const MlgVmView *vm) {
        uint64_t cache = mlg_sub_sat(vm->usable_kib, vm->unused_kib);

        return vm->knows_cold ? mlg_min(mlg_sub_sat(vm->cold_kib, cache), vm->used_kib) : 0;
}

/* What a guest gets when the water stands at `level`: it must not fall when the level rises, and be 0 or the least at 0. */
typedef uint64_t (*MlgFillFn)(const MlgVmView *vm, uint64_t level, const void *context);

/* Pours `water_kib` over the movable guests, one level for all, and writes what each gets into MlgClaim.give_kib. The
 * sum never exceeds the water where it does not at level 0, and misses it by less than one more step of the level. */
void mlg_share_pour(const MlgVmView *vms, size_t n, MlgFillFn fill, const void *context, uint64_t water_kib);

/* What was poured becomes part of what the guests keep. Returns how much that was. */
uint64_t mlg_share_keep_given(const MlgVmView *vms, size_t n);

/* Level x shares, less what it `holds_kib` of the same water already, as far as there is room. */
uint64_t mlg_fill_by_shares(const MlgVmView *vm, uint64_t level, uint64_t room_kib, uint64_t holds_kib);

/* The slack of claims, want - keep, by shares. */
uint64_t mlg_fill_slack(const MlgVmView *vm, uint64_t level, const void *context);

/* Priorities as indices of a table, the lowest is 0. */
#define MLG_PRIORITY_MOST 100 /* Priority= goes from -100 to 100 */
#define MLG_N_RUNGS (2 * MLG_PRIORITY_MOST + 1)
size_t mlg_rung_of(const MlgVmView *vm);

/* What the movable guests may have together. */
uint64_t mlg_share_budget_kib(const MlgHostView *host);

/* Targets for all claims: see above. */
void mlg_share_out(const MlgHostView *host, const MlgVmView *vms, size_t n, MlgPlan *plan);

/* The cases short and overrun by themselves, for a policy that has a rule of its own while there is enough. */
void mlg_share_short(const MlgHostView *host, const MlgVmView *vms, size_t n, MlgPlan *plan);
