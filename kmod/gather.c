// SPDX-License-Identifier: GPL-2.0
/*
 * Gathers: segments in user memory, checked once and turned into runs of pages.
 *
 * The segments are copied once and only the copy is looked at: user memory may
 * change meanwhile. Everything is checked before the first byte is sent.
 */
#include <linux/bitmap.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/page_ref.h>
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

/* A new run; the caller's reference to the folio goes with it. */
static int gather_add(struct fbuf_gather *g, struct page *head,
		      unsigned int offset, unsigned int len)
{
	struct bio_vec *run;
	int err;

	if (g->nr == g->max) {
		err = gather_grow(g);
		if (err) {
			put_page(head);
			return err;
		}
	}
	run = &g->runs[g->nr++];
	run->bv_page = head;
	run->bv_offset = offset;
	run->bv_len = len;
	return 0;
}

/* Do these bytes go on where the last run ends? */
static bool gather_continues(const struct fbuf_gather *g,
			     const struct page *head, unsigned int offset)
{
	const struct bio_vec *run;

	if (!g->nr)
		return false;
	run = &g->runs[g->nr - 1];
	return run->bv_page == head && run->bv_offset + run->bv_len == offset;
}

/*
 * A reference to @head, the head of @page, which was page @i of the pool. A
 * snapshot or the shrinker may take it out of the pool meanwhile, and free it:
 * then what we got a reference to is not the pool's any more. Returns 1; 0 if
 * that came to be; or an error.
 */
static int gather_get_page(const struct fbuf_pool *pool, unsigned long i,
			   const struct page *page, struct page *head)
{
	/* Refuses once the count has overflowed: no sender gets it further. */
	if (unlikely(page_ref_count(head) < 0))
		return -ENOMEM;
	if (unlikely(!get_page_unless_zero(head)))
		return 0;
	if (likely(READ_ONCE(pool->pages[i]) == page))
		return 1;
	put_page(head);
	return 0;
}

/**
 * fbuf_page_get() - a reference to a page of the pool
 * @pool: the pool
 * @i: its number in the pool
 *
 * The caller does not know yet whether it may: see gather_pool() for how to find
 * out.
 *
 * Context: any.
 * Return: the page; -ESTALE if its buffer has no memory; -ENOMEM if it has too
 * many references.
 */
struct page *fbuf_page_get(const struct fbuf_pool *pool, unsigned long i)
{
	for (;;) {
		struct page *page = READ_ONCE(pool->pages[i]);
		int ret;

		if (!page)
			return ERR_PTR(-ESTALE);
		ret = gather_get_page(pool, i, page, compound_head(page));
		if (ret)
			return ret < 0 ? ERR_PTR(ret) : page;
	}
}

/* Add the part of [addr, addr + left) that one folio has; returns its bytes. */
static int gather_part(struct fbuf_gather *g, const struct fbuf_pool *pool,
		       u64 addr, unsigned int left)
{
	unsigned long i = addr >> PAGE_SHIFT;
	unsigned int offset, len;
	struct page *page, *head;
	int ret;

	page = READ_ONCE(pool->pages[i]);
	if (!page)
		return -ESTALE;
	head = compound_head(page);
	offset = ((page - head) << PAGE_SHIFT) + offset_in_page(addr);
	/* We have a reference to the last run's folio: it is still that one. */
	if (gather_continues(g, head, offset)) {
		len = min_t(unsigned int, left, page_size(head) - offset);
		g->runs[g->nr - 1].bv_len += len;
		return len;
	}
	ret = gather_get_page(pool, i, page, head);
	if (ret <= 0)
		return ret;
	len = min_t(unsigned int, left, page_size(head) - offset);
	ret = gather_add(g, head, offset, len);
	return ret ?: len;
}

/* When and to where it was sent last. */
static void buf_stamp(struct fbuf_buf *buf, unsigned long sock)
{
	WRITE_ONCE(buf->sent, jiffies ?: 1);
	WRITE_ONCE(buf->sock, sock);
}

