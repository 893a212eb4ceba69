/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A day in the life of a large host: `test-sim-day [GUESTS [HOURS]]`, 100 guests and an hour if nothing
 * else is said.
 *
 * On a host with plenty of memory, and on one with little. Four in five guests are honest; the others
 * have a fault each: stuck, slow, silent, lying in ways that show and in ways that do not, taking back
 * what they gave, stopped; or, in the first of two worlds, want much and little in turn. After every
 * decision all that must always hold is checked (sim/check.h), and what a guest can check by itself: an
 * honest one never has less than its floor. What decisions cost is printed and not judged. */
#include <assert.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "sim/replay.h"
#include "util/util.h"

#define GIB (1024 * SIM_MIB)
/* Until everybody has found its place; the cool-downs that the begin brings are over then. */
#define SETTLE_SEC 1200

typedef enum Kind {
        HONEST,
        STUCK,
        SLOW,
        SILENT,
        LIAR,
        GREEDY,
        MODEST,
        TAKES,
        STOPPED,
        RESTLESS,
        _KIND_MAX
} Kind;

static const char *const kind_names[] = {
        [HONEST] = "honest",   [STUCK] = "stuck",       [SLOW] = "slow",     [SILENT] = "silent",
        [LIAR] = "liar",       [GREEDY] = "greedy",     [MODEST] = "modest", [TAKES] = "takes",
        [STOPPED] = "stopped", [RESTLESS] = "restless",
};
static_assert(G_N_ELEMENTS(kind_names) == _KIND_MAX, "kind_names[] misses a value");

static const uint32_t faults_of[_KIND_MAX] = {
        [STUCK] = SIM_STUCK, [SILENT] = SIM_SILENT, [LIAR] = SIM_LIAR, [GREEDY] = SIM_GREEDY,
        [MODEST] = SIM_MODEST, [TAKES] = SIM_TAKES, [STOPPED] = SIM_STOPPED,
};

static unsigned int n_guests = 100, hours = 1;

/* Of the guests' maxima: plenty, and hardly what they need with their cushions. */
static const unsigned int host_percents[] = { 60, 40 };

static Kind kind_of(size_t i, bool restless) {
        Kind k = i % 5 ? HONEST : 1 + (Kind) (i / 5 % (_KIND_MAX - 1));

        return k == RESTLESS && !restless ? HONEST : k;
}

/* Honest guests change what they want each 5 to 20 minutes in a restless world, and keep to it in a steady one. */
static SimTrace *make_trace(bool restless) {
        SimTrace *t = sim_trace_new();
        uint64_t random = 7, end_sec = hours * UINT64_C(3600);

        for (size_t i = 0; i < n_guests; i++) {
                g_autofree char *name = g_strdup_printf("%s-%zu", kind_names[kind_of(i, restless)], i);
                uint64_t maximum = (1 + sim_random_below(&random, 8)) * GIB, step, demand;
                SimTraceGuest *g = sim_trace_add_guest(t, name, maximum);

                for (uint64_t sec = 0; sec < end_sec; sec += step) {
                        bool high = kind_of(i, restless) == RESTLESS && sim_random_below(&random, 2);

                        demand = mlg_mul_div(maximum, 50 + sim_random_below(&random, 400) + (high ? 400 : 0),
                                             1000);
                        step = kind_of(i, restless) == RESTLESS ? 5 + sim_random_below(&random, 25) :
                                                                  300 + sim_random_below(&random, 900);
                        assert_true(sim_trace_add_row(t, g, sec, demand));
                        if (!restless)
                                break;
                }
        }
        t->end_sec = (uint32_t) end_sec;
        assert_true(sim_trace_finish(t, "made up", NULL));
        return t;
}

static void default_settings(const char *name, const char *uuid, MlgGuestSettings *ret, void *userdata) {
        mlg_guest_settings_default(ret);
}

static uint64_t cpu_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

static SimReplay *begin(const SimTrace *t, bool restless, unsigned int host_percent) {
        SimOptions options = { .settings = default_settings,
                               .host_kib = mlg_mul_div(sim_trace_maxima_kib(t), host_percent, 100),
                               .clock_nsec = cpu_nsec };
        SimReplay *r;

        mlg_host_settings_default(&options.host);
        r = sim_replay_new(t, &options);
        for (size_t i = 0; i < n_guests; i++)
                if (kind_of(i, restless) == SLOW)
                        sim_replay_guest(r, i)->shrink_kib_per_sec = 2 * SIM_MIB;
        return r;
}

/* Faults come after everybody is known. In a restless world they come and go; in a steady one they stay:
 * a driver that gives back what it took, or a guest that wakes up, is a cause to move memory. */
static void inflict(const SimReplay *r, bool restless) {
        double sec = sim_replay_sec(r);

        for (size_t i = 0; i < n_guests; i++) {
                Kind k = kind_of(i, restless);
                bool now = sec >= 0 && (!restless || k == STUCK || k == GREEDY || k == MODEST ||
                                        (uint64_t) sec % 1800 < 900);

                sim_replay_guest(r, i)->faults = now ? faults_of[k] : 0;
        }
}

