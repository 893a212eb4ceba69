/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ledger: whatever is booked and granted, in whatever order, each byte is in one account. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/ledger.h"
#include "sim/guest.h"
#include "util/util.h"

#define N_ACCOUNTS 8

static void test_rows(void **state) {
        static const struct {
                const char *what;
                uint64_t budget, charge, others, reserved, to, granted, free, overrun;
        } cases[] = {
                { "all of it", 100, 10, 20, 0, 50, 50, 30, 0 },
                { "exactly what is left", 100, 10, 20, 0, 80, 80, 0, 0 },
                { "a part", 100, 10, 20, 30, 80, 50, 0, 0 },
                { "nothing is free", 100, 10, 90, 0, 80, 10, 0, 0 },
                { "overrun", 100, 10, 95, 5, 80, 10, 0, 10 },
                { "never lowers", 100, 50, 0, 0, 10, 50, 50, 0 },
                { "no budget", 0, 0, 0, 0, 1, 0, 0, 0 },
                { "greed", 100, 10, 0, 0, UINT64_MAX, 100, 0, 0 },
                { "reservations beyond counting", 100, 10, 0, UINT64_MAX, 20, 10, 0, UINT64_MAX - 100 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                uint64_t charge = cases[i].charge;
                MlgLedger l = {
                        .budget_kib = cases[i].budget,
                        .charged_kib = charge + cases[i].others,
                        .reserved_kib = cases[i].reserved,
                };

                if (mlg_ledger_grant(&l, &charge, cases[i].to) != cases[i].granted ||
                    charge != cases[i].granted)
                        fail_msg("%s: granted %" PRIu64, cases[i].what, charge);
                assert_int_equal(l.charged_kib, cases[i].granted + cases[i].others);
                assert_int_equal(mlg_ledger_free_kib(&l), cases[i].free);
                assert_true(mlg_ledger_overrun_kib(&l) == cases[i].overrun);
        }
}

static void check(const MlgLedger *l, const uint64_t *charges) {
        uint64_t sum = 0, out = l->charged_kib + l->reserved_kib;

        for (size_t i = 0; i < N_ACCOUNTS; i++)
                sum += charges[i];
        assert_int_equal(sum, l->charged_kib);
        assert_int_equal(out + mlg_ledger_free_kib(l), l->budget_kib + mlg_ledger_overrun_kib(l));
        assert_true(mlg_ledger_free_kib(l) == 0 || mlg_ledger_overrun_kib(l) == 0);
}

/* Grants never make an overrun, and never make one worse. */
static void test_books_stay_right(void **state) {
        uint64_t seed = 2, charges[N_ACCOUNTS] = {};
        MlgLedger l = { .budget_kib = 1000000 };

        for (int i = 0; i < 100000; i++) {
                uint64_t *c = &charges[sim_random_below(&seed, N_ACCOUNTS)],
                         amount = sim_random_below(&seed, 400000);
                uint64_t before = *c, got, overrun = mlg_ledger_overrun_kib(&l),
                         free = mlg_ledger_free_kib(&l);

                switch (sim_random_below(&seed, 8)) {
                case 0:
                        mlg_ledger_book(&l, c, amount);
                        assert_int_equal(*c, amount);
                        break;
                case 1:
                        l.budget_kib = 500000 + amount;
                        break;
                case 2:
                        l.reserved_kib = amount;
                        break;
                default:
                        got = mlg_ledger_grant(&l, c, amount);
                        assert_int_equal(got, *c);
                        assert_true(*c >= before);
                        assert_true(*c <= mlg_max(amount, before));
                        assert_true(*c - before <= free);
                        assert_int_equal(mlg_ledger_overrun_kib(&l), overrun);
                        break;
                }
                check(&l, charges);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),
                cmocka_unit_test(test_books_stay_right),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
