/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Forging: a callee that asks for what is protected itself, as somebody else, from another place, or that
 * changes the code which will. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sscases.h"

#define CODE "/run/sscases.code"

static long answer; /* what the attacker was told */

/* The stack pointer at the stub's system calls: a callee was called there. */
#define STUB_SP() ((uint64_t) (uintptr_t) __builtin_frame_address(0) + 16)

/* Each says RESTORE in its way, and looks what there is to see. */
static void from_elsewhere(void *arg) {
        answer = ss_ioctl(device, MLG_SS_IOC_RESTORE, 0);
        steal(arg, sizeof(struct victim));
}

static __attribute__((noinline, optimize("no-omit-frame-pointer"))) void other_sp(void *arg) {
        answer = forge_restore(device, STUB_SP() - 64, stub_syscall);
        if (answer == -EPERM)
                answer = forge_restore(device, STUB_SP() + 64, stub_syscall);
        steal(arg, sizeof(struct victim));
}

static uint64_t thread_sp;

static void *forging_thread(void *arg) {
        answer = forge_restore(device, thread_sp, stub_syscall);
        steal(arg, sizeof(struct victim));
        return NULL;
}

static __attribute__((noinline, optimize("no-omit-frame-pointer"))) void by_thread(void *arg) {
        pthread_t thread;

        thread_sp = STUB_SP();
        if (pthread_create(&thread, NULL, forging_thread, arg) == 0)
                pthread_join(thread, NULL);
}

/* All is as it must be, but for one who is not the thread: what this must not be is a call from the thread
 * itself. */
static __attribute__((noinline, optimize("no-omit-frame-pointer"))) void as_the_stub(void *arg) {
        answer = forge_restore(device, STUB_SP(), stub_syscall);
        steal(arg, sizeof(struct victim));
}

static void by_fork(void *arg) {
        int fds[2], status;
        pid_t child;
        long said[2] = { 0, 0 };

        if (pipe(fds) < 0)
                return;
        child = fork();
        if (child == 0) {
                said[0] = ss_ioctl(device, MLG_SS_IOC_RESTORE, 0);
                said[1] = ss_ioctl(device, MLG_SS_IOC_ADOPT, 0);
                if (write(fds[1], said, sizeof(said)) < 0 || write(fds[1], arg, sizeof(struct victim)) < 0)
                        _exit(1);
                _exit(0);
        }
        if (read(fds[0], said, sizeof(said)) == sizeof(said))
                answer = said[1] == -ENOENT ? said[0] : said[1];
        n_stolen = (size_t) read(fds[0], stolen, sizeof(struct victim));
        close(fds[0]);
        close(fds[1]);
        waitpid(child, &status, 0);
}

/* A helper that was there before, and is sent the descriptor. */
static int helper;

static void send_fd(int to, int fd) {
        char byte = 0, control[CMSG_SPACE(sizeof(int))] = "";
        struct iovec iov = { &byte, 1 };
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control,
                              .msg_controllen = sizeof(control) };
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
        if (sendmsg(to, &msg, 0) < 0)
                perror("sendmsg");
}

static int receive_fd(int from) {
        char byte, control[CMSG_SPACE(sizeof(int))];
        struct iovec iov = { &byte, 1 };
        struct msghdr msg = { .msg_iov = &iov,
                              .msg_iovlen = 1,
                              .msg_control = control,
                              .msg_controllen = sizeof(control) };
        int fd = -1;

        if (recvmsg(from, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg))
                memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
        return fd;
}

static void help(int with) {
        int fd;

        while ((fd = receive_fd(with)) >= 0) {
                struct mlg_ss_range range = { (uintptr_t) stolen, 8, 0 };
                struct mlg_ss_protect p = { .ranges = (uintptr_t) &range,
                                            .n_ranges = 1,
                                            .site = (uintptr_t) stub_site };
                long said[3];

                said[0] = ss_ioctl(fd, MLG_SS_IOC_RESTORE, 0);
                said[1] = ss_ioctl(fd, MLG_SS_IOC_PROTECT, (unsigned long) &p);
                said[2] = ss_ioctl(open_device(), MLG_SS_IOC_SNAPSHOT, (unsigned long) fd);
                close(fd);
                if (write(with, said, sizeof(said)) < 0)
                        break;
        }
        _exit(0);
}

