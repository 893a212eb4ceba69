/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine: see engine.h for the order of a turn and its invariants. */
#include "core/engine-private.h"

#include <errno.h>
#include <string.h>

#include "core/guard.h"
#include "core/supervise.h"
#include "policies/registry.h"
#include "util/util.h"

/* Longer than three reports of a guest that has just been asked for statistics. */
#define START_USEC (6 * MLG_USEC_PER_SEC)

/* A silent guest gets memory back in steps of its shrink rate, at this pace, after this time: it may be
 * dead, or in trouble too deep to report. */
#define SILENT_USEC (60 * MLG_USEC_PER_SEC)
#define SILENT_STEP_USEC (10 * MLG_USEC_PER_SEC)

/* ---- table of guests ---- */

static void vm_free(gpointer p) {
        (void) mlg_vm_free(p);
}

static void make_policy_state(const MlgEngine *e, MlgVm *vm) {
        size_t size = e->policy->vm_priv_size;

        g_free(vm->policy_priv);
        g_free(vm->whole_priv);
        vm->policy_priv = size ? mlg_priv_new(size) : NULL;
        vm->whole_priv = size ? mlg_priv_new(size) : NULL;
}

static void take_policy(MlgEngine *e) {
        const MlgPolicyOps *p = mlg_policy_find(e->settings.policy);

        if (!p)
                p = mlg_policy_at(0); /* a plug-in was refused, or switched off */
        if (p == e->policy)
                return;
        e->policy = p;
        e->decided_usec = 0;
        g_free(e->policy_priv);
        g_free(e->whole_priv);
        e->policy_priv = mlg_priv_new(p->priv_size);
        e->whole_priv = mlg_priv_new(p->priv_size);
        for (guint i = 0; i < e->vms->len; i++) {
                MlgVm *vm = e->vms->pdata[i];

                make_policy_state(e, vm);
                e->steps[i] = e->whole[i] = (MlgStep) {};
        }
}

static void make_room_for_one(MlgEngine *e) {
        if (e->vms->len < e->capacity)
                return;
        e->capacity = e->capacity ? 2 * e->capacity : 16;
        e->views = g_renew(MlgVmView, e->views, e->capacity);
        e->steps = g_renew(MlgStep, e->steps, e->capacity + 1); /* for the guard of mlg_call_decide() */
        e->whole = g_renew(MlgStep, e->whole, e->capacity + 1);
        e->wishes = g_renew(MlgStep, e->wishes, e->capacity);
        e->guarded = g_renew(Guarded, e->guarded, e->capacity);
        e->moves = g_renew(MlgMove, e->moves, e->capacity);
}

MlgEngine *mlg_engine_new(const MlgHostSettings *settings, bool dry_run) {
        MlgEngine *e = g_new0(MlgEngine, 1);

        e->settings = *settings;
        e->dry_run = dry_run;
        e->lend_target_kib = UINT64_MAX; /* until something is decided */
        e->vms = g_ptr_array_new_with_free_func(vm_free);
        e->by_uuid = g_hash_table_new(g_str_hash, g_str_equal);
        make_room_for_one(e); /* so that there are tables even without guests */
        take_policy(e);
        return e;
}

MlgEngine *mlg_engine_free(MlgEngine *e) {
        if (!e)
                return NULL;
        g_hash_table_unref(e->by_uuid);
        g_ptr_array_unref(e->vms);
        g_free(e->policy_priv);
        g_free(e->whole_priv);
        g_free(e->rules);
        g_free(e->views);
        g_free(e->steps);
        g_free(e->whole);
        g_free(e->wishes);
        g_free(e->guarded);
        g_free(e->moves);
        g_free(e);
        return NULL;
}

bool mlg_engine_uses(const MlgEngine *e, const MlgPlugin *p) {
        if (e->policy == &p->policy)
                return true;
        for (guint i = 0; i < e->vms->len; i++)
                if (((const MlgVm *) e->vms->pdata[i])->predictor == &p->predictor)
                        return true;
        return false;
}

void mlg_engine_configure(MlgEngine *e, const MlgHostSettings *settings) {
        e->settings = *settings;
        take_policy(e);
}

