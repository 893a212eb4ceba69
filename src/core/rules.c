/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules: the table of facts, and what expressions come to. See rules.h. */
#include "core/rules.h"

#include <assert.h>
#include <string.h>

#include "memlego/status.h"
#include "util/util.h"

#define HOST(name, type) { "host." name, MLG_RULE_##type, MLG_RULE_WHOLE_HOST }
#define GUEST(name, type) { "guest." name, MLG_RULE_##type, MLG_RULE_WHOLE_GUEST }
/* Per second: no part of anything. */
#define RATE(name) { "guest." name, MLG_RULE_SIZE, MLG_RULE_WHOLE_NONE }

static const MlgRuleFactInfo infos[] = {
        [MLG_FACT_TIME] = { "time", MLG_RULE_CLOCK, MLG_RULE_WHOLE_NONE },
        [MLG_FACT_WEEKDAY] = { "weekday", MLG_RULE_WEEKDAY, MLG_RULE_WHOLE_NONE },
        [MLG_FACT_HOST_TOTAL] = HOST("total", SIZE),
        [MLG_FACT_HOST_AVAILABLE] = HOST("available", SIZE),
        [MLG_FACT_HOST_FREE] = HOST("free", SIZE),
        [MLG_FACT_HOST_SWAPPED] = HOST("swapped", SIZE),
        [MLG_FACT_HOST_RESERVE] = HOST("reserve", SIZE),
        [MLG_FACT_HOST_BUDGET] = HOST("budget", SIZE),
        [MLG_FACT_HOST_CHARGED] = HOST("charged", SIZE),
        [MLG_FACT_HOST_ROOM] = HOST("room", SIZE),
        [MLG_FACT_HOST_STALL_SOME] = HOST("stall_some", PART),
        [MLG_FACT_HOST_STALL_FULL] = HOST("stall_full", PART),
        [MLG_FACT_HOST_SHORT] = HOST("short", BOOL),
        [MLG_FACT_GUEST_MAXIMUM] = GUEST("maximum", SIZE),
        [MLG_FACT_GUEST_ACTUAL] = GUEST("actual", SIZE),
        [MLG_FACT_GUEST_TARGET] = GUEST("target", SIZE),
        [MLG_FACT_GUEST_FLOOR] = GUEST("floor", SIZE),
        [MLG_FACT_GUEST_CEILING] = GUEST("ceiling", SIZE),
        [MLG_FACT_GUEST_USED] = GUEST("used", SIZE),
        [MLG_FACT_GUEST_USABLE] = GUEST("usable", SIZE),
        [MLG_FACT_GUEST_UNUSED] = GUEST("unused", SIZE),
        [MLG_FACT_GUEST_CACHES] = GUEST("caches", SIZE),
        [MLG_FACT_GUEST_COLD] = GUEST("cold", SIZE),
        [MLG_FACT_GUEST_NEED] = GUEST("need", SIZE),
        [MLG_FACT_GUEST_CUSHION] = GUEST("cushion", SIZE),
        [MLG_FACT_GUEST_SWAP_IN] = RATE("swap_in"),
        [MLG_FACT_GUEST_SWAP_OUT] = RATE("swap_out"),
        [MLG_FACT_GUEST_REFAULT] = RATE("refault"),
        [MLG_FACT_GUEST_STALL_SOME] = GUEST("stall_some", PART),
        [MLG_FACT_GUEST_STALL_FULL] = GUEST("stall_full", PART),
        [MLG_FACT_GUEST_PRESSURE] = GUEST("pressure", PRESSURE),
        [MLG_FACT_GUEST_STATE] = GUEST("state", STATE),
        [MLG_FACT_GUEST_AGE] = GUEST("age", TIME),
        [MLG_FACT_GUEST_UPTIME] = GUEST("uptime", TIME),
};
static_assert(G_N_ELEMENTS(infos) == _MLG_RULE_FACT_MAX, "infos[] misses a fact");
static_assert(_MLG_RULE_FACT_MAX <= 64, "sets of facts are bits of a uint64_t");

static_assert(MLG_RULES_MAX * (MLG_RULE_NAME_MAX + 1) <= MLG_RULE_NAMES_MAX + 1,
              "all names fit into a guest's status");

#define BIT(i) (UINT64_C(1) << (i))
#define GUEST_FACTS (~(BIT(MLG_FACT_GUEST_MAXIMUM) - 1))

const MlgRuleFactInfo *mlg_rule_fact_info(MlgRuleFact f) {
        return &infos[f];
}

void mlg_rule_tell(MlgRuleFacts *f, MlgRuleFact fact, bool known, uint64_t value) {
        f->told |= BIT(fact);
        f->known = known ? f->known | BIT(fact) : f->known & ~BIT(fact);
        f->values[fact] = (int64_t) mlg_min(value, INT64_MAX);
}

void mlg_rule_untell_guest(MlgRuleFacts *f) {
        f->told &= ~GUEST_FACTS;
        f->known &= ~GUEST_FACTS;
}

