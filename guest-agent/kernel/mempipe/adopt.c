// SPDX-License-Identifier: GPL-2.0-or-later
/* Adopt: makes TCP sockets ours from birth, so that nobody is ever asleep in a recvmsg() that knows nothing
 * of pipes.
 *
 * A client's socket is taken as its SYN leaves, a listener as a SYN arrives: what it accepts is born with
 * our protocol (the kernel clones the listener's). Both happen in netfilter's hooks behind all others, so
 * whatever a firewall has to say has been said. Then a socket has
 *   - sk_prot and socket->ops of ours: copies of TCP's with some functions replaced (sock.c), as kTLS does
 *   it;
 *   - the ULP slot: it holds our connection, is called when the socket is cloned and destroyed, holds a
 *     reference to the module and shows itself in ss.
 * The operations are but TCP's without some, none of them our code. They are in memory that is never freed,
 * half a KiB each time that the module is loaded: an accept() that sleeps holds them already for the socket that will come, and
 * must not keep the module from being removed.
 * Sockets that somebody else has a hand in (another protocol, ULP, BPF, sk_user_data, the kernel's own)
 * stay as they are.
 */
#include <linux/ip.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "mempipe.h"

struct proto *mpipe_base_prot[MPIPE_FAMILIES];
const struct proto_ops *mpipe_base_ops[MPIPE_FAMILIES];
static struct proto our_prot[MPIPE_FAMILIES];
static struct proto_ops *our_ops[MPIPE_FAMILIES];

static bool is_ours(const struct sock *sk)
{
	return READ_ONCE(sk->sk_prot) == &our_prot[mpipe_family(sk)];
}

static void ulp_release(struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct mpipe_conn *conn = rcu_dereference_protected(icsk->icsk_ulp_data, true);

	rcu_assign_pointer(icsk->icsk_ulp_data, NULL);
	if (!conn)
		return;
	mpipe_conn_closed(conn);
	mpipe_conn_put(conn);
}

static void ulp_clone(const struct request_sock *req, struct sock *child, const gfp_t gfp);

static struct tcp_ulp_ops our_ulp = {
	.name = MPIPE_NAME,
	.owner = THIS_MODULE,
	.release = ulp_release,
	.clone = ulp_clone,
};

/* With a reference. After a socket went to another ULP (mpipe_abandon()) its slot is not ours any more: the
 * data is read first, as it is replaced after the ops.
 */
struct mpipe_conn *mpipe_conn_of(const struct sock *sk)
{
	const struct inet_connection_sock *icsk = inet_csk(sk);
	struct mpipe_conn *conn;

	rcu_read_lock();
	conn = rcu_dereference(icsk->icsk_ulp_data);
	smp_rmb();
	if (READ_ONCE(icsk->icsk_ulp_ops) != &our_ulp || (conn && !refcount_inc_not_zero(&conn->ref)))
		conn = NULL;
	rcu_read_unlock();
	return conn;
}

static void set_v4(struct mlg_pipe_address *ret, __be32 address)
{
	ipv6_addr_set_v4mapped(address, (struct in6_addr *)ret->bytes);
}

static void set_v6(struct mlg_pipe_address *ret, const struct in6_addr *address)
{
	memcpy(ret->bytes, address, sizeof(ret->bytes));
}

static void tuple_of_request(const struct inet_request_sock *req, struct mpipe_tuple *ret)
{
	if (req->ireq_family == AF_INET6) {
		set_v6(&ret->local, &req->ir_v6_loc_addr);
		set_v6(&ret->remote, &req->ir_v6_rmt_addr);
	} else {
		set_v4(&ret->local, req->ir_loc_addr);
		set_v4(&ret->remote, req->ir_rmt_addr);
	}
	ret->local_port = req->ir_num;
	ret->remote_port = ntohs(req->ir_rmt_port);
}

/* Of a client whose SYN leaves. A socket of IPv6 has the mapped addresses of IPv4 in both of its sets. */
static void tuple_of_sock(const struct sock *sk, struct mpipe_tuple *ret)
{
	if (sk->sk_family == AF_INET6) {
		set_v6(&ret->local, &sk->sk_v6_rcv_saddr);
		set_v6(&ret->remote, &sk->sk_v6_daddr);
	} else {
		set_v4(&ret->local, sk->sk_rcv_saddr);
		set_v4(&ret->remote, sk->sk_daddr);
	}
	ret->local_port = sk->sk_num;
	ret->remote_port = ntohs(sk->sk_dport);
}

