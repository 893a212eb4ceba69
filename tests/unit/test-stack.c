/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stack: what guests say of securestack.ko, true and false. */
#include "core/stack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define MAXIMUM_KIB (512 * 1024)

static MlgRawMonitor said(uint64_t place, uint64_t nothing) {
        return (MlgRawMonitor){
                .have = MLG_MONITOR_STACK,
                .stack_calls = 100,
                .stack_held_bytes = 4096,
                .stack_refused = 7,
                .stack_violations = { [MLG_STACK_PLACE] = place, [MLG_STACK_NOTHING] = nothing }
        };
}

static void test_what_is_new(void **state) {
        static const struct {
                const char *what;
                uint64_t place, nothing, untold_place, untold_nothing;
                bool told;
        } rows[] = {
                { "the first word: all there was before", 3, 1, 3, 1, true },
                { "nothing new", 3, 1, 0, 0, false },
                { "one more", 4, 1, 1, 0, false },
                { "and one more, which waits with it", 4, 2, 1, 1, true },
                { "the module was loaded anew", 0, 0, 0, 0, false },
                { "and caught more than before the fall", 9, 0, 9, 0, true },
                { "a fall that leaves some: all of it is new", 5, 0, 5, 0, true },
                { "as before", 5, 0, 0, 0, true },
        };
        MlgStack s = {};

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                MlgRawMonitor raw = said(rows[i].place, rows[i].nothing);

                assert_true(mlg_stack_take(&s, &raw, MAXIMUM_KIB));
                assert_true(s.known);
                assert_int_equal(s.violations[MLG_STACK_PLACE], rows[i].place);
                if (s.untold[MLG_STACK_PLACE] != rows[i].untold_place ||
                    s.untold[MLG_STACK_NOTHING] != rows[i].untold_nothing)
                        fail_msg("%s: %d, %d", rows[i].what, (int) s.untold[MLG_STACK_PLACE],
                                 (int) s.untold[MLG_STACK_NOTHING]);
                assert_int_equal(mlg_stack_sum(s.untold), rows[i].untold_place + rows[i].untold_nothing);
                if (rows[i].told)
                        mlg_stack_told(&s);
        }
        assert_int_equal(s.calls, 100);
        assert_int_equal(s.held_bytes, 4096);
        assert_int_equal(s.refused, 7);
}

#define SPOIL(name, how) \
        static void spoil_##name(MlgRawMonitor *r) { \
                how; \
        }
SPOIL(ones, memset(&r->stack_calls, 0xff, sizeof(*r) - offsetof(MlgRawMonitor, stack_calls)))
SPOIL(calls, r->stack_calls = (UINT64_C(1) << 53) + 1)
SPOIL(refused, r->stack_refused = UINT64_MAX)
SPOIL(held, r->stack_held_bytes = UINT64_C(1024) * (MAXIMUM_KIB + 1))
SPOIL(first, r->stack_violations[0] = UINT64_MAX)
SPOIL(last, r->stack_violations[_MLG_STACK_VIOLATION_MAX - 1] = (UINT64_C(1) << 53) + 1)

static void test_nonsense_changes_nothing(void **state) {
        static void (*const spoils[])(MlgRawMonitor * r) = { spoil_ones, spoil_calls, spoil_refused,
                                                             spoil_held, spoil_first, spoil_last };
        MlgRawMonitor good = said(3, 1);

        for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
                MlgRawMonitor raw = good;
                MlgStack s = {}, before;

                assert_true(mlg_stack_take(&s, &good, MAXIMUM_KIB));
                mlg_stack_told(&s);
                before = s;
                spoils[i](&raw);
                assert_false(mlg_stack_take(&s, &raw, MAXIMUM_KIB));
                assert_false(s.known);
                before.known = false;
                assert_memory_equal(&s, &before, sizeof(s));
                assert_true(
                        mlg_stack_take(&s, &good,
                                       MAXIMUM_KIB)); /* and when it comes to its senses nothing is new */
                assert_int_equal(mlg_stack_sum(s.untold), 0);
        }
}

static void test_an_old_monitor(void **state) {
        MlgRawMonitor raw = said(3, 1);
        MlgStack s = {};

        raw.have = ~MLG_MONITOR_STACK;
        assert_true(mlg_stack_take(&s, &raw, MAXIMUM_KIB));
        assert_false(s.known);
        assert_int_equal(mlg_stack_sum(s.untold), 0);
}

/* The greatest possible numbers up and down for ever: sums stay at their end. */
static void test_a_liar(void **state) {
        MlgStack s = {};

        for (int i = 0; i < 10000; i++) {
                MlgRawMonitor raw = said(i & 1 ? 1 : UINT64_C(1) << 53, i & 1 ? UINT64_C(1) << 53 : 1);

                assert_true(mlg_stack_take(&s, &raw, MAXIMUM_KIB));
        }
        assert_true(mlg_stack_sum(s.untold) == UINT64_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_new),
                cmocka_unit_test(test_nonsense_changes_nothing),
                cmocka_unit_test(test_an_old_monitor),
                cmocka_unit_test(test_a_liar),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
