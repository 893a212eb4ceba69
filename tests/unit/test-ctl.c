/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of memlegoctl's pure parts: text, table, command line, rendering against golden files.
 *
 * MLG_TEST_REGENERATE=1 rewrites the golden files; a person looks at the difference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/args.h"
#include "ctl/client.h"
#include "ctl/render.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "memlego/status.h"
#include "util/util.h"

static char *source_path(const char *name) {
        const char *root = g_getenv("MLG_SOURCE_ROOT");

        return g_build_filename(root ? root : ".", "tests/unit", name, NULL);
}

static char *read_source(const char *name) {
        g_autofree char *path = source_path(name);
        g_autoptr(GError) error = NULL;
        char *text = NULL;

        if (!g_file_get_contents(path, &text, NULL, &error))
                fail_msg("%s", error->message);
        return text;
}

static void assert_golden(const char *name, const char *text) {
        g_autofree char *file = g_strdup_printf("ctl/%s.expect", name), *path = source_path(file),
                        *expect = NULL;

        if (g_getenv("MLG_TEST_REGENERATE")) {
                assert_true(g_file_set_contents(path, text, -1, NULL));
                return;
        }
        expect = read_source(file);
        assert_string_equal(text, expect);
}

/* ---- text ---- */

static void test_escape(void **state) {
        static const struct {
                const char *what, *in;
                MlgTextKind kind;
                bool utf8;
                const char *expect;
        } cases[] = {
                { "plain", "web-1", MLG_TEXT_LINE, true, "web-1" },
                { "escape sequence", "a\033[2Jb", MLG_TEXT_LINE, true, "a\\x1b[2Jb" },
                { "C1 control", "a\xc2\x9b" "b", MLG_TEXT_LINE, true, "a\\u009bb" },
                { "DEL", "a\x7f", MLG_TEXT_LINE, true, "a\\x7f" },
                { "line break", "a\nb\tc", MLG_TEXT_LINE, true, "a\\nb\\tc" },
                { "backslash", "a\\x1b", MLG_TEXT_LINE, true, "a\\\\x1b" },
                { "direction", "a\u202eb", MLG_TEXT_LINE, true, "a\\u202eb" },
                { "line separator", "a\u2028b", MLG_TEXT_LINE, true, "a\\u2028b" },
                { "private, beyond the first plane", "\U000f0000", MLG_TEXT_LINE, true, "\\U000f0000" },
                { "not UTF-8", "a\xff\xc3(", MLG_TEXT_LINE, true, "a\\xff\\xc3(" },
                { "cut UTF-8", "a\xe3\x83", MLG_TEXT_LINE, true, "a\\xe3\\x83" },
                { "letters", "größe 生产", MLG_TEXT_LINE, true, "größe 生产" },
                { "letters, ASCII terminal", "größe", MLG_TEXT_LINE, false, "gr\\u00f6\\u00dfe" },
                { "tower of marks", "a\u0301\u0301\u0301", MLG_TEXT_LINE, true, "a\u0301\u0301\\u0301" },
                { "block", "a\n\tb\\c\033", MLG_TEXT_BLOCK, true, "a\n\tb\\c\\x1b" },
                { "JSON", "{\n \"a\\nb\": \"\xc2\x9b\u202e\x7f\"}", MLG_TEXT_JSON, true,
                  "{\n \"a\\nb\": \"\\u009b\\u202e\\u007f\"}" },
                { "JSON, beyond the first plane", "\U000e0001", MLG_TEXT_JSON, true, "\\udb40\\udc01" },
                { "JSON, ASCII terminal", "ö😀", MLG_TEXT_JSON, false, "\\u00f6\\ud83d\\ude00" },
                { "JSON, not UTF-8", "\"\xff\"", MLG_TEXT_JSON, true, "\"\\ufffd\"" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *got = mlg_text_escape(cases[i].in, cases[i].kind, cases[i].utf8);

                if (strcmp(got, cases[i].expect) != 0)
                        fail_msg("%s: got '%s', expected '%s'", cases[i].what, got, cases[i].expect);
        }
}

static void test_width_and_fit(void **state) {
        static const struct {
                const char *in;
                unsigned int width;
                bool utf8;
                const char *expect;
        } cases[] = {
                { "web-1", 5, true, "web-1" },
                { "web-10", 5, true, "web-…" },
                { "web-10", 5, false, "web-~" },
                { "web", 1, true, "…" },
                { "web", 0, true, "" },
                { "生产主", 6, true, "生产主" },
                { "生产主", 5, true, "生产…" },
                { "生产主", 4, true, "生…" },
                { "", 0, true, "" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *got = mlg_text_fit(cases[i].in, cases[i].width, cases[i].utf8);

                assert_string_equal(got, cases[i].expect);
                assert_true(mlg_text_width(got) <= cases[i].width);
        }
        assert_int_equal(mlg_text_width("a\u0301生"), 3);
}

/* Whatever bytes come in: nothing that a terminal obeys comes out. */
static void test_escape_random(void **state) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(1);

        for (int i = 0; i < 20000; i++) {
                char in[16] = { 0 };

                for (size_t k = 0; k < sizeof in - 1; k++)
                        in[k] = (char) g_rand_int_range(rand, 1, 256);
                for (MlgTextKind kind = MLG_TEXT_LINE; kind <= MLG_TEXT_JSON; kind++) {
                        g_autofree char *out = mlg_text_escape(in, kind, i % 2);

                        assert_true(g_utf8_validate(out, -1, NULL));
                        for (const char *p = out; *p; p = g_utf8_next_char(p)) {
                                gunichar c = g_utf8_get_char(p);

                                assert_true(c >= 0x20 ||
                                            (kind != MLG_TEXT_LINE && (c == '\n' || c == '\t')));
                                assert_false(c >= 0x7f && c < 0xa0);
                                assert_true(i % 2 || c < 0x7f);
                        }
                }
        }
}

/* ---- command line ---- */

static void test_args(void **state) {
        static const struct {
                const char *line;   /* separated by blanks */
                const char *error;  /* part of the message; NULL: fine */
                MlgCommand command;
        } cases[] = {
                { "", NULL, MLG_COMMAND_STATUS },
                { "status web-* db", NULL, MLG_COMMAND_STATUS },
                { "--json", NULL, MLG_COMMAND_STATUS },
                { "-w", NULL, MLG_COMMAND_STATUS },
                { "--watch=0.5 status", NULL, MLG_COMMAND_STATUS },
                { "explain -- -odd", NULL, MLG_COMMAND_EXPLAIN },
                { "explain --json x", NULL, MLG_COMMAND_EXPLAIN },
                { "set a 512M --hold 10min", NULL, MLG_COMMAND_SET },
                { "set --hold=1h a 1.5G", NULL, MLG_COMMAND_SET },
                { "reserve 2G --timeout 5min", NULL, MLG_COMMAND_RESERVE },
                { "release 7 --address unix:path=/x", NULL, MLG_COMMAND_RELEASE },
                { "--system reload", NULL, MLG_COMMAND_RELOAD },
                { "record -o x --duration 1h --interval=5s", NULL, MLG_COMMAND_RECORD },
                { "record", "record needs --output", 0 },
                { "record -o", "--output needs a value", 0 },
                { "record --output=", "--output: the value is empty", 0 },
                { "record -o x --interval 10ms", "--interval: '10ms' is out of range", 0 },
                { "simulate --trace x --host-memory 60% --json", NULL, MLG_COMMAND_SIMULATE },
                { "simulate --trace x --host-memory 64G --step 0.5", NULL, MLG_COMMAND_SIMULATE },
                { "simulate --trace x --plugins d", NULL, MLG_COMMAND_SIMULATE },
                { "plugins", NULL, MLG_COMMAND_PLUGINS },
                { "simulate --trace x --compare a,b:c", NULL, MLG_COMMAND_SIMULATE },
                { "simulate", "simulate needs --trace", 0 },
                { "simulate --trace x --host-memory lots", "'lots' is not a size", 0 },
                { "simulate --trace x --host-memory 101%", "'101%' is not a part", 0 },
                { "simulate --trace x --compare a --svg b", "leave out --policy, --predictor and --svg", 0 },
                { "simulate --trace x --interval 5s", "--interval makes no sense with 'simulate'", 0 },
                { "foo", "unknown command 'foo'", 0 },
                { "--foo", "unknown option '--foo'", 0 },
                { "-x", "unknown option '-x'", 0 },
                { "-wj", "unknown option '-wj'", 0 },
                { "explain", "usage: memlegoctl explain GUEST", 0 },
                { "explain a b", "'b': one too many", 0 },
                { "reload now", "one too many", 0 },
                { "set a", "usage: memlegoctl set GUEST SIZE", 0 },
                { "set a lots", "'lots' is not a size", 0 },
                { "set a 0", "'0' is 0 bytes; write it like 512M or 1.5G", 0 },
                { "set a 1023K", "size '1023K' is out of range, 1M at least", 0 },
                { "set a 1024K", NULL, MLG_COMMAND_SET },
                { "reserve 8", "'8' is 8 bytes; write it like 512M or 1.5G", 0 },
                { "reserve 1048576", NULL, MLG_COMMAND_RESERVE }, /* bytes are fine, if they are meant */
                { "set a -5M", "unknown option '-5M'", 0 },
                { "set -- a -5M", "is not a size", 0 },
                { "set a 1M --hold soon", "'soon' is not a time", 0 },
                { "set a 1M --hold", "--hold needs a value", 0 },
                { "set a 1M --hold 0", "out of range", 0 },
                { "reserve 99999999999999T", "out of range", 0 },
                { "reserve 1G --hold 1min", "makes no sense with 'reserve'", 0 },
                { "release x", "'x' is not the ID", 0 },
                { "release -- -1", "'-1' is not the ID", 0 },
                { "proposals --json", NULL, MLG_COMMAND_PROPOSALS },
                { "plugins --json", NULL, MLG_COMMAND_PLUGINS },
                { "approve 17", NULL, MLG_COMMAND_APPROVE },
                { "approve --all", NULL, MLG_COMMAND_APPROVE },
                { "approve --all web-1 --for 30min", NULL, MLG_COMMAND_APPROVE },
                { "approve --end web-1", NULL, MLG_COMMAND_APPROVE },
                { "approve", "usage: memlegoctl approve ID, or approve --all [GUEST]", 0 },
                { "approve web-1", "'web-1' is not the ID of a proposal", 0 },
                { "approve 17 18", "'18': one too many", 0 },
                { "approve --all --end", "only one of --all and --end", 0 },
                { "approve 17 --for 5min", "--for says how long all is approved: it needs --all", 0 },
                { "approve --all --for 200h", "out of range, 1s to 7d", 0 },
                { "reject 17", NULL, MLG_COMMAND_REJECT },
                { "reject --all", "--all makes no sense with 'reject'", 0 },
                { "reject", "usage: memlegoctl reject ID", 0 },
                { "pipe", NULL, MLG_COMMAND_PIPE },
                { "pipe list --json", NULL, MLG_COMMAND_PIPE },
                { "pipe show", NULL, MLG_COMMAND_PIPE },
                { "pipe show a", NULL, MLG_COMMAND_PIPE },
                { "pipe lst", "unknown verb 'lst': list, show, attach, detach or xml", 0 },
                { "pipe list a", "'a': one too many", 0 },
                { "pipe attach", "usage: memlegoctl pipe attach GUEST", 0 },
                { "pipe xml", "usage: memlegoctl pipe xml GROUP", 0 },
                { "pipe detach a b", "'b': one too many", 0 },
                { "swap", NULL, MLG_COMMAND_SWAP },
                { "swap list --json", NULL, MLG_COMMAND_SWAP },
                { "swap show a", NULL, MLG_COMMAND_SWAP },
                { "stack", NULL, MLG_COMMAND_STACK },
                { "metrics", NULL, MLG_COMMAND_METRICS },
                { "stack a b* --json", NULL, MLG_COMMAND_STACK },
                { "swap attach a", "unknown verb 'attach': list, show or xml", 0 },
                { "swap xml", "usage: memlegoctl swap xml GUEST", 0 },
                { "pause --json", "--json makes no sense with 'pause'", 0 },
                { "status --json --watch", "only one of", 0 },
                { "status --json=1", "--json takes no value", 0 },
                { "--watch=0 status", "out of range", 0 },
                { "--address= status", "the address is empty", 0 },
                { "status \033[2J --oops", "unknown option", 0 },
                { "ca\033t", "unknown command 'ca\033t'", 0 }, /* escaped where it is shown */
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *line = g_strdup_printf("memlegoctl%s%s", *cases[i].line ? " " : "",
                                                        cases[i].line);
                g_auto(GStrv) words = g_strsplit(line, " ", -1);
                size_t n = g_strv_length(words);
                g_autofree char **argv = g_memdup2(words, (n + 1) * sizeof *words);
                g_autoptr(GError) error = NULL;
                MlgArgs a;
                bool ok = mlg_args_parse((int) n, argv, &a, &error);

                if (ok != !cases[i].error)
                        fail_msg("'%s': %s", cases[i].line, ok ? "no error" : error->message);
                if (!ok && (error->code != MLG_EXIT_USAGE || !strstr(error->message, cases[i].error)))
                        fail_msg("'%s': '%s' has no '%s'", cases[i].line, error->message, cases[i].error);
                if (ok)
                        assert_int_equal(a.command, cases[i].command);
        }
}

static bool parse(MlgArgs *a, const char *const *words) {
        char *argv[8] = { (char *) "memlegoctl" };
        int argc = 1;

        for (; *words; words++)
                argv[argc++] = (char *) *words;
        return mlg_args_parse(argc, argv, a, NULL);
}

static void test_args_values(void **state) {
        MlgArgs a;

        assert_true(parse(&a, (const char *[]) { "set", "web-1", "1.5G", "--hold", "2min", NULL }));
        assert_string_equal(a.guest, "web-1");
        assert_int_equal(a.size_kib, 1536 * 1024);
        assert_int_equal(a.hold_usec, 120 * MLG_USEC_PER_SEC);
        assert_true(parse(&a, (const char *[]) { "set", "web-1", "1G", NULL }));
        assert_int_equal(a.hold_usec, 600 * MLG_USEC_PER_SEC);
        assert_true(parse(&a, (const char *[]) { "pause", NULL }));
        assert_null(a.guest);
        /* an unset variable in a script must not pause every guest; what is no text never reaches the bus */
        assert_false(parse(&a, (const char *[]) { "pause", "", NULL }));
        assert_false(parse(&a, (const char *[]) { "explain", "a\xff", NULL }));
        assert_true(parse(&a, (const char *[]) { "--watch", "status", NULL }));
        assert_true(a.watch && a.watch_usec == 2 * MLG_USEC_PER_SEC);
        assert_true(parse(&a, (const char *[]) { "frobnicate", "--help", NULL }));
        assert_true(a.help);
}

static void test_help(void **state) {
        g_autofree char *help = mlg_args_help();

        assert_golden("help", help);
}

/* ---- snapshot ---- */

static MlgSnapshot *load(void) {
        g_autofree char *text = read_source("fake-dump.json");
        g_autoptr(GError) error = NULL;
        MlgSnapshot *s = mlg_snapshot_parse(text, &error);

        if (!s)
                fail_msg("%s", error->message);
        return s;
}

static void test_show(void **state) {
        g_autoptr(MlgSnapshot) s = load();
        g_autoptr(GString) out = g_string_new(NULL);
        const MlgStyle style = { .utf8 = true };

        for (size_t i = 0; i < s->n_guests; i++)
                if (g_str_equal(s->guests[i].name, "web-10"))
                        mlg_render_show(&s->guests[i], s->host.now_usec, &style, out);
        assert_golden("show", out->str);
}

/* Guests that tell of it; what is not a number in a kind is none, and its name may be anything. */
static void test_stacks(void **state) {
        g_autoptr(MlgSnapshot) s = load();
        g_autoptr(GString) out = g_string_new(NULL), none = g_string_new(NULL);
        g_autofree char *json = mlg_stacks_to_json(s, true), *empty = NULL;
        const MlgStyle style = { .utf8 = true, .columns = 80 };

        mlg_render_stacks(s, &style, out);
        assert_golden("stacks", out->str);
        assert_golden("stacks-json", json);
        assert_true(mlg_snapshot_filter(s, (char *[]) { (char *) "db*", NULL }));
        mlg_render_stacks(s, &style, none);
        assert_string_equal(none->str, "No guest tells of securestack: it takes the module and memlego-guestd there.\n");
        empty = mlg_stacks_to_json(s, true);
        assert_null(strstr(empty, "violations"));
}

static void test_snapshot(void **state) {
        g_autoptr(MlgSnapshot) s = load();

        assert_int_equal(s->n_guests, 9);
        assert_true(s->host.connected);
        assert_int_equal(s->host.budget_kib, 63753421);
        assert_int_equal(s->host.psi_some_avg10_centi, 12);
        /* numbers in names sort as numbers */
        assert_string_equal(s->guests[5].name, "old");
        assert_string_equal(s->guests[6].name, "web-2");
        assert_string_equal(s->guests[7].name, "web-10");
        assert_int_equal(s->guests[6].target_kib, 1310720);
        assert_true(s->guests[4].sample_age_usec == UINT64_MAX);
}

static void test_snapshot_bad(void **state) {
        static const char *const bad[] = {
                "",
                "[]",
                "null",
                "7",
                "{",
                "{}",
                "{\"host\": 1, \"guests\": []}",
                "{\"host\": {}, \"guests\": {}}",
                "{\"host\": {}, \"guests\": [] ",
                "{\"host\": {}, \"guests\": [[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]}",
        };
        g_autoptr(MlgSnapshot) odd = NULL;
        g_autoptr(GString) out = g_string_new(NULL);

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autoptr(GError) error = NULL;

                if (mlg_snapshot_parse(bad[i], &error))
                        fail_msg("accepted: %s", bad[i]);
                assert_int_equal(error->code, MLG_EXIT_FAILED);
        }
        /* what is missing or of another type is unknown, not fatal */
        odd = mlg_snapshot_parse(
                "{\"host\": {\"budget_kib\": \"many\", \"total_kib\": -5}, \"guests\": "
                "[7, {\"name\": 3, \"actual_kib\": 1e99, \"maximum_kib\": 18446744073709551615,"
                " \"used_kib\": 18446744073709551615, \"paused\": 1}]}",
                NULL);
        assert_non_null(odd);
        assert_int_equal(odd->n_guests, 1);
        assert_string_equal(odd->guests[0].name, "-");
        assert_int_equal(odd->host.total_kib, 0);
        mlg_render_status(odd, &(MlgStyle){ .utf8 = true },
                          &(MlgStatusView){ .bars = true, .max_rows = SIZE_MAX }, out);
        assert_golden("status-odd", out->str);
}

