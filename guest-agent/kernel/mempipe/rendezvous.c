// SPDX-License-Identifier: GPL-2.0-or-later
/* Rendezvous: the two ends of a TCP connection agree on a pipe (HELLO, ATTACH, REFUSE), while TCP carries
 * what is sent.
 *
 * Each end proves that it is an end by knowing both initial sequence numbers, which only they have seen. The
 * proof names both peers, so that a third who reads it in the shared memory cannot use it.
 * All of it is done by works, never in a hook: a socket's lock is taken here, of one socket at a time.
 */
#include <linux/jiffies.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>

#include "mempipe.h"

#define ANSWER_MSEC 500 /* the client waits for the server's module, then asks again: either ring may have been out of step */
#define ASKS 4
#define HELLO_MSEC 5	 /* who is closed sooner never asks: two doorbells and two wakes for a few packets */
#define HELLO_BYTES MLG_PIPE_CHUNK_BYTES /* who has sent as much by TCP, or been sent, asks at once */
#define RETRY_MSEC 2	 /* the server's handshake may be behind our HELLO, a ring may be full */
#define RETRIES 100
#define WAITS 10	 /* of the server, each twice as long as the one before up to 32 ms: about as long in all */
#define WAIT_SHIFT_MOST 4u

/* Slots of ours that a server may keep, by not leaving them after we did: others need some, too. */
#define LEFT_MOST (MLG_PIPE_SLOTS / 4)

enum role { ROLE_CLIENT, ROLE_SERVER };

/* ---------------------------------------------------------------- proofs */

static u64 proof(const struct mpipe_conn *conn, u32 peer, u64 nonce, u32 slot, u32 gen, enum role role)
{
	const struct mpipe_tuple *t = &conn->tuple;
	siphash_key_t key = {{conn->isn_client | (u64)conn->isn_server << 32, nonce}};
	struct {
		struct mlg_pipe_address client, server;
		u16 client_port, server_port, client_peer, server_peer;
		u32 slot, gen, role;
	} what = {
		.client = conn->server ? t->remote : t->local,
		.server = conn->server ? t->local : t->remote,
		.client_port = conn->server ? t->remote_port : t->local_port,
		.server_port = conn->server ? t->local_port : t->remote_port,
		.client_peer = conn->server ? peer : conn->dev->self,
		.server_peer = conn->server ? conn->dev->self : peer,
		.slot = slot,
		.gen = gen,
		.role = role,
	};

	BUILD_BUG_ON(sizeof(what) != 52); /* no holes */
	return siphash(&what, sizeof(what), &key);
}

static void fill_tuple(const struct mpipe_conn *conn, struct mlg_pipe_message *m)
{
	m->tuple.client = conn->tuple.local;
	m->tuple.server = conn->tuple.remote;
	m->tuple.client_port = conn->tuple.local_port;
	m->tuple.server_port = conn->tuple.remote_port;
}

/* ---------------------------------------------------------------- slots */

static bool slot_take(struct mpipe_dev *dev, u32 peer, u32 *ret_slot, u32 *ret_gen)
{
	u32 slot = MLG_PIPE_SLOTS;

	spin_lock_bh(&dev->slots_lock);
	if (dev->n_left[peer] < LEFT_MOST)
		slot = find_first_zero_bit(dev->slots_used, MLG_PIPE_SLOTS);
	if (slot < MLG_PIPE_SLOTS) {
		__set_bit(slot, dev->slots_used);
		dev->slot_gen[slot] = dev->slot_gen[slot] + 1 ?: 1;
		*ret_gen = dev->slot_gen[slot];
		*ret_slot = slot;
	}
	spin_unlock_bh(&dev->slots_lock);
	return slot < MLG_PIPE_SLOTS;
}

void mpipe_slot_free(struct mpipe_dev *dev, u32 slot)
{
	spin_lock_bh(&dev->slots_lock);
	__clear_bit(slot, dev->slots_used);
	spin_unlock_bh(&dev->slots_lock);
}

/* Who is still with the slot's last pipe sees that it is over before anything of it changes. */
static void slot_clear(struct mlg_pipe_slot *slot, u32 gen, u32 server)
{
	WRITE_ONCE(slot->gen, 0);
	smp_wmb();
	memset((u8 *)slot + sizeof(slot->gen), 0, sizeof(*slot) - sizeof(slot->gen));
	WRITE_ONCE(slot->server, server);
	smp_store_release(&slot->gen, gen);
}

