/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Status: what memlegod shows of itself, as plain values (D-Bus, memlegoctl, dumps are made from these). */
#pragma once

#include <stdbool.h>

#include "memlego/plan.h"
#include "memlego/sample.h"

/* Life of a guest inside the engine; what is allowed in each state. */
typedef enum MlgVmState {
        MLG_VM_NEW,     /* seen, not enough reports yet: observed only */
        MLG_VM_MANAGED, /* plans may name it; at most one request in flight */
        MLG_VM_HELD,    /* for now left alone, the reason says why; comes back by itself */
        MLG_VM_ALONE,   /* left alone for good: by its nature, or by Mode= */
        _MLG_VM_STATE_MAX,
} MlgVmState;

typedef enum MlgMode {
        MLG_MODE_AUTO,    /* balanced */
        MLG_MODE_ADVISE,  /* the same, but each move is proposed, and waits for approval */
        MLG_MODE_OBSERVE, /* sampled and shown, never moved */
        MLG_MODE_OFF,     /* not even its statistics are turned on */
        _MLG_MODE_MAX,
} MlgMode;

/* Is the program inside the guest listened to? */
typedef enum MlgMonitorMode {
        MLG_MONITOR_MODE_AUTO,   /* where the guest has a channel for it */
        MLG_MONITOR_MODE_ATTACH, /* and a running guest that has none gets one */
        MLG_MONITOR_MODE_AGENT,  /* and while nobody talks there, the QEMU guest agent is asked */
        MLG_MONITOR_MODE_OFF,
        _MLG_MONITOR_MODE_MAX,
} MlgMonitorMode;

/* May the host take memory of a guest that has no device to be moved by? */
typedef enum MlgReclaimMode {
        MLG_RECLAIM_MODE_OFF,
        MLG_RECLAIM_MODE_CGROUP, /* by its QEMU's memory cgroup */
        _MLG_RECLAIM_MODE_MAX,
} MlgReclaimMode;

/* The program inside the guest, as its channel shows it. */
typedef enum MlgMonitorLink {
        MLG_MONITOR_LINK_NONE,    /* the guest has no channel for it, or Monitor=off */
        MLG_MONITOR_LINK_WAITING, /* a channel, and nobody talks (yet, or any more) */
        MLG_MONITOR_LINK_TALKS,
        MLG_MONITOR_LINK_REFUSED, /* left alone for a while: what came was no protocol of ours */
        MLG_MONITOR_LINK_AGENT,   /* nobody talks; the QEMU guest agent answers instead */
        _MLG_MONITOR_LINK_MAX,
} MlgMonitorLink;

/* One decision about one guest, with its inputs; kept in a ring for `explain`. Repeated identical outcomes
 * are folded into one record with a count. */
typedef struct MlgDecision {
        uint64_t at_usec;       /* CLOCK_MONOTONIC of the last time */
        uint64_t first_at_usec; /* and of the first */
        uint32_t repeated;      /* how often in a row, >= 1 */
        MlgVmState state;
        MlgTrust trust;
        MlgPressure pressure;
        uint64_t actual_kib, used_kib, usable_kib;
        uint64_t need_kib, error_kib, cushion_kib;
        uint64_t from_kib;      /* target before */
        uint64_t wanted_kib;    /* what the policy wanted; 0: no wish */
        MlgReason wanted_why;
        uint64_t to_kib;        /* what was asked of the hypervisor; equal to from_kib: no move */
        MlgReason why;          /* last word: of policy, guard or ledger */
        int result;             /* 0 accepted; 1 not yet answered; -errno; 2 nothing was asked */
} MlgDecision;

#define MLG_DECISIONS_MAX 8 /* kept per guest */

#define MLG_RULE_NAMES_MAX 2047 /* 64 rules of 31 letters, with blanks between them */

/* A rule that holds for a guest. */
typedef struct MlgRuleStatus {
        char name[32];
        char origin[512];    /* "policy.d/50-web.policy:12" */
        char settings[1024]; /* "Floor=2G Priority=20": those that count; of others a later rule said more */
} MlgRuleStatus;

