/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine, private: what the parts of the engine share.
 *
 *   engine.c         the table of guests, observation, and the turn
 *   host.c           the budget, and the host's own shortage
 *   reservations.c   room for guests about to start
 *   proposals.c      moves that wait for approval
 *   engine-lend.c    idle memory that is lent
 *   engine-rules.c   which rules hold for each guest
 *   engine-status.c  what is shown of it
 * Nobody else includes it. */
#pragma once

#include "core/engine.h"
#include "core/guard.h"

/* Grows are served in this order, shrinks (and those that stay) before all of them. */
typedef enum Rank { RANK_SHRINK, RANK_CRITICAL, RANK_WARNING, RANK_MANUAL, RANK_OTHER, _RANK_MAX } Rank;

typedef struct Guarded {
        MlgStep step;
        Rank rank;
} Guarded;

/* The host is short of memory itself. */
typedef struct MlgEmergency {
        MlgAlarm level;          /* MLG_ALARM_NONE: there is none, and the rest is 0 */
        uint64_t since_usec;
        uint64_t calm_usec;      /* since when enough has been left again */
        uint64_t incurable_usec; /* since when guests cannot give what is missing */
        uint64_t missing_kib, givable_kib;
} MlgEmergency;

struct MlgEngine {
        MlgHostSettings settings;
        MlgRules *rules;         /* NULL: none */
        uint64_t local_sec;      /* wall clock, seconds since 1970 began here; 0: not known */
        bool dry_run, paused;

        GPtrArray *vms;          /* MlgVm*, in the order of their appearance */
        GHashTable *by_uuid;     /* uuid -> MlgVm* (not owned) */

        const MlgPolicyOps *policy;
        void *policy_priv, *whole_priv; /* its memory for the sure plan, and for the whole one */
        uint64_t decided_usec;   /* when the policy was asked last */
        uint64_t started_usec;   /* when a decision could first have been made */

        MlgRawHost host;
        bool has_host, host_is_new; /* new: not yet used for a budget */
        bool facts_are_new;      /* the budget of this turn is made of a new reading */
        uint64_t by_fact_kib;    /* budget by what is there in fact, as of the last reading of the host */
        unsigned int short_readings; /* in a row, 0 to 2: less is left than the host can do without */
        bool knows_others;
        uint64_t others_kib, resident_kib; /* as of the last reading, too */
        MlgLedger ledger;
        uint64_t pipes_kib;      /* of what is charged: by pipes */
        uint64_t lent_kib;       /* of what is charged: by pools that guests swap into */
        uint64_t lend_wish_kib, lend_claim_kib, lend_target_kib; /* that would be, is planned to be, and may be lent */
        uint64_t shared_kib;     /* of pipes and pools, what is in memory */
        MlgReservation reservations[MLG_RESERVATIONS_MAX];
        size_t n_reservations;
        uint64_t shortage_kib;
        MlgEmergency emergency;
        bool host_short;         /* it lasts, and guests have more than there is for them: they are cut below their needs */
        bool urgent, waiting;    /* as of the last decide(): somebody suffers and waits for room; a grow waits for room */
        uint64_t asked_kib;      /* for those who suffer, beyond what they have; as of the last decide(), too */
        guint next_donor;        /* whose turn it is, of many of which few are needed */
        bool decided;            /* it came to its end */
        bool advised;            /* and somebody had to ask for approval */
        uint64_t allowed_until_usec; /* nobody has to until then */
        uint64_t last_proposal_id;
        MlgProposalEnd ended[MLG_PROPOSAL_ENDS_MAX]; /* ring */
        size_t next_ended;

        /* One entry per guest each, sized when guests appear. */
        MlgVmView *views;
        MlgStep *steps;          /* what the policy wished last */
        MlgStep *whole;          /* what it would wish if nobody had to ask for approval */
        MlgStep *wishes;         /* the same after manual targets and give-backs */
        Guarded *guarded;        /* what the guard made of the wishes */
        MlgMove *moves;
        size_t capacity;
};

/* engine-donors.c */
/* Of small shrinks, which the guard lets pass for the sake of somebody who suffers, only as many are left as are needed. */
void mlg_engine_spare_donors(MlgEngine *e, uint64_t now_usec);

/* engine.c */
bool mlg_engine_all_polled(const MlgEngine *e); /* what each running guest has is known */
bool mlg_engine_is_movable(const MlgVm *vm, uint64_t now_usec);
MlgGuardInput mlg_engine_guard_input(const MlgEngine *e, const MlgVm *vm, uint64_t now_usec);

/* What the guest should have at least, or holds and cannot be asked for. */
uint64_t mlg_engine_wanted_kib(const MlgVm *vm, uint64_t now_usec);

/* engine-lend.c */
uint64_t mlg_engine_claim_lent(MlgEngine *e, uint64_t now_usec); /* before the policy is asked: what its plan leaves alone */
void mlg_engine_limit_lent(MlgEngine *e);                        /* after its moves were made */

/* engine-rules.c */
void mlg_engine_judge_rules(MlgEngine *e, uint64_t now_usec);

/* host.c */
void mlg_engine_take_budget(MlgEngine *e);
/* More is charged than there is. Balloons stop some pages away from their targets, and the budget trembles: such a
 * rest is no reason to act. */
bool mlg_engine_is_overrun(const MlgEngine *e);
void mlg_engine_judge_host(MlgEngine *e, uint64_t now_usec);

/* reservations.c */
void mlg_reservations_book(MlgEngine *e);       /* what they keep free, anew */
void mlg_reservations_pass_room_to(MlgEngine *e, const MlgVm *vm);
bool mlg_reservations_wait(const MlgEngine *e); /* one of them waits for its room */

/* proposals.c */
bool mlg_proposals_must_ask(const MlgEngine *e, const MlgVm *vm, uint64_t now_usec);
uint64_t mlg_proposals_fixed_kib(const MlgVm *vm);  /* in the sure plan it has so much */
void mlg_proposals_plan(MlgEngine *e, const MlgHostView *sure); /* makes the whole plan; changes the views */
MlgStep mlg_proposals_wish(const MlgVm *vm);        /* of one that asks: what was approved, or nothing */
MlgStep mlg_proposals_stay(const MlgEngine *e, guint i, uint64_t now_usec); /* of one without approval: why it stays */
