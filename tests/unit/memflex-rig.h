/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemFlex's rig: a store with a pool and a disk that are memory of the test's own, and beside it the
 * plainest model of both: what was written last to each slot, and where it must lie by now. What the store
 * does is compared with it step by step; the first difference ends the program. Write-back fetches half of its pages
 * when it begins and half when it ends. The store verifies: no page of the pool or the
 * disk that is right is taken for a wrong one, and none that is wrong for a right one. Pages can be packed,
 * by a code of the rig's own: some can not, the others come to very different sizes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memflex/core/store.h"

typedef enum FlexPlace { FLEX_FREE, FLEX_SAME, FLEX_POOL, FLEX_BOTH, FLEX_DISK, FLEX_LOST } FlexPlace;

typedef struct FlexSlot {
        FlexPlace place;
        uint64_t stamp;      /* what was written last; below 256: a page of that byte */
        bool moving, changed; /* a batch writes it to the disk; it was written or freed since */
} FlexSlot;

typedef struct FlexRig {
        struct mf_store st;
        uint32_t *words, *sums, *owner;
        struct mf_chunk *chunk;
        uint8_t *pool, *disk, *staged;
        FlexSlot *slot;
        uint32_t n_slots, n_chunks;
        struct mf_batch batch;
        bool moving; /* the batch is under way */
        int *fetched; /* of each move: what there was to write */
} FlexRig;

void flex_rig_init(FlexRig *r, uint32_t n_slots, uint32_t n_chunks, bool has_disk);
void flex_rig_init_packing(FlexRig *r, uint32_t n_slots, uint32_t n_chunks, bool has_disk);
void flex_rig_done(FlexRig *r);

/* Each says by its result what the store said. */
int flex_write(FlexRig *r, uint32_t slot, uint64_t stamp);
int flex_read(FlexRig *r, uint32_t slot);
void flex_free(FlexRig *r, uint32_t slot);
/* `stale`: what is there to be copied is not what the disk has. */
bool flex_promote(FlexRig *r, uint32_t slot, bool stale);
int flex_lend(FlexRig *r, uint32_t chunk);
bool flex_give(FlexRig *r);
bool flex_drain(FlexRig *r, uint32_t most);
/* `failed`: bits of moves that fail, by their number modulo 64. */
void flex_drained(FlexRig *r, uint64_t failed, bool keep);
void flex_lose(FlexRig *r);
/* One bit of a slot's page in the pool is another, and then right again; false: it is not in the pool. */
bool flex_spoil(FlexRig *r, uint32_t slot, uint32_t bit);
/* Where it lies in the pool, and in how many bytes; NULL: not there. */
uint8_t *flex_place(FlexRig *r, uint32_t slot, uint32_t *ret_bytes);

/* All slots are read, and all numbers recounted. */
void flex_check(FlexRig *r);

/* For tests with threads of their own. */
void flex_fill(void *page, uint64_t stamp);
bool flex_is(const void *page, uint64_t stamp);
/* The page of a stamp, packed; with n = 0 if it cannot be. */
void flex_pack(struct mf_packed *packed, uint64_t stamp);
bool flex_unpack(const struct mf_packed *packed, void *page);
void flex_copy_as_disk(void *to, const void *from, size_t bytes);
