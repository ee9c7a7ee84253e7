// SPDX-License-Identifier: GPL-2.0
/*
 * A handle's ring: memory that it shares with the kernel, in which it finds
 * notices of buffers that are idle, cookies of sends whose buffers are, and buffers
 * that others passed.
 *
 * The user can write all of it. The kernel reads only the head, once each time,
 * and what it makes of it can at worst leave the ring full.
 */
#include <linux/bitmap.h>
#include <linux/eventfd.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "compat.h"
#include "cookie.h"
#include "folio.h"
#include "look.h"
#include "protect.h"
#include "ring.h"
#include "types.h"
#include "wait.h"

/* ABI: entries do not cross pages, and head and tail have lines of their own. */
static_assert(sizeof(struct fbuf_ring_entry) == 32);
static_assert(offsetof(struct fbuf_ring, head) == 64);
static_assert(sizeof(struct fbuf_ring) <= FBUF_RING_ENTRIES);

static struct fbuf_ring *ring_head(const struct fbuf_kring *ring)
{
	return page_address(ring->pages[0]);
}

static unsigned long ring_bytes(u32 entries)
{
	return PAGE_ALIGN(FBUF_RING_ENTRIES +
			  entries * sizeof(struct fbuf_ring_entry));
}

/**
 * fbuf_ring_used() - how many entries were not consumed
 * @ring: the ring
 *
 * Context: the pool's lock is held.
 * Return: their number, at most that of all entries.
 */
unsigned int fbuf_ring_used(const struct fbuf_kring *ring)
{
	/* Entries before it may be written again: pairs with fbuf_ring_next(). */
	u32 head = smp_load_acquire(&ring_head(ring)->head);

	return min(ring->tail - head, ring->mask + 1);
}

/**
 * fbuf_ring_room() - for how many more entries there is room
 * @ring: the ring
 *
 * Context: the pool's lock is held.
 * Return: their number.
 */
unsigned int fbuf_ring_room(const struct fbuf_kring *ring)
{
	return ring->mask + 1 - fbuf_ring_used(ring);
}

/**
 * fbuf_ring_put() - write an entry, not yet to be seen
 * @ring: a ring with room
 * @entry: the entry
 *
 * Context: the pool's lock is held.
 */
void fbuf_ring_put(struct fbuf_kring *ring,
		   const struct fbuf_ring_entry *entry)
{
	unsigned long at = FBUF_RING_ENTRIES +
			   (ring->tail & ring->mask) * sizeof(*entry);

	memcpy(page_address(ring->pages[at >> PAGE_SHIFT]) + offset_in_page(at),
	       entry, sizeof(*entry));
	ring->tail++;
}

/**
 * fbuf_ring_publish() - show new entries to the user
 * @h: the handle whose ring it is
 *
 * Context: the pool's lock is held.
 */
void fbuf_ring_publish(struct fbuf_handle *h)
{
	struct fbuf_kring *ring = h->ring;

	lockdep_assert_held(&h->pool->lock);
	/* Who sees the tail sees the entries: pairs with fbuf_ring_next(). */
	smp_store_release(&ring_head(ring)->tail, ring->tail);
	if (ring->eventfd)
		fbuf_eventfd_signal(ring->eventfd);
	if (wq_has_sleeper(&h->wait))
		wake_up_poll(&h->wait, EPOLLIN | EPOLLRDNORM);
}

static void notices_add(struct fbuf_kring *ring, enum fbuf_age age, u32 index)
{
	struct fbuf_notices *q = &ring->queue[age];

	if (q->nr++)
		ring->notices[q->last].next = index;
	else
		q->first = index;
	q->last = index;
}

static u32 notices_take(struct fbuf_kring *ring, enum fbuf_age age)
{
	struct fbuf_notices *q = &ring->queue[age];
	u32 index = q->first;

	q->first = ring->notices[index].next;
	q->nr--;
	return index;
}

/*
 * The first one's turn comes last, and with it that of up to @skip more of the same
 * socket. Returns how many more they are.
 */
