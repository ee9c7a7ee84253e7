/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What paths name: objects and logs, in memory of the heap. It goes out by
 * reference; what is replaced stays for those to whom it is being sent.
 */
#ifndef STORE_H
#define STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <fbuf/queue.h>

/* Some bytes of an entry. An object is one piece, or several if some are parcels. */
struct piece {
	TAILQ_ENTRY(piece) in;
	struct fbuf_view *view;
	char *data;			/* NULL of a parcel */
	uint64_t start;
	size_t len, room;
};

struct stored {
	char *path;
	bool log;
	TAILQ_HEAD(pieces, piece) pieces;
	uint64_t first, end;		/* first: of a log, the oldest byte it still has */
	/* Of an object; in its head, what lies before skip is its length. */
	char etag[24], type[128], head[256];
	size_t skip;
};

struct stored *store_find(const char *path);
/* Without bytes yet. */
struct stored *store_new(const char *path, bool log);
void store_delete(struct stored *entry);
/* All that there is. */
void store_clear(void);

/* One that no path names: a body gathers in it. */
struct stored *store_loose(void);
void store_free(struct stored *entry);

/* Those that take a view or data, of the heap, own it from then on. */

/* A parcel's bytes at the end. */
void store_add_parcel(struct stored *entry, struct fbuf_view *parcel);
/* At the end as well: a piece of its own. */
void store_add(struct stored *entry, char *data, size_t len);
/* All that the loose one had, in the place of all that the object had. */
void store_take(struct stored *object, struct stored *loose);

/* An object's new bytes, in the place of all that it had. */
void store_replace(struct stored *object, char *data, size_t len);
/*
 * Some new bytes in the middle of an object: written where they lie if the pool sees
 * to it that what is in flight stays as it is, and no queue has any of it. Returns
 * -ENOMEM if there was no memory for a copy, or 0.
 */
int store_change(struct stored *object, size_t from, char *data, size_t len);
/* The log keeps so many bytes, at least while there is a record of fewer. */
void store_append(struct stored *log, char *data, size_t len, size_t keep);
/* Queue bytes from - to, which there are: 0 or a negative errno value. */
int store_queue(struct stored *entry, struct fbuf_queue *queue, uint64_t from, uint64_t to);

#endif
