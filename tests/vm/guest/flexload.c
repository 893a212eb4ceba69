/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flexload: more memory than the guest has, each page of which is told from all others and from its own
 * past.
 *
 *     flexload MIB PROCESSES [packs]     until SIGTERM; then every page is read once more: the exit status
 *
 * Each process fills its part, and then goes over it again and again, in order and at random, compares what
 * it finds, and writes a fifth of the pages anew. What a page should hold follows from its number and from
 * how often it was written, which is kept beside. One page in 16 is of one byte; with `packs` nine repeat
 * themselves after 256 to 1800 bytes. /run/flexload has a line of KEY=VALUE pairs.
 *
 * A page that cannot be read (SIGBUS) is left for the next time, and counted as refused. What a process needs itself is locked, so
 * that it is one of those pages. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pattern.h"

#define PROCESSES_MOST 16u
#define TOLD_USEC 100000u

typedef struct Counts {
        volatile uint64_t filled, read, written, passes, bad, refused;
        volatile bool full;
} Counts;

static volatile sig_atomic_t want_stop;
static volatile bool *stop; /* shared with all */

static void on_signal(int sig) {
        (void) sig;
        want_stop = 1;
}

typedef struct Part {
        uint64_t *mem;
        uint64_t first, n; /* pages; numbers are of all processes */
        uint32_t *times;
        Counts *counts;
        uint64_t random;
} Part;

static uint64_t *at(const Part *p, uint64_t i) { return p->mem + i * WORDS; }

static sigjmp_buf refused;

static void on_refused(int sig) {
        (void) sig;
        siglongjmp(refused, 1);
}

static void look_at(Part *p, uint64_t i) {
        if (p->times[i] > 0 && !page_is(at(p, i), seed_of(p->first + i, p->times[i]))) {
                if (p->counts->bad++ == 0)
                        fprintf(stderr, "page %llu, written %u times, begins with %llx\n",
                                (unsigned long long) (p->first + i), p->times[i], (unsigned long long) at(p, i)[0]);
        }
        p->counts->read++;
}

/* Of times 0 is what was not written wholly: nobody knows what is in there. */
static void write_anew(Part *p, uint64_t i) {
        uint32_t times = p->times[i] + 1;

        if (p->times[i] > 0)
                (void) *(volatile uint64_t *) at(p, i); /* it is there before anything is changed */
        p->times[i] = 0;
        write_page(at(p, i), seed_of(p->first + i, times));
        p->times[i] = times;
        p->counts->written++;
}

static void use(Part *p, uint64_t i, bool read, bool write) {
        if (sigsetjmp(refused, 0) != 0) {
                p->counts->refused++;
                return;
        }
        if (read)
                look_at(p, i);
        if (write)
                write_anew(p, i);
}

static int work(Part *p) {
        for (uint64_t i = 0; i < p->n && !*stop; i++) {
                use(p, i, false, true);
                p->counts->filled++;
        }
        p->counts->full = p->counts->filled == p->n;
        for (uint64_t pass = 0; !*stop; pass++) {
                for (uint64_t k = 0; k < p->n && !*stop; k++) {
                        uint64_t i = pass % 2 ? next_random(&p->random) % p->n : k;

                        use(p, i, true, next_random(&p->random) % 5 == 0);
                }
                p->counts->passes++;
        }
        for (uint64_t i = 0; i < p->counts->filled; i++)
                use(p, i, true, false);
        return p->counts->bad > 0;
}

/* Its handler is left by a jump. */
static void catch_refused(void) {
        struct sigaction action = { .sa_handler = on_refused, .sa_flags = SA_NODEFER };

        (void) sigaction(SIGBUS, &action, NULL);
}

static int start(uint32_t which, uint64_t pages, Counts *counts) {
        Part p = { .first = which * pages, .n = pages, .counts = counts, .random = which };

        p.times = calloc(pages, sizeof(*p.times));
        if (mlockall(MCL_CURRENT) < 0)
                perror("flexload: mlockall");
        p.mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        catch_refused();
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
                all.refused += c[i].refused;
                all.full &= c[i].full;
        }
        if (all.full && strcmp(state, "filling") == 0)
                state = "full";
        fprintf(f, "state=%s filled=%llu read=%llu written=%llu passes=%llu bad=%llu refused=%llu\n", state,
                (unsigned long long) all.filled, (unsigned long long) all.read,
                (unsigned long long) all.written, (unsigned long long) all.passes,
                (unsigned long long) all.bad, (unsigned long long) all.refused);
        fclose(f);
        (void) rename("/run/flexload.new", "/run/flexload");
}

int main(int argc, char **argv) {
        uint64_t mib = argc >= 3 ? strtoull(argv[1], NULL, 10) : 0;
        uint32_t n = argc >= 3 ? (uint32_t) strtoul(argv[2], NULL, 10) : 0, left, failed = 0;
        Counts *c = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (mib == 0 || n == 0 || n > PROCESSES_MOST || c == MAP_FAILED) {
                fprintf(stderr, "usage: flexload MIB PROCESSES [packs]\n");
                return 2;
        }
        (void) mlockall(MCL_CURRENT);
        pattern_packs = argc == 4 && strcmp(argv[3], "packs") == 0;
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
