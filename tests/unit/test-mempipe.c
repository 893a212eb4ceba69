/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe, the host's end: region, sharing, and a group with clients that speak QEMU's part of the ivshmem protocol, or
 * do not; time is the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "memlego/mempipe-abi.h"
#include "mempipe/core/region.h"
#include "mempipe/group.h"
#include "mempipe/region.h"
#include "mempipe/sharing.h"
#include "util/util.h"

#define MIB UINT64_C(1048576)
#define REGION (128 * MIB)
#define SEC MLG_USEC_PER_SEC

/* ---- region ---- */

static uint8_t *map_all(const MlgPipeRegion *r) {
        uint8_t *p = mmap(NULL, mlg_pipe_region_bytes(r), PROT_READ | PROT_WRITE, MAP_SHARED, mlg_pipe_region_fd(r), 0);

        assert_ptr_not_equal(p, MAP_FAILED);
        return p;
}

static uint8_t *chunk_of(uint8_t *memory, uint32_t n) {
        return memory + MLG_PIPE_CHUNKS_AT + ((uint64_t) n << MLG_PIPE_CHUNK_SHIFT);
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

/* ---- group ---- */

typedef struct Fixture {
        char *dir, *path;
        MlgPipeGroup *g;
        uint64_t now_usec;
        unsigned int n_joins, n_leaves, n_complaints;
        char last_complaint[256];
        uint64_t room_bytes, charge_bytes;
        bool refuse;
        MlgPipeKept kept;      /* as the service manager has it */
} Fixture;

static bool on_join(uint32_t id, pid_t pid, void *userdata) {
        Fixture *f = userdata;

        assert_in_range(id, 1, MLG_PIPE_PEERS - 1);
        assert_int_equal(pid, getpid());
        f->n_joins += !f->refuse;
        return !f->refuse;
}

static void on_leave(uint32_t id, void *userdata) {
        ((Fixture *) userdata)->n_leaves++;
}

/* As the ledger: what is promised is taken off the room at once. */
static uint64_t on_grant(uint64_t to_bytes, void *userdata) {
        Fixture *f = userdata;
        uint64_t more = mlg_min(mlg_sub_sat(to_bytes, f->charge_bytes), f->room_bytes);

        f->charge_bytes += more;
        f->room_bytes -= more;
        return f->charge_bytes;
}

static void on_charge(uint64_t bytes, void *userdata) {
        Fixture *f = userdata;

        f->room_bytes = mlg_sub_sat(f->room_bytes + f->charge_bytes, bytes);
        f->charge_bytes = bytes;
}

static void on_complaint(pid_t pid, const char *what, void *userdata) {
        Fixture *f = userdata;

        f->n_complaints++;
        g_strlcpy(f->last_complaint, what, sizeof(f->last_complaint));
}

/* The service manager: a copy of each descriptor, by its name. */
static void on_keep(const char *name, int fd, void *userdata) {
        Fixture *f = userdata;
        MlgPipeKept found;
        int *places = (int *) &f->kept, *at = (int *) &found;

        mlg_pipe_kept_init(&found);
        assert_true(mlg_pipe_kept_add(&found, name, 1));
        assert_false(mlg_pipe_kept_add(&found, name, 1));
        for (size_t i = 0; i < sizeof(found) / sizeof(int); i++)
                if (at[i] == 1) {
                        mlg_close_fd(&places[i]);
                        places[i] = fd < 0 ? -1 : dup(fd);
                }
}

static const MlgPipeGroupCallbacks callbacks = {
        .on_join = on_join, .on_leave = on_leave, .on_grant = on_grant, .on_charge = on_charge, .on_complaint = on_complaint,
        .on_keep = on_keep,
};

static void start(Fixture *f, uint64_t region_bytes, uint64_t epoch, MlgPipeKept *kept) {
        MlgPipeGroupOptions o = {
                .path = f->path, .owner = getuid(), .region_bytes = region_bytes, .quota_bytes = 8 * MIB, .epoch = epoch,
                .kept = kept,
        };

        assert_int_equal(mlg_pipe_group_new(&o, &callbacks, f, &f->g), 0);
}

static int setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);

        f->dir = g_dir_make_tmp("mlg-pipe-XXXXXX", NULL);
        f->path = g_build_filename(f->dir, "s", NULL);
        f->now_usec = 1000 * SEC;
        f->room_bytes = 1024 * MIB;
        mlg_pipe_kept_init(&f->kept);
        start(f, REGION, 5, NULL);
        *state = f;
        return 0;
}

