/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Decide: what one decision costs, of an engine over simulated guests. */
#pragma once

#include "core/engine.h"

/* Median CPU time of one decision about `n` guests of which one in fifty changes its demand in each turn,
 * when there is `percent` of what they need. `rules` are about all of them; NULL: none. */
uint64_t bench_decide_nsec(unsigned int n, unsigned int percent, const MlgRules *rules);
