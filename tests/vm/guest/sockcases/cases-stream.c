/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sockcases: bytes that go and come. */
#include <sys/mman.h>
#include <sys/sendfile.h>

#include "sockcases.h"

static uint8_t buffer[256 * 1024];

static void plain(Side *s) {
        if (s->client) {
                pattern(buffer, 1000, 0);
                note(s, "send=%s", result(send(s->fd, buffer, 1000, 0)));
        } else {
                note(s, "there=%d", readable(s->fd, 1000));
                note(s, "recv=%s", result(recv(s->fd, buffer, sizeof(buffer), 0)));
                note(s, "right=%d", is_pattern(buffer, 1000, 0));
        }
        meet(s);
}

static void nothing_sent(Side *s) {
        note(s, "send=%s recv=%s", result(send(s->fd, "", 0, 0)), result(recv(s->fd, buffer, 0, MSG_DONTWAIT)));
        meet(s);
        note(s, "then=%s", result(recv(s->fd, buffer, 1, MSG_DONTWAIT)));
        meet(s);
}

static void empty_dontwait(Side *s) {
        note(s, "flag=%s", result(recv(s->fd, buffer, 10, MSG_DONTWAIT)));
        nonblocking(s->fd, true);
        note(s, "fd=%s", result(read(s->fd, buffer, 10)));
        meet(s);
}

static void in_parts(Side *s) {
        if (s->client) {
                send_all(s->fd, 0, 5000);
        } else {
                readable(s->fd, 5000);
                for (int i = 0; i < 5; i++) {
                        long r = recv(s->fd, buffer, 1000, 0);

                        note(s, "%s:%d", result(r), is_pattern(buffer, 1000, 1000u * (unsigned) i));
                }
                note(s, "rest=%s", result(recv(s->fd, buffer, 1, MSG_DONTWAIT)));
        }
        meet(s);
}

static void full_then_drained(Side *s) {
        size_t n = 0, got = 0;
        long r;

        if (s->client) {
                n = fill(s->fd);
                note(s, "some=%d then=%s", n > 0, result(send(s->fd, "x", 1, MSG_DONTWAIT)));
                shutdown(s->fd, SHUT_WR);
                (void) !write(s->control, &n, sizeof(n));
        } else {
                (void) !read(s->control, &n, sizeof(n));
                while ((r = recv(s->fd, buffer, sizeof(buffer), 0)) > 0)
                        got += (size_t) r;
                note(s, "all=%d end=%s", got == n, result(r));
        }
}

static void large_both_ways(Side *s) {
        const size_t n = 8u << 20;
        bool right = false;
        size_t done;

        if (fork() == 0) { /* the writer shares the socket with the reader */
                done = send_all(s->fd, s->client ? 0 : 77, n);
                _exit(done == n ? 0 : 1);
        }
        done = receive_all(s->fd, s->client ? 77 : 0, n, &right);
        note(s, "all=%d right=%d", done == n, right);
        meet(s);
}

