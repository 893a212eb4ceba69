/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Loop-libvirt: libvirt's event functions on the loop, called as libvirt's client calls them (from other
 * threads, from inside callbacks, with locks held that callbacks want too), and real connections to
 * libvirt's test driver. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include "service/loop.h"
#include "util/util.h"

#define TIME_LIMIT_USEC (60 * MLG_USEC_PER_SEC)

static MlgLoop *loop;
static MlgTimer *look;
static bool (*condition)(void *);
static void *condition_data;

static void on_look(uint64_t now_usec, void *userdata) {
        if (condition(condition_data))
                mlg_loop_quit(loop);
        mlg_timer_at(look, now_usec + 1000);
}

static void on_guard(uint64_t now_usec, void *userdata) {
        fail_msg("what the test waits for does not happen");
}

static void run_until(bool (*c)(void *), void *data) {
        MlgTimer *guard;

        condition = c;
        condition_data = data;
        assert_int_equal(mlg_timer_new(loop, on_guard, NULL, &guard), 0);
        mlg_timer_at(guard, mlg_loop_now_usec(loop) + TIME_LIMIT_USEC);
        mlg_timer_at(look, 0);
        assert_int_equal(mlg_loop_run(loop), 0);
        mlg_timer_free(guard);
}

typedef struct Probe {
        gint n_called, n_freed; /* atomic */
        int id, fd, last_events;
        bool in_call, remove_in_call, freed_in_call;
        pthread_mutex_t lock; /* held by other threads around calls, taken by the callback */
} Probe;

static void probe_init(Probe *p) {
        *p = (Probe) { .id = -1, .fd = -1 };
        pthread_mutex_init(&p->lock, NULL);
}

static void on_handle(int id, int fd, int events, void *opaque) {
        Probe *p = opaque;
        uint64_t drained;

        p->in_call = true;
        pthread_mutex_lock(&p->lock);
        p->last_events = events;
        pthread_mutex_unlock(&p->lock);
        if (events & VIR_EVENT_HANDLE_READABLE)
                (void) !read(fd, &drained, sizeof(drained));
        if (p->remove_in_call)
                assert_int_equal(virEventRemoveHandle(id), 0);
        g_atomic_int_inc(&p->n_called);
        p->in_call = false;
}

static void on_timeout(int id, void *opaque) {
        Probe *p = opaque;

        p->in_call = true;
        pthread_mutex_lock(&p->lock);
        pthread_mutex_unlock(&p->lock);
        if (p->remove_in_call)
                assert_int_equal(virEventRemoveTimeout(id), 0);
        g_atomic_int_inc(&p->n_called);
        p->in_call = false;
}

static void on_free(void *opaque) {
        Probe *p = opaque;

        p->freed_in_call |= p->in_call;
        g_atomic_int_inc(&p->n_freed);
}

static bool was_called(void *data) {
        return g_atomic_int_get(&((Probe *) data)->n_called) > 0;
}

static bool was_freed(void *data) {
        return g_atomic_int_get(&((Probe *) data)->n_freed) > 0;
}

static int n_looks;

static bool after_ten_looks(void *data) {
        return --n_looks == 0;
}

/* Ten turns and more: whatever was ready would have been called. */
static void run_a_little(void) {
        n_looks = 10;
        run_until(after_ten_looks, NULL);
}

