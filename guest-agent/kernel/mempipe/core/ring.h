/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ring: the bytes of one direction of a pipe, in chunks. Says where to write and where to read next; copying
 * is the caller's.
 *
 * What is believed is in struct mp_tx and struct mp_rx, which are private to one end and locked by the
 * caller (one writer, one reader). Of the other end's words only tail, head and map are looked at: each is
 * read once and checked, so that whatever the other end writes, and whenever, a span lies within one chunk
 * of the region.
 *
 * Ordering. Bytes and map entry are written before tail is released; tail is acquired before they are read.
 * Head is released behind the last read of the bytes, and acquired before their chunk is used again.
 *
 * Head is published where it helps the sender: as it leaves a chunk, and as the reader goes to sleep
 * (mp_rx_arm()), so that a pipe that is idle can give back its last chunk. In between the sender could do
 * nothing with it, and each time that it is published the sender has to fetch its cache line anew.
 *
 * A sender that waits is told when half of what was unread is read: woken for each chunk it would write one
 * and sleep again.
 *
 * Functions that return int: 1 yes, 0 not now, -EPROTO: the other end wrote nonsense, give up the
 * connection.
 */
#pragma once

#include "../../common/plain.h"
#include "memlego/mempipe-abi.h"

struct mp_span {
	u32 chunk; /* below n_chunks */
	u32 offset;
	u32 bytes; /* offset + bytes <= MLG_PIPE_CHUNK_BYTES */
};

struct mp_tx {
	struct mlg_pipe_direction *d;
	u32 tail;
	u32 head;  /* as last seen, checked */
	u32 first; /* position at which the oldest of our chunks begins */
	u32 next;  /* position behind the newest: chunks are there for [first, next) */
	u32 map[MLG_PIPE_WINDOW_CHUNKS];
	/* the switch, see switch.h */
	u32 gen;
	u32 mode;
	bool acked; /* the receiver has acknowledged `mode` */
};

struct mp_rx {
	struct mlg_pipe_direction *d;
	u32 n_chunks; /* of the region */
	u32 head;
	u32 published; /* head as the sender may see it */
	u32 tail;  /* as last seen, checked */
	u32 half;  /* position in the middle of what was unread as tail was last seen to move */
	/* the switch, see switch.h */
	u32 gen;
	u32 ack;   /* the mode that we acknowledged, even */
	u32 seq;   /* switch_seq of this excursion */
	bool away; /* the sender has begun an excursion to the pipe: seq is valid */
	bool back; /* and ended it: tail is its end */
	bool news; /* something that the sender may wait for: mp_rx_tell() in wake.h */
};

/* A pipe that was just opened, its slot cleared by the client. Touches nothing shared. */
void mp_tx_init(struct mp_tx *tx, struct mlg_pipe_direction *d, u32 gen);
void mp_rx_init(struct mp_rx *rx, struct mlg_pipe_direction *d, u32 gen, u32 n_chunks);

/* Sender.
 *
 *     while (bytes left) {
 *             err = mp_tx_span(tx, &span);
 *             if (err == 0 && mp_tx_room(tx) > 0 && we have a free chunk)
 *                     mp_tx_give(tx, chunk);
 *             else if (err == 0)
 *                     wait, or go to TCP;
 *             else if (err > 0)
 *                     copy at most span.bytes, mp_tx_commit(tx, copied), tell the receiver;
 *     }
 */

/* Where to write next; 0: there is no chunk at tail (looks at head, so that mp_tx_room() and reclaim know
 * what is new).
 */
int mp_tx_span(struct mp_tx *tx, struct mp_span *ret);

/* `bytes` of the span are written. */
void mp_tx_commit(struct mp_tx *tx, u32 bytes);

/* Looks at head. */
int mp_tx_look(struct mp_tx *tx);

/* Chunks that may be given now; 0: the window is full. */
u32 mp_tx_room(const struct mp_tx *tx);

/* Puts one of our own chunks behind those there are. mp_tx_room() must not be 0. */
void mp_tx_give(struct mp_tx *tx, u32 chunk);

/* Takes back a chunk that holds no unread byte, oldest first. With `idle` also the one at tail, and what was
 * given ahead, if everything was read: an idle pipe need not hold any chunk. Call mp_tx_look() before.
 */
bool mp_tx_reclaim(struct mp_tx *tx, bool idle, u32 *ret_chunk);

/* Takes back any chunk, whatever is in it: the connection is over. */
bool mp_tx_salvage(struct mp_tx *tx, u32 *ret_chunk);

static inline u32 mp_tx_chunks(const struct mp_tx *tx)
{
	return (tx->next - tx->first) >> MLG_PIPE_CHUNK_SHIFT;
}

/* Bytes that the receiver has not read, as far as we know: up to a chunk too many. */
static inline u32 mp_tx_unread(const struct mp_tx *tx)
{
	return tx->tail - tx->head;
}

/* Receiver. */

/* Where the byte `peek` behind head lies, and how many follow it in one piece; 0: there are no more. */
int mp_rx_span(struct mp_rx *rx, u32 peek, struct mp_span *ret);

/* Bytes that can be read; looks at tail. -EPROTO. */
int mp_rx_look(struct mp_rx *rx, u32 *ret_bytes);

/* `bytes`, at most those that spans showed, are read: mp_rx_tell() in wake.h then. */
void mp_rx_consume(struct mp_rx *rx, u32 bytes);

/* Lets the sender see head. */
void mp_rx_publish(struct mp_rx *rx);