/* The peer's proof was right. From now on bytes may come by the pipe. Whoever sleeps, or polls, or asked for
 * signals, did so before there was one: the first byte has to ring. Socket locked, inside of the device.
 */
static void attach(struct mpipe_conn *conn, struct sock *sk)
{
	mpipe_peer_prove(conn->dev, conn->peer, &conn->tuple.remote);
	mp_rx_arm(&conn->pipe->rx);
	mp_rx_attach(&conn->pipe->rx);
	conn->attached = true;
	WRITE_ONCE(conn->state, MPIPE_OPEN);
	mpipe_conn_tell_rx(conn);
}

/* ---------------------------------------------------------------- the client */

/* Socket locked, inside of the device. 0; -EAGAIN: later; > 0: a reason to stay with TCP. */
static int say_hello(struct mpipe_conn *conn)
{
	struct mpipe_dev *dev = conn->dev;
	struct mlg_pipe_message m = {.type = MLG_PIPE_HELLO};
	int err;

	if (!conn->pipe) {
		u32 slot, gen;

		if (!slot_take(dev, conn->peer, &slot, &gen))
			return MLG_PIPE_NO_SLOT;
		slot_clear(mp_slot(dev->base, dev->self, slot), gen, conn->peer);
		err = mpipe_conn_open(conn, slot, gen);
		if (err < 0) {
			mpipe_slot_free(dev, slot);
			return MLG_PIPE_NO_SLOT;
		}
		conn->nonce = get_random_u64() >> MP_NONCE_SHIFT;
	}
	fill_tuple(conn, &m);
	m.gen = conn->gen;
	m.nonce_slot = conn->nonce << MP_NONCE_SHIFT | conn->slot;
	m.proof = proof(conn, conn->peer, conn->nonce, conn->slot, conn->gen, ROLE_CLIENT);
	return mpipe_peer_send(dev, conn->peer, &m) < 0 ? -EAGAIN : 0;
}

/* Our end of a pipe that never was one. Socket locked. */
static void refused(struct mpipe_conn *conn, enum mlg_pipe_reason why)
{
	if (conn->state == MPIPE_ASKED)
		mpipe_peer_failed(conn->dev, conn->peer);
	mpipe_conn_stay(conn, why);
	WRITE_ONCE(conn->state, MPIPE_TCP);
	if (!conn->pipe)
		return;
	if (mpipe_dev_enter(conn->dev)) {
		if (mpipe_conn_alive(conn))
			WRITE_ONCE(conn->shared->client_done, conn->gen);
		mpipe_dev_leave(conn->dev);
	}
	/* a server that attaches nevertheless finds that the slot has another gen, or has been left */
	mpipe_conn_forget(conn);
}

static void client_work(struct mpipe_conn *conn, struct sock *sk)
{
	int why = MLG_PIPE_PEER_LEAVES;

	if (conn->state != MPIPE_NEW || sk->sk_state != TCP_ESTABLISHED)
		return;
	if (mpipe_dev_enter(conn->dev)) {
		if (!mpipe_dev_goes(conn->dev) && READ_ONCE(conn->dev->epoch) == conn->epoch)
			why = say_hello(conn);
		mpipe_dev_leave(conn->dev);
	}
	if (why == 0) {
		conn->deadline = jiffies + msecs_to_jiffies(ANSWER_MSEC);
		WRITE_ONCE(conn->state, MPIPE_ASKED);
	} else if (why == -EAGAIN && conn->n_tries++ < RETRIES) {
		refcount_inc(&conn->ref);
		if (!queue_delayed_work(mpipe_wq, &conn->work, msecs_to_jiffies(RETRY_MSEC)))
			mpipe_conn_put(conn);
	} else {
		refused(conn, why == -EAGAIN ? MLG_PIPE_NO_ANSWER : why);
	}
}

void mpipe_rendezvous_work(struct work_struct *work)
{
	struct mpipe_conn *conn = container_of(to_delayed_work(work), struct mpipe_conn, work);
	struct sock *sk = mpipe_conn_sock(conn);

	if (sk) {
		lock_sock(sk);
		client_work(conn, sk);
		release_sock(sk);
		sock_put(sk);
	}
	mpipe_conn_put(conn);
}

void mpipe_rendezvous_begin(struct mpipe_conn *conn)
{
	refcount_inc(&conn->ref);
	if (!queue_delayed_work(mpipe_wq, &conn->work, msecs_to_jiffies(HELLO_MSEC)))
		mpipe_conn_put(conn);
}

