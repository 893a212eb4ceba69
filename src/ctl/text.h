/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text: makes strings of unknown origin fit for a terminal.
 *
 * Names of guests come from people and programs that may mean harm: no control character, no text direction
 * mark and no broken UTF-8 of theirs reaches the terminal. Pure. */
#pragma once

#include <stdbool.h>

#include <glib.h>

typedef enum MlgTextKind {
        MLG_TEXT_LINE,  /* a name or a sentence: line breaks and backslashes are escaped as well */
        MLG_TEXT_BLOCK, /* a file's text: line breaks, tabs and backslashes stay */
        MLG_TEXT_JSON,  /* JSON stays the same JSON: escapes are \uXXXX */
} MlgTextKind;

/* `utf8`: whether the terminal takes it; if not, all that is not ASCII is escaped. */
char *mlg_text_escape(const char *s, MlgTextKind kind, bool utf8);

/* Of escaped text: how many columns a terminal needs for it. */
unsigned int mlg_text_width(const char *s);

/* Of escaped text: cut to at most `width` columns; what was cut shows a mark at its end. */
char *mlg_text_fit(const char *s, unsigned int width, bool utf8);
