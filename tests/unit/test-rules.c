/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules: what expressions come to, what is refused and in which words, when rules begin and end, what they do to guests in
 * the engine, and that each worked example does what its comment says. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine-rig.h"
#include "plain-rules.h"
#include "service/config-expr.h"
#include "service/config-options.h"
#include "service/config.h"
#include "sim/replay.h"
#include "util/util.h"

#define UUID "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
#define ANY_TYPE (~0u)
#define MIB SIM_MIB

static MlgConfig *load(const char *text) {
        g_autoptr(GError) error = NULL;
        MlgConfig *c = mlg_config_load_text("x.policy", text, strlen(text), true, &error);

        if (!c)
                fail_msg("refused: %s, in:\n%s", error->message, text);
        return c;
}

/* ---- facts as text: "host.total=64G guest.pressure=none" ---- */

/* What the fast way makes of it, in a lane among others, which must be what the plain way does. */
static PlainValue evaluate(const MlgRules *r, const MlgExpr *e, const PlainFacts *f) {
        g_autofree MlgRuleFacts *facts = g_new0(MlgRuleFacts, 1);
        const unsigned int lane = 8;
        PlainValue is, plain = plain_evaluate(r, e->program, f);
        MlgRuleStack stack;
        MlgRuleValue v;

        facts->n_lanes = 10;
        plain_put(f, lane, facts);
        v = mlg_rule_evaluate(r, e->program, facts, &stack);
        is = (PlainValue) { .known = v.known >> lane & 1,
                            .v = e->type == MLG_RULE_BOOL ? (int64_t) (v.yes >> lane & 1) : v.v[lane] };
        if (is.known != plain.known || (is.known && is.v != plain.v))
                fail_msg("fast: %" PRIi64 " (known: %d), plain: %" PRIi64 " (known: %d)", is.v, is.known, plain.v, plain.known);
        return is;
}

static PlainValue value_of(const char *text, const PlainFacts *f) {
        g_autofree MlgRules *r = g_new0(MlgRules, 1);
        g_autofree char *error = NULL;
        MlgExpr e;

        if (mlg_expr_compile(text, ANY_TYPE, r, &e, &error) < 0)
                fail_msg("\"%s\": %s", text, error);
        return evaluate(r, &e, f);
}

static MlgRuleFact fact_of(const char *name) {
        for (int i = 0; i < _MLG_RULE_FACT_MAX; i++)
                if (g_str_equal(mlg_rule_fact_info((MlgRuleFact) i)->name, name))
                        return (MlgRuleFact) i;
        fail_msg("there is no fact %s", name);
        return _MLG_RULE_FACT_MAX;
}

/* What is not in the text is not known. */
static PlainFacts facts_of(const char *text) {
        g_auto(GStrv) words = g_strsplit(text, " ", -1);
        PlainFacts ret = { .told = UINT64_MAX };

        for (char **w = words; *w && **w; w++) {
                g_auto(GStrv) pair = g_strsplit(*w, "=", 2);
                MlgRuleFact fact = fact_of(pair[0]);

                if (mlg_rule_fact_info(fact)->type == MLG_RULE_BOOL)
                        plain_tell(&ret, fact, true, g_str_equal(pair[1], "yes"));
                else
                        plain_tell(&ret, fact, true, (uint64_t) value_of(pair[1], &ret).v);
        }
        return ret;
}

/* ---- expressions ---- */

#define FACTS                                                                                                           \
        "host.total=64G host.available=8G host.room=0K host.stall_full=12.34% host.short=yes guest.maximum=4G guest.actual=3G " \
        "guest.used=2G guest.unused=256M guest.swap_in=0K guest.pressure=warning guest.state=managed guest.age=500ms "   \
        "time=22:30 weekday=fri"
#define NOT_KNOWN INT64_MIN

static const struct {
        const char *text;
        int64_t v;
} values[] = {
        /* values and their units */
        { "512M", 512 * 1024 },
        { "1.5GiB", 3 * 512 * 1024 },
        { "25%", MLG_RULE_ONE / 4 },
        { "0.0001%", 1 },
        { "150%", 3 * MLG_RULE_ONE / 2 },
        { "1.5", 3 * MLG_RULE_ONE / 2 },
        { "30s", 30 * 1000000 },
        { "2min", 120 * 1000000 },
        { "08:05", 485 },
        { "24:00", 1440 },
        { "critical", MLG_PRESSURE_CRITICAL },
        { "sun", 7 },
        { "host.stall_full", 123400 },
        /* arithmetic */
        { "1 + 2 * 3", 7 * MLG_RULE_ONE },
        { "(1 + 2) * 3", 9 * MLG_RULE_ONE },
        { "8 - 2 - 1", 5 * MLG_RULE_ONE },
        { "8 / 2 / 2", 2 * MLG_RULE_ONE },
        { "-2 - -3", MLG_RULE_ONE },
        { "50% * 50%", MLG_RULE_ONE / 4 },
        { "guest.used / 4", 512 * 1024 },
        { "guest.used / 50%", 4 * 1024 * 1024 },
        { "guest.used / guest.maximum", MLG_RULE_ONE / 2 },
        { "guest.maximum / 1G + 1", 5 * MLG_RULE_ONE },
        { "guest.maximum / 1G > 3", 1 },
        { "guest.used / guest.maximum > 40%", 1 },
        { "guest.used / guest.maximum * 50% + 1%", 26 * MLG_RULE_ONE / 100 },
        { "2 * 5min", 600 * 1000000 },
        { "1h / 30min", 2 * MLG_RULE_ONE },
        { "guest.used + 25%", 3 * 1024 * 1024 },
        { "25% + guest.used", 3 * 1024 * 1024 },
        { "host.available - 10%", 8 * 1024 * 1024 - 6710886 },
        { "min(guest.used, 1G)", 1024 * 1024 },
        { "max(25%, guest.used, 512M)", 2 * 1024 * 1024 },
        { "max(1, 2) * 1G", 2 * 1024 * 1024 },
        { "guest.unused - 1G", -768 * 1024 },
        /* comparisons */
        { "guest.used < 2G", 0 },
        { "guest.used <= 2G", 1 },
        { "guest.used == 2G", 1 },
        { "guest.used != 50%", 0 },
        { "host.available < 20%", 1 },
        { "host.available < 12%", 0 },
        { "12.5% <= host.available", 1 },
        { "guest.unused > 5%", 1 },
        { "guest.unused + host.available > 8G", 1 },
        { "guest.pressure >= warning", 1 },
        { "guest.pressure == critical", 0 },
        { "guest.state == managed", 1 },
        { "guest.state != held", 1 },
        { "guest.swap_in > 0", 0 },
        { "guest.age < 1s", 1 },
        { "host.short", 1 },
        /* clock and days */
        { "time in 22:00..06:00", 1 },
        { "time in 06:00..22:00", 0 },
        { "time in 20:00..22:30", 0 },
        { "time in 22:30..24:00", 1 },
        { "time >= 22:30 and time < 22:31", 1 },
        { "weekday in mon..fri", 1 },
        { "weekday in sat..mon", 0 },
        { "weekday in fri..fri", 1 },
        { "weekday in sun..sat", 1 },
        { "weekday == fri", 1 },
        /* conditions */
        { "host.short and guest.used > 1G or time < 1:00", 1 },
        { "not host.short or not not host.short", 1 },
        { "not host.short and host.short or host.short", 1 },
        { "(host.short or host.short) and not host.short", 0 },
        { "not guest.used > 1G", 0 },
        /* not known */
        { "guest.cold", NOT_KNOWN },
        { "guest.cold > 1G", NOT_KNOWN },
        { "not guest.cold > 1G", NOT_KNOWN },
        { "guest.cold > 1G or host.short", 1 },
        { "host.short or guest.cold > 1G", 1 },
        { "guest.cold > 1G and not host.short", 0 },
        { "not host.short and guest.cold > 1G", 0 },
        { "guest.cold > 1G and host.short", NOT_KNOWN },
        { "host.short and guest.cold > 1G", NOT_KNOWN },
        { "known(guest.cold)", 0 },
        { "known(guest.used)", 1 },
        { "known(guest.cold) and guest.cold > 1G", 0 },
        { "max(guest.cold, 1G)", NOT_KNOWN },
        { "guest.used / host.room", NOT_KNOWN },
        { "guest.used / 0", NOT_KNOWN },
        /* as far as it goes */
        { "4000000T * 1000000 + 4000000T * 1000000", INT64_MAX },
        { "4000000T * 1000000 * 1000000", INT64_MAX },
        { "-4000000T * 1000000", -INT64_MAX },
        { "- (4000000T * -1000000)", INT64_MAX },
        { "4000000T / 0.000001", INT64_MAX },
};

