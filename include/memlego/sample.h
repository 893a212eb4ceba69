/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Samples: what is known about guests and the host, as plain values.
 *
 * Raw values (MlgRawStats, MlgRawHost) are what an adapter read, not yet believed. A MlgSample is a raw
 * value that core/sample.c checked for range and sense, with its age and the trust it deserves.
 * Units: memory in KiB, time in microseconds; `now` is always CLOCK_MONOTONIC and is passed in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define MLG_UUID_LEN 36
#define MLG_NAME_MAX 255  /* longest guest name kept; longer ones are cut (libvirt's own limit is the file system's) */
#define MLG_LABELS_MAX 255

/* State of the virtual machine, as the hypervisor says it. */
typedef enum MlgRunState {
        MLG_RUN_UNKNOWN,
        MLG_RUN_RUNNING,
        MLG_RUN_PAUSED,
        MLG_RUN_SHUTTING_DOWN,
        MLG_RUN_OFF,     /* defined or stopped: no memory in use */
        MLG_RUN_CRASHED,
        _MLG_RUN_STATE_MAX,
} MlgRunState;

/* By what a guest's memory is changed. */
typedef enum MlgActuator {
        MLG_ACTUATOR_NONE,
        MLG_ACTUATOR_BALLOON,
        MLG_ACTUATOR_VIRTIO_MEM, /* in blocks, and never below what the guest has without such devices */
        MLG_ACTUATOR_CGROUP,     /* it is not: the host takes what the guest does not miss */
        _MLG_ACTUATOR_MAX,
} MlgActuator;

/* Bits of MlgRawStats.have: which of the fields the hypervisor delivered in this poll. */
typedef enum MlgHave {
        MLG_HAVE_RUN_STATE = 1 << 0,
        MLG_HAVE_ACTUAL = 1 << 1,
        MLG_HAVE_MAXIMUM = 1 << 2,
        MLG_HAVE_TOTAL = 1 << 3,
        MLG_HAVE_UNUSED = 1 << 4,
        MLG_HAVE_USABLE = 1 << 5,
        MLG_HAVE_CACHES = 1 << 6,
        MLG_HAVE_SWAP_IN = 1 << 7,
        MLG_HAVE_SWAP_OUT = 1 << 8,
        MLG_HAVE_MAJOR_FAULTS = 1 << 9,
        MLG_HAVE_MINOR_FAULTS = 1 << 10,
        MLG_HAVE_RSS = 1 << 11,
        MLG_HAVE_LAST_UPDATE = 1 << 12,
} MlgHave;

/* One guest in one poll, unchecked. Fields are valid only where `have` says so. */
typedef struct MlgRawStats {
        uint32_t have;            /* MlgHave */
        MlgRunState run_state;
        uint64_t actual_kib;      /* memory the guest has now, by whatever means */
        uint64_t actual_age_usec; /* how old actual_kib may be, at most */
        uint64_t heading_kib;     /* what it was told to have, by whomever; 0: not known */
        uint64_t maximum_kib;     /* memory the guest was given at start */
        uint64_t total_kib;       /* MemTotal as the guest counts it */
        uint64_t unused_kib;      /* MemFree */
        uint64_t usable_kib;      /* MemAvailable: what can be taken without pushing the guest to swap */
        uint64_t caches_kib;
        uint64_t swap_in_kib;     /* counters since boot */
        uint64_t swap_out_kib;
        uint64_t major_faults;
        uint64_t minor_faults;
        uint64_t rss_kib;         /* resident memory of the QEMU process, on the host */
        uint64_t last_update_sec; /* host wall clock of the guest's last report */
} MlgRawStats;

/* Bits of MlgRawMonitor.have: which of the fields were delivered. */
typedef enum MlgMonitorHave {
        MLG_MONITOR_SIZES = 1 << 0,    /* total, available, free */
        MLG_MONITOR_LISTS = 1 << 1,    /* active, inactive */
        MLG_MONITOR_SWAP = 1 << 2,     /* swap_in, swap_out */
        MLG_MONITOR_FAULTS = 1 << 3,   /* major_faults */
        MLG_MONITOR_REFAULTS = 1 << 4, /* refault_kib */
        MLG_MONITOR_PSI = 1 << 5,      /* psi_some_usec, psi_full_usec */
        MLG_MONITOR_OOM = 1 << 6,      /* oom_kills */
        MLG_MONITOR_COLD = 1 << 7,     /* cold_kib, cold_age_sec */
        MLG_MONITOR_SWAPPED = 1 << 8,  /* swapped_kib */
        MLG_MONITOR_SWAP_IN_TOLD = 1 << 9, /* swap_in_number, _state, _done_kib: it can swap in when told to */
        MLG_MONITOR_STACK = 1 << 10, /* stack_*: securestack.ko is loaded */
} MlgMonitorHave;

