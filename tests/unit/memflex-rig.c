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

static void init(FlexRig *r, uint32_t n_slots, uint32_t n_chunks, bool has_disk, bool packing) {
        memset(r, 0, sizeof(*r));
        r->n_slots = n_slots;
        r->n_chunks = n_chunks;
        r->words = zeroed(n_slots, sizeof(*r->words));
        r->sums = zeroed(n_slots, sizeof(*r->sums));
        r->slot = zeroed(n_slots, sizeof(*r->slot));
        r->disk = zeroed(n_slots, MF_PAGE_BYTES);
        r->chunk = zeroed(n_chunks, sizeof(*r->chunk));
        r->owner = zeroed((size_t) n_chunks * MLG_FLEX_CHUNK_PAGES * (packing ? MF_PARTS : 1),
                          sizeof(*r->owner));
        r->fetched = zeroed(MF_BATCH_PAGES, sizeof(*r->fetched));
        r->pool = zeroed(n_chunks, MLG_FLEX_CHUNK_BYTES);
        r->staged = zeroed(MF_BATCH_PAGES, MF_PAGE_BYTES);
        mf_store_init(&r->st, r->words, n_slots, has_disk);
        mf_store_verify(&r->st, r->sums);
        if (packing)
                mf_store_pack(&r->st);
        CHECK(mf_store_attach(&r->st, r->chunk, r->owner, n_chunks, r->pool) == 0, 0);
        CHECK(mf_store_attach(&r->st, r->chunk, r->owner, n_chunks, r->pool) == -EBUSY, 0);
}

void flex_rig_init(FlexRig *r, uint32_t n_slots, uint32_t n_chunks, bool has_disk) {
        init(r, n_slots, n_chunks, has_disk, false);
}

