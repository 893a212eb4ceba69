/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Quantile: the greatest demand of the last hour, and by how much demand rose above it within the horizon in the last weeks,
 * but for the few highest times; how few is found such that three of a thousand horizons exceed it (predict/bound.h).
 *
 * The need is the demand of the last report. Work per report is O(1): a microsecond at the end of a slot. */
#include <errno.h>

#include "memlego/predictor.h"
#include "predict/bound.h"
#include "util/util.h"

/* Of the struct and its bound, and of all that gives their numbers a meaning. */
#define STATE_VERSION 1

typedef struct Quantile {
        MlgBound bound;
        uint64_t maximum_kib, used_kib, upper_kib;
} Quantile;

static void quantile_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        Quantile *q = priv;

        q->maximum_kib = s->maximum_kib;
        q->used_kib = s->used_kib;
        if (mlg_bound_add(&q->bound, s->at_usec, s->used_kib, s->maximum_kib, horizon_usec))
                q->upper_kib = mlg_bound_next(&q->bound, mlg_bound_recent(&q->bound));
}

static int quantile_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const Quantile *q = priv;

        if (q->bound.unit_kib <= 0)
                return -ENODATA;
        *ret = (MlgForecast) {
                .need_kib = q->used_kib,
                .upper_kib = mlg_max(mlg_min(q->upper_kib, q->maximum_kib), q->used_kib),
        };
        return 0;
}

/* Its memory is another one now; its ways are not. */
static void quantile_restarted(void *priv) {
        Quantile *q = priv;

        mlg_bound_interrupt(&q->bound);
}

static void quantile_resumed(void *priv, uint64_t at_usec) {
        Quantile *q = priv;

        mlg_bound_interrupt(&q->bound);
}

extern const MlgPredictorOps mlg_predictor_quantile;
const MlgPredictorOps mlg_predictor_quantile = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "quantile",
        .description = "by how much demand rose lately, but for three in a thousand times",
        .priv_size = sizeof(Quantile),
        .observe = quantile_observe,
        .predict = quantile_predict,
        .restarted = quantile_restarted,
        .state_version = STATE_VERSION,
        .resumed = quantile_resumed,
};
