// SPDX-License-Identifier: GPL-2.0-or-later
// libsecurestack in C++: exceptions go through protected calls, with everything restored on their way.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>

#include <csignal>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

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
static const Key *expected_key; // of a frame further up, for who is called when nobody catches
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

[[gnu::noinline]] static void crosses(bool guarded) {
        Key key;

        expected_key = &key;
        key.fill(5);
        if (guarded)
                ss::Call(SS_FRAME)(throws, 8);
        else
                throws(8);
        CHECK(is(key, 5)); // not reached, but the key lives until here
}

static void forbids(bool guarded) noexcept {
        crosses(guarded);
}

[[noreturn]] static void on_terminate() {
        try {
                std::rethrow_exception(std::current_exception());
        } catch (const std::runtime_error &e) {
                std::_Exit(e.what() == std::string("thrown 8") && is(*expected_key, 5) ? 42 : 1);
        }
}

static int status_of_child(void (*run)(bool), bool guarded, bool handles) {
        int status = -1;
        pid_t child = fork();

        if (child == 0) {
                if (handles)
                        std::set_terminate(on_terminate);
                else
                        std::freopen("/dev/null", "w", stderr);
                run(guarded);
                std::_Exit(2);
        }
        CHECK(child > 0 && waitpid(child, &status, 0) == child);
        return status;
}

// What nobody catches, or a noexcept function lets nobody catch, reaches the program's std::terminate() as it
// does without the gate.
static void test_uncaught() {
        const rlimit none = {};

        CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
        for (auto run : { crosses, static_cast<void (*)(bool)>(forbids) })
                for (bool guarded : { false, true }) {
                        int handled = status_of_child(run, guarded, true),
                            not_handled = status_of_child(run, guarded, false);

                        CHECK(WIFEXITED(handled) && WEXITSTATUS(handled) == 42);
                        CHECK(WIFSIGNALED(not_handled) && WTERMSIG(not_handled) == SIGABRT);
                }
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
        test_uncaught();
        return 0;
}
