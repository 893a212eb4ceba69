/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine, private: what the parts of the engine share.
 *
 *   engine.c         the table of guests, observation, and the turn
 *   reservations.c   room for guests about to start
 *   engine-status.c  what is shown of it
 * Nobody else includes it. */
#pragma once

#include "core/engine.h"

/* Grows are served in this order, shrinks (and those that stay) before all of them. */
typedef enum Rank { RANK_SHRINK, RANK_CRITICAL, RANK_WARNING, RANK_MANUAL, RANK_OTHER, _RANK_MAX } Rank;

typedef struct Guarded {
        MlgStep step;
        Rank rank;
} Guarded;

struct MlgEngine {
        MlgHostSettings settings;
        bool dry_run, paused;

        GPtrArray *vms;          /* MlgVm*, in the order of their appearance */
        GHashTable *by_uuid;     /* uuid -> MlgVm* (not owned) */

        const MlgPolicyOps *policy;
        void *policy_priv;
        uint64_t decided_usec;   /* when the policy was asked last */
        uint64_t started_usec;   /* when a decision could first have been made */

        MlgRawHost host;
        bool has_host, host_is_new; /* new: not yet used for a budget */
        bool facts_are_new;      /* the budget of this turn is made of a new reading */
        uint64_t by_fact_kib;    /* budget by what is there in fact, as of the last reading of the host */
        unsigned int short_readings; /* in a row */
        MlgLedger ledger;
        MlgReservation reservations[MLG_RESERVATIONS_MAX];
        size_t n_reservations;
        uint64_t shortage_kib;
        bool host_short;         /* the host has less left than its reserve, and guests more than there is for them */
        bool urgent, waiting;    /* as of the last decide(): somebody suffers and waits for room; a grow waits for room */

        /* One entry per guest each, sized when guests appear. */
        MlgVmView *views;
        MlgStep *steps;          /* what the policy wished last */
        MlgStep *wishes;         /* the same after manual targets and give-backs */
        Guarded *guarded;        /* what the guard made of the wishes */
        MlgMove *moves;
        size_t capacity;
};

/* engine.c */
bool mlg_engine_all_polled(const MlgEngine *e); /* what each running guest has is known */
void mlg_engine_take_budget(MlgEngine *e);

/* reservations.c */
void mlg_reservations_book(MlgEngine *e);       /* what they keep free, anew */
void mlg_reservations_pass_room_to(MlgEngine *e, const MlgVm *vm);
bool mlg_reservations_wait(const MlgEngine *e); /* one of them waits for its room */
