// SPDX-License-Identifier: GPL-2.0
/*
 * Parcels: bytes that were received, and stay in the pages where the network put
 * them. This file is a parcel's life, what is charged for it, and READ; take.c and
 * recv.c make them, gather.c sends them, and show.c has them mapped.
 *
 * A parcel is its handle's, which has it by its index. Whoever looks there takes a
 * reference, under the lock of that table; the last one lets go of the pages and of
 * the charge. Nothing of a parcel changes once it has a name.
 *
 * What is received is charged before it is taken from the socket. When the limits do
 * not allow for it, it stays there, and the peer is told to wait, as ever.
 */
#include <linux/err.h>
#include <linux/jiffies.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "charge.h"
#include "folio.h"
#include "log.h"
#include "look.h"
#include "nudge.h"
#include "parcel.h"
#include "protect.h"
#include "trace.h"
#include "types.h"

/* A module parameter, in bytes of one pool; 0 is no limit. */
unsigned long long fbuf_parcel_max;

/* A free slot has the index of the next one, and bit 0, which no address has. */
static struct fbuf_parcel *slot_free(unsigned int next)
{
	return (struct fbuf_parcel *)(((unsigned long)next << 1) | 1);
}

static bool slot_is_free(const struct fbuf_parcel *slot)
{
	return (unsigned long)slot & 1;
}

static int slots_grow(struct fbuf_handle *h)
	__must_hold(&h->pool->lock)
{
	struct fbuf_parcels *t = &h->parcels;
	struct fbuf_parcel **slots, **old = t->slots;
	unsigned int i, room = t->room ? 4 * t->room : 16;

	if (t->room == FBUF_PARCELS_MAX)
		return -ENOBUFS;
	slots = kvmalloc_array(room, sizeof(*slots), GFP_KERNEL_ACCOUNT);
	if (!slots)
		return -ENOMEM;
	for (i = t->room; i < room; i++)
		slots[i] = slot_free(i + 1);
	spin_lock(&t->lock);
	memcpy(slots, old, t->room * sizeof(*slots));
	t->slots = slots;
	t->room = room;
	spin_unlock(&t->lock);
	kvfree(old);
	return 0;
}

/* @p: the parcel, or NULL if nobody is to find it there; none other comes there yet. */
static void slot_set(struct fbuf_handle *h, u32 index, struct fbuf_parcel *p)
	__must_hold(&h->pool->lock)
{
	spin_lock(&h->parcels.lock);
	h->parcels.slots[index] = p;
	spin_unlock(&h->parcels.lock);
}

static int slot_take(struct fbuf_handle *h, u32 *index)
	__must_hold(&h->pool->lock)
{
	struct fbuf_parcels *t = &h->parcels;
	int err = t->free == t->room ? slots_grow(h) : 0;

	if (err)
		return err;
	*index = t->free;
	t->free = (unsigned long)t->slots[*index] >> 1;
	slot_set(h, *index, NULL);
	return 0;
}

static void slot_leave(struct fbuf_handle *h, u32 index)
	__must_hold(&h->pool->lock)
{
	slot_set(h, index, slot_free(h->parcels.free));
	h->parcels.free = index;
}

static struct fbuf_parcel *slot_get(const struct fbuf_handle *h, u32 index)
{
	const struct fbuf_parcels *t = &h->parcels;
	struct fbuf_parcel *p;

	if (index >= t->room)
		return NULL;
	p = t->slots[array_index_nospec(index, t->room)];
	return slot_is_free(p) ? NULL : p;
}

/**
 * fbuf_parcel_new() - begin with a parcel
 * @h: the handle that will have it
 *
 * Its place is kept, so that there is one when the bytes are there.
 *
 * Context: may sleep; takes the pool's lock.
 * Return: the parcel, for fbuf_parcel_publish() or fbuf_parcel_put(); -ENOMEM;
 * -ENOBUFS if the handle has as many as there may be.
 */
struct fbuf_parcel *fbuf_parcel_new(struct fbuf_handle *h)
{
	struct fbuf_parcel *p;
	int err;

	p = kmalloc(sizeof(*p), GFP_KERNEL_ACCOUNT);
	if (!p)
		return ERR_PTR(-ENOMEM);
	memset(p, 0, offsetof(struct fbuf_parcel, fast));
	INIT_LIST_HEAD(&p->node);
	refcount_set(&p->refs, 1);
	p->h = h;
	p->runs = p->fast;
	p->max = FBUF_PARCEL_FAST;
	mutex_lock(&h->pool->lock);
	err = slot_take(h, &p->index);
	mutex_unlock(&h->pool->lock);
	if (!err)
		return p;
	kfree(p);
	return ERR_PTR(err);
}

