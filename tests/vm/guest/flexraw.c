/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flexraw: pages of a block device, each of which is told from all others and from its own past; past the page cache.
 *
 *     flexraw fill DEVICE FIRST COUNT TIMES      writes so many pages, as of that time, one by one
 *     flexraw check DEVICE FIRST COUNT TIMES     reads them; TIMES 0: zeroes
 *     flexraw work DEVICE FIRST COUNT SECONDS    writes, reads and discards runs of them at random, then reads all
 *
 * Prints right=N wrong=N failed=N slowest_usec=N: pages, calls that failed, and the longest call. The exit status is 1 if a page
 * is wrong. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "pattern.h"

#define RUN_MOST 64u

static int fd;
static uint64_t *buffer; /* RUN_MOST pages */
static uint64_t right, wrong, failed, slowest_usec, reads, writes, discards;

static uint64_t now_usec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000;
}

static uint64_t *page_at(uint32_t i) {
        return buffer + i * WORDS;
}

/* True: all of it was moved. */
static bool move(bool write, uint64_t first, uint32_t n) {
        uint64_t begin = now_usec(), took;
        off_t at = (off_t) (first * PAGE);
        ssize_t done = write ? pwrite(fd, buffer, n * PAGE, at) : pread(fd, buffer, n * PAGE, at);

        took = now_usec() - begin;
        slowest_usec = took > slowest_usec ? took : slowest_usec;
        if (done == (ssize_t) (n * PAGE))
                return true;
        failed++;
        return false;
}

static bool is_zero(const uint64_t *page) {
        for (uint32_t i = 0; i < WORDS; i++)
                if (page[i])
                        return false;
        return true;
}

static void judge(const uint64_t *page, uint64_t number, uint32_t times, uint64_t seed) {
        if (times ? page_is(page, seed) : is_zero(page)) {
                right++;
                return;
        }
        if (wrong++ == 0)
                fprintf(stderr, "page %llu, of time %u, begins with %llx\n", (unsigned long long) number, times,
                        (unsigned long long) page[0]);
}

/* None is of one value, so each takes a place. */
static uint64_t full_seed(uint64_t page, uint32_t times) {
        return seed_of(page, times) | 1;
}

static void fill(uint64_t first, uint64_t count, uint32_t times) {
        for (uint64_t i = first; i < first + count; i++) {
                write_page(buffer, full_seed(i, times));
                right += move(true, i, 1);
        }
}

static void check(uint64_t first, uint64_t count, uint32_t times) {
        for (uint64_t i = first; i < first + count; i++)
                if (move(false, i, 1))
                        judge(buffer, i, times, full_seed(i, times));
}

/* ---- all at random; `times`: as of which each page is */

static void write_run(uint64_t first, uint32_t n, uint32_t *times) {
        for (uint32_t i = 0; i < n; i++) {
                times[i]++;
                write_page(page_at(i), seed_of(first + i, times[i]));
        }
        (void) move(true, first, n);
        writes += n;
}

static void read_run(uint64_t first, uint32_t n, const uint32_t *times) {
        if (!move(false, first, n))
                return;
        for (uint32_t i = 0; i < n; i++)
                judge(page_at(i), first + i, times[i], seed_of(first + i, times[i]));
        reads += n;
}

static void discard_run(uint64_t first, uint32_t n, uint32_t *times) {
        uint64_t range[2] = { first * PAGE, (uint64_t) n * PAGE };

        if (ioctl(fd, BLKDISCARD, range) < 0) {
                failed++;
                return;
        }
        memset(times, 0, n * sizeof(*times));
        discards += n;
}

static void work(uint64_t first, uint64_t count, uint32_t seconds) {
        uint64_t end = now_usec() + (uint64_t) seconds * 1000000, random = first;
        uint32_t *times = calloc(count, sizeof(*times));

        for (uint64_t i = 0; times && i < count; i += RUN_MOST)
                discard_run(first + i, (uint32_t) (count - i < RUN_MOST ? count - i : RUN_MOST), times + i);
        while (times && now_usec() < end) {
                uint32_t n = (uint32_t) (next_random(&random) % RUN_MOST) + 1;
                uint64_t i = next_random(&random) % (count - n);

                switch (next_random(&random) % 8) {
                case 0: discard_run(first + i, n, times + i); break;
                case 1:
                case 2:
                case 3: write_run(first + i, n, times + i); break;
                default: read_run(first + i, n, times + i); break;
                }
        }
        for (uint64_t i = 0; times && i < count; i++)
                read_run(first + i, 1, times + i);
        free(times);
}

int main(int argc, char **argv) {
        uint64_t first, count;
        uint32_t last;

        fd = argc == 6 ? open(argv[2], O_RDWR | O_DIRECT) : -1;
        buffer = aligned_alloc(PAGE, (size_t) RUN_MOST * PAGE);
        if (fd < 0 || !buffer) {
                perror("flexraw fill|check|work DEVICE FIRST COUNT TIMES|SECONDS");
                return 2;
        }
        first = strtoull(argv[3], NULL, 10);
        count = strtoull(argv[4], NULL, 10);
        last = (uint32_t) strtoul(argv[5], NULL, 10);
        if (strcmp(argv[1], "fill") == 0)
                fill(first, count, last);
        else if (strcmp(argv[1], "check") == 0)
                check(first, count, last);
        else if (strcmp(argv[1], "work") == 0 && count > RUN_MOST)
                work(first, count, last);
        else
                return 2;
        printf("right=%llu wrong=%llu failed=%llu slowest_usec=%llu read=%llu written=%llu discarded=%llu\n",
               (unsigned long long) right, (unsigned long long) wrong, (unsigned long long) failed,
               (unsigned long long) slowest_usec, (unsigned long long) reads, (unsigned long long) writes,
               (unsigned long long) discards);
        return wrong > 0;
}
