// SPDX-License-Identifier: GPL-2.0-or-later
/* Sock: the functions of TCP's protocol that an adopted socket has its own of, besides sending, receiving
 * and polling; and what becomes of a socket whose peer, device or options change.
 */
#include <asm/ioctls.h>
#include <linux/delay.h>
#include <linux/ipv6.h>
#include <linux/module.h>
#include <linux/sockios.h>

#include "mempipe.h"

/* How long an option that only TCP can honour waits for the pipe to be left by the peer. */
#define LEAVE_MSEC 5000

/* What has come by the pipe and was not read. Socket locked, inside of the device. */
static u32 unread_in_pipe(const struct mpipe_conn *conn)
{
	const struct mp_rx *rx = &conn->pipe->rx;
	u32 bytes = (rx->back ? rx->tail : READ_ONCE(rx->d->tail)) - rx->head;

	return mpipe_conn_alive(conn) ? min(bytes, MLG_PIPE_WINDOW_BYTES) : 0;
}

static u32 unread(struct mpipe_conn *conn)
{
	u32 bytes;

	if (conn->rest)
		return mpipe_rest_unread(conn);
	if (!conn->pipe || !conn->attached || !mpipe_dev_enter(conn->dev))
		return 0;
	bytes = unread_in_pipe(conn);
	mpipe_dev_leave(conn->dev);
	return bytes;
}

/* ---------------------------------------------------------------- leaving the pipe */

/* Both directions go back to TCP; ours at once, the other's when the peer has seen it. Without a reason if the
 * peer has closed. Socket locked, inside of the device.
 */
static void go_home(struct mpipe_conn *conn, enum mlg_pipe_reason why)
{
	struct mpipe_pipe *pipe = conn->pipe;
	bool sends = mp_tx_in_pipe(&pipe->tx), takes = conn->attached && READ_ONCE(pipe->rx.d->attached);

	if (why)
		mpipe_conn_stay(conn, why);
	if (sends)
		mpipe_tx_to_tcp(conn);
	if (takes)
		mp_rx_detach(&pipe->rx);
	if (sends || takes)
		mpipe_conn_nudge(conn);
}

static bool is_leaving(const struct mpipe_conn *conn)
{
	struct mpipe_dev *dev = conn->dev;

	return READ_ONCE(dev->gone) || READ_ONCE(dev->unwatched) ||
	       READ_ONCE(mp_peer(dev->base, conn->peer)->state) == MLG_PIPE_LEAVING ||
	       READ_ONCE(mp_peer(dev->base, dev->self)->state) == MLG_PIPE_LEAVING;
}

/* The peer has left the pipe, so nothing more comes by it. A connection that goes on has been given back
 * to TCP at its other end.
 */
static void part(struct mpipe_conn *conn, const struct sock *sk)
{
	const struct mp_rx *rx = &conn->pipe->rx;

	if (conn->state == MPIPE_OPEN && !mp_rx_away(rx) && READ_ONCE(rx->d->mode) == rx->ack)
		mpipe_conn_part(conn, sk->sk_state == TCP_ESTABLISHED ? MLG_PIPE_PEER_LEAVES : MLG_PIPE_OK);
}

void mpipe_sock_settle(struct mpipe_conn *conn, struct sock *sk)
{
	if (!conn->pipe)
		return;
	if (!mpipe_dev_enter(conn->dev)) {
		if (mpipe_conn_loses(conn, true))
			mpipe_conn_reset(conn, MLG_PIPE_DEVICE_GONE);
		mpipe_tx_abandon(conn, MLG_PIPE_DEVICE_GONE);
	} else {
		if (!mpipe_conn_alive(conn)) {
			if (mpipe_conn_loses(conn, false))
				mpipe_conn_reset(conn, MLG_PIPE_PEER_LEAVES);
			mpipe_tx_abandon(conn, MLG_PIPE_PEER_LEAVES);
			/* the connection may live long, but the peer's next epoch has its slot for others */
			if (conn->state == MPIPE_OPEN)
				mpipe_conn_forget(conn);
		} else {
			if (is_leaving(conn) || mpipe_conn_unwanted(conn))
				go_home(conn, MLG_PIPE_PEER_LEAVES);
			else if (mpipe_conn_done(conn))
				go_home(conn, MLG_PIPE_OK);
			(void)mp_tx_look_ack(&conn->pipe->tx);
			smp_mb(); /* we said that we want no more, and see whether there is some */
			mpipe_rest_take(conn, sk);
			if (mpipe_conn_done(conn))
				part(conn, sk);
		}
		mpipe_dev_leave(conn->dev);
	}
	sk->sk_state_change(sk); /* whoever sleeps looks again */
}

