/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Proposals: what is told about them to log and bus, and what clients answer.
 *
 * Invariants: each event of a proposal's life is one message in the log, with who answered; the last id that was used
 * is on record before anybody hears of it. */
#include <errno.h>

#include "service/daemon-private.h"
#include "service/log.h"
#include "util/util.h"

static char *name_of(const MlgProposalVoter *by) {
        return g_strdup_printf("uid %" PRIu32 " (%s)", by->uid, by->sender);
}

static void tell(MlgDaemon *d, const MlgVm *vm, const MlgProposal *p, MlgProposalEvent event, const MlgProposalVoter *by) {
        const MlgVm *receiver = p->for_guest[0] ? mlg_engine_find(d->engine, p->for_guest) : NULL;
        g_autofree char *effect = mlg_proposal_effect(p, receiver ? receiver->name : ""), *who = by ? name_of(by) : NULL;

        if (event == MLG_PROPOSAL_PROPOSED) {
                mlg_state_set_last_proposal(d->state, mlg_engine_last_proposal(d->engine));
                mlg_daemon_sync_state(d);
        }
        mlg_log_proposal(vm->uuid, vm->name, p, event, effect, vm->target_kib, who);
        if (!d->bus)
                return;
        if (event == MLG_PROPOSAL_PROPOSED)
                mlg_bus_proposal_added(d->bus, vm->uuid, vm->name, p);
        else if (event != MLG_PROPOSAL_APPROVED)
                mlg_bus_proposal_removed(d->bus, vm->uuid, vm->name, p->id, event);
        mlg_bus_guest_changed(d->bus, vm->uuid);
}

static void on_proposal(const MlgVm *vm, const MlgProposal *p, MlgProposalEvent event, void *userdata) {
        tell(userdata, vm, p, event, NULL);
}

/* Who suffers must not wait in silence for somebody who does not know that he is waited for. */
static void warn(MlgDaemon *d, const MlgVm *vm, uint64_t now) {
        const MlgProposal *p = &vm->proposal;
        bool gives = p->to_kib < p->from_kib;
        const MlgVm *sufferer = !gives ? vm : p->for_guest[0] ? mlg_engine_find(d->engine, p->for_guest) : NULL;

        if (p->id == 0 || p->approved || !sufferer || sufferer->pressure == MLG_PRESSURE_NONE)
                return;
        if (mlg_log_limited(sufferer->uuid, MLG_CAUSE_APPROVAL, now))
                mlg_log_approval_awaited(sufferer->uuid, sufferer->name, p->id, gives ? vm->name : NULL);
}

void mlg_daemon_settle_proposals(MlgDaemon *d, uint64_t now) {
        mlg_engine_settle_proposals(d->engine, now, on_proposal, d);
        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++)
                warn(d, mlg_engine_guest_at(d->engine, i), now);
}

void mlg_daemon_drop_proposal(MlgDaemon *d, const MlgVm *vm) {
        if (vm->proposal.id > 0)
                tell(d, vm, &vm->proposal, MLG_PROPOSAL_WITHDRAWN, NULL);
}

void mlg_daemon_keep_allowed(MlgDaemon *d) {
        uint64_t now = mlg_loop_now_usec(d->loop), until = mlg_engine_allowed_until_usec(d->engine, NULL, now);

        mlg_state_set_allowed_until(d->state, until > 0 ? mlg_real_usec() + (until - now) : 0);
}

/* ---- reads ---- */

size_t mlg_daemon_proposals(MlgProposalStatus *ret, size_t max, void *daemon) {
        const MlgDaemon *d = daemon;
        size_t n = 0;

        for (size_t i = 0; n < max && i < mlg_engine_n_guests(d->engine); i++) {
                const MlgVm *vm = mlg_engine_guest_at(d->engine, i), *receiver;

                if (vm->proposal.id == 0)
                        continue;
                receiver = mlg_engine_find(d->engine, vm->proposal.for_guest);
                ret[n] = (MlgProposalStatus) { .proposal = vm->proposal };
                g_strlcpy(ret[n].uuid, vm->uuid, sizeof(ret[n].uuid));
                g_strlcpy(ret[n].name, vm->name, sizeof(ret[n].name));
                g_strlcpy(ret[n].for_name, receiver ? receiver->name : "", sizeof(ret[n].for_name));
                n++;
        }
        return n;
}

/* ---- answers ---- */

/* Why there is none of this id (any more), and which one took its place. */
static void set_no_such(const MlgDaemon *d, uint64_t id, GError **error) {
        const MlgProposalEnd *end = mlg_engine_proposal_end(d->engine, id);
        const MlgVm *vm = end ? mlg_engine_find(d->engine, end->uuid) : NULL;

        if (!vm)
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_PROPOSAL, "There is no proposal %" PRIu64, id);
        else if (vm->proposal.id > 0)
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_PROPOSAL,
                            "Proposal %" PRIu64 " for %s is not open any more (%s); there is a newer one, %" PRIu64, id, vm->name,
                            mlg_proposal_event_to_string(end->how), vm->proposal.id);
        else
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_PROPOSAL, "Proposal %" PRIu64 " for %s is not open any more (%s)",
                            id, vm->name, mlg_proposal_event_to_string(end->how));
}

