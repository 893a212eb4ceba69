/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guard: rows for what each rule does, and its invariants on random input. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/guard.h"
#include "sim/guest.h"
#include "util/util.h"

#define GIB (1024 * SIM_MIB)
#define N_RANDOM 200000

static MlgGuestSettings defaults;

/* A guest of 1 GiB at 800 MiB, floor 256, ceiling 1000; nothing happened for long. */
static MlgGuardInput usual(void) {
        mlg_guest_settings_default(&defaults);
        return (MlgGuardInput) {
                .settings = &defaults,
                .now_usec = 1000 * SIM_SEC,
                .target_kib = 800 * SIM_MIB,
                .maximum_kib = GIB,
                .floor_kib = 256 * SIM_MIB,
                .ceiling_kib = 1000 * SIM_MIB,
        };
}

static void test_rows(void **state) {
        static const struct {
                const char *what;
                uint64_t wish_mib;
                MlgPressure pressure;
                uint64_t suffered_sec, shrunk_sec, grown_sec; /* ago */
                bool settling, urgent, host_short;
                uint64_t expect_mib;
                MlgReason why;
        } cases[] = {
                { "no wish", 0, 0, 0, 0, 0, 0, 0, 0, 800, MLG_REASON_SETTLED },
                { "stays", 800, 0, 0, 0, 0, 0, 0, 0, 800, MLG_REASON_SETTLED },
                { "small shrink: dead band", 781, 0, 0, 0, 0, 0, 0, 0, 800, MLG_REASON_SETTLED },
                { "small grow: dead band", 819, 0, 0, 0, 0, 0, 0, 0, 800, MLG_REASON_SETTLED },
                { "shrink within the rate", 720, 0, 0, 0, 0, 0, 0, 0, 720, MLG_REASON_DEMAND },
                { "shrink beyond it: 2 s of 5 %", 500, 0, 0, 0, 0, 0, 0, 0, 698, MLG_REASON_RATE },
                { "1 s after the last", 500, 0, 0, 1, 0, 0, 0, 0, 749, MLG_REASON_RATE },
                { "urgent: at once", 300, 0, 0, 1, 0, 0, 1, 0, 300, MLG_REASON_DEMAND },
                { "urgent: small steps count", 795, 0, 0, 0, 0, 0, 1, 0, 795, MLG_REASON_DEMAND },
                { "urgent: but not crumbs", 797, 0, 0, 0, 0, 0, 1, 0, 800, MLG_REASON_SETTLED },
                { "urgent: never below the floor", 100, 0, 0, 0, 0, 0, 1, 0, 256, MLG_REASON_FLOOR },
                { "above the ceiling", 2000, 0, 0, 0, 0, 0, 0, 0, 1000, MLG_REASON_CEILING },
                { "suffers: no shrink", 500, MLG_PRESSURE_WARNING, 0, 0, 0, 0, 1, 0, 800,
                  MLG_REASON_PRESSURE },
                { "suffers, host is short: shrinks", 500, MLG_PRESSURE_WARNING, 0, 0, 0, 0, 1, 1, 500,
                  MLG_REASON_DEMAND },
                { "suffered: cools down", 500, 0, 29, 0, 0, 0, 1, 0, 800, MLG_REASON_COOL_DOWN },
                { "cooled down", 500, 0, 30, 0, 0, 0, 1, 0, 500, MLG_REASON_DEMAND },
                { "cooling, host is short", 500, 0, 1, 0, 0, 0, 0, 1, 500, MLG_REASON_DEMAND },
                { "settling", 500, 0, 0, 0, 0, 1, 1, 0, 800, MLG_REASON_NEW },
                { "settling, host is short", 500, 0, 0, 0, 0, 1, 0, 1, 500, MLG_REASON_DEMAND },
                { "settling: grows", 900, 0, 0, 0, 0, 1, 0, 0, 900, MLG_REASON_DEMAND },
                { "suffers: any grow", 805, MLG_PRESSURE_CRITICAL, 0, 0, 0, 0, 0, 0, 805,
                  MLG_REASON_DEMAND },
                { "suffers: but no crumbs", 803, MLG_PRESSURE_CRITICAL, 0, 0, 0, 0, 0, 0, 800,
                  MLG_REASON_SETTLED },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                MlgGuardInput in = usual();
                MlgStep s;

                in.pressure = cases[i].pressure;
                in.suffered_usec = cases[i].suffered_sec ? in.now_usec - cases[i].suffered_sec * SIM_SEC : 0;
                in.shrunk_usec = cases[i].shrunk_sec ? in.now_usec - cases[i].shrunk_sec * SIM_SEC : 0;
                in.grown_usec = cases[i].grown_sec ? in.now_usec - cases[i].grown_sec * SIM_SEC : 0;
                in.settling = cases[i].settling;
                in.urgent = cases[i].urgent;
                in.host_short = cases[i].host_short;
                s = mlg_guard_step(&in, (MlgStep) { cases[i].wish_mib * SIM_MIB, MLG_REASON_DEMAND });
                /* whole MiB, rounded up */
                if ((s.target_kib + SIM_MIB - 1) / SIM_MIB != cases[i].expect_mib ||
                    s.reason != cases[i].why)
                        fail_msg("%s: %" PRIu64 " MiB, %s", cases[i].what, s.target_kib / SIM_MIB,
                                 mlg_reason_to_string(s.reason));
        }
}

