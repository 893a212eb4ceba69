/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cgroup: whose cgroup is taken for a guest's, what is read of it, and what is refused; over a tree of plain
 * files. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <glib.h>

#include "hypervisor/cgroup.h"
#include "util/util.h"

#define UUID "4dea22b3-1d52-4abc-8def-0123456789ab"
#define GUEST "machine.slice/machine-qemu\\x2d1\\x2dweb.scope"

typedef struct Tree {
        char *root, *proc, *cgroup, *pids;
        MlgCgroupRoots roots;
} Tree;

static void put(const Tree *t, const char *path, const char *text) {
        g_autofree char *file = g_build_filename(t->root, path, NULL), *dir = g_path_get_dirname(file);

        assert_int_equal(g_mkdir_with_parents(dir, 0755), 0);
        assert_true(g_file_set_contents_full(file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, NULL));
}

static char *get(const Tree *t, const char *path) {
        g_autofree char *file = g_build_filename(t->root, path, NULL);
        char *text = NULL;

        assert_true(g_file_get_contents(file, &text, NULL, NULL));
        return text;
}

static void drop(const Tree *t, const char *path) {
        g_autofree char *file = g_build_filename(t->root, path, NULL);

        assert_int_equal(unlink(file), 0);
}

/* With a 0 between the arguments. */
static void put_cmdline(const Tree *t, const char *path, const char *uuid) {
        g_autofree char *file = g_build_filename(t->root, path, NULL), *dir = g_path_get_dirname(file);
        g_autofree char *text = g_strdup_printf("/usr/bin/qemu-system-x86_64|-uuid|%s|-m|2048|", uuid);
        size_t len = strlen(text);

        assert_int_equal(g_mkdir_with_parents(dir, 0755), 0);
        for (char *p = text; *p; p++)
                if (*p == '|')
                        *p = '\0';
        assert_true(g_file_set_contents(file, text, (gssize) len, NULL));
}

/* A guest as libvirt and systemd set it up: threads below, memory in the scope's child. */
static int setup(void **state) {
        Tree *t = g_new0(Tree, 1);

        t->root = g_dir_make_tmp("mlg-cgroup-XXXXXX", NULL);
        assert_non_null(t->root);
        t->proc = g_build_filename(t->root, "proc", NULL);
        t->cgroup = g_build_filename(t->root, "cg", NULL);
        t->pids = g_build_filename(t->root, "run", NULL);
        t->roots = (MlgCgroupRoots){ t->proc, t->cgroup, t->pids };
        put(t, "run/web.pid", "4711");
        put_cmdline(t, "proc/4711/cmdline", UUID);
        put(t, "proc/4711/cgroup", "12:cpuset:/x\n0::/" GUEST "/libvirt/emulator\n");
        put(t, "cg/cgroup.procs", "1\n");
        put(t, "cg/machine.slice/memory.current", "999999999\n");
        put(t, "cg/" GUEST "/cgroup.procs", "");
        put(t, "cg/" GUEST "/libvirt/emulator/cgroup.type", "threaded\n");
        put(t, "cg/" GUEST "/libvirt/vcpu0/cgroup.type", "threaded\n");
        put(t, "cg/" GUEST "/libvirt/cgroup.procs", "4711\n");
        put(t, "cg/" GUEST "/libvirt/memory.current", "1073741824\n");
        put(t, "cg/" GUEST "/libvirt/memory.swap.current", "4194304\n");
        put(t, "cg/" GUEST "/libvirt/memory.swap.max", "max\n");
        put(t, "cg/" GUEST "/libvirt/memory.stat",
            "anon 5\nworkingset_refault_anon 100\nworkingset_refault_file 25\nfile 7\n");
        put(t, "cg/" GUEST "/libvirt/memory.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=2345\n");
        put(t, "cg/" GUEST "/libvirt/memory.reclaim", "");
        *state = t;
        return 0;
}

static int teardown(void **state) {
        Tree *t = *state;
        g_autofree char *command = g_strdup_printf("rm -rf '%s'", t->root);
        int r = system(command);

        g_free(t->proc);
        g_free(t->cgroup);
        g_free(t->pids);
        g_free(t->root);
        g_free(t);
        return r;
}

