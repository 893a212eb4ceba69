/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt-calls: the blocking calls, for the threads of workers.c; libvirt's errors become -errno here, at
 * once.
 *
 * Each thread has a connection of its own (libvirtd serves 5 requests of a connection at a time: calls that
 * hang in one would block the others'). It is opened by the first call, and again by the next one when it
 * was lost.
 *
 * r, for all: 0; -ENOTCONN no connection; -ENODEV no such guest, or it is off; -EOPNOTSUPP; -ETIMEDOUT
 * libvirt waited too long for another call on this guest; -ERANGE; -EACCES; -EIO. On failure *ret_why, NULL
 * before, is a sentence. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "memlego/hypervisor.h"

/* libvirtd takes the size of a balloon, and of a virtio-mem device, from QEMU's events, of which there is one per
 * second at most. */
#define MLG_LIBVIRT_EVENT_USEC UINT64_C(1000000)

typedef struct MlgLibvirtContext MlgLibvirtContext;

/* One guest of a poll. */
typedef struct MlgLibvirtRecord {
        char uuid[MLG_UUID_LEN + 1];
        uint32_t instance;
        bool answered;  /* QEMU did; else only what libvirtd knows by itself is in raw */
        bool migrating; /* on its way in, or in the post-copy phase */
        MlgRawStats raw;
} MlgLibvirtRecord;

void mlg_libvirt_calls_init(void); /* once, before threads use libvirt */

void mlg_libvirt_keep_alive(void *connection);

MlgLibvirtContext *mlg_libvirt_context_new(const char *uri);
void mlg_libvirt_context_free(MlgLibvirtContext *c);

/* Array of MlgGuestInfo, on a given connection (virConnectPtr). */
int mlg_libvirt_list(void *connection, GArray **ret, char **ret_why);
/* Array of MlgLibvirtRecord: all active guests. */
int mlg_libvirt_poll(MlgLibvirtContext *c, GArray **ret, char **ret_why);
/* One running guest, asked anew: its actual size is that of now, while the bulk read's is as old as the last
 * balloon event (QEMU sends at most one per second). */
int mlg_libvirt_look(MlgLibvirtContext *c, const char *uuid, MlgRawStats *ret, char **ret_why);
int mlg_libvirt_read(MlgLibvirtContext *c, const char *uuid, MlgGuestInfo *ret, char **ret_why);
int mlg_libvirt_set_target(MlgLibvirtContext *c, const char *uuid, uint64_t kib, char **ret_why);
/* The same by its virtio-mem devices. */
int mlg_libvirt_set_plugged(MlgLibvirtContext *c, const char *uuid, uint64_t kib, char **ret_why);
int mlg_libvirt_set_stats_period(MlgLibvirtContext *c, const char *uuid, uint32_t sec, char **ret_why);
/* Any device, by its XML. */
int mlg_libvirt_attach(MlgLibvirtContext *c, const char *uuid, const char *xml, char **ret_why);
int mlg_libvirt_detach(MlgLibvirtContext *c, const char *uuid, const char *xml, char **ret_why);
/* One command for the QEMU guest agent; *ret is its answer, which comes from the guest. -ENOENT: the agent says no. */
int mlg_libvirt_ask_agent(MlgLibvirtContext *c, const char *uuid, const char *command, int timeout_sec, char **ret,
                          char **ret_why);
/* Is a job under way that copies the guest's memory? */
int mlg_libvirt_has_job(MlgLibvirtContext *c, const char *uuid, bool *ret, char **ret_why);
