/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Host: what the host has for its guests, and what happens when something else on it takes memory
 * quickly. After each turn the rig checks the books, and that no guest is told to go below its floor. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine-rig.h"
#include "util/util.h"

#define N 3
#define MAXIMUM_KIB (2 * GIB)
#define FLOOR_KIB (GIB / 2)
#define DEMAND_KIB (1400 * SIM_MIB)

/* 8 GiB, of which 1 is the reserve; three guests of 2 GiB that need 1.4, of priorities -1, 0 and 1. */
typedef struct Case {
        Rig *t;
        SimGuest *g[N];
        unsigned int n_levels[_MLG_ALARM_MAX]; /* how often each began */
        MlgHostStatus s;
} Case;

static void case_init(Case *c, uint64_t total_kib, bool watches) {
        *c = (Case){ .t = rig_new(total_kib, false) };
        c->t->watches = watches;
        c->t->host.reserve = MLG_AMOUNT_KIB(GIB);
        mlg_engine_configure(c->t->e, &c->t->host);
        for (int i = 0; i < N; i++) {
                c->t->guest.priority = i - 1;
                c->g[i] = rig_add(c->t, MAXIMUM_KIB, DEMAND_KIB);
                c->g[i]->swap_size_kib = 4 * GIB;
        }
        run(c->t, 60);
        for (int i = 0; i < N; i++)
                assert_in_range(c->g[i]->actual_kib, DEMAND_KIB, MAXIMUM_KIB);
}

static void one_turn(Case *c) {
        MlgAlarm before = c->s.alarm;

        turn(c->t);
        mlg_engine_host_status(c->t->e, &c->s);
        c->n_levels[c->s.alarm] += c->s.alarm != before;
}

static void run_case(Case *c, uint64_t sec) {
        uint64_t until = c->t->now_usec + sec * SIM_SEC;

        while (c->t->now_usec < until)
                one_turn(c);
}

static void grow_own(Case *c, uint64_t kib_per_sec, uint64_t most_kib) {
        c->t->own_kib_per_sec = kib_per_sec;
        c->t->own_most_kib = most_kib;
}

/* ---- who pays ---- */

/* What the host has for guests is taken first from what nobody needs, then from the lowest priority, down
 * to its floor. */
