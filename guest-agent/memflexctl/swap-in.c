/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Swap-in: brings back what is swapped out, block by block in the plan's order. The module maps the pages; of what lies on a disk
 * the reads of several blocks are begun before the first of them is waited for.
 *
 * It takes only memory that is free beyond the watermark. When the kernel has to reclaim from somebody nevertheless, or tasks wait
 * for memory, it stands still until that is over for half a second, and ends when it is not over in GIVE_WAY_SEC. The kernel's
 * pressure stall information tells others' waiting from ours only while we stand still: so it is looked at then.
 *
 * At most one runs at a time: it holds a lock on LOCK_PATH, by which others find its process, and in which they read how far it is. */
#include "memflexctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "files.h"
#include "../kernel/memflex/ioctl.h"

#ifndef MADV_WILLNEED
#define MADV_WILLNEED 3
#endif

#define LOCK_PATH "/run/memflexctl.lock"
#define STATE_BYTES 128

/* Blocks whose reads from a disk are under way: 16 MiB keep a disk busy and cost nobody his memory. */
#define AHEAD_BLOCKS 8u

/* /proc/vmstat costs as much as a few dozen pages. */
#define LOOK_USEC 50000u
#define REPORT_USEC 500000u

#define GIVE_WAY_SEC 10
#define CALM_MSEC 500
/* 5 % of the time, as the guest's monitor is told to look for. */
#define TRIGGER "some 25000 500000"

typedef struct SwapIn {
        const SwapInOptions *o;
        int lock, trigger; /* trigger: -1: there is no pressure stall information */
        Tiers tiers;
        Scan scan;
        size_t next_ahead;
        pthread_t reader[AHEAD_BLOCKS];
        bool reads[AHEAD_BLOCKS]; /* it is there, and to be waited for */
        uint64_t watermark_kib, done_kib, reclaims;
        uint64_t started_usec, looked_usec, reported_usec;
} SwapIn;

static volatile int stop;

static void on_signal(int signo) {
        stop = signo;
}

static uint64_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static int complain(const char *what, const char *todo) {
        fprintf(stderr, "memflexctl: %s%s%s\n", what, todo ? ": " : "", todo ? todo : "");
        return STATUS_FAILED;
}

/* ---- one at a time ---- */

/* Who holds the lock, 0: nobody. */
static pid_t holder_of(int fd) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

        return fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK ? l.l_pid : 0;
}

