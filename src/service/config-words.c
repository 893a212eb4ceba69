/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config words: text of an expression -> one token after the other; values with their units -> numbers.
 *
 * Invariants: the first mistake is kept, with its place, and after it nothing matches any more; so whoever
 * reads on comes to an end without asking each time. */
#include "service/config-words.h"

#include <string.h>

#include "util/parse.h"
#include "util/util.h"

#define EXCERPT_MAX 20

/* ---- mistakes ---- */

/* The begin of what is left, as far as it is needed to find the place. */
static char *excerpt(const char *at) {
        glong len = g_utf8_strlen(at, -1);

        return g_strdelimit(g_utf8_substring(at, 0, MIN(len, EXCERPT_MAX)), "\t", ' ');
}

void mlg_words_fail(MlgWords *w, const char *at, const char *format, ...) {
        g_autofree char *why = NULL, *there = excerpt(at);
        va_list args;

        if (w->error)
                return;
        va_start(args, format);
        why = g_strdup_vprintf(format, args);
        va_end(args);
        w->error = *at ? g_strdup_printf("at character %ld, '%s': %s",
                                         g_utf8_pointer_to_offset(w->text, at) + 1, there, why)
                       : g_strdup_printf("at its end: %s", why);
}

/* ---- words ---- */

static bool is_word_char(char c) {
        return g_ascii_isalnum(c) || c == '_';
}

/* Letters behind digits, and all else that a value may hold: "1.5G", "12.5%", "5min", "22:00", but not the
 * ".." of a range. */
static size_t value_length(const char *s) {
        size_t n = 0;

        while (g_ascii_isalnum(s[n]) || s[n] == '%' || s[n] == ':' ||
               (s[n] == '.' && g_ascii_isdigit(s[n + 1])))
                n++;
        return n;
}

static bool parse_clock(const char *s, int64_t *ret) {
        uint64_t hour, minute;
        g_autofree char *before = NULL;
        const char *colon = strchr(s, ':');

        if (!colon || strlen(colon + 1) != 2)
                return false;
        before = g_strndup(s, (size_t) (colon - s));
        if (mlg_parse_u64(before, 0, 24, &hour) < 0 || mlg_parse_u64(colon + 1, 0, 59, &minute) < 0 ||
            hour * 60 + minute > 1440)
                return false;
        *ret = (int64_t) (hour * 60 + minute);
        return true;
}

/* Up to six digits behind the point, in units of `one`. */
static bool parse_decimal(const char *s, int64_t one, int64_t *ret) {
        const char *point = strchr(s, '.');
        g_autofree char *whole = point ? g_strndup(s, (size_t) (point - s)) : g_strdup(s);
        uint64_t n, part = 0;

        if (mlg_parse_u64(whole, 0, INT64_MAX / (2 * MLG_RULE_ONE), &n) < 0)
                return false;
        if (point && (strlen(point + 1) > 6 || mlg_parse_u64(point + 1, 0, 999999, &part) < 0))
                return false;
        for (size_t digits = point ? strlen(point + 1) : 0; digits < 6; digits++)
                part *= 10;
        *ret = (int64_t) n * one + (int64_t) mlg_mul_div(part, (uint64_t) one, 1000000);
        return true;
}

static bool set_value(MlgWords *w, MlgRuleType type, int64_t v) {
        w->value_type = type;
        w->value = v;
        return true;
}

static bool parse_value(MlgWords *w, char *s) {
        size_t len = strlen(s);
        uint64_t u;
        int64_t v;

        if (strchr(s, ':'))
                return parse_clock(s, &v) && set_value(w, MLG_RULE_CLOCK, v);
        if (s[len - 1] == '%') {
                s[len - 1] = '\0';
                return parse_decimal(s, MLG_RULE_ONE / 100, &v) && set_value(w, MLG_RULE_PART, v);
        }
        if (g_ascii_isdigit(s[len - 1]))
                return parse_decimal(s, MLG_RULE_ONE, &v) && set_value(w, MLG_RULE_NUMBER, v);
        if (mlg_parse_size_kib(s, &u) == 0)
                return set_value(w, MLG_RULE_SIZE, (int64_t) mlg_min(u, INT64_MAX));
        return mlg_parse_usec(s, &u) == 0 && set_value(w, MLG_RULE_TIME, (int64_t) mlg_min(u, INT64_MAX));
}

/* Signs of two letters first. */
static size_t sign_length(const char *s) {
        static const char *const signs[] = { "<=", ">=", "==", "!=", "..", "<", ">",
                                             "+",  "-",  "*",  "/",  "(",  ")", "," };

        for (size_t i = 0; i < G_N_ELEMENTS(signs); i++)
                if (g_str_has_prefix(s, signs[i]))
                        return strlen(signs[i]);
        return 0;
}

static size_t word_length(const char *s) {
        size_t n = 0;

        while (is_word_char(s[n]) || (s[n] == '.' && g_ascii_isalpha(s[n + 1])))
                n++;
        return n;
}

/* What people write who know other languages. */
static const char *meant(const char *s) {
        static const struct {
                const char *sign, *meant;
        } others[] = { { "=", "==" }, { "&", "and" }, { "|", "or" }, { "!", "not" } };

        for (size_t i = 0; i < G_N_ELEMENTS(others); i++)
                if (g_str_has_prefix(s, others[i].sign))
                        return others[i].meant;
        return NULL;
}

static void take_text(MlgWords *w, size_t len) {
        (void) g_strlcpy(w->word, w->at, MIN(len + 1, sizeof(w->word)));
        w->next = w->at + len;
        if (len > MLG_WORD_MAX)
                mlg_words_fail(w, w->at, "expected words of at most %d letters", MLG_WORD_MAX);
}

void mlg_words_advance(MlgWords *w) {
        size_t len;

        w->at = w->next + strspn(w->next, " \t");
        w->token = MLG_TOKEN_END;
        w->word[0] = '\0';
        if (!*w->at || w->error)
                return;
        if (g_ascii_isdigit(*w->at)) {
                w->token = MLG_TOKEN_VALUE;
                take_text(w, value_length(w->at));
                if (!w->error && !parse_value(w, w->word))
                        mlg_words_fail(w, w->at, "expected a value such as 512M, 25%%, 30s, 22:00 or 1.5");
                w->word[0] = '\0';
        } else if ((len = sign_length(w->at)) > 0) {
                w->token = MLG_TOKEN_SIGN;
                take_text(w, len);
        } else if ((len = word_length(w->at)) > 0) {
                w->token = MLG_TOKEN_WORD;
                take_text(w, len);
        } else if (meant(w->at))
                mlg_words_fail(w, w->at, "not a sign that is known here, did you mean '%s'?", meant(w->at));
        else
                mlg_words_fail(w, w->at, "not a sign that is known here");
}

bool mlg_words_next_is(const MlgWords *w, const char *word) {
        return !w->error && (w->token == MLG_TOKEN_WORD || w->token == MLG_TOKEN_SIGN) &&
               strcmp(w->word, word) == 0;
}

bool mlg_words_accept(MlgWords *w, const char *word) {
        if (!mlg_words_next_is(w, word))
                return false;
        mlg_words_advance(w);
        return true;
}

void mlg_words_expect(MlgWords *w, const char *word) {
        if (!mlg_words_accept(w, word))
                mlg_words_fail(w, w->at, "expected '%s'", word);
}
