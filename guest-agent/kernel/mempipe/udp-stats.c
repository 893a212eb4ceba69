// SPDX-License-Identifier: GPL-2.0-or-later
/* UDP's stats: /sys/kernel/debug/mempipe/flows, a line for each flow, and lines for the file `counters`. */
#include <linux/debugfs.h>

#include "udp.h"

atomic64_t mpipe_udp_counts[MPIPE_UDP_COUNTS];

static const char *const names[] = {
	[MPIPE_UDP_SOCKETS] = "udp-sockets",
	[MPIPE_UDP_TX] = "udp-tx-datagrams",
	[MPIPE_UDP_TX_BYTES] = "udp-tx-bytes",
	[MPIPE_UDP_RX] = "udp-rx-datagrams",
	[MPIPE_UDP_RX_BYTES] = "udp-rx-bytes",
	[MPIPE_UDP_OPENED] = "udp-flows-opened",
	[MPIPE_UDP_CONFIRMED] = "udp-flows-confirmed",
	[MPIPE_UDP_UNKNOWN] = "udp-rx-unknown",
	[MPIPE_UDP_LATE] = "udp-rx-late",
	[MPIPE_UDP_HELD] = "udp-rx-held",
	[MPIPE_UDP_NO_MEMORY] = "udp-rx-no-memory",
	[MPIPE_UDP_NO_DEVICE] = "udp-rx-no-device",
	[MPIPE_UDP_FULL] = "udp-tx-full",
	[MPIPE_UDP_BROKEN] = "udp-broken-rings",
	[MPIPE_UDP_BY_LEARNING] = "udp-net-learning",
	[MPIPE_UDP_BY_OFFER] = "udp-net-offer",
	[MPIPE_UDP_BY_CONTROL] = "udp-net-control-data",
	[MPIPE_UDP_BY_FLAGS] = "udp-net-flags",
	[MPIPE_UDP_BY_SIZE] = "udp-net-size",
	[MPIPE_UDP_BY_OPTION] = "udp-net-option",
	[MPIPE_UDP_BY_BPF] = "udp-net-bpf",
	[MPIPE_UDP_BY_ERROR] = "udp-net-error",
	[MPIPE_UDP_BY_NO_PEER] = "udp-net-no-peer",
	[MPIPE_UDP_BY_NO_CHUNK] = "udp-net-no-chunk",
	[MPIPE_UDP_BY_PEER_LEAVES] = "udp-net-peer-leaves",
};
static_assert(ARRAY_SIZE(names) == MPIPE_UDP_COUNTS);

void mpipe_udp_counters_show(struct seq_file *m)
{
	u32 i;

	for (i = 0; i < MPIPE_UDP_COUNTS; i++)
		seq_printf(m, "%s %lld\n", names[i], atomic64_read(&mpipe_udp_counts[i]));
}

static int flows_show(struct seq_file *m, void *v)
{
	mpipe_flows_show(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(flows);

void mpipe_udp_stats_init(struct dentry *dir)
{
	debugfs_create_file("flows", 0400, dir, NULL, &flows_fops);
}
