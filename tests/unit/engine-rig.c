/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine rig: turns as the service makes them. */
#include "engine-rig.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "util/util.h"

Rig *rig_new(uint64_t total_kib, bool dry_run) {
        Rig *t = g_new0(Rig, 1);

        sim_host_init(&t->sim, total_kib, 0);
        mlg_host_settings_default(&t->host);
        mlg_guest_settings_default(&t->guest);
        t->host.reserve = MLG_AMOUNT_KIB(0);
        t->now_usec = t->sim.now_usec;
        t->dry_run = dry_run;
        t->e = mlg_engine_new(&t->host, dry_run);
        t->answers = g_array_new(FALSE, FALSE, sizeof(Answer));
        t->told = g_array_new(FALSE, FALSE, sizeof(Told));
        t->moves_of = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
        t->seed = 9;
        t->hurry_usec = MLG_USEC_NEVER;
        return t;
}

void rig_free(Rig *t) {
        t->e = mlg_engine_free(t->e);
        sim_host_clear(&t->sim);
        g_array_unref(t->answers);
        g_array_unref(t->told);
        g_hash_table_unref(t->moves_of);
        g_free(t);
}

SimGuest *rig_add(Rig *t, uint64_t maximum_kib, uint64_t demand_kib) {
        SimGuest *g = sim_host_add(&t->sim, maximum_kib, demand_kib);

        (void) mlg_engine_put_guest(t->e, &g->info, &t->guest, false, t->now_usec);
        return g;
}

MlgVm *vm_of(const Rig *t, const SimGuest *g) {
        return mlg_engine_find(t->e, g->info.uuid);
}

unsigned int moves_of(const Rig *t, const SimGuest *g) {
        return GPOINTER_TO_UINT(g_hash_table_lookup(t->moves_of, g->info.uuid));
}

void reconfigure_guest(const Rig *t, const SimGuest *g, const MlgGuestSettings *s) {
        (void) mlg_engine_put_guest(t->e, &g->info, s, false, t->now_usec);
}

void rig_restart(Rig *t) {
        MlgEngine *e = mlg_engine_new(&t->host, t->dry_run);

        for (guint i = 0; i < t->sim.guests->len; i++) {
                const SimGuest *g = t->sim.guests->pdata[i];
                const MlgVm *vm = vm_of(t, g);
                /* What the state file has of it. */
                uint64_t target_kib = vm->unsure_kib ? vm->unsure_kib : vm->target_kib;
                uint64_t pending_kib = vm->pending_kib ? vm->pending_kib : vm->unsure_kib ? vm->target_kib : 0;

                (void) mlg_engine_put_guest(e, &g->info, &t->guest, false, t->now_usec);
                mlg_engine_adopt(e, g->info.uuid, target_kib, pending_kib);
        }
        (void) mlg_engine_free(t->e);
        t->e = e;
        g_array_set_size(t->answers, 0);
}

/* ---- what must hold after each turn ---- */

void check_books(const Rig *t) {
        const MlgLedger *l = mlg_engine_ledger(t->e);
        uint64_t charged = 0;

        for (size_t i = 0; i < mlg_engine_n_guests(t->e); i++) {
                const MlgVm *vm = mlg_engine_guest_at(t->e, i);

                assert_int_equal(vm->charge_kib, mlg_vm_due_kib(vm));
                charged += vm->charge_kib;
        }
        assert_int_equal(charged + t->pipe_kib + t->lent_kib, l->charged_kib);
}

/* Our own grants never overrun the books: what was granted in this turn fits into what was free before
 * it. */
