/* SPDX-License-Identifier: GPL-2.0-or-later */
/* predict: how often a guest is short, and what that takes, under each predictor, on recorded guests.
 *
 *     bench/run predict [--traces PATH]... [PREDICTOR...]
 *
 * Each guest's demand is given to the predictor each 300 s; then it is asked what to keep for the next 5 min, or hour:
 * its upper bound where it has one, else its need + 10 % + 64 MiB, at most the guest's maximum (all of that while it has no
 * forecast). A decision is *short* when demand exceeds it within that time. The first rows need no predictor: plain maxima
 * of the past + 10 % + 64 MiB. "of peaks": the memory that a host needs so that in 99.9 % of the time all reserves of the
 * set fit at once, against the sum of the guests' own peaks. README.md explains the keys. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <glib.h>
#include <json-c/json.h>

#include "predict/registry.h"
#include "sim/trace.h"
#include "util/util.h"

#define STEP_SEC UINT64_C(300)
#define HOUR (3600 / STEP_SEC)
#define DAY (86400 / STEP_SEC)

/* One guest in even steps. */
typedef struct Course {
        uint64_t begin_sec, maximum_kib;
        GArray *used_kib; /* uint64_t */
} Course;

typedef struct Result {
        const char *name;
        uint64_t horizon_sec;
        uint64_t n, n_short, nsec;
        double unmet_kib, demand_kib, reserve_kib, capacity_kib;
        size_t bytes;
        double *host_kib; /* sum of reserves per step of the trace */
} Result;

typedef uint64_t (*PlainFn)(const Course *c, size_t at);

static uint64_t used(const Course *c, size_t i) {
        return g_array_index(c->used_kib, uint64_t, i);
}

static uint64_t peak(const Course *c, size_t from, size_t to) {
        uint64_t most = 0;

        for (size_t i = from; i < to && i < c->used_kib->len; i++)
                most = mlg_max(most, used(c, i));
        return most;
}

/* ---- plain ones, to compare with ---- */

static uint64_t hour_max(const Course *c, size_t at) {
        return peak(c, mlg_sub_sat(at + 1, HOUR), at + 1);
}

static uint64_t day_max(const Course *c, size_t at) {
        return peak(c, mlg_sub_sat(at + 1, DAY), at + 1);
}

/* And what was needed at the same time of day, give or take 15 minutes, on the three days before. */
static uint64_t clock_max(const Course *c, size_t at) {
        uint64_t most = hour_max(c, at);

        for (size_t day = 1; day <= 3 && at + 1 >= day * DAY + 3; day++)
                most = mlg_max(most, peak(c, at + 1 - day * DAY - 3, at + 1 - day * DAY + 4));
        return most;
}

static const struct {
        const char *name;
        PlainFn fn;
} plain[] = { { "(max of 1 h)", hour_max }, { "(max of 24 h)", day_max }, { "(max of 1 h, time of day)", clock_max } };

/* ---- courses ---- */

static Course *course_of(const SimTraceGuest *g, uint32_t end_sec) {
        const SimRow *rows = (const SimRow *) g->rows->data;
        Course *c = g_new0(Course, 1);
        guint next = 0;

        c->begin_sec = rows[0].at_sec;
        c->maximum_kib = g->maximum_kib;
        c->used_kib = g_array_new(FALSE, FALSE, sizeof(uint64_t));
        for (uint64_t t = c->begin_sec; t < end_sec; t += STEP_SEC) {
                uint64_t kib;

                while (next + 1 < g->rows->len && rows[next + 1].at_sec <= t)
                        next++;
                if (rows[next].demand_kib == SIM_ROW_GONE)
                        break;
                kib = mlg_min(rows[next].demand_kib, c->maximum_kib);
                g_array_append_val(c->used_kib, kib);
        }
        return c;
}

static void course_free(gpointer p) {
        Course *c = p;

        g_array_unref(c->used_kib);
        g_free(c);
}

/* ---- one row ---- */

static uint64_t padded(const Course *c, uint64_t kib) {
        return mlg_min(kib + kib / 10 + 64 * MLG_KIB_PER_MIB, c->maximum_kib);
}

static uint64_t now_nsec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

