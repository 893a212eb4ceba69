/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config options: the table of all keys; text -> field, field -> text.
 *
 * Invariants: a row's type fits its field (a unit test checks it); a value outside its range, or not wholly
 * such a value, is refused with words that say what would be right. Limits carry their reason in the row. */
#include "service/config-private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/plugins.h"
#include "policies/registry.h"
#include "predict/registry.h"
#include "util/parse.h"
#include "util/util.h"

#define SEC(n) (INT64_C(1000000) * (n))
#define MSEC(n) (INT64_C(1000) * (n))
#define MIB(n) (INT64_C(1024) * (n))

/* A size below this is one whose unit was forgotten: "Floor=512" would be 512 bytes. */
#define SIZE_MIN MIB(16)
#define ANY_SIZE INT64_MAX

#define EXPECT_SIZE "expected a size of at least 16M such as 512M or 1.5G, or a part such as 25%"

#define FIELD(settings, field) offsetof(settings, field), sizeof(((settings *) NULL)->field)
#define DAEMON(key, field, type, min, max, expected, at_start) \
        { \
                MLG_OPTION_DAEMON, key, MLG_OPTION_##type, FIELD(MlgDaemonSettings, field), min, max, \
                        expected, at_start \
        }
#define HOST(key, field, type, min, max, expected) \
        { MLG_OPTION_HOST, key, MLG_OPTION_##type, FIELD(MlgHostSettings, field), min, max, expected, false }
#define GUEST(key, field, type, min, max, expected) \
        { \
                MLG_OPTION_GUEST, key, MLG_OPTION_##type, FIELD(MlgGuestSettings, field), min, max, \
                        expected, false \
        }
#define PIPE(key, field, type, min, max, expected, at_start) \
        { \
                MLG_OPTION_PIPE, key, MLG_OPTION_##type, FIELD(MlgPipeSettings, field), min, max, expected, \
                        at_start \
        }

#define SWAP(key, field, type, min, max, expected, at_start) \
        { \
                MLG_OPTION_SWAP, key, MLG_OPTION_##type, FIELD(MlgSwapSettings, field), min, max, expected, \
                        at_start \
        }

static const MlgOption options[] = {
        DAEMON("Connect", connect, URI, 0, 0,
               "expected a libvirt URI of at most 255 characters such as qemu:///system", true),
        DAEMON("LogLevel", log_level, LOG_LEVEL, 0, 0, NULL, false),
        /* libvirt takes whole seconds; slower than a minute nothing could be balanced by it. */
        DAEMON("StatsPeriodSec", stats_period_sec, SECONDS, 0, 60,
               "expected whole seconds from 1 to 60, or 0 to leave statistics off where they are off",
               false),
        /* libvirtd itself serves no more than 20 calls at once. */
        DAEMON("Workers", workers, U32, 1, 16, "expected a number from 1 to 16", true),
        DAEMON("CallTimeoutSec", call_timeout_usec, USEC, MSEC(100), SEC(60),
               "expected a time from 100ms to 1min such as 2 or 500ms", false),
        DAEMON("DryRun", dry_run, BOOL, 0, 0, "expected yes or no", true),

        HOST("Policy", policy, POLICY, 0, 0, NULL),
        HOST("Reserve", reserve, AMOUNT, SIZE_MIN, ANY_SIZE, EXPECT_SIZE),
        HOST("GuestMemory", guest_memory, AMOUNT_MAX, SIZE_MIN, ANY_SIZE, EXPECT_SIZE ", or max"),
        HOST("PollIntervalSec", poll_usec, USEC, MSEC(100), SEC(60),
             "expected a time from 100ms to 1min such as 1 or 500ms"),
        HOST("MovePollIntervalSec", move_poll_usec, USEC, MSEC(50), SEC(60),
             "expected a time from 50ms to 1min such as 200ms"),
        HOST("StuckSec", stuck_usec, USEC, SEC(1), SEC(600), "expected a time from 1s to 10min such as 5"),
        HOST("ManualGraceSec", foreign_hold_usec, USEC, 0, SEC(86400),
             "expected a time from 0 to 1d such as 5min"),
        /* Shorter than it takes to read one and to answer it, nobody could. */
        HOST("ProposalSec", proposal_usec, USEC, SEC(30), SEC(86400), "expected a time from 30s to 1d such as 15min"),
        HOST("PressureLimit", pressure_full_centi, CENTI, 10, 10000, "expected a part from 0.1% to 100%"),

        GUEST("Mode", mode, MODE, 0, 0, "expected one of: auto, advise, observe, off"),
        GUEST("Monitor", monitor, MONITOR, 0, 0, "expected one of: auto, attach, agent, off"),
        GUEST("Reclaim", reclaim, RECLAIM, 0, 0, "expected one of: off, cgroup"),
        GUEST("Floor", floor, AMOUNT, SIZE_MIN, ANY_SIZE, EXPECT_SIZE),
        GUEST("Ceiling", ceiling, AMOUNT_MAX, SIZE_MIN, ANY_SIZE, EXPECT_SIZE ", or max"),
        GUEST("Shares", shares, U32, 1, 10000, "expected a number from 1 to 10000"),
        GUEST("Priority", priority, I32, -100, 100, "expected a number from -100 to 100"),
        GUEST("Cushion", cushion, AMOUNT, 0, ANY_SIZE, "expected a size such as 64M, or a part such as 10%"),
        GUEST("CushionRatio", cushion_permille, PERMILLE, 0, 1000, "expected a part from 0% to 100%"),
        GUEST("Predictor", predictor, PREDICTOR, 0, 0, NULL),
        /* A rate of nothing would hold a guest for ever: that is what Mode=observe says plainly. */
        GUEST("HorizonSec", horizon_usec, USEC, SEC(1), SEC(3600), "expected a time from 1s to 1h such as 5min"),
        GUEST("ShrinkRate", shrink_permille, PERMILLE, 1, 1000,
              "expected a part per second from 0.1% to 100%"),
        GUEST("UrgentShrinkRate", urgent_permille, PERMILLE, 1, 1000,
              "expected a part per second from 0.1% to 100%"),
        GUEST("GrowRate", grow_permille, PERMILLE, 1, 1000, "expected a part per second from 0.1% to 100%"),
        GUEST("DeadBand", dead_band_permille, PERMILLE, 0, 500, "expected a part from 0% to 50%"),
        GUEST("CoolDownSec", cool_down_usec, USEC, 0, SEC(3600), "expected a time from 0 to 1h such as 30"),
        GUEST("SettleSec", settle_usec, USEC, 0, SEC(3600), "expected a time from 0 to 1h such as 30"),

        PIPE("Guests", guests, PATTERNS, 0, 0,
             "expected patterns such as web-* or label=gold, with blanks between them, at most 255 characters", false),
        /* The ends are those of the contract: 80 MiB of tables, and a table of owners for 16 GiB. */
        PIPE("RegionSize", region_kib, SIZE_2, MIB(128), MIB(16384),
             "expected a power of two from 128M to 16G such as 1G", true),
        PIPE("Quota", quota_kib, SIZE, MIB(1), MIB(16384), "expected a size from 1M to 16G such as 256M", false),
        PIPE("Attach", attach, ATTACH, 0, 0, "expected auto or manual", false),
        PIPE("Isolation", pairs, ISOLATION, 0, 0, "expected group or pair", true),
        /* One device of nine is the lobby: MLG_PIPE_DEVICES_MAX. */
        PIPE("PairsMax", pairs_max, U32, 1, 8, "expected a number from 1 to 8", false),
        PIPE("PairIdleSec", pair_idle_usec, USEC, SEC(5), SEC(86400), "expected a time from 5s to 1d such as 1min", false),

        SWAP("Guests", guests, PATTERNS, 0, 0,
             "expected patterns such as web-* or label=gold, with blanks between them, at most 255 characters", false),
        /* The ends are those of the contract. */
        SWAP("PoolSize", pool_kib, SIZE_2, MIB(16), MIB(65536), "expected a power of two from 16M to 64G such as 1G", true),
        SWAP("Quota", quota_kib, SIZE, MIB(1), MIB(65536), "expected a size from 1M to 64G such as 512M", false),
        SWAP("Shares", shares, U32, 1, 10000, "expected a number from 1 to 10000", false),
        SWAP("CallbackSec", callback_usec, USEC, MSEC(500), SEC(600), "expected a time from 500ms to 10min such as 5", false),
        SWAP("Attach", attach, ATTACH, 0, 0, "expected auto or manual", false),
};
static_assert(G_N_ELEMENTS(options) + MLG_OPTIONS_OF_RULES <= MLG_OPTIONS_MAX, "sets of options are bits of a uint64_t");

static const char *const section_names[] = {
        [MLG_OPTION_DAEMON] = "Daemon",
        [MLG_OPTION_HOST] = "Host",
        [MLG_OPTION_GUEST] = "Guest",
        [MLG_OPTION_PIPE] = "Pipe",
        [MLG_OPTION_SWAP] = "Swap",
};
static_assert(G_N_ELEMENTS(section_names) == _MLG_OPTION_SECTION_MAX, "section_names[] misses a value");

static const char *const log_level_names[] = {
        [MLG_LOG_LEVEL_ERROR] = "error",
        [MLG_LOG_LEVEL_WARNING] = "warning",
        [MLG_LOG_LEVEL_INFO] = "info",
        [MLG_LOG_LEVEL_DEBUG] = "debug",
};
static_assert(G_N_ELEMENTS(log_level_names) == _MLG_LOG_LEVEL_MAX, "log_level_names[] misses a value");

size_t mlg_option_count(void) {
        return G_N_ELEMENTS(options);
}

const MlgOption *mlg_option_at(size_t i) {
        return &options[i];
}

const char *mlg_option_section_to_string(MlgOptionSection s) {
        return section_names[s];
}

static void daemon_defaults(MlgDaemonSettings *ret) {
        *ret = (MlgDaemonSettings) {
                .connect = "qemu:///system",
                .log_level = MLG_LOG_LEVEL_INFO,
                /* QEMU's timer has a resolution of 1 s; one report costs a guest some 20 us. */
                .stats_period_sec = 1,
                /* One bulk poll and three moves at once; a QEMU that hangs holds one of them. */
                .workers = 4,
                /* A healthy QEMU answers in milliseconds; a host that swaps needs a second or two. */
                .call_timeout_usec = 3 * MLG_USEC_PER_SEC,
                .dry_run = false,
        };
}

static void pipe_defaults(MlgPipeSettings *ret) {
        *ret = (MlgPipeSettings) {
                .guests = "",
                /* A smaller one is put below 4 GiB by the guest's firmware, where AMD's processors do not cache it;
                 * what is not used costs nothing. */
                .region_kib = MIB(1024),
                /* 64 full windows of 4 MiB: more connections than that are seldom full at once. */
                .quota_kib = MIB(256),
                /* Who names the guests wants it, and nothing works without the device. */
                .attach = true,
                .pairs = false,
                /* Of the 32 places of a pc's bus some 20 are free; most guests talk to fewer than that all the time. */
                .pairs_max = 4,
                /* A device that comes is some 40 ms of work for libvirt, QEMU and the guest (measured), one that goes
                 * 150, and what is said meanwhile goes by the network; an idle one costs the host some KiB, and the
                 * guest 2 MiB. */
                .pair_idle_usec = SEC(60),
        };
}

static void swap_defaults(MlgSwapSettings *ret) {
        *ret = (MlgSwapSettings) {
                .guests = "",
                /* As RegionSize= of pipes. */
                .pool_kib = MIB(1024),
                /* All that fits into the device: what is lent is idle anyway, and comes back when it is not. */
                .quota_kib = MIB(1023),
                .shares = 100,
                /* 512 MiB at the 100 MiB/s that a disk of today takes at the least. */
                .callback_usec = SEC(5),
                .attach = true,
        };
}

void mlg_option_defaults(MlgOptionSection section, MlgOptionSettings *ret) {
        *ret = (MlgOptionSettings) {};
        switch (section) {
        case MLG_OPTION_DAEMON:
                daemon_defaults(&ret->daemon);
                break;
        case MLG_OPTION_HOST:
                mlg_host_settings_default(&ret->host);
                break;
        case MLG_OPTION_GUEST:
                mlg_guest_settings_default(&ret->guest);
                break;
        case MLG_OPTION_PIPE:
                pipe_defaults(&ret->pipe);
                break;
        case MLG_OPTION_SWAP:
                swap_defaults(&ret->swap);
                break;
        case _MLG_OPTION_SECTION_MAX:
                g_assert_not_reached();
        }
}

/* A value of any of the types, before it goes into its field. */
typedef union Value {
        char text[256];
        MlgLogLevel log_level;
        MlgMode mode;
        MlgMonitorMode monitor;
        MlgReclaimMode reclaim;
        bool yes;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        MlgAmount amount;
} Value;

static int parse_uri(const char *s, size_t size, char *ret) {
        if (!strchr(s, ':') || strpbrk(s, " \t") || strlen(s) >= size)
                return -EINVAL;
        (void) g_strlcpy(ret, s, size);
        return 0;
}

static int parse_log_level(const char *s, MlgLogLevel *ret) {
        for (size_t i = 0; i < G_N_ELEMENTS(log_level_names); i++)
                if (strcmp(s, log_level_names[i]) == 0) {
                        *ret = (MlgLogLevel) i;
                        return 0;
                }
        return -EINVAL;
}

static int parse_name(const char *s, bool known, size_t size, char *ret) {
        if (!known || strlen(s) >= size)
                return -EINVAL;
        (void) g_strlcpy(ret, s, size);
        return 0;
}

/* The file of a plug-in that was refused, or switched off, is no reason to refuse the configuration: the default stands in. */
static bool known_policy(const char *s) {
        return mlg_policy_find(s) || mlg_plugins_find(MLG_PLUGIN_POLICY, s);
}

static bool known_predictor(const char *s) {
        return mlg_predictor_find(s) || mlg_plugins_find(MLG_PLUGIN_PREDICTOR, s);
}

static int parse_number(const MlgOption *o, const char *s, uint32_t *ret) {
        uint64_t v;
        int r;

        r = mlg_parse_u64(s, (uint64_t) o->min, (uint64_t) o->max, &v);
        if (r == 0)
                *ret = (uint32_t) v;
        return r;
}

static int parse_time(const MlgOption *o, const char *s, uint64_t *ret) {
        uint64_t v;
        int r;

        r = mlg_parse_usec(s, &v);
        if (r < 0)
                return r;
        if (v < (uint64_t) o->min || v > (uint64_t) o->max)
                return -ERANGE;
        *ret = v;
        return 0;
}

static int parse_seconds(const MlgOption *o, const char *s, uint32_t *ret) {
        uint64_t usec;
        int r;

        r = mlg_parse_usec(s, &usec);
        if (r < 0)
                return r;
        if (usec % MLG_USEC_PER_SEC != 0)
                return -EINVAL;
        usec /= MLG_USEC_PER_SEC;
        if (usec < (uint64_t) o->min || usec > (uint64_t) o->max)
                return -ERANGE;
        *ret = (uint32_t) usec;
        return 0;
}

/* `unit`: how many of the field's units are one thousandth. */
static int parse_part(const MlgOption *o, const char *s, uint32_t unit, uint32_t *ret) {
        uint32_t permille;
        int r;

        r = mlg_parse_permille(s, &permille);
        if (r < 0)
                return r;
        if (permille * unit < o->min || permille * unit > o->max)
                return -ERANGE;
        *ret = permille * unit;
        return 0;
}

static int parse_amount(const MlgOption *o, const char *s, MlgAmount *ret) {
        MlgAmount a = {};
        int r;

        if (o->type == MLG_OPTION_AMOUNT_MAX && strcmp(s, "max") == 0)
                a.kib = MLG_AMOUNT_MAX;
        else if (g_str_has_suffix(s, "%")) {
                r = mlg_parse_permille(s, &a.permille);
                if (r < 0)
                        return r;
                if (a.permille == 0 && o->min > 0)
                        return -ERANGE;
        } else {
                r = mlg_parse_size_kib(s, &a.kib);
                if (r < 0)
                        return r;
                if (a.kib < (uint64_t) o->min || a.kib > (uint64_t) o->max)
                        return -ERANGE;
        }
        *ret = a;
        return 0;
}

static int parse_size(const MlgOption *o, const char *s, uint64_t *ret) {
        uint64_t kib;
        int r;

        r = mlg_parse_size_kib(s, &kib);
        if (r < 0)
                return r;
        if (kib < (uint64_t) o->min || kib > (uint64_t) o->max)
                return -ERANGE;
        if (o->type == MLG_OPTION_SIZE_2 && (kib & (kib - 1)) != 0)
                return -EINVAL;
        *ret = kib;
        return 0;
}

static int parse_patterns(const char *s, size_t size, char *ret) {
        g_auto(GStrv) words = g_strsplit_set(s, " \t", -1);

        if (strlen(s) >= size)
                return -EINVAL;
        for (char **w = words; *w; w++)
                if (**w && !mlg_config_pattern_is_valid(*w))
                        return -EINVAL;
        (void) g_strlcpy(ret, s, size);
        return 0;
}

static int parse_word(const char *s, const char *yes, const char *no, bool *ret) {
        if (strcmp(s, yes) != 0 && strcmp(s, no) != 0)
                return -EINVAL;
        *ret = strcmp(s, yes) == 0;
        return 0;
}

static int parse_value(const MlgOption *o, const char *s, Value *ret) {
        switch (o->type) {
        case MLG_OPTION_URI:
                return parse_uri(s, o->size, ret->text);
        case MLG_OPTION_LOG_LEVEL:
                return parse_log_level(s, &ret->log_level);
        case MLG_OPTION_MODE:
                return mlg_mode_from_string(s, &ret->mode);
        case MLG_OPTION_MONITOR:
                return mlg_monitor_mode_from_string(s, &ret->monitor);
        case MLG_OPTION_RECLAIM:
                return mlg_reclaim_mode_from_string(s, &ret->reclaim);
        case MLG_OPTION_POLICY:
                return parse_name(s, known_policy(s), o->size, ret->text);
        case MLG_OPTION_PREDICTOR:
                return parse_name(s, known_predictor(s), o->size, ret->text);
        case MLG_OPTION_BOOL:
                return mlg_parse_bool(s, &ret->yes);
        case MLG_OPTION_U32:
                return parse_number(o, s, &ret->u32);
        case MLG_OPTION_I32:
                return mlg_parse_i32(s, (int32_t) o->min, (int32_t) o->max, &ret->i32);
        case MLG_OPTION_SECONDS:
                return parse_seconds(o, s, &ret->u32);
        case MLG_OPTION_USEC:
                return parse_time(o, s, &ret->u64);
        case MLG_OPTION_PERMILLE:
                return parse_part(o, s, 1, &ret->u32);
        case MLG_OPTION_CENTI:
                return parse_part(o, s, 10, &ret->u32);
        case MLG_OPTION_AMOUNT:
        case MLG_OPTION_AMOUNT_MAX:
                return parse_amount(o, s, &ret->amount);
        case MLG_OPTION_SIZE:
        case MLG_OPTION_SIZE_2:
                return parse_size(o, s, &ret->u64);
        case MLG_OPTION_PATTERNS:
                return parse_patterns(s, o->size, ret->text);
        case MLG_OPTION_ATTACH:
                return parse_word(s, "auto", "manual", &ret->yes);
        case MLG_OPTION_ISOLATION:
                return parse_word(s, "pair", "group", &ret->yes);
        case _MLG_OPTION_TYPE_MAX:
                break;
        }
        g_assert_not_reached();
}

static char *expected(const MlgOption *o) {
        g_autofree char *levels = NULL;

        if (o->expected)
                return g_strdup(o->expected);
        if (o->type == MLG_OPTION_POLICY)
                return g_strconcat("expected one of: ", mlg_policy_names(), NULL);
        if (o->type == MLG_OPTION_PREDICTOR)
                return g_strconcat("expected one of: ", mlg_predictor_names(), NULL);
        for (size_t i = 0; i < G_N_ELEMENTS(log_level_names); i++) {
                char *more = g_strconcat(levels ? levels : "expected one of: ", i > 0 ? ", " : "",
                                         log_level_names[i], NULL);

                g_free(levels);
                levels = more;
        }
        return g_steal_pointer(&levels);
}

void mlg_option_copy(const MlgOption *o, void *to, const void *from) {
        memcpy((char *) to + o->offset, (const char *) from + o->offset, o->size);
}

int mlg_option_parse(const MlgOption *o, const char *value, void *settings, char **ret_expected) {
        MlgOptionSettings defaults;
        Value v = {};

        if (*value == '\0') {
                mlg_option_defaults(o->section, &defaults);
                mlg_option_copy(o, settings, &defaults);
                return 0;
        }
        if (parse_value(o, value, &v) < 0) {
                *ret_expected = expected(o);
                return -EINVAL;
        }
        memcpy((char *) settings + o->offset, &v, o->size);
        return 0;
}

/* In the largest unit that divides it: nothing is lost, and 0 is "0". */
static char *format_size(uint64_t kib) {
        static const char units[] = "KMGT";
        size_t u = 0;

        if (kib == 0)
                return g_strdup("0");
        for (; kib % 1024 == 0 && u + 2 < sizeof(units); u++)
                kib /= 1024;
        return g_strdup_printf("%" PRIu64 "%c", kib, units[u]);
}

static char *format_time(uint64_t usec) {
        static const struct {
                uint64_t usec;
                const char *name;
        } units[] = {
                { 3600 * MLG_USEC_PER_SEC, "h" },
                { 60 * MLG_USEC_PER_SEC, "min" },
                { MLG_USEC_PER_SEC, "s" },
                { 1000, "ms" },
                { 1, "us" },
        };
        size_t u = 0;

        if (usec == 0)
                return g_strdup("0");
        while (usec % units[u].usec != 0)
                u++;
        return g_strdup_printf("%" PRIu64 "%s", usec / units[u].usec, units[u].name);
}

static char *format_permille(uint32_t permille) {
        if (permille % 10 == 0)
                return g_strdup_printf("%" PRIu32 "%%", permille / 10);
        return g_strdup_printf("%" PRIu32 ".%" PRIu32 "%%", permille / 10, permille % 10);
}

static char *format_amount(MlgAmount a) {
        if (a.permille > 0)
                return format_permille(a.permille);
        return a.kib == MLG_AMOUNT_MAX ? g_strdup("max") : format_size(a.kib);
}

char *mlg_option_format(const MlgOption *o, const void *settings) {
        Value v = {};

        memcpy(&v, (const char *) settings + o->offset, o->size);
        switch (o->type) {
        case MLG_OPTION_URI:
        case MLG_OPTION_POLICY:
        case MLG_OPTION_PREDICTOR:
        case MLG_OPTION_PATTERNS:
                return g_strdup(v.text);
        case MLG_OPTION_SIZE:
        case MLG_OPTION_SIZE_2:
                return format_size(v.u64);
        case MLG_OPTION_ATTACH:
                return g_strdup(v.yes ? "auto" : "manual");
        case MLG_OPTION_ISOLATION:
                return g_strdup(v.yes ? "pair" : "group");
        case MLG_OPTION_LOG_LEVEL:
                return g_strdup(log_level_names[v.log_level]);
        case MLG_OPTION_MODE:
                return g_strdup(mlg_mode_to_string(v.mode));
        case MLG_OPTION_MONITOR:
                return g_strdup(mlg_monitor_mode_to_string(v.monitor));
        case MLG_OPTION_RECLAIM:
                return g_strdup(mlg_reclaim_mode_to_string(v.reclaim));
        case MLG_OPTION_BOOL:
                return g_strdup(v.yes ? "yes" : "no");
        case MLG_OPTION_U32:
        case MLG_OPTION_SECONDS:
                return g_strdup_printf("%" PRIu32, v.u32);
        case MLG_OPTION_I32:
                return g_strdup_printf("%" PRIi32, v.i32);
        case MLG_OPTION_USEC:
                return format_time(v.u64);
        case MLG_OPTION_PERMILLE:
                return format_permille(v.u32);
        case MLG_OPTION_CENTI:
                return format_permille(v.u32 / 10);
        case MLG_OPTION_AMOUNT:
        case MLG_OPTION_AMOUNT_MAX:
                return format_amount(v.amount);
        case _MLG_OPTION_TYPE_MAX:
                break;
        }
        g_assert_not_reached();
}
