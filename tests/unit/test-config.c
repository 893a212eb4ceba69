/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration: what is taken, what is refused and in which words, which section wins, and that the file,
 * the manual pages and the table of keys say the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "service/config-file.h"
#include "service/config-options.h"
#include "service/config.h"

#define UUID "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"

static MlgConfig *load_or_fail(const char *text, bool is_policy) {
        g_autoptr(GError) error = NULL;
        MlgConfig *c = mlg_config_load_text("x.conf", text, strlen(text), is_policy, &error);

        if (!c)
                fail_msg("refused: %s", error->message);
        return c;
}

/* ---- refusals ---- */

#define EXPECT_SIZE "expected a size of at least 16M such as 512M or 1.5G, or a part such as 25%"
#define EXPECT_STATS "expected whole seconds from 1 to 60, or 0 to leave statistics off where they are off"
#define EXPECT_PIPE \
        "expected [Pipe NAME] alone on its line, with a name of 1 to 31 letters, digits, -, _ or ., the first of them " \
        "no ."
#define EXPECT_PATTERN                                                                                 \
        "expected [Guest PATTERN] alone on its line, with a pattern of 1 to 255 bytes such as web-*, " \
        "a UUID or label=gold"

static const struct {
        bool is_policy;
        const char *text, *message;
} refusals[] = {
        { false, "Floor=1G\n",
          "x.conf:1: Floor=1G: expected a section such as [Host] before the first key" },
        { false, "[Host]\nnonsense\n",
          "x.conf:2: [Host]: expected [Section], Key=value, or a comment that starts with # or ;" },
        { false, "[Host]\n=5\n",
          "x.conf:2: [Host]: expected [Section], Key=value, or a comment that starts with # or ;" },
        { false, "\n\n[Host\n",
          "x.conf:3: expected ] at the end of the line, as in [Host] or [Guest web-*]" },
        { false, "[", "x.conf:1: expected ] at the end of the line, as in [Host] or [Guest web-*]" },
        { false, "[Host] # mine\n",
          "x.conf:1: expected ] at the end of the line, as in [Host] or [Guest web-*]" },
        { false, "[Hots]\n", "x.conf:1: [Hots]: unknown section, did you mean [Host]?" },
        { false, "[Deamon]\n", "x.conf:1: [Deamon]: unknown section, did you mean [Daemon]?" },
        { false, "[guest x]\n", "x.conf:1: [guest x]: unknown section, did you mean [Guest PATTERN]?" },
        { false, "[Storage]\n",
          "x.conf:1: [Storage]: unknown section, expected [Daemon], [Host], [Guest PATTERN], [Rule NAME], [Pipe NAME] or "
          "[Swap NAME]" },
        { true, "[]\n", "x.conf:1: []: unknown section, expected [Host], [Guest PATTERN], [Rule NAME], [Pipe NAME] or [Swap NAME]" },
        { false, "[Host web]\n", "x.conf:1: [Host web]: expected [Host] without anything else" },
        { true, "[Daemon]\n",
          "x.conf:1: [Daemon]: expected [Host] or [Guest PATTERN]: [Daemon] belongs into memlegod.conf" },
        { false, "[Host]\n[Guest a]\n[Host]\n",
          "x.conf:3: [Host]: expected it once in a file, it is in line 1 already" },
        { false, "[Host]\nPolicy=static\n\nPolicy=mom\n",
          "x.conf:4: [Host] Policy=mom: expected it once in a section, it is in line 2 already" },
        { false, "[Guest a]\nShares=1\nShares=\n",
          "x.conf:3: [Guest a] Shares=: expected it once in a section, it is in line 2 already" },
        { false, "[Host]\nPolcy=static\n",
          "x.conf:2: [Host] Polcy=static: unknown key, did you mean Policy=?" },
        { false, "[Host]\npolicy=static\n",
          "x.conf:2: [Host] policy=static: unknown key, did you mean Policy=?" },
        { false, "[Host]\nFloor=1G\n",
          "x.conf:2: [Host] Floor=1G: unknown key here, it belongs into [Guest PATTERN]" },
        { false, "[Guest a]\nReserve=1G\n",
          "x.conf:2: [Guest a] Reserve=1G: unknown key here, it belongs into [Host]" },
        { false, "[Daemon]\nColour=red\n",
          "x.conf:2: [Daemon] Colour=red: unknown key, expected one of: Connect, LogLevel, "
          "StatsPeriodSec, Workers, CallTimeoutSec, DryRun" },
        { false, "[Host]\nReserve=12Q\n",
          "x.conf:2: [Host] Reserve=12Q: " EXPECT_SIZE },
        { false, "[Host]\nReserve=512\n",
          "x.conf:2: [Host] Reserve=512: " EXPECT_SIZE },
        { false, "[Host]\nReserve=max\n",
          "x.conf:2: [Host] Reserve=max: " EXPECT_SIZE },
        { false, "[Host]\nGuestMemory=0%\n",
          "x.conf:2: [Host] GuestMemory=0%: " EXPECT_SIZE ", or max" },
        { false, "[Host]\nReserve=101%\n",
          "x.conf:2: [Host] Reserve=101%: " EXPECT_SIZE },
        { false, "[Host]\nPolicy=magic\n",
          "x.conf:2: [Host] Policy=magic: expected one of: proportional, equal-pressure, iballoon, idle-tax, static, mom, proxmox" },
        { false, "[Guest a]\nPredictor=oracle\n",
          "x.conf:2: [Guest a] Predictor=oracle: expected one of: ewma, last, context, holt, ar, quantile, seasonal, auto" },
        { false, "[Guest a]\nMode=on\n",
          "x.conf:2: [Guest a] Mode=on: expected one of: auto, advise, observe, off" },
        { false, "[Daemon]\nLogLevel=loud\n",
          "x.conf:2: [Daemon] LogLevel=loud: expected one of: error, warning, info, debug" },
        { false, "[Daemon]\nDryRun=maybe\n", "x.conf:2: [Daemon] DryRun=maybe: expected yes or no" },
        { false, "[Daemon]\nConnect=here\n",
          "x.conf:2: [Daemon] Connect=here: "
          "expected a libvirt URI of at most 255 characters such as qemu:///system" },
        { false, "[Daemon]\nWorkers=17\n", "x.conf:2: [Daemon] Workers=17: expected a number from 1 to 16" },
        { false, "[Daemon]\nStatsPeriodSec=1.5\n",
          "x.conf:2: [Daemon] StatsPeriodSec=1.5: " EXPECT_STATS },
        { false, "[Daemon]\nStatsPeriodSec=2min\n",
          "x.conf:2: [Daemon] StatsPeriodSec=2min: " EXPECT_STATS },
        { false, "[Daemon]\nStatsPeriodSec=x\n",
          "x.conf:2: [Daemon] StatsPeriodSec=x: " EXPECT_STATS },
        { false, "[Host]\nPollIntervalSec=10ms\n",
          "x.conf:2: [Host] PollIntervalSec=10ms: expected a time from 100ms to 1min such as 1 or 500ms" },
        { false, "[Host]\nPollIntervalSec=often\n",
          "x.conf:2: [Host] PollIntervalSec=often: expected a time from 100ms to 1min such as 1 or 500ms" },
        { false, "[Host]\nPressureLimit=0%\n",
          "x.conf:2: [Host] PressureLimit=0%: expected a part from 0.1% to 100%" },
        { false, "[Guest a]\nDeadBand=51%\n",
          "x.conf:2: [Guest a] DeadBand=51%: expected a part from 0% to 50%" },
        { false, "[Guest a]\nDeadBand=2\n",
          "x.conf:2: [Guest a] DeadBand=2: expected a part from 0% to 50%" },
        { false, "[Guest a]\nPriority=101\n",
          "x.conf:2: [Guest a] Priority=101: expected a number from -100 to 100" },
        { false, "[Guest a]\nShares=5 # five\n",
          "x.conf:2: [Guest a] Shares=5 # five: expected a number from 1 to 10000; "
          "a comment needs a line of its own" },
        { false, "[Guest a]\nFloor=512M \\\n",
          "x.conf:2: [Guest a] Floor=512M \\: expected the whole value on one line: "
          "lines cannot be continued with \\" },
        { false, "[Pipe]\n", "x.conf:1: [Pipe]: " EXPECT_PIPE },
        { false, "[Pipe a/b]\n", "x.conf:1: [Pipe a/b]: " EXPECT_PIPE },
        { false, "[Pipe ..]\n", "x.conf:1: [Pipe ..]: " EXPECT_PIPE },
        { false, "[Pipe abcdefghijklmnopqrstuvwxyz012345]\n",
          "x.conf:1: [Pipe abcdefghijklmnopqrstuvwxyz012345]: " EXPECT_PIPE },
        { false, "[Pipe a]\nGuests=*\n[Pipe a]\n",
          "x.conf:3: [Pipe a]: expected another name, there is one of this name in x.conf:1 already" },
        { true, "[Host]\n[Pipe a]\nQuota=1G\n",
          "x.conf:2: [Pipe a]: expected Guests=, the patterns of the guests that may share memory" },
        { false, "[Pipe a]\nGuests=web-[\n",
          "x.conf:2: [Pipe a] Guests=web-[: expected patterns such as web-* or label=gold, with blanks between them, "
          "at most 255 characters" },
        { false, "[Pipe a]\nRegionSize=192M\n",
          "x.conf:2: [Pipe a] RegionSize=192M: expected a power of two from 128M to 16G such as 1G" },
        { false, "[Pipe a]\nRegionSize=64M\n",
          "x.conf:2: [Pipe a] RegionSize=64M: expected a power of two from 128M to 16G such as 1G" },
        { false, "[Pipe a]\nQuota=10%\n", "x.conf:2: [Pipe a] Quota=10%: expected a size from 1M to 16G such as 256M" },
        { false, "[Pipe a]\nAttach=yes\n", "x.conf:2: [Pipe a] Attach=yes: expected auto or manual" },
        { false, "[Pipe a]\nIsolation=yes\n", "x.conf:2: [Pipe a] Isolation=yes: expected group or pair" },
        { false, "[Pipe a]\nPairsMax=9\n", "x.conf:2: [Pipe a] PairsMax=9: expected a number from 1 to 8" },
        { false, "[Pipe a]\nPairIdleSec=1\n", "x.conf:2: [Pipe a] PairIdleSec=1: expected a time from 5s to 1d such as 1min" },
        { false, "[Pipe a]\nGuests=*\nRegionSize=128M\n",
          "x.conf:1: [Pipe a]: expected Quota= to be at most RegionSize= less 80M, which tables take" },
        { false, "[Pipe a]\nFloor=1G\n", "x.conf:2: [Pipe a] Floor=1G: unknown key here, it belongs into [Guest PATTERN]" },
        { false, "[Guest a]\nQuota=1G\n", "x.conf:2: [Guest a] Quota=1G: unknown key here, it belongs into [Pipe NAME]" },
        { false, "[Swap]\n", "x.conf:1: [Swap]: expected [Swap NAME] alone on its line, with a name of 1 to 31 letters, digits, -, _ "
                              "or ., the first of them no ." },
        { false, "[Pipe a]\nGuests=*\n[Swap a]\nGuests=*\n[Swap a]\n",
          "x.conf:5: [Swap a]: expected another name, there is one of this name in x.conf:3 already" },
        { true, "[Swap a]\nShares=5\n", "x.conf:1: [Swap a]: expected Guests=, the patterns of the guests that are lent memory" },
        { false, "[Swap a]\nGuests=*\nPoolSize=64M\nQuota=64M\n",
          "x.conf:1: [Swap a]: expected Quota= to be at most PoolSize= less 1M, which tables take" },
        { false, "[Swap a]\nPoolSize=48M\n",
          "x.conf:2: [Swap a] PoolSize=48M: expected a power of two from 16M to 64G such as 1G" },
        { false, "[Swap a]\nCallbackSec=0\n",
          "x.conf:2: [Swap a] CallbackSec=0: expected a time from 500ms to 10min such as 5" },
        { false, "[Swap a]\nRegionSize=1G\n", "x.conf:2: [Swap a] RegionSize=1G: unknown key here, it belongs into [Pipe NAME]" },
        { false, "[Pipes a]\n", "x.conf:1: [Pipes a]: unknown section, did you mean [Pipe NAME]?" },
        { false, "[Guest]\n",
          "x.conf:1: [Guest]: " EXPECT_PATTERN },
        { false, "[Guest label=]\n",
          "x.conf:1: [Guest label=]: " EXPECT_PATTERN },
        { false, "[Guest a] # [x]\n",
          "x.conf:1: [Guest a] # [x]: " EXPECT_PATTERN },
        { false, "[Guest web-[0-9]\n",
          "x.conf:1: [Guest web-[0-9]: " EXPECT_PATTERN },
        { false, "[Host]\n\n# \xff\n", "x.conf:3: expected text in UTF-8 without control characters" },
        { false, "[Host]\n#\x01\n", "x.conf:2: expected text in UTF-8 without control characters" },
        { false, "[Host]\rPolicy=static\n", "x.conf:1: expected text in UTF-8 without control characters" },
        { false, "[Guest a]\nFloor=2G\nCeiling=1G\n",
          "x.conf:3: [Guest a] Ceiling=1G: expected a ceiling that is not below Floor=2G" },
        { false, "[Guest a]\nCeiling=1G\nFloor=2G\n",
          "x.conf:3: [Guest a] Floor=2G: expected a floor that is not above Ceiling=1G" },
        { false, "[Guest a]\nCeiling=20%\n",
          "x.conf:2: [Guest a] Ceiling=20%: expected a ceiling that is not below Floor=25%, the default" },
        { false, "[Guest *]\nCeiling=1G\n[Guest a]\nFloor=2G\n",
          "x.conf:4: [Guest a] Floor=2G: expected a floor that is not above Ceiling=1G" },
        { false, "[Guest a]\nFloor=2G\n[Guest b]\nShares=3\n[Guest a]\nCeiling=1G\n",
          "x.conf:6: [Guest a] Ceiling=1G: expected a ceiling that is not below Floor=2G" },
};

