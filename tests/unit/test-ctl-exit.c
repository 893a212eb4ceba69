/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tests of memlegoctl as a whole: each command against a fake memlegod, with exit code and output. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>
#include <json-c/json.h>

#include "ctl/ctl.h"
#include "fake-peer.h"
#include "sim/trace.h"

static char *dump;
static FakePeer peer; /* of the test that runs; its teardown ends it */

static char *read_all(int fd) {
        GString *s = g_string_new(NULL);
        char buf[4096];
        ssize_t n;

        assert_true(lseek(fd, 0, SEEK_SET) == 0);
        while ((n = read(fd, buf, sizeof buf)) > 0)
                g_string_append_len(s, buf, n);
        (void) close(fd);
        return g_string_free(s, FALSE);
}

/* Runs memlegoctl in a process of its own; returns its exit code. */
static int run(const char *address, const char *line, const char *locale, char **ret_out, char **ret_err) {
        int out = memfd_create("out", 0), err = memfd_create("err", 0), status;
        g_autofree char *with = g_strdup_printf("memlegoctl%s%s", *line ? " " : "", line);
        g_auto(GStrv) words = g_strsplit(with, " ", -1);
        guint n = g_strv_length(words);
        pid_t pid;

        assert_true(out >= 0 && err >= 0);
        fflush(NULL);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) dup2(out, STDOUT_FILENO);
                (void) dup2(err, STDERR_FILENO);
                (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
                (void) setenv("LC_ALL", locale ? locale : "C.UTF-8", 1);
                status = mlg_ctl_main((int) n, words);
                fflush(NULL);
                _exit(status);
        }
        assert_true(waitpid(pid, &status, 0) == pid);
        *ret_out = read_all(out);
        *ret_err = read_all(err);
        if (!WIFEXITED(status))
                fail_msg("'%s' was killed by signal %i; it wrote: %s", line, WTERMSIG(status), *ret_err);
        return WEXITSTATUS(status);
}

typedef struct Case {
        const char *line;
        int code;
        const char *out; /* part of stdout; NULL: it is empty */
        const char *err; /* part of stderr; NULL: it is empty */
        const char *locale; /* NULL: UTF-8 */
} Case;

static bool has(const char *text, const char *part) {
        return part ? strstr(text, part) != NULL : *text == '\0';
}

static void check_at(const char *address, const Case *cases, size_t n) {
        for (size_t i = 0; i < n; i++) {
                g_autofree char *out = NULL, *err = NULL;
                int code = run(address, cases[i].line, cases[i].locale, &out, &err);

                if (code != cases[i].code || !has(out, cases[i].out) || !has(err, cases[i].err))
                        fail_msg(
                                "'%s': exit code %i, expected %i\nexpected stderr: %s\nexpected stdout: %s\n"
                                "stderr: %s\nstdout: %s",
                                cases[i].line, code, cases[i].code, cases[i].err ? cases[i].err : "nothing",
                                cases[i].out ? cases[i].out : "nothing", err, out);
                assert_null(strchr(out, '\033')); /* no terminal: no colours; and no tricks of guests */
                assert_null(strchr(err, '\033'));
        }
}

static void check(FakeTemper temper, const Case *cases, size_t n) {
        fake_peer_start(&peer, temper, dump);
        check_at(peer.address, cases, n);
}

