/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config file: lines of text -> sections and entries, files of a directory -> an ordered list.
 *
 * Invariants: bounded by the limits of the header whatever the files hold; every error names file and
 * line. */
#include "service/config-file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "util/error.h"
#include "util/util.h"

#define SHOWN_MAX 60 /* characters of a value that an error message repeats: enough to recognise it */
#define WORD_MAX 32  /* longer words are no misspelt keys */

static char *clean_text(const char *s) {
        g_autofree char *valid = g_utf8_make_valid(s, -1);
        bool cut = g_utf8_strlen(valid, -1) > SHOWN_MAX;
        g_autofree char *start = cut ? g_utf8_substring(valid, 0, SHOWN_MAX) : g_strdup(valid);

        for (char *p = start; *p; p++)
                if (g_ascii_iscntrl(*p))
                        *p = '?';
        return cut ? g_strconcat(start, "...", NULL) : g_steal_pointer(&start);
}

void mlg_config_file_error(GError **error, const char *name, unsigned int line, const char *section,
                           const char *key, const char *value, const char *format, ...) {
        g_autoptr(GString) s = g_string_new(name);
        g_autofree char *text = NULL;
        va_list args;

        if (line > 0)
                g_string_append_printf(s, ":%u", line);
        g_string_append(s, ": ");
        if (section) {
                g_autofree char *shown = clean_text(section);

                g_string_append_printf(s, "[%s]", shown);
        }
        if (key) {
                g_autofree char *shown_key = clean_text(key);
                g_autofree char *shown_value = clean_text(value ? value : "");

                g_string_append_printf(s, "%s%s=%s", section ? " " : "", shown_key, shown_value);
        }
        if (section || key)
                g_string_append(s, ": ");
        va_start(args, format);
        text = g_strdup_vprintf(format, args);
        va_end(args);
        g_string_append(s, text);
        g_set_error_literal(error, MLG_ERROR, MLG_ERROR_CONFIG, s->str);
}

/* Typing errors (a letter changed, added, dropped, or two swapped) from a to b, without regard to case; both
 * at most WORD_MAX long. The usual table: d[i][j] is the distance of the first i letters of a from the first
 * j of b. */
static unsigned int distance(const char *a, size_t a_len, const char *b, size_t b_len) {
        unsigned int d[WORD_MAX + 1][WORD_MAX + 1];

        for (size_t i = 0; i <= a_len; i++)
                for (size_t j = 0; j <= b_len; j++) {
                        if (i == 0 || j == 0) {
                                d[i][j] = (unsigned int) (i + j);
                                continue;
                        }
                        d[i][j] = d[i - 1][j - 1] + (g_ascii_tolower(a[i - 1]) != g_ascii_tolower(b[j - 1]));
                        d[i][j] = MIN(d[i][j], MIN(d[i - 1][j], d[i][j - 1]) + 1);
                        if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                                d[i][j] = MIN(d[i][j], d[i - 2][j - 2] + 1);
                }
        return d[a_len][b_len];
}

const char *mlg_config_file_suggest(const char *word, const char *const *candidates) {
        const char *best = NULL;
        size_t len = strlen(word);
        unsigned int best_distance = UINT_MAX;

        if (len == 0 || len > WORD_MAX)
                return NULL;
        for (; *candidates; candidates++) {
                size_t c_len = strlen(*candidates);
                unsigned int d = distance(word, len, *candidates, MIN(c_len, WORD_MAX));

                /* A third of the letters wrong is a typing error; more is another word. */
                if (d < best_distance && d <= MAX(c_len / 3, 1)) {
                        best = *candidates;
                        best_distance = d;
                }
        }
        return best;
}

typedef struct Parser {
        const char *name;
        const MlgConfigHandler *handler;
        void *userdata;
        char *section; /* header of the section we are in, NULL: before the first */
} Parser;

static bool parse_section(Parser *p, char *line, size_t len, unsigned int number, GError **error) {
        if (line[len - 1] != ']') {
                mlg_config_file_error(error, p->name, number, NULL, NULL, NULL,
                                      "expected ] at the end of the line, as in [Host] or [Guest web-*]");
                return false;
        }
        line[len - 1] = '\0';
        g_free(p->section);
        p->section = g_strdup(g_strstrip(line + 1));
        return p->handler->on_section(p->section, number, p->userdata, error);
}

static bool parse_entry(Parser *p, char *line, unsigned int number, GError **error) {
        char *value = strchr(line, '=');

        if (!value || value == line) {
                mlg_config_file_error(error, p->name, number, p->section, NULL, NULL,
                                      "expected [Section], Key=value, or a comment that starts with # or ;");
                return false;
        }
        *value++ = '\0';
        (void) g_strchomp(line);
        (void) g_strchug(value);
        if (!p->section) {
                mlg_config_file_error(error, p->name, number, NULL, line, value,
                                      "expected a section such as [Host] before the first key");
                return false;
        }
        if (g_str_has_suffix(value, "\\")) {
                mlg_config_file_error(
                        error, p->name, number, p->section, line, value,
                        "expected the whole value on one line: lines cannot be continued with \\");
                return false;
        }
        return p->handler->on_entry(line, value, number, p->userdata, error);
}

/* `line` has no control characters but tabs, and ends in NUL. */
static bool parse_line(Parser *p, char *line, unsigned int number, GError **error) {
        size_t len;

        line = g_strstrip(line);
        len = strlen(line);
        if (len == 0 || *line == '#' || *line == ';')
                return true;
        if (*line == '[')
                return parse_section(p, line, len, number, error);
        return parse_entry(p, line, number, error);
}

