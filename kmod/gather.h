/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Gathers: what is on the path of every send, to be inlined. gather.c has the
 * rest of it, and says how it works.
 */
#ifndef FBUF_GATHER_H
#define FBUF_GATHER_H

#include <linux/bitops.h>
#include <linux/bvec.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/page_ref.h>
#include <linux/skbuff.h>
#include <linux/socket.h>
#include <linux/uaccess.h>

#include "folio.h"
#include "types.h"

/*
 * Segments of up to this many bytes are copied rather than referred to in gathers
 * of more segments than a packet has frags. Documentation/design.rst says why.
 */
#define FBUF_COPY_MAX		512

/* Runs that a gather keeps without an allocation. */
#define FBUF_RUNS_FAST		16

/**
 * struct fbuf_gather - segments that were checked, as runs of pages
 * @runs: one for each physically contiguous run; each has a reference to its
 *        folio, and bv_page is its head; NULL once a packet has the reference.
 *        Where they are many, see fbuf_gather_foreign() for what is behind them
 * @nr: number of runs
 * @max: room in @runs
 * @len: bytes
 * @copied: bytes of them in short segments that were copied
 * @must_copy: 0; or what to say if it may not be copied, as it has to be: -EAGAIN,
 *             as too much is in flight; or an error, as a buffer is not protected
 *             for which its maker cannot be charged
 * @parcel: the name of the parcel that it has segments of; 0: of none; ~0: of many
 * @tally: of the buffers that it had to protect first
 * @copy_max: how long those may be
 * @sock: inode number of the socket that it goes to, or 0 if there are many
 * @now: jiffies when it was imported; not 0. Like @max, @copy_max and @sock not set
 *       if it has one segment of the usual kind
 * @fast: where @runs points while they are few
 */
struct fbuf_gather {
	struct bio_vec *runs;
	unsigned int nr;
	unsigned int max;
	size_t len;
	size_t copied;
	int must_copy;
	struct fbuf_tally tally;
	u64 parcel;
	unsigned int copy_max;
	unsigned long sock;
	unsigned long now;
	struct bio_vec fast[FBUF_RUNS_FAST];
};

/**
 * struct fbuf_msg - a message on its way to a socket
 * @msg: what sock_sendmsg() is given; its iterator is over the gather's runs
 * @ubuf: for the pageref engine, which finds the whole from @msg's iterator
 * @taken: bytes whose pages went to the socket by the pageref engine
 * @give: the gather is sent this once and not looked at again: the pageref engine
 *        may give its references away
 */
struct fbuf_msg {
	struct msghdr msg;
	struct ubuf_info ubuf;
	size_t taken;
	bool give;
};

/**
 * fbuf_gather_foreign() - which runs are of the pool's pages, but of parcels?
 * @g: a gather that was imported
 *
 * A parcel may have pages of the pool that sends it. They are no buffers of the gather.
 *
 * Context: any.
 * Return: a bit for each run; or NULL if there is none.
 */
static __always_inline unsigned long *
fbuf_gather_foreign(const struct fbuf_gather *g)
{
	return g->runs == g->fast ? NULL : (unsigned long *)&g->runs[g->max];
}

void fbuf_gather_init(struct fbuf_gather *g, unsigned long sock);
int fbuf_gather_part(struct fbuf_gather *g, const struct fbuf_pool *pool,
		     unsigned long i, unsigned int offset, unsigned int len);
int fbuf_gather_one(struct fbuf_gather *g, struct fbuf_handle *h,
		    const struct fbuf_seg *seg, unsigned long sock,
		    enum fbuf_protection prot);
int fbuf_gather_many(struct fbuf_gather *g, struct fbuf_handle *h,
		     const struct fbuf_seg __user *segs, unsigned int nr,
		     unsigned long sock, enum fbuf_protection prot, bool copy);
void fbuf_gather_free(struct fbuf_gather *g);
void fbuf_gather_stamp(const struct fbuf_gather *g, struct fbuf_pool *pool,
		       unsigned long sock);
void fbuf_gather_move(struct fbuf_gather *to, const struct fbuf_gather *from);

/*
 * A reference to @head, the head of @page, which was page @i of the pool. A
 * snapshot or the shrinker may take it out of the pool meanwhile, and free it:
 * then what we got a reference to is not the pool's any more, or the page is there
 * again and in another folio. Refuses once the count has overflowed: no sender gets it
 * further. Returns 1; 0 if the page is not the pool's; or an error.
 *
 * As get_page_unless_zero(), but for its RCU section, which is for huge pages of
 * hugetlbfs.
 */
