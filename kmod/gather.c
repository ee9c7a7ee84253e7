// SPDX-License-Identifier: GPL-2.0
/*
 * Gathers: segments in user memory, checked once and turned into runs of pages.
 *
 * The segments are copied once and only the copy is looked at: user memory may
 * change meanwhile. Everything is checked before the first byte is sent.
 */
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "fbuf.h"

/* Segments copied from user memory at a time. */
#define SEGS_CHUNK		16

static int gather_grow(struct fbuf_gather *g)
{
	unsigned int max = 4 * g->max;
	struct bio_vec *runs;

	runs = kvmalloc_array(max, sizeof(*runs), GFP_KERNEL_ACCOUNT);
	if (!runs)
		return -ENOMEM;
	memcpy(runs, g->runs, g->nr * sizeof(*runs));
	if (g->runs != g->fast)
		kvfree(g->runs);
	g->runs = runs;
	g->max = max;
	return 0;
}

/* Add bytes of one folio, whose head is @head: to the last run if they go on. */
static int gather_add(struct fbuf_gather *g, struct page *head,
		      unsigned int offset, unsigned int len)
{
	struct bio_vec *run;
	int err;

	if (g->nr) {
		run = &g->runs[g->nr - 1];
		if (run->bv_page == head &&
		    run->bv_offset + run->bv_len == offset) {
			run->bv_len += len;
			return 0;
		}
	}
	if (g->nr == g->max) {
		err = gather_grow(g);
		if (err)
			return err;
	}
	/* Refuses once the count has overflowed: no sender gets it further. */
	if (unlikely(!try_get_page(head)))
		return -ENOMEM;
	run = &g->runs[g->nr++];
	run->bv_page = head;
	run->bv_offset = offset;
	run->bv_len = len;
	return 0;
}

static int gather_pool(struct fbuf_gather *g, struct fbuf_handle *h,
		       const struct fbuf_seg *seg)
{
	struct fbuf_pool *pool = h->pool;
	u64 buf_size = 1ULL << pool->buf_shift;
	u64 addr = seg->addr, index = addr >> pool->buf_shift;
	unsigned int left = seg->len;
	int err;

	if (index >= pool->nr_bufs || left > buf_size - (addr & (buf_size - 1)))
		return -EINVAL;
	index = array_index_nospec(index, pool->nr_bufs);
	addr = (index << pool->buf_shift) | (addr & (buf_size - 1));
	while (left) {
		struct page *page = pool->pages[addr >> PAGE_SHIFT];
		struct page *head = compound_head(page);
		unsigned int offset = ((page - head) << PAGE_SHIFT) +
				      offset_in_page(addr);
		unsigned int len = min_t(unsigned int, left,
					 page_size(head) - offset);

		err = gather_add(g, head, offset, len);
		if (err)
			return err;
		addr += len;
		left -= len;
	}
	/*
	 * Now that the pages are referred to, the buffer is busy. FREE clears
	 * the hold before it, or an ALLOC after it, looks for references. So
	 * either the hold is seen to be gone here, or the reference there.
	 */
	smp_mb__after_atomic();
	return test_bit(index, h->holds) ? 0 : -ESTALE;
}

/* The memory comes from the task's own page fragments, as for write(). */
static int gather_inline(struct fbuf_gather *g, const struct fbuf_seg *seg)
{
	struct page_frag *frag = &current->task_frag;
	int err;

	if (seg->len > FBUF_INLINE_MAX)
		return -EINVAL;
	if (!skb_page_frag_refill(seg->len, frag, GFP_KERNEL_ACCOUNT))
		return -ENOMEM;
	if (copy_from_user(page_address(frag->page) + frag->offset,
			   u64_to_user_ptr(seg->addr), seg->len))
		return -EFAULT;
	err = gather_add(g, frag->page, frag->offset, seg->len);
	if (!err)
		frag->offset += seg->len;
	return err;
}

static int gather_segment(struct fbuf_gather *g, struct fbuf_handle *h,
			  const struct fbuf_seg *seg)
{
	int err;

	if (!seg->len || seg->flags & ~FBUF_SEG_INLINE)
		return -EINVAL;
	if (seg->flags & FBUF_SEG_INLINE)
		err = gather_inline(g, seg);
	else
		err = gather_pool(g, h, seg);
	if (err)
		return err;
	if (seg->len > FBUF_GATHER_MAX - g->len)
		return -EMSGSIZE;
	g->len += seg->len;
	return 0;
}

/* One window for all of a chunk, and none of the checks of copy_from_user(). */
static int segs_get(struct fbuf_seg *chunk, const struct fbuf_seg __user *segs,
		    unsigned int nr)
{
	unsigned int i;

	if (!user_access_begin(segs, nr * sizeof(*segs)))
		return -EFAULT;
	for (i = 0; i < nr; i++) {
		unsafe_get_user(chunk[i].addr, &segs[i].addr, fault);
		unsafe_get_user(chunk[i].len, &segs[i].len, fault);
		unsafe_get_user(chunk[i].flags, &segs[i].flags, fault);
	}
	user_access_end();
	return 0;

fault:
	user_access_end();
	return -EFAULT;
}

/**
 * fbuf_gather_import() - check segments and turn them into runs
 * @g: the gather, not yet initialised
 * @h: the handle, which must have a hold on each buffer
 * @segs: the segments
 * @nr: how many
 *
 * The gather keeps its pages, but not the holds, until fbuf_gather_release().
 *
 * Context: may sleep; takes no lock.
 * Return: 0; or, with nothing to release, -EINVAL, -EMSGSIZE, -ESTALE, -EFAULT
 * or -ENOMEM.
 */
int fbuf_gather_import(struct fbuf_gather *g, struct fbuf_handle *h,
		       const struct fbuf_seg __user *segs, unsigned int nr)
{
	struct fbuf_seg chunk[SEGS_CHUNK] __uninitialized;
	unsigned int i, n;
	int err;

	g->runs = g->fast;
	g->nr = 0;
	g->max = FBUF_RUNS_FAST;
	g->len = 0;
	if (!nr || nr > FBUF_SEGS_MAX)
		return -EINVAL;
	for (; nr; nr -= n, segs += n) {
		n = min_t(unsigned int, nr, SEGS_CHUNK);
		err = segs_get(chunk, segs, n);
		if (err)
			goto err_release;
		for (i = 0; i < n; i++) {
			err = gather_segment(g, h, &chunk[i]);
			if (err)
				goto err_release;
		}
	}
	return 0;

err_release:
	fbuf_gather_release(g);
	return err;
}

/**
 * fbuf_gather_release() - let go of a gather's pages
 * @g: a gather that was imported
 *
 * Context: may sleep.
 */
void fbuf_gather_release(struct fbuf_gather *g)
{
	unsigned int i;

	for (i = 0; i < g->nr; i++)
		put_page(g->runs[i].bv_page);
	if (g->runs != g->fast)
		kvfree(g->runs);
}
