/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hostmem: the parsers on texts of real kernels and on wrong ones, the reader on a directory that looks like
 * /proc. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "hypervisor/hostmem.h"

#define MEMINFO                                                                                             \
        "MemTotal:       24689000 kB\nMemFree:         1234567 kB\nMemAvailable:   20000000 kB\n"           \
        "Buffers:          100 kB\nSwapCached:            0 kB\nSwapTotal:       2097148 kB\n"              \
        "SwapFree:        2000000 kB\nHugePages_Total:       5\nHugepagesize:       2048 kB\n"              \
        "Hugetlb:           10240 kB\nDirectMap4k:      200000 kB\n"
#define SOME "some avg10=12.34 avg60=1.00 avg300=0.05 total=987654321\n"
#define FULL "full avg10=100.00 avg60=0.00 avg300=0.00 total=18446744073709551615\n"

static void test_meminfo(void **state) {
        MlgRawHost host = { .have_psi = true, .psi_some_total_usec = 7 };

        assert_int_equal(mlg_hostmem_parse_meminfo(MEMINFO, strlen(MEMINFO), &host), 0);
        assert_int_equal(host.total_kib, 24689000);
        assert_int_equal(host.available_kib, 20000000);
        assert_int_equal(host.free_kib, 1234567);
        assert_int_equal(host.swap_total_kib, 2097148);
        assert_int_equal(host.swap_free_kib, 2000000);
        assert_int_equal(host.hugetlb_kib, 10240);
        assert_true(host.have_psi); /* not this parser's */
        assert_int_equal(host.psi_some_total_usec, 7);
}

