/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gstall: says on the console when tasks of this guest first wait for memory, within a few milliseconds.
 *
 * `gstall TEXT` notes the kernel's sum of stalls, looks at it again every 2 ms, and writes "TEXT" as a line to /dev/ttyS0
 * when it has grown by a millisecond; then it ends. It is locked in memory and goes before all others, or it would wait
 * itself. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LEAST_USEC 1000u

static unsigned long long stalled_usec(int fd) {
        char text[256];
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        const char *total;

        text[n > 0 ? n : 0] = 0;
        total = strstr(text, "total=");
        return total ? strtoull(total + 6, NULL, 10) : 0;
}

int main(int argc, char **argv) {
        int psi = open("/proc/pressure/memory", O_RDONLY), console = open("/dev/ttyS0", O_WRONLY | O_NOCTTY);
        unsigned long long before;
        char line[128];
        int n;

        if (argc != 2 || psi < 0 || console < 0) {
                perror("gstall");
                return 1;
        }
        n = snprintf(line, sizeof line, "\n%s\n", argv[1]);
        (void) mlockall(MCL_CURRENT | MCL_FUTURE);
        (void) setpriority(PRIO_PROCESS, 0, -20);
        before = stalled_usec(psi);
        while (stalled_usec(psi) < before + LEAST_USEC)
                nanosleep(&(struct timespec) { 0, 2000000 }, NULL);
        return write(console, line, (size_t) n) == n ? 0 : 1;
}
