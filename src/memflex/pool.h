/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pool: the host memory that one guest is lent (memlego/memflex-abi.h), as its owner has it: which chunks
 * are lent, since when it is all of the same guest's session, what is backed.
 *
 * The guest can write to all of it, so what the host knows is in memory of its own and shown in the pool; it
 * is never read back from there. That memory is a memfd, too: a memlegod that is started anew with both
 * descriptors goes on where the last one stopped, at whatever instruction that was.
 *
 *     lent      a chunk is backed before it is, and stays so until the guest has said that it gives it back
 *     backed    what is lent, and tables; anything else the guest has taken itself, until the next sweep
 *
 * Cost. A pool of 64 GiB has 2^18 chunks. Looking for what came back reads the host's table up to the last
 * chunk that is lent, and the guest's where something is, eight bytes at once: 0.1 ms where all of it is
 * lent. A free chunk is found by memchr() from the first one that may be free. A sweep is one fstat() where
 * nothing is wrong. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "memlego/memflex-abi.h"

typedef struct MlgFlexPool MlgFlexPool;

/* What the guest says of itself: read once, and limited to what is possible. */
typedef struct MlgFlexWord {
        uint32_t version; /* 0: no module there, or it has not seen its epoch yet */
        uint32_t session;
        uint32_t want_chunks, held_chunks, alive;
        uint64_t device_pages, disk_pages, pool_pages, same_pages, on_disk_pages;
        uint64_t pool_reads, disk_reads, pool_writes, disk_writes, written_back, errors;
} MlgFlexWord;

/* Power of two, MLG_FLEX_POOL_MIN to _MAX; -EINVAL otherwise. */
int mlg_flex_pool_new(uint64_t bytes, MlgFlexPool **ret);
/* As another process left it. Takes the descriptors if it succeeds; -EBADMSG: they are not what they should
 * be. */
int mlg_flex_pool_adopt(int memory_fd, int truth_fd, MlgFlexPool **ret);
MlgFlexPool *mlg_flex_pool_free(MlgFlexPool *p);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgFlexPool, mlg_flex_pool_free)

int mlg_flex_pool_fd(const MlgFlexPool *p);
int mlg_flex_pool_truth_fd(const MlgFlexPool *p);
uint64_t mlg_flex_pool_bytes(const MlgFlexPool *p);
uint32_t mlg_flex_pool_n_chunks(const MlgFlexPool *p);
uint32_t mlg_flex_pool_epoch(const MlgFlexPool *p);
uint32_t mlg_flex_pool_session(const MlgFlexPool *p);

/* Once a second at least: the guest sees that somebody serves it. */
void mlg_flex_pool_count_alive(MlgFlexPool *p);
void mlg_flex_pool_set_terms(MlgFlexPool *p, uint32_t quota_chunks, uint32_t callback_msec);
uint32_t mlg_flex_pool_quota(const MlgFlexPool *p);
uint32_t mlg_flex_pool_callback_msec(const MlgFlexPool *p);
void mlg_flex_pool_set_target(MlgFlexPool *p, uint32_t chunks);
uint32_t mlg_flex_pool_target(const MlgFlexPool *p);

void mlg_flex_pool_read_word(const MlgFlexPool *p, MlgFlexWord *ret);
/* Its module has started anew: all that was lent is taken back, it has another epoch, and is shown
 * `session`. What it says of itself stays. */
void mlg_flex_pool_begin(MlgFlexPool *p, uint32_t session);
/* The guest is gone, or another one comes: nothing of it is left. */
void mlg_flex_pool_clear(MlgFlexPool *p);

/* Backs and lends `n` more chunks, or as many as there are. Returns how many; *ret_error: 0, or why the host
 * could not back the rest. */
uint32_t mlg_flex_pool_lend(MlgFlexPool *p, uint32_t n, int *ret_error);
/* Takes what the guest has given back. Returns how many chunks that was. */
uint32_t mlg_flex_pool_take_returned(MlgFlexPool *p);
uint32_t mlg_flex_pool_lent(const MlgFlexPool *p);

/* Memory of the host that it takes. */
uint64_t mlg_flex_pool_backed_bytes(const MlgFlexPool *p);
/* As much as its tables come to, by and by, with a guest that keeps to the contract. */
uint64_t mlg_flex_pool_tables_bytes(const MlgFlexPool *p);
/* Takes back what the guest took without being lent it; how many bytes. Up to 1 MiB of that may be left. */
uint64_t mlg_flex_pool_sweep(MlgFlexPool *p);
/* Puts right what the guest wrote over the host's words, which it can. True: there was something. */
bool mlg_flex_pool_mend(MlgFlexPool *p);
