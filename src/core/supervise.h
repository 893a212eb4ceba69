/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Supervise: the calls of predictors and policies.
 *
 * The core calls them through these only. Our own are just called. A plug-in's call is noted while it runs,
 * its time is measured, its answer is checked, and so are the ends of the memory it may write to; a wrong
 * answer counts as none. What is wrong too often, or once beyond all measure, is switched off
 * (MlgPlugin.off): it is not called any more, and who asks the registry for it does not find it. Plug-ins
 * run in our process: this is for mistakes, no wall against malice. */
#pragma once

#include <stddef.h>

#include "memlego/policy.h"
#include "memlego/predictor.h"

/* Zeroed state for `size` bytes, with a guard behind it; to be given to g_free(). */
void *mlg_priv_new(size_t size);

void mlg_call_observe(const MlgPredictorOps *ops, void *priv, const MlgSample *s, uint64_t horizon_usec);
/* 0, or -ENODATA. */
int mlg_call_predict(const MlgPredictorOps *ops, const void *priv, uint64_t horizon_usec,
                     uint64_t maximum_kib, MlgForecast *ret);
void mlg_call_reflect(const MlgPredictorOps *ops, void *priv, const MlgForecast *was, uint64_t actual_kib);
/* The state is zeroed where that function is missing. */
void mlg_call_restarted(const MlgPredictorOps *ops, void *priv);
void mlg_call_resumed(const MlgPredictorOps *ops, void *priv, uint64_t at_usec);
/* NULL: it follows nobody. */
const char *mlg_call_follows(const MlgPredictorOps *ops, const void *priv);

/* plan->steps has room for n + 1; the last one is a guard. If it fails, the steps say anything. */
int mlg_call_decide(const MlgPolicyOps *ops, void *priv, const MlgHostView *host, const MlgVmView *vms,
                    size_t n, MlgPlan *plan);

/* A plug-in that was switched off. */
bool mlg_predictor_is_off(const MlgPredictorOps *ops);
bool mlg_policy_is_off(const MlgPolicyOps *ops);
