/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Source: from a path to texts: plain or packed files, archives, directories of them. */
#include <errno.h>
#include <string.h>

#include <archive.h>
#include <archive_entry.h>

#include "sim/trace.h"
#include "util/error.h"

typedef struct archive Archive;

static void archive_done(Archive *a) {
        (void) archive_read_free(a);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Archive, archive_done)

static void fail(GError **error, const char *path, const char *what) {
        g_set_error(error, MLG_ERROR, MLG_ERROR_INVALID_ARGUMENT, "%s: %s", path, what);
}

/* All of the entry; NULL: it cannot be read, or is too long. */
static GString *read_entry(Archive *a, const char *path, GError **error) {
        g_autoptr(GString) text = g_string_new(NULL);
        char buf[65536];
        la_ssize_t n;

        while ((n = archive_read_data(a, buf, sizeof buf)) > 0) {
                if (text->len + (size_t) n > SIM_TEXT_BYTES_MAX) {
                        fail(error, path, "more than 512 MiB in one file");
                        return NULL;
                }
                g_string_append_len(text, buf, n);
        }
        if (n < 0) {
                fail(error, path, archive_error_string(a));
                return NULL;
        }
        return g_steal_pointer(&text);
}

/* "traces/a.trace.xz" and, in it, nothing: its own name. In an archive: that of the entry. */
static char *name_of(const char *path, Archive *a, struct archive_entry *entry) {
        const char *name = archive_entry_pathname(entry);

        if (archive_format(a) == ARCHIVE_FORMAT_RAW || !name)
                return g_strdup(path);
        return g_strconcat(path, "/", name, NULL);
}

static bool read_entries(SimTrace *t, Archive *a, const char *path, GError **error) {
        struct archive_entry *entry;
        int r;

        while ((r = archive_read_next_header(a, &entry)) == ARCHIVE_OK || r == ARCHIVE_WARN) {
                g_autofree char *name = name_of(path, a, entry);
                g_autoptr(GString) text = NULL;

                if (archive_format(a) != ARCHIVE_FORMAT_RAW && archive_entry_filetype(entry) != AE_IFREG)
                        continue;
                text = read_entry(a, name, error);
                if (!text || !sim_trace_read_text(t, name, text->str, text->len, error))
                        return false;
        }
        if (r == ARCHIVE_EOF)
                return true;
        fail(error, path, archive_error_string(a));
        return false;
}

static bool read_file(SimTrace *t, const char *path, GError **error) {
        g_autoptr(Archive) a = archive_read_new();

        if (!a)
                g_error("out of memory");
        (void) archive_read_support_filter_all(a); /* those that need a program that is missing only warn */
        (void) archive_read_support_format_tar(a);
        (void) archive_read_support_format_empty(a);
        (void) archive_read_support_format_raw(a);
        if (archive_read_open_filename(a, path, 65536) != ARCHIVE_OK) {
                fail(error, path,
                     archive_errno(a) > 0 ? g_strerror(archive_errno(a)) : archive_error_string(a));
                return false;
        }
        return read_entries(t, a, path, error);
}

static int by_name(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

/* In the order of names, so that the same directory is the same trace everywhere. */
static bool read_directory(SimTrace *t, const char *path, GError **error) {
        g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GDir) dir = g_dir_open(path, 0, error);
        const char *name;

        if (!dir)
                return false;
        while ((name = g_dir_read_name(dir)))
                if (*name != '.')
                        g_ptr_array_add(names, g_build_filename(path, name, NULL));
        g_ptr_array_sort(names, by_name);
        for (guint i = 0; i < names->len; i++)
                if (!g_file_test(names->pdata[i], G_FILE_TEST_IS_DIR) &&
                    !read_file(t, names->pdata[i], error))
                        return false;
        return true;
}

SimTrace *sim_trace_load(const char *path, GError **error) {
        g_autoptr(SimTrace) t = sim_trace_new();
        bool ok = g_file_test(path, G_FILE_TEST_IS_DIR) ? read_directory(t, path, error)
                                                        : read_file(t, path, error);

        if (!ok || !sim_trace_finish(t, path, error))
                return NULL;
        return g_steal_pointer(&t);
}
