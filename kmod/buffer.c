// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers: holds, ALLOC, FREE, HOLD and PASS, and the test that tells when one
 * is idle.
 *
 * A buffer is handed out only when no handle has a hold on it and nobody but
 * the pool and page tables refers to its pages.
 */
#include <linux/bitmap.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/sched.h>

#include <linux/fbuf_netlink.h>

#include "buffer.h"
#include "compat.h"
#include "event.h"
#include "folio.h"
#include "look.h"
#include "nudge.h"
#include "protect.h"
#include "ring.h"
#include "trace.h"
#include "types.h"
#include "wait.h"

/* Those that a send looks at, when there are many. */
#define CROWDED_LOOKS	8

/* Those that a snapshot replaced, at which an ALLOC looks. */
#define ORPHAN_LOOKS	4

/* Sends look at the flag, and are not to lose its cache line for nothing. */
static void limbo_count(struct fbuf_pool *pool, int change)
	__must_hold(&pool->lock)
{
	bool crowded;

	pool->nr_limbo += change;
	crowded = pool->nr_limbo > pool->copy_above;
	if (crowded != pool->crowded)
		WRITE_ONCE(pool->crowded, crowded);
}

/*
 * Nobody is to get memory that has an error: an idle buffer loses it, and gets
 * other. False if somebody has just pinned it.
 */
static bool buf_renew(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	if (!fbuf_buf_marked(pool, buf))
		return true;
	fbuf_unmap(pool, buf, 1);
	if (!fbuf_buf_idle(pool, buf, NULL))
		return false;
	fbuf_buf_drop_memory(pool, buf);
	fbuf_unprotect(pool, buf);
	return true;
}

static void put_limbo(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	enum fbuf_age age = fbuf_buf_age(buf);

	list_add_tail(&buf->node, &pool->limbo[age].bufs);
	pool->limbo[age].nr++;
	limbo_count(pool, 1);
	fbuf_looks_pay(pool);
}

/**
 * fbuf_put_limbo() - a buffer that was free turns out to be in flight
 * @pool: the pool
 * @buf: the buffer, on the list of free ones
 *
 * Context: the pool's lock is held.
 */
void fbuf_put_limbo(struct fbuf_pool *pool, struct fbuf_buf *buf)
{
	lockdep_assert_held(&pool->lock);
	list_del(&buf->node);
	pool->nr_free--;
	put_limbo(pool, buf);
}

/* The buffer has no hold any more: whoever finds it idle may have it. */
static void put_free(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	lockdep_assert_held(&pool->lock);
	if (!fbuf_buf_idle(pool, buf, NULL)) {
		put_limbo(pool, buf);
		return;
	}
	pool->exhausted = false;
	if (fbuf_buf_bare(pool, buf)) {
		list_add(&buf->node, &pool->bare);
		pool->nr_bare++;
	} else {
		list_add(&buf->node, &pool->free);
		pool->nr_free++;
	}
}

/*
 * The looks of a call at limbo: how many may be in vain for each age, and how many
 * buffers there were, so that none is looked at twice.
 */
struct limbo_looks {
	bool begun;
	enum fbuf_age age;
	unsigned int most[FBUF_AGES];
	unsigned int left[FBUF_AGES];
};

/* A quarter of @looks for the old, and for one age what the other does not need. */
static void looks_begin(const struct fbuf_pool *pool, struct limbo_looks *l,
			unsigned int looks)
	__must_hold(&pool->lock)
{
	unsigned int recent = min(pool->limbo[FBUF_RECENT].nr, FBUF_LOOKS_MAX);
	unsigned int old = min(pool->limbo[FBUF_OLD].nr, FBUF_LOOKS_MAX);

	l->begun = true;
	l->age = FBUF_RECENT;
	l->left[FBUF_RECENT] = recent;
	l->left[FBUF_OLD] = old;
	l->most[FBUF_RECENT] = looks - min(looks / 4, old);
	l->most[FBUF_OLD] = looks - min(l->most[FBUF_RECENT], recent);
}

