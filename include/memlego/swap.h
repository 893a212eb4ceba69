/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Swap: memory of the host that guests are lent to swap into (MemFlex), as plain values. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/sample.h"

typedef enum MlgSwapState {
        MLG_SWAP_STATE_WAITING, /* for the guest's device: it is not there, or nobody is behind it yet */
        MLG_SWAP_STATE_SILENT,  /* it has the device; no module of ours there, or not yet */
        MLG_SWAP_STATE_TALKS,
        MLG_SWAP_STATE_LATE, /* it did not give back in time what was called back: it is lent nothing for a while */
        _MLG_SWAP_STATE_MAX,
} MlgSwapState;

typedef struct MlgSwapStatus {
        char name[MLG_NAME_MAX + 1]; /* of the guest */
        char uuid[MLG_UUID_LEN + 1];
        char section[32]; /* [Swap NAME] that it is of; "": of none any more */
        char path[108];   /* of the socket */
        int32_t pid;      /* of its QEMU; 0: it is not connected */
        MlgSwapState state;
        bool attach; /* the running guest gets the device */
        bool going;  /* it ends when the guest has given back everything */
        uint32_t epoch, shares;
        uint64_t pool_kib, quota_kib;
        uint64_t target_kib; /* it may have so much now */
        uint64_t lent_kib;
        uint64_t backed_kib;             /* in the host's memory */
        uint64_t charged_kib;            /* in the ledger */
        uint64_t called_back, met, late; /* times, in all */
        uint64_t callback_usec;          /* that the last one took */
        /* By its own words, which are not otherwise checked: */
        uint64_t wanted_kib, held_kib, device_kib, disk_kib;
        uint64_t used_kib, same_kib, on_disk_kib;
        uint64_t pool_reads, disk_reads, pool_writes, disk_writes, written_back, errors;
        /* It was told to swap in so often, the last time up to so much; and what it says of that. */
        uint64_t swap_ins, swap_in_kib, swap_in_done_kib;
        MlgSwapInState swap_in;
} MlgSwapStatus;

/* Of the pages that were read, those that came from the host's memory. */
uint32_t mlg_swap_hits_permille(const MlgSwapStatus *s);
const char *mlg_swap_state_to_string(MlgSwapState s); /* "talks", ... */
const char *mlg_swap_in_state_to_string(MlgSwapInState s); /* "running", ... */