static void test_who_pays(void **state) {
        static const struct {
                const char *what;
                uint64_t own_mib, gib_per_sec;
                MlgAlarm level;            /* at the end, or "none" where the guests have cured it */
                unsigned int n_below_need; /* of the lowest priorities */
                unsigned int n_at_floor;
        } rows[] = {
                { "what nobody needs is enough", 1500, 1, MLG_ALARM_NONE, 0, 0 },
                { "slowly: the lowest one pays", 3200, 1, MLG_ALARM_NONE, 1, 0 },
                { "fast: the lowest one pays", 3200, 8, MLG_ALARM_NONE, 1, 0 },
                { "two pay, the lowest all it may", 4500, 4, MLG_ALARM_NONE, 2, 1 },
                { "all at their floors, and not enough", 7000, 2, MLG_ALARM_EXHAUSTED, 3, 3 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                unsigned int below = 0, at_floor = 0;
                Case c;

                case_init(&c, 8 * GIB, true);
                grow_own(&c, rows[i].gib_per_sec * GIB, rows[i].own_mib * SIM_MIB);
                run_case(&c, 60);
                for (int k = 0; k < N; k++) {
                        uint64_t has = vm_of(c.t, c.g[k])->target_kib;

                        assert_true(c.g[k]->least_kib >= FLOOR_KIB);
                        at_floor += has <= FLOOR_KIB + 8 * SIM_MIB;
                        below += has < DEMAND_KIB;
                        /* none is cut while one of lower priority has more than its floor, beyond what a
                         * step is worth */
                        if (k > 0 && has < DEMAND_KIB &&
                            vm_of(c.t, c.g[k - 1])->target_kib > FLOOR_KIB + 8 * SIM_MIB)
                                fail_msg("%s: guest %d has %" PRIu64 " MiB, guest %d %" PRIu64, rows[i].what,
                                         k, has / SIM_MIB, k - 1,
                                         vm_of(c.t, c.g[k - 1])->target_kib / SIM_MIB);
                }
                if (c.s.alarm != rows[i].level || below != rows[i].n_below_need ||
                    at_floor != rows[i].n_at_floor)
                        fail_msg("%s: %s, missing %" PRIu64 " MiB; %u below need, %u at the floor: %" PRIu64
                                 ", %" PRIu64 ", %" PRIu64 " MiB",
                                 rows[i].what, mlg_alarm_to_string(c.s.alarm), c.s.missing_kib / SIM_MIB,
                                 below, at_floor, c.g[0]->actual_kib / SIM_MIB, c.g[1]->actual_kib / SIM_MIB,
                                 c.g[2]->actual_kib / SIM_MIB);
                assert_true(c.n_levels[MLG_ALARM_EXHAUSTED] ==
                            (rows[i].level == MLG_ALARM_EXHAUSTED)); /* said once */
                rig_free(c.t);
        }
}

/* ---- how fast ---- */

#define PHASES 20

typedef struct Reaction {
        uint64_t first_usec; /* from when some of the reserve is used to the first guest that is told to give */
        uint64_t below_usec; /* for so long the host had less left than it can do without */
        uint64_t least_kib;  /* that it had left at the worst moment */
} Reaction;

/* `phase`: of the moment when it begins, among the polls. */
static Reaction react(bool watches, uint64_t gib_per_sec, unsigned int phase) {
        Reaction ret = { .least_kib = UINT64_MAX };
        uint64_t begin_usec = 0, end;
        Case c;

        case_init(&c, 8 * GIB + mlg_mul_div(gib_per_sec * GIB / 2, phase, PHASES), watches);
        grow_own(&c, gib_per_sec * GIB, c.t->sim.total_kib - 4 * GIB);
        end = c.t->now_usec + 30 * SIM_SEC;
        while (c.t->now_usec < end) {
                uint64_t before = c.t->now_usec;
                MlgRawHost now;

                one_turn(&c);
                sim_host_read(&c.t->sim, &now);
                ret.least_kib = mlg_min(ret.least_kib, now.available_kib);
                ret.below_usec += now.available_kib < GIB * 7 / 8 ? c.t->now_usec - before : 0;
                if (begin_usec == 0 && now.available_kib < GIB) /* its rate tells when exactly */
                        begin_usec = c.t->now_usec -
                                     mlg_mul_div(GIB - now.available_kib, SIM_SEC, gib_per_sec * GIB);
                for (size_t k = 0; k < c.t->n_moves && ret.first_usec == 0 && begin_usec > 0; k++)
                        if (c.t->moves[k].to_kib < c.t->moves[k].from_kib)
                                ret.first_usec = mlg_max(mlg_sub_sat(c.t->now_usec, begin_usec), 1);
        }
        assert_true(ret.first_usec > 0);
        rig_free(c.t);
        return ret;
}

static void add(Reaction *sum, Reaction *worst, Reaction r) {
        sum->first_usec += r.first_usec;
        sum->below_usec += r.below_usec;
        sum->least_kib += r.least_kib;
        worst->first_usec = mlg_max(worst->first_usec, r.first_usec);
        worst->below_usec = mlg_max(worst->below_usec, r.below_usec);
        worst->least_kib = mlg_min(worst->least_kib, r.least_kib);
}

/* In simulated time, so what is measured is what the rules take; the calls to the hypervisor come on top. */
static void test_reaction(void **state) {
        static const uint64_t rates[] = { 1, 2, 4 };

        for (size_t i = 0; i < G_N_ELEMENTS(rates); i++) {
                Reaction sum[2] = {},
                         worst[2] = { { .least_kib = UINT64_MAX }, { .least_kib = UINT64_MAX } };

                for (unsigned int phase = 0; phase < PHASES; phase++)
                        for (int watches = 0; watches < 2; watches++)
                                add(&sum[watches], &worst[watches], react(watches, rates[i], phase));
                for (int w = 0; w < 2; w++)
                        print_message("%" PRIu64 " GiB/s, %s: first move after %" PRIu64
                                      " ms (worst %" PRIu64 "), %" PRIu64 " ms below the line (%" PRIu64
                                      "), least left %" PRIu64 " MiB (%" PRIu64 ")\n",
                                      rates[i], w ? "watched" : "polls alone",
                                      sum[w].first_usec / PHASES / 1000, worst[w].first_usec / 1000,
                                      sum[w].below_usec / PHASES / 1000, worst[w].below_usec / 1000,
                                      sum[w].least_kib / PHASES / SIM_MIB, worst[w].least_kib / SIM_MIB);
                assert_true(worst[1].first_usec <= SIM_SEC / 4);
                assert_true(worst[1].first_usec * 2 <= worst[0].first_usec);
        }
}

/* ---- how often the host is read ---- */

static void test_watch(void **state) {
        static const struct {
                const char *what;
                uint64_t available_mib; /* of 8 GiB; the line is at 896 MiB */
                uint64_t next_msec;     /* 0: anything */
                bool hurry;
        } rows[] = {
                { "plenty: as often as polls come", 8000, 500, false },
                { "GiBs away", 896 + 2048, 250, false },
                { "near", 896 + 200, 50, false },
                { "some of the reserve is used", 896 + 100, 50, true },
                { "at the line", 896, 50, true },
                { "below it", 895, 50, true },
                { "and still", 800, 50, true }, /* no poll has come yet */
                { "not any more", 1030, 50, false },
                { "nothing left", 0, 50, true },
        };
        Case c;

        case_init(&c, 8 * GIB, false);
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgRawHost raw = { .total_kib = 8 * GIB, .available_kib = rows[i].available_mib * SIM_MIB };
                uint64_t now = c.t->now_usec, poll_usec,
                         next = mlg_engine_watch_host(c.t->e, &raw, now, &poll_usec);

                if (next - now != rows[i].next_msec * 1000 || (poll_usec != MLG_USEC_NEVER) != rows[i].hurry)
                        fail_msg("%s: next in %" PRIu64 " us%s", rows[i].what, next - now,
                                 poll_usec != MLG_USEC_NEVER ? ", hurry" : "");
                if (rows[i].hurry)
                        assert_in_range(poll_usec - now, 10000, 50000); /* another reading, and soon */
        }
        /* A host that cannot be read is nobody's emergency. */
        {
                MlgRawHost raw = {};
                uint64_t poll_usec, next = mlg_engine_watch_host(c.t->e, &raw, c.t->now_usec, &poll_usec);

                assert_true(next > c.t->now_usec && poll_usec == MLG_USEC_NEVER);
        }
        rig_free(c.t);
}

