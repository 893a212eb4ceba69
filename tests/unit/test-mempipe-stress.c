/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe under load: a sender and a receiver, two processes (or threads, for ThreadSanitizer) over one
 * memfd, random sizes, random changes between TCP and the pipe, chunks given and taken back. Every byte is
 * compared. Both sleep on a doorbell only when the protocol allows it: a wakeup that gets lost ends the
 * test.
 *
 *     test-mempipe-stress [MIB [SEED]] */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mempipe-rig.h"

#define GEN 3
#define SLOT 9
#define SIZE_MOST (96u << 10)
#define SLEEP_MOST_MS \
        20000 /* nothing takes that long, on however busy a machine, but a wakeup that was lost */

typedef struct Shared {
        RigTcp tcp;
        uint32_t tcp_sleeper; /* the sender waits for room in TCP */
} Shared;

typedef struct Run {
        void *base;
        Shared *shared;
        int bell[2]; /* of the sender, of the receiver */
        uint64_t bytes, seed;
        uint32_t n_chunks;
} Run;

typedef struct Counts {
        uint64_t flips, pipe_bytes, sleeps, rings;
} Counts;

enum { SENDER, RECEIVER };

static struct mlg_pipe_pair *pair_to(const Run *run, int end) {
        return mp_pair(run->base, 1 + !end, 1 + end);
}

static uint32_t bit_to(int end) {
        return mp_pending_bit(end == RECEIVER, SLOT); /* the sender is the client */
}

static void fail(const Run *run, const char *what, uint64_t at) {
        const struct mlg_pipe_direction *d = &mp_slot(run->base, 1, SLOT)->to_server;
        const RigTcp *tcp = &run->shared->tcp;

        fprintf(stderr,
                "%s at byte %" PRIu64 "; seed %" PRIu64
                ", tail %u head %u mode %u ack %u switch_seq %u end %u, armed %u %u, "
                "TCP written %u received %u read %u\n",
                what, at, run->seed, READ_ONCE(d->tail), READ_ONCE(d->head), READ_ONCE(d->mode),
                READ_ONCE(d->mode_ack), READ_ONCE(d->switch_seq), READ_ONCE(d->end), READ_ONCE(d->tx_armed),
                READ_ONCE(d->rx_armed), READ_ONCE(tcp->write_seq), READ_ONCE(tcp->rcv_nxt),
                READ_ONCE(tcp->copied_seq));
        abort();
}

static void ring(const Run *run, int end, Counts *counts) {
        uint64_t one = 1;

        counts->rings++;
        if (write(run->bell[end], &one, sizeof(one)) != sizeof(one))
                fail(run, "doorbell", 0);
}

static void sleep_on_bell(const Run *run, int end, uint64_t at, Counts *counts) {
        struct pollfd fd = { .fd = run->bell[end], .events = POLLIN };
        uint64_t count;

        counts->sleeps++;
        if (poll(&fd, 1, SLEEP_MOST_MS) != 1)
                fail(run, end == SENDER ? "the sender was not awoken" : "the receiver was not awoken", at);
        if (read(fd.fd, &count, sizeof(count)) != sizeof(count))
                fail(run, "doorbell", at);
}

/* As the interrupt handler does. Whether our bit was set need not be known: we look ourselves. */
static void answer_bell(const Run *run, int end) {
        struct mlg_pipe_pair *pair = pair_to(run, end);

        mp_bell_clear(pair);
        for (uint32_t w = 0; w < 2 * MLG_PIPE_SLOTS / 64; w++)
                (void) mp_pending_take(pair, w);
}

typedef struct Sender {
        const Run *run;
        struct mp_tx tx;
        uint32_t free[RIG_CHUNKS], n_free;
        uint64_t random, written;
        Counts counts;
} Sender;

static void tell_receiver(Sender *s) {
        if (mp_tx_tell(&s->tx, pair_to(s->run, RECEIVER), bit_to(RECEIVER)))
                ring(s->run, RECEIVER, &s->counts);
}

static void reclaim(Sender *s, bool idle) {
        uint32_t chunk;

        if (mp_tx_look(&s->tx) < 0)
                fail(s->run, "head is nonsense", s->written);
        while (mp_tx_reclaim(&s->tx, idle, &chunk))
                s->free[s->n_free++] = chunk;
}

/* Whether there is a span. */
static int find_room(Sender *s, struct mp_span *span) {
        int err;

        while ((err = mp_tx_span(&s->tx, span)) == 0) {
                reclaim(s, false);
                if (s->n_free == 0 || mp_tx_room(&s->tx) == 0)
                        return 0;
                mp_tx_give(&s->tx, s->free[--s->n_free]);
        }
        if (err < 0)
                fail(s->run, "head is nonsense", s->written);
        return err;
}

