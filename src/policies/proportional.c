/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proportional: everybody gets what it needs plus a cushion; the rest is shared by shares; shortage is taken
 * from slack.
 *
 * For each movable guest
 *      want = need + cushion; for a suffering guest at least a good step more than it has
 *      keep = what it uses now; for a suffering guest at least what it has, for one that cannot be shrunk now
 *             its target
 * both within [floor, ceiling], keep <= want; and B = what the movable guests may have together. Four cases:
 *   plenty    sum(want) <= B: targets = want + a share of the surplus, never above the ceiling. While the
 *             host itself stalls on memory nothing is added: its memory is worth more to the host than to
 *             guests that do not need it.
 *   tight     sum(keep) <= B < sum(want): each guest keeps its need; what is left is poured out like water
 *             over the slack (want - keep), weighted by shares: one level for all, so that those with most
 *             slack give first and most. Suffering guests are served before that: in full, or with half of
 *             it where it does not suffice.
 *   short     sum(keep) > B, but nobody has to give: what is free goes to unmet needs, higher priority
 *             first, in proportion within one priority; guests of lower priority give down to their floors
 *             for those of higher.
 *   overrun   even what the guests hold exceeds B. Only if the host itself is short of memory it is taken: from lower
 *             priorities first, from guests that do not suffer before those that do, in proportion to what they have
 *             above their floors. Else it is only promised too much, to a guest that just started, say, and nobody is
 *             made to suffer for a promise: each keeps half of its cushion as far as it has it.
 * No guest is cut below its need for the sake of another one of the same priority: that would only move the
 * pain. */
#include "memlego/policy.h"

#include <string.h>

#include "util/util.h"

/* A guest in critical state hides its true need: it cannot use what it has not. It is offered half as much
 * again as it has, and at least what a balloon moves in about a second (half of its maximum, if that is
 * less); less would only waste the time until the next report. The offer stands until it may be shrunk again:
 * memory that just came is usable until the programs run on, which is no recovery. What it does not use goes
 * back at the rate of an idle guest. */
#define RELIEF_PERMILLE 500
#define RELIEF_LEAST_KIB (1024 * MLG_KIB_PER_MIB)

/* Priority= goes from -100 to 100. */
#define PRIORITY_MOST 100
#define N_RUNGS (2 * PRIORITY_MOST + 1)

/* One guest. Only the offer is remembered between decisions. */
typedef struct Claim {
        uint64_t offer_kib;
        uint64_t want_kib, keep_kib, give_kib;
        uint64_t held_want_kib, held_keep_kib; /* what want and keep are greater by only because it cannot be shrunk */
        MlgReason why;
        bool suffers;
        MlgStep *step;         /* these two only when memory is short */
        const MlgVmView *next; /* on the same rung */
} Claim;

static Claim *claim_of(const MlgVmView *vm) {
        return vm->priv;
}

/* Nobody can count on its memory yet. What it has more than it would be given is its part of what is poured
 * out later. */
static void hold(const MlgVmView *vm, Claim *c) {
        uint64_t held = mlg_clamp(vm->target_kib, vm->floor_kib, vm->ceiling_kib);

        c->held_keep_kib = mlg_sub_sat(held, c->keep_kib);
        c->keep_kib += c->held_keep_kib;
        c->held_want_kib = mlg_sub_sat(c->keep_kib, c->want_kib);
        c->want_kib += c->held_want_kib;
}

