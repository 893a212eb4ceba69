/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Log and notify: where messages go, what they carry, how often warnings are repeated, what the service
 * manager is told.
 *
 * sd_journal_sendv() is replaced here: there is no other way to see what a journal would be sent without
 * being one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>
#include <glib/gstdio.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#include "memlego/names.h"
#include "service/log.h"
#include "service/notify.h"
#include "util/util.h"

#define UUID "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"

static GString *journal;

int sd_journal_sendv(const struct iovec *iov, int n) {
        for (int i = 0; i < n; i++) {
                g_string_append_len(journal, iov[i].iov_base, (gssize) iov[i].iov_len);
                g_string_append_c(journal, '\n');
        }
        return 0;
}

/* Runs with stderr in a file and returns what was written to it. */
typedef struct Capture {
        FILE *file;
        int saved;
} Capture;

static void capture_begin(Capture *c) {
        struct stat st;
        g_autofree char *stream = NULL;

        c->file = tmpfile();
        assert_non_null(c->file);
        c->saved = dup(STDERR_FILENO);
        assert_int_equal(dup2(fileno(c->file), STDERR_FILENO), STDERR_FILENO);
        assert_int_equal(fstat(STDERR_FILENO, &st), 0);
        stream = g_strdup_printf("%ju:%ju", (uintmax_t) st.st_dev, (uintmax_t) st.st_ino);
        assert_int_equal(setenv("JOURNAL_STREAM", stream, 1), 0);
}

static char *capture_end(Capture *c) {
        char *text = g_malloc0(65536);

        assert_int_equal(dup2(c->saved, STDERR_FILENO), STDERR_FILENO);
        (void) close(c->saved);
        rewind(c->file);
        (void) fread(text, 1, 65535, c->file);
        (void) fclose(c->file);
        return text;
}

static int setup(void **state) {
        journal = g_string_new(NULL);
        return 0;
}

static int teardown(void **state) {
        (void) g_string_free(journal, TRUE);
        (void) unsetenv("JOURNAL_STREAM");
        return 0;
}

static void log_some(void) {
        mlg_log(MLG_LOG_ERROR, "broken: %d", 7);
        mlg_log(MLG_LOG_WARNING, "odd");
        mlg_log(MLG_LOG_INFO, "two\nlines\x1b[2J");
        mlg_log(MLG_LOG_DEBUG, "detail");
        mlg_log_guest(MLG_LOG_INFO, "abc", UUID, "web-1", "Guest %s is here", "web-1");
        mlg_log_state(MLG_LOG_WARNING, UUID, "web-1", MLG_REASON_STUCK);
        mlg_log_state(MLG_LOG_INFO, UUID, "web-1", MLG_REASON_NONE);
        mlg_log_resized(UUID, "web-1", 1048576, 524288, MLG_REASON_DONOR, false);
        mlg_log_resized(UUID, "web-1", 524288, 1048576, MLG_REASON_PRESSURE, true);
}

static void test_text(void **state) {
        g_autoptr(GRegex)
                shape = g_regex_new("^\\d\\d:\\d\\d:\\d\\d\\.\\d{3} error: broken: 7\n"
                                    "[\\d:.]+ warning: odd\n"
                                    "[\\d:.]+ two\\?lines\\?\\[2J\n"
                                    "[\\d:.]+ Guest web-1 is here\n"
                                    "[\\d:.]+ warning: Guest web-1: left alone \\(stuck\\): [^\n]+\n"
                                    "[\\d:.]+ Guest web-1: managed\n"
                                    "[\\d:.]+ Resized guest web-1: 1 GiB -> 512 MiB: [^\n]+\n"
                                    "[\\d:.]+ Would resize guest web-1: 512 MiB -> 1 GiB: [^\n]+\n$",
                                    0, 0, NULL);
        g_autofree char *text = NULL;
        Capture c;

        capture_begin(&c);
        mlg_log_open(MLG_LOG_INFO, true);
        log_some();
        text = capture_end(&c);
        if (!g_regex_match(shape, text, 0, NULL))
                fail_msg("got:\n%s", text);
        assert_int_equal(journal->len, 0);
}

