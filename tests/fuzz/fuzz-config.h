/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Promises that a configuration keeps, whatever file it was made of. */
#pragma once

#include <string.h>

#include <glib.h>

#include "service/config-options.h"
#include "service/config.h"

static inline void same_guest(const MlgConfig *a, const MlgConfig *b, const char *name, const char *labels) {
        const char *uuid = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0";
        MlgOptionSettings x, y;

        mlg_config_guest(a, name, uuid, labels, &x.guest);
        mlg_config_guest(b, name, uuid, labels, &y.guest);
        for (size_t i = 0; i < mlg_option_count(); i++)
                if (mlg_option_at(i)->section == MLG_OPTION_GUEST) {
                        g_autofree char *s = mlg_option_format(mlg_option_at(i), &x.guest);
                        g_autofree char *t = mlg_option_format(mlg_option_at(i), &y.guest);

                        g_assert_cmpstr(s, ==, t);
                }
}

/* Refused in words, or taken; what was taken can be shown, loaded again, and then means the same. */
static inline int fuzz_config(const uint8_t *data, size_t size, bool is_policy) {
        g_autoptr(GError) error = NULL, error2 = NULL;
        g_autoptr(MlgConfig)
                c = mlg_config_load_text("fuzz.conf", (const char *) data, size, is_policy, &error);
        g_autoptr(MlgConfig) again = NULL, empty = NULL;
        g_autofree char *text = NULL;
        g_auto(GStrv) changes = NULL;

        if (!c) {
                g_assert_true(g_error_matches(error, MLG_ERROR, MLG_ERROR_CONFIG));
                g_assert_true(g_str_has_prefix(error->message, "fuzz.conf:"));
                g_assert_true(g_utf8_validate(error->message, -1, NULL));
                g_assert_null(strchr(error->message, '\n'));
                return 0;
        }
        g_assert_null(error);
        text = mlg_config_to_text(c);
        g_assert_true(g_utf8_validate(text, -1, NULL));
        again = mlg_config_load_text("again.conf", text, strlen(text), false, &error2);
        /* What it says is longer than what was said: the limits on sections and size may be the reason. */
        if (!again) {
                if (!strstr(error2->message, "expected at most") &&
                    !strstr(error2->message, "expected a file of at most"))
                        g_error("%s in:\n%s", error2->message, text);
                return 0;
        }
        same_guest(c, again, "web-1", "gold web");
        same_guest(c, again, "x", NULL);
        same_guest(c, again, "", "");
        changes = mlg_config_diff(c, again);
        for (char **line = changes; *line; line++)
                g_assert_false(g_str_has_prefix(*line, "[Rule"));
        g_clear_pointer(&changes, g_strfreev);
        empty = mlg_config_load_text("empty.conf", "", 0, false, NULL);
        changes = mlg_config_diff(empty, c);
        for (char **line = changes; *line; line++)
                g_assert_true(g_utf8_validate(*line, -1, NULL));
        g_strfreev(changes);
        changes = mlg_config_diff(c, c);
        g_assert_null(changes[0]);
        return 0;
}
