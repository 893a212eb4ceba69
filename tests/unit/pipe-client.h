/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Pipe client: for tests of memlegod, a QEMU that connects to a pipe's socket, and as much of a guest's module
 * as says wishes. Fails the test when something does not come in time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "memlego/mempipe-abi.h"

typedef struct PipeClient {
        int fd, memory_fd, bells[MLG_PIPE_PEERS];
        int64_t id;
        uint32_t tail; /* messages to the host */
        uint64_t bytes;
        uint8_t *memory;
} PipeClient;

/* False: it was turned away. */
bool pipe_client_connect(PipeClient *c, const char *path);
void pipe_client_close(PipeClient *c);

struct mlg_pipe_header *pipe_client_header(const PipeClient *c);
/* Its module starts. */
void pipe_client_begin(PipeClient *c, uint32_t session);
void pipe_client_wish(PipeClient *c, uint64_t number);
void pipe_client_demand(PipeClient *c, uint32_t chunks);
uint32_t pipe_client_target(const PipeClient *c); /* chunks that it may have */