static int teardown(void **state) {
        Fixture *f = *state;

        (void) mlg_pipe_group_free(f->g);
        assert_int_equal(g_access(f->path, F_OK), -1);
        mlg_pipe_kept_close(&f->kept);
        (void) g_rmdir(f->dir);
        g_free(f->path);
        g_free(f->dir);
        g_free(f);
        return 0;
}

/* As the loop does: until there is nothing to do now. */
static void turn(Fixture *f) {
        const MlgPollable *p = mlg_pipe_group_pollable(f->g);
        struct pollfd fd = { .fd = p->fd, .events = POLLIN };

        do
                assert_int_equal(p->dispatch(f->now_usec, p->userdata), 0);
        while (poll(&fd, 1, 0) > 0 || p->deadline_usec(p->userdata) <= f->now_usec);
}

static void later(Fixture *f, uint64_t usec) {
        f->now_usec += usec;
        turn(f);
}

static MlgPipeMember member(Fixture *f, uint32_t id) {
        MlgPipeStatus s;

        mlg_pipe_group_status(f->g, &s);
        for (uint32_t i = 0; i < s.n_members; i++)
                if (s.members[i].id == id)
                        return s.members[i];
        return (MlgPipeMember) {};
}

static uint64_t granted(Fixture *f, uint32_t id) { /* chunks */
        return member(f, id).granted_kib * 1024 / MLG_PIPE_CHUNK_BYTES;
}

static bool is_broken(Fixture *f, uint32_t id) {
        return member(f, id).state == MLG_PIPE_STATE_BROKEN;
}

static uint32_t n_members(Fixture *f) {
        MlgPipeStatus s;

        mlg_pipe_group_status(f->g, &s);
        return s.n_members;
}

/* A guest: its QEMU's socket, the memory, the bells of all, and a module that is as small as can be. */
typedef struct Guest {
        int fd, memory_fd, bells[MLG_PIPE_PEERS];
        int64_t id;
        uint8_t *memory;
} Guest;

static int connect_to(Fixture *f) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        g_strlcpy(address.sun_path, f->path, sizeof(address.sun_path));
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

/* True: a message; false: nothing more just now. The end of the connection fails the test, unless ret_end. */
static bool next_message(int from, int64_t *ret, int *ret_fd, bool *ret_end) {
        struct iovec data = { .iov_base = ret, .iov_len = sizeof(*ret) };
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct msghdr h = {
                .msg_iov = &data, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes),
        };
        ssize_t n = recvmsg(from, &h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        *ret_fd = -1;
        if (ret_end)
                *ret_end = n == 0 || (n < 0 && errno == ECONNRESET);
        if (n < 0 && errno == EAGAIN)
                return false;
        if (n <= 0 && ret_end)
                return false;
        assert_int_equal(n, sizeof(*ret));
        if (h.msg_controllen > 0 && CMSG_FIRSTHDR(&h))
                memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(int));
        return true;
}

/* All ids at once, and its own last; later nothing more is ever said. */
static void take_bells(Guest *g) {
        int64_t v, last = -1;
        int fd, n = 0;

        for (; next_message(g->fd, &v, &fd, NULL); n++) {
                assert_in_range(v, 0, MLG_PIPE_PEERS - 1);
                assert_true(fd >= 0);
                assert_int_equal(g->bells[v], -1);
                g->bells[v] = fd;
                last = v;
        }
        assert_int_equal(n, MLG_PIPE_PEERS);
        assert_int_equal(last, g->id);
}

static void assert_told_nothing(Guest *g) {
        int64_t v;
        int fd;

        assert_false(next_message(g->fd, &v, &fd, NULL));
}

