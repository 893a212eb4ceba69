/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Seasonal: what the guest needed at this time of the day and of the period that it was found to have; and by how much
 * demand rose above that, but for the few highest times (predict/bound.h).
 *
 * A history of two weeks holds the greatest demand of each half hour, as a level (predict/levels.h). The base of the bound is
 * the greatest of
 *   - the greatest demand of the last hour;
 *   - the second greatest that was needed at this time of the days before: what happened on one day only is no season;
 *   - the same for the learned period, where there is one; then without that of the day, if this is found to be none.
 * "This time" is from ten minutes before now to ten minutes after the horizon: what runs by a clock starts a little earlier
 * or later.
 *
 * The period is looked for each day, by autocorrelation r: r(p) = 1 - mean((x(t) - x(t - p))^2) / (2 * variance). Demand
 * that moves slowly is alike at small p without any period; so what counts is how far r rises again above its least value at
 * smaller p. That rise is to be larger than what chance makes of as many differences, and the shortest p of those that are
 * as good counts, not its multiples.
 *
 * Half hours are counted by the time of day, which goes on when the host is started anew; by the clock of the samples where
 * none is told. The need is the demand of the last report. Work per report is O(1): a microsecond or two at the end of a slot,
 * some ten at the end of a half hour. */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "memlego/predictor.h"
#include "predict/bound.h"
#include "util/util.h"

#define CELL_SEC 1800
#define CELLS_PER_DAY (86400 / CELL_SEC)
#define N_CELLS (14 * CELLS_PER_DAY + 1) /* a week must have been seen twice to be a period */
#define NEAR_SEC 600

#define PERIOD_LEAST 2 /* an hour */
#define PERIOD_MOST (7 * CELLS_PER_DAY)
/* Of n differences of noise r differs from nothing by 1 / sqrt(n); 4.5 times that comes about by chance in one of some
 * hundred thousand, and here are three hundred to choose from. A rise below a quarter is of no use, however sure. */
#define SURE 4.5
#define RISE_LEAST 0.25
/* A longer period must be better by so much. */
#define BETTER 0.05
/* Of all in one half hour: each costs some microseconds, and the half hours of all guests end at the same time. */
#define PERIODS_AT_ONCE (PERIOD_MOST / CELLS_PER_DAY)

/* The search for a period, which takes a day. */
typedef struct Search {
        double variance, least, best;
        uint16_t next, found; /* next: 0: to begin anew */
        bool has_days;        /* a day is a period as well */
} Search;

/* Of the struct and its bound, and of all that gives their numbers a meaning. */
#define STATE_VERSION 1

typedef struct Seasonal {
        MlgBound bound;
        uint64_t maximum_kib, used_kib, upper_kib;
        uint64_t cell;             /* the half hour that runs, counted from 1970; 0: none yet */
        uint16_t period;           /* in cells; 0: none was found */
        bool has_days;             /* and a day is one as well */
        Search search;
        uint8_t history[N_CELLS];  /* by cell, modulo: level + 1; 0: not known */
} Seasonal;
static_assert(MLG_N_LEVELS < UINT8_MAX, "a level and one more is a byte");

static uint8_t history_at(const Seasonal *s, uint64_t cell) {
        return cell > s->cell || cell + N_CELLS <= s->cell ? 0 : s->history[cell % N_CELLS];
}

/* Greatest of the cells, level + 1; 0: nothing is known of them. */
static uint8_t history_most(const Seasonal *s, uint64_t from, uint64_t to) {
        uint8_t most = 0;

        for (uint64_t c = from; c <= to; c++)
                most = MAX(most, history_at(s, c));
        return most;
}

/* The second greatest of what was needed one, two, ... periods before; the only one where there is but one. */
static uint8_t like_before(const Seasonal *s, uint64_t now_sec, uint64_t horizon_sec, uint64_t period) {
        uint64_t from = mlg_sub_sat(now_sec, NEAR_SEC) / CELL_SEC, to = (now_sec + horizon_sec + NEAR_SEC) / CELL_SEC;
        uint8_t first = 0, second = 0;
        int n = 0;

        for (uint64_t back = period; back < N_CELLS && back <= from; back += period) {
                uint8_t most = history_most(s, from - back, to - back);

                n += most > 0;
                second = MAX(second, MIN(first, most));
                first = MAX(first, most);
        }
        return n > 1 ? second : first;
}

/* ---- the period ---- */

static int level_before(const Seasonal *s, uint64_t back) {
        return back > s->cell ? 0 : history_at(s, s->cell - back);
}

/* 0: all alike, or hardly anything known. The cell that runs is not yet whole: 1 is the first. */
static double variance(const Seasonal *s) {
        double n = 0, sum = 0, squares = 0;

        for (uint64_t i = 1; i < N_CELLS; i++) {
                double x = level_before(s, i);

                if (x > 0) {
                        n++;
                        sum += x;
                        squares += x * x;
                }
        }
        return n < 2 ? 0 : squares / n - sum / n * sum / n;
}

