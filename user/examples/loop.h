/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What httpd and relay share: a pool, and an event loop with connections by TCP or
 * kTLS. Each connection has a queue, which the loop sends.
 */
#ifndef LOOP_H
#define LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <time.h>

#include <fbuf/queue.h>

struct ssl_st;

/* A connection: the first member of what the server knows of it. */
struct peer {
	int fd;
	struct fbuf_queue *queue;
	bool stopped;		/* nothing is read for now */
	bool last;		/* nothing is read any more; what is queued is the last */
	/* the loop's */
	TAILQ_ENTRY(peer) in, turn;
	struct ssl_st *ssl;
	unsigned int events;
	bool shaking, ready, dead;
};

struct server {
	const char *name, *usage, *options;	/* of its own: as getopt(3) */
	bool (*option)(int option, const char *value);
	size_t peer_size;
	unsigned int port;
	size_t queue_limit;	/* bytes */
	/* Bytes came; they are the loop's. */
	void (*take)(struct peer *peer, const char *data, size_t len);
	/* Where they are to go, and how many at most; NULL: to where the loop likes. */
	char *(*room)(struct peer *peer, size_t *len);
	/* So many bytes may come as parcels, of which the server gets views; may be NULL. */
	size_t (*wants)(struct peer *peer);
	void (*give)(struct peer *peer, struct fbuf_view *parcel);
	/* All was sent; true if there is more now, or more to be done. May be NULL. */
	bool (*more)(struct peer *peer);
	/* Once a second; may be NULL. */
	void (*tick)(void);
	/* The last thing it hears of one. */
	void (*end)(struct peer *peer);
};

extern struct fbuf_heap *heap;
extern bool snapshot;		/* the pool keeps what is in flight as it was */
extern time_t now;

/* Until a signal ends it: then there are no connections any more. */
void loop_run(const struct server *of, int argc, char **argv);
/* The heap is gone as well, and all that is in it. */
void loop_end(void);
/* There is more to be done, or to be sent: at the end of this turn. */
void peer_ready(struct peer *peer);
/* Something was queued and not all of it sent: the loop goes on when it can. */
void peer_watch(struct peer *peer);
/* It is over; the memory stays until the end of this turn. */
void peer_drop(struct peer *peer);
void __attribute__((__noreturn__)) die(const char *what, int err);
/* The memory, if there is any: none of this size is never lacking. */
void *must(void *memory);
size_t size_in(const char *text);

#endif