static void single_bytes(Side *s) {
        bool right;

        if (s->client) {
                for (unsigned i = 0; i < 3000; i++)
                        send_all(s->fd, i, 1);
        } else {
                note(s, "got=%zu", receive_all(s->fd, 0, 3000, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void ping_pong(Side *s) {
        uint8_t c = 0;
        int n = 0;

        for (int i = 0; i < 300; i++) {
                if (s->client && (send(s->fd, &c, 1, 0) != 1 || recv(s->fd, &c, 1, 0) != 1))
                        break;
                if (!s->client) {
                        if (recv(s->fd, &c, 1, 0) != 1)
                                break;
                        c++;
                        if (send(s->fd, &c, 1, 0) != 1)
                                break;
                }
                n++;
        }
        note(s, "rounds=%d last=%d", n, c);
        meet(s);
}

static void peek(Side *s) {
        if (s->client) {
                send_all(s->fd, 0, 100);
        } else {
                readable(s->fd, 100);
                note(s, "peek=%s", result(recv(s->fd, buffer, 60, MSG_PEEK)));
                note(s, "right=%d", is_pattern(buffer, 60, 0));
                note(s, "again=%s", result(recv(s->fd, buffer, sizeof(buffer), MSG_PEEK)));
                note(s, "right=%d", is_pattern(buffer, 100, 0));
                note(s, "recv=%s", result(recv(s->fd, buffer, sizeof(buffer), 0)));
                note(s, "peek=%s", result(recv(s->fd, buffer, 10, MSG_PEEK | MSG_DONTWAIT)));
        }
        meet(s);
}

static void peek_offset(Side *s) {
        int at = 10;

        if (s->client)
                send_all(s->fd, 0, 100);
        else {
                readable(s->fd, 100);
                note(s, "set=%s", result(setsockopt(s->fd, SOL_SOCKET, SO_PEEK_OFF, &at, sizeof(at))));
                note(s, "peek=%s", result(recv(s->fd, buffer, 20, MSG_PEEK)));
                note(s, "recv=%s", result(recv(s->fd, buffer, 100, 0)));
        }
        meet(s);
}

static void waitall(Side *s) {
        if (s->client) {
                for (unsigned i = 0; i < 10; i++) {
                        send_all(s->fd, i * 100, 100);
                        usleep(2000);
                }
        } else {
                note(s, "recv=%s", result(recv(s->fd, buffer, 1000, MSG_WAITALL)));
                note(s, "right=%d", is_pattern(buffer, 1000, 0));
        }
        meet(s);
}

static void waitall_to_the_end(Side *s) {
        if (s->client) {
                send_all(s->fd, 0, 300);
                shutdown(s->fd, SHUT_WR);
        } else {
                note(s, "recv=%s", result(recv(s->fd, buffer, 1000, MSG_WAITALL)));
                note(s, "then=%s", result(recv(s->fd, buffer, 1000, MSG_WAITALL)));
        }
        meet(s);
}

static void waitall_timeout(Side *s) {
        if (s->client)
                send_all(s->fd, 0, 300);
        else {
                readable(s->fd, 300);
                timeout_of(s->fd, SO_RCVTIMEO, 200);
                note(s, "recv=%s", result(recv(s->fd, buffer, 1000, MSG_WAITALL)));
                note(s, "then=%s", result(recv(s->fd, buffer, 1000, MSG_WAITALL)));
        }
        meet(s);
}

static void receive_timeout(Side *s) {
        timeout_of(s->fd, SO_RCVTIMEO, 100);
        note(s, "recv=%s", result(recv(s->fd, buffer, 1, 0)));
        meet(s);
}

static void send_timeout(Side *s) {
        if (s->client) {
                fill(s->fd);
                timeout_of(s->fd, SO_SNDTIMEO, 100);
                note(s, "send=%s", result(send(s->fd, "x", 1, 0)));
        }
        meet(s);
}

static void low_water_mark(Side *s) {
        int mark = 100;

        if (s->client) {
                send_all(s->fd, 0, 50);
                meet(s);
                send_all(s->fd, 50, 50);
        } else {
                setsockopt(s->fd, SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof(mark));
                readable(s->fd, 50);
                note(s, "half=%s", polled(s->fd, POLLIN));
                meet(s);
                note(s, "whole=%s", poll_for(s->fd, POLLIN));
                note(s, "recv=%s", result(recv(s->fd, buffer, 1000, 0)));
        }
        meet(s);
}

static void truncated(Side *s) {
        if (s->client)
                send_all(s->fd, 0, 1000);
        else {
                readable(s->fd, 1000);
                note(s, "drop=%s", result(recv(s->fd, NULL, 600, MSG_TRUNC)));
                note(s, "recv=%s", result(recv(s->fd, buffer, 1000, 0)));
                note(s, "right=%d", is_pattern(buffer, 400, 600));
        }
        meet(s);
}

static void scattered(Side *s) {
        struct iovec v[3] = { { buffer, 10 }, { buffer + 1000, 500 }, { buffer + 2000, 90 } };

        if (s->client) {
                pattern(buffer, 10, 0);
                pattern(buffer + 1000, 500, 10);
                pattern(buffer + 2000, 90, 510);
                note(s, "writev=%s", result(writev(s->fd, v, 3)));
        } else {
                readable(s->fd, 600);
                note(s, "readv=%s", result(readv(s->fd, v, 3)));
                note(s, "right=%d%d%d", is_pattern(buffer, 10, 0), is_pattern(buffer + 1000, 500, 10),
                     is_pattern(buffer + 2000, 90, 510));
        }
        meet(s);
}

static void messages(Side *s) {
        struct iovec v[2] = { { buffer, 100 }, { buffer + 100, 200 } };
        struct mmsghdr m[2] = { { .msg_hdr = { .msg_iov = &v[0], .msg_iovlen = 1 } },
                                { .msg_hdr = { .msg_iov = &v[1], .msg_iovlen = 1 } } };

        if (s->client) {
                pattern(buffer, 300, 0);
                note(s, "sendmmsg=%s", result(sendmmsg(s->fd, m, 2, 0)));
        } else {
                readable(s->fd, 300);
                note(s, "recvmmsg=%s", result(recvmmsg(s->fd, m, 2, 0, NULL)));
                note(s, "parts=%u+%u flags=%x right=%d", m[0].msg_len, m[1].msg_len, m[0].msg_hdr.msg_flags,
                     is_pattern(buffer, 300, 0));
        }
        meet(s);
}

static void file_sent(Side *s) {
        int file = memfd_create("case", 0);
        const size_t n = 200000;
        size_t done = 0;
        off_t at = 0;
        bool right;

        if (s->client) {
                pattern(buffer, n, 3);
                (void) !write(file, buffer, n);
                send_all(s->fd, 0, 3);
                while (done < n) {
                        long r = sendfile(s->fd, file, &at, n - done);

                        if (r <= 0)
                                break;
                        done += (size_t) r;
                }
                note(s, "sendfile=%zu", done);
                send_all(s->fd, 3 + n, 5);
        } else {
                done = receive_all(s->fd, 0, n + 8, &right);
                note(s, "got=%zu right=%d", done, right);
        }
        meet(s);
}

static void spliced_in(Side *s) {
        bool right;
        int p[2];

        if (s->client) {
                (void) !pipe(p);
                pattern(buffer, 10000, 0);
                (void) !write(p[1], buffer, 10000);
                note(s, "splice=%s", result(splice(p[0], NULL, s->fd, NULL, 10000, 0)));
        } else {
                note(s, "got=%zu", receive_all(s->fd, 0, 10000, &right));
                note(s, "right=%d", right);
        }
        meet(s);
}

static void spliced_out(Side *s) {
        size_t done = 0;
        int p[2];
        long r;

        if (s->client) {
                send_all(s->fd, 0, 10000);
        } else {
                (void) !pipe(p);
                readable(s->fd, 10000);
                while (done < 10000 && (r = splice(s->fd, NULL, p[1], NULL, 10000 - done, 0)) > 0)
                        done += (size_t) r;
                note(s, "splice=%zu", done);
                note(s, "read=%s", result(read(p[0], buffer, 10000)));
                note(s, "right=%d", is_pattern(buffer, 10000, 0));
        }
        meet(s);
}

static void bad_address_out(Side *s) {
        if (s->client) {
                note(s, "send=%s", result(send(s->fd, (void *) 16, 100, 0)));
                send_all(s->fd, 0, 10);
        } else {
                readable(s->fd, 10);
                note(s, "recv=%s", result(recv(s->fd, buffer, 100, 0)));
                note(s, "right=%d", is_pattern(buffer, 10, 0));
        }
        meet(s);
}

static void bad_address_in(Side *s) {
        if (s->client) {
                send_all(s->fd, 0, 100);
        } else {
                readable(s->fd, 100);
                note(s, "bad=%s", result(recv(s->fd, (void *) 16, 100, 0)));
                note(s, "good=%s", result(recv(s->fd, buffer, 100, 0)));
                note(s, "right=%d", is_pattern(buffer, 100, 0));
        }
        meet(s);
}

static void more_to_come(Side *s) {
        if (s->client) {
                pattern(buffer, 200, 0);
                send(s->fd, buffer, 100, MSG_MORE);
                send(s->fd, buffer + 100, 100, 0);
        } else {
                note(s, "there=%d", readable(s->fd, 200));
                note(s, "recv=%s", result(recv(s->fd, buffer, 1000, 0)));
                note(s, "right=%d", is_pattern(buffer, 200, 0));
        }
        meet(s);
}

static void corked(Side *s) {
        int on = 1, off = 0;

        if (s->client) {
                note(s, "cork=%s", result(setsockopt(s->fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on))));
                send_all(s->fd, 0, 100);
                send_all(s->fd, 100, 100);
                setsockopt(s->fd, IPPROTO_TCP, TCP_CORK, &off, sizeof(off));
        } else {
                note(s, "there=%d", readable(s->fd, 200));
                note(s, "recv=%s", result(recv(s->fd, buffer, 1000, 0)));
        }
        meet(s);
}

static void addressed(Side *s) {
        if (s->client) {
                note(s, "sendto=%s", result(sendto(s->fd, "abc", 3, 0, (struct sockaddr *) &s->peer, s->peer_size)));
        } else {
                struct sockaddr_storage from = { 0 };
                socklen_t n = sizeof(from);

                readable(s->fd, 3);
                note(s, "recvfrom=%s", result(recvfrom(s->fd, buffer, 10, 0, (struct sockaddr *) &from, &n)));
                note(s, "from=%u", n);
        }
        meet(s);
}

const Case cases_stream[] = {
        { "plain", plain, false },
        { "nothing-sent", nothing_sent, false },
        { "empty-dontwait", empty_dontwait, false },
        { "in-parts", in_parts, false },
        { "full-then-drained", full_then_drained, false },
        { "large-both-ways", large_both_ways, false },
        { "single-bytes", single_bytes, false },
        { "ping-pong", ping_pong, false },
        { "peek", peek, false },
        { "peek-offset", peek_offset, false },
        { "waitall", waitall, false },
        { "waitall-to-the-end", waitall_to_the_end, false },
        { "waitall-timeout", waitall_timeout, false },
        { "receive-timeout", receive_timeout, false },
        { "send-timeout", send_timeout, false },
        { "low-water-mark", low_water_mark, false },
        { "truncated", truncated, false },
        { "scattered", scattered, false },
        { "messages", messages, false },
        { "file-sent", file_sent, false },
        { "spliced-in", spliced_in, false },
        { "spliced-out", spliced_out, false },
        { "bad-address-out", bad_address_out, false },
        { "bad-address-in", bad_address_in, false },
        { "more-to-come", more_to_come, false },
        { "corked", corked, false },
        { "addressed", addressed, false },
        { NULL, NULL, false },
};
