// SPDX-License-Identifier: GPL-2.0-or-later
/* Call: PROTECT, RESTORE and CLEAR, by the thread whose stack it is. */
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>

#include "securestack.h"

static int read_ranges(struct mlg_ss_range *to, const struct mlg_ss_range __user *from, u32 n)
{
	u32 i;

	if (!user_access_begin(from, n * sizeof(*from)))
		return -EFAULT;
	for (i = 0; i < n; i++) {
		unsafe_get_user(to[i].address, &from[i].address, fault);
		unsafe_get_user(to[i].bytes, &from[i].bytes, fault);
		unsafe_get_user(to[i].flags, &from[i].flags, fault);
	}
	user_access_end();
	return 0;
fault:
	user_access_end();
	return -EFAULT;
}

/* Each is read once: nothing that the program changes meanwhile is looked at again. */
static int read_call(struct ss_thread *t, const struct mlg_ss_protect *p)
{
	int err;

	if (p->n_ranges == 0 || p->n_ranges > MLG_SS_RANGES_MAX)
		return -EINVAL;
	err = read_ranges(t->range, u64_to_user_ptr(p->ranges), p->n_ranges);
	if (err < 0)
		return err;
	err = ss_spans_of(t->range, p->n_ranges, &t->spans);
	if (err < 0)
		return err;
	return t->spans.bytes > ss_call_max() ? -E2BIG : 0;
}

/* Both copy with an underscore: without it each span's place in the kernel would be looked up, to see that it
 * lies within what was allocated. That it lies within this entry's data is known here, and more than that.
 */
static int copy_out(struct ss_entry *e)
{
	u8 *data = ss_entry_data(e);
	u64 room = e->bytes;
	u32 i;

	for (i = 0; i < e->n; i++) {
		u64 bytes = e->span[i].to - e->span[i].from;

		if (bytes > room || _copy_from_user(data, u64_to_user_ptr(e->span[i].from), bytes))
			return -EFAULT;
		data += bytes;
		room -= bytes;
	}
	return 0;
}

/* So many spans were written back as a whole. */
static u32 copy_back(struct ss_entry *e, u32 n)
{
	const u8 *data = ss_entry_data(e);
	u64 room = e->bytes;
	u32 i;

	for (i = 0; i < n; i++) {
		u64 bytes = e->span[i].to - e->span[i].from;

		if (bytes > room || _copy_to_user(u64_to_user_ptr(e->span[i].from), data, bytes))
			break;
		data += bytes;
		room -= bytes;
	}
	return i;
}

/* The frame must not run on without its data. */
static long end_process(enum ss_counter why)
{
	ss_violation(why);
	force_sig(SIGKILL);
	return -EFAULT;
}

/* All or nothing: if memory cannot be zeroed to its end, all gets back what was there, the one that failed
 * as far as it can be written to.
 */
static long move_out(struct ss_entry *e)
{
	long err = copy_out(e);
	u32 i;

	for (i = 0; i < e->n && err == 0; i++) {
		if (!clear_user(u64_to_user_ptr(e->span[i].from), e->span[i].to - e->span[i].from))
			continue;
		err = copy_back(e, i + 1) < i ? end_process(SS_N_LOST) : -EFAULT;
	}
	return err;
}

/* Where it is called from, with the file of that code kept. */
static int place_call(struct ss_vault *v, struct ss_thread *t, const struct mlg_ss_protect *p, struct ss_where *w)
{
	struct mm_struct *mm = current->mm;
	u64 unmaps;
	int err;

	mmap_read_lock(mm);
	unmaps = atomic64_read(&v->unmaps);
	ss_place(mm, p->site, w);
	if (p->clear_bytes || ss_entries_may_be_dead(&t->entries, w->sp))
		ss_place_stack(mm, w);
	err = w->code ? ss_check_private(mm, unmaps, &t->own, t->spans.span, t->spans.n) : -EACCES;
	if (err == 0)
		ss_keep_code(w->code);
	mmap_read_unlock(mm);
	return err;
}

