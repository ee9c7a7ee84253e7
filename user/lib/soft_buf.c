// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools without the module: buffers, their names and who holds them. */

#include <fbuf/parcel.h>

#include "soft.h"

/* The pool is locked, as for all that follows. */
static void idle_push(struct soft_pool *p, uint32_t index)
{
	p->bufs[index].next = p->idle;
	p->idle = index;
	p->nr_idle++;
}

/* The last one that became idle is the first to be used: it is in the cache. */
static uint32_t idle_pop(struct soft_pool *p)
{
	uint32_t index = p->idle;

	if (index == SOFT_NONE)
		return p->fresh++;
	p->idle = p->bufs[index].next;
	p->nr_idle--;
	return index;
}

void soft_fly(struct soft_pool *p, uint32_t index)
{
	p->bufs[index].flights++;
}

void soft_land(struct soft_pool *p, uint32_t index)
{
	struct soft_buf *b = &p->bufs[index];

	if (--b->flights)
		return;
	if (!b->holds) {
		p->nr_limbo--;
		p->reuses++;
		idle_push(p, index);
	}
	soft_ring_idle(p, index);
}

static void add_hold(struct soft_handle *h, uint32_t index)
{
	soft_bit_set(h->holds, index);
	h->nr_holds++;
	if (!h->pool->bufs[index].holds++)
		h->pool->nr_held++;
}

static void drop_hold(struct soft_handle *h, uint32_t index)
{
	struct soft_pool *p = h->pool;
	struct soft_buf *b = &p->bufs[index];

	soft_unsecure(h, index);
	soft_bit_clear(h->holds, index);
	h->nr_holds--;
	if (--b->holds)
		return;
	p->nr_held--;
	if (b->flights)
		p->nr_limbo++;
	else
		idle_push(p, index);
}

void soft_drop_all(struct soft_handle *h)
{
	uint32_t i;

	for (i = 0; h->nr_holds; i++)
		if (soft_bit(h->holds, i))
			drop_hold(h, i);
}

int64_t soft_buf_check(const struct soft_handle *h, uint64_t name)
{
	uint32_t index = FBUF_NAME_INDEX(name);

	if (index >= h->pool->nr_bufs)
		return -EINVAL;
	if (!soft_bit(h->holds, index) ||
	    h->pool->bufs[index].gen != FBUF_NAME_GEN(name))
		return -ESTALE;
	return index;
}

static uint32_t holds_left(const struct soft_handle *h)
{
	return h->max_holds ? h->max_holds - h->nr_holds : UINT32_MAX;
}

static int alloc(struct soft_handle *h, uint64_t *names, uint32_t count,
		 bool all)
{
	uint32_t left = holds_left(h), idle = soft_free_bufs(h->pool), i;
	struct soft_pool *p = h->pool;

	if (!left || (all && count > left))
		return -EDQUOT;
	if (!idle || (all && count > idle))
		return p->nr_limbo ? -EAGAIN : -ENOBUFS;
	if (count > left)
		count = left;
	if (count > idle)
		count = idle;
	for (i = 0; i < count; i++) {
		uint32_t index = idle_pop(p);

		names[i] = FBUF_NAME(index, ++p->bufs[index].gen);
		add_hold(h, index);
	}
	p->allocs += count;
	soft_poll_out(p);
	return count;
}

static bool alloc_waits(const struct fbuf_batch *args, int ret)
{
	if (!(args->flags & FBUF_ALLOC_WAIT))
		return false;
	return ret == -EAGAIN ||
	       (ret == -ENOBUFS && !(args->flags & FBUF_ALLOC_UNHELD));
}

static int alloc_check(const struct soft_handle *h,
		       const struct fbuf_batch *args)
{
	uint32_t most = h->pool->nr_bufs;

	if (!(h->rights & FBUF_RIGHT_ALLOC))
		return -EACCES;
	if (args->flags & ~(FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL |
			    FBUF_ALLOC_UNHELD))
		return -EINVAL;
	if (args->flags & FBUF_ALLOC_UNHELD && !(args->flags & FBUF_ALLOC_WAIT))
		return -EINVAL;
	if (args->flags & FBUF_ALLOC_WAIT ? args->timeout < -1 : args->timeout)
		return -EINVAL;
	if (h->max_holds && h->max_holds < most)
		most = h->max_holds;
	return args->flags & FBUF_ALLOC_ALL && args->count > most ? -EINVAL : 0;
}

