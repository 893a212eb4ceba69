/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registry of predictors: the table. Order is what people see; the first is the default. */
#include "predict/registry.h"

#include <string.h>

extern const MlgPredictorOps mlg_predictor_ewma, mlg_predictor_last, mlg_predictor_context;

static const MlgPredictorOps *const predictors[] = {
        &mlg_predictor_ewma, /* the default */
        &mlg_predictor_last, /* the simplest that can be: to compare with */
        &mlg_predictor_context, /* for horizons of minutes to an hour */
        NULL,
};

const MlgPredictorOps *mlg_predictor_at(size_t i) {
        return i < sizeof(predictors) / sizeof(predictors[0]) ? predictors[i] : NULL;
}

const MlgPredictorOps *mlg_predictor_find(const char *name) {
        for (const MlgPredictorOps *const *p = predictors; *p; p++)
                if (strcmp((*p)->name, name) == 0)
                        return *p;
        return NULL;
}

const char *mlg_predictor_names(void) {
        return "ewma, last, context"; /* a unit test holds it against the table */
}
