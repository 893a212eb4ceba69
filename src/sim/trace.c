/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Trace: the rows, and what all formats share. */
#include "sim/trace.h"

#include <string.h>

#include "sim/guest.h"
#include "util/error.h"
#include "util/util.h"

static const SimFormat *const formats[] = { &sim_format_memlego, &sim_format_bitbrains, &sim_format_google };

static void guest_free(void *p) {
        SimTraceGuest *g = p;

        g_free(g->name);
        g_array_unref(g->rows);
        g_free(g);
}

SimTrace *sim_trace_new(void) {
        SimTrace *t = g_new0(SimTrace, 1);

        t->guests = g_ptr_array_new_with_free_func(guest_free);
        return t;
}

SimTrace *sim_trace_free(SimTrace *t) {
        if (!t)
                return NULL;
        g_ptr_array_unref(t->guests);
        g_free(t);
        return NULL;
}

SimTraceGuest *sim_trace_add_guest(SimTrace *t, const char *name, uint64_t maximum_kib) {
        SimTraceGuest *g;

        if (t->guests->len >= SIM_GUESTS_MAX)
                return NULL;
        g = g_new0(SimTraceGuest, 1);
        g->name = g_strdup(name);
        g->maximum_kib = maximum_kib;
        g->rows = g_array_new(FALSE, FALSE, sizeof(SimRow));
        g_ptr_array_add(t->guests, g);
        return g;
}

static SimRow *last_row(const SimTraceGuest *g) {
        return g->rows->len ? &g_array_index(g->rows, SimRow, g->rows->len - 1) : NULL;
}

bool sim_trace_add_row(SimTrace *t, SimTraceGuest *g, uint64_t at_sec, uint64_t demand_kib) {
        SimRow row = { .at_sec = (uint32_t) at_sec, .demand_kib = demand_kib }, *last = last_row(g);

        if (at_sec > SIM_SECONDS_MAX || t->n_rows >= SIM_ROWS_MAX)
                return false;
        t->n_rows++;
        if (last && last->demand_kib == demand_kib)
                return true;
        if (last && last->at_sec == at_sec)
                last->demand_kib = demand_kib;
        else
                g_array_append_val(g->rows, row);
        return true;
}

bool sim_trace_read_text(SimTrace *t, const char *file, const char *text, size_t len, GError **error) {
        for (size_t i = 0; i < G_N_ELEMENTS(formats); i++)
                if (formats[i]->recognises(text, len))
                        return formats[i]->read(t, file, text, len, error);
        g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT,
                    "%s:1: this is no trace: expected 'memlego-trace 1', the header of a Bitbrains table, or lines of "
                    "'CPU%% MEMORY%%'", file);
        return false;
}

/* Guests that were recorded with the same step report at the same time here: what is lost is less than a step. */
static uint64_t offset_sec(const SimTraceGuest *g, uint64_t base_sec) {
        uint64_t offset = g->start_sec > 0 ? g->start_sec - base_sec : 0;

        return g->step_sec > 0 ? offset - offset % g->step_sec : offset;
}

static void settle_guest(SimTrace *t, SimTraceGuest *g, uint64_t base_sec) {
        uint32_t offset = (uint32_t) offset_sec(g, base_sec);
        uint64_t most_kib = mlg_sub_sat(g->maximum_kib, SIM_WATERMARK_KIB);

        for (guint i = 0; i < g->rows->len; i++) {
                SimRow *r = &g_array_index(g->rows, SimRow, i);

                r->at_sec += offset;
                if (r->demand_kib != SIM_ROW_GONE)
                        r->demand_kib = mlg_min(r->demand_kib, most_kib); /* more nobody can give it */
        }
        if (g->rows->len > 0) {
                const SimRow *last = last_row(g);
                uint32_t lasts = g->step_sec == 0 ? 1 : last->demand_kib == SIM_ROW_GONE ? 0 : g->step_sec;

                t->end_sec = (uint32_t) mlg_max(t->end_sec, last->at_sec + lasts);
        }
}

