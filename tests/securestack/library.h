/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library of functions as there are many: streams, strings, tables, callbacks. */
#pragma once

#include <stddef.h>

struct lib_stream {
        const char *in;
        size_t n_in;
        char *out;
        size_t n_out;
};

int lib_spy(void);
long lib_many(long a, long b, long c, long d, long e, long f, long g, long h);
double lib_mean(const double *values, size_t n, double weight);
int lib_upper(struct lib_stream *stream);
size_t lib_length(const char *text);
void lib_each(const int *values, size_t n, void (*call)(int));
