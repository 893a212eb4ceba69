/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Group: guests that may share memory: one region, one socket, and who of them gets how many chunks.
 *
 * Chunks that are granted are promised: the group never grants beyond its quota, nor beyond what the host
 * has free for it (set_room). What its members say is hostile; one that breaks the protocol gets nothing
 * more until it starts anew. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <glib.h>

#include "memlego/mempipe-abi.h"
#include "util/pollable.h"

typedef struct MlgPipeGroup MlgPipeGroup;

typedef struct MlgPipeGroupCallbacks {
        /* Who connected: true if it may be a member. */
        bool (*on_join)(uint32_t id, pid_t pid, void *userdata);
        void (*on_leave)(uint32_t id, void *userdata);
        /* About the client with this process, or (0) the group; a sentence for people. */
        void (*on_complaint)(pid_t pid, const char *what, void *userdata);
} MlgPipeGroupCallbacks;

typedef struct MlgPipeGroupOptions {
        const char *path; /* of the socket */
        uid_t owner;      /* see mempipe/server.h */
        uint64_t region_bytes;
        uint64_t quota_bytes;
        uint64_t epoch; /* of the region: never one that was used since the host booted */
} MlgPipeGroupOptions;

typedef struct MlgPipeMemberStatus {
        uint32_t id, epoch;
        enum mlg_pipe_peer_state state;
        pid_t pid;
        bool speaks, broken; /* its module is there; it broke the protocol */
        uint32_t granted_chunks, target_chunks;
        /* By its own words: */
        uint32_t demand_chunks, held_chunks, used_chunks, n_pipes;
        uint64_t tx_bytes, blocked_usec;
} MlgPipeMemberStatus;

typedef struct MlgPipeGroupStatus {
        uint64_t region_bytes, quota_bytes, granted_bytes, backed_bytes, epoch;
        uint32_t n_members;
        MlgPipeMemberStatus members[MLG_PIPE_PEERS];
} MlgPipeGroupStatus;

int mlg_pipe_group_new(const MlgPipeGroupOptions *options, const MlgPipeGroupCallbacks *callbacks,
                       void *userdata, MlgPipeGroup **ret);
MlgPipeGroup *mlg_pipe_group_free(MlgPipeGroup *g);
const MlgPollable *mlg_pipe_group_pollable(const MlgPipeGroup *g);
const char *mlg_pipe_group_path(const MlgPipeGroup *g);

void mlg_pipe_group_set_quota(MlgPipeGroup *g, uint64_t quota_bytes);
/* What the host can promise to the group besides what it has; from now on. */
void mlg_pipe_group_set_room(MlgPipeGroup *g, uint64_t bytes);
/* What the group has: granted, or backed if that is more, for members can write where nothing was granted
 * to them. */
uint64_t mlg_pipe_group_charge_bytes(const MlgPipeGroup *g);

/* -ENOENT: there is no such member. */
int mlg_pipe_group_set_leaving(MlgPipeGroup *g, uint32_t id, bool leaving);
void mlg_pipe_group_status(const MlgPipeGroup *g, MlgPipeGroupStatus *ret);
