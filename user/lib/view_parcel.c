// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Views: the bytes of parcels. They are read from there, and there is no memory of
 * them until somebody wants an address: of what is shown that is where it is, and what
 * lies between is copied, once. Threads may ask at once.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <fbuf/parcel.h>

#include "lib.h"
#include "view.h"

/* Parts that are asked for without knowing how many there are. */
#define PARTS_FIRST	16U

/* Bytes that lie together, from the end of the last stretch on. */
struct stretch {
	size_t end;
	char *data;		/* or NULL: not copied yet; atomic */
	bool shown;
};

struct view_memory {
	char *whole;		/* a copy of all, or NULL; atomic */
	uint32_t nr;
	struct stretch stretches[];
};

static size_t stretch_begin(const struct view_memory *m, uint32_t nr)
{
	return nr ? m->stretches[nr - 1].end : 0;
}

static uint32_t stretch_at(const struct view_memory *m, size_t index)
{
	uint32_t lo = 0, hi = m->nr - 1, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (m->stretches[mid].end <= index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static void stretch_add(struct view_memory *m, size_t end, const char *data)
{
	if (end > stretch_begin(m, m->nr))
		m->stretches[m->nr++] = (struct stretch){
			.end = end,
			.data = (char *)data,
			.shown = data,
		};
}

/* A part, if it is what it should be: who made the pool may be anybody. */
static void part_add(const struct fbuf_view *v, struct view_memory *m,
		     const struct fbuf_part *part)
{
	const void *data;

	if (part->offset < stretch_begin(m, m->nr) ||
	    part->offset > v->bytes || part->len > v->bytes - part->offset)
		return;
	data = fbuf_parcel_addr(v->pool, part);
	if (!data)
		return;
	stretch_add(m, part->offset, NULL);
	stretch_add(m, (size_t)part->offset + part->len, data);
}

static struct view_memory *memory_of(const struct fbuf_view *v,
				     const struct fbuf_part *parts, uint32_t nr)
{
	struct view_memory *m;
	uint32_t i;

	/* Before and after each part there may be something. */
	m = malloc(sizeof(*m) + (2 * (size_t)nr + 1) * sizeof(m->stretches[0]));
	if (!m)
		return NULL;
	m->whole = NULL;
	m->nr = 0;
	for (i = 0; i < nr; i++)
		part_add(v, m, &parts[i]);
	stretch_add(m, v->bytes, NULL);
	return m;
}

/* What cannot be shown, for whatever reason, is copied. */
static struct view_memory *memory_new(const struct fbuf_view *v)
{
	struct fbuf_part first[PARTS_FIRST] = { }, *parts = first;
	int nr = fbuf_parcel_show(v->pool, v->name, first, PARTS_FIRST), more;
	struct view_memory *m;

	if (nr > (int)PARTS_FIRST) {
		more = nr < (int)FBUF_BATCH_MAX ? nr : (int)FBUF_BATCH_MAX;
		parts = calloc(more, sizeof(*parts));
		nr = parts ? fbuf_parcel_show(v->pool, v->name, parts, more) : 0;
		if (nr > more)
			nr = more;
	}
	m = memory_of(v, parts, nr > 0 ? nr : 0);
	if (parts != first)
		free(parts);
	return m;
}

static void memory_free(struct view_memory *m)
{
	uint32_t i;

	for (i = 0; m && i < m->nr; i++)
		if (!m->stretches[i].shown)
			free(m->stretches[i].data);
	if (m)
		free(m->whole);
	free(m);
}

/* Who is late takes what the other one made. */
static struct view_memory *memory_get(struct fbuf_view *v)
{
	struct view_memory *m = __atomic_load_n(&v->memory, __ATOMIC_ACQUIRE);
	struct view_memory *old = NULL;

	if (m)
		return m;
	m = memory_new(v);
	if (!m || __atomic_compare_exchange_n(&v->memory, &old, m, false,
					      __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE))
		return m;
	memory_free(m);
	return old;
}

static int copy_get(const struct fbuf_view *v, char **at, size_t begin,
		    size_t end, char **data)
{
	char *old = NULL, *copy = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	int ret;

	*data = copy;
	if (copy)
		return 0;
	copy = malloc(end - begin);
	if (!copy)
		return -ENOMEM;
	ret = fbuf_parcel_read(v->pool, v->name, begin, copy, end - begin);
	*data = copy;
	if (!ret && __atomic_compare_exchange_n(at, &old, copy, false,
						__ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
		return 0;
	free(copy);
	*data = old;
	return ret;
}

static int parcel_memory(struct fbuf_view *v, size_t index, size_t *len,
			 bool all, char **data)
{
	struct view_memory *m = memory_get(v);
	size_t begin, left;
	struct stretch *s;
	uint32_t nr;
	int ret;

	if (!m)
		return -ENOMEM;
	nr = stretch_at(m, index);
	s = &m->stretches[nr];
	begin = stretch_begin(m, nr);
	left = s->end - index;
	if (all && *len > left) {
		s = NULL;
		begin = 0;
	} else if (*len > left) {
		*len = left;
	}
	ret = s ? copy_get(v, &s->data, begin, s->end, data) :
		  copy_get(v, &m->whole, 0, v->bytes, data);
	if (!ret)
		*data += index - begin;
	return ret;
}

int view_piece_memory(struct view_piece *piece, bool all, char **data)
{
	int saved = errno, ret = 0;

	if (piece->view->kind == VIEW_PARCEL)
		ret = parcel_memory(piece->view, piece->index, &piece->len,
				    all, data);
	else
		*data = view_data(piece);
	errno = saved;
	return ret;
}

/* Where bytes are that somebody wanted to have in memory; or NULL. */
static const char *parcel_had(const struct fbuf_view *v, size_t index,
			      size_t len)
{
	const struct view_memory *m = __atomic_load_n(&v->memory,
						      __ATOMIC_ACQUIRE);
	const char *data;
	uint32_t nr;

	if (!m)
		return NULL;
	data = __atomic_load_n(&m->whole, __ATOMIC_ACQUIRE);
	if (data)
		return data + index;
	nr = stretch_at(m, index);
	data = __atomic_load_n(&m->stretches[nr].data, __ATOMIC_ACQUIRE);
	return data && len <= m->stretches[nr].end - index ?
	       data + (index - stretch_begin(m, nr)) : NULL;
}

int view_piece_read(const struct view_piece *piece, void *to)
{
	const struct fbuf_view *v = piece->view;
	const char *data;

	if (v->kind == VIEW_PARCEL)
		data = parcel_had(v, piece->index, piece->len);
	else
		data = view_data(piece);
	if (!data)
		return fbuf_parcel_read(v->pool, v->name, piece->index, to,
					piece->len);
	memmove(to, data, piece->len);
	return 0;
}

void view_parcel_end(struct fbuf_view *v)
{
	memory_free(v->memory);
	fbuf_free(v->pool, &v->name, 1);
}
