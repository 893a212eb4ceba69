/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemFlex's core: the order in which chunks are filled and written back, what happens to slots meanwhile,
 * any order of everything against the model, threads that write while a worker takes and gives chunks, and
 * the protocol with a host that is played here. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "memflex-rig.h"
#include "memflex/core/link.h"

#define PAGES MLG_FLEX_CHUNK_PAGES

static uint64_t random_next(uint64_t *state) {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* --- chunks --- */

static void fill_chunks(FlexRig *r, uint32_t first_slot, uint32_t n) {
        for (uint32_t i = 0; i < n * PAGES; i++)
                assert_int_equal(flex_write(r, first_slot + i, 1000 + first_slot + i), 0);
}

static uint32_t drained_slot(FlexRig *r) {
        uint32_t slot;

        assert_true(flex_drain(r, 1));
        assert_true(r->batch.n > 0);
        slot = r->batch.move[0].slot;
        flex_drained(r, 0, false);
        return slot;
}

static void test_oldest_first(void **state) {
        FlexRig r;

        flex_rig_init(&r, 8 * PAGES, 5, true);
        assert_int_equal(flex_write(&r, 0, 5000), MF_DISK); /* nothing is lent */
        for (uint32_t i = 0; i < 4; i++)
                assert_int_equal(flex_lend(&r, i), 0);
        assert_int_equal(flex_lend(&r, 0), -EEXIST);
        assert_int_equal(flex_lend(&r, 5), -ERANGE);
        fill_chunks(&r, 0, 4);
        assert_int_equal(flex_write(&r, 4 * PAGES, 5000), MF_DISK); /* full */
        assert_int_equal(flex_read(&r, 0), 0); /* the first was read: it has a second chance */
        assert_int_equal(drained_slot(&r), PAGES);
        assert_int_equal(drained_slot(&r), 2 * PAGES);
        assert_int_equal(drained_slot(&r), 3 * PAGES);
        assert_int_equal(flex_read(&r, PAGES), MF_DISK);
        assert_int_equal(drained_slot(&r), 0); /* and then it has none */
        assert_false(flex_drain(&r, 1));
        flex_check(&r);
        for (uint32_t i = 0; i < 4; i++)
                assert_true(flex_give(&r));
        assert_false(flex_give(&r));
        flex_rig_done(&r);
}

static void test_read_all_the_time(void **state) {
        FlexRig r;

        flex_rig_init(&r, 4 * PAGES, 3, true);
        for (uint32_t i = 0; i < 3; i++)
                (void) flex_lend(&r, i);
        fill_chunks(&r, 0, 3);
        for (uint32_t i = 0; i < 3 * PAGES; i++)
                (void) flex_read(&r, i);
        assert_int_equal(drained_slot(&r), 0); /* all were: then it goes by age */
        flex_rig_done(&r);
}

static void test_holes(void **state) {
        FlexRig r;

        flex_rig_init(&r, 8 * PAGES, 3, true);
        for (uint32_t i = 0; i < 3; i++)
                (void) flex_lend(&r, i);
        fill_chunks(&r, 0, 3);
        flex_free(&r, 7);
        flex_free(&r, 9);
        assert_int_equal(flex_write(&r, 4 * PAGES, 5000), 0); /* into a hole */
        assert_int_equal(flex_write(&r, 4 * PAGES + 1, 5001), 0);
        assert_int_equal(flex_write(&r, 4 * PAGES + 2, 5002), MF_DISK);
        assert_int_equal(drained_slot(&r), PAGES); /* what was filled anew is young */
        for (uint32_t i = 0; i < PAGES; i++)
                flex_free(&r, 2 * PAGES + i);
        assert_true(flex_give(&r)); /* one was drained, one emptied */
        assert_true(flex_give(&r));
        assert_false(flex_give(&r));
        flex_check(&r);
        flex_rig_done(&r);
}

static void test_limit(void **state) {
        FlexRig r;

        flex_rig_init(&r, 8 * PAGES, 4, true);
        for (uint32_t i = 0; i < 4; i++)
                (void) flex_lend(&r, i);
        fill_chunks(&r, 0, 2);
        mf_store_limit(&r.st, 2);
        assert_int_equal(flex_write(&r, 3 * PAGES, 5000), MF_DISK);
        mf_store_limit(&r.st, 1);
        flex_free(&r, 3);
        assert_int_equal(flex_write(&r, 3 * PAGES, 5000), MF_DISK); /* not even into holes */
        assert_int_equal(flex_write(&r, 4, 5001), 0);               /* but over itself */
        mf_store_limit(&r.st, 3);
        assert_int_equal(flex_write(&r, 3 * PAGES, 5002), 0);
        flex_check(&r);
        flex_rig_done(&r);
}

/* --- slots while they are written back --- */

static void test_under_way(void **state) {
        FlexRig r;

        flex_rig_init(&r, 4 * PAGES, 1, true);
        (void) flex_lend(&r, 0);
        fill_chunks(&r, 0, 1);
        assert_true(flex_drain(&r, 4));
        assert_int_equal(r.batch.n, PAGES);
        assert_int_equal(flex_read(&r, 0), 0);        /* from the pool, as before */
        assert_int_equal(flex_write(&r, 1, 6000), 0); /* over itself */
        assert_int_equal(flex_write(&r, 2, 7), 0);    /* of one value: the same */
        flex_free(&r, 3);
        flex_free(&r, 4);
        assert_int_equal(flex_read(&r, 4), 0);
        assert_int_equal(flex_write(&r, 4, 6001), 0); /* never to the disk beside what is under way */
        assert_false(flex_give(&r));
        flex_check(&r);
        flex_drained(&r, 1u << 10, false);
        assert_int_equal(flex_read(&r, 0), MF_DISK);
        assert_int_equal(flex_read(&r, 1), 0);
        assert_int_equal(flex_read(&r, 2), 0);
        assert_int_equal(flex_read(&r, 3), 0);
        assert_int_equal(flex_read(&r, 4), 0);
        assert_int_equal(flex_read(&r, 10), 0); /* the disk failed */
        assert_int_equal(r.st.chunks.n_pages, 4);
        flex_check(&r);
        assert_false(flex_give(&r));
        assert_true(flex_drain(&r, 4));
        assert_int_equal(r.batch.n, 4);
        flex_drained(&r, 0, false);
        assert_true(flex_give(&r));
        flex_rig_done(&r);
}

static void test_both(void **state) {
        FlexRig r;
        struct mf_numbers now;

        flex_rig_init(&r, 4 * PAGES, 2, true);
        (void) flex_lend(&r, 0);
        fill_chunks(&r, 0, 1);
        assert_true(flex_drain(&r, 1));
        flex_drained(&r, 0, true);
        assert_int_equal(flex_read(&r, 5), 0); /* a hit, still */
        assert_int_equal(flex_write(&r, 6, 6000), 0);
        flex_check(&r);
        assert_true(flex_drain(&r, 1));
        assert_int_equal(r.batch.n, 1); /* nothing is written twice */
        assert_int_equal(r.batch.move[0].slot, 6);
        flex_drained(&r, 0, false);
        mf_store_numbers(&r.st, &now);
        assert_int_equal(now.count[MF_N_DROPPED], PAGES - 1);
        assert_int_equal(now.count[MF_N_WRITTEN_BACK], PAGES + 1);
        flex_check(&r);
        flex_rig_done(&r);
}

static void test_lost(void **state) {
        FlexRig r;

        flex_rig_init(&r, 4 * PAGES, 2, true);
        (void) flex_lend(&r, 0);
        (void) flex_lend(&r, 1);
        fill_chunks(&r, 0, 2);
        assert_int_equal(drained_slot(&r), 0);
        (void) flex_write(&r, 3 * PAGES, 9);
        flex_lose(&r);
        assert_int_equal(flex_read(&r, 0), MF_DISK);
        assert_int_equal(flex_read(&r, PAGES), -EIO);
        assert_int_equal(flex_read(&r, 3 * PAGES), 0);
        flex_check(&r);
        assert_int_equal(flex_write(&r, PAGES, 7000), MF_DISK);
        flex_free(&r, PAGES + 1);
        assert_int_equal(flex_read(&r, PAGES + 1), 0);
        assert_int_equal(flex_lend(&r, 1), 0);
        assert_int_equal(flex_write(&r, PAGES + 2, 7001), 0);
        flex_check(&r);
        flex_rig_done(&r);
}

static void test_without_disk(void **state) {
        FlexRig r;

        flex_rig_init(&r, 4 * PAGES, 1, false);
        (void) flex_lend(&r, 0);
        fill_chunks(&r, 0, 1);
        assert_int_equal(flex_write(&r, PAGES, 6000), -ENOSPC);
        assert_int_equal(flex_write(&r, PAGES, 5), 0);
        assert_int_equal(flex_write(&r, PAGES, 6000), -ENOSPC);
        assert_int_equal(flex_write(&r, 4 * PAGES, 6000), -ERANGE);
        assert_int_equal(flex_read(&r, 4 * PAGES), -ERANGE);
        flex_free(&r, 4 * PAGES);
        flex_check(&r);
        flex_rig_done(&r);
}

/* --- sums --- */

static void test_crc32c(void **state) {
        static const uint8_t zeroes[32];

        assert_int_equal(~mf_crc32c(~0u, "123456789", 9), 0xe3069283);
        assert_int_equal(~mf_crc32c(~0u, zeroes, sizeof(zeroes)), 0x8a9136aa);
        assert_int_not_equal(mf_sum_on(mf_sum_on(0, 5), 6), mf_sum_on(mf_sum_on(0, 6), 5));
}

static void test_wrong(void **state) {
        uint8_t page[MF_PAGE_BYTES], other[MF_PAGE_BYTES];
        uint32_t n;
        FlexRig r;

        flex_rig_init(&r, 4 * PAGES, 2, true);
        (void) flex_lend(&r, 0);
        fill_chunks(&r, 0, 1);
        assert_true(flex_spoil(&r, 5, 0));
        assert_true(flex_spoil(&r, 5, MF_PAGE_BYTES * 8 - 1));
        assert_false(flex_spoil(&r, PAGES, 0));

        memcpy(page, flex_place(&r, 1, &n), sizeof(page)); /* crossed */
        memcpy(other, flex_place(&r, 2, &n), sizeof(page));
        memcpy(flex_place(&r, 1, &n), other, sizeof(page));
        memcpy(flex_place(&r, 2, &n), page, sizeof(page));
        assert_int_equal(mf_store_read(&r.st, 1, other, false), -EBADMSG);
        assert_int_equal(mf_store_read(&r.st, 2, other, false), -EBADMSG);
        assert_int_equal(flex_write(&r, 1, 2000), 0); /* it is known by what is written now */
        assert_int_equal(flex_read(&r, 1), 0);

        memcpy(page, flex_place(&r, 3, &n), sizeof(page)); /* stale */
        assert_int_equal(flex_write(&r, 3, 2001), 0);
        memcpy(flex_place(&r, 3, &n), page, sizeof(page));
        assert_int_equal(mf_store_read(&r.st, 3, other, false), -EBADMSG);

        memset(flex_place(&r, 4, &n), 0, sizeof(page)); /* punched out; and it stays wrong on the disk */
        assert_true(mf_store_drain(&r.st, &r.batch, 1));
        mf_store_drained(&r.st, &r.batch, false);
        assert_int_equal(mf_store_read(&r.st, 4, other, false), MF_DISK);
        memset(page, 0, sizeof(page));
        assert_int_not_equal(mf_store_sum(&r.st, 4), mf_sum(page));
        flex_rig_done(&r);
}

/* --- packed --- */

/* A stamp whose page comes to so many bytes. */
static uint64_t stamp_of(uint32_t n_bytes, uint32_t which) {
        struct mf_packed packed;

        for (uint64_t stamp = 1000;; stamp++) {
                flex_pack(&packed, stamp);
                if (packed.n == n_bytes && which-- == 0)
                        return stamp;
        }
}

static void test_sizes(void **state) {
        static const struct {
                uint32_t bytes, parts;
        } rows[] = { { 0, 1 },    { 12, 4 },   { 1022, 4 },          { 1023, 3 },
                     { 1358, 3 }, { 1359, 2 }, { MF_PACKED_MOST, 2 } };
        struct mf_numbers now;
        FlexRig r;

        for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                flex_rig_init_packing(&r, 8 * PAGES, 1, true);
                (void) flex_lend(&r, 0);
                for (uint32_t k = 0; k < PAGES * rows[i].parts; k++)
                        assert_int_equal(flex_write(&r, k, stamp_of(rows[i].bytes, k % 7)), 0);
                assert_int_equal(flex_write(&r, 7 * PAGES, stamp_of(rows[i].bytes, 0)), MF_DISK);
                mf_store_numbers(&r.st, &now);
                assert_int_equal(now.pool_pages, PAGES);
                assert_int_equal(now.in_pool, PAGES * rows[i].parts);
                assert_int_equal(now.packed, rows[i].parts > 1 ? PAGES * rows[i].parts : 0);
                assert_int_equal(now.count[MF_N_PACKED_BYTES], PAGES * rows[i].parts * rows[i].bytes);
                flex_check(&r);
                for (uint32_t k = 0; k < PAGES * rows[i].parts; k++)
                        flex_free(&r, k);
                assert_true(flex_give(&r));
                flex_rig_done(&r);
        }
}

