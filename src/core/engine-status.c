/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine status: what the engine shows of itself, as plain values. */
#include <string.h>

#include "core/engine-private.h"
#include "core/supervise.h"
#include "util/util.h"

const MlgLedger *mlg_engine_ledger(const MlgEngine *e) {
        return &e->ledger;
}

static void show_facts(const MlgEngine *e, MlgHostStatus *ret) {
        const MlgRawHost *h = &e->host;

        ret->have_zswap = h->have_zswap;
        ret->zswap_kib = h->zswap_kib;
        ret->zswapped_kib = h->zswapped_kib;
        ret->have_ksm = h->have_ksm;
        ret->ksm_saved_kib = h->ksm_saved_kib;
        ret->ksm_shared_kib = h->ksm_shared_kib;
        ret->knows_others = e->knows_others;
        ret->resident_kib = e->knows_others ? e->resident_kib : 0;
        ret->others_kib = e->knows_others ? e->others_kib : 0;
        ret->swap_total_kib = h->swap_total_kib;
        ret->swap_used_kib = mlg_sub_sat(h->swap_total_kib, h->swap_free_kib);
        ret->hugetlb_kib = h->hugetlb_kib;
        ret->hugetlb_free_kib = h->hugetlb_free_kib;
}

void mlg_engine_host_status(const MlgEngine *e, MlgHostStatus *ret) {
        g_strlcpy(ret->policy, e->policy->name, sizeof(ret->policy));
        ret->dry_run = e->dry_run;
        ret->paused = e->paused;
        ret->total_kib = e->host.total_kib;
        ret->available_kib = e->host.available_kib;
        ret->reserve_kib = mlg_amount_resolve(e->settings.reserve, e->host.total_kib);
        ret->budget_kib = e->ledger.budget_kib;
        ret->charged_kib = e->ledger.charged_kib;
        ret->pipes_kib = e->pipes_kib;
        ret->lent_kib = e->lent_kib;
        ret->reserved_kib = e->ledger.reserved_kib;
        ret->free_kib = mlg_ledger_free_kib(&e->ledger);
        ret->shortage_kib = e->shortage_kib;
        ret->alarm = e->emergency.level;
        ret->alarm_since_usec = e->emergency.since_usec;
        ret->missing_kib = e->emergency.missing_kib;
        ret->givable_kib = e->emergency.givable_kib;
        show_facts(e, ret);
        ret->have_psi = e->host.have_psi;
        ret->psi_some_avg10_centi = e->host.psi_some_avg10_centi;
        ret->psi_full_avg10_centi = e->host.psi_full_avg10_centi;
        ret->n_guests = e->vms->len;
        ret->n_managed = ret->n_proposals = 0;
        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];

                ret->n_managed += vm->state == MLG_VM_MANAGED;
                ret->n_proposals += vm->proposal.id > 0 && !vm->proposal.approved;
        }
}

static void show_reclaim(const MlgVm *vm, uint64_t now_usec, MlgGuestStatus *ret) {
        const MlgReclaim *c = &vm->reclaim;

        ret->knows_cgroup = ret->actuator == MLG_ACTUATOR_CGROUP && c->read_usec > 0;
        if (!ret->knows_cgroup)
                return;
        ret->cgroup_kib = c->last.current_kib;
        ret->cgroup_swap_kib = c->last.swap_kib;
        ret->reclaim_asked_kib = c->asked_kib;
        ret->reclaim_paused_until_usec = c->resume_usec > now_usec ? c->resume_usec : 0;
}

static void show_stack(const MlgStack *s, MlgGuestStatus *ret) {
        ret->knows_stack = s->known;
        if (!s->known)
                return;
        ret->stack_calls = s->calls;
        ret->stack_held_bytes = s->held_bytes;
        ret->stack_refused = s->refused;
        ret->stack_violations = mlg_stack_sum(s->violations);
        memcpy(ret->stack_violation_kinds, s->violations, sizeof(s->violations));
}

