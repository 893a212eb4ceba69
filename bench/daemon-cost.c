/* SPDX-License-Identifier: GPL-2.0-or-later */
/* daemon-cost: what memlegod itself costs, by number of guests, on the fake hypervisor.
 *
 * The whole service runs in a process of its own, without a bus, at ten polls a second; each poll brings
 * a new report of each guest. First nothing changes: that is the cost of polls. Then one guest in fifty
 * changes its demand each second: what that costs on top, looks between polls and state file included, is
 * the cost of moves. CPU time is read from the process's clock, less what the simulation of the guests
 * took. decide() is timed apart, on an engine that is in one of three conditions (plenty, tight, short of
 * memory); the slowest median counts. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include "decide.h"
#include "fake-hypervisor.h"
#include "service/daemon.h"
#include "util/util.h"

#define GUEST_KIB (1024 * SIM_MIB)
#define N_POLLS 100
#define N_CALM_POLLS 20
#define LIMIT_USEC (120 * SIM_SEC)

static uint64_t clock_nsec(clockid_t id) {
        struct timespec ts;

        (void) clock_gettime(id, &ts);
        return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

static void die(const char *what) {
        (void) fprintf(stderr, "daemon-cost: %s: %s\n", what, strerror(errno));
        exit(1);
}

typedef struct Row {
        double cpu_usec, move_usec, decide_usec;
        uint64_t rss_kib;
} Row;

/* ---- the whole service ---- */

typedef struct Daemon {
        FakeWorld *w;
        char *dir, *config, *meminfo;
        pid_t pid;
} Daemon;

static void run_daemon(const Daemon *d) {
        MlgDaemonOptions options = {
                .make_hypervisor = fake_hypervisor_make,
                .config_path = d->config,
                .connect_uri = "fake:///",
                .state_dir = d->dir,
                .proc_root = d->dir,
                .foreground = true,
        };
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) dup2(null, STDERR_FILENO);
        (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/memlego-bench", 1);
        (void) unsetenv("NOTIFY_SOCKET");
        (void) unsetenv("JOURNAL_STREAM");
        fake_world = d->w;
        _exit(mlg_daemon_run(&options) < 0);
}

/* As long as the real one, but of a host on which all guests have room. */
static bool copy_meminfo(const char *path) {
        g_autofree char *real = NULL, *all = NULL;
        const char *rest;

        if (!g_file_get_contents("/proc/meminfo", &real, NULL, NULL))
                return false;
        rest = strstr(real, "MemFree:");
        all = g_strdup_printf("MemTotal: 4000000000 kB\n%s", rest ? rest : "");
        rest = strstr(all, "MemAvailable:");
        return rest && g_file_set_contents(path, all, -1, NULL);
}

static void start(Daemon *d, unsigned int n) {
        /* Two thirds of what the guests could have: memory is worth moving. */
        g_autofree char *text =
                g_strdup_printf("[Host]\nPollIntervalSec=100ms\nReserve=16M\nGuestMemory=%uM\n"
                                "[Guest *]\nSettleSec=0\nCoolDownSec=1\n",
                                n * 680);

        d->dir = g_dir_make_tmp("memlego-bench-XXXXXX", NULL);
        if (!d->dir)
                die("cannot make a temporary directory");
        d->config = g_build_filename(d->dir, "memlegod.conf", NULL);
        d->meminfo = g_build_filename(d->dir, "meminfo", NULL);
        if (!g_file_set_contents(d->config, text, -1, NULL) || !copy_meminfo(d->meminfo))
                die("cannot write the configuration");
        d->w = fake_world_new();
        d->w->watch_usec = 0;
        for (unsigned int i = 0; i < n; i++)
                (void) fake_world_add(d->w, GUEST_KIB, 200 * SIM_MIB);
        (void) fflush(NULL);
        d->pid = fork();
        if (d->pid < 0)
                die("fork");
        if (d->pid == 0)
                run_daemon(d);
}

static void stop(Daemon *d) {
        g_autofree char *state = g_build_filename(d->dir, "targets.json", NULL);
        g_autofree char *learned = g_build_filename(d->dir, "learned", NULL);

        (void) kill(d->pid, SIGTERM);
        (void) waitpid(d->pid, NULL, 0);
        (void) unlink(d->config);
        (void) unlink(d->meminfo);
        (void) unlink(state);
        (void) rmdir(learned); /* ewma learns nothing that is kept */
        (void) rmdir(d->dir);
        d->w = fake_world_free(d->w);
        g_free(d->dir);
        g_free(d->config);
        g_free(d->meminfo);
}

static void wait_polls(const Daemon *d, unsigned int n) {
        uint64_t until = clock_nsec(CLOCK_MONOTONIC) / 1000 + LIMIT_USEC;
        unsigned int end = d->w->n_polls + n;

        while ((int) (end - d->w->n_polls) > 0) {
                if (waitpid(d->pid, NULL, WNOHANG) != 0 || clock_nsec(CLOCK_MONOTONIC) / 1000 > until)
                        die("the daemon ended, or hangs");
                (void) usleep(5000);
        }
}

