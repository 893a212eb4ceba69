/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Daemon: memlegod as a whole, in a process of its own, over simulated guests that live in shared memory;
 * without a bus.
 *
 * The guests outlive the daemon, as real ones do. Nothing here waits for a time: each wait is for a
 * condition, and one that does not come shows the daemon's log. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <glib.h>
#include <glib/gstdio.h>

#include <cmocka.h>

#include "fake-hypervisor.h"
#include "memlego/memflex-abi.h"
#include "memlego/monitor-proto.h"
#include "pipe-client.h"
#include "service/daemon.h"
#include "service/state.h"
#include "util/util.h"

#define PATIENCE_USEC (30 * SIM_SEC)
#define MAXIMUM_KIB (512 * SIM_MIB)
#define FLOOR_KIB (MAXIMUM_KIB / 4)

typedef struct Fixture {
        FakeWorld *w;
        char *dir, *config, *log, *learned, *plugins;
        const char *policy, *predictor;
        pid_t pid; /* 0: not running */
        bool dry_run;
} Fixture;

static uint64_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * SIM_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* ---- the daemon in a process of its own ---- */

static void configure(const Fixture *f, const char *text) {
        g_autofree char *all = g_strdup_printf("[Host]\n"
                                               "Policy=%s\n"
                                               "PollIntervalSec=100ms\n"
                                               "MovePollIntervalSec=50ms\n"
                                               "StuckSec=1s\n"
                                               "Reserve=16M\n"
                                               "GuestMemory=1000M\n"
                                               "[Guest *]\n"
                                               "CoolDownSec=1s\n"
                                               "SettleSec=0\n"
                                               "Cushion=32M\n"
                                               "Predictor=%s\n"
                                               "ShrinkRate=50%%\n"
                                               "%s",
                                               f->policy, f->predictor, text);

        assert_true(g_file_set_contents(f->config, all, -1, NULL));
}

static void run_child(const Fixture *f) {
        MlgDaemonOptions options = {
                .make_hypervisor = fake_hypervisor_make,
                .config_path = f->config,
                .connect_uri = "fake:///",
                .state_dir = f->dir,
                .proc_root = f->dir, /* of a host with 4 GiB, of which nearly all is free */
                .plugin_dir = f->plugins,
                .plugin_owner = geteuid(),
                .sys_root = f->dir,  /* without KSM */
                .pipe_dir = f->dir,
                .guest_pids_dir = f->dir,
                .dry_run = f->dry_run,
                .foreground = true,
        };
        int fd = open(f->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL); /* never outlives the test */
        if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
                _exit(99);
        (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/memlego-test", 1);
        (void) unsetenv("NOTIFY_SOCKET");
        (void) unsetenv("WATCHDOG_USEC");
        (void) unsetenv("JOURNAL_STREAM");
        fake_world = f->w;
        exit(mlg_daemon_run(&options) < 0); /* not _exit(): coverage is written there */
}

static void start_daemon(Fixture *f) {
        (void) fflush(NULL);
        f->pid = fork();
        assert_true(f->pid >= 0);
        if (f->pid == 0)
                run_child(f);
}

static char *log_text(const Fixture *f) {
        char *text = NULL;

        if (!g_file_get_contents(f->log, &text, NULL, NULL))
                return g_strdup("");
        return text;
}

static bool logged(const Fixture *f, const char *words) {
        g_autofree char *text = log_text(f);

        return strstr(text, words) != NULL;
}

/* Returns the exit status, or -1 if it does not end. */
static int wait_for_end(Fixture *f) {
        uint64_t until = now_usec() + PATIENCE_USEC;
        int status;

        while (now_usec() < until) {
                if (waitpid(f->pid, &status, WNOHANG) == f->pid) {
                        f->pid = 0;
                        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                }
                (void) usleep(2000);
        }
        return -1;
}

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);
        g_autofree char *meminfo = NULL;

        f->w = fake_world_new();
        f->dir = g_dir_make_tmp("memlego-daemon-XXXXXX", NULL);
        assert_non_null(f->dir);
        f->config = g_build_filename(f->dir, "memlegod.conf", NULL);
        f->log = g_build_filename(f->dir, "log", NULL);
        f->learned = g_build_filename(f->dir, "learned", NULL);
        f->plugins = g_build_filename(f->dir, "plugins", NULL);
        f->policy = "proportional";
        f->predictor = "last";
        configure(f, "");
        meminfo = g_build_filename(f->dir, "meminfo", NULL);
        assert_true(
                g_file_set_contents(meminfo, "MemTotal: 4194304 kB\nMemAvailable: 4000000 kB\n", -1, NULL));
        *state = f;
        return 0;
}

/* The file of what was learned of it. */
static char *learned_of(const Fixture *f, const SimGuest *g) {
        return g_build_filename(f->learned, g->info.uuid, NULL);
}

static int teardown(void **state) {
        static const char *const names[] = { "memlegod.conf", "meminfo", "log", "targets.json",
                                             "targets.json.bad",
                                             "targets.json.new", "plugins.running",
                                             "plugins/most-policy.so", "plugins/crash-policy.so",
                                             "plugins/loop-predictor.so", "plugins/crash-at-load.so",
                                             "crash-policy.so.crashed", "loop-predictor.so.crashed",
                                             "crash-at-load.so.crashed" };
        Fixture *f = *state;

        if (f->pid > 0) {
                (void) kill(f->pid, SIGKILL);
                (void) waitpid(f->pid, NULL, 0);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *path = g_build_filename(f->dir, names[i], NULL);

                (void) unlink(path);
        }
        for (unsigned int i = 0; i < f->w->n_guests; i++) {
                g_autofree char *path = learned_of(f, &f->w->guests[i]);

                (void) unlink(path);
        }
        (void) rmdir(f->learned);
        (void) rmdir(f->plugins);
        (void) rmdir(f->dir);
        f->w = fake_world_free(f->w);
        g_free(f->dir);
        g_free(f->config);
        g_free(f->log);
        g_free(f->learned);
        g_free(f->plugins);
        g_free(f);
        return 0;
}

/* ---- waiting ---- */

static void give_evidence(const Fixture *f, const char *what) {
        g_autofree char *text = log_text(f);

        print_error("waited in vain for: %s\n%u polls, %u of them failed, %u looks, %u targets set\n", what,
                    f->w->n_polls, f->w->n_polls_failed, f->w->n_looks, f->w->n_sets);
        for (unsigned int i = 0; i < f->w->n_guests; i++) {
                const SimGuest *g = &f->w->guests[i];

                print_error("%s: %" PRIu64 " MiB, target %" PRIu64 ", demand %" PRIu64 ", swapped %" PRIu64
                            ", period %u s\n",
                            g->info.name, g->actual_kib / SIM_MIB, g->target_kib / SIM_MIB,
                            g->demand_kib / SIM_MIB, g->swapped_kib / SIM_MIB, g->info.stats_period_sec);
        }
        print_error("%s", text);
}