static void test_snapshot_filter(void **state) {
        g_autoptr(MlgSnapshot) s = load();
        char *web[] = { (char *) "web-*", (char *) "6F9C*-000000000003", NULL }, *none[] = { NULL };
        char *nobody[] = { (char *) "nobody*", NULL };
        g_autofree char *json = NULL;

        assert_true(mlg_snapshot_filter(s, none));
        assert_int_equal(s->n_guests, 9);
        assert_true(mlg_snapshot_filter(s, web));
        assert_int_equal(s->n_guests, 3);
        json = mlg_snapshot_to_json(s, true);
        assert_golden("status-json", json);
        assert_false(mlg_snapshot_filter(s, nobody));
        assert_int_equal(s->n_guests, 0);
}

/* ---- rendering ---- */

static void test_status(void **state) {
        static const struct {
                const char *name;
                MlgStyle style;
                MlgStatusView view;
                bool trouble;
        } cases[] = {
                { "status-file", { .utf8 = true }, { .max_rows = SIZE_MAX }, false },
                { "status-ascii", { .utf8 = false }, { .bars = true, .max_rows = SIZE_MAX }, false },
                { "status-140",
                  { .utf8 = true, .columns = 140 },
                  { .bars = true, .narrow = true, .max_rows = SIZE_MAX },
                  true },
                { "status-80", { .utf8 = true, .columns = 80 }, { .max_rows = SIZE_MAX }, true },
                { "status-80-narrow",
                  { .utf8 = true, .columns = 80 },
                  { .bars = true, .narrow = true, .max_rows = SIZE_MAX },
                  false },
                { "status-50",
                  { .utf8 = true, .columns = 50 },
                  { .bars = true, .narrow = true, .first = 2, .max_rows = 3 },
                  true },
                { "status-20",
                  { .utf8 = true, .columns = 20 },
                  { .bars = true, .narrow = true, .max_rows = SIZE_MAX },
                  false },
                { "status-colour",
                  { .utf8 = true, .colour = true, .columns = 120 },
                  { .bars = true, .max_rows = SIZE_MAX },
                  true },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(MlgSnapshot) s = load();
                g_autoptr(GString) out = g_string_new(NULL);

                if (cases[i].trouble) {
                        s->host.connected = false;
                        s->host.dry_run = s->host.paused = true;
                        s->host.shortage_kib = 524288;
                        s->host.alarm = cases[i].style.columns > 60 ? "short" : "exhausted";
                        s->host.missing_kib = 2 * 1048576;
                        s->host.givable_kib = 786432;
                        s->host.psi_some_avg10_centi = 2345;
                }
                mlg_render_status(s, &cases[i].style, &cases[i].view, out);
                assert_golden(cases[i].name, out->str);
        }
}

