/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe's core while a hostile peer writes into any shared word at any moment: from another thread, so
 * between any two accesses of ours. Whatever it does, spans lie in chunks that exist, our chunks stay
 * ours, and every call comes back. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mempipe-rig.h"
#include "mempipe/core/control.h"

#define OURS 40u
#define STEPS 400000

typedef struct Shared {
        struct mlg_pipe_slot slot;
        struct mlg_pipe_pair pair;
} Shared;

typedef struct Peer {
        Shared *shared;
        uint32_t stop;
        uint64_t n_writes;
} Peer;

/* Flips a bit, adds a little, writes anything; mostly where it matters. */
static void *be_hostile(void *arg) {
        Peer *p = arg;
        uint32_t *slot = (uint32_t *) &p->shared->slot, *pair = (uint32_t *) &p->shared->pair, *word;
        uint64_t random = 1;

        while (!READ_ONCE(p->stop)) {
                uint64_t r = rig_random(&random);

                word = r % 4 ? slot + 32 + (r >> 8) % 128 : pair + (r >> 8) % 1024;
                if (r % 3 == 0) /* tail, mode, switch_seq, end; head, mode_ack, rx_armed, attached */
                        word = slot + (r & 1024 ? 32 : 48) + (r >> 12) % 4;
                switch (r >> 32 & 3) {
                case 0:
                        WRITE_ONCE(*word, READ_ONCE(*word) ^ 1u << (r >> 40) % 32);
                        break;
                case 1:
                        WRITE_ONCE(*word, READ_ONCE(*word) + (uint32_t) (int8_t) (r >> 40));
                        break;
                case 2:
                        WRITE_ONCE(*word, READ_ONCE(*word) + ((r >> 40 & 3) << MLG_PIPE_CHUNK_SHIFT));
                        break;
                default:
                        WRITE_ONCE(*word, r >> 60 ? 0 : (uint32_t) rig_random(&random));
                }
                p->n_writes++;
        }
        return NULL;
}

typedef struct Ends {
        Shared *shared;
        struct mp_tx tx;
        struct mp_rx rx;
        struct mp_ctl_tx ctl_tx;
        struct mp_ctl_rx ctl_rx;
        bool given[OURS];
        uint32_t gen, seq;
        uint64_t random, n_nonsense, n_spans;
} Ends;

static void check_span(Ends *e, const struct mp_span *s, uint32_t n_chunks) {
        assert_true(s->chunk < n_chunks && s->bytes > 0 && s->offset < MLG_PIPE_CHUNK_BYTES);
        assert_true(s->bytes <= MLG_PIPE_CHUNK_BYTES - s->offset);
        e->n_spans++;
}

static int send(Ends *e) {
        struct mp_span span;
        int err = mp_tx_span(&e->tx, &span);
        uint32_t chunk = (uint32_t) (rig_random(&e->random) % OURS);

        if (err > 0) {
                check_span(e, &span, OURS);
                assert_true(e->given[span.chunk]);
                mp_tx_commit(&e->tx, rig_random_size(&e->random, span.bytes));
        } else if (err == 0 && mp_tx_room(&e->tx) > 0 && !e->given[chunk]) {
                assert_true(mp_tx_chunks(&e->tx) < MLG_PIPE_WINDOW_CHUNKS);
                e->given[chunk] = true;
                mp_tx_give(&e->tx, chunk);
        }
        while (err >= 0 && mp_tx_reclaim(&e->tx, rig_random(&e->random) % 2, &chunk)) {
                assert_true(chunk < OURS && e->given[chunk]);
                e->given[chunk] = false;
        }
        return err;
}

static int flip(Ends *e) {
        int may;

        if (mp_tx_in_pipe(&e->tx)) {
                mp_tx_to_tcp(&e->tx);
                return 0;
        }
        may = mp_tx_may_pipe(&e->tx);
        if (may > 0)
                mp_tx_to_pipe(&e->tx, e->seq);
        return may;
}

static int receive(Ends *e) {
        uint32_t most = 0, nxt = e->seq + (uint32_t) (rig_random(&e->random) % 3);
        struct mp_span span;
        int where = mp_rx_where(&e->rx, e->seq, nxt, &most), err;

        if (where == MP_READ_TCP) {
                assert_true(most > 0 && most <= nxt - e->seq);
                e->seq += most;
        }
        if (where != MP_READ_PIPE)
                return where;
        err = mp_rx_span(&e->rx, 0, &span);
        if (err > 0) {
                check_span(e, &span, RIG_CHUNKS);
                mp_rx_consume(&e->rx, rig_random_size(&e->random, span.bytes));
        }
        return err;
}

static int talk(Ends *e) {
        struct mlg_pipe_message m = { .type = MLG_PIPE_RETURN, .epoch = 1, .chunks = { 3, 4 } };

        (void) mp_ctl_put(&e->ctl_tx, &m);
        for (int n = 0; mp_ctl_take(&e->ctl_rx, 1, &m) > 0 && n < 1000; n++)
                assert_true(m.type == MLG_PIPE_RETURN && m.chunks.count > 0 && m.chunks.first < RIG_CHUNKS &&
                            m.chunks.count <= RIG_CHUNKS - m.chunks.first);
        (void) mp_tx_tell(&e->tx, &e->shared->pair, 7);
        return 0;
}

static void begin_pipe(Ends *e) {
        uint32_t chunk, n = 0;

        while (e->tx.d && mp_tx_salvage(&e->tx, &chunk)) {
                assert_true(chunk < OURS && e->given[chunk]);
                e->given[chunk] = false;
        }
        for (chunk = 0; chunk < OURS; chunk++)
                n += e->given[chunk];
        assert_int_equal(n, 0);
        for (uint32_t i = 0; i < sizeof(e->shared->slot) / 4; i++)
                WRITE_ONCE(((uint32_t *) &e->shared->slot)[i], 0);
        mp_tx_init(&e->tx, &e->shared->slot.to_server, ++e->gen);
        mp_rx_init(&e->rx, &e->shared->slot.to_server, e->gen, RIG_CHUNKS);
        mp_rx_attach(&e->rx);
}

static void test_hostile(void **state) {
        static int (*const steps[])(Ends *) = { send, send, send, receive, receive, receive, flip, talk };
        static Shared shared;
        static Ends e = { .shared = &shared };
        Peer peer = { .shared = &shared };
        pthread_t thread;

        mp_ctl_tx_init(&e.ctl_tx, &shared.pair);
        mp_ctl_rx_init(&e.ctl_rx, &shared.pair, 1, MLG_PIPE_HOST, RIG_CHUNKS, false);
        begin_pipe(&e);
        assert_int_equal(pthread_create(&thread, NULL, be_hostile, &peer), 0);
        for (int i = 0; i < STEPS || e.n_nonsense < 1000; i++)
                if (steps[rig_random(&e.random) % 8](&e) == -EPROTO) {
                        e.n_nonsense++;
                        begin_pipe(&e);
                }
        WRITE_ONCE(peer.stop, 1);
        pthread_join(thread, NULL);
        begin_pipe(&e);
        print_message("%lu hostile writes, %lu spans, nonsense found %lu times\n",
                      (unsigned long) peer.n_writes, (unsigned long) e.n_spans,
                      (unsigned long) e.n_nonsense);
        assert_true(e.n_spans > 10000);
}

int main(void) {
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_hostile) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
