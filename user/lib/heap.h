/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the heap share. Each calls only those before it:
 *
 * runs.c	the memory in runs of pages
 * heap_runs.c	the same with a lock; which buffers have memory
 * heap_slab.c	small objects: classes of sizes, in slabs, which are runs
 * heap_idle.c	what was freed in flight waits here
 * heap_of.c	which heap an address is in
 * heap_cache.c	what each thread has at hand of each class, and in runs
 * heap_trim.c	memory that is not in use is given back
 * heap.c	what the library offers
 *
 * Nothing about an object is kept in its memory, which packets may refer to and
 * which may be protected. Locks are held for a few dozen instructions, or as many
 * for each object of a batch, and never while the module is called.
 */
#ifndef FBUF_LIB_HEAP_H
#define FBUF_LIB_HEAP_H

#include <pthread.h>

#include <fbuf/heap.h>

#include "lib.h"
#include "runs.h"

#define HEAP_ALIGN	16U
/* Larger objects are runs. */
#define SMALL_MAX	32768U
/* A class for each 16 bytes up to 128, then 8 for each power of two. */
#define NR_CLASSES	72U

/* Runs of so many pages threads have at hand too. */
#define RUN_MIN		(SMALL_MAX / (unsigned int)RUNS_PAGE + 1)
#define RUN_MAX		64U
#define NR_BINS		(NR_CLASSES + RUN_MAX - RUN_MIN + 1)

/* Of an object in a slab: it is in use; the kernel may have been told of it. */
#define SLOT_LIVE	(1U << 0)
#define SLOT_SENT	(1U << 1)

#define SLOT_NONE	UINT16_MAX

/* A list of slots, linked by slab->link. */
struct slots {
	uint16_t first;
	uint16_t nr;
};

/*
 * Equal objects in a run. Each slot is in use, in a thread's cache, or in one of
 * the three lists, which the lock of the class protects.
 */
struct slab {
	char *base;
	uint32_t size;		/* of a slot */
	uint32_t inverse;	/* of that, times 2^32, rounded up */
	uint16_t nr;		/* slots */
	uint8_t class;
	bool waits;		/* in the class's list waiting, or looked at */
	bool ready;		/* in the class's list ready */
	struct slots free;
	struct slots waiting;	/* freed, maybe in flight */
	struct slots looked;	/* those of them that heap_idle.c looks at */
	struct slab *next;	/* in ready */
	struct slab *prev;
	struct slab *next_waiting;
	uint8_t *state;		/* SLOT_*, of each slot; atomic */
	uint16_t link[];
};

struct heap_class {
	pthread_mutex_t lock;
	uint32_t size;
	uint32_t inverse;
	uint32_t pages;		/* of a slab */
	uint32_t nr;		/* slots of a slab */
	struct slab *ready;	/* slabs that have free slots */
	struct slab *waiting;	/* slabs that have waiting ones: first, last */
	struct slab *waiting_last;
} __attribute__((__aligned__(64)));

/* Counters of a thread, or of all that are gone. */
struct heap_counts {
	size_t allocs;
	size_t frees;
	size_t used;		/* bytes; of one thread it may be less than 0 */
};

/*
 * What a thread has at hand of a class, or of runs of so many pages: slots[0] to
 * slots[nr - 1]. How many were given back to it follows from the rest.
 */
struct heap_bin {
	void **slots;
	uint32_t nr;		/* atomic, like those below */
	uint32_t max;		/* 0 for a run's until there is a use for it */
	size_t taken;		/* ever */
	size_t added;		/* from elsewhere, less those that went there */
};

struct heap_cache {
	/*
	 * Set while the bins are used: by the owner, or by who is out of memory and
	 * empties them. Nobody waits for that; the other one goes without.
	 */
	bool busy;
	struct fbuf_heap *heap;
	struct heap_cache *next;	/* of the heap, under its caches_lock */
	pthread_t owner;
	struct heap_counts counts;	/* of what came and went elsewhere */
	size_t run_bytes;	/* that there is room for in bins of runs */
	unsigned int run_over;	/* times that it was not enough */
	struct heap_bin bins[NR_BINS];
	void *slots[];
};

/*
 * What the page is that a run begins with, where it is not a slab's: an object, or
 * one that was freed in flight; and how many pages it has.
 */
#define PAGE_LARGE	1UL
#define PAGE_WAITS	3UL
#define PAGE_KIND	3UL