static void make_claim(const MlgVmView *vm) {
        Claim *c = claim_of(vm);
        uint64_t want = mlg_add_sat(vm->need_kib, vm->cushion_kib);
        uint64_t keep = mlg_min(vm->need_kib, mlg_add_sat(vm->used_kib, vm->error_kib));

        c->suffers = vm->pressure != MLG_PRESSURE_NONE;
        c->why = MLG_REASON_DEMAND;
        if (c->suffers) {
                keep = mlg_max(keep, vm->actual_kib);
                want = mlg_max(want, keep);
        }
        if (vm->pressure == MLG_PRESSURE_CRITICAL && c->offer_kib <= vm->actual_kib)
                c->offer_kib = vm->actual_kib + mlg_max(mlg_mul_div(vm->actual_kib, RELIEF_PERMILLE, 1000),
                                                          mlg_min(RELIEF_LEAST_KIB, vm->maximum_kib / 2));
        else if (vm->shrinkable && vm->pressure != MLG_PRESSURE_CRITICAL) /* when the host is short, one that suffers is shrinkable */
                c->offer_kib = 0;
        if (c->offer_kib > want) {
                want = c->offer_kib;
                c->suffers = true;
        }
        if (c->suffers && want > vm->target_kib)
                c->why = MLG_REASON_PRESSURE;
        if (want > vm->ceiling_kib)
                c->why = MLG_REASON_CEILING;
        else if (want < vm->floor_kib)
                c->why = MLG_REASON_FLOOR;
        c->want_kib = mlg_clamp(want, vm->floor_kib, vm->ceiling_kib);
        c->keep_kib = mlg_clamp(keep, vm->floor_kib, c->want_kib);
        c->held_want_kib = c->held_keep_kib = c->give_kib = 0;
        if (!vm->shrinkable)
                hold(vm, c);
}

/* A vessel: how much more fits into it, and how much of the same water it holds already. */
typedef struct Vessel {
        uint64_t room_kib, filled_kib;
} Vessel;
typedef Vessel (*VesselFn)(const MlgVmView *vm);

static uint64_t part_of(const MlgVmView *vm, VesselFn vessel, uint64_t level) {
        Vessel v = vessel(vm);

        return mlg_min(v.room_kib, mlg_sub_sat(level * vm->shares, v.filled_kib));
}

static uint64_t poured(const MlgVmView *vms, size_t n, VesselFn vessel, uint64_t level) {
        uint64_t sum = 0;

        for (size_t i = 0; i < n; i++)
                if (vms[i].movable)
                        sum = mlg_add_sat(sum, part_of(&vms[i], vessel, level));
        return sum;
}

/* Pours `water_kib` over n vessels weighted by shares, one level for all: each gets what it lacks to level x
 * shares, as far as it fits. The level is found by bisection; the sum never exceeds the water, and misses it
 * by at most one step per guest. */
static void pour(const MlgVmView *vms, size_t n, VesselFn vessel, uint64_t water_kib) {
        /* The bound keeps level x shares (<= 2^14) inside 64 bits, and is beyond any vessel. */
        const uint64_t brim = UINT64_C(1) << 48;
        uint64_t low = 0, high = 1;

        if (poured(vms, n, vessel, brim) <= water_kib)
                low = high = brim;
        else
                while (poured(vms, n, vessel, high) < water_kib)
                        high *= 2;
        while (low < high) {
                uint64_t mid = low + (high - low + 1) / 2;

                if (poured(vms, n, vessel, mid) <= water_kib)
                        low = mid;
                else
                        high = mid - 1;
        }
        for (size_t i = 0; i < n; i++)
                if (vms[i].movable)
                        claim_of(&vms[i])->give_kib = part_of(&vms[i], vessel, low);
}

static Vessel vessel_of_surplus(const MlgVmView *vm) {
        return (Vessel) { vm->ceiling_kib - claim_of(vm)->want_kib, claim_of(vm)->held_want_kib };
}

static Vessel vessel_of_slack(const MlgVmView *vm) {
        return (Vessel) { claim_of(vm)->want_kib - claim_of(vm)->keep_kib, claim_of(vm)->held_keep_kib };
}

static Vessel vessel_of_relief(const MlgVmView *vm) {
        return (Vessel) { claim_of(vm)->suffers ? vessel_of_slack(vm).room_kib : 0, 0 };
}

