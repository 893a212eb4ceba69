// SPDX-License-Identifier: GPL-2.0-or-later
/* UDP: sockets that send to peers, and the two places at which datagrams are seen on the network.
 *
 * A socket is ours from its first datagram to a peer on: its sk_prot is a copy of UDP's with a sendmsg() of
 * ours, which gives to UDP's own whatever it does not send itself. Its receiving side stays UDP's: what
 * comes by a ring comes up through the stack.
 *
 * What a flow is, its addresses and its header's fields, is learned from datagrams that UDP has made: in the
 * hook behind all others, and only from those that our sendmsg() let through because nothing was special
 * about them. Anything that may change them (an option, connect(), a mark) makes the flow be learned anew.
 *
 * Lives: a socket of ours holds the module until it is closed, has become IPv4's (IPV6_ADDRFORM) or is given
 * back (mpipe_udp_detach()). Who is in a call of ours then is waited for (`callers`).
 */
#include <linux/bpf-cgroup.h>
#include <linux/ip.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/srcu.h>
#include <linux/udp.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/l3mdev.h>
#include <net/udp.h>

#include "udp.h"

/* Flags of sendmsg() that mean nothing for the way of a datagram. */
#define PLAIN_FLAGS (MSG_DONTWAIT | MSG_NOSIGNAL | MSG_BATCH | MSG_CMSG_COMPAT)
#define WAIT_MSEC 10 /* for room, at a time */
#define WAITS_MOST 10 /* then the datagram is dropped, as by a device's queue that is full */

static struct proto *base_prot[MPIPE_FAMILIES];
static struct proto our_prot[MPIPE_FAMILIES];
DEFINE_STATIC_SRCU(callers);

static bool is_ours(const struct sock *sk)
{
	return READ_ONCE(sk->sk_prot) == &our_prot[mpipe_family(sk)];
}

/* ---------------------------------------------------------------- datagrams without anything special */

/* Who is in the base's sendmsg() with such a datagram, and whether that one is to be offered: an entry is
 * found only by its own thread, in the hook below. Two that share an entry: one is not found, this time.
 */
#define OFFER 1UL
static unsigned long plain_senders[256];

static unsigned long *plain_entry(void)
{
	return &plain_senders[((unsigned long)current >> 6) % ARRAY_SIZE(plain_senders)];
}

static int send_plain(struct sock *sk, struct msghdr *msg, size_t len, bool offer)
{
	unsigned long *entry = plain_entry(), self = (unsigned long)current | (offer ? OFFER : 0);
	int n;

	WRITE_ONCE(*entry, self);
	n = base_prot[mpipe_family(sk)]->sendmsg(sk, msg, len);
	cmpxchg(entry, self, 0);
	return n;
}

static bool sends_plain(bool *ret_offer)
{
	unsigned long entry = READ_ONCE(*plain_entry());

	*ret_offer = entry & OFFER;
	return in_task() && (entry & ~OFFER) == (unsigned long)current;
}

static bool has_bpf(struct sock *sk)
{
#ifdef CONFIG_CGROUP_BPF
	return (cgroup_bpf_enabled(CGROUP_INET_EGRESS) && cgroup_bpf_sock_enabled(sk, CGROUP_INET_EGRESS)) ||
	       (cgroup_bpf_enabled(CGROUP_UDP4_SENDMSG) && cgroup_bpf_sock_enabled(sk, CGROUP_UDP4_SENDMSG)) ||
	       (cgroup_bpf_enabled(CGROUP_UDP6_SENDMSG) && cgroup_bpf_sock_enabled(sk, CGROUP_UDP6_SENDMSG));
#else
	return false;
#endif
}

static bool has_options(struct sock *sk)
{
	const struct udp_sock *up = udp_sk(sk);

	if (READ_ONCE(up->pending) || udp_test_bit(CORK, sk) || READ_ONCE(up->gso_size) || READ_ONCE(up->encap_type) ||
	    READ_ONCE(sk->sk_tsflags) || rcu_access_pointer(inet_sk(sk)->inet_opt))
		return true;
	return sk->sk_family == AF_INET6 && rcu_access_pointer(inet6_sk(sk)->opt);
}

