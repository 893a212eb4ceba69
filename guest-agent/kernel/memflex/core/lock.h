/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lock: what the store locks with: spinlocks in the kernel, mutexes in programs, so that tests with threads
 * run what the kernel runs. Only irq locks are taken in interrupts; who has one neither sleeps nor allocates.
 */
#pragma once

#ifdef __KERNEL__

#include <linux/spinlock.h>

typedef spinlock_t mf_lock_t;

#define mf_lock_init(lock) spin_lock_init(lock)
#define mf_lock(lock) spin_lock(lock)
#define mf_unlock(lock) spin_unlock(lock)

typedef spinlock_t mf_irq_lock_t;

#define mf_irq_lock_init(lock) spin_lock_init(lock)
#define mf_irq_unlock(lock, flags) spin_unlock_irqrestore(lock, flags)

static inline unsigned long mf_irq_lock(mf_irq_lock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

#else

#include <pthread.h>

typedef pthread_mutex_t mf_lock_t;

#define mf_lock_init(lock) ((void)pthread_mutex_init(lock, NULL))
#define mf_lock(lock) ((void)pthread_mutex_lock(lock))
#define mf_unlock(lock) ((void)pthread_mutex_unlock(lock))

typedef pthread_mutex_t mf_irq_lock_t;

#define mf_irq_lock_init(lock) mf_lock_init(lock)
#define mf_irq_unlock(lock, flags) ((void)(flags), mf_unlock(lock))

static inline unsigned long mf_irq_lock(mf_irq_lock_t *lock)
{
	mf_lock(lock);
	return 0;
}

#endif
