// SPDX-License-Identifier: GPL-2.0
/*
 * Protection of buffers in flight against writes.
 *
 * A protected buffer has no writable entry in any page table: all entries are
 * taken away when protection begins, and map.c makes new ones read-only while it
 * lasts. (To make entries read-only where they are is no way: the kernel's walk
 * for it stops at the first mapping that may not be written, and mprotect() makes
 * dirty entries writable without asking.) Protection is not ended when the buffer
 * becomes idle, which nobody tells, but by the first write after that, or by a
 * snapshot.
 *
 * When it begins, nobody but the pool may refer to the buffer's pages: whoever
 * else does, may be about to write there, as direct I/O that is under way and
 * calls that took user pages before they wait for data.
 *
 * A send takes no lock where the buffer is protected already. It takes its page
 * references first and looks at the protection after; a write first lifts the
 * protection and looks at references after, and puts it back if there are any.
 * Either the send sees that it must protect, under the lock, or the write sees
 * the references.
 *
 * A write to a snapshot buffer must not be kept waiting by a limit. So what it
 * will need is charged when protection begins, and until the buffer is idle or
 * has had its snapshot.
 */
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "charge.h"
#include "compat.h"
#include "folio.h"
#include "look.h"
#include "nudge.h"
#include "protect.h"
#include "trace.h"
#include "types.h"
#include "wait.h"

/* Nothing may be mapped: what refers to it then are packets, and strangers. */
static bool buf_referred(struct fbuf_pool *pool, const struct fbuf_buf *buf)
{
	unsigned long i = fbuf_buf_first(pool, buf);
	unsigned long end = i + fbuf_buf_pages(pool);

	while (i < end) {
		struct folio *folio = page_folio(pool->pages[i]);

		if (folio_ref_count(folio) > 1)
			return true;
		i += folio_nr_pages(folio);
	}
	return false;
}

/*
 * The buffer's page-table entries are gone. False if somebody refers to it all the
 * same, who may be about to write.
 */
static bool protect_unmapped(struct fbuf_pool *pool, struct fbuf_buf *buf,
			     struct fbuf_tally *tally)
	__must_hold(&pool->lock)
{
	if (buf_referred(pool, buf))
		return false;
	this_cpu_add(pool->counters->protects, 1);
	trace_fbuf_protect(pool, buf);
	if (tally) {
		tally->protects++;
		tally->snapshots += buf->snapped;
		buf->snapped = 0;
	}
	return true;
}

/*
 * Make the buffer one that can have no writable page-table entry, and that nobody
 * writes to by other ways. -EAGAIN: there are references that may pass.
 */
static int protect_begin(struct fbuf_pool *pool, struct fbuf_buf *buf,
			 struct fbuf_tally *tally)
	__must_hold(&pool->lock)
{
	lockdep_assert_held(&pool->lock);
	if (!fbuf_buf_writable(buf))
		return 0;
	if (buf->fills)
		return -EBUSY;
	fbuf_unmap(pool, buf, 1);
	return protect_unmapped(pool, buf, tally) ? 0 : -EAGAIN;
}

static void reserve_drop(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	if (list_empty(&buf->reserved))
		return;
	list_del_init(&buf->reserved);
	fbuf_uncharge(pool, fbuf_buf_pages(pool));
}

/**
 * fbuf_reserved_reap() - charge no more for writes to buffers that are idle
 * @pool: the pool
 * @looks: at how many buffers to look in vain
 *
 * Context: may sleep; the pool's lock is held.
 */