static unsigned int notices_turn(struct fbuf_handle *h, enum fbuf_age age,
				 unsigned int skip)
	__must_hold(&h->pool->lock)
{
	const struct fbuf_buf *bufs = h->pool->bufs;
	struct fbuf_kring *ring = h->ring;
	struct fbuf_notices *q = &ring->queue[age];
	unsigned long sock = READ_ONCE(bufs[q->first].sock);
	unsigned int n;

	ring->notices[q->last].next = q->first;
	q->last = q->first;
	q->first = ring->notices[q->last].next;
	for (n = 0; n < skip && READ_ONCE(bufs[q->first].sock) == sock; n++) {
		q->last = q->first;
		q->first = ring->notices[q->last].next;
	}
	return n;
}

/* The ring has one thing more to tell, of which the watch sees when it can. */
static void ring_owes(struct fbuf_handle *h, unsigned int nr)
	__must_hold(&h->pool->lock)
{
	if (!nr)
		return;
	h->ring->nr_notify += nr;
	h->pool->nr_notify += nr;
	if (list_empty(&h->notifying))
		list_add_tail(&h->notifying, &h->pool->notifying);
}

static void ring_told(struct fbuf_handle *h)
	__must_hold(&h->pool->lock)
{
	h->ring->nr_notify--;
	h->pool->nr_notify--;
	if (!h->ring->nr_notify)
		list_del_init(&h->notifying);
}

/* Have the buffer looked at until it is idle. */
static void notice_queue(struct fbuf_handle *h, unsigned int index)
	__must_hold(&h->pool->lock)
{
	struct fbuf_kring *ring = h->ring;

	if (__test_and_set_bit(index, ring->queued))
		return;
	notices_add(ring, FBUF_RECENT, index);
	ring_owes(h, 1);
	fbuf_looks_pay(h->pool);
}

/* If a notice of the buffer was to come, it now is one of this sending. */
static void notice_expect(struct fbuf_handle *h, const struct fbuf_buf *buf)
	__must_hold(&h->pool->lock)
{
	unsigned int index = fbuf_buf_index(h->pool, buf);

	h->ring->notices[index].gen = buf->gen;
	__set_bit(index, h->ring->notify);
	notice_queue(h, index);
}

static void cookie_expect(struct fbuf_handle *h, const struct fbuf_buf *buf,
			  struct fbuf_cookie *cookie)
	__must_hold(&h->pool->lock)
{
	unsigned int index = fbuf_buf_index(h->pool, buf);

	ring_owes(h, fbuf_cookie_wait(&h->ring->cookies, cookie, index,
				      buf->gen));
	notice_queue(h, index);
}

/* Those that are due, as long as there is room. False if there was not for all. */
static bool cookies_post(struct fbuf_handle *h)
	__must_hold(&h->pool->lock)
{
	struct fbuf_kring *ring = h->ring;
	unsigned int room = fbuf_ring_room(ring);
	struct fbuf_cookie *cookie;

	while (!list_empty(&ring->cookies.due)) {
		struct fbuf_ring_entry entry = { .type = FBUF_RING_SENT };

		if (!room--)
			return false;
		cookie = fbuf_cookies_take(&ring->cookies);
		entry.data = cookie->data;
		fbuf_cookie_free(cookie);
		fbuf_ring_put(ring, &entry);
		ring_told(h);
		cond_resched();
	}
	return true;
}

/**
 * fbuf_ring_cookie() - make a cookie, for a send that did not begin yet
 * @h: a handle with a ring
 * @nr_segs: segments of what is to be sent
 * @data: what the ring is to tell
 *
 * Context: may sleep; takes the pool's lock.
 * Return: the cookie, for fbuf_ring_expect() or fbuf_cookie_free(); -ENOMEM; -ENOBUFS
 * if too many wait.
 */
struct fbuf_cookie *fbuf_ring_cookie(struct fbuf_handle *h,
				     unsigned int nr_segs, u64 data)
{
	/* No gather is of more buffers than it has segments. */
	return fbuf_cookie_new(&h->ring->cookies, h->pool, nr_segs, data);
}