/* The child is ours: locked, not hashed yet, seen by nobody. */
static void ulp_clone(const struct request_sock *req, struct sock *child, const gfp_t gfp)
{
	struct inet_connection_sock *icsk = inet_csk(child);
	struct mpipe_conn *conn;

	struct mpipe_tuple tuple;

	__module_get(THIS_MODULE);
	/* what outlives us (a TIME_WAIT socket, the memory of this one) must not remember our copy of TCP's
	 * protocol
	 */
	child->sk_prot_creator = mpipe_base(child);
	tuple_of_request(inet_rsk(req), &tuple);
	conn = mpipe_conn_new(child, true, &tuple, gfp);
	if (conn) {
		conn->isn_client = tcp_rsk(req)->rcv_isn;
		conn->isn_server = tcp_rsk(req)->snt_isn;
	}
	rcu_assign_pointer(icsk->icsk_ulp_data, conn);
}

/* Gives an accepted socket our operations. accept() takes the listener's, but a thread that was asleep in
 * it already as the listener became ours took TCP's. It lets go of the child's lock before anybody can have
 * a descriptor of it.
 */
static void our_release_cb(struct sock *sk)
{
	int family = mpipe_family(sk);

	if (sk->sk_socket && READ_ONCE(sk->sk_socket->ops) == mpipe_base_ops[family]) {
		write_lock(&sk->sk_callback_lock);
		if (sk->sk_socket && sk->sk_socket->ops == mpipe_base_ops[family])
			WRITE_ONCE(sk->sk_socket->ops, our_ops[family]);
		write_unlock(&sk->sk_callback_lock);
	}
	mpipe_base_prot[family]->release_cb(sk);
}

/* Nobody else has a hand in it. */
static bool is_plain(const struct sock *sk)
{
	return sk->sk_type == SOCK_STREAM && !sk->sk_kern_sock && !rcu_access_pointer(sk->sk_user_data) &&
	       !inet_csk(sk)->icsk_ulp_ops && !tcp_sk(sk)->repair && !tcp_sk(sk)->fastopen_req &&
	       READ_ONCE(sk->sk_prot) == mpipe_base(sk);
}

/* Locked by the caller. False: somebody has replaced its operations. */
static bool take(struct sock *sk, struct mpipe_conn *conn)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	int family = mpipe_family(sk);
	bool ok = false;

	write_lock_bh(&sk->sk_callback_lock);
	if (sk->sk_socket && READ_ONCE(sk->sk_socket->ops) == mpipe_base_ops[family]) {
		__module_get(THIS_MODULE); /* of the ULP slot: TCP puts it */
		rcu_assign_pointer(icsk->icsk_ulp_data, conn);
		WRITE_ONCE(icsk->icsk_ulp_ops, &our_ulp);
		WRITE_ONCE(sk->sk_socket->ops, our_ops[family]);
		smp_store_release(&sk->sk_prot, &our_prot[family]);
		ok = true;
	}
	write_unlock_bh(&sk->sk_callback_lock);
	return ok;
}

/* For good: TCP's own protocol, and the slot is free for somebody else. Socket locked; the caller waits for
 * a grace period before somebody else may take the slot.
 */
void mpipe_abandon(struct sock *sk)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct mpipe_conn *conn = rcu_dereference_protected(icsk->icsk_ulp_data, true);
	int family = mpipe_family(sk);

	if (!is_ours(sk) || icsk->icsk_ulp_ops != &our_ulp)
		return;
	write_lock_bh(&sk->sk_callback_lock);
	WRITE_ONCE(sk->sk_prot, mpipe_base_prot[family]);
	WRITE_ONCE(icsk->icsk_ulp_ops, NULL);
	smp_wmb();
	rcu_assign_pointer(icsk->icsk_ulp_data, NULL);
	if (sk->sk_socket && sk->sk_socket->ops == our_ops[family])
		WRITE_ONCE(sk->sk_socket->ops, mpipe_base_ops[family]);
	write_unlock_bh(&sk->sk_callback_lock);
	if (conn) {
		mpipe_conn_closed(conn);
		mpipe_conn_put(conn);
	}
	module_put(THIS_MODULE);
}

/* ---------------------------------------------------------------- hooks */

static void wish_of_client(const struct mpipe_tuple *t, u32 isn)
{
	mpipe_wish(&(struct mpipe_syn){t->local, t->remote, t->local_port, t->remote_port, isn}, false);
}

/* The SYN came for a listener of ours. */
static void wish_of_server(const struct in6_addr *client, const struct in6_addr *server, const struct tcphdr *th)
{
	struct mpipe_syn syn = {
		.client_port = ntohs(th->source),
		.server_port = ntohs(th->dest),
		.isn = ntohl(th->seq),
	};

	set_v6(&syn.client, client);
	set_v6(&syn.server, server);
	mpipe_wish(&syn, true);
}

