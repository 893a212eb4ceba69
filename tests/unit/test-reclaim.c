/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reclaim: finds the working set of simulated guests, leaves them in peace, and holds where it must. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/reclaim.h"
#include "util/util.h"

#define MIB MLG_KIB_PER_MIB
#define SEC MLG_USEC_PER_SEC
#define FAULT_USEC 100 /* read back from an SSD */
#define PAGE_KIB 4
#define HUGE_SWAP (64 * 1024 * MIB)

/* A guest whose memory is in parts that are touched now and then, and a kernel that takes the least recently
 * touched first, but not only: a thirtieth of what it takes is of the next part; and takes a third more than
 * it was asked for. */
#define PARTS 3
typedef struct Guest {
        uint64_t now_usec;
        struct {
                uint64_t kib, away_kib, every_usec; /* all of it is touched once in that time; 0: never */
        } parts[PARTS];                             /* hottest first */
        MlgRawCgroup raw;
        MlgReclaimLimits limits;
        MlgReclaim c;
        uint64_t steps;
} Guest;

static void guest_init(Guest *g, uint64_t hot_kib, uint64_t warm_kib, uint64_t cold_kib) {
        *g = (Guest){
                .now_usec = 1000 * SEC,
                .parts = { { hot_kib, 0, SEC }, { warm_kib, 0, 120 * SEC }, { cold_kib, 0, 0 } },
                .raw = { .swap_max_kib = UINT64_MAX },
                .limits = { .floor_kib = 64 * MIB,
                            .host_total_kib = 64 * 1024 * MIB,
                            .swap_total_kib = HUGE_SWAP,
                            .swap_free_kib = HUGE_SWAP },
        };
}

static uint64_t resident_kib(const Guest *g) {
        uint64_t sum = 0;

        for (int i = 0; i < PARTS; i++)
                sum += g->parts[i].kib - g->parts[i].away_kib;
        return sum;
}

static uint64_t away_kib(const Guest *g) {
        uint64_t sum = 0;

        for (int i = 0; i < PARTS; i++)
                sum += g->parts[i].away_kib;
        return sum;
}

static void take(Guest *g, int part, uint64_t kib) {
        g->parts[part].away_kib += mlg_min(kib, g->parts[part].kib - g->parts[part].away_kib);
}

static void reclaim(Guest *g, uint64_t kib) {
        kib += kib / 3;
        for (int i = PARTS - 1; i >= 0 && kib > 0; i--) {
                uint64_t there = g->parts[i].kib - g->parts[i].away_kib, now = mlg_min(kib, there);

                take(g, i, now);
                if (i > 0)
                        take(g, i - 1, now / 30);
                kib -= now;
        }
        g->steps++;
}

/* What is touched comes back, and the guest waits for it. */
static void run_guest(Guest *g, uint64_t usec) {
        for (int i = 0; i < PARTS; i++) {
                uint64_t back = g->parts[i].every_usec ? mlg_min(g->parts[i].away_kib,
                                                                 mlg_mul_div(g->parts[i].away_kib, usec,
                                                                             g->parts[i].every_usec))
                                                       : 0;

                g->parts[i].away_kib -= back;
                g->raw.refault_kib += back;
                g->raw.stall_usec += back / PAGE_KIB * FAULT_USEC;
        }
        g->now_usec += usec;
}

static uint64_t read_guest(Guest *g) {
        g->raw.current_kib = resident_kib(g);
        g->raw.swap_kib = away_kib(g);
        return mlg_reclaim_take(&g->c, &g->raw, &g->limits, g->now_usec);
}

static uint64_t turn(Guest *g) {
        uint64_t step;

        run_guest(g, MLG_RECLAIM_READ_USEC);
        step = read_guest(g);
        if (step > 0) {
                reclaim(g, step);
                mlg_reclaim_asked(&g->c, 0, step, g->now_usec);
        }
        return step;
}

static void turns(Guest *g, uint64_t usec) {
        for (uint64_t end = g->now_usec + usec; g->now_usec < end;)
                (void) turn(g);
}

/* ---- finding the working set ---- */

