// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * malloc() and its family: what is large comes from the pool, all else from the
 * next in line. Pointers tell which they are by their addresses.
 */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "next.h"
#include "pool.h"
#include "run.h"

/* What malloc() promises, and pages keep. */
#define ALIGN_DEFAULT	16U

/* Ours, or the next one's: what malloc() is, by a name that compilers know nothing of. */
static void *get(size_t size)
{
	bool zeroed;
	void *p;

	if (likely(size < run_min()))
		return next.malloc(size);
	p = pool_take(size, ALIGN_DEFAULT, &zeroed);
	return p ?: next.malloc(size);
}

EXPORT void *malloc(size_t size)
{
	return get(size);
}

EXPORT void free(void *p)
{
	if (unlikely(run_has(p)))
		pool_give(p);
	else if (likely(!next_is_early(p)))
		next.free(p);
}

EXPORT void *calloc(size_t nr, size_t size)
{
	bool zeroed;
	size_t all;
	void *p;

	if (likely(__builtin_mul_overflow(nr, size, &all) || all < run_min()))
		return next.calloc(nr, size);
	p = pool_take(all, ALIGN_DEFAULT, &zeroed);
	if (!p)
		return next.calloc(nr, size);
	return zeroed ? p : memset(p, 0, all);
}

/* From the pool to elsewhere, or to another place in it. */
static void *move_out(void *p, size_t size)
{
	size_t have = pool_size_of(p);
	void *to = get(size);

	if (!to)
		return NULL;
	memcpy(to, p, have < size ? have : size);
	pool_give(p);
	return to;
}

/*
 * A buffer that grows bit by bit would be copied each time: it gets more than it
 * asks for. What is not touched takes no memory.
 */
static void *grow_out(void *p, size_t size)
{
	size_t have = pool_size_of(p), more = size + size / 4;
	bool zeroed;
	void *to;

	to = more < size ? NULL : pool_take(more, ALIGN_DEFAULT, &zeroed);
	if (!to)
		return move_out(p, size);
	memcpy(to, p, have);
	pool_give(p);
	return to;
}

/* What grew large elsewhere comes into the pool; what cannot, stays there. */
static void *move_in(void *p, size_t size)
{
	size_t have;
	bool zeroed;
	void *to;

	have = next.malloc_usable_size(p);
	/* The C library moves what is large by its pages, without a copy. */
	to = have < run_min() ? pool_take(size, ALIGN_DEFAULT, &zeroed) : NULL;
	if (!to)
		return next.realloc(p, size);
	memcpy(to, p, have < size ? have : size);
	next.free(p);
	return to;
}

static void *realloc_early(void *p, size_t size)
{
	void *to = get(size);
	size_t have = next_early_size(p);

	if (to)
		memcpy(to, p, have < size ? have : size);
	return to;
}

static void *get_again(void *p, size_t size)
{
	if (likely(!run_has(p))) {
		if (unlikely(next_is_early(p)))
			return realloc_early(p, size);
		if (likely(size < run_min()))
			return next.realloc(p, size);
		return p ? move_in(p, size) : get(size);
	}
	if (!size) {
		pool_give(p);
		return NULL;
	}
	if (size < run_min() && run_min() != SIZE_MAX)
		return move_out(p, size);
	if (pool_resize(p, size))
		return p;
	return grow_out(p, size);
}

EXPORT void *realloc(void *p, size_t size)
{
	return get_again(p, size);
}

EXPORT void *reallocarray(void *p, size_t nr, size_t size)
{
	size_t all;

	if (__builtin_mul_overflow(nr, size, &all)) {
		errno = ENOMEM;
		return NULL;
	}
	return get_again(p, all);
}

/* All that ask for an alignment; what is no power of two is not for us to judge. */
static void *aligned(size_t align, size_t size)
{
	bool zeroed;
	void *p;

	if (size < run_min() || !align || align & (align - 1))
		return next.memalign(align, size);
	p = pool_take(size, align < ALIGN_DEFAULT ? ALIGN_DEFAULT : align,
		      &zeroed);
	return p ?: next.memalign(align, size);
}

EXPORT void *memalign(size_t align, size_t size)
{
	return aligned(align, size);
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
	return aligned(align, size);
}

EXPORT int posix_memalign(void **to, size_t align, size_t size)
{
	int saved = errno;
	void *p;

	if (!align || align & (align - 1) || align % sizeof(void *))
		return EINVAL;
	p = aligned(align, size);
	errno = saved;
	if (!p)
		return ENOMEM;
	*to = p;
	return 0;
}

EXPORT void *valloc(size_t size)
{
	return aligned(sysconf(_SC_PAGESIZE), size);
}

EXPORT void *pvalloc(size_t size)
{
	size_t page = sysconf(_SC_PAGESIZE);

	if (size + page - 1 < size) {
		errno = ENOMEM;
		return NULL;
	}
	return aligned(page, (size + page - 1) & ~(page - 1));
}

EXPORT size_t malloc_usable_size(void *p)
{
	if (run_has(p))
		return pool_size_of(p);
	return next_is_early(p) ? next_early_size(p) :
				  next.malloc_usable_size(p);
}

/*
 * Hints that mean nothing to a pool are no errors. After MADV_DONTNEED, memory of
 * malloc() reads as zeros; the pool's own pages would come back as they were.
 */
EXPORT int madvise(void *p, size_t size, int advice)
{
	size_t page;

	if (likely(!run_has(p)))
		return next.madvise(p, size, advice);
	switch (advice) {
	case MADV_DONTNEED:
		page = sysconf(_SC_PAGESIZE);
		if ((uintptr_t)p % page ||
		    size > run.base + run.size - (uintptr_t)p)
			break;
		memset(p, 0, (size + page - 1) & ~(page - 1));
		return 0;
	case MADV_FREE:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_DODUMP:
	case MADV_DONTDUMP:
	case MADV_DOFORK:	/* it has its own way to do so */
		return 0;
	}
	return next.madvise(p, size, advice);
}
