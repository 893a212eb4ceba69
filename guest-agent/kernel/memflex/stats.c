// SPDX-License-Identifier: GPL-2.0-or-later
/* Stats: /sys/block/memflex0, in zram's manner: one line of numbers in each file, pages if nothing else is
 * said.
 *
 *   mm_stat    in the pool, of one value, on the disk alone, lost with a pool
 *   io_stat    read from the pool, from the disk, from nowhere; written to the pool, to the disk, to nowhere;
 *              freed
 *   wb_stat    written back, dropped from the pool because the disk had the same, errors; chunks that were
 *              called back and cannot be given; of what was written back: before there was need
 *   pool_stat  chunks: held, of them without a page, wanted, those we may have; epoch (0: no pool, or not
 *              yet); how often the host took the pool away
 *   ra_stat    read from the disk ahead; of these, asked for later (which io_stat says were read from the disk);
 *              read together with what lies beside them; of that, put into the pool
 *   comp_algorithm  those there are; the one in use in brackets
 *   comp_stat    packed, of those in the pool; pages of the pool that all of those take; written to the pool
 *              packed, in all; bytes that these came to; written to the pool as they are, in all
 *   verify_stat  1: each page is verified (0: none); reads of what was not what was written
 */
#include "memflex.h"

static struct mflex *mflex_of(struct device *dev)
{
	return dev_to_disk(dev)->private_data;
}

static ssize_t mm_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mf_numbers n;

	mf_store_numbers(mflex_of(dev)->store, &n);
	return sysfs_emit(buf, "%llu %llu %llu %llu\n", n.in_pool, n.count[MF_N_SAME],
			  n.count[MF_N_ON_DISK], n.count[MF_N_LOST]);
}

static ssize_t io_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mf_numbers n;

	mf_store_numbers(mflex_of(dev)->store, &n);
	return sysfs_emit(buf, "%llu %llu %llu %llu %llu %llu %llu\n", n.count[MF_N_POOL_READS],
			  n.count[MF_N_DISK_READS], n.count[MF_N_SAME_READS], n.count[MF_N_POOL_WRITES],
			  n.count[MF_N_DISK_WRITES], n.count[MF_N_SAME_WRITES], n.count[MF_N_FREED]);
}

static ssize_t wb_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mflex *m = mflex_of(dev);
	struct mf_numbers n;

	mf_store_numbers(m->store, &n);
	return sysfs_emit(buf, "%llu %llu %llu %u %llu\n", n.count[MF_N_WRITTEN_BACK],
			  n.count[MF_N_DROPPED], n.count[MF_N_ERRORS], READ_ONCE(m->unmet),
			  READ_ONCE(m->n_ahead));
}

/* Without m->lock, which is held as long as something is written back: each number is one of some moment. */
static ssize_t pool_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mflex *m = mflex_of(dev);
	bool runs = READ_ONCE(m->base) && READ_ONCE(m->link.state) == MF_LINK_RUNNING;
	struct mf_numbers n;

	mf_store_numbers(m->store, &n);
	return sysfs_emit(buf, "%u %u %u %u %u %u\n", n.held, n.empty, READ_ONCE(m->link.want),
			  READ_ONCE(m->link.target), runs ? READ_ONCE(m->link.epoch) : 0,
			  READ_ONCE(m->link.n_lost));
}

static ssize_t ra_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	u64 n_ahead, n_taken, n_around;
	struct mf_numbers n;

	mf_store_numbers(mflex_of(dev)->store, &n);
	mflex_read_ahead_numbers(mflex_of(dev), &n_ahead, &n_taken, &n_around);
	return sysfs_emit(buf, "%llu %llu %llu %llu\n", n_ahead, n_taken, n_around, n.count[MF_N_PROMOTED]);
}

static ssize_t comp_algorithm_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	const char *const *name;
	int n = 0;

	for (name = mflex_algorithms; *name; name++)
		n += sysfs_emit_at(buf, n, *name == mflex_of(dev)->algorithm ? "[%s] " : "%s ", *name);
	return n + sysfs_emit_at(buf, n, "\n");
}

static ssize_t comp_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mf_numbers n;

	mf_store_numbers(mflex_of(dev)->store, &n);
	return sysfs_emit(buf, "%llu %llu %llu %llu %llu\n", n.packed, n.pool_pages,
			  n.count[MF_N_PACKED_WRITES], n.count[MF_N_PACKED_BYTES],
			  n.count[MF_N_POOL_WRITES] - n.count[MF_N_PACKED_WRITES]);
}

static ssize_t verify_stat_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	struct mflex *m = mflex_of(dev);
	struct mf_numbers n;

	mf_store_numbers(m->store, &n);
	return sysfs_emit(buf, "%d %llu\n", m->sums ? 1 : 0, n.count[MF_N_WRONG]);
}

static DEVICE_ATTR_RO(mm_stat);
static DEVICE_ATTR_RO(io_stat);
static DEVICE_ATTR_RO(wb_stat);
static DEVICE_ATTR_RO(pool_stat);
static DEVICE_ATTR_RO(ra_stat);
static DEVICE_ATTR_RO(comp_algorithm);
static DEVICE_ATTR_RO(comp_stat);
static DEVICE_ATTR_RO(verify_stat);

static struct attribute *mflex_attrs[] = {
	&dev_attr_mm_stat.attr,
	&dev_attr_io_stat.attr,
	&dev_attr_wb_stat.attr,
	&dev_attr_pool_stat.attr,
	&dev_attr_ra_stat.attr,
	&dev_attr_comp_algorithm.attr,
	&dev_attr_comp_stat.attr,
	&dev_attr_verify_stat.attr,
	NULL,
};

static const struct attribute_group mflex_group = {.attrs = mflex_attrs};

const struct attribute_group *mflex_groups[] = {&mflex_group, NULL};