static void test_refusals(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(refusals); i++) {
                g_autoptr(GError) error = NULL;
                MlgConfig *c = mlg_config_load_text("x.conf", refusals[i].text, strlen(refusals[i].text),
                                                    refusals[i].is_policy, &error);

                if (c)
                        fail_msg("taken, but should not be: %s", refusals[i].text);
                assert_true(g_error_matches(error, MLG_ERROR, MLG_ERROR_CONFIG));
                assert_string_equal(error->message, refusals[i].message);
        }
}

static void assert_refused(const char *text, size_t len, const char *part) {
        g_autoptr(GError) error = NULL;

        assert_null(mlg_config_load_text("x.conf", text, len, false, &error));
        if (!strstr(error->message, part))
                fail_msg("expected \"%s\" in: %s", part, error->message);
        assert_true(g_utf8_validate(error->message, -1, NULL));
}

static void test_limits(void **state) {
        g_autoptr(GString) s = g_string_new(NULL);
        g_autofree char *large = g_strnfill(MLG_CONFIG_FILE_SIZE_MAX + 1, '\n');
        MlgConfig *c;

        assert_refused(large, MLG_CONFIG_FILE_SIZE_MAX + 1,
                       "x.conf: expected a file of at most 1048576 bytes");
        large[MLG_CONFIG_FILE_SIZE_MAX] = '\0';
        c = load_or_fail(large, false);
        c = mlg_config_free(c);

        assert_refused("[Host]\n\0", 8, "x.conf:2: expected text in UTF-8");

        for (int i = 0; i < MLG_CONFIG_SECTIONS_MAX; i++)
                g_string_append_printf(s, "[Guest g%d]\nFloor=30%%\n", i);
        c = load_or_fail(s->str, true);
        c = mlg_config_free(c);
        g_string_append(s, "[Guest more]\n");
        assert_refused(s->str, s->len, "[Guest more]: expected at most 4096 sections in all files");

        g_string_assign(s, "[Guest ");
        for (int i = 0; i < MLG_CONFIG_PATTERN_MAX; i++)
                g_string_append_c(s, 'x');
        g_string_append(s, "]\n");
        c = load_or_fail(s->str, false);
        c = mlg_config_free(c);
        g_string_insert_c(s, 8, 'x');
        assert_refused(s->str, s->len, "with a pattern of 1 to 255 bytes");

        /* Long rubbish is cut in messages, between characters. */
        g_string_assign(s, "[Host]\nReserve=");
        for (int i = 0; i < 100; i++)
                g_string_append(s, "ä");
        assert_refused(s->str, s->len, "ä...: expected a size");

        g_string_assign(s, "[Daemon]\nConnect=qemu:");
        for (int i = 0; i < 251; i++)
                g_string_append_c(s, '/');
        assert_refused(s->str, s->len, "expected a libvirt URI of at most 255");
}