/* What is written anew comes to another size. */
static void test_resized(void **state) {
        uint64_t whole = stamp_of(0, 0), half = stamp_of(MF_PACKED_MOST, 0), quarter = stamp_of(12, 0);
        struct mf_numbers now;
        FlexRig r;

        flex_rig_init_packing(&r, 4 * PAGES, 1, true);
        (void) flex_lend(&r, 0);
        assert_int_equal(flex_write(&r, 0, half), 0);
        assert_int_equal(flex_write(&r, 0, whole), 0);
        assert_int_equal(flex_write(&r, 0, quarter), 0);
        mf_store_numbers(&r.st, &now);
        assert_int_equal(now.pool_pages, 1);
        for (uint32_t i = 1; i < PAGES; i++)
                assert_int_equal(flex_write(&r, i, whole), 0);
        assert_int_equal(flex_write(&r, 0, half), MF_DISK); /* its own place is too small */
        assert_int_equal(flex_write(&r, 0, whole), 0);
        assert_int_equal(flex_write(&r, 1, quarter), 0); /* there is no other, but its own has room */
        assert_int_equal(flex_write(&r, PAGES, quarter), MF_DISK);
        mf_store_numbers(&r.st, &now);
        assert_int_equal(now.pool_pages, PAGES);
        assert_int_equal(now.packed, 0);
        flex_check(&r);
        flex_rig_done(&r);
}

