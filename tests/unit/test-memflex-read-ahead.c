/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemFlex, read ahead: who reads page after page gets windows that grow, others what lies around their page, which goes
 * into the pool; and whatever is written,
 * written back, freed and read meanwhile, in whatever order the disk does it, no page is answered with what is
 * not on the disk any more. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "memflex-rig.h"
#include "memflex/core/read-ahead.h"

#define N_SLOTS 160u
#define N_CHUNKS 2u
#define N_WRITES 6u

typedef struct World {
        struct mf_store st;
        struct mf_ra ra;
        struct mf_chunk chunk[N_CHUNKS];
        uint32_t words[N_SLOTS], owner[N_CHUNKS * MLG_FLEX_CHUNK_PAGES];
        uint64_t stamp[N_SLOTS], on_disk[N_SLOTS]; /* what was written last; what the disk has */
        struct {
                uint32_t slot;
                uint64_t stamp; /* 0: none is under way */
        } write[N_WRITES];
        bool reading[MF_RA_WINDOWS];
        uint32_t around[MF_RA_WINDOWS]; /* the slot for which it was planned; N_SLOTS: by streams */
        struct mf_batch batch;
        bool moving;
        uint64_t next_stamp, random;
        uint8_t *pool, *pages;
        uint32_t n_hits, n_waits;
} World;

static uint32_t draw(World *w, uint32_t below) {
        w->random = w->random * 6364136223846793005u + 1442695040888963407u;
        return (uint32_t) (w->random >> 33) % below;
}

static void world_init(World *w, uint64_t seed) {
        *w = (World){ .next_stamp = 1000, .random = seed };
        w->pool = calloc(N_CHUNKS, MLG_FLEX_CHUNK_BYTES);
        w->pages = calloc(MF_RA_WINDOWS * MF_RA_PAGES, MF_PAGE_BYTES);
        assert_true(w->pool && w->pages);
        mf_store_init(&w->st, w->words, N_SLOTS, true);
        assert_int_equal(mf_store_attach(&w->st, w->chunk, w->owner, N_CHUNKS, w->pool), 0);
        for (uint32_t i = 0; i < N_CHUNKS; i++)
                assert_int_equal(mf_store_lend(&w->st, i), 0);
        mf_ra_init(&w->ra, &w->st, w->pages);
}

static void world_done(World *w) {
        free(w->pool);
        free(w->pages);
}

static bool is_written(const World *w, uint32_t slot) {
        for (uint32_t i = 0; i < N_WRITES; i++)
                if (w->write[i].stamp && w->write[i].slot == slot)
                        return true;
        return false;
}

/* What the kernel does that swaps: no slot is written, read or freed while a write of it is under way. */
static void write_slot(World *w, uint32_t slot) {
        uint8_t page[MF_PAGE_BYTES];
        uint32_t i = 0;
        int r;

        while (i < N_WRITES && w->write[i].stamp)
                i++;
        if (i == N_WRITES || is_written(w, slot))
                return;
        flex_fill(page, w->next_stamp);
        r = mf_store_write(&w->st, slot, page, false);
        if (r == -EAGAIN)
                return;
        w->stamp[slot] = w->next_stamp++;
        if (r == 0)
                return;
        assert_int_equal(r, MF_DISK);
        w->write[i].slot = slot;
        w->write[i].stamp = w->stamp[slot];
}

/* Half of the time the disk has it long before it says so. */
static void some_write_lands(World *w) {
        uint32_t i = draw(w, N_WRITES);

        if (!w->write[i].stamp)
                return;
        w->on_disk[w->write[i].slot] = w->write[i].stamp;
        if (draw(w, 2) == 0)
                return;
        mf_ra_write_ends(&w->ra, w->write[i].slot, 1);
        w->write[i].stamp = 0;
}

/* Some of what a window is to have is read at once, and again at any time until it is done. */
static void read_some(World *w, uint32_t window) {
        const struct mf_ra_window *what = &w->ra.window[window];

        for (uint32_t i = 0; i < what->n; i++)
                if (draw(w, 2) == 0)
                        flex_fill(mf_ra_page(&w->ra, window, i), w->on_disk[what->first + i]);
}