static void test_status_empty(void **state) {
        g_autoptr(MlgSnapshot) s = mlg_snapshot_parse("{\"host\": {}, \"guests\": []}", NULL);
        g_autoptr(GString) out = g_string_new(NULL);

        mlg_render_status(s, &(MlgStyle) { .utf8 = true }, &(MlgStatusView) { .max_rows = SIZE_MAX }, out);
        assert_golden("status-empty", out->str);
}

static MlgCtlDecision decision(uint64_t age_usec, uint64_t repeated, uint64_t to_kib, const char *result,
                               const char *error) {
        return (MlgCtlDecision){
                .age_usec = age_usec,
                .repeated = repeated,
                .state = (char *) "managed",
                .trust = (char *) "fresh",
                .pressure = (char *) "none",
                .actual_kib = 524288,
                .used_kib = 307200,
                .usable_kib = 194560,
                .need_kib = 317440,
                .error_kib = 12288,
                .cushion_kib = 65536,
                .from_kib = 524288,
                .wanted_kib = 655360,
                .to_kib = to_kib,
                .wanted_reason = (char *) "demand",
                .reason = (char *) "rate",
                .sentence = (char *) "shortened to what its rate limit allows",
                .result = (char *) result,
                .error = (char *) error,
        };
}

static void test_explain(void **state) {
        const MlgCtlDecision d[] = {
                decision(300000, 1, 600000, "pending", "-"),  decision(2400000, 12, 524288, "none", "-"),
                decision(65000000, 1, 655360, "accepted", "-"), decision(90000000, 1, 600000, "failed", "EIO"),
                decision(90000000, 3, 600000, "-", "-"), /* of a memlegod that says nothing about it */
        };
        g_autoptr(GString) out = g_string_new(NULL), none = g_string_new(NULL), fresh = g_string_new(NULL),
                           dry = g_string_new(NULL);
        MlgCtlDecision unknown = decision(300000, 1, 0, "none", "-");
        const MlgCtlRule rules[] = {
                { (char *) "night", (char *) "policy.d/50-web.policy:12", (char *) "Floor=2G Priority=20" },
                { (char *) "busy\n", (char *) "memlegod.conf:3", (char *) "" },
        };
        MlgCtlExplanation e = { d, 2, rules, G_N_ELEMENTS(rules) };
        g_autofree char *json = mlg_explain_to_json("web\n1", &e, true);

        e.n_decisions = G_N_ELEMENTS(d);
        mlg_render_explain("web\n1", &e, &(MlgStyle) { .utf8 = true }, out);
        assert_golden("explain", out->str);
        assert_golden("explain-json", json);
        unknown.trust = (char *) "none";
        unknown.actual_kib = unknown.from_kib = unknown.wanted_kib = unknown.need_kib = 0;
        e = (MlgCtlExplanation) { &unknown, 1, NULL, 0 };
        mlg_render_explain("new", &e, &(MlgStyle) { .utf8 = true, .colour = true }, fresh);
        assert_golden("explain-new", fresh->str);
        unknown = decision(300000, 7, 655360, "none", "-"); /* of a dry run */
        mlg_render_explain("web-2", &e, &(MlgStyle) { .utf8 = true }, dry);
        assert_non_null(strstr(dry->str, "just now: would go 512 MiB -> 640 MiB: "));
        assert_non_null(strstr(dry->str, "the policy wanted 640 MiB (demand)"));
        mlg_render_explain("web-1", &(MlgCtlExplanation) {}, &(MlgStyle) { .utf8 = true }, none);
        assert_string_equal(none->str, "Nothing was decided about web-1 yet.\n");
}

