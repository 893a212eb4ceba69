/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Notify: what the service manager is told (sd_notify), and the watchdog.
 *
 * The watchdog is fed from the loop only while balancing makes progress (the caller says so), so that a
 * daemon that is alive but no longer balances is restarted. Without a service manager all of it does
 * nothing. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

void mlg_notify_ready(const char *status);
void mlg_notify_status(const char *status);
void mlg_notify_reloading(void);
void mlg_notify_stopping(void);
/* 0: no watchdog is wanted */
uint64_t mlg_notify_watchdog_interval_usec(void);
void mlg_notify_watchdog(void);

/* Descriptors that the next process of this service gets (FileDescriptorStoreMax= has to allow it). fd -1: not any more.
 * Names are of printable ASCII without ':'. */
void mlg_notify_keep(const char *name, int fd);
/* There is a service manager that would keep them. */
bool mlg_notify_keeps(void);
/* All that was kept, once; each is the callback's to close. */
typedef void (*MlgKeptFn)(const char *name, int fd, void *userdata);
void mlg_notify_take_kept(MlgKeptFn fn, void *userdata);
