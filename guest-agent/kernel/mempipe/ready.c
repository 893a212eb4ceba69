// SPDX-License-Identifier: GPL-2.0-or-later
/* Ready: whether a call would find something to do, for poll, for waiting and for spinning. No lock is
 * held: what is read of the connection may be changing, and whoever acts on the answer looks again under
 * the lock.
 *
 * poll is the kernel's tcp_poll(): it asks TCP, and besides our sock_is_readable and stream_memory_free.
 * Asked, they arm: whoever polls is told of what comes next.
 */
#include "mempipe.h"

enum next {
	NEXT_TCP,   /* TCP alone has the answer */
	NEXT_EMPTY, /* the pipe is next, and has nothing */
	NEXT_READY, /* the pipe has something, or there is something to be found out */
};

static u32 copied_without_fin(const struct sock *sk, u32 received)
{
	u32 copied = READ_ONCE(tcp_sk(sk)->copied_seq);

	return after(copied, received) ? received : copied;
}

static u32 received_without_fin(const struct sock *sk)
{
	return READ_ONCE(tcp_sk(sk)->rcv_nxt) - sock_flag(sk, SOCK_DONE);
}

/* A reader may not want to be told of less than SO_RCVLOWAT; a sender that waits for him decides otherwise,
 * as it may have fewer chunks than that.
 */
static bool is_enough(const struct mp_rx *rx, const struct sock *sk)
{
	u32 unread = READ_ONCE(rx->d->tail) - READ_ONCE(rx->head);

	return unread >= (u32)READ_ONCE(sk->sk_rcvlowat) || (unread > 0 && READ_ONCE(rx->d->tx_armed));
}

/* Inside of the device. */
static enum next next_in_pipe(struct mpipe_conn *conn, const struct sock *sk)
{
	const struct mp_rx *rx = &conn->pipe->rx;
	u32 received = received_without_fin(sk), copied = copied_without_fin(sk, received);
	u32 ahead = smp_load_acquire(&rx->d->mode) - READ_ONCE(rx->ack), seq;

	if (!mpipe_conn_alive(conn))
		return READ_ONCE(rx->away) ? NEXT_READY : NEXT_TCP;
	if (ahead == 0)
		return NEXT_TCP;
	seq = READ_ONCE(rx->away) ? READ_ONCE(rx->seq) : READ_ONCE(rx->d->switch_seq);
	if (after(seq, copied))
		return NEXT_TCP;
	if (ahead > 2 || is_enough(rx, sk))
		return NEXT_READY;
	/* it went on by TCP: the rest of the pipe, if any, and what TCP has got */
	return ahead == 2 && (received != copied || READ_ONCE(rx->d->tail) != READ_ONCE(rx->head))
		       ? NEXT_READY
		       : NEXT_EMPTY;
}

static enum next look(struct mpipe_conn *conn, const struct sock *sk)
{
	enum next next;

	if (READ_ONCE(conn->broken))
		return NEXT_READY;
	if (!smp_load_acquire(&conn->pipe) || !READ_ONCE(conn->attached))
		return NEXT_TCP;
	if (READ_ONCE(conn->rest))
		return mpipe_rest_is_next(conn, copied_without_fin(sk, received_without_fin(sk))) ? NEXT_READY
												: NEXT_TCP;
	if (!mpipe_dev_enter(conn->dev))
		return READ_ONCE(conn->pipe->rx.away) ? NEXT_READY : NEXT_TCP;
	next = next_in_pipe(conn, sk);
	mpipe_dev_leave(conn->dev);
	return next;
}

bool mpipe_rx_backlog(struct mpipe_conn *conn, u32 *ret_bytes, bool *ret_blocked)
{
	const struct mp_rx *rx = &conn->pipe->rx;
	bool alive;

	if (!mpipe_dev_enter(conn->dev))
		return false;
	alive = mpipe_conn_alive(conn);
	if (alive) {
		*ret_bytes = READ_ONCE(rx->d->tail) - READ_ONCE(rx->head);
		*ret_blocked = READ_ONCE(rx->d->tx_armed);
	}
	mpipe_dev_leave(conn->dev);
	return alive;
}

bool mpipe_may_read(struct mpipe_conn *conn, const struct sock *sk)
{
	u32 received;

	if (sock_flag(sk, SOCK_DONE) || READ_ONCE(sk->sk_err) ||
	    (READ_ONCE(sk->sk_shutdown) & RCV_SHUTDOWN) || READ_ONCE(sk->sk_state) == TCP_CLOSE)
		return true;
	switch (look(conn, sk)) {
	case NEXT_TCP:
		received = received_without_fin(sk);
		return received != copied_without_fin(sk, received);
	case NEXT_EMPTY:
		return false;
	case NEXT_READY:
		return true;
	}
	return true;
}

