/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Segments of memory that may lie in a pool, or in its heap, or beside it. */
#ifndef FBUF_LIB_PIECE_H
#define FBUF_LIB_PIECE_H

#include <fbuf/heap.h>

#include "lib.h"
#include "segs.h"

static inline bool piece_in_pool(const struct fbuf_pool *pool, const char *p,
				 size_t len)
{
	size_t at = p - pool->map;

	return pool->map && at < pool->size && len <= pool->size - at;
}

/*
 * Memory of a heap is in use from now on for as long as packets refer to it. What
 * the heap knows nothing of, or must not be told of, is copied.
 */
static inline bool piece_refer(const char *p, size_t len)
{
	struct fbuf_heap *heap = fbuf_heap_of(p);
	size_t offset;
	uint64_t name;

	return !heap || fbuf_heap_ref(heap, p, len, &name, &offset) > 0;
}

/* Some of len bytes, for which there is room; returns how many. */
static inline size_t piece_add(struct segs *s, const struct fbuf_pool *pool,
			       const char *p, size_t len)
{
	size_t at = p - pool->map, piece;

	if (!piece_in_pool(pool, p, len)) {
		piece = segs_inline(s, p, len);
	} else {
		piece = segs_in_buf(at, len, pool->buf_size);
		if (piece < SEGS_PIECE_MIN || !piece_refer(p, len))
			piece = segs_inline(s, p, piece);
		else
			piece = segs_pool(s, at, piece, len, pool->buf_size);
	}
	s->len += piece;
	return piece;
}

#endif /* FBUF_LIB_PIECE_H */
