// SPDX-License-Identifier: GPL-2.0-or-later
/* UDP's flows: who may send what by a ring. Two tables, of those that we send and of those that we receive,
 * both bounded, and the messages by which they come into being.
 *
 * A flow of ours is known by its socket and its addresses, and by its addresses alone to a peer that
 * answers: what an answer must know decides which one is meant. What a peer may send us is a flow with a
 * number that we gave out; the number says the addresses, so a peer cannot choose any.
 */
#include <linux/hashtable.h>
#include <linux/jhash.h>
#include <linux/random.h>
#include <linux/siphash.h>

#include "udp.h"

#define TABLE_BITS 10
#define FLOWS_MOST 8192
#define IDLE_SEC 60 /* then a flow of ours is forgotten */

static DEFINE_HASHTABLE(flows_by_tuple, TABLE_BITS);
static DEFINE_HASHTABLE(flows_by_sock, TABLE_BITS);
static DEFINE_SPINLOCK(flows_lock);
static u32 n_flows;

static DEFINE_HASHTABLE(rx_flows_by_tuple, TABLE_BITS);
static DEFINE_SPINLOCK(rx_flows_lock);
atomic_t mpipe_n_rx_flows;

/* ---------------------------------------------------------------- what proves */

u64 mpipe_flow_prove(u64 digest, u64 nonce, bool answer)
{
	static const siphash_key_t zero;

	return siphash_3u64(digest, nonce, answer, &zero);
}

/* ---------------------------------------------------------------- flows that we send */

static u32 hash_of(const struct mlg_pipe_address *remote, u16 remote_port)
{
	return jhash2((const u32 *)remote->bytes, 4, remote_port);
}

