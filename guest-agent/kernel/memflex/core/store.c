// SPDX-License-Identifier: GPL-2.0-or-later
/* Store: see store.h. A slot is a word: its kind, flags, and a page of the pool or a byte. */
#include "store.h"

#define WHERE 0xffffffu /* MLG_FLEX_CHUNKS_MAX chunks of 64 pages are just that many */
#define CLEAN (1u << 27)
#define BUSY (1u << 28)
#define CHANGED (1u << 29)
#define DEAD (1u << 30)
#define KIND (7u << 24)
#define FREE (0u << 24)
#define SAME (1u << 24)
#define POOL (2u << 24)
#define DISK (3u << 24)
#define LOST (4u << 24)

_Static_assert(MLG_FLEX_CHUNKS_MAX * (u64)MLG_FLEX_CHUNK_PAGES - 1 == WHERE, "pages fit into a slot's word");

static struct mf_bucket *bucket_of(struct mf_store *st, u32 slot)
{
	return &st->bucket[slot % MF_BUCKETS];
}

static u32 kind_of(u32 word)
{
	return word & KIND;
}

/* Keeps the numbers of what is where. */
static void set_slot(struct mf_store *st, struct mf_bucket *b, u32 slot, u32 word)
{
	u32 before = kind_of(st->slot[slot]), after = kind_of(word);

	b->count[MF_N_SAME] += (after == SAME) - (u64)(before == SAME);
	b->count[MF_N_ON_DISK] += (after == DISK) - (u64)(before == DISK);
	b->count[MF_N_LOST] += (after == LOST) - (u64)(before == LOST);
	st->slot[slot] = word;
}

static bool take_page(struct mf_store *st, u32 slot, u32 *ret_page)
{
	bool got;

	mf_lock(&st->chunks_lock);
	got = mf_chunks_take(&st->chunks, slot, ret_page);
	mf_unlock(&st->chunks_lock);
	return got;
}

static void put_page_of(struct mf_store *st, u32 word)
{
	mf_lock(&st->chunks_lock);
	(void)mf_chunks_put(&st->chunks, word & WHERE);
	mf_unlock(&st->chunks_lock);
}

/* The last word first: pages are more often alike at their beginning. */
static bool is_same(const void *page, u8 *ret_byte)
{
	const u64 *word = page, all = (word[0] & 0xff) * 0x0101010101010101ULL;
	u32 i;

	if (word[MF_PAGE_BYTES / 8 - 1] != all)
		return false;
	for (i = 0; i < MF_PAGE_BYTES / 8; i++)
		if (word[i] != all)
			return false;
	*ret_byte = (u8)all;
	return true;
}

void mf_store_init(struct mf_store *st, u32 *slot, u32 n_slots, bool has_disk)
{
	u32 i;

	memset(st, 0, sizeof(*st));
	st->slot = slot;
	st->n_slots = n_slots;
	st->has_disk = has_disk;
	for (i = 0; i < MF_BUCKETS; i++)
		mf_lock_init(&st->bucket[i].lock);
	mf_lock_init(&st->chunks_lock);
	mf_chunks_init(&st->chunks, NULL, NULL, 0);
}

void mf_store_verify(struct mf_store *st, u32 *sum)
{
	st->sum = sum;
}

/* In the page that it has. */
static void write_over(struct mf_store *st, struct mf_bucket *b, u32 slot, const void *from)
{
	u32 word = st->slot[slot] & ~(CLEAN | DEAD);

	if (word & BUSY)
		word |= CHANGED;
	memcpy(mf_store_page(st, word & WHERE), from, MF_PAGE_BYTES);
	set_slot(st, b, slot, word);
	b->count[MF_N_POOL_WRITES]++;
}

