// SPDX-License-Identifier: GPL-2.0-or-later
/* Peers: who else is in the group, at which addresses, and who we are to them.
 *
 * The host's table says who is there; dev->watch_work follows it. A peer's own section says its addresses;
 * they only choose whom to ask, so a peer that claims another's gains nothing: it cannot prove that the
 * connection is its own. Nor can it keep others from their pipes: where several claim an address, the one
 * is asked who failed least often.
 */
#include <linux/inetdevice.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <net/addrconf.h>
#include <net/if_inet6.h>

#include "mempipe.h"

/* While bytes are moved: the window over which demand is measured, and what is more than that is given back.
 * In a simulation of one pipe, whose demand is most uncertain, 85 % of what the host backs are in use with
 * 10 ms, 68 % with 100.
 */
#define WATCH_MOVING_MSEC 20
#define WATCH_BUSY_MSEC 100 /* with pipes, or waiting for the host */
#define WATCH_IDLE_MSEC 1000
#define ALIVE_MSEC 10000 /* as the contract has it */

/* ---------------------------------------------------------------- addresses of others */

/* By dev->peers_lock. What changes while it is read is read another time. */
static void read_addresses(struct mpipe_peer *peer, const struct mlg_pipe_section *section)
{
	u32 seq = smp_load_acquire(&section->address_seq), n = READ_ONCE(section->n_addresses), i, j;

	if ((seq & 1) || seq == peer->address_seq)
		return;
	n = min(n, MLG_PIPE_ADDRESSES);
	for (i = 0; i < n; i++)
		for (j = 0; j < sizeof(peer->addresses[i].bytes); j++)
			peer->addresses[i].bytes[j] = READ_ONCE(section->addresses[i].bytes[j]);
	smp_rmb();
	peer->n_addresses = n;
	peer->address_seq = READ_ONCE(section->address_seq) == seq ? seq : 1;
}

/* Its module is there, speaks as we do, and stays. By dev->peers_lock, inside of the device. */
static bool has_module(struct mpipe_dev *dev, u32 id)
{
	const struct mlg_pipe_section *section = mp_section(dev->base, id);
	const struct mpipe_peer *peer = &dev->peers[id];

	return id != dev->self && peer->epoch != 0 && !peer->leaving &&
	       READ_ONCE(section->version) == MLG_PIPE_VERSION && READ_ONCE(section->epoch) == peer->epoch;
}

static bool peer_has(struct mpipe_dev *dev, u32 id, const struct mlg_pipe_address *address)
{
	struct mpipe_peer *peer = &dev->peers[id];
	u32 i;

	if (!has_module(dev, id))
		return false;
	read_addresses(peer, mp_section(dev->base, id));
	for (i = 0; i < peer->n_addresses; i++)
		if (memcmp(&peer->addresses[i], address, sizeof(*address)) == 0)
			return true;
	return false;
}

/* Of how many other guests connections can have pipes. */
u32 mpipe_peers_here(struct mpipe_dev *dev)
{
	u32 id, n = 0;

	if (!mpipe_dev_enter(dev))
		return 0;
	spin_lock_bh(&dev->peers_lock);
	for (id = 1; id < MLG_PIPE_PEERS; id++)
		n += has_module(dev, id) && READ_ONCE(mp_section(dev->base, id)->n_addresses) > 0;
	spin_unlock_bh(&dev->peers_lock);
	mpipe_dev_leave(dev);
	return n;
}

/* Somebody else may have it as well, as bridges of containers do; who connects to it here means ours. By dev->peers_lock. */
static bool is_own(const struct mpipe_dev *dev, const struct mlg_pipe_address *address)
{
	const struct mpipe_peer *self = &dev->peers[dev->self];
	u32 i;

	for (i = 0; i < self->n_addresses; i++)
		if (memcmp(&self->addresses[i], address, sizeof(*address)) == 0)
			return true;
	return false;
}

