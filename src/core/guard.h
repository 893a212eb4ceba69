/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guard: the last word on every step of every policy.
 *
 * Invariants on return, whatever was wished:
 *  (1) a target inside [floor, ceiling] stays inside; one outside moves towards them or is left as it is;
 *  (2) no shrink of a guest that suffers (with a policy that probes: that lacks memory in fact) or starts, nor within its cool-down, nor on an old report, unless the host
 *      itself is short of memory;
 *  (3) no shrink beyond the rate: `urgent` picks which of the two;
 *  (4) no grow beyond its rate, unless the guest suffers;
 *  (5) a difference inside the dead band is not acted upon, unless the guest suffers and gains, or gives
 *      while `urgent`;
 *      one below MLG_LEAST_STEP_KIB never;
 *  (6) what changes in steps of a granule moves to whole ones, and less far rather than farther.
 * The host's limit is the ledger's business. Pure: same input, same output; never logs, never allocates. */
#pragma once

#include <stdbool.h>

#include "core/settings.h"
#include "memlego/plan.h"

/* Differences below this are not worth a call, whatever the guest's size: the balloon's own accuracy. */
#define MLG_LEAST_STEP_KIB UINT64_C(4096)

typedef struct MlgGuardInput {
        const MlgGuestSettings *settings;
        uint64_t now_usec;
        uint64_t target_kib;         /* as it is */
        uint64_t maximum_kib, floor_kib, ceiling_kib;
        uint64_t base_kib, granule_kib; /* it can have base + n * granule; granule 0: any size */
        MlgPressure pressure;
        uint64_t suffered_usec;      /* last time it suffered; 0: never */
        uint64_t shrunk_usec;        /* last time it was told to shrink; 0: never */
        uint64_t grown_usec;
        bool unmissed;               /* the policy probes, and it lacks nothing: pressure is no reason not to shrink it */
        bool settling;               /* started less than SettleSec ago */
        bool urgent;                 /* others suffer, or somebody waits for reserved room */
        bool outdated;               /* its last report is too old by now */
        bool host_short;             /* the host has less left than its reserve */
} MlgGuardInput;

/* Rule (2) by itself: would a shrink be refused, whatever its size? MLG_REASON_NONE: no. */
MlgReason mlg_guard_no_shrink(const MlgGuardInput *in);

/* Smaller differences are acted upon by (5) alone. */
uint64_t mlg_guard_dead_band_kib(const MlgGuardInput *in);

/* The step that may be taken; its target equals in->target_kib when none may, and the reason says why. */
MlgStep mlg_guard_step(const MlgGuardInput *in, MlgStep wish);
