/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Monitor: the host's end of the channels. QEMU's socket is one of the test's, the guest is the real one's protocol, or
 * worse; time is the test's own. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "../../guest-agent/monitor/session.h"
#include "hypervisor/monitor.h"
#include "util/util.h"

#define A "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b001"
#define B "6f0c1bfa-0ee8-4b6c-9a26-5f6dd7b6b002"
#define SEC MLG_USEC_PER_SEC

typedef struct Guest {
        char *path;
        int listener, fd;
        Session session;
        MlgMonitorStream in;
} Guest;

typedef struct Fixture {
        char *dir;
        Guest a, b;
        MlgMonitors *m;
        uint64_t now_usec;
        unsigned int n_reports[2], n_alarms, n_whys;
        MlgRawMonitor raw[2];
        MlgMonitorLink link[2];
        bool drop_in_report;
} Fixture;

static size_t index_of(const char *uuid) {
        return strcmp(uuid, B) == 0;
}

static void on_report(const char *uuid, const MlgRawMonitor *raw, void *userdata) {
        Fixture *f = userdata;

        f->n_reports[index_of(uuid)]++;
        f->n_alarms += raw->alarm;
        f->raw[index_of(uuid)] = *raw;
        if (f->drop_in_report)
                mlg_monitors_put(f->m, A, 0, "");
}

static void on_link(const char *uuid, MlgMonitorLink link, const char *why, void *userdata) {
        Fixture *f = userdata;

        f->link[index_of(uuid)] = link;
        f->n_whys += why != NULL;
}

static const MlgMonitorCallbacks callbacks = { .on_report = on_report, .on_link = on_link };

static void guest_listen(Guest *g) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        (void) g_unlink(g->path);
        g_strlcpy(address.sun_path, g->path, sizeof(address.sun_path));
        g->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(g->listener, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(g->listener, 1), 0);
        g->fd = -1;
}

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);

        f->dir = g_dir_make_tmp("mlg-monitor-XXXXXX", NULL);
        f->a.path = g_build_filename(f->dir, "a", NULL);
        f->b.path = g_build_filename(f->dir, "b", NULL);
        guest_listen(&f->a);
        guest_listen(&f->b);
        f->now_usec = 1000 * SEC;
        assert_int_equal(mlg_monitors_new(&callbacks, f, &f->m), 0);
        *state = f;
        return 0;
}

static void guest_end(Guest *g) {
        mlg_close_fd(&g->fd);
        mlg_close_fd(&g->listener);
        (void) g_unlink(g->path);
        g_free(g->path);
}

static int teardown(void **state) {
        Fixture *f = *state;

        (void) mlg_monitors_free(f->m);
        guest_end(&f->a);
        guest_end(&f->b);
        (void) g_rmdir(f->dir);
        g_free(f->dir);
        g_free(f);
        return 0;
}

static void turn(Fixture *f) {
        const MlgPollable *p = mlg_monitors_pollable(f->m);

        assert_int_equal(p->dispatch(f->now_usec, p->userdata), 0);
}

static void later(Fixture *f, uint64_t usec) {
        f->now_usec += usec;
        turn(f);
}

static void guest_write(Guest *g, const void *bytes, size_t n) {
        assert_int_equal(send(g->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT), n);
}

static void guest_send(Guest *g, const MlgMonitorFrame *frame) {
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];

        guest_write(g, bytes, mlg_monitor_pack(frame, bytes));
        session_sent(&g->session);
}

/* Takes what the host said; true: it began a session. */
static bool guest_hear(Guest *g) {
        bool is_new, any = false;
        MlgMonitorFrame frame;
        size_t room;
        ssize_t n;

        if (g->fd < 0)
                g->fd = accept(g->listener, NULL, NULL);
        if (g->fd < 0)
                return false;
        do {
                uint8_t *to = mlg_monitor_stream_room(&g->in, &room);

                n = recv(g->fd, to, room, MSG_DONTWAIT);
                mlg_monitor_stream_filled(&g->in, n > 0 ? (size_t) n : 0);
                while (mlg_monitor_stream_next(&g->in, &frame) == 1) {
                        (void) session_take(&g->session, &frame, &is_new);
                        any |= is_new;
                }
        } while (n > 0);
        return any;
}

