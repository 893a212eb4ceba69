/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config expressions: words of a text -> checked types -> steps. One pass, no tree: each rule of the grammar is a function
 * that puts out its steps and tells the type of what they leave on the stack.
 *
 * Invariants: the first mistake ends it, and is told with its place; nesting, steps and stack are bounded, whatever the
 * text. */
#include "service/config-expr.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "memlego/status.h"
#include "service/config-file.h"
#include "util/parse.h"
#include "util/util.h"

#define NESTING_MAX 16
#define WORD_MAX 40
#define EXCERPT_MAX 20

typedef enum Token { END, WORD, VALUE, SIGN } Token;

/* What is known of a value before it is. */
typedef struct Type {
        MlgRuleType type;
        MlgRuleWhole whole; /* of a size */
        bool zero;          /* a plain 0, which is nothing of anything */
        bool ratio;         /* a part that is as well a number: guest.maximum / 1G */
} Type;

typedef struct Parser {
        const char *text, *at, *next; /* all of it; the token; what is behind it */
        Token token;
        char word[WORD_MAX + 1];      /* of WORD and SIGN */
        Type value_type;              /* of VALUE ... */
        int64_t value;
        MlgRuleStep steps[MLG_RULE_STEPS_MAX];
        unsigned int n, height, nesting;
        char *error; /* NULL: all is well */
} Parser;

static const char *const type_names[] = {
        [MLG_RULE_BOOL] = "a condition",
        [MLG_RULE_NUMBER] = "a number",
        [MLG_RULE_PART] = "a part",
        [MLG_RULE_SIZE] = "a size",
        [MLG_RULE_TIME] = "a length of time",
        [MLG_RULE_CLOCK] = "a time of day",
        [MLG_RULE_WEEKDAY] = "a day of the week",
        [MLG_RULE_PRESSURE] = "a pressure",
        [MLG_RULE_STATE] = "a state",
};
static_assert(G_N_ELEMENTS(type_names) == _MLG_RULE_TYPE_MAX, "type_names[] misses a type");

static const char *const type_examples[] = {
        [MLG_RULE_BOOL] = "a condition such as host.available < 20%",
        [MLG_RULE_NUMBER] = "a number such as 1.5",
        [MLG_RULE_PART] = "a part such as 25%",
        [MLG_RULE_SIZE] = "a size such as 512M",
        [MLG_RULE_TIME] = "a length of time such as 30s",
        [MLG_RULE_CLOCK] = "a time of day such as 22:00",
        [MLG_RULE_WEEKDAY] = "a day such as mon",
        [MLG_RULE_PRESSURE] = "one of none, warning, critical",
        [MLG_RULE_STATE] = "one of new, managed, held, alone",
};
static_assert(G_N_ELEMENTS(type_examples) == _MLG_RULE_TYPE_MAX, "type_examples[] misses a type");

static const char *const weekdays[] = { "mon", "tue", "wed", "thu", "fri", "sat", "sun" };
static const char *const reserved[] = { "and", "or", "not", "in", "min", "max", "known" };

/* ---- mistakes ---- */

/* The begin of what is left, as far as it is needed to find the place. */
static char *excerpt(const char *at) {
        glong len = g_utf8_strlen(at, -1);

        return g_strdelimit(g_utf8_substring(at, 0, MIN(len, EXCERPT_MAX)), "\t", ' ');
}

/* `at`: of the text. */
static void fail_at(Parser *p, const char *at, const char *format, ...) G_GNUC_PRINTF(3, 4);
static void fail_at(Parser *p, const char *at, const char *format, ...) {
        g_autofree char *why = NULL, *there = excerpt(at);
        va_list args;

        if (p->error)
                return;
        va_start(args, format);
        why = g_strdup_vprintf(format, args);
        va_end(args);
        p->error = *at ? g_strdup_printf("at character %ld, '%s': %s", g_utf8_pointer_to_offset(p->text, at) + 1, there, why) :
                         g_strdup_printf("at its end: %s", why);
}

