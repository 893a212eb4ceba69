/* SPDX-License-Identifier: GPL-2.0-or-later */
/* File: see file.h. */
#include "service/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "util/util.h"

int mlg_dir_open(int at_fd, const char *dir, int *ret_fd) {
        int fd;

        if (mkdirat(at_fd, dir, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(at_fd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

int mlg_file_read(int dir_fd, const char *name, size_t max, char **ret, size_t *ret_len) {
        _mlg_cleanup_fd_ int fd = -1;
        g_autofree char *buffer = NULL;
        struct stat st;
        size_t len = 0;
        ssize_t n;

        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        if ((uint64_t) st.st_size > max)
                return -EFBIG;
        buffer = g_malloc((size_t) st.st_size + 1);
        while (len < (size_t) st.st_size && (n = read(fd, buffer + len, (size_t) st.st_size - len)) != 0) {
                if (n < 0 && errno != EINTR)
                        return -errno;
                len += n > 0 ? (size_t) n : 0;
        }
        *ret = g_steal_pointer(&buffer);
        *ret_len = len;
        return 0;
}

static int write_all(int fd, const char *content, size_t len) {
        while (len > 0) {
                ssize_t n = write(fd, content, len);

                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n > 0) {
                        content += n;
                        len -= (size_t) n;
                }
        }
        return 0;
}

/* Not forced to the disk: it is written on the thread of the loop, and what is lost in a power failure is of no use after
 * it, or is learned again. A file that the disk has only part of is found by who reads it. */
int mlg_file_replace(int dir_fd, const char *name, const char *new_name, const void *content, size_t len) {
        _mlg_cleanup_fd_ int fd = -1;
        int r;

        (void) unlinkat(dir_fd, new_name, 0); /* of a crash */
        fd = openat(dir_fd, new_name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_all(fd, content, len);
        if (r == 0 && renameat(dir_fd, new_name, dir_fd, name) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, new_name, 0);
        return r;
}
