/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe, the host's end: a group, whose members come and go, and get what they want. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "group-rig.h"

static void test_group_handshake(void **state) {
        Fixture *f = *state;
        Guest a, b;
        struct stat st;

        guest_join(f, &a);
        assert_int_equal(a.id, 1);
        assert_int_equal(guest_peer(&a, 0)->state, MLG_PIPE_PRESENT);
        assert_int_equal(guest_peer(&a, 1)->state, MLG_PIPE_PRESENT);
        assert_int_equal(guest_peer(&a, 1)->epoch, 1);
        assert_int_equal(guest_peer(&a, 2)->state, MLG_PIPE_ABSENT);
        guest_join(f, &b);
        assert_int_equal(b.id, 2);
        assert_true(guest_was_rung(&a)); /* look who is there */
        assert_int_equal(guest_peer(&a, 2)->state, MLG_PIPE_PRESENT);
        guest_ring(&a, 2);
        assert_true(guest_was_rung(&b));
        guest_ring(&b, 1);
        assert_true(guest_was_rung(&a));

        guest_leave(&b);
        group_turn(f);
        guest_assert_told_nothing(&a);
        assert_int_equal(guest_peer(&a, 2)->state, MLG_PIPE_ABSENT);
        assert_int_equal(f->n_leaves, 1);
        guest_ring(&a, 2); /* rung while nobody is there: not for the next one */
        guest_join(f, &b); /* the id is used again, with another epoch */
        assert_int_equal(b.id, 2);
        assert_false(guest_was_rung(&b));
        guest_ring(&a, 2);
        assert_true(guest_was_rung(&b));
        assert_int_equal(guest_peer(&a, 2)->epoch, 2);
        assert_int_equal(fstat(a.memory_fd, &st), 0);
        assert_int_equal(st.st_size, REGION);
        assert_int_equal(f->n_complaints, 0);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0660);
        guest_leave(&a);
        guest_leave(&b);
        group_turn(f);
        assert_int_equal(group_n_members(f), 0);
}

static void test_group_chunks(void **state) {
        Fixture *f = *state;
        uint32_t first, n;
        uint64_t backed;
        MlgPipeStatus s;
        Guest a, b;

        guest_join(f, &a);
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&a, &first), 0); /* nobody there who could use them */
        guest_module_start(f, &a, 77);
        assert_true(guest_was_rung(&a));
        assert_int_equal(guest_take_grants(&a, &first), 16);
        guest_section(&a)->demand_chunks = 120;
        guest_ring(&a, 0);
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&a, &n), 104);
        assert_int_equal(guest_peer(&a, 1)->target_chunks, 120);
        memset(chunk_of(a.memory, first), 1, 120 << MLG_PIPE_CHUNK_SHIFT);
        mlg_pipe_group_status(f->g, &s);
        backed = s.backed_kib * 1024;
        assert_true(backed >= 120 << MLG_PIPE_CHUNK_SHIFT);
        group_later(f, SEC);
        assert_true(f->charge_bytes >= backed);

        /* Another one comes, wants as much, and the quota of 128 has no more than 8. */
        guest_join(f, &b);
        guest_module_start(f, &b, 78);
        assert_int_equal(guest_take_grants(&b, &n), 8);
        guest_section(&b)->demand_chunks = 120;
        guest_ring(&b, 0);
        guest_was_rung(&a);
        guest_pair(&a, 0, 1)->bell = 0;
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&b, &n), 0);
        assert_int_equal(guest_peer(&a, 1)->target_chunks, 64);
        assert_true(guest_was_rung(&a));
        guest_say(&a, MLG_PIPE_RETURN, first + 64, 56);
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&b, &n), 56);
        mlg_pipe_group_status(f->g, &s);
        assert_int_equal(s.granted_kib, 8 * 1024);
        assert_true(s.backed_kib * 1024 <= backed - (56 << MLG_PIPE_CHUNK_SHIFT) + 65536);

        /* It is killed: the other sees it, and its memory is the host's. */
        guest_was_rung(&b);
        guest_pair(&b, 0, 2)->bell = 0;
        guest_leave(&a);
        group_turn(f);
        assert_true(guest_was_rung(&b));
        assert_int_equal(guest_peer(&b, 1)->state, MLG_PIPE_ABSENT);
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&b, &n), 56);
        mlg_pipe_group_status(f->g, &s);
        assert_true(s.backed_kib * 1024 < MIB);
        assert_int_equal(f->n_complaints, 0);
        guest_leave(&b);
}

