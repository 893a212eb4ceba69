/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Predictors: every registered one keeps the same contract; then what each is known for. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "predict/prices.h"
#include "predict/registry.h"
#include "sim/guest.h"
#include "util/util.h"

#define GIB (1024 * SIM_MIB)
#define HORIZON_USEC (2 * SIM_SEC)

/* ---- one predictor at work ---- */

typedef struct Run {
        const MlgPredictorOps *ops;
        void *priv;
        uint64_t now_usec;
        uint64_t passed_usec; /* since its begin, on the wall clock, which no restart stops */
        uint64_t booted_sec; /* feed_at(): the clock of samples begins then, of real time */
} Run;

static Run begin(const MlgPredictorOps *ops) {
        /* With a margin behind what it asked for, to be found untouched. */
        Run r = { .ops = ops, .priv = g_malloc0(ops->priv_size + 16), .now_usec = 100 * SIM_SEC };

        memset((char *) r.priv + ops->priv_size, 0x5a, 16);
        return r;
}

static void end(Run *r) {
        for (size_t i = 0; i < 16; i++)
                assert_int_equal(((const char *) r->priv)[r->ops->priv_size + i], 0x5a);
        g_free(r->priv);
}

static void feed(Run *r, uint64_t after_usec, uint64_t used_kib) {
        MlgSample s = {
                .trust = MLG_TRUST_FRESH,
                .is_new = true,
                .actual_kib = 8 * GIB,
                .maximum_kib = 8 * GIB,
                .used_kib = used_kib,
                .usable_kib = mlg_sub_sat(8 * GIB, used_kib),
        };

        r->now_usec += after_usec;
        r->passed_usec += after_usec;
        s.at_usec = r->now_usec;
        s.at_real_sec = 1700000000 + r->passed_usec / SIM_SEC;
        r->ops->observe(r->priv, &s, HORIZON_USEC);
}

/* With a time of day, and a horizon of five minutes, which is also the time between two reports. */
static void feed_at(Run *r, uint64_t real_sec, uint64_t used_kib, uint64_t maximum_kib) {
        MlgSample s = {
                .at_usec = (real_sec - r->booted_sec + 100) * SIM_SEC,
                .at_real_sec = real_sec,
                .trust = MLG_TRUST_FRESH,
                .is_new = true,
                .actual_kib = maximum_kib,
                .maximum_kib = maximum_kib,
                .used_kib = used_kib,
        };

        r->ops->observe(r->priv, &s, 300 * SIM_SEC);
}

static MlgForecast ask(const Run *r, uint64_t horizon_usec) {
        MlgForecast f = {};

        assert_int_equal(r->ops->predict(r->priv, horizon_usec, &f), 0);
        return f;
}

/* ---- the contract ---- */