/* Whether nothing is to come by the pipe any more. Acknowledges its end, if that was read. Socket locked. */
static bool is_home(struct mpipe_conn *conn, const struct sock *sk)
{
	if (conn->broken) /* once that is said, there is nothing to come home from */
		return sk->sk_state == TCP_CLOSE;
	if (conn->rest)
		return false;
	if (mpipe_dev_enter(conn->dev)) {
		if (mpipe_conn_alive(conn))
			(void)mpipe_rx_follow(conn, sk);
		mpipe_dev_leave(conn->dev);
	}
	return !mp_rx_away(&conn->pipe->rx) && !conn->broken;
}

/* Whoever sleeps in a call of ours is woken, to leave it. */
bool mpipe_sock_try_leave(struct mpipe_conn *conn, struct sock *sk)
{
	if (conn->n_tcp_sends > 0 || (conn->pipe && !is_home(conn, sk)))
		return false;
	mpipe_abandon(sk);
	sk->sk_state_change(sk);
	return true;
}

/* For good, so that somebody else can have the socket. Whoever sends by TCP just now does it as he comes
 * back.
 */
int mpipe_sock_leave(struct mpipe_conn *conn, struct sock *sk, enum mlg_pipe_reason why, unsigned long end)
{
	bool left;

	lock_sock(sk);
	if (conn->state == MPIPE_LEFT) { /* somebody was faster */
		release_sock(sk);
		return 0;
	}
	if (conn->state != MPIPE_LISTENS)
		mpipe_conn_stay(conn, why);
	if (conn->pipe && mpipe_dev_enter(conn->dev)) {
		if (mpipe_conn_alive(conn))
			go_home(conn, why);
		mpipe_dev_leave(conn->dev);
	}
	conn->leaves = true;
	while (conn->state != MPIPE_LEFT && !mpipe_sock_try_leave(conn, sk) && time_before(jiffies, end)) {
		release_sock(sk);
		usleep_range(500, 1000);
		lock_sock(sk);
	}
	left = conn->state == MPIPE_LEFT;
	release_sock(sk);
	return left ? 0 : -EBUSY;
}

static bool is_for_tcp_only(int level, int option)
{
	return (level == SOL_TCP && (option == TCP_ULP || option == TCP_REPAIR)) ||
	       (level == SOL_IPV6 && option == IPV6_ADDRFORM);
}

static int our_setsockopt(struct sock *sk, int level, int option, sockptr_t value, unsigned int len)
{
	struct mpipe_conn *conn = NULL;
	int err = 0;

	__module_get(THIS_MODULE); /* the socket's own references may go meanwhile, here and below */
	if (is_for_tcp_only(level, option) && sk->sk_state != TCP_LISTEN)
		conn = mpipe_conn_of(sk);
	if (conn) {
		err = mpipe_sock_leave(conn, sk, MLG_PIPE_OPTION, jiffies + msecs_to_jiffies(LEAVE_MSEC));
		mpipe_conn_put(conn);
		synchronize_rcu(); /* nobody takes what comes into the ULP slot next for ours */
	}
	err = err ?: mpipe_base(sk)->setsockopt(sk, level, option, value, len);
	module_put(THIS_MODULE);
	return err;
}

/* ---------------------------------------------------------------- the end */

static int our_disconnect(struct sock *sk, int flags)
{
	struct mpipe_conn *conn = mpipe_conn_of(sk);
	int err;

	__module_get(THIS_MODULE);
	if (conn) {
		if (conn->state != MPIPE_LISTENS) /* it may listen again */
			mpipe_conn_closed(conn);
		mpipe_conn_put(conn);
	}
	err = mpipe_base(sk)->disconnect(sk, flags);
	module_put(THIS_MODULE);
	return err;
}

static void our_close(struct sock *sk, long timeout)
{
	struct mpipe_conn *conn = mpipe_conn_of(sk);

	__module_get(THIS_MODULE);
	lock_sock(sk);
	/* as TCP: who closes what it has not read to its end says so by RST */
	if (conn && unread(conn) && sk->sk_state != TCP_CLOSE)
		mpipe_base(sk)->disconnect(sk, 0);
	mpipe_abandon(sk); /* nobody calls us for it any more */
	release_sock(sk);
	if (conn)
		mpipe_conn_put(conn);
	mpipe_base(sk)->close(sk, timeout);
	module_put(THIS_MODULE);
}

