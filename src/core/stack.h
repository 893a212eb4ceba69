/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Stack: what a guest's monitor says of securestack.ko there, checked. Pure.
 *
 * A guest can say what it likes: it is shown in its own row, and nothing is decided on it. What cannot be is
 * not shown at all. A counter that falls is one of a module that was loaded anew, or a lie: all that it has
 * then counts as new. So a liar can bring about warnings, which are limited, and name it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/sample.h"

/* What is remembered of a guest; zero-initialised. */
typedef struct MlgStack {
        bool known; /* the module was there in the last report, and what it said possible */
        uint64_t calls, held_bytes, refused, violations[_MLG_STACK_VIOLATION_MAX]; /* as said last */
        uint64_t untold[_MLG_STACK_VIOLATION_MAX]; /* violations that were new, and nobody was told of */
} MlgStack;

/* `maximum_kib`: the guest has no more memory than that. False: what it says is impossible. */
bool mlg_stack_take(MlgStack *s, const MlgRawMonitor *raw, uint64_t maximum_kib);
uint64_t mlg_stack_sum(const uint64_t violations[static _MLG_STACK_VIOLATION_MAX]);
/* Somebody was told of what there was to tell. */
void mlg_stack_told(MlgStack *s);