static int open_guest(const Tree *t, int *ret_fd, char **ret_why) {
        return mlg_cgroup_open(&t->roots, "web", UUID, ret_fd, ret_why);
}

static void assert_refused(const Tree *t, int r, const char *words) {
        g_autofree char *why = NULL;
        _mlg_cleanup_fd_ int fd = -1;
        int got = open_guest(t, &fd, &why);

        print_message("%d: %s\n", got, why ? why : "-");
        assert_int_equal(got, r);
        assert_int_equal(fd, -1);
        assert_non_null(why);
        if (!strstr(why, words))
                fail_msg("'%s' does not say '%s'", why, words);
}

static void test_reads(void **state) {
        const Tree *t = *state;
        g_autofree char *why = NULL, *text = NULL;
        _mlg_cleanup_fd_ int fd = -1;
        MlgRawCgroup raw;

        assert_int_equal(open_guest(t, &fd, &why), 0);
        assert_int_equal(mlg_cgroup_read(fd, &raw, &why), 0);
        assert_int_equal(raw.current_kib, 1024 * 1024);
        assert_int_equal(raw.swap_kib, 4096);
        assert_true(raw.swap_max_kib == UINT64_MAX);
        assert_int_equal(raw.stall_usec, 12345);
        assert_int_equal(raw.refault_kib, 125 * sysconf(_SC_PAGESIZE) / 1024);
        assert_int_equal(mlg_cgroup_reclaim(fd, 20480, &why), 0);
        assert_null(why);
        text = get(t, "cg/" GUEST "/libvirt/memory.reclaim");
        assert_string_equal(text, "20480K");
}

static void test_helpers_are_the_guests(void **state) {
        const Tree *t = *state;
        g_autofree char *why = NULL;
        _mlg_cleanup_fd_ int fd = -1;

        put(t, "cg/" GUEST "/libvirt/cgroup.procs", "4711\n4712\n4713\n");
        put(t, "proc/4712/comm", "swtpm\n"); /* 4713 ended just now */
        assert_int_equal(open_guest(t, &fd, &why), 0);
}

static void test_qemu_in_a_child(void **state) {
        const Tree *t = *state;
        g_autofree char *why = NULL;
        _mlg_cleanup_fd_ int fd = -1;

        drop(t, "cg/" GUEST "/libvirt/memory.current");
        put(t, "cg/" GUEST "/memory.current", "4096\n");
        put(t, "cg/" GUEST "/memory.reclaim", "");
        assert_int_equal(open_guest(t, &fd, &why), 0);
}

static void test_another_in_there(void **state) {
        const Tree *t = *state;

        put(t, "cg/" GUEST "/libvirt/cgroup.procs", "88\n4711\n");
        put(t, "proc/88/comm", "libvirtd\n");
        assert_refused(t, -EXDEV, "88 (libvirtd)");
}

static void test_another_below(void **state) {
        const Tree *t = *state;

        put(t, "cg/" GUEST "/libvirt/extra/deeper/cgroup.procs", "89\n");
        put(t, "proc/89/comm", "qemu-system-x86\n");
        assert_refused(t, -EXDEV, "89 (qemu-system-x86)");
}

static void test_it_left(void **state) {
        const Tree *t = *state;

        put(t, "cg/" GUEST "/libvirt/cgroup.procs", "\n");
        assert_refused(t, -EXDEV, "left the cgroup");
}

/* The process id is of another process now. */
static void test_not_its_qemu(void **state) {
        const Tree *t = *state;

        put_cmdline(t, "proc/4711/cmdline", "4dea22b3-1d52-4abc-8def-0123456789ac");
        assert_refused(t, -ENOENT, "process 4711 is not its QEMU");
}

static void test_missing(void **state) {
        static const struct {
                const char *file;
                int r;
                const char *words;
        } rows[] = {
                { "run/web.pid", -ENOENT, "web.pid" },
                { "proc/4711/cmdline", -EACCES, "ProtectProc=" },
                { "proc/4711/cgroup", -ENOENT, "no cgroup of version 2" },
                { "cg/" GUEST "/libvirt/memory.reclaim", -EOPNOTSUPP, "Linux 5.19" },
        };
        const Tree *t = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *text = get(t, rows[i].file);

                drop(t, rows[i].file);
                assert_refused(t, rows[i].r, rows[i].words);
                if (strstr(rows[i].file, "cmdline"))
                        put_cmdline(t, rows[i].file, UUID);
                else
                        put(t, rows[i].file, text);
        }
}