static __always_inline int gather_get_page(const struct fbuf_pool *pool,
					   unsigned long i,
					   const struct page *page,
					   struct page *head)
{
	int count = page_ref_count(head);

	do {
		if (unlikely(count <= 0))
			return count ? -ENOMEM : 0;
	} while (unlikely(!atomic_try_cmpxchg(&head->_refcount, &count,
					      count + 1)));
	if (likely(READ_ONCE(pool->pages[i]) == page)) {
		smp_rmb();	/* pairs with populate(): the page, then what it is */
		if (likely(compound_head(page) == head))
			return 1;
	}
	put_page(head);
	return 0;
}

/* Of a segment's flags, those that are no offset. */
#define SEG_FLAGS		(FBUF_SEG_OFFSET(1) - 1)

/*
 * Where in the pool a segment begins that is not inline. Here and below, @named is
 * whether it says so by a name: a constant where that is known.
 */
static __always_inline u64 seg_addr(const struct fbuf_pool *pool,
				    const struct fbuf_seg *seg, bool named)
{
	if (!named)
		return seg->addr;
	return ((u64)FBUF_NAME_INDEX(seg->addr) << pool->buf_shift) +
	       seg->flags / FBUF_SEG_OFFSET(1);
}

/* Is it of the buffer in which it begins? Its name and offset may disagree. */
static __always_inline bool seg_of_buf(const struct fbuf_seg *seg, bool named,
				       unsigned long index)
{
	return !named || FBUF_NAME_INDEX(seg->addr) == index;
}

/* Need a buffer not be protected any more, to be sent like this? */
static __always_inline bool gather_protected(const struct fbuf_buf *buf,
					     enum fbuf_protection prot)
{
	return prot == FBUF_VOLATILE || READ_ONCE(buf->prot) >= prot;
}

/*
 * A segment of the usual kind, in the pool and in one folio, of a buffer that is
 * protected as it is to be, and not going on where the run @last ends, if there
 * is one: fills in @run, with a reference to the folio, and @index, the buffer's.
 * Returns false, and no reference, if it is not of that kind, and the slow path
 * is to look at it.
 */
static __always_inline bool gather_fast(const struct fbuf_pool *pool,
					const struct fbuf_seg *seg, bool named,
					enum fbuf_protection prot,
					const struct bio_vec *last,
					struct bio_vec *run,
					unsigned long *index)
{
	unsigned int offset, len = seg->len, shift = pool->buf_shift;
	unsigned long at, i;
	struct page *page, *head;

	if (unlikely(named ? (seg->flags & SEG_FLAGS) != FBUF_SEG_NAMED :
			     seg->flags))
		return false;
	i = named ? FBUF_NAME_INDEX(seg->addr) : seg->addr >> shift;
	at = named ? seg->flags / FBUF_SEG_OFFSET(1) :
		     seg->addr & (BIT(shift) - 1);
	if (unlikely(i >= pool->nr_bufs || at + len > BIT(shift) || !len))
		return false;
	i = array_index_nospec(i, pool->nr_bufs);
	*index = i;
	if (unlikely(!gather_protected(&pool->bufs[i], prot)))
		return false;
	i = (i << (shift - PAGE_SHIFT)) + (at >> PAGE_SHIFT);
	page = READ_ONCE(pool->pages[i]);
	if (unlikely(!page || PageHWPoison(page)))
		return false;
	head = compound_head(page);
	offset = offset_in_page(at) + ((page - head) << PAGE_SHIFT);
	if (last && unlikely(run_continues(last, head, offset)))
		return false;
	if (unlikely(gather_get_page(pool, i, page, head) <= 0))
		return false;
	/* A short one need not look how long the folio is, and so not a head. */
	if (offset_in_page(at) + len > PAGE_SIZE &&
	    (unlikely(len > page_size(head) - offset ||
		      folio_test_has_hwpoisoned((struct folio *)head)))) {
		put_page(head);
		return false;
	}
	run->bv_page = head;
	run->bv_offset = offset;
	run->bv_len = len;
	return true;
}

/*
 * Has the handle a hold on the buffer of this segment? To be called with a
 * reference to its pages: FREE clears the hold before it, or an ALLOC after it,
 * looks for references. So either the hold is seen to be gone here, or the
 * reference there. The atomic operation of gather_get_page() is a barrier by itself,
 * which pairs with drop_hold() and drop_idle().
 */
