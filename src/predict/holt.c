/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Holt: level and trend of demand, smoothed both, the trend dying away (double exponential smoothing with a damped trend).
 *
 * C. C. Holt, "Forecasting seasonals and trends by exponentially weighted moving averages", 1957; the damped trend is of
 * E. S. Gardner and E. McKenzie, "Forecasting trends in time series", Management Science 31, 1985. Reports come at any
 * time, so the weights are functions of it, as in D. J. Wright, "Forecasting data published at irregular time intervals",
 * Management Science 32, 1986:
 *
 *   d(t) = tau_damp * (1 - exp(-t / tau_damp))                how far a trend of 1 leads in the time t
 *   L'   = L + T * d(dt),   T' = T * exp(-dt / tau_damp)      what was foretold for now
 *   L    = L' + a * (U - L'),                     a = 1 - exp(-dt / tau_level)
 *   T    = T' + b * ((L - L_before) / dt - T'),   b = 1 - exp(-dt / tau_trend)
 *   forecast for horizon h:  max(U, L, L + T * d(h)), at most the guest's maximum
 *
 * All times are in horizons: what is far shorter says nothing of one, and nothing goes on for much longer. The need is the greatest demand within the horizon, which begins now: so it is never below the demand now, and a falling trend
 * does not lower it.
 *
 * Error: mean excess of demand over the forecast before. */
#include <errno.h>
#include <math.h>

#include "memlego/predictor.h"
#include "util/util.h"

/* In horizons. A third: with the default of 3 s the level follows a step within two or three reports. A trend is what went
 * on for a horizon, and is believed to go on for two. */
#define TAU_LEVEL (1.0 / 3.0)
#define TAU_TREND 1.0
#define TAU_DAMP 2.0
/* The cushion remembers a burst for a minute with the default horizon, as that of ewma. */
#define TAU_ERROR 20.0

typedef struct Holt {
        uint64_t at_usec;
        uint64_t maximum_kib, used_kib; /* of the last report */
        double level_kib, trend_kib_per_sec;
        double horizon_sec;
        double need_kib, error_kib;
        bool seen;
} Holt;

static double weight(double dt, double tau) {
        return 1.0 - exp(-dt / tau);
}

static double lead_sec(const Holt *h, double t) {
        double tau = TAU_DAMP * h->horizon_sec;

        return tau * weight(t, tau);
}

static double need_kib(const Holt *h, double horizon_sec) {
        double rise = fmax(h->trend_kib_per_sec, 0.0) * lead_sec(h, horizon_sec);
        double most = (double) mlg_max(h->maximum_kib, h->used_kib);

        return fmin(fmax(h->level_kib + rise, (double) h->used_kib), most);
}

static void smooth(Holt *h, double used, double dt) {
        double before = h->level_kib, trend = h->trend_kib_per_sec * exp(-dt / (TAU_DAMP * h->horizon_sec));
        double foretold = before + h->trend_kib_per_sec * lead_sec(h, dt);
        double most = (double) mlg_max(h->maximum_kib, h->used_kib);

        h->level_kib = foretold + weight(dt, TAU_LEVEL * h->horizon_sec) * (used - foretold);
        h->level_kib = fmin(fmax(h->level_kib, 0.0), most);
        h->trend_kib_per_sec =
                trend + weight(dt, TAU_TREND * h->horizon_sec) * ((h->level_kib - before) / dt - trend);
}

static void holt_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        Holt *h = priv;
        double used = (double) s->used_kib, dt = (double) mlg_sub_sat(s->at_usec, h->at_usec) / (double) MLG_USEC_PER_SEC;

        h->at_usec = s->at_usec;
        h->maximum_kib = s->maximum_kib;
        h->used_kib = s->used_kib;
        h->horizon_sec = (double) mlg_max(horizon_usec, 1) / (double) MLG_USEC_PER_SEC;
        if (!h->seen)
                h->level_kib = used;
        else if (dt > 0.0) {
                h->error_kib += weight(dt, TAU_ERROR * h->horizon_sec) * (fmax(used - h->need_kib, 0.0) - h->error_kib);
                smooth(h, used, dt);
        }
        h->seen = true;
        h->need_kib = need_kib(h, h->horizon_sec);
}

static int holt_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const Holt *h = priv;

        if (!h->seen)
                return -ENODATA;
        *ret = (MlgForecast) {
                .need_kib = (uint64_t) need_kib(h, (double) horizon_usec / (double) MLG_USEC_PER_SEC),
                .error_kib = (uint64_t) h->error_kib,
        };
        return 0;
}

extern const MlgPredictorOps mlg_predictor_holt;
const MlgPredictorOps mlg_predictor_holt = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "holt",
        .description = "level and trend of demand, smoothed, the trend dying away",
        .priv_size = sizeof(Holt),
        .observe = holt_observe,
        .predict = holt_predict,
};