#define WAIT_FOR(f, condition) \
        do { \
                uint64_t until_ = now_usec() + PATIENCE_USEC; \
                while (!(condition)) { \
                        if (now_usec() >= until_) { \
                                give_evidence(f, #condition); \
                                fail(); \
                        } \
                        (void) usleep(2000); \
                } \
        } while (0)

static void wait_polls(const Fixture *f, unsigned int n) {
        unsigned int before = f->w->n_polls;

        WAIT_FOR(f, f->w->n_polls - before >= n);
}

static uint64_t sum_actual(const Fixture *f) {
        uint64_t sum = 0;

        for (unsigned int i = 0; i < f->w->n_guests; i++)
                if (f->w->present[i] && f->w->guests[i].info.run_state != MLG_RUN_OFF)
                        sum += f->w->guests[i].actual_kib;
        return sum;
}

/* Nothing was set for ten polls. */
static void wait_quiet(const Fixture *f) {
        uint64_t until = now_usec() + PATIENCE_USEC;

        for (;;) {
                unsigned int before = f->w->n_sets;

                wait_polls(f, 10);
                if (f->w->n_sets == before)
                        return;
                if (now_usec() >= until) {
                        give_evidence(f, "quiet");
                        fail();
                }
        }
}

/* Three idle guests of 512 MiB, 1000 MiB for all. */
static SimGuest *start_with_three(Fixture *f) {
        for (int i = 0; i < 3; i++) {
                SimGuest *g = fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);

                g->info.stats_period_sec = i == 2 ? 5 : 0;
        }
        start_daemon(f);
        WAIT_FOR(f, sum_actual(f) <= 1000 * SIM_MIB);
        wait_quiet(f);
        return f->w->guests;
}

/* ---- tests ---- */

static void test_memory_follows_demand(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);

        assert_int_equal(g[0].info.stats_period_sec, 1); /* was off */
        assert_int_equal(g[2].info.stats_period_sec, 5); /* was on */
        g[0].demand_kib = 400 * SIM_MIB;
        WAIT_FOR(f, g[0].actual_kib >= 440 * SIM_MIB && g[0].swapped_kib == 0);
        for (int i = 0; i < 3; i++) {
                assert_true(g[i].least_kib >= FLOOR_KIB);
                assert_int_equal(g[i].n_oom, 0);
        }
        assert_true(sum_actual(f) <= 1000 * SIM_MIB);
        g[0].demand_kib = 80 * SIM_MIB;
        WAIT_FOR(f, mlg_abs_diff(g[0].actual_kib, g[1].actual_kib) < 40 * SIM_MIB);
        wait_quiet(f);
        assert_true(logged(f, "Resized guest guest-1"));
        assert_true(logged(f, "balancing does")); /* there is no bus */
}

static void test_guests_come_and_go(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f), *late;
        uint64_t before;

        late = fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        late->info.stats_period_sec = 0;
        WAIT_FOR(f, late->info.stats_period_sec == 1);
        WAIT_FOR(f, sum_actual(f) <= 1000 * SIM_MIB);
        wait_quiet(f);
        before = g[0].actual_kib;
        f->w->present[3] = false;
        WAIT_FOR(f, logged(f, "Guest guest-4: gone"));
        WAIT_FOR(f, g[0].actual_kib > before); /* there is more for those that stay */
        /* One that is switched off gives its memory to the others, and takes it back when it starts. */
        wait_quiet(f);
        g[1].info.run_state = MLG_RUN_OFF;
        WAIT_FOR(f, g[0].actual_kib >= 490 * SIM_MIB && g[2].actual_kib >= 490 * SIM_MIB);
        sim_guest_restart(&g[1]);
        WAIT_FOR(f, sum_actual(f) <= 1000 * SIM_MIB);
        assert_true(g[0].least_kib >= FLOOR_KIB);
}

static void test_reconnect_changes_no_target(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        unsigned int sets, polls;
        uint64_t targets[3];

        for (int round = 0; round < 3; round++) {
                for (int i = 0; i < 3; i++)
                        targets[i] = g[i].target_kib;
                sets = f->w->n_sets;
                f->w->connected = false;
                WAIT_FOR(f, f->w->n_disconnects == (unsigned int) round + 1);
                polls = f->w->n_polls;
                if (round == 1)
                        (void) usleep(400000); /* polls are missed; what comes of it is checked below */
                f->w->connected = true;
                WAIT_FOR(f, f->w->n_polls >= polls + 15);
                assert_int_equal(f->w->n_sets, sets);
                for (int i = 0; i < 3; i++)
                        assert_int_equal(g[i].target_kib, targets[i]);
        }
        assert_true(logged(f, "No connection to fake:///"));
        g[0].demand_kib = 400 * SIM_MIB; /* and it goes on */
        WAIT_FOR(f, g[0].actual_kib >= 440 * SIM_MIB);
}

/* The connection breaks while moves are in flight. */
static void test_disconnect_in_a_move(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);

        f->w->answer_usec = 300000;
        g[0].demand_kib = 400 * SIM_MIB;
        wait_polls(f, 3);
        f->w->connected = false;
        WAIT_FOR(f, f->w->n_disconnects == 1);
        f->w->answer_usec = 0;
        f->w->connected = true;
        WAIT_FOR(f, g[0].actual_kib >= 440 * SIM_MIB);
        WAIT_FOR(f, sum_actual(f) <= 1000 * SIM_MIB);
}

static void test_polls_that_hang(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        unsigned int failed = f->w->n_polls_failed, sets = f->w->n_sets;

        f->w->polls_hang = true;
        WAIT_FOR(f, f->w->n_polls_failed >= failed + 2); /* it asks again after the deadline */
        assert_int_equal(f->w->n_sets, sets);
        f->w->polls_hang = false;
        g[0].demand_kib = 400 * SIM_MIB;
        WAIT_FOR(f, g[0].actual_kib >= 440 * SIM_MIB);
        assert_true(logged(f, "Cannot read the guests' statistics"));
}

static void test_one_stopped_guest(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        uint64_t held;

        held = g[1].actual_kib;
        g[1].faults = SIM_STOPPED;
        WAIT_FOR(f, logged(f, "left alone (unresponsive)"));
        g[0].demand_kib = 400 * SIM_MIB;
        WAIT_FOR(f, g[0].actual_kib >= 440 * SIM_MIB);
        assert_int_equal(g[1].actual_kib, held);
        g[1].faults = 0;
        WAIT_FOR(f, g[1].actual_kib < held); /* comes back by itself, as a donor */
}

static void test_stuck_guest(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);

        g[0].demand_kib = 350 * SIM_MIB;
        g[1].faults = SIM_STUCK;
        WAIT_FOR(f, logged(f, "left alone (stuck)"));
        WAIT_FOR(f, g[1].target_kib == g[1].actual_kib);
        wait_quiet(f);
        assert_true(sum_actual(f) <= 1000 * SIM_MIB);
}

