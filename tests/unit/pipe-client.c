/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pipe client: see pipe-client.h. */
#include "pipe-client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cmocka.h>
#include <glib.h>

#include "mempipe/core/region.h"
#include "util/util.h"

#define PATIENCE_SEC 30

static int64_t read_message(const PipeClient *c, int *ret_fd) {
        int64_t value = -2;
        struct iovec data = { .iov_base = &value, .iov_len = sizeof(value) };
        union {
                struct cmsghdr header;
                char bytes[CMSG_SPACE(sizeof(int))];
        } control = {};
        struct msghdr h = {
                .msg_iov = &data,
                .msg_iovlen = 1,
                .msg_control = control.bytes,
                .msg_controllen = sizeof(control.bytes),
        };

        *ret_fd = -1;
        assert_int_equal(recvmsg(c->fd, &h, MSG_CMSG_CLOEXEC), sizeof(value));
        if (h.msg_controllen > 0 && CMSG_FIRSTHDR(&h))
                memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof(int));
        return value;
}

static void take_memory(PipeClient *c) {
        struct stat st;

        assert_int_equal(read_message(c, &c->memory_fd), -1);
        assert_int_equal(fstat(c->memory_fd, &st), 0);
        c->bytes = (uint64_t) st.st_size;
        c->memory = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, c->memory_fd, 0);
        assert_ptr_not_equal(c->memory, MAP_FAILED);
}

bool pipe_client_connect(PipeClient *c, const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct timeval patience = { .tv_sec = PATIENCE_SEC };
        int64_t from = -1;
        int fd;

        *c = (PipeClient) { .fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), .memory_fd = -1 };
        for (size_t i = 0; i < G_N_ELEMENTS(c->bells); i++)
                c->bells[i] = -1;
        g_strlcpy(address.sun_path, path, sizeof(address.sun_path));
        assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
        assert_int_equal(connect(c->fd, (struct sockaddr *) &address, sizeof(address)), 0);
        if (read_message(c, &fd) != 0) { /* 0 is the version of the protocol */
                pipe_client_close(c);
                return false;
        }
        c->id = read_message(c, &fd);
        assert_in_range(c->id, 1, MLG_PIPE_PEERS - 1);
        take_memory(c);
        while (from != c->id) { /* its own comes last */
                from = read_message(c, &fd);
                assert_in_range(from, 0, MLG_PIPE_PEERS - 1);
                c->bells[from] = fd;
        }
        return true;
}

void pipe_client_close(PipeClient *c) {
        if (c->memory)
                (void) munmap(c->memory, c->bytes);
        c->memory = NULL;
        mlg_close_fd(&c->fd);
        mlg_close_fd(&c->memory_fd);
        for (size_t i = 0; i < G_N_ELEMENTS(c->bells); i++)
                mlg_close_fd(&c->bells[i]);
}

struct mlg_pipe_header *pipe_client_header(const PipeClient *c) {
        return mp_header(c->memory);
}

static void ring_host(const PipeClient *c) {
        uint64_t one = 1;

        assert_int_equal(write(c->bells[MLG_PIPE_HOST], &one, sizeof(one)), sizeof(one));
}

void pipe_client_begin(PipeClient *c, uint32_t session) {
        struct mlg_pipe_section *s = mp_section(c->memory, (uint32_t) c->id);
        struct mlg_pipe_peer *self = mp_peer(c->memory, (uint32_t) c->id);
        int tries = PATIENCE_SEC * 1000;

        __atomic_store_n(&s->session, session, __ATOMIC_RELEASE);
        ring_host(c);
        while (__atomic_load_n(&self->session, __ATOMIC_ACQUIRE) != session && --tries > 0)
                g_usleep(1000);
        assert_int_not_equal(tries, 0);
        s->epoch = self->epoch;
        __atomic_store_n(&s->version, MLG_PIPE_VERSION, __ATOMIC_RELEASE);
        ring_host(c);
}

void pipe_client_wish(PipeClient *c, uint64_t number) {
        struct mlg_pipe_pair *to_host = mp_pair(c->memory, (uint32_t) c->id, MLG_PIPE_HOST);

        to_host->messages[c->tail % MLG_PIPE_MESSAGES] = (struct mlg_pipe_message){
                .type = MLG_PIPE_WISH,
                .epoch = mp_peer(c->memory, (uint32_t) c->id)->epoch,
                .proof = number,
        };
        __atomic_store_n(&to_host->tail, ++c->tail, __ATOMIC_RELEASE);
        ring_host(c);
}

void pipe_client_demand(PipeClient *c, uint32_t chunks) {
        __atomic_store_n(&mp_section(c->memory, (uint32_t) c->id)->demand_chunks, chunks, __ATOMIC_RELEASE);
}

uint32_t pipe_client_target(const PipeClient *c) {
        return __atomic_load_n(&mp_peer(c->memory, (uint32_t) c->id)->target_chunks, __ATOMIC_ACQUIRE);
}
