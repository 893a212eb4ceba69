/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sockcases: what sockets of UDP promise. Each case has a socket at both ends, between which some datagrams went both ways
 * until they go the way that is to be looked at (pair_up()). The client's is connected, the server's has any peer. */
#include <netinet/udp.h>
#include <time.h>

#include "sockcases.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static uint8_t buffer[70000];

typedef struct Pair {
        int fd;
        struct sockaddr_storage other; /* the server's: who the client is */
        socklen_t other_size;
} Pair;

static bool wait_in(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 3000) == 1;
}

static ssize_t take(Pair *p) {
        p->other_size = sizeof(p->other);
        return wait_in(p->fd) ? recvfrom(p->fd, buffer, sizeof(buffer), MSG_DONTWAIT, (struct sockaddr *) &p->other, &p->other_size)
                              : -1;
}

/* A datagram there and back, until both ways are what they are to be; some in any case. */
static void warm(Side *s, Pair *p) {
        char c = 'w';

        if (!s->client) {
                while (take(p) == 1 && buffer[0] == 'w')
                        sendto(p->fd, &c, 1, 0, (struct sockaddr *) &p->other, p->other_size);
                return;
        }
        for (int i = 0; i < 1500 && (i < 5 || !by_ring(p->fd)); i++) {
                send(p->fd, &c, 1, 0);
                (void) take(p);
                usleep(1000);
        }
        if (!by_ring(p->fd))
                fprintf(stderr, "a case of UDP: not by the ring\n");
        c = 'x';
        send(p->fd, &c, 1, 0);
}

static Pair pair_up(Side *s) {
        struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
        socklen_t n = sizeof(any);
        Pair p = { 0 };

        if (s->client) {
                struct sockaddr_storage to = s->peer;

                if (read(s->control, &any.sin6_port, 2) != 2)
                        exit(1);
                if (to.ss_family == AF_INET)
                        ((struct sockaddr_in *) &to)->sin_port = any.sin6_port;
                else
                        ((struct sockaddr_in6 *) &to)->sin6_port = any.sin6_port;
                p.fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
                if (connect(p.fd, (struct sockaddr *) &to, s->peer_size) < 0)
                        exit(1);
        } else {
                p.fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
                if (bind(p.fd, (struct sockaddr *) &any, sizeof(any)) < 0 ||
                    getsockname(p.fd, (struct sockaddr *) &any, &n) < 0 || write(s->control, &any.sin6_port, 2) != 2)
                        exit(1);
        }
        warm(s, &p);
        meet(s);
        return p;
}

static void send_bytes(Pair *p, size_t n) {
        pattern(buffer, n, n);
        send(p->fd, buffer, n, 0);
}

static void sizes(Side *s) {
        static const size_t all[] = { 0, 1, 100, 1472, 1473, 9000, 30000, 65507 };
        Pair p = pair_up(s);

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                if (s->client) {
                        send_bytes(&p, all[i]);
                } else {
                        ssize_t n = take(&p);

                        note(s, "%s:%d", result(n), n >= 0 && is_pattern(buffer, (size_t) n, (uint64_t) n));
                }
                meet(s);
        }
        if (s->client) {
                note(s, "long=%s", result(send(p.fd, buffer, 65508, 0)));
                note(s, "longer=%s", result(send(p.fd, buffer, sizeof(buffer), 0)));
        }
}

static void peek(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                send_bytes(&p, 500);
                send_bytes(&p, 600);
        } else {
                int there = -1;

                wait_in(p.fd);
                note(s, "peek=%s", result(recv(p.fd, buffer, 100, MSG_PEEK)));
                note(s, "trunc=%s", result(recv(p.fd, buffer, 100, MSG_PEEK | MSG_TRUNC)));
                ioctl(p.fd, FIONREAD, &there);
                note(s, "there=%d", there);
                note(s, "short=%s", result(recv(p.fd, buffer, 100, 0)));
                note(s, "next=%s", result(take(&p)));
                note(s, "none=%s", result(recv(p.fd, buffer, 100, MSG_DONTWAIT)));
                ioctl(p.fd, FIONREAD, &there);
                note(s, "there=%d", there);
        }
        meet(s);
}

