/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proposals: Mode=advise, in whole turns on a simulated host. After each turn no guest may have been moved without
 * approval (check_obedience), whatever the test is about. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine-rig.h"
#include "util/util.h"

/* ---- what must hold after each turn ---- */

static void check_obedience(const Rig *t) {
        for (size_t i = 0; i < t->n_moves; i++) {
                const MlgMove *m = &t->moves[i];
                const MlgVm *vm = m->vm;
                const MlgProposal *p = &vm->proposal;
                /* Who may not have heard of its target is told again; that is no move. */
                bool again = mlg_vm_decision(vm, 0)->from_kib == m->to_kib;

                if (!vm->asks || again || m->why == MLG_REASON_STUCK || m->why == MLG_REASON_MANUAL)
                        continue;
                if (!p->approved)
                        fail_msg("turn %" PRIu64 ": %s was moved %" PRIu64 " -> %" PRIu64 " without approval (%s)", t->n_turns,
                                 vm->name, m->from_kib, m->to_kib, mlg_reason_to_string(m->why));
                if (m->to_kib < mlg_min(m->from_kib, p->to_kib) || m->to_kib > mlg_max(m->from_kib, p->to_kib) ||
                    (m->to_kib > m->from_kib) != (p->to_kib > p->from_kib))
                        fail_msg("turn %" PRIu64 ": %s: %" PRIu64 " -> %" PRIu64 ", approved was %" PRIu64 " -> %" PRIu64,
                                 t->n_turns, vm->name, m->from_kib, m->to_kib, p->from_kib, p->to_kib);
        }
}

static void obedient_turn(Rig *t) {
        turn(t);
        check_obedience(t);
}

static void go(Rig *t, uint64_t sec) {
        uint64_t until = t->now_usec + sec * SIM_SEC;

        while (t->now_usec < until)
                obedient_turn(t);
}

/* ---- helpers ---- */

static SimGuest *add_advised(Rig *t, uint64_t maximum_kib, uint64_t demand_kib) {
        SimGuest *g;

        t->guest.mode = MLG_MODE_ADVISE;
        g = rig_add(t, maximum_kib, demand_kib);
        t->guest.mode = MLG_MODE_AUTO;
        return g;
}

static const MlgProposal *proposal_of(const Rig *t, const SimGuest *g) {
        return &vm_of(t, g)->proposal;
}

/* Turns until there is one. */
static uint64_t await_proposal(Rig *t, const SimGuest *g, uint64_t sec) {
        uint64_t until = t->now_usec + sec * SIM_SEC;

        while (proposal_of(t, g)->id == 0 && t->now_usec < until)
                go(t, 1);
        if (proposal_of(t, g)->id == 0)
                fail_msg("%s: nothing was proposed; it stays because of %s", g->info.name, mlg_reason_to_string(newest(t, g)->why));
        return proposal_of(t, g)->id;
}

static void approve(Rig *t, const SimGuest *g) {
        mlg_engine_approve(t->e, vm_of(t, g), t->now_usec);
}

/* What was told last about this id. */
static const char *fate_of(const Rig *t, uint64_t id) {
        const char *fate = "unknown";

        for (guint i = 0; i < t->told->len; i++) {
                const Told *told = &g_array_index(t->told, Told, i);

                if (told->proposal.id == id)
                        fate = mlg_proposal_event_to_string(told->event);
        }
        return fate;
}

static unsigned int n_proposed(const Rig *t, const SimGuest *g) {
        unsigned int n = 0;

        for (guint i = 0; i < t->told->len; i++) {
                const Told *told = &g_array_index(t->told, Told, i);

                n += told->event == MLG_PROPOSAL_PROPOSED && g_str_equal(told->uuid, g->info.uuid);
        }
        return n;
}

/* Two guests that ask; the host has room for one and a half of them, and one of them is in need. */
typedef struct Pair {
        Rig *t;
        SimGuest *idle, *busy;
} Pair;

static Pair pair_new(void) {
        Pair p = { .t = rig_new(1600 * SIM_MIB, false) };

        p.idle = add_advised(p.t, GIB, 100 * SIM_MIB);
        p.busy = add_advised(p.t, GIB, 300 * SIM_MIB);
        p.busy->actual_kib = p.busy->target_kib = 400 * SIM_MIB;
        p.busy->demand_kib = 380 * SIM_MIB;
        p.busy->swap_size_kib = GIB;
        return p;
}

/* ---- nothing moves before somebody says so ---- */

