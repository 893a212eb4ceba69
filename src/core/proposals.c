/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proposals: what guests with Mode=advise would be moved to, and what people say to that. See memlego/proposal.h for the
 * states.
 *
 * There are two plans. The sure one moves guests; whoever asks for approval first (MlgVm.asks) has what it has in it, or
 * what was approved for it, and nobody counts on the rest. The whole plan takes all for movable; of it only what it wants of
 * those who ask is used, as proposals. The policy has a memory of its own for each plan, so neither disturbs the other.
 *
 * Invariants: without approval the target of a guest that asks is left as it is; what is approved is checked against the
 * whole plan in each turn, and never exceeded. */
#include "core/engine-private.h"

#include <string.h>

#include "core/supervise.h"
#include "util/parse.h"
#include "util/util.h"

/* So long a proposal stands although another size is wanted by now: who reads it must be able to answer it. That is safe,
 * for what is approved goes no further than what is wanted then. One whose guest suffers more than before is replaced at
 * once. */
#define REST_USEC (20 * MLG_USEC_PER_SEC)
/* Another size is wanted if it differs by more than the dead band, and by more than this part of the move. */
#define DIFFERENT_PART 4
/* A wish that was gone for so long is: statistics tremble, and a report may be late. */
#define GONE_USEC (5 * MLG_USEC_PER_SEC)
/* A rejected move is not proposed again for so many lives of a proposal, unless it became larger by more than this
 * part, or its guest suffers more. */
#define REJECTED_LIVES 4
#define REJECTED_PART 2

static bool goes_up(const MlgProposal *p) {
        return p->to_kib > p->from_kib;
}

static bool moves(const MlgVm *vm, MlgStep step) {
        return step.target_kib != 0 && step.target_kib != vm->target_kib;
}

/* ---- the whole plan ---- */

static void forget_plan(MlgEngine *e) {
        memset(e->whole_priv, 0, e->policy->priv_size);
        for (guint i = 0; e->policy->vm_priv_size > 0 && i < e->vms->len; i++)
                memset(((MlgVm *) e->vms->pdata[i])->whole_priv, 0, e->policy->vm_priv_size);
}

uint64_t mlg_proposals_fixed_kib(const MlgVm *vm) {
        return vm->asks ? mlg_max(vm->charge_kib, vm->goal_kib) : vm->charge_kib;
}

void mlg_proposals_plan(MlgEngine *e, const MlgHostView *sure) {
        MlgPlan plan = { .steps = e->whole, .n_steps = e->vms->len };
        MlgHostView host = *sure;
        bool asked = false;

        memset(e->whole, 0, e->vms->len * sizeof(e->whole[0]));
        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];

                e->views[i].priv = vm->whole_priv;
                if (!vm->asks || mlg_vm_is_manual(vm, sure->now_usec))
                        continue;
                e->views[i].movable = asked = true;
                host.fixed_kib = mlg_sub_sat(host.fixed_kib, mlg_proposals_fixed_kib(vm));
        }
        if (asked && !e->advised)
                forget_plan(e); /* what it knew is of another time */
        e->advised = asked;
        if (asked && mlg_call_decide(e->policy, e->whole_priv, &host, e->views, e->vms->len, &plan) < 0)
                memset(e->whole, 0, e->vms->len * sizeof(e->whole[0]));
}

/* What would be done with the guest as a whole, however long that took: the guard's word without its rates. */
static MlgStep whole_step(const MlgEngine *e, guint i, uint64_t now_usec) {
        const MlgVm *vm = e->vms->pdata[i];
        MlgGuestSettings settings = vm->settings;
        MlgGuardInput in = mlg_engine_guard_input(e, vm, now_usec);

        if (vm->state != MLG_VM_MANAGED || mlg_vm_is_manual(vm, now_usec) || vm->target_kib == 0)
                return (MlgStep) { vm->target_kib, vm->why };
        settings.shrink_permille = settings.urgent_permille = settings.grow_permille = 1000;
        in.settings = &settings;
        in.shrunk_usec = in.grown_usec = 0;
        in.urgent = false; /* nobody is asked for crumbs */
        return mlg_guard_step(&in, vm->asks ? e->whole[i] : e->steps[i]);
}

/* ---- one guest's proposal ---- */

typedef struct Listener {
        MlgProposalFn fn;
        void *userdata;
} Listener;

