/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Setup: the module with its disk, a swap header, and swapping to it before all other devices. Each step is left out that is done
 * already, but for the header: what is in lent memory does not survive a restart of the guest, so it is written each time. */
#include "memflexctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "files.h"

#define PAGE_BYTES 4096u
#define PARAMETER "/sys/module/memflex/parameters/backing"
#define ZSWAP "/sys/module/zswap/parameters/enabled"

/* Version 1 of the kernel's header for swap: 1024 bytes for a boot loader, then this; the mark is at the page's end. */
typedef struct SwapHeader {
        char boot[1024];
        uint32_t version, last_page, n_bad;
        char rest[PAGE_BYTES - 1024 - 3 * sizeof(uint32_t) - 10];
        char mark[10];
} SwapHeader;

_Static_assert(sizeof(SwapHeader) == PAGE_BYTES, "a page");

static int complain(const char *what, const char *why) {
        fprintf(stderr, "memflexctl: %s: %s\n", what, why);
        return STATUS_FAILED;
}

bool setup_print_zswap(void) {
        char *text = files_read(ZSWAP);
        bool on = text[0] == 'Y' || text[0] == '1';

        free(text);
        if (on)
                fprintf(stderr, "memflexctl: zswap is on: it stands before every swap device and keeps pages in the guest's own memory, so "
                                "little reaches lent memory. Switch it off: echo N >" ZSWAP ", and for good by zswap.enabled=0 on the "
                                "kernel's command line.\n");
        return on;
}

/* ---- the module ---- */

static bool is_same_disk(const char *a, const char *b) {
        struct stat x, y;

        return strcmp(a, b) == 0 || (stat(a, &x) == 0 && stat(b, &y) == 0 && S_ISBLK(x.st_mode) && S_ISBLK(y.st_mode) &&
                                     x.st_rdev == y.st_rdev);
}

/* What it was loaded with holds until it is unloaded. */
static int check_backing(const char *want) {
        char *has = files_read(PARAMETER);
        int r = 0;

        has[strcspn(has, "\n")] = '\0';
        if (want && !is_same_disk(has, want)) {
                fprintf(stderr, "memflexctl: memflex is loaded with %s as its disk, not %s: swapoff " DEVICE ", rmmod memflex, and try again\n",
                        has[0] && strcmp(has, "(null)") != 0 ? has : "none", want);
                r = STATUS_FAILED;
        }
        free(has);
        return r;
}

static int load(const char *backing) {
        char parameter[512] = "";
        pid_t pid;
        int how = 0;

        if (backing && snprintf(parameter, sizeof(parameter), "backing=%s", backing) >= (int) sizeof(parameter))
                return complain("cannot load memflex", "the disk's path is too long");
        pid = fork();
        if (pid == 0) {
                (void) execlp("modprobe", "modprobe", "memflex", backing ? parameter : NULL, NULL);
                _exit(127);
        }
        if (pid < 0 || waitpid(pid, &how, 0) < 0)
                return complain("cannot run modprobe", strerror(errno));
        return how == 0 ? 0 : complain("cannot load memflex", "see dmesg; the disk must be nobody else's, no swap nor file system in use");
}

static int wait_for_device(unsigned int sec) {
        for (unsigned int i = 0; i < sec * 10 && access(DEVICE, F_OK) < 0; i++)
                (void) usleep(100000);
        if (access(DEVICE, F_OK) == 0)
                return 0;
        return complain("no " DEVICE, "the host lends this guest no memory, or its device for it is not there "
                                      "(on the host: memlegoctl swap list), or the disk could not be opened (dmesg)");
}

/* ---- swap ---- */

static int write_header(void) {
        SwapHeader h = { .version = 1, .mark = { 'S', 'W', 'A', 'P', 'S', 'P', 'A', 'C', 'E', '2' } };
        int fd = open(DEVICE, O_RDWR | O_EXCL | O_CLOEXEC);
        uint64_t sectors;
        bool ok;

        if (fd < 0)
                return complain("cannot open " DEVICE " for us alone", strerror(errno));
        ok = files_number(DEVICE_SYS "/size", &sectors) && sectors / 8 >= 10;
        h.last_page = (uint32_t) (sectors / 8 - 1);
        ok = ok && pwrite(fd, &h, sizeof(h), 0) == (ssize_t) sizeof(h) && fsync(fd) == 0;
        (void) close(fd);
        return ok ? 0 : complain("cannot write a swap header to " DEVICE, "it is too small, or neither lent memory nor a disk takes it");
}

static int swap_on(int priority) {
        char *swaps = files_read("/proc/swaps");
        int above = plan_priority(swaps, DEVICE), r = 0;

        free(swaps);
        if (priority < 0)
                priority = above < 0 ? SWAP_FLAG_PRIO_MASK : above;
        else if (above < 0 || priority < above - 9)
                fprintf(stderr, "memflexctl: another swap device has a priority of no less than %d: the guest does not swap to lent memory "
                                "first\n", priority);
        if (swapon(DEVICE, SWAP_FLAG_PREFER | (priority << SWAP_FLAG_PRIO_SHIFT & SWAP_FLAG_PRIO_MASK)) < 0)
                r = complain("cannot swap to " DEVICE, strerror(errno));
        else
                printf("The guest swaps to " DEVICE ", with priority %d\n", priority);
        return r;
}

static bool is_on(void) {
        char *swaps = files_read("/proc/swaps");
        uint32_t type;
        bool any, on = plan_type_of(swaps, DEVICE, &type, &any);

        free(swaps);
        return on;
}

int setup(const SetupOptions *o) {
        int r = access("/sys/module/memflex", F_OK) == 0 ? check_backing(o->backing) : load(o->backing);

        (void) setup_print_zswap();
        if (r == 0 && is_on()) {
                printf("The guest swaps to " DEVICE " already\n");
                return 0;
        }
        if (r == 0)
                r = wait_for_device(o->wait_sec);
        if (r == 0)
                r = write_header();
        return r == 0 ? swap_on(o->priority) : r;
}
