// SPDX-License-Identifier: GPL-2.0-or-later
/* Demand: see demand.h. */
#include "demand.h"

void mp_demand_init(struct mp_demand *demand, u64 now_usec)
{
	memset(demand, 0, sizeof(*demand));
	demand->begin_usec = now_usec;
	demand->since_usec = now_usec;
}

/* Clocks of different processors may differ a little: time does not go back. */
static u64 pass(u64 *since_usec, u64 now_usec)
{
	u64 usec = now_usec > *since_usec ? now_usec - *since_usec : 0;

	*since_usec += usec;
	return usec;
}

void mp_demand_use(struct mp_demand *demand, u32 used, u64 now_usec)
{
	demand->area += pass(&demand->since_usec, now_usec) * demand->used;
	demand->used = used;
	demand->peak = plain_max(demand->peak, used);
}

void mp_demand_block(struct mp_demand *demand, u64 now_usec)
{
	demand->waited = true;
	if (demand->blocked)
		return;
	demand->blocked = true;
	demand->blocked_since_usec = now_usec;
}

void mp_demand_resume(struct mp_demand *demand, bool starved, u64 now_usec)
{
	if (!demand->blocked)
		return;
	demand->blocked_usec += pass(&demand->blocked_since_usec, now_usec);
	demand->blocked = false;
	demand->starved |= starved;
}

static u32 sample_256(struct mp_demand *demand, u64 window_usec)
{
	u64 mean_256 = window_usec > 0 ? demand->area * 256 / window_usec : demand->used * 256ULL;

	demand->mean = (mean_256 + 255) / 256;
	if (demand->waited && (demand->starved || demand->peak == 0))
		return plain_max(demand->peak, 1) * 512;
	if (demand->waited)
		return demand->peak * 256;
	return (3 * mean_256 + demand->peak * 256ULL) / 4;
}

u32 mp_demand_turn(struct mp_demand *demand, u32 most, u64 now_usec)
{
	u32 sample;

	mp_demand_use(demand, demand->used, now_usec);
	sample = sample_256(demand, pass(&demand->begin_usec, now_usec));
	if (sample >= demand->level_256)
		demand->level_256 = plain_min(sample, most * 256);
	else /* rounded up, so that it arrives */
		demand->level_256 -= (demand->level_256 - sample + MP_DEMAND_SHRINK - 1) / MP_DEMAND_SHRINK;
	if (demand->blocked)
		demand->blocked_usec += pass(&demand->blocked_since_usec, now_usec);
	demand->area = 0;
	demand->peak = demand->used;
	demand->waited = demand->blocked;
	demand->starved = false;
	return (demand->level_256 + 255) / 256;
}