static void end(MlgEngine *e, MlgVm *vm, MlgProposalEvent how, const Listener *to) {
        MlgProposal p = vm->proposal;
        MlgProposalEnd *last = &e->ended[e->next_ended++ % MLG_PROPOSAL_ENDS_MAX];

        *last = (MlgProposalEnd) { .id = p.id, .how = how };
        g_strlcpy(last->uuid, vm->uuid, sizeof(last->uuid));
        vm->proposal = (MlgProposal) {};
        vm->goal_kib = vm->unwanted_usec = 0;
        if (to)
                to->fn(vm, &p, how, to->userdata);
}

static void refresh(MlgProposal *p, const MlgVm *vm, uint64_t now_usec) {
        p->actual_kib = vm->actual_kib;
        p->usable_kib = vm->sampler.last.usable_kib;
        p->need_kib = vm->forecast.need_kib;
        p->cushion_kib = vm->cushion_kib;
        p->refreshed_usec = now_usec;
}

static void propose(MlgEngine *e, MlgVm *vm, MlgStep step, const MlgVm *receiver, uint64_t now_usec, const Listener *to) {
        MlgProposal *p = &vm->proposal;

        *p = (MlgProposal) {
                .id = ++e->last_proposal_id,
                .from_kib = vm->target_kib,
                .to_kib = step.target_kib,
                .why = step.reason,
                .pressure = vm->pressure,
                .created_usec = now_usec,
                .expires_usec = now_usec + e->settings.proposal_usec,
        };
        if (receiver && receiver != vm && !goes_up(p))
                g_strlcpy(p->for_guest, receiver->uuid, sizeof(p->for_guest));
        refresh(p, vm, now_usec);
        vm->proposal_instance = vm->instance;
        to->fn(vm, p, MLG_PROPOSAL_PROPOSED, to->userdata);
}

static bool is_wanted(const MlgVm *vm, MlgStep step) {
        return moves(vm, step) && (step.target_kib > vm->target_kib) == goes_up(&vm->proposal);
}

/* True: the wish is gone for good. */
static bool is_unwanted(MlgVm *vm, MlgStep step, uint64_t now_usec) {
        if (is_wanted(vm, step)) {
                vm->unwanted_usec = 0;
                return false;
        }
        if (vm->unwanted_usec == 0)
                vm->unwanted_usec = now_usec;
        return now_usec - vm->unwanted_usec >= GONE_USEC;
}

static bool differs(const MlgVm *vm, MlgStep step) {
        const MlgProposal *p = &vm->proposal;
        uint64_t band = mlg_max(mlg_mul_div(vm->maximum_kib, vm->settings.dead_band_permille, 1000), MLG_LEAST_STEP_KIB);

        return mlg_abs_diff(step.target_kib, p->to_kib) > mlg_max(band, mlg_abs_diff(p->from_kib, p->to_kib) / DIFFERENT_PART);
}

static bool is_rejected(const MlgVm *vm, MlgStep step, uint64_t now_usec) {
        uint64_t size = mlg_abs_diff(step.target_kib, vm->target_kib);

        return now_usec < vm->rejected.until_usec && vm->rejected.up == (step.target_kib > vm->target_kib) &&
               vm->pressure <= vm->rejected.pressure && size <= vm->rejected.kib + vm->rejected.kib / REJECTED_PART;
}

static void settle_open(MlgEngine *e, MlgVm *vm, MlgStep step, uint64_t now_usec, const Listener *to) {
        MlgProposal *p = &vm->proposal;

        if (vm->state == MLG_VM_MANAGED && !vm->asks)
                end(e, vm, MLG_PROPOSAL_WITHDRAWN, to);
        else if (now_usec >= p->expires_usec)
                end(e, vm, MLG_PROPOSAL_EXPIRED, to);
        else if (is_unwanted(vm, step, now_usec))
                end(e, vm, MLG_PROPOSAL_WITHDRAWN, to);
        else if (!is_wanted(vm, step))
                return; /* perhaps for a moment only */
        else if (differs(vm, step) && (now_usec - p->created_usec >= REST_USEC || vm->pressure > p->pressure))
                end(e, vm, MLG_PROPOSAL_SUPERSEDED, to);
        else
                refresh(p, vm, now_usec);
}

/* Where the guest may go now: as far as was approved, and no further than is wanted. */
static void take_goal(MlgVm *vm, MlgStep step) {
        const MlgProposal *p = &vm->proposal;

        if (!is_wanted(vm, step))
                vm->goal_kib = 0;
        else
                vm->goal_kib = goes_up(p) ? mlg_min(p->to_kib, step.target_kib) : mlg_max(p->to_kib, step.target_kib);
}

