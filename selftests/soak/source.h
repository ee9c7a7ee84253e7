/* SPDX-License-Identifier: GPL-2.0 */
/*
 * source.c: a lane's pool and the messages that are made in it. Buffers are taken
 * and given back as fast as possible, by ourselves or by another process, the
 * partner, which passes them to us, gets them back and overwrites them.
 */
#ifndef FBUF_SOAK_SOURCE_H
#define FBUF_SOAK_SOURCE_H

#include "soak.h"

#define NR_SEGS		24U

struct source {
	struct lane *l;
	struct pool pool;
	__u32 pool_flags;	/* FBUF_POOL_SECURED or the like */
	pid_t partner;		/* or 0 */
	__u32 partner_handle;
	struct ring ring;
	int file;		/* with the lane's content, to FILL from */
	int feed[2];		/* a socket to FILL from, and its other end */

	/* The message in the making; its first byte is the stream's at @pos. */
	__u64 pos;
	size_t len;
	__u32 flags;		/* FBUF_SEND_* that protect it */
	enum fill fill;
	struct fbuf_seg seg[NR_SEGS];
	unsigned int nr_segs;
	__u64 names[NR_SEGS];
	unsigned int nr_names;
};

void source_init(struct source *s, struct lane *l);
void source_exit(struct source *s);
/* Makes a message of @len bytes from the stream's @pos on; false if it cannot. */
bool source_message(struct source *s, __u64 pos, size_t len);
/* One buffer with whatever bytes; false if there is none. */
bool source_take(struct source *s, __u64 *name);
/* Bytes of the stream into a buffer. */
void source_fill(struct source *s, __u64 name, unsigned int offset, __u64 pos,
		 size_t len);
/* How the buffers of the next message are protected and filled. */
void source_choose(struct source *s);
/*
 * Gives back what the message has, which was sent: overwrites it first if it is
 * protected, or looks what has become of it.
 */
void source_sent(struct source *s);
/* What is left of the message after @done bytes; returns how many segments. */
unsigned int source_rest(const struct source *s, size_t done,
			 struct fbuf_seg *seg);

#endif /* FBUF_SOAK_SOURCE_H */