static void test_settles(void **state) {
        static const struct {
                uint64_t hot_mib, warm_mib, cold_mib;
        } rows[] = { { 512, 256, 1280 },
                     { 1900, 100, 48 },
                     { 100, 50, 16000 },
                     { 64, 1984, 0 },
                     { 700, 0, 1000 } };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                uint64_t working = (rows[i].hot_mib + rows[i].warm_mib) * MIB, refaults, steps;
                Guest g;

                guest_init(&g, rows[i].hot_mib * MIB, rows[i].warm_mib * MIB, rows[i].cold_mib * MIB);
                turns(&g, 6 * 3600 * SEC);
                assert_in_range(resident_kib(&g), working * 9 / 10, working * 11 / 10 + 32 * MIB);
                /* From there on it costs next to nothing; where all that is left is hot, four probes in an
         * hour. */
                refaults = g.raw.refault_kib;
                steps = g.steps;
                turns(&g, 3600 * SEC);
                print_message("working set %" PRIu64 " MiB: has %" PRIu64 " MiB after %" PRIu64
                              " steps; then %" PRIu64 " steps and %" PRIu64 " MiB read back in an hour\n",
                              working / MIB, resident_kib(&g) / MIB, steps, g.steps - steps,
                              (g.raw.refault_kib - refaults) / MIB);
                assert_in_range(resident_kib(&g), working * 9 / 10, working * 11 / 10 + 32 * MIB);
                assert_true((g.raw.refault_kib - refaults) / 3600 <= 64);
                assert_true(g.steps - steps <= 4 || rows[i].warm_mib > 0);
        }
}

/* From step to step the guest's memory only falls until it is where it stays: no swinging. */
static void test_does_not_oscillate(void **state) {
        uint64_t lowest, highest = 0;
        Guest g;

        guest_init(&g, 512 * MIB, 256 * MIB, 1280 * MIB);
        turns(&g, 2 * 3600 * SEC);
        lowest = resident_kib(&g);
        for (int i = 0; i < 4 * 720; i++) {
                (void) turn(&g);
                lowest = mlg_min(lowest, resident_kib(&g));
                highest = mlg_max(highest, resident_kib(&g));
        }
        assert_true(highest - lowest <= 40 * MIB); /* 5 % of what it has */
}

static void test_follows_growth_and_fall(void **state) {
        Guest g;

        guest_init(&g, 512 * MIB, 0, 1024 * MIB);
        turns(&g, 2 * 3600 * SEC);
        assert_true(resident_kib(&g) < 640 * MIB);
        /* What was cold is hot now: it is all there as soon as the guest can touch it, nothing is taken
         * meanwhile. */
        g.parts[2].every_usec = MLG_RECLAIM_READ_USEC;
        for (int i = 0; i < 3; i++)
                assert_int_equal(turn(&g), 0);
        assert_int_equal(away_kib(&g), 0);
        /* And cold again: it is found, in spite of the pause. */
        g.parts[2].every_usec = 0;
        turns(&g, 2 * 3600 * SEC);
        assert_true(resident_kib(&g) < 640 * MIB);
}

/* ---- leaving in peace ---- */

static void test_backs_off_in_one_step(void **state) {
        static const struct {
                const char *what;
                uint64_t stall_usec, refault_kib;
        } rows[] = {
                { "stalls", MLG_RECLAIM_READ_USEC / 1000, 0 },
                { "refaults", 0, 64 * 5 },
                { "both", MLG_RECLAIM_READ_USEC, 1024 * MIB },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                uint64_t pause;
                Guest g;

                guest_init(&g, 512 * MIB, 0, 1536 * MIB);
                (void) turn(&g);
                assert_int_equal(turn(&g), 20971); /* 1 % */
                g.raw.stall_usec += rows[i].stall_usec;
                g.raw.refault_kib += rows[i].refault_kib;
                assert_int_equal(turn(&g), 0);
                pause = g.c.resume_usec - g.now_usec;
                assert_int_equal(pause, 30 * SEC);
                turns(&g, pause - MLG_RECLAIM_READ_USEC);
                assert_int_equal(g.steps, 1);
                assert_true(turn(&g) > 0); /* over */
                g.raw.stall_usec += rows[i].stall_usec;
                g.raw.refault_kib += rows[i].refault_kib;
                assert_int_equal(turn(&g), 0);
                assert_int_equal(g.c.resume_usec - g.now_usec, 60 * SEC); /* that one hurt, too */
        }
}