void flex_rig_init_packing(FlexRig *r, uint32_t n_slots, uint32_t n_chunks, bool has_disk) {
        init(r, n_slots, n_chunks, has_disk, true);
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
        free(r->fetched);
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

/* Sizes at and beside the borders of what has room in a half, a third and a quarter. */
void flex_pack(struct mf_packed *packed, uint64_t stamp) {
        static const uint32_t sizes[] = { 0, 12, 900, 1022, 1023, 1358, 1359, MF_PACKED_MOST };

        packed->n = stamp < 256 ? 0 : sizes[stamp * 0x9e3779b97f4a7c15u >> 61];
        if (packed->n == 0)
                return;
        memset(packed->bytes, (int) (stamp ^ packed->n), packed->n);
        memcpy(packed->bytes, &stamp, sizeof(stamp));
}

bool flex_unpack(const struct mf_packed *packed, void *page) {
        struct mf_packed want;
        uint64_t stamp;

        memcpy(&stamp, packed->bytes, sizeof(stamp));
        flex_pack(&want, stamp);
        flex_fill(page, stamp);
        return packed->n == want.n && memcmp(packed->bytes, want.bytes, want.n) == 0;
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

/* In how many parts of a page it has room. */
static uint32_t parts_for(const FlexRig *r, const struct mf_packed *packed) {
        uint32_t n = r->st.parts == 1 ? 0 : packed->n;

        return n == 0 ? 1 : n <= 1022 ? 4 : n <= 1358 ? 3 : 2;
}

/* parts 1: a page that is not in use; else one in so many parts, of which one is not. */
static bool has_hole(const struct mf_chunk *k, uint32_t parts) {
        uint64_t full = k->used[0];

        if (parts == 1)
                return (k->used[0] | k->used[1] | k->used[2] | k->used[3]) != ~0ULL;
        for (uint32_t i = 1; i < parts; i++)
                full &= k->used[i];
        return k->split[parts - 1] & ~full;
}

/* Whether a place could have been taken: what the limit and the free ones say. */
static bool has_room(const FlexRig *r, uint32_t parts) {
        const struct mf_chunks *c = &r->st.chunks;
        uint32_t in_use = 0;
        bool empty = false, hole = false;

        for (uint32_t i = 0; i < c->n; i++) {
                uint8_t state = r->chunk[i].state;

                in_use += state != MF_AWAY && state != MF_EMPTY;
                empty |= state == MF_EMPTY;
                if (state == MF_FILLING || state == MF_SEALED)
                        hole |= has_hole(&r->chunk[i], 1) || has_hole(&r->chunk[i], parts);
        }
        return (in_use < c->most && empty) || (in_use <= c->most && hole);
}

/* The place of a slot in the pool, by its word; MF_NONE: it is not its. */
static uint32_t find_place(const FlexRig *r, uint32_t slot) {
        uint32_t place = r->words[slot] & (MF_PAGE_MASK | (MF_PARTS - 1) << MF_PART_SHIFT);

        return mf_chunks_owner(&r->st.chunks, place) == slot ? place : MF_NONE;
}

static bool has_any_room(const FlexRig *r) {
        bool any = false;

        for (uint32_t parts = 1; parts <= r->st.parts; parts++)
                any |= has_room(r, parts);
        return any;
}

/* What a write must say. */
static int expected_of_write(const FlexRig *r, const FlexSlot *s, uint32_t slot, uint32_t parts, bool same) {
        bool in_pool = s->moving || s->place == FLEX_POOL || s->place == FLEX_BOTH;
        uint32_t has = 0;

        if (in_pool) {
                CHECK(find_place(r, slot) != MF_NONE, slot);
                has = mf_chunks_parts(&r->st.chunks, find_place(r, slot));
        }
        if (same && !s->moving)
                return 0;
        if ((in_pool && parts >= has) || has_room(r, parts))
                return 0;
        return s->moving ? -EAGAIN : r->st.has_disk ? MF_DISK : -ENOSPC;
}

int flex_write(FlexRig *r, uint32_t slot, uint64_t stamp) {
        FlexSlot *s = slot < r->n_slots ? &r->slot[slot] : NULL;
        uint64_t page[MF_PAGE_BYTES / 8];
        struct mf_packed packed;
        int result, expected;

        flex_fill(page, stamp);
        flex_pack(&packed, stamp);
        CHECK(mf_store_has_room(&r->st) == has_any_room(r), slot);
        expected = s ? expected_of_write(r, s, slot, parts_for(r, &packed), stamp < 256) : -ERANGE;
        if (s && expected != 0) /* this must change nothing */
                CHECK(mf_store_write_packed(&r->st, slot, page, &packed, true) != 0, slot);
        result = mf_store_write_packed(&r->st, slot, page, &packed, false);
        CHECK(result == expected, slot);
        if (result < 0)
                return result; /* what was there is still there */
        if (result == MF_DISK) {
                CHECK(!s->moving, slot); /* two writes to one place of the disk at the same time */
                memcpy(disk_page(r, slot), page, sizeof(page));
                s->place = FLEX_DISK;
        } else if (stamp < 256 && !s->moving) {
                s->place = FLEX_SAME;
        } else {
                s->place = FLEX_POOL;
                s->changed = s->moving;
        }
        s->stamp = stamp;
        return result;
}

/* As the caller of the store has to: unpacked, and compared. */
static int read_page(FlexRig *r, uint32_t slot, void *page, bool try) {
        struct mf_packed packed;
        int result = mf_store_read_packed(&r->st, slot, page, &packed, try);

        if (result != MF_PACKED)
                return result;
        if (flex_unpack(&packed, page) && mf_sum(page) == packed.sum)
                return 0;
        if (!try)
                mf_store_count_wrong(&r->st, slot);
        memset(page, 0, MF_PAGE_BYTES);
        return -EBADMSG;
}

int flex_read(FlexRig *r, uint32_t slot) {
        const FlexSlot *s = slot < r->n_slots ? &r->slot[slot] : NULL;
        uint64_t page[MF_PAGE_BYTES / 8];
        int result = read_page(r, slot, page, false);

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

typedef struct Promotion {
        FlexRig *r;
        bool stale, asked;
} Promotion;

static bool copy_of_disk(void *of, uint32_t slot, void *to) {
        Promotion *p = of;

        p->asked = true;
        memcpy(to, disk_page(p->r, slot), MF_PAGE_BYTES);
        return !p->stale;
}

bool flex_promote(FlexRig *r, uint32_t slot, bool stale) {
        bool may = slot < r->n_slots && r->slot[slot].place == FLEX_DISK && has_room(r, 1);
        Promotion p = { r, stale, false };
        bool done = mf_store_promote(&r->st, slot, copy_of_disk, &p);

        CHECK(p.asked == may && done == (may && !stale), slot);
        if (done)
                r->slot[slot].place = FLEX_BOTH;
        return done;
}

int flex_lend(FlexRig *r, uint32_t chunk) {
        bool away = chunk < r->n_chunks && r->chunk[chunk].state == MF_AWAY;
        int result = mf_store_lend(&r->st, chunk);

        CHECK(result == (chunk >= r->n_chunks ? -ERANGE : away ? 0 : -EEXIST), chunk);
        return result;
}

static uint64_t in_use(const struct mf_chunk *k) {
        return k->used[0] | k->used[1] | k->used[2] | k->used[3];
}

/* What the host gets it punches out: whoever still reads it reads zeroes. */
bool flex_give(FlexRig *r) {
        uint32_t chunk;

        if (!mf_store_give(&r->st, &chunk))
                return false;
        CHECK(chunk < r->n_chunks && r->chunk[chunk].state == MF_AWAY, chunk);
        CHECK(in_use(&r->chunk[chunk]) == 0, chunk);
        for (uint32_t i = 0; i < r->batch.n_chunks; i++)
                CHECK(r->batch.chunk[i] != chunk, chunk);
        memset(r->pool + (size_t) chunk * MLG_FLEX_CHUNK_BYTES, 0, MLG_FLEX_CHUNK_BYTES);
        return true;
}

/* Every other page goes at once, the others when the batch is over: much may have happened by then. */
static void fetch(FlexRig *r, uint32_t i) {
        uint8_t *to = r->staged + (size_t) i * MF_PAGE_BYTES;
        struct mf_packed packed;

        r->fetched[i] = mf_store_fetch(&r->st, &r->batch.move[i], to, &packed);
        if (r->fetched[i] == MF_PACKED)
                CHECK(flex_unpack(&packed, to) && mf_sum(to) == packed.sum, i);
}

static void fetch_rest(FlexRig *r) {
        for (uint32_t i = 1; i < r->batch.n; i += 2)
                fetch(r, i);
}

/* Of the chunks that leave, what the disk has as well is there alone from now on. */
static void leave_both(FlexRig *r, const uint32_t *chunk_before) {
        for (uint32_t slot = 0; slot < r->n_slots; slot++)
                for (uint32_t i = 0; i < r->batch.n_chunks; i++)
                        if (r->slot[slot].place == FLEX_BOTH && chunk_before[slot] == r->batch.chunk[i])
                                r->slot[slot].place = FLEX_DISK;
}

static uint32_t *chunks_of_slots(const FlexRig *r) {
        uint32_t *chunk = zeroed(r->n_slots, sizeof(*chunk));

        memset(chunk, 0xff, r->n_slots * sizeof(*chunk));
        for (uint32_t part = 0; part < r->st.parts; part++)
                for (uint32_t page = 0; page < r->n_chunks * MLG_FLEX_CHUNK_PAGES; page++) {
                        uint32_t slot = mf_chunks_owner(&r->st.chunks, part << MF_PART_SHIFT | page);

                        if (slot != MF_NONE)
                                chunk[slot] = page / MLG_FLEX_CHUNK_PAGES;
                }
        return chunk;
}

bool flex_drain(FlexRig *r, uint32_t most) {
        uint32_t *chunk;

        if (r->moving || !r->st.has_disk)
                return false;
        chunk = chunks_of_slots(r);
        r->moving = mf_store_drain(&r->st, &r->batch, most);
        CHECK(r->batch.n_chunks <= most && r->moving == (r->batch.n_chunks > 0), most);
        leave_both(r, chunk);
        free(chunk);
        for (uint32_t i = 0; i < r->batch.n; i++) {
                FlexSlot *s = &r->slot[r->batch.move[i].slot];

                CHECK(s->place == FLEX_POOL && !s->moving, r->batch.move[i].slot);
                s->moving = true;
                s->changed = false;
                if (i % 2 == 0)
                        fetch(r, i);
        }
        return r->moving;
}

void flex_drained(FlexRig *r, uint64_t failed, bool keep) {
        if (!r->moving)
                return;
        fetch_rest(r);
        for (uint32_t i = 0; i < r->batch.n; i++) {
                struct mf_move *m = &r->batch.move[i];
                FlexSlot *s = &r->slot[m->slot];

                if (r->fetched[i] == -ECANCELED) {
                        CHECK(s->changed, m->slot);
                        s->moving = s->changed = false;
                        continue;
                }
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

uint8_t *flex_place(FlexRig *r, uint32_t slot, uint32_t *ret_bytes) {
        uint32_t place = find_place(r, slot), parts;
        uint16_t n;
        uint8_t *at;

        if (place == MF_NONE)
                return NULL;
        parts = mf_chunks_parts(&r->st.chunks, place);
        at = mf_store_page(&r->st, place);
        at += (place >> MF_PART_SHIFT) * (MF_PAGE_BYTES / parts & ~7u);
        memcpy(&n, at, sizeof(n));
        *ret_bytes = parts == 1 ? MF_PAGE_BYTES : n + (uint32_t) sizeof(n);
        return at;
}

bool flex_spoil(FlexRig *r, uint32_t slot, uint32_t bit) {
        uint32_t n_bytes;
        uint8_t *place = flex_place(r, slot, &n_bytes);
        uint64_t page[MF_PAGE_BYTES / 8];
        struct mf_numbers before, after;

        if (!place || r->slot[slot].place == FLEX_FREE)
                return false;
        mf_store_numbers(&r->st, &before);
        bit %= n_bytes * 8;
        place[bit / 8] ^= (uint8_t) (1u << bit % 8);
        CHECK(read_page(r, slot, page, true) == -EBADMSG, slot);
        CHECK(read_page(r, slot, page, false) == -EBADMSG, slot);
        place[bit / 8] ^= (uint8_t) (1u << bit % 8);
        mf_store_numbers(&r->st, &after);
        CHECK(after.count[MF_N_WRONG] == before.count[MF_N_WRONG] + 1, slot);
        (void) flex_read(r, slot);
        return true;
}

/* The parts of each page, and what that comes to. */
static void check_parts(const FlexRig *r, uint32_t i, uint64_t *pages, uint64_t *places, uint64_t *split) {
        const struct mf_chunk *k = &r->chunk[i];

        for (uint32_t bit = 0; bit < MLG_FLEX_CHUNK_PAGES; bit++) {
                uint32_t parts = 0, used = 0, n_splits = 0;

                for (uint32_t p = 0; p < MF_PARTS; p++) {
                        used += k->used[p] >> bit & 1;
                        n_splits += k->split[p] >> bit & 1;
                        parts = k->split[p] >> bit & 1 ? p + 1 : parts;
                }
                CHECK(n_splits == (used > 0) && used <= parts && parts <= r->st.parts, i);
                for (uint32_t p = parts; p < MF_PARTS; p++)
                        CHECK(!(k->used[p] >> bit & 1), i);
                *pages += used > 0;
                *places += used;
                *split += parts > 1 ? used : 0;
        }
}

/* Those that have holes of a kind are in its list, once each, and no others. */
static void check_holes(const FlexRig *r, uint32_t parts) {
        uint32_t n = 0, i;

        for (i = 0; i < r->n_chunks; i++)
                n += r->chunk[i].state == MF_SEALED && has_hole(&r->chunk[i], parts);
        for (i = r->st.chunks.holes[parts - 1].head; i != MF_NONE;
             i = r->chunk[i].link[MF_BY_HOLES + parts - 1].next, n--)
                CHECK(r->chunk[i].state == MF_SEALED && has_hole(&r->chunk[i], parts) && n > 0, i);
        CHECK(n == 0, parts);
}

static void check_chunks(const FlexRig *r) {
        const struct mf_chunks *c = &r->st.chunks;
        uint32_t held = 0, empty = 0, draining = 0, sealed = 0, filling = 0;
        uint64_t pages = 0, places = 0, split = 0;

        for (uint32_t i = 0; i < c->n; i++) {
                const struct mf_chunk *k = &r->chunk[i];

                check_parts(r, i, &pages, &places, &split);
                held += k->state != MF_AWAY;
                empty += k->state == MF_EMPTY;
                draining += k->state == MF_DRAINING;
                sealed += k->state == MF_SEALED;
                filling += k->state == MF_FILLING;
                CHECK(in_use(k) == 0 || k->state >= MF_FILLING, i);
                CHECK(in_use(k) != 0 || k->state != MF_SEALED, i);
        }
        CHECK(held == c->n_held && empty == c->n_empty && draining == c->n_draining, held);
        CHECK(pages == c->n_pages && places == c->n_places && split == c->n_split, (uint32_t) pages);
        CHECK(filling == (c->filling != MF_NONE), filling);
        for (uint32_t i = c->aged.head; i != MF_NONE; i = r->chunk[i].link[MF_BY_STATE].next, sealed--)
                CHECK(r->chunk[i].state == MF_SEALED && sealed > 0, i);
        for (uint32_t i = c->empty.head; i != MF_NONE; i = r->chunk[i].link[MF_BY_STATE].next, empty--)
                CHECK(r->chunk[i].state == MF_EMPTY && empty > 0, i);
        CHECK(sealed == 0 && empty == 0, 0);
        for (uint32_t parts = 1; parts <= r->st.parts; parts++)
                check_holes(r, parts);
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
        CHECK(now.in_pool == n[FLEX_POOL] + n[FLEX_BOTH] + dead, (uint32_t) now.in_pool);
        CHECK(now.count[MF_N_SAME] == n[FLEX_SAME], (uint32_t) n[FLEX_SAME]);
        CHECK(now.count[MF_N_ON_DISK] == n[FLEX_DISK], (uint32_t) n[FLEX_DISK]);
        CHECK(now.count[MF_N_LOST] == n[FLEX_LOST], (uint32_t) n[FLEX_LOST]);
        check_chunks(r);
}
