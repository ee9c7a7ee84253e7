// SPDX-License-Identifier: GPL-2.0
/*
 * Under memory pressure, buffers that are free give their memory back, those
 * that were free for longest first. It returns, zeroed, when they are used.
 */
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/shrinker.h>

#include "buffer.h"
#include "compat.h"
#include "event.h"
#include "folio.h"
#include "pool.h"
#include "protect.h"
#include "shrink.h"
#include "trace.h"
#include "types.h"

/* A pool's lock is only tried: its owner may be waiting for the memory. */

static unsigned long shrink_count(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	struct fbuf_pool *pool;
	unsigned long nr = 0;
	u64 id = 0;

	while ((pool = fbuf_pool_next(id))) {
		id = pool->id;
		/* What was free is gone already. */
		if (!READ_ONCE(pool->dead))
			nr += (unsigned long)READ_ONCE(pool->nr_free) *
			      fbuf_buf_pages(pool);
		fbuf_pool_unref(pool);
	}
	return nr ?: SHRINK_EMPTY;
}

static bool shrink_buf(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	fbuf_unmap(pool, buf, 1);
	/* A send that looks it up meanwhile finds that nobody holds it. */
	if (!fbuf_buf_idle(pool, buf, NULL)) {
		/* Pinned by its mapping: not to be looked at again and again. */
		fbuf_put_limbo(pool, buf);
		return false;
	}
	fbuf_buf_drop_memory(pool, buf);
	/* Nothing is mapped, and a write will find new pages. */
	fbuf_unprotect(pool, buf);
	pool->nr_free--;
	pool->nr_bare++;
	list_move(&buf->node, &pool->bare);
	this_cpu_add(pool->counters->reclaims, 1);
	return true;
}

static unsigned long shrink_pool(struct fbuf_pool *pool, unsigned long want)
{
	struct fbuf_buf *buf, *prev;
	unsigned long nr = 0;

	if (!mutex_trylock(&pool->lock))
		return 0;
	list_for_each_entry_safe_reverse(buf, prev, &pool->free, node) {
		/* Of a dead pool, what was free is gone already. */
		if (pool->dead || nr >= want)
			break;
		if (shrink_buf(pool, buf))
			nr += fbuf_buf_pages(pool);
		cond_resched();
	}
	mutex_unlock(&pool->lock);
	return nr;
}

static unsigned long shrink_scan(struct shrinker *shrinker,
				 struct shrink_control *sc)
{
	struct fbuf_pool *pool;
	unsigned long nr = 0;
	u64 id = 0;

	while (nr < sc->nr_to_scan && (pool = fbuf_pool_next(id))) {
		id = pool->id;
		nr += shrink_pool(pool, sc->nr_to_scan - nr);
		fbuf_pool_unref(pool);
	}
	return nr ?: SHRINK_STOP;
}

FBUF_DEFINE_SHRINKER(fbuf_shrinker, shrink_count, shrink_scan);

/**
 * fbuf_shrink_init() - be there when memory is short
 *
 * Return: 0 or -ENOMEM.
 */
int __init fbuf_shrink_init(void)
{
	return fbuf_shrinker_register(&fbuf_shrinker, "fbuf");
}

/**
 * fbuf_shrink_exit() - undo fbuf_shrink_init()
 *
 * Context: may sleep.
 */
void fbuf_shrink_exit(void)
{
	fbuf_shrinker_unregister(&fbuf_shrinker);
}
