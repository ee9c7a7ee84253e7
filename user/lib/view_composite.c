// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Composites and aggregates. A component is a stretch of another view: what is
 * split, truncated or replaced here are these stretches, never bytes.
 */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib.h"
#include "view.h"

/* Composites in composites: so deep, and so many are looked at. */
#define DEPTH_MAX	64U
#define LOOKS_MAX	65536U

struct fbuf_view *fbuf_view_composite(unsigned int max)
{
	int saved = errno;
	struct fbuf_view *v = view_new(VIEW_COMPOSITE, NULL, 0);

	if (v) {
		v->max = max;
		view_made(v, __func__);
	}
	errno = saved;
	return v;
}

static int composite_check(const struct fbuf_view *v, const char *what)
{
	view_live(v, what);
	return v->kind == VIEW_COMPOSITE ? 0 : -EINVAL;
}

/* Room for components in all. */
static int components_room(struct view_component **components, uint32_t *room,
			   size_t nr)
{
	size_t want = *room ? *room : 4;
	struct view_component *more;
	int saved = errno;

	if (nr <= *room)
		return 0;
	if (nr > INT_MAX)
		return -ENOMEM;
	while (want < nr)
		want *= 2;
	more = realloc(*components, want * sizeof(*more));
	errno = saved;
	if (!more)
		return -ENOMEM;
	*components = more;
	*room = want;
	return 0;
}

/*
 * In the place of gone components from at on, others, whose end is how many bytes
 * they have; there is room for them. Nothing that this lets go of is heard of
 * before it is done.
 */
static void parts_splice(struct fbuf_view *v, uint32_t at, uint32_t gone,
			 const struct view_component *more, uint32_t nr,
			 const char *what)
{
	struct view_component *c = v->components;
	size_t end = view_component_begin(v, at);
	size_t old_end = view_component_begin(v, at + gone);
	bool deferred = view_defer();
	uint32_t i;

	for (i = at; i < at + gone; i++)
		view_release(c[i].view, what);
	if (c && nr != gone)
		memmove(c + at + nr, c + at + gone,
			(v->nr - at - gone) * sizeof(*c));
	for (i = 0; i < nr; i++) {
		end += more[i].end;
		c[at + i] = more[i];
		c[at + i].end = end;
	}
	v->nr += nr - gone;
	for (i = at + nr; i < v->nr; i++)
		c[i].end += end - old_end;
	v->cap += end - old_end;
	view_undefer(deferred);
}

/* The heap that a view's memory is of, if any. */
static struct fbuf_heap *heap_of(const struct fbuf_view *v)
{
	for (v = v->counted; v->kind == VIEW_RETAINED; v = v->held->counted)
		;
	return v->kind == VIEW_HEAP ? v->heap : NULL;
}

static struct fbuf_view *alloc_like(const struct fbuf_view *v, size_t size)
{
	struct fbuf_heap *heap = NULL;
	uint32_t i;

	for (i = 0; i < v->nr && !heap; i++)
		heap = heap_of(v->components[i].view);
	return fbuf_view_alloc(heap, size);
}

static int consolidate(struct fbuf_view *v, uint32_t first, uint32_t nr,
		       const char *what)
{
	size_t begin = view_component_begin(v, first);
	struct view_component one = { 0 };
	struct view_piece piece;
	size_t len, done;
	int ret = 0;

	if (nr <= 1)
		return 0;
	len = v->components[first + nr - 1].end - begin;
	if (view_check(v, begin, len, false))
		return -ERANGE;
	one.view = alloc_like(v, len);
	if (!one.view)
		return -ENOMEM;
	one.view->write = len;
	one.end = len;
	for (done = 0; done < len && !ret; done += piece.len) {
		piece = view_at(v, begin + done, len - done);
		ret = view_piece_read(&piece, one.view->data + done);
	}
	if (ret) {
		view_release(one.view, what);
		return ret;
	}
	parts_splice(v, first, nr, &one, 1, what);
	return 0;
}

