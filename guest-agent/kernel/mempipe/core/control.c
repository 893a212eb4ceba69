// SPDX-License-Identifier: GPL-2.0-or-later
/* Control: see control.h. */
#include "control.h"

#define WORDS (sizeof(struct mlg_pipe_message) / sizeof(u64))

void mp_ctl_tx_init(struct mp_ctl_tx *tx, struct mlg_pipe_pair *pair)
{
	tx->pair = pair;
	tx->tail = 0;
	smp_store_release(&pair->tail, 0);
}

void mp_ctl_rx_init(struct mp_ctl_rx *rx, struct mlg_pipe_pair *pair, u32 from, u32 to, u32 n_chunks,
		    bool skip)
{
	memset(rx, 0, sizeof(*rx));
	rx->pair = pair;
	rx->from = from;
	rx->to = to;
	rx->n_chunks = n_chunks;
	rx->head = skip ? smp_load_acquire(&pair->tail) : 0;
	smp_store_release(&pair->head, rx->head);
}

int mp_ctl_put(struct mp_ctl_tx *tx, const struct mlg_pipe_message *message)
{
	u32 used = tx->tail - smp_load_acquire(&tx->pair->head);
	u64 words[WORDS], *to = (u64 *)&tx->pair->messages[tx->tail % MLG_PIPE_MESSAGES];
	u32 i;

	if (used > MLG_PIPE_MESSAGES)
		return -EPROTO;
	if (used == MLG_PIPE_MESSAGES)
		return -EAGAIN;
	memcpy(words, message, sizeof(words));
	for (i = 0; i < WORDS; i++)
		WRITE_ONCE(to[i], words[i]);
	tx->tail++;
	smp_store_release(&tx->pair->tail, tx->tail);
	return 0;
}

static bool between_guests(const struct mp_ctl_rx *rx)
{
	return rx->from != MLG_PIPE_HOST && rx->to != MLG_PIPE_HOST;
}

static bool chunks_exist(const struct mp_ctl_rx *rx, const struct mlg_pipe_message *m)
{
	return m->chunks.count > 0 && m->chunks.first < rx->n_chunks &&
	       m->chunks.count <= rx->n_chunks - m->chunks.first;
}

static bool is_sensible(const struct mp_ctl_rx *rx, const struct mlg_pipe_message *m)
{
	switch (m->type) {
	case MLG_PIPE_HELLO:
	case MLG_PIPE_ATTACH:
		return between_guests(rx) && m->gen != 0 && mp_message_slot(m) < MLG_PIPE_SLOTS;
	case MLG_PIPE_REFUSE:
		return between_guests(rx) && m->gen != 0 && mp_message_slot(m) < MLG_PIPE_SLOTS &&
		       m->reason > MLG_PIPE_OK && m->reason < MLG_PIPE_REASONS;
	case MLG_PIPE_FLOW_OFFER:
		return between_guests(rx) && m->gen != 0;
	case MLG_PIPE_FLOW_OK:
	case MLG_PIPE_FLOW_GONE:
		return between_guests(rx) && m->gen != 0 && mp_message_slot(m) < MLG_PIPE_FLOWS;
	case MLG_PIPE_GRANT:
		return rx->from == MLG_PIPE_HOST && chunks_exist(rx, m);
	case MLG_PIPE_RETURN:
		return rx->to == MLG_PIPE_HOST && chunks_exist(rx, m);
	case MLG_PIPE_WISH:
		return rx->to == MLG_PIPE_HOST;
	}
	return false;
}

/* Each word is read once; what is checked and used later is the copy. */
static void copy_message(const struct mlg_pipe_message *from, struct mlg_pipe_message *ret)
{
	const u64 *shared = (const u64 *)from;
	u64 words[WORDS];
	u32 i;

	for (i = 0; i < WORDS; i++)
		words[i] = READ_ONCE(shared[i]);
	memcpy(ret, words, sizeof(*ret));
}

int mp_ctl_take(struct mp_ctl_rx *rx, u32 epoch, struct mlg_pipe_message *ret)
{
	u32 tail = smp_load_acquire(&rx->pair->tail);
	bool found = false;

	if (tail - rx->head > MLG_PIPE_MESSAGES) {
		rx->head = tail;
		smp_store_release(&rx->pair->head, rx->head);
		return -EPROTO;
	}
	while (!found && rx->head != tail) {
		struct mlg_pipe_message m;

		copy_message(&rx->pair->messages[rx->head % MLG_PIPE_MESSAGES], &m);
		rx->head++;
		if (m.epoch != epoch)
			continue;
		found = is_sensible(rx, &m);
		if (found)
			*ret = m;
		else
			rx->n_refused++;
	}
	smp_store_release(&rx->pair->head, rx->head);
	return found;
}
