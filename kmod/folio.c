// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of buffers: where it comes from, when it goes back, and the test that
 * tells whether anybody but the pool refers to it.
 *
 * A page belongs to a pool, to packets, or to nobody.
 */
#include <linux/log2.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/page_ref.h>
#include <linux/pagemap.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>

#include "bound.h"
#include "charge.h"
#include "compat.h"
#include "folio.h"
#include "log.h"
#include "types.h"

/*
 * A folio of PMD size would be mapped by one entry for all of it, a case that
 * is not worth its trouble: no packet takes a run as long as this.
 */
#define FOLIO_ORDER_MAX		(PMD_SHIFT - PAGE_SHIFT - 1)

/* How often the counts have to be the same, one look right after the other. */
#define IDLE_LOOKS	3

/**
 * fbuf_folio_idle() - does nothing but the pool and page tables refer to it?
 * @folio: one to which the pool has a reference
 * @extra: references that the caller knows of
 *
 * A mapping comes with a reference and goes before it does, and reading the mappings on
 * both sides of the references keeps a change in between from passing for idle. One that
 * goes just before a fork's comes would, if it were looked at once: it takes a pair of
 * these for each look, each at its moment between two loads.
 *
 * Context: any.
 * Return: whether it is so.
 */
bool fbuf_folio_idle(struct folio *folio, int extra)
{
	int mapped, i;

	if (folio_ref_count(folio) == 1)
		return true;
	mapped = fbuf_folio_mapcount(folio);
	for (i = 0; i < IDLE_LOOKS; i++) {
		smp_rmb();	/* first mappings, */
		if (folio_ref_count(folio) != 1 + extra + mapped)
			return false;
		smp_rmb();	/* then references, then mappings again */
		if (fbuf_folio_mapcount(folio) != mapped)
			return false;
	}
	return true;
}

/* @gfp is for pages; for more at once, less will do. */
static struct page *folio_get_new(int node, unsigned int order, gfp_t gfp)
{
	/* User space's: from the nodes of its cpuset, and no others. */
	gfp |= GFP_USER | __GFP_ACCOUNT | __GFP_NOWARN;
	if (order)
		gfp = (gfp & ~__GFP_RETRY_MAYFAIL) | __GFP_COMP | __GFP_NORETRY;
	/* Without a node, the task's memory policy decides. */
	if (node == NUMA_NO_NODE)
		return alloc_pages(gfp, order);
	return alloc_pages_node(node, gfp, order);
}

/*
 * The folio is no pool's any more. Whoever marks it dirty, as direct I/O does that
 * is still under way, follows its mapping with the folio locked: on unload the
 * mapping is gone a moment later.
 */
static void folio_clear_owner(struct folio *folio)
{
	bool shared = folio_ref_count(folio) > 1;

	if (shared)
		folio_lock(folio);
	folio->mapping = NULL;
	if (shared)
		folio_unlock(folio);
}

/**
 * fbuf_depopulate() - give pages back
 * @pages: whole folios; the entries become NULL
 * @nr: number of entries
 *
 * Others may still have references.
 *
 * Context: may sleep; where the entries belong to a pool, its lock is held.
 */
void fbuf_depopulate(struct page **pages, unsigned long nr)
{
	unsigned long i, n, j;

	for (i = 0; i < nr; i += n) {
		struct page *page = pages[i];

		n = compound_nr(page);
		for (j = i; j < i + n; j++)
			WRITE_ONCE(pages[j], NULL);
		folio_clear_owner(page_folio(page));
		put_page(page);
	}
}

/*
 * The pages are those of a file. TCP_ZEROCOPY_RECEIVE would map single pages
 * that belong to none into the peer. Such a mapping would pass for one of ours,
 * and the peer would see what the buffer's next holder writes. See
 * can_map_frag() in net/ipv4/tcp.c.
 */
static void folio_set_owner(struct folio *folio, struct fbuf_pool *pool,
			    unsigned long first)
{
	folio->mapping = &pool->mapping;
	folio->index = first;
}

