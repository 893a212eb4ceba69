/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Group-rig: a group of guests that share memory, for tests: its fixture, and guests whose QEMU speaks its part of the ivshmem
 * protocol, each with a module that is as small as can be. Time is the test's own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/mempipe-abi.h"
#include "mempipe/group.h"
#include "util/util.h"

#define MIB UINT64_C(1048576)
#define REGION (128 * MIB)
#define SEC MLG_USEC_PER_SEC

typedef struct Fixture {
        char *dir, *path;
        MlgPipeGroup *g;
        uint64_t now_usec;
        unsigned int n_joins, n_leaves, n_complaints;
        char last_complaint[256];
        uint64_t room_bytes, charge_bytes;
        bool refuse;
        MlgIvshmemKept kept;      /* as the service manager has it */
} Fixture;

/* A guest: its QEMU's socket, the memory, the bells of all, and a module that is as small as can be. */
typedef struct Guest {
        int fd, memory_fd, bells[MLG_PIPE_PEERS];
        int64_t id;
        uint8_t *memory;
} Guest;

static inline uint8_t *chunk_of(uint8_t *memory, uint32_t n) {
        return memory + MLG_PIPE_CHUNKS_AT + ((uint64_t) n << MLG_PIPE_CHUNK_SHIFT);
}

/* ---- the group ---- */

/* It is served at f->path; `kept` as mlg_pipe_group_new() takes it. */
void group_start(Fixture *f, uint64_t region_bytes, uint64_t epoch, MlgIvshmemKept *kept);
int group_setup(void **state); /* one of REGION bytes and epoch 5, whose quota is 8 MiB */
int group_teardown(void **state);
void group_turn(Fixture *f); /* until it has nothing to do */
void group_later(Fixture *f, uint64_t usec);
MlgPipeMember group_member_of(Fixture *f, uint32_t id); /* zeroes: there is none */
uint64_t group_granted(Fixture *f, uint32_t id);     /* chunks */
bool group_is_broken(Fixture *f, uint32_t id);
uint32_t group_n_members(Fixture *f);
int group_connect(Fixture *f); /* a socket, on which nothing was said yet */

/* ---- its guests ---- */

/* True: a message; false: nothing more just now. The end of the connection fails the test, unless ret_end. */
bool guest_next_message(int from, int64_t *ret, int *ret_fd, bool *ret_end);
void guest_assert_told_nothing(Guest *g);
void guest_join(Fixture *f, Guest *g);
void guest_leave(Guest *g);
struct mlg_pipe_peer *guest_peer(Guest *g, int64_t id);
struct mlg_pipe_section *guest_section(Guest *g);
struct mlg_pipe_pair *guest_pair(Guest *g, int64_t from, int64_t to);
void guest_ring(Guest *g, int64_t whom);
bool guest_was_rung(Guest *g);
void guest_module_start(Fixture *f, Guest *g, uint32_t session); /* as mempipe-abi.h has it */
uint32_t guest_take_grants(Guest *g, uint32_t *ret_first);       /* how many chunks */
void guest_say(Guest *g, uint16_t type, uint32_t first, uint32_t count);
