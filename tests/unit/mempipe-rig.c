/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MemPipe's rig: see mempipe-rig.h. */
#include "mempipe-rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

uint64_t rig_random(uint64_t *state) { /* splitmix64 */
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        return z ^ (z >> 31);
}

uint32_t rig_random_size(uint64_t *state, uint32_t most) {
        uint32_t limit = most >> rig_random(state) % (32 - (uint32_t) __builtin_clz(most));

        return 1 + (uint32_t) (rig_random(state) % limit);
}

static uint64_t word(uint64_t n) {
        uint64_t state = n / 8;

        return rig_random(&state);
}

uint8_t rig_byte(uint64_t n) {
        return (uint8_t) (word(n) >> n % 8 * 8);
}

void rig_fill(uint8_t *to, uint64_t n, uint32_t bytes) {
        uint64_t w = word(n);

        for (uint32_t i = 0; i < bytes; i++, n++) {
                if (n % 8 == 0)
                        w = word(n);
                to[i] = (uint8_t) (w >> n % 8 * 8);
        }
}

uint32_t rig_match(const uint8_t *from, uint64_t n, uint32_t bytes) {
        uint64_t w = word(n);

        for (uint32_t i = 0; i < bytes; i++, n++) {
                if (n % 8 == 0)
                        w = word(n);
                if (from[i] != (uint8_t) (w >> n % 8 * 8))
                        return i;
        }
        return bytes;
}

size_t rig_bytes(void) {
        return MLG_PIPE_CHUNKS_AT + ((size_t) RIG_CHUNKS << MLG_PIPE_CHUNK_SHIFT);
}

void *rig_map(int fd) {
        int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE : MAP_SHARED;
        void *base = mmap(NULL, rig_bytes(), PROT_READ | PROT_WRITE, flags, fd, 0);

        if (base == MAP_FAILED) {
                perror("mmap");
                abort();
        }
        return base;
}

void rig_unmap(void *base) {
        (void) munmap(base, rig_bytes());
}

uint32_t rig_tcp_put(RigTcp *tcp, uint64_t n, uint32_t bytes) {
        uint32_t seq = tcp->write_seq, room = RIG_TCP_BYTES - (seq - smp_load_acquire(&tcp->copied_seq));

        bytes = plain_min(bytes, room);
        for (uint32_t i = 0; i < bytes; i++)
                tcp->bytes[(seq + i) % RIG_TCP_BYTES] = rig_byte(n + i);
        smp_store_release(&tcp->write_seq, seq + bytes);
        return bytes;
}

bool rig_tcp_take(RigTcp *tcp, uint64_t n, uint32_t bytes) {
        uint32_t seq = tcp->copied_seq;

        for (uint32_t i = 0; i < bytes; i++)
                if (tcp->bytes[(seq + i) % RIG_TCP_BYTES] != rig_byte(n + i))
                        return false;
        smp_store_release(&tcp->copied_seq, seq + bytes);
        return true;
}