/**
 * fbuf_ring_expect() - have the ring tell when buffers are idle
 * @h: a handle with a ring
 * @runs: what was sent of them, with references to the folios
 * @nr: number of runs
 * @skip: a bit for each of them that is of no buffer that was sent; or NULL
 * @notify: of each by a notice
 * @cookie: of all by this one, which it takes over; or NULL
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_ring_expect(struct fbuf_handle *h, const struct bio_vec *runs,
		      unsigned int nr, const unsigned long *skip, bool notify,
		      struct fbuf_cookie *cookie)
{
	struct fbuf_pool *pool = h->pool;
	u32 tail;
	unsigned int i;

	mutex_lock(&pool->lock);
	tail = h->ring->tail;
	for (i = 0; i < nr; i++) {
		struct fbuf_buf *buf = fbuf_run_buf(&runs[i], pool);

		if (skip && test_bit(i, skip))
			continue;
		if (buf && notify)
			notice_expect(h, buf);
		if (buf && cookie && cookie->refers)
			cookie_expect(h, buf, cookie);
		cond_resched();
	}
	if (cookie && fbuf_cookie_start(&h->ring->cookies, cookie)) {
		ring_owes(h, 1);
		cookies_post(h);
	}
	if (h->ring->tail != tail)
		fbuf_ring_publish(h);
	if (h->ring->nr_notify)
		fbuf_watch(pool);
	mutex_unlock(&pool->lock);
}

static void notice_post(struct fbuf_handle *h, u32 index)
	__must_hold(&h->pool->lock)
{
	struct fbuf_kring *ring = h->ring;
	const struct fbuf_ring_entry entry = {
		.name = FBUF_NAME(index, ring->notices[index].gen),
		.type = FBUF_RING_IDLE,
	};

	fbuf_ring_put(ring, &entry);
	__clear_bit(index, ring->notify);
}

enum notice {
	NOTICE_DONE,	/* nobody waits for the buffer any more */
	NOTICE_WAITS,	/* it is in flight */
	NOTICE_FULL,	/* it is idle, but the ring has no room */
};

/*
 * Look at a buffer, and tell what there is to tell of it. One that was handed out again
 * was idle in between: a notice and cookies may be of different holders.
 */
static enum notice notice_tell(struct fbuf_handle *h, u32 index,
			       unsigned int *room)
	__must_hold(&h->pool->lock)
{
	struct fbuf_kring *ring = h->ring;
	struct fbuf_buf *buf = &h->pool->bufs[index];
	bool idle = fbuf_settle(h->pool, buf);

	if (fbuf_cookies_wait(&ring->cookies, index) &&
	    (idle || buf->gen != ring->cookies.bufs[index].gen))
		ring_owes(h, fbuf_cookies_idle(&ring->cookies, index));
	if (test_bit(index, ring->notify) &&
	    (idle || buf->gen != ring->notices[index].gen)) {
		if (!*room)
			return NOTICE_FULL;
		--*room;
		notice_post(h, index);
	}
	return test_bit(index, ring->notify) ||
	       fbuf_cookies_wait(&ring->cookies, index) ? NOTICE_WAITS :
							  NOTICE_DONE;
}

/* The first one is not due. Returns how many others, of @left, need no look now. */
static unsigned int notice_wait(struct fbuf_handle *h, enum fbuf_age age,
				unsigned int left)
	__must_hold(&h->pool->lock)
{
	struct fbuf_kring *ring = h->ring;
	u32 index = ring->queue[age].first;

	if (age == FBUF_OLD || fbuf_buf_age(&h->pool->bufs[index]) == age)
		return notices_turn(h, age, left ?
				    min(fbuf_looks_skip(h->pool), left) : 0);
	notices_take(ring, age);
	notices_add(ring, FBUF_OLD, index);
	return 0;
}

/*
 * Look at a queue, at each of it once, and *looks times in vain. False if a notice
 * is due for which there is no room; sets @more if one waits for who does not tell.
 */