/* A policy that probes may take from one with little usable that misses nothing; its cool-down is from when it did. */
static void test_unmissed(void **state) {
        MlgGuardInput in = usual();

        in.pressure = MLG_PRESSURE_WARNING;
        assert_int_equal(mlg_guard_no_shrink(&in), MLG_REASON_PRESSURE);
        in.unmissed = true;
        assert_int_equal(mlg_guard_no_shrink(&in), MLG_REASON_NONE);
        in.suffered_usec = in.now_usec - SIM_SEC;
        assert_int_equal(mlg_guard_no_shrink(&in), MLG_REASON_COOL_DOWN);
}

static void test_grow_rate(void **state) {
        MlgGuardInput in = usual();
        MlgGuestSettings slow = defaults;
        MlgStep s;

        slow.grow_permille = 50;
        in.settings = &slow;
        in.target_kib = 300 * SIM_MIB;
        in.grown_usec = in.now_usec - SIM_SEC;
        s = mlg_guard_step(&in, (MlgStep) { 900 * SIM_MIB, MLG_REASON_DEMAND });
        assert_int_equal(s.target_kib, 300 * SIM_MIB + GIB / 20);
        assert_int_equal(s.reason, MLG_REASON_RATE);
        in.grown_usec = in.now_usec - SIM_SEC / 20; /* not worth a call yet */
        s = mlg_guard_step(&in, (MlgStep) { 900 * SIM_MIB, MLG_REASON_DEMAND });
        assert_int_equal(s.target_kib, in.target_kib);
        assert_int_equal(s.reason, MLG_REASON_RATE);
        in.pressure = MLG_PRESSURE_WARNING;
        s = mlg_guard_step(&in, (MlgStep) { 900 * SIM_MIB, MLG_REASON_PRESSURE });
        assert_int_equal(s.target_kib, 900 * SIM_MIB);
        in.pressure = MLG_PRESSURE_NONE;
        in.shrunk_usec = in.now_usec - SIM_SEC / 20;
        in.target_kib = 900 * SIM_MIB;
        s = mlg_guard_step(&in, (MlgStep) { 300 * SIM_MIB, MLG_REASON_DONOR });
        assert_int_equal(s.target_kib, in.target_kib);
        assert_int_equal(s.reason, MLG_REASON_RATE);
}

typedef struct Case {
        MlgGuestSettings settings;
        MlgGuardInput in;
        MlgStep wish;
} Case;

static uint64_t ago(uint64_t *seed, uint64_t now_usec) {
        return sim_random_below(seed, 3) == 0 ? 0 : now_usec - sim_random_below(seed, 60 * SIM_SEC);
}

