/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Simulate, the report: values in, a table or JSON out. */
#include <inttypes.h>
#include <stdlib.h>

#include <json-c/json.h>

#include "ctl/simulate.h"
#include "ctl/snapshot.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "util/parse.h"
#include "util/util.h"

#define WORST_GUESTS 5

static double percent(double part, double whole) {
        return whole > 0 ? 100 * part / whole : 0;
}

static char *percent_text(double part, double whole) {
        double p = percent(part, whole);

        /* Where there is a little, it must not look like nothing. */
        if (p > 0 && p < 0.001)
                return g_strdup("<0.001 %");
        return g_strdup_printf(p < 10 ? "%.3f %%" : "%.1f %%", p);
}

static double mib(double kib) {
        return kib / (double) MLG_KIB_PER_MIB;
}

/* ---- text ---- */

static void add_count(MlgTable *t, uint64_t n, MlgColour colour_if_any) {
        mlg_table_add(t, n ? colour_if_any : MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, n));
}

static void render_runs(const MlgSimReport *r, const MlgStyle *style, GString *out) {
        static const MlgColumn columns[] = {
                { "POLICY" },          { "PREDICTOR" },     { "SHORT", true }, { "UNMET", true },
                { "ALLOCATED", true }, { "MOVES", true },   { "MOVED", true }, { "TURNS", true },
                { "OSCILL.", true },   { "SWAP-IN", true }, { "OOM", true },   { "VIOLATIONS", true },
                { "DECIDE", true },
        };
        g_autoptr(MlgTable) t = mlg_table_new(columns, G_N_ELEMENTS(columns));

        for (size_t i = 0; i < r->n_runs; i++) {
                const MlgSimRun *run = &r->runs[i];
                const SimGuestResult *a = &run->result.all;

                mlg_table_add(t, MLG_COLOUR_BOLD, g_strdup(run->policy));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup(run->predictor));
                mlg_table_add(t, MLG_COLOUR_PLAIN, percent_text(a->short_sec, a->run_sec));
                mlg_table_add(t, MLG_COLOUR_PLAIN, percent_text(a->unmet_kib_sec, a->demand_kib_sec));
                mlg_table_add(t, MLG_COLOUR_PLAIN,
                              percent_text(a->actual_kib_sec, run->result.capacity_kib_sec));
                add_count(t, a->moves, MLG_COLOUR_PLAIN);
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(a->moved_kib));
                add_count(t, a->turns, MLG_COLOUR_PLAIN);
                add_count(t, a->oscillations, MLG_COLOUR_YELLOW);
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(a->swap_in_kib));
                add_count(t, a->oom_kills, MLG_COLOUR_RED);
                add_count(t, run->result.n_violations, MLG_COLOUR_RED);
                mlg_table_add(t, MLG_COLOUR_DIM, g_strdup_printf("%.0f ns", run->result.n_decided ?
                              (double) run->result.decide_nsec / (double) run->result.n_decided : 0.0));
        }
        mlg_table_render(t, style, 0, SIZE_MAX, out);
}

typedef struct Worst {
        const SimTraceGuest *guest;
        const SimGuestResult *result;
} Worst;

static int by_unmet(const void *a, const void *b) {
        double x = ((const Worst *) a)->result->unmet_kib_sec,
               y = ((const Worst *) b)->result->unmet_kib_sec;

        return x > y ? -1 : x < y;
}

static void render_worst(const MlgSimReport *r, const MlgStyle *style, GString *out) {
        static const MlgColumn columns[] = { { "WORST GUESTS" }, { "MAXIMUM", true }, { "SHORT", true },
                                             { "UNMET", true },  { "MOVES", true },   { "SWAP-IN", true },
                                             { "OOM", true } };
        g_autoptr(MlgTable) t = mlg_table_new(columns, G_N_ELEMENTS(columns));
        const SimResult *result = &r->runs[0].result;
        g_autofree Worst *worst = g_new(Worst, result->n_guests);

        for (size_t i = 0; i < result->n_guests; i++)
                worst[i] = (Worst) { r->trace->guests->pdata[i], &result->guests[i] };
        qsort(worst, result->n_guests, sizeof(worst[0]), by_unmet);
        if (worst[0].result->unmet_kib_sec <= 0)
                return;
        for (size_t i = 0; i < mlg_min(result->n_guests, WORST_GUESTS) && worst[i].result->unmet_kib_sec > 0;
             i++) {
                const SimGuestResult *g = worst[i].result;

                mlg_table_add(t, MLG_COLOUR_PLAIN,
                              mlg_text_escape(worst[i].guest->name, MLG_TEXT_LINE, style->utf8));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(worst[i].guest->maximum_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, percent_text(g->short_sec, g->run_sec));
                mlg_table_add(t, MLG_COLOUR_PLAIN, percent_text(g->unmet_kib_sec, g->demand_kib_sec));
                add_count(t, g->moves, MLG_COLOUR_PLAIN);
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(g->swap_in_kib));
                add_count(t, g->oom_kills, MLG_COLOUR_RED);
        }
        g_string_append_c(out, '\n');
        mlg_table_render(t, style, 0, SIZE_MAX, out);
}

