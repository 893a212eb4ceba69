/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Port: the guest's end of the channel, and the trigger of the kernel's pressure stall information. Nothing here ever
 * waits. */
#pragma once

#include "memlego/monitor-proto.h"

#define PORT_PATH "/dev/virtio-ports/" MLG_MONITOR_PORT

/* A descriptor, or -errno. Without udev there is no link with the port's name: it is then looked up in /sys. */
int port_open(const char *path);
/* Somebody on the host has the other end. */
bool port_is_connected(int fd);
/* 0; -EAGAIN: there is no room, because nobody reads; other -errno: the port is gone. */
int port_write(int fd, const MlgMonitorFrame *f);

/* A descriptor that gets POLLPRI, and the window that the kernel granted; or -errno. Short windows need CAP_SYS_RESOURCE;
 * without it the window is stretched, and the stall with it. */
int trigger_open(const char *path, uint64_t stall_usec, uint64_t window_usec, uint64_t *ret_window_usec);
