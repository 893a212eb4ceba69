/* SPDX-License-Identifier: GPL-2.0-or-later */
/* flexpage: so much memory, each page of which is told from all others, and swapped out at once.
 *
 *     flexpage MIB     until SIGTERM
 *
 * At each SIGUSR1 all pages are read, and swapped out again; /run/flexpage then has "looks=N right=N wrong=N
 * bus=N": how often that was, and how many pages were as written, were anything else, or could not be had
 * (SIGBUS). */
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / 8)
#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21
#endif

static sigjmp_buf no_page;
static volatile uint64_t right, wrong, bus; /* pages, at the last look */

static void on_bus(int sig) {
        (void) sig;
        siglongjmp(no_page, 1);
}

/* Half of each page is alike, as in programs it is. */
static uint64_t word_of(uint64_t page, uint32_t i) {
        return i < WORDS / 2 ? page + 1 : (page + 1) * 0x9e3779b97f4a7c15u * (i + 1);
}

static void tell(uint64_t looks) {
        FILE *f = fopen("/run/flexpage.new", "w");

        if (!f)
                return;
        fprintf(f, "looks=%llu right=%llu wrong=%llu bus=%llu\n", (unsigned long long) looks,
                (unsigned long long) right, (unsigned long long) wrong, (unsigned long long) bus);
        fclose(f);
        (void) rename("/run/flexpage.new", "/run/flexpage");
}

static int is_right(const uint64_t *from, uint64_t page) {
        for (uint32_t i = 0; i < WORDS; i++)
                if (from[i] != word_of(page, i))
                        return 0;
        return 1;
}

static void look(const uint64_t *mem, uint64_t n) {
        right = wrong = bus = 0;
        for (volatile uint64_t i = 0; i < n; i++) {
                if (sigsetjmp(no_page, 1) != 0)
                        bus++;
                else if (is_right(mem + i * WORDS, i))
                        right++;
                else
                        wrong++;
        }
}

int main(int argc, char **argv) {
        uint64_t n = argc == 2 ? strtoull(argv[1], NULL, 10) * (1u << 20) / PAGE : 0;
        uint64_t *mem = mmap(NULL, n * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        sigset_t usr1;
        int sig;

        if (n == 0 || mem == MAP_FAILED) {
                fprintf(stderr, "usage: flexpage MIB\n");
                return 2;
        }
        sigemptyset(&usr1);
        sigaddset(&usr1, SIGUSR1);
        sigprocmask(SIG_BLOCK, &usr1, NULL);
        signal(SIGBUS, on_bus);
        for (uint64_t i = 0; i < n; i++)
                for (uint32_t k = 0; k < WORDS; k++)
                        mem[i * WORDS + k] = word_of(i, k);
        for (uint64_t looks = 0;; looks++) {
                if (looks > 0)
                        look(mem, n);
                if (madvise(mem, n * PAGE, MADV_PAGEOUT) < 0)
                        perror("flexpage: cannot be swapped out");
                tell(looks);
                if (sigwait(&usr1, &sig) != 0)
                        return 1;
        }
}
