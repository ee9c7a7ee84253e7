/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of fbuf relay share. */
#ifndef FBUF_TOOL_RELAY_H
#define FBUF_TOOL_RELAY_H

#include <netdb.h>
#include <sys/queue.h>

#include "tool.h"

enum relay_method {
	RELAY_PARCEL,
	RELAY_COPY,
	RELAY_SPLICE,
};

/* What all connections have in common, and what they came to. */
struct relay {
	enum relay_method method;
	struct fbuf_pool *pool;		/* of RELAY_PARCEL */
	struct fbuf_gather *gather;	/* the same, for the call at hand */
	size_t peek;			/* bytes of each stretch to look at */
	char *head;			/* room for them */
	char *spare;			/* a buffer for copies that is free, or NULL */
	unsigned int parcels;		/* that are not sent yet */
	bool freed;			/* one went: there may be room now */
	bool stuck;			/* none went for long: nobody waits for it */
	uint64_t stretches, peeked;
	uint64_t lines;			/* the filter counts them */
	uint64_t bytes[2];		/* to the target, and back */
	uint64_t copied;		/* by the methods themselves */
	uint64_t fallbacks;		/* stretches that could not be parcels */
};

/*
 * One direction of a connection. What was received and not sent yet is a parcel, bytes
 * of a buffer, or of a pipe: from byte at up to byte len.
 */
struct relay_flow {
	int from, to;
	uint64_t parcel;		/* or 0 */
	char *buf;			/* or NULL */
	int pipe[2];			/* or -1 */
	size_t at, len;
	bool hurry;			/* it waited for room long enough */
	bool end;			/* nothing more will come */
	bool shut;			/* and that was sent on */
};

/* What a flow waits for, or how it ended. */
enum relay_wait {
	RELAY_READ,
	RELAY_WRITE,
	RELAY_ROOM,			/* for parcels */
	RELAY_DONE,
	RELAY_BROKEN,
};

/* False if files are short. Then, and only then, there is nothing to end. */
bool relay_flow_init(const struct relay *r, struct relay_flow *f);
void relay_flow_end(struct relay *r, struct relay_flow *f);
/* Moves what can be moved; counts the bytes that were sent. */
enum relay_wait relay_flow_run(struct relay *r, struct relay_flow *f,
			       uint64_t *sent);

/* One end of a connection, as epoll knows it. */
struct relay_side {
	struct relay_conn *conn;	/* NULL: the socket that listens */
	int fd;
	bool known;			/* to epoll */
	unsigned int asked;		/* of it */
};

/* The connections, and who wants to be one. */
TAILQ_HEAD(relay_conns, relay_conn);

struct relay_loop {
	struct relay r;
	uint64_t limit;			/* to end after so many, or 0 */
	uint64_t max;			/* open at once */
	const char *host, *port;	/* the target, as it was called */
	struct addrinfo *to;
	struct relay_side listener;
	int epoll;
	struct relay_conns conns, gone;
	struct relay_conns waiting;	/* for room, by age */
	uint64_t accepted, done, refused;
	double start, shown;
};

/* Listens on fd, which it has from then on; false after a message. */
bool relay_loop_init(struct relay_loop *l, int fd);
/* Until a signal sets *stopped, or so many connections are done. */
void relay_loop_run(struct relay_loop *l, const bool *stopped);

#endif /* FBUF_TOOL_RELAY_H */