#define PAGE_NONE	UINT32_MAX

/* Things that heap_idle.c looks at, by one call: slabs and large objects. */
#define LOOK_ITEMS	256U

struct look_item {
	struct slab *slab;	/* or NULL: the run that begins at base */
	char *base;
	size_t size;
};

struct heap_look {
	pthread_mutex_t lock;	/* one thread looks at a time */
	struct look_item items[LOOK_ITEMS];
	bool idle[LOOK_ITEMS];
	uint64_t names[FBUF_BATCH_MAX];
	unsigned int part;	/* so many items are not asked for one by one */
	bool thorough;		/* all of them are */
};

struct heap_trim;

struct fbuf_heap {
	unsigned long id;	/* no other heap has or had it */
	struct fbuf_pool *pool;
	bool own_pool;		/* goes with the heap */
	char *base;
	size_t size;
	uint64_t *names;	/* of all buffers */
	bool waits;		/* freed memory waits until idle */
	bool forked;		/* a child has it, and cannot use it */
	pthread_key_t key;	/* a thread's cache */

	struct heap_class classes[NR_CLASSES];

	pthread_mutex_t runs_lock;
	struct runs *runs;
	/* Of a lazy pool, a bit for each buffer that may have memory; else NULL. */
	unsigned long *touched;
	size_t resident;	/* bytes of those; atomic, like the next one */
	size_t spare;		/* of them, bytes that are in no run in use */
	struct heap_trim *trim;	/* or NULL: memory cannot be given back */
	uint32_t waiting;	/* large objects, by their first pages */
	uint32_t waiting_last;

	/* For each page; what is said of it in heap_idle.c. */
	uintptr_t *pages;	/* its slab, or PAGE_*, or 0; atomic */
	uint32_t *next_waiting;
	unsigned long *sent;	/* a bit for each; atomic */

	struct heap_look look;
	size_t bytes_waiting;	/* atomic, like those below */
	size_t look_at;		/* so many are worth a look */
	size_t nr_looks;
	size_t failed;

	pthread_mutex_t caches_lock;
	struct heap_cache *caches;
	struct heap_counts gone;	/* of threads without a cache; atomic */
	unsigned int cache_room;	/* slots of a cache */
	uint16_t cache_max[NR_CLASSES];
	size_t cache_run_bytes;		/* of a cache, in runs */

	struct fbuf_heap *next;	/* of all */
};

static inline unsigned int heap_class_of(size_t size)
{
	unsigned int log;

	if (size <= 128)
		return size ? (size - 1) / 16 : 0;
	size--;
	log = (8 * sizeof(long) - 1) ^ __builtin_clzl(size);
	return (log - 6) * 8 + ((size >> (log - 3)) & 7);
}

/* The bin of runs of so many pages, RUN_MIN to RUN_MAX. */
static inline unsigned int heap_bin_of(size_t pages)
{
	return NR_CLASSES + pages - RUN_MIN;
}

static inline size_t heap_pages(size_t size)
{
	return (size + RUNS_PAGE - 1) / RUNS_PAGE;
}

static inline size_t heap_page(const struct fbuf_heap *h, const void *p)
{
	return ((uintptr_t)p - (uintptr_t)h->base) / RUNS_PAGE;
}

static inline bool heap_has(const struct fbuf_heap *h, const void *p)
{
	return (uintptr_t)p - (uintptr_t)h->base < h->size;
}

/* Of a page: its slab, or PAGE_*, or 0. */
static inline uintptr_t heap_page_is(const struct fbuf_heap *h, size_t page)
{
	return __atomic_load_n(&h->pages[page], __ATOMIC_ACQUIRE);
}

static inline bool page_is_slab(uintptr_t is)
{
	return is && !(is & PAGE_LARGE);
}

static inline bool page_is_large(uintptr_t is)
{
	return (is & PAGE_KIND) == PAGE_LARGE;
}

static inline uintptr_t page_run(uintptr_t kind, size_t pages)
{
	return (uintptr_t)pages << 2 | kind;
}

static inline size_t page_run_pages(uintptr_t is)
{
	return is >> 2;
}

/* The slab that a slot is of. */
static inline struct slab *heap_slab(const struct fbuf_heap *h, const void *p)
{
	return (struct slab *)heap_page_is(h, heap_page(h, p));
}