static void book(MlgEngine *e, MlgVm *vm) {
        mlg_ledger_book(&e->ledger, &vm->charge_kib, mlg_vm_due_kib(vm));
}

MlgVm *mlg_engine_find(const MlgEngine *e, const char *uuid) {
        return g_hash_table_lookup(e->by_uuid, uuid);
}

size_t mlg_engine_n_guests(const MlgEngine *e) {
        return e->vms->len;
}

MlgVm *mlg_engine_guest_at(const MlgEngine *e, size_t i) {
        return i < e->vms->len ? e->vms->pdata[i] : NULL;
}

static void forget_policy_state(MlgEngine *e, MlgVm *vm) {
        if (vm->policy_priv) {
                memset(vm->policy_priv, 0, e->policy->vm_priv_size);
                memset(vm->whole_priv, 0, e->policy->vm_priv_size);
        }
}

MlgVm *mlg_engine_put_guest(MlgEngine *e, const MlgGuestInfo *info, const MlgGuestSettings *settings, bool started,
                            uint64_t now_usec) {
        MlgVm *vm = mlg_engine_find(e, info->uuid);

        if (vm) {
                started = vm->instance != info->instance;
                mlg_vm_set_info(vm, info, now_usec);
                mlg_vm_set_settings(vm, settings);
                if (started)
                        forget_policy_state(e, vm);
        } else {
                vm = mlg_vm_new(info, settings);
                if (started)
                        vm->started_usec = now_usec;
                make_policy_state(e, vm);
                make_room_for_one(e);
                e->steps[e->vms->len] = e->whole[e->vms->len] = (MlgStep) {};
                g_ptr_array_add(e->vms, vm);
                g_hash_table_insert(e->by_uuid, vm->uuid, vm);
        }
        book(e, vm);
        if (started && vm->instance > 0)
                mlg_reservations_pass_room_to(e, vm);
        return vm;
}

void mlg_engine_rebooted(MlgEngine *e, MlgVm *vm, uint64_t now_usec) {
        mlg_vm_rebooted(vm, now_usec);
        forget_policy_state(e, vm);
        book(e, vm);
}

void mlg_engine_drop_guest(MlgEngine *e, const char *uuid) {
        MlgVm *vm = mlg_engine_find(e, uuid);
        guint i;

        if (!vm || !g_ptr_array_find(e->vms, vm, &i))
                return;
        mlg_ledger_book(&e->ledger, &vm->charge_kib, 0);
        g_hash_table_remove(e->by_uuid, uuid);
        memmove(&e->steps[i], &e->steps[i + 1], (e->vms->len - i - 1) * sizeof(e->steps[0]));
        memmove(&e->whole[i], &e->whole[i + 1], (e->vms->len - i - 1) * sizeof(e->whole[0]));
        g_ptr_array_remove_index(e->vms, i);
}

void mlg_engine_adopt(MlgEngine *e, const char *uuid, uint64_t target_kib, uint64_t pending_kib) {
        MlgVm *vm = mlg_engine_find(e, uuid);

        if (!vm || target_kib + pending_kib == 0 || mlg_max(target_kib, pending_kib) > vm->maximum_kib)
                return;
        /* A request in flight at the end of the earlier run was most likely accepted; what was accepted before counts as
         * well until that is certain. */
        vm->target_kib = pending_kib ? pending_kib : target_kib;
        vm->unsure_kib = pending_kib && target_kib ? target_kib : 0;
        vm->allowed_kib = mlg_max(target_kib, pending_kib);
        vm->adopted = true;
        book(e, vm);
}

/* ---- observation ---- */

void mlg_engine_observe(MlgEngine *e, MlgVm *vm, const MlgRawStats *raw, uint64_t now_usec, uint64_t now_real_sec) {
        mlg_vm_observe(vm, raw, &e->settings, now_usec, now_real_sec);
        book(e, vm);
}

bool mlg_engine_observe_monitor(MlgEngine *e, MlgVm *vm, const MlgRawMonitor *raw, uint64_t now_usec, uint64_t now_real_sec) {
        return mlg_vm_observe_monitor(vm, raw, now_usec, now_real_sec);
}

static bool host_stalls(const MlgEngine *e) {
        return e->host.have_psi && e->host.psi_full_avg10_centi >= e->settings.pressure_full_centi;
}

