// SPDX-License-Identifier: LGPL-2.1-or-later
/* Small objects: slabs of equal slots. */

#include <stdlib.h>
#include <string.h>

#include "heap.h"

#define SLAB_PAGES_MIN	4U
#define SLAB_PAGES_MAX	16U
/* As many slots are worth a slab that is shorter than the longest. */
#define SLAB_SLOTS	8U

static uint32_t class_size(unsigned int class)
{
	unsigned int shift;

	if (class < 8)
		return (class + 1) * 16;
	shift = class / 8 + 3;
	return (8 + class % 8 + 1) << shift;
}

/* The shortest slab that loses no more than a sixteenth, or the one that does least. */
static uint32_t class_pages(uint32_t size)
{
	uint32_t pages, best = SLAB_PAGES_MAX, least = UINT32_MAX;

	for (pages = SLAB_PAGES_MIN; pages <= SLAB_PAGES_MAX; pages++) {
		uint32_t bytes = pages * RUNS_PAGE;
		/* In 65536ths. */
		uint32_t lost = (uint64_t)(bytes % size) * 65536 / bytes;

		if (bytes / size >= SLAB_SLOTS && lost <= 65536 / 16)
			return pages;
		if (bytes >= size && lost <= least) {
			least = lost;
			best = pages;
		}
	}
	return best;
}

void slab_classes_init(struct fbuf_heap *h)
{
	unsigned int i;

	for (i = 0; i < NR_CLASSES; i++) {
		struct heap_class *c = &h->classes[i];

		pthread_mutex_init(&c->lock, NULL);
		c->size = class_size(i);
		c->inverse = ((1ULL << 32) + c->size - 1) / c->size;
		c->pages = class_pages(c->size);
		c->nr = c->pages * RUNS_PAGE / c->size;
	}
}

/* The slabs go with the heap's pages. */
void slab_classes_fini(struct fbuf_heap *h)
{
	size_t nr = h->size / RUNS_PAGE, page = 0;
	unsigned int i;

	while (page < nr) {
		uintptr_t is = heap_page_is(h, page);
		struct slab *slab = (struct slab *)is;

		if (!page_is_slab(is)) {
			page++;
			continue;
		}
		page += h->classes[slab->class].pages;
		free(slab);
	}
	for (i = 0; i < NR_CLASSES; i++)
		pthread_mutex_destroy(&h->classes[i].lock);
}

void slab_list_add(struct slab *slab, struct slots *list, unsigned int slot)
{
	slab->link[slot] = list->first;
	list->first = slot;
	list->nr++;
}

static unsigned int list_pop(struct slab *slab, struct slots *list)
{
	unsigned int slot = list->first;

	list->first = slab->link[slot];
	list->nr--;
	return slot;
}

void slab_list_move(struct slab *slab, struct slots *to, struct slots *from)
{
	uint16_t last = from->first;

	if (!from->nr)
		return;
	if (to->nr) {
		while (slab->link[last] != SLOT_NONE)
			last = slab->link[last];
		slab->link[last] = to->first;
	}
	to->first = from->first;
	to->nr += from->nr;
	from->first = SLOT_NONE;
	from->nr = 0;
}

static void ready_add(struct heap_class *c, struct slab *slab)
{
	slab->prev = NULL;
	slab->next = c->ready;
	if (c->ready)
		c->ready->prev = slab;
	c->ready = slab;
	slab->ready = true;
}

static void ready_del(struct heap_class *c, struct slab *slab)
{
	if (slab->next)
		slab->next->prev = slab->prev;
	if (slab->prev)
		slab->prev->next = slab->next;
	else
		c->ready = slab->next;
	slab->ready = false;
}

static void set_pages(struct fbuf_heap *h, const struct slab *slab,
		      struct slab *value)
{
	size_t first = heap_page(h, slab->base), i;

	for (i = 0; i < h->classes[slab->class].pages; i++)
		__atomic_store_n(&h->pages[first + i], (uintptr_t)value,
				 __ATOMIC_RELEASE);
}

static struct slab *slab_new(struct fbuf_heap *h, unsigned int class)
{
	const struct heap_class *c = &h->classes[class];
	const struct slots none = { .first = SLOT_NONE };
	struct slab *slab;
	unsigned int i;
	size_t have;