static void check_ops(const MlgPredictorOps *ops) {
        assert_int_equal(ops->abi, MLG_PREDICTOR_ABI);
        assert_int_equal(ops->size, sizeof(MlgPredictorOps));
        assert_true(strlen(ops->name) > 0 && strlen(ops->name) < 32);
        assert_int_equal(strspn(ops->name, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(ops->name));
        assert_true(strlen(ops->description) > 0 && !strchr(ops->description, '\n'));
        assert_true(ops->priv_size <= MLG_PREDICTOR_PRIV_MAX);
        assert_non_null(ops->observe);
        assert_non_null(ops->predict);
        assert_ptr_equal(mlg_predictor_find(ops->name), ops);
}

static void check_no_history(const MlgPredictorOps *ops) {
        Run r = begin(ops);
        MlgForecast f = { 1, 2 };

        assert_int_equal(ops->predict(r.priv, HORIZON_USEC, &f), -ENODATA);
        assert_int_equal(f.need_kib, 1);
        assert_int_equal(f.error_kib, 2);
        end(&r);
}

/* A demand that stands still is forecast, whatever the interval, and without error. */
static void check_constant(const MlgPredictorOps *ops) {
        static const uint64_t intervals[] = { SIM_SEC / 5, SIM_SEC, 10 * SIM_SEC, 0 };

        for (size_t i = 0; i < G_N_ELEMENTS(intervals); i++) {
                Run r = begin(ops);

                for (int n = 0; n < 1000; n++)
                        feed(&r, intervals[i], GIB);
                assert_in_range(ask(&r, HORIZON_USEC).need_kib, GIB - SIM_MIB, GIB + SIM_MIB);
                assert_in_range(ask(&r, HORIZON_USEC).error_kib, 0, SIM_MIB);
                end(&r);
        }
}

/* Never beyond the guest's maximum and what was seen, however wild; predict() changes nothing; same
 * calls, same answers. */
static void check_bounded(const MlgPredictorOps *ops) {
        for (uint64_t kind = 0; kind < 4; kind++) {
                Run a = begin(ops), b = begin(ops);
                uint64_t seed = 5 + kind, most = 8 * GIB;

                for (int i = 0; i < 5000; i++) {
                        uint64_t used = kind == 0   ? sim_random_below(&seed, 8 * GIB)
                                        : kind == 1 ? (i / 50 % 2) * 8 * GIB
                                        : kind == 2 ? sim_random(&seed) >> 14
                                                    : /* 2^50 KiB: the most that is believed */
                                                (uint64_t) i * SIM_MIB;
                        uint64_t after = sim_random_below(&seed, 3 * SIM_SEC);
                        MlgForecast f, g;

                        most = mlg_max(most, used);
                        feed(&a, after, used);
                        feed(&b, after, used);
                        f = ask(&a, HORIZON_USEC);
                        assert_true(ask(&a, 3600 * SIM_SEC).need_kib <= most + SIM_MIB);
                        g = ask(&b, HORIZON_USEC);
                        assert_memory_equal(&f, &g, sizeof(f));
                        assert_true(f.need_kib <= most + SIM_MIB);
                        assert_true(f.error_kib <= most + SIM_MIB);
                        assert_true(f.upper_kib == 0 || (f.upper_kib >= f.need_kib && f.upper_kib <= most + SIM_MIB));
                        if (ops->reflect && i % 7 == 0) {
                                ops->reflect(a.priv, &f, used);
                                ops->reflect(b.priv, &f, used);
                        }
                }
                end(&a);
                end(&b);
        }
}

/* The answer follows time, not the number of reports: half as many reports of the same course say the
 * same. */
static void check_time_aware(const MlgPredictorOps *ops) {
        Run often = begin(ops), seldom = begin(ops);

        for (int i = 0; i <= 600; i++) { /* ten minutes of a slow swing */
                uint64_t used = GIB + (uint64_t) (i < 300 ? i : 600 - i) * 2 * SIM_MIB;

                feed(&often, i ? SIM_SEC : 0, used);
                if (i % 2 == 0)
                        feed(&seldom, i ? 2 * SIM_SEC : 0, used);
        }
        assert_true(mlg_abs_diff(ask(&often, HORIZON_USEC).need_kib, ask(&seldom, HORIZON_USEC).need_kib) <
                    16 * SIM_MIB);
        /* A longer look ahead is never a lower one. */
        assert_true(ask(&often, 600 * SIM_SEC).need_kib >= ask(&often, SIM_SEC).need_kib);
        end(&often);
        end(&seldom);
}

/* A clock that stands still or runs backwards is survived. */
static void check_odd_times(const MlgPredictorOps *ops) {
        Run r = begin(ops);

        feed(&r, 0, GIB);
        feed(&r, 0, 2 * GIB);
        r.now_usec -= 50 * SIM_SEC;
        feed(&r, 0, GIB);
        feed(&r, 365 * 24 * 3600 * SIM_SEC, 2 * GIB);
        assert_true(ask(&r, HORIZON_USEC).need_kib <= 2 * GIB);
        end(&r);
}

/* Whatever is kept of the last run of the guest, the next one's demand is forecast. */
static void check_restarted(const MlgPredictorOps *ops) {
        Run r = begin(ops);

        for (int i = 0; i < 1000; i++)
                feed(&r, SIM_SEC, GIB + (uint64_t) (i % 7) * 16 * SIM_MIB);
        if (ops->restarted)
                ops->restarted(r.priv);
        else
                memset(r.priv, 0, ops->priv_size);
        for (int i = 0; i < 1000; i++)
                feed(&r, i ? SIM_SEC : 7200 * SIM_SEC, 2 * GIB);
        assert_in_range(ask(&r, HORIZON_USEC).need_kib, 2 * GIB - SIM_MIB, 2 * GIB + SIM_MIB);
        end(&r);
}

/* More demand is followed within three reports, to nine tenths at least. */
static void check_rises_fast(const MlgPredictorOps *ops) {
        Run r = begin(ops);

        for (int i = 0; i < 60; i++)
                feed(&r, SIM_SEC, GIB);
        for (int i = 0; i < 3; i++)
                feed(&r, SIM_SEC, 3 * GIB);
        assert_true(ask(&r, HORIZON_USEC).need_kib >= GIB + 2 * GIB * 9 / 10);
        end(&r);
}

static Run copy_of(const Run *r) {
        Run copy = begin(r->ops);

        memcpy(copy.priv, r->priv, r->ops->priv_size);
        copy.now_usec = r->now_usec;
        copy.passed_usec = r->passed_usec;
        return copy;
}

/* Read again from a file, by a daemon whose clock says so much. */
static Run resume(const Run *r, uint64_t now_usec) {
        Run copy = copy_of(r);

        copy.now_usec = now_usec;
        if (r->ops->resumed)
                r->ops->resumed(copy.priv, now_usec);
        return copy;
}

/* A state that was saved says the same as before, and goes on the same way whatever the clock. */
static void check_resumes(const MlgPredictorOps *ops) {
        static const struct {
                const char *what;
                uint64_t now_usec;
        } clocks[] = {
                { "of a host that was started just now", SIM_SEC },
                { "days later", 10 * 86400 * SIM_SEC },
                { "that says 0", 0 },
        };
        uint64_t seed = 11;
        Run r = begin(ops), same;

        if (ops->state_version == 0) {
                assert_null(ops->resumed);
                end(&r);
                return;
        }
        for (int i = 0; i < 20000; i++)
                feed(&r, sim_random_below(&seed, 3 * SIM_SEC),
                     i / 100 % 7 * GIB / 2 + sim_random_below(&seed, GIB));
        for (size_t i = 0; i < G_N_ELEMENTS(clocks); i++) {
                Run other = resume(&r, clocks[i].now_usec);
                MlgForecast f = ask(&r, HORIZON_USEC), g = ask(&other, HORIZON_USEC);

                print_message("           ... resumed on a clock %s\n", clocks[i].what);
                assert_memory_equal(&f, &g, sizeof(f));
                same = resume(&r, r.now_usec);
                for (int k = 0; k < 5000; k++) {
                        uint64_t after = sim_random_below(&seed, 3 * SIM_SEC);
                        uint64_t used = sim_random_below(&seed, 4 * GIB);

                        feed(&other, after, used);
                        feed(&same, after, used);
                        f = ask(&same, HORIZON_USEC);
                        g = ask(&other, HORIZON_USEC);
                        assert_memory_equal(&f, &g, sizeof(f));
                }
                end(&same);
                end(&other);
        }
        end(&r);
        /* Saved before it had seen anything. */
        r = begin(ops);
        same = resume(&r, 5 * SIM_SEC);
        feed(&same, SIM_SEC, GIB);
        assert_true(ask(&same, HORIZON_USEC).need_kib <= GIB + SIM_MIB);
        end(&same);
        end(&r);
}

static void test_contract(void **state) {
        const MlgPredictorOps *ops;
        size_t n = 0;

        for (; (ops = mlg_predictor_at(n)); n++) {
                print_message("           %s\n", ops->name);
                check_ops(ops);
                check_no_history(ops);
                check_constant(ops);
                check_bounded(ops);
                check_time_aware(ops);
                check_odd_times(ops);
                check_restarted(ops);
                check_rises_fast(ops);
                check_resumes(ops);
        }
        assert_true(n >= 2);
        assert_null(mlg_predictor_at(n + 1));
        assert_null(mlg_predictor_at(SIZE_MAX));
}

/* ---- all together ---- */

/* What a predictor would have kept, in prices of predict/prices.h: mean per horizon of four weeks after as many. */
typedef uint64_t (*DemandFn)(uint64_t sec, uint64_t *seed);

static uint64_t steady(uint64_t sec, uint64_t *seed) {
        return 300 * SIM_MIB + sim_random_below(seed, SIM_MIB);
}

static uint64_t restless(uint64_t sec, uint64_t *seed) {
        return sim_random_below(seed, 50) == 0 ? 3 * GIB : 200 * SIM_MIB + sim_random_below(seed, 200 * SIM_MIB);
}

static uint64_t nightly(uint64_t sec, uint64_t *seed) {
        return sec % 86400 < 7200 ? 3 * GIB : 200 * SIM_MIB + sim_random_below(seed, 50 * SIM_MIB);
}

static uint64_t cushioned(const MlgForecast *f, uint64_t maximum_kib) {
        uint64_t cushion = mlg_max(mlg_max(64 * SIM_MIB, f->need_kib * 15 / 100), 2 * f->error_kib);

        return mlg_min(f->upper_kib ? f->upper_kib : f->need_kib + cushion, maximum_kib);
}

static double mean_cost_mib(const MlgPredictorOps *ops, DemandFn demand) {
        Run r = begin(ops);
        uint64_t seed = 13, kept = 0;
        double cost = 0;
        unsigned int n = 0;

        for (uint64_t t = 0; t < 56 * 86400; t += 300) {
                uint64_t used = demand(t, &seed);
                MlgForecast f;

                if (t >= 28 * 86400) {
                        cost += (double) mlg_sub_sat(kept, used) + MLG_PRICE_MISSING * (double) mlg_sub_sat(used, kept) +
                                (used > kept ? MLG_PRICE_SHORT_KIB : 0);
                        n++;
                }
                feed_at(&r, t, used, 4 * GIB);
                f = ask(&r, 300 * SIM_SEC);
                kept = cushioned(&f, 4 * GIB);
                if (ops->follows)
                        assert_non_null(mlg_predictor_find(ops->follows(r.priv)));
        }
        if (ops->follows)
                print_message("           %s follows %s\n", ops->name, ops->follows(r.priv));
        end(&r);
        return cost / n / (double) SIM_MIB;
}

/* Whatever the guest is like, nearly as good as the best of the others. */
static void test_auto(void **state) {
        static const struct {
                const char *name;
                DemandFn demand;
        } rows[] = { { "steady", steady }, { "restless", restless }, { "nightly", nightly } };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                const MlgPredictorOps *ops, *of_auto = mlg_predictor_find("auto");
                double best = G_MAXDOUBLE, cost;

                for (size_t p = 0; (ops = mlg_predictor_at(p)); p++) {
                        if (ops == of_auto)
                                continue;
                        cost = mean_cost_mib(ops, rows[i].demand);
                        print_message("           %s: %s %.1f MiB\n", rows[i].name, ops->name, cost);
                        best = MIN(best, cost);
                }
                cost = mean_cost_mib(of_auto, rows[i].demand);
                print_message("           %s: auto %.1f MiB\n", rows[i].name, cost);
                assert_true(cost <= best * 1.15);
        }
}

