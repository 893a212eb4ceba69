// SPDX-License-Identifier: GPL-2.0-or-later
/* Wish: tells the host of SYNs to and from addresses that none of our regions has, where it has given us a
 * lobby ("Lobbies" in memlego/mempipe-abi.h). Both ends of a SYN say the same number, so the host knows who
 * talks to whom and need not believe anybody. In a hook, whatever it holds.
 */
#include <linux/jhash.h>
#include <linux/siphash.h>

#include "mempipe.h"

/* Of one address the first ones are said, then one of some: which, follows from the number, so that both
 * ends choose the same. The host hears no more of us than this anyway.
 */
#define WINDOW_MSEC 10000
#define FIRST_ONES 8
#define ONE_OF 64
#define PER_SEC_MOST 50
#define RECENT 256

static struct {
	u32 hash, n;
	unsigned long since; /* jiffies */
} recent[RECENT];
static unsigned long second_since;
static u32 n_in_second;
static DEFINE_SPINLOCK(recent_lock);

static u64 number_of(const struct mpipe_syn *syn)
{
	siphash_key_t key = {{syn->isn, MLG_PIPE_WISH}};
	struct {
		struct mlg_pipe_address client, server;
		u16 client_port, server_port;
		u32 zero;
	} what = {
		.client = syn->client,
		.server = syn->server,
		.client_port = syn->client_port,
		.server_port = syn->server_port,
	};

	BUILD_BUG_ON(sizeof(what) != 40); /* no holes */
	return siphash(&what, sizeof(what), &key);
}

static bool is_due(const struct mlg_pipe_address *other, u64 number)
{
	u32 hash = jhash(other, sizeof(*other), 0), i = hash % RECENT;
	bool due;

	spin_lock_bh(&recent_lock);
	if (recent[i].hash != hash || recent[i].n == 0 ||
	    time_after(jiffies, recent[i].since + msecs_to_jiffies(WINDOW_MSEC))) {
		recent[i].hash = hash;
		recent[i].n = 0;
		recent[i].since = jiffies;
	}
	if (time_after(jiffies, second_since + HZ)) {
		second_since = jiffies;
		n_in_second = 0;
	}
	due = (recent[i].n < FIRST_ONES || number % ONE_OF == 0) && n_in_second < PER_SEC_MOST;
	if (recent[i].n < FIRST_ONES)
		recent[i].n++;
	n_in_second += due;
	spin_unlock_bh(&recent_lock);
	return due;
}

/* One that the host has told our epoch. By RCU. */
static struct mpipe_dev *find_lobby(void)
{
	struct mpipe_dev *dev;

	list_for_each_entry_rcu(dev, &mpipe_devs, node)
		if (dev->lobby && READ_ONCE(dev->epoch) && !READ_ONCE(dev->gone))
			return dev;
	return NULL;
}

bool mpipe_knows_lobby(void)
{
	struct mpipe_dev *dev;
	bool is = false;

	rcu_read_lock();
	list_for_each_entry_rcu(dev, &mpipe_devs, node)
		is = is || dev->lobby;
	rcu_read_unlock();
	return is;
}

bool mpipe_has_lobby(void)
{
	bool has;

	rcu_read_lock();
	has = mpipe_enabled && find_lobby();
	rcu_read_unlock();
	return has;
}

void mpipe_wish(const struct mpipe_syn *syn, bool server)
{
	struct mlg_pipe_message m = {.type = MLG_PIPE_WISH, .proof = number_of(syn)};
	struct mpipe_dev *dev;

	if (memcmp(&syn->client, &syn->server, sizeof(syn->client)) == 0 || /* with itself */
	    !is_due(server ? &syn->client : &syn->server, m.proof))
		return;
	rcu_read_lock();
	dev = find_lobby();
	if (dev && mpipe_dev_enter(dev)) {
		/* the ring is full: the next SYN will do */
		(void)mpipe_peer_send(dev, MLG_PIPE_HOST, &m);
		mpipe_dev_leave(dev);
	}
	rcu_read_unlock();
}
