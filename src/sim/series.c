/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Series: see series.h. */
#include "sim/series.h"

#include "util/util.h"

SimSeries *sim_series_new(size_t n_guests) {
        SimSeries *s = g_new0(SimSeries, 1);

        s->n_guests = n_guests;
        s->points = g_new(SimPoint, n_guests * SIM_COLUMNS);
        for (size_t i = 0; i < n_guests * SIM_COLUMNS; i++)
                s->points[i] = (SimPoint) { .actual_kib = -1 };
        return s;
}

SimSeries *sim_series_free(SimSeries *s) {
        if (!s)
                return NULL;
        g_free(s->points);
        g_free(s);
        return NULL;
}

static size_t column_of(const SimSeries *s, uint64_t usec) {
        uint64_t at = mlg_mul_div(mlg_sub_sat(usec, s->begin_usec), SIM_COLUMNS,
                                  s->end_usec - s->begin_usec);

        return (size_t) mlg_min(at, SIM_COLUMNS - 1);
}

static float more(float a, float b) {
        return a > b ? a : b;
}

static float less(float a, float b) {
        return a < b ? a : b;
}

void sim_series_add(SimSeries *s, size_t guest, uint64_t from_usec, uint64_t to_usec, const SimPoint *p) {
        for (size_t c = column_of(s, from_usec), last = column_of(s, to_usec - 1); c <= last; c++) {
                SimPoint *q = &s->points[guest * SIM_COLUMNS + c];

                q->target_kib = p->target_kib;
                if (q->actual_kib < 0) {
                        *q = *p;
                        continue;
                }
                q->demand_kib = more(q->demand_kib, p->demand_kib);
                q->actual_kib = less(q->actual_kib, p->actual_kib);
                q->unmet_kib = more(q->unmet_kib, p->unmet_kib);
        }
}

void sim_series_add_host(SimSeries *s, uint64_t from_usec, uint64_t to_usec, const SimHostPoint *p) {
        for (size_t c = column_of(s, from_usec), last = column_of(s, to_usec - 1); c <= last; c++) {
                SimHostPoint *q = &s->host[c];

                if (q->known == 0) {
                        *q = *p;
                        q->known = 1;
                        continue;
                }
                q->budget_kib = less(q->budget_kib, p->budget_kib);
                q->charged_kib = more(q->charged_kib, p->charged_kib);
                q->demand_kib = more(q->demand_kib, p->demand_kib);
                q->unmet_kib = more(q->unmet_kib, p->unmet_kib);
        }
}