static void test_good(void **state) {
        static const Case cases[] = {
                { "", MLG_EXIT_OK, "policy proportional", NULL },
                { "status web-* -- -x", MLG_EXIT_OK, "web-10", NULL },
                { "status --names", MLG_EXIT_OK, "web-1\ndb\\n\\x1b[2J\n", NULL },
                { "status --names web-*", MLG_EXIT_OK, "web-2\nweb-10\n", NULL },
                { "status --json db", MLG_EXIT_OK, "\"target_kib\": 120000000", NULL },
                { "status nobody*", MLG_EXIT_NO_SUCH_GUEST, NULL, "no guest matches" },
                { "explain web-1", MLG_EXIT_OK, "512 MiB -> 640 MiB (accepted): shortened\\x1b[2J to what",
                  NULL },
                { "explain web-1", MLG_EXIT_OK, "512 MiB -> 640 MiB (failed: Connection timed out)", NULL },
                { "explain web-1", MLG_EXIT_OK, "12 times in a row", NULL },
                { "explain web-1 --json", MLG_EXIT_OK, "\"wanted_kib\": 700000", NULL },
                { "explain web-1 --json", MLG_EXIT_OK, "\"error\": \"ETIMEDOUT\"", NULL },
                { "explain web-1", MLG_EXIT_OK, "night (policy.d/\\x1b[2Jx.policy:12): Floor=2G Priority=20", NULL },
                { "explain web-1 --json", MLG_EXIT_OK, "\"Priority\": \"20\"", NULL },
                { "explain silent", MLG_EXIT_OK, "Nothing was decided about silent yet.", NULL },
                { "explain nobody", MLG_EXIT_NO_SUCH_GUEST, NULL,
                  "There is no guest \"nobody\" ('memlegoctl status'" },
                { "pause", MLG_EXIT_OK, "Balancing of all guests is paused.\n", NULL },
                { "pause web-1", MLG_EXIT_OK, "web-1 is paused.\n", NULL },
                { "resume web-1", MLG_EXIT_OK, "web-1 is resumed.\n", NULL },
                { "pause nobody", MLG_EXIT_NO_SUCH_GUEST, NULL, "nobody" },
                { "set web-1 512M --hold 10min", MLG_EXIT_OK,
                  "web-1 moves to 512 MiB and is held there for 10min.\n", NULL },
                { "set web-1 1G", MLG_EXIT_FAILED, NULL, "not the arguments" },
                { "reserve 2G", MLG_EXIT_OK, "7\n", NULL },
                { "reserve 2T --timeout 1h", MLG_EXIT_NO_ROOM, NULL, "only 1 GiB can be made free" },
                { "release 7", MLG_EXIT_OK, NULL, NULL },
                { "release 8", MLG_EXIT_FAILED, NULL, "There is none 8" },
                { "reservations", MLG_EXIT_OK, " 7  2 GiB  1 GiB  in 3min 20s  :1.42\n", NULL },
                { "reservations --json", MLG_EXIT_OK, "\"room_kib\": 1048576", NULL },
                { "proposals", MLG_EXIT_OK,
                  "17  web-1  400 MiB  660 MiB  pressure  in 14min  usable memory\\x1b[2J 40 MiB -> 300 MiB\n", NULL },
                { "plugins", MLG_EXIT_OK, "mine is switched off: too slow.", NULL },
                { "plugins --json", MLG_EXIT_OK, "\"why\": \"too slow\"", NULL },
                { "proposals --json", MLG_EXIT_OK, "\"expires_in_usec\": 840000000", NULL },
                { "approve 17", MLG_EXIT_OK, NULL, NULL },
                { "approve 16", MLG_EXIT_FAILED, NULL, "Proposal 16 has expired" },
                { "reject 17", MLG_EXIT_OK, NULL, NULL },
                { "reject 16", MLG_EXIT_FAILED, NULL, "Proposal 16 has expired" },
                { "approve --all", MLG_EXIT_OK, "Approved 3 of all guests.\n", NULL },
                { "approve --all web-1 --for 10min", MLG_EXIT_OK,
                  "Approved 1; for 10min nothing needs approval of web-1.\n", NULL },
                { "approve --end web-1", MLG_EXIT_OK, NULL, NULL },
                { "approve --end nobody", MLG_EXIT_NO_SUCH_GUEST, NULL, "nobody" },
                { "pipe", MLG_EXIT_OK, "group-a  serving        1  64 MiB", NULL },
                { "pipe show", MLG_EXIT_OK, "group-a  web\\x1b[2J", NULL },
                { "pipe show group-b", MLG_EXIT_FAILED, NULL, "there is no group 'group-b'" },
                { "pipe list --json", MLG_EXIT_OK, "\"guest\": \"web\\u001b[2J\"", NULL },
                { "pipe xml group-a", MLG_EXIT_OK, "<server path='/run/it&apos;s/group-a.sock'/>", NULL },
                { "pipe attach web-1", MLG_EXIT_OK, NULL, NULL },
                { "swap", MLG_EXIT_OK, "web\\x1b[2J  talks", NULL },
                { "swap show", MLG_EXIT_OK, "Lent: 64 MiB", NULL },
                { "swap show db", MLG_EXIT_FAILED, NULL, "no memory is lent to a guest 'db'" },
                { "swap list --json", MLG_EXIT_OK, "\"lent_kib\": 65536", NULL },
                { "pipe detach nobody", MLG_EXIT_NO_SUCH_GUEST, NULL, "nobody" },
                { "stack", MLG_EXIT_OK, "web-10   1200", NULL },
                { "metrics", MLG_EXIT_OK, "memlego_swap_lent_bytes{guest=\"web\\\\x1b[2J\"", NULL },
                { "metrics all", MLG_EXIT_USAGE, NULL, "one too many" },
                { "stack web-2", MLG_EXIT_OK, "No guest tells of securestack", NULL },
                { "stack nobody*", MLG_EXIT_NO_SUCH_GUEST, NULL, "no guest matches" },
                { "stack --json", MLG_EXIT_OK, "\"violations\": 3", NULL },
                { "reload", MLG_EXIT_OK, "[Guest web-*] Floor: 25% -> 512M\\x1b[2J\n", NULL },
                { "config", MLG_EXIT_OK, "[Host]\nPolicy=proportional\t# \\x1bdefault\n", NULL },
                { "dump", MLG_EXIT_OK, "\"psi_some_avg10_centi\": 12", NULL },
                { "--version", MLG_EXIT_OK, "memlegoctl " MLG_VERSION "\n", NULL },
                { "--help", MLG_EXIT_OK, "explain GUEST", NULL },
                { "explain", MLG_EXIT_USAGE, NULL, "usage: memlegoctl explain GUEST" },
                { "oops", MLG_EXIT_USAGE, NULL, "memlegoctl --help" },
                { "ca\033t", MLG_EXIT_USAGE, NULL, "unknown command 'ca\\x1bt'" },
                { "größe", MLG_EXIT_USAGE, NULL, "'größe'" },
                { "größe", MLG_EXIT_USAGE, NULL, "'gr\\u00f6\\u00dfe'", "C" },
                { "explain größe", MLG_EXIT_NO_SUCH_GUEST, NULL, "guest \"gr\\u00f6\\u00dfe\"", "C" },
        };

        check(FAKE_GOOD, cases, G_N_ELEMENTS(cases));
}

