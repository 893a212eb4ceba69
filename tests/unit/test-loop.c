/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop: timers, signals, pollables, and what may be freed from where. Waits end by conditions; a guard
 * timer fails the test when they never come. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "service/loop.h"
#include "util/util.h"

#define TIME_LIMIT_USEC (30 * MLG_USEC_PER_SEC)
#define MSEC UINT64_C(1000)

static uint64_t clock_usec(void) {
        return (uint64_t) g_get_monotonic_time();
}

static void on_guard(uint64_t now_usec, void *userdata) {
        fail_msg("the loop did not end in time");
}

static int setup(void **state) {
        MlgLoop *l;
        MlgTimer *guard;

        assert_int_equal(mlg_loop_new(&l), 0);
        assert_int_equal(mlg_timer_new(l, on_guard, NULL, &guard), 0);
        mlg_timer_at(guard, clock_usec() + TIME_LIMIT_USEC);
        *state = l;
        return 0;
}

static int teardown(void **state) {
        mlg_loop_free(*state);
        return 0;
}

/* ---- timers ---- */

typedef struct Timers {
        MlgLoop *loop;
        MlgTimer *timer[3];
        GString *order;
        uint64_t at_usec;
        uint64_t now_usec;
        uint64_t turns;
        int left;
} Timers;

static void on_a(uint64_t now_usec, void *userdata) {
        Timers *t = userdata;

        g_string_append_c(t->order, 'a');
        t->now_usec = now_usec;
        assert_true(now_usec >= t->at_usec);
        assert_true(now_usec == mlg_loop_now_usec(t->loop));
        mlg_timer_at(t->timer[1], now_usec + 5 * MSEC);
}

static void on_b(uint64_t now_usec, void *userdata) {
        Timers *t = userdata;

        g_string_append_c(t->order, 'b');
        assert_true(now_usec > t->now_usec);
        mlg_loop_quit(t->loop);
}

static void test_timers(void **state) {
        Timers t = { .loop = *state, .order = g_string_new(NULL) };

        t.at_usec = clock_usec() + 20 * MSEC;
        assert_int_equal(mlg_timer_new(t.loop, on_a, &t, &t.timer[0]), 0);
        assert_int_equal(mlg_timer_new(t.loop, on_b, &t, &t.timer[1]), 0);
        mlg_timer_at(t.timer[0], clock_usec() + 3600 * MLG_USEC_PER_SEC);
        mlg_timer_at(t.timer[0], t.at_usec);    /* replaces */
        mlg_timer_at(t.timer[1], t.at_usec / 2); /* long over */
        mlg_timer_at(t.timer[1], MLG_USEC_NEVER); /* disarmed */
        assert_int_equal(mlg_loop_run(t.loop), 0);
        assert_string_equal(t.order->str, "ab");
        assert_true(mlg_loop_turns(t.loop) >= 2);
        g_string_free(t.order, TRUE);
}

static void on_again(uint64_t now_usec, void *userdata) {
        Timers *t = userdata;

        assert_true(mlg_loop_turns(t->loop) > t->turns); /* once in a turn, however often it is due */
        t->turns = mlg_loop_turns(t->loop);
        if (--t->left == 0)
                mlg_loop_quit(t->loop);
        else
                mlg_timer_at(t->timer[0], now_usec);
}

static void test_timer_rearms_itself(void **state) {
        Timers t = { .loop = *state, .left = 100 };

        assert_int_equal(mlg_timer_new(t.loop, on_again, &t, &t.timer[0]), 0);
        mlg_timer_at(t.timer[0], 0);
        assert_int_equal(mlg_loop_run(t.loop), 0);
        assert_int_equal(t.left, 0);
}

static void on_free_all(uint64_t now_usec, void *userdata) {
        Timers *t = userdata;

        t->left++;
        for (int i = 0; i < 3; i++)
                t->timer[i] = mlg_timer_free(t->timer[i]); /* itself too, and those that are due now */
        mlg_loop_quit(t->loop);
}

static void test_timer_frees_all(void **state) {
        Timers t = { .loop = *state };

        for (int i = 0; i < 3; i++) {
                assert_int_equal(mlg_timer_new(t.loop, on_free_all, &t, &t.timer[i]), 0);
                mlg_timer_at(t.timer[i], 1);
        }
        assert_int_equal(mlg_loop_run(t.loop), 0);
        assert_int_equal(t.left, 1);
}

static void on_replace(uint64_t now_usec, void *userdata) {
        Timers *t = userdata;

        if (++t->left == 1000) {
                mlg_loop_quit(t->loop);
                return;
        }
        mlg_timer_free(t->timer[0]);
        assert_int_equal(mlg_timer_new(t->loop, on_replace, t, &t->timer[0]), 0);
        mlg_timer_at(t->timer[0], now_usec);
}

