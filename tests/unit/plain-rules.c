/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plain rules. See plain-rules.h. */
#include "plain-rules.h"

#include <assert.h>
#include <string.h>

#include "util/util.h"

static_assert(_MLG_RULE_FACT_MAX <= 64, "sets of facts are bits of a uint64_t");

#define BIT(i) (UINT64_C(1) << (i))
#define GUEST_FACTS (~(BIT(MLG_FACT_GUEST_MAXIMUM) - 1))

void plain_tell(PlainFacts *f, MlgRuleFact fact, bool known, uint64_t value) {
        f->told |= BIT(fact);
        f->known = known ? f->known | BIT(fact) : f->known & ~BIT(fact);
        f->values[fact] = (int64_t) mlg_min(value, INT64_MAX);
}

void plain_untell_guest(PlainFacts *f) {
        f->told &= ~GUEST_FACTS;
        f->known &= ~GUEST_FACTS;
}

void plain_put(const PlainFacts *f, unsigned int lane, MlgRuleFacts *ret) {
        for (int i = 0; i < _MLG_RULE_FACT_MAX; i++) {
                ret->told[i] = (ret->told[i] & ~BIT(lane)) | (f->told >> i & 1) << lane;
                ret->known[i] = (ret->known[i] & ~BIT(lane)) | (f->known >> i & 1) << lane;
                ret->values[i][lane] = f->values[i];
        }
}

/* ---- values ---- */

/* Never INT64_MIN: every value can be negated. */
static int64_t saturated(__int128 v) {
        return v > INT64_MAX ? INT64_MAX : v < -INT64_MAX ? -INT64_MAX : (int64_t) v;
}

static int64_t scaled(int64_t a, int64_t b, int64_t c) {
        return saturated((__int128) a * b / c);
}

/* True, false, or not known yet. */
static PlainValue all_of(PlainValue a, PlainValue b) {
        if ((a.known && !a.v) || (b.known && !b.v))
                return (PlainValue) { .v = 0, .known = true };
        return (PlainValue) { .v = 1, .known = a.known && b.known };
}

static PlainValue negated(PlainValue a) {
        return (PlainValue) { .v = !a.v, .known = a.known };
}

/* `of_two`: what the two topmost, a and b, come to, if both are known. */
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

PlainValue plain_evaluate(const MlgRules *r, MlgRuleProgram p, const PlainFacts *f) {
        PlainValue stack[MLG_RULE_STACK_MAX + 1], *top = stack;
        const MlgRuleStep *end = &r->steps[p.first + p.n];

        *top = (PlainValue) {}; /* below all: of no steps nothing is known */
        for (const MlgRuleStep *s = &r->steps[p.first]; s < end; s++)
                switch ((MlgRuleOp) s->op) {
                case MLG_OP_CONST:
                        *++top = (PlainValue) { .v = s->value, .known = true };
                        break;
                case MLG_OP_FACT:
                        *++top = (PlainValue) { .v = f->values[s->fact], .known = f->known & BIT(s->fact) };
                        break;
                case MLG_OP_KNOWN:
                        *++top = (PlainValue) { .v = (f->known & BIT(s->fact)) != 0,
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

/* ---- which rules hold ---- */

/* `until` where it is said and known, else that `when` is not true. */
static bool is_over(const MlgRules *r, const MlgRule *rule, bool when, const PlainFacts *f) {
        PlainValue until = {};

        if (rule->until.n > 0)
                until = plain_evaluate(r, rule->until, f);
        return until.known ? until.v : !when;
}

static void turn_rule(const MlgRules *r, int i, bool when, const PlainFacts *f, uint64_t now_usec,
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

void plain_turn(const MlgRules *r, uint64_t among, const PlainFacts *f, uint64_t now_usec, MlgRuleState *s) {
        for (int i = 0; i < (int) r->n_rules; i++) {
                PlainValue when = plain_evaluate(r, r->rules[i].when, f);

                if (among & BIT(i))
                        turn_rule(r, i, when.known && when.v, f, now_usec, s);
                else {
                        s->holds &= ~BIT(i);
                        s->since_usec[i] = 0;
                }
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

void plain_apply(const MlgRules *r, const PlainFacts *f, MlgRuleState *is, MlgGuestSettings *s) {
        memset(is->set_by, 0, sizeof(is->set_by));
        for (uint32_t i = 0; i < r->n_rules; i++)
                for (uint32_t k = 0; is->holds & BIT(i) && k < r->rules[i].n_sets; k++) {
                        const MlgRuleSet *set = &r->rules[i].sets[k];

                        if (set->field == MLG_RULE_FIELD_COPY)
                                memcpy((char *) s + set->offset,
                                       (const char *) &r->rules[i].values + set->offset, set->size);
                        else {
                                PlainValue v = plain_evaluate(r, set->program, f);

                                if (!v.known)
                                        continue;
                                put(set, v.v, s);
                        }
                        is->set_by[MLG_RULE_PLACE(set->offset)] = (uint8_t) (i + 1);
                }
}
