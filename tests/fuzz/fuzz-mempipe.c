/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: MemPipe's core with a hostile peer. The input is a list of steps: what an honest end does
 * next, or what the peer writes into a word of a slot or a pair. Whatever that is: spans lie in chunks
 * that exist, chunks of our own are neither lost nor there twice, TCP is not read beyond what came in,
 * and nothing goes on for ever. */
#include "fuzz.h"
#include "steps.h"

#include "mempipe/core/control.h"
#include "mempipe/core/ring.h"
#include "mempipe/core/switch.h"
#include "mempipe/core/wake.h"

#define N_CHUNKS 100u
#define OURS 80u /* chunks 0 .. 79: the sender's */
#define EPOCH 3

typedef struct World {
        union {
                struct mlg_pipe_slot slot;
                uint32_t slot_words[sizeof(struct mlg_pipe_slot) / 4];
        };
        union {
                struct mlg_pipe_pair pair;
                uint32_t pair_words[sizeof(struct mlg_pipe_pair) / 4];
        };
        struct mp_tx tx;
        struct mp_rx rx;
        struct mp_ctl_tx ctl_tx;
        struct mp_ctl_rx ctl_rx;
        bool given[OURS];
        uint32_t gen, write_seq, copied_seq;
} World;

/* One direction in the middle of which sits the peer: what it changes, both ends see. */
static void begin_pipe(World *w) {
        uint32_t chunk;

        w->gen++;
        while (w->tx.d && mp_tx_salvage(&w->tx, &chunk)) {
                CHECK(chunk < OURS && w->given[chunk]);
                w->given[chunk] = false;
        }
        for (chunk = 0; chunk < OURS; chunk++)
                CHECK(!w->given[chunk]);
        memset(&w->slot, 0, sizeof(w->slot));
        mp_tx_init(&w->tx, &w->slot.to_server, w->gen);
        mp_rx_init(&w->rx, &w->slot.to_server, w->gen, N_CHUNKS);
}

static void write_word(World *w, Input *in) {
        /* only words that mean something, so that inputs get somewhere */
        static const uint16_t slot_words[] = { 32, 33, 34, 35, 36, 48, 49, 50, 51, 64, 65, 66, 127 };
        uint8_t which = next_byte(in), how = next_byte(in);
        uint32_t *word, value;

        if (which < 128)
                word = &w->slot_words[slot_words[which % (sizeof(slot_words) / sizeof(slot_words[0]))]];
        else
                word = &w->pair_words[(next_word(in) % 1024)];
        switch (how % 4) {
        case 0:
                value = next_word(in);
                break;
        case 1:
                value = *word + (uint32_t) (int8_t) next_byte(in);
                break;
        case 2:
                value = *word + ((uint32_t) (int8_t) next_byte(in) << MLG_PIPE_CHUNK_SHIFT);
                break;
        default:
                value = *word ^ (1u << next_byte(in) % 32);
        }
        WRITE_ONCE(*word, value);
}

static void check_span(const struct mp_span *s) {
        CHECK(s->chunk < N_CHUNKS && s->bytes > 0 && s->bytes <= MLG_PIPE_CHUNK_BYTES &&
              s->offset <= MLG_PIPE_CHUNK_BYTES - s->bytes);
}

static int give(World *w, uint8_t from) {
        uint32_t chunk = from % OURS;

        CHECK(mp_tx_room(&w->tx) <= MLG_PIPE_WINDOW_CHUNKS &&
              mp_tx_chunks(&w->tx) <= MLG_PIPE_WINDOW_CHUNKS);
        if (mp_tx_room(&w->tx) == 0 || w->given[chunk])
                return 0;
        w->given[chunk] = true;
        mp_tx_give(&w->tx, chunk);
        return 1;
}

static int send(World *w, Input *in) {
        uint32_t bytes = next_word(in) % (2 * MLG_PIPE_CHUNK_BYTES);
        struct mp_span span;
        int err = mp_tx_span(&w->tx, &span);

        if (err == 0)
                return give(w, next_byte(in));
        if (err < 0)
                return err;
        check_span(&span);
        CHECK(span.chunk < OURS && w->given[span.chunk]);
        mp_tx_commit(&w->tx, plain_min(bytes, span.bytes));
        return 1;
}

static int reclaim(World *w, bool idle) {
        int err = mp_tx_look(&w->tx);
        uint32_t chunk;

        while (err > 0 && mp_tx_reclaim(&w->tx, idle, &chunk)) {
                CHECK(chunk < OURS && w->given[chunk]);
                w->given[chunk] = false;
        }
        return err;
}

