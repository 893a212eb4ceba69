/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Share: divides chunks by demand. Used by a guest among its pipes and by the host among its guests, so that
 * both mean the same by a fair share. A pure function.
 */
#pragma once

#include "../../common/plain.h"

/* One who wants something; `share` is the result. */
struct mp_claim {
	u32 demand;
	u32 floor; /* that much before anybody gets more, whatever the demand */
	u32 share;
};

/* Everybody gets the floor, and of the rest, if it does not do, a part in proportion to the demand beyond
 * the floor. What nobody demands is not given to anybody. If there is not enough for the floors, these are
 * cut in proportion. The shares add up to `total` at most, to all of it if there is less than is wanted.
 * O(n).
 */
void mp_share(struct mp_claim *claims, u32 n, u32 total);