/* Without memory for it they stay as they are, until the next time. */
static void consolidate_if_many(struct fbuf_view *v, const char *what)
{
	if (v->max && v->nr > v->max)
		consolidate(v, 0, v->nr, what);
}

/* Whether a view's bytes are of target; or it is too much to say. */
/* NOLINTNEXTLINE(misc-no-recursion): no deeper than DEPTH_MAX */
static bool reaches(const struct fbuf_view *v, const struct fbuf_view *target,
		    unsigned int depth, unsigned int *looks)
{
	uint32_t i;

	if (v->from)
		v = v->from;
	if (v == target || depth > DEPTH_MAX || ++*looks > LOOKS_MAX)
		return true;
	if (v->kind != VIEW_COMPOSITE)
		return false;
	for (i = 0; i < v->nr; i++)
		if (!v->components[i].view->data &&
		    reaches(v->components[i].view, target, depth + 1, looks))
			return true;
	return false;
}

static int insert_check(const struct fbuf_view *v, uint32_t nr,
			const struct fbuf_view *component, size_t len)
{
	unsigned int looks = 0;

	if (v->kind != VIEW_COMPOSITE)
		return -EINVAL;
	if (nr > v->nr || view_check(component, component->read, len, false))
		return -ERANGE;
	if (len > SIZE_MAX - v->cap)
		return -EOVERFLOW;
	if (!component->data && reaches(component, v, 0, &looks))
		return -ELOOP;
	return 0;
}

static int insert(struct fbuf_view *v, uint32_t nr, struct fbuf_view *component,
		  bool advance, const char *what)
{
	struct view_component c = {
		.view = component,
		.begin = component->read,
		.end = component->write - component->read,
	};
	int ret = insert_check(v, nr, component, c.end);

	if (!ret)
		ret = components_room(&v->components, &v->room,
				      (size_t)v->nr + 1);
	if (ret) {
		view_release(component, what);
		return ret;
	}
	parts_splice(v, nr, 0, &c, 1, what);
	if (advance)
		v->write += c.end;
	consolidate_if_many(v, what);
	return 0;
}

int fbuf_view_add(struct fbuf_view *composite, struct fbuf_view *component)
{
	view_live(composite, __func__);
	view_live(component, __func__);
	return insert(composite, composite->nr, component, true, __func__);
}

int fbuf_view_insert(struct fbuf_view *composite, unsigned int nr,
		     struct fbuf_view *component, int advance)
{
	view_live(composite, __func__);
	view_live(component, __func__);
	return insert(composite, nr, component, advance, __func__);
}

/* Components to be, each with a reference; their end is how many bytes they have. */
struct pieces {
	struct view_component *all;
	uint32_t nr;
	uint32_t room;
	size_t len;
};

static int pieces_add(struct pieces *p, const struct view_component *c,
		      const char *what)
{
	struct view_component *last;
	int ret;

	if (c->end > SIZE_MAX - p->len)
		return -EOVERFLOW;
	p->len += c->end;
	last = p->nr ? p->all + p->nr - 1 : NULL;
	if (last && last->view == c->view &&
	    last->read_only == c->read_only &&
	    last->begin + last->end == c->begin) {
		last->end += c->end;
		return 0;
	}
	ret = components_room(&p->all, &p->room, (size_t)p->nr + 1);
	if (ret)
		return ret;
	view_retain(c->view, what);
	p->all[p->nr++] = *c;
	return 0;
}

/* What has memory, of such bytes of a view. */
static int pieces_collect(struct pieces *p, struct fbuf_view *v, size_t index,
			  size_t len, const char *what)
{
	struct view_component c = { 0 };
	int ret = view_check(v, index, len, false);

	for (; len && !ret; index += c.end, len -= c.end) {
		struct view_piece piece = view_at(v, index, len);

		c.view = piece.view;
		c.begin = piece.index;
		c.end = piece.len;
		c.read_only = piece.read_only;
		ret = pieces_add(p, &c, what);
	}
	return ret;
}

