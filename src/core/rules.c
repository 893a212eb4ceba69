/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules: the table of facts, which rules hold, and what these set. See rules.h. */
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

static_assert(MLG_RULES_MAX * (MLG_RULE_NAME_MAX + 1) <= MLG_RULE_NAMES_MAX + 1,
              "all names fit into a guest's status");

#define BIT(i) (UINT64_C(1) << (i))

const MlgRuleFactInfo *mlg_rule_fact_info(MlgRuleFact f) {
        return &infos[f];
}

void mlg_rule_tell(MlgRuleFacts *f, unsigned int lane, MlgRuleFact fact, bool known, uint64_t value) {
        f->told[fact] |= BIT(lane);
        f->known[fact] = known ? f->known[fact] | BIT(lane) : f->known[fact] & ~BIT(lane);
        f->values[fact][lane] = (int64_t) mlg_min(value, INT64_MAX);
}

void mlg_rule_tell_all(MlgRuleFacts *f, MlgRuleFact fact, bool known, uint64_t value) {
        for (unsigned int lane = 0; lane < MLG_RULE_LANES; lane++)
                mlg_rule_tell(f, lane, fact, known, value);
}

void mlg_rule_untell_guests(MlgRuleFacts *f) {
        for (int i = MLG_FACT_GUEST_MAXIMUM; i < _MLG_RULE_FACT_MAX; i++)
                f->told[i] = f->known[i] = 0;
}

/* ---- which rules hold ---- */

MlgRuleVerdict mlg_rules_foresee(const MlgRules *r, const MlgRuleFacts *f) {
        MlgRuleVerdict ret = {};
        MlgRuleStack stack;

        for (uint32_t i = 0; i < r->n_rules; i++) {
                MlgRuleValue v = mlg_rule_evaluate(r, r->rules[i].when, f, &stack);

                ret.yes |= v.known & v.yes & 1 ? BIT(i) : 0;
                ret.no |= v.known & ~v.yes & 1 ? BIT(i) : 0;
        }
        return ret;
}

/* Rows of bits become columns: 64 words of a bit per lane for each rule, and back. */
static void transpose(uint64_t m[static 64]) {
        uint64_t low = UINT32_MAX;

        static_assert(MLG_RULES_MAX == 64 && MLG_RULE_LANES == 64, "it is a square");
        for (unsigned int half = 32; half > 0; half /= 2, low ^= low << half)
                for (unsigned int i = 0; i < 64; i = ((i | half) + 1) & ~half) {
                        uint64_t swap = (m[i] >> half ^ m[i | half]) & low;

                        m[i] ^= swap << half;
                        m[i | half] ^= swap;
                }
}

static uint64_t when_lanes(const MlgRules *r, int i, const MlgRuleVerdict *foreseen, const MlgRuleFacts *f) {
        MlgRuleStack stack;
        MlgRuleValue v;

        if ((foreseen->yes | foreseen->no) & BIT(i))
                return foreseen->yes & BIT(i) ? UINT64_MAX : 0;
        v = mlg_rule_evaluate(r, r->rules[i].when, f, &stack);
        return v.known & v.yes;
}

/* `until` where it is said and known, else that `when` is not true. */
static uint64_t over_lanes(const MlgRules *r, const MlgRule *rule, uint64_t when, const MlgRuleFacts *f) {
        MlgRuleStack stack;
        MlgRuleValue v;

        if (rule->until.n == 0)
                return ~when;
        v = mlg_rule_evaluate(r, rule->until, f, &stack);
        return (v.known & v.yes) | (~v.known & ~when);
}

static void turn_rule(const MlgRule *rule, uint64_t bit, bool when, bool over, uint64_t now_usec,
                      MlgRuleState *s, uint64_t *since_usec) {
        if (s->holds & bit) {
                if (now_usec - *since_usec < rule->keep_usec || !over)
                        return;
                s->holds &= ~bit;
                *since_usec = 0;
        }
        s->waits &= ~bit;
        if (!when) {
                *since_usec = 0;
                return;
        }
        if (*since_usec == 0)
                *since_usec = now_usec;
        /* What would be over at once does not begin. */
        if (now_usec - *since_usec >= rule->for_usec && !over) {
                s->holds |= bit;
                *since_usec = now_usec;
        } else
                s->waits |= bit;
}

