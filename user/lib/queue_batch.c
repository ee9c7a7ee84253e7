// SPDX-License-Identifier: LGPL-2.1-or-later
/* The segments of one send, of what is queued. */
#include "piece.h"
#include "queue.h"
#include "view.h"

static bool has_room(const struct batch *b)
{
	return b->segs.nr < SEGS_MAX && b->segs.len < b->budget;
}

/* As much of a piece as there is room for; returns how much. */
static size_t add_piece(const struct fbuf_queue *q, struct batch *b,
			const char *p, size_t len)
{
	size_t done = 0;

	while (done < len && has_room(b)) {
		size_t n = len - done, left = b->budget - b->segs.len;

		done += piece_add(&b->segs, q->pool, p + done,
				  n < left ? n : left);
	}
	return done;
}

/* A stretch of a view: memory; or of a parcel of the pool, which is referred to. */
struct run {
	char *data;
	size_t len;
	uint64_t name;		/* or 0 */
	size_t offset;
};

static int run_get(const struct fbuf_queue *q, const struct batch *b,
		   const struct fbuf_view *view, size_t at, size_t len,
		   struct run *run)
{
	struct view_piece piece;
	int ret = view_readable(view, at, len, &piece, "fbuf_queue_flush");

	if (ret)
		return ret;
	run->data = NULL;
	run->name = 0;
	run->offset = piece.index;
	if (piece.view->kind == VIEW_PARCEL && piece.view->pool == q->pool &&
	    !b->copies)
		run->name = piece.view->name;
	else
		ret = view_piece_memory(&piece, false, &run->data);
	run->len = piece.len;
	return ret;
}

static bool run_continues(const struct run *run, const struct run *next)
{
	return run->name ? run->name == next->name &&
			   run->offset + run->len == next->offset :
			   run->data && run->data + run->len == next->data;
}

/* However short it is: who copies it would have to ask for it first. */
static size_t add_parcel(struct batch *b, const struct run *run)
{
	size_t len = run->len, left = b->budget - b->segs.len;

	if (!has_room(b))
		return 0;
	if (len > left)
		len = left;
	b->segs.joins = false;
	b->segs.seg[b->segs.nr++] = (struct fbuf_seg){
		.addr = run->name,
		.len = len,
		.flags = FBUF_SEG_NAMED | FBUF_SEG_OFFSET(run->offset),
	};
	b->segs.len += len;
	b->parcels = true;
	return len;
}

static size_t add_run(const struct fbuf_queue *q, struct batch *b,
		      const struct run *run)
{
	return run->name ? add_parcel(b, run) :
			   add_piece(q, b, run->data, run->len);
}

static size_t add_view(const struct fbuf_queue *q, struct batch *b,
		       const struct fbuf_view *view, size_t at, size_t len)
{
	struct run run = { 0 }, next;
	size_t done = 0, n;

	while (done + run.len < len) {
		b->err = run_get(q, b, view, at + done + run.len,
				 len - done - run.len, &next);
		if (b->err)
			break;
		if (run_continues(&run, &next)) {
			run.len += next.len;
			continue;
		}
		n = add_run(q, b, &run);
		done += n;
		if (n < run.len)
			return done;
		run = next;
	}
	return done + add_run(q, b, &run);
}

/* From byte at of an item on; returns how much of it went in. */
static size_t add_item(const struct fbuf_queue *q, struct batch *b,
		       const struct item *item, size_t at)
{
	switch (item->kind) {
	case ITEM_VIEW:
		return add_view(q, b, item->view, at, item->len - at);
	case ITEM_MEM:
		return add_piece(q, b, item->ptr + at, item->len - at);
	case ITEM_COPY:
		return add_piece(q, b, item->block->data + at, item->len - at);
	}
	return 0;
}

static void batch_init(struct batch *b, size_t budget, bool copies)
{
	segs_init(&b->segs);
	b->nr_watches = 0;
	b->parcels = false;
	b->copies = copies;
	b->err = 0;
	b->budget = budget;
	b->more = false;
}

/* The same, and who is to be told; false if there is no room for what follows. */
static bool add_next(const struct fbuf_queue *q, struct batch *b,
		     const struct item *item, size_t at)
{
	size_t begins = b->segs.len, referred = b->segs.referred, n;

	if (item->watch && b->nr_watches == BATCH_WATCHES)
		return false;
	n = add_item(q, b, item, at);
	if (item->watch && b->segs.referred > referred) {
		b->begins[b->nr_watches] = begins;
		b->watches[b->nr_watches++] = item->watch;
	}
	return n == item->len - at;
}

static void fill(struct fbuf_queue *q, struct batch *b, bool copies)
{
	size_t at = q->at;
	unsigned int i;

	batch_init(b, q->stream ? q->budget : FBUF_GATHER_MAX, copies);
	for (i = 0; i < q->nr && has_room(b); i++, at = 0)
		if (!add_next(q, b, queue_item(q, i), at) || !q->stream)
			break;
	b->more = b->segs.len < (q->stream ? q->len : queue_item(q, 0)->len);
}

void batch_fill(struct fbuf_queue *q, struct batch *b)
{
	fill(q, b, false);
}

void batch_fill_copies(struct fbuf_queue *q, struct batch *b)
{
	fill(q, b, true);
}

int batch_failed(const struct fbuf_queue *q, const struct batch *b)
{
	if (q->stream && b->segs.len)
		return 0;
	/* A message of which bytes are gone is wrong, and others may not be. */
	return q->stream || !b->err || b->err == -ENOMEM ? b->err : -EINVAL;
}

bool batch_view(const struct fbuf_queue *q, struct batch *b,
		const struct fbuf_view *view, size_t len)
{
	batch_init(b, FBUF_GATHER_MAX, false);
	return add_view(q, b, view, 0, len) == len;
}
