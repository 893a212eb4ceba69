/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bench mempipe-core: what MemPipe's ring costs by itself, without guests: two processes, each pinned on
 * a core of its own, one writes messages from a buffer, the other reads as many bytes at a time into a
 * buffer; beside it a pipe, a Unix socket and TCP over loopback doing the same, and memcpy alone.
 *
 *     mempipe-core [ROUNDS [PATH...]]
 *
 * The ring is the code that runs in mempipe.ko, told after each message as there, and large messages are
 * written past the caches, as the kernel's copy_from_iter_nocache does; who finds the ring full or empty
 * spins, where the others sleep in the kernel. memcpy is one core that copies messages from its cache to
 * its cache: as fast as a sender could be whom nobody reads. two-memcpy is what the ring has to do at
 * least: one core copies a message in, another copies it out, with a counter for each. Each number is the
 * best of ROUNDS, as other load only ever adds. */
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __x86_64__
#include <emmintrin.h>
#endif

#include "mempipe/core/region.h"
#include "mempipe/core/ring.h"
#include "mempipe/core/wake.h"

#define CHUNKS 32u /* 2 MiB: what a pipe gets that has some demand; the others may have about as much */
#define NOCACHE_BYTES 4096 /* below, what is written is read so soon that it is better left in a cache */
#define ROUND_NSEC 200000000
#define PILOT_NSEC 20000000
#define SIZE_MOST (1u << 20)

static int cpus[2]; /* of the sender, of the receiver */

typedef struct Transfer {
        uint32_t size;
        uint64_t n;
        void *base;
        int fds[2]; /* of the sender, of the receiver */
        uint8_t *buffer;
        uint64_t *end_nsec; /* shared: when the receiver had all */
} Transfer;

typedef struct Path {
        const char *name;
        void (*open)(Transfer *t);
        void (*send)(Transfer *t);
        void (*receive)(Transfer *t); /* NULL: there is none */
} Path;

static uint64_t now_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

static void pin(int cpu) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set) < 0)
                err(EXIT_FAILURE, "sched_setaffinity");
}

static void find_cpus(void) {
        int n = 0;
        cpu_set_t set;

        if (sched_getaffinity(0, sizeof(set), &set) < 0)
                err(EXIT_FAILURE, "sched_getaffinity");
        for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
                if (CPU_ISSET(cpu, &set))
                        cpus[n++] = cpu;
        if (n < 2)
                errx(EXIT_FAILURE, "Two processors are needed, this process may use %d.", n);
}

static inline void spin(void) {
#ifdef __x86_64__
        __builtin_ia32_pause();
#endif
}

static void *map_shared(size_t bytes) {
        void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (base == MAP_FAILED)
                err(EXIT_FAILURE, "mmap");
        return base;
}

/* Page faults are not what is measured: each process takes those of the chunks before it begins. */
static void touch_chunks(Transfer *t) {
        for (size_t at = 0; at < CHUNKS << MLG_PIPE_CHUNK_SHIFT; at += 4096)
                (void) READ_ONCE(mp_chunk(t->base, 0)[at]);
}

/* --- mempipe --- */

/* Lines that another core has written and still holds come from there more slowly than from memory. */
static void copy_in(uint8_t *to, const uint8_t *from, uint32_t bytes) {
#ifdef __x86_64__
        if (bytes >= NOCACHE_BYTES && ((uintptr_t) to | bytes) % 8 == 0) {
                for (uint32_t i = 0; i < bytes; i += 8) {
                        long long word;

                        memcpy(&word, from + i, 8);
                        _mm_stream_si64((long long *) (to + i), word);
                }
                _mm_sfence(); /* before tail */
                return;
        }
#endif
        memcpy(to, from, bytes);
}

static void ring_open(Transfer *t) {
        memset(mp_slot(t->base, 1, 0), 0, sizeof(struct mlg_pipe_slot));
}

static void ring_send(Transfer *t) {
        struct mlg_pipe_pair *pair = mp_pair(t->base, 1, 2);
        uint32_t free[CHUNKS], n_free = 0;
        struct mp_span span;
        struct mp_tx tx;

        mp_tx_init(&tx, &mp_slot(t->base, 1, 0)->to_server, 1);
        for (; n_free < CHUNKS; n_free++)
                free[n_free] = n_free;
        for (uint64_t i = 0; i < t->n; i++)
                for (uint32_t done = 0; done < t->size;) {
                        if (mp_tx_span(&tx, &span) == 0) {
                                while (mp_tx_reclaim(&tx, false, &free[n_free]))
                                        n_free++;
                                if (n_free > 0)
                                        mp_tx_give(&tx, free[--n_free]);
                                else
                                        spin();
                                continue;
                        }
                        span.bytes = plain_min(span.bytes, t->size - done);
                        copy_in(mp_chunk(t->base, span.chunk) + span.offset, t->buffer + done, span.bytes);
                        mp_tx_commit(&tx, span.bytes);
                        (void) mp_tx_tell(&tx, pair, 0);
                        done += span.bytes;
                }
}

