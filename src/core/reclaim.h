/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reclaim: how much the host may take of a guest that has no device to be moved by (Reclaim=cgroup).
 *
 * Nobody tells what such a guest needs, so its working set is *probed*: the kernel is asked to reclaim a
 * small step of its QEMU's memory, the coldest first, and whether the guest waits for memory afterwards, or
 * reads back what was taken, says whether it was missed. It is then left in peace at once; with each probe
 * that hurts the next one comes later and takes less, up to a point, and after some that do not hurt it
 * is the other way round again.
 *
 * Invariants: a step never goes below the floor, nor into the last part of swap; nothing is taken on the
 * strength of a reading that is old, the first, or impossible. Nothing is set that would have to be taken
 * back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/plan.h"
#include "memlego/sample.h"

/* How often it is read: over less time the stalls of single faults say nothing. */
#define MLG_RECLAIM_READ_USEC (5 * UINT64_C(1000000))

#define MLG_RECLAIM_CAUTION_MOST 6

typedef struct MlgReclaim {
        MlgRawCgroup last;
        uint64_t read_usec;    /* of last; 0: there is none */
        bool probing;          /* a step was taken since */
        unsigned int caution;  /* 0 .. CAUTION_MOST: steps are halved so often, and pauses doubled */
        unsigned int harmless; /* steps in a row that did not hurt */
        uint64_t resume_usec;  /* no step before */
        uint32_t stall_ppm;    /* between the two last readings: part of the time in which some task waited */
        uint64_t refault_kib_per_sec;
        uint64_t asked_kib;    /* all steps together */
        MlgReason why;         /* what is to be said of it; NONE: nothing is known yet */
} MlgReclaim;

/* What else counts for a step. */
typedef struct MlgReclaimLimits {
        uint64_t floor_kib;
        uint64_t host_total_kib, swap_total_kib, swap_free_kib;
        bool host_stalls; /* its tasks wait for memory already */
} MlgReclaimLimits;

/* A reading, with the time at which it was made. Returns how much may be asked for now; 0: nothing. */
uint64_t mlg_reclaim_take(MlgReclaim *c, const MlgRawCgroup *raw, const MlgReclaimLimits *limits,
                          uint64_t now_usec);
/* What it allowed was asked for: r of MlgReclaimFn. */
void mlg_reclaim_asked(MlgReclaim *c, int r, uint64_t kib, uint64_t now_usec);
/* It could not be read: r of MlgReclaimFn. */
void mlg_reclaim_missed(MlgReclaim *c, int r);
/* As far as is known: else it need not be read so often. */
bool mlg_reclaim_is_usable(const MlgReclaim *c);
