/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stack: see stack.h. */
#include "stack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NUMBERS_MAX 7 /* that are looked at in one file */

/* The first `n` numbers of a file; later versions of the module may write more. */
static bool numbers_of(const char *root, const char *file, unsigned int n, uint64_t *ret) {
        char path[512], text[NUMBERS_MAX * 21 + 64], *at = text, *end;
        ssize_t size = -1;
        int fd;

        if (snprintf(path, sizeof(path), "%s/sys/class/misc/securestack/%s", root, file) >=
            (int) sizeof(path))
                return false;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        size = read(fd, text, sizeof(text) - 1);
        (void) close(fd);
        if (size < 0)
                return false;
        text[size] = '\0';
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
        uint64_t violations[_MLG_STACK_VIOLATION_MAX], refused[NUMBERS_MAX], held[2], calls, sum = 0;

        if (!numbers_of(root, "violation_stat", _MLG_STACK_VIOLATION_MAX, violations) ||
            !numbers_of(root, "refused_stat", NUMBERS_MAX, refused) ||
            !numbers_of(root, "held_stat", 2, held) || !numbers_of(root, "call_stat", 1, &calls))
                return;
        for (unsigned int i = 0; i < NUMBERS_MAX; i++)
                sum += refused[i];
        set(f, MLG_FIELD_STACK_CALLS, calls);
        set(f, MLG_FIELD_STACK_HELD, held[1]);
        set(f, MLG_FIELD_STACK_REFUSED, sum);
        for (int i = 0; i < _MLG_STACK_VIOLATION_MAX; i++)
                set(f, MLG_FIELD_STACK_FOREIGN + i, violations[i]);
}
