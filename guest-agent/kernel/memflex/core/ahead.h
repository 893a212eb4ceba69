/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ahead: when chunks are written back before there is need, so that what is swapped out next, which is what
 * was used last, finds room in the pool, and what leaves it has lain there longest. Without that a full pool
 * keeps what is cold, and each page that comes waits for the disk by itself.
 *
 *     room = pages that we may have - pages in the pool
 *     from room < LOW until room >= HIGH: the oldest chunks, a batch at a time
 *
 * LOW is a sixteenth of what we may have and HIGH an eighth, but no more than what a disk writes in some
 * tenths of a second: what is written back is no hit any more. A pool that nobody writes to comes to rest.
 * Pure: numbers in, a number out.
 */
#pragma once

#include "store.h"

#define MF_AHEAD_LOW_PART 16u
#define MF_AHEAD_LOW_MAX (64u * MLG_FLEX_CHUNK_PAGES) /* 16 MiB */

struct mf_ahead {
	bool making_room;
};

/* As many chunks are to be written back now, a batch at most, if so many may be in use. */
u32 mf_ahead_chunks(struct mf_ahead *a, const struct mf_numbers *now, u32 most_chunks);

/* With fewer pages in the pool than that, if we hold so many chunks and may have so many, what is on the disk may be
 * promoted: an eighth, or HIGH, is left for what is swapped out, so nothing is ever written back for that.
 */
u64 mf_ahead_promote_below(u32 held_chunks, u32 most_chunks);

/* With more pages in the pool than that it is time to ask. */
u64 mf_ahead_from_pages(u32 most_chunks);
