/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine: whole turns on a simulated host, in simulated time. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine-rig.h"
#include "util/util.h"

/* ---- memory goes to who needs it, and comes back ---- */

static void test_from_idle_to_busy_and_back(void **state) {
        Rig *t = rig_new(1400 * SIM_MIB, false);
        SimGuest *idle = rig_add(t, GIB, 100 * SIM_MIB), *busy = rig_add(t, GIB, 100 * SIM_MIB);
        uint64_t asked_usec;

        busy->swap_size_kib = idle->swap_size_kib = GIB;
        run(t, 60);
        assert_true(idle->target_kib <= 720 * SIM_MIB &&
                    busy->target_kib <= 720 * SIM_MIB); /* it fits now */
        busy->demand_kib = 800 * SIM_MIB;
        asked_usec = t->now_usec;
        while (busy->target_kib < 800 * SIM_MIB) {
                turn(t);
                assert_true(t->now_usec - asked_usec < 6 * SIM_SEC);
        }
        run(t, 20);
        assert_true(busy->actual_kib >= 850 * SIM_MIB);
        assert_true(idle->actual_kib >= GIB / 4); /* its floor */
        assert_true(idle->actual_kib <= 550 * SIM_MIB);
        assert_int_equal(busy->swapped_kib, 0);
        assert_int_equal(busy->n_oom + idle->n_oom, 0);
        busy->demand_kib = 100 * SIM_MIB;
        run(t, 180);
        assert_true(mlg_abs_diff(busy->actual_kib, idle->actual_kib) <= 50 * SIM_MIB);
        assert_true(idle->least_kib >= GIB / 4 && busy->least_kib >= GIB / 4);
        rig_free(t);
}

/* The same beside guests whose memory changes in blocks: each target is of whole ones. */
static void test_granules(void **state) {
        static const uint64_t granules_mib[] = { 2, 64, 128 };

        for (size_t i = 0; i < G_N_ELEMENTS(granules_mib); i++) {
                uint64_t granule = granules_mib[i] * SIM_MIB, base = 200 * SIM_MIB, before;
                Rig *t = rig_new(1200 * SIM_MIB, false);
                SimGuest *idle = rig_add(t, GIB, 100 * SIM_MIB);
                SimGuest *busy = sim_host_add(&t->sim, base + GIB, 100 * SIM_MIB);

                busy->swap_size_kib = GIB;
                busy->info.virtio_mem = true;
                busy->info.granule_kib = granule;
                busy->info.base_kib = base;
                busy->actual_kib = busy->target_kib = base;
                (void) mlg_engine_put_guest(t->e, &busy->info, &t->guest, false, t->now_usec);
                for (int phase = 0; phase < 4; phase++) {
                        busy->demand_kib = (phase % 2 ? 700 : 100) * SIM_MIB;
                        for (uint64_t end = t->now_usec + 120 * SIM_SEC; t->now_usec < end;) {
                                turn(t);
                                for (size_t m = 0; m < t->n_moves; m++)
                                        if (t->moves[m].vm == vm_of(t, busy))
                                                assert_int_equal((t->moves[m].to_kib - base) % granule, 0);
                        }
                        before = t->n_moves_all;
                        run(t, 20);
                        assert_int_equal(t->n_moves_all, before);
                        assert_true(vm_of(t, busy)->state == MLG_VM_MANAGED);
                        if (phase % 2)
                                assert_true(busy->actual_kib >= 740 * SIM_MIB);
                        else
                                /* a shrink stops before its end */
                                assert_in_range(busy->actual_kib, base, 620 * SIM_MIB + granule);
                }
                assert_int_equal(busy->n_oom + idle->n_oom, 0);
                before = t->now_usec + 60 * SIM_SEC;
                assert_int_equal(mlg_engine_set_manual(t->e, vm_of(t, busy), base + 512 * SIM_MIB + 1, before), 0);
                assert_int_equal(mlg_engine_set_manual(t->e, vm_of(t, busy), base - 1, before), -ERANGE);
                run(t, 20);
                assert_int_equal(busy->actual_kib, base + 512 * SIM_MIB);
                rig_free(t);
        }
}

/* A guest that the host takes memory of is in the books with all that it may want back, and no plan names it. */
static void test_reclaim(void **state) {
        for (int dry_run = 0; dry_run < 2; dry_run++) {
                Rig *t = rig_new(4 * GIB, dry_run);
                SimGuest *other = rig_add(t, 2 * GIB, 300 * SIM_MIB), *g = sim_host_add(&t->sim, 2 * GIB, 1500 * SIM_MIB);
                MlgRawCgroup raw = { .current_kib = 2 * GIB, .swap_max_kib = UINT64_MAX };
                MlgRawHost host = { .total_kib = 4 * GIB, .available_kib = 2 * GIB, .swap_total_kib = GIB, .swap_free_kib = GIB };
                MlgGuestSettings s = t->guest;
                MlgGuestStatus status;
                uint64_t asked = 0, charged;

                g->info.has_balloon = false;
                s.reclaim = MLG_RECLAIM_MODE_CGROUP;
                reconfigure_guest(t, g, &s);
                run(t, 10);
                charged = mlg_engine_ledger(t->e)->charged_kib;
                assert_int_equal(vm_of(t, g)->charge_kib, 2 * GIB);
                for (int i = 0; i < 100; i++) {
                        uint64_t step;

                        run(t, 5);
                        mlg_engine_observe_host(t->e, &host);
                        step = mlg_engine_observe_cgroup(t->e, vm_of(t, g), &raw, t->now_usec);
                        mlg_reclaim_asked(&vm_of(t, g)->reclaim, 0, step, t->now_usec);
                        raw.current_kib -= step;
                        raw.swap_kib += step;
                        host.swap_free_kib -= step;
                        asked += step;
                        assert_true(raw.current_kib >= vm_of(t, g)->floor_kib);
                }
                assert_true(dry_run ? asked == 0 : asked > 512 * SIM_MIB);
                assert_int_equal(vm_of(t, g)->charge_kib, 2 * GIB);
                assert_int_equal(moves_of(t, g), 0);
                assert_true(mlg_engine_ledger(t->e)->charged_kib <= charged);
                assert_int_equal(vm_of(t, other)->state, MLG_VM_MANAGED);
                mlg_engine_guest_status(t->e, vm_of(t, g), t->now_usec, &status);
                assert_int_equal(status.actuator, MLG_ACTUATOR_CGROUP);
                assert_true(status.knows_cgroup && status.cgroup_kib + status.cgroup_swap_kib == 2 * GIB);
                assert_int_equal(status.reclaim_asked_kib, asked);
                /* Paused, or just started: nothing. */
                mlg_engine_pause(t->e, vm_of(t, g), true);
                run(t, 5);
                assert_int_equal(mlg_engine_observe_cgroup(t->e, vm_of(t, g), &raw, t->now_usec), 0);
                rig_free(t);
        }
}

static void test_reclaim_waits_for_the_start(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g = sim_host_add(&t->sim, 2 * GIB, 1500 * SIM_MIB);
        MlgRawCgroup raw = { .current_kib = 2 * GIB, .swap_max_kib = UINT64_MAX };
        MlgRawHost host = { .total_kib = 4 * GIB, .available_kib = 2 * GIB, .swap_total_kib = GIB, .swap_free_kib = GIB };
        uint64_t begin = t->now_usec, step = 0;

        g->info.has_balloon = false;
        t->guest.reclaim = MLG_RECLAIM_MODE_CGROUP;
        (void) mlg_engine_put_guest(t->e, &g->info, &t->guest, true, t->now_usec);
        while (step == 0) {
                run(t, 5);
                mlg_engine_observe_host(t->e, &host);
                step = mlg_engine_observe_cgroup(t->e, vm_of(t, g), &raw, t->now_usec);
                assert_true(t->now_usec - begin < 60 * SIM_SEC);
        }
        assert_true(t->now_usec - begin >= t->guest.settle_usec);
        rig_free(t);
}

static void test_settles(void **state) {
        static const char *const policies[] = { "static", "proportional", "equal-pressure", "iballoon", "idle-tax" };

        for (size_t p = 0; p < G_N_ELEMENTS(policies); p++)
                for (uint64_t seed = 20; seed < 30; seed++) {
                        Rig *t = rig_new(16 * GIB, false);
                        uint64_t random = seed, before;

                        g_strlcpy(t->host.policy, policies[p], sizeof(t->host.policy));
                        mlg_engine_configure(t->e, &t->host);
                        for (int i = 0; i < 12; i++)
                                (void) rig_add(t, (1 + sim_random_below(&random, 4)) * GIB,
                                               (100 + sim_random_below(&random, 700)) * SIM_MIB);
                        run(t, 300);
                        before = t->n_moves_all;
                        run(t, 600);
                        if (t->n_moves_all != before)
                                fail_msg("%s, seed %" PRIu64 ": %" PRIu64 " moves after it had settled",
                                         policies[p], seed, t->n_moves_all - before);
                        if (p == 0)
                                assert_int_equal(before, 0);
                        rig_free(t);
                }
}

