/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rules: [Rule] sections of policy files, compiled; what may be named in them; what an expression comes
 * to.
 *
 * An expression is a postfix program: steps that take from and put on a short stack. There are no steps
 * backwards, so each step is done once at most, and a program of n steps is over after n. They are made by
 * service/config-expr.c, which sees to it that types fit and the stack suffices; here they are trusted. All
 * is values: rules can be copied, compared and kept without knowing what is in them.
 *
 * Each value is known or not (a guest without a monitor tells no stalls). What is made of an unknown value
 * is unknown, but "false and unknown" is false and "true or unknown" is true. So an expression that is
 * true or false while some facts are not told yet stays so whatever they turn out to be: a rule about the
 * host is decided once for all guests. Arithmetic saturates; what is divided by nothing is unknown.
 *
 * Guests are judged up to 64 at once, each in a *lane* of its own: a step is done for all lanes before the
 * next one is looked at. So finding out what a step is, the most by far of what it costs, is paid once for
 * all of them, and conditions, and what is known, are bits of a word. */
#pragma once

#include "core/settings.h"

#define MLG_RULES_MAX 64      /* sets of rules are bits of a uint64_t */
#define MLG_RULE_NAME_MAX 31
#define MLG_RULE_STEPS_MAX 64 /* of one expression: five times the longest example */
#define MLG_RULES_STEPS_MAX 2048 /* of all */
#define MLG_RULE_STACK_MAX 16
#define MLG_RULE_SETS_MAX 24  /* keys that one rule sets: all that it may, and room for more keys */

/* Numbers and parts are in millionths: 1.5 is 1500000, and so is 150%. */
#define MLG_RULE_ONE INT64_C(1000000)

typedef enum MlgRuleType {
        MLG_RULE_BOOL,
        MLG_RULE_NUMBER,   /* millionths */
        MLG_RULE_PART,     /* millionths */
        MLG_RULE_SIZE,     /* KiB, or KiB per second */
        MLG_RULE_TIME,     /* microseconds */
        MLG_RULE_CLOCK,    /* minutes since midnight */
        MLG_RULE_WEEKDAY,  /* 1: Monday */
        MLG_RULE_PRESSURE, /* MlgPressure */
        MLG_RULE_STATE,    /* MlgVmState */
        _MLG_RULE_TYPE_MAX,
} MlgRuleType;

/* Of what a part is meant that a size is compared with, or added to. */
typedef enum MlgRuleWhole {
        MLG_RULE_WHOLE_NONE, /* not clear */
        MLG_RULE_WHOLE_HOST, /* MLG_FACT_HOST_TOTAL */
        MLG_RULE_WHOLE_GUEST,/* MLG_FACT_GUEST_MAXIMUM */
} MlgRuleWhole;

/* What may be named; those of the guest last. */
typedef enum MlgRuleFact {
        MLG_FACT_TIME,
        MLG_FACT_WEEKDAY,
        MLG_FACT_HOST_TOTAL,
        MLG_FACT_HOST_AVAILABLE,
        MLG_FACT_HOST_FREE,
        MLG_FACT_HOST_SWAPPED,
        MLG_FACT_HOST_RESERVE,
        MLG_FACT_HOST_BUDGET,
        MLG_FACT_HOST_CHARGED,
        MLG_FACT_HOST_ROOM,
        MLG_FACT_HOST_STALL_SOME,
        MLG_FACT_HOST_STALL_FULL,
        MLG_FACT_HOST_SHORT,
        MLG_FACT_GUEST_MAXIMUM,
        MLG_FACT_GUEST_ACTUAL,
        MLG_FACT_GUEST_TARGET,
        MLG_FACT_GUEST_FLOOR,
        MLG_FACT_GUEST_CEILING,
        MLG_FACT_GUEST_USED,
        MLG_FACT_GUEST_USABLE,
        MLG_FACT_GUEST_UNUSED,
        MLG_FACT_GUEST_CACHES,
        MLG_FACT_GUEST_COLD,
        MLG_FACT_GUEST_NEED,
        MLG_FACT_GUEST_CUSHION,
        MLG_FACT_GUEST_SWAP_IN,
        MLG_FACT_GUEST_SWAP_OUT,
        MLG_FACT_GUEST_REFAULT,
        MLG_FACT_GUEST_STALL_SOME,
        MLG_FACT_GUEST_STALL_FULL,
        MLG_FACT_GUEST_PRESSURE,
        MLG_FACT_GUEST_STATE,
        MLG_FACT_GUEST_AGE,
        MLG_FACT_GUEST_UPTIME,
        _MLG_RULE_FACT_MAX,
} MlgRuleFact;

