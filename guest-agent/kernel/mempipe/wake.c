// SPDX-License-Identifier: GPL-2.0-or-later
/* Wake: somebody rang. Takes the pending bits of all peers and wakes those whom they name (core/wake.h). In
 * a tasklet.
 */
#include "mempipe.h"

/* A wake is one-shot: whoever wants another one arms again. Inside of the device. */
static void disarm(struct mpipe_conn *conn)
{
	if (!mpipe_conn_alive(conn))
		return;
	mp_rx_disarm(&conn->pipe->rx);
	mp_tx_disarm(&conn->pipe->tx);
}

static void wake(struct mpipe_conn *conn)
{
	struct sock *sk = mpipe_conn_sock(conn);

	if (!sk)
		return;
	disarm(conn);
	if (READ_ONCE(conn->attached) && mpipe_conn_unwanted(conn))
		mpipe_conn_settle(conn);
	sk->sk_data_ready(sk);
	sk->sk_write_space(sk);
	sock_put(sk);
}

static void wake_slot(struct mpipe_dev *dev, u32 owner, u32 slot, u32 peer)
{
	struct mpipe_conn *conn;

	rcu_read_lock();
	conn = xa_load(&dev->pipes, mpipe_key(owner, slot));
	if (conn && conn->peer == peer && refcount_inc_not_zero(&conn->ref)) {
		if (READ_ONCE(conn->state) == MPIPE_LEFT)
			mpipe_dev_rung(dev);
		else
			wake(conn);
		mpipe_conn_put(conn);
	}
	rcu_read_unlock();
}

static void take_bits(struct mpipe_dev *dev, struct mlg_pipe_pair *pair, u32 peer)
{
	u32 word, bit;

	for (word = 0; word < ARRAY_SIZE(pair->pending); word++) {
		u64 bits = mp_pending_take(pair, word);

		for (; bits; bits &= bits - 1) {
			bit = word * 64 + __ffs64(bits);
			if (bit < MLG_PIPE_SLOTS)
				wake_slot(dev, peer, bit, peer);
			else
				wake_slot(dev, dev->self, bit - MLG_PIPE_SLOTS, peer);
		}
	}
}

static void look_at_peer(struct mpipe_dev *dev, u32 peer)
{
	struct mlg_pipe_pair *pair = mp_pair(dev->base, peer, dev->self);

	if (!READ_ONCE(pair->bell))
		return;
	mp_bell_clear(pair);
	/* the host rings for its table as well */
	if (peer == MLG_PIPE_HOST)
		mpipe_dev_rung(dev);
	if (READ_ONCE(pair->tail) != READ_ONCE(pair->head))
		queue_work(mpipe_wq, &dev->control_work);
	take_bits(dev, pair, peer);
	mpipe_udp_bell(dev, peer);
}

void mpipe_bell(struct tasklet_struct *tasklet)
{
	struct mpipe_dev *dev = container_of(tasklet, struct mpipe_dev, bell);
	u32 peer;

	if (!mpipe_dev_enter(dev))
		return;
	for (peer = 0; peer < MLG_PIPE_PEERS; peer++)
		if (peer != dev->self)
			look_at_peer(dev, peer);
	mpipe_dev_leave(dev);
}