/* One odd reading cuts nobody. */
static void test_odd_reading(void **state) {
        uint64_t least[N], poll_usec;
        MlgRawHost odd;
        Case c;

        case_init(&c, 8 * GIB, true);
        for (int i = 0; i < N; i++)
                least[i] = vm_of(c.t, c.g[i])->target_kib;
        for (int k = 0; k < 20; k++) {
                sim_host_read(&c.t->sim, &odd);
                odd.available_kib = 0;
                (void) mlg_engine_watch_host(c.t->e, &odd, c.t->now_usec, &poll_usec);
                assert_true(poll_usec != MLG_USEC_NEVER);
                c.t->hurry_usec = poll_usec;
                run_case(&c, 2);
                assert_int_equal(c.s.alarm, MLG_ALARM_NONE);
        }
        for (int i = 0; i < N; i++)
                assert_in_range(vm_of(c.t, c.g[i])->target_kib, least[i] - 32 * SIM_MIB, MAXIMUM_KIB);
        rig_free(c.t);
}

/* ---- begin and end ---- */

/* Use that swings around the line is one emergency, not one after the other. */
static void test_no_flapping(void **state) {
        Case c;

        case_init(&c, 8 * GIB, true);
        for (int i = 0; i < 120; i++) {
                /* QEMU's own 48 MiB, and what the guests have, leave 0.86 to 1.0 GiB */
                uint64_t sum = c.g[0]->actual_kib + c.g[1]->actual_kib + c.g[2]->actual_kib + 48 * SIM_MIB;

                c.t->sim.own_kib = mlg_sub_sat(8 * GIB, sum + (i % 2 ? 880 : 1000) * SIM_MIB);
                run_case(&c, 1);
        }
        assert_in_range(c.n_levels[MLG_ALARM_SHORT], 1, 2);
        c.t->sim.own_kib = 0;
        run_case(&c, 60);
        assert_int_equal(c.s.alarm, MLG_ALARM_NONE);
        for (int i = 0; i < N; i++)
                assert_true(vm_of(c.t, c.g[i])->target_kib >= DEMAND_KIB); /* they have it back */
        rig_free(c.t);
}

