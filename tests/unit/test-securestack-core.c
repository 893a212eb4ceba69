/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SecureStack's core: lists of ranges, whose entry is whose, frames that are gone, stacks of coroutines,
 * limits, and any order of everything against the model. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "securestack-rig.h"

#define BASE SS_RIG_BASE
#define PLENTY (1u << 20)
#define SP 0x18000u       /* on the first stack */
#define OTHER_SP 0x28000u /* on the second one */

#define SECRET(at, bytes) { BASE + (at), (bytes), 0 }
#define EXCEPT(at, bytes) { BASE + (at), (bytes), MLG_SS_EXCEPTION }

static const struct mlg_ss_range whole = SECRET(0, SS_RIG_BYTES);

static int protect(SsRig *r, uint64_t sp, uint64_t site) {
        struct ss_where w = ss_rig_where(sp, site);

        return ss_rig_protect(r, &w, &whole, 1, 0);
}

static int restore(SsRig *r, uint64_t sp, uint64_t site) {
        struct ss_where w = ss_rig_where(sp, site);

        return ss_rig_restore(r, &w);
}

/* --- ranges --- */

static void test_ranges(void **state) {
        static const struct {
                const char *what;
                struct mlg_ss_range in[6];
                uint32_t n, n_out;
                struct ss_span out[4]; /* less BASE */
        } rows[] = {
                { "one", { SECRET(8, 8) }, 1, 1, { { 8, 16 } } },
                { "unsorted", { SECRET(32, 8), SECRET(0, 8) }, 2, 2, { { 0, 8 }, { 32, 40 } } },
                { "touching", { SECRET(8, 8), SECRET(0, 8) }, 2, 1, { { 0, 16 } } },
                { "twice", { SECRET(8, 8), SECRET(8, 8) }, 2, 1, { { 8, 16 } } },
                { "inside", { SECRET(0, 64), SECRET(8, 8) }, 2, 1, { { 0, 64 } } },
                { "bridge", { SECRET(0, 8), SECRET(16, 8), SECRET(4, 16) }, 3, 1, { { 0, 24 } } },
                { "over all", { SECRET(8, 8), SECRET(24, 8), SECRET(0, 64) }, 3, 1, { { 0, 64 } } },
                { "hole", { SECRET(0, 64), EXCEPT(16, 8) }, 2, 2, { { 0, 16 }, { 24, 64 } } },
                { "two holes", { EXCEPT(40, 8), SECRET(0, 64), EXCEPT(16, 8) }, 3, 3, { { 0, 16 }, { 24, 40 }, { 48, 64 } } },
                { "head", { SECRET(8, 8), EXCEPT(0, 12) }, 2, 1, { { 12, 16 } } },
                { "tail", { SECRET(8, 8), EXCEPT(12, 12) }, 2, 1, { { 8, 12 } } },
                { "to the byte", { SECRET(8, 8), EXCEPT(8, 8) }, 2, 0, { { 0, 0 } } },
                { "beside", { SECRET(8, 8), EXCEPT(16, 8), EXCEPT(0, 8) }, 3, 1, { { 8, 16 } } },
                { "over two", { SECRET(0, 16), SECRET(32, 16), EXCEPT(8, 32) }, 3, 2, { { 0, 8 }, { 40, 48 } } },
                { "over the first", { SECRET(0, 16), SECRET(32, 16), EXCEPT(0, 40) }, 3, 1, { { 40, 48 } } },
                { "nothing but", { EXCEPT(0, 8) }, 1, 0, { { 0, 0 } } },
        };

        (void) state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct ss_spans spans = { 0 };
                uint64_t bytes = 0;

                if (ss_spans_of(rows[i].in, rows[i].n, &spans) != 0 || spans.n != rows[i].n_out)
                        fail_msg("%s: %u spans, expected %u", rows[i].what, spans.n, rows[i].n_out);
                for (uint32_t s = 0; s < spans.n; s++) {
                        if (spans.span[s].from != BASE + rows[i].out[s].from ||
                            spans.span[s].to != BASE + rows[i].out[s].to)
                                fail_msg("%s: span %u is another one", rows[i].what, s);
                        bytes += spans.span[s].to - spans.span[s].from;
                }
                assert_int_equal(spans.bytes, bytes);
        }
}

