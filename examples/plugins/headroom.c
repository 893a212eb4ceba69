/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Headroom: each guest has its need and its cushion, and not more; what is left stays with the host.
 *
 * An example of a policy for memlegod, see memlego-plugin(7). Where there is not enough for all, everybody
 * gets the same part of what it wants above its floor. Rates, dead bands, the order of moves and the host's
 * limit are the guard's business, which comes after every policy. */
#include <memlego/plugin.h>

static uint64_t clamp(uint64_t v, uint64_t least, uint64_t most) {
        return v < least ? least : v > most ? most : v;
}

/* What the guest should have. One that suffers cannot show what it needs: half as much again as it has. */
static uint64_t want_kib(const MlgVmView *vm) {
        uint64_t want = vm->need_kib + vm->cushion_kib;

        if (vm->pressure != MLG_PRESSURE_NONE && want < vm->actual_kib + vm->actual_kib / 2)
                want = vm->actual_kib + vm->actual_kib / 2;
        return clamp(want, vm->floor_kib, vm->ceiling_kib);
}

static MlgStep step_for(const MlgVmView *vm, uint64_t more_kib, uint64_t more_wanted_kib) {
        uint64_t want = want_kib(vm), above = want - vm->floor_kib;
        MlgStep step = { want, vm->pressure != MLG_PRESSURE_NONE ? MLG_REASON_PRESSURE : MLG_REASON_DEMAND };

        if (more_kib < more_wanted_kib) {
                double part = (double) more_kib / (double) more_wanted_kib; /* which cannot overflow */

                step.target_kib = vm->floor_kib + (uint64_t) ((double) above * part);
                step.reason = MLG_REASON_SHORTAGE;
        }
        return step;
}

static int decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        uint64_t floors = host->fixed_kib, more_wanted = 0, more;

        (void) priv;
        for (size_t i = 0; i < n_vms; i++)
                if (vms[i].movable) {
                        floors += vms[i].floor_kib;
                        more_wanted += want_kib(&vms[i]) - vms[i].floor_kib;
                }
        more = host->budget_kib > floors ? host->budget_kib - floors : 0;
        for (size_t i = 0; i < n_vms; i++)
                if (vms[i].movable)
                        plan->steps[i] = step_for(&vms[i], more, more_wanted);
        plan->shortage_kib = more_wanted > more ? more_wanted - more : 0;
        return 0;
}

const MlgPolicyOps memlego_policy = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "headroom",
        .description = "need and cushion for each guest, the rest for the host",
        .decide = decide,
};
