/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Region: where the parts of a mapped region lie. Ids must have been checked by the caller; nothing here
 * reads an offset from shared memory, so no address depends on what a peer wrote.
 */
#pragma once

#include "../../common/plain.h"
#include "memlego/mempipe-abi.h"

/* Takes the number of chunks from the header if that is one that we speak and a mapping of `bytes` has room
 * for. Returns 0; -EAGAIN: the host is not ready; -EPROTO: another version, or nonsense.
 */
static inline int mp_region_check(const struct mlg_pipe_header *header, u64 bytes, u32 *ret_n_chunks)
{
	u32 n;

	if (smp_load_acquire(&header->magic) != MLG_PIPE_MAGIC)
		return -EAGAIN;
	n = READ_ONCE(header->n_chunks);
	if (READ_ONCE(header->version) != MLG_PIPE_VERSION || READ_ONCE(header->region_bytes) != bytes ||
	    bytes < MLG_PIPE_REGION_MIN || bytes > MLG_PIPE_REGION_MAX ||
	    n == 0 || n > MLG_PIPE_CHUNKS_MAX ||
	    n > (bytes - MLG_PIPE_CHUNKS_AT) >> MLG_PIPE_CHUNK_SHIFT)
		return -EPROTO;
	*ret_n_chunks = n;
	return 0;
}

static inline struct mlg_pipe_header *mp_header(void *base)
{
	return base;
}

static inline struct mlg_pipe_peer *mp_peer(void *base, u32 peer)
{
	return (struct mlg_pipe_peer *)((u8 *)base + MLG_PIPE_PEERS_AT) + peer;
}

static inline struct mlg_pipe_section *mp_section(void *base, u32 peer)
{
	return (struct mlg_pipe_section *)((u8 *)base + MLG_PIPE_SECTIONS_AT) + peer;
}

static inline u8 *mp_owner(void *base, u32 chunk)
{
	return (u8 *)base + MLG_PIPE_OWNERS_AT + chunk;
}

static inline struct mlg_pipe_pair *mp_pair(void *base, u32 from, u32 to)
{
	return (struct mlg_pipe_pair *)((u8 *)base + MLG_PIPE_PAIRS_AT) + from * MLG_PIPE_PEERS + to;
}

static inline struct mlg_pipe_slot *mp_slot(void *base, u32 client, u32 slot)
{
	return (struct mlg_pipe_slot *)((u8 *)base + MLG_PIPE_SLOTS_AT) + client * MLG_PIPE_SLOTS + slot;
}

static inline u8 *mp_chunk(void *base, u32 chunk)
{
	return (u8 *)base + MLG_PIPE_CHUNKS_AT + ((u64)chunk << MLG_PIPE_CHUNK_SHIFT);
}
