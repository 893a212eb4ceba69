// SPDX-License-Identifier: GPL-2.0-or-later
/* Verify: what the disk answers is compared with what was written there, before its reader gets it. The
 * sums are the store's; what lies in the pool it compares itself.
 *
 * A read of a run of pages goes to the disk as a clone, with one sum over those of its pages, taken before
 * it goes; when it comes back a worker does the same over what came. So nothing that happens to the slots
 * meanwhile matters, and no sum is worked out in an interrupt.
 */
#include <linux/highmem.h>

#include "memflex.h"

struct mflex_check {
	struct work_struct work;
	struct mflex *m;
	struct bio *bio; /* whose pages they are */
	struct bvec_iter iter;
	u32 sum;
	struct bio clone;
};

void mflex_tell_wrong(u32 slot)
{
	pr_err_ratelimited(MFLEX_NAME ": page %u is not what was written: its reader gets an error\n", slot);
}

static u32 sum_of(struct bio *bio, struct bvec_iter iter)
{
	u32 sum = 0;

	for (; iter.bi_size; bio_advance_iter_single(bio, &iter, PAGE_SIZE)) {
		void *bytes = kmap_local_page(bio_iter_page(bio, iter));

		sum = mf_sum_on(sum, mf_sum(bytes));
		kunmap_local(bytes);
	}
	return sum;
}

void mflex_verify_read(struct mflex *m, struct bio *bio, struct bvec_iter iter, u32 sum)
{
	u32 slot = iter.bi_sector >> SECTORS_SHIFT;

	if (sum_of(bio, iter) == sum)
		return;
	mf_store_count_wrong(m->store, slot);
	mflex_tell_wrong(slot);
	bio->bi_status = BLK_STS_IOERR;
}

static void check(struct work_struct *work)
{
	struct mflex_check *c = container_of(work, struct mflex_check, work);
	struct bio *bio = c->bio;

	mflex_verify_read(c->m, bio, c->iter, c->sum);
	bio_put(&c->clone);
	bio_endio(bio);
}

static void on_read(struct bio *clone)
{
	struct mflex_check *c = container_of(clone, struct mflex_check, clone);
	struct bio *bio = c->bio;

	if (!clone->bi_status) {
		queue_work(mflex_wq, &c->work);
		return;
	}
	bio->bi_status = clone->bi_status;
	bio_put(clone);
	bio_endio(bio);
}

void mflex_read_verified(struct mflex *m, struct bio *bio, u32 sum)
{
	struct bio *clone = bio_alloc_clone(compat_disk_bdev(m->backing), bio, GFP_NOIO, &m->checks);
	struct mflex_check *c = container_of(clone, struct mflex_check, clone);

	INIT_WORK(&c->work, check);
	c->m = m;
	c->bio = bio;
	c->iter = bio->bi_iter;
	c->sum = sum;
	clone->bi_end_io = on_read;
	submit_bio_noacct(clone);
}

int mflex_verify_init(struct mflex *m)
{
	m->sums = kvcalloc(m->store->n_slots, sizeof(*m->sums), GFP_KERNEL);
	if (!m->sums)
		return -ENOMEM;
	mf_store_verify(m->store, m->sums);
	return bioset_init(&m->checks, MFLEX_POOL_BIOS, offsetof(struct mflex_check, clone),
			   BIOSET_NEED_RESCUER);
}

void mflex_verify_done(struct mflex *m)
{
	bioset_exit(&m->checks);
	kvfree(m->sums);
}
