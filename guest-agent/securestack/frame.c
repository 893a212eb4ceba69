// SPDX-License-Identifier: LGPL-2.1-or-later
/* Where a caller's frame ends, by the unwind tables of its code; and what exceptions do at the gate.
 *
 * Unwinding takes microseconds. A frame has mostly the same size at the same place of the code, so sizes are
 * remembered by it, and believed if the return address at the end of the frame is the one that was there
 * then. A function with a frame pointer tells its end itself.
 *
 * A function that ends with the call, by a jump (a tail call), has no frame any more, and its caller's is taken
 * for it. But not one of the C library's: there is nothing of the program's, but what it takes to end the
 * thread. */
#include <dlfcn.h>
#include <gnu/lib-names.h>
#include <string.h>
#include <unwind.h>

#include "internal.h"

struct search {
        struct ss_thread *t;
        const struct ss_frame *frame;
        uintptr_t end, caller_site;
        bool found, of_libc;
};

static bool is_of_libc(uintptr_t address) {
        const char *slash;
        Dl_info info;

        if (dladdr((const void *) address, &info) == 0)
                return false;
        slash = strrchr(info.dli_fname, '/');
        return strcmp(slash ? slash + 1 : info.dli_fname, LIBC_SO) == 0;
}

/* What libgcc calls the CFA of a frame in a trace is where the one below it ended. */
static _Unwind_Reason_Code look(struct _Unwind_Context *context, void *data) {
        struct search *search = data;

        if (search->found) {
                search->end = _Unwind_GetCFA(context);
                search->caller_site = _Unwind_GetIP(context);
                return _URC_END_OF_STACK;
        }
        search->found = _Unwind_GetIP(context) == search->frame->return_address &&
                        _Unwind_GetCFA(context) == (uintptr_t) search->frame->caller;
        return _URC_NO_REASON;
}

static void *search_slowly(void *data) {
        struct search *search = data;

        (void) _Unwind_Backtrace(look, search);
        search->of_libc = is_of_libc(search->frame->return_address);
        return NULL;
}

static uintptr_t word_at(uintptr_t address) {
        return *(const uintptr_t *) address;
}

static bool in_stack(const struct ss_thread *t, const struct ss_frame *frame, uintptr_t end) {
        return end >= (uintptr_t) frame->caller + 8 && end <= t->stack_high && end % 8 == 0;
}

static uintptr_t remembered(const struct ss_thread *t, const struct ss_frame *frame,
                            const struct ss_size *size) {
        uintptr_t end = size->bytes ? (uintptr_t) frame->caller + size->bytes : frame->rbp + 16;

        if (size->site != frame->return_address)
                return 0;
        if (size->bytes == SS_NO_FRAME)
                return (uintptr_t) frame->caller;
        if (!in_stack(t, frame, end))
                return 0;
        return !size->bytes || word_at(end - 8) == size->caller_site ? end : 0;
}

uintptr_t ss_caller_end(struct ss_thread *t, struct ss_frame *frame) {
        uintptr_t hash = frame->return_address ^ frame->return_address >> 9;
        struct search search = { .t = t, .frame = frame };
        struct ss_size *size;
        uintptr_t end;

        for (size_t i = 0; i < 4; i++) {
                size = &t->sizes[(hash + i) % SS_SIZES];
                end = remembered(t, frame, size);
                if (end)
                        return end;
                if (!size->site)
                        break;
        }
        (void) ss_slowly(search_slowly, &search);
        if (search.of_libc) {
                *size = (struct ss_size){ frame->return_address, 0, SS_NO_FRAME };
                return (uintptr_t) frame->caller;
        }
        if (!in_stack(t, frame, search.end) || word_at(search.end - 8) != search.caller_site)
                return 0;
        *size = (struct ss_size){ frame->return_address, search.caller_site,
                                  frame->rbp + 16 == search.end ? 0
                                                                : search.end - (uintptr_t) frame->caller };
        return search.end;
}

_Unwind_Reason_Code ss_personality_(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
                                    struct _Unwind_Exception *exception, struct _Unwind_Context *context);

/* An exception, or the end of a thread, that comes out of the callee is stopped at the gate, which restores
 * the frame and lets it go on. The table has two offsets, of the call and of the place in the gate that does
 * so. */
_Unwind_Reason_Code ss_personality_(int version, _Unwind_Action actions, _Unwind_Exception_Class class,
                                    struct _Unwind_Exception *exception, struct _Unwind_Context *context) {
        const int32_t *table = (const int32_t *) (uintptr_t) _Unwind_GetLanguageSpecificData(context);

        if (version != 1)
                return _URC_FATAL_PHASE1_ERROR;
        if (_Unwind_GetIP(context) != (uintptr_t) &table[0] + (uintptr_t) (intptr_t) table[0])
                return _URC_CONTINUE_UNWIND;
        if (actions & _UA_SEARCH_PHASE)
                return _URC_HANDLER_FOUND;
        _Unwind_SetGR(context, __builtin_eh_return_data_regno(0), (uintptr_t) exception);
        _Unwind_SetIP(context, (uintptr_t) &table[1] + (uintptr_t) (intptr_t) table[1]);
        return _URC_INSTALL_CONTEXT;
}

#define LANGUAGE 0xffffff00u /* of an exception's class, behind the vendor */
#define CPP 0x432b2b00u

/* The frame is back, and nobody above catches it: so the program ends as it would have where it was thrown.
 * What C++ does then is found by its name: programs without C++ use this library as well. */
void ss_uncaught_(struct ss_frame *frame, struct _Unwind_Exception *exception) {
        void *(*begin_catch)(void *) = (void *(*)(void *)) dlsym(RTLD_DEFAULT, "__cxa_begin_catch");
        void (*terminate)(void) = (void (*)(void)) dlsym(RTLD_DEFAULT, "_ZSt9terminatev");

        if ((exception->exception_class & LANGUAGE) == CPP && begin_catch && terminate) {
                (void) begin_catch(exception);
                terminate();
        }
        ss_die(frame->spec->name ? frame->spec->name : "a function",
               "an exception came out of it that nobody catches");
}