static int write_anew(struct mf_store *st, struct mf_bucket *b, u32 slot, const void *from, bool try)
{
	u32 page;

	if (take_page(st, slot, &page)) {
		memcpy(mf_store_page(st, page), from, MF_PAGE_BYTES);
		set_slot(st, b, slot, POOL | page);
		b->count[MF_N_POOL_WRITES]++;
		return 0;
	}
	if (try)
		return MF_DISK;
	if (!st->has_disk) {
		b->count[MF_N_ERRORS]++;
		return -ENOSPC;
	}
	set_slot(st, b, slot, DISK);
	b->count[MF_N_DISK_WRITES]++;
	return MF_DISK;
}

int mf_store_write(struct mf_store *st, u32 slot, const void *from, bool try)
{
	struct mf_bucket *b = bucket_of(st, slot);
	bool same;
	u32 word, sum;
	u8 byte = 0;
	int result = 0;

	if (slot >= st->n_slots)
		return -ERANGE;
	same = is_same(from, &byte);
	sum = st->sum ? mf_sum(from) : 0;
	mf_lock(&b->lock);
	word = st->slot[slot];
	if (same && !(word & BUSY)) {
		if (kind_of(word) == POOL)
			put_page_of(st, word);
		set_slot(st, b, slot, SAME | byte);
		b->count[MF_N_SAME_WRITES]++;
	} else if (kind_of(word) == POOL) {
		write_over(st, b, slot, from);
	} else {
		result = write_anew(st, b, slot, from, try);
	}
	if (st->sum && (result == 0 || (result == MF_DISK && !try)))
		WRITE_ONCE(st->sum[slot], sum);
	mf_unlock(&b->lock);
	return result;
}

static int read_pool(struct mf_store *st, struct mf_bucket *b, u32 slot, void *to, bool try)
{
	u32 page = st->slot[slot] & WHERE;
	struct mf_chunk *chunk = &st->chunks.chunk[page / MLG_FLEX_CHUNK_PAGES];

	memcpy(to, mf_store_page(st, page), MF_PAGE_BYTES);
	if (st->sum && mf_sum(to) != st->sum[slot]) {
		memset(to, 0, MF_PAGE_BYTES);
		b->count[MF_N_WRONG] += !try;
		return -EBADMSG;
	}
	b->count[MF_N_POOL_READS]++;
	if (!READ_ONCE(chunk->read))
		WRITE_ONCE(chunk->read, 1);
	return 0;
}

static int read_slot(struct mf_store *st, struct mf_bucket *b, u32 slot, void *to, bool try)
{
	u32 word = st->slot[slot];

	switch (word & DEAD ? FREE : kind_of(word)) {
	case POOL:
		return read_pool(st, b, slot, to, try);
	case DISK:
		b->count[MF_N_DISK_READS] += !try;
		return MF_DISK;
	case LOST:
		b->count[MF_N_ERRORS] += !try;
		return -EIO;
	default:
		memset(to, kind_of(word) == SAME ? (int)(word & 0xff) : 0, MF_PAGE_BYTES);
		b->count[MF_N_SAME_READS]++;
		return 0;
	}
}

int mf_store_read(struct mf_store *st, u32 slot, void *to, bool try)
{
	struct mf_bucket *b = bucket_of(st, slot);
	int result;

	if (slot >= st->n_slots)
		return -ERANGE;
	mf_lock(&b->lock);
	result = read_slot(st, b, slot, to, try);
	mf_unlock(&b->lock);
	return result;
}

u32 mf_store_age(struct mf_store *st, u32 slot)
{
	struct mf_bucket *b = bucket_of(st, slot);
	u32 word, age = 0;

	if (slot >= st->n_slots)
		return MF_AGE_DISK;
	mf_lock(&b->lock);
	word = st->slot[slot];
	if (kind_of(word) == POOL)
		age = READ_ONCE(st->chunks.births) -
		      READ_ONCE(st->chunks.chunk[(word & WHERE) / MLG_FLEX_CHUNK_PAGES].born);
	else if (kind_of(word) == DISK || kind_of(word) == LOST)
		age = MF_AGE_DISK;
	mf_unlock(&b->lock);
	return age;
}

