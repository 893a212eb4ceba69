// SPDX-License-Identifier: GPL-2.0-or-later
/* Chunks: those that the host granted to us, shared out among our pipes (core/credit.h), and what we would
 * like to have.
 *
 * A chunk belongs to an epoch of ours: one that comes back from a pipe of an earlier epoch is not ours any
 * more.
 */
#include <linux/mm.h>
#include <linux/sched/clock.h>

#include "mempipe.h"

#define WINDOW_MSEC 15 /* at least; a little less than the watch takes while bytes move */

/* Asked twice for each chunk, so not the system's clock, which may be a device far away (HPET). */
static u64 now_usec(void)
{
	return div_u64(local_clock(), NSEC_PER_USEC);
}

int mpipe_chunks_init(struct mpipe_dev *dev)
{
	u32 words = mp_credit_words(dev->n_chunks);

	dev->chunks_held = kvcalloc(words, sizeof(u64), GFP_KERNEL);
	dev->chunks_free = kvcalloc(words, sizeof(u64), GFP_KERNEL);
	dev->chunks_touched = kvcalloc(words, sizeof(u64), GFP_KERNEL);
	if (!dev->chunks_held || !dev->chunks_free || !dev->chunks_touched)
		return -ENOMEM; /* mpipe_chunks_exit() comes with the device's end */
	mp_credit_init(&dev->credit, dev->chunks_held, dev->chunks_free, dev->chunks_touched, dev->n_chunks,
		       now_usec());
	return 0;
}

void mpipe_chunks_exit(struct mpipe_dev *dev)
{
	kvfree(dev->chunks_held);
	kvfree(dev->chunks_free);
	kvfree(dev->chunks_touched);
}

/* A new epoch: the host has taken all of them. Pipes that still count some are of the old one. */
void mpipe_chunks_forget(struct mpipe_dev *dev)
{
	size_t bytes = mp_credit_words(dev->n_chunks) * sizeof(u64);

	spin_lock_bh(&dev->chunks_lock);
	memset(dev->chunks_held, 0, bytes);
	memset(dev->chunks_free, 0, bytes);
	memset(dev->chunks_touched, 0, bytes);
	mp_credit_init(&dev->credit, dev->chunks_held, dev->chunks_free, dev->chunks_touched, dev->n_chunks,
		       now_usec());
	dev->chunks_epoch = dev->epoch;
	spin_unlock_bh(&dev->chunks_lock);
}

/* The range was checked (core/control.c). */
void mpipe_chunks_granted(struct mpipe_dev *dev, u32 first, u32 count)
{
	spin_lock_bh(&dev->chunks_lock);
	mp_credit_grant(&dev->credit, first, count);
	spin_unlock_bh(&dev->chunks_lock);
}

void mpipe_chunks_begin(struct mpipe_conn *conn)
{
	mp_pipe_credit_init(&conn->pipe->credit, now_usec());
}

bool mpipe_chunk_take(struct mpipe_conn *conn, bool starved, u32 *ret_chunk)
{
	struct mpipe_dev *dev = conn->dev;
	struct mp_pipe_credit *credit = &conn->pipe->credit;
	bool found = false;
	u64 now = now_usec();

	spin_lock_bh(&dev->chunks_lock);
	if (conn->epoch == dev->chunks_epoch)
		found = mp_credit_take(&dev->credit, credit, now, ret_chunk);
	if (found)
		mp_demand_resume(&credit->demand, starved, now);
	spin_unlock_bh(&dev->chunks_lock);
	return found;
}

/* Without a lock: a guess that poll can live with, as the same numbers decide a moment later. */
bool mpipe_chunk_would_be_had(struct mpipe_conn *conn)
{
	return conn->epoch == READ_ONCE(conn->dev->chunks_epoch) &&
	       mp_credit_would_take(&conn->dev->credit, &conn->pipe->credit);
}

void mpipe_chunk_put(struct mpipe_conn *conn, u32 chunk)
{
	struct mpipe_dev *dev = conn->dev;

	spin_lock_bh(&dev->chunks_lock);
	if (conn->epoch == dev->chunks_epoch)
		mp_credit_put(&dev->credit, &conn->pipe->credit, now_usec(), chunk);
	spin_unlock_bh(&dev->chunks_lock);
}

void mpipe_chunks_leave(struct mpipe_conn *conn)
{
	struct mpipe_dev *dev = conn->dev;

	spin_lock_bh(&dev->chunks_lock);
	if (conn->epoch == dev->chunks_epoch)
		mp_credit_leave(&dev->credit, &conn->pipe->credit);
	spin_unlock_bh(&dev->chunks_lock);
}

/* ---------------------------------------------------------------- once a window */

