/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe's ring and switch against plain queues of bytes: random writes, reads, peeks, chunks given and
 * taken back, and changes between TCP and the pipe, with the receiver stopped between looking and
 * reading. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mempipe-rig.h"

#define SEEDS 24
#define STEPS 4000
#define GEN 7

typedef struct Fixture {
        void *base;
        struct mlg_pipe_direction *d;
        struct mp_tx tx;
        struct mp_rx rx;
        uint32_t free[RIG_CHUNKS], n_free;
        uint64_t random, written, read;
        RigTcp tcp;
        unsigned int n_flips, n_reclaimed, n_pipe_reads, n_tcp_reads;
} Fixture;

/* Positions and sequence numbers begin shortly before they wrap. */
static void begin(Fixture *f, uint64_t seed, uint32_t n_chunks) {
        uint32_t position;

        memset(f, 0, sizeof(*f));
        f->random = seed;
        f->base = rig_map(-1);
        f->d = &mp_slot(f->base, 3, 5)->to_server;
        mp_tx_init(&f->tx, f->d, GEN);
        mp_rx_init(&f->rx, f->d, GEN, RIG_CHUNKS);
        position = (uint32_t) - (rig_random(&f->random) % (8 << 20));
        f->d->head = f->d->tail = f->tx.head = f->tx.tail = f->rx.head = f->rx.tail = f->rx.published =
                position;
        f->tx.first = f->tx.next = position & ~(MLG_PIPE_CHUNK_BYTES - 1);
        f->tcp.write_seq = f->tcp.rcv_nxt = f->tcp.copied_seq = (uint32_t) -
                                                                (rig_random(&f->random) % (8 << 20));
        for (f->n_free = 0; f->n_free < n_chunks; f->n_free++)
                f->free[f->n_free] = f->n_free * 3 % RIG_CHUNKS;
}

static void end(Fixture *f) {
        rig_unmap(f->base);
}

static void reclaim(Fixture *f, bool idle) {
        uint32_t chunk;

        assert_int_equal(mp_tx_look(&f->tx), 1);
        while (mp_tx_reclaim(&f->tx, idle, &chunk)) {
                f->free[f->n_free++] = chunk;
                f->n_reclaimed++;
        }
}

static uint32_t write_pipe(Fixture *f, uint32_t bytes) {
        struct mp_span span;
        uint32_t done = 0;

        while (done < bytes) {
                int err = mp_tx_span(&f->tx, &span);

                assert_true(err >= 0);
                if (err == 0) {
                        reclaim(f, false);
                        if (f->n_free == 0 || mp_tx_room(&f->tx) == 0)
                                break;
                        mp_tx_give(&f->tx, f->free[--f->n_free]);
                        continue;
                }
                span.bytes = plain_min(span.bytes, bytes - done);
                rig_fill(mp_chunk(f->base, span.chunk) + span.offset, f->written, span.bytes);
                mp_tx_commit(&f->tx, span.bytes);
                f->written += span.bytes;
                done += span.bytes;
        }
        return done;
}

static uint32_t read_pipe(Fixture *f, uint32_t bytes, bool peek) {
        struct mp_span span;
        uint32_t done = 0;
        int err = 0;

        while (done < bytes && (err = mp_rx_span(&f->rx, peek ? done : 0, &span)) > 0) {
                uint64_t n = f->read + (peek ? done : 0);

                span.bytes = plain_min(span.bytes, bytes - done);
                assert_int_equal(rig_match(mp_chunk(f->base, span.chunk) + span.offset, n, span.bytes),
                                 span.bytes);
                done += span.bytes;
                if (peek)
                        continue;
                mp_rx_consume(&f->rx, span.bytes);
                f->read += span.bytes;
        }
        assert_true(err >= 0);
        return done;
}

static void step_ring(Fixture *f) {
        uint32_t bytes = rig_random_size(&f->random, 300000), done, unread,
                 expected = (uint32_t) (f->written - f->read);

        switch (rig_random(&f->random) % 8) {
        case 0 ... 2:
                done = write_pipe(f, bytes);
                if (done <
                    bytes) /* no chunk: all are full but for what the reader is in, or the window is */
                        assert_true(f->n_free == 0 ||
                                    f->tx.tail - f->tx.head > MLG_PIPE_WINDOW_BYTES - MLG_PIPE_CHUNK_BYTES);
                break;
        case 3 ... 5:
                assert_int_equal(read_pipe(f, bytes, false), plain_min(bytes, expected));
                break;
        case 6:
                assert_int_equal(read_pipe(f, bytes, true), plain_min(bytes, expected));
                break;
        case 7:
                mp_rx_arm(&f->rx);
                reclaim(f, true);
                if (expected == 0)
                        assert_int_equal(mp_tx_chunks(&f->tx), 0);
                break;
        }
        assert_int_equal(mp_rx_look(&f->rx, &unread), f->written > f->read);
        assert_int_equal(unread, f->written - f->read);
        assert_true(mp_tx_chunks(&f->tx) <= MLG_PIPE_WINDOW_CHUNKS);
}

