/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* SecureStack for C programs: functions that are not trusted are called while the program's secrets are not
 * in its memory. securestack(3) describes all of it; securestack.hpp is the same for C++, and ss-wrap(1)
 * does it without a change of source.
 *
 *     uint8_t key[32];
 *     SS_SECRET(key);                            hidden until the end of the block, then wiped
 *     struct ss_call call = SS_CALL(0);
 *     ss_expose(&call, &stream, sizeof stream);  what the callee may see and change of what is hidden
 *     int r = ss_call(&call, inflate, &stream, Z_FINISH);
 *     if (call.status < 0)
 *             errx(1, "%s", ss_strerror(call.status));    inflate() was not called
 *
 * Invariant: if it cannot be done as asked, the function is not called. */
#pragma once
#pragma GCC system_header /* for -Wpedantic, which complains about __VA_OPT__ */

#include <stddef.h>
#include <stdint.h>

#include "memlego/securestack-gate.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How. */
#define SS_FRAME 1u /* hide the whole frame of the caller, not only what it has named */
#define SS_FORK 2u  /* a child that the callee makes by fork() may return from it as well */
#define SS_WIDE 4u /* the result may be a vector wider than 16 bytes: both registers for it are kept whole */
#define SS_NEVER_REFUSE \
        8u /* instead of refusing the call, end the process: for callers that could not be told */
/* of ss_init() */
#define SS_PORTABLE 16u /* without the module, copies in memory of the process are better than nothing */

#define SS_RANGES 8u        /* ss_hide() and ss_expose() of one call */
#define SS_STACK_BYTES 128u /* of arguments on the stack */

/* Which memory a function that is called by a wrapper may see and change, found by its arguments. */
struct ss_see {
        uint8_t argument; /* 1 to 6 */
        uint8_t loaded;   /* the address is in memory: offset bytes behind what the argument points to */
        uint16_t offset;  /* else added to the argument */
        uint8_t size_argument; /* 0: `bytes` is all; 1 to 6: times that argument */
        uint8_t size_loaded; /* 0: the argument; 4, 8: such a word, size_offset behind what it points to */
        uint16_t size_offset;
        uint32_t bytes;
};
#define SS_STRING 0xffffffffu /* as ss_see.bytes: up to the NUL */

/* A function. */
struct ss_spec {
        void (*function)(void);
        uint32_t flags;       /* SS_FRAME, ... */
        uint32_t clear_bytes; /* cleared below the stack in any case; 0: as far as it was used */
        uint16_t stack_bytes; /* arguments on the stack */
        uint8_t vectors;      /* arguments in vector registers */
        uint8_t n_sees;
        uint32_t reserved;
        const struct ss_see *sees;
        const char *name; /* of a wrapped function */
};

struct ss_range {
        void *address;
        uint32_t bytes;
        uint32_t exposed;
};

/* A call. Begins as SS_CALL(flags), and is good for one call at a time. All but `status` is the library's.
 * */
struct ss_call {
        int status; /* 0, or -errno: the function was not called, see ss_strerror() */
        uint32_t n_ranges;
        struct ss_spec spec;
        void *frame_end;
        struct ss_call *next;
        struct ss_range ranges[SS_RANGES];
};
#define SS_CALL(how) \
        { \
                .spec = {.flags = (how) } \
        }

/* What hides it. */
enum ss_backend {
        SS_NONE,
        SS_KERNEL, /* securestack.ko: not in the process at all */
        SS_KEYS,   /* memory protection keys: in the process, where ordinary loads fault */
        SS_COPIES, /* somewhere else in the process: helps against what reads on the stack only */
};

/* Opens the module; 0 or -errno. Not needed, but for SS_PORTABLE, as else the first call does it. Once only:
 * later calls say what came of it. */
int ss_init(unsigned flags);
enum ss_backend ss_backend(void);
/* What -errno of this library means, and what to do. Never NULL. */
const char *ss_strerror(int status);

/* Memory that is hidden in this call besides, for example what a pointer on the stack points to; and what is
 * not hidden, although it lies in what is. More than SS_RANGES of both are an error of the call. */
void ss_hide(struct ss_call *call, void *address, size_t bytes);
void ss_expose(struct ss_call *call, void *address, size_t bytes);

/* What the macros use. */
struct ss_secret {
        void *address;
        size_t bytes;
        size_t index;
};
struct ss_secret ss_secret_begin_(void *address, size_t bytes, void *frame_end);
void ss_secret_end_(struct ss_secret *secret);
void ss_gate_(void);
/* Returns GATE, so that compilers do not see what is called by another type than it has. */
void *ss_arm_(struct ss_call *call, void (*function)(void), unsigned classes, void *frame_end,
              void (*gate)(void));