static void test_ranges_refused(void **state) {
        static const struct mlg_ss_range bad[] = {
                { BASE, 0, 0 }, { BASE, 8, 2 }, { ~0ULL - 7, 8, 0 }, { ~0ULL, 1, MLG_SS_EXCEPTION },
        };
        struct mlg_ss_range many[MLG_SS_RANGES_MAX + 1];
        struct ss_spans spans;

        (void) state;
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                assert_int_equal(ss_spans_of(&bad[i], 1, &spans), -EINVAL);
        assert_int_equal(ss_spans_of(bad, 0, &spans), -EINVAL);
        for (uint32_t i = 0; i <= MLG_SS_RANGES_MAX; i++)
                many[i] = (struct mlg_ss_range) { BASE + 100 - i, 1, 0 };
        assert_int_equal(ss_spans_of(many, MLG_SS_RANGES_MAX + 1, &spans), -EINVAL);
        memset(&spans, 0, sizeof(spans));
        assert_int_equal(ss_spans_of(many, MLG_SS_RANGES_MAX, &spans), 0);
        assert_int_equal(spans.n, 1);
        assert_int_equal(spans.bytes, MLG_SS_RANGES_MAX);
}

/* As many pieces as there can be: each exception cuts the secret once more. */
static void test_most_pieces(void **state) {
        struct mlg_ss_range range[MLG_SS_RANGES_MAX];
        struct ss_spans spans = { 0 };

        (void) state;
        range[0] = whole;
        for (uint32_t i = 1; i < MLG_SS_RANGES_MAX; i++)
                range[i] = (struct mlg_ss_range) { BASE + 8 * i - 4, 4, MLG_SS_EXCEPTION };
        assert_int_equal(ss_spans_of(range, MLG_SS_RANGES_MAX, &spans), 0);
        assert_int_equal(spans.n, MLG_SS_RANGES_MAX);
        assert_int_equal(spans.bytes, SS_RIG_BYTES - 4 * (MLG_SS_RANGES_MAX - 1));
}

/* --- whose it is --- */

static void test_only_that_place(void **state) {
        struct ss_where w;
        SsRig r;

        (void) state;
        ss_rig_init(&r, PLENTY);
        assert_int_equal(restore(&r, SP, 1), -ENOENT);
        assert_int_equal(protect(&r, SP, 1), 0);
        assert_int_equal(restore(&r, SP, 2), -EPERM);
        assert_int_equal(restore(&r, SP + 8, 1), -EPERM);
        assert_int_equal(restore(&r, SP - 8, 1), -EPERM);
        assert_int_equal(restore(&r, OTHER_SP, 1), -EPERM);
        w = ss_rig_where(SP, 1);
        w.code = "something else at that address";
        assert_int_equal(ss_rig_restore(&r, &w), -EPERM);
        w = ss_rig_where(SP, 1);
        w.code_at++;
        assert_int_equal(ss_rig_restore(&r, &w), -EPERM);
        assert_int_equal(ss_rig_write(&r, 0, SS_RIG_BYTES, 0x41), 0); /* what the callee wrote is gone */
        assert_int_equal(restore(&r, SP, 1), 0);
        assert_int_equal(r.memory[1], 8);
        assert_int_equal(restore(&r, SP, 1), -ENOENT);
        ss_rig_done(&r);
}

static void test_exception_is_the_callees(void **state) {
        static const struct mlg_ss_range range[] = { SECRET(0, 64), EXCEPT(16, 8) };
        struct ss_where w = ss_rig_where(SP, 1);
        uint8_t before;
        SsRig r;

        (void) state;
        ss_rig_init(&r, PLENTY);
        before = r.memory[15];
        assert_int_equal(ss_rig_protect(&r, &w, range, 2, 0), 0);
        assert_int_equal(r.memory[15], 0);
        assert_int_not_equal(r.memory[16], 0);
        assert_int_equal(ss_rig_write(&r, 0, 64, 0x42), 0);
        assert_int_equal(ss_rig_restore(&r, &w), 0);
        assert_int_equal(r.memory[15], before);
        assert_int_equal(r.memory[16], 0x42);
        ss_rig_done(&r);
}

