// SPDX-License-Identifier: GPL-2.0
/*
 * A pool's memory: where it comes from, who is charged, when it goes back.
 *
 * A page belongs to a pool or to nobody. When the last handle is gone, what is
 * idle goes back at once, and the pool stays as a retired one until the rest,
 * which packets still refer to, is idle too: it stays charged that long.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "fbuf.h"

/*
 * A folio of PMD size would be mapped by one entry for all of it, a case that
 * is not worth its trouble: no packet takes a run as long as this.
 */
#define FOLIO_ORDER_MAX		(HPAGE_PMD_ORDER - 1)

/* How often a retired pool looks whether it is idle, in jiffies. */
#define RETIRE_FIRST		max(HZ / 100, 1)
#define RETIRE_LAST		HZ

static atomic64_t pool_ids;
static DEFINE_MUTEX(retired_lock);	/* protects retired_pools */
static LIST_HEAD(retired_pools);
static struct workqueue_struct *retire_wq;

static int pool_charge(struct fbuf_pool *pool)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	struct user_struct *user = current_user();
	unsigned long new;
	long cur;

	if (capable(CAP_IPC_LOCK))
		return 0;
	cur = atomic_long_read(&user->locked_vm);
	do {
		new = cur + pool->nr_pages;
		if (new > limit)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &cur, new));
	pool->user = get_uid(user);
	pool->charged = pool->nr_pages;
	return 0;
}

static struct page *folio_get_new(int node, unsigned int order)
{
	gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;

	/* A smaller folio or ENOMEM is better than an OOM kill. */
	if (order)
		gfp |= __GFP_COMP | __GFP_NORETRY;
	else
		gfp |= __GFP_RETRY_MAYFAIL;
	/* Without a node, the task's memory policy decides. */
	if (node == NUMA_NO_NODE)
		return alloc_pages(gfp, order);
	return alloc_pages_node(node, gfp, order);
}

/* Folios of one size, or of sizes that only go down: all stay aligned. */
static int buf_populate(struct fbuf_pool *pool, unsigned long first)
{
	unsigned int buf_order = pool->buf_shift - PAGE_SHIFT;
	unsigned int best = min_t(unsigned int, buf_order, FOLIO_ORDER_MAX);
	unsigned long i = first, end = first + (1UL << buf_order);
	unsigned int order = best, j;

	while (i < end) {
		struct page *page = folio_get_new(pool->node, order);

		if (!page) {
			if (!order)
				return -ENOMEM;
			order--;
			continue;
		}
		for (j = 0; j < 1U << order; j++)
			pool->pages[i++] = page + j;
	}
	if (order < best)
		pool->nr_split++;
	return 0;
}