static void guest_join(Fixture *f, Guest *g) {
        int64_t v;
        int fd;

        *g = (Guest) { .fd = connect_to(f) };
        for (size_t i = 0; i < G_N_ELEMENTS(g->bells); i++)
                g->bells[i] = -1;
        turn(f);
        assert_true(next_message(g->fd, &v, &fd, NULL)); /* version */
        assert_int_equal(v, 0);
        assert_int_equal(fd, -1);
        assert_true(next_message(g->fd, &g->id, &fd, NULL));
        assert_int_equal(fd, -1);
        assert_true(next_message(g->fd, &v, &g->memory_fd, NULL));
        assert_int_equal(v, -1);
        assert_true(g->memory_fd >= 0);
        take_bells(g);
        g->memory = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, g->memory_fd, 0);
        assert_ptr_not_equal(g->memory, MAP_FAILED);
}

static void guest_leave(Guest *g) {
        mlg_close_fd(&g->fd);
        mlg_close_fd(&g->memory_fd);
        for (size_t i = 0; i < G_N_ELEMENTS(g->bells); i++)
                mlg_close_fd(&g->bells[i]);
        if (g->memory)
                (void) munmap(g->memory, REGION);
        g->memory = NULL;
}

static struct mlg_pipe_peer *peer_of(Guest *g, int64_t id) {
        return (struct mlg_pipe_peer *) (g->memory + MLG_PIPE_PEERS_AT) + id;
}

static struct mlg_pipe_section *section_of(Guest *g) {
        return (struct mlg_pipe_section *) (g->memory + MLG_PIPE_SECTIONS_AT) + g->id;
}

static struct mlg_pipe_pair *pair_of(Guest *g, int64_t from, int64_t to) {
        return (struct mlg_pipe_pair *) (g->memory + MLG_PIPE_PAIRS_AT) + from * MLG_PIPE_PEERS + to;
}

static void ring(Guest *g, int64_t whom) {
        uint64_t one = 1;

        assert_int_equal(write(g->bells[whom], &one, sizeof(one)), sizeof(one));
}

static bool was_rung(Guest *g) {
        uint64_t n;

        return read(g->bells[g->id], &n, sizeof(n)) == sizeof(n);
}

/* As mempipe-abi.h has it. */
static void module_start(Fixture *f, Guest *g, uint32_t session) {
        struct mlg_pipe_section *s = section_of(g);

        s->version = 0;
        s->session = session;
        ring(g, 0);
        later(f, SEC);
        assert_int_equal(peer_of(g, g->id)->session, session);
        assert_true(was_rung(g));
        pair_of(g, 0, g->id)->bell = 0;
        pair_of(g, 0, g->id)->head = pair_of(g, 0, g->id)->tail;
        s->epoch = peer_of(g, g->id)->epoch;
        s->version = MLG_PIPE_VERSION;
        ring(g, 0);
        later(f, SEC);
}

static uint32_t take_grants(Guest *g, uint32_t *ret_first) {
        struct mlg_pipe_pair *p = pair_of(g, 0, g->id);
        uint32_t n = 0;

        p->bell = 0;
        for (; p->head != p->tail; p->head++) {
                const struct mlg_pipe_message *m = &p->messages[p->head % MLG_PIPE_MESSAGES];

                assert_int_equal(m->type, MLG_PIPE_GRANT);
                assert_int_equal(m->epoch, peer_of(g, 0)->epoch);
                for (uint32_t c = 0; c < m->chunks.count; c++)
                        assert_int_equal(g->memory[MLG_PIPE_OWNERS_AT + m->chunks.first + c], g->id);
                if (n == 0)
                        *ret_first = m->chunks.first;
                n += m->chunks.count;
        }
        return n;
}

static void say(Guest *g, uint16_t type, uint32_t first, uint32_t count) {
        struct mlg_pipe_pair *p = pair_of(g, g->id, 0);

        p->messages[p->tail++ % MLG_PIPE_MESSAGES] = (struct mlg_pipe_message) {
                .type = type, .epoch = section_of(g)->epoch, .chunks = { .first = first, .count = count },
        };
        ring(g, 0);
}

