/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Policies: algorithms that share the host's memory among its guests.
 *
 * A policy is pure: it gets a snapshot of the host and of all guests, and fills in one step per guest. It
 * does not need to care for rates, dead bands, the order of moves or the host's limit: the guard and the
 * ledger have the last word on every step. It should keep floors and ceilings, and leave guests that are not
 * `movable` alone (their step is ignored). State: `priv_size` bytes for the host and `vm_priv_size` bytes
 * per guest (VmView.priv), both zeroed at first, owned by the engine. */
#pragma once

#include <stddef.h>

#include "memlego/plan.h"
#include "memlego/predictor.h"
#include "memlego/sample.h"

#define MLG_POLICY_ABI 1

/* The host as a policy sees it. All guests together may get `budget_kib`. */
typedef struct MlgHostView {
        uint64_t now_usec;
        uint64_t total_kib;     /* memory of the host, or GuestMemory= where that is less */
        uint64_t available_kib; /* of it: not used by anybody (MemAvailable, or what GuestMemory= leaves) */
        uint64_t budget_kib;    /* what all guests' balloon targets may sum up to, reservations already taken off */
        uint64_t fixed_kib;     /* part of the budget that guests hold which are not movable */
        bool stalls;            /* the host itself is under memory pressure (PressureLimit=) */
        bool is_short;          /* the host has less left than its reserve: even needs may be cut, down to the floors */
} MlgHostView;

/* One guest as a policy sees it. */
typedef struct MlgVmView {
        void *priv;             /* this policy's own state for this guest; NULL if vm_priv_size is 0 */
        bool movable;           /* false: leave it alone, its memory is in fixed_kib */
        bool sampled;           /* a new report of the guest arrived since the last decision */
        bool shrinkable;        /* false: the guard would refuse to shrink it now (it suffers, or suffered or started a short while ago) */
        MlgPressure pressure;
        uint64_t actual_kib;    /* what it has now */
        uint64_t target_kib;    /* what it was last told to have */
        uint64_t maximum_kib;
        uint64_t floor_kib;     /* floor <= ceiling <= maximum */
        uint64_t ceiling_kib;
        uint64_t need_kib;      /* forecast demand, without cushion */
        uint64_t error_kib;     /* the forecast's typical error */
        uint64_t cushion_kib;   /* to be kept usable on top of the need */
        uint64_t used_kib;      /* demand of the last report */
        uint64_t usable_kib;
        uint64_t unused_kib;
        uint64_t swap_in_kib_per_sec;
        bool knows_stalls;      /* a program inside the guest tells the next three */
        uint32_t stall_some_permille; /* part of the time in which some task waited for memory */
        uint32_t stall_full_permille; /* all of them did */
        uint64_t refault_kib_per_sec;
        bool knows_cold;        /* and this one, where its kernel keeps ages */
        uint64_t cold_kib;      /* memory not touched for minutes */
        uint32_t shares;        /* weight when memory is shared out, 1..10000 */
        int32_t priority;       /* higher ones are served first when memory is short */
} MlgVmView;

typedef struct MlgPolicyOps {
        uint32_t abi;            /* MLG_POLICY_ABI of the header it was built with */
        uint32_t size;           /* sizeof(MlgPolicyOps) then */
        const char *name;        /* value of Policy=: [a-z0-9-]+ */
        const char *description; /* one line for people */
        size_t priv_size;        /* <= MLG_POLICY_PRIV_MAX */
        size_t vm_priv_size;     /* <= MLG_POLICY_VM_PRIV_MAX */
        uint64_t interval_usec;  /* least time between two decisions; 0: decide at each poll */

        /* Required. plan->steps[] has n_vms entries that are preset to "hold". 0 or -errno (nothing is
         * done). */
        int (*decide)(void *priv, const MlgHostView *host, const MlgVmView *vms, size_t n_vms, MlgPlan *plan);

        /* It takes memory from guests that have little usable left, if they do not lack any: then the guard protects
         * only those that read back from swap or stall, and those with nothing left that tell no stalls. */
        bool probes;
} MlgPolicyOps;

#define MLG_POLICY_PRIV_MAX 65536
#define MLG_POLICY_VM_PRIV_MAX 1024
