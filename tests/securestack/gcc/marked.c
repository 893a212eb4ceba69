// SPDX-License-Identifier: GPL-2.0-or-later
/* A program that marks what is sensitive, and whom it does not trust, and is otherwise as it was. Says
 * what it saw,
 * and last how often the secret was found. */
#include <stdio.h>
#include <string.h>

#ifdef MARKED /* the same program without the pass */
#define SENSITIVE __attribute__((sensitive))
#define UNTRUSTED __attribute__((untrusted))
#else
#define SENSITIVE
#define UNTRUSTED
#endif

UNTRUSTED int lib_spy(void);
UNTRUSTED size_t lib_length(const char *text);
UNTRUSTED double lib_mean(const double *values, size_t n, double weight);
UNTRUSTED long lib_many(long a, long b, long c, long d, long e, long f, long g, long h);

struct key {
        char bytes[17];
};

static void *volatile place; /* where the secret was */

/* Below the frame with the secret, without one of its own. */
static __attribute__((noinline)) int middle(int rounds) {
        int found = 0;

        for (int i = 0; i < rounds; i++)
                found += lib_spy();
        return found;
}

static __attribute__((noinline)) int from_parameter(SENSITIVE struct key key) {
        int found = middle(10);

        return key.bytes[0] == 's' && key.bytes[15] == '!' ? found : -1000;
}

static __attribute__((noinline)) int work(int depth) {
        SENSITIVE char secret[17];
        SENSITIVE int number = 40;
        double values[] = { 1, 2, 3, 6 };
        char text[] = "some text";
        SENSITIVE struct key key;
        int found;

        place = secret;
        for (int i = 0; i < 17; i++)
                *(volatile char *) &secret[i] = "secret of its!!!"[i];
        number += 2;
        if (depth)
                return work(depth - 1);
        printf("length %zu\n", lib_length(text));
        printf("mean %g\n", lib_mean(values, 4, 2));
        printf("many %ld\n", lib_many(1, 2, 3, 4, 5, 6, 7, 8));
        found = lib_spy() + middle(10);
        memcpy(key.bytes, secret, 17);
        found += from_parameter(key);
        printf("secret %s %d\n", strcmp(secret, "secret of its!!!") == 0 ? "kept" : "lost", number);
        return found;
}

static __attribute__((noinline)) int is_left(void) {
        const volatile char *bytes = place;
        int n = 0;

        for (int i = 0; i < 16; i++)
                n += bytes[i] == "secret of its!!!"[i];
        return n == 16;
}

int main(void) {
        volatile char above[4096];
        int found;

        above[0] = above[4095] = 0;
        found = work(3);
        printf("left %d\n", is_left());
        printf("found %d\n", found);
        return above[4095];
}
