/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Facts: what the kernel of this guest tells of its memory. The reader keeps its files open, and needs no memory but its
 * own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hypervisor/guest-facts.h"

typedef struct FactsReader {
        int meminfo, vmstat, pressure, lru_gen; /* descriptors; -1: there is no such file */
        uint64_t page_kib;
        uint64_t cold_due_usec;
        MlgFacts cold;                /* as read last */
        MlgFacts memory;              /* the same, of meminfo and vmstat ... */
        uint64_t some_usec, free_kib; /* ... and what was known then */
        unsigned int calm;            /* how often they were not read since */
} FactsReader;

/* `root`: "" or a directory to look below (tests). -errno: there is no /proc/meminfo. */
int facts_open(FactsReader *r, const char *root);
/* What is free now, cheaply. */
uint64_t facts_free_kib(void);
/* All that is known. Sizes and counters may be a few reads old, as long as nobody waited for memory and `free_kib` is as it was. */
void facts_read(FactsReader *r, uint64_t now_usec, uint64_t free_kib, MlgFacts *ret);
void facts_close(FactsReader *r);

/* A descriptor of a file below `root`, or -errno. */
int facts_open_file(const char *root, const char *path);
/* Its text, of nothing if the descriptor is none; valid until the next call. `is_whole`: the kernel makes this file in one piece, so
 * one read has all of it; of others it gives a page or less at a time. */
const char *facts_text_of(int fd, bool is_whole);
