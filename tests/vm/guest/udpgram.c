/* SPDX-License-Identifier: GPL-2.0-or-later */
/* udpgram: datagrams between two machines, each byte of which is checked.
 *
 *     udpgram serve PORT                       IPv4 and IPv6, until it is killed
 *     udpgram run ADDRESS PORT COUNT SEED [connected] [batches]
 *     udpgram hold ADDRESS PORT                a datagram each 10 ms, until it is killed
 *
 * A datagram says its session, its number and whether it wants an answer; what follows is a pattern of both. The server
 * answers with what it has seen of the session. `run` sends COUNT datagrams of random sizes, some at a time, waits for the answer, and
 * prints "ok KEY=VALUE..." or what was wrong. `hold` prints a line "answers=N sent=N error=NAME" each tenth of a second. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/uio.h>

#include "load.h"

#define MAGIC 0x75647067u
#define SESSIONS 64
#define BATCH 8
#define BATCH_BYTES 65000u /* together: a receive buffer holds that, whatever the kernel adds */
#define ANSWER_MSEC 1000

typedef struct Head {
        uint32_t magic, session, number, bytes; /* bytes: all of it */
        uint32_t ask;                           /* not 0: comes back in the answer */
} Head;

typedef struct Answer {
        uint32_t magic, session, ask;
        uint32_t n, wrong, disorder; /* disorder: behind one with a higher number, or there twice */
        uint32_t elsewhere;          /* not to the address that it was sent to, says IP_PKTINFO */
        uint32_t next;
} Answer;

static uint8_t buffers[BATCH][66000];

static int64_t now_msec(void) {
        return now_usec() / 1000;
}

static uint32_t next_random(uint32_t *state) {
        *state = *state * 1664525u + 1013904223u;
        return *state >> 8;
}

static void pattern(uint8_t *p, const Head *h) {
        uint32_t state = h->session * 31 + h->number;

        for (uint32_t i = sizeof(*h); i < h->bytes; i++)
                p[i] = (uint8_t) next_random(&state);
}

static bool is_right(const uint8_t *p, size_t n, Head *h) {
        uint32_t state;

        if (n < sizeof(*h))
                return false;
        memcpy(h, p, sizeof(*h));
        if (h->magic != MAGIC || h->bytes != n)
                return false;
        state = h->session * 31 + h->number;
        for (uint32_t i = sizeof(*h); i < n; i++)
                if (p[i] != (uint8_t) next_random(&state))
                        return false;
        return true;
}

/* ---------------------------------------------------------------- the server */

static Answer sessions[SESSIONS];

static Answer *session_of(uint32_t id) {
        Answer *a = &sessions[id % SESSIONS];

        if (a->session != id)
                *a = (Answer) { .magic = MAGIC, .session = id };
        return a;
}

/* The control data says the address that the datagram was sent to, which is one of ours other than "any". */
static bool is_to_us(struct msghdr *m) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
                if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                        const struct in6_pktinfo *info = (const struct in6_pktinfo *) CMSG_DATA(c);

                        return !IN6_IS_ADDR_UNSPECIFIED(&info->ipi6_addr) && info->ipi6_ifindex > 0;
                }
        return false;
}

static void take_one(int fd, struct msghdr *m, size_t n) {
        Head h = { 0 };
        bool right = is_right(m->msg_iov->iov_base, n, &h) && !(m->msg_flags & MSG_TRUNC);
        Answer *a;

        if (h.magic != MAGIC)
                return;
        a = session_of(h.session);
        a->n++;
        a->wrong += !right;
        a->disorder += h.number < a->next;
        a->next = h.number >= a->next ? h.number + 1 : a->next;
        a->elsewhere += !is_to_us(m);
        if (h.ask) {
                a->ask = h.ask;
                sendto(fd, a, sizeof(*a), 0, m->msg_name, m->msg_namelen);
        }
}

static _Noreturn void serve(const char *port) {
        struct sockaddr_in6 any = any_address(port), from[BATCH];
        char control[BATCH][256];
        struct iovec iov[BATCH];
        struct mmsghdr m[BATCH];
        int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1, n;

        if (setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof(one)) < 0 ||
            bind(fd, (struct sockaddr *) &any, sizeof(any)) < 0)
                die("bind");
        for (;;) {
                for (int i = 0; i < BATCH; i++) {
                        iov[i] = (struct iovec) { buffers[i], sizeof(buffers[i]) };
                        m[i] = (struct mmsghdr) { .msg_hdr = { .msg_name = &from[i], .msg_namelen = sizeof(from[i]), .msg_iov = &iov[i],
                                .msg_iovlen = 1, .msg_control = control[i], .msg_controllen = sizeof(control[i]) } };
                }
                n = recvmmsg(fd, m, BATCH, MSG_WAITFORONE, NULL);
                for (int i = 0; i < n; i++)
                        take_one(fd, &m[i].msg_hdr, m[i].msg_len);
        }
}

/* ---------------------------------------------------------------- the client */

typedef struct Client {
        int fd;
        struct sockaddr_storage to;
        socklen_t to_size; /* 0: connected */
        uint32_t session, number, random, n_asked;
} Client;

