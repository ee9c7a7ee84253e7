// SPDX-License-Identifier: LGPL-2.1-or-later
/* Gathers: lists of segments. A failed call leaves its gather as it was. */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <fbuf/parcel.h>

#include "lib.h"

void lib_gather_init(struct fbuf_gather *g, const struct fbuf_pool *pool)
{
	g->pool = pool;
	g->len = 0;
	g->nr = 0;
	g->room = GATHER_INLINE;
	g->segs = g->few;
}

void lib_gather_fini(struct fbuf_gather *g)
{
	int saved = errno;

	if (g->segs != g->few)
		free(g->segs);
	errno = saved;
}

struct fbuf_gather *fbuf_gather_new(struct fbuf_pool *pool)
{
	int saved = errno;
	struct fbuf_gather *g = malloc(sizeof(*g));

	if (g)
		lib_gather_init(g, pool);
	else
		errno = saved;
	return g;
}

void fbuf_gather_destroy(struct fbuf_gather *g)
{
	int saved = errno;

	if (!g)
		return;
	lib_gather_fini(g);
	free(g);
	errno = saved;
}

void fbuf_gather_reset(struct fbuf_gather *g)
{
	g->len = 0;
	g->nr = 0;
}

/* Room for more segments; room doubles, so that each is moved about once. */
static int gather_reserve(struct fbuf_gather *g, unsigned int more)
{
	unsigned int room = g->room;
	int saved = errno;
	struct fbuf_seg *segs;

	if (more > FBUF_SEGS_MAX - g->nr)
		return -EMSGSIZE;
	if (g->nr + more <= room)
		return 0;
	while (room < g->nr + more)
		room *= 2;

	segs = realloc(g->segs == g->few ? NULL : g->segs,
		       room * sizeof(*segs));
	if (!segs) {
		errno = saved;
		return -ENOMEM;
	}
	if (g->segs == g->few)
		memcpy(segs, g->few, g->nr * sizeof(*segs));
	g->segs = segs;
	g->room = room;
	return 0;
}

/*
 * A segment of a buffer. With the buffer's name in it the module refuses to send
 * what somebody else has there by then; older modules only know the place. Parcels
 * have but names.
 */
static struct fbuf_seg buf_seg(const struct fbuf_pool *p, uint64_t name,
			       size_t offset, size_t len)
{
	struct fbuf_seg seg = { .addr = name, .len = len };

	if (p->named || fbuf_is_parcel(name))
		seg.flags = FBUF_SEG_NAMED | FBUF_SEG_OFFSET(offset);
	else
		seg.addr = (uint64_t)FBUF_NAME_INDEX(name) * p->buf_size +
			   offset;
	return seg;
}

static uint32_t seg_offset(const struct fbuf_seg *seg)
{
	return seg->flags / FBUF_SEG_OFFSET(1);
}

/* What is left of it without its first bytes. */
static void seg_skip(struct fbuf_seg *seg, size_t len)
{
	if (seg->flags & FBUF_SEG_NAMED)
		seg->flags += FBUF_SEG_OFFSET(len);
	else
		seg->addr += len;
	seg->len -= len;
}

/*
 * Whether b continues a, in one buffer or parcel; inline segments are left alone.
 * Where a parcel of the greatest length ends, there is no offset.
 */
static bool seg_continues(const struct fbuf_gather *g,
			  const struct fbuf_seg *a, const struct fbuf_seg *b)
{
	if (a->flags & b->flags & FBUF_SEG_NAMED)
		return a->addr == b->addr &&
		       seg_offset(a) + a->len == seg_offset(b);
	return !a->flags && !b->flags && a->addr + a->len == b->addr &&
	       b->addr & (g->pool->buf_size - 1);
}

/* Open a gap for nr segments before segment at; the caller reserved them. */
static struct fbuf_seg *gather_gap(struct fbuf_gather *g, unsigned int at,
				   unsigned int nr)
{
	struct fbuf_seg *segs = g->segs + at;

	memmove(segs + nr, segs, (g->nr - at) * sizeof(*segs));
	g->nr += nr;
	return segs;
}

static int gather_check_len(const struct fbuf_gather *g, size_t len)
{
	return len > FBUF_GATHER_MAX - g->len ? -EMSGSIZE : 0;
}

static int gather_append(struct fbuf_gather *g, struct fbuf_seg seg)
{
	struct fbuf_seg *last = g->nr ? &g->segs[g->nr - 1] : NULL;
	int ret;

	if (last && seg_continues(g, last, &seg)) {
		last->len += seg.len;
	} else {
		ret = gather_reserve(g, 1);
		if (ret < 0)
			return ret;
		*gather_gap(g, g->nr, 1) = seg;
	}
	g->len += seg.len;
	return 0;
}

