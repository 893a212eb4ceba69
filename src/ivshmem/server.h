/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Server: of one ivshmem device (QEMU's docs/specs/ivshmem-spec), for the hypervisors of the guests that
 * share a memory.
 *
 * memlegod is peer 0 of its own device, so that guests can ring it and it can ring them. Clients only
 * listen; one that speaks, or comes from a user who has no business here, is dropped. Nothing here waits for
 * a client. Callbacks run only inside dispatch() of the pollable. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <glib.h>

#include "util/pollable.h"

#define MLG_IVSHMEM_HOST 0u    /* our id; clients have 1 to ... */
#define MLG_IVSHMEM_IDS_MAX 32u
#define MLG_IVSHMEM_PATH_MAX 107

typedef struct MlgIvshmemServer MlgIvshmemServer;

typedef struct MlgIvshmemServerCallbacks {
        /* Somebody connected who may become a member: true, and it is one with this id from now on. */
        bool (*on_join)(uint32_t id, pid_t pid, void *userdata);
        void (*on_leave)(uint32_t id, void *userdata); /* for good: an ivshmem client does not come back */
        /* Somebody rang the host, and nobody knows who; or it is time (turn_at). */
        void (*on_turn)(uint64_t now_usec, void *userdata);
        /* A client was dropped or turned away; a sentence for people. */
        void (*on_refuse)(pid_t pid, const char *why, void *userdata);
        /* What a next process must have to go on in our place, and (fd -1) what it need not any more. */
        void (*on_keep)(const char *name, int fd, void *userdata);
} MlgIvshmemServerCallbacks;

/* What an earlier process had kept. */
typedef struct MlgIvshmemKept {
        int region, truth;    /* the memory, and what its owner keeps beside it; they are not the server's */
        int listener;
        int clients[MLG_IVSHMEM_IDS_MAX], events[MLG_IVSHMEM_IDS_MAX]; /* by id */
} MlgIvshmemKept;

void mlg_ivshmem_kept_init(MlgIvshmemKept *k); /* nothing */
/* By the name of on_keep; takes it if true. */
bool mlg_ivshmem_kept_add(MlgIvshmemKept *k, const char *name, int fd);
uint64_t mlg_ivshmem_kept_bytes(const MlgIvshmemKept *k); /* of the memory; 0: it is not there */
/* What is there can be gone on with: memory of this size, and all that serves it. Otherwise it is good for
 * nothing, as who is connected has the old memory, and rings the old bells. */
bool mlg_ivshmem_kept_is_complete(const MlgIvshmemKept *k, uint64_t memory_bytes, uint32_t n_ids);
void mlg_ivshmem_kept_close(MlgIvshmemKept *k);

/* Ids are 0 to n_ids - 1: one client less may connect at a time. Listens at `path`, which is replaced if it
 * is there. `owner`: the user whose hypervisors may connect besides root, and whom the socket belongs to;
 * (uid_t) -1: root's only. The memory stays the caller's. `kept` (may be NULL): takes listener, bell and
 * clients; on_join is called for each of these. */
int mlg_ivshmem_server_new(const char *path, uid_t owner, int memory_fd, uint32_t n_ids,
                           MlgIvshmemKept *kept, const MlgIvshmemServerCallbacks *callbacks, void *userdata,
                           MlgIvshmemServer **ret);
/* The socket's file stays if a next process takes it over. */
void mlg_ivshmem_server_leave_to_next(MlgIvshmemServer *s);
MlgIvshmemServer *mlg_ivshmem_server_free(MlgIvshmemServer *s);
const MlgPollable *mlg_ivshmem_server_pollable(const MlgIvshmemServer *s);
const char *mlg_ivshmem_server_path(const MlgIvshmemServer *s);

/* Instead of what was said before: on_turn comes at this time; MLG_USEC_NEVER, as at first: for rings only. */
void mlg_ivshmem_server_turn_at(MlgIvshmemServer *s, uint64_t usec);
void mlg_ivshmem_server_ring(MlgIvshmemServer *s, uint32_t id);
pid_t mlg_ivshmem_server_pid(const MlgIvshmemServer *s, uint32_t id); /* 0: there is no such client */