#ifndef __cplusplus
/* VARIABLE is secret: hidden in all of this thread's calls to the end of the block, and then wiped. */
#define SS_SECRET(variable) \
        __attribute__((cleanup(ss_secret_end_), unused)) \
        struct ss_secret SS_NAME_(ss_secret_, __COUNTER__) = \
                ss_secret_begin_(&(variable), sizeof(variable), __builtin_dwarf_cfa())

/* FUNCTION(...), with all secrets hidden; 0 if that is not possible, see call->status. Up to 16 arguments:
 * numbers and pointers, but no long double; a structure is handed over by a pointer. */
#define ss_call(call, function, ...) \
        ((void) SS_SCALAR_( \
                 __builtin_choose_expr(__builtin_types_compatible_p(__typeof__((function) (__VA_ARGS__)), \
                                                                    void), \
                                       0, (function) (__VA_ARGS__))), \
         ((__typeof__(&*(function))) ss_arm_((call), (void (*)(void))(function), \
                                             SS_CLASSES_(SS_COUNT_(__VA_ARGS__)) SS_EACH_(__VA_ARGS__), \
                                             __builtin_dwarf_cfa(), ss_gate_))(__VA_ARGS__))

/* An argument's type is not its parameter's, so of N arguments any may be in vector registers or on the
 * stack: no more than these. Low byte: vector registers; then bytes on the stack; 0x1000000: cannot be
 * handed over. */
#define SS_CLASSES_(n) (((n) > 6 ? 8u * ((n) -6u) : 0u) << 8 | ((n) < 8 ? (n) : 8u))
#define SS_CLASS_(x) +SS_SCALAR_(x) * _Generic((x), long double : 0x1000000u, default : 0u)
/* 1; or an error where x is a structure or a union (classes 12 and 13), for which there would be a hidden
 * pointer or a copy. */
#define SS_SCALAR_(x) \
        (unsigned) sizeof( \
                char[__builtin_classify_type(x) != 12 && __builtin_classify_type(x) != 13 ? 1 : -1])
#define SS_NAME_(a, b) SS_NAME2_(a, b)
#define SS_NAME2_(a, b) a##b
#define SS_EACH_(...) SS_NAME_(SS_EACH, SS_COUNT_(__VA_ARGS__))(__VA_ARGS__)
#define SS_COUNT_(...) \
        SS_17TH_(_ __VA_OPT__(, ) __VA_ARGS__, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, _)
#define SS_17TH_(_0, _1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, n, ...) n
#define SS_EACH0(...)
#define SS_EACH1(x) SS_CLASS_(x)
#define SS_EACH2(x, ...) SS_CLASS_(x) SS_EACH1(__VA_ARGS__)
#define SS_EACH3(x, ...) SS_CLASS_(x) SS_EACH2(__VA_ARGS__)
#define SS_EACH4(x, ...) SS_CLASS_(x) SS_EACH3(__VA_ARGS__)
#define SS_EACH5(x, ...) SS_CLASS_(x) SS_EACH4(__VA_ARGS__)
#define SS_EACH6(x, ...) SS_CLASS_(x) SS_EACH5(__VA_ARGS__)
#define SS_EACH7(x, ...) SS_CLASS_(x) SS_EACH6(__VA_ARGS__)
#define SS_EACH8(x, ...) SS_CLASS_(x) SS_EACH7(__VA_ARGS__)
#define SS_EACH9(x, ...) SS_CLASS_(x) SS_EACH8(__VA_ARGS__)
#define SS_EACH10(x, ...) SS_CLASS_(x) SS_EACH9(__VA_ARGS__)
#define SS_EACH11(x, ...) SS_CLASS_(x) SS_EACH10(__VA_ARGS__)
#define SS_EACH12(x, ...) SS_CLASS_(x) SS_EACH11(__VA_ARGS__)
#define SS_EACH13(x, ...) SS_CLASS_(x) SS_EACH12(__VA_ARGS__)
#define SS_EACH14(x, ...) SS_CLASS_(x) SS_EACH13(__VA_ARGS__)
#define SS_EACH15(x, ...) SS_CLASS_(x) SS_EACH14(__VA_ARGS__)
#define SS_EACH16(x, ...) SS_CLASS_(x) SS_EACH15(__VA_ARGS__)
#endif

#ifdef __cplusplus
}
#endif