/* The same while the disk is written from copies. */
static void test_resized_under_way(void **state) {
        uint64_t whole = stamp_of(0, 0), half = stamp_of(MF_PACKED_MOST, 0), quarter = stamp_of(12, 0);
        FlexRig r;

        flex_rig_init_packing(&r, 4 * PAGES, 2, true);
        (void) flex_lend(&r, 0);
        for (uint32_t i = 0; i < 8; i++)
                assert_int_equal(flex_write(&r, i, i < 4 ? quarter : whole), 0);
        assert_true(flex_drain(&r, 4));
        assert_int_equal(r.batch.n, 8);
        assert_int_equal(flex_write(&r, 0, half), -EAGAIN); /* nowhere, and not to the disk now */
        assert_int_equal(flex_write(&r, 1, quarter), 0);
        assert_int_equal(flex_write(&r, 5, quarter), 0); /* it has room where it is */
        (void) flex_lend(&r, 1);
        assert_int_equal(flex_write(&r, 2, half), 0); /* leaves its place */
        flex_free(&r, 3);
        assert_int_equal(flex_write(&r, 3, whole), 0);
        flex_free(&r, 2);
        flex_check(&r);
        flex_drained(&r, 0, true);
        flex_check(&r);
        assert_int_equal(flex_write(&r, 0, half), 0);
        while (flex_drain(&r, 4))
                flex_drained(&r, 0, false);
        flex_check(&r);
        assert_true(flex_give(&r) && flex_give(&r));
        flex_rig_done(&r);
}

