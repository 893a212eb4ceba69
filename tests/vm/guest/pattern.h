/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Patterns: what a page holds follows from a seed; pages of different seeds differ in each word. One in 16 is
 * of one byte; where they are to pack, nine repeat themselves after 256 to 1800 bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PAGE 4096u
#define WORDS (PAGE / 8)

static inline uint64_t mix(uint64_t x) {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return x ^ (x >> 31);
}

/* Of a page by its number, written for the so-manieth time. */
static inline uint64_t seed_of(uint64_t page, uint32_t times) {
        return mix(page << 32 | times);
}

static bool pattern_packs;

static inline uint64_t word_of(uint64_t seed, uint32_t i) {
        static const uint32_t periods[16] = { 0, 32, 40, 64, 100, 110, 120, 150, 200, 225 };

        if (pattern_packs && periods[seed % 16])
                i %= periods[seed % 16];
        return seed % 16 == 0 ? (seed >> 8 & 0xff) * 0x0101010101010101u : seed * (i + 1) + i;
}

static inline void write_page(uint64_t *to, uint64_t seed) {
        for (uint32_t i = 0; i < WORDS; i++)
                to[i] = word_of(seed, i);
}

static inline bool page_is(const uint64_t *from, uint64_t seed) {
        for (uint32_t i = 0; i < WORDS; i++)
                if (from[i] != word_of(seed, i))
                        return false;
        return true;
}

static inline uint64_t next_random(uint64_t *state) {
        return *state = mix(*state + 0x9e3779b97f4a7c15u);
}
