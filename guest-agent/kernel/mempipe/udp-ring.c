// SPDX-License-Identifier: GPL-2.0-or-later
/* UDP's rings: datagrams from user space into chunks, and from there to our own stack.
 *
 * What comes is given to the stack as if it had just come in by the device by which the flow's last
 * datagram came from the network: checksums, firewall, conntrack, the choice of a socket, its filters and
 * buffers, ICMP where there is none, and what sniffers see are the stack's. The ring replaces the sender's
 * way down and the wire, which is what costs.
 *
 * A program that reads more slowly than datagrams come would have most of them dropped, and the less time to
 * read the more are. So while its socket has no room they stay in the ring, and the sender waits: for
 * as long as the program reads, or, where other flows use the ring, for a moment (SHARED_USEC). A program
 * that does not read has them dropped, as ever.
 */
#include <linux/etherdevice.h>
#include <linux/netdevice.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/udp.h>

#include "udp.h"

#define BUDGET_DATAGRAMS 64 /* of one peer at a time, before others and programs have their turn */
#define BUDGET_BYTES (512 << 10)
#define LINEAR_MOST 2048 /* payload in one piece; what is longer lies in pages */
#define TURN_USEC 1000 /* between looks whether it is a record's turn */
#define ROOM_USEC 200  /* or whether there is room for it */
#define ALONE_USEC 20000 /* longer than the scheduler lets others run */
#define SHARED_USEC 1000
#define LATELY_USEC 100000 /* a flow that had a record so lately uses the ring */
#define FAULTS_MOST 8
#define ACTIVE_MSEC 1000 /* a ring that was used lately takes part in the division of chunks */

DEFINE_PER_CPU(bool, mpipe_injecting);

static struct mlg_pipe_pair *pair_to(struct mpipe_dev *dev, u32 peer)
{
	return mp_pair(dev->base, dev->self, peer);
}

static struct mlg_pipe_pair *pair_from(struct mpipe_dev *dev, u32 peer)
{
	return mp_pair(dev->base, peer, dev->self);
}

static void epochs(struct mpipe_dev *dev, u32 peer, u32 *ret_own, u32 *ret_peer)
{
	spin_lock_bh(&dev->peers_lock);
	*ret_own = dev->epoch;
	*ret_peer = dev->peers[peer].epoch;
	spin_unlock_bh(&dev->peers_lock);
}

/* 0: there is none. */
static u32 gen_of(u32 sender_epoch, u32 receiver_epoch)
{
	return sender_epoch && receiver_epoch ? (sender_epoch << 16) + receiver_epoch : 0;
}

u32 mpipe_ring_gen(struct mpipe_dev *dev, u32 peer, bool to_peer)
{
	u32 own, its;

	epochs(dev, peer, &own, &its);
	return to_peer ? gen_of(own, its) : gen_of(its, own);
}

/* ---------------------------------------------------------------- chunks */

static bool chunk_take(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 *ret_chunk)
{
	bool found = false;
	u64 now = mpipe_now_usec();

	spin_lock_bh(&dev->chunks_lock);
	if (ring->epoch == dev->chunks_epoch)
		found = mp_credit_take(&dev->credit, &ring->credit, now, ret_chunk);
	if (found)
		mp_demand_resume(&ring->credit.demand, mp_tx_unread(&ring->tx) == 0, now);
	spin_unlock_bh(&dev->chunks_lock);
	return found;
}

static void chunk_put(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 chunk)
{
	spin_lock_bh(&dev->chunks_lock);
	if (ring->epoch == dev->chunks_epoch)
		mp_credit_put(&dev->credit, &ring->credit, mpipe_now_usec(), chunk);
	spin_unlock_bh(&dev->chunks_lock);
}

/* By ring->tx_lock; the receiver reads this ring, so its head means something. */
static int reclaim(struct mpipe_dev *dev, struct mpipe_ring *ring)
{
	u32 chunk;

	if (mp_tx_look(&ring->tx) < 0)
		return -EPROTO;
	while (mp_tx_reclaim(&ring->tx, mp_tx_unread(&ring->tx) == 0, &chunk))
		chunk_put(dev, ring, chunk);
	return 0;
}