static void by_process(void *arg) {
        long said[3] = { 0, 0, 0 };

        send_fd(helper, device);
        if (read(helper, said, sizeof(said)) == sizeof(said) && said[0] == said[1] && said[1] == said[2])
                answer = said[0];
        steal(arg, sizeof(struct victim));
}

static void start_helper(void) {
        int ends[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                exit(2);
        if (fork() == 0) {
                close(ends[0]);
                help(ends[1]);
        }
        close(ends[1]);
        helper = ends[0];
}

/* --- the code around the site: a copy of the stub in a file of its own --- */

static uint8_t *code;
static size_t code_bytes;

static uint8_t *map_code(void *at) {
        int fd = open(CODE, O_RDWR | O_CREAT | O_TRUNC, 0700);
        void *p;

        code_bytes = (size_t) (stub_end - stub_begin);
        if (fd < 0 || write(fd, stub_begin, code_bytes) != (ssize_t) code_bytes)
                exit(2);
        p = mmap(at, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | (at ? MAP_FIXED : 0), fd, 0);
        close(fd);
        if (p == MAP_FAILED)
                exit(2);
        return p;
}

static __attribute__((noinline, optimize("no-omit-frame-pointer"))) void by_other_mapping(void *arg) {
        unlink(CODE);
        map_code(code); /* the same bytes even, of another file */
        answer = forge_restore(device, STUB_SP(), code + (stub_syscall - stub_begin));
        steal(arg, sizeof(struct victim));
}

static __attribute__((noinline, optimize("no-omit-frame-pointer"))) void by_patching(void *arg) {
        mprotect(code, 4096, PROT_READ | PROT_WRITE);
        ((volatile uint8_t *) code)[code_bytes] = 0x90;
        mprotect(code, 4096, PROT_READ | PROT_EXEC);
        answer = forge_restore(device, STUB_SP(), code + (stub_syscall - stub_begin));
        steal(arg, sizeof(struct victim));
}

static __attribute__((noinline, optimize("no-omit-frame-pointer"))) void by_proc_mem(void *arg) {
        int fd = open("/proc/self/mem", O_RDWR);

        if (pwrite(fd, "\x90", 1, (off_t) (uintptr_t) code + (off_t) code_bytes) != 1)
                perror("/proc/self/mem");
        close(fd);
        answer = forge_restore(device, STUB_SP(), code + (stub_syscall - stub_begin));
        steal(arg, sizeof(struct victim));
}

/* --- tries --- */

static __attribute__((noinline)) void try_forging(const char *name, callee *attack, long expected,
                                                  uint64_t seed, bool copied) {
        struct guard g = { .fd = device, .clear_after = 4096 };
        struct victim v = { .seed = seed };
        bool whole, found;
        long err;

        n_stolen = 0;
        answer = 1;
        secret_make(v.secret, seed);
        guard_secret(&g, v.secret, sizeof(v.secret));
        err = guarded_by(copied ? (stub *) (void *) code : stub_call, &g, attack, &v);
        whole = err == 0 && secret_is(v.secret, seed);
        found = secret_in(stolen, n_stolen, seed);
        /* Whose code was changed has lost what it protected. */
        report(name,
               answer == expected && !found && n_stolen == sizeof(v) && (copied ? err == -EPERM : whole),
               "told %ld, %s stolen; the caller: %ld, %s", answer, found ? "AND" : "nothing", err,
               whole ? "whole" : "lost");
}

/* That forge_restore() does what a restore needs is shown by one that has nothing wrong. */
static __attribute__((noinline)) void try_gate(void) {
        struct guard g = { .fd = device };
        struct victim v = { .seed = 71 };
        long err;

        n_stolen = 0;
        secret_make(v.secret, v.seed);
        guard_secret(&g, v.secret, sizeof(v.secret));
        err = guarded(&g, as_the_stub, &v);
        report("as-the-stub", answer == 0 && err == -ENOENT && secret_in(stolen, n_stolen, v.seed),
               "told %ld: in a stub that jumps where r15 says all can be forged; a second time %ld",
               answer, err);
}

/* --- code that is no code to be relied on, before anything --- */

static void try_sites(void) {
        void *anonymous = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        int fd = open(CODE, O_RDWR | O_CREAT, 0700);
        struct {
                const char *what;
                uintptr_t site;
        } rows[] = {
                { "nothing", 0 },
                { "the kernel", ~0ul - 4095 },
                { "data", (uintptr_t) stolen },
                { "anonymous code", (uintptr_t) anonymous },
                { "shared code", (uintptr_t) mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0) },
                { "writable code",
                  (uintptr_t) mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0) },
        };

        memset(anonymous, 0xc3, 4096);
        mprotect(anonymous, 4096, PROT_READ | PROT_EXEC);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint64_t word = 0x1234567890abcdef;
                struct mlg_ss_range range = { (uintptr_t) &word, 8, 0 };
                struct mlg_ss_protect p = { .ranges = (uintptr_t) &range,
                                            .n_ranges = 1,
                                            .site = rows[i].site };
                long err = ss_ioctl(device, MLG_SS_IOC_PROTECT, (unsigned long) &p);

                report("site", err == -EACCES && word == 0x1234567890abcdef, "%s: %ld", rows[i].what, err);
        }
        close(fd);
        unlink(CODE);
}

