/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config rules: [Rule NAME] sections -> MlgRules.
 *
 * Keys are those of [Guest], and five of their own. What stands behind a key of [Guest] is a value as
 * there, or, where it is an amount, an expression. Invariants: `rules` and `compiled` of a config have the
 * same rules in the same places; each rule has a name of its own, a condition, and something to set. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "service/config-expr.h"
#include "service/config-file.h"
#include "service/config-private.h"
#include "util/parse.h"
#include "util/util.h"

#define TIME_MOST_USEC (UINT64_C(86400) * MLG_USEC_PER_SEC)
#define SIZE_MOST_KIB \
        (INT64_C(1) << 50) /* as of samples: what is computed can be written down, and read again */
#define GUESTS_MAX 64      /* patterns of one rule */

static const char *const keys[] = {
        [MLG_RULE_KEY_GUESTS] = "Guests", [MLG_RULE_KEY_WHEN] = "When", [MLG_RULE_KEY_UNTIL] = "Until",
        [MLG_RULE_KEY_FOR] = "For",       [MLG_RULE_KEY_KEEP] = "Keep",
};
static_assert(G_N_ELEMENTS(keys) == _MLG_RULE_KEY_MAX, "keys[] misses a key");

const char *mlg_config_rule_key(MlgRuleKey k) {
        return keys[k];
}

void mlg_config_rule_free(void *rule) {
        MlgConfigRule *r = rule;

        g_free(r->name);
        g_strfreev(r->patterns);
        g_ptr_array_unref(r->lines);
        g_free(r);
}

const MlgConfigRule *mlg_config_rule_find(const MlgConfig *c, const char *name) {
        for (size_t i = 0; i < c->rules->len; i++)
                if (strcmp(((const MlgConfigRule *) c->rules->pdata[i])->name, name) == 0)
                        return c->rules->pdata[i];
        return NULL;
}

static MlgConfigRule *add(MlgConfig *c, const char *name, const MlgConfigOrigin *at) {
        MlgConfigRule *rule = g_new0(MlgConfigRule, 1);
        MlgOptionSettings defaults;
        MlgRule *compiled;

        if (!c->compiled)
                c->compiled = g_new0(MlgRules, 1);
        compiled = &c->compiled->rules[c->compiled->n_rules++];
        g_strlcpy(compiled->name, name, sizeof(compiled->name));
        mlg_option_defaults(MLG_OPTION_GUEST, &defaults);
        compiled->values = defaults.guest;
        rule->name = g_strdup(name);
        rule->patterns = g_strsplit("*", " ", -1);
        rule->at = *at;
        rule->lines = g_ptr_array_new_with_free_func(g_free);
        g_ptr_array_add(c->rules, rule);
        return rule;
}

MlgConfigRule *mlg_config_rule_open(MlgConfig *c, const char *header, const char *name,
                                    const MlgConfigOrigin *at, GError **error) {
        const MlgConfigRule *same = mlg_config_rule_find(c, name);

        if (!mlg_config_name_is_valid(name, MLG_RULE_NAME_MAX))
                mlg_config_file_error(
                        error, at->file, at->line, header, NULL, NULL,
                        "expected [Rule NAME] alone on its line, with a name of 1 to %d letters, "
                                      "digits, -, _ or .",
                        MLG_RULE_NAME_MAX);
        else if (same)
                mlg_config_file_error(error, at->file, at->line, header, NULL, NULL,
                                      "expected another name, there is one of this name in %s:%u already",
                                      same->at.file, same->at.line);
        else if (c->rules->len == MLG_RULES_MAX)
                mlg_config_file_error(error, at->file, at->line, header, NULL, NULL,
                                      "expected at most %d rules in all files", MLG_RULES_MAX);
        else
                return add(c, name, at);
        return NULL;
}

/* ---- keys of its own ---- */

