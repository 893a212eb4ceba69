/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files: see files.h. */
#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../kernel/memflex/ioctl.h"

/* The kernel's vmstat and zoneinfo have a few KiB for each of a few nodes. */
#define TEXT_MOST (4u << 20)

char *files_read(const char *path) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        size_t n = 0, room = 4096;
        char *text = malloc(room);
        ssize_t got = 1;

        while (text && fd >= 0 && got > 0 && room < TEXT_MOST) {
                got = read(fd, text + n, room - 1 - n);
                n += got > 0 ? (size_t) got : 0;
                if (n + 1 == room) {
                        char *more = realloc(text, room *= 2);

                        if (!more)
                                break;
                        text = more;
                }
        }
        if (fd >= 0)
                (void) close(fd);
        if (!text)
                exit(1); /* a few KiB: there is nothing left to say it with */
        text[n] = '\0';
        return text;
}

bool files_number(const char *path, uint64_t *ret) {
        char *text = files_read(path), *end;

        errno = 0;
        *ret = strtoull(text, &end, 10);
        free(text);
        return end != text && errno == 0;
}

/* ---- pages ---- */

static bool is_ours(const Tiers *t, uint64_t word) {
        return plan_is_swapped(word) && (t->any_type || plan_swap_type(word) == t->type);
}

void files_ages(const Tiers *t, const uint64_t *words, uint32_t n, uint32_t *ret_ages) {
        uint32_t slots[BLOCK_PAGES];
        struct mlg_flex_ages ask = { .slots = (uintptr_t) slots, .ages = (uintptr_t) ret_ages, .n = n };

        for (uint32_t i = 0; i < n; i++) {
                uint64_t offset = plan_swap_offset(words[i]);

                slots[i] = is_ours(t, words[i]) && offset < UINT32_MAX ? (uint32_t) offset : UINT32_MAX;
                ret_ages[i] = MLG_FLEX_AGE_DISK;
        }
        (void) ioctl(t->device, MLG_FLEX_IOC_AGES, &ask);
}

static int open_pagemap(int32_t pid) {
        char path[64];

        (void) snprintf(path, sizeof(path), "/proc/%" PRId32 "/pagemap", pid);
        return open(path, O_RDONLY | O_CLOEXEC);
}

static uint32_t read_pagemap(int fd, uint64_t address, uint64_t *ret) {
        ssize_t n = pread(fd, ret, BLOCK_PAGES * sizeof(*ret), (off_t) (address / 4096 * sizeof(*ret)));

        return n > 0 ? (uint32_t) ((size_t) n / sizeof(*ret)) : 0;
}

uint32_t files_pagemap(int32_t pid, uint64_t address, uint64_t ret[static BLOCK_PAGES]) {
        int fd = open_pagemap(pid);
        uint32_t n = fd < 0 ? 0 : read_pagemap(fd, address, ret);

        if (fd >= 0)
                (void) close(fd);
        return n;
}

/* ---- processes ---- */

typedef struct Walk {
        const Tiers *tiers;
        volatile const int *stop;
        Scan *scan;
        int32_t pid;
        int nice, pagemap;
} Walk;

static int add_block(Walk *w, uint64_t address, const uint64_t *swapped, uint32_t n) {
        uint32_t ages[BLOCK_PAGES];
        Scan *s = w->scan;

        if (s->n == s->room) {
                size_t room = s->room ? 2 * s->room : 1024;
                Block *more = realloc(s->blocks, room * sizeof(*more));

                if (!more)
                        return -ENOMEM;
                s->blocks = more;
                s->room = room;
        }
        files_ages(w->tiers, swapped, n, ages);
        s->blocks[s->n] = (Block) { .address = address, .pid = w->pid };
        plan_weigh(&s->blocks[s->n++], ages, n, w->nice);
        s->swapped_kib += (uint64_t) n * PAGE_KIB;
        return 0;
}