static void test_group_handshake(void **state) {
        Fixture *f = *state;
        Guest a, b;
        struct stat st;

        guest_join(f, &a);
        assert_int_equal(a.id, 1);
        assert_int_equal(peer_of(&a, 0)->state, MLG_PIPE_PRESENT);
        assert_int_equal(peer_of(&a, 1)->state, MLG_PIPE_PRESENT);
        assert_int_equal(peer_of(&a, 1)->epoch, 1);
        assert_int_equal(peer_of(&a, 2)->state, MLG_PIPE_ABSENT);
        guest_join(f, &b);
        assert_int_equal(b.id, 2);
        assert_true(was_rung(&a)); /* look who is there */
        assert_int_equal(peer_of(&a, 2)->state, MLG_PIPE_PRESENT);
        ring(&a, 2);
        assert_true(was_rung(&b));
        ring(&b, 1);
        assert_true(was_rung(&a));

        guest_leave(&b);
        turn(f);
        assert_told_nothing(&a);
        assert_int_equal(peer_of(&a, 2)->state, MLG_PIPE_ABSENT);
        assert_int_equal(f->n_leaves, 1);
        ring(&a, 2); /* rung while nobody is there: not for the next one */
        guest_join(f, &b); /* the id is used again, with another epoch */
        assert_int_equal(b.id, 2);
        assert_false(was_rung(&b));
        ring(&a, 2);
        assert_true(was_rung(&b));
        assert_int_equal(peer_of(&a, 2)->epoch, 2);
        assert_int_equal(fstat(a.memory_fd, &st), 0);
        assert_int_equal(st.st_size, REGION);
        assert_int_equal(f->n_complaints, 0);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_mode & 0777, 0660);
        guest_leave(&a);
        guest_leave(&b);
        turn(f);
        assert_int_equal(n_members(f), 0);
}

static void test_group_chunks(void **state) {
        Fixture *f = *state;
        uint32_t first, n;
        uint64_t backed;
        MlgPipeStatus s;
        Guest a, b;

        guest_join(f, &a);
        later(f, SEC);
        assert_int_equal(take_grants(&a, &first), 0); /* nobody there who could use them */
        module_start(f, &a, 77);
        assert_true(was_rung(&a));
        assert_int_equal(take_grants(&a, &first), 16);
        section_of(&a)->demand_chunks = 120;
        ring(&a, 0);
        later(f, SEC);
        assert_int_equal(take_grants(&a, &n), 104);
        assert_int_equal(peer_of(&a, 1)->target_chunks, 120);
        memset(chunk_of(a.memory, first), 1, 120 << MLG_PIPE_CHUNK_SHIFT);
        mlg_pipe_group_status(f->g, &s);
        backed = s.backed_kib * 1024;
        assert_true(backed >= 120 << MLG_PIPE_CHUNK_SHIFT);
        later(f, SEC);
        assert_true(f->charge_bytes >= backed);

        /* Another one comes, wants as much, and the quota of 128 has no more than 8. */
        guest_join(f, &b);
        module_start(f, &b, 78);
        assert_int_equal(take_grants(&b, &n), 8);
        section_of(&b)->demand_chunks = 120;
        ring(&b, 0);
        was_rung(&a);
        pair_of(&a, 0, 1)->bell = 0;
        later(f, SEC);
        assert_int_equal(take_grants(&b, &n), 0);
        assert_int_equal(peer_of(&a, 1)->target_chunks, 64);
        assert_true(was_rung(&a));
        say(&a, MLG_PIPE_RETURN, first + 64, 56);
        later(f, SEC);
        assert_int_equal(take_grants(&b, &n), 56);
        mlg_pipe_group_status(f->g, &s);
        assert_int_equal(s.granted_kib, 8 * 1024);
        assert_true(s.backed_kib * 1024 <= backed - (56 << MLG_PIPE_CHUNK_SHIFT) + 65536);

        /* It is killed: the other sees it, and its memory is the host's. */
        was_rung(&b);
        pair_of(&b, 0, 2)->bell = 0;
        guest_leave(&a);
        turn(f);
        assert_true(was_rung(&b));
        assert_int_equal(peer_of(&b, 1)->state, MLG_PIPE_ABSENT);
        later(f, SEC);
        assert_int_equal(take_grants(&b, &n), 56);
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
        turn(f);
        f->room_bytes = 10 << MLG_PIPE_CHUNK_SHIFT;
        f->room_bytes -= f->charge_bytes; /* some pages of the tables */
        module_start(f, &a, 1);
        later(f, SEC);
        n = take_grants(&a, &first);
        assert_in_range(n, 1, 10); /* the host has no more */
        assert_in_range(f->charge_bytes, n << MLG_PIPE_CHUNK_SHIFT, 10 << MLG_PIPE_CHUNK_SHIFT);
        f->room_bytes = MIB;
        later(f, SEC);
        assert_int_equal(take_grants(&a, &first), 16 - n);
        /* Less than was granted: it is asked for it, not robbed. */
        mlg_pipe_group_set_limit(f->g, 10 << MLG_PIPE_CHUNK_SHIFT);
        later(f, SEC);
        assert_int_equal(peer_of(&a, 1)->target_chunks, 10);
        mlg_pipe_group_set_quota(f->g, 8 << MLG_PIPE_CHUNK_SHIFT);
        later(f, SEC);
        assert_int_equal(peer_of(&a, 1)->target_chunks, 8);
        assert_int_equal(granted(f, 1), 16);
        guest_leave(&a);
        turn(f);
        assert_true(f->charge_bytes < MIB);
}