/* All others are members, and say whom it follows by a name that Predictor= knows; no room is lacking, little is wasted. */
static void test_auto_has_room(void **state) {
        const MlgPredictorOps *ops, *of_auto = mlg_predictor_find("auto");
        size_t sum = 0;

        for (size_t p = 0; (ops = mlg_predictor_at(p)); p++)
                if (ops != of_auto)
                        sum += (ops->priv_size + 7) / 8 * 8;
        print_message("           states of all others: %zu B; auto: %zu B\n", sum, of_auto->priv_size);
        assert_true(sum < of_auto->priv_size);
        assert_true(of_auto->priv_size - sum < 1024);
}

static void test_names(void **state) {
        GString *names = g_string_new(NULL);

        for (size_t i = 0; mlg_predictor_at(i); i++)
                g_string_append_printf(names, "%s%s", i ? ", " : "", mlg_predictor_at(i)->name);
        assert_string_equal(mlg_predictor_names(), names->str);
        g_string_free(names, TRUE);
        assert_null(mlg_predictor_find("ewm"));
        assert_null(mlg_predictor_find(""));
        assert_string_equal(mlg_predictor_at(0)->name, "ewma"); /* the documented default */
}

/* ---- what each is known for ---- */

static void test_ewma(void **state) {
        Run r = begin(mlg_predictor_find("ewma"));

        feed(&r, 0, GIB);
        feed(&r, SIM_SEC, 2 * GIB); /* a = 1 - exp(-1 / 0.5) = 0.8647 */
        assert_in_range(ask(&r, 0).need_kib, GIB + GIB * 8646 / 10000, GIB + GIB * 8648 / 10000);
        /* and the rise of 1 GiB/s goes on */
        assert_in_range(ask(&r, SIM_SEC).need_kib, 2 * GIB + GIB * 8646 / 10000,
                        2 * GIB + GIB * 8648 / 10000);
        assert_int_equal(ask(&r, 1000 * SIM_SEC).need_kib, 8 * GIB);
        feed(&r, 2 * SIM_SEC, 2 * GIB); /* no longer: exp(-2 / 0.7) = 0.0574 */
        assert_in_range(ask(&r, SIM_SEC).need_kib - ask(&r, 0).need_kib, GIB * 573 / 10000,
                        GIB * 575 / 10000);
        end(&r);

        r = begin(mlg_predictor_find("ewma"));
        feed(&r, 0, GIB);
        feed(&r, SIM_SEC, 2 * GIB);
        /* error: the excess of 1 GiB with a = 1 - exp(-1 / 60) = 0.01653 */
        assert_in_range(ask(&r, HORIZON_USEC).error_kib, GIB * 1652 / 100000, GIB * 1654 / 100000);
        for (int i = 0; i < 20; i++)
                feed(&r, SIM_SEC, 2 * GIB);
        for (int i = 0; i < 21; i++) /* half of a fall in 30 s x ln 2 */
                feed(&r, SIM_SEC, GIB);
        assert_in_range(ask(&r, HORIZON_USEC).need_kib, GIB + GIB * 49 / 100, GIB + GIB * 51 / 100);
        end(&r);
}

