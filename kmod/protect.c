// SPDX-License-Identifier: GPL-2.0
/*
 * Protection of buffers in flight against writes.
 *
 * A protected buffer has no writable entry in any page table: all entries are
 * made read-only or taken away when protection begins, and map.c makes new ones
 * read-only while it lasts. Protection is not ended when the buffer becomes
 * idle, which nobody tells, but by the first write after that, or by a snapshot.
 *
 * A send takes no lock where the buffer is protected already. It takes its page
 * references first and looks at the protection after; a write first lifts the
 * protection and looks at references after, and puts it back if there are any.
 * Either the send sees that it must protect, under the lock, or the write sees
 * the references.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "compat.h"
#include "fbuf.h"
#include "trace.h"

/* Pinned pages can be written by devices, which page tables do not stop. */
static bool buf_pinned(struct fbuf_pool *pool, const struct fbuf_buf *buf)
{
	unsigned long i = fbuf_buf_first(pool, buf);
	unsigned long end = i + fbuf_buf_pages(pool);

	while (i < end) {
		struct folio *folio = page_folio(pool->pages[i]);

		if (folio_maybe_dma_pinned(folio))
			return true;
		i += folio_nr_pages(folio);
	}
	return false;
}

/*
 * Make the buffer one that can have no writable page-table entry, and that no
 * FILL writes to.
 */
static int protect_begin(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	lockdep_assert_held(&pool->lock);
	if (buf->prot != FBUF_VOLATILE || buf->secures)
		return 0;
	if (buf->fills)
		return -EBUSY;
	fbuf_wrprotect(pool, buf);
	if (buf_pinned(pool, buf))
		return -EBUSY;
	this_cpu_add(pool->counters->protects, 1);
	trace_fbuf_protect(pool, buf);
	return 0;
}

static noinline int protect_slow(struct fbuf_pool *pool, struct fbuf_buf *buf,
				 enum fbuf_protection prot)
{
	int err = 0;

	mutex_lock(&pool->lock);
	if (buf->prot < prot) {
		err = protect_begin(pool, buf);
		if (!err)
			WRITE_ONCE(buf->prot, prot);
	}
	mutex_unlock(&pool->lock);
	return err;
}

/**
 * fbuf_protect() - protect a buffer that is about to be sent
 * @pool: a pool that is not volatile
 * @index: the buffer; the caller has references to the pages that it sends, and
 *         a full memory barrier lies between taking them and this call
 * @prot: how
 *
 * Context: may sleep; takes the pool's lock if the buffer is not protected.
 * Return: 0, or -EBUSY if pages are pinned or being filled.
 */
int fbuf_protect(struct fbuf_pool *pool, unsigned int index,
		 enum fbuf_protection prot)
{
	struct fbuf_buf *buf = &pool->bufs[index];

	if (READ_ONCE(buf->prot) >= prot)
		return 0;
	return protect_slow(pool, buf, prot);
}

static int secure_all(struct fbuf_handle *h, const u64 *names,
		      unsigned int count)
	__must_hold(&h->pool->lock)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int i;
	int index, err;

	for (i = 0; i < count; i++) {
		index = fbuf_buf_check(h, names[i]);
		if (index < 0)
			return index;
		/* If a later one fails, writing this one costs a fault. */
		err = protect_begin(pool, &pool->bufs[index]);
		if (err)
			return err;
		cond_resched();
	}
	for (i = 0; i < count; i++) {
		index = FBUF_NAME_INDEX(names[i]);
		if (!test_and_set_bit(index, h->secures))
			pool->bufs[index].secures++;
	}
	return count;
}

/**
 * fbuf_secure() - keep everybody from writing to buffers
 * @h: the handle that holds them; until it no longer does
 * @names: the buffers
 * @count: how many
 *
 * Context: may sleep; takes the pool's lock.
 * Return: @count; or, with none secured, -EOPNOTSUPP, -EINVAL, -ESTALE, or
 * -EBUSY if pages are pinned or being filled.
 */
int fbuf_secure(struct fbuf_handle *h, const u64 *names, unsigned int count)
{
	int ret;

	if (fbuf_is_volatile(h->pool))
		return -EOPNOTSUPP;
	mutex_lock(&h->pool->lock);
	ret = secure_all(h, names, count);
	mutex_unlock(&h->pool->lock);
	return ret;
}

/**
 * fbuf_unsecure() - a handle drops its hold on a buffer
 * @h: the handle
 * @index: the buffer
 *
 * Context: the pool's lock is held; fbuf_wake() is still to be called.
 */
void fbuf_unsecure(struct fbuf_handle *h, unsigned int index)
{
	lockdep_assert_held(&h->pool->lock);
	if (h->secures && test_and_clear_bit(index, h->secures))
		h->pool->bufs[index].secures--;
}

