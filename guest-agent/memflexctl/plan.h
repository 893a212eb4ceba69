/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plan: what is brought in, in which order, and when it is enough. Values in, values out: no files, no clock.
 *
 * Memory comes in in blocks of 2 MiB of a process's addresses, as far as they are swapped out. Those come first that were
 * swapped out last, because what was used until memory ran out is what is missed first; an age is counted in chunks of
 * the pool that were begun since (ioctl.h of the module). What lies on a disk comes after all that does not. Ages of a process
 * that its scheduler gives less of the processor count for more, by the same factor: 1.25 for each step of niceness. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_KIB 4u
#define BLOCK_PAGES 512u
#define BLOCK_KIB (BLOCK_PAGES * PAGE_KIB)
#define BLOCK_BYTES ((uint64_t) BLOCK_KIB * 1024)

typedef struct Block {
        uint64_t address; /* of its first page: a multiple of BLOCK_BYTES */
        uint64_t key;     /* the smallest comes first */
        int32_t pid;
        uint16_t pages, disk_pages; /* swapped out; of these, on a disk */
} Block;

/* Words of /proc/PID/pagemap. */
bool plan_is_swapped(uint64_t word);
uint32_t plan_swap_type(uint64_t word);
uint64_t plan_swap_offset(uint64_t word);

/* `ages`: of its `n` swapped pages, MLG_FLEX_AGE_DISK for those on a disk. Sets all but address and pid. */
void plan_weigh(Block *b, const uint32_t *ages, uint32_t n, int nice);
void plan_sort(Block *blocks, size_t n);

/* One line of /proc/swaps. False: it is the heading, or nonsense. */
typedef struct SwapLine {
        char path[256];
        uint64_t size_kib, used_kib;
        int priority;
} SwapLine;

bool plan_parse_swap(const char *line, SwapLine *ret);

/* Which type swap entries of `path` have: devices are listed in this order. Where it is the only one, all are its own (ret_any), for
 * numbers of devices that are gone may have been left out. False: it is not swapped to. */
bool plan_type_of(const char *swaps, const char *path, uint32_t *ret_type, bool *ret_any);

/* A priority above that of all others, -1 where there is none: those that the kernel gave by itself are negative. */
int plan_priority(const char *swaps, const char *path);

/* What must stay free, so that neither the kernel's own reclaim begins nor the next program waits: the zones' high watermarks,
 * and a thirty-second of all memory. `zoneinfo`: /proc/zoneinfo. */
uint64_t plan_watermark_kib(const char *zoneinfo, uint64_t total_kib);

/* From /proc/vmstat: how often the kernel had to take memory from somebody, tasks waiting for it or to swap. */
uint64_t plan_reclaims(const char *vmstat);

typedef enum Ending { ENDING_DONE, ENDING_LIMIT, ENDING_WATERMARK, ENDING_PRESSURE, ENDING_ABORTED, ENDINGS } Ending;

const char *plan_ending(Ending e); /* a word for programs */
const char *plan_ending_text(Ending e);

/* How much may still come; and whether the next block may, of which so many pages need memory: -1: yes. */
uint64_t plan_room_kib(uint64_t done_kib, uint64_t limit_kib, uint64_t free_kib, uint64_t watermark_kib);
int plan_may_go_on(uint64_t done_kib, uint64_t limit_kib, uint64_t free_kib, uint64_t watermark_kib, uint32_t pages);
