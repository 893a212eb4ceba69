/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Demand: how many chunks somebody (a pipe, a guest) could put to use, measured over windows of time.
 *
 *     sample = 2 * peak    somebody waited for chunks, and a reader ran dry: more would have been faster
 *            = peak        somebody waited, the reader did not: more would only make the queue longer
 *            = (3 * mean + peak) / 4, of what was in use over the window, otherwise
 *     level  = sample, if that is more; else level - (level - sample) / MP_DEMAND_SHRINK
 *
 * So it grows at once, doubling with each window, and shrinks over several. Time is a parameter; not locked.
 */
#pragma once

#include "../../common/plain.h"

/* By half: some windows after a burst its chunks are the host's again. */
#define MP_DEMAND_SHRINK 2

struct mp_demand {
	u64 begin_usec;   /* of the window */
	u64 since_usec;   /* of `used` */
	u64 area;         /* chunks times microseconds, in this window until since_usec */
	u64 blocked_usec; /* altogether; somebody waited */
	u64 blocked_since_usec; /* if blocked */
	u32 used;
	u32 peak;         /* in this window */
	u32 mean;         /* in use over the last window, rounded up */
	u32 level_256;    /* in 256ths of a chunk */
	bool blocked;
	bool waited;      /* in this window */
	bool starved;     /* in this window, see above */
};

void mp_demand_init(struct mp_demand *demand, u64 now_usec);

/* From now on `used` chunks are in use. */
void mp_demand_use(struct mp_demand *demand, u32 used, u64 now_usec);

/* Somebody waits for a chunk; no longer, and `starved`: meanwhile everything was read. */
void mp_demand_block(struct mp_demand *demand, u64 now_usec);
void mp_demand_resume(struct mp_demand *demand, bool starved, u64 now_usec);

/* The reader sleeps: everything was read. Who also waited for a chunk in this window had too few. Without a
 * lock: one that is not counted does no harm.
 */
static inline void mp_demand_dry(struct mp_demand *demand)
{
	WRITE_ONCE(demand->starved, true);
}

/* Ends a window. Returns the level in chunks, rounded up, at most `most`. */
u32 mp_demand_turn(struct mp_demand *demand, u32 most, u64 now_usec);
