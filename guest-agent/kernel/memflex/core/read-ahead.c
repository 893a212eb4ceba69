// SPDX-License-Identifier: GPL-2.0-or-later
/* Read ahead: see read-ahead.h. */
#include "read-ahead.h"

static u32 bits(u32 n)
{
	return n < 32 ? (1u << n) - 1 : ~0u;
}

static u32 region_of(u32 slot)
{
	return slot / MF_RA_PAGES % MF_RA_REGIONS;
}

/* ---------------------------------------------------------------- what to read */

/* The stream that the slot is the next of, or NULL. */
static struct mf_ra_stream *stream_of(struct mf_ra *ra, u32 slot)
{
	u32 i;

	for (i = 0; i < MF_RA_STREAMS; i++)
		if (ra->stream[i].next == slot)
			return &ra->stream[i];
	return NULL;
}

static void new_stream(struct mf_ra *ra, u32 next)
{
	ra->stream[ra->next_stream++ % MF_RA_STREAMS] = (struct mf_ra_stream){.next = next, .ahead = next};
}

/* Where the next window for who reads this slot begins, and of how many pages; 0: none is due. */
static u32 follow(struct mf_ra *ra, u32 slot, u32 n_slots, u32 *ret_first)
{
	struct mf_ra_stream *s = stream_of(ra, slot);

	if (!s) {
		new_stream(ra, slot + 1);
		return 0;
	}
	s->next = slot + 1;
	s->ahead = plain_max(s->ahead, s->next);
	if (s->ahead - s->next > s->n / 2 || s->ahead >= n_slots)
		return 0;
	s->n = plain_min(s->n ? 2 * s->n : MF_RA_FIRST, MF_RA_PAGES);
	*ret_first = s->ahead;
	s->ahead += plain_min(s->n, n_slots - s->ahead);
	return s->ahead - *ret_first;
}

static bool is_written(const struct mf_ra *ra, u32 first, u32 n)
{
	return ra->writes[region_of(first)] || ra->writes[region_of(first + n - 1)];
}

/* An empty one, or the oldest that nobody reads into. */
static struct mf_ra_window *free_window(struct mf_ra *ra)
{
	u32 i;

	for (i = 0; i < MF_RA_WINDOWS; i++)
		if (ra->window[i].state == MF_RA_EMPTY)
			return &ra->window[i];
	for (i = 0; i < MF_RA_WINDOWS; i++) {
		struct mf_ra_window *w = &ra->window[ra->next_window++ % MF_RA_WINDOWS];

		if (w->state != MF_RA_READING)
			return w;
	}
	return NULL;
}

/* Locked. For all to see, so that every write to the disk from now on finds it; NULL: not now. */
static struct mf_ra_window *begin(struct mf_ra *ra, u32 first, u32 n)
{
	struct mf_ra_window *w = NULL;

	if (n > 0 && !is_written(ra, first, n))
		w = free_window(ra);
	if (w)
		*w = (struct mf_ra_window){.state = MF_RA_READING, .first = first, .n = n, .has = bits(n)};
	return w;
}

static bool is_on_disk(struct mf_store *st, u32 slot)
{
	return mf_store_age(st, slot) == MF_AGE_DISK;
}

/* Only these pages of it are to be kept, the first n of it read and counted; false: none. */
static bool settle(struct mf_ra *ra, struct mf_ra_window *w, u32 n, u32 keep, u64 *count)
{
	unsigned long flags = plain_irq_lock(&ra->lock);
	bool reads;

	w->n = n;
	w->has &= keep;
	reads = w->has != 0;
	if (reads)
		*count += n;
	else
		w->state = MF_RA_EMPTY;
	plain_irq_unlock(&ra->lock, flags);
	return reads;
}

bool mf_ra_plan(struct mf_ra *ra, struct mf_store *st, u32 slot, u32 *ret)
{
	unsigned long flags = plain_irq_lock(&ra->lock);
	u32 first = 0, n = follow(ra, slot, st->n_slots, &first);
	struct mf_ra_window *w = begin(ra, first, n);

	plain_irq_unlock(&ra->lock, flags);
	if (!w)
		return false;
	for (n = 0; n < w->n && is_on_disk(st, first + n);)
		n++;
	*ret = (u32)(w - ra->window);
	return settle(ra, w, n, bits(n), &ra->n_ahead);
}

/* Who reads in order is read ahead for, which is better. */
static struct mf_ra_window *begin_around(struct mf_ra *ra, u32 slot, u32 first, u32 n)
{
	unsigned long flags = plain_irq_lock(&ra->lock);
	struct mf_ra_window *w = stream_of(ra, slot) ? NULL : begin(ra, first, n);

	if (w)
		new_stream(ra, first + n);
	plain_irq_unlock(&ra->lock, flags);
	return w;
}

bool mf_ra_plan_around(struct mf_ra *ra, struct mf_store *st, u32 slot, u32 *ret)
{
	u32 group = slot - slot % MF_RA_AROUND, first = slot, end = slot + 1, keep = 0, i;
	u32 most = plain_min(group + MF_RA_AROUND, st->n_slots);
	struct mf_ra_window *w;

	while (first > group && is_on_disk(st, first - 1))
		first--;
	while (end < most && is_on_disk(st, end))
		end++;
	w = end - first > 1 ? begin_around(ra, slot, first, end - first) : NULL;
	if (!w)
		return false;
	for (i = first; i < end; i++)
		keep |= (u32)(i != slot && is_on_disk(st, i)) << (i - first);
	*ret = (u32)(w - ra->window);
	return settle(ra, w, end - first, keep, &ra->n_around);
}