/* The next one to look at, or NULL. */
static struct fbuf_buf *limbo_next(const struct fbuf_pool *pool,
				   struct limbo_looks *l)
	__must_hold(&pool->lock)
{
	for (; l->age < FBUF_AGES; l->age++) {
		if (!l->left[l->age] || !l->most[l->age])
			continue;
		l->left[l->age]--;
		return list_first_entry(&pool->limbo[l->age].bufs,
					struct fbuf_buf, node);
	}
	return NULL;
}

/* The first one's turn comes last, and with it that of others like it. */
static void limbo_turn(struct fbuf_pool *pool, struct limbo_looks *l)
	__must_hold(&pool->lock)
{
	struct list_head *bufs = &pool->limbo[l->age].bufs;
	struct fbuf_buf *buf = list_first_entry(bufs, struct fbuf_buf, node);
	unsigned long sock = READ_ONCE(buf->sock);
	unsigned int skip = 0;

	/* Not if there are looks for all. */
	if (l->left[l->age] > l->most[l->age])
		skip = fbuf_looks_skip(pool);
	buf = list_next_entry(buf, node);
	while (skip-- && l->left[l->age] && READ_ONCE(buf->sock) == sock) {
		buf = list_next_entry(buf, node);
		l->left[l->age]--;
	}
	if (!list_entry_is_head(buf, bufs, node))
		list_rotate_to_front(&buf->node, bufs);
}

/* Take it out of limbo: true if it is idle, else its turn comes last. */
static bool leave_limbo(struct fbuf_pool *pool, struct fbuf_buf *buf,
			struct limbo_looks *l)
	__must_hold(&pool->lock)
{
	cond_resched();
	if (!fbuf_settle(pool, buf) || !buf_renew(pool, buf)) {
		l->most[l->age]--;
		if (l->age == FBUF_OLD || fbuf_buf_age(buf) == FBUF_RECENT) {
			limbo_turn(pool, l);
			return false;
		}
		list_move_tail(&buf->node, &pool->limbo[FBUF_OLD].bufs);
		pool->limbo[FBUF_RECENT].nr--;
		pool->limbo[FBUF_OLD].nr++;
		return false;
	}
	list_del_init(&buf->node);
	pool->limbo[l->age].nr--;
	limbo_count(pool, -1);
	this_cpu_add(pool->counters->reuses, 1);
	trace_fbuf_reuse(pool, buf);
	return true;
}

/* A buffer that is idle, off its list, or NULL. */
static struct fbuf_buf *take_idle(struct fbuf_pool *pool, struct limbo_looks *l)
	__must_hold(&pool->lock)
{
	struct fbuf_buf *buf;

	/* User space can pin pages of a free buffer through its mapping. */
	while ((buf = list_first_entry_or_null(&pool->free, struct fbuf_buf,
					       node))) {
		if (!fbuf_settle(pool, buf) || !buf_renew(pool, buf)) {
			fbuf_put_limbo(pool, buf);
			continue;
		}
		list_del_init(&buf->node);
		pool->nr_free--;
		return buf;
	}
	if (pool->nr_limbo && !l->begun)
		looks_begin(pool, l, fbuf_looks(pool));
	while ((buf = limbo_next(pool, l))) {
		if (leave_limbo(pool, buf, l))
			return buf;
	}
	buf = list_first_entry_or_null(&pool->bare, struct fbuf_buf, node);
	if (buf) {
		list_del_init(&buf->node);
		pool->nr_bare--;
	}
	return buf;
}

/**
 * fbuf_reap() - look which free buffers are idle by now
 * @pool: the pool
 * @looks: at how many to look in vain: what fbuf_looks() said
 *
 * Context: may sleep; the pool's lock is held.
 */
void fbuf_reap(struct fbuf_pool *pool, unsigned int looks)
{
	struct limbo_looks l;
	struct fbuf_buf *buf;

	lockdep_assert_held(&pool->lock);
	looks_begin(pool, &l, looks);
	while ((buf = limbo_next(pool, &l))) {
		if (leave_limbo(pool, buf, &l))
			put_free(pool, buf);
	}
}

/**
 * fbuf_to_be_had() - is there a buffer that ALLOC would hand out?
 * @pool: the pool
 * @looks: at how many in flight to look in vain: what fbuf_looks() said
 *
 * Context: may sleep; the pool's lock is held.
 * Return: whether there is one.
 */