/* The slot that a byte is in; slabs have at most 64 KiB, so this is exact. */
static inline unsigned int slab_slot(const struct slab *slab, const void *p)
{
	uint64_t offset = (const char *)p - slab->base;

	return offset * slab->inverse >> 32;
}

/* Whether it is the first byte of one: the rest of the division is 0. */
static inline bool slab_begins(const struct slab *slab, const void *p)
{
	uint64_t offset = (const char *)p - slab->base;
	uint64_t slot = offset * slab->inverse;

	return (uint32_t)slot < slab->inverse && slot >> 32 < slab->nr;
}

static inline void *slab_at(const struct slab *slab, unsigned int slot)
{
	return slab->base + (size_t)slot * slab->size;
}

/* heap.c; who has memory of a heap hears when it ends. */
extern void (*heap_gone)(struct fbuf_heap *heap);
#define WORD_BITS	(8 * sizeof(long))

/* Bits of one word of many, for first to end - 1; *next is where to go on. */
static inline unsigned long word_bits(size_t first, size_t end, size_t *next)
{
	unsigned long bits = ~0UL << first % WORD_BITS;

	*next = (first / WORD_BITS + 1) * WORD_BITS;
	if (*next > end) {
		bits &= ~0UL >> (*next - end);
		*next = end;
	}
	return bits;
}

/* heap_runs.c */
int heap_runs_init(struct fbuf_heap *h, bool lazy);
void heap_runs_fini(struct fbuf_heap *h);
/* As runs_take(); *have is how many bytes it has. */
void *heap_run_take(struct fbuf_heap *h, size_t size, size_t align,
		    size_t *have);
void heap_runs_give(struct fbuf_heap *h, void **runs, unsigned int nr);
/* As runs_resize(); returns how many bytes it has now. */
size_t heap_run_resize(struct fbuf_heap *h, void *p, size_t size, bool *done);
/* The runs were changed, and are locked. */
void heap_runs_changed(struct fbuf_heap *h);
/* These buffers, by their names, have no memory any more. */
void heap_runs_forget(struct fbuf_heap *h, const uint64_t *names,
		      unsigned int nr);

/* heap_slab.c */
void slab_classes_init(struct fbuf_heap *h);
void slab_classes_fini(struct fbuf_heap *h);
/* Free slots of a class, up to max; makes a slab if need be. */
unsigned int slab_take(struct fbuf_heap *h, unsigned int class, void **objects,
		       unsigned int max);
/* The same of slabs that there are. */
unsigned int slab_take_ready(struct fbuf_heap *h, unsigned int class,
			     void **objects, unsigned int max);
/* Objects of a class that are not in use any more. */
void slab_give(struct fbuf_heap *h, unsigned int class, void **objects,
	       unsigned int nr);
void slab_list_add(struct slab *slab, struct slots *list, unsigned int slot);
/* Those of one list to the end of another. */
void slab_list_move(struct slab *slab, struct slots *to, struct slots *from);
/*
 * The free slots of a slab have become more, and its class is locked. True if the
 * slab is to go: then slab_free() it, without the lock.
 */
bool slab_more_free(struct heap_class *class, struct slab *slab);
void slab_free(struct fbuf_heap *h, struct slab *slab);
/* Runs of slabs that have no object go back. */
void slab_shrink(struct fbuf_heap *h);

/* heap_idle.c */
/* Objects were freed that may be in flight. */
void idle_wait_slot(struct fbuf_heap *h, struct slab *slab, unsigned int slot);
void idle_wait_run(struct fbuf_heap *h, void *p, size_t size);
/* The kernel may be told of these bytes of a large object; was told of any. */
void idle_mark(struct fbuf_heap *h, const void *p, size_t len);
bool idle_marked(const struct fbuf_heap *h, const void *p, size_t len);

/* The same of a run of at most so many pages, where every instruction counts. */
static inline bool idle_marked_run(const struct fbuf_heap *h, size_t page,
				   unsigned int pages)
{
	const unsigned long *word = &h->sent[page / WORD_BITS];
	unsigned int shift = page % WORD_BITS;
	unsigned long bits = __atomic_load_n(word, __ATOMIC_RELAXED) >> shift;

	if (shift + pages > WORD_BITS)
		bits |= __atomic_load_n(word + 1, __ATOMIC_RELAXED) <<
			(WORD_BITS - shift);
	return bits & (~0UL >> (WORD_BITS - pages));
}

