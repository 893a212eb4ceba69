// SPDX-License-Identifier: GPL-2.0-or-later
/* Ahead: see ahead.h. */
#include "ahead.h"

#define BATCH_PAGES ((u32)MF_BATCH_PAGES)

/* 0: of a pool so small nothing would be left. */
static u32 low_pages(u32 capacity)
{
	u32 low = plain_min(capacity / MF_AHEAD_LOW_PART, MF_AHEAD_LOW_MAX);

	return capacity < 4 * BATCH_PAGES ? 0 : plain_max(low, BATCH_PAGES / 2);
}

u64 mf_ahead_from_pages(u32 most_chunks)
{
	u32 capacity = most_chunks * MLG_FLEX_CHUNK_PAGES;

	return capacity - low_pages(capacity);
}

u64 mf_ahead_promote_below(u32 held_chunks, u32 most_chunks)
{
	u32 capacity = plain_min(held_chunks, most_chunks) * MLG_FLEX_CHUNK_PAGES;

	return capacity - plain_max(capacity / 8, 2 * low_pages(capacity));
}

u32 mf_ahead_chunks(struct mf_ahead *a, const struct mf_numbers *now, u32 most_chunks)
{
	u32 capacity = most_chunks * MLG_FLEX_CHUNK_PAGES, low = low_pages(capacity), high = 2 * low;
	u32 room = now->pool_pages < capacity ? capacity - (u32)now->pool_pages : 0;

	if (room >= high) /* of none at all, too */
		a->making_room = false;
	else if (room < low)
		a->making_room = true;
	if (!a->making_room)
		return 0;
	return plain_min((high - room + MLG_FLEX_CHUNK_PAGES - 1) / MLG_FLEX_CHUNK_PAGES, MF_BATCH_CHUNKS);
}
