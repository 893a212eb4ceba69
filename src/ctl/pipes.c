/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render, part five: groups of guests that share memory. */
#include "ctl/render.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "util/parse.h"
#include "util/util.h"

#include <inttypes.h>

static const MlgColumn pipe_columns[] = {
        { "NAME" },
        { "STATE" },
        { "MEMBERS", .right = true },
        { "QUOTA", .right = true },
        { "GRANTED", .right = true },
        { "BACKED", .right = true },
        { "USED", .right = true, .drop = 3 },
        { "REGION", .right = true, .drop = 2 },
        { "SOCKET", .drop = 1 },
};

static const MlgColumn member_columns[] = {
        { "GROUP" },
        { "GUEST", .least = 12 },
        { "ID", .right = true },
        { "STATE" },
        { "CONNECTIONS", .right = true },
        { "GRANTED", .right = true },
        { "SHARE", .right = true },
        { "DEMAND", .right = true },
        { "USED", .right = true },
        { "SENT", .right = true },
};

static const MlgColumn way_columns[] = {
        { "GROUP" },
        { "GUEST", .least = 12 },
        { "IN MEMORY", .right = true },
        { "BY TCP", .right = true },
        { "WHY" },
};

static const MlgColumn pair_columns[] = {
        { "GROUP" },
        { "GUEST", .least = 12 },
        { "GUEST", .least = 12 },
        { "PAIR" },
        { "GRANTED", .right = true },
        { "BACKED", .right = true },
        { "IDLE", .right = true },
};

void mlg_ctl_pipe_clear(MlgCtlPipe *p) {
        g_clear_pointer(&p->name, g_free);
        g_clear_pointer(&p->path, g_free);
        g_clear_pointer(&p->state, g_free);
        g_clear_pointer(&p->attach, g_free);
        g_clear_pointer(&p->isolation, g_free);
}

void mlg_ctl_count_clear(void *count) {
        g_clear_pointer(&((MlgCtlCount *) count)->name, g_free);
}

void mlg_ctl_pipe_member_clear(MlgCtlPipeMember *m) {
        g_clear_pointer(&m->fallbacks, g_array_unref);
        g_clear_pointer(&m->pipe, g_free);
        g_clear_pointer(&m->guest, g_free);
        g_clear_pointer(&m->state, g_free);
}

void mlg_ctl_pipe_pair_clear(MlgCtlPipePair *p) {
        g_clear_pointer(&p->pipe, g_free);
        g_clear_pointer(&p->guests[0], g_free);
        g_clear_pointer(&p->guests[1], g_free);
        g_clear_pointer(&p->state, g_free);
}

static bool is_of(const char *pipe, const char *group) {
        return !group || g_str_equal(pipe, group);
}

static char *clean(const char *text, const MlgStyle *style) {
        return mlg_text_escape(text, MLG_TEXT_LINE, style->utf8);
}

void mlg_render_pipes(const MlgCtlPipes *all, const MlgStyle *style, GString *out) {
        g_autoptr(MlgTable) t = mlg_table_new(pipe_columns, G_N_ELEMENTS(pipe_columns));

        for (size_t i = 0; i < all->n; i++) {
                const MlgCtlPipe *p = &all->pipes[i];

                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(p->name, style));
                mlg_table_add(t, g_str_equal(p->state, "going") ? MLG_COLOUR_YELLOW : MLG_COLOUR_PLAIN,
                              clean(p->state, style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, p->n_members));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(p->quota_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(p->granted_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(p->backed_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64 "%%", p->utilisation_permille / 10));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(p->region_kib));
                mlg_table_add(t, MLG_COLOUR_DIM, clean(p->path[0] ? p->path : "one for each pair", style));
        }
        if (all->n == 0)
                g_string_append(out, "No guests share memory: there is no section [Pipe NAME].\n");
        else
                mlg_table_render(t, style, 0, SIZE_MAX, out);
}

