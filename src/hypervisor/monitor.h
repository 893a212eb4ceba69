/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitor: the host's end of the channels on which memlego-guestd talks (memlego/monitor-proto.h), one for each guest
 * that has one.
 *
 * Guests are hostile. Each has a fixed amount of memory here, is read at most so fast, however much it says, and so much
 * at a time that the others have their turn; what is no protocol of ours closes its channel for a while. Callbacks run
 * only inside dispatch() of the pollable. */
#pragma once

#include <glib.h>

#include "memlego/sample.h"
#include "memlego/status.h"
#include "util/pollable.h"

typedef struct MlgMonitors MlgMonitors;

typedef struct MlgMonitorCallbacks {
        /* All that is known as of the guest's newest message; valid during the call. */
        void (*on_report)(const char *uuid, const MlgRawMonitor *raw, void *userdata);
        /* The link changed, or (why) something is to be said about it: a sentence for people, or NULL. */
        void (*on_link)(const char *uuid, MlgMonitorLink link, const char *why, void *userdata);
} MlgMonitorCallbacks;

int mlg_monitors_new(const MlgMonitorCallbacks *callbacks, void *userdata, MlgMonitors **ret);
MlgMonitors *mlg_monitors_free(MlgMonitors *m);
const MlgPollable *mlg_monitors_pollable(const MlgMonitors *m);

/* The guest's channel is at this socket; "": it has none. One that changes, or a new instance of the guest, is connected
 * anew. */
void mlg_monitors_put(MlgMonitors *m, const char *uuid, uint32_t instance, const char *path);
/* Tells the guest to swap in up to so much. The order's number, which its reports have from the time when it has taken it; 0: it
 * cannot be told. */
uint64_t mlg_monitors_swap_in(MlgMonitors *m, const char *uuid, uint64_t limit_kib, uint64_t now_usec);
/* How often it should report; it is told when that changes. */
void mlg_monitors_want_interval(MlgMonitors *m, const char *uuid, uint64_t interval_usec, uint64_t now_usec);
