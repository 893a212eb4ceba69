/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config file: the syntax of memlegod.conf and of policy files, and where such files are; nothing of what
 * keys mean.
 *
 * Lines are "[Section]", "Key=value", a comment that starts with # or ;, or empty. There is no continuation
 * of lines, no quoting, and no comment behind a value. Text is UTF-8 without control characters.
 * Everything that could grow without end has a limit here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <glib.h>

#define MLG_CONFIG_FILE_SIZE_MAX (1024 * 1024) /* bytes of one file: 1,000 times what anybody wrote so far */
#define MLG_CONFIG_FILES_MAX 256               /* policy files */
#define MLG_CONFIG_SECTIONS_MAX 4096           /* over all files: as many as guests that are kept */
#define MLG_CONFIG_PATTERN_MAX 255             /* bytes: a guest's name is no longer */

/* What is made of a file. Both return false with *error set to stop; strings are valid during the call. */
typedef struct MlgConfigHandler {
        bool (*on_section)(const char *header, unsigned int line, void *userdata, GError **error);
        bool (*on_entry)(const char *key, const char *value, unsigned int line, void *userdata,
                         GError **error);
} MlgConfigHandler;

/* `name` is for messages only. Text need not end in NUL. */
bool mlg_config_file_parse(const char *name, const char *text, size_t len, const MlgConfigHandler *handler,
                           void *userdata, GError **error);

/* Reads one regular file; /dev/null is an empty one. *ret_missing (may be NULL: then it is an error as
 * others): there is none, and *ret is NULL. */
bool mlg_config_file_read(const char *path, char **ret, size_t *ret_len, bool *ret_missing, GError **error);

/* Paths of all policy files in `dir`, in the order of their names; hidden files, *~ and .dpkg-* are passed
 * over. No such directory: an empty list. NULL: *error is set. g_strfreev(). */
char **mlg_config_file_list(const char *dir, GError **error);

/* "FILE:LINE: [Section] Key=value: text". line 0, section, key and value NULL are left out. Text from files
 * is cut and cleaned. */
void mlg_config_file_error(GError **error, const char *name, unsigned int line, const char *section,
                           const char *key, const char *value, const char *format, ...) G_GNUC_PRINTF(7, 8);

/* The candidate that `word` was probably meant to be, or NULL. `candidates` end with NULL. */
const char *mlg_config_file_suggest(const char *word, const char *const *candidates);