bool sim_trace_finish(SimTrace *t, const char *path, GError **error) {
        uint64_t base = UINT64_MAX, latest = 0;

        for (guint i = t->guests->len; i-- > 0;) {
                SimTraceGuest *g = t->guests->pdata[i];

                if (g->rows->len == 0) {
                        g_ptr_array_remove_index(t->guests, i); /* it is named, and never ran */
                        continue;
                }
                if (g->start_sec > 0)
                        base = mlg_min(base, g->start_sec);
                latest = mlg_max(latest, g->start_sec);
        }
        if (t->guests->len == 0 || (latest > 0 && latest - base > SIM_SECONDS_MAX)) {
                g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT, "%s: %s", path,
                            t->guests->len == 0 ? "there is no row of any guest in it" :
                                                  "its guests were recorded more than ten years apart");
                return false;
        }
        for (guint i = 0; i < t->guests->len; i++)
                settle_guest(t, t->guests->pdata[i], base);
        if (t->start_real_sec == 0 && latest > 0)
                t->start_real_sec = base;
        return true;
}

uint64_t sim_trace_maxima_kib(const SimTrace *t) {
        uint64_t sum = 0;

        for (guint i = 0; i < t->guests->len; i++)
                sum += ((const SimTraceGuest *) t->guests->pdata[i])->maximum_kib;
        return sum;
}

uint64_t sim_trace_peaks_kib(const SimTrace *t) {
        uint64_t sum = 0;

        for (guint i = 0; i < t->guests->len; i++) {
                const SimTraceGuest *g = t->guests->pdata[i];
                uint64_t peak = 0;

                for (guint k = 0; k < g->rows->len; k++) {
                        uint64_t kib = g_array_index(g->rows, SimRow, k).demand_kib;

                        peak = kib == SIM_ROW_GONE ? peak : mlg_max(peak, kib);
                }
                sum += peak;
        }
        return sum;
}

/* ---- lines ---- */

bool sim_lines_next(SimLines *l) {
        const char *end;

        if (l->at == l->end)
                return false;
        end = memchr(l->at, '\n', (size_t) (l->end - l->at));
        l->line = l->at;
        l->line_end = end ? end : l->end;
        l->at = end ? end + 1 : l->end;
        if (l->line_end > l->line && l->line_end[-1] == '\r')
                l->line_end--;
        l->number++;
        return true;
}

static bool is_blank(char c) {
        return c == ' ' || c == '\t';
}

static const char *skip_blanks(const SimLines *l) {
        const char *p = l->line;

        while (p < l->line_end && is_blank(*p))
                p++;
        return p;
}

bool sim_line_is_empty(SimLines *l) {
        return skip_blanks(l) == l->line_end;
}

bool sim_line_word(SimLines *l, const char *word) {
        const char *p = skip_blanks(l);
        size_t len = strlen(word);

        if ((size_t) (l->line_end - p) < len || memcmp(p, word, len) != 0 ||
            (p + len < l->line_end && !is_blank(p[len])))
                return false;
        l->line = p + len;
        return true;
}

bool sim_digits(const char **p, const char *end, uint64_t *ret) {
        const char *begin = *p;
        uint64_t v = 0;

        for (; *p < end && g_ascii_isdigit(**p); ++*p)
                if (__builtin_mul_overflow(v, 10, &v) ||
                    __builtin_add_overflow(v, (uint64_t) (**p - '0'), &v))
                        return false;
        if (*p == begin)
                return false;
        *ret = v;
        return true;
}

bool sim_line_u64(SimLines *l, uint64_t *ret) {
        const char *p = skip_blanks(l);
        uint64_t v;

        if (!sim_digits(&p, l->line_end, &v) || (p < l->line_end && !is_blank(*p)))
                return false;
        l->line = p;
        *ret = v;
        return true;
}

void sim_line_error(GError **error, const char *file, const SimLines *l, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT, "%s:%u: %s", file, l->number, text);
}