/* Of a swap-in that the host has ordered. Never reuse a number. */
typedef enum MlgSwapInState {
        MLG_SWAP_IN_NONE,
        MLG_SWAP_IN_RUNNING,
        MLG_SWAP_IN_DONE,      /* all there was */
        MLG_SWAP_IN_LIMIT,     /* as much as was ordered */
        MLG_SWAP_IN_WATERMARK, /* as much as there was room for */
        MLG_SWAP_IN_PRESSURE,  /* memory was short again */
        MLG_SWAP_IN_ABORTED,   /* somebody in the guest stopped it */
        MLG_SWAP_IN_FAILED,
        _MLG_SWAP_IN_STATE_MAX,
} MlgSwapInState;

/* What securestack.ko (memlego/securestack-abi.h) caught a program at. Never reuse a number. */
typedef enum MlgStackViolation {
        MLG_STACK_FOREIGN,  /* used another process's file */
        MLG_STACK_PLACE,    /* wanted something back by another frame, or from another place: a forged RESTORE */
        MLG_STACK_NOTHING,  /* wanted something back in a thread that has nothing protected */
        MLG_STACK_TRACED,   /* is traced since; it was ended */
        MLG_STACK_LOST,     /* cannot be given back what was protected; it was ended */
        MLG_STACK_NO_CHILD, /* wanted to adopt from a process whose child it is not */
        _MLG_STACK_VIOLATION_MAX,
} MlgStackViolation;

/* What a program inside the guest (memlego-guestd, or the QEMU guest agent) told, unchecked: all that is known as of
 * its last message. Counters are since the guest's boot. */
typedef struct MlgRawMonitor {
        uint32_t have;          /* MlgMonitorHave */
        bool alarm;             /* sent because tasks wait for memory now (a PSI trigger fired), not because time was up */
        bool slow;              /* asked of the QEMU guest agent, with seconds in between; no sizes */
        uint64_t total_kib;     /* MemTotal */
        uint64_t available_kib; /* MemAvailable */
        uint64_t free_kib;      /* MemFree */
        uint64_t active_kib, inactive_kib;
        uint64_t swap_in_kib, swap_out_kib;
        uint64_t major_faults;
        uint64_t refault_kib;   /* pages read anew soon after they were reclaimed (workingset_refault_*) */
        uint64_t psi_some_usec; /* "total" of /proc/pressure/memory: some task waited for memory */
        uint64_t psi_full_usec; /* all tasks did */
        uint64_t oom_kills;
        uint64_t cold_kib;      /* memory not touched for cold_age_sec, by the kernel's own ages (MGLRU or DAMON) */
        uint64_t cold_age_sec;
        uint64_t swapped_kib;   /* swapped out, and not in memory as well */
        uint64_t swap_in_number, swap_in_state, swap_in_done_kib; /* state: MlgSwapInState, or nonsense */
        uint64_t stack_calls, stack_held_bytes, stack_refused, stack_violations[_MLG_STACK_VIOLATION_MAX];
} MlgRawMonitor;

/* The memory cgroup of a guest's QEMU on the host, unchecked. Counters are since it was made. */
typedef struct MlgRawCgroup {
        uint64_t current_kib;  /* memory that is charged to it: of the guest, of QEMU itself, and caches of its files */
        uint64_t swap_kib;     /* swapped out of it */
        uint64_t swap_max_kib; /* the most of that; UINT64_MAX: no limit */
        uint64_t stall_usec;   /* "total" of its memory.pressure: some task waited for memory; 0 without PSI */
        uint64_t refault_kib;  /* read back after it was reclaimed */
} MlgRawCgroup;