static bool dev_find(struct mpipe_dev *dev, const struct mlg_pipe_address *address, u32 *ret_peer,
		     u32 *ret_peer_epoch, u32 *ret_epoch)
{
	u32 id, best = 0;

	if (mpipe_dev_goes(dev) || !mpipe_dev_enter(dev))
		return false;
	spin_lock_bh(&dev->peers_lock);
	for (id = 1; id < MLG_PIPE_PEERS && dev->epoch && !is_own(dev, address); id++)
		if (peer_has(dev, id, address) &&
		    (!best || dev->peers[id].n_failed < dev->peers[best].n_failed))
			best = id;
	*ret_peer = best;
	*ret_peer_epoch = dev->peers[best].epoch;
	*ret_epoch = dev->epoch;
	spin_unlock_bh(&dev->peers_lock);
	mpipe_dev_leave(dev);
	return best != 0;
}

void mpipe_peer_failed(struct mpipe_dev *dev, u32 peer)
{
	spin_lock_bh(&dev->peers_lock);
	dev->peers[peer].n_failed++;
	spin_unlock_bh(&dev->peers_lock);
}

/* With a reference to the device; NULL: nobody that we know. */
struct mpipe_dev *mpipe_peer_find(const struct mlg_pipe_address *address, u32 *ret_peer, u32 *ret_peer_epoch,
				  u32 *ret_epoch)
{
	struct mpipe_dev *dev;

	rcu_read_lock();
	list_for_each_entry_rcu(dev, &mpipe_devs, node)
		if (dev_find(dev, address, ret_peer, ret_peer_epoch, ret_epoch) &&
		    kref_get_unless_zero(&dev->kref))
			break;
	if (list_entry_is_head(dev, &mpipe_devs, node))
		dev = NULL;
	rcu_read_unlock();
	return dev;
}

void mpipe_peer_prove(struct mpipe_dev *dev, u32 id, const struct mlg_pipe_address *address)
{
	struct mpipe_peer *peer = &dev->peers[id];

	if (mpipe_peer_has_proved(dev, id, address))
		return;
	spin_lock_bh(&dev->peers_lock);
	peer->proved[peer->n_proved++ % MPIPE_PROVED_MOST] = *address;
	spin_unlock_bh(&dev->peers_lock);
}

/* What is said of a datagram proves that somebody knows it, and it may be one that can be guessed. In a
 * group, whose members trust each other, that is enough. Where they do not (we have a lobby) a peer's word
 * for its addresses is not: it would get what we send to somebody else. The two numbers of a pipe's
 * connection cannot be guessed.
 */
bool mpipe_peer_has_proved(struct mpipe_dev *dev, u32 id, const struct mlg_pipe_address *address)
{
	const struct mpipe_peer *peer = &dev->peers[id];
	bool has = !mpipe_knows_lobby();
	u32 i;

	spin_lock_bh(&dev->peers_lock);
	for (i = 0; i < min_t(u32, peer->n_proved, MPIPE_PROVED_MOST) && !has; i++)
		has = memcmp(&peer->proved[i], address, sizeof(*address)) == 0;
	spin_unlock_bh(&dev->peers_lock);
	return has;
}

bool mpipe_peer_known(const struct in6_addr *address)
{
	struct mpipe_dev *dev = NULL;
	u32 peer, peer_epoch, epoch;

	if (mpipe_enabled)
		dev = mpipe_peer_find((const struct mlg_pipe_address *)address, &peer, &peer_epoch, &epoch);
	if (dev)
		mpipe_dev_put(dev);
	return dev;
}

/* ---------------------------------------------------------------- our own */

static u32 add_v4(struct net_device *netdev, struct mlg_pipe_address *ret, u32 n)
{
	struct in_device *in_dev = __in_dev_get_rtnl(netdev);
	const struct in_ifaddr *ifa;

	if (!in_dev)
		return n;
	in_dev_for_each_ifa_rtnl(ifa, in_dev) {
		if (n < MLG_PIPE_ADDRESSES)
			ipv6_addr_set_v4mapped(ifa->ifa_local, (struct in6_addr *)ret[n++].bytes);
	}
	return n;
}

static u32 add_v6(struct net_device *netdev, struct mlg_pipe_address *ret, u32 n)
{
	struct inet6_dev *idev = __in6_dev_get(netdev);
	const struct inet6_ifaddr *ifa;

	if (!idev)
		return n;
	read_lock_bh(&idev->lock);
	list_for_each_entry(ifa, &idev->addr_list, if_list) {
		if (n < MLG_PIPE_ADDRESSES)
			memcpy(ret[n++].bytes, &ifa->addr, sizeof(ifa->addr));
	}
	read_unlock_bh(&idev->lock);
	return n;
}

