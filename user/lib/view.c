// SPDX-License-Identifier: LGPL-2.1-or-later
/* Views: how they are made, counted, and parted; where their bytes are. */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include <fbuf/parcel.h>

#include "lib.h"
#include "view.h"

/* More references are a loop that forgets to release. */
#define COUNT_MAX	((uint32_t)INT_MAX)

/* So that it is in programs that are linked with libfbuf.a. */
static void (*const start)(void) __attribute__((__used__)) = view_start;

struct fbuf_view *view_new(enum view_kind kind, void *data, size_t cap)
{
	struct fbuf_view *v = view_get();

	if (!v)
		return NULL;
	v->kind = kind;
	v->count = 1;
	v->counted = v;
	v->data = data;
	v->cap = cap;
	return v;
}

/* All that there is can be read. */
static struct fbuf_view *view_filled(enum view_kind kind, void *data,
				     size_t len)
{
	int saved = errno;
	struct fbuf_view *v = view_new(kind, data, len);

	if (v)
		v->write = len;
	errno = saved;
	return v;
}

/* What check mode keeps of a heap is for those who have no other. */
static void *memory_alloc(struct fbuf_heap *heap, size_t size)
{
	void *data;

	if (!heap)
		return malloc(size ? size : 1);
	data = fbuf_heap_alloc(heap, size);
	if (!data && __atomic_load_n(&view_checking, __ATOMIC_RELAXED) &&
	    view_check_give(heap))
		data = fbuf_heap_alloc(heap, size);
	return data;
}

static void memory_free(struct fbuf_heap *heap, void *data)
{
	if (heap)
		fbuf_heap_free(heap, data);
	else
		free(data);
}

struct fbuf_view *fbuf_view_alloc(struct fbuf_heap *heap, size_t capacity)
{
	int saved = errno;
	struct fbuf_view *v;
	void *data;

	data = memory_alloc(heap, capacity);
	v = data ? view_new(VIEW_HEAP, data, capacity) : NULL;
	if (v) {
		v->heap = heap;
		view_made(v, __func__);
	} else if (data) {
		memory_free(heap, data);
	}
	errno = saved;
	return v;
}

struct fbuf_view *fbuf_view_own(struct fbuf_heap *heap, void *ptr, size_t len)
{
	struct fbuf_view *v = view_filled(VIEW_HEAP, ptr, len);

	if (v) {
		v->heap = heap;
		view_made(v, __func__);
	}
	return v;
}

struct fbuf_view *fbuf_view_buf(struct fbuf_pool *pool, uint64_t name)
{
	void *data = fbuf_addr(pool, name);
	struct fbuf_view *v;

	if (!data)
		return NULL;
	v = view_filled(VIEW_BUF, data, fbuf_pool_buf_size(pool));
	if (!v)
		return NULL;
	v->pool = pool;
	v->name = name;
	if (!(fbuf_pool_rights(pool) & FBUF_RIGHT_WRITE))
		v->flags = VIEW_READ_ONLY;
	view_made(v, __func__);
	return v;
}

struct fbuf_view *fbuf_view_parcel(struct fbuf_pool *pool, uint64_t name,
				   size_t len)
{
	struct fbuf_view *v;

	if (!fbuf_is_parcel(name) || len > FBUF_PARCEL_MAX)
		return NULL;
	v = view_filled(VIEW_PARCEL, NULL, len);
	if (!v)
		return NULL;
	v->pool = pool;
	v->name = name;
	v->bytes = len;
	v->flags = VIEW_READ_ONLY;
	view_made(v, __func__);
	return v;
}

static struct fbuf_view *wrap(void *data, size_t len, unsigned int flags,
			      void (*release)(void *arg), void *arg)
{
	struct fbuf_view *v = view_filled(VIEW_WRAP, data, len);

	if (v) {
		v->flags = flags;
		v->release = release;
		v->arg = arg;
	}
	return v;
}

struct fbuf_view *fbuf_view_wrap_writable(void *data, size_t len,
					  void (*release)(void *arg),
					  void *arg)
{
	struct fbuf_view *v = wrap(data, len, 0, release, arg);

	if (v)
		view_made(v, __func__);
	return v;
}

