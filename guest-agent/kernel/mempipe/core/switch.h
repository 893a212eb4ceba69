/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Switch: one direction of a connection changes between TCP and the pipe, at any time, and no byte is lost,
 * doubled or overtaken. tests/model/mempipe-switch.pml checks it exhaustively.
 *
 * An *excursion* is one way to the pipe and back. The sender begins it when the receiver has acknowledged
 * the end of the one before; so there is at most one at a time, and its switch_seq and end are read once by
 * the receiver, when it first sees that they are valid. What the peer does to them later changes nothing.
 *
 * Both ends call these functions with the connection locked: no other thread of this end reads (or writes)
 * TCP or the pipe between a question asked here and what is done about the answer.
 */
#pragma once

#include "ring.h"

/* Sender. */

/* The receiver does not want the pipe, or no longer: go back to TCP if in the pipe, and stay there. */
bool mp_tx_unwanted(const struct mp_tx *tx);

/* Whether the pipe may be taken: it is wanted, and the excursion before was acknowledged. 1, 0, -EPROTO. */
int mp_tx_may_pipe(struct mp_tx *tx);

/* Whether the end of the last excursion was acknowledged: all of it was read. 1, 0, -EPROTO. */
int mp_tx_look_ack(struct mp_tx *tx);

/* All bytes up to the TCP sequence number `write_seq` were given to TCP; those that follow go by the pipe.
 * Only after mp_tx_may_pipe(). Tell the receiver after either of these.
 */
void mp_tx_to_pipe(struct mp_tx *tx, u32 write_seq);

/* Bytes that follow are given to TCP. At any time while in the pipe. */
void mp_tx_to_tcp(struct mp_tx *tx);

static inline bool mp_tx_in_pipe(const struct mp_tx *tx)
{
	return tx->mode & 1;
}

/* Receiver. */

enum mp_where {
	MP_WAIT = 0,      /* nothing to be read now */
	MP_READ_TCP = 1,  /* at most *ret_most bytes */
	MP_READ_PIPE = 2, /* mp_rx_span() has something */
};

/* Ready for the pipe. Tell the sender (it may wait for nothing else, but it need not look at every send). */
void mp_rx_attach(struct mp_rx *rx);

/* Asks the sender to leave the pipe. It is still to be read up to its end. */
void mp_rx_detach(struct mp_rx *rx);

/* What to read next. `copied_seq`: sequence number of the next byte that TCP would give; `rcv_nxt`: that of
 * the first byte that TCP has not got yet, **read before this call**. TCP is never read beyond that: a byte
 * that comes in after mode was looked at may have been sent after an excursion that we do not know of yet,
 * whose bytes are to be read first. For the same reason ask whether TCP has ended (RCV_SHUTDOWN, an error)
 * before reading rcv_nxt, if the answer is MP_WAIT and TCP is to be asked for the end.
 *
 * Acknowledges an excursion that was read to its end: mp_rx_tell() in wake.h after it. -EPROTO: nonsense.
 */
int mp_rx_where(struct mp_rx *rx, u32 copied_seq, u32 rcv_nxt, u32 *ret_most);

/* The pipe was read to its end (rx->back, and nothing is left). mp_rx_where() does it, for who reads in order; here for
 * who has moved the bytes to read them later, and wants no more by the pipe.
 */
void mp_rx_acknowledge(struct mp_rx *rx);

/* Bytes may still come by the pipe: TCP's end is not the end. */
static inline bool mp_rx_away(const struct mp_rx *rx)
{
	return rx->away;
}
