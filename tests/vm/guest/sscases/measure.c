/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Measure: nanoseconds of a guarded call, beside those of an ioctl that does nothing (ABOUT), by size and by depth. */
#include <string.h>
#include <time.h>

#include "sscases.h"

#define CALLS 4000u

static double now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}

static void nothing(void *arg) {
        (void) arg;
}

static __attribute__((noinline)) double of_size(uint32_t bytes, uint32_t clear) {
        static uint8_t heap[1 << 16];
        struct guard g = { .fd = device, .clear_after = clear };
        double begin;

        memset(heap, 1, sizeof(heap));
        guard_secret(&g, heap, bytes);
        begin = now();
        for (uint32_t i = 0; i < CALLS; i++)
                guarded(&g, nothing, NULL);
        return (now() - begin) / CALLS;
}

static double at_bottom;

static __attribute__((noinline)) void down(void *arg) {
        uint32_t left = *(uint32_t *) arg;
        struct guard g = { .fd = device };

        if (left == 0) {
                at_bottom = of_size(1024, 0);
                return;
        }
        left--;
        guard_secret(&g, arg, 4);
        guarded(&g, down, &left);
}

void measure(void) {
        static const uint32_t sizes[] = { 64, 256, 1024, 4096, 16384, 65536 }, depths[] = { 0, 100, 10000 };
        struct mlg_ss_about about;
        double begin = now();

        for (uint32_t i = 0; i < CALLS; i++)
                ss_ioctl(device, MLG_SS_IOC_ABOUT, (unsigned long) &about);
        printf("measure two ioctls: %.0f ns\n", 2 * (now() - begin) / CALLS);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
                printf("measure size %u: %.0f ns, with 8 KiB of stack cleared %.0f ns\n", sizes[i], of_size(sizes[i], 0),
                       of_size(sizes[i], 8192));
        for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
                uint32_t depth = depths[i];

                down(&depth);
                printf("measure depth %u: %.0f ns\n", depths[i], at_bottom);
        }
}
