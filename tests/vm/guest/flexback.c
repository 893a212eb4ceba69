/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flexback: how a program finds its memory again that was swapped out.
 *
 *     flexback MIB     SIGUSR1: it touches every page in order, and compares; SIGUSR2: it writes each anew; SIGTERM: the end
 *
 * /run/flexback has a line of KEY=VALUE pairs: what was done last, how often, and what it took. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / 8)

typedef struct Took {
        uint64_t usec;
        long major, minor;
} Took;

static Took taken(void) {
        struct timespec t;
        struct rusage r;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        (void) getrusage(RUSAGE_SELF, &r);
        return (Took) { (uint64_t) t.tv_sec * 1000000 + (uint64_t) t.tv_nsec / 1000, r.ru_majflt, r.ru_minflt };
}

static uint64_t word_of(uint64_t page, uint64_t times) {
        return (page * 1000003 + times) * 0x9e3779b97f4a7c15u | 1;
}

static void write_all(uint64_t *mem, uint64_t pages, uint64_t times) {
        for (uint64_t i = 0; i < pages; i++)
                for (uint32_t k = 0; k < WORDS; k++)
                        mem[i * WORDS + k] = word_of(i, times) * (k + 1);
}

/* First and last word: so a touch takes little beside the fault. */
static uint64_t touch_all(const uint64_t *mem, uint64_t pages, uint64_t times) {
        uint64_t bad = 0;

        for (uint64_t i = 0; i < pages; i++)
                bad += mem[i * WORDS] != word_of(i, times) || mem[i * WORDS + WORDS - 1] != word_of(i, times) * WORDS;
        return bad;
}

static void tell(const char *did, unsigned int n, const Took *a, const Took *b, uint64_t bad) {
        FILE *f = fopen("/run/flexback.new", "w");

        if (!f)
                return;
        fprintf(f, "did=%s n=%u usec=%llu major=%ld minor=%ld bad=%llu\n", did, n, (unsigned long long) (b->usec - a->usec),
                b->major - a->major, b->minor - a->minor, (unsigned long long) bad);
        (void) fclose(f);
        (void) rename("/run/flexback.new", "/run/flexback");
}

int main(int argc, char **argv) {
        uint64_t pages = (argc > 1 ? strtoull(argv[1], NULL, 10) : 0) * 256, times = 1, bad = 0;
        uint64_t *mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        sigset_t set;
        int what = SIGUSR2;

        if (pages == 0 || mem == MAP_FAILED) {
                perror("flexback MIB");
                return 2;
        }
        (void) madvise(mem, pages * PAGE, MADV_NOHUGEPAGE);
        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGUSR1);
        (void) sigaddset(&set, SIGUSR2);
        (void) sigaddset(&set, SIGTERM);
        (void) sigprocmask(SIG_BLOCK, &set, NULL);
        for (unsigned int n = 1; what != SIGTERM; n++) {
                Took before = taken(), after;

                if (what == SIGUSR2)
                        write_all(mem, pages, ++times);
                else
                        bad += touch_all(mem, pages, times);
                after = taken();
                tell(what == SIGUSR2 ? "wrote" : "touched", n, &before, &after, bad);
                (void) sigwait(&set, &what);
        }
        return bad > 0;
}
