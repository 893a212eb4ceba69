/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Agent: answers of QEMU's guest agent that are right, wrong, too long, and what they tell. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <glib.h>

#include "hypervisor/agent.h"

static void test_commands(void **state) {
        g_autofree char *open = mlg_agent_open_command("/proc/vmstat"), *read = mlg_agent_read_command(1000),
                        *close = mlg_agent_close_command(INT64_MIN);

        assert_string_equal(open, "{\"execute\":\"guest-file-open\",\"arguments\":{\"path\":\"/proc/vmstat\",\"mode\":\"r\"}}");
        assert_string_equal(read, "{\"execute\":\"guest-file-read\",\"arguments\":{\"handle\":1000,\"count\":32768}}");
        assert_string_equal(close, "{\"execute\":\"guest-file-close\",\"arguments\":{\"handle\":-9223372036854775808}}");
}

static void test_handles(void **state) {
        static const struct {
                const char *answer;
                int r;
                int64_t handle;
        } rows[] = {
                { "{\"return\":1000}", 0, 1000 },
                { "{\"return\":-1, \"more\": [1, {}]}", 0, -1 },
                { "{\"return\":1e3}", -EBADMSG, 0 },
                { "{\"return\":\"1000\"}", -EBADMSG, 0 },
                { "{\"return\":{}}", -EBADMSG, 0 },
                { "{\"error\":{\"class\":\"GenericError\"}}", -EBADMSG, 0 },
                { "1000", -EBADMSG, 0 },
                { "[1000]", -EBADMSG, 0 },
                { "{\"return\":1000", -EBADMSG, 0 },
                { "{\"return\":[[[[[[[1]]]]]]]}", -EBADMSG, 0 },
                { "", -EBADMSG, 0 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                int64_t handle = 0;
                int r = mlg_agent_take_handle(rows[i].answer, &handle);

                if (r != rows[i].r || handle != rows[i].handle)
                        fail_msg("'%s': %d, %" PRId64, rows[i].answer, r, handle);
        }
}

/* An answer with `n` bytes of 'x' in a file. */
static char *answer_of(size_t n) {
        g_autofree char *bytes = g_strnfill(n, 'x'), *base64 = g_base64_encode((const guchar *) bytes, n);

        return g_strdup_printf("{\"return\":{\"count\":%zu,\"buf-b64\":\"%s\",\"eof\":true}}", n, base64);
}

static void test_texts(void **state) {
        g_autofree char *most = answer_of(MLG_AGENT_TEXT_MAX), *more = answer_of(MLG_AGENT_TEXT_MAX + 1), *far = answer_of(100000);
        const struct {
                const char *answer;
                int r;
                const char *text; /* NULL: not looked at */
        } rows[] = {
                { "{\"return\":{\"count\":2,\"buf-b64\":\"aGk=\",\"eof\":false}}", 0, "hi" },
                { "{\"return\":{\"buf-b64\":\"\"}}", 0, "" },
                { "{\"return\":{\"buf-b64\":\"aABp\"}}", 0, "h" }, /* h, NUL, i */
                { "{\"return\":{\"buf-b64\":\"aGk\"}}", -EBADMSG, NULL },
                { "{\"return\":{\"buf-b64\":[]}}", -EBADMSG, NULL },
                { "{\"return\":{\"count\":2}}", -EBADMSG, NULL },
                { "{\"return\":7}", -EBADMSG, NULL },
                { most, 0, NULL },
                { more, -EMSGSIZE, NULL },
                { far, -EMSGSIZE, NULL },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *text = NULL;
                int r = mlg_agent_take_text(rows[i].answer, &text);

                if (r != rows[i].r || (rows[i].text && g_strcmp0(text, rows[i].text) != 0))
                        fail_msg("%.60s: %d, '%.20s'", rows[i].answer, r, text ? text : "(null)");
        }
}

static void test_facts(void **state) {
        static const char pressure[] = "some avg10=0.00 avg60=0.00 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=45\n";
        static const char vmstat[] = "pswpin 10\npswpout 20\npgmajfault 7\nworkingset_refault_anon 2\nworkingset_refault_file 3\noom_kill 1\n";
        MlgRawMonitor raw;

        mlg_agent_take_facts(pressure, vmstat, 4, &raw);
        assert_true(raw.slow && !raw.alarm);
        assert_int_equal(raw.have, MLG_MONITOR_PSI | MLG_MONITOR_SWAP | MLG_MONITOR_FAULTS | MLG_MONITOR_REFAULTS | MLG_MONITOR_OOM);
        assert_int_equal(raw.psi_some_usec, 123);
        assert_int_equal(raw.psi_full_usec, 45);
        assert_int_equal(raw.swap_in_kib, 40);
        assert_int_equal(raw.refault_kib, 20);
        assert_int_equal(raw.oom_kills, 1);
        mlg_agent_take_facts(NULL, vmstat, 4, &raw); /* a kernel without PSI */
        assert_false(raw.have & MLG_MONITOR_PSI);
        mlg_agent_take_facts(NULL, "what you want", 4, &raw);
        assert_int_equal(raw.have, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_commands),
                cmocka_unit_test(test_handles),
                cmocka_unit_test(test_texts),
                cmocka_unit_test(test_facts),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
