// SPDX-License-Identifier: GPL-2.0-or-later
/* Stats: what there is to be seen, in /sys/kernel/debug/mempipe, and what the host is told of it.
 *
 *   connections   a line for each adopted connection: local and remote address, client or server, whether
 *                 what we send goes by the pipe or by tcp, and why, then KEY=VALUE words
 *   counters      KEY VALUE lines; reason-NAME counts connections that stayed with TCP, or returned to it,
 *   for it; KEY-now is no sum but what there is
 *   devices       a line for each region
 *   flows         a line for each flow of datagrams (udp-stats.c)
 */
#include <linux/debugfs.h>
#include <linux/seq_file.h>

#include "mempipe.h"

atomic64_t mpipe_counts[MPIPE_COUNTS];
atomic64_t mpipe_reasons[MLG_PIPE_REASONS];

static const char *const count_names[] = {
	[MPIPE_N_ADOPTED] = "adopted",
	[MPIPE_N_LISTENERS] = "listeners",
	[MPIPE_N_PIPES] = "pipes",
	[MPIPE_N_SWITCHES] = "switches",
	[MPIPE_N_RUNG] = "doorbells-rung",
	[MPIPE_N_BELLS] = "interrupts",
	[MPIPE_N_TX_PIPE] = "tx-pipe-bytes",
	[MPIPE_N_RX_PIPE] = "rx-pipe-bytes",
	[MPIPE_N_TX_TCP] = "tx-tcp-bytes",
	[MPIPE_N_RESETS] = "resets",
	[MPIPE_N_BAD_MESSAGES] = "bad-messages",
	[MPIPE_N_LATE] = "late-wakes",
	[MPIPE_N_RX_SLEEPS] = "rx-sleeps",
	[MPIPE_N_RX_WINDOWS] = "rx-windows",
	[MPIPE_N_TX_SLEEPS] = "tx-sleeps",
	[MPIPE_N_COPIED_OUT] = "copied-out-bytes",
	[MPIPE_N_OPEN] = "connections-now",
	[MPIPE_N_MEMORY] = "memory-bytes-now",
};
static_assert(ARRAY_SIZE(count_names) == MPIPE_COUNTS);

static const char *const reason_names[] = {MLG_PIPE_REASON_NAMES};
static_assert(ARRAY_SIZE(reason_names) == MLG_PIPE_REASONS);

static struct dentry *dir;

/* ---------------------------------------------------------------- connections */

static void *conns_start(struct seq_file *m, loff_t *pos) __acquires(&mpipe_conns_lock)
{
	spin_lock_bh(&mpipe_conns_lock);
	return seq_list_start(&mpipe_conns, *pos);
}

static void *conns_next(struct seq_file *m, void *v, loff_t *pos)
{
	return seq_list_next(v, &mpipe_conns, pos);
}

static void conns_stop(struct seq_file *m, void *v) __releases(&mpipe_conns_lock)
{
	spin_unlock_bh(&mpipe_conns_lock);
}

static void show_end(struct seq_file *m, const struct mlg_pipe_address *address, u16 port)
{
	const struct in6_addr *a = (const struct in6_addr *)address->bytes;

	if (ipv6_addr_v4mapped(a))
		seq_printf(m, "%pI4:%u ", &a->s6_addr32[3], port);
	else
		seq_printf(m, "[%pI6c]:%u ", a, port);
}

void mpipe_show_tuple(struct seq_file *m, const struct mpipe_tuple *tuple)
{
	show_end(m, &tuple->local, tuple->local_port);
	show_end(m, &tuple->remote, tuple->remote_port);
}

static const char *way_of(const struct mpipe_conn *conn)
{
	switch (conn->state) {
	case MPIPE_NEW:
	case MPIPE_ASKED:
		return "tcp asking";
	case MPIPE_LEFT:
		return "closed -";
	}
	return NULL;
}

static int show_conn(struct seq_file *m, void *v)
{
	const struct mpipe_conn *conn = list_entry(v, struct mpipe_conn, node);
	const struct mpipe_pipe *pipe = smp_load_acquire(&conn->pipe);
	const char *way = way_of(conn);

	if (conn->state == MPIPE_LISTENS)
		return 0;
	mpipe_show_tuple(m, &conn->tuple);
	seq_puts(m, conn->server ? "server " : "client ");
	if (way)
		seq_puts(m, way);
	else
		seq_printf(m, "%s %s", conn->reason == MLG_PIPE_OK ? "pipe" : "tcp",
			   reason_names[conn->reason]);
	seq_printf(m, " tcp_sent=%llu", conn->tcp_sent);
	if (pipe)
		seq_printf(m,
			   " peer=%u slot=%u tx=%llu rx=%llu chunks=%u chunks_taken=%llu rung=%llu "
			   "switches=%llu",
			   conn->peer, conn->slot, pipe->tx_bytes, pipe->rx_bytes, mp_tx_chunks(&pipe->tx),
			   pipe->n_chunks, pipe->n_rung, pipe->n_switches);
	seq_putc(m, '\n');
	return 0;
}

static const struct seq_operations connections_sops = {
	.start = conns_start,
	.next = conns_next,
	.stop = conns_stop,
	.show = show_conn,
};
DEFINE_SEQ_ATTRIBUTE(connections);

/* ---------------------------------------------------------------- counters, devices */

static int counters_show(struct seq_file *m, void *v)
{
	u32 i;

	for (i = 0; i < MPIPE_COUNTS; i++)
		seq_printf(m, "%s %lld\n", count_names[i], atomic64_read(&mpipe_counts[i]));
	for (i = 1; i < MLG_PIPE_REASONS; i++)
		seq_printf(m, "reason-%s %lld\n", reason_names[i], atomic64_read(&mpipe_reasons[i]));
	mpipe_udp_counters_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(counters);

static int devices_show(struct seq_file *m, void *v)
{
	struct mpipe_dev *dev;

	mutex_lock(&mpipe_devs_lock);
	list_for_each_entry(dev, &mpipe_devs, node)
		seq_printf(m, "%s peer=%u epoch=%u others=%u pipes=%u held=%u free=%u of=%u\n",
			   pci_name(dev->pdev), dev->self, dev->epoch, mpipe_peers_here(dev), dev->n_pipes,
			   dev->credit.n_held, dev->credit.n_free, dev->n_chunks);
	mutex_unlock(&mpipe_devs_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(devices);

/* ---------------------------------------------------------------- what the host is told */

void mpipe_stats_say(struct mpipe_dev *dev)
{
	struct mlg_pipe_section *section = mp_section(dev->base, dev->self);
	u32 i;

	if (!dev->lobby && mpipe_knows_lobby())
		return;
	WRITE_ONCE(section->outcomes[MLG_PIPE_OK], atomic64_read(&mpipe_counts[MPIPE_N_PIPES]));
	for (i = 1; i < MLG_PIPE_REASONS; i++)
		WRITE_ONCE(section->outcomes[i], atomic64_read(&mpipe_reasons[i]));
}

void mpipe_stats_init(void)
{
	dir = debugfs_create_dir(MPIPE_NAME, NULL);
	debugfs_create_file("connections", 0400, dir, NULL, &connections_fops);
	debugfs_create_file("counters", 0400, dir, NULL, &counters_fops);
	debugfs_create_file("devices", 0400, dir, NULL, &devices_fops);
	mpipe_udp_stats_init(dir);
}

void mpipe_stats_exit(void)
{
	debugfs_remove_recursive(dir);
}