static void settle_approved(MlgEngine *e, MlgVm *vm, MlgStep step, uint64_t now_usec, const Listener *to) {
        const MlgProposal *p = &vm->proposal;
        bool up = goes_up(p);
        bool moved = up ? vm->target_kib > p->from_kib : vm->target_kib < p->from_kib;
        bool there = up ? vm->target_kib + MLG_LEAST_STEP_KIB > p->to_kib : vm->target_kib < p->to_kib + MLG_LEAST_STEP_KIB;

        if (vm->pending_kib > 0)
                return;
        take_goal(vm, step);
        if (there)
                end(e, vm, MLG_PROPOSAL_APPLIED, to);
        else if (now_usec < vm->refused_until_usec)
                end(e, vm, MLG_PROPOSAL_FAILED, to);
        else if (is_unwanted(vm, step, now_usec))
                end(e, vm, moved ? MLG_PROPOSAL_APPLIED : MLG_PROPOSAL_WITHDRAWN, to);
        else if (now_usec >= p->expires_usec)
                end(e, vm, moved ? MLG_PROPOSAL_APPLIED : MLG_PROPOSAL_EXPIRED, to);
}

/* Who waits most for what others give. */
static const MlgVm *find_receiver(const MlgEngine *e) {
        const MlgVm *best = NULL;
        uint64_t most = 0;

        for (guint i = 0; i < e->vms->len; i++) {
                const MlgVm *vm = e->vms->pdata[i];
                uint64_t lacks = mlg_sub_sat(e->whole[i].target_kib, vm->charge_kib);

                if (lacks == 0 || (best && (vm->pressure < best->pressure || (vm->pressure == best->pressure && lacks <= most))))
                        continue;
                best = vm;
                most = lacks;
        }
        return best;
}

static void settle(MlgEngine *e, MlgVm *vm, MlgStep step, const MlgVm *receiver, uint64_t now_usec, const Listener *to) {
        if (vm->proposal.approved)
                settle_approved(e, vm, step, now_usec, to);
        else if (vm->proposal.id > 0)
                settle_open(e, vm, step, now_usec, to);
        if (vm->proposal.id == 0 && vm->asks && vm->pending_kib == 0 && moves(vm, step) && !is_rejected(vm, step, now_usec))
                propose(e, vm, step, receiver, now_usec, to);
}

void mlg_engine_settle_proposals(MlgEngine *e, uint64_t now_usec, MlgProposalFn fn, void *userdata) {
        const MlgVm *receiver = e->advised ? find_receiver(e) : NULL;
        const Listener to = { fn, userdata };

        for (guint i = 0; i < e->vms->len; i++) {
                MlgVm *vm = e->vms->pdata[i];

                if (vm->proposal.id > 0 && vm->proposal_instance != vm->instance)
                        end(e, vm, MLG_PROPOSAL_WITHDRAWN, &to);
                if (e->decided && (vm->proposal.id > 0 || vm->asks))
                        settle(e, vm, whole_step(e, i, now_usec), receiver, now_usec, &to);
        }
}

/* ---- in the turn ---- */

MlgStep mlg_proposals_wish(const MlgVm *vm) {
        bool beyond = goes_up(&vm->proposal) ? vm->target_kib > vm->goal_kib : vm->target_kib < vm->goal_kib;

        /* Where something else took it further meanwhile (a stuck balloon that was given up, say), nobody approved the
         * way back. */
        if (vm->goal_kib == 0 || beyond)
                return (MlgStep) {};
        return (MlgStep) { vm->goal_kib, vm->proposal.why };
}

MlgStep mlg_proposals_stay(const MlgEngine *e, guint i, uint64_t now_usec) {
        const MlgVm *vm = e->vms->pdata[i];
        MlgStep step = whole_step(e, i, now_usec);
        MlgReason why = !moves(vm, step) ? step.reason : is_rejected(vm, step, now_usec) ? MLG_REASON_REJECTED :
                                                                                          MLG_REASON_APPROVAL;

        return (MlgStep) { vm->target_kib, why };
}

/* ---- operators ---- */

MlgVm *mlg_engine_find_proposal(const MlgEngine *e, uint64_t id) {
        for (guint i = 0; id > 0 && i < e->vms->len; i++)
                if (((const MlgVm *) e->vms->pdata[i])->proposal.id == id)
                        return e->vms->pdata[i];
        return NULL;
}

