/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe's datagrams: records of all sizes through a ring whose chunks come and go, against a plain queue; a peer that
 * writes nonsense; and the states of a flow, at both ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mempipe-rig.h"
#include "mempipe/core/dgram.h"
#include "mempipe/core/flow.h"

#define GEN 9u
#define QUEUE 4096u
#define STEPS 20000
#define SEEDS 8

typedef struct Ring {
        void *base;
        struct mlg_pipe_pair *pair;
        struct mp_tx tx;
        struct mp_rx rx;
        uint32_t free[RIG_CHUNKS], n_free;
        uint64_t random;
        uint32_t sizes[QUEUE];     /* of what is in the ring, by number of the datagram */
        uint64_t n_sent, n_taken;  /* the payload of number n begins with byte n << 20 of the rig's stream */
        uint32_t n_full, n_large;
} Ring;

static void begin(Ring *r, uint64_t seed, uint32_t n_chunks) {
        struct mlg_pipe_direction *d;
        uint32_t position;

        memset(r, 0, sizeof(*r));
        r->random = seed;
        r->base = rig_map(-1);
        r->pair = mp_pair(r->base, 3, 5);
        d = &r->pair->datagrams;
        mp_tx_init(&r->tx, d, GEN);
        mp_rx_init(&r->rx, d, GEN, RIG_CHUNKS);
        position = (uint32_t) - (rig_random(&r->random) % (8 << 20)) & ~7u; /* soon wraps */
        d->head = d->tail = r->tx.head = r->tx.tail = r->rx.head = r->rx.tail = r->rx.published = position;
        r->tx.first = r->tx.next = position & ~(MLG_PIPE_CHUNK_BYTES - 1);
        for (r->n_free = 0; r->n_free < n_chunks; r->n_free++)
                r->free[r->n_free] = r->n_free * 3 % RIG_CHUNKS;
}

static void end(Ring *r) {
        rig_unmap(r->base);
}

static void reclaim(Ring *r, bool idle) {
        uint32_t chunk;

        assert_int_equal(mp_tx_look(&r->tx), 1);
        while (mp_tx_reclaim(&r->tx, idle, &chunk))
                r->free[r->n_free++] = chunk;
}

static bool send(Ring *r, uint32_t bytes) {
        struct mlg_pipe_datagram h = { .bytes = bytes, .gen = GEN, .flow = (uint16_t) (r->n_sent % MLG_PIPE_FLOWS),
                                       .tos = 3, .ttl = 64, .after = r->n_sent };
        struct mp_span span;

        if (r->n_sent - r->n_taken == QUEUE)
                return false;
        while (mp_dgram_missing(&r->tx, bytes) > 0) {
                reclaim(r, false);
                if (r->n_free == 0 || mp_tx_room(&r->tx) == 0) {
                        r->n_full++;
                        return false;
                }
                mp_tx_give(&r->tx, r->free[--r->n_free]);
        }
        for (uint32_t at = 0; at < bytes; at += span.bytes) {
                mp_dgram_tx_span(&r->tx, at, bytes - at, &span);
                assert_in_range(span.bytes, 1, bytes - at);
                rig_fill(mp_chunk(r->base, span.chunk) + span.offset, (r->n_sent << 20) + at, span.bytes);
        }
        r->sizes[r->n_sent++ % QUEUE] = bytes;
        mp_dgram_commit(&r->tx, r->base, &h);
        return true;
}

