/* SPDX-License-Identifier: GPL-2.0-or-later */
/* netload: how fast bytes, requests and connections go between two machines by TCP.
 *
 *     netload serve PORT                              runs until it is killed
 *     netload stream ADDRESS PORT SIZE SECONDS        writes of SIZE bytes, one way
 *     netload rr ADDRESS PORT SIZE SECONDS            SIZE bytes there and back, one after the other
 *     netload connect ADDRESS PORT SECONDS            connect, one byte there and back, close
 *     netload vary ADDRESS PORT STREAMS SECONDS       so many streams at once whose load changes, see vary()
 *
 * The client prints KEY=VALUE words: mb_per_s (10^6 bytes), per_s, p50_us, p99_us, cpu_s_per_gb: CPU time of both machines, all
 * that was not idle, per 10^9 bytes. What is measured begins after WARM_SEC, so that a connection has come to its own. */
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

#include "load.h"

#define SIZE_MAX_BYTES (4u << 20)

/* What a client wants, on a connection of its own that also brings back the server's CPU time. */
typedef struct Order {
        char kind; /* s: take what comes, v: the same in pieces of size, r: send it back in pieces of size, c: the same of connections, o: this is a control */
        uint32_t size;
} Order;

static char *buffer;

static bool move_all(int fd, void *p, size_t n, bool out) {
        while (n > 0) {
                ssize_t r = out ? send(fd, p, n, MSG_NOSIGNAL) : recv(fd, p, n, 0);

                if (r <= 0)
                        return false;
                p = (char *) p + r;
                n -= (size_t) r;
        }
        return true;
}

static int connect_to(const char *address, const char *port, char kind, uint32_t size) {
        int fd = open_to(address, port, SOCK_STREAM), one = 1;
        Order o = { kind, size };

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (!move_all(fd, &o, sizeof(o), true))
                die("send");
        return fd;
}

static int64_t other_busy_usec(int control) {
        int64_t usec;
        char c = '?';

        if (!move_all(control, &c, 1, true) || !move_all(control, &usec, sizeof(usec), false))
                die("control");
        return usec;
}

static void serve_one(int fd) {
        int64_t usec;
        Order o;
        int one = 1;
        char c;

        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (!move_all(fd, &o, sizeof(o), false) || o.size > SIZE_MAX_BYTES)
                return;
        switch (o.kind) {
        case 's':
                while (recv(fd, buffer, SIZE_MAX_BYTES, 0) > 0)
                        ;
                return;
        case 'v':
                while (recv(fd, buffer, o.size, 0) > 0)
                        ;
                return;
        case 'r':
                while (move_all(fd, buffer, o.size, false) && move_all(fd, buffer, o.size, true))
                        ;
                return;
        case 'o':
                while (move_all(fd, &c, 1, false)) {
                        usec = busy_usec();
                        if (!move_all(fd, &usec, sizeof(usec), true))
                                return;
                }
                return;
        }
}

static _Noreturn void serve(const char *port) {
        struct sockaddr_in6 any = any_address(port);
        int one = 1, listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

        signal(SIGCHLD, SIG_IGN);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (bind(listener, (struct sockaddr *) &any, sizeof(any)) < 0 || listen(listener, 128) < 0)
                die("listen");
        for (;;) {
                int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                Order o;

                if (fd < 0)
                        continue;
                /* short connections are served here: a fork for each would be most of what is measured */
                if (recv(fd, &o, sizeof(o), MSG_PEEK | MSG_WAITALL) == sizeof(o) && o.kind == 'c') {
                        (void) (move_all(fd, &o, sizeof(o), false) && move_all(fd, buffer, 1, true));
                } else if (fork() == 0) {
                        serve_one(fd);
                        _exit(0);
                }
                close(fd);
        }
}

static void stream(int fd, int control, uint32_t size, int seconds) {
        int64_t begin, end, cpu;
        uint64_t bytes = 0;

        for (end = now_usec() + WARM_SEC * 1000000; now_usec() < end;)
                if (!move_all(fd, buffer, size, true))
                        die("send");
        cpu = busy_usec() + other_busy_usec(control);
        begin = now_usec();
        for (end = begin + seconds * 1000000ll; now_usec() < end;)
                for (int i = 0; i < 16; i++, bytes += size)
                        if (!move_all(fd, buffer, size, true))
                                die("send");
        end = now_usec();
        cpu = busy_usec() + other_busy_usec(control) - cpu;
        printf("mb_per_s=%.1f per_s=%.0f cpu_s_per_gb=%.3f\n", (double) bytes / (double) (end - begin),
               (double) bytes / size * 1e6 / (double) (end - begin), (double) cpu * 1e3 / (double) bytes);
}

