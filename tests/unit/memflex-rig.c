/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemFlex's rig: see memflex-rig.h. */
#include "memflex-rig.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what, slot) \
        do { \
                if (!(what)) \
                        broken(#what, slot, __LINE__); \
        } while (0)

static _Noreturn void broken(const char *what, uint32_t slot, int line) {
        fprintf(stderr, "memflex-rig.c:%d: not true: %s (%" PRIu32 ")\n", line, what, slot);
        abort();
}

static void *zeroed(size_t n, size_t size) {
        void *p = calloc(n > 0 ? n : 1, size);

        CHECK(p, 0);
        return p;
}

void flex_rig_init(FlexRig *r, uint32_t n_slots, uint32_t n_chunks, bool has_disk) {
        memset(r, 0, sizeof(*r));
        r->n_slots = n_slots;
        r->n_chunks = n_chunks;
        r->words = zeroed(n_slots, sizeof(*r->words));
        r->sums = zeroed(n_slots, sizeof(*r->sums));
        r->slot = zeroed(n_slots, sizeof(*r->slot));
        r->disk = zeroed(n_slots, MF_PAGE_BYTES);
        r->chunk = zeroed(n_chunks, sizeof(*r->chunk));
        r->owner = zeroed((size_t) n_chunks * MLG_FLEX_CHUNK_PAGES, sizeof(*r->owner));
        r->pool = zeroed(n_chunks, MLG_FLEX_CHUNK_BYTES);
        r->staged = zeroed(MF_BATCH_PAGES, MF_PAGE_BYTES);
        mf_store_init(&r->st, r->words, n_slots, has_disk);
        mf_store_verify(&r->st, r->sums);
        CHECK(mf_store_attach(&r->st, r->chunk, r->owner, n_chunks, r->pool) == 0, 0);
        CHECK(mf_store_attach(&r->st, r->chunk, r->owner, n_chunks, r->pool) == -EBUSY, 0);
}

void flex_rig_done(FlexRig *r) {
        if (r->moving)
                flex_drained(r, 0, false);
        mf_store_detach(&r->st);
        free(r->words);
        free(r->sums);
        free(r->slot);
        free(r->disk);
        free(r->chunk);
        free(r->owner);
        free(r->pool);
        free(r->staged);
}

void flex_fill(void *page, uint64_t stamp) {
        uint64_t *word = page;

        if (stamp < 256)
                memset(page, (int) stamp, MF_PAGE_BYTES);
        else
                for (uint32_t i = 0; i < MF_PAGE_BYTES / 8; i++)
                        word[i] = stamp * 0x9e3779b97f4a7c15u + i;
}

bool flex_is(const void *page, uint64_t stamp) {
        uint64_t want[MF_PAGE_BYTES / 8];

        flex_fill(want, stamp);
        return memcmp(page, want, MF_PAGE_BYTES) == 0;
}

/* What a device does is no access of a thread's. */
__attribute__((no_sanitize("thread"), noinline)) void flex_copy_as_disk(void *to, const void *from,
                                                                        size_t bytes) {
        uint64_t *t = to;
        const uint64_t *f = from;

        for (size_t i = 0; i < bytes / 8; i++)
                t[i] = f[i];
}

static uint8_t *disk_page(FlexRig *r, uint32_t slot) {
        return r->disk + (size_t) slot * MF_PAGE_BYTES;
}

/* Whether a page could have been taken: what the limit and the free pages say. */
static bool has_room(const FlexRig *r) {
        const struct mf_chunks *c = &r->st.chunks;
        uint32_t in_use = 0;
        bool empty = false, hole = false;

        for (uint32_t i = 0; i < c->n; i++) {
                uint8_t state = r->chunk[i].state;

                in_use += state != MF_AWAY && state != MF_EMPTY;
                empty |= state == MF_EMPTY;
                hole |= (state == MF_FILLING || state == MF_SEALED) && r->chunk[i].used != ~0ULL;
        }
        return (in_use < c->most && empty) || (in_use <= c->most && hole);
}

int flex_write(FlexRig *r, uint32_t slot, uint64_t stamp) {
        FlexSlot *s = slot < r->n_slots ? &r->slot[slot] : NULL;
        bool in_pool = s && (s->moving || s->place == FLEX_POOL || s->place == FLEX_BOTH);
        bool room = has_room(r);
        uint64_t page[MF_PAGE_BYTES / 8];
        int result;

        flex_fill(page, stamp);
        if (s && !in_pool && stamp >= 256 && !room) /* this must change nothing */
                CHECK(mf_store_write(&r->st, slot, page, true) == MF_DISK, slot);
        result = mf_store_write(&r->st, slot, page, false);
        if (!s) {
                CHECK(result == -ERANGE, slot);
                return result;
        }
        if (stamp < 256 && !s->moving) {
                CHECK(result == 0, slot);
                s->place = FLEX_SAME;
        } else if (in_pool || room) {
                CHECK(result == 0, slot);
                s->place = FLEX_POOL;
                s->changed = s->moving;
        } else if (r->st.has_disk) {
                CHECK(result == MF_DISK, slot);
                CHECK(!s->moving, slot); /* two writes to one place of the disk at the same time */
                memcpy(disk_page(r, slot), page, sizeof(page));
                s->place = FLEX_DISK;
        } else {
                CHECK(result == -ENOSPC, slot);
                return result; /* what was there is still there */
        }
        s->stamp = stamp;
        return result;
}

int flex_read(FlexRig *r, uint32_t slot) {
        const FlexSlot *s = slot < r->n_slots ? &r->slot[slot] : NULL;
        uint64_t page[MF_PAGE_BYTES / 8];
        int result = mf_store_read(&r->st, slot, page, false);

        if (!s) {
                CHECK(result == -ERANGE, slot);
                return result;
        }
        switch (s->place) {
        case FLEX_FREE:
                CHECK(result == 0 && flex_is(page, 0), slot);
                break;
        case FLEX_SAME:
        case FLEX_POOL:
        case FLEX_BOTH:
                CHECK(result == 0 && flex_is(page, s->stamp), slot);
                break;
        case FLEX_DISK:
                CHECK(result == MF_DISK && flex_is(disk_page(r, slot), s->stamp), slot);
                CHECK(mf_store_sum(&r->st, slot) == mf_sum(disk_page(r, slot)), slot);
                break;
        case FLEX_LOST:
                CHECK(result == -EIO, slot);
                break;
        }
        return result;
}

void flex_free(FlexRig *r, uint32_t slot) {
        mf_store_free(&r->st, slot);
        if (slot >= r->n_slots)
                return;
        r->slot[slot].place = FLEX_FREE;
        r->slot[slot].changed = r->slot[slot].moving;
}

int flex_lend(FlexRig *r, uint32_t chunk) {
        bool away = chunk < r->n_chunks && r->chunk[chunk].state == MF_AWAY;
        int result = mf_store_lend(&r->st, chunk);

        CHECK(result == (chunk >= r->n_chunks ? -ERANGE : away ? 0 : -EEXIST), chunk);
        return result;
}

/* What the host gets it punches out: whoever still reads it reads zeroes. */
bool flex_give(FlexRig *r) {
        uint32_t chunk;

        if (!mf_store_give(&r->st, &chunk))
                return false;
        CHECK(chunk < r->n_chunks && r->chunk[chunk].state == MF_AWAY && r->chunk[chunk].used == 0, chunk);
        for (uint32_t i = 0; i < r->batch.n_chunks; i++)
                CHECK(r->batch.chunk[i] != chunk, chunk);
        memset(r->pool + (size_t) chunk * MLG_FLEX_CHUNK_BYTES, 0, MLG_FLEX_CHUNK_BYTES);
        return true;
}

static void copy_halves(FlexRig *r, size_t from) {
        for (uint32_t i = 0; i < r->batch.n; i++)
                flex_copy_as_disk(r->staged + (size_t) i * MF_PAGE_BYTES + from,
                                  (uint8_t *) mf_store_page(&r->st, r->batch.move[i].page) + from,
                                  MF_PAGE_BYTES / 2);
}

/* Of the chunks that leave, what the disk has as well is there alone from now on. */
static void leave_both(FlexRig *r, const uint64_t *used_before) {
        for (uint32_t i = 0; i < r->batch.n_chunks; i++)
                for (uint32_t bit = 0; bit < MLG_FLEX_CHUNK_PAGES; bit++) {
                        uint32_t chunk = r->batch.chunk[i];
                        uint32_t slot = r->owner[chunk * MLG_FLEX_CHUNK_PAGES + bit];

                        if ((used_before[chunk] >> bit & 1) && r->slot[slot].place == FLEX_BOTH)
                                r->slot[slot].place = FLEX_DISK;
                }
}

bool flex_drain(FlexRig *r, uint32_t most) {
        uint64_t *used;

        if (r->moving || !r->st.has_disk)
                return false;
        used = zeroed(r->n_chunks, sizeof(*used));
        for (uint32_t i = 0; i < r->n_chunks; i++)
                used[i] = r->chunk[i].used;
        r->moving = mf_store_drain(&r->st, &r->batch, most);
        CHECK(r->batch.n_chunks <= most && r->moving == (r->batch.n_chunks > 0), most);
        leave_both(r, used);
        free(used);
        for (uint32_t i = 0; i < r->batch.n; i++) {
                FlexSlot *s = &r->slot[r->batch.move[i].slot];

                CHECK(s->place == FLEX_POOL && !s->moving, r->batch.move[i].slot);
                s->moving = true;
                s->changed = false;
        }
        copy_halves(r, 0);
        return r->moving;
}

void flex_drained(FlexRig *r, uint64_t failed, bool keep) {
        if (!r->moving)
                return;
        copy_halves(r, MF_PAGE_BYTES / 2);
        for (uint32_t i = 0; i < r->batch.n; i++) {
                struct mf_move *m = &r->batch.move[i];
                FlexSlot *s = &r->slot[m->slot];

                m->failed = failed >> (i % 64) & 1;
                if (m->failed) /* who knows what is there now */
                        memset(disk_page(r, m->slot), 0xee, MF_PAGE_BYTES);
                else
                        memcpy(disk_page(r, m->slot), r->staged + (size_t) i * MF_PAGE_BYTES, MF_PAGE_BYTES);
                if (!s->changed && !m->failed)
                        s->place = keep ? FLEX_BOTH : FLEX_DISK;
                s->moving = s->changed = false;
        }
        mf_store_drained(&r->st, &r->batch, keep);
        r->moving = false;
}

void flex_lose(FlexRig *r) {
        flex_drained(r, 0, false);
        mf_store_lose(&r->st);
        memset(r->pool, 0xdd, (size_t) r->n_chunks * MLG_FLEX_CHUNK_BYTES);
        for (uint32_t i = 0; i < r->n_slots; i++) {
                FlexPlace *p = &r->slot[i].place;

                *p = *p == FLEX_POOL ? FLEX_LOST : *p == FLEX_BOTH ? FLEX_DISK : *p;
        }
        for (uint32_t i = 0; i < r->n_chunks; i++)
                CHECK(r->chunk[i].state == MF_AWAY, i);
}

uint8_t *flex_place(FlexRig *r, uint32_t slot) {
        for (uint32_t i = 0; i < r->n_chunks; i++)
                for (uint32_t bit = 0; bit < MLG_FLEX_CHUNK_PAGES; bit++) {
                        uint32_t page = i * MLG_FLEX_CHUNK_PAGES + bit;

                        if (mf_chunks_owner(&r->st.chunks, page) == slot)
                                return mf_store_page(&r->st, page);
                }
        return NULL;
}

bool flex_spoil(FlexRig *r, uint32_t slot, uint32_t bit) {
        uint8_t *place = flex_place(r, slot);
        uint64_t page[MF_PAGE_BYTES / 8];
        struct mf_numbers before, after;

        if (!place || r->slot[slot].place == FLEX_FREE)
                return false;
        mf_store_numbers(&r->st, &before);
        bit %= MF_PAGE_BYTES * 8;
        place[bit / 8] ^= (uint8_t) (1u << bit % 8);
        CHECK(mf_store_read(&r->st, slot, page, true) == -EBADMSG, slot);
        CHECK(mf_store_read(&r->st, slot, page, false) == -EBADMSG && flex_is(page, 0), slot);
        place[bit / 8] ^= (uint8_t) (1u << bit % 8);
        mf_store_numbers(&r->st, &after);
        CHECK(after.count[MF_N_WRONG] == before.count[MF_N_WRONG] + 1, slot);
        (void) flex_read(r, slot);
        return true;
}

static void check_chunks(const FlexRig *r) {
        const struct mf_chunks *c = &r->st.chunks;
        uint32_t held = 0, empty = 0, draining = 0, sealed = 0, holes = 0, filling = 0;
        uint64_t pages = 0;

        for (uint32_t i = 0; i < c->n; i++) {
                const struct mf_chunk *k = &r->chunk[i];

                pages += (uint64_t) __builtin_popcountll(k->used);
                held += k->state != MF_AWAY;
                empty += k->state == MF_EMPTY;
                draining += k->state == MF_DRAINING;
                sealed += k->state == MF_SEALED;
                filling += k->state == MF_FILLING;
                holes += k->state == MF_SEALED && k->used != ~0ULL;
                CHECK(k->used == 0 || k->state >= MF_FILLING, i);
                CHECK(k->used != 0 || k->state != MF_SEALED, i);
        }
        CHECK(held == c->n_held && empty == c->n_empty && draining == c->n_draining, held);
        CHECK(pages == c->n_pages, (uint32_t) pages);
        CHECK(filling == (c->filling != MF_NONE), filling);
        for (uint32_t i = c->aged.head; i != MF_NONE; i = r->chunk[i].link[MF_BY_STATE].next, sealed--)
                CHECK(r->chunk[i].state == MF_SEALED && sealed > 0, i);
        for (uint32_t i = c->empty.head; i != MF_NONE; i = r->chunk[i].link[MF_BY_STATE].next, empty--)
                CHECK(r->chunk[i].state == MF_EMPTY && empty > 0, i);
        for (uint32_t i = c->holes.head; i != MF_NONE; i = r->chunk[i].link[MF_BY_HOLES].next, holes--)
                CHECK(r->chunk[i].state == MF_SEALED && holes > 0, i);
        CHECK(sealed == 0 && empty == 0 && holes == 0, 0);
}

void flex_check(FlexRig *r) {
        struct mf_numbers now;
        uint64_t n[FLEX_LOST + 1] = {}, dead = 0;

        for (uint32_t i = 0; i < r->n_slots; i++) {
                (void) flex_read(r, i);
                n[r->slot[i].place]++;
                dead += r->slot[i].place == FLEX_FREE && r->slot[i].moving;
        }
        mf_store_numbers(&r->st, &now);
        CHECK(now.pool_pages == n[FLEX_POOL] + n[FLEX_BOTH] + dead, (uint32_t) now.pool_pages);
        CHECK(now.count[MF_N_SAME] == n[FLEX_SAME], (uint32_t) n[FLEX_SAME]);
        CHECK(now.count[MF_N_ON_DISK] == n[FLEX_DISK], (uint32_t) n[FLEX_DISK]);
        CHECK(now.count[MF_N_LOST] == n[FLEX_LOST], (uint32_t) n[FLEX_LOST]);
        check_chunks(r);
}