static int parcel_charge(struct fbuf_pool *pool, unsigned long nr)
	__must_hold(&pool->lock)
{
	u64 max = READ_ONCE(fbuf_parcel_max);

	if (max && pool->parcel_pages + nr > max >> PAGE_SHIFT)
		return -EDQUOT;
	return fbuf_charge_parcel(pool, nr);
}

/* A page could not be had: tell why. */
static void parcel_log(struct fbuf_pool *pool, int err)
	__must_hold(&pool->lock)
{
	u64 max = READ_ONCE(fbuf_parcel_max);

	if (max && pool->parcel_pages >= max >> PAGE_SHIFT)
		fbuf_log_notice("a parcel passes parcel_max of its pool, %llu KiB: raise it in /sys/module/fbuf/parameters/parcel_max",
				max >> 10);
	else
		fbuf_charge_log(pool, 1, err, "a parcel");
}

/* What packets let go of is charged no more. */
static void parcel_reap(struct fbuf_pool *pool)
	__must_hold(&pool->lock)
{
	unsigned int looks = fbuf_looks(pool);

	fbuf_orphans_reap(pool, looks);
	fbuf_reserved_reap(pool, looks);
	fbuf_nudge();
}

/**
 * fbuf_parcel_charge() - charge for a parcel to which bytes are to come
 * @p: the parcel
 * @bytes: of memory, for which it is good to have room; less will do
 *
 * Context: may sleep; takes the pool's lock. No lock of a socket is held.
 * Return: 0; -EDQUOT or -ENOMEM if there is no room at all.
 */
int fbuf_parcel_charge(struct fbuf_parcel *p, size_t bytes)
{
	unsigned long nr = DIV_ROUND_UP(bytes, PAGE_SIZE);
	struct fbuf_pool *pool = p->h->pool;
	int err;

	mutex_lock(&pool->lock);
	err = parcel_charge(pool, nr);
	if (unlikely(err)) {
		parcel_reap(pool);
		do {
			err = parcel_charge(pool, nr);
		} while (err && (nr /= 2));
		if (err)
			parcel_log(pool, err);
	}
	if (!err) {
		pool->parcel_pages += nr;
		p->charged += nr;
	}
	mutex_unlock(&pool->lock);
	return err;
}

static void parcel_uncharge(struct fbuf_parcel *p, unsigned long nr)
	__must_hold(&p->h->pool->lock)
{
	fbuf_uncharge_parcel(p->h->pool, nr);
	p->h->pool->parcel_pages -= nr;
	p->charged -= nr;
}

static int parcel_grow(struct fbuf_parcel *p)
{
	unsigned int max = max(4 * p->max, 64U);
	struct bio_vec *runs;

	runs = kvmalloc_array(max, sizeof(*runs), GFP_KERNEL_ACCOUNT);
	if (!runs)
		return -ENOMEM;
	memcpy(runs, p->runs, p->nr * sizeof(*runs));
	if (p->runs != p->fast)
		kvfree(p->runs);
	p->runs = runs;
	p->max = max;
	return 0;
}

/**
 * fbuf_parcel_add() - add bytes to a parcel that is being made
 * @p: the parcel
 * @head: the head of the folio in which they are, to which it takes a reference
 * @offset: where in that
 * @len: how many
 *
 * Context: may sleep.
 * Return: 0; -ENOMEM; -ENOSPC if it has as many runs as there may be.
 */
int fbuf_parcel_add(struct fbuf_parcel *p, struct page *head,
		    unsigned int offset, unsigned int len)
{
	struct bio_vec *run = &p->runs[p->nr];
	int err;

	if (p->nr && run_continues(run - 1, head, offset)) {
		run[-1].bv_len += len;
		p->len += len;
		return 0;
	}
	if (p->nr == FBUF_PARCEL_RUNS_MAX)
		return -ENOSPC;
	if (p->nr == p->max) {
		err = parcel_grow(p);
		if (err)
			return err;
		run = &p->runs[p->nr];
	}
	if (!fbuf_parcel_get_page(head))
		return -ENOMEM;
	run->bv_page = head;
	run->bv_offset = offset;
	run->bv_len = len;
	p->nr++;
	p->len += len;
	return 0;
}