static void test_reload(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        unsigned int sets = f->w->n_sets;

        configure(f, "Flooring=50%\n");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, logged(f, "The configuration in force stays as it is"));
        assert_true(logged(f, "Flooring"));
        wait_polls(f, 10);
        assert_int_equal(f->w->n_sets, sets);
        configure(f, "[Guest guest-1]\nFloor=480M\n");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, g[0].actual_kib >= 475 * SIM_MIB);
        WAIT_FOR(f, sum_actual(f) <= 1000 * SIM_MIB);
        configure(f, "Mode=off\n");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, g[0].info.stats_period_sec == 0 && g[1].info.stats_period_sec == 0); /* given back */
        assert_int_equal(g[2].info.stats_period_sec, 5);
}

static void test_stop_gives_back(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        uint64_t targets[3];

        for (int i = 0; i < 3; i++)
                targets[i] = g[i].target_kib;
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        assert_int_equal(g[0].info.stats_period_sec, 0);
        assert_int_equal(g[1].info.stats_period_sec, 0);
        assert_int_equal(g[2].info.stats_period_sec, 5);
        for (int i = 0; i < 3; i++)
                assert_int_equal(g[i].target_kib, targets[i]);
}

/* A stop waits only so long for what does not come, and ends at once when asked twice. */
static void test_stop_does_not_hang(void **state) {
        Fixture *f = *state;
        uint64_t start;

        (void) start_with_three(f);
        f->w->periods_hang = true;
        start = now_usec();
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        assert_true(now_usec() - start < 10 * SIM_SEC);
        start_daemon(f);
        wait_polls(f, 5);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        WAIT_FOR(f, logged(f, "Stopping."));
        assert_int_equal(kill(f->pid, SIGINT), 0);
        assert_int_equal(wait_for_end(f), 0);
}

static void test_killed_in_a_move(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        unsigned int sets;

        for (int i = 0; i < 3; i++)
                g[i].shrink_kib_per_sec = 60 * SIM_MIB; /* takes seconds */
        sets = f->w->n_sets;
        g[0].demand_kib = 450 * SIM_MIB;
        WAIT_FOR(f, f->w->n_sets >= sets + 2);
        assert_int_equal(kill(f->pid, SIGKILL), 0);
        assert_int_equal(wait_for_end(f), 128 + SIGKILL);
        assert_int_equal(truncate(f->log, 0), 0);

        start_daemon(f);
        WAIT_FOR(f, g[0].actual_kib >= 480 * SIM_MIB && g[0].swapped_kib == 0);
        WAIT_FOR(f, sum_actual(f) <= 1000 * SIM_MIB);
        assert_false(logged(f, "somebody else")); /* its own targets, found again */
        for (int i = 0; i < 3; i++)
                assert_true(g[i].least_kib >= FLOOR_KIB);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        assert_int_equal(g[0].info.stats_period_sec, 0); /* what the first run had found */
        assert_int_equal(g[2].info.stats_period_sec, 5);
}

static void test_restart_changes_nothing(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        unsigned int sets = f->w->n_sets;
        uint64_t targets[3];

        for (int i = 0; i < 3; i++)
                targets[i] = g[i].target_kib;
        for (int round = 0; round < 2; round++) {
                assert_int_equal(kill(f->pid, round ? SIGTERM : SIGKILL), 0);
                assert_int_equal(wait_for_end(f), round ? 0 : 128 + SIGKILL);
                start_daemon(f);
                wait_polls(f, 15);
                assert_int_equal(f->w->n_sets, sets);
                for (int i = 0; i < 3; i++)
                        assert_int_equal(g[i].target_kib, targets[i]);
        }
}

/* Nothing of the run before is taken for one of the new run, whatever else is written about the guest. */
static void test_new_run_has_no_target(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        g_autofree char *boot_id = NULL, *warning = NULL;
        g_autoptr(MlgState) kept = NULL;
        const MlgStateGuest *record;

        assert_true(g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot_id, NULL, NULL));
        configure(f, "Mode=observe\n");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, logged(f, "Configuration loaded"));
        g[0].info.stats_period_sec = 0;
        sim_guest_restart(&g[0]);
        WAIT_FOR(f, g[0].info.stats_period_sec == 1);
        wait_polls(f, 3);
        assert_int_equal(kill(f->pid, SIGKILL), 0);
        assert_int_equal(wait_for_end(f), 128 + SIGKILL);

        assert_int_equal(mlg_state_open(f->dir, g_strstrip(boot_id), &kept, &warning), 0);
        assert_null(warning);
        record = mlg_state_guest(kept, g[0].info.uuid);
        assert_non_null(record);
        assert_int_equal(record->instance, g[0].info.instance);
        assert_true(record->stats_period_changed);
        assert_int_equal(record->target_kib + record->pending_kib, 0);
        assert_true(mlg_state_guest(kept, g[1].info.uuid)->target_kib > 0);
}

static void test_dry_run(void **state) {
        Fixture *f = *state;

        f->dry_run = true;
        for (int i = 0; i < 3; i++)
                (void) fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        start_daemon(f);
        WAIT_FOR(f, logged(f, "Would resize guest guest-1"));
        wait_polls(f, 10);
        assert_int_equal(f->w->n_sets + f->w->n_periods, 0);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        assert_int_equal(g_access(f->learned, F_OK), -1);
}

/* What predictors have learned: over an orderly stop, a crash, a restart and an absence of a guest, and a change of
 * predictor; not after damage. */
static void test_learned_survives(void **state) {
        static const char off[] = "Mode=observe\n";
        static const char on[] = "Mode=observe\n[Guest guest-*]\nPredictor=context\nHorizonSec=1s\n";
        Fixture *f = *state;
        g_autofree char *damaged = NULL, *text = NULL;
        SimGuest *g = f->w->guests;
        gsize len;

        for (int i = 0; i < 4; i++)
                (void) fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        configure(f, on);
        start_daemon(f);
        wait_polls(f, 30);
        assert_false(logged(f, "goes on with"));
        f->w->present[0] = false; /* it went, and comes back, perhaps from another host */
        WAIT_FOR(f, logged(f, "Guest guest-1: gone"));
        f->w->present[0] = true;
        WAIT_FOR(f, logged(f, "Guest guest-1: goes on with what predictor context learned"));
        wait_polls(f, 10);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);

        assert_int_equal(truncate(f->log, 0), 0);
        sim_guest_restart(&g[1]);
        damaged = learned_of(f, &g[2]);
        assert_true(g_file_get_contents(damaged, &text, &len, NULL));
        text[len / 2] ^= 1;
        assert_true(g_file_set_contents(damaged, text, (gssize) len, NULL));
        start_daemon(f);
        WAIT_FOR(f, logged(f, "Guest guest-1: goes on with") && logged(f, "Guest guest-2: goes on with") &&
                            logged(f, "Guest guest-4: goes on with"));
        WAIT_FOR(f, logged(f, " is not used: it is damaged"));
        assert_false(logged(f, "Guest guest-3: goes on with"));
        wait_polls(f, 10);
        assert_int_equal(kill(f->pid, SIGKILL), 0);
        assert_int_equal(wait_for_end(f), 128 + SIGKILL);

        assert_int_equal(truncate(f->log, 0), 0);
        configure(f, off);
        start_daemon(f);
        wait_polls(f, 30);
        assert_false(logged(f, "goes on with") || logged(f, "is not used"));
        configure(f, on);
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, logged(f, "Guest guest-1: goes on with") && logged(f, "Guest guest-4: goes on with"));
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
}

