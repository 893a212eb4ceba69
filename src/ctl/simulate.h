/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Simulate: recorded guests under policies and settings of the operator's choice, without any of them moved. */
#pragma once

#include <stdbool.h>

#include <glib.h>

#include "ctl/args.h"
#include "ctl/ctl.h"
#include "sim/replay.h"

/* One row of the result. */
typedef struct MlgSimRun {
        char policy[32], predictor[32]; /* predictor: "as configured" if guests have different ones */
        SimReplay *replay;              /* owns what `result` points to */
        SimResult result;
} MlgSimRun;

typedef struct MlgSimReport {
        const char *trace_name;
        const SimTrace *trace;
        uint64_t host_kib;
        const MlgSimRun *runs;
        size_t n_runs;
} MlgSimReport;

/* The whole command. Text, or JSON, is appended to `out`, also where false is returned because an invariant was violated. */
bool mlg_simulate_run(const MlgArgs *a, const MlgStyle *style, GString *out, GError **error);

/* simulate-render.c; pure */
void mlg_simulate_render(const MlgSimReport *r, const MlgStyle *style, GString *out);
char *mlg_simulate_to_json(const MlgSimReport *r, bool utf8);