/* Sum of squares of differences over `period`; their number. */
static int difference(const Seasonal *s, uint64_t period, int *ret_n) {
        int sum = 0;

        *ret_n = 0;
        for (uint64_t i = 1; i + period < N_CELLS; i++) {
                int x = level_before(s, i), y = level_before(s, i + period);

                if (x > 0 && y > 0) {
                        sum += (x - y) * (x - y);
                        (*ret_n)++;
                }
        }
        return sum;
}

static void look_at_period(Seasonal *s, uint16_t p) {
        Search *search = &s->search;
        int n, sum = difference(s, p, &n);
        double r = n > 0 ? 1.0 - sum / (2.0 * search->variance * n) : 0, rise = r - search->least;

        search->least = fmin(search->least, r);
        if (p < PERIOD_LEAST || n < MIN(2 * p, PERIOD_MOST - CELLS_PER_DAY)) /* not seen three times, but for long ones */
                return;
        if (rise < fmax(RISE_LEAST, SURE / sqrt(n)))
                return;
        search->has_days = search->has_days || p == CELLS_PER_DAY;
        if (rise > search->best + BETTER) {
                search->best = rise;
                search->found = p;
        }
}

/* At the end of each half hour. */
static void search_on(Seasonal *s) {
        if (s->search.next == 0)
                s->search = (Search) { .variance = variance(s), .least = 1.0, .next = 1 };
        for (int i = 0; i < PERIODS_AT_ONCE && s->search.next <= PERIOD_MOST; i++, s->search.next++)
                if (s->search.variance > 0.5) /* levels are whole: less is hardly any */
                        look_at_period(s, s->search.next);
        if (s->search.next > PERIOD_MOST) {
                s->period = s->search.found;
                s->has_days = s->search.has_days;
                s->search.next = 0;
        }
}

/* ---- samples ---- */

static void take_cell(Seasonal *s, uint64_t cell, uint8_t level) {
        uint8_t *now;
        bool ended;

        if (cell + 1 == s->cell)
                cell = s->cell; /* a clock that is set right by a second must not cost what was learned */
        if (cell < s->cell || cell - s->cell >= N_CELLS)
                memset(s->history, 0, sizeof(s->history)); /* it was set back, a long silence, or the first */
        else
                for (uint64_t c = s->cell + 1; c <= cell; c++)
                        s->history[c % N_CELLS] = 0;
        now = &s->history[cell % N_CELLS];
        ended = cell != s->cell;
        s->cell = cell;
        if (ended)
                search_on(s);
        *now = MAX(*now, level + 1);
}

static uint8_t base_now(const Seasonal *s, uint64_t now_sec, uint64_t horizon_sec) {
        uint8_t like = 0;

        if (s->period == 0 || s->has_days)
                like = like_before(s, now_sec, horizon_sec, CELLS_PER_DAY);
        if (s->period > 0)
                like = MAX(like, like_before(s, now_sec, horizon_sec, s->period));
        return MAX(mlg_bound_recent(&s->bound), like > 0 ? like - 1 : 0);
}

static void seasonal_observe(void *priv, const MlgSample *sample, uint64_t horizon_usec) {
        Seasonal *s = priv;
        uint64_t now_sec = sample->at_real_sec > 0 ? sample->at_real_sec : sample->at_usec / MLG_USEC_PER_SEC;
        double unit_kib = s->bound.unit_kib;
        bool ended = mlg_bound_add(&s->bound, sample->at_usec, sample->used_kib, sample->maximum_kib, horizon_usec);

        if (s->bound.unit_kib < unit_kib || s->bound.unit_kib > unit_kib) { /* levels are others now */
                memset(s->history, 0, sizeof(s->history));
                s->period = s->search.next = 0;
        }
        s->maximum_kib = sample->maximum_kib;
        s->used_kib = sample->used_kib;
        take_cell(s, now_sec / CELL_SEC, mlg_level_of(s->bound.unit_kib, sample->used_kib));
        if (ended)
                s->upper_kib = mlg_bound_next(&s->bound, base_now(s, now_sec, horizon_usec / MLG_USEC_PER_SEC));
}

static int seasonal_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const Seasonal *s = priv;

        if (s->bound.unit_kib <= 0)
                return -ENODATA;
        *ret = (MlgForecast) {
                .need_kib = s->used_kib,
                .upper_kib = mlg_max(mlg_min(s->upper_kib, s->maximum_kib), s->used_kib),
        };
        return 0;
}

/* Its memory is another one now; its ways are not. */
static void seasonal_restarted(void *priv) {
        Seasonal *s = priv;

        mlg_bound_interrupt(&s->bound);
}

static void seasonal_resumed(void *priv, uint64_t at_usec) {
        Seasonal *s = priv;

        mlg_bound_interrupt(&s->bound);
}

extern const MlgPredictorOps mlg_predictor_seasonal;
const MlgPredictorOps mlg_predictor_seasonal = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "seasonal",
        .description = "what was needed at this time of day and of a learned period, and a bound above it",
        .priv_size = sizeof(Seasonal),
        .observe = seasonal_observe,
        .predict = seasonal_predict,
        .restarted = seasonal_restarted,
        .state_version = STATE_VERSION,
        .resumed = seasonal_resumed,
};
