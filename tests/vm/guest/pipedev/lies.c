/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lies: a member of the group that breaks the protocol wherever it can.
 *
 * lie() stays within the words that are this peer's to write by the contract (memlego/mempipe-abi.h): that must cost nobody
 * but itself. garbage() writes everybody's, as the memory lets it. Values are mostly those that nearly make sense: off by one, by a
 * chunk, by a window. Between lies it rests now and then, so that connections get somewhere before the next one. */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "pipedev.h"

#define SLOTS_BUSY 12 /* the lowest ones are those in use */
#define SELDOM 100

static uint64_t state;

static uint32_t any(uint32_t below) { /* splitmix64 */
        uint64_t x = state += UINT64_C(0x9e3779b97f4a7c15);

        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        x ^= x >> 31;
        return below ? (uint32_t) (x >> 16) % below : (uint32_t) (x >> 16);
}

static uint64_t now_usec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

static uint32_t nearly(uint32_t now) {
        switch (any(12)) {
        case 0: return now + 1;
        case 1: return now - 1;
        case 2: return now + MLG_PIPE_CHUNK_BYTES;
        case 3: return now - MLG_PIPE_CHUNK_BYTES;
        case 4: return now + MLG_PIPE_WINDOW_BYTES + any(3) - 1;
        case 5: return now ^ 1u << any(32);
        case 6: return 0;
        case 7: return UINT32_MAX;
        case 8: return any(4);
        case 9: return now + 2;
        case 10: return any(100000);
        default: return any(0);
        }
}

static void set(uint32_t *word, uint32_t value) {
        __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

static void bend(uint32_t *word) {
        set(word, nearly(__atomic_load_n(word, __ATOMIC_SEQ_CST)));
}

static uint32_t any_peer(void) {
        for (int i = 0; i < 20; i++) {
                uint32_t id = any(6);

                if (id != self() && peer(id)->state != MLG_PIPE_ABSENT)
                        return id;
        }
        return MLG_PIPE_HOST;
}

static struct mlg_pipe_section *section_of(uint32_t id) {
        return (struct mlg_pipe_section *) (memory + MLG_PIPE_SECTIONS_AT) + id;
}

static struct mlg_pipe_slot *slot_of(uint32_t id, uint32_t slot) {
        return (struct mlg_pipe_slot *) (memory + MLG_PIPE_SLOTS_AT) + id * MLG_PIPE_SLOTS + slot;
}

static void ring(uint32_t to) {
        registers[DOORBELL] = to << 16 | (any(8) ? MLG_PIPE_VECTOR : any(0x10000));
}

/* ---- words of a peer ---- */

/* With another session the host has us begin anew: nothing of ours is open for a while. */
static void lie_in_section(uint32_t of, bool of_session) {
        uint32_t *words = (uint32_t *) section_of(of), n = any(400);
        struct mlg_pipe_address a = { .bytes = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, (uint8_t) (1 + any(4)) } };

        if (of_session)
                bend(&section_of(of)->session);
        else if (n < 200) /* somebody's address */
                section_of(of)->addresses[any(MLG_PIPE_ADDRESSES)] = a;
        else if (n < 300)
                bend(&section_of(of)->n_addresses);
        else
                bend(&words[any(13)]);
        if (any(2))
                __atomic_fetch_add(&section_of(of)->address_seq, 1 + any(2), __ATOMIC_SEQ_CST);
}

static struct mlg_pipe_message a_message(uint32_t of) {
        static const uint16_t types[] = { MLG_PIPE_HELLO, MLG_PIPE_HELLO, MLG_PIPE_ATTACH, MLG_PIPE_REFUSE, MLG_PIPE_GRANT, MLG_PIPE_RETURN, 99 };
        /* what others said to each other, a proof included */
        struct mlg_pipe_message m = pair(any_peer(), any_peer())->messages[any(MLG_PIPE_MESSAGES)];

        if (any(3) == 0)
                m.type = types[any(sizeof(types) / sizeof(types[0]))];
        m.epoch = any(20) ? peer(of)->epoch : any(0);
        switch (any(8)) {
        case 0: m.reason = (uint16_t) any(0); break;
        case 1: m.gen = nearly(m.gen); break;
        case 2: m.nonce_slot ^= any(MLG_PIPE_SLOTS * 2); break;
        case 3: m.proof = (uint64_t) any(0) << 32 | any(0); break;
        case 4: m.tuple.client_port = (uint16_t) (32768 + any(28000)); break;
        case 5: memset(&m.tuple, (int) any(256), sizeof(m.tuple)); break;
        default: break;
        }
        return m;
}

static void lie_in_ring(uint32_t from, uint32_t to) {
        struct mlg_pipe_pair *p = pair(from, to);
        uint32_t n = any(4) ? 1 : any(MLG_PIPE_MESSAGES + 8);

        for (uint32_t i = 0; i < n; i++)
                p->messages[(p->tail + i) % MLG_PIPE_MESSAGES] = a_message(from);
        if (any(16))
                set(&p->tail, p->tail + n);
        else
                bend(&p->tail);
}

static void lie_in_pending(uint32_t from, uint32_t to) {
        struct mlg_pipe_pair *p = pair(from, to);

        __atomic_fetch_or(&p->pending[any(2 * MLG_PIPE_SLOTS / 64)], (uint64_t) any(0) << any(33), __ATOMIC_SEQ_CST);
        set(&p->bell, any(3));
}

static void lie_as_sender(struct mlg_pipe_direction *d) {
        uint32_t *const words[] = { &d->tail, &d->mode, &d->switch_seq, &d->end, &d->tx_armed };

        if (any(3))
                bend(words[any(5)]);
        else
                bend(&d->map[any(MLG_PIPE_WINDOW_CHUNKS)]);
}

