/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sscases.h"

volatile int guard_stage;

_Static_assert(MLG_SS_IOC_PROTECT == 0x40204de1, "PROTECT");
_Static_assert(MLG_SS_IOC_RESTORE == 0x4de2, "RESTORE");
_Static_assert(SYS_ioctl == 16, "ioctl");
_Static_assert(offsetof(struct mlg_ss_protect, site) == SITE_OFFSET, "site");

/* rdi fd, rsi call, rdx fn, rcx arg, r8 bytes to clear afterwards. Position independent: copies of it work
 * as well; so it tells its stage in rdx (0 or 2). Stack: eight words, and one that keeps calls aligned. */
__asm__(".pushsection .text\n"
        ".globl stub_begin, stub_call, stub_syscall, stub_site, stub_end\n"
        "stub_begin:\n"
        "stub_call:\n"
        "       push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "       push %rdi; push %r8; sub $8, %rsp\n"
        "       mov %rdx, %r12; mov %rcx, %r13\n"
        "       lea stub_site(%rip), %rax; mov %rax, 16(%rsi)\n"
        "       mov %rsi, %rdx; mov $0x40204de1, %esi; mov $16, %eax; syscall\n"
        "       xor %edx, %edx\n"
        "       test %rax, %rax; jnz 2f\n"
        "       mov %r13, %rdi; call *%r12\n"
        "       mov 16(%rsp), %rdi; mov 8(%rsp), %rdx; mov $0x4de2, %esi; mov $16, %eax\n"
        "       lea 1f(%rip), %r15\n"
        "stub_syscall:\n"
        "       syscall\n"
        "stub_site:\n"
        "       jmp *%r15\n"
        "1:     mov $2, %edx\n"
        "2:     add $24, %rsp\n"
        "       pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "       ret\n"
        "stub_end:\n"
        ".popsection\n");

/* The result is rax; rdx says how far it came. */
long guarded_by(stub *by, struct guard *g, callee *fn, void *arg) {
        struct mlg_ss_protect p = {
                .ranges = (uintptr_t) g->range,
                .n_ranges = g->n,
                .flags = g->flags,
                .clear_bytes = g->clear_before,
        };
        typedef __int128 both(int, struct mlg_ss_protect *, callee *, void *, uint64_t);
        __int128 answer;

        guard_stage = 1;
        answer = ((both *) (void *) by)(g->fd, &p, fn, arg, g->clear_after);
        guard_stage = (int) (answer >> 64);
        return (long) answer;
}

long guarded(struct guard *g, callee *fn, void *arg) {
        return guarded_by(stub_call, g, fn, arg);
}

void guard_secret(struct guard *g, const void *at, size_t bytes) {
        g->range[g->n++] = (struct mlg_ss_range) { (uintptr_t) at, (uint32_t) bytes, 0 };
}

void guard_exception(struct guard *g, const void *at, size_t bytes) {
        g->range[g->n++] = (struct mlg_ss_range) { (uintptr_t) at, (uint32_t) bytes, MLG_SS_EXCEPTION };
}

long ss_ioctl(int fd, unsigned long what, unsigned long arg) {
        long answer;

        __asm__ volatile("syscall" : "=a"(answer) : "0"(SYS_ioctl), "D"((long) fd), "S"(what), "d"(arg)
                         : "rcx", "r11", "memory");
        return answer;
}

long forge_restore(int fd, uint64_t sp, const void *at) {
        register const void *target __asm__("r8") = at;
        register uint64_t other __asm__("r9") = sp;
        long answer;

        __asm__ volatile("push %%rbp\n"
                         "mov %%rsp, %%rbp\n"
                         "lea 1f(%%rip), %%r15\n"
                         "mov %%r9, %%rsp\n"
                         "jmp *%%r8\n"
                         "1: mov %%rbp, %%rsp\n"
                         "pop %%rbp\n"
                         : "=a"(answer)
                         : "0"(SYS_ioctl), "D"((long) fd), "S"((long) MLG_SS_IOC_RESTORE), "d"(0L),
                           "r"(target), "r"(other)
                         : "rcx", "r11", "r15", "memory", "cc");
        return answer;
}
