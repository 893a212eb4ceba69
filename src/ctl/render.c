/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render: the status of host and guests, and the list of reservations. */
#include "ctl/render.h"

#include <inttypes.h>
#include <string.h>

#include "ctl/table.h"
#include "ctl/text.h"
#include "util/parse.h"
#include "util/util.h"

#define BAR_WIDTH 20 /* a cell is 5 % of the guest's maximum: about the size of one move */
#define NAME_LEAST 12 /* names are cut to this before a column is left out */

static char *line(const char *s, const MlgStyle *style) {
        return mlg_text_escape(s, MLG_TEXT_LINE, style->utf8);
}

/* Sizes in a table: short, and of one unit as far as possible, so that columns can be compared by eye. */
static char *size_cell(uint64_t kib) {
        const uint64_t mib = 1024, gib = 1024 * mib, tib = 1024 * gib;

        if (kib == 0)
                return g_strdup("0");
        if (kib < mib)
                return g_strdup_printf("%" PRIu64 "K", kib);
        if (kib < 10 * gib)
                return g_strdup_printf("%" PRIu64 "M", (kib + mib / 2) / mib);
        if (kib < 10 * tib)
                return g_strdup_printf("%.1fG", (double) kib / (double) gib);
        return g_strdup_printf("%.1fT", (double) kib / (double) tib);
}

static char *age_cell(uint64_t usec) {
        const uint64_t s = MLG_USEC_PER_SEC;

        if (usec == MLG_USEC_NEVER)
                return g_strdup("never");
        if (usec < 10 * s)
                return g_strdup_printf("%" PRIu64 ".%" PRIu64 "s", usec / s, usec % s / (s / 10));
        if (usec < 120 * s)
                return g_strdup_printf("%" PRIu64 "s", usec / s);
        if (usec < 7200 * s)
                return g_strdup_printf("%" PRIu64 "min", usec / (60 * s));
        if (usec < 48 * 3600 * s)
                return g_strdup_printf("%" PRIu64 "h", usec / (3600 * s));
        return g_strdup_printf("%" PRIu64 "d", usec / (86400 * s));
}

static MlgColour state_colour(const char *state) {
        if (strcmp(state, "held") == 0)
                return MLG_COLOUR_YELLOW;
        if (strcmp(state, "alone") == 0 || strcmp(state, "new") == 0)
                return MLG_COLOUR_DIM;
        return MLG_COLOUR_PLAIN;
}

static MlgColour pressure_colour(const char *pressure) {
        if (strcmp(pressure, "critical") == 0)
                return MLG_COLOUR_RED;
        if (strcmp(pressure, "warning") == 0)
                return MLG_COLOUR_YELLOW;
        return MLG_COLOUR_PLAIN;
}

/* ---- host ---- */

/* One item of the host's lines: begins a new line where the terminal's one is full. */
typedef struct Flow {
        GString *out;
        const MlgStyle *style;
        unsigned int used;
} Flow;

static void flow_add(Flow *f, MlgColour colour, char *text) {
        unsigned int width = mlg_text_width(text);

        if (f->used > 0 && f->style->columns > 0 && f->used + 3 + width > f->style->columns) {
                g_string_append_c(f->out, '\n');
                f->used = 0;
        }
        if (f->used > 0) {
                g_string_append(f->out, "   ");
                f->used += 3;
        }
        mlg_append_coloured(f->out, f->style, colour, text);
        f->used += width;
        g_free(text);
}

static void flow_size(Flow *f, MlgColour colour, const char *what, uint64_t kib) {
        g_autofree char *size = mlg_format_kib(kib);

        flow_add(f, colour, g_strdup_printf("%s %s", what, size));
}

static void flow_end(Flow *f) {
        g_string_append_c(f->out, '\n');
        f->used = 0;
}

static MlgColour psi_colour(const MlgCtlHost *h) {
        return h->psi_full_avg10_centi >= 500    ? MLG_COLOUR_RED
               : h->psi_some_avg10_centi >= 1000 ? MLG_COLOUR_YELLOW
                                                 : MLG_COLOUR_PLAIN;
}