static void test_last(void **state) {
        Run r = begin(mlg_predictor_find("last"));

        feed(&r, 0, GIB);
        feed(&r, SIM_SEC, 3 * GIB);
        assert_int_equal(ask(&r, HORIZON_USEC).need_kib, 3 * GIB);
        assert_int_equal(ask(&r, HORIZON_USEC).error_kib, 2 * GIB / 16);
        feed(&r, SIM_SEC, GIB); /* less than forecast is no miss */
        assert_int_equal(ask(&r, HORIZON_USEC).need_kib, GIB);
        assert_int_equal(ask(&r, HORIZON_USEC).error_kib, 2 * GIB / 16 * 15 / 16);
        end(&r);
}

/* A steady rise goes on for a while, one that ended is forgotten. */
static void test_holt(void **state) {
        Run r = begin(mlg_predictor_find("holt"));
        uint64_t used = GIB;

        for (int i = 0; i < 60; i++, used += 10 * SIM_MIB)
                feed(&r, i ? SIM_SEC / 2 : 0, used); /* 20 MiB/s */
        used -= 10 * SIM_MIB;
        /* Of 20 MiB/s the trend, which each report finds alive again, comes to 15.6; of 2 s its damping leaves 1.6. */
        assert_in_range(ask(&r, 2 * SIM_SEC).need_kib, used + 15 * SIM_MIB, used + 25 * SIM_MIB);
        assert_in_range(ask(&r, 3600 * SIM_SEC).need_kib, used + 45 * SIM_MIB, used + 60 * SIM_MIB);
        for (int i = 0; i < 20; i++)
                feed(&r, SIM_SEC, used);
        assert_in_range(ask(&r, 3600 * SIM_SEC).need_kib, used, used + SIM_MIB);
        for (int i = 0; i < 4; i++)
                feed(&r, SIM_SEC, used -= 100 * SIM_MIB);
        assert_in_range(ask(&r, 3600 * SIM_SEC).need_kib, used, used + 200 * SIM_MIB);
        end(&r);
}

