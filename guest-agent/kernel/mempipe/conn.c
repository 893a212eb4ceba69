// SPDX-License-Identifier: GPL-2.0-or-later
/* Conn: the life of one adopted connection, and of its pipe.
 *
 * A connection is held by its socket's ULP slot, and by dev->pipes from the opening of its pipe until
 * nothing is left of that: what a closed socket has sent by the pipe must stay readable, as what it has
 * sent by TCP does. A pipe ends when the socket is closed, and for the sender also when its peer does not
 * want it, leaves or is gone. Who sees that the other end is done with it is done as soon as it has all that
 * came: the client has a slot to give free, and either may want to be rid of its module.
 */
#include <linux/delay.h>
#include <linux/module.h>

#include "mempipe.h"

DEFINE_SPINLOCK(mpipe_conns_lock);
LIST_HEAD(mpipe_conns);

static void reset_work(struct work_struct *work);
static void settle_work(struct work_struct *work);

static struct mpipe_conn *conn_alloc(struct sock *sk, gfp_t gfp)
{
	struct mpipe_conn *conn;

	if (!try_module_get(THIS_MODULE))
		return NULL;
	conn = kzalloc(sizeof(*conn), gfp);
	if (!conn) {
		module_put(THIS_MODULE);
		return NULL;
	}
	refcount_set(&conn->ref, 1);
	mutex_init(&conn->read_lock);
	INIT_DELAYED_WORK(&conn->work, mpipe_rendezvous_work);
	INIT_WORK(&conn->reset_work, reset_work);
	INIT_WORK(&conn->settle_work, settle_work);
	conn->sk = sk;
	mpipe_count(MPIPE_N_OPEN);
	mpipe_count_memory(conn, false);
	return conn;
}

static void add_to_all(struct mpipe_conn *conn)
{
	spin_lock_bh(&mpipe_conns_lock);
	list_add_tail(&conn->node, &mpipe_conns);
	spin_unlock_bh(&mpipe_conns_lock);
}

struct mpipe_conn *mpipe_conn_listens(struct sock *sk, gfp_t gfp)
{
	struct mpipe_conn *conn = conn_alloc(sk, gfp);

	if (!conn)
		return NULL;
	conn->state = MPIPE_LISTENS;
	add_to_all(conn);
	return conn;
}

struct mpipe_conn *mpipe_conn_new(struct sock *sk, bool server, const struct mpipe_tuple *tuple, gfp_t gfp)
{
	struct mpipe_conn *conn = conn_alloc(sk, gfp);

	if (!conn)
		return NULL;
	conn->server = server;
	conn->tuple = *tuple;
	if (!mpipe_enabled)
		conn->reason = MLG_PIPE_OFF;
	else
		conn->dev = mpipe_peer_find(&tuple->remote, &conn->peer, &conn->peer_epoch, &conn->epoch);
	if (!conn->dev) {
		conn->state = MPIPE_TCP;
		conn->reason = conn->reason ?: MLG_PIPE_NO_PEER;
		atomic64_inc(&mpipe_reasons[conn->reason]);
	}
	add_to_all(conn);
	mpipe_count(MPIPE_N_ADOPTED);
	return conn;
}

static void conn_free(struct rcu_head *rcu)
{
	struct mpipe_conn *conn = container_of(rcu, struct mpipe_conn, rcu);

	mpipe_count_add(MPIPE_N_OPEN, -1);
	mpipe_count_memory(conn->pipe, true);
	mpipe_count_memory(conn, true);
	kvfree(conn->rest);
	kfree(conn->pipe);
	kfree(conn);
}

void mpipe_conn_put(struct mpipe_conn *conn)
{
	if (!refcount_dec_and_test(&conn->ref))
		return;
	spin_lock_bh(&mpipe_conns_lock);
	list_del(&conn->node);
	spin_unlock_bh(&mpipe_conns_lock);
	if (conn->dev)
		mpipe_dev_put(conn->dev);
	call_rcu(&conn->rcu, conn_free);
	module_put(THIS_MODULE); /* which waits for that, and for us to have left, before it goes */
}

struct sock *mpipe_conn_sock(struct mpipe_conn *conn)
{
	struct sock *sk;

