// SPDX-License-Identifier: GPL-2.0-or-later
/* Switch: see switch.h, and "Switching" in memlego/mempipe-abi.h. */
#include "switch.h"

bool mp_tx_unwanted(const struct mp_tx *tx)
{
	return smp_load_acquire(&tx->d->attached) != tx->gen;
}

int mp_tx_look_ack(struct mp_tx *tx)
{
	u32 ack;

	if (tx->acked || mp_tx_in_pipe(tx))
		return tx->acked;
	ack = smp_load_acquire(&tx->d->mode_ack);
	if (ack != tx->mode && ack != tx->mode - 2)
		return -EPROTO;
	tx->acked = ack == tx->mode;
	return tx->acked;
}

int mp_tx_may_pipe(struct mp_tx *tx)
{
	if (mp_tx_in_pipe(tx) || mp_tx_unwanted(tx))
		return 0;
	return mp_tx_look_ack(tx);
}

void mp_tx_to_pipe(struct mp_tx *tx, u32 write_seq)
{
	WRITE_ONCE(tx->d->switch_seq, write_seq);
	tx->acked = false;
	tx->mode++;
	smp_store_release(&tx->d->mode, tx->mode);
}

void mp_tx_to_tcp(struct mp_tx *tx)
{
	WRITE_ONCE(tx->d->end, tx->tail);
	tx->mode++;
	/* before any byte that is given to TCP from now on: who gets that byte sees this mode */
	smp_store_release(&tx->d->mode, tx->mode);
	smp_mb();
}

void mp_rx_attach(struct mp_rx *rx)
{
	smp_store_release(&rx->d->attached, rx->gen);
	rx->news = true;
}

void mp_rx_detach(struct mp_rx *rx)
{
	smp_store_release(&rx->d->attached, 0);
	rx->news = true;
}

/* Follows the sender's mode. */
static int look_at_mode(struct mp_rx *rx)
{
	u32 mode = smp_load_acquire(&rx->d->mode), ahead = mode - rx->ack, end;

	if (ahead > 2 || (rx->away && ahead == 0) || (rx->back && ahead != 2))
		return -EPROTO;
	if (ahead > 0 && !rx->away) {
		rx->seq = READ_ONCE(rx->d->switch_seq);
		rx->away = true;
	}
	if (ahead == 2 && !rx->back) {
		end = READ_ONCE(rx->d->end);
		/* bytes that were seen are not taken back, and there is a window */
		if (end - rx->head < rx->tail - rx->head || end - rx->head > MLG_PIPE_WINDOW_BYTES)
			return -EPROTO;
		rx->tail = end;
		rx->back = true;
	}
	return 0;
}

void mp_rx_acknowledge(struct mp_rx *rx)
{
	mp_rx_publish(rx);
	rx->ack += 2;
	rx->away = false;
	rx->back = false;
	rx->news = true;
	smp_store_release(&rx->d->mode_ack, rx->ack);
}

static int read_tcp(u32 bytes, u32 *ret_most)
{
	/* beyond a window of TCP, or behind what was read: our caller's numbers, not the peer's */
	if ((s32)bytes <= 0)
		return MP_WAIT;
	*ret_most = bytes;
	return MP_READ_TCP;
}

int mp_rx_where(struct mp_rx *rx, u32 copied_seq, u32 rcv_nxt, u32 *ret_most)
{
	u32 received = rcv_nxt - copied_seq, until, unread;

	if (look_at_mode(rx) < 0)
		return -EPROTO;
	if (!rx->away)
		return read_tcp(received, ret_most);
	until = rx->seq - copied_seq;
	if ((s32)until < 0)
		return -EPROTO;
	if (until > 0)
		return read_tcp(plain_min(until, received), ret_most);
	if (mp_rx_look(rx, &unread) < 0)
		return -EPROTO;
	if (unread > 0)
		return MP_READ_PIPE;
	if (!rx->back)
		return MP_WAIT;
	mp_rx_acknowledge(rx);
	return read_tcp(received, ret_most);
}