static void test_ring(void **state) {
        static const uint32_t n_chunks[] = { 1, 2, 3, 16, 63, 64, 65, 200 };
        Fixture f;

        for (uint64_t seed = 0; seed < SEEDS; seed++) {
                uint32_t n = n_chunks[seed % 8];
                uint64_t bytes;

                begin(&f, seed, n);
                for (int i = 0; i < STEPS; i++)
                        step_ring(&f);
                assert_true(f.n_reclaimed > 100);
                bytes = f.written;
                while (f.read < f.written)
                        assert_true(read_pipe(&f, UINT32_MAX, false) > 0);
                assert_true(bytes > UINT64_C(64) << 16);
                mp_rx_arm(&f.rx);
                reclaim(&f, true);
                assert_int_equal(f.n_free, n); /* none was lost, and none is there twice */
                for (uint32_t i = 0; i < n; i++)
                        for (uint32_t j = i + 1; j < n; j++)
                                assert_int_not_equal(f.free[i], f.free[j]);
                end(&f);
        }
}

/* Head moves for the sender when a chunk is done and when the reader arms, and only then is it told. */
static void test_head_moves_seldom(void **state) {
        Fixture f;

        begin(&f, 1, 4);
        f.d->head = f.d->tail = f.tx.head = f.tx.tail = f.rx.head = f.rx.tail = f.rx.published = 0;
        f.tx.first = f.tx.next = 0;
        assert_int_equal(write_pipe(&f, 100000), 100000);
        read_pipe(&f, 60000, false);
        assert_int_equal(f.d->head, 0);
        assert_false(f.rx.news);
        read_pipe(&f, 6000, false);
        assert_int_equal(f.d->head, 65536);
        assert_true(f.rx.news);
        f.rx.news = false;
        read_pipe(&f, 30000, false);
        assert_int_equal(f.d->head, 65536);
        read_pipe(&f, 4000, false);
        assert_int_equal(f.d->head, 65536);
        mp_rx_arm(&f.rx);
        assert_int_equal(f.d->head, 100000);
        assert_true(f.rx.news);
        end(&f);
}

/* A sender that waits is not woken for each chunk. What it sees of head does not wait for that. */
static void test_told_at_half(void **state) {
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
                Fixture f;
                uint32_t written, told_at = 0, done = 0;

                begin(&f, seed, 8);
                written = write_pipe(&f, UINT32_MAX); /* until there are no more chunks */
                f.rx.news = false;
                while (done < written) {
                        done += read_pipe(&f, plain_min(20000, written - done), false);
                        assert_true(f.rx.head - f.d->head < MLG_PIPE_CHUNK_BYTES);
                        if (f.rx.news && told_at == 0)
                                told_at = done;
                }
                assert_in_range(told_at, written / 2, written / 2 + MLG_PIPE_CHUNK_BYTES + 20000);
                end(&f);
        }
}

/* --- switch --- */

static void sender_step(Fixture *f) {
        uint32_t bytes = rig_random_size(&f->random, 100000), done;
        int may;

        switch (rig_random(&f->random) % 6) {
        case 0: /* the network */
                bytes = plain_min(bytes, f->tcp.write_seq - f->tcp.rcv_nxt);
                f->tcp.rcv_nxt += bytes;
                break;
        case 1:
                if (mp_tx_in_pipe(&f->tx)) {
                        mp_tx_to_tcp(&f->tx);
                } else {
                        may = mp_tx_may_pipe(&f->tx);
                        assert_true(may >= 0);
                        if (may)
                                mp_tx_to_pipe(&f->tx, f->tcp.write_seq);
                }
                f->n_flips++;
                break;
        default:
                if (mp_tx_in_pipe(&f->tx)) {
                        write_pipe(f, bytes);
                } else {
                        done = rig_tcp_put(&f->tcp, f->written, bytes);
                        f->written += done;
                }
        }
}

static void sender_steps(Fixture *f) {
        for (uint64_t n = rig_random(&f->random) % 4; n > 0; n--)
                sender_step(f);
}