static void test_batch(void **state) {
        FlexRig r;

        flex_rig_init_packing(&r, 8 * PAGES, 2, true);
        (void) flex_lend(&r, 0);
        (void) flex_lend(&r, 1);
        for (uint32_t i = 0; i < 8 * PAGES; i++)
                assert_int_equal(flex_write(&r, i, stamp_of(12, i % 5)), 0);
        assert_true(flex_drain(&r, 4));
        assert_int_equal(r.batch.n, MF_BATCH_PAGES);
        assert_int_equal(r.batch.n_chunks, 1);
        flex_drained(&r, 0, false);
        flex_check(&r);
        flex_rig_done(&r);
}

/* Whatever a broken pool says for a length. */
static void test_wrong_length(void **state) {
        static const uint16_t lengths[] = { 0, 1, 11, 13, 1022, 1023, 2046, 4096, 65535 };
        uint64_t page[MF_PAGE_BYTES / 8];
        struct mf_packed packed;
        uint32_t n;
        FlexRig r;

        flex_rig_init_packing(&r, PAGES, 1, true);
        (void) flex_lend(&r, 0);
        assert_int_equal(flex_write(&r, 3, stamp_of(12, 0)), 0);
        for (uint32_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                int result;

                memcpy(flex_place(&r, 3, &n), &lengths[i], sizeof(lengths[i]));
                result = mf_store_read_packed(&r.st, 3, page, &packed, false);
                assert_int_equal(result, lengths[i] >= 1 && lengths[i] <= 1022 ? MF_PACKED : -EBADMSG);
        }
        assert_true(mf_store_drain(&r.st, &r.batch, 1));
        assert_int_equal(mf_store_fetch(&r.st, &r.batch.move[0], page, &packed), -EBADMSG);
        r.batch.move[0].wrong = true;
        mf_store_drained(&r.st, &r.batch, true);
        assert_int_equal(mf_store_read(&r.st, 3, page, false), -EIO);
        assert_true(flex_give(&r)); /* it keeps no chunk from going back */
        flex_rig_done(&r);
}

/* --- anything in any order --- */

static void random_step(FlexRig *r, uint64_t *random) {
        uint32_t slot = (uint32_t) (random_next(random) % r->n_slots);
        uint32_t what = (uint32_t) (random_next(random) % 100);
        uint64_t value = random_next(random);

        if (what < 45)
                (void) flex_write(r, slot, value % 8 ? value | 256 : value % 256);
        else if (what < 60)
                (void) flex_read(r, slot);
        else if (what < 64)
                (void) flex_promote(r, slot, value % 4 == 0);
        else if (what < 65)
                (void) flex_spoil(r, slot, (uint32_t) value);
        else if (what < 80)
                flex_free(r, slot);
        else if (what < 87)
                (void) flex_lend(r, (uint32_t) (value % r->n_chunks));
        else if (what < 90)
                (void) flex_give(r);
        else if (what < 94)
                (void) flex_drain(r, (uint32_t) (value % (MF_BATCH_CHUNKS + 1)));
        else if (what < 97)
                flex_drained(r, value % 3 ? 0 : value, value % 5 == 0);
        else
                mf_store_limit(&r->st, value % 3 ? r->n_chunks : (uint32_t) (value % (r->n_chunks + 1)));
}

