/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: a policy that crashes. */
#include <stdlib.h>

#include "memlego/plugin.h"

static int test_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        abort();
}

const MlgPolicyOps memlego_policy = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "crash-policy",
        .description = "for tests",
        .decide = test_decide,
};
