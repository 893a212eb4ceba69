/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: MemPipe's datagrams with a hostile peer. The input is a list of steps: what an honest end does next, or what the
 * peer writes into the words of a ring, or into a record. Whatever that is: what is read of a record lies in chunks that exist and
 * ends, a record is not longer than what is in the ring, chunks of our own are neither lost nor there twice, and nothing is taken for a
 * flow that was not confirmed. */
#include "fuzz.h"
#include "steps.h"

#include <sys/mman.h>

#include "mempipe/core/dgram.h"
#include "mempipe/core/flow.h"
#include "mempipe/core/region.h"

#define N_CHUNKS 8u
#define OURS 6u /* chunks 0 .. 5: the sender's */
#define GEN 5u

typedef struct World {
        void *base;
        struct mlg_pipe_pair *pair;
        struct mp_tx tx;
        struct mp_rx rx;
        bool given[OURS];
        struct mp_flow_tx flow_tx;
        struct mp_flow_rx flow_rx;
        bool confirmed; /* as we remember it */
        uint64_t now, open_until;
} World;

static void begin_ring(World *w) {
        uint32_t chunk;

        while (w->tx.d && mp_tx_salvage(&w->tx, &chunk)) {
                CHECK(chunk < OURS && w->given[chunk]);
                w->given[chunk] = false;
        }
        for (chunk = 0; chunk < OURS; chunk++)
                CHECK(!w->given[chunk]);
        memset(&w->pair->datagrams, 0, sizeof(w->pair->datagrams));
        mp_tx_init(&w->tx, &w->pair->datagrams, GEN);
        mp_rx_init(&w->rx, &w->pair->datagrams, GEN, N_CHUNKS);
}

/* tail, head, the first entries of the map; or a word near the head of the ring, where a header lies. */
static void write_word(World *w, Input *in) {
        static const uint8_t words[] = { 0, 16, 32, 33, 34 };
        uint8_t which = next_byte(in), how = next_byte(in);
        uint32_t *word = (uint32_t *) &w->pair->datagrams, value;

        if (which & 128)
                word = (uint32_t *) (mp_chunk(w->base, which % N_CHUNKS) + (w->rx.head + (which & 0x78u)) % MLG_PIPE_CHUNK_BYTES / 4 * 4);
        else
                word += words[which % sizeof(words)];
        switch (how % 3) {
        case 0:
                value = next_word(in);
                break;
        case 1:
                value = *word + (uint32_t) (int8_t) next_byte(in);
                break;
        default:
                value = *word + ((uint32_t) (int8_t) next_byte(in) << MLG_PIPE_CHUNK_SHIFT);
        }
        WRITE_ONCE(*word, value);
}

static void check_span(const struct mp_span *s, uint32_t most) {
        CHECK(s->chunk < N_CHUNKS && s->bytes > 0 && s->bytes <= most && s->offset <= MLG_PIPE_CHUNK_BYTES - s->bytes);
}

static int make_room(World *w, uint32_t bytes) {
        uint32_t chunk, i;

        while (mp_dgram_missing(&w->tx, bytes) > 0) {
                if (mp_tx_look(&w->tx) < 0)
                        return -EPROTO;
                while (mp_tx_reclaim(&w->tx, false, &chunk)) {
                        CHECK(chunk < OURS && w->given[chunk]);
                        w->given[chunk] = false;
                }
                for (i = 0; i < OURS && w->given[i]; i++)
                        ;
                if (i == OURS || mp_tx_room(&w->tx) == 0)
                        return 0;
                w->given[i] = true;
                mp_tx_give(&w->tx, i);
        }
        return 1;
}

static int send(World *w, Input *in) {
        struct mlg_pipe_datagram h = { .bytes = next_word(in) % (MLG_PIPE_DATAGRAM_BYTES + 1), .gen = GEN };
        struct mp_span span;
        int err = make_room(w, h.bytes);

        if (err <= 0)
                return err;
        for (uint32_t at = 0; at < h.bytes; at += span.bytes) {
                mp_dgram_tx_span(&w->tx, at, h.bytes - at, &span);
                check_span(&span, h.bytes - at);
                CHECK(span.chunk < OURS && w->given[span.chunk]);
                memset(mp_chunk(w->base, span.chunk) + span.offset, 0x5a, span.bytes);
        }
        mp_dgram_commit(&w->tx, w->base, &h);
        return 1;
}