/* Of all network namespaces, the initial one first: there is room for 64. By rtnl_lock. */
static u32 collect_addresses(struct mlg_pipe_address *ret)
{
	struct net_device *netdev;
	struct net *net;
	u32 n = 0;

	down_read(&net_rwsem);
	for_each_net(net)
		for_each_netdev(net, netdev) {
			if (netdev->flags & IFF_LOOPBACK)
				continue;
			n = add_v4(netdev, ret, n);
			n = add_v6(netdev, ret, n);
		}
	up_read(&net_rwsem);
	return n;
}

/* In a work; inside of the device. */
void mpipe_addresses_publish(struct mpipe_dev *dev)
{
	struct mlg_pipe_section *section = mp_section(dev->base, dev->self);
	struct mpipe_peer *self = &dev->peers[dev->self];
	struct mlg_pipe_address *found = kcalloc(MLG_PIPE_ADDRESSES, sizeof(*found), GFP_KERNEL);
	u32 n, seq;

	if (!found)
		return;
	rtnl_lock(); /* the only writers are serialized by it, too */
	n = collect_addresses(found);
	seq = READ_ONCE(section->address_seq) | 1;
	WRITE_ONCE(section->address_seq, seq);
	smp_wmb();
	memcpy(section->addresses, found, n * sizeof(*found));
	WRITE_ONCE(section->n_addresses, n);
	smp_store_release(&section->address_seq, seq + 1);
	spin_lock_bh(&dev->peers_lock);
	memcpy(self->addresses, found, n * sizeof(*found));
	self->n_addresses = n;
	spin_unlock_bh(&dev->peers_lock);
	rtnl_unlock();
	kfree(found);
}

static void addresses_work(struct work_struct *work)
{
	struct mpipe_dev *dev;

	mutex_lock(&mpipe_devs_lock);
	list_for_each_entry(dev, &mpipe_devs, node) {
		if (!mpipe_dev_enter(dev))
			continue;
		mpipe_addresses_publish(dev);
		mpipe_dev_leave(dev);
	}
	mutex_unlock(&mpipe_devs_lock);
}

static DECLARE_WORK(addresses, addresses_work);

static int on_address(struct notifier_block *block, unsigned long event, void *ifa)
{
	queue_work(mpipe_wq, &addresses);
	return NOTIFY_DONE;
}

static struct notifier_block on_address_v4 = {.notifier_call = on_address};
static struct notifier_block on_address_v6 = {.notifier_call = on_address};

int mpipe_peers_init(void)
{
	int err = register_inetaddr_notifier(&on_address_v4);

	if (err < 0)
		return err;
	err = register_inet6addr_notifier(&on_address_v6);
	if (err < 0)
		unregister_inetaddr_notifier(&on_address_v4);
	return err;
}

void mpipe_peers_exit(void)
{
	unregister_inet6addr_notifier(&on_address_v6);
	unregister_inetaddr_notifier(&on_address_v4);
	cancel_work_sync(&addresses);
}

/* ---------------------------------------------------------------- who is there */

/* Fills in the epoch. 0; -EAGAIN: its ring is full. Inside of the device. */
int mpipe_peer_send(struct mpipe_dev *dev, u32 peer, struct mlg_pipe_message *message)
{
	int err;

	message->epoch = dev->epoch;
	spin_lock_bh(&dev->peers_lock);
	err = mp_ctl_put(&dev->peers[peer].to, message);
	spin_unlock_bh(&dev->peers_lock);
	if (err == 0 && mp_ctl_tell(mp_pair(dev->base, dev->self, peer)))
		mpipe_dev_ring(dev, peer);
	return err;
}

/* Rings begin anew: the host has emptied them with the peer's last epoch. When it is we who begin, what is
 * there was for our predecessor. By dev->peers_lock.
 */
static void begin_with(struct mpipe_dev *dev, u32 id, bool skip)
{
	struct mpipe_peer *peer = &dev->peers[id];
	struct mlg_pipe_pair *from = mp_pair(dev->base, id, dev->self);

	peer->address_seq = 1;
	peer->n_addresses = 0;
	peer->n_proved = 0;
	mp_ctl_tx_init(&peer->to, mp_pair(dev->base, dev->self, id));
	mp_ctl_rx_init(&peer->from, from, id, dev->self, dev->n_chunks, skip);
}

