// SPDX-License-Identifier: LGPL-2.1-or-later
/* longjmp() out of a protected call: what was hidden for it comes back first.
 *
 * The functions of that name stand before the C library's. A jump that leaves calls behind goes through
 * their gates, the innermost first: each restores what it has hidden, and jumps on. The frames that are left
 * for good are zeroed then. Invariant: a jmp_buf is read only when it is not hidden itself. */
#include <dlfcn.h>
#include <setjmp.h>

#include "internal.h"

#define JB_RSP 6 /* of glibc's jmp_buf; rotated and xored with the word at fs:0x30 */

_Noreturn void longjmp(jmp_buf env, int value);
_Noreturn void _longjmp(jmp_buf env, int value);
_Noreturn void siglongjmp(sigjmp_buf env, int value);
_Noreturn void __longjmp_chk(jmp_buf env, int value);

static _Thread_local struct {
        void *env;
        int value;
        bool crossed;
} jump __attribute__((tls_model("initial-exec")));

static uintptr_t target(const void *env) {
        uintptr_t sp = ((const uintptr_t *) env)[JB_RSP];

        __asm__("rorq $17, %0\n\txorq %%fs:0x30, %0" : "+r"(sp));
        return sp;
}

static bool is_hidden(const struct ss_record *record, uintptr_t address) {
        bool hidden = false;

        for (uint32_t i = 0; i < record->n_ranges; i++) {
                const struct mlg_ss_range *range = &record->ranges[i];

                if (address - range->address >= range->bytes)
                        continue;
                if (range->flags & MLG_SS_EXCEPTION)
                        return false;
                hidden = true;
        }
        return hidden;
}

/* Not between a record's making and its call, or between that and its end, where a handler of a signal may
 * jump from. */
static bool is_done(const struct ss_record *record) {
        return ((const struct ss_frame *) record->sp)->hidden & 1;
}

/* The innermost call, if this jump leaves it. */
static const struct ss_record *left(const struct ss_thread *t) {
        uintptr_t to;

        if (!t || !t->top)
                return NULL;
        for (const struct ss_record *record = t->top; record; record = record->below)
                if (is_done(record) && is_hidden(record, (uintptr_t) jump.env))
                        return t->top;
        to = target(jump.env);
        return to > t->top->sp && to <= t->stack_high ? t->top : NULL;
}

/* All from our caller's frame up to where it goes to. */
static void wipe_left(const struct ss_thread *t, uintptr_t from) {
        uintptr_t to = target(jump.env), env = (uintptr_t) jump.env;

        if (to <= from || to > t->stack_high || env - from < to - from)
                return;
        to -= from;
        __asm__ volatile("rep stosb" : "+D"(from), "+c"(to) : "a"(0) : "memory");
}

_Noreturn void ss_jump_(void) {
        static void (*next)(void *env, int value);
        struct ss_thread *t = ss_thread_peek();
        const struct ss_record *record = left(t);

        for (; record && !is_done(record); record = left(t))
                ss_thread_prune(t, record->sp + 1);
        if (record) {
                jump.crossed = true;
                __asm__ volatile("movq %0, %%rsp\n\tjmp *%1"
                                 :
                                 : "r"(record->sp), "r"(record->jumped)
                                 : "memory");
        }
        if (!next)
                next = (void (*)(void *, int)) dlsym(RTLD_NEXT, "siglongjmp");
        if (jump.crossed)
                wipe_left(t, (uintptr_t) __builtin_dwarf_cfa());
        next(jump.env, jump.value);
        ss_die("longjmp", "it came back");
}

static _Noreturn void begin(void *env, int value) {
        jump.env = env;
        jump.value = value;
        jump.crossed = false;
        ss_jump_();
}

void siglongjmp(sigjmp_buf env, int value) {
        begin(env, value);
}

void longjmp(jmp_buf env, int value) {
        begin(env, value);
}

void _longjmp(jmp_buf env, int value) {
        begin(env, value);
}

void __longjmp_chk(jmp_buf env, int value) {
        begin(env, value);
}
