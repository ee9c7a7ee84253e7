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
#include "gather.h"
#include "pageref.h"

/* Both protocols call it when they are done; there is nothing to do then. */
static void pageref_complete(struct sk_buff *skb, struct ubuf_info *ubuf,
			     bool success)
{
}

FBUF_DEFINE_UBUF_OPS(fbuf_pageref_ops, pageref_complete);

static __always_inline bool frag_continues(const skb_frag_t *frag,
					   const struct page *page,
					   unsigned int offset)
{
	return skb_frag_page(frag) == page &&
	       skb_frag_off(frag) + skb_frag_size(frag) == offset;
}

/*
 * The packet needs a reference to the page. Where this is the last use of the
 * run, it gets the gather's own.
 */
static __always_inline struct page *run_page(struct bio_vec *run, bool give)
{
	struct page *page = run->bv_page;

	if (give)
		run->bv_page = NULL;
	else
		get_page(page);
	return page;
}

static __always_inline void pageref_taken(struct fbuf_msg *fm,
					  struct sk_buff *skb,
					  unsigned int len)
{
	fm->msg.msg_iter.count -= len;
	fm->taken += len;
	skb->len += len;
	skb->data_len += len;
	skb->truesize += len;
}

static noinline int pageref_fill_runs(struct fbuf_msg *fm, struct sk_buff *skb,
				      unsigned int length)
{
	struct iov_iter *from = &fm->msg.msg_iter;
	struct bio_vec *run = (struct bio_vec *)from->bvec;
	struct skb_shared_info *shinfo = skb_shinfo(skb);
	unsigned int at = from->iov_offset, left = length, len;
	unsigned int nr = shinfo->nr_frags;

	/* Only the first may go on where the packet ends: no run does so by itself. */
	if (nr && frag_continues(&shinfo->frags[nr - 1], run->bv_page,
				 run->bv_offset + at)) {
		len = min(left, run->bv_len - at);
		skb_frag_size_add(&shinfo->frags[nr - 1], len);
		left -= len;
		at += len;
		if (at == run->bv_len) {
			run++;
			at = 0;
		}
	}
	for (; left && nr < MAX_SKB_FRAGS; nr++) {
		bool ends = left >= run->bv_len - at;

		len = ends ? run->bv_len - at : left;
		__skb_fill_page_desc_noacc(shinfo, nr,
					   run_page(run, ends && fm->give),
					   run->bv_offset + at, len);
		left -= len;
		at = ends ? 0 : at + len;
		run += ends;
	}
	shinfo->nr_frags = nr;
	/* As iov_iter_advance(), which would walk the runs once more. */
	from->nr_segs -= run - from->bvec;
	from->bvec = run;
	from->iov_offset = at;
	pageref_taken(fm, skb, length - left);
	return left ? -EMSGSIZE : 0;
}

static __always_inline int pageref_fill(struct sk_buff *skb,
					struct iov_iter *from, size_t length)
{
	struct fbuf_msg *fm = container_of(from, struct fbuf_msg, msg.msg_iter);
	struct bio_vec *run = (struct bio_vec *)from->bvec;
	struct skb_shared_info *shinfo = skb_shinfo(skb);
	unsigned int at = from->iov_offset, room = run->bv_len - at;
	unsigned int len = min(length, from->count);
	bool ends = len == room;

	if (shinfo->nr_frags || len > room)
		return pageref_fill_runs(fm, skb, len);
	/* The usual case, by itself: an empty packet that one run fills. */
	__skb_fill_page_desc_noacc(shinfo, 0, run_page(run, ends && fm->give),
				   run->bv_offset + at, len);
	shinfo->nr_frags = 1;
	from->iov_offset = ends ? 0 : at + len;
	from->nr_segs -= ends;
	from->bvec = run + ends;
	pageref_taken(fm, skb, len);
	return 0;
}

FBUF_DEFINE_SG_FROM_ITER(fbuf_pageref_sg_from_iter, pageref_fill)

/**
 * fbuf_route_copies_slow() - fbuf_route_copies() where the answer takes a look
 * @sk: a TCP socket
 *
 * Context: any.
 * Return: as fbuf_route_copies().
 */
bool fbuf_route_copies_slow(const struct sock *sk)
{
	const struct dst_entry *dst;
	bool copies = false;

	rcu_read_lock();
	dst = rcu_dereference(sk->sk_dst_cache);
	if (dst) {
		bool ip = dst->ops->family == AF_INET;

		copies = !(dst->dev->features & NETIF_F_SG) ||
			 !can_checksum_protocol(dst->dev->features,
						htons(ip ? ETH_P_IP :
							   ETH_P_IPV6));
	}
	rcu_read_unlock();
	return copies;
}