static void waiting(Side *s) {
        Pair p = pair_up(s);

        note(s, "idle=%s", polled(p.fd, POLLIN | POLLOUT));
        meet(s);
        if (s->client) {
                timeout_of(p.fd, SO_RCVTIMEO, 50);
                note(s, "timeout=%s", result(recv(p.fd, buffer, 1, 0)));
                meet(s);
                send_bytes(&p, 10);
        } else {
                meet(s);
                note(s, "in=%s", poll_for(p.fd, POLLIN));
                note(s, "blocking=%s", result(recv(p.fd, buffer, sizeof(buffer), 0)));
        }
        meet(s);
}

/* What of the control data is the same each time. */
static void note_control(Side *s, struct msghdr *m) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                int v = -1;

                memcpy(&v, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0) < sizeof(v) ? c->cmsg_len - CMSG_LEN(0) : sizeof(v));
                if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TTL)
                        note(s, "ttl=%d", v);
                else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
                        note(s, "tos=%d", v & 255);
                else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_HOPLIMIT)
                        note(s, "hops=%d", v);
                else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_TCLASS)
                        note(s, "class=%d", v);
                else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
                        note(s, "info=%d:%d", ((struct in6_pktinfo *) CMSG_DATA(c))->ipi6_addr.s6_addr[15],
                             ((struct in6_pktinfo *) CMSG_DATA(c))->ipi6_ifindex);
                else
                        note(s, "%d:%d", c->cmsg_level, c->cmsg_type);
        }
}

static void set(int fd, int level, int option, int v) {
        if (setsockopt(fd, level, option, &v, sizeof(v)) < 0)
                perror("setsockopt");
}

static void control_data(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                set(p.fd, s->peer.ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
                    s->peer.ss_family == AF_INET ? IP_TTL : IPV6_UNICAST_HOPS, 33);
                set(p.fd, s->peer.ss_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
                    s->peer.ss_family == AF_INET ? IP_TOS : IPV6_TCLASS, 0x28);
        } else {
                set(p.fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
                set(p.fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1);
                set(p.fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
                set(p.fd, IPPROTO_IP, IP_RECVTTL, 1);
                set(p.fd, IPPROTO_IP, IP_RECVTOS, 1);
                set(p.fd, SOL_SOCKET, SO_TIMESTAMP, 1);
        }
        warm(s, &p);
        meet(s);
        if (s->client) {
                send_bytes(&p, 20);
        } else {
                char control[512];
                struct iovec iov = { buffer, sizeof(buffer) };
                struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

                wait_in(p.fd);
                note(s, "n=%s", result(recvmsg(p.fd, &m, 0)));
                note_control(s, &m);
        }
        meet(s);
}

static void many_at_once(Side *s) {
        Pair p = pair_up(s);
        struct iovec iov[6];
        struct mmsghdr m[6] = { 0 };

        for (size_t i = 0; i < 6; i++) {
                iov[i] = (struct iovec) { buffer + i * 1000, s->client ? 100 + i : 1000 };
                m[i].msg_hdr = (struct msghdr) { .msg_iov = &iov[i], .msg_iovlen = 1 };
        }
        if (s->client) {
                note(s, "sent=%s", result(sendmmsg(p.fd, m, 6, 0)));
                meet(s);
        } else {
                struct timespec t = { .tv_sec = 2 };
                int n;

                meet(s);
                n = recvmmsg(p.fd, m, 6, 0, &t);
                note(s, "got=%d", n);
                for (int i = 0; i < n; i++)
                        note(s, "%u", m[i].msg_len);
        }
        meet(s);
}

/* A connected socket hears its peer only. */
static void filtered(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                struct sockaddr_storage to;
                socklen_t n = sizeof(to);
                int other = socket(s->peer.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

                meet(s);
                getpeername(p.fd, (struct sockaddr *) &to, &n);
                sendto(other, "other", 5, 0, (struct sockaddr *) &to, n);
                usleep(50000);
                send(p.fd, "mine!!", 6, 0);
                close(other);
        } else {
                note(s, "connect=%s", result(connect(p.fd, (struct sockaddr *) &p.other, p.other_size)));
                meet(s);
                note(s, "first=%s", result(take(&p)));
                usleep(100000);
                note(s, "second=%s", result(recv(p.fd, buffer, 100, MSG_DONTWAIT)));
        }
        meet(s);
}

/* The port is closed: the network says so. */
static void refused(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                meet(s);
                note(s, "send=%s", result(send(p.fd, "a", 1, 0)));
                note(s, "poll=%s", poll_for(p.fd, POLLIN));
                note(s, "recv=%s", result(recv(p.fd, buffer, 1, MSG_DONTWAIT)));
                note(s, "then=%s", result(recv(p.fd, buffer, 1, MSG_DONTWAIT)));
                send(p.fd, "b", 1, 0);
                poll_for(p.fd, POLLIN);
                note(s, "send=%s", result(send(p.fd, "c", 1, 0)));
        } else {
                close(p.fd);
                meet(s);
        }
        meet(s);
}

