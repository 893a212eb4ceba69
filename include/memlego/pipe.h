/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pipe: groups of guests that share memory (MemPipe), as plain values, and the device by which they do. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/sample.h"

/* libvirt's name of the device in a guest's definition; what has it is ours. */
#define MLG_PIPE_DEVICE "memlego-pipe"
/* With the path of the group's socket, escaped for XML. One interrupt vector, as the contract has it. */
#define MLG_PIPE_XML \
        "<shmem name='" MLG_PIPE_DEVICE "'><model type='ivshmem-doorbell'/><server path='%s'/>" \
        "<msi vectors='1' ioeventfd='on'/></shmem>"

#define MLG_PIPE_MEMBERS_MAX 31

typedef enum MlgPipeState {
        MLG_PIPE_STATE_SILENT,  /* it has the device; no module of ours there, or not yet */
        MLG_PIPE_STATE_TALKS,
        MLG_PIPE_STATE_LEAVING, /* its connections go back to the network; then the device is unplugged */
        MLG_PIPE_STATE_BROKEN,  /* its module broke the protocol: it gets nothing until it starts anew */
        _MLG_PIPE_STATE_MAX,
} MlgPipeState;

typedef struct MlgPipeMember {
        char name[MLG_NAME_MAX + 1]; /* of the guest */
        uint32_t id, epoch;
        int32_t pid;                 /* of its QEMU */
        MlgPipeState state;
        uint64_t granted_kib, target_kib;
        /* By its own words, which are limited to what is possible and not otherwise checked: */
        uint64_t demand_kib, held_kib, used_kib, sent_bytes, blocked_usec;
        uint32_t n_pipes;
} MlgPipeMember;

typedef struct MlgPipeStatus {
        char name[32];
        char path[108];              /* of the socket */
        uint64_t region_kib, quota_kib;
        uint64_t granted_kib;        /* to members */
        uint64_t backed_kib;         /* in the host's memory */
        uint64_t charged_kib;        /* in the ledger */
        uint64_t epoch;
        bool attach;                 /* running guests get the device */
        bool going;                  /* not configured any more: it ends with its last member */
        uint32_t n_members;
        MlgPipeMember members[MLG_PIPE_MEMBERS_MAX];
} MlgPipeStatus;

const char *mlg_pipe_state_to_string(MlgPipeState s); /* "talks", ... */