static void test_group_module_again(void **state) {
        Fixture *f = *state;
        uint32_t first;
        Guest a, b;

        guest_join(f, &a);
        guest_join(f, &b);
        module_start(f, &a, 10);
        assert_int_equal(take_grants(&a, &first), 16);
        chunk_of(a.memory, first)[0] = 1;
        was_rung(&b);
        pair_of(&b, 0, 2)->bell = 0;
        assert_int_equal(mlg_pipe_group_reset(f->g, 3), -ENOENT);
        module_start(f, &a, 11); /* its guest was reset */
        assert_true(was_rung(&b));
        assert_int_equal(peer_of(&b, 1)->epoch, 3);
        assert_int_equal(chunk_of(a.memory, first)[0], 0);
        assert_int_equal(take_grants(&a, &first), 16);
        assert_int_equal(granted(f, 1), 16);
        /* One that starts all the time is not let do it all the time. */
        for (uint32_t i = 0; i < 100; i++) {
                section_of(&a)->session = 1000 + i;
                ring(&a, 0);
                later(f, 2000);
        }
        assert_in_range(peer_of(&b, 1)->epoch, 4, 6);
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
        module_start(f, &a, 10);
        assert_int_equal(take_grants(&a, &first), 16);
        was_rung(&b);
        pair_of(&b, 0, 2)->bell = 0;
        assert_int_equal(mlg_pipe_group_reset(f->g, 1), 0);
        assert_true(was_rung(&b));
        assert_int_equal(peer_of(&b, 1)->epoch, 3);
        assert_int_equal(granted(f, 1), 0);
        later(f, SEC); /* what its section says is of the old epoch */
        assert_int_equal(granted(f, 1), 0);
        assert_int_equal(member(f, 1).state, MLG_PIPE_STATE_SILENT);
        was_rung(&a);
        module_start(f, &a, 12);
        assert_int_equal(take_grants(&a, &first), 16);
        guest_leave(&a);
        guest_leave(&b);
}

static uint32_t alive(Guest *g) {
        return ((const struct mlg_pipe_header *) g->memory)->alive;
}

