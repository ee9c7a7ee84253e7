// SPDX-License-Identifier: LGPL-2.1-or-later
/* A heap on a pool. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"

/* Bytes of the structure as it was first. */
#define STATS_MIN	(offsetof(struct fbuf_heap_stats, looks) + 8)

static __attribute__((__noreturn__, __cold__)) void die(const char *text)
{
	if (write(STDERR_FILENO, text, strlen(text)) < 0)
		abort();
	abort();
}

static __attribute__((__noreturn__, __cold__)) void die_freed(void)
{
	die("fbuf: freed or resized what is not in use of this heap: fbuf_heap(3)\n");
}

static size_t sent_words(const struct fbuf_heap *h)
{
	return h->size / RUNS_PAGE / (8 * sizeof(h->sent[0])) + 1;
}

/* What is known of pages, in one mapping: it exists where it is used. */
static size_t pages_size(const struct fbuf_heap *h)
{
	size_t nr = h->size / RUNS_PAGE;

	return nr * (sizeof(h->slabs[0]) + sizeof(h->next_waiting[0])) +
	       sent_words(h) * sizeof(h->sent[0]);
}

static int pages_init(struct fbuf_heap *h)
{
	size_t nr = h->size / RUNS_PAGE;
	char *map;

	h->runs = runs_new(h->base, h->size);
	if (!h->runs)
		return -ENOMEM;
	map = mmap(NULL, pages_size(h), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED) {
		runs_destroy(h->runs);
		return -ENOMEM;
	}
	h->slabs = (struct slab **)map;
	map += nr * sizeof(h->slabs[0]);
	h->sent = (unsigned long *)map;
	map += sent_words(h) * sizeof(h->sent[0]);
	h->next_waiting = (uint32_t *)map;
	return 0;
}

static void pages_fini(struct fbuf_heap *h)
{
	munmap(h->slabs, pages_size(h));
	runs_destroy(h->runs);
}

static void names_free(const struct fbuf_heap *h, unsigned int nr)
{
	unsigned int i, n;

	for (i = 0; i < nr; i += n) {
		n = nr - i < FBUF_BATCH_MAX ? nr - i : FBUF_BATCH_MAX;
		fbuf_free(h->pool, h->names + i, n);
	}
}

/* All buffers of the pool, or none. */
static int names_alloc(struct fbuf_heap *h)
{
	unsigned int nr = h->pool->nr_bufs, i, n;
	uint64_t *names = h->names;
	int ret;

	for (i = 0; i < nr; i += n) {
		n = nr - i < FBUF_BATCH_MAX ? nr - i : FBUF_BATCH_MAX;
		ret = fbuf_alloc_flags(h->pool, names + i, n, FBUF_ALLOC_ALL,
				       0);
		if (ret != (int)n) {
			names_free(h, i);
			return ret < 0 ? ret : -EPROTO;
		}
	}
	return 0;
}

/* In the order of the buffers; they came in any. */
static int names_sort(struct fbuf_heap *h)
{
	unsigned int nr = h->pool->nr_bufs, i;
	uint64_t *names = calloc(nr, sizeof(*names));

	if (!names)
		return -ENOMEM;
	for (i = 0; i < nr; i++)
		names[FBUF_NAME_INDEX(h->names[i]) % nr] = h->names[i];
	free(h->names);
	h->names = names;
	return 0;
}

static int names_init(struct fbuf_heap *h)
{
	int ret;

	h->names = calloc(h->pool->nr_bufs, sizeof(*h->names));
	if (!h->names)
		return -ENOMEM;
	ret = names_alloc(h);
	if (ret < 0) {
		free(h->names);
		return ret;
	}
	ret = names_sort(h);
	if (ret < 0) {
		names_free(h, h->pool->nr_bufs);
		free(h->names);
	}
	return ret;
}

/* A child has the parent's handle: what it freed would be the parent's. */
static void names_fini(struct fbuf_heap *h)
{
	if (!h->forked)
		names_free(h, h->pool->nr_bufs);
	free(h->names);
}

