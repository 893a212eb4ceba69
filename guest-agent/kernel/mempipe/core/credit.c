// SPDX-License-Identifier: GPL-2.0-or-later
/* Credit: see credit.h. */
#include "credit.h"

/* One chunk in so many is kept free for pipes below their share. Chunks come back within the time that a
 * reader needs for one, so few do; to keep all that are promised leaves a fifth of them unused in a
 * simulation of 64 pipes.
 */
#define KEPT_PART 32

static bool get_bit(const u64 *words, u32 nr)
{
	return words[nr / 64] >> (nr % 64) & 1;
}

static void set_bit_to(u64 *words, u32 nr, bool value)
{
	u64 bit = 1ULL << (nr % 64);

	words[nr / 64] = value ? words[nr / 64] | bit : words[nr / 64] & ~bit;
}

static u32 unmet(const struct mp_pipe_credit *pipe)
{
	return pipe->share > pipe->has ? pipe->share - pipe->has : 0;
}

void mp_credit_init(struct mp_credit *credit, u64 *held, u64 *free, u64 *touched, u32 n_chunks, u64 now_usec)
{
	memset(credit, 0, sizeof(*credit));
	credit->held = held;
	credit->free = free;
	credit->touched = touched;
	credit->n_chunks = n_chunks;
	mp_demand_init(&credit->demand, now_usec);
}

void mp_pipe_credit_init(struct mp_pipe_credit *pipe, u64 now_usec)
{
	memset(pipe, 0, sizeof(*pipe));
	mp_demand_init(&pipe->demand, now_usec);
}

static void set_free(struct mp_credit *credit, u32 chunk)
{
	set_bit_to(credit->free, chunk, true);
	credit->n_free++;
	credit->hint = plain_min(credit->hint, chunk / 64);
}

u32 mp_credit_grant(struct mp_credit *credit, u32 first, u32 count)
{
	u32 chunk, n_new = 0;

	for (chunk = first; chunk - first < count; chunk++) {
		if (get_bit(credit->held, chunk))
			continue;
		set_bit_to(credit->held, chunk, true);
		credit->n_held++;
		set_free(credit, chunk);
		n_new++;
	}
	return n_new;
}

/* The lowest free one: chunks that were just read are still in caches, and the high ones can be returned. */
static u32 lowest_free(struct mp_credit *credit)
{
	while (credit->free[credit->hint] == 0)
		credit->hint++;
	return credit->hint * 64 + (u32)__builtin_ctzll(credit->free[credit->hint]);
}

/* Moves a pipe's numbers, keeping `promised` right. */
static void set_pipe(struct mp_credit *credit, struct mp_pipe_credit *pipe, u32 has, u32 share)
{
	credit->promised -= unmet(pipe);
	pipe->has = has;
	pipe->share = share;
	credit->promised += unmet(pipe);
}

static void count_use(struct mp_credit *credit, struct mp_pipe_credit *pipe, u64 now_usec)
{
	mp_demand_use(&pipe->demand, pipe->has, now_usec);
	mp_demand_use(&credit->demand, credit->n_held - credit->n_free, now_usec);
}

static u32 kept_for_others(const struct mp_credit *credit)
{
	return plain_min(credit->promised, credit->n_held / KEPT_PART + 1);
}

bool mp_credit_would_take(const struct mp_credit *credit, const struct mp_pipe_credit *pipe)
{
	return credit->n_free > (pipe->has < pipe->share ? 0 : kept_for_others(credit));
}

bool mp_credit_take(struct mp_credit *credit, struct mp_pipe_credit *pipe, u64 now_usec, u32 *ret_chunk)
{
	u32 chunk;

	if (!mp_credit_would_take(credit, pipe)) {
		mp_demand_block(&pipe->demand, now_usec);
		mp_demand_block(&credit->demand, now_usec);
		return false;
	}
	mp_demand_resume(&credit->demand, true, now_usec);
	chunk = lowest_free(credit);
	set_bit_to(credit->free, chunk, false);
	credit->n_free--;
	credit->n_touched += !get_bit(credit->touched, chunk);
	set_bit_to(credit->touched, chunk, true);
	set_pipe(credit, pipe, pipe->has + 1, pipe->share);
	count_use(credit, pipe, now_usec);
	*ret_chunk = chunk;
	return true;
}