/* Who told what is known of a guest's memory. */
typedef enum MlgSource {
        MLG_SOURCE_NONE,
        MLG_SOURCE_BALLOON, /* the balloon driver's statistics */
        MLG_SOURCE_MONITOR, /* memlego-guestd */
        _MLG_SOURCE_MAX,
} MlgSource;

/* How far a sample may be believed. Only FRESH may shrink a guest. */
typedef enum MlgTrust {
        MLG_TRUST_NONE,       /* the guest never reported */
        MLG_TRUST_FRESH,      /* recent and possible */
        MLG_TRUST_STALE,      /* the last report is too old */
        MLG_TRUST_IMPOSSIBLE, /* the report contradicts itself or the hypervisor */
        _MLG_TRUST_MAX,
} MlgTrust;

/* How much a guest suffers now. */
typedef enum MlgPressure {
        MLG_PRESSURE_NONE,
        MLG_PRESSURE_WARNING,  /* usable memory below half its cushion, or tasks wait for memory */
        MLG_PRESSURE_CRITICAL, /* nearly nothing usable, swapping in, tasks wait much, or one was killed for it */
        _MLG_PRESSURE_MAX,
} MlgPressure;

/* One guest, checked. Rates are over the time between the two last reports of the guest. */
typedef struct MlgSample {
        uint64_t at_usec;     /* when the poll was taken */
        uint64_t at_real_sec; /* the same on the wall clock (UTC): for what goes by the time of day */
        uint64_t age_usec;    /* how old the guest's report was then; UINT64_MAX: never reported */
        MlgTrust trust;
        bool is_new;          /* the guest reported since the sample before */
        MlgSource source;     /* of this sample's sizes */
        uint64_t actual_kib;
        uint64_t maximum_kib;
        uint64_t used_kib;    /* actual - usable (+ what it swapped out and now wants back): the guest's demand */
        uint64_t usable_kib;  /* MemFree where the driver knows no MemAvailable */
        bool knows_usable;
        uint64_t unused_kib;
        uint64_t caches_kib;
        uint64_t rss_kib;     /* 0: unknown */
        uint64_t swap_in_kib_per_sec;
        uint64_t swap_out_kib_per_sec;
        uint64_t major_faults_per_sec;

        /* Only where a program inside the guest tells it. */
        bool knows_stalls;
        uint32_t stall_some_permille; /* part of about the last second in which some task waited for memory */
        uint32_t stall_full_permille; /* the same: all of them */
        uint64_t refault_kib_per_sec;
        bool knows_cold;
        uint64_t cold_kib;            /* not touched for minutes, whether in use or not */
        uint64_t alarm_usec;          /* when tasks were last said to wait for memory; 0: never */
        bool knows_oom;
        uint64_t oom_kills;           /* since the guest's boot */
        uint64_t oom_usec;            /* when there was one more; 0: never */
} MlgSample;

/* The host in one poll, unchecked. */
typedef struct MlgRawHost {
        uint64_t total_kib;      /* MemTotal */
        uint64_t available_kib;  /* MemAvailable */
        uint64_t free_kib;       /* MemFree */
        uint64_t hugetlb_kib;    /* Hugetlb: all of the huge page pools */
        uint64_t hugetlb_free_kib; /* of the pool of the usual page size */
        uint64_t swap_total_kib;
        uint64_t swap_free_kib;
        bool have_zswap;
        uint64_t zswap_kib;      /* Zswap: what the compressed pool takes */
        uint64_t zswapped_kib;   /* Zswapped: what it holds */
        bool have_ksm;
        uint64_t ksm_saved_kib;  /* pages_sharing: mapped, and kept only once; comes back as use when it is written to */
        uint64_t ksm_shared_kib; /* pages_shared: what they are kept in */
        bool have_psi;
        uint32_t psi_some_avg10_centi; /* hundredths of a percent: 12.34 % is 1234 */
        uint32_t psi_full_avg10_centi;
        uint64_t psi_some_total_usec;
        uint64_t psi_full_total_usec;
} MlgRawHost;

const char *mlg_stack_violation_to_string(MlgStackViolation v); /* "place", ... */
const char *mlg_run_state_to_string(MlgRunState s);
const char *mlg_actuator_to_string(MlgActuator a);
const char *mlg_source_to_string(MlgSource s);
const char *mlg_trust_to_string(MlgTrust t);
const char *mlg_pressure_to_string(MlgPressure p);
