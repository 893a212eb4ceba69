/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memflexctl's plan: which pages come first, when it is enough, what the kernel's files say; and the ages that the module tells. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../guest-agent/memflexctl/plan.h"
#include "memflex-rig.h"
#include "memflex/ioctl.h"

#define PAGES MLG_FLEX_CHUNK_PAGES

static void test_pagemap(void **state) {
        uint64_t word = UINT64_C(1) << 62 | UINT64_C(0x123456) << 5 | 3;

        assert_true(plan_is_swapped(word));
        assert_false(plan_is_swapped(UINT64_C(1) << 63 | 0x1234)); /* present */
        assert_false(plan_is_swapped(0));
        assert_int_equal(plan_swap_type(word), 3);
        assert_int_equal(plan_swap_offset(word), 0x123456);
        assert_int_equal(plan_swap_offset(UINT64_MAX), (UINT64_C(1) << 50) - 1); /* no flags */
}

static Block block(int32_t pid, uint64_t address, uint32_t n, uint32_t age, uint32_t n_disk, int nice) {
        uint32_t ages[BLOCK_PAGES];
        Block b = { .pid = pid, .address = address };

        for (uint32_t i = 0; i < n; i++)
                ages[i] = i < n_disk ? MLG_FLEX_AGE_DISK : age;
        plan_weigh(&b, ages, n, nice);
        return b;
}

static void test_order(void **state) {
        static const int32_t want[] = { 1, 2, 3, 4, 5, 6, 7 };
        Block b[] = {
                block(7, 0, 512, 0, 512, 19),      /* on the disk, of somebody who can wait */
                block(6, 0, 512, 0, 512, 0),       /* on the disk */
                block(5, 0, 512, 5, 256, 0),       /* half of it */
                block(4, 0, 512, 10, 0, 10),       /* as hot as the next one, but of somebody who can wait */
                block(2, BLOCK_BYTES, 1, 10, 0, 0), /* few pages or many: the age counts */
                block(3, 0, 512, 11, 0, 0),
                block(1, 0, 512, 10, 0, -5),
        };

        plan_sort(b, sizeof(b) / sizeof(b[0]));
        for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++)
                assert_int_equal(b[i].pid, want[i]);
        assert_int_equal(b[4].disk_pages, 256);
        assert_int_equal(b[4].pages, 512);
        plan_sort(NULL, 0);
}

/* Any nice value, and no overflow. */
static void test_weights(void **state) {
        uint64_t before = 0;

        for (int nice = -30; nice < 30; nice++) {
                uint64_t key = block(1, 0, BLOCK_PAGES, 0xfffff, 0, nice).key;

                assert_true(nice > -20 && nice <= 19 ? key > before : key >= before);
                before = key;
        }
        assert_true(block(1, 0, BLOCK_PAGES, UINT32_MAX - 1, 0, 0).key == block(1, 0, BLOCK_PAGES, 0, BLOCK_PAGES, 0).key);
        assert_int_equal(block(1, 0, 0, 0, 0, 0).key, 0);
}

#define HEADING "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
#define FLEX "/dev/memflex0                           partition\t523260\t\t187180\t\t110\n"
#define DISK "/dev/vda5                               partition\t1000000\t\t0\t\t-2\n"
#define FILE_ "/swap\\040file                           file\t\t1000\t\t0\t\t32767\n"

static void test_swaps(void **state) {
        static const struct {
                const char *swaps;
                int priority, type; /* type -1: it is not swapped to */
                bool any;
        } rows[] = {
                { HEADING, 100, -1, false },
                { "", 100, -1, false },
                { HEADING FLEX, 100, 0, true }, /* its own does not count */
                { HEADING DISK FLEX, 100, 1, false },
                { HEADING DISK, 100, -1, false },
                { HEADING "/dev/zram0 partition 100 0 100\n" FLEX, 110, 1, false },
                { HEADING "/dev/zram0 partition 100 0 32760\n", 32767, -1, false },
                { HEADING FILE_ FLEX, -1, 1, false },
                { HEADING "/dev/x partition 100\nnonsense\n/\n", 100, -1, false },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                uint32_t type = 77;
                bool any = false, found = plan_type_of(rows[i].swaps, "/dev/memflex0", &type, &any);

                assert_int_equal(plan_priority(rows[i].swaps, "/dev/memflex0"), rows[i].priority);
                assert_int_equal(found, rows[i].type >= 0);
                assert_int_equal(type, found ? rows[i].type : 77);
                assert_int_equal(any, rows[i].any);
        }
}