void mlg_simulate_render(const MlgSimReport *r, const MlgStyle *style, GString *out) {
        const SimResult *first = &r->runs[0].result;
        g_autofree char *name = mlg_text_escape(r->trace_name, MLG_TEXT_LINE, style->utf8);
        g_autofree char *time = mlg_format_usec(first->simulated_usec), *host = mlg_format_kib(r->host_kib);
        g_autofree char *budget = mlg_format_kib(first->budget_kib);
        g_autofree char *maxima = mlg_format_kib(sim_trace_maxima_kib(r->trace));
        g_autofree char *peaks = mlg_format_kib(sim_trace_peaks_kib(r->trace));

        g_string_append_printf(out, "%" PRIu64 " guests of %s, %s, on a host with %s: %s for guests\n"
                               "Their maxima are %s together, their own peaks %s; on average they use %.1f %% of their maxima\n",
                               first->n_guests, name, time, host, budget, maxima, peaks,
                               percent(first->all.demand_kib_sec, first->capacity_kib_sec));
        if (first->floors_kib > first->budget_kib) {
                g_autofree char *floors = mlg_format_kib(first->floors_kib);

                g_string_append_printf(
                        out, "Their floors are %s together: more than there is, so nothing can be moved\n",
                        floors);
        }
        if (r->trace->n_strained > 0)
                g_string_append_printf(
                        out,
                        "In %.1f %% of the rows the guest waited for memory while it was recorded: it wanted "
                        "more than the trace shows\n",
                        percent((double) r->trace->n_strained, (double) r->trace->n_rows));
        g_string_append_c(out, '\n');
        render_runs(r, style, out);
        if (r->n_runs == 1)
                render_worst(r, style, out);
}

/* ---- JSON ---- */

static void put_double(json_object *o, const char *key, double v) {
        g_autofree char *text = g_strdup_printf("%.6g", v); /* the same digits everywhere */

        (void) json_object_object_add(o, key, json_object_new_double_s(v, text));
}

static void put_u64(json_object *o, const char *key, uint64_t v) {
        (void) json_object_object_add(o, key, json_object_new_uint64(v));
}

static void put_guest_result(json_object *o, const SimGuestResult *g) {
        put_double(o, "short_guest_s", g->short_sec);
        put_double(o, "short_pct", percent(g->short_sec, g->run_sec));
        put_double(o, "unmet_mib_s", mib(g->unmet_kib_sec));
        put_double(o, "unmet_pct", percent(g->unmet_kib_sec, g->demand_kib_sec));
        put_u64(o, "moves", g->moves);
        put_double(o, "moved_gib", mib((double) g->moved_kib) / 1024);
        put_u64(o, "turns", g->turns);
        put_u64(o, "oscillations", g->oscillations);
        put_double(o, "swap_in_mib", mib((double) g->swap_in_kib));
        put_double(o, "swap_out_mib", mib((double) g->swap_out_kib));
        put_u64(o, "oom_kills", g->oom_kills);
}

static json_object *run_object(const MlgSimRun *run) {
        const SimResult *r = &run->result;
        json_object *o = json_object_new_object();

        (void) json_object_object_add(o, "policy", json_object_new_string(run->policy));
        (void) json_object_object_add(o, "predictor", json_object_new_string(run->predictor));
        put_guest_result(o, &r->all);
        put_double(o, "allocated_pct", percent(r->all.actual_kib_sec, r->capacity_kib_sec));
        put_double(o, "host_swapped_mib", r->simulated_usec ?
                   mib(r->host_swap_kib_sec) / ((double) r->simulated_usec / (double) MLG_USEC_PER_SEC) : 0);
        put_u64(o, "guard_violations", r->n_violations);
        put_u64(o, "decisions", r->n_turns);
        put_double(o, "decide_ns_per_guest",
                   r->n_decided ? (double) r->decide_nsec / (double) r->n_decided : 0);
        return o;
}

static json_object *guests_array(const MlgSimReport *r) {
        json_object *guests = json_object_new_array();

        for (size_t i = 0; i < r->runs[0].result.n_guests; i++) {
                const SimTraceGuest *g = r->trace->guests->pdata[i];
                json_object *o = json_object_new_object();

                (void) json_object_object_add(o, "name", json_object_new_string(g->name));
                put_u64(o, "maximum_kib", g->maximum_kib);
                put_guest_result(o, &r->runs[0].result.guests[i]);
                (void) json_object_array_add(guests, o);
        }
        return guests;
}

char *mlg_simulate_to_json(const MlgSimReport *r, bool utf8) {
        const SimResult *first = &r->runs[0].result;
        json_object *o = json_object_new_object(), *runs = json_object_new_array();
        g_autofree char *name = g_utf8_make_valid(r->trace_name, -1);
        char *text;

        (void) json_object_object_add(o, "trace", json_object_new_string(name));
        put_u64(o, "guests", first->n_guests);
        put_double(o, "simulated_s", (double) first->simulated_usec / (double) MLG_USEC_PER_SEC);
        put_u64(o, "host_kib", r->host_kib);
        put_u64(o, "budget_kib", first->budget_kib);
        put_u64(o, "maxima_kib", sim_trace_maxima_kib(r->trace));
        put_u64(o, "floors_kib", first->floors_kib);
        put_u64(o, "peaks_kib", sim_trace_peaks_kib(r->trace));
        put_double(o, "used_pct", percent(first->all.demand_kib_sec, first->capacity_kib_sec));
        put_double(o, "strained_rows_pct",
                   percent((double) r->trace->n_strained, (double) r->trace->n_rows));
        for (size_t i = 0; i < r->n_runs; i++)
                (void) json_object_array_add(runs, run_object(&r->runs[i]));
        (void) json_object_object_add(o, "runs", runs);
        if (r->n_runs == 1)
                (void) json_object_object_add(o, "by_guest", guests_array(r));
        text = mlg_json_to_text(o, utf8);
        json_object_put(o);
        return text;
}
