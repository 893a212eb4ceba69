// SPDX-License-Identifier: GPL-2.0-or-later
/* Receive: from chunks, or from TCP, to the receiver's user space, in the order in which it was sent
 * (core/switch.h).
 *
 * tcp_recvmsg() is never asked to wait, and never for more than core/switch.h allows: it knows nothing of
 * pipes. We wait ourselves, for either. As it takes the socket's lock itself, one thread at a time asks
 * where to read and reads (read_lock); who waits does not hold that.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/sched/clock.h>
#include <linux/uio.h>

#include "mempipe.h"

/* What TCP had to say before we looked at the pipe. */
struct tcp_view {
	bool ended;	      /* nothing comes any more by TCP: FIN, an error, closed */
	u32 copied, received; /* without the FIN, which has a number of its own */
};

/* Socket locked. The FIN may have been read with the last bytes. */
static void look_at_tcp(const struct sock *sk, struct tcp_view *ret)
{
	const struct tcp_sock *tp = tcp_sk(sk);
	bool fin = sock_flag(sk, SOCK_DONE);

	ret->ended = fin || sk->sk_err || (sk->sk_shutdown & RCV_SHUTDOWN) || sk->sk_state == TCP_CLOSE;
	ret->received = READ_ONCE(tp->rcv_nxt) - fin;
	ret->copied = READ_ONCE(tp->copied_seq);
	if (after(ret->copied, ret->received))
		ret->copied = ret->received;
	smp_rmb(); /* before the sender's mode */
}

/* Of the pipe there is a copy (rest.c): up to it by TCP, then it. */
static int where_with_rest(const struct mpipe_conn *conn, const struct tcp_view *tcp, u32 *ret_most)
{
	if (mpipe_rest_is_next(conn, tcp->copied))
		return MP_READ_PIPE;
	*ret_most = min(*ret_most, conn->pipe->rx.seq - tcp->copied);
	return *ret_most ? MP_READ_TCP : MP_WAIT;
}

/* Where the next bytes are; what can be read from TCP. Socket locked; -ECONNRESET. */
static int where(struct mpipe_conn *conn, const struct tcp_view *tcp, u32 *ret_most)
{
	struct mp_rx *rx;
	int at;

	*ret_most = tcp->received - tcp->copied;
	if (conn->broken)
		return -ECONNRESET;
	if (!conn->pipe || !conn->attached)
		return *ret_most ? MP_READ_TCP : MP_WAIT;
	rx = &conn->pipe->rx;
	if (conn->rest)
		return where_with_rest(conn, tcp, ret_most);
	if (!mpipe_dev_enter(conn->dev))
		return mp_rx_away(rx) ? -ECONNRESET : *ret_most ? MP_READ_TCP : MP_WAIT;
	if (mpipe_conn_alive(conn)) {
		at = mp_rx_where(rx, tcp->copied, tcp->received, ret_most);
		mpipe_conn_tell_rx(conn);
	} else { /* what it sent by the pipe, and we have not read, is lost */
		at = mp_rx_away(rx) ? -ECONNRESET : *ret_most ? MP_READ_TCP : MP_WAIT;
	}
	mpipe_dev_leave(conn->dev);
	if (at == -EPROTO) {
		mpipe_conn_reset(conn, MLG_PIPE_NONSENSE);
		return -ECONNRESET;
	}
	if (at == -ECONNRESET)
		mpipe_conn_reset(conn, MLG_PIPE_PEER_LEAVES);
	return at;
}

/* Copies, or skips for MSG_TRUNC. */
static u32 copy_span(struct mpipe_conn *conn, const struct mp_span *span, struct msghdr *msg, size_t most,
		     int flags)
{
	u32 bytes = min_t(size_t, span->bytes, most);

	if (flags & MSG_TRUNC)
		return bytes;
	return copy_to_iter(mp_chunk(conn->dev->base, span->chunk) + span->offset, bytes, &msg->msg_iter);
}

/* Socket locked, inside of the device. Bytes that were copied count only if the memory was still the
 * sender's.
 */
