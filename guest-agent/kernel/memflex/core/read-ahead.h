/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Read ahead: pages of the disk that are read before they are asked for. Swap does that itself for a disk, but
 * not for a device that answers at once, as ours does.
 *
 *     ahead:  what follows, where pages are read one after the other
 *     around: what lies beside a page that is read from anywhere, in the same request, if the pool has room
 *             for it: that is promoted, to be in the pool as well as on the disk
 *
 *     stream: who reads from the disk what follows his last page; half of what was read ahead for him gone:
 *             a window of 8, 16, then 32 pages more
 *     window: EMPTY --plan--> READING --done--> FULL --all taken or forgotten--> EMPTY
 *                                       `-> EMPTY (failed)       FULL --plan--> READING (the oldest)
 *
 * Invariant: a page that a window holds is what the disk has in that slot's place, or nobody is told of it:
 *   - planned are slots only that are on the disk alone while the window is there for all to see, and no
 *     write is under way in their region;
 *   - a write that goes straight to the disk is a write under way from when its slot is on the disk alone for
 *     others to see (the store tells us) until it is over (write_ends()), and its slot's page is forgotten as it
 *     begins; what is written back out of the pool is forgotten before its slots are on the disk alone again.
 * What is written to the pool need not be known here: its slot is not on the disk, so nobody asks.
 *
 * Locks: its own, that interrupts take as well (done(), write_ends()); inside of that of a slot's bucket, and none
 * inside of it.
 */
#pragma once

#include "store.h"

#define MF_RA_PAGES 32u /* of a window: bits of a word */
#define MF_RA_FIRST 8u
#define MF_RA_AROUND 8u /* slots, aligned, as swap has it */
#define MF_RA_WINDOWS 8u
#define MF_RA_STREAMS 8u
#define MF_RA_REGIONS 64u /* of as many pages as a window has; slots far apart share one */

enum mf_ra_state { MF_RA_EMPTY, MF_RA_READING, MF_RA_FULL };

struct mf_ra_window {
	enum mf_ra_state state;
	u32 first, n;
	u32 has; /* bits: pages that are what the disk has */
};

struct mf_ra_stream {
	u32 next;  /* slot that follows */
	u32 ahead; /* the first that was not read ahead for it */
	u32 n;     /* pages of its last window */
};

struct mf_ra {
	plain_irq_lock_t lock;
	u8 *pages; /* MF_RA_WINDOWS * MF_RA_PAGES of them */
	struct mf_ra_window window[MF_RA_WINDOWS];
	struct mf_ra_stream stream[MF_RA_STREAMS];
	u32 next_window, next_stream; /* the oldest */
	u32 writes[MF_RA_REGIONS];    /* under way */
	u64 n_ahead, n_taken, n_around; /* pages, in all: read ahead, of them taken; read around, with what they are around */
};

/* Before anything is written to the store. */
void mf_ra_init(struct mf_ra *ra, struct mf_store *st, void *pages);

/* Somebody has read a slot that is on the disk. Whether a window is to be read for him: [first, first + n) of
 * *ret, to its pages from mf_ra_page(), and then done().
 */
bool mf_ra_plan(struct mf_ra *ra, struct mf_store *st, u32 slot, u32 *ret);

/* Somebody is about to read a slot that is on the disk. Whether a window that is around it is to be read with
 * it: the same, but the slot's own page, which is in [first, first + n), is his alone.
 */
bool mf_ra_plan_around(struct mf_ra *ra, struct mf_store *st, u32 slot, u32 *ret);
void mf_ra_done(struct mf_ra *ra, u32 window, bool ok);

/* Of a slot that is on the disk: 0: here it is, and not here any more; -EAGAIN: it is being read; -ENOENT. */
int mf_ra_take(struct mf_ra *ra, u32 slot, void *to);

/* What windows have of the slots around this one goes into the pool, as far as there is room. */
void mf_ra_promote(struct mf_ra *ra, struct mf_store *st, u32 slot);

/* See the invariant. */
void mf_ra_write_ends(struct mf_ra *ra, u32 slot, u32 n);
void mf_ra_forget(struct mf_ra *ra, u32 slot);

/* Whether any window is READING, and whether one of that slot is. */
bool mf_ra_reads(struct mf_ra *ra);
bool mf_ra_reads_slot(struct mf_ra *ra, u32 slot);

static inline void *mf_ra_page(const struct mf_ra *ra, u32 window, u32 i)
{
	return ra->pages + (u64)(window * MF_RA_PAGES + i) * MF_PAGE_BYTES;
}
