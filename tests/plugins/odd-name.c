/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: its name is not that of its file. */
#include "memlego/plugin.h"

static int test_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        return 0;
}

const MlgPolicyOps memlego_policy = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "another-name",
        .description = "for tests",
        .decide = test_decide,
};