/* Nobody reads: the first ones are kept, in order, the rest is dropped, and the sender is not held up. */
static void full_buffer(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                int n = 0;

                meet(s);
                for (int i = 0; i < 300; i++) {
                        memset(buffer, 0, 1000);
                        memcpy(buffer, &i, sizeof(i));
                        n += send(p.fd, buffer, 1000, 0) == 1000;
                }
                note(s, "sent=%d", n);
                meet(s);
        } else {
                int last = -1, n = 0, in_order = 1;

                set(p.fd, SOL_SOCKET, SO_RCVBUF, 20000);
                meet(s);
                meet(s);
                usleep(200000);
                while (recv(p.fd, buffer, sizeof(buffer), MSG_DONTWAIT) == 1000) {
                        int i;

                        memcpy(&i, buffer, sizeof(i));
                        in_order &= i == last + 1;
                        last = i;
                        n++;
                }
                note(s, "some=%d in-order=%d", n > 2 && n < 200, in_order);
                set(p.fd, SOL_SOCKET, SO_RCVBUF, 200000);
        }
        meet(s);
        if (s->client)
                send_bytes(&p, 77);
        else
                note(s, "again=%s", result(take(&p)));
        meet(s);
}

static void corked(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                note(s, "%s", result(send(p.fd, buffer, 100, MSG_MORE)));
                note(s, "%s", result(send(p.fd, buffer, 50, 0)));
                set(p.fd, IPPROTO_UDP, UDP_CORK, 1);
                send(p.fd, buffer, 10, 0);
                send(p.fd, buffer, 20, 0);
                set(p.fd, IPPROTO_UDP, UDP_CORK, 0);
        } else {
                note(s, "%s", result(take(&p)));
                note(s, "%s", result(take(&p)));
        }
        meet(s);
}

static void segments(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                set(p.fd, IPPROTO_UDP, UDP_SEGMENT, 500);
                note(s, "%s", result(send(p.fd, buffer, 1200, 0)));
        } else {
                for (int i = 0; i < 3; i++)
                        note(s, "%s", result(take(&p)));
        }
        meet(s);
}

static void shut_down(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                note(s, "wr=%s", result(shutdown(p.fd, SHUT_WR)));
                note(s, "send=%s", result(send(p.fd, buffer, 1, MSG_NOSIGNAL)));
                meet(s);
                note(s, "recv=%s", result(take(&p)));
                note(s, "rd=%s", result(shutdown(p.fd, SHUT_RD)));
                note(s, "end=%s", result(recv(p.fd, buffer, 1, 0)));
                note(s, "poll=%s", polled(p.fd, POLLIN | POLLRDHUP));
        } else {
                meet(s);
                sendto(p.fd, "abc", 3, 0, (struct sockaddr *) &p.other, p.other_size);
        }
        meet(s);
}

