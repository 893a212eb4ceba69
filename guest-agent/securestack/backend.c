// SPDX-License-Identifier: LGPL-2.1-or-later
/* Which back-end a process uses, and what becomes of it in a child.
 *
 * Invariant: without the module there is none, until somebody says SS_PORTABLE. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "internal.h"

enum ss_backend ss_used = SS_NONE;
int ss_fd_ = -1;
unsigned ss_cpu_; /* for scrub.S and slowly.S: 1 AVX, 2 AVX-512, 4 XSAVE */

static int why = 1; /* there is none: -errno, or 1 before anybody asked */
static bool handlers;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int snapshot_fd __attribute__((tls_model("initial-exec"))) = -1;

__attribute__((constructor)) static void look_at_cpu(void) {
        __builtin_cpu_init();
        ss_cpu_ = (__builtin_cpu_supports("avx") ? 1 : 0) | (__builtin_cpu_supports("avx512f") ? 2 : 0);
        if (ss_cpu_) /* the kernel has enabled XSAVE, else it would not say so */
                ss_cpu_ |= 4;
}

static int module_open(void) {
        struct mlg_ss_about about = { 0 };
        int fd = open(MLG_SS_DEVICE, O_RDWR | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT || errno == ENXIO ? -ENODEV : -errno;
        if (ioctl(fd, MLG_SS_IOC_ABOUT, &about) == 0 && about.magic == MLG_SS_MAGIC &&
            about.version >= MLG_SS_VERSION)
                return fd;
        close(fd);
        return -ENODEV;
}

/* A child has a vault of its own, and the entries of the thread that forked where that allowed it. */
static void before_fork(void) {
        struct ss_thread *t = ss_thread_peek();
        bool wanted = false;

        for (struct ss_record *record = t ? t->top : NULL; record; record = record->below)
                wanted = wanted || record->fork;
        if (ss_used != SS_KERNEL || !wanted)
                return;
        snapshot_fd = module_open();
        if (snapshot_fd >= 0 && ioctl(snapshot_fd, MLG_SS_IOC_SNAPSHOT, ss_fd_) != 0) {
                close(snapshot_fd);
                snapshot_fd = -1;
        }
}

static void after_fork_parent(void) {
        if (snapshot_fd >= 0)
                close(snapshot_fd);
        snapshot_fd = -1;
}

static void after_fork_child(void) {
        if (ss_used != SS_KERNEL)
                return;
        if (snapshot_fd >= 0 && ioctl(snapshot_fd, MLG_SS_IOC_ADOPT, 0) != 0) {
                close(snapshot_fd);
                snapshot_fd = -1;
        }
        close(ss_fd_);
        ss_fd_ = snapshot_fd >= 0 ? snapshot_fd : module_open();
        snapshot_fd = -1;
        if (ss_fd_ >= 0)
                return;
        why = ss_fd_;
        ss_fd_ = -1;
        ss_used = SS_NONE;
}

/* 0 or -errno, under the lock. */
static int choose(unsigned flags) {
        int fd;

        if (!handlers) {
                int r = pthread_atfork(before_fork, after_fork_parent, after_fork_child);

                if (r != 0)
                        return -r;
                handlers = true;
        }
        fd = module_open();
        if (fd >= 0) {
                ss_fd_ = fd;
                ss_used = SS_KERNEL;
                return 0;
        }
        if (!(flags & SS_PORTABLE))
                return fd;
        ss_key = ss_key_new();
        ss_used = ss_key >= 0 ? SS_KEYS : SS_COPIES;
        return 0;
}

int ss_init(unsigned flags) {
        int r;

        if (flags & ~SS_PORTABLE)
                return -EINVAL;
        (void) pthread_mutex_lock(&lock);
        if (ss_used == SS_NONE && (why > 0 || flags & SS_PORTABLE))
                why = choose(flags);
        r = ss_used != SS_NONE ? 0 : why;
        (void) pthread_mutex_unlock(&lock);
        return r;
}

static void *init_plain(void *unused) {
        (void) ss_init(0);
        return NULL;
}

int ss_ready(void) {
        if (ss_used != SS_NONE)
                return 0;
        if (why > 0)
                (void) ss_slowly(init_plain, NULL);
        return ss_used != SS_NONE ? 0 : why;
}

enum ss_backend ss_backend(void) {
        return ss_used;
}

void ss_die(const char *what, const char *reason) {
        static const char *const between[] = { "securestack: ", NULL, ": ", NULL,
                                               ". The process is ended.\n" };

        for (size_t i = 0; i < sizeof between / sizeof *between; i++) {
                const char *text = i == 1 ? what : i == 3 ? reason : between[i];
                ssize_t ignored = write(STDERR_FILENO, text, strlen(text));

                (void) ignored;
        }
        abort();
}