static void test_reservations(void **state) {
        const MlgCtlReservation r[] = {
                { .id = 7,
                  .kib = 2097152,
                  .room_kib = 1048576,
                  .expires_in_usec = 200000000,
                  .owner = (char *) ":1.42" },
                { .id = 12,
                  .kib = 1536000,
                  .room_kib = 1536000,
                  .expires_in_usec = 900000,
                  .owner = (char *) "\033[2J" },
        };
        g_autoptr(GString) out = g_string_new(NULL), none = g_string_new(NULL);
        g_autofree char *json = mlg_reservations_to_json(r, 2, true);

        mlg_render_reservations(r, 2, &(MlgStyle) { .utf8 = true, .colour = true }, out);
        assert_golden("reservations", out->str);
        assert_golden("reservations-json", json);
        mlg_render_reservations(NULL, 0, &(MlgStyle) { .utf8 = true }, none);
        assert_string_equal(none->str, "No reservations.\n");
}

static void test_proposals(void **state) {
        const MlgCtlProposal p[] = {
                { .id = 7,
                  .guest = (char *) "web-1",
                  .state = (char *) "open",
                  .reason = (char *) "pressure",
                  .sentence = (char *) "relieved, because it suffers",
                  .effect = (char *) "usable memory 40 MiB -> 300 MiB (need 480 MiB, cushion 72 MiB)",
                  .for_guest = (char *) "",
                  .pressure = (char *) "critical",
                  .from_kib = 409600,
                  .to_kib = 675840,
                  .usable_kib = 40960,
                  .usable_after_kib = 307200,
                  .need_kib = 491520,
                  .cushion_kib = 73728,
                  .age_usec = 5000000,
                  .expires_in_usec = 890400000 },
                { .id = 12,
                  .guest = (char *) "\033[2J",
                  .state = (char *) "approved",
                  .reason = (char *) "donor",
                  .sentence = (char *) "-",
                  .effect = (char *) "frees 1 GiB for \033[2J",
                  .for_guest = (char *) "web-1",
                  .pressure = (char *) "none",
                  .from_kib = 3145728,
                  .to_kib = 2097152 },
        };
        g_autoptr(GString) out = g_string_new(NULL), none = g_string_new(NULL);
        g_autofree char *json = mlg_proposals_to_json(p, 2, true);

        mlg_render_proposals(p, 2, &(MlgStyle) { .utf8 = true, .colour = true }, out);
        assert_golden("proposals", out->str);
        assert_golden("proposals-json", json);
        mlg_render_proposals(NULL, 0, &(MlgStyle) { .utf8 = true }, none);
        assert_string_equal(none->str, "Nothing waits for approval.\n");
}