/* connect() to nobody, and names with each call. */
static void unconnected(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                struct sockaddr nobody = { .sa_family = AF_UNSPEC };
                struct sockaddr_storage to;
                socklen_t n = sizeof(to);

                getpeername(p.fd, (struct sockaddr *) &to, &n);
                note(s, "connect=%s", result(connect(p.fd, &nobody, sizeof(nobody))));
                note(s, "send=%s", result(send(p.fd, buffer, 1, 0)));
                for (int i = 0; i < 20; i++)
                        sendto(p.fd, buffer, 100 + (size_t) i, 0, (struct sockaddr *) &to, n);
                note(s, "short-name=%s", result(sendto(p.fd, buffer, 1, 0, (struct sockaddr *) &to, 3)));
        } else {
                for (int i = 0; i < 20; i++)
                        note(s, "%s", result(take(&p)));
                note(s, "from=%u:%d", p.other_size, ((struct sockaddr_in6 *) &p.other)->sin6_addr.s6_addr[15]);
        }
        meet(s);
}

static void pieces(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                struct iovec iov[3] = { { buffer, 10 }, { buffer + 10, 0 }, { buffer + 10, 90 } };
                struct msghdr m = { .msg_iov = iov, .msg_iovlen = 3 };

                pattern(buffer, 100, 100);
                note(s, "%s", result(sendmsg(p.fd, &m, 0)));
                iov[2].iov_base = (void *) 16;
                note(s, "%s", result(sendmsg(p.fd, &m, 0)));
                iov[0].iov_base = (void *) 16;
                note(s, "%s", result(sendmsg(p.fd, &m, MSG_DONTWAIT)));
                send_bytes(&p, 5);
        } else {
                ssize_t n = take(&p);

                note(s, "%s:%d", result(n), n == 100 && is_pattern(buffer, 100, 100));
                note(s, "%s", result(take(&p)));
        }
        meet(s);
}

static void shared(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                pid_t pid = fork();

                for (int i = 0; i < 50; i++)
                        send(p.fd, buffer, pid ? 11 : 22, 0);
                if (pid == 0)
                        _exit(0);
                meet(s);
        } else {
                int n[2] = { 0 };

                for (int i = 0; i < 100; i++) {
                        ssize_t r = take(&p);

                        n[0] += r == 11;
                        n[1] += r == 22;
                }
                note(s, "%d %d", n[0], n[1]);
                meet(s);
        }
        meet(s);
}

static void times(Side *s) {
        Pair p = pair_up(s);

        if (s->client) {
                char control[512];
                struct iovec iov = { buffer, 100 };
                struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
                struct pollfd f = { .fd = p.fd };

                set(p.fd, SOL_SOCKET, SO_TIMESTAMPING, 1 << 4 | 1 << 1); /* software, of what is sent */
                send_bytes(&p, 42);
                note(s, "poll=%d", poll(&f, 1, 3000));
                note(s, "queue=%d", recvmsg(p.fd, &m, MSG_ERRQUEUE | MSG_DONTWAIT) > 42);
        } else {
                note(s, "%s", result(take(&p)));
        }
        meet(s);
}

const Case cases_udp[] = {
        { "udp-sizes", sizes, true },
        { "udp-peek", peek, true },
        { "udp-waiting", waiting, true },
        { "udp-control-data", control_data, true },
        { "udp-many-at-once", many_at_once, true },
        { "udp-filtered", filtered, true },
        { "udp-refused", refused, true },
        { "udp-full-buffer", full_buffer, true },
        { "udp-corked", corked, true },
        { "udp-segments", segments, true },
        { "udp-shutdown", shut_down, true },
        { "udp-unconnected", unconnected, true },
        { "udp-pieces", pieces, true },
        { "udp-shared", shared, true },
        { "udp-times", times, true },
        { 0 },
};