/* The guests cannot cure it; then somebody stops what took the memory. */
static void test_incurable_and_back(void **state) {
        Case c;

        case_init(&c, 8 * GIB, true);
        grow_own(&c, 4 * GIB, 7 * GIB);
        run_case(&c, 60);
        assert_int_equal(c.s.alarm, MLG_ALARM_EXHAUSTED);
        assert_true(c.s.missing_kib > c.s.givable_kib && c.s.alarm_since_usec > 0);
        c.t->own_most_kib = 0;
        c.t->sim.own_kib = 500 * SIM_MIB;
        run_case(&c, 60);
        assert_int_equal(c.s.alarm, MLG_ALARM_NONE);
        assert_int_equal(c.s.missing_kib, 0);
        assert_int_equal(c.s.alarm_since_usec, 0);
        assert_int_equal(c.n_levels[MLG_ALARM_EXHAUSTED], 1);
        assert_int_equal(c.n_levels[MLG_ALARM_NONE], 1);
        rig_free(c.t);
}

/* Guests that may not be moved give nothing, and that is said. */
static void test_nobody_may_be_moved(void **state) {
        uint64_t before[N];
        Case c;

        case_init(&c, 8 * GIB, true);
        mlg_engine_pause(c.t->e, NULL, true);
        for (int i = 0; i < N; i++)
                before[i] = c.g[i]->actual_kib;
        grow_own(&c, 4 * GIB, 4 * GIB);
        run_case(&c, 30);
        assert_int_equal(c.s.alarm, MLG_ALARM_EXHAUSTED);
        assert_int_equal(c.s.givable_kib, 0);
        for (int i = 0; i < N; i++)
                assert_int_equal(c.g[i]->actual_kib, before[i]);
        mlg_engine_pause(c.t->e, NULL, false);
        run_case(&c, 30);
        assert_int_equal(c.s.alarm, MLG_ALARM_NONE);
        rig_free(c.t);
}

/* Bursts of any kind, over guests that want this and that: the rig's checks hold after each turn, and the
 * host is never without its reserve for long while guests have something to give. */
static void test_random_bursts(void **state) {
        uint64_t seed = 11, lacking_usec = 0;
        Case c;

        case_init(&c, 8 * GIB, true);
        for (int i = 0; i < 400; i++) {
                uint64_t before = c.t->now_usec;

                if (sim_random_below(&seed, 3) == 0) {
                        c.t->own_most_kib = 0;
                        c.t->sim.own_kib = sim_random_below(&seed, 3 * GIB);
                } else
                        grow_own(&c, sim_random_below(&seed, 8 * GIB), sim_random_below(&seed, 8 * GIB));
                c.g[sim_random_below(&seed, N)]->demand_kib = sim_random_below(&seed, MAXIMUM_KIB);
                run_case(&c, sim_random_below(&seed, 6));
                for (int k = 0; k < N; k++)
                        assert_true(c.g[k]->least_kib >= FLOOR_KIB);
                lacking_usec = c.t->raw_host.available_kib < GIB * 7 / 8 && c.s.givable_kib > GIB
                                       ? lacking_usec + c.t->now_usec - before
                                       : 0;
                assert_true(lacking_usec < 20 * SIM_SEC);
        }
        rig_free(c.t);
}

/* ---- what it has ---- */