/* What a person is waited for, and what they have let go. */
static void add_approval(Flow *f, const MlgCtlHost *h) {
        g_autofree char *left = NULL;

        if (h->n_proposals > 0)
                flow_add(f, MLG_COLOUR_YELLOW, g_strdup_printf("%" PRIu64 " to approve (memlegoctl proposals)", h->n_proposals));
        if (h->allowed_until_usec <= h->now_usec)
                return;
        left = mlg_format_whole_sec(h->allowed_until_usec - h->now_usec);
        flow_add(f, MLG_COLOUR_YELLOW, g_strdup_printf("all approved for %s", left));
}

/* "WHAT SIZE", and a second size with what it says; nothing where the first one is 0. */
static void flow_sizes(Flow *f, const char *what, uint64_t kib, const char *also, uint64_t also_kib) {
        g_autofree char *size = mlg_format_kib(kib), *second = mlg_format_kib(also_kib);

        if (kib > 0)
                flow_add(f, MLG_COLOUR_PLAIN,
                         also_kib > 0 ? g_strdup_printf("%s %s (%s %s)", what, size, also, second)
                                      : g_strdup_printf("%s %s", what, size));
}

/* Where the host's memory is; nothing where there is nothing to say. */
static void render_facts(Flow *f, const MlgCtlHost *h) {
        flow_sizes(f, "others", h->others_kib, "", 0);
        flow_sizes(f, "swapped", h->swap_used_kib, "of", h->swap_total_kib);
        flow_sizes(f, "zswap", h->zswap_kib, "holds", h->zswapped_kib);
        flow_sizes(f, "KSM saves", h->ksm_saved_kib, "", 0);
        flow_sizes(f, "huge pages", h->hugetlb_kib, "free", h->hugetlb_free_kib);
        if (f->used > 0)
                flow_end(f);
}

static void render_alarm(Flow *f, const MlgCtlHost *h) {
        g_autofree char *missing = mlg_format_kib(h->missing_kib), *givable = mlg_format_kib(h->givable_kib);
        bool exhausted = strcmp(h->alarm, "exhausted") == 0;

        if (!exhausted && strcmp(h->alarm, "short") != 0)
                return;
        flow_add(f, MLG_COLOUR_RED, g_strdup_printf("HOST SHORT %s", missing));
        flow_add(f, MLG_COLOUR_RED,
                 g_strdup_printf("guests can give %s%s", exhausted ? "only " : "", givable));
        flow_end(f);
}

void mlg_render_host(const MlgSnapshot *s, const MlgStyle *style, GString *out) {
        const MlgCtlHost *h = &s->host;
        Flow f = { .out = out, .style = style };
        g_autofree char *policy = line(h->policy, style), *uri = line(h->uri, style);

        flow_add(&f, MLG_COLOUR_BOLD, g_strdup_printf("policy %s", policy));
        flow_add(&f, MLG_COLOUR_PLAIN, g_strdup(uri));
        flow_add(&f, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64 " %s, %" PRIu64 " balanced", h->n_guests,
                                                       h->n_guests == 1 ? "guest" : "guests", h->n_managed));
        if (!h->connected)
                flow_add(&f, MLG_COLOUR_RED, g_strdup("NOT CONNECTED"));
        if (h->paused)
                flow_add(&f, MLG_COLOUR_YELLOW, g_strdup("PAUSED"));
        if (h->dry_run)
                flow_add(&f, MLG_COLOUR_YELLOW, g_strdup("DRY RUN"));
        add_approval(&f, h);
        flow_end(&f);

        flow_size(&f, MLG_COLOUR_PLAIN, "host", h->total_kib);
        flow_size(&f, MLG_COLOUR_PLAIN, "budget", h->budget_kib);
        flow_size(&f, MLG_COLOUR_PLAIN, "charged", h->charged_kib);
        flow_size(&f, MLG_COLOUR_PLAIN, "reserved", h->reserved_kib);
        flow_size(&f, MLG_COLOUR_PLAIN, "free", h->free_kib);
        if (h->shortage_kib > 0)
                flow_size(&f, MLG_COLOUR_RED, "SHORTAGE", h->shortage_kib);
        flow_add(&f, psi_colour(h),
                 h->have_psi ? g_strdup_printf("host pressure some %" PRIu64 ".%02" PRIu64
                                               " %% full %" PRIu64 ".%02" PRIu64 " %%",
                                               h->psi_some_avg10_centi / 100, h->psi_some_avg10_centi % 100,
                                               h->psi_full_avg10_centi / 100, h->psi_full_avg10_centi % 100)
                             : g_strdup("host pressure unknown"));
        flow_end(&f);
        render_facts(&f, h);
        render_alarm(&f, h);
}

