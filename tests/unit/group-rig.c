/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Group-rig: see group-rig.h. */
#include "group-rig.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib/gstdio.h>

#include "fake-keeper.h"

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

static void on_keep(const char *name, int fd, void *userdata) {
        fake_keep(&((Fixture *) userdata)->kept, name, fd);
}

static const MlgPipeGroupCallbacks callbacks = {
        .on_join = on_join, .on_leave = on_leave, .on_grant = on_grant, .on_charge = on_charge, .on_complaint = on_complaint,
        .on_keep = on_keep,
};

void group_start(Fixture *f, uint64_t region_bytes, uint64_t epoch, MlgIvshmemKept *kept) {
        MlgPipeGroupOptions o = {
                .path = f->path, .owner = getuid(), .region_bytes = region_bytes, .quota_bytes = 8 * MIB, .epoch = epoch,
                .kept = kept,
        };

        assert_int_equal(mlg_pipe_group_new(&o, &callbacks, f, &f->g), 0);
}

int group_setup(void **state) {
        Fixture *f = g_new0(Fixture, 1);

        f->dir = g_dir_make_tmp("mlg-pipe-XXXXXX", NULL);
        f->path = g_build_filename(f->dir, "s", NULL);
        f->now_usec = 1000 * SEC;
        f->room_bytes = 1024 * MIB;
        mlg_ivshmem_kept_init(&f->kept);
        group_start(f, REGION, 5, NULL);
        *state = f;
        return 0;
}

int group_teardown(void **state) {
        Fixture *f = *state;

        (void) mlg_pipe_group_free(f->g);
        assert_int_equal(g_access(f->path, F_OK), -1);
        mlg_ivshmem_kept_close(&f->kept);
        (void) g_rmdir(f->dir);
        g_free(f->path);
        g_free(f->dir);
        g_free(f);
        return 0;
}

/* As the loop does: until there is nothing to do now. */
void group_turn(Fixture *f) {
        const MlgPollable *p = mlg_pipe_group_pollable(f->g);
        struct pollfd fd = { .fd = p->fd, .events = POLLIN };

        do
                assert_int_equal(p->dispatch(f->now_usec, p->userdata), 0);
        while (poll(&fd, 1, 0) > 0 || p->deadline_usec(p->userdata) <= f->now_usec);
}

void group_later(Fixture *f, uint64_t usec) {
        f->now_usec += usec;
        group_turn(f);
}

MlgPipeMember group_member_of(Fixture *f, uint32_t id) {
        MlgPipeStatus s;

        mlg_pipe_group_status(f->g, &s);
        for (uint32_t i = 0; i < s.n_members; i++)
                if (s.members[i].id == id)
                        return s.members[i];
        return (MlgPipeMember) {};
}

uint64_t group_granted(Fixture *f, uint32_t id) {
        return group_member_of(f, id).granted_kib * 1024 / MLG_PIPE_CHUNK_BYTES;
}

bool group_is_broken(Fixture *f, uint32_t id) {
        return group_member_of(f, id).state == MLG_PIPE_STATE_BROKEN;
}

uint32_t group_n_members(Fixture *f) {
        MlgPipeStatus s;

        mlg_pipe_group_status(f->g, &s);
        return s.n_members;
}

int group_connect(Fixture *f) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

        g_strlcpy(address.sun_path, f->path, sizeof(address.sun_path));
        assert_int_equal(connect(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        return fd;
}

bool guest_next_message(int from, int64_t *ret, int *ret_fd, bool *ret_end) {
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

        for (; guest_next_message(g->fd, &v, &fd, NULL); n++) {
                assert_in_range(v, 0, MLG_PIPE_PEERS - 1);
                assert_true(fd >= 0);
                assert_int_equal(g->bells[v], -1);
                g->bells[v] = fd;
                last = v;
        }
        assert_int_equal(n, MLG_PIPE_PEERS);
        assert_int_equal(last, g->id);
}

void guest_assert_told_nothing(Guest *g) {
        int64_t v;
        int fd;

        assert_false(guest_next_message(g->fd, &v, &fd, NULL));
}

void guest_join(Fixture *f, Guest *g) {
        int64_t v;
        int fd;

        *g = (Guest) { .fd = group_connect(f) };
        for (size_t i = 0; i < G_N_ELEMENTS(g->bells); i++)
                g->bells[i] = -1;
        group_turn(f);
        assert_true(guest_next_message(g->fd, &v, &fd, NULL)); /* version */
        assert_int_equal(v, 0);
        assert_int_equal(fd, -1);
        assert_true(guest_next_message(g->fd, &g->id, &fd, NULL));
        assert_int_equal(fd, -1);
        assert_true(guest_next_message(g->fd, &v, &g->memory_fd, NULL));
        assert_int_equal(v, -1);
        assert_true(g->memory_fd >= 0);
        take_bells(g);
        g->memory = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_SHARED, g->memory_fd, 0);
        assert_ptr_not_equal(g->memory, MAP_FAILED);
}

