/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe's rig: a region of the test's own, both ends of one direction of a pipe in it, and a stand-in
 * for TCP: a queue of bytes with sequence numbers. Byte n of a stream is a function of n, so that a byte
 * that is lost, doubled or out of place shows. */
#pragma once

#include <stdint.h>

#include "mempipe/core/region.h"
#include "mempipe/core/ring.h"
#include "mempipe/core/switch.h"
#include "mempipe/core/wake.h"

#define RIG_CHUNKS 256u
#define RIG_TCP_BYTES (256u << 10)

/* One sender, one receiver; may lie in memory that two processes share. */
typedef struct RigTcp {
        uint32_t write_seq;  /* by the sender: what was given to TCP */
        uint32_t rcv_nxt;    /* by whoever plays the network: what has come in */
        uint32_t copied_seq; /* by the receiver */
        uint8_t bytes[RIG_TCP_BYTES];
} RigTcp;

uint8_t rig_byte(uint64_t n);
void rig_fill(uint8_t *to, uint64_t n, uint32_t bytes);
/* How many bytes are those of a stream from `n` on, before the first that is not. */
uint32_t rig_match(const uint8_t *from, uint64_t n, uint32_t bytes);

uint64_t rig_random(uint64_t *state);
/* 1 to `most`, small numbers as likely as large ones. */
uint32_t rig_random_size(uint64_t *state, uint32_t most);

/* A region of RIG_CHUNKS chunks, zeroes, anonymous if fd < 0; never NULL. */
void *rig_map(int fd);
size_t rig_bytes(void);
void rig_unmap(void *base);

/* The bytes go in as far as there is room; how many went. */
uint32_t rig_tcp_put(RigTcp *tcp, uint64_t n, uint32_t bytes);
/* Takes out `bytes`, which must have come in; false: not those of a stream from `n` on. */
bool rig_tcp_take(RigTcp *tcp, uint64_t n, uint32_t bytes);