/* ---- the books, whatever happens ---- */

static void mischief(Rig *t) {
        SimGuest *g = t->sim.guests->pdata[sim_random_below(&t->seed, t->sim.guests->len)];

        switch (sim_random_below(&t->seed, 12)) {
        case 0:
        case 1:
        case 2:
        case 3:
                g->demand_kib = sim_random_below(&t->seed, g->info.maximum_kib);
                break;
        case 4:
                g->faults = 1u << sim_random_below(&t->seed, 6);
                break;
        case 5:
        case 6:
        case 7:
                g->faults = 0;
                break;
        case 8:
                g->shrink_kib_per_sec = sim_random_below(&t->seed, GIB);
                break;
        case 9:
                t->sim.own_kib = sim_random_below(&t->seed, 2 * GIB);
                break;
        case 10: /* somebody else */
                (void) sim_guest_set(g, g->info.maximum_kib / 2 +
                                                sim_random_below(&t->seed, g->info.maximum_kib / 2));
                break;
        default:
                sim_guest_restart(g);
                (void) mlg_engine_put_guest(t->e, &g->info, &t->guest, false, t->now_usec);
                break;
        }
}

static void come_and_go(Rig *t) {
        if (t->sim.guests->len > 2 && sim_random_below(&t->seed, 2)) {
                SimGuest *g = t->sim.guests->pdata[sim_random_below(&t->seed, t->sim.guests->len)];

                mlg_engine_drop_guest(t->e, g->info.uuid); /* perhaps in the middle of a move */
                sim_host_remove(&t->sim, g);
        } else if (t->sim.guests->len < 20)
                (void) rig_add(t, (1 + sim_random_below(&t->seed, 3)) * GIB,
                               sim_random_below(&t->seed, GIB));
}

/* What its guest has, as far as QEMU occupies memory for it, is never more than what it is charged. */
static void check_charges_cover(const Rig *t) {
        for (guint i = 0; i < t->sim.guests->len; i++) {
                const SimGuest *g = t->sim.guests->pdata[i];
                const MlgVm *vm = vm_of(t, g);

                if (vm->polled && vm->sampler.last.at_usec == t->now_usec) { /* seen in this turn */
                        uint64_t rss = vm->sampler.last.rss_kib;

                        assert_true(vm->charge_kib >= (rss ? mlg_min(g->actual_kib, rss) : g->actual_kib));
                        if (!mlg_vm_took_unasked(vm))
                                assert_true(vm->charge_kib >= g->actual_kib);
                }
        }
}

static void ignore_reservation(const MlgReservation *r, MlgReservationFate fate, void *userdata) {
}

static void test_books_on_random_turns(void **state) {
        static const char *const policies[] = { "proportional", "mom", "proxmox", "equal-pressure", "iballoon", "idle-tax" };

        for (size_t p = 0; p < G_N_ELEMENTS(policies); p++) {
                Rig *t = rig_new(12 * GIB, false);
                uint64_t id = 0, overrun_turns = 0;

                t->seed = 40 + p;
                t->refuse_percent = 5;
                t->lose_percent = 5;
                g_strlcpy(t->host.policy, policies[p], sizeof(t->host.policy));
                mlg_engine_configure(t->e, &t->host);
                for (int i = 0; i < 10; i++)
                        (void) rig_add(t, (1 + sim_random_below(&t->seed, 3)) * GIB, 200 * SIM_MIB);
                for (int i = 0; i < 10000; i++) {
                        MlgReservation r = { .id = ++id, .kib = sim_random_below(&t->seed, GIB) };

                        t->answer_usec = sim_random_below(&t->seed, 2) *
                                         sim_random_below(&t->seed, 2 * SIM_SEC);
                        if (sim_random_below(&t->seed, 10) == 0)
                                mischief(t);
                        if (sim_random_below(&t->seed, 200) == 0)
                                come_and_go(t);
                        if (sim_random_below(&t->seed, 100) == 0) {
                                r.expires_usec = t->now_usec + sim_random_below(&t->seed, 60 * SIM_SEC);
                                r.keep_usec = sim_random_below(&t->seed, 60 * SIM_SEC);
                                r.wait_until_usec = t->now_usec + 20 * SIM_SEC;
                                (void) mlg_engine_reserve(t->e, &r);
                        }
                        turn(t);
                        check_charges_cover(t);
                        mlg_engine_settle_reservations(t->e, t->now_usec, true, ignore_reservation, NULL);
                        overrun_turns += mlg_ledger_overrun_kib(mlg_engine_ledger(t->e)) > 0;
                }
                if (t->n_moves_all <= 150) /* enough to have been a test */
                        fail_msg("%s made %" PRIu64 " moves in 10000 turns", policies[p], t->n_moves_all);
                /* Only the world's mischief makes them uneven; the rules of others do not care. */
                if (p == 0 && overrun_turns > 9000)
                        fail_msg("the books were overrun in %" PRIu64 " of 10000 turns", overrun_turns);
                rig_free(t);
        }
}

/* While nobody interferes the host is never overcommitted, at any instant: donors first, then takers. */
static void test_shrink_before_grow(void **state) {
        Rig *t = rig_new(8 * GIB, false);
        SimGuest *guests[8];

        t->turn_usec = SIM_SEC / 5;
        for (size_t i = 0; i < G_N_ELEMENTS(guests); i++) {
                guests[i] = rig_add(t, 2 * GIB, 200 * SIM_MIB);
                guests[i]->actual_kib = guests[i]->target_kib = 960 * SIM_MIB;
        }
        run(t, 10);
        for (int i = 0; i < 3000; i++) {
                uint64_t sum = 0;

                if (i % 50 == 0)
                        guests[i / 50 % 8]->demand_kib = sim_random_below(&t->seed, 1500 * SIM_MIB);
                turn(t);
                for (size_t k = 0; k < G_N_ELEMENTS(guests); k++)
                        sum += mlg_max(guests[k]->actual_kib, guests[k]->target_kib);
                assert_true(sum <= 8 * GIB - 8 * 16 * SIM_MIB); /* QEMU's own share is gone, too */
        }
        assert_true(t->n_moves_all > 100);
        rig_free(t);
}

/* ---- guests that do not do what they are told ---- */

static void test_stuck_guest_does_not_rock_the_others(void **state) {
        Rig *t = rig_new(3 * GIB, false);
        SimGuest *stuck = rig_add(t, GIB, 100 * SIM_MIB), *others[3];
        unsigned int before[3];
        uint64_t found = 0, moved = 0;

        for (size_t i = 0; i < 3; i++)
                others[i] = rig_add(t, GIB, 300 * SIM_MIB);
        stuck->faults = SIM_STUCK;
        while (!found) {
                turn(t);
                moved = moved ? moved : moves_of(t, stuck) ? t->now_usec : 0;
                if (vm_of(t, stuck)->state == MLG_VM_HELD)
                        found = t->now_usec;
                assert_true(t->n_turns < 200);
        }
        assert_int_equal(vm_of(t, stuck)->why, MLG_REASON_STUCK);
        assert_true(found - moved <= 5 * SIM_SEC + t->host.move_poll_usec);
        run(t, 20);
        for (size_t i = 0; i < 3; i++)
                before[i] = moves_of(t, others[i]);
        run(t, 900);
        for (size_t i = 0; i < 3; i++)
                if (moves_of(t, others[i]) - before[i] > 2)
                        fail_msg("%s moved %u times because of its neighbour", others[i]->info.name,
                                 moves_of(t, others[i]) - before[i]);
        /* What it holds is charged as it is, and the others fit beside it. */
        assert_int_equal(vm_of(t, stuck)->charge_kib, GIB);
        assert_int_equal(mlg_ledger_overrun_kib(mlg_engine_ledger(t->e)), 0);
        /* Asked again ever more seldom: 5 times in 15 minutes, for 5 s each. */
        if (moves_of(t, stuck) > 5 * 30)
                fail_msg("%s was asked %u times", stuck->info.name, moves_of(t, stuck));
        assert_true(vm_of(t, stuck)->stuck_wait_usec >= 480 * SIM_SEC);
        rig_free(t);
}

