/* SPDX-License-Identifier: GPL-2.0-or-later */
/* pipestream: bytes both ways at once over TCP, every one of them compared.
 *
 *     pipestream serve PORT
 *     pipestream run ADDRESS PORT MIB SEED [poll|fork]
 *     pipestream hold ADDRESS PORT SEC    a byte there and back each 100 ms; says how that ended
 *     pipestream pour MIB SEED            the same bytes to stdout, for other programs to carry
 *     pipestream drink MIB SEED           from stdin, and then its end
 *
 * Sizes of writes and reads are random, from a byte to 256 KiB. With "poll" one thread does both by
 * non-blocking calls, with "fork" a child writes and its parent reads, both blocking. The client closes its
 * direction first; the server then says by a last byte whether all that it got was right. The client prints
 * "ok MIB=... seconds=..." or what was wrong. SEC is TCP_USER_TIMEOUT. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE_MAX (256u * 1024)
#define MIB (UINT64_C(1) << 20)

typedef struct Order {
        uint64_t bytes;
        uint32_t seed;
        uint32_t forked;
} Order;

typedef struct Stream {
        int fd;
        uint64_t seed, position, bytes;
        uint64_t random; /* for sizes */
} Stream;

static uint8_t buffer_out[PIECE_MAX + 8], buffer_in[PIECE_MAX];

static _Noreturn void die(const char *what) {
        fprintf(stderr, "pipestream: %s: %s\n", what, strerror(errno));
        exit(2);
}

static uint64_t mix(uint64_t x) { /* splitmix64 */
        x += UINT64_C(0x9e3779b97f4a7c15);
        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        return x ^ (x >> 31);
}

/* Eight bytes of a stream at once: what a byte is depends on its place alone. */
static uint64_t word_at(uint64_t seed, uint64_t index) {
        return mix(seed * UINT64_C(0x2545f4914f6cdd1d) + index);
}

static uint8_t byte_at(uint64_t seed, uint64_t position) {
        return (uint8_t) (word_at(seed, position / 8) >> (position % 8 * 8));
}

/* Mostly small and large ones, few in between: 2^0 .. 2^18 with all exponents equal. */
static size_t next_size(Stream *s) {
        s->random = mix(s->random);
        return 1 + s->random / 32 % (UINT64_C(1) << (s->random % 19));
}

static size_t fill(Stream *s, uint8_t *to) {
        size_t n = next_size(s), i = 0;

        if (n > s->bytes - s->position)
                n = (size_t) (s->bytes - s->position);
        while (i < n && (s->position + i) % 8) {
                to[i] = byte_at(s->seed, s->position + i);
                i++;
        }
        for (; i < n; i += 8) { /* the buffer has room for a whole last word */
                uint64_t w = word_at(s->seed, (s->position + i) / 8);

                memcpy(to + i, &w, 8);
        }
        return n;
}

static void compare(Stream *s, const uint8_t *got, size_t n) {
        for (size_t i = 0; i < n; i++) {
                uint64_t place = s->position + i, word = word_at(s->seed, place / 8);
                uint8_t want = (uint8_t) (word >> (place % 8 * 8));

                if (place % 8 == 0 && n - i >= 8 && memcmp(got + i, &word, 8) == 0) {
                        i += 7;
                        continue;
                }
                if (got[i] != want) {
                        fprintf(stderr, "pipestream: byte %llu is %02x, not %02x\n",
                                (unsigned long long) place, got[i], want);
                        exit(1);
                }
        }
        s->position += n;
}

static void read_all(int fd, void *p, size_t n) {
        ssize_t r = recv(fd, p, n, MSG_WAITALL);

        if (r != (ssize_t) n) {
                if (r >= 0)
                        errno = EPIPE;
                die("a message of the other end");
        }
}

/* One write of what is left; false: it would block. */
static bool write_some(Stream *s) {
        static size_t n, done; /* what was filled and not taken yet */
        ssize_t r;

        if (done == n) {
                n = fill(s, buffer_out);
                done = 0;
        }
        r = send(s->fd, buffer_out + done, n - done, MSG_NOSIGNAL);
        if (r < 0 && errno == EAGAIN)
                return false;
        if (r < 0)
                die("send");
        done += (size_t) r;
        s->position += (uint64_t) r;
        return true;
}

