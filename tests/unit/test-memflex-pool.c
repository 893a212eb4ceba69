/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemFlex, the pool of one guest: what is lent is backed, what comes back is punched out, and a guest that
 * writes everything everywhere changes nothing of what the host knows. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "memflex/pool.h"
#include "util/util.h"

#define MIB UINT64_C(1048576)
#define POOL (64 * MIB)
#define CHUNK MLG_FLEX_CHUNK_BYTES

typedef struct Rig {
        MlgFlexPool *pool;
        uint8_t *memory; /* as the guest has it */
} Rig;

static void start(Rig *r, uint64_t bytes) {
        assert_int_equal(mlg_flex_pool_new(bytes, &r->pool), 0);
        r->memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                         mlg_flex_pool_fd(r->pool), 0);
        assert_ptr_not_equal(r->memory, MAP_FAILED);
}

static void stop(Rig *r) {
        assert_int_equal(munmap(r->memory, mlg_flex_pool_bytes(r->pool)), 0);
        (void) mlg_flex_pool_free(r->pool);
}

static struct mlg_flex_header *header(const Rig *r) {
        return (struct mlg_flex_header *) (void *) r->memory;
}

static struct mlg_flex_section *section(const Rig *r) {
        return (struct mlg_flex_section *) (void *) (r->memory + MLG_FLEX_SECTION_AT);
}

static uint8_t *lent(const Rig *r) {
        return r->memory + MLG_FLEX_LENT_AT;
}

static uint8_t *back(const Rig *r) {
        return r->memory + MLG_FLEX_BACK_AT;
}

static uint8_t *chunk(const Rig *r, uint32_t c) {
        return r->memory + MLG_FLEX_CHUNKS_AT + (uint64_t) c * CHUNK;
}

static void give_back(const Rig *r, uint32_t c) {
        back(r)[c] = lent(r)[c];
}

static uint32_t lend(const Rig *r, uint32_t n) {
        int error;
        uint32_t got = mlg_flex_pool_lend(r->pool, n, &error);

        assert_int_equal(error, 0);
        return got;
}

static uint64_t backed_chunks(const Rig *r) { /* tables are less than one */
        return mlg_flex_pool_backed_bytes(r->pool) / CHUNK;
}

static void test_layout(void **state) {
        static const uint64_t bad[] = { 0,         MIB, 8 * MIB, POOL + 1, 48 * MIB, 2 * MLG_FLEX_POOL_MAX,
                                        UINT64_MAX };
        MlgFlexPool *p;
        Rig r;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                assert_int_equal(mlg_flex_pool_new(bad[i], &p), -EINVAL);
        for (uint64_t bytes = MLG_FLEX_POOL_MIN; bytes <= MLG_FLEX_POOL_MAX; bytes *= 2) {
                assert_int_equal(mlg_flex_pool_new(bytes, &p), 0);
                assert_true(mlg_flex_pool_n_chunks(p) <= MLG_FLEX_CHUNKS_MAX);
                assert_true(mlg_flex_pool_backed_bytes(p) < MIB);
                (void) mlg_flex_pool_free(p);
        }
        start(&r, POOL);
        assert_true(header(&r)->magic == MLG_FLEX_MAGIC);
        assert_int_equal(header(&r)->version, MLG_FLEX_VERSION);
        assert_int_equal(header(&r)->pool_bytes, POOL);
        assert_int_equal(header(&r)->n_chunks, 63 * 4);
        assert_int_equal(header(&r)->epoch, 1);
        assert_int_equal(header(&r)->target_chunks, 0);
        mlg_flex_pool_set_terms(r.pool, 1000, 5000);
        mlg_flex_pool_set_target(r.pool, 7);
        assert_int_equal(header(&r)->quota_chunks, 63 * 4);
        assert_int_equal(header(&r)->callback_msec, 5000);
        assert_int_equal(header(&r)->target_chunks, 7);
        /* Nobody's memory can be cut off. */
        assert_int_equal(ftruncate(mlg_flex_pool_fd(r.pool), 4096), -1);
        assert_int_equal(ftruncate(mlg_flex_pool_fd(r.pool), 2 * (off_t) POOL), -1);
        stop(&r);
}