static int receiver_step(Fixture *f) {
        uint32_t rcv_nxt, most = 0, bytes = rig_random_size(&f->random, 200000);
        int where;

        rcv_nxt = f->tcp.rcv_nxt;
        sender_steps(f); /* the sender goes on while we look ... */
        where = mp_rx_where(&f->rx, f->tcp.copied_seq, rcv_nxt, &most);
        sender_steps(f); /* ... and before we read */
        switch (where) {
        case MP_READ_TCP:
                assert_true(most > 0 && most <= rcv_nxt - f->tcp.copied_seq);
                bytes = plain_min(bytes, most);
                assert_true(rig_tcp_take(&f->tcp, f->read, bytes));
                f->read += bytes;
                f->n_tcp_reads++;
                break;
        case MP_READ_PIPE:
                assert_true(read_pipe(f, bytes, false) > 0);
                f->n_pipe_reads++;
                break;
        default:
                assert_int_equal(where, MP_WAIT);
        }
        return where;
}

static void drain(Fixture *f) {
        int idle = 0;

        if (mp_tx_in_pipe(&f->tx))
                mp_tx_to_tcp(&f->tx);
        while (idle < 2) {
                uint32_t most;
                int where;

                f->tcp.rcv_nxt = f->tcp.write_seq;
                where = mp_rx_where(&f->rx, f->tcp.copied_seq, f->tcp.rcv_nxt, &most);
                idle = where == MP_WAIT ? idle + 1 : 0;
                if (where == MP_READ_TCP) {
                        assert_true(rig_tcp_take(&f->tcp, f->read, most));
                        f->read += most;
                } else if (where == MP_READ_PIPE) {
                        assert_true(read_pipe(f, UINT32_MAX, false) > 0);
                }
        }
}

static void test_switch(void **state) {
        Fixture f;

        for (uint64_t seed = 0; seed < SEEDS; seed++) {
                begin(&f, seed, 4 + (uint32_t) seed % 80);
                for (int i = 0; i < STEPS; i++) {
                        if (i == 20)
                                mp_rx_attach(&f.rx);
                        if (i < 20)
                                assert_int_equal(mp_tx_may_pipe(&f.tx), 0);
                        sender_steps(&f);
                        receiver_step(&f);
                }
                assert_true(f.n_flips > 100 && f.n_tcp_reads > 100 && f.n_pipe_reads > 100);
                drain(&f);
                assert_int_equal(f.read, f.written);
                assert_false(mp_rx_away(&f.rx));
                assert_int_equal(mp_tx_may_pipe(&f.tx), 1);
                end(&f);
        }
}

/* The receiver looks, a whole excursion passes, TCP brings what came after it: that is not read before
 * the excursion. */
static void test_excursion_between_look_and_read(void **state) {
        uint32_t rcv_nxt, most = 0;
        Fixture f;

        begin(&f, 1, 4);
        mp_rx_attach(&f.rx);
        f.written += rig_tcp_put(&f.tcp, 0, 100);
        rcv_nxt = f.tcp.rcv_nxt = f.tcp.write_seq;
        assert_int_equal(mp_rx_where(&f.rx, f.tcp.copied_seq, rcv_nxt, &most), MP_READ_TCP);
        assert_int_equal(mp_tx_may_pipe(&f.tx), 1);
        mp_tx_to_pipe(&f.tx, f.tcp.write_seq);
        write_pipe(&f, 50);
        mp_tx_to_tcp(&f.tx);
        f.written += rig_tcp_put(&f.tcp, f.written, 70);
        f.tcp.rcv_nxt = f.tcp.write_seq;
        assert_int_equal(most, 100);
        drain(&f);
        assert_int_equal(f.read, 220);
        end(&f);
}

/* What a peer says of an excursion is believed once. */
static void test_later_lies_get_nowhere(void **state) {
        uint32_t most = 0, seq;
        Fixture f;

        begin(&f, 1, 4);
        mp_rx_attach(&f.rx);
        seq = f.tcp.write_seq;
        mp_tx_to_pipe(&f.tx, seq);
        write_pipe(&f, 50);
        assert_int_equal(mp_rx_where(&f.rx, seq, seq, &most), MP_READ_PIPE);
        f.d->switch_seq += 1000;
        mp_tx_to_tcp(&f.tx);
        assert_int_equal(mp_rx_where(&f.rx, seq, seq, &most), MP_READ_PIPE);
        f.d->end += 5000;
        f.d->tail += 5000;
        assert_int_equal(read_pipe(&f, 1000, false), 50);
        assert_int_equal(mp_rx_where(&f.rx, seq, seq + 10, &most), MP_READ_TCP);
        assert_int_equal(most, 10);
        assert_int_equal(mp_tx_may_pipe(&f.tx), 1);
        end(&f);
}

