/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shmem: the devices by which guests reach memory of ours; libvirt's names of them. What has one of these
 * names in a guest's definition is ours. */
#pragma once

typedef enum MlgShmemKind {
        MLG_SHMEM_PIPE, /* memory that they share (memlego/pipe.h) */
        MLG_SHMEM_SWAP, /* memory that they are lent (memlego/swap.h) */
        _MLG_SHMEM_MAX,
} MlgShmemKind;

#define MLG_PIPE_DEVICE "memlego-pipe"
#define MLG_SWAP_DEVICE "memlego-swap"

/* With the path of the socket, escaped for XML. One interrupt vector, as the contracts have it. */
#define MLG_SHMEM_XML(device) \
        "<shmem name='" device "'><model type='ivshmem-doorbell'/><server path='%s'/>" \
        "<msi vectors='1' ioeventfd='on'/></shmem>"
#define MLG_PIPE_XML MLG_SHMEM_XML(MLG_PIPE_DEVICE)
#define MLG_SWAP_XML MLG_SHMEM_XML(MLG_SWAP_DEVICE)
