/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Context: what followed in situations like this one, and what holding too little would cost.
 *
 * Time is cut into slots: the horizon, or five minutes where that is longer. At the end of each slot the guest's situation is
 * looked at in six ways (the *views*): not at all; by its demand now; by its greatest demand in 15 minutes; in an hour; by
 * that of a day and how long ago it was nearly as great; by the time of day. Each view sorts situations into cells, and a
 * cell remembers how high demand rose within the horizon each time the guest was in it (a *sketch*: a few weighted levels).
 * A week halves a memory's weight.
 *
 * The forecast is a distribution P of the greatest demand D within the horizon: the sum of what the views' cells say, each
 * with a weight that grows while it foretells the upper end well (Bayes' rule with a little given back to all, on the
 * interval between two upper quantiles that the demand fell into). A cell that was visited n times leaves a part of some
 * 1/n to levels that it has not seen yet: records of n equal visits are as rare. Where nobody has seen any, they are as far
 * above the greatest of all as they are with guests in general. So a new guest keeps a few times what it needs now.
 *
 * The upper bound is the r that is the least in cost (the newsvendor's problem, with a price for each shortage and one for
 * each byte that is missing, predict/prices.h):
 *      r + PRICE_SHORT * P(D > r) + PRICE_MISSING * E[max(D - r, 0)]
 * So a small guest, whose reserve costs little, is hardly ever short, and none holds for months what it needed once.
 *
 * The need is the demand of the last report. Views, cells and prices are ours; averages of any kind are the wrong tool here
 * (bench/run predict). Work per report is O(1): some microseconds at the end of a slot, nearly nothing else. */
#include <assert.h>
#include <errno.h>
#include <math.h>
#include <string.h>

#include "memlego/predictor.h"
#include "predict/levels.h"
#include "predict/prices.h"
#include "predict/slots.h"
#include "util/util.h"

#define HALF_LIFE_USEC (7 * 86400 * MLG_USEC_PER_SEC)

/* Cells are coarser: situations whose demand differs by a fifth are alike. */
#define CELLS_PER_OCTAVE 3
#define N_SIZE_CELLS (MLG_LEVEL_OCTAVES * CELLS_PER_OCTAVE + 1)
#define N_AGO_CELLS 5
#define N_DAY_CELLS ((MLG_LEVEL_OCTAVES + 1) * N_AGO_CELLS)
#define N_CLOCK_CELLS 48 /* half hours: what runs once a day starts some minutes earlier or later */

typedef enum View { VIEW_ALL, VIEW_NOW, VIEW_QUARTER, VIEW_HOUR, VIEW_DAY, VIEW_CLOCK, _VIEW_MAX } View;

static const struct {
        uint16_t first, n;
        bool blurred; /* neighbouring cells speak as well, with half the weight ... */
        bool round;   /* ... the last one being a neighbour of the first */
} views[_VIEW_MAX] = {
        [VIEW_ALL] = { 0, 1, false, false },
        [VIEW_NOW] = { 1, N_SIZE_CELLS, true, false },
        [VIEW_QUARTER] = { 1 + N_SIZE_CELLS, N_SIZE_CELLS, true, false },
        [VIEW_HOUR] = { 1 + 2 * N_SIZE_CELLS, N_SIZE_CELLS, true, false },
        [VIEW_DAY] = { 1 + 3 * N_SIZE_CELLS, N_DAY_CELLS, false, false },
        [VIEW_CLOCK] = { 1 + 3 * N_SIZE_CELLS + N_DAY_CELLS, N_CLOCK_CELLS, true, true },
};
#define N_CELLS (1 + 3 * N_SIZE_CELLS + N_DAY_CELLS + N_CLOCK_CELLS)
#define BLUR 0.5f

/* A step towards the weights that Bayes' rule would give, and what each view keeps: guests change their ways. */
#define LEARN 0.5
#define SHARE 0.002

/* Of n visits' weight so much is left to levels above all that a cell has seen, and to what all cells have seen. */
#define UNSEEN_ABOVE 0.2
#define UNSEEN 0.2
/* What guests in general do: after n horizons the next exceeds all of them with a probability of RECORDS / (n + 1), half of
 * these by a fifth of an octave at most, one in ten by more than a whole one: (1 + octaves / 0.5)^-2. Measured on guests that
 * the benches replay: 0.15 to 0.8, 0.05 to 0.35 octaves, and 0.2 to 2. */
