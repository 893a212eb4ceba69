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

void mf_ra_init(struct mf_ra *ra, void *pages)
{
	u32 i;

	memset(ra, 0, sizeof(*ra));
	ra->pages = pages;
	for (i = 0; i < MF_RA_STREAMS; i++)
		ra->stream[i].next = MF_NONE;
	plain_irq_lock_init(&ra->lock);
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

/* Where the next window for who reads this slot begins, and of how many pages; 0: none is due. */
static u32 follow(struct mf_ra *ra, u32 slot, u32 n_slots, u32 *ret_first)
{
	struct mf_ra_stream *s = stream_of(ra, slot);

	if (!s) {
		ra->stream[ra->next_stream++ % MF_RA_STREAMS] =
			(struct mf_ra_stream){.next = slot + 1, .ahead = slot + 1};
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

/* The oldest that nobody reads into. */
static struct mf_ra_window *free_window(struct mf_ra *ra)
{
	u32 i;

	for (i = 0; i < MF_RA_WINDOWS; i++) {
		struct mf_ra_window *w = &ra->window[ra->next_window++ % MF_RA_WINDOWS];

		if (w->state != MF_RA_READING)
			return w;
	}
	return NULL;
}

static struct mf_ra_window *begin(struct mf_ra *ra, u32 slot, u32 n_slots)
{
	struct mf_ra_window *w = NULL;
	unsigned long flags = plain_irq_lock(&ra->lock);
	u32 first = 0, n = follow(ra, slot, n_slots, &first);

	if (n > 0 && !is_written(ra, first, n))
		w = free_window(ra);
	if (w)
		*w = (struct mf_ra_window){.state = MF_RA_READING, .first = first, .n = n, .has = bits(n)};
	plain_irq_unlock(&ra->lock, flags);
	return w;
}

bool mf_ra_plan(struct mf_ra *ra, struct mf_store *st, u32 slot, u32 *ret)
{
	struct mf_ra_window *w = begin(ra, slot, st->n_slots);
	unsigned long flags;
	bool reads;
	u32 n = 0;

	if (!w)
		return false;
	/* only now that every write to the disk finds the window */
	while (n < w->n && mf_store_age(st, w->first + n) == MF_AGE_DISK)
		n++;
	flags = plain_irq_lock(&ra->lock);
	w->n = n;
	w->has &= bits(n);
	reads = w->has != 0;
	if (reads)
		ra->n_read += n;
	else
		w->state = MF_RA_EMPTY;
	plain_irq_unlock(&ra->lock, flags);
	*ret = (u32)(w - ra->window);
	return reads;
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

int mf_ra_take(struct mf_ra *ra, u32 slot, void *to)
{
	unsigned long flags = plain_irq_lock(&ra->lock);
	struct mf_ra_window *w = window_with(ra, slot);
	int result = !w ? -ENOENT : w->state == MF_RA_READING ? -EAGAIN : 0;

	if (result == 0) {
		memcpy(to, mf_ra_page(ra, (u32)(w - ra->window), slot - w->first), MF_PAGE_BYTES);
		drop(w, slot);
		ra->n_taken++;
	}
	plain_irq_unlock(&ra->lock, flags);
	return result;
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

/* Every region that [slot, slot + n) touches. Locked. */
static void count_writes(struct mf_ra *ra, u32 slot, u32 n, u32 by)
{
	u32 region;

	for (region = slot / MF_RA_PAGES; region <= (slot + n - 1) / MF_RA_PAGES; region++)
		ra->writes[region % MF_RA_REGIONS] += by;
}

void mf_ra_write_begins(struct mf_ra *ra, u32 slot, u32 n)
{
	unsigned long flags = plain_irq_lock(&ra->lock);

	count_writes(ra, slot, n, 1);
	forget(ra, slot, n);
	plain_irq_unlock(&ra->lock, flags);
}

void mf_ra_write_ends(struct mf_ra *ra, u32 slot, u32 n)
{
	unsigned long flags = plain_irq_lock(&ra->lock);

	count_writes(ra, slot, n, (u32)-1);
	plain_irq_unlock(&ra->lock, flags);
}
