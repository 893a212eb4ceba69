/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hostmem: memory and memory pressure of the host, from /proc/meminfo and /proc/pressure/memory.
 *
 * The parsers take text and are fuzzed; the reader keeps its files open and takes the root of proc as a
 * parameter. */
#pragma once

#include <glib.h>

#include "memlego/sample.h"

/* 0; -EBADMSG: MemTotal or MemAvailable is missing or not a number. Other fields are 0 when absent. */
int mlg_hostmem_parse_meminfo(const char *text, size_t len, MlgRawHost *ret);
/* 0; -EBADMSG. A kernel without "full" gives full = some. */
int mlg_hostmem_parse_pressure(const char *text, size_t len, MlgRawHost *ret);

typedef struct MlgHostmem MlgHostmem;

int mlg_hostmem_open(const char *proc_root, MlgHostmem **ret); /* without PSI: have_psi stays false */
int mlg_hostmem_read(MlgHostmem *h, MlgRawHost *ret);
MlgHostmem *mlg_hostmem_free(MlgHostmem *h);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(MlgHostmem, mlg_hostmem_free)
