/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sockcases: runs the cases between two machines; see sockcases.h.
 *
 *     sockcases serve PORT                    runs until it is killed
 *     sockcases run ADDRESS PORT [--ready FILE] [CASE...]
 *
 * The client prints one line for each case and end: "NAME client|server key=value ...". A case that did not come to
 * its end within a time is "lost". With --ready, a case begins when a line of FILE has ":PORT" of its connection and the
 * word "pipe"; a connection for which that did not happen is named on standard error. Those of UDP look into the file "flows"
 * beside it. */
#include <arpa/inet.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

#include "sockcases.h"

#define CASE_SEC 40
#define READY_MSEC 15000

static const char *ready_file;

static void die(const char *what) {
        perror(what);
        exit(2);
}

void note(Side *s, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        fputc(' ', s->notes);
        vfprintf(s->notes, format, ap);
        va_end(ap);
}

const char *result(long r) {
        static char buffers[4][32];
        static int turn;
        char *b = buffers[turn++ % 4];

        if (r < 0)
                return strerrorname_np(errno) ?: "?";
        snprintf(b, sizeof(buffers[0]), "%ld", r);
        return b;
}

static int64_t now_msec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static bool move_all(int fd, void *p, size_t n, bool out) {
        while (n > 0) {
                ssize_t r = out ? write(fd, p, n) : read(fd, p, n);

                if (r <= 0 && !(r < 0 && errno == EINTR))
                        return false;
                if (r > 0) {
                        p = (char *) p + r;
                        n -= (size_t) r;
                }
        }
        return true;
}

void meet(Side *s) {
        char c = 'm';

        if (!move_all(s->control, &c, 1, true) || !move_all(s->control, &c, 1, false))
                die("the other end of the case is gone");
}

bool readable(int fd, int bytes) {
        int64_t end = now_msec() + 5000;
        int there = 0;

        while (ioctl(fd, FIONREAD, &there) == 0 && there < bytes && now_msec() < end)
                usleep(2000);
        return there >= bytes;
}

static const char *events_text(int r, short revents) {
        static char buffers[4][64];
        static int turn;
        static const struct {
                short bit;
                const char *name;
        } names[] = { { POLLIN, "in" }, { POLLPRI, "pri" }, { POLLOUT, "out" }, { POLLRDHUP, "rdhup" },
                      { POLLERR, "err" }, { POLLHUP, "hup" }, { POLLNVAL, "nval" } };
        char *b = buffers[turn++ % 4];

        if (r < 0)
                return result(r);
        b[0] = '\0';
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                if (revents & names[i].bit)
                        sprintf(b + strlen(b), "%s%s", b[0] ? "+" : "", names[i].name);
        return b[0] ? b : "none";
}

const char *polled(int fd, short events) {
        struct pollfd p = { .fd = fd, .events = events };
        int r = poll(&p, 1, 0);

        return events_text(r, p.revents);
}

const char *poll_for(int fd, short events) {
        struct pollfd p = { .fd = fd, .events = events };
        int r = poll(&p, 1, 5000);

        return events_text(r, p.revents);
}

static uint8_t byte_at(uint64_t position) {
        uint64_t x = (position + 1) * 0x9e3779b97f4a7c15u;

        return (uint8_t) (x >> 56);
}

void pattern(uint8_t *p, size_t n, uint64_t position) {
        for (size_t i = 0; i < n; i++)
                p[i] = byte_at(position + i);
}

bool is_pattern(const uint8_t *p, size_t n, uint64_t position) {
        for (size_t i = 0; i < n; i++)
                if (p[i] != byte_at(position + i))
                        return false;
        return true;
}

size_t send_all(int fd, uint64_t position, size_t n) {
        static uint8_t buffer[64 * 1024];
        size_t done = 0;

        while (done < n) {
                size_t part = n - done < sizeof(buffer) ? n - done : sizeof(buffer);
                ssize_t r;

                pattern(buffer, part, position + done);
                r = send(fd, buffer, part, MSG_NOSIGNAL);
                if (r <= 0)
                        break;
                done += (size_t) r;
        }
        return done;
}

size_t receive_all(int fd, uint64_t position, size_t n, bool *ret_right) {
        static uint8_t buffer[64 * 1024];
        size_t done = 0;

        *ret_right = true;
        while (done < n) {
                size_t part = n - done < sizeof(buffer) ? n - done : sizeof(buffer);
                ssize_t r = recv(fd, buffer, part, 0);

                if (r <= 0)
                        break;
                if (!is_pattern(buffer, (size_t) r, position + done))
                        *ret_right = false;
                done += (size_t) r;
        }
        return done;
}

