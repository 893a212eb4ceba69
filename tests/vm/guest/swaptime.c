/* SPDX-License-Identifier: GPL-2.0-or-later */
/* swaptime: how fast a swap device is, out and in, with memory of its own to move.
 *
 *     swaptime DEVICE MIB STEP...      DEVICE: already made by mkswap; it must be the only one
 *
 * Steps are done in order; each prints one line of KEY=VALUE:
 *     out        changes a word of every page and has all of them swapped out
 *     hold       tells in /run/swaptime that it waits, until that file is removed
 *     rand, seq  touches every page, in random order or from the first to the last, and times each
 *     willneed   asks for all by MADV_WILLNEED, then touches all
 *     populate   has the kernel map all (MADV_POPULATE_WRITE): no fault, no readahead
 *     by=COMMAND runs it with our process id behind it: it is to bring all back
 *     swapoff    takes the device away
 * After each way in every page is compared with what it must hold; MIB_S are those of what was out. One
 * word in three is random, so that compression gains what it gains with programs' data. Pages are pushed
 * out by MADV_PAGEOUT, and what a device without rw_page leaves in the swap cache by the memory.reclaim
 * of a control group of our own (version 2). A page's time is taken by the time stamp counter: the guest's
 * clock may be a device, which costs more than a fault. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#define PAGE 4096u
#define WORDS (PAGE / 4)
#define CGROUP "/run/cgroup"
#define HELD "/run/swaptime"
#define OUT_LIMIT_NSEC 120000000000ull /* a device that has not taken all by then is broken */

static const char *device;
static uint32_t *mem, *order, *took;
static uint32_t n_pages, round_no;
static double ticks_per_nsec;

static _Noreturn void die(const char *what) {
        fprintf(stderr, "swaptime: %s: %s\n", what, strerror(errno));
        exit(1);
}

static uint64_t now_nsec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t) t.tv_sec * 1000000000u + (uint64_t) t.tv_nsec;
}

static double mib_s(uint32_t pages, uint64_t nsec) { return pages / 256.0 / ((double) nsec / 1e9); }
static uint32_t *at(uint32_t page) { return mem + (size_t) page * WORDS; }

static uint32_t mix(uint32_t x) {
        x = (x ^ (x >> 16)) * 0x7feb352du;
        x = (x ^ (x >> 15)) * 0x846ca68bu;
        return x ^ (x >> 16);
}

/* The first word is the round's, which makes the page another one than the device has. */
static uint32_t word_of(uint32_t page, uint32_t i) {
        if (i == 0)
                return page * 64 + round_no;
        return i % 3 == 0 ? mix(page * WORDS + i) : page * 7 + i / 64;
}

/* Each cache line of each. */
static void check_all(void) {
        for (uint32_t p = 0; p < n_pages; p++)
                for (uint32_t i = 0; i < WORDS; i += 16)
                        if (at(p)[i] != word_of(p, i)) {
                                fprintf(stderr, "swaptime: page %u, word %u: expected %x, got %x\n", p, i,
                                        word_of(p, i), at(p)[i]);
                                exit(3);
                        }
}

static uint32_t n_in_memory(void) {
        static unsigned char *in;
        uint32_t n = 0;

        if (!in && !(in = malloc(n_pages)))
                die("no memory");
        if (mincore(mem, (size_t) n_pages * PAGE, in) < 0)
                die("mincore");
        for (uint32_t p = 0; p < n_pages; p++)
                n += in[p] & 1;
        return n;
}

static void write_file(const char *path, const char *text) {
        int fd = open(path, O_WRONLY);

        /* memory.reclaim says EAGAIN if it was less than all */
        if (fd < 0 || (write(fd, text, strlen(text)) < 0 && errno != EAGAIN))
                die(path);
        close(fd);
}

static void enter_cgroup(void) {
        char self[16];

        (void) mkdir(CGROUP, 0755);
        if (mount("cgroup2", CGROUP, "cgroup2", 0, NULL) < 0 && errno != EBUSY)
                die("mount cgroup2");
        write_file(CGROUP "/cgroup.subtree_control", "+memory");
        if (mkdir(CGROUP "/swaptime", 0755) < 0 && errno != EEXIST)
                die("mkdir in cgroup2");
        snprintf(self, sizeof(self), "%d", (int) getpid());
        write_file(CGROUP "/swaptime/cgroup.procs", self);
}

static void out(void) {
        char all[24];
        uint64_t begin;

        round_no++;
        for (uint32_t p = 0; p < n_pages; p++)
                at(p)[0] = word_of(p, 0);
        snprintf(all, sizeof(all), "%llu", (unsigned long long) n_pages * PAGE);
        begin = now_nsec();
        if (madvise(mem, (size_t) n_pages * PAGE, MADV_PAGEOUT) < 0)
                die("MADV_PAGEOUT");
        while (n_in_memory() > n_pages / 100) {
                if (now_nsec() - begin > OUT_LIMIT_NSEC)
                        die("not all is swapped out after two minutes");
                write_file(CGROUP "/swaptime/memory.reclaim", all);
        }
        printf("swapout_mib_s=%.1f\n", mib_s(n_pages, now_nsec() - begin));
}