static void ring_receive(Transfer *t) {
        struct mlg_pipe_pair *pair = mp_pair(t->base, 2, 1);
        struct mp_span span;
        struct mp_rx rx;

        mp_rx_init(&rx, &mp_slot(t->base, 1, 0)->to_server, 1, CHUNKS);
        for (uint64_t i = 0; i < t->n; i++)
                for (uint32_t done = 0; done < t->size;) {
                        if (mp_rx_span(&rx, 0, &span) == 0) {
                                spin();
                                continue;
                        }
                        span.bytes = plain_min(span.bytes, t->size - done);
                        memcpy(t->buffer + done, mp_chunk(t->base, span.chunk) + span.offset, span.bytes);
                        mp_rx_consume(&rx, span.bytes);
                        (void) mp_rx_tell(&rx, pair, 0);
                        done += span.bytes;
                }
}

/* --- the kernel's --- */

static void pipe_open(Transfer *t) {
        int fds[2];

        if (pipe(fds) < 0)
                err(EXIT_FAILURE, "pipe");
        (void) fcntl(fds[0], F_SETPIPE_SZ, 1 << 20); /* as much as it takes */
        t->fds[0] = fds[1];
        t->fds[1] = fds[0];
}

static void unix_open(Transfer *t) {
        int bytes = CHUNKS << MLG_PIPE_CHUNK_SHIFT;

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, t->fds) < 0)
                err(EXIT_FAILURE, "socketpair");
        (void) setsockopt(t->fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

static void tcp_open(Transfer *t) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(address);
        int listener = socket(AF_INET, SOCK_STREAM, 0);

        t->fds[0] = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(listener, (struct sockaddr *) &address, len) < 0 || listen(listener, 1) < 0 ||
            getsockname(listener, (struct sockaddr *) &address, &len) < 0 ||
            connect(t->fds[0], (struct sockaddr *) &address, len) < 0)
                err(EXIT_FAILURE, "TCP over loopback");
        t->fds[1] = accept(listener, NULL, NULL);
        if (t->fds[1] < 0)
                err(EXIT_FAILURE, "accept");
        (void) close(listener);
}

static void fd_send(Transfer *t) {
        for (uint64_t i = 0; i < t->n; i++)
                for (size_t done = 0; done < t->size;) {
                        ssize_t n = write(t->fds[0], t->buffer + done, t->size - done);

                        if (n < 0)
                                err(EXIT_FAILURE, "write");
                        done += (size_t) n;
                }
}

/* Reads are as large as messages, but need not begin where one does. */
static void fd_receive(Transfer *t) {
        for (uint64_t left = t->n * t->size; left > 0;) {
                ssize_t n = read(t->fds[1], t->buffer, t->size);

                if (n <= 0)
                        err(EXIT_FAILURE, "read");
                left -= (uint64_t) n;
        }
}

/* --- memcpy --- */

static void nothing_to_open(Transfer *t) {
        (void) t;
}

static void copy_only(Transfer *t) {
        uint8_t *to = mp_chunk(t->base, 0);
        size_t offset = 0;

        for (uint64_t i = 0; i < t->n; i++) {
                memcpy(to + offset, t->buffer, t->size);
                __asm__ volatile("" ::: "memory"); /* each of them is made */
                offset = (offset + t->size) % (CHUNKS << MLG_PIPE_CHUNK_SHIFT);
        }
}

/* Messages written and read, in words of a slot that the ring uses otherwise. */
static u64 *count_of(Transfer *t, int which) {
        return (u64 *) &mp_slot(t->base, 1, 0)->to_server + which * 8L;
}

static uint8_t *place_of(Transfer *t, uint64_t i) {
        return mp_chunk(t->base, 0) + i * t->size % (CHUNKS << MLG_PIPE_CHUNK_SHIFT);
}

static void two_send(Transfer *t) {
        uint64_t room = (CHUNKS << MLG_PIPE_CHUNK_SHIFT) / t->size, seen = 0;

        for (uint64_t i = 0; i < t->n; i++) {
                while (i - seen == room) {
                        spin();
                        seen = smp_load_acquire(count_of(t, 1));
                }
                copy_in(place_of(t, i), t->buffer, t->size);
                smp_store_release(count_of(t, 0), i + 1);
        }
}

