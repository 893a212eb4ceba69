/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe, the host's end: the region, and how a quota is shared. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "group-rig.h"
#include "mempipe/core/region.h"
#include "mempipe/region.h"
#include "mempipe/sharing.h"

/* ---- region ---- */

static uint8_t *map_all(const MlgPipeRegion *r) {
        uint8_t *p = mmap(NULL, mlg_pipe_region_bytes(r), PROT_READ | PROT_WRITE, MAP_SHARED, mlg_pipe_region_fd(r), 0);

        assert_ptr_not_equal(p, MAP_FAILED);
        return p;
}

static void test_region_layout(void **state) {
        g_autoptr(MlgPipeRegion) r = NULL;
        uint8_t *memory;
        const struct mlg_pipe_header *h;

        assert_int_equal(mlg_pipe_region_new(REGION, 7, &r), 0);
        memory = map_all(r);
        h = (const struct mlg_pipe_header *) memory;
        assert_true(h->magic == MLG_PIPE_MAGIC);
        assert_int_equal(h->version, MLG_PIPE_VERSION);
        assert_int_equal(h->region_bytes, REGION);
        assert_int_equal(h->epoch, 7);
        assert_int_equal(h->n_chunks, (128 - 80) * 16);
        for (uint32_t c = 0; c < h->n_chunks; c++)
                assert_int_equal(memory[MLG_PIPE_OWNERS_AT + c], MLG_PIPE_NOBODY);
        assert_true(mlg_pipe_region_backed_bytes(r) < MIB);
        /* A member cannot cut off what others have mapped. */
        assert_int_equal(ftruncate(mlg_pipe_region_fd(r), 4096), -1);
        assert_int_equal(ftruncate(mlg_pipe_region_fd(r), 2 * (off_t) REGION), -1);
        assert_int_equal(fcntl(mlg_pipe_region_fd(r), F_ADD_SEALS, F_SEAL_WRITE), -1);
        assert_int_equal(munmap(memory, REGION), 0);
}

static void test_region_sizes(void **state) {
        static const uint64_t bad[] = { 0, MIB, 64 * MIB, REGION + 1, 192 * MIB, 32768 * MIB, UINT64_MAX };
        static const uint64_t good[] = { REGION, 1024 * MIB, MLG_PIPE_REGION_MAX };
        MlgPipeRegion *r;

        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                assert_int_equal(mlg_pipe_region_new(bad[i], 1, &r), -EINVAL);
        for (size_t i = 0; i < G_N_ELEMENTS(good); i++) {
                assert_int_equal(mlg_pipe_region_new(good[i], 1, &r), 0);
                assert_true(mlg_pipe_region_n_chunks(r) <= MLG_PIPE_CHUNKS_MAX);
                assert_true(mlg_pipe_region_backed_bytes(r) < MIB);
                (void) mlg_pipe_region_free(r);
        }
}

