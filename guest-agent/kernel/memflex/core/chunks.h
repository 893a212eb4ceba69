/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks: which chunks of the pool are lent to us, which pages of them are in use, and how old they are.
 *
 *     AWAY --lend--> EMPTY --take--> FILLING --full, or another is filled--> SEALED --drain--> DRAINING
 *       ^------------give------------/  ^-----------the last page was put-------/  <---drained----/
 *
 * Parts. A page is taken as a whole, or, if `parts` is MF_PARTS, in two, three or four parts of one size, each
 * for a slot of its own. A place is a page and the number of its part; a whole page is its part 0.
 *
 * Invariants: a place is in use for exactly one slot, its owner; a page is in use, in so many parts, as long
 * as one of its places is; the numbers are those of the states; SEALED chunks are in one queue by age, and
 * those of them with free pages, or with free parts of a size, in the list of such holes as well. Places are
 * taken in the order FILLING, EMPTY, holes; in each first in pages that are in such parts already. A chunk
 * whose holes are filled becomes young again. All in constant time; drain() in constant time on the average,
 * as it forgives each chunk once for each time that it was read. Not locked; no function allocates.
 */
#pragma once

#include "../../common/plain.h"
#include "memlego/memflex-abi.h"

#define MF_NONE (~0u)
#define MF_PARTS 4u           /* of a page, at most */
#define MF_PART_SHIFT 24      /* in a place; below is the page */
#define MF_PAGE_MASK 0xffffffu /* MLG_FLEX_CHUNKS_MAX chunks of 64 pages are just that many */

enum mf_chunk_state {
	MF_AWAY, /* the host's */
	MF_EMPTY,
	MF_FILLING,
	MF_SEALED,
	MF_DRAINING,
};

enum { MF_BY_STATE, MF_BY_HOLES, MF_LISTS = MF_BY_HOLES + MF_PARTS };

struct mf_chunk {
	u64 used[MF_PARTS];  /* bits of pages: whether that part of them is in use */
	u64 split[MF_PARTS]; /* ... in use in one part, in two, ...; who has a place there reads without a lock */
	struct {
		u32 prev, next;
	} link[MF_LISTS];
	u32 born; /* `births` when the first of its pages was taken; read without the lock */
	u8 state;
	u8 read; /* since drain() last passed by; written by readers, without the lock */
};

struct mf_list {
	u32 head, tail;
};

struct mf_chunks {
	struct mf_chunk *chunk;
	u32 *owner; /* slot of each page, for their parts 0, then for their parts 1, ... */
	u32 n, parts;
	u32 most;    /* as many may be in use; beyond, no page can be taken */
	u32 filling; /* or MF_NONE */
	struct mf_list empty, aged;
	struct mf_list holes[MF_PARTS]; /* with free pages; with free parts of pages in two, ... */
	u32 n_held, n_empty, n_draining;
	u64 n_pages, n_places; /* in use */
	u64 n_split;           /* places that are less than a page */
	u32 births;            /* chunks that were begun; read without the lock */
};

_Static_assert(MLG_FLEX_CHUNK_PAGES == 64, "a chunk's pages are the bits of a word");

_Static_assert(MLG_FLEX_CHUNKS_MAX * (u64)MLG_FLEX_CHUNK_PAGES - 1 == MF_PAGE_MASK, "a page fits a place");

/* `chunk`: n zeroed ones; `owner`: n * MLG_FLEX_CHUNK_PAGES * parts; parts: 1 or MF_PARTS. n may be 0. */
void mf_chunks_init(struct mf_chunks *c, struct mf_chunk *chunk, u32 *owner, u32 n, u32 parts);

/* The host lends it. -ERANGE: there is none such; -EEXIST: we have it. */
int mf_chunks_lend(struct mf_chunks *c, u32 i);

/* Whether there is a place for anything. */
bool mf_chunks_has_room(const struct mf_chunks *c);

/* A place for a slot, of a page in so many parts; false: there is none. */
bool mf_chunks_take(struct mf_chunks *c, u32 slot, u32 parts, u32 *ret_place);

/* -EINVAL: it is not in use. */
int mf_chunks_put(struct mf_chunks *c, u32 place);

/* Gives up a chunk without a page in use; false: there is none. */
bool mf_chunks_give(struct mf_chunks *c, u32 *ret_i);

/* The oldest one that was not read since this was last asked becomes DRAINING: no page is taken from it any
 * more. false: none has a page in use.
 */
bool mf_chunks_drain(struct mf_chunks *c, u32 *ret_i);

/* The end of that: what still has pages is SEALED and young. -EINVAL: it is not DRAINING. */
int mf_chunks_drained(struct mf_chunks *c, u32 i);

/* Whose place it is; MF_NONE: nobody's, or there is none such. */
u32 mf_chunks_owner(const struct mf_chunks *c, u32 place);

/* In how many parts the page of a place that is in use is. For its owner, without the lock as well. */
static inline u32 mf_chunks_parts(const struct mf_chunks *c, u32 place)
{
	u32 page = place & MF_PAGE_MASK, parts = c->parts;
	const struct mf_chunk *chunk = &c->chunk[page / MLG_FLEX_CHUNK_PAGES];

	while (parts > 1 && !(READ_ONCE(chunk->split[parts - 1]) >> (page % MLG_FLEX_CHUNK_PAGES) & 1))
		parts--;
	return parts;
}

static inline u32 mf_chunks_in_use(const struct mf_chunks *c)
{
	return c->n_held - c->n_empty;
}
