// SPDX-License-Identifier: GPL-2.0-or-later
/* Place: where a thread is in its program, whether the code there can be relied on, and whether memory is
 * its own.
 */
#include <linux/mm.h>
#include <linux/ptrace.h>
#include <linux/sched/task_stack.h>
#include <linux/uaccess.h>

#include "securestack.h"

static struct vm_area_struct *vma_at(struct mm_struct *mm, u64 address)
{
	return address < TASK_SIZE ? vma_lookup(mm, address) : NULL;
}

/* Code that a file shows and nobody has changed: in a private mapping without an anon_vma no page was ever
 * written, by whatever way (mprotect, /proc/self/mem, ptrace).
 */
static bool is_sound(const struct vm_area_struct *vma)
{
	return vma && vma->vm_file && (vma->vm_flags & VM_EXEC) &&
	       !(vma->vm_flags & (VM_WRITE | VM_MAYSHARE)) && !vma->anon_vma;
}

/* The stack pointer may be below what was touched of the stack so far. */
static struct vm_area_struct *place_stack(struct mm_struct *mm, struct ss_where *w)
{
	struct vm_area_struct *vma = vma_at(mm, w->sp);

	if (!vma && w->sp < TASK_SIZE) {
		vma = find_vma(mm, w->sp);
		if (vma && !(vma->vm_flags & VM_GROWSDOWN))
			vma = NULL;
	}
	if (!vma)
		return NULL;
	w->stack_from = min_t(u64, vma->vm_start, w->sp);
	w->stack_to = vma->vm_end;
	return vma;
}

struct vm_area_struct *ss_place(struct mm_struct *mm, u64 site, struct ss_where *ret)
{
	struct vm_area_struct *code = vma_at(mm, site);

	*ret = (struct ss_where){.sp = user_stack_pointer(current_pt_regs()), .site = site};
	if (is_sound(code)) {
		ret->code = code->vm_file;
		ret->code_at = ((u64)code->vm_pgoff << PAGE_SHIFT) + (site - code->vm_start);
	}
	return place_stack(mm, ret);
}

static int check_span(struct mm_struct *mm, struct vm_area_struct *vma, const struct ss_span *span)
{
	u64 at = span->from;

	while (at < span->to) {
		if (!vma || at < vma->vm_start || at >= vma->vm_end)
			vma = vma_at(mm, at);
		if (!vma || !(vma->vm_flags & VM_WRITE))
			return -EFAULT;
		if (vma->vm_flags & VM_MAYSHARE)
			return -EOPNOTSUPP;
		at = vma->vm_end;
	}
	return 0;
}

int ss_check_private(struct mm_struct *mm, struct vm_area_struct *stack, const struct ss_span *span, u32 n)
{
	int err = 0;
	u32 i;

	for (i = 0; i < n && err == 0; i++)
		err = check_span(mm, stack, &span[i]);
	return err;
}

/* Reading makes no page of memory where there is none. */
static bool is_zero(u64 from, u64 to)
{
	u8 part[256];

	while (from < to) {
		u32 bytes = min_t(u64, sizeof(part), to - from);

		if (copy_from_user(part, u64_to_user_ptr(from), bytes))
			return true; /* nobody can read it */
		if (memchr_inv(part, 0, bytes)) {
			memzero_explicit(part, sizeof(part));
			return false;
		}
		from += bytes;
	}
	return true;
}

/* Within one page. One that is not there, or swapped out, is looked at first. */
static void clear_piece(u64 from, u64 to)
{
	unsigned long left;

	pagefault_disable();
	left = clear_user(u64_to_user_ptr(from), to - from);
	pagefault_enable();
	if (left && !is_zero(from, to))
		left = clear_user(u64_to_user_ptr(from), to - from); /* else nobody can write there */
}

void ss_clear_below(const struct ss_where *w, u32 bytes)
{
	u64 to, from;

	if (!w->stack_to || w->sp < w->stack_from + MLG_SS_RED_ZONE_BYTES)
		return;
	to = w->sp - MLG_SS_RED_ZONE_BYTES;
	from = to - min_t(u64, bytes, to - w->stack_from);
	while (to > from) {
		u64 page = max_t(u64, from, (to - 1) & PAGE_MASK);

		clear_piece(page, to);
		to = page;
	}
}
