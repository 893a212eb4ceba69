// SPDX-License-Identifier: LGPL-2.1-or-later
/* What the gate asks before and after a call: which memory is hidden, which is not, and whether the call may
 * be made at all.
 *
 * Invariant: until ss_enter_() has returned 0 and the back-end has done its part, the function has not been
 * called; each refusal is told to the caller by ss_call.status, or ends the process where he could not be
 * told. */
#include <errno.h>
#include <string.h>

#include "internal.h"

_Static_assert(offsetof(struct ss_frame, arguments) == 128 && offsetof(struct ss_frame, rax) == 176 &&
                       offsetof(struct ss_frame, low) == 192 && offsetof(struct ss_frame, jumped) == 208 &&
                       offsetof(struct ss_frame, hidden) == 216 &&
                       offsetof(struct ss_frame, protect) == 224 &&
                       offsetof(struct ss_frame, protect.site) == 240 &&
                       offsetof(struct ss_frame, spec) == 256 && offsetof(struct ss_frame, rbp) == 304 &&
                       offsetof(struct ss_frame, caller) == 320,
               "securestack-gate.h has these as numbers");
_Static_assert(MLG_SS_IOC_PROTECT == 0x40204de1u && MLG_SS_IOC_RESTORE == 0x4de2u,
               "securestack-gate.h has these as numbers");
_Static_assert(SS_RANGES < MLG_SS_RANGES_MAX, "one call's ranges fit");

#define SS_ARMED 0x80000000u /* of ss_spec.flags: it is part of a struct ss_call */
#define SS_OVERFLOW (SS_RANGES + 1)
#define KEEP_RESULTS 2u /* xmm0 and xmm1; bit 8: but not what is beyond them, see scrub.S */
#define NARROW 0x100u

static _Thread_local struct ss_call *armed __attribute__((tls_model("initial-exec")));

static struct ss_call *call_of(const struct ss_spec *spec) {
        if (!(spec->flags & SS_ARMED))
                return NULL;
        return (struct ss_call *) ((uintptr_t) spec - offsetof(struct ss_call, spec));
}

static void add_range(struct ss_call *call, void *address, size_t bytes, uint32_t exposed) {
        if (bytes == 0)
                return;
        if (call->n_ranges >= SS_RANGES || bytes > UINT32_MAX) {
                call->n_ranges = SS_OVERFLOW;
                return;
        }
        call->ranges[call->n_ranges++] = (struct ss_range){ address, (uint32_t) bytes, exposed };
}

void ss_hide(struct ss_call *call, void *address, size_t bytes) {
        add_range(call, address, bytes, 0);
}

void ss_expose(struct ss_call *call, void *address, size_t bytes) {
        add_range(call, address, bytes, MLG_SS_EXCEPTION);
}

/* The next pass of this thread through a gate without a wrapper is CALL. They nest: arguments may be such
 * calls themselves. */
void *ss_arm_(struct ss_call *call, void (*function)(void), unsigned classes, void *frame_end,
              void (*gate)(void)) {
        call->spec.function = function;
        call->spec.flags |= SS_ARMED;
        call->spec.vectors = (uint8_t) (classes & 0xff);
        call->spec.stack_bytes = (uint16_t) (classes < 0x1000000 ? classes >> 8 : UINT16_MAX);
        call->frame_end = frame_end;
        call->next = armed;
        armed = call;
        ss_scrub_(UINTPTR_MAX, 0); /* so that vectors hold nothing but arguments, when they have come */
        return (void *) gate;
}

static int add(struct ss_record *record, uintptr_t address, size_t bytes, uint32_t flags) {
        if (bytes == 0)
                return 0;
        if (record->n_ranges == MLG_SS_RANGES_MAX || bytes > UINT32_MAX || address + bytes < address)
                return -E2BIG;
        record->ranges[record->n_ranges++] = (struct mlg_ss_range){ address, (uint32_t) bytes, flags };
        return 0;
}

/* One of the wrappers' rules; memory that is not there (NULL) is nothing to be seen. */
static int add_seen(struct ss_record *record, const struct ss_frame *frame, const struct ss_see *see) {
        uintptr_t address = frame->arguments[see->argument - 1];
        uint64_t bytes = see->bytes, factor = 1;

        if (address && see->loaded)
                address = *(const uintptr_t *) (address + see->offset);
        else if (address)
                address += see->offset;
        if (!address)
                return 0;
        if (bytes == SS_STRING)
                return add(record, address, strlen((const char *) address) + 1, MLG_SS_EXCEPTION);
        if (see->size_argument) {
                factor = frame->arguments[see->size_argument - 1];
                if (see->size_loaded && !factor)
                        return 0;
                if (see->size_loaded == 4)
                        factor = *(const uint32_t *) ((uintptr_t) factor + see->size_offset);
                else if (see->size_loaded == 8)
                        factor = *(const uint64_t *) ((uintptr_t) factor + see->size_offset);
        }
        if (__builtin_mul_overflow(bytes, factor, &bytes))
                return -E2BIG;
        return add(record, address, bytes, MLG_SS_EXCEPTION);
}

/* What is secret but lies in the frame is in that range. */
static int add_secrets(struct ss_record *record, const struct ss_thread *t, uintptr_t begin, uintptr_t end) {
        int r = 0;

        for (size_t i = record->below ? record->below->secrets_end : 0; i < t->n_secrets && r == 0; i++) {
                uintptr_t address = (uintptr_t) t->secrets[i].address;

                if (address < begin || address + t->secrets[i].bytes > end)
                        r = add(record, address, t->secrets[i].bytes, 0);
        }
        record->secrets_end = t->n_secrets;
        return r;
}

