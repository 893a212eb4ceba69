/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sockcases: who waits is woken, for what it waits for, as often as it should be. */
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "sockcases.h"

static uint8_t buffer[256 * 1024];

static void poll_in(Side *s) {
        if (s->client) {
                meet(s);
                send_all(s->fd, 0, 10);
        } else {
                note(s, "before=%s", polled(s->fd, POLLIN | POLLOUT));
                meet(s);
                note(s, "after=%s", poll_for(s->fd, POLLIN));
                recv(s->fd, buffer, 10, 0);
                note(s, "read=%s", polled(s->fd, POLLIN));
        }
        meet(s);
}

static void poll_out(Side *s) {
        if (s->client) {
                note(s, "empty=%s", polled(s->fd, POLLOUT));
                fill(s->fd);
                note(s, "full=%s", polled(s->fd, POLLOUT));
                meet(s);
                note(s, "drained=%s", poll_for(s->fd, POLLOUT));
        } else {
                meet(s);
                timeout_of(s->fd, SO_RCVTIMEO, 500);
                while (recv(s->fd, buffer, sizeof(buffer), 0) > 0)
                        ;
        }
        meet(s);
}

static void poll_half_closed(Side *s) {
        if (s->client) {
                shutdown(s->fd, SHUT_WR);
                note(s, "own=%s", polled(s->fd, POLLIN | POLLOUT | POLLRDHUP));
        } else {
                note(s, "other=%s", poll_for(s->fd, POLLRDHUP));
                note(s, "all=%s", polled(s->fd, POLLIN | POLLOUT | POLLRDHUP));
        }
        meet(s);
}

static void poll_closed(Side *s) {
        shutdown(s->fd, SHUT_WR);
        meet(s);
        note(s, "all=%s", poll_for(s->fd, POLLRDHUP));
        while (recv(s->fd, buffer, 10, 0) > 0)
                ;
        note(s, "read=%s", polled(s->fd, POLLIN | POLLOUT | POLLRDHUP));
        meet(s);
}

static void poll_data_then_end(Side *s) {
        if (s->client) {
                send_all(s->fd, 0, 10);
                shutdown(s->fd, SHUT_WR);
        } else {
                note(s, "end=%s", poll_for(s->fd, POLLRDHUP));
                note(s, "data=%s", poll_for(s->fd, POLLIN));
                note(s, "recv=%s", result(recv(s->fd, buffer, 100, 0)));
                note(s, "then=%s", result(recv(s->fd, buffer, 100, 0)));
        }
        meet(s);
}

static void selected(Side *s) {
        struct timeval t = { .tv_sec = 5 };
        fd_set in, out;

        if (s->client)
                send_all(s->fd, 0, 1);
        else {
                readable(s->fd, 1);
                FD_ZERO(&in);
                FD_ZERO(&out);
                FD_SET(s->fd, &in);
                FD_SET(s->fd, &out);
                note(s, "select=%s", result(select(s->fd + 1, &in, &out, NULL, &t)));
                note(s, "in=%d out=%d", !!FD_ISSET(s->fd, &in), !!FD_ISSET(s->fd, &out));
        }
        meet(s);
}

static int watch(int fd, uint32_t events) {
        struct epoll_event e = { .events = events };
        int ep = epoll_create1(EPOLL_CLOEXEC);

        epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
        return ep;
}

static const char *waited(int ep, int msec) {
        static char b[4][32];
        static int turn;
        struct epoll_event e = { 0 };
        int r = epoll_wait(ep, &e, 1, msec);
        char *p = b[turn++ % 4];

        snprintf(p, sizeof(b[0]), "%d:%x", r, r > 0 ? e.events : 0);
        return p;
}

static void epoll_level(Side *s) {
        int ep = watch(s->fd, EPOLLIN);

        if (s->client) {
                send_all(s->fd, 0, 10);
        } else {
                note(s, "first=%s", waited(ep, 5000));
                note(s, "again=%s", waited(ep, 0));
                readable(s->fd, 10);
                recv(s->fd, buffer, 10, 0);
                note(s, "read=%s", waited(ep, 0));
        }
        meet(s);
}

static void epoll_edge(Side *s) {
        int ep = watch(s->fd, EPOLLIN | EPOLLET);

        for (int i = 0; i < 5; i++) {
                if (s->client)
                        send_all(s->fd, 0, 10);
                else {
                        note(s, "edge=%s", waited(ep, 5000));
                        readable(s->fd, 10 * (i + 1));
                        note(s, "again=%s", waited(ep, 0));
                }
                meet(s); /* nothing is read: an edge comes with each arrival all the same */
        }
}

static void epoll_edge_drained(Side *s) {
        int ep = watch(s->fd, EPOLLIN | EPOLLET);

        nonblocking(s->fd, true);
        for (int i = 0; i < 20; i++) {
                if (s->client)
                        send_all(s->fd, 0, 10);
                else {
                        int got = 0;
                        long r;

                        while (got < 10 && strncmp(waited(ep, 5000), "1:", 2) == 0)
                                while ((r = recv(s->fd, buffer, 100, 0)) > 0)
                                        got += (int) r;
                        note(s, "%d", got);
                }
                meet(s);
        }
}

/* Reads what FIONREAD says and no more: no call says EAGAIN, none is short. */
static void epoll_edge_counted(Side *s) {
        int ep = watch(s->fd, EPOLLIN | EPOLLET);

        for (int i = 0; i < 5; i++) {
                if (s->client)
                        send_all(s->fd, 0, 100);
                else {
                        note(s, "edge=%s", waited(ep, 5000));
                        readable(s->fd, 100);
                        note(s, "recv=%s", result(recv(s->fd, buffer, 100, 0)));
                }
                meet(s);
        }
}