static void test_any_order(void **state) {
        uint64_t random = 88172645463325252u;

        for (int round = 0; round < 40; round++) {
                FlexRig r;
                /* fewer, as many and more slots than the pool has pages */
                uint32_t n_slots = 64 + 97 * (uint32_t) (round % 10), n_chunks = 1 + (uint32_t) (round / 2 % 8);

                (round % 2 ? flex_rig_init_packing : flex_rig_init)(&r, n_slots, n_chunks, round % 8 < 6);
                for (int i = 0; i < 6000; i++) {
                        random_step(&r, &random);
                        if (i % 500 == 0)
                                flex_check(&r);
                        if (random_next(&random) % 3000 == 0)
                                flex_lose(&r);
                }
                flex_check(&r);
                flex_rig_done(&r);
        }
}

/* --- threads --- */

#define WRITERS 3
#define THREAD_SLOTS 600u
#define THREAD_CHUNKS 8u
#define THREAD_STEPS 4000 /* at least, and until the worker has had its turns, on however busy a machine */
#define THREAD_TURNS 20u

typedef struct Threads {
        struct mf_store st;
        uint32_t words[THREAD_SLOTS], sums[THREAD_SLOTS],
                owner[THREAD_CHUNKS * PAGES * MF_PARTS];
        struct mf_chunk chunk[THREAD_CHUNKS];
        uint8_t pool[THREAD_CHUNKS * MLG_FLEX_CHUNK_BYTES], disk[THREAD_SLOTS][MF_PAGE_BYTES];
        struct mf_batch batch;
        uint32_t running, turns;
} Threads;

typedef struct Writer {
        Threads *t;
        uint32_t first;
        uint64_t stamp[THREAD_SLOTS], by_disk, by_pool, by_packed, promoted, wrong;
} Writer;

static void look_at(Writer *w, uint32_t slot) {
        uint64_t page[MF_PAGE_BYTES / 8];
        struct mf_packed packed;
        int result = mf_store_read_packed(&w->t->st, slot, page, &packed, false);

        w->by_packed += result == MF_PACKED;
        if (result == MF_PACKED)
                result = flex_unpack(&packed, page) && mf_sum(page) == packed.sum ? 0 : -EBADMSG;
        if (result == MF_DISK) {
                flex_copy_as_disk(page, w->t->disk[slot], MF_PAGE_BYTES);
                w->wrong += mf_store_sum(&w->t->st, slot) != mf_sum(page);
        }
        w->by_disk += result == MF_DISK;
        w->by_pool += result == 0;
        w->wrong += result < 0 || !flex_is(page, w->stamp[slot]);
}

static uint32_t turns_of(const Threads *t) { return __atomic_load_n(&t->turns, __ATOMIC_RELAXED); }

static void write_page(Writer *w, uint32_t slot, uint64_t stamp) {
        uint64_t page[MF_PAGE_BYTES / 8];
        struct mf_packed packed;
        int result;

        flex_fill(page, stamp);
        flex_pack(&packed, stamp);
        while ((result = mf_store_write_packed(&w->t->st, slot, page, &packed, false)) == -EAGAIN)
                sched_yield();
        if (result == MF_DISK)
                flex_copy_as_disk(w->t->disk[slot], page, MF_PAGE_BYTES);
        w->stamp[slot] = stamp;
}

/* Of a slot of its own, to which nobody else writes. */
static bool copy_of_disk(void *of, uint32_t slot, void *to) {
        flex_copy_as_disk(to, ((Writer *) of)->t->disk[slot], MF_PAGE_BYTES);
        return true;
}

static void *writer(void *arg) {
        Writer *w = arg;
        uint64_t random = 77 + w->first;

        for (int i = 0; i < THREAD_STEPS || turns_of(w->t) < THREAD_TURNS; i++) {
                uint32_t which = (uint32_t) (random_next(&random) % (THREAD_SLOTS / WRITERS));
                uint32_t slot = which * WRITERS + w->first;
                uint64_t value = random_next(&random);

                if (value % 10 < 5) {
                        write_page(w, slot, value % 9 ? value | 256 : value % 256);
                } else if (value % 10 < 6) {
                        mf_store_free(&w->t->st, slot);
                        w->stamp[slot] = 0;
                } else if (value % 10 < 7) {
                        w->promoted += mf_store_promote(&w->t->st, slot, copy_of_disk, w);
                } else {
                        look_at(w, slot);
                }
        }
        __atomic_fetch_sub(&w->t->running, 1, __ATOMIC_SEQ_CST);
        return NULL;
}

