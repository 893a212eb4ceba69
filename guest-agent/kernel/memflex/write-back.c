// SPDX-License-Identifier: GPL-2.0-or-later
/* Write-back: the oldest chunks' pages go to their places on the disk, by way of a MiB of the guest's own: so the
 * pool needs no struct pages, which take a 64th of its size, lent or not. What is adjacent on the disk goes in one
 * bio. The worker waits for all of a batch; only then is a chunk given back.
 */
#include <linux/sort.h>
#include <linux/vmalloc.h>

#include "memflex.h"

#define RUN_PAGES MLG_FLEX_CHUNK_PAGES /* 256 KiB at once */

static int by_slot(const void *a, const void *b)
{
	const struct mf_move *x = a, *y = b;

	return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static void *staged_at(const struct mflex *m, u32 move)
{
	return m->staged + (size_t)move * PAGE_SIZE;
}

static void one_less(struct mflex *m)
{
	if (atomic_dec_and_test(&m->under_way))
		complete(&m->written);
}

static void on_written(struct bio *bio)
{
	struct mflex_run *run = bio->bi_private;
	bool failed = bio->bi_status;
	u32 i;

	for (i = 0; i < run->n; i++)
		run->m->batch.move[run->first + i].failed = failed;
	bio_put(bio);
	one_less(run->m);
}

static void submit_run(struct mflex *m, struct mflex_run *run)
{
	const struct mf_move *move = &m->batch.move[run->first];
	struct bio *bio = bio_alloc_bioset(compat_disk_bdev(m->backing), run->n, REQ_OP_WRITE | REQ_SYNC,
					   GFP_NOIO, &m->writes);
	u32 i;

	bio->bi_iter.bi_sector = (sector_t)move->slot << SECTORS_SHIFT;
	bio->bi_private = run;
	bio->bi_end_io = on_written;
	for (i = 0; i < run->n; i++)
		__bio_add_page(bio, vmalloc_to_page(staged_at(m, run->first + i)), PAGE_SIZE, 0);
	atomic_inc(&m->under_way);
	submit_bio(bio);
}

/* 0: there is nothing to write. */
static u32 run_length(const struct mflex *m, u32 first)
{
	const struct mf_move *move = &m->batch.move[first];
	u32 n = 0;

	while (n < RUN_PAGES && first + n < m->batch.n &&
	       m->has_page[first + n] && move[n].slot == move->slot + n)
		n++;
	return n;
}

static void stage(struct mflex *m, u32 i)
{
	struct mf_move *move = &m->batch.move[i];
	int result = mflex_fetch(m, move, staged_at(m, i));

	m->has_page[i] = result == 0;
	move->wrong = result == -EBADMSG;
	if (move->wrong)
		mflex_tell_wrong(move->slot);
}

static void write_batch(struct mflex *m)
{
	struct blk_plug plug;
	u32 i, n, n_runs = 0;

	sort(m->batch.move, m->batch.n, sizeof(m->batch.move[0]), by_slot, NULL);
	for (i = 0; i < m->batch.n; i++)
		stage(m, i);
	reinit_completion(&m->written);
	atomic_set(&m->under_way, 1); /* ours, until all are submitted */
	blk_start_plug(&plug);
	for (i = 0; i < m->batch.n; i += n ?: 1) {
		n = run_length(m, i);
		if (n == 0)
			continue;
		m->run[n_runs] = (struct mflex_run){m, i, n};
		submit_run(m, &m->run[n_runs++]);
	}
	blk_finish_plug(&plug);
	one_less(m);
	wait_for_completion(&m->written);
}

int mflex_write_back_init(struct mflex *m)
{
	if (!m->backing)
		return 0;
	m->staged = vmalloc(MF_BATCH_PAGES * PAGE_SIZE);
	if (!m->staged)
		return -ENOMEM;
	return bioset_init(&m->writes, MFLEX_POOL_BIOS, 0, BIOSET_NEED_BVECS);
}

void mflex_write_back_exit(struct mflex *m)
{
	bioset_exit(&m->writes);
	vfree(m->staged);
}

int mflex_write_back(struct mflex *m, u32 most, bool leave)
{
	u32 i, n, n_failed = 0;

	if (!mf_store_drain(m->store, &m->batch, most))
		return -ENODATA;
	n = m->batch.n;
	write_batch(m);
	for (i = 0; i < n; i++)
		n_failed += m->batch.move[i].failed;
	if (n_failed)
		pr_warn_ratelimited(MFLEX_NAME
				    ": %u of %u pages could not be written to the disk, and stay in the pool\n",
				    n_failed, n);
	mflex_read_ahead_forget(m, m->batch.move, n);
	mf_store_drained(m->store, &m->batch, !leave && mf_link_may_keep_all(&m->link, m->store));
	smp_store_release(&m->n_batches, m->n_batches + 1);
	wake_up_all(&m->batch_over);
	return n && n_failed == n ? -EIO : (int)(n - n_failed);
}
