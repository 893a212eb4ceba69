/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Simulate: from options to replays, from replays to a report. */
#include "ctl/simulate.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "policies/registry.h"
#include "predict/registry.h"
#include "memlego/names.h"
#include "service/config.h"
#include "service/plugin-loader.h"
#include "sim/picture.h"
#include "util/util.h"

#define RUNS_MAX 32

static bool fail(GError **error, MlgExit code, const char *format, ...) G_GNUC_PRINTF(3, 4);
static bool fail(GError **error, MlgExit code, const char *format, ...) {
        g_autofree char *text = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        g_set_error_literal(error, MLG_CTL_ERROR, code, text);
        return false;
}

/* Errors of others become ours: they carry no exit code. */
static bool pass_on(GError **error, GError *cause, MlgExit code) {
        (void) fail(error, code, "%s", cause->message);
        g_error_free(cause);
        return false;
}

/* ---- what is to be run ---- */

/* From where memlegod takes them, or from where somebody tries his own: then they may be his. */
static bool load_plugins(const MlgArgs *a, GError **error) {
        const MlgPluginsOptions o = { .dir = a->plugins ? a->plugins : MLG_PLUGINDIR, .owner = a->plugins ? geteuid() : 0 };
        GError *cause = NULL;

        return mlg_plugins_load(&o, &cause) || pass_on(error, cause, MLG_EXIT_FAILED);
}

/* Why there is none of this name. */
static bool no_such(const char *name, MlgPluginKind kind, const char *names, GError **error) {
        const MlgPlugin *p = mlg_plugins_find(kind, name);
        const char *what = mlg_plugin_kind_to_string(kind);

        if (p)
                return fail(error, MLG_EXIT_FAILED, "the plug-in '%s' is refused: %s", name, p->why);
        return fail(error, MLG_EXIT_USAGE, "there is no %s '%s', expected one of: %s", what, name, names);
}

/* "POLICY" or "POLICY:PREDICTOR"; empty parts: as configured. */
static bool add_run(GArray *runs, const char *policy, const char *predictor, GError **error) {
        MlgSimRun run = {};

        if (runs->len >= RUNS_MAX)
                return fail(error, MLG_EXIT_USAGE, "--compare: more than %d policies", RUNS_MAX);
        if (policy && !mlg_policy_find(policy))
                return no_such(policy, MLG_PLUGIN_POLICY, mlg_policy_names(), error);
        if (predictor && !mlg_predictor_find(predictor))
                return no_such(predictor, MLG_PLUGIN_PREDICTOR, mlg_predictor_names(), error);
        g_strlcpy(run.policy, policy ? policy : "", sizeof(run.policy));
        g_strlcpy(run.predictor, predictor ? predictor : "", sizeof(run.predictor));
        g_array_append_val(runs, run);
        return true;
}

static bool list_runs(const MlgArgs *a, GArray *runs, GError **error) {
        g_auto(GStrv) words = NULL;

        if (!a->compare)
                return add_run(runs, a->policy, a->predictor, error);
        words = g_strsplit(a->compare, ",", -1);
        for (char **w = words; *w; w++) {
                char *colon = strchr(*w, ':');

                if (colon)
                        *colon = '\0';
                if (!add_run(runs, *w, colon ? colon + 1 : NULL, error))
                        return false;
        }
        return true;
}

static MlgConfig *load_config(const MlgArgs *a, GError **error) {
        GError *cause = NULL;
        MlgConfig *c = a->config ? mlg_config_load(a->config, true, &cause) :
                                   mlg_config_load_text("defaults", "", 0, false, &cause);

        if (!c)
                (void) pass_on(error, cause, MLG_EXIT_CONFIG);
        return c;
}

static uint64_t floors_kib(const MlgConfig *c, const SimTrace *t) {
        uint64_t sum = 0;

        for (guint i = 0; i < t->guests->len; i++) {
                const SimTraceGuest *g = t->guests->pdata[i];
                MlgGuestSettings settings;

                mlg_config_guest(c, g->name, NULL, NULL, &settings);
                sum = mlg_add_sat(sum, mlg_min(mlg_amount_resolve(settings.floor, g->maximum_kib),
                                               g->maximum_kib));
        }
        return sum;
}

/* Without a wish: the host that was recorded; else one on which each guest could have its own peak at any
 * time (but all of them their floors at least). More than that no guest ever used; so whatever runs short
 * there is the fault of rules and speeds. */
static uint64_t host_memory_kib(const MlgArgs *a, const MlgConfig *c, const SimTrace *t) {
        MlgAmount reserve = mlg_config_host(c)->reserve;
        uint64_t kib = a->host_kib;

        if (a->host_permille > 0)
                kib = mlg_mul_div(sim_trace_maxima_kib(t), a->host_permille, 1000);
        if (kib == 0)
                kib = t->host_kib;
        if (kib == 0) {
                kib = mlg_max(sim_trace_peaks_kib(t), floors_kib(c, t)) + t->guests->len * SIM_OVERHEAD_KIB;
                kib = reserve.permille > 0 ? mlg_mul_div(kib, 1000, 1000 - mlg_min(reserve.permille, 900)) :
                                             mlg_add_sat(kib, reserve.kib);
        }
        return (kib + MLG_KIB_PER_MIB - 1) / MLG_KIB_PER_MIB * MLG_KIB_PER_MIB;
}

/* ---- running ---- */

typedef struct Settings {
        const MlgConfig *config;
        MlgSimRun *run;
        bool by_config; /* nothing else was said about predictors */
        char first[32]; /* of those that guests have; "" */
} Settings;

