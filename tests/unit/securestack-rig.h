/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SecureStack's rig: the entries of one thread, a process's memory to protect in, and beside them the
 * plainest model of both: bytes with a mark each instead of ranges, and a whole image of the memory for each
 * entry. What the core does is compared with it step by step; the first difference ends the program. The
 * core's memory is the rig's: it is counted, must be wiped where it is freed, and fails when a test says so.
 * */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "securestack/core/entries.h"

#define SS_RIG_BYTES 512u
#define SS_RIG_ENTRIES 64u
#define SS_RIG_BASE 0x100000u  /* the address of the first byte of memory */
#define SS_RIG_STACK 0x10000u  /* the first of two stacks, of as many bytes each */

typedef struct SsRigEntry {
        uint64_t sp, site;
        const void *code;
        uint64_t code_at;
        uint32_t flags;
        bool secret[SS_RIG_BYTES];
        uint8_t image[SS_RIG_BYTES];
} SsRigEntry;

typedef struct SsRig {
        struct ss_entries t;
        struct ss_quota quota;
        struct ss_limits max;
        uint8_t memory[SS_RIG_BYTES], expected[SS_RIG_BYTES];
        SsRigEntry entry[SS_RIG_ENTRIES]; /* the last on top */
        uint32_t n;
} SsRig;

extern int64_t ss_rig_allocs_left; /* so many allocations succeed; below 0: all */
extern int64_t ss_rig_bytes;       /* allocated */
extern int64_t ss_rig_codes;       /* that are kept */

void ss_rig_init(SsRig *r, uint64_t quota_bytes);
void ss_rig_done(SsRig *r); /* all is wiped, freed and given back */

/* A place on the first or second stack, with a site of that number. */
struct ss_where ss_rig_where(uint64_t sp, uint64_t site);

/* What the module does, by its result; both are checked against the model. */
int ss_rig_protect(SsRig *r, const struct ss_where *w, const struct mlg_ss_range *range, uint32_t n,
                   uint32_t flags);
int ss_rig_restore(SsRig *r, const struct ss_where *w);
int ss_rig_write(SsRig *r, uint32_t at, uint32_t bytes, uint8_t value); /* as a callee would */
int ss_rig_fork(SsRig *r); /* a copy for a child, compared and wiped */
void ss_rig_check(SsRig *r);