/* Nothing can be kept: said once, and all else works. */
static void test_learned_not_writable(void **state) {
        Fixture *f = *state;
        g_autofree char *new_ = g_build_filename(f->learned, ".new", NULL), *text = NULL;

        configure(f, "Mode=observe\n[Guest guest-*]\nPredictor=context\n");
        for (int i = 0; i < 3; i++)
                (void) fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        assert_true(g_file_set_contents(f->learned, "", 0, NULL));
        start_daemon(f);
        wait_polls(f, 20);
        assert_true(logged(f, "/learned: Not a directory. What is learned will not be known"));
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        assert_int_equal(unlink(f->learned), 0);

        start_daemon(f);
        wait_polls(f, 20);
        assert_int_equal(mkdir(new_, 0700), 0); /* in the way of all that is written */
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        assert_int_equal(rmdir(new_), 0);
        assert_true(logged(f, "Cannot save what is learned of guests: File exists."));
        text = log_text(f);
        /* three guests, one warning */
        assert_ptr_equal(strstr(text, "Cannot save"), g_strrstr(text, "Cannot save"));
}

/* In place: the daemon keeps the file open. */
static void put_available(const Fixture *f, uint64_t kib) {
        g_autofree char *meminfo = g_build_filename(f->dir, "meminfo", NULL);
        FILE *file = fopen(meminfo, "r+e");

        assert_non_null(file);
        assert_true(fprintf(file, "MemTotal: 4194304 kB\nMemAvailable: %7" PRIu64 " kB\n", kib) > 0);
        assert_int_equal(fclose(file), 0);
}

static void change_config(const Fixture *f, const char *from, const char *to) {
        g_autofree char *text = NULL, *changed = NULL;
        g_auto(GStrv) parts = NULL;

        assert_true(g_file_get_contents(f->config, &text, NULL, NULL));
        parts = g_strsplit(text, from, 2);
        assert_int_equal(g_strv_length(parts), 2);
        changed = g_strjoinv(to, parts);
        assert_true(g_file_set_contents(f->config, changed, -1, NULL));
}

/* Polls are a minute away, which is longer than anything here waits. */
static void test_host_short(void **state) {
        Fixture *f = *state;
        SimGuest *g = start_with_three(f);
        uint64_t before;

        change_config(f, "PollIntervalSec=100ms", "PollIntervalSec=1min");
        change_config(f, "Reserve=16M", "Reserve=300M");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, logged(f, "Configuration loaded"));
        before = sum_actual(f);
        put_available(f, 1000);
        WAIT_FOR(f, logged(f, "The host is short of memory"));
        WAIT_FOR(f, sum_actual(f) < before - 40 * SIM_MIB);
        /* It stays as it is, whatever guests give: until they have no more. */
        WAIT_FOR(f, logged(f, "its guests cannot cure it"));
        WAIT_FOR(f, sum_actual(f) <= 3 * (FLOOR_KIB + 4 * SIM_MIB));
        for (int i = 0; i < 3; i++)
                assert_true(g[i].least_kib >= FLOOR_KIB);
        put_available(f, 4000000);
        WAIT_FOR(f, logged(f, "The host has enough memory left again"));
        WAIT_FOR(f, sum_actual(f) >= before - 40 * SIM_MIB);
}

/* One without a balloon beside one with. */
static void start_with_reclaim(Fixture *f, int error) {
        g_autofree char *meminfo = g_build_filename(f->dir, "meminfo", NULL);
        SimGuest *g = fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);

        g->info.has_balloon = false;
        fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        f->w->cgroup = (MlgRawCgroup) { .current_kib = MAXIMUM_KIB, .swap_max_kib = UINT64_MAX };
        f->w->cgroup_error = error;
        assert_true(g_file_set_contents(
                meminfo, "MemTotal: 4194304 kB\nMemAvailable: 4000000 kB\nSwapTotal: 1000000 kB\nSwapFree: 1000000 kB\n", -1, NULL));
        start_daemon(f);
}

static void test_reclaim(void **state) {
        Fixture *f = *state;

        configure(f, "Reclaim=cgroup\n");
        start_with_reclaim(f, 0);
        WAIT_FOR(f, logged(f, "Guest guest-1: left alone (reclaim)"));
        WAIT_FOR(f, f->w->reclaimed_kib > 0); /* with the second reading */
        assert_true(f->w->n_cgroup_reads >= 2);
        assert_in_range(f->w->reclaimed_kib, MAXIMUM_KIB / 100, MAXIMUM_KIB / 100 + 1);
        assert_true(logged(f, "Guest guest-2: managed"));
        assert_false(logged(f, "Resized guest guest-1"));
}

static void test_reclaim_not_allowed(void **state) {
        Fixture *f = *state;

        configure(f, "Reclaim=cgroup\n");
        start_with_reclaim(f, -EACCES);
        WAIT_FOR(f, logged(f, "Guest guest-1: left alone (no-permission)"));
        assert_true(logged(f, "Guest guest-1: the host takes nothing of it: the fake was told to fail"));
        wait_polls(f, 20);
        assert_int_equal(f->w->n_cgroup_reads, 1); /* not again so soon */
        /* Off again: as if it had never been on. */
        configure(f, "");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, logged(f, "Guest guest-1: left alone (no-balloon)"));
}

static void test_bad_starts(void **state) {
        Fixture *f = *state;
        g_autofree char *state_file = g_build_filename(f->dir, "targets.json", NULL);

        configure(f, "Shares=many\n");
        start_daemon(f);
        assert_int_equal(wait_for_end(f), 1);
        assert_true(logged(f, "Shares"));
        assert_int_equal(unlink(f->config), 0);
        start_daemon(f);
        assert_int_equal(wait_for_end(f), 1);
        /* A state file that is none does not stop it. */
        configure(f, "");
        assert_true(g_file_set_contents(state_file, "{ \"guests\": 7", -1, NULL));
        (void) start_with_three(f);
        /* And no guests at all are no reason to end either. */
        for (int i = 0; i < 3; i++)
                f->w->present[i] = false;
        WAIT_FOR(f, logged(f, "Guest guest-3: gone"));
        wait_polls(f, 5);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
}