static int gather_pool(struct fbuf_gather *g, struct fbuf_handle *h,
		       const struct fbuf_seg *seg, enum fbuf_protection prot)
{
	struct fbuf_pool *pool = h->pool;
	u64 buf_size = 1ULL << pool->buf_shift;
	u64 addr = seg->addr, index = addr >> pool->buf_shift;
	unsigned int left = seg->len;

	if (index >= pool->nr_bufs || left > buf_size - (addr & (buf_size - 1)))
		return -EINVAL;
	index = array_index_nospec(index, pool->nr_bufs);
	addr = (index << pool->buf_shift) | (addr & (buf_size - 1));
	while (left) {
		/* 0: the page was just replaced; look again. */
		int part = gather_part(g, pool, addr, left);

		if (part < 0)
			return part;
		addr += part;
		left -= part;
	}
	/*
	 * Now that the pages are referred to, the buffer is busy. FREE clears
	 * the hold before it, or an ALLOC after it, looks for references. So
	 * either the hold is seen to be gone here, or the reference there.
	 */
	smp_mb__after_atomic();
	if (!test_bit(index, h->holds))
		return -ESTALE;
	buf_stamp(&pool->bufs[index], g->sock);
	return prot == FBUF_VOLATILE ? 0 : fbuf_protect(pool, index, prot);
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
	if (gather_continues(g, frag->page, frag->offset)) {
		g->runs[g->nr - 1].bv_len += seg->len;
	} else {
		get_page(frag->page);
		err = gather_add(g, frag->page, frag->offset, seg->len);
		if (err)
			return err;
	}
	frag->offset += seg->len;
	return 0;
}

static int gather_segment(struct fbuf_gather *g, struct fbuf_handle *h,
			  const struct fbuf_seg *seg,
			  enum fbuf_protection prot)
{
	int err;

	if (!seg->len || seg->flags & ~FBUF_SEG_INLINE)
		return -EINVAL;
	if (seg->flags & FBUF_SEG_INLINE)
		err = gather_inline(g, seg);
	else
		err = gather_pool(g, h, seg, prot);
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
 * @sock: inode number of the socket that they go to, or 0
 * @prot: how their buffers are to be protected from now on
 *
 * The gather keeps its pages, but not the holds, until fbuf_gather_release().
 *
 * Context: may sleep; takes no lock, but the pool's if it has to protect.
 * Return: 0; or, with nothing to release, -EINVAL, -EMSGSIZE, -ESTALE, -EFAULT,
 * -ENOMEM, or -EBUSY if pages to protect are pinned.
 */
int fbuf_gather_import(struct fbuf_gather *g, struct fbuf_handle *h,
		       const struct fbuf_seg __user *segs, unsigned int nr,
		       unsigned long sock, enum fbuf_protection prot)
{
	struct fbuf_seg chunk[SEGS_CHUNK] __uninitialized;
	unsigned int i, n;
	int err;

	g->runs = g->fast;
	g->nr = 0;
	g->max = FBUF_RUNS_FAST;
	g->len = 0;
	g->sock = sock;
	if (!nr || nr > FBUF_SEGS_MAX)
		return -EINVAL;
	for (; nr; nr -= n, segs += n) {
		n = min_t(unsigned int, nr, SEGS_CHUNK);
		err = segs_get(chunk, segs, n);
		if (err)
			goto err_release;
		for (i = 0; i < n; i++) {
			err = gather_segment(g, h, &chunk[i], prot);
			if (err)
				goto err_release;
		}
	}
	return 0;

err_release:
	fbuf_gather_release(g);
	return err;
}

/* The buffer that a run is of, or NULL if it is inline data. */
static struct fbuf_buf *run_buf(const struct bio_vec *run,
				struct fbuf_pool *pool)
{
	struct folio *folio = page_folio(run->bv_page);
	unsigned long i;

	if (folio->mapping != &pool->mapping)
		return NULL;
	i = folio->index + (run->bv_offset >> PAGE_SHIFT);
	return &pool->bufs[i >> (pool->buf_shift - PAGE_SHIFT)];
}

/**
 * fbuf_gather_notify() - have a notice posted when its buffers are idle
 * @g: a gather that was sent
 * @h: the handle, which has a ring
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_gather_notify(const struct fbuf_gather *g, struct fbuf_handle *h)
{
	struct fbuf_pool *pool = h->pool;
	struct fbuf_kring *ring = h->ring;
	unsigned int i, index;

	mutex_lock(&pool->lock);
	for (i = 0; i < g->nr; i++) {
		struct fbuf_buf *buf = run_buf(&g->runs[i], pool);

		if (!buf)
			continue;
		index = fbuf_buf_index(pool, buf);
		ring->notify_gen[index] = buf->gen;
		if (__test_and_set_bit(index, ring->notify))
			continue;
		ring->nr_notify++;
		pool->nr_notify++;
	}
	fbuf_watch(pool);
	mutex_unlock(&pool->lock);
}

/**
 * fbuf_gather_stamp() - name another socket for its buffers
 * @g: the gather
 * @pool: the pool
 * @sock: the socket's inode number
 *
 * Context: any.
 */
void fbuf_gather_stamp(const struct fbuf_gather *g, struct fbuf_pool *pool,
		       unsigned long sock)
{
	unsigned int i;

	for (i = 0; i < g->nr; i++) {
		struct fbuf_buf *buf = run_buf(&g->runs[i], pool);

		if (buf)
			buf_stamp(buf, sock);
	}
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