/* ---- values ---- */

static void test_defaults(void **state) {
        g_autoptr(MlgConfig) c = load_or_fail("# nothing\n", false);
        const MlgDaemonSettings *d = mlg_config_daemon(c);
        MlgHostSettings host;
        MlgGuestSettings guest, found;

        mlg_host_settings_default(&host);
        mlg_guest_settings_default(&guest);
        assert_string_equal(d->connect, "qemu:///system");
        assert_int_equal(d->log_level, MLG_LOG_LEVEL_INFO);
        assert_int_equal(d->stats_period_sec, 1);
        assert_int_equal(d->workers, 4);
        assert_int_equal(d->call_timeout_usec, 3000000);
        assert_false(d->dry_run);
        assert_string_equal(mlg_config_host(c)->policy, host.policy);
        assert_int_equal(mlg_config_host(c)->reserve.permille, host.reserve.permille);
        mlg_config_guest(c, "any", UUID, NULL, &found);
        assert_int_equal(found.floor.permille, guest.floor.permille);
        assert_int_equal(found.ceiling.kib, MLG_AMOUNT_MAX);
        assert_string_equal(found.predictor, guest.predictor);
}

static void test_every_key(void **state) {
        g_autoptr(MlgConfig) c = load_or_fail(
                "\xef\xbb\xbf[Daemon]\r\n"
                "Connect = test:///default \r\n"
                "LogLevel=debug\nStatsPeriodSec=2s\nWorkers=16\nCallTimeoutSec=0.5\nDryRun=yes\n"
                "; the host\n[ Host ]\n"
                "\tPolicy=static\nReserve=1.5G\nGuestMemory=80%\nPollIntervalSec=2\n"
                "MovePollIntervalSec=100ms\n"
                "StuckSec=7s\nManualGraceSec=1h 30min\nPressureLimit=12.5%\n"
                "[Guest   web-* ]\n"
                "Mode=observe\nFloor=512M\nCeiling=75%\nShares=300\nPriority=-7\nCushion=10%\n"
                "CushionRatio=12.5%\n"
                "Predictor=last\nHorizonSec=5min\nShrinkRate=1%\nUrgentShrinkRate=50%\nGrowRate=20%\n"
                "DeadBand=0%\nCoolDownSec=0\n"
                "SettleSec=1min",
                false);
        const MlgDaemonSettings *d = mlg_config_daemon(c);
        const MlgHostSettings *h = mlg_config_host(c);
        MlgGuestSettings g;

        assert_string_equal(d->connect, "test:///default");
        assert_int_equal(d->log_level, MLG_LOG_LEVEL_DEBUG);
        assert_int_equal(d->stats_period_sec, 2);
        assert_int_equal(d->workers, 16);
        assert_int_equal(d->call_timeout_usec, 500000);
        assert_true(d->dry_run);
        assert_string_equal(h->policy, "static");
        assert_int_equal(h->reserve.kib, 1536 * 1024);
        assert_int_equal(h->guest_memory.permille, 800);
        assert_int_equal(h->poll_usec, 2000000);
        assert_int_equal(h->move_poll_usec, 100000);
        assert_int_equal(h->stuck_usec, 7000000);
        assert_int_equal(h->foreign_hold_usec, 5400000000);
        assert_int_equal(h->pressure_full_centi, 1250);
        mlg_config_guest(c, "web-1", UUID, "", &g);
        assert_int_equal(g.mode, MLG_MODE_OBSERVE);
        assert_int_equal(g.floor.kib, 512 * 1024);
        assert_int_equal(g.floor.permille, 0);
        assert_int_equal(g.ceiling.permille, 750);
        assert_int_equal(g.shares, 300);
        assert_int_equal(g.priority, -7);
        assert_int_equal(g.cushion.permille, 100);
        assert_int_equal(g.cushion_permille, 125);
        assert_string_equal(g.predictor, "last");
        assert_int_equal(g.horizon_usec, 300000000);
        assert_int_equal(g.shrink_permille, 10);
        assert_int_equal(g.urgent_permille, 500);
        assert_int_equal(g.grow_permille, 200);
        assert_int_equal(g.dead_band_permille, 0);
        assert_int_equal(g.cool_down_usec, 0);
        assert_int_equal(g.settle_usec, 60000000);
}