/* ---- evaluation ---- */

/* Never INT64_MIN: every value can be negated. */
static int64_t saturated(__int128 v) {
        return v > INT64_MAX ? INT64_MAX : v < -INT64_MAX ? -INT64_MAX : (int64_t) v;
}

/* a * b / c. Nearly always the product fits into 64 bits, where a division is ten times as fast. */
static inline int64_t scaled(int64_t a, int64_t b, int64_t c) {
        int64_t product;

        if (!__builtin_mul_overflow(a, b, &product))
                return saturated((__int128) (product / c));
        return saturated((__int128) a * b / c);
}

/* True, false, or not known yet. */
static MlgRuleValue all_of(MlgRuleValue a, MlgRuleValue b) {
        if ((a.known && !a.v) || (b.known && !b.v))
                return (MlgRuleValue) { .v = 0, .known = true };
        return (MlgRuleValue) { .v = 1, .known = a.known && b.known };
}

static MlgRuleValue negated(MlgRuleValue a) {
        return (MlgRuleValue) { .v = !a.v, .known = a.known };
}

/* `of_two`: what the two topmost, a and b, come to, if both are known. Here most time goes. */
#define TWO(of_two) \
        { \
                int64_t a, b; \
\
                assert(top > stack + 1); \
                b = top->v; \
                a = (--top)->v; \
                top->known = top->known && top[1].known; \
                top->v = (of_two); \
                break; \
        }

MlgRuleValue mlg_rule_evaluate(const MlgRules *r, MlgRuleProgram p, const MlgRuleFacts *f) {
        MlgRuleValue stack[MLG_RULE_STACK_MAX + 1], *top = stack;
        const MlgRuleStep *end = &r->steps[p.first + p.n];

        *top = (MlgRuleValue) {}; /* below all: of no steps nothing is known */
        for (const MlgRuleStep *s = &r->steps[p.first]; s < end; s++)
                switch ((MlgRuleOp) s->op) {
                case MLG_OP_CONST:
                        *++top = (MlgRuleValue) { .v = s->value, .known = true };
                        break;
                case MLG_OP_FACT:
                        *++top = (MlgRuleValue) { .v = f->values[s->fact],
                                                 .known = f->known & BIT(s->fact) };
                        break;
                case MLG_OP_KNOWN:
                        *++top = (MlgRuleValue) { .v = (f->known & BIT(s->fact)) != 0,
                                                 .known = f->told & BIT(s->fact) };
                        break;
                case MLG_OP_OF:
                        top->known = top->known && f->known & BIT(s->fact);
                        top->v = scaled(top->v, f->values[s->fact], MLG_RULE_ONE);
                        break;
                case MLG_OP_NEGATE:
                        top->v = -top->v;
                        break;
                case MLG_OP_NOT:
                        *top = negated(*top);
                        break;
                case MLG_OP_AND_THEN:
                        if (top->known && !top->v)
                                s += s->skip;
                        break;
                case MLG_OP_OR_ELSE:
                        if (top->known && top->v)
                                s += s->skip;
                        break;
                case MLG_OP_AND:
                        assert(top > stack + 1);
                        top--;
                        *top = all_of(top[0], top[1]);
                        break;
                case MLG_OP_OR:
                        assert(top > stack + 1);
                        top--;
                        *top = negated(all_of(negated(top[0]), negated(top[1])));
                        break;
                case MLG_OP_ADD:
                        TWO(saturated((__int128) a + b))
                case MLG_OP_SUBTRACT:
                        TWO(saturated((__int128) a - b))
                case MLG_OP_MULTIPLY:
                        TWO(scaled(a, b, MLG_RULE_ONE))
                case MLG_OP_DIVIDE:
                        top->known = top->known && top->v != 0;
                        TWO(b != 0 ? scaled(a, MLG_RULE_ONE, b) : 0)
                case MLG_OP_LEAST:
                        TWO(MIN(a, b))
                case MLG_OP_MOST:
                        TWO(MAX(a, b))
                case MLG_OP_LESS:
                        TWO(a < b)
                case MLG_OP_LESS_EQUAL:
                        TWO(a <= b)
                case MLG_OP_GREATER:
                        TWO(a > b)
                case MLG_OP_GREATER_EQUAL:
                        TWO(a >= b)
                case MLG_OP_EQUAL:
                        TWO(a == b)
                case MLG_OP_UNEQUAL:
                        TWO(a != b)
                }
        return *top;
}

static bool is_true(MlgRuleValue v) {
        return v.known && v.v;
}

/* ---- which rules hold ---- */

MlgRuleVerdict mlg_rules_foresee(const MlgRules *r, const MlgRuleFacts *f) {
        MlgRuleVerdict ret = {};

        for (uint32_t i = 0; i < r->n_rules; i++) {
                MlgRuleValue v = mlg_rule_evaluate(r, r->rules[i].when, f);

                ret.yes |= v.known && v.v ? BIT(i) : 0;
                ret.no |= v.known && !v.v ? BIT(i) : 0;
        }
        return ret;
}

