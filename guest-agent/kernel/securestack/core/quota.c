// SPDX-License-Identifier: GPL-2.0-or-later
#include "quota.h"

static bool take(struct ss_quota *q, u64 bytes, u64 max)
{
	bool fits;

	plain_lock(&q->lock);
	fits = bytes <= max && q->bytes <= max - bytes;
	if (fits)
		WRITE_ONCE(q->bytes, q->bytes + bytes);
	plain_unlock(&q->lock);
	return fits;
}

static void give(struct ss_quota *q, u64 bytes)
{
	plain_lock(&q->lock);
	WRITE_ONCE(q->bytes, q->bytes - bytes);
	plain_unlock(&q->lock);
}

bool ss_quota_take(struct ss_quota *q, u64 *stock, u64 bytes, u64 max)
{
	u64 lacks;

	if (*stock >= bytes) {
		*stock -= bytes;
		return true;
	}
	lacks = bytes - *stock;
	if (take(q, lacks + SS_STOCK_BYTES, max))
		*stock = SS_STOCK_BYTES;
	else if (take(q, lacks, max))
		*stock = 0;
	else
		return false;
	return true;
}

void ss_quota_give(struct ss_quota *q, u64 *stock, u64 bytes)
{
	*stock += bytes;
	if (*stock <= 2 * SS_STOCK_BYTES)
		return;
	give(q, *stock - SS_STOCK_BYTES);
	*stock = SS_STOCK_BYTES;
}

void ss_quota_settle(struct ss_quota *q, u64 *stock)
{
	if (*stock > 0)
		give(q, *stock);
	*stock = 0;
}
