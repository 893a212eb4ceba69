/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe's control ring and header: what is taken, what is refused, and that a reader gets into step
 * again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mempipe-rig.h"
#include "mempipe/core/control.h"

#define EPOCH 5
#define NOWHERE ((uint8_t *) (uintptr_t) (UINT64_C(1) << 40)) /* only addresses are looked at */

static void test_order(void **state) {
        static struct mlg_pipe_pair pair;
        struct mlg_pipe_message m = { .type = MLG_PIPE_HELLO, .epoch = EPOCH, .gen = 1 }, got;
        uint64_t random = 1, put = 0, taken = 0;
        struct mp_ctl_tx tx;
        struct mp_ctl_rx rx;

        mp_ctl_tx_init(&tx, &pair);
        mp_ctl_rx_init(&rx, &pair, 1, 2, RIG_CHUNKS, false);
        for (int i = 0; i < 100000; i++) {
                if (rig_random(&random) % 2) {
                        m.proof = put;
                        m.gen = (uint32_t) put + 1;
                        assert_int_equal(mp_ctl_put(&tx, &m),
                                         put - taken == MLG_PIPE_MESSAGES ? -EAGAIN : 0);
                        put += put - taken < MLG_PIPE_MESSAGES;
                } else {
                        assert_int_equal(mp_ctl_take(&rx, EPOCH, &got), put > taken);
                        if (put == taken)
                                continue;
                        assert_int_equal(got.proof, taken);
                        assert_int_equal(got.gen, taken + 1);
                        taken++;
                }
        }
        assert_true(taken > 10000);
        assert_int_equal(rx.n_refused, 0);
}

#define TALK(t, e, g, r, s) \
        { .type = (t), .epoch = (e), .gen = (g), .reason = (r), .nonce_slot = (s) }
#define CHUNKS(t, f, n) \
        { \
                .type = (t), .epoch = EPOCH, .chunks = {.first = (f), .count = (n) } \
        }

static void test_what_is_taken(void **state) {
        static const struct {
                uint32_t from, to;
                struct mlg_pipe_message m;
                bool taken;
        } cases[] = {
                { 1, 2, TALK(MLG_PIPE_HELLO, EPOCH, 1, 0, 1023), true },
                { 1, 2, TALK(MLG_PIPE_HELLO, EPOCH, 1, 0, 0xabcdef0000000400), false },
                { 1, 2, TALK(MLG_PIPE_HELLO, EPOCH, 1, 0, 0xabcdef00000003ff), true },
                { 1, 2, TALK(MLG_PIPE_HELLO, EPOCH, 0, 0, 0), false },
                { 1, 2, TALK(MLG_PIPE_HELLO, EPOCH - 1, 1, 0, 0), false },
                { 1, 2, TALK(MLG_PIPE_ATTACH, EPOCH, 1, 0, 0), true },
                { 1, 2, TALK(MLG_PIPE_REFUSE, EPOCH, 1, MLG_PIPE_NO_SLOT, 0), true },
                { 1, 2, TALK(MLG_PIPE_REFUSE, EPOCH, 1, MLG_PIPE_OK, 0), false },
                { 1, 2, TALK(MLG_PIPE_REFUSE, EPOCH, 1, MLG_PIPE_REASONS, 0), false },
                { 1, 2, TALK(0, EPOCH, 1, 0, 0), false },
                { 1, 2, TALK(99, EPOCH, 1, 0, 0), false },
                { 0, 2, TALK(MLG_PIPE_HELLO, EPOCH, 1, 0, 0), false },
                { 1, 0, TALK(MLG_PIPE_HELLO, EPOCH, 1, 0, 0), false },
                { 0, 1, CHUNKS(MLG_PIPE_GRANT, 0, RIG_CHUNKS), true },
                { 0, 1, CHUNKS(MLG_PIPE_GRANT, 1, RIG_CHUNKS), false },
                { 0, 1, CHUNKS(MLG_PIPE_GRANT, RIG_CHUNKS, 1), false },
                { 0, 1, CHUNKS(MLG_PIPE_GRANT, UINT32_MAX, 2), false },
                { 0, 1, CHUNKS(MLG_PIPE_GRANT, 1, UINT32_MAX), false },
                { 0, 1, CHUNKS(MLG_PIPE_GRANT, 5, 0), false },
                { 2, 1, CHUNKS(MLG_PIPE_GRANT, 5, 1), false },
                { 0, 1, CHUNKS(MLG_PIPE_RETURN, 5, 1), false },
                { 1, 0, CHUNKS(MLG_PIPE_RETURN, 5, 1), true },
                { 1, 0, TALK(MLG_PIPE_WISH, EPOCH, 0, 0, 0), true },
                { 1, 2, TALK(MLG_PIPE_WISH, EPOCH, 0, 0, 0), false },
                { 0, 1, TALK(MLG_PIPE_WISH, EPOCH, 0, 0, 0), false },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct mlg_pipe_pair pair = {};
                struct mlg_pipe_message got;
                struct mp_ctl_tx tx;
                struct mp_ctl_rx rx;
                int taken;

                mp_ctl_tx_init(&tx, &pair);
                mp_ctl_rx_init(&rx, &pair, cases[i].from, cases[i].to, RIG_CHUNKS, false);
                assert_int_equal(mp_ctl_put(&tx, &cases[i].m), 0);
                taken = mp_ctl_take(&rx, EPOCH, &got);
                if (taken != cases[i].taken)
                        fail_msg("row %zu: taken %d, expected %d", i, taken, cases[i].taken);
                assert_int_equal(rx.n_refused, !taken && cases[i].m.epoch == EPOCH);
                assert_int_equal(pair.head, 1);
        }
}

