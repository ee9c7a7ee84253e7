// SPDX-License-Identifier: LGPL-2.1-or-later
/* A heap on a pool. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap.h"

/* Bytes of the structures as they were first. */
#define STATS_MIN	(offsetof(struct fbuf_heap_stats, looks) + 8)
#define OPTIONS_MIN	(offsetof(struct fbuf_heap_options, keep) +	\
			 sizeof(size_t))

/* Of a buffer, where nobody says it. */
#define BUF_SIZE	65536U

void (*heap_gone)(struct fbuf_heap *heap);

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

	return nr * (sizeof(h->pages[0]) + sizeof(h->next_waiting[0])) +
	       sent_words(h) * sizeof(h->sent[0]);
}

static int pages_init(struct fbuf_heap *h)
{
	size_t nr = h->size / RUNS_PAGE;
	char *map;

	map = mmap(NULL, pages_size(h), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	h->pages = (uintptr_t *)map;
	map += nr * sizeof(h->pages[0]);
	h->sent = (unsigned long *)map;
	map += sent_words(h) * sizeof(h->sent[0]);
	h->next_waiting = (uint32_t *)map;
	return 0;
}

static void pages_fini(struct fbuf_heap *h)
{
	munmap(h->pages, pages_size(h));
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

/* What the pool says of it. */
static int heap_kind(struct fbuf_heap *h, unsigned int flags, bool *lazy,
		     bool *drops)
{
	struct fbuf_info info;
	int ret = fbuf_pool_info(h->pool, &info);

	if (ret < 0)
		return ret;
	/* Of a snapshot, what was sent is not read from the memory it was in. */
	h->waits = flags & FBUF_HEAP_IDLE ||
		   !(info.pool_flags & FBUF_POOL_SNAPSHOT);
	*lazy = info.pool_flags & FBUF_POOL_LAZY;
	*drops = *lazy && info.features & FBUF_FEATURE_DROP;
	return 0;
}

static int heap_init(struct fbuf_heap *h, const struct fbuf_heap_options *opt)
{
	bool lazy, drops;
	int ret;

	h->base = h->pool->map;
	h->size = h->pool->size;
	h->waiting = PAGE_NONE;
	h->look_at = 65536;
	ret = heap_kind(h, opt->flags, &lazy, &drops);
	if (ret < 0)
		return ret;
	ret = names_init(h);
	if (ret < 0)
		return ret;
	ret = pages_init(h);
	if (ret < 0)
		goto no_pages;
	ret = heap_runs_init(h, lazy);
	if (ret < 0)
		goto no_runs;
	if (drops)
		ret = trim_init(h, opt->keep);
	if (ret < 0)
		goto no_trim;
	slab_classes_init(h);
	pthread_mutex_init(&h->look.lock, NULL);
	ret = cache_heap_init(h);
	if (ret < 0)
		goto no_cache;
	return 0;

no_cache:
	pthread_mutex_destroy(&h->look.lock);
	slab_classes_fini(h);
	trim_fini(h);
no_trim:
	heap_runs_fini(h);
no_runs:
	pages_fini(h);
no_pages:
	names_fini(h);
	return ret;
}

/* The pool that is given, or one that has memory as the heap needs it. */
static int heap_pool(struct fbuf_heap *h, const struct fbuf_heap_options *opt)
{
	struct fbuf_pool_options pool = FBUF_POOL_OPTIONS_INIT;
	size_t nr;

	h->pool = opt->pool;
	if (h->pool)
		return opt->limit || opt->buf_size || opt->pool_flags ?
		       -EINVAL : 0;
	pool.buf_size = opt->buf_size ? opt->buf_size : BUF_SIZE;
	nr = opt->limit / pool.buf_size + !!(opt->limit % pool.buf_size);
	pool.nr_bufs = nr;
	if (!nr || pool.nr_bufs != nr)
		return -EINVAL;
	pool.flags = opt->pool_flags | FBUF_POOL_LAZY;
	h->own_pool = true;
	return fbuf_pool_create_with(&h->pool, &pool);
}

static int heap_make(struct fbuf_heap *h, const struct fbuf_heap_options *opt)
{
	const unsigned int rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE;
	int ret;

	ret = heap_pool(h, opt);
	if (ret < 0)
		return ret;
	ret = (h->pool->rights & rights) == rights ? heap_init(h, opt) :
						     -EACCES;
	if (ret < 0 && h->own_pool)
		fbuf_pool_close(h->pool);
	return ret;
}

static int options_get(struct fbuf_heap_options *opt, const void *from,
		       size_t size)
{
	int ret = lib_options_get(opt, sizeof(*opt), from, size, OPTIONS_MIN);

	return ret < 0 ? ret : opt->flags & ~FBUF_HEAP_IDLE ? -EINVAL : 0;
}

int fbuf_heap_create_sized(struct fbuf_heap **heap,
			   const struct fbuf_heap_options *options, size_t size)
{
	struct fbuf_heap_options opt;
	int saved = errno, ret;
	struct fbuf_heap *h;

	ret = options_get(&opt, options, size);
	if (ret < 0)
		return ret;
	/* Of a cache line each, the classes are. */
	h = aligned_alloc(64, (sizeof(*h) + 63) / 64 * 64);
	if (!h) {
		errno = saved;
		return -ENOMEM;
	}
	memset(h, 0, sizeof(*h));
	ret = heap_make(h, &opt);
	if (ret < 0)
		free(h);
	else
		*heap = h;
	errno = saved;
	return ret;
}

int fbuf_heap_create(struct fbuf_heap **heap, struct fbuf_pool *pool,
		     unsigned int flags)
{
	const struct fbuf_heap_options opt = { .pool = pool, .flags = flags };

	return pool ? fbuf_heap_create_with(heap, &opt) : -EINVAL;
}

void fbuf_heap_destroy(struct fbuf_heap *heap)
{
	int saved = errno;

	if (!heap)
		return;
	if (heap_gone)
		heap_gone(heap);
	cache_heap_fini(heap);
	slab_classes_fini(heap);
	pthread_mutex_destroy(&heap->look.lock);
	trim_fini(heap);
	heap_runs_fini(heap);
	pages_fini(heap);
	names_fini(heap);
	if (heap->own_pool)
		fbuf_pool_close(heap->pool);
	free(heap);
	errno = saved;
}

struct fbuf_pool *fbuf_heap_pool(const struct fbuf_heap *heap)
{
	return heap->pool;
}

/* A slot is in use from now on. */
static inline void *slot_use(struct fbuf_heap *h, void *p)
{
	struct slab *slab = heap_slab(h, p);

	__atomic_store_n(&slab->state[slab_slot(slab, p)], SLOT_LIVE,
			 __ATOMIC_RELAXED);
	return p;
}

/* The same of a run. */
static inline void *run_use(struct fbuf_heap *h, void *p, size_t pages)
{
	__atomic_store_n(&h->pages[heap_page(h, p)],
			 page_run(PAGE_LARGE, pages), __ATOMIC_RELEASE);
	return p;
}

static void *run_take(struct fbuf_heap *h, size_t size, size_t align)
{
	size_t have;
	void *p;

	p = heap_run_take(h, size, align, &have);
	if (!p)
		return NULL;
	cache_count(h, 1, 0, have);
	return run_use(h, p, have / RUNS_PAGE);
}

/* One at hand, if runs of that size may be. */
static void *run_take_cached(struct fbuf_heap *h, size_t size)
{
	size_t pages = heap_pages(size);
	void *p;

	if (pages < RUN_MIN || pages > RUN_MAX)
		return NULL;
	p = cache_take_run(h, pages);
	return p ? run_use(h, p, pages) : NULL;
}

/*
 * There is no memory of the right kind. One after the other: what was in flight;
 * what threads have at hand, slabs without objects, and what is just giving its
 * memory back. False if all was tried.
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
		trim_wait(h);
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
	p = align <= RUNS_PAGE ? run_take_cached(h, size) : NULL;
	if (p)
		return p;
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
	trim_maybe(h);
	errno = saved;
	return p;
}

/* Only if it is at hand: no lock, no call, and errno stays. */
static inline void *quick_alloc(struct fbuf_heap *h, unsigned int bin)
{
	struct heap_cache *c = cache_at_hand(h);
	void *p;
	bool had;

	if (!c)
		return NULL;
	had = bin_pop(cache_bin(c, bin), &p);
	cache_leave(c);
	return had ? p : NULL;
}

void *fbuf_heap_alloc(struct fbuf_heap *heap, size_t size)
{
	size_t pages;
	void *p;

	if (size <= SMALL_MAX) {
		p = quick_alloc(heap, heap_class_of(size));
		if (p)
			return slot_use(heap, p);
	} else if (size <= RUN_MAX * RUNS_PAGE) {
		pages = heap_pages(size);
		p = quick_alloc(heap, heap_bin_of(pages));
		if (p)
			return run_use(heap, p, pages);
	}
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

/* To have it at hand; false where that is not so simple. */
static inline bool quick_free(struct fbuf_heap *h, unsigned int bin, void *p)
{
	struct heap_cache *c = cache_at_hand(h);
	bool done;

	if (!c)
		return false;
	done = bin_push(cache_bin(c, bin), p);
	cache_leave(c);
	return done;
}

/* What else there is to do of a slot that is not in use any more. */
static __attribute__((__noinline__)) void
slot_freed(struct fbuf_heap *h, struct slab *slab, unsigned int slot, bool sent)
{
	int saved = errno;

	if (!sent) {
		cache_give(h, slab->class, slab_at(slab, slot));
	} else if (!h->forked) {
		cache_count(h, 0, 1, -(size_t)slab->size);
		idle_wait_slot(h, slab, slot);
	}
	trim_maybe(h);
	errno = saved;
}

static inline void slot_free(struct fbuf_heap *h, struct slab *slab, void *p)
{
	unsigned int slot = slab_slot(slab, p);
	uint8_t state;

	if (!slab_begins(slab, p))
		die_freed();
	/* Of two threads that free it, one finds that the other has. */
	state = __atomic_exchange_n(&slab->state[slot], 0, __ATOMIC_ACQ_REL);
	if (!(state & SLOT_LIVE))
		die_freed();
	if (state & SLOT_SENT || !quick_free(h, slab->class, p))
		slot_freed(h, slab, slot, state & SLOT_SENT);
}

static __attribute__((__noinline__)) void
run_freed(struct fbuf_heap *h, void *p, size_t pages, bool waits)
{
	int saved = errno;

	if (h->forked)
		return;
	if (!waits) {
		cache_give_run(h, pages, p);
	} else {
		cache_count(h, 0, 1, -(pages * RUNS_PAGE));
		idle_wait_run(h, p, pages * RUNS_PAGE);
	}
	trim_maybe(h);
	errno = saved;
}

/* False if somebody else did so before. */
static inline bool run_becomes(struct fbuf_heap *h, size_t page, uintptr_t is,
			       uintptr_t to)
{
	return __atomic_compare_exchange_n(&h->pages[page], &is, to, false,
					   __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static __attribute__((__noinline__)) void
large_free(struct fbuf_heap *h, void *p, size_t page, uintptr_t is)
{
	size_t size = page_run_pages(is) * RUNS_PAGE;
	bool waits = h->waits && idle_marked(h, p, size);
	uintptr_t to = waits ? page_run(PAGE_WAITS, size / RUNS_PAGE) : 0;

	if (!run_becomes(h, page, is, to))
		die_freed();
	run_freed(h, p, size / RUNS_PAGE, waits);
}

static inline void run_free(struct fbuf_heap *h, void *p, size_t page,
			    uintptr_t is)
{
	size_t pages = page_run_pages(is);

	if (!page_is_large(is) || (uintptr_t)p % RUNS_PAGE)
		die_freed();
	/* Where nothing waits nothing is marked. */
	if (pages - RUN_MIN > RUN_MAX - RUN_MIN ||
	    idle_marked_run(h, page, pages)) {
		large_free(h, p, page, is);
		return;
	}
	if (!run_becomes(h, page, is, 0))
		die_freed();
	if (!quick_free(h, heap_bin_of(pages), p))
		run_freed(h, p, pages, false);
}

void fbuf_heap_free(struct fbuf_heap *heap, void *ptr)
{
	uintptr_t is;
	size_t page;

	if (!ptr)
		return;
	if (!heap_has(heap, ptr))
		die_freed();
	page = heap_page(heap, ptr);
	is = heap_page_is(heap, page);
	if (is & PAGE_LARGE)
		run_free(heap, ptr, page, is);
	else if (is)
		slot_free(heap, (struct slab *)is, ptr);
	else
		die_freed();
}

/* 0 if nothing that is in use begins there. */
static size_t usable_size(const struct fbuf_heap *h, const void *p)
{
	struct slab *slab;
	unsigned int slot;
	uintptr_t is;

	if (!heap_has(h, p))
		return 0;
	is = heap_page_is(h, heap_page(h, p));
	if (page_is_large(is))
		return (uintptr_t)p % RUNS_PAGE ? 0 : page_run_pages(is) * RUNS_PAGE;
	if (!page_is_slab(is))
		return 0;
	slab = (struct slab *)is;
	slot = slab_slot(slab, p);
	if (!slab_begins(slab, p) ||
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
	now = heap_run_resize(h, p, size, &done);
	run_use(h, p, now / RUNS_PAGE);
	cache_count(h, 0, 0, now - have);
	return done;
}

/* Whether an object may stay where it is. */
static bool resize(struct fbuf_heap *h, void *p, size_t have, size_t size)
{
	bool large = page_is_large(heap_page_is(h, heap_page(h, p)));

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
	uintptr_t is;

	if ((h->forked && h->waits) || !len || !heap_has(h, p) ||
	    len > h->size - (p - h->base))
		return false;
	is = heap_page_is(h, heap_page(h, p));
	if (!page_is_slab(is)) {
		uintptr_t last = heap_page_is(h, heap_page(h, p + len - 1));

		if ((is & PAGE_KIND) == PAGE_WAITS || page_is_slab(last))
			return false;
		if (h->waits)
			idle_mark(h, p, len);
		return true;
	}
	slab = (struct slab *)is;
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
	s.resident = __atomic_load_n(&heap->resident, __ATOMIC_RELAXED);
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