void fbuf_reserved_reap(struct fbuf_pool *pool, unsigned int looks)
{
	struct fbuf_buf *buf, *next, *last;

	lockdep_assert_held(&pool->lock);
	/* Of a dead pool, what is charged is counted by the pages that stay. */
	if (pool->dead || list_empty(&pool->reserved))
		return;
	last = list_last_entry(&pool->reserved, struct fbuf_buf, reserved);
	list_for_each_entry_safe(buf, next, &pool->reserved, reserved) {
		bool end = buf == last;

		if (!fbuf_settle(pool, buf)) {
			/* Its turn comes last. */
			list_move_tail(&buf->reserved, &pool->reserved);
			end |= !--looks;
		}
		if (end)
			break;
		cond_resched();
	}
}

/* Charge what a snapshot will need: 0, -ENOMEM or -EDQUOT. */
static int reserve(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	unsigned int nr = fbuf_buf_pages(pool);
	int err;

	if (!list_empty(&buf->reserved))
		return 0;
	err = fbuf_charge(pool, nr);
	if (err) {
		unsigned int looks = fbuf_looks(pool);

		fbuf_orphans_reap(pool, looks);
		fbuf_reserved_reap(pool, looks);
		err = fbuf_charge(pool, nr);
		if (err) {
			fbuf_nudge();
			fbuf_charge_log(pool, nr, err,
					"a snapshot (what is sent is copied instead)");
			return err;
		}
	}
	list_add_tail(&buf->reserved, &pool->reserved);
	return 0;
}

/**
 * fbuf_protect() - protect a buffer that is about to be sent
 * @pool: a pool that is not volatile
 * @buf: the buffer, which has memory; the caller has no reference to its pages,
 *       and takes them before it lets go of the lock
 * @prot: how
 * @tally: grows by it, if it was not protected yet; or NULL
 *
 * Context: may sleep; the pool's lock is held.
 * Return: 0; -EBUSY if it is being filled; -EAGAIN if others refer to its pages,
 * which may pass; -ENOMEM or -EDQUOT if the maker's limits do not allow for the
 * snapshot that a write would need.
 */
int fbuf_protect(struct fbuf_pool *pool, struct fbuf_buf *buf,
		 enum fbuf_protection prot, struct fbuf_tally *tally)
{
	int err;

	lockdep_assert_held(&pool->lock);
	if (buf->prot >= prot)
		return 0;
	if (prot == FBUF_SNAPSHOT) {
		err = reserve(pool, buf);
		if (err)
			return err;
	}
	err = protect_begin(pool, buf, tally);
	if (err)
		reserve_drop(pool, buf);
	else
		WRITE_ONCE(buf->prot, prot);
	return err;
}

/* Of a run of buffers, the first that can be charged for: how many. */
static unsigned int reserve_run(struct fbuf_pool *pool, struct fbuf_buf *bufs,
				unsigned int nr)
	__must_hold(&pool->lock)
{
	unsigned int i;

	for (i = 0; i < nr && !reserve(pool, &bufs[i]); i++)
		;
	return i;
}

/**
 * fbuf_protect_run() - fbuf_protect() of buffers that adjoin, as far as it goes at once
 * @pool: a pool that is not volatile
 * @bufs: the first of them; all may be written, have memory and are not being filled,
 *        and the caller has no reference to their pages
 * @nr: how many
 * @prot: how
 * @tally: grows by those that are protected now; the others are for fbuf_protect()
 *         to tell why
 *
 * Page tables are walked, and other CPUs told, once for all of them.
 *
 * Context: may sleep; the pool's lock is held.
 */
void fbuf_protect_run(struct fbuf_pool *pool, struct fbuf_buf *bufs,
		      unsigned int nr, enum fbuf_protection prot,
		      struct fbuf_tally *tally)
{
	unsigned int i;