/* Demand that swings: what comes after its lowest point is known. Part of the rise to come that is foreseen, at the worst. */
static void test_ar_learns_a_swing(void **state) {
        static const uint64_t swing_mib[] = { 1024, 1317, 2024, 2731, 3024, 2731, 2024, 1317 }; /* one second each */
        Run r = begin(mlg_predictor_find("ar"));

        for (int i = 0; i < 80; i++)
                feed(&r, SIM_SEC, swing_mib[i % 8] * SIM_MIB);
        for (int i = 0; i < 8; i++) {
                uint64_t most = MAX(swing_mib[i], MAX(swing_mib[(i + 1) % 8], swing_mib[(i + 7) % 8])) * SIM_MIB;
                MlgForecast f = ask(&r, 2 * SIM_SEC);

                print_message("           swing %d: %" PRIu64 " of %" PRIu64 " MiB\n", i, f.need_kib / SIM_MIB, most / SIM_MIB);
                assert_in_range(f.need_kib, most - 32 * SIM_MIB, most + 32 * SIM_MIB);
                assert_true(f.error_kib < 32 * SIM_MIB);
                feed(&r, SIM_SEC, swing_mib[i] * SIM_MIB);
        }
        end(&r);
}

/* What grows without end is no rule to go on with. */
static void test_ar_unstable(void **state) {
        Run r = begin(mlg_predictor_find("ar"));
        double used = (double) (SIM_MIB);

        for (int i = 0; i < 80; i++, used *= 1.1)
                feed(&r, SIM_SEC, (uint64_t) used);
        assert_int_equal(ask(&r, 2 * SIM_SEC).need_kib, (uint64_t) (used / 1.1));
        end(&r);
}