void mp_credit_put(struct mp_credit *credit, struct mp_pipe_credit *pipe, u64 now_usec, u32 chunk)
{
	set_free(credit, chunk);
	set_pipe(credit, pipe, pipe->has - 1, pipe->share);
	count_use(credit, pipe, now_usec);
}

void mp_credit_leave(struct mp_credit *credit, struct mp_pipe_credit *pipe)
{
	set_pipe(credit, pipe, 0, 0);
}

u32 mp_credit_divide(struct mp_credit *credit, struct mp_pipe_credit *const *pipes, struct mp_claim *claims,
		     u32 n, u32 target, u64 now_usec)
{
	u32 i, total = plain_min(credit->n_held, target), level;
	bool waited = credit->demand.waited;
	u64 sum = 0;

	for (i = 0; i < n; i++) {
		claims[i].demand = mp_demand_turn(&pipes[i]->demand, MLG_PIPE_WINDOW_CHUNKS, now_usec);
		claims[i].floor = 1;
		sum += plain_max(claims[i].demand, 1);
	}
	mp_share(claims, n, total);
	for (i = 0; i < n; i++)
		set_pipe(credit, pipes[i], pipes[i]->has, claims[i].share);
	level = mp_demand_turn(&credit->demand, credit->n_chunks, now_usec);
	/* pipes do not all need their most at once: what they use together is less than what they claim.
	 * Unless they waited
	 */
	if (sum > credit->n_chunks)
		sum = credit->n_chunks;
	return waited ? sum : plain_min(sum, level);
}

/* Free chunks of a word: all, or those that were touched. */
static u64 candidates(const struct mp_credit *credit, u32 word, bool touched)
{
	return credit->free[word] & (touched ? credit->touched[word] : ~0ULL);
}

/* The highest run of free chunks: the low ones are those that are used again first. There is one. */
static void give_up(struct mp_credit *credit, u32 most, bool touched, u32 *ret_first, u32 *ret_count)
{
	u32 word = mp_credit_words(credit->n_chunks), chunk, count = 0;

	while (candidates(credit, word - 1, touched) == 0)
		word--;
	chunk = word * 64 - (u32)__builtin_clzll(candidates(credit, word - 1, touched));
	for (; count < most && chunk > 0; chunk--, count++) {
		if (!(candidates(credit, (chunk - 1) / 64, touched) >> ((chunk - 1) % 64) & 1))
			break;
		set_bit_to(credit->free, chunk - 1, false);
		set_bit_to(credit->held, chunk - 1, false);
		credit->n_touched -= get_bit(credit->touched, chunk - 1);
		set_bit_to(credit->touched, chunk - 1, false);
	}
	credit->n_free -= count;
	credit->n_held -= count;
	*ret_first = chunk;
	*ret_count = count;
}

bool mp_credit_return(struct mp_credit *credit, u32 target, u32 *ret_first, u32 *ret_count)
{
	u32 most = credit->n_held > target ? plain_min(credit->n_held - target, credit->n_free) : 0;

	if (most > 0)
		give_up(credit, most, false, ret_first, ret_count);
	return most > 0;
}

bool mp_credit_trim(struct mp_credit *credit, u32 *ret_first, u32 *ret_count)
{
	u32 keep = plain_max(credit->demand.mean, credit->n_held - credit->n_free);
	u32 most = credit->n_touched > keep ? credit->n_touched - keep : 0;

	if (most > 0)
		give_up(credit, most, true, ret_first, ret_count);
	return most > 0;
}
