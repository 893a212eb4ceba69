/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sample: what is believed of a guest's reports, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/sample.h"
#include "sim/guest.h"
#include "util/util.h"

#define GIB (1024 * SIM_MIB)
#define WALL 1700000000
#define ALL \
        (MLG_HAVE_RUN_STATE | MLG_HAVE_ACTUAL | MLG_HAVE_MAXIMUM | MLG_HAVE_TOTAL | MLG_HAVE_UNUSED | \
         MLG_HAVE_USABLE | MLG_HAVE_CACHES | MLG_HAVE_SWAP_IN | MLG_HAVE_SWAP_OUT | MLG_HAVE_MAJOR_FAULTS | \
         MLG_HAVE_MINOR_FAULTS | MLG_HAVE_RSS | MLG_HAVE_LAST_UPDATE)

/* A guest of 1 GiB that uses a quarter of it. */
static MlgRawStats good(uint64_t update_sec) {
        return (MlgRawStats) {
                .have = ALL,
                .run_state = MLG_RUN_RUNNING,
                .actual_kib = GIB,
                .maximum_kib = GIB,
                .total_kib = GIB - 30 * SIM_MIB,
                .unused_kib = 500 * SIM_MIB,
                .usable_kib = 768 * SIM_MIB,
                .caches_kib = 200 * SIM_MIB,
                .swap_in_kib = 1000,
                .swap_out_kib = 4000,
                .major_faults = 100,
                .minor_faults = 100,
                .rss_kib = GIB,
                .last_update_sec = update_sec,
        };
}

typedef struct Fixture {
        MlgSampler st;
        uint64_t now_usec;
        uint64_t wall_sec;
} Fixture;

static Fixture begin(void) {
        return (Fixture) { .now_usec = 5000 * SIM_SEC, .wall_sec = WALL };
}

/* One poll `after_usec` later. */
static MlgSample take(Fixture *f, uint64_t after_usec, MlgRawStats raw) {
        MlgSample s;

        f->now_usec += after_usec;
        mlg_sampler_take(&f->st, &raw, 1, f->now_usec, f->wall_sec, &s);
        assert_true(s.at_usec == f->now_usec);
        return s;
}

static void test_a_good_report_is_fresh(void **state) {
        Fixture f = begin();
        MlgSample s = take(&f, 0, good(WALL));

        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        assert_true(s.is_new);
        assert_int_equal(s.age_usec, 0);
        assert_int_equal(s.used_kib, GIB - 768 * SIM_MIB);
        assert_int_equal(s.usable_kib, 768 * SIM_MIB);
        assert_int_equal(s.unused_kib, 500 * SIM_MIB);
        assert_int_equal(s.caches_kib, 200 * SIM_MIB);
        assert_int_equal(s.rss_kib, GIB);
        assert_int_equal(s.swap_in_kib_per_sec, 0);

        s = take(&f, SIM_SEC / 5, good(WALL));
        assert_false(s.is_new);
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        assert_int_equal(s.age_usec, SIM_SEC / 5);
}

static void test_rates_are_per_second_of_our_clock(void **state) {
        Fixture f = begin();
        MlgRawStats raw = good(WALL);
        MlgSample s;

        (void) take(&f, 0, raw);
        raw.last_update_sec++;
        raw.swap_in_kib += 300;
        raw.swap_out_kib += 600;
        raw.major_faults += 90;
        s = take(&f, 2 * SIM_SEC, raw);
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        assert_int_equal(s.swap_in_kib_per_sec, 150);
        assert_int_equal(s.swap_out_kib_per_sec, 300);
        assert_int_equal(s.major_faults_per_sec, 45);
}

/* Each row spoils a good second report in one way. */
typedef struct Row {
        const char *what;
        void (*spoil)(MlgRawStats *raw);
        MlgTrust trust;
} Row;

#define SPOIL(name, statement) \
        static void spoil_##name(MlgRawStats *raw) { \
                statement; \
        }