static void test_nested(void **state) {
        SsRig r;

        (void) state;
        ss_rig_init(&r, PLENTY);
        for (uint32_t i = 0; i < SS_RIG_ENTRIES; i++)
                assert_int_equal(protect(&r, SP - 64 * i, 1), 0);
        assert_int_equal(protect(&r, SP - 64 * SS_RIG_ENTRIES, 1), -ENOSPC);
        for (uint32_t i = SS_RIG_ENTRIES; i-- > 0;)
                assert_int_equal(restore(&r, SP - 64 * i, 1), 0);
        ss_rig_done(&r);
}

static void test_frames_that_are_gone(void **state) {
        SsRig r;

        (void) state;
        ss_rig_init(&r, PLENTY);
        for (uint32_t i = 0; i < 5; i++)
                assert_int_equal(protect(&r, SP - 64 * i, 1), 0);
        assert_int_equal(restore(&r, SP - 64, 1), 0); /* longjmp to the second one */
        assert_int_equal(r.t.depth, 1);
        assert_int_equal(restore(&r, SP - 128, 1), -EPERM);
        for (uint32_t i = 1; i < 5; i++)
                assert_int_equal(protect(&r, SP - 64 * i, 1), 0);
        assert_int_equal(protect(&r, SP - 64, 2), 0); /* on its way back another function protects */
        assert_int_equal(r.t.depth, 3);
        assert_int_equal(protect(&r, SP - 64, 1), 0); /* a loop: the same place again */
        assert_int_equal(r.t.depth, 2);
        assert_int_equal(restore(&r, SP - 64, 1), 0);
        assert_int_equal(restore(&r, SP, 1), 0);
        ss_rig_done(&r);
}

static void test_loops_do_not_grow(void **state) {
        SsRig r;

        (void) state;
        ss_rig_init(&r, PLENTY);
        for (uint32_t i = 0; i < 1000; i++)
                assert_int_equal(protect(&r, SP, i % 3), 0); /* each is left by longjmp */
        assert_in_range(r.t.depth, 1, 3);
        ss_rig_done(&r);
}

static void test_two_stacks(void **state) {
        SsRig r;

        (void) state;
        ss_rig_init(&r, PLENTY);
        assert_int_equal(protect(&r, SP, 1), 0);
        assert_int_equal(protect(&r, OTHER_SP, 1),
                         0); /* a handler, higher up: the frame below is not gone */
        assert_int_equal(protect(&r, SP - 64, 1), 0);  /* coroutines take turns */
        assert_int_equal(protect(&r, OTHER_SP - 64, 1), 0);
        assert_int_equal(r.t.depth, 4);
        assert_int_equal(restore(&r, SP - 64, 1), 0);
        assert_int_equal(restore(&r, OTHER_SP - 64, 1), 0);
        assert_int_equal(restore(&r, SP, 1), 0);
        assert_int_equal(restore(&r, OTHER_SP, 1), 0);
        ss_rig_done(&r);
}

/* --- limits --- */

static void test_quota(void **state) {
        SsRig r;
        uint32_t n = 0;

        (void) state;
        ss_rig_init(&r, 8 * (SS_RIG_BYTES + 128));
        while (protect(&r, SP - 64 * n, 1) == 0)
                n++;
        assert_int_equal(protect(&r, SP - 64 * n, 1), -EDQUOT);
        assert_in_range(n, 8, 9);
        r.max.user_bytes *= 2; /* by who runs the machine */
        assert_int_equal(protect(&r, SP - 64 * n, 1), 0);
        r.max.user_bytes = 2 * r.quota.bytes;
        assert_int_equal(restore(&r, SP, 1), 0);
        assert_int_equal(r.t.depth, 0);
        ss_rig_done(&r);
}

/* What one thread does not need another can have, but for its stock. */
static void test_quota_of_two(void **state) {
        struct ss_quota q = { .bytes = 0 };
        u64 a = 0, b = 0, max = 100000;

        (void) state;
        plain_lock_init(&q.lock);
        assert_true(ss_quota_take(&q, &a, 90000, max));
        assert_false(ss_quota_take(&q, &b, 20000, max));
        assert_true(ss_quota_take(&q, &b, 100000 - 90000 - a, max));
        ss_quota_give(&q, &a, 90000);
        assert_int_equal(a, SS_STOCK_BYTES);
        assert_true(ss_quota_take(&q, &b, 80000, max));
        assert_false(ss_quota_take(&q, &b, max + 1, max));
        assert_false(ss_quota_take(&q, &a, ~0ULL, max));
        ss_quota_give(&q, &b, 80000);
        ss_quota_settle(&q, &a);
        assert_int_equal(a, 0);
        assert_true(q.bytes > 0);
}

