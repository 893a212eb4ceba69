/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Test plug-in: a predictor that never comes back. */
#include "memlego/plugin.h"

static void test_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        for (volatile uint64_t *turns = priv;; (*turns)++)
                ;
}

static int test_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        ret->need_kib = *(const uint64_t *) priv * 1;
        return 0;
}

const MlgPredictorOps memlego_predictor = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "loop-predictor",
        .description = "for tests",
        .priv_size = sizeof(uint64_t),
        .observe = test_observe,
        .predict = test_predict,
};