/* 0, or what is special. */
static enum mpipe_udp_count what_is_special(struct sock *sk, const struct msghdr *msg, size_t len)
{
	if (msg->msg_flags & ~PLAIN_FLAGS)
		return MPIPE_UDP_BY_FLAGS;
	if (msg->msg_controllen)
		return MPIPE_UDP_BY_CONTROL;
	if (len > MLG_PIPE_DATAGRAM_BYTES)
		return MPIPE_UDP_BY_SIZE;
	if (READ_ONCE(sk->sk_err) || (READ_ONCE(sk->sk_shutdown) & SEND_SHUTDOWN))
		return MPIPE_UDP_BY_ERROR; /* is for UDP's sendmsg() to say */
	if (has_options(sk))
		return MPIPE_UDP_BY_OPTION;
	return has_bpf(sk) ? MPIPE_UDP_BY_BPF : 0;
}

/* ---------------------------------------------------------------- where to */

static void set_v4(struct mlg_pipe_address *ret, __be32 address)
{
	ipv6_addr_set_v4mapped(address, (struct in6_addr *)ret->bytes);
}

static bool named_v4(const struct msghdr *msg, struct mlg_pipe_address *ret, u16 *ret_port)
{
	const struct sockaddr_in *to = msg->msg_name;

	if (msg->msg_namelen < sizeof(*to) || to->sin_family != AF_INET)
		return false;
	set_v4(ret, to->sin_addr.s_addr);
	*ret_port = ntohs(to->sin_port);
	return true;
}

static bool named_v6(const struct msghdr *msg, struct mlg_pipe_address *ret, u16 *ret_port)
{
	const struct sockaddr_in6 *to = msg->msg_name;

	/* the scope of a link-local address is not in our tables */
	if (msg->msg_namelen < sizeof(*to) || to->sin6_family != AF_INET6 || to->sin6_flowinfo ||
	    ipv6_addr_type(&to->sin6_addr) & IPV6_ADDR_LINKLOCAL)
		return false;
	memcpy(ret->bytes, &to->sin6_addr, sizeof(ret->bytes));
	*ret_port = ntohs(to->sin6_port);
	return true;
}

/* False: UDP's sendmsg() finds out. */
static bool find_remote(const struct sock *sk, const struct msghdr *msg, struct mlg_pipe_address *ret, u16 *ret_port)
{
	if (msg->msg_name)
		return sk->sk_family == AF_INET ? named_v4(msg, ret, ret_port) : named_v6(msg, ret, ret_port);
	if (sk->sk_state != TCP_ESTABLISHED)
		return false;
	if (sk->sk_family == AF_INET)
		set_v4(ret, sk->sk_daddr);
	else
		memcpy(ret->bytes, &sk->sk_v6_daddr, sizeof(ret->bytes));
	*ret_port = ntohs(sk->sk_dport);
	return true;
}

/* ---------------------------------------------------------------- sending */

static void count_sent(const struct sock *sk, const struct mpipe_flow *flow)
{
	if (ipv6_addr_v4mapped((const struct in6_addr *)flow->tuple.remote.bytes))
		UDP_INC_STATS(&init_net, UDP_MIB_OUTDATAGRAMS, 0);
	else
		UDP6_INC_STATS(&init_net, UDP_MIB_OUTDATAGRAMS, 0);
}

