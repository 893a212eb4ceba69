/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proxmox: the rules of Proxmox VE's pvestatd (PVE::AutoBalloon), to compare with.
 *
 * Each 10 s: goal = 80 % of the host's memory - what is used. Nothing happens while |goal| <= 10 MiB. Memory
 * is given first to guests whose free memory is low (not: MemFree > 25 % of the floor and at or above the
 * floor), and taken first from the others; when a class cannot move the goal any more, all guests take part.
 * Within the chosen guests
 *      desired = floor + (sum(what they have - floor) + rest) x shares / sum(shares),  in [floor, ceiling],
 * and no guest moves by more than 100 MiB per round. Who has more than desired is shrunk even while memory is given out; who has
 * less does not grow while it is taken. Guests that are not to be moved drop out of the sums, and what is left of the goal
 * is shared out again among the others, until nothing changes. */
#include "memlego/policy.h"

#include "util/util.h"

#define INTERVAL_USEC (10 * MLG_USEC_PER_SEC)
#define GOAL_PERMILLE 800
#define LEAST_GOAL_KIB (10 * MLG_KIB_PER_MIB)
#define STEP_KIB ((int64_t) (100 * MLG_KIB_PER_MIB))

/* One guest, in one class. */
typedef struct Guest {
        bool taken_part; /* in this class */
        bool done;
        int64_t planned_kib;
} Guest;

static Guest *guest_of(const MlgVmView *vm) {
        return vm->priv;
}

static bool is_rich(const MlgVmView *vm) {
        return vm->unused_kib > vm->floor_kib / 4 && vm->actual_kib >= vm->floor_kib;
}

/* What it should have of `alloc_kib` that all have above their floors. */
static int64_t desired_kib(const MlgVmView *vm, int64_t alloc_kib, uint64_t shares) {
        uint64_t part = mlg_mul_div(alloc_kib > 0 ? (uint64_t) alloc_kib : 0, vm->shares, shares);

        return (int64_t) mlg_clamp(vm->floor_kib + part, vm->floor_kib, vm->ceiling_kib);
}

/* Shares out what is left of the goal once; returns by how much the plan changed, and whether it did. */
static int64_t share_once(const MlgVmView *vms, size_t n, bool grows, int64_t rest_kib, bool *ret_progress) {
        int64_t alloc = rest_kib, changes = 0;
        uint64_t shares = 0;

        *ret_progress = false;
        for (size_t i = 0; i < n; i++)
                if (vms[i].movable && guest_of(&vms[i])->taken_part && !guest_of(&vms[i])->done) {
                        alloc += guest_of(&vms[i])->planned_kib - (int64_t) vms[i].floor_kib;
                        shares += vms[i].shares;
                }
        for (size_t i = 0; i < n && shares > 0; i++) {
                int64_t has = (int64_t) vms[i].actual_kib, desired, change;
                Guest *g = guest_of(&vms[i]);

                if (!vms[i].movable || !g->taken_part || g->done)
                        continue;
                desired = desired_kib(&vms[i], alloc, shares);
                if (desired == has || (desired > has && !grows)) {
                        g->done = true;
                        continue;
                }
                desired = CLAMP(desired, has - STEP_KIB, has + STEP_KIB);
                change = desired - g->planned_kib;
                g->planned_kib = desired;
                changes += change;
                *ret_progress |= change != 0;
        }
        return changes;
}

/* Moves one class of guests; returns what is left of the goal. */
static int64_t move_class(const MlgVmView *vms, size_t n, int64_t goal_kib, bool all, bool rich) {
        int64_t rest = goal_kib;
        bool progress = true;

        for (size_t i = 0; i < n; i++)
                if (vms[i].movable) {
                        guest_of(&vms[i])->taken_part = all || is_rich(&vms[i]) == rich;
                        guest_of(&vms[i])->done = false;
                }
        /* Each round that changes anything follows one in which a guest dropped out. */
        for (size_t rounds = 0; rest != 0 && progress && rounds < n + 2; rounds++)
                rest -= share_once(vms, n, goal_kib > 0, rest, &progress);
        return rest;
}

static void write_steps(const MlgVmView *vms, size_t n, int64_t goal_kib, MlgPlan *plan) {
        for (size_t i = 0; i < n; i++) {
                uint64_t target;

                if (!vms[i].movable || guest_of(&vms[i])->planned_kib == (int64_t) vms[i].actual_kib)
                        continue;
                /* The step may end outside of bounds that what it has is far away from. */
                target = mlg_clamp((uint64_t) guest_of(&vms[i])->planned_kib, vms[i].floor_kib, vms[i].ceiling_kib);
                plan->steps[i] = (MlgStep) { target, goal_kib > 0 ? MLG_REASON_SURPLUS : MLG_REASON_HOST_PRESSURE };
        }
}

static int proxmox_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        int64_t used = (int64_t) mlg_sub_sat(host->total_kib, host->available_kib);
        int64_t goal = (int64_t) mlg_mul_div(host->total_kib, GOAL_PERMILLE, 1000) - used, rest;

        if (goal <= (int64_t) LEAST_GOAL_KIB && goal >= -(int64_t) LEAST_GOAL_KIB)
                return 0;
        for (size_t i = 0; i < n_vms; i++)
                if (vms[i].movable)
                        guest_of(&vms[i])->planned_kib = (int64_t) vms[i].actual_kib;
        rest = move_class(vms, n_vms, goal, false, goal < 0);
        if (goal > 0 ? rest >= goal : rest <= goal) /* no progress */
                (void) move_class(vms, n_vms, rest, true, false);
        write_steps(vms, n_vms, goal, plan);
        return 0;
}

extern const MlgPolicyOps mlg_policy_proxmox;
const MlgPolicyOps mlg_policy_proxmox = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "proxmox",
        .description = "Proxmox VE's auto-ballooning rules, to compare with",
        .vm_priv_size = sizeof(Guest),
        .interval_usec = INTERVAL_USEC,
        .decide = proxmox_decide,
};