static uint32_t send_by_pipe(Sender *s, uint32_t bytes) {
        struct mp_span span;

        while (bytes > 0) {
                if (!find_room(s, &span)) {
                        if (rig_random(&s->random) % 8 == 0)
                                break; /* TCP takes the rest */
                        mp_tx_arm(&s->tx);
                        if (!find_room(s, &span)) {
                                sleep_on_bell(s->run, SENDER, s->written, &s->counts);
                                answer_bell(s->run, SENDER);
                                mp_tx_disarm(&s->tx);
                                continue;
                        }
                        mp_tx_disarm(&s->tx);
                }
                span.bytes = plain_min(span.bytes, bytes);
                rig_fill(mp_chunk(s->run->base, span.chunk) + span.offset, s->written, span.bytes);
                mp_tx_commit(&s->tx, span.bytes);
                tell_receiver(s);
                s->written += span.bytes;
                s->counts.pipe_bytes += span.bytes;
                bytes -= span.bytes;
        }
        return bytes;
}

/* TCP has its own ways to wake. */
static void send_by_tcp(Sender *s, uint32_t bytes) {
        Shared *shared = s->run->shared;

        while (bytes > 0) {
                uint32_t done = rig_tcp_put(&shared->tcp, s->written, bytes);

                smp_store_release(&shared->tcp.rcv_nxt, shared->tcp.write_seq);
                if (done > 0) {
                        ring(s->run, RECEIVER, &s->counts);
                } else {
                        WRITE_ONCE(shared->tcp_sleeper, 1);
                        smp_mb();
                        if (shared->tcp.write_seq - READ_ONCE(shared->tcp.copied_seq) == RIG_TCP_BYTES)
                                sleep_on_bell(s->run, SENDER, s->written, &s->counts);
                        WRITE_ONCE(shared->tcp_sleeper, 0);
                }
                s->written += done;
                bytes -= done;
        }
}

static void flip(Sender *s) {
        int may;

        if (mp_tx_in_pipe(&s->tx)) {
                mp_tx_to_tcp(&s->tx);
        } else {
                may = mp_tx_may_pipe(&s->tx);
                if (may < 0)
                        fail(s->run, "mode_ack is nonsense", s->written);
                if (may == 0)
                        return;
                mp_tx_to_pipe(&s->tx, s->run->shared->tcp.write_seq);
        }
        s->counts.flips++;
        tell_receiver(s);
}

static void *sender(void *arg) {
        Sender *s = calloc(1, sizeof(*s));

        s->run = arg;
        s->random = s->run->seed;
        mp_tx_init(&s->tx, &mp_slot(s->run->base, 1, SLOT)->to_server, GEN);
        for (; s->n_free < s->run->n_chunks; s->n_free++)
                s->free[s->n_free] = s->n_free;
        while (s->written < s->run->bytes) {
                uint32_t most = (uint32_t) (s->run->bytes - s->written < SIZE_MOST
                                                    ? s->run->bytes - s->written
                                                    : SIZE_MOST);
                uint32_t bytes = rig_random_size(&s->random, most);

                if (rig_random(&s->random) % (mp_tx_in_pipe(&s->tx) ? 32 : 4) == 0)
                        flip(s);
                if (mp_tx_in_pipe(&s->tx))
                        bytes = send_by_pipe(s, bytes);
                if (mp_tx_in_pipe(&s->tx) && bytes > 0)
                        flip(s);
                if (bytes > 0)
                        send_by_tcp(s, bytes);
                if (rig_random(&s->random) % 16 == 0)
                        reclaim(s, true);
        }
        fprintf(stderr,
                "sent %" PRIu64 " bytes, %" PRIu64 " of them by the pipe, %" PRIu64
                " changes, slept %" PRIu64 ", rang %" PRIu64 "\n",
                s->written, s->counts.pipe_bytes, s->counts.flips, s->counts.sleeps, s->counts.rings);
        if (s->counts.pipe_bytes == 0)
                fail(s->run, "nothing went by the pipe", s->written);
        free(s);
        return NULL;
}

typedef struct Receiver {
        const Run *run;
        struct mp_rx rx;
        uint64_t random, read;
        Counts counts;
} Receiver;

static void tell_sender(Receiver *r) {
        if (mp_rx_tell(&r->rx, pair_to(r->run, SENDER), bit_to(SENDER)))
                ring(r->run, SENDER, &r->counts);
}