static void test_values(void **state) {
        PlainFacts f = facts_of(FACTS);

        for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
                PlainValue v = value_of(values[i].text, &f);
                int64_t is = v.known ? v.v : NOT_KNOWN;

                if (is != values[i].v)
                        fail_msg("\"%s\" is %" PRIi64 ", expected %" PRIi64, values[i].text, is, values[i].v);
        }
}

/* What is true or false before all facts are told stays so, whatever they turn out to be. */
static void test_foresight(void **state) {
        PlainFacts all = facts_of(FACTS), host = all;
        unsigned int decided = 0;

        plain_untell_guest(&host);
        for (size_t i = 0; i < G_N_ELEMENTS(values); i++) {
                PlainValue early = value_of(values[i].text, &host), late = value_of(values[i].text, &all);

                decided += early.known;
                if (early.known && (!late.known || early.v != late.v))
                        fail_msg("\"%s\" was %" PRIi64 ", and became %" PRIi64 " (known: %d)", values[i].text, early.v, late.v,
                                 late.known);
        }
        assert_true(decided > 20 && decided < G_N_ELEMENTS(values)); /* the rows are of both kinds */
}

/* ---- refusals ---- */

static const struct {
        const char *text, *message;
} refused_conditions[] = {
        { "", "at its end: expected a name or a value" },
        { "host.avail < 1G", "at character 1, 'host.avail < 1G': unknown name, did you mean host.available?" },
        { "host.colour < 1G", "at character 1, 'host.colour < 1G': unknown name, memlego-rules(5) lists them all" },
        { "guest.used < 1", "at character 12, '< 1': a size and a number do not go together, a unit may be missing (512M, 25%, 30s)" },
        { "guest.used < 30s", "at character 12, '< 30s': a size and a length of time do not go together" },
        { "guest.pressure > 5%", "at character 16, '> 5%': a pressure and a part do not go together" },
        { "guest.pressure + 5%", "at character 16, '+ 5%': a pressure and a part do not go together" },
        { "guest.swap_in > 5%", "at character 15, '> 5%': of what this part is meant is not clear, expected, for example, "
                                "20% * host.total" },
        { "guest.used + host.room > 5%", "at character 24, '> 5%': of what this part is meant is not clear, expected, for "
                                         "example, 20% * host.total" },
        { "512M < 5%", "at character 6, '< 5%': of what this part is meant is not clear, expected, for example, 20% * host.total" },
        { "guest.used * guest.used > 1G", "at character 12, '* guest.used > 1G': a size cannot be multiplied by a size" },
        { "1 / guest.used > 1", "at character 3, '/ guest.used > 1': a number cannot be divided by a size" },
        { "guest.used", "at character 1, 'guest.used': expected a condition such as host.available < 20%, this is a size" },
        { "guest.used and host.short", "at character 1, 'guest.used and host.': expected a condition such as host.available < "
                                       "20%, this is a size" },
        { "host.short and 5", "at character 16, '5': expected a condition such as host.available < 20%, this is a number" },
        { "not 5", "at character 5, '5': expected a condition such as host.available < 20%, this is a number" },
        { "host.short == host.short", "at character 12, '== host.short': expected a value before it: conditions are joined by "
                                      "'and', 'or' and 'not'" },
        { "guest.state < held", "at character 13, '< held': states have no order, expected == or !=" },
        { "guest.state == warning", "at character 13, '== warning': a state and a pressure do not go together" },
        { "1G < guest.used < 2G", "at character 17, '< 2G': expected 'and' between two comparisons" },
        { "guest.used = 1G", "at character 12, '= 1G': not a sign that is known here, did you mean '=='?" },
        { "host.short && host.short", "at character 12, '&& host.short': not a sign that is known here, did you mean 'and'?" },
        { "!host.short", "at character 1, '!host.short': not a sign that is known here, did you mean 'not'?" },
        { "host.short \xc3\xa4\xc3\xb6\xc3\xbc", "at character 12, '\xc3\xa4\xc3\xb6\xc3\xbc': not a sign that is known here" },
        { "host.short host.short", "at character 12, 'host.short': expected a sign such as + or <, 'and', 'or', or the end" },
        { "(host.short", "at its end: expected ')'" },
        { "host.short)", "at character 11, ')': expected a sign such as + or <, 'and', 'or', or the end" },
        { "guest.used > 1Q", "at character 14, '1Q': expected a value such as 512M, 25%, 30s, 22:00 or 1.5" },
        { "guest.used > 1G..2", "at character 16, '..2': expected a sign such as + or <, 'and', 'or', or the end" },
        { "time > 25:00", "at character 8, '25:00': expected a value such as 512M, 25%, 30s, 22:00 or 1.5" },
        { "time in 8:00", "at its end: expected '..'" },
        { "time in 8:00..fri", "at character 15, 'fri': expected a time of day such as 22:00" },
        { "time in 8:00..8:00", "at character 6, 'in 8:00..8:00': expected two times that differ" },
        { "guest.used in 1G..2G", "at character 12, 'in 1G..2G': expected a time of day or a day of the week before it, this "
                                  "is a size" },
        { "weekday in 1..5", "at character 12, '1..5': expected a day such as mon" },
        { "known(5)", "at character 7, '5)': expected a name such as guest.cold" },
        { "known(guest.colt)", "at character 7, 'guest.colt)': unknown name, did you mean guest.cold?" },
        { "min(guest.used, 30s) > 1G", "at character 15, ', 30s) > 1G': a size and a length of time do not go together" },
        { "max(mon, tue) == mon", "at character 8, ', tue) == mon': expected sizes, parts, numbers or times, this is a day of "
                                  "the week" },
        { "-mon < tue", "at character 2, 'mon < tue': expected a size, a part, a number or a time, this is a day of the week" },
        { "min > 1", "at character 5, '> 1': expected '('" },
        { "and", "at character 1, 'and': expected a name or a value" },
};

#define RULE "[Rule a]\nWhen=host.short\n"

static const struct {
        const char *text, *message;
} refused_files[] = {
        { "[Rule]\n", "x.policy:1: [Rule]: expected [Rule NAME] alone on its line, with a name of 1 to 31 letters, digits, -, _ or ." },
        { "[Rule a b]\n", "x.policy:1: [Rule a b]: expected [Rule NAME] alone on its line, with a name of 1 to 31 letters, "
                          "digits, -, _ or ." },
        { "[Rules a]\n", "x.policy:1: [Rules a]: unknown section, did you mean [Rule NAME]?" },
        { RULE "Floor=1G\n[Host]\n[Rule a]\n", "x.policy:5: [Rule a]: expected another name, there is one of this name in "
                                               "x.policy:1 already" },
        { "[Rule a]\nFloor=1G\n", "x.policy:1: [Rule a]: expected When=CONDITION in it" },
        { RULE, "x.policy:1: [Rule a]: expected something that it sets, such as Floor=50% or Priority=10" },
        { RULE "When=host.short\n", "x.policy:3: [Rule a] When=host.short: expected it once in a section, it is in line 2 already" },
        { "[Guest a]\nWhen=host.short\n", "x.policy:2: [Guest a] When=host.short: unknown key, expected one of: Mode, Monitor, Reclaim, "
          "Floor, Ceiling, Shares, Priority, Cushion, CushionRatio, Predictor, HorizonSec, ShrinkRate, UrgentShrinkRate, "
          "GrowRate, DeadBand, CoolDownSec, SettleSec" },
        { RULE "Wen=host.short\n", "x.policy:3: [Rule a] Wen=host.short: unknown key, did you mean When=?" },
        { RULE "Floors=1G\n", "x.policy:3: [Rule a] Floors=1G: unknown key, did you mean Floor=?" },
        { RULE "Reserve=1G\n", "x.policy:3: [Rule a] Reserve=1G: unknown key here, it belongs into [Host]" },
        { RULE "Monitor=off\n", "x.policy:3: [Rule a] Monitor=off: expected it in [Guest PATTERN]: a rule adds no device to a guest" },
        { RULE "Mode=on\n", "x.policy:3: [Rule a] Mode=on: expected one of: auto, advise, observe, off" },
        { RULE "For=2d\n", "x.policy:3: [Rule a] For=2d: expected a time from 0 to 1d such as 30s or 5min" },
        { RULE "Keep=long\n", "x.policy:3: [Rule a] Keep=long: expected a time from 0 to 1d such as 30s or 5min" },
        { RULE "Guests=web-[\n", "x.policy:3: [Rule a] Guests=web-[: expected up to 64 patterns such as web-* or label=gold, with "
                                 "blanks between them" },
        { RULE "Floor=2 * 3\n", "x.policy:3: [Rule a] Floor=2 * 3: at character 1, '2 * 3': expected a part such as 25%, or a "
                                "size such as 512M, this is a number" },
        { RULE "Priority=guest.used\n", "x.policy:3: [Rule a] Priority=guest.used: at character 1, 'guest.used': expected a "
                                        "number such as 1.5, this is a size" },
        { RULE "HorizonSec=10%\n", "x.policy:3: [Rule a] HorizonSec=10%: at character 1, '10%': expected a length of time such "
                                   "as 30s, this is a part" },
        { RULE "Until=guest.used > 1G # now\n", "x.policy:3: [Rule a] Until=guest.used > 1G # now: at character 17, '# now': not a "
                                                "sign that is known here; a comment needs a line of its own" },
};