SPOIL(nothing, (void) raw)
SPOIL(all_ones, raw->total_kib = raw->unused_kib = raw->usable_kib = raw->caches_kib = UINT64_MAX / 1024)
SPOIL(all_ones_whole,
      raw->total_kib = raw->unused_kib = raw->usable_kib = raw->caches_kib = raw->swap_in_kib = UINT64_MAX)
SPOIL(caches_all_ones, raw->caches_kib = UINT64_MAX / 1024)
SPOIL(swap_in_all_ones, raw->swap_in_kib = UINT64_MAX / 1024)
SPOIL(swap_out_all_ones, raw->swap_out_kib = UINT64_MAX / 1024)
SPOIL(total_zero, raw->total_kib = 0)
SPOIL(total_too_much, raw->total_kib = raw->maximum_kib + 1)
SPOIL(usable_over_total, raw->usable_kib = raw->total_kib + 1)
SPOIL(unused_over_total, raw->unused_kib = raw->total_kib + 1)
SPOIL(actual_impossible, raw->actual_kib = UINT64_MAX)
SPOIL(maximum_impossible, raw->maximum_kib = UINT64_MAX)
SPOIL(swap_in_backwards, raw->swap_in_kib -= 1)
SPOIL(swap_out_backwards, raw->swap_out_kib -= 1)
SPOIL(faults_backwards, raw->major_faults -= 1)
SPOIL(swap_in_too_fast, raw->swap_in_kib += UINT64_C(1) << 40)
SPOIL(faults_too_fast, raw->major_faults += UINT64_C(1) << 40)
SPOIL(no_actual, raw->have &= ~(uint32_t) MLG_HAVE_ACTUAL)
SPOIL(no_total, raw->have &= ~(uint32_t) MLG_HAVE_TOTAL)
SPOIL(no_update, raw->have &= ~(uint32_t) MLG_HAVE_LAST_UPDATE)
SPOIL(update_zero, raw->last_update_sec = 0)
SPOIL(no_usable, raw->have &= ~(uint32_t) MLG_HAVE_USABLE)
SPOIL(no_usable_no_unused, raw->have &= ~(uint32_t) (MLG_HAVE_USABLE | MLG_HAVE_UNUSED))
SPOIL(no_counters, raw->have &= ~(uint32_t) (MLG_HAVE_SWAP_IN | MLG_HAVE_SWAP_OUT | MLG_HAVE_MAJOR_FAULTS))
SPOIL(rss_impossible, raw->rss_kib = UINT64_MAX)
SPOIL(older_update, raw->last_update_sec -= 7000)

static const Row rows[] = {
        { "nothing", spoil_nothing, MLG_TRUST_FRESH },
        { "all ones, in KiB", spoil_all_ones, MLG_TRUST_IMPOSSIBLE },
        { "all ones", spoil_all_ones_whole, MLG_TRUST_IMPOSSIBLE },
        { "caches all ones", spoil_caches_all_ones, MLG_TRUST_IMPOSSIBLE },
        { "swap-in all ones", spoil_swap_in_all_ones, MLG_TRUST_IMPOSSIBLE },
        { "swap-out all ones", spoil_swap_out_all_ones, MLG_TRUST_IMPOSSIBLE },
        { "total is 0: the driver just begins", spoil_total_zero, MLG_TRUST_STALE },
        { "total > maximum", spoil_total_too_much, MLG_TRUST_IMPOSSIBLE },
        { "usable > total", spoil_usable_over_total, MLG_TRUST_IMPOSSIBLE },
        { "unused > total", spoil_unused_over_total, MLG_TRUST_IMPOSSIBLE },
        { "actual impossible", spoil_actual_impossible, MLG_TRUST_IMPOSSIBLE },
        { "maximum impossible", spoil_maximum_impossible, MLG_TRUST_IMPOSSIBLE },
        { "swap-in counter backwards", spoil_swap_in_backwards, MLG_TRUST_IMPOSSIBLE },
        { "swap-out counter backwards", spoil_swap_out_backwards, MLG_TRUST_IMPOSSIBLE },
        { "fault counter backwards", spoil_faults_backwards, MLG_TRUST_IMPOSSIBLE },
        { "swap-in faster than memory", spoil_swap_in_too_fast, MLG_TRUST_IMPOSSIBLE },
        { "faults faster than memory", spoil_faults_too_fast, MLG_TRUST_IMPOSSIBLE },
        { "without actual", spoil_no_actual, MLG_TRUST_STALE },
        { "without total", spoil_no_total, MLG_TRUST_STALE },
        { "without last-update", spoil_no_update, MLG_TRUST_STALE },
        { "last-update 0", spoil_update_zero, MLG_TRUST_STALE },
        { "without usable: unused serves", spoil_no_usable, MLG_TRUST_FRESH },
        { "without usable and unused", spoil_no_usable_no_unused, MLG_TRUST_STALE },
        { "without counters", spoil_no_counters, MLG_TRUST_FRESH },
        { "rss impossible: ignored", spoil_rss_impossible, MLG_TRUST_FRESH },
        { "wall clock of the host set back", spoil_older_update, MLG_TRUST_FRESH },
};

