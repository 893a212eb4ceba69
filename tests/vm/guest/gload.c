/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gload: a memory load for test guests that can be watched and stopped.
 *
 * `gload hold MIB` allocates, touches every page at a given rate, keeps all of it hot and says in a small file how far
 * it is. There is one load per name (default "0"); its process id and its progress live in /run/gload.NAME.pid and
 * /run/gload.NAME, a line of KEY=VALUE pairs that is replaced atomically:
 *
 *     state=filling|holding|released|failed pid=N mib=WANTED filled_mib=N rounds=N bad=N checks=N ms=SINCE_START
 *
 * Invariants: each page carries a stamp made of its own number, so that `gload probe` can tell whether the memory
 * still holds what was written; the load is the first to go when the guest runs out of memory, never the agent. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define MIB (1024u * 1024u)
#define PAGES_PER_MIB (MIB / PAGE)
#define TICK_USEC 20000          /* how often the filling rate is kept: fine enough for 50 MiB/s in steps of 1 MiB */
#define ROUND_USEC 1000000       /* every page is touched once in this time: hot for any working set estimate */
#define PROGRESS_USEC 100000

static volatile sig_atomic_t want_stop, want_probe;

typedef struct Load {
        const char *name;
        char *mem;
        size_t mib, filled_mib, rate_mib;
        bool random, huge;
        uint64_t rounds, bad, checks, start_usec, told_usec;
        const char *state;
} Load;

static uint64_t now_usec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000u + (uint64_t) t.tv_nsec / 1000u;
}

static void sleep_usec(uint64_t usec) {
        nanosleep(&(struct timespec) { (time_t) (usec / 1000000u), (long) (usec % 1000000u) * 1000 }, NULL);
}

static void on_signal(int sig) {
        if (sig == SIGUSR1)
                want_probe = 1;
        else
                want_stop = 1;
}

static void path_of(char *ret, size_t size, const char *name, const char *suffix) {
        snprintf(ret, size, "/run/gload.%s%s", name, suffix);
}

static void progress(Load *l, bool now) {
        char path[128], tmp[128], line[256];
        uint64_t t = now_usec();
        int fd, n;

        if (!now && t - l->told_usec < PROGRESS_USEC)
                return;
        l->told_usec = t;
        path_of(path, sizeof path, l->name, "");
        path_of(tmp, sizeof tmp, l->name, ".new");
        n = snprintf(line, sizeof line,
                     "state=%s pid=%d mib=%zu filled_mib=%zu rounds=%llu bad=%llu checks=%llu ms=%llu\n", l->state,
                     (int) getpid(), l->mib, l->filled_mib, (unsigned long long) l->rounds,
                     (unsigned long long) l->bad, (unsigned long long) l->checks,
                     (unsigned long long) ((t - l->start_usec) / 1000u));
        fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (fd < 0)
                return; /* a full tmpfs: the load itself matters more */
        if (write(fd, line, (size_t) n) == n)
                rename(tmp, path);
        close(fd);
}

static uint64_t stamp(size_t page) {
        return 0x6d656d6c65676f00ull ^ (page * 0x9e3779b97f4a7c15ull);
}

static void fill_mib(Load *l, size_t mib) {
        uint64_t x = 88172645463325252ull + mib;

        for (size_t i = mib * PAGES_PER_MIB; i < (mib + 1) * PAGES_PER_MIB; i++) {
                uint64_t *p = (uint64_t *) (void *) (l->mem + i * PAGE);

                for (size_t k = 1; l->random && k < PAGE / sizeof *p; k++) {
                        x ^= x << 13;
                        x ^= x >> 7;
                        x ^= x << 17;
                        p[k] = x;
                }
                p[0] = stamp(i);
                p[1] = 0;
        }
}

/* Writes one word of every page, so that no page looks idle or clean. */
static void touch(Load *l) {
        for (size_t i = 0; i < l->filled_mib * PAGES_PER_MIB && !want_stop; i++)
                ((volatile uint64_t *) (void *) (l->mem + i * PAGE))[1] += 1;
        l->rounds++;
}

static void probe(Load *l) {
        uint64_t bad = 0;

        for (size_t i = 0; i < l->filled_mib * PAGES_PER_MIB; i++)
                if (*(volatile uint64_t *) (void *) (l->mem + i * PAGE) != stamp(i))
                        bad++;
        l->bad = bad;
        l->checks++;
        progress(l, true);
}

static void fill(Load *l) {
        uint64_t begin = now_usec();

        l->state = "filling";
        while (l->filled_mib < l->mib && !want_stop) {
                if (l->rate_mib > 0 && l->filled_mib * 1000000u / l->rate_mib > now_usec() - begin) {
                        sleep_usec(TICK_USEC);
                } else {
                        fill_mib(l, l->filled_mib);
                        l->filled_mib++;
                }
                progress(l, false);
        }
}

static void hold(Load *l) {
        l->state = "holding";
        progress(l, true);
        while (!want_stop) {
                uint64_t t = now_usec(), spent;

                if (want_probe) {
                        want_probe = 0;
                        probe(l);
                }
                touch(l);
                progress(l, true);
                spent = now_usec() - t;
                if (spent < ROUND_USEC && !want_stop && !want_probe)
                        sleep_usec(ROUND_USEC - spent);
        }
}

