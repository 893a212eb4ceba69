/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe, the host's end: members, and those who would be, that do not behave. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "group-rig.h"

static void test_group_nonsense(void **state) {
        static const struct {
                uint16_t type;
                uint32_t first, count;
        } rows[] = {
                { MLG_PIPE_RETURN, 100, 1 }, { MLG_PIPE_RETURN, 0, 17 },          { MLG_PIPE_RETURN, 0, 0 },
                { MLG_PIPE_RETURN, 0, UINT32_MAX }, { MLG_PIPE_RETURN, UINT32_MAX, 1 }, { MLG_PIPE_HELLO, 0, 1 }, { MLG_PIPE_WISH, 0, 1 },
                { 0, 0, 0 },
        };
        Fixture *f = *state;
        uint32_t first;
        Guest a, b;

        guest_join(f, &a);
        guest_join(f, &b);
        guest_module_start(f, &b, 1);
        assert_int_equal(guest_take_grants(&b, &first), 16);
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                guest_section(&a)->demand_chunks = 0;
                guest_module_start(f, &a, 100 + (uint32_t) i);
                f->n_complaints = 0;
                guest_say(&a, rows[i].type, rows[i].first, rows[i].count);
                guest_section(&a)->demand_chunks = 50;
                group_later(f, SEC);
                assert_int_equal(f->n_complaints, 1);
                assert_true(group_is_broken(f, 1));
                assert_int_equal(group_granted(f, 1), 16); /* as before, and no more */
                guest_say(&a, MLG_PIPE_RETURN, 0, 1);
                group_later(f, SEC);
                assert_int_equal(f->n_complaints, 1); /* said once */
                assert_int_equal(group_granted(f, 2), 16);
        }
        guest_module_start(f, &a, 99); /* and it may start anew */
        assert_false(group_is_broken(f, 1));
        guest_leave(&a);
        guest_leave(&b);
}

static void test_group_scribble(void **state) {
        Fixture *f = *state;
        uint32_t first;
        g_autoptr(GRand) rand = g_rand_new_with_seed(4);
        Guest a, b;

        guest_join(f, &a);
        guest_join(f, &b);
        guest_module_start(f, &b, 1);
        assert_int_equal(guest_take_grants(&b, &first), 16);
        for (int round = 0; round < 50; round++) {
                /* All that the host reads: a's section, its rings with the host, and what it could be tempted to read. */
                for (size_t i = 0; i < sizeof(struct mlg_pipe_section) / 4; i++)
                        ((uint32_t *) guest_section(&a))[i] = g_rand_int(rand);
                if (round % 2)
                        guest_section(&a)->epoch = group_member_of(f, 1).epoch;
                for (size_t i = 0; i < sizeof(struct mlg_pipe_pair) / 4; i++) {
                        ((uint32_t *) guest_pair(&a, 1, 0))[i] = g_rand_int(rand);
                        ((uint32_t *) guest_pair(&a, 0, 1))[i] = g_rand_int(rand);
                }
                memset(a.memory, 0xff, MLG_PIPE_SECTIONS_AT);
                guest_ring(&a, 0);
                group_later(f, SEC);
                assert_in_range(group_granted(f, 1), 0, 112);
                assert_int_equal(group_granted(f, 2), 16);
                assert_false(group_is_broken(f, 2));
        }
        guest_leave(&a);
        guest_leave(&b);
        group_turn(f);
        assert_int_equal(group_n_members(f), 0);
}

/* Shown as they are said: any number is possible. */
static void test_group_outcomes(void **state) {
        Fixture *f = *state;
        Guest a;

        guest_join(f, &a);
        guest_module_start(f, &a, 1);
        guest_section(&a)->outcomes[MLG_PIPE_OK] = 40;
        guest_section(&a)->outcomes[MLG_PIPE_NONSENSE] = UINT64_MAX;
        guest_section(&a)->outcomes[MLG_PIPE_REASONS] = 5; /* of a newer module */
        group_later(f, SEC);
        for (uint32_t i = 0; i < MLG_PIPE_REASONS; i++)
                assert_int_equal(group_member_of(f, 1).outcomes[i],
                                 i == MLG_PIPE_OK ? 40 : i == MLG_PIPE_NONSENSE ? UINT64_MAX : 0);
        guest_module_start(f, &a, 2);
        guest_section(&a)->outcomes[MLG_PIPE_OK] = 0; /* it counts from its start */
        group_later(f, SEC);
        assert_int_equal(group_member_of(f, 1).outcomes[MLG_PIPE_OK], 0);
        guest_leave(&a);
}

