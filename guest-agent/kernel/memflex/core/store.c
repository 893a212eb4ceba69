// SPDX-License-Identifier: GPL-2.0-or-later
/* Store: see store.h. A slot is a word: its kind, flags, and a place in the pool or a byte. */
#include "store.h"

#define PLACE 0x3ffffffu /* a page, and which part of it */
#define CLEAN (1u << 27)
#define BUSY (1u << 28)
#define CHANGED (1u << 29)
#define DEAD (1u << 30)
#define POOL (4u << 24) /* the other bits of the kind are the part's */
#define KIND (7u << 24)
#define FREE (0u << 24)
#define SAME (1u << 24)
#define DISK (2u << 24)
#define LOST (3u << 24)

_Static_assert(PLACE < POOL && PLACE >> MF_PART_SHIFT == MF_PARTS - 1, "places fit into a slot's word");

static struct mf_bucket *bucket_of(struct mf_store *st, u32 slot)
{
	return &st->bucket[slot % MF_BUCKETS];
}

static u32 kind_of(u32 word)
{
	return word & POOL ? POOL : word & KIND;
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

static bool take_place(struct mf_store *st, u32 slot, u32 parts, u32 *ret_place)
{
	bool got;

	plain_lock(&st->chunks_lock);
	got = mf_chunks_take(&st->chunks, slot, parts, ret_place);
	plain_unlock(&st->chunks_lock);
	return got;
}

static void put_place_of(struct mf_store *st, u32 word)
{
	plain_lock(&st->chunks_lock);
	(void)mf_chunks_put(&st->chunks, word & PLACE);
	plain_unlock(&st->chunks_lock);
}

/* The last word first: pages are more often alike at their beginning. */
bool mf_page_is_same(const void *page, u8 *ret_byte)
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
	st->parts = 1;
	for (i = 0; i < MF_BUCKETS; i++)
		plain_lock_init(&st->bucket[i].lock);
	plain_lock_init(&st->chunks_lock);
	mf_chunks_init(&st->chunks, NULL, NULL, 0, 1);
}

void mf_store_verify(struct mf_store *st, u32 *sum)
{
	st->sum = sum;
}

void mf_store_tell(struct mf_store *st, void (*tell)(void *whom, u32 slot), void *whom)
{
	st->tell = tell;
	st->whom = whom;
}

void mf_store_pack(struct mf_store *st)
{
	st->parts = MF_PARTS;
}

/* ---------------------------------------------------------------- places in the pool */

/* What one part has room for; its length goes before it. */
static u32 part_bytes(u32 parts)
{
	return MF_PAGE_BYTES / parts & ~7u;
}

static u8 *bytes_at(const struct mf_store *st, u32 place, u32 parts)
{
	return (u8 *)mf_store_page(st, place) + (place >> MF_PART_SHIFT) * part_bytes(parts);
}

static u32 parts_for(const struct mf_store *st, const struct mf_packed *packed)
{
	u32 parts = packed && packed->n ? st->parts : 1;

	while (parts > 1 && packed->n + sizeof(u16) > part_bytes(parts))
		parts--;
	return parts;
}

/* What is to be written, and in how many parts of a page it has room. */
struct input {
	const void *from;
	const struct mf_packed *packed;
	u32 parts;
};

static void copy_in(struct mf_store *st, struct mf_bucket *b, const struct input *in, u32 place, u32 parts)
{
	u8 *at = bytes_at(st, place, parts);
	u16 n;

	b->count[MF_N_POOL_WRITES]++;
	if (parts == 1) {
		memcpy(at, in->from, MF_PAGE_BYTES);
		return;
	}
	n = (u16)in->packed->n;
	memcpy(at, &n, sizeof(n));
	memcpy(at + sizeof(n), in->packed->bytes, n);
	b->count[MF_N_PACKED_WRITES]++;
	b->count[MF_N_PACKED_BYTES] += n;
}