static bool take(Ring *r) {
        struct mlg_pipe_datagram h;
        struct mp_span span;
        int n = mp_dgram_next(&r->rx, r->base, &h);

        assert_int_equal(n, r->n_taken < r->n_sent);
        if (n == 0)
                return false;
        assert_int_equal(h.bytes, r->sizes[r->n_taken % QUEUE]);
        assert_int_equal(h.after, r->n_taken);
        assert_int_equal(h.flow, r->n_taken % MLG_PIPE_FLOWS);
        for (uint32_t at = 0; at < h.bytes; at += span.bytes) {
                assert_int_equal(mp_dgram_rx_span(&r->rx, at, h.bytes - at, &span), 0);
                assert_int_equal(rig_match(mp_chunk(r->base, span.chunk) + span.offset, (r->n_taken << 20) + at, span.bytes),
                                 span.bytes);
        }
        mp_dgram_done(&r->rx, h.bytes);
        r->n_taken++;
        return true;
}

static void records_come_as_they_were_sent(void **state) {
        (void) state;
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
                uint32_t n_chunks = seed % 2 ? 3 : 80;
                Ring r;

                begin(&r, seed, n_chunks);
                for (int i = 0; i < STEPS; i++) {
                        uint32_t bytes = rig_random(&r.random) % 8 == 0 ? 0 : rig_random_size(&r.random, MLG_PIPE_DATAGRAM_BYTES);

                        if (rig_random(&r.random) % 64 == 0)
                                bytes = MLG_PIPE_DATAGRAM_BYTES;
                        if (rig_random(&r.random) % 2)
                                r.n_large += send(&r, bytes) && bytes > 32768;
                        else
                                (void) take(&r);
                        if (rig_random(&r.random) % 256 == 0) { /* idle: all of its chunks are free again */
                                while (take(&r))
                                        ;
                                mp_rx_arm(&r.rx);
                                reclaim(&r, true);
                                assert_int_equal(r.n_free, n_chunks);
                        }
                }
                assert_true((n_chunks > 3 || r.n_full > 0) && r.n_large > 100 && r.n_taken > 1000);
                end(&r);
        }
}

static void who_sleeps_is_rung_once(void **state) {
        Ring r;

        (void) state;
        begin(&r, 1, 8);
        assert_true(send(&r, 10));
        assert_false(mp_dgram_tell(&r.tx, r.pair)); /* nobody sleeps */
        mp_rx_arm(&r.rx);
        assert_true(mp_dgram_tell(&r.tx, r.pair));
        assert_true(send(&r, 10));
        assert_false(mp_dgram_tell(&r.tx, r.pair)); /* is rung already */
        mp_bell_clear(r.pair);
        assert_false(mp_dgram_tell_room(&r.rx, r.pair)); /* nothing to tell */
        mp_tx_arm(&r.tx);
        while (take(&r))
                ;
        mp_rx_arm(&r.rx);
        assert_true(mp_dgram_tell_room(&r.rx, r.pair));
        end(&r);
}

/* Of the words that a sender writes, each value that makes no sense. */
static void nonsense_is_refused(void **state) {
        static const struct {
                uint32_t tail, bytes, flow;
                int expected;
        } rows[] = {
                { 24 + 16, 16, 0, 1 },
                { 0, 16, 0, 0 },
                { 20, 16, 0, -EPROTO },                             /* less than a header */
                { 24 + 12, 12, 0, -EPROTO },                        /* no multiple of 8 */
                { 24 + 16, 17, 0, -EPROTO },                        /* longer than what is there */
                { 24 + 16, UINT32_MAX - 23, 0, -EPROTO },           /* would wrap */
                { 128 << 10, MLG_PIPE_DATAGRAM_BYTES + 1, 0, -EPROTO },
                { 128 << 10, MLG_PIPE_DATAGRAM_BYTES, 0, 1 },
                { 24 + 16, 16, MLG_PIPE_FLOWS, -EPROTO },
                { MLG_PIPE_WINDOW_BYTES + 8, 16, 0, -EPROTO },
                { (uint32_t) -8, 16, 0, -EPROTO },
        };

        (void) state;
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                struct mlg_pipe_datagram h = { .bytes = rows[i].bytes, .flow = (uint16_t) rows[i].flow }, got;
                void *base = rig_map(-1);
                struct mlg_pipe_direction *d = &mp_pair(base, 3, 5)->datagrams;
                struct mp_rx rx;

                mp_rx_init(&rx, d, GEN, RIG_CHUNKS);
                for (uint32_t c = 0; c < MLG_PIPE_WINDOW_CHUNKS; c++)
                        d->map[c] = c;
                memcpy(mp_chunk(base, 0), &h, sizeof(h));
                d->tail = rows[i].tail;
                assert_int_equal(mp_dgram_next(&rx, base, &got), rows[i].expected);
                d->map[0] = RIG_CHUNKS;
                if (rows[i].expected == 1)
                        assert_int_equal(mp_dgram_next(&rx, base, &got), -EPROTO);
                rig_unmap(base);
        }
}

