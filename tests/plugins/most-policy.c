/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: a policy that gives each guest as much as it may have. */
#include "memlego/plugin.h"

static int test_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        for (size_t i = 0; i < n_vms; i++)
                plan->steps[i] = (MlgStep) { vms[i].ceiling_kib, MLG_REASON_SURPLUS };
        return 0;
}

const MlgPolicyOps memlego_policy = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "most-policy",
        .description = "for tests",
        .decide = test_decide,
};