static void guest_hello(Guest *g) {
        MlgMonitorFrame frame;

        session_hello(&g->session, MLG_MONITOR_SIZES, 0, &frame);
        guest_send(g, &frame);
}

static void guest_report(Guest *g, uint64_t available, bool alarm) {
        MlgFacts facts = { .known = MLG_FIELD_BIT(MLG_FIELD_TOTAL) | MLG_FIELD_BIT(MLG_FIELD_AVAILABLE) |
                                MLG_FIELD_BIT(MLG_FIELD_FREE) };
        MlgMonitorFrame frame;

        facts.values[MLG_FACT(MLG_FIELD_TOTAL)] = 1000;
        facts.values[MLG_FACT(MLG_FIELD_AVAILABLE)] = available;
        facts.values[MLG_FACT(MLG_FIELD_FREE)] = 100;
        session_report(&g->session, &facts, alarm, &frame);
        guest_send(g, &frame);
}

static void begin(Fixture *f, Guest *g, const char *uuid) {
        mlg_monitors_put(f->m, uuid, 1, g->path);
        turn(f);
        assert_true(guest_hear(g));
        guest_hello(g);
        guest_report(g, 500, false);
        turn(f);
        assert_int_equal(f->link[index_of(uuid)], MLG_MONITOR_LINK_TALKS);
        assert_int_equal(f->n_reports[index_of(uuid)], 1);
        assert_int_equal(f->raw[index_of(uuid)].have, MLG_MONITOR_SIZES);
        assert_int_equal(f->raw[index_of(uuid)].available_kib, 500);
}

/* What says nothing new wakes nobody in the guest. */
static void test_acknowledged_is_what_has_fields(void **state) {
        Fixture *f = *state;
        uint32_t acked;

        begin(f, &f->a, A);
        assert_false(guest_hear(&f->a));
        acked = f->a.session.acked;
        guest_report(&f->a, 500, false);
        turn(f);
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->n_reports[0], 2);
        assert_int_equal(f->a.session.acked, acked);
        guest_report(&f->a, 400, false);
        turn(f);
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->n_reports[0], 3);
        assert_int_equal(f->a.session.acked, f->a.session.sequence);
}

static void test_a_conversation(void **state) {
        Fixture *f = *state;

        begin(f, &f->a, A);
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->a.session.acked, f->a.session.sequence);
        guest_report(&f->a, 400, true); /* only what changed; the rest is known */
        turn(f);
        assert_int_equal(f->n_alarms, 1);
        assert_int_equal(f->raw[0].available_kib, 400);
        assert_int_equal(f->raw[0].total_kib, 1000);
        guest_report(&f->a, 400, false);
        turn(f);
        assert_int_equal(f->n_reports[0], 3);
        assert_int_equal(f->n_alarms, 1);
}

static void guest_can(Guest *g, uint64_t number, uint64_t state) {
        MlgFacts facts = { .known = MLG_FIELD_BIT(MLG_FIELD_SWAP_IN_NUMBER) | MLG_FIELD_BIT(MLG_FIELD_SWAP_IN_STATE) |
                                MLG_FIELD_BIT(MLG_FIELD_SWAP_IN_DONE) };
        MlgMonitorFrame frame;

        facts.values[MLG_FACT(MLG_FIELD_SWAP_IN_NUMBER)] = number;
        facts.values[MLG_FACT(MLG_FIELD_SWAP_IN_STATE)] = state;
        session_report(&g->session, &facts, false, &frame);
        guest_send(g, &frame);
}