/* Socket locked. */
void mpipe_rendezvous_hurry(struct mpipe_conn *conn, const struct sock *sk)
{
	/* not before the last packet of the handshake: without both numbers there is no proof */
	if (conn->state != MPIPE_NEW || conn->server || conn->n_tries > 0 || !conn->isn_server)
		return;
	/* the number of the first byte is right until 4 GiB have come: long after it has been asked */
	if (conn->tcp_sent < HELLO_BYTES && READ_ONCE(tcp_sk(sk)->rcv_nxt) - conn->isn_server < HELLO_BYTES)
		return;
	refcount_inc(&conn->ref);
	if (mod_delayed_work(mpipe_wq, &conn->work, 0))
		mpipe_conn_put(conn);
}

void mpipe_rendezvous_end(struct mpipe_conn *conn)
{
	if (cancel_delayed_work(&conn->work))
		mpipe_conn_put(conn);
}

static struct mpipe_conn *find_own(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m)
{
	struct mpipe_conn *conn;

	rcu_read_lock();
	conn = xa_load(&dev->pipes, mpipe_key(dev->self, mp_message_slot(m)));
	if (conn && (conn->peer != peer || conn->gen != m->gen ||
		     conn->nonce != m->nonce_slot >> MP_NONCE_SHIFT || !refcount_inc_not_zero(&conn->ref)))
		conn = NULL;
	rcu_read_unlock();
	return conn;
}

static void client_attach(struct mpipe_conn *conn, struct sock *sk, const struct mlg_pipe_message *m)
{
	if (m->type == MLG_PIPE_REFUSE) {
		refused(conn, m->reason);
	} else if (m->proof != proof(conn, conn->peer, conn->nonce, conn->slot, conn->gen, ROLE_SERVER)) {
		refused(conn, MLG_PIPE_BAD_PROOF);
	} else if (mpipe_dev_goes(conn->dev)) {
		refused(conn, MLG_PIPE_PEER_LEAVES);
	} else {
		attach(conn, sk);
	}
}

/* ATTACH or REFUSE */
static void on_answer(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m)
{
	struct mpipe_conn *conn = find_own(dev, peer, m);
	struct sock *sk = conn ? mpipe_conn_sock(conn) : NULL;

	if (sk) {
		lock_sock(sk);
		if (conn->state == MPIPE_ASKED)
			client_attach(conn, sk, m);
		release_sock(sk);
		sock_put(sk);
	}
	if (conn)
		mpipe_conn_put(conn);
}

/* Nobody has answered. Socket locked, inside of the device. */
static void ask_again(struct mpipe_conn *conn)
{
	if (++conn->n_asked < ASKS && say_hello(conn) <= 0)
		conn->deadline = jiffies + msecs_to_jiffies(ANSWER_MSEC);
	else
		refused(conn, MLG_PIPE_NO_ANSWER);
}

/* Inside of the device, by dev->watch_work. */
void mpipe_rendezvous_expire(struct mpipe_dev *dev)
{
	struct mpipe_conn *conn;
	unsigned long key;

	rcu_read_lock();
	xa_for_each(&dev->pipes, key, conn) {
		struct sock *sk;

		if (READ_ONCE(conn->state) != MPIPE_ASKED || time_before(jiffies, conn->deadline) ||
		    !refcount_inc_not_zero(&conn->ref))
			continue;
		rcu_read_unlock();
		sk = mpipe_conn_sock(conn);
		if (sk) {
			lock_sock(sk);
			if (conn->state == MPIPE_ASKED)
				ask_again(conn);
			release_sock(sk);
			sock_put(sk);
		}
		mpipe_conn_put(conn);
		rcu_read_lock();
	}
	rcu_read_unlock();
}

/* ---------------------------------------------------------------- the server */

/* A HELLO whose connection is not established yet. */
struct waiting {
	struct delayed_work work;
	struct mpipe_dev *dev;
	u32 peer, tries;
	struct mlg_pipe_message m;
};

/* HELLOs at once that wait: what a peer can make us remember. Each its own: one that says many in vain keeps
 * no other's from waiting.
 */
#define WAITING_MOST MLG_PIPE_MESSAGES

static struct sock *find_sock_in(struct net *net, const struct mlg_pipe_message *m)
{
	struct inet_hashinfo *hashinfo = compat_tcp_hashinfo(net);
	const struct in6_addr *client = (const struct in6_addr *)m->tuple.client.bytes;
	const struct in6_addr *server = (const struct in6_addr *)m->tuple.server.bytes;
	__be16 port = htons(m->tuple.client_port);
	struct sock *sk;

