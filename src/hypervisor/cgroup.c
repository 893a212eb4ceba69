/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cgroup: see cgroup.h.
 *
 * QEMU's process id is in libvirt's own file; that the process of that id is the guest's, its command line
 * tells, which has the guest's UUID. libvirt puts virtual CPUs into threaded cgroups below; memory is
 * accounted in the nearest one above that has the controller. What else is in there must be a helper of
 * the guest: QEMUs that share their cgroup with other programs (a libvirt without cgroups, a QEMU started
 * by hand) are left alone. */
#include "hypervisor/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "hypervisor/guest-facts.h"
#include "util/parse.h"
#include "util/util.h"

#define TEXT_MAX 16384        /* memory.stat has 2 KiB, a path 4 KiB at most */
#define CMDLINE_MAX (1 << 20) /* a guest with hundreds of disks has 100 KiB */
#define DEPTH_MAX 3           /* below the guest's cgroup: its threads' */
#define DIRS_MAX 1024         /* virtual CPUs and I/O threads have one each */

static const char *const helpers[] = { "swtpm",        "virtiofsd",      "passt",       "passt.avx2",
                                       "slirp-helper", "qemu-pr-helper", "dbus-daemon", "vhost-user-gpu" };

static int say(char **ret_why, int r, const char *format, ...) G_GNUC_PRINTF(3, 4);
static int say(char **ret_why, int r, const char *format, ...) {
        va_list args;

        g_free(*ret_why);
        va_start(args, format);
        *ret_why = g_strdup_vprintf(format, args);
        va_end(args);
        return r;
}

/* The whole file, followed by a 0; -EFBIG. */
static int read_file(int dir_fd, const char *path, size_t most, char **ret, size_t *ret_len) {
        _mlg_cleanup_fd_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        g_autoptr(GByteArray) all = g_byte_array_new();
        uint8_t part[4096];
        ssize_t n;

        if (fd < 0)
                return -errno;
        while ((n = read(fd, part, sizeof(part))) != 0) {
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (all->len + (size_t) n > most)
                        return -EFBIG;
                g_byte_array_append(all, part, (guint) n);
        }
        *ret_len = all->len;
        g_byte_array_append(all, (const uint8_t *) "", 1);
        *ret = (char *) g_byte_array_free(g_steal_pointer(&all), FALSE);
        return 0;
}

/* ---- whose cgroup ---- */

static int find_pid(const char *dir, const char *name, uint64_t *ret, char **ret_why) {
        g_autofree char *path = g_strdup_printf("%s/%s.pid", dir, name), *text = NULL;
        size_t len;
        int r;

        if (strchr(name, '/'))
                return say(ret_why, -ENOENT, "its name has a slash");
        r = read_file(AT_FDCWD, path, 32, &text, &len);
        if (r < 0)
                return say(ret_why, r, "the process id of its QEMU cannot be read from %s: %s", path,
                           g_strerror(-r));
        if (mlg_parse_u64(g_strstrip(text), 1, INT32_MAX, ret) < 0)
                return say(ret_why, -EBADMSG, "%s holds no process id", path);
        return 0;
}

static bool has_argument(const char *cmdline, size_t len, const char *wanted) {
        for (size_t at = 0; at < len; at += strlen(cmdline + at) + 1)
                if (strcmp(cmdline + at, wanted) == 0)
                        return true;
        return false;
}

/* A QEMU that ended while libvirtd was away leaves its id behind, for another process. */
static int check_process(const char *proc, uint64_t pid, const char *uuid, char **ret_why) {
        g_autofree char *path = g_strdup_printf("%s/%" PRIu64 "/cmdline", proc, pid), *text = NULL;
        size_t len;
        int r = read_file(AT_FDCWD, path, CMDLINE_MAX, &text, &len);

        if (r == -ENOENT)
                return say(ret_why, -EACCES,
                           "its QEMU (process %" PRIu64 ") is gone, or hidden from memlegod (ProtectProc=)",
                           pid);
        if (r < 0)
                return say(ret_why, r, "%s cannot be read: %s", path, g_strerror(-r));
        return has_argument(text, len, uuid)
                       ? 0
                       : say(ret_why, -ENOENT, "process %" PRIu64 " is not its QEMU", pid);
}

int mlg_cgroup_parse_path(const char *text, size_t len, char **ret) {
        g_auto(GStrv) lines = NULL;

        if (strlen(text) != len)
                return -EBADMSG;
        lines = g_strsplit(text, "\n", -1);
        for (char **l = lines; *l; l++) {
                g_auto(GStrv) parts = NULL;

                if (!g_str_has_prefix(*l, "0::"))
                        continue;
                parts = g_strsplit(*l + strlen("0::"), "/", -1);
                if ((*l)[3] != '/' || g_strv_contains((const char *const *) parts, ".."))
                        return -EBADMSG; /* outside of our own view */
                *ret = g_strdup(*l + strlen("0::"));
                return 0;
        }
        return -ENOENT;
}