/* One read; false: it would block. An early end is an error. */
static bool read_some(Stream *s) {
        size_t n = next_size(s);
        ssize_t r;

        if (n > s->bytes - s->position)
                n = (size_t) (s->bytes - s->position);
        if (s->random >> 60 == 0 && recv(s->fd, buffer_in, n, MSG_PEEK | MSG_DONTWAIT) > 0 &&
            buffer_in[0] != byte_at(s->seed, s->position)) {
                fprintf(stderr, "pipestream: peeked at byte %llu: it is wrong\n",
                        (unsigned long long) s->position);
                exit(1);
        }
        r = recv(s->fd, buffer_in, n, 0);
        if (r < 0 && errno == EAGAIN)
                return false;
        if (r <= 0) {
                if (r == 0)
                        errno = EPIPE;
                die("recv");
        }
        compare(s, buffer_in, (size_t) r);
        return true;
}

static void both_by_poll(Stream *out, Stream *in) {
        fcntl(out->fd, F_SETFL, O_NONBLOCK);
        while (out->position < out->bytes || in->position < in->bytes) {
                struct pollfd p = { .fd = out->fd };

                p.events = (short) ((out->position < out->bytes ? POLLOUT : 0) |
                                    (in->position < in->bytes ? POLLIN : 0));
                if (poll(&p, 1, 60000) <= 0)
                        die("poll");
                if (p.revents & POLLOUT && out->position < out->bytes)
                        (void) write_some(out);
                if (p.revents & (POLLIN | POLLERR | POLLHUP) && in->position < in->bytes)
                        (void) read_some(in);
        }
        fcntl(out->fd, F_SETFL, 0);
}

static void both_by_fork(Stream *out, Stream *in) {
        pid_t child = fork();
        int status;

        if (child < 0)
                die("fork");
        if (child == 0) {
                while (out->position < out->bytes)
                        (void) write_some(out);
                _exit(0);
        }
        while (in->position < in->bytes)
                (void) read_some(in);
        if (waitpid(child, &status, 0) != child || status != 0)
                die("the writing child");
}

static void both(int fd, const Order *o, bool server) {
        Stream out = { .fd = fd,
                       .seed = o->seed * 2 + server,
                       .bytes = o->bytes,
                       .random = mix(o->seed + 10u + server) };
        Stream in = { .fd = fd,
                      .seed = o->seed * 2 + !server,
                      .bytes = o->bytes,
                      .random = mix(o->seed + 20u + server) };

        if (o->forked)
                both_by_fork(&out, &in);
        else
                both_by_poll(&out, &in);
}

static void expect_end(int fd) {
        char c;

        if (recv(fd, &c, 1, 0) != 0) {
                fprintf(stderr, "pipestream: no end where the stream should end\n");
                exit(1);
        }
}

static void serve_one(int fd) {
        Order o;

        read_all(fd, &o, sizeof(o));
        if (o.bytes == 0) { /* hold: an echo */
                char c;

                while (recv(fd, &c, 1, 0) == 1 && send(fd, &c, 1, MSG_NOSIGNAL) == 1)
                        ;
                exit(0);
        }
        both(fd, &o, true);
        expect_end(fd);
        if (send(fd, "Y", 1, MSG_NOSIGNAL) != 1)
                die("send");
        exit(0);
}

static void serve(uint16_t port) {
        int l = socket(AF_INET6, SOCK_STREAM, 0), on = 1, fd;
        struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

        setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(l, (struct sockaddr *) &a, sizeof(a)) < 0 || listen(l, 64) < 0)
                die("listen");
        signal(SIGCHLD, SIG_IGN);
        while ((fd = accept(l, NULL, NULL)) >= 0) {
                if (fork() == 0) {
                        close(l);
                        signal(SIGCHLD, SIG_DFL);
                        serve_one(fd);
                }
                close(fd);
        }
        die("accept");
}