struct fbuf_view *fbuf_view_wrap(const void *data, size_t len,
				 void (*release)(void *arg), void *arg)
{
	struct fbuf_view *v = wrap((void *)data, len, VIEW_READ_ONLY, release,
				   arg);

	if (v)
		view_made(v, __func__);
	return v;
}

static void retain(struct fbuf_view *counted, uint32_t nr, const char *what)
{
	uint32_t old = __atomic_fetch_add(&counted->count, nr,
					  __ATOMIC_RELAXED);

	if (!old)
		view_die_dead(counted, what);
	if (old > COUNT_MAX || nr > COUNT_MAX - old)
		view_die(counted, what, "has too many references");
}

void view_retain(struct fbuf_view *v, const char *what)
{
	retain(view_live(v, what), 1, what);
}

struct fbuf_view *fbuf_view_retain_many(struct fbuf_view *view,
					unsigned int nr)
{
	retain(view_live(view, __func__), nr, __func__);
	return view;
}

struct fbuf_view *fbuf_view_retain(struct fbuf_view *view)
{
	retain(view_live(view, __func__), 1, __func__);
	return view;
}

/* Views whose count became 0, and that this thread is to end. */
static __thread struct fbuf_view *ending
	__attribute__((__tls_model__("initial-exec")));
static __thread bool ends __attribute__((__tls_model__("initial-exec")));

/* Whether it was the last that was counted. */
static bool count_down(struct fbuf_view *counted, uint32_t nr, const char *what)
{
	uint32_t old = __atomic_fetch_sub(&counted->count, nr,
					  __ATOMIC_ACQ_REL);

	if (old < nr || !old)
		view_die(counted, what,
			 "was released more often than retained");
	return old == nr;
}

static void ends_next(struct fbuf_view *v)
{
	v->next = ending;
	ending = v;
}

/* Of a view that ends: those that end with it come next. */
static void let_go_of(struct fbuf_view *counted)
{
	if (count_down(counted, 1, "fbuf_view_release"))
		ends_next(counted);
}

static void let_go_below(struct fbuf_view *v)
{
	uint32_t i;

	switch (v->kind) {
	case VIEW_HEAP:
		if (!__atomic_load_n(&view_checking, __ATOMIC_RELAXED) ||
		    !view_check_keep(v))
			memory_free(v->heap, v->data);
		break;
	case VIEW_BUF:
		fbuf_free(v->pool, &v->name, 1);
		break;
	case VIEW_PARCEL:
		view_parcel_end(v);
		break;
	case VIEW_RETAINED:
		let_go_of(v->held);
		break;
	case VIEW_COMPOSITE:
		for (i = 0; i < v->nr; i++)
			let_go_of(v->components[i].view->counted);
		free(v->components);
		break;
	}
}

static void view_end(struct fbuf_view *v)
{
	void (*call)(void *arg) = v->release;
	struct fbuf_view *part, *next;
	void *arg = v->arg;

	for (part = v->parts; part; part = next) {
		next = part->next;
		part->held = v;
		view_put(part);
	}
	view_watch_end(v);
	let_go_below(v);
	view_put(v);
	if (call)
		call(arg);
}

bool view_defer(void)
{
	bool was = ends;

	ends = true;
	return was;
}

/* What these had ends here as well, one after the other: they may be many. */
void view_undefer(bool deferred)
{
	int saved = errno;
	struct fbuf_view *v;

	if (deferred)
		return;
	while (ending) {
		v = ending;
		ending = v->next;
		view_end(v);
	}
	ends = false;
	errno = saved;
}

static int let_go(struct fbuf_view *counted, uint32_t nr, const char *what)
{
	bool deferred;

	if (!count_down(counted, nr, what))
		return 0;
	deferred = view_defer();
	ends_next(counted);
	view_undefer(deferred);
	return 1;
}

bool view_release(struct fbuf_view *v, const char *what)
{
	return let_go(view_live(v, what), 1, what);
}

int fbuf_view_release_many(struct fbuf_view *view, unsigned int nr)
{
	if (!view)
		return 0;
	return let_go(view_live(view, __func__), nr, __func__);
}

int fbuf_view_release(struct fbuf_view *view)
{
	if (!view)
		return 0;
	return let_go(view_live(view, __func__), 1, __func__);
}

