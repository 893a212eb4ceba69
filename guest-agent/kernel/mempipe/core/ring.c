// SPDX-License-Identifier: GPL-2.0-or-later
/* Ring: see ring.h. Positions are u32 and wrap; differences of positions are what is compared. */
#include "ring.h"

#define CHUNK_MASK (MLG_PIPE_CHUNK_BYTES - 1)

static u32 entry_of(u32 pos)
{
	return (pos >> MLG_PIPE_CHUNK_SHIFT) % MLG_PIPE_WINDOW_CHUNKS;
}

static u32 chunk_begin(u32 pos)
{
	return pos & ~CHUNK_MASK;
}

void mp_tx_init(struct mp_tx *tx, struct mlg_pipe_direction *d, u32 gen)
{
	memset(tx, 0, sizeof(*tx));
	tx->d = d;
	tx->gen = gen;
	tx->acked = true;
}

void mp_rx_init(struct mp_rx *rx, struct mlg_pipe_direction *d, u32 gen, u32 n_chunks)
{
	memset(rx, 0, sizeof(*rx));
	rx->d = d;
	rx->gen = gen;
	rx->n_chunks = n_chunks;
}

int mp_tx_look(struct mp_tx *tx)
{
	u32 head = smp_load_acquire(&tx->d->head);

	if (head - tx->head > tx->tail - tx->head)
		return -EPROTO;
	tx->head = head;
	return 1;
}

int mp_tx_span(struct mp_tx *tx, struct mp_span *ret)
{
	u32 offset = tx->tail & CHUNK_MASK;

	/* chunks are given to the end of the window at most, so a chunk at tail is room, whatever head
	 * says
	 */
	if (chunk_begin(tx->tail) == tx->next)
		return mp_tx_look(tx) < 0 ? -EPROTO : 0;
	ret->chunk = tx->map[entry_of(tx->tail)];
	ret->offset = offset;
	ret->bytes = MLG_PIPE_CHUNK_BYTES - offset;
	return 1;
}

void mp_tx_commit(struct mp_tx *tx, u32 bytes)
{
	tx->tail += bytes;
	smp_store_release(&tx->d->tail, tx->tail);
}

u32 mp_tx_room(const struct mp_tx *tx)
{
	/* the entry of a chunk that head is in is not free, even if the chunk was read to its end but for
	 * a byte
	 */
	return MLG_PIPE_WINDOW_CHUNKS - ((tx->next - chunk_begin(tx->head)) >> MLG_PIPE_CHUNK_SHIFT);
}

void mp_tx_give(struct mp_tx *tx, u32 chunk)
{
	u32 entry = entry_of(tx->next);

	tx->map[entry] = chunk;
	WRITE_ONCE(tx->d->map[entry], chunk); /* released with tail */
	tx->next += MLG_PIPE_CHUNK_BYTES;
}

bool mp_tx_reclaim(struct mp_tx *tx, bool idle, u32 *ret_chunk)
{
	if (tx->first == tx->next)
		return false;
	if (tx->first == chunk_begin(tx->head)) {
		if (!idle || tx->head != tx->tail)
			return false;
		/* from behind, so that the positions that have chunks stay in one piece */
		tx->next -= MLG_PIPE_CHUNK_BYTES;
		*ret_chunk = tx->map[entry_of(tx->next)];
		return true;
	}
	return mp_tx_salvage(tx, ret_chunk);
}

bool mp_tx_salvage(struct mp_tx *tx, u32 *ret_chunk)
{
	if (tx->first == tx->next)
		return false;
	*ret_chunk = tx->map[entry_of(tx->first)];
	tx->first += MLG_PIPE_CHUNK_BYTES;
	return true;
}

int mp_rx_look(struct mp_rx *rx, u32 *ret_bytes)
{
	/* the window begins where the chunk that head is in begins: see mp_tx_room() */
	u32 most = MLG_PIPE_WINDOW_BYTES - (rx->head & CHUNK_MASK), known = rx->tail - rx->head, tail, bytes;

	if (!rx->back) {
		tail = smp_load_acquire(&rx->d->tail);
		bytes = tail - rx->head;
		if (bytes < known || bytes > most)
			return -EPROTO;
		if (bytes != known)
			rx->half = rx->head + bytes / 2;
		rx->tail = tail;
	}
	*ret_bytes = rx->tail - rx->head;
	return *ret_bytes > 0;
}

int mp_rx_span(struct mp_rx *rx, u32 peek, struct mp_span *ret)
{
	u32 bytes = rx->tail - rx->head, pos = rx->head + peek, chunk;

	if (peek >= bytes) {
		if (mp_rx_look(rx, &bytes) < 0)
			return -EPROTO;
		if (peek >= bytes)
			return 0;
	}
	chunk = READ_ONCE(rx->d->map[entry_of(pos)]);
	if (chunk >= rx->n_chunks)
		return -EPROTO;
	ret->chunk = chunk;
	ret->offset = pos & CHUNK_MASK;
	ret->bytes = plain_min(bytes - peek, MLG_PIPE_CHUNK_BYTES - ret->offset);
	return 1;
}

void mp_rx_consume(struct mp_rx *rx, u32 bytes)
{
	bool news = rx->news;

	rx->head += bytes;
	if (chunk_begin(rx->head) == chunk_begin(rx->published))
		return;
	mp_rx_publish(rx);
	rx->news = news || (s32)(rx->head - rx->half) >= 0;
}

void mp_rx_publish(struct mp_rx *rx)
{
	if (rx->head == rx->published)
		return;
	rx->published = rx->head;
	rx->news = true;
	smp_store_release(&rx->d->head, rx->head);
}