void guest_leave(Guest *g) {
        mlg_close_fd(&g->fd);
        mlg_close_fd(&g->memory_fd);
        for (size_t i = 0; i < G_N_ELEMENTS(g->bells); i++)
                mlg_close_fd(&g->bells[i]);
        if (g->memory)
                (void) munmap(g->memory, REGION);
        g->memory = NULL;
}

struct mlg_pipe_peer *guest_peer(Guest *g, int64_t id) {
        return (struct mlg_pipe_peer *) (g->memory + MLG_PIPE_PEERS_AT) + id;
}

struct mlg_pipe_section *guest_section(Guest *g) {
        return (struct mlg_pipe_section *) (g->memory + MLG_PIPE_SECTIONS_AT) + g->id;
}

struct mlg_pipe_pair *guest_pair(Guest *g, int64_t from, int64_t to) {
        return (struct mlg_pipe_pair *) (g->memory + MLG_PIPE_PAIRS_AT) + from * MLG_PIPE_PEERS + to;
}

void guest_ring(Guest *g, int64_t whom) {
        uint64_t one = 1;

        assert_int_equal(write(g->bells[whom], &one, sizeof(one)), sizeof(one));
}

bool guest_was_rung(Guest *g) {
        uint64_t n;

        return read(g->bells[g->id], &n, sizeof(n)) == sizeof(n);
}

void guest_module_start(Fixture *f, Guest *g, uint32_t session) {
        struct mlg_pipe_section *s = guest_section(g);

        s->version = 0;
        s->session = session;
        guest_ring(g, 0);
        group_later(f, SEC);
        assert_int_equal(guest_peer(g, g->id)->session, session);
        assert_true(guest_was_rung(g));
        guest_pair(g, 0, g->id)->bell = 0;
        guest_pair(g, 0, g->id)->head = guest_pair(g, 0, g->id)->tail;
        s->epoch = guest_peer(g, g->id)->epoch;
        s->version = MLG_PIPE_VERSION;
        guest_ring(g, 0);
        group_later(f, SEC);
}

uint32_t guest_take_grants(Guest *g, uint32_t *ret_first) {
        struct mlg_pipe_pair *p = guest_pair(g, 0, g->id);
        uint32_t n = 0;

        p->bell = 0;
        for (; p->head != p->tail; p->head++) {
                const struct mlg_pipe_message *m = &p->messages[p->head % MLG_PIPE_MESSAGES];

                assert_int_equal(m->type, MLG_PIPE_GRANT);
                assert_int_equal(m->epoch, guest_peer(g, 0)->epoch);
                for (uint32_t c = 0; c < m->chunks.count; c++)
                        assert_int_equal(g->memory[MLG_PIPE_OWNERS_AT + m->chunks.first + c], g->id);
                if (n == 0)
                        *ret_first = m->chunks.first;
                n += m->chunks.count;
        }
        return n;
}

void guest_say(Guest *g, uint16_t type, uint32_t first, uint32_t count) {
        struct mlg_pipe_pair *p = guest_pair(g, g->id, 0);

        p->messages[p->tail++ % MLG_PIPE_MESSAGES] = (struct mlg_pipe_message) {
                .type = type, .epoch = guest_section(g)->epoch, .chunks = { .first = first, .count = count },
        };
        guest_ring(g, 0);
}
