/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of the heap share. Each calls only those before it:
 *
 * runs.c	the memory in runs of pages
 * heap_slab.c	small objects: classes of sizes, in slabs, which are runs
 * heap_idle.c	what was freed in flight waits here
 * heap_cache.c	what each thread has at hand of each class
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

/* What a thread has of a class: so many, in cache->slots from start on. */
struct heap_bin {
	uint16_t nr;
	uint16_t max;
	uint32_t start;
};

struct heap_cache {
	struct fbuf_heap *heap;
	struct heap_cache *next;	/* of the heap, under its caches_lock */
	pthread_t owner;
	/*
	 * Set while the bins are used: by the owner, or by who is out of memory and
	 * empties them. Nobody waits for that; the other one goes without.
	 */
	bool busy;
	struct heap_counts counts;
	struct heap_bin bins[NR_CLASSES];
	void *slots[];
};

/* What the page is that a run begins with, where it is not a slab's. */
#define PAGE_LARGE	((struct slab *)1)	/* an object */
#define PAGE_WAITS	((struct slab *)2)	/* one that was freed in flight */

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

struct fbuf_heap {
	struct fbuf_pool *pool;
	char *base;
	size_t size;
	uint64_t *names;	/* of all buffers */
	bool waits;		/* freed memory waits until idle */
	bool forked;		/* a child has it, and cannot use it */
	pthread_key_t key;	/* a thread's cache */

	struct heap_class classes[NR_CLASSES];

	pthread_mutex_t runs_lock;
	struct runs *runs;
	uint32_t waiting;	/* large objects, by their first pages */
	uint32_t waiting_last;

	/* For each page; what is said of it in heap_idle.c. */
	struct slab **slabs;	/* its slab, or PAGE_*; atomic */
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

	struct fbuf_heap *next;	/* of all */
};

static inline unsigned int heap_class_of(size_t size)
{
	unsigned int log;

	if (size <= 128)
		return size ? (size - 1) / 16 : 0;
	size--;
	log = 8 * sizeof(long) - 1 - __builtin_clzl(size);
	return (log - 6) * 8 + ((size >> (log - 3)) & 7);
}

static inline size_t heap_page(const struct fbuf_heap *h, const void *p)
{
	return ((uintptr_t)p - (uintptr_t)h->base) / RUNS_PAGE;
}

static inline bool heap_has(const struct fbuf_heap *h, const void *p)
{
	return (uintptr_t)p - (uintptr_t)h->base < h->size;
}

/* The slab of a page, or PAGE_* or NULL. */
static inline struct slab *heap_slab(const struct fbuf_heap *h, size_t page)
{
	return __atomic_load_n(&h->slabs[page], __ATOMIC_ACQUIRE);
}

static inline bool slab_is_one(const struct slab *slab)
{
	return (uintptr_t)slab > (uintptr_t)PAGE_WAITS;
}

/* The slot that a byte is in; slabs have at most 64 KiB, so this is exact. */
static inline unsigned int slab_slot(const struct slab *slab, const void *p)
{
	uint64_t offset = (const char *)p - slab->base;

	return offset * slab->inverse >> 32;
}

static inline void *slab_at(const struct slab *slab, unsigned int slot)
{
	return slab->base + (size_t)slot * slab->size;
}

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

/* heap_cache.c */
int cache_heap_init(struct fbuf_heap *h);
void cache_heap_fini(struct fbuf_heap *h);
/* An object of a class, not yet in use; or NULL. */
void *cache_take(struct fbuf_heap *h, unsigned int class);
/* An object that is in use no more, and was never sent. */
void cache_give(struct fbuf_heap *h, unsigned int class, void *p);
/* All that threads have at hand goes back. */
void cache_shrink(struct fbuf_heap *h);
/* Count: objects and bytes. */
void cache_count(struct fbuf_heap *h, unsigned int allocs, unsigned int frees,
		 size_t used);
/* Sums of all; cached bytes. */
void cache_counts(struct fbuf_heap *h, struct heap_counts *sum,
		  uint64_t *cached);

#endif /* FBUF_LIB_HEAP_H */