/* `path` and those above it, but never the root: the first where memory is accounted. */
static int open_accounted(const char *root, char *path, int *ret, char **ret_why) {
        for (char *end; (end = strrchr(path, '/')) && end[1]; *end = '\0') {
                g_autofree char *dir = g_strconcat(root, path, NULL);
                _mlg_cleanup_fd_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

                if (fd >= 0 && faccessat(fd, "memory.current", F_OK, 0) == 0) {
                        *ret = g_steal_fd(&fd);
                        return 0;
                }
                if (end == path)
                        break;
        }
        return say(
                ret_why, -EOPNOTSUPP,
                "its QEMU is in no cgroup with a memory controller of version 2 below %s: "
                "a host with cgroups of version 1, or a libvirt that makes none",
                root);
}

static int check_member(const char *proc, const char *pid, uint64_t qemu, char **ret_why) {
        g_autofree char *path = g_strdup_printf("%s/%s/comm", proc, pid), *comm = NULL;
        uint64_t number;
        size_t len;

        if (mlg_parse_u64(pid, 0, INT32_MAX, &number) < 0)
                return say(ret_why, -EBADMSG, "its cgroup has a process '%s'", pid);
        if (number == qemu)
                return 1;
        if (read_file(AT_FDCWD, path, 64, &comm, &len) == -ENOENT)
                return 0; /* it ended just now */
        g_strchomp(comm ? comm : (comm = g_strdup("?")));
        for (size_t i = 0; i < G_N_ELEMENTS(helpers); i++)
                if (strcmp(comm, helpers[i]) == 0)
                        return 0;
        return say(ret_why, -EXDEV, "its QEMU shares its cgroup with another process, %s (%s)", pid, comm);
}

typedef struct Census {
        const char *proc;
        uint64_t qemu;
        unsigned int dirs;
        bool found;
} Census;

/* One that is named here must be the QEMU or a helper of it. Threaded cgroups do not name processes: the one
 * above does. */
static int count_members(Census *c, int dir_fd, char **ret_why) {
        g_autofree char *text = NULL;
        g_auto(GStrv) pids = NULL;
        size_t len;
        int r = read_file(dir_fd, "cgroup.procs", TEXT_MAX, &text, &len);

        if (r == -EOPNOTSUPP || r == -ENOENT)
                return 0;
        if (r < 0)
                return say(ret_why, r, "the processes of its cgroup cannot be read: %s", g_strerror(-r));
        pids = g_strsplit(text, "\n", -1);
        for (char **p = pids; *p; p++) {
                r = **p ? check_member(c->proc, *p, c->qemu, ret_why) : 0;
                if (r < 0)
                        return r;
                c->found |= r > 0;
        }
        return 0;
}

