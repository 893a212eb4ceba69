/* SPDX-License-Identifier: GPL-2.0-or-later */
/* As a module that swaps into memory that it is lent (MemFlex). Each page of a chunk that was filled has the
 * numbers of the session, the chunk and the page; which chunks these were, and as lent by which number, is
 * noted in the section. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "memlego/memflex-abi.h"
#include "pipedev.h"

static struct mlg_flex_header *header(void) {
        return (struct mlg_flex_header *) memory;
}

static struct mlg_flex_section *section(void) {
        return (struct mlg_flex_section *) (memory + MLG_FLEX_SECTION_AT);
}

static uint8_t lent(uint32_t c) {
        return __atomic_load_n(memory + MLG_FLEX_LENT_AT + c, __ATOMIC_ACQUIRE);
}

static uint8_t *back(uint32_t c) {
        return memory + MLG_FLEX_BACK_AT + c;
}

static bool is_held(uint32_t c) {
        return lent(c) != 0 && lent(c) != *back(c);
}

static uint64_t *page(uint32_t c, uint32_t n) {
        return (uint64_t *) (memory + MLG_FLEX_CHUNKS_AT + ((uint64_t) c << MLG_FLEX_CHUNK_SHIFT) +
                             n * 4096);
}

static uint64_t mark(uint32_t c, uint32_t n) {
        return (uint64_t) section()->session << 32 | c << 8 | n;
}

static void ring_host(void) {
        registers[DOORBELL] = MLG_FLEX_HOST << 16 | MLG_FLEX_VECTOR;
}

static uint32_t held(void) {
        uint32_t n = 0;

        for (uint32_t c = 0; c < header()->n_chunks; c++)
                n += is_held(c);
        return n;
}

static void start(uint32_t session, uint32_t want) {
        memset(section(), 0, sizeof(*section()));
        section()->session = session;
        ring_host();
        for (int i = 0; __atomic_load_n(&header()->session, __ATOMIC_ACQUIRE) != session; i++) {
                if (i == 10000) {
                        fprintf(stderr, "the host does not show the session\n");
                        exit(1);
                }
                usleep(1000);
        }
        section()->epoch = header()->epoch;
        section()->want_chunks = want;
        __atomic_store_n(&section()->version, MLG_FLEX_VERSION, __ATOMIC_RELEASE);
        ring_host();
        printf("%u\n", section()->epoch);
}

#define NOTES sizeof(section()->reserved2)

static void fill(void) {
        for (uint32_t c = 0; c < header()->n_chunks && c < NOTES; c++) {
                section()->reserved2[c] = is_held(c) ? lent(c) : 0;
                for (uint32_t n = 0; section()->reserved2[c] && n < MLG_FLEX_CHUNK_PAGES; n++)
                        *page(c, n) = mark(c, n);
        }
}

static bool is_filled(uint32_t c) {
        return is_held(c) && section()->reserved2[c] == lent(c);
}

/* How many pages of what was filled and is still held are right, and how many are not. */
static void check(void) {
        uint32_t right = 0, wrong = 0;

        for (uint32_t c = 0; c < header()->n_chunks && c < NOTES; c++)
                for (uint32_t n = 0; is_filled(c) && n < MLG_FLEX_CHUNK_PAGES; n++)
                        *(*page(c, n) == mark(c, n) ? &right : &wrong) += 1;
        printf("%u %u\n", right, wrong);
}

static void give_back(uint32_t n) {
        for (uint32_t c = header()->n_chunks; c > 0 && n > 0; c--)
                if (is_held(c - 1)) {
                        __atomic_store_n(back(c - 1), lent(c - 1), __ATOMIC_RELEASE);
                        n--;
                }
        ring_host();
}

/* Gives back what is called back, for so many seconds; prints how many chunks it gave. */
static void obey(uint32_t seconds) {
        time_t end = time(NULL) + (time_t) seconds;
        uint32_t given = 0;

        while (time(NULL) < end) {
                uint32_t n = held(), target = __atomic_load_n(&header()->target_chunks, __ATOMIC_ACQUIRE);

                if (n > target) {
                        give_back(n - target);
                        given += n - target;
                }
                usleep(20000);
        }
        printf("%u\n", given);
}

int flex(const char *command, uint32_t a, uint32_t b) {
        const struct mlg_flex_header *h = header();

        if (strcmp(command, "header") == 0)
                printf("%#" PRIx64 " %u %" PRIu64 " %u %u\n", (uint64_t) h->magic, h->version,
                       (uint64_t) h->pool_bytes >> 20, h->n_chunks, h->quota_chunks);
        else if (strcmp(command, "target") == 0)
                printf("%u\n", h->target_chunks);
        else if (strcmp(command, "start") == 0)
                start(a, b);
        else if (strcmp(command, "want") == 0) {
                section()->want_chunks = a;
                ring_host();
        } else if (strcmp(command, "held") == 0)
                printf("%u\n", held());
        else if (strcmp(command, "fill") == 0)
                fill();
        else if (strcmp(command, "check") == 0)
                check();
        else if (strcmp(command, "give") == 0)
                give_back(a);
        else if (strcmp(command, "obey") == 0)
                obey(a);
        else
                return 2;
        return 0;
}
