// SPDX-License-Identifier: GPL-2.0-or-later
/* Dgram: see dgram.h. */
#include "dgram.h"
#include "region.h"

#define WORDS (sizeof(struct mlg_pipe_datagram) / sizeof(u64))

u32 mp_dgram_missing(const struct mp_tx *tx, u32 bytes)
{
	s32 beyond = tx->tail + mp_dgram_size(bytes) - tx->next;

	return beyond > 0 ? (beyond + MLG_PIPE_CHUNK_BYTES - 1) >> MLG_PIPE_CHUNK_SHIFT : 0;
}

static void tx_span(const struct mp_tx *tx, u32 pos, u32 most, struct mp_span *ret)
{
	ret->chunk = tx->map[(pos >> MLG_PIPE_CHUNK_SHIFT) % MLG_PIPE_WINDOW_CHUNKS];
	ret->offset = pos % MLG_PIPE_CHUNK_BYTES;
	ret->bytes = plain_min(most, MLG_PIPE_CHUNK_BYTES - ret->offset);
}

void mp_dgram_tx_span(const struct mp_tx *tx, u32 at, u32 most, struct mp_span *ret)
{
	tx_span(tx, tx->tail + sizeof(struct mlg_pipe_datagram) + at, most, ret);
}

static u64 *word_at(void *base, const struct mp_span *span)
{
	return (u64 *)(mp_chunk(base, span->chunk) + span->offset);
}

void mp_dgram_commit(struct mp_tx *tx, void *base, const struct mlg_pipe_datagram *header)
{
	u64 words[WORDS];
	struct mp_span span;
	u32 i;

	memcpy(words, header, sizeof(words));
	for (i = 0; i < WORDS; i++) {
		tx_span(tx, tx->tail + i * sizeof(u64), sizeof(u64), &span);
		WRITE_ONCE(*word_at(base, &span), words[i]);
	}
	mp_tx_commit(tx, mp_dgram_size(header->bytes));
}

int mp_dgram_next(struct mp_rx *rx, void *base, struct mlg_pipe_datagram *ret)
{
	u64 words[WORDS];
	struct mp_span span;
	u32 i, unread;
	int err = mp_rx_look(rx, &unread);

	if (err <= 0)
		return err;
	/* whole records are sent, of multiples of 8 bytes: so a word never lies in two chunks */
	if (unread < sizeof(*ret) || unread % sizeof(u64) != 0)
		return -EPROTO;
	for (i = 0; i < WORDS; i++) {
		if (mp_rx_span(rx, i * sizeof(u64), &span) <= 0)
			return -EPROTO;
		words[i] = READ_ONCE(*word_at(base, &span));
	}
	memcpy(ret, words, sizeof(*ret));
	if (ret->bytes > MLG_PIPE_DATAGRAM_BYTES || mp_dgram_size(ret->bytes) > unread ||
	    ret->flow >= MLG_PIPE_FLOWS)
		return -EPROTO;
	return 1;
}

int mp_dgram_rx_span(struct mp_rx *rx, u32 at, u32 most, struct mp_span *ret)
{
	if (mp_rx_span(rx, sizeof(struct mlg_pipe_datagram) + at, ret) <= 0)
		return -EPROTO;
	ret->bytes = plain_min(ret->bytes, most);
	return 0;
}

void mp_dgram_done(struct mp_rx *rx, u32 bytes)
{
	mp_rx_consume(rx, mp_dgram_size(bytes));
}