static int gather_prepend(struct fbuf_gather *g, struct fbuf_seg seg)
{
	int ret;

	if (g->nr && seg_continues(g, &seg, g->segs)) {
		g->segs[0].addr = seg.addr;
		g->segs[0].flags = seg.flags;
		g->segs[0].len += seg.len;
	} else {
		ret = gather_reserve(g, 1);
		if (ret < 0)
			return ret;
		*gather_gap(g, 0, 1) = seg;
	}
	g->len += seg.len;
	return 0;
}

/* A checked segment of a buffer, or of a parcel, whose length is not known here. */
static int gather_seg(const struct fbuf_gather *g, uint64_t name,
		      size_t offset, size_t len, struct fbuf_seg *seg)
{
	const struct fbuf_pool *p = g->pool;
	unsigned int index = FBUF_NAME_INDEX(name), nr = p->nr_bufs;
	size_t size = p->buf_size;

	if (fbuf_is_parcel(name)) {
		index &= ~FBUF_NAME_PARCEL;
		nr = FBUF_PARCELS_MAX;
		size = FBUF_PARCEL_MAX;
	}
	if (index >= nr || offset > size || len > size - offset)
		return -EINVAL;

	*seg = buf_seg(p, name, offset, len);
	return gather_check_len(g, len);
}

int fbuf_gather_append(struct fbuf_gather *g, uint64_t name, size_t offset,
		       size_t len)
{
	struct fbuf_seg seg;
	int ret = gather_seg(g, name, offset, len, &seg);

	if (ret < 0 || !len)
		return ret;
	return gather_append(g, seg);
}

int fbuf_gather_prepend(struct fbuf_gather *g, uint64_t name, size_t offset,
			size_t len)
{
	struct fbuf_seg seg;
	int ret = gather_seg(g, name, offset, len, &seg);

	if (ret < 0 || !len)
		return ret;
	return gather_prepend(g, seg);
}

/* User memory before segment at, in pieces that the module takes. */
static int gather_insert_inline(struct fbuf_gather *g, unsigned int at,
				const void *data, size_t len)
{
	uint64_t addr = (uintptr_t)data;
	struct fbuf_seg *seg;
	unsigned int nr;
	int ret;

	ret = gather_check_len(g, len);
	if (ret < 0 || !len)
		return ret;
	nr = (len + FBUF_INLINE_MAX - 1) / FBUF_INLINE_MAX;
	ret = gather_reserve(g, nr);
	if (ret < 0)
		return ret;

	g->len += len;
	for (seg = gather_gap(g, at, nr); len; seg++) {
		seg->addr = addr;
		seg->len = len < FBUF_INLINE_MAX ? len : FBUF_INLINE_MAX;
		seg->flags = FBUF_SEG_INLINE;
		addr += seg->len;
		len -= seg->len;
	}
	return 0;
}

int fbuf_gather_append_inline(struct fbuf_gather *g, const void *data,
			      size_t len)
{
	return gather_insert_inline(g, g->nr, data, len);
}

int fbuf_gather_prepend_inline(struct fbuf_gather *g, const void *data,
			       size_t len)
{
	return gather_insert_inline(g, 0, data, len);
}

/*
 * from may be g itself: appending moves no segment, and a merge only makes the
 * last one longer, beyond what len lets us read.
 */
static int gather_append_slice(struct fbuf_gather *g,
			       const struct fbuf_gather *from, size_t offset,
			       size_t len)
{
	unsigned int i;
	int ret;

	for (i = 0; len; i++) {
		struct fbuf_seg seg = from->segs[i];

		if (offset >= seg.len) {
			offset -= seg.len;
			continue;
		}
		seg_skip(&seg, offset);
		if (seg.len > len)
			seg.len = len;
		ret = gather_append(g, seg);
		if (ret < 0)
			return ret;
		offset = 0;
		len -= seg.len;
	}
	return 0;
}

int fbuf_gather_slice(struct fbuf_gather *g, const struct fbuf_gather *from,
		      size_t offset, size_t len)
{
	size_t old_len = g->len;
	unsigned int old_nr = g->nr;
	struct fbuf_seg old_last = { 0 };
	int ret;

	if (from->pool != g->pool || offset > from->len ||
	    len > from->len - offset)
		return -EINVAL;
	ret = gather_check_len(g, len);
	if (ret < 0)
		return ret;

	if (old_nr)
		old_last = g->segs[old_nr - 1];
	ret = gather_append_slice(g, from, offset, len);
	if (ret < 0) {
		g->len = old_len;
		g->nr = old_nr;
		if (old_nr)
			g->segs[old_nr - 1] = old_last;
	}
	return ret;
}

size_t fbuf_gather_len(const struct fbuf_gather *g)
{
	return g->len;
}

unsigned int fbuf_gather_nr_segs(const struct fbuf_gather *g)
{
	return g->nr;
}

const struct fbuf_seg *fbuf_gather_segs(const struct fbuf_gather *g)
{
	return g->segs;
}