	local_bh_disable();
	if (ipv6_addr_v4mapped(client))
		sk = __inet_lookup_established(net, hashinfo, client->s6_addr32[3], port,
					       server->s6_addr32[3], m->tuple.server_port, 0, 0);
	else
		sk = __inet6_lookup_established(net, hashinfo, client, port, server,
						m->tuple.server_port, 0, 0);
	local_bh_enable();
	if (sk && (!sk_fullsock(sk) || sk->sk_state == TCP_SYN_RECV)) {
		sock_gen_put(sk);
		sk = NULL;
	}
	return sk;
}

/* The server's socket, with a reference; NULL: there is none (yet). In which network namespace only its guest
 * knows; if two have such a connection the proof is of one.
 */
static struct sock *find_sock(const struct mlg_pipe_message *m)
{
	struct sock *sk = NULL;
	struct net *net;

	rcu_read_lock();
	for_each_net_rcu(net) {
		sk = find_sock_in(net, m);
		if (sk)
			break;
	}
	rcu_read_unlock();
	return sk;
}

static bool is_same_tuple(const struct mpipe_tuple *t, const struct mlg_pipe_message *m)
{
	return memcmp(&t->local, &m->tuple.server, sizeof(t->local)) == 0 &&
	       memcmp(&t->remote, &m->tuple.client, sizeof(t->remote)) == 0 &&
	       t->local_port == m->tuple.server_port && t->remote_port == m->tuple.client_port;
}

/* It may have been closed before we have looked. Inside of the device. */
static bool client_waits(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m)
{
	const struct mlg_pipe_slot *shared = mp_slot(dev->base, peer, mp_message_slot(m));

	return READ_ONCE(shared->gen) == m->gen && READ_ONCE(shared->client_done) != m->gen;
}

/* Socket locked, inside of the device. A reason to refuse, or 0; -EAGAIN: later. */
static int server_attach(struct mpipe_conn *conn, struct sock *sk, struct mpipe_dev *dev, u32 peer,
			 const struct mlg_pipe_message *m)
{
	u32 slot = mp_message_slot(m);
	const struct mlg_pipe_slot *shared = mp_slot(dev->base, peer, slot);
	bool again = conn->state == MPIPE_OPEN && conn->peer == peer && conn->slot == slot &&
		     conn->gen == m->gen;

	if (!conn->server || !is_same_tuple(&conn->tuple, m) ||
	    (!again && (conn->state != MPIPE_NEW || conn->pipe)))
		return conn->reason ?: MLG_PIPE_NO_SOCKET;
	if (mpipe_dev_goes(dev))
		return MLG_PIPE_PEER_LEAVES;
	/* it may be known to another group, or to an earlier epoch of ours */
	if (conn->dev != dev || conn->epoch != dev->epoch)
		return MLG_PIPE_NO_PEER;
	if (m->proof != proof(conn, peer, m->nonce_slot >> MP_NONCE_SHIFT, slot, m->gen, ROLE_CLIENT))
		return MLG_PIPE_BAD_PROOF;
	if (again) /* it has not heard our answer */
		return 0;
	if (READ_ONCE(shared->server) != dev->self || !client_waits(dev, peer, m))
		return MLG_PIPE_NO_SLOT;
	if (xa_load(&dev->pipes, mpipe_key(peer, slot))) /* its last pipe is not forgotten yet */
		return -EAGAIN;
	/* whose address it was is what somebody said; whose connection it is was proved */
	conn->peer = peer;
	conn->peer_epoch = m->epoch;
	if (mpipe_conn_open(conn, slot, m->gen) < 0)
		return MLG_PIPE_NO_SLOT;
	attach(conn, sk);
	return 0;
}

static void answer(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *hello,
		   const struct mpipe_conn *conn, int why)
{
	struct mlg_pipe_message m = *hello;

	m.type = why ? MLG_PIPE_REFUSE : MLG_PIPE_ATTACH;
	m.reason = why;
	m.proof = why ? 0
		      : proof(conn, peer, hello->nonce_slot >> MP_NONCE_SHIFT, conn->slot, conn->gen,
			      ROLE_SERVER);
	/* the ring is full: the client gives up by itself, and leaves the slot */
	(void)mpipe_peer_send(dev, peer, &m);
}

