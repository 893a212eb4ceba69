// SPDX-License-Identifier: GPL-2.0-or-later
/* Link: see link.h. */
#include "link.h"

static struct mlg_flex_header *header_of(const struct mf_link *link)
{
	return (struct mlg_flex_header *)link->base;
}

static struct mlg_flex_section *section_of(const struct mf_link *link)
{
	return (struct mlg_flex_section *)(link->base + MLG_FLEX_SECTION_AT);
}

int mf_link_check(const void *base, u64 bytes, u32 *ret_n_chunks, u32 *ret_quota_chunks)
{
	const struct mlg_flex_header *h = base;
	u32 n;

	if (bytes < MLG_FLEX_POOL_MIN || smp_load_acquire(&h->magic) != MLG_FLEX_MAGIC)
		return -EAGAIN;
	n = READ_ONCE(h->n_chunks);
	if (READ_ONCE(h->version) != MLG_FLEX_VERSION || READ_ONCE(h->pool_bytes) != bytes ||
	    bytes > MLG_FLEX_POOL_MAX || n == 0 || n > MLG_FLEX_CHUNKS_MAX ||
	    n > (bytes - MLG_FLEX_CHUNKS_AT) >> MLG_FLEX_CHUNK_SHIFT)
		return -EPROTO;
	*ret_n_chunks = n;
	*ret_quota_chunks = plain_min(READ_ONCE(h->quota_chunks), n);
	return 0;
}

static void start_session(struct mf_link *link, u32 session)
{
	struct mlg_flex_section *s = section_of(link);

	link->state = MF_LINK_STARTING;
	link->session = session;
	link->target = link->want = link->in_use = 0;
	link->slack = MF_SLACK_CHUNKS;
	memset(link->serial, 0, 2 * (size_t)link->n_chunks);
	WRITE_ONCE(s->version, 0);
	smp_store_release(&s->session, session);
}

void mf_link_start(struct mf_link *link, void *base, u8 *serial, u32 n_chunks, u32 session)
{
	memset(link, 0, sizeof(*link));
	link->base = base;
	link->serial = serial;
	link->held = serial + n_chunks;
	link->n_chunks = n_chunks;
	start_session(link, session);
}

/* The host may have punched out our section, too: all of it is said anew. */
static bool begin_epoch(struct mf_link *link)
{
	struct mlg_flex_section *s = section_of(link);

	if (smp_load_acquire(&header_of(link)->session) != link->session)
		return false;
	link->epoch = READ_ONCE(header_of(link)->epoch);
	WRITE_ONCE(s->session, link->session);
	WRITE_ONCE(s->epoch, link->epoch);
	smp_store_release(&s->version, MLG_FLEX_VERSION);
	link->state = MF_LINK_RUNNING;
	return true;
}

static u8 lent_of(const struct mf_link *link, u32 chunk)
{
	const u8 *lent = link->base + MLG_FLEX_LENT_AT;

	return smp_load_acquire(&lent[chunk]);
}

/* False: the host took what it had lent. */
static bool take_lent(struct mf_link *link, struct mf_store *st)
{
	u32 i;
	u8 lent;

	for (i = 0; i < link->n_chunks; i++) {
		lent = lent_of(link, i);
		if (link->held[i] && lent != link->serial[i])
			return false;
		if (link->held[i] || !lent || lent == link->serial[i])
			continue;
		link->serial[i] = lent;
		link->held[i] = mf_store_lend(st, i) == 0;
	}
	return true;
}

static bool still_true(const struct mf_link *link)
{
	const struct mlg_flex_header *h = header_of(link);

	return READ_ONCE(h->epoch) == link->epoch && READ_ONCE(h->session) == link->session;
}

bool mf_link_look(struct mf_link *link, struct mf_store *st, u32 session)
{
	bool begun = false;

	if (link->state == MF_LINK_STARTING) {
		begun = begin_epoch(link);
		if (!begun)
			return false;
	}
	if (!still_true(link) || !take_lent(link, st)) {
		link->n_lost++;
		mf_store_lose(st);
		start_session(link, session);
		return true;
	}
	link->target = READ_ONCE(header_of(link)->target_chunks);
	link->quota = plain_min(READ_ONCE(header_of(link)->quota_chunks), link->n_chunks);
	/* what is over the target must not be filled anew while it is emptied, unless there is no disk */
	mf_store_limit(st, st->has_disk ? link->target : MF_NONE);
	return begun;
}

