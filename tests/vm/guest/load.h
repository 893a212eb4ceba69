/* SPDX-License-Identifier: GPL-2.0-or-later */
/* load: what the programs share that put a load on the network between two machines: time, CPU time, addresses, percentiles. */
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define WARM_SEC 1 /* before what is measured begins */
#define SAMPLES_MAX (1u << 20)

static inline _Noreturn void die(const char *what) {
        perror(what);
        exit(2);
}

static inline int64_t now_usec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1000000ll + t.tv_nsec / 1000;
}

/* CPU time of the whole machine that was not idle, in microseconds. */
static inline int64_t busy_usec(void) {
        unsigned long long v[8] = { 0 };
        FILE *f = fopen("/proc/stat", "re");

        if (!f || fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5],
                         &v[6], &v[7]) != 8)
                die("/proc/stat");
        fclose(f);
        return (int64_t) (v[0] + v[1] + v[2] + v[5] + v[6]) * 1000000 / sysconf(_SC_CLK_TCK);
}

/* All addresses of both families. */
static inline struct sockaddr_in6 any_address(const char *port) {
        return (struct sockaddr_in6) { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t) atoi(port)) };
}

/* Returns its size. */
static inline socklen_t read_address(const char *address, const char *port, struct sockaddr_storage *ret) {
        struct sockaddr_in *v4 = (struct sockaddr_in *) ret;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *) ret;

        *ret = (struct sockaddr_storage) { 0 };
        v4->sin_port = htons((uint16_t) atoi(port)); /* both have it at the same place */
        if (inet_pton(AF_INET, address, &v4->sin_addr) == 1) {
                ret->ss_family = AF_INET;
                return sizeof(*v4);
        }
        if (inet_pton(AF_INET6, address, &v6->sin6_addr) != 1)
                die(address);
        ret->ss_family = AF_INET6;
        return sizeof(*v6);
}

/* A connected socket of this type. */
static inline int open_to(const char *address, const char *port, int type) {
        struct sockaddr_storage to;
        socklen_t size = read_address(address, port, &to);
        int fd = socket(to.ss_family, type | SOCK_CLOEXEC, 0);

        if (fd < 0 || connect(fd, (struct sockaddr *) &to, size) < 0)
                die("connect");
        return fd;
}

static inline int compare_times(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

/* "per_s=... p50_us=... p99_us=...", of n times that took usec together. */
static inline void tell_times(uint32_t *times, size_t n, int64_t usec) {
        qsort(times, n, sizeof(*times), compare_times);
        printf("per_s=%.0f p50_us=%u p99_us=%u", (double) n * 1e6 / (double) usec, times[n / 2], times[n * 99 / 100]);
}
