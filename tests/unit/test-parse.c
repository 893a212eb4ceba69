/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Values as people write them: what is taken, what is refused, and how amounts and times are shown. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <glib.h>

#include "util/parse.h"
#include "util/util.h"

#define UNTOUCHED 4711

static void test_u64(void **state) {
        static const struct {
                const char *text;
                uint64_t min, max;
                int r;
                uint64_t value;
        } cases[] = {
                { "0", 0, 10, 0, 0 },
                { "10", 0, 10, 0, 10 },
                { "007", 0, 10, 0, 7 },
                { "18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX },
                { "18446744073709551616", 0, UINT64_MAX, -ERANGE, 0 },
                { "99999999999999999999999", 0, UINT64_MAX, -ERANGE, 0 },
                { "11", 0, 10, -ERANGE, 0 },
                { "1", 2, 10, -ERANGE, 0 },
                { "", 0, 10, -EINVAL, 0 },
                { " 1", 0, 10, -EINVAL, 0 },
                { "1 ", 0, 10, -EINVAL, 0 },
                { "+1", 0, 10, -EINVAL, 0 },
                { "-1", 0, 10, -EINVAL, 0 },
                { "0x1", 0, 10, -EINVAL, 0 },
                { "1.0", 0, 10, -EINVAL, 0 },
                { "five", 0, 10, -EINVAL, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                uint64_t v = UNTOUCHED;

                print_message("u64 \"%s\"\n", cases[i].text);
                assert_int_equal(mlg_parse_u64(cases[i].text, cases[i].min, cases[i].max, &v), cases[i].r);
                assert_true(v == (cases[i].r == 0 ? cases[i].value : UNTOUCHED));
        }
}

static void test_i32(void **state) {
        static const struct {
                const char *text;
                int32_t min, max;
                int r;
                int32_t value;
        } cases[] = {
                { "-100", -100, 100, 0, -100 },
                { "100", -100, 100, 0, 100 },
                { "-0", -100, 100, 0, 0 },
                { "-2147483648", INT32_MIN, INT32_MAX, 0, INT32_MIN },
                { "2147483647", INT32_MIN, INT32_MAX, 0, INT32_MAX },
                { "2147483648", INT32_MIN, INT32_MAX, -ERANGE, 0 },
                { "-2147483649", INT32_MIN, INT32_MAX, -ERANGE, 0 },
                { "-101", -100, 100, -ERANGE, 0 },
                { "101", -100, 100, -ERANGE, 0 },
                { "--1", -100, 100, -EINVAL, 0 },
                { "-", -100, 100, -EINVAL, 0 },
                { "+1", -100, 100, -EINVAL, 0 },
                { "", -100, 100, -EINVAL, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                int32_t v = UNTOUCHED;

                print_message("i32 \"%s\"\n", cases[i].text);
                assert_int_equal(mlg_parse_i32(cases[i].text, cases[i].min, cases[i].max, &v), cases[i].r);
                assert_int_equal(v, cases[i].r == 0 ? cases[i].value : UNTOUCHED);
        }
}

static void test_bool(void **state) {
        static const char *const yes[] = { "yes", "true", "on", "1", "Yes", "TRUE" };
        static const char *const no[] = { "no", "false", "off", "0", "No" };
        static const char *const neither[] = { "", "y", "n", "2", "yess", " yes", "enable" };
        bool v;

        for (size_t i = 0; i < G_N_ELEMENTS(yes); i++) {
                v = false;
                assert_int_equal(mlg_parse_bool(yes[i], &v), 0);
                assert_true(v);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(no); i++) {
                v = true;
                assert_int_equal(mlg_parse_bool(no[i], &v), 0);
                assert_false(v);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(neither); i++)
                assert_int_equal(mlg_parse_bool(neither[i], &v), -EINVAL);
}

static void test_size(void **state) {
        static const struct {
                const char *text;
                int r;
                uint64_t kib;
        } cases[] = {
                { "0", 0, 0 },
                { "1", 0, 1 }, /* a byte needs a KiB */
                { "1024", 0, 1 },
                { "1025", 0, 2 },
                { "4K", 0, 4 },
                { "512M", 0, 512 * 1024 },
                { "512MiB", 0, 512 * 1024 },
                { "1.5G", 0, 1536 * 1024 },
                { "0.1K", 0, 1 },
                { "262144K", 0, 262144 },
                { "1T", 0, UINT64_C(1) << 30 },
                { "16777215T", 0, UINT64_C(16777215) << 30 },
                { "18446744073709551615", 0, UINT64_C(1) << 54 },
                { "16777216T", -ERANGE, 0 },
                { "18446744073709551616", -ERANGE, 0 },
                { "99999999999999999999G", -ERANGE, 0 },
                { "1.123456789G", 0, 1178030 }, /* 1206302448.1 bytes, rounded up */
                { "1.1234567891G", -EINVAL, 0 },
                { "1.5", -EINVAL, 0 },
                { "1.G", -EINVAL, 0 },
                { ".5G", -EINVAL, 0 },
                { "", -EINVAL, 0 },
                { "G", -EINVAL, 0 },
                { "512 M", -EINVAL, 0 },
                { "512MB", -EINVAL, 0 },
                { "512m", -EINVAL, 0 },
                { "512MiBs", -EINVAL, 0 },
                { "-1", -EINVAL, 0 },
                { "1e3", -EINVAL, 0 },
                { "1,5G", -EINVAL, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                uint64_t v = UNTOUCHED;

                print_message("size \"%s\"\n", cases[i].text);
                assert_int_equal(mlg_parse_size_kib(cases[i].text, &v), cases[i].r);
                assert_true(v == (cases[i].r == 0 ? cases[i].kib : UNTOUCHED));
        }
}

static void test_permille(void **state) {
        static const struct {
                const char *text;
                int r;
                uint32_t value;
        } cases[] = {
                { "0%", 0, 0 },           { "25%", 0, 250 },      { "12.5%", 0, 125 },
                { "0.1%", 0, 1 },         { "100%", 0, 1000 },    { "100.0%", 0, 1000 },
                { "100.1%", -ERANGE, 0 }, { "101%", -ERANGE, 0 }, { "4294967396%", -ERANGE, 0 },
                { "12.55%", -EINVAL, 0 }, { "25", -EINVAL, 0 },   { "%", -EINVAL, 0 },
                { "25 %", -EINVAL, 0 },   { "25%%", -EINVAL, 0 }, { "-1%", -EINVAL, 0 },
                { "", -EINVAL, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                uint32_t v = UNTOUCHED;

                print_message("permille \"%s\"\n", cases[i].text);
                assert_int_equal(mlg_parse_permille(cases[i].text, &v), cases[i].r);
                assert_int_equal(v, cases[i].r == 0 ? cases[i].value : UNTOUCHED);
        }
}

static void test_usec(void **state) {
        static const struct {
                const char *text;
                int r;
                uint64_t usec;
        } cases[] = {
                { "0", 0, 0 },
                { "1", 0, 1000000 },
                { "0.5", 0, 500000 },
                { "200ms", 0, 200000 },
                { "1.5ms", 0, 1500 },
                { "7us", 0, 7 },
                { "5s", 0, 5000000 },
                { "5min", 0, 300000000 },
                { "1h", 0, 3600000000 },
                { "1d", 0, 86400000000 },
                { "2min 3s", 0, 123000000 },
                { "2min3s", 0, 123000000 },
                { "1d 2h 3min 4s 5ms 6us", 0, 93784005006 },
                { "0.0000001", 0, 1 }, /* never rounded to nothing */
                { "18446744073709", 0, 18446744073709000000u },
                { "18446744073710", -ERANGE, 0 },
                { "99999999999999999999s", -ERANGE, 0 },
                { "9999999999999d", -ERANGE, 0 },
                { "213503982d 18446744073709s", -ERANGE, 0 },
                { "", -EINVAL, 0 },
                { "s", -EINVAL, 0 },
                { "5 s", -EINVAL, 0 },
                { "5m", -EINVAL, 0 },
                { "5S", -EINVAL, 0 },
                { "3s 2min", -EINVAL, 0 },
                { "1s 1s", -EINVAL, 0 },
                { "1s 1", -EINVAL, 0 },
                { "1s ", -EINVAL, 0 },
                { "1s  1ms", -EINVAL, 0 },
                { "-1", -EINVAL, 0 },
                { "1.s", -EINVAL, 0 },
                { "infinity", -EINVAL, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                uint64_t v = UNTOUCHED;

                print_message("usec \"%s\"\n", cases[i].text);
                assert_int_equal(mlg_parse_usec(cases[i].text, &v), cases[i].r);
                assert_true(v == (cases[i].r == 0 ? cases[i].usec : UNTOUCHED));
        }
}

static void test_format_kib(void **state) {
        static const struct {
                uint64_t kib;
                const char *text;
        } cases[] = {
                { 0, "0 KiB" },
                { 12, "12 KiB" },
                { 1023, "1023 KiB" },
                { 1024, "1 MiB" },
                { 1536, "1.5 MiB" },
                { 512 * 1024, "512 MiB" },
                { 1536 * 1024, "1.5 GiB" },
                { 1024 * 1024 - 1, "1 GiB" }, /* not "1024 MiB" */
                { 1024 * 1024 - 52, "1023.9 MiB" },
                { UINT64_C(1) << 30, "1 TiB" },
                { UINT64_C(1) << 40, "1 PiB" },
                { UINT64_C(1) << 50, "1 EiB" },
                { UINT64_MAX, "16384 EiB" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *text = mlg_format_kib(cases[i].kib);

                assert_string_equal(text, cases[i].text);
        }
}

static void test_format_usec(void **state) {
        static const struct {
                uint64_t usec;
                const char *text;
        } cases[] = {
                { 0, "0s" },
                { 7, "7us" },
                { 999, "999us" },
                { 200000, "200ms" },
                { 999999, "999ms" },
                { 1000000, "1s" },
                { 1550000, "1.5s" },
                { 59990000, "59.9s" },
                { 60000000, "1min" },
                { 123000000, "2min 3s" },
                { 3600000000, "1h" },
                { 3660000000, "1h 1min" },
                { 3601000000, "1h" },
                { 86400000000, "1d" },
                { 93784005006, "1d 2h" },
                { MLG_USEC_NEVER, "never" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *text = mlg_format_usec(cases[i].usec);

                assert_string_equal(text, cases[i].text);
        }
}

/* What is shown in one part is what is read. */
static void test_usec_round_trip(void **state) {
        static const uint64_t values[] = { 0,        5,         200000,     1500000,
                                           60000000, 123000000, 3660000000, 90000000000 };

        for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
                g_autofree char *text = mlg_format_usec(values[i]);
                uint64_t back = UNTOUCHED;

                assert_int_equal(mlg_parse_usec(text, &back), 0);
                assert_true(back == values[i]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_u64),
                cmocka_unit_test(test_i32),
                cmocka_unit_test(test_bool),
                cmocka_unit_test(test_size),
                cmocka_unit_test(test_permille),
                cmocka_unit_test(test_usec),
                cmocka_unit_test(test_format_kib),
                cmocka_unit_test(test_format_usec),
                cmocka_unit_test(test_usec_round_trip),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