static void ring(int fd) {
        uint64_t one = 1;

        assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void test_handle(void **state) {
        Probe p;

        probe_init(&p);
        p.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        p.id = virEventAddHandle(p.fd, VIR_EVENT_HANDLE_READABLE, on_handle, &p, on_free);
        assert_true(p.id > 0);
        ring(p.fd);
        run_until(was_called, &p);
        assert_int_equal(p.last_events, VIR_EVENT_HANDLE_READABLE);

        p.n_called = 0;
        virEventUpdateHandle(p.id, VIR_EVENT_HANDLE_WRITABLE);
        run_until(was_called, &p);
        assert_int_equal(p.last_events, VIR_EVENT_HANDLE_WRITABLE);

        assert_int_equal(virEventRemoveHandle(p.id), 0);
        assert_int_equal(p.n_freed, 0); /* not inside remove: libvirt holds locks here */
        assert_int_equal(virEventRemoveHandle(p.id), -1);
        p.n_called = 0;
        run_until(was_freed, &p);
        assert_int_equal(p.n_freed, 1);
        assert_int_equal(p.n_called, 0);
        virEventUpdateHandle(p.id, VIR_EVENT_HANDLE_READABLE); /* gone: ignored */
        close(p.fd);
}

static void test_handle_disabled(void **state) {
        Probe p;
        int fds[2];

        probe_init(&p);
        assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), errno);
        p.id = virEventAddHandle(fds[0], 0, on_handle, &p, on_free);
        assert_true(p.id > 0);
        close(fds[1]); /* hung up: told only once something is wanted */
        run_a_little();
        assert_int_equal(p.n_called, 0);
        virEventUpdateHandle(p.id, VIR_EVENT_HANDLE_READABLE);
        run_until(was_called, &p);
        assert_true(p.last_events & VIR_EVENT_HANDLE_HANGUP);

        virEventUpdateHandle(p.id, 0);
        p.n_called = 0;
        run_a_little();
        assert_int_equal(p.n_called, 0);
        assert_int_equal(virEventRemoveHandle(p.id), 0); /* while it is disabled */
        run_until(was_freed, &p);
        close(fds[0]);
}

static void test_handle_removes_itself(void **state) {
        Probe p;

        probe_init(&p);
        p.remove_in_call = true;
        p.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        p.id = virEventAddHandle(p.fd, VIR_EVENT_HANDLE_WRITABLE, on_handle, &p, on_free);
        run_until(was_freed, &p);
        assert_int_equal(p.n_called, 1);
        assert_false(p.freed_in_call);
        close(p.fd);
}

/* The descriptor's number goes to another file, and that one to another handle, before the loop turns. */
static void test_handle_descriptor_reused(void **state) {
        Probe old, new;

        probe_init(&old);
        probe_init(&new);
        old.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        old.id = virEventAddHandle(old.fd, VIR_EVENT_HANDLE_READABLE, on_handle, &old, on_free);
        assert_int_equal(virEventRemoveHandle(old.id), 0);
        close(old.fd);
        new.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
        assert_int_equal(new.fd, old.fd);
        new.id = virEventAddHandle(new.fd, VIR_EVENT_HANDLE_READABLE, on_handle, &new, on_free);
        run_until(was_called, &new);
        run_until(was_freed, &old);
        assert_int_equal(old.n_called, 0);
        assert_int_equal(virEventRemoveHandle(new.id), 0);
        run_until(was_freed, &new);
        close(new.fd);
}

static void test_two_handles_one_descriptor(void **state) {
        Probe a, b;
        int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

        probe_init(&a);
        probe_init(&b);
        a.id = virEventAddHandle(fd, VIR_EVENT_HANDLE_WRITABLE, on_handle, &a, on_free);
        b.id = virEventAddHandle(fd, VIR_EVENT_HANDLE_WRITABLE, on_handle, &b, on_free);
        assert_true(a.id > 0 && b.id > 0 && a.id != b.id);
        run_until(was_called, &a);
        run_until(was_called, &b);
        assert_int_equal(virEventRemoveHandle(a.id), 0);
        b.n_called = 0;
        run_until(was_called, &b);
        assert_int_equal(virEventRemoveHandle(b.id), 0);
        run_until(was_freed, &a);
        run_until(was_freed, &b);
        close(fd);
        /* A closed descriptor is refused. */
        assert_int_equal(virEventAddHandle(fd, VIR_EVENT_HANDLE_READABLE, on_handle, &a, on_free), -1);
}

