/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemFlex, written back ahead: the marks, and that with a disk which keeps up everything that is swapped out
 * finds room in the pool, where what came last stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "memflex-rig.h"
#include "memflex/core/ahead.h"

#define PAGES MLG_FLEX_CHUNK_PAGES

static uint32_t asked(struct mf_ahead *a, uint64_t in_pool, uint32_t most) {
        struct mf_numbers now = { .pool_pages = in_pool };

        return mf_ahead_chunks(a, &now, most);
}

static void test_marks(void **state) {
        static const struct {
                uint32_t most_chunks, low_pages;
        } rows[] = {
                { 0, 0 },          { 1, 0 },           { 15, 0 },
                { 16, 2 * PAGES }, { 32, 2 * PAGES },  { 160, 10 * PAGES },
                { 1024, 64 * PAGES }, { 4096, 64 * PAGES }, { MLG_FLEX_CHUNKS_MAX, 64 * PAGES },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint32_t most = rows[i].most_chunks, low = rows[i].low_pages;
                uint64_t all = (uint64_t) most * PAGES;
                struct mf_ahead a = { 0 };

                assert_int_equal(mf_ahead_from_pages(most), all - low);
                assert_int_equal(asked(&a, all - low, most), 0); /* not yet */
                assert_int_equal(asked(&a, all - 2 * low, most), 0);
                /* what is promoted never makes room necessary */
                assert_true(mf_ahead_promote_below(most, most) <= all - 2 * low);
                assert_int_equal(mf_ahead_promote_below(most, MLG_FLEX_CHUNKS_MAX), all - plain_max(all / 8, 2 * low));
                assert_int_equal(mf_ahead_promote_below(0, most), 0);
                if (low == 0) {
                        assert_int_equal(asked(&a, all + 1, most), 0);
                        continue;
                }
                assert_int_equal(asked(&a, all - low + 1, most), plain_min(low / PAGES + 1, MF_BATCH_CHUNKS));
                assert_int_equal(asked(&a, all - 2 * low + 1, most), 1); /* until there is twice as much */
                assert_int_equal(asked(&a, all - 2 * low, most), 0);
                assert_int_equal(asked(&a, all - 2 * low + 1, most), 0);
                assert_int_equal(asked(&a, all + PAGES, most), MF_BATCH_CHUNKS); /* the limit fell */
        }
}

static void make_room(FlexRig *r, struct mf_ahead *a, uint32_t chunks) {
        struct mf_numbers now;
        uint32_t n;

        for (mf_store_numbers(&r->st, &now); (n = mf_ahead_chunks(a, &now, chunks)) > 0;
             mf_store_numbers(&r->st, &now)) {
                assert_true(flex_drain(r, n));
                flex_drained(r, 0, false);
        }
}

static void test_room_for_what_comes(void **state) {
        const uint32_t chunks = 32, all = chunks * PAGES, low = all - (uint32_t) mf_ahead_from_pages(chunks);
        struct mf_ahead a = { 0 };
        struct mf_numbers now;
        FlexRig r;

        flex_rig_init(&r, 3 * all, chunks, true);
        for (uint32_t i = 0; i < chunks; i++)
                assert_int_equal(flex_lend(&r, i), 0);
        mf_store_limit(&r.st, chunks);
        for (uint32_t slot = 0; slot < 3 * all; slot++) {
                assert_int_equal(flex_write(&r, slot, 1000 + slot), 0);
                if (slot % (low / 2) == 0)
                        make_room(&r, &a, chunks);
        }
        make_room(&r, &a, chunks);
        mf_store_numbers(&r.st, &now);
        assert_int_equal(now.count[MF_N_DISK_WRITES], 0);
        assert_in_range(now.pool_pages, all - 2 * low - PAGES, all - low);
        for (uint32_t slot = 0; slot < 3 * all; slot++) {
                if (slot < 3 * all - (uint32_t) now.pool_pages)
                        assert_int_equal(flex_read(&r, slot), MF_DISK);
                else
                        assert_int_equal(flex_read(&r, slot), 0);
        }
        make_room(&r, &a, chunks); /* at rest it stays as it is */
        assert_int_equal(r.st.chunks.n_pages, now.pool_pages);
        flex_check(&r);
        flex_rig_done(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_marks),
                cmocka_unit_test(test_room_for_what_comes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