static uint64_t ask(const MlgPredictorOps *ops, void *priv, const Course *c, size_t at, uint64_t start_real_sec, Result *r) {
        uint64_t sec = c->begin_sec + at * STEP_SEC, begin, horizon_usec = r->horizon_sec * MLG_USEC_PER_SEC;
        MlgSample s = {
                .at_usec = (sec + 1000) * MLG_USEC_PER_SEC,
                .at_real_sec = start_real_sec + sec,
                .trust = MLG_TRUST_FRESH,
                .is_new = true,
                .actual_kib = c->maximum_kib,
                .maximum_kib = c->maximum_kib,
                .used_kib = used(c, at),
                .usable_kib = c->maximum_kib - used(c, at),
                .knows_usable = true,
        };
        MlgForecast f = {};
        int ok;

        begin = now_nsec();
        ops->observe(priv, &s, horizon_usec);
        ok = ops->predict(priv, horizon_usec, &f);
        r->nsec += now_nsec() - begin;
        if (ok < 0)
                return c->maximum_kib;
        return f.upper_kib ? mlg_min(f.upper_kib, c->maximum_kib) : padded(c, f.need_kib);
}

static void count(Result *r, const Course *c, size_t at, uint64_t reserve_kib) {
        uint64_t demand = peak(c, at + 1, at + 1 + r->horizon_sec / STEP_SEC);

        r->n++;
        r->n_short += demand > reserve_kib;
        r->unmet_kib += (double) mlg_sub_sat(demand, reserve_kib);
        r->demand_kib += (double) demand;
        r->reserve_kib += (double) reserve_kib;
        r->capacity_kib += (double) c->maximum_kib;
        r->host_kib[c->begin_sec / STEP_SEC + at] += (double) reserve_kib;
}

static void run_guest(const MlgPredictorOps *ops, PlainFn fn, const Course *c, uint64_t start_real_sec, Result *r) {
        g_autofree void *priv = ops ? g_malloc0(ops->priv_size) : NULL;

        for (size_t at = 0; at + r->horizon_sec / STEP_SEC < c->used_kib->len; at++)
                count(r, c, at, ops ? ask(ops, priv, c, at, start_real_sec, r) : padded(c, fn(c, at)));
}