/* An empty value is the default again, over whatever came before. */
static void test_reset(void **state) {
        g_autoptr(MlgConfig) c = load_or_fail("[Guest *]\nShares=300\nFloor=1G\nPredictor=last\n"
                                              "[Guest a]\nShares=\nFloor=\nPredictor=\n[Host]\nPolicy=\n",
                                              false);
        MlgGuestSettings a, b;

        mlg_config_guest(c, "a", UUID, NULL, &a);
        mlg_config_guest(c, "b", UUID, NULL, &b);
        assert_int_equal(a.shares, 100);
        assert_int_equal(a.floor.permille, 250);
        assert_int_equal(a.floor.kib, 0);
        assert_string_equal(a.predictor, "ewma");
        assert_int_equal(b.shares, 300);
        assert_int_equal(b.floor.kib, 1024 * 1024);
        assert_string_equal(mlg_config_host(c)->policy, "proportional");
}

static void test_matching(void **state) {
        static const struct {
                const char *pattern, *name, *uuid, *labels;
                bool matches;
        } cases[] = {
                { "web-*", "web-1", UUID, "", true },
                { "web-*", "Web-1", UUID, "", false }, /* names differ by case */
                { "web-*", "a-web-1", UUID, "", false },
                { "web-[0-9]", "web-7", UUID, NULL, true },
                { "web-[!0-9]", "web-7", UUID, NULL, false },
                { "[]x]", "]", UUID, NULL, true },
                { "[[:digit:]]", "7", UUID, NULL, true },
                { "a\\*", "a*", UUID, NULL, true },
                { "a\\*", "ab", UUID, NULL, false },
                { "my guest", "my guest", UUID, NULL, true },
                { "4dea22b3-*", "x", UUID, NULL, true },
                { "4DEA22B3*", "x", UUID, NULL, true },
                { "4dea22b3?1d52-*", "x", UUID, NULL, true },
                { "4dea22b3", "x", UUID, NULL, false },
                { "4dea22b3", "4dea22b3", UUID, NULL, true },
                { "4dea22b31*", "x", UUID, NULL, false },
                { "4dea22*", "x", UUID, NULL, false }, /* too short to be meant as a UUID */
                { "4*", "x", UUID, NULL, false },
                { "4*", "4x", UUID, NULL, true },
                { "?dea22b3-*", "x", UUID, NULL, false },
                { "*-2516-*", "x", UUID, NULL, false },
                { "*", NULL, UUID, NULL, false },
                { "4DEA22B3-1D52-D8F3-2516-782E98AB3FA0", "x", UUID, NULL, true },
                { "*", "x", NULL, NULL, true },
                { "*", NULL, NULL, NULL, false },
                { "label=gold", "gold", UUID, "db", false },
                { "label=gold", "x", UUID, "db gold", true },
                { "label=g*", "x", UUID, " db  gold ", true },
                { "label=gold", "x", UUID, "golden", false },
                { "label=gold db", "x", UUID, "gold db", false }, /* one label at a time */
                { "label=gold", "x", UUID, NULL, false },
                { "gold", "x", UUID, "gold", false },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *text = g_strdup_printf("[Guest %s]\nShares=7\n", cases[i].pattern);
                g_autoptr(MlgConfig) c = load_or_fail(text, true);
                MlgGuestSettings g;

                print_message("[Guest %s] and %s (%s)\n", cases[i].pattern, cases[i].name, cases[i].labels);
                mlg_config_guest(c, cases[i].name, cases[i].uuid, cases[i].labels, &g);
                assert_int_equal(g.shares, cases[i].matches ? 7 : 100);
        }
}

/* Many stars must not make matching slow: a guest's name can be chosen to fit badly. */
static void test_matching_is_quick(void **state) {
        g_autoptr(GString) pattern = g_string_new("[Guest ");
        g_autofree char *name = g_strnfill(MLG_NAME_MAX, 'a');
        gint64 start = g_get_monotonic_time();
        MlgGuestSettings g;
        MlgConfig *c;

        for (int i = 0; i < 120; i++)
                g_string_append(pattern, "a*");
        g_string_append(pattern, "b]\nShares=7\n");
        c = load_or_fail(pattern->str, true);
        mlg_config_guest(c, name, UUID, NULL, &g);
        assert_int_equal(g.shares, 100);
        /* Some microseconds; an algorithm that tries all ways would need longer than the universe has. */
        assert_true(g_get_monotonic_time() - start < 10 * G_USEC_PER_SEC);
        (void) mlg_config_free(c);
}

/* Order is precedence, key by key; a pattern that names the guest exactly is worth no more than a glob. */
static void test_order(void **state) {
        g_autoptr(MlgConfig)
                c = load_or_fail("[Guest web-1]\nShares=1\nPriority=5\n[Guest web-*]\nShares=2\n"
                                 "[Guest label=x]\nShares=3\n[Guest web-1]\nMode=off\n",
                                 true);
        MlgGuestSettings g;

        mlg_config_guest(c, "web-1", UUID, NULL, &g);
        assert_int_equal(g.shares, 2);
        assert_int_equal(g.priority, 5);
        assert_int_equal(g.mode, MLG_MODE_OFF);
        mlg_config_guest(c, "web-1", UUID, "x", &g);
        assert_int_equal(g.shares, 3);
}

/* A size and a part cannot be compared here, and a pattern that other sections may correct is not
 * refused. */
static void test_limits_that_may_fit(void **state) {
        static const char *const texts[] = {
                "[Guest a]\nCeiling=64M\n",
                "[Guest a]\nFloor=1G\nCeiling=50%\n",
                "[Guest a]\nFloor=1G\nCeiling=1G\n",
                "[Guest a]\nFloor=100%\nCeiling=max\n",
                "[Guest a]\nFloor=2G\n[Guest b]\nCeiling=1G\n",
                "[Guest a]\nFloor=2G\n[Guest a]\nFloor=1G\nCeiling=1G\n",
                "[Guest a]\nCeiling=10%\n[Guest *]\nFloor=5%\n",
        };

        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
                (void) mlg_config_free(load_or_fail(texts[i], true));
}

#define GIB(n) (UINT64_C(1024) * 1024 * (n))