static void test_region_chunks(void **state) {
        g_autoptr(MlgPipeRegion) r = NULL;
        uint64_t before, full;
        uint32_t first, other;
        uint8_t *memory;

        assert_int_equal(mlg_pipe_region_new(REGION, 1, &r), 0);
        memory = map_all(r);
        mlg_pipe_region_join(r, 3);
        mlg_pipe_region_join(r, 4);
        before = mlg_pipe_region_backed_bytes(r);
        assert_int_equal(mlg_pipe_region_grant(r, 3, 20, &first), 20);
        assert_int_equal(mlg_pipe_region_grant(r, 4, 5, &other), 5);
        assert_int_equal(other, first + 20);
        assert_int_equal(memory[MLG_PIPE_OWNERS_AT + first], 3);
        assert_int_equal(memory[MLG_PIPE_OWNERS_AT + other], 4);
        memset(chunk_of(memory, first), 1, 25 << MLG_PIPE_CHUNK_SHIFT);
        full = mlg_pipe_region_backed_bytes(r);
        assert_true(full >= before + (25 << MLG_PIPE_CHUNK_SHIFT));

        /* What is not its own, in whole or in part, it cannot return. */
        assert_int_equal(mlg_pipe_region_take_back(r, 3, first + 19, 2), -EPERM);
        assert_int_equal(mlg_pipe_region_take_back(r, 3, other, 1), -EPERM);
        assert_int_equal(mlg_pipe_region_take_back(r, 3, first, 0), -EPERM);
        assert_int_equal(mlg_pipe_region_take_back(r, 3, UINT32_MAX, 2), -EPERM);
        assert_int_equal(mlg_pipe_region_take_back(r, 3, 1, UINT32_MAX), -EPERM);
        assert_int_equal(mlg_pipe_region_granted_to_all(r), 25);

        assert_int_equal(mlg_pipe_region_take_back(r, 3, first + 5, 10), 0);
        assert_int_equal(mlg_pipe_region_granted(r, 3), 10);
        assert_true(mlg_pipe_region_backed_bytes(r) <= full - (10 << MLG_PIPE_CHUNK_SHIFT));
        assert_int_equal(chunk_of(memory, first + 4)[0], 1);
        assert_int_equal(chunk_of(memory, first + 5)[0], 0);
        assert_int_equal(chunk_of(memory, first + 15)[0], 1);
        /* A hole between others is granted as far as it goes. */
        assert_int_equal(mlg_pipe_region_grant(r, 4, 100, &other), 10);
        assert_int_equal(other, first + 5);

        mlg_pipe_region_leave(r, 3);
        assert_int_equal(mlg_pipe_region_granted(r, 3), 0);
        assert_int_equal(mlg_pipe_region_granted_to_all(r), 15);
        assert_int_equal(chunk_of(memory, first)[0], 0);
        assert_int_equal(chunk_of(memory, first + 20)[0], 1);
        assert_int_equal(memory[MLG_PIPE_OWNERS_AT + first], MLG_PIPE_NOBODY);
        assert_int_equal(munmap(memory, REGION), 0);
}

static void test_region_all_chunks(void **state) {
        g_autoptr(MlgPipeRegion) r = NULL;
        uint32_t first, n;

        assert_int_equal(mlg_pipe_region_new(REGION, 1, &r), 0);
        n = mlg_pipe_region_n_chunks(r);
        mlg_pipe_region_join(r, 1);
        assert_int_equal(mlg_pipe_region_grant(r, 1, UINT32_MAX, &first), n);
        assert_int_equal(mlg_pipe_region_grant(r, 1, 1, &first), 0);
        assert_int_equal(mlg_pipe_region_take_back(r, 1, n - 1, 1), 0);
        assert_int_equal(mlg_pipe_region_grant(r, 1, 2, &first), 1);
        assert_int_equal(first, n - 1);
        mlg_pipe_region_leave(r, 1);
        assert_int_equal(mlg_pipe_region_granted_to_all(r), 0);
}

/* A member writes over everything, the host's tables included: the host's own knowledge is not touched. */
static void test_region_hostile(void **state) {
        g_autoptr(MlgPipeRegion) r = NULL;
        struct mlg_pipe_message m;
        MlgPipeWord word;
        uint32_t first;
        uint8_t *memory;

        assert_int_equal(mlg_pipe_region_new(REGION, 1, &r), 0);
        memory = map_all(r);
        mlg_pipe_region_join(r, 1);
        assert_int_equal(mlg_pipe_region_grant(r, 1, 4, &first), 4);
        mlg_pipe_region_set_target(r, 1, 4);
        memset(memory, 0xa5, MLG_PIPE_SLOTS_AT);
        assert_int_equal(mlg_pipe_region_granted(r, 1), 4);
        assert_int_equal(mlg_pipe_region_target(r, 1), 4);
        assert_int_equal(mlg_pipe_region_state(r, 1), MLG_PIPE_PRESENT);
        mlg_pipe_region_read_word(r, 1, &word);
        assert_int_equal(word.version, 0); /* not of this epoch */
        assert_true(word.demand_chunks <= mlg_pipe_region_n_chunks(r));
        assert_true(word.held_chunks <= mlg_pipe_region_n_chunks(r));
        assert_false(mlg_pipe_region_receive(r, 1, &m)); /* skipped */
        assert_false(mlg_pipe_region_receive(r, 1, &m));
        assert_int_equal(mlg_pipe_region_room(r, 1), 0);
        assert_int_equal(mlg_pipe_region_send(r, 1, &(struct mlg_pipe_message) {}, &(bool) { false }), -EAGAIN);
        /* Where nothing was granted. */
        memset(chunk_of(memory, first + 2), 1, 6 << MLG_PIPE_CHUNK_SHIFT);
        assert_int_equal(mlg_pipe_region_sweep(r), 4 << MLG_PIPE_CHUNK_SHIFT);
        assert_int_equal(chunk_of(memory, first + 3)[0], 1);
        assert_int_equal(chunk_of(memory, first + 4)[0], 0);
        mlg_pipe_region_leave(r, 1);
        assert_int_equal(mlg_pipe_region_granted_to_all(r), 0);
        assert_int_equal(munmap(memory, REGION), 0);
}