static void test_levels(void **state) {
        g_autofree char *text = NULL, *all = NULL;
        Capture c;

        capture_begin(&c);
        mlg_log_open(MLG_LOG_WARNING, true);
        log_some();
        text = capture_end(&c);
        assert_non_null(strstr(text, "odd"));
        assert_null(strstr(text, "Resized"));
        assert_null(strstr(text, "Guest web-1 is"));
        assert_non_null(strstr(text, "left alone (stuck)"));
        assert_null(strstr(text, "managed"));
        capture_begin(&c);
        mlg_log_open(MLG_LOG_DEBUG, true);
        log_some();
        all = capture_end(&c);
        assert_non_null(strstr(all, "detail"));
}

static void test_journal(void **state) {
        g_autofree char *text = NULL;
        Capture c;

        capture_begin(&c);
        mlg_log_open(MLG_LOG_INFO, false);
        log_some();
        text = capture_end(&c);
        assert_string_equal(text, "");
        assert_non_null(strstr(journal->str, "PRIORITY=3\nMESSAGE=broken: 7\n"));
        assert_non_null(strstr(journal->str, "PRIORITY=6\nMESSAGE=two?lines?[2J\n"));
        assert_null(strstr(journal->str, "detail"));
        assert_non_null(strstr(journal->str,
                               "MESSAGE_ID=abc\nMEMLEGO_UUID=" UUID "\nMEMLEGO_GUEST=web-1\nPRIORITY=6\n"
                               "MESSAGE=Guest web-1 is here\n"));
        assert_non_null(strstr(journal->str,
                               "MESSAGE_ID=a3f5c0a94ef04b0f8cc0f1a7b2f0b105\nMEMLEGO_UUID=" UUID
                               "\nMEMLEGO_GUEST=web-1\nMEMLEGO_REASON=stuck\nPRIORITY=4\nMESSAGE=Guest "));
        assert_non_null(strstr(journal->str,
                               "MESSAGE_ID=a3f5c0a94ef04b0f8cc0f1a7b2f0b101\nMEMLEGO_UUID=" UUID
                               "\nMEMLEGO_GUEST=web-1\nMEMLEGO_FROM_KIB=1048576\nMEMLEGO_TO_KIB=524288\n"
                               "MEMLEGO_REASON=donor\nPRIORITY=6\nMESSAGE=Resized guest web-1"));
        /* A move that was not made has no MESSAGE_ID of a move. */
        assert_non_null(strstr(journal->str,
                               "\nMEMLEGO_UUID=" UUID "\nMEMLEGO_GUEST=web-1\nMEMLEGO_FROM_KIB=524288\n"));
        assert_null(strstr(strstr(journal->str, "b101") + 4, "b101"));
}

