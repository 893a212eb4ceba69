/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Share: see share.h for the four cases and the invariants. */
#include "policies/share.h"

#include "util/util.h"

/* A guest in critical state hides its true need: it cannot use what it has not. It is offered half as much
 * again as it has, and at least what a balloon moves in about a second (half of its maximum, if that is
 * less); less would only waste the time until the next report. The offer stands until it may be shrunk again:
 * memory that just came is usable until the programs run on, which is no recovery. What it does not use goes
 * back at the rate of an idle guest. */
#define RELIEF_PERMILLE 500
#define RELIEF_LEAST_KIB (1024 * MLG_KIB_PER_MIB)

/* Nobody can count on its memory yet. What it has more than it would be given is its part of what is poured
 * out later. */
static void hold(const MlgVmView *vm, MlgClaim *c) {
        uint64_t held = mlg_clamp(vm->target_kib, vm->floor_kib, vm->ceiling_kib);

        c->held_keep_kib = mlg_sub_sat(held, c->keep_kib);
        c->keep_kib += c->held_keep_kib;
        c->held_want_kib = mlg_sub_sat(c->keep_kib, c->want_kib);
        c->want_kib += c->held_want_kib;
}

void mlg_claim_make(const MlgVmView *vm, uint64_t need_kib, uint64_t keep_kib) {
        MlgClaim *c = mlg_claim_of(vm);
        uint64_t want = mlg_add_sat(need_kib, vm->cushion_kib), keep = keep_kib;

        c->suffers = vm->pressure != MLG_PRESSURE_NONE;
        c->weight = vm->shares;
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
        c->asks = c->suffers;
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

/* Bounds a level: times shares (<= 2^14) it stays inside 64 bits, and is beyond anything that a guest has room for. */
#define BRIM (UINT64_C(1) << 48)

static uint64_t poured(const MlgVmView *vms, size_t n, MlgFillFn fill, const void *context, uint64_t level) {
        uint64_t sum = 0;

        for (size_t i = 0; i < n; i++)
                if (vms[i].movable)
                        sum = mlg_add_sat(sum, fill(&vms[i], level, context));
        return sum;
}

void mlg_share_pour(const MlgVmView *vms, size_t n, MlgFillFn fill, const void *context, uint64_t water_kib) {
        uint64_t low = 0, high = 1;

        if (poured(vms, n, fill, context, BRIM) <= water_kib)
                low = high = BRIM;
        else
                while (poured(vms, n, fill, context, high) < water_kib)
                        high *= 2;
        while (low < high) { /* the level is found by bisection */
                uint64_t mid = low + (high - low + 1) / 2;

                if (poured(vms, n, fill, context, mid) <= water_kib)
                        low = mid;
                else
                        high = mid - 1;
        }
        for (size_t i = 0; i < n; i++)
                if (vms[i].movable)
                        mlg_claim_of(&vms[i])->give_kib = fill(&vms[i], low, context);
}

uint64_t mlg_share_keep_given(const MlgVmView *vms, size_t n) {
        uint64_t given = 0;

        for (size_t i = 0; i < n; i++) {
                MlgClaim *c = mlg_claim_of(&vms[i]);

                if (!vms[i].movable)
                        continue;
                c->keep_kib += c->give_kib;
                given += c->give_kib;
        }
        return given;
}

uint64_t mlg_fill_by_shares(const MlgVmView *vm, uint64_t level, uint64_t room_kib, uint64_t holds_kib) {
        return mlg_min(room_kib, mlg_sub_sat(level * vm->shares, holds_kib));
}

static uint64_t fill_surplus(const MlgVmView *vm, uint64_t level, const void *context) {
        const MlgClaim *c = mlg_claim_of(vm);

        return mlg_fill_by_shares(vm, level, vm->ceiling_kib - c->want_kib, c->held_want_kib);
}

uint64_t mlg_fill_slack(const MlgVmView *vm, uint64_t level, const void *context) {
        const MlgClaim *c = mlg_claim_of(vm);

        return mlg_fill_by_shares(vm, level, c->want_kib - c->keep_kib, c->held_keep_kib);
}

/* To those whose true need is hidden, or to the others that suffer. */
static uint64_t fill_relief(const MlgVmView *vm, uint64_t level, const void *hidden) {
        const MlgClaim *c = mlg_claim_of(vm);

        if (!c->asks || (c->offer_kib > 0) != *(const bool *) hidden)
                return 0;
        return mlg_min(c->want_kib - c->keep_kib, level * c->weight);
}

/* With less than half of its cushion a guest is one that may suffer soon. */
static uint64_t fill_half_cushion(const MlgVmView *vm, uint64_t level, const void *context) {
        const MlgClaim *c = mlg_claim_of(vm);
        uint64_t enough_kib = mlg_sub_sat(c->want_kib, vm->cushion_kib / 2);

        return c->offer_kib > 0 ? 0 : mlg_fill_by_shares(vm, level, mlg_sub_sat(enough_kib, c->keep_kib), c->held_keep_kib);
}

static void decide_plenty(const MlgVmView *vms, size_t n, uint64_t surplus_kib, bool host_stalls, MlgPlan *plan) {
        mlg_share_pour(vms, n, fill_surplus, NULL, host_stalls ? 0 : surplus_kib);
        for (size_t i = 0; i < n; i++) {
                const MlgClaim *c = mlg_claim_of(&vms[i]);

                if (!vms[i].movable)
                        continue;
                plan->steps[i].target_kib = c->want_kib + c->give_kib;
                plan->steps[i].reason = c->asks ? c->why : host_stalls ? MLG_REASON_HOST_PRESSURE :
                        c->give_kib > 0 ? MLG_REASON_SURPLUS : c->why;
        }
}

/* In full, or with half of what is left where it does not suffice. Returns what is left then. */
static uint64_t relieve(const MlgVmView *vms, size_t n, bool hidden, uint64_t left_kib) {
        uint64_t relief = poured(vms, n, fill_relief, &hidden, BRIM);

        mlg_share_pour(vms, n, fill_relief, &hidden, relief <= left_kib ? relief : left_kib / 2);
        return left_kib - mlg_share_keep_given(vms, n);
}

static void decide_tight(const MlgVmView *vms, size_t n, uint64_t left_kib, MlgPlan *plan) {
        left_kib = relieve(vms, n, true, left_kib);
        mlg_share_pour(vms, n, fill_half_cushion, NULL, left_kib);
        left_kib -= mlg_share_keep_given(vms, n);
        left_kib = relieve(vms, n, false, left_kib);
        mlg_share_pour(vms, n, mlg_fill_slack, NULL, left_kib);
        for (size_t i = 0; i < n; i++) {
                const MlgClaim *c = mlg_claim_of(&vms[i]);
                uint64_t target = c->keep_kib + c->give_kib;

                if (!vms[i].movable)
                        continue;
                plan->steps[i].target_kib = target;
                plan->steps[i].reason = c->asks || target == c->want_kib ? c->why :
                        target == vms[i].floor_kib ? MLG_REASON_FLOOR : MLG_REASON_DONOR;
        }
}

/* The movable guests by priority, lowest first, each rung in the order of the views: built once per
 * decision, so that its cost grows with the guests and not with the priorities among them. */
typedef struct Ladder {
        const MlgVmView *rungs[MLG_N_RUNGS];
} Ladder;

size_t mlg_rung_of(const MlgVmView *vm) {
        return (size_t) (CLAMP(vm->priority, -MLG_PRIORITY_MOST, MLG_PRIORITY_MOST) + MLG_PRIORITY_MOST);
}

static void climb(const MlgVmView *vms, size_t n, Ladder *ret) {
        *ret = (Ladder) {};
        for (size_t i = n; i-- > 0;) {
                const MlgVmView **rung = &ret->rungs[mlg_rung_of(&vms[i])];

                if (!vms[i].movable)
                        continue;
                mlg_claim_of(&vms[i])->next = *rung;
                *rung = &vms[i];
        }
}

/* Takes up to `wanted_kib` from what the guests of one rung have above their floors, in proportion. Returns
 * what was taken. */
static uint64_t take_from(const MlgVmView *rung, bool suffering, uint64_t wanted_kib) {
        uint64_t above = 0, taken = 0;

        for (const MlgVmView *vm = rung; vm; vm = mlg_claim_of(vm)->next)
                if (mlg_claim_of(vm)->suffers == suffering)
                        above += mlg_sub_sat(mlg_claim_of(vm)->step->target_kib, vm->floor_kib);
        wanted_kib = mlg_min(wanted_kib, above);
        for (const MlgVmView *vm = rung; vm && above > 0; vm = mlg_claim_of(vm)->next) {
                MlgStep *step = mlg_claim_of(vm)->step;
                uint64_t part = mlg_sub_sat(step->target_kib, vm->floor_kib);

                if (mlg_claim_of(vm)->suffers != suffering)
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
        return mlg_sub_sat(mlg_claim_of(vm)->keep_kib, mlg_claim_of(vm)->step->target_kib);
}

/* Unmet needs of one rung are served from `*free_kib`, then from guests on lower ones. */
static void serve(const Ladder *l, size_t rung, size_t *donor, uint64_t *free_kib) {
        uint64_t unmet = 0, given;

        for (const MlgVmView *vm = l->rungs[rung]; vm; vm = mlg_claim_of(vm)->next)
                unmet += unmet_kib(vm);
        if (unmet > *free_kib)
                *free_kib += take_below(l, donor, rung, false, unmet - *free_kib);
        given = mlg_min(unmet, *free_kib);
        for (const MlgVmView *vm = l->rungs[rung]; vm && unmet > 0; vm = mlg_claim_of(vm)->next) {
                uint64_t part = mlg_min(mlg_mul_div(unmet_kib(vm), given, unmet), *free_kib);

                mlg_claim_of(vm)->step->target_kib += part;
                *free_kib -= part;
        }
}

static void keep_half_cushions(const MlgVmView *vms, size_t n) {
        for (size_t i = 0; i < n; i++) {
                MlgClaim *c = mlg_claim_of(&vms[i]);

                if (vms[i].movable)
                        c->step->target_kib = mlg_min(mlg_max(vms[i].actual_kib, vms[i].floor_kib),
                                                      mlg_min(c->keep_kib + vms[i].cushion_kib / 2, mlg_max(c->want_kib, c->keep_kib)));
        }
}

void mlg_share_short(const MlgHostView *host, const MlgVmView *vms, size_t n, MlgPlan *plan) {
        uint64_t budget_kib = mlg_share_budget_kib(host), held = 0, free_kib;
        size_t donor = 0;
        Ladder ladder;

        for (size_t i = 0; i < n; i++) {
                MlgClaim *c = mlg_claim_of(&vms[i]);

                if (!vms[i].movable)
                        continue;
                c->step = &plan->steps[i];
                c->step->target_kib = mlg_min(c->keep_kib, mlg_max(vms[i].actual_kib, vms[i].floor_kib));
                c->step->reason = c->suffers ? MLG_REASON_PRESSURE : MLG_REASON_SHORTAGE;
                held += c->step->target_kib;
        }
        climb(vms, n, &ladder);
        if (held > budget_kib && !host->is_short) {
                keep_half_cushions(vms, n);
                return;
        }
        if (held > budget_kib) { /* overrun */
                uint64_t over = held - budget_kib;

                over -= take_below(&ladder, &donor, MLG_N_RUNGS, false, over);
                donor = 0;
                (void) take_below(&ladder, &donor, MLG_N_RUNGS, true, over);
                return;
        }
        free_kib = budget_kib - held;
        for (size_t rung = MLG_N_RUNGS; rung-- > 0;)
                serve(&ladder, rung, &donor, &free_kib);
}

uint64_t mlg_share_budget_kib(const MlgHostView *host) {
        return mlg_sub_sat(host->budget_kib, host->fixed_kib);
}

void mlg_share_out(const MlgHostView *host, const MlgVmView *vms, size_t n, MlgPlan *plan) {
        uint64_t budget = mlg_share_budget_kib(host), want = 0, keep = 0;

        for (size_t i = 0; i < n; i++) {
                if (!vms[i].movable)
                        continue;
                want = mlg_add_sat(want, mlg_claim_of(&vms[i])->want_kib);
                keep = mlg_add_sat(keep, mlg_claim_of(&vms[i])->keep_kib);
        }
        if (want <= budget)
                decide_plenty(vms, n, budget - want, host->stalls, plan);
        else if (keep <= budget)
                decide_tight(vms, n, budget - keep, plan);
        else
                mlg_share_short(host, vms, n, plan);
        plan->shortage_kib = mlg_sub_sat(keep, budget);
}
