/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ranges: what a program asks to have protected, as a list that can be worked on: sorted, without overlaps,
 * and without what it wants to be left alone. Pure.
 */
#pragma once

#include "../../common/plain.h"
#include "memlego/securestack-abi.h"

/* [from, to) */
struct ss_span {
	u64 from, to;
};

/* A secret is cut once more by each exception at most, so there is room for as many as ranges. */
struct ss_spans {
	u32 n;
	u64 bytes;
	struct ss_span span[MLG_SS_RANGES_MAX];
};

/* -EINVAL: no range or too many, an empty one, one that wraps around, an unknown flag. */
int ss_spans_of(const struct mlg_ss_range *range, u32 n, struct ss_spans *ret);