static void test_meminfo_rows(void **state) {
        static const struct {
                const char *what, *text;
                int expect;
        } rows[] = {
                { "shortest", "MemTotal: 2 kB\nMemAvailable: 1 kB\n", 0 },
                { "no newline at the end", "MemTotal: 2 kB\nMemAvailable: 1 kB", 0 },
                { "other order", "MemAvailable: 1 kB\nMemTotal: 2 kB\n", 0 },
                { "largest", "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n", 0 },
                { "empty", "", -EBADMSG },
                { "no total", "MemAvailable: 1 kB\n", -EBADMSG },
                { "no available", "MemTotal: 1 kB\n", -EBADMSG },
                { "total of nothing", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", -EBADMSG },
                { "too large", "MemTotal: 18446744073709551616 kB\nMemAvailable: 1 kB\n", -EBADMSG },
                { "negative", "MemTotal: -1 kB\nMemAvailable: 1 kB\n", -EBADMSG },
                { "no unit", "MemTotal: 2\nMemAvailable: 1 kB\n", -EBADMSG },
                { "other unit", "MemTotal: 2 MB\nMemAvailable: 1 kB\n", -EBADMSG },
                { "text behind", "MemTotal: 2 kB!\nMemAvailable: 1 kB\n", -EBADMSG },
                { "no number", "MemTotal: kB\nMemAvailable: 1 kB\n", -EBADMSG },
                { "twice", "MemTotal: 2 kB\nMemTotal: 2 kB\nMemAvailable: 1 kB\n", -EBADMSG },
                { "bad optional", "MemTotal: 2 kB\nMemAvailable: 1 kB\nSwapFree: x kB\n", -EBADMSG },
                { "key in the middle of a line", "xMemTotal: 2 kB\nMemAvailable: 1 kB\n", -EBADMSG },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgRawHost host = { .total_kib = 77 };
                int r = mlg_hostmem_parse_meminfo(rows[i].text, strlen(rows[i].text), &host);

                if (r != rows[i].expect)
                        fail_msg("%s: %d, expected %d", rows[i].what, r, rows[i].expect);
                if (r < 0)
                        assert_int_equal(host.total_kib, 77); /* untouched */
        }
}

/* Beside what the budget stands on: taken where it makes sense, else not known. */
static void test_meminfo_facts(void **state) {
        static const struct {
                const char *what, *text;
                bool have_zswap;
                uint64_t zswap_kib, zswapped_kib, huge_free_kib;
        } rows[] = {
                { "old kernel", "", false, 0, 0, 0 },
                { "zswap", "SwapTotal: 900 kB\nZswap: 100 kB\nZswapped: 300 kB\n", true, 100, 300, 0 },
                { "zswap off", "Zswap: 0 kB\nZswapped: 0 kB\n", true, 0, 0, 0 },
                { "half of zswap", "Zswap: 100 kB\n", false, 0, 0, 0 },
                { "pool larger than the host", "SwapTotal: 900 kB\nZswap: 1001 kB\nZswapped: 300 kB\n", false, 0, 0, 0 },
                { "more than swap", "SwapTotal: 299 kB\nZswap: 100 kB\nZswapped: 300 kB\n", false, 0, 0, 0 },
                { "huge pages", "HugePages_Free:      30\nHugepagesize: 4 kB\nHugetlb: 200 kB\n", false, 0, 0, 120 },
                { "more free than there are", "HugePages_Free: 51\nHugepagesize: 4 kB\nHugetlb: 200 kB\n", false, 0, 0, 0 },
                { "beyond all numbers", "HugePages_Free: 18446744073709551615\nHugepagesize: 2048 kB\nHugetlb: 200 kB\n",
                  false, 0, 0, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *text = g_strconcat("MemTotal: 1000 kB\nMemAvailable: 10 kB\n", rows[i].text, NULL);
                MlgRawHost h = {};

                if (mlg_hostmem_parse_meminfo(text, strlen(text), &h) != 0 || h.have_zswap != rows[i].have_zswap ||
                    h.zswap_kib != rows[i].zswap_kib || h.zswapped_kib != rows[i].zswapped_kib ||
                    h.hugetlb_free_kib != rows[i].huge_free_kib)
                        fail_msg("%s: zswap %d %d %d, huge %d", rows[i].what, h.have_zswap, (int) h.zswap_kib,
                                 (int) h.zswapped_kib, (int) h.hugetlb_free_kib);
        }
}

static void test_count(void **state) {
        static const struct {
                const char *text;
                int expect;
                uint64_t value;
        } rows[] = {
                { "0\n", 0, 0 }, { "12", 0, 12 }, { "18446744073709551615\n", 0, UINT64_MAX },
                { "", -EBADMSG, 0 }, { "\n", -EBADMSG, 0 }, { "-1\n", -EBADMSG, 0 }, { " 1\n", -EBADMSG, 0 },
                { "1 \n", -EBADMSG, 0 }, { "1\n2\n", -EBADMSG, 0 }, { "18446744073709551616\n", -EBADMSG, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                uint64_t value = 7;

                if (mlg_hostmem_parse_count(rows[i].text, strlen(rows[i].text), &value) != rows[i].expect ||
                    value != (rows[i].expect == 0 ? rows[i].value : 7))
                        fail_msg("\"%s\"", rows[i].text);
        }
}

static void test_pressure(void **state) {
        MlgRawHost host = { .total_kib = 5 };

        assert_int_equal(mlg_hostmem_parse_pressure(SOME FULL, strlen(SOME FULL), &host), 0);
        assert_true(host.have_psi);
        assert_int_equal(host.psi_some_avg10_centi, 1234);
        assert_int_equal(host.psi_full_avg10_centi, 10000);
        assert_int_equal(host.psi_some_total_usec, 987654321);
        assert_true(host.psi_full_total_usec == UINT64_MAX);
        assert_int_equal(host.total_kib, 5);

        assert_int_equal(mlg_hostmem_parse_pressure(SOME, strlen(SOME), &host), 0);
        assert_int_equal(host.psi_full_avg10_centi, 1234);
        assert_int_equal(host.psi_full_total_usec, 987654321);
}

static void test_pressure_rows(void **state) {
        static const char *const wrong[] = {
                "", "\n", "some\n", FULL, FULL SOME, SOME SOME, SOME FULL "x", SOME "\n",
                "some avg10=0.0 avg60=0.00 avg300=0.00 total=0\n",
                "some avg10=0.000 avg60=0.00 avg300=0.00 total=0\n",
                "some avg10=100.01 avg60=0.00 avg300=0.00 total=0\n",
                "some avg10=101.00 avg60=0.00 avg300=0.00 total=0\n",
                "some avg10=.00 avg60=0.00 avg300=0.00 total=0\n",
                "some avg10=-1.00 avg60=0.00 avg300=0.00 total=0\n",
                "some avg10=nan avg60=0.00 avg300=0.00 total=0\n",
                "some avg10=0.00 avg60=0.00 total=0\n",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=\n",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709551616\n",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=1 \n",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
                MlgRawHost host = {};

                if (mlg_hostmem_parse_pressure(wrong[i], strlen(wrong[i]), &host) != -EBADMSG ||
                    host.have_psi)
                        fail_msg("taken: \"%s\"", wrong[i]);
        }
}

/* ---- a directory in place of /proc ---- */

typedef struct Proc {
        char *root, *meminfo, *pressure_dir, *pressure;
        char *ksm_dir, *ksm_sharing, *ksm_shared;
} Proc;

static int setup(void **state) {
        Proc *p = g_new0(Proc, 1);

        p->root = g_dir_make_tmp("test-hostmem-XXXXXX", NULL);
        assert_non_null(p->root);
        p->meminfo = g_build_filename(p->root, "meminfo", NULL);
        p->pressure_dir = g_build_filename(p->root, "pressure", NULL);
        p->pressure = g_build_filename(p->pressure_dir, "memory", NULL);
        p->ksm_dir = g_build_filename(p->root, "kernel/mm/ksm", NULL);
        p->ksm_sharing = g_build_filename(p->ksm_dir, "pages_sharing", NULL);
        p->ksm_shared = g_build_filename(p->ksm_dir, "pages_shared", NULL);
        assert_return_code(g_mkdir(p->pressure_dir, 0700), errno);
        assert_return_code(g_mkdir_with_parents(p->ksm_dir, 0700), errno);
        *state = p;
        return 0;
}

static int teardown(void **state) {
        Proc *p = *state;

        (void) g_remove(p->meminfo);
        (void) g_remove(p->pressure);
        (void) g_rmdir(p->pressure_dir);
        (void) g_remove(p->ksm_sharing);
        (void) g_remove(p->ksm_shared);
        for (int i = 0; i < 3; i++) { /* ksm, mm, kernel */
                g_autofree char *dir = p->ksm_dir;

                (void) g_rmdir(dir);
                p->ksm_dir = g_path_get_dirname(dir);
        }
        (void) g_rmdir(p->root);
        g_free(p->ksm_dir);
        g_free(p->ksm_sharing);
        g_free(p->ksm_shared);
        g_free(p->root);
        g_free(p->meminfo);
        g_free(p->pressure_dir);
        g_free(p->pressure);
        g_free(p);
        return 0;
}

/* In place, as the kernel's files change: the reader keeps them open. */
static void put(const char *path, const char *text) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

static void test_read(void **state) {
        Proc *p = *state;
        g_autoptr(MlgHostmem) h = NULL;
        MlgRawHost host;

        put(p->meminfo, MEMINFO);
        put(p->pressure, SOME FULL);
        assert_int_equal(mlg_hostmem_open(p->root, p->root, &h), 0);
        assert_int_equal(mlg_hostmem_read(h, &host), 0);
        assert_int_equal(host.total_kib, 24689000);
        assert_true(host.have_psi);

        put(p->meminfo, "MemTotal: 10 kB\nMemAvailable: 5 kB\n");
        put(p->pressure, "rubbish\n");
        assert_int_equal(mlg_hostmem_read(h, &host), 0);
        assert_int_equal(host.total_kib, 10);
        assert_int_equal(host.free_kib, 0);
        assert_false(host.have_psi);

        put(p->meminfo, "rubbish\n");
        host.total_kib = 77;
        assert_int_equal(mlg_hostmem_read(h, &host), -EBADMSG);
        assert_int_equal(host.total_kib, 77);
}

static void test_read_ksm(void **state) {
        static const struct {
                const char *what, *sharing, *shared;
                bool have;
        } rows[] = {
                { "some", "100\n", "10\n", true },
                { "none", "0\n", "0\n", true },
                { "saves more than the host has", "1000000000\n", "10\n", true },
                { "shares more than the host has", "100\n", "1000000000\n", false },
                { "beyond all numbers", "18446744073709551615\n", "10\n", false },
                { "rubbish", "x\n", "10\n", false },
                { "nothing", "", "10\n", false },
        };
        uint64_t page_kib = (uint64_t) sysconf(_SC_PAGESIZE) / 1024;
        Proc *p = *state;
        g_autoptr(MlgHostmem) h = NULL;
        MlgRawHost host;

        put(p->meminfo, MEMINFO);
        put(p->ksm_sharing, "");
        put(p->ksm_shared, "");
        assert_int_equal(mlg_hostmem_open(p->root, p->root, &h), 0);
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                put(p->ksm_sharing, rows[i].sharing);
                put(p->ksm_shared, rows[i].shared);
                assert_int_equal(mlg_hostmem_read(h, &host), 0);
                if (host.have_ksm != rows[i].have ||
                    host.ksm_saved_kib != (rows[i].have ? page_kib * strtoull(rows[i].sharing, NULL, 10) : 0))
                        fail_msg("%s: %d, %d KiB", rows[i].what, host.have_ksm, (int) host.ksm_saved_kib);
        }
}

static void test_read_without_psi(void **state) {
        Proc *p = *state;
        g_autoptr(MlgHostmem) h = NULL;
        MlgRawHost host;

        assert_int_equal(mlg_hostmem_open(p->root, p->root, &h), -ENOENT);
        assert_null(h);
        put(p->meminfo, MEMINFO);
        assert_int_equal(mlg_hostmem_open(p->root, p->root, &h), 0);
        assert_int_equal(mlg_hostmem_read(h, &host), 0);
        assert_false(host.have_psi);
}

static void test_read_endless(void **state) {
        Proc *p = *state;
        g_autoptr(MlgHostmem) h = NULL;
        g_autofree char *text = g_strnfill(1 << 20, 'x');
        MlgRawHost host;

        put(p->meminfo, text);
        assert_int_equal(mlg_hostmem_open(p->root, p->root, &h), 0);
        assert_int_equal(mlg_hostmem_read(h, &host), -EFBIG);
}

static void test_this_machine(void **state) {
        g_autoptr(MlgHostmem) h = NULL;
        MlgRawHost host;

        assert_int_equal(mlg_hostmem_open("/proc", "/sys", &h), 0);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(mlg_hostmem_read(h, &host), 0);
                assert_true(host.total_kib > 1024);
                assert_true(host.available_kib > 0);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_meminfo),
                cmocka_unit_test(test_meminfo_rows),
                cmocka_unit_test(test_meminfo_facts),
                cmocka_unit_test(test_count),
                cmocka_unit_test(test_pressure),
                cmocka_unit_test(test_pressure_rows),
                cmocka_unit_test_setup_teardown(test_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_ksm, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_without_psi, setup, teardown),
                cmocka_unit_test_setup_teardown(test_read_endless, setup, teardown),
                cmocka_unit_test(test_this_machine),
        };

        return cmocka_run_group_tests_name("hostmem", tests, NULL, NULL);
}
