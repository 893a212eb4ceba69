/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Learned: a state comes back as it was saved, for the same predictor and version, or not at all. */
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

#include "predict/registry.h"
#include "service/learned.h"
#include "util/util.h"

#define UUID_A "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
#define UUID_B "00000000-0000-0000-0000-000000000001"
#define STATE_LEN 48
#define HEADER_LEN 176
#define HORIZON_USEC (300 * MLG_USEC_PER_SEC)
#define NOW_SEC 1700000000 /* before any clock that this runs by */

static void observe(void *priv, const MlgSample *s, uint64_t horizon_usec) {
}

static int predict(const void *priv, uint64_t horizon_usec, MlgForecast *ret) {
        return -ENODATA;
}

static const MlgPredictorOps ops = {
        .abi = MLG_PREDICTOR_ABI,
        .size = sizeof(MlgPredictorOps),
        .name = "test",
        .description = "a predictor with a small state",
        .priv_size = STATE_LEN,
        .observe = observe,
        .predict = predict,
        .state_version = 3,
};
static const MlgLearnedAbout about = {
        .instance = 7,
        .horizon_usec = HORIZON_USEC,
        .learned_usec = 86400 * MLG_USEC_PER_SEC,
        .saved_real_usec = 1234567,
};

typedef struct Dir {
        char *path, *learned, *file, *new_;
        uint8_t state[STATE_LEN];
} Dir;

static int setup(void **state) {
        Dir *d = g_new0(Dir, 1);

        d->path = g_dir_make_tmp("memlego-learned-XXXXXX", NULL);
        d->learned = g_build_filename(d->path, "learned", NULL);
        d->file = g_build_filename(d->learned, UUID_A, NULL);
        d->new_ = g_build_filename(d->learned, ".new", NULL);
        for (size_t i = 0; i < STATE_LEN; i++)
                d->state[i] = (uint8_t) (i * 37 + 1);
        *state = d;
        return 0;
}

static int teardown(void **state) {
        Dir *d = *state;
        GDir *dir = g_dir_open(d->learned, 0, NULL);
        const char *name;

        while (dir && (name = g_dir_read_name(dir))) {
                g_autofree char *path = g_build_filename(d->learned, name, NULL);

                (void) g_remove(path);
        }
        if (dir)
                g_dir_close(dir);
        (void) g_rmdir(d->learned);
        assert_int_equal(g_rmdir(d->path), 0);
        g_free(d->path);
        g_free(d->learned);
        g_free(d->file);
        g_free(d->new_);
        g_free(d);
        return 0;
}

static MlgLearned *open_boot(const Dir *d, const char *boot_id) {
        MlgLearned *l = NULL;

        assert_int_equal(mlg_learned_open(d->path, boot_id, &l), 0);
        return l;
}

static MlgLearned *open_dir(const Dir *d) {
        return open_boot(d, "boot 1");
}

static void save(MlgLearned *l, const Dir *d, const char *uuid) {
        assert_int_equal(mlg_learned_save(l, uuid, &ops, d->state, &about), 0);
}

/* Nothing is loaded; warning NULL: and nothing is said, else it is part of what is said. */
static void assert_refused(const MlgLearned *l, const char *uuid, const MlgPredictorOps *p,
                           const char *warning) {
        uint8_t state[MLG_PREDICTOR_PRIV_MAX], before[sizeof(state)];
        g_autofree char *said = NULL;
        MlgLearnedAbout a = { .instance = 99, .horizon_usec = HORIZON_USEC };

        memset(state, 0x5a, sizeof(state));
        memset(before, 0x5a, sizeof(before));
        assert_false(mlg_learned_load(l, uuid, p, &a, state, &said));
        assert_memory_equal(state, before, sizeof(state));
        assert_int_equal(a.instance, 99);
        if (!warning)
                assert_null(said);
        else if (!said || !strstr(said, warning))
                fail_msg("expected \"%s\" in: %s", warning, said ? said : "nothing");
}

static void assert_loaded(const MlgLearned *l, const Dir *d, const char *uuid, uint32_t instance,
                          bool same_run) {
        uint8_t state[STATE_LEN + 1] = { [STATE_LEN] = 0x5a };
        g_autofree char *said = NULL;
        MlgLearnedAbout a = { .instance = instance, .horizon_usec = HORIZON_USEC };

        assert_true(mlg_learned_load(l, uuid, &ops, &a, state, &said));
        assert_null(said);
        assert_memory_equal(state, d->state, STATE_LEN);
        assert_int_equal(state[STATE_LEN], 0x5a);
        assert_int_equal(a.instance, about.instance);
        assert_true(a.learned_usec == about.learned_usec && a.saved_real_usec == about.saved_real_usec);
        assert_int_equal(a.same_run, same_run);
}

