// SPDX-License-Identifier: GPL-2.0-or-later
#include "ranges.h"

/* Lists are short, and mostly sorted: by insertion. What overlaps or touches becomes one. */
static void add_span(struct ss_span *span, u32 *n, u64 from, u64 to)
{
	u32 at = *n, end;

	while (at > 0 && span[at - 1].from > from)
		at--;
	if (at > 0 && span[at - 1].to >= from)
		at--;
	for (end = at; end < *n && span[end].from <= to; end++) {
		from = from < span[end].from ? from : span[end].from;
		to = to > span[end].to ? to : span[end].to;
	}
	if (end < *n)
		memmove(&span[at + 1], &span[end], (*n - end) * sizeof(*span));
	span[at] = (struct ss_span){from, to};
	*n = *n + 1 - (end - at);
}

static int check_range(const struct mlg_ss_range *range)
{
	if (range->bytes == 0 || (range->flags & ~MLG_SS_EXCEPTION))
		return -EINVAL;
	return range->address > ~0ULL - range->bytes ? -EINVAL : 0;
}

static void put_span(struct ss_spans *to, u64 from, u64 end)
{
	if (from >= end)
		return;
	to->span[to->n++] = (struct ss_span){from, end};
	to->bytes += end - from;
}

/* Cuts sorted exceptions out of the sorted secrets that are in ret->span. They are moved to the end first,
 * so that what is put in front never overtakes them: each exception, and each secret, makes one piece more
 * at most.
 */
static void cut(struct ss_spans *ret, const struct ss_span *except, u32 n_except)
{
	u32 n_secret = ret->n;
	struct ss_span *secret = &ret->span[MLG_SS_RANGES_MAX - n_secret];
	u32 i, x = 0;

	memmove(secret, ret->span, n_secret * sizeof(*secret));
	ret->n = 0;
	ret->bytes = 0;
	for (i = 0; i < n_secret; i++) {
		struct ss_span s = secret[i];

		while (x < n_except && except[x].to <= s.from)
			x++;
		while (x < n_except && except[x].from < s.to) {
			put_span(ret, s.from, except[x].from);
			s.from = except[x].to;
			if (s.from > s.to)
				break; /* it reaches beyond: the next secret has to do with it as well */
			x++;
		}
		put_span(ret, s.from, s.to);
	}
}

/* Apart, as most calls have none, and its list is long. */
static plain_noinline void cut_exceptions(const struct mlg_ss_range *range, u32 n, struct ss_spans *ret)
{
	struct ss_span except[MLG_SS_RANGES_MAX];
	u32 i, n_except = 0;

	for (i = 0; i < n; i++)
		if (range[i].flags & MLG_SS_EXCEPTION)
			add_span(except, &n_except, range[i].address, range[i].address + range[i].bytes);
	cut(ret, except, n_except);
}

int ss_spans_of(const struct mlg_ss_range *range, u32 n, struct ss_spans *ret)
{
	bool is_cut = false;
	u32 i;

	if (n == 0 || n > MLG_SS_RANGES_MAX)
		return -EINVAL;
	ret->n = 0;
	for (i = 0; i < n; i++) {
		if (check_range(&range[i]) < 0)
			return -EINVAL;
		if (range[i].flags & MLG_SS_EXCEPTION)
			is_cut = true;
		else
			add_span(ret->span, &ret->n, range[i].address, range[i].address + range[i].bytes);
	}
	if (is_cut) {
		cut_exceptions(range, n, ret);
		return 0;
	}
	ret->bytes = 0;
	for (i = 0; i < ret->n; i++)
		ret->bytes += ret->span[i].to - ret->span[i].from;
	return 0;
}