static void test_spoiled_reports(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                Fixture f = begin();
                MlgRawStats raw = good(WALL);
                MlgSample s;

                (void) take(&f, 0, raw);
                raw.last_update_sec += 3;
                rows[i].spoil(&raw);
                s = take(&f, 3 * SIM_SEC, raw);
                if (s.trust != rows[i].trust)
                        fail_msg("%s: %s, wanted %s", rows[i].what, mlg_trust_to_string(s.trust),
                                 mlg_trust_to_string(rows[i].trust));
                assert_true(s.rss_kib == 0 || s.rss_kib == GIB);
                /* A good one after it is good. */
                raw = good(WALL + 9);
                raw.swap_in_kib = raw.swap_out_kib = raw.major_faults = UINT64_C(1) << 41;
                (void) take(&f, SIM_SEC, raw);
                raw.last_update_sec++;
                s = take(&f, SIM_SEC, raw);
                if (s.trust != MLG_TRUST_FRESH)
                        fail_msg("%s: did not come back: %s", rows[i].what, mlg_trust_to_string(s.trust));
        }
}

static void test_first_report(void **state) {
        static const struct {
                const char *what;
                int64_t update_after_wall_sec;
                MlgTrust trust;
        } cases[] = {
                { "now", 0, MLG_TRUST_FRESH },
                { "3 s old", -3, MLG_TRUST_FRESH },
                { "4 s old", -4, MLG_TRUST_STALE },
                { "an hour old", -3600, MLG_TRUST_STALE },
                { "rounded up", 1, MLG_TRUST_FRESH },
                { "from the future: the clock was set back", 2, MLG_TRUST_STALE },
                { "from far in the future", 1000000, MLG_TRUST_STALE },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Fixture f = begin();
                MlgRawStats raw = good((uint64_t) (WALL + cases[i].update_after_wall_sec));
                MlgSample s = take(&f, 0, raw);

                if (s.trust != cases[i].trust)
                        fail_msg("%s: %s", cases[i].what, mlg_trust_to_string(s.trust));
                if (cases[i].update_after_wall_sec < 0 && cases[i].update_after_wall_sec > -1000)
                        assert_int_equal(s.age_usec, -cases[i].update_after_wall_sec * (int64_t) SIM_SEC);
                /* The next one counts from its own arrival. */
                raw.last_update_sec++;
                s = take(&f, SIM_SEC, raw);
                assert_int_equal(s.trust, MLG_TRUST_FRESH);
                assert_int_equal(s.age_usec, 0);
        }
}

static void test_never_reported(void **state) {
        Fixture f = begin();
        MlgRawStats raw = { .have = MLG_HAVE_ACTUAL | MLG_HAVE_MAXIMUM | MLG_HAVE_LAST_UPDATE,
                            .actual_kib = GIB,
                            .maximum_kib = GIB };
        MlgSample s = take(&f, 0, raw);

        assert_int_equal(s.trust, MLG_TRUST_NONE);
        assert_true(s.age_usec == UINT64_MAX);
        assert_false(s.is_new);
        assert_int_equal(s.actual_kib, GIB);
}

