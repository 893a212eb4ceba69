// SPDX-License-Identifier: GPL-2.0-or-later
/* Flow: see flow.h. */
#include "flow.h"

static u64 rest_usec(const struct mp_flow_tx *flow)
{
	if (flow->n_vain < MP_FLOW_QUICK)
		return 0;
	return MP_FLOW_REST_USEC << plain_min(flow->n_vain - MP_FLOW_QUICK, MP_FLOW_REST_MOST);
}

enum mp_flow_way mp_flow_way(struct mp_flow_tx *flow, bool idle, u64 now_usec)
{
	switch (flow->state) {
	case MP_FLOW_OPEN:
		if (now_usec < flow->until_usec)
			return MP_FLOW_BY_RING;
		if (!idle && now_usec < flow->until_usec + MP_FLOW_GRACE_USEC)
			return MP_FLOW_BY_RING;
		return MP_FLOW_BY_NET_OFFER;
	case MP_FLOW_ASKED:
		if (now_usec < flow->until_usec)
			return MP_FLOW_BY_NET;
		flow->n_vain += flow->n_vain < 255;
		flow->state = MP_FLOW_NEW;
		flow->until_usec = now_usec + rest_usec(flow);
	}
	if (flow->n_net < MP_FLOW_FIRST || now_usec < flow->until_usec)
		return MP_FLOW_BY_NET;
	return MP_FLOW_BY_NET_OFFER;
}

void mp_flow_sent(struct mp_flow_tx *flow, u64 digest)
{
	flow->n_net += flow->n_net < ~0u;
	flow->after = digest;
}

u64 mp_flow_offer(struct mp_flow_tx *flow, u64 digest, u64 nonce, mp_prove_fn prove, u64 now_usec)
{
	flow->state = MP_FLOW_ASKED;
	flow->nonce = nonce;
	flow->answer = prove(digest, nonce, true);
	flow->until_usec = now_usec + MP_FLOW_ANSWER_USEC;
	return prove(digest, nonce, false);
}

bool mp_flow_answered(struct mp_flow_tx *flow, u32 id, u32 gen, u64 nonce, u64 answer, u64 now_usec)
{
	if (flow->state != MP_FLOW_ASKED || nonce != flow->nonce || answer != flow->answer)
		return false;
	flow->state = MP_FLOW_OPEN;
	flow->id = id;
	flow->gen = gen;
	flow->n_vain = 0;
	flow->until_usec = now_usec + MP_FLOW_USEC;
	return true;
}

void mp_flow_close(struct mp_flow_tx *flow)
{
	flow->state = MP_FLOW_NEW;
	flow->n_net = 0;
	flow->until_usec = 0;
}

u64 mp_flow_after(struct mp_flow_tx *flow)
{
	u64 after = flow->after;

	flow->after = 0;
	return after;
}

void mp_flow_rx_init(struct mp_flow_rx *flow, u32 gen, u64 now_usec)
{
	memset(flow, 0, sizeof(*flow));
	flow->gen = gen;
	flow->until_usec = now_usec + MP_FLOW_FORGET_USEC;
}

static u64 confirm(struct mp_flow_rx *flow, u64 digest, u64 nonce, mp_prove_fn prove, u64 now_usec)
{
	flow->open_usec = now_usec + MP_FLOW_FORGET_USEC;
	flow->asked = false;
	return prove(digest, nonce, true);
}

static u32 n_known(const struct mp_flow_rx *flow)
{
	return plain_min(flow->n_recent, MP_FLOW_RECENT);
}

bool mp_flow_offered(struct mp_flow_rx *flow, u64 nonce, u64 ask, mp_prove_fn prove, u64 now_usec,
		     u64 *ret_answer)
{
	u32 i;

	flow->until_usec = now_usec + MP_FLOW_FORGET_USEC;
	for (i = 0; i < n_known(flow); i++) {
		if (prove(flow->recent[i], nonce, false) != ask)
			continue;
		*ret_answer = confirm(flow, flow->recent[i], nonce, prove, now_usec);
		return true;
	}
	flow->asked = true;
	flow->nonce = nonce;
	flow->ask = ask;
	return false;
}

bool mp_flow_seen(struct mp_flow_rx *flow, u64 digest, mp_prove_fn prove, u64 now_usec, u64 *ret_answer)
{
	flow->recent[flow->n_recent++ % MP_FLOW_RECENT] = digest;
	if (flow->n_recent == 2 * MP_FLOW_RECENT) /* the count never wraps */
		flow->n_recent = MP_FLOW_RECENT;
	if (!flow->asked || prove(digest, flow->nonce, false) != flow->ask)
		return false;
	*ret_answer = confirm(flow, digest, flow->nonce, prove, now_usec);
	return true;
}

bool mp_flow_takes(const struct mp_flow_rx *flow, u32 gen, u64 now_usec)
{
	return gen == flow->gen && now_usec < flow->open_usec;
}

bool mp_flow_in_turn(struct mp_flow_rx *flow, u64 after, u64 now_usec)
{
	u32 i;

	for (i = 0; i < n_known(flow) && after != 0; i++)
		if (flow->recent[i] == after)
			after = 0;
	if (after != 0 && flow->held_usec == 0)
		flow->held_usec = now_usec;
	if (after != 0 && now_usec < flow->held_usec + MP_FLOW_HOLD_USEC)
		return false;
	flow->held_usec = 0;
	return true;
}
