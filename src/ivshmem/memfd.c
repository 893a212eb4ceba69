/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memfd: see memfd.h. */
#include "ivshmem/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/util.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

int mlg_memfd_new(const char *name, uint64_t bytes, int *ret) {
        _mlg_cleanup_fd_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0 || ftruncate(fd, (off_t) bytes) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        *ret = fd;
        fd = -1;
        return 0;
}

bool mlg_memfd_is_sealed(int fd) {
        return fcntl(fd, F_GET_SEALS) == SEALS;
}

static int allocate(int fd, int mode, uint64_t at, uint64_t bytes) {
        int r;

        do
                r = fallocate(fd, mode, (off_t) at, (off_t) bytes);
        while (r < 0 && errno == EINTR);
        return r < 0 ? -errno : 0;
}

int mlg_memfd_back(int fd, uint64_t at, uint64_t bytes) {
        return allocate(fd, FALLOC_FL_KEEP_SIZE, at, bytes);
}

int mlg_memfd_punch(int fd, uint64_t at, uint64_t bytes) {
        return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, bytes);
}

uint64_t mlg_memfd_backed_bytes(int fd) {
        struct stat st;

        return fstat(fd, &st) < 0 ? 0 : (uint64_t) st.st_blocks * 512;
}
