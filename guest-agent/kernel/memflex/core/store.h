/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Store: what is in each 4 KiB slot of the device, and where: nowhere (never written, or of one value), in
 * a page of the pool, on the disk, or both.
 *
 *     FREE, SAME(byte), DISK, LOST --write--> POOL, or SAME, or (no page to be had) DISK
 *     POOL --write--> POOL, in the same page       any --free--> FREE
 *     DISK --promote--> POOL and CLEAN
 *
 * Write-back takes whole chunks, the oldest first: drain() marks what must be written as BUSY, the caller
 * writes it to the disk, drained() makes of it DISK, or POOL again where the disk failed.
 * Meanwhile a BUSY slot stays in the pool, whatever happens to it: it is read from there; who writes to it
 * writes there (CHANGED: what went to the disk counts for nothing); who frees it leaves it behind (DEAD),
 * until the write is over. So no second write to its place on the disk is ever under way, and no chunk is
 * given back whose pages the disk may not have taken. What goes to the disk is a copy (fetch()): nobody changes it
 * on its way, and what the pool lies in need be no memory that disks can reach.
 *
 * Packed. Who can say a page in less than half of its bytes says it so as well (write_packed()): it takes a
 * half, a third or a quarter of a page of the pool, behind its length. The disk has all pages as they are. What
 * is written over it may come to another size, and goes to another place then, or stays in its own if it has room
 * there. A BUSY slot for which there is no place at all must wait until it is not.
 *
 * Invariants: a slot is POOL with place p exactly if p's owner is that slot; what is in a place is packed
 * exactly if its page is in more than one part. CLEAN (the disk has the same),
 * BUSY, CHANGED and DEAD are of POOL slots only; CHANGED and DEAD of BUSY ones; CLEAN excludes BUSY. No
 * page that was written is answered with anything else: what was in a pool that went away is LOST, and
 * reads fail. Who doubts that, and the host's memory, keeps a sum of each page beside the slots, where the
 * host cannot write (verify()): then what is not what was written is not answered with, wherever it lay.
 *
 * Locks: a slot's bucket, inside of it that of the chunks. Both are held for a copy of one page at most.
 * attach() to detach() are the worker's: one thread at a time. No function allocates.
 */
#pragma once

#include "../../common/lock.h"
#include "chunks.h"
#include "sum.h"

#define MF_PAGE_BYTES 4096u
#define MF_BUCKETS 128u /* slots next to each other have different ones */
#define MF_BATCH_CHUNKS 4u
#define MF_BATCH_PAGES (MF_BATCH_CHUNKS * MLG_FLEX_CHUNK_PAGES)
#define MF_AGE_DISK (~0u)
#define MF_PACKED_MOST (MF_PAGE_BYTES / 2 - 2)
/* Results */
#define MF_DISK 1   /* it is the caller's disk's turn */
#define MF_PACKED 2 /* it is the caller's turn to unpack */

enum mf_count {
	MF_N_SAME,    /* slots, now */
	MF_N_ON_DISK, /* on the disk alone */
	MF_N_LOST,
	MF_N_POOL_READS, /* pages, in all */
	MF_N_DISK_READS,
	MF_N_SAME_READS, /* of one value, or never written */
	MF_N_POOL_WRITES,
	MF_N_DISK_WRITES, /* for want of a page of the pool */
	MF_N_SAME_WRITES,
	MF_N_FREED, /* slots that held something */
	MF_N_WRITTEN_BACK,
	MF_N_DROPPED, /* from the pool without a write: the disk had the same */
	MF_N_PROMOTED, /* from the disk into the pool */
	MF_N_ERRORS,  /* pages that could not be written back, reads of lost ones, writes without room */
	MF_N_WRONG,   /* reads of what is not what was written */
	MF_N_PACKED_WRITES, /* of the writes to the pool, those that were packed, ... */
	MF_N_PACKED_BYTES,  /* ... and what they came to */
	MF_COUNTS,
};

struct mf_bucket {
	plain_lock_t lock;
	u64 count[MF_COUNTS];
} __attribute__((aligned(64)));

/* A page in fewer bytes. */
struct mf_packed {
	u32 sum; /* that the page must have, if the store verifies */
	u32 n;   /* bytes; 0: there is no such */
	u8 bytes[MF_PACKED_MOST];
};

struct mf_store {
	u32 *slot;
	u32 *sum; /* of what was written to each slot, if it is in the pool or on the disk; or NULL */
	u32 n_slots;
	u32 parts; /* of a page of the pool, at most; 1: nothing is packed */
	bool has_disk;
	void (*tell)(void *whom, u32 slot); /* see mf_store_tell(); or NULL */
	void *whom;
	u8 *pages; /* of the pool */
	struct mf_bucket bucket[MF_BUCKETS];
	plain_lock_t chunks_lock;
	struct mf_chunks chunks;
};

/* Pages on their way to the disk. */
struct mf_move {
	u32 slot, page; /* as a place, see chunks.h */
	bool failed;    /* the caller's answers: it is not on the disk; */
	bool wrong;     /* what is in the pool is not what was written, so it is lost */
};

struct mf_batch {
	u32 n_chunks, n;
	u32 chunk[MF_BATCH_CHUNKS];
	struct mf_move move[MF_BATCH_PAGES];
};