#define fail(p, ...) fail_at(p, (p)->at, __VA_ARGS__)

static char *types_to_string(unsigned int types) {
        GString *s = g_string_new("expected ");
        bool more = false;

        for (unsigned int t = 0; t < _MLG_RULE_TYPE_MAX; t++)
                if (types & (1u << t)) {
                        g_string_append_printf(s, "%s%s", more ? ", or " : "", type_examples[t]);
                        more = true;
                }
        return g_string_free(s, FALSE);
}

/* ---- words ---- */

static bool is_word_char(char c) {
        return g_ascii_isalnum(c) || c == '_';
}

/* Letters behind digits, and all else that a value may hold: "1.5G", "12.5%", "5min", "22:00", but not the ".." of a range. */
static size_t value_length(const char *s) {
        size_t n = 0;

        while (g_ascii_isalnum(s[n]) || s[n] == '%' || s[n] == ':' || (s[n] == '.' && g_ascii_isdigit(s[n + 1])))
                n++;
        return n;
}

static bool parse_clock(const char *s, int64_t *ret) {
        uint64_t hour, minute;
        g_autofree char *before = NULL;
        const char *colon = strchr(s, ':');

        if (!colon || strlen(colon + 1) != 2)
                return false;
        before = g_strndup(s, (size_t) (colon - s));
        if (mlg_parse_u64(before, 0, 24, &hour) < 0 || mlg_parse_u64(colon + 1, 0, 59, &minute) < 0 || hour * 60 + minute > 1440)
                return false;
        *ret = (int64_t) (hour * 60 + minute);
        return true;
}

/* Up to six digits behind the point, in units of `one`. */
static bool parse_decimal(const char *s, int64_t one, int64_t *ret) {
        const char *point = strchr(s, '.');
        g_autofree char *whole = point ? g_strndup(s, (size_t) (point - s)) : g_strdup(s);
        uint64_t n, part = 0;

        if (mlg_parse_u64(whole, 0, INT64_MAX / (2 * MLG_RULE_ONE), &n) < 0)
                return false;
        if (point && (strlen(point + 1) > 6 || mlg_parse_u64(point + 1, 0, 999999, &part) < 0))
                return false;
        for (size_t digits = point ? strlen(point + 1) : 0; digits < 6; digits++)
                part *= 10;
        *ret = (int64_t) n * one + (int64_t) mlg_mul_div(part, (uint64_t) one, 1000000);
        return true;
}

static bool set_value(Parser *p, MlgRuleType type, int64_t v) {
        p->value_type = (Type) { .type = type, .zero = type == MLG_RULE_NUMBER && v == 0 };
        p->value = v;
        return true;
}

static bool parse_value(Parser *p, char *s) {
        size_t len = strlen(s);
        uint64_t u;
        int64_t v;

        if (strchr(s, ':'))
                return parse_clock(s, &v) && set_value(p, MLG_RULE_CLOCK, v);
        if (s[len - 1] == '%') {
                s[len - 1] = '\0';
                return parse_decimal(s, MLG_RULE_ONE / 100, &v) && set_value(p, MLG_RULE_PART, v);
        }
        if (g_ascii_isdigit(s[len - 1]))
                return parse_decimal(s, MLG_RULE_ONE, &v) && set_value(p, MLG_RULE_NUMBER, v);
        if (mlg_parse_size_kib(s, &u) == 0)
                return set_value(p, MLG_RULE_SIZE, (int64_t) mlg_min(u, INT64_MAX));
        return mlg_parse_usec(s, &u) == 0 && set_value(p, MLG_RULE_TIME, (int64_t) mlg_min(u, INT64_MAX));
}

/* Signs of two letters first. */
static size_t sign_length(const char *s) {
        static const char *const signs[] = { "<=", ">=", "==", "!=", "..", "<", ">", "+", "-", "*", "/", "(", ")", "," };

        for (size_t i = 0; i < G_N_ELEMENTS(signs); i++)
                if (g_str_has_prefix(s, signs[i]))
                        return strlen(signs[i]);
        return 0;
}