/* What KSM saves is not given away, and pages that are kept once are not used by others. */
static void test_ksm(void **state) {
        static const struct {
                const char *what;
                uint64_t saved_mib, budget_mib, others_mib;
        } rows[] = {
                /* 8 GiB, 1 of them the reserve, 2 used by the host; the guest has 2, and its QEMU 16 MiB
                 * more */
                { "nothing saved", 0, 5 * 1024 - 16, 2048 },
                /* there would be 1 GiB more available; so others use 1 GiB more than it looks */
                { "a GiB", 1024, 4 * 1024 - 16, 3072 },
                { "more than all guests have", 10000, 3 * 1024 - 16, 4096 + 16 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                Rig *t = rig_new(8 * GIB, false);
                MlgHostStatus s = {};

                (void) rig_add(t, 2 * GIB, 100 * SIM_MIB);
                t->host.reserve = MLG_AMOUNT_KIB(GIB);
                mlg_engine_configure(t->e, &t->host);
                t->sim.own_kib = 2 * GIB;
                t->ksm_saved_kib = rows[i].saved_mib * SIM_MIB;
                turn(t);
                mlg_engine_host_status(t->e, &s);
                assert_true(s.knows_others);
                if (s.budget_kib != rows[i].budget_mib * SIM_MIB ||
                    s.others_kib != rows[i].others_mib * SIM_MIB)
                        fail_msg("%s: budget %" PRIu64 " MiB, others %" PRIu64, rows[i].what,
                                 s.budget_kib / SIM_MIB, s.others_kib / SIM_MIB);
                rig_free(t);
        }
}

/* A group that shares memory takes what is free, and no more; then guests get what it leaves. */
static void test_pipes(void **state) {
        MlgHostStatus s;
        uint64_t before;
        Case c;

        case_init(&c, 8 * GIB, false);
        run_case(&c, 60);
        mlg_engine_host_status(c.t->e, &s);
        before = s.free_kib;
        assert_true(before > 64 * SIM_MIB);
        assert_int_equal(mlg_engine_grant_pipe(c.t->e, &c.t->pipe_kib, 64 * SIM_MIB), 64 * SIM_MIB);
        mlg_engine_host_status(c.t->e, &s);
        assert_int_equal(s.pipes_kib, 64 * SIM_MIB);
        assert_int_equal(s.free_kib, before - 64 * SIM_MIB);
        assert_int_equal(mlg_engine_grant_pipe(c.t->e, &c.t->pipe_kib, 100 * GIB), before);
        mlg_engine_host_status(c.t->e, &s);
        assert_int_equal(s.free_kib, 0);
        assert_int_equal(s.charged_kib + s.reserved_kib, s.budget_kib);
        for (int i = 0; i < 60; i++) { /* guests want more meanwhile: the sum stays within the budget */
                c.g[i % N]->demand_kib += 10 * SIM_MIB;
                one_turn(&c);
                assert_true(c.s.charged_kib + c.s.reserved_kib <= c.s.budget_kib + 16 * SIM_MIB);
        }
        mlg_engine_book_pipe(c.t->e, &c.t->pipe_kib, SIM_MIB);
        mlg_engine_host_status(c.t->e, &s);
        assert_int_equal(s.pipes_kib, SIM_MIB);
        assert_true(s.free_kib > 0);
        /* Overrun books: what is a fact is booked, and nothing is granted. */
        mlg_engine_book_pipe(c.t->e, &c.t->pipe_kib, 6 * GIB);
        assert_int_equal(mlg_engine_grant_pipe(c.t->e, &c.t->pipe_kib, 7 * GIB), 6 * GIB);
        one_turn(&c);
        assert_true(c.n_levels[MLG_ALARM_EXHAUSTED] == 0); /* guests give, nobody is hurt for a promise */
        rig_free(c.t);
}

/* What several guests have touched of the same memory is counted once. */
static void test_shared_memory(void **state) {
        MlgHostStatus a, b;
        Rig *t = rig_new(8 * GIB, false);
        SimGuest *g[2];

        t->host.reserve = MLG_AMOUNT_KIB(GIB);
        mlg_engine_configure(t->e, &t->host);
        for (int i = 0; i < 2; i++)
                g[i] = rig_add(t, GIB, 300 * SIM_MIB);
        run(t, 20);
        mlg_engine_host_status(t->e, &a);
        for (int i = 0; i < 2; i++)
                vm_of(t, g[i])->shared_kib = 100 * SIM_MIB;
        mlg_engine_tell_shared(t->e, 100 * SIM_MIB);
        turn(t);
        mlg_engine_host_status(t->e, &b);
        assert_in_range(a.resident_kib - b.resident_kib, 99 * SIM_MIB, 101 * SIM_MIB);
        assert_true(b.budget_kib <= a.budget_kib); /* in doubt there is less room, not more */
        rig_free(t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_who_pays),
                cmocka_unit_test(test_reaction),
                cmocka_unit_test(test_watch),
                cmocka_unit_test(test_odd_reading),
                cmocka_unit_test(test_no_flapping),
                cmocka_unit_test(test_incurable_and_back),
                cmocka_unit_test(test_nobody_may_be_moved),
                cmocka_unit_test(test_random_bursts),
                cmocka_unit_test(test_ksm),
                cmocka_unit_test(test_pipes),
                cmocka_unit_test(test_shared_memory),
        };

        return cmocka_run_group_tests_name("host", tests, NULL, NULL);
}
