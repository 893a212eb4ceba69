/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Facts: see facts.h. */
#include "facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* /proc/vmstat has some 5 KiB; lru_gen one block for each memory cgroup, of which only what fits is counted. */
#define TEXT_MAX (16 * 1024)

/* Ages change slowly, and reading them takes locks of the kernel's. */
#define COLD_READ_USEC (10 * 1000 * 1000)
/* Nearly all of our time is spent on vmstat, whose lines the kernel sums up and prints anew. Whatever moves its counters in
 * earnest makes tasks, or the kernel's own reclaim, wait for memory, or changes what is free: while neither is seen only
 * each fifth report reads it. */
#define CALM_MOST 4
#define CALM_KIB 1024

static int open_below(const char *root, const char *path) {
        char full[512];
        int fd;

        if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int) sizeof(full))
                return -ENAMETOOLONG;
        fd = open(full, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int facts_open(FactsReader *r, const char *root) {
        *r = (FactsReader) { .page_kib = (uint64_t) sysconf(_SC_PAGESIZE) / 1024 };
        r->meminfo = open_below(root, "/proc/meminfo");
        r->vmstat = open_below(root, "/proc/vmstat");
        r->pressure = open_below(root, "/proc/pressure/memory");
        r->lru_gen = open_below(root, "/sys/kernel/debug/lru_gen");
        return r->meminfo < 0 ? r->meminfo : 0;
}

/* The text stays valid until the next call. */
static const char *text_of(int fd) {
        static char text[TEXT_MAX];
        size_t n = 0;
        ssize_t k = 1;

        while (fd >= 0 && k > 0 && n < sizeof(text) - 1) { /* the kernel gives a page or less at a time */
                k = pread(fd, text + n, sizeof(text) - 1 - n, (off_t) n);
                n += k > 0 ? (size_t) k : 0;
        }
        text[n] = '\0';
        return text;
}

static bool is_calm(FactsReader *r, const MlgFacts *f) {
        uint32_t needed = MLG_FIELD_BIT(MLG_FIELD_PSI_SOME) | MLG_FIELD_BIT(MLG_FIELD_FREE);
        uint64_t some = f->values[MLG_FACT(MLG_FIELD_PSI_SOME)], free = f->values[MLG_FACT(MLG_FIELD_FREE)];
        uint64_t change = free > r->free_kib ? free - r->free_kib : r->free_kib - free;

        if (r->counters.known && (f->known & needed) == needed && some == r->some_usec && change < CALM_KIB &&
            r->calm < CALM_MOST) {
                r->calm++;
                return true;
        }
        r->some_usec = some;
        r->free_kib = free;
        r->calm = 0;
        return false;
}

static void merge(MlgFacts *f, const MlgFacts *from) {
        for (int i = 0; i < MLG_FIELD_VALUES; i++)
                if (from->known & UINT32_C(1) << i)
                        f->values[i] = from->values[i];
        f->known |= from->known;
}

void facts_read(FactsReader *r, uint64_t now_usec, MlgFacts *ret) {
        MlgFacts f = { .known = 0 };

        if (r->lru_gen >= 0 && now_usec >= r->cold_due_usec) {
                r->cold_due_usec = now_usec + COLD_READ_USEC;
                r->cold.known = 0;
                mlg_facts_parse_lru_gen(text_of(r->lru_gen), r->page_kib, &r->cold);
        }
        f = r->cold;
        mlg_facts_parse_meminfo(text_of(r->meminfo), &f);
        mlg_facts_parse_pressure(text_of(r->pressure), &f);
        if (!is_calm(r, &f)) {
                r->counters.known = 0;
                mlg_facts_parse_vmstat(text_of(r->vmstat), r->page_kib, &r->counters);
        }
        merge(&f, &r->counters);
        *ret = f;
}

static void close_one(int *fd) {
        if (*fd >= 0)
                (void) close(*fd);
        *fd = -1;
}

void facts_close(FactsReader *r) {
        close_one(&r->meminfo);
        close_one(&r->vmstat);
        close_one(&r->pressure);
        close_one(&r->lru_gen);
}