/* A reserve that leaves nothing for guests is a mistake that can only be seen with the host. */
static void test_check_host(void **state) {
        static const struct {
                const char *text;
                uint64_t total_kib;
                const char *message; /* NULL: it is taken */
        } cases[] = {
                { "", GIB(64), NULL },
                { "", 1024, NULL },
                { "[Host]\nReserve=60G\n", GIB(64), NULL },
                { "[Host]\nReserve=93.7%\n", GIB(64), NULL },
                { "[Host]\nReserve=61441M\n", GIB(64),
                  "x.conf:2: [Host] Reserve=61441M: expected at most 61440M: "
                  "1/16 of the host's 64 GiB must be left for guests" },
                { "[Host]\nReserve=1T\n", GIB(64), "x.conf:2: [Host] Reserve=1T: expected at most 61440M" },
                { "\n[Host]\nPolicy=static\nReserve=100%\n", GIB(1),
                  "x.conf:4: [Host] Reserve=100%: expected at most 960M" },
                { "[Host]\nReserve=93.8%\n", GIB(64), "x.conf:2: [Host] Reserve=93.8%: expected at most" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(MlgConfig) c = load_or_fail(cases[i].text, false);
                g_autoptr(GError) error = NULL;
                bool ok = mlg_config_check_host(c, cases[i].total_kib, &error);

                if (ok != !cases[i].message)
                        fail_msg("%s: %s", cases[i].text, ok ? "taken" : error->message);
                if (!ok && (!g_str_has_prefix(error->message, cases[i].message) ||
                            !g_error_matches(error, MLG_ERROR, MLG_ERROR_CONFIG)))
                        fail_msg("expected \"%s\": %s", cases[i].message, error->message);
        }
}

/* ---- files ---- */

typedef struct Tree {
        char *dir, *main, *policy_dir;
} Tree;

static void tree_write(const Tree *t, const char *name, const char *text) {
        g_autofree char *path = g_build_filename(t->dir, name, NULL);

        assert_true(g_file_set_contents(path, text, -1, NULL));
}

static int tree_setup(void **state) {
        Tree *t = g_new0(Tree, 1);

        t->dir = g_dir_make_tmp("memlego-config-XXXXXX", NULL);
        t->main = g_build_filename(t->dir, "memlegod.conf", NULL);
        t->policy_dir = g_build_filename(t->dir, "policy.d", NULL);
        *state = t;
        return t->dir && g_mkdir(t->policy_dir, 0755) == 0 ? 0 : -1;
}

static int tree_teardown(void **state) {
        Tree *t = *state;
        const char *argv[] = { "rm", "-rf", t->dir, NULL };

        (void) g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                            NULL);
        g_free(t->dir);
        g_free(t->main);
        g_free(t->policy_dir);
        g_free(t);
        return 0;
}

static void assert_load_fails(const Tree *t, const char *part) {
        g_autoptr(GError) error = NULL;
        MlgConfig *c = mlg_config_load(t->main, true, &error);

        assert_null(c);
        if (!strstr(error->message, part))
                fail_msg("expected \"%s\" in: %s", part, error->message);
        assert_true(g_str_has_prefix(error->message, t->dir));
}

static void test_files(void **state) {
        const Tree *t = *state;
        g_autoptr(GError) error = NULL;
        g_autoptr(MlgConfig) c = NULL;
        MlgGuestSettings g;

        tree_write(t, "memlegod.conf", "[Guest *]\nShares=1\nPriority=1\n[Host]\nStuckSec=9\n");
        tree_write(t, "policy.d/50-b.policy", "[Guest *]\nShares=3\n[Host]\nStuckSec=11\n");
        tree_write(t, "policy.d/10-a.policy", "[Guest *]\nShares=2\nMode=observe\n[Host]\nStuckSec=10\n");
        tree_write(t, "policy.d/5-c.policy",
                   "[Guest *]\nShares=4\n"); /* "5" is after "10" and "50-": strcmp order */
        tree_write(t, "policy.d/.hidden.policy", "rubbish");
        tree_write(t, "policy.d/60-d.policy~", "rubbish");
        tree_write(t, "policy.d/60-d.policy.dpkg-old", "rubbish");
        tree_write(t, "policy.d/60-d.dpkg-new.policy", "rubbish");
        tree_write(t, "policy.d/README", "rubbish");
        c = mlg_config_load(t->main, true, &error);
        if (!c)
                fail_msg("%s", error->message);
        mlg_config_guest(c, "x", UUID, NULL, &g);
        assert_int_equal(g.shares, 3);
        assert_int_equal(g.priority, 1);
        assert_int_equal(g.mode, MLG_MODE_OBSERVE);
        assert_int_equal(mlg_config_host(c)->stuck_usec, 11000000);
}

static void test_missing_files(void **state) {
        const Tree *t = *state;
        g_autofree char *alone = g_build_filename(t->dir, "none", "memlegod.conf", NULL);
        g_autoptr(GError) error = NULL;
        MlgConfig *c;

        assert_load_fails(t, "memlegod.conf: cannot read it: No such file or directory");
        tree_write(t, "policy.d/a.policy", "[Host]\nPolicy=static\n");
        c = mlg_config_load(t->main, false, &error);
        assert_non_null(c);
        assert_string_equal(mlg_config_host(c)->policy, "static");
        c = mlg_config_free(c);

        c = mlg_config_load(alone, false, &error); /* neither file nor directory */
        assert_non_null(c);
        (void) mlg_config_free(c);

        assert_int_equal(symlink("/nowhere", t->main), 0); /* somebody's file is gone */
        assert_null(mlg_config_load(t->main, false, &error));
        assert_non_null(strstr(error->message, "memlegod.conf: cannot read it: No such file or directory"));
}

/* As with systemd, a link to /dev/null takes a file out of force. */
static void test_masked_files(void **state) {
        const Tree *t = *state;
        g_autofree char *link = g_build_filename(t->policy_dir, "10-a.policy", NULL);
        g_autoptr(GError) error = NULL;
        g_autoptr(MlgConfig) c = NULL;
        MlgGuestSettings g;

        assert_int_equal(symlink("/dev/null", t->main), 0);
        assert_int_equal(symlink("/dev/null", link), 0);
        tree_write(t, "policy.d/20-b.policy", "[Guest *]\nShares=3\n");
        c = mlg_config_load(t->main, true, &error);
        if (!c)
                fail_msg("%s", error->message);
        mlg_config_guest(c, "x", UUID, NULL, &g);
        assert_int_equal(g.shares, 3);
}

static void test_bad_files(void **state) {
        const Tree *t = *state;
        g_autofree char *link = g_build_filename(t->policy_dir, "a.policy", NULL);
        g_autofree char *large = g_strnfill(MLG_CONFIG_FILE_SIZE_MAX + 1, '#');

        tree_write(t, "memlegod.conf", "");
        assert_int_equal(symlink("/nowhere", link), 0);
        assert_load_fails(t, "a.policy: cannot read it: No such file or directory");
        assert_int_equal(g_unlink(link), 0);

        assert_int_equal(g_mkdir(link, 0755), 0);
        assert_load_fails(t, "a.policy: expected a regular file");
        assert_int_equal(g_rmdir(link), 0);

        assert_int_equal(symlink("/dev/zero", link), 0);
        assert_load_fails(t, "a.policy: expected a regular file");
        assert_int_equal(g_unlink(link), 0);

        assert_int_equal(mkfifo(link, 0644), 0); /* must not wait for a writer */
        assert_load_fails(t, "a.policy: expected a regular file");
        assert_int_equal(g_unlink(link), 0);

        tree_write(t, "policy.d/a.policy", large);
        assert_load_fails(t, "a.policy: expected a file of at most 1048576 bytes");
        tree_write(t, "policy.d/a.policy", "[Guest a]\nFloor=30%\nCeiling=20%\n");
        assert_load_fails(
                t,
                "policy.d/a.policy:3: [Guest a] Ceiling=20%: expected a ceiling that is not "
                             "below Floor=30%");
        tree_write(t, "policy.d/a.policy", "[Daemon]\n");
        assert_load_fails(t, "policy.d/a.policy:1: [Daemon]: expected [Host]");

        assert_int_equal(g_unlink(link), 0);
        for (int i = 0; i < MLG_CONFIG_FILES_MAX + 1; i++) {
                g_autofree char *name = g_strdup_printf("policy.d/%d.policy", i);

                tree_write(t, name, "");
        }
        assert_load_fails(t, "policy.d: expected at most 256 policy files");
}