static GArray *counts(const MlgCtlCount *from, guint n) {
        GArray *ret = g_array_new(FALSE, FALSE, sizeof(MlgCtlCount));

        g_array_set_clear_func(ret, mlg_ctl_count_clear);
        for (guint i = 0; i < n; i++) {
                MlgCtlCount c = { g_strdup(from[i].name), from[i].n };

                g_array_append_val(ret, c);
        }
        return ret;
}

static const MlgCtlSwap some_swaps[] = {
        { .guest = (char *) "web-1", .uuid = (char *) "u-1", .section = (char *) "idle", .attach = (char *) "auto",
          .path = (char *) "/run/memlego/pipe/u-1~swap.sock", .state = (char *) "talks", .quota_kib = 524288,
          .target_kib = 65536, .lent_kib = 32768, .used_kib = 30000, .same_kib = 1024, .on_disk_kib = 4096,
          .hits_permille = 990, .call_backs = 3, .met = 2, .late = 1, .callback_usec = 4000000, .pool_reads = 990,
          .disk_reads = 10, .pool_writes = 8000, .disk_writes = 20, .written_back = 300,
          .swap_ins = 2, .swap_in_kib = 65536, .swap_in_done_kib = 40960, .swap_in = (char *) "watermark" },
        { .guest = (char *) "\033[2J", .uuid = (char *) "u-2", .section = (char *) "", .path = (char *) "/x",
          .state = (char *) "late", .attach = (char *) "manual" },
};