/* Fresh pages with what the buffer has in them, or NULL. */
static struct page **snapshot_copy(struct fbuf_pool *pool,
				   const struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	unsigned long first = fbuf_buf_first(pool, buf);
	unsigned int i, nr = fbuf_buf_pages(pool);
	struct page **fresh;

	fresh = kcalloc(nr, sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return NULL;
	if (fbuf_populate(pool, fresh, first, NULL)) {
		kfree(fresh);
		return NULL;
	}
	for (i = 0; i < nr; i++) {
		copy_highpage(fresh[i], pool->pages[first + i]);
		cond_resched();
	}
	return fresh;
}

/* The old pages belong to the packets now; they stay charged meanwhile. */
static void snapshot_swap(struct fbuf_pool *pool, struct fbuf_buf *buf,
			  struct page **fresh)
	__must_hold(&pool->lock)
{
	unsigned long first = fbuf_buf_first(pool, buf);
	unsigned int i, nr = fbuf_buf_pages(pool);

	fbuf_unmap(pool, buf);
	buf->told = 0;
	/* A send that gets a fresh page must see that it is not protected. */
	WRITE_ONCE(buf->prot, FBUF_VOLATILE);
	smp_wmb();	/* pairs with the barrier before fbuf_protect() */
	for (i = 0; i < nr; i++) {
		struct page *old = pool->pages[first + i];

		WRITE_ONCE(pool->pages[first + i], fresh[i]);
		if (PageTail(old))
			continue;
		list_add_tail(&old->lru, &pool->orphans);
	}
	pool->nr_orphans += nr;
}

/* Give the buffer fresh pages; false if there is no memory or no limit left. */
static bool snapshot(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	unsigned int nr = fbuf_buf_pages(pool);
	struct page **fresh;

	fbuf_orphans_reap(pool, false);
	if (fbuf_charge(pool, nr))
		return false;
	fresh = snapshot_copy(pool, buf);
	if (!fresh) {
		fbuf_uncharge(pool, nr);
		return false;
	}
	snapshot_swap(pool, buf, fresh);
	kfree(fresh);
	this_cpu_add(pool->counters->snapshots, 1);
	trace_fbuf_snapshot(pool, buf);
	return true;
}

/* Lift the protection of a buffer that is idle; false if it is not. */
static bool protect_end(struct fbuf_pool *pool, struct fbuf_buf *buf,
			const struct folio *ours)
	__must_hold(&pool->lock)
{
	u32 prot = buf->prot;

	WRITE_ONCE(buf->prot, FBUF_VOLATILE);
	smp_mb();	/* pairs with the one between reference and READ_ONCE() */
	if (fbuf_buf_idle(pool, buf, ours))
		return true;
	WRITE_ONCE(buf->prot, prot);
	return false;
}

/**
 * fbuf_settle() - see whether a buffer is idle, as whoever asks is told
 * @pool: the pool
 * @buf: the buffer
 *
 * Then protection is over, for certain: a write needs not find out again, which
 * references of other page faults could keep it from.
 *
 * Context: the pool's lock is held.
 * Return: whether it is idle.
 */
bool fbuf_settle(struct fbuf_pool *pool, struct fbuf_buf *buf)
{
	lockdep_assert_held(&pool->lock);
	if (buf->prot == FBUF_VOLATILE)
		return fbuf_buf_idle(pool, buf, NULL);
	return protect_end(pool, buf, NULL);
}

/**
 * fbuf_may_write() - a task writes to a buffer: may it be made writable?
 * @pool: a pool that is not volatile
 * @buf: the buffer, which has memory
 * @ours: a folio of it to which the caller has a reference, or NULL
 *
 * Makes a snapshot if that is what it takes: then the buffer's pages are others
 * than before.
 *
 * Context: may sleep; the pool's lock is held.
 * Return: whether page tables may have writable entries for it now.
 */
bool fbuf_may_write(struct fbuf_pool *pool, struct fbuf_buf *buf,
		    const struct folio *ours)
{
	lockdep_assert_held(&pool->lock);
	if (buf->secures)
		return false;
	if (buf->prot == FBUF_VOLATILE || protect_end(pool, buf, ours))
		return true;
	return buf->prot == FBUF_SNAPSHOT && snapshot(pool, buf);
}

/**
 * fbuf_write_wait() - wait until a buffer may be written
 * @pool: a pool that is not volatile, which must stay
 * @buf: the buffer
 * @timeout: milliseconds to wait at most, or -1
 * @mode: the state to sleep in; a signal that it allows for ends the wait
 *
 * Context: may sleep; takes the pool's lock.
 * Return: whether it may.
 */
bool fbuf_write_wait(struct fbuf_pool *pool, struct fbuf_buf *buf, int timeout,
		     unsigned int mode)
{
	struct fbuf_waiter w;
	bool may, in_flight;

	fbuf_waiter_begin(&w, pool, timeout, mode);
	do {
		mutex_lock(&pool->lock);
		may = fbuf_buf_bare(pool, buf) ||
		      fbuf_may_write(pool, buf, NULL);
		in_flight = !buf->secures;
		mutex_unlock(&pool->lock);
	} while (!may && !fbuf_waiter_sleep(&w, in_flight));
	fbuf_waiter_end(&w);
	return may;
}
