// SPDX-License-Identifier: GPL-2.0
/*
 * A handle's ring: memory that it shares with the kernel, in which it finds
 * notices of buffers that are idle, and buffers that others passed.
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
#include "fbuf.h"

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

static void notify_done(struct fbuf_handle *h, unsigned int index)
	__must_hold(&h->pool->lock)
{
	struct fbuf_kring *ring = h->ring;
	const struct fbuf_ring_entry entry = {
		.name = FBUF_NAME(index, ring->notify_gen[index]),
		.type = FBUF_RING_IDLE,
	};

	fbuf_ring_put(ring, &entry);
	__clear_bit(index, ring->notify);
	ring->nr_notify--;
	h->pool->nr_notify--;
}

/**
 * fbuf_ring_notify() - post the notices that are due
 * @h: a handle with a ring
 *
 * A buffer that was handed out again was idle in between.
 *
 * Context: may sleep; the pool's lock is held.
 * Return: whether some wait for packets of whose end nobody tells, rather than
 * for others or for room in the ring.
 */
bool fbuf_ring_notify(struct fbuf_handle *h)
{
	struct fbuf_kring *ring = h->ring;
	struct fbuf_pool *pool = h->pool;
	unsigned int i, room = fbuf_ring_room(ring);
	u32 tail = ring->tail;
	bool more = false, full = false;

	lockdep_assert_held(&pool->lock);
	for_each_set_bit(i, ring->notify, pool->nr_bufs) {
		struct fbuf_buf *buf = &pool->bufs[i];

		cond_resched();
		if (buf->gen == ring->notify_gen[i] &&
		    !fbuf_settle(pool, buf)) {
			more |= !buf->told;
			continue;
		}
		full = !room;
		if (full)
			break;
		room--;
		notify_done(h, i);
	}
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
	kvfree(ring->pages);
	kvfree(ring->notify_gen);
	kvfree(ring->notify);
	kfree(ring);
}

static int ring_get_memory(struct fbuf_kring *ring, unsigned int nr_bufs)
{
	unsigned int i;

	ring->pages = kvcalloc(ring->nr_pages, sizeof(*ring->pages),
			       GFP_KERNEL_ACCOUNT);
	ring->notify_gen = kvcalloc(nr_bufs, sizeof(*ring->notify_gen),
				    GFP_KERNEL_ACCOUNT);
	ring->notify = kvcalloc(BITS_TO_LONGS(nr_bufs), sizeof(long),
				GFP_KERNEL_ACCOUNT);
	if (!ring->pages || !ring->notify_gen || !ring->notify)
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