static bool is_dry_run(const MlgDaemon *d, GError **error) {
        if (d->dry_run)
                g_set_error(error, MLG_ERROR, MLG_ERROR_FAILED, "This is a dry run: nothing is moved, approved or not");
        return d->dry_run;
}

static bool is_open(const MlgVm *vm, uint64_t now) {
        return vm->proposal.id > 0 && !vm->proposal.approved && now < vm->proposal.expires_usec;
}

static void approve(MlgDaemon *d, MlgVm *vm, const MlgProposalVoter *by) {
        mlg_engine_approve(d->engine, vm, mlg_loop_now_usec(d->loop));
        tell(d, vm, &vm->proposal, MLG_PROPOSAL_APPROVED, by);
}

/* The next turn does it: at once. */
static void act(MlgDaemon *d) {
        if (d->connected)
                mlg_timer_at(d->poll_timer, mlg_loop_now_usec(d->loop));
        mlg_daemon_sync_state(d);
        mlg_daemon_flush(d);
}

bool mlg_daemon_approve(uint64_t id, const MlgProposalVoter *by, GError **error, void *daemon) {
        MlgDaemon *d = daemon;
        MlgVm *vm = mlg_engine_find_proposal(d->engine, id);

        if (is_dry_run(d, error))
                return false;
        if (!vm) {
                set_no_such(d, id, error);
                return false;
        }
        if (vm->proposal.approved)
                return true; /* by somebody else, who was faster */
        if (!is_open(vm, mlg_loop_now_usec(d->loop))) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_PROPOSAL, "Proposal %" PRIu64 " for %s has expired", id, vm->name);
                return false;
        }
        approve(d, vm, by);
        act(d);
        return true;
}

bool mlg_daemon_reject(uint64_t id, const MlgProposalVoter *by, GError **error, void *daemon) {
        MlgDaemon *d = daemon;
        MlgVm *vm = mlg_engine_find_proposal(d->engine, id);
        MlgProposal p;

        if (!vm) {
                set_no_such(d, id, error);
                return false;
        }
        p = vm->proposal;
        mlg_engine_reject(d->engine, vm, mlg_loop_now_usec(d->loop));
        tell(d, vm, &p, MLG_PROPOSAL_REJECTED, by);
        act(d);
        return true;
}

/* uuid NULL: all. False: there is none. */
static bool find(const MlgDaemon *d, const char *uuid, MlgVm **ret, GError **error) {
        *ret = uuid ? mlg_engine_find(d->engine, uuid) : NULL;
        if (uuid && !*ret)
                g_set_error(error, MLG_ERROR, MLG_ERROR_NO_SUCH_GUEST, "There is no guest '%s' (any more)", uuid);
        return !uuid || *ret;
}

static void allow(MlgDaemon *d, MlgVm *vm, uint64_t usec, const MlgProposalVoter *by) {
        g_autofree char *who = name_of(by);

        mlg_engine_allow(d->engine, vm, usec > 0 ? mlg_loop_now_usec(d->loop) + usec : 0);
        if (vm)
                mlg_daemon_keep(d, vm);
        else
                mlg_daemon_keep_allowed(d);
        mlg_log_allowed(vm ? vm->uuid : NULL, vm ? vm->name : NULL, usec, who);
        if (vm && d->bus)
                mlg_bus_guest_changed(d->bus, vm->uuid);
}

bool mlg_daemon_approve_all(const char *uuid, uint64_t usec, const MlgProposalVoter *by, uint32_t *ret_n, GError **error,
                            void *daemon) {
        MlgDaemon *d = daemon;
        uint32_t n = 0;
        MlgVm *vm;

        if (is_dry_run(d, error) || !find(d, uuid, &vm, error))
                return false;
        if (vm && vm->settings.mode != MLG_MODE_ADVISE) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_NOT_MANAGED, "%s has Mode=%s: its moves need no approval", vm->name,
                            mlg_mode_to_string(vm->settings.mode));
                return false;
        }
        for (size_t i = 0; i < mlg_engine_n_guests(d->engine); i++) {
                MlgVm *other = mlg_engine_guest_at(d->engine, i);

                if ((vm && other != vm) || !is_open(other, mlg_loop_now_usec(d->loop)))
                        continue;
                approve(d, other, by);
                n++;
        }
        if (usec > 0)
                allow(d, vm, usec, by);
        act(d);
        *ret_n = n;
        return true;
}

bool mlg_daemon_end_approval(const char *uuid, const MlgProposalVoter *by, GError **error, void *daemon) {
        MlgDaemon *d = daemon;
        uint64_t now = mlg_loop_now_usec(d->loop);
        MlgVm *vm;

        if (!find(d, uuid, &vm, error))
                return false;
        if (mlg_engine_allowed_until_usec(d->engine, vm, now) == 0) {
                if (vm && mlg_engine_allowed_until_usec(d->engine, NULL, now) > 0)
                        g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT,
                                    "Nothing was allowed for %s alone, but for all guests: end that", vm->name);
                else
                        g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT, "%s has to ask for approval already",
                                    vm ? vm->name : "Everybody");
                return false;
        }
        allow(d, vm, 0, by);
        act(d);
        return true;
}
