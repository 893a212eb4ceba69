/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Credit: the chunks that the host granted to this guest, which of them are free, and how many each pipe may
 * have.
 *
 * Invariants: a chunk is free or with exactly one pipe; what pipes have and what is free adds up to what is
 * held; the shares add up to what is held at most. A pipe below its share gets a chunk if one is free; one
 * at or above it gets it if some are left for those below theirs. A share that has shrunk takes nothing
 * away: chunks come back as their bytes are read, and are returned to the host when the guest has more than
 * its target, or than it demands of those that were ever written to: the host backs these, and only these.
 * Not locked.
 */
#pragma once

#include "../../common/plain.h"
#include "demand.h"
#include "memlego/mempipe-abi.h"
#include "share.h"

/* A sender's direction of a pipe. */
struct mp_pipe_credit {
	struct mp_demand demand;
	u32 has;
	u32 share;
};

struct mp_credit {
	u64 *held; /* bits by chunk id */
	u64 *free;
	u64 *touched; /* were with a pipe since they were granted */
	u32 n_chunks; /* of the region */
	u32 n_held;
	u32 n_free;
	u32 n_touched;
	u32 promised; /* what pipes below their share may still take */
	u32 hint; /* no word below has a free chunk */
	struct mp_demand demand; /* of the guest */
};

/* u64 words in each of the three bitmaps, which are the caller's, zeroed. */
static inline u32 mp_credit_words(u32 n_chunks)
{
	return (n_chunks + 63) / 64;
}

void mp_credit_init(struct mp_credit *credit, u64 *held, u64 *free, u64 *touched, u32 n_chunks,
		    u64 now_usec);
void mp_pipe_credit_init(struct mp_pipe_credit *pipe, u64 now_usec);

/* The host grants a range, which must lie in the region. What we have already stays as it is. Returns how
 * many are new.
 */
u32 mp_credit_grant(struct mp_credit *credit, u32 first, u32 count);

/* A free chunk for a pipe. If there is none for it, the pipe is taken to wait, and the guest with it. When
 * its sender goes on, mp_demand_resume(&pipe->demand, mp_tx_unread(tx) == 0, now_usec).
 */
bool mp_credit_take(struct mp_credit *credit, struct mp_pipe_credit *pipe, u64 now_usec, u32 *ret_chunk);

/* Whether mp_credit_take() would find one. */
bool mp_credit_would_take(const struct mp_credit *credit, const struct mp_pipe_credit *pipe);

/* A pipe's chunk is free again. */
void mp_credit_put(struct mp_credit *credit, struct mp_pipe_credit *pipe, u64 now_usec, u32 chunk);

/* The pipe is gone, all its chunks were put. */
void mp_credit_leave(struct mp_credit *credit, struct mp_pipe_credit *pipe);

/* Ends a window: measures, divides what may be held (`target`) among n pipes. `claims`: room for n. Returns
 * the guest's demand, to be published.
 */
u32 mp_credit_divide(struct mp_credit *credit, struct mp_pipe_credit *const *pipes, struct mp_claim *claims,
		     u32 n, u32 target, u64 now_usec);

/* Gives up a range of free chunks, at most as many as there are beyond `target`; false: there are none. To
 * be told to the host; if it cannot be told now, mp_credit_grant() takes it back.
 */
bool mp_credit_return(struct mp_credit *credit, u32 target, u32 *ret_first, u32 *ret_count);

/* The same of free chunks that were touched, if more were than were in use on the average of the last window:
 * what is granted instead of them is not backed until it is touched.
 */
bool mp_credit_trim(struct mp_credit *credit, u32 *ret_first, u32 *ret_count);
