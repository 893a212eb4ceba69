/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memfd: memory of the host that guests are shown. It is sparse, and sealed against shrinking and growing:
 * who touches what was cut off would die of SIGBUS. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* All: 0 or -errno. */
int mlg_memfd_new(const char *name, uint64_t bytes, int *ret);
/* It is one of ours, as far as can be seen. */
bool mlg_memfd_is_sealed(int fd);
/* So much of it is in memory, whoever put it there. -EINTR is not returned; -ENOSPC, -ENOMEM: what was not
 * there before is not there now. */
int mlg_memfd_back(int fd, uint64_t at, uint64_t bytes);
/* It is the host's again, and reads as zeroes. */
int mlg_memfd_punch(int fd, uint64_t at, uint64_t bytes);
uint64_t mlg_memfd_backed_bytes(int fd);
