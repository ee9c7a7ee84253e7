/* SPDX-License-Identifier: GPL-2.0 */
/* Cookies: one entry in a ring for all buffers of a send. See cookie.c. */
#ifndef FBUF_COOKIE_H
#define FBUF_COOKIE_H

#include <linux/list.h>
#include <linux/types.h>

struct fbuf_cookie;
struct fbuf_pool;

/**
 * struct fbuf_cookie_wait - a cookie waits for a buffer
 * @next: the next cookie that waits for the same one
 * @cookie: the cookie
 */
struct fbuf_cookie_wait {
	struct fbuf_cookie_wait *next;
	struct fbuf_cookie *cookie;
};

/**
 * struct fbuf_cookie - a send of which the ring will tell
 * @node: on the list of those that wait, or of those that are due
 * @data: what it will tell
 * @refers: packets may refer to the buffers that were sent; else none is waited for
 * @room: entries in @waits
 * @nr: those of them that were used
 * @left: those of them whose buffers were not idle since
 * @waits: the buffers, each once
 */
struct fbuf_cookie {
	struct list_head node;
	u64 data;
	bool refers;
	unsigned int room;
	unsigned int nr;
	unsigned int left;
	struct fbuf_cookie_wait waits[];
};

/**
 * struct fbuf_cookie_buf - the cookies that wait for a buffer
 * @first: the first of them, or NULL
 * @gen: the generation of the buffer that they wait for
 */
struct fbuf_cookie_buf {
	struct fbuf_cookie_wait *first;
	u32 gen;
};

/**
 * struct fbuf_cookies - the cookies of a ring
 * @bufs: one for each buffer; NULL before the first cookie
 * @waiting: those that wait for buffers
 * @due: those that do not any more, but for room in the ring, by age
 * @nr: their room, all together
 *
 * Protected by the pool's lock.
 */
struct fbuf_cookies {
	struct fbuf_cookie_buf *bufs;
	struct list_head waiting;
	struct list_head due;
	unsigned int nr;
};

void fbuf_cookies_init(struct fbuf_cookies *c);
void fbuf_cookies_destroy(struct fbuf_cookies *c);
struct fbuf_cookie *fbuf_cookie_new(struct fbuf_cookies *c,
				    struct fbuf_pool *pool, unsigned int nr,
				    u64 data);
void fbuf_cookie_free(struct fbuf_cookie *cookie);
unsigned int fbuf_cookie_wait(struct fbuf_cookies *c,
			      struct fbuf_cookie *cookie, unsigned int index,
			      u32 gen);
bool fbuf_cookie_start(struct fbuf_cookies *c, struct fbuf_cookie *cookie);
unsigned int fbuf_cookies_idle(struct fbuf_cookies *c, unsigned int index);
struct fbuf_cookie *fbuf_cookies_take(struct fbuf_cookies *c);

/* Does a cookie wait for the buffer? The pool's lock is held. */
static inline bool fbuf_cookies_wait(const struct fbuf_cookies *c,
				     unsigned int index)
{
	return c->bufs && c->bufs[index].first;
}

#endif /* FBUF_COOKIE_H */
