// SPDX-License-Identifier: GPL-2.0-or-later
/* securestack-cost BYTES...: what a call costs while so many bytes of its caller are hidden, one line for
 * each way and size:
 *
 *     METHOD BYTES NANOSECONDS
 *
 *     plain         not hidden
 *     securestack   by ss_call() and the module, the bytes being named; -frame: as part of the whole frame;
 *                   -depth: within a thousand such calls; -threads: beside THREADS that are in one
 *     keys, copies  the same by the library's back-ends without the module
 *     ioctl         the module's two ioctls and nothing else: nothing is cleared, registers stay as they are
 *     copy          two ioctls that copy them out, zero them, and copy them back, and protect from nobody
 *                   (tests/vm/guest/modules/plaincopy.c): the least that it can cost to have them in the kernel
 *     mprotect      the bytes have pages of their own, which are made inaccessible for the call
 *     wrpkru        the same by a protection key, where the processor has them
 *     pipe          the function is called by a child, which waits at a pipe
 *
 * Of each the median of ROUNDS, of as many calls as take some 20 ms. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "memlego/securestack-abi.h"
#include "memlego/securestack.h"

#define ROUNDS 7
#define ROUND_NSEC 20000000
#define DEPTH 1000
#define THREADS 200
#define COPY_OUT _IOW('M', 0xd0, uint64_t[2])
#define COPY_MOST (64u << 10)
#define COPY_BACK _IO('M', 0xd1)
#define BYTES_MAX (128u << 10)

static uint8_t *pages;
static int module_fd = -1, copy_fd = -1, key = -1, to_child[2], from_child[2];

static double began, ended; /* of what is measured */

static double now(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1e9 + t.tv_nsec;
}

static void check(bool well, const char *what) {
        if (well)
                return;
        perror(what);
        exit(1);
}

/* The callee: uses a little of the stack, as functions do. */
static __attribute__((noinline)) int callee(int n) {
        volatile int some[16];

        for (int i = 0; i < 16; i++)
                some[i] = n;
        return some[n & 15];
}

static void run_plain(size_t bytes, size_t n) {
        for (size_t i = 0; i < n; i++)
                (void) callee((int) i);
}

static __attribute__((noinline)) void run_named(size_t bytes, size_t n) {
        struct ss_call call = SS_CALL(0);

        ss_hide(&call, pages, bytes);
        for (size_t i = 0; i < n; i++)
                (void) ss_call(&call, callee, (int) i);
        check(call.status == 0, ss_strerror(call.status));
}

static __attribute__((noinline)) void run_frame(size_t bytes, size_t n) {
        struct ss_call call = SS_CALL(SS_FRAME);
        uint8_t *frame = __builtin_alloca(bytes);

        memset(frame, 1, bytes);
        __asm__ volatile("" : : "r"(frame) : "memory");
        for (size_t i = 0; i < n; i++)
                (void) ss_call(&call, callee, (int) i);
        check(call.status == 0, ss_strerror(call.status));
        __asm__ volatile("" : : "r"(frame) : "memory");
}

static size_t deep_bytes, deep_n;
static __attribute__((noinline)) int deeper(int depth) {
        struct ss_call call = SS_CALL(SS_FRAME);

        if (depth > 0) {
                (void) ss_call(&call, deeper, depth - 1);
                return call.status;
        }
        began = now(); /* getting there is no part of it */
        run_named(deep_bytes, deep_n);
        ended = now();
        return 0;
}

static void run_depth(size_t bytes, size_t n) {
        deep_bytes = bytes;
        deep_n = n;
        check(deeper(DEPTH) == 0, "a thousand calls");
}

static pthread_barrier_t all_in, all_out;

static void wait_within(int unused) {
        (void) unused;
        (void) pthread_barrier_wait(&all_in);
        (void) pthread_barrier_wait(&all_out);
}

static void *be_within(void *memory) {
        struct ss_call call = SS_CALL(SS_NEVER_REFUSE);

        ss_hide(&call, memory, 16);
        ss_call(&call, wait_within, 0);
        return NULL;
}

static void threads_start(pthread_t *thread) {
        static uint64_t secret[THREADS][2];
        pthread_attr_t small;

        check(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 64u << 10) == 0 &&
                      pthread_barrier_init(&all_in, NULL, THREADS + 1) == 0 &&
                      pthread_barrier_init(&all_out, NULL, THREADS + 1) == 0,
              "threads");
        for (size_t i = 0; i < THREADS; i++)
                check(pthread_create(&thread[i], &small, be_within, secret[i]) == 0, "a thread");
        (void) pthread_barrier_wait(&all_in);
}

static void threads_end(const pthread_t *thread) {
        (void) pthread_barrier_wait(&all_out);
        for (size_t i = 0; i < THREADS; i++)
                check(pthread_join(thread[i], NULL) == 0, "a thread's end");
}

static void run_copy(size_t bytes, size_t n) {
        uint64_t part[2] = { (uintptr_t) pages, bytes };

        for (size_t i = 0; i < n; i++) {
                check(ioctl(copy_fd, COPY_OUT, part) == 0, "COPY_OUT");
                (void) callee((int) i);
                check(ioctl(copy_fd, COPY_BACK, 0) == 0, "COPY_BACK");
        }
}

