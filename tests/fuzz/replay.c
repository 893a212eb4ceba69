/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Replay: runs a fuzz target over kept inputs (files, and all files of directories), as an ordinary test.
 *
 * Where a fuzzer is built this file is not: libFuzzer has a main() of its own that does the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <glib.h>

#include "fuzz.h"

static int run_file(const char *path) {
        g_autoptr(GError) error = NULL;
        g_autofree char *text = NULL;
        g_autofree uint8_t *exact = NULL;
        gsize len;

        if (!g_file_get_contents(path, &text, &len, &error)) {
                fprintf(stderr, "%s\n", error->message);
                return -1;
        }
        /* Said before: when the target crashes this is the last line. */
        printf("%s (%zu bytes)\n", path, (size_t) len);
        (void) fflush(stdout);
        exact = g_memdup2(text, len); /* no NUL behind it: sanitizers see a read past the end */
        (void) LLVMFuzzerTestOneInput(exact, len);
        return 0;
}

static int run_directory(const char *path, int *count) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GDir) dir = g_dir_open(path, 0, &error);
        const char *name;

        if (!dir) {
                fprintf(stderr, "%s\n", error->message);
                return -1;
        }
        while ((name = g_dir_read_name(dir))) {
                g_autofree char *file = g_build_filename(path, name, NULL);

                if (run_file(file) < 0)
                        return -1;
                (*count)++;
        }
        return 0;
}

int main(int argc, char **argv) {
        int count = 0;

        for (int i = 1; i < argc; i++) {
                bool is_dir = g_file_test(argv[i], G_FILE_TEST_IS_DIR);

                if ((is_dir ? run_directory(argv[i], &count) : run_file(argv[i])) < 0)
                        return EXIT_FAILURE;
                count += !is_dir;
        }
        printf("%d inputs replayed\n", count);
        return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE; /* an empty corpus is a mistake */
}
