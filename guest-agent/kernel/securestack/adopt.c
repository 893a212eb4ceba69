// SPDX-License-Identifier: GPL-2.0-or-later
/* Adopt: a snapshot of a thread's entries, and the child of a fork that takes it over. */
#include <linux/file.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "securestack.h"

void ss_snapshot_free(struct ss_snapshot *s)
{
	if (!s)
		return;
	ss_entries_wipe(&s->entries);
	ss_user_put(s->user);
	put_pid(s->maker);
	kfree(s);
}

static struct ss_snapshot *new_snapshot(void)
{
	struct ss_snapshot *s = kzalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);

	if (!s)
		return NULL;
	s->user = ss_user_get();
	if (!s->user) {
		kfree(s);
		return NULL;
	}
	ss_entries_init(&s->entries, s->user);
	s->maker = get_task_pid(current, PIDTYPE_PID);
	s->mm = current->mm;
	return s;
}

static int put_snapshot(struct ss_file *f, struct ss_snapshot *s)
{
	int err = 0;

	mutex_lock(&f->lock);
	if (f->vault || f->snapshot)
		err = -EBUSY;
	else
		f->snapshot = s;
	mutex_unlock(&f->lock);
	return err;
}

long ss_snapshot(struct ss_file *f, struct file *from)
{
	struct ss_vault *v = ss_vault_of(from->private_data, false);
	struct ss_thread *t;
	struct ss_snapshot *s;
	struct ss_limits max;
	int err = 0;

	if (IS_ERR(v)) {
		ss_violation(SS_N_FOREIGN);
		return PTR_ERR(v);
	}
	s = new_snapshot();
	if (!s)
		return -ENOMEM;
	t = v ? ss_thread_find(v) : NULL;
	ss_limits_now(&max);
	if (t)
		err = ss_entries_copy(&t->entries, &s->entries, &max, ss_keep_code);
	if (err == 0)
		err = put_snapshot(f, s);
	if (err < 0)
		ss_snapshot_free(s);
	else
		ss_count(SS_N_SNAPSHOTS, 1);
	return err;
}

static bool is_child_of(const struct ss_snapshot *s)
{
	bool is;

	rcu_read_lock();
	is = task_pid(rcu_dereference(current->real_parent)) == s->maker;
	rcu_read_unlock();
	return is && current->mm != s->mm && thread_group_empty(current) && (current->flags & PF_FORKNOEXEC);
}

/* Entries, with the account that they are on. */
static int take_over(struct ss_thread *t, struct ss_snapshot *s)
{
	if (t->entries.top)
		return -EBUSY;
	ss_entries_wipe(&t->entries);
	swap(t->entries, s->entries);
	swap(t->user, s->user);
	return 0;
}

static long adopt(struct ss_file *f, struct ss_snapshot *s)
{
	struct ss_vault *v = ss_vault_of(f, true);
	struct ss_thread *t = IS_ERR(v) ? ERR_CAST(v) : ss_thread_make(v);
	int err = IS_ERR(t) ? PTR_ERR(t) : take_over(t, s);

	if (err == 0)
		ss_count(SS_N_ADOPTS, 1);
	return err;
}

long ss_adopt(struct ss_file *f)
{
	struct ss_snapshot *s;
	long err;

	mutex_lock(&f->lock);
	s = f->snapshot;
	err = !s ? -ENOENT : is_child_of(s) ? 0 : -EPERM;
	if (err == 0)
		f->snapshot = NULL;
	mutex_unlock(&f->lock);
	if (err == -EPERM)
		ss_violation(SS_N_NO_CHILD);
	if (err < 0)
		return err;
	err = adopt(f, s);
	ss_snapshot_free(s);
	return err;
}