static void receive_by_pipe(Receiver *r) {
        uint32_t bytes = rig_random_size(&r->random, SIZE_MOST);
        struct mp_span span;
        int err = 0;

        while (bytes > 0 && (err = mp_rx_span(&r->rx, 0, &span)) > 0) {
                uint32_t n = plain_min(span.bytes, bytes);
                uint32_t same = rig_match(mp_chunk(r->run->base, span.chunk) + span.offset, r->read, n);

                if (same < n)
                        fail(r->run, "a wrong byte by the pipe", r->read + same);
                mp_rx_consume(&r->rx, n);
                tell_sender(r);
                r->read += n;
                bytes -= n;
        }
        if (err < 0)
                fail(r->run, "the ring is nonsense", r->read);
}

static void receive_by_tcp(Receiver *r, uint32_t most) {
        Shared *shared = r->run->shared;

        most = plain_min(most, rig_random_size(&r->random, SIZE_MOST));
        if (!rig_tcp_take(&shared->tcp, r->read, most))
                fail(r->run, "a wrong byte by TCP", r->read);
        r->read += most;
        smp_mb();
        if (READ_ONCE(shared->tcp_sleeper))
                ring(r->run, SENDER, &r->counts);
}

static int receive(Receiver *r) {
        RigTcp *tcp = &r->run->shared->tcp;
        uint32_t most = 0, rcv_nxt = smp_load_acquire(&tcp->rcv_nxt);
        int where = mp_rx_where(&r->rx, tcp->copied_seq, rcv_nxt, &most);

        tell_sender(r);
        if (where < 0)
                fail(r->run, "the switch is nonsense", r->read);
        if (where == MP_READ_TCP)
                receive_by_tcp(r, most);
        else if (where == MP_READ_PIPE)
                receive_by_pipe(r);
        return where;
}

static void *receiver(void *arg) {
        Receiver *r = calloc(1, sizeof(*r));

        r->run = arg;
        r->random = ~r->run->seed;
        mp_rx_init(&r->rx, &mp_slot(r->run->base, 1, SLOT)->to_server, GEN, RIG_CHUNKS);
        mp_rx_attach(&r->rx);
        tell_sender(r);
        while (r->read < r->run->bytes) {
                if (receive(r) != MP_WAIT)
                        continue;
                mp_rx_arm(&r->rx);
                if (receive(r) == MP_WAIT) {
                        sleep_on_bell(r->run, RECEIVER, r->read, &r->counts);
                        answer_bell(r->run, RECEIVER);
                }
                mp_rx_disarm(&r->rx);
        }
        fprintf(stderr, "received %" PRIu64 " bytes, slept %" PRIu64 ", rang %" PRIu64 "\n", r->read,
                r->counts.sleeps, r->counts.rings);
        free(r);
        return NULL;
}

static void run_processes(Run *run) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                receiver(run);
                exit(EXIT_SUCCESS);
        }
        sender(run);
        if (waitpid(pid, &status, 0) != pid || status != 0)
                fail(run, "the receiver failed", 0);
}

static void run_threads(Run *run) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, receiver, run) != 0)
                fail(run, "pthread_create", 0);
        sender(run);
        pthread_join(thread, NULL);
}

static void run(uint64_t bytes, uint64_t seed, uint32_t n_chunks, bool threads) {
        int fd = memfd_create("mempipe-stress", MFD_CLOEXEC);
        Run r = { .bytes = bytes, .seed = seed, .n_chunks = n_chunks };

        fprintf(stderr, "%s, %u chunks, seed %" PRIu64 "\n", threads ? "threads" : "processes", n_chunks,
                seed);
        if (fd < 0 || ftruncate(fd, (off_t) rig_bytes()) < 0)
                fail(&r, "memfd", 0);
        r.base = rig_map(fd);
        r.shared = mmap(NULL, sizeof(*r.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        r.bell[SENDER] = eventfd(0, EFD_CLOEXEC);
        r.bell[RECEIVER] = eventfd(0, EFD_CLOEXEC);
        r.shared->tcp.write_seq = r.shared->tcp.rcv_nxt = r.shared->tcp.copied_seq = UINT32_MAX - 1000;
        (threads ? run_threads : run_processes)(&r);
        (void) munmap(r.shared, sizeof(*r.shared));
        rig_unmap(r.base);
        (void) close(r.bell[SENDER]);
        (void) close(r.bell[RECEIVER]);
        (void) close(fd);
}

int main(int argc, char **argv) {
        static const uint32_t n_chunks[] = { 1, 2, 5, 100 };
        uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 10) : 16,
                 seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

        for (int i = 0; i < 4; i++) {
#ifndef PLAIN_TSAN /* it sees the accesses of one process only */
                run(mib << 20, seed + (uint64_t) i, n_chunks[i], false);
#endif
                run(mib << 20, seed + (uint64_t) i, n_chunks[i], true);
        }
        return EXIT_SUCCESS;
}
