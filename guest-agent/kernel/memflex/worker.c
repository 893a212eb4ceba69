// SPDX-License-Identifier: GPL-2.0-or-later
/* Worker: looks at what the host says, once a second, when it rings, and soon after pages were written that
 * left little room; takes and gives back chunks, and writes back what is too much. Memory is never waited
 * for in here: others wait for us when they need some.
 */
#include <linux/random.h>
#include <linux/sched/mm.h>

#include "memflex.h"

/* At most once for each look; a jiffy, so that several pages share one. */
void mflex_look_soon(struct mflex *m)
{
	if (READ_ONCE(m->hurry) || xchg(&m->hurry, true))
		return;
	mod_delayed_work(mflex_wq, &m->look, 1);
}

static u32 new_session(void)
{
	u32 session;

	do
		session = get_random_u32();
	while (session == 0);
	return session;
}

static void ring_if(struct mflex *m, bool changed)
{
	if (changed)
		mflex_ring(m);
}

/* Some chunks at a time, given back as they are free; the disk may fail, or the host think better of it. */
static void shrink(struct mflex *m)
{
	u32 excess;

	while ((excess = mf_link_excess(&m->link, m->store)) > 0) {
		if (mflex_write_back(m, excess, false) < 0)
			break;
		ring_if(m, mf_link_give(&m->link, m->store));
		ring_if(m, mf_link_look(&m->link, m->store, new_session()));
	}
}

/* As many as we may have for good: what is lent late is on its way. */
static u32 may_have(const struct mflex *m)
{
	return min(m->link.target, m->link.quota);
}

/* The oldest go to the disk before those that come need their room. */
static void write_ahead(struct mflex *m)
{
	struct mf_numbers now;
	u32 chunks;
	int n;

	mf_store_numbers(m->store, &now);
	while ((chunks = mf_ahead_chunks(&m->ahead, &now, may_have(m))) > 0) {
		n = mflex_write_back(m, chunks, true);
		if (n < 0)
			break;
		m->n_ahead += n;
		ring_if(m, mf_link_look(&m->link, m->store, new_session()));
		mf_store_numbers(m->store, &now);
	}
}

static void look_at_pool(struct mflex *m)
{
	bool ring = mf_link_look(&m->link, m->store, new_session());

	ring |= mf_link_tell(&m->link, m->store, !m->backing || mflex_is_open(m));
	ring |= mf_link_give(&m->link, m->store);
	ring_if(m, ring);
	if (m->backing)
		shrink(m);
	if (m->backing && mflex_write_ahead)
		write_ahead(m);
	WRITE_ONCE(m->promote_below_pages, mf_ahead_promote_below(READ_ONCE(m->store->chunks.n_held), may_have(m)));
	WRITE_ONCE(m->ahead_from_pages, m->backing ? mf_ahead_from_pages(may_have(m)) : U64_MAX);
	m->unmet = mf_link_excess(&m->link, m->store);
}

void mflex_look(struct work_struct *work)
{
	struct mflex *m = container_of(to_delayed_work(work), struct mflex, look);
	unsigned int noio = memalloc_noio_save();

	mutex_lock(&m->lock);
	WRITE_ONCE(m->hurry, false);
	if (m->base) {
		look_at_pool(m);
		queue_delayed_work(mflex_wq, &m->look, msecs_to_jiffies(MLG_FLEX_LOOK_MSEC));
	}
	mutex_unlock(&m->lock);
	memalloc_noio_restore(noio);
}

void mflex_leave_pool(struct mflex *m)
{
	unsigned int noio = memalloc_noio_save();

	if (m->backing && m->link.state == MF_LINK_RUNNING && mflex_is_open(m)) {
		mf_store_limit(m->store, 0);
		while (mflex_write_back(m, MF_BATCH_CHUNKS, true) >= 0)
			;
	}
	memalloc_noio_restore(noio);
}