static int connect_to(const char *address, uint16_t port) {
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
        struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
        bool v6 = strchr(address, ':');
        int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0), r;

        if (inet_pton(v6 ? AF_INET6 : AF_INET, address,
                      v6 ? (void *) &a6.sin6_addr : (void *) &a.sin_addr) != 1)
                die(address);
        r = v6 ? connect(fd, (struct sockaddr *) &a6, sizeof(a6))
               : connect(fd, (struct sockaddr *) &a, sizeof(a));
        if (r < 0)
                die("connect");
        return fd;
}

static double now_sec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static void run(int fd, const Order *o) {
        double begin = now_sec();
        char verdict;

        if (send(fd, o, sizeof(*o), MSG_NOSIGNAL) != sizeof(*o))
                die("send");
        both(fd, o, false);
        shutdown(fd, SHUT_WR);
        read_all(fd, &verdict, 1);
        expect_end(fd);
        if (verdict != 'Y')
                die("the other end's verdict");
        printf("ok MIB=%llu seconds=%.2f\n", (unsigned long long) (o->bytes / MIB), now_sec() - begin);
}

static void hold(int fd, int timeout_sec) {
        unsigned timeout = (unsigned) timeout_sec * 1000;
        Order o = { 0 };
        char c = 'x';
        double begin = now_sec();

        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
        if (send(fd, &o, sizeof(o), MSG_NOSIGNAL) != sizeof(o))
                die("send");
        for (;;) {
                ssize_t r = send(fd, &c, 1, MSG_NOSIGNAL);

                if (r == 1)
                        r = recv(fd, &c, 1, 0);
                if (r != 1) {
                        printf("ended %s after %.1f s\n", r == 0 ? "EOF" : strerrorname_np(errno),
                               now_sec() - begin);
                        return;
                }
                usleep(100000);
        }
}

static void pour(Stream *out) {
        while (out->position < out->bytes) {
                size_t n = fill(out, buffer_out), done = 0;

                while (done < n) {
                        ssize_t r = write(STDOUT_FILENO, buffer_out + done, n - done);

                        if (r <= 0)
                                die("write");
                        done += (size_t) r;
                }
                out->position += n;
        }
}

static void drink(Stream *in) {
        double begin = now_sec();
        ssize_t r;

        while ((r = read(STDIN_FILENO, buffer_in, sizeof(buffer_in))) > 0)
                compare(in, buffer_in, (size_t) r);
        if (r < 0)
                die("read");
        if (in->position != in->bytes) {
                fprintf(stderr, "pipestream: %llu bytes, not %llu\n", (unsigned long long) in->position,
                        (unsigned long long) in->bytes);
                exit(1);
        }
        printf("ok MIB=%llu seconds=%.2f\n", (unsigned long long) (in->bytes / MIB), now_sec() - begin);
}

int main(int argc, char **argv) {
        setvbuf(stdout, NULL, _IOLBF, 0);
        if (argc == 3 && strcmp(argv[1], "serve") == 0) {
                serve((uint16_t) atoi(argv[2]));
        } else if (argc == 5 && strcmp(argv[1], "hold") == 0) {
                hold(connect_to(argv[2], (uint16_t) atoi(argv[3])), atoi(argv[4]));
        } else if (argc == 4 && (strcmp(argv[1], "pour") == 0 || strcmp(argv[1], "drink") == 0)) {
                Stream s = { .bytes = strtoull(argv[2], NULL, 10) * MIB, .seed = (uint64_t) atoi(argv[3]) };

                s.random = mix(s.seed);
                if (argv[1][0] == 'p')
                        pour(&s);
                else
                        drink(&s);
        } else if (argc >= 6 && strcmp(argv[1], "run") == 0) {
                Order o = { .bytes = strtoull(argv[4], NULL, 10) * MIB, .seed = (uint32_t) atoi(argv[5]) };

                o.forked = argc > 6 && strcmp(argv[6], "fork") == 0;
                run(connect_to(argv[2], (uint16_t) atoi(argv[3])), &o);
        } else {
                fprintf(stderr, "usage: see the head of pipestream.c\n");
                return 2;
        }
        return 0;
}
