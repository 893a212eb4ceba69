// SPDX-License-Identifier: GPL-2.0-or-later
// libsecurestack in C++: exceptions go through protected calls, with everything restored on their way.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include <pthread.h>

#include "memlego/securestack.hpp"

namespace ss = memlego::ss;

#define CHECK(what) \
        do { \
                if (!(what)) { \
                        std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
                        std::exit(1); \
                } \
        } while (0)

using Key = std::array<unsigned char, 32>;

static int n_destroyed;
struct Noted {
        ~Noted() {
                n_destroyed++;
        }
};

static bool is(const Key &key, unsigned char byte) {
        for (unsigned char c : key)
                if (c != byte)
                        return false;
        return true;
}

[[gnu::noinline]] static int look(const Key *key, int n) {
        return is(*key, 0) ? n : -1;
}

[[gnu::noinline]] static double throws(int n) {
        Noted noted;
        throw std::runtime_error("thrown " + std::to_string(n));
}

[[gnu::noinline]] static void nest(int depth) {
        Noted noted;
        Key key;
        ss::Secret guard(key);

        key.fill(static_cast<unsigned char>(depth));
        try {
                if (depth == 0)
                        throws(0);
                ss::Call(depth % 2 ? SS_FRAME : 0)(nest, depth - 1);
        } catch (const std::runtime_error &) {
                CHECK(is(key, static_cast<unsigned char>(depth)));
                throw;
        }
}

static void test_plain() {
        Key key;
        ss::Secret guard(key);
        double (*power)(double, int) = [](double x, int n) { return n ? x * x : 1; };

        key.fill(7);
        CHECK(look(&key, 1) == -1);
        CHECK(ss::Call()(look, &key, 5) == 5);
        CHECK(ss::Call(SS_FRAME)(look, &key, 6) == 6);
        CHECK(is(key, 7));
        CHECK(ss::Call(SS_FRAME)(power, 3, 2) == 9);
}

static void test_thrown() {
        for (unsigned flags : { 0u, SS_FRAME }) {
                Key key;
                ss::Secret guard(key);
                std::string text;

                key.fill(9);
                n_destroyed = 0;
                for (int i = 0; i < 10; i++) {
                        try {
                                ss::Call call(flags);
                                call(throws, i);
                                CHECK(false);
                        } catch (const std::exception &e) {
                                text = e.what();
                        }
                        CHECK(text == "thrown " + std::to_string(i));
                        CHECK(is(key, 9));
                }
                CHECK(n_destroyed == 10);
                CHECK(std::uncaught_exceptions() == 0);
        }
}

static void test_nested() {
        n_destroyed = 0;
        try {
                nest(50);
                CHECK(false);
        } catch (const std::runtime_error &e) {
                CHECK(e.what() == std::string("thrown 0"));
        }
        CHECK(n_destroyed == 52);
}

[[gnu::noinline]] static void ends() {
        Noted noted;
        pthread_exit(nullptr);
}

static void *thread(void *) {
        struct Last {
                Key &key;
                ~Last() {
                        n_destroyed += is(key, 3) ? 10 : 1000;
                }
        };
        Key key;
        Last last{ key };

        key.fill(3);
        ss::Call(SS_FRAME)(ends);
        return &n_destroyed;
}

// The end of a thread is unwinding, too.
static void test_pthread_exit() {
        pthread_t id;
        void *result;

        n_destroyed = 0;
        CHECK(pthread_create(&id, nullptr, thread, nullptr) == 0);
        CHECK(pthread_join(id, &result) == 0);
        CHECK(result == nullptr);
        CHECK(n_destroyed == 11);
}

static void test_refused() {
        try {
                ss::Call()(ends);
                CHECK(false);
        } catch (const ss::Refused &e) {
                CHECK(e.status < 0);
                CHECK(std::string(e.what()).find("load the module") != std::string::npos);
        }
}

int main() {
        if (ss_init(0) != 0) {
                test_refused();
                CHECK(ss_init(SS_PORTABLE) == 0);
        }
        test_plain();
        test_thrown();
        test_nested();
        test_pthread_exit();
        return 0;
}
