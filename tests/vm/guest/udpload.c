/* SPDX-License-Identifier: GPL-2.0-or-later */
/* udpload: how fast datagrams and requests go between two machines by UDP.
 *
 *     udpload serve PORT                              runs until it is killed
 *     udpload stream ADDRESS PORT SIZE SECONDS        datagrams of SIZE bytes, one way, as fast as they are taken
 *     udpload rr ADDRESS PORT SIZE SECONDS            SIZE bytes there and back, one after the other
 *
 * The client prints KEY=VALUE words, as netload does: mb_per_s (10^6 bytes), per_s, p50_us, p99_us, cpu_s_per_gb; of a
 * stream, all of what arrived, and lost_pct. What is measured begins after WARM_SEC. */
#include <poll.h>
#include <string.h>

#include "load.h"

#define SIZE_MOST 65507u
#define LOST_MSEC 200 /* a request without an answer */
#define TRIES 25

/* The first byte of a datagram. */
#define STREAM 's'
#define REQUEST 'r'
#define QUESTION 'q'

typedef struct Seen {
        char kind; /* QUESTION */
        char pad[7];
        uint64_t n, bytes; /* of the stream, since the server began */
        int64_t busy_usec;
} Seen;

static char buffer[SIZE_MOST + 1];

static _Noreturn void serve(const char *port) {
        struct sockaddr_in6 any = any_address(port), from;
        int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        Seen seen = { .kind = QUESTION };

        if (bind(fd, (struct sockaddr *) &any, sizeof(any)) < 0)
                die("bind");
        for (;;) {
                socklen_t size = sizeof(from);
                ssize_t n = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *) &from, &size);

                if (n > 0 && buffer[0] == STREAM) {
                        seen.n++;
                        seen.bytes += (uint64_t) n;
                } else if (n > 0 && buffer[0] == REQUEST) {
                        sendto(fd, buffer, (size_t) n, 0, (struct sockaddr *) &from, size);
                } else if (n > 0 && buffer[0] == QUESTION) {
                        seen.busy_usec = busy_usec();
                        sendto(fd, &seen, sizeof(seen), 0, (struct sockaddr *) &from, size);
                }
        }
}

/* Datagrams may be lost, questions as well. */
static bool answer(int fd, char kind, void *ret, size_t size) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        while (poll(&p, 1, LOST_MSEC) > 0)
                if (recv(fd, ret, size, 0) > 0 && *(char *) ret == kind)
                        return true;
        return false;
}

static Seen ask(int fd) {
        Seen seen;
        char c = QUESTION;

        for (int i = 0; i < TRIES; i++)
                if (send(fd, &c, 1, 0) == 1 && answer(fd, QUESTION, &seen, sizeof(seen)))
                        return seen;
        die("no answer");
}

/* What is on its way arrives before the question that follows it, by either way. */
static void stream(int fd, int control, uint32_t size, int seconds) {
        int64_t begin, end, cpu;
        uint64_t n = 0, got;
        Seen first, last;

        for (end = now_usec() + WARM_SEC * 1000000; now_usec() < end;)
                (void) send(fd, buffer, size, 0);
        first = ask(control);
        cpu = busy_usec();
        begin = now_usec();
        for (end = begin + seconds * 1000000ll; now_usec() < end;)
                for (int i = 0; i < 16; i++)
                        n += send(fd, buffer, size, 0) == (ssize_t) size;
        end = now_usec();
        last = ask(control);
        cpu = busy_usec() - cpu + last.busy_usec - first.busy_usec;
        got = last.n - first.n;
        printf("mb_per_s=%.1f per_s=%.0f cpu_s_per_gb=%.3f lost_pct=%.1f\n", (double) (got * size) / (double) (end - begin),
               (double) got * 1e6 / (double) (end - begin), got ? (double) cpu * 1e3 / (double) (got * size) : 0.0,
               n > got ? (double) (n - got) * 100 / (double) n : 0.0);
}

static void request_response(int fd, uint32_t size, int seconds) {
        static uint32_t times[SAMPLES_MAX];
        int64_t begin = now_usec() + WARM_SEC * 1000000, end = begin + seconds * 1000000ll, t = 0;
        size_t n = 0, n_lost = 0;

        while (t < end && n < SAMPLES_MAX) {
                int64_t from = now_usec();

                if (send(fd, buffer, size, 0) != (ssize_t) size)
                        die("send");
                n_lost += !answer(fd, REQUEST, buffer, sizeof(buffer));
                t = now_usec();
                if (from >= begin)
                        times[n++] = (uint32_t) (t - from);
        }
        tell_times(times, n, t - begin);
        printf(" lost_pct=%.1f\n", (double) n_lost * 100 / (double) n);
}

int main(int argc, char **argv) {
        uint32_t size;

        if (argc == 3 && strcmp(argv[1], "serve") == 0)
                serve(argv[2]);
        size = argc == 6 ? (uint32_t) atoi(argv[4]) : 0;
        if (size == 0 || size > SIZE_MOST) {
                fprintf(stderr, "udpload serve PORT | stream|rr ADDRESS PORT SIZE SECONDS\n");
                return 2;
        }
        if (strcmp(argv[1], "stream") == 0) {
                buffer[0] = STREAM;
                stream(open_to(argv[2], argv[3], SOCK_DGRAM), open_to(argv[2], argv[3], SOCK_DGRAM), size, atoi(argv[5]));
        } else {
                buffer[0] = REQUEST;
                request_response(open_to(argv[2], argv[3], SOCK_DGRAM), size, atoi(argv[5]));
        }
        return 0;
}
