/* SPDX-License-Identifier: GPL-2.0 */
/* A handle's ring. See ring.c. */
#ifndef FBUF_RING_H
#define FBUF_RING_H

#include <linux/types.h>

#include "cookie.h"
#include "types.h"

struct bio_vec;
struct eventfd_ctx;
struct fbuf_handle;
struct fbuf_ring_entry;
struct fbuf_ring_setup;
struct page;
struct vm_area_struct;

/**
 * struct fbuf_notice - a buffer that a handle waits for, or not
 * @gen: the generation of the buffer that its notice will be of
 * @next: the next buffer on the queue
 */
struct fbuf_notice {
	u32 gen;
	u32 next;
};

/**
 * struct fbuf_notices - a queue of buffers that notices and cookies wait for
 * @first: the next one to look at
 * @last: the last
 * @nr: how many; if there are none, @first and @last are nothing
 */
struct fbuf_notices {
	u32 first;
	u32 last;
	unsigned int nr;
};

/**
 * struct fbuf_kring - a handle's ring, as the kernel sees it
 * @pages: its memory, which the user can change at any time
 * @nr_pages: number of them
 * @tail: entries produced
 * @mask: number of entries less one
 * @overflow: times that notices found it full
 * @full: so it was the last time
 * @accept: others may pass buffers
 * @eventfd: signalled with new entries, or NULL
 * @notices: see there, for each buffer
 * @notify: a bit for each buffer of which a notice is still to come
 * @queued: a bit for each buffer that is on a queue: of which one is, or for which
 *          cookies wait
 * @queue: those, by age
 * @cookies: those of its sends that are still to come
 * @nr_notify: how many buffers are on queues, and cookies due
 *
 * Protected by the pool's lock.
 */
struct fbuf_kring {
	struct page **pages;
	unsigned int nr_pages;
	u32 tail;
	u32 mask;
	u64 overflow;
	bool full;
	bool accept;
	struct eventfd_ctx *eventfd;
	struct fbuf_notice *notices;
	unsigned long *notify;
	unsigned long *queued;
	struct fbuf_notices queue[FBUF_AGES];
	struct fbuf_cookies cookies;
	unsigned int nr_notify;
};

int fbuf_ring_setup(struct fbuf_handle *h, const struct fbuf_ring_setup *args,
		    u64 __user *map_size);
void fbuf_ring_destroy(struct fbuf_handle *h);
unsigned int fbuf_ring_used(const struct fbuf_kring *ring);
unsigned int fbuf_ring_room(const struct fbuf_kring *ring);
void fbuf_ring_put(struct fbuf_kring *ring,
		   const struct fbuf_ring_entry *entry);
void fbuf_ring_publish(struct fbuf_handle *h);
struct fbuf_cookie *fbuf_ring_cookie(struct fbuf_handle *h,
				     unsigned int nr_segs, u64 data);
void fbuf_ring_expect(struct fbuf_handle *h, const struct bio_vec *runs,
		      unsigned int nr, const unsigned long *skip, bool notify,
		      struct fbuf_cookie *cookie);
bool fbuf_ring_notify(struct fbuf_handle *h, unsigned int *looks);
int fbuf_ring_mmap(struct fbuf_handle *h, struct vm_area_struct *vma);

#endif /* FBUF_RING_H */
