/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render, part seven: guests with securestack.ko, and what it caught there; from the dump. */
#include <inttypes.h>

#include "ctl/render.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "memlego/sample.h"

static const MlgColumn columns[] = {
        { "GUEST", .least = 12 },
        { "CALLS", .right = true, .drop = 2 },
        { "HELD", .right = true, .drop = 3 },
        { "REFUSED", .right = true, .drop = 1 },
        { "VIOLATIONS", .right = true },
        { "KINDS" },
};

char *mlg_stack_kinds_to_text(json_object *kinds) {
        GString *text = g_string_new(NULL);

        if (json_object_is_type(kinds, json_type_object)) {
                json_object_object_foreach(kinds, kind, v) {
                        if (json_object_is_type(v, json_type_int) && json_object_get_uint64(v) > 0)
                                g_string_append_printf(text, "%s%s %" PRIu64, text->len > 0 ? ", " : "",
                                                       kind, json_object_get_uint64(v));
                }
        }
        return g_string_free(text, FALSE);
}

static void add_count(MlgTable *t, MlgColour colour, uint64_t n) {
        mlg_table_add(t, colour, g_strdup_printf("%" PRIu64, n));
}

void mlg_render_stacks(const MlgSnapshot *s, const MlgStyle *style, GString *out) {
        g_autoptr(MlgTable) t = mlg_table_new(columns, G_N_ELEMENTS(columns));
        bool any = false;

        for (size_t i = 0; i < s->n_guests; i++) {
                const MlgCtlGuest *g = &s->guests[i];
                g_autofree char *kinds = NULL;
                json_object *list = NULL;

                if (!g->knows_stack)
                        continue;
                any = true;
                (void) json_object_object_get_ex(g->json, "stack_violation_kinds", &list);
                kinds = mlg_stack_kinds_to_text(list);
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_text_escape(g->name, MLG_TEXT_LINE, style->utf8));
                add_count(t, MLG_COLOUR_PLAIN, g->stack_calls);
                add_count(t, MLG_COLOUR_PLAIN, g->stack_held_bytes);
                add_count(t, MLG_COLOUR_PLAIN, g->stack_refused);
                add_count(t, g->stack_violations > 0 ? MLG_COLOUR_RED : MLG_COLOUR_PLAIN, g->stack_violations);
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_text_escape(kinds, MLG_TEXT_LINE, style->utf8));
        }
        if (any)
                mlg_table_render(t, style, 0, SIZE_MAX, out);
        else
                g_string_append(
                        out,
                        "No guest tells of securestack: it takes the module and memlego-guestd there.\n");
}

static void copy(json_object *to, const char *key, json_object *from, const char *from_key) {
        json_object *v;

        if (json_object_object_get_ex(from, from_key, &v))
                json_object_object_add(to, key, json_object_get(v));
}

char *mlg_stacks_to_json(const MlgSnapshot *s, bool utf8) {
        json_object *top = json_object_new_object(), *list = json_object_new_array();
        char *text;

        for (size_t i = 0; i < s->n_guests; i++) {
                json_object *o, *from = s->guests[i].json;

                if (!s->guests[i].knows_stack)
                        continue;
                o = json_object_new_object();
                json_object_object_add(o, "guest", json_object_new_string(s->guests[i].name));
                json_object_object_add(o, "uuid", json_object_new_string(s->guests[i].uuid));
                copy(o, "calls", from, "stack_calls");
                copy(o, "held_bytes", from, "stack_held_bytes");
                copy(o, "refused", from, "stack_refused");
                copy(o, "violations", from, "stack_violations");
                copy(o, "violation_kinds", from, "stack_violation_kinds");
                json_object_array_add(list, o);
        }
        json_object_object_add(top, "stacks", list);
        text = mlg_json_to_text(top, utf8);
        json_object_put(top);
        return text;
}
