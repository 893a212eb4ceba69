/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Picture: see picture.h. Numbers in, text out.
 *
 * Everything is drawn in boxes of two axes: time to the right, the same for all, and memory upwards, each
 * box in its own unit. Curves are made of columns (sim/series.h): what is short is drawn from the worst
 * moment of each column, so that a second of trouble in a day is still seen, one column wide. */
#include "sim/picture.h"

#include <math.h>
#include <stdlib.h>

#include "util/util.h"

#define WIDTH 960
#define MARGIN 16
#define HEAD 92 /* title, figures, legend */
#define HOST_HEIGHT 200
#define GUEST_HEIGHT 104
#define GUESTS_A_ROW 3
#define LABELS_LEFT 54  /* of the axis of memory */
#define LABELS_BELOW 22 /* of the axis of time */
#define CAPTION 20      /* above a box */

typedef struct Box {
        double x, y, width, height; /* of what is inside of the axes */
        double top_kib;             /* memory at the upper edge */
        double span_sec;            /* time at the right edge */
} Box;

/* Colours that can be told apart on white and on black, also by those who do not see red and green. */
static const char style[] =
        "<style>\n"
        "text { font: 12px system-ui, 'DejaVu Sans', Arial, sans-serif; fill: #333 }\n"
        ".title { font-size: 17px; font-weight: 600 } .small { font-size: 10.5px; fill: #666 } .name { font-weight: 600 }\n"
        ".paper { fill: #fff } .grid { stroke: #ddd; stroke-width: 1 } .axis { stroke: #999; stroke-width: 1 }\n"
        ".demand { fill: #3b82c4; fill-opacity: .45; stroke: none }\n"
        ".target { fill: none; stroke: #c77700; stroke-width: 1.5; stroke-linejoin: round }\n"
        ".limit { fill: none; stroke: #777; stroke-width: 1.5; stroke-dasharray: 5 4 }\n"
        ".short { fill: #d6264f; stroke: none }\n"
        "@media (prefers-color-scheme: dark) {\n"
        "text { fill: #ddd } .small { fill: #aaa } .paper { fill: #16191d } .grid { stroke: #333 } .axis { stroke: #777 }\n"
        ".target { stroke: #f0a030 } .limit { stroke: #999 } .short { fill: #ff5c7c } }\n"
        "</style>\n";

/* ---- scales ---- */

/* 1, 2 or 5 times a power of ten, so that about `n` of them make `most`. */
static double nice_step(double most, int n) {
        double raw = most / n, power = pow(10, floor(log10(raw)));

        for (int m = 1; m <= 5; m += m == 1 ? 1 : 3) /* 1, 2, 5 */
                if (raw <= m * power)
                        return m * power;
        return 10 * power;
}

/* Names of memory in a box all have one unit, that of its upper edge. */
static const char *unit_of(double top_kib, double *ret_kib) {
        static const struct {
                double kib;
                const char *name;
        } units[] = { { 1073741824.0, "TiB" }, { 1048576.0, "GiB" }, { 1024.0, "MiB" } };

        for (size_t i = 0; i < G_N_ELEMENTS(units); i++)
                if (top_kib >= units[i].kib || i + 1 == G_N_ELEMENTS(units)) {
                        *ret_kib = units[i].kib;
                        return units[i].name;
                }
        g_assert_not_reached();
}

/* So that some four to nine marks fit. */
static double time_step(double span_sec) {
        static const double steps[] = {
                1,     2,     5,         10,        20,         30,         60,         120,
                300,   600,   1200,      1800,      3600,       7200,       14400,      21600,
                43200, 86400, 2 * 86400, 7 * 86400, 14 * 86400, 30 * 86400, 90 * 86400, 365 * 86400
        };

        for (size_t i = 0; i < G_N_ELEMENTS(steps); i++)
                if (span_sec / steps[i] <= 9)
                        return steps[i];
        return 3650.0 * 86400;
}

static char *time_text(double sec, double step) {
        if (step >= 86400)
                return g_strdup_printf("%.0f d", sec / 86400);
        if (step >= 3600)
                return g_strdup_printf("%.0f h", sec / 3600);
        return step >= 60 ? g_strdup_printf("%.0f min", sec / 60) : g_strdup_printf("%.0f s", sec);
}

static double x_of(const Box *b, double column) {
        return b->x + b->width * column / SIM_COLUMNS;
}

static double y_of(const Box *b, double kib) {
        return b->y + b->height * (1 - fmin(kib, b->top_kib) / b->top_kib);
}

/* ---- parts ---- */

