// SPDX-License-Identifier: GPL-2.0
/*
 * A pool's life and memory: where it comes from and when it goes back.
 *
 * A page belongs to a pool or to nobody. When the last handle is gone, what is
 * idle goes back at once, and the pool stays as a retired one until the rest,
 * which packets still refer to, is idle too: it stays charged that long.
 */
#include <linux/log2.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include <linux/fbuf_netlink.h>

#include "buffer.h"
#include "charge.h"
#include "compat.h"
#include "event.h"
#include "folio.h"
#include "log.h"
#include "nudge.h"
#include "pool.h"
#include "stats.h"
#include "trace.h"
#include "types.h"
#include "wait.h"
#include "watch.h"

/* How often a retired pool looks whether it is idle, in jiffies. */
#define RETIRE_FIRST		max(HZ / 100, 1)
#define RETIRE_LAST		HZ

#define POOL_PROTS	(FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT)
#define POOL_FLAGS	(POOL_PROTS | FBUF_POOL_SIGBUS | FBUF_POOL_LAZY)

/*
 * All pools, retired ones included, by id. Ids only grow, and pools come in their
 * order: a dump that goes on after the last it had misses none.
 */
static DEFINE_XARRAY(pools);
static u64 last_id;			/* protected by the lock of pools */

/* Of pools that are gone; under the lock, none goes. */
static struct fbuf_counters totals;
static DEFINE_MUTEX(totals_lock);

static bool unloading;

static const struct address_space_operations pool_aops = {
	.dirty_folio	= noop_dirty_folio,
};

/**
 * fbuf_pool_of() - the pool to which a folio belongs, or did when it was sent
 * @folio: one to which the caller has a reference, by which the pool stays
 *
 * Context: rcu_read_lock() is held, for what belongs to something else.
 * Return: the pool or NULL.
 */
struct fbuf_pool *fbuf_pool_of(const struct folio *folio)
{
	struct address_space *mapping = READ_ONCE(folio->mapping);

	/* That of memory which is no file's has other things in its low bits. */
	if (!mapping || (unsigned long)mapping & (sizeof(long) - 1) ||
	    mapping->a_ops != &pool_aops)
		return NULL;
	return container_of(mapping, struct fbuf_pool, mapping);
}