static void test_policy_dir_is_no_directory(void **state) {
        const Tree *t = *state;

        tree_write(t, "memlegod.conf", "");
        assert_int_equal(g_rmdir(t->policy_dir), 0);
        tree_write(t, "policy.d", "");
        assert_load_fails(t, "policy.d: cannot read it: Not a directory");
}

/* A file's name may be anything; what is shown of it is one line of text. */
static void test_strange_names(void **state) {
        const Tree *t = *state;
        g_autoptr(GError) error = NULL;
        g_autoptr(MlgConfig) c = NULL, again = NULL;
        g_autofree char *text = NULL;

        tree_write(t, "memlegod.conf", "");
        tree_write(t, "policy.d/a\nShares=5\xff.policy", "[Guest *]\nShares=3\n");
        c = mlg_config_load(t->main, true, &error);
        assert_non_null(c);
        text = mlg_config_to_text(c);
        assert_true(g_utf8_validate(text, -1, NULL));
        again = load_or_fail(text, false);
}

/* ---- what people are told ---- */

static void assert_diff(const MlgConfig *old, const MlgConfig *new_, const char *const *expected) {
        g_auto(GStrv) lines = mlg_config_diff(old, new_);

        for (size_t i = 0; lines[i] || expected[i]; i++) {
                if (!lines[i] || !expected[i])
                        fail_msg("line %zu: %s, expected %s", i, lines[i], expected[i]);
                assert_string_equal(lines[i], expected[i]);
        }
}

static void test_swaps(void **state) {
        static const char text[] = "[Swap a]\nGuests=web-*\nQuota=64M\nPoolSize=128M\n"
                                   "[Swap b]\nGuests=web-1\nShares=300\nCallbackSec=2\nAttach=manual\n[Pipe a]\nGuests=*\n";
        g_autoptr(MlgConfig) none = load_or_fail("", false), c = load_or_fail(text, true), again = NULL;
        g_autofree char *all = mlg_config_to_text(c);
        MlgSwapSettings s;

        assert_int_equal(mlg_config_n_swaps(none), 0);
        assert_int_equal(mlg_config_n_swaps(c), 2);
        assert_int_equal(mlg_config_n_pipes(c), 1);
        assert_string_equal(mlg_config_swap(c, 0, &s), "a");
        assert_int_equal(s.quota_kib, 64 * 1024);
        assert_int_equal(s.pool_kib, 128 * 1024);
        assert_int_equal(s.shares, 100);
        assert_true(s.attach);
        assert_string_equal(mlg_config_swap_of(c, "web-2", NULL, "", &s), "a");
        assert_string_equal(mlg_config_swap_of(c, "web-1", NULL, "", &s), "b");
        assert_int_equal(s.shares, 300);
        assert_int_equal(s.callback_usec, 2000000);
        assert_false(s.attach);
        assert_null(mlg_config_swap_of(c, "db", NULL, "", &s));
        assert_string_equal(mlg_config_pipe_of(c, "db", NULL, ""), "a");
        again = load_or_fail(all, false);
        assert_int_equal(mlg_config_n_swaps(again), 2);
        assert_string_equal(mlg_config_swap_of(again, "web-1", NULL, "", &s), "b");
        assert_int_equal(s.shares, 300);
        assert_diff(none, c, (const char *const[]) { "[Swap a] added (x.conf:1)", "[Swap b] added (x.conf:5)",
                                                     "[Pipe a] added (x.conf:10)", NULL });
}

static void test_pipes(void **state) {
        static const char text[] = "[Pipe a]\nGuests=web-* label=gold\nQuota=64M\n"
                                   "[Pipe b]\nGuests=web-1  4dea22b3-*\nRegionSize=4G\nAttach=manual\n";
        g_autoptr(MlgConfig) none = load_or_fail("", false), c = load_or_fail(text, true), again = NULL;
        g_autofree char *all = mlg_config_to_text(c);
        MlgPipeSettings s;

        assert_int_equal(mlg_config_n_pipes(none), 0);
        assert_int_equal(mlg_config_n_pipes(c), 2);
        assert_string_equal(mlg_config_pipe(c, 0, &s), "a");
        assert_int_equal(s.quota_kib, 64 * 1024);
        assert_int_equal(s.region_kib, 1024 * 1024);
        assert_true(s.attach);
        assert_string_equal(mlg_config_pipe(c, 1, &s), "b");
        assert_int_equal(s.region_kib, 4096 * 1024);
        assert_false(s.attach);
        assert_string_equal(mlg_config_pipe_of(c, "web-2", NULL, ""), "a");
        assert_string_equal(mlg_config_pipe_of(c, "web-1", NULL, ""), "b"); /* the last one */
        assert_string_equal(mlg_config_pipe_of(c, "x", NULL, "silver gold"), "a");
        assert_string_equal(mlg_config_pipe_of(c, "x", "4dea22b3-0ee8-4b6c-9a26-5f6dd7b6b001", ""), "b");
        assert_null(mlg_config_pipe_of(c, "x", NULL, NULL));
        assert_diff(none, c, (const char *const[]) { "[Pipe a] added (x.conf:1)", "[Pipe b] added (x.conf:4)", NULL });
        assert_diff(c, none, (const char *const[]) { "[Pipe a] gone", "[Pipe b] gone", NULL });
        again = load_or_fail(all, false);
        assert_int_equal(mlg_config_n_pipes(again), 2);
        assert_string_equal(mlg_config_pipe(again, 1, &s), "b");
        assert_string_equal(s.guests, "web-1  4dea22b3-*");
        assert_int_equal(s.region_kib, 4096 * 1024);
        assert_false(s.attach);
        (void) mlg_config_free(g_steal_pointer(&again));
        again = load_or_fail("[Pipe a]\nGuests=web-* label=gold\nQuota=65M\nRegionSize=2G\n", false);
        assert_diff(c, again, (const char *const[]) {
                "[Pipe a] RegionSize: 1G -> 2G (x.conf:4), takes effect when memlegod is started anew",
                "[Pipe a] Quota: 64M -> 65M (x.conf:3)", "[Pipe b] gone", NULL });
}

static void test_diff(void **state) {
        g_autoptr(MlgConfig)
                a = load_or_fail("[Daemon]\nLogLevel=info\n[Host]\nStuckSec=7\n[Guest web-*]\nFloor=25%\n"
                                 "[Guest gone]\nMode=off\n[Guest empty]\n",
                                 false);
        g_autoptr(MlgConfig)
                same = load_or_fail("# moved\n[Host]\nStuckSec=7000ms\n[Guest web-*]\nFloor=25.0%\n"
                                    "[Guest gone]\nMode=off\n[Guest other]\n",
                                    false);
        g_autoptr(MlgConfig)
                b = load_or_fail("[Daemon]\nConnect=test:///x\n[Host]\nPolicy=static\n"
                                 "[Guest web-*]\nFloor=512M\nShares=7\n[Guest new]\nPriority=1\n",
                                 false);

        assert_diff(a, a, (const char *const[]) { NULL });
        assert_diff(a, same, (const char *const[]) { NULL });
        assert_diff(
                a, b,
                (const char *const[]) {
                        "[Daemon] Connect: qemu:///system -> test:///x (x.conf:2), "
                        "takes effect when memlegod is started anew",
                        "[Host] Policy: proportional -> static (x.conf:4)",
                        "[Host] StuckSec: 7s -> 5s (default)", "[Guest web-*] Floor: 25% -> 512M (x.conf:6)",
                        "[Guest web-*] Shares: not set -> 7 (x.conf:7)",
                        "[Guest new] Priority: not set -> 1 (x.conf:9)",
                        "[Guest gone] Mode: off -> not set (x.conf:8)", NULL });
}