static void test_approved_moves_are_made(void **state) {
        Pair p = pair_new();
        uint64_t grow, shrink;

        grow = await_proposal(p.t, p.busy, 30);
        shrink = await_proposal(p.t, p.idle, 60);
        go(p.t, 60);
        assert_int_equal(p.t->n_moves_all, 0);
        assert_int_equal(newest(p.t, p.busy)->why, MLG_REASON_APPROVAL);
        assert_true(newest(p.t, p.busy)->wanted_kib > p.busy->actual_kib);
        grow = proposal_of(p.t, p.busy)->id;
        shrink = proposal_of(p.t, p.idle)->id;
        assert_true(proposal_of(p.t, p.busy)->to_kib > 400 * SIM_MIB);
        assert_string_equal(proposal_of(p.t, p.idle)->for_guest, p.busy->info.uuid);

        approve(p.t, p.busy);
        approve(p.t, p.idle);
        go(p.t, 60);
        assert_string_equal(fate_of(p.t, grow), "applied");
        assert_string_equal(fate_of(p.t, shrink), "applied");
        assert_true(p.busy->actual_kib > 400 * SIM_MIB);
        assert_true(p.idle->actual_kib < GIB);
        rig_free(p.t);
}

/* A balloon that is given up keeps what it has, perhaps less than was approved: that is no reason to grow it. */
static void test_nobody_approved_the_way_back(void **state) {
        Pair p = pair_new();
        MlgVm *vm = vm_of(p.t, p.idle);
        uint64_t gave_up_at;

        (void) await_proposal(p.t, p.idle, 60);
        approve(p.t, p.idle);
        while (vm->target_kib == GIB)
                obedient_turn(p.t);
        assert_true(vm->goal_kib > 0);
        gave_up_at = vm->target_kib = p.idle->target_kib = vm->goal_kib - 50 * SIM_MIB;
        go(p.t, 5);
        assert_true(p.idle->target_kib <= gave_up_at);
        rig_free(p.t);
}

/* Two-phase as ever: what is approved for one waits until another one has given. */
static void test_approved_growth_waits_for_room(void **state) {
        Pair p = pair_new();

        p.t->sim.total_kib = 1460 * SIM_MIB; /* all is taken */
        (void) await_proposal(p.t, p.busy, 30);
        approve(p.t, p.busy);
        go(p.t, 30);
        assert_true(p.busy->actual_kib < 440 * SIM_MIB);
        assert_int_equal(newest(p.t, p.busy)->why, MLG_REASON_WAIT_ROOM);
        (void) await_proposal(p.t, p.idle, 10);
        approve(p.t, p.idle);
        go(p.t, 30);
        if (p.busy->actual_kib < 500 * SIM_MIB)
                fail_msg("it has %" PRIu64 " KiB only; %s", p.busy->actual_kib, mlg_reason_to_string(newest(p.t, p.busy)->why));
        rig_free(p.t);
}

/* Facts changed since it was approved: it goes no further than is wanted now. */
static void test_approved_is_checked_again(void **state) {
        Pair p = pair_new();
        uint64_t id;

        (void) await_proposal(p.t, p.busy, 30);
        p.busy->demand_kib = 50 * SIM_MIB;
        p.t->sim.total_kib = 3 * GIB; /* and nobody needs to give any more */
        id = await_proposal(p.t, p.idle, 60);
        approve(p.t, p.idle);
        p.idle->demand_kib = 980 * SIM_MIB;
        go(p.t, 60);
        /* What it lost before its next report came, at its shrink rate. */
        if (p.idle->least_kib < 850 * SIM_MIB)
                fail_msg("it was shrunk to %" PRIu64 " KiB; %s", p.idle->least_kib, fate_of(p.t, id));
        assert_string_equal(fate_of(p.t, id), "applied"); /* as far as was wanted */
        rig_free(p.t);
}

/* ---- the life of a proposal ---- */

static void test_it_stands_while_nothing_changes(void **state) {
        Pair p = pair_new();
        uint64_t id;

        (void) await_proposal(p.t, p.busy, 30);
        go(p.t, 60); /* the averages come to rest */
        id = proposal_of(p.t, p.busy)->id;
        for (int i = 0; i < 120; i++) {
                p.busy->demand_kib = (380 + (i % 3)) * SIM_MIB;
                go(p.t, 1);
                assert_int_equal(proposal_of(p.t, p.busy)->id, id);
                assert_true(p.t->now_usec - proposal_of(p.t, p.busy)->refreshed_usec <= SIM_SEC);
        }
        rig_free(p.t);
}

