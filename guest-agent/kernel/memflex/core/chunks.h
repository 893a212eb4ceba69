/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks: which chunks of the pool are lent to us, which pages of them are in use, and how old they are.
 *
 *     AWAY --lend--> EMPTY --take--> FILLING --full, or another is filled--> SEALED --drain--> DRAINING
 *       ^------------give------------/  ^-----------the last page was put-------/  <---drained----/
 *
 * Invariants: a page is in use for exactly one slot, its owner; the numbers are those of the states; SEALED
 * chunks are in one queue by age, and those of them with free pages in the list of holes as well. Pages are
 * taken in the order FILLING, EMPTY, holes; a chunk whose holes are filled becomes young again. All in
 * constant time; drain() in constant time on the average, as it forgives each chunk once for each time that
 * it was read. Not locked; no function allocates.
 */
#pragma once

#include "../../common/plain.h"
#include "memlego/memflex-abi.h"

#define MF_NONE (~0u)

enum mf_chunk_state {
	MF_AWAY, /* the host's */
	MF_EMPTY,
	MF_FILLING,
	MF_SEALED,
	MF_DRAINING,
};

enum { MF_BY_STATE, MF_BY_HOLES, MF_LISTS };

struct mf_chunk {
	u64 used; /* bits of pages */
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
	u32 *owner; /* slot of each page */
	u32 n;
	u32 most;    /* as many may be in use; beyond, no page can be taken */
	u32 filling; /* or MF_NONE */
	struct mf_list empty, aged, holes;
	u32 n_held, n_empty, n_draining;
	u64 n_pages; /* in use */
	u32 births;  /* chunks that were begun; read without the lock */
};

_Static_assert(MLG_FLEX_CHUNK_PAGES == 64, "a chunk's pages are the bits of a word");

/* `chunk`: n zeroed ones; `owner`: n * MLG_FLEX_CHUNK_PAGES. n may be 0. */
void mf_chunks_init(struct mf_chunks *c, struct mf_chunk *chunk, u32 *owner, u32 n);

/* The host lends it. -ERANGE: there is none such; -EEXIST: we have it. */
int mf_chunks_lend(struct mf_chunks *c, u32 i);

/* A page for a slot; false: there is none. */
bool mf_chunks_take(struct mf_chunks *c, u32 slot, u32 *ret_page);

/* -EINVAL: it is not in use. */
int mf_chunks_put(struct mf_chunks *c, u32 page);

/* Gives up a chunk without a page in use; false: there is none. */
bool mf_chunks_give(struct mf_chunks *c, u32 *ret_i);

/* The oldest one that was not read since this was last asked becomes DRAINING: no page is taken from it any
 * more. false: none has a page in use.
 */
bool mf_chunks_drain(struct mf_chunks *c, u32 *ret_i);

/* The end of that: what still has pages is SEALED and young. -EINVAL: it is not DRAINING. */
int mf_chunks_drained(struct mf_chunks *c, u32 i);

/* Whose page it is; MF_NONE: nobody's, or there is none such. */
u32 mf_chunks_owner(const struct mf_chunks *c, u32 page);

static inline u32 mf_chunks_in_use(const struct mf_chunks *c)
{
	return c->n_held - c->n_empty;
}