/* Three of a thousand horizons are missed, of a guest that changes its ways from week to week as of a steady one, and one
 * that is missed no longer is not held to its past. */
static void test_quantile_keeps_its_miss_rate(void **state) {
        for (unsigned int kinds = 1; kinds <= 3; kinds++) {
                Run r = begin(mlg_predictor_find("quantile"));
                uint64_t seed = 7, upper = UINT64_MAX, now = 0;
                unsigned int n = 0, missed = 0;

                for (; n < 200000; n++, now += 300) {
                        uint64_t unit = SIM_MIB << (2 * (n / 2016 % kinds));
                        uint64_t used = unit * 50 / (1 + sim_random_below(&seed, 50)); /* few are large */

                        missed += used > upper;
                        feed_at(&r, now, used, 8 * GIB);
                        upper = ask(&r, 300 * SIM_SEC).upper_kib;
                }
                print_message("           %u kinds of week: %u of %u missed\n", kinds, missed, n);
                assert_in_range(missed, n / 1000 * 5 / 2, n / 1000 * 7 / 2);
                for (unsigned int i = 0; i < 8 * 2016; i++, now += 300)
                        feed_at(&r, now, SIM_MIB, 8 * GIB);
                assert_in_range(ask(&r, 300 * SIM_SEC).upper_kib, SIM_MIB, 16 * SIM_MIB);
                end(&r);
        }
}

/* Jobs that come again after some time, which need not be a day: once it is learned, their memory is there before they run,
 * and is not kept in between. */