static mode_t mode_of(const char *path) {
        struct stat st;

        assert_int_equal(stat(path, &st), 0);
        return st.st_mode & 07777;
}

/* ---- tests ---- */

static void test_round_trip(void **state) {
        static const struct {
                const char *boot_id;
                uint32_t instance;
                bool same_run;
        } cases[] = {
                { "boot 1", 7, true },
                { "boot 1", 8, false },
                { "boot 1", 0, false }, /* it is off now */
                { "boot 2", 7, false }, /* hypervisors number the runs anew */
        };
        Dir *d = *state;
        g_autoptr(MlgLearned) l = open_dir(d);

        assert_refused(l, UUID_A, &ops, NULL);
        save(l, d, UUID_A);
        assert_int_equal(mode_of(d->learned), 0700);
        assert_int_equal(mode_of(d->file), 0600);
        assert_int_equal(g_access(d->new_, F_OK), -1);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(MlgLearned) again = open_boot(d, cases[i].boot_id);

                assert_loaded(again, d, UUID_A, cases[i].instance, cases[i].same_run);
                assert_refused(again, UUID_B, &ops, NULL);
        }
        d->state[0]++; /* a newer one takes its place */
        save(l, d, UUID_A);
        save(l, d, UUID_B);
        assert_loaded(l, d, UUID_A, 7, true);
        assert_null(mlg_learned_free(NULL));
}

/* Each one that saves fits, and comes back to the byte. */
static void test_registered(void **state) {
        Dir *d = *state;
        g_autoptr(MlgLearned) l = open_dir(d);
        const MlgPredictorOps *p;
        unsigned int n = 0;

        for (size_t i = 0; (p = mlg_predictor_at(i)); i++) {
                g_autofree uint8_t *out = g_malloc(p->priv_size), *in = g_malloc0(p->priv_size);
                g_autofree char *said = NULL;
                MlgLearnedAbout a = about;

                if (p->state_version == 0)
                        continue;
                n++;
                for (size_t k = 0; k < p->priv_size; k++)
                        out[k] = (uint8_t) (k * 31 + i);
                assert_int_equal(mlg_learned_save(l, UUID_A, p, out, &about), 0);
                assert_true(mlg_learned_load(l, UUID_A, p, &a, in, &said));
                assert_memory_equal(in, out, p->priv_size);
        }
        assert_true(n > 0);
}

static void test_damage(void **state) {
        Dir *d = *state;
        g_autoptr(MlgLearned) l = open_dir(d);
        g_autofree char *good = NULL;
        gsize len;

        save(l, d, UUID_A);
        assert_true(g_file_get_contents(d->file, &good, &len, NULL));
        assert_int_equal(len, HEADER_LEN + STATE_LEN);
        for (gsize i = 0; i < len; i++) { /* one byte of it */
                good[i] ^= 0x20;
                assert_true(g_file_set_contents(d->file, good, (gssize) len, NULL));
                assert_refused(l, UUID_A, &ops, UUID_A " is not used: it ");
                good[i] ^= 0x20;
        }
        for (gsize i = 0; i < len; i++) { /* its end is missing */
                assert_true(g_file_set_contents(d->file, good, (gssize) i, NULL));
                assert_refused(l, UUID_A, &ops,
                               i < HEADER_LEN ? "not a file of memlegod" : "not as long as it should be");
        }
        assert_true(g_file_set_contents(d->file, good, (gssize) len, NULL));
        assert_loaded(l, d, UUID_A, 7, true);
        save(l, d, UUID_A); /* and a damaged one is simply replaced */
        assert_loaded(l, d, UUID_A, 7, true);
}

