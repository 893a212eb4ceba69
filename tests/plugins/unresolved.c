/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: it wants a function of memlegod, which has none for it. */
#include "memlego/plugin.h"

static int test_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        return mlg_reason_to_string(MLG_REASON_NONE) != NULL;
}

const MlgPolicyOps memlego_policy = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "unresolved",
        .description = "for tests",
        .decide = test_decide,
};