static void test_timeout(void **state) {
        Probe p;
        uint64_t start = mlg_loop_now_usec(loop);

        probe_init(&p);
        p.id = virEventAddTimeout(20, on_timeout, &p, on_free);
        assert_true(p.id > 0);
        run_until(was_called, &p);
        assert_true(mlg_loop_now_usec(loop) - start >= 20 * 1000);
        p.n_called = 0;
        run_until(was_called, &p); /* again and again */

        virEventUpdateTimeout(p.id, -1);
        p.n_called = 0;
        run_a_little();
        assert_int_equal(p.n_called, 0);
        virEventUpdateTimeout(p.id, 0); /* in each turn */
        run_until(was_called, &p);
        assert_int_equal(virEventRemoveTimeout(p.id), 0);
        assert_int_equal(p.n_freed, 0);
        run_until(was_freed, &p);
        assert_int_equal(virEventRemoveTimeout(p.id), -1);
}

/* The loop waits for an hour already when the interval is made short. */
static void test_timeout_changed_while_armed(void **state) {
        Probe p;

        probe_init(&p);
        p.id = virEventAddTimeout(3600 * 1000, on_timeout, &p, on_free);
        run_a_little();
        assert_int_equal(p.n_called, 0);
        virEventUpdateTimeout(p.id, 5);
        run_until(was_called, &p);
        virEventUpdateTimeout(p.id, 3600 * 1000); /* and long again */
        p.n_called = 0;
        run_a_little();
        assert_int_equal(p.n_called, 0);
        assert_int_equal(virEventRemoveTimeout(p.id), 0);
        run_until(was_freed, &p);
}

static void test_timeout_removes_itself(void **state) {
        Probe p;

        probe_init(&p);
        p.remove_in_call = true;
        p.id = virEventAddTimeout(0, on_timeout, &p, on_free);
        run_until(was_freed, &p);
        assert_int_equal(p.n_called, 1);
        assert_false(p.freed_in_call);
}

/* ---- other threads ---- */


static bool is_over(void *data) {
        return g_atomic_int_get((gint *) data) == 0;
}

/* As libvirt's client does it: each call under a lock that the callback wants as well. */
static void *hammer(void *userdata) {
        gint *left = userdata;

        for (int round = 0; round < 200; round++) {
                Probe *p = g_new(Probe, 2);

                for (int i = 0; i < 2; i++)
                        probe_init(&p[i]);
                pthread_mutex_lock(&p[0].lock);
                p[0].fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
                p[0].id = virEventAddHandle(p[0].fd, VIR_EVENT_HANDLE_READABLE, on_handle, &p[0], on_free);
                virEventUpdateHandle(p[0].id, 0);
                virEventUpdateHandle(p[0].id, VIR_EVENT_HANDLE_WRITABLE);
                pthread_mutex_unlock(&p[0].lock);
                p[1].id = virEventAddTimeout(round % 3 - 1, on_timeout, &p[1], on_free);
                virEventUpdateTimeout(p[1].id, 0);
                while (!was_called(&p[0]) || !was_called(&p[1]))
                        g_usleep(50);
                pthread_mutex_lock(&p[0].lock);
                assert_int_equal(virEventRemoveHandle(p[0].id), 0);
                close(p[0].fd);
                pthread_mutex_unlock(&p[0].lock);
                assert_int_equal(virEventRemoveTimeout(p[1].id), 0);
                while (!was_freed(&p[0]) || !was_freed(&p[1]))
                        g_usleep(50);
                g_free(p);
        }
        (void) g_atomic_int_dec_and_test(left);
        return NULL;
}

static void test_threads(void **state) {
        pthread_t threads[4];
        gint left = G_N_ELEMENTS(threads);

        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, hammer, &left), 0);
        run_until(is_over, &left);
        for (size_t i = 0; i < G_N_ELEMENTS(threads); i++)
                pthread_join(threads[i], NULL);
}

/* ---- libvirt's test driver ---- */

typedef struct Lifecycle {
        gint n_suspended, n_resumed, n_freed, n_started;
} Lifecycle;

