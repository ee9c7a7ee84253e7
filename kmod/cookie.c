// SPDX-License-Identifier: GPL-2.0
/*
 * Cookies: what a handle's ring says of a send when its buffers are idle, however
 * many they are.
 *
 * A cookie waits for each buffer of its send, and each buffer has a list of the
 * cookies that wait for it. The ring looks at the buffers, for its notices, and says
 * here which are idle; it is told how many cookies are due by that, and takes them
 * when it has room.
 */
#include <linux/err.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "cookie.h"
#include "types.h"

/* Room that all cookies of a ring may have: for memory, and for work under the lock. */
#define COOKIES_MAX	FBUF_RING_MAX

/**
 * fbuf_cookies_init() - begin with no cookies
 * @c: those of a new ring
 */
void fbuf_cookies_init(struct fbuf_cookies *c)
{
	INIT_LIST_HEAD(&c->waiting);
	INIT_LIST_HEAD(&c->due);
}

static void cookies_free(struct list_head *cookies)
{
	struct fbuf_cookie *cookie, *next;

	list_for_each_entry_safe(cookie, next, cookies, node) {
		kvfree(cookie);
		cond_resched();
	}
}

/**
 * fbuf_cookies_destroy() - forget all cookies
 * @c: those of a ring that is going away, and that nobody looks at any more
 *
 * Context: may sleep.
 */
void fbuf_cookies_destroy(struct fbuf_cookies *c)
{
	cookies_free(&c->waiting);
	cookies_free(&c->due);
	kvfree(c->bufs);
}

/* Most rings have no cookies ever: the table comes with the first. */
static int cookies_ready(struct fbuf_cookies *c, struct fbuf_pool *pool)
{
	struct fbuf_cookie_buf *bufs;

	if (READ_ONCE(c->bufs))
		return 0;
	bufs = kvcalloc(pool->nr_bufs, sizeof(*bufs), GFP_KERNEL_ACCOUNT);
	if (!bufs)
		return -ENOMEM;
	mutex_lock(&pool->lock);
	if (!c->bufs) {
		WRITE_ONCE(c->bufs, bufs);
		bufs = NULL;
	}
	mutex_unlock(&pool->lock);
	kvfree(bufs);
	return 0;
}

/**
 * fbuf_cookie_new() - make a cookie, for a send that did not begin yet
 * @c: those of the ring that will tell
 * @pool: the pool
 * @nr: for how many buffers it may have to wait, at least 1
 * @data: what the ring is to tell
 *
 * Context: may sleep; takes the pool's lock.
 * Return: the cookie, for fbuf_cookie_start() or fbuf_cookie_free(); -ENOMEM; -ENOBUFS
 * if the ring's cookies wait for as much as they may.
 */
struct fbuf_cookie *fbuf_cookie_new(struct fbuf_cookies *c,
				    struct fbuf_pool *pool, unsigned int nr,
				    u64 data)
{
	struct fbuf_cookie *cookie;

	if (READ_ONCE(c->nr) >= COOKIES_MAX)
		return ERR_PTR(-ENOBUFS);
	if (cookies_ready(c, pool))
		return ERR_PTR(-ENOMEM);
	cookie = kvzalloc(struct_size(cookie, waits, nr), GFP_KERNEL_ACCOUNT);
	if (!cookie)
		return ERR_PTR(-ENOMEM);
	cookie->data = data;
	cookie->room = nr;
	return cookie;
}

/**
 * fbuf_cookie_free() - forget a cookie
 * @cookie: one that was not started, or was taken; or NULL
 *
 * Context: may sleep.
 */
void fbuf_cookie_free(struct fbuf_cookie *cookie)
{
	kvfree(cookie);
}

/**
 * fbuf_cookie_wait() - have a cookie wait for a buffer
 * @c: those of the ring
 * @cookie: one that was not started; the lock is held from here to its start
 * @index: the buffer; it may have been named before
 * @gen: its generation
 *
 * Those that wait for the buffer as an earlier holder had it need not any more: it was
 * idle in between.
 *
 * Context: may sleep; the pool's lock is held.
 * Return: how many are due by that.
 */
unsigned int fbuf_cookie_wait(struct fbuf_cookies *c,
			      struct fbuf_cookie *cookie, unsigned int index,
			      u32 gen)
{
	struct fbuf_cookie_buf *buf = &c->bufs[index];
	struct fbuf_cookie_wait *wait;
	unsigned int due = 0;

	if (buf->gen != gen)
		due = fbuf_cookies_idle(c, index);
	buf->gen = gen;
	if (buf->first && buf->first->cookie == cookie)
		return due;
	if (WARN_ON_ONCE(cookie->nr == cookie->room))
		return due;
	wait = &cookie->waits[cookie->nr++];
	wait->cookie = cookie;
	wait->next = buf->first;
	buf->first = wait;
	return due;
}

/**
 * fbuf_cookie_start() - let a cookie wait, now that it knows for what
 * @c: those of the ring, which has it from now on
 * @cookie: the cookie
 *
 * Context: the pool's lock is held.
 * Return: whether it is due at once, as there is nothing to wait for.
 */
bool fbuf_cookie_start(struct fbuf_cookies *c, struct fbuf_cookie *cookie)
{
	cookie->left = cookie->nr;
	WRITE_ONCE(c->nr, c->nr + cookie->room);
	list_add_tail(&cookie->node, cookie->nr ? &c->waiting : &c->due);
	return !cookie->nr;
}

/**
 * fbuf_cookies_idle() - a buffer is idle, or was since it was sent
 * @c: those of the ring
 * @index: the buffer, for which none waits any more
 *
 * Context: may sleep; the pool's lock is held.
 * Return: how many cookies are due by that.
 */
unsigned int fbuf_cookies_idle(struct fbuf_cookies *c, unsigned int index)
{
	struct fbuf_cookie_wait *wait = c->bufs[index].first;
	unsigned int due = 0;

	c->bufs[index].first = NULL;
	for (; wait; wait = wait->next) {
		struct fbuf_cookie *cookie = wait->cookie;

		if (!--cookie->left) {
			list_move_tail(&cookie->node, &c->due);
			due++;
		}
		cond_resched();
	}
	return due;
}

/**
 * fbuf_cookies_take() - take the first cookie that is due
 * @c: those of the ring
 *
 * Context: the pool's lock is held.
 * Return: the cookie, for fbuf_cookie_free(); or NULL.
 */
struct fbuf_cookie *fbuf_cookies_take(struct fbuf_cookies *c)
{
	struct fbuf_cookie *cookie;

	cookie = list_first_entry_or_null(&c->due, struct fbuf_cookie, node);
	if (!cookie)
		return NULL;
	list_del(&cookie->node);
	WRITE_ONCE(c->nr, c->nr - cookie->room);
	return cookie;
}