bool fbuf_to_be_had(struct fbuf_pool *pool, unsigned int looks)
{
	struct limbo_looks l;
	struct fbuf_buf *buf;

	lockdep_assert_held(&pool->lock);
	looks_begin(pool, &l, looks);
	while (!pool->nr_free && !pool->nr_bare &&
	       (buf = limbo_next(pool, &l))) {
		if (leave_limbo(pool, buf, &l))
			put_free(pool, buf);
	}
	return pool->nr_free || pool->nr_bare;
}

/**
 * fbuf_crowded() - is so much of the pool in flight that sends are to copy?
 * @pool: a pool whose flag says that it may be
 *
 * Packets can be kept for ever by others than the peer: captures that nobody
 * reads, taps, queues. What was copied does not take the pool's buffers along.
 *
 * Context: may sleep; takes the pool's lock.
 * Return: whether it is.
 */
bool fbuf_crowded(struct fbuf_pool *pool)
{
	bool stuck = pool->copy_above_set, freed = false, crowded;
	struct limbo_looks l;
	struct fbuf_buf *buf;

	mutex_lock(&pool->lock);
	looks_begin(pool, &l, CROWDED_LOOKS);
	while (pool->crowded && (buf = limbo_next(pool, &l))) {
		stuck |= fbuf_buf_stuck(buf);
		if (!leave_limbo(pool, buf, &l))
			continue;
		put_free(pool, buf);
		freed = true;
	}
	crowded = stuck && pool->crowded;
	if (freed)
		fbuf_wake(pool);
	mutex_unlock(&pool->lock);
	return crowded;
}

static void add_hold(struct fbuf_handle *h, struct fbuf_buf *buf)
	__must_hold(&h->pool->lock)
{
	if (!buf->holds++)
		h->pool->nr_held++;
	h->nr_holds++;
	set_bit(fbuf_buf_index(h->pool, buf), h->holds);
}

static void drop_hold(struct fbuf_handle *h, unsigned int index)
	__must_hold(&h->pool->lock)
{
	struct fbuf_pool *pool = h->pool;
	struct fbuf_buf *buf = &pool->bufs[index];

	lockdep_assert_held(&pool->lock);
	fbuf_unsecure(h, index);
	clear_bit(index, h->holds);
	smp_mb__after_atomic();	/* pairs with gather_get_page() */
	h->nr_holds--;
	if (--buf->holds)
		return;
	pool->nr_held--;
	put_free(pool, buf);
	trace_fbuf_free(pool, buf, h->id);
}

/**
 * fbuf_buf_init() - make all buffers of a new pool free
 * @pool: the pool, not yet seen by anyone else
 */
void fbuf_buf_init(struct fbuf_pool *pool)
{
	bool lazy = fbuf_is_lazy(pool);
	unsigned int i;

	for (i = 0; i < pool->nr_bufs; i++) {
		list_add_tail(&pool->bufs[i].node,
			      lazy ? &pool->bare : &pool->free);
		INIT_LIST_HEAD(&pool->bufs[i].reserved);
	}
	if (lazy) {
		pool->nr_bare = pool->nr_bufs;
		pool->nr_empty = pool->nr_bufs;
	} else {
		pool->nr_free = pool->nr_bufs;
	}
}

/*
 * Buffers onto @taken, which get memory if they have none and the pool is not lazy.
 * Returns how many; if they are fewer than @count, @err says why: -ENOBUFS or -ENOMEM.
 */
static unsigned int alloc_take(struct fbuf_pool *pool, struct list_head *taken,
			       unsigned int count, int *err)
	__must_hold(&pool->lock)
{
	struct limbo_looks l = {};
	unsigned int n;

	for (n = 0; n < count; n++) {
		struct fbuf_buf *buf = take_idle(pool, &l);

		*err = -ENOBUFS;
		if (!buf)
			break;
		*err = fbuf_is_lazy(pool) ? 0 : fbuf_buf_get_memory(pool, buf);
		if (*err) {
			put_free(pool, buf);
			break;
		}
		list_add_tail(&buf->node, taken);
	}
	return n;
}

