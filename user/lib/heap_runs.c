// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The runs of a heap, with their lock; and in a lazy pool, which buffers may have
 * memory: those that a run was in since they were made, or had to give it back.
 */

#include <stdlib.h>
#include <string.h>

#include "heap.h"

int heap_runs_init(struct fbuf_heap *h, bool lazy)
{
	size_t words = h->pool->nr_bufs / WORD_BITS + 1;

	h->resident = h->size;
	h->spare = h->size;
	if (lazy) {
		h->resident = 0;
		h->spare = 0;
		h->touched = calloc(words, sizeof(h->touched[0]));
		if (!h->touched)
			return -ENOMEM;
	}
	h->runs = runs_new(h->base, h->size);
	if (!h->runs) {
		free(h->touched);
		return -ENOMEM;
	}
	pthread_mutex_init(&h->runs_lock, NULL);
	return 0;
}

void heap_runs_fini(struct fbuf_heap *h)
{
	pthread_mutex_destroy(&h->runs_lock);
	runs_destroy(h->runs);
	free(h->touched);
}

void heap_runs_changed(struct fbuf_heap *h)
{
	__atomic_store_n(&h->spare, h->resident - runs_used(h->runs),
			 __ATOMIC_RELAXED);
}

/* From now on the buffers of these bytes may have memory. The runs are locked. */
static void touch(struct fbuf_heap *h, const char *p, size_t size)
{
	const size_t buf = h->pool->buf_size;
	size_t at = (p - h->base) / buf, next;
	size_t end = (p + size - 1 - h->base) / buf + 1;
	unsigned int nr = 0;

	for (; at < end; at = next) {
		unsigned long *word = &h->touched[at / WORD_BITS];
		unsigned long bits = word_bits(at, end, &next) & ~*word;

		*word |= bits;
		nr += __builtin_popcountl(bits);
	}
	__atomic_store_n(&h->resident, h->resident + nr * buf,
			 __ATOMIC_RELAXED);
}

static void changed(struct fbuf_heap *h, const void *p, size_t size)
{
	if (h->touched)
		touch(h, p, size);
	heap_runs_changed(h);
}

void *heap_run_take(struct fbuf_heap *h, size_t size, size_t align,
		    size_t *have)
{
	bool zeroed;
	void *p;

	pthread_mutex_lock(&h->runs_lock);
	p = runs_take(h->runs, size, align, &zeroed);
	if (p) {
		*have = runs_size(h->runs, p);
		changed(h, p, *have);
	}
	pthread_mutex_unlock(&h->runs_lock);
	return p;
}

void heap_runs_give(struct fbuf_heap *h, void **runs, unsigned int nr)
{
	pthread_mutex_lock(&h->runs_lock);
	while (nr--)
		runs_give(h->runs, *runs++);
	heap_runs_changed(h);
	pthread_mutex_unlock(&h->runs_lock);
}

size_t heap_run_resize(struct fbuf_heap *h, void *p, size_t size, bool *done)
{
	size_t now;

	pthread_mutex_lock(&h->runs_lock);
	*done = runs_resize(h->runs, p, size);
	now = runs_size(h->runs, p);
	changed(h, p, now);
	pthread_mutex_unlock(&h->runs_lock);
	return now;
}

void heap_runs_forget(struct fbuf_heap *h, const uint64_t *names,
		      unsigned int nr)
{
	unsigned int i;

	pthread_mutex_lock(&h->runs_lock);
	for (i = 0; i < nr; i++) {
		size_t buf = FBUF_NAME_INDEX(names[i]);

		h->touched[buf / WORD_BITS] &= ~(1UL << buf % WORD_BITS);
	}
	__atomic_store_n(&h->resident, h->resident - nr * h->pool->buf_size,
			 __ATOMIC_RELAXED);
	pthread_mutex_unlock(&h->runs_lock);
}