/* Said until it is answered, one number for each; those who cannot are not asked. */
static void test_orders(void **state) {
        Fixture *f = *state;

        assert_int_equal(mlg_monitors_swap_in(f->m, A, 1024, f->now_usec), 0); /* nobody is there */
        begin(f, &f->a, A);
        assert_int_equal(mlg_monitors_swap_in(f->m, A, 1024, f->now_usec), 0); /* an old monitor */
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->a.session.order_number, 0);
        guest_can(&f->a, 0, 0);
        turn(f);
        assert_int_equal(mlg_monitors_swap_in(f->m, A, 1024, f->now_usec), 1);
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->a.session.order_number, 1);
        assert_int_equal(f->a.session.order_kib, 1024);
        f->a.session.order_number = f->a.session.order_kib = 0; /* as if it was lost */
        guest_report(&f->a, 300, false);
        turn(f);
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->a.session.order_kib, 1024);
        guest_can(&f->a, 1, MLG_SWAP_IN_RUNNING);
        turn(f);
        assert_int_equal(f->raw[0].swap_in_state, MLG_SWAP_IN_RUNNING);
        f->a.session.order_kib = 0;
        guest_report(&f->a, 200, false);
        turn(f);
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->a.session.order_kib, 0); /* answered: not said again */
        assert_int_equal(mlg_monitors_swap_in(f->m, A, 2048, f->now_usec), 2);
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->a.session.order_number, 2);
}

static void test_intervals(void **state) {
        Fixture *f = *state;

        begin(f, &f->a, A);
        assert_int_equal(f->a.session.interval_usec, SEC);
        mlg_monitors_want_interval(f->m, A, SEC / 5, f->now_usec);
        (void) guest_hear(&f->a);
        assert_int_equal(f->a.session.interval_usec, SEC / 5);
        mlg_monitors_want_interval(f->m, A, SEC, f->now_usec + SEC); /* not back so soon */
        (void) guest_hear(&f->a);
        assert_int_equal(f->a.session.interval_usec, SEC / 5);
        mlg_monitors_want_interval(f->m, A, SEC, f->now_usec + 10 * SEC);
        (void) guest_hear(&f->a);
        assert_int_equal(f->a.session.interval_usec, SEC);
}

static void test_what_is_left_of_another_session_is_passed_over(void **state) {
        Fixture *f = *state;
        MlgMonitorFrame stale = { .type = MLG_MONITOR_REPORT, .session = 77, .sequence = 1000 };

        begin(f, &f->a, A);
        (void) mlg_monitor_frame_add(&stale, MLG_FIELD_AVAILABLE, 1);
        guest_send(&f->a, &stale);
        guest_report(&f->a, 300, false);
        turn(f);
        assert_int_equal(f->raw[0].available_kib, 300);
        assert_int_equal(f->n_reports[0], 2);
}

static void test_a_guest_that_begins_in_the_middle(void **state) {
        Fixture *f = *state;
        uint32_t before;

        begin(f, &f->a, A);
        (void) guest_hear(&f->a);
        before = f->a.session.id;
        (void) guest_hear(&f->a);
        before = f->a.session.id;
        f->a.session = (Session) { .id = 0 }; /* memlego-guestd was started anew */
        guest_hello(&f->a);
        turn(f);
        assert_true(guest_hear(&f->a));
        assert_int_not_equal(f->a.session.id, before);
        guest_report(&f->a, 250, false);
        turn(f);
        assert_int_equal(f->raw[0].available_kib, 250);
}

static void test_silence_and_a_new_hello(void **state) {
        Fixture *f = *state;

        begin(f, &f->a, A);
        (void) guest_hear(&f->a);
        later(f, 10 * SEC);
        assert_int_equal(f->link[0], MLG_MONITOR_LINK_WAITING);
        /* Nobody reads: one hello waits, and no more are added to it. */
        for (int i = 0; i < 100; i++)
                later(f, 60 * SEC);
        assert_true(guest_hear(&f->a));
        assert_int_equal(f->a.in.n, 0);
        guest_report(&f->a, 200, false);
        turn(f);
        assert_int_equal(f->link[0], MLG_MONITOR_LINK_TALKS);
}

static void test_a_connection_that_ends(void **state) {
        Fixture *f = *state;

        begin(f, &f->a, A);
        mlg_close_fd(&f->a.fd);
        turn(f);
        assert_int_equal(f->link[0], MLG_MONITOR_LINK_WAITING);
        f->a.session = (Session) { .id = 0 };
        f->a.in = (MlgMonitorStream) { .n = 0 };
        assert_false(guest_hear(&f->a)); /* not at once */
        later(f, 2 * SEC);
        assert_true(guest_hear(&f->a));
        guest_report(&f->a, 123, false);
        turn(f);
        assert_int_equal(f->raw[0].available_kib, 123);
}

