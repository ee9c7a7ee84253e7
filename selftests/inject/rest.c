// SPDX-License-Identifier: GPL-2.0
/*
 * A fault may leave a call undone in part: a stream takes fewer bytes, one socket
 * of many takes none. The test knows of no fault and expects all; so do the rest
 * here, without one, and put the two together.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "inject.h"

static bool is_stream(int fd)
{
	socklen_t len = sizeof(int);
	int type;

	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) &&
	       type == SOCK_STREAM;
}

static size_t segs_len(const struct fbuf_seg *segs, unsigned int nr)
{
	size_t len = 0;

	while (nr--)
		len += segs++->len;
	return len;
}

/* A copy of segments, from byte @done on; sets *nr to how many are left. */
static struct fbuf_seg *segs_from(const struct fbuf_seg *segs,
				  unsigned int *nr, size_t done)
{
	struct fbuf_seg *copy = malloc(*nr * sizeof(*copy));

	if (!copy)
		return NULL;
	while (*nr && done >= segs->len) {
		done -= segs++->len;
		--*nr;
	}
	memcpy(copy, segs, *nr * sizeof(*copy));
	if (*nr) {
		if (copy->flags & FBUF_SEG_NAMED)
			copy->flags += FBUF_SEG_OFFSET(done);
		else
			copy->addr += done;
		copy->len -= done;
	}
	return copy;
}

/* Send what @done bytes were taken of already; returns how many are now. */
static long send_from(int fd, struct fbuf_send *send, long done)
{
	const struct fbuf_seg *segs = (void *)(uintptr_t)send->segs;
	struct fbuf_send more = *send;
	struct fbuf_seg *left;
	long ret;

	if (!is_stream(send->fd) || done >= (long)segs_len(segs, send->nr_segs))
		return done;
	left = segs_from(segs, &more.nr_segs, done);
	more.segs = (uintptr_t)left;
	/* It has had its cookie. */
	more.flags &= ~FBUF_SEND_COOKIE;
	/* Not by another engine, as it would for so few bytes. */
	more.engines = send->engine ?: send->engines;
	ret = left ? raw_ioctl(fd, FBUF_IOC_SEND, &more) : 0;
	free(left);
	if (ret <= 0)
		return done;
	send->copied += more.copied;
	return done + ret;
}

long rest_of_send(struct call *c, long ret)
{
	return send_from(c->fd, c->args, ret);
}

/* One socket of several, or one item. */
static struct fbuf_send one_send(__u32 flags, __u32 engines)
{
	struct fbuf_send send = {
		.size = sizeof(send),
		.flags = (flags & ~(FBUF_SEND_NOTIFY | FBUF_SEND_COOKIE)) |
			 FBUF_SEND_DONTWAIT,
		.engines = engines,
	};

	return send;
}

/* Returns 1 if a target took bytes only now. */
static int target_rest(const struct call *c, const struct fbuf_fanout *all,
		       struct fbuf_target *target)
{
	struct fbuf_send send = one_send(all->flags, all->engines);
	struct fbuf_fanout one = *all;

	if (inject_expects(c, target->result)) {
		one.targets = (uintptr_t)target;
		one.nr_targets = 1;
		return raw_ioctl(c->fd, FBUF_IOC_FANOUT, &one) == 1;
	}
	if (target->result > 0) {
		send.segs = all->segs;
		send.nr_segs = all->nr_segs;
		send.fd = target->fd;
		target->result = send_from(c->fd, &send, target->result);
		target->copied += send.copied;
	}
	return 0;
}

long rest_of_fanout(struct call *c, long ret)
{
	const struct fbuf_fanout *args = c->args;
	struct fbuf_target *targets = (void *)(uintptr_t)args->targets;
	unsigned int i;

	for (i = 0; i < args->nr_targets; i++)
		ret += target_rest(c, args, &targets[i]);
	return ret;
}

static void item_rest(const struct call *c, const struct fbuf_send_batch *all,
		      struct fbuf_send_item *item)
{
	struct fbuf_send send = one_send(all->flags, all->engines);
	struct fbuf_send_batch one = *all;

	if (inject_expects(c, item->result)) {
		one.items = (uintptr_t)item;
		one.count = 1;
		raw_ioctl(c->fd, FBUF_IOC_SEND_BATCH, &one);
	} else if (item->result > 0) {
		send.segs = item->segs;
		send.nr_segs = item->nr_segs;
		send.fd = item->fd;
		item->result = send_from(c->fd, &send, item->result);
		item->copied += send.copied;
	}
}

long rest_of_batch(struct call *c, long ret)
{
	const struct fbuf_send_batch *args = c->args;
	struct fbuf_send_item *items = (void *)(uintptr_t)args->items;
	long i;

	for (i = 0; i < ret; i++)
		item_rest(c, args, &items[i]);
	return ret;
}

/* Files alone: of others nobody knows whether there is more. */
long rest_of_fill(struct call *c, long ret)
{
	struct fbuf_fill more = *(const struct fbuf_fill *)c->args;
	struct stat st;
	long now;

	if (ret >= more.len || fstat(more.fd, &st) ||
	    !(S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)))
		return ret;
	more.offset += ret;
	more.len -= ret;
	if (more.flags & FBUF_FILL_POS)
		more.pos += ret;
	now = raw_ioctl(c->fd, FBUF_IOC_FILL, &more);
	return now > 0 ? ret + now : ret;
}