uint64_t mlg_engine_observe_cgroup(MlgEngine *e, MlgVm *vm, const MlgRawCgroup *raw, uint64_t now_usec) {
        MlgReclaimLimits limits = {
                .floor_kib = vm->floor_kib,
                .host_total_kib = e->host.total_kib,
                .swap_total_kib = e->host.swap_total_kib,
                .swap_free_kib = e->host.swap_free_kib,
                .host_stalls = host_stalls(e),
        };
        bool may = mlg_vm_may_reclaim(vm) && !mlg_vm_is_settling(vm, now_usec) && e->has_host && !e->dry_run;
        uint64_t step = mlg_reclaim_take(&vm->reclaim, raw, &limits, now_usec);

        return may ? step : 0;
}

void mlg_engine_balloon_event(MlgEngine *e, MlgVm *vm, uint64_t actual_kib, uint64_t now_usec) {
        MlgRawStats raw = { .have = MLG_HAVE_ACTUAL, .actual_kib = actual_kib };

        if (!vm->polled || actual_kib > mlg_max(vm->maximum_kib, vm->actual_kib))
                return;
        /* Only the charge: the sampler wants whole polls. */
        vm->actual_kib = raw.actual_kib;
        book(e, vm);
}

/* ---- decision ---- */

bool mlg_engine_all_polled(const MlgEngine *e) {
        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];

                if (vm->run_state == MLG_RUN_RUNNING && !vm->polled && !vm->unresponsive)
                        return false;
        }
        return true;
}

/* At our own start the guests become known within a few seconds, but not all at once: who is first must not
 * pay alone for those about whom nothing is known yet. */
static bool others_follow(MlgEngine *e, uint64_t now_usec) {
        if (e->started_usec == 0)
                e->started_usec = now_usec;
        if (now_usec - e->started_usec >= START_USEC)
                return false;
        for (guint i = 0; i < e->vms->len; i++)
                if (((const MlgVm *) e->vms->pdata[i])->state == MLG_VM_NEW)
                        return true;
        return false;
}

bool mlg_engine_is_movable(const MlgVm *vm, uint64_t now_usec) {
        return vm->state == MLG_VM_MANAGED && !vm->asks && !mlg_vm_is_manual(vm, now_usec);
}

MlgGuardInput mlg_engine_guard_input(const MlgEngine *e, const MlgVm *vm, uint64_t now_usec) {
        return (MlgGuardInput) {
                .settings = &vm->settings,
                .now_usec = now_usec,
                .target_kib = vm->target_kib,
                .maximum_kib = vm->maximum_kib,
                .floor_kib = vm->floor_kib,
                .ceiling_kib = vm->ceiling_kib,
                .base_kib = vm->base_kib,
                .granule_kib = vm->granule_kib,
                .pressure = vm->pressure,
                .unmissed = e->policy->probes && !vm->lacks,
                .suffered_usec = e->policy->probes ? vm->lacked_usec : vm->suffered_usec,
                .shrunk_usec = vm->shrunk_usec,
                .grown_usec = vm->grown_usec,
                .settling = mlg_vm_is_settling(vm, now_usec),
                .outdated = mlg_vm_is_outdated(vm, &e->settings, now_usec),
                .urgent = e->urgent,
                /* Books that are overrun, or a reservation that waits, are urgent, but no reason to cut those that
                 * suffer. */
                .host_short = e->host_short,
        };
}

