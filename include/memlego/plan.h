/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plans: what is decided, and why, as plain values. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Why a guest is moved, or is not. It travels with each step to the log, the bus, and `memlegoctl explain`.
 * Names and sentences: core/reason.c. New values go at the end of their group. */
typedef enum MlgReason {
        MLG_REASON_NONE,

        /* why a policy wants a target */
        MLG_REASON_DEMAND,       /* need plus cushion */
        MLG_REASON_SURPLUS,      /* need plus cushion plus a share of what is left */
        MLG_REASON_PRESSURE,     /* relief: the guest suffers */
        MLG_REASON_DONOR,        /* gives, because others need it more */
        MLG_REASON_SHORTAGE,     /* even needs cannot all be met */
        MLG_REASON_FLOOR,        /* wanted less; its floor holds it */
        MLG_REASON_CEILING,      /* wanted more; its ceiling holds it */
        MLG_REASON_MANUAL,       /* set by an operator, held for the time that was asked */
        MLG_REASON_HOST_PRESSURE,/* the host itself is short */

        /* why the guard, or the ledger, changed or stopped a step */
        MLG_REASON_SETTLED,      /* the difference is inside the dead band */
        MLG_REASON_RATE,         /* shortened by the rate limit */
        MLG_REASON_COOL_DOWN,    /* no shrink so soon after relief */
        MLG_REASON_WAIT_ROOM,    /* grow waits until other guests' shrinks are confirmed */
        MLG_REASON_IN_FLIGHT,    /* the last request is not answered yet */
        MLG_REASON_APPROVAL,     /* it waits for somebody's approval */
        MLG_REASON_REJECTED,     /* somebody rejected it a while ago */

        /* why a guest is left alone */
        MLG_REASON_NEW,          /* not enough reports yet */
        MLG_REASON_NO_STATS,     /* no balloon statistics from the guest */
        MLG_REASON_STALE,        /* statistics are too old */
        MLG_REASON_IMPOSSIBLE,   /* statistics cannot be true */
        MLG_REASON_NO_BALLOON,   /* the guest has no balloon device */
        MLG_REASON_STUCK,        /* its balloon does not follow the target */
        MLG_REASON_UNRESPONSIVE, /* its QEMU does not answer */
        MLG_REASON_NOT_RUNNING,  /* paused, off, crashed, shutting down */
        MLG_REASON_MIGRATING,
        MLG_REASON_PINNED,       /* VFIO, locked or huge pages: its memory cannot be taken */
        MLG_REASON_MODE,         /* Mode=off or Mode=observe */
        MLG_REASON_PAUSED,       /* an operator paused memlegod, or it for this guest */
        MLG_REASON_FOREIGN,      /* somebody else set its memory; respected for a while */
        MLG_REASON_REFUSED,      /* the hypervisor refused the last request */
        MLG_REASON_DRY_RUN,
        MLG_REASON_MEMORY_DEVICE,/* it has virtio-mem devices whose sizes make no sense */
        MLG_REASON_CONFIDENTIAL, /* its memory is encrypted: what its balloon holds does not become free */
        MLG_REASON_RECLAIM,      /* it has no device to be moved by; the host takes what it does not miss */
        MLG_REASON_NO_SWAP,      /* it would, but the host has no room in swap for it */
        MLG_REASON_NO_CGROUP,    /* it would, but the guest has no cgroup that can be used */
        MLG_REASON_NO_PERMISSION,/* it would, but memlegod may not ask for it */
        _MLG_REASON_MAX,
} MlgReason;
#define MLG_REASON_POLICY_LAST MLG_REASON_HOST_PRESSURE /* the last of those that a policy may give */

/* What a policy wants for one guest; target_kib 0 means "leave as it is". */
typedef struct MlgStep {
        uint64_t target_kib;
        MlgReason reason;
} MlgStep;

typedef struct MlgPlan {
        MlgStep *steps;        /* one per guest, same order as the views */
        size_t n_steps;
        uint64_t shortage_kib; /* by how much the needs exceed the budget; 0: all needs are met */
} MlgPlan;

const char *mlg_reason_to_string(MlgReason r); /* "cool-down": stable, for programs */
const char *mlg_reason_to_sentence(MlgReason r); /* for people */
