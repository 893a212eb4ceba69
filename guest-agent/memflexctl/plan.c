/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plan: see plan.h. */
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../kernel/memflex/ioctl.h"

#define WORD_SWAPPED (UINT64_C(1) << 62)
#define TYPE_BITS 5
#define OFFSET_BITS 50

/* Older than any that is known: the pool has a quarter of as many chunks. */
#define AGE_BEYOND (UINT64_C(1) << 20)

/* Fixed point, so that 1.25 to the power of -20 is still a number. */
#define SCALE_ONE 65536u

/* Swaps are found by the first word of their lines, in which blanks are octal. */
#define PRIORITY_MOST 32767
#define PRIORITY_STEP 10
#define PRIORITY_LEAST 100

bool plan_is_swapped(uint64_t word) {
        return word & WORD_SWAPPED;
}

uint32_t plan_swap_type(uint64_t word) {
        return (uint32_t) (word & ((1u << TYPE_BITS) - 1));
}

uint64_t plan_swap_offset(uint64_t word) {
        return word >> TYPE_BITS & ((UINT64_C(1) << OFFSET_BITS) - 1);
}

static uint64_t scale_of(int nice) {
        uint64_t scale = SCALE_ONE;

        for (int i = 0; i < nice && i < 19; i++)
                scale = scale * 5 / 4;
        for (int i = 0; i > nice && i > -20; i--)
                scale = scale * 4 / 5;
        return scale;
}

void plan_weigh(Block *b, const uint32_t *ages, uint32_t n, int nice) {
        uint64_t sum = 0;

        b->pages = (uint16_t) n;
        b->disk_pages = 0;
        for (uint32_t i = 0; i < n; i++) {
                bool on_disk = ages[i] == MLG_FLEX_AGE_DISK;

                b->disk_pages += on_disk;
                sum += on_disk || ages[i] >= AGE_BEYOND ? AGE_BEYOND : ages[i];
        }
        b->key = n ? sum * scale_of(nice) / n : 0;
}

static int by_key(const void *a, const void *b) {
        const Block *x = a, *y = b;

        if (x->key != y->key)
                return x->key < y->key ? -1 : 1;
        if (x->pid != y->pid)
                return x->pid < y->pid ? -1 : 1;
        return x->address < y->address ? -1 : x->address > y->address;
}

void plan_sort(Block *blocks, size_t n) {
        if (n > 0)
                qsort(blocks, n, sizeof(*blocks), by_key);
}

static const char *next_line(const char *line) {
        const char *end = strchr(line, '\n');

        return end ? end + 1 : line + strlen(line);
}

bool plan_parse_swap(const char *line, SwapLine *ret) {
        unsigned long long size, used;
        SwapLine s = { .priority = 0 };

        if (line[0] != '/' || sscanf(line, "%255s %*s %llu %llu %d", s.path, &size, &used, &s.priority) != 4)
                return false;
        s.size_kib = size;
        s.used_kib = used;
        *ret = s;
        return true;
}

bool plan_type_of(const char *swaps, const char *path, uint32_t *ret_type, bool *ret_any) {
        uint32_t n = 0, type = 0;
        bool found = false;
        SwapLine s;

        for (; *swaps; swaps = next_line(swaps)) {
                if (!plan_parse_swap(swaps, &s))
                        continue;
                if (strcmp(s.path, path) == 0) {
                        type = n;
                        found = true;
                }
                n++;
        }
        if (!found)
                return false;
        *ret_type = type;
        *ret_any = n == 1;
        return true;
}

int plan_priority(const char *swaps, const char *path) {
        int most = PRIORITY_LEAST - PRIORITY_STEP;
        SwapLine s;

        for (; *swaps; swaps = next_line(swaps))
                if (plan_parse_swap(swaps, &s) && strcmp(s.path, path) != 0 && s.priority > most)
                        most = s.priority;
        if (most >= PRIORITY_MOST)
                return -1;
        return most > PRIORITY_MOST - PRIORITY_STEP ? PRIORITY_MOST : most + PRIORITY_STEP;
}

uint64_t plan_watermark_kib(const char *zoneinfo, uint64_t total_kib) {
        uint64_t high_pages = 0;
        unsigned long long pages;

        for (; *zoneinfo; zoneinfo = next_line(zoneinfo))
                if (sscanf(zoneinfo, " high %llu", &pages) == 1 && pages < total_kib)
                        high_pages += pages;
        return high_pages * PAGE_KIB + total_kib / 32;
}

uint64_t plan_reclaims(const char *vmstat) {
        static const char *const names[] = { "pswpout ", "allocstall_" };
        uint64_t sum = 0;

        for (; *vmstat; vmstat = next_line(vmstat))
                for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
                        if (strncmp(vmstat, names[i], strlen(names[i])) == 0)
                                sum += strtoull(strchr(vmstat, ' ') ? strchr(vmstat, ' ') : "0", NULL, 10);
        return sum;
}

static const struct {
        const char *word, *text;
} endings[ENDINGS] = {
        [ENDING_DONE] = { "done", "all there was" },
        [ENDING_LIMIT] = { "limit", "as much as was asked for" },
        [ENDING_WATERMARK] = { "watermark", "no more memory is free than should stay so" },
        [ENDING_PRESSURE] = { "pressure", "memory is short again, others need it" },
        [ENDING_ABORTED] = { "aborted", "stopped by a signal or memflexctl abort" },
};

const char *plan_ending(Ending e) {
        return endings[e].word;
}

const char *plan_ending_text(Ending e) {
        return endings[e].text;
}

uint64_t plan_room_kib(uint64_t done_kib, uint64_t limit_kib, uint64_t free_kib, uint64_t watermark_kib) {
        uint64_t wanted = limit_kib > done_kib ? limit_kib - done_kib : 0, had = free_kib > watermark_kib ? free_kib - watermark_kib : 0;

        return wanted < had ? wanted : had;
}

int plan_may_go_on(uint64_t done_kib, uint64_t limit_kib, uint64_t free_kib, uint64_t watermark_kib, uint32_t pages) {
        if (done_kib >= limit_kib)
                return ENDING_LIMIT;
        if (free_kib < watermark_kib + (uint64_t) pages * PAGE_KIB)
                return ENDING_WATERMARK;
        return -1;
}