static void on_lifecycle(virConnectPtr c, virDomainPtr domain, int event, int detail, void *opaque) {
        Lifecycle *seen = opaque;

        if (event == VIR_DOMAIN_EVENT_SUSPENDED)
                g_atomic_int_inc(&seen->n_suspended);
        else if (event == VIR_DOMAIN_EVENT_RESUMED)
                g_atomic_int_inc(&seen->n_resumed);
}

static void on_lifecycle_free(void *opaque) {
        g_atomic_int_inc(&((Lifecycle *) opaque)->n_freed);
}

/* A connection of its own per thread, all to the one world of test:///default. */
static void *suspend_and_resume(void *userdata) {
        Lifecycle *seen = userdata;
        virConnectPtr c = virConnectOpen("test:///default");
        virDomainPtr domain;
        int id;

        assert_non_null(c);
        id = virConnectDomainEventRegisterAny(c, NULL, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                                              VIR_DOMAIN_EVENT_CALLBACK(on_lifecycle), seen,
                                              on_lifecycle_free);
        assert_true(id >= 0);
        domain = virDomainLookupByName(c, "test");
        assert_non_null(domain);
        for (int i = 0; i < 20; i++) {
                /* Threads get into each other's way; what counts is that events of some arrive. */
                (void) virDomainSuspend(domain);
                (void) virDomainResume(domain);
        }
        while (g_atomic_int_get(&seen->n_suspended) == 0 || g_atomic_int_get(&seen->n_resumed) == 0)
                g_usleep(100);
        assert_int_equal(virConnectDomainEventDeregisterAny(c, id), 0);
        virDomainFree(domain);
        virConnectClose(c);
        return NULL;
}

static bool all_freed(void *data) {
        Lifecycle *seen = data;

        for (int i = 0; i < 3; i++)
                if (g_atomic_int_get(&seen[i].n_freed) == 0)
                        return false;
        return true;
}

static void test_test_driver(void **state) {
        Lifecycle seen[3] = {};
        pthread_t threads[3];

        for (int i = 0; i < 3; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, suspend_and_resume, &seen[i]), 0);
        run_until(all_freed, seen);
        for (int i = 0; i < 3; i++)
                pthread_join(threads[i], NULL);
        for (int i = 0; i < 3; i++)
                assert_int_equal(seen[i].n_freed, 1);
        run_a_little();
}

static void test_next_loop(void **state) {
        Probe p;

        probe_init(&p);
        p.id = virEventAddTimeout(0, on_timeout, &p, on_free);
        mlg_loop_free(loop);
        assert_int_equal(mlg_loop_new(&loop), 0);
        assert_int_equal(mlg_timer_new(loop, on_look, NULL, &look), 0);
        assert_int_equal(mlg_loop_register_libvirt(loop), 0);
        run_until(was_called, &p); /* what was added before goes on */
        assert_int_equal(virEventRemoveTimeout(p.id), 0);
        run_until(was_freed, &p);
}

static void be_silent(void *userdata, virErrorPtr error) {
}

static int setup(void **state) {
        virSetErrorFunc(NULL, be_silent);
        if (mlg_loop_new(&loop) < 0 || mlg_loop_register_libvirt(loop) < 0 || virInitialize() < 0)
                return -1;
        return mlg_timer_new(loop, on_look, NULL, &look);
}

static int teardown(void **state) {
        loop = mlg_loop_free(loop);
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_handle),
                cmocka_unit_test(test_handle_disabled),
                cmocka_unit_test(test_handle_removes_itself),
                cmocka_unit_test(test_handle_descriptor_reused),
                cmocka_unit_test(test_two_handles_one_descriptor),
                cmocka_unit_test(test_timeout),
                cmocka_unit_test(test_timeout_changed_while_armed),
                cmocka_unit_test(test_timeout_removes_itself),
                cmocka_unit_test(test_threads),
                cmocka_unit_test(test_test_driver),
                cmocka_unit_test(test_next_loop),
        };

        return cmocka_run_group_tests_name("loop-libvirt", tests, setup, teardown);
}