/* The length is read once: others may write there. */
static int copy_out_packed(const struct mf_store *st, u32 slot, u32 place, u32 parts, struct mf_packed *to)
{
	const u16 *at = (const void *)bytes_at(st, place, parts);
	u32 n = READ_ONCE(*at);

	if (n == 0 || n > part_bytes(parts) - sizeof(*at))
		return -EBADMSG;
	memcpy(to->bytes, at + 1, n);
	to->n = n;
	to->sum = mf_store_sum(st, slot);
	return MF_PACKED;
}

/* ---------------------------------------------------------------- in */

bool mf_store_has_room(struct mf_store *st)
{
	bool has;

	plain_lock(&st->chunks_lock);
	has = mf_chunks_has_room(&st->chunks);
	plain_unlock(&st->chunks_lock);
	return has;
}

/* Into the place that it has, or one of the right size; -EAGAIN: there is none. A place that a BUSY slot
 * leaves is nobody's until the batch is over, as its chunk is DRAINING.
 */
static int write_over(struct mf_store *st, struct mf_bucket *b, u32 slot, const struct input *in)
{
	u32 word = st->slot[slot] & ~(CLEAN | DEAD), place = word & PLACE;
	u32 has = mf_chunks_parts(&st->chunks, place), parts = has;

	if (in->parts != has && take_place(st, slot, in->parts, &place)) {
		put_place_of(st, word);
		parts = in->parts;
	} else if (in->parts < has) {
		return -EAGAIN;
	}
	copy_in(st, b, in, place, parts);
	set_slot(st, b, slot, (word & ~PLACE) | place | (word & BUSY ? CHANGED : 0));
	return 0;
}

static int write_anew(struct mf_store *st, struct mf_bucket *b, u32 slot, const struct input *in)
{
	u32 place;

	if (!take_place(st, slot, in->parts, &place))
		return -EAGAIN;
	copy_in(st, b, in, place, in->parts);
	set_slot(st, b, slot, POOL | place);
	return 0;
}

/* There is no place for it in the pool. */
static int write_beyond(struct mf_store *st, struct mf_bucket *b, u32 slot, bool try)
{
	u32 word = st->slot[slot];

	if (word & BUSY)
		return -EAGAIN;
	if (try)
		return MF_DISK;
	if (!st->has_disk) {
		b->count[MF_N_ERRORS]++;
		return -ENOSPC;
	}
	if (word & POOL)
		put_place_of(st, word);
	if (st->tell)
		st->tell(st->whom, slot);
	set_slot(st, b, slot, DISK);
	b->count[MF_N_DISK_WRITES]++;
	return MF_DISK;
}

int mf_store_write_packed(struct mf_store *st, u32 slot, const void *from, const struct mf_packed *packed,
			  bool try)
{
	struct input in = {from, packed, parts_for(st, packed)};
	struct mf_bucket *b = bucket_of(st, slot);
	bool same;
	u32 word, sum;
	u8 byte = 0;
	int result = 0;

	if (slot >= st->n_slots)
		return -ERANGE;
	same = mf_page_is_same(from, &byte);
	sum = st->sum ? mf_sum(from) : 0;
	plain_lock(&b->lock);
	word = st->slot[slot];
	if (same && !(word & BUSY)) {
		if (kind_of(word) == POOL)
			put_place_of(st, word);
		set_slot(st, b, slot, SAME | byte);
		b->count[MF_N_SAME_WRITES]++;
	} else {
		result = word & POOL ? write_over(st, b, slot, &in) : write_anew(st, b, slot, &in);
		if (result == -EAGAIN)
			result = write_beyond(st, b, slot, try);
	}
	if (st->sum && (result == 0 || (result == MF_DISK && !try)))
		WRITE_ONCE(st->sum[slot], sum);
	plain_unlock(&b->lock);
	return result;
}

/* ---------------------------------------------------------------- out */

static int copy_out(struct mf_store *st, u32 slot, u32 place, void *to, struct mf_packed *packed)
{
	u32 parts = mf_chunks_parts(&st->chunks, place);

	if (parts > 1)
		return packed ? copy_out_packed(st, slot, place, parts, packed) : -EINVAL;
	memcpy(to, mf_store_page(st, place), MF_PAGE_BYTES);
	if (!st->sum || mf_sum(to) == st->sum[slot])
		return 0;
	memset(to, 0, MF_PAGE_BYTES);
	return -EBADMSG;
}