static int add_all(struct ss_record *record, struct ss_thread *t, struct ss_frame *frame, uintptr_t end) {
        const struct ss_spec *spec = frame->spec;
        const struct ss_call *call = call_of(spec);
        uintptr_t begin = (uintptr_t) &frame->spec;
        int r;

        if (!(spec->flags & SS_FRAME))
                end = (uintptr_t) frame->caller;
        r = add(record, begin, end - begin, 0);
        if (r == 0)
                r = add_secrets(record, t, begin, end);
        for (uint32_t i = 0; r == 0 && call && i < call->n_ranges; i++)
                r = add(record, (uintptr_t) call->ranges[i].address, call->ranges[i].bytes,
                        call->ranges[i].exposed);
        for (uint8_t i = 0; r == 0 && i < spec->n_sees; i++)
                r = add_seen(record, frame, &spec->sees[i]);
        return r;
}

/* Whether the call makes sense, and where the caller's frame ends. */
static int check(struct ss_thread *t, struct ss_frame *frame, uintptr_t *ret_end) {
        const struct ss_call *call = call_of(frame->spec);
        uintptr_t sp = (uintptr_t) frame, end;

        if (sp < t->stack_low || sp >= t->stack_high)
                return -EXDEV;
        if (ss_lost || (call && call->n_ranges > SS_RANGES))
                return -E2BIG;
        if (frame->spec->stack_bytes > SS_STACK_BYTES)
                return -EDOM;
        end = call ? (uintptr_t) call->frame_end : ss_caller_end(t, frame);
        if (end < (uintptr_t) frame->caller + frame->spec->stack_bytes || end > t->stack_high)
                return -ENOEXEC;
        *ret_end = end;
        return ss_used == SS_KERNEL ? 0 : ss_copies_get(t);
}

/* Handlers of signals may have come in between, and used the same place: then once more, as from then on
 * they do not. */
static struct ss_record *push(struct ss_thread *t, const struct ss_frame *frame) {
        uint8_t *place = t->top ? t->top->end : t->records;
        struct ss_record *record = (struct ss_record *) place, new = {
                .below = t->top,
                .end = (uint8_t *) &record->ranges[MLG_SS_RANGES_MAX],
                .sp = (uintptr_t) frame,
                .jumped = frame->jumped,
                .secrets_end = t->top ? t->top->secrets_end : 0,
                .copies_begin = t->copies_end,
                .fork = frame->spec->flags & SS_FORK,
        };

        if (new.end > t->records_end)
                return NULL;
        do {
                *record = new;
                __asm__ volatile("" : : : "memory");
                t->top = record;
                __asm__ volatile("" : : : "memory");
        } while (record->sp != new.sp || t->top != record);
        return record;
}

static int prepare(struct ss_thread *t, struct ss_frame *frame) {
        const struct ss_spec *spec = frame->spec;
        struct ss_record *record;
        uintptr_t end;
        int r = check(t, frame, &end);

        if (r < 0)
                return r;
        ss_thread_prune(t, end);
        frame->hidden = 0;
        record = push(t, frame);
        if (!record)
                return -ENOSPC;
        r = add_all(record, t, frame, end);
        if (r < 0) {
                t->top = record->below;
                return r;
        }
        record->end = (uint8_t *) &record->ranges[record->n_ranges];
        frame->protect = (struct mlg_ss_protect){ .ranges = (uintptr_t) record->ranges,
                                                  .n_ranges = record->n_ranges,
                                                  .flags = record->fork ? MLG_SS_FORK : 0 };
        for (unsigned i = 0; i < spec->stack_bytes; i++)
                frame->stack_arguments[i] = frame->caller[i];
        frame->function = spec->function;
        frame->low = t->stack_low;
        frame->how = (uint64_t) spec->clear_bytes << 32 | spec->vectors;
        return 0;
}

static void refuse(const struct ss_spec *spec, int status) {
        struct ss_call *call = call_of(spec);

        if (!call || (spec->flags & SS_NEVER_REFUSE))
                ss_die(spec->name ? spec->name : "a function", ss_strerror(status));
        call->status = status;
}

int ss_enter_(struct ss_frame *frame) {
        struct ss_call *call = NULL;
        struct ss_thread *t;
        int r;

        if (!frame->spec) {
                call = armed;
                if (!call)
                        ss_die("the gate", "entered without ss_call()");
                armed = call->next;
                frame->spec = &call->spec;
                call->status = 0;
        }
        r = ss_ready();
        if (r == 0) {
                t = ss_thread_get(&r);
                if (t)
                        r = prepare(t, frame);
        }
        if (r < 0)
                refuse(frame->spec, r);
        return r;
}

struct ss_scrub ss_leave_(struct ss_frame *frame) {
        const struct ss_spec *spec = frame->spec;
        struct ss_thread *t = ss_thread_peek();

        ss_thread_prune(t, (uintptr_t) frame + 1);
        return (struct ss_scrub){ t->stack_low, (uint64_t) spec->clear_bytes << 32 | KEEP_RESULTS |
                                                        (spec->flags & SS_WIDE ? 0 : NARROW) };
}

/* The back-end did not do it. */
void ss_refuse_(struct ss_frame *frame, int64_t status) {
        ss_thread_prune(ss_thread_peek(), (uintptr_t) frame + 1);
        refuse(frame->spec, (int) status);
}