static void alloc_exhausted(struct fbuf_pool *pool)
	__must_hold(&pool->lock)
{
	if (pool->exhausted)
		return;
	pool->exhausted = true;
	fbuf_event(pool, FBUF_CMD_EXHAUSTED_NTF);
}

static int alloc_locked(struct fbuf_handle *h, u64 *names, unsigned int count,
			bool all)
	__must_hold(&h->pool->lock)
{
	struct fbuf_pool *pool = h->pool;
	struct fbuf_buf *buf, *next;
	LIST_HEAD(taken);
	unsigned int got;
	int err, n = 0;

	got = alloc_take(pool, &taken, count, &err);
	if (!got && err == -ENOBUFS)
		alloc_exhausted(pool);
	if (got < (all ? count : 1)) {
		list_for_each_entry_safe(buf, next, &taken, node)
			put_free(pool, buf);
		/* To wait for buffers helps if it is them that are short. */
		return err == -ENOBUFS && pool->nr_limbo ? -EAGAIN : err;
	}
	list_for_each_entry_safe(buf, next, &taken, node) {
		list_del_init(&buf->node);
		WRITE_ONCE(buf->gen, buf->gen + 1);
		buf->sent = 0;
		smp_mb__before_atomic();	/* pairs with gather_held() */
		add_hold(h, buf);
		names[n++] = FBUF_NAME(fbuf_buf_index(pool, buf), buf->gen);
		trace_fbuf_alloc(pool, buf, h->id);
	}
	return n;
}

/* How many more buffers a handle may hold. */
static unsigned int holds_left(const struct fbuf_handle *h)
	__must_hold(&h->pool->lock)
{
	if (!h->max_holds)
		return UINT_MAX;
	return h->max_holds - min(h->nr_holds, h->max_holds);
}

/* Take a hold on up to @count idle buffers; if @all, on as many or none. */
static int alloc(struct fbuf_handle *h, u64 *names, unsigned int count,
		 bool all)
{
	struct fbuf_pool *pool = h->pool;
	int ret = -EDQUOT;

	mutex_lock(&pool->lock);
	if (!list_empty(&pool->orphans))
		fbuf_orphans_reap(pool, ORPHAN_LOOKS);
	if (holds_left(h) >= (all ? count : 1))
		ret = alloc_locked(h, names, min(count, holds_left(h)), all);
	/* Who got fewer than asked for, and polls, waits for the next edge. */
	if (ret < (int)count && h->polls_out)
		fbuf_pollers_want(h);
	mutex_unlock(&pool->lock);

	if (ret > 0)
		this_cpu_add(pool->counters->allocs, ret);
	else if (ret == -EAGAIN)
		fbuf_nudge();
	return ret;
}

/* Is this a result to wait on? */
static bool alloc_waits(const struct fbuf_batch *args, int ret)
{
	if (!(args->flags & FBUF_ALLOC_WAIT))
		return false;
	return ret == -EAGAIN ||
	       (ret == -ENOBUFS && !(args->flags & FBUF_ALLOC_UNHELD));
}

/**
 * fbuf_alloc_wait() - take a hold on idle buffers
 * @h: the handle that will have the holds
 * @names: where their names go
 * @args: how many, and whether to wait
 *
 * Context: may sleep; takes the pool's lock.
 * Return: how many, at least 1; -EAGAIN if too few were found idle and some that
 * are free are in flight; -ENOBUFS if all others are held; -EDQUOT; -ENOMEM; as
 * fbuf_waiter_sleep().
 */
int fbuf_alloc_wait(struct fbuf_handle *h, u64 *names,
		    const struct fbuf_batch *args)
{
	bool all = args->flags & FBUF_ALLOC_ALL;
	struct fbuf_waiter w;
	int err = 0, ret;

	ret = alloc(h, names, args->count, all);
	if (!alloc_waits(args, ret))
		return ret;
	fbuf_waiter_begin(&w, h->pool, args->timeout, TASK_INTERRUPTIBLE);
	for (;;) {
		ret = alloc(h, names, args->count, all);
		if (!alloc_waits(args, ret))
			break;
		err = fbuf_waiter_sleep(&w, ret == -EAGAIN);
		if (err)
			break;
	}
	fbuf_waiter_end(&w);
	return err ?: ret;
}

