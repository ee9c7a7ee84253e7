/* SPDX-License-Identifier: GPL-2.0 */
/* The pageref engine, as send.c sees it; pageref.c says how it works. */
#ifndef FBUF_PAGEREF_H
#define FBUF_PAGEREF_H

#include "compat.h"
#include "fbuf.h"

/* pageref.c */
FBUF_DECLARE_UBUF_OPS(fbuf_pageref_ops);
FBUF_DECLARE_SG_FROM_ITER(fbuf_pageref_sg_from_iter);

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
	if (likely(sock->type == SOCK_STREAM))
		return sk->sk_route_caps & NETIF_F_SG;
	return sock->type == SOCK_DGRAM && g->nr <= MAX_SKB_FRAGS;
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
	int ret;

	fbuf_ubuf_init(&fm->ubuf, fbuf_pageref_ops);
	refcount_set(&fm->ubuf.refcnt, 1);
	fm->ubuf.flags = SKBFL_SHARED_FRAG;
	fm->msg.msg_ubuf = &fm->ubuf;
	fm->msg.sg_from_iter = fbuf_pageref_sg_from_iter;
	fm->msg.msg_flags |= MSG_ZEROCOPY;
	fm->taken = 0;
	ret = sock_sendmsg(sock, &fm->msg);
	if (unlikely(ret > 0 && fm->taken < ret))
		*copied = ret - fm->taken;
	return ret;
}

#endif /* FBUF_PAGEREF_H */
