/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Settings: what an operator may decide, as plain values. Made by service/config.c, read by the core.
 *
 * A MlgAmount is either an absolute size or a part of something larger (of the host's memory for [Host], of
 * the guest's maximum for [Guest]); mlg_amount_resolve() makes KiB of it when the larger thing is known. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/status.h"

typedef struct MlgAmount {
        uint64_t kib;      /* used when permille is 0; MLG_AMOUNT_MAX: all of it */
        uint32_t permille; /* 1..1000 */
} MlgAmount;

#define MLG_AMOUNT_MAX UINT64_MAX
#define MLG_AMOUNT_KIB(k) ((MlgAmount) { .kib = (k) })
#define MLG_AMOUNT_PERMILLE(p) ((MlgAmount) { .permille = (p) })

uint64_t mlg_amount_resolve(MlgAmount a, uint64_t whole_kib);

typedef struct MlgHostSettings {
        char policy[32];              /* Policy= */
        MlgAmount reserve;            /* Reserve=: kept for the host itself */
        MlgAmount guest_memory;       /* GuestMemory=: upper limit for all guests together */
        uint64_t poll_usec;           /* PollIntervalSec= */
        uint64_t move_poll_usec;      /* MovePollIntervalSec=: while a balloon moves */
        uint64_t stuck_usec;          /* StuckSec= */
        uint64_t foreign_hold_usec;   /* ManualGraceSec= */
        uint64_t proposal_usec;       /* ProposalSec= */
        uint32_t pressure_full_centi; /* PressureLimit=: host PSI "full" avg10 from which on no surplus is shared */
} MlgHostSettings;

typedef struct MlgGuestSettings {
        MlgMode mode;               /* Mode= */
        MlgMonitorMode monitor;     /* Monitor= */
        MlgReclaimMode reclaim;     /* Reclaim= */
        MlgAmount floor;            /* Floor= */
        MlgAmount ceiling;          /* Ceiling= */
        uint32_t shares;            /* Shares=, 1..10000 */
        int32_t priority;           /* Priority=, -100..100 */
        MlgAmount cushion;          /* Cushion=: at least this much usable; a part is of the guest's need */
        uint32_t cushion_permille;  /* CushionRatio=: at least this part of the need */
        char predictor[32];         /* Predictor= */
        uint64_t horizon_usec;      /* HorizonSec=: how far the forecast looks ahead */
        uint32_t shrink_permille;   /* ShrinkRate=: of the maximum per second, when nobody is in need */
        uint32_t urgent_permille;   /* UrgentShrinkRate=: the same, when others suffer */
        uint32_t grow_permille;     /* GrowRate=: when the guest does not suffer; relief has no limit */
        uint32_t dead_band_permille;/* DeadBand=: of the maximum; smaller differences are not acted upon */
        uint64_t cool_down_usec;    /* CoolDownSec=: no shrink so soon after pressure */
        uint64_t settle_usec;       /* SettleSec=: no shrink so soon after its start */
        uint64_t rules;             /* [Rule] sections that are about it: bits of their places in MlgRules */
} MlgGuestSettings;

/* Compiled-in defaults, with the reason of each value at its place in settings.c. */
void mlg_host_settings_default(MlgHostSettings *ret);
void mlg_guest_settings_default(MlgGuestSettings *ret);