	/* All but the links is 0. */
	slab = calloc(1, sizeof(*slab) + c->nr * (sizeof(slab->link[0]) + 1));
	if (!slab)
		return NULL;
	slab->base = heap_run_take(h, c->pages * RUNS_PAGE, 1, &have);
	if (!slab->base) {
		free(slab);
		return NULL;
	}
	slab->size = c->size;
	slab->inverse = c->inverse;
	slab->nr = c->nr;
	slab->class = class;
	slab->state = (uint8_t *)&slab->link[c->nr];
	slab->free = none;
	slab->waiting = none;
	slab->looked = none;
	for (i = c->nr; i-- > 0;)
		slab_list_add(slab, &slab->free, i);
	set_pages(h, slab, slab);
	return slab;
}

void slab_free(struct fbuf_heap *h, struct slab *slab)
{
	set_pages(h, slab, NULL);
	heap_runs_give(h, (void **)&slab->base, 1);
	free(slab);
}

/* The last one that is ready stays: the next object is likely to want it. */
bool slab_more_free(struct heap_class *class, struct slab *slab)
{
	if (slab->free.nr == slab->nr &&
	    (class->ready != slab || slab->next) &&
	    (class->ready || slab->ready)) {
		if (slab->ready)
			ready_del(class, slab);
		return true;
	}
	if (!slab->ready && slab->free.nr)
		ready_add(class, slab);
	return false;
}

/* The class is locked. */
static unsigned int take_ready(struct heap_class *c, void **objects,
			       unsigned int max)
{
	struct slab *slab;
	unsigned int nr = 0;

	while (nr < max && (slab = c->ready)) {
		while (nr < max && slab->free.nr)
			objects[nr++] = slab_at(slab,
						list_pop(slab, &slab->free));
		if (!slab->free.nr)
			ready_del(c, slab);
	}
	return nr;
}

unsigned int slab_take_ready(struct fbuf_heap *h, unsigned int class,
			     void **objects, unsigned int max)
{
	struct heap_class *c = &h->classes[class];
	unsigned int nr;

	pthread_mutex_lock(&c->lock);
	nr = take_ready(c, objects, max);
	pthread_mutex_unlock(&c->lock);
	return nr;
}

unsigned int slab_take(struct fbuf_heap *h, unsigned int class, void **objects,
		       unsigned int max)
{
	struct heap_class *c = &h->classes[class];
	unsigned int nr = slab_take_ready(h, class, objects, max);
	struct slab *slab;

	if (nr)
		return nr;
	slab = slab_new(h, class);
	if (!slab)
		return 0;
	pthread_mutex_lock(&c->lock);
	ready_add(c, slab);
	nr = take_ready(c, objects, max);
	pthread_mutex_unlock(&c->lock);
	return nr;
}

/* A list of them, without a lock. */
static void slabs_free(struct fbuf_heap *h, struct slab *go)
{
	while (go) {
		struct slab *slab = go;

		go = slab->next;
		slab_free(h, slab);
	}
}

void slab_give(struct fbuf_heap *h, unsigned int class, void **objects,
	       unsigned int nr)
{
	struct heap_class *c = &h->classes[class];
	struct slab *go = NULL, *slab;
	unsigned int i;

	pthread_mutex_lock(&c->lock);
	for (i = 0; i < nr; i++) {
		slab = heap_slab(h, objects[i]);
		slab_list_add(slab, &slab->free, slab_slot(slab, objects[i]));
		if (slab_more_free(c, slab)) {
			slab->next = go;
			go = slab;
		}
	}
	pthread_mutex_unlock(&c->lock);
	slabs_free(h, go);
}

void slab_shrink(struct fbuf_heap *h)
{
	unsigned int i;

	for (i = 0; i < NR_CLASSES; i++) {
		struct heap_class *c = &h->classes[i];
		struct slab *go = NULL, *slab, *next;

		pthread_mutex_lock(&c->lock);
		for (slab = c->ready; slab; slab = next) {
			next = slab->next;
			if (slab->free.nr != slab->nr)
				continue;
			ready_del(c, slab);
			slab->next = go;
			go = slab;
		}
		pthread_mutex_unlock(&c->lock);
		slabs_free(h, go);
	}
}
