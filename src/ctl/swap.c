/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Render, part six: guests that are lent memory to swap into. */
#include "ctl/render.h"
#include "ctl/table.h"
#include "ctl/text.h"
#include "util/parse.h"

#include <inttypes.h>

static const MlgColumn columns[] = {
        { "GUEST", .least = 12 },
        { "STATE" },
        { "QUOTA", .right = true, .drop = 3 },
        { "TARGET", .right = true },
        { "LENT", .right = true },
        { "USED", .right = true },
        { "SAME", .right = true, .drop = 2 },
        { "ON DISK", .right = true },
        { "HITS", .right = true },
        { "CALLED", .right = true, .drop = 4 },
        { "LATE", .right = true },
        { "SOCKET", .drop = 1 },
};

void mlg_ctl_swap_clear(MlgCtlSwap *s) {
        g_clear_pointer(&s->guest, g_free);
        g_clear_pointer(&s->uuid, g_free);
        g_clear_pointer(&s->section, g_free);
        g_clear_pointer(&s->path, g_free);
        g_clear_pointer(&s->state, g_free);
        g_clear_pointer(&s->attach, g_free);
        g_clear_pointer(&s->swap_in, g_free);
}

bool mlg_ctl_swap_is(const MlgCtlSwap *s, const char *guest) {
        return !guest || g_str_equal(s->guest, guest) || g_str_equal(s->uuid, guest);
}

static MlgColour colour_of(const MlgCtlSwap *s) {
        return g_str_equal(s->state, "late")    ? MLG_COLOUR_RED
               : g_str_equal(s->state, "going") ? MLG_COLOUR_YELLOW
               : g_str_equal(s->state, "talks") ? MLG_COLOUR_GREEN
                                                : MLG_COLOUR_PLAIN;
}

static char *clean(const char *text, const MlgStyle *style) {
        return mlg_text_escape(text, MLG_TEXT_LINE, style->utf8);
}

void mlg_render_swaps(const MlgCtlSwap *all, size_t n, const MlgStyle *style, GString *out) {
        g_autoptr(MlgTable) t = mlg_table_new(columns, G_N_ELEMENTS(columns));

        for (size_t i = 0; i < n; i++) {
                const MlgCtlSwap *s = &all[i];
                const uint64_t sizes[] = { s->quota_kib, s->target_kib, s->lent_kib,
                                           s->used_kib,  s->same_kib,   s->on_disk_kib };

                mlg_table_add(t, MLG_COLOUR_PLAIN, clean(s->guest, style));
                mlg_table_add(t, colour_of(s), clean(s->state, style));
                for (size_t k = 0; k < G_N_ELEMENTS(sizes); k++)
                        mlg_table_add(t, MLG_COLOUR_PLAIN, mlg_format_kib(sizes[k]));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64 "%%", s->hits_permille / 10));
                mlg_table_add(t, MLG_COLOUR_PLAIN, g_strdup_printf("%" PRIu64, s->call_backs));
                mlg_table_add(t, s->late > 0 ? MLG_COLOUR_YELLOW : MLG_COLOUR_PLAIN,
                              g_strdup_printf("%" PRIu64, s->late));
                mlg_table_add(t, MLG_COLOUR_DIM, clean(s->path, style));
        }
        if (n == 0)
                g_string_append(
                        out, "No guest is lent memory: there is no section [Swap NAME] that names one.\n");
        else
                mlg_table_render(t, style, 0, SIZE_MAX, out);
}

static void line(GString *out, const char *what, const char *value) {
        g_string_append_printf(out, "%15s: %s\n", what, value);
}

static void size_line(GString *out, const char *what, uint64_t kib, const char *note) {
        g_autofree char *size = mlg_format_kib(kib), *text = g_strconcat(size, note, NULL);

        line(out, what, text);
}

/* What came in of what was granted; words of the guest. */
static char *swap_in_text(const MlgCtlSwap *s, const MlgStyle *style) {
        g_autofree char *done = mlg_format_kib(s->swap_in_done_kib), *limit = mlg_format_kib(s->swap_in_kib),
                        *state = clean(s->swap_in ? s->swap_in : "", style);

        if (s->swap_ins == 0)
                return g_strdup("never told to");
        return g_strdup_printf("told to %" PRIu64 " times; the last one: %s of %s, %s", s->swap_ins, done, limit,
                               g_str_equal(state, "none") ? "not answered yet" : state);
}

