/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rule values: what an expression comes to, for all guests of a batch at once. See rules.h.
 *
 * On the stack are conditions (lanes in which they are known, and true) and columns of values, those of
 * facts where they lie. Lanes in which something is not known are computed like all others, and nobody
 * reads what comes of it. */
#include <assert.h>

#include "core/rules.h"

/* So many lanes are done in any case: loops of a fixed length are what a compiler makes fast. */
#define STRIDE 8
static_assert(MLG_RULE_LANES % STRIDE == 0, "whole strides are done");

/* ---- arithmetic: never INT64_MIN, so that every value can be negated ---- */

static inline int64_t saturated(__int128 v) {
        return v > INT64_MAX ? INT64_MAX : v < -INT64_MAX ? -INT64_MAX : (int64_t) v;
}

/* Nearly always it fits into 64 bits. */
static inline int64_t sum_of(int64_t a, int64_t b) {
        int64_t sum;

        if (!__builtin_add_overflow(a, b, &sum) && sum != INT64_MIN)
                return sum;
        return saturated((__int128) a + b);
}

/* a * b / c. As above; a division of 64 bits is ten times as fast. */
static inline int64_t scaled(int64_t a, int64_t b, int64_t c) {
        int64_t product;

        if (!__builtin_mul_overflow(a, b, &product))
                return saturated((__int128) (product / c));
        return saturated((__int128) a * b / c);
}

/* ---- steps ---- */

#define EACH_LANE(i) \
        for (size_t from = 0; from < f->n_lanes; from += STRIDE) \
                for (size_t i = from; i < from + STRIDE; i++)

/* The topmost becomes `of_it`, made of it, a. */
#define ONE(of_it) \
        { \
                const int64_t *as = top->v; \
                int64_t *out = stack->columns[top - values - 1]; \
\
                EACH_LANE(i) { \
                        int64_t a = as[i]; \
\
                        out[i] = (of_it); \
                } \
                top->v = out; \
                break; \
        }

/* The two topmost become `of_two`, made of them, a and b. */
#define TWO(of_two) \
        { \
                const int64_t *as = (--top)->v, *bs = top[1].v; \
                int64_t *out = stack->columns[top - values - 1]; \
\
                EACH_LANE(i) { \
                        int64_t a = as[i], b = bs[i]; \
\
                        out[i] = (of_two); \
                } \
                top->known &= top[1].known; \
                top->v = out; \
                break; \
        }

/* The same for a condition. */
#define COMPARE(sign) \
        { \
                const int64_t *as = (--top)->v, *bs = top[1].v; \
                uint64_t yes = 0; \
\
                EACH_LANE(i) yes |= (uint64_t) (as[i] sign bs[i]) << i; \
                top->known &= top[1].known; \
                top->yes = yes; \
                break; \
        }

static uint64_t lanes_not_zero(const MlgRuleFacts *f, const int64_t *v) {
        uint64_t ret = 0;

        EACH_LANE(i) ret |= (uint64_t) (v[i] != 0) << i;
        return ret;
}

/* True, false, or not known yet. */
static MlgRuleValue all_of(MlgRuleValue a, MlgRuleValue b) {
        return (MlgRuleValue) { .known = (a.known & ~a.yes) | (b.known & ~b.yes) | (a.known & b.known),
                                .yes = a.yes & b.yes };
}

static MlgRuleValue any_of(MlgRuleValue a, MlgRuleValue b) {
        return (MlgRuleValue) { .known = (a.known & a.yes) | (b.known & b.yes) | (a.known & b.known),
                                .yes = a.yes | b.yes };
}

MlgRuleValue mlg_rule_evaluate(const MlgRules *r, MlgRuleProgram p, const MlgRuleFacts *f,
                               MlgRuleStack *stack) {
        MlgRuleValue values[MLG_RULE_STACK_MAX + 1], *top = values;
        uint64_t all = UINT64_MAX >> (MLG_RULE_LANES - f->n_lanes);
        const MlgRuleStep *end = &r->steps[p.first + p.n];

        *top = (MlgRuleValue) {}; /* below all: of no steps nothing is known */
        for (const MlgRuleStep *s = &r->steps[p.first]; s < end; s++)
                switch ((MlgRuleOp) s->op) {
                case MLG_OP_CONST: {
                        int64_t *out = stack->columns[top - values];

                        EACH_LANE(i) out[i] = s->value;
                        *++top = (MlgRuleValue) { .known = UINT64_MAX, .v = out };
                        break;
                }
                case MLG_OP_FACT:
                        *++top = (MlgRuleValue) { .known = f->known[s->fact], .v = f->values[s->fact] };
                        if (mlg_rule_fact_info((MlgRuleFact) s->fact)->type == MLG_RULE_BOOL)
                                top->yes = lanes_not_zero(f, top->v);
                        break;
                case MLG_OP_KNOWN:
                        *++top = (MlgRuleValue) { .known = f->told[s->fact], .yes = f->known[s->fact] };
                        break;
                case MLG_OP_OF: {
                        const int64_t *of = f->values[s->fact];

                        top->known &= f->known[s->fact];
                        ONE(scaled(a, of[i], MLG_RULE_ONE))
                }
                case MLG_OP_NEGATE:
                        ONE(-a)
                case MLG_OP_NOT:
                        top->yes = ~top->yes;
                        break;
                case MLG_OP_AND_THEN:
                        if (!(all & ~(top->known & ~top->yes)))
                                s += s->skip;
                        break;
                case MLG_OP_OR_ELSE:
                        if (!(all & ~(top->known & top->yes)))
                                s += s->skip;
                        break;
                case MLG_OP_AND:
                        top--;
                        *top = all_of(top[0], top[1]);
                        break;
                case MLG_OP_OR:
                        top--;
                        *top = any_of(top[0], top[1]);
                        break;
                case MLG_OP_ADD:
                        TWO(sum_of(a, b))
                case MLG_OP_SUBTRACT:
                        TWO(sum_of(a, -b))
                case MLG_OP_MULTIPLY:
                        TWO(scaled(a, b, MLG_RULE_ONE))
                case MLG_OP_DIVIDE:
                        top->known &= lanes_not_zero(f, top->v);
                        TWO(b != 0 ? scaled(a, MLG_RULE_ONE, b) : 0)
                case MLG_OP_LEAST:
                        TWO(a < b ? a : b)
                case MLG_OP_MOST:
                        TWO(a > b ? a : b)
                case MLG_OP_LESS:
                        COMPARE(<)
                case MLG_OP_LESS_EQUAL:
                        COMPARE(<=)
                case MLG_OP_GREATER:
                        COMPARE(>)
                case MLG_OP_GREATER_EQUAL:
                        COMPARE(>=)
                case MLG_OP_EQUAL:
                        COMPARE(==)
                case MLG_OP_UNEQUAL:
                        COMPARE(!=)
                }
        return *top;
}