static void test_frozen_update_goes_stale(void **state) {
        Fixture f = begin();
        MlgRawStats raw = good(WALL);
        MlgSample s;

        (void) take(&f, 0, raw);
        for (int i = 1; i <= 40; i++) {
                s = take(&f, SIM_SEC / 5, raw);
                assert_false(s.is_new);
                assert_int_equal(s.age_usec, i * (int64_t) SIM_SEC / 5);
                assert_int_equal(s.trust, i <= 15 ? MLG_TRUST_FRESH : MLG_TRUST_STALE);
        }
        raw.last_update_sec += 8;
        s = take(&f, SIM_SEC / 5, raw);
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        assert_int_equal(s.age_usec, 0);
}

static void test_period_sets_the_patience(void **state) {
        MlgRawStats raw = good(WALL);
        MlgSampler st = {};
        MlgSample s;

        mlg_sampler_take(&st, &raw, 10, 100 * SIM_SEC, WALL, &s);
        mlg_sampler_take(&st, &raw, 10, 121 * SIM_SEC, WALL, &s);
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        mlg_sampler_take(&st, &raw, 10, 121 * SIM_SEC + 1, WALL, &s);
        assert_int_equal(s.trust, MLG_TRUST_STALE);
        /* A period nobody knows counts as 1 s. */
        mlg_sampler_reset(&st);
        mlg_sampler_take(&st, &raw, 0, 100 * SIM_SEC, WALL, &s);
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        mlg_sampler_take(&st, &raw, 0, 103 * SIM_SEC + 1, WALL, &s);
        assert_int_equal(s.trust, MLG_TRUST_STALE);
}

/* Steps of the wall clock after the first report change nothing. */
static void test_clock_steps(void **state) {
        static const int64_t steps[] = { -1000000, -3600, 3600, 1000000 };

        for (size_t i = 0; i < G_N_ELEMENTS(steps); i++) {
                Fixture f = begin();
                MlgRawStats raw = good(WALL);
                MlgSample s;

                (void) take(&f, 0, raw);
                f.wall_sec = (uint64_t) (WALL + steps[i]);
                s = take(&f, SIM_SEC, raw);
                assert_int_equal(s.trust, MLG_TRUST_FRESH);
                assert_int_equal(s.age_usec, SIM_SEC);
                raw.last_update_sec = f.wall_sec;
                s = take(&f, SIM_SEC / 2, raw);
                assert_int_equal(s.trust, MLG_TRUST_FRESH);
                assert_true(s.is_new);
        }
}

/* The balloon took 512 MiB between two reports; usable is of some time in between. */
static void test_blur_while_the_balloon_moves(void **state) {
        Fixture f = begin();
        MlgRawStats raw = good(WALL);
        MlgSample s = take(&f, 0, raw);
        uint64_t used = s.used_kib;

        assert_int_equal(used, 256 * SIM_MIB);
        /* Written half way: usable is greater than actual leaves room for. */
        raw.actual_kib = GIB / 2;
        raw.last_update_sec++;
        raw.usable_kib = GIB - 256 * SIM_MIB - used;
        s = take(&f, SIM_SEC, raw);
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        assert_int_equal(s.used_kib, used); /* what was known fits in between: nothing else is said */
        /* A report that cannot be explained by the lag is one of more demand. */
        raw.last_update_sec++;
        raw.usable_kib = 100 * SIM_MIB;
        s = take(&f, 2 * SIM_SEC, raw);
        assert_int_equal(s.used_kib, 412 * SIM_MIB);
}

