/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registry of policies: an ordered static table, then the plug-ins that are not off; the first entry is the default, `static`
 * is always there. */
#pragma once

#include "memlego/policy.h"

/* NULL: there is none of that name. */
const MlgPolicyOps *mlg_policy_find(const char *name);
const MlgPolicyOps *mlg_policy_at(size_t i); /* NULL past the end */
const char *mlg_policy_names(void);          /* "proportional, static, ...": for messages; valid until the next call */
