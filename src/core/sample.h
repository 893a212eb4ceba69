/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sample: from raw statistics to something that may be believed.
 *
 * Everything here comes from a guest, and guests lie. A report is FRESH only if it is recent and possible:
 *  - recent: `last-update` changed within 2 periods + 1 s. Age is counted on our own clock from the moment
 *    the change was seen, so that steps of the wall clock do not matter; only for the first report of a
 *    guest the wall clock must serve.
 *  - possible: total <= maximum, usable and unused <= total, usable <= what the guest could have had then,
 *    counters do not run backwards, nothing beyond 2^50 KiB (unset statistics are all ones).
 *
 * Demand: used = actual - usable. Unlike MemTotal - MemAvailable this holds whether or not the driver hides
 * ballooned memory from MemTotal (deflate-on-oom). A report is older than `actual`, by as much as the time
 * since the guest was looked at before, or newer, where `actual` comes late: while the balloon moves, used is
 * only known to lie between (least actual - usable) and (most actual - usable) of that time, and the former
 * value is kept as far as it fits in between. To that time belongs the whole way that the guest was told to go,
 * if nobody has seen it since (after our own restart), or if sizes come late. Where MemTotal follows the balloon
 * it narrows all this down to nothing: it is of the same moment as usable, and differs from what the guest had
 * by what its kernel kept at boot. That is learned from reports, and never believed beyond the two ends. A guest that
 * reads back from swap also wants that: used grows by what it will read within SWAP_AHEAD_SEC at its present pace, at
 * most by what it has out there.
 *
 * Two sources: the balloon driver's statistics, and where there is one a program inside the guest (sample-monitor.c),
 * which tells more, sooner, and as of now. While the latter is recent and possible its sizes count, and the balloon's
 * reports are only noted; when it falls silent, or tells what cannot be, they count again. Both are the guest's own word,
 * so neither can harm anybody else more than the other. The QEMU guest agent (slow) tells no sizes: it only adds stalls and
 * kills to what the balloon says. */
#pragma once

#include "memlego/sample.h"

#define MLG_SAMPLE_HISTORY 16

/* What the program inside the guest told at one time. */
typedef struct MlgMonitorPoint {
        uint64_t at_usec;
        MlgRawMonitor raw;
} MlgMonitorPoint;

#define MLG_MONITOR_POINTS 8

/* What is remembered of it. */
typedef struct MlgMonitorTrack {
        MlgMonitorPoint points[MLG_MONITOR_POINTS]; /* ring */
        unsigned int next, n;
        uint64_t seen_usec;  /* last message; 0: never */
        bool possible;       /* that message was */
        bool has_sizes;      /* and told sizes */
        bool slow;           /* and came from the QEMU guest agent */
} MlgMonitorTrack;

/* What is remembered of a guest between two samples; zero-initialised. Written by mlg_sampler_take() only. */
typedef struct MlgSampler {
        bool seen;                   /* at least one report */
        bool has_base;               /* counters and used_kib below are of a possible report */
        uint32_t base_have;          /* MlgHave of that report */
        uint64_t update_sec;         /* last-update of the newest report */
        uint64_t update_seen_usec;   /* when it was first seen */
        uint64_t swap_in_kib, swap_out_kib, major_faults;
        uint64_t used_kib;
        MlgMonitorTrack monitor;
        MlgSample last;
        uint64_t history_at_usec[MLG_SAMPLE_HISTORY]; /* ring of (time, actual) of all polls */
        uint64_t history_kib[MLG_SAMPLE_HISTORY];
        unsigned int history_next, history_n;
        uint64_t actual_age_usec;    /* how old the newest of these may be */
        /* Where it is on its way to, or was told to be: it may be as far already, though nobody says so yet; 0: no;
         * written by vm.c. */
        uint64_t heading_kib[3];
        /* What it has is what it counts and something between these two, if its total follows what it has. */
        bool knows_kept, total_follows;
        uint64_t kept_least_kib, kept_most_kib, first_total_kib;
        uint64_t blur_kib;           /* used_kib of the newest report could be more than it says by that much at most ... */
        bool says_little;            /* ... has not fallen, and has risen by less than that for sure */
} MlgSampler;

/* One poll. `now_real_sec`: the wall clock, for the age of a guest's first report. */
void mlg_sampler_take(MlgSampler *st, const MlgRawStats *raw, uint32_t period_sec, uint64_t now_usec,
                      uint64_t now_real_sec, MlgSample *ret);

/* One message of the program inside the guest; what the hypervisor says is as of the last poll. */
void mlg_sampler_take_monitor(MlgSampler *st, const MlgRawMonitor *raw, uint64_t now_usec, uint64_t now_real_sec,
                              MlgSample *ret);

/* The age from which on a report is stale. */
uint64_t mlg_sampler_stale_usec(uint32_t period_sec);

/* The guest was started anew or rebooted: nothing known before counts. */
void mlg_sampler_reset(MlgSampler *st);