static void refuse(const char *text, const char *message) {
        g_autoptr(GError) error = NULL;
        g_autoptr(MlgConfig) c = mlg_config_load_text("x.policy", text, strlen(text), true, &error);

        if (c)
                fail_msg("taken:\n%s", text);
        if (strcmp(error->message, message) != 0)
                fail_msg("%s\nexpected: %s", error->message, message);
}

static void test_refusals(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(refused_conditions); i++) {
                g_autofree MlgRules *r = g_new0(MlgRules, 1);
                g_autofree char *error = NULL;
                MlgExpr e;

                if (mlg_expr_compile(refused_conditions[i].text, MLG_EXPR_TYPE(BOOL), r, &e, &error) == 0)
                        fail_msg("taken: %s", refused_conditions[i].text);
                if (strcmp(error, refused_conditions[i].message) != 0)
                        fail_msg("\"%s\": %s\nexpected: %s", refused_conditions[i].text, error, refused_conditions[i].message);
                assert_int_equal(r->n_steps, 0);
        }
        for (size_t i = 0; i < G_N_ELEMENTS(refused_files); i++)
                refuse(refused_files[i].text, refused_files[i].message);
}

/* A # in `what` is how many came before. */
static char *repeated(const char *before, const char *what, int n, const char *after) {
        GString *s = g_string_new(before);

        for (int i = 0; i < n; i++) {
                g_autofree char *number = g_strdup_printf("%d", i);

                (void) g_string_replace(g_string_append(s, what), "#", number, 0);
        }
        return g_string_free(g_string_append(s, after), FALSE);
}

static void test_limits(void **state) {
        static const struct {
                const char *before, *what, *after;
                int most; /* times that it may be repeated */
                const char *message;
        } cases[] = {
                { "[Rule a]\nFloor=1G\nWhen=", "(", "1 < 2", 15, "it is nested too deeply" },
                { "[Rule a]\nFloor=1G\nWhen=1 < ", "-", "1", 15, "it is nested too deeply" },
                { "[Rule a]\nFloor=1G\nWhen=", "host.short and ", "host.short", 21, "it is too long" },
                { "[Rule a]\nFloor=1G\nWhen=1 < ", "1 + ", "1", 30, "it is too long" },
                { "", "[Rule a#]\nFloor=1G\nWhen=host.short\n", "", MLG_RULES_MAX, "expected at most 64 rules" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++)
                for (int more = 0; more < 2; more++) {
                        g_autofree char *text = repeated(cases[i].before, cases[i].what, cases[i].most + more, cases[i].after);
                        g_autofree char *close = g_strnfill(i == 0 ? (gsize) (cases[i].most + more) : 0, ')');
                        g_autofree char *all = g_strconcat(text, close, "\n", NULL);
                        g_autoptr(GError) error = NULL;
                        g_autoptr(MlgConfig) c = mlg_config_load_text("x", all, strlen(all), true, &error);

                        if ((c != NULL) == (more > 0) || (error && !strstr(error->message, cases[i].message)))
                                fail_msg("%d times \"%s\": %s", cases[i].most + more, cases[i].what,
                                         error ? error->message : "taken");
                }
}

/* All that a rule may set at once, and all steps that there are. */
static void test_everything(void **state) {
        g_autoptr(GString) one = g_string_new(RULE), all = g_string_new(NULL);
        g_autoptr(MlgConfig) c = NULL;
        g_autoptr(GError) error = NULL;

        for (size_t i = 0; i < mlg_option_count(); i++)
                if (mlg_option_at(i)->section == MLG_OPTION_GUEST && mlg_option_at(i)->type != MLG_OPTION_MONITOR)
                        g_string_append_printf(one, "%s=\n", mlg_option_at(i)->key);
        c = load(one->str);
        assert_true(mlg_config_rules(c)->rules[0].n_sets >= 15);
        for (int i = 0; i < 40; i++)
                g_string_append_printf(all, "[Rule a%d]\nShares=1\nWhen=host.short%s\n", i,
                                       " and host.short and host.short and host.short and host.short and host.short and host.short and "
                                       "host.short and host.short and host.short and host.short and host.short and host.short and host.short "
                                       "and host.short and host.short and host.short and host.short");
        assert_null(mlg_config_load_text("x", all->str, all->len, true, &error));
        assert_non_null(strstr(error->message, "expected at most 2048 values and signs in all rules"));
}

/* ---- which rules hold ---- */

typedef struct Moment {
        uint64_t at_sec;
        const char *facts, *holds; /* names, in their order */
} Moment;

static char *names_of(const MlgRules *r, uint64_t holds) {
        GString *s = g_string_new(NULL);

        for (uint32_t i = 0; i < r->n_rules; i++)
                if (holds & UINT64_C(1) << i)
                        g_string_append_printf(s, "%s%s", s->len ? " " : "", r->rules[i].name);
        return g_string_free(s, FALSE);
}

/* Of one guest; its settings are those before any rule. */
static void turn_at(const MlgRules *r, uint64_t among, const PlainFacts *f, uint64_t at_sec, MlgRuleState *s,
                    MlgGuestSettings *settings) {
        g_autofree MlgRuleBatch *b = g_new0(MlgRuleBatch, 1);
        PlainFacts host = *f;
        MlgRuleVerdict foreseen;

        plain_untell_guest(&host);
        b->facts.n_lanes = 1;
        plain_put(&host, 0, &b->facts);
        foreseen = mlg_rules_foresee(r, &b->facts);
        plain_put(f, 0, &b->facts);
        b->among[0] = among;
        b->states[0] = s;
        b->settings[0] = *settings;
        mlg_rules_turn(r, &foreseen, b, at_sec * SIM_SEC);
        mlg_rules_apply(r, b);
        *settings = b->settings[0];
}

static const struct {
        const char *rules;
        Moment moments[12]; /* at_sec 0: no more */
} stories[] = {
        { "[Rule a]\nWhen=guest.used > 1G\nShares=1\n",
          { { 1, "guest.used=2G", "a" }, { 2, "guest.used=1G", "" }, { 3, "guest.used=2G", "a" }, { 4, "", "" } } },
        /* For= begins anew with each gap */
        { "[Rule a]\nWhen=guest.used > 1G\nFor=10s\nShares=1\n",
          { { 1, "guest.used=2G", "" }, { 10, "guest.used=2G", "" }, { 11, "guest.used=2G", "a" }, { 12, "guest.used=1G", "" },
            { 13, "guest.used=2G", "" }, { 20, "guest.used=1G", "" }, { 22, "guest.used=2G", "" }, { 31, "guest.used=2G", "" },
            { 32, "guest.used=2G", "a" } } },
        /* also where the host alone decides */
        { "[Rule a]\nWhen=host.short\nFor=10s\nShares=1\n",
          { { 1, "host.short=yes", "" }, { 5, "host.short=no", "" }, { 6, "host.short=yes", "" }, { 15, "host.short=yes", "" },
            { 16, "host.short=yes", "a" }, { 17, "host.short=no", "" } } },
        /* Until=; where it is not known, When= decides */
        { "[Rule a]\nWhen=guest.used > 2G\nUntil=guest.used < 1G\nShares=1\n",
          { { 1, "guest.used=1.5G", "" }, { 2, "guest.used=3G", "a" }, { 3, "guest.used=1.5G", "a" }, { 4, "guest.used=0.5G", "" },
            { 5, "guest.used=1.5G", "" }, { 6, "guest.used=3G", "a" }, { 7, "", "" } } },
        /* what Until= would end at once does not begin */
        { "[Rule a]\nWhen=guest.used > 1G\nUntil=guest.used > 2G\nShares=1\n",
          { { 1, "guest.used=3G", "" }, { 2, "guest.used=1.5G", "a" }, { 3, "guest.used=0.5G", "a" }, { 4, "guest.used=3G", "" },
            { 5, "guest.used=3G", "" } } },
        /* Keep= */
        { "[Rule a]\nWhen=guest.used > 1G\nKeep=10s\nShares=1\n",
          { { 1, "guest.used=2G", "a" }, { 2, "guest.used=1G", "a" }, { 10, "", "a" }, { 11, "", "" }, { 12, "guest.used=2G", "a" },
            { 30, "guest.used=2G", "a" }, { 31, "", "" } } },
        /* after its end For= counts from there */
        { "[Rule a]\nWhen=guest.used > 1G\nUntil=guest.swap_in == 0\nFor=5s\nShares=1\n",
          { { 1, "guest.used=2G guest.swap_in=1M", "" }, { 6, "guest.used=2G guest.swap_in=1M", "a" },
            { 7, "guest.used=2G guest.swap_in=0K", "" }, { 8, "guest.used=2G guest.swap_in=1M", "" },
            { 12, "guest.used=2G guest.swap_in=1M", "a" } } },
        { "[Rule a]\nWhen=guest.used > 1G\nShares=1\n[Rule b]\nWhen=not guest.used > 1G\nShares=2\n"
          "[Rule c]\nWhen=host.short\nShares=3\n",
          { { 1, "guest.used=2G host.short=yes", "a c" }, { 2, "guest.used=1G host.short=no", "b" }, { 3, "host.short=yes", "c" } } },
};

static void test_turns(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(stories); i++) {
                g_autoptr(MlgConfig) c = load(stories[i].rules);
                const MlgRules *r = mlg_config_rules(c);
                MlgRuleState s = {};

                for (const Moment *m = stories[i].moments; m->at_sec > 0; m++) {
                        PlainFacts f = facts_of(m->facts);
                        g_autofree char *names = NULL;
                        MlgGuestSettings settings = {};

                        turn_at(r, mlg_rules_all(r), &f, m->at_sec, &s, &settings);
                        names = names_of(r, s.holds);
                        if (strcmp(names, m->holds) != 0)
                                fail_msg("at %" PRIu64 " s with \"%s\" these hold: \"%s\", expected \"%s\", of:\n%s", m->at_sec,
                                         m->facts, names, m->holds, stories[i].rules);
                }
        }
}

