/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memflex.ko: what its files share. main.c says what is where, and which locks there are. */
#pragma once

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/completion.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "../common/compat.h"
#include "core/ahead.h"
#include "core/link.h"

#define MFLEX_NAME "memflex"
#define MFLEX_POOL_BIOS 64 /* kept in reserve, of each kind */
#define SECTORS_SHIFT (PAGE_SHIFT - SECTOR_SHIFT)

/* Adjacent pages on their way to the disk in one bio. */
struct mflex_run {
	struct mflex *m;
	u32 first, n; /* moves of the batch */
};

struct mflex {
	struct mf_store *store;
	u32 *slots;
	struct gendisk *disk;
	compat_disk *backing; /* or NULL */
	struct bio_set splits, writes, checks;
	u32 *sums; /* NULL: nothing is verified */
	const char *algorithm;
	struct mflex_stream *streams; /* NULL: nothing is packed */
	u32 n_streams;
	struct mflex_read_ahead *ra; /* NULL: there is no disk, or swap reads it ahead */

	struct delayed_work look;
	bool hurry; /* somebody has asked for a look already */

	struct mutex lock; /* what follows; held by the worker while it looks and writes back */
	void *base;        /* of the pool; NULL: there is none */
	struct pci_dev *pdev;
	void __iomem *regs;
	struct mf_link link;
	struct mf_chunk *chunk;
	u32 *owner;
	u8 *serial;
	u32 unmet; /* chunks that were called back, and there is no disk to write them to */

	struct mf_ahead ahead;
	u64 ahead_from_pages; /* in the pool: with more the worker is to look; read by all, without the lock */
	u64 promote_below_pages; /* in the pool; read by all, without the lock */
	u64 n_ahead;          /* pages written back before there was need */

	struct mf_batch batch;
	struct mflex_run run[MF_BATCH_PAGES];
	u8 *staged;                        /* the pages of a batch, on their way to the disk; NULL: there is none */
	bool has_page[MF_BATCH_PAGES];     /* whether there is anything to write, of each move */
	atomic_t under_way;
	struct completion written;
	u32 n_batches; /* that are over */
	wait_queue_head_t batch_over;
};

extern struct workqueue_struct *mflex_wq;
extern struct mflex *mflex; /* the one there is, from the first pool that was found until the module ends */
extern struct mutex mflex_lock; /* its coming to be */

/* block.c: the device, of the size of the disk behind it, or of so many chunks. to_disk(): all of a bio, and
 * the sum of what it reads.
 */
struct mflex *mflex_new(const char *backing, u32 quota_chunks);
void mflex_free(struct mflex *m);
bool mflex_is_open(const struct mflex *m);
void mflex_to_disk(struct mflex *m, struct bio *bio, u32 sum);

/* device.c */
int mflex_device_init(void);
void mflex_device_exit(void);
void mflex_ring(struct mflex *m);

/* worker.c */
void mflex_look(struct work_struct *work);
void mflex_look_soon(struct mflex *m);
void mflex_leave_pool(struct mflex *m); /* with m->lock: what is in it goes to the disk, if that can be */

/* write-back.c: exit() also undoes half of init(). write_back() writes up to so many chunks back; pages that were
 * written, -ENODATA, or -EIO: none could be. If the host has thought better of it meanwhile they stay in the pool
 * as well, unless we `leave`.
 */
int mflex_write_back_init(struct mflex *m);
void mflex_write_back_exit(struct mflex *m);
int mflex_write_back(struct mflex *m, u32 most, bool leave);

/* swap-in.c */
int mflex_ioctl(struct block_device *bdev, compat_disk_mode mode, unsigned int what, unsigned long arg);

/* Whether the worker should look: more is in use than the host expects, or there is little room. */
static inline bool mflex_is_due(const struct mflex *m)
{
	return mf_link_is_short(&m->link, m->store) ||
	       READ_ONCE(m->store->chunks.n_pages) > READ_ONCE(m->ahead_from_pages);
}

/* compress.c: with the module's parameter; done() also undoes half of it. Pages as core/store.h has them,
 * but never packed.
 */
int mflex_compress_init(struct mflex *m);
void mflex_compress_done(struct mflex *m);
int mflex_write_page(struct mflex *m, u32 slot, const void *from, bool try);
int mflex_read_page(struct mflex *m, u32 slot, void *to, bool try);
int mflex_fetch(struct mflex *m, const struct mf_move *move, void *to);
extern const char *const mflex_algorithms[]; /* ends with NULL */

/* verify.c: with the module's parameter; done() also undoes half of it. */
int mflex_verify_init(struct mflex *m);
void mflex_verify_done(struct mflex *m);
void mflex_read_verified(struct mflex *m, struct bio *bio, u32 sum); /* all of it from the disk */
void mflex_verify_read(struct mflex *m, struct bio *bio, struct bvec_iter iter, u32 sum); /* what it has read */
void mflex_tell_wrong(u32 slot);

/* read-ahead.c: windows of the disk that are read before they are asked for; exit() also undoes half of init().
 * was_ahead(): a page that is on the disk: 0; MF_DISK: read it there; -EBADMSG. around(): true: a read of one page
 * of the disk, which has that sum, goes there with what lies beside it, and is not the caller's any more.
 * write_told(): straight to the disk. forget(): before what was written back is on the disk alone.
 */
int mflex_read_ahead_init(struct mflex *m);
void mflex_read_ahead_exit(struct mflex *m);
void mflex_read_ahead(struct mflex *m, u32 slot); /* it was read, and is on the disk */
bool mflex_read_around(struct mflex *m, struct bio *bio, u32 sum);
int mflex_read_was_ahead(struct mflex *m, u32 slot, struct page *page, u32 sum);
void mflex_write_told(struct mflex *m, struct bio *bio);
void mflex_read_ahead_forget(struct mflex *m, const struct mf_move *move, u32 n);
void mflex_read_ahead_numbers(struct mflex *m, u64 *ret_ahead, u64 *ret_taken, u64 *ret_around);

extern const struct attribute_group *mflex_groups[];
extern char *mflex_backing;
extern char *mflex_algorithm;
extern bool mflex_write_ahead;
extern bool mflex_reads_ahead;
extern bool mflex_promotes;
extern bool mflex_at_once;
extern bool mflex_verify;
