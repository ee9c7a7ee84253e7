/* SPDX-License-Identifier: GPL-2.0 */
/* The pageref engine, as send.c sees it; pageref.c says how it works. */
#ifndef FBUF_PAGEREF_H
#define FBUF_PAGEREF_H

#include <net/dst.h>

#include "compat.h"
#include "gather.h"

/* pageref.c */
FBUF_DECLARE_UBUF_OPS(fbuf_pageref_ops);
FBUF_DECLARE_SG_FROM_ITER(fbuf_pageref_sg_from_iter);
bool fbuf_route_copies_slow(const struct sock *sk);

/**
 * fbuf_pageref_takes() - would the engine send this gather without a copy?
 * @sock: the socket
 * @g: the gather
 *
 * TCP without a ULP or BPF in the way, once it knows that its route has
 * scatter-gather; and UDP, whose datagram must fit the frags of one packet. A
 * datagram's route is not known beforehand: what it has to copy is counted.
 *
 * Context: any.
 * Return: whether it would.
 */
static __always_inline bool fbuf_pageref_takes(const struct socket *sock,
					       const struct fbuf_gather *g)
{
	const struct sock *sk = sock->sk;

	if (!test_bit(SOCK_SUPPORT_ZC, &sock->flags) ||
	    (sk->sk_family != AF_INET && sk->sk_family != AF_INET6))
		return false;
	if (sock->type == SOCK_STREAM)
		return sk->sk_route_caps & NETIF_F_SG;
	return sock->type == SOCK_DGRAM && g->nr <= MAX_SKB_FRAGS;
}

/**
 * fbuf_route_copies() - are pages copied after the socket has taken them?
 * @sk: a TCP socket
 *
 * TCP takes pages whatever the device is. One without scatter-gather, or without
 * checksums, which must not be made of pages that may change, is given a copy.
 *
 * Context: any.
 * Return: whether the device that it sends to now is one of those.
 */
static __always_inline bool fbuf_route_copies(const struct sock *sk)
{
	netdev_features_t features = NETIF_F_SG | NETIF_F_HW_CSUM;
	const struct dst_entry *dst;

	rcu_read_lock_sched();
	dst = rcu_dereference_sched(sk->sk_dst_cache);
	if (dst)
		features &= dst->dev->features;
	rcu_read_unlock_sched();
	return features != (NETIF_F_SG | NETIF_F_HW_CSUM) &&
	       fbuf_route_copies_slow(sk);
}

/**
 * fbuf_pageref_sendmsg() - fbuf_pageref_send() with a ubuf_info
 * @sock: a socket that fbuf_pageref_takes()
 * @fm: the message
 * @ubuf: goes with the packets
 * @copied: set to the bytes that were copied all the same, if any
 *
 * Context: may sleep.
 * Return: as sock_sendmsg().
 */
static __always_inline int fbuf_pageref_sendmsg(struct socket *sock,
						struct fbuf_msg *fm,
						struct ubuf_info *ubuf,
						u64 *copied)
{
	int ret;

	fm->msg.msg_ubuf = ubuf;
	fm->msg.sg_from_iter = fbuf_pageref_sg_from_iter;
	fm->msg.msg_flags |= MSG_ZEROCOPY;
	fm->taken = 0;
	ret = sock_sendmsg(sock, &fm->msg);
	if (ret <= 0)
		return ret;
	if (fm->taken < ret)
		*copied = ret - fm->taken;
	else if (sock->type == SOCK_STREAM && fbuf_route_copies(sock->sk))
		*copied = ret;
	return ret;
}

/**
 * fbuf_pageref_send() - send a message whose iterator is over a gather's runs
 * @sock: a socket that fbuf_pageref_takes()
 * @fm: the message
 * @copied: set to the bytes that were copied all the same, if any
 *
 * Context: may sleep.
 * Return: as sock_sendmsg().
 */
static __always_inline int fbuf_pageref_send(struct socket *sock,
					     struct fbuf_msg *fm, u64 *copied)
{
	fbuf_ubuf_init(&fm->ubuf, fbuf_pageref_ops);
	refcount_set(&fm->ubuf.refcnt, 1);
	fm->ubuf.flags = SKBFL_SHARED_FRAG;
	return fbuf_pageref_sendmsg(sock, fm, &fm->ubuf, copied);
}

#endif /* FBUF_PAGEREF_H */