/* Folios of one size, or of sizes that only go down: all stay aligned. */
static int populate(struct fbuf_pool *pool, struct page **pages,
		    unsigned long first, gfp_t gfp, unsigned int *nr_split)
{
	unsigned int nr = fbuf_buf_pages(pool), i = 0, j;
	unsigned int best = min_t(unsigned int, ilog2(nr), FOLIO_ORDER_MAX);
	unsigned int order = best;

	while (i < nr) {
		struct page *page = folio_get_new(pool->node, order, gfp);

		if (!page) {
			if (!order)
				goto err;
			order--;
			continue;
		}
		folio_set_owner(page_folio(page), pool, first + i);
		/*
		 * Senders look without a lock: who finds the page must find
		 * what it is, which depends on its address.
		 */
		smp_wmb();	/* pairs with gather_get_page() */
		for (j = 0; j < 1U << order; j++)
			WRITE_ONCE(pages[i++], page + j);
	}
	if (nr_split && order < best)
		++*nr_split;
	return 0;

err:
	fbuf_depopulate(pages, i);
	return -ENOMEM;
}

/*
 * Of the pool's memory cgroup. If that is to be enough, a group above it, which bounds
 * it, must have been charged: it may be gone.
 */
static int populate_charged(struct fbuf_pool *pool, struct page **pages,
			    unsigned long first, gfp_t gfp,
			    unsigned int *nr_split)
{
	struct mem_cgroup *old = set_active_memcg(pool->memcg);
	int err = populate(pool, pages, first, gfp | __GFP_RETRY_MAYFAIL,
			   nr_split);

	set_active_memcg(old);
	if (!err && pool->bound && !fbuf_bound_holds(pool->bound)) {
		fbuf_depopulate(pages, fbuf_buf_pages(pool));
		return -ENOMEM;
	}
	return err;
}

static void populate_log(const struct fbuf_pool *pool, const char *what)
{
	fbuf_log_notice("no memory for %s of pool %llu: its memory cgroup is full, raise memory.max or MemoryMax= of the service, or is gone, or the machine is full",
			what, pool->id);
}

/**
 * fbuf_populate() - get memory for a buffer
 * @pool: the pool; its maker is charged, whoever the caller is
 * @pages: where the pages go
 * @first: where in the pool they belong
 * @nr_split: counted up if they are more folios than need be, or NULL
 *
 * Context: may sleep; where @pages are the pool's, its lock is held.
 * Return: 0 or -ENOMEM.
 */
int fbuf_populate(struct fbuf_pool *pool, struct page **pages,
		  unsigned long first, unsigned int *nr_split)
{
	/* ENOMEM is better than an OOM kill. */
	return populate_charged(pool, pages, first, __GFP_ZERO, nr_split);
}

/**
 * fbuf_populate_copy() - get memory for a copy of a buffer, which is not zeroed
 * @pool: the pool
 * @pages: where the pages go
 * @first: where in the pool they belong
 *
 * The pool's memory cgroup is charged, or if it is full that of the caller, as for
 * any copy on write: where that is full, too, or the machine, a process is killed. Not
 * so where the pool's is to be enough: no other pays for it.
 *
 * Context: may sleep.
 * Return: 0 or -ENOMEM.
 */
int fbuf_populate_copy(struct fbuf_pool *pool, struct page **pages,
		       unsigned long first)
{
	int err = populate_charged(pool, pages, first, 0, NULL);

	if (err && pool->bound) {
		populate_log(pool, "a snapshot");
		return err;
	}
	return err ? populate(pool, pages, first, 0, NULL) : 0;
}

/*
 * The word that links an orphan is the one by which anybody asks, at any time, whether
 * a page is a tail. Bit 0 says so, which no address has set: it is told the same.
 */
static void orphan_link(struct fbuf_pool *pool, struct page *page)
	__must_hold(&pool->lock)
{
	/* No reader takes anything but bit 0 from it. */
	data_race((list_add_tail(&page->lru, &pool->orphans), 0));
}

static void orphan_unlink(struct page *page)
{
	/* The same. */
	data_race((list_del(&page->lru), 0));
}

