/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Auto: follows that of the other predictors which would have cost least on this guest so far.
 *
 * All of them see all samples. Once per horizon each is asked what it would keep: its upper bound, or its need and a usual
 * cushion. When the horizon is over, that is held against the greatest demand D within it:
 *
 *      cost(r) = max(r - D, 0) + PRICE_MISSING * max(D - r, 0) + (D > r ? PRICE_SHORT : 0)       (predict/prices.h)
 *
 * the first two of which are the pinball loss at the quantile PRICE_MISSING / (1 + PRICE_MISSING) = 0.95. The mean of the
 * costs, the older the less, is the member's score. The one in use is left for another whose score is clearly better only,
 * so that guests' reserves do not jump for nothing.
 *
 * What is forecast is the need of the member in use, and what it would keep as upper bound: so what is scored is what counts.
 *
 * The members' states lie one after the other in ours. They have no reflect(). Work per report: the sum of theirs. */
#include <assert.h>
#include <errno.h>
#include <stdalign.h>
#include <string.h>

#include "memlego/predictor.h"
#include "predict/prices.h"
#include "util/util.h"

extern const MlgPredictorOps mlg_predictor_ar, mlg_predictor_context, mlg_predictor_ewma, mlg_predictor_holt,
        mlg_predictor_last, mlg_predictor_quantile, mlg_predictor_seasonal;

/* The first is used while nothing is known of any. Those with a state_version come first: what is saved of them then lies where
 * it lay, whatever becomes of the others. */
static const MlgPredictorOps *const members[] = {
        &mlg_predictor_seasonal, &mlg_predictor_quantile, &mlg_predictor_context, &mlg_predictor_ar,
        &mlg_predictor_holt,     &mlg_predictor_ewma,     &mlg_predictor_last,
};
#define N_MEMBERS (sizeof(members) / sizeof(members[0]))

/* In horizons: a week of five minutes. Shortages are rare, one in some hundred horizons: fewer say nothing about them. */
#define HORIZONS_REMEMBERED 2016.0
/* A member in use is left for one that costs a tenth less. */
#define CLEARLY 0.9
/* What is kept beyond a need with no upper bound: as the defaults of Cushion= and CushionRatio= and twice the error. */
#define CUSHION_KIB (64 * MLG_KIB_PER_MIB)
#define CUSHION_PERMILLE 150

#define STATES_BYTES (15 * 1024)
/* One for what is here, and the sum of the members' own: it changes with each of them (a unit test holds that). */
#define STATE_VERSION (1 + 3)

typedef struct Member {
        double score_kib;   /* mean cost */
        uint64_t kept_kib;  /* for the horizon that runs */
} Member;

typedef struct Auto {
        uint64_t at_usec, judge_usec; /* judge: the horizon that runs ends; 0: none runs */
        uint64_t horizon_usec;
        uint64_t maximum_kib, peak_kib;
        double n_judged;
        Member member[N_MEMBERS];
        uint32_t used;                /* of the members */
        alignas(8) unsigned char states[STATES_BYTES];
} Auto;
static_assert(sizeof(Auto) <= MLG_PREDICTOR_PRIV_MAX, "the state is too large");

/* A unit test holds that they all fit. */
static size_t state_offset(size_t i) {
        size_t offset = 0;

        for (size_t m = 0; m < i; m++)
                offset += (members[m]->priv_size + 7) / 8 * 8;
        assert(offset + members[i]->priv_size <= sizeof(((Auto *) 0)->states));
        return offset;
}

static bool ask(const Auto *a, size_t i, uint64_t horizon_usec, MlgForecast *ret) {
        uint64_t cushion;

        if (members[i]->predict(a->states + state_offset(i), horizon_usec, ret) < 0)
                return false;
        cushion = mlg_max(CUSHION_KIB, mlg_mul_div(ret->need_kib, CUSHION_PERMILLE, 1000));
        if (ret->upper_kib == 0)
                ret->upper_kib = ret->need_kib + mlg_max(cushion, 2 * ret->error_kib);
        ret->upper_kib = mlg_max(mlg_min(ret->upper_kib, a->maximum_kib), ret->need_kib);
        return true;
}