static void hold(void) {
        FILE *f = fopen(HELD, "w");

        if (!f || fclose(f) != 0)
                die(HELD);
        while (access(HELD, F_OK) == 0)
                usleep(20000);
}

static int by_size(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

static uint64_t touch_all(const uint32_t *in_order) {
        uint64_t begin = now_nsec(), wrong = 0;

        for (uint32_t i = 0; i < n_pages; i++) {
                uint32_t p = in_order ? in_order[i] : i;
                uint64_t tick = __rdtsc();

                wrong += *(volatile uint32_t *) at(p) != word_of(p, 0);
                took[i] = (uint32_t) (__rdtsc() - tick);
        }
        begin = now_nsec() - begin;
        if (wrong)
                fprintf(stderr, "swaptime: %llu pages are wrong\n", (unsigned long long) wrong);
        return begin;
}

static void touch(const char *what, const uint32_t *in_order) {
        uint32_t n = n_pages - n_in_memory();
        uint64_t nsec = touch_all(in_order);

        check_all();
        qsort(took, n_pages, sizeof(*took), by_size);
        printf("%s_fault_mib_s=%.1f %s_fault_p50_us=%.2f %s_fault_p99_us=%.2f\n", what, mib_s(n, nsec), what,
               took[n_pages / 2] / ticks_per_nsec / 1000, what,
               took[(uint64_t) n_pages * 99 / 100] / ticks_per_nsec / 1000);
}

/* All at once, by whatever means. */
static void bulk(const char *key, int (*bring)(const char *), const char *how) {
        uint32_t n = n_pages - n_in_memory(), left;
        uint64_t begin = now_nsec(), nsec;

        if (bring(how) < 0)
                die(key);
        nsec = now_nsec() - begin;
        left = n_pages - n_in_memory();
        check_all();
        printf("%s_mib_s=%.1f %s_left_pages=%u\n", key, mib_s(n - left, nsec), key, left);
}

static int will_need(const char *unused) {
        (void) unused;
        if (madvise(mem, (size_t) n_pages * PAGE, MADV_WILLNEED) < 0)
                return -1;
        touch_all(NULL);
        return 0;
}

static int populate(const char *unused) {
        (void) unused;
        return madvise(mem, (size_t) n_pages * PAGE, MADV_POPULATE_WRITE);
}

static int run(const char *command) {
        char line[256];

        snprintf(line, sizeof(line), "exec %s %d >&2", command, (int) getpid());
        return system(line) == 0 ? 0 : -1;
}

static void step(const char *what) {
        if (strcmp(what, "out") == 0)
                out();
        else if (strcmp(what, "hold") == 0)
                hold();
        else if (strcmp(what, "rand") == 0)
                touch("rand", order);
        else if (strcmp(what, "seq") == 0)
                touch("seq", NULL);
        else if (strcmp(what, "willneed") == 0)
                bulk("willneed", will_need, NULL);
        else if (strcmp(what, "populate") == 0)
                bulk("populate", populate, NULL);
        else if (strncmp(what, "by=", 3) == 0)
                bulk("by_command", run, what + 3);
        else if (strcmp(what, "swapoff") == 0)
                bulk("swapoff", swapoff, device);
        else {
                errno = EINVAL;
                die(what);
        }
        fflush(stdout);
}

static void prepare(void) {
        uint64_t random = 1, begin = now_nsec(), tick = __rdtsc();

        mem = mmap(NULL, (size_t) n_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0);
        order = malloc(n_pages * sizeof(*order));
        took = malloc(n_pages * sizeof(*took));
        if (mem == MAP_FAILED || !order || !took)
                die("no memory");
        (void) madvise(mem, (size_t) n_pages * PAGE, MADV_NOHUGEPAGE);
        for (uint32_t p = 0; p < n_pages; p++)
                for (uint32_t i = 0; i < WORDS; i++)
                        at(p)[i] = word_of(p, i);
        for (uint32_t i = 0; i < n_pages; i++) { /* an order that is drawn, and the same each time */
                uint32_t other;

                random = random * 6364136223846793005ull + 1442695040888963407ull;
                other = (uint32_t) ((random >> 33) % (i + 1));
                order[i] = order[other];
                order[other] = i;
        }
        memset(took, 0, n_pages * sizeof(*took));
        ticks_per_nsec = (double) (__rdtsc() - tick) / (double) (now_nsec() - begin);
}

int main(int argc, char **argv) {
        n_pages = argc > 3 ? (uint32_t) strtoul(argv[2], NULL, 10) * 256 : 0;
        if (n_pages == 0) {
                fprintf(stderr, "usage: swaptime DEVICE MIB STEP...\n");
                return 2;
        }
        device = argv[1];
        enter_cgroup();
        prepare();
        if (swapon(device, 0) < 0)
                die(device);
        for (int i = 3; i < argc; i++)
                step(argv[i]);
        (void) swapoff(device);
        return 0;
}
