/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of UDP share: udp.c sockets and sending, udp-socks.c which sockets those are, udp-flows.c who may
 * send what, udp-ring.c the rings, udp-stats.c what is to be seen. "Datagrams" in memlego/mempipe-abi.h has the protocol, core/flow.h the
 * states of a flow.
 *
 * Locks: ring->tx_lock (a mutex) is taken by senders, before all of these leaves, softirqs off:
 * flow->lock, ring->rx_lock, the locks of the tables in udp-flows.c, dev->peers_lock, dev->chunks_lock.
 * ring->rx_lock alone may have others inside: flow->lock or dev->peers_lock. Nothing is held while a datagram is given to the stack.
 *
 * Lives: a flow is counted, it holds its device, and is found by RCU. A flow of ours ends with its socket
 * at the latest, which is only compared with.
 */
#pragma once

#include <linux/hrtimer.h>
#include <linux/if_ether.h>
#include <linux/mutex.h>
#include <linux/seq_file.h>
#include <linux/wait.h>

#include "core/dgram.h"
#include "core/flow.h"
#include "mempipe.h"

/* Datagrams of one of our sockets to one address. */
struct mpipe_flow {
	struct hlist_node by_tuple, by_sock;
	refcount_t ref;
	struct rcu_head rcu;
	const struct sock *sk;
	struct mpipe_tuple tuple;
	struct mpipe_dev *dev;
	u32 peer, peer_epoch, epoch;

	/* of the datagrams that went by the network */
	u32 mark, label, most; /* most: payload that it may have */
	int bound_dev_if;
	u8 tos, ttl;

	spinlock_t lock;
	struct mp_flow_tx state;
	u64 n_ring, n_net;
	unsigned long used; /* jiffies */
};

/* Datagrams that come from a peer. */
struct mpipe_rx_flow {
	struct hlist_node by_tuple;
	struct rcu_head rcu;
	struct mpipe_tuple tuple; /* remote: the peer's */
	struct mpipe_dev *dev;
	u32 peer, id;
	u32 ring_gen; /* that it was offered for */

	spinlock_t lock;
	struct mp_flow_rx state;
	int ifindex; /* where the last one by the network came in; 0: none did */
	u8 mac[ETH_ALEN];
	u64 n_ring;
	u64 full_usec; /* since when its socket has no room, while a record waits for that; 0: it has, or */
	bool stuck;    /* had none for so long that it is not waited for */
	u32 full_used; /* what was in there at the last look */
};

/* To and from one peer. */
struct mpipe_ring {
	struct mutex tx_lock;
	struct mp_tx tx;
	bool tx_ok; /* the peer has not written nonsense */
	u32 epoch, peer_epoch; /* that `tx` is of */
	struct mp_pipe_credit credit; /* by dev->chunks_lock */
	unsigned long used; /* jiffies */
	wait_queue_head_t room;

	spinlock_t rx_lock;
	struct mp_rx rx;
	bool attached;
	u32 broken_gen; /* there was nonsense in the ring of this gen */
	struct xarray flows; /* id -> struct mpipe_rx_flow */
	u32 last_flow;       /* whose record was the last one */
	u64 changed_usec;    /* when that was another's */
};

struct mpipe_udp {
	struct mpipe_dev *dev;
	struct tasklet_struct receive;
	struct hrtimer hold; /* a record waits for its turn, or for room in its socket */
	bool closed; /* being removed */
	u32 flow_gen;
	struct mpipe_ring rings[MLG_PIPE_PEERS];
};

/* udp-flows.c */
extern atomic_t mpipe_n_rx_flows;
struct mpipe_flow *mpipe_flow_find(const struct sock *sk, const struct mlg_pipe_address *remote, u16 remote_port);
struct mpipe_flow *mpipe_flow_learn(const struct sock *sk, const struct mpipe_tuple *tuple);
void mpipe_flow_put(struct mpipe_flow *flow);
void mpipe_flow_forget(struct mpipe_flow *flow);
void mpipe_flows_forget(const struct sock *sk);
void mpipe_flow_say_offer(struct mpipe_flow *flow, u64 nonce, u64 ask);
void mpipe_rx_flow_gone(struct mpipe_dev *dev, u32 peer, u32 id, u32 gen);
bool mpipe_rx_flow_known(const struct mpipe_tuple *tuple);
void mpipe_rx_flow_saw(const struct mpipe_tuple *tuple, u64 digest, int ifindex, const u8 *mac);
u64 mpipe_flow_prove(u64 digest, u64 nonce, bool answer);
void mpipe_flows_tidy(struct mpipe_dev *dev, bool all);
void mpipe_flows_show(struct seq_file *m);

/* udp-socks.c */
bool mpipe_udp_sock_take(struct sock *sk, struct proto *base, struct proto *ours);
bool mpipe_udp_sock_give_up(const struct sock *sk); /* true: it was ours, the caller puts the module in the end */
u32 mpipe_udp_socks_give_up(void); /* all; how many: the same */

/* udp-ring.c: inside of the device */
bool mpipe_ring_begin(struct mpipe_dev *dev, u32 peer);
bool mpipe_ring_is_idle(struct mpipe_dev *dev, u32 peer);
u32 mpipe_ring_gen(struct mpipe_dev *dev, u32 peer, bool to_peer);
int mpipe_ring_send(struct mpipe_flow *flow, struct msghdr *msg, size_t len);
void mpipe_ring_wait(struct mpipe_flow *flow, unsigned int msec); /* not inside */
bool mpipe_ring_attach(struct mpipe_dev *dev, u32 peer, u32 gen);
void mpipe_ring_receive_soon(struct mpipe_dev *dev);

/* We are giving datagrams of a ring to the stack: they did not come by the network. */
DECLARE_PER_CPU(bool, mpipe_injecting);

static inline u64 mpipe_now_usec(void)
{
	return ktime_to_us(ktime_get());
}

/* udp-stats.c. First what was done, then why a datagram of ours went by the network. */
enum mpipe_udp_count {
	MPIPE_UDP_SOCKETS, MPIPE_UDP_TX, MPIPE_UDP_TX_BYTES, MPIPE_UDP_RX, MPIPE_UDP_RX_BYTES, MPIPE_UDP_OPENED,
	MPIPE_UDP_CONFIRMED, MPIPE_UDP_UNKNOWN, MPIPE_UDP_LATE, MPIPE_UDP_HELD, MPIPE_UDP_NO_MEMORY, MPIPE_UDP_NO_DEVICE,
	MPIPE_UDP_FULL, MPIPE_UDP_BROKEN,

	MPIPE_UDP_BY_LEARNING, MPIPE_UDP_BY_OFFER, MPIPE_UDP_BY_CONTROL, MPIPE_UDP_BY_FLAGS, MPIPE_UDP_BY_SIZE,
	MPIPE_UDP_BY_OPTION, MPIPE_UDP_BY_BPF, MPIPE_UDP_BY_ERROR, MPIPE_UDP_BY_NO_PEER, MPIPE_UDP_BY_NO_CHUNK,
	MPIPE_UDP_BY_PEER_LEAVES,
	MPIPE_UDP_COUNTS
};
extern atomic64_t mpipe_udp_counts[MPIPE_UDP_COUNTS];

static inline void mpipe_udp_add(enum mpipe_udp_count what, u64 n)
{
	atomic64_add(n, &mpipe_udp_counts[what]);
}