static void make_case(uint64_t *seed, Case *c) {
        uint64_t max = (64 + sim_random_below(seed, 8192)) * SIM_MIB + sim_random_below(seed, 1024);
        uint64_t ceiling = max - sim_random_below(seed, max / 2);

        mlg_guest_settings_default(&c->settings);
        c->settings.shrink_permille = 1 + (uint32_t) sim_random_below(seed, 1000);
        c->settings.urgent_permille = 1 + (uint32_t) sim_random_below(seed, 1000);
        c->settings.grow_permille = 1 + (uint32_t) sim_random_below(seed, 1000);
        c->settings.dead_band_permille = (uint32_t) sim_random_below(seed, 500);
        c->in = (MlgGuardInput) {
                .settings = &c->settings,
                .now_usec = 1000 * SIM_SEC,
                .maximum_kib = max,
                .ceiling_kib = ceiling,
                .floor_kib = sim_random_below(seed, ceiling + 1),
                .target_kib = sim_random_below(seed, max + 1),
                .pressure = sim_random_below(seed, 2)
                                    ? MLG_PRESSURE_NONE
                                    : (MlgPressure) sim_random_below(seed, _MLG_PRESSURE_MAX),
                .settling = sim_random_below(seed, 4) == 0,
                .urgent = sim_random_below(seed, 2) == 0,
                .host_short = sim_random_below(seed, 4) == 0,
        };
        if (sim_random_below(seed, 3) == 0) {
                c->in.granule_kib = SIM_MIB << sim_random_below(seed, 9);
                c->in.base_kib = sim_random_below(seed, ceiling + 1);
                c->in.ceiling_kib = mlg_grid_down(ceiling, c->in.base_kib, c->in.granule_kib);
                c->in.floor_kib = mlg_grid_down(mlg_max(c->in.floor_kib, c->in.base_kib), c->in.base_kib, c->in.granule_kib);
        }
        c->in.suffered_usec = ago(seed, c->in.now_usec);
        c->in.shrunk_usec = ago(seed, c->in.now_usec);
        c->in.grown_usec = ago(seed, c->in.now_usec);
        c->wish = (MlgStep) { sim_random_below(seed, 8) ? sim_random_below(seed, max + max / 4) : 0,
                             MLG_REASON_DEMAND };
        if (sim_random_below(seed, 16) == 0)
                c->wish.target_kib = sim_random(seed);
}

static uint64_t allowed_kib(const Case *c, uint32_t permille, uint64_t last_usec, uint64_t least_kib) {
        uint64_t per_sec = mlg_mul_div(c->in.maximum_kib, permille, 1000);

        return mlg_min(mlg_mul_div(per_sec, c->in.now_usec - last_usec, SIM_SEC),
                       mlg_max(2 * per_sec, least_kib));
}

static const char *broken(const Case *c, MlgStep s) {
        const MlgGuardInput *in = &c->in;
        bool suffers = in->pressure != MLG_PRESSURE_NONE;
        bool cooling = in->suffered_usec > 0 &&
                       in->now_usec - in->suffered_usec < in->settings->cool_down_usec;
        uint64_t goal = mlg_clamp(c->wish.target_kib, in->floor_kib, in->ceiling_kib),
                 diff = mlg_abs_diff(in->target_kib, goal);
        uint64_t step = mlg_max(MLG_LEAST_STEP_KIB, in->granule_kib);
        uint64_t band = mlg_max(mlg_mul_div(in->maximum_kib, in->settings->dead_band_permille, 1000), step);
        uint64_t least = suffers || in->urgent || in->host_short ? step : band;

        if (s.target_kib == in->target_kib)
                return NULL;
        if (c->wish.target_kib == 0)
                return "moves without a wish";
        if (mlg_abs_diff(s.target_kib, goal) > diff ||
            (s.target_kib > in->target_kib) != (goal > in->target_kib))
                return "(1) moves away from what is allowed, or beyond";
        if (in->target_kib >= in->floor_kib && s.target_kib < in->floor_kib)
                return "(1) below the floor";
        if (in->target_kib <= in->ceiling_kib && s.target_kib > in->ceiling_kib)
                return "(1) above the ceiling";
        if (s.target_kib < in->target_kib) {
                if (!in->host_short && (suffers || in->settling || cooling))
                        return "(2) shrinks who must not be shrunk";
                if (in->target_kib - s.target_kib > allowed_kib(c,
                                                                in->urgent || in->host_short
                                                                        ? in->settings->urgent_permille
                                                                        : in->settings->shrink_permille,
                                                                in->shrunk_usec, least))
                        return "(3) shrinks too fast";
        } else {
                least = suffers ? step : band;
                if (!suffers && s.target_kib - in->target_kib >
                                        allowed_kib(c, in->settings->grow_permille, in->grown_usec, band))
                        return "(4) grows too fast";
        }
        if (in->granule_kib > 0) /* rounding may leave less of a step that was worth it */
                return s.target_kib == mlg_grid_down(s.target_kib, in->base_kib, in->granule_kib) ? NULL : "(6) not to a whole granule";
        return mlg_abs_diff(s.target_kib, in->target_kib) < least ? "(5) acts inside the dead band" : NULL;
}

