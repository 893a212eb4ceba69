/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text: escaping, width and cutting. */
#include "ctl/text.h"

#include <string.h>

/* Combining marks in a row; written languages need no more, and towers of them cover other lines. */
#define MARKS_MAX 2

static bool is_mark(gunichar c) {
        GUnicodeType t = g_unichar_type(c);

        return t == G_UNICODE_NON_SPACING_MARK || t == G_UNICODE_ENCLOSING_MARK;
}

/* Printable and without influence on its surroundings. */
static bool is_harmless(gunichar c) {
        switch (g_unichar_type(c)) {
        case G_UNICODE_CONTROL:
        case G_UNICODE_FORMAT: /* direction overrides, invisible joiners */
        case G_UNICODE_UNASSIGNED:
        case G_UNICODE_SURROGATE:
        case G_UNICODE_PRIVATE_USE:
        case G_UNICODE_LINE_SEPARATOR:
        case G_UNICODE_PARAGRAPH_SEPARATOR:
                return false;
        case G_UNICODE_SPACE_SEPARATOR:
                return c == ' ';
        default: /* not our enum: letters, digits, punctuation, also of later Unicode versions */
                return true;
        }
}

static void append_escaped(GString *out, gunichar c, MlgTextKind kind) {
        if (kind == MLG_TEXT_JSON && c > 0xffff)
                g_string_append_printf(out, "\\u%04x\\u%04x", 0xd800 + ((c - 0x10000) >> 10),
                                       0xdc00 + ((c - 0x10000) & 0x3ff));
        else if (kind == MLG_TEXT_JSON || (c >= 0x80 && c <= 0xffff))
                g_string_append_printf(out, "\\u%04x", c);
        else if (c == '\n')
                g_string_append(out, "\\n");
        else if (c == '\t')
                g_string_append(out, "\\t");
        else if (c < 0x80)
                g_string_append_printf(out, "\\x%02x", c);
        else
                g_string_append_printf(out, "\\U%08x", c);
}

static bool stays(gunichar c, MlgTextKind kind, bool utf8, unsigned int marks) {
        if (c == '\n' || c == '\t')
                return kind != MLG_TEXT_LINE;
        if (c == '\\')
                return kind != MLG_TEXT_LINE;
        if (c >= 0x80 && !utf8)
                return false;
        return is_harmless(c) && marks <= MARKS_MAX;
}

char *mlg_text_escape(const char *s, MlgTextKind kind, bool utf8) {
        GString *out = g_string_sized_new(strlen(s) + 1);
        unsigned int marks = 0;

        while (*s) {
                gunichar c = g_utf8_get_char_validated(s, -1);

                if (c == (gunichar) -1 || c == (gunichar) -2) {
                        /* not UTF-8: show the byte; JSON has no way to say that, there it is U+FFFD */
                        if (kind == MLG_TEXT_JSON)
                                g_string_append(out, "\\ufffd");
                        else
                                g_string_append_printf(out, "\\x%02x", (unsigned char) *s);
                        s++;
                        marks = 0;
                        continue;
                }
                marks = is_mark(c) ? marks + 1 : 0;
                if (stays(c, kind, utf8, marks))
                        g_string_append_unichar(out, c);
                else if (c == '\\')
                        g_string_append(out, "\\\\");
                else
                        append_escaped(out, c, kind);
                s = g_utf8_next_char(s);
        }
        return g_string_free(out, FALSE);
}

static unsigned int char_width(gunichar c) {
        return g_unichar_iszerowidth(c) ? 0 : g_unichar_iswide(c) ? 2 : 1;
}

unsigned int mlg_text_width(const char *s) {
        unsigned int width = 0;

        for (; *s; s = g_utf8_next_char(s))
                width += char_width(g_utf8_get_char(s));
        return width;
}

char *mlg_text_fit(const char *s, unsigned int width, bool utf8) {
        unsigned int used = 0;
        const char *p;

        if (mlg_text_width(s) <= width)
                return g_strdup(s);
        if (width == 0)
                return g_strdup("");
        for (p = s; *p; p = g_utf8_next_char(p)) {
                unsigned int w = char_width(g_utf8_get_char(p));

                if (used + w > width - 1) /* one column is for the mark */
                        break;
                used += w;
        }
        return g_strdup_printf("%.*s%s", (int) (p - s), s, utf8 ? "…" : "~");
}