static void test_group_room(void **state) {
        Fixture *f = *state;
        uint32_t first, n;
        Guest a;

        guest_join(f, &a);
        group_turn(f);
        f->room_bytes = 10 << MLG_PIPE_CHUNK_SHIFT;
        f->room_bytes -= f->charge_bytes; /* some pages of the tables */
        guest_module_start(f, &a, 1);
        group_later(f, SEC);
        n = guest_take_grants(&a, &first);
        assert_in_range(n, 1, 10); /* the host has no more */
        assert_in_range(f->charge_bytes, n << MLG_PIPE_CHUNK_SHIFT, 10 << MLG_PIPE_CHUNK_SHIFT);
        f->room_bytes = MIB;
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&a, &first), 16 - n);
        /* Less than was granted: it is asked for it, not robbed. */
        mlg_pipe_group_set_limit(f->g, 10 << MLG_PIPE_CHUNK_SHIFT);
        group_later(f, SEC);
        assert_int_equal(guest_peer(&a, 1)->target_chunks, 10);
        mlg_pipe_group_set_quota(f->g, 8 << MLG_PIPE_CHUNK_SHIFT);
        group_later(f, SEC);
        assert_int_equal(guest_peer(&a, 1)->target_chunks, 8);
        assert_int_equal(group_granted(f, 1), 16);
        guest_leave(&a);
        group_turn(f);
        assert_true(f->charge_bytes < MIB);
}

static void test_group_module_again(void **state) {
        Fixture *f = *state;
        uint32_t first;
        Guest a, b;

        guest_join(f, &a);
        guest_join(f, &b);
        guest_module_start(f, &a, 10);
        assert_int_equal(guest_take_grants(&a, &first), 16);
        chunk_of(a.memory, first)[0] = 1;
        guest_was_rung(&b);
        guest_pair(&b, 0, 2)->bell = 0;
        assert_int_equal(mlg_pipe_group_reset(f->g, 3), -ENOENT);
        guest_module_start(f, &a, 11); /* its guest was reset */
        assert_true(guest_was_rung(&b));
        assert_int_equal(guest_peer(&b, 1)->epoch, 3);
        assert_int_equal(chunk_of(a.memory, first)[0], 0);
        assert_int_equal(guest_take_grants(&a, &first), 16);
        assert_int_equal(group_granted(f, 1), 16);
        /* One that starts all the time is not let do it all the time. */
        for (uint32_t i = 0; i < 100; i++) {
                guest_section(&a)->session = 1000 + i;
                guest_ring(&a, 0);
                group_later(f, 2000);
        }
        assert_in_range(guest_peer(&b, 1)->epoch, 4, 6);
        guest_leave(&a);
        guest_leave(&b);
}

/* The hypervisor says that the guest was reset, long before its module is there again. */
static void test_group_reset(void **state) {
        Fixture *f = *state;
        uint32_t first;
        Guest a, b;

        guest_join(f, &a);
        guest_join(f, &b);
        guest_module_start(f, &a, 10);
        assert_int_equal(guest_take_grants(&a, &first), 16);
        guest_was_rung(&b);
        guest_pair(&b, 0, 2)->bell = 0;
        assert_int_equal(mlg_pipe_group_reset(f->g, 1), 0);
        assert_true(guest_was_rung(&b));
        assert_int_equal(guest_peer(&b, 1)->epoch, 3);
        assert_int_equal(group_granted(f, 1), 0);
        group_later(f, SEC); /* what its section says is of the old epoch */
        assert_int_equal(group_granted(f, 1), 0);
        assert_int_equal(group_member_of(f, 1).state, MLG_PIPE_STATE_SILENT);
        guest_was_rung(&a);
        guest_module_start(f, &a, 12);
        assert_int_equal(guest_take_grants(&a, &first), 16);
        guest_leave(&a);
        guest_leave(&b);
}

static uint32_t alive(Guest *g) {
        return ((const struct mlg_pipe_header *) g->memory)->alive;
}

/* Another process goes on: nobody notices, and everything is as it was. */
static void test_group_taken_over(void **state) {
        Fixture *f = *state;
        MlgIvshmemKept kept;
        uint32_t first, before;
        Guest a, b, c, d;

        guest_join(f, &a);
        guest_join(f, &b);
        guest_join(f, &c);
        guest_module_start(f, &a, 10);
        guest_module_start(f, &b, 11);
        assert_int_equal(guest_take_grants(&a, &first), 16);
        chunk_of(a.memory, first)[0] = 9;
        mlg_pipe_group_leave_to_next(f->g);
        (void) mlg_pipe_group_free(f->g);
        assert_int_equal(guest_peer(&a, 2)->state, MLG_PIPE_PRESENT);
        assert_int_equal(g_access(f->path, F_OK), 0);
        guest_leave(&c); /* one dies, and one calls, while nobody is there */
        d = (Guest) { .fd = group_connect(f) };
        guest_ring(&a, 0);

        kept = f->kept; /* the manager's table is made anew by the next process */
        mlg_ivshmem_kept_init(&f->kept);
        f->n_joins = f->n_leaves = 0;
        before = alive(&a);
        group_start(f, REGION, 6, &kept);
        group_turn(f);
        assert_true(alive(&a) > before);
        assert_int_equal(f->n_joins, 4); /* the three that were, and the new one */
        assert_int_equal(f->n_leaves, 1);
        assert_int_equal(group_n_members(f), 3);
        assert_int_equal(group_granted(f, 1), 16);
        assert_int_equal(chunk_of(a.memory, first)[0], 9);
        guest_assert_told_nothing(&a);
        guest_assert_told_nothing(&b);
        assert_int_equal(guest_peer(&b, 1)->epoch, 2); /* as before: of its module's start */
        guest_section(&a)->demand_chunks = 30;
        guest_ring(&a, 0);
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&a, &first), 14);
        assert_true(guest_was_rung(&a));
        guest_ring(&a, 2);
        assert_true(guest_was_rung(&b));
        guest_leave(&b);
        group_turn(f);
        assert_int_equal(guest_peer(&a, 2)->state, MLG_PIPE_ABSENT);
        guest_leave(&a);
        guest_leave(&d);
        group_turn(f);
        assert_int_equal(group_n_members(f), 0);
}