static bool plan_around(World *w, uint32_t slot, uint32_t *ret_window) {
        return draw(w, 2) == 0 && mf_ra_plan_around(&w->ra, &w->st, slot, ret_window);
}

static void plan(World *w, uint32_t slot) {
        uint32_t window, around = slot;

        if (!plan_around(w, slot, &window)) {
                around = N_SLOTS;
                if (!mf_ra_plan(&w->ra, &w->st, slot, &window))
                        return;
        }
        assert_false(w->reading[window]);
        w->reading[window] = true;
        w->around[window] = around;
        for (uint32_t i = 0; i < w->ra.window[window].n; i++)
                flex_fill(mf_ra_page(&w->ra, window, i), w->on_disk[w->ra.window[window].first + i]);
}

static void some_window_is_done(World *w) {
        uint32_t i = draw(w, MF_RA_WINDOWS);

        if (!w->reading[i])
                return;
        read_some(w, i);
        if (draw(w, 3) == 0)
                return;
        w->reading[i] = false;
        mf_ra_done(&w->ra, i, draw(w, 8) > 0);
        if (w->around[i] < N_SLOTS && draw(w, 2) == 0)
                mf_ra_promote(&w->ra, &w->st, w->around[i]);
}

static void read_slot(World *w, uint32_t slot) {
        uint8_t page[MF_PAGE_BYTES];
        int r;

        if (is_written(w, slot))
                return;
        r = mf_store_read(&w->st, slot, page, false);
        if (r == MF_DISK) {
                r = mf_ra_take(&w->ra, slot, page);
                w->n_hits += r == 0;
                w->n_waits += r == -EAGAIN;
                if (r == -ENOENT || r == -EAGAIN) /* read by itself */
                        flex_fill(page, w->on_disk[slot]);
                plan(w, slot);
        }
        assert_true(flex_is(page, w->stamp[slot]));
}

static void write_back(World *w) {
        uint8_t page[MF_PAGE_BYTES];

        if (!w->moving) {
                w->moving = mf_store_drain(&w->st, &w->batch, 1);
                return;
        }
        for (uint32_t i = 0; i < w->batch.n; i++) {
                struct mf_move *move = &w->batch.move[i];

                move->failed = draw(w, 16) == 0;
                if (!move->failed && mf_store_fetch(&w->st, move, page, NULL) == 0)
                        w->on_disk[move->slot] = w->stamp[move->slot];
                else if (!move->failed)
                        w->on_disk[move->slot] = 7; /* of before it was changed; nobody may ever see it */
                mf_ra_forget(&w->ra, move->slot);
        }
        mf_store_drained(&w->st, &w->batch, draw(w, 2) == 0);
        w->moving = false;
}

static void free_slot(World *w, uint32_t slot) {
        if (is_written(w, slot))
                return;
        mf_store_free(&w->st, slot);
        w->stamp[slot] = 0;
}

static void step(World *w, uint32_t *at) {
        switch (draw(w, 16)) {
        case 0 ... 1:
                write_slot(w, draw(w, N_SLOTS));
                break;
        case 2:
                *at = draw(w, N_SLOTS);
                break;
        case 3:
                free_slot(w, draw(w, N_SLOTS));
                break;
        case 4:
                write_back(w);
                break;
        case 5:
                mf_store_limit(&w->st, draw(w, N_CHUNKS + 1));
                break;
        case 6 ... 7:
                some_write_lands(w);
                break;
        case 8: /* late */
                mf_ra_promote(&w->ra, &w->st, draw(w, N_SLOTS));
                break;
        case 9 ... 10:
                some_window_is_done(w);
                break;
        default:
                read_slot(w, *at);
                *at = (*at + 1) % N_SLOTS;
        }
}

static uint64_t promoted(World *w) {
        struct mf_numbers now;

        mf_store_numbers(&w->st, &now);
        return now.count[MF_N_PROMOTED];
}

static void test_nothing_old(void **state) {
        uint32_t n_hits = 0, n_waits = 0;
        uint64_t n_promoted = 0;

        for (uint64_t seed = 1; seed <= 20; seed++) {
                World *w = malloc(sizeof(*w));
                uint32_t at = 0;

                assert_non_null(w);
                world_init(w, seed);
                for (uint32_t i = 0; i < 20000; i++)
                        step(w, &at);
                n_hits += w->n_hits;
                n_waits += w->n_waits;
                n_promoted += promoted(w);
                world_done(w);
                free(w);
        }
        /* it was about something */
        assert_true(n_hits > 1000);
        assert_true(n_waits > 100);
        assert_true(n_promoted > 1000);
}