/**
 * fbuf_orphan() - a folio is not the pool's any more, but of packets
 * @pool: the pool, which stays charged for it
 * @page: its first page
 *
 * Context: the pool's lock is held.
 */
void fbuf_orphan(struct fbuf_pool *pool, struct page *page)
{
	lockdep_assert_held(&pool->lock);
	orphan_link(pool, page);
	pool->nr_orphans += compound_nr(page);
}

static void orphan_free(struct fbuf_pool *pool, struct page *page)
	__must_hold(&pool->lock)
{
	unsigned long nr = compound_nr(page);

	orphan_unlink(page);
	pool->nr_orphans -= nr;
	fbuf_uncharge(pool, nr);
	folio_clear_owner(page_folio(page));
	put_page(page);
}

/**
 * fbuf_orphans_reap() - free what snapshots replaced and packets let go of
 * @pool: the pool
 * @looks: at how many folios to look in vain
 *
 * Context: may sleep; the pool's lock is held.
 */
void fbuf_orphans_reap(struct fbuf_pool *pool, unsigned int looks)
{
	struct page *page, *next, *last;

	lockdep_assert_held(&pool->lock);
	if (list_empty(&pool->orphans))
		return;
	last = list_last_entry(&pool->orphans, struct page, lru);
	list_for_each_entry_safe(page, next, &pool->orphans, lru) {
		bool end = page == last;

		if (fbuf_folio_idle(page_folio(page), 0)) {
			orphan_free(pool, page);
		} else {
			/* Its turn comes last. */
			orphan_unlink(page);
			orphan_link(pool, page);
			end |= !--looks;
		}
		if (end)
			break;
		cond_resched();
	}
}

/**
 * fbuf_orphans_free() - let go of what snapshots replaced
 * @pool: the pool
 *
 * What is in flight is freed by its last packet.
 *
 * Context: may sleep; the pool's lock is held.
 */
void fbuf_orphans_free(struct fbuf_pool *pool)
	__must_hold(&pool->lock)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &pool->orphans, lru) {
		orphan_free(pool, page);
		cond_resched();
	}
}

/**
 * fbuf_buf_idle() - is a buffer not in flight?
 * @pool: the pool
 * @buf: the buffer; one without memory is idle
 * @ours: a folio of it to which the caller has a reference, or NULL
 *
 * Context: the pool's lock is held.
 * Return: whether it is so.
 */
bool fbuf_buf_idle(const struct fbuf_pool *pool, const struct fbuf_buf *buf,
		   const struct folio *ours)
{
	unsigned long i = fbuf_buf_first(pool, buf);
	unsigned long end = i + fbuf_buf_pages(pool);

	while (i < end) {
		struct page *page = pool->pages[i];
		struct folio *folio;

		if (!page) {
			/* Of a dead pool, each idle folio goes by itself. */
			if (!pool->dead)
				return true;
			i++;
			continue;
		}
		folio = page_folio(page);
		if (!fbuf_folio_idle(folio, folio == ours))
			return false;
		i += folio_nr_pages(folio);
	}
	return true;
}

/**
 * fbuf_poisoned() - has memory of the pool an error that the kernel knows of?
 * @pool: the pool
 * @i: the first page
 * @nr: how many
 *
 * Context: any.
 * Return: whether it is so.
 */
bool fbuf_poisoned(const struct fbuf_pool *pool, unsigned long i,
		   unsigned long nr)
{
	for (; nr; i++, nr--) {
		struct page *page = READ_ONCE(pool->pages[i]);

		if (page && PageHWPoison(page))
			return true;
	}
	return false;
}

/**
 * fbuf_buf_marked() - has memory of a buffer an error that the kernel knows of?
 * @pool: the pool
 * @buf: the buffer
 *
 * A large folio tells by itself that one of its pages has one.
 *
 * Context: the pool's lock is held.
 * Return: whether it is so.
 */
