/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Facts: see facts.h. */
#include "facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* /proc/vmstat has some 5 KiB; lru_gen one block for each memory cgroup, of which only what fits is counted. */
#define TEXT_MAX (16 * 1024)

/* Untouched for so long counts as cold: longer than the pauses of programs that wait for people. */
#define COLD_AGE_SEC 120
/* Ages change slowly, and reading them takes locks of the kernel's. */
#define COLD_READ_USEC (10 * 1000 * 1000)
/* When the kernel looked last longer ago than this, its ages tell nothing of now. */
#define COLD_LOOKED_SEC 600

/* Nearly all of our time is spent on vmstat, whose lines the kernel sums up and prints anew. Whatever moves its counters in
 * earnest makes tasks, or the kernel's own reclaim, wait for memory, or changes what is free: while neither is seen only
 * each fifth report reads it. */
#define CALM_MOST 4
#define CALM_KIB 1024

typedef struct Key {
        const char *name;
        int id;
} Key;

static const Key meminfo_keys[] = {
        { "MemTotal:", MLG_FIELD_TOTAL }, { "MemFree:", MLG_FIELD_FREE }, { "MemAvailable:", MLG_FIELD_AVAILABLE },
        { "Active:", MLG_FIELD_ACTIVE }, { "Inactive:", MLG_FIELD_INACTIVE }, { NULL, 0 },
};

/* In pages where `pages`; kernels before 5.9 have one counter of refaults. */
static const struct {
        Key key;
        bool pages;
} vmstat_keys[] = {
        { { "pswpin", MLG_FIELD_SWAP_IN }, true }, { { "pswpout", MLG_FIELD_SWAP_OUT }, true },
        { { "pgmajfault", MLG_FIELD_MAJOR_FAULTS }, false },
        { { "workingset_refault", MLG_FIELD_REFAULTS }, true },
        { { "workingset_refault_anon", MLG_FIELD_REFAULTS }, true },
        { { "workingset_refault_file", MLG_FIELD_REFAULTS }, true },
        { { "oom_kill", MLG_FIELD_OOM_KILLS }, false },
};

static void set(Facts *f, int id, uint64_t value) {
        f->known |= MLG_FIELD_BIT(id);
        f->values[FACT(id)] = value;
}

static void add(Facts *f, int id, uint64_t value) {
        set(f, id, (f->known & MLG_FIELD_BIT(id) ? f->values[FACT(id)] : 0) + value);
}

static const char *next_line(const char *line) {
        const char *end = strchr(line, '\n');

        return end ? end + 1 : line + strlen(line);
}

/* The number behind `key` and blanks at the start of the line. */
static bool number_after(const char *line, const char *key, uint64_t *ret) {
        size_t n = strlen(key);
        char *end;

        if (strncmp(line, key, n) != 0 || (key[n - 1] != ':' && line[n] != ' '))
                return false;
        line += n + strspn(line + n, " ");
        if (*line < '0' || *line > '9')
                return false;
        errno = 0;
        *ret = strtoull(line, &end, 10);
        return errno == 0;
}

void facts_parse_meminfo(const char *text, Facts *f) {
        uint64_t v;

        for (; *text; text = next_line(text))
                for (const Key *k = meminfo_keys; k->name; k++)
                        if (number_after(text, k->name, &v))
                                set(f, k->id, v);
}

void facts_parse_vmstat(const char *text, uint64_t page_kib, Facts *f) {
        uint64_t v;

        f->known &= ~MLG_FIELD_BIT(MLG_FIELD_REFAULTS); /* a sum */
        for (; *text; text = next_line(text))
                for (size_t i = 0; strchr("pwo", *text) && i < sizeof(vmstat_keys) / sizeof(vmstat_keys[0]); i++)
                        if (number_after(text, vmstat_keys[i].key.name, &v))
                                add(f, vmstat_keys[i].key.id, vmstat_keys[i].pages ? v * page_kib : v);
}

void facts_parse_pressure(const char *text, Facts *f) {
        for (; *text; text = next_line(text)) {
                const char *end = next_line(text), *total = strstr(text, " total=");
                int id = strncmp(text, "some ", 5) == 0 ? MLG_FIELD_PSI_SOME :
                         strncmp(text, "full ", 5) == 0 ? MLG_FIELD_PSI_FULL : 0;

                if (id && total && total < end)
                        set(f, id, strtoull(total + 7, NULL, 10));
        }
}

/* One node of one cgroup: its generations, oldest first, as age in seconds and pages. */
typedef struct Node {
        uint64_t age_sec[8], pages[8];
        unsigned int n;
} Node;

/* A page of generation g was not touched since generation g + 1 began, as far as the kernel looked: it looked last
 * when the youngest one began. */
static uint64_t cold_pages(const Node *node) {
        uint64_t looked_sec = node->n ? node->age_sec[node->n - 1] : 0, pages = 0;

        for (unsigned int g = 0; looked_sec <= COLD_LOOKED_SEC && g + 1 < node->n; g++)
                if (node->age_sec[g + 1] >= looked_sec + COLD_AGE_SEC)
                        pages += node->pages[g];
        return pages;
}

/* "memcg ID PATH", " node N", "  GENERATION AGE_MS ANON FILE" */
void facts_parse_lru_gen(const char *text, uint64_t page_kib, Facts *f) {
        Node node = { .n = 0 };
        uint64_t pages = 0;
        bool any = false;

        for (; *text; text = next_line(text)) {
                unsigned long long generation, age_ms;
                long long anon, file;

                if (sscanf(text, " %llu %llu %lld %lld", &generation, &age_ms, &anon, &file) != 4) {
                        pages += cold_pages(&node);
                        node.n = 0;
                        continue;
                }
                any = true;
                if (node.n == sizeof(node.age_sec) / sizeof(node.age_sec[0]))
                        continue;
                node.age_sec[node.n] = age_ms / 1000;
                node.pages[node.n++] = (uint64_t) ((anon > 0 ? anon : 0) + (file > 0 ? file : 0));
        }
        pages += cold_pages(&node);
        if (!any)
                return;
        set(f, MLG_FIELD_COLD, pages * page_kib);
        set(f, MLG_FIELD_COLD_AGE, COLD_AGE_SEC);
}

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

static bool is_calm(FactsReader *r, const Facts *f) {
        uint32_t needed = MLG_FIELD_BIT(MLG_FIELD_PSI_SOME) | MLG_FIELD_BIT(MLG_FIELD_FREE);
        uint64_t some = f->values[FACT(MLG_FIELD_PSI_SOME)], free = f->values[FACT(MLG_FIELD_FREE)];
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

static void merge(Facts *f, const Facts *from) {
        for (int i = 0; i < MLG_FIELD_VALUES; i++)
                if (from->known & UINT32_C(1) << i)
                        f->values[i] = from->values[i];
        f->known |= from->known;
}

void facts_read(FactsReader *r, uint64_t now_usec, Facts *ret) {
        Facts f = { .known = 0 };

        if (r->lru_gen >= 0 && now_usec >= r->cold_due_usec) {
                r->cold_due_usec = now_usec + COLD_READ_USEC;
                r->cold.known = 0;
                facts_parse_lru_gen(text_of(r->lru_gen), r->page_kib, &r->cold);
        }
        f = r->cold;
        facts_parse_meminfo(text_of(r->meminfo), &f);
        facts_parse_pressure(text_of(r->pressure), &f);
        if (!is_calm(r, &f)) {
                r->counters.known = 0;
                facts_parse_vmstat(text_of(r->vmstat), r->page_kib, &r->counters);
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
