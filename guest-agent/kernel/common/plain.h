/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Plain: one set of names for code that is compiled both into a kernel module and into programs (tests,
 * fuzzers, benches).
 *
 * In a program the kernel's accessors are GCC's atomics, so that ThreadSanitizer understands them. Whatever
 * two sides share is touched through these names only; what they order is said where they are used.
 */
#pragma once

#ifdef __KERNEL__

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/errno.h>
#include <linux/minmax.h>
#include <linux/string.h>
#include <linux/types.h>
#include <asm/barrier.h>
#include <asm/sync_bitops.h>

#define plain_noinline noinline

/* Both are for words that another guest changes as well. A kernel that finds itself on one processor patches
 * the lock prefixes out of its own atomics and those of its modules, and knows of no processors but its own:
 * so the bit is set by what was made for Xen's guests, who had the same trouble; xchg needs no prefix.
 */
#define plain_xchg(p, v) xchg((p), (v))

/* Sets bit `nr`; whether it was set before. A full barrier. The words are u64, which are longs on 64-bit
 * machines.
 */
static inline bool plain_test_and_set_bit(u32 nr, u64 *words)
{
	return sync_test_and_set_bit(nr, (unsigned long *)words);
}

#else

#include <errno.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;

#define plain_noinline __attribute__((noinline))
#define READ_ONCE(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define WRITE_ONCE(x, v) __atomic_store_n(&(x), (v), __ATOMIC_RELAXED)
#define smp_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define smp_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define plain_xchg(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PLAIN_TSAN 1
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define PLAIN_TSAN 1
#endif

/* ThreadSanitizer does not know fences (and GCC says so, loudly). None of ours makes ordinary accesses safe:
 * those are ordered by acquire and release; so there it is enough that the processor obeys.
 */
static inline void smp_mb(void)
{
#if defined(PLAIN_TSAN) && defined(__x86_64__)
	__asm__ volatile("mfence" ::: "memory");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

static inline bool plain_test_and_set_bit(u32 nr, u64 *words)
{
	u64 bit = 1ULL << (nr % 64);

	return __atomic_fetch_or(&words[nr / 64], bit, __ATOMIC_SEQ_CST) & bit;
}

#endif

static inline u32 plain_min(u32 a, u32 b)
{
	return a < b ? a : b;
}

static inline u32 plain_max(u32 a, u32 b)
{
	return a > b ? a : b;
}