/* Impossible and frozen statistics: found within 5 s, never shrunk, the others go on. */
static void test_bad_statistics_hold(void **state) {
        static const SimFault faults[] = { SIM_ALL_ONES, SIM_LIAR, SIM_SILENT, SIM_STOPPED };

        for (size_t i = 0; i < G_N_ELEMENTS(faults); i++) {
                Rig *t = rig_new(3 * GIB, false);
                SimGuest *bad = rig_add(t, 2 * GIB, 300 * SIM_MIB),
                         *other = rig_add(t, 2 * GIB, 300 * SIM_MIB);
                uint64_t held_kib;

                run(t, 60);
                bad->faults = faults[i];
                run(t, 5);
                assert_int_equal(vm_of(t, bad)->state, MLG_VM_HELD);
                held_kib = bad->target_kib;
                other->demand_kib = 1700 * SIM_MIB; /* would take all it can get */
                run(t, 50);
                assert_true(bad->target_kib >= held_kib);
                assert_true(other->actual_kib + bad->actual_kib <= 3 * GIB);
                bad->faults = 0;
                run(t, 60);
                assert_int_equal(vm_of(t, bad)->state, MLG_VM_MANAGED);
                assert_true(bad->target_kib < held_kib); /* a donor again */
                rig_free(t);
        }
}

static void test_silent_guest_gets_memory_back_slowly(void **state) {
        Rig *t = rig_new(8 * GIB, false);
        SimGuest *g = rig_add(t, 2 * GIB, 100 * SIM_MIB);
        unsigned int moves;

        t->host.guest_memory = MLG_AMOUNT_KIB(GIB);
        mlg_engine_configure(t->e, &t->host);
        run(t, 90);
        assert_true(g->actual_kib <= GIB);
        t->host.guest_memory = MLG_AMOUNT_KIB(MLG_AMOUNT_MAX);
        g->faults = SIM_SILENT;
        run(t, 5);
        mlg_engine_configure(t->e, &t->host);
        moves = moves_of(t, g);
        run(t, 55);
        assert_int_equal(moves_of(t, g), moves);
        for (unsigned int i = 1; i <= 5; i++) { /* 5 % of the maximum each 10 s */
                run(t, 10);
                assert_in_range(g->target_kib, 1000 * SIM_MIB + i * 100 * SIM_MIB - 60 * SIM_MIB,
                                GIB + i * 103 * SIM_MIB);
        }
        run(t, 200);
        assert_in_range(g->actual_kib, 2 * GIB - 41 * SIM_MIB,
                        2 * GIB); /* all of it, but for the dead band */
        rig_free(t);
}

/* A rate below the dead band must not keep it from that. */
static void test_silent_guest_with_a_small_rate(void **state) {
        Rig *t = rig_new(8 * GIB, false);
        SimGuest *g;

        t->guest.shrink_permille = 1;
        g = rig_add(t, 2 * GIB, 100 * SIM_MIB);
        g->actual_kib = g->target_kib = GIB;
        g_strlcpy(t->host.policy, "static", sizeof(t->host.policy));
        mlg_engine_configure(t->e, &t->host);
        run(t, 10);
        g->faults = SIM_SILENT;
        run(t, 90);
        assert_true(g->target_kib > GIB);
        rig_free(t);
}

static void test_paused_guest_is_not_silent(void **state) {
        Rig *t = rig_new(8 * GIB, false);
        SimGuest *g = rig_add(t, 2 * GIB, 100 * SIM_MIB);

        g->actual_kib = g->target_kib = GIB;
        g_strlcpy(t->host.policy, "static", sizeof(t->host.policy));
        mlg_engine_configure(t->e, &t->host);
        run(t, 10);
        g->info.run_state = MLG_RUN_PAUSED;
        run(t, 600);
        g->info.run_state = MLG_RUN_RUNNING;
        run(t, 30);
        assert_int_equal(moves_of(t, g), 0);
        rig_free(t);
}

static void test_unresponsive_guest_is_charged_and_left_alone(void **state) {
        Rig *t = rig_new(3 * GIB, false);
        SimGuest *stopped = rig_add(t, 2 * GIB, 300 * SIM_MIB), *other = rig_add(t, 2 * GIB, 300 * SIM_MIB);
        uint64_t charge;

        run(t, 30);
        stopped->faults = SIM_STOPPED;
        run(t, 5);
        charge = vm_of(t, stopped)->charge_kib;
        g_hash_table_remove_all(t->moves_of);
        other->demand_kib = 1900 * SIM_MIB;
        run(t, 30);
        assert_int_equal(moves_of(t, stopped), 0);
        assert_int_equal(vm_of(t, stopped)->charge_kib, charge);
        assert_true(other->actual_kib + charge <= 3 * GIB);
        rig_free(t);
}

/* ---- order of service ---- */

static void test_relief_comes_first(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *calm = rig_add(t, 2 * GIB, 100 * SIM_MIB), *suffering = rig_add(t, 2 * GIB, 100 * SIM_MIB);
        bool seen = false;

        calm->actual_kib = calm->target_kib = suffering->actual_kib = suffering->target_kib = GIB / 2;
        g_strlcpy(t->host.policy, "static", sizeof(t->host.policy));
        mlg_engine_configure(t->e, &t->host);
        run(t, 10);
        suffering->demand_kib = 505 * SIM_MIB;
        run(t, 4);
        assert_int_equal(vm_of(t, suffering)->pressure, MLG_PRESSURE_CRITICAL);
        g_strlcpy(t->host.policy, "proportional", sizeof(t->host.policy));
        /* Room for one of them: the calm one, first in the table, would like all of it. */
        t->host.guest_memory = MLG_AMOUNT_KIB(GIB + 200 * SIM_MIB);
        mlg_engine_configure(t->e, &t->host);
        turn(t);
        for (size_t i = 0; i < t->n_moves; i++)
                if (t->moves[i].vm == vm_of(t, suffering)) {
                        seen = true;
                        assert_true(t->moves[i].to_kib >= GIB / 2 + 180 * SIM_MIB);
                        assert_int_equal(t->moves[i].why, MLG_REASON_PRESSURE);
                } else
                        assert_true(t->moves[i].to_kib <= t->moves[i].from_kib);
        assert_true(seen);
        rig_free(t);
}

/* A grow that must wait says so. */
static void test_grow_waits_for_room(void **state) {
        Rig *t = rig_new(2 * GIB, false);
        SimGuest *donor = rig_add(t, GIB, 100 * SIM_MIB), *taker = rig_add(t, GIB, 100 * SIM_MIB);
        unsigned int waited = 0;

        t->host.guest_memory = MLG_AMOUNT_KIB(GIB + 512 * SIM_MIB);
        mlg_engine_configure(t->e, &t->host);
        donor->shrink_kib_per_sec = 50 * SIM_MIB;
        taker->actual_kib = taker->target_kib = GIB / 2;
        run(t, 4);
        taker->demand_kib = 800 * SIM_MIB;
        for (int i = 0; i < 100; i++) {
                turn(t);
                if (newest(t, taker)->why != MLG_REASON_WAIT_ROOM)
                        continue;
                waited++;
        }
        assert_true(waited > 2);
        run(t, 30);
        assert_true(taker->actual_kib >= 800 * SIM_MIB);
        rig_free(t);
}

/* ---- what the host has ---- */

static void test_budget(void **state) {
        static const struct {
                const char *what;
                uint64_t own_mib, hugetlb_mib, reserve_mib, guest_memory_mib, budget_mib;
        } cases[] = {
                /* 8 GiB; one guest of 2 GiB; QEMU's own 16 MiB are not available either */
                { "all but the reserve", 0, 0, 1024, 9000, 7152 },
                { "what is there in fact", 4096, 0, 1024, 9000, 3056 },
                { "huge pages", 0, 2048, 1024, 9000, 5120 },
                { "GuestMemory=", 0, 0, 1024, 4000, 4000 },
                { "nothing", 8192, 0, 1024, 4000, 1024 }, /* the guest's own 2 GiB, less the reserve */
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Rig *t = rig_new(8 * GIB, false);
                SimGuest *g = rig_add(t, 2 * GIB, 100 * SIM_MIB);
                const MlgMove *moves;

                t->host.reserve = MLG_AMOUNT_KIB(cases[i].reserve_mib * SIM_MIB);
                t->host.guest_memory = MLG_AMOUNT_KIB(cases[i].guest_memory_mib * SIM_MIB);
                mlg_engine_configure(t->e, &t->host);
                t->sim.own_kib = cases[i].own_mib * SIM_MIB;
                turn(t);
                t->raw_host.hugetlb_kib = cases[i].hugetlb_mib * SIM_MIB;
                mlg_engine_observe_host(t->e, &t->raw_host);
                (void) mlg_engine_decide(t->e, t->now_usec, &moves);
                if (mlg_engine_ledger(t->e)->budget_kib != cases[i].budget_mib * SIM_MIB)
                        fail_msg("%s: %" PRIu64 " MiB", cases[i].what,
                                 mlg_engine_ledger(t->e)->budget_kib / SIM_MIB);
                assert_int_equal(vm_of(t, g)->charge_kib, 2 * GIB);
                rig_free(t);
        }
}

