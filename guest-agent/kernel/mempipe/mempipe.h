/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mempipe.ko: what its files share. memlego/mempipe-abi.h has the protocol; main.c the order of locks and
 * of lives.
 *
 * Names: mp_* is the plain core (core/), which knows neither sockets nor devices; mpipe_* is the module.
 */
#pragma once

#include <linux/in6.h>
#include <linux/kref.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/percpu-refcount.h>
#include <linux/refcount.h>
#include <linux/spinlock.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>
#include <net/tcp.h>

#include "../common/compat.h"
#include "core/control.h"
#include "core/credit.h"
#include "core/region.h"
#include "core/ring.h"
#include "core/switch.h"
#include "core/wake.h"

#define MPIPE_NAME "mempipe"

/* Both families: 0 IPv4, 1 IPv6. */
#define MPIPE_FAMILIES 2

#define MPIPE_PROVED_MOST 8 /* addresses of a peer: the oldest is forgotten for another */

/* ---- devices (device.c) ---- */

/* What we believe of another guest; by dev->peers_lock. */
struct mpipe_peer {
	u32 epoch;       /* as the host says; 0: absent */
	bool leaving;
	u32 address_seq; /* that `addresses` were read at */
	u32 n_addresses;
	struct mlg_pipe_address addresses[MLG_PIPE_ADDRESSES];
	u32 n_proved;    /* addresses at which it has been the other end of a pipe: see mpipe_peer_has_proved() */
	struct mlg_pipe_address proved[MPIPE_PROVED_MOST];
	u32 n_failed;    /* pipes that we asked it for in vain, ever: see dev_find() */
	atomic_t n_waiting; /* its HELLOs whose connection is not there yet */
	struct mp_ctl_tx to;
	struct mp_ctl_rx from;
};

struct mpipe_dev {
	struct list_head node;
	struct kref kref;
	struct rcu_head rcu;
	struct percpu_ref users;  /* of the mapping: mpipe_dev_enter() */
	struct completion unused;
	struct pci_dev *pdev;
	void __iomem *regs;
	void *base;
	u32 self, n_chunks;
	u64 region_epoch;

	u32 session, epoch;       /* epoch 0: the host has not answered our session yet */
	bool lobby;               /* nobody but the host is there: for wishes (wish.c) */
	bool gone;                /* being removed: no new pipes */
	bool leaving;             /* by the host's word: the same */
	bool unwatched;           /* the host does not serve any more: the same */
	u32 alive;                /* the host's count, as it was seen at `alive_at` (jiffies) first */
	unsigned long alive_at;
	struct tasklet_struct bell;
	struct work_struct control_work;
	struct delayed_work watch_work;
	atomic64_t sent;          /* bytes, by pipes and rings of this region */
	u64 sent_seen;            /* the same, at the last run of watch_work */
	unsigned long watched_at, turned_at; /* jiffies: watch_work began; a window of demand did */

	spinlock_t peers_lock;
	struct mpipe_peer *peers; /* [MLG_PIPE_PEERS]; the host is one */

	struct xarray pipes;      /* mpipe_key() -> struct mpipe_conn, which it holds a reference to */

	spinlock_t slots_lock;
	DECLARE_BITMAP(slots_used, MLG_PIPE_SLOTS);
	u32 slot_gen[MLG_PIPE_SLOTS];

	u32 n_pipes;              /* by slots_lock, as is: */
	u16 n_left[MLG_PIPE_PEERS]; /* slots of ours that we have left, and this server not */

	spinlock_t chunks_lock;
	struct mp_credit credit;
	u64 *chunks_held, *chunks_free, *chunks_touched;
	u32 chunks_epoch;         /* that these were granted in */

	struct mpipe_udp *udp;    /* udp.h */
};

extern struct list_head mpipe_devs; /* by RCU, and mpipe_devs_lock */
extern struct mutex mpipe_devs_lock;

static inline unsigned long mpipe_key(u32 owner, u32 slot)
{
	return owner * MLG_PIPE_SLOTS + slot;
}

/* The mapping stays until mpipe_dev_leave(); false: the device is gone. May be held while sleeping for
 * memory, not for peers.
 */
static inline bool mpipe_dev_enter(struct mpipe_dev *dev)
{
	return percpu_ref_tryget_live(&dev->users);
}