void mlg_engine_guest_status(const MlgEngine *e, const MlgVm *vm, uint64_t now_usec, MlgGuestStatus *ret) {
        const MlgSample *s = &vm->sampler.last;
        const MlgDecision *d = mlg_vm_decision(vm, 0);
        const char *follows;

        *ret = (MlgGuestStatus) {
                .state = vm->state,
                .reason = vm->state != MLG_VM_MANAGED ? vm->why : d ? d->why : MLG_REASON_NONE,
                .run_state = vm->run_state,
                .mode = vm->settings.mode,
                .trust = s->trust,
                .pressure = vm->pressure,
                .source = s->source,
                .monitor = vm->monitor_link,
                .paused = vm->paused,
                .actuator = mlg_vm_actuator(vm),
                .has_balloon = vm->has_balloon,
                .autodeflate = vm->autodeflate,
                .free_page_reporting = vm->free_page_reporting,
                .vfio = vm->vfio,
                .locked = vm->locked,
                .hugepages = vm->hugepages,
                .actual_kib = vm->actual_kib,
                .target_kib = vm->pending_kib ? vm->pending_kib : vm->target_kib,
                .maximum_kib = vm->maximum_kib,
                .floor_kib = vm->floor_kib,
                .ceiling_kib = vm->ceiling_kib,
                .used_kib = s->used_kib,
                .usable_kib = s->usable_kib,
                .unused_kib = s->unused_kib,
                .caches_kib = s->caches_kib,
                .rss_kib = s->rss_kib,
                .need_kib = vm->forecast.need_kib,
                .error_kib = vm->forecast.error_kib,
                .cushion_kib = vm->cushion_kib,
                .swap_in_kib_per_sec = s->swap_in_kib_per_sec,
                .swap_out_kib_per_sec = s->swap_out_kib_per_sec,
                .major_faults_per_sec = s->major_faults_per_sec,
                .knows_stalls = s->knows_stalls,
                .knows_cold = s->knows_cold,
                .knows_oom = s->knows_oom,
                .stall_some_permille = s->stall_some_permille,
                .stall_full_permille = s->stall_full_permille,
                .refault_kib_per_sec = s->refault_kib_per_sec,
                .cold_kib = s->cold_kib,
                .oom_kills = s->knows_oom ? s->oom_kills : 0,
                .last_alarm_usec = s->alarm_usec,
                .sample_age_usec = s->at_usec == 0 || s->age_usec == MLG_USEC_NEVER ? MLG_USEC_NEVER :
                        s->age_usec + mlg_sub_sat(now_usec, s->at_usec),
                .last_move_usec = vm->moved_usec,
                .hold_until_usec = mlg_vm_is_manual(vm, now_usec) ? vm->manual_until_usec : 0,
                .proposal_id = vm->proposal.id,
                .allowed_until_usec = mlg_engine_allowed_until_usec(e, vm, now_usec),
                .shares = vm->settings.shares,
                .priority = vm->settings.priority,
                .moves_tried = vm->moves_tried,
                .moves_accepted = vm->moves_accepted,
                .moves_failed = vm->moves_failed,
                .moved_kib = vm->moved_kib,
                .forecasts = vm->forecasts,
                .forecast_misses = vm->forecast_misses,
                .learned_usec = mlg_vm_learned_usec(vm),
        };
        show_reclaim(vm, now_usec, ret);
        show_stack(&vm->stack, ret);
        mlg_engine_rule_names(e, vm, ret->rules);
        g_strlcpy(ret->uuid, vm->uuid, sizeof(ret->uuid));
        g_strlcpy(ret->name, vm->name, sizeof(ret->name));
        g_strlcpy(ret->labels, vm->labels, sizeof(ret->labels));
        follows = mlg_call_follows(vm->predictor, vm->predictor_priv);
        if (follows)
                g_snprintf(ret->predictor, sizeof(ret->predictor), "%s (%s)", vm->predictor->name, follows);
        else
                g_strlcpy(ret->predictor, vm->predictor->name, sizeof(ret->predictor));
}
