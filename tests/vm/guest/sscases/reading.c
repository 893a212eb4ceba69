/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading: ways for a callee to get at what its caller has on its stack, and what is left on it for others.
 * */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sscases.h"

#define CORE "/run/sscases.core"

/* --- attacks; each is told where the secret is, which is more than it would know --- */

static void over_read(void *arg) {
        volatile uint8_t mine[16] = { 1 };
        struct victim *v = arg;
        uintptr_t from = (uintptr_t) &mine[0], to = (uintptr_t) (v + 1);

        steal((const void *) from, to - from);
}

static void by_proc_mem(void *arg) {
        struct victim *v = arg;
        uint8_t got[sizeof(*v)];
        int fd = open("/proc/self/mem", O_RDONLY);

        if (pread(fd, got, sizeof(got), (off_t) (uintptr_t) v) > 0)
                steal(got, sizeof(got));
        close(fd);
}

static void by_vm_readv(void *arg) {
        struct victim *v = arg;
        uint8_t got[sizeof(*v)];
        struct iovec to = { got, sizeof(got) }, from = { v, sizeof(*v) };

        if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) > 0)
                steal(got, sizeof(got));
}

/* By the pipe: the kernel reads for it. */
static void by_write(void *arg) {
        struct victim *v = arg;
        uint8_t got[sizeof(*v)];
        int fds[2];

        if (pipe(fds) < 0)
                return;
        if (write(fds[1], v, sizeof(*v)) > 0 && read(fds[0], got, sizeof(got)) > 0)
                steal(got, sizeof(got));
        close(fds[0]);
        close(fds[1]);
}

static struct victim *handler_reads;

static void on_signal(int nr) {
        (void) nr;
        steal(handler_reads, sizeof(*handler_reads));
}

static void by_handler(void *arg) {
        struct sigaction sa = { .sa_handler = on_signal };

        handler_reads = arg;
        sigaction(SIGUSR1, &sa, NULL);
        raise(SIGUSR1);
}

static pthread_barrier_t begin, end;
static void *_Atomic thread_reads;

static void *other_thread(void *arg) {
        (void) arg;
        pthread_barrier_wait(&begin);
        steal(thread_reads, sizeof(struct victim));
        pthread_barrier_wait(&end);
        return NULL;
}

static void by_thread(void *arg) {
        pthread_t thread;

        thread_reads = arg;
        pthread_barrier_init(&begin, NULL, 2);
        pthread_barrier_init(&end, NULL, 2);
        if (pthread_create(&thread, NULL, other_thread, NULL) != 0)
                return;
        pthread_barrier_wait(&begin);
        pthread_barrier_wait(&end);
        pthread_join(thread, NULL);
}

/* What a child of the process sees, by itself and by ptrace. */
static void from_child(struct victim *v, int to, bool trace) {
        pid_t parent = getppid();
        uint8_t got[sizeof(*v)];
        int status;

        if (trace) {
                if (ptrace(PTRACE_ATTACH, parent, NULL, NULL) < 0 || waitpid(parent, &status, __WALL) < 0)
                        _exit(1);
                for (size_t i = 0; i < sizeof(got); i += 8) {
                        long word = ptrace(PTRACE_PEEKDATA, parent, (uint8_t *) v + i, NULL);

                        memcpy(got + i, &word, 8);
                }
                ptrace(PTRACE_DETACH, parent, NULL, NULL);
        } else {
                memcpy(got, v, sizeof(got));
        }
        if (write(to, got, sizeof(got)) < 0)
                _exit(1);
        _exit(0);
}

static void by_child(void *arg, bool trace) {
        uint8_t got[sizeof(struct victim)];
        int fds[2], status;
        pid_t child;

        if (pipe(fds) < 0)
                return;
        child = fork();
        if (child == 0)
                from_child(arg, fds[1], trace);
        close(fds[1]);
        if (read(fds[0], got, sizeof(got)) == sizeof(got))
                steal(got, sizeof(got));
        close(fds[0]);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
}

static void by_fork(void *arg) {
        by_child(arg, false);
}

static void by_ptrace(void *arg) {
        by_child(arg, true);
}

/* --- the calls --- */

static __attribute__((noinline)) bool try_once(callee *attack, bool guard, uint64_t seed, bool *ret_whole) {
        struct guard g = { .fd = device, .clear_before = 8192, .clear_after = 8192 };
        struct victim v = { .seed = seed };
        long err = 0;

        n_stolen = 0;
        secret_make(v.secret, seed);
        guard_secret(&g, v.secret, sizeof(v.secret));
        if (guard)
                err = guarded(&g, attack, &v);
        else
                attack(&v);
        *ret_whole = err == 0 && secret_is(v.secret, seed);
        return secret_in(stolen, n_stolen, seed);
}

