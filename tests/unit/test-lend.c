/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Idle memory that is lent to guests that swap: never more than is idle, and back when it is needed. And how
 * it is divided. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine-rig.h"
#include "memflex/sharing.h"
#include "util/util.h"

#define N 3
#define MAXIMUM_KIB (2 * GIB)
#define DEMAND_KIB (1000 * SIM_MIB)

/* 8 GiB, of which 1 is the reserve; three guests of 2 GiB that need half of it. The borrower takes what it
 * may, and gives back what is called back `lag` turns later. */
typedef struct Case {
        Rig *t;
        SimGuest *g[N];
        uint64_t wish_kib;
        unsigned int lag, waited;
        uint64_t most_kib;
} Case;

static void case_init(Case *c, uint64_t wish_kib) {
        *c = (Case){ .t = rig_new(8 * GIB, false), .wish_kib = wish_kib };
        c->t->host.reserve = MLG_AMOUNT_KIB(GIB);
        mlg_engine_configure(c->t->e, &c->t->host);
        for (int i = 0; i < N; i++)
                c->g[i] = rig_add(c->t, MAXIMUM_KIB, DEMAND_KIB);
}

static void borrow(Case *c) {
        uint64_t target = mlg_engine_lend_target_kib(c->t->e);

        if (target == UINT64_MAX)
                return;
        if (c->t->lent_kib <= target) {
                c->waited = 0;
                (void) mlg_engine_lend(c->t->e, &c->t->lent_kib, target);
                assert_true(c->t->lent_kib <= target);
        } else if (c->waited++ >= c->lag)
                mlg_engine_book_lent(c->t->e, &c->t->lent_kib, target);
        c->most_kib = mlg_max(c->most_kib, c->t->lent_kib);
}

static void run_case(Case *c, uint64_t sec) {
        uint64_t until = c->t->now_usec + sec * SIM_SEC;

        while (c->t->now_usec < until) {
                const MlgLedger *l = mlg_engine_ledger(c->t->e);

                mlg_engine_wish_lent(c->t->e, c->wish_kib);
                turn(c->t);
                borrow(c);
                assert_true(l->charged_kib + l->reserved_kib <= l->budget_kib + 16 * SIM_MIB);
        }
}

/* What guests would only have as a surplus is lent; what nobody wants to borrow they have. */
static void test_idle(void **state) {
        uint64_t spread = 0, needed = 0;
        Case c;

        case_init(&c, 0);
        run_case(&c, 120);
        assert_int_equal(c.t->lent_kib, 0);
        for (int i = 0; i < N; i++)
                spread += c.g[i]->actual_kib;
        c.wish_kib = 8 * GIB;
        run_case(&c, 120);
        for (int i = 0; i < N; i++)
                needed += c.g[i]->actual_kib;
        assert_true(needed < spread);
        assert_true(needed >= N * DEMAND_KIB);
        assert_in_range(c.t->lent_kib, 2 * GIB, 4 * GIB);
        c.wish_kib = 100 * SIM_MIB;
        run_case(&c, 60);
        assert_int_equal(c.t->lent_kib, 100 * SIM_MIB);
        rig_free(c.t);
}

/* Guests grow one after the other while all idle memory is lent. */
static void test_grows(void **state) {
        static const unsigned int lags[] = { 0, 4, 10 };

        for (size_t k = 0; k < G_N_ELEMENTS(lags); k++) {
                Case c;

                case_init(&c, 8 * GIB);
                c.lag = lags[k];
                run_case(&c, 120);
                assert_true(c.most_kib > 2 * GIB);
                for (int i = 0; i < N; i++) {
                        c.g[i]->demand_kib = 1900 * SIM_MIB;
                        run_case(&c, 60);
                        if (c.g[i]->actual_kib < 1900 * SIM_MIB)
                                fail_msg("lag %u: guest %d has %" PRIu64 " MiB, lent %" PRIu64, lags[k], i,
                                         c.g[i]->actual_kib / SIM_MIB, c.t->lent_kib / SIM_MIB);
                }
                assert_true(c.t->lent_kib < 1200 * SIM_MIB);
                for (int i = 0; i < N; i++)
                        c.g[i]->demand_kib = DEMAND_KIB;
                run_case(&c, 300);
                assert_true(c.t->lent_kib > 2 * GIB);
                rig_free(c.t);
        }
}

