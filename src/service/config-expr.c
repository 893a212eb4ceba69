/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config expressions: words -> checked types -> steps. One pass, no tree: each rule of the grammar is a
 * function that puts out its steps and tells the type of what they leave on the stack.
 *
 * Invariants: the first mistake ends it, and is told with its place; nesting, steps and stack are bounded,
 * whatever the text. */
#include "service/config-expr.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "memlego/status.h"
#include "service/config-file.h"
#include "service/config-words.h"
#include "util/util.h"

#define NESTING_MAX 16

/* What is known of a value before it is. */
typedef struct Type {
        MlgRuleType type;
        MlgRuleWhole whole; /* of a size */
        bool zero;          /* a plain 0, which is nothing of anything */
        bool ratio;         /* a part that is as well a number: guest.maximum / 1G */
} Type;

typedef struct Parser {
        MlgWords w;
        MlgRuleStep steps[MLG_RULE_STEPS_MAX];
        unsigned int n, height, nesting;
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

#define fail(p, ...) mlg_words_fail(&(p)->w, (p)->w.at, __VA_ARGS__)

/* ---- steps ---- */

static void emit(Parser *p, MlgRuleStep step) {
        if (p->w.error)
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
        if (p->w.error)
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

        mlg_words_fail(&p->w, at, "%s and %s do not go together%s", type_names[a.type], type_names[b.type],
                       unit ? ", a unit may be missing (512M, 25%, 30s)" : "");
}

static bool is_plain(Type t) {
        return t.type == MLG_RULE_NUMBER || t.ratio;
}

/* Makes the same of two operands, those of `sign`; the first one's steps end before `middle`. */
static Type joined(Parser *p, const char *sign, Type a, Type b, unsigned int middle) {
        Type ret = { .type = a.zero ? b.type : a.type,
                     .whole = joint_whole(a, b),
                     .zero = a.zero && b.zero,
                     .ratio = a.ratio && is_plain(b) };
        bool a_is_part = a.type == MLG_RULE_PART && b.type == MLG_RULE_SIZE;

        if (p->w.error || a.type == b.type || (a.zero && is_amount(b)) || (b.zero && is_amount(a)))
                return ret;
        if (is_plain(a) && is_plain(b))
                return (Type) { .type = MLG_RULE_NUMBER };
        if (!a_is_part && !(a.type == MLG_RULE_SIZE && b.type == MLG_RULE_PART)) {
                mismatch(p, sign, a, b);
                return ret;
        }
        ret = a_is_part ? b : a;
        if (ret.whole == MLG_RULE_WHOLE_NONE)
                mlg_words_fail(
                        &p->w, sign,
                        "of what this part is meant is not clear, expected, for example, 20%% * host.total");
        else
                make_size(p, a_is_part ? middle : p->n, ret.whole);
        return ret;
}

static void want(Parser *p, const char *at, Type t, MlgRuleType type) {
        if (!p->w.error && t.type != type)
                mlg_words_fail(&p->w, at, "expected %s, this is %s", type_examples[type],
                               type_names[t.type]);
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
        similar = mlg_config_file_suggest(p->w.word, names);
        if (is_reserved(p->w.word))
                fail(p, "expected a name or a value");
        else if (similar)
                fail(p, "unknown name, did you mean %s?", similar);
        else
                fail(p, "unknown name, memlego-rules(5) lists them all");
}

/* NAME of known(): -1 where there is none. */
static int fact_name(Parser *p) {
        int fact = p->w.token == MLG_TOKEN_WORD ? find_fact(p->w.word) : -ENOENT;

        if (fact >= 0)
                mlg_words_advance(&p->w);
        else if (p->w.token == MLG_TOKEN_WORD)
                unknown_name(p);
        else
                fail(p, "expected a name such as guest.cold");
        return fact;
}

static Type word(Parser *p) {
        int fact = find_fact(p->w.word);
        Type ret = {};
        int64_t v;

        if (fact >= 0) {
                const MlgRuleFactInfo *info = mlg_rule_fact_info((MlgRuleFact) fact);

                emit(p, (MlgRuleStep) { .op = MLG_OP_FACT, .fact = (uint8_t) fact });
                ret = (Type) { .type = info->type,
                              .whole = info->type == MLG_RULE_SIZE ? info->whole : MLG_RULE_WHOLE_NONE };
        } else if (find_constant(p->w.word, &ret.type, &v))
                emit_const(p, v);
        else
                unknown_name(p);
        mlg_words_advance(&p->w);
        return ret;
}

/* Behind "min" or "max". */
static Type extreme(Parser *p, MlgRuleOp op) {
        Type ret, next;

        mlg_words_expect(&p->w, "(");
        ret = sum(p);
        while (mlg_words_next_is(&p->w, ",")) {
                const char *sign = p->w.at;
                unsigned int middle = p->n;

                mlg_words_advance(&p->w);
                next = sum(p);
                if (!p->w.error && !is_amount(ret))
                        mlg_words_fail(&p->w, sign, "expected sizes, parts, numbers or times, this is %s",
                                       type_names[ret.type]);
                ret = joined(p, sign, ret, next, middle);
                emit_op(p, op);
        }
        mlg_words_expect(&p->w, ")");
        return ret;
}

static Type known(Parser *p) {
        int fact;

        mlg_words_expect(&p->w, "(");
        fact = fact_name(p);
        mlg_words_expect(&p->w, ")");
        if (!p->w.error)
                emit(p, (MlgRuleStep) { .op = MLG_OP_KNOWN, .fact = (uint8_t) fact });
        return (Type) { .type = MLG_RULE_BOOL };
}

static Type factor(Parser *p) {
        Type ret = {};

        if (p->w.error)
                return ret;
        if (p->nesting == NESTING_MAX) {
                fail(p, "it is nested too deeply");
                return ret;
        }
        p->nesting++;
        if (mlg_words_accept(&p->w, "-")) {
                const char *at = p->w.at;

                ret = factor(p);
                if (!p->w.error && !is_amount(ret))
                        mlg_words_fail(&p->w, at, "expected a size, a part, a number or a time, this is %s",
                                       type_names[ret.type]);
                emit_op(p, MLG_OP_NEGATE);
        } else if (mlg_words_accept(&p->w, "(")) {
                ret = condition(p);
                mlg_words_expect(&p->w, ")");
        } else if (mlg_words_accept(&p->w, "min"))
                ret = extreme(p, MLG_OP_LEAST);
        else if (mlg_words_accept(&p->w, "max"))
                ret = extreme(p, MLG_OP_MOST);
        else if (mlg_words_accept(&p->w, "known"))
                ret = known(p);
        else if (p->w.token == MLG_TOKEN_VALUE) {
                ret = (Type) { .type = p->w.value_type,
                              .zero = p->w.value_type == MLG_RULE_NUMBER && p->w.value == 0 };
                emit_const(p, p->w.value);
                mlg_words_advance(&p->w);
        } else if (p->w.token == MLG_TOKEN_WORD)
                ret = word(p);
        else
                fail(p, "expected a name or a value");
        p->nesting--;
        return ret;
}

static Type scaled_type(Parser *p, const char *sign, bool divides, Type a, Type b) {
        bool same = a.type == b.type && (a.type == MLG_RULE_SIZE || a.type == MLG_RULE_TIME);

        if (p->w.error)
                return a;
        if (!is_amount(a) || !is_amount(b) || !(divides ? is_scale(b) || same : is_scale(a) || is_scale(b)))
                mlg_words_fail(&p->w, sign, "%s cannot be %s %s", type_names[a.type],
                               divides ? "divided by" : "multiplied by", type_names[b.type]);
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

        while (mlg_words_next_is(&p->w, "*") || mlg_words_next_is(&p->w, "/")) {
                bool divides = mlg_words_next_is(&p->w, "/");
                const char *sign = p->w.at;

                mlg_words_advance(&p->w);
                ret = scaled_type(p, sign, divides, ret, factor(p));
                emit_op(p, divides ? MLG_OP_DIVIDE : MLG_OP_MULTIPLY);
        }
        return ret;
}

static Type sum(Parser *p) {
        Type ret = product(p);

        while (mlg_words_next_is(&p->w, "+") || mlg_words_next_is(&p->w, "-")) {
                MlgRuleOp op = mlg_words_next_is(&p->w, "+") ? MLG_OP_ADD : MLG_OP_SUBTRACT;
                const char *sign = p->w.at;
                unsigned int middle = p->n;
                Type b;

                mlg_words_advance(&p->w);
                b = product(p);
                if (!p->w.error && (!is_amount(ret) || !is_amount(b)))
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

        if (p->w.token == MLG_TOKEN_VALUE) {
                is = p->w.value_type;
                v = p->w.value;
        } else if (p->w.token == MLG_TOKEN_WORD)
                (void) find_constant(p->w.word, &is, &v);
        if (is != type)
                fail(p, "expected %s", type_examples[type]);
        mlg_words_advance(&p->w);
        return v;
}

/* "time in 22:00..06:00" is "time >= 22:00 or time < 06:00"; its end is not in it, that of days is. The
 * value before `in` was a name or a word: nothing else has these types. */
static void range(Parser *p, const char *sign, Type t) {
        bool clock = t.type == MLG_RULE_CLOCK;
        MlgRuleStep value;
        int64_t first, last;

        if (!clock && t.type != MLG_RULE_WEEKDAY)
                mlg_words_fail(&p->w, sign,
                               "expected a time of day or a day of the week before it, this is %s",
                               type_names[t.type]);
        if (p->w.error || (!clock && t.type != MLG_RULE_WEEKDAY))
                return;
        value = p->steps[p->n - 1];
        first = range_end(p, t.type);
        mlg_words_expect(&p->w, "..");
        last = range_end(p, t.type);
        if (clock && first == last)
                mlg_words_fail(&p->w, sign, "expected two times that differ");
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
                { "<", MLG_OP_LESS },           { "<=", MLG_OP_LESS_EQUAL }, { ">", MLG_OP_GREATER },
                { ">=", MLG_OP_GREATER_EQUAL }, { "==", MLG_OP_EQUAL },      { "!=", MLG_OP_UNEQUAL },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(ops); i++)
                if (mlg_words_next_is(&p->w, ops[i].sign))
                        return (int) ops[i].op;
        return -ENOENT;
}

static void compare(Parser *p, MlgRuleOp op, Type a) {
        const char *sign = p->w.at;
        unsigned int middle = p->n;
        Type b;

        mlg_words_advance(&p->w);
        b = sum(p);
        if (!p->w.error && a.type == MLG_RULE_BOOL)
                mlg_words_fail(&p->w, sign,
                               "expected a value before it: conditions are joined by 'and', 'or' and 'not'");
        if (!p->w.error && a.type == MLG_RULE_STATE && op != MLG_OP_EQUAL && op != MLG_OP_UNEQUAL)
                mlg_words_fail(&p->w, sign, "states have no order, expected == or !=");
        (void) joined(p, sign, a, b, middle);
        emit_op(p, op);
        if (comparison_op(p) >= 0)
                fail(p, "expected 'and' between two comparisons");
}

static Type comparison(Parser *p) {
        static const Type boolean = { .type = MLG_RULE_BOOL };
        Type t = sum(p);
        const char *sign = p->w.at;
        int op = comparison_op(p);

        if (op >= 0)
                compare(p, (MlgRuleOp) op, t);
        else if (mlg_words_accept(&p->w, "in"))
                range(p, sign, t);
        else
                return t;
        return boolean;
}

static Type one(Parser *p) {
        const char *at;
        Type t;
        bool odd = false;

        if (!mlg_words_next_is(&p->w, "not"))
                return comparison(p);
        while (mlg_words_accept(&p->w, "not")) /* as many as somebody likes */
                odd = !odd;
        at = p->w.at;
        t = comparison(p);
        want(p, at, t, MLG_RULE_BOOL);
        if (odd)
                emit_op(p, MLG_OP_NOT);
        return t;
}

/* Operands joined by `word`: what the first ones decide spares the others. */
static Type chain(Parser *p, const char *join, MlgRuleOp skip, MlgRuleOp op, Type (*operand)(Parser *p)) {
        const char *at = p->w.at;
        Type t = operand(p);

        while (mlg_words_next_is(&p->w, join)) {
                unsigned int from = p->n;

                want(p, at, t, MLG_RULE_BOOL);
                mlg_words_advance(&p->w);
                at = p->w.at;
                emit_op(p, skip);
                t = operand(p);
                want(p, at, t, MLG_RULE_BOOL);
                emit_op(p, op);
                if (!p->w.error)
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

        if (!p->w.error && p->w.token != MLG_TOKEN_END)
                fail(p, "expected a sign such as + or <, 'and', 'or', or the end");
        /* A plain 0 is any amount. */
        if (!p->w.error && !(types & (1u << t.type)) && !t.zero &&
            !(t.ratio && types & MLG_EXPR_TYPE(NUMBER)))
                mlg_words_fail(&p->w, p->w.text, "%s, this is %s", wanted, type_names[t.type]);
}

int mlg_expr_compile(const char *text, unsigned int types, MlgRules *r, MlgExpr *ret, char **ret_error) {
        Parser p = { .w = { .text = text, .at = text, .next = text } };
        Type t;

        mlg_words_advance(&p.w);
        t = condition(&p);
        check_end(&p, t, types);
        if (!p.w.error && p.n > MLG_RULES_STEPS_MAX - r->n_steps)
                p.w.error = g_strdup_printf("expected at most %d values and signs in all rules",
                                            MLG_RULES_STEPS_MAX);
        if (p.w.error) {
                *ret_error = p.w.error;
                return -EINVAL;
        }
        memcpy(&r->steps[r->n_steps], p.steps, p.n * sizeof(p.steps[0]));
        *ret = (MlgExpr) { .program = { (uint16_t) r->n_steps, (uint16_t) p.n }, .type = t.type };
        r->n_steps += p.n;
        return 0;
}