static bool is_same(const struct mlg_pipe_address *a, const struct mlg_pipe_address *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

void mpipe_flow_put(struct mpipe_flow *flow)
{
	if (!refcount_dec_and_test(&flow->ref))
		return;
	mpipe_dev_put(flow->dev); /* who still sees the flow compares with it, no more */
	kfree_rcu(flow, rcu);
}

/* By flows_lock. */
static void unlink_flow(struct mpipe_flow *flow)
{
	if (hlist_unhashed(&flow->by_sock))
		return;
	hash_del_rcu(&flow->by_tuple);
	hlist_del_init(&flow->by_sock);
	n_flows--;
	mpipe_flow_put(flow);
}

void mpipe_flow_forget(struct mpipe_flow *flow)
{
	spin_lock_bh(&flows_lock);
	unlink_flow(flow);
	spin_unlock_bh(&flows_lock);
}

void mpipe_flows_forget(const struct sock *sk)
{
	struct mpipe_flow *flow;
	struct hlist_node *next;

	spin_lock_bh(&flows_lock);
	hash_for_each_possible_safe(flows_by_sock, flow, next, by_sock, (unsigned long)sk)
		if (flow->sk == sk)
			unlink_flow(flow);
	spin_unlock_bh(&flows_lock);
}

/* With a reference. */
struct mpipe_flow *mpipe_flow_find(const struct sock *sk, const struct mlg_pipe_address *remote, u16 remote_port)
{
	struct mpipe_flow *flow, *found = NULL;

	rcu_read_lock();
	hash_for_each_possible_rcu(flows_by_tuple, flow, by_tuple, hash_of(remote, remote_port))
		if (flow->sk == sk && flow->tuple.remote_port == remote_port &&
		    is_same(&flow->tuple.remote, remote) && refcount_inc_not_zero(&flow->ref)) {
			found = flow;
			break;
		}
	rcu_read_unlock();
	return found;
}

static struct mpipe_flow *flow_new(const struct sock *sk, const struct mpipe_tuple *tuple)
{
	struct mpipe_flow *flow = kzalloc(sizeof(*flow), GFP_ATOMIC | __GFP_NOWARN);

	if (!flow)
		return NULL;
	flow->dev = mpipe_peer_find(&tuple->remote, &flow->peer, &flow->peer_epoch, &flow->epoch);
	if (!flow->dev || !mpipe_peer_has_proved(flow->dev, flow->peer, &tuple->remote)) {
		if (flow->dev)
			mpipe_dev_put(flow->dev);
		kfree(flow);
		return NULL;
	}
	refcount_set(&flow->ref, 2); /* the tables', and the caller's */
	spin_lock_init(&flow->lock);
	flow->sk = sk;
	flow->tuple = *tuple;
	flow->used = jiffies;
	return flow;
}

/* The flow of a datagram that goes by the network: with a reference; NULL: to nobody that we know. The
 * socket stays during the call. Two at once may make two: the later one is found.
 */
struct mpipe_flow *mpipe_flow_learn(const struct sock *sk, const struct mpipe_tuple *tuple)
{
	struct mpipe_flow *flow = mpipe_flow_find(sk, &tuple->remote, tuple->remote_port);

	if (flow && flow->tuple.local_port == tuple->local_port && is_same(&flow->tuple.local, &tuple->local))
		return flow;
	if (flow) { /* the socket or the routes have changed */
		mpipe_flow_forget(flow);
		mpipe_flow_put(flow);
	}
	flow = mpipe_enabled && READ_ONCE(n_flows) < FLOWS_MOST ? flow_new(sk, tuple) : NULL;
	if (!flow)
		return NULL;
	spin_lock_bh(&flows_lock);
	hash_add_rcu(flows_by_tuple, &flow->by_tuple, hash_of(&tuple->remote, tuple->remote_port));
	hash_add(flows_by_sock, &flow->by_sock, (unsigned long)sk);
	n_flows++;
	spin_unlock_bh(&flows_lock);
	return flow;
}

static void fill_tuple(const struct mpipe_tuple *tuple, bool ours, struct mlg_pipe_message *m)
{
	m->tuple.client = ours ? tuple->local : tuple->remote;
	m->tuple.client_port = ours ? tuple->local_port : tuple->remote_port;
	m->tuple.server = ours ? tuple->remote : tuple->local;
	m->tuple.server_port = ours ? tuple->remote_port : tuple->local_port;
}

/* In any context. If the peer's ring is full, the offer finds no answer. */
void mpipe_flow_say_offer(struct mpipe_flow *flow, u64 nonce, u64 ask)
{
	struct mlg_pipe_message m = {.type = MLG_PIPE_FLOW_OFFER, .proof = ask,
				     .nonce_slot = nonce << MP_NONCE_SHIFT};

	if (!mpipe_dev_enter(flow->dev))
		return;
	fill_tuple(&flow->tuple, true, &m);
	m.gen = mpipe_ring_gen(flow->dev, flow->peer, true);
	if (m.gen)
		(void)mpipe_peer_send(flow->dev, flow->peer, &m);
	mpipe_dev_leave(flow->dev);
}

static bool is_meant(const struct mpipe_flow *flow, const struct mpipe_dev *dev, u32 peer,
		     const struct mlg_pipe_message *m)
{
	const struct mpipe_tuple *t = &flow->tuple;

	return flow->dev == dev && flow->peer == peer && t->local_port == m->tuple.client_port &&
	       t->remote_port == m->tuple.server_port && is_same(&t->local, &m->tuple.client) &&
	       is_same(&t->remote, &m->tuple.server);
}

/* FLOW_OK, FLOW_GONE: several sockets may share a tuple. */
static void on_answer(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m)
{
	struct mpipe_flow *flow;

	rcu_read_lock();
	hash_for_each_possible_rcu(flows_by_tuple, flow, by_tuple, hash_of(&m->tuple.server, m->tuple.server_port)) {
		if (!is_meant(flow, dev, peer, m))
			continue;
		spin_lock_bh(&flow->lock);
		if (m->type == MLG_PIPE_FLOW_GONE) {
			if (flow->state.gen == m->gen && flow->state.state == MP_FLOW_OPEN)
				mp_flow_close(&flow->state);
		} else if (mp_flow_answered(&flow->state, mp_message_slot(m), m->gen,
					    m->nonce_slot >> MP_NONCE_SHIFT, m->proof, mpipe_now_usec())) {
			mpipe_udp_add(MPIPE_UDP_OPENED, 1);
		}
		spin_unlock_bh(&flow->lock);
	}
	rcu_read_unlock();
}

/* ---------------------------------------------------------------- flows that we receive */

static void rx_flow_remove(struct mpipe_ring *ring, struct mpipe_rx_flow *flow)
{
	if (xa_cmpxchg(&ring->flows, flow->id, flow, NULL, GFP_ATOMIC) != flow)
		return;
	spin_lock_bh(&rx_flows_lock);
	hash_del_rcu(&flow->by_tuple);
	spin_unlock_bh(&rx_flows_lock);
	atomic_dec(&mpipe_n_rx_flows);
	mpipe_dev_put(flow->dev); /* its memory stays for a grace period as well */
	kfree_rcu(flow, rcu);
}

static u32 rx_hash(const struct mpipe_tuple *tuple)
{
	return hash_of(&tuple->remote, tuple->remote_port) ^ tuple->local_port;
}

/* By RCU. */
static struct mpipe_rx_flow *rx_flow_find(const struct mpipe_tuple *tuple)
{
	struct mpipe_rx_flow *flow;

	hash_for_each_possible_rcu(rx_flows_by_tuple, flow, by_tuple, rx_hash(tuple))
		if (flow->tuple.local_port == tuple->local_port && flow->tuple.remote_port == tuple->remote_port &&
		    is_same(&flow->tuple.local, &tuple->local) && is_same(&flow->tuple.remote, &tuple->remote))
			return flow;
	return NULL;
}

/* By dev->control_work alone. NULL: there are as many as there may be. */
static struct mpipe_rx_flow *rx_flow_new(struct mpipe_dev *dev, u32 peer, const struct mpipe_tuple *tuple, u32 ring_gen)
{
	struct mpipe_ring *ring = &dev->udp->rings[peer];
	struct mpipe_rx_flow *flow = kzalloc(sizeof(*flow), GFP_KERNEL);

	if (!flow)
		return NULL;
	flow->tuple = *tuple;
	flow->dev = dev;
	flow->peer = peer;
	flow->ring_gen = ring_gen;
	spin_lock_init(&flow->lock);
	dev->udp->flow_gen = dev->udp->flow_gen + 1 ?: 1;
	mp_flow_rx_init(&flow->state, dev->udp->flow_gen, mpipe_now_usec());
	/* its place first, as who finds it there may remove it */
	if (xa_alloc(&ring->flows, &flow->id, NULL, XA_LIMIT(0, MLG_PIPE_FLOWS - 1), GFP_KERNEL) < 0) {
		kfree(flow);
		return NULL;
	}
	kref_get(&dev->kref);
	spin_lock_bh(&rx_flows_lock);
	hash_add_rcu(rx_flows_by_tuple, &flow->by_tuple, rx_hash(tuple));
	spin_unlock_bh(&rx_flows_lock);
	atomic_inc(&mpipe_n_rx_flows);
	xa_store(&ring->flows, flow->id, flow, GFP_KERNEL);
	return flow;
}

static void say(struct mpipe_rx_flow *flow, u16 type, u64 nonce, u64 answer)
{
	struct mlg_pipe_message m = {.type = type, .gen = flow->state.gen, .proof = answer,
				     .nonce_slot = nonce << MP_NONCE_SHIFT | flow->id};

	fill_tuple(&flow->tuple, false, &m);
	(void)mpipe_peer_send(flow->dev, flow->peer, &m);
}

/* Whether the address is this peer's, as far as peers say: of several the first is believed. */
static bool is_peers(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_address *address)
{
	u32 found, peer_epoch, epoch;
	struct mpipe_dev *its = mpipe_peer_find(address, &found, &peer_epoch, &epoch);

	if (its)
		mpipe_dev_put(its);
	return its == dev && found == peer && mpipe_peer_has_proved(dev, peer, address);
}

/* FLOW_OFFER */
static void on_offer(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m)
{
	struct mpipe_tuple tuple = {.local = m->tuple.server, .local_port = m->tuple.server_port,
				    .remote = m->tuple.client, .remote_port = m->tuple.client_port};
	u64 nonce = m->nonce_slot >> MP_NONCE_SHIFT, answer;
	struct mpipe_rx_flow *flow;
	bool found = false;

	if (!mpipe_enabled || READ_ONCE(dev->udp->closed) || m->gen != mpipe_ring_gen(dev, peer, false) ||
	    !is_peers(dev, peer, &tuple.remote))
		return;
	if (!mpipe_ring_attach(dev, peer, m->gen))
		return;
	rcu_read_lock();
	flow = rx_flow_find(&tuple);
	if (flow && (flow->dev != dev || flow->peer != peer || flow->ring_gen != m->gen)) {
		rx_flow_remove(&flow->dev->udp->rings[flow->peer], flow);
		flow = NULL;
	}
	rcu_read_unlock();
	/* flows are removed by this work and by dev->watch_work only: with neither running twice, the
	 * worst is a flow that is gone when it is asked for, and asked for again
	 */
	if (!flow)
		flow = rx_flow_new(dev, peer, &tuple, m->gen);
	rcu_read_lock();
	flow = flow ? rx_flow_find(&tuple) : NULL;
	if (flow) {
		spin_lock_bh(&flow->lock);
		found = mp_flow_offered(&flow->state, nonce, m->proof, mpipe_flow_prove, mpipe_now_usec(), &answer);
		spin_unlock_bh(&flow->lock);
	}
	if (found) {
		mpipe_udp_add(MPIPE_UDP_CONFIRMED, 1);
		say(flow, MLG_PIPE_FLOW_OK, nonce, answer);
	}
	rcu_read_unlock();
}

/* A guess. */
bool mpipe_rx_flow_known(const struct mpipe_tuple *tuple)
{
	bool known;

	rcu_read_lock();
	known = rx_flow_find(tuple);
	rcu_read_unlock();
	return known;
}

/* A datagram came in by the network, behind all firewalls. In a hook. */
void mpipe_rx_flow_saw(const struct mpipe_tuple *tuple, u64 digest, int ifindex, const u8 *mac)
{
	struct mpipe_rx_flow *flow;
	u64 answer, nonce;
	bool ok, held;

	rcu_read_lock();
	flow = rx_flow_find(tuple);
	if (flow && mpipe_dev_enter(flow->dev)) {
		spin_lock_bh(&flow->lock);
		flow->ifindex = ifindex;
		memcpy(flow->mac, mac, sizeof(flow->mac));
		held = flow->state.held_usec != 0;
		nonce = flow->state.nonce;
		ok = mp_flow_seen(&flow->state, digest, mpipe_flow_prove, mpipe_now_usec(), &answer);
		spin_unlock_bh(&flow->lock);
		if (ok) {
			mpipe_udp_add(MPIPE_UDP_CONFIRMED, 1);
			say(flow, MLG_PIPE_FLOW_OK, nonce, answer);
		}
		if (held)
			mpipe_ring_receive_soon(flow->dev);
		mpipe_dev_leave(flow->dev);
	}
	rcu_read_unlock();
}

/* A record came for a flow that we do not take it for. If we know it by that number, its owner is told. */
void mpipe_rx_flow_gone(struct mpipe_dev *dev, u32 peer, u32 id, u32 gen)
{
	struct mpipe_rx_flow *flow = xa_load(&dev->udp->rings[peer].flows, id);

	if (flow && flow->state.gen == gen)
		say(flow, MLG_PIPE_FLOW_GONE, 0, 0);
}

void mpipe_udp_message(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m)
{
	if (m->type == MLG_PIPE_FLOW_OFFER)
		on_offer(dev, peer, m);
	else
		on_answer(dev, peer, m);
}

/* ---------------------------------------------------------------- the end of flows */

static void rx_tidy(struct mpipe_dev *dev, bool all)
{
	struct mpipe_rx_flow *flow;
	unsigned long id;
	u32 peer;
	bool over;

	for (peer = 0; peer < MLG_PIPE_PEERS; peer++) {
		struct mpipe_ring *ring = &dev->udp->rings[peer];
		u32 gen = mpipe_ring_gen(dev, peer, false); /* another one: the sender is gone */

		rcu_read_lock();
		xa_for_each(&ring->flows, id, flow) {
			spin_lock_bh(&flow->lock);
			over = all || flow->ring_gen != gen || mp_flow_is_over(&flow->state, mpipe_now_usec());
			spin_unlock_bh(&flow->lock);
			if (over)
				rx_flow_remove(ring, flow);
		}
		rcu_read_unlock();
	}
}

/* By dev->watch_work, or when it is over. `all`: the device is about to go. */
void mpipe_flows_tidy(struct mpipe_dev *dev, bool all)
{
	unsigned long since = jiffies - IDLE_SEC * HZ;
	struct mpipe_flow *flow;
	struct hlist_node *next;
	int bucket;

	spin_lock_bh(&flows_lock);
	hash_for_each_safe(flows_by_sock, bucket, next, flow, by_sock)
		if (flow->dev == dev && (all || time_before(READ_ONCE(flow->used), since)))
			unlink_flow(flow);
	spin_unlock_bh(&flows_lock);
	rx_tidy(dev, all);
}

/* ---------------------------------------------------------------- what there is to be seen */

static const char *way_of(const struct mp_flow_tx *flow)
{
	switch (flow->state) {
	case MP_FLOW_OPEN:
		return mpipe_now_usec() < flow->until_usec + MP_FLOW_GRACE_USEC ? "ring ok" : "net idle";
	case MP_FLOW_ASKED:
		return "net asking";
	}
	return flow->n_vain > 0 ? "net no-answer" : "net learning";
}

void mpipe_flows_show(struct seq_file *m)
{
	struct mpipe_rx_flow *rx;
	struct mpipe_flow *flow;
	int bucket;

	rcu_read_lock();
	hash_for_each_rcu(flows_by_tuple, bucket, flow, by_tuple) {
		mpipe_show_tuple(m, &flow->tuple);
		seq_printf(m, "to peer=%u %s by_ring=%llu by_net=%llu\n", flow->peer, way_of(&flow->state),
			   flow->n_ring, flow->n_net);
	}
	hash_for_each_rcu(rx_flows_by_tuple, bucket, rx, by_tuple) {
		mpipe_show_tuple(m, &rx->tuple);
		seq_printf(m, "from peer=%u %s by_ring=%llu flow=%u\n", rx->peer,
			   mp_flow_takes(&rx->state, rx->state.gen, mpipe_now_usec()) ? "ring ok" : "net unconfirmed",
			   rx->n_ring, rx->id);
	}
	rcu_read_unlock();
}
