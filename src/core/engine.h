/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine: the table of guests, and one turn of sample -> predict -> decide -> guard -> ledger.
 *
 * It is told facts (guests, samples, answers) with the time at which they were learnt, and returns the moves
 * to make. It never reads a clock, does no I/O, and allocates only when a guest or a reservation appears.
 * The service owns it, asks the hypervisor for the moves, and reports each answer.
 *
 * Order of one turn: observe_host() once, observe() for each guest of the poll, tell_time(), decide().
 * Invariants: at most one request in flight per guest; a grow is returned only after the ledger granted it,
 * a shrink frees its bytes only when a later observe() confirms them; nothing is decided before each running
 * guest was seen in a poll. */
#pragma once

#include <glib.h>

#include "core/ledger.h"
#include "core/plugins.h"
#include "core/rules.h"
#include "core/settings.h"
#include "core/vm.h"
#include "memlego/policy.h"
#include "memlego/proposal.h"

typedef struct MlgEngine MlgEngine;

/* One move to ask the hypervisor for. Valid until the next call of decide(). */
typedef struct MlgMove {
        const MlgVm *vm;
        uint64_t from_kib, to_kib;
        MlgReason why;
} MlgMove;

#define MLG_RESERVATIONS_MAX 64

typedef struct MlgReservation {
        uint64_t id;
        uint64_t kib;
        uint64_t expires_usec;
        uint64_t keep_usec;       /* for so long, once all of its room is there */
        uint64_t wait_until_usec; /* refused if its room is not there by then; 0: it is settled */
        char owner[64];
        char guest[MLG_UUID_LEN + 1]; /* that starts into it; empty: none yet */
        bool taken;               /* the guest is managed now, and its room its own: nothing is kept any more */
        uint64_t room_kib, told_usec; /* of its room that was told to be there, last; and when */
} MlgReservation;

/* What became of a reservation in this turn. */
typedef enum MlgReservationFate {
        MLG_RESERVATION_PROGRESS, /* room_kib of its room is there; told in steps, and not too often */
        MLG_RESERVATION_READY,   /* all of its room is there */
        MLG_RESERVATION_TAKEN,   /* the guest that it was for has it */
        MLG_RESERVATION_NO_ROOM, /* its room did not come in time: it is gone */
        MLG_RESERVATION_EXPIRED, /* its time is over: it is gone */
} MlgReservationFate;
typedef void (*MlgReservationFn)(const MlgReservation *r, MlgReservationFate fate, void *userdata);

MlgEngine *mlg_engine_new(const MlgHostSettings *settings, bool dry_run);
MlgEngine *mlg_engine_free(MlgEngine *e);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgEngine, mlg_engine_free)

/* Also on reload; a policy that stays the same keeps its state. */
void mlg_engine_configure(MlgEngine *e, const MlgHostSettings *settings);
/* The same; copied. NULL: none. Guests' settings say which of them are about each. */
void mlg_engine_set_rules(MlgEngine *e, const MlgRules *rules);
/* Of those that hold for it, in their order, with blanks between them. */
void mlg_engine_rule_names(const MlgEngine *e, const MlgVm *vm, char ret[static MLG_RULE_NAMES_MAX + 1]);

/* New guest, or its facts changed. `started`, of a new one: its start was seen, it did not run before. A guest that
 * starts takes up the room of a reservation. */
MlgVm *mlg_engine_put_guest(MlgEngine *e, const MlgGuestInfo *info, const MlgGuestSettings *settings, bool started,
                            uint64_t now_usec);
void mlg_engine_rebooted(MlgEngine *e, MlgVm *vm, uint64_t now_usec);
void mlg_engine_drop_guest(MlgEngine *e, const char *uuid);
/* Targets of an earlier run of the daemon; pending 0: none was in flight. */
void mlg_engine_adopt(MlgEngine *e, const char *uuid, uint64_t target_kib, uint64_t pending_kib);

/* It is the policy, or a guest's predictor. */
bool mlg_engine_uses(const MlgEngine *e, const MlgPlugin *p);

MlgVm *mlg_engine_find(const MlgEngine *e, const char *uuid);
size_t mlg_engine_n_guests(const MlgEngine *e);
MlgVm *mlg_engine_guest_at(const MlgEngine *e, size_t i);

void mlg_engine_observe_host(MlgEngine *e, const MlgRawHost *raw);
/* A reading of the host alone, between two polls. Returns when to read it next. *ret_poll_usec: the next poll should not be
 * later than that (and not earlier: its own reading of the host has to be another one); MLG_USEC_NEVER: no hurry. */
uint64_t mlg_engine_watch_host(MlgEngine *e, const MlgRawHost *raw, uint64_t now_usec, uint64_t *ret_poll_usec);
void mlg_engine_observe(MlgEngine *e, MlgVm *vm, const MlgRawStats *raw, uint64_t now_usec, uint64_t now_real_sec);
/* A message of the program inside the guest. True: decide() should be called soon. */
bool mlg_engine_observe_monitor(MlgEngine *e, MlgVm *vm, const MlgRawMonitor *raw, uint64_t now_usec, uint64_t now_real_sec);
/* The memory cgroup of a guest's QEMU. Returns how much of it the host should be asked to take now; 0: nothing. */
uint64_t mlg_engine_observe_cgroup(MlgEngine *e, MlgVm *vm, const MlgRawCgroup *raw, uint64_t now_usec);
/* A balloon-change event between two polls. */
void mlg_engine_balloon_event(MlgEngine *e, MlgVm *vm, uint64_t actual_kib, uint64_t now_usec);