/* Sets of rules: those about the guest, whose condition is true for it, and which would be over. */
static void turn_guest(const MlgRules *r, uint64_t among, uint64_t when, uint64_t over, uint64_t now_usec,
                       MlgRuleState *s) {
        uint64_t gone = (s->holds | s->waits) & ~among, changing;

        for (uint64_t left = gone; left; left &= left - 1)
                s->since_usec[__builtin_ctzll(left)] = 0;
        s->holds &= among;
        s->waits &= among;
        when &= among;
        /* Most go on as they were, and so does all that is kept of them. */
        changing = (s->holds & over) | (~s->holds & when) | s->waits;
        for (uint64_t left = changing; left; left &= left - 1) {
                int i = __builtin_ctzll(left);

                turn_rule(&r->rules[i], BIT(i), when & BIT(i), over & BIT(i), now_usec, s,
                          &s->since_usec[i]);
        }
}

void mlg_rules_turn(const MlgRules *r, const MlgRuleVerdict *foreseen, const MlgRuleBatch *b,
                    uint64_t now_usec) {
        /* A word of lanes for each rule; transposed, a word of rules for each lane. */
        uint64_t when[MLG_RULES_MAX] = {}, over[MLG_RULES_MAX] = {};
        uint64_t among = 0, held = 0;

        for (unsigned int lane = 0; lane < b->facts.n_lanes; lane++) {
                among |= b->among[lane];
                held |= b->states[lane]->holds;
        }
        /* What is out of the question, and held for nobody before, is nothing to think about. */
        for (uint64_t left = among & (~foreseen->no | held); left; left &= left - 1) {
                int i = __builtin_ctzll(left);

                when[i] = when_lanes(r, i, foreseen, &b->facts);
                over[i] = when[i] || held & BIT(i) ? over_lanes(r, &r->rules[i], when[i], &b->facts) : 0;
        }
        transpose(when);
        transpose(over);
        for (unsigned int lane = 0; lane < b->facts.n_lanes; lane++)
                turn_guest(r, b->among[lane], when[lane], over[lane], now_usec, b->states[lane]);
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

/* In these lanes, as far as it is known; returns in which. */
static uint64_t apply_set(const MlgRules *r, uint32_t rule, const MlgRuleSet *set, uint64_t lanes,
                          MlgRuleBatch *b) {
        const MlgGuestSettings *values = &r->rules[rule].values;
        MlgRuleStack stack;
        MlgRuleValue v = {};

        if (set->field != MLG_RULE_FIELD_COPY && lanes) {
                v = mlg_rule_evaluate(r, set->program, &b->facts, &stack);
                lanes &= v.known;
        }
        for (uint64_t left = lanes; left; left &= left - 1) {
                int lane = __builtin_ctzll(left);

                if (set->field == MLG_RULE_FIELD_COPY)
                        memcpy((char *) &b->settings[lane] + set->offset,
                               (const char *) values + set->offset, set->size);
                else
                        put(set, v.v[lane], &b->settings[lane]);
                b->states[lane]->set_by[MLG_RULE_PLACE(set->offset)] = (uint8_t) (rule + 1);
        }
        return lanes;
}

/* From the last one back: what is set already, an earlier one cannot change, and need not even be worked
 * out. */
void mlg_rules_apply(const MlgRules *r, MlgRuleBatch *b) {
        uint64_t holds[MLG_RULE_LANES] = {}, done[MLG_RULE_PLACES] = {}, any = 0;

        for (unsigned int lane = 0; lane < b->facts.n_lanes; lane++) {
                memset(b->states[lane]->set_by, 0, sizeof(b->states[lane]->set_by));
                any |= holds[lane] = b->states[lane]->holds;
        }
        if (!any)
                return;
        transpose(holds);
        for (uint32_t i = r->n_rules; i-- > 0;)
                for (uint32_t k = 0; holds[i] && k < r->rules[i].n_sets; k++) {
                        const MlgRuleSet *set = &r->rules[i].sets[k];
                        uint64_t *settled = &done[MLG_RULE_PLACE(set->offset)];

                        *settled |= apply_set(r, i, set, holds[i] & ~*settled, b);
                }
}

void mlg_rules_carry_over(const MlgRules *old, const MlgRules *new_, MlgRuleState *s) {
        MlgRuleState is = {};

        for (uint32_t i = 0; i < new_->n_rules; i++)
                for (uint32_t k = 0; k < old->n_rules; k++) {
                        if (strcmp(new_->rules[i].name, old->rules[k].name) != 0)
                                continue;
                        is.holds |= s->holds & BIT(k) ? BIT(i) : 0;
                        is.waits |= s->waits & BIT(k) ? BIT(i) : 0;
                        is.since_usec[i] = s->since_usec[k];
                }
        *s = is;
}