/* Inside of the device. False: there is no such socket yet, or its slot is not free. */
static bool meet(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m, bool last)
{
	struct sock *sk = find_sock(m);
	struct mpipe_conn *conn = sk ? mpipe_conn_of(sk) : NULL;
	int why = sk ? MLG_PIPE_NOT_ADOPTED : MLG_PIPE_NO_SOCKET;

	if (!sk && !last)
		return !client_waits(dev, peer, m);
	if (conn) {
		lock_sock(sk);
		why = server_attach(conn, sk, dev, peer, m);
		if (why == -EAGAIN && last)
			why = MLG_PIPE_NO_SLOT;
		if (why >= 0)
			answer(dev, peer, m, conn, why);
		release_sock(sk);
		mpipe_conn_put(conn);
	} else {
		answer(dev, peer, m, NULL, why);
	}
	if (sk)
		sock_gen_put(sk);
	return why != -EAGAIN;
}

static void waiting_work(struct work_struct *work)
{
	struct waiting *w = container_of(to_delayed_work(work), struct waiting, work);
	bool done = true;

	if (mpipe_dev_enter(w->dev)) {
		done = meet(w->dev, w->peer, &w->m, ++w->tries >= WAITS);
		mpipe_dev_leave(w->dev);
	}
	if (!done) {
		queue_delayed_work(mpipe_wq, &w->work, msecs_to_jiffies(RETRY_MSEC << min(w->tries, WAIT_SHIFT_MOST)));
		return;
	}
	atomic_dec(&w->dev->peers[w->peer].n_waiting);
	mpipe_dev_put(w->dev);
	kfree(w);
}

/* A HELLO can overtake the last packet of the handshake. */
static void wait_for_sock(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m)
{
	atomic_t *n_waiting = &dev->peers[peer].n_waiting;
	struct waiting *w = NULL;

	if (atomic_inc_return(n_waiting) <= WAITING_MOST)
		w = kzalloc(sizeof(*w), GFP_KERNEL);
	if (!w) {
		atomic_dec(n_waiting);
		answer(dev, peer, m, NULL, MLG_PIPE_NO_SOCKET);
		return;
	}
	kref_get(&dev->kref);
	w->dev = dev;
	w->peer = peer;
	w->m = *m;
	INIT_DELAYED_WORK(&w->work, waiting_work);
	queue_delayed_work(mpipe_wq, &w->work, msecs_to_jiffies(RETRY_MSEC));
}

/* ---------------------------------------------------------------- control rings */

static void on_message(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m)
{
	switch (m->type) {
	case MLG_PIPE_HELLO:
		if (!meet(dev, peer, m, false))
			wait_for_sock(dev, peer, m);
		break;
	case MLG_PIPE_ATTACH:
	case MLG_PIPE_REFUSE:
		on_answer(dev, peer, m);
		break;
	case MLG_PIPE_FLOW_OFFER:
	case MLG_PIPE_FLOW_OK:
	case MLG_PIPE_FLOW_GONE:
		mpipe_udp_message(dev, peer, m);
		break;
	case MLG_PIPE_GRANT:
		mpipe_chunks_granted(dev, m->chunks.first, m->chunks.count);
		break;
	}
}

static int take_message(struct mpipe_dev *dev, u32 peer, struct mlg_pipe_message *ret)
{
	u32 epoch, refused;
	int n;

	spin_lock_bh(&dev->peers_lock);
	epoch = dev->peers[peer].epoch;
	refused = dev->peers[peer].from.n_refused;
	n = dev->epoch && epoch ? mp_ctl_take(&dev->peers[peer].from, epoch, ret) : 0;
	mpipe_count_add(MPIPE_N_BAD_MESSAGES, dev->peers[peer].from.n_refused - refused + (n < 0));
	spin_unlock_bh(&dev->peers_lock);
	return n;
}

void mpipe_control_work(struct work_struct *work)
{
	struct mpipe_dev *dev = container_of(work, struct mpipe_dev, control_work);
	struct mlg_pipe_message m;
	bool again = false;
	u32 peer, n;

	if (!mpipe_dev_enter(dev))
		return;
	for (peer = 0; peer < MLG_PIPE_PEERS; peer++) {
		/* one ring's worth: who writes as fast as we read keeps neither others waiting nor the device */
		for (n = 0; peer != dev->self && n < MLG_PIPE_MESSAGES && take_message(dev, peer, &m) > 0; n++)
			on_message(dev, peer, &m);
		again |= n == MLG_PIPE_MESSAGES;
	}
	mpipe_dev_leave(dev);
	if (again)
		queue_work(mpipe_wq, &dev->control_work);
}
