/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: built with the headers of another time. */
#include "memlego/plugin.h"

static int test_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        return 0;
}

const MlgPolicyOps memlego_policy = {
        .abi = MLG_POLICY_ABI + 1,
        .size = sizeof(MlgPolicyOps),
        .name = "old-abi",
        .description = "for tests",
        .decide = test_decide,
};