void nonblocking(int fd, bool on) {
        int flags = fcntl(fd, F_GETFL);

        fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}

void timeout_of(int fd, int option, int msec) {
        struct timeval t = { .tv_sec = msec / 1000, .tv_usec = msec % 1000 * 1000 };

        setsockopt(fd, SOL_SOCKET, option, &t, sizeof(t));
}

size_t fill(int fd) {
        static const uint8_t zeros[16 * 1024];
        size_t done = 0;
        ssize_t r;

        for (int64_t quiet = now_msec() + 300; now_msec() < quiet;) {
                r = send(fd, zeros, sizeof(zeros), MSG_DONTWAIT | MSG_NOSIGNAL);
                if (r > 0) {
                        done += (size_t) r;
                        quiet = now_msec() + 300; /* what is on its way makes room */
                } else if (errno != EAGAIN) {
                        break;
                } else {
                        usleep(5000);
                }
        }
        return done;
}

int connect_to(const Side *s) {
        int fd = socket(s->peer.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (fd < 0 || connect(fd, (const struct sockaddr *) &s->peer, s->peer_size) < 0)
                die("connect");
        return fd;
}

static uint16_t *port_of(struct sockaddr_storage *a) {
        return a->ss_family == AF_INET6 ? &((struct sockaddr_in6 *) a)->sin6_port
                                        : &((struct sockaddr_in *) a)->sin_port;
}

static uint16_t own_port(int fd) {
        struct sockaddr_storage a;
        socklen_t n = sizeof(a);

        if (getsockname(fd, (struct sockaddr *) &a, &n) < 0)
                die("getsockname");
        return ntohs(*port_of(&a));
}

static const Case *find_case(const char *name) {
        const Case *all[] = { cases_stream, cases_events, cases_end, cases_more, cases_tcp, cases_udp };

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                for (const Case *c = all[i]; c->name; c++)
                        if (strcmp(c->name, name) == 0)
                                return c;
        return NULL;
}

/* Whether the connection of that port is by the pipe; what is said of it. */
static bool is_ready(uint16_t port, char ret[static 512]) {
        char line[512], want[16];
        FILE *f = fopen(ready_file, "re");
        bool found = false;

        snprintf(ret, 512, "not listed\n");
        snprintf(want, sizeof(want), ":%u ", port);
        while (f && !found && fgets(line, sizeof(line), f)) {
                if (!strstr(line, want))
                        continue;
                found = strstr(line, " pipe");
                memcpy(ret, line, sizeof(line));
        }
        if (f)
                fclose(f);
        return found;
}

bool by_ring(int fd) {
        char line[512], want[16], path[256];
        bool to = false, from = false;
        FILE *f;

        if (!ready_file)
                return true;
        snprintf(path, sizeof(path), "%.*s/flows", (int) (strrchr(ready_file, '/') - ready_file), ready_file);
        f = fopen(path, "re");
        snprintf(want, sizeof(want), ":%u ", own_port(fd));
        while (f && fgets(line, sizeof(line), f)) {
                bool ring = strstr(line, want) && strstr(line, " ring ok");

                to |= ring && strstr(line, " to peer");
                from |= ring && strstr(line, " from peer");
        }
        if (f)
                fclose(f);
        return to && from;
}

/* A byte there and back, until the connection has gone where it should (the client sees that). */
static void warm_up(Side *s, const char *name) {
        int64_t end = now_msec() + READY_MSEC;
        uint16_t port = own_port(s->fd);
        char more = 1, c = 0, said[512];

        do {
                if (s->client) {
                        more = ready_file && !is_ready(port, said) && now_msec() < end;
                        (void) move_all(s->fd, &more, 1, true);
                        (void) move_all(s->fd, &c, 1, false);
                } else {
                        (void) move_all(s->fd, &more, 1, false);
                        (void) move_all(s->fd, &c, 1, true);
                }
        } while (more);
        if (s->client && ready_file && !is_ready(port, said))
                fprintf(stderr, "%s: not by pipe: %s", name, said);
}

/* The server's end of one case: control is connected, the rest is told over it. */
static void serve_case(int control, const struct sockaddr_storage *own, socklen_t own_size) {
        struct sockaddr_storage a = *own;
        Side s = { .control = control, .fd = -1 };
        char name[64] = "", *text = NULL;
        size_t size = 0;
        uint16_t port;
        const Case *c;

        alarm(CASE_SEC);
        if (!move_all(control, name, sizeof(name) - 1, false) || !(c = find_case(name)))
                exit(1);
        *port_of(&a) = 0;
        s.listener = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(s.listener, (struct sockaddr *) &a, own_size) < 0 || listen(s.listener, 16) < 0)
                die("listen");
        port = own_port(s.listener);
        s.notes = open_memstream(&text, &size);
        if (!move_all(control, &port, sizeof(port), true))
                exit(1);
        if (!c->raw) {
                s.fd = accept4(s.listener, NULL, NULL, SOCK_CLOEXEC);
                warm_up(&s, name);
                meet(&s);
        }
        c->run(&s);
        fclose(s.notes);
        (void) move_all(control, text, size, true);
        exit(0);
}

