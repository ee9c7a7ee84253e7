// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What threads have at hand. A thread takes and gives without a lock, but for its
 * cache's own flag, which somebody else has only when he is out of memory.
 *
 * A thread that ends gives back what it has. In a child that was forked the flag of
 * every cache is set for good, so that it comes to where heaps are asked whether
 * they are somebody else's.
 */

#include <stdlib.h>
#include <string.h>

#include "heap.h"

/* Objects of a class, and their bytes, that a thread has at hand at most. */
#define CACHE_OBJECTS	64U
#define CACHE_BYTES	((size_t)32768)

/* All heaps; no lock is taken inside but those of heaps. */
static pthread_mutex_t heaps_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t heaps_once = PTHREAD_ONCE_INIT;
static struct fbuf_heap *heaps;

static bool cache_enter(struct heap_cache *c)
{
	return !__atomic_exchange_n(&c->busy, true, __ATOMIC_ACQUIRE);
}

static void cache_leave(struct heap_cache *c)
{
	__atomic_store_n(&c->busy, false, __ATOMIC_RELEASE);
}

/* Only the owner counts, so this need not be one operation. */
static void count(size_t *counter, size_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* The cache was entered. */
static void cache_empty(struct fbuf_heap *h, struct heap_cache *c)
{
	unsigned int class;

	for (class = 0; class < NR_CLASSES; class++) {
		struct heap_bin *bin = &c->bins[class];

		if (bin->nr)
			slab_give(h, class, c->slots + bin->start, bin->nr);
		bin->nr = 0;
	}
}

static void count_gone(struct fbuf_heap *h, const struct heap_counts *n)
{
	__atomic_fetch_add(&h->gone.allocs, n->allocs, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->gone.frees, n->frees, __ATOMIC_RELAXED);
	__atomic_fetch_add(&h->gone.used, n->used, __ATOMIC_RELAXED);
}

/* Take a cache out of its heap, if there are both still; the heaps are locked. */
static struct fbuf_heap *cache_unlink(struct heap_cache *c)
{
	struct heap_cache **link;
	struct fbuf_heap *h;

	for (h = heaps; h; h = h->next) {
		pthread_mutex_lock(&h->caches_lock);
		for (link = &h->caches; *link && *link != c;)
			link = &(*link)->next;
		/* Another thread's may be where this one's was. */
		if (*link && pthread_equal(c->owner, pthread_self())) {
			*link = c->next;
			count_gone(h, &c->counts);
			pthread_mutex_unlock(&h->caches_lock);
			return h;
		}
		pthread_mutex_unlock(&h->caches_lock);
	}
	return NULL;
}

/* The thread ends. Its heap may be gone, or go: that waits for the heaps. */
static void cache_end(void *arg)
{
	struct heap_cache *c = arg;
	struct fbuf_heap *h;

	pthread_mutex_lock(&heaps_lock);
	h = cache_unlink(c);
	if (h && !h->forked)
		cache_empty(h, c);
	pthread_mutex_unlock(&heaps_lock);
	if (h)
		free(c);
}

static void fork_prepare(void)
{
	pthread_mutex_lock(&heaps_lock);
}

static void fork_parent(void)
{
	pthread_mutex_unlock(&heaps_lock);
}

static void fork_child(void)
{
	struct heap_cache *c;
	struct fbuf_heap *h;

	for (h = heaps; h; h = h->next) {
		h->forked = true;
		for (c = h->caches; c; c = c->next)
			c->busy = true;
	}
	pthread_mutex_unlock(&heaps_lock);
}

static void heaps_init(void)
{
	/* Without memory for it a child may do what the man page tells it not to. */
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}

int cache_heap_init(struct fbuf_heap *h)
{
	size_t bytes = h->size / 1024, max;
	unsigned int i;
	int ret;

	if (bytes > CACHE_BYTES)
		bytes = CACHE_BYTES;
	for (i = 0; i < NR_CLASSES; i++) {
		max = bytes / h->classes[i].size;
		h->cache_max[i] = max < CACHE_OBJECTS ? max : CACHE_OBJECTS;
		h->cache_room += h->cache_max[i];
	}
	pthread_once(&heaps_once, heaps_init);
	ret = pthread_key_create(&h->key, cache_end);
	if (ret)
		return -ret;
	pthread_mutex_init(&h->caches_lock, NULL);
	pthread_mutex_lock(&heaps_lock);
	h->next = heaps;
	heaps = h;
	pthread_mutex_unlock(&heaps_lock);
	return 0;
}

void cache_heap_fini(struct fbuf_heap *h)
{
	struct fbuf_heap **link;
	struct heap_cache *c;

	pthread_mutex_lock(&heaps_lock);
	for (link = &heaps; *link != h;)
		link = &(*link)->next;
	*link = h->next;
	pthread_mutex_unlock(&heaps_lock);

	pthread_key_delete(h->key);
	while (h->caches) {
		c = h->caches;
		h->caches = c->next;
		free(c);
	}
	pthread_mutex_destroy(&h->caches_lock);
}

static struct heap_cache *cache_new(struct fbuf_heap *h)
{
	unsigned int i, start = 0;
	struct heap_cache *c;

	if (h->forked)
		return NULL;
	c = calloc(1, sizeof(*c) + h->cache_room * sizeof(c->slots[0]));
	if (!c)
		return NULL;
	c->heap = h;
	c->owner = pthread_self();
	for (i = 0; i < NR_CLASSES; i++) {
		c->bins[i].max = h->cache_max[i];
		c->bins[i].start = start;
		start += h->cache_max[i];
	}
	if (pthread_setspecific(h->key, c)) {
		free(c);
		return NULL;
	}
	pthread_mutex_lock(&h->caches_lock);
	c->next = h->caches;
	h->caches = c;
	pthread_mutex_unlock(&h->caches_lock);
	return c;
}

/* The thread's own, entered; or NULL if it has to do without. */
static struct heap_cache *cache_get(struct fbuf_heap *h)
{
	struct heap_cache *c = pthread_getspecific(h->key);

	if (!c)
		c = cache_new(h);
	return c && cache_enter(c) ? c : NULL;
}

/* What was freed in flight is used before memory that never was. */
static unsigned int take(struct fbuf_heap *h, unsigned int class,
			 void **objects, unsigned int max)
{
	unsigned int nr = slab_take_ready(h, class, objects, max);

	if (nr)
		return nr;
	idle_look_maybe(h);
	return slab_take(h, class, objects, max);
}

static void *take_one(struct fbuf_heap *h, unsigned int class)
{
	void *p;

	return take(h, class, &p, 1) ? p : NULL;
}

static void *bin_take(struct fbuf_heap *h, struct heap_cache *c,
		      unsigned int class)
{
	struct heap_bin *bin = &c->bins[class];
	void **slots = c->slots + bin->start;

	if (!bin->max)
		return take_one(h, class);
	if (!bin->nr)
		bin->nr = take(h, class, slots, (bin->max + 1) / 2);
	return bin->nr ? slots[--bin->nr] : NULL;
}

void *cache_take(struct fbuf_heap *h, unsigned int class)
{
	const size_t size = h->classes[class].size;
	struct heap_cache *c = cache_get(h);
	void *p;

	if (c) {
		p = bin_take(h, c, class);
		if (p) {
			count(&c->counts.allocs, 1);
			count(&c->counts.used, size);
		}
		cache_leave(c);
		return p;
	}
	p = h->forked ? NULL : take_one(h, class);
	if (p)
		cache_count(h, 1, 0, size);
	return p;
}

static void bin_give(struct fbuf_heap *h, struct heap_cache *c,
		     unsigned int class, void *p)
{
	struct heap_bin *bin = &c->bins[class];
	void **slots = c->slots + bin->start;
	unsigned int nr;

	if (!bin->max) {
		slab_give(h, class, &p, 1);
		return;
	}
	if (bin->nr == bin->max) {
		/* Those that were not used for longest. */
		nr = (bin->max + 1) / 2;
		slab_give(h, class, slots, nr);
		bin->nr -= nr;
		memmove(slots, slots + nr, bin->nr * sizeof(*slots));
	}
	slots[bin->nr++] = p;
}

void cache_give(struct fbuf_heap *h, unsigned int class, void *p)
{
	const size_t size = h->classes[class].size;
	struct heap_cache *c = cache_get(h);

	if (c) {
		bin_give(h, c, class, p);
		count(&c->counts.frees, 1);
		count(&c->counts.used, -size);
		cache_leave(c);
		return;
	}
	if (h->forked)
		return;
	slab_give(h, class, &p, 1);
	cache_count(h, 0, 1, -size);
}

/* A cache that is in use stays as it is: its thread is not short of memory. */
void cache_shrink(struct fbuf_heap *h)
{
	struct heap_cache *c;

	pthread_mutex_lock(&h->caches_lock);
	for (c = h->caches; c; c = c->next) {
		if (!cache_enter(c))
			continue;
		cache_empty(h, c);
		cache_leave(c);
	}
	pthread_mutex_unlock(&h->caches_lock);
}

void cache_count(struct fbuf_heap *h, unsigned int allocs, unsigned int frees,
		 size_t used)
{
	const struct heap_counts n = { allocs, frees, used };
	struct heap_cache *c = pthread_getspecific(h->key);

	if (!c || !cache_enter(c)) {
		count_gone(h, &n);
		return;
	}
	count(&c->counts.allocs, n.allocs);
	count(&c->counts.frees, n.frees);
	count(&c->counts.used, n.used);
	cache_leave(c);
}

void cache_counts(struct fbuf_heap *h, struct heap_counts *sum,
		  uint64_t *cached)
{
	struct heap_cache *c;
	unsigned int i;

	*cached = 0;
	pthread_mutex_lock(&h->caches_lock);
	sum->allocs = __atomic_load_n(&h->gone.allocs, __ATOMIC_RELAXED);
	sum->frees = __atomic_load_n(&h->gone.frees, __ATOMIC_RELAXED);
	sum->used = __atomic_load_n(&h->gone.used, __ATOMIC_RELAXED);
	for (c = h->caches; c; c = c->next) {
		sum->allocs += __atomic_load_n(&c->counts.allocs,
					       __ATOMIC_RELAXED);
		sum->frees += __atomic_load_n(&c->counts.frees,
					      __ATOMIC_RELAXED);
		sum->used += __atomic_load_n(&c->counts.used,
					     __ATOMIC_RELAXED);
		/* Of who is just at it, nothing is told. */
		if (!cache_enter(c))
			continue;
		for (i = 0; i < NR_CLASSES; i++)
			*cached += c->bins[i].nr * (uint64_t)h->classes[i].size;
		cache_leave(c);
	}
	pthread_mutex_unlock(&h->caches_lock);
}
