// SPDX-License-Identifier: GPL-2.0-or-later
// A program in C++ with a secret, that knows nothing of SecureStack: it catches what the library throws, or, as
// "catcher uncaught", does not, and says so when it is ended. It says last how often the secret was found.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>

#include <unistd.h>

extern "C" int lib_throw(void);

static const char *secret_of_frame;

static const char *state_of(const char *secret) {
        return strcmp(secret, "secret of its!!!") == 0 ? "kept" : "lost";
}

[[noreturn]] static void on_terminate() {
        try {
                std::rethrow_exception(std::current_exception());
        } catch (const std::exception &e) {
                printf("terminated, secret %s\nfound %s\n", state_of(secret_of_frame), e.what());
        }
        fflush(stdout);
        _exit(3);
}

static int work(bool catches) {
        volatile char secret[17];
        int found = 0;

        for (int i = 0; i < 17; i++)
                secret[i] = "secret of its!!!"[i];
        secret_of_frame = const_cast<const char *>(secret);
        if (!catches)
                return lib_throw() + secret[0];
        for (int i = 0; i < 5; i++) {
                try {
                        found += lib_throw();
                } catch (const std::exception &e) {
                        found += atoi(e.what());
                }
        }
        printf("secret %s\n", state_of(secret_of_frame));
        return found;
}

int main(int argc, char **argv) {
        bool catches = argc != 2 || strcmp(argv[1], "uncaught") != 0;
        volatile char above[4096];
        int found;

        above[0] = above[4095] = 0;
        if (!catches)
                std::set_terminate(on_terminate);
        found = work(catches);
        printf("found %d\n", found);
        return above[4095];
}
