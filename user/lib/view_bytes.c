// SPDX-License-Identifier: LGPL-2.1-or-later
/* Views: cursors, room, and what copies bytes. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib.h"
#include "view.h"

size_t fbuf_view_capacity(const struct fbuf_view *view)
{
	view_live(view, __func__);
	return view_cap(view);
}

size_t fbuf_view_reader(const struct fbuf_view *view)
{
	view_live(view, __func__);
	return view->read;
}

size_t fbuf_view_writer(const struct fbuf_view *view)
{
	view_live(view, __func__);
	return view->write;
}

int fbuf_view_set_cursors(struct fbuf_view *view, size_t reader, size_t writer)
{
	view_live(view, __func__);
	if (reader > writer || writer > view_cap(view))
		return -ERANGE;
	view->read = reader;
	view->write = writer;
	return 0;
}

void fbuf_view_clear(struct fbuf_view *view)
{
	view_live(view, __func__);
	view->read = 0;
	view->write = 0;
}

int fbuf_view_skip(struct fbuf_view *view, size_t len)
{
	view_live(view, __func__);
	if (len > view->write - view->read)
		return -ERANGE;
	view->read += len;
	return 0;
}

/* Nobody else knows where its memory is. */
static bool is_alone(const struct fbuf_view *v)
{
	/* The count first: who let go of it may have made parts before. */
	return v->counted == v &&
	       __atomic_load_n(&v->count, __ATOMIC_ACQUIRE) == 1 && !v->parts;
}

static size_t room(const struct fbuf_view *v)
{
	size_t cap = view_cap(v);

	return cap > v->write ? cap - v->write : 0;
}

static int memory_grow(struct fbuf_view *v, size_t cap)
{
	int saved = errno;
	void *data;

	if (!is_alone(v))
		return -EBUSY;
	if (v->heap)
		data = fbuf_heap_realloc(v->heap, v->data, cap);
	else
		data = realloc(v->data, cap);
	errno = saved;
	if (!data)
		return -ENOMEM;
	v->data = data;
	v->cap = cap;
	return 0;
}

/* Twice as much, so that many small writes do not move it each time. */
static int grow(struct fbuf_view *v, size_t len)
{
	size_t want, twice = v->cap <= SIZE_MAX / 2 ? 2 * v->cap : v->cap;
	int ret = -ENOMEM;

	if (__builtin_add_overflow(v->write, len, &want))
		return -EOVERFLOW;
	if (v->kind == VIEW_COMPOSITE)
		return view_composite_resize(v, want);
	if (v->kind != VIEW_HEAP)
		return -ENOSPC;
	if (want < 64)
		want = 64;
	if (twice > want)
		ret = memory_grow(v, twice);
	return ret == -ENOMEM ? memory_grow(v, want) : ret;
}

int fbuf_view_ensure(struct fbuf_view *view, size_t len)
{
	view_live(view, __func__);
	return len <= room(view) ? 0 : grow(view, len);
}

int fbuf_view_set_capacity(struct fbuf_view *view, size_t capacity)
{
	view_live(view, __func__);
	if (view->kind == VIEW_COMPOSITE)
		return view_composite_resize(view, capacity);
	if (view->counted != view || view->kind == VIEW_RETAINED)
		return -EINVAL;
	if (capacity > view->cap) {
		if (view->kind != VIEW_HEAP)
			return -ENOSPC;
		return memory_grow(view, capacity);
	}
	view->cap = capacity;
	if (view->write > capacity)
		view->write = capacity;
	if (view->read > view->write)
		view->read = view->write;
	return 0;
}

int fbuf_view_truncate(struct fbuf_view *view, size_t len)
{
	size_t end;

	view_live(view, __func__);
	if (len > view->write - view->read)
		return -ERANGE;
	end = view->read + len;
	if (view->kind == VIEW_COMPOSITE)
		view_composite_resize(view, end);
	view->write = end;
	return 0;
}

int fbuf_view_discard(struct fbuf_view *view)
{
	view_live(view, __func__);
	if (view->kind == VIEW_COMPOSITE) {
		view_composite_discard(view, true);
		return 0;
	}
	if (!view->read)
		return 0;
	if (view->flags & VIEW_READ_ONLY)
		return -EACCES;
	if (view->kind == VIEW_RETAINED || !is_alone(view))
		return -EBUSY;
	view->write -= view->read;
	memmove(view->data, view->data + view->read, view->write);
	view->read = 0;
	return 0;
}

void *fbuf_view_space(struct fbuf_view *view, size_t *len)
{
	struct view_piece piece;

	view_live(view, __func__);
	piece = view_at(view, view->write, room(view));
	if (!piece.len || piece.read_only)
		return NULL;
	*len = piece.len;
	return view_data(&piece);
}

int fbuf_view_wrote(struct fbuf_view *view, size_t len)
{
	view_live(view, __func__);
	if (len > room(view))
		return -ERANGE;
	view->write += len;
	return 0;
}