static void test_strange_files(void **state) {
        Dir *d = *state;
        g_autoptr(MlgLearned) l = open_dir(d);
        g_autofree char *large = g_strnfill(HEADER_LEN + MLG_PREDICTOR_PRIV_MAX + 1, 'x'), *good = NULL;
        gsize len;

        save(l, d, UUID_A);
        assert_true(g_file_get_contents(d->file, &good, &len, NULL));
        good[8]++;
        assert_true(g_file_set_contents(d->file, good, (gssize) len, NULL));
        assert_refused(l, UUID_A, &ops, "written by another version of memlegod");
        assert_true(g_file_set_contents(d->file, large, -1, NULL));
        assert_refused(l, UUID_A, &ops, "it is too large");
        assert_int_equal(g_unlink(d->file), 0);
        assert_int_equal(symlink("/etc/passwd", d->file), 0);
        assert_refused(l, UUID_A, &ops, "Too many levels of symbolic links");
        save(l, d, UUID_A); /* the link itself is replaced */
        assert_loaded(l, d, UUID_A, 7, true);
        assert_int_equal(g_unlink(d->file), 0);
        assert_int_equal(mkfifo(d->file, 0600), 0); /* must not wait for a writer */
        assert_refused(l, UUID_A, &ops, "Invalid argument");
        assert_refused(l, "../targets.json", &ops, NULL);
        assert_refused(l, "", &ops, NULL);
}

static void test_other_predictors(void **state) {
        static const struct {
                const char *name, *warning;
                uint32_t version;
                size_t size;
        } cases[] = {
                { "test", "saved by another version of this predictor", 4, STATE_LEN },
                { "test", "state of this predictor has another size", 3, STATE_LEN - 8 },
                { "test", "state of this predictor has another size", 3, STATE_LEN + 8 },
                { "test", NULL, 0, STATE_LEN },
                { "tes", NULL, 3, STATE_LEN },
                { "test2", NULL, 4, 8 },
        };
        Dir *d = *state;
        g_autoptr(MlgLearned) l = open_dir(d);
        g_autofree char *said = NULL;
        MlgLearnedAbout a = about;
        MlgPredictorOps p = ops;

        save(l, d, UUID_A);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                print_message("%s %u %zu\n", cases[i].name, cases[i].version, cases[i].size);
                p.name = cases[i].name;
                p.state_version = cases[i].version;
                p.priv_size = cases[i].size;
                assert_refused(l, UUID_A, &p, cases[i].warning);
                assert_loaded(l, d, UUID_A, 7, true); /* it waits for its own */
        }
        a.horizon_usec++;
        assert_false(mlg_learned_load(l, UUID_A, &ops, &a, &d->state, &said));
        assert_null(said);
        p = ops;
        p.name = "a-name-that-is-longer-than-any-one";
        assert_int_equal(mlg_learned_save(l, UUID_A, &p, d->state, &about), -EINVAL);
        p = ops;
        p.priv_size = MLG_PREDICTOR_PRIV_MAX + 1;
        assert_int_equal(mlg_learned_save(l, UUID_A, &p, d->state, &about), -EINVAL);
        assert_int_equal(mlg_learned_save(l, "../x", &ops, d->state, &about), -EINVAL);
        assert_loaded(l, d, UUID_A, 7, true);
}

/* What cannot be written leaves the one before. */
static void test_not_writable(void **state) {
        Dir *d = *state;
        g_autoptr(MlgLearned) l = open_dir(d), none = NULL;
        uint8_t newer[STATE_LEN] = { 1 };

        save(l, d, UUID_A);
        assert_int_equal(g_mkdir(d->new_, 0700), 0);
        assert_int_equal(mlg_learned_save(l, UUID_A, &ops, newer, &about), -EEXIST);
        assert_loaded(l, d, UUID_A, 7, true);
        assert_int_equal(g_rmdir(d->new_), 0);
        assert_true(g_file_set_contents(d->new_, "of a crash", -1, NULL));
        save(l, d, UUID_A);
        assert_loaded(l, d, UUID_A, 7, true);
        /* The directory was taken away. */
        assert_int_equal(g_unlink(d->file), 0);
        assert_int_equal(g_rmdir(d->learned), 0);
        assert_int_equal(mlg_learned_save(l, UUID_A, &ops, d->state, &about), -ENOENT);
        /* Something else is in its place. */
        assert_true(g_file_set_contents(d->learned, "", 0, NULL));
        assert_int_equal(mlg_learned_open(d->path, "boot 1", &none), -ENOTDIR);
        assert_null(none);
        assert_int_equal(g_unlink(d->learned), 0);
}