/* It was used, or was to be. */
static bool is_lately(const struct mpipe_ring *ring)
{
	unsigned long used = READ_ONCE(ring->used);

	return used && time_before(jiffies, used + msecs_to_jiffies(ACTIVE_MSEC));
}

static bool is_active(const struct mpipe_ring *ring)
{
	return READ_ONCE(ring->credit.has) > 0 || is_lately(ring);
}

/* Our rings that want chunks, for the division; by dev->chunks_lock. Returns how many. */
u32 mpipe_udp_credits(struct mpipe_dev *dev, struct mp_pipe_credit **ret, u32 most)
{
	u32 peer, n = 0;

	for (peer = 0; peer < MLG_PIPE_PEERS; peer++) {
		struct mpipe_ring *ring = &dev->udp->rings[peer];

		if (!ring->epoch || ring->epoch != dev->chunks_epoch)
			continue;
		if (!is_active(ring))
			mp_credit_leave(&dev->credit, &ring->credit);
		else if (n < most)
			ret[n++] = &ring->credit;
	}
	return n;
}

/* ---------------------------------------------------------------- sending */

/* By ring->tx_lock: a ring of these epochs. */
static void begin(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 peer, u32 own, u32 its)
{
	struct mlg_pipe_direction *d = &pair_to(dev, peer)->datagrams;
	u32 chunk;

	/* chunks of an earlier epoch of ours are no longer ours: chunk_put() knows */
	while (ring->tx.d && mp_tx_salvage(&ring->tx, &chunk))
		chunk_put(dev, ring, chunk);
	spin_lock_bh(&dev->chunks_lock);
	if (ring->epoch == dev->chunks_epoch)
		mp_credit_leave(&dev->credit, &ring->credit);
	mp_pipe_credit_init(&ring->credit, mpipe_now_usec());
	ring->epoch = own;
	ring->peer_epoch = its;
	spin_unlock_bh(&dev->chunks_lock);
	mp_tx_init(&ring->tx, d, gen_of(own, its));
	smp_store_release(&d->tail, 0);
	ring->tx_ok = true;
}

/* By ring->tx_lock. */
static bool follow_epochs(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 peer)
{
	u32 own, its;

	epochs(dev, peer, &own, &its);
	if (!own || !its)
		return false;
	if (ring->epoch != own || ring->peer_epoch != its)
		begin(dev, ring, peer, own, its);
	return ring->tx_ok;
}

/* Before a flow is offered: what the peer begins to read at the offer is there. May sleep. */
bool mpipe_ring_begin(struct mpipe_dev *dev, u32 peer)
{
	struct mpipe_ring *ring = &dev->udp->rings[peer];
	bool ok, was_active;

	mutex_lock(&ring->tx_lock);
	ok = follow_epochs(dev, ring, peer);
	was_active = is_active(ring);
	WRITE_ONCE(ring->used, jiffies ?: 1);
	mutex_unlock(&ring->tx_lock);
	if (ok && !was_active)
		mpipe_dev_watch(dev); /* it wants chunks: the host is told soon */
	return ok;
}

/* A guess, without a lock. */
bool mpipe_ring_is_idle(struct mpipe_dev *dev, u32 peer)
{
	struct mpipe_ring *ring = &dev->udp->rings[peer];

	return READ_ONCE(pair_to(dev, peer)->datagrams.head) == READ_ONCE(ring->tx.tail);
}

static bool may_send(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 peer)
{
	return !READ_ONCE(dev->gone) && !READ_ONCE(dev->leaving) && !READ_ONCE(dev->unwatched) && mpipe_enabled &&
	       follow_epochs(dev, ring, peer) && !mp_tx_unwanted(&ring->tx) &&
	       READ_ONCE(mp_peer(dev->base, peer)->epoch) == ring->peer_epoch &&
	       READ_ONCE(mp_peer(dev->base, peer)->state) == MLG_PIPE_PRESENT;
}