void mf_ra_done(struct mf_ra *ra, u32 window, bool ok)
{
	struct mf_ra_window *w = &ra->window[window];
	unsigned long flags = plain_irq_lock(&ra->lock);

	if (!ok)
		w->has = 0;
	w->state = w->has ? MF_RA_FULL : MF_RA_EMPTY;
	plain_irq_unlock(&ra->lock, flags);
}

/* ---------------------------------------------------------------- what was read */

/* The window that has the slot's page, or will. Locked. */
static struct mf_ra_window *window_with(struct mf_ra *ra, u32 slot)
{
	u32 i;

	for (i = 0; i < MF_RA_WINDOWS; i++) {
		struct mf_ra_window *w = &ra->window[i];

		if (w->state != MF_RA_EMPTY && slot - w->first < w->n && w->has & 1u << (slot - w->first))
			return w;
	}
	return NULL;
}

/* Locked. A window that is being read is EMPTY once it is done(). */
static void drop(struct mf_ra_window *w, u32 slot)
{
	w->has &= ~(1u << (slot - w->first));
	if (w->has == 0 && w->state == MF_RA_FULL)
		w->state = MF_RA_EMPTY;
}

/* Locked. */
static int take(struct mf_ra *ra, u32 slot, void *to)
{
	struct mf_ra_window *w = window_with(ra, slot);

	if (!w || w->state == MF_RA_READING)
		return w ? -EAGAIN : -ENOENT;
	memcpy(to, mf_ra_page(ra, (u32)(w - ra->window), slot - w->first), MF_PAGE_BYTES);
	drop(w, slot);
	return 0;
}

int mf_ra_take(struct mf_ra *ra, u32 slot, void *to)
{
	unsigned long flags = plain_irq_lock(&ra->lock);
	int result = take(ra, slot, to);

	ra->n_taken += result == 0;
	plain_irq_unlock(&ra->lock, flags);
	return result;
}

static bool take_into_pool(void *of, u32 slot, void *to)
{
	struct mf_ra *ra = of;
	unsigned long flags = plain_irq_lock(&ra->lock);
	bool done = take(ra, slot, to) == 0;

	plain_irq_unlock(&ra->lock, flags);
	return done;
}

void mf_ra_promote(struct mf_ra *ra, struct mf_store *st, u32 slot)
{
	u32 first = slot - slot % MF_RA_AROUND, i;

	for (i = first; i < first + MF_RA_AROUND; i++)
		if (i != slot)
			(void)mf_store_promote(st, i, take_into_pool, ra);
}

bool mf_ra_reads_slot(struct mf_ra *ra, u32 slot)
{
	unsigned long flags = plain_irq_lock(&ra->lock);
	const struct mf_ra_window *w = window_with(ra, slot);
	bool reads = w && w->state == MF_RA_READING;

	plain_irq_unlock(&ra->lock, flags);
	return reads;
}

bool mf_ra_reads(struct mf_ra *ra)
{
	unsigned long flags = plain_irq_lock(&ra->lock);
	bool reads = false;
	u32 i;

	for (i = 0; i < MF_RA_WINDOWS; i++)
		reads |= ra->window[i].state == MF_RA_READING;
	plain_irq_unlock(&ra->lock, flags);
	return reads;
}

/* ---------------------------------------------------------------- what it is not any more */

/* Locked. */
static void forget(struct mf_ra *ra, u32 first, u32 n)
{
	u32 i;

	for (i = 0; i < MF_RA_WINDOWS; i++) {
		struct mf_ra_window *w = &ra->window[i];
		u32 from = plain_max(first, w->first), to = plain_min(first + n, w->first + w->n);

		for (; w->state != MF_RA_EMPTY && from < to; from++)
			drop(w, from);
	}
}

void mf_ra_forget(struct mf_ra *ra, u32 slot)
{
	unsigned long flags = plain_irq_lock(&ra->lock);

	forget(ra, slot, 1);
	plain_irq_unlock(&ra->lock, flags);
}

static void write_begins(void *whom, u32 slot)
{
	struct mf_ra *ra = whom;
	unsigned long flags = plain_irq_lock(&ra->lock);

	ra->writes[region_of(slot)]++;
	forget(ra, slot, 1);
	plain_irq_unlock(&ra->lock, flags);
}

void mf_ra_write_ends(struct mf_ra *ra, u32 slot, u32 n)
{
	unsigned long flags = plain_irq_lock(&ra->lock);

	for (; n > 0; slot++, n--)
		ra->writes[region_of(slot)]--;
	plain_irq_unlock(&ra->lock, flags);
}

void mf_ra_init(struct mf_ra *ra, struct mf_store *st, void *pages)
{
	u32 i;

	memset(ra, 0, sizeof(*ra));
	ra->pages = pages;
	for (i = 0; i < MF_RA_STREAMS; i++)
		ra->stream[i].next = MF_NONE;
	plain_irq_lock_init(&ra->lock);
	mf_store_tell(st, write_begins, ra);
}
