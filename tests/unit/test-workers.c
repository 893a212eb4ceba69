/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Workers: jobs that come back, jobs that hang (they read from a pipe), and the end of the pool under both.
 * Made to run under the thread sanitizer: what threads and test share is atomic or goes through a pipe. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "hypervisor/workers.h"
#include "util/util.h"

#define TIME_LIMIT_USEC (30 * MLG_USEC_PER_SEC)
#define HOUR_USEC (3600 * MLG_USEC_PER_SEC)

static gint n_contexts, n_data; /* alive */
static gint n_run;

typedef struct Data {
        int fd;     /* >= 0: run() reads from it first */
        int answer; /* what run() returns */
        gint *order; /* run() notes its place in `place` */
        gint place;
        int free_fd; /* >= 0: data_free() reads from it first */
} Data;

typedef struct Outcome {
        unsigned n; /* calls of done() */
        int r;
        bool had_data;
        gint place;
} Outcome;

static uint64_t passed_usec; /* by pass_an_hour() */

static uint64_t clock_usec(void) {
        return (uint64_t) g_get_monotonic_time() + passed_usec;
}

/* Deadlines pass when a test says so, and not because the machine is busy. */
static void pass_an_hour(void) {
        passed_usec += HOUR_USEC;
}

static void *context_new(void *userdata) {
        g_atomic_int_inc(&n_contexts);
        return g_new0(int, 1);
}

static void context_free(void *context) {
        g_free(context);
        (void) g_atomic_int_dec_and_test(&n_contexts);
}

static void data_free(void *data) {
        Data *d = data;
        char c;

        if (d->free_fd >= 0)
                (void) !read(d->free_fd, &c, 1);
        g_free(data);
        (void) g_atomic_int_dec_and_test(&n_data);
}

static int run(void *context, void *data) {
        Data *d = data;
        char c;

        ++*(int *) context; /* one thread at a time, or the sanitizer speaks */
        g_atomic_int_inc(&n_run);
        if (d->order)
                d->place = g_atomic_int_add(d->order, 1);
        if (d->fd >= 0)
                (void) !read(d->fd, &c, 1);
        return d->answer;
}

static void done(int r, void *data, void *userdata) {
        Outcome *o = userdata;

        o->n++;
        o->r = r;
        o->had_data = data != NULL;
        if (data)
                o->place = ((Data *) data)->place;
}

static MlgWorkers *workers(unsigned n_threads, unsigned max_parked, unsigned max_queued) {
        MlgWorkersOptions options = {
                .n_threads = n_threads, .max_parked = max_parked, .max_queued = max_queued,
                .context_new = context_new, .context_free = context_free,
        };
        MlgWorkers *w;

        assert_int_equal(mlg_workers_new(&options, &w), 0);
        return w;
}

static int submit_data(MlgWorkers *w, const Data *data, uint64_t wait_usec, bool urgent, Outcome *o) {
        Data *d = g_memdup2(data, sizeof(*data));
        MlgJob job = {
                .run = run,
                .done = done,
                .data = d,
                .data_free = data_free,
                .userdata = o,
                .deadline_usec = wait_usec == MLG_USEC_NEVER ? MLG_USEC_NEVER : clock_usec() + wait_usec,
                .urgent = urgent,
        };
        int r;

        *o = (Outcome) { .place = -1 };
        g_atomic_int_inc(&n_data);
        r = mlg_workers_submit(w, &job);
        if (r < 0)
                data_free(d);
        return r;
}

static int submit(MlgWorkers *w, int fd, int answer, uint64_t wait_usec, bool urgent, gint *order,
                  Outcome *o) {
        Data d = { .fd = fd, .answer = answer, .order = order, .free_fd = -1 };

        return submit_data(w, &d, wait_usec, urgent, o);
}

