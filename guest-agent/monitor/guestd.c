/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memlego-guestd: tells memlegod on the host how this guest's memory is, each interval and at once when tasks wait for it.
 *
 * While nobody on the host listens it sleeps, and costs nothing. It never waits for the host: what cannot be written now
 * is dropped, because the next report says it again. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "order.h"
#include "port.h"
#include "session.h"
#include "stack.h"

#ifndef MLG_VERSION
#define MLG_VERSION "0"
#endif

#define SEC UINT64_C(1000000)
/* How often a port that is not there, or is taken, is looked for; and how often a host that has the other end and
 * says nothing gets a hello: first after a second, then less and less. */
#define AGAIN_FIRST_USEC SEC
#define AGAIN_MOST_USEC (10 * SEC)
#define NEVER UINT64_MAX

typedef struct Guestd {
        const char *port_path, *root;
        uint64_t least_usec; /* --interval: no report sooner after another */
        bool once, print;

        FactsReader reader;
        Session session;
        Order order;
        MlgMonitorStream in;
        int epoll, port, trigger; /* -1: closed */
        uint64_t window_usec;     /* that the trigger got */
        uint64_t trigger_stall_usec, trigger_want_usec;
        uint64_t due_usec;        /* next report; or next try, without a port or a session */
        uint64_t again_usec;
} Guestd;

static volatile sig_atomic_t stop;

static void on_signal(int signo) {
        stop = signo;
}

static uint64_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * SEC + (uint64_t) ts.tv_nsec / 1000;
}