static double cost_kib(uint64_t kept_kib, uint64_t demand_kib) {
        if (demand_kib > kept_kib)
                return MLG_PRICE_SHORT_KIB + MLG_PRICE_MISSING * (double) (demand_kib - kept_kib);
        return (double) (kept_kib - demand_kib);
}

static void judge(Auto *a) {
        uint32_t best = a->used;
        double weight;

        a->n_judged += a->n_judged < HORIZONS_REMEMBERED ? 1.0 : 0.0;
        weight = 1.0 / a->n_judged;
        for (uint32_t i = 0; i < N_MEMBERS; i++) {
                Member *m = &a->member[i];

                m->score_kib += weight * (cost_kib(m->kept_kib, a->peak_kib) - m->score_kib);
        }
        for (uint32_t i = 0; i < N_MEMBERS; i++)
                if (a->member[i].score_kib < a->member[best].score_kib)
                        best = i;
        if (a->member[best].score_kib < CLEARLY * a->member[a->used].score_kib)
                a->used = best;
}

static void begin_judging(Auto *a) {
        for (size_t i = 0; i < N_MEMBERS; i++) {
                MlgForecast f;

                a->member[i].kept_kib = ask(a, i, a->horizon_usec, &f) ? f.upper_kib : a->maximum_kib;
        }
        a->judge_usec = a->at_usec + mlg_max(a->horizon_usec, 1);
        a->peak_kib = 0;
}

static void auto_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        Auto *a = priv;

        if (a->horizon_usec != horizon_usec) { /* scores are of one horizon */
                a->n_judged = 0;
                a->judge_usec = 0;
        }
        if (s->at_usec < a->at_usec || s->at_usec > a->judge_usec + horizon_usec) /* another clock, or a silence */
                a->judge_usec = 0;
        a->at_usec = s->at_usec;
        a->horizon_usec = horizon_usec;
        a->maximum_kib = s->maximum_kib;
        a->peak_kib = mlg_max(a->peak_kib, s->used_kib);
        if (a->judge_usec > 0 && s->at_usec >= a->judge_usec) {
                judge(a);
                a->judge_usec = 0;
        }
        for (size_t i = 0; i < N_MEMBERS; i++)
                members[i]->observe(a->states + state_offset(i), s, horizon_usec);
        if (a->judge_usec == 0)
                begin_judging(a);
}

static int auto_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const Auto *a = priv;
        MlgForecast f;

        if (a->horizon_usec == 0 || !ask(a, a->used, horizon_usec, &f))
                return -ENODATA;
        *ret = f;
        return 0;
}

static void auto_restarted(void *priv) {
        Auto *a = priv;

        for (size_t i = 0; i < N_MEMBERS; i++) {
                void *state = a->states + state_offset(i);

                if (members[i]->restarted)
                        members[i]->restarted(state);
                else
                        memset(state, 0, members[i]->priv_size);
        }
        a->judge_usec = 0;
}

/* Those that learn in seconds begin anew. */
static void auto_resumed(void *priv, uint64_t at_usec) {
        Auto *a = priv;

        for (size_t i = 0; i < N_MEMBERS; i++) {
                void *state = a->states + state_offset(i);

                if (members[i]->state_version == 0)
                        memset(state, 0, members[i]->priv_size);
                else if (members[i]->resumed)
                        members[i]->resumed(state, at_usec);
        }
        a->at_usec = at_usec;
        a->judge_usec = 0;
}

static const char *auto_follows(const void *priv) {
        const Auto *a = priv;

        return members[a->used]->name;
}

extern const MlgPredictorOps mlg_predictor_auto;
const MlgPredictorOps mlg_predictor_auto = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "auto",
        .description = "of all others the one that would have cost least on this guest so far",
        .priv_size = sizeof(Auto),
        .observe = auto_observe,
        .predict = auto_predict,
        .restarted = auto_restarted,
        .state_version = STATE_VERSION,
        .resumed = auto_resumed,
        .follows = auto_follows,
};