void mf_store_count_wrong(struct mf_store *st, u32 slot)
{
	struct mf_bucket *b = bucket_of(st, slot);

	mf_lock(&b->lock);
	b->count[MF_N_WRONG]++;
	mf_unlock(&b->lock);
}

void mf_store_free(struct mf_store *st, u32 slot)
{
	struct mf_bucket *b = bucket_of(st, slot);
	u32 word;

	if (slot >= st->n_slots)
		return;
	mf_lock(&b->lock);
	word = st->slot[slot];
	if (kind_of(word) != FREE && !(word & DEAD))
		b->count[MF_N_FREED]++;
	if (word & BUSY) {
		st->slot[slot] = word | DEAD;
	} else {
		if (kind_of(word) == POOL)
			put_page_of(st, word);
		set_slot(st, b, slot, FREE);
	}
	mf_unlock(&b->lock);
}

/* ---------------------------------------------------------------- the pool comes and goes */

int mf_store_attach(struct mf_store *st, struct mf_chunk *chunk, u32 *owner, u32 n, void *pages)
{
	if (st->pages)
		return -EBUSY;
	if (n > MLG_FLEX_CHUNKS_MAX)
		return -ERANGE;
	mf_lock(&st->chunks_lock);
	mf_chunks_init(&st->chunks, chunk, owner, n);
	st->pages = pages;
	mf_unlock(&st->chunks_lock);
	return 0;
}

static u32 owner_of(struct mf_store *st, u32 page)
{
	u32 slot;

	mf_lock(&st->chunks_lock);
	slot = mf_chunks_owner(&st->chunks, page);
	mf_unlock(&st->chunks_lock);
	return slot;
}

/* The bucket of the slot that the page is of, locked; NULL: it is nobody's. Between our look at its owner and the lock it
 * may have been put, and taken by another slot: then it is nobody's that we are after.
 */
static struct mf_bucket *lock_owner(struct mf_store *st, u32 page, u32 *ret_slot)
{
	u32 slot = owner_of(st, page), word;
	struct mf_bucket *b;

	if (slot == MF_NONE)
		return NULL;
	b = bucket_of(st, slot);
	mf_lock(&b->lock);
	word = st->slot[slot];
	if (kind_of(word) == POOL && (word & WHERE) == page) {
		*ret_slot = slot;
		return b;
	}
	mf_unlock(&b->lock);
	return NULL;
}

/* What took it meanwhile was written later than the pool was closed only if it lies in no pool. */
static void lose_page(struct mf_store *st, u32 page)
{
	u32 slot, word;
	struct mf_bucket *b = lock_owner(st, page, &slot);

	if (!b)
		return;
	word = st->slot[slot];
	put_page_of(st, word);
	set_slot(st, b, slot, word & CLEAN ? DISK : LOST);
	mf_unlock(&b->lock);
}

void mf_store_lose(struct mf_store *st)
{
	u32 page, chunk, most;

	mf_lock(&st->chunks_lock);
	most = st->chunks.most;
	st->chunks.most = 0;
	mf_unlock(&st->chunks_lock);
	for (page = 0; page < st->chunks.n * MLG_FLEX_CHUNK_PAGES; page++)
		lose_page(st, page);
	while (mf_store_give(st, &chunk))
		;
	mf_store_limit(st, most);
}

void mf_store_detach(struct mf_store *st)
{
	mf_store_lose(st);
	mf_lock(&st->chunks_lock);
	mf_chunks_init(&st->chunks, NULL, NULL, 0);
	st->pages = NULL;
	mf_unlock(&st->chunks_lock);
}

int mf_store_lend(struct mf_store *st, u32 chunk)
{
	int err;

	mf_lock(&st->chunks_lock);
	err = mf_chunks_lend(&st->chunks, chunk);
	mf_unlock(&st->chunks_lock);
	return err;
}