/* At rest nothing is called back, although budget and needs tremble. */
static void test_rest(void **state) {
        unsigned int n_calls = 0;
        Case c;

        case_init(&c, 8 * GIB);
        run_case(&c, 180);
        for (int i = 0; i < 200; i++) {
                uint64_t before = c.t->lent_kib;

                c.g[i % N]->demand_kib = DEMAND_KIB + (uint64_t) (i % 5) * 4 * SIM_MIB;
                run_case(&c, 1);
                n_calls += c.t->lent_kib < before;
        }
        assert_in_range(n_calls, 0, 4);
        rig_free(c.t);
}

static void on_fate(const MlgReservation *r, MlgReservationFate fate, void *userdata) {
        *(MlgReservationFate *) userdata = fate;
}

static void test_reservation(void **state) {
        MlgReservationFate fate = MLG_RESERVATION_PROGRESS;
        MlgReservation r = { .id = 1, .kib = 2 * GIB, .keep_usec = 600 * SIM_SEC };
        Case c;

        case_init(&c, 8 * GIB);
        c.lag = 4;
        run_case(&c, 120);
        r.expires_usec = c.t->now_usec + 600 * SIM_SEC;
        r.wait_until_usec = c.t->now_usec + 60 * SIM_SEC;
        assert_int_equal(mlg_engine_reserve(c.t->e, &r), 0);
        for (int i = 0; i < 60 && fate == MLG_RESERVATION_PROGRESS; i++) {
                mlg_engine_wish_lent(c.t->e, c.wish_kib);
                turn(c.t);
                borrow(&c);
                mlg_engine_settle_reservations(c.t->e, c.t->now_usec, true, on_fate, &fate);
        }
        assert_int_equal(fate, MLG_RESERVATION_READY);
        rig_free(c.t);
}

/* The host's own use grows: what is lent comes back before any guest is cut below its need. */
static void test_host_grows(void **state) {
        MlgHostStatus s;
        Case c;

        case_init(&c, 8 * GIB);
        c.lag = 2;
        run_case(&c, 120);
        c.t->own_kib_per_sec = 200 * SIM_MIB;
        c.t->own_most_kib = 2 * GIB;
        for (int i = 0; i < 240; i++) {
                mlg_engine_wish_lent(c.t->e, c.wish_kib);
                turn(c.t);
                borrow(&c);
        }
        mlg_engine_host_status(c.t->e, &s);
        assert_int_equal(s.alarm, MLG_ALARM_NONE);
        assert_true(s.charged_kib <= s.budget_kib + 16 * SIM_MIB);
        for (int i = 0; i < N; i++)
                assert_true(c.g[i]->actual_kib >= DEMAND_KIB);
        rig_free(c.t);
}

/* ---- who gets what ---- */

static void test_shares(void **state) {
        static const struct {
                uint64_t kib, want[3], give[3];
                uint32_t shares[3];
        } rows[] = {
                { 0, { 5, 5, 5 }, { 0, 0, 0 }, { 1, 1, 1 } },
                { 30, { 5, 5, 5 }, { 5, 5, 5 }, { 1, 100, 10000 } },
                { 9, { 5, 5, 5 }, { 3, 3, 3 }, { 1, 1, 1 } },
                { 9, { 1, 100, 100 }, { 1, 4, 4 }, { 1, 1, 1 } },
                { 300, { 1000, 1000, 1000 }, { 50, 100, 150 }, { 100, 200, 300 } },
                { 300, { 1000, 0, 10 }, { 200, 0, 10 }, { 100, 200, 300 } },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgFlexClaim c[3];
                uint64_t sum;

                for (int k = 0; k < 3; k++)
                        c[k] = (MlgFlexClaim){ .want_kib = rows[i].want[k], .shares = rows[i].shares[k] };
                sum = mlg_flex_share(c, 3, rows[i].kib);
                assert_int_equal(sum, c[0].give_kib + c[1].give_kib + c[2].give_kib);
                assert_true(sum <= rows[i].kib);
                for (int k = 0; k < 3; k++)
                        if (c[k].give_kib < rows[i].give[k])
                                fail_msg("row %zu: %d gets %" PRIu64, i, k, c[k].give_kib);
        }
        assert_int_equal(mlg_flex_share(NULL, 0, 5), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_idle),       cmocka_unit_test(test_grows),
                cmocka_unit_test(test_rest),       cmocka_unit_test(test_reservation),
                cmocka_unit_test(test_host_grows), cmocka_unit_test(test_shares),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
