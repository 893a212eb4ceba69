/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Plugin: what a shared object exports to bring memlegod a predictor or a policy; memlego-plugin(7).
 *
 * A file NAME.so holds one algorithm: it defines one of the two symbols below, and the `name` in it is NAME.
 * It calls nothing of memlegod, starts no threads, and does not change how the process works (signals,
 * locale, limits). */
#pragma once

#include "memlego/policy.h"
#include "memlego/predictor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Visible from outside, whatever -fvisibility says. */
#define MLG_PLUGIN_EXPORT __attribute__((visibility("default")))

extern MLG_PLUGIN_EXPORT const MlgPredictorOps memlego_predictor;
extern MLG_PLUGIN_EXPORT const MlgPolicyOps memlego_policy;

#ifdef __cplusplus
}
#endif
