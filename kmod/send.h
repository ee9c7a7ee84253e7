/* SPDX-License-Identifier: GPL-2.0 */
/* SEND, FANOUT and SEND_BATCH. See send.c. */
#ifndef FBUF_SEND_H
#define FBUF_SEND_H

#include <linux/fbuf.h>
#include <linux/types.h>

#include "gather.h"

struct fbuf_cookie;
struct file;

/**
 * struct fbuf_rest - a send that goes on when its socket has room
 * @g: the gather
 * @done: bytes of it that were taken so far
 * @args: what was asked for, with FBUF_SEND_DONTWAIT
 * @file: the socket, with a reference
 * @engine: the last that took bytes
 * @copied: bytes that were copied so far
 * @cookie: what the handle's ring is to tell of its end, or NULL
 */
struct fbuf_rest {
	struct fbuf_gather g;
	size_t done;
	struct fbuf_send args;
	struct file *file;
	u32 engine;
	u64 copied;
	struct fbuf_cookie *cookie;
};

/**
 * struct fbuf_later - of a send that must not wait itself
 * @waits: in: if the socket is full, it is to go on later
 * @size: in: bytes to allocate for what begins with a struct fbuf_rest
 * @rest: out: what goes on, the caller's; or NULL
 * @punt: out: it is to be done again, by somebody who may wait
 * @left: out: bytes were left
 */
struct fbuf_later {
	bool waits;
	size_t size;
	struct fbuf_rest *rest;
	bool punt;
	bool left;
};

/* As they were first published. */
#define FBUF_SEND_ARGS_MIN	offsetof(struct fbuf_send, protects)
#define FBUF_FANOUT_ARGS_MIN	offsetof(struct fbuf_fanout, cookie)
#define FBUF_SEND_BATCH_ARGS_MIN offsetof(struct fbuf_send_batch, cookie)

long fbuf_send_user(struct fbuf_handle *h, struct fbuf_send __user *uargs);
int fbuf_send(struct fbuf_handle *h, struct fbuf_send *args);
void fbuf_send_put(struct fbuf_send __user *uargs, const struct fbuf_send *args);
int fbuf_send_later(struct fbuf_handle *h, struct fbuf_send *args,
		    struct fbuf_later *later);
int fbuf_send_on(struct fbuf_handle *h, struct fbuf_rest *rest);
int fbuf_send_end(struct fbuf_handle *h, struct fbuf_rest *rest, int err);
int fbuf_fanout(struct fbuf_handle *h, const struct fbuf_fanout *args);
int fbuf_send_batch(struct fbuf_handle *h, const struct fbuf_send_batch *args);

#endif /* FBUF_SEND_H */