/* Whether what was sent is still read from the memory that it was in. */
static int heap_waits(const struct fbuf_heap *h, unsigned int flags)
{
	struct fbuf_info info;
	int ret;

	if (flags & FBUF_HEAP_IDLE)
		return true;
	ret = fbuf_pool_info(h->pool, &info);
	if (ret < 0)
		return ret;
	return !(info.pool_flags & FBUF_POOL_SNAPSHOT);
}

static int heap_init(struct fbuf_heap *h, struct fbuf_pool *pool,
		     unsigned int flags)
{
	int ret;

	h->pool = pool;
	h->base = pool->map;
	h->size = pool->size;
	h->waiting = PAGE_NONE;
	h->look_at = 65536;
	ret = heap_waits(h, flags);
	if (ret < 0)
		return ret;
	h->waits = ret;
	ret = names_init(h);
	if (ret < 0)
		return ret;
	ret = pages_init(h);
	if (ret < 0)
		goto no_pages;
	slab_classes_init(h);
	pthread_mutex_init(&h->runs_lock, NULL);
	pthread_mutex_init(&h->look.lock, NULL);
	ret = cache_heap_init(h);
	if (ret < 0)
		goto no_cache;
	return 0;

no_cache:
	pthread_mutex_destroy(&h->look.lock);
	pthread_mutex_destroy(&h->runs_lock);
	slab_classes_fini(h);
	pages_fini(h);
no_pages:
	names_fini(h);
	return ret;
}

int fbuf_heap_create(struct fbuf_heap **heap, struct fbuf_pool *pool,
		     unsigned int flags)
{
	const unsigned int rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE;
	int saved = errno, ret;
	struct fbuf_heap *h;

	if (flags & ~FBUF_HEAP_IDLE)
		return -EINVAL;
	if ((pool->rights & rights) != rights)
		return -EACCES;
	/* Of a cache line each, the classes are. */
	h = aligned_alloc(64, (sizeof(*h) + 63) / 64 * 64);
	if (!h) {
		errno = saved;
		return -ENOMEM;
	}
	memset(h, 0, sizeof(*h));
	ret = heap_init(h, pool, flags);
	if (ret < 0)
		free(h);
	else
		*heap = h;
	errno = saved;
	return ret;
}

void fbuf_heap_destroy(struct fbuf_heap *heap)
{
	int saved = errno;

	if (!heap)
		return;
	cache_heap_fini(heap);
	slab_classes_fini(heap);
	pthread_mutex_destroy(&heap->look.lock);
	pthread_mutex_destroy(&heap->runs_lock);
	pages_fini(heap);
	names_fini(heap);
	free(heap);
	errno = saved;
}

struct fbuf_pool *fbuf_heap_pool(const struct fbuf_heap *heap)
{
	return heap->pool;
}

/* A slot is in use from now on. */
static void *slot_use(struct fbuf_heap *h, void *p)
{
	struct slab *slab = heap_slab(h, heap_page(h, p));

	__atomic_store_n(&slab->state[slab_slot(slab, p)], SLOT_LIVE,
			 __ATOMIC_RELAXED);
	return p;
}

static void *run_take(struct fbuf_heap *h, size_t size, size_t align)
{
	bool zeroed;
	char *p;

	pthread_mutex_lock(&h->runs_lock);
	p = runs_take(h->runs, size, align, &zeroed);
	pthread_mutex_unlock(&h->runs_lock);
	if (!p)
		return NULL;
	__atomic_store_n(&h->slabs[heap_page(h, p)], PAGE_LARGE,
			 __ATOMIC_RELEASE);
	cache_count(h, 1, 0, runs_size(h->runs, p));
	return p;
}

/*
 * There is no memory of the right kind. One after the other: what was in flight;
 * what threads have at hand, and slabs without objects. False if all was tried.
 */
static bool reclaim(struct fbuf_heap *h, unsigned int *tried)
{
	if (*tried == 0) {
		*tried = 1;
		if (idle_look(h))
			return true;
	}
	if (*tried == 1) {
		*tried = 2;
		cache_shrink(h);
		slab_shrink(h);
		return true;
	}
	return false;
}

