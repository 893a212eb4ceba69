/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Picture: a replay as one SVG, for a report: the host's books over time, then one small picture for each
 * of the guests that fared worst. Needs nothing outside of itself: no fonts, scripts or files; light or
 * dark as the viewer is. */
#pragma once

#include "sim/replay.h"

#define SIM_PICTURE_GUESTS 12 /* more than that nobody compares */

typedef struct SimPicture {
        const char *title; /* of the trace; all texts are escaped */
        const char *policy, *predictor;
        const SimTrace *trace;
        const SimResult *result;
        const SimSeries *series;
} SimPicture;

char *sim_picture(const SimPicture *p);
