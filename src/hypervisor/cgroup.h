/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cgroup: the memory cgroup (v2) of a guest's QEMU: found, read, and asked to be reclaimed.
 *
 * All of it blocks, a reclaim for as long as swapping out takes: for threads only. Nothing is kept between
 * calls, and nothing is set: memory.reclaim takes once and leaves no limit behind, whatever becomes of
 * us. */
#pragma once

#include <glib.h>

#include "memlego/sample.h"

/* Where things are; NULL: where they usually are. */
typedef struct MlgCgroupRoots {
        const char *proc;   /* /proc */
        const char *cgroup; /* /sys/fs/cgroup */
        const char *pids;   /* /run/libvirt/qemu: NAME.pid */
} MlgCgroupRoots;

/* All return 0 or -errno with words for people in *ret_why (g_free()):
 * -ENOENT, -EOPNOTSUPP, -EXDEV it has no cgroup of its own that can be used; -EACCES, -EPERM, -EROFS we may
 * not; -ENODEV it is gone; -EBADMSG what was read makes no sense; others are the kernel's. */

/* The directory of the cgroup that is this guest's alone, and may be reclaimed by us. */
int mlg_cgroup_open(const MlgCgroupRoots *roots, const char *name, const char *uuid, int *ret_fd,
                    char **ret_why);
int mlg_cgroup_read(int dir_fd, MlgRawCgroup *ret, char **ret_why);
/* -EAGAIN: less than that was found to reclaim. */
int mlg_cgroup_reclaim(int dir_fd, uint64_t kib, char **ret_why);

/* The text of /proc/PID/cgroup, of `len` bytes and a 0 -> the path in version 2. -ENOENT: in none of that. */
int mlg_cgroup_parse_path(const char *text, size_t len, char **ret);