#define RECORDS 0.5
#define RECORD_LEVELS (MLG_LEVELS_PER_OCTAVE / 2.0)

/* ---- sketches ---- */

/* Weighted levels, in ascending order. Where there are more, the two are made one that raise the expected reserve least;
 * the higher level stays: what was needed is never understated. */
#define SKETCH_POINTS 10
typedef struct Sketch {
        float weight[SKETCH_POINTS];
        uint8_t level[SKETCH_POINTS];
        uint8_t n;
} Sketch;

typedef struct Situation {
        uint8_t cells[_VIEW_MAX]; /* within each view */
        uint8_t slots_left;       /* until its horizon is over; 0: none */
        uint8_t peak;             /* level since */
} Situation;

/* Greatest of a sliding window, in parts. */
#define WINDOW_PARTS 12
typedef struct Window {
        uint64_t part_begin_usec;
        uint8_t part[WINDOW_PARTS];
        uint8_t at;
} Window;

/* Of the struct, and of all that gives its numbers a meaning: views, cells, levels, increment. */
#define STATE_VERSION 1

typedef struct Context {
        uint64_t horizon_usec, slot_usec, slot_end_usec, at_usec;
        uint64_t behind_usec; /* so far is the state's own clock behind that of samples, modulo 2^64 */
        double unit_kib;      /* demand of level 0 ends here; 0: nothing seen yet */
        uint64_t maximum_kib, used_kib, upper_kib;
        uint64_t high_usec;   /* when demand was last near the day's greatest */
        double increment;     /* weight of a new observation: grows instead of all others shrinking */
        double weights[_VIEW_MAX];
        Window quarter, hour, day;
        Situation open[MLG_SLOTS_MOST];
        uint8_t slot_peak;
        uint8_t next_open;
        Sketch cells[N_CELLS];
} Context;
static_assert(sizeof(Context) <= MLG_PREDICTOR_PRIV_MAX, "the state is too large");

static void join_cheapest(const Context *c, Sketch *s) {
        double least = INFINITY, unit = c->unit_kib;
        int best = 0;

        for (int i = 0; i + 1 < s->n; i++) {
                double rise = mlg_level_kib(unit, s->level[i + 1]) - mlg_level_kib(unit, s->level[i]);
                double cost = (double) s->weight[i] * rise;

                if (cost < least) {
                        least = cost;
                        best = i;
                }
        }
        s->weight[best + 1] += s->weight[best];
        s->n--;
        memmove(&s->weight[best], &s->weight[best + 1], (size_t) (s->n - best) * sizeof(s->weight[0]));
        memmove(&s->level[best], &s->level[best + 1], (size_t) (s->n - best) * sizeof(s->level[0]));
}

static void sketch_add(const Context *c, Sketch *s, uint8_t level) {
        int i = 0;

        while (i < s->n && s->level[i] < level)
                i++;
        if (i < s->n && s->level[i] == level) {
                s->weight[i] += (float) c->increment;
                return;
        }
        if (s->n == SKETCH_POINTS) {
                join_cheapest(c, s);
                for (i = 0; i < s->n && s->level[i] < level;)
                        i++;
        }
        memmove(&s->weight[i + 1], &s->weight[i], (size_t) (s->n - i) * sizeof(s->weight[0]));
        memmove(&s->level[i + 1], &s->level[i], (size_t) (s->n - i) * sizeof(s->level[0]));
        s->weight[i] = (float) c->increment;
        s->level[i] = level;
        s->n++;
}

/* ---- situations ---- */

static uint8_t window_max(const Window *w) {
        uint8_t most = 0;

        for (int i = 0; i < WINDOW_PARTS; i++)
                most = MAX(most, w->part[i]);
        return most;
}

static void window_add(Window *w, uint64_t part_usec, uint64_t now_usec, uint8_t level) {
        uint64_t passed = now_usec < w->part_begin_usec ? 0 : (now_usec - w->part_begin_usec) / part_usec;

        if (w->part_begin_usec == 0 || passed >= WINDOW_PARTS || now_usec < w->part_begin_usec) {
                if (passed >= WINDOW_PARTS)
                        memset(w->part, 0, sizeof(w->part));
                w->part_begin_usec = now_usec;
        } else {
                for (uint64_t i = 0; i < passed; i++) {
                        w->at = (uint8_t) ((w->at + 1) % WINDOW_PARTS);
                        w->part[w->at] = 0;
                }
                w->part_begin_usec += passed * part_usec;
        }
        w->part[w->at] = MAX(w->part[w->at], level);
}

