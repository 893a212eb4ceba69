/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pollable: how an adapter offers its work to a loop that it does not know.
 *
 * The loop waits until one of `events()` happens on `fd` or `deadline()` has come, calls dispatch(), and
 * then asks events() and deadline() anew. This is the shape that sd-bus has; the worker pool takes the same. */
#pragma once

#include <stdint.h>

typedef struct MlgPollable {
        int fd;
        short (*events)(void *userdata);         /* POLLIN, POLLOUT or both; 0: only the deadline counts */
        uint64_t (*deadline_usec)(void *userdata); /* absolute CLOCK_MONOTONIC; 0: at once; UINT64_MAX: never */
        /* Returns 0, or -errno: the pollable is broken; the loop stops watching it and calls on_broken. */
        int (*dispatch)(uint64_t now_usec, void *userdata);
        void (*on_broken)(int error, void *userdata); /* optional; set by who watches, with its own userdata */
        void *broken_userdata;                        /* NULL: userdata */
        void *userdata;
} MlgPollable;