static void test_watermark(void **state) {
        static const char zoneinfo[] = "Node 0, zone      DMA\n  pages free     3840\n        min      33\n        high     49\n"
                                       "        spanned  4095\n              count: 0\n              high:  0\n"
                                       "Node 0, zone    DMA32\n        high     1951\n  nr_high 17\n        high     99999999999\n";

        assert_int_equal(plan_watermark_kib(zoneinfo, 320 * 1024), (49 + 1951) * 4 + 10 * 1024);
        assert_int_equal(plan_watermark_kib("", 320 * 1024), 10 * 1024);
}

static void test_reclaims(void **state) {
        assert_int_equal(plan_reclaims("pswpin 5\npswpout 7\nallocstall_dma 1\nallocstall_normal 2\npgscan_direct 9\nxallocstall_x 4"), 10);
        assert_int_equal(plan_reclaims("allocstall_"), 0);
        assert_int_equal(plan_reclaims(""), 0);
}

static void test_enough(void **state) {
        assert_int_equal(plan_may_go_on(0, UINT64_MAX, 100000, 50000, 512), -1);
        assert_int_equal(plan_may_go_on(4096, 4096, 100000, 50000, 512), ENDING_LIMIT);
        assert_int_equal(plan_may_go_on(0, 0, 100000, 50000, 1), ENDING_LIMIT);
        assert_int_equal(plan_may_go_on(0, UINT64_MAX, 52048, 50000, 512), -1);
        assert_int_equal(plan_may_go_on(0, UINT64_MAX, 52047, 50000, 512), ENDING_WATERMARK);
        assert_int_equal(plan_room_kib(100, 300, 1000, 900), 100);
        assert_int_equal(plan_room_kib(250, 300, 1000, 900), 50);
        assert_int_equal(plan_room_kib(400, 300, 1000, 900), 0);
        assert_int_equal(plan_room_kib(0, UINT64_MAX, 800, 900), 0);
        for (int e = 0; e < ENDINGS; e++)
                assert_true(strlen(plan_ending((Ending) e)) > 0 && strlen(plan_ending_text((Ending) e)) > 0);
}

static void write_chunk(FlexRig *r, uint32_t first) {
        for (uint32_t i = 0; i < PAGES; i++)
                assert_int_equal(flex_write(r, first + i, 1000 + first + i), 0);
}

static void test_ages(void **state) {
        FlexRig r;

        flex_rig_init(&r, 8 * PAGES, 3, true);
        for (uint32_t i = 0; i < 3; i++)
                (void) flex_lend(&r, i);
        for (uint32_t i = 0; i < 3; i++)
                write_chunk(&r, i * PAGES);
        assert_int_equal(mf_store_age(&r.st, 0), 2);
        assert_int_equal(mf_store_age(&r.st, PAGES), 1);
        assert_int_equal(mf_store_age(&r.st, 3 * PAGES - 1), 0);
        assert_int_equal(mf_store_age(&r.st, 4 * PAGES), 0); /* nothing there */
        assert_int_equal(flex_write(&r, 5 * PAGES, 7000), MF_DISK);
        assert_int_equal(mf_store_age(&r.st, 5 * PAGES), MF_AGE_DISK);
        assert_int_equal(mf_store_age(&r.st, 8 * PAGES), MF_AGE_DISK); /* no such slot */
        assert_int_equal(mf_store_age(&r.st, UINT32_MAX), MF_AGE_DISK);
        assert_true(flex_drain(&r, 1));
        assert_int_equal(mf_store_age(&r.st, 0), 2); /* on its way to the disk: still to be had from the pool */
        flex_drained(&r, 0, false);
        assert_int_equal(mf_store_age(&r.st, 0), MF_AGE_DISK);
        flex_free(&r, PAGES);
        assert_int_equal(flex_write(&r, 6 * PAGES, 8), 0); /* of one value */
        assert_int_equal(mf_store_age(&r.st, 6 * PAGES), 0);
        flex_lose(&r);
        assert_int_equal(mf_store_age(&r.st, 2 * PAGES), MF_AGE_DISK);
        flex_rig_done(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pagemap),   cmocka_unit_test(test_order),    cmocka_unit_test(test_weights),
                cmocka_unit_test(test_swaps),     cmocka_unit_test(test_watermark), cmocka_unit_test(test_reclaims),
                cmocka_unit_test(test_enough),    cmocka_unit_test(test_ages),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
