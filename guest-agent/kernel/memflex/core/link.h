/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Link: our side of what memlego/memflex-abi.h says, over the store. Nothing but looking at the shared
 * memory and writing to it; when to look and how to ring is the caller's affair.
 *
 * Invariants: before the host has shown our session nothing of the pool is used; a chunk that was given
 * back is not touched again until the host lends it by another number; back[] is written after the last
 * access to the chunk. The host is trusted with what is ours, as its guest we have no choice, but what it
 * says is checked for sense: numbers beyond the pool are cut, and if it takes what it had lent, or begins
 * another epoch, all that was in the pool is lost and a new session starts.
 */
#pragma once

#include "store.h"

/* A device that is open has room for that much before anything is written, and beyond its need: the least,
 * and the most while its need grows, as the host takes some time, and lends 64 chunks in 50 ms.
 */
#define MF_SLACK_CHUNKS 16u
#define MF_SLACK_CHUNKS_MOST 128u

enum mf_link_state { MF_LINK_STARTING, MF_LINK_RUNNING };

struct mf_link {
	u8 *base;
	u8 *serial; /* of each chunk: the number that it was lent to us by last */
	u8 *held;   /* of each chunk: whether it is ours; serial + n_chunks */
	u32 n_chunks;
	u32 session, epoch;
	u32 quota; /* as many we can ever have */
	enum mf_link_state state;
	u32 target;     /* as the host said it last; 0 while starting */
	u32 want;
	u32 slack;      /* beyond what was in use at the last look, ... */
	u32 in_use;     /* ... which was so much */
	u64 missed;     /* pages that found no room, at the last look */
	u32 n_lost;     /* how often the host took a pool away */
};

/* From the header, if it is one that we speak and fits a mapping of `bytes`. 0; -EAGAIN: it is none of
 * memlegod's pools, or not ready; -EPROTO: another version, or nonsense.
 */
int mf_link_check(const void *base, u64 bytes, u32 *ret_n_chunks, u32 *ret_quota_chunks);

/* `serial`: 2 * n_chunks bytes; `session`: random, not 0. To be followed by a ring. */
void mf_link_start(struct mf_link *link, void *base, u8 *serial, u32 n_chunks, u32 session);

/* Looks at all that the host says: takes what it lends, hears how much we may have. `session`: for the case
 * that a new one must start. True: ring.
 */
bool mf_link_look(struct mf_link *link, struct mf_store *st, u32 session);

/* Gives back chunks without pages that we must not have, or do not need; true: ring. */
bool mf_link_give(struct mf_link *link, struct mf_store *st);

/* How many chunks with pages there are too many: to be written back, if there is a disk. */
u32 mf_link_excess(const struct mf_link *link, struct mf_store *st);

/* Hears how much we may have by now, without taking anything; whether that is as much as is in use. */
bool mf_link_may_keep_all(struct mf_link *link, struct mf_store *st);

/* Says how much we want (nothing unless `open`), and what we have; true: ring. */
bool mf_link_tell(struct mf_link *link, struct mf_store *st, bool open);

/* Whether more is in use than the host was told to expect. For anybody, without a lock. */
static inline bool mf_link_is_short(const struct mf_link *link, const struct mf_store *st)
{
	u32 in_use = READ_ONCE(st->chunks.n_held) - READ_ONCE(st->chunks.n_empty);
	u32 want = READ_ONCE(link->want);

	return in_use + READ_ONCE(link->slack) / 2 > want && want < READ_ONCE(link->quota);
}

/* Gives up everything: what was in the pool is lost. To be followed by a ring. */
void mf_link_leave(struct mf_link *link, struct mf_store *st);
