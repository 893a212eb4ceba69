/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proportional: everybody gets what it needs plus a cushion; the rest is shared by shares; shortage is taken
 * from slack. All as policies/share.h says, with
 *      need = the forecast of its demand,  keep = what of that it uses now.
 * So no guest is cut below its need for the sake of another one of the same priority: that would only move the
 * pain. */
#include "policies/share.h"

static int proportional_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        for (size_t i = 0; i < n_vms; i++)
                if (vms[i].movable)
                        mlg_claim_make(&vms[i], vms[i].need_kib, mlg_claim_keep_kib(&vms[i]));
        mlg_share_out(host, vms, n_vms, plan);
        return 0;
}

extern const MlgPolicyOps mlg_policy_proportional;
const MlgPolicyOps mlg_policy_proportional = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "proportional",
        .description = "needs plus cushions, surplus by shares, shortage from slack",
        .vm_priv_size = sizeof(MlgClaim),
        .decide = proportional_decide,
};
