/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memflexctl's commands. Each returns the exit status of the program. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define STATUS_FAILED 1
#define STATUS_USAGE 2
#define STATUS_STOPPED 3 /* a swap-in that gave way or was aborted */

typedef struct SwapInOptions {
        int32_t pid;            /* 0: all */
        uint64_t limit_kib;     /* UINT64_MAX: none */
        uint64_t watermark_kib; /* 0: plan_watermark_kib() */
        bool report;            /* lines of KEY=VALUE pairs on the way */
} SwapInOptions;

int swap_in(const SwapInOptions *o);
int swap_in_abort(void);
void swap_in_print(void); /* what goes on now, if anything does */

typedef struct SetupOptions {
        const char *backing; /* or NULL */
        int priority;        /* -1: above all others */
        unsigned int wait_sec;
} SetupOptions;

int setup(const SetupOptions *o);
bool setup_print_zswap(void); /* a warning, if zswap is on */

int status(void);
