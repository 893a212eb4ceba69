/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tables derived from Google's cluster data of 2011: one file a guest, whose name is the guest's, a line
 * each 300 s with two percentages, "CPU MEMORY". They are parts of the guest's own capacity, which is not
 * known: each guest counts as one of 4 GiB here. Some say more than 100 %: they wanted all that there
 * was. */
#include <string.h>

#include "memlego/hypervisor.h"
#include "sim/trace.h"
#include "util/util.h"

#define STEP_SEC 300
#define MAXIMUM_KIB (4096 * MLG_KIB_PER_MIB)
/* Longer lines, or more decimals, are no percentages. */
#define LINE_MOST 64

static bool read_percents(const SimLines *l, double *ret_memory) {
        char line[LINE_MOST + 1], *p = line, *end;
        size_t len = (size_t) (l->line_end - l->line);
        double v[2];

        if (len > LINE_MOST)
                return false;
        memcpy(line, l->line, len);
        line[len] = '\0';
        for (int i = 0; i < 2; i++) {
                while (*p == ' ' || *p == '\t')
                        p++;
                if (!g_ascii_isdigit(*p)) /* no sign, no "nan" */
                        return false;
                v[i] = g_ascii_strtod(p, &end);
                if (!(v[i] >= 0) || v[i] > 1e6)
                        return false;
                p = end;
        }
        *ret_memory = v[1];
        return *p == '\0' && strlen(line) == len;
}

static bool recognises(const char *text, size_t len) {
        SimLines l = { .at = text, .end = text + len };
        double percent;

        return sim_lines_next(&l) && read_percents(&l, &percent);
}

static bool read_text(SimTrace *t, const char *file, const char *text, size_t len, GError **error) {
        g_autofree char *base = g_path_get_basename(file), *name = NULL;
        SimLines l = { .at = text, .end = text + len };
        SimTraceGuest *g;

        name = g_utf8_make_valid(base, -1);
        if (strlen(name) > MLG_NAME_MAX)
                name[MLG_NAME_MAX] = '\0';
        g = sim_trace_add_guest(t, name, MAXIMUM_KIB);
        if (!g) {
                sim_line_error(error, file, &l, "expected at most %d guests", SIM_GUESTS_MAX);
                return false;
        }
        g->step_sec = STEP_SEC;
        while (sim_lines_next(&l)) {
                double percent;

                if (sim_line_is_empty(&l))
                        continue;
                if (!read_percents(&l, &percent) ||
                    !sim_trace_add_row(t, g, (uint64_t) (l.number - 1) * STEP_SEC,
                                       (uint64_t) (percent / 100 * (double) MAXIMUM_KIB))) {
                        sim_line_error(error, file, &l, "expected two percentages, CPU and memory");
                        return false;
                }
        }
        return true;
}

const SimFormat sim_format_google = { .name = "google2011", .recognises = recognises, .read = read_text };