static void test_host_grows(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *a = rig_add(t, 2 * GIB, 1100 * SIM_MIB), *b = rig_add(t, 2 * GIB, 1100 * SIM_MIB);
        MlgHostStatus s = {};

        run(t, 60);
        assert_int_equal(mlg_ledger_overrun_kib(mlg_engine_ledger(t->e)), 0);
        t->sim.own_kib = GIB; /* somebody started a compiler */
        run(t, 30);
        assert_true(a->actual_kib + b->actual_kib <= 3 * GIB);
        assert_int_equal(mlg_ledger_overrun_kib(mlg_engine_ledger(t->e)), 0);
        mlg_engine_host_status(t->e, &s);
        assert_int_equal(s.shortage_kib, 0);
        t->sim.own_kib = 2 * GIB; /* and another one: now even needs cannot be met */
        for (int i = 0; s.shortage_kib == 0; i++) {
                assert_true(i < 20);
                turn(t);
                mlg_engine_host_status(t->e, &s);
        }
        run(t, 30);
        assert_true(a->actual_kib + b->actual_kib <= 2 * GIB);
        assert_true(a->least_kib >= GIB / 2 && b->least_kib >= GIB / 2);
        rig_free(t);
}

/* Small room from many guests: not lost because each one's part is too little to bother. */
static void test_many_small_parts(void **state) {
        Rig *t = rig_new(12 * GIB, false);
        MlgReservation r = { .id = 1, .kib = 16 * SIM_MIB };

        for (int i = 0; i < 20; i++)
                (void) rig_add(t, GIB, 100 * SIM_MIB);
        run(t, 120);
        r.kib += mlg_ledger_free_kib(mlg_engine_ledger(t->e)); /* not to be met by what is free anyway */
        assert_true(r.kib < 400 * SIM_MIB);
        r.wait_until_usec = t->now_usec + 20 * SIM_SEC;
        r.expires_usec = t->now_usec + 60 * SIM_SEC;
        assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        run(t, 10);
        assert_int_equal(mlg_engine_reservation_room_kib(t->e, 0), r.kib);
        rig_free(t);
}

/* What one guest lacks is taken from as many as it takes, and from the others the next time. */
static void test_donors_give_by_turns(void **state) {
        enum { N = 200 };
        Rig *t = rig_new(N * GIB, false);
        SimGuest *donors[N], *taker;
        unsigned int gave, gave_again = 0;

        t->host.guest_memory = MLG_AMOUNT_KIB(N * GIB / 2);
        mlg_engine_configure(t->e, &t->host);
        for (size_t i = 0; i < N; i++) {
                donors[i] = rig_add(t, GIB, 100 * SIM_MIB);
                donors[i]->actual_kib = donors[i]->target_kib = GIB / 2 - 2 * SIM_MIB;
        }
        taker = rig_add(t, GIB, 100 * SIM_MIB);
        taker->actual_kib = taker->target_kib = 300 * SIM_MIB;
        run(t, 60);
        gave = 0;
        for (size_t i = 0; i < N; i++)
                gave += moves_of(t, donors[i]);
        assert_int_equal(gave, 0);
        taker->demand_kib = 500 * SIM_MIB;
        run(t, 30);
        assert_true(taker->actual_kib >= 500 * SIM_MIB);
        for (size_t i = 0; i < N; i++)
                gave += moves_of(t, donors[i]) > 0;
        assert_in_range(gave, 1, N / 2);
        taker->demand_kib = 900 * SIM_MIB;
        run(t, 60);
        assert_true(taker->actual_kib >= 900 * SIM_MIB);
        for (size_t i = 0; i < N; i++)
                gave_again += moves_of(t, donors[i]) > 1;
        assert_true(gave_again < gave);
        rig_free(t);
}

static void test_host_stalls(void **state) {
        Rig *t = rig_new(8 * GIB, false);
        SimGuest *g = rig_add(t, 2 * GIB, 200 * SIM_MIB);
        const MlgMove *moves;
        MlgHostStatus s = {};

        g->actual_kib = g->target_kib = GIB;
        run(t, 2); /* not managed yet */
        for (int i = 0; i < 10; i++) {
                MlgRawStats raw;

                t->now_usec += SIM_SEC;
                sim_host_advance(&t->sim, t->now_usec);
                t->raw_host.have_psi = true;
                t->raw_host.psi_full_avg10_centi = 1000;
                mlg_engine_observe_host(t->e, &t->raw_host);
                (void) sim_guest_read(g, &raw);
                mlg_engine_observe(t->e, vm_of(t, g), &raw, t->now_usec,
                                   t->sim.wall_base_sec + t->now_usec / SIM_SEC);
                if (mlg_engine_decide(t->e, t->now_usec, &moves) > 0) {
                        assert_true(moves[0].to_kib < moves[0].from_kib); /* only what it needs */
                        mlg_engine_answer(t->e, vm_of(t, g), sim_guest_set(g, moves[0].to_kib), t->now_usec);
                }
        }
        assert_true(g->target_kib < GIB);
        assert_int_equal(newest(t, g)->wanted_why, MLG_REASON_HOST_PRESSURE);
        mlg_engine_host_status(t->e, &s);
        assert_true(s.have_psi);
        assert_int_equal(s.psi_full_avg10_centi, 1000);
        rig_free(t);
}

/* ---- nothing before everything is known ---- */

static void test_first_turns(void **state) {
        Rig *t = rig_new(GIB, false);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB), *b = rig_add(t, GIB, 100 * SIM_MIB);
        const MlgMove *moves;
        MlgRawStats raw;

        assert_int_equal(mlg_engine_decide(t->e, t->now_usec, &moves), 0); /* no host, no guest */
        assert_int_equal(mlg_engine_ledger(t->e)->charged_kib, 2 * GIB);
        /* One guest is polled and one is not, for ten seconds: nothing moves. */
        for (int i = 0; i < 10; i++) {
                t->now_usec += SIM_SEC;
                sim_host_advance(&t->sim, t->now_usec);
                sim_host_read(&t->sim, &t->raw_host);
                mlg_engine_observe_host(t->e, &t->raw_host);
                (void) sim_guest_read(a, &raw);
                mlg_engine_observe(t->e, vm_of(t, a), &raw, t->now_usec,
                                   t->sim.wall_base_sec + t->now_usec / SIM_SEC);
                assert_int_equal(mlg_engine_decide(t->e, t->now_usec, &moves), 0);
        }
        assert_int_equal(vm_of(t, a)->state, MLG_VM_MANAGED);
        /* Unless the other one is known not to answer. */
        b->faults = SIM_STOPPED;
        run(t, 5);
        assert_true(moves_of(t, a) > 0);
        assert_int_equal(moves_of(t, b), 0);
        assert_null(mlg_engine_find(t->e, "nobody"));
        assert_null(mlg_engine_guest_at(t->e, 2));
        rig_free(t);
}

static void test_unreadable_host(void **state) {
        Rig *t = rig_new(GIB, false);
        const MlgMove *moves;

        turn(t); /* no guests at all */
        (void) rig_add(t, GIB, 100 * SIM_MIB);
        mlg_engine_observe_host(t->e, &(MlgRawHost) {});
        assert_int_equal(mlg_engine_decide(t->e, t->now_usec, &moves), 0);
        rig_free(t);
}

/* ---- guests come and go ---- */

static void test_drop_in_flight(void **state) {
        Rig *t = rig_new(GIB, false);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB), *b = rig_add(t, GIB, 100 * SIM_MIB);

        t->answer_usec = 10 * SIM_SEC;
        while (t->answers->len < 2)
                turn(t);
        assert_true(vm_of(t, a)->pending_kib > 0);
        mlg_engine_drop_guest(t->e, a->info.uuid);
        sim_host_remove(&t->sim, a);
        check_books(t);
        run(t, 30);
        assert_true(vm_of(t, b)->moves_accepted > 0);
        mlg_engine_drop_guest(t->e, "nobody");
        mlg_engine_drop_guest(t->e, b->info.uuid);
        sim_host_remove(&t->sim, b);
        assert_int_equal(mlg_engine_ledger(t->e)->charged_kib, 0);
        assert_int_equal(mlg_engine_n_guests(t->e), 0);
        turn(t);
        rig_free(t);
}

/* The wishes of a policy with an interval stay with their guests when the table changes. */
static void test_drop_between_decisions(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *guests[4];

        g_strlcpy(t->host.policy, "proxmox", sizeof(t->host.policy));
        mlg_engine_configure(t->e, &t->host);
        for (size_t i = 0; i < 4; i++)
                guests[i] = rig_add(t, (1 + i) * GIB / 2, 50 * SIM_MIB);
        t->sim.own_kib = GIB;
        run(t, 15);
        mlg_engine_drop_guest(t->e, guests[1]->info.uuid);
        sim_host_remove(&t->sim, guests[1]);
        for (int i = 0; i < 9; i++) {
                turn(t);
                for (size_t k = 0; k < t->n_moves;
                     k++) /* 100 MiB per round at most: not another one's target */
                        assert_true(mlg_abs_diff(t->moves[k].to_kib, t->moves[k].vm->actual_kib) <=
                                    100 * SIM_MIB);
        }
        rig_free(t);
}