static void lie_as_receiver(struct mlg_pipe_direction *d) {
        uint32_t *const words[] = { &d->head, &d->mode_ack, &d->rx_armed, &d->attached };

        bend(words[any(4)]);
}

static void lie_as_client(struct mlg_pipe_slot *s) {
        uint32_t *const words[] = { &s->gen, &s->server, &s->client_done };

        switch (any(8)) {
        case 0: bend(words[any(3)]); break;
        case 1: case 2: case 3: lie_as_receiver(&s->to_client); break;
        default: lie_as_sender(&s->to_server); break;
        }
}

static void lie_as_server(struct mlg_pipe_slot *s) {
        switch (any(8)) {
        case 0: bend(&s->server_done); break;
        case 1: case 2: case 3: lie_as_receiver(&s->to_server); break;
        default: lie_as_sender(&s->to_client); break;
        }
}

/* Several in one slot, and whoever has the other end is made to look. */
static void lie_in_slot(uint32_t other) {
        uint32_t i = any(SLOTS_BUSY);
        struct mlg_pipe_slot *s = slot_of(other, i);

        for (uint32_t n = 1 + any(4); n > 0; n--)
                if (any(2))
                        lie_as_client(slot_of(self(), i));
                else if (other != MLG_PIPE_HOST && s->server == self())
                        lie_as_server(s);
        pair(self(), other)->pending[0] = pair(self(), other)->pending[MLG_PIPE_SLOTS / 64] = UINT64_MAX;
        set(&pair(self(), other)->bell, 1);
}

static void scribble_in_chunk(uint32_t of) {
        const uint8_t *owners = memory + MLG_PIPE_OWNERS_AT;
        uint32_t n = any(512);

        for (uint32_t i = 0; i < 64; i++, n++)
                if (owners[n] == of) {
                        memset(chunk(n) + any(MLG_PIPE_CHUNK_BYTES - 16), (int) any(256), 16);
                        return;
                }
}

static void lie_once(uint32_t i) {
        uint32_t to = any_peer();

        switch (any(10)) {
        case 0: lie_in_section(self(), i % SELDOM == 0); break;
        case 1: lie_in_ring(self(), to); break;
        case 2: bend(&pair(to, self())->head); break;
        case 3: lie_in_pending(self(), to); break;
        case 4: scribble_in_chunk(self()); break;
        case 5:
                for (uint32_t n = any(20); n > 0; n--)
                        ring(any(MLG_PIPE_PEERS + 2));
                break;
        default: lie_in_slot(to); break;
        }
        ring(to);
}

/* ---- words of everybody ---- */

static void garbage_in_host_words(void) {
        uint8_t *owners = memory + MLG_PIPE_OWNERS_AT;

        switch (any(4)) {
        case 0: bend((uint32_t *) memory + any(16)); break;
        case 1: bend(&((struct mlg_pipe_header *) memory)->alive); break;
        case 2: owners[any(512)] = (uint8_t) any(256); break;
        default: bend((uint32_t *) peer(any(6)) + any(4)); break;
        }
}

static void garbage_once(uint32_t i) {
        uint32_t from = any_peer(), to = any_peer();
        struct mlg_pipe_slot *s = slot_of(from == MLG_PIPE_HOST ? self() : from, any(SLOTS_BUSY));

        switch (any(10)) {
        case 0: lie_once(i); break;
        case 1:
                if (i % SELDOM == 0) /* it ends everything that is open */
                        garbage_in_host_words();
                break;
        case 2: lie_in_section(from, false); break;
        case 3: lie_in_ring(from, to); break;
        case 4: bend(&pair(from, to)->head); break;
        case 5: lie_in_pending(from, to); break;
        case 6: scribble_in_chunk(from); break;
        case 7: case 8: lie_as_client(s); break;
        default: lie_as_server(s); break;
        }
        ring(to);
}

/* Who only ever lied about who it is would soon have no connections to lie about. */
static void look_honest(const struct mlg_pipe_section *was) {
        struct mlg_pipe_section *s = section_of(self());

        memcpy(s->addresses, was->addresses, sizeof(s->addresses[0]) * was->n_addresses);
        set(&s->n_addresses, was->n_addresses);
        set(&s->epoch, peer(self())->epoch);
        set(&s->version, MLG_PIPE_VERSION);
        set(&s->address_seq, (s->address_seq | 1) + 1);
}

static void repeat(uint32_t seconds, uint32_t seed, void (*once)(uint32_t i)) {
        uint64_t until = now_usec() + seconds * UINT64_C(1000000);
        struct mlg_pipe_section was = *section_of(self());
        uint32_t n = 0;

        was.n_addresses = was.n_addresses > MLG_PIPE_ADDRESSES ? 0 : was.n_addresses;
        for (state = seed; now_usec() < until; n++) {
                once(n);
                if (n % SELDOM == 0)
                        look_honest(&was);
                if (any(4) == 0)
                        usleep(any(4000));
        }
        printf("%u lies\n", n);
}

void lie(uint32_t seconds, uint32_t seed) {
        repeat(seconds, seed, lie_once);
}

void garbage(uint32_t seconds, uint32_t seed) {
        repeat(seconds, seed, garbage_once);
}

void storm(uint32_t seconds) {
        uint64_t until = now_usec() + seconds * UINT64_C(1000000);
        uint32_t n = 0;

        for (; now_usec() < until; n++) {
                uint32_t to = n % MLG_PIPE_PEERS;

                if (to != self()) {
                        set(&pair(self(), to)->bell, 1);
                        registers[DOORBELL] = to << 16 | MLG_PIPE_VECTOR;
                }
        }
        printf("%u doorbells\n", n);
}