/* Whether a chunk would be had, or something else is to be done about it. Inside of the device. */
static bool has_room(struct mpipe_conn *conn)
{
	const struct mp_tx *tx = &conn->pipe->tx;
	u32 tail = READ_ONCE(tx->tail), next = READ_ONCE(tx->next), first = READ_ONCE(tx->first);
	u32 head = READ_ONCE(tx->d->head), begin = head & ~(MLG_PIPE_CHUNK_BYTES - 1);

	if (!mpipe_conn_alive(conn) || mp_tx_unwanted(tx))
		return true;
	if (tail != next || first == next || begin != first)
		return true;
	return next - begin < MLG_PIPE_WINDOW_BYTES && mpipe_chunk_would_be_had(conn);
}

bool mpipe_may_send(struct mpipe_conn *conn)
{
	bool ready;

	if (READ_ONCE(conn->broken) || READ_ONCE(conn->stays) || !mp_tx_in_pipe(&conn->pipe->tx))
		return true;
	if (!mpipe_dev_enter(conn->dev))
		return true;
	ready = has_room(conn);
	mpipe_dev_leave(conn->dev);
	return ready;
}

static void arm_rx(struct mpipe_conn *conn)
{
	if (!smp_load_acquire(&conn->pipe) || !mpipe_dev_enter(conn->dev))
		return;
	if (mpipe_conn_alive(conn))
		mp_rx_arm(&conn->pipe->rx);
	mpipe_dev_leave(conn->dev);
}

static void arm_tx(struct mpipe_conn *conn)
{
	if (!mpipe_dev_enter(conn->dev))
		return;
	if (mpipe_conn_alive(conn))
		mp_tx_arm(&conn->pipe->tx);
	mpipe_dev_leave(conn->dev);
}

/* proto.sock_is_readable */
bool mpipe_is_readable(struct sock *sk)
{
	struct mpipe_conn *conn = mpipe_conn_of(sk);
	bool ready;

	if (!conn)
		return false;
	WRITE_ONCE(conn->polled, true);
	arm_rx(conn);
	ready = look(conn, sk) == NEXT_READY;
	mpipe_conn_put(conn);
	return ready;
}

/* proto.stream_memory_free */
bool mpipe_memory_free(const struct sock *sk, int wake)
{
	struct mpipe_conn *conn = mpipe_conn_of(sk);
	bool ready;

	if (conn && smp_load_acquire(&conn->pipe) && mp_tx_in_pipe(&conn->pipe->tx)) {
		ready = mpipe_may_send(conn);
		if (!ready) {
			arm_tx(conn);
			ready = mpipe_may_send(conn);
		}
	} else {
		ready = mpipe_base(sk)->stream_memory_free(sk, wake);
	}
	if (conn)
		mpipe_conn_put(conn);
	return ready;
}

/* Somebody polls for edges and has read: what came since he last looked, and what comes next, must make an edge. */
void mpipe_rx_rearm(struct mpipe_conn *conn, struct sock *sk)
{
	arm_rx(conn);
	if (look(conn, sk) == NEXT_READY)
		sk->sk_data_ready(sk);
}

/* Somebody asked for signals since: nothing of ours is called for that. Once a window. */
void mpipe_watch_signals(struct mpipe_conn *conn, struct sock *sk)
{
	if (READ_ONCE(conn->polled) || !sock_flag(sk, SOCK_FASYNC))
		return;
	WRITE_ONCE(conn->polled, true);
	mpipe_rx_rearm(conn, sk);
}

/* A doorbell that was lost (a device that was reset, an emulator that keeps no order between processes)
 * costs a window, not the connection: who says that he sleeps while there is something for him is woken.
 * Once a window.
 */
void mpipe_watch_sleepers(struct mpipe_conn *conn, struct sock *sk)
{
	bool rx = false, tx = false, rung = false, all_read = false;

	if (!mpipe_dev_enter(conn->dev))
		return;
	if (mpipe_conn_alive(conn)) {
		rung = READ_ONCE(mp_pair(conn->dev->base, conn->peer, conn->dev->self)->bell);
		rx = READ_ONCE(conn->pipe->rx.d->rx_armed);
		tx = READ_ONCE(conn->pipe->tx.d->tx_armed);
		all_read = READ_ONCE(conn->pipe->tx.d->head) == READ_ONCE(conn->pipe->tx.tail);
	}
	mpipe_dev_leave(conn->dev);
	rx = rx && look(conn, sk) == NEXT_READY;
	tx = tx && mpipe_may_send(conn);
	/* a reader rings when it has read half: before that the sender is not late */
	if ((rx || (tx && all_read)) && !rung)
		mpipe_count(MPIPE_N_LATE);
	if (rx)
		sk->sk_data_ready(sk);
	if (tx)
		sk->sk_write_space(sk);
}