/* The slot of a larger class; in the end a page, if there is one. */
static void *small_anywhere(struct fbuf_heap *h, unsigned int class,
			    size_t align)
{
	void *p;

	while (++class < NR_CLASSES) {
		size_t size = h->classes[class].size;

		if (size % align || !slab_take_ready(h, class, &p, 1))
			continue;
		cache_count(h, 1, 0, size);
		return slot_use(h, p);
	}
	return NULL;
}

static void *small_alloc(struct fbuf_heap *h, unsigned int class, size_t align)
{
	unsigned int tried = 0;
	void *p;

	do {
		p = cache_take(h, class);
		if (p)
			return slot_use(h, p);
		if (h->forked)
			return NULL;
	} while (reclaim(h, &tried));
	p = run_take(h, h->classes[class].size, align);
	return p ? p : small_anywhere(h, class, align);
}

static void *large_alloc(struct fbuf_heap *h, size_t size, size_t align)
{
	unsigned int tried = 0;
	void *p;

	if (h->forked || size > h->size)
		return NULL;
	idle_look_maybe(h);
	do {
		p = run_take(h, size, align);
		if (p)
			return p;
	} while (reclaim(h, &tried));
	return NULL;
}

/* The least class of such a size that is on the boundary everywhere. */
static unsigned int aligned_class(const struct fbuf_heap *h, size_t size,
				  size_t align)
{
	unsigned int class = heap_class_of(size);

	while (class < NR_CLASSES && h->classes[class].size % align)
		class++;
	return class;
}

static void *heap_alloc(struct fbuf_heap *h, size_t size, size_t align)
{
	unsigned int class = NR_CLASSES;
	int saved = errno;
	void *p;

	if (size <= SMALL_MAX) {
		if (align <= HEAP_ALIGN)
			class = heap_class_of(size);
		else if (align <= RUNS_PAGE)
			class = aligned_class(h, size, align);
	}
	if (class < NR_CLASSES)
		p = small_alloc(h, class, align);
	else
		p = large_alloc(h, size, align);
	if (!p)
		__atomic_fetch_add(&h->failed, 1, __ATOMIC_RELAXED);
	errno = saved;
	return p;
}

void *fbuf_heap_alloc(struct fbuf_heap *heap, size_t size)
{
	return heap_alloc(heap, size, HEAP_ALIGN);
}

void *fbuf_heap_alloc_aligned(struct fbuf_heap *heap, size_t align,
			      size_t size)
{
	if (!align || align & (align - 1))
		return NULL;
	return heap_alloc(heap, size, align < HEAP_ALIGN ? HEAP_ALIGN : align);
}

void *fbuf_heap_calloc(struct fbuf_heap *heap, size_t nr, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(nr, size, &bytes))
		return NULL;
	p = heap_alloc(heap, bytes, HEAP_ALIGN);
	return p ? memset(p, 0, bytes) : NULL;
}

static bool slot_begins(const struct slab *slab, const void *p,
			unsigned int slot)
{
	return slot < slab->nr && slab_at(slab, slot) == p;
}

static void slot_free(struct fbuf_heap *h, struct slab *slab, void *p)
{
	unsigned int slot = slab_slot(slab, p);
	uint8_t state;

	if (!slot_begins(slab, p, slot))
		die_freed();
	/* Of two threads that free it, one finds that the other has. */
	state = __atomic_exchange_n(&slab->state[slot], 0, __ATOMIC_ACQ_REL);
	if (!(state & SLOT_LIVE))
		die_freed();
	if (!(state & SLOT_SENT)) {
		cache_give(h, slab->class, p);
	} else if (!h->forked) {
		cache_count(h, 0, 1, -(size_t)slab->size);
		idle_wait_slot(h, slab, slot);
	}
}

