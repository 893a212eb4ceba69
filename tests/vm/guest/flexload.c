/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flexload: more memory than the guest has, each page of which is told from all others and from its own
 * past.
 *
 *     flexload MIB PROCESSES     until SIGTERM; then every page is read once more, and the exit status says it all
 *
 * Each process fills its part, and then goes over it again and again, in order and at random, compares what
 * it finds, and writes a fifth of the pages anew. What a page should hold follows from its number and from
 * how often it was written, which is kept beside. One page in 16 is of one byte. /run/flexload has a line
 * of KEY=VALUE pairs. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / 8)
#define PROCESSES_MOST 16u
#define TOLD_USEC 100000u

typedef struct Counts {
        volatile uint64_t filled, read, written, passes, bad;
        volatile bool full;
} Counts;

static volatile sig_atomic_t want_stop;
static volatile bool *stop; /* shared with all */

static void on_signal(int sig) {
        (void) sig;
        want_stop = 1;
}

static uint64_t mix(uint64_t x) {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return x ^ (x >> 31);
}

static uint64_t seed_of(uint64_t page, uint32_t times) {
        return mix(page << 32 | times);
}

static uint64_t word_of(uint64_t seed, uint32_t i) {
        return seed % 16 == 0 ? (seed >> 8 & 0xff) * 0x0101010101010101u : seed * (i + 1) + i;
}

static void write_page(uint64_t *to, uint64_t seed) {
        for (uint32_t i = 0; i < WORDS; i++)
                to[i] = word_of(seed, i);
}

static bool page_is(const uint64_t *from, uint64_t seed) {
        for (uint32_t i = 0; i < WORDS; i++)
                if (from[i] != word_of(seed, i))
                        return false;
        return true;
}

typedef struct Part {
        uint64_t *mem;
        uint64_t first, n; /* pages; numbers are of all processes */
        uint32_t *times;
        Counts *counts;
        uint64_t random;
} Part;

static uint64_t *at(const Part *p, uint64_t i) { return p->mem + i * WORDS; }

static void look_at(Part *p, uint64_t i) {
        if (!page_is(at(p, i), seed_of(p->first + i, p->times[i]))) {
                if (p->counts->bad++ == 0)
                        fprintf(stderr, "page %llu, written %u times, begins with %llx\n",
                                (unsigned long long) (p->first + i), p->times[i], (unsigned long long) at(p, i)[0]);
        }
        p->counts->read++;
}

static void write_anew(Part *p, uint64_t i) {
        p->times[i]++;
        write_page(at(p, i), seed_of(p->first + i, p->times[i]));
        p->counts->written++;
}

static uint64_t next_random(Part *p) { return p->random = mix(p->random + 0x9e3779b97f4a7c15u); }

static int work(Part *p) {
        for (uint64_t i = 0; i < p->n && !*stop; i++) {
                write_anew(p, i);
                p->counts->filled++;
        }
        p->counts->full = p->counts->filled == p->n;
        for (uint64_t pass = 0; !*stop; pass++) {
                for (uint64_t k = 0; k < p->n && !*stop; k++) {
                        uint64_t i = pass % 2 ? next_random(p) % p->n : k;

                        look_at(p, i);
                        if (next_random(p) % 5 == 0)
                                write_anew(p, i);
                }
                p->counts->passes++;
        }
        for (uint64_t i = 0; i < p->counts->filled; i++)
                look_at(p, i);
        return p->counts->bad > 0;
}

static int start(uint32_t which, uint64_t pages, Counts *counts) {
        Part p = { .first = which * pages, .n = pages, .counts = counts, .random = which };

        p.mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        p.times = calloc(pages, sizeof(*p.times));
        if (p.mem == MAP_FAILED || !p.times) {
                perror("flexload: no memory");
                return 1;
        }
        return work(&p);
}

static void tell(const Counts *c, uint32_t n, const char *state) {
        Counts all = { .full = true };
        FILE *f = fopen("/run/flexload.new", "w");

        if (!f)
                return;
        for (uint32_t i = 0; i < n; i++) {
                all.filled += c[i].filled;
                all.read += c[i].read;
                all.written += c[i].written;
                all.passes += c[i].passes;
                all.bad += c[i].bad;
                all.full &= c[i].full;
        }
        if (all.full && strcmp(state, "filling") == 0)
                state = "full";
        fprintf(f, "state=%s filled=%llu read=%llu written=%llu passes=%llu bad=%llu\n", state,
                (unsigned long long) all.filled, (unsigned long long) all.read,
                (unsigned long long) all.written, (unsigned long long) all.passes,
                (unsigned long long) all.bad);
        fclose(f);
        (void) rename("/run/flexload.new", "/run/flexload");
}

int main(int argc, char **argv) {
        uint64_t mib = argc == 3 ? strtoull(argv[1], NULL, 10) : 0;
        uint32_t n = argc == 3 ? (uint32_t) strtoul(argv[2], NULL, 10) : 0, left, failed = 0;
        Counts *c = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (mib == 0 || n == 0 || n > PROCESSES_MOST || c == MAP_FAILED) {
                fprintf(stderr, "usage: flexload MIB PROCESSES\n");
                return 2;
        }
        stop = (bool *) (c + n);
        signal(SIGTERM, on_signal);
        for (uint32_t i = 0; i < n; i++)
                if (fork() == 0)
                        _exit(start(i, mib * 256 / n, &c[i]));
        for (left = n; left > 0;) {
                int status;
                pid_t pid = waitpid(-1, &status, WNOHANG);

                if (pid > 0) {
                        left--;
                        failed += status != 0;
                        continue;
                }
                *stop = want_stop || failed > 0;
                tell(c, n, *stop ? "stopping" : "filling");
                usleep(TOLD_USEC);
        }
        tell(c, n, failed ? "failed" : "done");
        return failed > 0;
}