/* See what is idle, and take it back: returns how many bytes. */
size_t idle_look(struct fbuf_heap *h);
/* The same if so much waits that it is worth it, and nobody does it already. */
void idle_look_maybe(struct fbuf_heap *h);
/*
 * Names of buffers that something waits for and that are in flight, up to max; and
 * whether anything waits. This one waits for who is looking.
 */
unsigned int idle_names(struct fbuf_heap *h, uint64_t *names, unsigned int max,
			bool *waits);

/* heap_of.c */
void heap_of_add(struct fbuf_heap *h);
void heap_of_del(const struct fbuf_heap *h);

/* heap_cache.c */

/*
 * A thread's caches of the heaps that it used last, so that it need not ask
 * pthread_getspecific(). In the thread's own block: a call would cost as much.
 */
#define NR_LAST		4U

struct heap_last {
	unsigned long id;	/* of the heap; 0 for none */
	struct heap_cache *cache;
};

extern __thread struct heap_last heap_last[NR_LAST]
	__attribute__((__visibility__("hidden"), __tls_model__("initial-exec")));

static inline bool cache_enter(struct heap_cache *c)
{
	return !__atomic_exchange_n(&c->busy, true, __ATOMIC_ACQUIRE);
}

static inline void cache_leave(struct heap_cache *c)
{
	__atomic_store_n(&c->busy, false, __ATOMIC_RELEASE);
}

/* This thread's, entered, if it is one of those; else NULL. */
static inline struct heap_cache *cache_at_hand(const struct fbuf_heap *h)
{
	const struct heap_last *last = &heap_last[h->id % NR_LAST];
	struct heap_cache *c = last->cache;

	if (last->id != h->id || !cache_enter(c))
		return NULL;
	if (!c)
		__builtin_unreachable();
	return c;
}

/* Its place is not computed anew for each of its members. */
static inline struct heap_bin *cache_bin(struct heap_cache *c, unsigned int i)
{
	struct heap_bin *bin = &c->bins[i];

	__asm__("" : "+r"(bin));
	return bin;
}

/* Only the owner counts, so this need not be one operation. */
static inline void cache_add(size_t *counter, size_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* Of a cache that was entered: what is there; false if nothing is. */
static inline bool bin_pop(struct heap_bin *bin, void **p)
{
	uint32_t nr = bin->nr;

	if (!nr)
		return false;
	__atomic_store_n(&bin->nr, nr - 1, __ATOMIC_RELAXED);
	cache_add(&bin->taken, 1);
	*p = bin->slots[nr - 1];
	return true;
}

/* False if there is no room. */
static inline bool bin_push(struct heap_bin *bin, void *p)
{
	uint32_t nr = bin->nr;

	if (nr == bin->max)
		return false;
	bin->slots[nr] = p;
	__atomic_store_n(&bin->nr, nr + 1, __ATOMIC_RELAXED);
	return true;
}

int cache_heap_init(struct fbuf_heap *h);
void cache_heap_fini(struct fbuf_heap *h);
/* An object of a class, not yet in use; or NULL. */
void *cache_take(struct fbuf_heap *h, unsigned int class);
/* An object that is in use no more, and was never sent. */
void cache_give(struct fbuf_heap *h, unsigned int class, void *p);
/* The same of a run; NULL if there is none at hand. */
void *cache_take_run(struct fbuf_heap *h, size_t pages);
void cache_give_run(struct fbuf_heap *h, size_t pages, void *p);
/* All that threads have at hand goes back. */
void cache_shrink(struct fbuf_heap *h);
/* Count: objects and bytes. */
void cache_count(struct fbuf_heap *h, unsigned int allocs, unsigned int frees,
		 size_t used);
/* Sums of all; cached bytes. */
void cache_counts(struct fbuf_heap *h, struct heap_counts *sum,
		  uint64_t *cached);

/* heap_trim.c */
/* keep is of &struct fbuf_heap_options. */
int trim_init(struct fbuf_heap *h, size_t keep);
void trim_fini(struct fbuf_heap *h);
/* If much is spare, and nobody does it already, give some of it back. */
void trim_some(struct fbuf_heap *h);
static inline void trim_maybe(struct fbuf_heap *h)
{
	if (h->trim)
		trim_some(h);
}

/* Wait until nobody does: what he keeps meanwhile may be missed. */
void trim_wait(struct fbuf_heap *h);

#endif /* FBUF_LIB_HEAP_H */
