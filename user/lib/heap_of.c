// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Which heap an address is in. Nobody who asks takes a lock, or reads a heap that
 * may be gone: what is asked for is in a table of our own.
 */

#include <limits.h>
#include <stdint.h>

#include "heap.h"

/*
 * While the rest of it changes, the id is 0, and afterwards another one: so who has
 * read the same id twice has read what belongs to it.
 */
struct place {
	unsigned long id;
	uintptr_t base;
	size_t size;
	struct fbuf_heap *heap;
};

/* Heaps have a key each: one is always free. */
static struct place places[PTHREAD_KEYS_MAX];
static unsigned int nr_places;		/* that were ever used */

/* Heaps are locked. */
void heap_of_add(struct fbuf_heap *h)
{
	unsigned int i = 0;

	while (places[i].id)
		i++;
	__atomic_store_n(&places[i].base, (uintptr_t)h->base, __ATOMIC_RELEASE);
	__atomic_store_n(&places[i].size, h->size, __ATOMIC_RELEASE);
	__atomic_store_n(&places[i].heap, h, __ATOMIC_RELEASE);
	__atomic_store_n(&places[i].id, h->id, __ATOMIC_RELEASE);
	if (i >= nr_places)
		__atomic_store_n(&nr_places, i + 1, __ATOMIC_RELEASE);
}

void heap_of_del(const struct fbuf_heap *h)
{
	unsigned int i = 0;

	while (places[i].id != h->id)
		i++;
	__atomic_store_n(&places[i].id, 0, __ATOMIC_RELAXED);
}

/* The heap, if the address is in that one. */
static struct fbuf_heap *place_has(const struct place *p, uintptr_t at)
{
	unsigned long id = __atomic_load_n(&p->id, __ATOMIC_ACQUIRE);
	struct fbuf_heap *heap;

	if (!id || at - __atomic_load_n(&p->base, __ATOMIC_ACQUIRE) >=
	    __atomic_load_n(&p->size, __ATOMIC_ACQUIRE))
		return NULL;
	heap = __atomic_load_n(&p->heap, __ATOMIC_ACQUIRE);
	return __atomic_load_n(&p->id, __ATOMIC_RELAXED) == id ? heap : NULL;
}

struct fbuf_heap *fbuf_heap_of(const void *ptr)
{
	unsigned int nr = __atomic_load_n(&nr_places, __ATOMIC_ACQUIRE), i;
	struct fbuf_heap *heap;

	for (i = 0; i < nr; i++) {
		heap = place_has(&places[i], (uintptr_t)ptr);
		if (heap)
			return heap;
	}
	return NULL;
}