/**
 * fbuf_parcel_publish() - a parcel has its bytes, and from now on a name
 * @p: the parcel, now the handle's
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_parcel_publish(struct fbuf_parcel *p)
{
	struct fbuf_handle *h = p->h;
	struct fbuf_pool *pool = h->pool;
	unsigned long need = max(DIV_ROUND_UP(p->cost, PAGE_SIZE), 1UL);

	p->born = jiffies;
	mutex_lock(&pool->lock);
	if (p->charged > need)
		parcel_uncharge(p, p->charged - need);
	list_add_tail(&p->node, &pool->parcels);
	pool->nr_parcels++;
	p->gen = ++h->parcel_gen;
	slot_set(h, p->index, p);
	mutex_unlock(&pool->lock);
}

static void parcel_free(struct fbuf_parcel *p)
{
	struct fbuf_pool *pool = p->h->pool;
	unsigned int i;

	for (i = 0; i < p->nr; i++)
		put_page(p->runs[i].bv_page);
	if (p->own)
		put_page(p->own);
	mutex_lock(&pool->lock);
	parcel_uncharge(p, p->charged);
	/* Not before: its place in a mapping would be another's. */
	slot_leave(p->h, p->index);
	if (!list_empty(&p->node)) {
		list_del(&p->node);
		pool->nr_parcels--;
	}
	mutex_unlock(&pool->lock);
	if (p->runs != p->fast)
		kvfree(p->runs);
	kvfree(p->shown);
	kfree(p);
}

/**
 * fbuf_parcel_put() - let go of a parcel
 * @p: the parcel, to which the caller has a reference
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_parcel_put(struct fbuf_parcel *p)
{
	if (refcount_dec_and_test(&p->refs))
		parcel_free(p);
}

/**
 * fbuf_parcel_at() - look what parcel a handle has at an index
 * @h: the handle
 * @index: less than FBUF_PARCELS_MAX
 *
 * Context: may sleep.
 * Return: the parcel, with a reference; or NULL.
 */
struct fbuf_parcel *fbuf_parcel_at(struct fbuf_handle *h, u32 index)
{
	struct fbuf_parcel *p;

	spin_lock(&h->parcels.lock);
	p = slot_get(h, index);
	if (p)
		refcount_inc(&p->refs);
	spin_unlock(&h->parcels.lock);
	return p;
}

/**
 * fbuf_parcel_there() - has its handle the parcel still?
 * @p: one that was published, to which the caller has a reference
 *
 * Context: may sleep.
 * Return: whether it was not dropped yet.
 */
bool fbuf_parcel_there(const struct fbuf_parcel *p)
{
	bool there;

	spin_lock(&p->h->parcels.lock);
	there = slot_get(p->h, p->index) == p;
	spin_unlock(&p->h->parcels.lock);
	return there;
}

/**
 * fbuf_parcel_get() - look for a parcel by its name
 * @h: the handle to which it belongs
 * @name: the name
 *
 * Context: may sleep.
 * Return: the parcel, with a reference; -EINVAL if that is no parcel's name; -ESTALE if
 * the handle has none of that name, or no longer.
 */
struct fbuf_parcel *fbuf_parcel_get(struct fbuf_handle *h, u64 name)
{
	u32 index = FBUF_NAME_INDEX(name) & ~FBUF_NAME_PARCEL;
	struct fbuf_parcel *p;

	if (!fbuf_is_parcel(name) || index >= FBUF_PARCELS_MAX)
		return ERR_PTR(-EINVAL);
	p = fbuf_parcel_at(h, index);
	if (!p)
		return ERR_PTR(-ESTALE);
	if (p->gen == FBUF_NAME_GEN(name))
		return p;
	fbuf_parcel_put(p);
	return ERR_PTR(-ESTALE);
}

/**
 * fbuf_parcel_run() - where in a parcel's pages a byte is
 * @p: the parcel
 * @at: the byte, which it has; becomes where it is in the run
 *
 * Context: any.
 * Return: the run.
 */
const struct bio_vec *fbuf_parcel_run(const struct fbuf_parcel *p,
				      unsigned int *at)
{
	const struct bio_vec *run = p->runs;

	while (*at >= run->bv_len)
		*at -= run++->bv_len;
	return run;
}

/**
 * fbuf_parcel_copy() - copy bytes of a parcel to user memory
 * @p: the parcel
 * @at: the first of them
 * @to: where to
 * @len: how many, at least 1; it has them
 *
 * Context: may sleep.
 * Return: 0 or -EFAULT.
 */
int fbuf_parcel_copy(const struct fbuf_parcel *p, unsigned int at,
		     void __user *to, unsigned int len)
{
	const struct bio_vec *run = fbuf_parcel_run(p, &at);

	for (;;) {
		/* A run is of one folio, which is all that copies are checked for. */
		const char *from = page_address(run->bv_page) + run->bv_offset;
		unsigned int n = min3(len, run->bv_len - at, (u32)SZ_64K);

		if (copy_to_user(to, from + at, n))
			return -EFAULT;
		to += n;
		len -= n;
		if (!len)
			return 0;
		at += n;
		if (at == run->bv_len) {
			run++;
			at = 0;
		}
		cond_resched();
	}
}