static int set_guests(MlgConfigRule *rule, const char *value, char **ret_expected) {
        g_auto(GStrv) words = g_strsplit_set(*value ? value : "*", " \t", -1);
        g_autoptr(GPtrArray) patterns = g_ptr_array_new_with_free_func(g_free);

        for (char **w = words; *w; w++) {
                if (!**w)
                        continue;
                if (!mlg_config_pattern_is_valid(*w) || patterns->len == GUESTS_MAX) {
                        *ret_expected = g_strdup_printf(
                                "expected up to %d patterns such as web-* or label=gold, with blanks "
                                "between them",
                                GUESTS_MAX);
                        return -EINVAL;
                }
                g_ptr_array_add(patterns, g_strdup(*w));
        }
        g_ptr_array_add(patterns, NULL);
        g_strfreev(rule->patterns);
        rule->patterns = (char **) g_ptr_array_free(g_steal_pointer(&patterns), FALSE);
        return 0;
}

static int set_condition(MlgRules *r, MlgRuleProgram *ret, const char *value, char **ret_expected) {
        MlgExpr e;
        int result;

        result = mlg_expr_compile(value, MLG_EXPR_TYPE(BOOL), r, &e, ret_expected);
        if (result == 0)
                *ret = e.program;
        return result;
}

static int set_time(uint64_t *ret_usec, const char *value, char **ret_expected) {
        uint64_t usec = 0;

        if (*value && (mlg_parse_usec(value, &usec) < 0 || usec > TIME_MOST_USEC)) {
                *ret_expected = g_strdup("expected a time from 0 to 1d such as 30s or 5min");
                return -EINVAL;
        }
        *ret_usec = usec;
        return 0;
}

static int set_own(MlgConfig *c, MlgConfigRule *rule, MlgRule *compiled, MlgRuleKey key, const char *value,
                   char **ret_expected) {
        switch (key) {
        case MLG_RULE_KEY_GUESTS:
                return set_guests(rule, value, ret_expected);
        case MLG_RULE_KEY_WHEN:
                return set_condition(c->compiled, &compiled->when, value, ret_expected);
        case MLG_RULE_KEY_UNTIL:
                if (*value == '\0')
                        return 0;
                return set_condition(c->compiled, &compiled->until, value, ret_expected);
        case MLG_RULE_KEY_FOR:
                return set_time(&compiled->for_usec, value, ret_expected);
        case MLG_RULE_KEY_KEEP:
                return set_time(&compiled->keep_usec, value, ret_expected);
        case _MLG_RULE_KEY_MAX:
                break;
        }
        g_assert_not_reached();
}

/* ---- keys of [Guest] ---- */

/* What an expression behind it may come to; 0: it takes none. */
static unsigned int types_of(const MlgOption *o) {
        switch (o->type) {
        case MLG_OPTION_AMOUNT:
        case MLG_OPTION_AMOUNT_MAX:
                return MLG_EXPR_TYPE(SIZE) | MLG_EXPR_TYPE(PART);
        case MLG_OPTION_PERMILLE:
                return MLG_EXPR_TYPE(PART);
        case MLG_OPTION_U32:
        case MLG_OPTION_I32:
                return MLG_EXPR_TYPE(NUMBER);
        case MLG_OPTION_USEC:
                return MLG_EXPR_TYPE(TIME);
        case MLG_OPTION_URI:
        case MLG_OPTION_LOG_LEVEL:
        case MLG_OPTION_MODE:
        case MLG_OPTION_MONITOR:
        case MLG_OPTION_RECLAIM:
        case MLG_OPTION_POLICY:
        case MLG_OPTION_PREDICTOR:
        case MLG_OPTION_BOOL:
        case MLG_OPTION_SECONDS:
        case MLG_OPTION_CENTI:
        case MLG_OPTION_SIZE:
        case MLG_OPTION_SIZE_2:
        case MLG_OPTION_PATTERNS:
        case MLG_OPTION_ATTACH:
        case MLG_OPTION_ISOLATION:
        case _MLG_OPTION_TYPE_MAX:
                break;
        }
        return 0;
}

