/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hostmem: see hostmem.h. The parsers take only what the kernel writes, to the letter; anything else is
 * -EBADMSG. */
#include "hypervisor/hostmem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "util/util.h"

/* meminfo of today's kernels has 1.5 KiB, pressure/memory 120 bytes. */
#define MEMINFO_MAX 16384
#define PRESSURE_MAX 1024
#define COUNT_MAX 64

struct MlgHostmem {
        int meminfo_fd;
        int pressure_fd; /* -1: no PSI */
        int ksm_sharing_fd, ksm_shared_fd; /* -1: no KSM */
        uint64_t page_kib;
        char text[MEMINFO_MAX];
};

/* What is left of the text. */
typedef struct Span {
        const char *at;
        const char *end;
} Span;

static bool take(Span *s, const char *word) {
        size_t len = strlen(word);

        if ((size_t) (s->end - s->at) < len || memcmp(s->at, word, len) != 0)
                return false;
        s->at += len;
        return true;
}

/* Decimal digits only; refuses what does not fit. */
static bool take_u64(Span *s, uint64_t *ret) {
        const char *start = s->at;
        uint64_t value = 0;

        for (; s->at < s->end && g_ascii_isdigit(*s->at); s->at++)
                if (__builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t) (*s->at - '0'), &value))
                        return false;
        *ret = value;
        return s->at > start;
}

/* The next line without its end, or false at the end of the text. */
static bool take_line(Span *s, Span *ret) {
        const char *newline;

        if (s->at == s->end)
                return false;
        newline = memchr(s->at, '\n', (size_t) (s->end - s->at));
        *ret = (Span) { .at = s->at, .end = newline ?: s->end };
        s->at = newline ? newline + 1 : s->end;
        return true;
}

/* "   123 kB" up to the end of the line */
static bool take_kib(Span *s, uint64_t *ret) {
        while (take(s, " "))
                ;
        return take_u64(s, ret) && take(s, " kB") && s->at == s->end;
}

/* "   123" up to the end of the line */
static bool take_count(Span *s, uint64_t *ret) {
        while (take(s, " "))
                ;
        return take_u64(s, ret) && s->at == s->end;
}

enum { TOTAL, FREE, AVAILABLE, SWAP_TOTAL, SWAP_FREE, HUGETLB, HUGE_FREE, HUGE_SIZE, ZSWAP, ZSWAPPED, N_KEYS };

static const struct {
        const char *name;
        bool (*take)(Span *s, uint64_t *ret);
} meminfo_keys[N_KEYS] = {
        [TOTAL] = { "MemTotal:", take_kib },
        [FREE] = { "MemFree:", take_kib },
        [AVAILABLE] = { "MemAvailable:", take_kib },
        [SWAP_TOTAL] = { "SwapTotal:", take_kib },
        [SWAP_FREE] = { "SwapFree:", take_kib },
        [HUGETLB] = { "Hugetlb:", take_kib },
        [HUGE_FREE] = { "HugePages_Free:", take_count },
        [HUGE_SIZE] = { "Hugepagesize:", take_kib },
        [ZSWAP] = { "Zswap:", take_kib },
        [ZSWAPPED] = { "Zswapped:", take_kib },
};

/* What the budget stands on is taken as it is; of the rest only what can be. */
static void take_values(const uint64_t values[static N_KEYS], bool have_zswap, MlgRawHost *ret) {
        uint64_t huge_free;

        ret->total_kib = values[TOTAL];
        ret->available_kib = values[AVAILABLE];
        ret->free_kib = values[FREE];
        ret->hugetlb_kib = values[HUGETLB];
        ret->swap_total_kib = values[SWAP_TOTAL];
        ret->swap_free_kib = values[SWAP_FREE];
        if (__builtin_mul_overflow(values[HUGE_FREE], values[HUGE_SIZE], &huge_free) || huge_free > values[HUGETLB])
                huge_free = 0;
        ret->hugetlb_free_kib = huge_free;
        /* What it holds has a place in swap, too. */
        ret->have_zswap = have_zswap && values[ZSWAP] <= values[TOTAL] && values[ZSWAPPED] <= values[SWAP_TOTAL];
        ret->zswap_kib = ret->have_zswap ? values[ZSWAP] : 0;
        ret->zswapped_kib = ret->have_zswap ? values[ZSWAPPED] : 0;
}

int mlg_hostmem_parse_meminfo(const char *text, size_t len, MlgRawHost *ret) {
        uint64_t values[N_KEYS] = {};
        bool found[N_KEYS] = {};
        Span rest = { .at = text, .end = text + len }, line;

        while (take_line(&rest, &line))
                for (int i = 0; i < N_KEYS; i++) {
                        if (!take(&line, meminfo_keys[i].name))
                                continue;
                        if (found[i] || !meminfo_keys[i].take(&line, &values[i]))
                                return -EBADMSG;
                        found[i] = true;
                        break;
                }
        if (!found[TOTAL] || !found[AVAILABLE] || values[TOTAL] == 0)
                return -EBADMSG;
        take_values(values, found[ZSWAP] && found[ZSWAPPED], ret);
        return 0;
}

int mlg_hostmem_parse_count(const char *text, size_t len, uint64_t *ret) {
        Span rest = { .at = text, .end = text + len }, line;
        uint64_t value;

        if (!take_line(&rest, &line) || !take_u64(&line, &value) || line.at != line.end || rest.at != rest.end)
                return -EBADMSG;
        *ret = value;
        return 0;
}

