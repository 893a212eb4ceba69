/* SPDX-License-Identifier: GPL-2.0-or-later */
/* manyconn: many TCP connections at once, a little on each, all of it compared.
 *
 *     manyconn serve PORT                        sends back what comes
 *     manyconn run ADDRESS PORT NUMBER ROUNDS    opens all, sends on all and reads from all, ROUNDS times
 *
 * The client says "open NUMBER seconds=..." and "ok rounds=... seconds=...", or what was wrong, and then keeps
 * the connections until it is killed. They then end by RST: one packet each. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 700 /* a round's bytes on each connection: they go by TCP at first, by the pipe if there is one */
#define FDS_MOST 65000
#define EVENTS 256

static _Noreturn void die(const char *what) {
        fprintf(stderr, "manyconn: %s: %s\n", what, strerror(errno));
        exit(2);
}

static double now_sec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

/* Each connection and round has bytes of its own. */
static void fill(uint8_t *p, uint32_t connection, uint32_t round) {
        for (uint32_t i = 0; i < BLOCK; i++)
                p[i] = (uint8_t) (connection * 31 + round * 17 + i + (connection >> 8));
}

static void allow_many(void) {
        struct rlimit l = { FDS_MOST, FDS_MOST };

        if (setrlimit(RLIMIT_NOFILE, &l) < 0)
                die("so many descriptors");
}

/* ---- the server */

/* There is room for some rounds in any buffer, so a send of so little never waits. */
static void echo(int fd) {
        uint8_t buffer[4 * BLOCK];
        ssize_t n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);

        if (n > 0 && send(fd, buffer, (size_t) n, MSG_NOSIGNAL) == n)
                return;
        if (n < 0 && errno == EAGAIN)
                return;
        close(fd);
}

/* Clients end by resets, which nobody sends again: of ten thousand at once one may be lost on the way, and who has nothing to send would
 * wait for that client for ever. */
static void look_after(int listener) { /* and what it accepts */
        static const int on = 1, idle_sec = 20, between_sec = 5;

        if (setsockopt(listener, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
            setsockopt(listener, IPPROTO_TCP, TCP_KEEPIDLE, &idle_sec, sizeof(idle_sec)) < 0 ||
            setsockopt(listener, IPPROTO_TCP, TCP_KEEPINTVL, &between_sec, sizeof(between_sec)) < 0)
                die("keep-alive");
}

static void accept_all(int listener, int epoll) {
        struct epoll_event e = { .events = EPOLLIN };

        while ((e.data.fd = accept(listener, NULL, NULL)) >= 0)
                if (epoll_ctl(epoll, EPOLL_CTL_ADD, e.data.fd, &e) < 0)
                        die("epoll_ctl");
        if (errno != EAGAIN)
                die("accept");
}

static _Noreturn void serve(uint16_t port) {
        int l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1, p = epoll_create1(0);
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
        struct epoll_event e = { .events = EPOLLIN, .data.fd = l }, ready[EVENTS];

        setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        look_after(l);
        if (bind(l, (struct sockaddr *) &a, sizeof(a)) < 0 || listen(l, 4096) < 0 ||
            epoll_ctl(p, EPOLL_CTL_ADD, l, &e) < 0)
                die("listen");
        for (;;) {
                int n = epoll_wait(p, ready, EVENTS, -1);

                for (int i = 0; i < n; i++)
                        if (ready[i].data.fd == l)
                                accept_all(l, p);
                        else
                                echo(ready[i].data.fd);
        }
}

/* ---- the client */

static int open_one(const struct sockaddr_in *to) {
        const struct linger reset = { .l_onoff = 1 };
        int fd = socket(AF_INET, SOCK_STREAM, 0);

        if (fd < 0 || connect(fd, (const struct sockaddr *) to, sizeof(*to)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0)
                die("connect");
        return fd;
}

static void run_round(const int *fds, uint32_t n, uint32_t round) {
        uint8_t want[BLOCK], got[BLOCK];

        for (uint32_t i = 0; i < n; i++) {
                fill(want, i, round);
                if (send(fds[i], want, BLOCK, MSG_NOSIGNAL) != BLOCK)
                        die("send");
        }
        for (uint32_t i = 0; i < n; i++) {
                fill(want, i, round);
                if (recv(fds[i], got, BLOCK, MSG_WAITALL) != BLOCK)
                        die("recv");
                if (memcmp(want, got, BLOCK) != 0) {
                        fprintf(stderr, "manyconn: wrong bytes on connection %u, round %u\n", i, round);
                        exit(1);
                }
        }
}

static _Noreturn void run(const char *address, uint16_t port, uint32_t n, uint32_t rounds) {
        struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
        int *fds = calloc(n, sizeof(*fds));
        double begin = now_sec();

        if (!fds || inet_pton(AF_INET, address, &to.sin_addr) != 1)
                die(address);
        for (uint32_t i = 0; i < n; i++)
                fds[i] = open_one(&to);
        printf("open %u seconds=%.1f\n", n, now_sec() - begin);
        begin = now_sec();
        for (uint32_t r = 0; r < rounds; r++)
                run_round(fds, n, r);
        printf("ok rounds=%u seconds=%.1f\n", rounds, now_sec() - begin);
        for (;;)
                pause();
}

int main(int argc, char **argv) {
        setvbuf(stdout, NULL, _IOLBF, 0);
        allow_many();
        if (argc == 3 && strcmp(argv[1], "serve") == 0)
                serve((uint16_t) atoi(argv[2]));
        if (argc == 6 && strcmp(argv[1], "run") == 0)
                run(argv[2], (uint16_t) atoi(argv[3]), (uint32_t) atoi(argv[4]), (uint32_t) atoi(argv[5]));
        fprintf(stderr, "usage: see the head of manyconn.c\n");
        return 2;
}