/* Room behind tail. 1; 0: no chunk is to be had for an empty ring; -EAGAIN: when the receiver has read. */
static int make_room(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 bytes)
{
	struct mp_tx *tx = &ring->tx;
	bool armed = false;
	u32 chunk;

	while (mp_dgram_missing(tx, bytes) > 0) {
		if (mp_tx_look(tx) < 0)
			return -EPROTO;
		/* from behind the reader only: what was given ahead is what we want */
		while (mp_tx_reclaim(tx, false, &chunk))
			chunk_put(dev, ring, chunk);
		if (mp_tx_room(tx) > 0 && chunk_take(dev, ring, &chunk)) {
			mp_tx_give(tx, chunk);
		} else if (mp_tx_unread(tx) == 0) {
			return 0;
		} else if (armed) {
			return -EAGAIN;
		} else {
			mp_tx_arm(tx);
			armed = true;
		}
	}
	return 1;
}

/* Without page faults, as a mutex of all senders is held: 0, or -EFAULT and the message as it was. */
static int copy_in(struct mpipe_dev *dev, struct mp_tx *tx, struct msghdr *msg, u32 len)
{
	struct mp_span span;
	size_t n;
	u32 at = 0;

	pagefault_disable();
	while (at < len) {
		mp_dgram_tx_span(tx, at, len - at, &span);
		n = copy_from_iter(mp_chunk(dev->base, span.chunk) + span.offset, span.bytes, &msg->msg_iter);
		at += n;
		if (n < span.bytes)
			break;
	}
	pagefault_enable();
	if (at == len)
		return 0;
	iov_iter_revert(&msg->msg_iter, at);
	return -EFAULT;
}

static void commit(struct mpipe_flow *flow, struct mpipe_ring *ring, u32 len)
{
	struct mlg_pipe_datagram header = {.bytes = len, .tos = flow->tos, .ttl = flow->ttl, .label = flow->label};
	struct mpipe_dev *dev = flow->dev;

	spin_lock_bh(&flow->lock);
	header.flow = flow->state.id;
	header.gen = flow->state.gen;
	header.after = mp_flow_after(&flow->state);
	flow->n_ring++;
	spin_unlock_bh(&flow->lock);
	mp_dgram_commit(&ring->tx, dev->base, &header);
	WRITE_ONCE(ring->used, jiffies ?: 1);
	if (mp_dgram_tell(&ring->tx, pair_to(dev, flow->peer)))
		mpipe_dev_ring(dev, flow->peer);
	mpipe_udp_add(MPIPE_UDP_TX, 1);
	mpipe_udp_add(MPIPE_UDP_TX_BYTES, len);
	atomic64_add(len, &dev->sent);
}

static int send_locked(struct mpipe_flow *flow, struct mpipe_ring *ring, struct msghdr *msg, u32 len)
{
	struct mpipe_dev *dev = flow->dev;
	int n;

	if (!may_send(dev, ring, flow->peer) || flow->epoch != ring->epoch || flow->peer_epoch != ring->peer_epoch)
		return -ESTALE;
	n = make_room(dev, ring, len);
	if (n == -EPROTO) {
		ring->tx_ok = false;
		mpipe_udp_add(MPIPE_UDP_BROKEN, 1);
	}
	if (n <= 0)
		return n;
	if (copy_in(dev, &ring->tx, msg, len) < 0)
		return -EFAULT;
	commit(flow, ring, len);
	return 1;
}

/* A datagram of an open flow. 1; 0: there is no memory for it; -EAGAIN: not until the receiver has read;
 * -ESTALE, -EPROTO: not by this flow any more; -EFAULT. Inside of the device.
 */
int mpipe_ring_send(struct mpipe_flow *flow, struct msghdr *msg, size_t len)
{
	struct mpipe_ring *ring = &flow->dev->udp->rings[flow->peer];
	int n, faults = 0;

	do {
		mutex_lock(&ring->tx_lock);
		n = send_locked(flow, ring, msg, len);
		mutex_unlock(&ring->tx_lock);
	} while (n == -EFAULT && faults++ < FAULTS_MOST && fault_in_iov_iter_readable(&msg->msg_iter, len) == 0);
	if (n == 0)
		mpipe_dev_watch(flow->dev); /* tells the host */
	return n;
}

