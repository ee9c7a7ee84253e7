// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Random operations on views, and the same on a model: plain arrays of bytes. After
 * each, what the view says must be what the model has.
 *
 *	test_view_random [OPERATIONS [SEED]]
 */

#include <errno.h>
#include <stdint.h>

#include "test_view.h"

#define HANDLES		24U
#define EPISODE		1000U
#define MAX_CAP		4096U

/*
 * A byte has a place in the arena, which all views that share it point to. A part
 * has places of its base, as they are by then.
 */
struct model {
	struct model *base;	/* NULL: it has places of its own */
	size_t shift;
	bool whole;		/* as long as its base */
	unsigned char **place;
	size_t cap;
	size_t reader;
	size_t writer;
	struct model *counted;
	struct model *held;	/* one reference to that */
	unsigned int count;
	bool parted;		/* parts share the count */
	bool list;		/* a composite */
	bool alloc;		/* can grow */
	bool read_only;
	bool frozen;		/* and so is its memory */
	bool loose;		/* composites may have references to it */
	unsigned int max;
	struct model *next;	/* of all */
};

/* Each has one reference. */
struct handle {
	struct fbuf_view *view;
	struct model *model;
};

static struct handle handles[HANDLES];
static unsigned int nr_handles;
static struct model *models;
static unsigned char arena[4 << 20];
/* Nobody may write there. */
static bool frozen[sizeof(arena)];
static size_t arena_used;
static uint64_t state;
static unsigned long step;