static void write_back(Threads *t, struct mf_move *m) {
        uint64_t page[MF_PAGE_BYTES / 8];
        struct mf_packed packed;

        switch (mf_store_fetch(&t->st, m, page, &packed)) {
        case MF_PACKED:
                m->wrong = !flex_unpack(&packed, page) || mf_sum(page) != packed.sum;
                flex_copy_as_disk(t->disk[m->slot], page, MF_PAGE_BYTES);
                break;
        case 0:
                flex_copy_as_disk(t->disk[m->slot], page, MF_PAGE_BYTES);
                break;
        case -EBADMSG:
                m->wrong = true;
                break;
        }
}

/* One turn of the worker: the host lends all, or calls all back. */
static uint64_t turn(Threads *t, bool lend) {
        uint64_t moved = 0;
        uint32_t chunk;

        mf_store_limit(&t->st, lend ? THREAD_CHUNKS : 0);
        for (uint32_t i = 0; lend && i < THREAD_CHUNKS; i++)
                (void) mf_store_lend(&t->st, i);
        while (!lend && mf_store_drain(&t->st, &t->batch, 2)) {
                moved += t->batch.n;
                for (uint32_t i = 0; i < t->batch.n; i++) {
                        struct mf_move *m = &t->batch.move[i];

                        m->failed = m->page % 50 == 0 && moved % 2;
                        write_back(t, m);
                }
                mf_store_drained(&t->st, &t->batch, false);
                if (!__atomic_load_n(&t->running, __ATOMIC_SEQ_CST))
                        break;
        }
        while (!lend && mf_store_give(&t->st, &chunk))
                flex_fill(t->pool + (size_t) chunk * MLG_FLEX_CHUNK_BYTES, 0xdd);
        return moved;
}

static void test_threads(void **state) {
        Threads *t = calloc(1, sizeof(*t));
        Writer *w = calloc(WRITERS, sizeof(*w));
        pthread_t thread[WRITERS];
        uint64_t moved = 0, by_pool = 0, by_disk = 0, by_packed = 0, promoted = 0;

        mf_store_init(&t->st, t->words, THREAD_SLOTS, true);
        mf_store_verify(&t->st, t->sums);
        mf_store_pack(&t->st);
        assert_int_equal(mf_store_attach(&t->st, t->chunk, t->owner, THREAD_CHUNKS, t->pool), 0);
        t->running = WRITERS;
        for (uint32_t i = 0; i < WRITERS; i++) {
                w[i].t = t;
                w[i].first = i;
                assert_int_equal(pthread_create(&thread[i], NULL, writer, &w[i]), 0);
        }
        for (uint32_t i = 0; __atomic_load_n(&t->running, __ATOMIC_SEQ_CST); i++) {
                moved += turn(t, i % 2 == 0);
                __atomic_store_n(&t->turns, i, __ATOMIC_RELAXED);
                sched_yield();
        }
        for (uint32_t i = 0; i < WRITERS; i++) {
                (void) pthread_join(thread[i], NULL);
                for (uint32_t slot = w[i].first; slot < THREAD_SLOTS; slot += WRITERS)
                        look_at(&w[i], slot);
                assert_int_equal(w[i].wrong, 0);
                by_pool += w[i].by_pool;
                by_disk += w[i].by_disk;
                by_packed += w[i].by_packed;
                promoted += w[i].promoted;
        }
        printf("%" PRIu64 " pages written back, %" PRIu64 " read from the pool, %" PRIu64
               " of them packed, %" PRIu64 " from the disk, %" PRIu64 " promoted\n",
               moved, by_pool, by_packed, by_disk, promoted);
        assert_true(moved > 0 && by_pool > by_packed && by_packed > 0 && by_disk > 0 && promoted > 0);
        mf_store_detach(&t->st);
        free(w);
        free(t);
}

/* --- the protocol --- */

#define LINK_BYTES MLG_FLEX_POOL_MIN
#define LINK_CHUNKS 60u

typedef struct Host {
        uint8_t *base;
        struct mlg_flex_header *header;
        struct mlg_flex_section *section;
        uint8_t *lent, *back;
        uint8_t next[LINK_CHUNKS];
} Host;

static void host_begin(Host *h) {
        memset(h, 0, sizeof(*h));
        h->base = calloc(1, LINK_BYTES);
        assert_non_null(h->base);
        h->header = (struct mlg_flex_header *) h->base;
        h->section = (struct mlg_flex_section *) (h->base + MLG_FLEX_SECTION_AT);
        h->lent = h->base + MLG_FLEX_LENT_AT;
        h->back = h->base + MLG_FLEX_BACK_AT;
        *h->header = (struct mlg_flex_header) { .magic = MLG_FLEX_MAGIC,
                                                .version = MLG_FLEX_VERSION,
                                                .pool_bytes = LINK_BYTES,
                                                .n_chunks = LINK_CHUNKS,
                                                .quota_chunks = 50,
                                                .epoch = 1 };
}