static size_t word_length(const char *s) {
        size_t n = 0;

        while (is_word_char(s[n]) || (s[n] == '.' && g_ascii_isalpha(s[n + 1])))
                n++;
        return n;
}

/* What people write who know other languages. */
static const char *meant(const char *s) {
        static const struct {
                const char *sign, *meant;
        } others[] = { { "=", "==" }, { "&", "and" }, { "|", "or" }, { "!", "not" } };

        for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
                if (g_str_has_prefix(s, others[i].sign))
                        return others[i].meant;
        return NULL;
}

static void take_text(Parser *p, size_t len) {
        (void) g_strlcpy(p->word, p->at, MIN(len + 1, sizeof(p->word)));
        p->next = p->at + len;
        if (len > WORD_MAX)
                fail(p, "expected words of at most %d letters", WORD_MAX);
}

/* Goes on to the next token. */
static void advance(Parser *p) {
        size_t len;

        p->at = p->next + strspn(p->next, " \t");
        p->token = END;
        p->word[0] = '\0';
        if (!*p->at || p->error)
                return;
        if (g_ascii_isdigit(*p->at)) {
                p->token = VALUE;
                take_text(p, value_length(p->at));
                if (!p->error && !parse_value(p, p->word))
                        fail(p, "expected a value such as 512M, 25%%, 30s, 22:00 or 1.5");
                p->word[0] = '\0';
        } else if ((len = sign_length(p->at)) > 0) {
                p->token = SIGN;
                take_text(p, len);
        } else if ((len = word_length(p->at)) > 0) {
                p->token = WORD;
                take_text(p, len);
        } else if (meant(p->at))
                fail(p, "not a sign that is known here, did you mean '%s'?", meant(p->at));
        else
                fail(p, "not a sign that is known here");
}

static bool is_next(const Parser *p, const char *word) {
        return !p->error && (p->token == WORD || p->token == SIGN) && strcmp(p->word, word) == 0;
}

static bool accept(Parser *p, const char *word) {
        if (!is_next(p, word))
                return false;
        advance(p);
        return true;
}

static void expect(Parser *p, const char *word) {
        if (!accept(p, word))
                fail(p, "expected '%s'", word);
}

/* ---- steps ---- */

static void emit(Parser *p, MlgRuleStep step) {
        if (p->error)
                return;
        if (p->n == MLG_RULE_STEPS_MAX) {
                fail(p, "it is too long, expected at most %d values and signs", MLG_RULE_STEPS_MAX);
                return;
        }
        if (step.op <= MLG_OP_KNOWN && ++p->height > MLG_RULE_STACK_MAX)
                fail(p, "it is nested too deeply");
        else if (step.op >= MLG_OP_AND)
                p->height--;
        p->steps[p->n++] = step;
}

static void emit_op(Parser *p, MlgRuleOp op) {
        emit(p, (MlgRuleStep) { .op = (uint8_t) op });
}

static void emit_const(Parser *p, int64_t value) {
        emit(p, (MlgRuleStep) { .op = MLG_OP_CONST, .value = value });
}

/* The steps before `end` leave a part on the stack: of `whole`, it becomes a size. */
static void make_size(Parser *p, unsigned int end, MlgRuleWhole whole) {
        MlgRuleFact fact = whole == MLG_RULE_WHOLE_HOST ? MLG_FACT_HOST_TOTAL : MLG_FACT_GUEST_MAXIMUM;

        emit(p, (MlgRuleStep) { .op = MLG_OP_OF, .fact = (uint8_t) fact });
        if (p->error)
                return;
        memmove(&p->steps[end + 1], &p->steps[end], (p->n - 1 - end) * sizeof(p->steps[0]));
        p->steps[end] = (MlgRuleStep) { .op = MLG_OP_OF, .fact = (uint8_t) fact };
}

/* ---- types ---- */

