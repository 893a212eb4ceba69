/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plain rules: what core/rules.h promises, one guest, one rule and one step at a time, with nothing foreseen or left
 * out. The reference that the fast way is held against. */
#pragma once

#include "core/rules.h"

/* What is known of one guest and the host. */
typedef struct PlainFacts {
        uint64_t told, known; /* bits */
        int64_t values[_MLG_RULE_FACT_MAX];
} PlainFacts;

typedef struct PlainValue {
        int64_t v; /* of a condition: 0 or 1 */
        bool known;
} PlainValue;

void plain_tell(PlainFacts *f, MlgRuleFact fact, bool known, uint64_t value);
void plain_untell_guest(PlainFacts *f);
/* Puts them into a lane. */
void plain_put(const PlainFacts *f, unsigned int lane, MlgRuleFacts *ret);

PlainValue plain_evaluate(const MlgRules *r, MlgRuleProgram p, const PlainFacts *f);
void plain_turn(const MlgRules *r, uint64_t among, const PlainFacts *f, uint64_t now_usec, MlgRuleState *s);
void plain_apply(const MlgRules *r, const PlainFacts *f, MlgRuleState *is, MlgGuestSettings *s);