static void test_garbage_closes_the_channel_for_a_while(void **state) {
        Fixture *f = *state;
        char c;

        begin(f, &f->a, A);
        begin(f, &f->b, B);
        guest_write(&f->a, "this is no frame at all, is it?", 31);
        turn(f);
        assert_int_equal(f->link[0], MLG_MONITOR_LINK_REFUSED);
        assert_int_equal(f->n_whys, 1);
        (void) guest_hear(&f->a);
        assert_int_equal(recv(f->a.fd, &c, 1, MSG_DONTWAIT), 0);
        mlg_close_fd(&f->a.fd);
        guest_report(&f->b, 77, false);
        later(f, 30 * SEC);
        assert_false(guest_hear(&f->a));
        assert_int_equal(f->raw[1].available_kib, 77); /* the other one goes on */
        f->a.in = (MlgMonitorStream) { .n = 0 };
        later(f, 40 * SEC);
        assert_true(guest_hear(&f->a));
}

/* However much it says: it is read slowly, and the other one's report is there after the same turn. */
static void test_a_flood(void **state) {
        Fixture *f = *state;
        MlgMonitorFrame frame = { .type = MLG_MONITOR_ALARM };
        uint8_t bytes[MLG_MONITOR_FRAME_MAX];
        unsigned int sent = 0, before;
        size_t n;

        begin(f, &f->a, A);
        begin(f, &f->b, B);
        frame.session = f->a.session.id;
        before = f->n_reports[0];
        for (int second = 0; second < 60; second++) {
                for (int i = 0; i < 100; i++) {
                        (void) guest_hear(&f->a);
                        do {
                                frame.sequence = 100 + sent;
                                n = mlg_monitor_pack(&frame, bytes);
                        } while (send(f->a.fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t) n && ++sent);
                        later(f, SEC / 100);
                }
                guest_report(&f->b, (uint64_t) second, false);
                turn(f);
                assert_int_equal(f->raw[1].available_kib, second);
        }
        assert_int_equal(f->link[0], MLG_MONITOR_LINK_TALKS);
        assert_in_range(f->n_reports[0] - before, 60, 60 * 100);
        assert_in_range(f->n_whys, 1, 60);
}

static void test_dropped_in_a_callback(void **state) {
        Fixture *f = *state;

        begin(f, &f->a, A);
        begin(f, &f->b, B);
        f->drop_in_report = true;
        guest_report(&f->a, 1, false);
        guest_report(&f->a, 2, false);
        guest_report(&f->b, 3, false);
        turn(f);
        turn(f);
        assert_int_equal(f->raw[1].available_kib, 3);
}

static void test_no_socket(void **state) {
        Fixture *f = *state;

        mlg_close_fd(&f->a.listener);
        (void) g_unlink(f->a.path);
        mlg_monitors_put(f->m, A, 1, f->a.path);
        turn(f);
        assert_int_equal(f->link[0], MLG_MONITOR_LINK_WAITING);
        guest_listen(&f->a);
        later(f, 2 * SEC);
        assert_true(guest_hear(&f->a));
        mlg_monitors_put(f->m, B, 1, "relative");
        turn(f);
        assert_int_equal(f->link[1], MLG_MONITOR_LINK_NONE);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(a_conversation), TEST(orders),
                TEST(acknowledged_is_what_has_fields),
                TEST(intervals),
                TEST(what_is_left_of_another_session_is_passed_over),
                TEST(a_guest_that_begins_in_the_middle),
                TEST(silence_and_a_new_hello),
                TEST(a_connection_that_ends),
                TEST(garbage_closes_the_channel_for_a_while),
                TEST(a_flood),
                TEST(dropped_in_a_callback),
                TEST(no_socket),
        };

        return cmocka_run_group_tests_name("monitor", tests, NULL, NULL);
}
