/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Limits: what is refused, and that nothing was touched then; what is wiped, and when. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sscases.h"

#define PARAMETERS "/sys/module/securestack/parameters/"
#define WAIT_MSEC 5000

/* The old value. */
static long set_parameter(const char *name, long value) {
        char path[96];
        long old = -1;
        FILE *f;

        snprintf(path, sizeof(path), PARAMETERS "%s", name);
        f = fopen(path, "r+e");
        if (!f || fscanf(f, "%ld", &old) != 1 || fseek(f, 0, SEEK_SET) != 0 ||
            fprintf(f, "%ld", value) < 0 || fclose(f) != 0) {
                perror(path);
                exit(2);
        }
        return old;
}

static long protect(const struct mlg_ss_range *range, uint32_t n, struct mlg_ss_protect more) {
        more.ranges = (uintptr_t) range;
        more.n_ranges = n;
        if (more.site == 0)
                more.site = (uintptr_t) stub_site;
        return ss_ioctl(device, MLG_SS_IOC_PROTECT, (unsigned long) &more);
}

static void try_nonsense(void) {
        uint8_t *pages = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        uint8_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        const uintptr_t a = (uintptr_t) pages, b = a + 4096, c = a + 2 * 4096;
        const struct {
                const char *what;
                struct mlg_ss_range range;
                uint32_t n;
                struct mlg_ss_protect more;
                long err;
        } rows[] = {
                { "no range", { a, 8, 0 }, 0, { 0 }, -EINVAL },
                { "too many ranges", { a, 8, 0 }, MLG_SS_RANGES_MAX + 1, { 0 }, -EINVAL },
                { "an empty range", { a, 0, 0 }, 1, { 0 }, -EINVAL },
                { "an unknown flag of a range", { a, 8, 2 }, 1, { 0 }, -EINVAL },
                { "an unknown flag", { a, 8, 0 }, 1, { .flags = 2 }, -EINVAL },
                { "something reserved", { a, 8, 0 }, 1, { .reserved = 1 }, -EINVAL },
                { "too much to clear", { a, 8, 0 }, 1, { .clear_bytes = 1u << 30 }, -EINVAL },
                { "one that wraps around", { ~0ul - 3, 8, 0 }, 1, { 0 }, -EINVAL },
                { "the kernel's memory", { 0xffff888000000000, 8, 0 }, 1, { 0 }, -EFAULT },
                { "no memory there", { 4096, 8, 0 }, 1, { 0 }, -EFAULT },
                { "into what cannot be written", { b - 16, 32, 0 }, 1, { 0 }, -EFAULT },
                { "from what is not there", { c - 8, 16, 0 }, 1, { 0 }, -EFAULT },
                { "shared memory", { (uintptr_t) shared, 8, 0 }, 1, { 0 }, -EOPNOTSUPP },
                { "too much at once", { a, (256u << 10) + 1, 0 }, 1, { 0 }, -E2BIG },
        };

        memset(pages, 0x5a, 3 * 4096);
        memset(shared, 0x5a, 4096);
        mprotect(pages + 4096, 4096, PROT_READ);
        munmap(pages + 2 * 4096, 4096);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                long err = protect(&rows[i].range, rows[i].n, rows[i].more);
                bool touched = memchr(pages, 0, 2 * 4096) || memchr(shared, 0, 4096);

                report("refused", err == rows[i].err && !touched, "%s: %ld%s", rows[i].what, err,
                       touched ? ", TOUCHED" : "");
        }
        report("refused", ss_ioctl(device, MLG_SS_IOC_PROTECT, 8) == -EFAULT, "a call that cannot be read");
        report("refused", ss_ioctl(device, MLG_SS_IOC_RESTORE, 1ul << 32) == -EINVAL,
               "a restore that clears too much");
        report("refused", ss_ioctl(device, 0x4dff, 0) == -ENOTTY, "an unknown ioctl");
        report("refused",
               ss_ioctl(device, MLG_SS_IOC_SNAPSHOT, 0) == -EBADF &&
                       ss_ioctl(device, MLG_SS_IOC_SNAPSHOT, (unsigned long) -1) == -EBADF,
               "a snapshot of no such file");
}

static void does_nothing(__attribute__((unused)) void *arg) {}

/* What was the process's own when it was hidden the last time may have become something else. */
static void try_changed(void) {
        const struct {
                const char *what;
                int protection, flags; /* of what is mapped in its place */
                long err;
        } rows[] = {
                { "own memory", PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0 },
                { "shared memory", PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -EOPNOTSUPP },
                { "own memory once more", PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, 0 },
                { "memory to be read only", PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -EFAULT },
        };
        uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct guard g = { .fd = device };

        guard_secret(&g, page, SECRET_BYTES);
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                long before = guarded(&g, does_nothing, NULL), after;

                mmap(page, 4096, rows[i].protection, rows[i].flags | MAP_FIXED, -1, 0);
                after = guarded(&g, does_nothing, NULL);
                report("changed", before == 0 && after == rows[i].err, "to %s: %ld, %ld", rows[i].what, before,
                       after);
                mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        }
        mprotect(page, 4096, PROT_READ);
        report("changed", guarded(&g, does_nothing, NULL) == -EFAULT, "and made so that it cannot be written to");
        munmap(page, 4096);
        report("changed", guarded(&g, does_nothing, NULL) == -EFAULT, "and unmapped");
}

