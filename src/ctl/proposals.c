/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render, part four: the moves that wait for approval. */
#include <inttypes.h>

#include "ctl/render.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "util/parse.h"

static const MlgColumn columns[] = {
        { "ID", .right = true },
        { "GUEST", .least = 12 },
        { "FROM", .right = true },
        { "TO", .right = true },
        { "REASON" },
        { "EXPIRES" },
        { "EFFECT" },
};

void mlg_ctl_proposal_clear(MlgCtlProposal *p) {
        g_clear_pointer(&p->guest, g_free);
        g_clear_pointer(&p->state, g_free);
        g_clear_pointer(&p->reason, g_free);
        g_clear_pointer(&p->sentence, g_free);
        g_clear_pointer(&p->effect, g_free);
        g_clear_pointer(&p->for_guest, g_free);
        g_clear_pointer(&p->pressure, g_free);
}

static MlgColour colour_of(const MlgCtlProposal *p) {
        return g_str_equal(p->pressure, "critical") ? MLG_COLOUR_RED :
               g_str_equal(p->pressure, "warning")  ? MLG_COLOUR_YELLOW :
                                                      MLG_COLOUR_PLAIN;
}

static void add_row(MlgTable *t, const MlgCtlProposal *p, const MlgStyle *style) {
        g_autofree char *left = mlg_format_whole_sec(p->expires_in_usec);
        bool approved = g_str_equal(p->state, "approved");

        mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, p->id));
        mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_text_escape(p->guest, MLG_TEXT_LINE, style->utf8));
        mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(p->from_kib));
        mlg_table_add(t, MLG_COLOUR_BOLD, mlg_format_kib(p->to_kib));
        mlg_table_add(t, colour_of(p), mlg_text_escape(p->reason, MLG_TEXT_LINE, style->utf8));
        mlg_table_add(t, approved ? MLG_COLOUR_GREEN : MLG_COLOUR_PLAIN,
                      approved ? g_strdup("approved") : g_strdup_printf("in %s", left));
        mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_text_escape(p->effect, MLG_TEXT_LINE, style->utf8));
}

void mlg_render_proposals(const void *proposals, size_t n, const MlgStyle *style, GString *out) {
        g_autoptr(MlgTable) t = mlg_table_new(columns, G_N_ELEMENTS(columns));

        for (size_t i = 0; i < n; i++)
                add_row(t, &((const MlgCtlProposal *) proposals)[i], style);
        if (n == 0)
                g_string_append(out, "Nothing waits for approval.\n");
        else
                mlg_table_render(t, style, 0, SIZE_MAX, out);
}

static json_object *to_json(const void *list, size_t at) {
        const MlgCtlProposal *p = &((const MlgCtlProposal *) list)[at];
        const struct { const char *key, *value; } texts[] = {
                { "guest", p->guest },       { "state", p->state },         { "reason", p->reason },
                { "sentence", p->sentence }, { "effect", p->effect },       { "for_guest", p->for_guest },
                { "pressure", p->pressure },
        };
        const struct { const char *key; uint64_t value; } numbers[] = {
                { "from_kib", p->from_kib },     { "to_kib", p->to_kib },
                { "usable_kib", p->usable_kib }, { "usable_after_kib", p->usable_after_kib },
                { "need_kib", p->need_kib },     { "cushion_kib", p->cushion_kib },
                { "age_usec", p->age_usec },     { "expires_in_usec", p->expires_in_usec },
        };
        json_object *o = json_object_new_object();

        json_object_object_add(o, "id", json_object_new_uint64(p->id));
        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
                json_object_object_add(o, texts[i].key, json_object_new_string(texts[i].value));
        for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
                json_object_object_add(o, numbers[i].key, json_object_new_uint64(numbers[i].value));
        return o;
}

char *mlg_proposals_to_json(const void *proposals, size_t n, bool utf8) {
        return mlg_list_to_json("proposals", proposals, n, to_json, utf8);
}
