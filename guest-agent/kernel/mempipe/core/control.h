/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control: the ring of messages from one peer to another. What a message asks for is the caller's business;
 * what is taken is of its sender's epoch, of a type that this sender may send, and its numbers lie within
 * their ranges.
 *
 * Either end may begin anew at any time: a reader that finds itself out of step gets into it again, at the
 * cost of the messages that are there. Locked by the caller, at either end.
 */
#pragma once

#include "../../common/plain.h"
#include "memlego/mempipe-abi.h"

struct mp_ctl_tx {
	struct mlg_pipe_pair *pair;
	u32 tail;
};

struct mp_ctl_rx {
	struct mlg_pipe_pair *pair;
	u32 head;
	u32 from; /* peer id of the sender */
	u32 to;   /* and ours */
	u32 n_chunks; /* of the region */
	u32 n_refused; /* messages that were not sensible */
};

/* When we start, and again when the other has another epoch. `skip`: what is there was for our
 * predecessor (when we start).
 */
void mp_ctl_tx_init(struct mp_ctl_tx *tx, struct mlg_pipe_pair *pair);
void mp_ctl_rx_init(struct mp_ctl_rx *rx, struct mlg_pipe_pair *pair, u32 from, u32 to, u32 n_chunks,
		    bool skip);

/* 0; -EAGAIN: full; -EPROTO: head is nonsense, or the reader is not in step yet. mp_ctl_tell() in wake.h
 * after it.
 */
int mp_ctl_put(struct mp_ctl_tx *tx, const struct mlg_pipe_message *message);

/* The next message that is sensible and of `epoch`, the sender's: 1. 0: none. -EPROTO: tail is nonsense, and
 * all that was there is skipped: the reader is in step again.
 */
int mp_ctl_take(struct mp_ctl_rx *rx, u32 epoch, struct mlg_pipe_message *ret);

#define MP_NONCE_SHIFT 16

static inline u32 mp_message_slot(const struct mlg_pipe_message *message)
{
	return message->nonce_slot & ((1u << MP_NONCE_SHIFT) - 1);
}
