// SPDX-License-Identifier: GPL-2.0-or-later
/* Detach: gives every socket back to TCP, or UDP, on demand (/sys/module/mempipe/parameters/detach), so that the
 * module can be removed while programs go on.
 *
 * New connections get no pipes from then on (enabled=0). Each socket leaves its pipe as for an option that
 * only TCP can honour: both directions go back at once, and what is in the pipe is read first. One whose
 * program does not read stays ours, and so does what closed sockets have sent until the peer has it: its
 * module takes it out of the pipe, whatever its program does. Slots need no answer of the peer's any more
 * (conn.c: is_over()).
 */
#include <linux/delay.h>
#include <linux/mm.h>
#include <linux/module.h>

#include "mempipe.h"

#define DETACH_MSEC 5000 /* all of them together */
#define PASS_MSEC 20

static u32 count_conns(void)
{
	struct mpipe_conn *conn;
	u32 n = 0;

	spin_lock_bh(&mpipe_conns_lock);
	list_for_each_entry(conn, &mpipe_conns, node)
		n++;
	spin_unlock_bh(&mpipe_conns_lock);
	return n;
}

/* Each with a reference; how many. */
static u32 collect(struct mpipe_conn **ret, u32 most)
{
	struct mpipe_conn *conn;
	u32 n = 0;

	spin_lock_bh(&mpipe_conns_lock);
	list_for_each_entry(conn, &mpipe_conns, node)
		if (n < most && refcount_inc_not_zero(&conn->ref))
			ret[n++] = conn;
	spin_unlock_bh(&mpipe_conns_lock);
	return n;
}

/* Asks all of them, and waits for none. */
static void leave_all(void)
{
	u32 most = count_conns() + 64, n, i;
	struct mpipe_conn **conns = kvcalloc(most, sizeof(*conns), GFP_KERNEL);
	struct sock *sk;

	n = conns ? collect(conns, most) : 0;
	for (i = 0; i < n; i++) {
		sk = mpipe_conn_sock(conns[i]);
		if (sk) {
			(void)mpipe_sock_leave(conns[i], sk, MLG_PIPE_OFF, jiffies);
			sock_put(sk);
		}
		mpipe_conn_put(conns[i]);
		cond_resched();
	}
	kvfree(conns);
}

/* Why they are not given back yet: as of now, for people. */
static void say_why(u32 n)
{
	u32 unread = 0, sends = 0, left = 0;
	struct mpipe_conn *conn;

	spin_lock_bh(&mpipe_conns_lock);
	list_for_each_entry(conn, &mpipe_conns, node)
		if (READ_ONCE(conn->state) == MPIPE_LEFT)
			left++;
		else if (READ_ONCE(conn->n_tcp_sends))
			sends++;
		else
			unread++;
	spin_unlock_bh(&mpipe_conns_lock);
	pr_info(MPIPE_NAME ": %u sockets are not given back: of %u bytes in the pipe are unread, in %u a "
		"send() sleeps, of %u that are closed the peer has not got all, or a call of theirs ends\n",
		n, unread, sends, left);
}

/* Again and again: what listeners have accepted meanwhile, who has read his pipe to the end, threads that slept
 * and are on their way out.
 */
static int detach(void)
{
	unsigned long end = jiffies + msecs_to_jiffies(DETACH_MSEC);
	u32 n;

	for (;;) {
		leave_all();
		n = count_conns();
		if (n == 0 || time_after(jiffies, end))
			break;
		msleep(PASS_MSEC);
	}
	if (n == 0)
		return 0;
	say_why(n);
	return -EBUSY;
}

static int set_detach(const char *value, const struct kernel_param *param)
{
	int err;

	/* by modprobe.d at loading, or too late */
	if (THIS_MODULE->state != MODULE_STATE_LIVE || !try_module_get(THIS_MODULE))
		return -EINVAL;
	mpipe_enabled = false;
	synchronize_rcu(); /* whoever was about to make one ours has */
	mpipe_udp_detach();
	err = detach();
	module_put(THIS_MODULE);
	return err;
}

const struct kernel_param_ops mpipe_detach_ops = {
	.set = set_detach,
};