static void pieces_forget(struct pieces *p, const char *what)
{
	while (p->nr)
		view_release(p->all[--p->nr].view, what);
	free(p->all);
}

/* Part of a component that stays. */
static int pieces_keep(struct pieces *p, const struct fbuf_view *v,
		       uint32_t nr, size_t skip, size_t len, const char *what)
{
	struct view_component c = v->components[nr];

	c.begin += skip;
	c.end = len;
	return pieces_add(p, &c, what);
}

/*
 * In the place of bytes index to end - 1, what is readable in from, which may be
 * NULL. Of the first and the last component that this meets a part may stay.
 */
static int replace(struct fbuf_view *v, size_t index, size_t end,
		   struct fbuf_view *from, const char *what)
{
	uint32_t first = view_component_at(v, index);
	uint32_t last = view_component_at(v, end);
	size_t head = index - view_component_begin(v, first);
	size_t tail = end - view_component_begin(v, last), len;
	struct pieces p = { 0 };
	int ret = 0, saved = errno;

	if (head)
		ret = pieces_keep(&p, v, first, 0, head, what);
	len = p.len;
	if (!ret && from)
		ret = pieces_collect(&p, from, from->read,
				     from->write - from->read, what);
	len = p.len - len;
	if (!ret && tail)
		ret = pieces_keep(&p, v, last, tail,
				  v->components[last].end - end, what);
	if (!ret && len > SIZE_MAX - v->cap)
		ret = -EOVERFLOW;
	if (!ret)
		ret = components_room(&v->components, &v->room,
				      (size_t)v->nr + p.nr);
	if (ret) {
		pieces_forget(&p, what);
	} else {
		parts_splice(v, first, last - first + (tail > 0), p.all, p.nr, what);
		free(p.all);
		v->write += len - (end - index);
		consolidate_if_many(v, what);
	}
	errno = saved;
	return ret;
}

int fbuf_view_add_flat(struct fbuf_view *composite,
		       struct fbuf_view *component)
{
	size_t cap;
	int ret;

	view_live(composite, __func__);
	view_live(component, __func__);
	if (composite == component)
		return -EINVAL;
	ret = composite_check(composite, __func__);
	if (!ret) {
		cap = composite->cap;
		ret = replace(composite, cap, cap, component, __func__);
	}
	view_release(component, __func__);
	return ret;
}

int fbuf_view_components(const struct fbuf_view *composite)
{
	int ret = composite_check(composite, __func__);

	return ret ? ret : (int)composite->nr;
}

struct fbuf_view *fbuf_view_component(struct fbuf_view *composite,
				      unsigned int nr)
{
	const struct view_component *c;
	struct fbuf_view *part;
	size_t len;

	if (composite_check(composite, __func__) || nr >= composite->nr)
		return NULL;
	c = composite->components + nr;
	len = c->end - view_component_begin(composite, nr);
	if (view_check(c->view, c->begin, len, false))
		return NULL;
	part = view_part(c->view, c->begin, len, false, __func__);
	if (part && c->read_only)
		part->flags |= VIEW_READ_ONLY;
	return part;
}

ssize_t fbuf_view_component_index(const struct fbuf_view *composite,
				  unsigned int nr)
{
	int ret = composite_check(composite, __func__);

	if (ret)
		return ret;
	if (nr >= composite->nr)
		return -ERANGE;
	return view_component_begin(composite, nr);
}

int fbuf_view_component_at(const struct fbuf_view *composite, size_t index)
{
	int ret = composite_check(composite, __func__);

	if (ret)
		return ret;
	if (index >= composite->cap)
		return -ERANGE;
	return view_component_at(composite, index);
}