/* A driver that hides what the balloon holds: total and usable are of the same moment, whatever the balloon did since. */
static void test_total_tells_what_it_had(void **state) {
        static const struct {
                uint64_t total_kib, usable_kib, used_kib;
        } cases[] = {
                { 570 * SIM_MIB, 300 * SIM_MIB, 300 * SIM_MIB }, /* it had 600 then, of between 512 and 768 */
                { 738 * SIM_MIB, 300 * SIM_MIB, 468 * SIM_MIB },
                { 770 * SIM_MIB, 300 * SIM_MIB, 256 * SIM_MIB }, /* more than it can have had: as if it had no total */
                { 450 * SIM_MIB, 300 * SIM_MIB, 256 * SIM_MIB }, /* less */
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Fixture f = begin();
                MlgRawStats raw = good(WALL);
                MlgSample s = take(&f, 0, raw);

                assert_int_equal(s.used_kib, 256 * SIM_MIB);
                for (int k = 0; k < 2; k++) { /* at rest, with another size: 30 MiB are the kernel's as before */
                        raw.actual_kib = 768 * SIM_MIB;
                        raw.total_kib = raw.actual_kib - 30 * SIM_MIB;
                        raw.usable_kib = raw.actual_kib - 256 * SIM_MIB;
                        raw.last_update_sec++;
                        s = take(&f, SIM_SEC, raw);
                        assert_int_equal(s.used_kib, 256 * SIM_MIB);
                }
                raw.actual_kib = 512 * SIM_MIB;
                raw.total_kib = cases[i].total_kib;
                raw.unused_kib = 100 * SIM_MIB;
                raw.usable_kib = cases[i].usable_kib;
                raw.last_update_sec++;
                s = take(&f, SIM_SEC, raw);
                assert_int_equal(s.trust, MLG_TRUST_FRESH);
                assert_int_equal(s.used_kib, cases[i].used_kib);
        }
}

/* Found on its way to 512 MiB: its size is told late, and nobody has seen where it was. */
static void test_first_reports_on_its_way(void **state) {
        Fixture f = begin();
        MlgRawStats raw = good(WALL);
        MlgSample s;

        f.st.heading_kib[0] = 512 * SIM_MIB;
        raw.actual_age_usec = SIM_SEC;
        raw.usable_kib = 256 * SIM_MIB; /* written at the end of its way */
        s = take(&f, 0, raw);
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        assert_int_equal(f.st.blur_kib, 512 * SIM_MIB); /* anything from 256 MiB to 768 MiB is possible */
        raw.actual_kib = 512 * SIM_MIB;
        for (int i = 0; i < 2; i++) {
                raw.last_update_sec++;
                s = take(&f, 2 * SIM_SEC, raw);
        }
        assert_int_equal(f.st.blur_kib, 0);
        assert_int_equal(s.used_kib, 256 * SIM_MIB);
}

static void test_usable_of_a_larger_past_is_possible(void **state) {
        Fixture f = begin();
        MlgRawStats raw = good(WALL);
        MlgSample s;

        (void) take(&f, 0, raw);
        raw.actual_kib = 256 * SIM_MIB; /* at once */
        raw.last_update_sec++;
        s = take(&f, SIM_SEC, raw); /* usable is 768 MiB still: of before */
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        raw.last_update_sec++;
        s = take(&f, SIM_SEC, raw); /* no longer: it was small in the whole time since the last look */
        assert_int_equal(s.trust, MLG_TRUST_IMPOSSIBLE);
}

static void test_swap_ahead(void **state) {
        Fixture f = begin();
        MlgRawStats raw = good(WALL);
        MlgSample s;
        uint64_t used;

        raw.swap_in_kib = 0;
        raw.swap_out_kib = 100 * SIM_MIB;
        used = take(&f, 0, raw).used_kib;
        /* Reads back 10 MiB/s: what it will read in 4 s is wanted, too. */
        raw.swap_in_kib += 10 * SIM_MIB;
        raw.last_update_sec++;
        s = take(&f, SIM_SEC, raw);
        assert_int_equal(s.swap_in_kib_per_sec, 10 * SIM_MIB);
        assert_int_equal(s.used_kib, used + 40 * SIM_MIB);
        /* Never more than what is out there. */
        raw.swap_in_kib += 80 * SIM_MIB;
        raw.last_update_sec++;
        s = take(&f, SIM_SEC, raw);
        assert_int_equal(s.used_kib, used + 10 * SIM_MIB);
        /* And none when nothing is read. */
        raw.last_update_sec++;
        s = take(&f, SIM_SEC, raw);
        assert_int_equal(s.used_kib, used);
}