/**
 * fbuf_read() - READ: copy bytes of a parcel
 * @h: the handle to which it belongs
 * @args: which, and where to
 *
 * Context: may sleep.
 * Return: args->len; -EINVAL, -ESTALE or -EFAULT.
 */
int fbuf_read(struct fbuf_handle *h, const struct fbuf_read *args)
{
	struct fbuf_parcel *p;
	int err = -EINVAL;

	if (args->flags || !args->len)
		return -EINVAL;
	p = fbuf_parcel_get(h, args->name);
	if (IS_ERR(p))
		return PTR_ERR(p);
	if (fbuf_parcel_has(p, args->offset, args->len))
		err = fbuf_parcel_copy(p, args->offset,
				       u64_to_user_ptr(args->to), args->len);
	fbuf_parcel_put(p);
	return err ?: args->len;
}

/* Which nobody finds any more. */
static void parcel_drop(struct fbuf_parcel *p)
{
	struct fbuf_handle *h = p->h;
	bool mapped;

	/* Who has it mapped has this lock, and looks whether it is still there. */
	mutex_lock(&h->show_lock);
	mapped = p->mapped;
	mutex_unlock(&h->show_lock);
	if (mapped)
		unmap_mapping_pages(&h->pool->mapping,
				    (FBUF_MMAP_PARCELS >> PAGE_SHIFT) +
				    (unsigned long)p->index *
				    (FBUF_PARCEL_MAX >> PAGE_SHIFT),
				    DIV_ROUND_UP(p->len, PAGE_SIZE), false);
	trace_fbuf_parcel_free(h->pool, fbuf_parcel_name(p), p->len);
	fbuf_parcel_put(p);
}

static int parcels_check(struct fbuf_handle *h, const u64 *names,
			 unsigned int count)
	__must_hold(&h->pool->lock)
{
	u64 batch = ++h->pool->batch;
	unsigned int i;

	for (i = 0; i < count; i++) {
		u32 index = FBUF_NAME_INDEX(names[i]) & ~FBUF_NAME_PARCEL;
		struct fbuf_parcel *p;

		if (!fbuf_is_parcel(names[i]) || index >= FBUF_PARCELS_MAX)
			return -EINVAL;
		p = slot_get(h, index);
		if (!p || p->gen != FBUF_NAME_GEN(names[i]))
			return -ESTALE;
		if (p->mark == batch)
			return -ESTALE;
		p->mark = batch;
		cond_resched();
	}
	return 0;
}

/**
 * fbuf_parcels_free() - FREE of parcels: drop them
 * @h: the handle to which they belong
 * @names: the parcels
 * @count: how many
 *
 * Context: may sleep; takes the pool's lock.
 * Return: @count; or, with none dropped, -EINVAL or -ESTALE.
 */
int fbuf_parcels_free(struct fbuf_handle *h, const u64 *names,
		      unsigned int count)
{
	struct fbuf_parcel *p, *next;
	LIST_HEAD(gone);
	unsigned int i;
	int err;

	mutex_lock(&h->pool->lock);
	err = parcels_check(h, names, count);
	for (i = 0; i < count && !err; i++) {
		p = slot_get(h, FBUF_NAME_INDEX(names[i]) & ~FBUF_NAME_PARCEL);
		slot_set(h, p->index, NULL);
		list_move_tail(&p->node, &gone);
		h->pool->nr_parcels--;
		cond_resched();
	}
	mutex_unlock(&h->pool->lock);
	list_for_each_entry_safe(p, next, &gone, node) {
		list_del_init(&p->node);
		parcel_drop(p);
		cond_resched();
	}
	return err ?: count;
}

/**
 * fbuf_parcels_free_all() - drop all parcels of a handle that is going away
 * @h: the handle, in which no call runs
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_parcels_free_all(struct fbuf_handle *h)
{
	unsigned int i;

	/* Nothing is mapped: that would have the file. */
	for (i = 0; i < h->parcels.room; i++) {
		struct fbuf_parcel *p = slot_get(h, i);

		if (!p)
			continue;
		trace_fbuf_parcel_free(h->pool, fbuf_parcel_name(p), p->len);
		fbuf_parcel_put(p);
		cond_resched();
	}
	kvfree(h->parcels.slots);
}
