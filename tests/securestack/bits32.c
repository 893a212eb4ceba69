// SPDX-License-Identifier: GPL-2.0-or-later
/* A program of 32 bits with a secret on its stack, which securestack.ko guards. libsecurestack is for 64 bits,
 * so it makes the system calls itself; and it is built without a C library, which would have to be installed
 * for 32 bits as well.
 *
 * Each case is a line, "ok NAME: what was seen" or "BAD NAME: ..."; the last one is "N ok, N bad". */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memlego/securestack-abi.h"

#define NR_EXIT 1
#define NR_WRITE 4
#define NR_OPEN 5
#define NR_IOCTL 54
#define O_RDWR 2
#define EPERM 1
#define ENOENT 2
#define EFAULT 14
#define SECRET_WORDS 16
#define DEEP_BYTES 4096u

_Static_assert(MLG_SS_IOC_PROTECT == 0x40204de1 && MLG_SS_IOC_RESTORE == 0x4de2 &&
                       offsetof(struct mlg_ss_protect, site) == 16,
               "the stub has these as numbers");

typedef void callee(void *data);
int stub(int fd, struct mlg_ss_protect *p, callee *fn, void *data);
int forge(int fd, uint32_t sp, const void *at);
extern const char stub_restore[];

/* Behind the site the stub goes on where edi says, so that a forged use of it comes back; that makes it no good
 * for anything else. */
__asm__(".text\n"
        "stub:\n"
        "       push %ebp; push %ebx; push %esi; push %edi\n"
        "       mov 20(%esp), %ebx; mov 24(%esp), %edx\n"
        "       movl $site, 16(%edx); movl $0, 20(%edx)\n"
        "       mov $54, %eax; mov $0x40204de1, %ecx; int $0x80\n"
        "       test %eax, %eax; jnz 1f\n"
        "       pushl 32(%esp); call *32(%esp); add $4, %esp\n"
        "       mov $54, %eax; mov 20(%esp), %ebx; mov $0x4de2, %ecx; xor %edx, %edx\n"
        "       mov $1f, %edi\n"
        "stub_restore:\n"
        "       int $0x80\n"
        "site:  jmp *%edi\n"
        "1:     pop %edi; pop %esi; pop %ebx; pop %ebp\n"
        "       ret\n"
        /* RESTORE by the instruction `at`, with that stack pointer. */
        "forge: push %ebp; push %ebx; push %esi; push %edi\n"
        "       mov 20(%esp), %ebx; mov 28(%esp), %esi\n"
        "       mov %esp, %ebp; mov 24(%esp), %esp\n"
        "       mov $54, %eax; mov $0x4de2, %ecx; xor %edx, %edx\n"
        "       mov $2f, %edi; jmp *%esi\n"
        "2:     mov %ebp, %esp\n"
        "       pop %edi; pop %esi; pop %ebx; pop %ebp\n"
        "       ret\n"
        ".globl _start\n"
        "_start: xor %ebp, %ebp; and $-16, %esp; call run\n");

static int call3(int number, uintptr_t a, uintptr_t b, uintptr_t c) {
        int result;

        __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c) : "memory");
        return result;
}

/* ---- what was seen ---- */

static int n_ok, n_bad;

static void say(const char *text) {
        size_t n = 0;

        while (text[n])
                n++;
        (void) call3(NR_WRITE, 1, (uintptr_t) text, n);
}

static void say_number(int value) {
        char digits[12], *at = digits + sizeof digits;
        uint32_t rest = value < 0 ? -(uint32_t) value : (uint32_t) value;

        *--at = '\0';
        do
                *--at = (char) ('0' + rest % 10);
        while ((rest /= 10) > 0);
        if (value < 0)
                *--at = '-';
        say(at);
}

static void report(const char *name, bool good, const char *what, int value) {
        if (good)
                n_ok++;
        else
                n_bad++;
        say(good ? "ok " : "BAD ");
        say(name);
        say(": ");
        say(what);
        say(" ");
        say_number(value);
        say("\n");
}

/* ---- cases ---- */

struct victim {
        volatile uint32_t secret[SECRET_WORDS];
        int fd;
        uint32_t sp; /* of the stub, at its system calls */
        uint32_t seen, depth;
        int elsewhere, other_sp;
};

static void make(struct victim *v) {
        for (uint32_t i = 0; i < SECRET_WORDS; i++)
                v->secret[i] = 0x9e3779b9u * (i + 1);
}

static int n_whole(const struct victim *v) {
        int n = 0;

        for (uint32_t i = 0; i < SECRET_WORDS; i++)
                n += v->secret[i] == 0x9e3779b9u * (i + 1);
        return n;
}