static bool is_scale(Type t) {
        return t.type == MLG_RULE_NUMBER || t.type == MLG_RULE_PART;
}

static bool is_amount(Type t) {
        return is_scale(t) || t.type == MLG_RULE_SIZE || t.type == MLG_RULE_TIME;
}

static MlgRuleWhole joint_whole(Type a, Type b) {
        if (a.whole == MLG_RULE_WHOLE_NONE || b.whole == a.whole)
                return b.whole;
        return b.whole == MLG_RULE_WHOLE_NONE ? a.whole : MLG_RULE_WHOLE_NONE;
}

static void mismatch(Parser *p, const char *at, Type a, Type b) {
        bool unit = is_amount(a) && is_amount(b) && (a.type == MLG_RULE_NUMBER || b.type == MLG_RULE_NUMBER);

        fail_at(p, at, "%s and %s do not go together%s", type_names[a.type], type_names[b.type],
                unit ? ", a unit may be missing (512M, 25%, 30s)" : "");
}

static bool is_plain(Type t) {
        return t.type == MLG_RULE_NUMBER || t.ratio;
}

/* Makes the same of two operands, those of `sign`; the first one's steps end before `middle`. */
static Type joined(Parser *p, const char *sign, Type a, Type b, unsigned int middle) {
        Type ret = { .type = a.zero ? b.type : a.type, .whole = joint_whole(a, b), .zero = a.zero && b.zero,
                     .ratio = a.ratio && is_plain(b) };
        bool a_is_part = a.type == MLG_RULE_PART && b.type == MLG_RULE_SIZE;

        if (p->error || a.type == b.type || (a.zero && is_amount(b)) || (b.zero && is_amount(a)))
                return ret;
        if (is_plain(a) && is_plain(b))
                return (Type) { .type = MLG_RULE_NUMBER };
        if (!a_is_part && !(a.type == MLG_RULE_SIZE && b.type == MLG_RULE_PART)) {
                mismatch(p, sign, a, b);
                return ret;
        }
        ret = a_is_part ? b : a;
        if (ret.whole == MLG_RULE_WHOLE_NONE)
                fail_at(p, sign, "of what this part is meant is not clear, expected, for example, 20%% * host.total");
        else
                make_size(p, a_is_part ? middle : p->n, ret.whole);
        return ret;
}

static void want(Parser *p, const char *at, Type t, MlgRuleType type) {
        if (!p->error && t.type != type)
                fail_at(p, at, "expected %s, this is %s", type_examples[type], type_names[t.type]);
}

/* ---- grammar ---- */

static Type condition(Parser *p);
static Type sum(Parser *p);

static bool is_reserved(const char *word) {
        for (size_t i = 0; i < G_N_ELEMENTS(reserved); i++)
                if (strcmp(word, reserved[i]) == 0)
                        return true;
        return false;
}

static int find_fact(const char *word) {
        for (int i = 0; i < _MLG_RULE_FACT_MAX; i++)
                if (strcmp(word, mlg_rule_fact_info((MlgRuleFact) i)->name) == 0)
                        return i;
        return -ENOENT;
}

static bool find_constant(const char *word, MlgRuleType *ret_type, int64_t *ret) {
        for (size_t i = 0; i < G_N_ELEMENTS(weekdays); i++)
                if (strcmp(word, weekdays[i]) == 0) {
                        *ret_type = MLG_RULE_WEEKDAY;
                        *ret = (int64_t) i + 1;
                        return true;
                }
        for (int i = 0; i < _MLG_PRESSURE_MAX; i++)
                if (strcmp(word, mlg_pressure_to_string((MlgPressure) i)) == 0) {
                        *ret_type = MLG_RULE_PRESSURE;
                        *ret = i;
                        return true;
                }
        for (int i = 0; i < _MLG_VM_STATE_MAX; i++)
                if (strcmp(word, mlg_vm_state_to_string((MlgVmState) i)) == 0) {
                        *ret_type = MLG_RULE_STATE;
                        *ret = i;
                        return true;
                }
        return false;
}