static void two_receive(Transfer *t) {
        uint64_t seen = 0;

        for (uint64_t i = 0; i < t->n; i++) {
                while (i == seen) {
                        spin();
                        seen = smp_load_acquire(count_of(t, 0));
                }
                memcpy(t->buffer, place_of(t, i), t->size);
                smp_store_release(count_of(t, 1), i + 1);
        }
}

static const Path paths[] = {
        { "mempipe", ring_open, ring_send, ring_receive },
        { "pipe", pipe_open, fd_send, fd_receive },
        { "unix", unix_open, fd_send, fd_receive },
        { "tcp", tcp_open, fd_send, fd_receive },
        { "memcpy", nothing_to_open, copy_only, NULL },
        { "two-memcpy", ring_open, two_send, two_receive },
};

static void start_receiver(const Path *path, Transfer *t) {
        int ready[2];
        char byte = 0;

        if (pipe(ready) < 0)
                err(EXIT_FAILURE, "pipe");
        switch (fork()) {
        case -1:
                err(EXIT_FAILURE, "fork");
        case 0:
                pin(cpus[1]);
                memset(t->buffer, 0, t->size); /* its own copy of the pages */
                touch_chunks(t);
                if (write(ready[1], &byte, 1) != 1)
                        err(EXIT_FAILURE, "write");
                path->receive(t);
                *t->end_nsec = now_nsec();
                _exit(EXIT_SUCCESS);
        }
        if (read(ready[0], &byte, 1) != 1)
                errx(EXIT_FAILURE, "The receiver did not begin.");
        (void) close(ready[0]);
        (void) close(ready[1]);
}

/* From the first message until the receiver has the last; nanoseconds. */
static uint64_t transfer(const Path *path, Transfer *t) {
        uint64_t begin;
        int status;

        t->fds[0] = t->fds[1] = -1;
        path->open(t);
        if (path->receive)
                start_receiver(path, t);
        begin = now_nsec();
        path->send(t);
        if (!path->receive)
                *t->end_nsec = now_nsec();
        else if (wait(&status) < 0 || status != 0)
                errx(EXIT_FAILURE, "%s: the receiver failed.", path->name);
        for (int i = 0; i < 2; i++)
                if (t->fds[i] >= 0)
                        (void) close(t->fds[i]);
        return *t->end_nsec - begin;
}

/* Nanoseconds per message. */
static double measure(const Path *path, Transfer *t, int rounds) {
        double best = 0;
        uint64_t nsec;

        for (t->n = 16; (nsec = transfer(path, t)) < PILOT_NSEC; t->n *= 4)
                ;
        t->n = t->n * ROUND_NSEC / nsec + 1;
        for (int i = 0; i < rounds; i++) {
                double each = (double) transfer(path, t) / (double) t->n;

                if (i == 0 || each < best)
                        best = each;
        }
        return best;
}

static bool is_wanted(const char *name, char **names) {
        bool wanted = !*names;

        for (; *names; names++)
                wanted |= strcmp(*names, name) == 0;
        return wanted;
}

int main(int argc, char **argv) {
        static const uint32_t sizes[] = { 64, 1024, 16384, 65536, SIZE_MOST };
        int rounds = argc > 1 ? atoi(argv[1]) : 5;
        Transfer t = { .buffer = aligned_alloc(4096, SIZE_MOST) };
        const char *separator = "";

        if (rounds < 1 || !t.buffer)
                errx(EXIT_FAILURE, "usage: mempipe-core [ROUNDS [PATH...]]");
        find_cpus();
        pin(cpus[0]);
        memset(t.buffer, 1, SIZE_MOST);
        t.base = map_shared(MLG_PIPE_CHUNKS_AT + ((size_t) CHUNKS << MLG_PIPE_CHUNK_SHIFT));
        t.end_nsec = map_shared(sizeof(*t.end_nsec));
        memset(mp_chunk(t.base, 0), 1, CHUNKS << MLG_PIPE_CHUNK_SHIFT);
        printf("{\"bench\": \"mempipe-core\", \"rows\": [");
        for (size_t p = 0; p < sizeof(paths) / sizeof(paths[0]); p++)
                for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
                        double nsec;

                        if (!is_wanted(paths[p].name, argv + (argc > 1 ? 2 : 1)))
                                continue;
                        t.size = sizes[s];
                        nsec = measure(&paths[p], &t, rounds);
                        fprintf(stderr, "%-10s %8u bytes: %8.2f GB/s, %9.0f ns per message\n", paths[p].name,
                                t.size, t.size / nsec, nsec);
                        printf("%s{\"path\": \"%s\", \"size_bytes\": %u, "
                               "\"gb_per_s\": %.3f, \"ns_per_msg\": %.1f}",
                               separator, paths[p].name, t.size, t.size / nsec, nsec);
                        separator = ", ";
                }
        printf("]}\n");
        return EXIT_SUCCESS;
}