static void test_absent(void **state) {
        static const Case cases[] = {
                { "status", MLG_EXIT_NOT_RUNNING, NULL,
                  "memlegod is not running; start it: 'systemctl start memlegod'" },
                { "--watch", MLG_EXIT_NOT_RUNNING, NULL, "systemctl start memlegod" },
                { "pause", MLG_EXIT_NOT_RUNNING, NULL, "systemctl start memlegod" },
        };

        check(FAKE_ABSENT, cases, G_N_ELEMENTS(cases));
}

static void test_denied(void **state) {
        static const Case cases[] = {
                { "status", MLG_EXIT_DENIED, NULL, "usermod -aG memlego" },
                { "pause", MLG_EXIT_DENIED, NULL, "polkit allow org.memlego1.pause" },
                { "set web-1 1G", MLG_EXIT_DENIED, NULL, "org.memlego1.set-target" },
                { "reload", MLG_EXIT_DENIED, NULL, "org.memlego1.reload" },
                { "reserve 1G", MLG_EXIT_DENIED, NULL, "org.memlego1.reserve" },
                { "approve 17", MLG_EXIT_DENIED, NULL, "org.memlego1.approve" },
                { "pipe attach web-1", MLG_EXIT_DENIED, NULL, "org.memlego1.pipe" },
        };

        check(FAKE_DENIES, cases, G_N_ELEMENTS(cases));
}