unsigned int fbuf_view_count(const struct fbuf_view *view)
{
	const struct fbuf_view *c = view->counted;

	return c ? __atomic_load_n(&c->count, __ATOMIC_RELAXED) : 0;
}

int fbuf_view_on_release(struct fbuf_view *view, void (*release)(void *arg),
			 void *arg)
{
	if (view_live(view, __func__) != view)
		return -EINVAL;
	view->release = release;
	view->arg = arg;
	return 0;
}

uint32_t view_component_at(const struct fbuf_view *v, size_t index)
{
	uint32_t lo = 0, hi = v->nr, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (v->components[mid].end <= index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Parts of a parcel have their bytes, whatever capacity the first view was given. */
static size_t limit(const struct fbuf_view *v)
{
	return v->kind == VIEW_PARCEL ? v->bytes : view_cap(v);
}

/* Down to what has bytes of its own, through composites in composites. */
struct view_piece view_at(const struct fbuf_view *v, size_t index, size_t len)
{
	struct view_piece piece = { .len = len };
	const struct view_component *c;
	uint32_t nr;

	for (;;) {
		if (index >= limit(v))
			return (struct view_piece){ 0 };
		piece.read_only |= v->flags & VIEW_READ_ONLY;
		if (v->data || v->kind == VIEW_PARCEL)
			break;
		if (v->from) {
			index += v->shift;
			v = v->from;
			continue;
		}
		nr = view_component_at(v, index);
		c = v->components + nr;
		if (piece.len > c->end - index)
			piece.len = c->end - index;
		index += c->begin - view_component_begin(v, nr);
		piece.read_only |= c->read_only;
		v = c->view;
	}
	if (piece.len > limit(v) - index)
		piece.len = limit(v) - index;
	piece.view = (struct fbuf_view *)v;
	piece.index = index;
	return piece;
}

static bool is_of_parcel(const struct fbuf_view *v)
{
	return (v->from ? v->from : v)->kind == VIEW_PARCEL;
}

int view_check(const struct fbuf_view *v, size_t index, size_t len,
	       bool writable)
{
	struct view_piece piece;

	if (!view_within(v, index, len))
		return -ERANGE;
	if (v->data || is_of_parcel(v))
		return writable && v->flags & VIEW_READ_ONLY ? -EACCES : 0;
	for (; len; index += piece.len, len -= piece.len) {
		piece = view_at(v, index, len);
		if (!piece.len)
			return -ERANGE;
		if (writable && piece.read_only)
			return -EACCES;
	}
	return 0;
}

/* The view that the parts of a view have their bytes from. */
static void part_bytes(struct fbuf_view *part, struct fbuf_view *of,
		       size_t index)
{
	part->flags = of->flags & VIEW_READ_ONLY;
	if (of->data) {
		part->data = of->data + index;
		return;
	}
	part->from = of->from ? of->from : of;
	part->shift = (of->from ? of->shift : 0) + index;
}

/* It lives as long as the one whose count it has; threads may do this at once. */
static void part_add(struct fbuf_view *counted, struct fbuf_view *part)
{
	part->next = __atomic_load_n(&counted->parts, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&counted->parts, &part->next, part,
					    true, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED))
		;
}

struct fbuf_view *view_part(struct fbuf_view *v, size_t index, size_t len,
			    bool retained, const char *what)
{
	struct fbuf_view *counted = v->counted, *part;
	int saved = errno;

	part = view_new(retained ? VIEW_RETAINED : VIEW_PART, NULL, len);
	errno = saved;
	if (!part)
		return NULL;
	part->write = len;
	part_bytes(part, v, index);
	if (retained) {
		retain(counted, 1, what);
		part->held = counted;
	} else {
		part->count = 0;
		part->counted = counted;
		part_add(counted, part);
	}
	return part;
}

static struct fbuf_view *duplicate(struct fbuf_view *v, bool retained,
				   const char *what)
{
	struct fbuf_view *part = view_part(v, 0, view_cap(v), retained, what);

	if (!part)
		return NULL;
	part->read = v->read;
	part->write = v->write;
	if (v->kind == VIEW_COMPOSITE || v->flags & VIEW_WHOLE)
		part->flags |= VIEW_WHOLE;
	return part;
}

struct fbuf_view *fbuf_view_slice(struct fbuf_view *view, size_t index,
				  size_t len)
{
	view_live(view, __func__);
	if (view_check(view, index, len, false))
		return NULL;
	return view_part(view, index, len, false, __func__);
}

struct fbuf_view *fbuf_view_retained_slice(struct fbuf_view *view,
					   size_t index, size_t len)
{
	struct fbuf_view *part;

	view_live(view, __func__);
	if (view_check(view, index, len, false))
		return NULL;
	part = view_part(view, index, len, true, __func__);
	if (part)
		view_made(part, __func__);
	return part;
}

struct fbuf_view *fbuf_view_duplicate(struct fbuf_view *view)
{
	view_live(view, __func__);
	return duplicate(view, false, __func__);
}

struct fbuf_view *fbuf_view_retained_duplicate(struct fbuf_view *view)
{
	struct fbuf_view *part;

	view_live(view, __func__);
	part = duplicate(view, true, __func__);
	if (part)
		view_made(part, __func__);
	return part;
}

static struct fbuf_view *read_slice(struct fbuf_view *v, size_t len,
				    bool retained, const char *what)
{
	struct fbuf_view *part;

	if (len > v->write - v->read || view_check(v, v->read, len, false))
		return NULL;
	part = view_part(v, v->read, len, retained, what);
	if (part)
		v->read += len;
	return part;
}

struct fbuf_view *fbuf_view_read_slice(struct fbuf_view *view, size_t len)
{
	view_live(view, __func__);
	return read_slice(view, len, false, __func__);
}

struct fbuf_view *fbuf_view_read_retained_slice(struct fbuf_view *view,
						size_t len)
{
	struct fbuf_view *part;

	view_live(view, __func__);
	part = read_slice(view, len, true, __func__);
	if (part)
		view_made(part, __func__);
	return part;
}

struct fbuf_view *fbuf_view_read_only(struct fbuf_view *view)
{
	struct fbuf_view *part;

	view_live(view, __func__);
	part = duplicate(view, false, __func__);
	if (part)
		part->flags |= VIEW_READ_ONLY;
	return part;
}

int fbuf_view_is_read_only(const struct fbuf_view *view)
{
	view_live(view, __func__);
	return !!(view->flags & VIEW_READ_ONLY);
}

size_t fbuf_view_len(const struct fbuf_view *view)
{
	view_live(view, __func__);
	return view->write - view->read;
}

void *fbuf_view_data(const struct fbuf_view *view)
{
	struct view_piece piece;
	char *data;
	size_t len;

	view_live(view, __func__);
	if (view->data)
		return view->data + view->read;
	len = view->write - view->read;
	piece = view_at(view, view->read, len);
	if (!len || piece.len != len || view_piece_memory(&piece, true, &data))
		return NULL;
	return data;
}

int view_readable(const struct fbuf_view *v, size_t offset, size_t len,
		  struct view_piece *piece, const char *what)
{
	view_live(v, what);
	if (offset > v->write - v->read || len > v->write - v->read - offset)
		return -ERANGE;
	*piece = view_at(v, v->read + offset, len);
	return piece->len ? 0 : -ERANGE;
}

/* Pieces that lie one after the other in memory as well are one. */
int fbuf_view_iovec(const struct fbuf_view *view, size_t offset, size_t len,
		    struct iovec *iov, unsigned int max)
{
	unsigned int nr = 0;
	size_t index;

	view_live(view, __func__);
	index = view->read + offset;
	if (offset > view->write - view->read || len > view->write - index ||
	    view_check(view, index, len, false))
		return -ERANGE;
	while (len) {
		struct view_piece piece = view_at(view, index, len);
		char *data;
		int ret;

		/* Only if another thread makes it shorter. */
		if (!piece.view)
			return -ERANGE;
		/* No copy for nothing. */
		if (nr == max && piece.view->kind == VIEW_PARCEL)
			break;
		ret = view_piece_memory(&piece, false, &data);
		if (ret)
			return ret;
		if (nr && (char *)iov[nr - 1].iov_base +
				  iov[nr - 1].iov_len == data) {
			iov[nr - 1].iov_len += piece.len;
		} else if (nr < max && nr < INT_MAX) {
			iov[nr].iov_base = data;
			iov[nr++].iov_len = piece.len;
		} else {
			break;
		}
		index += piece.len;
		len -= piece.len;
	}
	return nr;
}