static int take_lock(void) {
        struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int fd = open(LOCK_PATH, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

        if (fd < 0)
                return -errno;
        if (fcntl(fd, F_SETLK, &l) == 0)
                return fd;
        (void) close(fd);
        return -EBUSY;
}

int swap_in_abort(void) {
        int fd = open(LOCK_PATH, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        pid_t pid = fd < 0 ? 0 : holder_of(fd);

        if (fd >= 0)
                (void) close(fd);
        if (pid == 0)
                return complain("nothing is being swapped in", NULL);
        return kill(pid, SIGTERM) == 0 ? 0 : complain("cannot stop the swap-in", strerror(errno));
}

void swap_in_print(void) {
        char state[STATE_BYTES + 1] = "";
        int fd = open(LOCK_PATH, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        pid_t pid = fd < 0 ? 0 : holder_of(fd);

        if (pid && pread(fd, state, STATE_BYTES, 0) > 0)
                printf("Swap-in: process %d: %s", (int) pid, state);
        else
                printf("Swap-in: none now\n");
        if (fd >= 0)
                (void) close(fd);
}

/* ---- what it says ---- */

static void tell(SwapIn *s, const char *state) {
        uint64_t now = now_usec();
        char line[STATE_BYTES + 1];
        int n = snprintf(line, sizeof(line), "state=%s done_kib=%" PRIu64 " swapped_kib=%" PRIu64 " usec=%" PRIu64 "\n", state,
                         s->done_kib, s->scan.swapped_kib, now - s->started_usec);

        s->reported_usec = now;
        if (pwrite(s->lock, line, (size_t) n, 0) == n)
                (void) ftruncate(s->lock, n);
        if (s->o->report) {
                fputs(line, stdout);
                (void) fflush(stdout);
        } else if (isatty(STDERR_FILENO))
                fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " MiB ", s->done_kib / 1024, s->scan.swapped_kib / 1024);
}

static int tell_end(SwapIn *s, Ending e) {
        uint64_t usec = now_usec() - s->started_usec;

        tell(s, plan_ending(e));
        if (!s->o->report)
                printf("%" PRIu64 " of %" PRIu64 " MiB in %.2f s, %.0f MiB/s: %s\n", s->done_kib / 1024, s->scan.swapped_kib / 1024,
                       (double) usec / 1e6, usec ? (double) s->done_kib / 1024 * 1e6 / (double) usec : 0.0, plan_ending_text(e));
        return e == ENDING_PRESSURE || e == ENDING_ABORTED ? STATUS_STOPPED : 0;
}

/* ---- giving way ---- */

static uint64_t free_kib(void) {
        struct sysinfo info;

        return sysinfo(&info) == 0 ? (uint64_t) info.freeram * info.mem_unit / 1024 : 0;
}

static uint64_t reclaims(void) {
        char *text = files_read("/proc/vmstat");
        uint64_t n = plan_reclaims(text);

        free(text);
        return n;
}

static int open_trigger(void) {
        int fd = open("/proc/pressure/memory", O_RDWR | O_CLOEXEC | O_NONBLOCK);

        if (fd >= 0 && write(fd, TRIGGER, sizeof(TRIGGER)) < 0) {
                (void) close(fd);
                fd = -1;
        }
        return fd;
}

/* Somebody had to give memory away, or waited for it, while we did nothing. */
static bool is_pressed(SwapIn *s) {
        struct pollfd p = { .fd = s->trigger, .events = POLLPRI };
        uint64_t before = s->reclaims;
        bool waits = poll(&p, 1, CALM_MSEC) > 0 && p.revents & POLLPRI;

        if (waits) /* the trigger says so once in its window, which need not be over */
                (void) poll(NULL, 0, CALM_MSEC);
        s->reclaims = reclaims();
        return waits || s->reclaims != before;
}

/* False: it does not end. */
static bool wait_for_calm(SwapIn *s) {
        uint64_t until = now_usec() + GIVE_WAY_SEC * UINT64_C(1000000);

        tell(s, "waiting");
        while (is_pressed(s))
                if (stop || now_usec() >= until)
                        return false;
        return true;
}

static bool has_room(SwapIn *s) {
        uint64_t now = now_usec(), n;

        if (now - s->looked_usec < LOOK_USEC)
                return true;
        s->looked_usec = now;
        n = reclaims();
        if (n == s->reclaims)
                return true;
        s->reclaims = n;
        return wait_for_calm(s);
}

/* ---- pages ---- */

/* Pages come into the swap cache, where a fault finds them. A kernel to which the device says that it answers at once (6.3 on) waits
 * for the disk here, page by page: so each block has a thread. */
static void *prefetch(void *block) {
        const Block *b = block;
        struct iovec range = { .iov_base = (void *) (uintptr_t) b->address, .iov_len = BLOCK_BYTES };
        int fd = (int) syscall(SYS_pidfd_open, b->pid, 0);

        if (fd < 0)
                return NULL;
        (void) syscall(SYS_process_madvise, fd, &range, 1, MADV_WILLNEED, 0);
        (void) close(fd);
        return NULL;
}

/* Before the block is mapped, too: two who read the same page at the same time wait for each other by the clock. */
static void join_reader(SwapIn *s, size_t at) {
        size_t i = at % AHEAD_BLOCKS;

        if (s->reads[i])
                (void) pthread_join(s->reader[i], NULL);
        s->reads[i] = false;
}

static void start_reader(SwapIn *s, size_t at) {
        size_t i = at % AHEAD_BLOCKS;

        join_reader(s, at);
        s->reads[i] = pthread_create(&s->reader[i], NULL, prefetch, &s->scan.blocks[at]) == 0;
}

/* As far as there is room for all that was not begun before; `room_kib` is what may still come, and be taken. */
static void prefetch_ahead(SwapIn *s, size_t at, uint64_t room_kib) {
        s->next_ahead = s->next_ahead < at ? at : s->next_ahead;
        for (; s->next_ahead < s->scan.n && s->next_ahead < at + AHEAD_BLOCKS; s->next_ahead++) {
                const Block *b = &s->scan.blocks[s->next_ahead];
                uint64_t kib = (uint64_t) b->pages * PAGE_KIB;

                if (kib > room_kib)
                        break;
                room_kib -= kib;
                if (b->disk_pages > 0)
                        start_reader(s, s->next_ahead);
        }
}

/* Pages next to each other go together. False: the process is gone. */
static bool map_run(SwapIn *s, const Block *b, uint32_t first, uint32_t n) {
        struct mlg_flex_map map = { .address = b->address + (uint64_t) first * 4096, .pid = b->pid, .pages = n };

        if (ioctl(s->tiers.device, MLG_FLEX_IOC_MAP, &map) < 0)
                return false;
        s->done_kib += (uint64_t) map.done * PAGE_KIB;
        return true;
}

static void map_block(SwapIn *s, const Block *b) {
        uint64_t words[BLOCK_PAGES];
        uint32_t n = files_pagemap(b->pid, b->address, words), end;

        for (uint32_t i = 0; i < n && !stop; i = end) {
                for (end = i; end < n && plan_is_swapped(words[end]); end++)
                        ;
                if (end > i && !map_run(s, b, i, end - i))
                        return;
                end += end == i;
        }
}

static Ending bring_all(SwapIn *s) {
        for (size_t i = 0; i < s->scan.n; i++) {
                const Block *b = &s->scan.blocks[i];
                bool is_begun = i < s->next_ahead; /* it has its memory already, if it lies on a disk */
                uint64_t left_kib = free_kib();
                int end = plan_may_go_on(s->done_kib, s->o->limit_kib, left_kib, s->watermark_kib,
                                         is_begun && b->disk_pages > 0 ? b->pages - b->disk_pages : b->pages);

                if (stop)
                        return ENDING_ABORTED;
                if (end >= 0)
                        return (Ending) end;
                if (!has_room(s))
                        return stop ? ENDING_ABORTED : ENDING_PRESSURE;
                prefetch_ahead(s, i, plan_room_kib(s->done_kib, s->o->limit_kib, left_kib, s->watermark_kib));
                join_reader(s, i);
                map_block(s, b);
                if (now_usec() - s->reported_usec >= REPORT_USEC)
                        tell(s, "running");
        }
        return stop ? ENDING_ABORTED : ENDING_DONE;
}

/* ---- all of it ---- */

static void find_watermark(SwapIn *s) {
        char *text = files_read("/proc/zoneinfo");
        struct sysinfo info;

        s->watermark_kib = s->o->watermark_kib;
        if (!s->watermark_kib && sysinfo(&info) == 0)
                s->watermark_kib = plan_watermark_kib(text, (uint64_t) info.totalram * info.mem_unit / 1024);
        free(text);
}

static int run(SwapIn *s) {
        char *swaps = files_read("/proc/swaps");
        Ending end;
        int r;

        if (!plan_type_of(swaps, DEVICE, &s->tiers.type, &s->tiers.any_type))
                s->tiers.type = UINT32_MAX; /* what lies elsewhere can come back as well */
        free(swaps);
        find_watermark(s);
        s->started_usec = now_usec();
        r = files_scan(&s->tiers, s->o->pid, &stop, &s->scan);
        if (r < 0)
                return complain("cannot look for what is swapped out", strerror(-r));
        s->reclaims = reclaims();
        tell(s, "running");
        end = bring_all(s);
        for (size_t i = 0; i < AHEAD_BLOCKS; i++)
                join_reader(s, i);
        return tell_end(s, end);
}

/* The pages are others', but we are what is killed for them. */
static void be_the_first_to_go(void) {
        int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd >= 0) {
                (void) !write(fd, "1000", 4);
                (void) close(fd);
        }
}

int swap_in(const SwapInOptions *o) {
        SwapIn s = { .o = o, .lock = -1, .trigger = -1 };
        struct sigaction act = { .sa_handler = on_signal };
        int r = STATUS_FAILED;

        s.tiers.device = open(DEVICE, O_RDONLY | O_CLOEXEC);
        if (s.tiers.device < 0)
                return complain("cannot open " DEVICE, errno == EACCES ? "this needs root" :
                                errno == ENOENT ? "is the module loaded, and a pool there (memflexctl status)?" : strerror(errno));
        s.lock = take_lock();
        if (s.lock < 0) {
                r = complain("cannot begin", s.lock == -EBUSY ? "a swap-in runs already (memflexctl status)" : strerror(-s.lock));
        } else {
                (void) sigaction(SIGTERM, &act, NULL);
                (void) sigaction(SIGINT, &act, NULL);
                be_the_first_to_go();
                s.trigger = open_trigger();
                r = run(&s);
                files_scan_done(&s.scan);
                if (s.trigger >= 0)
                        (void) close(s.trigger);
                (void) close(s.lock);
        }
        (void) close(s.tiers.device);
        return r;
}