/* A handle whose fd was closed, and nothing else, has let go without a sound. */
#define SWEEP_MS	20

static int alloc_sleep(struct soft_handle *h, const struct soft_deadline *d)
{
	struct soft_pool *p = h->pool;
	struct soft_deadline look;
	int err;

	if (p->nr_handles == 1)
		return soft_sleep(p, d);
	soft_deadline(&look, SWEEP_MS);
	if (!d->forever && (look.end.tv_sec > d->end.tv_sec ||
			    (look.end.tv_sec == d->end.tv_sec &&
			     look.end.tv_nsec > d->end.tv_nsec)))
		return soft_sleep(p, d);
	err = soft_sleep(p, &look);
	soft_unlock(p);
	soft_sweep(p);
	soft_lock(p);
	return err == -ETIMEDOUT ? 0 : err;
}

static int alloc_call(struct soft_handle *h, const struct fbuf_batch *args)
{
	uint64_t *names = (void *)(uintptr_t)args->names;
	bool all = args->flags & FBUF_ALLOC_ALL;
	struct soft_pool *p = h->pool;
	struct soft_deadline d;
	int ret, err = 0;

	ret = alloc_check(h, args);
	if (ret < 0)
		return ret;
	if (!names)
		return -EFAULT;
	if (args->flags & FBUF_ALLOC_WAIT)
		soft_deadline(&d, args->timeout);
	soft_lock(p);
	ret = alloc(h, names, args->count, all);
	if (ret < 0 && p->nr_handles > 1) {
		soft_unlock(p);
		soft_sweep(p);
		soft_lock(p);
		ret = alloc(h, names, args->count, all);
	}
	while (alloc_waits(args, ret) && !err) {
		err = alloc_sleep(h, &d);
		/* Once more after the last wait: it may have been for that. */
		ret = alloc(h, names, args->count, all);
	}
	soft_unlock(p);
	return err && alloc_waits(args, ret) ? err : ret;
}

/* False if the batch has named the buffer before. */
static bool mark_once(struct soft_pool *p, uint32_t index)
{
	if (p->bufs[index].mark == p->batch)
		return false;
	p->bufs[index].mark = p->batch;
	return true;
}

static int64_t check_once(struct soft_handle *h, uint64_t name)
{
	int64_t index = soft_buf_check(h, name);

	return index >= 0 && !mark_once(h->pool, index) ? -ESTALE : index;
}

static int free_names(struct soft_handle *h, const uint64_t *names,
		      unsigned int count)
{
	struct soft_pool *p = h->pool;
	unsigned int i;

	p->batch++;
	for (i = 0; i < count; i++) {
		int64_t index = check_once(h, names[i]);

		if (index < 0)
			return index;
	}
	for (i = 0; i < count; i++)
		drop_hold(h, FBUF_NAME_INDEX(names[i]));
	soft_poll_out(p);
	soft_wake(p);
	return count;
}

static int hold_check(struct soft_handle *h, uint64_t name)
{
	uint32_t index = FBUF_NAME_INDEX(name);
	struct soft_pool *p = h->pool;

	if (index >= p->nr_bufs)
		return -EINVAL;
	if (!p->bufs[index].holds || p->bufs[index].gen != FBUF_NAME_GEN(name))
		return -ESTALE;
	return soft_bit(h->holds, index) || !mark_once(p, index) ? -EEXIST : 0;
}

static int hold_names(struct soft_handle *h, const uint64_t *names,
		      unsigned int count)
{
	unsigned int i;
	int err = 0;

	h->pool->batch++;
	for (i = 0; i < count && !err; i++)
		err = hold_check(h, names[i]);
	if (err)
		return err;
	if (count > holds_left(h))
		return -EDQUOT;
	for (i = 0; i < count; i++)
		add_hold(h, FBUF_NAME_INDEX(names[i]));
	soft_poll_out(h->pool);
	return count;
}

/* How many are idle, or an error. */
static int wait_look(const struct soft_handle *h, const uint64_t *names,
		     unsigned int count)
{
	unsigned int i, idle = 0;

	for (i = 0; i < count; i++) {
		int64_t index = soft_buf_check(h, names[i]);

		if (index < 0)
			return index;
		idle += !h->pool->bufs[index].flights;
	}
	return idle;
}