static void write_file(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

        if (fd < 0)
                return;
        if (write(fd, text, strlen(text)) < 0)
                perror(path);
        close(fd);
}

static int cmd_hold(Load *l) {
        char path[128], pid[32];

        l->start_usec = now_usec();
        snprintf(pid, sizeof pid, "%d\n", (int) getpid());
        path_of(path, sizeof path, l->name, ".pid");
        write_file("/proc/self/oom_score_adj", "1000");
        signal(SIGTERM, on_signal);
        signal(SIGINT, on_signal);
        signal(SIGUSR1, on_signal);
        l->state = "failed";
        l->mem = mmap(NULL, l->mib * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (l->mem == MAP_FAILED) {
                perror("gload: mmap");
                progress(l, true);
                return 1;
        }
        /* Single pages: what the balloon and swap work with, and a filling rate that means what it says. Huge ones fill faster
         * than a balloon moves, which is what some tests want. */
        madvise(l->mem, l->mib * MIB, l->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        write_file(path, pid);
        fill(l);
        hold(l);
        munmap(l->mem, l->mib * MIB);
        l->state = "released";
        l->filled_mib = 0;
        progress(l, true);
        unlink(path);
        return 0;
}

static int read_line(const char *name, const char *suffix, char *ret, size_t size) {
        char path[128];
        ssize_t n;
        int fd;

        path_of(path, sizeof path, name, suffix);
        fd = open(path, O_RDONLY);
        if (fd < 0)
                return -errno;
        n = read(fd, ret, size - 1);
        close(fd);
        if (n < 0)
                return -EIO;
        ret[n] = 0;
        return 0;
}

static pid_t pid_of(const char *name) {
        char line[64];

        return read_line(name, ".pid", line, sizeof line) < 0 ? 0 : (pid_t) atoi(line);
}

static int cmd_status(const char *name) {
        char line[256];

        if (read_line(name, "", line, sizeof line) < 0) {
                printf("state=none\n");
                return 1;
        }
        fputs(line, stdout);
        return 0;
}

static int cmd_release(const char *name) {
        pid_t pid = pid_of(name);

        if (pid <= 0 || kill(pid, SIGTERM) < 0) {
                fprintf(stderr, "gload: no load '%s' is running\n", name);
                return 1;
        }
        while (kill(pid, 0) == 0) /* the caller has the time limit */
                sleep_usec(10000);
        return cmd_status(name);
}

static uint64_t value_of(const char *line, const char *key) {
        const char *p = strstr(line, key);

        return p ? strtoull(p + strlen(key), NULL, 10) : 0;
}

static int cmd_probe(const char *name) {
        pid_t pid = pid_of(name);
        char line[256] = "";
        uint64_t before;

        if (pid <= 0 || read_line(name, "", line, sizeof line) < 0)
                return cmd_status(name);
        before = value_of(line, "checks=");
        while (kill(pid, SIGUSR1) == 0) {
                sleep_usec(50000);
                if (read_line(name, "", line, sizeof line) == 0 && value_of(line, "checks=") > before) {
                        fputs(line, stdout);
                        return value_of(line, "bad=") == 0 ? 0 : 1;
                }
        }
        fprintf(stderr, "gload: load '%s' died\n", name);
        return 1;
}

static int usage(void) {
        fputs("usage: gload hold MIB [--rate MIB_PER_S] [--random] [--huge] [--name NAME]\n"
              "       gload status|release|probe [--name NAME]\n"
              "  hold     take MIB of memory and keep it hot until SIGTERM; fast unless --rate says how fast\n"
              "  --random fill pages with what does not compress\n"
              "  --huge   with transparent huge pages: as fast as it gets\n"
              "  release  end it, wait until it is gone     probe  check every page, fails when one is wrong\n", stderr);
        return 2;
}

int main(int argc, char **argv) {
        Load l = { .name = "0" };
        int first = 2;

        if (argc < 2)
                return usage();
        if (!strcmp(argv[1], "hold")) {
                if (argc < 3 || (l.mib = strtoul(argv[2], NULL, 10)) == 0)
                        return usage();
                first = 3;
        }
        for (int i = first; i < argc; i++) {
                if (!strcmp(argv[i], "--random"))
                        l.random = true;
                else if (!strcmp(argv[i], "--huge"))
                        l.huge = true;
                else if (!strcmp(argv[i], "--rate") && i + 1 < argc)
                        l.rate_mib = strtoul(argv[++i], NULL, 10);
                else if (!strcmp(argv[i], "--name") && i + 1 < argc && !strchr(argv[i + 1], '/'))
                        l.name = argv[++i];
                else
                        return usage();
        }
        if (!strcmp(argv[1], "hold"))
                return cmd_hold(&l);
        if (!strcmp(argv[1], "status"))
                return cmd_status(l.name);
        if (!strcmp(argv[1], "release"))
                return cmd_release(l.name);
        if (!strcmp(argv[1], "probe"))
                return cmd_probe(l.name);
        return usage();
}