/* "12.34" -> 1234, at most 100.00 */
static bool take_centi(Span *s, uint32_t *ret) {
        uint64_t whole, hundredths;
        const char *point;

        if (!take_u64(s, &whole) || whole > 100 || !take(s, "."))
                return false;
        point = s->at;
        if (!take_u64(s, &hundredths) || s->at - point != 2)
                return false;
        if (whole * 100 + hundredths > 10000)
                return false;
        *ret = (uint32_t) (whole * 100 + hundredths);
        return true;
}

/* " avg10=0.00 avg60=0.00 avg300=0.00 total=0" up to the end of the line */
static bool take_pressure(Span *s, uint32_t *ret_avg10_centi, uint64_t *ret_total_usec) {
        uint32_t ignored;

        return take(s, " avg10=") && take_centi(s, ret_avg10_centi) &&
               take(s, " avg60=") && take_centi(s, &ignored) &&
               take(s, " avg300=") && take_centi(s, &ignored) &&
               take(s, " total=") && take_u64(s, ret_total_usec) && s->at == s->end;
}

int mlg_hostmem_parse_pressure(const char *text, size_t len, MlgRawHost *ret) {
        uint32_t some_centi, full_centi;
        uint64_t some_usec, full_usec;
        Span rest = { .at = text, .end = text + len }, line;

        if (!take_line(&rest, &line))
                return -EBADMSG;
        if (!take(&line, "some") || !take_pressure(&line, &some_centi, &some_usec))
                return -EBADMSG;
        full_centi = some_centi;
        full_usec = some_usec;
        if (take_line(&rest, &line) &&
            (!take(&line, "full") || !take_pressure(&line, &full_centi, &full_usec) || rest.at != rest.end))
                return -EBADMSG;

        ret->have_psi = true;
        ret->psi_some_avg10_centi = some_centi;
        ret->psi_full_avg10_centi = full_centi;
        ret->psi_some_total_usec = some_usec;
        ret->psi_full_total_usec = full_usec;
        return 0;
}

static int open_under(const char *root, const char *name) {
        g_autofree char *path = g_build_filename(root, name, NULL);
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

        return fd < 0 ? -errno : fd;
}

int mlg_hostmem_open(const char *proc_root, const char *sys_root, MlgHostmem **ret) {
        g_autoptr(MlgHostmem) h = g_new0(MlgHostmem, 1);

        h->pressure_fd = h->ksm_sharing_fd = h->ksm_shared_fd = -1;
        h->page_kib = (uint64_t) sysconf(_SC_PAGESIZE) / 1024;
        h->meminfo_fd = open_under(proc_root, "meminfo");
        if (h->meminfo_fd < 0)
                return h->meminfo_fd;
        h->pressure_fd = open_under(proc_root, "pressure/memory");
        if (h->pressure_fd < 0)
                h->pressure_fd = -1; /* kernel without PSI */
        h->ksm_sharing_fd = MAX(open_under(sys_root, "kernel/mm/ksm/pages_sharing"), -1);
        h->ksm_shared_fd = MAX(open_under(sys_root, "kernel/mm/ksm/pages_shared"), -1);
        *ret = g_steal_pointer(&h);
        return 0;
}

/* The whole file from its start; -EFBIG when it does not fit. */
static int read_all(int fd, char *text, size_t size, size_t *ret_len) {
        size_t len = 0;

        while (len < size) {
                ssize_t n = pread(fd, text + len, size - len, (off_t) len);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0) {
                        *ret_len = len;
                        return 0;
                }
                len += (size_t) n;
        }
        return -EFBIG;
}

static bool read_pages(MlgHostmem *h, int fd, uint64_t *ret_kib) {
        uint64_t pages;
        size_t len;

        return fd >= 0 && read_all(fd, h->text, COUNT_MAX, &len) >= 0 && mlg_hostmem_parse_count(h->text, len, &pages) >= 0 &&
               !__builtin_mul_overflow(pages, h->page_kib, ret_kib);
}

/* Shared pages are real ones; what they save may be more than the host has. */
static void read_ksm(MlgHostmem *h, MlgRawHost *host) {
        uint64_t saved, shared;

        if (!read_pages(h, h->ksm_sharing_fd, &saved) || !read_pages(h, h->ksm_shared_fd, &shared) ||
            shared > host->total_kib)
                return;
        host->have_ksm = true;
        host->ksm_saved_kib = saved;
        host->ksm_shared_kib = shared;
}

int mlg_hostmem_read(MlgHostmem *h, MlgRawHost *ret) {
        MlgRawHost host = {};
        size_t len = 0;
        int r;

        r = read_all(h->meminfo_fd, h->text, sizeof(h->text), &len);
        if (r < 0)
                return r;
        r = mlg_hostmem_parse_meminfo(h->text, len, &host);
        if (r < 0)
                return r;
        /* Pressure that cannot be read (psi=0 gives EOPNOTSUPP) is the same as none: the amounts are still
         * good. */
        if (h->pressure_fd >= 0 && read_all(h->pressure_fd, h->text, PRESSURE_MAX, &len) >= 0)
                (void) mlg_hostmem_parse_pressure(h->text, len, &host);
        read_ksm(h, &host);
        *ret = host;
        return 0;
}

MlgHostmem *mlg_hostmem_free(MlgHostmem *h) {
        if (!h)
                return NULL;
        mlg_close_fd(&h->meminfo_fd);
        mlg_close_fd(&h->pressure_fd);
        mlg_close_fd(&h->ksm_sharing_fd);
        mlg_close_fd(&h->ksm_shared_fd);
        g_free(h);
        return NULL;
}
