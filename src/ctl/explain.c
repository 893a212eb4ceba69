/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render, part two: the history of decisions about one guest, as sentences, and the rules that hold for
 * it. */
#include <inttypes.h>
#include <string.h>

#include "ctl/render.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "util/parse.h"

#define INDENT "        "

void mlg_ctl_decision_clear(MlgCtlDecision *d) {
        g_clear_pointer(&d->state, g_free);
        g_clear_pointer(&d->trust, g_free);
        g_clear_pointer(&d->pressure, g_free);
        g_clear_pointer(&d->wanted_reason, g_free);
        g_clear_pointer(&d->reason, g_free);
        g_clear_pointer(&d->sentence, g_free);
        g_clear_pointer(&d->result, g_free);
        g_clear_pointer(&d->error, g_free);
}

void mlg_ctl_rule_clear(MlgCtlRule *r) {
        g_clear_pointer(&r->name, g_free);
        g_clear_pointer(&r->origin, g_free);
        g_clear_pointer(&r->settings, g_free);
}

/* printf for text of which some parts come from outside: escapes the whole. */
static void append_line(GString *out, const MlgStyle *style, MlgColour colour, const char *format, ...)
        G_GNUC_PRINTF(4, 5);
static void append_line(GString *out, const MlgStyle *style, MlgColour colour, const char *format, ...) {
        g_autofree char *text = NULL, *escaped = NULL;
        va_list ap;

        va_start(ap, format);
        text = g_strdup_vprintf(format, ap);
        va_end(ap);
        escaped = mlg_text_escape(text, MLG_TEXT_LINE, style->utf8);
        mlg_append_coloured(out, style, colour, escaped);
}

/* Whole seconds: to a person the age of a decision is no measurement. */
static char *ago(uint64_t usec) {
        g_autofree char *text = mlg_format_whole_sec(usec);

        return usec < G_USEC_PER_SEC ? g_strdup("just now") : g_strdup_printf("%s ago", text);
}

/* "ETIMEDOUT" -> "Connection timed out"; what is no errno's name stays. */
static const char *error_text(const char *name) {
        for (int e = 1; e < 256; e++)
                if (g_strcmp0(strerrorname_np(e), name) == 0)
                        return g_strerror(e);
        return name;
}

/* A move that nobody was asked for: of a dry run. */
static bool is_only_said(const MlgCtlDecision *d) {
        return d->to_kib != d->from_kib && g_str_equal(d->result, "none");
}

/* What was done: "512 MiB -> 640 MiB" and what came of it, or "left at 512 MiB". */
static void render_move(const MlgCtlDecision *d, const MlgStyle *style, GString *out) {
        g_autofree char *from = mlg_format_kib(d->from_kib), *to = mlg_format_kib(d->to_kib);

        if (d->from_kib == 0 && d->to_kib == 0) { /* its memory is not known yet */
                append_line(out, style, MLG_COLOUR_BOLD, "left alone");
                return;
        }
        if (d->to_kib == d->from_kib) {
                append_line(out, style, MLG_COLOUR_BOLD, "left at %s", from);
                return;
        }
        if (is_only_said(d)) {
                append_line(out, style, MLG_COLOUR_BOLD, "would go %s -> %s", from, to);
                return;
        }
        append_line(out, style, MLG_COLOUR_BOLD, "%s -> %s", from, to);
        if (g_str_equal(d->result, "accepted"))
                append_line(out, style, MLG_COLOUR_GREEN, " (accepted)");
        else if (g_str_equal(d->result, "pending"))
                append_line(out, style, MLG_COLOUR_YELLOW, " (not answered yet)");
        else if (g_str_equal(d->result, "failed"))
                append_line(out, style, MLG_COLOUR_RED, " (failed: %s)", error_text(d->error));
}

static void render_inputs(const MlgCtlDecision *d, const MlgStyle *style, GString *out) {
        g_autofree char *actual = mlg_format_kib(d->actual_kib), *used = mlg_format_kib(d->used_kib);
        g_autofree char *usable = mlg_format_kib(d->usable_kib), *need = mlg_format_kib(d->need_kib);
        g_autofree char *error = mlg_format_kib(d->error_kib), *cushion = mlg_format_kib(d->cushion_kib);

        if (g_str_equal(d->trust, "none")) {
                append_line(out, style, MLG_COLOUR_DIM, INDENT "it has %s, and never reported",
                            d->actual_kib > 0 ? actual : "an unknown size");
                g_string_append_c(out, '\n');
                return;
        }
        append_line(out, style, MLG_COLOUR_DIM,
                    INDENT "it has %s, uses %s, could give %s; pressure %s, report %s", actual, used, usable,
                    d->pressure, d->trust);
        g_string_append_c(out, '\n');
        if (d->need_kib > 0) {
                append_line(out, style, MLG_COLOUR_DIM, INDENT "expected need %s %s %s, cushion %s", need,
                            style->utf8 ? "±" : "+-", error, cushion);
                g_string_append_c(out, '\n');
        }
}