static void make_view(MlgEngine *e, guint i, uint64_t now_usec, uint64_t *fixed_kib) {
        const MlgVm *vm = e->vms->pdata[i];
        const MlgSample *s = &vm->sampler.last;
        MlgGuardInput in = mlg_engine_guard_input(e, vm, now_usec);

        e->views[i] = (MlgVmView) {
                .priv = vm->policy_priv,
                .movable = mlg_engine_is_movable(vm, now_usec),
                .sampled = s->is_new,
                .shrinkable = mlg_guard_no_shrink(&in) == MLG_REASON_NONE,
                .pressure = vm->pressure,
                .actual_kib = vm->actual_kib,
                .target_kib = vm->target_kib,
                .maximum_kib = vm->maximum_kib,
                .floor_kib = vm->floor_kib,
                .ceiling_kib = vm->ceiling_kib,
                .need_kib = vm->forecast.need_kib,
                .error_kib = vm->forecast.error_kib,
                .cushion_kib = vm->cushion_kib,
                .used_kib = s->used_kib,
                .usable_kib = s->usable_kib,
                .unused_kib = s->unused_kib,
                .swap_in_kib_per_sec = s->swap_in_kib_per_sec,
                .knows_stalls = s->knows_stalls,
                .stall_some_permille = s->stall_some_permille,
                .stall_full_permille = s->stall_full_permille,
                .refault_kib_per_sec = s->refault_kib_per_sec,
                .knows_cold = s->knows_cold,
                .cold_kib = s->cold_kib,
                .shares = vm->settings.shares,
                .priority = vm->settings.priority,
        };
        if (!e->views[i].movable)
                *fixed_kib += mlg_vm_is_manual(vm, now_usec) ? mlg_max(vm->charge_kib, vm->manual_kib) : mlg_proposals_fixed_kib(vm);
}

static void ask_policy(MlgEngine *e, uint64_t fixed_kib, uint64_t now_usec) {
        uint64_t limit = mlg_amount_resolve(e->settings.guest_memory, e->host.total_kib);
        /* What is wanted of many may be crumbs that the guard drops: with this on top at least one step is
         * worth taking. */
        bool wanted = mlg_engine_is_overrun(e) || mlg_reservations_wait(e) || (e->waiting && e->urgent);
        uint64_t more = wanted ? e->vms->len * MLG_LEAST_STEP_KIB : 0;
        MlgHostView host = {
                .now_usec = now_usec,
                .total_kib = mlg_min(e->host.total_kib, limit),
                .available_kib = mlg_min(e->host.available_kib, mlg_sub_sat(limit, e->ledger.charged_kib)),
                .budget_kib = mlg_sub_sat(e->ledger.budget_kib, mlg_add_sat(e->ledger.reserved_kib, more)),
                .fixed_kib = fixed_kib,
                .is_short = e->host_short,
                .stalls = host_stalls(e),
        };
        MlgPlan plan = { .steps = e->steps, .n_steps = e->vms->len };

        if (e->decided_usec > 0 && now_usec - e->decided_usec < e->policy->interval_usec)
                return; /* what it wished last stays in force */
        e->decided_usec = now_usec;
        memset(e->steps, 0, e->vms->len * sizeof(e->steps[0]));
        if (mlg_call_decide(e->policy, e->policy_priv, &host, e->views, e->vms->len, &plan) < 0)
                memset(e->steps, 0, e->vms->len * sizeof(e->steps[0]));
        e->shortage_kib = mlg_sub_sat(plan.shortage_kib, more);
        mlg_proposals_plan(e, &host);
}

static bool lost_trust(const MlgVm *vm) {
        return vm->silent && vm->state == MLG_VM_HELD &&
                (vm->why == MLG_REASON_NO_STATS || vm->why == MLG_REASON_STALE || vm->why == MLG_REASON_IMPOSSIBLE);
}

/* As much as one second's shrink, but nothing that the guard would think too little. */
static uint64_t silent_step_kib(const MlgVm *vm) {
        uint64_t permille = mlg_max(vm->settings.shrink_permille, vm->settings.dead_band_permille);

        return mlg_max(mlg_mul_div(vm->maximum_kib, permille, 1000), MLG_LEAST_STEP_KIB);
}

/* The wish for one guest: an operator's, the policy's, or none. */
static MlgStep wish_for(const MlgEngine *e, guint i, uint64_t now_usec) {
        const MlgVm *vm = e->vms->pdata[i];

        if (vm->give_up)
                return (MlgStep) { .target_kib = vm->actual_kib, .reason = MLG_REASON_STUCK };
        if (vm->state != MLG_VM_ALONE && vm->run_state == MLG_RUN_RUNNING && !vm->unresponsive && !vm->migrating &&
            now_usec >= vm->refused_until_usec && mlg_vm_is_manual(vm, now_usec))
                /* Floor and ceiling may have changed since it was set. */
                return (MlgStep) { mlg_clamp(vm->manual_kib, vm->floor_kib, vm->ceiling_kib), MLG_REASON_MANUAL };
        if (vm->asks)
                return mlg_proposals_wish(vm);
        if (vm->state == MLG_VM_MANAGED)
                return e->steps[i];
        if (lost_trust(vm) && vm->settings.mode == MLG_MODE_AUTO && vm->target_kib < vm->ceiling_kib &&
            now_usec - vm->silent_usec >= SILENT_USEC && now_usec - vm->grown_usec >= SILENT_STEP_USEC)
                return (MlgStep) { mlg_min(vm->ceiling_kib, vm->target_kib + silent_step_kib(vm)), vm->why };
        return (MlgStep) {};
}