static void host_answer(Host *h) {
        uint32_t session = h->section->session;

        memset(h->base + MLG_FLEX_SECTION_AT, 0, LINK_BYTES - MLG_FLEX_SECTION_AT);
        h->header->epoch++;
        h->header->session = session;
}

static void host_lend(Host *h, uint32_t first, uint32_t n) {
        for (uint32_t i = first; i < first + n; i++) {
                if (h->lent[i] != 0)
                        continue;
                do
                        h->next[i]++;
                while (h->next[i] == 0 || h->next[i] == h->back[i]);
                h->lent[i] = h->next[i];
        }
}

/* Takes what came back; how many are still lent. */
static uint32_t host_take(Host *h) {
        uint32_t n = 0;

        for (uint32_t i = 0; i < LINK_CHUNKS; i++) {
                uint8_t *chunk = h->base + MLG_FLEX_CHUNKS_AT + (size_t) i * MLG_FLEX_CHUNK_BYTES;

                if (h->lent[i] != 0 && h->lent[i] == h->back[i]) {
                        memset(chunk, 0, MLG_FLEX_CHUNK_BYTES);
                        h->lent[i] = 0;
                }
                n += h->lent[i] != 0;
        }
        return n;
}

static void test_check(void **state) {
        Host h;
        uint32_t n = 0, quota = 0;

        host_begin(&h);
        assert_int_equal(mf_link_check(h.base, LINK_BYTES, &n, &quota), 0);
        assert_int_equal(n, LINK_CHUNKS);
        assert_int_equal(quota, 50);
        assert_int_equal(mf_link_check(h.base, LINK_BYTES * 2, &n, &quota), -EPROTO);
        assert_int_equal(mf_link_check(h.base, LINK_BYTES / 2, &n, &quota), -EAGAIN);
        h.header->n_chunks = LINK_CHUNKS + 1;
        assert_int_equal(mf_link_check(h.base, LINK_BYTES, &n, &quota), -EPROTO);
        h.header->n_chunks = 0;
        assert_int_equal(mf_link_check(h.base, LINK_BYTES, &n, &quota), -EPROTO);
        h.header->n_chunks = LINK_CHUNKS;
        h.header->quota_chunks = UINT32_MAX;
        assert_int_equal(mf_link_check(h.base, LINK_BYTES, &n, &quota), 0);
        assert_int_equal(quota, LINK_CHUNKS);
        h.header->version = 2;
        assert_int_equal(mf_link_check(h.base, LINK_BYTES, &n, &quota), -EPROTO);
        h.header->magic = 1;
        assert_int_equal(mf_link_check(h.base, LINK_BYTES, &n, &quota), -EAGAIN);
        free(h.base);
}