static void try_attack(const char *name, callee *attack) {
        bool whole, whole_plain, plain = try_once(attack, false, 1, &whole_plain);
        bool guarded_too = try_once(attack, true, 2, &whole);

        report(name, plain && whole_plain && !guarded_too && whole && n_stolen >= SECRET_BYTES,
               "plain: %s; guarded: %s in %zu bytes, %s afterwards", plain ? "stolen" : "not stolen (!)",
               guarded_too ? "STOLEN" : "none", n_stolen, whole ? "whole" : "DAMAGED");
}

/* --- what is left below the stack pointer --- */

static __attribute__((noinline)) void leave_secret(void *arg) {
        uint8_t deep[1024];
        uint64_t seed = *(uint64_t *) arg;

        secret_make(deep + 512, seed);
        __asm__ volatile("" ::"r"(deep) : "memory");
}

static __attribute__((noinline)) void read_residue(void *arg) {
        uint8_t *top = __builtin_frame_address(0);

        (void) arg;
        steal(top - 4096, 4096);
}

static __attribute__((noinline)) bool residue(int how, uint64_t seed) {
        struct guard g = { .fd = device,
                           .clear_before = how == 2 ? 16384 : 0,
                           .clear_after = how == 3 ? 16384 : 0 };
        uint8_t some[16] = { 0 };

        n_stolen = 0;
        guard_secret(&g, some, sizeof(some));
        leave_secret(&seed);
        if (how == 1)
                ss_ioctl(device, MLG_SS_IOC_CLEAR, 16384);
        if (how == 2) {
                guarded(&g, read_residue, NULL);
                return secret_in(stolen, n_stolen, seed);
        }
        if (how == 3)
                guarded(&g, leave_secret, &seed);
        read_residue(NULL);
        return secret_in(stolen, n_stolen, seed);
}

static void residues(void) {
        static const char *const names[] = { "", "residue-clear", "residue-before-callee",
                                             "residue-of-callee" };

        for (int how = 1; how <= 3; how++) {
                bool plain = residue(0, (uint64_t) (10 * how + 1)),
                     cleared = residue(how, (uint64_t) (10 * how + 2));

                report(names[how], plain && !cleared, "plain: %s; cleared: %s",
                       plain ? "found" : "not found (!)", cleared ? "FOUND" : "none");
        }
}

/* --- a core dump --- */

static void dies(void *arg) {
        (void) arg;
        abort();
}

static bool core_has(bool guard, uint64_t seed, long *ret_bytes) {
        struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
        uint8_t *core;
        ssize_t got = 0, n;
        int status, fd;
        bool whole, has;
        pid_t child;

        unlink(CORE);
        child = fork();
        if (child == 0) {
                setrlimit(RLIMIT_CORE, &all);
                signal(SIGABRT, SIG_DFL);
                device = open_device();
                try_once(dies, guard, seed, &whole);
                _exit(0);
        }
        waitpid(child, &status, 0);
        core = malloc(64 << 20);
        fd = open(CORE, O_RDONLY);
        while ((n = read(fd, core + got, (64 << 20) - (size_t) got)) > 0)
                got += n;
        close(fd);
        unlink(CORE);
        has = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && secret_in(core, (size_t) got, seed);
        free(core);
        *ret_bytes = got;
        return has;
}

static void core_dump(void) {
        FILE *f = fopen("/proc/sys/kernel/core_pattern", "we");
        long plain_bytes, bytes;
        bool plain, guarded_too;

        if (!f || fputs(CORE, f) < 0 || fclose(f) != 0)
                perror("core_pattern");
        plain = core_has(false, 21, &plain_bytes);
        guarded_too = core_has(true, 22, &bytes);
        report("core-dump", plain && !guarded_too && bytes > 4096, "plain: %s; guarded: %s in %ld bytes",
               plain ? "in the core" : "not in there (!)", guarded_too ? "IN THE CORE" : "none", bytes);
}

void cases_reading(void) {
        try_attack("over-read", over_read);
        try_attack("proc-self-mem", by_proc_mem);
        try_attack("process-vm-readv", by_vm_readv);
        try_attack("write-to-pipe", by_write);
        try_attack("signal-handler", by_handler);
        try_attack("other-thread", by_thread);
        try_attack("fork", by_fork);
        try_attack("ptrace-by-child", by_ptrace);
        residues();
        core_dump();
}
