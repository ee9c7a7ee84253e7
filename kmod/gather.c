// SPDX-License-Identifier: GPL-2.0
/*
 * Gathers: segments in user memory, checked once and turned into runs of pages.
 *
 * The segments are copied once and only the copy is looked at: user memory may
 * change meanwhile. Everything is checked before the first byte is sent.
 *
 * A buffer that is protected already is referred to without a lock. One that is
 * not has to be protected under the pool's lock first; or to get memory, if its pool
 * is lazy and nobody touched it before.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#if defined(CONFIG_X86_64) && !defined(CONFIG_UML)
#include <asm/cpufeature.h>
#endif

#include "compat.h"
#include "folio.h"
#include "gather.h"
#include "parcel.h"
#include "protect.h"
#include "types.h"
#include "wait.h"

/* Segments copied from user memory at a time. */
#define SEGS_CHUNK		32

static int gather_grow(struct fbuf_gather *g)
{
	const unsigned long *foreign = fbuf_gather_foreign(g);
	size_t max = 4 * g->max, size = max * sizeof(*g->runs);
	struct bio_vec *runs;

	runs = kvmalloc(size + BITS_TO_LONGS(max) * sizeof(long),
			GFP_KERNEL_ACCOUNT);
	if (!runs)
		return -ENOMEM;
	memcpy(runs, g->runs, g->nr * sizeof(*runs));
	bitmap_zero((unsigned long *)&runs[max], max);
	if (foreign) {
		bitmap_copy((unsigned long *)&runs[max], foreign, g->nr);
		kvfree(g->runs);
	}
	g->runs = runs;
	g->max = max;
	return 0;
}

/* The last run is a parcel's: it is to be told from the pool's buffers. */
static int gather_set_foreign(struct fbuf_gather *g)
{
	int err = g->runs == g->fast ? gather_grow(g) : 0;

	if (!err)
		__set_bit(g->nr - 1, fbuf_gather_foreign(g));
	return err;
}