static void test_nonsense(void **state) {
        static const uint32_t modes[] = { 3, 4, 100, UINT32_MAX };
        uint32_t most = 0, seq, bytes, chunk;
        struct mp_span span;
        Fixture f;

        for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
                begin(&f, i, 4);
                f.d->mode = modes[i];
                assert_int_equal(mp_rx_where(&f.rx, f.tcp.copied_seq, f.tcp.rcv_nxt, &most), -EPROTO);
                end(&f);
        }
        begin(&f, 1, 80);
        mp_rx_attach(&f.rx);
        seq = f.tcp.write_seq;

        f.d->tail = f.rx.head + MLG_PIPE_WINDOW_BYTES + MLG_PIPE_CHUNK_BYTES;
        assert_int_equal(mp_rx_look(&f.rx, &bytes), -EPROTO);
        f.d->tail = f.rx.head - 1;
        assert_int_equal(mp_rx_look(&f.rx, &bytes), -EPROTO);
        assert_int_equal(mp_rx_span(&f.rx, 0, &span), -EPROTO);
        f.d->tail = f.rx.head;

        mp_tx_to_pipe(&f.tx, seq - 1); /* what we have read long ago */
        assert_int_equal(mp_rx_where(&f.rx, seq, seq, &most), -EPROTO);
        end(&f);

        begin(&f, 1, 80);
        mp_rx_attach(&f.rx);
        mp_tx_to_pipe(&f.tx, f.tcp.write_seq);
        write_pipe(&f, 100000);
        for (uint32_t i = 0; i < MLG_PIPE_WINDOW_CHUNKS; i++)
                f.d->map[i] = RIG_CHUNKS;
        assert_int_equal(mp_rx_span(&f.rx, 0, &span), -EPROTO);
        f.d->end = f.tx.tail - 1;
        f.d->mode++;
        assert_int_equal(mp_rx_where(&f.rx, f.tcp.copied_seq, f.tcp.rcv_nxt, &most), -EPROTO);
        f.d->head = f.tx.tail + 1;
        assert_int_equal(mp_tx_look(&f.tx), -EPROTO);
        f.d->head = f.tx.head - 1;
        assert_int_equal(mp_tx_look(&f.tx), -EPROTO);
        while (mp_tx_salvage(&f.tx, &chunk)) /* chunks are ours, whatever the peer says */
                f.n_free++;
        assert_int_equal(f.n_free, 80);
        end(&f);

        begin(&f, 1, 4);
        mp_rx_attach(&f.rx);
        mp_tx_to_pipe(&f.tx, f.tcp.write_seq);
        mp_tx_to_tcp(&f.tx);
        f.d->mode_ack = 1;
        assert_int_equal(mp_tx_may_pipe(&f.tx), -EPROTO);
        end(&f);
}

static void test_detach(void **state) {
        Fixture f;

        begin(&f, 1, 4);
        assert_true(mp_tx_unwanted(&f.tx));
        mp_rx_attach(&f.rx);
        assert_false(mp_tx_unwanted(&f.tx));
        mp_tx_to_pipe(&f.tx, f.tcp.write_seq);
        write_pipe(&f, 50);
        mp_rx_detach(&f.rx);
        assert_true(mp_tx_unwanted(&f.tx));
        drain(&f);
        assert_int_equal(f.read, 50);
        assert_int_equal(mp_tx_may_pipe(&f.tx), 0);
        end(&f);
}

static void test_wake(void **state) {
        struct mlg_pipe_pair *pair;
        Fixture f;

        begin(&f, 1, 4);
        pair = mp_pair(f.base, 3, 4);
        assert_false(mp_tx_tell(&f.tx, pair, 77)); /* nobody sleeps */
        mp_rx_arm(&f.rx);
        assert_true(mp_tx_tell(&f.tx, pair, 77));
        assert_false(mp_tx_tell(&f.tx, pair, 77));   /* it is being awoken */
        assert_false(mp_tx_tell(&f.tx, pair, 1100)); /* and will see this, too */
        mp_bell_clear(pair);
        assert_int_equal(mp_pending_take(pair, 1), UINT64_C(1) << 13);
        assert_int_equal(mp_pending_take(pair, 17), UINT64_C(1) << 12);
        assert_int_equal(mp_pending_take(pair, 1), 0);
        assert_true(mp_tx_tell(&f.tx, pair, 77));
        mp_tx_arm(&f.tx);
        assert_false(mp_rx_tell(&f.rx, pair, 3)); /* no news */
        mp_rx_attach(&f.rx);
        mp_bell_clear(pair);
        assert_true(mp_rx_tell(&f.rx, pair, 3));
        assert_int_equal(mp_pending_bit(true, 5), 5);
        assert_int_equal(mp_pending_bit(false, 5), MLG_PIPE_SLOTS + 5);
        end(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ring),
                cmocka_unit_test(test_head_moves_seldom),
                cmocka_unit_test(test_told_at_half),
                cmocka_unit_test(test_switch),
                cmocka_unit_test(test_excursion_between_look_and_read),
                cmocka_unit_test(test_later_lies_get_nowhere),
                cmocka_unit_test(test_nonsense),
                cmocka_unit_test(test_detach),
                cmocka_unit_test(test_wake),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