/* ---- guests ---- */

/* Columns of the table, in this order. The highest `drop` is left out first on a narrow terminal. */
static const MlgColumn guest_columns[] = {
        { "GUEST", .least = NAME_LEAST },
        { "STATE", .drop = 2 },
        { "ACTUAL", .right = true },
        { "TARGET", .right = true },
        { "NEED±ERR", .right = true, .drop = 4 },
        { "USABLE", .right = true, .drop = 3 },
        { "PRESSURE" },
        { "REASON", .drop = 1 },
        { "AGE", .right = true, .drop = 5 },
        { "MEMORY", .drop = 6 },
};
#define N_GUEST_COLUMNS G_N_ELEMENTS(guest_columns)

static unsigned int bar_cells(uint64_t part, uint64_t whole) {
        return (unsigned int) mlg_min(mlg_mul_div(part, BAR_WIDTH, whole), BAR_WIDTH);
}

/* What the guest uses, what it has on top of that, and what the balloon holds of its maximum. */
static char *bar_cell(const MlgCtlGuest *g, bool utf8) {
        unsigned int used = bar_cells(mlg_min(g->used_kib, g->actual_kib), g->maximum_kib);
        unsigned int actual = bar_cells(g->actual_kib, g->maximum_kib);
        GString *s = g_string_new(NULL);

        if (g->maximum_kib == 0)
                return g_string_free(s, FALSE);
        for (unsigned int i = 0; i < BAR_WIDTH; i++)
                if (i < used)
                        g_string_append(s, utf8 ? "█" : "#");
                else if (i < actual)
                        g_string_append(s, utf8 ? "▒" : "=");
                else
                        g_string_append(s, utf8 ? "·" : ".");
        return g_string_free(s, FALSE);
}

static char *need_cell(const MlgCtlGuest *g, bool utf8) {
        g_autofree char *need = size_cell(g->need_kib), *error = size_cell(g->error_kib);

        return g->need_kib == 0 ? g_strdup("-") : g_strconcat(need, utf8 ? "±" : "+-", error, NULL);
}

static void add_guest(MlgTable *t, const MlgCtlGuest *g, const MlgStyle *style, bool bars) {
        bool known = g->sample_age_usec != MLG_USEC_NEVER;
        MlgColour moving = g->target_kib && g->actual_kib != g->target_kib ? MLG_COLOUR_BOLD
                                                                           : MLG_COLOUR_PLAIN;
        MlgColour pressure = pressure_colour(g->pressure);

        mlg_table_add(t, MLG_COLOUR_PLAIN, line(g->name, style));
        mlg_table_add(t, state_colour(g->state), line(g->state, style));
        mlg_table_add(t, MLG_COLOUR_PLAIN, size_cell(g->actual_kib));
        mlg_table_add(t, moving, g->target_kib ? size_cell(g->target_kib) : g_strdup("-"));
        mlg_table_add(t, MLG_COLOUR_PLAIN, need_cell(g, style->utf8));
        mlg_table_add(t, MLG_COLOUR_PLAIN, known ? size_cell(g->usable_kib) : g_strdup("-"));
        mlg_table_add(t, pressure, line(g->pressure, style));
        mlg_table_add(t, MLG_COLOUR_PLAIN, line(g->reason, style));
        mlg_table_add(t, MLG_COLOUR_PLAIN, age_cell(g->sample_age_usec));
        if (bars)
                mlg_table_add(t, pressure == MLG_COLOUR_PLAIN ? MLG_COLOUR_GREEN : pressure,
                              bar_cell(g, style->utf8));
}