static void settings_of(const char *name, const char *uuid, MlgGuestSettings *ret, void *userdata) {
        Settings *s = userdata;

        mlg_config_guest(s->config, name, uuid, NULL, ret);
        if (!s->by_config)
                g_strlcpy(ret->predictor, s->run->predictor, sizeof(ret->predictor));
        else if (!*s->first)
                g_strlcpy(s->first, ret->predictor, sizeof(s->first));
        else if (!g_str_equal(s->first, ret->predictor))
                g_strlcpy(s->first, "various", sizeof(s->first));
}

static uint64_t cpu_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
        return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}

/* For somebody who waits at a terminal; nothing of it stays. */
static void show_progress(const MlgSimRun *run, const SimReplay *r, double end_sec, int *percent) {
        int now = (int) (100 * sim_replay_sec(r) / end_sec);

        if (now <= *percent)
                return;
        *percent = now;
        (void) fprintf(stderr, "\r%s: %d %%\033[K%s", run->policy, now, now >= 100 ? "\r\033[K" : "");
}

static void run_one(const MlgArgs *a, const MlgConfig *c, const SimTrace *t, uint64_t host_kib,
                    MlgSimRun *run, SimSeries *series) {
        Settings settings = { .config = c, .run = run, .by_config = !*run->predictor };
        SimOptions options = {
                .host = *mlg_config_host(c),
                .settings = settings_of,
                .userdata = &settings,
                .rules = mlg_config_rules(c),
                .host_kib = host_kib,
                .step_usec = a->step_usec,
                .duration_usec = a->duration_usec,
                .clock_nsec = cpu_nsec,
                .series = series,
        };
        double end_sec = a->duration_usec ? mlg_min(t->end_sec, a->duration_usec / MLG_USEC_PER_SEC)
                                          : t->end_sec;
        bool terminal = isatty(STDERR_FILENO);
        int percent = 0;

        if (*run->policy)
                g_strlcpy(options.host.policy, run->policy, sizeof(options.host.policy));
        else
                g_strlcpy(run->policy, options.host.policy, sizeof(run->policy));
        run->replay = sim_replay_new(t, &options);
        while (sim_replay_turn(run->replay))
                if (terminal)
                        show_progress(run, run->replay, end_sec, &percent);
        sim_replay_result(run->replay, &run->result);
        if (settings.by_config)
                g_strlcpy(run->predictor, settings.first, sizeof(run->predictor));
}

static bool draw(const MlgArgs *a, const MlgSimReport *report, const SimSeries *series, GError **error) {
        const MlgSimRun *run = &report->runs[0];
        g_autofree char *svg = sim_picture(&(SimPicture) {
                .title = report->trace_name,
                .policy = run->policy,
                .predictor = run->predictor,
                .trace = report->trace,
                .result = &run->result,
                .series = series,
        });
        GError *cause = NULL;

        if (!g_file_set_contents(a->svg, svg, -1, &cause))
                return pass_on(error, cause, MLG_EXIT_FAILED);
        return true;
}

static void run_clear(void *p) {
        (void) sim_replay_free(((MlgSimRun *) p)->replay);
}

/* What came of it is the default's doing then. */
static bool check_plugins(GError **error) {
        const MlgPlugin *p;

        for (size_t i = 0; (p = mlg_plugins_at(i)); i++)
                if (p->off && !p->refused)
                        return fail(error, MLG_EXIT_FAILED, "the plug-in '%s' was switched off: %s", p->name, p->why);
        return true;
}

/* A violation is a defect of memlegod, whatever the policy. */
static bool check_runs(const MlgSimReport *r, GError **error) {
        for (size_t i = 0; i < r->n_runs; i++)
                if (r->runs[i].result.n_violations > 0)
                        return fail(error, MLG_EXIT_FAILED,
                                    "%s: rules that must always hold were violated; please report it with the trace: %s",
                                    r->runs[i].policy, r->runs[i].result.violation);
        return true;
}

bool mlg_simulate_run(const MlgArgs *a, const MlgStyle *style, GString *out, GError **error) {
        g_autoptr(GArray) runs = g_array_new(FALSE, TRUE, sizeof(MlgSimRun));
        g_autoptr(MlgConfig) config = NULL;
        g_autoptr(SimTrace) trace = NULL;
        g_autoptr(SimSeries) series = NULL;
        g_autofree char *name = g_path_get_basename(a->trace);
        MlgSimReport report;
        GError *cause = NULL;

        g_array_set_clear_func(runs, run_clear);
        config = load_plugins(a, error) && list_runs(a, runs, error) ? load_config(a, error) : NULL;
        if (!config)
                return false;
        trace = sim_trace_load(a->trace, &cause);
        if (!trace)
                return pass_on(error, cause, MLG_EXIT_FAILED);
        report = (MlgSimReport) { name, trace, host_memory_kib(a, config, trace),
                                 (MlgSimRun *) (void *) runs->data, runs->len };
        if (!mlg_config_check_host(config, report.host_kib, &cause))
                return pass_on(error, cause, MLG_EXIT_CONFIG);
        series = a->svg ? sim_series_new(trace->guests->len) : NULL;
        for (guint i = 0; i < runs->len; i++)
                run_one(a, config, trace, report.host_kib, &g_array_index(runs, MlgSimRun, i), series);
        if (a->json) {
                g_autofree char *json = mlg_simulate_to_json(&report, style->utf8);

                g_string_append(out, json);
        } else
                mlg_simulate_render(&report, style, out);
        return (!a->svg || draw(a, &report, series, error)) && check_runs(&report, error) && check_plugins(error);
}
