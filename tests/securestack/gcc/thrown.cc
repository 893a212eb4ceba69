// SPDX-License-Identifier: GPL-2.0-or-later
// C++: an exception of a function that is not trusted goes through frames with secrets.
#include <cstdio>
#include <cstring>

#ifdef MARKED
#define SENSITIVE [[gnu::sensitive]]
#else
#define SENSITIVE
#endif

extern "C" int lib_spy(void);
struct Found {
        int times;
};

// Of this unit: it would be inlined, or its type changed, if it were trusted.
#ifdef MARKED
__attribute__((untrusted))
#endif
static void
spy_and_throw(int more) {
        throw Found{ lib_spy() + more };
}

static const volatile char *place;

template <class T> static __attribute__((noinline)) int work(int depth) {
        SENSITIVE T secret[17];

        place = secret;
        for (int i = 0; i < 17; i++)
                const_cast<volatile T &>(secret[i]) = "secret of its!!!"[i];
        if (depth > 0)
                return work<T>(depth - 1);
        try {
                spy_and_throw(0);
        } catch (const Found &found) {
                if (strcmp(secret, "secret of its!!!") != 0)
                        return -1000;
                spy_and_throw(found.times);
        }
        return -1000;
}

int main() {
        volatile char above[4096];
        int found = 0, left = 0;

        above[0] = above[4095] = 0;
        try {
                found = work<char>(3);
        } catch (const Found &all) {
                found = all.times;
        }
        for (int i = 0; i < 16; i++)
                left += place[i] == "secret of its!!!"[i];
        printf("left %d\nfound %d\n", left == 16, found);
        return above[4095];
}
