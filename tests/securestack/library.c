// SPDX-License-Identifier: GPL-2.0-or-later
/* A library that nobody should trust, and that knows nothing of SecureStack: it spies on its callers. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"

/* The secret's complement, so that this is not found itself. */
static const unsigned char complement[16] = { 0x8c, 0x9a, 0x9c, 0x8d, 0x9a, 0x8b, 0xdf, 0x90,
                                              0x99, 0xdf, 0x96, 0x8b, 0x8c, 0xde, 0xde, 0xde };

/* On the next 2 KiB of the stack. */
int lib_spy(void) {
        const volatile unsigned char *from = __builtin_frame_address(0);
        int n = 0;

        for (size_t i = 0; i < 2048; i++) {
                size_t k = 0;

                while (k < 16 && (from[i + k] ^ complement[k]) == 0xff)
                        k++;
                n += k == 16;
        }
        return n;
}

long lib_many(long a, long b, long c, long d, long e, long f, long g, long h) {
        return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h;
}

double lib_mean(const double *values, size_t n, double weight) {
        double sum = 0;

        for (size_t i = 0; i < n; i++)
                sum += values[i] * weight;
        return sum / n;
}

int lib_upper(struct lib_stream *stream) {
        for (size_t i = 0; i < stream->n_in; i++)
                stream->out[i] = stream->in[i] & ~0x20;
        stream->n_out = stream->n_in;
        return lib_spy();
}

size_t lib_length(const char *text) {
        return strlen(text);
}

void lib_each(const int *values, size_t n, void (*call)(int)) {
        for (size_t i = 0; i < n; i++)
                call(values[i]);
}
