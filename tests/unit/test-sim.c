/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of the simulator: trace formats, the physics of guests, what counts as oscillation, replays and pictures. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/picture.h"
#include "sim/replay.h"
#include "sim/trace.h"
#include "sim/zigzag.h"
#include "util/error.h"
#include "util/util.h"

#define GIB (1024 * SIM_MIB)

/* ---- formats ---- */

static SimTrace *parse(const char *text, GError **error) {
        g_autoptr(SimTrace) t = sim_trace_new();

        if (!sim_trace_read_text(t, "dir/a.trace", text, strlen(text), error) ||
            !sim_trace_finish(t, "dir/a.trace", error))
                return NULL;
        return g_steal_pointer(&t);
}

static uint64_t demand_at(const SimTrace *t, guint guest, uint64_t sec) {
        const SimTraceGuest *g = t->guests->pdata[guest];
        uint64_t demand = SIM_ROW_GONE;

        for (guint i = 0; i < g->rows->len && g_array_index(g->rows, SimRow, i).at_sec <= sec; i++)
                demand = g_array_index(g->rows, SimRow, i).demand_kib;
        return demand;
}

static const SimTraceGuest *guest_at(const SimTrace *t, guint i) {
        return t->guests->pdata[i];
}

static void test_own_format(void **state) {
        g_autoptr(GError) error = NULL;
        g_autoptr(SimTrace) t = parse("memlego-trace 1\r\n"
                                      "# comment\n"
                                      "start 1700000000\n"
                                      "host 8388608\n"
                                      "guest 0 2097152 web 1\n"
                                      "\n"
                                      "0 0 512000\n"
                                      "guest 1 1048576 gr\xc3\xb6\xc3\x9f" "e\n"
                                      "1 1 99999999 12 0\n"
                                      "5\t0 -\n"
                                      "9 0 600000 0 100\n"
                                      "end 20",
                                      &error);

        if (!t)
                fail_msg("%s", error->message);
        assert_int_equal(t->guests->len, 2);
        assert_string_equal(guest_at(t, 0)->name, "web 1");
        assert_string_equal(guest_at(t, 1)->name, "größe");
        assert_int_equal(t->host_kib, 8388608);
        assert_int_equal(t->start_real_sec, 1700000000);
        assert_int_equal(t->end_sec, 20);
        assert_int_equal(t->n_rows, 4);
        assert_int_equal(t->n_strained, 2);
        assert_int_equal(demand_at(t, 0, 4), 512000);
        assert_true(demand_at(t, 0, 5) == SIM_ROW_GONE);
        assert_int_equal(demand_at(t, 0, 9), 600000);
        assert_true(demand_at(t, 1, 0) == SIM_ROW_GONE);
        assert_int_equal(demand_at(t, 1, 1), 1048576 - SIM_WATERMARK_KIB); /* more it cannot have */
}

