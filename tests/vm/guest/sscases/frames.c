/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames: calls that are nested, left by longjmp, made on other stacks, by many threads, or go on in a
 * child; and what the callee may write. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "sscases.h"

static uint32_t depth_now(void) {
        struct mlg_ss_stat s = { 0 };

        ss_ioctl(device, MLG_SS_IOC_STAT, (unsigned long) &s);
        return s.depth;
}

/* --- writing --- */

static void overflow(void *arg) {
        struct victim *v = arg;

        memset(v->before, 0x41, sizeof(v->before) + sizeof(v->secret) + sizeof(v->after));
}

static __attribute__((noinline)) void try_overflow(void) {
        struct guard g = { .fd = device };
        struct victim v = { .seed = 101 };
        bool plain, guarded_too;
        long err;

        secret_make(v.secret, v.seed);
        overflow(&v);
        plain = !secret_is(v.secret, v.seed);
        secret_make(v.secret, v.seed);
        guard_secret(&g, v.secret, sizeof(v.secret));
        err = guarded(&g, overflow, &v);
        guarded_too = err != 0 || !secret_is(v.secret, v.seed);
        report("overflow", plain && !guarded_too && v.before[0] == 0x41,
               "plain: %s; guarded: %s, others are written over", plain ? "written over" : "not (!)",
               guarded_too ? "WRITTEN OVER" : "whole");
}

/* The callee may see and change `before` and eight bytes in the midst of the secret. */
static void use_exceptions(void *arg) {
        struct victim *v = arg;

        steal(v, sizeof(*v));
        memset(v->before, 0x42, sizeof(v->before));
        memset(v->secret + 24, 0x43, 8);
}

static __attribute__((noinline)) void try_exceptions(void) {
        struct guard g = { .fd = device };
        struct victim v = { .seed = 102 };
        uint8_t expected[SECRET_BYTES];
        long err;

        n_stolen = 0;
        memset(v.before, 0x40, sizeof(v.before));
        secret_make(v.secret, v.seed);
        secret_make(expected, v.seed);
        guard_exception(&g, v.secret + 24, 8);
        guard_secret(&g, &v, sizeof(v));
        guard_exception(&g, v.before, sizeof(v.before));
        err = guarded(&g, use_exceptions, &v);
        report("exceptions",
               err == 0 && stolen[0] == 0x40 && memcmp(stolen + 64 + 24, expected + 24, 8) == 0 &&
                       stolen[64] == 0 && stolen[64 + 23] == 0 && stolen[64 + 32] == 0 &&
                       v.before[63] == 0x42 && v.secret[24] == 0x43 && v.secret[31] == 0x43 &&
                       memcmp(v.secret, expected, 24) == 0 && memcmp(v.secret + 32, expected + 32, 32) == 0,
               "the callee saw and changed these, and nothing else");
}

/* --- depth --- */

static uint32_t deepest, bad_frames;
static long failed;

static __attribute__((noinline)) void recurse(void *arg) {
        uint32_t left = *(uint32_t *) arg - 1;
        struct guard g = { .fd = device };
        uint8_t secret[SECRET_BYTES];
        long err;

        if (left == 0) {
                deepest = depth_now();
                return;
        }
        secret_make(secret, left);
        guard_secret(&g, secret, sizeof(secret));
        err = guarded(&g, recurse, &left);
        if (err < 0)
                failed = err;
        bad_frames += !secret_is(secret, left);
}

static void try_depth(void) {
        uint32_t n = 10001;

        recurse(&n);
        report("nesting", deepest == 10000 && bad_frames == 0 && failed == 0 && depth_now() == 0,
               "%u deep, %u bad, %ld", deepest, bad_frames, failed);
}

/* --- longjmp --- */

static jmp_buf out;

static void jump(void *arg) {
        (void) arg;
        longjmp(out, 1);
}

static __attribute__((noinline)) void inner_calls(void *arg) {
        struct guard g = { .fd = device };
        uint8_t some[512];

        (void) arg;
        memset(some, 7, sizeof(some));
        guard_secret(&g, some, sizeof(some));
        guarded(&g, jump, NULL);
}

/* It comes back to itself over the frame of inner_calls(), whose entry is dead. */
static void lands(void *arg) {
        uint32_t *n = arg;

        if (setjmp(out) == 0)
                inner_calls(NULL);
        *n = depth_now();
}

