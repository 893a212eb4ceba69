/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flow: when the datagrams of a flow go by the ring, and which of those that come are taken. "Datagrams" in
 * memlego/mempipe-abi.h has the protocol.
 *
 *     sender    new ──offer──► asked ──answer──► open ──its time is over──► asked
 *                ▲               │ none comes      │ GONE, the ring is gone, an option changed
 *                └───────────────┴─────────────────┘
 *
 * Only in `open` does a datagram go by the ring. A flow that was asked for in vain rests, longer each time.
 *
 * Invariants: a flow is open only by an answer that the receiver could give only after the offered
 * datagram came through its firewall, and only for MLG_PIPE_FLOW_MSEC. The receiver takes nothing for a
 * flow that it did not confirm, or not recently. Time is a parameter; locked by the caller.
 */
#pragma once

#include "../../common/plain.h"
#include "memlego/mempipe-abi.h"

/* So many datagrams go by the network before it is worth to ask: one question, one answer never is. */
#define MP_FLOW_FIRST 2
#define MP_FLOW_USEC (MLG_PIPE_FLOW_MSEC * 1000ULL)
/* An open flow waits so long for an empty ring before it goes by the network: what is in the ring would be
 * overtaken.
 */
#define MP_FLOW_GRACE_USEC 500000ULL
#define MP_FLOW_ANSWER_USEC 100000ULL
#define MP_FLOW_REST_USEC 500000ULL /* after the first questions in vain; then twice that, ... */
#define MP_FLOW_REST_MOST 5
#define MP_FLOW_QUICK 3 /* questions that are asked without rest: the offer may have come too late */
/* The receiver forgets what was not offered for so long. */
#define MP_FLOW_FORGET_USEC (4 * MP_FLOW_USEC)
/* And waits so long for a datagram by the network that is to be in front of one by the ring. */
#define MP_FLOW_HOLD_USEC 50000ULL
#define MP_FLOW_RECENT 32 /* digests that it remembers */

/* Ask (of the sender) or answer (of the receiver) for a datagram. */
typedef u64 (*mp_prove_fn)(u64 digest, u64 nonce, bool answer);

enum mp_flow_state { MP_FLOW_NEW, MP_FLOW_ASKED, MP_FLOW_OPEN };

enum mp_flow_way {
	MP_FLOW_BY_NET,
	MP_FLOW_BY_NET_OFFER, /* and offer the flow with this one: mp_flow_offer() */
	MP_FLOW_BY_RING,
};

struct mp_flow_tx {
	u8 state;
	u8 n_vain; /* questions without an answer, in a row */
	u16 id;
	u32 gen;
	u32 n_net; /* datagrams by the network since the flow began */
	u64 nonce, answer; /* of what was asked */
	u64 until_usec; /* NEW: rests; ASKED: the answer has time; OPEN */
	u64 after; /* digest of the last datagram by the network behind that by the ring; 0: none */
};

struct mp_flow_rx {
	u32 gen;
	bool asked; /* `nonce` and `ask` are of an offer whose datagram has not come yet */
	u64 nonce, ask;
	u64 open_usec;  /* records are taken until then: only an answer moves it on */
	u64 until_usec; /* forgotten then: each offer moves it on */
	u64 held_usec; /* since when a record waits for a datagram by the network; 0: none does */
	u32 n_recent;
	u64 recent[MP_FLOW_RECENT];
};

/* Sender. */

/* The way for the next datagram. `idle`: the ring is empty. */
enum mp_flow_way mp_flow_way(struct mp_flow_tx *flow, bool idle, u64 now_usec);

/* A datagram goes by the network. */
void mp_flow_sent(struct mp_flow_tx *flow, u64 digest);

/* It is offered; returns `ask`. */
u64 mp_flow_offer(struct mp_flow_tx *flow, u64 digest, u64 nonce, mp_prove_fn prove, u64 now_usec);

/* FLOW_OK: whether the flow is open now. */
bool mp_flow_answered(struct mp_flow_tx *flow, u32 id, u32 gen, u64 nonce, u64 answer, u64 now_usec);

/* FLOW_GONE, or one of our own reasons: learn it anew. */
void mp_flow_close(struct mp_flow_tx *flow);

/* For the next record: `after`. */
u64 mp_flow_after(struct mp_flow_tx *flow);

/* Receiver. */

void mp_flow_rx_init(struct mp_flow_rx *flow, u32 gen, u64 now_usec);

/* An offer. True: its datagram was here already, say `answer`. */
bool mp_flow_offered(struct mp_flow_rx *flow, u64 nonce, u64 ask, mp_prove_fn prove, u64 now_usec,
		     u64 *ret_answer);

/* A datagram has come in by the network. True: it is the one that was offered, say `answer`. */
bool mp_flow_seen(struct mp_flow_rx *flow, u64 digest, mp_prove_fn prove, u64 now_usec, u64 *ret_answer);

/* Whether records of this gen are taken. */
bool mp_flow_takes(const struct mp_flow_rx *flow, u32 gen, u64 now_usec);

/* Whether it is the turn of a record with this `after`; false: later, the ring waits. */
bool mp_flow_in_turn(struct mp_flow_rx *flow, u64 after, u64 now_usec);

static inline bool mp_flow_is_over(const struct mp_flow_rx *flow, u64 now_usec)
{
	return now_usec >= flow->until_usec;
}
