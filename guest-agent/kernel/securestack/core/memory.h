/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory: where entries come from. In the kernel it is counted as its user's cgroup's; tests have their own,
 * which fails when they want it to, and looks whether what is freed was wiped.
 */
#pragma once

#ifdef __KERNEL__

#include <linux/slab.h>

static inline void *ss_alloc(size_t bytes)
{
	return kvmalloc(bytes, GFP_KERNEL_ACCOUNT);
}

static inline void ss_free(void *p, size_t bytes)
{
	kvfree(p);
}

static inline void ss_wipe(void *p, size_t bytes)
{
	memzero_explicit(p, bytes);
}

#else

#include <stddef.h>
#include <string.h>

void *ss_alloc(size_t bytes);
void ss_free(void *p, size_t bytes);

static inline void ss_wipe(void *p, size_t bytes)
{
	memset(p, 0, bytes);
	__asm__ volatile("" ::"r"(p) : "memory");
}

#endif
