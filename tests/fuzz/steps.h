/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Steps: an input of a fuzz target as a list of things to do. Where it ends there are zeroes. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define CHECK(what) \
        do { \
                if (!(what)) \
                        abort(); \
        } while (0)

typedef struct Input {
        const uint8_t *data;
        size_t size;
} Input;

static inline uint8_t next_byte(Input *in) {
        if (in->size == 0)
                return 0;
        in->size--;
        return *in->data++;
}

static inline uint32_t next_word(Input *in) {
        uint32_t v = next_byte(in);

        v |= (uint32_t) next_byte(in) << 8;
        v |= (uint32_t) next_byte(in) << 16;
        return v | (uint32_t) next_byte(in) << 24;
}