/* --- a tracer that stays --- */

static void attach(void *arg) {
        pid_t parent = getpid(), child;
        int fds[2];
        char byte;

        (void) arg;
        if (pipe(fds) < 0)
                return;
        child = fork();
        if (child == 0) {
                int status;

                if (ptrace(PTRACE_ATTACH, parent, NULL, NULL) < 0 || waitpid(parent, &status, __WALL) < 0)
                        _exit(1);
                ptrace(PTRACE_CONT, parent, NULL, NULL);
                if (write(fds[1], "", 1) < 0)
                        _exit(1);
                waitpid(parent, &status, __WALL); /* its end */
                _exit(0);
        }
        close(fds[1]);
        while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
                ;
}

static void unmap(void *arg) {
        munmap(*(void **) arg, 4096);
}

static void share(void *arg) {
        mmap(*(void **) arg, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

static void make_read_only(void *arg) {
        mprotect(*(void **) arg, 4096, PROT_READ);
}

static void try_killed(const char *name, callee *attack, int counter) {
        long before = stat_of("violation_stat", counter);
        int status;
        pid_t child = fork();

        if (child == 0) {
                struct guard g = { .fd = open_device() };
                uint8_t *heap = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                secret_make(heap, 81);
                guard_secret(&g, heap, SECRET_BYTES);
                guarded(&g, attack, &heap);
                _exit(0);
        }
        waitpid(child, &status, 0);
        report(name,
               WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
                       stat_of("violation_stat", counter) == before + 1,
               "status %#x", (unsigned) status);
}

void cases_forging(void) {
        long before = stat_of("violation_stat", 2);

        start_helper();
        try_gate();
        try_forging("another-site", from_elsewhere, -EPERM, 61, false);
        try_forging("another-sp", other_sp, -EPERM, 62, false);
        try_forging("another-thread", by_thread, -ENOENT, 63, false);
        try_forging("child", by_fork, -EPERM, 64, false);
        try_forging("another-process", by_process, -EPERM, 65, false);
        code = map_code(NULL);
        try_forging("mapped-over", by_other_mapping, -EPERM, 66, true);
        munmap(code, 4096);
        code = map_code(NULL);
        try_forging("patched", by_patching, -EPERM, 67, true);
        munmap(code, 4096);
        code = map_code(NULL);
        try_forging("patched-by-proc", by_proc_mem, -EPERM, 68, true);
        try_sites();
        try_killed("traced-since", attach, 4);
        try_killed("unmapped", unmap, 5);
        try_killed("made-shared", share, 5);
        try_killed("made-read-only", make_read_only, 5);
        report("violations", stat_of("violation_stat", 2) >= before + 6, "%ld for other places were counted",
               stat_of("violation_stat", 2) - before);
        close(helper);
}
