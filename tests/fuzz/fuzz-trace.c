/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the readers of traces, each by what it recognises. Whatever the text: no crash, an error
 * in words or a trace that keeps what sim/trace.h promises. */
#include "fuzz.h"

#include "sim/guest.h"
#include "sim/trace.h"
#include "util/util.h"

static void check_guest(const SimTrace *t, const SimTraceGuest *g) {
        uint64_t before_sec = 0;

        g_assert(*g->name && g_utf8_validate(g->name, -1, NULL) && g->rows->len > 0);
        for (guint i = 0; i < g->rows->len; i++) {
                const SimRow *r = &g_array_index(g->rows, SimRow, i);

                g_assert(r->at_sec >= before_sec && r->at_sec < t->end_sec + 1);
                g_assert(r->demand_kib == SIM_ROW_GONE ||
                         r->demand_kib <= mlg_sub_sat(g->maximum_kib, SIM_WATERMARK_KIB));
                before_sec = r->at_sec;
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        /* A copy of the exact size: a read behind the end is found by the sanitizer. */
        g_autofree char *text = size > 0 ? g_memdup2(data, size) : NULL;
        g_autoptr(SimTrace) t = sim_trace_new();
        g_autoptr(GError) error = NULL;

        if (!sim_trace_read_text(t, "a.trace", text ?: "", size, &error) ||
            !sim_trace_finish(t, "a.trace", &error)) {
                g_assert(error && *error->message);
                return 0;
        }
        g_assert(!error && t->guests->len > 0 && t->guests->len <= SIM_GUESTS_MAX);
        for (guint i = 0; i < t->guests->len; i++)
                check_guest(t, t->guests->pdata[i]);
        return 0;
}
