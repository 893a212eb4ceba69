/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: a predictor and a policy in one file, which is refused. */
#include "memlego/plugin.h"

static int test_decide(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan) {
        return 0;
}

static void test_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        *(uint64_t *) priv = s->used_kib;
}

static int test_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        ret->need_kib = *(const uint64_t *) priv * 1;
        return 0;
}

const MlgPolicyOps memlego_policy = {
        .abi = MLG_POLICY_ABI,
        .size = sizeof(MlgPolicyOps),
        .name = "both",
        .description = "for tests",
        .decide = test_decide,
};

const MlgPredictorOps memlego_predictor = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "both",
        .description = "for tests",
        .priv_size = sizeof(uint64_t),
        .observe = test_observe,
        .predict = test_predict,
};
