/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest-facts: see guest-facts.h. It is built into memlego-guestd, too: nothing but a C library is used. */
#include "hypervisor/guest-facts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Untouched for so long counts as cold: longer than the pauses of programs that wait for people. */
#define COLD_AGE_SEC 120
/* When the kernel looked last longer ago than this, its ages tell nothing of now. */
#define COLD_LOOKED_SEC 600

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

static void set(MlgFacts *f, int id, uint64_t value) {
        f->known |= MLG_FIELD_BIT(id);
        f->values[MLG_FACT(id)] = value;
}

static void add(MlgFacts *f, int id, uint64_t value) {
        set(f, id, (f->known & MLG_FIELD_BIT(id) ? f->values[MLG_FACT(id)] : 0) + value);
}

static const char *next_line(const char *line) {
        const char *end = strchr(line, '\n');

        return end ? end + 1 : line + strlen(line);
}

/* The number behind `key` and blanks at the start of the line. Hundreds of lines in each report have another key, and mostly
 * another first character, which callers look at before. */
static bool number_after(const char *line, const char *key, uint64_t *ret) {
        char *end;

        while (*key && *line == *key)
                line++, key++;
        if (*key || (key[-1] != ':' && *line != ' '))
                return false;
        line += strspn(line, " ");
        if (*line < '0' || *line > '9')
                return false;
        errno = 0;
        *ret = strtoull(line, &end, 10);
        return errno == 0;
}

/* Three lines make one value: of what is out some is still in memory as well. */
static const char *const swap_keys[] = { "SwapTotal:", "SwapFree:", "SwapCached:" };

void mlg_facts_parse_meminfo(const char *text, MlgFacts *f) {
        uint64_t v, swap[3] = { 0, 0, 0 };
        unsigned int n_swap = 0;

        for (; *text; text = next_line(text)) {
                for (const Key *k = meminfo_keys; k->name; k++)
                        if (*text == *k->name && number_after(text, k->name, &v))
                                set(f, k->id, v);
                for (size_t i = 0; *text == 'S' && i < sizeof(swap) / sizeof(swap[0]); i++)
                        if (number_after(text, swap_keys[i], &swap[i]))
                                n_swap++;
        }
        if (n_swap == 3)
                set(f, MLG_FIELD_SWAPPED, swap[0] > swap[1] + swap[2] ? swap[0] - swap[1] - swap[2] : 0);
}

void mlg_facts_parse_vmstat(const char *text, uint64_t page_kib, MlgFacts *f) {
        uint64_t v;

        f->known &= ~MLG_FIELD_BIT(MLG_FIELD_REFAULTS); /* a sum */
        for (; *text; text = next_line(text))
                for (size_t i = 0; i < sizeof(vmstat_keys) / sizeof(vmstat_keys[0]); i++)
                        if (*text == *vmstat_keys[i].key.name && number_after(text, vmstat_keys[i].key.name, &v))
                                add(f, vmstat_keys[i].key.id, vmstat_keys[i].pages ? v * page_kib : v);
}

void mlg_facts_parse_pressure(const char *text, MlgFacts *f) {
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
void mlg_facts_parse_lru_gen(const char *text, uint64_t page_kib, MlgFacts *f) {
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

void mlg_raw_monitor_set(MlgRawMonitor *raw, uint8_t id, uint64_t value) {
        static const size_t offsets[MLG_FIELD_VALUES] = {
#define ROW(field, member) [MLG_FIELD_##field - MLG_FIELD_FIRST_VALUE] = offsetof(MlgRawMonitor, member)
                ROW(TOTAL, total_kib),
                ROW(AVAILABLE, available_kib),
                ROW(FREE, free_kib),
                ROW(ACTIVE, active_kib),
                ROW(INACTIVE, inactive_kib),
                ROW(SWAP_IN, swap_in_kib),
                ROW(SWAP_OUT, swap_out_kib),
                ROW(MAJOR_FAULTS, major_faults),
                ROW(REFAULTS, refault_kib),
                ROW(PSI_SOME, psi_some_usec),
                ROW(PSI_FULL, psi_full_usec),
                ROW(OOM_KILLS, oom_kills),
                ROW(COLD, cold_kib),
                ROW(COLD_AGE, cold_age_sec),
                ROW(SWAPPED, swapped_kib),
                ROW(SWAP_IN_NUMBER, swap_in_number),
                ROW(SWAP_IN_STATE, swap_in_state),
                ROW(SWAP_IN_DONE, swap_in_done_kib),
                ROW(STACK_CALLS, stack_calls),
                ROW(STACK_HELD, stack_held_bytes),
                ROW(STACK_REFUSED, stack_refused),
                ROW(STACK_FOREIGN, stack_violations[MLG_STACK_FOREIGN]),
                ROW(STACK_PLACE, stack_violations[MLG_STACK_PLACE]),
                ROW(STACK_NOTHING, stack_violations[MLG_STACK_NOTHING]),
                ROW(STACK_TRACED, stack_violations[MLG_STACK_TRACED]),
                ROW(STACK_LOST, stack_violations[MLG_STACK_LOST]),
                ROW(STACK_NO_CHILD, stack_violations[MLG_STACK_NO_CHILD]),
#undef ROW
        };

        memcpy((char *) raw + offsets[id - MLG_FIELD_FIRST_VALUE], &value, sizeof(value));
}

void mlg_facts_to_raw(const MlgFacts *f, MlgRawMonitor *ret) {
        *ret = (MlgRawMonitor) { .have = mlg_monitor_features(f->known) };
        for (uint8_t id = MLG_FIELD_FIRST_VALUE; id <= MLG_FIELD_LAST_VALUE; id++)
                mlg_raw_monitor_set(ret, id, f->known & MLG_FIELD_BIT(id) ? f->values[MLG_FACT(id)] : 0);
}
