/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entries: what one thread has in its vault, the last on top; whose each is, and which are dead.
 *
 * Only the thread itself comes here, or who knows that it is gone; so there is no lock but the quota's.
 * Nothing that was in an entry is left in memory that was freed, or is kept.
 */
#pragma once

#include "quota.h"
#include "ranges.h"

#define SS_SPARE_BYTES 16384u /* an entry that is kept for the next call: as large at most */

/* Where a thread is: at a system call, or to be at one. `code` names the file, and `code_at` the place in
 * it, that the site is mapped from; nobody looks into it here. The stack is what may lie around sp:
 * [stack_from, stack_to). To find that out takes time, and is needed only where it is said below.
 */
struct ss_where {
	u64 sp, site;
	u64 stack_from, stack_to;
	const void *code;
	u64 code_at;
};

struct ss_entry {
	struct ss_entry *below;
	u64 sp, site;
	u64 unmaps;   /* of its mm, when its spans were found to be the process's own; 0: nobody has looked */
	const void *code;
	u64 code_at;
	u32 flags;    /* MLG_SS_FORK */
	bool traced;  /* somebody watches the thread already */
	u32 capacity; /* bytes of the whole */
	u32 n;        /* spans */
	u32 bytes;    /* of data, behind the spans, in their order */
	struct ss_span span[];
};

struct ss_entries {
	struct ss_entry *top, *spare;
	u32 depth;
	u64 bytes; /* in all of them */
	u64 stock; /* of the quota */
	struct ss_quota *quota;
	/* Says that an entry no longer needs its code. */
	void (*forget_code)(const void *code);
};

struct ss_limits {
	u32 depth;
	u64 user_bytes;
};

static inline u8 *ss_entry_data(struct ss_entry *e)
{
	return (u8 *)&e->span[e->n];
}

/* With these spans, of bytes that are not there yet, and not on the stack of entries yet.
 * -ENOSPC, -EDQUOT, -ENOMEM.
 */
int ss_entry_new(struct ss_entries *t, const struct ss_spans *spans, const struct ss_limits *max,
		 struct ss_entry **ret);

/* What is not, or no longer, on the stack; takes NULL. */
void ss_entry_free(struct ss_entries *t, struct ss_entry *e);

void ss_entry_push(struct ss_entries *t, struct ss_entry *e, const struct ss_where *w);

/* Whether there may be frames that are gone, if a call is made there. */
static inline bool ss_entries_may_be_dead(const struct ss_entries *t, u64 sp)
{
	return t->top && t->top->sp < sp;
}

/* Wipes those on top whose frames are shown to be gone by somebody who is at `w`; how many. If none can be,
 * `w` need not have its stack.
 */
u32 ss_entries_drop_dead(struct ss_entries *t, const struct ss_where *w);

/* Whether the last one was made at this place: then nothing further down is looked at. */
static inline bool ss_entries_top_is(const struct ss_entries *t, const struct ss_where *w)
{
	return t->top && t->top->sp == w->sp && t->top->site == w->site;
}

/* The one that may be restored at `w`, which stays. -ENOENT: there is none at all; -EPERM: none for this
 * place. If it is the top, `w` need not have its stack; nor for taking it.
 */
int ss_entry_find(const struct ss_entries *t, const struct ss_where *w, struct ss_entry **ret);

/* Takes it off, and wipes those above that are dead with it. The caller frees it. */
void ss_entry_take(struct ss_entries *t, struct ss_entry *e, const struct ss_where *w);

/* Copies of those that children may have; `to` is empty. `keep_code` is called for each. Nothing stays in
 * case of an error.
 */
int ss_entries_copy(const struct ss_entries *from, struct ss_entries *to, const struct ss_limits *max,
		    void (*keep_code)(const void *code));

/* All of them, and what was taken of the quota. */
void ss_entries_wipe(struct ss_entries *t);