/* ---------------------------------------------------------------- flows */

static u64 prove(u64 digest, u64 nonce, bool answer) {
        uint64_t state = digest * 3 + nonce * 5 + answer;

        return rig_random(&state);
}

#define SEC 1000000ULL

/* Lets the offered datagram come in (or not) and carries the answer. */
static bool ask(struct mp_flow_tx *tx, struct mp_flow_rx *rx, uint64_t digest, uint64_t nonce, bool comes, uint64_t now) {
        u64 answer, asked;

        mp_flow_sent(tx, digest);
        asked = mp_flow_offer(tx, digest, nonce, prove, now);
        if (mp_flow_offered(rx, nonce, asked, prove, now, &answer))
                return mp_flow_answered(tx, 7, rx->gen, nonce, answer, now);
        return comes && mp_flow_seen(rx, digest, prove, now, &answer) &&
               mp_flow_answered(tx, 7, rx->gen, nonce, answer, now);
}

static void a_flow_opens_and_is_asked_for_again(void **state) {
        struct mp_flow_tx tx = { 0 };
        struct mp_flow_rx rx;
        u64 now = 10 * SEC, answer;

        (void) state;
        mp_flow_rx_init(&rx, 3, now);
        for (int i = 0; i < MP_FLOW_FIRST; i++) {
                assert_int_equal(mp_flow_way(&tx, true, now), MP_FLOW_BY_NET);
                mp_flow_sent(&tx, 1);
        }
        assert_int_equal(mp_flow_way(&tx, true, now), MP_FLOW_BY_NET_OFFER);
        assert_false(mp_flow_takes(&rx, 3, now));
        assert_true(ask(&tx, &rx, 100, 1, true, now));
        assert_int_equal(mp_flow_way(&tx, true, now), MP_FLOW_BY_RING);
        assert_int_equal(tx.id, 7);
        assert_int_equal(tx.gen, 3);
        assert_true(mp_flow_takes(&rx, 3, now));
        assert_false(mp_flow_takes(&rx, 4, now));
        /* its time is over: by the network, in a pause if there is one */
        now += MP_FLOW_USEC;
        assert_int_equal(mp_flow_way(&tx, false, now), MP_FLOW_BY_RING);
        assert_int_equal(mp_flow_way(&tx, true, now), MP_FLOW_BY_NET_OFFER);
        assert_int_equal(mp_flow_way(&tx, false, now + MP_FLOW_GRACE_USEC), MP_FLOW_BY_NET_OFFER);
        /* the datagram is here before the offer */
        mp_flow_sent(&tx, 101);
        assert_false(mp_flow_seen(&rx, 101, prove, now, &answer));
        assert_true(mp_flow_offered(&rx, 2, mp_flow_offer(&tx, 101, 2, prove, now), prove, now, &answer));
        assert_int_equal(mp_flow_way(&tx, true, now), MP_FLOW_BY_NET);
        assert_false(mp_flow_answered(&tx, 7, 3, 2, answer + 1, now));
        assert_false(mp_flow_answered(&tx, 7, 3, 3, answer, now));
        assert_true(mp_flow_answered(&tx, 7, 3, 2, answer, now));
        assert_false(mp_flow_answered(&tx, 7, 3, 2, answer, now)); /* nobody asked */
        mp_flow_close(&tx);
        assert_int_equal(mp_flow_way(&tx, true, now), MP_FLOW_BY_NET);
}