static int pool_populate(struct fbuf_pool *pool)
{
	unsigned int step = fbuf_buf_pages(pool);
	unsigned long i;
	int err;

	for (i = 0; i < pool->nr_pages; i += step) {
		err = fbuf_populate(pool, &pool->pages[i], i, &pool->nr_split);
		if (err)
			return err;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

/*
 * Give back every folio that is idle, or every one if @all: those in flight
 * are freed by their last packet. Nothing is mapped, so that only the pool and
 * packets can have references. What is gone is charged no more. Returns the
 * number of pages that stay.
 */
static unsigned long pool_give_back(struct fbuf_pool *pool, bool all)
{
	unsigned long i, nr, left;

	mutex_lock(&pool->lock);
	if (all)
		fbuf_orphans_free(pool);
	else
		fbuf_orphans_reap(pool, UINT_MAX);
	left = pool->nr_orphans;
	/* A pool that was not made in full may have no pages yet. */
	for (i = 0; pool->pages && i < pool->nr_pages; i += nr) {
		struct page *page = pool->pages[i];

		nr = 1;
		if (!page)
			continue;
		nr = compound_nr(page);
		if (all || fbuf_folio_idle(page_folio(page), 0))
			fbuf_depopulate(&pool->pages[i], nr);
		else
			left += nr;
		cond_resched();
	}
	fbuf_uncharge(pool, pool->charged - left);
	mutex_unlock(&pool->lock);
	return left;
}

/**
 * fbuf_pool_find() - look for a pool
 * @id: its number
 *
 * Context: any.
 * Return: the pool, with a reference that fbuf_pool_unref() drops; or NULL.
 */
struct fbuf_pool *fbuf_pool_find(u64 id)
{
	struct fbuf_pool *pool;

	rcu_read_lock();
	pool = xa_load(&pools, id);
	if (pool && !refcount_inc_not_zero(&pool->life))
		pool = NULL;
	rcu_read_unlock();
	return pool;
}

/**
 * fbuf_pool_next() - look at the pools, one after another
 * @id: the number of the one before, or 0 to begin
 *
 * Nothing is locked meanwhile: pools come and go.
 *
 * Context: may sleep, but waits for nobody.
 * Return: as fbuf_pool_find().
 */
struct fbuf_pool *fbuf_pool_next(u64 id)
{
	unsigned long index = id;
	struct fbuf_pool *pool;

	cond_resched();
	rcu_read_lock();
	do {
		pool = xa_find_after(&pools, &index, ULONG_MAX, XA_PRESENT);
	} while (pool && !refcount_inc_not_zero(&pool->life));
	rcu_read_unlock();
	return pool;
}

/**
 * fbuf_totals() - what all pools did, those that are gone included
 * @sum: where to
 *
 * Context: may sleep.
 */
void fbuf_totals(struct fbuf_counters *sum)
{
	struct fbuf_pool *pool;
	unsigned long id;

	mutex_lock(&totals_lock);
	*sum = totals;
	/* Those too that are about to go, to which nobody gets a reference. */
	xa_for_each(&pools, id, pool) {
		fbuf_counters_sum(pool, sum);
		cond_resched();
	}
	mutex_unlock(&totals_lock);
}

static void pool_free(struct fbuf_pool *pool)
{
	fbuf_charge_exit(pool);
	mem_cgroup_put(pool->memcg);
	xa_destroy(&pool->handles);
	free_percpu(pool->counters);
	kvfree(pool->follows);
	kvfree(pool->bufs);
	kvfree(pool->pages);
	kfree_rcu(pool, rcu);
}

/* Nobody has a reference any more. */
static void pool_end(struct fbuf_pool *pool)
{
	mutex_lock(&totals_lock);
	xa_erase(&pools, pool->id);
	fbuf_counters_sum(pool, &totals);
	mutex_unlock(&totals_lock);
	fbuf_event_gone(pool);
	pool_free(pool);
}

static void pool_end_work(struct work_struct *work)
{
	pool_end(container_of(work, struct fbuf_pool, end));
}

/* fbuf_pool_unref() for those who may wait for the end of the pool. */
static void pool_unref(struct fbuf_pool *pool)
{
	if (refcount_dec_and_test(&pool->life))
		pool_end(pool);
}

static void fbuf_retire_work(struct work_struct *work)
{
	struct fbuf_pool *pool = container_of(to_delayed_work(work),
					      struct fbuf_pool, retire);

	if (pool_give_back(pool, READ_ONCE(unloading))) {
		fbuf_nudge();
		pool->retire_delay = min_t(unsigned long,
					   2 * pool->retire_delay, RETIRE_LAST);
		queue_delayed_work(fbuf_wq, &pool->retire,
				   pool->retire_delay);
		return;
	}
	pool_unref(pool);
}

/**
 * fbuf_pool_put() - drop a handle's reference on its pool
 * @pool: the pool
 *
 * With the last one the pool goes, or retires while its pages are in flight.
 *
 * Context: may sleep.
 */
void fbuf_pool_put(struct fbuf_pool *pool)
{
	if (!refcount_dec_and_test(&pool->refs))
		return;
	fbuf_watch_exit(pool);
	fbuf_charge_close(pool);
	if (pool_give_back(pool, false))
		queue_delayed_work(fbuf_wq, &pool->retire, pool->retire_delay);
	else
		pool_unref(pool);
}

/**
 * fbuf_pool_init() - make ready for pools
 *
 * Return: 0 or -ENOMEM.
 */
int __init fbuf_pool_init(void)
{
	fbuf_wq = alloc_workqueue("fbuf", WQ_UNBOUND, 0);
	return fbuf_wq ? 0 : -ENOMEM;
}

/**
 * fbuf_pool_exit() - let go of all retired pools
 *
 * Their pages are freed by the packets that refer to them, which need nothing
 * of this module.
 *
 * Context: may sleep; there is no handle any more.
 */
void fbuf_pool_exit(void)
{
	struct fbuf_pool *pool;

	WRITE_ONCE(unloading, true);
	/* Work that did not know it yet is queued again, and the pool is found. */
	while ((pool = fbuf_pool_next(0))) {
		flush_delayed_work(&pool->retire);
		pool_unref(pool);
	}
	/* Waits for the end of those that were not found. */
	destroy_workqueue(fbuf_wq);
}

static int pool_check(const struct fbuf_pool_create *args)
{
	u64 bytes;

	if (args->flags & ~POOL_FLAGS || args->pad || args->pad2)
		return -EINVAL;
	/* One of them, or neither, and then nothing waits. */
	if ((args->flags & POOL_PROTS) == POOL_PROTS ||
	    (args->flags & FBUF_POOL_SIGBUS && !(args->flags & POOL_PROTS)))
		return -EINVAL;
	if (!is_power_of_2(args->buf_size) || args->buf_size < PAGE_SIZE ||
	    args->buf_size > FBUF_BUF_SIZE_MAX || !args->nr_bufs)
		return -EINVAL;
	bytes = mul_u32_u32(args->buf_size, args->nr_bufs);
	if (bytes > FBUF_POOL_SIZE_MAX)
		return -EINVAL;
	if (args->node != NUMA_NO_NODE &&
	    (args->node < 0 || args->node >= MAX_NUMNODES ||
	     !node_online(args->node)))
		return -EINVAL;
	/* Do not drive the machine into the ground to find out. */
	if (bytes >> PAGE_SHIFT > totalram_pages())
		return -ENOMEM;
	return 0;
}

static enum fbuf_protection pool_prot(unsigned int flags)
{
	if (flags & FBUF_POOL_SECURED)
		return FBUF_SECURED;
	return flags & FBUF_POOL_SNAPSHOT ? FBUF_SNAPSHOT : FBUF_VOLATILE;
}

static void pool_init_empty(struct fbuf_pool *pool)
{
	enum fbuf_age age;

	mutex_init(&pool->lock);
	INIT_LIST_HEAD(&pool->free);
	INIT_LIST_HEAD(&pool->bare);
	for (age = 0; age < FBUF_AGES; age++)
		INIT_LIST_HEAD(&pool->limbo[age].bufs);
	INIT_LIST_HEAD(&pool->orphans);
	INIT_LIST_HEAD(&pool->reserved);
	INIT_LIST_HEAD(&pool->notifying);
	INIT_LIST_HEAD(&pool->parcels);
	INIT_DELAYED_WORK(&pool->retire, fbuf_retire_work);
	INIT_WORK(&pool->end, pool_end_work);
	pool->retire_delay = RETIRE_FIRST;
	fbuf_wait_init(pool);
	fbuf_watch_init(pool);
	fbuf_events_init(pool);
	xa_init_flags(&pool->handles, XA_FLAGS_ALLOC1);
	address_space_init_once(&pool->mapping);
	pool->mapping.a_ops = &pool_aops;
	refcount_set(&pool->refs, 1);
	refcount_set(&pool->life, 1);
}

static struct fbuf_pool *pool_new(const struct fbuf_pool_create *args)
{
	struct fbuf_pool *pool;

	pool = kzalloc(sizeof(*pool), GFP_KERNEL_ACCOUNT);
	if (!pool)
		return NULL;
	pool_init_empty(pool);
	pool->memcg = get_mem_cgroup_from_mm(current->mm);
	pool->uid = current_uid();
	pool->node = args->node;
	pool->flags = args->flags;
	pool->prot = pool_prot(args->flags);
	pool->buf_shift = ilog2(args->buf_size);
	pool->nr_bufs = args->nr_bufs;
	pool->copy_above_set = args->copy_above;
	pool->copy_above = args->copy_above ?: args->nr_bufs / 2;
	pool->nr_pages = (unsigned long)args->nr_bufs * fbuf_buf_pages(pool);
	return pool;
}

static int pool_get_memory(struct fbuf_pool *pool)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN;
	int err;

	pool->counters = alloc_percpu_gfp(struct fbuf_counters, gfp);
	pool->bufs = kvcalloc(pool->nr_bufs, sizeof(*pool->bufs), gfp);
	pool->pages = kvcalloc(pool->nr_pages, sizeof(*pool->pages), gfp);
	if (!pool->counters || !pool->bufs || !pool->pages)
		return -ENOMEM;
	if (!fbuf_is_volatile(pool)) {
		pool->follows = kvcalloc(2, pool->nr_bufs, gfp);
		if (!pool->follows)
			return -ENOMEM;
		pool->precedes = pool->follows + pool->nr_bufs;
	}
	err = fbuf_is_lazy(pool) ? 0 : pool_populate(pool);
	if (err)
		return err;
	fbuf_buf_init(pool);
	return 0;
}

/*
 * From now on others see it: by netlink, and the shrinker. It has no number
 * before: another one that was begun later may be there sooner.
 */
static int pool_publish(struct fbuf_pool *pool)
{
	XA_STATE(xas, &pools, 0);

	do {
		xas_lock(&xas);
		pool->id = last_id + 1;
		xas_set(&xas, pool->id);
		xas_store(&xas, pool);
		if (!xas_error(&xas))
			last_id = pool->id;
		xas_unlock(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL));
	if (xas_error(&xas))
		return xas_error(&xas);
	fbuf_event(pool, FBUF_CMD_CREATED_NTF);
	trace_fbuf_create(pool);
	return 0;
}

/**
 * fbuf_pool_create() - make a pool
 * @args: what kind
 *
 * Context: may sleep.
 * Return: the pool, with a reference for its first handle; -EINVAL; -ENOMEM if
 * memory is short or the charge would pass RLIMIT_MEMLOCK or the memory cgroup's
 * limit; -EDQUOT if it would pass those of this module; -EINTR if the process is
 * being killed.
 */
struct fbuf_pool *fbuf_pool_create(const struct fbuf_pool_create *args)
{
	struct fbuf_pool *pool;
	int err;

	err = pool_check(args);
	if (err)
		return ERR_PTR(err);
	pool = pool_new(args);
	if (!pool)
		return ERR_PTR(-ENOMEM);
	/* First the charge: it bounds what the rest may take. */
	err = fbuf_charge_init(pool);
	if (!err) {
		err = pool_get_memory(pool);
		if (err == -ENOMEM)
			fbuf_log_notice("no memory for a pool of %lu pages: its memory cgroup is full, raise memory.max or MemoryMax= of the service, or the machine is",
					pool->nr_pages);
	}
	if (!err)
		err = pool_publish(pool);
	if (err) {
		pool_give_back(pool, true);
		pool_free(pool);
		return ERR_PTR(err);
	}
	return pool;
}
