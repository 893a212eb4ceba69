// SPDX-License-Identifier: GPL-2.0-or-later
#include "entries.h"
#include "memory.h"

static u32 entry_bytes(u32 n, u32 bytes)
{
	return (u32)(sizeof(struct ss_entry) + n * sizeof(struct ss_span)) + bytes;
}

static struct ss_entry *get_memory(struct ss_entries *t, u32 bytes)
{
	struct ss_entry *e = t->spare;

	if (e && e->capacity >= bytes) {
		t->spare = NULL;
		return e;
	}
	e = ss_alloc(bytes);
	if (e)
		e->capacity = bytes;
	return e;
}

/* The larger one of two is kept. */
static void put_memory(struct ss_entries *t, struct ss_entry *e)
{
	u32 capacity = e->capacity;
	struct ss_entry *old = t->spare;

	ss_wipe(e, entry_bytes(e->n, e->bytes));
	e->capacity = capacity;
	if (capacity <= SS_SPARE_BYTES && (!old || old->capacity < capacity)) {
		t->spare = e;
		e = old;
	}
	if (!e)
		return;
	capacity = e->capacity;
	e->capacity = 0;
	ss_free(e, capacity);
}

int ss_entry_new(struct ss_entries *t, const struct ss_spans *spans, const struct ss_limits *max,
		 struct ss_entry **ret)
{
	u32 bytes = entry_bytes(spans->n, (u32)spans->bytes);
	struct ss_entry *e;

	if (t->depth >= max->depth)
		return -ENOSPC;
	if (!ss_quota_take(t->quota, &t->stock, bytes, max->user_bytes))
		return -EDQUOT;
	e = get_memory(t, bytes);
	if (!e) {
		ss_quota_give(t->quota, &t->stock, bytes);
		return -ENOMEM;
	}
	e->below = NULL;
	e->sp = e->site = e->code_at = e->unmaps = 0;
	e->code = NULL;
	e->flags = 0;
	e->traced = false;
	e->n = spans->n;
	e->bytes = (u32)spans->bytes;
	memcpy(e->span, spans->span, spans->n * sizeof(e->span[0]));
	*ret = e;
	return 0;
}

void ss_entry_free(struct ss_entries *t, struct ss_entry *e)
{
	if (!e)
		return;
	if (e->code)
		t->forget_code(e->code);
	ss_quota_give(t->quota, &t->stock, entry_bytes(e->n, e->bytes));
	put_memory(t, e);
}

static void link_top(struct ss_entries *t, struct ss_entry *e)
{
	e->below = t->top;
	t->top = e;
	t->depth++;
	t->bytes += e->bytes;
}

/* `at` is where its predecessor, or the top, points to it. */
static struct ss_entry *unlink_at(struct ss_entries *t, struct ss_entry **at)
{
	struct ss_entry *e = *at;

	*at = e->below;
	t->depth--;
	t->bytes -= e->bytes;
	return e;
}

void ss_entry_push(struct ss_entries *t, struct ss_entry *e, const struct ss_where *w)
{
	e->sp = w->sp;
	e->site = w->site;
	e->code = w->code;
	e->code_at = w->code_at;
	link_top(t, e);
}

static bool on_same_stack(const struct ss_entry *e, const struct ss_where *w)
{
	return e->sp >= w->stack_from && e->sp < w->stack_to;
}

/* Frames below are gone. Of those at the same height only that is which waited for the same restore, and
 * what came after it; there is one for each site at most, so this is no long way.
 */
u32 ss_entries_drop_dead(struct ss_entries *t, const struct ss_where *w)
{
	struct ss_entry *e, *alive = t->top;
	u32 n = 0;

	while (alive && alive->sp < w->sp && on_same_stack(alive, w))
		alive = alive->below;
	for (e = alive; e && e->sp == w->sp; e = e->below)
		if (e->site == w->site)
			alive = e->below;
	for (; t->top != alive; n++)
		ss_entry_free(t, unlink_at(t, &t->top));
	return n;
}

int ss_entry_find(const struct ss_entries *t, const struct ss_where *w, struct ss_entry **ret)
{
	struct ss_entry *e;

	if (!t->top)
		return -ENOENT;
	for (e = t->top; e; e = e->below) {
		if (e->sp > w->sp && on_same_stack(e, w))
			return -EPERM; /* who is below it came before it, and is gone */
		if (e->sp == w->sp && e->site == w->site)
			break;
	}
	if (!e || e->code != w->code || e->code_at != w->code_at)
		return -EPERM;
	*ret = e;
	return 0;
}

void ss_entry_take(struct ss_entries *t, struct ss_entry *e, const struct ss_where *w)
{
	struct ss_entry **at = &t->top;

	while (*at != e) {
		if (on_same_stack(*at, w))
			ss_entry_free(t, unlink_at(t, at));
		else
			at = &(*at)->below;
	}
	(void)unlink_at(t, at);
}

static int copy_entry(struct ss_entry *e, struct ss_entries *to, const struct ss_limits *max,
		      struct ss_spans *spans, struct ss_entry **ret)
{
	int err;

	spans->n = e->n;
	spans->bytes = e->bytes;
	memcpy(spans->span, e->span, e->n * sizeof(e->span[0]));
	err = ss_entry_new(to, spans, max, ret);
	if (err < 0)
		return err;
	memcpy(ss_entry_data(*ret), ss_entry_data(e), e->bytes);
	(*ret)->sp = e->sp;
	(*ret)->site = e->site;
	(*ret)->code = e->code;
	(*ret)->code_at = e->code_at;
	(*ret)->flags = e->flags;
	(*ret)->traced = e->traced;
	return 0;
}

int ss_entries_copy(const struct ss_entries *from, struct ss_entries *to, const struct ss_limits *max,
		    void (*keep_code)(const void *code))
{
	struct ss_entry *e, **at = &to->top;
	struct ss_spans spans;
	int err;

	for (e = from->top; e; e = e->below) {
		struct ss_entry *copy;

		if (!(e->flags & MLG_SS_FORK))
			continue;
		err = copy_entry(e, to, max, &spans, &copy);
		if (err < 0) {
			ss_entries_wipe(to);
			return err;
		}
		keep_code(copy->code);
		*at = copy;
		at = &copy->below;
		to->depth++;
		to->bytes += copy->bytes;
	}
	return 0;
}

void ss_entries_wipe(struct ss_entries *t)
{
	while (t->top)
		ss_entry_free(t, unlink_at(t, &t->top));
	if (t->spare) {
		u32 capacity = t->spare->capacity;

		t->spare->capacity = 0;
		ss_free(t->spare, capacity);
		t->spare = NULL;
	}
	ss_quota_settle(t->quota, &t->stock);
}