static void test_invariants(void **state) {
        uint64_t seed = 3;
        unsigned int n_moves = 0;

        for (int i = 0; i < N_RANDOM; i++) {
                const char *what;
                Case c;
                MlgStep s;

                make_case(&seed, &c);
                s = mlg_guard_step(&c.in, c.wish);
                n_moves += s.target_kib != c.in.target_kib;
                what = broken(&c, s);
                if (what)
                        fail_msg("case %d: %s: %" PRIu64 " -> %" PRIu64 ", wished %" PRIu64 ", [%" PRIu64
                                 ", %" PRIu64 "]",
                                 i, what, c.in.target_kib, s.target_kib, c.wish.target_kib, c.in.floor_kib,
                                 c.in.ceiling_kib);
                assert_true(s.reason > MLG_REASON_NONE && s.reason < _MLG_REASON_MAX);
        }
        assert_true(n_moves > N_RANDOM / 10); /* the cases are not all idle ones */
}

/* Over any time, shrinks add up to no more than the rate, plus one window. */
static void test_rate_over_time(void **state) {
        uint64_t seed = 4;

        for (int i = 0; i < 200; i++) {
                MlgGuardInput in = usual();
                uint64_t start_usec = in.now_usec, start_kib;

                in.target_kib = start_kib = in.ceiling_kib;
                for (int turn = 0; turn < 100; turn++) {
                        MlgStep s = mlg_guard_step(&in, (MlgStep) { in.floor_kib, MLG_REASON_DEMAND });
                        uint64_t most;

                        if (s.target_kib < in.target_kib)
                                in.shrunk_usec = in.now_usec;
                        in.target_kib = s.target_kib;
                        most = mlg_mul_div(GIB / 20, in.now_usec - start_usec + 2 * SIM_SEC, SIM_SEC);
                        assert_true(start_kib - in.target_kib <= most);
                        in.now_usec += sim_random_below(&seed, 3 * SIM_SEC);
                }
                assert_in_range(in.target_kib, in.floor_kib,
                                in.floor_kib + GIB / 50); /* but for the dead band */
        }
}

/* However slow a rate, wide a dead band and large a granule: it gets there, in steps worth taking, at that rate. */
static void test_slow_rates_get_there(void **state) {
        static const struct {
                uint32_t permille;
                uint64_t granule_kib;
        } bands[] = { { 0, 0 }, { 20, 0 }, { 500, 0 }, { 0, 2 * SIM_MIB }, { 20, 2 * SIM_MIB }, { 0, 128 * SIM_MIB } };

        for (size_t i = 0; i < G_N_ELEMENTS(bands); i++)
                for (int grows = 0; grows < 2; grows++) {
                        MlgGuardInput in = usual();
                        MlgGuestSettings slow = defaults;
                        uint64_t start_usec = in.now_usec, far = grows ? in.ceiling_kib : in.floor_kib;

                        slow.shrink_permille = slow.grow_permille = 1;
                        slow.dead_band_permille = bands[i].permille;
                        in.granule_kib = bands[i].granule_kib;
                        in.settings = &slow;
                        in.target_kib = grows ? in.floor_kib : in.ceiling_kib;
                        in.shrunk_usec = in.grown_usec = in.now_usec;
                        while (mlg_abs_diff(in.target_kib, far) >
                               mlg_max(mlg_max(GIB * bands[i].permille / 1000, MLG_LEAST_STEP_KIB), in.granule_kib)) {
                                MlgStep s = mlg_guard_step(&in, (MlgStep) { far, MLG_REASON_DEMAND });

                                if (s.target_kib != in.target_kib)
                                        in.shrunk_usec = in.grown_usec = in.now_usec;
                                in.target_kib = s.target_kib;
                                in.now_usec += SIM_SEC / 5;
                                assert_true(in.now_usec - start_usec < 1000 * SIM_SEC);
                        }
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_unmissed),
                cmocka_unit_test(test_grow_rate),
                cmocka_unit_test(test_invariants),
                cmocka_unit_test(test_rate_over_time),
                cmocka_unit_test(test_slow_rates_get_there),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
