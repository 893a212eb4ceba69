/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compat: everything that differs between the kernels that MemLego's modules are built for (6.1 and 6.12).
 * No other file looks at the kernel's version.
 */
#pragma once

#include <linux/blkdev.h>
#include <linux/ipv6.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <linux/version.h>
#include <net/sock.h>
#include <net/tcp.h>

/* 6.5: sendpage is gone, MSG_SPLICE_PAGES came; ioctl of a protocol got its integer copied. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define COMPAT_HAS_SENDPAGE 1
#define COMPAT_IOCTL_ARG unsigned long

/* What is sent by page must not overtake what goes by our own sendmsg: the kernel then makes a sendmsg of
 * it.
 */
static inline void compat_plain_sendpage(struct proto *prot, struct proto_ops *ops)
{
	prot->sendpage = NULL;
	ops->sendpage = sock_no_sendpage;
	ops->sendpage_locked = NULL;
}

static inline int compat_ioctl_answer(unsigned long arg, int value)
{
	return put_user(value, (int __user *)arg);
}
#else
#define COMPAT_IOCTL_ARG int *

static inline void compat_plain_sendpage(struct proto *prot, struct proto_ops *ops)
{
}

static inline int compat_ioctl_answer(int *karg, int value)
{
	*karg = value;
	return 0;
}
#endif

/* 6.7: sockets' bit fields became bits of one word. */
static inline bool compat_dontfrag(const struct sock *sk)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	return inet6_sk(sk)->dontfrag;
#else
	return inet6_test_bit(DONTFRAG, sk);
#endif
}

static inline struct inet_hashinfo *compat_tcp_hashinfo(struct net *net)
{
	return net->ipv4.tcp_death_row.hashinfo;
}

/* ---------------------------------------------------------------- block devices */

/* 6.3: rw_page is gone, instead a feature of the queue says that all is done when submit_bio returns. 6.9:
 * disks are opened as files. 6.11: limits come with the allocation.
 */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 3, 0)
#define COMPAT_HAS_RW_PAGE 1
#endif

/* 6.5: modes of disks got a type of their own. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
typedef fmode_t compat_disk_mode;
#else
typedef blk_mode_t compat_disk_mode;
#endif

/* At once: some milliseconds of work. */
#define COMPAT_DISCARD_SECTORS ((64u << 20) >> SECTOR_SHIFT)

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 11, 0)
typedef struct block_device compat_disk;

static inline compat_disk *compat_disk_open(const char *path, void *holder)
{
	return blkdev_get_by_path(path, FMODE_READ | FMODE_WRITE | FMODE_EXCL, holder);
}

static inline struct block_device *compat_disk_bdev(compat_disk *disk)
{
	return disk;
}

static inline void compat_disk_close(compat_disk *disk)
{
	blkdev_put(disk, FMODE_READ | FMODE_WRITE | FMODE_EXCL);
}

/* A disk of blocks of one page, that does at once what it is asked for, or that turns, or neither. Up to 6.2 the
 * first shows in its operations.
 */
static inline struct gendisk *compat_page_disk(bool stable_writes, bool at_once, bool turns)
{
	struct gendisk *disk = blk_alloc_disk(NUMA_NO_NODE);
	struct request_queue *q;

	if (!disk)
		return ERR_PTR(-ENOMEM);
	q = disk->queue;
	blk_queue_logical_block_size(q, PAGE_SIZE);
	blk_queue_physical_block_size(q, PAGE_SIZE);
	blk_queue_io_min(q, PAGE_SIZE);
	blk_queue_io_opt(q, PAGE_SIZE);
	blk_queue_dma_alignment(q, PAGE_SIZE - 1);
	blk_queue_max_discard_sectors(q, COMPAT_DISCARD_SECTORS);
	blk_queue_max_write_zeroes_sectors(q, COMPAT_DISCARD_SECTORS);
	q->limits.discard_granularity = PAGE_SIZE;
	if (!turns)
		blk_queue_flag_set(QUEUE_FLAG_NONROT, q);
	blk_queue_flag_clear(QUEUE_FLAG_ADD_RANDOM, q);
	if (stable_writes)
		blk_queue_flag_set(QUEUE_FLAG_STABLE_WRITES, q);
	return disk;
}
#else
typedef struct file compat_disk;

static inline compat_disk *compat_disk_open(const char *path, void *holder)
{
	return bdev_file_open_by_path(path, BLK_OPEN_READ | BLK_OPEN_WRITE, holder, NULL);
}

static inline struct block_device *compat_disk_bdev(compat_disk *disk)
{
	return file_bdev(disk);
}

static inline void compat_disk_close(compat_disk *disk)
{
	bdev_fput(disk);
}

static inline struct gendisk *compat_page_disk(bool stable_writes, bool at_once, bool turns)
{
	struct queue_limits limits = {
		.features = (at_once ? BLK_FEAT_SYNCHRONOUS : 0) | (turns ? BLK_FEAT_ROTATIONAL : 0) |
			    (stable_writes ? BLK_FEAT_STABLE_WRITES : 0),
		.logical_block_size = PAGE_SIZE,
		.physical_block_size = PAGE_SIZE,
		.io_min = PAGE_SIZE,
		.io_opt = PAGE_SIZE,
		.dma_alignment = PAGE_SIZE - 1,
		.max_hw_discard_sectors = COMPAT_DISCARD_SECTORS,
		.max_write_zeroes_sectors = COMPAT_DISCARD_SECTORS,
		.discard_granularity = PAGE_SIZE,
	};

	return blk_alloc_disk(&limits, NUMA_NO_NODE);
}
#endif

/* ---------------------------------------------------------------- memory of processes */

/* Faults pages in to be read, as if they had been touched; how many, or an error. `*locked` becomes 0 where the
 * map was let go of on the way. 6.5: an argument less.
 */
static inline long compat_fault_in(struct mm_struct *mm, unsigned long start, unsigned long n, int *locked)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
	return get_user_pages_remote(mm, start, n, 0, NULL, NULL, locked);
#else
	return get_user_pages_remote(mm, start, n, 0, NULL, locked);
#endif
}