static void test_timer_replaces_itself(void **state) {
        Timers t = { .loop = *state };

        assert_int_equal(mlg_timer_new(t.loop, on_replace, &t, &t.timer[0]), 0);
        mlg_timer_at(t.timer[0], 0);
        assert_int_equal(mlg_loop_run(t.loop), 0);
        assert_int_equal(t.left, 1000);
}

/* ---- signals ---- */

static void on_signal(int signo, void *userdata) {
        Timers *t = userdata;

        t->left++;
        if (signo == SIGUSR1)
                (void) raise(SIGUSR2);
        else
                mlg_loop_quit(t->loop);
}

static void on_raise(uint64_t now_usec, void *userdata) {
        (void) raise(SIGUSR1);
}

static void test_signals(void **state) {
        Timers t = { .loop = *state };

        assert_int_equal(mlg_loop_on_signal(t.loop, 0, on_signal, &t), -EINVAL);
        assert_int_equal(mlg_loop_on_signal(t.loop, SIGUSR1, on_signal, &t), 0);
        assert_int_equal(mlg_loop_on_signal(t.loop, SIGUSR2, on_signal, &t), 0);
        assert_int_equal(mlg_timer_new(t.loop, on_raise, &t, &t.timer[0]), 0);
        mlg_timer_at(t.timer[0], 0);
        assert_int_equal(mlg_loop_run(t.loop), 0);
        assert_int_equal(t.left, 2);
}

/* ---- pollables ---- */

typedef struct Fake {
        MlgLoop *loop;
        MlgWatch *watch;
        int fd;
        short events;
        uint64_t deadline_usec;
        int result;          /* of dispatch */
        unsigned n_dispatched, n_broken;
        int error;
        bool in_dispatch;
        void (*action)(struct Fake *f);
        struct Fake *other;
} Fake;

static short fake_events(void *userdata) {
        return ((Fake *) userdata)->events;
}

static uint64_t fake_deadline(void *userdata) {
        return ((Fake *) userdata)->deadline_usec;
}

static int fake_dispatch(uint64_t now_usec, void *userdata) {
        Fake *f = userdata;
        int r = f->result;

        f->n_dispatched++;
        f->in_dispatch = true;
        assert_true(now_usec == mlg_loop_now_usec(f->loop));
        if (f->action)
                f->action(f);
        f->in_dispatch = false;
        return r;
}

static void fake_broken(int error, void *userdata) {
        Fake *f = userdata;

        assert_false(f->in_dispatch);
        f->n_broken++;
        f->error = error;
        mlg_loop_quit(f->loop);
}

static void watch(Fake *f, MlgLoop *l, int fd) {
        MlgPollable p = {
                .fd = fd, .events = fake_events, .deadline_usec = fake_deadline, .dispatch = fake_dispatch,
                .on_broken = fake_broken, .userdata = f,
        };

        f->loop = l;
        f->fd = fd;
        assert_int_equal(mlg_loop_watch(l, &p, &f->watch), 0);
}

static void act_quit(Fake *f) {
        mlg_loop_quit(f->loop);
}

static void test_watch_io(void **state) {
        Fake f = { .events = POLLIN, .deadline_usec = MLG_USEC_NEVER, .action = act_quit };
        int fds[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), errno);
        watch(&f, *state, fds[0]);
        assert_int_equal(write(fds[1], "x", 1), 1);
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 1);

        f.events = POLLOUT; /* changed without a word: asked anew before the next wait */
        assert_int_equal(read(fds[0], &(char) { 0 }, 1), 1);
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 2);

        close(fds[1]); /* a hang-up is told as what was wanted */
        f.events = POLLIN;
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 3);
        mlg_watch_free(f.watch);
        close(fds[0]);
}

static void test_watch_deadline(void **state) {
        Fake f = { .deadline_usec = clock_usec() + 20 * MSEC, .action = act_quit };
        uint64_t until = f.deadline_usec;

        watch(&f, *state, eventfd(0, EFD_CLOEXEC)); /* events: 0, only the deadline counts */
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 1);
        assert_true(clock_usec() >= until);

        f.deadline_usec = 0; /* at once */
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 2);
        mlg_watch_free(f.watch);
        close(f.fd);
}

static void on_change_other(uint64_t now_usec, void *userdata) {
        Fake *f = userdata;

        f->events = POLLOUT; /* as a method that is sent from elsewhere does it to the bus */
        f->deadline_usec = MLG_USEC_NEVER;
}

static void test_watch_changed_by_others(void **state) {
        Fake f = { .events = POLLIN, .deadline_usec = MLG_USEC_NEVER, .action = act_quit };
        MlgTimer *timer;
        int fds[2];

        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), errno);
        watch(&f, *state, fds[0]);
        assert_int_equal(mlg_timer_new(*state, on_change_other, &f, &timer), 0);
        mlg_timer_at(timer, clock_usec() + 10 * MSEC);
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 1);
        mlg_watch_free(f.watch);
        mlg_timer_free(timer);
        close(fds[0]);
        close(fds[1]);
}

