// SPDX-License-Identifier: GPL-2.0-or-later
/* Send: from the sender's user space into chunks, or to TCP, and the switches between these.
 *
 * Which way the next bytes go is decided anew for each span (at most a chunk), with the socket locked.
 * tcp_sendmsg() takes that lock itself and lets go of it while it waits, so it is called in pieces, and as
 * long as any thread is in it (n_tcp_sends) nobody switches to the pipe: what it still adds to TCP's stream
 * would be behind the switch.
 */
#include <linux/module.h>
#include <linux/random.h>
#include <linux/uio.h>

#include "mempipe.h"

/* What TCP is given at a time where the pipe may be taken soon. */
#define TCP_PIECE MLG_PIPE_CHUNK_BYTES

/* Flags that only TCP can honour: urgent data, and pages that the caller wants to be told about. */
#define FLAGS_OF_TCP (MSG_OOB | MSG_ZEROCOPY)

static u64 sent(const struct mpipe_conn *conn)
{
	return conn->pipe->tx_bytes + conn->tcp_sent;
}

/* A test's switches: after `flip_bytes` on the average that went the way that was wanted last. */
static bool flipped_to_tcp(struct mpipe_conn *conn)
{
	struct mpipe_pipe *pipe = conn->pipe;
	u32 flip = min(READ_ONCE(mpipe_flip_bytes), U32_MAX / 2);

	if (!flip)
		return false;
	if (mp_tx_in_pipe(&pipe->tx) == pipe->flipped) { /* not there yet */
		pipe->flip_at = sent(conn) + get_random_u32() % (2 * flip);
	} else if (sent(conn) > pipe->flip_at) {
		pipe->flipped = !pipe->flipped;
	}
	return pipe->flipped;
}

/* Tells the receiver in the pipe's words; not if these are no longer ours to write. */
void mpipe_tx_to_tcp(struct mpipe_conn *conn)
{
	struct mp_tx *tx = &conn->pipe->tx;

	conn->pipe->n_switches++;
	mpipe_count(MPIPE_N_SWITCHES);
	mp_tx_to_tcp(tx);
	mpipe_conn_tell_tx(conn);
}

/* How much a corked TCP, which sends whole segments only, would keep to itself, were `more` bytes added. */
static u32 held_back(const struct tcp_sock *tp, size_t more)
{
	if (!(tp->nonagle & TCP_NAGLE_CORK))
		return 0;
	return (tp->write_seq - tp->snd_nxt + (u32)more) % max(tp->mss_cache, 1u);
}

static bool may_leave_tcp(const struct mpipe_conn *conn, const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	if (conn->stays || conn->state != MPIPE_OPEN || conn->n_tcp_sends > 0)
		return false;
	if ((sk->sk_state != TCP_ESTABLISHED && sk->sk_state != TCP_CLOSE_WAIT) ||
	    (sk->sk_shutdown & SEND_SHUTDOWN) || sk->sk_err)
		return false;
	/* what TCP holds back until more comes (cork, MSG_MORE) would come late: nothing more comes by
	 * TCP
	 */
	if (held_back(tp, 0) || (tcp_send_head(sk) && !tp->packets_out))
		return false;
	return true;
}

static void reclaim(struct mpipe_conn *conn)
{
	u32 chunk;

	while (mp_tx_reclaim(&conn->pipe->tx, false, &chunk))
		mpipe_chunk_put(conn, chunk);
}

/* Puts another chunk behind tail. */
static bool more_room(struct mpipe_conn *conn)
{
	struct mp_tx *tx = &conn->pipe->tx;
	u32 chunk;

	reclaim(conn);
	if (!mp_tx_room(tx) || !mpipe_chunk_take(conn, mp_tx_unread(tx) == 0, &chunk))
		return false;
	mp_tx_give(tx, chunk);
	conn->pipe->n_chunks++;
	return true;
}

static int to_pipe(struct mpipe_conn *conn, const struct sock *sk)
{
	struct mp_tx *tx = &conn->pipe->tx;
	int err = mp_tx_may_pipe(tx);

	if (err <= 0)
		return err;
	/* not without a chunk to go with */
	if (mp_tx_chunks(tx) == 0 && !more_room(conn)) {
		conn->reason = MLG_PIPE_NO_CHUNK;
		return 0;
	}
	mp_tx_to_pipe(tx, tcp_sk(sk)->write_seq);
	conn->pipe->n_switches++;
	conn->reason = MLG_PIPE_OK;
	mpipe_count(MPIPE_N_SWITCHES);
	/* a receiver that leaves says so, then looks at mode: one of us sees the other */
	smp_mb();
	if (!mp_tx_unwanted(tx))
		return 1;
	/* it may never acknowledge that, and nothing is lost by it */
	mpipe_conn_stay(conn, MLG_PIPE_PEER_LEAVES);
	mpipe_tx_to_tcp(conn);
	return 0;
}