static void test_many_guests(void **state) {
        Rig *t = rig_new(64 * GIB, false);

        for (int i = 0; i < 100; i++)
                (void) rig_add(t, GIB, 200 * SIM_MIB);
        run(t, 60);
        assert_int_equal(mlg_engine_n_guests(t->e), 100);
        assert_int_equal(mlg_ledger_overrun_kib(mlg_engine_ledger(t->e)), 0);
        while (t->sim.guests->len > 0) {
                SimGuest *g = t->sim.guests->pdata[sim_random_below(&t->seed, t->sim.guests->len)];

                mlg_engine_drop_guest(t->e, g->info.uuid);
                sim_host_remove(&t->sim, g);
                turn(t);
        }
        assert_int_equal(mlg_engine_ledger(t->e)->charged_kib, 0);
        rig_free(t);
}

static void test_started_guest_settles_first(void **state) {
        Rig *t = rig_new(2 * GIB, false);
        SimGuest *g;

        t->host.guest_memory = MLG_AMOUNT_KIB(2 * GIB);
        mlg_engine_configure(t->e, &t->host);
        g = sim_host_add(&t->sim, GIB, 100 * SIM_MIB);
        t->host.guest_memory = MLG_AMOUNT_KIB(GIB);
        (void) mlg_engine_put_guest(t->e, &g->info, &t->guest, true, t->now_usec);
        mlg_engine_configure(t->e, &t->host);
        run(t, 29);
        assert_int_equal(moves_of(t, g), 0);
        t->host.guest_memory = MLG_AMOUNT_KIB(700 * SIM_MIB);
        mlg_engine_configure(t->e, &t->host);
        run(t, 20);
        assert_true(moves_of(t, g) > 0);
        rig_free(t);
}

static void test_adoption(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g = rig_add(t, 2 * GIB, 300 * SIM_MIB), *h = rig_add(t, 2 * GIB, 300 * SIM_MIB);

        /* A daemon that died in the middle of two moves. */
        (void) sim_guest_set(g, GIB);
        g->shrink_kib_per_sec = 100 * SIM_MIB;
        g->actual_kib = 1500 * SIM_MIB;
        h->actual_kib = h->target_kib = GIB;
        mlg_engine_adopt(t->e, g->info.uuid, 2 * GIB, GIB);
        mlg_engine_adopt(t->e, h->info.uuid, GIB, 0);
        mlg_engine_adopt(t->e, "nobody", GIB, 0);
        assert_int_equal(vm_of(t, g)->target_kib, GIB);
        assert_true(vm_of(t, g)->adopted);
        turn(t);
        assert_int_equal(vm_of(t, g)->target_kib, GIB);
        assert_int_equal(vm_of(t, g)->foreign_until_usec, 0);
        /* Until it is certain that the last word was heard, the word before it counts. */
        assert_int_equal(mlg_engine_ledger(t->e)->charged_kib, 2 * GIB + GIB);
        run(t, 10);
        assert_int_equal(vm_of(t, g)->unsure_kib, 0);
        run(t, 20);
        assert_int_equal(vm_of(t, g)->foreign_until_usec, 0);
        assert_true(g->least_kib >= GIB / 2 && h->least_kib >= GIB / 2);
        /* Nonsense is not adopted. */
        mlg_engine_adopt(t->e, g->info.uuid, 5 * GIB, 0);
        mlg_engine_adopt(t->e, h->info.uuid, 0, 0);
        assert_true(vm_of(t, g)->target_kib <= 2 * GIB);
        assert_true(vm_of(t, h)->target_kib > 0);
        rig_free(t);
}

static void test_balloon_event(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g = rig_add(t, GIB, 100 * SIM_MIB);
        MlgVm *vm = vm_of(t, g);

        mlg_engine_balloon_event(t->e, vm, GIB / 2,
                                 t->now_usec); /* before the first poll: not known what it means */
        assert_int_equal(vm->charge_kib, GIB);
        turn(t);
        mlg_vm_asked(vm, GIB / 2, t->now_usec);
        mlg_engine_answer(t->e, vm, 0, t->now_usec);
        assert_int_equal(vm->charge_kib, GIB);
        mlg_engine_balloon_event(t->e, vm, 700 * SIM_MIB, t->now_usec);
        assert_int_equal(vm->charge_kib, 700 * SIM_MIB);
        mlg_engine_balloon_event(t->e, vm, 100 * GIB, t->now_usec);
        assert_int_equal(vm->charge_kib, 700 * SIM_MIB);
        check_books(t);
        rig_free(t);
}

/* ---- operators ---- */

static void test_pause(void **state) {
        Rig *t = rig_new(GIB, false);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB), *b = rig_add(t, GIB, 100 * SIM_MIB);
        unsigned int before;

        mlg_engine_pause(t->e, NULL, true);
        run(t, 20);
        assert_int_equal(t->n_moves_all, 0);
        assert_int_equal(vm_of(t, a)->why, MLG_REASON_PAUSED);
        mlg_engine_pause(t->e, NULL, false);
        mlg_engine_pause(t->e, vm_of(t, a), true);
        run(t, 20);
        assert_int_equal(moves_of(t, a), 0);
        before = moves_of(t, b);
        assert_true(before > 0);
        mlg_engine_pause(t->e, vm_of(t, a), false);
        run(t, 20);
        assert_true(moves_of(t, a) > 0);
        rig_free(t);
}

static void test_manual(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g = rig_add(t, GIB, 100 * SIM_MIB), *other = rig_add(t, GIB, 100 * SIM_MIB);
        MlgGuestSettings s = t->guest;
        MlgGuestStatus status;
        MlgVm *vm = vm_of(t, g);

        run(t, 10);
        assert_int_equal(mlg_engine_set_manual(t->e, vm, 100 * SIM_MIB, t->now_usec + 60 * SIM_SEC),
                         -ERANGE);
        assert_int_equal(mlg_engine_set_manual(t->e, vm, 2 * GIB, t->now_usec + 60 * SIM_SEC), -ERANGE);
        assert_int_equal(mlg_engine_set_manual(t->e, vm, 400 * SIM_MIB, t->now_usec + 60 * SIM_SEC), 0);
        turn(t); /* at once, whatever the rates */
        assert_int_equal(g->target_kib, 400 * SIM_MIB);
        assert_int_equal(newest(t, g)->why, MLG_REASON_MANUAL);
        run(t, 50);
        assert_int_equal(g->actual_kib, 400 * SIM_MIB);
        mlg_engine_guest_status(t->e, vm, t->now_usec, &status);
        assert_true(status.hold_until_usec > t->now_usec);
        /* Raised floors hold for it, too. */
        s.floor = MLG_AMOUNT_PERMILLE(500);
        reconfigure_guest(t, g, &s);
        run(t, 3);
        assert_int_equal(g->target_kib, GIB / 2);
        run(t, 30); /* the hold is over: everybody has all it may have */
        assert_int_equal(g->actual_kib, GIB);
        assert_int_equal(other->actual_kib, GIB);
        mlg_engine_guest_status(t->e, vm, t->now_usec, &status);
        assert_int_equal(status.hold_until_usec, 0);
        /* An end by word. */
        assert_int_equal(mlg_engine_set_manual(t->e, vm, 600 * SIM_MIB, t->now_usec + 600 * SIM_SEC), 0);
        run(t, 5);
        assert_int_equal(g->actual_kib, 600 * SIM_MIB);
        assert_int_equal(mlg_engine_set_manual(t->e, vm, 0, 0), 0);
        run(t, 10);
        assert_int_equal(g->actual_kib, GIB);
        s.mode = MLG_MODE_OBSERVE;
        reconfigure_guest(t, g, &s);
        turn(t);
        assert_int_equal(mlg_engine_set_manual(t->e, vm, 600 * SIM_MIB, t->now_usec + 60 * SIM_SEC),
                         -EOPNOTSUPP);
        rig_free(t);
}

/* A manual grow takes from others what is not free. */
static void test_manual_grow_makes_room(void **state) {
        Rig *t = rig_new(GIB + 300 * SIM_MIB, false);
        SimGuest *g = rig_add(t, GIB, 100 * SIM_MIB), *other = rig_add(t, GIB, 100 * SIM_MIB);

        run(t, 60);
        assert_int_equal(mlg_engine_set_manual(t->e, vm_of(t, g), 900 * SIM_MIB,
                                               t->now_usec + 600 * SIM_SEC),
                         0);
        run(t, 20);
        assert_int_equal(g->actual_kib, 900 * SIM_MIB);
        assert_true(other->actual_kib <= 424 * SIM_MIB);
        rig_free(t);
}

