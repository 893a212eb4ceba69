/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State: what was put comes back after a restart; damaged files never stop a start; the file is replaced as
 * a whole. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#include "service/state.h"

#define UUID_A "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
#define UUID_B "00000000-0000-0000-0000-000000000001"

typedef struct Dir {
        char *path, *file, *bad, *new_;
} Dir;

static int setup(void **state) {
        Dir *d = g_new0(Dir, 1);

        d->path = g_dir_make_tmp("memlego-state-XXXXXX", NULL);
        d->file = g_build_filename(d->path, "targets.json", NULL);
        d->bad = g_build_filename(d->path, "targets.json.bad", NULL);
        d->new_ = g_build_filename(d->path, "targets.json.new", NULL);
        *state = d;
        return 0;
}

static int teardown(void **state) {
        Dir *d = *state;
        const char *argv[] = { "rm", "-rf", d->path, NULL };

        (void) g_spawn_sync(NULL, (char **) argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, NULL,
                            NULL);
        g_free(d->path);
        g_free(d->file);
        g_free(d->bad);
        g_free(d->new_);
        g_free(d);
        return 0;
}

static MlgState *open_clean(const char *dir) {
        g_autofree char *warning = NULL;
        MlgState *s = NULL;

        assert_int_equal(mlg_state_open(dir, "boot 1", &s, &warning), 0);
        if (warning)
                fail_msg("%s", warning);
        return s;
}

static const MlgStateGuest guest_a = {
        .uuid = UUID_A,
        .instance = 7,
        .target_kib = 1048576,
        .pending_kib = 524288,
        .stats_period_changed = true,
        .stats_period_found_sec = 10,
        .paused = true,
        .manual_kib = 786432,
        .hold_until_real_usec = UINT64_MAX,
        .suffered_real_usec = 11,
        .started_real_usec = 12,
        .allowed_until_real_usec = 13,
};
static const MlgStateReservation reservation = {
        .id = 42,
        .kib = 2097152,
        .expires_real_usec = 1700000000000000,
        .taken = true,
        .owner = ":1.99",
};

static void assert_guest_a(const MlgState *s) {
        const MlgStateGuest *g = mlg_state_guest(s, UUID_A);

        assert_non_null(g);
        assert_int_equal(g->instance, 7);
        assert_int_equal(g->target_kib, 1048576);
        assert_int_equal(g->pending_kib, 524288);
        assert_true(g->stats_period_changed);
        assert_int_equal(g->stats_period_found_sec, 10);
        assert_true(g->paused);
        assert_int_equal(g->manual_kib, 786432);
        assert_true(g->hold_until_real_usec == UINT64_MAX);
        assert_int_equal(g->suffered_real_usec, 11);
        assert_int_equal(g->started_real_usec, 12);
        assert_int_equal(g->allowed_until_real_usec, 13);
}

static void test_round_trip(void **state) {
        const Dir *d = *state;
        g_autoptr(MlgState) s = open_clean(d->path);
        MlgStateGuest b = { .uuid = UUID_B };
        const MlgStateReservation *r;

        assert_null(mlg_state_guest(s, UUID_A));
        assert_int_equal(mlg_state_sync(s), 0); /* nothing changed: no file */
        assert_int_equal(g_access(d->file, F_OK), -1);

        mlg_state_put_guest(s, &guest_a);
        mlg_state_put_guest(s, &b);
        b.target_kib = 5;
        mlg_state_put_guest(s, &b);
        mlg_state_put_reservation(s, &reservation);
        mlg_state_set_paused(s, true);
        mlg_state_set_allowed_until(s, 14);
        mlg_state_set_last_proposal(s, 15);
        assert_int_equal(mlg_state_sync(s), 0);
        s = mlg_state_free(s);

        s = open_clean(d->path);
        assert_int_equal(mlg_state_allowed_until(s), 14);
        assert_int_equal(mlg_state_last_proposal(s), 15);
        assert_guest_a(s);
        assert_int_equal(mlg_state_guest(s, UUID_B)->target_kib, 5);
        assert_true(mlg_state_paused(s));
        assert_int_equal(mlg_state_reservations(s, &r), 1);
        assert_int_equal(r->id, 42);
        assert_int_equal(r->kib, 2097152);
        assert_true(r->expires_real_usec == 1700000000000000);
        assert_true(r->taken);
        assert_string_equal(r->owner, ":1.99");

        mlg_state_drop_guest(s, UUID_B);
        mlg_state_drop_guest(s, "not there");
        mlg_state_drop_reservation(s, 42);
        mlg_state_drop_reservation(s, 43);
        mlg_state_set_paused(s, false);
        assert_int_equal(mlg_state_sync(s), 0);
        s = mlg_state_free(s);

        s = open_clean(d->path);
        assert_guest_a(s);
        assert_null(mlg_state_guest(s, UUID_B));
        assert_false(mlg_state_paused(s));
        assert_int_equal(mlg_state_reservations(s, &r), 0);
}

