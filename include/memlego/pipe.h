/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pipe: groups of guests that share memory (MemPipe), as plain values. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/mempipe-abi.h"
#include "memlego/sample.h"
#include "memlego/shmem.h"

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
        /* Of its connections, since its module was started: MLG_PIPE_OK got a pipe, the others stayed with TCP,
         * or went back. */
        uint64_t outcomes[MLG_PIPE_REASONS];
} MlgPipeMember;

/* Where members share memory two by two (Isolation=pair): eight of each of 31 guests at most. */
#define MLG_PIPE_PAIRS_MAX 124

typedef enum MlgPipePairState {
        MLG_PIPE_PAIR_COMING,  /* they get the device */
        MLG_PIPE_PAIR_SERVING,
        MLG_PIPE_PAIR_GOING,   /* it is taken away */
        _MLG_PIPE_PAIR_STATE_MAX,
} MlgPipePairState;

typedef struct MlgPipePair {
        uint8_t members[2];    /* places in MlgPipeStatus.members */
        MlgPipePairState state;
        uint64_t granted_kib, backed_kib;
        uint64_t idle_usec; /* since one of them had a connection, or sent */
} MlgPipePair;

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
        /* Isolation=pair: what is above is of all pairs together, without a path, ids, epochs or targets that
         * mean something. */
        bool isolated;
        uint64_t n_refused_pairs;    /* times that two could not be brought together, for want of a place */
        uint32_t n_pairs;
        MlgPipePair pairs[MLG_PIPE_PAIRS_MAX];
} MlgPipeStatus;

/* Of what the host has in memory for it, what its members use by their own words. */
uint32_t mlg_pipe_utilisation_permille(const MlgPipeStatus *s);
const char *mlg_pipe_state_to_string(MlgPipeState s); /* "talks", ... */
const char *mlg_pipe_reason_to_string(enum mlg_pipe_reason r); /* "no-peer", ... */
const char *mlg_pipe_pair_state_to_string(MlgPipePairState s); /* "serving", ... */