/* The way for the next bytes: 1 the pipe, 0 TCP, -EPROTO. Socket locked, inside of the device. */
static int choose(struct mpipe_conn *conn, struct sock *sk, int flags)
{
	struct mp_tx *tx = &conn->pipe->tx;

	if (flags & FLAGS_OF_TCP)
		mpipe_conn_stay(conn, flags & MSG_OOB ? MLG_PIPE_OOB : MLG_PIPE_OPTION);
	if (!mpipe_conn_alive(conn)) {
		if (mpipe_conn_loses(conn, false))
			return -ECONNRESET;
		mpipe_tx_abandon(conn, MLG_PIPE_PEER_LEAVES);
		return 0;
	}
	if (!mp_tx_in_pipe(tx)) {
		if (flipped_to_tcp(conn) || !may_leave_tcp(conn, sk))
			return 0;
		return to_pipe(conn, sk);
	}
	if (mp_tx_unwanted(tx))
		mpipe_conn_stay(conn, MLG_PIPE_PEER_LEAVES);
	if (!conn->stays && !flipped_to_tcp(conn))
		return 1;
	mpipe_tx_to_tcp(conn);
	return 0;
}

/* From so many bytes on they are written past the caches: lines that another processor has written and still
 * holds come from there more slowly than from memory. Fewer are read so soon that they are better left there.
 */
#define NOCACHE_BYTES 4096

static u32 copy_in(struct mpipe_conn *conn, const struct mp_span *span, struct msghdr *msg, u32 bytes)
{
	void *to = mp_chunk(conn->dev->base, span->chunk) + span->offset;

	if (bytes < NOCACHE_BYTES)
		return copy_from_iter(to, bytes, &msg->msg_iter);
	bytes = copy_from_iter_nocache(to, bytes, &msg->msg_iter);
	wmb(); /* such stores are not ordered with tail, which follows */
	return bytes;
}

/* One span: how many bytes; 0: there is no room now; -EFAULT, -EPROTO. */
static int send_span(struct mpipe_conn *conn, struct msghdr *msg)
{
	struct mp_tx *tx = &conn->pipe->tx;
	struct mp_span span;
	u32 bytes;
	int err = mp_tx_span(tx, &span);

	if (err == 0 && more_room(conn))
		err = mp_tx_span(tx, &span);
	if (err <= 0)
		return err;
	bytes = min_t(size_t, span.bytes, msg_data_left(msg));
	bytes = copy_in(conn, &span, msg, bytes);
	if (bytes == 0)
		return -EFAULT;
	mp_tx_commit(tx, bytes);
	conn->pipe->tx_bytes += bytes;
	mpipe_count_add(MPIPE_N_TX_PIPE, bytes);
	atomic64_add(bytes, &conn->dev->sent);
	mpipe_conn_tell_tx(conn);
	return bytes;
}

/* One span by the pipe. > 0: bytes; 0: by TCP, please; -EAGAIN: wait; else an error. Socket locked. */
static int try_pipe(struct mpipe_conn *conn, struct sock *sk, struct msghdr *msg)
{
	int n;

	if (!conn->pipe || conn->state == MPIPE_LEFT)
		return 0;
	if (!mpipe_dev_enter(conn->dev)) {
		if (mpipe_conn_loses(conn, true)) {
			mpipe_conn_reset(conn, MLG_PIPE_DEVICE_GONE);
			return -ECONNRESET;
		}
		mpipe_tx_abandon(conn, MLG_PIPE_DEVICE_GONE);
		return 0;
	}
	n = choose(conn, sk, msg->msg_flags);
	if (n > 0 && (sk->sk_err || (sk->sk_shutdown & SEND_SHUTDOWN))) {
		n = -EPIPE;
	} else if (n > 0) {
		n = send_span(conn, msg);
		if (n == 0 && mp_tx_chunks(&conn->pipe->tx) == 0) {
			/* nobody would wake us: there is no chunk to become free */
			conn->reason = MLG_PIPE_NO_CHUNK;
			atomic64_inc(&mpipe_reasons[MLG_PIPE_NO_CHUNK]);
			mpipe_tx_to_tcp(conn);
		} else if (n == 0) {
			mp_tx_arm(&conn->pipe->tx);
			n = send_span(conn, msg) ?: -EAGAIN; /* there may have been room before that was to be seen */
			if (n > 0)
				mp_tx_disarm(&conn->pipe->tx);
		}
	}
	mpipe_dev_leave(conn->dev);
	if (n == -EPROTO || n == -ECONNRESET) {
		mpipe_conn_reset(conn, n == -EPROTO ? MLG_PIPE_NONSENSE : MLG_PIPE_PEER_LEAVES);
		n = -ECONNRESET;
	}
	return n;
}