static void test_swaps(void **state) {
        const MlgStyle style = { .colour = true, .utf8 = true }, plain = { .utf8 = true };
        g_autoptr(GString) out = g_string_new(NULL), none = g_string_new(NULL);
        g_autofree char *json = mlg_swaps_to_json(some_swaps, G_N_ELEMENTS(some_swaps), NULL, true);
        g_autofree char *one = mlg_swaps_to_json(some_swaps, G_N_ELEMENTS(some_swaps), "nobody", true);

        mlg_render_swaps(some_swaps, G_N_ELEMENTS(some_swaps), &style, out);
        mlg_render_swap(some_swaps, G_N_ELEMENTS(some_swaps), NULL, &style, out);
        mlg_render_swap(some_swaps, G_N_ELEMENTS(some_swaps), "u-1", &style, out);
        assert_golden("swaps", out->str);
        assert_golden("swaps-json", json);
        mlg_render_swaps(NULL, 0, &plain, none);
        mlg_render_swap(some_swaps, G_N_ELEMENTS(some_swaps), "nobody", &plain, none);
        assert_string_equal(none->str, "No guest is lent memory: there is no section [Swap NAME] that names one.\n"
                                       "No guest is lent memory.\n");
        assert_non_null(strstr(one, "\"swaps\""));
}

/* In Prometheus' format: no name of a guest ends its label, and what nobody told is left out. */
static void test_metrics(void **state) {
        const MlgCtlPipe pipe = { .name = (char *) "a \"b\\\n", .quota_kib = UINT64_MAX, .granted_kib = 20480, .n_members = 1 };
        const MlgCtlPipeMember member = { .pipe = (char *) "group-a", .guest = (char *) "web-1", .granted_kib = 19456,
                                          .connections = 12, .sent_bytes = UINT64_C(5) << 30, .blocked_usec = 1000234 };
        const MlgCtlPipes pipes = { .pipes = &pipe, .n = 1, .members = &member, .n_members = 1 }, none = { .n = 0 };
        g_autoptr(GString) out = g_string_new(NULL), few = g_string_new(NULL);
        g_autoptr(MlgSnapshot) s = load();

        mlg_render_metrics(s, some_swaps, G_N_ELEMENTS(some_swaps), &pipes, out);
        assert_golden("metrics", out->str);
        mlg_render_metrics(s, NULL, 0, &none, few);
        assert_null(strstr(few->str, "memlego_swap_"));
        assert_null(strstr(few->str, "memlego_pipe_"));
        assert_non_null(strstr(few->str, "memlego_budget_bytes "));
}