static uint64_t floor_kib(const SimGuest *g) {
        return g->info.maximum_kib / 4; /* the default */
}

static void check_guests(const SimReplay *r, bool restless) {
        for (size_t i = 0; i < n_guests; i++) {
                const SimGuest *g = sim_replay_guest(r, i);

                if (kind_of(i, restless) == HONEST && g->actual_kib < floor_kib(g))
                        fail_msg("second %.1f: %s has %" PRIu64 " KiB, its floor is %" PRIu64,
                                 sim_replay_sec(r), g->info.name, g->actual_kib, floor_kib(g));
        }
}

static void print_result(const char *what, const SimResult *s) {
        print_message("%s: %u guests, %u h: %" PRIu64
                      " decisions of %.0f us, short %.3f %% of the time, unmet %.3f %%, %" PRIu64
                      " moves, %" PRIu64 " turns, %" PRIu64 " oscillations, %" PRIu64 " OOM kills\n",
                      what, n_guests, hours, s->n_turns,
                      (double) s->decide_nsec / 1000 / (double) s->n_turns,
                      100 * s->all.short_sec / s->all.run_sec,
                      100 * s->all.unmet_kib_sec / s->all.demand_kib_sec, s->all.moves, s->all.turns,
                      s->all.oscillations, s->all.oom_kills);
}

/* Whose doing it was. */
static void print_kinds(bool restless, const SimResult *s) {
        for (Kind k = 0; k < _KIND_MAX; k++) {
                double short_sec = 0, run_sec = 0;
                uint64_t moves = 0, oscillations = 0;

                for (size_t i = 0; i < n_guests; i++)
                        if (kind_of(i, restless) == k) {
                                short_sec += s->guests[i].short_sec;
                                run_sec += s->guests[i].run_sec;
                                moves += s->guests[i].moves;
                                oscillations += s->guests[i].oscillations;
                        }
                if (run_sec > 0)
                        print_message("        %-8s short %7.3f %%, %8" PRIu64 " moves, %6" PRIu64 " oscillations\n",
                                      kind_names[k], 100 * short_sec / run_sec, moves, oscillations);
        }
}

static void run_world(bool restless, SimReplay *r, SimResult *at_settled, SimResult *at_end) {
        SimGuestResult *settled = g_new(SimGuestResult, n_guests);
        bool taken = false;
        SimResult s;

        while (sim_replay_turn(r)) {
                inflict(r, restless);
                check_guests(r, restless);
                sim_replay_result(r, &s);
                if (s.n_violations > 0)
                        fail_msg("second %.1f: %s", sim_replay_sec(r), s.violation);
                if (taken || sim_replay_sec(r) < SETTLE_SEC)
                        continue;
                taken = true;
                *at_settled = s;
                for (size_t i = 0; i < n_guests; i++)
                        settled[i] = s.guests[i];
                at_settled->guests = settled;
        }
        assert_true(taken);
        sim_replay_result(r, at_end);
        print_result(restless ? "restless" : "steady", at_end);
        print_kinds(restless, at_end);
}

static void test_restless(void **state) {
        g_autoptr(SimTrace) t = make_trace(true);

        for (size_t i = 0; i < G_N_ELEMENTS(host_percents); i++) {
                g_autoptr(SimReplay) r = begin(t, true, host_percents[i]);
                SimResult settled, end;

                run_world(true, r, &settled, &end);
                g_free(settled.guests);
                assert_true(end.all.moves > n_guests); /* enough to have been a test */
        }
}

/* Who always wants the same is left alone, whatever others do to themselves. */
static void check_calm(const SimTrace *t, unsigned int host_percent) {
        g_autoptr(SimReplay) r = begin(t, false, host_percent);
        SimResult settled, end;
        uint64_t oscillations = 0, moves = 0;

        run_world(false, r, &settled, &end);
        for (size_t i = 0; i < n_guests; i++) {
                uint64_t n = end.guests[i].oscillations - settled.guests[i].oscillations;

                if (kind_of(i, false) != HONEST)
                        continue;
                moves += end.guests[i].moves - settled.guests[i].moves;
                oscillations += n;
                if (n > 0)
                        print_message("%s: %" PRIu64 " oscillations\n", sim_replay_guest(r, i)->info.name,
                                      n);
        }
        g_free(settled.guests);
        print_message("honest guests, once settled: %" PRIu64 " moves, %" PRIu64 " oscillations\n", moves,
                      oscillations);
        assert_int_equal(oscillations, 0);
}

static void test_steady(void **state) {
        g_autoptr(SimTrace) t = make_trace(false);

        for (size_t i = 0; i < G_N_ELEMENTS(host_percents); i++)
                check_calm(t, host_percents[i]);
}

int main(int argc, char **argv) {
        static const struct CMUnitTest tests[] = { cmocka_unit_test(test_restless),
                                                   cmocka_unit_test(test_steady) };

        if (argc > 1)
                n_guests = (unsigned int) CLAMP(atoi(argv[1]), 1, SIM_GUESTS_MAX);
        if (argc > 2)
                hours = (unsigned int) CLAMP(atoi(argv[2]), 1, 24 * 365);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