/* ---- plug-ins ---- */

static void put_plugin(const Fixture *f, const char *name) {
        g_autofree char *from = g_strdup_printf("%s/%s.so", g_getenv("MLG_TEST_PLUGINS"), name), *text = NULL;
        g_autofree char *to = g_strdup_printf("%s/%s.so", f->plugins, name);
        size_t len;

        (void) g_mkdir(f->plugins, 0755);
        assert_true(g_file_get_contents(from, &text, &len, NULL));
        assert_true(g_file_set_contents(to, text, (gssize) len, NULL));
        assert_int_equal(g_chmod(to, 0644), 0);
}

static void stop(Fixture *f) {
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        (void) unlink(f->log);
}

/* The policy asks for all that there may be, for everybody: it is asked, and the books hold. */
static void test_plugin_policy(void **state) {
        Fixture *f = *state;

        put_plugin(f, "most-policy");
        f->policy = "most-policy";
        configure(f, "");
        for (int i = 0; i < 3; i++)
                (void) fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        start_daemon(f);
        wait_polls(f, 20);
        assert_true(logged(f, "most-policy.so: policy \"most-policy\""));
        assert_int_equal(f->w->n_sets, 0); /* the default would have moved them: there is not enough for all */
        put_plugin(f, "crash-policy");
        f->policy = "static";
        configure(f, "");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, logged(f, "has changed: new plug-ins need a restart"));
        stop(f);
}

/* One that takes memlegod with it does so once: the next one leaves it out, and balances. */
static void crash_and_recover(Fixture *f, const char *name, int signo) {
        g_autofree char *refused = g_strdup_printf("%s.so is not used: memlegod ended while it ran", name);
        g_autofree char *note = g_strdup_printf("%s/%s.so.crashed", f->dir, name);

        assert_int_equal(wait_for_end(f), 128 + signo);
        assert_false(logged(f, refused));
        for (int i = 0; i < 2; i++) { /* for good */
                (void) unlink(f->log);
                start_daemon(f);
                WAIT_FOR(f, logged(f, refused));
                WAIT_FOR(f, sum_actual(f) <= 1000 * SIM_MIB);
                wait_polls(f, 3);
                stop(f);
        }
        assert_int_equal(unlink(note), 0);
}

static void test_plugin_that_crashes(void **state) {
        Fixture *f = *state;

        put_plugin(f, "crash-policy");
        f->policy = "crash-policy";
        configure(f, "");
        for (int i = 0; i < 3; i++)
                (void) fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        start_daemon(f);
        crash_and_recover(f, "crash-policy", SIGABRT);
        start_daemon(f); /* the note is gone: it has another chance, and does not take it */
        assert_int_equal(wait_for_end(f), 128 + SIGABRT);
}

static void test_plugin_that_crashes_when_loaded(void **state) {
        Fixture *f = *state;

        put_plugin(f, "crash-at-load");
        for (int i = 0; i < 3; i++)
                (void) fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        start_daemon(f);
        crash_and_recover(f, "crash-at-load", SIGABRT);
}

/* Where memlegod says which one runs; see service/plugin-notes.c. */
static uint32_t running(const Fixture *f) {
        g_autofree char *path = g_build_filename(f->dir, "plugins.running", NULL), *page = NULL;
        uint32_t mark = 0;
        size_t len;

        if (g_file_get_contents(path, &page, &len, NULL) && len >= 52)
                memcpy(&mark, page + 48, sizeof(mark));
        return mark;
}

static void test_plugin_that_loops(void **state) {
        Fixture *f = *state;

        put_plugin(f, "loop-predictor");
        f->predictor = "loop-predictor";
        configure(f, "");
        for (int i = 0; i < 3; i++)
                (void) fake_world_add(f->w, MAXIMUM_KIB, 80 * SIM_MIB);
        start_daemon(f);
        WAIT_FOR(f, f->w->n_polls > 0); /* it is loaded */
        WAIT_FOR(f, running(f) == 1);
        assert_int_equal(kill(f->pid, SIGKILL), 0); /* as the watchdog would */
        crash_and_recover(f, "loop-predictor", SIGKILL);
}

/* ---- shared memory ---- */

/* As a QEMU: connects, and returns what it is told first; 0 is the version of the protocol. */
static int64_t connect_to_pipe(const char *path, int *ret) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int64_t version;

        *ret = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        assert_int_equal(connect(*ret, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(recv(*ret, &version, sizeof(version), 0), sizeof(version));
        return version;
}

/* Its guests get the device, only their QEMUs are let in, and they lose it when the group is gone. */
/* A guest's kernel that looks for its devices just then may not survive another one. */
static void test_no_device_while_it_boots(void **state) {
        Fixture *f = *state;
        SimGuest *g = fake_world_add(f->w, MAXIMUM_KIB, FLOOR_KIB);
        g_autofree char *path = g_build_filename(f->dir, "a.sock", NULL);
        unsigned int polls;

        g->info.run_state = MLG_RUN_OFF;
        g->faults = SIM_SILENT;
        configure(f, "[Pipe a]\nGuests=*\nQuota=8M\n");
        start_daemon(f);
        WAIT_FOR(f, logged(f, "found, off")); /* else it ran before us */
        sim_guest_restart(g);
        polls = f->w->n_polls;
        WAIT_FOR(f, f->w->n_polls >= polls + 10);
        assert_string_equal(g->info.pipe_paths[0], "");
        g->faults = 0; /* a driver of its speaks */
        WAIT_FOR(f, g_str_equal(g->info.pipe_paths[0], path));
}

static void test_pipes(void **state) {
        Fixture *f = *state;
        SimGuest *in = fake_world_add(f->w, MAXIMUM_KIB, FLOOR_KIB), *out = fake_world_add(f->w, MAXIMUM_KIB, FLOOR_KIB);
        g_autofree char *path = g_build_filename(f->dir, "a.sock", NULL);
        g_autofree char *pids = g_strdup_printf("%s/%s.pid", f->dir, in->info.name);
        g_autofree char *others = g_strdup_printf("%s/%s.pid", f->dir, out->info.name);
        g_autofree char *text = g_strdup_printf("[Pipe a]\nGuests=%s\nQuota=8M\n[Pipe b]\nGuests=nobody\nQuota=8M\n",
                                                in->info.uuid);
        g_autofree char *pid = g_strdup_printf("%d\n", (int) getpid()), *path_b = g_build_filename(f->dir, "b.sock", NULL);
        int fd, none;

        configure(f, text);
        f->w->pipes_busy = 1; /* which is not for long */
        start_daemon(f);
        WAIT_FOR(f, g_str_equal(in->info.pipe_paths[0], path));
        assert_int_equal(f->w->pipes_busy, 0);
        assert_string_equal(out->info.pipe_paths[0], "");

        assert_int_not_equal(connect_to_pipe(path, &none), 0);
        (void) close(none);
        WAIT_FOR(f, logged(f, "libvirt knows no guest with this process"));
        assert_int_not_equal(connect_to_pipe(path_b, &none), 0);
        (void) close(none);
        WAIT_FOR(f, logged(f, "Pipe b: process")); /* one group's warnings silence no other's */
        assert_true(g_file_set_contents(others, pid, -1, NULL));
        assert_int_not_equal(connect_to_pipe(path, &none), 0);
        (void) close(none);
        WAIT_FOR(f, logged(f, "it does not belong to this group"));
        assert_int_equal(unlink(others), 0);
        assert_true(g_file_set_contents(pids, pid, -1, NULL));
        assert_int_equal(connect_to_pipe(path, &fd), 0);
        WAIT_FOR(f, logged(f, "has come, as number 1"));
        assert_int_not_equal(connect_to_pipe(path, &none), 0); /* once */
        (void) close(none);

        configure(f, "");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, in->info.pipe_paths[0][0] == '\0');
        assert_false(logged(f, "Pipe a: ended")); /* somebody is still connected */
        (void) close(fd);
        WAIT_FOR(f, logged(f, "Pipe a: ended"));
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(unlink(pids), 0);
}