	rcu_read_lock();
	sk = READ_ONCE(conn->sk);
	if (sk && !refcount_inc_not_zero(&sk->sk_refcnt))
		sk = NULL;
	rcu_read_unlock();
	/* TCP's sockets are recycled as such: it may be another one's by now */
	if (sk && READ_ONCE(conn->sk) != sk) {
		sock_put(sk);
		sk = NULL;
	}
	return sk;
}

bool mpipe_conn_alive(const struct mpipe_conn *conn)
{
	struct mpipe_dev *dev = conn->dev;
	struct mlg_pipe_peer *peer = mp_peer(dev->base, conn->peer), *self = mp_peer(dev->base, dev->self);

	smp_rmb(); /* what was read before is as old as what follows, or older */
	return !READ_ONCE(conn->forgotten) && READ_ONCE(peer->epoch) == conn->peer_epoch &&
	       READ_ONCE(peer->state) != MLG_PIPE_ABSENT && READ_ONCE(self->epoch) == conn->epoch &&
	       READ_ONCE(conn->shared->gen) == conn->gen;
}

/* The word in which `end` says that it has left the pipe. */
static u32 *done_word(struct mpipe_conn *conn, bool server)
{
	return server ? &conn->shared->server_done : &conn->shared->client_done;
}

static u32 pending_bit(const struct mpipe_conn *conn)
{
	return mp_pending_bit(!conn->server, conn->slot);
}

static void ring(struct mpipe_conn *conn)
{
	conn->pipe->n_rung++;
	mpipe_dev_ring(conn->dev, conn->peer);
}

void mpipe_conn_tell_tx(struct mpipe_conn *conn)
{
	struct mlg_pipe_pair *pair = mp_pair(conn->dev->base, conn->dev->self, conn->peer);

	if (mp_tx_tell(&conn->pipe->tx, pair, pending_bit(conn))) {
		mp_demand_dry(&conn->pipe->credit.demand);
		ring(conn);
	}
}

void mpipe_conn_tell_rx(struct mpipe_conn *conn)
{
	struct mlg_pipe_pair *pair = mp_pair(conn->dev->base, conn->dev->self, conn->peer);

	if (mp_rx_tell(&conn->pipe->rx, pair, pending_bit(conn)))
		ring(conn);
}

void mpipe_conn_nudge(struct mpipe_conn *conn)
{
	if (mp_pend(mp_pair(conn->dev->base, conn->dev->self, conn->peer), pending_bit(conn)))
		ring(conn);
}

/* Makes the two directions of a pipe in `slot`, and lets wakes find them. */
int mpipe_conn_open(struct mpipe_conn *conn, u32 slot, u32 gen)
{
	struct mpipe_dev *dev = conn->dev;
	u32 owner = conn->server ? conn->peer : dev->self;
	struct mpipe_pipe *pipe = kzalloc(sizeof(*pipe), GFP_KERNEL);
	struct mlg_pipe_slot *shared = mp_slot(dev->base, owner, slot);
	int err;

	if (!pipe)
		return -ENOMEM;
	conn->slot = slot;
	conn->gen = gen;
	conn->shared = shared;
	mp_tx_init(&pipe->tx, conn->server ? &shared->to_client : &shared->to_server, gen);
	mp_rx_init(&pipe->rx, conn->server ? &shared->to_server : &shared->to_client, gen, dev->n_chunks);
	smp_store_release(&conn->pipe, pipe);
	mpipe_count_memory(pipe, false);
	mpipe_chunks_begin(conn);
	refcount_inc(&conn->ref);
	err = xa_insert(&dev->pipes, mpipe_key(owner, slot), conn, GFP_KERNEL);
	if (err < 0) {
		conn->forgotten = true;
		refcount_dec(&conn->ref);
		return err;
	}
	spin_lock_bh(&dev->slots_lock);
	dev->n_pipes++;
	spin_unlock_bh(&dev->slots_lock);
	mpipe_count(MPIPE_N_PIPES);
	return 0;
}

static void salvage(struct mpipe_conn *conn)
{
	u32 chunk;

	while (mp_tx_salvage(&conn->pipe->tx, &chunk))
		mpipe_chunk_put(conn, chunk);
}