static void request_response(int fd, uint32_t size, int seconds) {
        static uint32_t times[SAMPLES_MAX];
        int64_t begin = now_usec() + WARM_SEC * 1000000, end = begin + seconds * 1000000ll, t = 0;
        size_t n = 0;

        while (t < end && n < SAMPLES_MAX) {
                int64_t from = now_usec();

                if (!move_all(fd, buffer, size, true) || !move_all(fd, buffer, size, false))
                        die("request");
                t = now_usec();
                if (from >= begin)
                        times[n++] = (uint32_t) (t - from);
        }
        tell_times(times, n, t - begin);
        putchar('\n');
}

static void connections(const char *address, const char *port, int seconds) {
        static uint32_t times[SAMPLES_MAX];
        int64_t begin = now_usec(), end = begin + seconds * 1000000ll, t = begin;
        size_t n = 0;

        while (t < end && n < SAMPLES_MAX) {
                int64_t from = t;
                int fd = connect_to(address, port, 'c', 1);

                if (!move_all(fd, buffer, 1, false))
                        die("answer");
                close(fd);
                t = now_usec();
                times[n++] = (uint32_t) (t - from);
        }
        tell_times(times, n, t - begin);
        putchar('\n');
}

#define STREAMS_MAX 256

/* What a stream does for a while, half a second on the average. */
typedef struct Phase {
        int64_t until;
        enum { REST, TRICKLE, BURST } kind; /* nothing; 100 bytes each millisecond; as much as goes */
} Phase;

static uint64_t next_random(uint64_t *state) { /* xorshift64: the same in each run */
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

static uint64_t step(int fd, const Phase *phase, bool ready) {
        ssize_t n = 0;

        if (phase->kind == TRICKLE)
                n = send(fd, buffer, 100, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (phase->kind == BURST && ready)
                n = send(fd, buffer, 256 * 1024, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
                die("send");
        return n > 0 ? (uint64_t) n : 0;
}

static void vary(const char *address, const char *port, uint32_t n, int seconds) {
        static struct pollfd fds[STREAMS_MAX];
        static Phase phases[STREAMS_MAX];
        uint64_t random = 88172645463325252ull, bytes = 0;
        int64_t begin, end, now;

        for (uint32_t i = 0; i < n; i++)
                fds[i].fd = connect_to(address, port, 'v', 65536);
        begin = now = now_usec();
        for (end = begin + seconds * 1000000ll; now < end; now = now_usec()) {
                for (uint32_t i = 0; i < n; i++) {
                        if (now >= phases[i].until)
                                phases[i] = (Phase) { now + (int64_t) (next_random(&random) % 1000000),
                                                      next_random(&random) % 3 };
                        fds[i].events = phases[i].kind == BURST ? POLLOUT : 0;
                }
                if (poll(fds, n, 1) < 0)
                        die("poll");
                for (uint32_t i = 0; i < n; i++)
                        bytes += step(fds[i].fd, &phases[i], fds[i].revents & POLLOUT);
        }
        printf("mb_per_s=%.1f\n", (double) bytes / (double) (now - begin));
}

int main(int argc, char **argv) {
        uint32_t size = argc == 6 ? (uint32_t) atoi(argv[4]) : 1;
        int control;

        buffer = calloc(1, SIZE_MAX_BYTES);
        if (argc == 3 && strcmp(argv[1], "serve") == 0)
                serve(argv[2]);
        if (argc < 5 || size == 0 || size > SIZE_MAX_BYTES) {
                fprintf(stderr, "netload serve PORT | stream|rr ADDRESS PORT SIZE SECONDS | connect ADDRESS PORT SECONDS |"
                                " vary ADDRESS PORT STREAMS SECONDS\n");
                return 2;
        }
        if (strcmp(argv[1], "connect") == 0) {
                connections(argv[2], argv[3], atoi(argv[4]));
                return 0;
        }
        if (strcmp(argv[1], "vary") == 0) {
                vary(argv[2], argv[3], size < STREAMS_MAX ? size : STREAMS_MAX, atoi(argv[5]));
                return 0;
        }
        control = connect_to(argv[2], argv[3], 'o', 1);
        if (strcmp(argv[1], "stream") == 0)
                stream(connect_to(argv[2], argv[3], 's', size), control, size, atoi(argv[5]));
        else
                request_response(connect_to(argv[2], argv[3], 'r', size), size, atoi(argv[5]));
        return 0;
}