/* Until the receiver has read something, or for a while. */
void mpipe_ring_wait(struct mpipe_flow *flow, unsigned int msec)
{
	struct mpipe_ring *ring = &flow->dev->udp->rings[flow->peer];
	DEFINE_WAIT(wait);

	prepare_to_wait(&ring->room, &wait, TASK_INTERRUPTIBLE);
	if (!signal_pending(current))
		schedule_timeout(msecs_to_jiffies(msec) ?: 1);
	finish_wait(&ring->room, &wait);
}

/* ---------------------------------------------------------------- receiving */

/* The first offer for a ring of this gen: begin to read it. False: there was nonsense in it. */
bool mpipe_ring_attach(struct mpipe_dev *dev, u32 peer, u32 gen)
{
	struct mpipe_ring *ring = &dev->udp->rings[peer];
	struct mlg_pipe_direction *d = &pair_from(dev, peer)->datagrams;
	bool attached;

	spin_lock_bh(&ring->rx_lock);
	if (!(ring->attached && ring->rx.gen == gen) && ring->broken_gen != gen) {
		mp_rx_init(&ring->rx, d, gen, dev->n_chunks);
		WRITE_ONCE(d->head, 0);
		mp_rx_arm(&ring->rx);
		smp_store_release(&d->attached, gen);
		WRITE_ONCE(ring->attached, true);
	}
	attached = ring->attached && ring->rx.gen == gen;
	spin_unlock_bh(&ring->rx_lock);
	return attached;
}

/* By ring->rx_lock. */
static void detach(struct mpipe_ring *ring)
{
	smp_store_release(&ring->rx.d->attached, 0);
	WRITE_ONCE(ring->attached, false);
}

static void fill_v4(struct sk_buff *skb, const struct mpipe_rx_flow *flow, const struct mlg_pipe_datagram *h)
{
	const struct in6_addr *from = (const struct in6_addr *)flow->tuple.remote.bytes;
	const struct in6_addr *to = (const struct in6_addr *)flow->tuple.local.bytes;
	struct iphdr *ip = ip_hdr(skb);
	u32 udp_len = sizeof(struct udphdr) + h->bytes;

	memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = sizeof(*ip) / 4;
	ip->tos = h->tos;
	ip->tot_len = htons(sizeof(*ip) + udp_len);
	ip->frag_off = htons(IP_DF);
	ip->ttl = h->ttl;
	ip->protocol = IPPROTO_UDP;
	ip->saddr = from->s6_addr32[3];
	ip->daddr = to->s6_addr32[3];
	ip_send_check(ip);
	udp_hdr(skb)->check = ~csum_tcpudp_magic(ip->saddr, ip->daddr, udp_len, IPPROTO_UDP, 0);
	skb->protocol = htons(ETH_P_IP);
}

static void fill_v6(struct sk_buff *skb, const struct mpipe_rx_flow *flow, const struct mlg_pipe_datagram *h)
{
	struct ipv6hdr *ip = ipv6_hdr(skb);
	u32 udp_len = sizeof(struct udphdr) + h->bytes;

	ip6_flow_hdr(ip, h->tos, htonl(h->label) & IPV6_FLOWLABEL_MASK);
	ip->payload_len = htons(udp_len);
	ip->nexthdr = IPPROTO_UDP;
	ip->hop_limit = h->ttl;
	memcpy(&ip->saddr, flow->tuple.remote.bytes, sizeof(ip->saddr));
	memcpy(&ip->daddr, flow->tuple.local.bytes, sizeof(ip->daddr));
	udp_hdr(skb)->check = ~csum_ipv6_magic(&ip->saddr, &ip->daddr, udp_len, IPPROTO_UDP, 0);
	skb->protocol = htons(ETH_P_IPV6);
}

/* As a driver's whose device left the checksum to be done: what is in our own memory needs none. */
static void fill_headers(struct sk_buff *skb, const struct mpipe_rx_flow *flow, const struct mlg_pipe_datagram *h,
			 struct net_device *netdev, bool v4)
{
	struct ethhdr *eth = eth_hdr(skb);
	struct udphdr *uh = udp_hdr(skb);