static void test_bad_config(void **state) {
        static const Case cases[] = {
                { "reload", MLG_EXIT_CONFIG, NULL, "memlegod.conf:3: Foo=: unknown (nothing was changed" },
        };

        check(FAKE_BAD_CONFIG, cases, G_N_ELEMENTS(cases));
}

static void test_garbled(void **state) {
        static const char *const lines[] = { "status",        "status --json", "status --names",
                                             "explain web-1", "reserve 1G",    "reload",
                                             "reservations",  "config",        "--watch",
                                             "proposals",     "pipe",          "pipe xml a" };

        fake_peer_start(&peer, FAKE_GARBLED, dump);
        for (size_t i = 0; i < G_N_ELEMENTS(lines); i++)
                check_at(peer.address, &(Case) { lines[i], MLG_EXIT_FAILED, NULL, "memlegod's" }, 1);
}

static void test_hangs_up(void **state) {
        static const Case cases[] = {
                { "status", MLG_EXIT_NOT_RUNNING, NULL, "the connection to the system bus broke" },
                { "explain web-1", MLG_EXIT_NOT_RUNNING, NULL, "broke" },
        };

        check(FAKE_HANGS_UP, cases, G_N_ELEMENTS(cases));
}

static void test_fails(void **state) {
        static const Case cases[] = {
                { "set web-1 1G", MLG_EXIT_FAILED, NULL,
                  "memlegoctl: No hypervisor\\x1b[2J at the moment\n" },
        };

        check(FAKE_FAILS, cases, G_N_ELEMENTS(cases));
}

static void test_no_bus(void **state) {
        static const Case cases[] = {
                { "status", MLG_EXIT_NOT_RUNNING, NULL,
                  "cannot connect to the D-Bus system bus: No such file" },
                { "--address unix:path=/nonexistent/bus status", MLG_EXIT_NOT_RUNNING, NULL,
                  "cannot connect" },
                { "--address nonsense status", MLG_EXIT_NOT_RUNNING, NULL, "cannot connect" },
                { "--address unix:path=/a,abstract=b status", MLG_EXIT_USAGE, NULL,
                  "is not a D-Bus address" },
        };

        check_at("unix:path=/nonexistent/bus", cases, G_N_ELEMENTS(cases));
}

/* ---- on a terminal ---- */

#define SCREEN_LEAVE "\033[?7h\033[?25h\033[?1049l"

typedef struct Terminal {
        int fd; /* the person's side */
        pid_t pid;
        GString *seen;
} Terminal;

static void terminal_start(Terminal *t, const char *line, const char *no_color) {
        g_auto(GStrv) words = g_strsplit(line, " ", -1);
        const char *name;

        t->fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(t->fd >= 0 && grantpt(t->fd) == 0 && unlockpt(t->fd) == 0);
        name = ptsname(t->fd);
        t->seen = g_string_new(NULL);
        fflush(NULL);
        t->pid = fork();
        assert_true(t->pid >= 0);
        if (t->pid == 0) {
                int fd, code;

                (void) setsid();
                fd = open(name, O_RDWR); /* and so it becomes the terminal of this session */
                for (int i = 0; i < 3; i++)
                        (void) dup2(fd, i);
                (void) setenv("DBUS_SYSTEM_BUS_ADDRESS", peer.address, 1);
                (void) setenv("LC_ALL", "C.UTF-8", 1);
                (void) setenv("TERM", "xterm", 1);
                (void) unsetenv("NO_COLOR");
                if (no_color)
                        (void) setenv("NO_COLOR", no_color, 1);
                code = mlg_ctl_main((int) g_strv_length(words), words);
                fflush(NULL);
                _exit(code);
        }
}

/* False: the other side is closed. */
static bool terminal_read(Terminal *t) {
        struct pollfd p = { .fd = t->fd, .events = POLLIN };
        char buf[4096];
        ssize_t n;

        if (poll(&p, 1, 60000) <= 0)
                fail_msg("nothing comes any more; there was: %s", t->seen->str);
        n = read(t->fd, buf, sizeof buf);
        if (n > 0)
                g_string_append_len(t->seen, buf, n);
        return n > 0;
}