static void test_link(void **state) {
        FlexRig r;
        Host h;
        struct mf_link link;
        uint8_t serial[2 * LINK_CHUNKS];

        host_begin(&h);
        h.header->session = 77; /* of whoever was there before us, who had all of it */
        host_lend(&h, 0, LINK_CHUNKS);
        flex_rig_init(&r, 64 * PAGES, LINK_CHUNKS, true);
        r.st.pages = h.base + MLG_FLEX_CHUNKS_AT;
        mf_link_start(&link, h.base, serial, LINK_CHUNKS, 5);
        assert_int_equal(h.section->version, 0);
        assert_false(mf_link_look(&link, &r.st, 6));
        assert_false(mf_link_tell(&link, &r.st, true));
        assert_false(mf_link_give(&link, &r.st));
        assert_int_equal(r.st.chunks.n_held, 0); /* nothing of that is ours */

        host_answer(&h);
        assert_true(mf_link_look(&link, &r.st, 6));
        assert_int_equal(h.section->version, MLG_FLEX_VERSION);
        assert_int_equal(h.section->session, 5);
        assert_int_equal(h.section->epoch, h.header->epoch);
        assert_false(mf_link_tell(&link, &r.st, false));
        assert_int_equal(h.section->want_chunks, 0);
        assert_true(mf_link_is_short(&link, &r.st)); /* as soon as anybody writes */
        assert_true(mf_link_tell(&link, &r.st, true));
        assert_int_equal(h.section->want_chunks, MF_SLACK_CHUNKS);

        h.header->target_chunks = 40;
        host_lend(&h, 0, 40);
        assert_false(mf_link_look(&link, &r.st, 6));
        assert_int_equal(r.st.chunks.n_held, 40);
        assert_true(mf_link_give(&link, &r.st)); /* that much nobody wanted */
        (void) mf_link_look(&link, &r.st, 6);    /* it is still marked as lent, but not ours any more */
        assert_int_equal(r.st.chunks.n_held, 2 * MF_SLACK_CHUNKS);
        assert_int_equal(host_take(&h), 2 * MF_SLACK_CHUNKS);
        fill_chunks(&r, 0, 30);
        assert_true(mf_link_tell(&link, &r.st, true));
        assert_int_equal(h.section->want_chunks, h.header->quota_chunks); /* it grows: all there is */
        assert_false(mf_link_tell(&link, &r.st, true));
        assert_int_equal(h.section->want_chunks, 30 + MF_SLACK_CHUNKS); /* it does not */
        assert_int_equal(h.section->pool_pages, 30 * PAGES);

        h.header->target_chunks = 10;
        assert_false(mf_link_look(&link, &r.st, 6));
        assert_true(mf_link_give(&link, &r.st));
        assert_int_equal(host_take(&h), 30);
        assert_int_equal(mf_link_excess(&link, &r.st), 20);
        while (mf_link_excess(&link, &r.st) > 0) {
                assert_true(flex_drain(&r, mf_link_excess(&link, &r.st)));
                flex_drained(&r, 0, false);
        }
        assert_true(mf_link_give(&link, &r.st));
        assert_int_equal(host_take(&h), 10);
        flex_check(&r);
        assert_int_equal(flex_write(&r, 63 * PAGES, 9000), MF_DISK);

        host_lend(&h, 20, 5); /* again, some that were given back */
        h.header->target_chunks = 15;
        assert_false(mf_link_look(&link, &r.st, 6));
        assert_int_equal(r.st.chunks.n_held, 15);
        assert_int_equal(flex_write(&r, 63 * PAGES, 9001), 0);

        h.header->target_chunks = UINT32_MAX;
        h.header->quota_chunks = UINT32_MAX;
        host_lend(&h, 0, LINK_CHUNKS);
        assert_false(mf_link_look(&link, &r.st, 6));
        assert_int_equal(r.st.chunks.n_held, LINK_CHUNKS);

        for (uint32_t i = 0; i < r.n_slots; i++)
                flex_free(&r, i);
        (void) mf_link_tell(&link, &r.st, false);
        assert_true(mf_link_give(&link, &r.st)); /* nobody has it open: nothing stays */
        assert_int_equal(host_take(&h), 0);
        flex_rig_done(&r);
        free(h.base);
}

static void test_host_takes(void **state) {
        FlexRig r;
        Host h;
        struct mf_link link;
        uint8_t serial[2 * LINK_CHUNKS];

        host_begin(&h);
        h.header->target_chunks = 20;
        flex_rig_init(&r, 64 * PAGES, LINK_CHUNKS, true);
        r.st.pages = h.base + MLG_FLEX_CHUNKS_AT;
        mf_link_start(&link, h.base, serial, LINK_CHUNKS, 5);
        host_answer(&h);
        assert_true(mf_link_look(&link, &r.st, 6));
        host_lend(&h, 0, 20);
        (void) mf_link_look(&link, &r.st, 6);
        fill_chunks(&r, 0, 10);
        h.lent[3] = 0; /* that is not for it to do */
        assert_true(mf_link_look(&link, &r.st, 6));
        assert_int_equal(link.n_lost, 1);
        assert_int_equal(h.section->version, 0);
        assert_int_equal(h.section->session, 6);
        assert_int_equal(mf_store_read(&r.st, 0, h.base + MLG_FLEX_CHUNKS_AT, false), -EIO);
        assert_int_equal(r.st.chunks.n_held, 0);
        host_answer(&h);
        assert_true(mf_link_look(&link, &r.st, 7));
        h.header->epoch++;
        assert_true(mf_link_look(&link, &r.st, 7));
        assert_int_equal(link.n_lost, 2);
        mf_link_leave(&link, &r.st);
        assert_int_equal(h.section->version, 0);
        flex_rig_done(&r);
        free(h.base);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_oldest_first), cmocka_unit_test(test_read_all_the_time),
                cmocka_unit_test(test_holes),        cmocka_unit_test(test_limit),
                cmocka_unit_test(test_under_way),    cmocka_unit_test(test_both),
                cmocka_unit_test(test_lost),         cmocka_unit_test(test_without_disk),
                cmocka_unit_test(test_crc32c),       cmocka_unit_test(test_wrong),
                cmocka_unit_test(test_sizes),        cmocka_unit_test(test_resized),
                cmocka_unit_test(test_batch),        cmocka_unit_test(test_wrong_length),
                cmocka_unit_test(test_resized_under_way),
                cmocka_unit_test(test_any_order),    cmocka_unit_test(test_threads),
                cmocka_unit_test(test_check),        cmocka_unit_test(test_link),
                cmocka_unit_test(test_host_takes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
