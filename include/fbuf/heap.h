/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: a heap on a pool, fbuf_heap(3). Memory of any size, from 16 bytes to
 * the whole pool, which is sent by reference and freed at any time: it is used
 * again only when no packet refers to it.
 *
 * Any number of threads may call these functions at once, but for destroy. What
 * can fail returns a negative errno value, or NULL, and leaves errno alone.
 */
#ifndef FBUF_HEAP_H
#define FBUF_HEAP_H

#include <fbuf/fbuf.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fbuf_heap;

/*
 * In a pool of snapshots too memory waits until no packet refers to it: for sends
 * with FBUF_SEND_VOLATILE. In other pools that goes without saying.
 */
#define FBUF_HEAP_IDLE		(1U << 0)

/**
 * struct fbuf_heap_options - what a heap is to be
 * @limit: bytes that it grows to, rounded up to buffers: of a pool of its own, in
 *         which memory comes as it is used
 * @buf_size: bytes in a buffer of that pool; 0 for 64 KiB
 * @pool: or, instead of those, a pool to use, as fbuf_heap_create() does
 * @pool_flags: FBUF_POOL_* of its own pool; FBUF_POOL_LAZY goes without saying
 * @flags: FBUF_HEAP_*
 * @keep: bytes of memory not in use that it does not give back by itself; 0 for a
 *        32nd of the heap, from 1 to 32 MiB; SIZE_MAX for all
 */
struct fbuf_heap_options {
	size_t limit;
	size_t buf_size;
	struct fbuf_pool *pool;
	unsigned int pool_flags;
	unsigned int flags;
	size_t keep;
};

/*
 * Make a heap with a pool of its own, or with one that is given. size is
 * sizeof(*options); -E2BIG if what the library does not know is set.
 */
int fbuf_heap_create_sized(struct fbuf_heap **heap,
			   const struct fbuf_heap_options *options,
			   size_t size);
static __inline__ int
fbuf_heap_create_with(struct fbuf_heap **heap,
		      const struct fbuf_heap_options *options)
{
	return fbuf_heap_create_sized(heap, options, sizeof(*options));
}

/*
 * Make a heap of all buffers of a pool; flags is FBUF_HEAP_*. It holds them until
 * it is destroyed: -EAGAIN or -ENOBUFS while somebody else has one of them. The
 * pool must outlive the heap.
 */
int fbuf_heap_create(struct fbuf_heap **heap, struct fbuf_pool *pool,
		     unsigned int flags);
/* All its memory, and its own pool, is gone; no other thread may be using it. NULL is ignored. */
void fbuf_heap_destroy(struct fbuf_heap *heap);
struct fbuf_pool *fbuf_heap_pool(const struct fbuf_heap *heap);

/* Memory, on a boundary of 16 bytes; or NULL if there is none. */
void *fbuf_heap_alloc(struct fbuf_heap *heap, size_t size);
/* The same on a boundary of align bytes, a power of two. */
void *fbuf_heap_alloc_aligned(struct fbuf_heap *heap, size_t align,
			      size_t size);
/* nr times size bytes, all zero. */
void *fbuf_heap_calloc(struct fbuf_heap *heap, size_t nr, size_t size);
/* As realloc() does: it may move, and if it fails stays as it was. */
void *fbuf_heap_realloc(struct fbuf_heap *heap, void *ptr, size_t size);
/*
 * Whatever was sent of it may still be in flight. What is no memory of this heap,
 * or was freed before, ends the program. NULL is ignored.
 */
void fbuf_heap_free(struct fbuf_heap *heap, void *ptr);
/*
 * The heap of this process that has the byte at ptr, or NULL if none has. No lock,
 * and no system call: for who gets memory of any kind, and frees or sends it.
 */
struct fbuf_heap *fbuf_heap_of(const void *ptr);
/* Bytes that can be used there: as many as were asked for, or more. */
size_t fbuf_heap_usable_size(const struct fbuf_heap *heap, const void *ptr);

/*
 * To be sent: append len bytes from ptr on, all of one allocation, to a gather;
 * as many segments as there are buffers.
 */
int fbuf_gather_append_mem(struct fbuf_gather *g, struct fbuf_heap *heap,
			   const void *ptr, size_t len);
/*
 * For those who hand memory to the kernel by other means: which buffer has the
 * byte at ptr, and where. Returns how many of len bytes are in that buffer. From
 * now on, the allocation waits when it is freed until its buffers are idle.
 */
ssize_t fbuf_heap_ref(struct fbuf_heap *heap, const void *ptr, size_t len,
		      uint64_t *name, size_t *offset);
/*
 * Wait until some memory that was freed in flight can be used again, up to
 * timeout_ms milliseconds (-1: for ever): 1, or 0 if none waits for that, or
 * -ETIMEDOUT.
 */
int fbuf_heap_wait(struct fbuf_heap *heap, int timeout_ms);

/*
 * In a lazy pool: give memory that is not in use back to the system, but for keep
 * bytes of it; returns how many bytes, or -EOPNOTSUPP. Much that is freed is given
 * back without that, as @keep of &struct fbuf_heap_options says.
 */
ssize_t fbuf_heap_trim(struct fbuf_heap *heap, size_t keep);

/**
 * struct fbuf_heap_stats - what became of the memory
 * @size: bytes of the pool
 * @used: bytes in use, as they were rounded up
 * @waiting: bytes that were freed, but may be in flight
 * @cached: bytes that are free, but of threads that are likely to want them
 * @largest: bytes of the largest piece that is free in one
 * @allocs: how often memory was had
 * @frees: how often it was freed
 * @failed: how often there was none
 * @looks: calls of FBUF_IOC_WAIT, to see what is idle
 * @resident: bytes of the pool that may have memory
 */
struct fbuf_heap_stats {
	uint64_t size;
	uint64_t used;
	uint64_t waiting;
	uint64_t cached;
	uint64_t largest;
	uint64_t allocs;
	uint64_t frees;
	uint64_t failed;
	uint64_t looks;
	uint64_t resident;
};

/* size is sizeof(*stats); what is not known is 0. */
int fbuf_heap_stats_sized(struct fbuf_heap *heap,
			  struct fbuf_heap_stats *stats, size_t size);
static __inline__ int fbuf_heap_stats(struct fbuf_heap *heap,
				      struct fbuf_heap_stats *stats)
{
	return fbuf_heap_stats_sized(heap, stats, sizeof(*stats));
}

#ifdef __cplusplus
}
#endif

#endif /* FBUF_HEAP_H */