static void terminal_wait_for(Terminal *t, const char *text) {
        while (!strstr(t->seen->str, text))
                if (!terminal_read(t) || t->seen->len > 1024 * 1024)
                        fail_msg("it never said '%s': %s", text, t->seen->str);
}

static void terminal_type(const Terminal *t, const char *keys) {
        assert_true(write(t->fd, keys, strlen(keys)) == (ssize_t) strlen(keys));
}

/* Returns the exit code. */
static int terminal_end(Terminal *t) {
        int status;

        while (terminal_read(t))
                ;
        assert_true(waitpid(t->pid, &status, 0) == t->pid);
        (void) close(t->fd);
        if (!WIFEXITED(status))
                fail_msg("killed by signal %i: %s", WTERMSIG(status), t->seen->str);
        return WEXITSTATUS(status);
}

/* A memlegod that hangs is told, and holds nobody who wants to leave; the terminal is handed back. */
static void test_watch_hangs(void **state) {
        static const char *const ways_out[] = { "q", "\033[Aq", "\003" };

        for (size_t i = 0; i < G_N_ELEMENTS(ways_out); i++) {
                Terminal t;

                fake_peer_start(&peer, FAKE_FALLS_SILENT, dump);
                terminal_start(&t, "memlegoctl --watch=0.1", NULL);
                terminal_wait_for(&t, "q quits");
                terminal_wait_for(&t, "memlegod did not answer");
                terminal_type(&t, ways_out[i]);
                assert_int_equal(terminal_end(&t), MLG_EXIT_OK);
                assert_true(g_str_has_suffix(t.seen->str, SCREEN_LEAVE));
                (void) g_string_free(t.seen, TRUE);
                fake_peer_stop(&peer);
        }
        peer.pid = 0;
}

/* no-color.org: it counts if it is there and not empty. */
static void test_no_color(void **state) {
        static const struct {
                const char *no_color;
                bool colours;
        } cases[] = { { NULL, true }, { "", true }, { "1", false }, { "0", false } };

        fake_peer_start(&peer, FAKE_GOOD, dump);
        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                Terminal t;

                terminal_start(&t, "memlegoctl status", cases[i].no_color);
                assert_int_equal(terminal_end(&t), MLG_EXIT_OK);
                assert_non_null(strstr(t.seen->str, "policy proportional"));
                assert_int_equal(strchr(t.seen->str, '\033') != NULL, cases[i].colours);
                (void) g_string_free(t.seen, TRUE);
        }
}

/* ---- traces ---- */

static char *new_path(const char *name) {
        return g_strdup_printf("%s/%s", peer.dir, name);
}

static const SimTraceGuest *guest_named(const SimTrace *t, const char *name) {
        for (guint i = 0; i < t->guests->len; i++)
                if (g_str_equal(((const SimTraceGuest *) t->guests->pdata[i])->name, name))
                        return t->guests->pdata[i];
        fail_msg("there is no guest %s in the trace", name);
        return NULL;
}

static void check_record(FakeTemper temper, const char *contains) {
        g_autofree char *path = NULL, *line = NULL, *out = NULL, *err = NULL, *text = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(SimTrace) t = NULL;
        int code;

        fake_peer_start(&peer, temper, dump);
        path = new_path("trace");
        line = g_strdup_printf("record --interval 1s --duration 2s -o %s", path);
        code = run(peer.address, line, NULL, &out, &err);
        if (code != MLG_EXIT_OK || *err)
                fail_msg("record: exit code %i: %s", code, err);
        assert_true(g_file_get_contents(path, &text, NULL, NULL));
        if (!strstr(text, contains))
                fail_msg("'%s' is not in the trace:\n%s", contains, text);
        t = sim_trace_load(path, &error);
        (void) remove(path);
        if (!t)
                fail_msg("%s\n%s", error->message, text);
        assert_int_equal(t->end_sec, 2);
        assert_true(t->host_kib > 0);
        assert_int_equal(guest_named(t, "web-2")->maximum_kib, 2097152);
        assert_int_equal(g_array_index(guest_named(t, "web-2")->rows, SimRow, 0).demand_kib, 1000000);
        assert_int_equal(t->guests->len, 6); /* without those that never reported, and the one of no size */
        fake_peer_stop(&peer);
        peer.pid = 0;
}