/* The audit trail: who approved what, and what came of it. */
static void test_proposals(void **state) {
        static const MlgProposal p = { .id = 17, .from_kib = 409600, .to_kib = 675840, .why = MLG_REASON_PRESSURE };
        static const char *const expected[] = {
                "MESSAGE_ID=" MLG_MSG_PROPOSED "\nMEMLEGO_UUID=" UUID "\nMEMLEGO_GUEST=web-1\nMEMLEGO_PROPOSAL=17\n"
                "MEMLEGO_FROM_KIB=409600\nMEMLEGO_TO_KIB=675840\nMEMLEGO_EVENT=proposed\nMEMLEGO_REASON=pressure\nPRIORITY=6\n"
                "MESSAGE=Proposal 17 for guest web-1: 400 MiB -> 660 MiB: ",
                "MEMLEGO_EVENT=approved\nMEMLEGO_BY=uid 1000 (:1.4)\nMEMLEGO_REASON=pressure\nPRIORITY=6\n"
                "MESSAGE=Proposal 17 for guest web-1 (400 MiB -> 660 MiB): approved by uid 1000 (:1.4)\n",
                "MESSAGE=Proposal 17 for guest web-1: applied, 400 MiB -> 600 MiB\n",
                "MESSAGE_ID=" MLG_MSG_PROPOSAL_ENDED "\n",
                "MESSAGE_ID=" MLG_MSG_APPROVAL_AWAITED "\nMEMLEGO_UUID=" UUID "\nMEMLEGO_GUEST=web-1\nMEMLEGO_PROPOSAL=17\nPRIORITY=4\n",
                "MESSAGE=Moves of all guests need no approval for 30min: uid 0 (:1.5)\n",
                "MESSAGE=Moves of guest web-1 need approval again: uid 0 (:1.5)\n",
        };
        Capture c;

        capture_begin(&c);
        mlg_log_open(MLG_LOG_INFO, false);
        mlg_log_proposal(UUID, "web-1", &p, MLG_PROPOSAL_PROPOSED, "usable memory 1 MiB -> 2 MiB", 409600, NULL);
        mlg_log_proposal(UUID, "web-1", &p, MLG_PROPOSAL_APPROVED, "", 409600, "uid 1000 (:1.4)");
        mlg_log_proposal(UUID, "web-1", &p, MLG_PROPOSAL_APPLIED, "", 614400, NULL);
        mlg_log_proposal(UUID, "web-1", &p, MLG_PROPOSAL_EXPIRED, "", 409600, NULL);
        mlg_log_approval_awaited(UUID, "web-1", 17, NULL);
        mlg_log_allowed(NULL, NULL, 1800 * MLG_USEC_PER_SEC, "uid 0 (:1.5)");
        mlg_log_allowed(UUID, "web-1", 0, "uid 0 (:1.5)");
        g_free(capture_end(&c));
        for (size_t i = 0; i < G_N_ELEMENTS(expected); i++)
                if (!strstr(journal->str, expected[i]))
                        fail_msg("not in the journal: %s\nbut:\n%s", expected[i], journal->str);
}

#define PROPOSAL_FIELDS \
        MLG_FIELD_GUEST " " MLG_FIELD_UUID " " MLG_FIELD_PROPOSAL " " MLG_FIELD_FROM_KIB " " MLG_FIELD_TO_KIB " " MLG_FIELD_EVENT \
                        " " MLG_FIELD_REASON

/* The catalog explains each message, with no field that the message does not carry: a reader would see its
 * bare name. */