static __attribute__((noinline)) void try_longjmp(void) {
        struct guard g = { .fd = device };
        uint8_t secret[SECRET_BYTES];
        uint32_t within = 0;
        long err;

        secret_make(secret, 103);
        guard_secret(&g, secret, sizeof(secret));
        err = guarded(&g, lands, &within);
        report("longjmp", err == 0 && within == 2 && secret_is(secret, 103) && depth_now() == 0,
               "%u entries where it landed, %u after the outer frame was restored: %ld", within, depth_now(),
               err);
}

/* --- signals --- */

static bool handler_whole;

static __attribute__((noinline)) void on_signal(int nr) {
        struct guard g = { .fd = device };
        uint8_t secret[SECRET_BYTES];

        (void) nr;
        secret_make(secret, 105);
        guard_secret(&g, secret, sizeof(secret));
        handler_whole = guarded(&g, overflow, stolen) == 0 && secret_is(secret, 105);
}

static void raise_it(void *arg) {
        (void) arg;
        raise(SIGUSR2);
}

/* On a stack of its own, below or above the other one. */
static __attribute__((noinline)) void try_signal(const char *name, bool own_stack) {
        uint8_t *stack = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        stack_t ss = { .ss_sp = stack + 4096, .ss_size = (1 << 17) - 8192 };
        struct sigaction sa = { .sa_handler = on_signal, .sa_flags = own_stack ? SA_ONSTACK : 0 };
        struct guard g = { .fd = device };
        uint8_t secret[SECRET_BYTES];
        long err;

        mprotect(stack, 4096, PROT_NONE);
        mprotect(stack + (1 << 17) - 4096, 4096, PROT_NONE);
        sigaltstack(&ss, NULL);
        sigaction(SIGUSR2, &sa, NULL);
        handler_whole = false;
        secret_make(secret, 106);
        guard_secret(&g, secret, sizeof(secret));
        err = guarded(&g, raise_it, NULL);
        report(name, err == 0 && handler_whole && secret_is(secret, 106) && depth_now() == 0,
               "the handler's secret is %s, the other one %s", handler_whole ? "whole" : "DAMAGED",
               secret_is(secret, 106) ? "whole" : "DAMAGED");
}

/* --- coroutines --- */

static ucontext_t main_context, co_context;
static bool co_whole;

static void switch_to_main(void *arg) {
        (void) arg;
        swapcontext(&co_context, &main_context);
}

static void coroutine(void) {
        struct guard g = { .fd = device };
        uint8_t secret[SECRET_BYTES];

        secret_make(secret, 107);
        guard_secret(&g, secret, sizeof(secret));
        co_whole = guarded(&g, switch_to_main, NULL) == 0 && secret_is(secret, 107);
        swapcontext(&co_context, &main_context);
}

static void switch_to_coroutine(void *arg) {
        (void) arg;
        swapcontext(&main_context, &co_context);
}