static void decide_plenty(const MlgVmView *vms, size_t n, uint64_t surplus_kib, bool host_stalls, MlgPlan *plan) {
        pour(vms, n, vessel_of_surplus, host_stalls ? 0 : surplus_kib);
        for (size_t i = 0; i < n; i++) {
                const Claim *c = claim_of(&vms[i]);

                if (!vms[i].movable)
                        continue;
                plan->steps[i].target_kib = c->want_kib + c->give_kib;
                plan->steps[i].reason = c->suffers ? c->why : host_stalls ? MLG_REASON_HOST_PRESSURE :
                        c->give_kib > 0 ? MLG_REASON_SURPLUS : c->why;
        }
}

static void decide_tight(const MlgVmView *vms, size_t n, uint64_t left_kib, MlgPlan *plan) {
        uint64_t relief = 0;

        for (size_t i = 0; i < n; i++)
                if (vms[i].movable)
                        relief += vessel_of_relief(&vms[i]).room_kib;
        pour(vms, n, vessel_of_relief, relief <= left_kib ? relief : left_kib / 2);
        for (size_t i = 0; i < n; i++) {
                Claim *c = claim_of(&vms[i]);

                if (!vms[i].movable)
                        continue;
                c->keep_kib += c->give_kib;
                left_kib -= c->give_kib;
        }
        pour(vms, n, vessel_of_slack, left_kib);
        for (size_t i = 0; i < n; i++) {
                const Claim *c = claim_of(&vms[i]);
                uint64_t target = c->keep_kib + c->give_kib;

                if (!vms[i].movable)
                        continue;
                plan->steps[i].target_kib = target;
                plan->steps[i].reason = c->suffers || target == c->want_kib ? c->why :
                        target == vms[i].floor_kib ? MLG_REASON_FLOOR : MLG_REASON_DONOR;
        }
}

/* The movable guests by priority, lowest first, each rung in the order of the views: built once per
 * decision, so that its cost grows with the guests and not with the priorities among them. */
typedef struct Ladder {
        const MlgVmView *rungs[N_RUNGS];
} Ladder;

static size_t rung_of(const MlgVmView *vm) {
        return (size_t) (CLAMP(vm->priority, -PRIORITY_MOST, PRIORITY_MOST) + PRIORITY_MOST);
}

static void climb(const MlgVmView *vms, size_t n, Ladder *ret) {
        *ret = (Ladder) {};
        for (size_t i = n; i-- > 0;) {
                const MlgVmView **rung = &ret->rungs[rung_of(&vms[i])];

                if (!vms[i].movable)
                        continue;
                claim_of(&vms[i])->next = *rung;
                *rung = &vms[i];
        }
}

/* Takes up to `wanted_kib` from what the guests of one rung have above their floors, in proportion. Returns
 * what was taken. */
static uint64_t take_from(const MlgVmView *rung, bool suffering, uint64_t wanted_kib) {
        uint64_t above = 0, taken = 0;

        for (const MlgVmView *vm = rung; vm; vm = claim_of(vm)->next)
                if (claim_of(vm)->suffers == suffering)
                        above += mlg_sub_sat(claim_of(vm)->step->target_kib, vm->floor_kib);
        wanted_kib = mlg_min(wanted_kib, above);
        for (const MlgVmView *vm = rung; vm && above > 0; vm = claim_of(vm)->next) {
                MlgStep *step = claim_of(vm)->step;
                uint64_t part = mlg_sub_sat(step->target_kib, vm->floor_kib);

                if (claim_of(vm)->suffers != suffering)
                        continue;
                /* Rounded up, so that the whole is reached; never more than what is still wanted. */
                part = mlg_min(mlg_min(part, mlg_mul_div(part, wanted_kib, above) + 1), wanted_kib - taken);
                step->target_kib -= part;
                taken += part;
                if (part > 0)
                        step->reason = MLG_REASON_SHORTAGE;
        }
        return taken;
}

/* The same from all rungs below `limit`, lowest first. `*at`: the lowest that may still have something; only
 * ever climbs. */
static uint64_t take_below(const Ladder *l, size_t *at, size_t limit, bool suffering, uint64_t wanted_kib) {
        uint64_t taken = 0;

        while (taken < wanted_kib && *at < limit) {
                taken += take_from(l->rungs[*at], suffering, wanted_kib - taken);
                if (taken < wanted_kib)
                        ++*at;
        }
        return taken;
}