/* Of two runs as one it would not be known which is a parcel's. */
static bool gather_continues(const struct fbuf_gather *g,
			     const struct page *head, unsigned int offset,
			     bool foreign)
{
	const unsigned long *bits = fbuf_gather_foreign(g);

	return g->nr && run_continues(&g->runs[g->nr - 1], head, offset) &&
	       (bits && test_bit(g->nr - 1, bits)) == foreign;
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

/*
 * Add the part of @left bytes, from @offset in page @i of the pool on, that one
 * folio has. Returns its bytes; 0 if the page was just replaced; or an error.
 */
static int gather_part(struct fbuf_gather *g, const struct fbuf_pool *pool,
		       unsigned long i, unsigned int offset, unsigned int left)
{
	struct page *page = READ_ONCE(pool->pages[i]), *head;
	unsigned int len;
	int ret;

	if (!page)
		return -ESTALE;
	head = compound_head(page);
	offset += (page - head) << PAGE_SHIFT;
	/* We have a reference to the last run's folio: it is still that one. */
	if (gather_continues(g, head, offset, false)) {
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

/* All of them, however many folios have them. */
static int gather_parts(struct fbuf_gather *g, const struct fbuf_pool *pool,
			unsigned long i, unsigned int offset, unsigned int left)
{
	while (left) {
		/* 0: the page was just replaced; look again. */
		int part = gather_part(g, pool, i, offset, left);

		if (part < 0)
			return part;
		left -= part;
		offset += part;
		i += offset >> PAGE_SHIFT;
		offset = offset_in_page(offset);
	}
	return 0;
}

/**
 * fbuf_gather_part() - add a part of a buffer, whatever becomes of the buffer
 * @g: the gather
 * @pool: the pool
 * @i: the page in which the part begins, which was checked
 * @offset: where in that page
 * @len: bytes, within the buffer
 *
 * Context: may sleep.
 * Return: 0; -ESTALE if the buffer has no memory; -ENOMEM; -EHWPOISON.
 */
int fbuf_gather_part(struct fbuf_gather *g, const struct fbuf_pool *pool,
		     unsigned long i, unsigned int offset, unsigned int len)
{
	int err;

	if (fbuf_poisoned(pool, i, DIV_ROUND_UP(offset + len, PAGE_SIZE)))
		return -EHWPOISON;
	err = gather_parts(g, pool, i, offset, len);
	if (!err)
		g->len += len;
	return err;
}

/* Where a gather was, so that what was added since can be taken away. */
struct gather_mark {
	unsigned int nr;
	unsigned int last_len;
};

static struct gather_mark gather_mark(const struct fbuf_gather *g)
{
	return (struct gather_mark) {
		.nr = g->nr,
		.last_len = g->nr ? g->runs[g->nr - 1].bv_len : 0,
	};
}

static void gather_cut(struct fbuf_gather *g, struct gather_mark mark)
{
	while (g->nr > mark.nr)
		put_page(g->runs[--g->nr].bv_page);
	if (g->nr)
		g->runs[g->nr - 1].bv_len = mark.last_len;
}

/* A segment in the pool: which bytes, and of which buffer. */
struct gather_place {
	const struct fbuf_seg *seg;
	unsigned long page;
	unsigned long index;
	unsigned int offset;
};

static int gather_place(const struct fbuf_pool *pool,
			const struct fbuf_seg *seg, struct gather_place *at)
{
	u64 addr = seg_addr(pool, seg, seg->flags & FBUF_SEG_NAMED);
	unsigned long i = addr >> PAGE_SHIFT;

	if (i >= pool->nr_pages)
		return -EINVAL;
	at->seg = seg;
	at->page = array_index_nospec(i, pool->nr_pages);
	at->index = at->page >> (pool->buf_shift - PAGE_SHIFT);
	at->offset = offset_in_page(addr);
	/* To its last byte in the buffer. */
	if ((addr + seg->len - 1) >> pool->buf_shift != at->index ||
	    !seg_of_buf(seg, seg->flags & FBUF_SEG_NAMED, at->index))
		return -EINVAL;
	if (fbuf_poisoned(pool, at->page,
			  DIV_ROUND_UP(at->offset + seg->len, PAGE_SIZE)))
		return -EHWPOISON;
	return 0;
}

/* As gather_buf(), with nothing left in the gather unless it returns 0. */
static int gather_refer(struct fbuf_gather *g, struct fbuf_handle *h,
			const struct gather_place *at,
			enum fbuf_protection prot)
{
	struct gather_mark mark = gather_mark(g);
	int ret;

	ret = gather_parts(g, h->pool, at->page, at->offset, at->seg->len);
	if (!ret)
		ret = gather_buf(h, at->seg, at->seg->flags & FBUF_SEG_NAMED,
				 at->index, g->runs[g->nr - 1].bv_page, g->now,
				 g->sock, prot);
	if (ret)
		gather_cut(g, mark);
	return ret;
}

/*
 * Protect the buffer while the gather has no reference to it, so that whatever
 * reference is found is somebody else's. If nobody can be charged for what a
 * write will need, the gather is to be copied, and needs no protection.
 */
static int gather_make_ready(struct fbuf_gather *g, struct fbuf_handle *h,
			     const struct gather_place *at,
			     enum fbuf_protection *prot)
	__must_hold(&h->pool->lock)
{
	struct fbuf_buf *buf = &h->pool->bufs[at->index];
	int err;

	if (!gather_held(h, at->seg, at->seg->flags & FBUF_SEG_NAMED,
			 at->index))
		return -ESTALE;
	err = fbuf_buf_get_memory(h->pool, buf);
	if (err)
		return err;
	err = fbuf_protect(h->pool, buf, *prot, &g->tally);
	if (err != -EDQUOT && err != -ENOMEM)
		return err;
	g->must_copy = err;
	*prot = FBUF_VOLATILE;
	return 0;
}

static int gather_try_ready(struct fbuf_gather *g, struct fbuf_handle *h,
			    const struct gather_place *at,
			    enum fbuf_protection prot)
{
	int err;

	mutex_lock(&h->pool->lock);
	err = gather_make_ready(g, h, at, &prot);
	if (!err)
		err = gather_refer(g, h, at, prot);
	mutex_unlock(&h->pool->lock);
	return err;
}

/* References that pass, as those of page faults do, are waited for. */
static int gather_ready(struct fbuf_gather *g, struct fbuf_handle *h,
			const struct gather_place *at,
			enum fbuf_protection prot)
{
	struct fbuf_waiter w;
	int err;

	fbuf_grace_begin(&w);
	do {
		err = gather_try_ready(g, h, at, prot);
	} while (err == -EAGAIN && fbuf_grace_sleep(&w, h->pool));
	return fbuf_grace_end(&w, err);
}

/*
 * The buffer of a segment, if it is one that the handle holds and that has to be
 * protected, and can be: with memory then. Else NULL: the slow path tells why.
 */
static struct fbuf_buf *ahead_buf(const struct fbuf_handle *h,
				  const struct fbuf_seg *seg)
	__must_hold(&h->pool->lock)
{
	bool named = seg->flags & FBUF_SEG_NAMED;
	struct fbuf_pool *pool = h->pool;
	unsigned long index = seg_addr(pool, seg, named) >> pool->buf_shift;
	struct fbuf_buf *buf;

	if (seg->flags & FBUF_SEG_INLINE || index >= pool->nr_bufs)
		return NULL;
	index = array_index_nospec(index, pool->nr_bufs);
	buf = &pool->bufs[index];
	if (!seg_of_buf(seg, named, index) || !gather_held(h, seg, named, index) ||
	    !fbuf_buf_writable(buf) || buf->fills ||
	    fbuf_buf_get_memory(pool, buf))
		return NULL;
	return buf;
}

/*
 * Protect the buffers of some segments, those that adjoin together. None is referred
 * to before it is protected: a reference of this gather's would look like another's.
 */
static noinline void gather_ahead(struct fbuf_gather *g, struct fbuf_handle *h,
				  const struct fbuf_seg *segs, unsigned int nr,
				  enum fbuf_protection prot)
{
	struct fbuf_pool *pool = h->pool;
	struct fbuf_buf *first = NULL, *buf;
	unsigned int i, n = 0;

	mutex_lock(&pool->lock);
	for (i = 0; i < nr; i++) {
		buf = ahead_buf(h, &segs[i]);
		if (n && buf >= first && buf < first + n)
			continue;
		if (n && buf == first + n) {
			n++;
			continue;
		}
		if (n)
			fbuf_protect_run(pool, first, n, prot, &g->tally);
		first = buf;
		n = !!buf;
	}
	if (n)
		fbuf_protect_run(pool, first, n, prot, &g->tally);
	mutex_unlock(&pool->lock);
}

static int gather_pool(struct fbuf_gather *g, struct fbuf_handle *h,
		       const struct fbuf_seg *seg, enum fbuf_protection prot)
{
	struct gather_place at;
	int ret;

	ret = gather_place(h->pool, seg, &at);
	if (ret)
		return ret;
	ret = 1;
	if (gather_protected(&h->pool->bufs[at.index], prot))
		ret = gather_refer(g, h, &at, prot);
	/* Memory may be still to come, or on its way. */
	if (ret == -ESTALE && fbuf_is_lazy(h->pool))
		ret = 1;
	return ret > 0 ? gather_ready(g, h, &at, prot) : ret;
}

/* Bytes of a parcel that are in one run of it. */
static int gather_parcel_run(struct fbuf_gather *g, struct fbuf_pool *pool,
			     struct page *head, unsigned int offset,
			     unsigned int len)
{
	const struct bio_vec run = { .bv_page = head, .bv_offset = offset };
	bool foreign = fbuf_run_buf(&run, pool);
	int err;

	if (gather_continues(g, head, offset, foreign)) {
		g->runs[g->nr - 1].bv_len += len;
		return 0;
	}
	if (!fbuf_parcel_get_page(head))
		return -ENOMEM;
	err = gather_add(g, head, offset, len);
	return err || !foreign ? err : gather_set_foreign(g);
}

/* The parcel may be dropped meanwhile: its pages stay. */
static int gather_parcel(struct fbuf_gather *g, struct fbuf_handle *h,
			 const struct fbuf_seg *seg)
{
	unsigned int at = seg->flags / FBUF_SEG_OFFSET(1), left = seg->len;
	const struct bio_vec *run;
	struct fbuf_parcel *p;
	int err;

	p = fbuf_parcel_get(h, seg->addr);
	if (IS_ERR(p))
		return PTR_ERR(p);
	err = fbuf_parcel_has(p, at, left) ? 0 : -EINVAL;
	if (err)
		goto out;
	g->parcel = !g->parcel || g->parcel == seg->addr ? seg->addr : ~0ULL;
	for (run = fbuf_parcel_run(p, &at); left && !err; run++, at = 0) {
		unsigned int len = min(left, run->bv_len - at);

		err = gather_parcel_run(g, h->pool, run->bv_page,
					run->bv_offset + at, len);
		left -= len;
	}
out:
	fbuf_parcel_put(p);
	return err;
}

/* @len bytes of the task's own page fragment, where copies go to as for write(). */
static __always_inline int gather_frag(struct fbuf_gather *g,
				       struct page_frag *frag, unsigned int len)
{
	int err;

	if (g->nr && run_continues(&g->runs[g->nr - 1], frag->page,
				   frag->offset)) {
		g->runs[g->nr - 1].bv_len += len;
	} else {
		get_page(frag->page);
		err = gather_add(g, frag->page, frag->offset, len);
		if (err)
			return err;
	}
	frag->offset += len;
	return 0;
}

static int gather_inline(struct fbuf_gather *g, const struct fbuf_seg *seg)
{
	struct page_frag *frag = &current->task_frag;

	if (seg->len > FBUF_INLINE_MAX)
		return -EINVAL;
	if (!skb_page_frag_refill(seg->len, frag, GFP_KERNEL_ACCOUNT))
		return -ENOMEM;
	if (copy_from_user(page_address(frag->page) + frag->offset,
			   u64_to_user_ptr(seg->addr), seg->len))
		return -EFAULT;
	return gather_frag(g, frag, seg->len);
}

/*
 * Copy a segment of the usual kind, for which there is room. It is referred to
 * meanwhile: only what was read while the buffer was held, and so busy, may go out.
 */
static int gather_copy(struct fbuf_gather *g, const struct fbuf_handle *h,
		       const struct fbuf_seg *seg, const struct bio_vec *from,
		       unsigned long index)
{
	struct page_frag *frag = &current->task_frag;
	unsigned int len = from->bv_len;
	bool held;

	memcpy(page_address(frag->page) + frag->offset,
	       page_address(from->bv_page) + from->bv_offset, len);
	held = gather_held(h, seg, seg->flags & FBUF_SEG_NAMED, index);
	put_page(from->bv_page);
	if (unlikely(!held))
		return -ESTALE;
	g->copied += len;
	return gather_frag(g, frag, len);
}

static int gather_slow(struct fbuf_gather *g, struct fbuf_handle *h,
		       const struct fbuf_seg *seg, enum fbuf_protection prot)
{
	int err;

	if (!seg->len)
		return -EINVAL;
	if (seg->flags == FBUF_SEG_INLINE)
		err = gather_inline(g, seg);
	else if (seg->flags && (seg->flags & SEG_FLAGS) != FBUF_SEG_NAMED)
		err = -EINVAL;
	else if (seg->flags && fbuf_is_parcel(seg->addr))
		err = gather_parcel(g, h, seg);
	else
		err = gather_pool(g, h, seg, prot);
	if (err)
		return err;
	g->len += seg->len;
	return g->len > FBUF_GATHER_MAX ? -EMSGSIZE : 0;
}

/**
 * fbuf_gather_init() - begin with a gather that has nothing
 * @g: the gather
 * @sock: inode number of the socket that it goes to, or 0
 *
 * Context: any.
 */
void fbuf_gather_init(struct fbuf_gather *g, unsigned long sock)
{
	g->runs = g->fast;
	g->nr = 0;
	g->max = FBUF_RUNS_FAST;
	g->len = 0;
	g->copied = 0;
	g->must_copy = 0;
	g->tally = (struct fbuf_tally){ };
	g->parcel = 0;
	g->copy_max = 0;
	g->sock = sock;
	g->now = jiffies ?: 1;
}

/**
 * fbuf_gather_one() - fbuf_gather_import() of one segment of any kind
 * @g: the gather, not yet initialised
 * @h: the handle
 * @seg: the segment, not in user memory
 * @sock: inode number of the socket that it goes to, or 0
 * @prot: how its buffer is to be protected
 *
 * Context: as fbuf_gather_import().
 * Return: as fbuf_gather_import().
 */
int fbuf_gather_one(struct fbuf_gather *g, struct fbuf_handle *h,
		    const struct fbuf_seg *seg, unsigned long sock,
		    enum fbuf_protection prot)
{
	int err;

	fbuf_gather_init(g, sock);
	err = gather_slow(g, h, seg, prot);
	if (err)
		fbuf_gather_release(g);
	return err;
}

static __always_inline u64 seg_start(const struct fbuf_pool *pool,
				     const struct fbuf_seg *seg)
{
	return seg_addr(pool, seg, seg->flags & FBUF_SEG_NAMED);
}

/*
 * Is this one of @segs to be copied? Not if it adjoins the one before or after:
 * then they are one run.
 */
static __always_inline bool seg_is_short(const struct fbuf_gather *g,
					 const struct fbuf_pool *pool,
					 const struct fbuf_seg *segs,
					 unsigned int i, unsigned int nr)
{
	const struct fbuf_seg *seg = &segs[i];
	u64 addr;

	if (seg->len > g->copy_max)
		return false;
	addr = seg_start(pool, seg);
	return !(i && seg_start(pool, seg - 1) + seg[-1].len == addr) &&
	       !(i + 1 < nr && addr + seg->len == seg_start(pool, seg + 1));
}

/*
 * A word an instruction, as copies from user memory have it: memcpy() takes twice to
 * three times as many for so few bytes, unless the processor does it by itself.
 */
static __always_inline void short_copy(void *to, const void *from, unsigned int len)
{
#if defined(CONFIG_X86_64) && !defined(CONFIG_UML)
	unsigned long words = len / 8;

	if (!cpu_feature_enabled(X86_FEATURE_FSRM)) {
		asm volatile ("rep movsq" : "+D" (to), "+S" (from), "+c" (words)
			      : : "memory");
		len %= 8;
		if (!len)
			return;
	}
#endif
	memcpy(to, from, len);
}

/*
 * Copy short segments that have names to where there is @room; the first does not
 * adjoin the one before it. Stops at one that is not of the usual kind, in one page,
 * of a buffer that the handle holds: that is for the slow path to look at. Returns how
 * many; *bytes says how much that was. @lazy is a constant: whether one that is held
 * may have no memory.
 */
static __always_inline unsigned int
short_copy_all(const struct fbuf_handle *h, const struct fbuf_seg *first,
	       const struct fbuf_seg *last, void *to, unsigned int room,
	       unsigned int *bytes, bool lazy)
	__must_hold(&h->pool->lock)
{
	const struct fbuf_pool *pool = h->pool;
	const struct fbuf_seg *seg;
	u64 end = U64_MAX;
	void *start = to;

	for (seg = first; seg <= last; seg++) {
		unsigned int offset = seg->flags / FBUF_SEG_OFFSET(1);
		unsigned long index = FBUF_NAME_INDEX(seg->addr);
		unsigned int len = seg->len;
		struct page *page;
		u64 addr;

		if ((seg->flags & SEG_FLAGS) != FBUF_SEG_NAMED ||
		    len - 1 >= min_t(u32, FBUF_COPY_MAX, room) ||
		    index >= pool->nr_bufs || offset >> pool->buf_shift)
			break;
		index = array_index_nospec(index, pool->nr_bufs);
		addr = ((u64)index << pool->buf_shift) + offset;
		if (unlikely(addr == end)) {
			/* It goes on where the one before ends: they are one run. */
			seg--;
			to -= seg->len;
			break;
		}
		offset = offset_in_page(offset);
		if (offset + len > PAGE_SIZE || !test_bit(index, h->holds) ||
		    FBUF_NAME_GEN(seg->addr) != pool->bufs[index].gen)
			break;
		page = pool->pages[addr >> PAGE_SHIFT];
		if ((lazy && !page) || PageHWPoison(page))
			break;
		short_copy(to, page_address(page) + offset, len);
		end = addr + len;
		to += len;
		room -= len;
	}
	*bytes = to - start;
	return seg - first;
}

static noinline unsigned int short_lazy(const struct fbuf_handle *h,
					const struct fbuf_seg *first,
					const struct fbuf_seg *last, void *to,
					unsigned int room, unsigned int *bytes)
	__must_hold(&h->pool->lock)
{
	return short_copy_all(h, first, last, to, room, bytes, true);
}

static noinline unsigned int short_locked(const struct fbuf_handle *h,
					  const struct fbuf_seg *first,
					  const struct fbuf_seg *last, void *to,
					  unsigned int room,
					  unsigned int *bytes)
	__must_hold(&h->pool->lock)
{
	if (unlikely(fbuf_is_lazy(h->pool)))
		return short_lazy(h, first, last, to, room, bytes);
	return short_copy_all(h, first, last, to, room, bytes, false);
}

/*
 * These two do segments from number @i on, as long as they are of the usual kind
 * and all to be copied, or all not. They return how many they did, or an error.
 *
 * With the pool's lock, holds stay and so do pages. It is not waited for: without it,
 * a segment is referred to while it is copied.
 */
static noinline int gather_short(struct fbuf_gather *g,
				 struct fbuf_handle *h,
				 const struct fbuf_seg *segs, unsigned int i,
				 unsigned int nr)
{
	struct page_frag *frag = &current->task_frag;
	bool named = segs[i].flags & FBUF_SEG_NAMED;
	unsigned int n = 0, bytes = 0;
	struct fbuf_pool *pool = h->pool;
	unsigned long index;
	struct bio_vec from;
	int err;

	if (!skb_page_frag_refill(FBUF_COPY_MAX, frag, GFP_KERNEL_ACCOUNT))
		return -ENOMEM;
	/* Others are not for short_locked(). */
	if (named && mutex_trylock(&pool->lock)) {
		n = short_locked(h, &segs[i], &segs[nr - 1],
				 page_address(frag->page) + frag->offset,
				 frag->size - frag->offset, &bytes);
		mutex_unlock(&pool->lock);
	}
	/* It takes 1024 of 2 MiB to come to FBUF_GATHER_MAX. */
	if (n) {
		g->len += bytes;
		g->copied += bytes;
		err = gather_frag(g, frag, bytes);
		return err ?: n;
	}
	if (!gather_fast(pool, &segs[i], named, FBUF_VOLATILE, NULL, &from,
			 &index))
		return 0;
	err = gather_copy(g, h, &segs[i], &from, index);
	/* The slow path looks again, with the lock. */
	if (err == -ESTALE && fbuf_is_lazy(pool))
		return 0;
	g->len += segs[i].len;
	return err ?: 1;
}

/* @named: of all that it is to look at, as a constant. */
static __always_inline int gather_runs(struct fbuf_gather *g,
				       struct fbuf_handle *h,
				       const struct fbuf_seg *seg,
				       const struct fbuf_seg *end, bool named,
				       enum fbuf_protection prot)
{
	struct bio_vec *run = &g->runs[g->nr], *last = g->nr ? run - 1 : NULL;
	const struct fbuf_seg *first = seg;
	struct fbuf_pool *pool = h->pool;
	unsigned long index;
	int ret = 0;

	for (; seg < end; seg++) {
		/* Those that may be short are for gather_chunk() to tell apart. */
		if (named != !!(seg->flags & FBUF_SEG_NAMED) ||
		    (seg > first && seg->len <= g->copy_max))
			break;
		if (unlikely(!gather_fast(pool, seg, named, prot, last, run,
					  &index)))
			break;
		ret = gather_buf(h, seg, named, index, run->bv_page, g->now,
				 g->sock, prot);
		if (unlikely(ret)) {
			put_page(run->bv_page);
			break;
		}
		g->len += seg->len;
		last = run++;
	}
	g->nr = run - g->runs;
	/* 1024 of 2 MiB are no more than twice that. */
	if (unlikely(g->len > FBUF_GATHER_MAX))
		return -EMSGSIZE;
	/* Of a lazy pool the slow path looks again, with the lock. */
	return ret < 0 && !fbuf_is_lazy(pool) ? ret : seg - first;
}

/* Each by itself, as a loop that has to tell takes a third more instructions. */
static noinline int gather_named(struct fbuf_gather *g, struct fbuf_handle *h,
				 const struct fbuf_seg *seg,
				 const struct fbuf_seg *end,
				 enum fbuf_protection prot)
{
	return gather_runs(g, h, seg, end, true, prot);
}

static noinline int gather_plain(struct fbuf_gather *g, struct fbuf_handle *h,
				 const struct fbuf_seg *seg,
				 const struct fbuf_seg *end,
				 enum fbuf_protection prot)
{
	return gather_runs(g, h, seg, end, false, prot);
}

static int gather_long(struct fbuf_gather *g, struct fbuf_handle *h,
		       const struct fbuf_seg *segs, unsigned int i,
		       unsigned int nr, enum fbuf_protection prot)
{
	const struct fbuf_seg *end = &segs[i + min(nr - i, g->max - g->nr)];

	if (segs[i].flags & FBUF_SEG_NAMED)
		return gather_named(g, h, &segs[i], end, prot);
	return gather_plain(g, h, &segs[i], end, prot);
}

static int gather_chunk(struct fbuf_gather *g, struct fbuf_handle *h,
			const struct fbuf_seg *segs, unsigned int nr,
			enum fbuf_protection prot)
{
	unsigned int i = 0;
	bool ahead = prot == FBUF_VOLATILE;	/* it was looked there */
	int ret;

	while (i < nr) {
		if (seg_is_short(g, h->pool, segs, i, nr))
			ret = gather_short(g, h, segs, i, nr);
		else
			ret = gather_long(g, h, segs, i, nr, prot);
		if (ret < 0)
			return ret;
		i += ret;
		if (ret)
			continue;
		if (!ahead && !(segs[i].flags & FBUF_SEG_INLINE) && i + 1 < nr) {
			gather_ahead(g, h, &segs[i], nr - i, prot);
			ahead = true;
		}
		ret = gather_slow(g, h, &segs[i], prot);
		if (ret)
			return ret;
		i++;
	}
	return 0;
}

/**
 * fbuf_gather_many() - fbuf_gather_import() of any number of segments
 * @g: the gather, not yet initialised
 * @h: the handle
 * @segs: the segments
 * @nr: how many
 * @sock: inode number of the socket that they go to, or 0
 * @prot: how their buffers are to be protected
 * @copy: short segments may be copied
 *
 * Context: as fbuf_gather_import().
 * Return: as fbuf_gather_import().
 */
int fbuf_gather_many(struct fbuf_gather *g, struct fbuf_handle *h,
		     const struct fbuf_seg __user *segs, unsigned int nr,
		     unsigned long sock, enum fbuf_protection prot, bool copy)
{
	struct fbuf_seg chunk[SEGS_CHUNK] __uninitialized;
	unsigned int n;
	int err;

	fbuf_gather_init(g, sock);
	if (!nr || nr > FBUF_SEGS_MAX)
		return -EINVAL;
	if (copy && nr > MAX_SKB_FRAGS)
		g->copy_max = FBUF_COPY_MAX;
	for (; nr; nr -= n, segs += n) {
		n = min_t(unsigned int, nr, SEGS_CHUNK);
		err = -EFAULT;
		if (copy_from_user(chunk, segs, n * sizeof(*segs)))
			goto err_release;
		err = gather_chunk(g, h, chunk, n, prot);
		if (err)
			goto err_release;
	}
	return 0;

err_release:
	fbuf_gather_release(g);
	return err;
}

/**
 * fbuf_gather_free() - free what a gather's runs were moved to
 * @g: a gather with many
 *
 * Context: may sleep.
 */
void fbuf_gather_free(struct fbuf_gather *g)
{
	kvfree(g->runs);
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
		struct fbuf_buf *buf = fbuf_run_buf(&g->runs[i], pool);

		if (buf)
			WRITE_ONCE(buf->sock, sock);
	}
}

/**
 * fbuf_gather_move() - move a gather to memory that lasts longer
 * @to: where to
 * @from: a gather that was imported; it is none any more
 *
 * Context: any.
 */
void fbuf_gather_move(struct fbuf_gather *to, const struct fbuf_gather *from)
{
	*to = *from;
	if (from->runs == from->fast)
		to->runs = to->fast;
}