static __always_inline bool gather_held(const struct fbuf_handle *h,
					const struct fbuf_seg *seg, bool named,
					unsigned long index)
{
	if (unlikely(!test_bit(index, h->holds)))
		return false;
	if (!named)
		return true;
	smp_rmb();	/* pairs with alloc_locked(): the hold, then its name */
	return READ_ONCE(h->pool->bufs[index].gen) == FBUF_NAME_GEN(seg->addr);
}

/*
 * A send that got its reference after DROP had looked, and sees the hold when that is
 * back, may have pages that are the pool's no more: all of a buffer's go at once.
 */
static __always_inline bool gather_dropped(const struct fbuf_pool *pool,
					   const struct page *head)
{
	if (likely(!fbuf_is_lazy(pool)))
		return false;
	smp_rmb();	/* pairs with drop_locked(): the hold, then the pages */
	return READ_ONCE(pool->pages[page_folio(head)->index]) != head;
}

/*
 * With a reference to the segment's pages, by which its buffer is busy, of which @head
 * is one folio's: 0; or -ESTALE; or 1 if the buffer has to be protected first, without
 * that reference.
 */
static __always_inline int gather_buf(struct fbuf_handle *h,
				      const struct fbuf_seg *seg, bool named,
				      unsigned long index,
				      const struct page *head,
				      unsigned long now, unsigned long sock,
				      enum fbuf_protection prot)
{
	struct fbuf_buf *buf = &h->pool->bufs[index];

	if (unlikely(!gather_held(h, seg, named, index) ||
		     gather_dropped(h->pool, head)))
		return -ESTALE;
	WRITE_ONCE(buf->sent, now);
	WRITE_ONCE(buf->sock, sock);
	/* After the reference: see protect_end() for the other end. */
	return !gather_protected(buf, prot);
}

/**
 * fbuf_gather_import() - check segments and turn them into runs
 * @g: the gather, not yet initialised
 * @h: the handle, which must have a hold on each buffer
 * @segs: the segments
 * @nr: how many
 * @sock: inode number of the socket that they go to, or 0
 * @prot: how their buffers are to be protected from now on
 * @copy: short segments may be copied
 *
 * The gather keeps its pages, but not the holds, until fbuf_gather_release().
 *
 * Context: may sleep; takes no lock, but the pool's if it has to protect.
 * Return: 0; or, with nothing to release, -EINVAL, -EMSGSIZE, -ESTALE, -EFAULT,
 * -ENOMEM, -EHWPOISON, or -EBUSY if others might write to pages that are to be
 * protected.
 */
static __always_inline int
fbuf_gather_import(struct fbuf_gather *g, struct fbuf_handle *h,
		   const struct fbuf_seg __user *segs, unsigned int nr,
		   unsigned long sock, enum fbuf_protection prot, bool copy)
{
	struct fbuf_seg seg __uninitialized;
	struct fbuf_pool *pool = h->pool;
	unsigned long index;
	struct bio_vec run;
	bool named;
	int err;

	if (unlikely(nr != 1))
		return fbuf_gather_many(g, h, segs, nr, sock, prot, copy);
	if (!user_read_access_begin(segs, sizeof(*segs)))
		return -EFAULT;
	unsafe_get_user(seg.addr, &segs->addr, fault);
	unsafe_get_user(seg.len, &segs->len, fault);
	unsafe_get_user(seg.flags, &segs->flags, fault);
	user_read_access_end();
	named = seg.flags & FBUF_SEG_NAMED;
	if (unlikely(!gather_fast(pool, &seg, named, prot, NULL, &run, &index)))
		return fbuf_gather_one(g, h, &seg, sock, prot);
	err = gather_buf(h, &seg, named, index, run.bv_page, jiffies ?: 1, sock,
			 prot);
	if (unlikely(err)) {
		put_page(run.bv_page);
		/* DROP takes holds away for a moment, see drop.c. */
		return err < 0 && !fbuf_is_lazy(pool) ?
		       err : fbuf_gather_one(g, h, &seg, sock, prot);
	}
	g->runs = g->fast;
	g->fast[0] = run;
	g->nr = 1;
	g->len = run.bv_len;
	g->copied = 0;
	g->must_copy = 0;
	g->tally = (struct fbuf_tally){ };
	g->parcel = 0;
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

/**
 * fbuf_gather_release() - let go of a gather's pages
 * @g: a gather that was imported
 *
 * Context: may sleep.
 */
static __always_inline void fbuf_gather_release(struct fbuf_gather *g)
{
	unsigned int i;

	for (i = 0; i < g->nr; i++) {
		if (g->runs[i].bv_page)
			put_page(g->runs[i].bv_page);
	}
	if (unlikely(g->runs != g->fast))
		fbuf_gather_free(g);
}

#endif /* FBUF_GATHER_H */
