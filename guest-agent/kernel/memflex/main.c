// SPDX-License-Identifier: GPL-2.0-or-later
/* memflex.ko: a block device to swap to, whose pages lie in memory that the host lends while it has some
 * idle, and on a disk of the guest's own otherwise. memlego/memflex-abi.h has the contract with the host.
 *
 *   block.c       /dev/memflex0: pages in and out         device.c      the ivshmem device of the pool
 *   worker.c      looks at what the host says             write-back.c  from the pool to the disk
 *   stats.c       /sys/block/memflex0                     swap-in.c     what memflexctl asks for
 *   verify.c      checksums of what is on the disk        compress.c    pages that take less than a page
 *   read-ahead.c  of the disk                             core/         plain C, tested in user space
 *
 * Locks, outer ones first: mflex_lock (there is one device), m->lock (its pool), and inside of core/store.h
 * that of a slot's bucket, and that of the chunks or that of core/read-ahead.h. Pages come and go under the last ones
 * only, which are spinlocks, the first two of them never taken in interrupts: so also where reclaim calls, with
 * swap's own locks held. No page's way out allocates memory; a bio that goes partly to the disk is split from a pool of ours.
 *
 * Lives. The block device comes with the first pool and stays until the module ends, which is refused while
 * it is open. Pools come and go meanwhile: without one all goes to the disk.
 */
#include <linux/module.h>
#include <linux/suspend.h>

#include "memflex.h"

struct workqueue_struct *mflex_wq;
struct mflex *mflex;
DEFINE_MUTEX(mflex_lock);

char *mflex_backing;
module_param_named(backing, mflex_backing, charp, 0444);
MODULE_PARM_DESC(backing,
		 "Disk or partition behind it, whose size it has; without one it is as large as the pool can be");

bool mflex_write_ahead = true;
module_param_named(write_ahead, mflex_write_ahead, bool, 0644);
MODULE_PARM_DESC(write_ahead,
		 "Write the oldest pages to the disk before the lent memory is full (default: Y)");

bool mflex_at_once = true;
module_param_named(at_once, mflex_at_once, bool, 0444);
MODULE_PARM_DESC(at_once, "Tell swap that the device answers at once, which its disk does not (default: Y)");

bool mflex_reads_ahead = true;
module_param_named(read_ahead, mflex_reads_ahead, bool, 0644);
MODULE_PARM_DESC(read_ahead, "Read on where pages are read from the disk one after the other (default: Y)");

bool mflex_promotes = true;
module_param_named(promote, mflex_promotes, bool, 0644);
MODULE_PARM_DESC(promote, "Read what lies beside a page that is read from the disk into lent memory that has room (default: Y)");

char *mflex_algorithm = "none";
module_param_named(comp_algorithm, mflex_algorithm, charp, 0444);
MODULE_PARM_DESC(comp_algorithm, "Compress what goes to the lent memory: none, lz4, zstd");

bool mflex_verify;
module_param_named(verify, mflex_verify, bool, 0444);
MODULE_PARM_DESC(verify, "Keep a checksum of each page, and answer what has another one with an error");

/* What lies in the host's memory is in no image, and of no use to who wakes up from one. */
static int on_sleep(struct notifier_block *nb, unsigned long what, void *data)
{
	int answer = NOTIFY_DONE;

	if (what != PM_HIBERNATION_PREPARE)
		return answer;
	mutex_lock(&mflex_lock);
	if (mflex && mflex_is_open(mflex)) {
		pr_warn(MFLEX_NAME ": no hibernation while /dev/memflex0 is in use: swapoff first\n");
		answer = NOTIFY_BAD;
	}
	mutex_unlock(&mflex_lock);
	return answer;
}

static struct notifier_block sleep_notifier = {.notifier_call = on_sleep};

static int __init mflex_init(void)
{
	int err;

	mflex_wq = alloc_workqueue(MFLEX_NAME, WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!mflex_wq)
		return -ENOMEM;
	err = register_pm_notifier(&sleep_notifier);
	if (err < 0)
		goto fail_notifier;
	err = mflex_device_init();
	if (err < 0)
		goto fail_device;
	return 0;

fail_device:
	unregister_pm_notifier(&sleep_notifier);
fail_notifier:
	destroy_workqueue(mflex_wq);
	return err;
}

static void __exit mflex_exit(void)
{
	mflex_device_exit();
	unregister_pm_notifier(&sleep_notifier);
	mflex_free(mflex);
	destroy_workqueue(mflex_wq);
}

module_init(mflex_init);
module_exit(mflex_exit);
MODULE_DESCRIPTION("MemLego: swap into memory that the host lends");
MODULE_LICENSE("GPL");