static void test_pipes(void **state) {
        static const MlgCtlCount few[] = { { (char *) "no-peer", 7 }, { (char *) "\033[2J", 2 } },
                                 many[] = { { (char *) "option", UINT64_MAX }, { (char *) "off", 1 } };
        g_autoptr(GArray) of_web = counts(few, G_N_ELEMENTS(few)), of_db = counts(many, G_N_ELEMENTS(many));
        const MlgCtlPipe p[] = {
                { .name = (char *) "group-a", .path = (char *) "/run/memlego/pipe/group-a.sock", .state = (char *) "serving",
                  .attach = (char *) "auto", .region_kib = 1048576, .quota_kib = 262144, .granted_kib = 20480,
                  .backed_kib = 10300, .charged_kib = 20480, .epoch = 17, .n_members = 2, .utilisation_permille = 919,
                  .isolation = (char *) "group" },
                { .name = (char *) "\033[2J", .path = (char *) "-", .state = (char *) "going", .attach = (char *) "manual",
                  .isolation = (char *) "group" },
                { .name = (char *) "other", .path = (char *) "", .state = (char *) "serving", .attach = (char *) "auto",
                  .isolation = (char *) "pair", .n_refused_pairs = 3, .n_members = 1 },
        };
        const MlgCtlPipeMember m[] = {
                { .pipe = (char *) "group-a", .guest = (char *) "web-1", .state = (char *) "talks", .id = 1, .epoch = 3,
                  .granted_kib = 19456, .target_kib = 32768, .demand_kib = 65536, .held_kib = 19456, .used_kib = 18000,
                  .connections = 12, .sent_bytes = UINT64_C(5) << 30, .blocked_usec = 1234, .opened_connections = 120,
                  .fallbacks = of_web },
                { .pipe = (char *) "group-a", .guest = (char *) "\033[2J", .state = (char *) "broken", .id = 2 },
                { .pipe = (char *) "other", .guest = (char *) "db", .state = (char *) "silent", .id = 1, .fallbacks = of_db },
        };
        const MlgCtlPipePair pair[] = {
                { .pipe = (char *) "other", .guests = { (char *) "db", (char *) "\033[2J" }, .state = (char *) "serving",
                  .granted_kib = 2048, .backed_kib = 300, .idle_usec = 61500000 },
                { .pipe = (char *) "other", .guests = { (char *) "db", (char *) "web-2" }, .state = (char *) "going" },
        };
        const MlgCtlPipes all = {
                .pipes = p, .members = m, .pairs = pair,
                .n = G_N_ELEMENTS(p), .n_members = G_N_ELEMENTS(m), .n_pairs = G_N_ELEMENTS(pair),
        };
        const MlgCtlPipes empty = { .members = m, .n_members = G_N_ELEMENTS(m) };
        g_autoptr(GString) out = g_string_new(NULL), none = g_string_new(NULL);
        const MlgStyle style = { .utf8 = true, .colour = true }, plain = { .utf8 = true };
        g_autofree char *json = mlg_pipes_to_json(&all, NULL, true), *one = mlg_pipes_to_json(&all, "x", true);

        mlg_render_pipes(&all, &style, out);
        mlg_render_pipe_members(&all, NULL, &style, out);
        mlg_render_pipe_members(&all, "other", &style, out);
        assert_golden("pipes", out->str);
        assert_golden("pipes-json", json);
        assert_null(strstr(one, "group-a"));
        mlg_render_pipes(&empty, &plain, none);
        mlg_render_pipe_members(&empty, "nobody", &plain, none);
        assert_string_equal(none->str, "No guests share memory: there is no section [Pipe NAME].\nNo members.\n");
}

static void test_plugins(void **state) {
        static const MlgCtlPlugin p[] = {
                { (char *) "mine", (char *) "policy", (char *) "used", (char *) "/lib/mine.so", (char *) "" },
                { (char *) "slow", (char *) "predictor", (char *) "off", (char *) "/lib/slow.so",
                  (char *) "predict() took 120 ms" },
                { (char *) "\033[2J", (char *) "unknown", (char *) "refused", (char *) "/lib/x.so", (char *) "it \n is" },
        };
        g_autoptr(GString) out = g_string_new(NULL), none = g_string_new(NULL);
        g_autofree char *json = mlg_plugins_to_json(p, G_N_ELEMENTS(p), true);

        assert_golden("plugins-json", json);
        mlg_render_plugins(p, G_N_ELEMENTS(p), &(MlgStyle) { .utf8 = true, .colour = true }, out);
        assert_golden("plugins", out->str);
        mlg_render_plugins(NULL, 0, &(MlgStyle) { .utf8 = true }, none);
        assert_string_equal(none->str, "No plug-ins.\n");
}

