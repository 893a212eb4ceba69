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

#include "memlego/pipe.h"
#include "ivshmem/server.h"
#include "util/pollable.h"

typedef struct MlgPipeGroup MlgPipeGroup;

typedef struct MlgPipeGroupCallbacks {
        /* Who connected: true if it may be a member. */
        bool (*on_join)(uint32_t id, pid_t pid, void *userdata);
        void (*on_leave)(uint32_t id, void *userdata);
        /* The group is about to grant, up to so much altogether; returns up to where it may. */
        uint64_t (*on_grant)(uint64_t to_bytes, void *userdata);
        /* What it has in fact: granted, or backed if that is more, for members can write where nothing
         * was granted to them. After each turn. */
        void (*on_charge)(uint64_t bytes, void *userdata);
        /* About the client with this process, or (0) the group; a sentence for people. */
        void (*on_complaint)(pid_t pid, const char *what, void *userdata);
        /* Of a lobby (memlego/mempipe-abi.h): its member has seen the SYN with this number. */
        void (*on_wish)(uint64_t syn, uint64_t now_usec, void *userdata);
        /* See ivshmem/server.h. */
        void (*on_keep)(const char *name, int fd, void *userdata);
} MlgPipeGroupCallbacks;

typedef struct MlgPipeGroupOptions {
        const char *path; /* of the socket */
        uid_t owner;      /* see ivshmem/server.h */
        uint64_t region_bytes;
        uint64_t quota_bytes;
        uint64_t epoch; /* of the region: never one that was used since the host booted */
        uint32_t n_members; /* at a time; 0: as many as there is room for */
        bool lobby;         /* of one member, which has wishes only */
        /* NULL: nothing. Emptied; of another size than region_bytes, or not complete: closed. */
        MlgIvshmemKept *kept;
} MlgPipeGroupOptions;

int mlg_pipe_group_new(const MlgPipeGroupOptions *options, const MlgPipeGroupCallbacks *callbacks,
                       void *userdata, MlgPipeGroup **ret);
/* A next process goes on with what was kept: nothing is told to members. Otherwise they are told to
 * leave. */
void mlg_pipe_group_leave_to_next(MlgPipeGroup *g);
MlgPipeGroup *mlg_pipe_group_free(MlgPipeGroup *g);
const MlgPollable *mlg_pipe_group_pollable(const MlgPipeGroup *g);
const char *mlg_pipe_group_path(const MlgPipeGroup *g);

void mlg_pipe_group_set_quota(MlgPipeGroup *g, uint64_t quota_bytes);
/* For now it shares out no more than this, whatever its quota; UINT64_MAX: no limit. */
void mlg_pipe_group_set_limit(MlgPipeGroup *g, uint64_t bytes);

/* -ENOENT, both: there is no such member. */
int mlg_pipe_group_set_leaving(MlgPipeGroup *g, uint32_t id, bool leaving);
/* Its guest was reset: what its module has said and was granted is void, although the device stays. */
int mlg_pipe_group_reset(MlgPipeGroup *g, uint32_t id);

uint64_t mlg_pipe_group_backed_bytes(const MlgPipeGroup *g);
/* All but what only the service knows: names, and what is configured. */
void mlg_pipe_group_status(const MlgPipeGroup *g, MlgPipeStatus *ret);
