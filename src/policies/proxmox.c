/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proxmox: the rules of Proxmox VE's pvestatd (PVE::AutoBalloon), to compare with.
 *
 * Each 10 s: goal = 80 % of the host's memory - what is used. Nothing happens while |goal| <= 10 MiB. Memory
 * is given first to guests whose free memory is low (not: MemFree > 25 % of the floor and at or above the
 * floor), and taken first from the others; when a class cannot move the goal any more, all guests take part.
 * Within the chosen guests
 *      desired = floor + (sum(actual - floor) + goal) x shares / sum(shares),  in [floor, ceiling],
 * and no guest moves by more than 100 MiB per round. */
#include "memlego/policy.h"

#include "util/util.h"

#define INTERVAL_USEC (10 * MLG_USEC_PER_SEC)
#define GOAL_PERMILLE 800
#define LEAST_GOAL_KIB (10 * MLG_KIB_PER_MIB)
#define STEP_KIB (100 * MLG_KIB_PER_MIB)

static bool is_rich(const MlgVmView *vm) {
        return vm->unused_kib > vm->floor_kib / 4 && vm->actual_kib >= vm->floor_kib;
}

/* Share-weighted targets for one class of guests; returns how much of the goal they take up. */
static int64_t move_class(const MlgVmView *vms, size_t n, int64_t goal_kib, bool all, bool rich, MlgPlan *plan) {
        uint64_t shares = 0;
        int64_t above = 0, moved = 0;

        for (size_t i = 0; i < n; i++)
                if (vms[i].movable && (all || is_rich(&vms[i]) == rich)) {
                        shares += vms[i].shares;
                        above += (int64_t) mlg_sub_sat(vms[i].actual_kib, vms[i].floor_kib);
                }
        above = above + goal_kib > 0 ? above + goal_kib : 0;
        for (size_t i = 0; i < n && shares > 0; i++) {
                const MlgVmView *vm = &vms[i];
                uint64_t target;

                if (!vm->movable || !(all || is_rich(vm) == rich))
                        continue;
                target = vm->floor_kib + mlg_mul_div((uint64_t) above, vm->shares, shares);
                target = mlg_clamp(target, mlg_sub_sat(vm->actual_kib, STEP_KIB), vm->actual_kib + STEP_KIB);
                target = mlg_clamp(target, vm->floor_kib, vm->ceiling_kib);
                /* A round only grows or only shrinks. */
                if ((goal_kib > 0 && target <= vm->actual_kib) || (goal_kib < 0 && target >= vm->actual_kib))
                        continue;
                plan->steps[i] = (MlgStep) { target, goal_kib > 0 ? MLG_REASON_SURPLUS : MLG_REASON_HOST_PRESSURE };
                moved += (int64_t) target - (int64_t) vm->actual_kib;
        }
        return moved;
}

static int proxmox_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        int64_t used = (int64_t) mlg_sub_sat(host->total_kib, host->available_kib);
        int64_t goal = (int64_t) mlg_mul_div(host->total_kib, GOAL_PERMILLE, 1000) - used;

        if (goal <= (int64_t) LEAST_GOAL_KIB && goal >= -(int64_t) LEAST_GOAL_KIB)
                return 0;
        if (move_class(vms, n_vms, goal, false, goal < 0, plan) == 0)
                (void) move_class(vms, n_vms, goal, true, false, plan);
        return 0;
}

extern const MlgPolicyOps mlg_policy_proxmox;
const MlgPolicyOps mlg_policy_proxmox = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "proxmox",
        .description = "Proxmox VE's auto-ballooning rules, to compare with",
        .interval_usec = INTERVAL_USEC,
        .decide = proxmox_decide,
};