static void test_lend_and_return(void **state) {
        Rig r;

        start(&r, POOL);
        assert_int_equal(lend(&r, 20), 20);
        assert_int_equal(mlg_flex_pool_lent(r.pool), 20);
        assert_int_equal(backed_chunks(&r), 20); /* before anybody has touched them */
        for (uint32_t c = 0; c < 20; c++) {
                assert_int_equal(lent(&r)[c], 1);
                memset(chunk(&r, c), 7, CHUNK);
        }
        assert_int_equal(lent(&r)[20], 0);
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 0);

        for (uint32_t c = 3; c < 9; c++)
                give_back(&r, c);
        give_back(&r, 19);
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 7);
        assert_int_equal(mlg_flex_pool_lent(r.pool), 13);
        assert_int_equal(backed_chunks(&r), 13);
        assert_int_equal(lent(&r)[3], 0);
        assert_int_equal(chunk(&r, 2)[CHUNK - 1], 7);
        assert_int_equal(chunk(&r, 9)[0], 7);
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 0);

        /* The holes are filled first, with another number than the guest has said. */
        assert_int_equal(lend(&r, 7), 7);
        for (uint32_t c = 3; c < 9; c++) {
                assert_int_equal(lent(&r)[c], 2);
                assert_int_equal(chunk(&r, c)[0], 0);
        }
        assert_int_equal(lent(&r)[19], 2);
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 0);
        stop(&r);
}

static void test_numbers_wrap(void **state) {
        Rig r;

        start(&r, MLG_FLEX_POOL_MIN);
        for (int i = 0; i < 600; i++) {
                uint8_t before = back(&r)[0];

                assert_int_equal(lend(&r, 1), 1);
                assert_int_not_equal(lent(&r)[0], 0);
                assert_int_not_equal(lent(&r)[0], before);
                give_back(&r, 0);
                assert_int_equal(mlg_flex_pool_take_returned(r.pool), 1);
        }
        stop(&r);
}

static void test_all_chunks(void **state) {
        uint32_t n;
        Rig r;

        start(&r, MLG_FLEX_POOL_MIN);
        n = mlg_flex_pool_n_chunks(r.pool);
        assert_int_equal(lend(&r, UINT32_MAX), n);
        assert_int_equal(lend(&r, 1), 0);
        give_back(&r, n - 1);
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 1);
        assert_int_equal(lend(&r, 5), 1);
        assert_int_not_equal(lent(&r)[n - 1], 0);
        for (uint32_t c = 0; c < n; c++)
                give_back(&r, c);
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), n);
        assert_int_equal(backed_chunks(&r), 0);
        stop(&r);
}

static void say(const Rig *r, uint32_t session, uint32_t want) {
        *section(r) = (struct mlg_flex_section){
                .version = MLG_FLEX_VERSION,
                .epoch = header(r)->epoch,
                .session = session,
                .want_chunks = want,
                .held_chunks = UINT32_MAX,
                .pool_pages = 5,
        };
}

static void test_session(void **state) {
        MlgFlexWord w;
        Rig r;

        start(&r, POOL);
        say(&r, 0x1234, 9);
        section(&r)->version = 0;
        mlg_flex_pool_read_word(r.pool, &w);
        assert_int_equal(w.version, 0);
        assert_int_equal(w.session, 0x1234);
        assert_int_equal(w.want_chunks, 0);
        (void) lend(&r, 8);
        memset(chunk(&r, 0), 1, 8 * CHUNK);
        give_back(&r, 5);
        mlg_flex_pool_begin(r.pool, 0x1234);
        assert_int_equal(header(&r)->epoch, 2);
        assert_int_equal(header(&r)->session, 0x1234);
        assert_int_equal(section(&r)->session, 0x1234); /* that is of the new one already */
        assert_int_equal(mlg_flex_pool_lent(r.pool), 0);
        assert_int_equal(backed_chunks(&r), 0);
        assert_int_equal(lent(&r)[0], 0);
        assert_int_equal(back(&r)[5], 0);
        assert_int_equal(chunk(&r, 7)[0], 0);
        say(&r, 0x1234, UINT32_MAX);
        mlg_flex_pool_read_word(r.pool, &w);
        assert_int_equal(w.version, MLG_FLEX_VERSION);
        assert_int_equal(w.want_chunks, mlg_flex_pool_n_chunks(r.pool));
        assert_int_equal(w.held_chunks, mlg_flex_pool_n_chunks(r.pool));
        assert_int_equal(w.pool_pages, 5);

        mlg_flex_pool_clear(r.pool);
        assert_int_equal(header(&r)->epoch, 3);
        assert_int_equal(header(&r)->session, 0);
        assert_int_equal(section(&r)->session, 0);
        stop(&r);
}