/* Neither a slice of many guests nor the root is one guest's. */
static void test_no_controller(void **state) {
        const Tree *t = *state;

        put(t, "proc/4711/cgroup", "0::/\n");
        assert_refused(t, -EOPNOTSUPP, "no cgroup with a memory controller");
        put(t, "proc/4711/cgroup", "1:memory:/machine/web\n");
        assert_refused(t, -ENOENT, "no cgroup of version 2");
        put(t, "proc/4711/cgroup", "0::/../other\n");
        assert_refused(t, -EBADMSG, "names no cgroup");
        drop(t, "cg/" GUEST "/libvirt/memory.current");
        put(t, "proc/4711/cgroup", "0::/" GUEST "/libvirt/emulator\n");
        put(t, "cg/machine.slice/machine-qemu\\x2d2\\x2ddb.scope/cgroup.procs", "4800\n");
        put(t, "proc/4800/comm", "qemu-system-x86\n");
        assert_refused(t, -EXDEV, "4800 (qemu-system-x86)"); /* accounted for all guests together */
}

static void test_permission(void **state) {
        const Tree *t = *state;
        g_autofree char *file = g_build_filename(t->root, "cg/" GUEST "/libvirt/memory.reclaim", NULL);
        bool root = geteuid() == 0; /* who may do anything */

        assert_int_equal(chmod(t->root, 0755), 0);
        assert_int_equal(chmod(file, 0400), 0);
        assert_true(!root || seteuid(65534) == 0);
        assert_refused(t, -EACCES, "memlegod(8)");
        assert_true(!root || seteuid(0) == 0);
}

static void test_nonsense(void **state) {
        static const struct {
                const char *file, *text, *words;
        } rows[] = {
                { "memory.current", "12a\n", "memory.current" },
                { "memory.current", "99999999999999999999\n", "memory.current" },
                { "memory.swap.current", "-1\n", "memory.swap" },
                { "memory.swap.max", "", "memory.swap" },
                { "memory.stat", "anon 4\n", "memory.stat" },
                { "memory.stat", "workingset_refault_anon x\n", "memory.stat" },
                { "memory.pressure", "some avg10=0.00\n", "memory.pressure" },
        };
        const Tree *t = *state;

        for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
                g_autofree char *path = g_strconcat("cg/" GUEST "/libvirt/", rows[i].file, NULL),
                                *text = get(t, path);
                g_autofree char *why = NULL;
                _mlg_cleanup_fd_ int fd = -1;
                MlgRawCgroup raw;

                put(t, path, rows[i].text);
                assert_int_equal(open_guest(t, &fd, &why), 0);
                assert_int_equal(mlg_cgroup_read(fd, &raw, &why), -EBADMSG);
                if (!strstr(why, rows[i].words))
                        fail_msg("row %zu: '%s' does not say '%s'", i, why, rows[i].words);
                put(t, path, text);
        }
}

static void test_without_swap_and_psi(void **state) {
        const Tree *t = *state;
        g_autofree char *why = NULL;
        _mlg_cleanup_fd_ int fd = -1;
        MlgRawCgroup raw;

        drop(t, "cg/" GUEST "/libvirt/memory.swap.current");
        drop(t, "cg/" GUEST "/libvirt/memory.pressure");
        assert_int_equal(open_guest(t, &fd, &why), 0);
        assert_int_equal(mlg_cgroup_read(fd, &raw, &why), 0);
        assert_int_equal(raw.swap_max_kib, 0);
        assert_int_equal(raw.stall_usec, 0);
}

int main(void) {
#define ONE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        const struct CMUnitTest tests[] = {
                ONE(test_reads),           ONE(test_helpers_are_the_guests),
                ONE(test_qemu_in_a_child), ONE(test_another_in_there),
                ONE(test_another_below),   ONE(test_it_left),
                ONE(test_not_its_qemu),    ONE(test_missing),
                ONE(test_no_controller),   ONE(test_permission),
                ONE(test_nonsense),        ONE(test_without_swap_and_psi),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