static uint64_t unmet_kib(const MlgVmView *vm) {
        return mlg_sub_sat(claim_of(vm)->keep_kib, claim_of(vm)->step->target_kib);
}

/* Unmet needs of one rung are served from `*free_kib`, then from guests on lower ones. */
static void serve(const Ladder *l, size_t rung, size_t *donor, uint64_t *free_kib) {
        uint64_t unmet = 0, given;

        for (const MlgVmView *vm = l->rungs[rung]; vm; vm = claim_of(vm)->next)
                unmet += unmet_kib(vm);
        if (unmet > *free_kib)
                *free_kib += take_below(l, donor, rung, false, unmet - *free_kib);
        given = mlg_min(unmet, *free_kib);
        for (const MlgVmView *vm = l->rungs[rung]; vm && unmet > 0; vm = claim_of(vm)->next) {
                uint64_t part = mlg_min(mlg_mul_div(unmet_kib(vm), given, unmet), *free_kib);

                claim_of(vm)->step->target_kib += part;
                *free_kib -= part;
        }
}

static void keep_half_cushions(const MlgVmView *vms, size_t n) {
        for (size_t i = 0; i < n; i++) {
                Claim *c = claim_of(&vms[i]);

                if (vms[i].movable)
                        c->step->target_kib = mlg_min(mlg_max(vms[i].actual_kib, vms[i].floor_kib),
                                                      mlg_min(c->keep_kib + vms[i].cushion_kib / 2, mlg_max(c->want_kib, c->keep_kib)));
        }
}

static void decide_short(const MlgVmView *vms, size_t n, uint64_t budget_kib, bool host_is_short, MlgPlan *plan) {
        uint64_t held = 0, free_kib;
        size_t donor = 0;
        Ladder ladder;

        for (size_t i = 0; i < n; i++) {
                Claim *c = claim_of(&vms[i]);

                if (!vms[i].movable)
                        continue;
                c->step = &plan->steps[i];
                c->step->target_kib = mlg_min(c->keep_kib, mlg_max(vms[i].actual_kib, vms[i].floor_kib));
                c->step->reason = c->suffers ? MLG_REASON_PRESSURE : MLG_REASON_SHORTAGE;
                held += c->step->target_kib;
        }
        climb(vms, n, &ladder);
        if (held > budget_kib && !host_is_short) {
                keep_half_cushions(vms, n);
                return;
        }
        if (held > budget_kib) { /* overrun */
                uint64_t over = held - budget_kib;

                over -= take_below(&ladder, &donor, N_RUNGS, false, over);
                donor = 0;
                (void) take_below(&ladder, &donor, N_RUNGS, true, over);
                return;
        }
        free_kib = budget_kib - held;
        for (size_t rung = N_RUNGS; rung-- > 0;)
                serve(&ladder, rung, &donor, &free_kib);
}

static int proportional_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        uint64_t budget = mlg_sub_sat(host->budget_kib, host->fixed_kib), want = 0, keep = 0;

        for (size_t i = 0; i < n_vms; i++) {
                if (!vms[i].movable)
                        continue;
                make_claim(&vms[i]);
                want = mlg_add_sat(want, claim_of(&vms[i])->want_kib);
                keep = mlg_add_sat(keep, claim_of(&vms[i])->keep_kib);
        }
        if (want <= budget)
                decide_plenty(vms, n_vms, budget - want, host->stalls, plan);
        else if (keep <= budget)
                decide_tight(vms, n_vms, budget - keep, plan);
        else
                decide_short(vms, n_vms, budget, host->is_short, plan);
        plan->shortage_kib = mlg_sub_sat(keep, budget);
        return 0;
}

extern const MlgPolicyOps mlg_policy_proportional;
const MlgPolicyOps mlg_policy_proportional = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "proportional",
        .description = "needs plus cushions, surplus by shares, shortage from slack",
        .vm_priv_size = sizeof(Claim),
        .decide = proportional_decide,
};