/* Not all of it was kept, or another size is wanted: a new region, and the old members are let go. */
static void test_group_not_taken_over(void **state) {
        Fixture *f = *state;

        for (int what = 0; what < 3; what++) {
                MlgIvshmemKept kept;
                int64_t v;
                int fd;
                bool end = false;
                Guest a;

                guest_join(f, &a);
                mlg_pipe_group_leave_to_next(f->g);
                (void) mlg_pipe_group_free(f->g);
                kept = f->kept;
                mlg_ivshmem_kept_init(&f->kept);
                if (what == 0)
                        mlg_close_fd(&kept.truth);
                if (what == 1)
                        mlg_close_fd(&kept.events[17]);
                group_start(f, what < 2 ? REGION : 2 * REGION, 6, &kept);
                group_turn(f);
                assert_int_equal(group_n_members(f), 0);
                while (guest_next_message(a.fd, &v, &fd, &end))
                        mlg_close_fd(&fd);
                assert_true(end);
                guest_leave(&a);
                (void) mlg_pipe_group_free(f->g);
                group_start(f, REGION, 7, NULL);
        }
}

/* Without a next process members are told to go back to the network. */
static void test_group_farewell(void **state) {
        Fixture *f = *state;
        Guest a, b;

        guest_join(f, &a);
        guest_join(f, &b);
        guest_was_rung(&a);
        guest_pair(&a, 0, 1)->bell = 0;
        (void) mlg_pipe_group_free(f->g);
        assert_int_equal(guest_peer(&a, 1)->state, MLG_PIPE_LEAVING);
        assert_int_equal(guest_peer(&a, 2)->state, MLG_PIPE_LEAVING);
        assert_true(guest_was_rung(&a));
        guest_leave(&a);
        guest_leave(&b);
        group_start(f, REGION, 7, NULL);
}

static void test_kept_names(void **state) {
        static const char *const bad[] = { "", "client", "client.", "client.32", "client.1x", "event.-1", "event.32", "x.1", "regions" };
        MlgIvshmemKept k;

        mlg_ivshmem_kept_init(&k);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                assert_false(mlg_ivshmem_kept_add(&k, bad[i], 7));
        assert_true(mlg_ivshmem_kept_add(&k, "client.31", 7));
        assert_int_equal(k.clients[31], 7);
        assert_int_equal(k.clients[1], -1);
        assert_int_equal(k.listener, -1);
}

static void test_group_leaving(void **state) {
        Fixture *f = *state;
        uint32_t first;
        Guest a, b;

        guest_join(f, &a);
        guest_join(f, &b);
        guest_module_start(f, &a, 10);
        (void) guest_take_grants(&a, &first);
        guest_was_rung(&b);
        guest_pair(&b, 0, 2)->bell = 0;
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 3, true), -ENOENT);
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 0, true), -ENOENT);
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 99, true), -ENOENT);
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 1, true), 0);
        assert_int_equal(guest_peer(&b, 1)->state, MLG_PIPE_LEAVING);
        assert_true(guest_was_rung(&b));
        guest_section(&a)->demand_chunks = 100;
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&a, &first), 0);
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 1, false), 0);
        group_later(f, SEC);
        assert_int_equal(guest_take_grants(&a, &first), 84);
        guest_leave(&a);
        guest_leave(&b);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_group_handshake, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_chunks, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_room, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_module_again, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_reset, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_leaving, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_taken_over, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_not_taken_over, group_setup, group_teardown),
                cmocka_unit_test_setup_teardown(test_group_farewell, group_setup, group_teardown),
                cmocka_unit_test(test_kept_names),
        };

        return cmocka_run_group_tests_name("mempipe", tests, NULL, NULL);
}