static inline void mpipe_dev_leave(struct mpipe_dev *dev)
{
	percpu_ref_put(&dev->users);
}

/* No new pipes: nobody would have the time to leave them. */
static inline bool mpipe_dev_goes(const struct mpipe_dev *dev)
{
	return READ_ONCE(dev->gone) || READ_ONCE(dev->leaving) || READ_ONCE(dev->unwatched);
}

void mpipe_dev_put(struct mpipe_dev *dev);
void mpipe_dev_ring(struct mpipe_dev *dev, u32 peer);
void mpipe_dev_watch(struct mpipe_dev *dev); /* at once: something happened here */
void mpipe_dev_rung(struct mpipe_dev *dev);  /* soon: somebody else says that something happened */
void mpipe_watch_work(struct work_struct *work);
int mpipe_device_init(void);
void mpipe_device_exit(void);

/* ---- connections ---- */

enum mpipe_state {
	MPIPE_NEW,   /* a pipe is possible */
	MPIPE_ASKED, /* client: HELLO is said */
	MPIPE_OPEN,  /* we said that we take bytes by the pipe */
	MPIPE_TCP,   /* no pipe, for good: see `reason` */
	MPIPE_LEFT,  /* the socket is closed, or TCP's own again; what it sent is still being read */
	MPIPE_LISTENS, /* it listens: nothing but a way to find it */
};

/* The two directions of an open pipe. Sender and receiver of it are locked by the socket's lock. */
struct mpipe_pipe {
	struct mp_tx tx;
	struct mp_rx rx;
	struct mp_pipe_credit credit; /* by dev->chunks_lock */
	u64 tx_bytes, rx_bytes, n_chunks, n_rung, n_switches;
	u64 tx_seen;                  /* tx_bytes at the last window's end */
	u64 flip_at;                  /* bytes sent, at which a test wants the next switch */
	bool flipped;                 /* and wants TCP until then */
};

struct mpipe_tuple {
	struct mlg_pipe_address local, remote;
	u16 local_port, remote_port;
};

struct mpipe_conn {
	refcount_t ref;
	struct rcu_head rcu;
	struct list_head node;    /* of all, mpipe_conns_lock */
	struct sock *sk;          /* NULL: closed; see mpipe_conn_sock() */

	/* by the socket's lock */
	u8 state;                 /* enum mpipe_state */
	u8 reason;                /* enum mlg_pipe_reason: why bytes that we send go by TCP */
	bool server;              /* we accepted it */
	bool stays;               /* what we send goes by TCP for good */
	bool broken;              /* the peer broke the protocol, or bytes were lost: reset it */
	bool attached;            /* we said that we take bytes by the pipe */
	bool wanted;              /* and the peer has been seen to say so */
	bool leaves;              /* it is to be TCP's own again as soon as it can */
	bool polled;              /* somebody waits by poll or a signal, not only in our calls */
	bool forgotten;           /* its pipe, by dev->pipes; by dev->slots_lock, as is: */
	bool counted;             /* in dev->n_left */
	u8 n_tries;               /* to say HELLO */
	u8 n_asked;               /* it was said, and not answered */
	u8 n_misses;              /* spins that found nothing; readers may disagree about it */
	u8 n_pieces, window_shift; /* the same of these: see gather() in recv.c */
	u64 waited_nsec, sent_at_wait;
	u32 n_tcp_sends;          /* that are inside of tcp_sendmsg(): no switch to the pipe meanwhile */
	u64 tcp_sent;
	u32 isn_client, isn_server;

	struct mutex read_lock;   /* one reader at a time, as tcp_recvmsg() takes the socket's lock itself */

	/* set once before `pipe` is; the tuple at birth */
	struct mpipe_tuple tuple;
	struct mpipe_dev *dev;
	u32 peer, peer_epoch, epoch; /* epoch: our own */
	u32 slot, gen;
	u64 nonce;
	struct mlg_pipe_slot *shared;
	struct mpipe_pipe *pipe;  /* NULL: none was opened */
	struct mpipe_rest *rest;  /* by the socket's lock: rest.c */
	unsigned long deadline;   /* jiffies: ASKED, waiting for an answer */
	struct delayed_work work; /* HELLO */
	struct work_struct reset_work, settle_work;
};

