/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sample, private: what the two sources of samples share.
 *
 *   sample.c          polls: what the hypervisor says, and the balloon driver's statistics
 *   sample-monitor.c  messages of a program inside the guest
 * Nobody else includes it. */
#pragma once

#include "core/sample.h"

#define MLG_IMPOSSIBLE_KIB (UINT64_C(1) << 50) /* 1 EiB in KiB: no machine has it, all-ones divided by 1024 exceeds it */
#define MLG_IMPOSSIBLE_RATE (UINT64_C(64) << 20) /* 64 GiB/s in KiB, or faults: faster than memory */

/* sample.c */
/* Least and most memory the guest was seen with since `from_usec`, or when it was seen last. False: never. */
bool mlg_sampler_actual_range(const MlgSampler *st, uint64_t from_usec, uint64_t *ret_least, uint64_t *ret_most);
/* Change of a counter per second. False: it ran backwards, or faster than can be. */
bool mlg_sampler_rate(bool have, uint64_t now, uint64_t before, uint64_t dt_usec, uint64_t *ret);
/* Demand behind a report with s->usable_kib, s->swap_in_kib_per_sec and a total, of a guest that had between
 * `least` and `most`; `swapped_kib`: what it has out there. */
uint64_t mlg_sampler_demand(MlgSampler *st, const MlgSample *s, uint64_t total_kib, uint64_t least_kib,
                            uint64_t most_kib, uint64_t swapped_kib);

/* sample-monitor.c */
/* The guest's sizes are known from inside it: a poll must leave them as they are. */
bool mlg_sampler_monitor_rules(const MlgSampler *st, uint64_t now_usec);
/* What only a monitor knows is taken out of `s` when it has fallen silent. */
void mlg_sampler_monitor_ages(const MlgSampler *st, uint64_t now_usec, MlgSample *s);
