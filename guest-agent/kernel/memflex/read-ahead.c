// SPDX-License-Identifier: GPL-2.0-or-later
/* Read ahead: what core/read-ahead.h decides, done. Its windows are ours from the start, with a bio for each:
 * nothing is allocated on the way. Only readers wait, for a window that is being read, as they would for
 * the page itself; if that fails they read their own page. Who is read around waits for no window: his page is in
 * the request, and goes to him.
 *
 * A write that goes straight to the disk goes there as a clone, so that we know when it is over.
 */
#include <linux/highmem.h>
#include <linux/rcupdate.h>
#include <linux/vmalloc.h>

#include "core/read-ahead.h"
#include "memflex.h"

struct mflex_window {
	struct mflex *m;
	u32 i;
	struct bio *reader; /* of a window that is read around his page; in there is his own page in place of ours */
	u32 slot, sum;      /* his */
	struct work_struct work;
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
	struct mflex_read_ahead *ra = w->m->ra;
	bool ok = !bio->bi_status;

	bio_uninit(bio);
	rcu_read_lock(); /* who waits for us to be done may be about to free all */
	mf_ra_done(&ra->core, w->i, ok);
	wake_up_all(&ra->done);
	rcu_read_unlock();
}

/* `reader`: or NULL; his page is in the window. */
static void read_window(struct mflex *m, u32 i, struct bio *reader, bio_end_io_t *on_end)
{
	struct mflex_window *w = &m->ra->window[i];
	const struct mf_ra_window *what = &m->ra->core.window[i];
	u32 n;

	bio_init(&w->bio, compat_disk_bdev(m->backing), w->vec, MF_RA_PAGES,
		 REQ_OP_READ | (reader ? REQ_SYNC : REQ_RAHEAD));
	w->bio.bi_iter.bi_sector = (sector_t)what->first << SECTORS_SHIFT;
	w->bio.bi_private = w;
	w->bio.bi_end_io = on_end;
	for (n = 0; n < what->n; n++) {
		struct page *page = reader && what->first + n == w->slot ?
					    bio_page(reader) :
					    vmalloc_to_page(mf_ra_page(&m->ra->core, i, n));

		__bio_add_page(&w->bio, page, PAGE_SIZE, 0);
	}
	submit_bio_noacct(&w->bio);
}

void mflex_read_ahead(struct mflex *m, u32 slot)
{
	u32 i;

	if (mflex_reads_ahead && m->ra && mf_ra_plan(&m->ra->core, m->store, slot, &i))
		read_window(m, i, NULL, on_read);
}

/* ---------------------------------------------------------------- around */

/* His page alone, once more: what is wrong may be another's. */
static void end_reader(struct mflex_window *w, bool ok)
{
	struct bio *reader = w->reader;

	w->reader = NULL;
	if (!reader)
		return;
	if (!ok) {
		mflex_to_disk(w->m, reader, w->sum);
		return;
	}
	if (w->m->sums)
		mflex_verify_read(w->m, reader, reader->bi_iter, w->sum);
	bio_endio(reader);
}

static void after_around(struct work_struct *work)
{
	struct mflex_window *w = container_of(work, struct mflex_window, work);
	bool ok = !w->bio.bi_status;
	struct mflex *m = w->m;
	u32 slot = w->slot;

	bio_uninit(&w->bio);
	end_reader(w, ok);
	mf_ra_done(&m->ra->core, w->i, ok); /* from here on it may be somebody else's */
	if (ok)
		mf_ra_promote(&m->ra->core, m->store, slot);
	wake_up_all(&m->ra->done);
	if (mflex_is_due(m))
		mflex_look_soon(m);
}

/* The slots' locks are none for interrupts, and what is verified takes its time; who waits for one page does not
 * wait for that.
 */
static void on_read_around(struct bio *bio)
{
	struct mflex_window *w = bio->bi_private;
	struct bio *reader = w->reader;

	rcu_read_lock(); /* as above: of w->m nothing is ours once the work is queued */
	if (!bio->bi_status && !w->m->sums)
		w->reader = NULL;
	else
		reader = NULL;
	queue_work(mflex_wq, &w->work);
	if (reader)
		bio_endio(reader);
	rcu_read_unlock();
}

bool mflex_read_around(struct mflex *m, struct bio *bio, u32 sum)
{
	u32 slot = bio->bi_iter.bi_sector >> SECTORS_SHIFT, i;
	struct mflex_window *w;

	if (!mflex_promotes || !m->ra ||
	    READ_ONCE(m->store->chunks.n_pages) >= READ_ONCE(m->promote_below_pages) ||
	    !mf_ra_plan_around(&m->ra->core, m->store, slot, &i))
		return false;
	w = &m->ra->window[i];
	w->reader = bio;
	w->slot = slot;
	w->sum = sum;
	read_window(m, i, bio, on_read_around);
	return true;
}

/* ---------------------------------------------------------------- what was read, and what is written */

/* As mf_ra_take(), and -EBADMSG. */
static int take(struct mflex *m, u32 slot, struct page *page, u32 sum)
{
	void *bytes = kmap_local_page(page);
	int result = mf_ra_take(&m->ra->core, slot, bytes);

	if (result == 0 && m->sums && mf_sum(bytes) != sum) {
		memset(bytes, 0, PAGE_SIZE);
		result = -EBADMSG;
	}
	kunmap_local(bytes);
	return result;
}

/* Who waited for a window may find its pages promoted. */
static int read_promoted(struct mflex *m, u32 slot, struct page *page)
{
	void *bytes = kmap_local_page(page);
	int result = mflex_read_page(m, slot, bytes, true);

	kunmap_local(bytes);
	return result == 0 ? 0 : -ENOENT;
}

int mflex_read_was_ahead(struct mflex *m, u32 slot, struct page *page, u32 sum)
{
	bool waited = false;
	int result;

	if (!m->ra)
		return MF_DISK;
	while ((result = take(m, slot, page, sum)) == -EAGAIN) {
		wait_event(m->ra->done, !mf_ra_reads_slot(&m->ra->core, slot));
		waited = true;
	}
	if (result == -ENOENT && waited)
		result = read_promoted(m, slot, page);
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
	submit_bio_noacct(clone);
}

void mflex_read_ahead_forget(struct mflex *m, const struct mf_move *move, u32 n)
{
	for (; m->ra && n > 0; move++, n--)
		mf_ra_forget(&m->ra->core, move->slot);
}

void mflex_read_ahead_numbers(struct mflex *m, u64 *ret_ahead, u64 *ret_taken, u64 *ret_around)
{
	*ret_ahead = m->ra ? READ_ONCE(m->ra->core.n_ahead) : 0;
	*ret_taken = m->ra ? READ_ONCE(m->ra->core.n_taken) : 0;
	*ret_around = m->ra ? READ_ONCE(m->ra->core.n_around) : 0;
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
	mf_ra_init(&m->ra->core, m->store, pages);
	init_waitqueue_head(&m->ra->done);
	for (i = 0; i < MF_RA_WINDOWS; i++) {
		m->ra->window[i].m = m;
		m->ra->window[i].i = i;
		INIT_WORK(&m->ra->window[i].work, after_around);
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
	flush_workqueue(mflex_wq);
	synchronize_rcu();
	bioset_exit(&m->ra->writes);
	vfree(m->ra->core.pages);
	kvfree(m->ra);
}