static void test_record(void **state) {
        check_record(FAKE_GOOD, "\nend 2\n");
        check_record(FAKE_FALLS_SILENT, "# memlegod does not answer from second");
}

static void test_record_fails(void **state) {
        static const Case cases[] = {
                { "record", MLG_EXIT_USAGE, NULL, "record needs --output" },
                { "record -o /nowhere/at/all --duration 1s", MLG_EXIT_FAILED, NULL, "cannot write /nowhere/at/all: No such file" },
                { "record -o x --interval 0.1s", MLG_EXIT_USAGE, NULL, "--interval: '0.1s' is out of range" },
        };

        check(FAKE_GOOD, cases, G_N_ELEMENTS(cases));
        fake_peer_stop(&peer);
        check(FAKE_ABSENT, &(Case) { "record -o /nowhere/at/all", MLG_EXIT_NOT_RUNNING, NULL, "not running" }, 1);
}

/* ---- simulate ---- */

static json_object *simulate(const char *more) {
        g_autofree char *path = g_build_filename(g_getenv("MLG_SOURCE_ROOT"), "tests/data/google2011-12vm-24h.tar.xz", NULL);
        g_autofree char *line = g_strdup_printf("simulate --json --trace %s%s", path, more), *out = NULL, *err = NULL;
        int code = run("unix:path=/nowhere", line, NULL, &out, &err); /* it needs no bus */
        json_object *o, *runs;

        if (code != MLG_EXIT_OK || *err)
                fail_msg("%s: exit code %i: %s", line, code, err);
        o = json_tokener_parse(out);
        assert_non_null(o);
        assert_true(json_object_object_get_ex(o, "runs", &runs));
        for (size_t i = 0; i < json_object_array_length(runs); i++) /* the only figure that is not of the simulated world */
                json_object_object_del(json_object_array_get_idx(runs, i), "decide_ns_per_guest");
        return o;
}

static double number(json_object *o, const char *key) {
        json_object *v;

        if (!json_object_object_get_ex(o, key, &v))
                fail_msg("there is no %s in %s", key, json_object_to_json_string(o));
        return json_object_get_double(v);
}

static json_object *run_at(json_object *o, size_t i) {
        json_object *runs;

        (void) json_object_object_get_ex(o, "runs", &runs);
        return json_object_array_get_idx(runs, i);
}

static void check_range(json_object *o, const char *key, double least, double most) {
        double v = number(o, key);

        if (!(v >= least && v <= most))
                fail_msg("%s is %g, expected %g to %g: %s", key, v, least, most, json_object_to_json_string(o));
}

/* The same figures at each run, and sensible ones: ranges, so that a better policy does not break it. */
static void test_simulate_golden(void **state) {
        json_object *first = simulate(""), *second = simulate("");

        assert_string_equal(json_object_to_json_string(first), json_object_to_json_string(second));
        check_range(first, "guests", 12, 12);
        check_range(first, "simulated_s", 86400, 86400);
        check_range(first, "maxima_kib", 12.0 * 4194304, 12.0 * 4194304);
        check_range(first, "used_pct", 26, 27);
        check_range(run_at(first, 0), "guard_violations", 0, 0);
        check_range(run_at(first, 0), "short_pct", 0, 0.5);
        check_range(run_at(first, 0), "unmet_pct", 0, 0.5);
        check_range(run_at(first, 0), "allocated_pct", 27, 50);
        check_range(run_at(first, 0), "moves", 100, 50000);
        check_range(run_at(first, 0), "oom_kills", 0, 0);
        json_object_put(first);
        json_object_put(second);
}

