/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config words: what expressions are made of. */
#pragma once

#include <glib.h>

#include "core/rules.h"

#define MLG_WORD_MAX 40

typedef enum MlgToken {
        MLG_TOKEN_END,
        MLG_TOKEN_WORD,  /* guest.used, and */
        MLG_TOKEN_VALUE, /* 512M, 25%, 22:00 */
        MLG_TOKEN_SIGN,  /* <=, ( */
} MlgToken;

typedef struct MlgWords {
        const char *text, *at, *next; /* all of it; the token; what is behind it */
        MlgToken token;
        char word[MLG_WORD_MAX + 1];  /* of WORD and SIGN */
        MlgRuleType value_type;       /* of VALUE ... */
        int64_t value;                /* ... in its type's unit */
        char *error;                  /* NULL: all is well; g_free() */
} MlgWords;

/* To the next token; the first time, with `at` and `next` at the text's begin, to the first. */
void mlg_words_advance(MlgWords *w);
bool mlg_words_next_is(const MlgWords *w, const char *word);
bool mlg_words_accept(MlgWords *w, const char *word); /* goes on behind it, if it is the next */
void mlg_words_expect(MlgWords *w, const char *word); /* the same, and anything else is a mistake */

/* Only the first one counts. `at`: where, in the text. */
void mlg_words_fail(MlgWords *w, const char *at, const char *format, ...) G_GNUC_PRINTF(3, 4);