static void unknown_name(Parser *p) {
        const char *names[_MLG_RULE_FACT_MAX + 1] = {}, *similar;

        for (int i = 0; i < _MLG_RULE_FACT_MAX; i++)
                names[i] = mlg_rule_fact_info((MlgRuleFact) i)->name;
        similar = mlg_config_file_suggest(p->word, names);
        if (is_reserved(p->word))
                fail(p, "expected a name or a value");
        else if (similar)
                fail(p, "unknown name, did you mean %s?", similar);
        else
                fail(p, "unknown name, memlego-rules(5) lists them all");
}

/* NAME of known(): -1 where there is none. */
static int fact_name(Parser *p) {
        int fact = p->token == WORD ? find_fact(p->word) : -ENOENT;

        if (fact >= 0)
                advance(p);
        else if (p->token == WORD)
                unknown_name(p);
        else
                fail(p, "expected a name such as guest.cold");
        return fact;
}

static Type word(Parser *p) {
        int fact = find_fact(p->word);
        Type ret = {};
        int64_t v;

        if (fact >= 0) {
                const MlgRuleFactInfo *info = mlg_rule_fact_info((MlgRuleFact) fact);

                emit(p, (MlgRuleStep) { .op = MLG_OP_FACT, .fact = (uint8_t) fact });
                ret = (Type) { .type = info->type, .whole = info->type == MLG_RULE_SIZE ? info->whole : MLG_RULE_WHOLE_NONE };
        } else if (find_constant(p->word, &ret.type, &v))
                emit_const(p, v);
        else
                unknown_name(p);
        advance(p);
        return ret;
}

/* Behind "min" or "max". */
static Type extreme(Parser *p, MlgRuleOp op) {
        Type ret, next;

        expect(p, "(");
        ret = sum(p);
        while (is_next(p, ",")) {
                const char *sign = p->at;
                unsigned int middle = p->n;

                advance(p);
                next = sum(p);
                if (!p->error && !is_amount(ret))
                        fail_at(p, sign, "expected sizes, parts, numbers or times, this is %s", type_names[ret.type]);
                ret = joined(p, sign, ret, next, middle);
                emit_op(p, op);
        }
        expect(p, ")");
        return ret;
}

static Type known(Parser *p) {
        int fact;

        expect(p, "(");
        fact = fact_name(p);
        expect(p, ")");
        if (!p->error)
                emit(p, (MlgRuleStep) { .op = MLG_OP_KNOWN, .fact = (uint8_t) fact });
        return (Type) { .type = MLG_RULE_BOOL };
}

static Type factor(Parser *p) {
        Type ret = {};

        if (p->error)
                return ret;
        if (p->nesting == NESTING_MAX) {
                fail(p, "it is nested too deeply");
                return ret;
        }
        p->nesting++;
        if (accept(p, "-")) {
                const char *at = p->at;

                ret = factor(p);
                if (!p->error && !is_amount(ret))
                        fail_at(p, at, "expected a size, a part, a number or a time, this is %s", type_names[ret.type]);
                emit_op(p, MLG_OP_NEGATE);
        } else if (accept(p, "(")) {
                ret = condition(p);
                expect(p, ")");
        } else if (accept(p, "min"))
                ret = extreme(p, MLG_OP_LEAST);
        else if (accept(p, "max"))
                ret = extreme(p, MLG_OP_MOST);
        else if (accept(p, "known"))
                ret = known(p);
        else if (p->token == VALUE) {
                ret = p->value_type;
                emit_const(p, p->value);
                advance(p);
        } else if (p->token == WORD)
                ret = word(p);
        else
                fail(p, "expected a name or a value");
        p->nesting--;
        return ret;
}