static uint64_t rand64(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static size_t below(size_t n)
{
	return n ? (rand64() >> 11) % n : 0;
}

/* Mostly within, sometimes just beyond. */
static size_t about(size_t n)
{
	return below(16) ? below(n + 1) : n + below(3);
}

static __attribute__((__noreturn__)) void wrong(const char *what, int line)
{
	printf("# line %d, operation %lu: %s\n", line, step, what);
	printf("not ok 1 random operations are those of the model\n");
	exit(1);
}

#define MUST(cond)						\
	do {							\
		if (!(cond))					\
			wrong(#cond, __LINE__);			\
	} while (0)

static unsigned char *new_byte(void)
{
	MUST(arena_used < sizeof(arena));
	return &arena[arena_used++];
}

/* The analyzer of GCC 12 loses sight of what these keep. */
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

static struct model *new_model(void)
{
	struct model *m = calloc(1, sizeof(*m));

	MUST(m);
	m->next = models;
	models = m;
	m->counted = m;
	m->count = 1;
	return m;
}

static void model_room(struct model *m, size_t cap)
{
	unsigned char **place = reallocarray(m->place, cap + 1, sizeof(*place));

	MUST(place);
	m->place = place;
}

static void model_grow(struct model *m, size_t cap)
{
	model_room(m, cap);
	while (m->cap < cap)
		m->place[m->cap++] = new_byte();
}

static size_t cap_of(const struct model *m)
{
	return m->whole ? m->base->cap : m->cap;
}

/* Whether there are such bytes: a base may have fewer by now. */
static bool has(const struct model *m, size_t index, size_t len)
{
	if (index > cap_of(m) || len > cap_of(m) - index)
		return false;
	return !len || !m->base || m->shift + index + len <= m->base->cap;
}

static unsigned char *at(const struct model *m, size_t index)
{
	return m->base ? m->base->place[m->shift + index] : m->place[index];
}

static void add_handle(struct fbuf_view *v, struct model *m)
{
	MUST(v && nr_handles < HANDLES);
	handles[nr_handles++] = (struct handle){ v, m };
}

static void model_release(struct model *m)
{
	/* What a composite has is counted by the views themselves. */
	do {
		m = m->counted;
	} while (!--m->count && (m = m->held));
}

static void drop_handle(unsigned int i)
{
	handles[i] = handles[--nr_handles];
}

static void release(unsigned int i)
{
	struct fbuf_view *v = handles[i].view;
	struct model *m = handles[i].model;

	model_release(m);
	fbuf_view_release(v);
	drop_handle(i);
}

/* Bytes, of the view and of the model. */
static void same(const struct handle *h, size_t index, size_t len)
{
	unsigned char is[2 * MAX_CAP];
	size_t i;

	MUST(len <= sizeof(is));
	if (!has(h->model, index, len)) {
		MUST(fbuf_view_get(h->view, index, is, len) == -ERANGE);
		return;
	}
	MUST(!fbuf_view_get(h->view, index, is, len));
	for (i = 0; i < len; i++)
		MUST(is[i] == *at(h->model, index + i));
}

static void same_state(const struct handle *h)
{
	const struct model *m = h->model;

	MUST(fbuf_view_reader(h->view) == m->reader);
	MUST(fbuf_view_writer(h->view) == m->writer);
	MUST(fbuf_view_capacity(h->view) == cap_of(m));
	MUST(fbuf_view_len(h->view) == m->writer - m->reader);
}

static struct handle *any(void)
{
	return &handles[below(nr_handles)];
}

/* Its readable bytes are all there. */
static bool sound(const struct model *m)
{
	return has(m, m->reader, m->writer - m->reader);
}

static void op_new(void)
{
	size_t len = below(200);
	struct fbuf_view *v;
	struct model *m;

	if (nr_handles >= HANDLES - 2)
		return;
	m = new_model();
	switch (below(4)) {
	case 0:
		v = (below(2) ? of_const : of_parcel)(step, len);
		m->read_only = true;
		m->frozen = true;
		break;
	case 1:
		v = of_wrap(step, len);
		break;
	case 2:
		v = of_buf(step, len);
		break;
	default:
		v = (below(2) ? of_heap : of_malloc)(step, len);
		m->alloc = true;
	}
	model_grow(m, len);
	m->writer = len;
	while (len--) {
		*m->place[len] = byte_at(step + len);
		frozen[m->place[len] - arena] = m->frozen;
	}
	add_handle(v, m);
}

static void op_composite(void)
{
	struct model *m;

	if (nr_handles >= HANDLES - 2)
		return;
	m = new_model();
	m->list = true;
	m->max = below(2) ? 0 : 1 + below(4);
	model_room(m, 0);
	add_handle(root(fbuf_view_composite(m->max)), m);
}

static void op_get(void)
{
	const struct handle *h = any();
	size_t index = about(cap_of(h->model));

	same(h, index, about(cap_of(h->model) - (index < cap_of(h->model) ?
						 index : cap_of(h->model))));
}

static int may_set(const struct model *m, size_t index, size_t len)
{
	size_t i;

	if (index > cap_of(m) || len > cap_of(m) - index)
		return -ERANGE;
	if (!m->list && !m->base && m->read_only)
		return -EACCES;
	/* Piece by piece, what is first is said. */
	for (i = 0; i < len; i++) {
		if (!has(m, index + i, 1))
			return -ERANGE;
		if (m->read_only || frozen[at(m, index + i) - arena])
			return -EACCES;
	}
	return 0;
}

static void model_set(struct model *m, size_t index, const unsigned char *from,
		      size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		*at(m, index + i) = from[i];
}

static void op_set(void)
{
	const struct handle *h = any();
	size_t index = about(cap_of(h->model)), len = below(40);
	unsigned char bytes[40];
	int want = may_set(h->model, index, len);

	fill_bytes(bytes, step, len);
	MUST(fbuf_view_set(h->view, index, bytes, len) == want);
	if (!want)
		model_set(h->model, index, bytes, len);
}

/* Nobody else knows where its memory is. */
static bool alone(const struct model *m)
{
	return m->counted == m && m->count == 1 && !m->parted;
}

/* A composite is going to have references to this: whether, is not told here. */
static void loosen(struct model *m)
{
	while (m) {
		m->counted->loose = true;
		m = m->counted->held;
	}
}

static int may_grow(const struct model *m)
{
	if (m->list)
		return 0;
	if (!m->alloc)
		return -ENOSPC;
	return alone(m) ? 0 : -EBUSY;
}

static unsigned int components(const struct handle *h)
{
	return fbuf_view_components(h->view);
}

/* All bytes are copied. */
static void model_consolidate(struct model *m)
{
	unsigned char *copy;
	size_t i;

	for (i = 0; i < m->cap; i++) {
		copy = new_byte();
		*copy = *m->place[i];
		m->place[i] = copy;
	}
}

/* What the view made room for. */
static void grown(struct handle *h, unsigned int nr, size_t want)
{
	size_t cap = fbuf_view_capacity(h->view);
	struct model *m = h->model;

	MUST(cap >= want && (!m->list || cap == want));
	model_grow(m, cap);
	if (m->list && m->max && nr + 1 > m->max)
		model_consolidate(m);
}

static void op_write(void)
{
	struct handle *h = any();
	struct model *m = h->model;
	size_t len = below(60), room, old = cap_of(m);
	unsigned int nr = m->list ? components(h) : 0;
	unsigned char bytes[60];
	int want;

	fill_bytes(bytes, step, len);
	if (m->writer > old || old > MAX_CAP - 60)
		return;
	room = old - m->writer;
	if (len > room && m->counted->loose && !m->list)
		return;
	want = may_set(m, m->writer, len < room ? len : room);
	if (m->read_only)
		want = -EACCES;
	if (!want && len > room)
		want = may_grow(m);
	MUST(fbuf_view_write(h->view, bytes, len) == want);
	if (want)
		return;
	if (len > room)
		grown(h, nr, m->writer + len);
	model_set(m, m->writer, bytes, len);
	m->writer += len;
	/* What else it made room for has no bytes that the model knows. */
	if (len > room) {
		MUST(!fbuf_view_set_capacity(h->view, m->writer));
		m->cap = m->writer;
	}
}

/* Bytes that would be read after they were written are no copy. */
static bool overlap(const struct model *m, const struct model *f, size_t len)
{
	size_t i, k;

	for (i = 0; i < len; i++)
		for (k = 0; k < len; k++)
			if (at(m, m->writer + i) == at(f, f->reader + k))
				return true;
	return false;
}

static void op_write_view(void)
{
	struct handle *h = any(), *from = any();
	struct model *m = h->model, *f = from->model;
	size_t len = below(40), i;
	unsigned char bytes[40];

	if (h == from || m->read_only || len > f->writer - f->reader ||
	    !has(f, f->reader, len) || may_set(m, m->writer, len) ||
	    overlap(m, f, len))
		return;
	for (i = 0; i < len; i++)
		bytes[i] = *at(f, f->reader + i);
	MUST(!fbuf_view_write_view(h->view, from->view, len));
	model_set(m, m->writer, bytes, len);
	m->writer += len;
	f->reader += len;
}

static void op_read(void)
{
	struct handle *h = any();
	struct model *m = h->model;
	size_t readable = m->writer - m->reader, len = about(readable), i;
	unsigned char bytes[2 * MAX_CAP];
	bool there = len <= readable && has(m, m->reader, len);

	MUST(len <= sizeof(bytes));
	if (below(2)) {
		MUST(!fbuf_view_skip(h->view, len) == (len <= readable));
		m->reader += len <= readable ? len : 0;
		return;
	}
	MUST(fbuf_view_read(h->view, bytes, len) == (there ? 0 : -ERANGE));
	for (i = 0; there && i < len; i++)
		MUST(bytes[i] == *at(m, m->reader + i));
	m->reader += there ? len : 0;
}

static void op_cursors(void)
{
	struct handle *h = any();
	struct model *m = h->model;
	size_t writer = about(cap_of(m)), reader = about(writer);
	bool right = reader <= writer && writer <= cap_of(m);

	if (!below(8)) {
		fbuf_view_clear(h->view);
		m->reader = 0;
		m->writer = 0;
		return;
	}
	MUST(!fbuf_view_set_cursors(h->view, reader, writer) == right);
	if (right) {
		m->reader = reader;
		m->writer = writer;
	}
}

/* A part of a model; the handle has a reference to what is counted. */
static struct model *model_part(struct model *m, size_t index, size_t len,
				bool retained)
{
	struct model *part = new_model();
	size_t i;

	part->cap = len;
	part->writer = len;
	part->read_only = m->read_only;
	part->frozen = m->frozen;
	if (m->list || m->base) {
		part->base = m->base ? m->base : m;
		part->shift = m->shift + index;
	} else {
		model_room(part, len);
		for (i = 0; i < len; i++)
			part->place[i] = m->place[index + i];
	}
	m->counted->count++;
	if (retained) {
		part->held = m->counted;
	} else {
		part->count = 0;
		part->counted = m->counted;
		m->counted->parted = true;
	}
	return part;
}

static void op_slice(void)
{
	struct handle *h = any();
	struct model *m = h->model;
	bool retained = below(2), right;
	size_t index = about(cap_of(m)), len;
	struct fbuf_view *v;

	if (nr_handles >= HANDLES - 2)
		return;
	len = about(index < cap_of(m) ? cap_of(m) - index : 0);
	right = has(m, index, len);
	if (retained)
		v = fbuf_view_retained_slice(h->view, index, len);
	else
		v = fbuf_view_slice(h->view, index, len);
	MUST(!v == !right);
	if (!v)
		return;
	if (!retained)
		fbuf_view_retain(v);
	add_handle(v, model_part(m, index, len, retained));
}

static void op_read_slice(void)
{
	struct handle *h = any();
	struct model *m = h->model;
	bool retained = below(2);
	size_t len = about(m->writer - m->reader);
	struct fbuf_view *v;

	if (nr_handles >= HANDLES - 2)
		return;
	v = (retained ? fbuf_view_read_retained_slice :
			fbuf_view_read_slice)(h->view, len);
	MUST(!v == !(len <= m->writer - m->reader && has(m, m->reader, len)));
	if (!v)
		return;
	if (!retained)
		fbuf_view_retain(v);
	add_handle(v, model_part(m, m->reader, len, retained));
	m->reader += len;
}

static void op_duplicate(void)
{
	struct handle *h = any();
	struct model *m = h->model, *d;
	unsigned int how = below(3);
	struct fbuf_view *v;

	if (nr_handles >= HANDLES - 2)
		return;
	v = (how == 0 ? fbuf_view_duplicate :
	     how == 1 ? fbuf_view_read_only :
			fbuf_view_retained_duplicate)(h->view);
	if (how < 2)
		fbuf_view_retain(v);
	d = model_part(m, 0, cap_of(m), how == 2);
	d->reader = m->reader;
	d->writer = m->writer;
	d->read_only |= how == 1;
	d->whole = m->list || m->whole;
	add_handle(v, d);
}

static void op_copy(void)
{
	const struct handle *h = any();
	struct model *m = h->model, *c;
	size_t len = m->writer - m->reader, i;
	struct fbuf_view *v;

	if (nr_handles >= HANDLES - 2)
		return;
	v = fbuf_view_copy(h->view, below(2) ? heap : NULL, m->reader, len);
	MUST(!v == !sound(m));
	if (!v)
		return;
	c = new_model();
	c->alloc = true;
	model_grow(c, len);
	c->writer = len;
	for (i = 0; i < len; i++)
		*c->place[i] = *at(m, m->reader + i);
	add_handle(root(v), c);
}

static struct handle *any_list(void)
{
	unsigned int i = below(nr_handles), n;

	for (n = 0; n < nr_handles; n++, i = (i + 1) % nr_handles)
		if (handles[i].model->list)
			return &handles[i];
	return NULL;
}

/* In the place of gone bytes from index on, what is readable in another. */
static void model_replace(struct model *m, size_t index, size_t gone,
			  const struct model *from)
{
	size_t len = from ? from->writer - from->reader : 0, i;
	unsigned char **more = malloc((len + 1) * sizeof(*more));

	MUST(more);
	for (i = 0; i < len; i++)
		more[i] = at(from, from->reader + i);
	model_room(m, m->cap + len);
	memmove(m->place + index + len, m->place + index + gone,
		(m->cap - index - gone) * sizeof(*m->place));
	memcpy(m->place + index, more, len * sizeof(*more));
	m->cap += len - gone;
	free(more);
}

/* The model does not know of read-only parts of what can be written. */
static bool knows(const struct model *m)
{
	return !m->read_only || m->frozen;
}

static bool can_add(const struct handle *list, const struct handle *h)
{
	return h != list && knows(h->model) && sound(h->model) &&
	       list->model->cap < MAX_CAP / 4 &&
	       h->model->writer - h->model->reader < MAX_CAP / 4;
}

/* The handle's reference goes; composites go in only if nobody else has them. */
static void op_add(void)
{
	struct handle *list = any_list(), *h = any();
	struct model *m, *from;
	size_t len, index;
	unsigned int nr, pos;
	bool advance;

	if (!list || !can_add(list, h))
		return;
	m = list->model;
	from = h->model;
	/* What is in a composite must not change its length any more. */
	if ((from->list && (!alone(from) || from->loose)) || from->base)
		return;
	len = from->writer - from->reader;
	nr = components(list);
	pos = below(2) ? nr : below(nr + 1);
	advance = pos == nr || below(2);
	index = pos == nr ? m->cap :
			    (size_t)fbuf_view_component_index(list->view, pos);
	if (pos == nr)
		MUST(!fbuf_view_add(list->view, h->view));
	else
		MUST(!fbuf_view_insert(list->view, pos, h->view, advance));
	model_replace(m, index, 0, from);
	m->writer += advance ? len : 0;
	if (m->max && nr + 1 > m->max)
		model_consolidate(m);
	loosen(from);
	drop_handle(h - handles);
}

static void op_concat(void)
{
	struct handle *list = any_list(), *h = any();
	struct model *m, *from;
	size_t readable, offset, len, index;

	if (!list || list->model->max || !can_add(list, h))
		return;
	m = list->model;
	from = h->model;
	readable = m->writer - m->reader;
	offset = below(readable + 1);
	len = below(readable - offset + 1);
	index = m->reader + offset;
	loosen(from);
	switch (below(3)) {
	case 0:
		MUST(!fbuf_view_concat(list->view, h->view));
		index = m->writer;
		len = 0;
		break;
	case 1:
		MUST(!fbuf_view_replace(list->view, offset, len, NULL));
		model_replace(m, index, len, NULL);
		m->writer -= len;
		return;
	default:
		MUST(!fbuf_view_replace(list->view, offset, len, h->view));
	}
	model_replace(m, index, len, from);
	m->writer += from->writer - from->reader - len;
}

static void op_aggregate(void)
{
	struct handle *h = any();
	struct fbuf_view *v;
	struct model *m;

	if (nr_handles >= HANDLES - 2 || !knows(h->model))
		return;
	v = fbuf_view_aggregate(h->view);
	MUST(!v == !sound(h->model));
	if (!v)
		return;
	loosen(h->model);
	m = new_model();
	m->list = true;
	model_room(m, 0);
	model_replace(m, 0, 0, h->model);
	m->writer = m->cap;
	add_handle(root(v), m);
}

static void within(struct model *m)
{
	if (m->writer > m->cap)
		m->writer = m->cap;
	if (m->reader > m->writer)
		m->reader = m->writer;
}

static void op_remove(void)
{
	struct handle *list = any_list();
	unsigned int nr, first, count;
	size_t begin, end;
	struct model *m;

	if (!list)
		return;
	m = list->model;
	nr = components(list);
	first = below(nr + 1);
	count = below(3);
	if (first + count > nr) {
		MUST(fbuf_view_remove(list->view, first, count) == -ERANGE);
		return;
	}
	begin = first < nr ? (size_t)fbuf_view_component_index(list->view,
							       first) : m->cap;
	end = first + count < nr ?
		(size_t)fbuf_view_component_index(list->view, first + count) :
		m->cap;
	MUST(!fbuf_view_remove(list->view, first, count));
	MUST(components(list) == nr - count);
	model_replace(m, begin, end - begin, NULL);
	within(m);
}

static void op_consolidate(void)
{
	struct handle *list = any_list();
	unsigned int nr;

	if (!list || below(8))
		return;
	nr = components(list);
	MUST(!fbuf_view_consolidate(list->view, 0, nr));
	MUST(components(list) == (nr > 1 ? 1 : nr));
	if (nr > 1)
		model_consolidate(list->model);
}

static void op_discard(void)
{
	struct handle *h = any();
	struct model *m = h->model;
	size_t i, begin;

	if (!m->list) {
		int want = !m->reader ? 0 : m->read_only ? -EACCES :
			   m->held || !alone(m) ? -EBUSY : 0;

		if (m->counted->loose)
			return;
		MUST(fbuf_view_discard(h->view) == want);
		if (want || !m->reader)
			return;
		for (i = m->reader; i < m->writer; i++)
			*at(m, i - m->reader) = *at(m, i);
		m->writer -= m->reader;
		m->reader = 0;
		return;
	}
	if (below(2)) {
		MUST(!fbuf_view_discard(h->view));
		model_replace(m, 0, m->reader, NULL);
		m->writer -= m->reader;
		m->reader = 0;
		return;
	}
	MUST(!fbuf_view_discard_components(h->view));
	begin = m->reader - fbuf_view_reader(h->view);
	MUST(begin <= m->reader);
	/* The first component that is left is read from now. */
	if (fbuf_view_reader(h->view))
		MUST(!fbuf_view_component_at(h->view,
					     fbuf_view_reader(h->view)));
	model_replace(m, 0, begin, NULL);
	m->reader -= begin;
	m->writer -= begin;
}

static void op_truncate(void)
{
	struct handle *h = any();
	struct model *m = h->model;
	size_t len = about(m->writer - m->reader);

	if (len > m->writer - m->reader) {
		MUST(fbuf_view_truncate(h->view, len) == -ERANGE);
		return;
	}
	MUST(!fbuf_view_truncate(h->view, len));
	m->writer = m->reader + len;
	if (m->list)
		m->cap = m->writer;
}

static void op_iovec(void)
{
	const struct handle *h = any();
	const struct model *m = h->model;
	size_t readable = m->writer - m->reader, offset = about(readable), i;
	size_t len = about(offset < readable ? readable - offset : 0);
	size_t done = 0;
	struct iovec iov[64];
	int nr, n;

	nr = fbuf_view_iovec(h->view, offset, len, iov, 64);
	if (offset > readable || len > readable - offset ||
	    !has(m, m->reader + offset, len)) {
		MUST(nr == -ERANGE);
		return;
	}
	MUST(nr >= 0 && nr <= 64 && !nr == !len);
	for (n = 0; n < nr; n++)
		for (i = 0; i < iov[n].iov_len; i++, done++)
			MUST(((unsigned char *)iov[n].iov_base)[i] ==
			     *at(m, m->reader + offset + done));
	MUST(done == len || nr == 64);
	if (readable && sound(m) && fbuf_view_data(h->view))
		MUST(!memcmp(fbuf_view_data(h->view), at(m, m->reader), 1));
}

static void op_compare(void)
{
	const struct handle *a = any(), *b = any();
	size_t a_len = a->model->writer - a->model->reader, i;
	size_t b_len = b->model->writer - b->model->reader;
	int want = 0;

	if (!sound(a->model) || !sound(b->model))
		return;
	for (i = 0; !want && i < a_len && i < b_len; i++)
		want = *at(a->model, a->model->reader + i) -
		       *at(b->model, b->model->reader + i);
	if (!want)
		want = (a_len > b_len) - (a_len < b_len);
	MUST(fbuf_view_compare(a->view, b->view) == (want > 0) - (want < 0));
}

static void op_release(void)
{
	if (nr_handles > 3)
		release(below(nr_handles));
}

static void (*const ops[])(void) = {
	op_new, op_new, op_composite, op_get, op_set, op_set, op_write,
	op_write_view, op_read, op_cursors, op_cursors, op_slice, op_slice,
	op_read_slice, op_duplicate, op_copy, op_add, op_add, op_concat,
	op_concat, op_aggregate, op_remove, op_consolidate, op_discard,
	op_truncate, op_iovec, op_compare, op_release, op_release,
	op_release,
};

static void forget_models(void)
{
	struct model *m;

	while (models) {
		m = models;
		models = m->next;
		free(m->place);
		free(m);
	}
	memset(frozen, 0, arena_used);
	arena_used = 0;
}

static void episode(unsigned int nr)
{
	struct fbuf_heap_stats stats;
	unsigned int i;

	made = 0;
	ended = 0;
	op_new();
	while (nr--) {
		step++;
		ops[below(sizeof(ops) / sizeof(*ops))]();
		if (!nr_handles)
			op_new();
		for (i = 0; i < nr_handles; i++)
			same_state(handles + i);
		if (step % 16 == 0)
			for (i = 0; i < nr_handles; i++)
				same(handles + i, 0, cap_of(handles[i].model));
	}
	while (nr_handles)
		release(below(nr_handles));
	MUST(made == ended);
	MUST(!fbuf_heap_stats(heap, &stats) && !stats.used);
	forget_models();
}

int main(int argc, char **argv)
{
	unsigned long nr = argc > 1 ? strtoul(argv[1], NULL, 0) : 100000;
	unsigned long left, n;

	state = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;
	state = state * 0x9e3779b97f4a7c15 | 1;
	printf("TAP version 13\n1..1\n");
	pools_begin(0);
	for (left = nr; left; left -= n) {
		n = left < EPISODE ? left : EPISODE;
		episode(n);
	}
	failed = false;
	pools_end();
	printf("%sok 1 %lu random operations are those of the model\n",
	       failed ? "not " : "", step);
	return failed;
}
