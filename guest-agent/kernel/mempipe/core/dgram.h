/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Dgram: records of datagrams in a ring (ring.h). Says where to write and where to read; copying is the
 * caller's. A record lies in one piece of positions, but may lie in several chunks; its words do not, as
 * records are multiples of 8 bytes.
 *
 * Locked by the caller, at either end. Of the sender's record each word is read once, and checked: what
 * spans show lies within one chunk of the region, and all spans of a record are of `bytes` as checked.
 */
#pragma once

#include "ring.h"
#include "wake.h"

/* Bytes of the ring that a datagram of `bytes` takes. */
static inline u32 mp_dgram_size(u32 bytes)
{
	return (sizeof(struct mlg_pipe_datagram) + bytes + 7) & ~7u;
}

/* Sender.
 *
 *     while (mp_dgram_missing(tx, bytes) > 0)
 *             mp_tx_room() or give up, a free chunk or give up; mp_tx_give(tx, chunk);
 *     for (at = 0; at < bytes; at += span.bytes)
 *             mp_dgram_tx_span(tx, at, bytes - at, &span), copy;
 *     mp_dgram_commit(tx, base, &header), mp_dgram_tell();
 */

/* Chunks that must be given before a datagram of `bytes` has room behind tail. */
u32 mp_dgram_missing(const struct mp_tx *tx, u32 bytes);

/* Where payload byte `at` is to be written, and how many with it, `most` at most. None is missing. */
void mp_dgram_tx_span(const struct mp_tx *tx, u32 at, u32 most, struct mp_span *ret);

/* The payload is written: the receiver may see it. `base`: of the region. */
void mp_dgram_commit(struct mp_tx *tx, void *base, const struct mlg_pipe_datagram *header);

/* True: ring. */
static inline bool mp_dgram_tell(struct mp_tx *tx, struct mlg_pipe_pair *pair)
{
	smp_mb();
	return READ_ONCE(tx->d->rx_armed) && plain_xchg(&pair->bell, 1) == 0;
}

/* Receiver. */

/* The record at head: 1; 0: there is none. -EPROTO. Moves nothing. */
int mp_dgram_next(struct mp_rx *rx, void *base, struct mlg_pipe_datagram *ret);

/* Where payload byte `at` of the record at head lies, and how many with it, `most` at most. 0, -EPROTO. */
int mp_dgram_rx_span(struct mp_rx *rx, u32 at, u32 most, struct mp_span *ret);

/* The record at head, of `bytes` as mp_dgram_next() said, is read. */
void mp_dgram_done(struct mp_rx *rx, u32 bytes);

/* A sender that waits for room may go on. True: ring. `pair`: that leads to it. */
static inline bool mp_dgram_tell_room(struct mp_rx *rx, struct mlg_pipe_pair *pair)
{
	if (!rx->news)
		return false;
	rx->news = false;
	smp_mb();
	return READ_ONCE(rx->d->tx_armed) && plain_xchg(&pair->bell, 1) == 0;
}
