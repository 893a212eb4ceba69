/* SPDX-License-Identifier: GPL-2.0-or-later */
/* sscases: attacks on secrets on the stack, each tried twice: on a plain call, where it must succeed, or it
 * would show nothing, and on one that securestack.ko guards, where it must not, and where the secret must be
 * whole afterwards.
 *
 *     sscases [PART]...    of: reading forging frames limits racing measure; without any all but measure
 *
 * Each case is a line, "ok NAME: what was seen" or "BAD NAME: ..."; the last one is "N ok, N bad". Secrets
 * are made from a number, and are nowhere but where they are attacked. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "sscases.h"

int device;
uint8_t stolen[1 << 16];
volatile size_t n_stolen;

/* Shared with what is forked. */
static struct {
        int ok, bad;
} *count;

static uint64_t scramble(uint64_t v) {
        v = (v ^ (v >> 30)) * 0xbf58476d1ce4e5b9u;
        v = (v ^ (v >> 27)) * 0x94d049bb133111ebu;
        return v ^ (v >> 31);
}

static uint8_t secret_byte(uint64_t seed, size_t i) {
        return (uint8_t) (scramble(seed * 1000 + i / 8) >> 8 * (i % 8));
}

void secret_make(uint8_t *at, uint64_t seed) {
        for (size_t i = 0; i < SECRET_BYTES; i++)
                ((volatile uint8_t *) at)[i] = secret_byte(seed, i);
}

bool secret_is(const uint8_t *at, uint64_t seed) {
        for (size_t i = 0; i < SECRET_BYTES; i++)
                if (at[i] != secret_byte(seed, i))
                        return false;
        return true;
}

/* Any eight bytes of it, wherever. */
bool secret_in(const void *where, size_t bytes, uint64_t seed) {
        const uint8_t *at = where;

        for (size_t part = 0; part < SECRET_BYTES; part += 8) {
                uint64_t word = scramble(seed * 1000 + part / 8);

                if (memmem(at, bytes, &word, sizeof(word)))
                        return true;
        }
        return false;
}

void steal(const volatile void *from, size_t bytes) {
        const volatile uint8_t *at = from;

        for (size_t i = 0; i < bytes && n_stolen < sizeof(stolen); i++) {
                size_t n = n_stolen;

                stolen[n] = at[i];
                n_stolen = n + 1;
        }
}

int open_device(void) {
        int fd = open(MLG_SS_DEVICE, O_RDWR | O_CLOEXEC);

        if (fd < 0) {
                perror("sscases: " MLG_SS_DEVICE " (is securestack.ko loaded?)");
                exit(2);
        }
        return fd;
}

void report(const char *name, bool good, const char *format, ...) {
        va_list ap;

        printf("%s %s: ", good ? "ok" : "BAD", name);
        va_start(ap, format);
        vprintf(format, ap);
        va_end(ap);
        putchar('\n');
        fflush(stdout);
        if (good)
                count->ok++;
        else
                count->bad++;
}

long stat_of(const char *file, int field) {
        char path[64], line[256] = "", *word, *rest = line;
        FILE *f;

        snprintf(path, sizeof(path), "/sys/class/misc/securestack/%s", file);
        f = fopen(path, "re");
        if (!f || !fgets(line, sizeof(line), f)) {
                perror(path);
                exit(2);
        }
        fclose(f);
        while ((word = strsep(&rest, " \n")) && field > 1)
                field--;
        return word ? atol(word) : -1;
}

int main(int argc, char **argv) {
        static const struct {
                const char *name;
                void (*run)(void);
        } parts[] = {
                { "reading", cases_reading }, { "forging", cases_forging }, { "frames", cases_frames },
                { "limits", cases_limits },   { "racing", cases_racing },
                { "measure", measure },
        };
        const struct rlimit deep = { 64 << 20,
                                     64 << 20 }; /* ten thousand frames with a list of ranges each */

        count = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (count == MAP_FAILED || setrlimit(RLIMIT_STACK, &deep) < 0)
                return 2;
        device = open_device();
        for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
                bool wanted = argc == 1 && parts[i].run != measure;

                for (int k = 1; k < argc; k++)
                        wanted |= strcmp(argv[k], parts[i].name) == 0;
                if (wanted)
                        parts[i].run();
        }
        printf("%d ok, %d bad\n", count->ok, count->bad);
        return count->bad > 0;
}