/* A block that two mappings lie in is two here: of each the pages that are in it. */
static int scan_range(Walk *w, uint64_t from, uint64_t to, uint64_t swapped_kib) {
        uint64_t words[BLOCK_PAGES], found_kib = 0;
        int r = 0;

        for (uint64_t at = from & ~(BLOCK_BYTES - 1); at < to && found_kib < swapped_kib && !*w->stop && r == 0; at += BLOCK_BYTES) {
                uint32_t n = read_pagemap(w->pagemap, at, words), n_swapped = 0;

                for (uint32_t i = 0; i < n; i++) {
                        uint64_t address = at + (uint64_t) i * 4096;

                        if (address >= from && address < to && plan_is_swapped(words[i]))
                                words[n_swapped++] = words[i];
                }
                found_kib += (uint64_t) n_swapped * PAGE_KIB;
                if (n_swapped > 0)
                        r = add_block(w, at, words, n_swapped);
        }
        return r;
}

/* By smaps, which says how much of each mapping is swapped out: the mappings that programs reserve may be terabytes. */
static int scan_mappings(Walk *w) {
        unsigned long long from = 0, to = 0, a, b, kib;
        char path[64], line[512];
        FILE *f;
        int r = 0;

        (void) snprintf(path, sizeof(path), "/proc/%" PRId32 "/smaps", w->pid);
        f = fopen(path, "re");
        while (f && r == 0 && !*w->stop && fgets(line, sizeof(line), f)) {
                if (sscanf(line, "%llx-%llx ", &a, &b) == 2) {
                        from = a;
                        to = b;
                } else if (sscanf(line, "Swap: %llu kB", &kib) == 1 && kib > 0)
                        r = scan_range(w, from, to, kib);
        }
        if (f)
                (void) fclose(f);
        return r;
}

/* The 19th word of its stat; the second one may have blanks, and ends with the last parenthesis. */
static int nice_of(int32_t pid) {
        char path[64], *text, *at;
        int nice = 0;

        (void) snprintf(path, sizeof(path), "/proc/%" PRId32 "/stat", pid);
        text = files_read(path);
        at = strrchr(text, ')');
        if (at)
                (void) sscanf(at + 1, " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %d", &nice);
        free(text);
        return nice;
}

static bool has_swapped(int32_t pid) {
        char path[64], *text, *at;
        bool has;

        (void) snprintf(path, sizeof(path), "/proc/%" PRId32 "/status", pid);
        text = files_read(path);
        at = strstr(text, "\nVmSwap:");
        has = at && strtoull(at + strlen("\nVmSwap:"), NULL, 10) > 0;
        free(text);
        return has;
}

static int scan_process(const Tiers *t, int32_t pid, volatile const int *stop, Scan *s) {
        Walk w = { .tiers = t, .stop = stop, .scan = s, .pid = pid };
        int r;

        if (!has_swapped(pid))
                return 0;
        w.pagemap = open_pagemap(pid);
        if (w.pagemap < 0)
                return errno == ENOENT || errno == ESRCH ? 0 : -errno;
        w.nice = nice_of(pid);
        r = scan_mappings(&w);
        (void) close(w.pagemap);
        return r;
}

int files_scan(const Tiers *t, int32_t pid, volatile const int *stop, Scan *ret) {
        DIR *dir = pid ? NULL : opendir("/proc");
        struct dirent *e;
        int r = pid ? scan_process(t, pid, stop, ret) : 0;

        while (dir && r == 0 && !*stop && (e = readdir(dir))) {
                int32_t number = (int32_t) strtol(e->d_name, NULL, 10);

                if (number > 0 && number != getpid())
                        r = scan_process(t, number, stop, ret);
        }
        if (dir)
                (void) closedir(dir);
        plan_sort(ret->blocks, ret->n);
        return r;
}

void files_scan_done(Scan *s) {
        free(s->blocks);
        *s = (Scan) { .n = 0 };
}