static bool suffers(const MlgVm *vm) {
        return vm->pressure != MLG_PRESSURE_NONE;
}

/* Somebody waits for memory that is not free: donors may then be cut at the faster rate. */
static bool find_urgency(MlgEngine *e, uint64_t now_usec) {
        e->asked_kib = 0;
        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];

                if (suffers(vm) || mlg_vm_is_manual(vm, now_usec))
                        e->asked_kib += mlg_sub_sat(e->wishes[i].target_kib, vm->charge_kib);
        }
        return mlg_engine_is_overrun(e) || mlg_reservations_wait(e) || e->asked_kib > mlg_ledger_free_kib(&e->ledger);
}

bool mlg_engine_is_urgent(const MlgEngine *e) {
        return e->urgent;
}

static MlgStep guarded(const MlgEngine *e, const MlgVm *vm, MlgStep wish, uint64_t now_usec) {
        MlgGuardInput in = mlg_engine_guard_input(e, vm, now_usec);

        /* These two are orders, and were checked when they were given. */
        if (wish.reason == MLG_REASON_MANUAL || wish.reason == MLG_REASON_STUCK)
                return wish;
        /* It goes the other way: wait until it is clear whether somebody else sent it there. */
        if (vm->away_usec > 0 && wish.target_kib < vm->target_kib)
                return (MlgStep) { vm->target_kib, MLG_REASON_IN_FLIGHT };
        return mlg_guard_step(&in, wish);
}

static void record(MlgEngine *e, guint i, MlgStep done, uint64_t now_usec) {
        MlgVm *vm = e->vms->pdata[i];
        const MlgSample *s = &vm->sampler.last;
        MlgStep wish = e->wishes[i];
        bool left_alone = vm->state != MLG_VM_MANAGED && wish.target_kib == 0, moves = done.target_kib != vm->target_kib;

        mlg_vm_record(vm, &(MlgDecision) {
                .at_usec = now_usec,
                .first_at_usec = now_usec,
                .repeated = 1,
                .state = vm->state,
                .trust = s->trust,
                .pressure = vm->pressure,
                .actual_kib = vm->actual_kib,
                .used_kib = s->used_kib,
                .usable_kib = s->usable_kib,
                .need_kib = vm->forecast.need_kib,
                .error_kib = vm->forecast.error_kib,
                .cushion_kib = vm->cushion_kib,
                .from_kib = vm->target_kib,
                .wanted_kib = wish.target_kib,
                .wanted_why = wish.reason,
                .to_kib = done.target_kib,
                .why = left_alone ? vm->why : e->dry_run && moves ? MLG_REASON_DRY_RUN : done.reason,
                .result = moves && !e->dry_run ? 1 : 2,
        });
}

/* It may not have heard of its target. */
static bool must_repeat(const MlgVm *vm) {
        return vm->unsure_kib > 0 && vm->state == MLG_VM_MANAGED;
}

static void emit(MlgEngine *e, guint i, MlgStep step, size_t *n_moves, uint64_t now_usec) {
        MlgVm *vm = e->vms->pdata[i];

        record(e, i, step, now_usec);
        if (vm->pending_kib > 0 || (step.target_kib == vm->target_kib && !vm->give_up && !must_repeat(vm)))
                return;
        if (e->dry_run) {
                if (mlg_abs_diff(step.target_kib, vm->shown_kib) < mlg_max(vm->maximum_kib / 50, 1))
                        return; /* said that already */
                vm->shown_kib = step.target_kib;
        } else {
                mlg_vm_asked(vm, step.target_kib, now_usec);
                book(e, vm);
        }
        e->moves[(*n_moves)++] = (MlgMove) { vm, vm->unsure_kib ? vm->unsure_kib : vm->target_kib, step.target_kib, step.reason };
}