/* Order is precedence: it is a change where two patterns set the same key, and none where they do not. */
static void test_diff_order(void **state) {
        g_autoptr(MlgConfig)
                a = load_or_fail("[Guest web-*]\nFloor=30%\nShares=3\n[Guest *-1]\nFloor=40%\n", true);
        g_autoptr(MlgConfig)
                b = load_or_fail("[Guest *-1]\nFloor=40%\n[Guest web-*]\nFloor=30%\nShares=3\n", true);
        g_autoptr(MlgConfig) c = load_or_fail("[Guest web-*]\nShares=9\nFloor=30%\n[Guest *-1]\nFloor=40%\n"
                                              "[Guest web-*]\nShares=3\n",
                                              true);

        assert_diff(a, b,
                    (const char *const[]) {
                            "[Guest] sections stand in another order: later override earlier",
                            NULL });
        assert_diff(a, c, (const char *const[]) { NULL });
}

/* Where two files set the same key, the one that counts is named, relative to the configuration's
 * directory. */
static void test_diff_origin(void **state) {
        const Tree *t = *state;
        g_autoptr(MlgConfig) a = NULL, b = NULL;

        tree_write(t, "memlegod.conf", "[Guest a]\nShares=1\n");
        a = mlg_config_load(t->main, true, NULL);
        tree_write(t, "policy.d/50-web.policy", "# web\n[Guest a]\nShares=2\n[Guest a]\nShares=3\n");
        b = mlg_config_load(t->main, true, NULL);
        assert_non_null(a);
        assert_non_null(b);
        g_auto(GStrv) lines = mlg_config_diff(a, b);
        assert_int_equal(g_strv_length(lines), 1);
        assert_string_equal(lines[0], "[Guest a] Shares: 1 -> 3 (policy.d/50-web.policy:5)");
}

static void assert_same_settings(const MlgConfig *a, const MlgConfig *b) {
        static const char *const names[] = { "web-1", "db", "x", UUID };

        for (size_t i = 0; i < G_N_ELEMENTS(names) * 2; i++) {
                MlgOptionSettings x = {}, y = {};

                mlg_config_guest(a, names[i / 2], UUID, i % 2 ? "gold" : NULL, &x.guest);
                mlg_config_guest(b, names[i / 2], UUID, i % 2 ? "gold" : NULL, &y.guest);
                for (size_t k = 0; k < mlg_option_count(); k++)
                        if (mlg_option_at(k)->section == MLG_OPTION_GUEST) {
                                g_autofree char *s = mlg_option_format(mlg_option_at(k), &x);
                                g_autofree char *u = mlg_option_format(mlg_option_at(k), &y);

                                assert_string_equal(s, u);
                        }
        }
}

static void test_to_text(void **state) {
        g_autoptr(MlgConfig) c = load_or_fail(
                "[Guest *]\nFloor=30%\n[Daemon]\nWorkers=2\n[Guest web-*]\nCeiling=1.5G\nFloor=\n"
                "CoolDownSec=1500ms\nCushion=0\n[Guest label=g*]\nShares=3\n[Guest *]\n"
                "Priority=-3\nSettleSec=1us\n",
                false);
        g_autofree char *text = mlg_config_to_text(c), *text2 = NULL;
        g_autoptr(MlgConfig) again = load_or_fail(text, false);

        assert_same_settings(c, again);
        assert_int_equal(mlg_config_daemon(again)->workers, 2);
        assert_non_null(strstr(text, "# x.conf:4\nWorkers=2\n"));
        assert_non_null(strstr(text, "# default\nConnect=qemu:///system\n"));
        assert_non_null(
                strstr(text,
                       "# x.conf:5\n[Guest web-*]\n# x.conf:7\nFloor=25%\n# x.conf:6\nCeiling=1536M\n"));
        text2 = mlg_config_to_text(again);
        assert_non_null(strstr(text2, "Ceiling=1536M\n"));
}

/* ---- the table, the file, the manual pages ---- */

static size_t size_of_type(MlgOptionType type) {
        switch (type) {
        case MLG_OPTION_URI:
        case MLG_OPTION_PATTERNS:
                return 256;
        case MLG_OPTION_POLICY:
        case MLG_OPTION_PREDICTOR:
                return 32;
        case MLG_OPTION_LOG_LEVEL:
                return sizeof(MlgLogLevel);
        case MLG_OPTION_MODE:
                return sizeof(MlgMode);
        case MLG_OPTION_MONITOR:
                return sizeof(MlgMonitorMode);
        case MLG_OPTION_RECLAIM:
                return sizeof(MlgReclaimMode);
        case MLG_OPTION_BOOL:
        case MLG_OPTION_ATTACH:
        case MLG_OPTION_ISOLATION:
                return sizeof(bool);
        case MLG_OPTION_U32:
        case MLG_OPTION_I32:
        case MLG_OPTION_SECONDS:
        case MLG_OPTION_PERMILLE:
        case MLG_OPTION_CENTI:
                return 4;
        case MLG_OPTION_USEC:
        case MLG_OPTION_SIZE:
        case MLG_OPTION_SIZE_2:
                return 8;
        case MLG_OPTION_AMOUNT:
        case MLG_OPTION_AMOUNT_MAX:
                return sizeof(MlgAmount);
        case _MLG_OPTION_TYPE_MAX:
                break;
        }
        return 0;
}

/* Each row fits its field, and each default is a value that could be written. */
static void test_table(void **state) {
        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);
                MlgOptionSettings defaults, parsed = {};
                g_autofree char *text = NULL, *back = NULL, *expected = NULL;

                print_message("%s\n", o->key);
                assert_int_equal(o->size, size_of_type(o->type));
                mlg_option_defaults(o->section, &defaults);
                text = mlg_option_format(o, &defaults);
                assert_int_equal(mlg_option_parse(o, text, &parsed, &expected), 0);
                back = mlg_option_format(o, &parsed);
                assert_string_equal(back, text);
                for (size_t k = 0; k < i; k++)
                        assert_false(mlg_option_at(k)->section == o->section && g_str_equal(mlg_option_at(k)->key, o->key));
        }
}

/* By "Section Key", or where the section is not known (manual pages) by "Key". */
typedef struct Documented {
        char *value;
} Documented;

static void documented_free(void *p) {
        Documented *d = p;

        g_free(d->value);
        g_free(d);
}

