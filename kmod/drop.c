// SPDX-License-Identifier: GPL-2.0
/*
 * DROP: buffers of a lazy pool that are held lose their memory, and are as if nobody
 * had touched them.
 *
 * A send without the lock may be about to refer to the pages: it has the hold that it
 * needs. So the holds are taken away while the buffers are looked at, as FREE does:
 * either the send sees that, or it is seen. Then it looks again with the lock, as it
 * does with all that it finds ESTALE in a lazy pool, and finds the hold. One that comes
 * between that look and the memory's end sees that its pages are the pool's no more.
 */
#include <linux/bitops.h>
#include <linux/mutex.h>
#include <linux/sched.h>

#include "drop.h"
#include "folio.h"
#include "protect.h"
#include "types.h"

/* Is there somebody, whatever the pages say, who needs what is in the buffer? */
static bool drop_needed(const struct fbuf_buf *buf)
{
	return buf->holds > 1 || buf->secures || buf->fills;
}

static int drop_check(struct fbuf_handle *h, const u64 *names,
		      unsigned int count)
	__must_hold(&h->pool->lock)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		int index = fbuf_buf_check(h, names[i]);

		if (index < 0)
			return index;
		if (drop_needed(&h->pool->bufs[index]))
			return -EBUSY;
		cond_resched();
	}
	return 0;
}

/* The names were checked. */
static struct fbuf_buf *drop_buf(const struct fbuf_handle *h, u64 name)
{
	return &h->pool->bufs[FBUF_NAME_INDEX(name)];
}

/* With the holds gone, and no entry in any page table. */
static bool drop_idle(struct fbuf_handle *h, const u64 *names,
		      unsigned int count)
	__must_hold(&h->pool->lock)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		clear_bit(FBUF_NAME_INDEX(names[i]), h->holds);
		if (!fbuf_buf_bare(h->pool, drop_buf(h, names[i])))
			fbuf_unmap(h->pool, drop_buf(h, names[i]), 1);
		cond_resched();
	}
	smp_mb__after_atomic();	/* pairs with gather_get_page() */
	for (i = 0; i < count; i++) {
		if (!fbuf_buf_idle(h->pool, drop_buf(h, names[i]), NULL))
			return false;
		cond_resched();
	}
	return true;
}

static void drop_memory(struct fbuf_pool *pool, struct fbuf_buf *buf)
	__must_hold(&pool->lock)
{
	if (fbuf_buf_bare(pool, buf))
		return;
	fbuf_buf_drop_memory(pool, buf);
	/* Before it has other: a send that finds that must see it. */
	fbuf_unprotect(pool, buf);
	cond_resched();
}

static int drop_locked(struct fbuf_handle *h, const u64 *names,
		       unsigned int count)
	__must_hold(&h->pool->lock)
{
	int ret = drop_check(h, names, count);
	unsigned int i;
	bool idle;

	if (ret)
		return ret;
	idle = drop_idle(h, names, count);
	for (i = 0; idle && i < count; i++)
		drop_memory(h->pool, drop_buf(h, names[i]));
	smp_mb__before_atomic();	/* pairs with gather_dropped() */
	for (i = 0; i < count; i++)
		set_bit(FBUF_NAME_INDEX(names[i]), h->holds);
	return idle ? count : -EBUSY;
}

/**
 * fbuf_drop() - take the memory of buffers away
 * @h: the handle that alone holds them
 * @names: the buffers; a name may come twice
 * @count: how many
 *
 * Context: may sleep, but waits for nobody; takes the pool's lock.
 * Return: @count; or, with nothing dropped, -EOPNOTSUPP, -EACCES, -EINVAL, -ESTALE, or
 * -EBUSY if one is held by others, secured or in flight.
 */
int fbuf_drop(struct fbuf_handle *h, const u64 *names, unsigned int count)
{
	int ret;

	if (!(h->rights & FBUF_RIGHT_WRITE))
		return -EACCES;
	if (!fbuf_is_lazy(h->pool))
		return -EOPNOTSUPP;
	mutex_lock(&h->pool->lock);
	ret = drop_locked(h, names, count);
	mutex_unlock(&h->pool->lock);
	return ret;
}