/* ---- what they set ---- */

static const MlgOption *guest_option(const char *key) {
        for (size_t i = 0; i < mlg_option_count(); i++)
                if (mlg_option_at(i)->section == MLG_OPTION_GUEST && strcmp(mlg_option_at(i)->key, key) == 0)
                        return mlg_option_at(i);
        fail_msg("there is no key %s", key);
        return NULL;
}

/* Puts "Floor=1G Priority=20" into *s. */
static void set_keys(const char *text, MlgGuestSettings *s) {
        g_auto(GStrv) words = g_strsplit(text, " ", -1);

        for (char **w = words; *w && **w; w++) {
                g_auto(GStrv) pair = g_strsplit(*w, "=", 2);
                g_autofree char *expected = NULL;

                if (mlg_option_parse(guest_option(pair[0]), pair[1], s, &expected) < 0)
                        fail_msg("%s: %s", *w, expected);
        }
}

static void assert_settings(const MlgGuestSettings *is, const MlgGuestSettings *expected, const char *where) {
        for (size_t i = 0; i < mlg_option_count(); i++)
                if (mlg_option_at(i)->section == MLG_OPTION_GUEST) {
                        g_autofree char *a = mlg_option_format(mlg_option_at(i), is);
                        g_autofree char *b = mlg_option_format(mlg_option_at(i), expected);

                        if (strcmp(a, b) != 0)
                                fail_msg("%s: %s is %s, expected %s", where, mlg_option_at(i)->key, a, b);
                }
}

static const struct {
        const char *sets, *facts, *expected; /* expected: in place of the defaults */
} assignments[] = {
        { "Floor=50%", "", "Floor=50%" },
        { "Floor=\nShares=", "", "" }, /* the defaults again */
        { "Floor=guest.used", "guest.used=3G", "Floor=3G" },
        { "Floor=guest.used", "", "" }, /* not known: as it was */
        { "Floor=guest.used\nShares=7", "", "Shares=7" },
        { "Floor=guest.used - 4G", "guest.used=3G", "Floor=16M" }, /* the least that the key may be */
        { "Floor=guest.used / guest.maximum", "guest.used=3G guest.maximum=4G", "Floor=75%" },
        { "Floor=guest.used / guest.maximum", "guest.used=8G guest.maximum=4G", "Floor=100%" },
        { "Floor=guest.used / guest.maximum", "guest.used=0K guest.maximum=4G", "Floor=0.1%" },
        { "Ceiling=max(50%, guest.used)", "guest.used=3G guest.maximum=4G", "Ceiling=3G" },
        { "Ceiling=max", "", "" },
        { "Cushion=0 * guest.used", "guest.used=3G", "Cushion=0" },
        { "CushionRatio=2 * guest.stall_some", "guest.stall_some=12.5%", "CushionRatio=25%" },
        { "CushionRatio=2 * guest.stall_some", "guest.stall_some=90%", "CushionRatio=100%" },
        { "Shares=guest.maximum / 1G * 10", "guest.maximum=12G", "Shares=120" },
        { "Shares=guest.maximum / 1G", "guest.maximum=12G", "Shares=12" },
        { "Shares=guest.maximum / 1K * 10", "guest.maximum=12G", "Shares=10000" },
        { "Priority=-(guest.maximum / 1G * 3)", "guest.maximum=12G", "Priority=-36" },
        { "Priority=-1000 * 10", "", "Priority=-100" },
        { "HorizonSec=2 * guest.uptime", "guest.uptime=4min", "HorizonSec=8min" },
        { "HorizonSec=2 * guest.uptime", "guest.uptime=4h", "HorizonSec=1h" },
        { "Predictor=context\nMode=observe", "", "Predictor=context Mode=observe" },
        { "ShrinkRate=0.5%\nCoolDownSec=guest.uptime / 2", "guest.uptime=1min", "ShrinkRate=0.5% CoolDownSec=30s" },
};

static void test_sets(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(assignments); i++) {
                g_autofree char *text = g_strdup_printf("[Rule a]\nWhen=1 < 2\n%s\n", assignments[i].sets);
                PlainFacts f = facts_of(assignments[i].facts);
                MlgGuestSettings is, expected;
                MlgRuleState s = {};
                g_autoptr(MlgConfig) c = load(text);

                mlg_guest_settings_default(&is);
                expected = is;
                set_keys(assignments[i].expected, &expected);
                turn_at(mlg_config_rules(c), 1, &f, 1, &s, &is);
                assert_settings(&is, &expected, text);
        }
}

/* ---- the worked examples ---- */

typedef struct ExampleMoment {
        uint64_t at_sec;
        const char *facts, *holds;
        const char *settings; /* that differ from those without rules */
} ExampleMoment;

#define HOST "host.total=100G host.reserve=10G "
#define GUEST "guest.maximum=8G guest.actual=4G "

