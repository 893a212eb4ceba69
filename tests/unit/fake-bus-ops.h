/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fake service: what the bus asks and changes, as plain fields a test sets and reads. */
#pragma once

#include "bus/bus.h"

#define FAKE_GUESTS_MAX 8

typedef struct FakeService {
        MlgBus *bus; /* for answers that come from within a call; may be NULL */
        MlgHostStatus host;
        MlgGuestStatus guests[FAKE_GUESTS_MAX];
        size_t n_guests;
        MlgDecision decisions[MLG_DECISIONS_MAX];
        size_t n_decisions;
        MlgReservationStatus reservations[4];
        size_t n_reservations;
        MlgProposalStatus proposals[2];
        size_t n_proposals;
        char *dump, *config;
        bool pair_goes, no_group_b; /* of the groups that share memory: "group-a" always, "group-b" with a pair */

        /* what to answer */
        int fail_code;          /* an MlgError + 1: all changes fail with it */
        bool settle_at_once;    /* reserve() settles before it returns */
        uint64_t settle_max_kib; /* the same, for reservations up to this */

        /* what was asked */
        unsigned int n_reloads, n_pauses, n_targets, n_reserves, n_releases;
        char last_uuid[MLG_UUID_LEN + 1]; /* "" for NULL */
        bool last_paused;
        uint64_t last_kib, last_usec, last_released;
        char last_owner[64];
        char answers[64]; /* the last answer to a proposal: "approve 17 uid 0" */
        uint64_t last_id;
} FakeService;

extern const MlgBusOps fake_bus_ops;

/* Two guests, "web-1" and "db", a decision each way, and a reservation. */
void fake_service_init(FakeService *f);
