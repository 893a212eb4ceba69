/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-events: the connection that only listens; what it hears waits in a queue for the adapter.
 *
 * libvirt calls its callbacks on the loop's thread, in the middle of its own work (the close callback on any
 * thread): they only append to the queue and wake the adapter. */
#pragma once

#include <stdint.h>

#include <glib.h>

#include "memlego/sample.h"

typedef struct MlgLibvirtEvents MlgLibvirtEvents;

typedef enum MlgLibvirtEventKind {
        MLG_LIBVIRT_EVENT_CLOSED,    /* the connection is of no use any more; no uuid */
        MLG_LIBVIRT_EVENT_CHANGED,   /* something of the guest changed: read it anew */
        MLG_LIBVIRT_EVENT_BALLOON,   /* value: actual in KiB */
        MLG_LIBVIRT_EVENT_REBOOT,
        MLG_LIBVIRT_EVENT_JOB,       /* a migration or another job that copies its memory goes on */
        MLG_LIBVIRT_EVENT_JOB_ENDED,
        _MLG_LIBVIRT_EVENT_MAX,
} MlgLibvirtEventKind;

typedef struct MlgLibvirtEvent {
        MlgLibvirtEventKind kind;
        char uuid[MLG_UUID_LEN + 1];
        uint64_t value;
} MlgLibvirtEvent;

/* Blocks: for workers. Takes wake_fd, an eventfd that is written to for each event. The connection can be
 * used for other calls too. On failure ret_why is a sentence. */
int mlg_libvirt_events_open(const char *uri, int wake_fd, MlgLibvirtEvents **ret, char **ret_why);
/* Any thread. No event is queued and nobody is woken from here on. */
void mlg_libvirt_events_shut(MlgLibvirtEvents *e);
/* Blocks: for workers. Shuts it first. */
MlgLibvirtEvents *mlg_libvirt_events_close(MlgLibvirtEvents *e);
void *mlg_libvirt_events_connection(MlgLibvirtEvents *e); /* virConnectPtr */

/* Any thread. All that is queued (array of MlgLibvirtEvent), or NULL. */
GArray *mlg_libvirt_events_take(MlgLibvirtEvents *e);
