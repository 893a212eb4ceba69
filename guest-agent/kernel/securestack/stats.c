// SPDX-License-Identifier: GPL-2.0-or-later
/* Stats: /sys/class/misc/securestack, one line of numbers in each file, all since the module was loaded.
 *
 *   call_stat       PROTECTs, RESTOREs, CLEARs, SNAPSHOTs, ADOPTs that were done; bytes that were moved out
 *   held_stat       now: entries, bytes on users' accounts; entries that ended because their frame was gone
 *   refused_stat    PROTECTs and SNAPSHOTs that were refused: no sound code at the site; shared memory;
 *                   too much at once; nested too deep; beyond the user's quota; no memory; nonsense, or no
 *                   memory there
 *   violation_stat  another process's file; no entry for this place; no entry at all; traced since; it could
 *                   not be written back; no child of the snapshot's maker. The fourth and fifth ended the
 *                   process.
 *
 * Counters are each processor's own, so that threads do not meet there.
 */
#include <linux/device.h>
#include <linux/percpu.h>
#include <linux/sched.h>

#include "securestack.h"

DEFINE_PER_CPU(struct ss_counters, ss_counters);

static const char *const violations[SS_COUNTERS] = {
	[SS_N_FOREIGN] = "used a file of another process, or from before exec: open the device anew",
	[SS_N_PLACE] = "wanted back what was protected by another frame or from another place",
	[SS_N_NOTHING] = "wanted something back, and nothing of this thread's is protected",
	[SS_N_TRACED] = "is traced since it protected something: ended",
	[SS_N_LOST] = "cannot get back what was protected, its memory is no longer there, or shared: ended",
	[SS_N_NO_CHILD] = "wanted to adopt from a process whose child it is not, or no longer",
};

static u64 sum(enum ss_counter what)
{
	u64 n = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		n += READ_ONCE(per_cpu(ss_counters, cpu).n[what]);
	return n;
}

static enum ss_counter counter_of(long err)
{
	switch (err) {
	case -EACCES:
		return SS_N_SITE;
	case -EOPNOTSUPP:
		return SS_N_SHARED;
	case -E2BIG:
		return SS_N_TOO_MUCH;
	case -ENOSPC:
		return SS_N_TOO_DEEP;
	case -EDQUOT:
		return SS_N_QUOTA;
	case -ENOMEM:
		return SS_N_MEMORY;
	case -EINVAL:
	case -EFAULT:
		return SS_N_NONSENSE;
	}
	return SS_COUNTERS; /* none: it went well, or is counted as a violation */
}

long ss_refused(long err)
{
	enum ss_counter what = counter_of(err);

	if (what < SS_COUNTERS)
		ss_count(what, 1);
	return err;
}

void ss_violation(enum ss_counter what)
{
	ss_count(what, 1);
	pr_warn_ratelimited(SS_NAME ": %s[%d] %s\n", current->comm, task_pid_nr(current), violations[what]);
}

static ssize_t emit(char *buf, enum ss_counter from, enum ss_counter to)
{
	int n = 0, what;

	for (what = from; what <= (int)to; what++)
		n += sysfs_emit_at(buf, n, "%llu%c", sum(what), what == (int)to ? '\n' : ' ');
	return n;
}

static ssize_t call_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return emit(buf, SS_N_PROTECTS, SS_N_BYTES);
}

static ssize_t held_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	u64 ended = sum(SS_N_ENDED), begun = sum(SS_N_BEGUN);

	return sysfs_emit(buf, "%llu %llu %llu\n", begun > ended ? begun - ended : 0, ss_bytes_held(),
			  sum(SS_N_DEAD));
}

static ssize_t refused_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return emit(buf, SS_N_SITE, SS_N_NONSENSE);
}

static ssize_t violation_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return emit(buf, SS_N_FOREIGN, SS_N_NO_CHILD);
}

static DEVICE_ATTR_RO(call_stat);
static DEVICE_ATTR_RO(held_stat);
static DEVICE_ATTR_RO(refused_stat);
static DEVICE_ATTR_RO(violation_stat);

static struct attribute *attrs[] = {
	&dev_attr_call_stat.attr,
	&dev_attr_held_stat.attr,
	&dev_attr_refused_stat.attr,
	&dev_attr_violation_stat.attr,
	NULL,
};

static const struct attribute_group group = {.attrs = attrs};

const struct attribute_group *ss_groups[] = {&group, NULL};
