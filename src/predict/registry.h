/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Registry of predictors: an ordered static table, then the plug-ins that are not off; the first entry is the default. */
#pragma once

#include "memlego/predictor.h"

/* NULL: there is none of that name. */
const MlgPredictorOps *mlg_predictor_find(const char *name);
const MlgPredictorOps *mlg_predictor_at(size_t i); /* NULL past the end */
const char *mlg_predictor_names(void);             /* "ewma, last": for messages; valid until the next call */
