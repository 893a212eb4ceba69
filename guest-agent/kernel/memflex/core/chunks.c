// SPDX-License-Identifier: GPL-2.0-or-later
/* Chunks: see chunks.h. */
#include "chunks.h"

static void list_add(struct mf_chunks *c, struct mf_list *list, int which, u32 i)
{
	struct mf_chunk *chunk = &c->chunk[i];

	chunk->link[which].prev = list->tail;
	chunk->link[which].next = MF_NONE;
	if (list->tail == MF_NONE)
		list->head = i;
	else
		c->chunk[list->tail].link[which].next = i;
	list->tail = i;
}

static void list_del(struct mf_chunks *c, struct mf_list *list, int which, u32 i)
{
	u32 prev = c->chunk[i].link[which].prev, next = c->chunk[i].link[which].next;

	if (prev == MF_NONE)
		list->head = next;
	else
		c->chunk[prev].link[which].next = next;
	if (next == MF_NONE)
		list->tail = prev;
	else
		c->chunk[next].link[which].prev = prev;
}

void mf_chunks_init(struct mf_chunks *c, struct mf_chunk *chunk, u32 *owner, u32 n, u32 parts)
{
	static const struct mf_list none = {MF_NONE, MF_NONE};
	u32 k;

	memset(c, 0, sizeof(*c));
	c->chunk = chunk;
	c->owner = owner;
	c->n = n;
	c->parts = parts;
	c->most = MF_NONE;
	c->filling = MF_NONE;
	c->empty = c->aged = none;
	for (k = 0; k < MF_PARTS; k++)
		c->holes[k] = none;
}

static u64 pages_in_use(const struct mf_chunk *chunk)
{
	return chunk->split[0] | chunk->split[1] | chunk->split[2] | chunk->split[3];
}

/* Where a place of a page in `parts` can be had: pages that are so already; parts 1: pages not in use. */
static u64 holes_for(const struct mf_chunk *chunk, u32 parts)
{
	u64 full = ~0ULL;
	u32 i;

	if (parts == 1)
		return ~pages_in_use(chunk);
	for (i = 0; i < parts; i++)
		full &= chunk->used[i];
	return chunk->split[parts - 1] & ~full;
}

static bool has_place(const struct mf_chunk *chunk, u32 parts)
{
	return holes_for(chunk, 1) || (parts > 1 && holes_for(chunk, parts));
}

/* Bits of lists of holes that a chunk belongs into. */
static u32 kinds_of_holes(const struct mf_chunks *c, const struct mf_chunk *chunk)
{
	u32 k, kinds = 0;

	for (k = 0; k < c->parts; k++)
		kinds |= (u32)(holes_for(chunk, k + 1) != 0) << k;
	return kinds;
}

/* It was in the lists `before`, and is to be in `after`. */
static void list_holes(struct mf_chunks *c, u32 i, u32 before, u32 after)
{
	u32 k;

	for (k = 0; k < c->parts; k++) {
		if ((before & ~after) >> k & 1)
			list_del(c, &c->holes[k], MF_BY_HOLES + k, i);
		if ((after & ~before) >> k & 1)
			list_add(c, &c->holes[k], MF_BY_HOLES + k, i);
	}
}

static void set_empty(struct mf_chunks *c, u32 i)
{
	c->chunk[i].state = MF_EMPTY;
	c->n_empty++;
	list_add(c, &c->empty, MF_BY_STATE, i);
}

static void unset_empty(struct mf_chunks *c, u32 i)
{
	c->n_empty--;
	list_del(c, &c->empty, MF_BY_STATE, i);
}

static void seal(struct mf_chunks *c, u32 i)
{
	c->chunk[i].state = MF_SEALED;
	list_add(c, &c->aged, MF_BY_STATE, i);
	list_holes(c, i, 0, kinds_of_holes(c, &c->chunk[i]));
}

static void unseal(struct mf_chunks *c, u32 i)
{
	list_del(c, &c->aged, MF_BY_STATE, i);
	list_holes(c, i, kinds_of_holes(c, &c->chunk[i]), 0);
}

int mf_chunks_lend(struct mf_chunks *c, u32 i)
{
	if (i >= c->n)
		return -ERANGE;
	if (c->chunk[i].state != MF_AWAY)
		return -EEXIST;
	c->n_held++;
	WRITE_ONCE(c->chunk[i].read, 0);
	set_empty(c, i);
	return 0;
}

/* Whatever is filled until now stays behind, sealed or empty. */
static void stop_filling(struct mf_chunks *c)
{
	u32 i = c->filling;

	c->filling = MF_NONE;
	if (pages_in_use(&c->chunk[i]))
		seal(c, i);
	else
		set_empty(c, i);
}

bool mf_chunks_has_room(const struct mf_chunks *c)
{
	u32 in_use = mf_chunks_in_use(c), k;

	if (in_use > c->most)
		return false;
	for (k = 0; k < c->parts; k++)
		if (c->holes[k].head != MF_NONE)
			return true;
	return c->filling != MF_NONE || (c->empty.head != MF_NONE && in_use < c->most);
}