static void watch_peer(struct mpipe_dev *dev, u32 id)
{
	const struct mlg_pipe_peer *shared = mp_peer(dev->base, id);
	u32 state = READ_ONCE(shared->state), epoch = READ_ONCE(shared->epoch);
	struct mpipe_peer *peer = &dev->peers[id];
	bool leaving = state == MLG_PIPE_LEAVING, changed;

	if (state != MLG_PIPE_PRESENT && !leaving)
		epoch = 0;
	spin_lock_bh(&dev->peers_lock);
	changed = epoch != peer->epoch || leaving != peer->leaving;
	if (epoch != peer->epoch)
		begin_with(dev, id, false);
	peer->epoch = epoch;
	peer->leaving = leaving;
	spin_unlock_bh(&dev->peers_lock);
	if (changed)
		mpipe_conns_settle(dev, id);
}

static void show_self(struct mpipe_dev *dev)
{
	struct mlg_pipe_section *section = mp_section(dev->base, dev->self);

	mpipe_addresses_publish(dev);
	WRITE_ONCE(section->session, dev->session);
	WRITE_ONCE(section->epoch, dev->epoch);
	smp_store_release(&section->version, MLG_PIPE_VERSION);
}

/* Nobody else has to write there, but others can. */
static bool is_self_shown(struct mpipe_dev *dev)
{
	const struct mlg_pipe_section *section = mp_section(dev->base, dev->self);
	const struct mpipe_peer *self = &dev->peers[dev->self];

	return READ_ONCE(section->version) == MLG_PIPE_VERSION && READ_ONCE(section->epoch) == dev->epoch &&
	       READ_ONCE(section->session) == dev->session &&
	       READ_ONCE(section->n_addresses) == READ_ONCE(self->n_addresses) &&
	       memcmp(section->addresses, self->addresses, sizeof(self->addresses[0]) * self->n_addresses) == 0;
}

/* The host has given us another epoch, as it does for a new session: nothing of before is true. */
static void begin(struct mpipe_dev *dev, u32 epoch)
{
	u32 id;

	spin_lock_bh(&dev->peers_lock);
	dev->epoch = epoch;
	for (id = 0; id < MLG_PIPE_PEERS; id++)
		if (id != dev->self)
			begin_with(dev, id, true);
	dev->peers[MLG_PIPE_HOST].epoch = READ_ONCE(mp_peer(dev->base, MLG_PIPE_HOST)->epoch);
	spin_unlock_bh(&dev->peers_lock);
	mpipe_chunks_forget(dev);
	mpipe_conns_settle(dev, MLG_PIPE_NOBODY);
	show_self(dev);
	(void)mp_ctl_tell(mp_pair(dev->base, dev->self, MLG_PIPE_HOST));
	mpipe_dev_ring(dev, MLG_PIPE_HOST);
	/* limited, as is the host's silence below: a member can write over the host's words as often as it likes */
	dev_info_ratelimited(&dev->pdev->dev, "peer %u of the group, epoch %u\n", dev->self, epoch);
}

static void knock(struct mpipe_dev *dev)
{
	struct mlg_pipe_section *section = mp_section(dev->base, dev->self);

	WRITE_ONCE(section->version, 0);
	smp_store_release(&section->session, dev->session);
	(void)mp_ctl_tell(mp_pair(dev->base, dev->self, MLG_PIPE_HOST));
	mpipe_dev_ring(dev, MLG_PIPE_HOST);
}

/* The host has given us another epoch without being asked, or somebody has written over its words. Whichever
 * it was: with another session both of us begin anew, and agree on what is ours.
 */
static void restart(struct mpipe_dev *dev)
{
	dev->session = get_random_u32() ?: 1;
	spin_lock_bh(&dev->peers_lock);
	dev->epoch = 0;
	spin_unlock_bh(&dev->peers_lock);
	mpipe_conns_settle(dev, MLG_PIPE_NOBODY);
}