static int watch(Guestd *g, int fd, uint32_t events) {
        struct epoll_event e = { .events = events, .data.fd = fd };

        return epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static void close_fd(int *fd) {
        if (*fd >= 0)
                (void) close(*fd); /* epoll forgets it */
        *fd = -1;
}

static void again(Guestd *g, uint64_t now) {
        g->due_usec = now + g->again_usec;
        g->again_usec = g->again_usec * 2 > AGAIN_MOST_USEC ? AGAIN_MOST_USEC : g->again_usec * 2;
}

static void end_session(Guestd *g) {
        close_fd(&g->trigger);
        g->session = (Session) { .id = 0 };
        g->in = (MlgMonitorStream) { .n = 0 };
        g->window_usec = 0;
        g->again_usec = AGAIN_FIRST_USEC;
}

static void lose_port(Guestd *g, uint64_t now) {
        end_session(g);
        close_fd(&g->port);
        again(g, now);
}

/* A trigger cannot be changed, only made anew. */
static void set_trigger(Guestd *g, uint64_t stall_usec, uint64_t window_usec) {
        char path[512];

        if (g->trigger >= 0 && g->trigger_stall_usec == stall_usec && g->trigger_want_usec == window_usec)
                return;
        close_fd(&g->trigger);
        (void) snprintf(path, sizeof(path), "%s/proc/pressure/memory", g->root);
        g->trigger = trigger_open(path, stall_usec, window_usec, &g->window_usec);
        g->trigger_stall_usec = stall_usec;
        g->trigger_want_usec = window_usec;
        if (g->trigger >= 0 && watch(g, g->trigger, EPOLLPRI) < 0)
                close_fd(&g->trigger);
}

static void print_facts(const MlgFacts *f, bool alarm) {
        static const char *const names[MLG_FIELD_VALUES] = {
                [MLG_FACT(MLG_FIELD_TOTAL)] = "total_kib", [MLG_FACT(MLG_FIELD_AVAILABLE)] = "available_kib",
                [MLG_FACT(MLG_FIELD_FREE)] = "free_kib", [MLG_FACT(MLG_FIELD_ACTIVE)] = "active_kib",
                [MLG_FACT(MLG_FIELD_INACTIVE)] = "inactive_kib", [MLG_FACT(MLG_FIELD_SWAP_IN)] = "swap_in_kib",
                [MLG_FACT(MLG_FIELD_SWAP_OUT)] = "swap_out_kib", [MLG_FACT(MLG_FIELD_MAJOR_FAULTS)] = "major_faults",
                [MLG_FACT(MLG_FIELD_REFAULTS)] = "refault_kib", [MLG_FACT(MLG_FIELD_PSI_SOME)] = "psi_some_usec",
                [MLG_FACT(MLG_FIELD_PSI_FULL)] = "psi_full_usec", [MLG_FACT(MLG_FIELD_OOM_KILLS)] = "oom_kills",
                [MLG_FACT(MLG_FIELD_COLD)] = "cold_kib", [MLG_FACT(MLG_FIELD_COLD_AGE)] = "cold_age_sec",
                [MLG_FACT(MLG_FIELD_SWAPPED)] = "swapped_kib", [MLG_FACT(MLG_FIELD_SWAP_IN_NUMBER)] = "swap_in_number",
                [MLG_FACT(MLG_FIELD_SWAP_IN_STATE)] = "swap_in_state", [MLG_FACT(MLG_FIELD_SWAP_IN_DONE)] = "swap_in_done_kib",
                [MLG_FACT(MLG_FIELD_STACK_CALLS)] = "stack_calls", [MLG_FACT(MLG_FIELD_STACK_HELD)] = "stack_held_bytes",
                [MLG_FACT(MLG_FIELD_STACK_REFUSED)] = "stack_refused", [MLG_FACT(MLG_FIELD_STACK_FOREIGN)] = "stack_foreign",
                [MLG_FACT(MLG_FIELD_STACK_PLACE)] = "stack_place", [MLG_FACT(MLG_FIELD_STACK_NOTHING)] = "stack_nothing",
                [MLG_FACT(MLG_FIELD_STACK_TRACED)] = "stack_traced", [MLG_FACT(MLG_FIELD_STACK_LOST)] = "stack_lost",
                [MLG_FACT(MLG_FIELD_STACK_NO_CHILD)] = "stack_no_child",
        };

        printf("alarm=%d", alarm);
        for (int i = 0; i < MLG_FIELD_VALUES; i++)
                if (f->known & UINT32_C(1) << i)
                        printf(" %s=%" PRIu64, names[i], f->values[i]);
        printf("\n");
        (void) fflush(stdout);
}

static void send_frame(Guestd *g, const MlgMonitorFrame *f, uint64_t now) {
        int r = port_write(g->port, f);

        if (r == 0)
                session_sent(&g->session);
        else if (r != -EAGAIN)
                lose_port(g, now);
}

/* What is there whether or not the host has ordered anything. */
static void read_facts(Guestd *g, uint64_t now, MlgFacts *ret) {
        facts_read(&g->reader, now, facts_free_kib(), ret);
        stack_facts(g->root, ret);
}

static void report(Guestd *g, bool alarm, uint64_t now) {
        MlgMonitorFrame frame;
        MlgFacts facts;

        read_facts(g, now, &facts);
        order_facts(&g->order, &facts);
        g->due_usec = now + (g->session.interval_usec > g->least_usec ? g->session.interval_usec : g->least_usec);
        if (g->print)
                print_facts(&facts, alarm);
        if (g->port < 0)
                return;
        session_report(&g->session, &facts, alarm, &frame);
        send_frame(g, &frame, now);
}

static void say_hello(Guestd *g, uint64_t now) {
        MlgMonitorFrame frame;
        MlgFacts facts;

        read_facts(g, now, &facts);
        session_hello(&g->session, mlg_monitor_features(facts.known), g->window_usec, &frame);
        send_frame(g, &frame, now);
}

/* Answered at once: the host says it again until it is. */
static void take_order(Guestd *g, uint64_t now) {
        bool ran = g->order.out >= 0;

        order_take(&g->order, g->session.order_number, g->session.order_kib);
        if (!ran && g->order.out >= 0 && watch(g, g->order.out, EPOLLIN) < 0)
                close_fd(&g->order.out); /* it goes on, but nobody will hear of it */
        report(g, false, now);
}

static void take_frames(Guestd *g, uint64_t now) {
        bool is_new = false, any_new = false, changed = false;
        MlgMonitorFrame f;
        int r;

        while ((r = mlg_monitor_stream_next(&g->in, &f)) > 0) {
                changed |= session_take(&g->session, &f, &is_new);
                any_new |= is_new;
        }
        if (r < 0) { /* no host of ours: begin anew, with its next hello */
                end_session(g);
                again(g, now);
                return;
        }
        if (changed)
                set_trigger(g, g->session.stall_usec, g->session.window_usec);
        if (any_new) {
                order_forget(&g->order);
                say_hello(g, now);
        }
        if (changed && g->session.id != 0)
                report(g, false, now);
        if (g->session.order_number > g->order.number)
                take_order(g, now);
}

static void read_port(Guestd *g, uint64_t now) {
        ssize_t n = 0;
        size_t room;

        while (g->port >= 0) { /* watched by edges: until there is nothing more */
                uint8_t *to = mlg_monitor_stream_room(&g->in, &room);

                n = read(g->port, to, room);
                if (n <= 0)
                        break;
                mlg_monitor_stream_filled(&g->in, (size_t) n);
                take_frames(g, now);
        }
        if (g->port < 0)
                return;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
                lose_port(g, now);
        else if (n == 0) { /* nobody has the other end; else there would be EAGAIN */
                end_session(g);
                g->due_usec = NEVER; /* the kernel tells when somebody comes */
        } else if (g->session.id == 0 && g->due_usec == NEVER)
                again(g, now); /* somebody came */
}

static void open_port(Guestd *g, uint64_t now) {
        g->port = port_open(g->port_path);
        if (g->port < 0 || watch(g, g->port, EPOLLIN | EPOLLET) < 0) {
                close_fd(&g->port);
                again(g, now);
                return;
        }
        end_session(g);
        g->due_usec = port_is_connected(g->port) ? now : NEVER;
        read_port(g, now);
}

static void on_due(Guestd *g, uint64_t now) {
        if (g->session.id != 0 || g->print) {
                report(g, false, now);
        } else if (g->port < 0) {
                open_port(g, now);
        } else if (port_is_connected(g->port)) {
                say_hello(g, now); /* the host began to talk to who had the port before us */
                if (g->port >= 0)
                        again(g, now);
        } else
                g->due_usec = NEVER;
}

static int wait_msec(const Guestd *g, uint64_t now) {
        if (g->due_usec == NEVER)
                return -1;
        return g->due_usec <= now ? 0 : (int) ((g->due_usec - now + 999) / 1000);
}

static int run(Guestd *g) {
        struct epoll_event events[4];
        int n;

        g->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (g->epoll < 0)
                return -errno;
        g->again_usec = AGAIN_FIRST_USEC;
        g->due_usec = 0;
        if (g->print)
                set_trigger(g, g->session.stall_usec, g->session.window_usec);
        while (!stop) {
                uint64_t now = now_usec();

                n = epoll_wait(g->epoll, events, 4, wait_msec(g, now));
                now = now_usec();
                for (int i = 0; i < n; i++) {
                        if (events[i].data.fd == g->trigger && events[i].events & EPOLLERR)
                                close_fd(&g->trigger); /* PSI was switched off */
                        else if (events[i].data.fd == g->trigger)
                                report(g, true, now);
                        else if (events[i].data.fd == g->port)
                                read_port(g, now);
                        else if (events[i].data.fd == g->order.out && order_readable(&g->order))
                                report(g, false, now);
                }
                if (now >= g->due_usec)
                        on_due(g, now);
        }
        return 0;
}

static int once(Guestd *g) {
        MlgFacts facts;

        read_facts(g, now_usec(), &facts);
        print_facts(&facts, false);
        return 0;
}

static int usage(FILE *to, int status) {
        fputs("memlego-guestd [OPTIONS...]\n\n"
              "Tells memlegod on the host how much memory this guest needs.\n\n"
              "  -p, --port=PATH      the channel (default " PORT_PATH ")\n"
              "  -i, --interval=SEC   report no more often than this, whatever the host wants (at least 0.05)\n"
              "      --once           print what would be told, and exit\n"
              "      --print          print it each interval (default 1 s), and each alarm; no channel is opened\n"
              "      --version        print the version\n"
              "  -h, --help           print this\n", to);
        return status;
}

static bool parse_interval(const char *text, uint64_t *ret) {
        char *end;
        double sec = strtod(text, &end);

        if (end == text || *end || !(sec >= 0.05 && sec <= 60.0))
                return false;
        *ret = (uint64_t) (sec * 1e6);
        return true;
}

/* -1: go on; else the exit status. */
static int parse_options(Guestd *g, int argc, char **argv) {
        static const struct option options[] = {
                { "port", required_argument, NULL, 'p' }, { "interval", required_argument, NULL, 'i' },
                { "once", no_argument, NULL, 'o' }, { "print", no_argument, NULL, 'P' },
                { "version", no_argument, NULL, 'V' }, { "help", no_argument, NULL, 'h' }, { NULL, 0, NULL, 0 },
        };
        int c;

        while ((c = getopt_long(argc, argv, "p:i:h", options, NULL)) >= 0)
                switch (c) {
                case 'p':
                        g->port_path = optarg;
                        break;
                case 'i':
                        if (parse_interval(optarg, &g->least_usec))
                                break;
                        fprintf(stderr, "memlego-guestd: --interval: '%s' is not a time from 0.05 to 60 seconds\n", optarg);
                        return 2;
                case 'o':
                        g->once = true;
                        break;
                case 'P':
                        g->print = true;
                        break;
                case 'V':
                        printf("memlego-guestd " MLG_VERSION "\n");
                        return 0;
                case 'h':
                        return usage(stdout, 0);
                default:
                        return usage(stderr, 2);
                }
        if (optind < argc) {
                fprintf(stderr, "memlego-guestd: unexpected argument '%s'\n", argv[optind]);
                return 2;
        }
        return -1;
}

int main(int argc, char **argv) {
        Guestd g = { .port_path = PORT_PATH, .root = "", .order = { .program = ORDER_PROGRAM, .out = -1 },
                     .epoll = -1, .port = -1, .trigger = -1 };
        struct sigaction act = { .sa_handler = on_signal };
        MlgMonitorFrame defaults = { .type = MLG_MONITOR_HELLO, .session = 1 };
        bool is_new;
        int r = parse_options(&g, argc, argv);

        if (r >= 0)
                return r;
        (void) sigaction(SIGTERM, &act, NULL);
        (void) sigaction(SIGINT, &act, NULL);
        (void) signal(SIGPIPE, SIG_IGN);
        (void) signal(SIGCHLD, SIG_IGN); /* nobody waits for what carried out an order */
        r = facts_open(&g.reader, g.root);
        if (r < 0) {
                fprintf(stderr, "memlego-guestd: cannot open /proc/meminfo: %s\n", strerror(-r));
                return 1;
        }
        if (g.print) /* as if a host with no wishes had said hello */
                (void) session_take(&g.session, &defaults, &is_new);
        r = g.once ? once(&g) : run(&g);
        facts_close(&g.reader);
        if (r < 0)
                fprintf(stderr, "memlego-guestd: %s\n", strerror(-r));
        return r < 0;
}
