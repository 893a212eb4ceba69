/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lock: what code locks with that is compiled both into a kernel module and into programs (plain.h): spinlocks in
 * the kernel, mutexes in programs, so that tests with threads run what the kernel runs. Only irq locks are taken
 * in interrupts; who has one neither sleeps nor allocates.
 */
#pragma once

#ifdef __KERNEL__

#include <linux/spinlock.h>

typedef spinlock_t plain_lock_t;

#define plain_lock_init(lock) spin_lock_init(lock)
#define plain_lock(lock) spin_lock(lock)
#define plain_unlock(lock) spin_unlock(lock)

typedef spinlock_t plain_irq_lock_t;

#define plain_irq_lock_init(lock) spin_lock_init(lock)
#define plain_irq_unlock(lock, flags) spin_unlock_irqrestore(lock, flags)

static inline unsigned long plain_irq_lock(plain_irq_lock_t *lock)
{
	unsigned long flags;

	spin_lock_irqsave(lock, flags);
	return flags;
}

#else

#include <pthread.h>

typedef pthread_mutex_t plain_lock_t;

#define plain_lock_init(lock) ((void)pthread_mutex_init(lock, NULL))
#define plain_lock(lock) ((void)pthread_mutex_lock(lock))
#define plain_unlock(lock) ((void)pthread_mutex_unlock(lock))

typedef pthread_mutex_t plain_irq_lock_t;

#define plain_irq_lock_init(lock) plain_lock_init(lock)
#define plain_irq_unlock(lock, flags) ((void)(flags), plain_unlock(lock))

static inline unsigned long plain_irq_lock(plain_irq_lock_t *lock)
{
	plain_lock(lock);
	return 0;
}

#endif