static int wait_names(struct soft_handle *h, const struct fbuf_batch *args)
{
	const uint64_t *names = (const void *)(uintptr_t)args->names;
	unsigned int want = args->flags & FBUF_WAIT_ANY ? 1 : args->count;
	struct soft_deadline d;
	int ret, err = 0;

	soft_deadline(&d, args->timeout);
	for (;;) {
		ret = wait_look(h, names, args->count);
		if (ret < 0 || (unsigned int)ret >= want)
			return ret;
		if (err)
			return err;
		err = soft_sleep(h->pool, &d);
	}
}

static int batch_names(struct soft_handle *h, unsigned long cmd,
		       const struct fbuf_batch *args)
{
	const uint64_t *names = (const void *)(uintptr_t)args->names;

	switch (_IOC_NR(cmd)) {
	case _IOC_NR(FBUF_IOC_FREE):
		return fbuf_is_parcel(names[0]) ?
		       soft_parcels_free(h, names, args->count) :
		       free_names(h, names, args->count);
	case _IOC_NR(FBUF_IOC_HOLD):
		return hold_names(h, names, args->count);
	case _IOC_NR(FBUF_IOC_SECURE):
		return soft_secure(h, names, args->count);
	case _IOC_NR(FBUF_IOC_DROP):
		return soft_drop(h, names, args->count);
	default:
		return wait_names(h, args);
	}
}

int soft_batch(struct soft_handle *h, unsigned long cmd,
	       const struct fbuf_batch *args)
{
	int ret;

	if (!args->count || args->count > FBUF_BATCH_MAX)
		return -EINVAL;
	if (_IOC_NR(cmd) == _IOC_NR(FBUF_IOC_ALLOC))
		return alloc_call(h, args);
	if (_IOC_NR(cmd) == _IOC_NR(FBUF_IOC_WAIT) ?
	    args->flags & ~FBUF_WAIT_ANY || args->timeout < -1 :
	    args->flags || args->timeout)
		return -EINVAL;
	if (!args->names)
		return -EFAULT;
	soft_lock(h->pool);
	ret = batch_names(h, cmd, args);
	soft_unlock(h->pool);
	return ret;
}

static struct soft_handle *handle_numbered(const struct soft_pool *p,
					   uint32_t number)
{
	struct soft_handle *h = p->handles;

	while (h && h->number != number)
		h = h->next;
	return h;
}

static int pass_check(struct soft_handle *h, const struct soft_handle *to,
		      const struct fbuf_item *items, unsigned int count)
{
	unsigned int i, more = 0;

	if (!to)
		return -ENOENT;
	if (!to->ring || !to->ring->accept)
		return -EACCES;
	h->pool->batch++;
	for (i = 0; i < count; i++) {
		int64_t index = check_once(h, items[i].name);

		if (index < 0)
			return index;
		more += !soft_bit(to->holds, index);
	}
	if (more > holds_left(to))
		return -EDQUOT;
	return count > soft_ring_room(to->ring) ? -EAGAIN : 0;
}

/* First theirs, then ours away: the buffer is never without. */
static void pass_one(struct soft_handle *h, struct soft_handle *to,
		     const struct fbuf_item *item, bool keep)
{
	const struct fbuf_ring_entry entry = {
		.name = item->name,
		.data = item->data,
		.type = FBUF_RING_PASSED,
		.from = h->number,
	};
	uint32_t index = FBUF_NAME_INDEX(item->name);

	if (!soft_bit(to->holds, index))
		add_hold(to, index);
	if (!keep)
		drop_hold(h, index);
	soft_ring_put(to->ring, &entry);
}

static int pass(struct soft_handle *h, const struct fbuf_pass *args)
{
	const struct fbuf_item *items = (const void *)(uintptr_t)args->items;
	struct soft_handle *to = handle_numbered(h->pool, args->to);
	unsigned int i;
	int err;

	err = pass_check(h, to, items, args->count);
	if (err)
		return err;
	for (i = 0; i < args->count; i++)
		pass_one(h, to, &items[i], args->flags & FBUF_PASS_KEEP);
	soft_ring_publish(to);
	soft_poll_out(h->pool);
	/* What we secured may be written. */
	soft_wake(h->pool);
	return args->count;
}

int soft_pass(struct soft_handle *h, const struct fbuf_pass *args)
{
	int ret;

	if (args->flags & ~FBUF_PASS_KEEP || !args->count ||
	    args->count > FBUF_BATCH_MAX)
		return -EINVAL;
	if (!args->items)
		return -EFAULT;
	if (args->to == h->number)
		return -EINVAL;
	soft_sweep(h->pool);
	soft_lock(h->pool);
	ret = pass(h, args);
	soft_unlock(h->pool);
	return ret;
}