static void test_manual_for_a_guest_without_statistics(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g = rig_add(t, GIB, 100 * SIM_MIB);

        g->faults = SIM_SILENT;
        run(t, 10);
        assert_int_equal(vm_of(t, g)->why, MLG_REASON_NO_STATS);
        assert_int_equal(mlg_engine_set_manual(t->e, vm_of(t, g), 600 * SIM_MIB,
                                               t->now_usec + 600 * SIM_SEC),
                         0);
        run(t, 5);
        assert_int_equal(g->actual_kib, 600 * SIM_MIB);
        g->actual_kib += SIM_MIB / 2; /* near enough: no reason to ask again and again */
        g->faults |= SIM_STUCK;
        run(t, 60);
        assert_int_equal(moves_of(t, g), 1);
        rig_free(t);
}

static void test_dry_run(void **state) {
        Rig *t = rig_new(GIB, true);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB), *b = rig_add(t, GIB, 100 * SIM_MIB);

        run(t, 60);
        assert_int_equal(a->n_set + b->n_set, 0);
        assert_true(t->n_moves_all >= 2);
        assert_true(t->n_moves_all <= 6); /* says it once, not each second */
        assert_int_equal(vm_of(t, a)->target_kib, GIB);
        assert_int_equal(vm_of(t, a)->pending_kib, 0);
        assert_int_equal(newest(t, a)->why, MLG_REASON_DRY_RUN);
        assert_true(newest(t, a)->repeated > 10); /* folded, as others */
        assert_int_equal(newest(t, a)->result, 2);
        rig_free(t);
}

/* ---- policies ---- */

static void test_policy_switch(void **state) {
        Rig *t = rig_new(GIB, false);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB);
        MlgHostStatus s = {};
        uint64_t before;

        (void) rig_add(t, GIB, 100 * SIM_MIB);
        run(t, 3);
        for (size_t i = 0; i < 8; i++) {
                static const char *const names[] = { "mom", "static", "proportional", "proxmox",
                                                     "nonsense" };

                g_strlcpy(t->host.policy, names[i % G_N_ELEMENTS(names)], sizeof(t->host.policy));
                mlg_engine_configure(t->e, &t->host);
                mlg_engine_host_status(t->e, &s);
                assert_string_equal(s.policy, i % 5 == 4 ? "proportional" : names[i % 5]);
                before = t->n_moves_all;
                run(t, 15);
                if (strcmp(s.policy, "static") == 0)
                        assert_int_equal(t->n_moves_all, before);
        }
        assert_true(moves_of(t, a) > 0);
        rig_free(t);
}

/* A policy with an interval is asked no sooner. */
static void test_policy_interval(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g = rig_add(t, 2 * GIB, 100 * SIM_MIB);
        unsigned int n = 0;
        uint64_t last_usec = 0;

        g->actual_kib = g->target_kib = GIB;
        g_strlcpy(t->host.policy, "proxmox", sizeof(t->host.policy));
        mlg_engine_configure(t->e, &t->host);
        while (n < 5) {
                turn(t);
                if (t->n_moves == 0)
                        continue;
                assert_int_equal(t->n_moves, 1);
                assert_int_equal(t->moves[0].to_kib, t->moves[0].from_kib + 100 * SIM_MIB);
                if (n++ > 0)
                        assert_in_range(t->now_usec - last_usec, 10 * SIM_SEC, 11 * SIM_SEC);
                last_usec = t->now_usec;
        }
        rig_free(t);
}

/* ---- reservations ---- */

typedef struct Fates {
        unsigned int n[5]; /* MlgReservationFate */
        uint64_t last_id;
} Fates;

static void on_fate(const MlgReservation *r, MlgReservationFate fate, void *userdata) {
        Fates *f = userdata;

        f->n[fate]++;
        f->last_id = r->id;
}

static MlgReservation reservation(const Rig *t, uint64_t id, uint64_t kib) {
        return (MlgReservation) {
                .id = id,
                .kib = kib,
                .expires_usec = t->now_usec + 120 * SIM_SEC,
                .keep_usec = 120 * SIM_SEC,
                .wait_until_usec = t->now_usec + 20 * SIM_SEC,
        };
}

static void run_settling(Rig *t, uint64_t sec, Fates *f) {
        uint64_t until = t->now_usec + sec * SIM_SEC;

        while (t->now_usec < until) {
                turn(t);
                mlg_engine_settle_reservations(t->e, t->now_usec, true, on_fate, f);
        }
}

static void test_reservation_is_made_room_for(void **state) {
        Rig *t = rig_new(2 * GIB, false);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB), *b = rig_add(t, GIB, 100 * SIM_MIB);
        MlgReservation r;
        const MlgReservation *all;
        Fates f = {};

        run(t, 60);
        r = reservation(t, 7, GIB);
        assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        assert_int_equal(mlg_engine_reservations(t->e, &all), 1);
        assert_int_equal(all[0].id, 7);
        assert_true(mlg_engine_reservation_room_kib(t->e, 0) < GIB);
        run_settling(t, 10, &f);
        assert_int_equal(f.n[MLG_RESERVATION_READY], 1);
        assert_int_equal(f.last_id, 7);
        assert_int_equal(mlg_engine_reservation_room_kib(t->e, 0), GIB);
        assert_true(a->actual_kib + b->actual_kib <= GIB);
        /* It stays reserved, is said once, and nobody grows into it. */
        a->demand_kib = 900 * SIM_MIB;
        run_settling(t, 60, &f);
        assert_int_equal(f.n[MLG_RESERVATION_READY], 1);
        assert_true(a->actual_kib + b->actual_kib <= GIB);
        /* Until it ends. */
        run_settling(t, 60, &f);
        assert_int_equal(f.n[MLG_RESERVATION_EXPIRED], 1);
        assert_int_equal(mlg_engine_reservations(t->e, &all), 0);
        assert_int_equal(mlg_engine_ledger(t->e)->reserved_kib, 0);
        run(t, 20);
        assert_true(a->actual_kib > 900 * SIM_MIB);
        rig_free(t);
}

static void test_reservation_without_room(void **state) {
        Rig *t = rig_new(2 * GIB, false);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB), *b = rig_add(t, GIB, 100 * SIM_MIB);
        MlgReservation r = reservation(t, 1, 2 * GIB);
        const MlgReservation *all;
        Fates f = {};

        assert_int_equal(mlg_engine_reserve(t->e, &r), -EAGAIN); /* nothing is known yet */
        run(t, 60);
        r = reservation(t, 1, UINT64_MAX);
        assert_int_equal(mlg_engine_reserve(t->e, &r), -ENOSPC);
        r = reservation(t, 1, 1700 * SIM_MIB); /* beyond the floors */
        assert_int_equal(mlg_engine_reserve(t->e, &r), -ENOSPC);
        a->faults = b->faults = SIM_STUCK; /* they look as if they could give */
        r = reservation(t, 2, GIB);
        assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        run_settling(t, 25, &f);
        assert_int_equal(f.n[MLG_RESERVATION_NO_ROOM], 1);
        assert_int_equal(f.n[MLG_RESERVATION_READY], 0);
        assert_int_equal(mlg_engine_reservations(t->e, &all), 0);
        rig_free(t);
}

static void test_reservations_in_order(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        MlgReservation r;
        Fates f = {};

        (void) rig_add(t, 2 * GIB, 100 * SIM_MIB);
        run(t, 30);
        r = reservation(t, 1, GIB);
        assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        r = reservation(t, 2, 1500 * SIM_MIB);
        assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        assert_int_equal(mlg_engine_reservation_room_kib(t->e, 0), GIB);
        assert_true(mlg_engine_reservation_room_kib(t->e, 1) <
                    1500 * SIM_MIB); /* the older one goes first */
        run_settling(t, 20, &f);
        assert_int_equal(f.n[MLG_RESERVATION_READY], 2);
        assert_true(mlg_engine_release(t->e, 1));
        assert_false(mlg_engine_release(t->e, 1));
        assert_int_equal(mlg_engine_ledger(t->e)->reserved_kib, 1500 * SIM_MIB);
        for (uint64_t id = 10; id < 10 + MLG_RESERVATIONS_MAX - 1; id++) {
                r = reservation(t, id, SIM_MIB);
                assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        }
        assert_int_equal(mlg_engine_reserve(t->e, &r), -E2BIG);
        assert_int_equal(mlg_engine_restore_reservation(t->e, &r), -E2BIG);
        /* One that ends while it still waits had no room. */
        assert_true(mlg_engine_release(t->e, 10));
        r = reservation(t, 99, SIM_MIB);
        r.expires_usec = t->now_usec;
        assert_int_equal(mlg_engine_restore_reservation(t->e, &r), 0);
        mlg_engine_settle_reservations(t->e, t->now_usec, true, on_fate, &f);
        assert_int_equal(f.n[MLG_RESERVATION_NO_ROOM], 1);
        rig_free(t);
}

