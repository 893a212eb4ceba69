/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sockcases: options, ioctls, urgent data, shared descriptors, and how connections begin. */
#include <linux/sockios.h>
#include <sys/wait.h>

#include "sockcases.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif

static uint8_t buffer[64 * 1024];

static int int_option(int fd, int level, int option) {
        socklen_t n = sizeof(int);
        int v = -1;

        return getsockopt(fd, level, option, &v, &n) < 0 ? -errno : v;
}

static const char *set(int fd, int level, int option, int v) {
        return result(setsockopt(fd, level, option, &v, sizeof(v)));
}

static void bytes_there(Side *s) {
        int n = -1;

        if (s->client) {
                send_all(s->fd, 0, 123);
        } else {
                readable(s->fd, 123);
                note(s, "ioctl=%s", result(ioctl(s->fd, FIONREAD, &n)));
                note(s, "n=%d", n);
                recv(s->fd, buffer, 23, 0);
                ioctl(s->fd, FIONREAD, &n);
                note(s, "then=%d", n);
        }
        meet(s);
}

static void bytes_unsent(Side *s) {
        int n = -1;

        if (s->client) {
                send_all(s->fd, 0, 1000);
                meet(s);
                for (int i = 0; i < 1000 && ioctl(s->fd, SIOCOUTQ, &n) == 0 && n > 0; i++)
                        usleep(5000);
                note(s, "outq=%d", n);
        } else {
                readable(s->fd, 1000);
                recv(s->fd, buffer, 1000, 0);
                meet(s);
        }
        meet(s);
}

static void names(Side *s) {
        struct sockaddr_in6 own = { 0 }, other = { 0 };
        socklen_t n = sizeof(own), m = sizeof(other);

        note(s, "own=%s", result(getsockname(s->fd, (struct sockaddr *) &own, &n)));
        note(s, "other=%s", result(getpeername(s->fd, (struct sockaddr *) &other, &m)));
        note(s, "%u:%u %d:%d", n, m, own.sin6_port != 0, other.sin6_port != 0);
        meet(s);
}

static void options(Side *s) {
        note(s, "nodelay=%s", set(s->fd, IPPROTO_TCP, TCP_NODELAY, 1));
        note(s, "is=%d", int_option(s->fd, IPPROTO_TCP, TCP_NODELAY));
        note(s, "keepalive=%s", set(s->fd, SOL_SOCKET, SO_KEEPALIVE, 1));
        note(s, "is=%d", int_option(s->fd, SOL_SOCKET, SO_KEEPALIVE));
        note(s, "idle=%s", set(s->fd, IPPROTO_TCP, TCP_KEEPIDLE, 77));
        note(s, "is=%d", int_option(s->fd, IPPROTO_TCP, TCP_KEEPIDLE));
        note(s, "user-timeout=%s", set(s->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 7000));
        note(s, "quickack=%s", set(s->fd, IPPROTO_TCP, TCP_QUICKACK, 1));
        note(s, "type=%d accept=%d", int_option(s->fd, SOL_SOCKET, SO_TYPE),
             int_option(s->fd, SOL_SOCKET, SO_ACCEPTCONN));
        note(s, "protocol=%d", int_option(s->fd, SOL_SOCKET, SO_PROTOCOL));
        note(s, "domain=%d", int_option(s->fd, SOL_SOCKET, SO_DOMAIN) == AF_INET6);
        note(s, "none=%s", set(s->fd, IPPROTO_TCP, 9999, 1));
        note(s, "error=%d", int_option(s->fd, SOL_SOCKET, SO_ERROR));
        meet(s);
}