/* The guest writes everything everywhere. */
static void test_hostile(void **state) {
        uint64_t swept;
        MlgFlexWord w;
        Rig r;

        start(&r, POOL);
        mlg_flex_pool_set_terms(r.pool, 100, 5000);
        mlg_flex_pool_set_target(r.pool, 10);
        (void) lend(&r, 10);
        memset(chunk(&r, 0), 0x55, 10 * CHUNK);
        give_back(&r, 4);
        (void) mlg_flex_pool_take_returned(r.pool);
        for (uint64_t at = 0; at < POOL; at += 4096) /* every page */
                if (at < MLG_FLEX_BACK_AT || at >= MLG_FLEX_CHUNKS_AT + 10 * CHUNK)
                        memset(r.memory + at, 0xa5, 64);
        assert_true(mlg_flex_pool_backed_bytes(r.pool) > POOL - 2 * MIB);

        assert_int_equal(mlg_flex_pool_lent(r.pool), 9);
        assert_int_equal(mlg_flex_pool_target(r.pool), 10);
        mlg_flex_pool_read_word(r.pool, &w);
        assert_int_equal(w.version, 0); /* not of this epoch */
        assert_int_equal(w.want_chunks, 0);
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 0);
        swept = mlg_flex_pool_sweep(r.pool);
        assert_true(swept > POOL - 5 * MIB);
        assert_true(mlg_flex_pool_backed_bytes(r.pool) <= 9 * CHUNK + MIB);
        assert_int_equal(mlg_flex_pool_sweep(r.pool), 0);
        for (uint32_t c = 0; c < 12; c++)
                assert_int_equal(chunk(&r, c)[0], c < 10 && c != 4 ? 0x55 : 0);
        assert_true(mlg_flex_pool_mend(r.pool));
        assert_false(mlg_flex_pool_mend(r.pool));
        assert_true(header(&r)->magic == MLG_FLEX_MAGIC);
        assert_int_equal(header(&r)->target_chunks, 10);
        assert_int_equal(header(&r)->quota_chunks, 100);
        for (uint32_t c = 0; c < 64; c++)
                assert_int_equal(lent(&r)[c], c < 10 && c != 4 ? 1 : 0);

        /* Says of chunks that are not its own that it gives them back, and of its own with wrong numbers. */
        memset(back(&r), 9, mlg_flex_pool_n_chunks(r.pool));
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 0);
        memset(back(&r), 0, mlg_flex_pool_n_chunks(r.pool));
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 0);
        memset(back(&r), 1, mlg_flex_pool_n_chunks(r.pool));
        assert_int_equal(mlg_flex_pool_take_returned(r.pool), 9);
        assert_int_equal(backed_chunks(&r) * CHUNK <= MIB, 1);
        stop(&r);
}

/* Each word of the header, one after the other. */
static void test_mend(void **state) {
        struct mlg_flex_header before;
        Rig r;

        start(&r, POOL);
        mlg_flex_pool_set_terms(r.pool, 100, 5000);
        mlg_flex_pool_set_target(r.pool, 10);
        mlg_flex_pool_begin(r.pool, 77);
        assert_false(mlg_flex_pool_mend(r.pool));
        before = *header(&r);
        for (size_t at = 0; at < offsetof(struct mlg_flex_header, alive); at += 4) {
                r.memory[at] ^= 0x55;
                assert_true(mlg_flex_pool_mend(r.pool));
                assert_memory_equal(r.memory, &before, sizeof(before));
        }
        stop(&r);
}