/* 1; 0: there was no room, and it was dropped; < 0: by the network, for this reason. */
static int send_by_ring(struct mpipe_flow *flow, struct msghdr *msg, size_t len)
{
	bool may_wait = !(msg->msg_flags & MSG_DONTWAIT);
	int n, waits = 0;

	for (;;) {
		if (!mpipe_dev_enter(flow->dev))
			return -MPIPE_UDP_BY_PEER_LEAVES;
		n = mpipe_ring_send(flow, msg, len);
		mpipe_dev_leave(flow->dev);
		if (n != -EAGAIN)
			break;
		if (!may_wait || waits++ == WAITS_MOST || signal_pending(current)) {
			mpipe_udp_add(MPIPE_UDP_FULL, 1);
			return 0;
		}
		mpipe_ring_wait(flow, WAIT_MSEC);
	}
	if (n == 1)
		return 1;
	if (n == -ESTALE || n == -EPROTO) {
		mpipe_flow_forget(flow);
		return -MPIPE_UDP_BY_PEER_LEAVES;
	}
	return n == 0 ? -MPIPE_UDP_BY_NO_CHUNK : -MPIPE_UDP_BY_ERROR;
}

/* The flow is of what the socket is now. */
static bool is_as_learned(const struct sock *sk, const struct mpipe_flow *flow, size_t len)
{
	return flow->tuple.local_port == inet_sk(sk)->inet_num && flow->mark == READ_ONCE(sk->sk_mark) &&
	       flow->bound_dev_if == READ_ONCE(sk->sk_bound_dev_if) && len <= flow->most;
}

static enum mp_flow_way way_of(struct mpipe_flow *flow)
{
	bool idle = false;
	enum mp_flow_way way;

	if (mpipe_dev_enter(flow->dev)) {
		idle = mpipe_ring_is_idle(flow->dev, flow->peer);
		mpipe_dev_leave(flow->dev);
	}
	spin_lock_bh(&flow->lock);
	way = mp_flow_way(&flow->state, idle, mpipe_now_usec());
	spin_unlock_bh(&flow->lock);
	return way;
}

/* What is read by the peer from the offer on is there before it is made. */
static bool may_offer(struct mpipe_flow *flow)
{
	bool ok = false;

	if (mpipe_enabled && mpipe_dev_enter(flow->dev)) {
		ok = mpipe_ring_begin(flow->dev, flow->peer);
		mpipe_dev_leave(flow->dev);
	}
	return ok;
}

static int send_of_flow(struct sock *sk, struct mpipe_flow *flow, struct msghdr *msg, size_t len)
{
	enum mpipe_udp_count why = MPIPE_UDP_BY_LEARNING;
	bool offer = false;
	int n;

	WRITE_ONCE(flow->used, jiffies);
	if (!is_as_learned(sk, flow, len)) {
		why = MPIPE_UDP_BY_OPTION;
	} else {
		switch (way_of(flow)) {
		case MP_FLOW_BY_RING:
			n = send_by_ring(flow, msg, len);
			if (n >= 0) {
				count_sent(sk, flow);
				return len;
			}
			why = -n;
			break;
		case MP_FLOW_BY_NET_OFFER:
			offer = may_offer(flow);
			why = MPIPE_UDP_BY_OFFER;
			break;
		case MP_FLOW_BY_NET:
			break;
		}
	}
	mpipe_udp_add(why, 1);
	return send_plain(sk, msg, len, offer);
}

static int our_sendmsg(struct sock *sk, struct msghdr *msg, size_t len)
{
	enum mpipe_udp_count special = what_is_special(sk, msg, len);
	struct mlg_pipe_address remote;
	struct mpipe_flow *flow = NULL;
	int n, idx;
	u16 port;

	idx = srcu_read_lock(&callers);
	if (special) {
		mpipe_udp_add(special, 1);
		n = base_prot[mpipe_family(sk)]->sendmsg(sk, msg, len);
	} else {
		if (find_remote(sk, msg, &remote, &port))
			flow = mpipe_flow_find(sk, &remote, port);
		if (!flow)
			mpipe_udp_add(MPIPE_UDP_BY_NO_PEER, 1);
		n = flow ? send_of_flow(sk, flow, msg, len) : send_plain(sk, msg, len, false);
		if (flow)
			mpipe_flow_put(flow);
	}
	srcu_read_unlock(&callers, idx);
	return n;
}

/* ---------------------------------------------------------------- the life of a socket of ours */