static int flip(World *w) {
        int may;

        if (mp_tx_in_pipe(&w->tx)) {
                mp_tx_to_tcp(&w->tx);
                return 1;
        }
        may = mp_tx_may_pipe(&w->tx);
        if (may > 0)
                mp_tx_to_pipe(&w->tx, w->write_seq);
        return may;
}

static int look(World *w, Input *in) {
        uint32_t rcv_nxt = w->write_seq - next_byte(in), most = 0;
        int where = mp_rx_where(&w->rx, w->copied_seq, rcv_nxt, &most);

        CHECK(where <= MP_READ_PIPE);
        if (where == MP_READ_TCP) {
                CHECK(most > 0 && (int32_t) most > 0 && most <= rcv_nxt - w->copied_seq);
                w->copied_seq += most;
        }
        return where;
}

static int receive(World *w, Input *in) {
        uint32_t bytes = next_word(in) % (2 * MLG_PIPE_CHUNK_BYTES), peek = next_byte(in) * 32768u, unread;
        struct mp_span span;
        int err;

        err = mp_rx_look(&w->rx, &unread);
        if (err < 0)
                return err;
        CHECK(unread <= MLG_PIPE_WINDOW_BYTES);
        err = mp_rx_span(&w->rx, peek, &span);
        if (err > 0) {
                check_span(&span);
                CHECK(peek + span.bytes <= unread);
        }
        if (err > 0 && peek == 0)
                mp_rx_consume(&w->rx, plain_min(bytes, span.bytes));
        return err;
}

/* Everything that is there, as a reader with a large buffer does: it ends. */
static int receive_all(World *w) {
        uint32_t bytes = 0;
        struct mp_span span;
        int err;

        while ((err = mp_rx_span(&w->rx, 0, &span)) > 0) {
                check_span(&span);
                mp_rx_consume(&w->rx, span.bytes);
                bytes += span.bytes;
                CHECK(bytes <=
                      2 * MLG_PIPE_WINDOW_BYTES); /* what was known of, and what the peer says then */
        }
        return err;
}

static int control(World *w, Input *in) {
        struct mlg_pipe_message m = { .type = MLG_PIPE_RETURN,
                                      .epoch = EPOCH,
                                      .chunks = { next_byte(in), next_byte(in) } };
        int n = 0;

        (void) mp_ctl_put(&w->ctl_tx, &m);
        while (mp_ctl_take(&w->ctl_rx, EPOCH, &m) > 0) {
                CHECK(m.epoch == EPOCH && (m.type == MLG_PIPE_RETURN || m.type == MLG_PIPE_WISH));
                CHECK(m.type == MLG_PIPE_WISH ||
                      (m.chunks.count > 0 && m.chunks.first < N_CHUNKS &&
                       m.chunks.count <= N_CHUNKS - m.chunks.first));
                CHECK(++n <= (int) MLG_PIPE_MESSAGES);
        }
        return 1;
}

static int wake(World *w) {
        mp_rx_arm(&w->rx);
        mp_tx_arm(&w->tx);
        (void) mp_tx_tell(&w->tx, &w->pair, 5);
        (void) mp_rx_tell(&w->rx, &w->pair, 5);
        mp_bell_clear(&w->pair);
        for (uint32_t i = 0; i < 2 * MLG_PIPE_SLOTS / 64; i++)
                (void) mp_pending_take(&w->pair, i);
        return 1;
}

static int step(World *w, Input *in) {
        uint8_t op = next_byte(in);

        switch (op % 13) {
        case 0 ... 2:
                write_word(w, in);
                return 1;
        case 3:
                return send(w, in);
        case 4:
                return give(w, next_byte(in));
        case 5:
                return reclaim(w, op & 128);
        case 6:
                return flip(w);
        case 7:
                return look(w, in);
        case 8:
                return receive(w, in);
        case 9:
                return receive_all(w);
        case 10:
                return control(w, in);
        case 11:
                w->write_seq += mp_tx_in_pipe(&w->tx) ? 0 : next_byte(in);
                return 1;
        default:
                mp_rx_attach(&w->rx);
                return wake(w);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        Input in = { data, size };
        World *w = calloc(1, sizeof(*w));

        mp_ctl_tx_init(&w->ctl_tx, &w->pair);
        mp_ctl_rx_init(&w->ctl_rx, &w->pair, 1, MLG_PIPE_HOST, N_CHUNKS, false);
        begin_pipe(w);
        while (in.size > 0)
                if (step(w, &in) == -EPROTO) /* the connection is given up, the next one begins */
                        begin_pipe(w);
        begin_pipe(w);
        free(w);
        return 0;
}