/* Until there may be room. Socket locked. */
static int wait_for_room(struct mpipe_conn *conn, struct sock *sk, long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int err = 0;

	sk_set_bit(SOCKWQ_ASYNC_NOSPACE, sk);
	set_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
	if (!*timeo)
		return -EAGAIN;
	if (signal_pending(current))
		return sock_intr_errno(*timeo);
	mpipe_count(MPIPE_N_TX_SLEEPS);
	add_wait_queue(sk_sleep(sk), &wait);
	if (sk_wait_event(sk, timeo, mpipe_may_send(conn), &wait) < 0)
		err = -EPIPE;
	remove_wait_queue(sk_sleep(sk), &wait);
	return err;
}

/* How much TCP is given now: all, or a piece if the pipe may be taken soon; if TCP is corked, one that ends where a
 * segment does, as nothing leaves TCP while that keeps some of it. Socket locked.
 */
static size_t tcp_piece(const struct mpipe_conn *conn, const struct sock *sk, size_t all)
{
	size_t piece = min_t(size_t, all, TCP_PIECE), over = held_back(tcp_sk(sk), piece);

	if (conn->stays || conn->state == MPIPE_TCP || conn->state == MPIPE_LEFT)
		return all;
	return over < piece ? piece - over : piece;
}

/* Socket locked, and again when it returns. */
static int send_tcp(struct mpipe_conn *conn, struct sock *sk, struct msghdr *msg, size_t piece)
{
	size_t all = msg_data_left(msg);
	int n;

	conn->n_tcp_sends++;
	release_sock(sk);
	iov_iter_truncate(&msg->msg_iter, piece);
	n = mpipe_base(sk)->sendmsg(sk, msg, piece);
	iov_iter_reexpand(&msg->msg_iter, all - max(n, 0));
	lock_sock(sk);
	conn->n_tcp_sends--;
	if (conn->leaves && conn->state != MPIPE_LEFT)
		(void)mpipe_sock_try_leave(conn, sk);
	if (n > 0) {
		conn->tcp_sent += n;
		mpipe_count_add(MPIPE_N_TX_TCP, n);
		mpipe_rendezvous_hurry(conn, sk);
	}
	return n;
}

/* What a call that has sent some bytes does not say is said by the next one. Socket locked. */
static void keep_error(struct sock *sk, int err)
{
	if (err == -ECONNRESET || err == -ETIMEDOUT || err == -EHOSTUNREACH || err == -ENETUNREACH)
		WRITE_ONCE(sk->sk_err, -err);
}

static int send_all(struct mpipe_conn *conn, struct sock *sk, struct msghdr *msg)
{
	long timeo = sock_sndtimeo(sk, msg->msg_flags & MSG_DONTWAIT);
	int sent_bytes = 0, n;
	size_t left, piece;

	while ((left = msg_data_left(msg)) > 0) {
		n = try_pipe(conn, sk, msg);
		if (n == -EAGAIN) {
			n = wait_for_room(conn, sk, &timeo);
			if (n == 0)
				continue;
		}
		if (n < 0)
			return sent_bytes ?: sk_stream_error(sk, msg->msg_flags, n);
		if (n == 0 && sent_bytes && (sk->sk_err || (sk->sk_shutdown & SEND_SHUTDOWN)))
			return sent_bytes;
		if (n == 0) {
			piece = tcp_piece(conn, sk, left);
			n = send_tcp(conn, sk, msg, piece);
			if (n < 0 && sent_bytes)
				keep_error(sk, n);
			if (n < 0)
				return sent_bytes ?: n;
			if ((size_t)n < piece) /* it could not wait */
				return sent_bytes + n;
		}
		sent_bytes += n;
	}
	return sent_bytes;
}

int mpipe_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)
{
	struct mpipe_conn *conn = mpipe_conn_of(sk);
	int n;

	if (!conn)
		__module_get(THIS_MODULE);
	/* before there is a connection, and where there will be no pipe */
	if (!conn || len == 0 || READ_ONCE(conn->state) == MPIPE_TCP ||
	    (1 << sk->sk_state) & (TCPF_CLOSE | TCPF_LISTEN)) {
		n = mpipe_base(sk)->sendmsg(sk, msg, len);
	} else {
		lock_sock(sk);
		n = send_all(conn, sk, msg);
		release_sock(sk);
	}
	if (conn)
		mpipe_conn_put(conn);
	else
		module_put(THIS_MODULE);
	return n;
}