/* Memory in tables of those who are not there is taken back; of those who are it stays. */
static void test_region_tables(void **state) {
        g_autoptr(MlgPipeRegion) r = NULL;
        uint64_t before;
        uint8_t *memory;

        assert_int_equal(mlg_pipe_region_new(REGION, 1, &r), 0);
        memory = map_all(r);
        mlg_pipe_region_join(r, 1);
        mlg_pipe_region_join(r, 5);
        before = mlg_pipe_region_backed_bytes(r);
        memset(memory + MLG_PIPE_SECTIONS_AT, 7, MLG_PIPE_CHUNKS_AT - MLG_PIPE_SECTIONS_AT);
        assert_true(mlg_pipe_region_backed_bytes(r) > 78 * MIB);
        assert_int_equal(mlg_pipe_region_sweep(r), 0); /* no chunk */
        /* slots of two, sections and pairs of three, owners, and what there was before */
        assert_true(mlg_pipe_region_backed_bytes(r) <= before + 4 * MIB + 32 * 4096);
        assert_int_equal(((const uint8_t *) mp_section(memory, 5))[0], 7);
        assert_int_equal(((const uint8_t *) mp_section(memory, 4))[0], 0);
        assert_int_equal(((const uint8_t *) mp_pair(memory, 1, 5))[4095], 7);
        assert_int_equal(((const uint8_t *) mp_pair(memory, 1, 6))[0], 0);
        assert_int_equal(((const uint8_t *) mp_pair(memory, 4, 5))[0], 0);
        assert_int_equal(((const uint8_t *) mp_slot(memory, 5, 1023))[2047], 7);
        assert_int_equal(((const uint8_t *) mp_slot(memory, 0, 0))[0], 0);
        assert_int_equal(((const uint8_t *) mp_slot(memory, 6, 0))[0], 0);
        assert_int_equal(munmap(memory, REGION), 0);
}

/* Nothing of it is read back, so it can be put right. */
static void test_region_mend(void **state) {
        g_autoptr(MlgPipeRegion) r = NULL;
        uint8_t *memory, *before;
        uint32_t first;

        assert_int_equal(mlg_pipe_region_new(REGION, 7, &r), 0);
        memory = map_all(r);
        mlg_pipe_region_join(r, 3);
        mlg_pipe_region_rejoin(r, 3, 99);
        mlg_pipe_region_set_target(r, 3, 17);
        assert_int_equal(mlg_pipe_region_grant(r, 3, 5, &first), 5);
        assert_false(mlg_pipe_region_mend(r));
        before = g_memdup2(memory, MLG_PIPE_PAIRS_AT);
        for (uint64_t at = 0; at < MLG_PIPE_SECTIONS_AT; at += 4) { /* one word after the other */
                memory[at] ^= 0x55;
                (void) mlg_pipe_region_mend(r);
        }
        for (uint32_t id = 0; id < MLG_PIPE_PEERS; id++)
                assert_memory_equal(memory + MLG_PIPE_PEERS_AT + id * sizeof(struct mlg_pipe_peer),
                                    before + MLG_PIPE_PEERS_AT + id * sizeof(struct mlg_pipe_peer), 16);
        assert_memory_equal(memory, before, offsetof(struct mlg_pipe_header, alive));
        memset(memory + MLG_PIPE_OWNERS_AT, 3, 64);
        assert_true(mlg_pipe_region_mend(r));
        assert_memory_equal(memory + MLG_PIPE_OWNERS_AT, before + MLG_PIPE_OWNERS_AT, 64);
        assert_false(mlg_pipe_region_mend(r));
        g_free(before);
        (void) munmap(memory, REGION);
}