/* Another process goes on: nobody notices, and everything is as it was. */
static void test_group_taken_over(void **state) {
        Fixture *f = *state;
        MlgPipeKept kept;
        uint32_t first, before;
        Guest a, b, c, d;

        guest_join(f, &a);
        guest_join(f, &b);
        guest_join(f, &c);
        module_start(f, &a, 10);
        module_start(f, &b, 11);
        assert_int_equal(take_grants(&a, &first), 16);
        chunk_of(a.memory, first)[0] = 9;
        mlg_pipe_group_leave_to_next(f->g);
        (void) mlg_pipe_group_free(f->g);
        assert_int_equal(peer_of(&a, 2)->state, MLG_PIPE_PRESENT);
        assert_int_equal(g_access(f->path, F_OK), 0);
        guest_leave(&c); /* one dies, and one calls, while nobody is there */
        d = (Guest) { .fd = connect_to(f) };
        ring(&a, 0);

        kept = f->kept; /* the manager's table is made anew by the next process */
        mlg_pipe_kept_init(&f->kept);
        f->n_joins = f->n_leaves = 0;
        before = alive(&a);
        start(f, REGION, 6, &kept);
        turn(f);
        assert_true(alive(&a) > before);
        assert_int_equal(f->n_joins, 4); /* the three that were, and the new one */
        assert_int_equal(f->n_leaves, 1);
        assert_int_equal(n_members(f), 3);
        assert_int_equal(granted(f, 1), 16);
        assert_int_equal(chunk_of(a.memory, first)[0], 9);
        assert_told_nothing(&a);
        assert_told_nothing(&b);
        assert_int_equal(peer_of(&b, 1)->epoch, 2); /* as before: of its module's start */
        section_of(&a)->demand_chunks = 30;
        ring(&a, 0);
        later(f, SEC);
        assert_int_equal(take_grants(&a, &first), 14);
        assert_true(was_rung(&a));
        ring(&a, 2);
        assert_true(was_rung(&b));
        guest_leave(&b);
        turn(f);
        assert_int_equal(peer_of(&a, 2)->state, MLG_PIPE_ABSENT);
        guest_leave(&a);
        guest_leave(&d);
        turn(f);
        assert_int_equal(n_members(f), 0);
}

/* Not all of it was kept, or another size is wanted: a new region, and the old members are let go. */
static void test_group_not_taken_over(void **state) {
        Fixture *f = *state;

        for (int what = 0; what < 3; what++) {
                MlgPipeKept kept;
                int64_t v;
                int fd;
                bool end = false;
                Guest a;

                guest_join(f, &a);
                mlg_pipe_group_leave_to_next(f->g);
                (void) mlg_pipe_group_free(f->g);
                kept = f->kept;
                mlg_pipe_kept_init(&f->kept);
                if (what == 0)
                        mlg_close_fd(&kept.truth);
                if (what == 1)
                        mlg_close_fd(&kept.events[17]);
                start(f, what < 2 ? REGION : 2 * REGION, 6, &kept);
                turn(f);
                assert_int_equal(n_members(f), 0);
                while (next_message(a.fd, &v, &fd, &end))
                        mlg_close_fd(&fd);
                assert_true(end);
                guest_leave(&a);
                (void) mlg_pipe_group_free(f->g);
                start(f, REGION, 7, NULL);
        }
}

/* Without a next process members are told to go back to the network. */
static void test_group_farewell(void **state) {
        Fixture *f = *state;
        Guest a, b;

        guest_join(f, &a);
        guest_join(f, &b);
        was_rung(&a);
        pair_of(&a, 0, 1)->bell = 0;
        (void) mlg_pipe_group_free(f->g);
        assert_int_equal(peer_of(&a, 1)->state, MLG_PIPE_LEAVING);
        assert_int_equal(peer_of(&a, 2)->state, MLG_PIPE_LEAVING);
        assert_true(was_rung(&a));
        guest_leave(&a);
        guest_leave(&b);
        start(f, REGION, 7, NULL);
}

