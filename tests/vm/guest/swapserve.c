/* SPDX-License-Identifier: GPL-2.0-or-later */
/* swapserve: a server, of which the balloon takes memory away and gives it back: how long until it is as
 * fast as before?
 *
 *     swapserve MIB             until it has been squeezed and is back at full speed, or SIGTERM
 *     swapserve MIB REQUESTS    a job: fills its memory, answers so many, and ends
 *
 * It answers requests one after the other: each reads a value of one page, drawn from all its data, and one
 * in ten writes it anew, as a store of keys and values does. What it did in each 50 ms it holds against the
 * size of the machine (MemTotal of /proc/meminfo, which follows the balloon): full speed is the median of
 * before; the grant begins when MemTotal rises from its least; back is when for half a second nine in ten
 * of full speed were reached, and that half second does not count. /run/swapserve has a line of KEY=VALUE:
 *
 *     state=filling|full|squeezed|granted|back per_s= full_per_s= least_per_s= recovery_ms= wrong=
 *     state=filling|working|half|done fill_ms= job_ms= wrong= */
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
#define WORDS (PAGE / 8)
#define WINDOW_MSEC 50
#define WARM_WINDOWS 60u   /* three seconds that full speed is the median of */
#define BACK_WINDOWS 10u   /* half a second */
#define BACK_PERCENT 90
#define MOVED_KIB 8192     /* MemTotal moves a little by itself */
#define BATCH 64u          /* requests between two looks at the clock, which may be a device, ... */
#define SLOW_BATCH 4u      /* ... and where one may take long */

enum { FILLING, FULL, SQUEEZED, GRANTED, BACK };
static const char *const state_name[] = { "filling", "full", "squeezed", "granted", "back" };

static volatile sig_atomic_t stop;
static uint64_t *mem, n_pages, random_state = 1, wrong;
static uint32_t *written;

typedef struct Server {
        int state;
        uint64_t window[WARM_WINDOWS], n_windows, full, least, now_per_s; /* of requests a second */
        uint64_t last[BACK_WINDOWS];
        int64_t total_kib, least_kib, granted_msec, recovery_msec;
} Server;

static void on_signal(int sig) {
        (void) sig;
        stop = 1;
}

