/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Port: see port.h. */
#include "port.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CLASS "/sys/class/virtio-ports"

static int open_port(const char *path) {
        int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

        return fd < 0 ? -errno : fd;
}

static bool has_name(const char *entry, const char *name) {
        char path[300], text[128] = "";
        ssize_t n;
        int fd;

        (void) snprintf(path, sizeof(path), CLASS "/%.200s/name", entry);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read(fd, text, sizeof(text) - 1);
        (void) close(fd);
        text[n > 0 ? n : 0] = '\0';
        text[strcspn(text, "\n")] = '\0';
        return strcmp(text, name) == 0;
}

static int open_by_name(const char *name) {
        DIR *dir = opendir(CLASS);
        struct dirent *e;
        char path[300] = "";

        while (dir && !path[0] && (e = readdir(dir)))
                if (e->d_name[0] != '.' && has_name(e->d_name, name))
                        (void) snprintf(path, sizeof(path), "/dev/%.200s", e->d_name);
        if (dir)
                (void) closedir(dir);
        return path[0] ? open_port(path) : -ENOENT;
}

int port_open(const char *path) {
        int fd = open_port(path);

        return fd == -ENOENT && strcmp(path, PORT_PATH) == 0 ? open_by_name(MLG_MONITOR_PORT) : fd;
}

bool port_is_connected(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLOUT };

        return poll(&p, 1, 0) >= 0 && !(p.revents & (POLLHUP | POLLERR | POLLNVAL));
}

int port_write(int fd, const MlgMonitorFrame *f) {
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        size_t size = mlg_monitor_pack(f, bytes);
        ssize_t n = write(fd, bytes, size);

        if (n < 0)
                return -errno;
        return (size_t) n == size ? 0 : -EPIPE; /* the driver takes all or nothing */
}

static int trigger_try(const char *path, uint64_t stall_usec, uint64_t window_usec) {
        char text[64];
        int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC), r, n;

        if (fd < 0)
                return -errno;
        n = snprintf(text, sizeof(text), "some %" PRIu64 " %" PRIu64, stall_usec, window_usec);
        if (write(fd, text, (size_t) n + 1) >= 0)
                return fd;
        r = -errno;
        (void) close(fd);
        return r;
}

int trigger_open(const char *path, uint64_t stall_usec, uint64_t window_usec, uint64_t *ret_window_usec) {
        uint64_t whole = (window_usec + MLG_MONITOR_WINDOW_ANYBODY_USEC - 1) / MLG_MONITOR_WINDOW_ANYBODY_USEC *
                         MLG_MONITOR_WINDOW_ANYBODY_USEC;
        int fd = trigger_try(path, stall_usec, window_usec);

        *ret_window_usec = window_usec;
        if (fd == -EINVAL || fd == -EPERM) {
                *ret_window_usec = whole;
                fd = trigger_try(path, stall_usec * whole / window_usec, whole);
        }
        if (fd < 0)
                *ret_window_usec = 0;
        return fd;
}