static void test_it_is_superseded_by_another_size(void **state) {
        Rig *t = rig_new(8 * GIB, false);
        SimGuest *g = add_advised(t, 4 * GIB, 500 * SIM_MIB);
        const MlgProposalEnd *end;
        uint64_t id;

        t->sim.own_kib = 5 * GIB; /* it has to give ... */
        id = await_proposal(t, g, 60);
        go(t, 60);
        id = proposal_of(t, g)->id;
        t->sim.own_kib = 7 * GIB; /* ... more than that */
        for (int i = 0; i < 60 && proposal_of(t, g)->id == id; i++)
                go(t, 1);
        assert_int_not_equal(proposal_of(t, g)->id, id);
        end = mlg_engine_proposal_end(t->e, id);
        assert_non_null(end);
        assert_int_equal(end->how, MLG_PROPOSAL_SUPERSEDED);
        assert_null(mlg_engine_find_proposal(t->e, id));
        assert_int_equal(g->n_set, 0);
        rig_free(t);
}

static void test_it_expires_and_is_made_anew(void **state) {
        Pair p = pair_new();
        uint64_t first, created;

        p.t->host.proposal_usec = 120 * SIM_SEC;
        mlg_engine_configure(p.t->e, &p.t->host);
        (void) await_proposal(p.t, p.busy, 30);
        go(p.t, 60);
        first = proposal_of(p.t, p.busy)->id;
        created = proposal_of(p.t, p.busy)->created_usec;
        while (proposal_of(p.t, p.busy)->id == first)
                go(p.t, 1);
        assert_string_equal(fate_of(p.t, first), "expired");
        assert_true(p.t->now_usec - created >= 120 * SIM_SEC && p.t->now_usec - created <= 122 * SIM_SEC);
        assert_true(proposal_of(p.t, p.busy)->id > first);
        rig_free(p.t);
}

static void test_it_is_withdrawn_when_nothing_is_wanted(void **state) {
        static const struct {
                const char *what;
                uint64_t ceiling_kib;
                MlgMode mode;
                bool paused;
        } cases[] = {
                { "it may have no more", 400 * SIM_MIB, MLG_MODE_ADVISE, false },
                { "it is only watched", GIB, MLG_MODE_OBSERVE, false },
                { "it needs no approval", GIB, MLG_MODE_AUTO, false },
                { "it is paused", GIB, MLG_MODE_ADVISE, true },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Pair p = pair_new();
                MlgGuestSettings s = p.t->guest;
                uint64_t id;

                (void) await_proposal(p.t, p.busy, 30);
                go(p.t, 30);
                id = proposal_of(p.t, p.busy)->id;
                s.ceiling = MLG_AMOUNT_KIB(cases[i].ceiling_kib);
                s.mode = cases[i].mode;
                reconfigure_guest(p.t, p.busy, &s);
                mlg_engine_pause(p.t->e, vm_of(p.t, p.busy), cases[i].paused);
                go(p.t, 40);
                if (!g_str_equal(fate_of(p.t, id), "withdrawn"))
                        fail_msg("%s: the proposal is %s", cases[i].what, fate_of(p.t, id));
                rig_free(p.t);
        }
}

static void test_rejected_is_not_said_again(void **state) {
        Pair p = pair_new();
        unsigned int before;
        uint64_t id, again;

        p.t->host.proposal_usec = 60 * SIM_SEC;
        mlg_engine_configure(p.t->e, &p.t->host);
        (void) await_proposal(p.t, p.busy, 30);
        go(p.t, 30);
        id = await_proposal(p.t, p.busy, 10);
        mlg_engine_reject(p.t->e, vm_of(p.t, p.busy), p.t->now_usec);
        assert_int_equal(mlg_engine_proposal_end(p.t->e, id)->how, MLG_PROPOSAL_REJECTED);
        before = n_proposed(p.t, p.busy);
        go(p.t, 200);
        assert_int_equal(n_proposed(p.t, p.busy), before);
        assert_int_equal(newest(p.t, p.busy)->why, MLG_REASON_REJECTED);
        again = await_proposal(p.t, p.busy, 60); /* four lives of 60 s are over */
        assert_true(again > id);
        rig_free(p.t);
}