static void check_grants(const Rig *t) {
        const MlgLedger *l = mlg_engine_ledger(t->e);
        uint64_t granted = 0;

        for (size_t i = 0; i < t->n_moves && !t->dry_run; i++) {
                const MlgVm *vm = t->moves[i].vm;

                granted += mlg_sub_sat(vm->pending_kib, mlg_max(mlg_max(vm->actual_kib, vm->target_kib), vm->unsure_kib));
        }
        if (granted > 0 && l->charged_kib + l->reserved_kib > l->budget_kib)
                fail_msg("turn %" PRIu64 ": granted %" PRIu64 ", now %" PRIu64 " + %" PRIu64 " of %" PRIu64,
                         t->n_turns, granted, l->charged_kib, l->reserved_kib, l->budget_kib);
}

static void check_moves(const Rig *t) {
        for (size_t i = 0; i < t->n_moves; i++) {
                const MlgMove *m = &t->moves[i];

                assert_true(m->why > MLG_REASON_NONE && m->why < _MLG_REASON_MAX);
                assert_true(m->to_kib <= m->vm->maximum_kib);
                if (!t->dry_run)
                        assert_int_equal(m->vm->pending_kib, m->to_kib);
                if (m->why == MLG_REASON_STUCK)
                        assert_int_equal(m->to_kib, m->vm->actual_kib);
                else if (m->to_kib < m->from_kib && m->to_kib < m->vm->floor_kib)
                        fail_msg("%s: %" PRIu64 " -> %" PRIu64 " is below its floor %" PRIu64, m->vm->name,
                                 m->from_kib, m->to_kib, m->vm->floor_kib);
                for (size_t k = 0; k < i; k++)
                        assert_ptr_not_equal(t->moves[k].vm, m->vm);
        }
}

/* ---- a turn ---- */

void deliver(Rig *t) {
        for (guint i = 0; i < t->answers->len;) {
                Answer a = g_array_index(t->answers, Answer, i);
                MlgVm *vm = mlg_engine_find(t->e, a.uuid);

                if (a.due_usec > t->now_usec) {
                        i++;
                        continue;
                }
                g_array_remove_index(t->answers, i);
                if (vm)
                        mlg_engine_answer(t->e, vm, a.r, t->now_usec);
        }
}

void carry_out(Rig *t, const MlgMove *m) {
        SimGuest *g = sim_host_find(&t->sim, m->vm->uuid);
        Answer a = { .due_usec = t->now_usec + t->answer_usec };

        g_strlcpy(a.uuid, m->vm->uuid, sizeof(a.uuid));
        g_hash_table_insert(t->moves_of, g_strdup(a.uuid), GUINT_TO_POINTER(moves_of(t, g) + 1));
        t->n_moves_all++;
        if (t->dry_run)
                return;
        if (sim_random_below(&t->seed, 100) < t->refuse_percent)
                a.r = sim_random_below(&t->seed, 2) ? -EIO : -EBUSY;
        else {
                a.r = sim_guest_set(g, m->to_kib);
                if (sim_random_below(&t->seed, 100) < t->lose_percent)
                        a.r = -ETIMEDOUT; /* and was accepted */
        }
        if (a.r == -ETIMEDOUT)
                a.due_usec = t->now_usec + 3 * SIM_SEC;
        g_array_append_val(t->answers, a);
}

static void on_proposal(const MlgVm *vm, const MlgProposal *p, MlgProposalEvent event, void *userdata) {
        Told told = { .proposal = *p, .event = event };
        Rig *t = userdata;

        g_strlcpy(told.uuid, vm->uuid, sizeof(told.uuid));
        g_array_append_val(t->told, told);
}

static bool wants_look(const Rig *t) {
        for (size_t i = 0; i < mlg_engine_n_guests(t->e); i++)
                if (mlg_vm_look_rank(mlg_engine_guest_at(t->e, i), t->now_usec) != MLG_LOOK_NOT)
                        return true;
        return false;
}

static void read_host(const Rig *t, MlgRawHost *ret) {
        sim_host_read(&t->sim, ret);
        ret->have_ksm = t->ksm_saved_kib > 0;
        ret->ksm_saved_kib = t->ksm_saved_kib;
}