static long protect(struct ss_vault *v, struct ss_thread *t, const struct mlg_ss_protect *p)
{
	struct ss_limits max;
	struct ss_where w;
	struct ss_entry *e = NULL;
	long err = read_call(t, p);

	if (err == 0)
		err = place_call(v, t, p, &w);
	if (err < 0)
		return err;
	ss_count(SS_N_DEAD, ss_entries_drop_dead(&t->entries, &w));
	ss_limits_now(&max);
	err = ss_entry_new(&t->entries, &t->spans, &max, &e);
	if (err == 0)
		err = move_out(e);
	if (err < 0) {
		ss_entry_free(&t->entries, e);
		t->entries.forget_code(w.code);
		return err;
	}
	e->flags = p->flags;
	e->unmaps = t->own.unmaps;
	e->traced = current->ptrace != 0;
	ss_entry_push(&t->entries, e, &w);
	ss_clear_below(&w, p->clear_bytes);
	ss_count(SS_N_PROTECTS, 1);
	ss_count(SS_N_BYTES, e->bytes);
	return 0;
}

static struct ss_vault *vault_of(struct ss_file *f, bool bind)
{
	struct ss_vault *v = ss_vault_of(f, bind);

	if (v == ERR_PTR(-EPERM))
		ss_violation(SS_N_FOREIGN);
	return v;
}

long ss_protect(struct ss_file *f, const void __user *arg)
{
	struct mlg_ss_protect p;
	struct ss_vault *v;
	struct ss_thread *t;

	if (copy_from_user(&p, arg, sizeof(p)))
		return -EFAULT;
	if ((p.flags & ~MLG_SS_FORK) || p.reserved || p.clear_bytes > ss_clear_max())
		return -EINVAL;
	v = vault_of(f, true);
	if (IS_ERR(v))
		return PTR_ERR(v);
	t = ss_thread_make(v);
	return IS_ERR(t) ? PTR_ERR(t) : protect(v, t, &p);
}

/* Finds what may be restored here, and looks whether it may be written to where it was: if nothing was
 * unmapped meanwhile, that is still as private as it was.
 */
static int find(struct ss_vault *v, struct ss_thread *t, u32 clear_bytes, struct ss_where *w, struct ss_entry **ret,
		int *ret_private)
{
	struct mm_struct *mm = current->mm;
	u64 unmaps;
	int err;

	mmap_read_lock(mm);
	unmaps = atomic64_read(&v->unmaps);
	ss_place(mm, instruction_pointer(current_pt_regs()), w);
	if (clear_bytes || !ss_entries_top_is(&t->entries, w))
		ss_place_stack(mm, w);
	err = ss_entry_find(&t->entries, w, ret);
	if (err == 0 && (*ret)->unmaps != unmaps)
		*ret_private = ss_check_private(mm, unmaps, &t->own, (*ret)->span, (*ret)->n);
	mmap_read_unlock(mm);
	return err;
}

static long restore(struct ss_vault *v, struct ss_thread *t, u32 clear_bytes)
{
	enum ss_counter why = SS_COUNTERS;
	struct ss_entry *e;
	struct ss_where w;
	int is_private = 0, err = find(v, t, clear_bytes, &w, &e, &is_private);
	u32 depth = t->entries.depth;

	if (err < 0) {
		ss_violation(err == -ENOENT ? SS_N_NOTHING : SS_N_PLACE);
		return err;
	}
	ss_entry_take(&t->entries, e, &w);
	ss_count(SS_N_DEAD, depth - t->entries.depth - 1);
	if (current->ptrace && !e->traced)
		why = SS_N_TRACED;
	else if (is_private < 0)
		why = SS_N_LOST;
	if (why == SS_COUNTERS) {
		ss_clear_below(&w, clear_bytes);
		if (copy_back(e, e->n) < e->n)
			why = SS_N_LOST;
	}
	ss_entry_free(&t->entries, e);
	ss_count(SS_N_RESTORES, 1);
	return why == SS_COUNTERS ? 0 : end_process(why);
}

long ss_restore(struct ss_file *f, unsigned long clear_bytes)
{
	struct ss_vault *v;
	struct ss_thread *t;

	if (clear_bytes > ss_clear_max())
		return -EINVAL;
	v = vault_of(f, false);
	if (IS_ERR(v))
		return PTR_ERR(v);
	t = v ? ss_thread_find(v) : NULL;
	if (t)
		return restore(v, t, clear_bytes);
	ss_violation(SS_N_NOTHING);
	return -ENOENT;
}

long ss_clear(unsigned long clear_bytes)
{
	struct mm_struct *mm = current->mm;
	struct ss_where w = {.sp = user_stack_pointer(current_pt_regs())};

	if (clear_bytes > ss_clear_max())
		return -EINVAL;
	mmap_read_lock(mm);
	ss_place_stack(mm, &w);
	mmap_read_unlock(mm);
	ss_clear_below(&w, clear_bytes);
	ss_count(SS_N_CLEARS, 1);
	return 0;
}