void mlg_render_guests(const MlgSnapshot *s, const MlgStyle *style, const MlgStatusView *view,
                       GString *out) {
        MlgColumn columns[N_GUEST_COLUMNS];
        g_autoptr(MlgTable) t = NULL;

        memcpy(columns, guest_columns, sizeof columns);
        if (!style->utf8)
                columns[4].title = "NEED+-ERR";
        for (size_t i = 0; !view->narrow && i < N_GUEST_COLUMNS; i++)
                columns[i].drop = 0;
        t = mlg_table_new(columns, view->bars ? N_GUEST_COLUMNS : N_GUEST_COLUMNS - 1);
        for (size_t i = 0; i < s->n_guests; i++)
                add_guest(t, &s->guests[i], style, view->bars);
        if (s->n_guests == 0)
                g_string_append(out, "No guests.\n");
        else
                mlg_table_render(t, style, view->first, view->max_rows, out);
}

void mlg_render_status(const MlgSnapshot *s, const MlgStyle *style, const MlgStatusView *view,
                       GString *out) {
        mlg_render_host(s, style, out);
        g_string_append_c(out, '\n');
        mlg_render_guests(s, style, view, out);
}

/* ---- reservations ---- */

static const MlgColumn reservation_columns[] = {
        { "ID", .right = true },
        { "SIZE", .right = true },
        { "ROOM", .right = true },
        { "EXPIRES" },
        { "OWNER" },
};

void mlg_ctl_reservation_clear(MlgCtlReservation *r) {
        g_clear_pointer(&r->owner, g_free);
}

void mlg_render_reservations(const void *reservations, size_t n, const MlgStyle *style, GString *out) {
        g_autoptr(MlgTable) t = mlg_table_new(reservation_columns, G_N_ELEMENTS(reservation_columns));

        for (size_t i = 0; i < n; i++) {
                const MlgCtlReservation *r = &((const MlgCtlReservation *) reservations)[i];
                g_autofree char *left = mlg_format_usec(r->expires_in_usec);

                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, r->id));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(r->kib));
                mlg_table_add(t, r->room_kib < r->kib ? MLG_COLOUR_YELLOW : MLG_COLOUR_GREEN,
                              mlg_format_kib(r->room_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("in %s", left));
                mlg_table_add(t, MLG_COLOUR_PLAIN, line(r->owner, style));
        }
        if (n == 0)
                g_string_append(out, "No reservations.\n");
        else
                mlg_table_render(t, style, 0, SIZE_MAX, out);
}

static json_object *reservation_to_json(const void *list, size_t i) {
        const MlgCtlReservation *r = &((const MlgCtlReservation *) list)[i];
        json_object *o = json_object_new_object();

        json_object_object_add(o, "id", json_object_new_uint64(r->id));
        json_object_object_add(o, "kib", json_object_new_uint64(r->kib));
        json_object_object_add(o, "room_kib", json_object_new_uint64(r->room_kib));
        json_object_object_add(o, "expires_in_usec", json_object_new_uint64(r->expires_in_usec));
        json_object_object_add(o, "owner", json_object_new_string(r->owner));
        return o;
}

char *mlg_reservations_to_json(const void *reservations, size_t n, bool utf8) {
        return mlg_list_to_json("reservations", reservations, n, reservation_to_json, utf8);
}

char *mlg_list_to_json(const char *name, const void *list, size_t n, MlgElementFn element, bool utf8) {
        json_object *top = json_object_new_object(), *all = json_object_new_array();
        char *text;

        for (size_t i = 0; i < n; i++)
                json_object_array_add(all, element(list, i));
        json_object_object_add(top, name, all);
        text = mlg_json_to_text(top, utf8);
        json_object_put(top);
        return text;
}