/* ---------------------------------------------------------------- what is read */

/* All of it on the disk. */
static World *full_disk(void) {
        World *w = malloc(sizeof(*w));

        assert_non_null(w);
        world_init(w, 1);
        mf_store_limit(&w->st, 0);
        for (uint32_t slot = 0; slot < N_SLOTS; slot++) {
                write_slot(w, slot);
                w->on_disk[slot] = w->write[0].stamp;
                w->write[0].stamp = 0;
                mf_ra_write_ends(&w->ra, slot, 1);
        }
        return w;
}

static void test_windows_grow(void **state) {
        static const struct {
                uint32_t first, n;
        } expected[] = { { 2, 8 }, { 10, 16 }, { 26, 32 }, { 58, 32 }, { 90, 32 }, { 122, 32 }, { 154, 6 } };
        World *w = full_disk();
        uint32_t n = 0, window, taken = 0;
        uint8_t page[MF_PAGE_BYTES];

        for (uint32_t slot = 0; slot < N_SLOTS; slot++) {
                taken += mf_ra_take(&w->ra, slot, page) == 0;
                if (!mf_ra_plan(&w->ra, &w->st, slot, &window))
                        continue;
                assert_true(n < sizeof(expected) / sizeof(expected[0]));
                assert_int_equal(w->ra.window[window].first, expected[n].first);
                assert_int_equal(w->ra.window[window].n, expected[n++].n);
                mf_ra_done(&w->ra, window, true);
        }
        assert_int_equal(n, sizeof(expected) / sizeof(expected[0]));
        assert_int_equal(taken, N_SLOTS - 2); /* all but those by which it was seen */
        world_done(w);
        free(w);
}

static void test_only_in_order(void **state) {
        World *w = full_disk();
        uint32_t window;

        for (uint32_t i = 1; i < N_SLOTS; i++)
                assert_false(mf_ra_plan(&w->ra, &w->st, i * 7 % N_SLOTS, &window));
        /* as many at once as there are streams */
        for (uint32_t i = 0; i < MF_RA_STREAMS; i++)
                assert_false(mf_ra_plan(&w->ra, &w->st, i * 20, &window));
        for (uint32_t i = 0; i < MF_RA_STREAMS; i++) {
                assert_true(mf_ra_plan(&w->ra, &w->st, i * 20 + 1, &window));
                assert_int_equal(w->ra.window[window].first, i * 20 + 2);
        }
        assert_true(mf_ra_reads(&w->ra) && mf_ra_reads_slot(&w->ra, 2));
        /* all windows are being read */
        assert_false(mf_ra_plan(&w->ra, &w->st, 19, &window));
        assert_false(mf_ra_plan(&w->ra, &w->st, 20, &window));
        world_done(w);
        free(w);
}

static void test_only_of_the_disk(void **state) {
        World *w = full_disk();
        uint32_t window;

        free_slot(w, 5);
        free_slot(w, 42);
        assert_false(mf_ra_plan(&w->ra, &w->st, 1, &window));
        assert_true(mf_ra_plan(&w->ra, &w->st, 2, &window));
        assert_int_equal(w->ra.window[window].n, 2); /* up to the one that is not there */
        assert_false(mf_ra_plan(&w->ra, &w->st, 40, &window));
        assert_false(mf_ra_plan(&w->ra, &w->st, 41, &window));
        /* nothing while something there is being written */
        write_slot(w, 130);
        assert_int_equal(w->write[0].slot, 130);
        assert_false(mf_ra_plan(&w->ra, &w->st, 131, &window));
        assert_false(mf_ra_plan(&w->ra, &w->st, 132, &window));
        mf_ra_write_ends(&w->ra, 130, 1);
        assert_false(mf_ra_plan(&w->ra, &w->st, 145, &window));
        assert_true(mf_ra_plan(&w->ra, &w->st, 146, &window));
        world_done(w);
        free(w);
}

