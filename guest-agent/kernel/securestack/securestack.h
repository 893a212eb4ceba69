/* SPDX-License-Identifier: GPL-2.0-or-later */
/* securestack.ko: what its files share. main.c says what is where, and which locks there are. */
#pragma once

#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>

#include "core/entries.h"

#define SS_NAME "securestack"

/* Whose memory it is: a real UID. */
struct ss_user {
	struct hlist_node node;
	kuid_t uid;
	refcount_t refs; /* of threads and snapshots */
	struct ss_quota quota;
};

/* Memory that was found to be the process's own, as long as nothing was unmapped since. */
struct ss_own {
	u64 unmaps;
	struct ss_span span[2];
	u32 next; /* to be forgotten */
};

/* A thread that has said PROTECT once. Its entries are its own, see core/entries.h. */
struct ss_thread {
	struct hlist_node node;
	struct rcu_head rcu;
	struct ss_thread *gone; /* the next of those that are being wiped */
	struct pid *pid; /* of this one task, never another's */
	struct ss_user *user;
	struct ss_entries entries;
	struct ss_own own;
	/* what the call is about that it is in */
	struct mlg_ss_range range[MLG_SS_RANGES_MAX];
	struct ss_spans spans;
};

/* Of one mm, whatever files it has opened; they share it. */
struct ss_vault {
	struct mmu_notifier notifier;
	atomic64_t unmaps; /* grows with each; from 1. A mapping that is there before and after is the same */
	spinlock_t lock; /* adding and removing threads; they are found under RCU */
	DECLARE_HASHTABLE(threads, 8);
	u32 n_threads, sweep_at;
};

/* Entries on their way from a thread to a child of it. */
struct ss_snapshot {
	struct ss_user *user;
	struct ss_entries entries;
	struct pid *maker;
	const void *mm; /* the maker's, to be compared only */
};

struct ss_file {
	struct mutex lock;      /* both below are set under it; the vault once and for all */
	struct ss_vault *vault; /* NULL: nobody has used the file yet */
	struct ss_snapshot *snapshot;
};

/* Parameters, limited to what can be meant. */
u32 ss_call_max(void);
u32 ss_clear_max(void);
void ss_limits_now(struct ss_limits *ret);

/* vault.c: the vault that this file has for current's mm; -EPERM: it is another one's, or there is a
 * snapshot in it. With `bind` one that is nobody's yet becomes current's, without it it is NULL.
 */
struct ss_vault *ss_vault_of(struct ss_file *f, bool bind);
void ss_vault_put(struct ss_vault *v);
struct ss_thread *ss_thread_find(struct ss_vault *v); /* current's; NULL */
struct ss_thread *ss_thread_make(struct ss_vault *v); /* as well, new if need be; -ENOMEM */
struct ss_user *ss_user_get(void);                    /* current's; NULL: no memory */
void ss_user_put(struct ss_user *user);
void ss_entries_init(struct ss_entries *t, struct ss_user *user);
void ss_keep_code(const void *code);
u64 ss_bytes_held(void); /* by all users */

/* place.c: with mm's map locked for reading. Where current is in user space, if `site` is where it returns
 * to, but for its stack. `code` is NULL where no call may be trusted to be the one that was protected.
 */
void ss_place(struct mm_struct *mm, u64 site, struct ss_where *ret);
void ss_place_stack(struct mm_struct *mm, struct ss_where *w); /* none: it ends at 0 */
/* -EFAULT: not memory that can be written to; -EOPNOTSUPP: shared. Looks up what `own` does not know. */
int ss_check_private(struct mm_struct *mm, u64 unmaps, struct ss_own *own, const struct ss_span *span, u32 n);
/* Without that lock: zeroes so many bytes below the red zone, on the stack of `w`. */
void ss_clear_below(const struct ss_where *w, u32 bytes);

/* call.c */
long ss_protect(struct ss_file *f, const void __user *arg);
long ss_restore(struct ss_file *f, unsigned long clear_bytes);
long ss_clear(unsigned long clear_bytes);

/* adopt.c */
long ss_snapshot(struct ss_file *f, struct file *from); /* both are this device's */
long ss_adopt(struct ss_file *f);
void ss_snapshot_free(struct ss_snapshot *s);

/* stats.c */
enum ss_counter {
	SS_N_PROTECTS,
	SS_N_RESTORES,
	SS_N_CLEARS,
	SS_N_SNAPSHOTS,
	SS_N_ADOPTS,
	SS_N_BYTES,     /* moved out */
	SS_N_BEGUN,     /* entries, copies included, ... */
	SS_N_ENDED,     /* ... and those that are no more */
	SS_N_DEAD,      /* that ended because their frame was gone */
	/* refused */
	SS_N_SITE,
	SS_N_SHARED,
	SS_N_TOO_MUCH,
	SS_N_TOO_DEEP,
	SS_N_QUOTA,
	SS_N_MEMORY,
	SS_N_NONSENSE,
	/* violations */
	SS_N_FOREIGN,
	SS_N_PLACE,
	SS_N_NOTHING,
	SS_N_TRACED,
	SS_N_LOST,
	SS_N_NO_CHILD,
	SS_COUNTERS
};

struct ss_counters {
	u64 n[SS_COUNTERS];
};

DECLARE_PER_CPU(struct ss_counters, ss_counters);

static inline void ss_count(enum ss_counter what, u64 n)
{
	this_cpu_add(ss_counters.n[what], n);
}

long ss_refused(long err);            /* counts it, and returns it */
void ss_violation(enum ss_counter what); /* counts and logs it */
extern const struct attribute_group *ss_groups[];
