/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Fuzz target: the parsers of /proc/meminfo, of /proc/pressure/memory, and of single numbers. Whatever the text: no crash, values
 * in range, and nothing written on failure. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hypervisor/hostmem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int (*parse)(const char *, size_t, MlgRawHost *), const char *text, size_t len) {
        MlgRawHost before, host;

        memset(&before, 0x5a, sizeof(before));
        before.have_psi = false;
        host = before;
        if (parse(text, len, &host) < 0) {
                g_assert(memcmp(&host, &before, sizeof(host)) == 0);
                return;
        }
        if (host.have_psi)
                g_assert(host.psi_some_avg10_centi <= 10000 && host.psi_full_avg10_centi <= 10000);
        else
                g_assert(host.total_kib > 0 && host.hugetlb_free_kib <= host.hugetlb_kib &&
                         (!host.have_zswap || host.zswap_kib <= host.total_kib));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        uint64_t count = 7;
        /* A copy of the exact size: a read behind the end is found by the sanitizer. */
        g_autofree char *text = size > 0 ? g_memdup2(data, size) : NULL;

        check(mlg_hostmem_parse_meminfo, text ?: "", size);
        check(mlg_hostmem_parse_pressure, text ?: "", size);
        if (mlg_hostmem_parse_count(text ?: "", size, &count) < 0)
                g_assert(count == 7);
        return 0;
}