static uint8_t size_cell(uint8_t level) {
        return (uint8_t) ((level * CELLS_PER_OCTAVE + MLG_LEVELS_PER_OCTAVE / 2) / MLG_LEVELS_PER_OCTAVE);
}

static uint8_t ago_cell(uint64_t usec) {
        static const uint64_t bounds_sec[N_AGO_CELLS - 1] = { 300, 1800, 7200, 28800 };
        uint8_t i = 0;

        while (i < N_AGO_CELLS - 1 && usec / MLG_USEC_PER_SEC > bounds_sec[i])
                i++;
        return i;
}

static Situation situation_now(const Context *c, uint8_t level, uint64_t real_sec) {
        uint8_t day = window_max(&c->day);

        return (Situation) {
                .cells = {
                        [VIEW_NOW] = size_cell(level),
                        [VIEW_QUARTER] = size_cell(window_max(&c->quarter)),
                        [VIEW_HOUR] = size_cell(window_max(&c->hour)),
                        [VIEW_DAY] = (uint8_t) (day / MLG_LEVELS_PER_OCTAVE * N_AGO_CELLS +
                                                ago_cell(mlg_sub_sat(c->at_usec, c->high_usec))),
                        /* Of the slot that begins. */
                        [VIEW_CLOCK] = (uint8_t) ((real_sec + c->slot_usec / MLG_USEC_PER_SEC) % 86400 * N_CLOCK_CELLS / 86400),
                },
        };
}

/* ---- distributions ---- */

typedef struct Distributions {
        float of[_VIEW_MAX][MLG_N_LEVELS];
        float mixed[MLG_N_LEVELS];
        int top; /* level of the guest's maximum */
} Distributions;

/* What the cell and its neighbours saw. Returns the sum of weights. */
static double gather(const Context *c, View v, uint8_t cell, float *ret) {
        double sum = 0;

        memset(ret, 0, MLG_N_LEVELS * sizeof(ret[0]));
        for (int d = views[v].blurred ? -1 : 0; d <= (views[v].blurred ? 1 : 0); d++) {
                int i = cell + d;
                const Sketch *s;

                if (views[v].round)
                        i = (i + views[v].n) % views[v].n;
                if (i < 0 || i >= views[v].n)
                        continue;
                s = &c->cells[views[v].first + i];
                for (int p = 0; p < s->n; p++) {
                        float w = d == 0 ? s->weight[p] : BLUR * s->weight[p];

                        ret[s->level[p]] += w;
                        sum += w;
                }
        }
        return sum;
}

static int highest(const float *of) {
        for (int i = MLG_N_LEVELS - 1; i >= 0; i--)
                if (of[i] > 0)
                        return i;
        return -1;
}

static double record_weight(int levels_above) {
        double x = 1.0 + levels_above / RECORD_LEVELS;

        return 1.0 / (x * x * x);
}

/* All that was seen, the demand of the last hour once more, so that there is something at the beginning; and beyond it what
 * nobody has seen yet, up to the maximum. */
static void base_distribution(const Context *c, int top, float *ret) {
        double sum = gather(c, VIEW_ALL, 0, ret) + c->increment, unseen = RECORDS / (sum / c->increment + 1.0), tail = 0;
        int most;

        ret[window_max(&c->hour)] += (float) c->increment;
        most = highest(ret);
        if (most >= top)
                unseen = 0;
        for (int i = 0; i <= most; i++)
                ret[i] = (float) ((1.0 - unseen) * ret[i] / sum);
        for (int i = most + 1; i <= top; i++)
                tail += record_weight(i - most);
        for (int i = most + 1; i <= top; i++)
                ret[i] = (float) (unseen * record_weight(i - most) / tail);
}