bool fbuf_buf_marked(const struct fbuf_pool *pool, const struct fbuf_buf *buf)
{
	unsigned long i = fbuf_buf_first(pool, buf);
	unsigned long end = i + fbuf_buf_pages(pool);

	while (i < end && pool->pages[i]) {
		struct folio *folio = page_folio(pool->pages[i]);

		if (folio_test_hwpoison(folio) ||
		    (folio_test_large(folio) &&
		     folio_test_has_hwpoisoned(folio)))
			return true;
		i += folio_nr_pages(folio);
	}
	return false;
}

/**
 * fbuf_buf_populate() - give a buffer memory
 * @pool: the pool
 * @buf: the buffer, which has none
 *
 * Of a buffer that is held, a send without a lock may find some pages already, and
 * others not yet.
 *
 * Context: may sleep; the pool's lock is held.
 * Return: 0 or -ENOMEM.
 */
int fbuf_buf_populate(struct fbuf_pool *pool, struct fbuf_buf *buf)
{
	unsigned long first = fbuf_buf_first(pool, buf);
	int err;

	lockdep_assert_held(&pool->lock);
	err = fbuf_populate(pool, &pool->pages[first], first, NULL);
	if (err) {
		populate_log(pool, "a buffer");
		return err;
	}
	pool->nr_empty--;
	if (list_empty(&buf->node))
		return 0;
	/* Somebody touches a buffer that is free. */
	list_move(&buf->node, &pool->free);
	pool->nr_bare--;
	pool->nr_free++;
	return 0;
}

/**
 * fbuf_buf_drop_memory() - a buffer gives its memory back
 * @pool: the pool
 * @buf: the buffer, which has memory, is idle and mapped nowhere
 *
 * Context: may sleep; the pool's lock is held.
 */
void fbuf_buf_drop_memory(struct fbuf_pool *pool, struct fbuf_buf *buf)
{
	lockdep_assert_held(&pool->lock);
	fbuf_depopulate(&pool->pages[fbuf_buf_first(pool, buf)],
			fbuf_buf_pages(pool));
	pool->nr_empty++;
}

/**
 * fbuf_unmap() - take buffers that adjoin out of all page tables
 * @pool: the pool
 * @bufs: the first of them
 * @nr: how many
 *
 * Context: may sleep; the pool's lock is held, so that none is put in again.
 */
void fbuf_unmap(struct fbuf_pool *pool, const struct fbuf_buf *bufs,
		unsigned int nr)
{
	lockdep_assert_held(&pool->lock);
	unmap_mapping_pages(&pool->mapping, fbuf_buf_first(pool, bufs),
			    (unsigned long)nr * fbuf_buf_pages(pool), false);
}

/**
 * fbuf_buf_check() - has a handle a hold on a buffer of this name?
 * @h: the handle
 * @name: the name
 *
 * Context: the pool's lock is held.
 * Return: the buffer's index; -EINVAL if the name is not one of this pool;
 * -ESTALE if the handle has no hold on that buffer, or no longer.
 */
int fbuf_buf_check(const struct fbuf_handle *h, u64 name)
{
	u32 index = FBUF_NAME_INDEX(name);

	lockdep_assert_held(&h->pool->lock);
	if (index >= h->pool->nr_bufs)
		return -EINVAL;
	index = array_index_nospec(index, h->pool->nr_bufs);
	if (h->pool->bufs[index].gen != FBUF_NAME_GEN(name) ||
	    !test_bit(index, h->holds))
		return -ESTALE;
	return index;
}

/**
 * fbuf_run_buf() - the buffer that a run of a gather is of
 * @run: the run
 * @pool: the pool that the gather is of
 *
 * Context: any.
 * Return: the buffer, or NULL if the run is a copy.
 */
struct fbuf_buf *fbuf_run_buf(const struct bio_vec *run,
			      struct fbuf_pool *pool)
{
	struct folio *folio = page_folio(run->bv_page);
	unsigned long i;

	/* A parcel's is another's, who may take the mapping away. */
	if (READ_ONCE(folio->mapping) != &pool->mapping)
		return NULL;
	i = folio->index + (run->bv_offset >> PAGE_SHIFT);
	return &pool->bufs[i >> (pool->buf_shift - PAGE_SHIFT)];
}
