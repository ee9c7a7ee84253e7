// SPDX-License-Identifier: GPL-2.0
/* fbuf cost: memory of a heap, had and freed; and malloc()'s. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <fbuf/heap.h>

#include "cost.h"

/* Of the heap; and of all that is timed at once, as one is too short. */
#define LIMIT		((size_t)64 << 20)
#define TURNS		1000U

/* The compiler knows malloc(), and would leave both out. */
static __attribute__((__noinline__)) void *had(size_t size)
{
	return malloc(size);
}

static void pair_of_malloc(size_t size)
{
	free(had(size));
}

static void pair_of_heap(struct fbuf_heap *heap, size_t size)
{
	fbuf_heap_free(heap, fbuf_heap_alloc(heap, size));
}

static void turns(struct fbuf_heap *heap, size_t size)
{
	unsigned int i;

	for (i = 0; i < TURNS; i++)
		if (heap)
			pair_of_heap(heap, size);
		else
			pair_of_malloc(size);
}

int cost_heap(struct heap_cost *c, unsigned int calls)
{
	const struct fbuf_heap_options opt = { .limit = LIMIT };
	double *v = calloc(calls, sizeof(*v));
	struct fbuf_heap *heap = NULL;
	unsigned int i;
	uint64_t start;
	int ret = 0;

	if (v && c->heap)
		ret = fbuf_heap_create_with(&heap, &opt);
	if (!v || ret < 0) {
		tool_err("Measuring: a heap: %s.",
			 strerror(v ? -ret : ENOMEM));
		free(v);
		return v ? ret : -ENOMEM;
	}
	turns(heap, c->size);
	for (i = 0; i < calls; i++) {
		start = now_ns();
		turns(heap, c->size);
		v[i] = (double)(now_ns() - start) / TURNS;
	}
	c->median = median(v, calls);
	c->max = v[calls - 1];
	fbuf_heap_destroy(heap);
	free(v);
	return 0;
}
