/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Server: of one ivshmem device (QEMU's docs/specs/ivshmem-spec), for the hypervisors of a group's
 * members.
 *
 * memlegod is peer 0 of its own device, so that guests can ring it and it can ring them. Clients only
 * listen; one that speaks, or comes from a user who has no business here, is dropped. Nothing here waits for
 * a client. Callbacks run only inside dispatch() of the pollable. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <glib.h>

#include "memlego/mempipe-abi.h"
#include "util/pollable.h"

#define MLG_PIPE_PATH_MAX 107

typedef struct MlgPipeServer MlgPipeServer;

typedef struct MlgPipeServerCallbacks {
        /* Somebody connected who may become a member: true, and it is one with this id from now on. */
        bool (*on_join)(uint32_t id, pid_t pid, void *userdata);
        void (*on_leave)(uint32_t id, void *userdata); /* for good: an ivshmem client does not come back */
        void (*on_ring)(uint64_t now_usec, void *userdata); /* somebody rang the host; nobody knows who */
        /* A client was dropped or turned away; a sentence for people. */
        void (*on_refuse)(pid_t pid, const char *why, void *userdata);
        /* What a next process must have to go on in our place, and (fd -1) what it need not any more. */
        void (*on_keep)(const char *name, int fd, void *userdata);
} MlgPipeServerCallbacks;

/* What an earlier process had kept. */
typedef struct MlgPipeKept {
        int region, truth;    /* of the group */
        int listener;
        int clients[MLG_PIPE_PEERS], events[MLG_PIPE_PEERS]; /* by id */
} MlgPipeKept;

void mlg_pipe_kept_init(MlgPipeKept *k);                            /* nothing */
bool mlg_pipe_kept_add(MlgPipeKept *k, const char *name, int fd);   /* by the name of on_keep; takes it if true */
void mlg_pipe_kept_close(MlgPipeKept *k);

/* Ids are 0 to n_ids - 1: one client less may connect at a time. */
/* Listens at `path`, which is replaced if it is there. `owner`: the user whose hypervisors may connect
 * besides root, and whom the socket belongs to; (uid_t) -1: root's only. The memory stays the caller's. */
/* `kept` (may be NULL): takes listener, bell and clients; on_join is called for each of these. */
int mlg_pipe_server_new(const char *path, uid_t owner, int memory_fd, uint32_t n_ids, MlgPipeKept *kept,
                        const MlgPipeServerCallbacks *callbacks, void *userdata, MlgPipeServer **ret);
/* The socket's file stays if a next process takes it over. */
void mlg_pipe_server_leave_to_next(MlgPipeServer *s);
MlgPipeServer *mlg_pipe_server_free(MlgPipeServer *s);
const MlgPollable *mlg_pipe_server_pollable(const MlgPipeServer *s);
const char *mlg_pipe_server_path(const MlgPipeServer *s);

void mlg_pipe_server_ring(MlgPipeServer *s, uint32_t id);
pid_t mlg_pipe_server_pid(const MlgPipeServer *s, uint32_t id); /* 0: there is no such client */
