/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Region: the shared memory of one trust group (memlego/mempipe-abi.h), as its owner has it: who is
 * there, whose each chunk is, what is backed by the host's memory.
 *
 * Every member can write to all of it, so what the host knows is in memory of its own and shown in the
 * region; it is never read back from there. That memory is a memfd, too: a memlegod that is started anew
 * with both descriptors goes on where the last one stopped. The region is sealed against shrinking and
 * growing: a member that touches what was cut off would die of SIGBUS. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "memlego/mempipe-abi.h"

typedef struct MlgPipeRegion MlgPipeRegion;

/* What a member says of itself: read once, and limited to what is possible. */
typedef struct MlgPipeWord {
        uint32_t version; /* 0: no module there, or it has not seen its epoch yet */
        uint32_t session;
        uint32_t demand_chunks, held_chunks, used_chunks;
        uint64_t tx_bytes, blocked_usec;
        uint32_t n_pipes;
        uint64_t outcomes[MLG_PIPE_REASONS]; /* any number is possible */
} MlgPipeWord;

/* Power of two, MLG_PIPE_REGION_MIN to _MAX; -EINVAL otherwise. */
int mlg_pipe_region_new(uint64_t bytes, uint64_t epoch, MlgPipeRegion **ret);
/* What members are told of the region as a whole; before there is one. */
void mlg_pipe_region_set_features(MlgPipeRegion *r, uint32_t features);
/* As another process left it. Takes the descriptors if it succeeds; -EBADMSG: they are not what they
 * should be. */
int mlg_pipe_region_adopt(int region_fd, int truth_fd, MlgPipeRegion **ret);
MlgPipeRegion *mlg_pipe_region_free(MlgPipeRegion *r);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgPipeRegion, mlg_pipe_region_free)

/* Once a second at least: members see that somebody serves them. */
void mlg_pipe_region_count_alive(MlgPipeRegion *r);

int mlg_pipe_region_fd(const MlgPipeRegion *r);
int mlg_pipe_region_truth_fd(const MlgPipeRegion *r);
uint64_t mlg_pipe_region_bytes(const MlgPipeRegion *r);
uint64_t mlg_pipe_region_epoch(const MlgPipeRegion *r);
uint32_t mlg_pipe_region_n_chunks(const MlgPipeRegion *r);

/* ---- members; ids are those of guests, 1 to MLG_PIPE_PEERS - 1 ---- */

/* Present, with an epoch of its own. What an earlier one had was taken back by _leave(). */
void mlg_pipe_region_join(MlgPipeRegion *r, uint32_t id);
/* Its module was started anew: all it had is taken back, and it has another epoch. `session` is shown to
 * it. */
void mlg_pipe_region_rejoin(MlgPipeRegion *r, uint32_t id, uint32_t session);
void mlg_pipe_region_set_leaving(MlgPipeRegion *r, uint32_t id, bool leaving);
void mlg_pipe_region_leave(MlgPipeRegion *r, uint32_t id);
enum mlg_pipe_peer_state mlg_pipe_region_state(const MlgPipeRegion *r, uint32_t id);
uint32_t mlg_pipe_region_peer_epoch(const MlgPipeRegion *r, uint32_t id);
uint32_t mlg_pipe_region_session(const MlgPipeRegion *r, uint32_t id);

void mlg_pipe_region_set_target(MlgPipeRegion *r, uint32_t id, uint32_t chunks);
uint32_t mlg_pipe_region_target(const MlgPipeRegion *r, uint32_t id);
void mlg_pipe_region_read_word(const MlgPipeRegion *r, uint32_t id, MlgPipeWord *ret);

/* Puts right what members wrote over the host's words, which they can: from header, peers and owners nothing is read
 * back. True: there was something. */
bool mlg_pipe_region_mend(MlgPipeRegion *r);

/* ---- chunks ---- */

/* At most `max` neighbouring free chunks become its own; how many, and from *ret_first. 0: none is free. */
uint32_t mlg_pipe_region_grant(MlgPipeRegion *r, uint32_t id, uint32_t max, uint32_t *ret_first);
/* They are free, and their memory is the host's again. -EPERM, and nothing has changed: not all of them
 * are its own. */
int mlg_pipe_region_take_back(MlgPipeRegion *r, uint32_t id, uint32_t first, uint32_t count);
uint32_t mlg_pipe_region_granted(const MlgPipeRegion *r, uint32_t id);
uint32_t mlg_pipe_region_granted_to_all(const MlgPipeRegion *r);

/* Memory of the host that the region takes. */
uint64_t mlg_pipe_region_backed_bytes(const MlgPipeRegion *r);
/* Members can write where they were granted nothing: takes that memory back. Returns how many bytes of
 * chunks it was; what lies in tables of those who are not there is nobody's fault, as some may not know yet
 * that one has left. */
uint64_t mlg_pipe_region_sweep(MlgPipeRegion *r);

/* ---- control rings: messages between host and a member ---- */

/* 0; -EAGAIN: there is no room. *ret_ring: it must be rung for this. */
int mlg_pipe_region_send(MlgPipeRegion *r, uint32_t id, const struct mlg_pipe_message *m, bool *ret_ring);
uint32_t mlg_pipe_region_room(const MlgPipeRegion *r, uint32_t id); /* messages that can be sent just now */
/* True: *ret is its next message. What it has written out of step is skipped. */
bool mlg_pipe_region_receive(MlgPipeRegion *r, uint32_t id, struct mlg_pipe_message *ret);
/* Something else in the region has changed that it should look at: true if it must be rung for this. */
bool mlg_pipe_region_wake(MlgPipeRegion *r, uint32_t id);
/* It has rung, or may have: from now on it rings again. */
void mlg_pipe_region_clear_bell(MlgPipeRegion *r, uint32_t id);