static void test_group_speaker(void **state) {
        Fixture *f = *state;
        Guest a, b;
        int64_t v;
        int fd;
        bool end = false;

        guest_join(f, &a);
        guest_join(f, &b);
        assert_int_equal(send(a.fd, "x", 1, MSG_NOSIGNAL), 1);
        group_turn(f);
        assert_int_equal(f->n_leaves, 1);
        assert_int_equal(f->n_complaints, 1);
        guest_assert_told_nothing(&b);
        while (guest_next_message(a.fd, &v, &fd, &end))
                mlg_close_fd(&fd);
        assert_true(end);
        guest_leave(&a);
        guest_leave(&b);
}

/* Told that there is nothing for it in a way that QEMU understands; the end of the connection is left to it. */
static void assert_turned_away(Fixture *f, int c) {
        bool end = true;
        int64_t v;
        int fd;

        assert_true(guest_next_message(c, &v, &fd, NULL));
        assert_int_not_equal(v, 0);
        assert_int_equal(fd, -1);
        assert_false(guest_next_message(c, &v, &fd, &end));
        assert_false(end);
        group_later(f, 59 * SEC);
        assert_false(guest_next_message(c, &v, &fd, &end));
        assert_false(end);
        group_later(f, 2 * SEC); /* but not for ever */
        assert_false(guest_next_message(c, &v, &fd, &end));
        assert_true(end);
}

static void test_group_full(void **state) {
        Fixture *f = *state;
        Guest guests[MLG_PIPE_PEERS - 1];
        int one_more;

        for (size_t i = 0; i < G_N_ELEMENTS(guests); i++) {
                guest_join(f, &guests[i]);
                assert_int_equal(guests[i].id, i + 1);
        }
        one_more = group_connect(f);
        group_turn(f);
        assert_turned_away(f, one_more);
        assert_int_equal(f->n_complaints, 1);
        assert_non_null(strstr(f->last_complaint, "full"));
        mlg_close_fd(&one_more);
        for (size_t i = 0; i < G_N_ELEMENTS(guests); i++)
                guest_leave(&guests[i]);
        group_turn(f);
        assert_int_equal(group_n_members(f), 0);
        assert_int_equal(f->n_leaves, G_N_ELEMENTS(guests));
}

/* One that never reads costs its own place, and no other waits for it. */
static void test_group_silent(void **state) {
        Fixture *f = *state;
        int silent = group_connect(f);
        Guest a;

        for (int n = 0; n < 1000; n++) {
                group_turn(f);
                guest_join(f, &a);
                guest_leave(&a);
        }
        group_turn(f);
        assert_int_equal(group_n_members(f), 1);
        mlg_close_fd(&silent);
        group_turn(f);
        assert_int_equal(group_n_members(f), 0);
        assert_int_equal(f->n_complaints, 0);
}

static void test_group_vanishing(void **state) {
        Fixture *f = *state;
        Guest a;

        guest_join(f, &a);
        for (int i = 0; i < 200; i++) { /* gone before, while and after it is greeted */
                int fd = group_connect(f);

                if (i % 2)
                        group_turn(f);
                mlg_close_fd(&fd);
                if (i % 3 == 0)
                        group_turn(f);
        }
        group_turn(f);
        guest_assert_told_nothing(&a);
        assert_int_equal(group_n_members(f), 1);
        assert_int_equal(f->n_complaints, 0);
        guest_leave(&a);
}

static void test_group_refused(void **state) {
        Fixture *f = *state;
        int c;

        f->refuse = true;
        c = group_connect(f);
        group_turn(f);
        assert_turned_away(f, c);
        assert_int_equal(group_n_members(f), 0);
        mlg_close_fd(&c);
        for (int i = 0; i < 100; i++) { /* many at once, some of which go by themselves */
                c = group_connect(f);
                if (i % 2)
                        group_turn(f);
                mlg_close_fd(&c);
        }
        group_turn(f);
        group_later(f, 61 * SEC);
        assert_int_equal(group_n_members(f), 0);
}

static void test_group_bell_pauses(void **state) {
        Fixture *f = *state;
        const MlgPollable *p = mlg_pipe_group_pollable(f->g);
        struct pollfd fd = { .fd = p->fd, .events = POLLIN };
        Guest a;

        guest_join(f, &a);
        guest_ring(&a, 0);
        assert_int_equal(p->dispatch(f->now_usec, p->userdata), 0);
        guest_ring(&a, 0); /* and again: it waits, and the loop sleeps */
        assert_int_equal(poll(&fd, 1, 0), 0);
        assert_in_range(p->deadline_usec(p->userdata), f->now_usec + 1, f->now_usec + 10000);
        group_later(f, 10000);
        assert_true(p->deadline_usec(p->userdata) > f->now_usec);
        guest_leave(&a);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_group_nonsense, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_scribble, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_outcomes, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_speaker, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_full, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_silent, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_vanishing, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_refused, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_bell_pauses, group_setup, group_teardown),
        };

        return cmocka_run_group_tests_name("mempipe-misbehave", tests, NULL, NULL);
}