/* ---------------------------------------------------------------- how much is there */

static int inq(struct mpipe_conn *conn, struct sock *sk)
{
	u32 in_tcp, in_pipe;

	lock_sock(sk);
	in_tcp = tcp_inq(sk);
	in_pipe = unread(conn);
	release_sock(sk);
	return min_t(u32, in_tcp + in_pipe, INT_MAX);
}

static int add_to_user(char __user *at, u64 n)
{
	u64 value;

	if (copy_from_user(&value, at, sizeof(value)))
		return -EFAULT;
	value += n;
	return copy_to_user(at, &value, sizeof(value)) ? -EFAULT : 0;
}

/* TCP has filled in `len` bytes of a struct tcp_info with what it has carried. What is in the pipe is at the other machine: acked.
 */
static int add_to_info(struct mpipe_conn *conn, struct sock *sk, char __user *info, int len)
{
	u64 sent, received;
	int err;

	if (len < (int)offsetofend(struct tcp_info, tcpi_bytes_received))
		return 0;
	lock_sock(sk);
	sent = conn->pipe->tx_bytes;
	received = conn->pipe->rx_bytes + unread(conn);
	release_sock(sk);
	err = add_to_user(info + offsetof(struct tcp_info, tcpi_bytes_acked), sent);
	err = err ?: add_to_user(info + offsetof(struct tcp_info, tcpi_bytes_received), received);
	if (!err && len >= (int)offsetofend(struct tcp_info, tcpi_bytes_sent))
		err = add_to_user(info + offsetof(struct tcp_info, tcpi_bytes_sent), sent);
	return err;
}

static int our_getsockopt(struct sock *sk, int level, int option, char __user *value, int __user *len)
{
	struct mpipe_conn *conn;
	int err, bytes;

	__module_get(THIS_MODULE);
	err = mpipe_base(sk)->getsockopt(sk, level, option, value, len);
	conn = !err && level == SOL_TCP && option == TCP_INFO ? mpipe_conn_of(sk) : NULL;
	if (conn && smp_load_acquire(&conn->pipe))
		err = get_user(bytes, len) ?: add_to_info(conn, sk, value, bytes);
	if (conn)
		mpipe_conn_put(conn);
	module_put(THIS_MODULE);
	return err;
}

static int at_mark(struct mpipe_conn *conn, struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	bool at;

	lock_sock(sk);
	at = tp->urg_data && READ_ONCE(tp->urg_seq) == READ_ONCE(tp->copied_seq) && unread(conn) == 0;
	release_sock(sk);
	return at;
}

/* SIOCOUTQ stays TCP's: it counts what the other machine has not got yet, and what is in the pipe is there at once. */
static int our_ioctl(struct sock *sk, int cmd, COMPAT_IOCTL_ARG arg)
{
	struct mpipe_conn *conn = sk->sk_state == TCP_LISTEN ? NULL : mpipe_conn_of(sk);
	int err;

	__module_get(THIS_MODULE);
	if (conn && conn->pipe && cmd == SIOCINQ)
		err = compat_ioctl_answer(arg, inq(conn, sk));
	else if (conn && conn->pipe && cmd == SIOCATMARK)
		err = compat_ioctl_answer(arg, at_mark(conn, sk));
	else
		err = mpipe_base(sk)->ioctl(sk, cmd, arg);
	if (conn)
		mpipe_conn_put(conn);
	module_put(THIS_MODULE);
	return err;
}

void mpipe_sock_replace(struct proto *prot, struct proto_ops *ops)
{
	prot->sendmsg = mpipe_sendmsg;
	prot->recvmsg = mpipe_recvmsg;
	prot->close = our_close;
	prot->disconnect = our_disconnect;
	prot->ioctl = our_ioctl;
	prot->setsockopt = our_setsockopt;
	prot->getsockopt = our_getsockopt;
	prot->sock_is_readable = mpipe_is_readable;
	prot->stream_memory_free = mpipe_memory_free;
	/* what reads TCP's queue behind recvmsg()'s back: the kernel then goes by recvmsg(), or refuses */
	ops->splice_read = NULL;
	ops->read_sock = NULL;
	ops->read_skb = NULL;
	ops->sendmsg_locked = NULL;
	ops->mmap = sock_no_mmap;
	compat_plain_sendpage(prot, ops);
}
