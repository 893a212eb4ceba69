/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Engine rig: an engine on a simulated host, in simulated time. After each turn the books are checked, whatever the test
 * is about. */
#pragma once

#include "core/engine.h"
#include "sim/guest.h"

#define GIB (1024 * SIM_MIB)

/* What the hypervisor will answer. */
typedef struct Answer {
        char uuid[MLG_UUID_LEN + 1];
        uint32_t instance;
        int r;
        uint64_t due_usec;
} Answer;

/* What was told about a proposal. */
typedef struct Told {
        char uuid[MLG_UUID_LEN + 1];
        MlgProposal proposal;
        MlgProposalEvent event;
} Told;

typedef struct Rig {
        SimHost sim;
        MlgHostSettings host;
        MlgGuestSettings guest;
        MlgEngine *e;
        MlgRawHost raw_host;
        uint64_t now_usec;
        GArray *answers;      /* Answer: on their way */
        GArray *told;         /* Told: all of them */
        GHashTable *moves_of; /* uuid -> number of moves */
        const MlgMove *moves; /* of the last turn */
        size_t n_moves;
        uint64_t n_turns, n_moves_all, turn_usec, poll_usec; /* poll_usec: of the last whole poll */
        unsigned int refuse_percent, lose_percent;           /* of requests */
        uint64_t seed, answer_usec;
        bool dry_run;

        /* The host between polls, and what else is on it */
        bool watches;                              /* it is read besides polls, as the service does */
        uint64_t watch_usec, hurry_usec, look_usec;
        uint64_t own_kib_per_sec, own_most_kib;    /* the host's own use grows */
        uint64_t ksm_saved_kib;
        uint64_t pipe_kib;                         /* charged to a group that shares memory */
        uint64_t lent_kib;                         /* and lent to guests that swap */
        MlgRawHost watched;
} Rig;

Rig *rig_new(uint64_t total_kib, bool dry_run);
void rig_free(Rig *t);
/* The daemon ends without warning and starts again: of its guests it knows what it wrote down, no more. */
void rig_restart(Rig *t);

SimGuest *rig_add(Rig *t, uint64_t maximum_kib, uint64_t demand_kib);
MlgVm *vm_of(const Rig *t, const SimGuest *g);
unsigned int moves_of(const Rig *t, const SimGuest *g);
const MlgDecision *newest(const Rig *t, const SimGuest *g);
void reconfigure_guest(const Rig *t, const SimGuest *g, const MlgGuestSettings *s);

void check_books(const Rig *t);
void deliver(Rig *t);                     /* answers that are due */
void carry_out(Rig *t, const MlgMove *m); /* as the hypervisor would */
void turn(Rig *t);
void run(Rig *t, uint64_t sec); /* turns until `sec` seconds have passed */
