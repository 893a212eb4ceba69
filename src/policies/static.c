/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Static: never moves anything. The safe fallback, and the baseline of every comparison. */
#include "memlego/policy.h"

static int static_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        return 0; /* all steps are preset to "hold" */
}

extern const MlgPolicyOps mlg_policy_static;
const MlgPolicyOps mlg_policy_static = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "static",
        .description = "leave all guests as they are",
        .decide = static_decide,
};