static ssize_t recv_spans(struct mpipe_conn *conn, struct msghdr *msg, size_t len, int flags)
{
	struct mp_rx *rx = &conn->pipe->rx;
	size_t done = 0;
	int err = 1;

	while (done < len) {
		struct mp_span span;
		u32 bytes;

		err = mp_rx_span(rx, flags & MSG_PEEK ? done : 0, &span);
		if (err <= 0)
			break;
		bytes = copy_span(conn, &span, msg, len - done, flags);
		if (!mpipe_conn_alive(conn)) {
			if (!(flags & MSG_TRUNC))
				iov_iter_revert(&msg->msg_iter, bytes);
			err = -ECONNRESET;
			break;
		}
		if (bytes == 0) {
			err = -EFAULT;
			break;
		}
		done += bytes;
		if (flags & MSG_PEEK)
			continue;
		mp_rx_consume(rx, bytes);
		if (rx->back && rx->head == rx->tail) /* the sender's device may be waiting for that */
			mp_rx_acknowledge(rx);
		mpipe_conn_tell_rx(conn);
	}
	return done ?: err;
}

static ssize_t recv_pipe(struct mpipe_conn *conn, struct msghdr *msg, size_t len, int flags)
{
	ssize_t n = -ECONNRESET;

	if (conn->rest) {
		n = mpipe_rest_read(conn, msg, len, flags);
	} else if (mpipe_dev_enter(conn->dev)) {
		n = recv_spans(conn, msg, len, flags);
		mpipe_dev_leave(conn->dev);
	}
	if (n == -EPROTO || n == -ECONNRESET) {
		mpipe_conn_reset(conn, n == -EPROTO ? MLG_PIPE_NONSENSE : MLG_PIPE_PEER_LEAVES);
		n = -ECONNRESET;
	}
	if (n > 0 && !(flags & MSG_PEEK)) {
		conn->pipe->rx_bytes += n;
		mpipe_count_add(MPIPE_N_RX_PIPE, n);
	}
	return n;
}

/* A call that has some bytes already does not read on across the place of urgent data. Socket locked. */
static bool is_at_mark(const struct sock *sk)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	return tp->urg_data && tp->urg_seq == tp->copied_seq;
}

enum rest {
	REST_MORE, /* there may be more at once */
	REST_WAIT, /* nothing now */
	REST_END,  /* and never again */
};

/* What is there, from one source, behind `done` bytes of this call: bytes or an error. 0: *ret says why. */
static ssize_t recv_once(struct mpipe_conn *conn, struct sock *sk, struct msghdr *msg, size_t done,
			 size_t len, int flags, int *addr_len, enum rest *ret)
{
	struct tcp_view tcp;
	size_t left = len - done;
	ssize_t n;
	u32 most;
	int at;

	mutex_lock(&conn->read_lock);
	lock_sock(sk);
	look_at_tcp(sk, &tcp);
	at = where(conn, &tcp, &most);
	n = at < 0 ? at : 0;
	if (at == MP_READ_TCP)
		mpipe_rendezvous_hurry(conn, sk);
	*ret = at != MP_WAIT ? REST_MORE : tcp.ended ? REST_END : REST_WAIT;
	if (at == MP_READ_PIPE && left > 0) {
		n = recv_pipe(conn, msg, left, flags);
		if (n > 0 && (size_t)n < left)
			*ret = REST_WAIT; /* that was all: who has enough need not look again */
	}
	if (at == MP_READ_TCP && done > 0 && is_at_mark(sk)) {
		*ret = REST_END;
		at = MP_WAIT;
	}
	release_sock(sk);
	if (at == MP_READ_TCP && left > 0) {
		n = mpipe_base(sk)->recvmsg(sk, msg, min_t(size_t, left, most),
					    (flags & ~MSG_WAITALL) | MSG_DONTWAIT, addr_len);
		if (n == -EAGAIN) /* there was nothing but an urgent byte */
			n = 0;
	}
	mutex_unlock(&conn->read_lock);
	return n;
}

/* What recvmsg() says when there is nothing, and never will be: as tcp_recvmsg() does. */
static int how_it_ended(struct sock *sk)
{
	int err;

	if (sock_flag(sk, SOCK_DONE))
		return 0;
	err = sock_error(sk);
	if (err < 0)
		return err;
	if (sk->sk_shutdown & RCV_SHUTDOWN)
		return 0;
	return sk->sk_state == TCP_CLOSE ? -ENOTCONN : 0;
}

/* A reader whose last spins found nothing spins at every SPIN_RARELY-th wait only, until one pays again. */
#define SPIN_MISSES 4
#define SPIN_RARELY 32