static void view_distribution(const Context *c, View v, uint8_t cell, const float *base, float *ret) {
        double sum = gather(c, v, cell, ret), n = sum / c->increment, above = 0;
        double unseen = UNSEEN / (n + 1.0), unseen_above = UNSEEN_ABOVE / (n + 1.0 + UNSEEN_ABOVE);
        int most = highest(ret);

        if (sum <= 0) {
                memcpy(ret, base, MLG_N_LEVELS * sizeof(ret[0]));
                return;
        }
        for (int i = most + 1; i < MLG_N_LEVELS; i++)
                above += base[i];
        if (above <= 0)
                unseen_above = 0;
        for (int i = 0; i < MLG_N_LEVELS; i++) {
                double p = (1.0 - unseen - unseen_above) * ret[i] / sum + unseen * base[i];

                ret[i] = (float) (i > most && above > 0 ? p + unseen_above * base[i] / above : p);
        }
}

static void distribute(const Context *c, const Situation *s, Distributions *ret) {
        memset(ret->mixed, 0, sizeof(ret->mixed));
        ret->top = mlg_level_of(c->unit_kib, c->maximum_kib);
        base_distribution(c, ret->top, ret->of[VIEW_ALL]);
        for (View v = 0; v < _VIEW_MAX; v++) {
                if (v != VIEW_ALL)
                        view_distribution(c, v, s->cells[v], ret->of[VIEW_ALL], ret->of[v]);
                for (int i = 0; i < MLG_N_LEVELS; i++)
                        ret->mixed[i] += (float) c->weights[v] * ret->of[v][i];
        }
}

/* The interval between two upper quantiles of the mixed forecast that the level fell into. */
static void interval_of(const Distributions *d, uint8_t level, int *ret_low, int *ret_high) {
        static const double tails[] = { 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 2.0 };
        double tail = 0;
        int high = MLG_N_LEVELS - 1, low = MLG_N_LEVELS;

        for (size_t q = 0; q < sizeof(tails) / sizeof(tails[0]); q++) {
                while (low > 0 && tail + d->mixed[low - 1] <= tails[q])
                        tail += d->mixed[--low];
                if (level >= low && level <= high)
                        break;
                high = low - 1;
        }
        *ret_low = low <= level && level <= high ? low : level;
        *ret_high = low <= level && level <= high ? high : level;
}

static void learn_weights(Context *c, const Situation *s) {
        Distributions d;
        double sum = 0;
        int low, high;

        distribute(c, s, &d);
        interval_of(&d, s->peak, &low, &high);
        for (View v = 0; v < _VIEW_MAX; v++) {
                double p = 1e-6;

                for (int i = low; i <= high; i++)
                        p += d.of[v][i];
                c->weights[v] *= pow(p, LEARN);
                sum += c->weights[v];
        }
        for (View v = 0; v < _VIEW_MAX; v++)
                c->weights[v] = (1.0 - SHARE) * c->weights[v] / sum + SHARE / _VIEW_MAX;
}

/* The bound that costs least; from the top down, with the tail's weight and its demand summed up on the way. */
static uint64_t cheapest_kib(const Context *c, const Distributions *d) {
        double least = INFINITY, tail = 0, demand = 0, best = 0;
        double size = c->unit_kib + mlg_level_kib(c->unit_kib, d->top);

        for (int i = d->top; i >= 0; i--, size *= MLG_LEVEL_DOWN) {
                double r = size - c->unit_kib, cost = r + MLG_PRICE_SHORT_KIB * tail + MLG_PRICE_MISSING * (demand - r * tail);

                if (cost < least) {
                        least = cost;
                        best = r;
                }
                tail += d->mixed[i];
                demand += d->mixed[i] * r;
        }
        return mlg_min((uint64_t) best + 1, c->maximum_kib);
}

/* ---- slots ---- */

static void forget_older(Context *c) {
        if (c->increment < 1e9)
                return;
        for (size_t i = 0; i < N_CELLS; i++)
                for (int p = 0; p < c->cells[i].n; p++)
                        c->cells[i].weight[p] *= 1e-9f;
        c->increment *= 1e-9;
}

static void learn(Context *c, const Situation *s) {
        learn_weights(c, s);
        for (View v = 0; v < _VIEW_MAX; v++)
                sketch_add(c, &c->cells[views[v].first + s->cells[v]], s->peak);
}

