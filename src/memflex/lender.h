/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lender: one guest, the pool that it is lent host memory from, and the socket at which its hypervisor finds
 * it.
 *
 * What is lent is promised: the lender never lends beyond the guest's quota, its target, or what the host
 * has free for it (on_lend). Target below what is lent: the rest is called back, and the guest has a time
 * for it. Nothing is ever taken from it by force, as its pages are in there; one that is late is lent
 * nothing for a while. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <glib.h>

#include "ivshmem/server.h"
#include "memlego/swap.h"
#include "util/pollable.h"

typedef struct MlgFlexLender MlgFlexLender;

typedef struct MlgFlexCallbacks {
        /* Somebody connected: true if it is this guest's hypervisor. */
        bool (*on_join)(pid_t pid, void *userdata);
        void (*on_leave)(void *userdata); /* for good; all that was lent is the host's again */
        /* About to lend, up to so much altogether, tables included; returns up to where it may. */
        uint64_t (*on_lend)(uint64_t to_bytes, void *userdata);
        /* What the pool takes in fact: lent and its tables, or backed if that is more. After each turn. */
        void (*on_charge)(uint64_t bytes, void *userdata);
        /* A sentence for people. */
        void (*on_complaint)(pid_t pid, const char *what, void *userdata);
        void (*on_keep)(const char *name, int fd, void *userdata); /* see ivshmem/server.h */
} MlgFlexCallbacks;

typedef struct MlgFlexOptions {
        const char *path;    /* of the socket */
        uid_t owner;         /* see ivshmem/server.h */
        uint64_t pool_bytes; /* see memflex/pool.h */
        uint64_t quota_bytes,
                callback_usec; /* of a pool that is gone on with those of before hold until set_terms() */
        /* NULL: nothing. Emptied; of another size than pool_bytes, or not complete: closed. */
        MlgIvshmemKept *kept;
} MlgFlexOptions;

/* Nothing is lent before a target is set. */
int mlg_flex_lender_new(const MlgFlexOptions *options, const MlgFlexCallbacks *callbacks, void *userdata,
                        MlgFlexLender **ret);
/* A next process goes on with what was kept. */
void mlg_flex_lender_leave_to_next(MlgFlexLender *l);
MlgFlexLender *mlg_flex_lender_free(MlgFlexLender *l);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgFlexLender, mlg_flex_lender_free)
const MlgPollable *mlg_flex_lender_pollable(const MlgFlexLender *l);
const char *mlg_flex_lender_path(const MlgFlexLender *l);

/* Somebody says that the guest was reset: unless its module shows that it lives, all that it had is free soon. */
void mlg_flex_lender_guest_reset(MlgFlexLender *l);

void mlg_flex_lender_set_terms(MlgFlexLender *l, uint64_t quota_bytes, uint64_t callback_usec);
/* It may have so much from now on, within its quota. */
void mlg_flex_lender_set_target(MlgFlexLender *l, uint64_t bytes);

bool mlg_flex_lender_is_connected(const MlgFlexLender *l);
uint64_t mlg_flex_lender_lent_bytes(const MlgFlexLender *l);
uint64_t mlg_flex_lender_wanted_bytes(const MlgFlexLender *l); /* by its word; 0: no module, or it is late */
uint64_t mlg_flex_lender_backed_bytes(const MlgFlexLender *l);
uint64_t mlg_flex_lender_tables_bytes(const MlgFlexLender *l); /* that come on top of what is lent */
/* All but what only the service knows: names, what is configured and charged. */
void mlg_flex_lender_status(const MlgFlexLender *l, MlgSwapStatus *ret);