static void test_rejected_is_said_again_when_it_suffers_more(void **state) {
        Rig *t = rig_new(GIB, false);
        SimGuest *g = add_advised(t, GIB, 250 * SIM_MIB);

        g->actual_kib = g->target_kib = 400 * SIM_MIB;
        (void) await_proposal(t, g, 30); /* of what nobody else needs */
        mlg_engine_reject(t->e, vm_of(t, g), t->now_usec);
        go(t, 30);
        assert_int_equal(proposal_of(t, g)->id, 0);
        g->demand_kib = 395 * SIM_MIB;
        (void) await_proposal(t, g, 10);
        assert_int_not_equal(vm_of(t, g)->pressure, MLG_PRESSURE_NONE);
        rig_free(t);
}

static void test_refused_by_the_hypervisor(void **state) {
        Pair p = pair_new();
        uint64_t id = await_proposal(p.t, p.busy, 30);

        p.t->refuse_percent = 100;
        p.t->seed = 3;
        approve(p.t, p.busy);
        go(p.t, 20);
        assert_string_equal(fate_of(p.t, id), "failed");
        rig_free(p.t);
}

/* It belongs to one run of the guest. */
static void test_restarted_guest(void **state) {
        Pair p = pair_new();
        uint64_t id = await_proposal(p.t, p.busy, 30);

        mlg_engine_allow(p.t->e, vm_of(p.t, p.busy), p.t->now_usec + 3600 * SIM_SEC);
        approve(p.t, p.busy);
        sim_guest_restart(p.busy);
        (void) mlg_engine_put_guest(p.t->e, &p.busy->info, &vm_of(p.t, p.busy)->settings, true, p.t->now_usec);
        go(p.t, 2);
        assert_string_equal(fate_of(p.t, id), "withdrawn");
        assert_int_equal(mlg_engine_allowed_until_usec(p.t->e, vm_of(p.t, p.busy), p.t->now_usec), 0);
        rig_free(p.t);
}

/* ---- for a time, without asking ---- */

static void test_allowed_for_a_time(void **state) {
        for (int all = 0; all < 2; all++) {
                Pair p = pair_new();
                MlgVm *whom = all ? NULL : vm_of(p.t, p.busy);
                uint64_t moves;

                (void) await_proposal(p.t, p.busy, 30);
                mlg_engine_allow(p.t->e, whom, p.t->now_usec + 60 * SIM_SEC);
                assert_true(mlg_engine_allowed_until_usec(p.t->e, whom, p.t->now_usec) > 0);
                go(p.t, 30);
                assert_true(moves_of(p.t, p.busy) > 0);
                assert_int_equal(moves_of(p.t, p.idle) > 0, all);
                go(p.t, 31);
                assert_int_equal(mlg_engine_allowed_until_usec(p.t->e, whom, p.t->now_usec), 0);
                moves = p.t->n_moves_all;
                p.busy->demand_kib = 900 * SIM_MIB;
                go(p.t, 60);
                assert_int_equal(p.t->n_moves_all, moves);
                (void) await_proposal(p.t, p.busy, 10);
                rig_free(p.t);
        }
}

/* ---- beside others ---- */

/* The same as if the guest that asks were only watched: nobody counts on memory that may never come. */
static void test_others_do_not_count_on_it(void **state) {
        static const char *const policies[] = { "proportional", "mom", "proxmox" };
        static const MlgMode modes[] = { MLG_MODE_ADVISE, MLG_MODE_OBSERVE };

        for (size_t p = 0; p < G_N_ELEMENTS(policies); p++) {
                Rig *t[2];
                SimGuest *guests[2][4];

                for (size_t k = 0; k < 2; k++) {
                        t[k] = rig_new(4 * GIB, false);
                        t[k]->turn_usec = SIM_SEC / 2;
                        g_strlcpy(t[k]->host.policy, policies[p], sizeof(t[k]->host.policy));
                        mlg_engine_configure(t[k]->e, &t[k]->host);
                        for (size_t i = 0; i < 4; i++) {
                                t[k]->guest.mode = i < 2 ? modes[k] : MLG_MODE_AUTO;
                                guests[k][i] = rig_add(t[k], 2 * GIB, (200 + 150 * i) * SIM_MIB);
                                guests[k][i]->actual_kib = guests[k][i]->target_kib = GIB - 20 * SIM_MIB;
                        }
                }
                for (int sec = 0; sec < 400; sec++) {
                        for (size_t k = 0; k < 2; k++) {
                                guests[k][2]->demand_kib = (sec / 50 % 2 ? 1300 : 300) * SIM_MIB;
                                guests[k][0]->demand_kib = (sec / 90 % 2 ? 900 : 300) * SIM_MIB;
                                go(t[k], 1);
                        }
                        for (size_t i = 0; i < 4; i++)
                                if (guests[0][i]->target_kib != guests[1][i]->target_kib)
                                        fail_msg("%s, %d s: guest %zu has %" PRIu64 " beside guests that ask, %" PRIu64
                                                 " beside watched ones", policies[p], sec, i, guests[0][i]->target_kib,
                                                 guests[1][i]->target_kib);
                }
                assert_true(t[0]->n_moves_all > 0);
                assert_true(t[0]->told->len > 0);
                rig_free(t[0]);
                rig_free(t[1]);
        }
}