static void test_error_to_exit(void **state) {
        static const struct {
                const char *name;
                int error, expect;
        } cases[] = {
                { "org.memlego1.Error.Failed", EIO, MLG_EXIT_FAILED },
                { "org.memlego1.Error.NoSuchGuest", EIO, MLG_EXIT_NO_SUCH_GUEST },
                { "org.memlego1.Error.NoRoom", EIO, MLG_EXIT_NO_ROOM },
                { "org.memlego1.Error.ConfigInvalid", EIO, MLG_EXIT_CONFIG },
                { "org.memlego1.Error.NoSuchReservation", EIO, MLG_EXIT_FAILED },
                { "org.freedesktop.DBus.Error.AccessDenied", EACCES, MLG_EXIT_DENIED },
                { "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired", EPERM, MLG_EXIT_DENIED },
                { "org.freedesktop.DBus.Error.ServiceUnknown", EHOSTUNREACH, MLG_EXIT_NOT_RUNNING },
                { "org.freedesktop.DBus.Error.NameHasNoOwner", ENXIO, MLG_EXIT_NOT_RUNNING },
                { "org.freedesktop.DBus.Error.NoReply", ETIMEDOUT, MLG_EXIT_NOT_RUNNING },
                { "org.freedesktop.DBus.Error.UnknownMethod", EBADR, MLG_EXIT_FAILED },
                { NULL, ENOENT, MLG_EXIT_NOT_RUNNING },
                { NULL, ECONNREFUSED, MLG_EXIT_NOT_RUNNING },
                { NULL, EACCES, MLG_EXIT_DENIED },
                { NULL, ENOMEM, MLG_EXIT_FAILED },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                if (mlg_client_error_to_exit(cases[i].name, cases[i].error) != cases[i].expect)
                        fail_msg("%s, errno %i", cases[i].name, cases[i].error);
}

/* ---- manual pages ---- */

/* Each reason that a person can meet has its row in the table of memlegod(8). */
static void test_reasons_documented(void **state) {
        g_autofree char *page = read_source("../../man/memlegod.8");

        for (int i = 0; i < _MLG_REASON_MAX; i++) {
                g_auto(GStrv) parts = g_strsplit(mlg_reason_to_string((MlgReason) i), "-", -1);
                g_autofree char *escaped = g_strjoinv("\\-", parts),
                                *row = g_strdup_printf("\n%s\t", escaped);

                if (!strstr(page, row) && !(i == MLG_REASON_FLOOR || i == MLG_REASON_CEILING))
                        fail_msg("memlegod(8) does not explain the reason %s",
                                 mlg_reason_to_string((MlgReason) i));
        }
        assert_non_null(strstr(page, "\nfloor, ceiling\t"));
}

/* Text of the paragraph that follows `tag` in a manual page, up to the next macro. */
static char *paragraph(const char *page, const char *tag) {
        const char *text = strstr(page, tag);
        size_t n = 0;

        if (!text)
                return g_strdup("");
        text += strlen(tag);
        while (text[n] && !(text[n] == '.' && (n == 0 || text[n - 1] == '\n')))
                n++;
        return g_strstrip(g_strndup(text, n));
}

/* Each reason has a sentence in org.memlego1(5). */
static void test_reasons_on_bus_page(void **state) {
        g_autofree char *page = read_source("../../man/org.memlego1.5");
        const char *section = strstr(page, "\n.SH REASONS\n");

        assert_non_null(section);
        for (int i = 0; i < _MLG_REASON_MAX; i++) {
                const char *name = mlg_reason_to_string((MlgReason) i);
                g_auto(GStrv) parts = g_strsplit(name, "-", -1);
                g_autofree char *escaped = g_strjoinv("\\-", parts),
                                *tag = g_strdup_printf("\n.TP\n.B %s\n", escaped),
                                *text = paragraph(section, tag);

                if (!g_str_has_suffix(text, "."))
                        fail_msg("org.memlego1(5) does not explain the reason %s: '%s'", name, text);
        }
}

/* How many decisions Explain() returns is said where it is described. */
static void test_decisions_on_bus_page(void **state) {
        static const char *const files[] = { "../../man/org.memlego1.5", "../../systemd/org.memlego1.xml" };
        g_autofree char *limit = g_strdup_printf("newest first, at most %d,", MLG_DECISIONS_MAX);

        for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
                g_autofree char *text = read_source(files[i]);

                if (!strstr(text, limit))
                        fail_msg("%s does not say '%s'", files[i], limit);
        }
}

/* Each command and each long option of the help text is in memlegoctl(1). */
static void test_help_documented(void **state) {
        g_autofree char *page = read_source("../../man/memlegoctl.1"), *help = mlg_args_help();
        g_auto(GStrv) words = g_strsplit_set(help, " \n=[", -1);

        for (MlgCommand c = MLG_COMMAND_STATUS; c < _MLG_COMMAND_MAX; c++) {
                g_auto(GStrv) parts = g_strsplit(mlg_args_command_name(c), "-", -1);
                g_autofree char *escaped = g_strjoinv("\\-", parts);

                if (!strstr(page, escaped))
                        fail_msg("memlegoctl(1) does not explain %s", mlg_args_command_name(c));
        }
        for (char **w = words; *w; w++) {
                g_auto(GStrv) parts = g_strsplit(*w, "-", -1);
                g_autofree char *escaped = g_strjoinv("\\-", parts);

                if (g_str_has_prefix(*w, "--") && !strstr(page, escaped))
                        fail_msg("memlegoctl(1) does not explain %s", *w);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_escape),        cmocka_unit_test(test_escape_random),
                cmocka_unit_test(test_width_and_fit), cmocka_unit_test(test_args),
                cmocka_unit_test(test_args_values),   cmocka_unit_test(test_help),
                cmocka_unit_test(test_show),
                cmocka_unit_test(test_snapshot),      cmocka_unit_test(test_snapshot_bad),
                cmocka_unit_test(test_snapshot_filter), cmocka_unit_test(test_status),
                cmocka_unit_test(test_status_empty),  cmocka_unit_test(test_explain),
                cmocka_unit_test(test_plugins),       cmocka_unit_test(test_proposals),
                cmocka_unit_test(test_pipes),
                cmocka_unit_test(test_swaps),
                cmocka_unit_test(test_metrics),
                cmocka_unit_test(test_stacks),
                cmocka_unit_test(test_reservations),  cmocka_unit_test(test_error_to_exit),
                cmocka_unit_test(test_reasons_documented), cmocka_unit_test(test_reasons_on_bus_page),
                cmocka_unit_test(test_decisions_on_bus_page), cmocka_unit_test(test_help_documented),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