static MlgColour colour_of(const MlgCtlPipeMember *m) {
        return g_str_equal(m->state, "broken")    ? MLG_COLOUR_RED
               : g_str_equal(m->state, "leaving") ? MLG_COLOUR_YELLOW
               : g_str_equal(m->state, "talks")   ? MLG_COLOUR_GREEN
                                                  : MLG_COLOUR_PLAIN;
}

static const MlgCtlCount *fallback(const MlgCtlPipeMember *m, guint i) {
        return &g_array_index(m->fallbacks, MlgCtlCount, i);
}

/* "option 3, no-peer 1"; *ret_n: of all of them */
static char *list_fallbacks(const MlgCtlPipeMember *m, uint64_t *ret_n) {
        GString *list = g_string_new(NULL);
        uint64_t n = 0;

        for (guint i = 0; m->fallbacks && i < m->fallbacks->len; i++) {
                const MlgCtlCount *c = fallback(m, i);

                n = mlg_add_sat(n, c->n);
                g_string_append_printf(list, "%s%s %" PRIu64, i > 0 ? ", " : "", c->name, c->n);
        }
        *ret_n = n;
        return g_string_free(list, FALSE);
}

/* Ways of connections since the modules were started, of those that say so. */
static void render_ways(const MlgCtlPipes *all, const char *group, const MlgStyle *style, GString *out) {
        g_autoptr(MlgTable) t = mlg_table_new(way_columns, G_N_ELEMENTS(way_columns));
        bool any = false;

        for (size_t i = 0; i < all->n_members; i++) {
                const MlgCtlPipeMember *m = &all->members[i];
                uint64_t n;
                g_autofree char *why = list_fallbacks(m, &n);

                if (!is_of(m->pipe, group) || (n == 0 && m->opened_connections == 0))
                        continue;
                any = true;
                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(m->pipe, style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(m->guest, style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, m->opened_connections));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, n));
                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(why, style));
        }
        if (!any)
                return;
        g_string_append_c(out, '\n');
        mlg_table_render(t, style, 0, SIZE_MAX, out);
}