static int64_t now_msec(void) {
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static uint64_t next_random(void) {
        uint64_t x = random_state += 0x9e3779b97f4a7c15u;

        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return x ^ (x >> 31);
}

static void write_value(uint64_t page) {
        uint64_t seed = (page << 24 | ++written[page]) * 0x9e3779b97f4a7c15u;

        for (uint32_t i = 0; i < WORDS; i++)
                mem[page * WORDS + i] = i % 3 == 0 ? seed * (i + 1) : seed;
}

static void read_value(uint64_t page) {
        uint64_t seed = (page << 24 | written[page]) * 0x9e3779b97f4a7c15u, sum = 0;

        for (uint32_t i = 0; i < WORDS; i += 8)
                sum |= mem[page * WORDS + i] ^ (i % 3 == 0 ? seed * (i + 1) : seed);
        wrong += sum != 0;
}

static void one_request(void) {
        uint64_t r = next_random(), page = (r >> 8) % n_pages;

        read_value(page);
        if (r % 10 == 0)
                write_value(page);
}

static int64_t total_kib(void) {
        static int fd = -1;
        char text[64] = "";

        if (fd < 0)
                fd = open("/proc/meminfo", O_RDONLY);
        if (pread(fd, text, sizeof(text) - 1, 0) <= 0)
                return 0;
        return strtoll(text + strlen("MemTotal:"), NULL, 10);
}

static void tell(const Server *s) {
        FILE *f = fopen("/run/swapserve.new", "w");

        if (!f)
                return;
        fprintf(f, "state=%s per_s=%llu full_per_s=%llu least_per_s=%llu recovery_ms=%lld wrong=%llu\n",
                state_name[s->state], (unsigned long long) s->now_per_s, (unsigned long long) s->full,
                (unsigned long long) s->least, (long long) s->recovery_msec, (unsigned long long) wrong);
        fclose(f);
        (void) rename("/run/swapserve.new", "/run/swapserve");
}

static int by_size(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

static void before(Server *s, int64_t kib) {
        if (s->n_windows < WARM_WINDOWS)
                s->window[s->n_windows++] = s->now_per_s;
        if (s->state == FILLING && s->n_windows == WARM_WINDOWS) {
                qsort(s->window, WARM_WINDOWS, sizeof(s->window[0]), by_size);
                s->least = s->full = s->window[WARM_WINDOWS / 2];
                s->total_kib = s->least_kib = kib;
                s->state = FULL;
        }
        if (s->state == FULL && kib < s->total_kib - MOVED_KIB)
                s->state = SQUEEZED;
}

static void after(Server *s, int64_t msec) {
        uint64_t sum = 0;

        memmove(s->last, s->last + 1, sizeof(s->last) - sizeof(s->last[0]));
        s->last[BACK_WINDOWS - 1] = s->now_per_s;
        for (uint32_t i = 0; i < BACK_WINDOWS; i++)
                sum += s->last[i];
        if (sum * 100 < s->full * BACK_WINDOWS * BACK_PERCENT)
                return;
        s->state = BACK;
        s->recovery_msec = msec - s->granted_msec - (int64_t) BACK_WINDOWS * WINDOW_MSEC;
        if (s->recovery_msec < 0)
                s->recovery_msec = 0;
}

static void end_window(Server *s, int64_t msec) {
        int64_t kib = total_kib();

        if (s->state < SQUEEZED)
                before(s, kib);
        if (s->state == SQUEEZED) {
                s->least = s->now_per_s < s->least ? s->now_per_s : s->least;
                s->least_kib = kib < s->least_kib ? kib : s->least_kib;
                if (kib > s->least_kib + MOVED_KIB) {
                        s->state = GRANTED;
                        s->granted_msec = msec;
                        memset(s->last, 0, sizeof(s->last));
                }
        } else if (s->state == GRANTED) {
                after(s, msec);
        }
        tell(s);
}

static void one_window(Server *s) {
        uint64_t n = 0, batch = s->state == SQUEEZED ? SLOW_BATCH : BATCH;
        int64_t begin = now_msec(), msec;

        do {
                for (uint64_t i = 0; i < batch; i++, n++)
                        one_request();
                msec = now_msec();
        } while (msec - begin < WINDOW_MSEC);
        s->now_per_s = n * 1000 / (uint64_t) (msec - begin);
        end_window(s, msec);
}

static void tell_job(const char *state, int64_t fill_msec, int64_t job_msec) {
        FILE *f = fopen("/run/swapserve.new", "w");

        if (!f)
                return;
        fprintf(f, "state=%s fill_ms=%lld job_ms=%lld wrong=%llu\n", state, (long long) fill_msec,
                (long long) job_msec, (unsigned long long) wrong);
        fclose(f);
        (void) rename("/run/swapserve.new", "/run/swapserve");
}

static void do_job(uint64_t n_requests) {
        int64_t begin = now_msec(), filled;

        tell_job("filling", 0, 0);
        for (uint64_t p = 0; p < n_pages; p++)
                write_value(p);
        filled = now_msec() - begin;
        tell_job("working", filled, 0);
        for (uint64_t i = 0; i < n_requests && !stop; i++) {
                one_request();
                if (i == n_requests / 2)
                        tell_job("half", filled, 0);
        }
        for (uint64_t p = 0; p < n_pages && !stop; p++)
                read_value(p);
        tell_job("done", filled, now_msec() - begin);
}

int main(int argc, char **argv) {
        Server s = { 0 };

        n_pages = argc == 2 || argc == 3 ? strtoull(argv[1], NULL, 10) * 256 : 0;
        mem = mmap(NULL, n_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        written = calloc(n_pages, sizeof(*written));
        if (n_pages == 0 || mem == MAP_FAILED || !written) {
                fprintf(stderr, "usage: swapserve MIB [REQUESTS]\n");
                return 2;
        }
        signal(SIGTERM, on_signal);
        if (argc == 3) {
                do_job(strtoull(argv[2], NULL, 10));
                return wrong > 0;
        }
        for (uint64_t p = 0; p < n_pages; p++)
                write_value(p);
        while (!stop && s.state != BACK)
                one_window(&s);
        return wrong > 0;
}