	uh->source = htons(flow->tuple.remote_port);
	uh->dest = htons(flow->tuple.local_port);
	uh->len = htons(sizeof(*uh) + h->bytes);
	if (v4)
		fill_v4(skb, flow, h);
	else
		fill_v6(skb, flow, h);
	memcpy(eth->h_dest, netdev->dev_addr, ETH_ALEN);
	memcpy(eth->h_source, flow->mac, ETH_ALEN);
	eth->h_proto = skb->protocol;
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_transport_header(skb) - skb->head;
	skb->csum_offset = offsetof(struct udphdr, check);
	skb->pkt_type = PACKET_HOST;
	skb->dev = netdev;
}

/* An skb with room for headers and payload; the headers' places are set. */
static struct sk_buff *skb_for(u32 bytes, bool v4)
{
	u32 ip_bytes = v4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	u32 head = NET_SKB_PAD + NET_IP_ALIGN + ETH_HLEN, headers = ip_bytes + sizeof(struct udphdr);
	u32 linear = bytes <= LINEAR_MOST ? bytes : 0;
	struct sk_buff *skb;
	int err;

	skb = alloc_skb_with_frags(head + headers + linear, bytes - linear, PAGE_ALLOC_COSTLY_ORDER, &err,
				   GFP_ATOMIC | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb_reserve(skb, head);
	skb_put(skb, headers + linear);
	skb->data_len = bytes - linear;
	skb->len += skb->data_len;
	skb_set_mac_header(skb, -ETH_HLEN);
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, ip_bytes);
	return skb;
}

static int copy_out(struct mpipe_dev *dev, struct mp_rx *rx, struct sk_buff *skb, u32 bytes)
{
	u32 at = 0, to = skb_transport_offset(skb) + sizeof(struct udphdr);
	struct mp_span span;

	for (at = 0; at < bytes; at += span.bytes) {
		if (mp_dgram_rx_span(rx, at, bytes - at, &span) < 0)
			return -EPROTO;
		if (skb_store_bits(skb, to + at, mp_chunk(dev->base, span.chunk) + span.offset, span.bytes) < 0)
			return -EPROTO;
	}
	return 0;
}

static bool is_v4(const struct mpipe_rx_flow *flow)
{
	return ipv6_addr_v4mapped((const struct in6_addr *)flow->tuple.local.bytes);
}

/* By RCU. NULL: not deliverable, and counted; -EPROTO. */
static struct sk_buff *make_skb(struct mpipe_dev *dev, struct mp_rx *rx, const struct mpipe_rx_flow *flow,
				const struct mlg_pipe_datagram *h)
{
	struct net_device *netdev = dev_get_by_index_rcu(&init_net, READ_ONCE(flow->ifindex));
	bool v4 = is_v4(flow);
	struct sk_buff *skb;

	if (v4 && h->bytes > MLG_PIPE_DATAGRAM_BYTES - sizeof(struct iphdr))
		return ERR_PTR(-EPROTO);
	if (!netdev || !(netdev->flags & IFF_UP)) {
		mpipe_udp_add(MPIPE_UDP_NO_DEVICE, 1);
		return NULL;
	}
	skb = skb_for(h->bytes, v4);
	if (!skb) {
		mpipe_udp_add(MPIPE_UDP_NO_MEMORY, 1);
		return NULL;
	}
	fill_headers(skb, flow, h, netdev, v4);
	if (copy_out(dev, rx, skb, h->bytes) < 0) {
		kfree_skb(skb);
		return ERR_PTR(-EPROTO);
	}
	return skb;
}

/* Whether the stack would drop the next one, behind those of `queued` bytes. A guess: who has the datagram in
 * the end, the stack decides.
 */