/* A SYN of ours leaves; its socket is locked. */
static void client_begins(struct sock *sk, const struct tcphdr *th)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct mpipe_conn *conn = NULL, *old;
	struct mpipe_tuple tuple;

	if (is_ours(sk)) { /* a SYN again, or the socket's second life after a disconnect */
		old = rcu_dereference_protected(icsk->icsk_ulp_data, true);
		if (old && old->state != MPIPE_LEFT && old->state != MPIPE_LISTENS)
			return;
	} else {
		old = NULL;
		if (!is_plain(sk))
			return;
	}
	tuple_of_sock(sk, &tuple);
	conn = mpipe_conn_new(sk, false, &tuple, GFP_ATOMIC);
	if (!conn)
		return;
	conn->isn_client = ntohl(th->seq);
	if (is_ours(sk)) {
		rcu_assign_pointer(icsk->icsk_ulp_data, conn);
		if (old)
			mpipe_conn_put(old);
	} else if (conn->state == MPIPE_TCP || !take(sk, conn)) {
		/* to nobody that we know: not worth a thing */
		if (conn->reason == MLG_PIPE_NO_PEER && mpipe_has_lobby())
			wish_of_client(&tuple, conn->isn_client);
		mpipe_conn_closed(conn);
		mpipe_conn_put(conn);
	}
}

/* The first packet of an established client: the last of the handshake. */
static void client_established(struct sock *sk, const struct tcphdr *th)
{
	struct mpipe_conn *conn = rcu_dereference_protected(inet_csk(sk)->icsk_ulp_data, true);

	if (!conn || conn->state != MPIPE_NEW || conn->server || conn->isn_server)
		return;
	conn->isn_server = ntohl(th->ack_seq) - 1;
	mpipe_rendezvous_begin(conn);
}

static unsigned int hook_out(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	struct sock *sk = state->sk;
	const struct tcphdr *th;

	if (!sk || !sk_fullsock(sk) || sk->sk_protocol != IPPROTO_TCP || sk->sk_state == TCP_LISTEN)
		return NF_ACCEPT;
	th = tcp_hdr(skb);
	if (sk->sk_state == TCP_SYN_SENT && th->syn && !th->ack)
		client_begins(sk, th);
	else if (sk->sk_state == TCP_ESTABLISHED && is_ours(sk) && th->ack && !th->syn)
		client_established(sk, th);
	return NF_ACCEPT;
}

/* Locked by the caller. */
static void take_listener(struct sock *sk)
{
	struct mpipe_conn *conn = NULL;

	if (sk->sk_state == TCP_LISTEN && is_plain(sk))
		conn = mpipe_conn_listens(sk, GFP_ATOMIC);
	if (conn && take(sk, conn)) {
		mpipe_count(MPIPE_N_LISTENERS);
	} else if (conn) {
		mpipe_conn_closed(conn);
		mpipe_conn_put(conn);
	}
}

/* A listener whose owner was busy with it. */
struct busy_listener {
	struct work_struct work;
	struct sock *sk;
};

#define BUSY_MOST 64 /* at once: an owner is busy for microseconds */
static atomic_t n_busy = ATOMIC_INIT(0);

static void busy_work(struct work_struct *work)
{
	struct busy_listener *busy = container_of(work, struct busy_listener, work);

	lock_sock(busy->sk);
	take_listener(busy->sk);
	release_sock(busy->sk);
	sock_put(busy->sk);
	kfree(busy);
	atomic_dec(&n_busy);
}

/* The owner is most often on his way into accept(), and done before the handshake is. In the hook of a SYN. */
static void take_listener_later(struct sock *sk)
{
	struct busy_listener *busy = NULL;

	if (atomic_inc_return(&n_busy) <= BUSY_MOST)
		busy = kzalloc(sizeof(*busy), GFP_ATOMIC);
	if (!busy || !refcount_inc_not_zero(&sk->sk_refcnt)) {
		kfree(busy);
		atomic_dec(&n_busy);
		return;
	}
	busy->sk = sk;
	INIT_WORK(&busy->work, busy_work);
	queue_work(mpipe_wq, &busy->work);
}

/* A SYN for this listener arrives: what it accepts is to be ours. */
static void listener_taken(struct sock *sk)
{
	bh_lock_sock(sk);
	if (!sock_owned_by_user(sk))
		take_listener(sk);
	else if (is_plain(sk))
		take_listener_later(sk);
	bh_unlock_sock(sk);
}

