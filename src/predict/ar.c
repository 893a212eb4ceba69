/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ar: the next demand as a weighted sum of the last three, the weights learned as demand comes (an autoregressive model,
 * fitted by recursive least squares with forgetting).
 *
 *   x(k) = c + w1 * x(k-1) + w2 * x(k-2) + w3 * x(k-3)        x: greatest demand of slot k, as a part of the maximum
 *
 *   v = (1, x(k-1), x(k-2), x(k-3)),   g = P v / (F + v' P v)
 *   w = w + g * (x(k) - v' w),         P = (P - g v' P) / F
 *
 * (L. Ljung, "System Identification", 2nd ed., 1999, 11.2). It learns demand that swings, or that goes on as it began.
 *
 * The forecast is the greatest of the values that follow each other by this rule within the horizon, and of the demand now;
 * the demand now alone where the rule would grow or swing ever wider (a step-down test finds that), or has seen too little.
 *
 * Kept safe: P is not let grow where demand stands still and nothing can be learned, it stays symmetric, and whatever is no
 * number any more begins anew. A slot is half a horizon, and at least one report long.
 *
 * Error: mean excess of demand over the forecast for the slot. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "memlego/predictor.h"
#include "util/util.h"

#define ORDER 3
#define N (ORDER + 1) /* and the constant */

/* 200 slots are remembered: long enough to fit four numbers well, short enough for a guest that changes its ways. */
#define FORGET 0.995
/* Before anything is seen, nearly any weights are as likely as those of `last`. Also the most that P grows to. */
#define P_BEGIN 1000.0
#define SLOTS_NEEDED 20
#define SLOTS_PER_HORIZON 2
/* A rule that holds has said all that it knows by then. */
#define STEPS_MOST 16
/* Demand that swings, or rises steadily, makes a rule at the very edge of those that come to rest: 2 % of growth per slot are
 * let pass, no more than 37 % in all. */
#define EDGE 0.98
/* After a pause of so many slots the last values say nothing of the next. */
#define GAP_SLOTS 8
#define ERROR_WEIGHT (1.0 / 16.0)

typedef struct Ar {
        uint64_t at_usec, slot_begin_usec;
        uint64_t maximum_kib, used_kib, peak_kib; /* peak: of the slot that runs */
        double step_usec;                         /* how long slots are in fact */
        double last[ORDER];                       /* the newest first */
        double w[N], p[N][N];
        double need_kib, error_kib; /* for the slot that runs */
        uint32_t n_slots;
        bool seen;
} Ar;

static void begin(Ar *a) {
        memset(a->p, 0, sizeof(a->p));
        memset(a->w, 0, sizeof(a->w));
        a->w[1] = 1.0; /* as `last` */
        for (int i = 0; i < N; i++)
                a->p[i][i] = P_BEGIN;
        a->n_slots = 0;
}

static void fill_last(Ar *a, double x) {
        for (int i = 0; i < ORDER; i++)
                a->last[i] = x;
}

static double next_value(const Ar *a, const double *last) {
        double x = a->w[0];

        for (int i = 0; i < ORDER; i++)
                x += a->w[i + 1] * last[i];
        return x;
}

static void shift(double *last, double x) {
        memmove(last + 1, last, (ORDER - 1) * sizeof(last[0]));
        last[0] = x;
}

/* All roots lie within the unit circle, or hardly beyond it: the step-down recursion finds each reflection coefficient below
 * 1. */
static bool is_stable(const Ar *a) {
        double c[ORDER], lower[ORDER];

        for (int i = 0; i < ORDER; i++)
                c[i] = a->w[i + 1] * pow(EDGE, i + 1);
        for (int m = ORDER; m > 0; m--) {
                double k = c[m - 1];

                if (!(fabs(k) < 1.0))
                        return false;
                for (int i = 0; i < m - 1; i++)
                        lower[i] = (c[i] + k * c[m - 2 - i]) / (1.0 - k * k);
                memcpy(c, lower, (size_t) (m - 1) * sizeof(c[0]));
        }
        return true;
}

static void fit(Ar *a, double x) {
        double v[N] = { 1.0 }, pv[N], scale = FORGET, miss, trace = 0, f;

        memcpy(v + 1, a->last, sizeof(a->last));
        for (int i = 0; i < N; i++) {
                pv[i] = 0;
                for (int j = 0; j < N; j++)
                        pv[i] += a->p[i][j] * v[j];
                scale += v[i] * pv[i];
                trace += a->p[i][i];
        }
        miss = x - next_value(a, a->last);
        f = trace < N * P_BEGIN * FORGET ? FORGET : 1.0;
        for (int i = 0; i < N; i++) {
                a->w[i] += pv[i] / scale * miss;
                for (int j = 0; j <= i; j++)
                        a->p[i][j] = a->p[j][i] = (a->p[i][j] - pv[i] * pv[j] / scale) / f;
        }
        for (int i = 0; i < N; i++)
                if (!isfinite(a->w[i]) || !(a->p[i][i] >= 0.0) || !isfinite(a->p[i][i])) {
                        begin(a);
                        return;
                }
}

static double need_kib(const Ar *a, double horizon_usec) {
        double last[ORDER], most = (double) mlg_max(a->maximum_kib, a->used_kib), need = (double) a->used_kib;
        double steps = fmin(ceil(horizon_usec / fmax(a->step_usec, 1.0)), STEPS_MOST);

        if (a->n_slots < SLOTS_NEEDED || !is_stable(a))
                return need;
        memcpy(last, a->last, sizeof(last));
        for (int i = 0; i < steps; i++) {
                double x = fmin(fmax(next_value(a, last), 0.0), 1.0);

                need = fmax(need, x * (double) a->maximum_kib);
                shift(last, x);
        }
        return fmin(need, most);
}

static void end_slot(Ar *a, uint64_t horizon_usec) {
        double length = (double) (a->at_usec - a->slot_begin_usec);
        double x = fmin((double) a->peak_kib / (double) mlg_max(a->maximum_kib, 1), 1.0);

        if (a->step_usec > 0 && length > GAP_SLOTS * a->step_usec)
                fill_last(a, x);
        else {
                a->error_kib += ERROR_WEIGHT * (fmax((double) a->peak_kib - a->need_kib, 0.0) - a->error_kib);
                fit(a, x);
                shift(a->last, x);
                a->n_slots += a->n_slots < SLOTS_NEEDED;
                a->step_usec += (a->step_usec > 0 ? ERROR_WEIGHT : 1.0) * (length - a->step_usec);
        }
        a->slot_begin_usec = a->at_usec;
        a->need_kib = need_kib(a, (double) horizon_usec);
        a->peak_kib = 0;
}

static void ar_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        Ar *a = priv;
        bool other = a->maximum_kib != s->maximum_kib; /* parts of the maximum are others now */

        if (!a->seen || other) {
                begin(a);
                fill_last(a, fmin((double) s->used_kib / (double) mlg_max(s->maximum_kib, 1), 1.0));
                a->need_kib = (double) s->used_kib;
                a->peak_kib = 0;
        }
        if (!a->seen || other || s->at_usec < a->at_usec) /* or another run of the host: its clock began anew */
                a->slot_begin_usec = s->at_usec;
        a->seen = true;
        a->at_usec = s->at_usec;
        a->maximum_kib = s->maximum_kib;
        a->used_kib = s->used_kib;
        a->peak_kib = mlg_max(a->peak_kib, s->used_kib);
        if (s->at_usec > a->slot_begin_usec && s->at_usec - a->slot_begin_usec >= horizon_usec / SLOTS_PER_HORIZON)
                end_slot(a, horizon_usec);
}

static int ar_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const Ar *a = priv;

        if (!a->seen)
                return -ENODATA;
        *ret = (MlgForecast) {
                .need_kib = (uint64_t) need_kib(a, (double) horizon_usec),
                .error_kib = (uint64_t) a->error_kib,
        };
        return 0;
}

extern const MlgPredictorOps mlg_predictor_ar;
const MlgPredictorOps mlg_predictor_ar = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "ar",
        .description = "the last three demands, weighted as has fitted best so far",
        .priv_size = sizeof(Ar),
        .observe = ar_observe,
        .predict = ar_predict,
};