static bool is_full(const struct mpipe_rx_flow *flow, u32 queued, u32 *ret_used)
{
	const struct in6_addr *from = (const struct in6_addr *)flow->tuple.remote.bytes;
	const struct in6_addr *to = (const struct in6_addr *)flow->tuple.local.bytes;
	__be16 sport = htons(flow->tuple.remote_port), dport = htons(flow->tuple.local_port);
	int ifindex = READ_ONCE(flow->ifindex);
	struct sock *sk;
	bool full;

	if (is_v4(flow))
		sk = udp4_lib_lookup(&init_net, from->s6_addr32[3], sport, to->s6_addr32[3], dport, ifindex);
	else
		sk = udp6_lib_lookup(&init_net, from, sport, to, dport, ifindex);
	if (!sk)
		return false;
	*ret_used = atomic_read(&sk->sk_rmem_alloc);
	full = (u64)*ret_used + queued > READ_ONCE(sk->sk_rcvbuf);
	sock_put(sk);
	return full;
}

static void look_again(struct mpipe_dev *dev, u64 usec)
{
	hrtimer_start(&dev->udp->hold, ns_to_ktime(usec * NSEC_PER_USEC), HRTIMER_MODE_REL_SOFT);
}

/* Whether it waits for room: not behind others that are about to go to the stack, which is asked anew. */
static bool waits_for_room(struct mpipe_dev *dev, struct mpipe_ring *ring, struct mpipe_rx_flow *flow, u32 queued, u64 now)
{
	bool alone = now >= ring->changed_usec + LATELY_USEC;
	u32 used;

	if (!is_full(flow, queued, &used)) {
		flow->full_usec = 0;
		flow->stuck = false;
		return false;
	}
	if (flow->stuck)
		return false;
	if (queued > 0)
		return true;
	if (flow->full_usec == 0)
		mpipe_udp_add(MPIPE_UDP_HELD, 1);
	if (flow->full_usec == 0 || (alone && used < flow->full_used))
		flow->full_usec = now;
	flow->full_used = used;
	flow->stuck = now >= flow->full_usec + (alone ? ALONE_USEC : SHARED_USEC);
	if (!flow->stuck)
		look_again(dev, ROOM_USEC);
	return !flow->stuck;
}

/* 1: taken, *ret_skb may be NULL; 0: it waits; -EPROTO. `queued`: for the stack already. By ring->rx_lock and RCU. */
static int take_record(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 peer, const struct mlg_pipe_datagram *h,
		       u32 queued, struct sk_buff **ret_skb)
{
	struct mpipe_rx_flow *flow = xa_load(&ring->flows, h->flow);
	u64 now = mpipe_now_usec();
	bool takes = false, in_turn = false, held = false;

	*ret_skb = NULL;
	if (flow) {
		spin_lock(&flow->lock);
		takes = flow->ring_gen == ring->rx.gen && mp_flow_takes(&flow->state, h->gen, now);
		held = flow->state.held_usec != 0;
		in_turn = !takes || mp_flow_in_turn(&flow->state, h->after, now);
		spin_unlock(&flow->lock);
	}
	if (!takes) {
		mpipe_udp_add(MPIPE_UDP_UNKNOWN, 1);
		mpipe_rx_flow_gone(dev, peer, h->flow, h->gen);
		return 1;
	}
	if (!in_turn) {
		if (!held)
			mpipe_udp_add(MPIPE_UDP_LATE, 1);
		look_again(dev, TURN_USEC);
		return 0;
	}
	if (ring->last_flow != h->flow)
		ring->changed_usec = now;
	ring->last_flow = h->flow;
	if (waits_for_room(dev, ring, flow, queued, now))
		return 0;
	*ret_skb = make_skb(dev, &ring->rx, flow, h);
	if (IS_ERR(*ret_skb))
		return -EPROTO;
	if (*ret_skb) {
		flow->n_ring++;
		mpipe_udp_add(MPIPE_UDP_RX, 1);
		mpipe_udp_add(MPIPE_UDP_RX_BYTES, h->bytes);
	}
	return 1;
}

/* The next record, or armed for it. By ring->rx_lock. */
static int next_or_arm(struct mpipe_dev *dev, struct mp_rx *rx, struct mlg_pipe_datagram *ret)
{
	int n = mp_dgram_next(rx, dev->base, ret);

	if (n != 0)
		return n;
	mp_rx_arm(rx);
	n = mp_dgram_next(rx, dev->base, ret);
	if (n != 0)
		mp_rx_disarm(rx);
	return n;
}