/* Looks at the pipe for a while before sleeping: an answer that is on its way is here sooner than a
 * doorbell and a wake take. Nobody rings for a reader that is not armed.
 */
static bool spin(struct mpipe_conn *conn, struct sock *sk)
{
	u64 usec = READ_ONCE(mpipe_spin_usec), until;

	if (usec == 0 || !conn->pipe || (conn->n_misses >= SPIN_MISSES && ++conn->n_misses % SPIN_RARELY))
		return false;
	until = local_clock() + usec * NSEC_PER_USEC;
	do {
		if (mpipe_may_read(conn, sk)) {
			conn->n_misses = 0;
			return true;
		}
		cpu_relax();
	} while (!need_resched() && !signal_pending(current) && local_clock() < until);
	conn->n_misses = max_t(u8, conn->n_misses, 1);
	if (conn->n_misses < SPIN_MISSES)
		conn->n_misses++;
	return false;
}

/* A reader that waited so many times in a row, each time for less than so many windows, and has not sent anything
 * meanwhile, reads a stream that comes in pieces.
 */
#define GATHER_AFTER 8
#define GATHER_OFTEN 8
#define GATHER_USEC_MOST 1000
/* What is worth a wake. Of a stream that is wide, a window is made as long as it takes for as much, up to so many times. */
#define GATHER_BYTES (8 * MLG_PIPE_CHUNK_BYTES)
#define GATHER_SHIFT_MOST 3

static bool is_stream(struct mpipe_conn *conn, u64 window_nsec)
{
	u64 sent = READ_ONCE(conn->pipe->tx_bytes) + READ_ONCE(conn->tcp_sent);

	if (sent != conn->sent_at_wait || conn->waited_nsec > GATHER_OFTEN * window_nsec)
		conn->n_pieces = 0;
	else if (conn->n_pieces < GATHER_AFTER)
		conn->n_pieces++;
	conn->sent_at_wait = sent;
	return conn->n_pieces >= GATHER_AFTER;
}

/* Lets the pieces come for a window of time, without a doorbell and a wake for each. Whoever may be waited for
 * does not wait: the other end may want an answer to what we have sent, or room.
 */
static bool gather(struct mpipe_conn *conn, struct sock *sk)
{
	u64 window = min(READ_ONCE(mpipe_window_usec), GATHER_USEC_MOST);
	u32 bytes;
	bool blocked;

	if (!conn->pipe || !is_stream(conn, window * NSEC_PER_USEC) || window == 0 ||
	    !mpipe_rx_backlog(conn, &bytes, &blocked) || blocked)
		return false;
	window <<= conn->window_shift;
	mpipe_count(MPIPE_N_RX_WINDOWS);
	usleep_range(window, window + window / 4);
	if (!mpipe_rx_backlog(conn, &bytes, &blocked))
		return mpipe_may_read(conn, sk);
	if (blocked || bytes >= 2 * GATHER_BYTES || bytes < MLG_PIPE_CHUNK_BYTES)
		conn->window_shift -= conn->window_shift > 0;
	else if (bytes < GATHER_BYTES)
		conn->window_shift += conn->window_shift < GATHER_SHIFT_MOST;
	return mpipe_may_read(conn, sk);
}

static void arm(struct mpipe_conn *conn)
{
	if (!conn->pipe || !mpipe_dev_enter(conn->dev))
		return;
	if (mpipe_conn_alive(conn))
		mp_rx_arm(&conn->pipe->rx);
	mpipe_dev_leave(conn->dev);
}

/* So that nobody rings while we read anyway. */
static void disarm(struct mpipe_conn *conn)
{
	struct mpipe_pipe *pipe = smp_load_acquire(&conn->pipe);

	if (!pipe || !mpipe_dev_enter(conn->dev))
		return;
	if (READ_ONCE(pipe->rx.d->rx_armed) && mpipe_conn_alive(conn))
		mp_rx_disarm(&pipe->rx);
	mpipe_dev_leave(conn->dev);
}

