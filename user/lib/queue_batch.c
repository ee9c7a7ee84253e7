// SPDX-License-Identifier: LGPL-2.1-or-later
/* The segments of one send, of what is queued. */
#include "piece.h"
#include "queue.h"

/* Pieces of a view that are asked for at once. */
#define PIECES		32

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

static size_t add_view(const struct fbuf_queue *q, struct batch *b,
		       const struct fbuf_view *view, size_t at, size_t len)
{
	size_t done = 0, n = 1;

	while (done < len && n) {
		struct iovec iov[PIECES];
		int nr = fbuf_view_iovec(view, at + done, len - done, iov,
					 PIECES), i;

		n = 0;
		for (i = 0; i < nr; i++) {
			n = add_piece(q, b, iov[i].iov_base, iov[i].iov_len);
			done += n;
			if (n < iov[i].iov_len)
				return done;
		}
	}
	return done;
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

static void batch_init(struct batch *b, size_t budget)
{
	segs_init(&b->segs);
	b->nr_watches = 0;
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

void batch_fill(struct fbuf_queue *q, struct batch *b)
{
	size_t at = q->at;
	unsigned int i;

	batch_init(b, q->stream ? q->budget : FBUF_GATHER_MAX);
	for (i = 0; i < q->nr && has_room(b); i++, at = 0)
		if (!add_next(q, b, queue_item(q, i), at) || !q->stream)
			break;
	b->more = b->segs.len < (q->stream ? q->len : queue_item(q, 0)->len);
}

bool batch_view(const struct fbuf_queue *q, struct batch *b,
		const struct fbuf_view *view, size_t len)
{
	batch_init(b, FBUF_GATHER_MAX);
	return add_view(q, b, view, 0, len) == len;
}