/* A donor that nobody approves neither keeps the others waiting nor makes them restless. */
static void test_donor_that_nobody_approves(void **state) {
        Rig *t = rig_new(3 * GIB, false);
        SimGuest *donor = add_advised(t, GIB, 100 * SIM_MIB), *other = rig_add(t, GIB, 100 * SIM_MIB);
        SimGuest *busy = rig_add(t, 2 * GIB, 700 * SIM_MIB);
        uint64_t moves, id;

        busy->swap_size_kib = 2 * GIB;
        busy->actual_kib = busy->target_kib = 900 * SIM_MIB;
        go(t, 30);
        busy->demand_kib = 1500 * SIM_MIB;
        go(t, 60);
        assert_true(other->actual_kib < 450 * SIM_MIB); /* it gave all that it could */
        assert_true(busy->actual_kib > 1400 * SIM_MIB);
        assert_int_equal(donor->n_set, 0);
        go(t, 120);
        moves = t->n_moves_all;
        go(t, 300);
        if (t->n_moves_all - moves > 2)
                fail_msg("%" PRIu64 " moves while nothing happened", t->n_moves_all - moves);
        id = await_proposal(t, donor, 10);
        assert_true(proposal_of(t, donor)->to_kib < GIB);
        approve(t, donor);
        go(t, 60);
        assert_string_equal(fate_of(t, id), "applied");
        assert_true(busy->actual_kib > 1600 * SIM_MIB); /* now there is more for it */
        rig_free(t);
}

/* Room for a guest about to start is not promised out of it either. */
static void test_reservations_do_not_count_on_it(void **state) {
        static const MlgMode modes[] = { MLG_MODE_AUTO, MLG_MODE_ADVISE };
        static const int expected[] = { 0, -ENOSPC };

        for (size_t i = 0; i < G_N_ELEMENTS(modes); i++) {
                Rig *t = rig_new(3 * GIB, false);
                MlgReservation r = { .id = 1, .kib = GIB, .expires_usec = UINT64_MAX, .wait_until_usec = UINT64_MAX };

                t->guest.mode = modes[i];
                (void) rig_add(t, 2 * GIB + GIB / 2, 200 * SIM_MIB);
                go(t, 10);
                assert_int_equal(mlg_engine_reserve(t->e, &r), expected[i]);
                rig_free(t);
        }
}

/* An order is one, whatever the mode. */
static void test_manual_target(void **state) {
        Pair p = pair_new();

        (void) await_proposal(p.t, p.busy, 30);
        assert_int_equal(mlg_engine_set_manual(p.t->e, vm_of(p.t, p.idle), 512 * SIM_MIB, p.t->now_usec + 60 * SIM_SEC), 0);
        go(p.t, 20);
        assert_int_equal(p.idle->target_kib, 512 * SIM_MIB);
        assert_int_equal(proposal_of(p.t, p.idle)->id, 0);
        rig_free(p.t);
}

/* ---- whatever happens ---- */

static void answer_something(Rig *t) {
        SimGuest *g = t->sim.guests->pdata[sim_random_below(&t->seed, t->sim.guests->len)];
        MlgVm *vm = vm_of(t, g);

        switch (sim_random_below(&t->seed, 6)) {
        case 0:
        case 1:
                mlg_engine_approve(t->e, vm, t->now_usec);
                break;
        case 2:
                mlg_engine_reject(t->e, vm, t->now_usec);
                break;
        case 3:
                mlg_engine_allow(t->e, sim_random_below(&t->seed, 4) ? vm : NULL, t->now_usec + sim_random_below(&t->seed, 20 * SIM_SEC));
                break;
        case 4:
                g->demand_kib = sim_random_below(&t->seed, g->info.maximum_kib);
                break;
        default:
                g->faults = sim_random_below(&t->seed, 3) ? 0 : 1u << sim_random_below(&t->seed, 6);
                break;
        }
}