static void open_client(Client *c, const char *address, const char *port, bool connected) {
        c->to_size = read_address(address, port, &c->to);
        c->fd = socket(c->to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (connected && connect(c->fd, (struct sockaddr *) &c->to, c->to_size) < 0)
                die("connect");
        if (connected)
                c->to_size = 0;
        c->session = (uint32_t) getpid() * 7919 + (uint32_t) now_msec();
}

static void fill(Client *c, struct mmsghdr *m, struct iovec *iov, int i, uint32_t bytes, uint32_t ask) {
        Head h = { MAGIC, c->session, c->number++, bytes, ask };

        memcpy(buffers[i], &h, sizeof(h));
        pattern(buffers[i], &h);
        iov[i] = (struct iovec) { buffers[i], bytes };
        m[i] = (struct mmsghdr) { .msg_hdr = { .msg_name = c->to_size ? &c->to : NULL, .msg_namelen = c->to_size,
                .msg_iov = &iov[i], .msg_iovlen = 1 } };
}

static bool answered(Client *c, uint32_t ask, int msec, Answer *ret) {
        int64_t end = now_msec() + msec;
        struct pollfd p = { .fd = c->fd, .events = POLLIN };

        while (now_msec() < end && poll(&p, 1, (int) (end - now_msec())) > 0)
                if (recv(c->fd, ret, sizeof(*ret), MSG_DONTWAIT) == sizeof(*ret) && ret->magic == MAGIC && ret->ask == ask)
                        return true;
        return false;
}

static uint32_t random_size(Client *c, uint32_t left) {
        uint32_t most = next_random(&c->random) % 8 == 0 ? 60000 : next_random(&c->random) % 4 == 0 ? 9000 : 1400;

        most = most < left ? most : left;
        return (uint32_t) sizeof(Head) + next_random(&c->random) % (most - (uint32_t) sizeof(Head));
}

/* Some datagrams, of which the last one is answered. */
static int send_some(Client *c, int n, bool batches) {
        struct iovec iov[BATCH];
        struct mmsghdr m[BATCH];
        uint32_t left = BATCH_BYTES;

        for (int i = 0; i < n; i++) {
                uint32_t bytes = random_size(c, left - (uint32_t) (n - 1 - i) * 64);

                left -= bytes;
                fill(c, m, iov, i, bytes, i == n - 1 ? ++c->n_asked : 0);
        }
        if (batches)
                return sendmmsg(c->fd, m, (unsigned int) n, 0) == n ? 0 : -1;
        for (int i = 0; i < n; i++)
                if (sendmsg(c->fd, &m[i].msg_hdr, 0) != (ssize_t) iov[i].iov_len)
                        return -1;
        return 0;
}

static int run(Client *c, uint32_t count, bool batches) {
        Answer a = { 0 };
        uint32_t n_late = 0;

        while (c->number < count) {
                int n = 1 + (int) (next_random(&c->random) % BATCH);

                if (send_some(c, n, batches) < 0)
                        die("send");
                while (!answered(c, c->n_asked, ANSWER_MSEC, &a)) {
                        if (n_late++ == 20) {
                                printf("no answer to %u of %u\n", c->n_asked, c->number);
                                return 1;
                        }
                        if (send_some(c, 1, false) < 0)
                                die("send again");
                }
        }
        printf("%s n=%u lost=%u wrong=%u disorder=%u elsewhere=%u late=%u\n",
               a.wrong || a.disorder || a.elsewhere || a.n != c->number ? "bad" : "ok", c->number, c->number - a.n, a.wrong,
               a.disorder, a.elsewhere, n_late);
        return 0;
}

/* All answers that come within a time, whatever they are to. */
static uint32_t count_answers(Client *c, int msec) {
        int64_t end = now_msec() + msec;
        struct pollfd p = { .fd = c->fd, .events = POLLIN };
        uint32_t n = 0;
        Answer a;

        for (int64_t left = msec; left > 0 && poll(&p, 1, (int) left) > 0; left = end - now_msec())
                n += recv(c->fd, &a, sizeof(a), MSG_DONTWAIT) == sizeof(a) && a.magic == MAGIC;
        return n;
}

static _Noreturn void hold(Client *c) {
        uint32_t answers = 0, sent = 0;
        int error = 0;

        setvbuf(stdout, NULL, _IOLBF, 0);
        for (int64_t told = 0;;) {
                struct iovec iov;
                struct mmsghdr m;

                fill(c, &m, &iov, 0, 500, ++c->n_asked);
                if (sendmsg(c->fd, &m.msg_hdr, 0) < 0)
                        error = errno;
                sent++;
                answers += count_answers(c, 10);
                if (now_msec() < told + 100)
                        continue;
                told = now_msec();
                printf("answers=%u sent=%u error=%s\n", answers, sent, error ? strerrorname_np(error) : "none");
                error = 0;
        }
}

int main(int argc, char **argv) {
        bool connected = false, batches = false;
        Client c = { 0 };

        if (argc == 3 && strcmp(argv[1], "serve") == 0)
                serve(argv[2]);
        for (int i = 4; i < argc; i++) {
                connected |= strcmp(argv[i], "connected") == 0;
                batches |= strcmp(argv[i], "batches") == 0;
        }
        if (argc == 4 && strcmp(argv[1], "hold") == 0) {
                open_client(&c, argv[2], argv[3], true);
                hold(&c);
        }
        if (argc < 6 || strcmp(argv[1], "run") != 0) {
                fprintf(stderr, "udpgram serve PORT | run ADDRESS PORT COUNT SEED [connected] [batches] | hold ADDRESS PORT\n");
                return 2;
        }
        open_client(&c, argv[2], argv[3], connected);
        c.random = (uint32_t) atoi(argv[5]);
        return run(&c, (uint32_t) atoi(argv[4]), batches);
}
