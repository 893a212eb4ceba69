/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sockcases: how connections end, in order and otherwise. */
#include <sys/wait.h>

#include "sockcases.h"

static uint8_t buffer[64 * 1024];

static const char *receive(int fd) {
        return result(recv(fd, buffer, sizeof(buffer), 0));
}

/* Sends until that fails (the other end's answer takes its time); what it failed with. */
static const char *send_until_refused(int fd) {
        for (int i = 0; i < 1000; i++) {
                long r = send(fd, "x", 1, MSG_NOSIGNAL);

                if (r < 0)
                        return result(r);
                usleep(2000);
        }
        return "never";
}

static void half_close(Side *s) {
        if (s->client) {
                note(s, "shutdown=%s", result(shutdown(s->fd, SHUT_WR)));
                note(s, "send=%s", result(send(s->fd, "x", 1, MSG_NOSIGNAL)));
                note(s, "recv=%s", receive(s->fd));
                note(s, "end=%s", receive(s->fd));
        } else {
                note(s, "end=%s", receive(s->fd));
                send_all(s->fd, 0, 100);
                shutdown(s->fd, SHUT_WR);
        }
        meet(s);
}

static void tail_after_end(Side *s) {
        bool right;

        if (s->client) {
                send_all(s->fd, 0, 30000);
                shutdown(s->fd, SHUT_WR);
                meet(s);
        } else {
                meet(s);
                note(s, "end=%s", poll_for(s->fd, POLLRDHUP));
                note(s, "got=%zu", receive_all(s->fd, 0, 40000, &right));
                note(s, "right=%d end=%s", right, receive(s->fd));
        }
        meet(s);
}

static void large_then_closed(Side *s) {
        const size_t n = 3u << 20;
        bool right;

        if (s->client) {
                note(s, "sent=%d", send_all(s->fd, 0, n) == n);
                note(s, "close=%s", result(close(s->fd)));
        } else {
                note(s, "all=%d", receive_all(s->fd, 0, n + 1, &right) == n);
                note(s, "right=%d end=%s", right, receive(s->fd));
        }
        meet(s);
}

static void shut_reading(Side *s) {
        if (s->client) {
                send_all(s->fd, 0, 10);
                meet(s);
                meet(s);
                note(s, "send=%s", result(send(s->fd, "x", 1, MSG_NOSIGNAL)));
        } else {
                meet(s);
                readable(s->fd, 10);
                note(s, "shutdown=%s", result(shutdown(s->fd, SHUT_RD)));
                note(s, "recv=%s", receive(s->fd));
                note(s, "then=%s", receive(s->fd));
                note(s, "poll=%s", polled(s->fd, POLLIN | POLLRDHUP));
                meet(s);
        }
        meet(s);
}

static void shut_both(Side *s) {
        note(s, "first=%s", result(shutdown(s->fd, SHUT_RDWR)));
        meet(s);
        note(s, "recv=%s send=%s", receive(s->fd), result(send(s->fd, "x", 1, MSG_NOSIGNAL)));
        meet(s);
}

static volatile sig_atomic_t n_broken;

static void on_broken(int sig) {
        (void) sig;
        n_broken++;
}

static void broken_pipe(Side *s) {
        signal(SIGPIPE, on_broken);
        shutdown(s->fd, SHUT_WR);
        note(s, "quiet=%s:%d", result(send(s->fd, "x", 1, MSG_NOSIGNAL)), (int) n_broken);
        note(s, "loud=%s", result(send(s->fd, "x", 1, 0)));
        note(s, "signals=%d", (int) n_broken);
        meet(s);
}

static void closed_then_sent(Side *s) {
        if (s->client) {
                close(s->fd);
                meet(s);
        } else {
                meet(s);
                note(s, "end=%s", receive(s->fd));
                note(s, "send=%s", send_until_refused(s->fd));
                note(s, "recv=%s", receive(s->fd));
        }
        meet(s);
}

static void closed_with_unread(Side *s) {
        if (s->client) {
                readable(s->fd, 100);
                close(s->fd);
                meet(s);
        } else {
                send_all(s->fd, 0, 100);
                meet(s);
                note(s, "poll=%s", poll_for(s->fd, POLLRDHUP));
                note(s, "recv=%s", receive(s->fd));
                note(s, "then=%s", receive(s->fd));
        }
        meet(s);
}

