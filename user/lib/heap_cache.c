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
/* Runs of so many pages; and bytes of all of them. */
#define CACHE_RUNS	16U
#define CACHE_RUN_BYTES	((size_t)1 << 20)
/* After so many for which there was no room, other sizes lose theirs. */
#define CACHE_RUN_OVER	32U

/* All heaps; no lock is taken inside but those of heaps. */
static pthread_mutex_t heaps_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t heaps_once = PTHREAD_ONCE_INIT;
static struct fbuf_heap *heaps;
static unsigned long last_id;

__thread struct heap_last heap_last[NR_LAST];

/* The first nr of a bin were taken out. */
static void bin_forget(struct heap_bin *bin, unsigned int nr)
{
	unsigned int left = bin->nr - nr;

	memmove(bin->slots, bin->slots + nr, left * sizeof(*bin->slots));
	__atomic_store_n(&bin->nr, left, __ATOMIC_RELAXED);
	cache_add(&bin->added, -(size_t)nr);
}

/* They need room again before they have any. */
static void cache_empty_runs(struct fbuf_heap *h, struct heap_cache *c)
{
	unsigned int i;

	for (i = NR_CLASSES; i < NR_BINS; i++) {
		struct heap_bin *bin = &c->bins[i];

		if (bin->nr) {
			heap_runs_give(h, bin->slots, bin->nr);
			bin_forget(bin, bin->nr);
		}
		bin->max = 0;
	}
	c->run_bytes = 0;
	c->run_over = 0;
}

/* The cache was entered. */
static void cache_empty(struct fbuf_heap *h, struct heap_cache *c)
{
	unsigned int class;

	for (class = 0; class < NR_CLASSES; class++) {
		struct heap_bin *bin = &c->bins[class];

		if (bin->nr) {
			slab_give(h, class, bin->slots, bin->nr);
			bin_forget(bin, bin->nr);
		}
	}
	cache_empty_runs(h, c);
}

static size_t bin_size(const struct fbuf_heap *h, unsigned int bin)
{
	if (bin < NR_CLASSES)
		return h->classes[bin].size;
	return (bin - NR_CLASSES + RUN_MIN) * RUNS_PAGE;
}

/* Adds to sum; of another thread's that is just at it, about. */
static void cache_sum(const struct fbuf_heap *h, const struct heap_cache *c,
		      struct heap_counts *sum)
{
	unsigned int i;