static void test_mistakes(void **state) {
        static const struct {
                const char *text, *error;
        } cases[] = {
                { "", "a.trace:1: this is no trace" },
                { "hello\n", "a.trace:1: this is no trace" },
                { "memlego-trace 2\n", "a.trace:1: expected 'memlego-trace 1'" },
                { "memlego-trace 1\n", "there is no row of any guest" },
                { "memlego-trace 1\nguest 0 1000 a\n", "there is no row of any guest" },
                { "memlego-trace 1\nguest 1 1000 a\n", "a.trace:2: expected 'guest 0 MAXIMUM NAME'" },
                { "memlego-trace 1\nguest 0 0 a\n", "a.trace:2: expected the guest's maximum" },
                { "memlego-trace 1\nguest 0 99999999999999999999 a\n",
                  "a.trace:2: expected the guest's maximum" },
                { "memlego-trace 1\nguest 0 1000\n", "a.trace:2: expected the guest's name" },
                { "memlego-trace 1\nguest 0 1000 \xff\n", "a.trace:2: expected the guest's name" },
                { "memlego-trace 1\n0 0 100\n", "a.trace:2: expected the number of a guest" },
                { "memlego-trace 1\nguest 0 1000 a\n0 0\n", "a.trace:3: expected the guest's demand" },
                { "memlego-trace 1\nguest 0 1000 a\n0 0 -5\n", "a.trace:3: expected the guest's demand" },
                { "memlego-trace 1\nguest 0 1000 a\n0 0 5 1001\n", "a.trace:3: expected 0 to 1000" },
                { "memlego-trace 1\nguest 0 1000 a\n0 0 5 1 x\n", "a.trace:3: expected KiB per second" },
                { "memlego-trace 1\nguest 0 1000 a\n0 0 5 1 1 1\n",
                  "a.trace:3: expected no more than five" },
                { "memlego-trace 1\nguest 0 1000 a\n5 0 5\n4 0 5\n",
                  "a.trace:4: expected a time from second 5 on" },
                { "memlego-trace 1\nguest 0 1000 a\n999999999999 0 5\n", "a.trace:3: expected a time" },
                { "memlego-trace 1\nguest 0 1000 a\n5 0 5\nend 4\n", "a.trace:4: expected an end" },
                { "memlego-trace 1\nguest 0 1000 a\n5 0 5\nend 9\n9 0 5\n",
                  "a.trace:5: expected nothing behind 'end'" },
                { "memlego-trace 1\nguest 0 1000 a\nstart 5\n",
                  "a.trace:3: expected 'start' before the first guest" },
                { "memlego-trace 1\nsize 5\n", "a.trace:2: expected 'SECOND GUEST DEMAND'" },
                { "# t\nvm\t1000\t300\t2\t0\t0:1024\t5,x\n", "a.trace:2: expected MIB,MIB" },
                { "# t\nvm\t1000\t300\t2\t0\t0-1024\t5,6\n", "a.trace:2: expected INDEX:MIB" },
                { "# t\nvm\t1000\t300\t2\t0\t0:1024\t99999999999\n", "a.trace:2: expected MIB,MIB" },
                { "# t\nvm\t1000\t0\t2\t0\t0:1024\t5,6\n", "a.trace:2: expected a step" },
                { "# t\nvm\t1000\t300\t2\t0\t0:1024\t5,6\nvm\t1000\n", "a.trace:3: expected seven fields" },
                { "5.0 6.0\n5.0\n", "a.trace:2: expected two percentages" },
                { "5.0 6.0\n5.0 nan\n", "a.trace:2: expected two percentages" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) error = NULL;
                g_autoptr(SimTrace) t = parse(cases[i].text, &error);

                if (t || !strstr(error->message, cases[i].error))
                        fail_msg("case %zu: expected '%s', got '%s'", i, cases[i].error,
                                 t ? "a trace" : error->message);
        }
}

static void test_formats_of_others(void **state) {
        g_autoptr(GError) error = NULL;
        g_autoptr(SimTrace) b = parse("# names of the fields\n"
                                      "7\t1372629900\t300\t3\t0\t0:512,2:1024\t5,6,2000\n"
                                      "8\t1372630350\t300\t2\t0\t0:512\t7,8", &error);
        g_autoptr(SimTrace) g = parse("10.5 50\n1 25.0\n1e1 120\n", &error);

        if (!b || !g)
                fail_msg("%s", error->message);
        assert_int_equal(guest_at(b, 0)->maximum_kib,
                         2000 * SIM_MIB); /* it used more than its capacity, so it had it */
        assert_int_equal(guest_at(b, 1)->maximum_kib, 512 * SIM_MIB);
        assert_int_equal(demand_at(b, 0, 300), 6 * SIM_MIB);
        assert_int_equal(demand_at(b, 1, 300),
                         7 * SIM_MIB); /* it began later, and keeps step with the others */
        assert_int_equal(demand_at(b, 1, 600), 8 * SIM_MIB);
        assert_true(demand_at(b, 1, 900) == SIM_ROW_GONE); /* so far it was recorded */
        assert_int_equal(b->end_sec, 900);
        assert_int_equal(b->start_real_sec, 1372629900);
        assert_string_equal(guest_at(g, 0)->name, "a.trace");
        assert_int_equal(demand_at(g, 0, 0), guest_at(g, 0)->maximum_kib / 2);
        assert_int_equal(demand_at(g, 0, 300), guest_at(g, 0)->maximum_kib / 4);
        assert_int_equal(demand_at(g, 0, 600), guest_at(g, 0)->maximum_kib - SIM_WATERMARK_KIB);
        assert_int_equal(g->end_sec, 900);
}