static void linger_zero(Side *s) {
        struct linger l = { .l_onoff = 1 };

        if (s->client) {
                setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
                close(s->fd);
                meet(s);
        } else {
                meet(s);
                (void) poll_for(s->fd, POLLIN); /* an interrupt can come in between what poll looks at */
                note(s, "poll=%s", poll_for(s->fd, POLLIN));
                note(s, "recv=%s", receive(s->fd));
                note(s, "then=%s send=%s", receive(s->fd), result(send(s->fd, "x", 1, MSG_NOSIGNAL)));
        }
        meet(s);
}

static void linger(Side *s) {
        struct linger l = { .l_onoff = 1, .l_linger = 5 };
        bool right;

        if (s->client) {
                setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
                send_all(s->fd, 0, 20000);
                note(s, "close=%s", result(close(s->fd)));
        } else {
                note(s, "got=%zu", receive_all(s->fd, 0, 30000, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void error_of_reset(Side *s) {
        struct linger l = { .l_onoff = 1 };
        socklen_t n = sizeof(int);
        int e = 0;

        if (s->client) {
                setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
                close(s->fd);
                meet(s);
        } else {
                meet(s);
                poll_for(s->fd, POLLIN);
                getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &e, &n);
                note(s, "error=%s", e ? strerrorname_np(e) : "0");
                getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &e, &n);
                note(s, "then=%d recv=%s", e, receive(s->fd));
        }
        meet(s);
}

static void process_ends(Side *s) {
        bool right;

        if (s->client) {
                pid_t pid = fork();

                if (pid == 0) {
                        send_all(s->fd, 0, 5000);
                        kill(getpid(), SIGKILL);
                }
                close(s->fd);
                waitpid(pid, NULL, 0);
        } else {
                note(s, "got=%zu", receive_all(s->fd, 0, 6000, &right));
                note(s, "right=%d end=%s", right, receive(s->fd));
        }
        meet(s);
}

static void reset_after_data(Side *s) {
        bool right;

        if (s->client) {
                send_all(s->fd, 0, 100);
                meet(s); /* it has the data, unread */
                {
                        struct sockaddr a = { .sa_family = AF_UNSPEC };

                        note(s, "disconnect=%s", result(connect(s->fd, &a, sizeof(a))));
                }
                meet(s);
                note(s, "send=%s", result(send(s->fd, "x", 1, MSG_NOSIGNAL)));
        } else {
                readable(s->fd, 100);
                meet(s);
                meet(s);
                poll_for(s->fd, POLLRDHUP);
                note(s, "got=%zu", receive_all(s->fd, 0, 100, &right));
        }
        meet(s);
}

static void end_wakes_reader(Side *s) {
        if (s->client) {
                meet(s);
                usleep(50000);
                close(s->fd);
        } else {
                meet(s);
                note(s, "recv=%s", receive(s->fd));
        }
        meet(s);
}

static void reset_wakes_writer(Side *s) {
        struct linger l = { .l_onoff = 1 };

        if (s->client) {
                meet(s);
                usleep(300000);
                setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
                close(s->fd);
        } else {
                long r;

                meet(s);
                while ((r = send(s->fd, buffer, sizeof(buffer), MSG_NOSIGNAL)) > 0)
                        ;
                note(s, "send=%s", result(r));
        }
        meet(s);
}

const Case cases_end[] = {
        { "half-close", half_close, false },
        { "tail-after-end", tail_after_end, false },
        { "large-then-closed", large_then_closed, false },
        { "shut-reading", shut_reading, false },
        { "shut-both", shut_both, false },
        { "broken-pipe", broken_pipe, false },
        { "closed-then-sent", closed_then_sent, false },
        { "closed-with-unread", closed_with_unread, false },
        { "linger-zero", linger_zero, false },
        { "linger", linger, false },
        { "error-of-reset", error_of_reset, false },
        { "process-ends", process_ends, false },
        { "reset-after-data", reset_after_data, false },
        { "end-wakes-reader", end_wakes_reader, false },
        { "reset-wakes-writer", reset_wakes_writer, false },
        { NULL, NULL, false },
};
