// SPDX-License-Identifier: GPL-2.0-only
/* wall: the least of a firewall. Drops UDP datagrams to the port `in` that come in, and to the port `out` that go out, at the place
 * where iptables' and nftables' filters have theirs; 0: none. Both can be changed at any time. The test image has no nft.
 */
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/module.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <linux/udp.h>

static ushort in, out;
module_param(in, ushort, 0644);
module_param(out, ushort, 0644);

static unsigned int filter(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	bool v6 = state->pf == NFPROTO_IPV6;
	ushort port = state->hook == NF_INET_LOCAL_IN ? in : out;
	int at = v6 ? sizeof(struct ipv6hdr) : ip_hdr(skb)->ihl * 4;
	const struct udphdr *uh;
	struct udphdr buf;

	if ((v6 ? ipv6_hdr(skb)->nexthdr : ip_hdr(skb)->protocol) != IPPROTO_UDP || !port)
		return NF_ACCEPT;
	uh = skb_header_pointer(skb, at, sizeof(buf), &buf);
	return uh && ntohs(uh->dest) == port ? NF_DROP : NF_ACCEPT;
}

static const struct nf_hook_ops hooks[] = {
	{.hook = filter, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_IN, .priority = NF_IP_PRI_FILTER},
	{.hook = filter, .pf = NFPROTO_IPV4, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP_PRI_FILTER},
	{.hook = filter, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_IN, .priority = NF_IP6_PRI_FILTER},
	{.hook = filter, .pf = NFPROTO_IPV6, .hooknum = NF_INET_LOCAL_OUT, .priority = NF_IP6_PRI_FILTER},
};

static int __init wall_init(void)
{
	return nf_register_net_hooks(&init_net, hooks, ARRAY_SIZE(hooks));
}

static void __exit wall_exit(void)
{
	nf_unregister_net_hooks(&init_net, hooks, ARRAY_SIZE(hooks));
}

module_init(wall_init);
module_exit(wall_exit);
MODULE_DESCRIPTION("A firewall for tests");
MODULE_LICENSE("GPL");
