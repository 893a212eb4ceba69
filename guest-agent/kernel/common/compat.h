/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compat: everything that differs between the kernels that MemLego's modules are built for (6.1 and 6.12).
 * No other file looks at the kernel's version.
 */
#pragma once

#include <linux/ipv6.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/socket.h>
#include <linux/version.h>
#include <net/sock.h>
#include <net/tcp.h>

/* 6.5: sendpage is gone, MSG_SPLICE_PAGES came; ioctl of a protocol got its integer copied. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 5, 0)
#define COMPAT_HAS_SENDPAGE 1
#define COMPAT_IOCTL_ARG unsigned long

/* What is sent by page must not overtake what goes by our own sendmsg: the kernel then makes a sendmsg of
 * it.
 */
static inline void compat_plain_sendpage(struct proto *prot, struct proto_ops *ops)
{
	prot->sendpage = NULL;
	ops->sendpage = sock_no_sendpage;
	ops->sendpage_locked = NULL;
}

static inline int compat_ioctl_answer(unsigned long arg, int value)
{
	return put_user(value, (int __user *)arg);
}
#else
#define COMPAT_IOCTL_ARG int *

static inline void compat_plain_sendpage(struct proto *prot, struct proto_ops *ops)
{
}

static inline int compat_ioctl_answer(int *karg, int value)
{
	*karg = value;
	return 0;
}
#endif

/* 6.7: sockets' bit fields became bits of one word. */
static inline bool compat_dontfrag(const struct sock *sk)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	return inet6_sk(sk)->dontfrag;
#else
	return inet6_test_bit(DONTFRAG, sk);
#endif
}

static inline struct inet_hashinfo *compat_tcp_hashinfo(struct net *net)
{
	return net->ipv4.tcp_death_row.hashinfo;
}