static void run_free(struct fbuf_heap *h, void *p)
{
	size_t page = heap_page(h, p), size = runs_size(h->runs, p);
	struct slab *is = PAGE_LARGE, *to = NULL;
	bool waits;

	if (!size || (uintptr_t)p % RUNS_PAGE)
		die_freed();
	waits = h->waits && idle_marked(h, p, size);
	if (waits)
		to = PAGE_WAITS;
	if (!__atomic_compare_exchange_n(&h->slabs[page], &is, to, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		die_freed();
	if (h->forked)
		return;
	cache_count(h, 0, 1, -size);
	if (waits) {
		idle_wait_run(h, p, size);
		return;
	}
	pthread_mutex_lock(&h->runs_lock);
	runs_give(h->runs, p);
	pthread_mutex_unlock(&h->runs_lock);
}

void fbuf_heap_free(struct fbuf_heap *heap, void *ptr)
{
	int saved = errno;
	struct slab *slab;

	if (!ptr)
		return;
	if (!heap_has(heap, ptr))
		die_freed();
	slab = heap_slab(heap, heap_page(heap, ptr));
	if (slab_is_one(slab))
		slot_free(heap, slab, ptr);
	else
		run_free(heap, ptr);
	errno = saved;
}

/* 0 if nothing that is in use begins there. */
static size_t usable_size(const struct fbuf_heap *h, const void *p)
{
	struct slab *slab;
	unsigned int slot;

	if (!heap_has(h, p))
		return 0;
	slab = heap_slab(h, heap_page(h, p));
	if (slab == PAGE_LARGE)
		return runs_size(h->runs, p);
	if (!slab_is_one(slab))
		return 0;
	slot = slab_slot(slab, p);
	if (!slot_begins(slab, p, slot) ||
	    !(__atomic_load_n(&slab->state[slot], __ATOMIC_RELAXED) &
	      SLOT_LIVE))
		return 0;
	return slab->size;
}

size_t fbuf_heap_usable_size(const struct fbuf_heap *heap, const void *ptr)
{
	return usable_size(heap, ptr);
}

/* A run of which the end was sent cannot give it away yet, and stays. */
static bool run_resize(struct fbuf_heap *h, char *p, size_t have, size_t size)
{
	size_t now;
	bool done;

	if (size < have && h->waits && idle_marked(h, p + size, have - size))
		return true;
	pthread_mutex_lock(&h->runs_lock);
	done = runs_resize(h->runs, p, size);
	now = runs_size(h->runs, p);
	pthread_mutex_unlock(&h->runs_lock);
	cache_count(h, 0, 0, now - have);
	return done;
}

/* Whether an object may stay where it is. */
static bool resize(struct fbuf_heap *h, void *p, size_t have, size_t size)
{
	bool large = heap_slab(h, heap_page(h, p)) == PAGE_LARGE;

	if (h->forked)
		return false;
	if (large && size > SMALL_MAX)
		return run_resize(h, p, have, size);
	return size <= have && (size >= have / 2 || have <= 64);
}

void *fbuf_heap_realloc(struct fbuf_heap *heap, void *ptr, size_t size)
{
	int saved = errno;
	size_t have;
	bool stays;
	void *p;

	if (!ptr)
		return fbuf_heap_alloc(heap, size);
	have = usable_size(heap, ptr);
	if (!have)
		die_freed();
	stays = resize(heap, ptr, have, size);
	errno = saved;
	if (stays)
		return ptr;
	p = fbuf_heap_alloc(heap, size);
	/* It can always become shorter. */
	if (!p)
		return size <= have ? ptr : NULL;
	memcpy(p, ptr, size < have ? size : have);
	fbuf_heap_free(heap, ptr);
	return p;
}

/*
 * Note that the kernel may be told of these bytes; false if they are none. What a
 * child sends, the parent does not know of when it frees that.
 */
static bool mark(struct fbuf_heap *h, const char *p, size_t len)
{
	struct slab *slab;
	unsigned int slot;
	uint8_t *state;

	if ((h->forked && h->waits) || !len || !heap_has(h, p) || len > h->size - (p - h->base))
		return false;
	slab = heap_slab(h, heap_page(h, p));
	if (!slab_is_one(slab)) {
		if (slab == PAGE_WAITS ||
		    slab_is_one(heap_slab(h, heap_page(h, p + len - 1))))
			return false;
		if (h->waits)
			idle_mark(h, p, len);
		return true;
	}
	slot = slab_slot(slab, p);
	if (slot >= slab->nr ||
	    p + len > (char *)slab_at(slab, slot) + slab->size)
		return false;
	state = &slab->state[slot];
	if (!(__atomic_load_n(state, __ATOMIC_RELAXED) & SLOT_LIVE))
		return false;
	if (h->waits)
		__atomic_fetch_or(state, SLOT_SENT, __ATOMIC_RELAXED);
	return true;
}

/* The buffer of a byte; returns how many of len bytes are in it. */
static size_t place(const struct fbuf_heap *h, const char *p, size_t len,
		    uint64_t *name, size_t *offset)
{
	size_t at = p - h->base, buf = h->pool->buf_size;

	*name = h->names[at / buf];
	*offset = at & (buf - 1);
	return len < buf - *offset ? len : buf - *offset;
}

ssize_t fbuf_heap_ref(struct fbuf_heap *heap, const void *ptr, size_t len,
		      uint64_t *name, size_t *offset)
{
	if (!mark(heap, ptr, len))
		return -EINVAL;
	return place(heap, ptr, len, name, offset);
}

int fbuf_gather_append_mem(struct fbuf_gather *g, struct fbuf_heap *heap,
			   const void *ptr, size_t len)
{
	size_t old_len = g->len, offset, n;
	unsigned int old_nr = g->nr;
	struct fbuf_seg old_last = { 0 };
	const char *p = ptr;
	uint64_t name;
	int ret;

	if (!len)
		return 0;
	if (g->pool != heap->pool || !mark(heap, p, len))
		return -EINVAL;
	if (old_nr)
		old_last = g->segs[old_nr - 1];
	for (; len; p += n, len -= n) {
		n = place(heap, p, len, &name, &offset);
		ret = fbuf_gather_append(g, name, offset, n);
		if (ret < 0) {
			g->len = old_len;
			g->nr = old_nr;
			if (old_nr)
				g->segs[old_nr - 1] = old_last;
			return ret;
		}
	}
	return 0;
}

int fbuf_heap_wait(struct fbuf_heap *heap, int timeout_ms)
{
	long long end = lib_now_ms() + timeout_ms;
	int saved = errno, left = timeout_ms, ret;
	uint64_t *names;
	unsigned int nr;
	bool waits;

	if (heap->forked)
		return 0;
	names = malloc(FBUF_BATCH_MAX * sizeof(*names));
	if (!names) {
		errno = saved;
		return -ENOMEM;
	}
	for (;;) {
		/* Another thread may take what is found: it was there. */
		ret = idle_look(heap) != 0;
		if (ret)
			break;
		nr = idle_names(heap, names, FBUF_BATCH_MAX, &waits);
		if (!waits)
			break;
		if (!nr)
			continue;
		__atomic_fetch_add(&heap->nr_looks, 1, __ATOMIC_RELAXED);
		ret = fbuf_wait(heap->pool, names, nr, FBUF_WAIT_ANY, left);
		if (ret < 0)
			break;
		if (timeout_ms > 0) {
			left = end - lib_now_ms();
			if (left < 0)
				left = 0;
		}
	}
	free(names);
	errno = saved;
	return ret;
}

int fbuf_heap_stats_sized(struct fbuf_heap *heap,
			  struct fbuf_heap_stats *stats, size_t size)
{
	struct fbuf_heap_stats s = { .size = heap->size };
	struct heap_counts sum;

	if (size < STATS_MIN || heap->forked)
		return -EINVAL;
	cache_counts(heap, &sum, &s.cached);
	s.used = sum.used;
	s.allocs = sum.allocs;
	s.frees = sum.frees;
	s.waiting = __atomic_load_n(&heap->bytes_waiting, __ATOMIC_RELAXED);
	s.failed = __atomic_load_n(&heap->failed, __ATOMIC_RELAXED);
	s.looks = __atomic_load_n(&heap->nr_looks, __ATOMIC_RELAXED);
	pthread_mutex_lock(&heap->runs_lock);
	s.largest = runs_largest(heap->runs);
	pthread_mutex_unlock(&heap->runs_lock);
	memset((void *)stats, 0, size);
	memcpy(stats, &s, size < sizeof(s) ? size : sizeof(s));
	return 0;
}