static int by_size(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

/* ---- report ---- */

static double percent(double part, double whole) {
        return whole > 0 ? 100.0 * part / whole : 0;
}

static void report(Result *r, size_t n_steps, double peaks_kib, json_object *rows) {
        json_object *row = json_object_new_object();
        double host_kib;
        size_t skipped = n_steps > 2 * DAY ? DAY : 0; /* nothing is known of any guest yet: on a host they come one by one */

        qsort(r->host_kib + skipped, n_steps - skipped, sizeof(r->host_kib[0]), by_size);
        host_kib = r->host_kib[n_steps - 1 - (n_steps - skipped) / 1000];
        fprintf(stderr, "%-26s %5" PRIu64 " s %8.3f %% %8.3f %% %8.2f %% %9.1f %% %8" PRIu64 " ns %7zu B\n",
                r->name, r->horizon_sec, percent((double) r->n_short, (double) r->n),
                percent(r->unmet_kib, r->demand_kib), percent(r->reserve_kib, r->capacity_kib),
                percent(host_kib, peaks_kib), r->n ? r->nsec / r->n : 0, r->bytes);
        json_object_object_add(row, "predictor", json_object_new_string(r->name));
        json_object_object_add(row, "horizon_s", json_object_new_uint64(r->horizon_sec));
        json_object_object_add(row, "short_pct", json_object_new_double(percent((double) r->n_short, (double) r->n)));
        json_object_object_add(row, "unmet_pct", json_object_new_double(percent(r->unmet_kib, r->demand_kib)));
        json_object_object_add(row, "alloc_pct", json_object_new_double(percent(r->reserve_kib, r->capacity_kib)));
        json_object_object_add(row, "host_of_peaks_pct", json_object_new_double(percent(host_kib, peaks_kib)));
        json_object_object_add(row, "ns_per_sample", json_object_new_uint64(r->n ? r->nsec / r->n : 0));
        json_object_object_add(row, "bytes_per_guest", json_object_new_uint64(r->bytes));
        json_object_array_add(rows, row);
}

static void run_row(const GPtrArray *courses, size_t n_steps, const char *name, const MlgPredictorOps *ops, PlainFn fn,
                    uint64_t horizon_sec, uint64_t start_real_sec, json_object *rows) {
        Result r = { .name = name, .horizon_sec = horizon_sec, .bytes = ops ? ops->priv_size : 0 };
        double peaks_kib = 0;

        r.host_kib = g_new0(double, n_steps);
        for (guint i = 0; i < courses->len; i++) {
                const Course *c = courses->pdata[i];

                run_guest(ops, fn, c, start_real_sec, &r);
                peaks_kib += (double) peak(c, 0, c->used_kib->len);
        }
        report(&r, n_steps, peaks_kib, rows);
        g_free(r.host_kib);
}

static bool is_wanted(char **names, const char *name) {
        return !names[0] || g_strv_contains((const char *const *) names, name);
}

static bool run_traces(const char *path, char **names, json_object *rows) {
        static const uint64_t horizons_sec[] = { 300, 3600 };
        g_autoptr(GError) error = NULL;
        g_autoptr(SimTrace) t = sim_trace_load(path, &error);
        g_autoptr(GPtrArray) courses = g_ptr_array_new_with_free_func(course_free);
        size_t n_steps;

        if (!t) {
                fprintf(stderr, "predict: %s\n", error->message);
                return false;
        }
        n_steps = t->end_sec / STEP_SEC + 2;
        for (guint i = 0; i < t->guests->len; i++)
                g_ptr_array_add(courses, course_of(t->guests->pdata[i], t->end_sec));
        fprintf(stderr, "%s: %u guests\n%-26s %7s %10s %10s %10s %11s %11s %9s\n", path, courses->len, "predictor",
                "horizon", "short", "unmet", "allocated", "of peaks", "per sample", "state");
        for (size_t h = 0; h < G_N_ELEMENTS(horizons_sec); h++) {
                for (size_t i = 0; i < G_N_ELEMENTS(plain) && !names[0]; i++)
                        run_row(courses, n_steps, plain[i].name, NULL, plain[i].fn, horizons_sec[h], t->start_real_sec, rows);
                for (size_t i = 0; mlg_predictor_at(i); i++)
                        if (is_wanted(names, mlg_predictor_at(i)->name))
                                run_row(courses, n_steps, mlg_predictor_at(i)->name, mlg_predictor_at(i), NULL, horizons_sec[h],
                                        t->start_real_sec, rows);
        }
        return true;
}

int main(int argc, char *argv[]) {
        g_auto(GStrv) paths = NULL, names = NULL;
        const GOptionEntry options[] = {
                { "traces", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &paths, "File or directory of recorded guests", "PATH" },
                { G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_STRING_ARRAY, &names, NULL, "[PREDICTOR...]" },
                {},
        };
        g_autoptr(GOptionContext) context = g_option_context_new(NULL);
        g_autoptr(GError) error = NULL;
        json_object *result = json_object_new_object(), *rows = json_object_new_array();
        bool ok = true;

        g_option_context_add_main_entries(context, options, NULL);
        if (!g_option_context_parse(context, &argc, &argv, &error)) {
                fprintf(stderr, "predict: %s\n", error->message);
                return 2;
        }
        if (!paths)
                paths = g_strsplit(MLG_BENCH_TRACES, "\n", -1);
        if (!names)
                names = g_new0(char *, 1);
        for (char **n = names; *n; n++)
                if (!mlg_predictor_find(*n)) {
                        fprintf(stderr, "predict: there is no predictor '%s'; there are: %s\n", *n, mlg_predictor_names());
                        return 2;
                }
        for (char **p = paths; *p && ok; p++)
                ok = run_traces(*p, names, rows);
        json_object_object_add(result, "bench", json_object_new_string("predict"));
        json_object_object_add(result, "rows", rows);
        if (ok)
                puts(json_object_to_json_string_ext(result, JSON_C_TO_STRING_PLAIN));
        json_object_put(result);
        return ok ? 0 : 1;
}
