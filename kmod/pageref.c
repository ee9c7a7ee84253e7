// SPDX-License-Identifier: GPL-2.0
/*
 * The pageref engine: TCP and UDP take a page reference and one frag for each
 * contiguous run.
 *
 * It goes the way of MSG_ZEROCOPY with a ubuf_info that lives for the call. Its
 * only flag is SKBFL_SHARED_FRAG, which tells IPsec and checksum code not to
 * write to the pages. Without SKBFL_ZEROCOPY_ENABLE, skb_zcopy() of the packets
 * is NULL: local delivery does not copy, and nobody looks at the ubuf_info after
 * the call. The packets hold nothing but page references, so they may outlive
 * pool and module. See net/core/skbuff.c, skb_zerocopy_iter_stream().
 */
#include "compat.h"
#include "fbuf.h"

/* Both protocols call it when they are done; there is nothing to do then. */
static void pageref_complete(struct sk_buff *skb, struct ubuf_info *ubuf,
			     bool success)
{
}

FBUF_DEFINE_UBUF_OPS(pageref_ops, pageref_complete);

/* As iov_iter_advance(), within one run, and short. */
static void pageref_advance(struct iov_iter *iter, unsigned int len)
{
	iter->count -= len;
	iter->iov_offset += len;
	if (iter->iov_offset == iter->bvec->bv_len) {
		iter->iov_offset = 0;
		iter->bvec++;
		iter->nr_segs--;
	}
}

static int pageref_fill(struct sk_buff *skb, struct iov_iter *from,
			size_t length)
{
	struct fbuf_msg *fm = container_of(from, struct fbuf_msg, msg.msg_iter);
	struct skb_shared_info *shinfo = skb_shinfo(skb);
	size_t left = min(length, iov_iter_count(from));
	size_t done = 0;
	int err = 0;

	while (left) {
		const struct bio_vec *run = from->bvec;
		unsigned int offset = run->bv_offset + from->iov_offset;
		unsigned int len = min_t(size_t, left,
					 run->bv_len - from->iov_offset);
		int nr = shinfo->nr_frags;

		if (skb_can_coalesce(skb, nr, run->bv_page, offset)) {
			skb_frag_size_add(&shinfo->frags[nr - 1], len);
		} else if (nr < MAX_SKB_FRAGS) {
			get_page(run->bv_page);
			skb_fill_page_desc_noacc(skb, nr, run->bv_page, offset,
						 len);
		} else {
			err = -EMSGSIZE;
			break;
		}
		pageref_advance(from, len);
		left -= len;
		done += len;
	}
	skb->len += done;
	skb->data_len += done;
	skb->truesize += done;
	fm->taken += done;
	return err;
}

FBUF_DEFINE_SG_FROM_ITER(pageref_sg_from_iter, pageref_fill)

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
bool fbuf_pageref_takes(struct socket *sock, const struct fbuf_gather *g)
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
 * fbuf_pageref_send() - send a message whose iterator is over a gather's runs
 * @sock: a socket that fbuf_pageref_takes()
 * @fm: the message
 * @copied: set to the bytes that were copied all the same, if any
 *
 * Context: may sleep.
 * Return: as sock_sendmsg().
 */
int fbuf_pageref_send(struct socket *sock, struct fbuf_msg *fm, u64 *copied)
{
	int ret;

	fbuf_ubuf_init(&fm->ubuf, pageref_ops);
	refcount_set(&fm->ubuf.refcnt, 1);
	fm->ubuf.flags = SKBFL_SHARED_FRAG;
	fm->msg.msg_ubuf = &fm->ubuf;
	fm->msg.sg_from_iter = pageref_sg_from_iter;
	fm->msg.msg_flags |= MSG_ZEROCOPY;
	ret = sock_sendmsg(sock, &fm->msg);
	if (ret > 0 && fm->taken < ret)
		*copied = ret - fm->taken;
	return ret;
}