static void show(const MlgCtlSwap *s, const MlgStyle *style, GString *out) {
        g_autofree char *guest = clean(s->guest, style), *section = clean(s->section, style),
                        *path = clean(s->path, style);
        g_autofree char *state = clean(s->state, style), *late = NULL, *reads = NULL, *writes = NULL;
        g_autofree char *last = mlg_format_whole_sec(s->callback_usec), *swap_in = swap_in_text(s, style);

        late = g_strdup_printf("%" PRIu64 ", met %" PRIu64 ", late %" PRIu64 "; the last one took %s",
                               s->call_backs, s->met, s->late, last);
        reads = g_strdup_printf("%" PRIu64 " pages from memory, %" PRIu64 " from disk (%" PRIu64 "%% hits)",
                                s->pool_reads, s->disk_reads, s->hits_permille / 10);
        writes = g_strdup_printf("%" PRIu64 " pages to memory, %" PRIu64 " to disk, %" PRIu64 " moved there",
                                 s->pool_writes, s->disk_writes, s->written_back);
        g_string_append_printf(out, "%s\n", guest);
        line(out, "State", state);
        line(out, "Section", section);
        size_line(out, "Lent", s->lent_kib, "");
        size_line(out, "May have", s->target_kib, "");
        size_line(out, "Quota", s->quota_kib, "");
        size_line(out, "Backed", s->backed_kib, " of the host");
        size_line(out, "Used", s->used_kib, "");
        size_line(out, "Of one value", s->same_kib, "");
        size_line(out, "On disk", s->on_disk_kib, "");
        size_line(out, "Device", s->device_kib, "");
        line(out, "Call-backs", late);
        line(out, "Read", reads);
        line(out, "Written", writes);
        line(out, "Swap-in", swap_in);
        line(out, "Socket", path);
}

void mlg_render_swap(const MlgCtlSwap *all, size_t n, const char *guest, const MlgStyle *style,
                     GString *out) {
        bool any = false;

        for (size_t i = 0; i < n; i++)
                if (mlg_ctl_swap_is(&all[i], guest)) {
                        if (any)
                                g_string_append_c(out, '\n');
                        show(&all[i], style, out);
                        any = true;
                }
        if (!any)
                g_string_append(out, "No guest is lent memory.\n");
}

/* ---- JSON ---- */

static json_object *to_json(const MlgCtlSwap *s) {
        const char *const texts[][2] = {
                { "guest", s->guest }, { "uuid", s->uuid },   { "section", s->section },
                { "path", s->path },   { "state", s->state }, { "attach", s->attach },
                { "swap_in", s->swap_in ? s->swap_in : "none" },
        };
        const struct {
                const char *key;
                uint64_t value;
        } numbers[] = {
                { "shares", s->shares },
                { "epoch", s->epoch },
                { "pool_kib", s->pool_kib },
                { "quota_kib", s->quota_kib },
                { "target_kib", s->target_kib },
                { "lent_kib", s->lent_kib },
                { "backed_kib", s->backed_kib },
                { "charged_kib", s->charged_kib },
                { "call_backs", s->call_backs },
                { "call_backs_met", s->met },
                { "call_backs_late", s->late },
                { "call_back_usec", s->callback_usec },
                { "wanted_kib", s->wanted_kib },
                { "held_kib", s->held_kib },
                { "device_kib", s->device_kib },
                { "disk_kib", s->disk_kib },
                { "used_kib", s->used_kib },
                { "same_kib", s->same_kib },
                { "on_disk_kib", s->on_disk_kib },
                { "hits_permille", s->hits_permille },
                { "pool_reads", s->pool_reads },
                { "disk_reads", s->disk_reads },
                { "pool_writes", s->pool_writes },
                { "disk_writes", s->disk_writes },
                { "written_back", s->written_back },
                { "errors", s->errors },
                { "swap_ins", s->swap_ins },
                { "swap_in_kib", s->swap_in_kib },
                { "swap_in_done_kib", s->swap_in_done_kib },
        };
        json_object *o = json_object_new_object();

        for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
                json_object_object_add(o, texts[i][0], json_object_new_string(texts[i][1]));
        for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++)
                json_object_object_add(o, numbers[i].key, json_object_new_uint64(numbers[i].value));
        return o;
}

char *mlg_swaps_to_json(const MlgCtlSwap *all, size_t n, const char *guest, bool utf8) {
        json_object *top = json_object_new_object(), *list = json_object_new_array();
        char *text;

        for (size_t i = 0; i < n; i++)
                if (mlg_ctl_swap_is(&all[i], guest))
                        json_object_array_add(list, to_json(&all[i]));
        json_object_object_add(top, "swaps", list);
        text = mlg_json_to_text(top, utf8);
        json_object_put(top);
        return text;
}
