/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Util: saturating arithmetic on amounts, small helpers. No state, no I/O. */
#pragma once

#include <stdint.h>
#include <unistd.h>

#include <glib.h>

#define MLG_KIB_PER_MIB UINT64_C(1024)
#define MLG_USEC_PER_SEC UINT64_C(1000000)
#define MLG_USEC_NEVER UINT64_MAX

/* a - b, or 0 */
static inline uint64_t mlg_sub_sat(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

/* a + b, or UINT64_MAX */
static inline uint64_t mlg_add_sat(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* a * b / c without overflow of the product; c == 0 gives 0 */
static inline uint64_t mlg_mul_div(uint64_t a, uint64_t b, uint64_t c) {
        unsigned __int128 q;

        if (c == 0)
                return 0;
        q = (unsigned __int128) a * b / c;
        return q > UINT64_MAX ? UINT64_MAX : (uint64_t) q;
}

static inline uint64_t mlg_min(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static inline uint64_t mlg_max(uint64_t a, uint64_t b) {
        return a > b ? a : b;
}

static inline uint64_t mlg_clamp(uint64_t v, uint64_t lo, uint64_t hi) {
        return v < lo ? lo : v > hi ? hi : v;
}

static inline uint64_t mlg_abs_diff(uint64_t a, uint64_t b) {
        return a > b ? a - b : b - a;
}

/* The nearest of base, base + step, base + 2 * step, ... that is not above (below) v. What is below base is as it
 * is, and everything is for step 0. */
static inline uint64_t mlg_grid_down(uint64_t v, uint64_t base, uint64_t step) {
        return step == 0 || v <= base ? v : v - (v - base) % step;
}

static inline uint64_t mlg_grid_up(uint64_t v, uint64_t base, uint64_t step) {
        uint64_t down = mlg_grid_down(v, base, step);

        return down == v ? v : mlg_add_sat(down, step);
}

/* Closes what `*fd` holds and marks it closed; for g_auto-like use: _mlg_cleanup_fd_ int fd = -1; */
static inline void mlg_close_fd(int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
        *fd = -1;
}
#define _mlg_cleanup_fd_ __attribute__((cleanup(mlg_close_fd)))
