// SPDX-License-Identifier: GPL-2.0-or-later
/* securestack.ko: keeps what programs have on their stacks, while they call functions that they do not
 * trust. memlego/securestack-abi.h has the contract with them, and why it holds.
 *
 *   call.c     PROTECT, RESTORE, CLEAR               adopt.c   entries for the child of a fork
 *   place.c    where a thread is, in what code       vault.c   whose entries are where; users
 *   stats.c    /sys/class/misc/securestack, log      core/     plain C, tested in user space
 *
 * Lives. A vault is found by its mm (mmu_notifier_get), is shared by the files of that mm, and is empty from
 * the moment that the mm is: at exit and exec, whoever has the files. A thread's entries belong to that
 * task: it alone touches them while it lives, so there is no lock for them; when it is dead who sweeps the
 * vault wipes them, and when the mm is gone its notifier. What may sleep (memory of programs, allocations)
 * is done without any spinlock.
 *
 * What is looked up. The code at a site, at both ends of a call, as it can be made writable where it is. That
 * memory is the process's own is looked up once, and believed until something of the mm is unmapped, of which
 * the notifier tells: a mapping stays private, and nothing is mapped in its place before it is unmapped. The
 * stack's bounds only where frames may be gone, or something is cleared.
 *
 * Locks, outer ones first: ss_file.lock; mmap_lock of current's mm, for reading; ss_vault.lock, the table of
 * users, a quota's.
 */
#include <linux/compat.h>
#include <linux/file.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "securestack.h"

#define CALL_KIB_MOST (16u << 10)
#define CLEAR_KIB_MOST (16u << 10)
#define DEPTH_MOST (1u << 24)
#define USER_KIB_MOST (1u << 30)

static uint call_kib = 256;
module_param(call_kib, uint, 0644);
MODULE_PARM_DESC(call_kib, "As much may be protected at once (default: 256)");

static uint clear_kib = 256;
module_param(clear_kib, uint, 0644);
MODULE_PARM_DESC(clear_kib, "As much of the stack may be cleared at once (default: 256)");

static uint depth = 65536;
module_param(depth, uint, 0644);
MODULE_PARM_DESC(depth, "So many calls of one thread may be nested (default: 65536)");

static uint user_kib = 64 << 10;
module_param(user_kib, uint, 0644);
MODULE_PARM_DESC(user_kib, "As much may be kept for one user (default: 65536)");

u32 ss_call_max(void)
{
	return plain_min(READ_ONCE(call_kib), CALL_KIB_MOST) << 10;
}

u32 ss_clear_max(void)
{
	return plain_min(READ_ONCE(clear_kib), CLEAR_KIB_MOST) << 10;
}

void ss_limits_now(struct ss_limits *ret)
{
	ret->depth = plain_min(READ_ONCE(depth), DEPTH_MOST);
	ret->user_bytes = (u64)plain_min(READ_ONCE(user_kib), USER_KIB_MOST) << 10;
}

static long about(void __user *arg)
{
	struct ss_limits max;
	struct mlg_ss_about a = {
		.magic = MLG_SS_MAGIC,
		.version = MLG_SS_VERSION,
		.ranges_max = MLG_SS_RANGES_MAX,
		.call_bytes_max = ss_call_max(),
		.clear_bytes_max = ss_clear_max(),
	};

	ss_limits_now(&max);
	a.depth_max = max.depth;
	a.user_bytes_max = max.user_bytes;
	return copy_to_user(arg, &a, sizeof(a)) ? -EFAULT : 0;
}

static long stat(struct ss_file *f, void __user *arg)
{
	struct ss_vault *v = ss_vault_of(f, false);
	struct mlg_ss_stat s = {};

	if (IS_ERR(v))
		return PTR_ERR(v);
	if (v) {
		struct ss_thread *t = ss_thread_find(v);

		if (t) {
			s.depth = t->entries.depth;
			s.bytes = t->entries.bytes;
			s.user_bytes = READ_ONCE(t->user->quota.bytes);
		}
	}
	return copy_to_user(arg, &s, sizeof(s)) ? -EFAULT : 0;
}

static const struct file_operations fops;

static long snapshot(struct ss_file *f, unsigned long fd)
{
	struct file *from = fd <= INT_MAX ? fget(fd) : NULL;
	long err;

	if (!from || from->f_op != &fops)
		err = -EBADF;
	else
		err = ss_snapshot(f, from);
	if (from)
		fput(from);
	return err;
}

static long on_ioctl(struct file *file, unsigned int what, unsigned long arg)
{
	struct ss_file *f = file->private_data;

	switch (what) {
	case MLG_SS_IOC_PROTECT:
		return ss_refused(ss_protect(f, (void __user *)arg));
	case MLG_SS_IOC_RESTORE:
		return ss_restore(f, arg);
	case MLG_SS_IOC_CLEAR:
		return ss_clear(arg);
	case MLG_SS_IOC_ABOUT:
		return about((void __user *)arg);
	case MLG_SS_IOC_STAT:
		return stat(f, (void __user *)arg);
	case MLG_SS_IOC_SNAPSHOT:
		return ss_refused(snapshot(f, arg));
	case MLG_SS_IOC_ADOPT:
		return ss_adopt(f);
	default:
		return -ENOTTY;
	}
}

/* Its structures are the same for 32-bit programs, and so are its numbers. */
static long on_compat_ioctl(struct file *file, unsigned int what, unsigned long arg)
{
	return on_ioctl(file, what, (u32)arg);
}

static int on_open(struct inode *inode, struct file *file)
{
	struct ss_file *f = kzalloc(sizeof(*f), GFP_KERNEL_ACCOUNT);

	if (!f)
		return -ENOMEM;
	mutex_init(&f->lock);
	file->private_data = f;
	return nonseekable_open(inode, file);
}

static int on_release(struct inode *inode, struct file *file)
{
	struct ss_file *f = file->private_data;

	ss_snapshot_free(f->snapshot);
	ss_vault_put(f->vault);
	kfree(f);
	return 0;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = on_open,
	.release = on_release,
	.unlocked_ioctl = on_ioctl,
	.compat_ioctl = on_compat_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = SS_NAME,
	.fops = &fops,
	.groups = ss_groups,
	.mode = 0666, /* whoever opens it gets at nothing but his own memory, and a quota limits that */
};

static int __init ss_init(void)
{
	return misc_register(&device);
}

static void __exit ss_exit(void)
{
	misc_deregister(&device);
	mmu_notifier_synchronize(); /* the last vaults are freed late */
	rcu_barrier();
}

module_init(ss_init);
module_exit(ss_exit);
MODULE_DESCRIPTION("MemLego: keeps stacks from functions that are not trusted");
MODULE_LICENSE("GPL");
