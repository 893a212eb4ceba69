/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Last: the guest will need what it used in its last report.
 *
 * The baseline that every other predictor must beat. Error: mean excess of demand over the forecast,
 * forgotten with the weight below. */
#include <errno.h>

#include "memlego/predictor.h"
#include "util/util.h"

/* Each report counts 1/16: at one report per second the error is that of the last quarter of a minute. */
#define ERROR_SHIFT 4

typedef struct Last {
        uint64_t used_kib;
        uint64_t error_kib;
        bool seen;
} Last;

static void last_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        Last *l = priv;

        if (l->seen) {
                uint64_t excess = mlg_sub_sat(s->used_kib, l->used_kib);

                l->error_kib = l->error_kib - (l->error_kib >> ERROR_SHIFT) + (excess >> ERROR_SHIFT);
        }
        l->used_kib = s->used_kib;
        l->seen = true;
}

static int last_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const Last *l = priv;

        if (!l->seen)
                return -ENODATA;
        *ret = (MlgForecast) { .need_kib = l->used_kib, .error_kib = l->error_kib };
        return 0;
}

extern const MlgPredictorOps mlg_predictor_last;
const MlgPredictorOps mlg_predictor_last = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "last",
        .description = "the demand of the last report",
        .priv_size = sizeof(Last),
        .observe = last_observe,
        .predict = last_predict,
};
