/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ewma: an exponentially weighted average of demand that rises fast and falls slowly, carried on while
 * demand rises.
 *
 *   P(t) = P(t-1) + a * (U(t) - P(t-1)),   a = 1 - exp(-dt / tau),   tau = TAU_UP if U > P, else TAU_DOWN
 *   R(t) = max((U(t) - U(t-1)) / dt, R(t-1) * exp(-dt / TAU_RISE), 0)
 *   forecast for horizon h:  P + R * h, at most the guest's maximum
 *
 * This is iBalloon's idea (average of observed use; the cushion on top is added by the engine). Its paper's
 * formula is not public; this form, its asymmetry and its constants are ours. Writing the weight as a
 * function of the time between two reports makes the result independent of the poll interval and of missed
 * reports.
 *
 * Error: mean excess of demand over the forecast made before it, with the weight of TAU_ERROR. Falling
 * demand is no error: the average lags there on purpose. */
#include <errno.h>
#include <math.h>

#include "memlego/predictor.h"
#include "util/util.h"

/* One report (1 s) closes 86 % of a rise: a single odd report does not count fully, two do. */
#define TAU_UP_SEC 0.5
/* Programs free and take memory again in cycles of seconds to a minute; half of a fall is believed after 20
 * s. */
#define TAU_DOWN_SEC 30.0
/* A rise is believed to go on while it does; two quiet reports end it. */
#define TAU_RISE_SEC 0.7
/* The cushion should remember a burst for some minutes: bursts come in groups. */
#define TAU_ERROR_SEC 60.0

typedef struct Ewma {
        double need_kib;
        double error_kib;
        double used_kib;         /* of the last report */
        double rise_kib_per_sec;
        uint64_t maximum_kib;
        uint64_t at_usec;
        bool seen;
} Ewma;

static double weight(double dt_sec, double tau_sec) {
        return 1.0 - exp(-dt_sec / tau_sec);
}

static void ewma_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        Ewma *e = priv;
        double used = (double) s->used_kib, dt;

        e->maximum_kib = s->maximum_kib;
        if (!e->seen) {
                e->need_kib = e->used_kib = used;
                e->at_usec = s->at_usec;
                e->seen = true;
                return;
        }
        dt = (double) mlg_sub_sat(s->at_usec, e->at_usec) / (double) MLG_USEC_PER_SEC;
        e->error_kib += weight(dt, TAU_ERROR_SEC) * (fmax(used - e->need_kib, 0.0) - e->error_kib);
        e->need_kib += weight(dt, used > e->need_kib ? TAU_UP_SEC : TAU_DOWN_SEC) * (used - e->need_kib);
        e->rise_kib_per_sec *= exp(-dt / TAU_RISE_SEC);
        if (dt > 0.0)
                e->rise_kib_per_sec = fmax(e->rise_kib_per_sec, (used - e->used_kib) / dt);
        e->used_kib = used;
        e->at_usec = s->at_usec;
}

static int ewma_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const Ewma *e = priv;
        double need;

        if (!e->seen)
                return -ENODATA;
        need = e->need_kib + e->rise_kib_per_sec * ((double) horizon_usec / (double) MLG_USEC_PER_SEC);
        need = fmin(need, fmax((double) e->maximum_kib, e->need_kib));
        *ret = (MlgForecast) { .need_kib = (uint64_t) need, .error_kib = (uint64_t) e->error_kib };
        return 0;
}

extern const MlgPredictorOps mlg_predictor_ewma;
const MlgPredictorOps mlg_predictor_ewma = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "ewma",
        .description = "weighted average of demand, fast up and slow down, carried on while it rises",
        .priv_size = sizeof(Ewma),
        .observe = ewma_observe,
        .predict = ewma_predict,
};