	sum->allocs += __atomic_load_n(&c->counts.allocs, __ATOMIC_RELAXED);
	sum->frees += __atomic_load_n(&c->counts.frees, __ATOMIC_RELAXED);
	sum->used += __atomic_load_n(&c->counts.used, __ATOMIC_RELAXED);
	for (i = 0; i < NR_BINS; i++) {
		const struct heap_bin *b = &c->bins[i];
		size_t taken = __atomic_load_n(&b->taken, __ATOMIC_RELAXED);
		size_t given = __atomic_load_n(&b->nr, __ATOMIC_RELAXED) +
			taken - __atomic_load_n(&b->added, __ATOMIC_RELAXED);

		sum->allocs += taken;
		sum->frees += given;
		sum->used += (taken - given) * bin_size(h, i);
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
	struct heap_counts sum = { 0 };
	struct heap_cache **link;
	struct fbuf_heap *h;

	for (h = heaps; h; h = h->next) {
		pthread_mutex_lock(&h->caches_lock);
		for (link = &h->caches; *link && *link != c;)
			link = &(*link)->next;
		/* Another thread's may be where this one's was. */
		if (*link && pthread_equal(c->owner, pthread_self())) {
			*link = c->next;
			cache_sum(h, c, &sum);
			count_gone(h, &sum);
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
	unsigned int i;

	for (i = 0; i < NR_LAST; i++)
		if (heap_last[i].cache == c)
			heap_last[i].id = 0;
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
	h->cache_room += (NR_BINS - NR_CLASSES) * CACHE_RUNS;
	h->cache_run_bytes = h->size / 64;
	if (h->cache_run_bytes > CACHE_RUN_BYTES)
		h->cache_run_bytes = CACHE_RUN_BYTES;
	pthread_once(&heaps_once, heaps_init);
	ret = pthread_key_create(&h->key, cache_end);
	if (ret)
		return -ret;
	pthread_mutex_init(&h->caches_lock, NULL);
	pthread_mutex_lock(&heaps_lock);
	h->id = ++last_id;
	h->next = heaps;
	heaps = h;
	heap_of_add(h);
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
	heap_of_del(h);
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
	struct heap_cache *c;
	unsigned int i;
	void **slots;

	if (h->forked)
		return NULL;
	c = calloc(1, sizeof(*c) + h->cache_room * sizeof(c->slots[0]));
	if (!c)
		return NULL;
	c->heap = h;
	c->owner = pthread_self();
	slots = c->slots;
	for (i = 0; i < NR_BINS; i++) {
		c->bins[i].slots = slots;
		if (i < NR_CLASSES)
			c->bins[i].max = h->cache_max[i];
		slots += i < NR_CLASSES ? h->cache_max[i] : CACHE_RUNS;
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
	struct heap_last *last = &heap_last[h->id % NR_LAST];

	if (last->id != h->id) {
		struct heap_cache *c = pthread_getspecific(h->key);

		if (!c)
			c = cache_new(h);
		if (!c)
			return NULL;
		last->cache = c;
		last->id = h->id;
	}
	return cache_enter(last->cache) ? last->cache : NULL;
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
	unsigned int nr;
	void *p;

	if (!bin->nr) {
		nr = take(h, class, bin->slots, (bin->max + 1) / 2);
		__atomic_store_n(&bin->nr, nr, __ATOMIC_RELAXED);
		cache_add(&bin->added, nr);
	}
	return bin_pop(bin, &p) ? p : NULL;
}

void *cache_take(struct fbuf_heap *h, unsigned int class)
{
	struct heap_cache *c = NULL;
	void *p;

	if (h->cache_max[class])
		c = cache_get(h);
	if (c) {
		p = bin_take(h, c, class);
		cache_leave(c);
		return p;
	}
	p = h->forked ? NULL : take_one(h, class);
	if (p)
		cache_count(h, 1, 0, h->classes[class].size);
	return p;
}

static void bin_give(struct fbuf_heap *h, struct heap_cache *c,
		     unsigned int class, void *p)
{
	struct heap_bin *bin = &c->bins[class];
	unsigned int nr = (bin->max + 1) / 2;

	if (bin_push(bin, p))
		return;
	/* Those that were not used for longest. */
	slab_give(h, class, bin->slots, nr);
	bin_forget(bin, nr);
	bin_push(bin, p);
}

void cache_give(struct fbuf_heap *h, unsigned int class, void *p)
{
	struct heap_cache *c = NULL;

	if (h->cache_max[class])
		c = cache_get(h);
	if (c) {
		bin_give(h, c, class, p);
		cache_leave(c);
		return;
	}
	if (h->forked)
		return;
	slab_give(h, class, &p, 1);
	cache_count(h, 0, 1, -(size_t)h->classes[class].size);
}

void *cache_take_run(struct fbuf_heap *h, size_t pages)
{
	struct heap_cache *c = cache_get(h);
	void *p = NULL;

	if (!c)
		return NULL;
	bin_pop(&c->bins[heap_bin_of(pages)], &p);
	cache_leave(c);
	return p;
}

/* Room for one more of so many pages. */
static bool run_bin_grow(const struct fbuf_heap *h, struct heap_cache *c,
			 struct heap_bin *bin, size_t pages)
{
	if (bin->max == CACHE_RUNS ||
	    c->run_bytes + pages * RUNS_PAGE > h->cache_run_bytes)
		return false;
	c->run_bytes += pages * RUNS_PAGE;
	bin->max++;
	return true;
}

/*
 * Who uses more at a time than there is room for keeps what fits. But other sizes
 * may have had it for long and be used no more.
 */
static bool run_give(struct fbuf_heap *h, struct heap_cache *c, size_t pages,
		     void *p)
{
	struct heap_bin *bin = &c->bins[heap_bin_of(pages)];

	if (bin_push(bin, p))
		return true;
	if (!run_bin_grow(h, c, bin, pages)) {
		if (bin->max && ++c->run_over < CACHE_RUN_OVER)
			return false;
		cache_empty_runs(h, c);
		run_bin_grow(h, c, bin, pages);
	}
	return bin_push(bin, p);
}

void cache_give_run(struct fbuf_heap *h, size_t pages, void *p)
{
	struct heap_cache *c = NULL;
	bool given;

	if (pages >= RUN_MIN && pages <= RUN_MAX)
		c = cache_get(h);
	if (c) {
		given = run_give(h, c, pages, p);
		cache_leave(c);
		if (given)
			return;
	}
	heap_runs_give(h, &p, 1);
	cache_count(h, 0, 1, -(pages * RUNS_PAGE));
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
	struct heap_cache *c = cache_at_hand(h);

	if (!c) {
		count_gone(h, &n);
		return;
	}
	cache_add(&c->counts.allocs, n.allocs);
	cache_add(&c->counts.frees, n.frees);
	cache_add(&c->counts.used, n.used);
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
		cache_sum(h, c, sum);
		for (i = 0; i < NR_BINS; i++)
			*cached += bin_size(h, i) *
				   __atomic_load_n(&c->bins[i].nr,
						   __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&h->caches_lock);
}