extern spinlock_t mpipe_conns_lock;
extern struct list_head mpipe_conns;

/* conn.c */
/* NULL: no memory, or the module is about to go. */
struct mpipe_conn *mpipe_conn_new(struct sock *sk, bool server, const struct mpipe_tuple *tuple, gfp_t gfp);
struct mpipe_conn *mpipe_conn_listens(struct sock *sk, gfp_t gfp);
void mpipe_conn_put(struct mpipe_conn *conn);
struct sock *mpipe_conn_sock(struct mpipe_conn *conn);   /* with a reference; NULL: closed */
/* The pipe's words are what they were; inside of the device. */
bool mpipe_conn_alive(const struct mpipe_conn *conn);
void mpipe_conn_reset(struct mpipe_conn *conn, enum mlg_pipe_reason why); /* in any context */
void mpipe_conn_stay(struct mpipe_conn *conn, enum mlg_pipe_reason why);  /* TCP for good; socket locked */
/* And touches nothing shared; socket locked. */
void mpipe_tx_abandon(struct mpipe_conn *conn, enum mlg_pipe_reason why);
/* Something happened to its peer: look at it soon. */
void mpipe_conn_settle(struct mpipe_conn *conn);
/* Makes its pipe; socket locked, inside of the device. */
int mpipe_conn_open(struct mpipe_conn *conn, u32 slot, u32 gen);
void mpipe_conn_tell_tx(struct mpipe_conn *conn);        /* what was moved; inside of the device */
void mpipe_conn_tell_rx(struct mpipe_conn *conn);
void mpipe_conns_settle(struct mpipe_dev *dev, u32 peer); /* of a peer; MLG_PIPE_NOBODY: all */
/* Waits until nothing is unread; false: something still is. */
bool mpipe_conns_drain(struct mpipe_dev *dev, unsigned int msec);
/* Our own device is gone, or the peer: something of this connection's is lost. Socket locked; before
 * mpipe_tx_abandon().
 */
bool mpipe_conn_loses(struct mpipe_conn *conn, bool own_device);
/* The peer has closed, or its module has let go of its socket. */
bool mpipe_conn_done(struct mpipe_conn *conn);
/* The peer is done, and nothing of its is unread: our end is done as well, though the socket may live long.
 * Socket locked, inside of the device.
 */
void mpipe_conn_part(struct mpipe_conn *conn, enum mlg_pipe_reason why);
/* The peer does not want our bytes any more, though it has not closed. */
bool mpipe_conn_unwanted(struct mpipe_conn *conn);
void mpipe_conn_closed(struct mpipe_conn *conn);         /* its socket goes away; socket locked, or dead */
/* Of a closed one: gives its chunks back, forgets it. */
void mpipe_conn_tidy(struct mpipe_conn *conn);
void mpipe_conn_forget(struct mpipe_conn *conn);         /* nothing of its pipe is touched any more */
/* The peer is to look, whether it waits or not; inside of the device. */
void mpipe_conn_nudge(struct mpipe_conn *conn);

/* adopt.c */
extern struct proto *mpipe_base_prot[MPIPE_FAMILIES];
extern const struct proto_ops *mpipe_base_ops[MPIPE_FAMILIES];

static inline int mpipe_family(const struct sock *sk)
{
	return sk->sk_family == AF_INET6;
}

static inline struct proto *mpipe_base(const struct sock *sk)
{
	return mpipe_base_prot[mpipe_family(sk)];
}

/* How far TCP has been read, and what it has, without the FIN, which has a number of its own. Socket
 * locked.
 */
static inline u32 mpipe_copied(const struct sock *sk, u32 *ret_received)
{
	u32 copied = READ_ONCE(tcp_sk(sk)->copied_seq);

	*ret_received = READ_ONCE(tcp_sk(sk)->rcv_nxt) - sock_flag(sk, SOCK_DONE);
	return after(copied, *ret_received) ? *ret_received : copied;
}

struct mpipe_conn *mpipe_conn_of(const struct sock *sk); /* with a reference; NULL: none */
void mpipe_abandon(struct sock *sk); /* TCP's own again, for somebody else; socket locked */
int mpipe_adopt_init(void);
void mpipe_adopt_exit(void);

