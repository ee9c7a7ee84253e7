/* SPDX-License-Identifier: GPL-2.0 */
/* What became of the socket that buffers in flight were last sent to. */
#ifndef FBUF_TOOL_SOCK_H
#define FBUF_TOOL_SOCK_H

#include "who.h"

#define SOCK_WORDS_MAX	512
#define SOCK_LIST_MAX	8

enum sock_state {
	SOCK_UNSEEN,	/* closed, or where the caller may not look */
	SOCK_CLOSED,
	SOCK_OPEN,	/* and its queue cannot be seen */
	SOCK_UNIX,	/* open: what it sent waits for the peer */
	SOCK_EMPTY,	/* open, and all of it is sent */
	SOCK_SENDING,
};

/* A packet socket with packets unread, or an NFQUEUE with packets that wait. */
struct sock_holder {
	uint64_t id;		/* inode, or the queue's number */
	uint64_t amount;	/* bytes, or packets */
};

struct sock_view {
	uint64_t inode;
	enum sock_state state;
	uint64_t queued;	/* bytes that it has to send */
	/* Bytes that its peer has not read; if it is closed, that any has not. */
	uint64_t unread;
	/* Connections that nobody has open any more, and their bytes to send. */
	uint64_t orphans, orphan_bytes;
	struct sock_holder captures[SOCK_LIST_MAX], queues[SOCK_LIST_MAX];
	unsigned int nr_captures, nr_queues;
};

/* @w is of who_look(), for this socket. */
void sock_look(struct sock_view *s, const struct who *w, uint64_t inode);
/* Whether something else must have the buffers. */
bool sock_is_not_it(const struct sock_view *s);
/* A sentence on it, without the full stop; buf is returned. */
const char *sock_words(char buf[SOCK_WORDS_MAX], const struct sock_view *s);
json_t *sock_json(const struct sock_view *s, const struct who *w);

#endif /* FBUF_TOOL_SOCK_H */