/* By whoever is started anew, at any instruction: here between the truth and what the guest is shown. */
static void test_adopt(void **state) {
        MlgFlexPool *next;
        int fd, truth;
        Rig r;

        start(&r, POOL);
        mlg_flex_pool_begin(r.pool, 5);
        mlg_flex_pool_set_target(r.pool, 30);
        (void) lend(&r, 30);
        give_back(&r, 3);
        (void) mlg_flex_pool_take_returned(r.pool);
        give_back(&r, 8);
        memset(chunk(&r, 9), 3, CHUNK);
        lent(&r)[20] = 0;
        lent(&r)[3] = 1;
        fd = fcntl(mlg_flex_pool_fd(r.pool), F_DUPFD_CLOEXEC, 3);
        truth = fcntl(mlg_flex_pool_truth_fd(r.pool), F_DUPFD_CLOEXEC, 3);
        assert_int_equal(mlg_flex_pool_adopt(truth, fd, &next), -EBADMSG);
        assert_int_equal(mlg_flex_pool_adopt(fd, fd, &next), -EBADMSG);
        assert_int_equal(mlg_flex_pool_adopt(fd, truth, &next), 0);
        (void) mlg_flex_pool_free(r.pool);
        r.pool = next;
        assert_int_equal(mlg_flex_pool_lent(next), 29);
        assert_int_equal(mlg_flex_pool_epoch(next), 2);
        assert_int_equal(mlg_flex_pool_session(next), 5);
        assert_int_equal(mlg_flex_pool_target(next), 30);
        assert_int_equal(lent(&r)[20], 1);
        assert_int_equal(lent(&r)[3], 0);
        assert_int_equal(mlg_flex_pool_take_returned(next), 1);
        assert_int_equal(chunk(&r, 9)[0], 3);
        assert_int_equal(lend(&r, 2), 2);
        assert_int_equal(lent(&r)[3], 2);
        assert_int_equal(lent(&r)[8], 2);
        stop(&r);
}

/* ---- against a model ---- */

#define MODEL_CHUNKS 60 /* of the smallest pool */

typedef struct Model {
        uint8_t lent[MODEL_CHUNKS],
                marks[MODEL_CHUNKS]; /* mark: the first byte of a chunk that the guest holds */
} Model;

static void check_model(const Rig *r, const Model *m) {
        uint32_t n = 0;

        for (uint32_t c = 0; c < MODEL_CHUNKS; c++) {
                n += m->lent[c] > 0;
                assert_int_equal(lent(r)[c], m->lent[c]);
                if (m->lent[c] && m->lent[c] != back(r)[c])
                        assert_int_equal(chunk(r, c)[0], m->marks[c]);
        }
        assert_int_equal(mlg_flex_pool_lent(r->pool), n);
        assert_in_range(mlg_flex_pool_backed_bytes(r->pool), (uint64_t) n * CHUNK,
                        (uint64_t) n * CHUNK + MIB);
}

/* The host lends; each new chunk is empty, and the guest writes its mark there. */
static void model_lend(const Rig *r, Model *m, uint32_t n, uint32_t *mark) {
        (void) lend(r, n);
        for (uint32_t c = 0; c < MODEL_CHUNKS; c++)
                if (lent(r)[c] && !m->lent[c]) {
                        assert_int_not_equal(lent(r)[c], back(r)[c]);
                        assert_int_equal(chunk(r, c)[0], 0);
                        m->lent[c] = lent(r)[c];
                        m->marks[c] = (uint8_t) (++*mark % 255 + 1);
                        chunk(r, c)[0] = m->marks[c];
                }
}

static void model_take(const Rig *r, Model *m) {
        uint32_t n = 0;

        for (uint32_t c = 0; c < MODEL_CHUNKS; c++)
                if (m->lent[c] && m->lent[c] == back(r)[c]) {
                        m->lent[c] = 0;
                        n++;
                }
        assert_int_equal(mlg_flex_pool_take_returned(r->pool), n);
}