static bool give_one(struct mf_link *link, struct mf_store *st)
{
	u8 *back = link->base + MLG_FLEX_BACK_AT;
	u32 i;

	if (!mf_store_give(st, &i))
		return false;
	link->held[i] = 0;
	smp_store_release(&back[i], link->serial[i]);
	return true;
}

/* Twice the slack, so that what comes and goes does not travel all the time. */
static u32 may_keep(const struct mf_link *link, u32 in_use)
{
	u32 beyond = link->want > in_use ? 2 * (link->want - in_use) : 0;

	return link->want ? plain_min(link->target, in_use + beyond) : 0;
}

bool mf_link_give(struct mf_link *link, struct mf_store *st)
{
	struct mf_numbers now;
	u32 most, n = 0;

	if (link->state != MF_LINK_RUNNING)
		return false;
	mf_store_numbers(st, &now);
	most = may_keep(link, now.held - now.empty);
	while (now.held - n > most && give_one(link, st))
		n++;
	return n > 0;
}

u32 mf_link_excess(const struct mf_link *link, struct mf_store *st)
{
	struct mf_numbers now;
	u32 in_use;

	if (link->state != MF_LINK_RUNNING)
		return 0;
	mf_store_numbers(st, &now);
	in_use = now.held - now.empty;
	return in_use > link->target ? in_use - link->target : 0;
}

bool mf_link_may_keep_all(struct mf_link *link, struct mf_store *st)
{
	link->target = READ_ONCE(header_of(link)->target_chunks);
	return mf_link_excess(link, st) == 0;
}

/* Twice as much whenever half of it was not enough until the host's answer; half when nothing grows. */
static void adapt_slack(struct mf_link *link, u32 in_use)
{
	u32 slack = link->slack;

	if (link->want > 0 && in_use + slack / 2 > link->want)
		slack = plain_min(2 * slack, MF_SLACK_CHUNKS_MOST);
	else if (in_use <= link->in_use)
		slack = plain_max(slack / 2, MF_SLACK_CHUNKS);
	WRITE_ONCE(link->slack, slack);
	link->in_use = in_use;
}

static u32 wanted(struct mf_link *link, const struct mf_numbers *now)
{
	u64 missed = now->count[MF_N_DISK_WRITES] - link->missed;
	u32 in_use = now->held - now->empty;
	u64 want;

	adapt_slack(link, in_use);
	want = in_use + plain_max(link->slack, in_use / 4) + missed / MLG_FLEX_CHUNK_PAGES;
	return want < link->quota ? (u32)want : link->quota;
}

bool mf_link_tell(struct mf_link *link, struct mf_store *st, bool open)
{
	struct mlg_flex_section *s = section_of(link);
	struct mf_numbers now;
	u32 before = link->want;

	if (link->state != MF_LINK_RUNNING)
		return false;
	mf_store_numbers(st, &now);
	link->want = open ? wanted(link, &now) : 0;
	link->missed = now.count[MF_N_DISK_WRITES];
	WRITE_ONCE(s->want_chunks, link->want);
	WRITE_ONCE(s->held_chunks, now.held);
	WRITE_ONCE(s->alive, READ_ONCE(s->alive) + 1);
	WRITE_ONCE(s->device_pages, st->n_slots);
	WRITE_ONCE(s->disk_pages, st->has_disk ? st->n_slots : 0);
	WRITE_ONCE(s->pool_pages, now.pool_pages);
	WRITE_ONCE(s->same_pages, now.count[MF_N_SAME]);
	WRITE_ONCE(s->on_disk_pages, now.count[MF_N_ON_DISK]);
	WRITE_ONCE(s->pool_reads, now.count[MF_N_POOL_READS]);
	WRITE_ONCE(s->disk_reads, now.count[MF_N_DISK_READS]);
	WRITE_ONCE(s->pool_writes, now.count[MF_N_POOL_WRITES]);
	WRITE_ONCE(s->disk_writes, now.count[MF_N_DISK_WRITES]);
	WRITE_ONCE(s->written_back, now.count[MF_N_WRITTEN_BACK]);
	WRITE_ONCE(s->errors, now.count[MF_N_ERRORS] + now.count[MF_N_WRONG]);
	return link->want > before;
}

void mf_link_leave(struct mf_link *link, struct mf_store *st)
{
	mf_store_lose(st); /* it gives up the chunks, of which the host learns by our version */
	memcpy(link->base + MLG_FLEX_BACK_AT, link->serial, link->n_chunks);
	smp_store_release(&section_of(link)->version, 0);
	link->target = link->want = link->quota = 0;
}
