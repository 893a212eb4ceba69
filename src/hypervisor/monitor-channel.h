/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitor channel: one guest's channel. See monitor.h.
 *
 * States (MlgMonitorLink) and what happens when the channel is due:
 *   WAITING  without a connection: connect; with one: say HELLO again, if QEMU took the one before
 *   TALKS    nothing was heard for several intervals: back to WAITING, with a new session
 *   REFUSED  closed; connect again
 * and in each of them, when it had said too much: read on.
 *
 * Invariant: a frame of ours is written whole or not at all, and none is kept. */
#pragma once

#include "hypervisor/monitor.h"
#include "memlego/hypervisor.h"
#include "memlego/monitor-proto.h"

typedef struct MlgChannel {
        char uuid[MLG_UUID_LEN + 1];
        char path[MLG_MONITOR_PATH_MAX + 1];
        uint32_t instance;
        int epoll;              /* of all channels, not owned */
        const MlgMonitorCallbacks *callbacks;
        void *userdata;
        bool dead;              /* taken out of the table while it may be in use */

        MlgMonitorLink link;
        int fd;                 /* -1: no connection */
        bool watched;           /* fd is in epoll: not while it must be quiet */
        uint64_t due_usec;
        uint64_t quiet_until_usec; /* read on then; MLG_USEC_NEVER: it may talk */
        uint64_t wait_usec;     /* before the next try, growing */
        unsigned int refusals;
        uint64_t talks_usec;    /* since when it talks */

        MlgMonitorStream in;
        uint32_t session, sequence, heard; /* sequence: ours; heard: the greatest of the guest's */
        uint64_t heard_usec;
        uint32_t known;         /* MLG_FIELD_BITs that were told in this session */
        MlgRawMonitor raw;
        uint64_t interval_usec, interval_told_usec;
        uint64_t order_number, order_kib; /* the last swap-in that was ordered in this session; 0: none */
        int64_t allowance;      /* bytes that it may still say now; negative: too many were read */
        uint64_t allowed_usec;  /* when that was reckoned */
        unsigned int quiets;    /* in a row */
} MlgChannel;

MlgChannel *mlg_channel_new(const char *uuid, uint32_t instance, const char *path, int epoll,
                            const MlgMonitorCallbacks *callbacks, void *userdata);
MlgChannel *mlg_channel_free(MlgChannel *c);
void mlg_channel_readable(MlgChannel *c, uint64_t now_usec); /* epoll says so */
void mlg_channel_due(MlgChannel *c, uint64_t now_usec);      /* due_usec has come */
uint64_t mlg_channel_next_usec(const MlgChannel *c);         /* when mlg_channel_due() should be called */
void mlg_channel_want_interval(MlgChannel *c, uint64_t interval_usec, uint64_t now_usec);
uint64_t mlg_channel_swap_in(MlgChannel *c, uint64_t limit_kib, uint64_t now_usec); /* see mlg_monitors_swap_in() */