static void test_seasonal_learns_periods(void **state) {
        static const struct {
                const char *name;
                uint64_t period_sec, length_sec;
        } rows[] = {
                { "90 min", 5400, 1800 },
                { "5 h 30 min", 19800, 1800 },
                { "a day", 86400, 3600 },
                { "37 hours", 133200, 3600 },
                { "a week", 7 * 86400, 4 * 3600 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                Run r = begin(mlg_predictor_find("seasonal"));
                unsigned int jobs = 0, missed = 0, quiet = 0, kept = 0;
                uint64_t seed = 11, upper = 0;

                for (uint64_t t = 0; t < 84 * 86400; t += 300) {
                        bool busy = t % rows[i].period_sec < rows[i].length_sec;
                        uint64_t used = (busy ? 2048 : 200 + sim_random_below(&seed, 56)) * SIM_MIB;
                        uint64_t to_next = rows[i].period_sec - t % rows[i].period_sec;

                        if (t >= 56 * 86400) {
                                jobs += busy;
                                missed += used > upper + upper / 10; /* three of a thousand may be missed, by little */
                                if (!busy && to_next > 3600 && t % rows[i].period_sec > rows[i].length_sec + 2 * 3600) {
                                        quiet++;
                                        kept += upper > GIB;
                                }
                        }
                        feed_at(&r, t, used, 4 * GIB);
                        upper = ask(&r, 300 * SIM_SEC).upper_kib;
                }
                print_message("           %s: %u of %u missed, kept in %u of %u quiet times\n", rows[i].name, missed, jobs, kept,
                              quiet);
                assert_true(missed * 50 <= jobs);
                assert_true(kept * 20 <= quiet);
                end(&r);
        }
}

/* A job each night: a week is enough to know it. Before it, and while it runs, its memory is there; at other times
 * it is not. */
static void test_context_learns_the_clock(void **state) {
        Run r = begin(mlg_predictor_find("context"));

        for (uint64_t t = 0; t < 14 * 86400; t += 300) {
                uint64_t of_day = t % 86400;
                bool busy = of_day >= 3 * 3600 && of_day < 3 * 3600 + 1800;

                feed_at(&r, t, busy ? 2 * GIB : 256 * SIM_MIB, 4 * GIB);
                if (t < 7 * 86400)
                        continue;
                if (of_day >= 3 * 3600 - 300 && of_day < 3 * 3600 + 1800)
                        assert_in_range(ask(&r, 300 * SIM_SEC).upper_kib, 2 * GIB, 2 * GIB + 2 * GIB / 10);
                if (of_day >= 4 * 3600)
                        assert_in_range(ask(&r, 300 * SIM_SEC).upper_kib, 256 * SIM_MIB, 512 * SIM_MIB);
        }
        end(&r);
}

/* The host was off for a part of the day, and its clock begins anew: what it knows of the nights is still right, from the
 * first one on, and nothing of it says that the guest is a new one. */
static void test_context_goes_on(void **state) {
        Run r = begin(mlg_predictor_find("context")), again;
        uint64_t off = 10 * 86400 + 9 * 3600, on = off + 7 * 3600;

        for (uint64_t t = 0; t < off; t += 300) {
                uint64_t of_day = t % 86400;
                bool busy = of_day >= 3 * 3600 && of_day < 3 * 3600 + 1800;

                feed_at(&r, t, busy ? 2 * GIB : 256 * SIM_MIB, 4 * GIB);
        }
        again = resume(&r, 60 * SIM_SEC);
        again.booted_sec = on;
        again.ops->restarted(again.priv);
        for (uint64_t t = on; t < on + 2 * 86400; t += 300) {
                uint64_t of_day = t % 86400, upper;
                bool busy = of_day >= 3 * 3600 && of_day < 3 * 3600 + 1800;

                feed_at(&again, t, busy ? 2 * GIB : 256 * SIM_MIB, 4 * GIB);
                upper = ask(&again, 300 * SIM_SEC).upper_kib;
                if (of_day >= 3 * 3600 - 300 && of_day < 3 * 3600 + 1800)
                        assert_in_range(upper, 2 * GIB, 2 * GIB + 2 * GIB / 10);
                if (of_day >= 4 * 3600)
                        assert_in_range(upper, 256 * SIM_MIB, 512 * SIM_MIB);
        }
        end(&again);
        end(&r);
}

/* Peaks at random, one time in a hundred: worth their memory where they are small, not where they are large. Part of the
 * time in which demand exceeded the bound. */
static double misses_of_rare_peaks(uint64_t unit_kib) {
        Run r = begin(mlg_predictor_find("context"));
        uint64_t seed = 3, upper = 0;
        unsigned int n = 0, missed = 0;

        for (uint64_t t = 0; t < 28 * 86400; t += 300) {
                uint64_t used = (sim_random_below(&seed, 100) == 0 ? 30 : 1) * unit_kib;

                if (t >= 14 * 86400) {
                        n++;
                        missed += used > upper;
                }
                feed_at(&r, t, used, 40 * unit_kib);
                upper = ask(&r, 300 * SIM_SEC).upper_kib;
        }
        end(&r);
        return (double) missed / n;
}

static void test_context_weighs_prices(void **state) {
        double small = misses_of_rare_peaks(8 * SIM_MIB), large = misses_of_rare_peaks(64 * GIB);

        print_message("           misses: small guest %.4f, large guest %.4f\n", small, large);
        assert_true(small < 0.001);
        assert_true(large > 0.005 && large < 0.02);
}

/* A guest about which nothing is known keeps some times what it needs now, and one that got more memory is another one. */
static void test_context_begins_carefully(void **state) {
        Run r = begin(mlg_predictor_find("context"));
        uint64_t upper_kib;

        feed_at(&r, 0, 100 * SIM_MIB, 4 * GIB);
        upper_kib = ask(&r, 300 * SIM_SEC).upper_kib;
        print_message("           of 4 GiB at first: %" PRIu64 " MiB\n", upper_kib / SIM_MIB);
        assert_true(upper_kib >= 400 * SIM_MIB);
        for (uint64_t t = 300; t < 5 * 86400; t += 300)
                feed_at(&r, t, 100 * SIM_MIB, 4 * GIB);
        assert_in_range(ask(&r, 300 * SIM_SEC).upper_kib, 100 * SIM_MIB, 200 * SIM_MIB);
        feed_at(&r, 5 * 86400, 100 * SIM_MIB, 16 * GIB);
        upper_kib = ask(&r, 300 * SIM_SEC).upper_kib;
        print_message("           of 16 GiB at first: %" PRIu64 " MiB\n", upper_kib / SIM_MIB);
        assert_true(upper_kib >= 400 * SIM_MIB);
        /* What it has learned is not lost when the guest is started anew. */
        for (uint64_t t = 5 * 86400 + 300; t < 10 * 86400; t += 300)
                feed_at(&r, t, 100 * SIM_MIB, 16 * GIB);
        r.ops->restarted(r.priv);
        feed_at(&r, 10 * 86400, 100 * SIM_MIB, 16 * GIB);
        assert_in_range(ask(&r, 300 * SIM_SEC).upper_kib, 100 * SIM_MIB, 200 * SIM_MIB);
        end(&r);
}

/* What auto saves is made of its members' states: its version must change with any of theirs. */
static void test_version_of_auto(void **state) {
        uint32_t sum = 1;

        for (size_t i = 0; mlg_predictor_at(i); i++)
                if (strcmp(mlg_predictor_at(i)->name, "auto") != 0)
                        sum += mlg_predictor_at(i)->state_version;
        assert_int_equal(mlg_predictor_find("auto")->state_version, sum);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_version_of_auto),
                cmocka_unit_test(test_contract),
                cmocka_unit_test(test_auto),
                cmocka_unit_test(test_auto_has_room),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_ewma),
                cmocka_unit_test(test_last),
                cmocka_unit_test(test_holt),
                cmocka_unit_test(test_ar_learns_a_swing),
                cmocka_unit_test(test_ar_unstable),
                cmocka_unit_test(test_quantile_keeps_its_miss_rate),
                cmocka_unit_test(test_seasonal_learns_periods),
                cmocka_unit_test(test_context_learns_the_clock),
                cmocka_unit_test(test_context_goes_on),
                cmocka_unit_test(test_context_weighs_prices),
                cmocka_unit_test(test_context_begins_carefully),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