/* A grow as far as the ledger has room for it; a part only where it is worth a move. */
static void emit_grow(MlgEngine *e, guint i, MlgStep step, size_t *n_moves, uint64_t now_usec) {
        MlgVm *vm = e->vms->pdata[i];
        uint64_t room = mlg_ledger_grant(&e->ledger, &vm->charge_kib, step.target_kib);
        uint64_t least = mlg_min(step.target_kib - vm->target_kib, suffers(vm) ? MLG_LEAST_STEP_KIB :
                                 mlg_max(vm->maximum_kib / 50, MLG_LEAST_STEP_KIB));

        if (step.target_kib > room) {
                e->waiting = true;
                room = mlg_grid_down(room, vm->base_kib, vm->granule_kib);
                if (room < vm->target_kib + least)
                        step = (MlgStep) { vm->target_kib, MLG_REASON_WAIT_ROOM };
                else
                        step.target_kib = room;
        }
        emit(e, i, step, n_moves, now_usec);
        book(e, vm); /* what was granted and is not asked for goes back */
}

static Rank rank_of(const MlgVm *vm, MlgStep step) {
        if (step.target_kib <= vm->target_kib)
                return RANK_SHRINK;
        if (vm->pressure == MLG_PRESSURE_CRITICAL)
                return RANK_CRITICAL;
        if (vm->pressure == MLG_PRESSURE_WARNING)
                return RANK_WARNING;
        return step.reason == MLG_REASON_MANUAL ? RANK_MANUAL : RANK_OTHER;
}

static void guard_wishes(MlgEngine *e, uint64_t now_usec) {
        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];
                bool asks = vm->asks && e->wishes[i].target_kib == 0;
                MlgStep step = vm->pending_kib > 0 ? (MlgStep) { vm->target_kib, MLG_REASON_IN_FLIGHT } :
                                              asks ? mlg_proposals_stay(e, i, now_usec) :
                                                     guarded(e, vm, e->wishes[i], now_usec);

                if (asks)
                        e->wishes[i] = e->whole[i]; /* for `explain` */
                e->guarded[i] = (Guarded) { step, rank_of(vm, step) };
        }
}

static size_t make_moves(MlgEngine *e, uint64_t now_usec) {
        size_t n_moves = 0;

        for (Rank rank = RANK_SHRINK; rank < _RANK_MAX; rank++)
                for (guint i = 0; i < e->vms->len; i++) {
                        if (e->guarded[i].rank != rank)
                                continue;
                        if (rank == RANK_SHRINK)
                                emit(e, i, e->guarded[i].step, &n_moves, now_usec);
                        else
                                emit_grow(e, i, e->guarded[i].step, &n_moves, now_usec);
                }
        return n_moves;
}

uint64_t mlg_engine_wanted_kib(const MlgVm *vm, uint64_t now_usec) {
        if (!mlg_engine_is_movable(vm, now_usec))
                return vm->charge_kib;
        return mlg_clamp(vm->forecast.need_kib + vm->cushion_kib, vm->floor_kib, vm->ceiling_kib);
}

/* Somebody's own change of a guest's memory is respected; but not at the price of the others' needs and cushions, for
 * the guest's driver may be who made it. */
static void end_costly_holds(MlgEngine *e, uint64_t now_usec) {
        uint64_t wanted = mlg_add_sat(e->ledger.reserved_kib, e->pipes_kib);

        for (guint i = 0; i < e->vms->len; i++)
                wanted = mlg_add_sat(wanted, mlg_engine_wanted_kib(e->vms->pdata[i], now_usec));
        for (guint i = 0; i < e->vms->len && wanted > e->ledger.budget_kib; i++) {
                MlgVm *vm = e->vms->pdata[i];

                if (vm->why != MLG_REASON_FOREIGN || !mlg_vm_took_unasked(vm))
                        continue;
                wanted -= vm->charge_kib;
                vm->foreign_until_usec = 0;
                mlg_vm_classify(vm, e->paused, now_usec);
                book(e, vm);
                wanted += mlg_engine_wanted_kib(vm, now_usec);
        }
}