static Type scaled_type(Parser *p, const char *sign, bool divides, Type a, Type b) {
        bool same = a.type == b.type && (a.type == MLG_RULE_SIZE || a.type == MLG_RULE_TIME);

        if (p->error)
                return a;
        if (!is_amount(a) || !is_amount(b) || !(divides ? is_scale(b) || same : is_scale(a) || is_scale(b)))
                fail_at(p, sign, "%s cannot be %s %s", type_names[a.type], divides ? "divided by" : "multiplied by",
                        type_names[b.type]);
        if (divides && same)
                return (Type) { .type = MLG_RULE_PART, .ratio = true };
        if (is_plain(a) && is_plain(b))
                return (Type) { .type = MLG_RULE_NUMBER };
        if (divides && is_scale(a))
                return (Type) { .type = b.type == MLG_RULE_PART ? MLG_RULE_NUMBER : a.type };
        /* What it is a multiple of; a part, of two scales. */
        if (!divides && (a.type == MLG_RULE_NUMBER || (a.type == MLG_RULE_PART && !is_scale(b))))
                a = b;
        return (Type) { .type = a.type, .whole = a.whole };
}

static Type product(Parser *p) {
        Type ret = factor(p);

        while (is_next(p, "*") || is_next(p, "/")) {
                bool divides = is_next(p, "/");
                const char *sign = p->at;

                advance(p);
                ret = scaled_type(p, sign, divides, ret, factor(p));
                emit_op(p, divides ? MLG_OP_DIVIDE : MLG_OP_MULTIPLY);
        }
        return ret;
}

static Type sum(Parser *p) {
        Type ret = product(p);

        while (is_next(p, "+") || is_next(p, "-")) {
                MlgRuleOp op = is_next(p, "+") ? MLG_OP_ADD : MLG_OP_SUBTRACT;
                const char *sign = p->at;
                unsigned int middle = p->n;
                Type b;

                advance(p);
                b = product(p);
                if (!p->error && (!is_amount(ret) || !is_amount(b)))
                        mismatch(p, sign, ret, b);
                ret = joined(p, sign, ret, b, middle);
                emit_op(p, op);
        }
        return ret;
}

/* One end of a range. */
static int64_t range_end(Parser *p, MlgRuleType type) {
        MlgRuleType is = _MLG_RULE_TYPE_MAX;
        int64_t v = 0;

        if (p->token == VALUE) {
                is = p->value_type.type;
                v = p->value;
        } else if (p->token == WORD)
                (void) find_constant(p->word, &is, &v);
        if (is != type)
                fail(p, "expected %s", type_examples[type]);
        advance(p);
        return v;
}

/* "time in 22:00..06:00" is "time >= 22:00 or time < 06:00"; its end is not in it, that of days is. The value before
 * `in` was a name or a word: nothing else has these types. */
static void range(Parser *p, const char *sign, Type t) {
        bool clock = t.type == MLG_RULE_CLOCK;
        MlgRuleStep value = p->steps[p->n > 0 ? p->n - 1 : 0];
        int64_t first, last;

        if (!p->error && !clock && t.type != MLG_RULE_WEEKDAY)
                fail_at(p, sign, "expected a time of day or a day of the week before it, this is %s", type_names[t.type]);
        first = range_end(p, t.type);
        expect(p, "..");
        last = range_end(p, t.type);
        if (clock && first == last)
                fail_at(p, sign, "expected two times that differ");
        emit_const(p, first);
        emit_op(p, MLG_OP_GREATER_EQUAL);
        emit(p, value);
        emit_const(p, last);
        emit_op(p, clock ? MLG_OP_LESS : MLG_OP_LESS_EQUAL);
        emit_op(p, first <= last ? MLG_OP_AND : MLG_OP_OR);
}

static int comparison_op(const Parser *p) {
        static const struct {
                const char *sign;
                MlgRuleOp op;
        } ops[] = {
                { "<", MLG_OP_LESS },     { "<=", MLG_OP_LESS_EQUAL }, { ">", MLG_OP_GREATER }, { ">=", MLG_OP_GREATER_EQUAL },
                { "==", MLG_OP_EQUAL }, { "!=", MLG_OP_UNEQUAL },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(ops); i++)
                if (is_next(p, ops[i].sign))
                        return (int) ops[i].op;
        return -ENOENT;
}

