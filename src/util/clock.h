/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clock: the kernel's times as microseconds. For those layers only that may read a clock. */
#pragma once

#include <stdint.h>
#include <time.h>

#include "util/util.h"

static inline uint64_t mlg_timespec_usec(const struct timespec *ts) {
        return (uint64_t) ts->tv_sec * MLG_USEC_PER_SEC + (uint64_t) ts->tv_nsec / 1000;
}

static inline uint64_t mlg_clock_usec(clockid_t clock) {
        struct timespec ts;

        (void) clock_gettime(clock, &ts);
        return mlg_timespec_usec(&ts);
}