const MlgProposalEnd *mlg_engine_proposal_end(const MlgEngine *e, uint64_t id) {
        for (size_t i = 0; id > 0 && i < MLG_PROPOSAL_ENDS_MAX; i++)
                if (e->ended[i].id == id)
                        return &e->ended[i];
        return NULL;
}

void mlg_engine_approve(MlgEngine *e, MlgVm *vm, uint64_t now_usec) {
        guint i;

        if (vm->proposal.id == 0 || vm->proposal.approved || !g_ptr_array_find(e->vms, vm, &i))
                return;
        vm->proposal.approved = true;
        vm->proposal.expires_usec = now_usec + e->settings.proposal_usec;
        take_goal(vm, whole_step(e, i, now_usec));
}

void mlg_engine_reject(MlgEngine *e, MlgVm *vm, uint64_t now_usec) {
        const MlgProposal *p = &vm->proposal;

        if (p->id == 0)
                return;
        vm->rejected.up = goes_up(p);
        vm->rejected.kib = mlg_abs_diff(p->from_kib, p->to_kib);
        vm->rejected.pressure = vm->pressure;
        vm->rejected.until_usec = now_usec + REJECTED_LIVES * e->settings.proposal_usec;
        end(e, vm, MLG_PROPOSAL_REJECTED, NULL);
}

void mlg_engine_allow(MlgEngine *e, MlgVm *vm, uint64_t until_usec) {
        if (vm)
                vm->allowed_until_usec = until_usec;
        else
                e->allowed_until_usec = until_usec;
}

uint64_t mlg_engine_allowed_until_usec(const MlgEngine *e, const MlgVm *vm, uint64_t now_usec) {
        uint64_t until = vm ? vm->allowed_until_usec : e->allowed_until_usec;

        return until > now_usec ? until : 0;
}

bool mlg_proposals_must_ask(const MlgEngine *e, const MlgVm *vm, uint64_t now_usec) {
        return vm->state == MLG_VM_MANAGED && vm->settings.mode == MLG_MODE_ADVISE &&
               now_usec >= mlg_max(vm->allowed_until_usec, e->allowed_until_usec);
}

void mlg_engine_set_last_proposal(MlgEngine *e, uint64_t id) {
        e->last_proposal_id = id;
}

uint64_t mlg_engine_last_proposal(const MlgEngine *e) {
        return e->last_proposal_id;
}

/* ---- words ---- */

static const char *const event_names[] = {
        [MLG_PROPOSAL_PROPOSED] = "proposed",
        [MLG_PROPOSAL_APPROVED] = "approved",
        [MLG_PROPOSAL_APPLIED] = "applied",
        [MLG_PROPOSAL_FAILED] = "failed",
        [MLG_PROPOSAL_REJECTED] = "rejected",
        [MLG_PROPOSAL_SUPERSEDED] = "superseded",
        [MLG_PROPOSAL_WITHDRAWN] = "withdrawn",
        [MLG_PROPOSAL_EXPIRED] = "expired",
};
G_STATIC_ASSERT(G_N_ELEMENTS(event_names) == _MLG_PROPOSAL_EVENT_MAX);

const char *mlg_proposal_event_to_string(MlgProposalEvent event) {
        return (size_t) event < G_N_ELEMENTS(event_names) ? event_names[event] : "invalid";
}

uint64_t mlg_proposal_usable_after_kib(const MlgProposal *p) {
        return mlg_sub_sat(mlg_add_sat(p->usable_kib, p->to_kib), p->actual_kib);
}

char *mlg_proposal_effect(const MlgProposal *p, const char *for_name) {
        g_autofree char *before = mlg_format_kib(p->usable_kib), *after = mlg_format_kib(mlg_proposal_usable_after_kib(p));
        g_autofree char *need = mlg_format_kib(p->need_kib), *cushion = mlg_format_kib(p->cushion_kib);
        g_autofree char *gives = mlg_format_kib(mlg_sub_sat(p->from_kib, p->to_kib)), *frees = NULL;

        if (!goes_up(p))
                frees = g_strdup_printf("frees %s for %s; ", gives, for_name[0] ? for_name : "others");
        return g_strdup_printf("%susable memory %s -> %s (need %s, cushion %s)", frees ? frees : "", before, after, need, cushion);
}
