/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sum: by which a page is known again: crc32c, without the inversions at its two ends. In the kernel its
 * own, which every kernel has built in; in programs an instruction of the processor's, or a slow loop.
 */
#pragma once

#include "../../common/plain.h"

#ifdef __KERNEL__

#include <linux/crc32.h>

static inline u32 mf_crc32c(u32 crc, const void *bytes, u32 n)
{
	return __crc32c_le(crc, bytes, n);
}

#elif defined(__x86_64__)

__attribute__((target("sse4.2"))) static inline u32 mf_crc32c(u32 crc, const void *bytes, u32 n)
{
	const u8 *at = bytes;
	u64 word, all = crc;

	for (; n >= sizeof(word); n -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		all = __builtin_ia32_crc32di(all, word);
	}
	for (; n > 0; n--)
		all = __builtin_ia32_crc32qi((u32)all, *at++);
	return (u32)all;
}

#else

static inline u32 mf_crc32c(u32 crc, const void *bytes, u32 n)
{
	static const u32 of_nibble[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	const u8 *byte = bytes;
	u32 i;

	for (i = 0; i < n; i++) {
		crc ^= byte[i];
		crc = crc >> 4 ^ of_nibble[crc & 15];
		crc = crc >> 4 ^ of_nibble[crc & 15];
	}
	return crc;
}

#endif

/* Of a page of 4 KiB. */
static inline u32 mf_sum(const void *page)
{
	return mf_crc32c(~0u, page, 4096);
}

/* Of several pages, in their order: that of those before, and of the next. */
static inline u32 mf_sum_on(u32 before, u32 sum)
{
	return before * 0x9e3779b1u + sum;
}