static char *data(const char *name) {
        return g_build_filename(g_getenv("MLG_SOURCE_ROOT"), "tests", "data", name, NULL);
}

static SimTrace *load(const char *name) {
        g_autofree char *path = data(name);
        g_autoptr(GError) error = NULL;
        SimTrace *t = sim_trace_load(path, &error);

        if (!t)
                fail_msg("%s", error->message);
        return t;
}

static void test_sources(void **state) {
        g_autoptr(SimTrace) packed = load("google2011-12vm-24h.tar.xz");
        g_autofree char *dir = g_dir_make_tmp("sim-XXXXXX", NULL),
                        *file = g_build_filename(dir, "b.trace", NULL);
        g_autofree char *other = g_build_filename(dir, "a", NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(SimTrace) t = NULL, none = NULL;

        assert_int_equal(packed->guests->len, 12);
        assert_int_equal(packed->n_rows, 12 * 288);
        assert_int_equal(packed->end_sec, 86400);

        assert_true(g_file_set_contents(file, "memlego-trace 1\nguest 0 1000000 b\n0 0 1\n", -1, NULL));
        assert_true(g_file_set_contents(other, "5 6\n", -1, NULL));
        t = sim_trace_load(dir, &error);
        if (!t)
                fail_msg("%s", error->message);
        assert_int_equal(t->guests->len, 2);
        assert_string_equal(guest_at(t, 0)->name, "a");
        assert_true(g_file_set_contents(other, "", -1, NULL));
        none = sim_trace_load(other, &error);
        assert_null(none);
        assert_non_null(error);
        (void) remove(file);
        (void) remove(other);
        (void) remove(dir);
        g_clear_error(&error);
        none = sim_trace_load(other, &error);
        assert_null(none);
        assert_non_null(strstr(error->message, "No such file"));
}

/* ---- guests ---- */

static SimGuest make_guest(uint64_t maximum_kib, uint64_t demand_kib) {
        SimGuest g;

        sim_guest_init(&g, 1, maximum_kib, demand_kib, 1000 * SIM_SEC, 1700000000);
        return g;
}

/* What others measured with 18 GiB: 20.4 s down, 8.5 s up. */
static void test_balloon_speeds(void **state) {
        SimHost h;
        SimGuest *g;

        sim_host_init(&h, 64 * GIB, 0);
        g = sim_host_add(&h, 20 * GIB, GIB);
        (void) sim_guest_set(g, 2 * GIB);
        sim_host_advance(&h, h.now_usec + 19 * SIM_SEC);
        assert_true(g->actual_kib > 2 * GIB);
        sim_host_advance(&h, h.now_usec + 3 * SIM_SEC);
        assert_int_equal(g->actual_kib, 2 * GIB);
        (void) sim_guest_set(g, 20 * GIB);
        sim_host_advance(&h, h.now_usec + 8 * SIM_SEC);
        assert_true(g->actual_kib < 20 * GIB);
        sim_host_advance(&h, h.now_usec + SIM_SEC);
        assert_int_equal(g->actual_kib, 20 * GIB);
        sim_host_clear(&h);
}

/* A guest does not notice how its time is cut into turns. */
static void test_time_may_be_cut(void **state) {
        for (uint64_t seed = 1; seed < 40; seed++) {
                uint64_t random = seed, maximum = (1 + sim_random_below(&random, 8)) * GIB;
                SimHost hosts[2];
                SimGuest *guests[2];

                for (int i = 0; i < 2; i++) {
                        sim_host_init(&hosts[i], 64 * GIB, 0);
                        guests[i] = sim_host_add(&hosts[i], maximum, maximum / 3);
                        guests[i]->touch_kib_per_sec = GIB / 2;
                        guests[i]->in_use_kib = 0;
                }
                for (int n = 0; n < 20; n++) {
                        uint64_t target = maximum / 4 + sim_random_below(&random, 3 * maximum / 4);
                        uint64_t demand = sim_random_below(&random, maximum),
                                 span = 1 + sim_random_below(&random, 400);

                        for (int i = 0; i < 2; i++) {
                                (void) sim_guest_set(guests[i], target);
                                guests[i]->demand_kib = demand;
                        }
                        sim_host_advance(&hosts[0], hosts[0].now_usec + span * SIM_SEC);
                        while (hosts[1].now_usec < hosts[0].now_usec)
                                sim_host_advance(&hosts[1], hosts[1].now_usec + SIM_SEC / 2);
                        assert_int_equal(guests[0]->actual_kib, guests[1]->actual_kib);
                        assert_int_equal(guests[0]->swapped_kib, guests[1]->swapped_kib);
                        assert_int_equal(guests[0]->swap_in_kib, guests[1]->swap_in_kib);
                        assert_int_equal(guests[0]->n_oom, guests[1]->n_oom);
                        assert_int_equal(guests[0]->report.usable_kib, guests[1]->report.usable_kib);
                        assert_int_equal(guests[0]->report.last_update_sec,
                                         guests[1]->report.last_update_sec);
                        assert_true(guests[0]->unmet_kib_sec - guests[1]->unmet_kib_sec < 1 &&
                                    guests[1]->unmet_kib_sec - guests[0]->unmet_kib_sec < 1);
                }
                for (int i = 0; i < 2; i++)
                        sim_host_clear(&hosts[i]);
        }
}

static void test_size_is_told_late(void **state) {
        SimHost h;
        SimGuest *g;
        MlgRawStats bulk, look;

        sim_host_init(&h, 64 * GIB, 0);
        g = sim_host_add(&h, 4 * GIB, GIB);
        g->event_usec = SIM_SEC;
        sim_host_advance(&h, h.now_usec + SIM_SEC + SIM_SEC / 10);
        (void) sim_guest_set(g, 2 * GIB);
        sim_host_advance(&h, h.now_usec + SIM_SEC / 2);
        assert_true(sim_guest_read(g, &bulk) && sim_guest_look(g, &look));
        assert_int_equal(bulk.actual_kib, 4 * GIB);
        assert_int_equal(bulk.actual_age_usec, SIM_SEC);
        assert_true(look.actual_kib < 4 * GIB);
        assert_int_equal(look.actual_age_usec, 0);
        sim_host_advance(&h, h.now_usec + SIM_SEC / 2);
        assert_true(sim_guest_read(g, &bulk));
        assert_true(bulk.actual_kib < 4 * GIB);
        sim_host_clear(&h);
}

static void test_what_is_missing(void **state) {
        SimGuest g = make_guest(4 * GIB, GIB);

        assert_int_equal(sim_guest_unmet_kib(&g), 0);
        g.demand_kib = 2 * GIB; /* on its way, and there is room */
        assert_int_equal(sim_guest_unmet_kib(&g), 0);
        g.actual_kib = GIB + SIM_WATERMARK_KIB;
        assert_int_equal(sim_guest_unmet_kib(&g), GIB);
        g.demand_kib = GIB;
        g.swapped_kib = 100 * SIM_MIB;
        assert_int_equal(sim_guest_unmet_kib(&g), 100 * SIM_MIB);
        g.killed_kib = SIM_MIB;
        assert_int_equal(sim_guest_unmet_kib(&g), 101 * SIM_MIB);
        g.swapped_kib = g.killed_kib = 0;
        g.host_swapped_kib = SIM_WATERMARK_KIB; /* of what nobody uses */
        assert_int_equal(sim_guest_unmet_kib(&g), 0);
        g.host_swapped_kib += 5 * SIM_MIB;
        assert_int_equal(sim_guest_unmet_kib(&g), 5 * SIM_MIB);
}

/* ---- oscillation ---- */

static void test_zigzag(void **state) {
        static const struct {
                const char *what;
                struct {
                        uint64_t sec, target, own, all; /* sec 0: the end */
                } looks[8];
                unsigned int turns, oscillations;
        } cases[] = {
                { "steady", { { 1, 500, 100, 900 }, { 2, 500, 100, 900 } }, 0, 0 },
                { "one way", { { 1, 500, 100, 900 }, { 2, 600, 100, 900 }, { 3, 700, 100, 900 } }, 0, 0 },
                { "inside the dead band",
                  { { 1, 500, 1, 9 }, { 2, 509, 1, 9 }, { 3, 500, 1, 9 }, { 4, 509, 1, 9 } },
                  0,
                  0 },
                { "back once", { { 1, 500, 100, 900 }, { 2, 600, 100, 900 }, { 3, 500, 100, 900 } }, 1, 0 },
                { "back and forth",
                  { { 1, 500, 100, 900 }, { 2, 600, 100, 900 }, { 3, 500, 100, 900 }, { 4, 600, 100, 900 } },
                  2,
                  1 },
                { "its own demand did it",
                  { { 1, 500, 100, 900 },
                    { 2, 600, 100, 900 },
                    { 3, 500, 100, 900 },
                    { 4, 500, 200, 900 },
                    { 5, 600, 200, 900 } },
                  2,
                  0 },
                { "a small change is no cause",
                  { { 1, 500, 100, 900 },
                    { 2, 600, 100, 900 },
                    { 3, 500, 100, 900 },
                    { 4, 500, 150, 900 },
                    { 5, 600, 150, 900 } },
                  2,
                  1 },
                { "the others' did it",
                  { { 1, 500, 100, 900 }, { 2, 600, 100, 900 }, { 3, 500, 100, 900 }, { 4, 600, 100, 700 } },
                  2,
                  0 },
                { "seldom",
                  { { 1, 500, 100, 900 },
                    { 2, 600, 100, 900 },
                    { 3, 500, 100, 900 },
                    { 3000, 500, 100, 900 },
                    { 3001, 600, 100, 900 } },
                  2,
                  0 },
                { "very seldom",
                  { { 1, 500, 100, 900 },
                    { 2, 600, 100, 900 },
                    { 1000, 500, 100, 900 },
                    { 2000, 600, 100, 900 },
                    { 3000, 500, 100, 900 } },
                  3,
                  0 },
                { "in small steps",
                  { { 1, 500, 1, 9 },
                    { 2, 506, 1, 9 },
                    { 3, 512, 1, 9 },
                    { 4, 506, 1, 9 },
                    { 5, 500, 1, 9 },
                    { 6, 506, 1, 9 },
                    { 7, 512, 1, 9 } },
                  2,
                  1 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                unsigned int turns = 0, oscillations = 0;
                SimZigzag z = {};

                for (size_t k = 0; k < G_N_ELEMENTS(cases[i].looks) && cases[i].looks[k].sec > 0; k++) {
                        SimTurn t = sim_zigzag_look(&z, cases[i].looks[k].target, 10, cases[i].looks[k].own,
                                                    cases[i].looks[k].all, cases[i].looks[k].sec * SIM_SEC);

                        turns += t != SIM_NO_TURN;
                        oscillations += t == SIM_OSCILLATION;
                }
                if (turns != cases[i].turns || oscillations != cases[i].oscillations)
                        fail_msg("%s: %u turns, %u oscillations, expected %u, %u", cases[i].what, turns,
                                 oscillations, cases[i].turns, cases[i].oscillations);
        }
}

/* ---- replays ---- */

static void default_settings(const char *name, const char *uuid, MlgGuestSettings *ret, void *userdata) {
        mlg_guest_settings_default(ret);
}

static void advise(const char *name, const char *uuid, MlgGuestSettings *ret, void *userdata) {
        default_settings(name, uuid, ret, userdata);
        ret->mode = MLG_MODE_ADVISE;
}

static SimReplay *play_with(SimOptions options, const SimTrace *t, const char *policy, SimResult *ret) {
        SimReplay *r;

        mlg_host_settings_default(&options.host);
        g_strlcpy(options.host.policy, policy, sizeof(options.host.policy));
        r = sim_replay_new(t, &options);
        while (sim_replay_turn(r))
                ;
        sim_replay_result(r, ret);
        if (ret->n_violations > 0)
                fail_msg("%s: %s", policy, ret->violation);
        return r;
}

static SimReplay *play(const SimTrace *t, const char *policy, uint64_t host_kib, SimSeries *series, SimResult *ret) {
        return play_with((SimOptions) { .settings = default_settings, .host_kib = host_kib, .series = series }, t, policy, ret);
}

/* Two guests that are busy in turn, on a host that has room for one that is. */
static SimTrace *seesaw(void) {
        SimTrace *t = sim_trace_new();

        for (unsigned int i = 0; i < 2; i++) {
                SimTraceGuest *g = sim_trace_add_guest(t, i ? "two" : "one", 4 * GIB);

                for (unsigned int k = 0; k < 10; k++)
                        assert_true(sim_trace_add_row(t, g, k * 300, k % 2 == i ? 3 * GIB : GIB / 2));
        }
        assert_true(sim_trace_finish(t, "seesaw", NULL));
        return t;
}

static void test_replay_moves_memory(void **state) {
        g_autoptr(SimTrace) t = seesaw();
        SimResult still, moving;
        g_autoptr(SimReplay) a = play(t, "static", 6 * GIB, NULL, &still),
                             b = play(t, "proportional", 6 * GIB, NULL, &moving);

        assert_true(a && b); /* the results' figures are theirs */
        assert_int_equal(still.simulated_usec, 2701 * SIM_SEC);
        assert_int_equal(still.all.moves, 0);
        assert_true(still.all.short_sec > 2000); /* one of them at any time */
        assert_true(moving.all.moves >= 10);
        assert_true(moving.all.short_sec < still.all.short_sec / 5);
        assert_true(moving.all.unmet_kib_sec < still.all.unmet_kib_sec / 5);
        assert_true(moving.all.run_sec > 2 * 2700.9 && moving.all.run_sec < 2 * 2701.1);
        assert_true(moving.all.demand_kib_sec / still.all.demand_kib_sec > 0.999999 &&
                    moving.all.demand_kib_sec / still.all.demand_kib_sec < 1.000001);
        assert_true(moving.n_turns < 2 * 2821 * 2); /* and not all of them short */
}

/* A replay shows what comes of a policy; there is nobody who could approve. */
static void test_advised_guests_move(void **state) {
        g_autoptr(SimTrace) t = seesaw();
        SimResult automatic, advised;
        g_autoptr(SimReplay) a = play(t, "proportional", 6 * GIB, NULL, &automatic);
        g_autoptr(SimReplay) b = play_with((SimOptions) { .settings = advise, .host_kib = 6 * GIB }, t, "proportional", &advised);

        assert_true(a && b);
        assert_int_equal(advised.all.moves, automatic.all.moves);
        assert_true(advised.all.moves >= 10);
}

/* Real guests of ours: what balancing is for. */
static void test_recorded_guests(void **state) {
        g_autoptr(SimTrace) t = load("test-guests.trace");
        SimResult still, moving;
        g_autoptr(SimReplay) a = play(t, "static", 920 * SIM_MIB, NULL, &still);
        g_autoptr(SimReplay) b = play(t, "proportional", 920 * SIM_MIB, NULL, &moving);

        assert_true(a && b);
        assert_int_equal(t->guests->len, 3);
        assert_int_equal(t->end_sec, 232);
        assert_true(still.all.short_sec > 60);
        if (moving.all.short_sec > still.all.short_sec / 3)
                fail_msg("short for %.1f s, and for %.1f s where nothing is moved", moving.all.short_sec,
                         still.all.short_sec);
        assert_int_equal(moving.all.oom_kills, 0);
}

static void test_guests_come_and_go(void **state) {
        g_autoptr(GError) error = NULL;
        g_autoptr(SimTrace)
                t = parse("memlego-trace 1\nguest 0 4194304 a\nguest 1 4194304 b\n0 0 524288\n100 1 524288\n"
                          "200 1 -\n250 1 524288\n300 0 -\nend 400\n",
                          &error);
        SimResult result;
        g_autoptr(SimReplay) r = play(t, "proportional", 8 * GIB, NULL, &result);

        assert_true(result.guests[0].run_sec > 299 && result.guests[0].run_sec < 301);
        assert_true(result.guests[1].run_sec > 249 && result.guests[1].run_sec < 251);
        assert_int_equal(mlg_engine_n_guests(sim_replay_engine(r)), 1);
        assert_null(sim_replay_guest(r, 0));
        assert_non_null(sim_replay_guest(r, 1));
        assert_int_equal(result.all.oom_kills, 0);
}

/* Long turns do not change what is found, but for what they may make late. */
static void test_pace(void **state) {
        g_autoptr(SimTrace) t = load("google2011-12vm-24h.tar.xz");
        SimResult results[2];

        for (int i = 0; i < 2; i++) {
                SimOptions options = { .settings = default_settings,
                                       .host_kib = 22 * GIB,
                                       .duration_usec = 4 * 3600 * SIM_SEC,
                                       .look_closely = i };
                g_autoptr(SimReplay) r = NULL;

                mlg_host_settings_default(&options.host);
                r = sim_replay_new(t, &options);
                while (sim_replay_turn(r))
                        ;
                sim_replay_result(r, &results[i]);
        }
        print_message("quickly: %" PRIu64 " turns, short %.1f s, unmet %.1f GiB s, %" PRIu64
                      " moves; closely: %" PRIu64 " turns, %.1f s, %.1f GiB s, %" PRIu64 " moves\n",
                      results[0].n_turns, results[0].all.short_sec,
                      results[0].all.unmet_kib_sec / (double) GIB, results[0].all.moves, results[1].n_turns,
                      results[1].all.short_sec, results[1].all.unmet_kib_sec / (double) GIB,
                      results[1].all.moves);
        assert_true(results[0].n_turns * 2 < results[1].n_turns);
        assert_true(results[0].all.demand_kib_sec > 0.9999 * results[1].all.demand_kib_sec &&
                    results[0].all.demand_kib_sec < 1.0001 * results[1].all.demand_kib_sec);
        assert_true(results[0].all.actual_kib_sec > 0.98 * results[1].all.actual_kib_sec &&
                    results[0].all.actual_kib_sec < 1.02 * results[1].all.actual_kib_sec);
        assert_true(results[0].all.short_sec < 2 * results[1].all.short_sec + 60 &&
                    results[1].all.short_sec < 2 * results[0].all.short_sec + 60);
}

static void test_picture(void **state) {
        g_autoptr(GError) error = NULL;
        g_autoptr(SimTrace) t = parse("memlego-trace 1\nguest 0 4194304 <script>'\"&\x01\xe2\x80\xae"
                                      "x\nguest 1 1048576 b\n"
                                      "0 0 524288\n0 1 1\n50 0 4194304\n60 1 -\nend 120\n",
                                      &error);
        g_autoptr(SimSeries) series = sim_series_new(2);
        SimResult result;
        g_autoptr(SimReplay) r = play(t, "static", 4 * GIB, series, &result);
        g_autofree char *svg = sim_picture(&(SimPicture) { .title = "a<b",
                                                          .policy = "static",
                                                          .predictor = "ewma",
                                                          .trace = t,
                                                          .result = &result,
                                                          .series = series });
        GMarkupParseContext *c = g_markup_parse_context_new(&(GMarkupParser) {}, 0, NULL, NULL);

        assert_non_null(r); /* the result's figures are its */
        if (!g_markup_parse_context_parse(c, svg, -1, &error) ||
            !g_markup_parse_context_end_parse(c, &error))
                fail_msg("the picture is no XML: %s", error->message);
        g_markup_parse_context_free(c);
        assert_non_null(strstr(svg, "&lt;script&gt;"));
        assert_null(strchr(svg, '\x01'));
        assert_null(strstr(svg, "\xe2\x80\xae"));
        assert_non_null(strstr(svg, "class='short' d='M"));
        assert_null(strstr(svg, "nan"));
        assert_null(strstr(svg, "http://www.w3.org/1999/xlink"));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_own_format),
                cmocka_unit_test(test_mistakes),
                cmocka_unit_test(test_formats_of_others),
                cmocka_unit_test(test_sources),
                cmocka_unit_test(test_balloon_speeds),
                cmocka_unit_test(test_time_may_be_cut),
                cmocka_unit_test(test_size_is_told_late),
                cmocka_unit_test(test_what_is_missing),
                cmocka_unit_test(test_zigzag),
                cmocka_unit_test(test_advised_guests_move), cmocka_unit_test(test_replay_moves_memory),
                cmocka_unit_test(test_recorded_guests),
                cmocka_unit_test(test_guests_come_and_go),
                cmocka_unit_test(test_pace),
                cmocka_unit_test(test_picture),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