/* The wall clock, for rules; never told: rules that name it do not hold. */
void mlg_engine_tell_time(MlgEngine *e, uint64_t real_sec, int32_t utc_offset_sec);
/* Returns the number of moves, *ret points into the engine. */
size_t mlg_engine_decide(MlgEngine *e, uint64_t now_usec, const MlgMove **ret);
/* Somebody suffers, and waits for memory that is not free, as of the last decision. */
bool mlg_engine_is_urgent(const MlgEngine *e);
/* The answer to one move. */
void mlg_engine_answer(MlgEngine *e, MlgVm *vm, int r, uint64_t now_usec);

void mlg_engine_pause(MlgEngine *e, MlgVm *vm, bool paused); /* vm NULL: all */
/* -ERANGE: outside [floor, ceiling]; -EOPNOTSUPP: the guest is left alone for good (vm->why). kib 0: end the
 * hold. */
int mlg_engine_set_manual(MlgEngine *e, MlgVm *vm, uint64_t kib, uint64_t until_usec);

/* -EAGAIN: not enough is known yet; -ENOSPC: could never be met; -E2BIG: too many reservations. */
int mlg_engine_reserve(MlgEngine *e, const MlgReservation *r);
/* One of an earlier run: it was granted then, nothing is checked but the number. */
int mlg_engine_restore_reservation(MlgEngine *e, const MlgReservation *r);
bool mlg_engine_release(MlgEngine *e, uint64_t id);
size_t mlg_engine_reservations(const MlgEngine *e, const MlgReservation **ret);
/* How much of the i-th one's room is there. */
uint64_t mlg_engine_reservation_room_kib(const MlgEngine *e, size_t i);
/* Settles reservations; call after decide(). `known`: what the guests have is known as of now; else they can only end. */
void mlg_engine_settle_reservations(MlgEngine *e, uint64_t now_usec, bool known, MlgReservationFn fn, void *userdata);

/* Proposals of guests with Mode=advise, see memlego/proposal.h. */
typedef void (*MlgProposalFn)(const MlgVm *vm, const MlgProposal *p, MlgProposalEvent event, void *userdata);
/* Makes and ends them; call after decide(). */
void mlg_engine_settle_proposals(MlgEngine *e, uint64_t now_usec, MlgProposalFn fn, void *userdata);
/* The guest it is about; NULL: there is none of this id, or not any more. */
MlgVm *mlg_engine_find_proposal(const MlgEngine *e, uint64_t id);
void mlg_engine_approve(MlgEngine *e, MlgVm *vm, uint64_t now_usec); /* the move comes with the next turn */
void mlg_engine_reject(MlgEngine *e, MlgVm *vm, uint64_t now_usec);  /* it is gone; also what was approved and is not done */
/* Nobody (vm NULL), or this guest, needs approval until then; 0: from now on. What was proposed stays. */
void mlg_engine_allow(MlgEngine *e, MlgVm *vm, uint64_t until_usec);
uint64_t mlg_engine_allowed_until_usec(const MlgEngine *e, const MlgVm *vm, uint64_t now_usec); /* 0: not */

/* What became of the last ones, for those who ask too late. */
#define MLG_PROPOSAL_ENDS_MAX 256
typedef struct MlgProposalEnd {
        uint64_t id; /* 0: none */
        MlgProposalEvent how;
        char uuid[MLG_UUID_LEN + 1];
} MlgProposalEnd;
const MlgProposalEnd *mlg_engine_proposal_end(const MlgEngine *e, uint64_t id);
/* Ids go on from there: none is used twice, across runs too. */
void mlg_engine_set_last_proposal(MlgEngine *e, uint64_t id);
uint64_t mlg_engine_last_proposal(const MlgEngine *e);

/* Memory that guests share by pipes, an account of the ledger beside theirs. `*charge_kib` is one group's, kept by the caller.
 * A grant gives as much as there is room for and returns the new charge; what is a fact is booked. */
uint64_t mlg_engine_grant_pipe(MlgEngine *e, uint64_t *charge_kib, uint64_t to_kib);
void mlg_engine_book_pipe(MlgEngine *e, uint64_t *charge_kib, uint64_t to_kib);
/* How much of it, and of what is lent, is in the host's memory now. Guests' shared_kib is the caller's to set, too. */
void mlg_engine_tell_shared(MlgEngine *e, uint64_t shared_kib);

/* Memory that guests are lent to swap into (engine-lend.c), another account. The service says before each decision how much
 * would be taken, in all, and is told after it how much may be lent, in all: what is beyond that is to be called back. UINT64_MAX:
 * nothing was decided yet. */
void mlg_engine_wish_lent(MlgEngine *e, uint64_t kib);
uint64_t mlg_engine_lend_target_kib(const MlgEngine *e);
uint64_t mlg_engine_lend(MlgEngine *e, uint64_t *charge_kib, uint64_t to_kib); /* as grant_pipe(), within the target */
void mlg_engine_book_lent(MlgEngine *e, uint64_t *charge_kib, uint64_t to_kib);

/* For display. Fields that the engine does not know (uri, connected, polls...) are left alone. */
void mlg_engine_host_status(const MlgEngine *e, MlgHostStatus *ret);
void mlg_engine_guest_status(const MlgEngine *e, const MlgVm *vm, uint64_t now_usec, MlgGuestStatus *ret);
const MlgLedger *mlg_engine_ledger(const MlgEngine *e);