static void epoll_edge_out(Side *s) {
        int ep = watch(s->fd, EPOLLOUT | EPOLLET);

        if (s->client) {
                note(s, "first=%s", waited(ep, 1000));
                fill(s->fd);
                meet(s);
                note(s, "room=%s", waited(ep, 5000));
        } else {
                meet(s);
                timeout_of(s->fd, SO_RCVTIMEO, 500);
                while (recv(s->fd, buffer, sizeof(buffer), 0) > 0)
                        ;
        }
        meet(s);
}

static void epoll_once(Side *s) {
        int ep = watch(s->fd, EPOLLIN | EPOLLONESHOT);
        struct epoll_event e = { .events = EPOLLIN | EPOLLONESHOT };

        if (s->client) {
                send_all(s->fd, 0, 10);
        } else {
                note(s, "first=%s", waited(ep, 5000));
                note(s, "again=%s", waited(ep, 50));
                epoll_ctl(ep, EPOLL_CTL_MOD, s->fd, &e);
                note(s, "armed=%s", waited(ep, 1000));
        }
        meet(s);
}

static void epoll_end(Side *s) {
        int ep = watch(s->fd, EPOLLIN | EPOLLRDHUP | EPOLLET);

        if (s->client) {
                shutdown(s->fd, SHUT_WR);
        } else {
                note(s, "end=%s", waited(ep, 5000));
                note(s, "recv=%s", result(recv(s->fd, buffer, 10, 0)));
        }
        meet(s);
}

static void *receive_one(void *p) {
        Side *s = p;
        uint8_t c;

        return (void *) (intptr_t) recv(s->fd, &c, 1, 0);
}

static void sleeper_woken(Side *s) {
        pthread_t t;
        void *r;

        if (s->client) {
                meet(s);
                usleep(50000); /* most likely it sleeps by now; if not, the case is easier, not other */
                send_all(s->fd, 0, 1);
        } else {
                pthread_create(&t, NULL, receive_one, s);
                meet(s);
                pthread_join(t, &r);
                note(s, "recv=%ld", (long) (intptr_t) r);
        }
        meet(s);
}

static void sleeper_shut(Side *s) {
        pthread_t t;
        void *r;

        pthread_create(&t, NULL, receive_one, s);
        usleep(50000);
        note(s, "shutdown=%s", result(shutdown(s->fd, SHUT_RD)));
        pthread_join(t, &r);
        note(s, "recv=%ld", (long) (intptr_t) r);
        meet(s);
}

static void two_sleepers(Side *s) {
        pthread_t t[2];
        long sum = 0;
        void *r;

        if (s->client) {
                meet(s);
                usleep(20000);
                send_all(s->fd, 0, 1);
                send_all(s->fd, 1, 1);
        } else {
                pthread_create(&t[0], NULL, receive_one, s);
                pthread_create(&t[1], NULL, receive_one, s);
                meet(s);
                for (int i = 0; i < 2; i++) {
                        pthread_join(t[i], &r);
                        sum += (intptr_t) r;
                }
                note(s, "sum=%ld", sum);
        }
        meet(s);
}

static void on_alarm(int sig) {
        (void) sig;
}

/* The watchdog's alarm() is another clock than this one. */
static void alarm_soon(int flags) {
        struct sigaction a = { .sa_handler = on_alarm, .sa_flags = flags };
        struct sigevent e = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
        struct itimerspec soon = { .it_value = { .tv_nsec = 50000000 } };
        timer_t timer;

        sigaction(SIGUSR1, &a, NULL);
        timer_create(CLOCK_MONOTONIC, &e, &timer);
        timer_settime(timer, 0, &soon, NULL);
}

static void interrupted(Side *s) {
        alarm_soon(0);
        note(s, "recv=%s", result(recv(s->fd, buffer, 1, 0)));
        meet(s);
}

static void restarted(Side *s) {
        alarm_soon(SA_RESTART);
        if (s->client)
                note(s, "recv=%s", result(recv(s->fd, buffer, 1, 0)));
        else {
                usleep(200000);
                send_all(s->fd, 0, 1);
        }
        meet(s);
}

static volatile sig_atomic_t n_signals;

static void on_io(int sig) {
        (void) sig;
        n_signals++;
}

static void by_signal(Side *s) {
        signal(SIGIO, on_io);
        if (s->client) {
                meet(s);
                send_all(s->fd, 0, 1);
        } else {
                fcntl(s->fd, F_SETOWN, getpid());
                fcntl(s->fd, F_SETFL, fcntl(s->fd, F_GETFL) | O_ASYNC);
                meet(s);
                for (int i = 0; i < 1000 && !n_signals; i++)
                        usleep(5000);
                note(s, "signalled=%d", n_signals > 0);
        }
        meet(s);
}

const Case cases_events[] = {
        { "poll-in", poll_in, false },
        { "poll-out", poll_out, false },
        { "poll-half-closed", poll_half_closed, false },
        { "poll-closed", poll_closed, false },
        { "poll-data-then-end", poll_data_then_end, false },
        { "selected", selected, false },
        { "epoll-level", epoll_level, false },
        { "epoll-edge", epoll_edge, false },
        { "epoll-edge-drained", epoll_edge_drained, false },
        { "epoll-edge-counted", epoll_edge_counted, false },
        { "epoll-edge-out", epoll_edge_out, false },
        { "epoll-once", epoll_once, false },
        { "epoll-end", epoll_end, false },
        { "sleeper-woken", sleeper_woken, false },
        { "sleeper-shut", sleeper_shut, false },
        { "two-sleepers", two_sleepers, false },
        { "interrupted", interrupted, false },
        { "restarted", restarted, false },
        { "by-signal", by_signal, false },
        { NULL, NULL, false },
};
