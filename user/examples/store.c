// SPDX-License-Identifier: GPL-2.0
/* Objects and logs; see store.h. */
#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include <fbuf/view.h>

#include "loop.h"
#include "store.h"

#define SHARED		(64 << 10)	/* what short records of a log lie in together */

static void *entries;			/* a tree */

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct stored *)a)->path, ((const struct stored *)b)->path);
}

struct stored *store_find(const char *path)
{
	struct stored key = { .path = (char *)path }, **found = tfind(&key, &entries, by_path);

	return found ? *found : NULL;
}

struct stored *store_loose(void)
{
	struct stored *entry = must(calloc(1, sizeof(*entry)));

	TAILQ_INIT(&entry->pieces);
	return entry;
}

struct stored *store_new(const char *path, bool log)
{
	struct stored *entry = store_loose();

	entry->path = must(strdup(path));
	entry->log = log;
	must(tsearch(entry, &entries, by_path));
	return entry;
}

/* Those that begin before a place. Who sends some of one has a view of his own. */
static void drop_pieces(struct stored *entry, uint64_t place)
{
	struct piece *piece = TAILQ_FIRST(&entry->pieces), *next;

	for (; piece && piece->start < place; piece = next) {
		next = TAILQ_NEXT(piece, in);
		TAILQ_REMOVE(&entry->pieces, piece, in);
		entry->first = piece->start + piece->len;
		fbuf_view_release(piece->view);
		free(piece);
	}
}

static void add_view(struct stored *entry, struct fbuf_view *view, char *data, size_t len)
{
	struct piece *piece = must(malloc(sizeof(*piece)));

	*piece = (struct piece){
		.view = view, .data = data, .start = entry->end,
		.len = len, .room = fbuf_view_len(view),
	};
	TAILQ_INSERT_TAIL(&entry->pieces, piece, in);
	entry->end += len;
}

static void add_piece(struct stored *entry, char *data, size_t len, size_t room)
{
	add_view(entry, must(fbuf_view_own(heap, data, room)), data, len);
}

void store_add_parcel(struct stored *entry, struct fbuf_view *parcel)
{
	add_view(entry, parcel, NULL, fbuf_view_len(parcel));
}

void store_add(struct stored *entry, char *data, size_t len)
{
	add_piece(entry, data, len, len);
}

void store_free(struct stored *entry)
{
	if (!entry)
		return;
	drop_pieces(entry, UINT64_MAX);
	free(entry->path);
	free(entry);
}

static void free_entry(void *entry)
{
	store_free(entry);
}

void store_delete(struct stored *entry)
{
	tdelete(entry, &entries, by_path);
	store_free(entry);
}

void store_clear(void)
{
	tdestroy(entries, free_entry);
	entries = NULL;
}

void store_replace(struct stored *object, char *data, size_t len)
{
	drop_pieces(object, UINT64_MAX);
	object->end = 0;
	if (len)
		add_piece(object, data, len, len);
}

void store_take(struct stored *object, struct stored *loose)
{
	drop_pieces(object, UINT64_MAX);
	TAILQ_CONCAT(&object->pieces, &loose->pieces, in);
	object->end = loose->end;
	store_free(loose);
}

static char *copy(const struct stored *object)
{
	char *whole = fbuf_heap_alloc(heap, object->end);
	struct piece *piece;

	if (!whole)
		return NULL;
	TAILQ_FOREACH(piece, &object->pieces, in) {
		if (fbuf_view_get(piece->view, 0, whole + piece->start, piece->len)) {
			fbuf_heap_free(heap, whole);
			return NULL;
		}
	}
	return whole;
}

int store_change(struct stored *object, size_t from, char *data, size_t len)
{
	struct piece *piece = TAILQ_FIRST(&object->pieces);
	char *whole;

	if (snapshot && piece->data && piece->len == object->end &&
	    fbuf_view_count(piece->view) == 1) {
		memcpy(piece->data + from, data, len);
		fbuf_heap_free(heap, data);
		return 0;
	}
	whole = copy(object);
	if (!whole)
		return -ENOMEM;
	memcpy(whole + from, data, len);
	fbuf_heap_free(heap, data);
	store_replace(object, whole, object->end);
	return 0;
}

void store_append(struct stored *log, char *data, size_t len, size_t keep)
{
	struct piece *tail = TAILQ_LAST(&log->pieces, pieces);
	char *shared;

	if (tail && tail->room - tail->len >= len) {
		memcpy(tail->data + tail->len, data, len);
		tail->len += len;
		log->end += len;
		fbuf_heap_free(heap, data);
		return;
	}
	shared = len < SHARED / 4 ? fbuf_heap_alloc(heap, SHARED) : NULL;
	if (shared) {
		memcpy(shared, data, len);
		fbuf_heap_free(heap, data);
	}
	add_piece(log, shared ?: data, len, shared ? SHARED : len);
	if (log->end > keep)
		drop_pieces(log, log->end - keep);
}

int store_queue(struct stored *entry, struct fbuf_queue *queue, uint64_t from, uint64_t to)
{
	struct fbuf_view *view;
	struct piece *piece;
	size_t len;
	int err;

	TAILQ_FOREACH_REVERSE(piece, &entry->pieces, pieces, in)
		if (piece->start <= from)
			break;
	for (; piece && from < to; from += len, piece = TAILQ_NEXT(piece, in)) {
		len = piece->start + piece->len - from;
		if (len > to - from)
			len = to - from;
		if (len == piece->room)
			view = fbuf_view_retain(piece->view);
		else
			view = fbuf_view_retained_slice(piece->view, from - piece->start, len);
		if (!view)
			return -ENOMEM;
		err = fbuf_queue_view(queue, view);
		if (err) {
			fbuf_view_release(view);
			return err;
		}
	}
	return 0;
}