static void text(GString *out, double x, double y, const char *class_, const char *anchor, const char *s) {
        g_autofree char *valid = g_utf8_make_valid(s, -1), *escaped = g_markup_escape_text(valid, -1);

        /* What XML does not allow, not even escaped, and what would turn the text's direction. */
        g_string_append_printf(out, "<text x='%.1f' y='%.1f' class='%s' text-anchor='%s'>", x, y, class_,
                               anchor);
        for (const char *p = escaped; *p; p = g_utf8_next_char(p)) {
                gunichar c = g_utf8_get_char(p);

                g_string_append_unichar(out, g_unichar_isprint(c) ? c : 0xfffd);
        }
        g_string_append(out, "</text>\n");
}

static void line(GString *out, const char *class_, double x1, double y1, double x2, double y2) {
        g_string_append_printf(out, "<line class='%s' x1='%.1f' y1='%.1f' x2='%.1f' y2='%.1f'/>\n", class_,
                               x1, y1, x2, y2);
}

static void draw_axes(GString *out, const Box *b, int n_marks) {
        double step_sec = time_step(b->span_sec), kib, step;
        const char *unit = unit_of(b->top_kib, &kib);

        step = nice_step(b->top_kib / kib, n_marks);
        for (double v = 0; v <= b->top_kib / kib + step / 1000; v += step) {
                g_autofree char *label = g_strdup_printf(v == 0 ? "0" : "%.10g %s", v, unit);

                line(out, v == 0 ? "axis" : "grid", b->x, y_of(b, v * kib), b->x + b->width,
                     y_of(b, v * kib));
                text(out, b->x - 6, y_of(b, v * kib) + 4, "small", "end", label);
        }
        if (b->width < WIDTH / 2.0)
                step_sec = time_step(2 * b->span_sec);
        for (double sec = 0; sec <= b->span_sec * 1.0001; sec += step_sec) {
                double x = b->x + b->width * sec / b->span_sec;
                g_autofree char *label = time_text(sec, step_sec);

                line(out, "axis", x, b->y + b->height, x, b->y + b->height + 4);
                text(out, x, b->y + b->height + 16, "small",
                     sec + step_sec / 2 > b->span_sec ? "end" : "middle", label);
        }
}

typedef float (*ValueFn)(const void *points, size_t column); /* less than 0: there is none */

/* Upper edge of each column; where `area`, closed down to the axis. */
static void draw_curve(GString *out, const Box *b, const char *class_, const void *points, ValueFn value,
                       bool area) {
        bool open = false;

        g_string_append_printf(out, "<path class='%s' d='", class_);
        for (size_t c = 0; c <= SIM_COLUMNS; c++) {
                float v = c < SIM_COLUMNS ? value(points, c) : -1;

                if (v < 0) {
                        if (open && area)
                                g_string_append_printf(out, "V%.1fZ", b->y + b->height);
                        open = false;
                        continue;
                }
                if (!open && area)
                        g_string_append_printf(out, "M%.1f %.1fV%.1f", x_of(b, (double) c), b->y + b->height,
                                               y_of(b, v));
                else if (!open)
                        g_string_append_printf(out, "M%.1f %.1f", x_of(b, (double) c), y_of(b, v));
                else if (y_of(b, v) != y_of(b, value(points, c - 1)))
                        g_string_append_printf(out, "V%.1f", y_of(b, v));
                g_string_append_printf(out, "H%.1f", x_of(b, (double) c + 1));
                open = true;
        }
        g_string_append(out, "'/>\n");
}

/* From the demand down by what is missing of it; what is there must be seen, however small. */
static void draw_short(GString *out, const Box *b, const void *points, ValueFn demand, ValueFn unmet) {
        double width = fmax(b->width / SIM_COLUMNS + 0.4, 1.2); /* so that neighbours touch */

        g_string_append(out, "<path class='short' d='");
        for (size_t c = 0; c < SIM_COLUMNS; c++) {
                float d = demand(points, c), u = unmet(points, c);

                if (d < 0 || u <= 0)
                        continue;
                g_string_append_printf(out, "M%.1f %.1fh%.1fv%.1fh-%.1fz", x_of(b, (double) c), y_of(b, d),
                                       width, fmax(y_of(b, d - u) - y_of(b, d), 3), width);
        }
        g_string_append(out, "'/>\n");
}

/* ---- the host ---- */

static float host_value(const SimHostPoint *p, float v) {
        return p->known > 0 ? v : -1;
}

static float host_demand(const void *points, size_t c) {
        const SimHostPoint *p = (const SimHostPoint *) points + c;

        return host_value(p, p->demand_kib);
}