/* By ring->rx_lock. True: there is more, and nothing that it has to wait for. */
static bool read_ring(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 peer, struct list_head *batch)
{
	u32 datagrams = 0, queued = 0;
	struct mlg_pipe_datagram h;
	struct sk_buff *skb;
	int n = 1;

	mp_rx_disarm(&ring->rx);
	while (n > 0 && datagrams < BUDGET_DATAGRAMS && queued < BUDGET_BYTES) {
		n = next_or_arm(dev, &ring->rx, &h);
		if (n <= 0)
			break;
		n = take_record(dev, ring, peer, &h, queued, &skb);
		if (n == 0 && queued > 0)
			return true;
		if (n <= 0)
			break;
		mp_dgram_done(&ring->rx, h.bytes);
		if (skb) {
			list_add_tail(&skb->list, batch);
			queued += skb->truesize;
		}
		datagrams++;
	}
	if (n < 0) {
		ring->broken_gen = ring->rx.gen;
		mpipe_udp_add(MPIPE_UDP_BROKEN, 1);
		detach(ring);
	}
	return n > 0;
}

/* By RCU, inside of the device. */
static bool receive_from(struct mpipe_dev *dev, u32 peer)
{
	struct mpipe_ring *ring = &dev->udp->rings[peer];
	LIST_HEAD(batch);
	bool more = false;

	spin_lock(&ring->rx_lock);
	/* the sender's next ring may be in its place already */
	if (ring->attached && ring->rx.gen != mpipe_ring_gen(dev, peer, false))
		WRITE_ONCE(ring->attached, false);
	if (ring->attached) {
		more = read_ring(dev, ring, peer, &batch);
		if (mp_dgram_tell_room(&ring->rx, pair_to(dev, peer)))
			mpipe_dev_ring(dev, peer);
	}
	spin_unlock(&ring->rx_lock);
	if (!list_empty(&batch)) {
		this_cpu_write(mpipe_injecting, true);
		netif_receive_skb_list(&batch);
		this_cpu_write(mpipe_injecting, false);
	}
	return more;
}

static void receive(struct tasklet_struct *tasklet)
{
	struct mpipe_udp *udp = container_of(tasklet, struct mpipe_udp, receive);
	struct mpipe_dev *dev = udp->dev;
	bool more = false;
	u32 peer;

	if (READ_ONCE(udp->closed) || !mpipe_dev_enter(dev))
		return;
	rcu_read_lock();
	for (peer = 1; peer < MLG_PIPE_PEERS; peer++)
		if (READ_ONCE(udp->rings[peer].attached))
			more |= receive_from(dev, peer);
	rcu_read_unlock();
	mpipe_dev_leave(dev);
	if (more)
		tasklet_schedule(tasklet);
}

void mpipe_ring_receive_soon(struct mpipe_dev *dev)
{
	tasklet_schedule(&dev->udp->receive);
}

static enum hrtimer_restart on_hold_over(struct hrtimer *timer)
{
	tasklet_schedule(&container_of(timer, struct mpipe_udp, hold)->receive);
	return HRTIMER_NORESTART;
}

/* The peer rang, or may have rung. Inside of the device. */
void mpipe_udp_bell(struct mpipe_dev *dev, u32 peer)
{
	struct mpipe_ring *ring = &dev->udp->rings[peer];

	if (READ_ONCE(ring->attached) &&
	    READ_ONCE(pair_from(dev, peer)->datagrams.tail) != READ_ONCE(ring->rx.head))
		tasklet_schedule(&dev->udp->receive);
	if (wq_has_sleeper(&ring->room))
		wake_up_all(&ring->room);
}

/* ---------------------------------------------------------------- once a window, and the end */

/* By ring->tx_lock: nobody reads this ring any more. */
static bool is_over(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 peer)
{
	u32 own, its;

	epochs(dev, peer, &own, &its);
	return !ring->tx_ok || own != ring->epoch || its != ring->peer_epoch ||
	       (mp_tx_unwanted(&ring->tx) && !is_lately(ring));
}