/* Every key is documented once with its default, and nothing else is. */
static void assert_documents(GHashTable *found, const char *where, unsigned int sections) {
        size_t n = 0;

        for (size_t i = 0; i < mlg_option_count(); i++) {
                const MlgOption *o = mlg_option_at(i);
                g_autofree char *in_section = g_strconcat(mlg_option_section_to_string(o->section), " ", o->key, NULL);
                const Documented *d = g_hash_table_lookup(found, in_section);
                MlgOptionSettings defaults;
                g_autofree char *value = NULL;

                d = d ? d : g_hash_table_lookup(found, o->key);

                if (!(sections & 1u << o->section))
                        continue;
                n++;
                if (!d)
                        fail_msg("%s does not mention %s=", where, o->key);
                mlg_option_defaults(o->section, &defaults);
                value = mlg_option_format(o, &defaults);
                if (*value != '\0' && strcmp(d->value, value) != 0) /* without a default there is an example */
                        fail_msg("%s says that the default of %s= is %s, but it is %s", where, o->key,
                                 d->value, value);
        }
        if (g_hash_table_size(found) != n) {
                g_autoptr(GList) keys = g_hash_table_get_keys(found);

                for (GList *k = keys; k; k = k->next)
                        print_message("%s mentions %s=\n", where, (const char *) k->data);
                fail_msg("%s mentions %u keys, there are %zu", where, g_hash_table_size(found), n);
        }
}

static char **read_lines(const char *name) {
        g_autofree char *path = g_build_filename(g_getenv("MLG_SOURCE_ROOT"), name, NULL);
        g_autofree char *text = NULL;

        if (!g_file_get_contents(path, &text, NULL, NULL))
                fail_msg("cannot read %s", path);
        return g_strsplit(text, "\n", -1);
}

static void add_documented(GHashTable *found, const char *where, const char *section, char *key,
                           const char *value) {
        char *name = section ? g_strconcat(section, " ", key, NULL) : g_strdup(key);
        Documented *d = g_new0(Documented, 1);

        if (g_hash_table_contains(found, name))
                fail_msg("%s mentions %s= twice", where, name);
        d->value = g_strdup(value);
        g_hash_table_insert(found, name, d);
        g_free(key);
}

static void test_file_documents_all(void **state) {
        g_autoptr(GHashTable)
                found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, documented_free);
        g_autoptr(GRegex) key = g_regex_new("^#([A-Za-z]+)=(.*)$", 0, 0, NULL);
        g_auto(GStrv) lines = read_lines("conf/memlegod.conf");
        const char *section = "none";

        for (char **l = lines; *l; l++) {
                g_autoptr(GMatchInfo) match = NULL;

                for (int s = 0; s < _MLG_OPTION_SECTION_MAX; s++)
                        if ((**l == '[' || g_str_has_prefix(*l, "#[")) &&
                            g_str_has_prefix(*l + strspn(*l, "#["), mlg_option_section_to_string(s)))
                                section = mlg_option_section_to_string(s);
                if (g_regex_match(key, *l, 0, &match)) {
                        g_autofree char *value = g_match_info_fetch(match, 2);

                        add_documented(found, "memlegod.conf", section, g_match_info_fetch(match, 1), value);
                }
        }
        assert_documents(found, "memlegod.conf", ~0u);
}

/* As it is installed it changes nothing; with all comments of keys taken away it still is the defaults. */
static void test_file_loads(void **state) {
        g_autoptr(GRegex) commented = g_regex_new("^#([A-Za-z]+=|\\[)", G_REGEX_MULTILINE, 0, NULL);
        g_autoptr(MlgConfig) none = load_or_fail("", false), as_is = NULL, all = NULL;
        g_auto(GStrv) lines = read_lines("conf/memlegod.conf");
        g_autofree char *text = g_strjoinv("\n", lines);
        g_autofree char *uncommented = g_regex_replace(commented, text, -1, 0, "\\1", 0, NULL);

        as_is = load_or_fail(text, false);
        assert_diff(none, as_is, (const char *const[]) { NULL });
        all = load_or_fail(uncommented, false);
        assert_same_settings(none, all);
}

static void test_examples_load(void **state) {
        static const char *const names[] = { "10-classes.policy", "50-web.policy", "90-small-host.policy" };

        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                g_autofree char *path = g_build_filename("conf/examples", names[i], NULL);
                g_auto(GStrv) lines = read_lines(path);
                g_autofree char *text = g_strjoinv("\n", lines);

                (void) mlg_config_free(load_or_fail(text, true));
        }
}

/* In the pages a key is a paragraph that starts with `.BR Key= " (default: VALUE)"`. */
static void check_page(const char *page, unsigned int sections) {
        g_autoptr(GHashTable)
                found = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, documented_free);
        g_autoptr(GRegex) key = g_regex_new("^\\.BR ([A-Za-z]+)= \" \\(default: (.*)\\)\"$", 0, 0, NULL);
        g_auto(GStrv) lines = read_lines(page);

        for (char **l = lines; *l; l++) {
                g_autoptr(GMatchInfo) match = NULL;

                if (g_regex_match(key, *l, 0, &match)) {
                        g_autofree char *value = g_match_info_fetch(match, 2);

                        add_documented(found, page, NULL, g_match_info_fetch(match, 1), value);
                } else if (g_str_has_prefix(*l, ".BR ") && strstr(*l, "(default"))
                        fail_msg("%s: cannot read %s", page, *l);
        }
        assert_documents(found, page, sections);
}

static void test_pages_document_all(void **state) {
        check_page("man/memlegod.conf.5", 1u << MLG_OPTION_DAEMON | 1u << MLG_OPTION_HOST);
        check_page("man/memlego-policy.5", 1u << MLG_OPTION_GUEST);
        check_page("man/memlego-pipe.7", 1u << MLG_OPTION_PIPE);
        check_page("man/memlego-swap.7", 1u << MLG_OPTION_SWAP);
}

static void test_free_nothing(void **state) {
        assert_null(mlg_config_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_pipes),
                cmocka_unit_test(test_swaps),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_every_key),
                cmocka_unit_test(test_reset),
                cmocka_unit_test(test_matching),
                cmocka_unit_test(test_matching_is_quick),
                cmocka_unit_test(test_order),
                cmocka_unit_test(test_limits_that_may_fit),
                cmocka_unit_test(test_check_host),
                cmocka_unit_test_setup_teardown(test_files, tree_setup, tree_teardown),
                cmocka_unit_test_setup_teardown(test_missing_files, tree_setup, tree_teardown),
                cmocka_unit_test_setup_teardown(test_masked_files, tree_setup, tree_teardown),
                cmocka_unit_test_setup_teardown(test_bad_files, tree_setup, tree_teardown),
                cmocka_unit_test_setup_teardown(test_policy_dir_is_no_directory, tree_setup, tree_teardown),
                cmocka_unit_test_setup_teardown(test_strange_names, tree_setup, tree_teardown),
                cmocka_unit_test(test_diff),
                cmocka_unit_test(test_diff_order),
                cmocka_unit_test_setup_teardown(test_diff_origin, tree_setup, tree_teardown),
                cmocka_unit_test(test_to_text),
                cmocka_unit_test(test_table),
                cmocka_unit_test(test_file_documents_all),
                cmocka_unit_test(test_file_loads),
                cmocka_unit_test(test_examples_load),
                cmocka_unit_test(test_pages_document_all),
                cmocka_unit_test(test_free_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
