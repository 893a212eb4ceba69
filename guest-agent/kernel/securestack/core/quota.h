/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Quota: what all processes of one user may have in vaults. Threads take from it in advance and give back
 * late, so that a call in a loop does not fight for one word with those of other threads.
 */
#pragma once

#include "../../common/lock.h"
#include "../../common/plain.h"

#define SS_STOCK_BYTES 8192u /* of a thread: taken at once, and so much more than once is given back */

struct ss_quota {
	plain_lock_t lock;
	u64 bytes; /* taken */
};

/* `stock` is what the thread has taken and does not use. `max`: as of now, so that it can be changed at any
 * time.
 */
bool ss_quota_take(struct ss_quota *q, u64 *stock, u64 bytes, u64 max);
void ss_quota_give(struct ss_quota *q, u64 *stock, u64 bytes);
void ss_quota_settle(struct ss_quota *q, u64 *stock); /* gives all of the stock back */