static unsigned int hook_in_v4(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	const struct iphdr *ip = ip_hdr(skb);
	const struct tcphdr *th;
	struct tcphdr buf;
	struct in6_addr from, to;
	struct sock *sk;
	bool known;

	if (ip->protocol != IPPROTO_TCP)
		return NF_ACCEPT;
	th = skb_header_pointer(skb, ip->ihl * 4, sizeof(buf), &buf);
	if (!th || !th->syn || th->ack)
		return NF_ACCEPT;
	ipv6_addr_set_v4mapped(ip->saddr, &from);
	ipv6_addr_set_v4mapped(ip->daddr, &to);
	known = mpipe_peer_known(&from);
	if (!known && !mpipe_has_lobby())
		return NF_ACCEPT;
	rcu_read_lock();
	sk = __inet_lookup_listener(state->net, compat_tcp_hashinfo(state->net), skb,
				    ip->ihl * 4 + __tcp_hdrlen(th), ip->saddr, th->source, ip->daddr,
				    ntohs(th->dest), inet_iif(skb), inet_sdif(skb));
	if (sk && known)
		listener_taken(sk);
	else if (sk)
		wish_of_server(&from, &to, th);
	rcu_read_unlock();
	return NF_ACCEPT;
}

static unsigned int hook_in_v6(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	const struct ipv6hdr *ip = ipv6_hdr(skb);
	u8 protocol = ip->nexthdr;
	const struct tcphdr *th;
	struct tcphdr buf;
	struct sock *sk;
	__be16 fragment;
	int offset;
	bool known;

	offset = ipv6_skip_exthdr(skb, sizeof(*ip), &protocol, &fragment);
	if (offset < 0 || protocol != IPPROTO_TCP)
		return NF_ACCEPT;
	th = skb_header_pointer(skb, offset, sizeof(buf), &buf);
	if (!th || !th->syn || th->ack)
		return NF_ACCEPT;
	known = mpipe_peer_known(&ip->saddr);
	if (!known && !mpipe_has_lobby())
		return NF_ACCEPT;
	rcu_read_lock();
	sk = inet6_lookup_listener(state->net, compat_tcp_hashinfo(state->net), skb,
				   offset + __tcp_hdrlen(th), &ip->saddr, th->source, &ip->daddr,
				   ntohs(th->dest), inet6_iif(skb), inet6_sdif(skb));
	if (sk && known)
		listener_taken(sk);
	else if (sk)
		wish_of_server(&ip->saddr, &ip->daddr, th);
	rcu_read_unlock();
	return NF_ACCEPT;
}

static const struct nf_hook_ops hooks[] = {
	{.hook = hook_out, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP_PRI_LAST},
	{.hook = hook_in_v4, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN, .priority = NF_IP_PRI_LAST},
	{.hook = hook_out, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP6_PRI_LAST},
	{.hook = hook_in_v6, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_IN, .priority = NF_IP6_PRI_LAST},
};

/* ---------------------------------------------------------------- protocols */

/* IPv6's are exported by nobody, but any socket has them. */
static int find_base(int family, struct proto **ret_prot, const struct proto_ops **ret_ops)
{
	struct socket *sock;
	int err = sock_create_kern(&init_net, family, SOCK_STREAM, IPPROTO_TCP, &sock);

	if (err < 0)
		return err;
	*ret_prot = sock->sk->sk_prot;
	*ret_ops = sock->ops;
	sock_release(sock);
	return 0;
}

/* Of each network namespace: connections of a container are as good as others. */
static int net_begins(struct net *net)
{
	return nf_register_net_hooks(net, hooks, ARRAY_SIZE(hooks));
}

/* Its last socket is gone. What it has sent and was not read yet does not need it any more. */
static void net_ends(struct net *net)
{
	nf_unregister_net_hooks(net, hooks, ARRAY_SIZE(hooks));
}

static struct pernet_operations each_net = {.init = net_begins, .exit = net_ends};

int mpipe_adopt_init(void)
{
	int family, err;

	for (family = 0; family < MPIPE_FAMILIES; family++) {
		err = find_base(family ? AF_INET6 : AF_INET, &mpipe_base_prot[family],
				&mpipe_base_ops[family]);
		if (err == -EAFNOSUPPORT && family) /* booted without IPv6 */
			continue;
		if (err < 0)
			return err;
		our_prot[family] = *mpipe_base_prot[family];
		our_ops[family] = kmemdup(mpipe_base_ops[family], sizeof(*our_ops[family]), GFP_KERNEL);
		if (!our_ops[family])
			return -ENOMEM;
		our_prot[family].release_cb = our_release_cb;
		mpipe_sock_replace(&our_prot[family], our_ops[family]);
	}
	return register_pernet_subsys(&each_net);
}

/* No socket is ours any more, as each holds the module; those that begin now are refused by that. */
void mpipe_adopt_exit(void)
{
	unregister_pernet_subsys(&each_net);
}