static void wait_calm(const Daemon *d) {
        unsigned int before;

        do {
                before = d->w->n_sets;
                wait_polls(d, N_CALM_POLLS);
        } while (d->w->n_sets != before);
}

/* Resident memory, but for what it shares with the world of its guests. */
static uint64_t resident_kib(pid_t pid) {
        g_autofree char *path = g_strdup_printf("/proc/%d/status", (int) pid), *text = NULL;
        static const char *const keys[] = { "RssAnon:", "RssFile:" };
        uint64_t sum = 0;

        if (!g_file_get_contents(path, &text, NULL, NULL))
                die(path);
        for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
                const char *at = strstr(text, keys[i]);

                sum += at ? g_ascii_strtoull(at + strlen(keys[i]), NULL, 10) : 0;
        }
        return sum;
}

typedef struct Cost {
        double poll_usec; /* CPU time per poll */
        unsigned int moves;
} Cost;

/* A hundred polls; while they go on, one guest in fifty of `n_changing` changes its demand each second. */
static Cost measure_polls(const Daemon *d, unsigned int n_changing, uint64_t *seed) {
        unsigned int polls = d->w->n_polls, sets = d->w->n_sets, looks = d->w->n_looks;
        uint64_t simulated = d->w->cpu_usec, cpu;
        clockid_t clock;
        Cost c;

        if (clock_getcpuclockid(d->pid, &clock) != 0)
                die("clock_getcpuclockid");
        cpu = clock_nsec(clock);
        for (int i = 0; i < N_POLLS / 10; i++) {
                for (unsigned int k = 0; k < (n_changing + 49) / 50; k++)
                        d->w->guests[sim_random_below(seed, n_changing)].demand_kib =
                                (100 + sim_random_below(seed, 600)) * SIM_MIB;
                wait_polls(d, 10);
        }
        cpu = clock_nsec(clock) - cpu;
        simulated = d->w->cpu_usec - simulated;
        polls = d->w->n_polls - polls;
        c = (Cost) { ((double) cpu / 1000 - (double) simulated) / polls, d->w->n_sets - sets };
        (void) fprintf(
                stderr,
                "daemon-cost: %u guests: %u polls, %u looks, %u moves: %.1f us per poll, %.1f simulated\n",
                d->w->n_guests, polls, d->w->n_looks - looks, c.moves, c.poll_usec,
                (double) simulated / polls);
        return c;
}

static void measure_daemon(unsigned int n, Row *ret) {
        uint64_t seed = n;
        Cost calm, busy;
        Daemon d = {};

        start(&d, n);
        wait_polls(&d, N_CALM_POLLS);
        wait_calm(&d);
        calm = measure_polls(&d, 0, &seed);
        busy = measure_polls(&d, n, &seed);
        ret->cpu_usec = calm.poll_usec / n;
        ret->move_usec = busy.moves ? (busy.poll_usec - calm.poll_usec) * N_POLLS / busy.moves : 0;
        ret->rss_kib = resident_kib(d.pid);
        stop(&d);
}

/* ---- decide() alone ---- */

static double measure_decide(unsigned int n) {
        static const unsigned int percents[] = { 170, 110, 80 };
        double worst = 0;

        for (size_t i = 0; i < G_N_ELEMENTS(percents); i++) {
                uint64_t nsec = bench_decide_nsec(n, percents[i], NULL);
                double usec = (double) nsec / 1000;

                (void) fprintf(stderr,
                               "daemon-cost: %u guests, memory for %u %% of needs: decide() %.1f us\n", n,
                               percents[i], usec);
                worst = usec > worst ? usec : worst;
        }
        return worst;
}

int main(int argc, char **argv) {
        static const char *const defaults[] = { "10", "100", "1000" };
        GString *rows = g_string_new(NULL);

        for (int i = 0; i < (argc > 1 ? argc - 1 : (int) G_N_ELEMENTS(defaults)); i++) {
                unsigned int n = (unsigned int) atoi(argc > 1 ? argv[i + 1] : defaults[i]);
                Row row;

                if (n < 1 || n > FAKE_GUESTS_MAX) {
                        (void) fprintf(stderr, "daemon-cost: a number of guests is from 1 to %d\n",
                                       FAKE_GUESTS_MAX);
                        return 2;
                }
                measure_daemon(n, &row);
                row.decide_usec = measure_decide(n);
                g_string_append_printf(
                        rows,
                        "%s{\"hypervisor\":\"fake\",\"guests\":%u,\"cpu_us_per_guest_poll\":%.3f,"
                        "\"cpu_us_per_move\":%.1f,\"decide_us\":%.1f,\"rss_kib\":%" PRIu64 "}",
                        i ? "," : "", n, row.cpu_usec, row.move_usec, row.decide_usec, row.rss_kib);
        }
        (void) printf("{\"bench\":\"daemon-cost\",\"rows\":[%s]}\n", rows->str);
        g_string_free(rows, TRUE);
        return 0;
}