static const struct {
        const char *file, *guest, *labels;
        ExampleMoment moments[10]; /* at_sec 0: no more */
} examples[] = {
        { "01-mom", "any", "",
          { { 1, HOST GUEST "host.available=10G guest.unused=2G", "mom-shrink", "Ceiling=3984588K ShrinkRate=0.5%" }, /* 95 % */
            { 2, HOST GUEST "host.available=10G guest.unused=100M", "mom-shrink", "Ceiling=4511334K ShrinkRate=0.5%" },
            { 3, HOST GUEST "host.available=4G guest.unused=100M", "mom-shrink mom-critical", "Ceiling=4049961K ShrinkRate=0.5%" },
            { 4, HOST GUEST "host.available=4G", "mom-shrink mom-critical", "ShrinkRate=0.5%" }, /* nothing is known of the guest */
            { 5, HOST GUEST "host.available=20G guest.unused=2G", "mom-grow", "Floor=4404019K GrowRate=0.5%" }, /* 105 % */
            { 6, HOST GUEST "host.available=20G guest.unused=100M", "mom-grow", "Floor=4930764K GrowRate=0.5%" } } },
        { "02-esx-states", "any", "",
          { { 1, HOST GUEST "host.available=5G guest.need=2G", "", "" },
            { 2, HOST GUEST "host.available=3G guest.need=2G", "esx-soft", "ShrinkRate=50% Cushion=32M CushionRatio=5%" },
            { 3, HOST GUEST "host.available=5G guest.need=2G", "esx-soft", "ShrinkRate=50% Cushion=32M CushionRatio=5%" },
            { 4, HOST GUEST "host.available=1.5G guest.need=2G", "esx-soft esx-hard",
              "ShrinkRate=50% Cushion=32M CushionRatio=5% Ceiling=2G" },
            { 5, HOST GUEST "host.available=0.5G guest.need=5G", "esx-soft esx-hard esx-low",
              "ShrinkRate=50% Cushion=32M CushionRatio=5% Ceiling=4G" },
            { 6, HOST GUEST "host.available=3G guest.need=5G", "esx-soft esx-hard",
              "ShrinkRate=50% Cushion=32M CushionRatio=5% Ceiling=5G" },
            { 7, HOST GUEST "host.available=4G guest.need=5G", "esx-soft", "ShrinkRate=50% Cushion=32M CushionRatio=5%" },
            { 8, HOST GUEST "host.available=6G guest.need=5G", "", "" } } },
        { "03-business-hours", "office-1", "",
          { { 1, "weekday=mon time=08:00", "office-hours", "Floor=60% Priority=20" },
            { 2, "weekday=mon time=17:59", "office-hours", "Floor=60% Priority=20" },
            { 3, "weekday=mon time=18:00", "", "" },
            { 4, "weekday=sat time=10:00", "", "" } } },
        { "03-business-hours", "x", "batch",
          { { 1, "weekday=mon time=08:00", "", "" },
            { 2, "weekday=mon time=03:00", "batch-hours", "Priority=50 Shares=400" },
            { 3, "weekday=sun time=10:00", "batch-hours", "Priority=50 Shares=400" },
            { 4, "", "", "" } } }, /* nobody knows what time it is */
        { "04-stalls", "any", "",
          { { 1, "guest.stall_some=6% guest.stall_full=0%", "", "" },
            { 4, "guest.stall_some=6% guest.stall_full=0%", "stalls", "Cushion=512M CushionRatio=30%" },
            { 5, "guest.stall_some=0% guest.stall_full=0%", "stalls", "Cushion=512M CushionRatio=30%" },
            { 603, "guest.stall_some=0% guest.stall_full=0%", "stalls", "Cushion=512M CushionRatio=30%" },
            { 604, "guest.stall_some=2% guest.stall_full=0%", "stalls", "Cushion=512M CushionRatio=30%" },
            { 605, "guest.stall_some=0% guest.stall_full=0%", "", "" },
            { 606, "guest.swap_in=1G", "", "" } } },
        { "05-backup-window", "any", "",
          { { 1, "time=01:29", "", "" }, { 2, "time=01:30", "backup", "Mode=observe" }, { 3, "time=03:00", "", "" } } },
        { "06-idle", "any", "",
          { { 1, GUEST "guest.cold=5G guest.swap_in=0K guest.pressure=none guest.used=1G", "", "" },
            { 601, GUEST "guest.cold=5G guest.swap_in=0K guest.pressure=none guest.used=1G", "idle", "Ceiling=2G Priority=-20" },
            { 602, GUEST "guest.cold=3G guest.swap_in=0K guest.pressure=none guest.used=2G", "idle",
              "Ceiling=2936012K Priority=-20" },
            { 603, GUEST "guest.cold=3G guest.swap_in=0K guest.pressure=warning guest.used=2G", "", "" },
            { 604, GUEST "guest.swap_in=0K guest.pressure=none guest.used=2G", "", "" } } },
        { "07-protect-databases", "db-1", "",
          { { 1, HOST "host.available=10G host.short=no guest.used=3G", "", "" },
            { 2, HOST "host.available=4G host.short=no guest.used=3G", "protect-databases", "Floor=3G Priority=80" },
            { 3, HOST "host.available=10G host.short=no guest.used=4G", "protect-databases", "Floor=4G Priority=80" },
            { 4, HOST "host.available=11G host.short=no guest.used=4G", "", "" },
            { 5, HOST "host.available=8G host.short=yes", "protect-databases", "Priority=80" } } },
        { "07-protect-databases", "web-1", "web", { { 1, HOST "host.available=1G host.short=yes guest.used=3G", "", "" } } },
        { "08-large-guests", "any", "",
          { { 1, "guest.maximum=16G", "large", "Predictor=context HorizonSec=5min" }, { 2, "guest.maximum=15G", "", "" } } },
        { "09-young-guests", "any", "",
          { { 1, GUEST "guest.uptime=1min guest.used=1G", "young", "Floor=6G ShrinkRate=1%" },
            { 2, GUEST "guest.uptime=1min guest.used=7G", "young", "Floor=7G ShrinkRate=1%" },
            { 3, GUEST "guest.uptime=10min guest.used=7G", "", "" },
            { 4, GUEST "guest.used=7G", "", "" } } },
        { "10-approval-by-day", "x", "production web",
          { { 1, HOST "weekday=mon time=09:00 host.room=10G guest.pressure=none", "approval-by-day", "Mode=advise" },
            { 2, HOST "weekday=mon time=09:00 host.room=10G guest.pressure=critical", "approval-by-day help-at-once", "" },
            { 3, HOST "weekday=mon time=09:00 host.room=10G guest.pressure=none", "approval-by-day help-at-once", "" },
            { 62, HOST "weekday=mon time=09:01 host.room=10G guest.pressure=none", "approval-by-day", "Mode=advise" },
            { 63, HOST "weekday=mon time=09:01 host.room=4G guest.pressure=critical", "approval-by-day", "Mode=advise" },
            { 64, HOST "weekday=sun time=09:01 host.room=4G guest.pressure=none", "", "" } } },
};

static MlgConfig *load_example(const char *file) {
        g_autofree char *path = g_strdup_printf("%s/conf/examples/rules/%s.policy", g_getenv("MLG_SOURCE_ROOT"), file);
        g_autofree char *text = NULL;
        g_autoptr(GError) error = NULL;

        if (!g_file_get_contents(path, &text, NULL, &error))
                fail_msg("%s", error->message);
        return load(text);
}

static void check_example(const MlgConfig *c, const MlgGuestSettings *configured, const ExampleMoment *m, const char *where,
                          MlgRuleState *s) {
        const MlgRules *r = mlg_config_rules(c);
        PlainFacts f = facts_of(m->facts);
        MlgGuestSettings is = *configured, expected = *configured;
        g_autofree char *names = NULL;
        g_autofree char *there = g_strdup_printf("%s, at %" PRIu64 " s with %s", where, m->at_sec, m->facts);

        turn_at(r, configured->rules, &f, m->at_sec, s, &is);
        names = names_of(r, s->holds);
        if (strcmp(names, m->holds) != 0)
                fail_msg("%s: these hold: \"%s\", expected \"%s\"", there, names, m->holds);
        set_keys(m->settings, &expected);
        assert_settings(&is, &expected, there);
}

static void test_examples(void **state) {
        for (size_t i = 0; i < G_N_ELEMENTS(examples); i++) {
                g_autoptr(MlgConfig) c = load_example(examples[i].file);
                MlgGuestSettings configured;
                MlgRuleState s = {};

                mlg_config_guest(c, examples[i].guest, UUID, examples[i].labels, &configured);
                for (const ExampleMoment *m = examples[i].moments; m->at_sec > 0; m++)
                        check_example(c, &configured, m, examples[i].file, &s);
        }
}

/* Each file of the directory is among them. */
static void test_all_examples(void **state) {
        g_autofree char *path = g_build_filename(g_getenv("MLG_SOURCE_ROOT"), "conf/examples/rules", NULL);
        GDir *dir = g_dir_open(path, 0, NULL);
        unsigned int n = 0;

        assert_non_null(dir);
        for (const char *name; (name = g_dir_read_name(dir)); n++) {
                bool known = false;

                for (size_t i = 0; i < G_N_ELEMENTS(examples); i++)
                        known |= g_str_has_prefix(name, examples[i].file);
                if (!known)
                        fail_msg("no test of %s", name);
        }
        g_dir_close(dir);
        assert_int_equal(n, 10);
}

/* ---- in a configuration ---- */

