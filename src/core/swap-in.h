/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Swap-in: when a guest that got memory is told to bring back what it had to swap out, and how much of it. Pure.
 *
 * Without being told its programs fetch each page when they next touch it, one by one, and wait for each. What is told is an upper
 * limit; the guest itself takes only what is free, and the hottest first. So the worst that a guest's false figures can bring about
 * is work of its own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/sample.h"

/* What is remembered of a guest; zero-initialised. */
typedef struct MlgSwapIn {
        uint64_t base_kib;  /* of what it has, what it had at the least, and what it was told to fill since */
        uint64_t told_usec; /* when that was; 0: never */
        uint64_t n_told;
        uint64_t limit_kib; /* of the last one ... */
        uint64_t done_kib;  /* ... and what it says came in */
        MlgSwapInState state;
} MlgSwapIn;

/* How much it may bring in now; 0: nothing. `actual_kib`: what it has; `arrived`: and is to have. Otherwise more comes, and it is
 * told only when much has come already. */
uint64_t mlg_swap_in_offer(MlgSwapIn *s, const MlgRawMonitor *raw, uint64_t actual_kib, bool arrived, uint64_t now_usec);

/* What it answered; `number`: of the last order. Nonsense counts as failed. */
void mlg_swap_in_take(MlgSwapIn *s, const MlgRawMonitor *raw, uint64_t number);
