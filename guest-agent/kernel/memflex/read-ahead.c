// SPDX-License-Identifier: GPL-2.0-or-later
/* Read ahead: what core/read-ahead.h decides, done. Its windows are ours from the start, with a bio for each:
 * nothing is allocated on the way. Only readers wait, for a window that is being read, as they would for
 * the page itself; if that fails they read their own page.
 *
 * A write that goes straight to the disk goes there as a clone, so that we know when it is over.
 */
#include <linux/highmem.h>
#include <linux/rcupdate.h>
#include <linux/vmalloc.h>

#include "core/read-ahead.h"
#include "memflex.h"

struct mflex_window {
	struct mflex_read_ahead *ra;
	u32 i;
	struct bio bio;
	struct bio_vec vec[MF_RA_PAGES];
};

struct mflex_read_ahead {
	struct mf_ra core;
	struct mflex_window window[MF_RA_WINDOWS];
	wait_queue_head_t done;
	struct bio_set writes;
};

struct mflex_write {
	struct mflex_read_ahead *ra;
	struct bio *bio;
	u32 slot, n;
	struct bio clone;
};

static void on_read(struct bio *bio)
{
	struct mflex_window *w = bio->bi_private;
	bool ok = !bio->bi_status;

	bio_uninit(bio);
	rcu_read_lock(); /* who waits for us to be done may be about to free all */
	mf_ra_done(&w->ra->core, w->i, ok);
	wake_up_all(&w->ra->done);
	rcu_read_unlock();
}

static void read_window(struct mflex *m, u32 i)
{
	struct mflex_window *w = &m->ra->window[i];
	const struct mf_ra_window *what = &m->ra->core.window[i];
	u32 n;

	bio_init(&w->bio, compat_disk_bdev(m->backing), w->vec, MF_RA_PAGES, REQ_OP_READ | REQ_RAHEAD);
	w->bio.bi_iter.bi_sector = (sector_t)what->first << SECTORS_SHIFT;
	w->bio.bi_private = w;
	w->bio.bi_end_io = on_read;
	for (n = 0; n < what->n; n++)
		__bio_add_page(&w->bio, vmalloc_to_page(mf_ra_page(&m->ra->core, i, n)), PAGE_SIZE, 0);
	submit_bio_noacct(&w->bio);
}

void mflex_read_ahead(struct mflex *m, u32 slot)
{
	u32 i;

	if (mflex_reads_ahead && m->ra && mf_ra_plan(&m->ra->core, m->store, slot, &i))
		read_window(m, i);
}

int mflex_read_was_ahead(struct mflex *m, u32 slot, struct page *page, u32 sum)
{
	struct mf_ra *ra;
	void *bytes;
	int result;

	if (!m->ra)
		return MF_DISK;
	ra = &m->ra->core;
	for (;;) {
		bytes = kmap_local_page(page);
		result = mf_ra_take(ra, slot, bytes);
		if (result == 0 && m->sums && mf_sum(bytes) != sum) {
			memset(bytes, 0, PAGE_SIZE);
			result = -EBADMSG;
		}
		kunmap_local(bytes);
		if (result != -EAGAIN)
			break;
		wait_event(m->ra->done, !mf_ra_reads_slot(ra, slot));
	}
	if (result == -EBADMSG) {
		mf_store_count_wrong(m->store, slot);
		mflex_tell_wrong(slot);
	}
	return result == -ENOENT ? MF_DISK : result;
}

static void on_written(struct bio *clone)
{
	struct mflex_write *w = container_of(clone, struct mflex_write, clone);
	struct bio *bio = w->bio;

	bio->bi_status = clone->bi_status;
	mf_ra_write_ends(&w->ra->core, w->slot, w->n);
	bio_put(clone);
	bio_endio(bio);
}

void mflex_write_told(struct mflex *m, struct bio *bio)
{
	struct bio *clone = bio_alloc_clone(compat_disk_bdev(m->backing), bio, GFP_NOIO, &m->ra->writes);
	struct mflex_write *w = container_of(clone, struct mflex_write, clone);

	w->ra = m->ra;
	w->bio = bio;
	w->slot = bio->bi_iter.bi_sector >> SECTORS_SHIFT;
	w->n = bio->bi_iter.bi_size >> PAGE_SHIFT;
	clone->bi_end_io = on_written;
	mf_ra_write_begins(&m->ra->core, w->slot, w->n);
	submit_bio_noacct(clone);
}

void mflex_read_ahead_forget(struct mflex *m, const struct mf_move *move, u32 n)
{
	for (; m->ra && n > 0; move++, n--)
		mf_ra_forget(&m->ra->core, move->slot);
}

void mflex_read_ahead_numbers(struct mflex *m, u64 *ret_read, u64 *ret_taken)
{
	*ret_read = m->ra ? READ_ONCE(m->ra->core.n_read) : 0;
	*ret_taken = m->ra ? READ_ONCE(m->ra->core.n_taken) : 0;
}

int mflex_read_ahead_init(struct mflex *m)
{
	void *pages;
	u32 i;

	if (!m->backing || !mflex_at_once)
		return 0;
	m->ra = kvzalloc(sizeof(*m->ra), GFP_KERNEL);
	pages = vmalloc(MF_RA_WINDOWS * MF_RA_PAGES * PAGE_SIZE);
	if (!m->ra || !pages) {
		vfree(pages);
		return -ENOMEM;
	}
	mf_ra_init(&m->ra->core, pages);
	init_waitqueue_head(&m->ra->done);
	for (i = 0; i < MF_RA_WINDOWS; i++) {
		m->ra->window[i].ra = m->ra;
		m->ra->window[i].i = i;
	}
	return bioset_init(&m->ra->writes, MFLEX_POOL_BIOS, offsetof(struct mflex_write, clone), BIOSET_NEED_RESCUER);
}

/* Nobody reads or writes any more, but windows may still be on their way. */
void mflex_read_ahead_exit(struct mflex *m)
{
	if (!m->ra)
		return;
	if (m->ra->core.pages)
		wait_event(m->ra->done, !mf_ra_reads(&m->ra->core));
	synchronize_rcu();
	bioset_exit(&m->ra->writes);
	vfree(m->ra->core.pages);
	kvfree(m->ra);
}