typedef struct MlgGuestStatus {
        char uuid[MLG_UUID_LEN + 1];
        char name[MLG_NAME_MAX + 1];
        char labels[MLG_LABELS_MAX + 1];
        char predictor[72];    /* of one that follows others: "auto (context)" */
        char rules[MLG_RULE_NAMES_MAX + 1]; /* that hold for it, with blanks between them */
        MlgVmState state;
        MlgReason reason;      /* of the state if it is left alone, else of the last decision */
        MlgRunState run_state;
        MlgMode mode;
        MlgTrust trust;
        MlgPressure pressure;
        MlgSource source;      /* of the sizes */
        MlgMonitorLink monitor;
        MlgActuator actuator;
        bool paused;
        bool has_balloon, autodeflate, free_page_reporting, vfio, locked, hugepages;
        uint64_t actual_kib, target_kib, maximum_kib, floor_kib, ceiling_kib;
        uint64_t used_kib, usable_kib, unused_kib, caches_kib, rss_kib;
        uint64_t need_kib, error_kib, cushion_kib;
        uint64_t swap_in_kib_per_sec, swap_out_kib_per_sec, major_faults_per_sec;
        bool knows_stalls, knows_cold, knows_oom; /* the fields that follow, two and three, and one and one */
        uint32_t stall_some_permille, stall_full_permille;
        uint64_t refault_kib_per_sec, cold_kib, oom_kills;
        bool knows_stack;         /* the five fields that follow: of securestack.ko, by the guest's own words */
        uint64_t stack_calls, stack_held_bytes, stack_refused, stack_violations; /* the last: of all kinds */
        uint64_t stack_violation_kinds[_MLG_STACK_VIOLATION_MAX];
        uint64_t last_alarm_usec; /* CLOCK_MONOTONIC; 0: never */
        bool knows_cgroup;        /* the four fields that follow */
        uint64_t cgroup_kib;      /* what its QEMU's memory cgroup has */
        uint64_t cgroup_swap_kib; /* and what is swapped out of it */
        uint64_t reclaim_asked_kib; /* all that the host was asked to take so far; some of it came back */
        uint64_t reclaim_paused_until_usec; /* CLOCK_MONOTONIC; nothing is taken until then; 0: it may be */
        uint64_t sample_age_usec; /* UINT64_MAX: never reported */
        uint64_t last_move_usec;  /* CLOCK_MONOTONIC; 0: never moved */
        uint64_t hold_until_usec; /* of a manual target; 0: none */
        uint64_t proposal_id;     /* what waits for approval, or is approved and not done; 0: nothing */
        uint64_t allowed_until_usec; /* it needs no approval until then; 0: it does, or never did */
        uint32_t shares;
        int32_t priority;
        uint64_t moves_tried, moves_accepted, moves_failed;
        uint64_t moved_kib;       /* sum of all accepted changes */
        uint64_t forecasts;       /* held against what came */
        uint64_t forecast_misses; /* of these: demand exceeded need plus cushion */
        uint64_t learned_usec;    /* how long the predictor has learned, in earlier runs of the daemon, too */
} MlgGuestStatus;

typedef struct MlgReservationStatus {
        uint64_t id;
        uint64_t kib;
        uint64_t room_kib;     /* how much of it is there already; == kib: ready */
        uint64_t expires_usec; /* CLOCK_MONOTONIC */
        char owner[64];        /* unique bus name of who asked */
} MlgReservationStatus;

/* A predictor or policy from outside. */
typedef struct MlgPluginStatus {
        char name[32];
        const char *kind;  /* "predictor", "policy"; "unknown" of some that were refused */
        const char *state; /* "loaded", "used"; "refused": when it was to be loaded; "off": it misbehaved */
        char file[512];
        char why[240];     /* of the last two */
} MlgPluginStatus;

/* The host has less memory left than its reserve, and guests are cut below their needs for it. */
typedef enum MlgAlarm {
        MLG_ALARM_NONE,
        MLG_ALARM_SHORT,     /* guests give, by priority, down to their floors */
        MLG_ALARM_EXHAUSTED, /* and what they can give is not enough */
        _MLG_ALARM_MAX,
} MlgAlarm;

typedef struct MlgHostStatus {
        char policy[32];
        char uri[256];
        bool connected, dry_run, paused;
        uint64_t now_usec;       /* CLOCK_MONOTONIC, to make ages of the times here */
        uint64_t total_kib, available_kib;
        uint64_t reserve_kib;
        uint64_t budget_kib;     /* what guests and reservations may have together */
        uint64_t charged_kib;    /* what guests hold, or were promised */
        uint64_t pipes_kib;      /* of these, by memory that they share (MemPipe) */
        uint64_t lent_kib;       /* and by memory that they are lent to swap into (MemFlex) */
        uint64_t reserved_kib;   /* by reservations */
        uint64_t free_kib;       /* budget - charged - reserved, 0 when negative */
        uint64_t shortage_kib;
        MlgAlarm alarm;
        uint64_t alarm_since_usec; /* CLOCK_MONOTONIC; 0: there is none */
        uint64_t missing_kib;    /* of the reserve; while there is an alarm */
        uint64_t givable_kib;    /* that guests may still be asked for; the same */
        uint32_t psi_some_avg10_centi, psi_full_avg10_centi;
        bool have_psi;
        bool have_zswap, have_ksm, knows_others; /* the fields that follow: two, two, and two */
        uint64_t zswap_kib, zswapped_kib;
        uint64_t ksm_saved_kib, ksm_shared_kib;
        uint64_t resident_kib;   /* by the QEMU processes of all guests */
        uint64_t others_kib;     /* used, and neither theirs nor a cache nor of a pool */
        uint64_t swap_total_kib, swap_used_kib;
        uint64_t hugetlb_kib, hugetlb_free_kib;
        uint32_t n_guests, n_managed;
        uint32_t n_proposals;    /* that wait for approval */
        uint64_t allowed_until_usec; /* nobody needs approval until then; 0: those with Mode=advise do */
        uint64_t polls, polls_late, decisions, moves_accepted, moves_failed;
        uint64_t last_poll_usec; /* how long the last poll took */
        uint64_t last_decide_usec;
} MlgHostStatus;

const char *mlg_vm_state_to_string(MlgVmState s);
const char *mlg_alarm_to_string(MlgAlarm a);
const char *mlg_monitor_link_to_string(MlgMonitorLink l);
const char *mlg_mode_to_string(MlgMode m);
int mlg_mode_from_string(const char *s, MlgMode *ret);
const char *mlg_monitor_mode_to_string(MlgMonitorMode m);
int mlg_monitor_mode_from_string(const char *s, MlgMonitorMode *ret);
const char *mlg_reclaim_mode_to_string(MlgReclaimMode m);
int mlg_reclaim_mode_from_string(const char *s, MlgReclaimMode *ret);