/* ---- a guest's lies, and the host's tremor, cost nobody else ---- */

/* Three honest guests that need most of what there is, and one more; a host of 16 GiB that keeps a tenth. */
static void make_neighbours(Rig *t, SimGuest *honest[3]) {
        t->host.reserve = MLG_AMOUNT_PERMILLE(100);
        mlg_engine_configure(t->e, &t->host);
        for (size_t i = 0; i < 3; i++)
                honest[i] = rig_add(t, 6 * GIB, 3500 * SIM_MIB);
}

static void assert_needs_are_met(SimGuest *const honest[3]) {
        for (size_t i = 0; i < 3; i++) {
                if (honest[i]->least_kib < honest[i]->demand_kib)
                        fail_msg("%s was cut to %" PRIu64 " MiB, and needs %" PRIu64, honest[i]->info.name,
                                 honest[i]->least_kib / SIM_MIB, honest[i]->demand_kib / SIM_MIB);
                assert_int_equal(honest[i]->swap_out_kib, 0);
        }
}

/* Its driver says that the balloon is empty, touches nothing, and does not obey. */
static void test_liar_takes_nothing_from_others(void **state) {
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *honest[3], *liar;
        uint64_t before;

        make_neighbours(t, honest);
        liar = rig_add(t, 8 * GIB, 200 * SIM_MIB);
        run(t, 120);
        before = honest[0]->actual_kib;
        assert_true(before > honest[0]->demand_kib + 300 * SIM_MIB);
        liar->faults |= SIM_STUCK;
        liar->untouched_kib = 8 * GIB - 300 * SIM_MIB;
        liar->actual_kib = 8 * GIB;
        run(t, 300);
        assert_needs_are_met(honest);
        assert_int_equal(vm_of(t, liar)->why, MLG_REASON_STUCK);
        /* What it may have is still its own; what it only claims is others' again. */
        assert_true(vm_of(t, liar)->charge_kib < 4 * GIB);
        honest[0]->demand_kib += 300 * SIM_MIB;
        run(t, 30);
        assert_true(honest[0]->actual_kib > honest[0]->demand_kib);
        assert_needs_are_met(honest);
        rig_free(t);
}

static void test_start_without_room_cuts_no_need(void **state) {
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *honest[3], *late;

        make_neighbours(t, honest);
        run(t, 120);
        late = sim_host_add(&t->sim, 6 * GIB, 200 * SIM_MIB);
        late->untouched_kib = 5 * GIB;
        (void) mlg_engine_put_guest(t->e, &late->info, &t->guest, true, t->now_usec);
        run(t, 60);
        assert_needs_are_met(honest);
        rig_free(t);
}

/* One poll with somewhat less than the books have, and then all is as before. */
static void test_tremor_moves_nothing(void **state) {
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *honest[3];
        uint64_t moves;

        make_neighbours(t, honest);
        run(t, 120);
        moves = t->n_moves_all;
        for (int i = 0; i < 10; i++) {
                t->sim.own_kib = 16 * SIM_MIB;
                run(t, 1);
                t->sim.own_kib = 0;
                run(t, 5);
        }
        assert_int_equal(t->n_moves_all, moves);
        rig_free(t);
}

/* Others wait for the guest that resets itself in a loop no longer than for one that does not. */
static void test_reset_loop_stops_nobody(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *mad = rig_add(t, GIB, 200 * SIM_MIB), *a = rig_add(t, 3 * GIB, 300 * SIM_MIB);

        (void) rig_add(t, 3 * GIB, 300 * SIM_MIB);
        run(t, 60);
        mlg_engine_rebooted(t->e, vm_of(t, mad), t->now_usec);
        assert_int_equal(vm_of(t, mad)->charge_kib, mad->actual_kib);
        a->demand_kib = 2 * GIB;
        for (int i = 0; i < 100; i++) {
                mlg_engine_rebooted(t->e, vm_of(t, mad), t->now_usec);
                turn(t);
        }
        assert_true(a->actual_kib > 2 * GIB);
        rig_free(t);
}

/* Relief is of the run that suffered. */
static void test_relief_ends_with_the_run(void **state) {
        Rig *t = rig_new(6 * GIB, false);
        SimGuest *a = rig_add(t, 5 * GIB, 300 * SIM_MIB), *b = rig_add(t, 5 * GIB, 2500 * SIM_MIB);

        run(t, 60);
        a->demand_kib = 3 * GIB;
        run(t, 4);
        assert_true(vm_of(t, a)->pressure != MLG_PRESSURE_NONE || a->actual_kib > 3 * GIB);
        a->demand_kib = 300 * SIM_MIB;
        sim_guest_restart(a);
        a->actual_kib = a->target_kib = GIB;
        (void) mlg_engine_put_guest(t->e, &a->info, &t->guest, false, t->now_usec);
        run(t, 90);
        assert_true(b->least_kib > 2500 * SIM_MIB);
        assert_true(a->actual_kib < 3 * GIB); /* its share of what is left, no more */
        rig_free(t);
}

/* A report that was fresh when it was read is no ground to shrink on a minute later. */
static void test_old_reports_shrink_nobody(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *a = rig_add(t, 3 * GIB, 300 * SIM_MIB), *b = rig_add(t, 3 * GIB, 300 * SIM_MIB);
        uint64_t until;

        run(t, 60);
        until = t->now_usec + 20 * SIM_SEC;
        a->demand_kib = GIB; /* but bulk reads fail, and only the other one is looked at */
        while (t->now_usec < until) {
                MlgRawStats raw;

                t->now_usec += SIM_SEC;
                if (until - t->now_usec < 14 * SIM_SEC)
                        b->demand_kib = 3 * GIB;
                sim_host_advance(&t->sim, t->now_usec);
                assert_true(sim_guest_read(b, &raw));
                mlg_engine_observe(t->e, vm_of(t, b), &raw, t->now_usec, t->sim.wall_base_sec + t->now_usec / SIM_SEC);
                t->n_moves = mlg_engine_decide(t->e, t->now_usec, &t->moves);
                for (size_t i = 0; i < t->n_moves; i++)
                        if (b->demand_kib == 3 * GIB && t->moves[i].vm == vm_of(t, a))
                                assert_true(t->moves[i].to_kib >= t->moves[i].from_kib);
                for (size_t i = 0; i < t->n_moves; i++)
                        carry_out(t, &t->moves[i]);
                deliver(t);
        }
        assert_true(mlg_vm_is_outdated(vm_of(t, a), &t->host, t->now_usec));
        assert_false(mlg_vm_is_outdated(vm_of(t, b), &t->host, t->now_usec));
        assert_true(a->least_kib > a->demand_kib);
        rig_free(t);
}

/* ---- reservations and the guests they are for ---- */

static void test_room_passes_to_the_guest(void **state) {
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *honest[3], *g;
        MlgReservation r = reservation(t, 1, 2 * GIB);
        const MlgReservation *all;
        Fates f = {};
        uint64_t before;

        make_neighbours(t, honest);
        run(t, 120);
        r = reservation(t, 1, 2 * GIB);
        assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        run_settling(t, 20, &f);
        assert_int_equal(f.n[MLG_RESERVATION_READY], 1);
        before = honest[0]->actual_kib;
        g = sim_host_add(&t->sim, 2 * GIB, 1900 * SIM_MIB);
        (void) mlg_engine_put_guest(t->e, &g->info, &t->guest, true, t->now_usec);
        assert_int_equal(mlg_engine_ledger(t->e)->reserved_kib, 0); /* not counted twice */
        assert_int_equal(mlg_engine_reservation_room_kib(t->e, 0), 2 * GIB);
        run_settling(t, 20, &f);
        assert_int_equal(f.n[MLG_RESERVATION_TAKEN], 1);
        assert_in_range(honest[0]->actual_kib, before - 100 * SIM_MIB, 6 * GIB);
        assert_int_equal(mlg_engine_reservations(t->e, &all), 1); /* until its owner gives it back */
        assert_true(mlg_engine_release(t->e, 1));
        assert_needs_are_met(honest);
        rig_free(t);
}

/* A guest that dies on its way leaves the room to the next one. */
static void test_room_comes_back(void **state) {
        Rig *t = rig_new(8 * GIB, false);
        MlgReservation r = reservation(t, 1, 2 * GIB);
        Fates f = {};
        SimGuest *g;

        (void) rig_add(t, 4 * GIB, 300 * SIM_MIB);
        run(t, 60);
        r = reservation(t, 1, 2 * GIB);
        assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        run_settling(t, 10, &f);
        g = sim_host_add(&t->sim, 2 * GIB, 100 * SIM_MIB);
        (void) mlg_engine_put_guest(t->e, &g->info, &t->guest, true, t->now_usec);
        mlg_engine_drop_guest(t->e, g->info.uuid);
        sim_host_remove(&t->sim, g);
        run_settling(t, 5, &f);
        assert_int_equal(f.n[MLG_RESERVATION_TAKEN], 0);
        assert_int_equal(mlg_engine_ledger(t->e)->reserved_kib, 2 * GIB);
        rig_free(t);
}