static __attribute__((noinline, noclone)) void run_ioctl(size_t bytes, size_t n) {
        struct mlg_ss_range range = { .address = (uintptr_t) pages, .bytes = (uint32_t) bytes };
        struct mlg_ss_protect protect = { .ranges = (uintptr_t) &range, .n_ranges = 1 };
        extern const char bench_site[] __attribute__((visibility("hidden")));
        long r;

        protect.site = (uintptr_t) bench_site;
        for (size_t i = 0; i < n; i++) {
                __asm__ volatile("syscall"
                                 : "=a"(r)
                                 : "a"(16L), "D"((long) module_fd), "S"((long) MLG_SS_IOC_PROTECT),
                                   "d"(&protect)
                                 : "rcx", "r11", "memory");
                check(r == 0, "PROTECT");
                (void) callee((int) i);
                __asm__ volatile("syscall\nbench_site:"
                                 : "=a"(r)
                                 : "a"(16L), "D"((long) module_fd), "S"((long) MLG_SS_IOC_RESTORE), "d"(0L)
                                 : "rcx", "r11", "memory");
                check(r == 0, "RESTORE");
        }
}

static void run_mprotect(size_t bytes, size_t n) {
        for (size_t i = 0; i < n; i++) {
                check(mprotect(pages, bytes, PROT_NONE) == 0, "mprotect");
                (void) callee((int) i);
                check(mprotect(pages, bytes, PROT_READ | PROT_WRITE) == 0, "mprotect");
        }
}

static void run_wrpkru(size_t bytes, size_t n) {
        for (size_t i = 0; i < n; i++) {
                (void) pkey_set(key, PKEY_DISABLE_ACCESS);
                (void) callee((int) i);
                (void) pkey_set(key, 0);
        }
}

static void run_pipe(size_t bytes, size_t n) {
        for (size_t i = 0; i < n; i++) {
                int value = (int) i;

                check(write(to_child[1], &value, sizeof value) == sizeof value, "write");
                check(read(from_child[0], &value, sizeof value) == sizeof value, "read");
        }
}

static void child_start(void) {
        int value;

        check(pipe2(to_child, O_CLOEXEC) == 0 && pipe2(from_child, O_CLOEXEC) == 0, "pipe");
        if (fork() != 0)
                return;
        close(to_child[1]);
        while (read(to_child[0], &value, sizeof value) == sizeof value) {
                value = callee(value);
                check(write(from_child[1], &value, sizeof value) == sizeof value, "write");
        }
        _exit(0);
}

static int compare(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

static double time_of(void (*run)(size_t bytes, size_t n), size_t bytes, size_t n) {
        ended = 0;
        began = now();
        run(bytes, n);
        return (ended > 0 ? ended : now()) - began;
}

static void measure(const char *name, void (*run)(size_t bytes, size_t n), size_t bytes) {
        double each[ROUNDS];
        size_t n = 8;

        while (time_of(run, bytes, n) < ROUND_NSEC)
                n *= 2;
        for (size_t i = 0; i < ROUNDS; i++)
                each[i] = time_of(run, bytes, n) / n;
        qsort(each, ROUNDS, sizeof *each, compare);
        printf("%s %zu %.1f\n", name, bytes, each[ROUNDS / 2]);
        (void) fflush(stdout);
}

static const char *own_name(void) {
        static const char *const names[] = { NULL, "securestack", "keys", "copies" };

        return names[ss_backend()];
}

static void measure_all(size_t bytes) {
        const char *name = own_name();
        char text[32];

        check(bytes > 0 && bytes <= BYTES_MAX, "a number of bytes");
        measure(name, run_named, bytes);
        if (module_fd < 0) /* the rest is the same without it */
                return;
        (void) snprintf(text, sizeof text, "%s-frame", name);
        measure(text, run_frame, bytes);
        (void) snprintf(text, sizeof text, "%s-depth", name);
        measure(text, run_depth, bytes);
        measure("ioctl", run_ioctl, bytes);
        if (copy_fd >= 0 && bytes <= COPY_MOST)
                measure("copy", run_copy, bytes);
        measure("plain", run_plain, bytes);
        measure("mprotect", run_mprotect, bytes);
        measure("pipe", run_pipe, bytes);
        if (key >= 0 && pkey_mprotect(pages, BYTES_MAX, PROT_READ | PROT_WRITE, key) == 0) {
                measure("wrpkru", run_wrpkru, bytes);
                check(pkey_mprotect(pages, BYTES_MAX, PROT_READ | PROT_WRITE, 0) == 0, "pkey_mprotect");
        }
}

/* After all else: their stacks stay mapped, and what maps or looks up memory takes longer then. */
static void measure_beside_threads(int argc, char **argv) {
        pthread_t thread[THREADS];
        char text[32];

        (void) snprintf(text, sizeof text, "%s-threads", own_name());
        threads_start(thread);
        for (int i = 1; i < argc; i++)
                measure(text, run_named, strtoul(argv[i], NULL, 10));
        threads_end(thread);
}

int main(int argc, char **argv) {
        child_start();
        check(ss_init(SS_PORTABLE) == 0, "ss_init");
        if (ss_backend() == SS_KERNEL)
                module_fd = open(MLG_SS_DEVICE, O_RDWR | O_CLOEXEC);
        copy_fd = open("/dev/plaincopy", O_RDWR | O_CLOEXEC);
        key = pkey_alloc(0, 0);
        pages = mmap(NULL, BYTES_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(pages != MAP_FAILED, "mmap");
        memset(pages, 1, BYTES_MAX);
        for (int i = 1; i < argc; i++)
                measure_all(strtoul(argv[i], NULL, 10));
        if (module_fd >= 0)
                measure_beside_threads(argc, argv);
        close(to_child[1]);
        (void) wait(NULL);
        return 0;
}