static void render_wish(const MlgCtlDecision *d, const MlgStyle *style, GString *out) {
        g_autofree char *wanted = mlg_format_kib(d->wanted_kib);

        /* Of a dry run the reason says only that it is one. */
        if (d->wanted_kib == 0 || (d->wanted_kib == d->to_kib && !is_only_said(d)))
                return;
        append_line(out, style, MLG_COLOUR_DIM, INDENT "the policy wanted %s (%s)", wanted,
                    d->wanted_reason);
        g_string_append_c(out, '\n');
}

static void render_decisions(const char *guest, const MlgCtlDecision *decisions, size_t n,
                             const MlgStyle *style, GString *out) {
        if (n == 0) {
                append_line(out, style, MLG_COLOUR_PLAIN, "Nothing was decided about %s yet.", guest);
                g_string_append_c(out, '\n');
                return;
        }
        append_line(out, style, MLG_COLOUR_BOLD, "%s", guest);
        append_line(out, style, MLG_COLOUR_PLAIN, " is %s: the newest of its last %zu decisions comes first",
                    decisions[0].state, n);
        g_string_append(out, "\n\n");
        for (size_t i = 0; i < n; i++) {
                const MlgCtlDecision *d = &decisions[i];
                g_autofree char *when = ago(d->age_usec);

                append_line(out, style, MLG_COLOUR_PLAIN, "%s: ", when);
                render_move(d, style, out);
                append_line(out, style, MLG_COLOUR_PLAIN, ": %s [%s]", d->sentence, d->reason);
                if (d->repeated > 1)
                        append_line(out, style, MLG_COLOUR_PLAIN, ", %" PRIu64 " times in a row",
                                    d->repeated);
                g_string_append_c(out, '\n');
                render_inputs(d, style, out);
                render_wish(d, style, out);
        }
}

static void render_rules(const MlgCtlRule *rules, size_t n, const MlgStyle *style, GString *out) {
        if (n > 0)
                g_string_append(out, "\nRules that hold for it now, and what it has by them:\n");
        for (size_t i = 0; i < n; i++) {
                const MlgCtlRule *r = &rules[i];

                append_line(out, style, MLG_COLOUR_PLAIN, INDENT "%s (%s): %s", r->name, r->origin,
                            *r->settings ? r->settings :
                                           "nothing, as later ones set the same, or it is not known");
                g_string_append_c(out, '\n');
        }
}

void mlg_render_explain(const char *guest, const MlgCtlExplanation *e, const MlgStyle *style, GString *out) {
        render_decisions(guest, e->decisions, e->n_decisions, style, out);
        render_rules(e->rules, e->n_rules, style, out);
}

static void add_u64(json_object *o, const char *key, uint64_t v) {
        json_object_object_add(o, key, json_object_new_uint64(v));
}

static void add_string(json_object *o, const char *key, const char *v) {
        json_object_object_add(o, key, json_object_new_string(v));
}

static json_object *decision_to_json(const MlgCtlDecision *d) {
        json_object *o = json_object_new_object();

        add_u64(o, "age_usec", d->age_usec);
        add_u64(o, "repeated", d->repeated);
        add_string(o, "state", d->state);
        add_string(o, "trust", d->trust);
        add_string(o, "pressure", d->pressure);
        add_u64(o, "actual_kib", d->actual_kib);
        add_u64(o, "used_kib", d->used_kib);
        add_u64(o, "usable_kib", d->usable_kib);
        add_u64(o, "need_kib", d->need_kib);
        add_u64(o, "error_kib", d->error_kib);
        add_u64(o, "cushion_kib", d->cushion_kib);
        add_u64(o, "from_kib", d->from_kib);
        add_u64(o, "wanted_kib", d->wanted_kib);
        add_string(o, "wanted_reason", d->wanted_reason);
        add_u64(o, "to_kib", d->to_kib);
        add_string(o, "reason", d->reason);
        add_string(o, "sentence", d->sentence);
        add_string(o, "result", d->result);
        if (g_str_equal(d->result, "failed"))
                add_string(o, "error", d->error);
        return o;
}

/* "Floor=2G Priority=20" */
static json_object *settings_to_json(const char *settings) {
        g_auto(GStrv) words = g_strsplit(settings, " ", -1);
        json_object *o = json_object_new_object();

        for (char **w = words; *w; w++) {
                char *value = strchr(*w, '=');

                if (!value)
                        continue;
                *value = '\0';
                add_string(o, *w, value + 1);
        }
        return o;
}

static json_object *rule_to_json(const MlgCtlRule *r) {
        json_object *o = json_object_new_object();

        add_string(o, "rule", r->name);
        add_string(o, "origin", r->origin);
        json_object_object_add(o, "settings", settings_to_json(r->settings));
        return o;
}

char *mlg_explain_to_json(const char *guest, const MlgCtlExplanation *e, bool utf8) {
        json_object *top = json_object_new_object(), *decisions = json_object_new_array(),
                    *rules = json_object_new_array();
        char *text;

        add_string(top, "guest", guest);
        for (size_t i = 0; i < e->n_decisions; i++)
                json_object_array_add(decisions, decision_to_json(&e->decisions[i]));
        json_object_object_add(top, "decisions", decisions);
        for (size_t i = 0; i < e->n_rules; i++)
                json_object_array_add(rules, rule_to_json(&e->rules[i]));
        json_object_object_add(top, "rules", rules);
        text = mlg_json_to_text(top, utf8);
        json_object_put(top);
        return text;
}