/* Nothing of the pipe is touched any more, by nobody. */
void mpipe_conn_forget(struct mpipe_conn *conn)
{
	struct mpipe_dev *dev = conn->dev;
	u32 owner = conn->server ? conn->peer : dev->self;

	if (xa_cmpxchg(&dev->pipes, mpipe_key(owner, conn->slot), conn, NULL, GFP_ATOMIC) != conn)
		return;
	spin_lock_bh(&dev->slots_lock);
	WRITE_ONCE(conn->forgotten, true);
	dev->n_pipes--;
	dev->n_left[conn->peer] -= conn->counted;
	spin_unlock_bh(&dev->slots_lock);
	salvage(conn);
	mpipe_chunks_leave(conn);
	if (!conn->server)
		mpipe_slot_free(dev, conn->slot);
	mpipe_conn_put(conn);
}

/* Of a closed connection: whether the peer has all that it sent and knows it, or never will; one that does
 * not know it yet would take our module's end for a loss. The client's slot is used again when the server
 * has left, too; while we take no slots nobody has to wait for that.
 */
static bool is_over(struct mpipe_conn *conn)
{
	struct mp_tx *tx = &conn->pipe->tx;
	bool is_read = mp_tx_look(tx) < 0 || tx->head == tx->tail;
	bool is_known = mp_tx_look_ack(tx) != 0;

	/* a client that was closed before the server's answer has used nothing of it */
	if (!mpipe_conn_alive(conn) || mpipe_conn_done(conn) || !conn->attached)
		return true;
	if (is_read)
		salvage(conn);
	return is_known && (conn->server || !READ_ONCE(mpipe_enabled));
}

/* By dev->watch_work alone, and by closing; chunks of one pipe by the socket's lock, or here when there is
 * no socket.
 */
void mpipe_conn_tidy(struct mpipe_conn *conn)
{
	if (!mpipe_dev_enter(conn->dev)) {
		mpipe_conn_forget(conn);
		return;
	}
	if (is_over(conn))
		mpipe_conn_forget(conn);
	else
		mp_tx_arm(&conn->pipe->tx);
	mpipe_dev_leave(conn->dev);
}

void mpipe_conn_part(struct mpipe_conn *conn, enum mlg_pipe_reason why)
{
	mpipe_tx_abandon(conn, why);
	conn->pipe->tx.acked = true; /* what the peer has not read nobody will */
	WRITE_ONCE(*done_word(conn, conn->server), conn->gen);
	mpipe_conn_nudge(conn);
	mpipe_conn_forget(conn);
}

/* Its slot is ours until the server has left it, too, or is gone. */
static void count_left(struct mpipe_conn *conn)
{
	struct mpipe_dev *dev = conn->dev;

	spin_lock_bh(&dev->slots_lock);
	if (!conn->server && !conn->forgotten) {
		conn->counted = true;
		dev->n_left[conn->peer]++;
	}
	spin_unlock_bh(&dev->slots_lock);
}

void mpipe_conn_closed(struct mpipe_conn *conn)
{
	if (conn->state == MPIPE_LEFT)
		return;
	WRITE_ONCE(conn->sk, NULL);
	mpipe_rendezvous_end(conn);
	if (conn->pipe && mpipe_dev_enter(conn->dev)) {
		if (mpipe_conn_alive(conn)) {
			/* so that the reader knows when it has all */
			if (mp_tx_in_pipe(&conn->pipe->tx))
				mpipe_tx_to_tcp(conn);
			WRITE_ONCE(*done_word(conn, conn->server), conn->gen);
			mp_rx_detach(&conn->pipe->rx);
			mpipe_conn_tell_rx(conn);
			mpipe_conn_tell_tx(conn);
		}
		mpipe_dev_leave(conn->dev);
	}
	if (conn->pipe)
		count_left(conn);
	WRITE_ONCE(conn->state, MPIPE_LEFT);
	if (conn->pipe)
		mpipe_dev_rung(conn->dev); /* soon: of many that close, each would have all looked at */
}

void mpipe_conn_stay(struct mpipe_conn *conn, enum mlg_pipe_reason why)
{
	if (conn->stays)
		return;
	conn->stays = true;
	conn->reason = why;
	atomic64_inc(&mpipe_reasons[why]);
	if (!conn->pipe)
		WRITE_ONCE(conn->state, MPIPE_TCP);
}

void mpipe_tx_abandon(struct mpipe_conn *conn, enum mlg_pipe_reason why)
{
	conn->pipe->tx.mode &= ~1u;
	mpipe_conn_stay(conn, why);
}

/* ---------------------------------------------------------------- what happens to a connection from
 * outside
 */