static void test_simulate_compares(void **state) {
        json_object *o = simulate(" --compare static,proportional:last,mom --host-memory 45% --duration 6h");

        check_range(run_at(o, 0), "moves", 0, 0);
        check_range(run_at(o, 0), "short_pct", 10, 90);
        check_range(run_at(o, 1), "short_pct", 0, number(run_at(o, 0), "short_pct") / 3);
        for (size_t i = 0; i < 3; i++)
                check_range(run_at(o, i), "guard_violations", 0, 0);
        assert_null(run_at(o, 3));
        json_object_put(o);
}

static void test_simulate_cases(void **state) {
        g_autofree char *trace = g_build_filename(g_getenv("MLG_SOURCE_ROOT"), "tests/data/google2011-12vm-24h.tar.xz", NULL);
        static const struct {
                const char *more; /* behind the trace; without '-' first: instead of it */
                int code;
                const char *out, *err;
        } cases[] = {
                { "", MLG_EXIT_OK, "guests of google2011-12vm-24h.tar.xz, 1h, on a host with", NULL },
                { "", MLG_EXIT_OK, "proportional  ewma ", NULL },
                { "--host-memory 8G", MLG_EXIT_OK, "more than there is, so nothing can be moved", NULL },
                { "--compare static,mom:last", MLG_EXIT_OK, "mom     last ", NULL },
                { "--policy magic", MLG_EXIT_USAGE, NULL, "there is no policy 'magic', expected one of: proportional" },
                { "--compare static:magic", MLG_EXIT_USAGE, NULL, "there is no predictor 'magic'" },
                { "--compare static --policy mom", MLG_EXIT_USAGE, NULL, "leave out" },
                { "--host-memory 0%", MLG_EXIT_USAGE, NULL, "--host-memory: '0%' is not a part" },
                { "--host-memory 120%", MLG_EXIT_USAGE, NULL, "--host-memory: '120%'" },
                { "--config /nowhere/at/all", MLG_EXIT_CONFIG, NULL, "/nowhere/at/all" },
                { "--svg /nowhere/at/all", MLG_EXIT_FAILED, "proportional", "/nowhere/at/all" },
                { "--hold 5s", MLG_EXIT_USAGE, NULL, "--hold makes no sense with 'simulate'" },
        };

        for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autofree char *line = g_strdup_printf("simulate --trace %s --duration 1h %s", trace, cases[i].more);

                check_at("unix:path=/nowhere", &(Case) { g_strchomp(line), cases[i].code, cases[i].out, cases[i].err }, 1);
        }
        check_at("unix:path=/nowhere", &(Case) { "simulate", MLG_EXIT_USAGE, NULL, "simulate needs --trace" }, 1);
        check_at("unix:path=/nowhere", &(Case) { "simulate --trace /nowhere/x", MLG_EXIT_FAILED, NULL,
                                                "memlegoctl: /nowhere/x: No such file" }, 1);
}

static int load_dump(void **state) {
        const char *root = g_getenv("MLG_SOURCE_ROOT");
        g_autofree char *path = g_build_filename(root ? root : ".", "tests/unit/fake-dump.json", NULL);

        return g_file_get_contents(path, &dump, NULL, NULL) ? 0 : -1;
}

static int stop_peer(void **state) {
        if (peer.pid > 0)
                fake_peer_stop(&peer);
        peer.pid = 0;
        return 0;
}

#define TEST(f) cmocka_unit_test_teardown(f, stop_peer)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_good),    TEST(test_absent),  TEST(test_denied), TEST(test_bad_config),
                TEST(test_garbled), TEST(test_hangs_up), TEST(test_fails),  TEST(test_no_bus),
                TEST(test_watch_hangs), TEST(test_no_color), TEST(test_record), TEST(test_record_fails),
                TEST(test_simulate_golden), TEST(test_simulate_compares), TEST(test_simulate_cases),
        };

        return cmocka_run_group_tests(tests, load_dump, NULL);
}