static void our_close(struct sock *sk, long timeout)
{
	struct proto *base = base_prot[mpipe_family(sk)];
	int idx = srcu_read_lock(&callers);
	bool was_ours = mpipe_udp_sock_give_up(sk);

	mpipe_flows_forget(sk);
	base->close(sk, timeout);
	srcu_read_unlock(&callers, idx);
	if (was_ours)
		module_put(THIS_MODULE);
}

static int our_connect(struct sock *sk, struct sockaddr *address, int len)
{
	int idx = srcu_read_lock(&callers), err;

	err = base_prot[mpipe_family(sk)]->connect(sk, address, len);
	mpipe_flows_forget(sk);
	srcu_read_unlock(&callers, idx);
	return err;
}

static int our_disconnect(struct sock *sk, int flags)
{
	int idx = srcu_read_lock(&callers), err;

	err = base_prot[mpipe_family(sk)]->disconnect(sk, flags);
	mpipe_flows_forget(sk);
	srcu_read_unlock(&callers, idx);
	return err;
}

static int our_setsockopt(struct sock *sk, int level, int option, sockptr_t value, unsigned int len)
{
	struct proto *base = base_prot[mpipe_family(sk)];
	int idx = srcu_read_lock(&callers), err;
	/* changes protocol and family under us: the socket is taken anew with its next datagram */
	bool was_ours = level == SOL_IPV6 && option == IPV6_ADDRFORM && mpipe_udp_sock_give_up(sk);

	err = base->setsockopt(sk, level, option, value, len);
	mpipe_flows_forget(sk);
	srcu_read_unlock(&callers, idx);
	if (was_ours)
		module_put(THIS_MODULE);
	return err;
}

static void adopt(struct sock *sk)
{
	int family = mpipe_family(sk);

	if (sk->sk_kern_sock || rcu_access_pointer(sk->sk_user_data) || !try_module_get(THIS_MODULE))
		return;
	if (mpipe_udp_sock_take(sk, base_prot[family], &our_prot[family]))
		mpipe_udp_add(MPIPE_UDP_SOCKETS, 1);
	else
		module_put(THIS_MODULE);
}

/* The caller has seen to it that none is adopted any more. */
void mpipe_udp_detach(void)
{
	u32 n = mpipe_udp_socks_give_up();

	if (n == 0)
		return;
	synchronize_rcu_tasks(); /* whoever was about to enter a call of ours has */
	synchronize_srcu(&callers);
	while (n--)
		module_put(THIS_MODULE);
}

/* ---------------------------------------------------------------- hooks */

/* The digest of the contract; `at`: where the UDP header begins. */
static u64 digest_of(const struct sk_buff *skb, int at, u32 udp_len)
{
	static const siphash_key_t zero;
	struct {
		u32 len;
		u8 bytes[MLG_PIPE_DIGEST_BYTES];
	} what = {.len = udp_len};
	u32 n = min_t(u32, udp_len - sizeof(struct udphdr), sizeof(what.bytes));

	if (skb_copy_bits(skb, at + sizeof(struct udphdr), what.bytes, n) < 0)
		return 0;
	return siphash(&what, sizeof(what.len) + n, &zero) ?: 1;
}

/* Addresses and ports; `ours` are the source's if `out`. False: no UDP header here. */
static bool read_packet(struct sk_buff *skb, bool v6, bool out, struct mpipe_tuple *ret, int *ret_at, u32 *ret_len)
{
	struct mlg_pipe_address *from = out ? &ret->local : &ret->remote, *to = out ? &ret->remote : &ret->local;
	const struct udphdr *uh;
	struct udphdr buf;

	if (v6) {
		u8 protocol = ipv6_hdr(skb)->nexthdr;
		__be16 fragment = 0;

		*ret_at = ipv6_skip_exthdr(skb, sizeof(struct ipv6hdr), &protocol, &fragment);
		if (*ret_at < 0 || protocol != IPPROTO_UDP || fragment & htons(IP6_OFFSET))
			return false;
		memcpy(from->bytes, &ipv6_hdr(skb)->saddr, sizeof(from->bytes));
		memcpy(to->bytes, &ipv6_hdr(skb)->daddr, sizeof(to->bytes));
	} else {
		if (ip_hdr(skb)->protocol != IPPROTO_UDP)
			return false;
		*ret_at = ip_hdr(skb)->ihl * 4;
		set_v4(from, ip_hdr(skb)->saddr);
		set_v4(to, ip_hdr(skb)->daddr);
	}
	uh = skb_header_pointer(skb, *ret_at, sizeof(buf), &buf);
	if (!uh || ntohs(uh->len) < sizeof(*uh))
		return false;
	ret->local_port = ntohs(out ? uh->source : uh->dest);
	ret->remote_port = ntohs(out ? uh->dest : uh->source);
	*ret_len = ntohs(uh->len);
	return true;
}