/* False if the batch has named the buffer before. */
static bool mark_once(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	if (buf->mark == pool->batch)
		return false;
	buf->mark = pool->batch;
	return true;
}

static int check_once(struct fbuf_handle *h, u64 name)
	__must_hold(&h->pool->lock)
{
	int index = fbuf_buf_check(h, name);

	if (index >= 0 && !mark_once(h->pool, &h->pool->bufs[index]))
		return -ESTALE;
	return index;
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
	int ret = 0;

	mutex_lock(&pool->lock);
	pool->batch++;
	for (i = 0; i < count && ret >= 0; i++)
		ret = check_once(h, names[i]);
	if (ret >= 0) {
		for (i = 0; i < count; i++) {
			drop_hold(h, FBUF_NAME_INDEX(names[i]));
			cond_resched();
		}
		fbuf_wake(pool);
		ret = count;
	}
	mutex_unlock(&pool->lock);
	if (ret > 0)
		this_cpu_add(pool->counters->frees, ret);
	return ret;
}

/**
 * fbuf_alloc_undo() - take back what ALLOC gave, of which the caller cannot learn
 * @h: the handle that got them
 * @names: the buffers
 * @count: how many
 *
 * Those are left alone that are not held under that name any more: another thread
 * may have guessed it. What did not happen is not counted.
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_alloc_undo(struct fbuf_handle *h, const u64 *names,
		     unsigned int count)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int i, nr = 0;

	mutex_lock(&pool->lock);
	for (i = 0; i < count; i++) {
		int index = fbuf_buf_check(h, names[i]);

		if (index < 0)
			continue;
		drop_hold(h, index);
		nr++;
		cond_resched();
	}
	fbuf_wake(pool);
	mutex_unlock(&pool->lock);
	this_cpu_sub(pool->counters->allocs, nr);
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
		drop_hold(h, i);
		this_cpu_add(pool->counters->frees, 1);
		cond_resched();
	}
	fbuf_wake(pool);
	mutex_unlock(&pool->lock);
}

static int hold_check(struct fbuf_handle *h, u64 name)
	__must_hold(&h->pool->lock)
{
	struct fbuf_pool *pool = h->pool;
	u32 index = FBUF_NAME_INDEX(name);
	struct fbuf_buf *buf;

	if (index >= pool->nr_bufs)
		return -EINVAL;
	index = array_index_nospec(index, pool->nr_bufs);
	buf = &pool->bufs[index];
	if (!buf->holds || buf->gen != FBUF_NAME_GEN(name))
		return -ESTALE;
	if (test_bit(index, h->holds) || !mark_once(pool, buf))
		return -EEXIST;
	return 0;
}

/**
 * fbuf_hold() - take a hold on buffers that others hold
 * @h: the handle that will have the holds
 * @names: the buffers
 * @count: how many
 *
 * Context: may sleep; takes the pool's lock.
 * Return: @count; or, with no hold taken, -EINVAL; -ESTALE if nobody holds a
 * buffer of that name; -EEXIST if the handle does; -EDQUOT.
 */
int fbuf_hold(struct fbuf_handle *h, const u64 *names, unsigned int count)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int i;
	int ret = 0;

	mutex_lock(&pool->lock);
	pool->batch++;
	for (i = 0; i < count && !ret; i++)
		ret = hold_check(h, names[i]);
	if (!ret && count > holds_left(h))
		ret = -EDQUOT;
	if (!ret) {
		for (i = 0; i < count; i++)
			add_hold(h, &pool->bufs[FBUF_NAME_INDEX(names[i])]);
		ret = count;
	}
	mutex_unlock(&pool->lock);
	return ret;
}