static void on_quit(uint64_t now_usec, void *userdata) {
        mlg_loop_quit(userdata);
}

static void test_watch_broken(void **state) {
        Fake f = { .deadline_usec = 0, .result = -EPIPE };
        MlgTimer *timer;

        watch(&f, *state, eventfd(1, EFD_CLOEXEC));
        f.events = POLLIN;
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 1);
        assert_int_equal(f.n_broken, 1);
        assert_int_equal(f.error, -EPIPE);

        /* Never again, though its descriptor is readable and its deadline over. */
        assert_int_equal(mlg_timer_new(*state, on_quit, *state, &timer), 0);
        mlg_timer_at(timer, clock_usec() + 20 * MSEC);
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 1);
        assert_int_equal(f.n_broken, 1);
        mlg_watch_free(f.watch);
        mlg_timer_free(timer);
        close(f.fd);
}

/* A descriptor that cannot be waited for is found when it is armed. */
static void test_watch_bad_descriptor(void **state) {
        Fake f = { .events = POLLIN, .deadline_usec = MLG_USEC_NEVER };
        char name[] = "/tmp/test-loop-XXXXXX";
        int fd = mkstemp(name);
        MlgPollable p = { .fd = -1 };

        assert_int_equal(mlg_loop_watch(*state, &p, &f.watch), -EINVAL);
        assert_true(fd >= 0);
        (void) unlink(name);
        watch(&f, *state, fd);
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 0);
        assert_int_equal(f.n_broken, 1);
        assert_int_equal(f.error, -EPERM);
        mlg_watch_free(f.watch);
        close(fd);
}

static void act_free_both(Fake *f) {
        f->watch = mlg_watch_free(f->watch);
        if (f->other->watch)
                f->other->watch = mlg_watch_free(f->other->watch);
        mlg_loop_quit(f->loop);
}

static void test_watch_frees_itself_and_another(void **state) {
        Fake a = { .events = POLLIN, .deadline_usec = 0, .action = act_free_both, .result = -EIO };
        Fake b = { .events = POLLIN, .deadline_usec = 0, .action = act_free_both, .other = &a };

        a.other = &b;
        watch(&a, *state, eventfd(1, EFD_CLOEXEC));
        watch(&b, *state, eventfd(1, EFD_CLOEXEC));
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(a.n_dispatched + b.n_dispatched, 1);
        assert_int_equal(a.n_broken + b.n_broken, 0); /* freed before it could be reported */
        close(a.fd);
        close(b.fd);
}

static void act_replace(Fake *f) {
        if (f->n_dispatched == 200) {
                mlg_loop_quit(f->loop);
                return;
        }
        mlg_watch_free(f->watch);
        watch(f, f->loop, f->fd);
}

static void test_watch_replaces_itself(void **state) {
        Fake f = { .events = POLLIN, .deadline_usec = MLG_USEC_NEVER, .action = act_replace };

        watch(&f, *state, eventfd(1, EFD_CLOEXEC));
        assert_int_equal(mlg_loop_run(*state), 0);
        assert_int_equal(f.n_dispatched, 200);
        mlg_watch_free(f.watch);
        close(f.fd);
}

/* The loop frees what is left. */
static void test_free_with_leftovers(void **state) {
        Fake f = { .events = POLLIN, .deadline_usec = MLG_USEC_NEVER };
        MlgTimer *timer;
        MlgLoop *l;

        assert_int_equal(mlg_loop_new(&l), 0);
        assert_int_equal(mlg_timer_new(l, on_quit, l, &timer), 0);
        watch(&f, l, eventfd(0, EFD_CLOEXEC));
        mlg_timer_at(timer, 0);
        assert_int_equal(mlg_loop_run(l), 0);
        assert_null(mlg_loop_free(l));
        assert_null(mlg_loop_free(NULL));
        assert_null(mlg_timer_free(NULL));
        assert_null(mlg_watch_free(NULL));
        close(f.fd);
}

#define LOOP_TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                LOOP_TEST(test_timers),
                LOOP_TEST(test_timer_rearms_itself),
                LOOP_TEST(test_timer_frees_all),
                LOOP_TEST(test_timer_replaces_itself),
                LOOP_TEST(test_signals),
                LOOP_TEST(test_watch_io),
                LOOP_TEST(test_watch_deadline),
                LOOP_TEST(test_watch_changed_by_others),
                LOOP_TEST(test_watch_broken),
                LOOP_TEST(test_watch_bad_descriptor),
                LOOP_TEST(test_watch_frees_itself_and_another),
                LOOP_TEST(test_watch_replaces_itself),
                cmocka_unit_test(test_free_with_leftovers),
        };

        return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