static void buffers(Side *s) {
        bool right;

        note(s, "send=%s", set(s->fd, SOL_SOCKET, SO_SNDBUF, 8192));
        note(s, "is=%d", int_option(s->fd, SOL_SOCKET, SO_SNDBUF));
        note(s, "receive=%s", set(s->fd, SOL_SOCKET, SO_RCVBUF, 8192));
        note(s, "is=%d", int_option(s->fd, SOL_SOCKET, SO_RCVBUF));
        if (s->client) {
                send_all(s->fd, 0, 300000);
        } else {
                note(s, "got=%zu", receive_all(s->fd, 0, 300000, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void tcp_info(Side *s) {
        struct tcp_info i = { 0 };
        socklen_t n = sizeof(i);

        note(s, "get=%s", result(getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &i, &n)));
        note(s, "state=%u mss=%d", i.tcpi_state, i.tcpi_snd_mss > 0);
        meet(s);
}

static void congestion(Side *s) {
        char name[16] = "";
        socklen_t n = sizeof(name);

        note(s, "set=%s", result(setsockopt(s->fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4)));
        note(s, "get=%s", result(getsockopt(s->fd, IPPROTO_TCP, TCP_CONGESTION, name, &n)));
        note(s, "is=%s", name);
        meet(s);
}

static void layered(Side *s) {
        bool right;

        note(s, "none=%s", result(setsockopt(s->fd, IPPROTO_TCP, TCP_ULP, "nosuch", 6)));
        if (s->client) {
                send_all(s->fd, 0, 1000);
        } else {
                note(s, "got=%zu", receive_all(s->fd, 0, 1000, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void urgent(Side *s) {
        uint8_t c = 0;

        if (s->client) {
                send_all(s->fd, 0, 10);
                note(s, "send=%s", result(send(s->fd, "!", 1, MSG_OOB)));
                send_all(s->fd, 10, 10);
        } else {
                note(s, "poll=%s", poll_for(s->fd, POLLPRI));
                note(s, "recv=%s", result(recv(s->fd, &c, 1, MSG_OOB)));
                note(s, "is=%c", c);
                note(s, "before=%s", result(recv(s->fd, buffer, 100, 0)));
                note(s, "right=%d", is_pattern(buffer, 10, 0));
                readable(s->fd, 10);
                note(s, "after=%s", result(recv(s->fd, buffer, 100, 0)));
                note(s, "right=%d", is_pattern(buffer, 10, 10));
                note(s, "again=%s", result(recv(s->fd, &c, 1, MSG_OOB)));
        }
        meet(s);
}

static void urgent_inline(Side *s) {
        if (s->client) {
                meet(s);
                send_all(s->fd, 0, 10);
                send(s->fd, "!", 1, MSG_OOB);
        } else {
                note(s, "inline=%s", set(s->fd, SOL_SOCKET, SO_OOBINLINE, 1));
                meet(s);
                readable(s->fd, 11);
                note(s, "recv=%s", result(recv(s->fd, buffer, 100, 0)));
                note(s, "then=%s", result(recv(s->fd, buffer, 100, 0)));
                note(s, "is=%c", buffer[0]);
        }
        meet(s);
}

static void no_urgent(Side *s) {
        uint8_t c;

        note(s, "recv=%s", result(recv(s->fd, &c, 1, MSG_OOB | MSG_DONTWAIT)));
        meet(s);
}

static void forked(Side *s) {
        bool right;

        if (s->client) {
                pid_t pid = fork();

                if (pid == 0) {
                        send_all(s->fd, 0, 1000);
                        _exit(0);
                }
                waitpid(pid, NULL, 0);
                send_all(s->fd, 1000, 1000);
                shutdown(s->fd, SHUT_WR);
        } else {
                note(s, "got=%zu", receive_all(s->fd, 0, 3000, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void duplicated(Side *s) {
        int other = dup(s->fd);
        bool right;

        if (s->client) {
                close(s->fd);
                send_all(other, 0, 100);
                close(other);
        } else {
                note(s, "got=%zu", receive_all(other, 0, 200, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void send_fd(int by, int fd) {
        char c = 'f', space[CMSG_SPACE(sizeof(int))] = "";
        struct iovec v = { &c, 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
        struct cmsghdr *h = CMSG_FIRSTHDR(&m);

        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &fd, sizeof(fd));
        (void) sendmsg(by, &m, 0);
}

static int receive_fd(int by) {
        char c, space[CMSG_SPACE(sizeof(int))];
        struct iovec v = { &c, 1 };
        struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
        int fd = -1;

        if (recvmsg(by, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
                memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
        return fd;
}

static void passed_on(Side *s) {
        bool right;
        int p[2];

        if (s->client) {
                (void) !socketpair(AF_UNIX, SOCK_STREAM, 0, p);
                if (fork() == 0) {
                        close(s->fd);
                        s->fd = receive_fd(p[1]);
                        send_all(s->fd, 0, 1000);
                        _exit(0);
                }
                send_fd(p[0], s->fd);
                close(s->fd);
                wait(NULL);
        } else {
                note(s, "got=%zu", receive_all(s->fd, 0, 2000, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void connect_again(Side *s) {
        if (s->client)
                note(s, "connect=%s", result(connect(s->fd, (struct sockaddr *) &s->peer, s->peer_size)));
        note(s, "listen=%s", result(listen(s->fd, 1)));
        note(s, "accept=%s", result(accept(s->fd, NULL, NULL)));
        meet(s);
}

static void not_blocking_connect(Side *s) {
        int one = 1;

        if (s->client) {
                int fd = socket(s->peer.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

                note(s, "connect=%s", result(connect(fd, (struct sockaddr *) &s->peer, s->peer_size)));
                note(s, "out=%s", poll_for(fd, POLLOUT));
                note(s, "error=%d", int_option(fd, SOL_SOCKET, SO_ERROR));
                note(s, "again=%s", result(connect(fd, (struct sockaddr *) &s->peer, s->peer_size)));
                note(s, "send=%s", result(send(fd, "x", 1, 0)));
        } else {
                int fd;

                ioctl(s->listener, FIONBIO, &one);
                note(s, "in=%s", poll_for(s->listener, POLLIN));
                fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK);
                note(s, "accept=%d more=%s", fd >= 0, result(accept(s->listener, NULL, NULL)));
                poll_for(fd, POLLIN);
                note(s, "recv=%s", result(recv(fd, buffer, 10, 0)));
        }
        meet(s);
}

static void refused(Side *s) {
        if (!s->client)
                close(s->listener);
        meet(s);
        if (s->client) {
                int fd = socket(s->peer.ss_family, SOCK_STREAM, 0);

                note(s, "connect=%s", result(connect(fd, (struct sockaddr *) &s->peer, s->peer_size)));
                note(s, "send=%s", result(send(fd, "x", 1, MSG_NOSIGNAL)));
        }
        meet(s);
}

static void sent_before_accept(Side *s) {
        bool right;

        if (s->client) {
                int fd = connect_to(s);

                send_all(fd, 0, 5000);
                meet(s);
                meet(s);
                close(fd);
        } else {
                int fd;

                meet(s);
                fd = accept(s->listener, NULL, NULL);
                note(s, "got=%zu", receive_all(fd, 0, 5000, &right));
                note(s, "right=%d", right);
                meet(s);
        }
}

static void closed_before_accept(Side *s) {
        bool right;

        if (s->client) {
                int fd = connect_to(s);

                send_all(fd, 0, 100);
                close(fd);
                meet(s);
        } else {
                int fd;

                meet(s);
                fd = accept(s->listener, NULL, NULL);
                note(s, "got=%zu", receive_all(fd, 0, 200, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void many_short(Side *s) {
        uint8_t c = 0;
        int n = 0;

        for (int i = 0; i < 100; i++) {
                int fd = s->client ? connect_to(s) : accept(s->listener, NULL, NULL);

                if (s->client)
                        n += send(fd, "q", 1, 0) == 1 && recv(fd, &c, 1, 0) == 1 && recv(fd, &c, 1, 0) == 0;
                else
                        n += recv(fd, &c, 1, 0) == 1 && send(fd, "a", 1, 0) == 1;
                close(fd);
        }
        note(s, "served=%d", n);
        meet(s);
}

static void many_at_once(Side *s) {
        int fds[64], n = 0;
        uint8_t c;

        for (int i = 0; i < 64; i++)
                fds[i] = s->client ? connect_to(s) : accept(s->listener, NULL, NULL);
        for (int round = 0; round < 5; round++)
                for (int i = 0; i < 64; i++) {
                        c = (uint8_t) i;
                        if (s->client)
                                n += send(fds[i], &c, 1, 0) == 1 && recv(fds[i], &c, 1, 0) == 1 && c == (uint8_t) (i + 1);
                        else if (recv(fds[i], &c, 1, 0) == 1) {
                                c++;
                                n += send(fds[i], &c, 1, 0) == 1;
                        }
                }
        note(s, "answers=%d", n);
        meet(s);
}

static void listener_inherits(Side *s) {
        if (s->client) {
                int fd;

                meet(s);
                fd = connect_to(s);
                meet(s);
                close(fd);
        } else {
                int fd;

                set(s->listener, IPPROTO_TCP, TCP_NODELAY, 1);
                set(s->listener, SOL_SOCKET, SO_KEEPALIVE, 1);
                meet(s);
                fd = accept(s->listener, NULL, NULL);
                note(s, "nodelay=%d keepalive=%d", int_option(fd, IPPROTO_TCP, TCP_NODELAY) != 0,
                     int_option(fd, SOL_SOCKET, SO_KEEPALIVE) != 0);
                meet(s);
        }
}

const Case cases_more[] = {
        { "bytes-there", bytes_there, false },
        { "bytes-unsent", bytes_unsent, false },
        { "names", names, false },
        { "options", options, false },
        { "buffers", buffers, false },
        { "tcp-info", tcp_info, false },
        { "congestion", congestion, false },
        { "layered", layered, false },
        { "urgent", urgent, false },
        { "urgent-inline", urgent_inline, false },
        { "no-urgent", no_urgent, false },
        { "forked", forked, false },
        { "duplicated", duplicated, false },
        { "passed-on", passed_on, false },
        { "connect-again", connect_again, false },
        { "not-blocking-connect", not_blocking_connect, true },
        { "refused", refused, true },
        { "sent-before-accept", sent_before_accept, true },
        { "closed-before-accept", closed_before_accept, true },
        { "many-short", many_short, true },
        { "many-at-once", many_at_once, true },
        { "listener-inherits", listener_inherits, true },
        { NULL, NULL, false },
};