static void test_kept_names(void **state) {
        static const char *const bad[] = { "", "client", "client.", "client.32", "client.1x", "event.-1", "event.32", "x.1", "regions" };
        MlgPipeKept k;

        mlg_pipe_kept_init(&k);
        for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
                assert_false(mlg_pipe_kept_add(&k, bad[i], 7));
        assert_true(mlg_pipe_kept_add(&k, "client.31", 7));
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
        module_start(f, &a, 10);
        (void) take_grants(&a, &first);
        was_rung(&b);
        pair_of(&b, 0, 2)->bell = 0;
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 3, true), -ENOENT);
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 0, true), -ENOENT);
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 99, true), -ENOENT);
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 1, true), 0);
        assert_int_equal(peer_of(&b, 1)->state, MLG_PIPE_LEAVING);
        assert_true(was_rung(&b));
        section_of(&a)->demand_chunks = 100;
        later(f, SEC);
        assert_int_equal(take_grants(&a, &first), 0);
        assert_int_equal(mlg_pipe_group_set_leaving(f->g, 1, false), 0);
        later(f, SEC);
        assert_int_equal(take_grants(&a, &first), 84);
        guest_leave(&a);
        guest_leave(&b);
}

/* ---- those who do not behave ---- */

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
        module_start(f, &b, 1);
        assert_int_equal(take_grants(&b, &first), 16);
        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                section_of(&a)->demand_chunks = 0;
                module_start(f, &a, 100 + (uint32_t) i);
                f->n_complaints = 0;
                say(&a, rows[i].type, rows[i].first, rows[i].count);
                section_of(&a)->demand_chunks = 50;
                later(f, SEC);
                assert_int_equal(f->n_complaints, 1);
                assert_true(is_broken(f, 1));
                assert_int_equal(granted(f, 1), 16); /* as before, and no more */
                say(&a, MLG_PIPE_RETURN, 0, 1);
                later(f, SEC);
                assert_int_equal(f->n_complaints, 1); /* said once */
                assert_int_equal(granted(f, 2), 16);
        }
        module_start(f, &a, 99); /* and it may start anew */
        assert_false(is_broken(f, 1));
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
        module_start(f, &b, 1);
        assert_int_equal(take_grants(&b, &first), 16);
        for (int round = 0; round < 50; round++) {
                /* All that the host reads: a's section, its rings with the host, and what it could be tempted to read. */
                for (size_t i = 0; i < sizeof(struct mlg_pipe_section) / 4; i++)
                        ((uint32_t *) section_of(&a))[i] = g_rand_int(rand);
                if (round % 2)
                        section_of(&a)->epoch = member(f, 1).epoch;
                for (size_t i = 0; i < sizeof(struct mlg_pipe_pair) / 4; i++) {
                        ((uint32_t *) pair_of(&a, 1, 0))[i] = g_rand_int(rand);
                        ((uint32_t *) pair_of(&a, 0, 1))[i] = g_rand_int(rand);
                }
                memset(a.memory, 0xff, MLG_PIPE_SECTIONS_AT);
                ring(&a, 0);
                later(f, SEC);
                assert_in_range(granted(f, 1), 0, 112);
                assert_int_equal(granted(f, 2), 16);
                assert_false(is_broken(f, 2));
        }
        guest_leave(&a);
        guest_leave(&b);
        turn(f);
        assert_int_equal(n_members(f), 0);
}

/* Shown as they are said: any number is possible. */
static void test_group_outcomes(void **state) {
        Fixture *f = *state;
        Guest a;

        guest_join(f, &a);
        module_start(f, &a, 1);
        section_of(&a)->outcomes[MLG_PIPE_OK] = 40;
        section_of(&a)->outcomes[MLG_PIPE_NONSENSE] = UINT64_MAX;
        section_of(&a)->outcomes[MLG_PIPE_REASONS] = 5; /* of a newer module */
        later(f, SEC);
        for (uint32_t i = 0; i < MLG_PIPE_REASONS; i++)
                assert_int_equal(member(f, 1).outcomes[i],
                                 i == MLG_PIPE_OK ? 40 : i == MLG_PIPE_NONSENSE ? UINT64_MAX : 0);
        module_start(f, &a, 2);
        section_of(&a)->outcomes[MLG_PIPE_OK] = 0; /* it counts from its start */
        later(f, SEC);
        assert_int_equal(member(f, 1).outcomes[MLG_PIPE_OK], 0);
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
        turn(f);
        assert_int_equal(f->n_leaves, 1);
        assert_int_equal(f->n_complaints, 1);
        assert_told_nothing(&b);
        while (next_message(a.fd, &v, &fd, &end))
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

        assert_true(next_message(c, &v, &fd, NULL));
        assert_int_not_equal(v, 0);
        assert_int_equal(fd, -1);
        assert_false(next_message(c, &v, &fd, &end));
        assert_false(end);
        later(f, 59 * SEC);
        assert_false(next_message(c, &v, &fd, &end));
        assert_false(end);
        later(f, 2 * SEC); /* but not for ever */
        assert_false(next_message(c, &v, &fd, &end));
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
        one_more = connect_to(f);
        turn(f);
        assert_turned_away(f, one_more);
        assert_int_equal(f->n_complaints, 1);
        assert_non_null(strstr(f->last_complaint, "full"));
        mlg_close_fd(&one_more);
        for (size_t i = 0; i < G_N_ELEMENTS(guests); i++)
                guest_leave(&guests[i]);
        turn(f);
        assert_int_equal(n_members(f), 0);
        assert_int_equal(f->n_leaves, G_N_ELEMENTS(guests));
}