static void classify(MlgEngine *e, MlgVm *vm, uint64_t now_usec) {
        mlg_vm_classify(vm, e->paused, now_usec);
        if (vm->give_up && vm->pending_kib == 0 && !(vm->state == MLG_VM_HELD && vm->why == MLG_REASON_STUCK))
                mlg_vm_let_go(vm, now_usec); /* plans may not name it: so nobody is told */
        vm->asks = mlg_proposals_must_ask(e, vm, now_usec);
        book(e, vm);
}

size_t mlg_engine_decide(MlgEngine *e, uint64_t now_usec, const MlgMove **ret) {
        uint64_t fixed = e->pipes_kib; /* no plan of the policy's can move that */
        size_t n_moves;

        *ret = e->moves;
        e->facts_are_new = e->decided = false;
        if (mlg_policy_is_off(e->policy))
                take_policy(e);
        mlg_engine_judge_rules(e, now_usec);
        for (guint i = 0; i < e->vms->len; i++)
                classify(e, e->vms->pdata[i], now_usec);
        mlg_reservations_book(e);
        if (!e->has_host || !mlg_engine_all_polled(e))
                return 0;
        mlg_engine_take_budget(e);
        end_costly_holds(e, now_usec);
        mlg_engine_judge_host(e, now_usec);
        if (others_follow(e, now_usec))
                return 0;
        for (guint i = 0; i < e->vms->len; i++)
                make_view(e, i, now_usec, &fixed);
        ask_policy(e, fixed + mlg_engine_claim_lent(e, now_usec), now_usec);
        for (guint i = 0; i < e->vms->len; i++)
                e->wishes[i] = wish_for(e, i, now_usec);
        e->urgent = find_urgency(e, now_usec);
        e->waiting = false;
        guard_wishes(e, now_usec);
        mlg_engine_spare_donors(e, now_usec);
        e->decided = true;
        n_moves = make_moves(e, now_usec);
        mlg_engine_limit_lent(e);
        return n_moves;
}

void mlg_engine_answer(MlgEngine *e, MlgVm *vm, int r, uint64_t now_usec) {
        MlgDecision *d = (MlgDecision *) mlg_vm_decision(vm, 0);

        for (unsigned int back = 0; d && d->result != 1; d = (MlgDecision *) mlg_vm_decision(vm, ++back))
                ;
        if (d)
                d->result = r;
        mlg_vm_answered(vm, r, now_usec);
        book(e, vm);
}

/* ---- pipes ---- */

uint64_t mlg_engine_grant_pipe(MlgEngine *e, uint64_t *charge_kib, uint64_t to_kib) {
        uint64_t before = *charge_kib;

        if (mlg_engine_is_overrun(e) || e->host_short)
                return before; /* what is free on paper is not there */
        e->pipes_kib += mlg_ledger_grant(&e->ledger, charge_kib, to_kib) - before;
        return *charge_kib;
}

void mlg_engine_book_pipe(MlgEngine *e, uint64_t *charge_kib, uint64_t to_kib) {
        e->pipes_kib = e->pipes_kib - *charge_kib + to_kib;
        mlg_ledger_book(&e->ledger, charge_kib, to_kib);
}

void mlg_engine_tell_shared(MlgEngine *e, uint64_t shared_kib) {
        e->shared_kib = shared_kib;
}

/* ---- operators ---- */

void mlg_engine_pause(MlgEngine *e, MlgVm *vm, bool paused) {
        if (vm)
                vm->paused = paused;
        else
                e->paused = paused;
}

int mlg_engine_set_manual(MlgEngine *e, MlgVm *vm, uint64_t kib, uint64_t until_usec) {
        if (kib == 0) {
                vm->manual_kib = vm->manual_until_usec = 0;
                return 0;
        }
        if (vm->state == MLG_VM_ALONE)
                return -EOPNOTSUPP;
        if (kib < vm->floor_kib || kib > vm->ceiling_kib)
                return -ERANGE;
        vm->manual_kib = mlg_grid_down(kib, vm->base_kib, vm->granule_kib);
        vm->manual_until_usec = until_usec;
        vm->foreign_until_usec = 0;
        return 0;
}
