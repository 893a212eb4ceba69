/* SPDX-License-Identifier: GPL-2.0-or-later */
/* iBalloon: prediction plus cushion, and three states per guest; memory moves only when somebody needs it.
 *
 * What is the paper's (Zhang, Liu et al., "iBalloon", ICWS 2016, as far as it is public): a light monitor per guest, a
 * prediction of its demand, a cushion that is kept free on top, guests that are normal, warning or critical, and a balancer in
 * the host that takes from those with memory to spare and gives to those without. Its formulas and thresholds are not
 * public. Those below are ours, made to fit:
 *      P = forecast of the demand (Predictor=),  c = the cushion (Cushion=),  v = min(usable now, has - P)
 *      critical  v < c/4, or the engine says that it suffers badly;  until v >= c/2
 *      warning   v < c/2, or the engine says that it may suffer;     until v >= 3c/4
 *      normal    else
 *      receivers are those not normal; each wants P + c, a suffering one at least a good step (policies/share.h)
 *      donors are the normal ones; each has slack = what it has - (P + c). While somebody is critical they give half of
 *      their cushion, too.
 * Receivers are served from free memory first, then from slack: the critical ones before those in warning, each group
 * by shares in proportion to what they lack. Donors are cut to one level of slack, weighted by shares, so that the
 * richest give first and most; and only by what is wanted. Where nobody wants anything, nothing moves: memory that is free
 * stays free, and no target follows small changes of demand. That is what the gaps between the thresholds are for.
 * When even P + c/2 of all exceeds what is there, it goes by priority: cases short and overrun of policies/share.h. */
#include "policies/share.h"

#include "util/util.h"

typedef enum GuestState {
        STATE_NORMAL,
        STATE_WARNING,
        STATE_CRITICAL,
} GuestState;

/* One guest. The claim must be first: policies/share.h. */
typedef struct Guest {
        MlgClaim claim;
        GuestState state;
} Guest;

static Guest *guest_of(const MlgVmView *vm) {
        return vm->priv;
}

static GuestState state_of(const MlgVmView *vm, GuestState before) {
        uint64_t v = mlg_min(vm->usable_kib, mlg_sub_sat(vm->actual_kib, vm->need_kib)), c = vm->cushion_kib;

        if (vm->pressure == MLG_PRESSURE_CRITICAL || v < c / 4 || (before == STATE_CRITICAL && v < c / 2))
                return STATE_CRITICAL;
        if (vm->pressure == MLG_PRESSURE_WARNING || v < c / 2 || (before != STATE_NORMAL && v < c / 4 * 3))
                return STATE_WARNING;
        return STATE_NORMAL;
}

/* A donor wants to stay as it is. */
static void make_donor(const MlgVmView *vm, bool somebody_is_critical) {
        MlgClaim *c = mlg_claim_of(vm);
        /* One that is on its way below what it should have stops there. */
        uint64_t should = mlg_min(vm->actual_kib, vm->need_kib + vm->cushion_kib);
        uint64_t has = mlg_clamp(mlg_max(vm->target_kib, should), vm->floor_kib, vm->ceiling_kib);
        uint64_t keep = vm->need_kib + (somebody_is_critical ? vm->cushion_kib / 2 : vm->cushion_kib);

        c->want_kib = has;
        c->keep_kib = vm->shrinkable ? mlg_clamp(keep, vm->floor_kib, has) : has;
        c->held_want_kib = c->held_keep_kib = 0;
        c->why = has == vm->ceiling_kib ? MLG_REASON_CEILING : MLG_REASON_DEMAND;
}

static uint64_t fill_group(const MlgVmView *vm, uint64_t level, const void *group) {
        const MlgClaim *c = mlg_claim_of(vm);

        if (guest_of(vm)->state != *(const GuestState *) group)
                return 0;
        return mlg_fill_by_shares(vm, level, c->want_kib - c->keep_kib, 0);
}

/* Gives `left_kib` to one group of receivers; returns what is left then. */
static uint64_t serve(const MlgVmView *vms, size_t n, GuestState group, uint64_t left_kib) {
        mlg_share_pour(vms, n, fill_group, &group, left_kib);
        return left_kib - mlg_share_keep_given(vms, n);
}

static void write_steps(const MlgVmView *vms, size_t n, MlgPlan *plan) {
        for (size_t i = 0; i < n; i++) {
                const MlgClaim *c = mlg_claim_of(&vms[i]);
                uint64_t target;

                if (!vms[i].movable)
                        continue;
                target = c->keep_kib + c->give_kib;
                plan->steps[i].target_kib = target;
                plan->steps[i].reason = target == c->want_kib || guest_of(&vms[i])->state != STATE_NORMAL ? c->why :
                        target == vms[i].floor_kib ? MLG_REASON_FLOOR : MLG_REASON_DONOR;
        }
}

static int iballoon_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        uint64_t budget = mlg_share_budget_kib(host), keep = 0;
        bool critical = false;

        for (size_t i = 0; i < n_vms; i++)
                if (vms[i].movable) {
                        Guest *g = guest_of(&vms[i]);

                        g->state = state_of(&vms[i], g->state);
                        critical |= g->state == STATE_CRITICAL;
                        mlg_claim_make(&vms[i], vms[i].need_kib, mlg_claim_keep_kib(&vms[i]));
                }
        for (size_t i = 0; i < n_vms; i++)
                if (vms[i].movable) {
                        /* One that was offered relief is no donor, whatever its state by now. */
                        if (guest_of(&vms[i])->state == STATE_NORMAL && !mlg_claim_of(&vms[i])->asks)
                                make_donor(&vms[i], critical);
                        keep = mlg_add_sat(keep, mlg_claim_of(&vms[i])->keep_kib);
                }
        plan->shortage_kib = mlg_sub_sat(keep, budget);
        if (keep > budget) {
                mlg_share_short(host, vms, n_vms, plan);
                return 0;
        }
        budget = serve(vms, n_vms, STATE_CRITICAL, budget - keep);
        budget = serve(vms, n_vms, STATE_WARNING, budget);
        mlg_share_pour(vms, n_vms, mlg_fill_slack, NULL, budget);
        write_steps(vms, n_vms, plan);
        return 0;
}

extern const MlgPolicyOps mlg_policy_iballoon;
const MlgPolicyOps mlg_policy_iballoon = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "iballoon",
        .description = "demand plus cushion, three states: moves memory only when somebody needs it",
        .vm_priv_size = sizeof(Guest),
        .decide = iballoon_decide,
};