static MlgRuleField field_of(const MlgOption *o, MlgRuleType type) {
        switch (o->type) {
        case MLG_OPTION_AMOUNT:
        case MLG_OPTION_AMOUNT_MAX:
                return type == MLG_RULE_PART ? MLG_RULE_FIELD_AMOUNT_PART : MLG_RULE_FIELD_AMOUNT_SIZE;
        case MLG_OPTION_PERMILLE:
                return MLG_RULE_FIELD_PERMILLE;
        case MLG_OPTION_U32:
                return MLG_RULE_FIELD_U32;
        case MLG_OPTION_I32:
                return MLG_RULE_FIELD_I32;
        default: /* types_of() lets nothing else through */
                return MLG_RULE_FIELD_USEC;
        }
}

static MlgRuleSet set_of(const MlgOption *o, MlgRuleField field) {
        MlgRuleSet ret = { .offset = (uint16_t) o->offset,
                           .size = (uint16_t) o->size,
                           .field = field,
                           .min = o->min,
                           .max = o->max };

        if (field == MLG_RULE_FIELD_AMOUNT_SIZE)
                ret.max = MIN(o->max, SIZE_MOST_KIB);
        if (field ==
            MLG_RULE_FIELD_AMOUNT_PART) { /* where the least is a size, the least part is one thousandth */
                ret.min = o->min > 0;
                ret.max = 1000;
        }
        return ret;
}

static int set_computed(MlgRules *r, const MlgOption *o, MlgRuleSet *ret, const char *value,
                        char **ret_expected) {
        MlgExpr e;

        if (mlg_expr_compile(value, types_of(o), r, &e, ret_expected) < 0)
                return -EINVAL;
        *ret = set_of(o, field_of(o, e.type));
        ret->program = e.program;
        return 0;
}

static int set_option(MlgRules *r, MlgRule *compiled, const MlgOption *o, const char *value,
                      char **ret_expected) {
        g_autofree char *expected = NULL;
        MlgRuleSet set = set_of(o, MLG_RULE_FIELD_COPY);

        if (o->type == MLG_OPTION_MONITOR) {
                *ret_expected = g_strdup("expected it in [Guest PATTERN]: a rule adds no device to a guest");
                return -EINVAL;
        }
        if (mlg_option_parse(o, value, &compiled->values, &expected) < 0) {
                if (types_of(o) == 0)
                        *ret_expected = g_steal_pointer(&expected);
                if (types_of(o) == 0 || set_computed(r, o, &set, value, ret_expected) < 0)
                        return -EINVAL;
        }
        g_assert(compiled->n_sets < MLG_RULE_SETS_MAX); /* a unit test counts them */
        compiled->sets[compiled->n_sets++] = set;
        return 0;
}

int mlg_config_rule_set(MlgConfig *c, MlgConfigRule *rule, size_t key, const char *value,
                        char **ret_expected) {
        MlgRule *compiled = &c->compiled->rules[c->compiled->n_rules - 1];
        bool own = key >= mlg_option_count();
        const char *name = own ? keys[key - mlg_option_count()] : mlg_option_at(key)->key;
        int r;

        r = own ? set_own(c, rule, compiled, (MlgRuleKey) (key - mlg_option_count()), value, ret_expected)
                : set_option(c->compiled, compiled, mlg_option_at(key), value, ret_expected);
        if (r < 0)
                return r;
        rule->set |= UINT64_C(1) << key;
        g_ptr_array_add(rule->lines, g_strconcat(name, "=", value, NULL));
        return 0;
}

bool mlg_config_rules_check(const MlgConfig *c, GError **error) {
        for (size_t i = 0; i < c->rules->len; i++) {
                const MlgConfigRule *rule = c->rules->pdata[i];
                const MlgRule *compiled = &c->compiled->rules[i];
                const char *missing =
                        compiled->when.n == 0 ? "expected When=CONDITION in it"
                        : compiled->n_sets == 0
                                ? "expected something that it sets, such as Floor=50% or Priority=10"
                                : NULL;
                g_autofree char *header = g_strconcat("Rule ", rule->name, NULL);

                if (!missing)
                        continue;
                mlg_config_file_error(error, rule->at.file, rule->at.line, header, NULL, NULL, "%s",
                                      missing);
                return false;
        }
        return true;
}
