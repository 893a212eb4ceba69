/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Device: what pipes and swap have in common, the service's end of an ivshmem device: who connects to its
 * socket, how it gets into a guest and out of it, and what the service manager keeps of it.
 *
 * A QEMU connects once. So that a memlegod that is started anew can go on in our place, the service manager
 * keeps a copy of each descriptor, by the name KIND/NAME/WHAT. */
#pragma once

#include "ivshmem/server.h"
#include "memlego/shmem.h"
#include "service/daemon-private.h"

/* What was done is seen in the guest's definition by then. */
#define MLG_DEVICE_DONE_USEC MLG_USEC_PER_SEC
/* A guest that cannot have a device now may be able to later; it is work for QEMU, and a line in its log. */
#define MLG_DEVICE_AGAIN_USEC (300 * MLG_USEC_PER_SEC)
/* One whose QEMU, or libvirt, did not answer just now (it is being started, say): that says nothing about it. */
#define MLG_DEVICE_BUSY_USEC (2 * MLG_USEC_PER_SEC)
/* From the definition that names a device to its QEMU's connection, and back. */
#define MLG_DEVICE_DEAD_USEC (5 * MLG_USEC_PER_SEC)

/* Where sockets are; made if it is not there. */
const char *mlg_device_dir(const MlgDaemon *d);
/* The user that hypervisors run as, where libvirt is; (uid_t) -1: there is none. */
uid_t mlg_device_owner(void);
/* The guest whose QEMU this is, by libvirt's own record. NULL: there is none; g_free(). */
char *mlg_device_guest_of(const MlgDaemon *d, pid_t pid);
MlgVm *mlg_device_vm(const MlgDaemon *d, const char *name);

/* ---- plugging ---- */

typedef struct MlgDeviceRequest {
        MlgDaemon *daemon;
        MlgShmemKind kind;
        bool attach;
        char uuid[MLG_UUID_LEN + 1];
        char path[MLG_MONITOR_PATH_MAX + 1];
        /* `vm` is NULL if the guest is gone; `r` is 0 or -errno, and `why` may say more. */
        void (*fn)(const struct MlgDeviceRequest *q, MlgVm *vm, int r, const char *why);
} MlgDeviceRequest;

/* A kernel that boots is left alone: Linux 6.1 makes the files of a device that is plugged in while it looks at its buses
 * twice, and dies when that device goes. It has booted when a driver reports; where none does, after a time. */
#define MLG_DEVICE_BOOT_USEC (60 * MLG_USEC_PER_SEC)
bool mlg_device_has_booted(const MlgVm *vm, uint64_t now_usec);
/* One at a time of a guest (vm->asking_device). False: this hypervisor cannot; fn is not called. */
bool mlg_device_ask(MlgDaemon *d, MlgVm *vm, const MlgDeviceRequest *request);
/* Into the log, what became of it; `advice` is added where it could not be. */
void mlg_device_tell(const MlgDeviceRequest *q, const MlgVm *vm, int r, const char *why, const char *advice);

/* ---- what the service manager keeps ---- */

/* All that there is of an earlier memlegod, by name: once, at the start. g_hash_table_unref() closes what
 * nobody took. */
GHashTable *mlg_device_take_all_kept(void);
/* What was kept of one. */
void mlg_device_take_kept(GHashTable *kept, const char *kind, const char *name, MlgIvshmemKept *ret);
void mlg_device_keep(const char *kind, const char *name, const char *what, int fd); /* fd -1: not any more */
void mlg_device_forget(const char *kind, const char *name, uint32_t n_ids);         /* nobody is connected */
/* Nobody wants the rest. */
void mlg_device_forget_rest(GHashTable *kept);