typedef struct MlgRuleFactInfo {
        const char *name;
        MlgRuleType type;
        MlgRuleWhole whole;
} MlgRuleFactInfo;

const MlgRuleFactInfo *mlg_rule_fact_info(MlgRuleFact f);

#define MLG_RULE_LANES 64 /* sets of lanes are bits of a uint64_t */

/* What is known at one time: a column of values for each fact, in it a lane for each guest. */
typedef struct MlgRuleFacts {
        unsigned int n_lanes;               /* in use */
        uint64_t told[_MLG_RULE_FACT_MAX];  /* lanes: it is settled whether this fact is known ... */
        uint64_t known[_MLG_RULE_FACT_MAX]; /* ... and it is */
        int64_t values[_MLG_RULE_FACT_MAX][MLG_RULE_LANES];
} MlgRuleFacts;

void mlg_rule_tell(MlgRuleFacts *f, unsigned int lane, MlgRuleFact fact, bool known, uint64_t value);
void mlg_rule_tell_all(MlgRuleFacts *f, MlgRuleFact fact, bool known, uint64_t value); /* in all lanes */
void mlg_rule_untell_guests(MlgRuleFacts *f); /* all that is of guests is open again */

typedef enum MlgRuleOp {
        MLG_OP_CONST, /* puts `value` on the stack */
        MLG_OP_FACT,  /* puts a fact on it */
        MLG_OP_KNOWN, /* puts on it whether a fact is known */
        MLG_OP_OF,    /* the topmost, a part, becomes so much of a fact */
        MLG_OP_NEGATE,
        MLG_OP_NOT,
        MLG_OP_AND_THEN, /* goes on behind the AND that follows if the topmost is false in all lanes */
        MLG_OP_OR_ELSE,  /* the same with OR and true */
        /* Of here on: takes two, puts one. */
        MLG_OP_AND,
        MLG_OP_OR,
        MLG_OP_ADD,
        MLG_OP_SUBTRACT,
        MLG_OP_MULTIPLY, /* one of the two is in millionths */
        MLG_OP_DIVIDE,   /* the result, or the divisor, is */
        MLG_OP_LEAST,
        MLG_OP_MOST,
        MLG_OP_LESS,
        MLG_OP_LESS_EQUAL,
        MLG_OP_GREATER,
        MLG_OP_GREATER_EQUAL,
        MLG_OP_EQUAL,
        MLG_OP_UNEQUAL,
} MlgRuleOp;

typedef struct MlgRuleStep {
        uint8_t op;    /* MlgRuleOp */
        uint8_t fact;  /* MlgRuleFact */
        uint16_t skip; /* of AND_THEN, OR_ELSE: how many steps */
        uint32_t unused;
        int64_t value;
} MlgRuleStep;

typedef struct MlgRuleProgram {
        uint16_t first, n; /* in MlgRules.steps; n 0: there is none */
} MlgRuleProgram;

/* Where values lie while they are worked out. */
typedef struct MlgRuleStack {
        int64_t columns[MLG_RULE_STACK_MAX][MLG_RULE_LANES];
} MlgRuleStack;

/* What a program came to, in each lane. */
typedef struct MlgRuleValue {
        uint64_t known;   /* lanes */
        uint64_t yes;     /* of a condition: the lanes in which it is true, where it is known */
        const int64_t *v; /* of anything else: one for each lane; in the stack, or among the facts */
} MlgRuleValue;