/* sock.c */
void mpipe_sock_replace(struct proto *prot, struct proto_ops *ops);
void mpipe_sock_settle(struct mpipe_conn *conn, struct sock *sk); /* socket locked */
/* The socket is TCP's own again. 0; -EBUSY: at `end` (jiffies) there are still bytes in its pipe that nobody has read. */
int mpipe_sock_leave(struct mpipe_conn *conn, struct sock *sk, enum mlg_pipe_reason why, unsigned long end);
bool mpipe_sock_try_leave(struct mpipe_conn *conn, struct sock *sk); /* socket locked */

/* rest.c: socket locked but for mpipe_rest_is_next() */
/* Inside of the device, both. False: nonsense, it is reset. */
bool mpipe_rx_follow(struct mpipe_conn *conn, const struct sock *sk);
void mpipe_rest_take(struct mpipe_conn *conn, struct sock *sk);
/* Where TCP has been read up to `copied`; is asked before the pipe. */
void mpipe_watch_rest(struct mpipe_conn *conn); /* once a window, without the socket's lock */
bool mpipe_rest_is_next(const struct mpipe_conn *conn, u32 copied);
u32 mpipe_rest_unread(const struct mpipe_conn *conn);
ssize_t mpipe_rest_read(struct mpipe_conn *conn, struct msghdr *msg, size_t len, int flags);

/* detach.c */
extern const struct kernel_param_ops mpipe_detach_ops;

/* send.c, recv.c */
void mpipe_tx_to_tcp(struct mpipe_conn *conn);                    /* socket locked, inside of the device */
int mpipe_sendmsg(struct sock *sk, struct msghdr *msg, size_t len);
int mpipe_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags, int *addr_len);

/* ready.c: without the socket's lock */
bool mpipe_may_read(struct mpipe_conn *conn, const struct sock *sk);
bool mpipe_may_send(struct mpipe_conn *conn);
bool mpipe_is_readable(struct sock *sk);
bool mpipe_memory_free(const struct sock *sk, int wake);
/* Bytes in the pipe that nobody has read, and whether the sender waits; false: there is no pipe now. */
bool mpipe_rx_backlog(struct mpipe_conn *conn, u32 *ret_bytes, bool *ret_blocked);
void mpipe_rx_rearm(struct mpipe_conn *conn, struct sock *sk);
void mpipe_watch_signals(struct mpipe_conn *conn, struct sock *sk);
void mpipe_watch_sleepers(struct mpipe_conn *conn, struct sock *sk);

/* chunks.c */
int mpipe_chunks_init(struct mpipe_dev *dev);
void mpipe_chunks_exit(struct mpipe_dev *dev);
void mpipe_chunks_forget(struct mpipe_dev *dev);         /* none is ours any more */
void mpipe_chunks_granted(struct mpipe_dev *dev, u32 first, u32 count);
void mpipe_chunks_begin(struct mpipe_conn *conn);
/* Starved: all was read meanwhile. */
bool mpipe_chunk_take(struct mpipe_conn *conn, bool starved, u32 *ret_chunk);
bool mpipe_chunk_would_be_had(struct mpipe_conn *conn);
void mpipe_chunk_put(struct mpipe_conn *conn, u32 chunk);
void mpipe_chunks_leave(struct mpipe_conn *conn);
void mpipe_chunks_idle(struct mpipe_conn *conn, struct sock *sk); /* once a window, inside of the device */
/* Demand to the host, what is too many back to it. */
void mpipe_chunks_report(struct mpipe_dev *dev);

/* peers.c */
struct mpipe_dev *mpipe_peer_find(const struct mlg_pipe_address *address, u32 *ret_peer,
				  u32 *ret_peer_epoch, u32 *ret_epoch);
u32 mpipe_peers_here(struct mpipe_dev *dev);
bool mpipe_peer_known(const struct in6_addr *address);
/* It has been the other end of a pipe at that address. */
void mpipe_peer_prove(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_address *address);
/* Whether datagrams may go to, or come from, that address by this peer's rings. */
bool mpipe_peer_has_proved(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_address *address);
int mpipe_peer_send(struct mpipe_dev *dev, u32 peer, struct mlg_pipe_message *message);
void mpipe_peer_failed(struct mpipe_dev *dev, u32 peer); /* it has not become one end of a pipe */
void mpipe_addresses_publish(struct mpipe_dev *dev);
int mpipe_peers_init(void);
void mpipe_peers_exit(void);