static ino_t inode_of(const char *path) {
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        return st.st_ino;
}

/* Hypervisors number the runs of guests from 1 again: only an operator's word counts after the host's new start. */
static void test_other_boot(void **state) {
        const Dir *d = *state;
        g_autoptr(MlgState) s = open_clean(d->path);
        g_autofree char *warning = NULL;
        const MlgStateReservation *r;
        const MlgStateGuest *g;

        mlg_state_put_guest(s, &guest_a);
        mlg_state_put_reservation(s, &reservation);
        mlg_state_set_paused(s, true);
        mlg_state_set_allowed_until(s, 14);
        mlg_state_set_last_proposal(s, 15);
        assert_int_equal(mlg_state_sync(s), 0);
        s = mlg_state_free(s);

        assert_int_equal(mlg_state_open(d->path, "boot 2", &s, &warning), 0);
        assert_null(warning);
        assert_true(mlg_state_paused(s));
        assert_int_equal(mlg_state_reservations(s, &r), 0);
        g = mlg_state_guest(s, UUID_A);
        assert_non_null(g);
        assert_true(g->paused);
        assert_int_equal(g->instance + g->target_kib + g->pending_kib + g->manual_kib + g->hold_until_real_usec, 0);
        assert_int_equal(g->suffered_real_usec + g->started_real_usec, 0);
        assert_int_equal(g->allowed_until_real_usec + mlg_state_allowed_until(s), 0); /* it has to be asked for again */
        assert_int_equal(mlg_state_last_proposal(s), 15);
        assert_false(g->stats_period_changed);
}

static bool is_b(const char *uuid, void *userdata) {
        return g_str_equal(uuid, userdata);
}

static void test_keep_guests(void **state) {
        g_autoptr(MlgState) s = open_clean(NULL);
        MlgStateGuest b = { .uuid = UUID_B };

        mlg_state_put_guest(s, &guest_a);
        mlg_state_put_guest(s, &b);
        mlg_state_keep_guests(s, is_b, (void *) UUID_B);
        assert_null(mlg_state_guest(s, UUID_A));
        assert_non_null(mlg_state_guest(s, UUID_B));
}