/* Bytes that were seen to be there. */
static int copy_out(const struct fbuf_view *v, size_t index, char *to,
		    size_t len)
{
	int ret = 0;

	while (len && !ret) {
		struct view_piece piece = view_at(v, index, len);

		ret = view_piece_read(&piece, to);
		to += piece.len;
		index += piece.len;
		len -= piece.len;
	}
	return ret;
}

static void copy_in(const struct fbuf_view *v, size_t index, const char *from,
		    size_t len)
{
	while (len) {
		struct view_piece piece = view_at(v, index, len);

		memmove(view_data(&piece), from, piece.len);
		from += piece.len;
		index += piece.len;
		len -= piece.len;
	}
}

static int get(const struct fbuf_view *v, size_t index, void *data, size_t len)
{
	int ret = view_check(v, index, len, false);

	return ret ? ret : copy_out(v, index, data, len);
}

int fbuf_view_get(const struct fbuf_view *view, size_t index, void *data,
		  size_t len)
{
	view_live(view, __func__);
	return get(view, index, data, len);
}

int fbuf_view_set(struct fbuf_view *view, size_t index, const void *data,
		  size_t len)
{
	int ret;

	view_live(view, __func__);
	ret = view_check(view, index, len, true);
	if (!ret)
		copy_in(view, index, data, len);
	return ret;
}

int fbuf_view_read(struct fbuf_view *view, void *data, size_t len)
{
	int ret;

	view_live(view, __func__);
	if (len > view->write - view->read)
		return -ERANGE;
	ret = get(view, view->read, data, len);
	if (!ret)
		view->read += len;
	return ret;
}

/* Room for len bytes at the write cursor, which can be written. */
static int write_begin(struct fbuf_view *v, size_t len)
{
	size_t have = room(v);
	int ret;

	if (v->flags & VIEW_READ_ONLY)
		return -EACCES;
	if (v->write > view_cap(v))
		return -ERANGE;
	ret = view_check(v, v->write, len < have ? len : have, true);
	if (!ret && len > have)
		ret = grow(v, len);
	return ret;
}

int fbuf_view_write(struct fbuf_view *view, const void *data, size_t len)
{
	int ret;

	view_live(view, __func__);
	ret = write_begin(view, len);
	if (ret)
		return ret;
	copy_in(view, view->write, data, len);
	view->write += len;
	return 0;
}

int fbuf_view_write_view(struct fbuf_view *view, struct fbuf_view *from,
			 size_t len)
{
	struct view_piece piece, to;
	size_t done;
	int ret;

	view_live(view, __func__);
	view_live(from, __func__);
	if (len > from->write - from->read)
		return -ERANGE;
	ret = view_check(from, from->read, len, false);
	if (!ret)
		ret = write_begin(view, len);
	for (done = 0; done < len && !ret; done += piece.len) {
		to = view_at(view, view->write + done, len - done);
		piece = view_at(from, from->read + done, to.len);
		ret = view_piece_read(&piece, view_data(&to));
	}
	if (ret)
		return ret;
	view->write += len;
	from->read += len;
	return 0;
}

struct fbuf_view *fbuf_view_copy(const struct fbuf_view *view,
				 struct fbuf_heap *heap, size_t index,
				 size_t len)
{
	struct fbuf_view *copy;

	view_live(view, __func__);
	if (view_check(view, index, len, false))
		return NULL;
	copy = fbuf_view_alloc(heap, len);
	if (!copy)
		return NULL;
	if (copy_out(view, index, copy->data, len)) {
		view_release(copy, __func__);
		return NULL;
	}
	copy->write = len;
	return copy;
}

#define LOOK_MAX	1024U

/* Bytes of a piece to look at: of a parcel, some of them, in memory that is lent. */
static const char *piece_look(struct view_piece *piece, char *lent)
{
	if (!piece->len || piece->view->kind != VIEW_PARCEL)
		return piece->len ? view_data(piece) : NULL;
	if (piece->len > LOOK_MAX)
		piece->len = LOOK_MAX;
	/* What cannot be read is not there. */
	if (view_piece_read(piece, lent))
		piece->len = 0;
	return lent;
}

int fbuf_view_compare(const struct fbuf_view *a, const struct fbuf_view *b)
{
	size_t a_len, b_len, done = 0, both, n;
	char a_lent[LOOK_MAX], b_lent[LOOK_MAX];
	int ret;

	view_live(a, __func__);
	view_live(b, __func__);
	a_len = a->write - a->read;
	b_len = b->write - b->read;
	both = a_len < b_len ? a_len : b_len;
	for (; done < both; done += n) {
		struct view_piece p = view_at(a, a->read + done, both - done);
		struct view_piece q = view_at(b, b->read + done, both - done);
		const char *x = piece_look(&p, a_lent);
		const char *y = piece_look(&q, b_lent);

		n = p.len < q.len ? p.len : q.len;
		/* A composite that has become shorter ends here. */
		if (!n || !x || !y)
			return (p.len > 0) - (q.len > 0);
		ret = memcmp(x, y, n);
		if (ret)
			return ret < 0 ? -1 : 1;
	}
	return (a_len > b_len) - (a_len < b_len);
}