static void run_case(const Case *c, const struct sockaddr_storage *server, socklen_t size) {
        Side s = { .client = true, .fd = -1, .listener = -1, .peer = *server, .peer_size = size };
        char name[64] = "", answer[4096] = "", *text = NULL;
        size_t n = 0;
        uint16_t port;
        ssize_t r;

        alarm(CASE_SEC);
        snprintf(name, sizeof(name), "%s", c->name);
        s.control = connect_to(&s);
        if (!move_all(s.control, name, sizeof(name) - 1, true) || !move_all(s.control, &port, sizeof(port), false))
                die("control");
        *port_of(&s.peer) = htons(port);
        s.notes = open_memstream(&text, &n);
        if (!c->raw) {
                s.fd = connect_to(&s);
                warm_up(&s, c->name);
                meet(&s);
        }
        c->run(&s);
        fclose(s.notes);
        n = 0;
        while (n < sizeof(answer) - 1 && (r = read(s.control, answer + n, sizeof(answer) - 1 - n)) > 0)
                n += (size_t) r;
        printf("%s client%s\n%s server%s\n", c->name, text, c->name, answer);
        fflush(stdout);
        exit(0);
}

static int run_cases(const struct sockaddr_storage *server, socklen_t size, char **names) {
        const Case *all[] = { cases_stream, cases_events, cases_end, cases_more, cases_tcp, cases_udp };
        int n_lost = 0, status;
        pid_t pid;

        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
                for (const Case *c = all[i]; c->name; c++) {
                        bool wanted = !names[0];

                        for (char **n = names; *n; n++)
                                wanted |= strcmp(*n, c->name) == 0;
                        if (!wanted)
                                continue;
                        pid = fork();
                        if (pid == 0)
                                run_case(c, server, size);
                        if (waitpid(pid, &status, 0) < 0 || status != 0) {
                                printf("%s lost (%s %d)\n", c->name, WIFSIGNALED(status) ? "signal" : "status",
                                       WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
                                fflush(stdout);
                                n_lost++;
                        }
                }
        return n_lost;
}

static _Noreturn void serve(const char *port) {
        struct sockaddr_storage any = { .ss_family = AF_INET6 };
        int one = 1, listener = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

        signal(SIGCHLD, SIG_IGN);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        *port_of(&any) = htons((uint16_t) atoi(port));
        if (bind(listener, (struct sockaddr *) &any, sizeof(struct sockaddr_in6)) < 0 || listen(listener, 64) < 0)
                die("listen");
        for (;;) {
                int control = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

                if (control < 0)
                        continue;
                if (fork() == 0) {
                        signal(SIGCHLD, SIG_DFL);
                        serve_case(control, &any, sizeof(struct sockaddr_in6));
                }
                close(control);
        }
}

int main(int argc, char **argv) {
        struct sockaddr_storage server = { 0 };
        struct sockaddr_in *v4 = (struct sockaddr_in *) &server;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) &server;

        if (argc == 3 && strcmp(argv[1], "serve") == 0)
                serve(argv[2]);
        if (argc >= 4 && strcmp(argv[1], "run") == 0 && inet_pton(AF_INET, argv[2], &v4->sin_addr) == 1)
                server.ss_family = AF_INET;
        else if (argc >= 4 && strcmp(argv[1], "run") == 0 && inet_pton(AF_INET6, argv[2], &v6->sin6_addr) == 1)
                server.ss_family = AF_INET6;
        else {
                fprintf(stderr, "sockcases serve PORT | sockcases run ADDRESS PORT [--ready FILE] [CASE...]\n");
                return 2;
        }
        *port_of(&server) = htons((uint16_t) atoi(argv[3]));
        argv += 4;
        if (*argv && strcmp(*argv, "--ready") == 0 && argv[1]) {
                ready_file = argv[1];
                argv += 2;
        }
        return run_cases(&server, server.ss_family == AF_INET ? sizeof(*v4) : sizeof(*v6), argv) ? 1 : 0;
}
