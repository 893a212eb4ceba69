/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Facts: what the kernel of this guest tells of its memory, as the values of the monitor protocol.
 *
 * The parsers take text, so that they can be tested anywhere; the reader keeps its files open, and needs no memory but
 * its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memlego/monitor-proto.h"

typedef struct Facts {
        uint32_t known; /* MLG_FIELD_BIT(id): values[FACT(id)] is */
        uint64_t values[MLG_FIELD_VALUES];
} Facts;

#define FACT(id) ((id) - MLG_FIELD_FIRST_VALUE)

/* Each adds what it finds; lines and numbers that are not understood are passed over. */
void facts_parse_meminfo(const char *text, Facts *f);
void facts_parse_vmstat(const char *text, uint64_t page_kib, Facts *f);
void facts_parse_pressure(const char *text, Facts *f);
/* The kernel's multi-generational LRU: pages that it found untouched for COLD_AGE_SEC. */
void facts_parse_lru_gen(const char *text, uint64_t page_kib, Facts *f);

typedef struct FactsReader {
        int meminfo, vmstat, pressure, lru_gen; /* descriptors; -1: there is no such file */
        uint64_t page_kib;
        uint64_t cold_due_usec;
        Facts cold;             /* as read last */
        Facts counters;         /* the same, of vmstat ... */
        uint64_t some_usec, free_kib; /* ... and what was known then */
        unsigned int calm;      /* how often it was not read since */
} FactsReader;

/* `root`: "" or a directory to look below (tests). -errno: there is no /proc/meminfo. */
int facts_open(FactsReader *r, const char *root);
void facts_read(FactsReader *r, uint64_t now_usec, Facts *ret);
void facts_close(FactsReader *r);