	lockdep_assert_held(&pool->lock);
	if (prot == FBUF_SNAPSHOT)
		nr = reserve_run(pool, bufs, nr);
	if (!nr)
		return;
	fbuf_unmap(pool, bufs, nr);
	for (i = 0; i < nr; i++) {
		if (protect_unmapped(pool, &bufs[i], tally))
			WRITE_ONCE(bufs[i].prot, prot);
		else
			reserve_drop(pool, &bufs[i]);
	}
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
		err = fbuf_buf_get_memory(pool, &pool->bufs[index]);
		/* If a later one fails, writing this one costs a fault. */
		if (!err)
			err = protect_begin(pool, &pool->bufs[index], NULL);
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

static int secure_try(struct fbuf_handle *h, const u64 *names,
		      unsigned int count)
{
	int ret;

	mutex_lock(&h->pool->lock);
	ret = secure_all(h, names, count);
	mutex_unlock(&h->pool->lock);
	return ret;
}

/**
 * fbuf_secure() - keep everybody from writing to buffers
 * @h: the handle that holds them; until it no longer does
 * @names: the buffers
 * @count: how many
 *
 * Context: may sleep; takes the pool's lock.
 * Return: @count; or, with none secured, -EOPNOTSUPP, -EINVAL, -ESTALE, -ENOMEM if
 * there is no memory for one that has none, or -EBUSY if others may write to the
 * pages, or a FILL does.
 */
int fbuf_secure(struct fbuf_handle *h, const u64 *names, unsigned int count)
{
	struct fbuf_waiter w;
	int ret;

	if (fbuf_is_volatile(h->pool))
		return -EOPNOTSUPP;
	fbuf_grace_begin(&w);
	do {
		ret = secure_try(h, names, count);
	} while (ret == -EAGAIN && fbuf_grace_sleep(&w, h->pool));
	return fbuf_grace_end(&w, ret);
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

/* Copies a page; stops at what the memory cannot give. */
static int snapshot_copy_page(struct page *to, struct page *from)
{
	if (PageHWPoison(from) || copy_mc_user_highpage(to, from, 0, NULL))
		return -EHWPOISON;
	return 0;
}

/* Fresh pages with what the buffer has in them, or an error. */
static struct page **snapshot_copy(struct fbuf_pool *pool,
				   const struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	unsigned long first = fbuf_buf_first(pool, buf);
	unsigned int i, nr = fbuf_buf_pages(pool);
	struct page **fresh;
	int err;

	fresh = kcalloc(nr, sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return ERR_PTR(-ENOMEM);
	err = fbuf_populate_copy(pool, fresh, first);
	if (err)
		goto free;
	for (i = 0; i < nr; i++) {
		err = snapshot_copy_page(fresh[i], pool->pages[first + i]);
		if (err)
			goto depopulate;
		cond_resched();
	}
	return fresh;

depopulate:
	fbuf_depopulate(fresh, nr);
free:
	kfree(fresh);
	return ERR_PTR(err);
}

/* The old pages belong to the packets now; they stay charged meanwhile. */
static void snapshot_swap(struct fbuf_pool *pool, struct fbuf_buf *buf,
			  struct page **fresh)
	__must_hold(&pool->lock)
{
	unsigned long first = fbuf_buf_first(pool, buf);
	unsigned int i, nr = fbuf_buf_pages(pool);

	fbuf_unmap(pool, buf, 1);
	buf->told = 0;
	buf->snapped = 1;
	/* A send that gets a fresh page must see that it is not protected. */
	WRITE_ONCE(buf->prot, FBUF_VOLATILE);
	smp_wmb();	/* pairs with gather_get_page() */
	for (i = 0; i < nr; i++) {
		struct page *old = pool->pages[first + i];

		WRITE_ONCE(pool->pages[first + i], fresh[i]);
		if (!PageTail(old))
			fbuf_orphan(pool, old);
	}
}

/*
 * Give the buffer fresh pages, for which its maker is charged already. Returns 0,
 * or -ENOMEM when the machine or the memory cgroup is out of memory, or -EHWPOISON:
 * then it is as with any copy on write.
 */
static int snapshot(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	struct page **fresh;

	fbuf_orphans_reap(pool, fbuf_looks(pool));
	fresh = snapshot_copy(pool, buf);
	if (IS_ERR(fresh))
		return PTR_ERR(fresh);
	snapshot_swap(pool, buf, fresh);
	kfree(fresh);
	/* The charge is for the old pages now. */
	list_del_init(&buf->reserved);
	this_cpu_add(pool->counters->snapshots, 1);
	trace_fbuf_snapshot(pool, buf);
	return 0;
}

/* Lift the protection of a buffer that is idle; false if it is not. */
static bool protect_end(struct fbuf_pool *pool, struct fbuf_buf *buf,
			const struct folio *ours)
	__must_hold(&pool->lock)
{
	u32 prot = buf->prot;

	WRITE_ONCE(buf->prot, FBUF_VOLATILE);
	smp_mb();	/* pairs with gather_get_page() */
	if (!fbuf_buf_idle(pool, buf, ours)) {
		WRITE_ONCE(buf->prot, prot);
		return false;
	}
	reserve_drop(pool, buf);
	return true;
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
 * fbuf_unprotect() - a buffer loses its memory, and with it all protection
 * @pool: the pool
 * @buf: the buffer, idle and mapped nowhere
 *
 * Context: the pool's lock is held.
 */
void fbuf_unprotect(struct fbuf_pool *pool, struct fbuf_buf *buf)
{
	lockdep_assert_held(&pool->lock);
	WRITE_ONCE(buf->prot, FBUF_VOLATILE);
	reserve_drop(pool, buf);
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
 * Return: 0 if page tables may have writable entries for it now; -EBUSY if not,
 * as it is secured or in flight; -ENOMEM if there is none for a snapshot;
 * -EHWPOISON if what it is to be made of cannot be read.
 */
int fbuf_may_write(struct fbuf_pool *pool, struct fbuf_buf *buf,
		   const struct folio *ours)
{
	lockdep_assert_held(&pool->lock);
	if (buf->secures)
		return -EBUSY;
	if (buf->prot == FBUF_VOLATILE || protect_end(pool, buf, ours))
		return 0;
	return buf->prot == FBUF_SNAPSHOT ? snapshot(pool, buf) : -EBUSY;
}

/**
 * fbuf_idle_to_write() - may a buffer be made writable that nobody waits to write?
 * @pool: a pool that is not volatile
 * @buf: the buffer
 *
 * As fbuf_may_write(), but of one that is idle alone, which is then as it would be
 * after a write.
 *
 * Context: the pool's lock is held.
 * Return: whether page tables may have writable entries for it now.
 */
bool fbuf_idle_to_write(struct fbuf_pool *pool, struct fbuf_buf *buf)
{
	lockdep_assert_held(&pool->lock);
	if (buf->secures || fbuf_buf_bare(pool, buf))
		return false;
	return buf->prot == FBUF_VOLATILE || protect_end(pool, buf, NULL);
}

/**
 * fbuf_write_wait() - wait until a buffer may be written, or that can be told
 * @pool: a pool that is not volatile, which must stay
 * @buf: the buffer
 * @timeout: milliseconds to wait at most, or -1
 * @mode: the state to sleep in; a signal that it allows for ends the wait
 *
 * Context: may sleep; takes the pool's lock.
 * Return: as fbuf_may_write(), in the end.
 */
int fbuf_write_wait(struct fbuf_pool *pool, struct fbuf_buf *buf, int timeout,
		    unsigned int mode)
{
	struct fbuf_waiter w;
	bool in_flight;
	int err;

	fbuf_waiter_begin(&w, pool, timeout, mode);
	do {
		mutex_lock(&pool->lock);
		err = fbuf_buf_bare(pool, buf) ? 0 :
						 fbuf_may_write(pool, buf, NULL);
		in_flight = !buf->secures;
		mutex_unlock(&pool->lock);
	} while (err == -EBUSY && !fbuf_waiter_sleep(&w, in_flight));
	fbuf_waiter_end(&w);
	return err;
}
