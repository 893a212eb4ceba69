// SPDX-License-Identifier: GPL-2.0-or-later
/* Block: /dev/memflex0. What lies in memory is copied on the spot, without a bio of ours; what lies on the
 * disk goes there in the bio that it came in.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>

#include "memflex.h"

static int do_page(struct mflex *m, bool write, u32 slot, struct page *page, bool try)
{
	void *bytes = kmap_local_page(page);
	int result;

	if (write)
		result = mflex_write_page(m, slot, bytes, try);
	else
		result = mflex_read_page(m, slot, bytes, try);
	kunmap_local(bytes);
	if (result == -EBADMSG && !try)
		mflex_tell_wrong(slot);
	if (write && mflex_is_due(m))
		mflex_look_soon(m);
	return result;
}

/* A page on its way to the disk that has grown may have to wait: for the disk alone, which needs nobody
 * here.
 */
static int do_page_for_sure(struct mflex *m, bool write, u32 slot, struct page *page)
{
	u32 batch;
	int result;

	for (;;) {
		batch = smp_load_acquire(&m->n_batches);
		result = do_page(m, write, slot, page, false);
		if (result != -EAGAIN)
			return result;
		wait_event(m->batch_over, READ_ONCE(m->n_batches) != batch);
	}
}

void mflex_to_disk(struct mflex *m, struct bio *bio, u32 sum)
{
	if (m->sums && bio_op(bio) == REQ_OP_READ) {
		mflex_read_verified(m, bio, sum);
		return;
	}
	if (m->ra && bio_op(bio) == REQ_OP_WRITE) {
		mflex_write_told(m, bio);
		return;
	}
	bio_set_dev(bio, compat_disk_bdev(m->backing));
	submit_bio_noacct(bio);
}

/* The beginning of a bio goes to the disk, the rest not, or not with it. */
static void begin_to_disk(struct mflex *m, struct bio *bio, u32 bytes, u32 sum)
{
	struct bio *begin = bio_split(bio, bytes >> SECTOR_SHIFT, GFP_NOIO, &m->splits);

	bio_chain(begin, bio);
	mflex_to_disk(m, begin, sum);
}

/* They are zeroes from now on, and lie nowhere. */
static void discard(struct mflex *m, struct bio *bio)
{
	u32 slot = bio->bi_iter.bi_sector >> SECTORS_SHIFT;
	u32 n = bio->bi_iter.bi_size >> PAGE_SHIFT;

	while (n-- > 0)
		mf_store_free(m->store, slot++);
	bio_endio(bio);
}

/* Asked for before anything of it is done: a write that has begun must also end. */
static bool is_of_pages(struct bio *bio)
{
	struct bvec_iter iter;
	struct bio_vec vec;

	bio_for_each_bvec (vec, bio, iter)
		if (vec.bv_len % PAGE_SIZE || vec.bv_offset % PAGE_SIZE)
			return false;
	return bio->bi_iter.bi_sector % (1u << SECTORS_SHIFT) == 0;
}

/* Page by page; `disk_bytes` at the front of what is left of the bio are the disk's, and `disk_sum` is their
 * sum.
 */
static void submit_bio_(struct bio *bio)
{
	struct mflex *m = bio->bi_bdev->bd_disk->private_data;
	bool write = bio_op(bio) == REQ_OP_WRITE;
	struct bvec_iter iter = bio->bi_iter;
	bool one_read = !write && iter.bi_size == PAGE_SIZE, ahead = false;
	u32 disk_bytes = 0, disk_sum = 0, slot = 0, sum;
	int result;

	if (bio_op(bio) == REQ_OP_DISCARD || bio_op(bio) == REQ_OP_WRITE_ZEROES) {
		discard(m, bio);
		return;
	}
	if (!write && bio_op(bio) != REQ_OP_READ) {
		bio->bi_status = BLK_STS_NOTSUPP;
		bio_endio(bio);
		return;
	}
	if (!is_of_pages(bio)) {
		bio_io_error(bio);
		return;
	}
	while (iter.bi_size) {
		struct bio_vec page = bio_iter_iovec(bio, iter);

		slot = iter.bi_sector >> SECTORS_SHIFT;
		sum = mf_store_sum(m->store, slot);
		result = do_page_for_sure(m, write, slot, page.bv_page);
		bio_advance_iter_single(bio, &iter, PAGE_SIZE);
		ahead = one_read && result == MF_DISK;
		if (!write && result == MF_DISK)
			result = mflex_read_was_ahead(m, slot, page.bv_page, sum);
		if (result == MF_DISK) {
			disk_bytes += PAGE_SIZE;
			disk_sum = mf_sum_on(disk_sum, sum);
			continue;
		}
		if (disk_bytes)
			begin_to_disk(m, bio, disk_bytes, disk_sum);
		disk_bytes = disk_sum = 0;
		if (result < 0)
			bio->bi_status = errno_to_blk_status(result);
		bio_advance(bio, PAGE_SIZE);
	}
	if (!disk_bytes)
		bio_endio(bio);
	else if (ahead && mflex_read_around(m, bio, disk_sum))
		return;
	else
		mflex_to_disk(m, bio, disk_sum);
	if (ahead)
		mflex_read_ahead(m, slot);
}