static void test_no_memory(void **state) {
        SsRig r;

        (void) state;
        ss_rig_init(&r, PLENTY);
        assert_int_equal(protect(&r, SP, 1), 0);
        ss_rig_allocs_left = 0;
        assert_int_equal(protect(&r, SP - 64, 1), -ENOMEM);
        assert_int_equal(restore(&r, SP, 1), 0);
        assert_int_equal(protect(&r, SP, 1), 0); /* the spare one does */
        assert_int_equal(restore(&r, SP, 1), 0);
        ss_rig_done(&r);
}

/* --- fork --- */

static void test_fork(void **state) {
        static const struct mlg_ss_range range[] = { SECRET(3, 100), SECRET(200, 100), EXCEPT(50, 9) };
        SsRig r;

        (void) state;
        ss_rig_init(&r, PLENTY);
        for (uint32_t i = 0; i < 6; i++) {
                struct ss_where w = ss_rig_where(SP - 64 * i, 1);

                assert_int_equal(ss_rig_protect(&r, &w, range, 3, i % 3 ? MLG_SS_FORK : 0), 0);
        }
        assert_int_equal(ss_rig_fork(&r), 0);
        ss_rig_allocs_left = 2;
        assert_int_equal(ss_rig_fork(&r), -ENOMEM);
        ss_rig_allocs_left = -1;
        r.max.user_bytes = r.quota.bytes + 700;
        assert_int_equal(ss_rig_fork(&r), -EDQUOT);
        ss_rig_done(&r);
}

/* --- any order of everything --- */

static uint32_t random_below(uint64_t *state, uint32_t n) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return (uint32_t) ((*state >> 11) % n);
}

static void random_step(SsRig *r, uint64_t *seed) {
        uint64_t sp = (random_below(seed, 2) ? SP : OTHER_SP) - 64 * random_below(seed, 12);
        struct ss_where w = ss_rig_where(sp, random_below(seed, 3));
        struct mlg_ss_range range[8];
        uint32_t n = random_below(seed, 8) + 1, what = random_below(seed, 20);

        for (uint32_t i = 0; i < n; i++) {
                uint32_t at = random_below(seed, SS_RIG_BYTES);

                range[i] = (struct mlg_ss_range) { BASE + at, 1 + random_below(seed, SS_RIG_BYTES - at),
                                                   random_below(seed, 3) == 0 };
        }
        if (what < 8)
                (void) ss_rig_protect(r, &w, range, n, random_below(seed, 2));
        else if (what < 16 && r->n > 0 && random_below(seed, 2)) /* what there is */
                assert_int_equal(restore(r, r->entry[r->n - 1].sp, r->entry[r->n - 1].site), 0);
        else if (what < 16)
                (void) ss_rig_restore(r, &w);
        else if (what < 18)
                (void) ss_rig_write(r, random_below(seed, SS_RIG_BYTES), 1 + random_below(seed, 64),
                                    (uint8_t) (what + n));
        else if (what < 19)
                (void) ss_rig_fork(r);
        else
                ss_rig_allocs_left = random_below(seed, 2) ? -1 : (int64_t) random_below(seed, 4);
}

static void test_random(void **state) {
        uint64_t seed = 88172645463325252u;

        (void) state;
        for (uint32_t i = 0; i < 400; i++) {
                SsRig r;

                ss_rig_init(&r, i % 2 ? PLENTY : 6000);
                for (uint32_t k = 0; k < 300; k++)
                        random_step(&r, &seed);
                ss_rig_done(&r);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_ranges_refused),
                cmocka_unit_test(test_most_pieces),
                cmocka_unit_test(test_only_that_place),
                cmocka_unit_test(test_exception_is_the_callees),
                cmocka_unit_test(test_nested),
                cmocka_unit_test(test_frames_that_are_gone),
                cmocka_unit_test(test_loops_do_not_grow),
                cmocka_unit_test(test_two_stacks),
                cmocka_unit_test(test_quota),
                cmocka_unit_test(test_quota_of_two),
                cmocka_unit_test(test_no_memory),
                cmocka_unit_test(test_fork),
                cmocka_unit_test(test_random),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
