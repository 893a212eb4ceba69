/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File: small files of ours in a directory of ours, read and replaced as a whole.
 *
 * Invariants: a crash at any instant leaves the old file or the new one; nothing but a regular file is read, whatever
 * somebody put in its place. */
#pragma once

#include <stddef.h>

/* Makes the directory (0700) where there is none. `at_fd`: AT_FDCWD, or a directory that `dir` is in. 0 or -errno. */
int mlg_dir_open(int at_fd, const char *dir, int *ret_fd);

/* *ret: g_free(); 0, -ENOENT, -EFBIG (more than `max` bytes), other -errno. */
int mlg_file_read(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len);

/* Writes `new_name`, then renames it; mode 0600. 0 or -errno: the old one is still there then. */
int mlg_file_replace(int dir_fd, const char *name, const char *new_name, const void *content, size_t len);
