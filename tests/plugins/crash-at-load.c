/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: it crashes as soon as it is loaded. */
#include <stdlib.h>

#include "memlego/plugin.h"

static __attribute__((constructor)) void on_load(void) {
        abort();
}

static int test_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        return 0;
}

const MlgPolicyOps memlego_policy = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "crash-at-load",
        .description = "for tests",
        .decide = test_decide,
};