/* May all the buffers go to the other handle? */
static int pass_check(struct fbuf_handle *h, const struct fbuf_handle *to,
		      const struct fbuf_item *items, unsigned int count)
	__must_hold(&h->pool->lock)
{
	unsigned int i, fresh = 0;
	int index;

	if (!to)
		return -ENOENT;
	if (!to->ring || !to->ring->accept)
		return -EACCES;
	h->pool->batch++;
	for (i = 0; i < count; i++) {
		index = check_once(h, items[i].name);
		if (index < 0)
			return index;
		fresh += !test_bit(index, to->holds);
	}
	if (fresh > holds_left(to))
		return -EDQUOT;
	return count > fbuf_ring_room(to->ring) ? -EAGAIN : 0;
}

static void pass_one(struct fbuf_handle *h, struct fbuf_handle *to,
		     const struct fbuf_item *item, bool keep)
	__must_hold(&h->pool->lock)
{
	unsigned int index = FBUF_NAME_INDEX(item->name);
	const struct fbuf_ring_entry entry = {
		.name = item->name,
		.data = item->data,
		.type = FBUF_RING_PASSED,
		.from = h->id,
	};

	/* First theirs, then ours away: the buffer is never without. */
	if (!test_bit(index, to->holds))
		add_hold(to, &h->pool->bufs[index]);
	if (!keep)
		drop_hold(h, index);
	fbuf_ring_put(to->ring, &entry);
}

/**
 * fbuf_pass() - hand buffers over to another handle
 * @h: the handle that has the holds
 * @items: the buffers
 * @count: how many
 * @id: number of the handle that gets them
 * @keep: @h keeps its holds too
 *
 * Context: may sleep; takes the pool's lock.
 * Return: @count; or, with nothing passed, -EINVAL, -ESTALE, -ENOENT, -EACCES,
 * -EAGAIN if there is no room in the ring there, -EDQUOT.
 */
int fbuf_pass(struct fbuf_handle *h, const struct fbuf_item *items,
	      unsigned int count, u32 id, bool keep)
{
	struct fbuf_pool *pool = h->pool;
	struct fbuf_handle *to;
	unsigned int i;
	int ret;

	if (id == h->id)
		return -EINVAL;
	mutex_lock(&pool->lock);
	/* It stays: a handle leaves the pool under the lock. */
	to = xa_load(&pool->handles, id);
	ret = pass_check(h, to, items, count);
	if (!ret) {
		for (i = 0; i < count; i++)
			pass_one(h, to, &items[i], keep);
		fbuf_ring_publish(to);
		/* What we secured may be written. */
		fbuf_wake(pool);
		ret = count;
	}
	mutex_unlock(&pool->lock);
	if (ret > 0)
		this_cpu_add(pool->counters->passes, ret);
	return ret;
}

/* Sets @told if there will be a wake-up for each that is not idle. */
static int wait_look(struct fbuf_handle *h, const u64 *names,
		     unsigned int count, bool *told)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int i, idle = 0;
	int index = 0;

	*told = true;
	mutex_lock(&pool->lock);
	for (i = 0; i < count; i++) {
		index = fbuf_buf_check(h, names[i]);
		if (index < 0)
			break;
		if (fbuf_settle(pool, &pool->bufs[index]))
			idle++;
		else if (!pool->bufs[index].told)
			*told = false;
		cond_resched();
	}
	mutex_unlock(&pool->lock);
	return index < 0 ? index : idle;
}

/**
 * fbuf_wait() - wait until buffers are idle
 * @h: the handle that holds them
 * @names: the buffers
 * @args: how many, whether one is enough, and how long
 *
 * Context: may sleep; takes the pool's lock.
 * Return: how many are idle; -EINVAL or -ESTALE for a bad name; as
 * fbuf_waiter_sleep().
 */
int fbuf_wait(struct fbuf_handle *h, const u64 *names,
	      const struct fbuf_batch *args)
{
	int need = args->flags & FBUF_WAIT_ANY ? 1 : args->count;
	struct fbuf_waiter w;
	int err = 0, ret;
	bool told;

	fbuf_waiter_begin(&w, h->pool, args->timeout, TASK_INTERRUPTIBLE);
	for (;;) {
		ret = wait_look(h, names, args->count, &told);
		if (ret < 0 || ret >= need)
			break;
		err = fbuf_waiter_sleep(&w, !told);
		if (err)
			break;
	}
	fbuf_waiter_end(&w);
	return err ?: ret;
}