static void test_out_of_step(void **state) {
        struct mlg_pipe_message m = TALK(MLG_PIPE_HELLO, EPOCH, 1, 0, 0), got;
        struct mlg_pipe_pair pair = { .tail = 5000, .head = 17 };
        struct mp_ctl_tx tx;
        struct mp_ctl_rx rx;

        mp_ctl_rx_init(&rx, &pair, 1, 2, RIG_CHUNKS, true); /* what is there was for our predecessor */
        assert_int_equal(pair.head, 5000);
        mp_ctl_tx_init(&tx, &pair); /* now the sender sees our new epoch: we are out of step */
        assert_int_equal(mp_ctl_put(&tx, &m), -EPROTO);
        assert_int_equal(mp_ctl_take(&rx, EPOCH, &got), -EPROTO);
        assert_int_equal(mp_ctl_take(&rx, EPOCH, &got), 0);
        assert_int_equal(mp_ctl_put(&tx, &m), 0);
        assert_int_equal(mp_ctl_take(&rx, EPOCH, &got), 1);
        assert_int_equal(got.gen, 1);
}

static void test_header(void **state) {
        static const struct mlg_pipe_header good = { .magic = MLG_PIPE_MAGIC,
                                                     .version = MLG_PIPE_VERSION,
                                                     .region_bytes = MLG_PIPE_REGION_MIN,
                                                     .n_chunks = 768 };
        struct mlg_pipe_header h = good;
        uint32_t n;

        assert_int_equal(mp_region_check(&h, MLG_PIPE_REGION_MIN, &n), 0);
        assert_int_equal(n, 768);
        /* the last one ends with the region */
        assert_int_equal((uintptr_t) mp_chunk(NOWHERE, n), MLG_PIPE_REGION_MIN + (uintptr_t) NOWHERE);
        h.magic = 0;
        assert_int_equal(mp_region_check(&h, MLG_PIPE_REGION_MIN, &n), -EAGAIN);
        h = good, h.version++;
        assert_int_equal(mp_region_check(&h, MLG_PIPE_REGION_MIN, &n), -EPROTO);
        h = good, h.n_chunks++;
        assert_int_equal(mp_region_check(&h, MLG_PIPE_REGION_MIN, &n), -EPROTO);
        h = good, h.n_chunks = 0;
        assert_int_equal(mp_region_check(&h, MLG_PIPE_REGION_MIN, &n), -EPROTO);
        h = good;
        assert_int_equal(mp_region_check(&h, MLG_PIPE_REGION_MIN * 2, &n), -EPROTO);
        h.region_bytes = 4096;
        assert_int_equal(mp_region_check(&h, 4096, &n), -EPROTO);
}

/* The parts of a region do not overlap. */
static void test_places(void **state) {
        uint8_t *base = NOWHERE;

        assert_true((uint8_t *) mp_peer(base, MLG_PIPE_PEERS) <= (uint8_t *) mp_section(base, 0));
        assert_true((uint8_t *) mp_section(base, MLG_PIPE_PEERS) <= mp_owner(base, 0));
        assert_true(mp_owner(base, MLG_PIPE_CHUNKS_MAX) <= (uint8_t *) mp_pair(base, 0, 0));
        assert_true((uint8_t *) mp_pair(base, MLG_PIPE_PEERS, 0) <= (uint8_t *) mp_slot(base, 0, 0));
        assert_true((uint8_t *) mp_slot(base, MLG_PIPE_PEERS, 0) <= mp_chunk(base, 0));
        assert_true(mp_chunk(base, MLG_PIPE_CHUNKS_MAX - 1280) <= base + MLG_PIPE_REGION_MAX);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order),       cmocka_unit_test(test_what_is_taken),
                cmocka_unit_test(test_out_of_step), cmocka_unit_test(test_header),
                cmocka_unit_test(test_places),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