static void reset_work(struct work_struct *work)
{
	struct mpipe_conn *conn = container_of(work, struct mpipe_conn, reset_work);
	struct sock *sk = mpipe_conn_sock(conn);

	if (sk) {
		mpipe_count(MPIPE_N_RESETS);
		mpipe_base(sk)->diag_destroy(sk, ECONNRESET);
		sock_put(sk);
	}
	mpipe_conn_put(conn);
}

/* As if an RST had come: the application finds ECONNRESET, the peer gets an RST. */
void mpipe_conn_reset(struct mpipe_conn *conn, enum mlg_pipe_reason why)
{
	if (!conn->broken)
		atomic64_inc(&mpipe_reasons[why]);
	WRITE_ONCE(conn->broken, true);
	conn->reason = why;
	refcount_inc(&conn->ref);
	if (!queue_work(mpipe_wq, &conn->reset_work))
		mpipe_conn_put(conn);
}

static void settle_work(struct work_struct *work)
{
	struct mpipe_conn *conn = container_of(work, struct mpipe_conn, settle_work);
	struct sock *sk = mpipe_conn_sock(conn);

	if (sk) {
		lock_sock(sk);
		if (conn->state != MPIPE_LEFT)
			mpipe_sock_settle(conn, sk);
		release_sock(sk);
		sock_put(sk);
	}
	mpipe_conn_put(conn);
}

void mpipe_conn_settle(struct mpipe_conn *conn)
{
	refcount_inc(&conn->ref);
	if (!queue_work(mpipe_wq, &conn->settle_work))
		mpipe_conn_put(conn);
}

void mpipe_conns_settle(struct mpipe_dev *dev, u32 peer)
{
	struct mpipe_conn *conn;
	unsigned long key;

	rcu_read_lock();
	xa_for_each(&dev->pipes, key, conn)
		if ((peer == MLG_PIPE_NOBODY || conn->peer == peer) && refcount_inc_not_zero(&conn->ref)) {
			mpipe_conn_settle(conn);
			mpipe_conn_put(conn);
		}
	rcu_read_unlock();
}

/* What the peer sent by the pipe and we have not read is lost. What we sent may be: our own device does not go
 * before the end of our excursion was acknowledged, if it can be helped. A peer that goes in good order has sent us home
 * before (we stay there), reads what is there, and resets if it cannot; one that has not may not even know of it.
 */
bool mpipe_conn_loses(struct mpipe_conn *conn, bool own_device)
{
	const struct mp_tx *tx = &conn->pipe->tx;

	if (mp_rx_away(&conn->pipe->rx))
		return true;
	return !tx->acked && (own_device || mp_tx_in_pipe(tx) || !conn->stays);
}

bool mpipe_conn_done(struct mpipe_conn *conn)
{
	return READ_ONCE(*done_word(conn, !conn->server)) == conn->gen;
}

bool mpipe_conn_unwanted(struct mpipe_conn *conn)
{
	if (!mp_tx_unwanted(&conn->pipe->tx)) {
		WRITE_ONCE(conn->wanted, true);
		return false;
	}
	return READ_ONCE(conn->wanted) && !mpipe_conn_done(conn);
}

/* Nobody of ours has to look any more, nor the peer. Also what was not seen yet counts: its mode says so. */
static bool is_drained(struct mpipe_conn *conn)
{
	const struct mp_tx *tx = &conn->pipe->tx;
	const struct mp_rx *rx = &conn->pipe->rx;

	if (!mpipe_conn_alive(conn))
		return true;
	if (READ_ONCE(conn->state) != MPIPE_LEFT && READ_ONCE(conn->attached) && !READ_ONCE(conn->rest) &&
	    READ_ONCE(rx->d->mode) != READ_ONCE(rx->ack))
		return false;
	return READ_ONCE(tx->acked) || READ_ONCE(tx->d->mode_ack) == READ_ONCE(tx->mode);
}

static bool are_drained(struct mpipe_dev *dev)
{
	struct mpipe_conn *conn;
	unsigned long key;
	bool all = true;

	rcu_read_lock();
	xa_for_each(&dev->pipes, key, conn)
		all = all && is_drained(conn);
	rcu_read_unlock();
	return all;
}

bool mpipe_conns_drain(struct mpipe_dev *dev, unsigned int msec)
{
	unsigned long end = jiffies + msecs_to_jiffies(msec);
	bool all = are_drained(dev);

	while (!all && time_before(jiffies, end)) {
		msleep(1);
		all = are_drained(dev);
	}
	return all;
}