struct mf_numbers {
	u64 count[MF_COUNTS];
	u64 in_pool;    /* slots, ... */
	u64 packed;     /* ... those of them that are packed, ... */
	u64 pool_pages; /* ... and the pages of the pool that all of them take */
	u32 held, empty, draining;
};

/* `slot`: n zeroed words. */
void mf_store_init(struct mf_store *st, u32 *slot, u32 n_slots, bool has_disk);

/* Before anything is written. `sum`: as many words as there are slots. */
void mf_store_verify(struct mf_store *st, u32 *sum);

/* Before anything is written: who is to hear of each page that goes straight to the disk, before anybody else
 * finds its slot there: with its bucket locked.
 */
void mf_store_tell(struct mf_store *st, void (*tell)(void *whom, u32 slot), void *whom);

/* Before a pool is attached, whose `owner` must have room for all parts then. */
void mf_store_pack(struct mf_store *st);

/* One page, and the same packed, if it is. 0; MF_DISK: write it to the disk, in its place; -ENOSPC: no room,
 * and no disk; -EAGAIN: once the batch that is under way has drained(); -ERANGE. With `try` only 0 means
 * anything: otherwise nothing was changed or counted.
 */
int mf_store_write_packed(struct mf_store *st, u32 slot, const void *from, const struct mf_packed *packed,
			  bool try);

/* 0; MF_PACKED: `packed` has it, and not `to`; MF_DISK: read it from there; -EIO: it was in a pool that went
 * away; -EBADMSG: it is not what was written; -ERANGE.
 */
int mf_store_read_packed(struct mf_store *st, u32 slot, void *to, struct mf_packed *packed, bool try);

/* Of one value: nothing to pack. */
bool mf_page_is_same(const void *page, u8 *ret_byte);

/* Whether packing may be worth its time: the pool has a place for something, at this moment. */
bool mf_store_has_room(struct mf_store *st);

/* Where nothing is packed. */
static inline int mf_store_write(struct mf_store *st, u32 slot, const void *from, bool try)
{
	return mf_store_write_packed(st, slot, from, NULL, try);
}

static inline int mf_store_read(struct mf_store *st, u32 slot, void *to, bool try)
{
	return mf_store_read_packed(st, slot, to, NULL, try);
}

/* How many chunks were begun after that in which its page lies: the fewer, the later it was written. 0 also
 * for what lies nowhere, or is of one value; MF_AGE_DISK: on the disk alone, or not to be had.
 */
u32 mf_store_age(struct mf_store *st, u32 slot);

/* What comes from the disk must have this sum, if the store verifies: asked for before it is read. */
static inline u32 mf_store_sum(const struct mf_store *st, u32 slot)
{
	return st->sum && slot < st->n_slots ? READ_ONCE(st->sum[slot]) : 0;
}

/* It had another one. */
void mf_store_count_wrong(struct mf_store *st, u32 slot);

/* What is on the disk alone goes into the pool as well, if there is a place. `copy` puts it there, if it still
 * has what the disk has: it is asked with the slot's bucket locked, so no write to it is about to begin. True: done.
 */
bool mf_store_promote(struct mf_store *st, u32 slot, bool (*copy)(void *of, u32 slot, void *to), void *of);

/* Nobody needs it any more. May be called with other locks held. */
void mf_store_free(struct mf_store *st, u32 slot);

/* A pool: n chunks at `pages`, none of them lent yet. -EBUSY: there is one. */
int mf_store_attach(struct mf_store *st, struct mf_chunk *chunk, u32 *owner, u32 n, void *pages);

/* The pool's contents are gone; the disk's are not. All chunks are AWAY then. No batch may be under way. */
void mf_store_lose(struct mf_store *st);

/* The same, and nothing of it is used any more. */
void mf_store_detach(struct mf_store *st);

int mf_store_lend(struct mf_store *st, u32 chunk);
bool mf_store_give(struct mf_store *st, u32 *ret_chunk);

/* As many chunks may be in use: with a disk, whatever is written beyond goes there. */
void mf_store_limit(struct mf_store *st, u32 most);

/* Takes up to `most` of the oldest chunks out of use; false: there is none. What need not be written is gone
 * already, so a batch may have no moves.
 */
bool mf_store_drain(struct mf_store *st, struct mf_batch *batch, u32 most);

/* What of a batch is to be written: 0: `to` has it; MF_PACKED: `packed` has it; -ECANCELED: nothing, it was written
 * or freed since; -EBADMSG: what is there is not what was written, or can be no page.
 */
int mf_store_fetch(struct mf_store *st, const struct mf_move *move, void *to, struct mf_packed *packed);

/* The end of it. With `keep` the pages stay in the pool as well: it may be larger again. */
void mf_store_drained(struct mf_store *st, struct mf_batch *batch, bool keep);

/* Each by itself is right; together they are of nearly one moment. */
void mf_store_numbers(struct mf_store *st, struct mf_numbers *ret);

static inline void *mf_store_page(const struct mf_store *st, u32 page)
{
	return st->pages + (u64)(page & MF_PAGE_MASK) * MF_PAGE_BYTES;
}
