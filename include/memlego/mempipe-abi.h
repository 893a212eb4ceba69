/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* MemPipe: the layout of the shared memory through which guests of one host talk. Contract between memlegod, which makes
 * the region and serves it as an ivshmem device, and mempipe.ko in the guests; compiled into both, and into tests.
 *
 * A region belongs to one trust group (or to one pair of guests). Every member's hypervisor maps all of it for reading and
 * writing: what is said below about who writes where is a rule of the protocol, which the memory cannot enforce. Hence
 *   - each word has one writer (the two that do not are marked), so that nothing needs a lock;
 *   - whoever reads a word of another reads it once, and checks it before use;
 *   - a reader that finds nonsense gives up the connection, or the peer, whose word it was, and nothing else.
 *
 *     offset          size           written by      what
 *     0                4 KiB         host            mlg_pipe_header
 *     4 KiB            4 KiB         host            mlg_pipe_peer[32]: who is there
 *     8 KiB          128 KiB         each peer       mlg_pipe_section[32]: what a peer says of itself
 *     256 KiB        256 KiB         host            u8[]: the owner (peer id) of each chunk, MLG_PIPE_NOBODY
 *     4 MiB            4 MiB         see there       mlg_pipe_pair[32][32]: from peer i to peer j
 *     16 MiB          64 MiB         see there       mlg_pipe_slot[32][1024]: connections that peer i opened
 *     80 MiB          the rest       owner           chunks of 64 KiB
 *
 * The region is sparse: what nobody uses costs nothing, and what the host takes back is punched out of it. All numbers are
 * little endian (the host's and the guests' order: x86-64). Offsets are never taken from shared memory.
 *
 * Ids. Peer ids are those of ivshmem (IVPosition): 0 is the host, guests are 1..31. An id means nothing beyond its
 * *epoch*, which the host counts up each time that somebody else gets it, or the same guest starts anew. When a
 * guest is gone the host punches out all that it wrote or was written to it: section, slots, pairs in both
 * directions, chunks. Who sees another epoch of a peer begins with it at tail = head = 0.
 *
 * Starting. A module cannot know what its guest's last one left (a reboot does not close the device). It writes
 * session, a random number, into its section, with version 0, and rings the host. The host sees a session that is
 * not the one it shows in mlg_pipe_peer, takes back all that the guest had, gives it another epoch, and shows
 * session. When the module sees its own session there it takes the epoch, sets head = tail in the pairs to it (what
 * was sent to its predecessor), says epoch and version in its section, and rings once more. Only then is anything
 * granted to it. A module that sees `alive` stand still for ten seconds goes back to TCP: nobody would tell it that a
 * peer has died.
 *
 * Chunks. A chunk has one owner, to whom the host granted it (GRANT) and who gives it back (RETURN). The owner alone
 * writes into it; whom it sends to reads. So memory never changes hands between guests, and a guest's memory is
 * accounted and limited as that guest's.
 *
 * Pipes. A TCP connection has at most one slot, of the peer that connected (the client); a direction's bytes are in chunks of
 * its sender. Positions count bytes since the slot was opened, modulo 2^32. Byte p lies in chunk map[(p >> 16) % 64] at
 * p % 64 KiB. So a sender may have anything from one chunk up to the window in use, and take more or fewer as it goes; and none
 * while nothing is unread.
 *
 * Opening a pipe. The real handshake of TCP has been made over the network. Then
 *     client   takes a slot of its own, clears it, gives it a gen; HELLO(tuple, slot, gen, nonce, proof_c)
 *     server   finds its socket by the tuple, checks proof_c, says to_server.attached = gen; ATTACH(... proof_s),
 *              or REFUSE(... reason)
 *     client   checks proof_s, says to_client.attached = gen
 * A proof is a keyed hash (SipHash-2-4) over tuple, both peer ids, slot, gen and role, whose key are both initial sequence numbers of
 * that very connection and the nonce: only its two ends know both, so nobody can claim another's connection, and a proof that a third
 * has read in the memory is none in its own rings. A sender goes to
 * the pipe when, and not before, the receiver has said attached = gen. A receiver that wants the pipe no longer says attached = 0:
 * the sender then goes back to TCP and stays there; what is in the pipe is still read.
 *
 * Leaving a pipe. Who closes its socket, or has it without the pipe from now on, ends its excursion and says client_done or
 * server_done = gen. The other goes back to TCP, takes what is unread out of the pipe, acknowledges it and says the same; its
 * own socket may live on.
 *
 * Switching (one direction). `mode` counts switches: even is TCP, odd is the pipe.
 *     to the pipe   needs mode_ack == mode. switch_seq = the TCP sequence number up to which bytes went by TCP; mode + 1
 *     to TCP        at any time. end = tail; mode + 1
 * The receiver reads TCP up to switch_seq (never beyond), then the pipe, and after a switch back the pipe up to end; then it
 * says mode_ack = mode (which is even, always) and reads TCP again. mode - mode_ack is 0, 1 or 2, everything else is nonsense.
 * It reads no byte of TCP that came in after it looked at mode: that byte may have been sent after a whole excursion to the pipe.
 *
 * Lobbies. Where members of a group must not read each other's conversations, no memory has more than two of them. What each
 * guest has at first is a *lobby* (header.features: MLG_PIPE_LOBBY): a region with the host and that guest alone, without chunks.
 * There its module tells the host of each SYN that it sends, or that comes for a listener of its, whose other address is in none
 * of its regions: WISH, of which `proof` is a keyed hash (SipHash-2-4; the key: the SYN's sequence number, and MLG_PIPE_WISH) over
 * its addresses and ports. It means nothing to the host, which compares: two guests that say the same number have seen
 * the same SYN, and get a region for the two of them. Whoever has not seen it would have to guess. That connection stays with TCP;
 * the next ones find each other in the new region as above. A pair that has had no pipe for a while is unplugged like a guest
 * that leaves, and comes back with the next SYN.
 *     There is no WISH of a datagram: a SYN has 32 random bits, a datagram need not have any, and who guesses one
 * would get a region with somebody who does not talk to him, and learn that he guessed right. For the same reason
 * a guest that has a lobby takes part in flows of datagrams only with an address at which that peer has been the
 * other end of a pipe, in that region and epoch.
 *
 * Waking. Who is about to sleep (or to be polled) says rx_armed or tx_armed = 1, then, behind a full barrier, looks once more. Who
 * has moved tail, head, mode, mode_ack or attached sets, behind a full barrier and if the other is armed, the slot's bit in `pending`
 * of the pair; if that was clear, it sets `bell`, and rings if that was 0. The other clears bell, then takes the bits.
 *
 * Datagrams (UDP). From each peer to each other goes one ring, `datagrams` of their pair: bytes, chunks, window and waking (by
 * bell alone, without a bit in pending) are those of a pipe's direction. In it lie records: each mlg_pipe_datagram, and behind it
 * the payload, filled up to 8 bytes. A record says no addresses but the number of a *flow*, which the receiver has given out;
 * so nobody sends by it what did not come from him by the network, too:
 *     sender    lets the flow's datagrams go by the network; FLOW_OFFER(tuple, gen of the ring, nonce, ask) with one of them
 *     receiver  sees that datagram come in, behind its firewall, and that `ask` is of it; FLOW_OK(tuple, flow, gen, nonce, answer)
 *     sender    sees that `answer` is of it; the flow is *open*, its datagrams go by the ring
 * Ask and answer are SipHash-2-4 of {digest, nonce, 0 or 1}, 8 bytes each, key 0; digest is that of the UDP length (4 bytes) and
 * the first MLG_PIPE_DIGEST_BYTES of the payload: only who sent the datagram and who received it know all of them. A flow is open
 * for MLG_PIPE_FLOW_MSEC; then one datagram goes by the network again, with another offer, and so do all that follow until the
 * answer. `after` of the first record behind such an excursion is the digest of the flow's last datagram by the network: the
 * receiver waits for that one a moment, so that the order is kept. It says FLOW_GONE for a record whose flow it does not know.
 *     Gen of the ring is (epoch of the sender << 16) + epoch of the receiver. When the first offer of another gen comes, the
 * receiver begins at head = 0 and says attached = gen. Where it finds nonsense it says attached = 0, until there is another gen.
 *
 * Control rings. As two peers do not learn of an epoch at the same moment, a reader may find itself out of step. If tail is not
 * head .. head + 32 it goes on at tail: what it skips is lost, and who waits for an answer asks again or gives up.
 *
 * Chunks on demand. Each peer publishes its demand; the host divides its quota among peers and publishes the share of each
 * (target_chunks). More chunks come by GRANT; a peer that has more than its share returns what it can, as bytes drain. */
#pragma once

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#else
#include <assert.h>
#include <linux/types.h>
#include <stddef.h>
#endif

#define MLG_PIPE_MAGIC 0x3145504950474c4dULL /* "MLGPIPE1" */
#define MLG_PIPE_VERSION 1u
#define MLG_PIPE_PEERS 32u           /* the host among them; more guests than that need more groups */
#define MLG_PIPE_HOST 0u             /* the host's peer id */
#define MLG_PIPE_NOBODY 0xffu        /* owner of a free chunk */
#define MLG_PIPE_SLOTS 1024u         /* pipes at once that one peer opened; further connections stay with TCP */
#define MLG_PIPE_CHUNK_SHIFT 16u     /* 64 KiB */
#define MLG_PIPE_CHUNK_BYTES (1u << MLG_PIPE_CHUNK_SHIFT)
#define MLG_PIPE_WINDOW_CHUNKS 64u   /* of one direction: 4 MiB in flight */
#define MLG_PIPE_WINDOW_BYTES (MLG_PIPE_WINDOW_CHUNKS << MLG_PIPE_CHUNK_SHIFT)
#define MLG_PIPE_ADDRESSES 64u       /* that a peer can say it has */
#define MLG_PIPE_MESSAGES 32u        /* in a control ring */
#define MLG_PIPE_OUTCOMES 16u        /* as many reasons as there is room for */
#define MLG_PIPE_FLOWS 1024u         /* of datagrams, that a receiver knows of one peer */
#define MLG_PIPE_FLOW_MSEC 2000u     /* that a flow is open by one answer */
#define MLG_PIPE_DATAGRAM_BYTES 65527u /* the longest payload: IPv6's; IPv4's is 65507 */
#define MLG_PIPE_DIGEST_BYTES 128u

/* Features of a region. */
#define MLG_PIPE_LOBBY 1u            /* the host and one guest: no pipes, but wishes */

#define MLG_PIPE_PEERS_AT 0x1000ULL
#define MLG_PIPE_SECTIONS_AT 0x2000ULL
#define MLG_PIPE_OWNERS_AT 0x40000ULL
#define MLG_PIPE_PAIRS_AT 0x400000ULL
#define MLG_PIPE_SLOTS_AT 0x1000000ULL
#define MLG_PIPE_CHUNKS_AT 0x5000000ULL
#define MLG_PIPE_REGION_MIN (128ULL << 20)
#define MLG_PIPE_REGION_MAX (16ULL << 30) /* as many chunks as the table of owners has room for */
#define MLG_PIPE_CHUNKS_MAX 0x40000u

/* Interrupt vector of the ivshmem device that is rung; there is only one. */
#define MLG_PIPE_VECTOR 0u

struct mlg_pipe_header {
	__u64 magic;         /* written last: who sees it sees the rest */
	__u32 version;
	__u32 features;      /* MLG_PIPE_LOBBY; bits that a guest does not know mean nothing to it */
	__u64 region_bytes;  /* as ivshmem says it, too; both must agree */
	__u64 epoch;         /* of the region: another number is another region, nothing of before is true */
	__u32 n_chunks;
	__u32 alive;         /* the host counts it up, once a second at least, while it serves; see "Starting" */
	__u32 reserved[22];
};

enum mlg_pipe_peer_state {
	MLG_PIPE_ABSENT = 0,
	MLG_PIPE_PRESENT = 1,
	MLG_PIPE_LEAVING = 2, /* about to migrate or to be unplugged: everybody goes back to TCP with it, and stays there */
};

struct mlg_pipe_peer {
	__u32 state;         /* enum mlg_pipe_peer_state */
	__u32 epoch;         /* from 1; another number is another guest */
	__u32 target_chunks; /* as many it may have */
	__u32 session;       /* of its section, as of this epoch */
	__u32 reserved[28];
};

struct mlg_pipe_address {
	__u8 bytes[16];      /* IPv6, or IPv4 as ::ffff:a.b.c.d */
};

struct mlg_pipe_section {
	__u32 version;       /* of this ABI as the guest speaks it; 0: no module there */
	__u32 features;
	__u32 epoch;         /* the peer epoch that this was written in */
	__u32 address_seq;   /* odd: being changed */
	__u32 n_addresses;
	__u32 demand_chunks; /* as many it would like to have, a mean over the last window */
	__u32 held_chunks;
	__u32 used_chunks;   /* of those, that have bytes in them or are being written */
	__u64 tx_bytes;      /* put into pipes and rings of this region */
	__u64 blocked_usec;  /* senders waited for chunks */
	__u32 n_pipes;
	__u32 session;       /* random, another one each time that the module starts; not 0 */
	__u32 reserved[2];
	struct mlg_pipe_address addresses[MLG_PIPE_ADDRESSES];
	/* Of all connections of the guest since the module was started, by enum mlg_pipe_reason: MLG_PIPE_OK counts
	 * those that got a pipe, the others count those that stayed with TCP, or went back to it, for that. In its
	 * lobby, where it has one, and else in each region: who shares a region of two with it need not learn of its
	 * other connections. */
	__u64 outcomes[MLG_PIPE_OUTCOMES];
	__u8 reserved2[2880];
};

enum mlg_pipe_message_type {
	MLG_PIPE_HELLO = 1,  /* guest to guest */
	MLG_PIPE_ATTACH = 2,
	MLG_PIPE_REFUSE = 3, /* reason: enum mlg_pipe_reason */
	MLG_PIPE_FLOW_OFFER = 4, /* proof: `ask` */
	MLG_PIPE_FLOW_OK = 5, /* proof: `answer`; the slot is the flow */
	MLG_PIPE_FLOW_GONE = 6, /* the same, without proof */
	MLG_PIPE_GRANT = 16, /* host to guest: chunks `first` .. `first + count - 1` are yours */
	MLG_PIPE_RETURN = 17, /* guest to host: they are no longer */
	MLG_PIPE_WISH = 18,  /* guest to host, in a lobby: a SYN was seen; see "Lobbies" */
};

struct mlg_pipe_message {
	__u16 type;
	__u16 reason;
	__u32 epoch;         /* of the sender: what was left by an earlier one is not for us */
	union {
		struct {
			struct mlg_pipe_address client, server;
			__u16 client_port, server_port; /* host order */
		} tuple;             /* of HELLO, ATTACH and REFUSE; as the client sees it. FLOW_*: the sender's */
		struct {
			__u32 first, count;
		} chunks;
	};
	__u32 gen;
	__u64 nonce_slot;    /* nonce in the upper 48 bits, slot index of the client in the lower 16 */
	__u64 proof;
};

/* One direction of a pipe, or the datagrams from one peer to another. */
struct mlg_pipe_direction {
	/* by the sender */
	__u32 tail;          /* position behind the last byte written */
	__u32 mode;
	__u32 switch_seq;
	__u32 end;
	__u32 tx_armed;
	__u32 reserved[11];
	/* by the receiver */
	__u32 head;          /* position of the first byte not read; moved as it leaves a chunk, and as the reader arms */
	__u32 mode_ack;
	__u32 rx_armed;
	__u32 attached;      /* the gen that it receives; 0: none, or no longer */
	__u32 reserved2[12];
	/* by the sender: an entry is written before tail moves on in its chunk, and not while an unread byte is in there */
	__u32 map[MLG_PIPE_WINDOW_CHUNKS];
	__u32 reserved3[32];
};

/* What stands before a datagram in its ring. */
struct mlg_pipe_datagram {
	__u32 bytes;         /* of payload, MLG_PIPE_DATAGRAM_BYTES at most */
	__u32 gen;           /* of the flow */
	__u16 flow;          /* below MLG_PIPE_FLOWS */
	__u8 tos;            /* or traffic class */
	__u8 ttl;            /* or hop limit */
	__u32 label;         /* of IPv6's flow, host order; else 0 */
	__u64 after;         /* 0, or the digest of what went by the network last */
};

/* From peer i to peer j. */
struct mlg_pipe_pair {
	__u32 bell;          /* two writers: i sets it, j clears it; both by an atomic exchange */
	__u32 reserved[15];
	__u32 tail;          /* by i: messages written since the epoch began */
	__u32 reserved2[15];
	__u32 head;          /* by j: messages read */
	__u32 reserved3[15];
	__u64 reserved4[8];
	__u64 pending[2 * MLG_PIPE_SLOTS / 64]; /* two writers: i sets, j takes; first the slots of i, then those of j */
	struct mlg_pipe_direction datagrams; /* mode, switch_seq, end, mode_ack: not used */
	__u8 reserved5[1024];
	struct mlg_pipe_message messages[MLG_PIPE_MESSAGES];
};

struct mlg_pipe_slot {
	/* by the client */
	__u32 gen;           /* of the pipe in this slot, from 1; each use has another; 0: free */
	__u32 server;        /* peer id of the other end */
	__u32 client_done;   /* gen of the last pipe that the client has left */
	__u32 reserved[13];
	/* by the server */
	__u32 server_done;   /* the same of the server: the slot is used again when both have left, or one is gone */
	__u32 reserved2[15];
	struct mlg_pipe_direction to_server, to_client;
	__u8 reserved3[896];
};

/* Why a connection is with TCP. Names in mempipe's files, on D-Bus and in memlegoctl pipe show; never renumber. */
enum mlg_pipe_reason {
	MLG_PIPE_OK = 0,
	MLG_PIPE_NO_PEER = 1,       /* the other address belongs to no member of the group */
	MLG_PIPE_NO_ANSWER = 2,     /* the other end's module did not answer in time */
	MLG_PIPE_NO_SOCKET = 3,     /* the other end has no such connection (NAT, a proxy, a container) */
	MLG_PIPE_BAD_PROOF = 4,
	MLG_PIPE_NO_SLOT = 5,
	MLG_PIPE_NO_CHUNK = 6,
	MLG_PIPE_NOT_ADOPTED = 7,   /* the socket was there before the module, or belongs to somebody else (kTLS, BPF) */
	MLG_PIPE_OPTION = 8,        /* an option that only TCP can honour */
	MLG_PIPE_OOB = 9,           /* urgent data */
	MLG_PIPE_PEER_LEAVES = 10,
	MLG_PIPE_DEVICE_GONE = 11,
	MLG_PIPE_OFF = 12,          /* switched off by the administrator */
	MLG_PIPE_NONSENSE = 13,     /* the peer broke the protocol; its connection was reset */
	MLG_PIPE_REASONS
};

/* The names: initializers of a table. */
#define MLG_PIPE_REASON_NAMES \
	[MLG_PIPE_OK] = "ok", \
	[MLG_PIPE_NO_PEER] = "no-peer", \
	[MLG_PIPE_NO_ANSWER] = "no-answer", \
	[MLG_PIPE_NO_SOCKET] = "no-socket", \
	[MLG_PIPE_BAD_PROOF] = "bad-proof", \
	[MLG_PIPE_NO_SLOT] = "no-slot", \
	[MLG_PIPE_NO_CHUNK] = "no-chunk", \
	[MLG_PIPE_NOT_ADOPTED] = "not-adopted", \
	[MLG_PIPE_OPTION] = "option", \
	[MLG_PIPE_OOB] = "urgent-data", \
	[MLG_PIPE_PEER_LEAVES] = "peer-leaves", \
	[MLG_PIPE_DEVICE_GONE] = "device-gone", \
	[MLG_PIPE_OFF] = "off", \
	[MLG_PIPE_NONSENSE] = "nonsense",

#define MLG_PIPE_IS(what, size) _Static_assert(sizeof(struct what) == (size), #what)
MLG_PIPE_IS(mlg_pipe_header, 128);
MLG_PIPE_IS(mlg_pipe_peer, 128);
MLG_PIPE_IS(mlg_pipe_section, 4096);
MLG_PIPE_IS(mlg_pipe_message, 64);
MLG_PIPE_IS(mlg_pipe_pair, 4096);
MLG_PIPE_IS(mlg_pipe_direction, 512);
MLG_PIPE_IS(mlg_pipe_datagram, 24);
MLG_PIPE_IS(mlg_pipe_slot, 2048);
_Static_assert(offsetof(struct mlg_pipe_section, addresses) == 64, "addresses");
_Static_assert(offsetof(struct mlg_pipe_section, outcomes) == 1088, "outcomes");
_Static_assert(MLG_PIPE_REASONS <= MLG_PIPE_OUTCOMES, "outcomes");
_Static_assert(offsetof(struct mlg_pipe_pair, pending) == 256, "pending");
_Static_assert(offsetof(struct mlg_pipe_pair, datagrams) == 512, "datagrams");
_Static_assert(offsetof(struct mlg_pipe_pair, messages) == 2048, "messages");
_Static_assert(offsetof(struct mlg_pipe_direction, head) == 64, "head");
_Static_assert(offsetof(struct mlg_pipe_direction, map) == 128, "map");
_Static_assert(offsetof(struct mlg_pipe_slot, to_server) == 128, "to_server");