/* For --dry-run: nothing is read, nothing is written. */
static void test_nothing_kept(void **state) {
        Dir *d = *state;
        g_autoptr(MlgLearned) l = NULL;

        assert_int_equal(mlg_learned_open(NULL, "boot 1", &l), 0);
        save(l, d, UUID_A);
        assert_refused(l, UUID_A, &ops, NULL);
        mlg_learned_drop_old(l, NOW_SEC);
        assert_int_equal(g_access(d->learned, F_OK), -1);
}

static void set_age(const Dir *d, const char *name, int64_t sec) {
        g_autofree char *path = g_build_filename(d->learned, name, NULL);
        struct timespec times[2] = { { .tv_sec = NOW_SEC - sec }, { .tv_sec = NOW_SEC - sec } };

        assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static bool is_there(const Dir *d, const char *name) {
        g_autofree char *path = g_build_filename(d->learned, name, NULL);

        return g_access(path, F_OK) == 0;
}

static void test_drop_old(void **state) {
        static const struct {
                const char *name;
                int64_t age_sec;
                bool stays;
        } cases[] = {
                { UUID_A, 0, true },
                { UUID_B, MLG_LEARNED_KEEP_SEC - 1, true },
                { "00000000-0000-0000-0000-000000000002", MLG_LEARNED_KEEP_SEC + 1, false },
                { "00000000-0000-0000-0000-000000000003", 10 * MLG_LEARNED_KEEP_SEC, false },
                { "00000000-0000-0000-0000-000000000004", -86400, true }, /* the clock was set back */
                { "README", 10 * MLG_LEARNED_KEEP_SEC, true }, /* not ours */
        };
        Dir *d = *state;
        g_autoptr(MlgLearned) l = open_dir(d);
        g_autofree char *readme = g_build_filename(d->learned, "README", NULL);

        assert_true(g_file_set_contents(readme, "", 0, NULL));
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                if (g_uuid_string_is_valid(cases[i].name))
                        save(l, d, cases[i].name);
                set_age(d, cases[i].name, cases[i].age_sec);
        }
        mlg_learned_drop_old(l, 5); /* a clock that was not set yet */
        assert_true(is_there(d, cases[3].name));
        mlg_learned_drop_old(l, NOW_SEC);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                print_message("%s\n", cases[i].name);
                assert_int_equal(is_there(d, cases[i].name), cases[i].stays);
        }
}

static void name_of(int i, char ret[static MLG_UUID_LEN + 1]) {
        g_snprintf(ret, MLG_UUID_LEN + 1, "00000000-0000-0000-0000-%012d", i);
}

static unsigned int count(const Dir *d) {
        GDir *dir = g_dir_open(d->learned, 0, NULL);
        unsigned int n = 0;

        while (g_dir_read_name(dir))
                n++;
        g_dir_close(dir);
        return n;
}

/* However many guests come and go, the files do not become more; the oldest go. */
static void test_limit(void **state) {
        Dir *d = *state;
        g_autoptr(MlgLearned) l = open_dir(d);
        char uuid[MLG_UUID_LEN + 1];

        for (int i = 0; i < MLG_LEARNED_FILES_MAX; i++) {
                name_of(i, uuid);
                save(l, d, uuid);
                set_age(d, uuid, i == 17 ? 5000 : 1000);
        }
        assert_int_equal(count(d), MLG_LEARNED_FILES_MAX);
        l = mlg_learned_free(l);
        l = open_dir(d);
        save(l, d, uuid); /* one that is there */
        assert_int_equal(count(d), MLG_LEARNED_FILES_MAX);
        save(l, d, UUID_A);
        assert_true(count(d) < MLG_LEARNED_FILES_MAX);
        assert_true(count(d) >= MLG_LEARNED_FILES_MAX * 9 / 10);
        name_of(17, uuid);
        assert_false(is_there(d, uuid));
        assert_true(is_there(d, UUID_A));
        for (int i = 0; i < MLG_LEARNED_FILES_MAX / 2; i++) {
                name_of(100000 + i, uuid);
                save(l, d, uuid);
        }
        assert_true(count(d) <= MLG_LEARNED_FILES_MAX);
        assert_true(is_there(d, UUID_A) && is_there(d, uuid));
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_DIR(test_round_trip),
                IN_DIR(test_registered),
                IN_DIR(test_damage),
                IN_DIR(test_strange_files),
                IN_DIR(test_other_predictors),
                IN_DIR(test_not_writable),
                IN_DIR(test_nothing_kept),
                IN_DIR(test_drop_old),
                IN_DIR(test_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
