/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Swap-in on the host's side: when a guest is told to, how much, and what is believed of its answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <glib.h>

#include "core/swap-in.h"
#include "util/util.h"

#define MIB MLG_KIB_PER_MIB
#define SEC MLG_USEC_PER_SEC
#define HAVE (MLG_MONITOR_SIZES | MLG_MONITOR_SWAPPED | MLG_MONITOR_SWAP_IN_TOLD)

static MlgRawMonitor report(uint64_t swapped_mib, uint64_t free_mib) {
        return (MlgRawMonitor) { .have = HAVE, .swapped_kib = swapped_mib * MIB, .free_kib = free_mib * MIB };
}

static void test_how_much(void **state) {
        static const struct {
                const char *what;
                uint32_t have;
                uint64_t swapped_mib, free_mib, grown_mib;
                bool arrived;
                uint64_t want_mib;
        } rows[] = {
                { "what came", HAVE, 500, 300, 100, true, 100 },
                { "more than is out: it ends by itself", HAVE, 60, 300, 100, true, 100 },
                { "what is free", HAVE, 500, 50, 100, true, 50 },
                { "nothing came", HAVE, 500, 300, 0, true, 0 },
                { "nothing is out", HAVE, 0, 300, 100, true, 0 },
                { "too little to be worth it", HAVE, 3, 300, 100, true, 0 },
                { "it still comes", HAVE, 500, 300, 60, false, 0 },
                { "it still comes, and much has", HAVE, 500, 300, 70, false, 70 },
                { "an old monitor", MLG_MONITOR_SIZES | MLG_MONITOR_SWAPPED, 500, 300, 100, true, 0 },
                { "no word of what is out", MLG_MONITOR_SIZES | MLG_MONITOR_SWAP_IN_TOLD, 500, 300, 100, true, 0 },
                { "nor of what is free", MLG_MONITOR_SWAPPED | MLG_MONITOR_SWAP_IN_TOLD, 500, 300, 100, true, 0 },
                { "nonsense", HAVE, UINT64_MAX / MIB, UINT64_MAX / MIB, 100, true, 100 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgSwapIn s = { 0 };
                MlgRawMonitor raw = report(rows[i].swapped_mib, rows[i].free_mib);
                uint64_t kib;

                raw.have = rows[i].have;
                assert_int_equal(mlg_swap_in_offer(&s, &raw, 200 * MIB, true, SEC), 0); /* that is where it begins */
                kib = mlg_swap_in_offer(&s, &raw, (200 + rows[i].grown_mib) * MIB, rows[i].arrived, 2 * SEC);
                if (kib != rows[i].want_mib * MIB)
                        fail_msg("%s: %" G_GUINT64_FORMAT " KiB", rows[i].what, kib);
        }
}

/* Each grant is told once, from the least that the guest had. */
static void test_again(void **state) {
        MlgRawMonitor raw = report(500, 300);
        MlgSwapIn s = { 0 };

        assert_int_equal(mlg_swap_in_offer(&s, &raw, 300 * MIB, true, SEC), 0);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 200 * MIB, true, 2 * SEC), 0); /* it shrinks */
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 250 * MIB, true, 3 * SEC), 50 * MIB);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 250 * MIB, true, 30 * SEC), 0);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 260 * MIB, true, 31 * SEC), 10 * MIB);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 270 * MIB, true, 32 * SEC), 0); /* too soon */
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 270 * MIB, true, 34 * SEC), 10 * MIB);
        assert_int_equal(s.n_told, 3);
}

static void test_answers(void **state) {
        MlgRawMonitor raw = report(500, 300);
        MlgSwapIn s = { 0 };

        mlg_swap_in_take(&s, &raw, 0); /* nothing was ordered */
        (void) mlg_swap_in_offer(&s, &raw, 200 * MIB, true, SEC);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 300 * MIB, true, 2 * SEC), 100 * MIB);
        raw.swap_in_state = MLG_SWAP_IN_DONE; /* of another one */
        raw.swap_in_number = 6;
        mlg_swap_in_take(&s, &raw, 7);
        assert_int_equal(s.state, MLG_SWAP_IN_NONE);
        raw.swap_in_number = 7;
        raw.swap_in_state = MLG_SWAP_IN_RUNNING;
        raw.swap_in_done_kib = 20 * MIB;
        mlg_swap_in_take(&s, &raw, 7);
        assert_int_equal(s.state, MLG_SWAP_IN_RUNNING);
        assert_int_equal(s.done_kib, 20 * MIB);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 400 * MIB, true, 20 * SEC), 0); /* one at a time */
        raw.swap_in_done_kib = UINT64_MAX;
        raw.swap_in_state = 12345;
        mlg_swap_in_take(&s, &raw, 7);
        assert_int_equal(s.state, MLG_SWAP_IN_FAILED);
        assert_true(s.done_kib < 200 * MIB);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 400 * MIB, true, 30 * SEC), 100 * MIB);
}

/* Where there was no room, or others needed it, the rest comes later. */
static void test_rest(void **state) {
        MlgRawMonitor raw = report(500, 40);
        MlgSwapIn s = { 0 };

        (void) mlg_swap_in_offer(&s, &raw, 200 * MIB, true, SEC);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 300 * MIB, true, 2 * SEC), 40 * MIB);
        raw.free_kib = 90 * MIB;
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 300 * MIB, true, 5 * SEC), 60 * MIB);
        raw.swap_in_number = 2;
        raw.swap_in_state = MLG_SWAP_IN_PRESSURE;
        raw.swap_in_done_kib = 10 * MIB;
        for (int i = 0; i < 3; i++)
                mlg_swap_in_take(&s, &raw, 2);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 300 * MIB, true, 20 * SEC), 0);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 300 * MIB, true, 40 * SEC), 50 * MIB);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 300 * MIB, true, 80 * SEC), 0);
}

/* Who runs for ever, or whose session is gone while it runs, is told again some day. */
static void test_no_end(void **state) {
        MlgRawMonitor raw = report(500, 300);
        MlgSwapIn s = { 0 };

        (void) mlg_swap_in_offer(&s, &raw, 200 * MIB, true, SEC);
        (void) mlg_swap_in_offer(&s, &raw, 300 * MIB, true, 2 * SEC);
        raw.swap_in_number = 1;
        raw.swap_in_state = MLG_SWAP_IN_RUNNING;
        mlg_swap_in_take(&s, &raw, 1);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 400 * MIB, true, 500 * SEC), 0);
        assert_int_equal(mlg_swap_in_offer(&s, &raw, 400 * MIB, true, 700 * SEC), 100 * MIB);
        mlg_swap_in_take(&s, &raw, 1);
        raw.swap_in_number = 0;
        mlg_swap_in_take(&s, &raw, 1);
        assert_int_equal(s.state, MLG_SWAP_IN_FAILED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_how_much),
                cmocka_unit_test(test_again),
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_rest),
                cmocka_unit_test(test_no_end),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