/* Pressure that no probe made is waited for, but does not make the pauses longer. */
static void test_pressure_of_its_own(void **state) {
        Guest g;

        guest_init(&g, 512 * MIB, 0, 1536 * MIB);
        (void) turn(&g);
        for (int i = 0; i < 100; i++) {
                g.raw.stall_usec += SEC;
                assert_int_equal(turn(&g), 0);
        }
        assert_int_equal(g.c.caution, 0);
        assert_int_equal(g.c.resume_usec, g.now_usec + 30 * SEC);
}

static void test_slower_with_strain(void **state) {
        Guest g;

        guest_init(&g, 512 * MIB, 0, 1536 * MIB);
        (void) turn(&g);
        g.raw.stall_usec += MLG_RECLAIM_READ_USEC / 2000; /* half of the limit */
        assert_int_equal(turn(&g), 20971 / 2);
}

static void test_pauses_are_bounded(void **state) {
        Guest g;

        guest_init(&g, 512 * MIB, 0, 1536 * MIB);
        (void) turn(&g);
        for (int i = 0; i < 10000; i++) {
                g.raw.stall_usec += g.c.probing ? SEC : 0;
                (void) turn(&g);
        }
        assert_int_equal(g.c.caution, MLG_RECLAIM_CAUTION_MOST);
        assert_true(g.steps >= 50);
}

/* ---- limits ---- */

static void test_never_below_floor(void **state) {
        Guest g;

        guest_init(&g, 0, 0, 300 * MIB);
        g.limits.floor_kib = 256 * MIB;
        for (int i = 0; i < 1000; i++) {
                (void) turn(&g);
                assert_true(resident_kib(&g) >= g.limits.floor_kib);
        }
        assert_true(resident_kib(&g) < g.limits.floor_kib + 2 * MIB);
        g.limits.floor_kib = UINT64_MAX;
        assert_int_equal(turn(&g), 0);
}

static void test_large_steps_are_bounded(void **state) {
        Guest g;

        guest_init(&g, 0, 0, 48 * 1024 * MIB);
        (void) turn(&g);
        assert_int_equal(turn(&g), 128 * MIB);
}

static void test_swap(void **state) {
        static const struct {
                const char *what;
                uint64_t total_kib, free_kib, max_kib;
                bool takes;
        } rows[] = {
                { "none on the host", 0, 0, UINT64_MAX, false },
                { "full", 1024 * MIB, 0, UINT64_MAX, false },
                { "its last part", 1024 * MIB, 128 * MIB, UINT64_MAX, false },
                { "room", 1024 * MIB, 512 * MIB, UINT64_MAX, true },
                { "none for this guest", 1024 * MIB, 512 * MIB, 0, false },
                { "some for this guest", 1024 * MIB, 512 * MIB, 64 * MIB, true },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                Guest g;

                guest_init(&g, 0, 0, 2048 * MIB);
                g.limits.swap_total_kib = rows[i].total_kib;
                g.limits.swap_free_kib = rows[i].free_kib;
                g.raw.swap_max_kib = rows[i].max_kib;
                (void) turn(&g);
                if ((turn(&g) > 0) != rows[i].takes)
                        fail_msg("%s", rows[i].what);
                assert_int_equal(g.c.why, rows[i].takes ? MLG_REASON_RECLAIM : MLG_REASON_NO_SWAP);
        }
}

/* ---- facts that may not be used ---- */

