/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Proposals: moves that wait for a person's word (Mode=advise), as plain values.
 *
 * A proposal is what the plan would do with one guest, if it were allowed to. Its states:
 *
 *   open      it waits for an answer, until expires_usec; the guest stays as it is
 *   approved  the guest is moved towards to_kib as any other would be, through guard and ledger, and never beyond it nor
 *             further than the plan still wants; until it is there, or expires_usec, counted anew from the approval
 *   ended     it is gone; its id is never used again
 *
 * Invariants: a guest has at most one; its target, direction and reason never change, so that what is approved is
 * what was read: where the plan wants something materially different, the proposal is superseded by another one; memory
 * that waits for approval is in nobody else's plan. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/plan.h"
#include "memlego/sample.h"

/* What happens to one, in this order at most: proposed, approved, one of the others. */
typedef enum MlgProposalEvent {
        MLG_PROPOSAL_PROPOSED,
        MLG_PROPOSAL_APPROVED,
        /* it ended: */
        MLG_PROPOSAL_APPLIED,    /* approved, and done: the guest's target is there, or as near as is wanted by now */
        MLG_PROPOSAL_FAILED,     /* approved, and the hypervisor refused it */
        MLG_PROPOSAL_REJECTED,
        MLG_PROPOSAL_SUPERSEDED, /* by another one of the same guest */
        MLG_PROPOSAL_WITHDRAWN,  /* it is not wanted any more, or the guest is gone, or needs no approval now */
        MLG_PROPOSAL_EXPIRED,    /* nobody answered, or it could not be done in time */
        _MLG_PROPOSAL_EVENT_MAX,
} MlgProposalEvent;

typedef struct MlgProposal {
        uint64_t id;             /* 0: there is none */
        bool approved;
        uint64_t from_kib;       /* the guest's target when it was proposed */
        uint64_t to_kib;
        MlgReason why;
        MlgPressure pressure;    /* of the guest, then */
        /* What the effect is estimated from; as of refreshed_usec. */
        uint64_t actual_kib, usable_kib, need_kib, cushion_kib;
        char for_guest[MLG_UUID_LEN + 1]; /* who waits most for what this one gives; empty: nobody in particular */
        uint64_t created_usec, refreshed_usec, expires_usec; /* CLOCK_MONOTONIC */
} MlgProposal;

typedef struct MlgProposalStatus {
        MlgProposal proposal;
        char uuid[MLG_UUID_LEN + 1], name[MLG_NAME_MAX + 1];
        char for_name[MLG_NAME_MAX + 1]; /* of proposal.for_guest */
} MlgProposalStatus;

/* Who gave an answer: a client of the bus. */
typedef struct MlgProposalVoter {
        uint32_t uid;
        char sender[64]; /* its unique name on the bus */
} MlgProposalVoter;

const char *mlg_proposal_event_to_string(MlgProposalEvent event); /* "superseded": stable, for programs */
/* What would be usable for the guest's programs afterwards. */
uint64_t mlg_proposal_usable_after_kib(const MlgProposal *p);
/* The expected effect, for people; g_free(). `for_name` may be empty. */
char *mlg_proposal_effect(const MlgProposal *p, const char *for_name);