static int count_all(Census *c, int dir_fd, unsigned int depth, char **ret_why) {
        int r = count_members(c, dir_fd, ret_why), fd;
        const struct dirent *e;
        DIR *dir;

        if (r < 0 || depth == DEPTH_MAX)
                return r;
        fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        dir = fd < 0 ? NULL : fdopendir(fd);
        if (!dir) {
                r = -errno;
                mlg_close_fd(&fd);
                return say(ret_why, r, "its cgroup cannot be read: %s", g_strerror(-r));
        }
        while (r >= 0 && (e = readdir(dir))) {
                _mlg_cleanup_fd_ int child = -1;

                if (e->d_name[0] == '.' || (e->d_type != DT_DIR && e->d_type != DT_UNKNOWN))
                        continue;
                child = openat(dir_fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                if (child < 0)
                        continue; /* a file, or gone just now */
                r = ++c->dirs > DIRS_MAX
                            ? say(ret_why, -EXDEV, "its cgroup has more than %d below it", DIRS_MAX)
                            : count_all(c, child, depth + 1, ret_why);
        }
        (void) closedir(dir);
        return r;
}

static int check_own(const char *proc, uint64_t pid, int dir_fd, char **ret_why) {
        Census c = { .proc = proc, .qemu = pid };
        int r = count_all(&c, dir_fd, 0, ret_why);

        if (r >= 0 && !c.found)
                r = say(ret_why, -EXDEV, "its QEMU left the cgroup that it was found in");
        return r;
}

/* Before anything is taken: so the reason is known, even where there is nothing to take. */
static int check_reclaim(int dir_fd, char **ret_why) {
        if (faccessat(dir_fd, "memory.reclaim", W_OK, AT_EACCESS) == 0)
                return 0;
        if (errno == ENOENT)
                return say(ret_why, -EOPNOTSUPP,
                           "the host's kernel has no memory.reclaim: that came with Linux 5.19");
        return say(
                ret_why, -errno,
                "the memory.reclaim of its cgroup may not be written: %s. "
                "memlegod(8) says under 'Guests without a device' what allows it",
                g_strerror(errno));
}

int mlg_cgroup_open(const MlgCgroupRoots *roots, const char *name, const char *uuid, int *ret_fd,
                    char **ret_why) {
        const char *proc = roots && roots->proc ? roots->proc : "/proc";
        const char *cgroup = roots && roots->cgroup ? roots->cgroup : "/sys/fs/cgroup";
        const char *pids = roots && roots->pids ? roots->pids : "/run/libvirt/qemu";
        g_autofree char *file = NULL, *text = NULL, *path = NULL;
        _mlg_cleanup_fd_ int fd = -1;
        uint64_t pid;
        size_t len;
        int r;

        r = find_pid(pids, name, &pid, ret_why);
        if (r >= 0)
                r = check_process(proc, pid, uuid, ret_why);
        if (r < 0)
                return r;
        file = g_strdup_printf("%s/%" PRIu64 "/cgroup", proc, pid);
        r = read_file(AT_FDCWD, file, TEXT_MAX, &text, &len);
        if (r >= 0)
                r = mlg_cgroup_parse_path(text, len, &path);
        if (r < 0)
                return say(ret_why, r, "%s names no cgroup of version 2: %s", file, g_strerror(-r));
        r = open_accounted(cgroup, path, &fd, ret_why);
        if (r >= 0)
                r = check_own(proc, pid, fd, ret_why);
        if (r >= 0)
                r = check_reclaim(fd, ret_why);
        if (r >= 0)
                *ret_fd = g_steal_fd(&fd);
        return r;
}

/* ---- reading ---- */

/* Bytes, or "max". */
static int read_size(int dir_fd, const char *name, uint64_t *ret_kib) {
        g_autofree char *text = NULL;
        uint64_t bytes = 0;
        size_t len;
        int r = read_file(dir_fd, name, TEXT_MAX, &text, &len);

        if (r < 0)
                return r;
        if (strcmp(g_strchomp(text), "max") != 0 && mlg_parse_u64(text, 0, UINT64_MAX, &bytes) < 0)
                return -EBADMSG;
        *ret_kib = strcmp(text, "max") == 0 ? UINT64_MAX : bytes / 1024;
        return 0;
}

/* A kernel that keeps no account of swap (CONFIG_SWAP off) lets none be used. */
static int read_swap(int dir_fd, MlgRawCgroup *ret) {
        int r = read_size(dir_fd, "memory.swap.current", &ret->swap_kib);

        if (r == -ENOENT)
                return 0;
        return r < 0 ? r : read_size(dir_fd, "memory.swap.max", &ret->swap_max_kib);
}

/* Its lines are those of /proc/vmstat, and of /proc/pressure/memory. */
static int read_facts(int dir_fd, const char *name, MlgFacts *f) {
        g_autofree char *text = NULL;
        size_t len;
        int r = read_file(dir_fd, name, TEXT_MAX, &text, &len);

        if (r < 0)
                return r;
        mlg_facts_parse_vmstat(text, (uint64_t) sysconf(_SC_PAGESIZE) / 1024, f);
        mlg_facts_parse_pressure(text, f);
        return 0;
}

static int read_refaults(int dir_fd, MlgRawCgroup *ret) {
        MlgFacts f = {};
        int r = read_facts(dir_fd, "memory.stat", &f);

        ret->refault_kib = f.values[MLG_FACT(MLG_FIELD_REFAULTS)];
        return r < 0 ? r : f.known & MLG_FIELD_BIT(MLG_FIELD_REFAULTS) ? 0 : -EBADMSG;
}

/* Without PSI (psi=0) refaults alone must do. */
static int read_stalls(int dir_fd, MlgRawCgroup *ret) {
        MlgFacts f = {};
        int r = read_facts(dir_fd, "memory.pressure", &f);

        if (r == -ENOENT || r == -EOPNOTSUPP)
                return 0;
        ret->stall_usec = f.values[MLG_FACT(MLG_FIELD_PSI_SOME)];
        return r < 0 ? r : f.known & MLG_FIELD_BIT(MLG_FIELD_PSI_SOME) ? 0 : -EBADMSG;
}

int mlg_cgroup_read(int dir_fd, MlgRawCgroup *ret, char **ret_why) {
        MlgRawCgroup raw = {};
        const char *what = "memory.current";
        int r = read_size(dir_fd, what, &raw.current_kib);

        if (r >= 0)
                what = "memory.swap.*", r = read_swap(dir_fd, &raw);
        if (r >= 0)
                what = "memory.stat", r = read_refaults(dir_fd, &raw);
        if (r >= 0)
                what = "memory.pressure", r = read_stalls(dir_fd, &raw);
        if (r < 0)
                return say(ret_why, r == -ENOENT ? -ENODEV : r, "%s of its cgroup cannot be read: %s", what,
                           g_strerror(-r));
        *ret = raw;
        return 0;
}

/* ---- taking ---- */

int mlg_cgroup_reclaim(int dir_fd, uint64_t kib, char **ret_why) {
        g_autofree char *text = g_strdup_printf("%" PRIu64 "K", kib);
        _mlg_cleanup_fd_ int fd = openat(dir_fd, "memory.reclaim", O_WRONLY | O_CLOEXEC);
        int error;

        if (fd >= 0 && write(fd, text, strlen(text)) >= 0)
                return 0;
        error = errno == EINTR ? EAGAIN : errno;
        return say(ret_why, -error, "the memory.reclaim of its cgroup cannot be written: %s",
                   g_strerror(error));
}