/* `until` where it is said and known, else that `when` is not true. */
static bool is_over(const MlgRules *r, const MlgRule *rule, bool when, const MlgRuleFacts *f) {
        MlgRuleValue until = {};

        if (rule->until.n > 0)
                until = mlg_rule_evaluate(r, rule->until, f);
        return until.known ? until.v : !when;
}

static void turn_rule(const MlgRules *r, int i, bool when, const MlgRuleFacts *f, uint64_t now_usec,
                      MlgRuleState *s) {
        const MlgRule *rule = &r->rules[i];
        uint64_t *since_usec = &s->since_usec[i];

        if (s->holds & BIT(i)) {
                if (now_usec - *since_usec < rule->keep_usec || !is_over(r, rule, when, f))
                        return;
                s->holds &= ~BIT(i);
                *since_usec = 0;
        }
        if (!when)
                *since_usec = 0;
        else if (*since_usec == 0)
                *since_usec = now_usec;
        /* What would be over at once does not begin. */
        if (when && now_usec - *since_usec >= rule->for_usec && !is_over(r, rule, when, f)) {
                s->holds |= BIT(i);
                *since_usec = now_usec;
        }
}

void mlg_rules_turn(const MlgRules *r, uint64_t among, const MlgRuleVerdict *foreseen, const MlgRuleFacts *f,
                    uint64_t now_usec, MlgRuleState *s) {
        /* What is out of the question, and did not hold before, is nothing to think about. */
        uint64_t open = among & (~foreseen->no | s->holds);

        for (uint64_t left = mlg_rules_all(r) & ~open; left; left &= left - 1)
                s->since_usec[__builtin_ctzll(left)] = 0;
        s->holds &= among;
        for (uint64_t left = open; left; left &= left - 1) {
                int i = __builtin_ctzll(left);
                bool when = foreseen->yes & BIT(i);

                if (!((foreseen->yes | foreseen->no) & BIT(i)))
                        when = is_true(mlg_rule_evaluate(r, r->rules[i].when, f));
                turn_rule(r, i, when, f, now_usec, s);
        }
}

/* ---- what they set ---- */

static int64_t clamped(const MlgRuleSet *set, int64_t v) {
        return v < set->min ? set->min : v > set->max ? set->max : v;
}

static void put(const MlgRuleSet *set, int64_t v, MlgGuestSettings *s) {
        void *field = (char *) s + set->offset;

        switch (set->field) {
        case MLG_RULE_FIELD_AMOUNT_SIZE:
                *(MlgAmount *) field = MLG_AMOUNT_KIB((uint64_t) clamped(set, v));
                break;
        case MLG_RULE_FIELD_AMOUNT_PART:
                v = clamped(set, v / (MLG_RULE_ONE / 1000));
                *(MlgAmount *) field = MLG_AMOUNT_PERMILLE((uint32_t) v); /* of 0: a size of nothing */
                break;
        case MLG_RULE_FIELD_PERMILLE:
                *(uint32_t *) field = (uint32_t) clamped(set, v / (MLG_RULE_ONE / 1000));
                break;
        case MLG_RULE_FIELD_U32:
                *(uint32_t *) field = (uint32_t) clamped(set, v / MLG_RULE_ONE);
                break;
        case MLG_RULE_FIELD_I32:
                *(int32_t *) field = (int32_t) clamped(set, v / MLG_RULE_ONE);
                break;
        case MLG_RULE_FIELD_USEC:
                *(uint64_t *) field = (uint64_t) clamped(set, v);
                break;
        case MLG_RULE_FIELD_COPY:
                g_assert_not_reached();
        }
}

void mlg_rules_apply(const MlgRules *r, uint64_t holds, const MlgRuleFacts *f, MlgGuestSettings *s) {
        for (; holds; holds &= holds - 1) {
                const MlgRule *rule = &r->rules[__builtin_ctzll(holds)];

                for (uint32_t k = 0; k < rule->n_sets; k++) {
                        const MlgRuleSet *set = &rule->sets[k];
                        MlgRuleValue v;

                        if (set->field == MLG_RULE_FIELD_COPY) {
                                memcpy((char *) s + set->offset, (const char *) &rule->values + set->offset,
                                       set->size);
                                continue;
                        }
                        v = mlg_rule_evaluate(r, set->program, f);
                        if (v.known)
                                put(set, v.v, s);
                }
        }
}

void mlg_rules_carry_over(const MlgRules *old, const MlgRules *new_, MlgRuleState *s) {
        MlgRuleState is = {};

        for (uint32_t i = 0; i < new_->n_rules; i++)
                for (uint32_t k = 0; k < old->n_rules; k++) {
                        if (strcmp(new_->rules[i].name, old->rules[k].name) != 0)
                                continue;
                        is.holds |= s->holds & BIT(k) ? BIT(i) : 0;
                        is.since_usec[i] = s->since_usec[k];
                }
        *s = is;
}