static int read_pool(struct mf_store *st, struct mf_bucket *b, u32 slot, void *to, struct mf_packed *packed,
		     bool try)
{
	u32 place = st->slot[slot] & PLACE;
	struct mf_chunk *chunk = &st->chunks.chunk[(place & MF_PAGE_MASK) / MLG_FLEX_CHUNK_PAGES];
	int result = copy_out(st, slot, place, to, packed);

	if (result < 0) {
		b->count[MF_N_WRONG] += !try;
		return result;
	}
	b->count[MF_N_POOL_READS]++;
	if (!READ_ONCE(chunk->read))
		WRITE_ONCE(chunk->read, 1);
	return result;
}

static int read_slot(struct mf_store *st, struct mf_bucket *b, u32 slot, void *to, struct mf_packed *packed,
		     bool try)
{
	u32 word = st->slot[slot];

	switch (word & DEAD ? FREE : kind_of(word)) {
	case POOL:
		return read_pool(st, b, slot, to, packed, try);
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

int mf_store_read_packed(struct mf_store *st, u32 slot, void *to, struct mf_packed *packed, bool try)
{
	struct mf_bucket *b = bucket_of(st, slot);
	int result;

	if (slot >= st->n_slots)
		return -ERANGE;
	plain_lock(&b->lock);
	result = read_slot(st, b, slot, to, packed, try);
	plain_unlock(&b->lock);
	return result;
}

u32 mf_store_age(struct mf_store *st, u32 slot)
{
	struct mf_bucket *b = bucket_of(st, slot);
	u32 word, age = 0;

	if (slot >= st->n_slots)
		return MF_AGE_DISK;
	plain_lock(&b->lock);
	word = st->slot[slot];
	if (kind_of(word) == POOL)
		age = READ_ONCE(st->chunks.births) -
		      READ_ONCE(st->chunks.chunk[(word & MF_PAGE_MASK) / MLG_FLEX_CHUNK_PAGES].born);
	else if (kind_of(word) == DISK || kind_of(word) == LOST)
		age = MF_AGE_DISK;
	plain_unlock(&b->lock);
	return age;
}

static bool promote(struct mf_store *st, struct mf_bucket *b, u32 slot,
		    bool (*copy)(void *of, u32 slot, void *to), void *of)
{
	void *page;
	u32 place;

	if (kind_of(st->slot[slot]) != DISK || !take_place(st, slot, 1, &place))
		return false;
	page = mf_store_page(st, place);
	if (!copy(of, slot, page) || (st->sum && mf_sum(page) != st->sum[slot])) {
		put_place_of(st, place);
		return false;
	}
	set_slot(st, b, slot, POOL | CLEAN | place);
	b->count[MF_N_PROMOTED]++;
	return true;
}

bool mf_store_promote(struct mf_store *st, u32 slot, bool (*copy)(void *of, u32 slot, void *to), void *of)
{
	struct mf_bucket *b = bucket_of(st, slot);
	bool done;

	if (slot >= st->n_slots)
		return false;
	plain_lock(&b->lock);
	done = promote(st, b, slot, copy, of);
	plain_unlock(&b->lock);
	return done;
}

void mf_store_count_wrong(struct mf_store *st, u32 slot)
{
	struct mf_bucket *b = bucket_of(st, slot);

	plain_lock(&b->lock);
	b->count[MF_N_WRONG]++;
	plain_unlock(&b->lock);
}

void mf_store_free(struct mf_store *st, u32 slot)
{
	struct mf_bucket *b = bucket_of(st, slot);
	u32 word;

	if (slot >= st->n_slots)
		return;
	plain_lock(&b->lock);
	word = st->slot[slot];
	if (kind_of(word) != FREE && !(word & DEAD))
		b->count[MF_N_FREED]++;
	if (word & BUSY) {
		st->slot[slot] = word | DEAD;
	} else {
		if (kind_of(word) == POOL)
			put_place_of(st, word);
		set_slot(st, b, slot, FREE);
	}
	plain_unlock(&b->lock);
}

/* ---------------------------------------------------------------- the pool comes and goes */

int mf_store_attach(struct mf_store *st, struct mf_chunk *chunk, u32 *owner, u32 n, void *pages)
{
	if (st->pages)
		return -EBUSY;
	if (n > MLG_FLEX_CHUNKS_MAX)
		return -ERANGE;
	plain_lock(&st->chunks_lock);
	mf_chunks_init(&st->chunks, chunk, owner, n, st->parts);
	st->pages = pages;
	plain_unlock(&st->chunks_lock);
	return 0;
}

static u32 owner_of(struct mf_store *st, u32 place)
{
	u32 slot;

	plain_lock(&st->chunks_lock);
	slot = mf_chunks_owner(&st->chunks, place);
	plain_unlock(&st->chunks_lock);
	return slot;
}

/* The bucket of the slot that the place is of, locked; NULL: it is nobody's. Between our look at its owner and the lock it
 * may have been put, and taken by another slot: then it is nobody's that we are after.
 */
static struct mf_bucket *lock_owner(struct mf_store *st, u32 place, u32 *ret_slot)
{
	u32 slot = owner_of(st, place), word;
	struct mf_bucket *b;

	if (slot == MF_NONE)
		return NULL;
	b = bucket_of(st, slot);
	plain_lock(&b->lock);
	word = st->slot[slot];
	if (kind_of(word) == POOL && (word & PLACE) == place) {
		*ret_slot = slot;
		return b;
	}
	plain_unlock(&b->lock);
	return NULL;
}

/* What took it meanwhile was written later than the pool was closed only if it lies in no pool. */
static void lose_place(struct mf_store *st, u32 place)
{
	u32 slot, word;
	struct mf_bucket *b = lock_owner(st, place, &slot);

	if (!b)
		return;
	word = st->slot[slot];
	put_place_of(st, word);
	set_slot(st, b, slot, word & CLEAN ? DISK : LOST);
	plain_unlock(&b->lock);
}

void mf_store_lose(struct mf_store *st)
{
	u32 page, part, chunk, most;

	plain_lock(&st->chunks_lock);
	most = st->chunks.most;
	st->chunks.most = 0;
	plain_unlock(&st->chunks_lock);
	for (part = 0; part < st->parts; part++)
		for (page = 0; page < st->chunks.n * MLG_FLEX_CHUNK_PAGES; page++)
			lose_place(st, part << MF_PART_SHIFT | page);
	while (mf_store_give(st, &chunk))
		;
	mf_store_limit(st, most);
}

void mf_store_detach(struct mf_store *st)
{
	mf_store_lose(st);
	plain_lock(&st->chunks_lock);
	mf_chunks_init(&st->chunks, NULL, NULL, 0, 1);
	st->pages = NULL;
	plain_unlock(&st->chunks_lock);
}

int mf_store_lend(struct mf_store *st, u32 chunk)
{
	int err;

	plain_lock(&st->chunks_lock);
	err = mf_chunks_lend(&st->chunks, chunk);
	plain_unlock(&st->chunks_lock);
	return err;
}

bool mf_store_give(struct mf_store *st, u32 *ret_chunk)
{
	bool got;

	plain_lock(&st->chunks_lock);
	got = mf_chunks_give(&st->chunks, ret_chunk);
	plain_unlock(&st->chunks_lock);
	return got;
}

void mf_store_limit(struct mf_store *st, u32 most)
{
	plain_lock(&st->chunks_lock);
	st->chunks.most = most;
	plain_unlock(&st->chunks_lock);
}

/* ---------------------------------------------------------------- write-back */

/* One that was freed just now needs nothing: no page of a chunk that is DRAINING is taken anew. */
static void mark(struct mf_store *st, struct mf_batch *batch, u32 place)
{
	u32 slot, word;
	struct mf_bucket *b = lock_owner(st, place, &slot);

	if (!b)
		return;
	word = st->slot[slot];
	if (word & CLEAN) {
		put_place_of(st, word);
		set_slot(st, b, slot, DISK);
		b->count[MF_N_DROPPED]++;
	} else {
		st->slot[slot] = word | BUSY;
		batch->move[batch->n++] = (struct mf_move){.slot = slot, .page = place};
	}
	plain_unlock(&b->lock);
}

static void mark_chunk(struct mf_store *st, struct mf_batch *batch, u32 chunk)
{
	u32 bit, part;

	for (bit = 0; bit < MLG_FLEX_CHUNK_PAGES; bit++)
		for (part = 0; part < st->parts; part++)
			mark(st, batch, part << MF_PART_SHIFT | (chunk * MLG_FLEX_CHUNK_PAGES + bit));
}

bool mf_store_drain(struct mf_store *st, struct mf_batch *batch, u32 most)
{
	u32 i;

	/* a batch has room for all of their places */
	most = plain_min(most, MF_BATCH_CHUNKS / st->parts);
	batch->n_chunks = batch->n = 0;
	plain_lock(&st->chunks_lock);
	while (batch->n_chunks < most &&
	       mf_chunks_drain(&st->chunks, &batch->chunk[batch->n_chunks]))
		batch->n_chunks++;
	plain_unlock(&st->chunks_lock);
	for (i = 0; i < batch->n_chunks; i++)
		mark_chunk(st, batch, batch->chunk[i]);
	return batch->n_chunks > 0;
}

int mf_store_fetch(struct mf_store *st, const struct mf_move *move, void *to, struct mf_packed *packed)
{
	struct mf_bucket *b = bucket_of(st, move->slot);
	int result = -ECANCELED;

	plain_lock(&b->lock);
	if (!(st->slot[move->slot] & (CHANGED | DEAD)))
		result = copy_out(st, move->slot, move->page, to, packed);
	plain_unlock(&b->lock);
	return result;
}

static void end_move(struct mf_store *st, const struct mf_move *move, bool keep)
{
	struct mf_bucket *b = bucket_of(st, move->slot);
	u32 word, after;

	plain_lock(&b->lock);
	word = st->slot[move->slot];
	if (word & DEAD)
		after = FREE;
	else if (word & CHANGED)
		after = POOL | (word & PLACE);
	else if (move->wrong)
		after = LOST;
	else if (move->failed)
		after = POOL | (word & PLACE);
	else if (keep)
		after = POOL | CLEAN | (word & PLACE);
	else
		after = DISK;
	b->count[MF_N_ERRORS] += move->failed;
	b->count[MF_N_WRONG] += move->wrong;
	b->count[MF_N_WRITTEN_BACK] += !move->failed && !move->wrong;
	if (kind_of(after) != POOL)
		put_place_of(st, word);
	set_slot(st, b, move->slot, after);
	plain_unlock(&b->lock);
}

void mf_store_drained(struct mf_store *st, struct mf_batch *batch, bool keep)
{
	u32 i;

	for (i = 0; i < batch->n; i++)
		end_move(st, &batch->move[i], keep);
	plain_lock(&st->chunks_lock);
	for (i = 0; i < batch->n_chunks; i++)
		(void)mf_chunks_drained(&st->chunks, batch->chunk[i]);
	plain_unlock(&st->chunks_lock);
	batch->n_chunks = batch->n = 0;
}

void mf_store_numbers(struct mf_store *st, struct mf_numbers *ret)
{
	u32 i, k;

	memset(ret, 0, sizeof(*ret));
	for (i = 0; i < MF_BUCKETS; i++) {
		plain_lock(&st->bucket[i].lock);
		for (k = 0; k < MF_COUNTS; k++)
			ret->count[k] += st->bucket[i].count[k];
		plain_unlock(&st->bucket[i].lock);
	}
	plain_lock(&st->chunks_lock);
	ret->in_pool = st->chunks.n_places;
	ret->packed = st->chunks.n_split;
	ret->pool_pages = st->chunks.n_pages;
	ret->held = st->chunks.n_held;
	ret->empty = st->chunks.n_empty;
	ret->draining = st->chunks.n_draining;
	plain_unlock(&st->chunks_lock);
}