/* This process is the QEMU of each guest in its turn. */
static bool connect_as(const Fixture *f, const SimGuest *g, const char *path, PipeClient *ret) {
        g_autofree char *file = g_strdup_printf("%s/%s.pid", f->dir, g->info.name);
        g_autofree char *pid = g_strdup_printf("%d\n", (int) getpid());
        bool is_in;

        assert_true(g_file_set_contents(file, pid, -1, NULL));
        is_in = pipe_client_connect(ret, path);
        assert_int_equal(unlink(file), 0);
        return is_in;
}

/* ---- memory that is lent ---- */

static struct mlg_flex_header *pool_header(const PipeClient *c) {
        return (struct mlg_flex_header *) (void *) c->memory;
}

static struct mlg_flex_section *pool_section(const PipeClient *c) {
        return (struct mlg_flex_section *) (void *) (c->memory + MLG_FLEX_SECTION_AT);
}

static void ring_pool(const PipeClient *c) {
        uint64_t one = 1;

        assert_int_equal(write(c->bells[MLG_FLEX_HOST], &one, sizeof(one)), sizeof(one));
}

static uint32_t n_lent(const PipeClient *c) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < pool_header(c)->n_chunks; i++)
                n += __atomic_load_n(&c->memory[MLG_FLEX_LENT_AT + i], __ATOMIC_ACQUIRE) > 0;
        return n;
}

/* As the guest's module. */
static void start_swapping(Fixture *f, const PipeClient *c, uint32_t session, uint32_t want) {
        pool_section(c)->session = session;
        ring_pool(c);
        WAIT_FOR(f, __atomic_load_n(&pool_header(c)->session, __ATOMIC_ACQUIRE) == session);
        pool_section(c)->epoch = pool_header(c)->epoch;
        pool_section(c)->want_chunks = want;
        __atomic_store_n(&pool_section(c)->version, MLG_FLEX_VERSION, __ATOMIC_RELEASE);
        ring_pool(c);
}

/* ---- as the guest's monitor ---- */

typedef struct Talker {
        int listens, fd;
        uint32_t session, sequence;
        MlgMonitorStream in;
} Talker;

