// SPDX-License-Identifier: GPL-2.0-or-later
/* UDP's sockets that are ours: which they are, so that they can be given back.
 *
 * A socket that is in the table has our protocol and holds the module; whoever takes it out puts that. It is
 * taken out before it is closed, so as long as the table is locked it is there. Somebody else's protocol may
 * have been put on top of ours (sockmap): then it stays ours until that one lets go of it, by closing.
 */
#include <linux/hash.h>
#include <linux/slab.h>

#include "udp.h"

#define BUCKET_BITS 8

struct our_sock {
	struct hlist_node node;
	struct sock *sk;
	struct proto *base, *ours;
};

static DEFINE_SPINLOCK(lock);
static struct hlist_head buckets[1 << BUCKET_BITS];

static struct hlist_head *bucket_of(const struct sock *sk)
{
	return &buckets[hash_ptr(sk, BUCKET_BITS)];
}

/* In a hook. */
bool mpipe_udp_sock_take(struct sock *sk, struct proto *base, struct proto *ours)
{
	struct our_sock *our = kmalloc(sizeof(*our), GFP_ATOMIC);
	bool taken;

	if (!our)
		return false;
	our->sk = sk;
	our->base = base;
	our->ours = ours;
	spin_lock_bh(&lock);
	taken = cmpxchg(&sk->sk_prot, base, ours) == base;
	if (taken)
		hlist_add_head(&our->node, bucket_of(sk));
	spin_unlock_bh(&lock);
	if (!taken)
		kfree(our);
	return taken;
}

/* By the lock; false: somebody else's protocol is on top. */
static bool restore(const struct our_sock *our)
{
	return cmpxchg(&our->sk->sk_prot, our->ours, our->base) == our->ours;
}

bool mpipe_udp_sock_give_up(const struct sock *sk)
{
	struct our_sock *our;
	bool found;

	spin_lock_bh(&lock);
	hlist_for_each_entry(our, bucket_of(sk), node)
		if (our->sk == sk)
			break;
	found = our;
	if (found) {
		hlist_del(&our->node);
		restore(our);
	}
	spin_unlock_bh(&lock);
	kfree(our);
	return found;
}

u32 mpipe_udp_socks_give_up(void)
{
	struct our_sock *our;
	struct hlist_node *next;
	u32 i, n = 0;

	for (i = 0; i < ARRAY_SIZE(buckets); i++) {
		spin_lock_bh(&lock);
		hlist_for_each_entry_safe(our, next, &buckets[i], node) {
			if (!restore(our))
				continue;
			hlist_del(&our->node);
			mpipe_flows_forget(our->sk);
			kfree(our);
			n++;
		}
		spin_unlock_bh(&lock);
		cond_resched();
	}
	return n;
}