static void compare(Parser *p, MlgRuleOp op, Type a) {
        const char *sign = p->at;
        unsigned int middle = p->n;
        Type b;

        advance(p);
        b = sum(p);
        if (!p->error && a.type == MLG_RULE_BOOL)
                fail_at(p, sign, "expected a value before it: conditions are joined by 'and', 'or' and 'not'");
        if (!p->error && a.type == MLG_RULE_STATE && op != MLG_OP_EQUAL && op != MLG_OP_UNEQUAL)
                fail_at(p, sign, "states have no order, expected == or !=");
        (void) joined(p, sign, a, b, middle);
        emit_op(p, op);
        if (comparison_op(p) >= 0)
                fail(p, "expected 'and' between two comparisons");
}

static Type comparison(Parser *p) {
        static const Type boolean = { .type = MLG_RULE_BOOL };
        Type t = sum(p);
        const char *sign = p->at;
        int op = comparison_op(p);

        if (op >= 0)
                compare(p, (MlgRuleOp) op, t);
        else if (accept(p, "in"))
                range(p, sign, t);
        else
                return t;
        return boolean;
}

static Type one(Parser *p) {
        const char *at;
        Type t;
        bool odd = false;

        if (!is_next(p, "not"))
                return comparison(p);
        while (accept(p, "not")) /* as many as somebody likes */
                odd = !odd;
        at = p->at;
        t = comparison(p);
        want(p, at, t, MLG_RULE_BOOL);
        if (odd)
                emit_op(p, MLG_OP_NOT);
        return t;
}

/* Operands joined by `word`: what the first ones decide spares the others. */
static Type chain(Parser *p, const char *join, MlgRuleOp skip, MlgRuleOp op, Type (*operand)(Parser *p)) {
        const char *at = p->at;
        Type t = operand(p);

        while (is_next(p, join)) {
                unsigned int from = p->n;

                want(p, at, t, MLG_RULE_BOOL);
                advance(p);
                at = p->at;
                emit_op(p, skip);
                t = operand(p);
                want(p, at, t, MLG_RULE_BOOL);
                emit_op(p, op);
                if (!p->error)
                        p->steps[from].skip = (uint16_t) (p->n - 1 - from);
        }
        return t;
}

static Type both(Parser *p) {
        return chain(p, "and", MLG_OP_AND_THEN, MLG_OP_AND, one);
}

static Type condition(Parser *p) {
        return chain(p, "or", MLG_OP_OR_ELSE, MLG_OP_OR, both);
}

/* ---- all of it ---- */

static void check_end(Parser *p, Type t, unsigned int types) {
        g_autofree char *wanted = types_to_string(types);

        if (!p->error && p->token != END)
                fail(p, "expected a sign such as + or <, 'and', 'or', or the end");
        /* A plain 0 is any amount. */
        if (!p->error && !(types & (1u << t.type)) && !t.zero && !(t.ratio && types & MLG_EXPR_TYPE(NUMBER)))
                fail_at(p, p->text, "%s, this is %s", wanted, type_names[t.type]);
}

int mlg_expr_compile(const char *text, unsigned int types, MlgRules *r, MlgExpr *ret, char **ret_error) {
        Parser p = { .text = text, .at = text, .next = text };
        Type t;

        advance(&p);
        t = condition(&p);
        check_end(&p, t, types);
        if (!p.error && p.n > MLG_RULES_STEPS_MAX - r->n_steps)
                p.error = g_strdup_printf("expected at most %d values and signs in all rules", MLG_RULES_STEPS_MAX);
        if (p.error) {
                *ret_error = p.error;
                return -EINVAL;
        }
        memcpy(&r->steps[r->n_steps], p.steps, p.n * sizeof(p.steps[0]));
        *ret = (MlgExpr) { .program = { (uint16_t) r->n_steps, (uint16_t) p.n }, .type = t.type };
        r->n_steps += p.n;
        return 0;
}