static void test_random(void **state) {
        GRand *rand = g_rand_new_with_seed(20261128);
        uint32_t mark = 0;
        Model m = {};
        Rig r;

        start(&r, MLG_FLEX_POOL_MIN);
        assert_int_equal(mlg_flex_pool_n_chunks(r.pool), MODEL_CHUNKS);
        for (int i = 0; i < 20000; i++) {
                uint32_t c = (uint32_t) g_rand_int_range(rand, 0, MODEL_CHUNKS);

                switch (g_rand_int_range(rand, 0, 8)) {
                case 0:
                        model_lend(&r, &m, c % 16, &mark);
                        break;
                case 1:
                        model_take(&r, &m);
                        break;
                case 2:
                        chunk(&r, c)[4096] = 1; /* maybe it is not lent */
                        (void) mlg_flex_pool_sweep(r.pool);
                        break;
                case 3:
                        if (i % 50 == 0) {
                                mlg_flex_pool_begin(r.pool, (uint32_t) i + 1);
                                m = (Model){};
                        }
                        break;
                default:
                        if (m.lent[c])
                                give_back(&r, c);
                }
                check_model(&r, &m);
        }
        g_rand_free(rand);
        stop(&r);
}

/* ---- what it costs ---- */

/* All of 64 GiB is said to be lent, in a truth made by hand, as so much memory is not here. */
static void test_cost(void **state) {
        MlgFlexPool *all;
        uint8_t *truth;
        uint32_t n, offset;
        int64_t before, scan_usec, idle_usec;
        Rig r;

        start(&r, MLG_FLEX_POOL_MAX);
        n = mlg_flex_pool_n_chunks(r.pool);
        offset = (uint32_t) (lseek(mlg_flex_pool_truth_fd(r.pool), 0, SEEK_END) - (off_t) ((n + 7) / 8 * 8));
        truth = mmap(NULL, offset + n, PROT_READ | PROT_WRITE, MAP_SHARED, mlg_flex_pool_truth_fd(r.pool),
                     0);
        assert_ptr_not_equal(truth, MAP_FAILED);
        memset(truth + offset, 1, n);
        assert_int_equal(mlg_flex_pool_adopt(fcntl(mlg_flex_pool_fd(r.pool), F_DUPFD_CLOEXEC, 3),
                                             fcntl(mlg_flex_pool_truth_fd(r.pool), F_DUPFD_CLOEXEC, 3),
                                             &all),
                         0);
        assert_int_equal(mlg_flex_pool_lent(all), n);
        assert_int_equal(mlg_flex_pool_take_returned(all), 0); /* the guest's table comes into being */
        before = g_get_monotonic_time();
        for (int i = 0; i < 100; i++)
                assert_int_equal(mlg_flex_pool_take_returned(all), 0);
        scan_usec = (g_get_monotonic_time() - before) / 100;
        for (uint32_t c = 0; c < n; c += 1000)
                back(&r)[c] = 1;
        assert_int_equal(mlg_flex_pool_take_returned(all), (n + 999) / 1000);
        before = g_get_monotonic_time();
        for (int i = 0; i < 100; i++)
                assert_int_equal(mlg_flex_pool_sweep(all), 0);
        idle_usec = (g_get_monotonic_time() - before) / 100;
        printf("64 GiB, all lent: looking for what came back %" PRId64 " us, a sweep in vain %" PRId64
               " us\n",
               scan_usec, idle_usec);
        assert_in_range(scan_usec, 0, 20000);
        assert_int_equal(munmap(truth, offset + n), 0);
        (void) mlg_flex_pool_free(all);
        stop(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_layout),       cmocka_unit_test(test_lend_and_return),
                cmocka_unit_test(test_numbers_wrap), cmocka_unit_test(test_all_chunks),
                cmocka_unit_test(test_session),      cmocka_unit_test(test_hostile),
                cmocka_unit_test(test_mend),         cmocka_unit_test(test_adopt),
                cmocka_unit_test(test_random),       cmocka_unit_test(test_cost),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
