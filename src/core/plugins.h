/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plugins: predictors and policies from outside, as the core knows them.
 *
 * A bounded table. Who starts the core fills it once, from shared objects (service/plugin-loader.h), before
 * anything is decided. The registries know its entries after their own. An entry that is off is found by
 * nobody, but its name stays known: a configuration that names it is no mistake, its users fall back to the
 * default. core/supervise.h makes all calls, and switches off what misbehaves; nobody switches it on again.
 *
 * Invariant: of an entry that is not off, `kind` is known, and its functions were checked. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <glib.h>

#include "memlego/policy.h"
#include "memlego/predictor.h"

/* More would be somebody's mistake; calls look their entry up in the table. */
#define MLG_PLUGINS_MAX 32
#define MLG_PLUGIN_NAME_SIZE 32 /* as in Policy= and Predictor=, core/settings.h */

typedef enum MlgPluginKind {
        MLG_PLUGIN_UNKNOWN, /* it was refused before that was known */
        MLG_PLUGIN_PREDICTOR,
        MLG_PLUGIN_POLICY,
        _MLG_PLUGIN_KIND_MAX,
} MlgPluginKind;

/* Means of supervision, brought by who has a clock and files. */
typedef struct MlgPluginWatch {
        uint64_t (*cpu_nsec)(void); /* CPU time of this thread; NULL: nobody asks how long calls take */
        volatile uint32_t *running; /* the `mark` of the one that runs, else 0; NULL: nobody wants to know */
} MlgPluginWatch;

typedef struct MlgPlugin {
        char name[MLG_PLUGIN_NAME_SIZE]; /* of its file without ".so", and of the algorithm */
        MlgPluginKind kind;
        MlgPredictorOps predictor; /* members that it was built without are 0 */
        MlgPolicyOps policy;
        MlgPluginWatch watch;
        uint32_t mark;             /* 1 + place in the table */
        void *handle;              /* of who loaded it */
        bool refused;              /* it was never called; implies off */
        bool off;
        char why[240];             /* ... and why, a sentence without its end; else what it did wrong last */
        bool slow, wrong;          /* its last call was; this and the next: see supervise.c */
        unsigned int badness;
        bool told;                 /* its state was logged; written by the service */
} MlgPlugin;

/* A new entry, refused for the time being. NULL: the table is full. */
MlgPlugin *mlg_plugins_add(const char *name, const MlgPluginWatch *watch);
void mlg_plugins_clear(void);
MlgPlugin *mlg_plugins_at(size_t i); /* in the order of coming; NULL past the end */

/* Takes the functions over if they can be used; else the entry stays refused, in words. */
bool mlg_plugin_take_predictor(MlgPlugin *p, const MlgPredictorOps *ops);
bool mlg_plugin_take_policy(MlgPlugin *p, const MlgPolicyOps *ops);
void mlg_plugin_refuse(MlgPlugin *p, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* [a-z0-9-]+, and not too long. */
bool mlg_plugin_name_is_good(const char *name);
const char *mlg_plugin_kind_to_string(MlgPluginKind k);

/* NULL: it is none of these. */
MlgPlugin *mlg_plugin_of_predictor(const MlgPredictorOps *ops);
MlgPlugin *mlg_plugin_of_policy(const MlgPolicyOps *ops);
/* Entries that are off, too; of this kind, or of an unknown one. */
const MlgPlugin *mlg_plugins_find(MlgPluginKind kind, const char *name);

/* For the registries: the i-th that is not off; NULL past the end. */
const MlgPredictorOps *mlg_plugins_predictor_at(size_t i);
const MlgPolicyOps *mlg_plugins_policy_at(size_t i);
