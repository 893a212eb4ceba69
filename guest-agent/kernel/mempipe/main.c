// SPDX-License-Identifier: GPL-2.0-or-later
/* mempipe.ko: TCP and UDP between guests of one host through shared memory. memlego/mempipe-abi.h has the protocol.
 *
 *   adopt.c       makes sockets ours from birth          send.c, recv.c  the bytes
 *   rendezvous.c  two ends agree on a pipe               ready.c         poll and waiting
 *   conn.c        the life of a connection and its pipe  sock.c          the other calls; leaving the pipe
 *   device.c      the ivshmem device                     peers.c         who is there; addresses
 *   detach.c      lets go of all sockets                 rest.c          what is unread as its memory goes
 *   wake.c        doorbells                              chunks.c        memory to send with
 *   wish.c        whom the host should bring us together with
 *   core/         plain C, tested in user space          stats.c         what there is to be seen
 *   udp*.c        datagrams; udp.h has their locks
 *
 * Locks, outer ones first:
 *
 *   conn->read_lock      one reader at a time; held while recvmsg() copies, not while it waits
 *   the socket's lock    state of a connection, both directions of its pipe; one socket at a time
 *   dev->peers_lock, dev->slots_lock, dev->chunks_lock, mpipe_conns_lock: leaves, softirqs off, none inside
 *   of another
 *
 *   mpipe_devs_lock is held by none of the above; rtnl_lock is taken inside of it (addresses).
 *   Hooks have a socket's lock already, so they take leaves only; whatever needs another socket goes
 *   through a work. No one waits for a peer or sleeps without end inside of mpipe_dev_enter().
 *
 * Lives. A connection is counted: by its slot, by dev->pipes, by whoever works with it; it holds its device
 * and the module. A listener has one as well, without a pipe. A socket that is ours holds the module by its ULP slot, too,
 * until it is destroyed or let go of (detach.c). So rmmod is refused as long as there is one, or a thread is in a
 * call of ours, and safe when there is none; calls that may sleep without a connection hold the module
 * themselves. A device that is removed outlives its mapping until the last connection is gone.
 */
#include <linux/module.h>
#include <linux/rcupdate.h>

#include "mempipe.h"

struct workqueue_struct *mpipe_wq;

bool mpipe_enabled = true;
module_param_named(enabled, mpipe_enabled, bool, 0644);
MODULE_PARM_DESC(enabled, "New connections may have pipes");

unsigned int mpipe_flip_bytes;
module_param_named(flip_bytes, mpipe_flip_bytes, uint, 0644);
MODULE_PARM_DESC(flip_bytes,
		 "For tests: switch between pipe and TCP after so many bytes on the average; 0: never");

/* As long as the kernel's idle loop does so in a guest (guest_halt_poll_ns): to be rung and woken takes less. */
unsigned int mpipe_spin_usec = 200;
module_param_named(spin_usec, mpipe_spin_usec, uint, 0644);
MODULE_PARM_DESC(spin_usec,
		 "How long a reader looks at the pipe before it sleeps, while that pays; 0: never");

/* As long as a network card holds back its interrupts: what it costs is the same. */
unsigned int mpipe_window_usec = 50;
module_param_named(window_usec, mpipe_window_usec, uint, 0644);
MODULE_PARM_DESC(window_usec,
		 "How long the reader of a stream that comes in pieces lets them gather; 0: never");

module_param_cb(detach, &mpipe_detach_ops, NULL, 0200);
MODULE_PARM_DESC(detach, "Write: gives all sockets back to TCP, so that the module can be removed");

static int __init mpipe_init(void)
{
	int err;

	mpipe_wq = alloc_workqueue(MPIPE_NAME, WQ_UNBOUND, 0);
	if (!mpipe_wq)
		return -ENOMEM;
	mpipe_stats_init();
	err = mpipe_peers_init();
	if (err < 0)
		goto fail_peers;
	err = mpipe_device_init();
	if (err < 0)
		goto fail_device;
	err = mpipe_adopt_init();
	if (err < 0)
		goto fail_adopt;
	err = mpipe_udp_init();
	if (err < 0)
		goto fail_udp;
	return 0;

fail_udp:
	mpipe_adopt_exit();
fail_adopt:
	mpipe_device_exit();
fail_device:
	mpipe_peers_exit();
fail_peers:
	mpipe_stats_exit();
	destroy_workqueue(mpipe_wq);
	return err;
}

static void __exit mpipe_exit(void)
{
	mpipe_udp_exit();
	mpipe_adopt_exit();
	mpipe_device_exit();
	mpipe_peers_exit();
	mpipe_stats_exit();
	destroy_workqueue(mpipe_wq);
	/* whoever has put the last reference is about to leave our code, and may have been preempted */
	synchronize_rcu_tasks();
	/* connections and devices are freed behind a grace period */
	rcu_barrier();
}

module_init(mpipe_init);
module_exit(mpipe_exit);
MODULE_DESCRIPTION("MemLego: TCP and UDP between guests of one host through shared memory");
MODULE_LICENSE("GPL");
