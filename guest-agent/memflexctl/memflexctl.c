/* SPDX-License-Identifier: GPL-2.0-or-later */
/* memflexctl: MemFlex inside a guest, by hand: its state, setting it up, and fast swap-in. */
#include "memflexctl.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

#ifndef MLG_VERSION
#define MLG_VERSION "0"
#endif

static int usage(FILE *to, int result) {
        fputs("memflexctl COMMAND [OPTIONS...]\n\n"
              "Swap into memory that the host lends (memflex.ko), seen from the guest.\n\n"
              "  status                  what is where, and what a swap-in does\n"
              "  setup [-b DISK] [-p N] [-w SEC]\n"
              "                          load the module with DISK behind it, and swap to it, with priority N (default: above\n"
              "                          all others); wait SEC for the host (default 10)\n"
              "  swap-in [-P PID] [-l MIB] [-W MIB] [--report]\n"
              "                          bring back what is swapped out, of all or of one process, at most MIB, and leave as much\n"
              "                          memory free (-W); --report prints KEY=VALUE pairs on the way\n"
              "  abort                   stop the swap-in that runs\n"
              "      --version           print the version\n"
              "  -h, --help              print this\n", to);
        return result;
}

/* ---- status ---- */

/* The numbers of one line; how many. */
static unsigned int numbers_of(const char *file, uint64_t *ret, unsigned int most) {
        char path[128], *text, *at, *end;
        unsigned int n = 0;

        (void) snprintf(path, sizeof(path), DEVICE_SYS "/%s", file);
        text = at = files_read(path);
        for (; n < most; n++, at = end) {
                ret[n] = strtoull(at, &end, 10);
                if (end == at)
                        break;
        }
        free(text);
        return n;
}

static uint64_t mib(uint64_t pages) {
        return pages * PAGE_KIB / 1024;
}

static void print_swap(void) {
        char *swaps = files_read("/proc/swaps");
        bool on = false;
        SwapLine s;

        for (char *line = swaps; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (plan_parse_swap(line, &s) && strcmp(s.path, DEVICE) == 0) {
                        printf("Swap: on, %" PRIu64 " of %" PRIu64 " MiB used, priority %d%s\n", s.used_kib / 1024, s.size_kib / 1024,
                               s.priority, s.priority < plan_priority(swaps, DEVICE) - 9 ? ": another device comes first" : "");
                        on = true;
                }
        if (!on)
                printf("Swap: off (memflexctl setup)\n");
        free(swaps);
}

int status(void) {
        uint64_t mm[4], wb[4], pool[6];

        if (numbers_of("mm_stat", mm, 4) < 4 || numbers_of("wb_stat", wb, 4) < 4 || numbers_of("pool_stat", pool, 6) < 6) {
                fprintf(stderr, "memflexctl: no " DEVICE_SYS ": is memflex loaded, and does the host lend this guest memory "
                                "(on the host: memlegoctl swap list)?\n");
                return STATUS_FAILED;
        }
        print_swap();
        printf("Pages: %" PRIu64 " MiB in lent memory, %" PRIu64 " MiB of one value, %" PRIu64 " MiB on the disk\n", mib(mm[0]), mib(mm[1]),
               mib(mm[2]));
        if (pool[4] == 0)
                printf("Lent: nothing, there is no pool now\n");
        else
                printf("Lent: %" PRIu64 " MiB, of it %" PRIu64 " MiB without a page; may have %" PRIu64 " MiB\n", pool[0] / 4, pool[1] / 4,
                       pool[3] / 4);
        if (wb[2] || mm[3])
                printf("Trouble: %" PRIu64 " errors, %" PRIu64 " pages lost with a pool\n", wb[2], mm[3]);
        swap_in_print();
        (void) setup_print_zswap();
        return 0;
}

/* ---- command line ---- */

static bool number(const char *text, uint64_t most, uint64_t *ret) {
        char *end;

        errno = 0;
        *ret = strtoull(text, &end, 10);
        if (*text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *ret <= most)
                return true;
        fprintf(stderr, "memflexctl: '%s': expected a number up to %" PRIu64 "\n", text, most);
        return false;
}

static int run_setup(int argc, char **argv) {
        static const struct option options[] = {
                { "backing", required_argument, NULL, 'b' }, { "priority", required_argument, NULL, 'p' },
                { "wait", required_argument, NULL, 'w' }, { NULL, 0, NULL, 0 },
        };
        SetupOptions o = { .priority = -1, .wait_sec = 10 };
        uint64_t v;
        int c;

        while ((c = getopt_long(argc, argv, "b:p:w:", options, NULL)) >= 0) {
                if (c == 'b')
                        o.backing = optarg;
                else if (c == 'p' && number(optarg, 32767, &v))
                        o.priority = (int) v;
                else if (c == 'w' && number(optarg, 3600, &v))
                        o.wait_sec = (unsigned int) v;
                else
                        return STATUS_USAGE;
        }
        return optind == argc ? setup(&o) : usage(stderr, STATUS_USAGE);
}

static int run_swap_in(int argc, char **argv) {
        static const struct option options[] = {
                { "pid", required_argument, NULL, 'P' }, { "limit", required_argument, NULL, 'l' },
                { "watermark", required_argument, NULL, 'W' }, { "report", no_argument, NULL, 'r' }, { NULL, 0, NULL, 0 },
        };
        SwapInOptions o = { .limit_kib = UINT64_MAX };
        uint64_t v = 0;
        int c;

        while ((c = getopt_long(argc, argv, "P:l:W:", options, NULL)) >= 0) {
                if (c == 'r')
                        o.report = true;
                else if (c == 'P' && number(optarg, INT32_MAX, &v) && v > 0)
                        o.pid = (int32_t) v;
                else if (c == 'l' && number(optarg, UINT64_MAX / 2048, &v))
                        o.limit_kib = v * 1024;
                else if (c == 'W' && number(optarg, UINT64_MAX / 4096, &v))
                        o.watermark_kib = v * 1024;
                else
                        return STATUS_USAGE;
        }
        return optind == argc ? swap_in(&o) : usage(stderr, STATUS_USAGE);
}

int main(int argc, char **argv) {
        const char *command = argc > 1 ? argv[1] : "";

        if (strcmp(command, "-h") == 0 || strcmp(command, "--help") == 0)
                return usage(stdout, 0);
        if (strcmp(command, "--version") == 0)
                return printf("memflexctl %s\n", MLG_VERSION) < 0;
        if (strcmp(command, "setup") == 0)
                return run_setup(argc - 1, argv + 1);
        if (strcmp(command, "swap-in") == 0)
                return run_swap_in(argc - 1, argv + 1);
        if (strcmp(command, "status") == 0 && argc == 2)
                return status();
        if (strcmp(command, "abort") == 0 && argc == 2)
                return swap_in_abort();
        return usage(stderr, STATUS_USAGE);
}