static bool notices_look(struct fbuf_handle *h, enum fbuf_age age,
			 unsigned int *looks, bool *more)
	__must_hold(&h->pool->lock)
{
	struct fbuf_kring *ring = h->ring;
	unsigned int left = ring->queue[age].nr;
	unsigned int room = fbuf_ring_room(ring);

	while (left && *looks) {
		u32 index = ring->queue[age].first;

		cond_resched();
		left--;
		switch (notice_tell(h, index, &room)) {
		case NOTICE_WAITS:
			*more |= !h->pool->bufs[index].told;
			left -= notice_wait(h, age, left > *looks ? left : 0);
			--*looks;
			break;
		case NOTICE_FULL:
			return false;
		case NOTICE_DONE:
			notices_take(ring, age);
			__clear_bit(index, ring->queued);
			ring_told(h);
			break;
		}
	}
	*more |= left;
	return true;
}

/**
 * fbuf_ring_notify() - post the notices and cookies that are due
 * @h: a handle that waits for some
 * @looks: at how many buffers to look in vain; those at which it did are taken off,
 *         and one for the handle
 *
 * Context: may sleep; the pool's lock is held.
 * Return: whether some wait, or may, for packets of whose end nobody tells, rather
 * than for others or for room in the ring.
 */
bool fbuf_ring_notify(struct fbuf_handle *h, unsigned int *looks)
{
	struct fbuf_kring *ring = h->ring;
	unsigned int old = min(*looks / 4, ring->queue[FBUF_OLD].nr);
	unsigned int recent = *looks - old;
	u32 tail = ring->tail;
	bool more = false, full;

	lockdep_assert_held(&h->pool->lock);
	/* Those that waited for room first. */
	cookies_post(h);
	full = !notices_look(h, FBUF_OLD, &old, &more);
	recent += old;
	full |= !notices_look(h, FBUF_RECENT, &recent, &more);
	full |= !cookies_post(h);
	*looks = recent - !!recent;
	if (full && !ring->full)
		WRITE_ONCE(ring_head(ring)->overflow, ++ring->overflow);
	ring->full = full;
	if (ring->tail != tail)
		fbuf_ring_publish(h);
	return more;
}

static void ring_free(struct fbuf_kring *ring)
{
	unsigned int i;

	for (i = 0; ring->pages && i < ring->nr_pages; i++) {
		if (ring->pages[i])
			__free_page(ring->pages[i]);
	}
	if (ring->eventfd)
		eventfd_ctx_put(ring->eventfd);
	fbuf_cookies_destroy(&ring->cookies);
	kvfree(ring->pages);
	kvfree(ring->notices);
	kvfree(ring->notify);
	kvfree(ring->queued);
	kfree(ring);
}

static int ring_get_memory(struct fbuf_kring *ring, unsigned int nr_bufs)
{
	unsigned int i;

	ring->pages = kvcalloc(ring->nr_pages, sizeof(*ring->pages),
			       GFP_KERNEL_ACCOUNT);
	ring->notices = kvcalloc(nr_bufs, sizeof(*ring->notices),
				 GFP_KERNEL_ACCOUNT);
	ring->notify = kvcalloc(BITS_TO_LONGS(nr_bufs), sizeof(long),
				GFP_KERNEL_ACCOUNT);
	ring->queued = kvcalloc(BITS_TO_LONGS(nr_bufs), sizeof(long),
				GFP_KERNEL_ACCOUNT);
	if (!ring->pages || !ring->notices || !ring->notify || !ring->queued)
		return -ENOMEM;
	for (i = 0; i < ring->nr_pages; i++) {
		ring->pages[i] = alloc_page(GFP_USER | __GFP_ACCOUNT |
					    __GFP_ZERO);
		if (!ring->pages[i])
			return -ENOMEM;
	}
	ring_head(ring)->mask = ring->mask;
	return 0;
}

