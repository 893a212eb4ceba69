/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render, part four: the list of plug-ins. */
#include "ctl/render.h"
#include "ctl/table.h"
#include "ctl/text.h"

static const MlgColumn columns[] = {
        { "NAME" },
        { "KIND" },
        { "STATE" },
        { "FILE" },
};

void mlg_ctl_plugin_clear(MlgCtlPlugin *p) {
        g_clear_pointer(&p->name, g_free);
        g_clear_pointer(&p->kind, g_free);
        g_clear_pointer(&p->state, g_free);
        g_clear_pointer(&p->file, g_free);
        g_clear_pointer(&p->why, g_free);
}

static MlgColour colour_of(const MlgCtlPlugin *p) {
        if (*p->why)
                return MLG_COLOUR_RED;
        return g_str_equal(p->state, "used") ? MLG_COLOUR_GREEN : MLG_COLOUR_PLAIN;
}

void mlg_render_plugins(const void *list, size_t n, const MlgStyle *style, GString *out) {
        const MlgCtlPlugin *plugins = list;
        g_autoptr(MlgTable) t = mlg_table_new(columns, G_N_ELEMENTS(columns));

        if (n == 0) {
                g_string_append(out, "No plug-ins.\n");
                return;
        }
        for (size_t i = 0; i < n; i++) {
                const MlgCtlPlugin *p = &plugins[i];

                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_text_escape(p->name, MLG_TEXT_LINE, style->utf8));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_text_escape(p->kind, MLG_TEXT_LINE, style->utf8));
                mlg_table_add(t, colour_of(p), mlg_text_escape(p->state, MLG_TEXT_LINE, style->utf8));
                mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_text_escape(p->file, MLG_TEXT_LINE, style->utf8));
        }
        mlg_table_render(t, style, 0, SIZE_MAX, out);
        for (size_t i = 0; i < n; i++) {
                g_autofree char *name = mlg_text_escape(plugins[i].name, MLG_TEXT_LINE, style->utf8);
                g_autofree char *why = mlg_text_escape(plugins[i].why, MLG_TEXT_LINE, style->utf8);

                if (*why)
                        g_string_append_printf(out, "\n%s is %s: %s.\n", name, g_str_equal(plugins[i].state, "off")
                                               ? "switched off" : "refused", why);
        }
}

static json_object *to_json(const void *list, size_t i) {
        const MlgCtlPlugin *p = &((const MlgCtlPlugin *) list)[i];
        json_object *o = json_object_new_object();

        json_object_object_add(o, "name", json_object_new_string(p->name));
        json_object_object_add(o, "kind", json_object_new_string(p->kind));
        json_object_object_add(o, "state", json_object_new_string(p->state));
        json_object_object_add(o, "file", json_object_new_string(p->file));
        if (*p->why)
                json_object_object_add(o, "why", json_object_new_string(p->why));
        return o;
}

char *mlg_plugins_to_json(const void *plugins, size_t n, bool utf8) {
        return mlg_list_to_json("plugins", plugins, n, to_json, utf8);
}