static bool find_filling(struct mf_chunks *c, u32 parts)
{
	u32 in_use = mf_chunks_in_use(c), i;

	if (in_use > c->most)
		return false;
	if (c->filling != MF_NONE && has_place(&c->chunk[c->filling], parts))
		return true;
	if (c->empty.head != MF_NONE && in_use < c->most)
		i = c->empty.head;
	else if (c->holes[parts - 1].head != MF_NONE)
		i = c->holes[parts - 1].head;
	else if (c->holes[0].head != MF_NONE)
		i = c->holes[0].head;
	else
		return false;
	if (c->filling != MF_NONE)
		stop_filling(c);
	if (c->chunk[i].state == MF_EMPTY)
		unset_empty(c, i);
	else
		unseal(c, i);
	c->filling = i;
	c->chunk[i].state = MF_FILLING;
	WRITE_ONCE(c->births, c->births + 1);
	WRITE_ONCE(c->chunk[i].born, c->births);
	return true;
}

static void set_bits(u64 *word, u64 bits)
{
	WRITE_ONCE(*word, *word | bits);
}

static u32 *owner_of(const struct mf_chunks *c, u32 place)
{
	return &c->owner[(place >> MF_PART_SHIFT) * c->n * MLG_FLEX_CHUNK_PAGES + (place & MF_PAGE_MASK)];
}

bool mf_chunks_take(struct mf_chunks *c, u32 slot, u32 parts, u32 *ret_place)
{
	struct mf_chunk *chunk;
	u32 bit, part = 0;
	u64 begun;

	if (!find_filling(c, parts))
		return false;
	chunk = &c->chunk[c->filling];
	begun = parts > 1 ? holes_for(chunk, parts) : 0;
	bit = (u32)__builtin_ctzll(begun ? begun : holes_for(chunk, 1));
	while (chunk->used[part] >> bit & 1)
		part++;
	*ret_place = part << MF_PART_SHIFT | (c->filling * MLG_FLEX_CHUNK_PAGES + bit);
	*owner_of(c, *ret_place) = slot;
	chunk->used[part] |= 1ULL << bit;
	set_bits(&chunk->split[parts - 1], 1ULL << bit);
	c->n_places++;
	c->n_pages += !begun;
	c->n_split += parts > 1;
	if (!kinds_of_holes(c, chunk))
		stop_filling(c);
	return true;
}

u32 mf_chunks_owner(const struct mf_chunks *c, u32 place)
{
	u32 page = place & MF_PAGE_MASK, part = place >> MF_PART_SHIFT;

	if (page / MLG_FLEX_CHUNK_PAGES >= c->n || part >= c->parts ||
	    !(c->chunk[page / MLG_FLEX_CHUNK_PAGES].used[part] >> (page % MLG_FLEX_CHUNK_PAGES) & 1))
		return MF_NONE;
	return *owner_of(c, place);
}

/* What is left of the page; its last part takes the page with it. */
static void put_part(struct mf_chunks *c, struct mf_chunk *chunk, u32 place)
{
	u64 bit = 1ULL << ((place & MF_PAGE_MASK) % MLG_FLEX_CHUNK_PAGES);
	u32 k;

	c->n_places--;
	c->n_split -= mf_chunks_parts(c, place) > 1;
	chunk->used[place >> MF_PART_SHIFT] &= ~bit;
	if ((chunk->used[0] | chunk->used[1] | chunk->used[2] | chunk->used[3]) & bit)
		return;
	c->n_pages--;
	for (k = 0; k < MF_PARTS; k++)
		if (chunk->split[k] & bit)
			WRITE_ONCE(chunk->split[k], chunk->split[k] & ~bit);
}

int mf_chunks_put(struct mf_chunks *c, u32 place)
{
	u32 i = (place & MF_PAGE_MASK) / MLG_FLEX_CHUNK_PAGES, before;
	struct mf_chunk *chunk;

	if (mf_chunks_owner(c, place) == MF_NONE)
		return -EINVAL;
	chunk = &c->chunk[i];
	before = kinds_of_holes(c, chunk);
	put_part(c, chunk, place);
	if (chunk->state != MF_SEALED)
		return 0;
	list_holes(c, i, before, kinds_of_holes(c, chunk));
	if (!pages_in_use(chunk)) {
		unseal(c, i);
		set_empty(c, i);
	}
	return 0;
}

bool mf_chunks_give(struct mf_chunks *c, u32 *ret_i)
{
	u32 i = c->empty.head;

	if (i == MF_NONE && c->filling != MF_NONE && !pages_in_use(&c->chunk[c->filling])) {
		stop_filling(c);
		i = c->empty.head;
	}
	if (i == MF_NONE)
		return false;
	unset_empty(c, i);
	c->chunk[i].state = MF_AWAY;
	c->n_held--;
	*ret_i = i;
	return true;
}

bool mf_chunks_drain(struct mf_chunks *c, u32 *ret_i)
{
	u32 i, forgiven = 0;

	if (c->aged.head == MF_NONE && c->filling != MF_NONE && pages_in_use(&c->chunk[c->filling]))
		stop_filling(c);
	if (c->aged.head == MF_NONE)
		return false;
	for (;; forgiven++) {
		i = c->aged.head;
		unseal(c, i);
		/* readers go on meanwhile: once around is enough */
		if (!READ_ONCE(c->chunk[i].read) || forgiven >= c->n_held)
			break;
		WRITE_ONCE(c->chunk[i].read, 0);
		seal(c, i);
	}
	c->chunk[i].state = MF_DRAINING;
	c->n_draining++;
	*ret_i = i;
	return true;
}

int mf_chunks_drained(struct mf_chunks *c, u32 i)
{
	if (i >= c->n || c->chunk[i].state != MF_DRAINING)
		return -EINVAL;
	c->n_draining--;
	if (pages_in_use(&c->chunk[i]))
		seal(c, i);
	else
		set_empty(c, i);
	return 0;
}