static int take(World *w) {
        struct mlg_pipe_datagram h;
        struct mp_span span;
        uint32_t unread;
        int err = mp_dgram_next(&w->rx, w->base, &h);

        if (err <= 0)
                return err;
        CHECK(h.bytes <= MLG_PIPE_DATAGRAM_BYTES && h.flow < MLG_PIPE_FLOWS);
        CHECK(mp_rx_look(&w->rx, &unread) != 0);
        for (uint32_t at = 0; at < h.bytes; at += span.bytes) {
                err = mp_dgram_rx_span(&w->rx, at, h.bytes - at, &span);
                if (err < 0)
                        return err;
                check_span(&span, h.bytes - at);
        }
        mp_dgram_done(&w->rx, h.bytes);
        CHECK((int32_t) (w->rx.tail - w->rx.head) >= 0);
        return 1;
}

static int take_all(World *w) {
        uint32_t n = 0;
        int err;

        while ((err = take(w)) > 0)
                CHECK(++n <= 2 * MLG_PIPE_WINDOW_BYTES / sizeof(struct mlg_pipe_datagram));
        return err;
}

/* ---------------------------------------------------------------- flows */

static u64 prove(u64 digest, u64 nonce, bool answer) {
        return (digest * 31 + nonce) * 2 + answer;
}

static void confirmed(World *w, bool yes) {
        if (!yes)
                return;
        w->confirmed = true;
        w->open_until = w->now + MP_FLOW_FORGET_USEC;
}

static void flow(World *w, Input *in) {
        uint8_t op = next_byte(in);
        uint64_t a = next_byte(in), b = next_byte(in);
        u64 answer;

        w->now += a << (op >> 4);
        switch (op % 8) {
        case 0:
                mp_flow_sent(&w->flow_tx, a + 1);
                break;
        case 1: /* the peer's answer need not be one */
                if (mp_flow_answered(&w->flow_tx, (uint32_t) a, GEN, b, prove(a, b, true), w->now))
                        CHECK(w->flow_tx.state == MP_FLOW_OPEN);
                break;
        case 2: /* asks for what came in, or for anything */
                confirmed(w, mp_flow_offered(&w->flow_rx, b, prove(a, b, false), prove, w->now, &answer));
                break;
        case 3:
                confirmed(w, mp_flow_seen(&w->flow_rx, a, prove, w->now, &answer));
                break;
        case 4:
                if (mp_flow_takes(&w->flow_rx, GEN, w->now))
                        CHECK(w->confirmed && w->now < w->open_until);
                CHECK(!mp_flow_takes(&w->flow_rx, GEN + 1, w->now));
                break;
        case 5: /* it is some record's turn, at last */
                if (!mp_flow_in_turn(&w->flow_rx, b, w->now))
                        CHECK(b != 0 && mp_flow_in_turn(&w->flow_rx, b, w->now + MP_FLOW_HOLD_USEC));
                break;
        case 6:
                if (mp_flow_way(&w->flow_tx, b & 1, w->now) == MP_FLOW_BY_NET_OFFER)
                        (void) mp_flow_offer(&w->flow_tx, a, b, prove, w->now);
                break;
        default:
                if (mp_flow_way(&w->flow_tx, b & 1, w->now) == MP_FLOW_BY_RING)
                        CHECK(w->flow_tx.state == MP_FLOW_OPEN);
                if (b & 2)
                        mp_flow_close(&w->flow_tx);
        }
}

static int step(World *w, Input *in) {
        switch (next_byte(in) % 8) {
        case 0:
        case 1:
                write_word(w, in);
                return 1;
        case 2:
        case 3:
                return send(w, in);
        case 4:
                return take(w);
        case 5:
                return take_all(w);
        case 6:
                mp_rx_arm(&w->rx);
                (void) mp_dgram_tell(&w->tx, w->pair);
                (void) mp_dgram_tell_room(&w->rx, w->pair);
                return 1;
        default:
                flow(w, in);
                return 1;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static void *base;
        Input in = { data, size };
        World w = { .now = 1 };

        if (!base)
                base = mmap(NULL, MLG_PIPE_CHUNKS_AT + (N_CHUNKS << MLG_PIPE_CHUNK_SHIFT), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK(base != MAP_FAILED);
        w.base = base;
        w.pair = mp_pair(base, 1, 2);
        memset(w.pair, 0, sizeof(*w.pair));
        for (uint32_t i = 0; i < N_CHUNKS; i++)
                memset(mp_chunk(base, i), 0, MLG_PIPE_CHUNK_BYTES);
        mp_flow_rx_init(&w.flow_rx, GEN, 0);
        begin_ring(&w);
        while (in.size > 0)
                if (step(&w, &in) == -EPROTO) /* the ring is given up, the next one begins */
                        begin_ring(&w);
        begin_ring(&w);
        return 0;
}