/* Nested until it is refused, by threads of which each has a stack of its own. */
static long refusal;
static uint32_t refused_at, damaged;

static __attribute__((noinline)) void deeper(void *arg) {
        uint32_t depth = *(uint32_t *) arg + 1;
        struct guard g = { .fd = device };
        uint8_t secret[SECRET_BYTES], big[1024];
        long err;

        memset(big, 1, sizeof(big));
        secret_make(secret, depth);
        guard_secret(&g, secret, sizeof(secret));
        guard_secret(&g, big, sizeof(big));
        err = guarded(&g, deeper, &depth);
        if (err < 0 && guard_stage == 0) {
                refusal = err;
                refused_at = depth;
        }
        guard_stage = 2;
        damaged += !secret_is(secret, depth) || memchr(big, 0, sizeof(big));
}

static void try_limit(const char *name, const char *parameter, long value, long expected, uint32_t low,
                      uint32_t high) {
        long old = set_parameter(parameter, value);
        uint32_t depth = 0;

        refusal = refused_at = damaged = 0;
        deeper(&depth);
        set_parameter(parameter, old);
        report(name, refusal == expected && refused_at >= low && refused_at <= high && damaged == 0,
               "%ld at depth %u, %u frames damaged", refusal, refused_at, damaged);
}

/* A user who is not root, on his own account. */
static void try_user(void) {
        int status;
        pid_t child = fork();

        if (child == 0) {
                uint8_t secret[SECRET_BYTES];
                struct guard g = { .n = 0 };

                if (setgid(1000) < 0 || setuid(1000) < 0)
                        _exit(2);
                g.fd = open_device();
                secret_make(secret, 121);
                guard_secret(&g, secret, sizeof(secret));
                _exit(guarded(&g, does_nothing, NULL) == 0 && secret_is(secret, 121) ? 0 : 1);
        }
        waitpid(child, &status, 0);
        report("unprivileged", status == 0, "status %#x", (unsigned) status);
}

/* --- what is wiped --- */

static void exits(void *arg) {
        (void) arg;
        _exit(0);
}

static void executes(void *arg) {
        (void) arg;
        fcntl(device, F_SETFD, 0); /* it stays open */
        execlp("sleep", "sleep", "1000", NULL);
}

static void closes(void *arg) {
        close(*(int *) arg);
}

/* As pthread_exit() does in the end, which wants a library that is not here. */
static void ends(void *arg) {
        (void) arg;
        syscall(SYS_exit, 0);
}

static void *ends_thread(void *arg) {
        struct guard g = { .fd = device };
        uint8_t secret[SECRET_BYTES];

        secret_make(secret, 131);
        guard_secret(&g, secret, sizeof(secret));
        guarded(&g, ends, arg);
        return NULL;
}

static bool becomes(const char *file, long value) {
        for (int i = 0; i < WAIT_MSEC && stat_of(file, 1) != value; i++)
                usleep(1000);
        return stat_of(file, 1) == value;
}

static void try_wipe(const char *name, callee *fn, bool lives) {
        long before = stat_of("held_stat", 1), calls = stat_of("call_stat", 1);
        int status;
        pid_t child = fork();
        bool began, wiped;

        if (child == 0) {
                struct guard g = { .n = 0 };
                uint8_t secret[SECRET_BYTES];

                device = g.fd = open_device();
                secret_make(secret, 132);
                guard_secret(&g, secret, sizeof(secret));
                guarded(&g, fn, &g.fd);
                pause();
        }
        if (!lives)
                waitpid(child, &status, 0);
        began = becomes("call_stat", calls + 1);
        wiped = becomes("held_stat", before);
        if (lives) {
                kill(child, SIGKILL);
                waitpid(child, &status, 0);
        }
        report(name, began && wiped, "%s; %ld entries before, %ld afterwards",
               began ? "was protected" : "NEVER BEGAN", before, stat_of("held_stat", 1));
}

static void try_wipe_threads(void) {
        long before = stat_of("held_stat", 1), most = 0;
        pthread_t thread;

        for (int i = 0; i < 300; i++) {
                if (pthread_create(&thread, NULL, ends_thread, NULL) != 0)
                        exit(2);
                pthread_join(thread, NULL);
                if (stat_of("held_stat", 1) - before > most)
                        most = stat_of("held_stat", 1) - before;
        }
        report("threads-end", most > 0 && most <= 130,
               "of 300 that ended in a callee at most %ld had left something", most);
}

void cases_limits(void) {
        try_nonsense();
        try_changed();
        try_limit("quota", "user_kib", 64, -EDQUOT, 40, 64);
        try_limit("depth", "depth", 100, -ENOSPC, 101, 101);
        try_user();
        try_wipe("exit-in-callee", exits, false);
        try_wipe("exec-in-callee", executes, true);
        try_wipe("close-in-callee", closes, true);
        try_wipe_threads();
}
