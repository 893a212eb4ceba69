/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Wake: nobody sleeps while there is something for him to do, and nobody is rung who is not asleep.
 *
 *     sleeper                              the other
 *       armed = 1                            moves tail, head, mode, mode_ack or attached
 *       -- full barrier --                   -- full barrier --
 *       looks once more, then sleeps         armed? then the bit in pending; if that was clear: bell; if
 *                                            that was 0: rings
 *     awoken
 *       bell = 0
 *       -- full barrier --
 *       takes all bits, wakes whom they name
 *
 * One of the two sees the other's store: the sleeper what was moved, or the other that it is armed. A bit
 * that is set is about to be rung for, or was and is yet to be taken; so who finds it set has nothing to do.
 * Bell is cleared before the bits are taken: a bit that comes too late to be taken finds bell clear, and
 * rings again. tests/model/mempipe-wake.pml checks it exhaustively.
 *
 * A slot has one bit for both of its directions: who takes it looks at both. Nothing here is trusted: what a
 * peer can do with these words is to leave us asleep, or to wake us for nothing, with its own connections.
 */
#pragma once

#include "ring.h"

/* Says that we are about to sleep, or that somebody polls; look once more afterwards. */
static inline void mp_rx_arm(struct mp_rx *rx)
{
	mp_rx_publish(rx); /* it is long until we consume again, perhaps */
	WRITE_ONCE(rx->d->rx_armed, 1);
	smp_mb();
}

static inline void mp_rx_disarm(struct mp_rx *rx)
{
	WRITE_ONCE(rx->d->rx_armed, 0);
}

static inline void mp_tx_arm(struct mp_tx *tx)
{
	WRITE_ONCE(tx->d->tx_armed, 1);
	smp_mb();
}

static inline void mp_tx_disarm(struct mp_tx *tx)
{
	WRITE_ONCE(tx->d->tx_armed, 0);
}

/* The bit of a slot in the pending words from peer `from`: whose slot it is, and which. */
static inline u32 mp_pending_bit(bool own_slot, u32 slot)
{
	return own_slot ? slot : MLG_PIPE_SLOTS + slot;
}

/* Sets a bit; true: ring the doorbell of the peer that `pair` leads to. */
static inline bool mp_pend(struct mlg_pipe_pair *pair, u32 bit)
{
	return !plain_test_and_set_bit(bit, pair->pending) && plain_xchg(&pair->bell, 1) == 0;
}

/* After a commit or a switch; true: ring. */
static inline bool mp_tx_tell(struct mp_tx *tx, struct mlg_pipe_pair *pair, u32 bit)
{
	smp_mb();
	return READ_ONCE(tx->d->rx_armed) && mp_pend(pair, bit);
}

/* After consuming, mp_rx_where() or mp_rx_attach(); true: ring. */
static inline bool mp_rx_tell(struct mp_rx *rx, struct mlg_pipe_pair *pair, u32 bit)
{
	if (!rx->news)
		return false;
	rx->news = false;
	smp_mb();
	return READ_ONCE(rx->d->tx_armed) && mp_pend(pair, bit);
}

/* For messages in the control ring, which have no bit: always rung for, unless that is under way. */
static inline bool mp_ctl_tell(struct mlg_pipe_pair *pair)
{
	return plain_xchg(&pair->bell, 1) == 0;
}

/* Awoken: for each pair that leads to us, first this, then its control ring and all words of its pending
 * bits.
 */
static inline void mp_bell_clear(struct mlg_pipe_pair *pair)
{
	(void)plain_xchg(&pair->bell, 0);
}

static inline u64 mp_pending_take(struct mlg_pipe_pair *pair, u32 word)
{
	/* most are empty, and an exchange takes the cache line from the other */
	return READ_ONCE(pair->pending[word]) ? plain_xchg(&pair->pending[word], 0) : 0;
}
