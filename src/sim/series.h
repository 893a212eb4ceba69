/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Series: what a replay looked like over time, in a fixed number of columns, however long it was. For pictures. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <glib.h>

#define SIM_COLUMNS 480 /* as many as a picture has pixels for, twice */

/* Of the looks that fall into a column: the most, or the least where that is worse. */
typedef struct SimPoint {
        float demand_kib; /* most */
        float target_kib; /* last */
        float actual_kib; /* least; less than 0: it did not run, or nothing is known */
        float unmet_kib;  /* most */
} SimPoint;

typedef struct SimHostPoint {
        float budget_kib;  /* least */
        float charged_kib; /* most */
        float demand_kib;  /* most */
        float unmet_kib;   /* most */
        float known;       /* 0: no look fell into it */
} SimHostPoint;

typedef struct SimSeries {
        uint64_t begin_usec, end_usec;
        size_t n_guests;
        SimPoint *points; /* [guest][column] */
        SimHostPoint host[SIM_COLUMNS];
} SimSeries;

SimSeries *sim_series_new(size_t n_guests);
SimSeries *sim_series_free(SimSeries *s);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SimSeries, sim_series_free)

/* What was so from from_usec to to_usec. */
void sim_series_add(SimSeries *s, size_t guest, uint64_t from_usec, uint64_t to_usec, const SimPoint *p);
void sim_series_add_host(SimSeries *s, uint64_t from_usec, uint64_t to_usec, const SimHostPoint *p);