static float host_charged(const void *points, size_t c) {
        const SimHostPoint *p = (const SimHostPoint *) points + c;

        return host_value(p, p->charged_kib);
}

static float host_budget(const void *points, size_t c) {
        const SimHostPoint *p = (const SimHostPoint *) points + c;

        return host_value(p, p->budget_kib);
}

static float host_unmet(const void *points, size_t c) {
        const SimHostPoint *p = (const SimHostPoint *) points + c;

        return host_value(p, p->unmet_kib);
}

static double span_sec(const SimSeries *s) {
        return (double) (s->end_usec - s->begin_usec) / (double) SIM_SEC;
}

/* The budget belongs into the picture where it limits anything; far above all else it would only flatten the rest. */
#define BUDGET_IS_FAR 2.5

static void draw_host(GString *out, const SimPicture *p) {
        Box b = { .x = MARGIN + LABELS_LEFT,
                  .y = HEAD + CAPTION,
                  .width = WIDTH - 2 * MARGIN - LABELS_LEFT,
                  .height = HOST_HEIGHT - CAPTION - LABELS_BELOW,
                  .top_kib = 1024,
                  .span_sec = span_sec(p->series) };
        const SimHostPoint *points = p->series->host;
        double budget_kib = 0;
        bool far;

        for (size_t c = 0; c < SIM_COLUMNS; c++) {
                b.top_kib = fmax(b.top_kib, 1.05 * fmax(points[c].charged_kib, points[c].demand_kib));
                budget_kib = fmax(budget_kib, 1.05 * points[c].budget_kib);
        }
        far = budget_kib > BUDGET_IS_FAR * b.top_kib;
        if (!far)
                b.top_kib = fmax(b.top_kib, budget_kib);
        text(out, MARGIN, HEAD + 12, "name", "start",
             far ? "Host: all guests together (there is far more than they have)"
                 : "Host: all guests together");
        draw_axes(out, &b, 4);
        draw_curve(out, &b, "demand", points, host_demand, true);
        draw_short(out, &b, points, host_demand, host_unmet);
        draw_curve(out, &b, "target", points, host_charged, false);
        if (!far)
                draw_curve(out, &b, "limit", points, host_budget, false);
}

/* ---- guests ---- */

static float guest_demand(const void *points, size_t c) {
        const SimPoint *p = (const SimPoint *) points + c;

        return p->actual_kib < 0 ? -1 : p->demand_kib;
}

static float guest_target(const void *points, size_t c) {
        const SimPoint *p = (const SimPoint *) points + c;

        return p->actual_kib < 0 ? -1 : p->target_kib;
}

static float guest_unmet(const void *points, size_t c) {
        const SimPoint *p = (const SimPoint *) points + c;

        return p->actual_kib < 0 ? -1 : p->unmet_kib;
}

static void draw_guest(GString *out, const SimPicture *p, size_t guest, double x, double y, double width) {
        const SimTraceGuest *g = p->trace->guests->pdata[guest];
        const SimGuestResult *r = &p->result->guests[guest];
        const SimPoint *points = &p->series->points[guest * SIM_COLUMNS];
        Box b = { .x = x + LABELS_LEFT, .y = y + CAPTION, .width = width - LABELS_LEFT - 8,
                  .height = GUEST_HEIGHT - CAPTION, .top_kib = 1024, .span_sec = span_sec(p->series) };
        g_autofree char *name = g_utf8_make_valid(g->name, -1),
                        *cut = g_utf8_substring(name, 0, mlg_min(24, (uint64_t) g_utf8_strlen(name, -1)));
        g_autofree char *figure = g_strdup_printf("short %.3f %% of the time",
                                                  r->run_sec > 0 ? 100 * r->short_sec / r->run_sec : 0);

        for (size_t c = 0; c < SIM_COLUMNS; c++)
                b.top_kib = fmax(b.top_kib, 1.05 * fmax(guest_demand(points, c), guest_target(points, c)));
        text(out, x, y + 12, "name", "start", cut);
        text(out, x + width - 8, y + 12, "small", "end", figure);
        draw_axes(out, &b, 3);
        draw_curve(out, &b, "demand", points, guest_demand, true);
        draw_short(out, &b, points, guest_demand, guest_unmet);
        draw_curve(out, &b, "target", points, guest_target, false);
}

typedef struct Place {
        size_t guest;
        double unmet, demand;
} Place;