/* A firewall's rule: the datagram does not come in, and no answer from before opens the flow again. */
static void a_flow_without_answer_stays_with_the_network(void **state) {
        struct mp_flow_tx tx = { .n_net = MP_FLOW_FIRST };
        struct mp_flow_rx rx;
        uint64_t now = 10 * SEC, rests = 0;

        (void) state;
        mp_flow_rx_init(&rx, 3, now);
        assert_true(ask(&tx, &rx, 100, 1, true, now));
        now += 2 * MP_FLOW_USEC;
        for (int i = 0; i < 12; i++) {
                uint64_t since = now;

                while (mp_flow_way(&tx, true, now) != MP_FLOW_BY_NET_OFFER) {
                        assert_int_not_equal(tx.state, MP_FLOW_OPEN);
                        now += 1000;
                }
                assert_true(now - since <= MP_FLOW_ANSWER_USEC + (MP_FLOW_REST_USEC << MP_FLOW_REST_MOST) + 2000);
                rests += now - since > 2 * MP_FLOW_ANSWER_USEC;
                assert_false(ask(&tx, &rx, 200 + (uint64_t) i, 10 + (uint64_t) i, false, now));
        }
        assert_int_equal(rests, 12 - 1 - MP_FLOW_QUICK + 1);
        /* offers alone do not keep what was confirmed once */
        assert_false(mp_flow_takes(&rx, 3, now));
        assert_false(mp_flow_is_over(&rx, now));
        assert_true(mp_flow_is_over(&rx, now + MP_FLOW_FORGET_USEC));
}

static void the_order_is_kept_for_a_moment(void **state) {
        struct mp_flow_tx tx = { .n_net = MP_FLOW_FIRST };
        struct mp_flow_rx rx;
        u64 now = 10 * SEC, answer, after;

        (void) state;
        mp_flow_rx_init(&rx, 3, now);
        assert_true(ask(&tx, &rx, 100, 1, true, now));
        mp_flow_sent(&tx, 101); /* went by the network while the answer was on its way */
        after = mp_flow_after(&tx);
        assert_int_equal(after, 101);
        assert_int_equal(mp_flow_after(&tx), 0);
        assert_false(mp_flow_in_turn(&rx, after, now));
        assert_false(mp_flow_in_turn(&rx, after, now + MP_FLOW_HOLD_USEC - 1));
        assert_false(mp_flow_seen(&rx, 101, prove, now, &answer));
        assert_true(mp_flow_in_turn(&rx, after, now + 1));
        assert_true(mp_flow_in_turn(&rx, 0, now + 2));
        /* one that was lost is not waited for longer than that */
        assert_false(mp_flow_in_turn(&rx, 555, now + 10));
        assert_true(mp_flow_in_turn(&rx, 555, now + 10 + MP_FLOW_HOLD_USEC));
        /* what came many datagrams ago is forgotten, what came lately is not */
        for (uint64_t i = 0; i < 1000; i++)
                (void) mp_flow_seen(&rx, 1000 + i, prove, now, &answer);
        assert_true(mp_flow_in_turn(&rx, 1999, now));
        assert_true(mp_flow_in_turn(&rx, 2000 - MP_FLOW_RECENT, now));
        assert_false(mp_flow_in_turn(&rx, 1999 - MP_FLOW_RECENT, now));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(records_come_as_they_were_sent),
                cmocka_unit_test(who_sleeps_is_rung_once),
                cmocka_unit_test(nonsense_is_refused),
                cmocka_unit_test(a_flow_opens_and_is_asked_for_again),
                cmocka_unit_test(a_flow_without_answer_stays_with_the_network),
                cmocka_unit_test(the_order_is_kept_for_a_moment),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
