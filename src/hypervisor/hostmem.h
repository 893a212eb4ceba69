/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hostmem: memory and memory pressure of the host, from /proc/meminfo and /proc/pressure/memory, and what KSM
 * saves, from /sys/kernel/mm/ksm.
 *
 * The parsers take text and are fuzzed; the reader keeps its files open and takes the roots of proc and sys as
 * parameters. A reading of all costs some 10 us. */
#pragma once

#include <glib.h>

#include "memlego/sample.h"

/* 0; -EBADMSG: MemTotal or MemAvailable is missing, or something is not a number. Other fields are 0 when absent, and
 * also where they make no sense. */
int mlg_hostmem_parse_meminfo(const char *text, size_t len, MlgRawHost *ret);
/* 0; -EBADMSG. A kernel without "full" gives full = some. */
int mlg_hostmem_parse_pressure(const char *text, size_t len, MlgRawHost *ret);
/* One number in a line of its own; 0 or -EBADMSG. */
int mlg_hostmem_parse_count(const char *text, size_t len, uint64_t *ret);

typedef struct MlgHostmem MlgHostmem;

/* Without PSI or KSM in the kernel, have_psi or have_ksm stays false. */
int mlg_hostmem_open(const char *proc_root, const char *sys_root, MlgHostmem **ret);
int mlg_hostmem_read(MlgHostmem *h, MlgRawHost *ret);
MlgHostmem *mlg_hostmem_free(MlgHostmem *h);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgHostmem, mlg_hostmem_free)