/* 0, or what recvmsg() returns. */
static int sleep_for_bytes(struct mpipe_conn *conn, struct sock *sk, long *timeo)
{
	DEFINE_WAIT_FUNC(wait, woken_wake_function);
	int err = 0;

	mpipe_count(MPIPE_N_RX_SLEEPS);
	lock_sock(sk);
	add_wait_queue(sk_sleep(sk), &wait);
	sk_set_bit(SOCKWQ_ASYNC_WAITDATA, sk);
	arm(conn);
	/* also not if it was given back to TCP before we slept: nobody wakes us for that again */
	if (sk_wait_event(sk, timeo, mpipe_may_read(conn, sk) || conn->state == MPIPE_LEFT, &wait) < 0)
		err = -EPIPE; /* disconnected meanwhile */
	sk_clear_bit(SOCKWQ_ASYNC_WAITDATA, sk);
	remove_wait_queue(sk_sleep(sk), &wait);
	release_sock(sk);
	return err;
}

/* Until there may be something to read. 0, or what recvmsg() returns. */
static int wait_for_bytes(struct mpipe_conn *conn, struct sock *sk, long *timeo)
{
	u64 begin = local_clock();
	int err = 0;

	if (!gather(conn, sk) && !spin(conn, sk))
		err = sleep_for_bytes(conn, sk, timeo);
	conn->waited_nsec = local_clock() - begin;
	return err;
}

/* The socket was given back to TCP while we slept (detach.c): the call is made anew, by TCP's function, so that
 * nobody sleeps in ours any more. A kernel thread has no call to make anew.
 */
static int begin_anew(struct sock *sk, struct msghdr *msg, size_t len, int flags, int *addr_len)
{
	if (current->flags & (PF_KTHREAD | PF_IO_WORKER))
		return mpipe_base(sk)->recvmsg(sk, msg, len, flags, addr_len);
	return restart_syscall();
}

static int recv_all(struct mpipe_conn *conn, struct sock *sk, struct msghdr *msg, size_t len, int flags,
		    int *addr_len)
{
	size_t target = sock_rcvlowat(sk, flags & MSG_WAITALL, len), done = 0;
	long timeo = sock_rcvtimeo(sk, flags & MSG_DONTWAIT);
	enum rest rest;
	ssize_t n;

	do {
		n = recv_once(conn, sk, msg, done, len, flags, addr_len, &rest);
		if (n < 0)
			return done ?: n;
		done += n;
		if (n > 0 && (flags & MSG_PEEK))
			break;
		if (rest == REST_MORE)
			continue;
		if (done >= target)
			break;
		if (rest == REST_END)
			return done ?: how_it_ended(sk);
		if (!timeo)
			return done ?: -EAGAIN;
		if (signal_pending(current))
			return done ?: sock_intr_errno(timeo);
		n = wait_for_bytes(conn, sk, &timeo);
		if (n < 0)
			return done ?: n;
		if (READ_ONCE(conn->state) == MPIPE_LEFT)
			return done ?: begin_anew(sk, msg, len, flags, addr_len);
	} while (done < len || rest != REST_MORE);
	return done;
}

/* Whether somebody waits elsewhere, who has to be told of the next byte. An epoll is in the queue all the time, and
 * may never have asked us: not while TCP had the answer.
 */
static bool is_waited_for(const struct mpipe_conn *conn, const struct sock *sk)
{
	bool waits = READ_ONCE(conn->polled) || sock_flag(sk, SOCK_FASYNC);

	rcu_read_lock();
	waits = waits || skwq_has_sleeper(rcu_dereference(sk->sk_wq));
	rcu_read_unlock();
	return waits;
}

int mpipe_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags, int *addr_len)
{
	struct mpipe_conn *conn = mpipe_conn_of(sk);
	int n;

	if (!conn)
		__module_get(THIS_MODULE);
	if (!conn || READ_ONCE(conn->state) == MPIPE_TCP || (flags & (MSG_OOB | MSG_ERRQUEUE)) ||
	    (1 << sk->sk_state) & (TCPF_LISTEN | TCPF_SYN_SENT) || READ_ONCE(conn->state) == MPIPE_LEFT) {
		n = mpipe_base(sk)->recvmsg(sk, msg, len, flags, addr_len);
	} else {
		disarm(conn);
		n = recv_all(conn, sk, msg, len, flags, addr_len);
		/* also if he did not read up to EAGAIN but as much as he wanted, or as FIONREAD had said */
		if (is_waited_for(conn, sk))
			mpipe_rx_rearm(conn, sk);
	}
	if (conn)
		mpipe_conn_put(conn);
	else
		module_put(THIS_MODULE);
	return n;
}
