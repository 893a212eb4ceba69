// SPDX-License-Identifier: GPL-2.0-or-later
/* Swap-in: what memflexctl asks for (ioctl.h): how old pages are out there, and that they come
 * back in batches. Each is brought in by the kernel's own fault handler, in the process's name: so cgroups,
 * limits, sharing and the freeing of slots are as if the process had touched it, without an exception for each.
 */
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/uaccess.h>

#include "ioctl.h"
#include "memflex.h"

#define AGES_AT_ONCE 64 /* words, twice, on the stack */

static int tell_ages(struct mflex *m, const struct mlg_flex_ages *ages)
{
	u32 __user *slots = u64_to_user_ptr(ages->slots), *to = u64_to_user_ptr(ages->ages);
	u32 word[AGES_AT_ONCE], at, n, i;

	if (ages->n > MLG_FLEX_AGES_MOST || ages->reserved)
		return -EINVAL;
	for (at = 0; at < ages->n; at += n) {
		n = min_t(u32, ages->n - at, AGES_AT_ONCE);
		if (copy_from_user(word, slots + at, n * sizeof(word[0])))
			return -EFAULT;
		for (i = 0; i < n; i++)
			word[i] = mf_store_age(m->store, word[i]);
		if (copy_to_user(to + at, word, n * sizeof(word[0])))
			return -EFAULT;
	}
	return 0;
}

static struct mm_struct *mm_of(pid_t number)
{
	struct pid *pid = find_get_pid(number);
	struct task_struct *task = get_pid_task(pid, PIDTYPE_PID);
	struct mm_struct *mm;

	put_pid(pid);
	if (!task)
		return NULL;
	mm = get_task_mm(task);
	put_task_struct(task);
	return mm;
}

/* A fault may have to let go of the map while the disk reads, and then begins again where it was. */
static int map_pages(struct mlg_flex_map *map)
{
	struct mm_struct *mm;
	long n = 1;

	if (map->pages > MLG_FLEX_MAP_MOST || map->reserved || map->address & ~PAGE_MASK)
		return -EINVAL;
	mm = mm_of(map->pid);
	if (!mm)
		return -ESRCH;
	map->done = 0;
	while (map->done < map->pages && n >= 0 && !fatal_signal_pending(current)) {
		int locked = 1;

		mmap_read_lock(mm);
		n = compat_fault_in(mm, map->address + (u64)map->done * PAGE_SIZE, map->pages - map->done, &locked);
		if (locked) {
			mmap_read_unlock(mm);
			if (n == 0)
				break;
		}
		map->done += max(n, 0L);
		cond_resched();
	}
	mmput(mm);
	return 0;
}

int mflex_ioctl(struct block_device *bdev, compat_disk_mode mode, unsigned int what, unsigned long arg)
{
	struct mflex *m = bdev->bd_disk->private_data;
	void __user *from = (void __user *)arg;
	struct mlg_flex_ages ages;
	struct mlg_flex_map map;
	int err;

	if (what != MLG_FLEX_IOC_AGES && what != MLG_FLEX_IOC_MAP)
		return -ENOTTY;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (what == MLG_FLEX_IOC_AGES)
		return copy_from_user(&ages, from, sizeof(ages)) ? -EFAULT : tell_ages(m, &ages);
	if (copy_from_user(&map, from, sizeof(map)))
		return -EFAULT;
	err = map_pages(&map);
	if (err == 0 && copy_to_user(from, &map, sizeof(map)))
		err = -EFAULT;
	return err;
}
