/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The Bitbrains set (GWA-T-12 of TU Delft's Grid Workloads Archive) as a table: a header line that begins
 * with # and explains the fields, then one guest a line, seven fields separated by tabs:
 *
 *      name, start (wall clock), step in seconds, number of points, filled points, INDEX:CAPACITY,... and USAGE,... in MiB
 *
 * A guest's maximum is the largest capacity that it ever had. */
#include <string.h>

#include "memlego/hypervisor.h"
#include "sim/trace.h"
#include "util/util.h"

#define N_FIELDS 7
enum { NAME, START, STEP, POINTS, FILLED, CAPACITY, USAGE };

typedef struct Field {
        const char *at, *end;
} Field;

static size_t split(const char *line, const char *end, Field *ret) {
        size_t n = 0;

        for (const char *p = line; n < N_FIELDS; p++) {
                if (p < end && *p != '\t')
                        continue;
                ret[n++] = (Field) { line, p };
                line = p + 1;
                if (p == end)
                        return n;
        }
        return N_FIELDS + 1;
}

static bool recognises(const char *text, size_t len) {
        SimLines l = { .at = text, .end = text + len };
        Field fields[N_FIELDS];

        return sim_lines_next(&l) && l.line < l.line_end && *l.line == '#' && sim_lines_next(&l) &&
               split(l.line, l.line_end, fields) == N_FIELDS;
}

/* Digits up to `stop` or the field's end, which is skipped. */
static bool take(Field *f, char stop, uint64_t *ret) {
        uint64_t v;

        if (!sim_digits(&f->at, f->end, &v) || (f->at < f->end && *f->at != stop))
                return false;
        if (f->at < f->end)
                f->at++;
        *ret = v;
        return true;
}

static bool take_mib(Field *f, uint64_t *ret) {
        return take(f, ',', ret) && *ret <= SIM_GUEST_KIB_MAX / MLG_KIB_PER_MIB;
}

static bool read_capacity(Field f, uint64_t *ret_mib) {
        uint64_t most = 0, index, mib;

        while (f.at < f.end) {
                if (!take(&f, ':', &index) || !take_mib(&f, &mib))
                        return false;
                most = mlg_max(most, mib);
        }
        *ret_mib = most;
        return true;
}

static bool read_usage(SimTrace *t, SimTraceGuest *g, Field f) {
        uint64_t mib, at_sec = 0, peak = 0;

        for (; f.at < f.end; at_sec += g->step_sec) {
                if (!take_mib(&f, &mib) || !sim_trace_add_row(t, g, at_sec, mib * MLG_KIB_PER_MIB))
                        return false;
                peak = mlg_max(peak, mib);
        }
        /* The capacity is noted less often than the usage. */
        g->maximum_kib = mlg_max(g->maximum_kib, peak * MLG_KIB_PER_MIB);
        /* Its recording ends here, others may go on: nothing is known of it any more. */
        return at_sec == 0 || sim_trace_add_row(t, g, at_sec, SIM_ROW_GONE);
}

/* NULL, or what was expected. */
static const char *read_guest(SimTrace *t, Field *fields) {
        g_autofree char *name = NULL;
        uint64_t start, step, capacity_mib;
        SimTraceGuest *g;

        if (fields[NAME].at == fields[NAME].end || fields[NAME].end - fields[NAME].at > MLG_NAME_MAX ||
            !g_utf8_validate(fields[NAME].at, fields[NAME].end - fields[NAME].at, NULL))
                return "a name in the first field";
        if (!take(&fields[START], '\t', &start) || start == 0)
                return "the time of the start, in seconds, in the second field";
        if (!take(&fields[STEP], '\t', &step) || step == 0 || step > 86400)
                return "a step of 1 to 86400 s in the third field";
        if (!read_capacity(fields[CAPACITY], &capacity_mib))
                return "INDEX:MIB,... in the sixth field";
        name = g_strndup(fields[NAME].at, (gsize) (fields[NAME].end - fields[NAME].at));
        g = sim_trace_add_guest(t, name, capacity_mib * MLG_KIB_PER_MIB);
        if (!g)
                return "fewer guests: this is one too many";
        g->start_sec = start;
        g->step_sec = (uint32_t) step;
        return read_usage(t, g, fields[USAGE]) ? NULL : "MIB,MIB,... in the seventh field";
}

static bool read_text(SimTrace *t, const char *file, const char *text, size_t len, GError **error) {
        SimLines l = { .at = text, .end = text + len };

        while (sim_lines_next(&l)) {
                Field fields[N_FIELDS];
                const char *expected;

                if (sim_line_is_empty(&l) || *l.line == '#')
                        continue;
                expected = split(l.line, l.line_end, fields) == N_FIELDS ? read_guest(t, fields) :
                                                                          "seven fields separated by tabs";
                if (expected) {
                        sim_line_error(error, file, &l, "expected %s", expected);
                        return false;
                }
        }
        return true;
}

const SimFormat sim_format_bitbrains = { .name = "bitbrains", .recognises = recognises, .read = read_text };
