/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config expressions: what stands behind When=, Until= and, in [Rule], behind keys that take sizes, parts,
 * numbers and times -> a program of core/rules.h.
 *
 *   condition  = both { "or" both }
 *   both       = one { "and" one }
 *   one        = "not" one | sum [ ( "<" | "<=" | ">" | ">=" | "==" | "!=" ) sum | "in" WORD ".." WORD ]
 *   sum        = product { ( "+" | "-" ) product }
 *   product    = factor { ( "*" | "/" ) factor }
 *   factor     = "-" factor | "(" condition ")" | ( "min" | "max" ) "(" sum { "," sum } ")"
 *              | "known" "(" NAME ")" | NAME | WORD | 1.5 | 512M | 25% | 30s | 22:00
 *
 * Types are known when it is compiled; nothing that is refused here can go wrong later. */
#pragma once

#include "core/rules.h"

#define MLG_EXPR_TYPE(t) (1u << MLG_RULE_##t)

typedef struct MlgExpr {
        MlgRuleProgram program;
        MlgRuleType type;
} MlgExpr;

/* Adds it to r->steps. `types`: MLG_EXPR_TYPE() that it may have. 0, or -EINVAL: *ret_error says where and
 * why (g_free()), r is untouched. */
int mlg_expr_compile(const char *text, unsigned int types, MlgRules *r, MlgExpr *ret, char **ret_error);
