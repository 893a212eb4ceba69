// SPDX-License-Identifier: GPL-2.0-or-later
/* Vault: which mm's vault a file has, which thread's entries are where, and on whose account. */
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/hash.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "securestack.h"

#define SWEEP_FROM 64 /* threads: fewer are swept no earlier than these */

static DEFINE_HASHTABLE(users, 6);
static DEFINE_SPINLOCK(users_lock);

/* ---------------------------------------------------------------- users */

static struct ss_user *known_user(kuid_t uid)
{
	struct ss_user *user;

	hash_for_each_possible(users, user, node, __kuid_val(uid))
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

struct ss_user *ss_user_get(void)
{
	struct ss_user *found, *user = kzalloc(sizeof(*user), GFP_KERNEL_ACCOUNT);

	if (!user)
		return NULL;
	user->uid = current_uid();
	refcount_set(&user->refs, 1);
	plain_lock_init(&user->quota.lock);
	spin_lock(&users_lock);
	found = known_user(user->uid);
	if (found)
		refcount_inc(&found->refs);
	else
		hash_add(users, &user->node, __kuid_val(user->uid));
	spin_unlock(&users_lock);
	if (found)
		kfree(user);
	return found ? found : user;
}

void ss_user_put(struct ss_user *user)
{
	if (!refcount_dec_and_lock(&user->refs, &users_lock))
		return;
	hash_del(&user->node);
	spin_unlock(&users_lock);
	kfree(user);
}

u64 ss_bytes_held(void)
{
	struct ss_user *user;
	u64 bytes = 0;
	int i;

	spin_lock(&users_lock);
	hash_for_each(users, i, user, node)
		bytes += READ_ONCE(user->quota.bytes);
	spin_unlock(&users_lock);
	return bytes;
}

/* ---------------------------------------------------------------- entries' code */

/* A mapping's file is kept as long as it is compared with, so that nothing else can come to lie at its
 * address.
 */
void ss_keep_code(const void *code)
{
	get_file((struct file *)code);
	ss_count(SS_N_BEGUN, 1);
}

static void forget_code(const void *code)
{
	ss_count(SS_N_ENDED, 1);
	fput((struct file *)code);
}

void ss_entries_init(struct ss_entries *t, struct ss_user *user)
{
	*t = (struct ss_entries){.quota = &user->quota, .forget_code = forget_code};
}

/* ---------------------------------------------------------------- threads */

static void wipe_thread(struct ss_thread *t)
{
	ss_entries_wipe(&t->entries);
	ss_user_put(t->user);
	put_pid(t->pid);
	kfree_rcu(t, rcu);
}

static unsigned long key_of(const struct pid *pid)
{
	return (unsigned long)pid;
}

struct ss_thread *ss_thread_find(struct ss_vault *v)
{
	struct pid *pid = task_pid(current);
	struct ss_thread *t, *found = NULL;

	rcu_read_lock();
	hash_for_each_possible_rcu(v->threads, t, node, key_of(pid)) {
		if (t->pid == pid) {
			found = t; /* stays as long as we live */
			break;
		}
	}
	rcu_read_unlock();
	return found;
}

static bool is_gone(const struct ss_thread *t)
{
	return !pid_task(t->pid, PIDTYPE_PID);
}

/* Takes those off that fit; they are wiped without the lock, as there may be much of it. */
static void sweep(struct ss_vault *v, bool all)
{
	struct ss_thread *t;
	struct hlist_node *next;
	struct ss_thread *gone = NULL;
	int i;

	rcu_read_lock();
	spin_lock(&v->lock);
	hash_for_each_safe(v->threads, i, next, t, node) {
		if (!all && !is_gone(t))
			continue;
		hash_del_rcu(&t->node);
		v->n_threads--;
		t->gone = gone;
		gone = t;
	}
	v->sweep_at = max_t(u32, SWEEP_FROM, 2 * v->n_threads);
	spin_unlock(&v->lock);
	rcu_read_unlock();
	while (gone) {
		t = gone;
		gone = t->gone;
		wipe_thread(t);
	}
}

struct ss_thread *ss_thread_make(struct ss_vault *v)
{
	struct ss_thread *t = ss_thread_find(v);

	if (t)
		return t;
	t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);
	if (!t)
		return ERR_PTR(-ENOMEM);
	t->user = ss_user_get();
	if (!t->user) {
		kfree(t);
		return ERR_PTR(-ENOMEM);
	}
	t->pid = get_task_pid(current, PIDTYPE_PID);
	ss_entries_init(&t->entries, t->user);
	if (READ_ONCE(v->n_threads) >= READ_ONCE(v->sweep_at))
		sweep(v, false);
	spin_lock(&v->lock);
	hash_add_rcu(v->threads, &t->node, key_of(t->pid));
	v->n_threads++;
	spin_unlock(&v->lock);
	return t;
}

/* ---------------------------------------------------------------- vaults */

static struct ss_vault *vault_of(struct mmu_notifier *notifier)
{
	return container_of(notifier, struct ss_vault, notifier);
}

static struct mmu_notifier *alloc_vault(struct mm_struct *mm)
{
	struct ss_vault *v = kzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);

	if (!v)
		return ERR_PTR(-ENOMEM);
	atomic64_set(&v->unmaps, 1);
	spin_lock_init(&v->lock);
	hash_init(v->threads);
	v->sweep_at = SWEEP_FROM;
	return &v->notifier;
}

static void free_vault(struct mmu_notifier *notifier)
{
	sweep(vault_of(notifier), true);
	kfree(vault_of(notifier));
}

/* No task has this mm any more. */
static void on_mm_gone(struct mmu_notifier *notifier, struct mm_struct *mm)
{
	sweep(vault_of(notifier), true);
}

/* Before anything is unmapped, or moved to elsewhere: nothing else is mapped in its place without it. */
static int on_invalidate(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	if (range->event == MMU_NOTIFY_UNMAP)
		atomic64_inc(&vault_of(notifier)->unmaps);
	return 0;
}

static const struct mmu_notifier_ops notifier_ops = {
	.alloc_notifier = alloc_vault,
	.free_notifier = free_vault,
	.release = on_mm_gone,
	.invalidate_range_start = on_invalidate,
};

static struct ss_vault *bind(struct ss_file *f)
{
	struct mmu_notifier *notifier;
	struct ss_vault *v;

	mutex_lock(&f->lock);
	v = f->vault;
	if (!v && f->snapshot) {
		v = ERR_PTR(-EPERM);
	} else if (!v) {
		notifier = mmu_notifier_get(&notifier_ops, current->mm);
		v = IS_ERR(notifier) ? ERR_CAST(notifier) : vault_of(notifier);
		if (!IS_ERR(v))
			smp_store_release(&f->vault, v);
	}
	mutex_unlock(&f->lock);
	return v;
}

struct ss_vault *ss_vault_of(struct ss_file *f, bool may_bind)
{
	struct ss_vault *v = smp_load_acquire(&f->vault);

	if (!v && may_bind)
		v = bind(f);
	if (IS_ERR_OR_NULL(v))
		return v;
	return v->notifier.mm == current->mm ? v : ERR_PTR(-EPERM);
}

void ss_vault_put(struct ss_vault *v)
{
	if (v)
		mmu_notifier_put(&v->notifier);
}