/* Number of the line that is not text, or 0. */
static unsigned int find_bad_line(const char *text, size_t len) {
        const char *bad = text + len;
        unsigned int line = 1;
        bool found = !g_utf8_validate(text, (gssize) len, &bad);

        for (const char *p = text; p < bad; p++) {
                if (*p == '\n')
                        line++;
                /* A carriage return is one of the line's end as other systems write it, or a mistake. */
                else if (g_ascii_iscntrl(*p) && *p != '\t' && !(*p == '\r' && p + 1 < bad && p[1] == '\n'))
                        return line;
        }
        return found ? line : 0;
}

bool mlg_config_file_parse(const char *name, const char *text, size_t len, const MlgConfigHandler *handler,
                           void *userdata, GError **error) {
        Parser p = { .name = name, .handler = handler, .userdata = userdata };
        g_autofree char *copy = NULL;
        unsigned int number;
        bool ok = true;

        if (len > MLG_CONFIG_FILE_SIZE_MAX) {
                mlg_config_file_error(error, name, 0, NULL, NULL, NULL,
                                      "expected a file of at most %d bytes", MLG_CONFIG_FILE_SIZE_MAX);
                return false;
        }
        number = find_bad_line(text, len);
        if (number > 0) {
                mlg_config_file_error(error, name, number, NULL, NULL, NULL,
                                      "expected text in UTF-8 without control characters");
                return false;
        }
        if (len >= 3 &&
            memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* the mark that some editors put in front of UTF-8 */
                text += 3;
                len -= 3;
        }
        copy = g_strndup(text, len);
        number = 1;
        for (char *line = copy, *next; ok && line; line = next, number++) {
                next = strchr(line, '\n');
                if (next)
                        *next++ = '\0';
                ok = parse_line(&p, line, number, error);
        }
        g_free(p.section);
        return ok;
}

static bool read_error(const char *path, GError **error) {
        mlg_config_file_error(error, path, 0, NULL, NULL, NULL, "cannot read it: %s", g_strerror(errno));
        return false;
}

/* A link to a file that is gone is no missing file: somebody means something by it. */
static bool is_missing(const char *path, int open_errno) {
        struct stat st;
        bool missing = open_errno == ENOENT && lstat(path, &st) < 0;

        errno = open_errno;
        return missing;
}

/* What administrators put in place of a file that they want to be without, by a symbolic link. */
static bool is_dev_null(const struct stat *st) {
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

bool mlg_config_file_read(const char *path, char **ret, size_t *ret_len, bool *ret_missing, GError **error) {
        _mlg_cleanup_fd_ int fd = -1;
        g_autofree char *buffer = NULL;
        size_t len = 0;
        struct stat st;
        ssize_t n;

        /* O_NONBLOCK: a fifo of that name must not hold the daemon up. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (ret_missing)
                *ret_missing = fd < 0 && is_missing(path, errno);
        if (fd < 0 && ret_missing && *ret_missing) {
                *ret = NULL;
                *ret_len = 0;
                return true;
        }
        if (fd < 0 || fstat(fd, &st) < 0)
                return read_error(path, error);
        if (!S_ISREG(st.st_mode) && !is_dev_null(&st)) {
                mlg_config_file_error(error, path, 0, NULL, NULL, NULL, "expected a regular file");
                return false;
        }
        /* One byte more than there may be shows a file that is too long, whatever its size was a moment
         * ago. */
        buffer = g_malloc(MLG_CONFIG_FILE_SIZE_MAX + 1);
        while (len <= MLG_CONFIG_FILE_SIZE_MAX &&
               (n = read(fd, buffer + len, MLG_CONFIG_FILE_SIZE_MAX + 1 - len)) != 0) {
                if (n < 0 && errno != EINTR)
                        return read_error(path, error);
                len += n > 0 ? (size_t) n : 0;
        }
        if (len > MLG_CONFIG_FILE_SIZE_MAX) {
                mlg_config_file_error(error, path, 0, NULL, NULL, NULL,
                                      "expected a file of at most %d bytes", MLG_CONFIG_FILE_SIZE_MAX);
                return false;
        }
        *ret = g_realloc(g_steal_pointer(&buffer), MAX(len, 1));
        *ret_len = len;
        return true;
}

/* Editors' and package managers' left-overs do not end in .policy; hidden ones may. */
static bool is_policy_file(const char *name) {
        return *name != '.' && g_str_has_suffix(name, ".policy") && !strstr(name, ".dpkg-");
}

static int compare_names(const void *a, const void *b) {
        return strcmp(*(const char *const *) a, *(const char *const *) b);
}

char **mlg_config_file_list(const char *dir, GError **error) {
        g_autoptr(GPtrArray) paths = g_ptr_array_new_with_free_func(g_free);
        const struct dirent *entry;
        DIR *d = opendir(dir);

        if (!d && errno != ENOENT) {
                (void) read_error(dir, error);
                return NULL;
        }
        while (d && paths->len <= MLG_CONFIG_FILES_MAX && (entry = readdir(d)))
                if (is_policy_file(entry->d_name))
                        g_ptr_array_add(paths, g_build_filename(dir, entry->d_name, NULL));
        if (d)
                (void) closedir(d);
        if (paths->len > MLG_CONFIG_FILES_MAX) {
                mlg_config_file_error(error, dir, 0, NULL, NULL, NULL, "expected at most %d policy files",
                                      MLG_CONFIG_FILES_MAX);
                return NULL;
        }
        if (paths->len > 0)
                qsort(paths->pdata, paths->len, sizeof(paths->pdata[0]), compare_names);
        g_ptr_array_add(paths, NULL);
        return (char **) g_ptr_array_free(g_steal_pointer(&paths), FALSE);
}
