// SPDX-License-Identifier: GPL-2.0-or-later
/* A program with a secret on its stack, that knows nothing of SecureStack: it says what it has seen of the
 * library's work, and last how often that has found the secret. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include "library.h"

static int sum;
static jmp_buf enough;
static void add(int value) {
        sum += value;
        if (sum > 100)
                longjmp(enough, 1);
}

static __attribute__((noinline)) int work(void) {
        volatile char secret[17];
        char in[] = "some text", out[sizeof in] = "";
        double values[] = { 1, 2, 3, 6 };
        int numbers[] = { 1, 2, 3, 200, 5 }, found;
        struct lib_stream stream = { .in = in, .n_in = sizeof in - 1, .out = out };

        for (int i = 0; i < 17; i++)
                secret[i] = "secret of its!!!"[i];
        printf("many %ld\n", lib_many(1, 2, 3, 4, 5, 6, 7, 8));
        printf("mean %g\n", lib_mean(values, 4, 2));
        found = lib_upper(&stream);
        printf("upper %s %zu\n", out, stream.n_out);
        printf("length %zu\n", lib_length(in));
        lib_each(numbers, 3, add);
        printf("each %d\n", sum);
        if (setjmp(enough) == 0)
                lib_each(numbers, 5, add);
        printf("enough %d\n", sum);
        for (int i = 0; i < 1000; i++)
                found += lib_spy();
        printf("secret %s\n", strcmp((char *) secret, "secret of its!!!") == 0 ? "kept" : "lost");
        printf("found %d\n", found);
        return 0;
}

/* There is stack above the work for as far as the library spies: in an empty environment it ends soon. */
int main(void) {
        volatile char above[4096];

        above[0] = above[4095] = 0;
        return work() + above[4095];
}
