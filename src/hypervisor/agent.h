/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Agent: what is said to the QEMU guest agent, and what its answers mean. Pure.
 *
 * It has no command for memory. But it reads files: open, read, close, with a handle of its own counting. Answers come
 * from inside the guest, so they may be anything: each is checked for size and sense before it is looked into. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "memlego/sample.h"

/* vmstat has some 5 KiB, and what stands in it grows by a line with each kernel. */
#define MLG_AGENT_TEXT_MAX (32 * 1024)

/* g_free(). */
char *mlg_agent_open_command(const char *path);
char *mlg_agent_read_command(int64_t handle); /* MLG_AGENT_TEXT_MAX bytes at most */
char *mlg_agent_close_command(int64_t handle);

/* -EBADMSG: that is no answer to such a command; -EMSGSIZE: too long. */
int mlg_agent_take_handle(const char *answer, int64_t *ret);
int mlg_agent_take_text(const char *answer, char **ret); /* g_free(); up to its first NUL */

/* /proc/pressure/memory and /proc/vmstat; NULL: the guest has no such file. */
void mlg_agent_take_facts(const char *pressure, const char *vmstat, uint64_t page_kib, MlgRawMonitor *ret);
