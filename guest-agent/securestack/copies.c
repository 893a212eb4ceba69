// SPDX-License-Identifier: LGPL-2.1-or-later
/* The back-end without the module: secrets are copied to other memory of the same process, and zeroed where
 * they are.
 *
 * That is weaker, and said so in securestack(3). With memory protection keys that memory cannot be read by
 * ordinary loads, but by who executes WRPKRU or asks the kernel (/proc/self/mem); without, it can be found
 * by anybody who looks for it. Either way it is not on the stack, where what reads too far finds it.
 *
 * Copies of a thread are a stack like its records. Bytes are moved by string instructions, which leave none
 * of them in registers and which no sanitizer looks at: redzones in a hidden frame are copied with it. */
#include <errno.h>
#include <sys/mman.h>

#include "internal.h"

#define COPIES_BYTES (256u << 20) /* of one thread, by address only: beyond it calls are refused */

int ss_key = -1;

static void copy(void *to, const void *from, size_t bytes) {
        __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

static void zero(void *to, size_t bytes) {
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(0) : "memory");
}

/* Whether this thread may use memory with our key. Bit 2 x key of PKRU forbids it. */
static void allow(bool yes) {
        uint32_t bits, unused;

        if (ss_key < 0)
                return;
        __asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(bits), "=d"(unused) : "c"(0));
        bits = yes ? bits & ~(3u << 2 * ss_key) : bits | 1u << 2 * ss_key;
        __asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(bits), "d"(0), "c"(0) : "memory");
}

int ss_key_new(void) {
        int key = pkey_alloc(0, PKEY_DISABLE_ACCESS);

        return key < 0 ? -errno : key;
}

static void *copies_map(void *data) {
        struct ss_thread *t = data;
        void *memory = mmap(NULL, COPIES_BYTES, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (memory == MAP_FAILED)
                return NULL;
        if (madvise(memory, COPIES_BYTES, MADV_DONTDUMP) != 0 ||
            (ss_key >= 0 && pkey_mprotect(memory, COPIES_BYTES, PROT_READ | PROT_WRITE, ss_key) != 0)) {
                munmap(memory, COPIES_BYTES);
                return NULL;
        }
        t->copies_max = COPIES_BYTES;
        t->copies = memory;
        return NULL;
}

int ss_copies_get(struct ss_thread *t) {
        if (!t->copies)
                (void) ss_slowly(copies_map, t);
        return t->copies ? 0 : -ENOMEM;
}

/* From CURSOR on, the next bytes of RECORD that are hidden and not exposed: where, and how many; 0 at END.
 * */
static size_t next_piece(const struct ss_record *record, uintptr_t *cursor, uintptr_t end) {
        uintptr_t stop = end;

        for (uint32_t i = 0; i < record->n_ranges && *cursor < end; i++) {
                const struct mlg_ss_range *range = &record->ranges[i];

                if (!(range->flags & MLG_SS_EXCEPTION) || range->address + range->bytes <= *cursor)
                        continue;
                if (range->address <= *cursor) { /* behind it, and all of them anew */
                        *cursor = range->address + range->bytes;
                        stop = end;
                        i = UINT32_MAX;
                } else if (range->address < stop) {
                        stop = range->address;
                }
        }
        return *cursor < end ? stop - *cursor : 0;
}

static void each_hidden(const struct ss_record *record, uint8_t *copies) {
        for (uint32_t i = 0; i < record->n_ranges; i++) {
                const struct mlg_ss_range *range = &record->ranges[i];
                uintptr_t end = range->address + range->bytes;
                size_t bytes;

                if (range->flags & MLG_SS_EXCEPTION)
                        continue;
                for (uintptr_t at = range->address; (bytes = next_piece(record, &at, end)) > 0;
                     at += bytes) {
                        if (copies)
                                copy((void *) at, copies + (at - range->address), bytes);
                        else
                                zero((void *) at, bytes);
                }
                if (copies)
                        copies += range->bytes;
        }
}

int ss_copy_out_(struct ss_frame *frame) {
        struct ss_thread *t = ss_thread_peek();
        const struct ss_record *record = t->top;
        uint8_t *to = t->copies + t->copies_end;
        uint64_t bytes = 0;

        if (record->sp != (uintptr_t) frame)
                ss_die("libsecurestack", "the record of a call is gone before it was made");
        for (uint32_t i = 0; i < record->n_ranges; i++)
                bytes += record->ranges[i].flags & MLG_SS_EXCEPTION ? 0 : record->ranges[i].bytes;
        if (bytes > t->copies_max - t->copies_end)
                return -ENOSPC;
        t->copies_end += bytes;
        allow(true);
        for (uint32_t i = 0; i < record->n_ranges; i++) {
                const struct mlg_ss_range *range = &record->ranges[i];

                if (range->flags & MLG_SS_EXCEPTION)
                        continue;
                copy(to, (void *) (uintptr_t) range->address, range->bytes);
                to += range->bytes;
        }
        allow(false);
        frame->hidden = 1; /* a handler of a signal may jump away while it is half zeroed */
        each_hidden(record, NULL);
        return 0;
}

/* The record is that of this stack pointer, or nothing is given back. */
void ss_copy_in_(struct ss_frame *frame) {
        struct ss_thread *t = ss_thread_peek();
        struct ss_record *record = t ? t->top : NULL;
        uint8_t *copies;

        while (record && record->sp < (uintptr_t) frame)
                record = record->below;
        if (!record || record->sp != (uintptr_t) frame || !t->copies)
                ss_die("a function that is not trusted", "it came back to where nothing was hidden");
        copies = t->copies + record->copies_begin;
        allow(true);
        each_hidden(record, copies);
        frame->hidden = 0;
        __asm__ volatile("" : : : "memory");
        zero(copies, t->copies_end - record->copies_begin);
        allow(false);
        t->top = record;
        t->copies_end = record->copies_begin;
}