static void test_reservation_cuts_no_need(void **state) {
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *honest[3];
        MlgReservation r;
        Fates f = {};

        make_neighbours(t, honest);
        run(t, 120);
        r = reservation(t, 1, 6 * GIB); /* all floors together would allow it */
        assert_int_equal(mlg_engine_reserve(t->e, &r), -ENOSPC);
        r = reservation(t, 2, 3 * GIB);
        assert_int_equal(mlg_engine_reserve(t->e, &r), 0);
        run_settling(t, 25, &f);
        assert_needs_are_met(honest);
        rig_free(t);
}

/* ---- what is told of it ---- */

static void test_decisions_are_recorded(void **state) {
        Rig *t = rig_new(1400 * SIM_MIB, false);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB), *b = rig_add(t, GIB, 100 * SIM_MIB);
        const MlgDecision *d;
        bool moved = false;
        uint64_t until;

        run(t, 300);
        d = newest(t, a);
        assert_int_equal(d->why, MLG_REASON_SETTLED);
        assert_true(d->repeated > 200); /* folded */
        assert_true(d->at_usec - d->first_at_usec > 200 * SIM_SEC);
        assert_int_equal(d->to_kib, d->from_kib);
        assert_int_equal(d->result, 2);
        for (unsigned int i = 0; (d = mlg_vm_decision(vm_of(t, a), i)); i++) {
                moved |= d->to_kib != d->from_kib;
                if (d->to_kib != d->from_kib)
                        assert_int_equal(d->result, 0); /* accepted */
        }
        assert_true(moved);
        until = t->now_usec + 100 * SIM_SEC;
        t->refuse_percent = 100;
        b->demand_kib = 900 * SIM_MIB;
        while (newest(t, a)->result >= 0) { /* the donor */
                assert_true(t->now_usec < until);
                turn(t);
        }
        assert_true(newest(t, a)->result == -EIO || newest(t, a)->result == -EBUSY);
        assert_int_equal(vm_of(t, a)->moves_failed, 1);
        rig_free(t);
}

static void test_in_flight_is_said(void **state) {
        Rig *t = rig_new(GIB, false);
        SimGuest *a = rig_add(t, GIB, 100 * SIM_MIB);

        (void) rig_add(t, GIB, 100 * SIM_MIB);
        t->answer_usec = 5 * SIM_SEC;
        while (t->answers->len == 0)
                turn(t);
        assert_int_equal(newest(t, a)->result, 1);
        turn(t);
        assert_int_equal(newest(t, a)->why, MLG_REASON_IN_FLIGHT);
        run(t, 6);
        assert_int_equal(vm_of(t, a)->moves_accepted, 1);
        rig_free(t);
}

static void test_status_says_whom_auto_follows(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g;
        MlgGuestStatus s;

        g_strlcpy(t->guest.predictor, "auto", sizeof(t->guest.predictor));
        g = rig_add(t, 2 * GIB, 300 * SIM_MIB);
        run(t, 60);
        mlg_engine_guest_status(t->e, vm_of(t, g), t->now_usec, &s);
        print_message("           %s\n", s.predictor);
        assert_true(g_regex_match_simple("^auto \\([a-z]+\\)$", s.predictor, 0, 0));
        rig_free(t);
}

static void test_status(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g = rig_add(t, 2 * GIB, 300 * SIM_MIB), *h = rig_add(t, GIB, 100 * SIM_MIB);
        MlgGuestStatus s;
        MlgHostStatus host = { .connected = true };

        t->host.reserve = MLG_AMOUNT_PERMILLE(100);
        mlg_engine_configure(t->e, &t->host);
        mlg_engine_guest_status(t->e, vm_of(t, g), t->now_usec, &s);
        assert_true(s.sample_age_usec == UINT64_MAX);
        assert_int_equal(s.state, MLG_VM_NEW);
        assert_int_equal(s.reason, MLG_REASON_NEW);
        h->faults = SIM_ALL_ONES;
        run(t, 60);
        mlg_engine_guest_status(t->e, vm_of(t, g), t->now_usec + SIM_SEC, &s);
        assert_string_equal(s.uuid, g->info.uuid);
        assert_string_equal(s.name, g->info.name);
        assert_string_equal(s.predictor, "ewma");
        assert_int_equal(s.state, MLG_VM_MANAGED);
        assert_int_equal(s.trust, MLG_TRUST_FRESH);
        assert_in_range(s.sample_age_usec, SIM_SEC, 3 * SIM_SEC);
        assert_in_range(s.used_kib, 300 * SIM_MIB, 310 * SIM_MIB);
        assert_int_equal(s.actual_kib, g->actual_kib);
        assert_int_equal(s.maximum_kib, 2 * GIB);
        assert_int_equal(s.floor_kib, GIB / 2);
        assert_int_equal(s.shares, 100);
        mlg_engine_guest_status(t->e, vm_of(t, h), t->now_usec, &s);
        assert_int_equal(s.state, MLG_VM_HELD);
        assert_int_equal(s.reason, MLG_REASON_IMPOSSIBLE);
        mlg_engine_host_status(t->e, &host);
        assert_true(host.connected); /* what it does not know stays */
        assert_string_equal(host.policy, "proportional");
        assert_int_equal(host.total_kib, 4 * GIB);
        assert_int_equal(host.reserve_kib, 4 * GIB / 10);
        assert_int_equal(host.n_guests, 2);
        assert_int_equal(host.n_managed, 1);
        assert_int_equal(host.free_kib + host.charged_kib + host.reserved_kib, host.budget_kib);
        rig_free(t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_from_idle_to_busy_and_back),
                cmocka_unit_test(test_granules),
                cmocka_unit_test(test_reclaim),
                cmocka_unit_test(test_reclaim_waits_for_the_start),
                cmocka_unit_test(test_settles),
                cmocka_unit_test(test_books_on_random_turns),
                cmocka_unit_test(test_shrink_before_grow),
                cmocka_unit_test(test_stuck_guest_does_not_rock_the_others),
                cmocka_unit_test(test_bad_statistics_hold),
                cmocka_unit_test(test_silent_guest_gets_memory_back_slowly),
                cmocka_unit_test(test_silent_guest_with_a_small_rate),
                cmocka_unit_test(test_paused_guest_is_not_silent),
                cmocka_unit_test(test_unresponsive_guest_is_charged_and_left_alone),
                cmocka_unit_test(test_relief_comes_first),
                cmocka_unit_test(test_grow_waits_for_room),
                cmocka_unit_test(test_budget),
                cmocka_unit_test(test_host_grows),
                cmocka_unit_test(test_many_small_parts),
                cmocka_unit_test(test_donors_give_by_turns),
                cmocka_unit_test(test_host_stalls),
                cmocka_unit_test(test_first_turns),
                cmocka_unit_test(test_unreadable_host),
                cmocka_unit_test(test_drop_in_flight),
                cmocka_unit_test(test_drop_between_decisions),
                cmocka_unit_test(test_many_guests),
                cmocka_unit_test(test_started_guest_settles_first),
                cmocka_unit_test(test_adoption),
                cmocka_unit_test(test_balloon_event),
                cmocka_unit_test(test_pause),
                cmocka_unit_test(test_manual),
                cmocka_unit_test(test_manual_grow_makes_room),
                cmocka_unit_test(test_manual_for_a_guest_without_statistics),
                cmocka_unit_test(test_dry_run),
                cmocka_unit_test(test_policy_switch),
                cmocka_unit_test(test_policy_interval),
                cmocka_unit_test(test_reservation_is_made_room_for),
                cmocka_unit_test(test_reservation_without_room),
                cmocka_unit_test(test_reservations_in_order),
                cmocka_unit_test(test_liar_takes_nothing_from_others),
                cmocka_unit_test(test_start_without_room_cuts_no_need),
                cmocka_unit_test(test_tremor_moves_nothing),
                cmocka_unit_test(test_reset_loop_stops_nobody),
                cmocka_unit_test(test_relief_ends_with_the_run),
                cmocka_unit_test(test_old_reports_shrink_nobody),
                cmocka_unit_test(test_room_passes_to_the_guest),
                cmocka_unit_test(test_room_comes_back),
                cmocka_unit_test(test_reservation_cuts_no_need),
                cmocka_unit_test(test_decisions_are_recorded),
                cmocka_unit_test(test_in_flight_is_said),
                cmocka_unit_test(test_status),
                cmocka_unit_test(test_status_says_whom_auto_follows),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