/* Two that take turns: restored in another order than they were protected in. */
static __attribute__((noinline)) void try_coroutines(void) {
        uint8_t *stack = mmap(NULL, 1 << 17, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct guard g = { .fd = device };
        uint8_t secret[SECRET_BYTES];
        uint32_t between;
        long err;

        mprotect(stack, 4096, PROT_NONE);
        mprotect(stack + (1 << 17) - 4096, 4096, PROT_NONE);
        getcontext(&co_context);
        co_context.uc_stack = (stack_t) { .ss_sp = stack + 4096, .ss_size = (1 << 17) - 8192 };
        makecontext(&co_context, coroutine, 0);
        secret_make(secret, 108);
        guard_secret(&g, secret, sizeof(secret));
        err = guarded(&g, switch_to_coroutine, NULL);
        between = depth_now();
        switch_to_coroutine(NULL);
        report("coroutines",
               err == 0 && between == 1 && co_whole && secret_is(secret, 108) && depth_now() == 0,
               "%ld, %u entries between; the coroutine's is %s", err, between,
               co_whole ? "whole" : "DAMAGED");
}

/* --- threads --- */

static void *many_calls(void *arg) {
        uint64_t seed = (uintptr_t) arg, bad = 0;

        for (uint32_t i = 0; i < 500; i++) {
                struct guard g = { .fd = device, .clear_after = 1024 };
                uint8_t secret[SECRET_BYTES];
                struct victim v;

                secret_make(secret, seed + i);
                guard_secret(&g, secret, sizeof(secret));
                bad += guarded(&g, overflow, &v) != 0 || !secret_is(secret, seed + i);
        }
        return (void *) bad;
}

static void try_threads(void) {
        pthread_t thread[16];
        uint64_t bad = 0;
        void *one;

        for (uintptr_t i = 0; i < 16; i++)
                if (pthread_create(&thread[i], NULL, many_calls, (void *) (1000 * i)) != 0)
                        exit(2);
        for (int i = 0; i < 16; i++) {
                pthread_join(thread[i], &one);
                bad += (uintptr_t) one;
        }
        report("threads", bad == 0, "16 with 500 calls each, %lu bad", (unsigned long) bad);
}

/* --- fork --- */

static int snapshot_fd;
static long child_said[3];

/* As a handler of fork() would; both return into the caller's frame. */
static void forks(void *arg) {
        pid_t *child = arg;

        if (snapshot_fd >= 0) {
                snapshot_fd = open_device();
                child_said[0] = ss_ioctl(snapshot_fd, MLG_SS_IOC_SNAPSHOT, (unsigned long) device);
        }
        *child = fork();
        if (*child == 0 && snapshot_fd >= 0) {
                child_said[1] = ss_ioctl(snapshot_fd, MLG_SS_IOC_ADOPT, 0);
                child_said[2] = ss_ioctl(snapshot_fd, MLG_SS_IOC_ADOPT, 0);
        }
}

/* The stub takes its descriptor from its frame; a child puts its own at that number. */
static void forks_and_adopts(void *arg) {
        pid_t *child = arg;

        forks(child);
        if (*child == 0)
                dup2(snapshot_fd, device);
}

/* How the child ended: 0 with its secret, 1 without it, 2 if something else was wrong. */
static __attribute__((noinline)) int try_fork_once(bool adopts, uint32_t flags) {
        struct guard g = { .fd = device, .flags = flags };
        uint8_t secret[SECRET_BYTES];
        pid_t child = -1;
        int status = -1;
        long err;

        snapshot_fd = adopts ? 0 : -1;
        secret_make(secret, 109);
        guard_secret(&g, secret, sizeof(secret));
        err = guarded(&g, adopts ? forks_and_adopts : forks, &child);
        if (child == 0)
                _exit(adopts && (child_said[0] || child_said[1] || child_said[2] != -ENOENT) ? 2
                      : err == 0 && secret_is(secret, 109) ? 0 : 1);
        if (snapshot_fd >= 0)
                close(snapshot_fd);
        waitpid(child, &status, 0);
        return err == 0 && secret_is(secret, 109) && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void try_fork(void) {
        int none = try_fork_once(false, MLG_SS_FORK), unflagged = try_fork_once(true, 0);

        report("fork-without", none == 1 && unflagged == 1,
               "a child that does not adopt: %d; of what may not be: %d", none, unflagged);
}

static __attribute__((noinline)) void try_adopt(void) {
        struct guard g = { .fd = device, .flags = MLG_SS_FORK };
        uint8_t secret[SECRET_BYTES];
        pid_t child = -1;
        int status = -1;
        long err;

        snapshot_fd = 0;
        secret_make(secret, 110);
        guard_secret(&g, secret, sizeof(secret));
        err = guarded(&g, forks_and_adopts, &child);
        if (child == 0)
                _exit(err == 0 && secret_is(secret, 110) && child_said[1] == 0 && child_said[2] == -ENOENT
                              ? 0
                              : 1);
        waitpid(child, &status, 0);
        report("fork-adopt", err == 0 && secret_is(secret, 110) && status == 0, "parent %ld, child %#x", err,
               (unsigned) status);
        /* The snapshot was the child's: its maker cannot have it, nor a grandchild. */
        err = ss_ioctl(snapshot_fd, MLG_SS_IOC_ADOPT, 0);
        report("adopted-once", err == -ENOENT, "the parent: %ld", err);
        close(snapshot_fd);
}

static void try_adopt_strangers(void) {
        int fd = open_device(), status;
        long err, maker;
        pid_t child;

        err = ss_ioctl(fd, MLG_SS_IOC_SNAPSHOT, (unsigned long) device);
        maker = ss_ioctl(fd, MLG_SS_IOC_ADOPT, 0);
        child = fork();
        if (child == 0) {
                pid_t grandchild = fork();

                if (grandchild == 0)
                        _exit(ss_ioctl(fd, MLG_SS_IOC_ADOPT, 0) == -EPERM ? 0 : 1);
                waitpid(grandchild, &status, 0);
                _exit(status != 0);
        }
        waitpid(child, &status, 0);
        report("adopt-strangers", err == 0 && maker == -EPERM && status == 0,
               "the maker: %ld, a grandchild: %#x", maker, (unsigned) status);
        close(fd);
}

void cases_frames(void) {
        try_overflow();
        try_exceptions();
        try_depth();
        try_longjmp();
        try_signal("handler", false);
        try_signal("handler-on-own-stack", true);
        try_coroutines();
        try_threads();
        try_fork();
        try_adopt();
        try_adopt_strangers();
}