static void end_slot(Context *c, uint64_t real_sec) {
        Situation s;
        Distributions d;

        for (size_t i = 0; i < MLG_SLOTS_MOST; i++) {
                if (c->open[i].slots_left == 0)
                        continue;
                c->open[i].peak = MAX(c->open[i].peak, c->slot_peak);
                if (--c->open[i].slots_left == 0)
                        learn(c, &c->open[i]);
        }
        c->increment *= exp2((double) c->slot_usec / (double) HALF_LIFE_USEC);
        forget_older(c);
        s = situation_now(c, mlg_level_of(c->unit_kib, c->used_kib), real_sec);
        s.slots_left = (uint8_t) ((c->horizon_usec + c->slot_usec - 1) / c->slot_usec);
        c->open[c->next_open] = s;
        c->next_open = (uint8_t) ((c->next_open + 1) % MLG_SLOTS_MOST);
        distribute(c, &s, &d);
        c->upper_kib = cheapest_kib(c, &d);
        c->slot_peak = 0;
}

/* What was learned of one horizon says nothing of another, and with more memory a guest is another one. */
static bool is_other(const Context *c, const MlgSample *s, uint64_t horizon_usec) {
        return c->unit_kib <= 0 || c->horizon_usec != horizon_usec ||
                mlg_level_of(c->unit_kib, s->maximum_kib) == MLG_N_LEVELS - 1;
}

static void begin(Context *c, const MlgSample *s, uint64_t horizon_usec) {
        memset(c, 0, sizeof(*c));
        c->horizon_usec = horizon_usec;
        c->slot_usec = mlg_slot_usec(horizon_usec);
        c->slot_end_usec = s->at_usec;
        c->unit_kib = mlg_level_unit_kib(s->maximum_kib);
        c->increment = 1.0;
        for (View v = 0; v < _VIEW_MAX; v++)
                c->weights[v] = 1.0 / _VIEW_MAX;
}

static void context_observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
        Context *c = priv;
        uint64_t now;
        uint8_t level;

        if (is_other(c, s, horizon_usec))
                begin(c, s, horizon_usec);
        now = s->at_usec - c->behind_usec;
        if (now < c->at_usec) /* another run of the host: its clock began anew */
                c->slot_end_usec = c->high_usec = now;
        c->at_usec = now;
        c->maximum_kib = mlg_max(s->maximum_kib, 1);
        c->used_kib = s->used_kib;
        level = mlg_level_of(c->unit_kib, s->used_kib);
        c->slot_peak = MAX(c->slot_peak, level);
        window_add(&c->quarter, 900 * MLG_USEC_PER_SEC / WINDOW_PARTS, now, level);
        window_add(&c->hour, 3600 * MLG_USEC_PER_SEC / WINDOW_PARTS, now, level);
        window_add(&c->day, 86400 * MLG_USEC_PER_SEC / WINDOW_PARTS, now, level);
        if (level + MLG_LEVELS_PER_OCTAVE * 3 / 4 >= window_max(&c->day))
                c->high_usec = now;
        if (now < c->slot_end_usec)
                return;
        end_slot(c, s->at_real_sec);
        c->slot_end_usec = now + c->slot_usec;
}

static int context_predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        const Context *c = priv;

        if (c->unit_kib <= 0)
                return -ENODATA;
        *ret = (MlgForecast) { .need_kib = c->used_kib, .upper_kib = mlg_max(c->upper_kib, c->used_kib) };
        return 0;
}

/* Its memory is another one now; its ways are not. */
static void context_restarted(void *priv) {
        Context *c = priv;

        memset(c->open, 0, sizeof(c->open));
        c->slot_peak = 0;
}

/* The state's own clock stood still meanwhile: slots, windows and ages go on where they were. Horizons that were open have
 * a gap of unknown demand. */
static void context_resumed(void *priv, uint64_t at_usec) {
        Context *c = priv;

        c->behind_usec = at_usec - c->at_usec;
        memset(c->open, 0, sizeof(c->open));
        c->slot_peak = 0;
}

extern const MlgPredictorOps mlg_predictor_context;
const MlgPredictorOps mlg_predictor_context = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "context",
        .description = "what followed in like situations, at the price of a shortage",
        .priv_size = sizeof(Context),
        .observe = context_observe,
        .predict = context_predict,
        .restarted = context_restarted,
        .state_version = STATE_VERSION,
        .resumed = context_resumed,
};