static void render_pairs(const MlgCtlPipes *all, const char *group, const MlgStyle *style, GString *out) {
        g_autoptr(MlgTable) t = mlg_table_new(pair_columns, G_N_ELEMENTS(pair_columns));
        bool any = false;

        for (size_t i = 0; i < all->n_pairs; i++) {
                const MlgCtlPipePair *p = &all->pairs[i];

                if (!is_of(p->pipe, group))
                        continue;
                any = true;
                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(p->pipe, style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(p->guests[0], style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(p->guests[1], style));
                mlg_table_add(t, g_str_equal(p->state, "serving") ? MLG_COLOUR_GREEN : MLG_COLOUR_YELLOW,
                              clean(p->state, style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(p->granted_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(p->backed_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_whole_sec(p->idle_usec));
        }
        if (!any)
                return;
        g_string_append_c(out, '\n');
        mlg_table_render(t, style, 0, SIZE_MAX, out);
}

void mlg_render_pipe_members(const MlgCtlPipes *all, const char *group, const MlgStyle *style, GString *out) {
        g_autoptr(MlgTable) t = mlg_table_new(member_columns, G_N_ELEMENTS(member_columns));
        bool any = false;

        for (size_t i = 0; i < all->n_members; i++) {
                const MlgCtlPipeMember *m = &all->members[i];

                if (!is_of(m->pipe, group))
                        continue;
                any = true;
                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(m->pipe, style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(m->guest, style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, m->id));
                mlg_table_add(t, colour_of(m), clean(m->state, style));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, m->connections));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(m->granted_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(m->target_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(m->demand_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(m->used_kib));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(m->sent_bytes / 1024));
        }
        if (any)
                mlg_table_render(t, style, 0, SIZE_MAX, out);
        else
                g_string_append(out, "No members.\n");
        render_ways(all, group, style, out);
        render_pairs(all, group, style, out);
}

/* ---- JSON ---- */

typedef struct Number {
        const char *key;
        uint64_t value;
} Number;

static json_object *object(const char *const (*texts)[2], size_t n_texts, const Number *numbers,
                           size_t n_numbers) {
        json_object *o = json_object_new_object();

        for (size_t i = 0; i < n_texts; i++)
                json_object_object_add(o, texts[i][0], json_object_new_string(texts[i][1]));
        for (size_t i = 0; i < n_numbers; i++)
                json_object_object_add(o, numbers[i].key, json_object_new_uint64(numbers[i].value));
        return o;
}

static json_object *member_to_json(const MlgCtlPipeMember *m) {
        const char *const texts[][2] = { { "guest", m->guest }, { "state", m->state } };
        const Number numbers[] = {
                { "id", m->id },
                { "epoch", m->epoch },
                { "granted_kib", m->granted_kib },
                { "target_kib", m->target_kib },
                { "demand_kib", m->demand_kib },
                { "held_kib", m->held_kib },
                { "used_kib", m->used_kib },
                { "connections", m->connections },
                { "sent_bytes", m->sent_bytes },
                { "blocked_usec", m->blocked_usec },
                { "opened_connections", m->opened_connections },
        };
        json_object *o = object(texts, G_N_ELEMENTS(texts), numbers, G_N_ELEMENTS(numbers)),
                    *fallbacks = json_object_new_object();

        for (guint i = 0; m->fallbacks && i < m->fallbacks->len; i++)
                json_object_object_add(fallbacks, fallback(m, i)->name, json_object_new_uint64(fallback(m, i)->n));
        json_object_object_add(o, "fallbacks", fallbacks);
        return o;
}

static json_object *pair_to_json(const MlgCtlPipePair *p) {
        const char *const texts[][2] = { { "state", p->state } };
        const Number numbers[] = {
                { "granted_kib", p->granted_kib },
                { "backed_kib", p->backed_kib },
                { "idle_usec", p->idle_usec },
        };
        json_object *o = object(texts, G_N_ELEMENTS(texts), numbers, G_N_ELEMENTS(numbers)), *guests = json_object_new_array();

        for (size_t i = 0; i < G_N_ELEMENTS(p->guests); i++)
                json_object_array_add(guests, json_object_new_string(p->guests[i]));
        json_object_object_add(o, "guests", guests);
        return o;
}

static json_object *pipe_to_json(const MlgCtlPipe *p, const MlgCtlPipes *all) {
        const char *const texts[][2] = {
                { "name", p->name },
                { "path", p->path },
                { "state", p->state },
                { "attach", p->attach },
                { "isolation", p->isolation },
        };
        const Number numbers[] = {
                { "region_kib", p->region_kib },   { "quota_kib", p->quota_kib },
                { "granted_kib", p->granted_kib }, { "backed_kib", p->backed_kib },
                { "charged_kib", p->charged_kib }, { "epoch", p->epoch },
                { "refused_pairs", p->n_refused_pairs },
                { "utilisation_permille", p->utilisation_permille },
        };
        json_object *o = object(texts, G_N_ELEMENTS(texts), numbers, G_N_ELEMENTS(numbers)),
                    *list = json_object_new_array(), *pairs = json_object_new_array();

        for (size_t i = 0; i < all->n_members; i++)
                if (is_of(all->members[i].pipe, p->name))
                        json_object_array_add(list, member_to_json(&all->members[i]));
        for (size_t i = 0; i < all->n_pairs; i++)
                if (is_of(all->pairs[i].pipe, p->name))
                        json_object_array_add(pairs, pair_to_json(&all->pairs[i]));
        json_object_object_add(o, "members", list);
        json_object_object_add(o, "pairs", pairs);
        return o;
}

char *mlg_pipes_to_json(const MlgCtlPipes *all, const char *group, bool utf8) {
        json_object *top = json_object_new_object(), *list = json_object_new_array();
        char *text;

        for (size_t i = 0; i < all->n; i++)
                if (is_of(all->pipes[i].name, group))
                        json_object_array_add(list, pipe_to_json(&all->pipes[i], all));
        json_object_object_add(top, "pipes", list);
        text = mlg_json_to_text(top, utf8);
        json_object_put(top);
        return text;
}