static struct fbuf_kring *ring_new(const struct fbuf_ring_setup *args,
				   unsigned int nr_bufs)
{
	struct fbuf_kring *ring;
	int err;

	ring = kzalloc(sizeof(*ring), GFP_KERNEL_ACCOUNT);
	if (!ring)
		return ERR_PTR(-ENOMEM);
	fbuf_cookies_init(&ring->cookies);
	ring->mask = args->entries - 1;
	ring->nr_pages = ring_bytes(args->entries) >> PAGE_SHIFT;
	ring->accept = args->flags & FBUF_RING_ACCEPT;
	err = ring_get_memory(ring, nr_bufs);
	if (err)
		goto err_free;
	if (args->flags & FBUF_RING_EVENTFD) {
		ring->eventfd = eventfd_ctx_fdget(args->eventfd);
		if (IS_ERR(ring->eventfd)) {
			err = PTR_ERR(ring->eventfd);
			ring->eventfd = NULL;
			goto err_free;
		}
	}
	return ring;

err_free:
	ring_free(ring);
	return ERR_PTR(err);
}

static int ring_check(const struct fbuf_ring_setup *args)
{
	if (args->flags & ~(FBUF_RING_ACCEPT | FBUF_RING_EVENTFD) ||
	    (!(args->flags & FBUF_RING_EVENTFD) && args->eventfd))
		return -EINVAL;
	if (!is_power_of_2(args->entries) || args->entries > FBUF_RING_MAX)
		return -EINVAL;
	return 0;
}

/**
 * fbuf_ring_setup() - make a handle's ring
 * @h: the handle
 * @args: what kind
 * @map_size: where the number of bytes to map goes
 *
 * Context: may sleep; takes the pool's lock.
 * Return: 0; -EINVAL; -EEXIST if it has one; -EBADF or -EINVAL for an fd that is
 * no eventfd; -ENOMEM; -EFAULT.
 */
int fbuf_ring_setup(struct fbuf_handle *h, const struct fbuf_ring_setup *args,
		    u64 __user *map_size)
{
	struct fbuf_kring *ring;
	int err;

	err = ring_check(args);
	if (err)
		return err;
	if (READ_ONCE(h->ring))
		return -EEXIST;
	ring = ring_new(args, h->pool->nr_bufs);
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	err = -EFAULT;
	if (put_user((u64)ring->nr_pages << PAGE_SHIFT, map_size))
		goto err_free;

	mutex_lock(&h->pool->lock);
	err = h->ring ? -EEXIST : 0;
	if (!err)	/* pairs with fbuf_ring_mmap(), send_check_flags() */
		smp_store_release(&h->ring, ring);
	mutex_unlock(&h->pool->lock);
	if (err)
		goto err_free;
	return 0;

err_free:
	ring_free(ring);
	return err;
}

/**
 * fbuf_ring_destroy() - free the ring of a handle that is going away
 * @h: the handle; it is on no list any more
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_ring_destroy(struct fbuf_handle *h)
{
	if (!h->ring)
		return;
	mutex_lock(&h->pool->lock);
	h->pool->nr_notify -= h->ring->nr_notify;
	list_del(&h->notifying);
	mutex_unlock(&h->pool->lock);
	ring_free(h->ring);
}

static vm_fault_t ring_fault(struct vm_fault *vmf)
{
	struct fbuf_handle *h = vmf->vma->vm_file->private_data;
	pgoff_t i = vmf->pgoff - (FBUF_MMAP_RING >> PAGE_SHIFT);

	if (i >= h->ring->nr_pages)
		return VM_FAULT_SIGBUS;
	vmf->page = h->ring->pages[i];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct ring_ops = {
	.fault	= ring_fault,
};

/**
 * fbuf_ring_mmap() - map a handle's ring
 * @h: the handle
 * @vma: the mapping to be, with an offset in the ring
 *
 * Context: the mmap lock is held for writing.
 * Return: 0; -EINVAL if there is no ring or the mapping passes its end.
 */
int fbuf_ring_mmap(struct fbuf_handle *h, struct vm_area_struct *vma)
{
	unsigned long first = vma->vm_pgoff - (FBUF_MMAP_RING >> PAGE_SHIFT);
	/* Pairs with fbuf_ring_setup(). */
	struct fbuf_kring *ring = smp_load_acquire(&h->ring);
	unsigned long end;

	if (!ring || check_add_overflow(first, vma_pages(vma), &end) ||
	    end > ring->nr_pages)
		return -EINVAL;
	vm_flags_mod(vma, VM_DONTEXPAND, VM_MAYEXEC);
	vma->vm_ops = &ring_ops;
	return 0;
}