static void test_catalog(void **state) {
        static const char guest[] = MLG_FIELD_GUEST " " MLG_FIELD_UUID;
        static const struct {
                const char *id, *fields;
        } messages[] = {
                { MLG_MSG_RESIZED, MLG_FIELD_GUEST " " MLG_FIELD_UUID " " MLG_FIELD_FROM_KIB
                                   " " MLG_FIELD_TO_KIB " " MLG_FIELD_REASON },
                { MLG_MSG_RESIZE_FAILED, guest },
                { MLG_MSG_GUEST_ADDED, guest },
                { MLG_MSG_GUEST_REMOVED, guest },
                { MLG_MSG_GUEST_STATE, guest },
                { MLG_MSG_SHORTAGE, "" },
                { MLG_MSG_HOST_SHORT, "" },
                { MLG_MSG_HOST_EXHAUSTED, "" },
                { MLG_MSG_HOST_RECOVERED, "" },
                { MLG_MSG_CONNECTED, "" },
                { MLG_MSG_DISCONNECTED, "" },
                { MLG_MSG_CONFIG_LOADED, "" },
                { MLG_MSG_CONFIG_REFUSED, "" },
                { MLG_MSG_PROPOSED, PROPOSAL_FIELDS },
                { MLG_MSG_APPROVED, PROPOSAL_FIELDS " " MLG_FIELD_BY },
                { MLG_MSG_REJECTED, PROPOSAL_FIELDS " " MLG_FIELD_BY },
                { MLG_MSG_APPLIED, PROPOSAL_FIELDS },
                { MLG_MSG_PROPOSAL_ENDED, PROPOSAL_FIELDS },
                { MLG_MSG_ALLOWED, MLG_FIELD_BY },
                { MLG_MSG_APPROVAL_AWAITED, MLG_FIELD_GUEST " " MLG_FIELD_UUID " " MLG_FIELD_PROPOSAL },
                { MLG_MSG_PLUGIN_LOADED, "" },
                { MLG_MSG_PLUGIN_OFF, "" },
        };
        const char *root = g_getenv("MLG_SOURCE_ROOT");
        g_autofree char *path = g_build_filename(root ? root : ".", "systemd/memlego.catalog", NULL);
        g_autofree char *text = NULL;
        g_auto(GStrv) entries = NULL;

        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        entries = g_strsplit(text, "\n-- ", -1);
        assert_int_equal(g_strv_length(entries), 1 + G_N_ELEMENTS(messages));
        for (size_t i = 0; i < G_N_ELEMENTS(messages); i++) {
                g_auto(GStrv) parts = g_strsplit(entries[i + 1], "@", -1);
                g_auto(GStrv) fields = g_strsplit(messages[i].fields, " ", -1);

                assert_true(g_str_has_prefix(entries[i + 1], messages[i].id));
                for (size_t k = 1; parts[k - 1] && parts[k]; k += 2)
                        if (!g_strv_contains((const char *const *) fields, parts[k]))
                                fail_msg("%s: the message has no field %s", messages[i].id, parts[k]);
        }
}

/* Somebody redirected stderr after the service manager had connected it, or nobody connected it. */
static void test_not_the_journal(void **state) {
        static const char *const streams[] = { "1:1", "", "rubbish", NULL };

        for (size_t i = 0; i < G_N_ELEMENTS(streams); i++) {
                g_autofree char *text = NULL;
                Capture c;

                capture_begin(&c);
                if (streams[i])
                        (void) setenv("JOURNAL_STREAM", streams[i], 1);
                else
                        (void) unsetenv("JOURNAL_STREAM");
                mlg_log_open(MLG_LOG_INFO, false);
                mlg_log(MLG_LOG_INFO, "hello");
                text = capture_end(&c);
                assert_non_null(strstr(text, "hello\n"));
                assert_int_equal(journal->len, 0);
        }
}

/* A closed stderr is no reason to fail, or to try for ever. */
static void test_closed(void **state) {
        Capture c;

        capture_begin(&c);
        (void) close(STDERR_FILENO);
        mlg_log_open(MLG_LOG_INFO, false);
        mlg_log(MLG_LOG_INFO, "nobody hears");
        g_free(capture_end(&c));
}

static void test_limited(void **state) {
        uint64_t t = 5;

        assert_true(mlg_log_limited(UUID, 1, t));
        assert_false(mlg_log_limited(UUID, 1, t + 1));
        assert_true(mlg_log_limited(UUID, 2, t + 1));
        assert_true(mlg_log_limited(NULL, 1, t + 1));
        assert_true(mlg_log_limited("other", 1, t + 1));
        assert_false(mlg_log_limited(UUID, 1, t + 60 * MLG_USEC_PER_SEC - 1));
        assert_true(mlg_log_limited(UUID, 1, t + 60 * MLG_USEC_PER_SEC));
        assert_false(mlg_log_limited(UUID, 1, t + 60 * MLG_USEC_PER_SEC + 1));
}