bool mf_store_give(struct mf_store *st, u32 *ret_chunk)
{
	bool got;

	mf_lock(&st->chunks_lock);
	got = mf_chunks_give(&st->chunks, ret_chunk);
	mf_unlock(&st->chunks_lock);
	return got;
}

void mf_store_limit(struct mf_store *st, u32 most)
{
	mf_lock(&st->chunks_lock);
	st->chunks.most = most;
	mf_unlock(&st->chunks_lock);
}

/* ---------------------------------------------------------------- write-back */

/* One that was freed just now needs nothing: no page of a chunk that is DRAINING is taken anew. */
static void mark(struct mf_store *st, struct mf_batch *batch, u32 page)
{
	u32 slot, word;
	struct mf_bucket *b = lock_owner(st, page, &slot);

	if (!b)
		return;
	word = st->slot[slot];
	if (word & CLEAN) {
		put_page_of(st, word);
		set_slot(st, b, slot, DISK);
		b->count[MF_N_DROPPED]++;
	} else {
		st->slot[slot] = word | BUSY;
		batch->move[batch->n++] = (struct mf_move){slot, page, false};
	}
	mf_unlock(&b->lock);
}

bool mf_store_drain(struct mf_store *st, struct mf_batch *batch, u32 most)
{
	u32 i, bit;

	batch->n_chunks = batch->n = 0;
	mf_lock(&st->chunks_lock);
	while (batch->n_chunks < plain_min(most, MF_BATCH_CHUNKS) &&
	       mf_chunks_drain(&st->chunks, &batch->chunk[batch->n_chunks]))
		batch->n_chunks++;
	mf_unlock(&st->chunks_lock);
	for (i = 0; i < batch->n_chunks; i++)
		for (bit = 0; bit < MLG_FLEX_CHUNK_PAGES; bit++)
			mark(st, batch, batch->chunk[i] * MLG_FLEX_CHUNK_PAGES + bit);
	return batch->n_chunks > 0;
}

static void end_move(struct mf_store *st, const struct mf_move *move, bool keep)
{
	struct mf_bucket *b = bucket_of(st, move->slot);
	u32 word, after;

	mf_lock(&b->lock);
	word = st->slot[move->slot];
	if (word & DEAD)
		after = FREE;
	else if (move->failed || word & CHANGED)
		after = POOL | (word & WHERE);
	else if (keep)
		after = POOL | CLEAN | (word & WHERE);
	else
		after = DISK;
	b->count[MF_N_ERRORS] += move->failed;
	b->count[MF_N_WRITTEN_BACK] += !move->failed;
	if (kind_of(after) != POOL)
		put_page_of(st, word);
	set_slot(st, b, move->slot, after);
	mf_unlock(&b->lock);
}

void mf_store_drained(struct mf_store *st, struct mf_batch *batch, bool keep)
{
	u32 i;

	for (i = 0; i < batch->n; i++)
		end_move(st, &batch->move[i], keep);
	mf_lock(&st->chunks_lock);
	for (i = 0; i < batch->n_chunks; i++)
		(void)mf_chunks_drained(&st->chunks, batch->chunk[i]);
	mf_unlock(&st->chunks_lock);
	batch->n_chunks = batch->n = 0;
}

void mf_store_numbers(struct mf_store *st, struct mf_numbers *ret)
{
	u32 i, k;

	memset(ret, 0, sizeof(*ret));
	for (i = 0; i < MF_BUCKETS; i++) {
		mf_lock(&st->bucket[i].lock);
		for (k = 0; k < MF_COUNTS; k++)
			ret->count[k] += st->bucket[i].count[k];
		mf_unlock(&st->bucket[i].lock);
	}
	mf_lock(&st->chunks_lock);
	ret->pool_pages = st->chunks.n_pages;
	ret->held = st->chunks.n_held;
	ret->empty = st->chunks.n_empty;
	ret->draining = st->chunks.n_draining;
	mf_unlock(&st->chunks_lock);
}