static void test_region_adopt(void **state) {
        MlgPipeRegion *r, *next;
        uint32_t first;
        int fd, truth;

        assert_int_equal(mlg_pipe_region_new(REGION, 9, &r), 0);
        mlg_pipe_region_join(r, 2);
        mlg_pipe_region_join(r, 2);
        assert_int_equal(mlg_pipe_region_grant(r, 2, 7, &first), 7);
        fd = dup(mlg_pipe_region_fd(r));
        truth = dup(mlg_pipe_region_truth_fd(r));
        (void) mlg_pipe_region_free(r);

        assert_int_equal(mlg_pipe_region_adopt(truth, fd, &next), -EBADMSG);
        assert_int_equal(mlg_pipe_region_adopt(fd, fd, &next), -EBADMSG);
        assert_int_equal(mlg_pipe_region_adopt(fd, truth, &next), 0);
        assert_int_equal(mlg_pipe_region_epoch(next), 9);
        assert_int_equal(mlg_pipe_region_peer_epoch(next, 2), 2);
        assert_int_equal(mlg_pipe_region_state(next, 2), MLG_PIPE_PRESENT);
        assert_int_equal(mlg_pipe_region_granted(next, 2), 7);
        assert_int_equal(mlg_pipe_region_take_back(next, 2, first, 7), 0);
        (void) mlg_pipe_region_free(next);
}

/* ---- sharing ---- */

static void test_sharing(void **state) {
        static const struct {
                uint32_t n, quota, demands[4], targets[4];
        } rows[] = {
                { 0, 100, {}, {} },
                { 1, 100, { 0 }, { 16 } },
                { 1, 8, { 0 }, { 8 } },
                { 1, 100, { 90 }, { 90 } },
                { 1, 100, { 1000 }, { 100 } },
                { 2, 100, { 0, 0 }, { 16, 16 } },
                { 2, 100, { 0, 1000 }, { 16, 84 } },
                { 2, 100, { 50, 50 }, { 50, 50 } },
                { 2, 200, { 100, 184 }, { 72, 128 } }, /* 168 above the floors, 1 : 2 */
                { 2, 100, { 1000, 9999 }, { 50, 50 } }, /* nobody can want more than there is */
                { 3, 2, { 5, 5, 5 }, { 0, 1, 1 } },
                { 4, 64, { 1, 2, 3, 1000000 }, { 16, 16, 16, 16 } },
                { 2, 262144, { 262144, 262144 }, { 131072, 131072 } },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                MlgPipeClaim claims[4] = {};
                uint64_t sum = 0;

                for (uint32_t k = 0; k < rows[i].n; k++)
                        claims[k].demand_chunks = rows[i].demands[k];
                mlg_pipe_share(claims, rows[i].n, rows[i].quota, SEC);
                for (uint32_t k = 0; k < rows[i].n; k++) {
                        if (claims[k].target_chunks != rows[i].targets[k])
                                fail_msg("row %zu, member %u: expected %u, got %u", i, k, rows[i].targets[k],
                                         claims[k].target_chunks);
                        sum += claims[k].target_chunks;
                }
                assert_true(sum <= rows[i].quota);
        }
}

static void test_sharing_falls_slowly(void **state) {
        MlgPipeClaim c = { .demand_chunks = 1000 };

        mlg_pipe_share(&c, 1, 4096, 100000);
        assert_int_equal(c.target_chunks, 1000);
        c.demand_chunks = 0;
        mlg_pipe_share(&c, 1, 4096, MLG_PIPE_HALF_LIFE_USEC);
        assert_int_equal(c.target_chunks, 500);
        for (int i = 0; i < 10; i++)
                mlg_pipe_share(&c, 1, 4096, MLG_PIPE_HALF_LIFE_USEC / 10);
        assert_in_range(c.target_chunks, 230, 310); /* ten small steps are about one large */
        c.demand_chunks = 400;
        mlg_pipe_share(&c, 1, 4096, 1);
        assert_int_equal(c.target_chunks, 400);
        c.demand_chunks = 0;
        mlg_pipe_share(&c, 1, 4096, 100 * SEC);
        assert_int_equal(c.target_chunks, 16);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_region_layout),
                cmocka_unit_test(test_region_sizes),
                cmocka_unit_test(test_region_chunks),
                cmocka_unit_test(test_region_all_chunks),
                cmocka_unit_test(test_region_hostile),
                cmocka_unit_test(test_region_tables),
                cmocka_unit_test(test_region_mend),
                cmocka_unit_test(test_region_adopt),
                cmocka_unit_test(test_sharing),
                cmocka_unit_test(test_sharing_falls_slowly),
        };

        return cmocka_run_group_tests_name("mempipe-region", tests, NULL, NULL);
}