/* A pipe that has sent nothing for a window, and whose bytes were all read, needs no chunk. */
void mpipe_chunks_idle(struct mpipe_conn *conn, struct sock *sk)
{
	struct mpipe_pipe *pipe = conn->pipe;
	u64 sent = READ_ONCE(pipe->tx_bytes);
	bool rests = pipe->tx_seen == sent && READ_ONCE(pipe->tx.next) != READ_ONCE(pipe->tx.first);
	u32 chunk;

	pipe->tx_seen = sent;
	if (!rests)
		return;
	lock_sock(sk);
	if (conn->state == MPIPE_OPEN && pipe->tx_bytes == sent && mpipe_conn_alive(conn) &&
	    mp_tx_look(&pipe->tx) > 0)
		while (mp_tx_reclaim(&pipe->tx, true, &chunk))
			mpipe_chunk_put(conn, chunk);
	release_sock(sk);
}

/* What is more than the host wants us to have; and of what it backs, what is more than we use: it then backs
 * that no longer, and what it grants instead costs it nothing until we touch it.
 */
static void give_back(struct mpipe_dev *dev, u32 target)
{
	struct mlg_pipe_message m = {.type = MLG_PIPE_RETURN};
	bool more = true;

	while (more) {
		spin_lock_bh(&dev->chunks_lock);
		more = mp_credit_return(&dev->credit, target, &m.chunks.first, &m.chunks.count) ||
		       mp_credit_trim(&dev->credit, &m.chunks.first, &m.chunks.count);
		spin_unlock_bh(&dev->chunks_lock);
		if (more && mpipe_peer_send(dev, MLG_PIPE_HOST, &m) < 0) {
			/* its ring is full: another time */
			mpipe_chunks_granted(dev, m.chunks.first, m.chunks.count);
			return;
		}
	}
}

/* Pipes of this epoch, each with a reference. */
static u32 collect(struct mpipe_dev *dev, struct mpipe_conn **ret, u32 most)
{
	struct mpipe_conn *conn;
	unsigned long key;
	u32 n = 0;

	rcu_read_lock();
	xa_for_each(&dev->pipes, key, conn)
		if (n < most && conn->epoch == dev->epoch && refcount_inc_not_zero(&conn->ref))
			ret[n++] = conn;
	rcu_read_unlock();
	return n;
}

static u32 divide(struct mpipe_dev *dev, u32 target)
{
	u32 most = dev->n_pipes + 16, n, i, demand = 0, room = most + MLG_PIPE_PEERS;
	struct mpipe_conn **conns = kvcalloc(most, sizeof(*conns), GFP_KERNEL);
	struct mp_pipe_credit **credits = kvcalloc(room, sizeof(*credits), GFP_KERNEL);
	struct mp_claim *claims = kvcalloc(room, sizeof(*claims), GFP_KERNEL);

	if (conns && credits && claims) {
		n = collect(dev, conns, most);
		for (i = 0; i < n; i++)
			credits[i] = &conns[i]->pipe->credit;
		spin_lock_bh(&dev->chunks_lock);
		/* who was forgotten meanwhile has left, and must not be given a share again */
		for (i = 0; i < n; i++)
			if (READ_ONCE(conns[i]->forgotten))
				credits[i--] = credits[--n];
		n += mpipe_udp_credits(dev, credits + n, MLG_PIPE_PEERS);
		demand = mp_credit_divide(&dev->credit, credits, claims, n, target, now_usec());
		spin_unlock_bh(&dev->chunks_lock);
		for (i = 0; conns[i] && i < most; i++)
			mpipe_conn_put(conns[i]);
	}
	kvfree(conns);
	kvfree(credits);
	kvfree(claims);
	return demand;
}

/* Inside of the device, by dev->watch_work alone. Demand is a mean over windows, which do not become
 * shorter when somebody has that work run more often.
 */
void mpipe_chunks_report(struct mpipe_dev *dev)
{
	struct mlg_pipe_section *section = mp_section(dev->base, dev->self);
	u32 target = READ_ONCE(mp_peer(dev->base, dev->self)->target_chunks);

	if (time_after_eq(jiffies, dev->turned_at + msecs_to_jiffies(WINDOW_MSEC))) {
		dev->turned_at = jiffies;
		WRITE_ONCE(section->demand_chunks, divide(dev, target));
	}
	WRITE_ONCE(section->held_chunks, dev->credit.n_held);
	WRITE_ONCE(section->used_chunks, dev->credit.n_held - dev->credit.n_free);
	WRITE_ONCE(section->blocked_usec, dev->credit.demand.blocked_usec);
	WRITE_ONCE(section->tx_bytes, atomic64_read(&dev->sent));
	WRITE_ONCE(section->n_pipes, dev->n_pipes);
	give_back(dev, target);
}
