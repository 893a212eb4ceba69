/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registry of predictors: the table, and behind it what comes from plug-ins. Order is what people see; the first is
 * the default. */
#include "predict/registry.h"

#include <string.h>

#include "core/plugins.h"

extern const MlgPredictorOps mlg_predictor_ewma, mlg_predictor_last, mlg_predictor_context, mlg_predictor_holt,
        mlg_predictor_ar, mlg_predictor_quantile, mlg_predictor_seasonal, mlg_predictor_auto;

static const MlgPredictorOps *const predictors[] = {
        &mlg_predictor_ewma, /* the default */
        &mlg_predictor_last, /* the simplest that can be: to compare with */
        &mlg_predictor_context, /* for horizons of minutes to an hour */
        &mlg_predictor_holt,
        &mlg_predictor_ar,
        &mlg_predictor_quantile,
        &mlg_predictor_seasonal,
        &mlg_predictor_auto,
        NULL,
};

#define N_OWN (sizeof(predictors) / sizeof(predictors[0]) - 1)

const MlgPredictorOps *mlg_predictor_at(size_t i) {
        return i < N_OWN ? predictors[i] : mlg_plugins_predictor_at(i - N_OWN);
}

const MlgPredictorOps *mlg_predictor_find(const char *name) {
        const MlgPredictorOps *p;

        for (size_t i = 0; (p = mlg_predictor_at(i)); i++)
                if (strcmp(p->name, name) == 0)
                        return p;
        return NULL;
}

const char *mlg_predictor_names(void) {
        static char text[(N_OWN + MLG_PLUGINS_MAX) * (MLG_PLUGIN_NAME_SIZE + 1)];
        size_t len = 0;

        for (size_t i = 0; mlg_predictor_at(i) && len < sizeof(text); i++)
                len += (size_t) g_snprintf(text + len, sizeof(text) - len, "%s%s", i ? ", " : "", mlg_predictor_at(i)->name);
        return text;
}