/* One that never reads costs its own place, and no other waits for it. */
static void test_group_silent(void **state) {
        Fixture *f = *state;
        int silent = connect_to(f);
        Guest a;

        for (int n = 0; n < 1000; n++) {
                turn(f);
                guest_join(f, &a);
                guest_leave(&a);
        }
        turn(f);
        assert_int_equal(n_members(f), 1);
        mlg_close_fd(&silent);
        turn(f);
        assert_int_equal(n_members(f), 0);
        assert_int_equal(f->n_complaints, 0);
}

static void test_group_vanishing(void **state) {
        Fixture *f = *state;
        Guest a;

        guest_join(f, &a);
        for (int i = 0; i < 200; i++) { /* gone before, while and after it is greeted */
                int fd = connect_to(f);

                if (i % 2)
                        turn(f);
                mlg_close_fd(&fd);
                if (i % 3 == 0)
                        turn(f);
        }
        turn(f);
        assert_told_nothing(&a);
        assert_int_equal(n_members(f), 1);
        assert_int_equal(f->n_complaints, 0);
        guest_leave(&a);
}

static void test_group_refused(void **state) {
        Fixture *f = *state;
        int c;

        f->refuse = true;
        c = connect_to(f);
        turn(f);
        assert_turned_away(f, c);
        assert_int_equal(n_members(f), 0);
        mlg_close_fd(&c);
        for (int i = 0; i < 100; i++) { /* many at once, some of which go by themselves */
                c = connect_to(f);
                if (i % 2)
                        turn(f);
                mlg_close_fd(&c);
        }
        turn(f);
        later(f, 61 * SEC);
        assert_int_equal(n_members(f), 0);
}

static void test_group_bell_pauses(void **state) {
        Fixture *f = *state;
        const MlgPollable *p = mlg_pipe_group_pollable(f->g);
        struct pollfd fd = { .fd = p->fd, .events = POLLIN };
        Guest a;

        guest_join(f, &a);
        ring(&a, 0);
        assert_int_equal(p->dispatch(f->now_usec, p->userdata), 0);
        ring(&a, 0); /* and again: it waits, and the loop sleeps */
        assert_int_equal(poll(&fd, 1, 0), 0);
        assert_in_range(p->deadline_usec(p->userdata), f->now_usec + 1, f->now_usec + 10000);
        later(f, 10000);
        assert_true(p->deadline_usec(p->userdata) > f->now_usec);
        guest_leave(&a);
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
                cmocka_unit_test_setup_teardown(test_group_handshake, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_chunks, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_room, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_module_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_reset, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_leaving, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_taken_over, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_not_taken_over, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_farewell, setup, teardown),
                cmocka_unit_test(test_kept_names),
                cmocka_unit_test_setup_teardown(test_group_nonsense, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_scribble, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_outcomes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_speaker, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_silent, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_vanishing, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_group_bell_pauses, setup, teardown),
        };

        return cmocka_run_group_tests_name("mempipe", tests, NULL, NULL);
}
