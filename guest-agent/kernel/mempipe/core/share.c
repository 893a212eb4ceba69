// SPDX-License-Identifier: GPL-2.0-or-later
/* Share: see share.h. */
#include "share.h"

/* A claim is a peer's word: nobody can want more than there is. Keeps the sums below 2^32 * 2^32, too. */
static u32 floor_of(const struct mp_claim *claim, u32 total)
{
	return plain_min(claim->floor, total);
}

static u32 excess_of(const struct mp_claim *claim, u32 total)
{
	u32 floor = floor_of(claim, total), demand = plain_min(claim->demand, total);

	return demand > floor ? demand - floor : 0;
}

/* The part of `part` that falls to the claims whose wants add up to `wants`, rounded down: taken of running
 * sums, the differences add up to all of it.
 */
static u32 cut(u64 wants, u32 part, u64 all)
{
	return wants * part / all;
}

void mp_share(struct mp_claim *claims, u32 n, u32 total)
{
	u64 floors = 0, excess = 0, sum = 0;
	u32 i, rest, given = 0, upto;

	for (i = 0; i < n; i++) {
		floors += floor_of(&claims[i], total);
		excess += excess_of(&claims[i], total);
	}
	for (i = 0; i < n && floors > total; i++) {
		sum += floor_of(&claims[i], total);
		upto = cut(sum, total, floors);
		claims[i].share = upto - given;
		given = upto;
	}
	if (floors > total)
		return;
	rest = total - floors;
	for (i = 0; i < n; i++) {
		sum += excess_of(&claims[i], total);
		upto = excess > rest ? cut(sum, rest, excess) : sum;
		claims[i].share = floor_of(&claims[i], total) + upto - given;
		given = upto;
	}
}