/* Worst first; of those that never ran short, the largest. */
static int by_trouble(const void *a, const void *b) {
        const Place *x = a, *y = b;

        if (x->unmet != y->unmet)
                return x->unmet > y->unmet ? -1 : 1;
        if (x->demand != y->demand)
                return x->demand > y->demand ? -1 : 1;
        return x->guest < y->guest ? -1 : x->guest > y->guest;
}

static void draw_guests(GString *out, const SimPicture *p, size_t n) {
        g_autofree Place *places = g_new(Place, p->result->n_guests);
        double width = (WIDTH - 2.0 * MARGIN) / GUESTS_A_ROW;

        for (size_t i = 0; i < p->result->n_guests; i++)
                places[i] = (Place) { i, p->result->guests[i].unmet_kib_sec,
                                     p->result->guests[i].demand_kib_sec };
        qsort(places, p->result->n_guests, sizeof(places[0]), by_trouble);
        for (size_t i = 0; i < n; i++)
                draw_guest(out, p, places[i].guest, MARGIN + width * (double) (i % GUESTS_A_ROW),
                           HEAD + HOST_HEIGHT + 34 +
                                   (double) (i / GUESTS_A_ROW) * (GUEST_HEIGHT + LABELS_BELOW + 18),
                           width);
}

/* ---- all of it ---- */

static void draw_legend(GString *out, double y) {
        static const struct {
                const char *class_, *label;
                bool area;
                double x;
        } entries[] = {
                { "demand", "wanted by programs", true, 0 },
                { "target", "given: targets, and their sum in the books", false, 168 },
                { "short", "short: wanted, and not there", true, 476 },
                { "limit", "what there is for guests", false, 700 },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(entries); i++) {
                double x = MARGIN + entries[i].x;

                if (entries[i].area)
                        g_string_append_printf(
                                out, "<rect class='%s' x='%.1f' y='%.1f' width='18' height='10'/>\n",
                                entries[i].class_, x, y - 9);
                else
                        line(out, entries[i].class_, x, y - 4, x + 18, y - 4);
                text(out, x + 24, y, "", "start", entries[i].label);
        }
}

static void draw_head(GString *out, const SimPicture *p, size_t n_drawn) {
        const SimResult *r = p->result;
        g_autofree char *title = g_strdup_printf("%s: policy %s, predictor %s", p->title, p->policy,
                                                 p->predictor);
        double sec = (double) r->simulated_usec / (double) SIM_SEC;
        g_autofree char *span = time_text(sec, time_step(sec));
        g_autofree char *figures = g_strdup_printf(
                "%" G_GUINT64_FORMAT
                " guests, %s. Short %.3f %% of the time, by %.3f %% of what they wanted; %.1f %% of their "
                "maxima given; %" G_GUINT64_FORMAT " moves, %" G_GUINT64_FORMAT " oscillations.",
                r->n_guests, span, r->all.run_sec > 0 ? 100 * r->all.short_sec / r->all.run_sec : 0,
                r->all.demand_kib_sec > 0 ? 100 * r->all.unmet_kib_sec / r->all.demand_kib_sec : 0,
                r->capacity_kib_sec > 0 ? 100 * r->all.actual_kib_sec / r->capacity_kib_sec : 0,
                r->all.moves, r->all.oscillations);
        g_autofree char *drawn = g_strdup_printf("The %zu of %" G_GUINT64_FORMAT
                                                 " guests that fared worst, worst first",
                                                 n_drawn, r->n_guests);

        text(out, MARGIN, 28, "title", "start", title);
        text(out, MARGIN, 49, "", "start", figures);
        draw_legend(out, 72);
        text(out, MARGIN, HEAD + HOST_HEIGHT + 20, "small", "start",
             n_drawn < r->n_guests ? drawn : "Each guest, worst first");
}

char *sim_picture(const SimPicture *p) {
        size_t n = mlg_min(p->result->n_guests, SIM_PICTURE_GUESTS),
               rows = (n + GUESTS_A_ROW - 1) / GUESTS_A_ROW;
        size_t height = HEAD + HOST_HEIGHT + 34 + rows * (GUEST_HEIGHT + LABELS_BELOW + 18);
        GString *out = g_string_new("<?xml version='1.0' encoding='UTF-8'?>\n");

        g_string_append_printf(
                out,
                "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%zu' viewBox='0 0 %d %zu'>\n",
                WIDTH, height, WIDTH, height);
        g_string_append(out, style);
        g_string_append_printf(out, "<rect class='paper' width='%d' height='%zu'/>\n", WIDTH, height);
        draw_head(out, p, n);
        draw_host(out, p);
        draw_guests(out, p, n);
        g_string_append(out, "</svg>\n");
        return g_string_free(out, FALSE);
}