/* For what happens on threads that nobody waits for. */
#define WAIT_UNTIL(condition)                                                                               \
        do {                                                                                                \
                uint64_t limit = clock_usec() + TIME_LIMIT_USEC;                                            \
                while (!(condition)) {                                                                      \
                        if (clock_usec() > limit)                                                           \
                                fail_msg("never: %s", #condition);                                          \
                        (void) poll(NULL, 0, 1);                                                            \
                }                                                                                           \
        } while (0)

/* A job that hangs until somebody writes to `fd`; it runs when this returns, and its deadline is over. */
static void submit_late(MlgWorkers *w, int fd, bool urgent, Outcome *o) {
        gint before = g_atomic_int_get(&n_run);

        assert_int_equal(submit(w, fd, 0, HOUR_USEC, urgent, NULL, o), 0);
        WAIT_UNTIL(g_atomic_int_get(&n_run) > before);
        pass_an_hour();
}

/* As a loop does it, once. */
static void turn(MlgWorkers *w) {
        const MlgPollable *p = mlg_workers_pollable(w);
        uint64_t until = p->deadline_usec(p->userdata), now = clock_usec();
        struct pollfd fd = { .fd = p->fd, .events = p->events(p->userdata) };

        (void) poll(&fd, 1, until <= now ? 0 : (int) mlg_min((until - now) / 1000 + 1, 50));
        assert_int_equal(p->dispatch(clock_usec(), p->userdata), 0);
}

#define RUN_UNTIL(w, condition)                                                                             \
        do {                                                                                                \
                uint64_t limit = clock_usec() + TIME_LIMIT_USEC;                                            \
                while (!(condition)) {                                                                      \
                        if (clock_usec() > limit)                                                           \
                                fail_msg("never: %s", #condition);                                          \
                        turn(w);                                                                            \
                }                                                                                           \
        } while (0)

static void make_pipe(int fds[2]) {
        assert_return_code(pipe(fds), errno);
}

static void nothing_left(void) {
        WAIT_UNTIL(g_atomic_int_get(&n_contexts) == 0);
        WAIT_UNTIL(g_atomic_int_get(&n_data) == 0);
}

static void test_answers(void **state) {
        MlgWorkers *w = workers(3, 1, 100);
        Outcome o[50];
        unsigned n = 0;

        for (int i = 0; i < 50; i++)
                assert_int_equal(submit(w, -1, -i, MLG_USEC_NEVER, i % 7 == 0, NULL, &o[i]), 0);
        while (n < 50) {
                turn(w);
                n = 0;
                for (int i = 0; i < 50; i++)
                        n += o[i].n;
        }
        for (int i = 0; i < 50; i++) {
                assert_int_equal(o[i].n, 1);
                assert_int_equal(o[i].r, -i);
                assert_true(o[i].had_data);
        }
        assert_true(g_atomic_int_get(&n_contexts) <= 4);
        mlg_workers_free(w);
        nothing_left();
}

static void test_late_running(void **state) {
        MlgWorkers *w = workers(1, 2, 100);
        Outcome late, next;
        int fds[2];

        make_pipe(fds);
        submit_late(w, fds[0], false, &late);
        assert_int_equal(submit(w, -1, 5, MLG_USEC_NEVER, false, NULL, &next), 0);
        RUN_UNTIL(w, late.n > 0);
        assert_int_equal(late.r, -ETIMEDOUT);
        assert_false(late.had_data);
        RUN_UNTIL(w, next.n > 0); /* a fresh thread goes on */
        assert_int_equal(next.r, 5);

        assert_int_equal(write(fds[1], "x", 1), 1);
        RUN_UNTIL(w, g_atomic_int_get(&n_data) == 0);
        RUN_UNTIL(w, g_atomic_int_get(&n_contexts) == 1); /* the parked thread has ended */
        assert_int_equal(late.n, 1); /* the late result is thrown away */
        mlg_workers_free(w);
        nothing_left();
        close(fds[0]);
        close(fds[1]);
}

static void test_late_queued(void **state) {
        MlgWorkers *w = workers(1, 1, 100);
        Outcome first, queued;
        int fds[2];
        gint before = g_atomic_int_get(&n_run);

        make_pipe(fds);
        assert_int_equal(submit(w, fds[0], 0, MLG_USEC_NEVER, false, NULL, &first), 0);
        WAIT_UNTIL(g_atomic_int_get(&n_run) > before);
        assert_int_equal(submit(w, -1, 0, HOUR_USEC, false, NULL, &queued), 0);
        pass_an_hour();
        RUN_UNTIL(w, queued.n > 0);
        assert_int_equal(queued.r, -ETIME);
        assert_false(queued.had_data);
        assert_int_equal(write(fds[1], "x", 1), 1);
        RUN_UNTIL(w, first.n > 0);
        assert_int_equal(first.r, 0);
        assert_int_equal(g_atomic_int_get(&n_run), before + 1); /* the queued one never ran */
        mlg_workers_free(w);
        nothing_left();
        close(fds[0]);
        close(fds[1]);
}

/* max_parked threads are replaced; when those hang too, submit says so, until one comes back. */
static void test_bounded(void **state) {
        enum { ALL = 1 + 1 + 2 }; /* ordinary, urgent, replaced */
        MlgWorkers *w = workers(1, 2, 100);
        Outcome late[ALL], more;
        int fds[2];

        make_pipe(fds);
        for (unsigned i = 0; i < ALL; i++) {
                submit_late(w, fds[0], true, &late[i]);
                RUN_UNTIL(w, late[i].n > 0);
                assert_int_equal(late[i].r, -ETIMEDOUT);
        }
        assert_int_equal(submit(w, -1, 0, HOUR_USEC, false, NULL, &more), -EBUSY);
        assert_int_equal(more.n, 0);

        assert_int_equal(write(fds[1], "x", 1), 1);
        RUN_UNTIL(w, submit(w, -1, 3, MLG_USEC_NEVER, false, NULL, &more) == 0);
        RUN_UNTIL(w, more.n > 0);
        assert_int_equal(more.r, 3);

        assert_int_equal(write(fds[1], "xxx", 3), 3);
        RUN_UNTIL(w, g_atomic_int_get(&n_data) == 0);
        mlg_workers_free(w);
        nothing_left();
        close(fds[0]);
        close(fds[1]);
}

static void test_queue_limit(void **state) {
        MlgWorkers *w = workers(1, 0, 2);
        Outcome running, queued[2], more;
        gint order = 0;
        int fds[2];

        make_pipe(fds);
        assert_int_equal(submit(w, fds[0], 0, MLG_USEC_NEVER, false, &order, &running), 0);
        WAIT_UNTIL(g_atomic_int_get(&order) == 1); /* it has left the queue, and stays with its thread */
        for (int i = 0; i < 2; i++)
                assert_int_equal(submit(w, -1, 0, MLG_USEC_NEVER, false, NULL, &queued[i]), 0);
        assert_int_equal(submit(w, -1, 0, MLG_USEC_NEVER, false, NULL, &more), -EAGAIN);
        assert_int_equal(write(fds[1], "x", 1), 1);
        RUN_UNTIL(w, g_atomic_int_get(&n_data) == 0);
        mlg_workers_free(w);
        nothing_left();
        close(fds[0]);
        close(fds[1]);
}

/* All ordinary threads are busy and more ordinary jobs wait: an urgent one goes before them. */
static void test_urgent(void **state) {
        MlgWorkers *w = workers(2, 0, 100);
        Outcome busy[2], waiting[20], urgent;
        gint order = 0;
        int fds[2];

        make_pipe(fds);
        for (int i = 0; i < 2; i++)
                assert_int_equal(submit(w, fds[0], 0, MLG_USEC_NEVER, false, &order, &busy[i]), 0);
        WAIT_UNTIL(g_atomic_int_get(&order) == 2);
        for (int i = 0; i < 20; i++)
                assert_int_equal(submit(w, -1, 0, MLG_USEC_NEVER, false, &order, &waiting[i]), 0);
        assert_int_equal(submit(w, -1, 0, MLG_USEC_NEVER, true, &order, &urgent), 0);
        RUN_UNTIL(w, urgent.n > 0);
        assert_int_equal(urgent.place, 2);
        assert_int_equal(waiting[0].n, 0); /* the spare thread does no ordinary jobs */

        assert_int_equal(write(fds[1], "xx", 2), 2);
        RUN_UNTIL(w, waiting[19].n > 0 && busy[0].n > 0 && busy[1].n > 0);
        mlg_workers_free(w);
        nothing_left();
        close(fds[0]);
        close(fds[1]);
}

/* A thread of the ordinary ones is parked: ordinary jobs go on. */
static void test_parked_makes_room(void **state) {
        MlgWorkers *w = workers(1, 4, 100);
        Outcome urgent, late, waiting;
        int fds[2];

        make_pipe(fds);
        assert_int_equal(submit(w, -1, 0, MLG_USEC_NEVER, true, NULL, &urgent), 0);
        RUN_UNTIL(w, urgent.n > 0);
        submit_late(w, fds[0], false, &late);
        assert_int_equal(submit(w, -1, 0, MLG_USEC_NEVER, false, NULL, &waiting), 0);
        RUN_UNTIL(w, late.n > 0 && waiting.n > 0);
        assert_int_equal(waiting.r, 0);
        assert_int_equal(write(fds[1], "x", 1), 1);
        RUN_UNTIL(w, g_atomic_int_get(&n_data) == 0);
        mlg_workers_free(w);
        nothing_left();
        close(fds[0]);
        close(fds[1]);
}

/* The pool ends while one thread is parked and another one runs, neither of which comes back before. */
static void test_free_with_hanging(void **state) {
        MlgWorkers *w = workers(2, 2, 100);
        Outcome late, running, queued[5], finished;
        uint64_t start;
        int fds[2];

        make_pipe(fds);
        submit_late(w, fds[0], false, &late);
        RUN_UNTIL(w, late.n > 0);
        assert_int_equal(submit(w, -1, 0, MLG_USEC_NEVER, true, NULL, &finished), 0);
        assert_int_equal(submit(w, fds[0], 0, MLG_USEC_NEVER, false, NULL, &running), 0);
        for (int i = 0; i < 5; i++)
                assert_int_equal(submit(w, fds[0], 0, MLG_USEC_NEVER, false, NULL, &queued[i]), 0);
        start = clock_usec();
        mlg_workers_free(w);
        assert_true(clock_usec() - start < 10 * MLG_USEC_PER_SEC);
        assert_int_equal(late.n, 1);
        assert_int_equal(running.n, 1);
        assert_int_equal(running.r, -ECANCELED);
        assert_int_equal(finished.r, -ECANCELED);
        for (int i = 0; i < 5; i++) {
                assert_int_equal(queued[i].n, 1);
                assert_int_equal(queued[i].r, -ECANCELED);
                assert_false(queued[i].had_data);
        }
        /* The threads return long after the pool: they clean up what is theirs. */
        assert_int_equal(write(fds[1], "xxxxxxx", 7), 7);
        nothing_left();
        close(fds[0]);
        close(fds[1]);
}

static void test_urgent_still_runs_at_the_end(void **state) {
        MlgWorkers *w = workers(1, 0, 100);
        gint before = g_atomic_int_get(&n_run);
        Outcome o;

        assert_int_equal(submit(w, -1, 0, MLG_USEC_NEVER, true, NULL, &o), 0);
        mlg_workers_free(w);
        assert_int_equal(g_atomic_int_get(&n_run), before + 1);
        assert_int_equal(o.r, -ECANCELED);
        nothing_left();
}

/* A job came back, but the pool ends before anybody heard of it, and its data cannot be freed at once. */
static void test_free_with_slow_data(void **state) {
        MlgWorkers *w = workers(1, 0, 100);
        gint order = 0;
        Outcome o[2];
        int fds[2];

        make_pipe(fds);
        for (int i = 0; i < 2; i++) {
                Data d = { .fd = -1, .order = &order, .free_fd = fds[0] };

                assert_int_equal(submit_data(w, &d, MLG_USEC_NEVER, i == 1, &o[i]), 0);
                WAIT_UNTIL(g_atomic_int_get(&order) == i + 1);
        }
        mlg_workers_free(w); /* this thread has nobody who would write */
        for (int i = 0; i < 2; i++) {
                assert_int_equal(o[i].n, 1);
                assert_int_equal(o[i].r, -ECANCELED);
                assert_false(o[i].had_data);
        }
        assert_int_equal(g_atomic_int_get(&n_data), 2);
        assert_int_equal(write(fds[1], "xx", 2), 2);
        nothing_left();
        close(fds[0]);
        close(fds[1]);
}

static void test_wake(void **state) {
        MlgWorkers *w = workers(1, 0, 1);
        const MlgPollable *p = mlg_workers_pollable(w);
        struct pollfd fd = { .fd = p->fd, .events = POLLIN };
        uint64_t one = 1;
        int copy;

        assert_int_equal(poll(&fd, 1, 0), 0);
        copy = mlg_workers_dup_wake_fd(w);
        assert_true(copy >= 0);
        assert_int_equal(write(copy, &one, sizeof(one)), sizeof(one));
        assert_int_equal(poll(&fd, 1, 0), 1);
        turn(w);
        assert_int_equal(poll(&fd, 1, 0), 0);
        close(copy);
        mlg_workers_free(w);
}

static void test_refused(void **state) {
        MlgWorkersOptions options = { .n_threads = 0, .max_queued = 1 };
        MlgWorkers *w = NULL;
        MlgJob job = { .run = NULL };

        assert_int_equal(mlg_workers_new(&options, &w), -EINVAL);
        w = workers(1, 0, 1);
        assert_int_equal(mlg_workers_submit(w, &job), -EINVAL);
        mlg_workers_free(w);
        assert_null(mlg_workers_free(NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_late_running),
                cmocka_unit_test(test_late_queued),
                cmocka_unit_test(test_bounded),
                cmocka_unit_test(test_queue_limit),
                cmocka_unit_test(test_urgent),
                cmocka_unit_test(test_parked_makes_room),
                cmocka_unit_test(test_free_with_hanging),
                cmocka_unit_test(test_urgent_still_runs_at_the_end),
                cmocka_unit_test(test_free_with_slow_data),
                cmocka_unit_test(test_wake),
                cmocka_unit_test(test_refused),
        };

        return cmocka_run_group_tests_name("workers", tests, NULL, NULL);
}