static void watch_self(struct mpipe_dev *dev)
{
	const struct mlg_pipe_peer *self = mp_peer(dev->base, dev->self);
	u32 epoch = READ_ONCE(self->epoch);
	bool answered = READ_ONCE(self->session) == dev->session &&
			READ_ONCE(self->state) != MLG_PIPE_ABSENT;

	if (dev->epoch && (!answered || epoch != dev->epoch)) {
		restart(dev);
		answered = false;
	}
	if (!answered)
		knock(dev);
	else if (epoch != dev->epoch && epoch != 0)
		begin(dev, epoch);
	else if (dev->epoch && !is_self_shown(dev))
		show_self(dev);
	if ((READ_ONCE(self->state) == MLG_PIPE_LEAVING) != dev->leaving) {
		dev->leaving = !dev->leaving;
		mpipe_conns_settle(dev, MLG_PIPE_NOBODY);
	}
}

/* A host that does not count any more would not tell us of a peer's death. */
static void watch_host(struct mpipe_dev *dev)
{
	u32 alive = READ_ONCE(mp_header(dev->base)->alive);
	bool unwatched;

	if (alive != dev->alive || !dev->alive_at) {
		dev->alive = alive;
		dev->alive_at = jiffies;
	}
	unwatched = time_after(jiffies, dev->alive_at + msecs_to_jiffies(ALIVE_MSEC));
	if (unwatched == dev->unwatched)
		return;
	WRITE_ONCE(dev->unwatched, unwatched);
	dev_info_ratelimited(&dev->pdev->dev, unwatched ? "the host has been silent for %u s: back to TCP\n"
							: "the host is back, after more than %u s\n",
			     ALIVE_MSEC / 1000);
	if (unwatched)
		mpipe_conns_settle(dev, MLG_PIPE_NOBODY);
}

static void tidy_one(struct mpipe_conn *conn)
{
	struct sock *sk = mpipe_conn_sock(conn);

	if (READ_ONCE(conn->state) == MPIPE_LEFT) /* closed, and something is left of it */
		mpipe_conn_tidy(conn);
	if (sk) {
		mpipe_watch_rest(conn);
		mpipe_watch_signals(conn, sk);
		mpipe_watch_sleepers(conn, sk);
		mpipe_chunks_idle(conn, sk);
		sock_put(sk);
	}
}

static void tidy(struct mpipe_dev *dev)
{
	struct mpipe_conn *conn;
	unsigned long key;

	rcu_read_lock();
	xa_for_each(&dev->pipes, key, conn) {
		if (!refcount_inc_not_zero(&conn->ref))
			continue;
		rcu_read_unlock();
		tidy_one(conn);
		mpipe_conn_put(conn);
		rcu_read_lock();
	}
	rcu_read_unlock();
}

/* Whether bytes were sent since the last time. */
static bool has_moved(struct mpipe_dev *dev)
{
	u64 sent = atomic64_read(&dev->sent);
	bool moved = sent != dev->sent_seen;

	dev->sent_seen = sent;
	return moved;
}

void mpipe_watch_work(struct work_struct *work)
{
	struct mpipe_dev *dev = container_of(to_delayed_work(work), struct mpipe_dev, watch_work);
	unsigned int again = WATCH_IDLE_MSEC;
	u32 id;

	WRITE_ONCE(dev->watched_at, jiffies);
	if (mpipe_dev_enter(dev)) {
		watch_self(dev);
		watch_host(dev);
		/* a doorbell that was lost: as long as bell is set nobody rings again */
		tasklet_schedule(&dev->bell);
		if (dev->epoch) {
			for (id = 1; id < MLG_PIPE_PEERS; id++)
				if (id != dev->self)
					watch_peer(dev, id);
			mpipe_rendezvous_expire(dev);
			tidy(dev);
			mpipe_udp_tidy(dev);
			mpipe_chunks_report(dev);
			mpipe_stats_say(dev);
		}
		if (!dev->epoch || !xa_empty(&dev->pipes) || mpipe_udp_is_busy(dev))
			again = has_moved(dev) ? WATCH_MOVING_MSEC : WATCH_BUSY_MSEC;
		mpipe_dev_leave(dev);
		queue_work(mpipe_wq, &dev->control_work);
	} else {
		tidy(dev);
	}
	if (!READ_ONCE(dev->gone))
		queue_delayed_work(mpipe_wq, &dev->watch_work, msecs_to_jiffies(again));
}
