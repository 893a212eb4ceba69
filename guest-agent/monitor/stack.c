/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stack: see stack.h. */
#include "stack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STACK "/sys/class/misc/securestack/"
#define REFUSALS 7 /* kinds of them */

/* The first `n` numbers of a file; later versions of the module may write more. */
static bool numbers_of(const char *root, const char *file, unsigned int n, uint64_t *ret) {
        int fd = facts_open_file(root, file);
        const char *at = facts_text_of(fd, true);
        char *end;

        if (fd < 0)
                return false;
        (void) close(fd);
        errno = 0;
        for (unsigned int i = 0; i < n; i++, at = end) {
                at += strspn(at, " ");
                ret[i] = strtoull(at, &end, 10);
                if (*at < '0' || *at > '9' || errno != 0)
                        return false;
        }
        return true;
}

static void set(MlgFacts *f, int id, uint64_t value) {
        f->known |= MLG_FIELD_BIT(id);
        f->values[MLG_FACT(id)] = value;
}

void stack_facts(const char *root, MlgFacts *f) {
        uint64_t violations[_MLG_STACK_VIOLATION_MAX], refused[REFUSALS], held[2], calls, sum = 0;

        if (!numbers_of(root, STACK "violation_stat", _MLG_STACK_VIOLATION_MAX, violations) ||
            !numbers_of(root, STACK "refused_stat", REFUSALS, refused) ||
            !numbers_of(root, STACK "held_stat", 2, held) ||
            !numbers_of(root, STACK "call_stat", 1, &calls))
                return;
        for (unsigned int i = 0; i < REFUSALS; i++)
                sum += refused[i];
        set(f, MLG_FIELD_STACK_CALLS, calls);
        set(f, MLG_FIELD_STACK_HELD, held[1]);
        set(f, MLG_FIELD_STACK_REFUSED, sum);
        for (int i = 0; i < _MLG_STACK_VIOLATION_MAX; i++)
                set(f, MLG_FIELD_STACK_FOREIGN + i, violations[i]);
}
