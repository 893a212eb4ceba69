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

void ss_place(struct mm_struct *mm, u64 site, struct ss_where *ret)
{
	struct vm_area_struct *code = vma_at(mm, site);

	*ret = (struct ss_where){.sp = user_stack_pointer(current_pt_regs()), .site = site};
	if (is_sound(code)) {
		ret->code = code->vm_file;
		ret->code_at = ((u64)code->vm_pgoff << PAGE_SHIFT) + (site - code->vm_start);
	}
}

/* The stack pointer may be below what was touched of the stack so far. */
void ss_place_stack(struct mm_struct *mm, struct ss_where *w)
{
	struct vm_area_struct *vma = vma_at(mm, w->sp);

	if (!vma && w->sp < TASK_SIZE) {
		vma = find_vma(mm, w->sp);
		if (vma && !(vma->vm_flags & VM_GROWSDOWN))
			vma = NULL;
	}
	if (!vma)
		return;
	w->stack_from = min_t(u64, vma->vm_start, w->sp);
	w->stack_to = vma->vm_end;
}

static const struct ss_span *find_own(const struct ss_own *own, u64 at)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(own->span); i++)
		if (at >= own->span[i].from && at < own->span[i].to)
			return &own->span[i];
	return NULL;
}

/* Whether a mapping is private is settled when it is made. That it can be written to is not: who writes finds
 * out.
 */
static int look_up_own(struct mm_struct *mm, struct ss_own *own, u64 at, const struct ss_span **ret)
{
	struct vm_area_struct *vma = vma_at(mm, at);
	struct ss_span *span = &own->span[own->next];

	if (!vma || !(vma->vm_flags & VM_WRITE))
		return -EFAULT;
	if (vma->vm_flags & VM_MAYSHARE)
		return -EOPNOTSUPP;
	*span = (struct ss_span){vma->vm_start, vma->vm_end};
	own->next = (own->next + 1) % ARRAY_SIZE(own->span);
	*ret = span;
	return 0;
}

int ss_check_private(struct mm_struct *mm, u64 unmaps, struct ss_own *own, const struct ss_span *span, u32 n)
{
	u32 i;

	if (own->unmaps != unmaps)
		*own = (struct ss_own){.unmaps = unmaps};
	for (i = 0; i < n; i++) {
		u64 at = span[i].from;

		while (at < span[i].to) {
			const struct ss_span *known = find_own(own, at);
			int err = known ? 0 : look_up_own(mm, own, at, &known);

			if (err < 0)
				return err;
			at = known->to;
		}
	}
	return 0;
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

	if (!bytes || !w->stack_to || w->sp < w->stack_from + MLG_SS_RED_ZONE_BYTES)
		return;
	to = w->sp - MLG_SS_RED_ZONE_BYTES;
	from = to - min_t(u64, bytes, to - w->stack_from);
	while (to > from) {
		u64 page = max_t(u64, from, (to - 1) & PAGE_MASK);

		clear_piece(page, to);
		to = page;
	}
}