static void grow_own(Rig *t, uint64_t usec) {
        if (t->sim.own_kib < t->own_most_kib)
                t->sim.own_kib = mlg_min(t->own_most_kib,
                                         t->sim.own_kib + mlg_mul_div(t->own_kib_per_sec, usec, SIM_SEC));
}

/* The host alone, where it is time for that; then polls come no more often than the service makes them. */
static void watch(Rig *t) {
        uint64_t poll_usec;

        if (!t->watches || t->now_usec < t->watch_usec)
                return;
        read_host(t, &t->watched);
        t->watch_usec = mlg_engine_watch_host(t->e, &t->watched, t->now_usec, &poll_usec);
        assert_true(t->watch_usec > t->now_usec);
        if (poll_usec != MLG_USEC_NEVER)
                t->hurry_usec = mlg_min(t->hurry_usec, mlg_max(poll_usec, t->poll_usec + SIM_SEC / 10));
}

/* To what comes first: a look at guests that move, a poll, or a reading of the host. */
static uint64_t step_usec(const Rig *t) {
        uint64_t look = wants_look(t) ? t->look_usec + t->host.move_poll_usec : MLG_USEC_NEVER;
        uint64_t next = mlg_min(mlg_min(look, t->poll_usec + t->host.poll_usec), mlg_min(t->watch_usec, t->hurry_usec));

        if (!t->watches)
                return wants_look(t) ? t->host.move_poll_usec : t->host.poll_usec;
        return mlg_max(mlg_sub_sat(next, t->now_usec), 1);
}

/* As the service does it: all guests twice a second, those whose balloon moves more often. */
void turn(Rig *t) {
        uint64_t step = t->turn_usec ? t->turn_usec : step_usec(t);
        bool is_poll;

        t->n_turns++;
        t->n_moves = 0;
        t->now_usec += step;
        grow_own(t, step);
        sim_host_advance(&t->sim, t->now_usec);
        deliver(t);
        watch(t);
        is_poll = t->turn_usec || t->now_usec - t->poll_usec >= t->host.poll_usec || t->now_usec >= t->hurry_usec;
        if (t->watches && !is_poll && (!wants_look(t) || t->now_usec - t->look_usec < t->host.move_poll_usec))
                return; /* only the host was read */
        t->look_usec = t->now_usec;
        if (is_poll) {
                t->poll_usec = t->now_usec;
                t->hurry_usec = MLG_USEC_NEVER;
                read_host(t, &t->raw_host);
                mlg_engine_observe_host(t->e, &t->raw_host);
        }
        for (guint i = 0; i < t->sim.guests->len; i++) {
                SimGuest *g = t->sim.guests->pdata[i];
                bool looks = mlg_vm_look_rank(vm_of(t, g), t->now_usec) != MLG_LOOK_NOT, answers;
                MlgRawStats raw;

                if (!is_poll && !looks)
                        continue;
                /* Who is looked at is known better than from a poll. */
                answers = looks ? sim_guest_look(g, &raw) : sim_guest_read(g, &raw);
                mlg_engine_observe(t->e, vm_of(t, g), answers ? &raw : NULL, t->now_usec,
                                   t->sim.wall_base_sec + t->now_usec / SIM_SEC);
        }
        t->n_moves = mlg_engine_decide(t->e, t->now_usec, &t->moves);
        check_books(t);
        check_grants(t);
        check_moves(t);
        for (size_t i = 0; i < t->n_moves; i++)
                carry_out(t, &t->moves[i]);
        mlg_engine_settle_proposals(t->e, t->now_usec, on_proposal, t);
        if (t->answer_usec == 0)
                deliver(t);
        check_books(t);
}

void run(Rig *t, uint64_t sec) {
        uint64_t until = t->now_usec + sec * SIM_SEC;

        while (t->now_usec < until)
                turn(t);
}

const MlgDecision *newest(const Rig *t, const SimGuest *g) {
        return mlg_vm_decision(vm_of(t, g), 0);
}