/* Reads what it should not, says RESTORE from elsewhere, and by the stub's with another stack pointer. */
static void attack(void *data) {
        struct victim *v = data;
        struct mlg_ss_stat stat = { 0 };

        for (uint32_t i = 0; i < SECRET_WORDS; i++)
                v->seen |= v->secret[i];
        (void) call3(NR_IOCTL, (uintptr_t) v->fd, MLG_SS_IOC_STAT, (uintptr_t) &stat);
        v->depth = stat.depth;
        v->elsewhere = call3(NR_IOCTL, (uintptr_t) v->fd, MLG_SS_IOC_RESTORE, 0);
        v->other_sp = forge(v->fd, (uint32_t) __builtin_frame_address(0) - 512, stub_restore);
        for (uint32_t i = 0; i < SECRET_WORDS; i++)
                v->seen |= v->secret[i];
}

static struct mlg_ss_protect of(const struct mlg_ss_range *range) {
        return (struct mlg_ss_protect){ .ranges = (uintptr_t) range, .n_ranges = 1 };
}

static __attribute__((noinline)) void guard(int fd) {
        struct victim v = { .fd = fd };
        struct mlg_ss_range range = { .address = (uintptr_t) v.secret, .bytes = sizeof v.secret };
        struct mlg_ss_protect p = of(&range);
        int r;

        make(&v);
        attack(&v);
        report("unguarded", v.seen != 0, "the callee reads the secret; to restore it without a PROTECT says",
               v.elsewhere);
        report("nothing", v.elsewhere == -ENOENT && v.other_sp == -ENOENT, "and by the stub", v.other_sp);
        v.seen = 0;
        r = stub(fd, &p, attack, &v);
        report("guarded", r == 0 && v.seen == 0 && v.depth == 1,
               "the callee reads nothing but zeroes; RESTORE says", r);
        report("whole", n_whole(&v) == SECRET_WORDS, "words that are back, of 16:", n_whole(&v));
        report("elsewhere", v.elsewhere == -EPERM, "RESTORE from another place says", v.elsewhere);
        report("other-stack-pointer", v.other_sp == -EPERM, "with another stack pointer", v.other_sp);
}

/* Addresses are 64 bits wide in the contract: what is beyond 32 is not cut off. */
static __attribute__((noinline)) void guard_too_far(int fd) {
        struct victim v = { .fd = fd };
        struct mlg_ss_range range = { .address = (uintptr_t) v.secret | 1ull << 32,
                                      .bytes = sizeof v.secret };
        struct mlg_ss_protect p = of(&range);
        int r;

        make(&v);
        r = stub(fd, &p, attack, &v);
        report("beyond-32-bits", r == -EFAULT && v.seen == 0, "PROTECT there says", r);
        report("untouched", n_whole(&v) == SECRET_WORDS, "words of the secret, of 16:", n_whole(&v));
}

static __attribute__((noinline)) void leave(void) {
        struct victim deep[8];

        for (int i = 0; i < 8; i++)
                make(&deep[i]);
}

/* Below the red zone, which is the callers' own. */
static __attribute__((noinline)) int n_left(void) {
        const volatile uint32_t *here = __builtin_frame_address(0);
        int n = 0;

        for (uint32_t i = MLG_SS_RED_ZONE_BYTES / 4; i < DEEP_BYTES / 4; i++)
                n += here[-(int) i] == 0x9e3779b9u * SECRET_WORDS;
        return n;
}

static void clear(int fd) {
        int before, r, after;

        leave();
        before = n_left();
        leave();
        r = call3(NR_IOCTL, (uintptr_t) fd, MLG_SS_IOC_CLEAR, DEEP_BYTES);
        after = n_left();
        report("left", before > 0, "words of a frame that is gone, below the stack:", before);
        report("cleared", r == 0 && after == 0, "after CLEAR:", after);
}

__attribute__((used)) static void run(void) {
        struct mlg_ss_about about = { 0 };
        int fd = call3(NR_OPEN, (uintptr_t) MLG_SS_DEVICE, O_RDWR, 0), r;

        r = call3(NR_IOCTL, (uintptr_t) fd, MLG_SS_IOC_ABOUT, (uintptr_t) &about);
        report("about", r == 0 && about.magic == MLG_SS_MAGIC && about.call_bytes_max > 0, "it answers", r);
        if (r == 0) {
                guard(fd);
                guard_too_far(fd);
                clear(fd);
        }
        say_number(n_ok);
        say(" ok, ");
        say_number(n_bad);
        say(" bad\n");
        (void) call3(NR_EXIT, n_bad > 0, 0, 0);
        __builtin_unreachable();
}
