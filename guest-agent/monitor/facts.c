/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Facts: see facts.h. */
#include "facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* /proc/vmstat has some 5 KiB; lru_gen one block for each memory cgroup, of which only what fits is counted. */
#define TEXT_MAX (16 * 1024)

/* Ages change slowly, and reading them takes locks of the kernel's. */
#define COLD_READ_USEC (10 * 1000 * 1000)
/* Nearly all of our time goes into meminfo and vmstat, whose lines the kernel sums up and prints anew: four fifths of a report.
 * Whatever moves them in earnest makes tasks, or the kernel's own reclaim, wait for memory, or changes what is free, and
 * these two come at a tenth of the price: while neither is seen only each fifth report reads more. What is free is let go by
 * 1 MiB or a thousandth of the memory: less makes no difference to anybody who decides. */
#define CALM_MOST 4
#define CALM_KIB 1024
#define CALM_PART 1024

int facts_open_file(const char *root, const char *path) {
        char full[512];
        int fd;

        if (snprintf(full, sizeof(full), "%s%s", root, path) >= (int) sizeof(full))
                return -ENAMETOOLONG;
        fd = open(full, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int facts_open(FactsReader *r, const char *root) {
        *r = (FactsReader) { .page_kib = (uint64_t) sysconf(_SC_PAGESIZE) / 1024 };
        r->meminfo = facts_open_file(root, "/proc/meminfo");
        r->vmstat = facts_open_file(root, "/proc/vmstat");
        r->pressure = facts_open_file(root, "/proc/pressure/memory");
        r->lru_gen = facts_open_file(root, "/sys/kernel/debug/lru_gen");
        return r->meminfo < 0 ? r->meminfo : 0;
}

uint64_t facts_free_kib(void) {
        struct sysinfo info;

        return sysinfo(&info) == 0 ? (uint64_t) info.freeram * info.mem_unit / 1024 : 0;
}

const char *facts_text_of(int fd, bool is_whole) {
        static char text[TEXT_MAX];
        size_t n = 0;
        ssize_t k = 1;

        while (fd >= 0 && k > 0 && n < sizeof(text) - 1 && !(is_whole && n > 0)) {
                k = pread(fd, text + n, sizeof(text) - 1 - n, (off_t) n);
                n += k > 0 ? (size_t) k : 0;
        }
        text[n] = '\0';
        return text;
}

static bool is_calm(FactsReader *r, const MlgFacts *f, uint64_t free_kib) {
        uint64_t some = f->values[MLG_FACT(MLG_FIELD_PSI_SOME)], total = r->memory.values[MLG_FACT(MLG_FIELD_TOTAL)];
        uint64_t change = free_kib > r->free_kib ? free_kib - r->free_kib : r->free_kib - free_kib;
        uint64_t let_go = total / CALM_PART > CALM_KIB ? total / CALM_PART : CALM_KIB;

        if (r->memory.known && f->known & MLG_FIELD_BIT(MLG_FIELD_PSI_SOME) && some == r->some_usec && change < let_go &&
            r->calm < CALM_MOST) {
                r->calm++;
                return true;
        }
        r->some_usec = some;
        r->free_kib = free_kib;
        r->calm = 0;
        return false;
}

static void merge(MlgFacts *f, const MlgFacts *from) {
        for (int i = 0; i < MLG_FIELD_VALUES; i++)
                if (from->known & UINT32_C(1) << i)
                        f->values[i] = from->values[i];
        f->known |= from->known;
}

void facts_read(FactsReader *r, uint64_t now_usec, uint64_t free_kib, MlgFacts *ret) {
        MlgFacts f = { .known = 0 };

        if (r->lru_gen >= 0 && now_usec >= r->cold_due_usec) {
                r->cold_due_usec = now_usec + COLD_READ_USEC;
                r->cold.known = 0;
                mlg_facts_parse_lru_gen(facts_text_of(r->lru_gen, false), r->page_kib, &r->cold);
        }
        mlg_facts_parse_pressure(facts_text_of(r->pressure, true), &f);
        if (!is_calm(r, &f, free_kib)) {
                r->memory.known = 0;
                mlg_facts_parse_meminfo(facts_text_of(r->meminfo, true), &r->memory);
                mlg_facts_parse_vmstat(facts_text_of(r->vmstat, false), r->page_kib, &r->memory);
        }
        merge(&f, &r->memory);
        merge(&f, &r->cold);
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