/* What a rule's value is put into. */
typedef enum MlgRuleField {
        MLG_RULE_FIELD_COPY,   /* any; of MlgRule.values */
        MLG_RULE_FIELD_AMOUNT_SIZE,
        MLG_RULE_FIELD_AMOUNT_PART,
        MLG_RULE_FIELD_PERMILLE,
        MLG_RULE_FIELD_U32,
        MLG_RULE_FIELD_I32,
        MLG_RULE_FIELD_USEC,
} MlgRuleField;

/* One key that a rule sets. */
typedef struct MlgRuleSet {
        uint16_t offset, size; /* of the field in MlgGuestSettings */
        MlgRuleField field;
        MlgRuleProgram program;
        int64_t min, max; /* what it comes to is brought in between, in the field's unit (parts: permille) */
} MlgRuleSet;

typedef struct MlgRule {
        char name[MLG_RULE_NAME_MAX + 1];
        MlgRuleProgram when, until; /* conditions; until.n 0: until `when` is not true any more */
        uint64_t for_usec;          /* `when` must have been true for so long before it begins ... */
        uint64_t keep_usec;         /* ... and at least so long it holds then */
        MlgGuestSettings values;
        MlgRuleSet sets[MLG_RULE_SETS_MAX];
        uint32_t n_sets;
} MlgRule;

typedef struct MlgRules {
        MlgRule rules[MLG_RULES_MAX];
        MlgRuleStep steps[MLG_RULES_STEPS_MAX];
        uint32_t n_rules, n_steps;
} MlgRules;

/* A bit for each. */
static inline uint64_t mlg_rules_all(const MlgRules *r) {
        return r->n_rules < MLG_RULES_MAX ? (UINT64_C(1) << r->n_rules) - 1 : UINT64_MAX;
}

/* No field of MlgGuestSettings is smaller, so each has a place of its own among so many. */
#define MLG_RULE_PLACE(offset) ((offset) / sizeof(uint32_t))
#define MLG_RULE_PLACES MLG_RULE_PLACE(sizeof(MlgGuestSettings))

/* Which rules hold for one guest. */
typedef struct MlgRuleState {
        uint64_t holds; /* bits of the rules' places */
        uint64_t waits; /* these do not, but `when` is true: For= is not over, or `until` is true, too */
        uint64_t since_usec[MLG_RULES_MAX]; /* when that began; 0: neither of both */
        uint8_t set_by[MLG_RULE_PLACES]; /* of each setting, as of the last turn: the rule + 1; 0: none */
} MlgRuleState;

MlgRuleValue mlg_rule_evaluate(const MlgRules *r, MlgRuleProgram p, const MlgRuleFacts *f,
                               MlgRuleStack *stack);

/* Those whose condition is decided, whatever facts are still to be told. */
typedef struct MlgRuleVerdict {
        uint64_t yes, no;
} MlgRuleVerdict;
/* By the first lane. */
MlgRuleVerdict mlg_rules_foresee(const MlgRules *r, const MlgRuleFacts *f);

/* Guests that are judged together: each array has a place for each lane. */
typedef struct MlgRuleBatch {
        MlgRuleFacts facts;
        uint64_t among[MLG_RULE_LANES]; /* the rules that are about it */
        MlgRuleState *states[MLG_RULE_LANES];
        MlgGuestSettings settings[MLG_RULE_LANES];
} MlgRuleBatch;

/* Which of `among` hold now. What is foreseen need not be looked at again. now_usec > 0. */
void mlg_rules_turn(const MlgRules *r, const MlgRuleVerdict *foreseen, const MlgRuleBatch *b,
                    uint64_t now_usec);
/* Puts into `settings` what those that hold set, and into `set_by` which one did; of two the later one
 * counts. A key whose value is unknown stays as it is. */
void mlg_rules_apply(const MlgRules *r, MlgRuleBatch *b);
/* Of rules that have other places now: those of the same name go on as they were. */
void mlg_rules_carry_over(const MlgRules *old, const MlgRules *new_, MlgRuleState *s);