static void test_guests(void **state) {
        g_autoptr(MlgConfig) c = load("[Rule all]\nWhen=host.short\nShares=1\n"
                                      "[Rule web]\nGuests=web-*  label=web\tdb-1\nWhen=host.short\nShares=2\n"
                                      "[Rule one]\nGuests=" UUID "\nWhen=host.short\nShares=3\n");
        static const struct {
                const char *name, *labels, *holds;
        } cases[] = {
                { "x", "", "all one" },
                { "web-1", "", "all web one" },
                { "x", "gold web", "all web one" },
                { "db-1", NULL, "all web one" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *names = NULL;
                MlgGuestSettings s;

                mlg_config_guest(c, cases[i].name, UUID, cases[i].labels, &s);
                names = names_of(mlg_config_rules(c), s.rules);
                assert_string_equal(names, cases[i].holds);
        }
}

static void test_origins(void **state) {
        g_autoptr(MlgConfig) c = load("# none\n[Rule a]\nWhen=host.short\nShares=1\n\n[Rule b]\nWhen=host.short\nShares=1\n");
        g_autofree char *a = mlg_config_rule_origin(c, 0), *b = mlg_config_rule_origin(c, 1);

        assert_string_equal(a, "x.policy:2");
        assert_string_equal(b, "x.policy:6");
}

/* What it tells of itself can be loaded again; differences are told by name. */
static void test_texts(void **state) {
        static const struct {
                const char *old, *new_, *diff;
        } cases[] = {
                { RULE "Shares=2\n", RULE "Shares=2\n", "" },
                { "", RULE "Shares=2\n", "[Rule a] added (x.policy:1)" },
                { RULE "Shares=2\n", "", "[Rule a] gone" },
                { RULE "Shares=2\n", RULE "Shares=1 + 1\n", "[Rule a] changed (x.policy:1)" },
                { RULE "Shares=2\n", RULE "Shares=2\nKeep=1s\n", "[Rule a] changed (x.policy:1)" },
                { RULE "Shares=2\n[Rule b]\nWhen=host.short\nShares=3\n", "[Rule b]\nWhen=host.short\nShares=3\n" RULE "Shares=2\n",
                  "[Rule] sections stand in another order: later override earlier" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(MlgConfig) old = load(cases[i].old), new_ = load(cases[i].new_), again = NULL;
                g_autofree char *text = mlg_config_to_text(new_), *found = NULL;
                g_auto(GStrv) changes = mlg_config_diff(old, new_), none = NULL;
                g_autoptr(GError) error = NULL;

                found = g_strjoinv("; ", changes);
                assert_string_equal(found, cases[i].diff);
                again = mlg_config_load_text("again", text, strlen(text), false, &error);
                if (!again)
                        fail_msg("%s in:\n%s", error->message, text);
                none = mlg_config_diff(new_, again);
                for (char **line = none; *line; line++) /* it says all defaults, too */
                        if (!g_str_has_prefix(*line, "[Guest *]"))
                                fail_msg("%s", *line);
        }
}

/* Rules of the same name go on over a reload, wherever they stand. */
static void test_carry_over(void **state) {
        g_autoptr(MlgConfig) old = load("[Rule a]\nWhen=host.short\nShares=1\n[Rule b]\nWhen=host.short\nShares=1\n");
        g_autoptr(MlgConfig) new_ = load("[Rule c]\nWhen=host.short\nShares=1\n[Rule b]\nWhen=host.short\nFor=1h\nShares=1\n");
        MlgRuleState holds = { .holds = 3, .since_usec = { 11, 22 } }, waits = { .waits = 3, .since_usec = { 11, 22 } };

        mlg_rules_carry_over(mlg_config_rules(old), mlg_config_rules(new_), &holds);
        mlg_rules_carry_over(mlg_config_rules(old), mlg_config_rules(new_), &waits);
        assert_int_equal(holds.holds, 2);
        assert_int_equal(holds.waits, 0);
        assert_int_equal(waits.waits, 2);
        assert_int_equal(waits.holds, 0);
        assert_int_equal(holds.since_usec[0], 0);
        assert_int_equal(holds.since_usec[1], 22);
        assert_memory_equal(holds.since_usec, waits.since_usec, sizeof(waits.since_usec));
}

/* ---- in the engine ---- */

static void use_rules(Rig *t, const SimGuest *g, const char *text) {
        g_autoptr(MlgConfig) c = load(text);
        MlgGuestSettings s;

        mlg_engine_set_rules(t->e, mlg_config_rules(c));
        mlg_config_guest(c, g->info.name, g->info.uuid, "", &s);
        reconfigure_guest(t, g, &s);
}

static void assert_holds(const Rig *t, const SimGuest *g, const char *names) {
        MlgGuestStatus s;

        mlg_engine_guest_status(t->e, vm_of(t, g), t->now_usec, &s);
        assert_string_equal(s.rules, names);
}

/* By what the guest uses, it gets its floor, and is given it. */
static void test_floor(void **state) {
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *g = rig_add(t, 4 * GIB, GIB / 2);

        use_rules(t, g, "[Host]\nPolicy=iballoon\n[Rule busy]\nWhen=guest.used > 1G\nFloor=guest.used + 1.5G\n");
        run(t, 60);
        assert_holds(t, g, "");
        assert_int_equal(vm_of(t, g)->floor_kib, GIB);
        g->demand_kib = 2 * GIB;
        run(t, 60);
        assert_holds(t, g, "busy");
        assert_in_range(vm_of(t, g)->floor_kib, 3 * GIB, 4 * GIB);
        assert_in_range(vm_of(t, g)->target_kib, 3 * GIB, 4 * GIB);
        g->demand_kib = GIB / 2;
        run(t, 60);
        assert_holds(t, g, "");
        assert_int_equal(vm_of(t, g)->floor_kib, GIB);
        rig_free(t);
}

/* A mode by a rule is as one in [Guest]. */
static void test_mode(void **state) {
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *g = rig_add(t, 4 * GIB, GIB / 2);

        run(t, 30);
        assert_int_equal(vm_of(t, g)->state, MLG_VM_MANAGED);
        use_rules(t, g, "[Rule busy]\nWhen=guest.used > 1G\nMode=observe\n");
        turn(t);
        assert_int_equal(vm_of(t, g)->state, MLG_VM_MANAGED);
        g->demand_kib = 2 * GIB;
        run(t, 10);
        assert_holds(t, g, "busy");
        assert_int_equal(vm_of(t, g)->state, MLG_VM_ALONE);
        assert_int_equal(vm_of(t, g)->why, MLG_REASON_MODE);
        g->demand_kib = GIB / 2;
        run(t, 10);
        assert_holds(t, g, "");
        assert_int_equal(vm_of(t, g)->state, MLG_VM_MANAGED);
        rig_free(t);
}

/* Where approval is needed by a rule, what was proposed is gone when it is over, as after a reload. */
static void test_advice(void **state) {
        Rig *t = rig_new(4 * GIB, false);
        SimGuest *g = rig_add(t, 2 * GIB, GIB / 2);
        SimGuest *other = rig_add(t, 2 * GIB, GIB / 2);

        t->host.guest_memory = MLG_AMOUNT_KIB(2 * GIB);
        mlg_engine_configure(t->e, &t->host);
        run(t, 60);
        use_rules(t, g, "[Rule idle]\nWhen=guest.used < 1G\nMode=advise\n");
        other->demand_kib = 3 * GIB / 2;
        for (int i = 0; i < 60 && vm_of(t, g)->proposal.id == 0; i++)
                run(t, 1);
        assert_holds(t, g, "idle");
        assert_true(vm_of(t, g)->asks);
        assert_true(vm_of(t, g)->proposal.id > 0);
        use_rules(t, g, "[Rule idle]\nWhen=guest.used < 256M\nMode=advise\n");
        turn(t);
        assert_holds(t, g, "");
        assert_false(vm_of(t, g)->asks);
        assert_int_equal(vm_of(t, g)->proposal.id, 0);
        rig_free(t);
}

/* A predictor that a rule has chosen keeps what it learned when the guest's facts or settings are told anew. */
static void test_predictor(void **state) {
        static const char rules[] = "[Rule last]\nWhen=guest.maximum > 1G\nPredictor=last\n";
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *g = rig_add(t, 4 * GIB, GIB / 2);
        const void *priv;

        use_rules(t, g, rules);
        run(t, 30);
        assert_string_equal(vm_of(t, g)->predictor->name, "last");
        assert_true(vm_of(t, g)->has_forecast);
        priv = vm_of(t, g)->predictor_priv;
        use_rules(t, g, rules);
        assert_string_equal(vm_of(t, g)->predictor->name, "last");
        run(t, 5);
        assert_ptr_equal(vm_of(t, g)->predictor_priv, priv);
        use_rules(t, g, ""); /* without rules settings count at once */
        assert_string_equal(vm_of(t, g)->predictor->name, "ewma");
        assert_holds(t, g, "");
        rig_free(t);
}

/* The time is that of the place. */
static void test_clock(void **state) {
        static const struct {
                uint64_t real_sec;
                int32_t offset_sec;
                const char *holds;
        } cases[] = {
                { 1700000000, 0, "tuesday late" },          /* Tue 22:13 UTC */
                { 1700000000, 7200, "" },                   /* Wed 00:13 */
                { 1700000000, -5 * 3600, "tuesday" },       /* Tue 17:13 */
                { 1700000000 - 86400, 2 * 3600, "tuesday" },/* Tue 00:13 */
        };
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *g = rig_add(t, 4 * GIB, GIB / 2);

        use_rules(t, g, "[Rule tuesday]\nWhen=weekday == tue\nShares=1\n[Rule late]\nWhen=time in 22:00..24:00\nShares=2\n");
        run(t, 5);
        assert_holds(t, g, ""); /* nobody told the time */
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                mlg_engine_tell_time(t->e, cases[i].real_sec, cases[i].offset_sec);
                turn(t);
                assert_holds(t, g, cases[i].holds);
        }
        rig_free(t);
}

static void settings_by(const char *name, const char *uuid, MlgGuestSettings *ret, void *userdata) {
        mlg_config_guest(userdata, name, uuid, NULL, ret);
}

/* Simulations apply them, too: by the time of the trace, and for the guests they are about. */
static void test_simulation(void **state) {
        g_autoptr(MlgConfig) c = load("[Rule night]\nGuests=one\nWhen=time in 22:15..22:20\nFloor=75%\n");
        SimOptions options = { .settings = settings_by, .userdata = c, .rules = mlg_config_rules(c), .host_kib = 4 * GIB };
        g_autoptr(SimTrace) t = sim_trace_new();
        unsigned int held = 0;
        SimReplay *r;

        for (int i = 0; i < 2; i++)
                assert_true(sim_trace_add_row(t, sim_trace_add_guest(t, i ? "two" : "one", 4 * GIB), 0, GIB / 2));
        t->start_real_sec = 1700000000; /* 22:13:20 */
        t->end_sec = 900;
        assert_true(sim_trace_finish(t, "x", NULL));
        mlg_host_settings_default(&options.host);
        r = sim_replay_new(t, &options);
        while (sim_replay_turn(r)) {
                uint64_t floor_kib = mlg_engine_guest_at(sim_replay_engine(r), 0)->floor_kib;
                double sec = sim_replay_sec(r);

                if (floor_kib != GIB && (sec < 100 || sec > 400 + 16 || floor_kib != 3 * GIB))
                        fail_msg("after %.0f s the floor is %" PRIu64 " KiB", sec, floor_kib);
                held += floor_kib == 3 * GIB;
                assert_int_equal(mlg_engine_guest_at(sim_replay_engine(r), 1)->floor_kib, GIB);
        }
        (void) sim_replay_free(r);
        assert_true(held > 10);
}

/* A guest that is started anew begins without any that hold. */
static void test_restart(void **state) {
        Rig *t = rig_new(16 * GIB, false);
        SimGuest *g = rig_add(t, 4 * GIB, 2 * GIB);

        use_rules(t, g, "[Rule busy]\nWhen=guest.used > 1G\nUntil=host.short\nShares=1\n");
        run(t, 10);
        assert_holds(t, g, "busy");
        g->info.instance++;
        (void) mlg_engine_put_guest(t->e, &g->info, &vm_of(t, g)->configured, true, t->now_usec);
        assert_holds(t, g, "");
        rig_free(t);
}

/* ---- the fast way is the plain way ---- */

static const char *one_of(uint64_t *seed, const char *const *words) {
        return words[sim_random_below(seed, g_strv_length((char **) words))];
}
#define ONE_OF(seed, ...) one_of(seed, (const char *const[]) { __VA_ARGS__, NULL })

static void random_number(GString *s, uint64_t *seed, int depth);

static void random_size(GString *s, uint64_t *seed, int depth) {
        uint64_t kind = depth > 0 ? sim_random_below(seed, 8) : 0;

        if (kind < 2) {
                g_string_append(s, ONE_OF(seed, "guest.used", "guest.maximum", "guest.cold", "guest.swap_in", "host.available",
                                          "host.room", "512M", "3K", "4000000T"));
                return;
        }
        g_string_append(s, kind == 7 ? "-(" : kind == 6 ? ONE_OF(seed, "min(", "max(") : "(");
        random_size(s, seed, depth - 1);
        if (kind < 7)
                g_string_append(s, kind == 6 ? ", " : kind < 4 ? ONE_OF(seed, " + ", " - ") : ONE_OF(seed, " * ", " / "));
        if (kind < 4 || kind == 6)
                random_size(s, seed, depth - 1);
        else if (kind < 6)
                random_number(s, seed, depth - 1);
        g_string_append_c(s, ')');
}

static void random_number(GString *s, uint64_t *seed, int depth) {
        if (depth == 0 || sim_random_below(seed, 2) == 0) {
                g_string_append(s, ONE_OF(seed, "0", "1.5", "-3", "25%", "1000000"));
                return;
        }
        g_string_append_c(s, '(');
        random_size(s, seed, depth - 1);
        g_string_append(s, " / ");
        random_size(s, seed, depth - 1);
        g_string_append_c(s, ')');
}

static void random_condition(GString *s, uint64_t *seed, int depth) {
        uint64_t kind = depth > 0 ? sim_random_below(seed, 6) : sim_random_below(seed, 3);

        if (kind == 0)
                g_string_append(s, ONE_OF(seed, "host.short", "known(guest.cold)", "known(host.room)", "guest.used > 25%",
                                          "host.available <= 50%", "guest.pressure >= warning", "guest.state != held",
                                          "time in 22:00..06:00", "weekday in sat..mon", "guest.uptime < 5min"));
        else if (kind < 3) {
                random_size(s, seed, depth);
                g_string_append(s, ONE_OF(seed, " < ", " <= ", " > ", " >= ", " == ", " != "));
                random_size(s, seed, depth);
        } else if (kind == 3) {
                g_string_append(s, "not (");
                random_condition(s, seed, depth - 1);
                g_string_append_c(s, ')');
        } else {
                g_string_append_c(s, '(');
                random_condition(s, seed, depth - 1);
                g_string_append(s, kind == 4 ? " and " : " or ");
                random_condition(s, seed, depth - 1);
                g_string_append_c(s, ')');
        }
}

static void random_rule(GString *s, uint64_t *seed, int i) {
        int depth = (int) sim_random_below(seed, 3);

        g_string_append_printf(s, "[Rule a%d]\nWhen=", i);
        random_condition(s, seed, depth);
        if (sim_random_below(seed, 3) == 0) {
                g_string_append(s, "\nUntil=");
                random_condition(s, seed, depth);
        }
        g_string_append(s, ONE_OF(seed, "", "", "\nFor=2s", "\nKeep=3s", "\nFor=1s\nKeep=2s"));
        g_string_append_printf(s, "\nShares=%d\n", i + 1);
        g_string_append(s, ONE_OF(seed, "", "", "Mode=observe\n", "Predictor=last\n", "HorizonSec=guest.uptime * 2\n",
                                  "CushionRatio=guest.used / guest.maximum\n", "Priority=guest.used / 1G\n"));
        if (sim_random_below(seed, 2) == 0) {
                g_string_append(s, ONE_OF(seed, "Floor=", "Ceiling=", "Cushion="));
                random_size(s, seed, depth);
                g_string_append_c(s, '\n');
        }
}

/* NULL: too much for 2048 steps. */
static MlgConfig *random_rules(uint64_t *seed) {
        g_autoptr(GString) s = g_string_new(NULL);
        int n = 1 + (int) sim_random_below(seed, MLG_RULES_MAX);
        g_autoptr(GError) error = NULL;
        MlgConfig *c;

        for (int i = 0; i < n; i++)
                random_rule(s, seed, i);
        c = mlg_config_load_text("x.policy", s->str, s->len, true, &error);
        if (!c && !strstr(error->message, "expected at most"))
                fail_msg("refused: %s, in:\n%s", error->message, s->str);
        return c;
}

/* Often the same, often just at a limit, and now and then not known. Those of the host are the same for all. */
static void random_facts(uint64_t *seed, bool of_guest, PlainFacts *f) {
        static const uint64_t some[] = { 0, 1, 3, 22 * 60, MIB, 512 * MIB, 64 * GIB, UINT64_MAX };

        for (int i = of_guest ? MLG_FACT_GUEST_MAXIMUM : 0; i < (of_guest ? _MLG_RULE_FACT_MAX : MLG_FACT_GUEST_MAXIMUM); i++)
                if (sim_random_below(seed, 3) == 0 || !(f->told & UINT64_C(1) << i))
                        plain_tell(f, (MlgRuleFact) i, sim_random_below(seed, 8) > 0,
                                   some[sim_random_below(seed, G_N_ELEMENTS(some))]);
}

typedef struct Compared {
        MlgRuleBatch batch;
        MlgRuleState fast[MLG_RULE_LANES], plain[MLG_RULE_LANES];
        PlainFacts facts[MLG_RULE_LANES];
        uint64_t n_begun, n_set;
} Compared;

static void compare_guest(const MlgRules *r, uint64_t seed, unsigned int lane, uint64_t now_usec, Compared *t) {
        MlgGuestSettings expected, before;
        uint64_t held = t->plain[lane].holds;

        mlg_guest_settings_default(&expected);
        before = expected;
        plain_turn(r, t->batch.among[lane], &t->facts[lane], now_usec, &t->plain[lane]);
        plain_apply(r, &t->facts[lane], &t->plain[lane], &expected);
        if (t->fast[lane].holds != t->plain[lane].holds)
                fail_msg("seed %" PRIu64 ", lane %u: these hold: %" PRIx64 ", expected %" PRIx64, seed, lane, t->fast[lane].holds,
                         t->plain[lane].holds);
        assert_memory_equal(t->fast[lane].since_usec, t->plain[lane].since_usec, sizeof(t->plain[lane].since_usec));
        assert_settings(&t->batch.settings[lane], &expected, "by random rules");
        assert_memory_equal(t->fast[lane].set_by, t->plain[lane].set_by, sizeof(t->plain[lane].set_by));
        t->n_begun += (uint64_t) __builtin_popcountll(t->plain[lane].holds & ~held);
        t->n_set += memcmp(&expected, &before, sizeof(before)) != 0;
}

static void compare_turn(const MlgRules *r, uint64_t *seed, uint64_t now_usec, Compared *t) {
        MlgRuleBatch *b = &t->batch;
        PlainFacts host = t->facts[0];
        uint64_t name = *seed;
        MlgRuleVerdict foreseen;

        random_facts(seed, false, &host);
        for (unsigned int lane = 0; lane < b->facts.n_lanes; lane++) {
                MlgRuleFact first_of_guest = MLG_FACT_GUEST_MAXIMUM;
                uint64_t guest = UINT64_MAX << first_of_guest;

                memcpy(t->facts[lane].values, host.values, first_of_guest * sizeof(host.values[0]));
                t->facts[lane].told = (t->facts[lane].told & guest) | (host.told & ~guest);
                t->facts[lane].known = (t->facts[lane].known & guest) | (host.known & ~guest);
                random_facts(seed, true, &t->facts[lane]);
                plain_put(&t->facts[lane], lane, &b->facts);
                if (sim_random_below(seed, 16) == 0)
                        b->among[lane] = sim_random(seed);
                b->among[lane] &= mlg_rules_all(r);
                mlg_guest_settings_default(&b->settings[lane]);
        }
        plain_untell_guest(&host);
        plain_put(&host, 0, &b->facts);
        foreseen = mlg_rules_foresee(r, &b->facts);
        plain_put(&t->facts[0], 0, &b->facts);
        mlg_rules_turn(r, &foreseen, b, now_usec);
        mlg_rules_apply(r, b);
        for (unsigned int lane = 0; lane < b->facts.n_lanes; lane++)
                compare_guest(r, name, lane, now_usec, t);
}

/* Whatever the rules, and whatever is known: the same hold, since the same time, and set the same. */
static void test_fast_is_plain(void **state) {
        uint64_t seed = 1, n_begun = 0, n_set = 0, n_refused = 0;

        for (int i = 0; i < 200; i++) {
                g_autoptr(MlgConfig) c = random_rules(&seed);
                g_autofree Compared *t = g_new0(Compared, 1);

                if (!c) {
                        n_refused++;
                        continue;
                }
                t->batch.facts.n_lanes = 1 + (unsigned int) sim_random_below(&seed, MLG_RULE_LANES);
                for (unsigned int lane = 0; lane < MLG_RULE_LANES; lane++) {
                        t->batch.among[lane] = UINT64_MAX;
                        t->batch.states[lane] = &t->fast[lane];
                }
                for (uint64_t turn = 1; turn <= 12; turn++)
                        compare_turn(mlg_config_rules(c), &seed, turn * SIM_SEC, t);
                n_begun += t->n_begun;
                n_set += t->n_set;
        }
        /* Something came and went. */
        assert_true(n_refused < 100 && n_begun > 20000 && n_set > 20000);
}

/* ---- documents ---- */

/* In the page each name is a row of the table, with its kind. */
static void test_page_lists_all(void **state) {
        static const char *const kinds[] = {
                [MLG_RULE_BOOL] = "yes or no",    [MLG_RULE_NUMBER] = "number", [MLG_RULE_PART] = "part",
                [MLG_RULE_SIZE] = "size",         [MLG_RULE_TIME] = "time",     [MLG_RULE_CLOCK] = "time of day",
                [MLG_RULE_WEEKDAY] = "day",       [MLG_RULE_PRESSURE] = "pressure", [MLG_RULE_STATE] = "state",
        };
        g_autofree char *path = g_build_filename(g_getenv("MLG_SOURCE_ROOT"), "man/memlego-rules.5", NULL);
        g_autofree char *text = NULL;

        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        for (int i = 0; i < _MLG_RULE_FACT_MAX; i++) {
                const MlgRuleFactInfo *info = mlg_rule_fact_info((MlgRuleFact) i);
                bool is_rate = info->type == MLG_RULE_SIZE && info->whole == MLG_RULE_WHOLE_NONE;
                g_autofree char *row = g_strdup_printf("\n%s\t%s\t", info->name, is_rate ? "size per second" : kinds[info->type]);

                if (!strstr(text, row))
                        fail_msg("memlego-rules.5 has no row \"%s\"", row + 1);
        }
}

/* An example without its comments, as the page writes it. */
static char *as_in_page(const char *file) {
        g_autofree char *path = g_strdup_printf("%s/conf/examples/rules/%s.policy", g_getenv("MLG_SOURCE_ROOT"), file);
        g_autofree char *text = NULL;
        g_auto(GStrv) lines = NULL;
        GString *s = g_string_new("\n.EX\n");

        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        lines = g_strsplit(text, "\n", -1);
        for (char **l = lines; *l; l++)
                if (**l != '#' && (**l || s->len > strlen("\n.EX\n")))
                        g_string_append_printf(s, "%s%s", *l, l[1] ? "\n" : "");
        (void) g_string_replace(s, "-", "\\-", 0);
        return g_string_free(g_string_append(s, ".EE\n"), FALSE);
}

static void test_page_has_examples(void **state) {
        g_autofree char *path = g_build_filename(g_getenv("MLG_SOURCE_ROOT"), "man/memlego-rules.5", NULL);
        g_autofree char *text = NULL;

        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        for (size_t i = 0; i < G_N_ELEMENTS(examples); i++) {
                g_autofree char *example = as_in_page(examples[i].file);

                if (!strstr(text, examples[i].file) || !strstr(text, example))
                        fail_msg("memlego-rules.5 does not have %s:%s", examples[i].file, example);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_foresight),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_everything),
                cmocka_unit_test(test_turns),
                cmocka_unit_test(test_sets),
                cmocka_unit_test(test_examples),
                cmocka_unit_test(test_all_examples),
                cmocka_unit_test(test_guests),
                cmocka_unit_test(test_origins),
                cmocka_unit_test(test_texts),
                cmocka_unit_test(test_carry_over),
                cmocka_unit_test(test_floor),
                cmocka_unit_test(test_mode),
                cmocka_unit_test(test_advice),
                cmocka_unit_test(test_predictor),
                cmocka_unit_test(test_clock),
                cmocka_unit_test(test_restart),
                cmocka_unit_test(test_simulation),
                cmocka_unit_test(test_fast_is_plain),
                cmocka_unit_test(test_page_lists_all),
                cmocka_unit_test(test_page_has_examples),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