/* rendezvous.c */
void mpipe_rendezvous_begin(struct mpipe_conn *conn);    /* any context */
void mpipe_rendezvous_hurry(struct mpipe_conn *conn, const struct sock *sk); /* bytes went by TCP, or come */
void mpipe_rendezvous_end(struct mpipe_conn *conn);      /* it is closed; any context */
void mpipe_rendezvous_work(struct work_struct *work);
void mpipe_rendezvous_expire(struct mpipe_dev *dev);
void mpipe_control_work(struct work_struct *work);
void mpipe_slot_free(struct mpipe_dev *dev, u32 slot);

/* wish.c */
struct mpipe_syn {
	struct mlg_pipe_address client, server;
	u16 client_port, server_port;
	u32 isn;
};
bool mpipe_knows_lobby(void); /* there is one */
bool mpipe_has_lobby(void);   /* and wishes can be said there */
void mpipe_wish(const struct mpipe_syn *syn, bool server); /* in hooks; server: it came for us */

/* udp.c, udp-flows.c, udp-ring.c, udp-stats.c: the rest of what they share is in udp.h */
struct mpipe_udp *mpipe_udp_new(struct mpipe_dev *dev);
void mpipe_udp_free(struct mpipe_udp *udp);
void mpipe_udp_leave(struct mpipe_dev *dev, unsigned int msec);
void mpipe_udp_forget(struct mpipe_dev *dev);
void mpipe_udp_message(struct mpipe_dev *dev, u32 peer, const struct mlg_pipe_message *m);
void mpipe_udp_bell(struct mpipe_dev *dev, u32 peer);
void mpipe_udp_tidy(struct mpipe_dev *dev);
bool mpipe_udp_is_busy(struct mpipe_dev *dev);
void mpipe_udp_detach(void); /* gives all sockets back; waits for calls of theirs */
u32 mpipe_udp_credits(struct mpipe_dev *dev, struct mp_pipe_credit **ret, u32 most);
void mpipe_udp_counters_show(struct seq_file *m);
void mpipe_udp_stats_init(struct dentry *dir);
int mpipe_udp_init(void);
void mpipe_udp_exit(void);

/* wake.c */
void mpipe_bell(struct tasklet_struct *tasklet);

/* stats.c */
enum mpipe_count {
	MPIPE_N_ADOPTED, MPIPE_N_LISTENERS, MPIPE_N_PIPES, MPIPE_N_SWITCHES, MPIPE_N_RUNG, MPIPE_N_BELLS,
	MPIPE_N_TX_PIPE, MPIPE_N_RX_PIPE, MPIPE_N_TX_TCP, MPIPE_N_RESETS, MPIPE_N_BAD_MESSAGES,
	MPIPE_N_LATE,
	MPIPE_N_RX_SLEEPS, MPIPE_N_RX_WINDOWS, MPIPE_N_TX_SLEEPS,
	MPIPE_N_COPIED_OUT,
	MPIPE_N_OPEN, /* now, as the next */
	MPIPE_N_MEMORY,
	MPIPE_COUNTS
};
extern atomic64_t mpipe_counts[MPIPE_COUNTS];
extern atomic64_t mpipe_reasons[MLG_PIPE_REASONS];

static inline void mpipe_count_add(enum mpipe_count what, u64 n)
{
	atomic64_add(n, &mpipe_counts[what]);
}

static inline void mpipe_count(enum mpipe_count what)
{
	atomic64_inc(&mpipe_counts[what]);
}

void mpipe_stats_say(struct mpipe_dev *dev); /* inside of the device */
void mpipe_show_tuple(struct seq_file *m, const struct mpipe_tuple *tuple);
/* What slabs take for it, which is more than was asked for. */
static inline void mpipe_count_memory(const void *object, bool gone)
{
	u64 bytes = object ? ksize(object) : 0;

	mpipe_count_add(MPIPE_N_MEMORY, gone ? -bytes : bytes);
}

void mpipe_stats_init(void);
void mpipe_stats_exit(void);

/* main.c */
extern struct workqueue_struct *mpipe_wq;
extern bool mpipe_enabled;
extern unsigned int mpipe_flip_bytes, mpipe_spin_usec, mpipe_window_usec;