static void tidy_ring(struct mpipe_dev *dev, struct mpipe_ring *ring, u32 peer)
{
	u32 chunk;

	/* who sends now keeps it by himself */
	if (!mutex_trylock(&ring->tx_lock))
		return;
	if (ring->tx.d && mp_tx_chunks(&ring->tx) > 0) {
		if (is_over(dev, ring, peer) || reclaim(dev, ring) < 0) {
			ring->tx_ok = false; /* until it begins with other epochs */
			while (mp_tx_salvage(&ring->tx, &chunk))
				chunk_put(dev, ring, chunk);
		}
	}
	mutex_unlock(&ring->tx_lock);
}

/* By dev->watch_work, inside of the device. */
void mpipe_udp_tidy(struct mpipe_dev *dev)
{
	u32 peer;

	for (peer = 1; peer < MLG_PIPE_PEERS; peer++) {
		tidy_ring(dev, &dev->udp->rings[peer], peer);
		mpipe_udp_bell(dev, peer);
	}
	mpipe_flows_tidy(dev, false);
}

/* Whether demand is to be said often. */
bool mpipe_udp_is_busy(struct mpipe_dev *dev)
{
	u32 peer;

	for (peer = 1; peer < MLG_PIPE_PEERS; peer++)
		if (is_active(&dev->udp->rings[peer]))
			return true;
	return false;
}

static bool is_drained(struct mpipe_dev *dev)
{
	bool all = true;
	u32 peer;

	for (peer = 1; peer < MLG_PIPE_PEERS; peer++) {
		struct mpipe_ring *ring = &dev->udp->rings[peer];

		if (ring->tx.d && ring->tx_ok && !mp_tx_unwanted(&ring->tx))
			all = all && READ_ONCE(ring->tx.d->head) == ring->tx.tail;
		if (READ_ONCE(ring->attached))
			all = all && READ_ONCE(ring->rx.d->tail) == READ_ONCE(ring->rx.head);
	}
	return all;
}

/* The device is about to go (dev->gone is set): nothing more by the rings, and what is in them is read,
 * for `msec` at most.
 */
void mpipe_udp_leave(struct mpipe_dev *dev, unsigned int msec)
{
	unsigned long end = jiffies + msecs_to_jiffies(msec);
	u32 peer;

	for (peer = 1; peer < MLG_PIPE_PEERS; peer++)
		if (READ_ONCE(dev->udp->rings[peer].attached)) /* it is read on: only nobody begins */
			smp_store_release(&pair_from(dev, peer)->datagrams.attached, 0);
	while (!is_drained(dev) && time_before(jiffies, end)) {
		tasklet_schedule(&dev->udp->receive);
		msleep(1);
	}
	WRITE_ONCE(dev->udp->closed, true);
	mpipe_flows_tidy(dev, true);
	synchronize_rcu(); /* no hook schedules it any more */
	tasklet_kill(&dev->udp->receive);
	hrtimer_cancel(&dev->udp->hold);
	tasklet_kill(&dev->udp->receive);
}

/* Nothing makes flows any more. */
void mpipe_udp_forget(struct mpipe_dev *dev)
{
	mpipe_flows_tidy(dev, true);
}

struct mpipe_udp *mpipe_udp_new(struct mpipe_dev *dev)
{
	struct mpipe_udp *udp = kvzalloc(sizeof(*udp), GFP_KERNEL);
	u32 peer;

	if (!udp)
		return NULL;
	udp->dev = dev;
	tasklet_setup(&udp->receive, receive);
	hrtimer_init(&udp->hold, CLOCK_MONOTONIC, HRTIMER_MODE_REL_SOFT);
	udp->hold.function = on_hold_over;
	for (peer = 0; peer < MLG_PIPE_PEERS; peer++) {
		mutex_init(&udp->rings[peer].tx_lock);
		spin_lock_init(&udp->rings[peer].rx_lock);
		init_waitqueue_head(&udp->rings[peer].room);
		xa_init_flags(&udp->rings[peer].flows, XA_FLAGS_ALLOC);
	}
	return udp;
}

void mpipe_udp_free(struct mpipe_udp *udp)
{
	u32 peer;

	for (peer = 0; udp && peer < MLG_PIPE_PEERS; peer++)
		xa_destroy(&udp->rings[peer].flows);
	kvfree(udp);
}