static void listen_at(Talker *t, const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        *t = (Talker) { .listens = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .fd = -1 };
        assert_true(t->listens >= 0);
        assert_true(g_strlcpy(address.sun_path, path, sizeof(address.sun_path)) < sizeof(address.sun_path));
        assert_int_equal(bind(t->listens, (const struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(t->listens, 4), 0);
}

static void wait_readable(int fd) {
        GPollFD p = { .fd = fd, .events = G_IO_IN };

        assert_int_equal(g_poll(&p, 1, (int) (PATIENCE_USEC / 1000)), 1);
}

/* The next frame. */
static void hear(Talker *t, MlgMonitorFrame *ret) {
        int r;

        while ((r = mlg_monitor_stream_next(&t->in, ret)) == 0) {
                size_t room;
                uint8_t *to = mlg_monitor_stream_room(&t->in, &room);
                ssize_t n;

                wait_readable(t->fd);
                n = recv(t->fd, to, room, 0);
                assert_true(n > 0);
                mlg_monitor_stream_filled(&t->in, (size_t) n);
        }
        assert_int_equal(r, 1);
}

/* memlegod has connected, and said HELLO. */
static void hear_hello(Talker *t) {
        MlgMonitorFrame f;

        wait_readable(t->listens);
        t->fd = accept(t->listens, NULL, NULL);
        assert_true(t->fd >= 0);
        hear(t, &f);
        assert_int_equal(f.type, MLG_MONITOR_HELLO);
        t->session = f.session;
}

/* memlegod has taken all that was said. */
static void hear_ack(Talker *t) {
        MlgMonitorFrame f = {};

        while (f.ack < t->sequence)
                hear(t, &f);
}

/* What securestack.ko says there, `place` forged RESTOREs among it. */
static void say_stack(Talker *t, uint64_t held, uint64_t place) {
        MlgMonitorFrame f = { .type = MLG_MONITOR_REPORT, .session = t->session, .sequence = ++t->sequence };
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        size_t n;

        for (int id = MLG_FIELD_STACK_CALLS; id <= MLG_FIELD_STACK_NO_CHILD; id++)
                assert_true(mlg_monitor_frame_add(&f, (MlgMonitorField) id,
                                                  id == MLG_FIELD_STACK_HELD    ? held
                                                  : id == MLG_FIELD_STACK_PLACE ? place
                                                                                : 0));
        n = mlg_monitor_pack(&f, bytes);
        assert_int_equal(send(t->fd, bytes, n, MSG_NOSIGNAL), n);
}

/* What is caught in a guest is a warning with its name. Others' words, and nonsense, change nothing for anybody else. */
static void test_stack(void **state) {
        Fixture *f = *state;
        SimGuest *honest = fake_world_add(f->w, MAXIMUM_KIB, FLOOR_KIB), *liar = fake_world_add(f->w, MAXIMUM_KIB, FLOOR_KIB);
        g_autofree char *warning = g_strdup_printf("Guest %s: securestack caught programs there: 2 violations more (place 2)",
                                                   honest->info.name);
        g_autofree char *nonsense = g_strdup_printf("Guest %s: what its monitor says of securestack cannot be",
                                                    liar->info.name);
        g_autofree char *blamed = g_strdup_printf("Guest %s: securestack", liar->info.name);
        Talker a, b;

        (void) g_snprintf(honest->info.monitor_path, sizeof(honest->info.monitor_path), "%s/a", f->dir);
        (void) g_snprintf(liar->info.monitor_path, sizeof(liar->info.monitor_path), "%s/b", f->dir);
        listen_at(&a, honest->info.monitor_path);
        listen_at(&b, liar->info.monitor_path);
        start_daemon(f);
        hear_hello(&a);
        hear_hello(&b);
        say_stack(&a, 4096, 0);
        say_stack(&a, 4096, 2);
        say_stack(&b, UINT64_MAX, 7);
        WAIT_FOR(f, logged(f, warning));
        WAIT_FOR(f, logged(f, nonsense));
        say_stack(&b, 0, 0); /* up and down, and it goes on */
        say_stack(&b, 0, UINT64_C(1) << 53);
        say_stack(&b, 0, 1);
        say_stack(&b, 0, UINT64_MAX);
        hear_ack(&b);
        assert_false(logged(f, blamed)); /* one warning a minute of a guest */
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
        (void) close(a.fd);
        (void) close(b.fd);
        (void) close(a.listens);
        (void) close(b.listens);
        (void) unlink(honest->info.monitor_path);
        (void) unlink(liar->info.monitor_path);
}

/* A guest gets its device, and memory; when its section is gone it is called back, and only then the device goes. */
static void test_swap(void **state) {
        Fixture *f = *state;
        SimGuest *in = fake_world_add(f->w, MAXIMUM_KIB, FLOOR_KIB), *out = fake_world_add(f->w, MAXIMUM_KIB, FLOOR_KIB);
        g_autofree char *path = g_strdup_printf("%s/%s~swap.sock", f->dir, in->info.uuid);
        g_autofree char *text = g_strdup_printf("[Swap a]\nGuests=%s\nPoolSize=16M\nQuota=8M\nCallbackSec=500ms\n",
                                                in->info.uuid);
        PipeClient c, other;

        configure(f, text);
        start_daemon(f);
        WAIT_FOR(f, g_str_equal(in->info.swap_path, path));
        assert_string_equal(out->info.swap_path, "");
        assert_false(pipe_client_connect(&other, path));
        WAIT_FOR(f, logged(f, "libvirt knows no guest with this process"));
        assert_false(connect_as(f, out, path, &other));
        WAIT_FOR(f, logged(f, "it is another guest's"));
        assert_true(connect_as(f, in, path, &c));
        assert_int_equal(c.bytes, 16 * 1024 * 1024);
        start_swapping(f, &c, 77, 1000);
        WAIT_FOR(f, n_lent(&c) == 32); /* its quota */
        assert_int_equal(pool_header(&c)->quota_chunks, 32);

        configure(f, "");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, __atomic_load_n(&pool_header(&c)->target_chunks, __ATOMIC_ACQUIRE) == 0);
        WAIT_FOR(f, logged(f, "it does not give back in time"));
        assert_string_equal(in->info.swap_path, path); /* its pages are in there */
        assert_int_equal(n_lent(&c), 32);
        memcpy(c.memory + MLG_FLEX_BACK_AT, c.memory + MLG_FLEX_LENT_AT, pool_header(&c)->n_chunks);
        ring_pool(&c);
        WAIT_FOR(f, n_lent(&c) == 0);
        pool_section(&c)->version = 0;
        WAIT_FOR(f, in->info.swap_path[0] == '\0');
        pipe_client_close(&c);
        WAIT_FOR(f, access(path, F_OK) < 0);
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
}

static bool has_pipe_device(const SimGuest *g, const char *path) {
        for (size_t i = 0; i < MLG_PIPE_DEVICES_MAX; i++)
                if (g_str_equal(g->info.pipe_paths[i], path))
                        return true;
        return false;
}

/* Three guests that share memory two by two, in their lobbies. */
static void start_pairs(Fixture *f, const char *settings, SimGuest *g[static 3], PipeClient lobby[static 3]) {
        g_autofree char *text = g_strconcat("[Pipe a]\nGuests=*\nIsolation=pair\n", settings, NULL);

        for (size_t i = 0; i < 3; i++)
                g[i] = fake_world_add(f->w, MAXIMUM_KIB, FLOOR_KIB);
        configure(f, text);
        start_daemon(f);
        for (size_t i = 0; i < 3; i++) {
                WAIT_FOR(f, g[i]->info.pipe_paths[0][0]);
                assert_true(connect_as(f, g[i], g[i]->info.pipe_paths[0], &lobby[i]));
                assert_int_equal(pipe_client_header(&lobby[i])->features, MLG_PIPE_LOBBY);
                pipe_client_begin(&lobby[i], (uint32_t) i + 1);
        }
}

/* With whom they talk, and with nobody else; one pair each. */
static void test_pairs(void **state) {
        Fixture *f = *state;
        SimGuest *g[3];
        PipeClient lobby[3], a, b, other;

        start_pairs(f, "PairsMax=1\nPairIdleSec=5\nQuota=8M\n", g, lobby);
        assert_false(connect_as(f, g[0], g[1]->info.pipe_paths[0], &other)); /* another's lobby */
        WAIT_FOR(f, logged(f, "it is full"));

        pipe_client_wish(&lobby[2], 8);
        pipe_client_wish(&lobby[0], 7);
        pipe_client_wish(&lobby[0], 7); /* a SYN can come twice, to one's own */
        pipe_client_wish(&lobby[1], 7);
        WAIT_FOR(f, g[0]->info.pipe_paths[1][0] && g[1]->info.pipe_paths[1][0]);
        assert_string_equal(g[0]->info.pipe_paths[1], g[1]->info.pipe_paths[1]);
        assert_false(connect_as(f, g[2], g[0]->info.pipe_paths[1], &other));
        WAIT_FOR(f, logged(f, "it does not belong to this group"));
        assert_true(connect_as(f, g[0], g[0]->info.pipe_paths[1], &a));
        assert_true(connect_as(f, g[1], g[1]->info.pipe_paths[1], &b));
        assert_int_equal(pipe_client_header(&a)->features, 0);
        pipe_client_begin(&a, 10);
        pipe_client_begin(&b, 11);

        configure(f, "[Pipe a]\nGuests=*\nIsolation=pair\nPairsMax=1\nPairIdleSec=5\nQuota=16M\n");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        WAIT_FOR(f, logged(f, "Configuration loaded, "));
        wait_polls(f, 3);
        assert_false(logged(f, "share no memory any more")); /* a reload takes no pair away */
        assert_int_not_equal(g[0]->info.pipe_paths[1][0], '\0');

        pipe_client_wish(&lobby[0], 9);
        pipe_client_wish(&lobby[2], 9);
        WAIT_FOR(f, logged(f, "all of its 1 pairs are in use"));
        assert_int_equal(g[2]->info.pipe_paths[1][0], '\0');

        WAIT_FOR(f, logged(f, "they have no connections (PairIdleSec=)"));
        WAIT_FOR(f, !g[0]->info.pipe_paths[1][0] && !g[1]->info.pipe_paths[1][0]);
        pipe_client_close(&a);
        pipe_client_close(&b);
        WAIT_FOR(f, logged(f, "ended"));
        pipe_client_wish(&lobby[2], 12);
        pipe_client_wish(&lobby[0], 12);
        WAIT_FOR(f, g[0]->info.pipe_paths[1][0] && g[2]->info.pipe_paths[1][0]);
        assert_string_equal(g[0]->info.pipe_paths[1], g[2]->info.pipe_paths[1]);

        configure(f, "");
        assert_int_equal(kill(f->pid, SIGHUP), 0);
        for (size_t i = 0; i < 3; i++) {
                WAIT_FOR(f, !g[i]->info.pipe_paths[0][0]);
                pipe_client_close(&lobby[i]);
        }
        WAIT_FOR(f, logged(f, "Pipe a: ended"));
        assert_int_equal(kill(f->pid, SIGTERM), 0);
        assert_int_equal(wait_for_end(f), 0);
}

/* Brings two together, as whose QEMUs this process then connects. */
static void pair_up(const Fixture *f, SimGuest *const g[2], PipeClient *const lobbies[2], uint64_t number,
                    size_t device, PipeClient ends[static 2]) {
        const char *path = g[0]->info.pipe_paths[device];

        for (size_t i = 0; i < 2; i++)
                pipe_client_wish(lobbies[i], number);
        WAIT_FOR(f, path[0] && has_pipe_device(g[1], path));
        for (size_t i = 0; i < 2; i++) {
                assert_true(connect_as(f, g[i], path, &ends[i]));
                pipe_client_begin(&ends[i], (uint32_t) number + (uint32_t) i + 1);
        }
}

static uint32_t target_of(const PipeClient ends[static 2]) {
        return pipe_client_target(&ends[0]) + pipe_client_target(&ends[1]);
}

/* Two pairs want more than there is, and have a half of it each. */
static void test_pairs_quota(void **state) {
        Fixture *f = *state;
        SimGuest *g[3];
        PipeClient lobby[3], ab[2], cb[2];

        start_pairs(f, "Quota=8M\n", g, lobby); /* 128 chunks */
        pair_up(f, (SimGuest *[]) { g[0], g[1] }, (PipeClient *[]) { &lobby[0], &lobby[1] }, 10, 1, ab);
        pipe_client_demand(&ab[0], 1000);
        pipe_client_demand(&ab[1], 1000);
        WAIT_FOR(f, target_of(ab) == 128);
        pair_up(f, (SimGuest *[]) { g[2], g[1] }, (PipeClient *[]) { &lobby[2], &lobby[1] }, 20, 1, cb);
        pipe_client_demand(&cb[0], 1000);
        pipe_client_demand(&cb[1], 1000);
        WAIT_FOR(f, target_of(ab) == 64 && target_of(cb) == 64);
        pipe_client_demand(&ab[0], 0);
        pipe_client_demand(&ab[1], 0);
        WAIT_FOR(f, target_of(cb) == 128 - target_of(ab) && target_of(ab) <= 32);
        stop(f);
        for (size_t i = 0; i < 3; i++)
                pipe_client_close(&lobby[i]);
        for (size_t i = 0; i < 2; i++) {
                pipe_client_close(&ab[i]);
                pipe_client_close(&cb[i]);
        }
}

/* One says wishes without end: the others are paired nevertheless. Then there is no place for a device. */
static void test_pairs_refused(void **state) {
        Fixture *f = *state;
        SimGuest *g[3];
        PipeClient lobby[3];

        start_pairs(f, "PairIdleSec=1h\n", g, lobby);
        for (uint64_t n = 0; n < 20000; n++)
                pipe_client_wish(&lobby[2], n << 32);
        pipe_client_wish(&lobby[0], 7);
        pipe_client_wish(&lobby[1], 7);
        WAIT_FOR(f, g[0]->info.pipe_paths[1][0] && g[1]->info.pipe_paths[1][0]);
        assert_int_equal(g[2]->info.pipe_paths[1][0], '\0');

        f->w->pipes_max = 1; /* as a bus without a free slot: now guest-3 has no place */
        wait_polls(f, 20); /* what it may say in a time is not used up any more */
        pipe_client_wish(&lobby[1], 9);
        pipe_client_wish(&lobby[2], 9);
        WAIT_FOR(f, logged(f, "share no memory any more: a device could not be added"));
        WAIT_FOR(f, logged(f, "Guest guest-3: its device for shared memory could not be added"));
        WAIT_FOR(f, logged(f, "Its PCI bus has no place for one more: take devices away, lower PairsMax="));
        assert_int_equal(g[2]->info.pipe_paths[1][0], '\0');
        assert_string_equal(g[0]->info.pipe_paths[1], g[1]->info.pipe_paths[1]);
        stop(f);
        for (size_t i = 0; i < 3; i++)
                pipe_client_close(&lobby[i]);
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

/* PART PARTS: each PARTS-th test, beginning with number PART. These tests wait most of their time, so several
 * parts run side by side. */
int main(int argc, char *argv[]) {
        size_t part = argc > 2 ? strtoul(argv[1], NULL, 10) : 0, parts = argc > 2 ? strtoul(argv[2], NULL, 10) : 1;
        struct CMUnitTest tests[] = {
                IN_WORLD(test_memory_follows_demand),
                IN_WORLD(test_guests_come_and_go),
                IN_WORLD(test_reconnect_changes_no_target),
                IN_WORLD(test_disconnect_in_a_move),
                IN_WORLD(test_polls_that_hang),
                IN_WORLD(test_one_stopped_guest),
                IN_WORLD(test_stuck_guest),
                IN_WORLD(test_reload),
                IN_WORLD(test_stop_gives_back),
                IN_WORLD(test_stop_does_not_hang),
                IN_WORLD(test_killed_in_a_move),
                IN_WORLD(test_restart_changes_nothing),
                IN_WORLD(test_new_run_has_no_target),
                IN_WORLD(test_dry_run),
                IN_WORLD(test_learned_survives),
                IN_WORLD(test_learned_not_writable),
                IN_WORLD(test_host_short),
                IN_WORLD(test_reclaim),
                IN_WORLD(test_reclaim_not_allowed),
                IN_WORLD(test_bad_starts),
                IN_WORLD(test_plugin_policy),
                IN_WORLD(test_plugin_that_crashes),
                IN_WORLD(test_plugin_that_crashes_when_loaded),
                IN_WORLD(test_plugin_that_loops),
                IN_WORLD(test_no_device_while_it_boots),
                IN_WORLD(test_pipes),
                IN_WORLD(test_pairs),
                IN_WORLD(test_swap),
                IN_WORLD(test_stack),
                IN_WORLD(test_pairs_quota),
                IN_WORLD(test_pairs_refused),
        };

        if (parts == 0)
                return 2;
        for (size_t i = 0; i < G_N_ELEMENTS(tests); i++)
                if (i % parts != part)
                        tests[i] = (struct CMUnitTest) {}; /* cmocka passes by what has no name */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
