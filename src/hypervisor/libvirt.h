/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Libvirt: the hypervisor adapter for libvirt's QEMU driver (and, in tests, its test driver). See
 * memlego/hypervisor.h. */
#pragma once

#include "hypervisor/cgroup.h"
#include "memlego/hypervisor.h"
#include "util/pollable.h"

typedef struct MlgLibvirtOptions {
        const char *uri;
        uint32_t workers;           /* threads for calls, 1..16 */
        uint64_t call_timeout_usec; /* deadline of calls that have none of their own */
        const MlgCgroupRoots *cgroup_roots; /* outlives the adapter; NULL: the usual ones, for qemu:///system alone */
} MlgLibvirtOptions;

/* libvirt's event implementation must be registered before. Callbacks are used from start() on. */
int mlg_libvirt_new(const MlgLibvirtOptions *options, const MlgHypervisorCallbacks *callbacks, void *userdata,
                    MlgHypervisor **ret);
const MlgPollable *mlg_libvirt_pollable(MlgHypervisor *h);