static void cursors_within(struct fbuf_view *v)
{
	if (v->write > v->cap)
		v->write = v->cap;
	if (v->read > v->write)
		v->read = v->write;
}

static int range_check(const struct fbuf_view *v, uint32_t nr, uint32_t count,
		       const char *what)
{
	int ret = composite_check(v, what);

	if (!ret && (nr > v->nr || count > v->nr - nr))
		ret = -ERANGE;
	return ret;
}

int fbuf_view_remove(struct fbuf_view *composite, unsigned int nr,
		     unsigned int count)
{
	int ret = range_check(composite, nr, count, __func__);

	if (ret)
		return ret;
	parts_splice(composite, nr, count, NULL, 0, __func__);
	cursors_within(composite);
	return 0;
}

int fbuf_view_consolidate(struct fbuf_view *composite, unsigned int nr,
			  unsigned int count)
{
	int ret = range_check(composite, nr, count, __func__);

	return ret ? ret : consolidate(composite, nr, count, __func__);
}

void view_composite_discard(struct fbuf_view *v, bool all)
{
	uint32_t nr = view_component_at(v, v->read), i;
	size_t begin;

	if (!v->read)
		return;
	begin = view_component_begin(v, nr);
	v->read -= begin;
	v->write -= begin;
	parts_splice(v, 0, nr, NULL, 0, "fbuf_view_discard");
	if (!all || !v->read)
		return;
	v->components[0].begin += v->read;
	for (i = 0; i < v->nr; i++)
		v->components[i].end -= v->read;
	v->cap -= v->read;
	v->write -= v->read;
	v->read = 0;
}

int fbuf_view_discard_components(struct fbuf_view *composite)
{
	int ret = composite_check(composite, __func__);

	if (!ret)
		view_composite_discard(composite, false);
	return ret;
}

static void shrink(struct fbuf_view *v, size_t cap)
{
	uint32_t nr;

	/* Those without a byte that are there go as well. */
	for (nr = v->nr; nr && view_component_begin(v, nr - 1) >= cap;)
		nr--;
	parts_splice(v, nr, v->nr - nr, NULL, 0, "fbuf_view_set_capacity");
	if (nr)
		v->components[nr - 1].end = cap;
	v->cap = cap;
	cursors_within(v);
}

int view_composite_resize(struct fbuf_view *v, size_t cap)
{
	struct view_component c = { 0 };
	int ret;

	if (cap <= v->cap) {
		shrink(v, cap);
		return 0;
	}
	ret = components_room(&v->components, &v->room, (size_t)v->nr + 1);
	if (ret)
		return ret;
	c.end = cap - v->cap;
	c.view = alloc_like(v, c.end);
	if (!c.view)
		return -ENOMEM;
	parts_splice(v, v->nr, 0, &c, 1, "fbuf_view_set_capacity");
	consolidate_if_many(v, "fbuf_view_set_capacity");
	return 0;
}

int fbuf_view_replace(struct fbuf_view *composite, size_t offset, size_t len,
		      struct fbuf_view *view)
{
	int ret = composite_check(composite, __func__);
	size_t readable, index;

	if (view)
		view_live(view, __func__);
	if (ret)
		return ret;
	readable = composite->write - composite->read;
	if (offset > readable || len > readable - offset)
		return -ERANGE;
	index = composite->read + offset;
	return replace(composite, index, index + len, view, __func__);
}

int fbuf_view_concat(struct fbuf_view *composite, struct fbuf_view *view)
{
	int ret = composite_check(composite, __func__);

	view_live(view, __func__);
	if (ret)
		return ret;
	return replace(composite, composite->write, composite->write, view,
		       __func__);
}

struct fbuf_view *fbuf_view_aggregate(struct fbuf_view *view)
{
	struct fbuf_view *v;

	view_live(view, __func__);
	v = fbuf_view_composite(0);
	if (v && replace(v, 0, 0, view, __func__)) {
		view_release(v, __func__);
		v = NULL;
	}
	return v;
}