/* Only a change is written, always as a new file, readable by nobody else. */
static void test_writes_only_changes(void **state) {
        const Dir *d = *state;
        g_autoptr(MlgState) s = open_clean(d->path);
        MlgStateReservation r = reservation;
        struct stat st;
        ino_t first;

        mlg_state_put_guest(s, &guest_a);
        mlg_state_put_reservation(s, &r);
        assert_int_equal(mlg_state_sync(s), 0);
        assert_int_equal(stat(d->file, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        first = st.st_ino;

        mlg_state_put_guest(s, &guest_a);
        mlg_state_put_reservation(s, &r);
        mlg_state_set_paused(s, false);
        assert_int_equal(mlg_state_sync(s), 0);
        assert_true(inode_of(d->file) == first);

        r.kib++;
        mlg_state_put_reservation(s, &r);
        assert_int_equal(mlg_state_sync(s), 0);
        assert_true(inode_of(d->file) != first);
        assert_int_equal(g_access(d->new_, F_OK), -1);
}

/* When it cannot be written, the old file stays whole, and the next sync tries again. */
static void test_failed_write(void **state) {
        const Dir *d = *state;
        g_autoptr(MlgState) s = open_clean(d->path);

        mlg_state_put_guest(s, &guest_a);
        assert_int_equal(mlg_state_sync(s), 0);
        assert_int_equal(g_mkdir(d->new_, 0700), 0); /* in the way of the new file */
        mlg_state_drop_guest(s, UUID_A);
        assert_int_equal(mlg_state_sync(s), -EEXIST);
        {
                g_autoptr(MlgState) other = open_clean(d->path);

                assert_guest_a(other);
        }
        assert_int_equal(g_rmdir(d->new_), 0);
        assert_int_equal(mlg_state_sync(s), 0);
        s = mlg_state_free(s);
        s = open_clean(d->path);
        assert_null(mlg_state_guest(s, UUID_A));

        /* The name itself cannot be replaced. */
        assert_int_equal(g_unlink(d->file), 0);
        assert_int_equal(g_mkdir(d->file, 0700), 0);
        mlg_state_put_guest(s, &guest_a);
        assert_int_equal(mlg_state_sync(s), -EISDIR);
        assert_int_equal(g_access(d->new_, F_OK), -1);
}

/* What a crash between write and rename leaves is no hindrance. */
static void test_left_over(void **state) {
        const Dir *d = *state;
        g_autoptr(MlgState) s = NULL;

        assert_true(g_file_set_contents(d->new_, "{ \"ver", -1, NULL));
        s = open_clean(d->path);
        mlg_state_put_guest(s, &guest_a);
        assert_int_equal(mlg_state_sync(s), 0);
        assert_int_equal(g_access(d->new_, F_OK), -1);
}

#define GUEST(fields) "{\"version\":1,\"boot_id\":\"boot 1\",\"paused\":false,\"guests\":[" fields "],\"reservations\":[]}"
#define RESERVATION(fields) "{\"version\":1,\"boot_id\":\"boot 1\",\"paused\":false,\"guests\":[],\"reservations\":[" fields "]}"
#define GOOD_GUEST \
        "{\"uuid\":\"" UUID_A \
        "\",\"instance\":1,\"target_kib\":2,\"pending_kib\":0,\"stats_period_changed\":true," \
        "\"stats_period_found_sec\":0,\"paused\":false,\"manual_kib\":0," \
        "\"hold_until_real_usec\":0,\"suffered_real_usec\":0,\"started_real_usec\":0}"

static void test_bad_files(void **state) {
        static const struct {
                const char *text, *wrong;
        } cases[] = {
                { "", "it is not JSON" },
                { "{ \"version\": 1, \"paus", "it is not JSON" },
                { "{} {}", "it is not JSON" },
                { "{\"version\": 1,}", "it is not JSON" },
                { "{\"version\":1,\"x\":[[[[[1]]]]]}", "it is not JSON" },
                { "\xff\xfe", "it is not JSON" },
                { "[]", "it is not a state file of memlegod" },
                { "null", "it is not JSON" },
                { "{}", "it is not a state file of memlegod" },
                { "{\"version\":\"1\"}", "it is not a state file of memlegod" },
                { "{\"version\":-1}", "it is not a state file of memlegod" },
                { "{\"version\":2}", "it was written by another version of memlegod" },
                { "{\"version\":1}", "parts of it are missing" },
                { "{\"version\":1,\"boot_id\":\"boot 1\",\"paused\":0,\"guests\":[],\"reservations\":[]}",
                  "parts of it are missing" },
                { "{\"version\":1,\"boot_id\":\"boot 1\",\"paused\":false,\"guests\":{},\"reservations\":[]}",
                  "parts of it are missing" },
                { GUEST("5"), "a guest's record is damaged" },
                { GUEST("{}"), "a guest's record is damaged" },
                { GUEST(GOOD_GUEST ",{\"uuid\":\"" UUID_B "\"}"), "a guest's record is damaged" },
                { GUEST("{\"uuid\":\"../../etc/passwd-0000000000000000000\"}"),
                  "a guest's record is damaged" },
                { GUEST("{\"uuid\":\"" UUID_A "\",\"instance\":4294967296}"),
                  "a guest's record is damaged" },
                { GUEST("{\"uuid\":\"" UUID_A "\",\"instance\":1.5}"), "a guest's record is damaged" },
                { GUEST("{\"uuid\":\"" UUID_A "\",\"instance\":1,\"target_kib\":18014398509481985}"),
                  "a guest's record is damaged" },
                { GUEST("{\"uuid\":\"" UUID_A "\",\"instance\":1,\"target_kib\":-1}"),
                  "a guest's record is damaged" },
                { RESERVATION("{\"id\":1,\"kib\":1,\"expires_real_usec\":1}"),
                  "a reservation's record is damaged" },
                { RESERVATION("{\"id\":1,\"kib\":1,\"expires_real_usec\":1,\"taken\":false,\"owner\":\""
                              "0123456789012345678901234567890123456789012345678901234567890123\"}"),
                  "a reservation's record is damaged" },
                { RESERVATION("{\"id\":1,\"kib\":1,\"expires_real_usec\":1,\"taken\":false,\"owner\":\"a\\u0000b\"}"),
                  "a reservation's record is damaged" },
        };
        const Dir *d = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(MlgState) s = NULL;
                g_autofree char *warning = NULL, *kept = NULL, *expected = NULL;
                const MlgStateReservation *r;

                print_message("%s\n", cases[i].text);
                assert_true(g_file_set_contents(d->file, cases[i].text, -1, NULL));
                assert_int_equal(mlg_state_open(d->path, "boot 1", &s, &warning), 0);
                expected = g_strdup_printf("%s is not used: %s; it was set aside as targets.json.bad",
                                           d->file, cases[i].wrong);
                assert_non_null(warning);
                assert_string_equal(warning, expected);
                assert_null(mlg_state_guest(s, UUID_A)); /* nothing of it is used */
                assert_int_equal(mlg_state_reservations(s, &r), 0);
                assert_false(mlg_state_paused(s));
                assert_int_equal(g_access(d->file, F_OK), -1);
                assert_true(g_file_get_contents(d->bad, &kept, NULL, NULL));
                assert_string_equal(kept, cases[i].text);
                mlg_state_put_guest(s, &guest_a); /* and it works from here on */
                assert_int_equal(mlg_state_sync(s), 0);
                assert_int_equal(g_unlink(d->file), 0);
        }
}

static void test_good_file_by_hand(void **state) {
        const Dir *d = *state;
        g_autoptr(MlgState) s = NULL;

        assert_true(g_file_set_contents(d->file, GUEST(GOOD_GUEST) "\n\n", -1, NULL));
        s = open_clean(d->path);
        assert_int_equal(mlg_state_guest(s, UUID_A)->target_kib, 2);
        assert_true(mlg_state_guest(s, UUID_A)->stats_period_changed);
}

static void assert_set_aside(const Dir *d, const char *why) {
        g_autoptr(MlgState) s = NULL;
        g_autofree char *warning = NULL;

        assert_int_equal(mlg_state_open(d->path, "boot 1", &s, &warning), 0);
        assert_non_null(warning);
        if (!strstr(warning, why))
                fail_msg("expected \"%s\" in: %s", why, warning);
}

static void test_strange_files(void **state) {
        const Dir *d = *state;
        g_autofree char *large = g_strnfill(4 * 1024 * 1024 + 1, ' ');

        assert_true(g_file_set_contents(d->file, large, -1, NULL));
        assert_set_aside(d, "it is too large; it was set aside");
        assert_int_equal(symlink("/etc/passwd", d->file), 0);
        assert_set_aside(d, "Too many levels of symbolic links; it was set aside");
        assert_int_equal(g_unlink(d->bad), 0);
        assert_int_equal(mkfifo(d->file, 0600), 0); /* must not wait for a writer */
        assert_set_aside(d, "it was set aside");
        assert_int_equal(g_unlink(d->bad), 0);

        /* Where even that fails it says so. */
        assert_int_equal(g_mkdir(d->bad, 0700), 0);
        assert_true(g_file_set_contents(d->file, "?", -1, NULL));
        assert_set_aside(d, "it is not JSON; it was not set aside: Is a directory, and will be overwritten");
}

static void test_directory(void **state) {
        const Dir *d = *state;
        g_autofree char *sub = g_build_filename(d->path, "sub", NULL);
        g_autofree char *deep = g_build_filename(d->path, "no", "where", NULL);
        g_autofree char *warning = NULL;
        g_autoptr(MlgState) s = NULL;
        MlgState *none = NULL;

        s = open_clean(sub);
        assert_int_equal(g_access(sub, F_OK), 0);
        assert_int_equal(mlg_state_open(deep, "", &none, &warning), -ENOENT);
        assert_null(none);
        assert_true(g_file_set_contents(d->bad, "", -1, NULL));
        assert_int_equal(mlg_state_open(d->bad, "", &none, &warning), -ENOTDIR);
}

/* Without a directory all of it works, and nothing is written. */
static void test_nothing_kept(void **state) {
        g_autoptr(MlgState) s = open_clean(NULL);

        mlg_state_put_guest(s, &guest_a);
        assert_int_equal(mlg_state_sync(s), 0);
        assert_guest_a(s);
        assert_null(mlg_state_free(NULL));
}

static void test_limits(void **state) {
        const Dir *d = *state;
        g_autoptr(MlgState) s = open_clean(d->path);
        const MlgStateReservation *all;
        MlgStateGuest g = guest_a;
        MlgStateReservation r = reservation;

        for (int i = 0; i < 4097; i++) {
                g_snprintf(g.uuid, sizeof(g.uuid), "00000000-0000-0000-0000-%012d", i);
                mlg_state_put_guest(s, &g);
        }
        assert_null(mlg_state_guest(s, g.uuid));
        g_snprintf(g.uuid, sizeof(g.uuid), "00000000-0000-0000-0000-%012d", 4095);
        assert_non_null(mlg_state_guest(s, g.uuid));
        g.target_kib++;
        mlg_state_put_guest(s, &g); /* known ones still change */
        assert_int_equal(mlg_state_guest(s, g.uuid)->target_kib, g.target_kib);
        for (uint64_t i = 0; i < 1025; i++) {
                r.id = i;
                memset(r.owner, 'x', sizeof(r.owner) - 1);
                mlg_state_put_reservation(s, &r);
        }
        assert_int_equal(mlg_state_reservations(s, &all), 1024);
        assert_int_equal(mlg_state_sync(s), 0);
        s = mlg_state_free(s);
        s = open_clean(d->path); /* the largest state fits into the largest file */
        assert_int_equal(mlg_state_reservations(s, &all), 1024);
        assert_int_equal(mlg_state_guest(s, g.uuid)->target_kib, g.target_kib);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
                cmocka_unit_test_setup_teardown(test_other_boot, setup, teardown),
                cmocka_unit_test_setup_teardown(test_keep_guests, setup, teardown),
                cmocka_unit_test_setup_teardown(test_writes_only_changes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_write, setup, teardown),
                cmocka_unit_test_setup_teardown(test_left_over, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_files, setup, teardown),
                cmocka_unit_test_setup_teardown(test_good_file_by_hand, setup, teardown),
                cmocka_unit_test_setup_teardown(test_strange_files, setup, teardown),
                cmocka_unit_test_setup_teardown(test_directory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_nothing_kept, setup, teardown),
                cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