static void test_a_counter_that_appears_has_no_rate(void **state) {
        Fixture f = begin();
        MlgRawStats raw = good(WALL);
        MlgSample s;

        raw.have &= ~(uint32_t) MLG_HAVE_SWAP_IN;
        (void) take(&f, 0, raw);
        for (int i = 0; i < 3; i++) {
                raw = good(WALL + 1 + (uint64_t) i);
                raw.swap_in_kib = 1000 * SIM_MIB;
                if (i == 1)
                        raw.have &= ~(uint32_t) MLG_HAVE_SWAP_IN;
                s = take(&f, SIM_SEC, raw);
                assert_int_equal(s.trust, MLG_TRUST_FRESH);
                assert_int_equal(s.swap_in_kib_per_sec, 0);
        }
}

static void test_reset_forgets(void **state) {
        Fixture f = begin();
        MlgRawStats raw = good(WALL);

        (void) take(&f, 0, raw);
        mlg_sampler_reset(&f.st);
        raw.swap_in_kib = raw.swap_out_kib = raw.major_faults = 0; /* counters begin anew */
        raw.last_update_sec++;
        assert_int_equal(take(&f, SIM_SEC, raw).trust, MLG_TRUST_FRESH);
}

/* Whatever a guest says: trusted values are possible ones, and nothing crashes. */
static void test_hostile_reports(void **state) {
        uint64_t seed = 1;
        Fixture f = begin();

        for (int i = 0; i < 200000; i++) {
                MlgRawStats raw = good(WALL + (uint64_t) i);
                uint64_t *fields[] = { &raw.actual_kib,      &raw.maximum_kib,  &raw.total_kib,
                                       &raw.unused_kib,      &raw.usable_kib,   &raw.swap_in_kib,
                                       &raw.swap_out_kib,    &raw.major_faults, &raw.rss_kib,
                                       &raw.last_update_sec, &raw.caches_kib };
                MlgSample s;

                raw.have = sim_random_below(&seed, 4) ? ALL : (uint32_t) sim_random(&seed) & ALL;
                for (uint64_t n = sim_random_below(&seed, 4); n > 0; n--)
                        *fields[sim_random_below(&seed, G_N_ELEMENTS(fields))] = sim_random(&seed) >>
                                                                                 sim_random_below(&seed, 64);
                f.wall_sec += sim_random_below(&seed, 2);
                s = take(&f, sim_random_below(&seed, 2 * SIM_SEC), raw);
                if (s.trust != MLG_TRUST_FRESH)
                        continue;
                assert_true(s.age_usec <= 3 * SIM_SEC);
                assert_true(s.usable_kib < UINT64_C(1) << 50);
                assert_true(s.used_kib < UINT64_C(1) << 51);
                assert_true(s.swap_in_kib_per_sec <= UINT64_C(64) << 20);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_good_report_is_fresh),
                cmocka_unit_test(test_rates_are_per_second_of_our_clock),
                cmocka_unit_test(test_spoiled_reports),
                cmocka_unit_test(test_first_report),
                cmocka_unit_test(test_never_reported),
                cmocka_unit_test(test_frozen_update_goes_stale),
                cmocka_unit_test(test_period_sets_the_patience),
                cmocka_unit_test(test_clock_steps),
                cmocka_unit_test(test_blur_while_the_balloon_moves),
                cmocka_unit_test(test_total_tells_what_it_had),
                cmocka_unit_test(test_first_reports_on_its_way),
                cmocka_unit_test(test_usable_of_a_larger_past_is_possible),
                cmocka_unit_test(test_swap_ahead),
                cmocka_unit_test(test_a_counter_that_appears_has_no_rate),
                cmocka_unit_test(test_reset_forgets),
                cmocka_unit_test(test_hostile_reports),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