static void test_holds_on_bad_facts(void **state) {
        static const struct {
                const char *what;
                int64_t current_kib, swap_kib, stall_usec, refault_kib; /* changes */
                uint64_t late_usec;
                bool impossible;
        } rows[] = {
                { "old", 0, 0, 0, 0, 11 * SEC, false },
                { "stalls went back", 0, 0, -1, 0, 0, false },
                { "refaults went back", 0, 0, 0, -1, 0, false },
                { "more than the host has", 128 * 1024 * INT64_C(1024), 0, 0, 0, 0, true },
                { "nothing", -2048 * INT64_C(1024), 0, 0, 0, 0, true },
                { "more swapped than there is swap", 0, INT64_MAX / 2, 0, 0, 0, true },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgRawCgroup raw;
                Guest g;

                guest_init(&g, 0, 0, 2048 * MIB);
                g.raw.stall_usec = g.raw.refault_kib = 1000;
                g.raw.current_kib = 2048 * MIB;
                raw = g.raw;
                assert_int_equal(mlg_reclaim_take(&g.c, &raw, &g.limits, g.now_usec), 0); /* the first */
                raw.current_kib += (uint64_t) rows[i].current_kib;
                raw.swap_kib += (uint64_t) rows[i].swap_kib;
                raw.stall_usec += (uint64_t) rows[i].stall_usec;
                raw.refault_kib += (uint64_t) rows[i].refault_kib;
                g.now_usec += MLG_RECLAIM_READ_USEC + rows[i].late_usec;
                if (mlg_reclaim_take(&g.c, &raw, &g.limits, g.now_usec) != 0)
                        fail_msg("%s", rows[i].what);
                assert_int_equal(g.c.why, rows[i].impossible ? MLG_REASON_IMPOSSIBLE : MLG_REASON_RECLAIM);
                /* Two good ones in a row are enough again. */
                raw = g.raw;
                (void) mlg_reclaim_take(&g.c, &raw, &g.limits, g.now_usec + MLG_RECLAIM_READ_USEC);
                if (mlg_reclaim_take(&g.c, &raw, &g.limits, g.now_usec + 2 * MLG_RECLAIM_READ_USEC) == 0)
                        fail_msg("%s: for ever", rows[i].what);
                /* The same moment twice is no time in which nothing happened. */
                assert_int_equal(mlg_reclaim_take(&g.c, &raw, &g.limits,
                                                  g.now_usec + 2 * MLG_RECLAIM_READ_USEC),
                                 0);
        }
}

static void test_host_stalls(void **state) {
        Guest g;

        guest_init(&g, 0, 0, 2048 * MIB);
        (void) turn(&g);
        g.limits.host_stalls = true;
        assert_int_equal(turn(&g), 0);
        assert_int_equal(g.c.why, MLG_REASON_HOST_PRESSURE);
        g.limits.host_stalls = false;
        assert_true(turn(&g) > 0);
}

static void test_failures(void **state) {
        static const struct {
                int r;
                MlgReason why;
                bool pauses;
        } rows[] = {
                { 0, MLG_REASON_RECLAIM, false },           { -EAGAIN, MLG_REASON_RECLAIM, true },
                { -ETIMEDOUT, MLG_REASON_RECLAIM, true },   { -EACCES, MLG_REASON_NO_PERMISSION, true },
                { -EROFS, MLG_REASON_NO_PERMISSION, true }, { -EOPNOTSUPP, MLG_REASON_NO_CGROUP, true },
                { -EXDEV, MLG_REASON_NO_CGROUP, true },     { -EBADMSG, MLG_REASON_IMPOSSIBLE, true },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                uint64_t step;
                Guest g;

                guest_init(&g, 0, 0, 2048 * MIB);
                (void) turn(&g);
                run_guest(&g, MLG_RECLAIM_READ_USEC);
                step = read_guest(&g);
                mlg_reclaim_asked(&g.c, rows[i].r, step, g.now_usec);
                assert_int_equal(g.c.why, rows[i].why);
                assert_int_equal(g.c.asked_kib, rows[i].r == 0 ? step : 0);
                assert_int_equal(g.c.resume_usec > g.now_usec, rows[i].pauses);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_settles),
                cmocka_unit_test(test_does_not_oscillate),
                cmocka_unit_test(test_follows_growth_and_fall),
                cmocka_unit_test(test_backs_off_in_one_step),
                cmocka_unit_test(test_pressure_of_its_own),
                cmocka_unit_test(test_slower_with_strain),
                cmocka_unit_test(test_pauses_are_bounded),
                cmocka_unit_test(test_never_below_floor),
                cmocka_unit_test(test_large_steps_are_bounded),
                cmocka_unit_test(test_swap),
                cmocka_unit_test(test_holds_on_bad_facts),
                cmocka_unit_test(test_host_stalls),
                cmocka_unit_test(test_failures),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