static int pool_populate(struct fbuf_pool *pool)
{
	unsigned long step = 1UL << (pool->buf_shift - PAGE_SHIFT);
	unsigned long i;
	int err;

	for (i = 0; i < pool->nr_pages; i += step) {
		err = buf_populate(pool, i);
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
	unsigned long i, nr, left = 0;

	/* A pool that was not made in full may have no pages yet. */
	for (i = 0; pool->pages && i < pool->nr_pages; i += nr) {
		struct page *page = pool->pages[i];

		/* Of a folio that is gone, all entries are NULL. */
		nr = 1;
		if (!page)
			continue;
		nr = compound_nr(page);
		if (all || fbuf_folio_idle(page_folio(page))) {
			memset(&pool->pages[i], 0, nr * sizeof(page));
			page->mapping = NULL;
			put_page(page);
		} else {
			left += nr;
		}
		cond_resched();
	}
	if (pool->user)
		atomic_long_sub(pool->charged - left, &pool->user->locked_vm);
	pool->charged = left;
	return left;
}

static void pool_destroy(struct fbuf_pool *pool)
{
	if (pool->user)
		free_uid(pool->user);
	free_percpu(pool->counters);
	kvfree(pool->bufs);
	kvfree(pool->pages);
	kfree(pool);
}

static void pool_retire_work(struct work_struct *work)
{
	struct fbuf_pool *pool = container_of(to_delayed_work(work),
					      struct fbuf_pool, retire);

	bool ours;

	if (pool_give_back(pool, false)) {
		fbuf_nudge();
		pool->retire_delay = min_t(unsigned long,
					   2 * pool->retire_delay, RETIRE_LAST);
		queue_delayed_work(retire_wq, &pool->retire,
				   pool->retire_delay);
		return;
	}
	mutex_lock(&retired_lock);
	/* If fbuf_pool_exit() took it off, it will destroy it. */
	ours = !list_empty(&pool->retired);
	list_del_init(&pool->retired);
	mutex_unlock(&retired_lock);
	if (ours)
		pool_destroy(pool);
}

/**
 * fbuf_pool_set_mapping() - make the pool's pages those of a file
 * @pool: a new pool
 * @mapping: the file's
 *
 * TCP_ZEROCOPY_RECEIVE maps pages that it receives into the peer, single ones
 * that belong to no file. Such a mapping would pass for one of ours, and the
 * peer would see what the buffer's next holder writes. See can_map_frag() in
 * net/ipv4/tcp.c.
 *
 * Context: may sleep; before anybody can send.
 */
void fbuf_pool_set_mapping(struct fbuf_pool *pool,
			   struct address_space *mapping)
{
	unsigned long i, nr;

	for (i = 0; i < pool->nr_pages; i += nr) {
		nr = compound_nr(pool->pages[i]);
		pool->pages[i]->mapping = mapping;
		cond_resched();
	}
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
	if (!pool_give_back(pool, false)) {
		pool_destroy(pool);
		return;
	}
	mutex_lock(&retired_lock);
	list_add(&pool->retired, &retired_pools);
	queue_delayed_work(retire_wq, &pool->retire, pool->retire_delay);
	mutex_unlock(&retired_lock);
}

/**
 * fbuf_pool_init() - make ready for pools
 *
 * Return: 0 or -ENOMEM.
 */
int __init fbuf_pool_init(void)
{
	retire_wq = alloc_workqueue("fbuf", WQ_UNBOUND, 0);
	return retire_wq ? 0 : -ENOMEM;
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

	for (;;) {
		mutex_lock(&retired_lock);
		pool = list_first_entry_or_null(&retired_pools,
						struct fbuf_pool, retired);
		if (pool)
			list_del_init(&pool->retired);
		mutex_unlock(&retired_lock);
		if (!pool)
			break;
		cancel_delayed_work_sync(&pool->retire);
		pool_give_back(pool, true);
		pool_destroy(pool);
	}
	/* Waits for work that took its pool off the list itself. */
	destroy_workqueue(retire_wq);
}

static int pool_check(const struct fbuf_pool_create *args)
{
	u64 bytes;

	if (args->flags || args->pad)
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

static struct fbuf_pool *pool_new(const struct fbuf_pool_create *args)
{
	struct fbuf_pool *pool;

	pool = kzalloc(sizeof(*pool), GFP_KERNEL_ACCOUNT);
	if (!pool)
		return NULL;
	mutex_init(&pool->lock);
	INIT_LIST_HEAD(&pool->free);
	INIT_LIST_HEAD(&pool->limbo);
	INIT_DELAYED_WORK(&pool->retire, pool_retire_work);
	pool->retire_delay = RETIRE_FIRST;
	refcount_set(&pool->refs, 1);
	pool->id = atomic64_inc_return(&pool_ids);
	pool->uid = current_uid();
	pool->node = args->node;
	pool->buf_shift = ilog2(args->buf_size);
	pool->nr_bufs = args->nr_bufs;
	pool->nr_pages = (unsigned long)args->nr_bufs <<
			 (pool->buf_shift - PAGE_SHIFT);
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
	err = pool_populate(pool);
	if (err)
		return err;
	fbuf_buf_init(pool);
	return 0;
}

/**
 * fbuf_pool_create() - make a pool
 * @args: what kind
 *
 * Context: may sleep.
 * Return: a pool fd; -EINVAL; -ENOMEM if memory is short or the charge would
 * pass RLIMIT_MEMLOCK or the memory cgroup's limit; -EMFILE or -ENFILE; -EINTR
 * if the process is being killed.
 */
int fbuf_pool_create(const struct fbuf_pool_create *args)
{
	struct fbuf_pool *pool;
	int ret;

	ret = pool_check(args);
	if (ret)
		return ret;
	pool = pool_new(args);
	if (!pool)
		return -ENOMEM;
	/* First the charge: it bounds what the rest may take. */
	ret = pool_charge(pool);
	if (ret)
		goto err;
	ret = pool_get_memory(pool);
	if (ret)
		goto err;
	ret = fbuf_handle_install(pool);
	if (ret >= 0)
		return ret;

err:
	pool_give_back(pool, true);
	pool_destroy(pool);
	return ret;
}

/**
 * fbuf_pool_info() - what a pool is and did
 * @pool: the pool
 * @info: filled in, but for its size
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_pool_info(struct fbuf_pool *pool, struct fbuf_info *info)
{
	int cpu;

	info->id = pool->id;
	info->pool_size = (u64)pool->nr_pages << PAGE_SHIFT;
	info->buf_size = 1U << pool->buf_shift;
	info->nr_bufs = pool->nr_bufs;
	info->nr_split = pool->nr_split;
	info->node = pool->node;
	info->uid = from_kuid_munged(current_user_ns(), pool->uid);
	info->pad = 0;
	info->sends = 0;
	info->bytes = 0;
	info->copied = 0;
	info->allocs = 0;
	for_each_possible_cpu(cpu) {
		const struct fbuf_counters *c = per_cpu_ptr(pool->counters,
							    cpu);

		info->sends += READ_ONCE(c->sends);
		info->bytes += READ_ONCE(c->bytes);
		info->copied += READ_ONCE(c->copied);
		info->allocs += READ_ONCE(c->allocs);
	}
	fbuf_buf_info(pool, info);
}