#ifdef COMPAT_HAS_RW_PAGE
/* Whoever gets an error comes again with a bio. */
static int rw_page(struct block_device *bdev, sector_t sector, struct page *page, enum req_op op)
{
	struct mflex *m = bdev->bd_disk->private_data;
	bool write = op_is_write(op);

	if (PageTransHuge(page) || do_page(m, write, sector >> SECTORS_SHIFT, page, true) != 0)
		return -EOPNOTSUPP;
	page_endio(page, write, 0);
	return 0;
}
#endif

/* Called with swap's locks held. */
static void slot_freed(struct block_device *bdev, unsigned long slot)
{
	struct mflex *m = bdev->bd_disk->private_data;

	mf_store_free(m->store, slot);
}

/* A device that is not said to answer at once: swap keeps what it reads in its cache, and reads ahead. */
static const struct block_device_operations disk_ops = {
	.owner = THIS_MODULE,
	.submit_bio = submit_bio_,
	.ioctl = mflex_ioctl,
	.swap_slot_free_notify = slot_freed,
};

static const struct block_device_operations ops = {
	.owner = THIS_MODULE,
	.submit_bio = submit_bio_,
	.ioctl = mflex_ioctl,
#ifdef COMPAT_HAS_RW_PAGE
	.rw_page = rw_page, /* by it these kernels know */
#endif
	.swap_slot_free_notify = slot_freed,
};

bool mflex_is_open(const struct mflex *m)
{
	return disk_openers(m->disk) > 0;
}

static int open_backing(struct mflex *m, const char *path, u64 *ret_pages)
{
	compat_disk *disk = compat_disk_open(path, m);

	if (IS_ERR(disk)) {
		pr_err(MFLEX_NAME ": cannot open backing=%s for us alone: error %ld\n", path, PTR_ERR(disk));
		return PTR_ERR(disk);
	}
	m->backing = disk;
	*ret_pages = (u64)bdev_nr_bytes(compat_disk_bdev(disk)) >> PAGE_SHIFT;
	return 0;
}

static int make_store(struct mflex *m, u64 pages)
{
	if (pages == 0 || pages > U32_MAX - 1) {
		pr_err(MFLEX_NAME ": a device of %llu pages; expected 1 to %u\n", pages, U32_MAX - 1);
		return -EINVAL;
	}
	m->store = kvzalloc(sizeof(*m->store), GFP_KERNEL);
	m->slots = kvcalloc(pages, sizeof(*m->slots), GFP_KERNEL);
	if (!m->store || !m->slots)
		return -ENOMEM;
	mf_store_init(m->store, m->slots, pages, m->backing);
	return 0;
}

static int make_disk(struct mflex *m)
{
	/* a page that changes on its way has not the sum that was taken of it, nor what it was packed to */
	bool stable_writes = m->sums || m->streams ||
			     (m->backing && bdev_stable_writes(compat_disk_bdev(m->backing)));
	bool at_once = mflex_at_once || !m->backing;
	struct gendisk *disk = compat_page_disk(stable_writes, at_once,
						!at_once && !bdev_nonrot(compat_disk_bdev(m->backing)));
	int err;

	if (IS_ERR(disk))
		return PTR_ERR(disk);
	disk->fops = at_once ? &ops : &disk_ops;
	disk->flags |= GENHD_FL_NO_PART;
	disk->private_data = m;
	strscpy(disk->disk_name, "memflex0", DISK_NAME_LEN);
	set_capacity(disk, (sector_t)m->store->n_slots << SECTORS_SHIFT);
	err = device_add_disk(NULL, disk, mflex_groups);
	if (err < 0)
		put_disk(disk);
	else
		m->disk = disk;
	return err;
}

struct mflex *mflex_new(const char *backing, u32 quota_chunks)
{
	struct mflex *m = kvzalloc(sizeof(*m), GFP_KERNEL);
	u64 pages = (u64)quota_chunks * MLG_FLEX_CHUNK_PAGES;
	int err = 0;

	if (!m)
		return ERR_PTR(-ENOMEM);
	mutex_init(&m->lock);
	INIT_DELAYED_WORK(&m->look, mflex_look);
	init_completion(&m->written);
	init_waitqueue_head(&m->batch_over);
	if (backing && *backing)
		err = open_backing(m, backing, &pages);
	if (err == 0)
		err = make_store(m, pages);
	if (err == 0 && mflex_verify)
		err = mflex_verify_init(m);
	if (err == 0)
		err = mflex_compress_init(m);
	if (err == 0)
		err = mflex_read_ahead_init(m);
	if (err == 0)
		err = bioset_init(&m->splits, MFLEX_POOL_BIOS, 0, BIOSET_NEED_RESCUER);
	if (err == 0)
		err = mflex_write_back_init(m);
	if (err == 0)
		err = make_disk(m);
	if (err < 0) {
		mflex_free(m);
		return ERR_PTR(err);
	}
	return m;
}

void mflex_free(struct mflex *m)
{
	if (!m)
		return;
	if (m->disk) {
		del_gendisk(m->disk);
		put_disk(m->disk);
	}
	mflex_read_ahead_exit(m); /* its last work may ask for a look */
	cancel_delayed_work_sync(&m->look);
	mflex_compress_done(m);
	mflex_verify_done(m);
	mflex_write_back_exit(m);
	bioset_exit(&m->splits);
	if (m->backing)
		compat_disk_close(m->backing);
	kvfree(m->slots);
	kvfree(m->store);
	kvfree(m);
}
