/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Functions that no gate can stand before: they return twice, or where they were not called. For C and C++; ss-wrap, which is a
 * script, has the same list. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static inline bool ss_is_never(const char *name) {
        static const char *const names[] = { "setjmp",  "_setjmp",    "sigsetjmp",  "__sigsetjmp",
                                             "longjmp", "_longjmp",   "siglongjmp", "__longjmp_chk",
                                             "vfork",   "getcontext", "setcontext", "swapcontext" };

        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (strcmp(names[i], name) == 0)
                        return true;
        return false;
}
