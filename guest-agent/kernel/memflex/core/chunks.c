// SPDX-License-Identifier: GPL-2.0-or-later
/* Chunks: see chunks.h. */
#include "chunks.h"

#define ALL_USED (~0ULL)

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

void mf_chunks_init(struct mf_chunks *c, struct mf_chunk *chunk, u32 *owner, u32 n)
{
	static const struct mf_list none = {MF_NONE, MF_NONE};

	memset(c, 0, sizeof(*c));
	c->chunk = chunk;
	c->owner = owner;
	c->n = n;
	c->most = MF_NONE;
	c->filling = MF_NONE;
	c->empty = c->aged = c->holes = none;
}

static bool has_hole(const struct mf_chunk *chunk)
{
	return chunk->used != ALL_USED;
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
	if (has_hole(&c->chunk[i]))
		list_add(c, &c->holes, MF_BY_HOLES, i);
}

static void unseal(struct mf_chunks *c, u32 i)
{
	list_del(c, &c->aged, MF_BY_STATE, i);
	if (has_hole(&c->chunk[i]))
		list_del(c, &c->holes, MF_BY_HOLES, i);
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
	if (c->chunk[i].used)
		seal(c, i);
	else
		set_empty(c, i);
}

static bool find_filling(struct mf_chunks *c)
{
	u32 in_use = mf_chunks_in_use(c);

	if (in_use > c->most)
		return false;
	if (c->filling != MF_NONE)
		return true;
	if (c->empty.head != MF_NONE && in_use < c->most) {
		c->filling = c->empty.head;
		unset_empty(c, c->filling);
	} else if (c->holes.head != MF_NONE) {
		c->filling = c->holes.head;
		unseal(c, c->filling);
	} else {
		return false;
	}
	c->chunk[c->filling].state = MF_FILLING;
	WRITE_ONCE(c->births, c->births + 1);
	WRITE_ONCE(c->chunk[c->filling].born, c->births);
	return true;
}

bool mf_chunks_take(struct mf_chunks *c, u32 slot, u32 *ret_page)
{
	struct mf_chunk *chunk;
	u32 bit;

	if (!find_filling(c))
		return false;
	chunk = &c->chunk[c->filling];
	bit = (u32)__builtin_ctzll(~chunk->used);
	*ret_page = c->filling * MLG_FLEX_CHUNK_PAGES + bit;
	c->owner[*ret_page] = slot;
	chunk->used |= 1ULL << bit;
	c->n_pages++;
	if (!has_hole(chunk))
		stop_filling(c);
	return true;
}

u32 mf_chunks_owner(const struct mf_chunks *c, u32 page)
{
	u32 i = page / MLG_FLEX_CHUNK_PAGES;

	if (i >= c->n || !(c->chunk[i].used >> (page % MLG_FLEX_CHUNK_PAGES) & 1))
		return MF_NONE;
	return c->owner[page];
}

int mf_chunks_put(struct mf_chunks *c, u32 page)
{
	u32 i = page / MLG_FLEX_CHUNK_PAGES;
	struct mf_chunk *chunk;
	bool was_full;

	if (mf_chunks_owner(c, page) == MF_NONE)
		return -EINVAL;
	chunk = &c->chunk[i];
	was_full = !has_hole(chunk);
	chunk->used &= ~(1ULL << (page % MLG_FLEX_CHUNK_PAGES));
	c->n_pages--;
	if (chunk->state != MF_SEALED)
		return 0;
	if (was_full)
		list_add(c, &c->holes, MF_BY_HOLES, i);
	if (!chunk->used) {
		unseal(c, i);
		set_empty(c, i);
	}
	return 0;
}

bool mf_chunks_give(struct mf_chunks *c, u32 *ret_i)
{
	u32 i = c->empty.head;

	if (i == MF_NONE && c->filling != MF_NONE && !c->chunk[c->filling].used) {
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

	if (c->aged.head == MF_NONE && c->filling != MF_NONE && c->chunk[c->filling].used)
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
	if (c->chunk[i].used)
		seal(c, i);
	else
		set_empty(c, i);
	return 0;
}