/* A thousand guests with a cause each are all heard; a million are not, and the table does not grow. */
static void test_limited_is_bounded(void **state) {
        uint64_t t = 1000 * MLG_USEC_PER_SEC;
        size_t heard = 0, again = 0, many = 0;

        for (int i = 0; i < 1000; i++) {
                g_autofree char *uuid = g_strdup_printf("guest-%d", i);

                heard += mlg_log_limited(uuid, 1, t);
                again += mlg_log_limited(uuid, 1, t + 1);
        }
        assert_int_equal(heard, 1000);
        assert_int_equal(again, 0);
        for (int i = 0; i < 1000000; i++) {
                g_autofree char *uuid = g_strdup_printf("other-%d", i);

                many += mlg_log_limited(uuid, 1, t + 1);
        }
        assert_true(many <= 4096);
        assert_true(mlg_log_limited("other-999999", 1, t + 61 * MLG_USEC_PER_SEC));
}

/* ---- notify ---- */

typedef struct Manager {
        int fd;
        char *dir, *path;
} Manager;

static void manager_open(Manager *m) {
        struct sockaddr_un a = { .sun_family = AF_UNIX };

        m->dir = g_dir_make_tmp("memlego-notify-XXXXXX", NULL);
        m->path = g_build_filename(m->dir, "socket", NULL);
        m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void) g_strlcpy(a.sun_path, m->path, sizeof(a.sun_path));
        assert_int_equal(bind(m->fd, (struct sockaddr *) &a, sizeof(a)), 0);
        assert_int_equal(setenv("NOTIFY_SOCKET", m->path, 1), 0);
}

static void manager_close(Manager *m) {
        (void) unsetenv("NOTIFY_SOCKET");
        (void) close(m->fd);
        (void) g_unlink(m->path);
        (void) g_rmdir(m->dir);
        g_free(m->dir);
        g_free(m->path);
}

static void assert_told(const Manager *m, const char *expected) {
        char text[256] = {};

        assert_true(recv(m->fd, text, sizeof(text) - 1, 0) > 0);
        assert_true(g_str_has_prefix(text, expected));
}

static void test_notify(void **state) {
        Manager m;

        manager_open(&m);
        mlg_notify_ready("Balancing");
        assert_told(&m, "READY=1\nSTATUS=Balancing");
        mlg_notify_ready(NULL);
        assert_told(&m, "READY=1");
        mlg_notify_status("10 guests\nWATCHDOG=trigger");
        assert_told(&m, "STATUS=10 guests WATCHDOG=trigger");
        mlg_notify_reloading();
        assert_told(&m, "RELOADING=1\nMONOTONIC_USEC=");
        mlg_notify_stopping();
        assert_told(&m, "STOPPING=1");
        mlg_notify_watchdog();
        assert_told(&m, "WATCHDOG=1");
        manager_close(&m);
        mlg_notify_ready("nobody listens");
}

static void test_watchdog_interval(void **state) {
        g_autofree char *pid = g_strdup_printf("%d", (int) getpid());

        (void) unsetenv("WATCHDOG_USEC");
        assert_int_equal(mlg_notify_watchdog_interval_usec(), 0);
        (void) setenv("WATCHDOG_USEC", "30000000", 1);
        (void) setenv("WATCHDOG_PID", pid, 1);
        assert_int_equal(mlg_notify_watchdog_interval_usec(), 15000000);
        (void) setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
        assert_int_equal(mlg_notify_watchdog_interval_usec(), 0);
        (void) unsetenv("WATCHDOG_USEC");
        (void) unsetenv("WATCHDOG_PID");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_text, setup, teardown),
                cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
                cmocka_unit_test_setup_teardown(test_journal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_proposals, setup, teardown),
                cmocka_unit_test(test_catalog),
                cmocka_unit_test_setup_teardown(test_not_the_journal, setup, teardown),
                cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
                cmocka_unit_test(test_limited),
                cmocka_unit_test(test_limited_is_bounded),
                cmocka_unit_test(test_notify),
                cmocka_unit_test(test_watchdog_interval),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
