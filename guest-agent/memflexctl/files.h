/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files: the kernel's text files, and what processes have swapped out. */
#pragma once

#include "plan.h"

#define DEVICE "/dev/memflex0"
#define DEVICE_SYS "/sys/block/memflex0"

/* All of it, to be freed; "" if it cannot be read. */
char *files_read(const char *path);
/* False: there is none such, or no number in it. */
bool files_number(const char *path, uint64_t *ret);

typedef struct Scan {
        Block *blocks;
        size_t n, room;
        uint64_t swapped_kib;
} Scan;

/* What is on which tier. */
typedef struct Tiers {
        int device; /* of /dev/memflex0 */
        uint32_t type;
        bool any_type;
} Tiers;

/* Ages of pages by their words of pagemap; all MLG_FLEX_AGE_DISK where the module does not know. */
void files_ages(const Tiers *t, const uint64_t *words, uint32_t n, uint32_t *ret_ages);

/* Words of the pages of a block; how many. 0: its process is gone. */
uint32_t files_pagemap(int32_t pid, uint64_t address, uint64_t ret[static BLOCK_PAGES]);

/* What `pid` has swapped out, 0: anybody but us. Ends early when *stop is set. -errno: out of memory, or of privilege. */
int files_scan(const Tiers *t, int32_t pid, volatile const int *stop, Scan *ret);
void files_scan_done(Scan *s);