/* Datagrams longer than the path takes are refused to a socket that forbids fragments. */
static u32 most_of(const struct sock *sk, const struct sk_buff *skb, bool v6)
{
	u32 headers = (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr)) + sizeof(struct udphdr);
	int discover = v6 ? inet6_sk(sk)->pmtudisc : inet_sk(sk)->pmtudisc;
	bool whole = discover == IP_PMTUDISC_DO || discover == IP_PMTUDISC_PROBE || (v6 && compat_dontfrag(sk));
	u32 most = v6 ? MLG_PIPE_DATAGRAM_BYTES : MLG_PIPE_DATAGRAM_BYTES - sizeof(struct iphdr);

	return whole ? min_t(u32, most, dst_mtu(skb_dst(skb)) - headers) : most;
}

/* What later ones are to be like. */
static void learn_header(struct mpipe_flow *flow, const struct sock *sk, const struct sk_buff *skb, bool v6)
{
	flow->mark = READ_ONCE(sk->sk_mark);
	flow->bound_dev_if = READ_ONCE(sk->sk_bound_dev_if);
	flow->most = most_of(sk, skb, v6);
	if (v6) {
		flow->tos = ipv6_get_dsfield(ipv6_hdr(skb));
		flow->ttl = ipv6_hdr(skb)->hop_limit;
		flow->label = ntohl(ip6_flowlabel(ipv6_hdr(skb)));
	} else {
		flow->tos = ip_hdr(skb)->tos;
		flow->ttl = ip_hdr(skb)->ttl;
	}
}

static void learn(struct sock *sk, struct sk_buff *skb, bool v6, bool offer)
{
	struct mpipe_tuple tuple;
	struct mpipe_flow *flow;
	u64 digest, nonce, ask = 0;
	u32 len;
	int at;

	/* IPsec is what somebody wants: it stays so */
	if (!skb_dst(skb) || dst_xfrm(skb_dst(skb)) || !read_packet(skb, v6, true, &tuple, &at, &len))
		return;
	flow = mpipe_flow_learn(sk, &tuple);
	if (!flow)
		return;
	digest = digest_of(skb, at, len);
	nonce = get_random_u64() >> MP_NONCE_SHIFT;
	spin_lock_bh(&flow->lock);
	learn_header(flow, sk, skb, v6);
	flow->n_net++;
	mp_flow_sent(&flow->state, digest);
	if (offer)
		ask = mp_flow_offer(&flow->state, digest, nonce, mpipe_flow_prove, mpipe_now_usec());
	spin_unlock_bh(&flow->lock);
	if (offer)
		mpipe_flow_say_offer(flow, nonce, ask);
	mpipe_flow_put(flow);
}

/* Most datagrams go to nobody that we know: the last ones are remembered for a second. */
static bool is_to_peer(const struct in6_addr *address)
{
	static struct {
		struct in6_addr address;
		unsigned long until;
	} misses[64];
	u32 i = ipv6_addr_hash(address) % ARRAY_SIZE(misses);

	if (ipv6_addr_equal(&misses[i].address, address) && time_before(jiffies, READ_ONCE(misses[i].until)))
		return false;
	if (mpipe_peer_known(address))
		return true;
	misses[i].address = *address; /* torn by another's: a peer may be missed for a second */
	WRITE_ONCE(misses[i].until, jiffies + HZ);
	return false;
}

