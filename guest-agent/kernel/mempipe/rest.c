// SPDX-License-Identifier: GPL-2.0-or-later
/* Rest: what has come by a pipe and was not read yet is moved to memory of our own when the pipe's memory is
 * about to go: our device is unplugged, the peer leaves, or it wants our bytes no longer (which is how its device goes), or
 * has closed.
 *
 * The peer's sender must have gone back to TCP, so that we have all of it, and stay there, which it does as we have
 * said that we want no more. Then the end of its excursion is acknowledged, and the reader finds the rest here, between the
 * same two bytes of TCP. It is at most what the group's quota lets peers have in pipes; where there is no
 * memory for it, it stays where it is.
 */
#include <linux/mm.h>
#include <linux/uio.h>

#include "mempipe.h"

struct mpipe_rest {
	u32 bytes, done;
	u8 data[];
};

/* False: the chunks do not hold what they should. Socket locked, inside of the device. */
static bool copy_all(struct mpipe_conn *conn, struct mpipe_rest *rest)
{
	struct mp_rx *rx = &conn->pipe->rx;
	struct mp_span span;
	u32 at = 0;

	while (at < rest->bytes && mp_rx_span(rx, at, &span) > 0) {
		span.bytes = min(span.bytes, rest->bytes - at);
		memcpy(rest->data + at, mp_chunk(conn->dev->base, span.chunk) + span.offset, span.bytes);
		at += span.bytes;
	}
	return at == rest->bytes && mpipe_conn_alive(conn);
}

/* What the sender says of its switches, when nobody reads. An excursion of which nothing is unread is
 * over, also if what TCP has from before it is not read yet.
 */
bool mpipe_rx_follow(struct mpipe_conn *conn, const struct sock *sk)
{
	struct mp_rx *rx = &conn->pipe->rx;
	u32 received, copied = mpipe_copied(sk, &received), most;

	if (mp_rx_where(rx, copied, received, &most) < 0) {
		mpipe_conn_reset(conn, MLG_PIPE_NONSENSE);
		return false;
	}
	if (rx->back && rx->head == rx->tail)
		mp_rx_acknowledge(rx);
	mpipe_conn_tell_rx(conn);
	return true;
}

void mpipe_rest_take(struct mpipe_conn *conn, struct sock *sk)
{
	struct mp_rx *rx = &conn->pipe->rx;
	struct mpipe_rest *rest;
	u32 bytes;

	if (conn->rest || conn->broken || !conn->attached || !mpipe_rx_follow(conn, sk))
		return;
	bytes = rx->back ? rx->tail - rx->head : 0;
	if (!bytes || READ_ONCE(rx->d->attached) == rx->gen)
		return;
	rest = kvmalloc(struct_size(rest, data, bytes), GFP_KERNEL | __GFP_NORETRY | __GFP_NOWARN);
	if (!rest)
		return;
	rest->bytes = bytes;
	rest->done = 0;
	if (!copy_all(conn, rest)) {
		kvfree(rest);
		return;
	}
	WRITE_ONCE(conn->rest, rest);
	mp_rx_consume(rx, bytes);
	mp_rx_acknowledge(rx);
	mpipe_conn_tell_rx(conn);
	mpipe_count_add(MPIPE_N_COPIED_OUT, bytes);
}

/* Its sender had not gone back yet, or there was no memory; or it is done, and neither its chunks nor its
 * slot are to stay with a reader that takes its time. Or the slot is another pipe's by now.
 */
void mpipe_watch_rest(struct mpipe_conn *conn)
{
	const struct mp_rx *rx = &conn->pipe->rx;
	bool again = false;

	if (!mpipe_dev_enter(conn->dev))
		return;
	if (READ_ONCE(conn->attached))
		again = !mpipe_conn_alive(conn) || mpipe_conn_done(conn) ||
			((mpipe_conn_unwanted(conn) || READ_ONCE(rx->d->attached) != rx->gen) &&
			 !READ_ONCE(conn->rest) && READ_ONCE(rx->d->mode) != READ_ONCE(rx->ack));
	mpipe_dev_leave(conn->dev);
	if (again)
		mpipe_conn_settle(conn);
}

bool mpipe_rest_is_next(const struct mpipe_conn *conn, u32 copied)
{
	return READ_ONCE(conn->rest) && !after(READ_ONCE(conn->pipe->rx.seq), copied);
}

u32 mpipe_rest_unread(const struct mpipe_conn *conn)
{
	return conn->rest ? conn->rest->bytes - conn->rest->done : 0;
}

ssize_t mpipe_rest_read(struct mpipe_conn *conn, struct msghdr *msg, size_t len, int flags)
{
	struct mpipe_rest *rest = conn->rest;
	size_t n = min_t(size_t, len, rest->bytes - rest->done);

	if (!(flags & MSG_TRUNC))
		n = copy_to_iter(rest->data + rest->done, n, &msg->msg_iter);
	if (n == 0)
		return -EFAULT;
	if (flags & MSG_PEEK)
		return n;
	rest->done += n;
	if (rest->done == rest->bytes) {
		WRITE_ONCE(conn->rest, NULL); /* others look whether it is there, not into it */
		kvfree(rest);
	}
	return n;
}
