// SPDX-License-Identifier: LGPL-2.1-or-later
/* What a thread has: its stack's bounds, its secrets, its records.
 *
 * Memory for these is reserved once, by address only, so that nothing has to grow while a signal may come.
 * */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "internal.h"

#define RECORDS_BYTES (64u << 20) /* room for depths that any stack allows; what is not used costs nothing */

static _Thread_local struct ss_thread *self __attribute__((tls_model("initial-exec")));
static _Thread_local int self_error __attribute__((tls_model("initial-exec")));
_Thread_local size_t ss_lost __attribute__((tls_model("initial-exec")));
static pthread_key_t at_end;
static int key_error;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#define SELF_BYTES \
        ((sizeof(struct ss_thread) + SS_SECRETS * sizeof(struct ss_entry) + 4095) & ~(size_t) 4095)

static void thread_free(void *data) {
        struct ss_thread *t = data;

        self = NULL;
        if (t->copies)
                munmap(t->copies, t->copies_max);
        munmap(t, SELF_BYTES + RECORDS_BYTES);
}

static void make_key(void) {
        key_error = pthread_key_create(&at_end, thread_free);
}

static int find_stack(struct ss_thread *t) {
        pthread_attr_t attr;
        void *low;
        size_t bytes;
        int r = pthread_getattr_np(pthread_self(), &attr);

        if (r != 0)
                return -r;
        r = pthread_attr_getstack(&attr, &low, &bytes);
        (void) pthread_attr_destroy(&attr);
        if (r != 0)
                return -r;
        t->stack_low = (uintptr_t) low;
        t->stack_high = (uintptr_t) low + bytes;
        return 0;
}

static void *thread_new(void *unused) {
        struct ss_thread *t = mmap(NULL, SELF_BYTES + RECORDS_BYTES, PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (t == MAP_FAILED) {
                self_error = -ENOMEM;
                return NULL;
        }
        t->secrets = (struct ss_entry *) (t + 1);
        t->records = (uint8_t *) t + SELF_BYTES;
        t->records_end = t->records + RECORDS_BYTES;
        self_error = find_stack(t);
        (void) pthread_once(&once, make_key);
        if (self_error == 0)
                self_error = -(key_error ? key_error : pthread_setspecific(at_end, t));
        if (self_error != 0) {
                thread_free(t);
                return NULL;
        }
        self = t;
        return t;
}

struct ss_thread *ss_thread_get(int *ret_error) {
        if (self)
                return self;
        (void) ss_slowly(thread_new, NULL);
        *ret_error = self_error;
        return self;
}

struct ss_thread *ss_thread_peek(void) {
        return self;
}

void ss_thread_prune(struct ss_thread *t, uintptr_t below) {
        while (t->top && t->top->sp < below) {
                t->copies_end = t->top->copies_begin;
                t->top = t->top->below;
        }
        while (t->n_secrets && t->secrets[t->n_secrets - 1].frame_end < below)
                t->n_secrets--;
}

#define LOST SIZE_MAX
#define KNOWN (SIZE_MAX - 1)

/* Of a block that longjmp() left, which now begins again: else each round would add one. */
static bool is_known(const struct ss_thread *t, const struct ss_entry *entry) {
        for (size_t i = t->n_secrets; i > 0 && t->secrets[i - 1].frame_end == entry->frame_end; i--)
                if (t->secrets[i - 1].address == entry->address && t->secrets[i - 1].bytes == entry->bytes)
                        return true;
        return false;
}

/* Is registered without a back-end as well: which may be allowed before the first call. One that cannot be
 * makes calls fail until its block ends. */
struct ss_secret ss_secret_begin_(void *address, size_t bytes, void *frame_end) {
        int error;
        struct ss_thread *t = ss_thread_get(&error);
        struct ss_secret secret = { address, bytes, LOST };
        const struct ss_entry entry = { address, bytes, (uintptr_t) frame_end };
        uintptr_t sp = (uintptr_t) __builtin_frame_address(0);

        if (!t || sp < t->stack_low || sp >= t->stack_high) {
                ss_lost++;
                return secret;
        }
        ss_thread_prune(t, (uintptr_t) frame_end);
        if (is_known(t, &entry)) {
                secret.index = KNOWN;
                return secret;
        }
        if (t->n_secrets == SS_SECRETS) {
                ss_lost++;
                return secret;
        }
        do { /* a handler of a signal may have had the same place in between */
                secret.index = t->n_secrets;
                t->secrets[secret.index] = entry;
                __asm__ volatile("" : : : "memory");
                t->n_secrets = secret.index + 1;
                __asm__ volatile("" : : : "memory");
        } while (t->secrets[secret.index].address != address || t->n_secrets != secret.index + 1);
        return secret;
}

/* Blocks end in order, but longjmp() may have left out some. */
void ss_secret_end_(struct ss_secret *secret) {
        volatile uint8_t *byte = secret->address;

        for (size_t i = 0; i < secret->bytes; i++)
                byte[i] = 0;
        if (secret->index == LOST)
                ss_lost--;
        else if (secret->index < KNOWN && secret->index < self->n_secrets)
                self->n_secrets = secret->index;
}