/* ---------------------------------------------------------------- around */

static void expect_around(World *w, uint32_t slot, uint32_t first, uint32_t n, uint32_t has) {
        uint32_t window;

        assert_true(mf_ra_plan_around(&w->ra, &w->st, slot, &window));
        assert_int_equal(w->ra.window[window].first, first);
        assert_int_equal(w->ra.window[window].n, n);
        assert_int_equal(w->ra.window[window].has, has);
        for (uint32_t i = 0; i < n; i++)
                flex_fill(mf_ra_page(&w->ra, window, i), w->on_disk[first + i]);
        mf_ra_done(&w->ra, window, true);
        mf_ra_promote(&w->ra, &w->st, slot);
}

static void test_around(void **state) {
        World *w = full_disk();
        uint8_t page[MF_PAGE_BYTES];
        uint32_t window;

        mf_store_limit(&w->st, N_CHUNKS);
        expect_around(w, 43, 40, 8, 0xf7); /* its own page is its reader's */
        assert_int_equal(promoted(w), 7);
        for (uint32_t slot = 40; slot < 48; slot++) {
                assert_int_equal(mf_store_read(&w->st, slot, page, false), slot == 43 ? MF_DISK : 0);
                assert_true(slot == 43 || flex_is(page, w->stamp[slot]));
        }
        assert_false(mf_ra_plan_around(&w->ra, &w->st, 43, &window)); /* nothing is left around it */
        /* from the first and to the last that is there, in one piece */
        free_slot(w, 56);
        free_slot(w, 60);
        expect_around(w, 58, 57, 3, 0x5);
        assert_int_equal(promoted(w), 9);
        /* what a write to the pool or to the disk has changed stays as it is */
        mf_store_limit(&w->st, 0);
        write_slot(w, 57);
        assert_int_equal(mf_store_read(&w->st, 57, page, false), 0); /* in its place */
        assert_true(flex_is(page, w->stamp[57]));
        world_done(w);
        free(w);
}

static void test_around_and_ahead(void **state) {
        World *w = full_disk();
        uint32_t window;

        mf_store_limit(&w->st, N_CHUNKS);
        expect_around(w, 8, 8, 8, 0xfe);
        /* who goes on where that ended reads in order */
        assert_false(mf_ra_plan_around(&w->ra, &w->st, 16, &window));
        assert_true(mf_ra_plan(&w->ra, &w->st, 16, &window));
        assert_int_equal(w->ra.window[window].first, 17);
        world_done(w);
        free(w);
}

/* A write that has begun, by the store alone, while the window was being read. */
static void test_nothing_stale_is_promoted(void **state) {
        World *w = full_disk();
        uint32_t window;

        assert_true(mf_ra_plan_around(&w->ra, &w->st, 80, &window));
        write_slot(w, 82);
        assert_int_equal(w->write[0].slot, 82);
        mf_ra_done(&w->ra, window, true);
        mf_store_limit(&w->st, N_CHUNKS);
        mf_ra_promote(&w->ra, &w->st, 80);
        assert_int_equal(promoted(w), 6); /* neither 80, which was read, nor 82 */
        assert_false(mf_ra_plan_around(&w->ra, &w->st, 90, &window)); /* a write is under way near there */
        mf_ra_write_ends(&w->ra, 82, 1);
        assert_true(mf_ra_plan_around(&w->ra, &w->st, 90, &window));
        world_done(w);
        free(w);
}

static void test_no_room(void **state) {
        World *w = full_disk(); /* without a place in the pool */
        uint8_t page[MF_PAGE_BYTES];

        expect_around(w, 80, 80, 8, 0xfe);
        assert_int_equal(promoted(w), 0);
        assert_int_equal(mf_ra_take(&w->ra, 81, page), 0); /* they stay in the window meanwhile */
        world_done(w);
        free(w);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_windows_grow),
                cmocka_unit_test(test_only_in_order),
                cmocka_unit_test(test_only_of_the_disk),
                cmocka_unit_test(test_around),
                cmocka_unit_test(test_around_and_ahead),
                cmocka_unit_test(test_nothing_stale_is_promoted),
                cmocka_unit_test(test_no_room),
                cmocka_unit_test(test_nothing_old),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