static void test_random_turns(void **state) {
        static const char *const policies[] = { "proportional", "mom", "proxmox" };

        for (size_t p = 0; p < G_N_ELEMENTS(policies); p++) {
                Rig *t = rig_new(10 * GIB, false);
                unsigned int counts[_MLG_PROPOSAL_EVENT_MAX] = {};
                uint64_t last = 0;

                t->seed = 70 + p;
                t->refuse_percent = t->lose_percent = 3;
                g_strlcpy(t->host.policy, policies[p], sizeof(t->host.policy));
                mlg_engine_configure(t->e, &t->host);
                for (int i = 0; i < 10; i++) {
                        t->guest.mode = i % 3 ? MLG_MODE_ADVISE : MLG_MODE_AUTO;
                        (void) rig_add(t, (1 + sim_random_below(&t->seed, 3)) * GIB, 200 * SIM_MIB);
                }
                for (int i = 0; i < 10000; i++) {
                        t->answer_usec = sim_random_below(&t->seed, 2) * sim_random_below(&t->seed, 2 * SIM_SEC);
                        if (sim_random_below(&t->seed, 8) == 0)
                                answer_something(t);
                        obedient_turn(t);
                }
                for (guint i = 0; i < t->told->len; i++) {
                        const Told *told = &g_array_index(t->told, Told, i);

                        counts[told->event]++;
                        if (told->event != MLG_PROPOSAL_PROPOSED)
                                continue;
                        assert_true(told->proposal.id > last); /* none is used twice */
                        last = told->proposal.id;
                        assert_int_not_equal(told->proposal.to_kib, told->proposal.from_kib);
                }
                if (counts[MLG_PROPOSAL_PROPOSED] < 20 || counts[MLG_PROPOSAL_APPLIED] < 5) /* enough to have been a test */
                        fail_msg("%s: %u were proposed, %u applied", policies[p], counts[MLG_PROPOSAL_PROPOSED],
                                 counts[MLG_PROPOSAL_APPLIED]);
                rig_free(t);
        }
}

static void test_effect(void **state) {
        static const struct {
                MlgProposal p;
                const char *for_name, *text;
        } cases[] = {
                { { .from_kib = 400 * SIM_MIB, .to_kib = 660 * SIM_MIB, .actual_kib = 400 * SIM_MIB, .usable_kib = 40 * SIM_MIB,
                    .need_kib = 480 * SIM_MIB, .cushion_kib = 72 * SIM_MIB }, "",
                  "usable memory 40 MiB -> 300 MiB (need 480 MiB, cushion 72 MiB)" },
                { { .from_kib = GIB, .to_kib = 512 * SIM_MIB, .actual_kib = GIB, .usable_kib = 900 * SIM_MIB,
                    .need_kib = 124 * SIM_MIB, .cushion_kib = 64 * SIM_MIB }, "",
                  "frees 512 MiB for others; usable memory 900 MiB -> 388 MiB (need 124 MiB, cushion 64 MiB)" },
                { { .from_kib = GIB, .to_kib = 512 * SIM_MIB, .actual_kib = GIB, .usable_kib = 100 * SIM_MIB }, "db1",
                  "frees 512 MiB for db1; usable memory 100 MiB -> 0 KiB (need 0 KiB, cushion 0 KiB)" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *text = mlg_proposal_effect(&cases[i].p, cases[i].for_name);

                assert_string_equal(text, cases[i].text);
        }
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_approved_moves_are_made),
                cmocka_unit_test(test_nobody_approved_the_way_back),
                cmocka_unit_test(test_approved_growth_waits_for_room),
                cmocka_unit_test(test_approved_is_checked_again),
                cmocka_unit_test(test_it_stands_while_nothing_changes),
                cmocka_unit_test(test_it_is_superseded_by_another_size),
                cmocka_unit_test(test_it_expires_and_is_made_anew),
                cmocka_unit_test(test_it_is_withdrawn_when_nothing_is_wanted),
                cmocka_unit_test(test_rejected_is_not_said_again),
                cmocka_unit_test(test_rejected_is_said_again_when_it_suffers_more),
                cmocka_unit_test(test_refused_by_the_hypervisor),
                cmocka_unit_test(test_restarted_guest),
                cmocka_unit_test(test_allowed_for_a_time),
                cmocka_unit_test(test_others_do_not_count_on_it),
                cmocka_unit_test(test_donor_that_nobody_approves),
                cmocka_unit_test(test_reservations_do_not_count_on_it),
                cmocka_unit_test(test_manual_target),
                cmocka_unit_test(test_random_turns),
                cmocka_unit_test(test_effect),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