static unsigned int hook_out(struct sk_buff *skb, const struct nf_hook_state *state, bool v6)
{
	struct sock *sk = state->sk;
	struct in6_addr to;
	bool offer;

	if (list_empty(&mpipe_devs) || !sk || !sk_fullsock(sk) || sk->sk_protocol != IPPROTO_UDP ||
	    sk->sk_type != SOCK_DGRAM)
		return NF_ACCEPT;
	if (is_ours(sk)) {
		if (sends_plain(&offer))
			learn(sk, skb, v6, offer);
		return NF_ACCEPT;
	}
	if (v6)
		to = ipv6_hdr(skb)->daddr;
	else
		ipv6_addr_set_v4mapped(ip_hdr(skb)->daddr, &to);
	if (READ_ONCE(sk->sk_prot) == base_prot[mpipe_family(sk)] && is_to_peer(&to))
		adopt(sk);
	return NF_ACCEPT;
}

static unsigned int hook_in(struct sk_buff *skb, bool v6)
{
	const struct net_device *netdev = skb->dev;
	struct mpipe_tuple tuple;
	u64 digest;
	u32 len;
	int at;

	if (!atomic_read(&mpipe_n_rx_flows) || this_cpu_read(mpipe_injecting) || netdev->type != ARPHRD_ETHER ||
	    netif_is_l3_master(netdev) || !skb_mac_header_was_set(skb))
		return NF_ACCEPT;
	if (!read_packet(skb, v6, false, &tuple, &at, &len) || !mpipe_rx_flow_known(&tuple))
		return NF_ACCEPT;
	digest = digest_of(skb, at, len);
	if (digest)
		mpipe_rx_flow_saw(&tuple, digest, netdev->ifindex, eth_hdr(skb)->h_source);
	return NF_ACCEPT;
}

static unsigned int hook_out_v4(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return hook_out(skb, state, false);
}

static unsigned int hook_out_v6(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return hook_out(skb, state, true);
}

static unsigned int hook_in_v4(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return hook_in(skb, false);
}

static unsigned int hook_in_v6(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	return hook_in(skb, true);
}

static const struct nf_hook_ops hooks[] = {
	{.hook = hook_out_v4, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP_PRI_LAST},
	{.hook = hook_in_v4, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN, .priority = NF_IP_PRI_LAST},
	{.hook = hook_out_v6, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP6_PRI_LAST},
	{.hook = hook_in_v6, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_IN, .priority = NF_IP6_PRI_LAST},
};

/* IPv6's protocol is exported by nobody, but any socket has it. */
static int find_base(int family, struct proto **ret)
{
	struct socket *sock;
	int err = sock_create_kern(&init_net, family, SOCK_DGRAM, IPPROTO_UDP, &sock);

	if (err < 0)
		return err;
	*ret = sock->sk->sk_prot;
	sock_release(sock);
	return 0;
}

int mpipe_udp_init(void)
{
	int family, err;

	for (family = 0; family < MPIPE_FAMILIES; family++) {
		err = find_base(family ? AF_INET6 : AF_INET, &base_prot[family]);
		if (err == -EAFNOSUPPORT && family) /* booted without IPv6 */
			continue;
		if (err < 0)
			return err;
		our_prot[family] = *base_prot[family];
		our_prot[family].sendmsg = our_sendmsg;
		our_prot[family].close = our_close;
		our_prot[family].connect = our_connect;
		our_prot[family].disconnect = our_disconnect;
		our_prot[family].setsockopt = our_setsockopt;
	}
	return nf_register_net_hooks(&init_net, hooks, ARRAY_SIZE(hooks));
}

/* No socket is ours any more, as each holds a reference to the module. */
void mpipe_udp_exit(void)
{
	nf_unregister_net_hooks(&init_net, hooks, ARRAY_SIZE(hooks));
	synchronize_srcu(&callers);
}
