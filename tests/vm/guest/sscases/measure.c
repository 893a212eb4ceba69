/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Measure: nanoseconds of a guarded call beside those of an ioctl that does nothing (ABOUT), and of two that
 * do nothing but copy (module plaincopy); by size, by depth, by threads. All take turns, and of many turns
 * the best one counts: the machine may be busy. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sscases.h"

#define TURNS 30u
#define CALLS 100u
#define COPY_OUT _IOW('M', 0xd0, uint64_t[2])
#define COPY_BACK _IO('M', 0xd1)

static double now(void) {
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}

static void nothing(void *arg) {
        (void) arg;
}

enum { TWO_IOCTLS, COPIES, GUARDED, GUARDED_CLEARED, WAYS };

static int copier;

static void turn(int way, uint8_t *memory, uint32_t bytes) {
        struct guard g = { .fd = device, .clear_after = way == GUARDED_CLEARED ? 8192 : 0 };
        uint64_t part[2] = { (uintptr_t) memory, bytes };
        struct mlg_ss_about about;
        long err = 0;

        guard_secret(&g, memory, bytes);
        for (uint32_t i = 0; i < CALLS && err == 0; i++) {
                if (way >= GUARDED)
                        err = guarded(&g, nothing, NULL);
                else if (way == COPIES)
                        err = ss_ioctl(copier, COPY_OUT, (unsigned long) part) |
                              ss_ioctl(copier, COPY_BACK, 0);
                else
                        err = ss_ioctl(device, MLG_SS_IOC_ABOUT, (unsigned long) &about) |
                              ss_ioctl(device, MLG_SS_IOC_ABOUT, (unsigned long) &about);
        }
        if (err != 0) {
                fprintf(stderr, "sscases: way %d of measure: %ld\n", way, err);
                exit(2);
        }
}

static __attribute__((noinline)) void best_of(double *best, uint32_t bytes) {
        uint8_t memory[1 << 16];

        memset(memory, 1, sizeof(memory));
        for (int way = 0; way < WAYS; way++)
                best[way] = 1e18;
        for (uint32_t i = 0; i < TURNS; i++) {
                for (int way = 0; way < WAYS; way++) {
                        double begin = now(), ns;

                        turn(way, memory, bytes);
                        ns = (now() - begin) / CALLS;
                        if (ns < best[way])
                                best[way] = ns;
                }
        }
}

static double at_bottom[WAYS];

static __attribute__((noinline)) void down(void *arg) {
        uint32_t left = *(uint32_t *) arg;
        struct guard g = { .fd = device };

        if (left == 0) {
                best_of(at_bottom, 1024);
                return;
        }
        left--;
        guard_secret(&g, arg, 4);
        guarded(&g, down, &left);
}

static void *one_call(void *arg) {
        uint8_t memory[64] = { 1 };

        turn(GUARDED, memory, sizeof(memory));
        pthread_barrier_wait(arg);
        pthread_barrier_wait(arg);
        return NULL;
}

/* Others that have been there, and wait. */
static void beside_threads(uint32_t n) {
        pthread_t *thread = calloc(n, sizeof(*thread));
        pthread_barrier_t all;
        pthread_attr_t small;
        double best[WAYS];

        pthread_barrier_init(&all, NULL, n + 1);
        pthread_attr_init(&small);
        pthread_attr_setstacksize(&small, 64 << 10);
        for (uint32_t i = 0; i < n; i++)
                if (pthread_create(&thread[i], &small, one_call, &all) != 0)
                        exit(2);
        pthread_barrier_wait(&all);
        best_of(best, 1024);
        printf("measure threads %u: guarded %.0f ns\n", n, best[GUARDED]);
        pthread_barrier_wait(&all);
        for (uint32_t i = 0; i < n; i++)
                pthread_join(thread[i], NULL);
        free(thread);
}

void measure(void) {
        static const uint32_t sizes[] = { 64, 256, 1024, 4096, 16384, 65536 }, depths[] = { 100, 10000 };

        copier = open("/dev/plaincopy", O_RDWR | O_CLOEXEC);
        if (copier < 0) {
                perror("sscases: /dev/plaincopy");
                exit(2);
        }
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                double best[WAYS];

                best_of(best, sizes[i]);
                printf("measure size %u: ioctls %.0f, copies %.0f, guarded %.0f ns (%.2f), 8 KiB cleared %.0f\n",
                       sizes[i], best[TWO_IOCTLS], best[COPIES], best[GUARDED], best[GUARDED] / best[COPIES],
                       best[GUARDED_CLEARED]);
        }
        for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++) {
                uint32_t depth = depths[i];

                down(&depth);
                printf("measure depth %u: guarded %.0f ns\n", depths[i], at_bottom[GUARDED]);
        }
        beside_threads(100);
        close(copier);
}
