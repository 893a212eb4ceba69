/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of libsecurestack share.
 *
 * All of it is compiled without vector registers, because the gate calls it while arguments and results are
 * in them. What it calls of other libraries on the way goes through ss_slowly().
 *
 * A thread has *records*, one for each call that it is in, in a stack of their own: which ranges are hidden,
 * and where their copies are, if there are any. A record that lies below the end of the frame that runs is
 * of a call that is gone. Handlers of signals may make calls at any time, so a record is in its place before
 * it is filled, and what lies behind its end is theirs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memlego/securestack-abi.h"
#include "memlego/securestack.h"

/* The gate's frame; its head has a picture. */
struct ss_frame {
        uint8_t stack_arguments[SS_STACK_BYTES];
        uint64_t arguments[6];
        uint64_t rax;
        void (*function)(void);
        uint64_t low;
        uint64_t how;
        uintptr_t jumped;
        uint64_t hidden; /* 1 between the two system calls: longjmp() has something to restore */
        struct mlg_ss_protect protect;
        const struct ss_spec *spec;
        uint64_t r15, r14, r13, r12, rbx, rbp;
        uint64_t return_address;
        uint8_t caller[];
};

struct ss_record {
        struct ss_record *below;
        uint8_t *end;       /* where the next one begins */
        uintptr_t sp;
        uintptr_t jumped;   /* where longjmp() enters its gate */
        size_t secrets_end; /* secrets of the thread that are hidden by this call and those around it */
        size_t copies_begin;
        bool fork;
        uint32_t n_ranges;
        struct mlg_ss_range ranges[];
};

struct ss_entry {
        void *address;
        size_t bytes;
        uintptr_t frame_end; /* of the function that said so */
};

/* The frame size of a caller, by where it calls from. */
struct ss_size {
        uintptr_t site;
        uintptr_t caller_site; /* what must be found at the end of the frame */
        uintptr_t bytes;       /* 0: it ends behind what rbp points to; or SS_NO_FRAME */
};
#define SS_NO_FRAME UINTPTR_MAX /* nothing of it is hidden */

#define SS_SECRETS 65536u /* of one thread */
#define SS_SIZES 256u     /* a power of two */

struct ss_thread {
        uintptr_t stack_low, stack_high;
        struct ss_entry *secrets;
        size_t n_secrets;
        struct ss_record *top;
        uint8_t *records, *records_end;
        uint8_t *copies; /* NULL until there are some: never with the module */
        size_t copies_end, copies_max;
        struct ss_size sizes[SS_SIZES];
};

/* A thread's own, made when it is first asked for; NULL and why. */
struct ss_thread *ss_thread_get(int *ret_error);
/* The same, or NULL where there is none yet. */
struct ss_thread *ss_thread_peek(void);
/* Secrets that there was no room for: nothing may be called until they are gone. */
extern _Thread_local size_t ss_lost __attribute__((tls_model("initial-exec")));
/* Forgets what is of frames that are gone: a function whose frame ends at BELOW is running, or was called
 * last. */
void ss_thread_prune(struct ss_thread *t, uintptr_t below);

/* Where the frame of the function that called the gate ends: 0 if there is nothing that tells. */
uintptr_t ss_caller_end(struct ss_thread *t, struct ss_frame *frame);

/* 0 or -errno: whether there is a back-end. */
int ss_ready(void);
extern enum ss_backend ss_used;
extern int ss_key;                      /* of SS_KEYS */
int ss_copies_get(struct ss_thread *t); /* 0 or -errno: whether there is memory for copies */
int ss_key_new(void);                   /* a key, or -errno */

/* CALL(argument), with vector registers as they are afterwards. */
void *ss_slowly(void *(*call)(void *), void *argument);
_Noreturn void ss_die(const char *what, const char *why);

/* What the gate calls, in this order. */
struct ss_scrub {
        uint64_t low, how;
};
int ss_enter_(struct ss_frame *frame);
int ss_copy_out_(struct ss_frame *frame);
void ss_copy_in_(struct ss_frame *frame);
struct ss_scrub ss_leave_(struct ss_frame *frame);
void ss_refuse_(struct ss_frame *frame, int64_t status);
_Noreturn void ss_jump_(void);
struct _Unwind_Exception;
_Noreturn void ss_uncaught_(struct ss_frame *frame, struct _Unwind_Exception *exception);
void ss_scrub_(uintptr_t low, uint64_t how);
extern int ss_fd_; /* of the module; -1: copies are used */
