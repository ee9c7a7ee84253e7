// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers: holds, ALLOC and FREE, and the test that tells when one is idle.
 *
 * A buffer is handed out only when no handle has a hold on it and nobody but
 * the pool and page tables refers to its pages.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/page_ref.h>
#include <linux/sched.h>

#include "compat.h"
#include "fbuf.h"

static unsigned int buf_index(const struct fbuf_pool *pool,
			      const struct fbuf_buf *buf)
{
	return buf - pool->bufs;
}

/**
 * fbuf_folio_idle() - does nothing but the pool and page tables refer to it?
 * @folio: one to which the pool has a reference
 *
 * A mapping comes with a reference and goes before it does, and reading the
 * mappings on both sides of the references keeps a change in between from
 * passing for idle: errors are to the busy side.
 *
 * Context: any.
 * Return: whether it is so.
 */
bool fbuf_folio_idle(struct folio *folio)
{
	int mapped, refs;

	refs = folio_ref_count(folio);
	if (refs == 1)
		return true;
	mapped = fbuf_folio_mapcount(folio);
	smp_rmb();	/* first mappings, */
	refs = folio_ref_count(folio);
	smp_rmb();	/* then references, then mappings again */
	return refs == 1 + mapped && mapped == fbuf_folio_mapcount(folio);
}

static bool buf_idle(const struct fbuf_pool *pool, const struct fbuf_buf *buf)
{
	unsigned long nr = 1UL << (pool->buf_shift - PAGE_SHIFT);
	unsigned long i = buf_index(pool, buf) * nr;
	unsigned long end = i + nr;

	while (i < end) {
		struct folio *folio = page_folio(pool->pages[i]);

		if (!fbuf_folio_idle(folio))
			return false;
		i += folio_nr_pages(folio);
	}
	return true;
}

/* A buffer that is idle, off its list, or NULL. Looks at *budget in limbo. */
static struct fbuf_buf *take_idle(struct fbuf_pool *pool, unsigned int *budget)
	__must_hold(&pool->lock)
{
	struct fbuf_buf *buf;

	/* User space can pin pages of a free buffer through its mapping. */
	while ((buf = list_first_entry_or_null(&pool->free, struct fbuf_buf,
					       node))) {
		if (buf_idle(pool, buf)) {
			list_del_init(&buf->node);
			return buf;
		}
		list_move_tail(&buf->node, &pool->limbo);
		pool->nr_limbo++;
	}
	while (*budget && (buf = list_first_entry_or_null(&pool->limbo,
							  struct fbuf_buf,
							  node))) {
		--*budget;
		if (buf_idle(pool, buf)) {
			list_del_init(&buf->node);
			pool->nr_limbo--;
			return buf;
		}
		list_move_tail(&buf->node, &pool->limbo);
		cond_resched();
	}
	return NULL;
}

/* The buffer has no hold any more: whoever finds it idle may have it. */
static void put_free(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	lockdep_assert_held(&pool->lock);
	if (buf_idle(pool, buf)) {
		list_add(&buf->node, &pool->free);
		return;
	}
	list_add_tail(&buf->node, &pool->limbo);
	pool->nr_limbo++;
}

static void drop_hold(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	lockdep_assert_held(&pool->lock);
	if (--buf->holds)
		return;
	pool->nr_held--;
	put_free(pool, buf);
}

/**
 * fbuf_buf_init() - make all buffers of a new pool free
 * @pool: the pool, not yet seen by anyone else
 */
void fbuf_buf_init(struct fbuf_pool *pool)
{
	unsigned int i;

	for (i = 0; i < pool->nr_bufs; i++)
		list_add_tail(&pool->bufs[i].node, &pool->free);
}

/**
 * fbuf_alloc() - take a hold on idle buffers
 * @h: the handle that will have the holds
 * @names: where their names go
 * @count: how many at most
 *
 * Context: may sleep; takes the pool's lock.
 * Return: how many, at least 1; -EAGAIN if all that are free are in flight;
 * -ENOBUFS if none is free.
 */
int fbuf_alloc(struct fbuf_handle *h, u64 *names, unsigned int count)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int budget, n;
	int ret;

	mutex_lock(&pool->lock);
	budget = pool->nr_limbo;
	for (n = 0; n < count; n++) {
		struct fbuf_buf *buf = take_idle(pool, &budget);
		unsigned int index;

		if (!buf)
			break;
		index = buf_index(pool, buf);
		buf->gen++;
		buf->holds = 1;
		pool->nr_held++;
		set_bit(index, h->holds);
		names[n] = FBUF_NAME(index, buf->gen);
	}
	ret = n;
	if (!n)
		ret = pool->nr_limbo ? -EAGAIN : -ENOBUFS;
	mutex_unlock(&pool->lock);

	if (ret == -EAGAIN)
		fbuf_nudge();
	this_cpu_add(pool->counters->allocs, n);
	return ret;
}

/* Clear the handle's hold on a named buffer, so that a repeated name fails. */
static int clear_hold(struct fbuf_handle *h, u64 name)
	__must_hold(&h->pool->lock)
{
	u32 index = FBUF_NAME_INDEX(name);

	lockdep_assert_held(&h->pool->lock);
	if (index >= h->pool->nr_bufs)
		return -EINVAL;
	if (h->pool->bufs[index].gen != FBUF_NAME_GEN(name) ||
	    !test_and_clear_bit(index, h->holds))
		return -ESTALE;
	return 0;
}

/**
 * fbuf_free() - drop holds
 * @h: the handle that has them
 * @names: the buffers
 * @count: how many
 *
 * Context: may sleep; takes the pool's lock.
 * Return: @count; or, with no hold dropped, -EINVAL if a name is not one of
 * this pool, -ESTALE if the handle has no hold on that buffer, or no longer.
 */
int fbuf_free(struct fbuf_handle *h, const u64 *names, unsigned int count)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int i;
	int err = 0;

	mutex_lock(&pool->lock);
	for (i = 0; i < count; i++) {
		err = clear_hold(h, names[i]);
		if (err)
			goto restore;
	}
	for (i = 0; i < count; i++)
		drop_hold(pool, &pool->bufs[FBUF_NAME_INDEX(names[i])]);
	mutex_unlock(&pool->lock);
	return count;

restore:
	while (i--)
		set_bit(FBUF_NAME_INDEX(names[i]), h->holds);
	mutex_unlock(&pool->lock);
	return err;
}

/**
 * fbuf_free_all() - drop all holds of a handle that is going away
 * @h: the handle
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_free_all(struct fbuf_handle *h)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int i;

	mutex_lock(&pool->lock);
	for_each_set_bit(i, h->holds, pool->nr_bufs) {
		clear_bit(i, h->holds);
		drop_hold(pool, &pool->bufs[i]);
		cond_resched();
	}
	mutex_unlock(&pool->lock);
}

/**
 * fbuf_buf_info() - count the buffers that are held and in flight
 * @pool: the pool
 * @info: where to
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_buf_info(struct fbuf_pool *pool, struct fbuf_info *info)
{
	struct fbuf_buf *buf, *next;

	mutex_lock(&pool->lock);
	list_for_each_entry_safe(buf, next, &pool->limbo, node) {
		if (buf_idle(pool, buf)) {
			list_move_tail(&buf->node, &pool->free);
			pool->nr_limbo--;
		}
		cond_resched();
	}
	info->nr_held = pool->nr_held;
	info->nr_in_flight = pool->nr_limbo;
	mutex_unlock(&pool->lock);
}
