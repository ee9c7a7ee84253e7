/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of channels share. Each way to transfer has a file:
 *
 * channel_direct.c	the kernel does it: copy_file_range(), sendfile(), splice()
 * channel_pool.c	by memory of a heap: filled, then sent by reference
 * channel_copy.c	by a mapping, or by a buffer
 * channel.c		what the library offers: tries one way after another
 * channel_map.c	mappings, for their own sake
 */
#ifndef FBUF_LIB_CHANNEL_H
#define FBUF_LIB_CHANNEL_H

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <fbuf/channel.h>

#include "lib.h"

/* An fd, and what it was when the transfer began. */
struct channel_end {
	int fd;
	int flags;		/* O_* */
	struct stat st;
	off_t size;		/* of a file, or a disk */
	bool stream;		/* a socket that is one */
};

struct transfer {
	struct fbuf_heap *heap;	/* or NULL */
	struct channel_end file;
	struct channel_end peer;	/* the target, or the source */
	off_t pos;
	size_t count;		/* as many are wanted */
};

/* What a way returns to whom it is not open: no error has that number. */
#define CHANNEL_NOT_SO	(-0x10000)

/* Ways that are closed for good: bits of channel_closed. */
#define CHANNEL_DIRECT	(1U << 0)
#define CHANNEL_POOL	(1U << 1)
#define CHANNEL_MAPPED	(1U << 2)
#define CHANNEL_RANGE	(1U << 3)	/* copy_file_range() alone */
#define CHANNEL_VM	(1U << 4)	/* process_vm_readv() of a mapping */
#define CHANNEL_POPULATE (1U << 5)	/* MADV_POPULATE_READ of one */

extern unsigned int channel_closed;

static inline bool channel_is_open(unsigned int way)
{
	return !(__atomic_load_n(&channel_closed, __ATOMIC_RELAXED) & way);
}

static inline void channel_close_way(unsigned int way)
{
	__atomic_fetch_or(&channel_closed, way, __ATOMIC_RELAXED);
}

/* Whether an fd, or both, are still what they were when the transfer began. */
bool channel_stays(const struct channel_end *e);
bool transfer_stays(const struct transfer *t);
/*
 * What a call that failed with err means: 0 if it is to be tried again, or a
 * negative errno value.
 */
int transfer_again(const struct transfer *t, int err);
/* What a loop returns: the bytes that it has moved, or if none, its error. */
static inline ssize_t transfer_result(size_t done, ssize_t err)
{
	return done ? (ssize_t)done : err;
}

ssize_t channel_direct_to(const struct transfer *t);
ssize_t channel_direct_from(const struct transfer *t);
ssize_t channel_pool_to(const struct transfer *t);
ssize_t channel_mapped_to(const struct transfer *t);
ssize_t channel_mapped_from(const struct transfer *t);
ssize_t channel_copy_to(const struct transfer *t);
ssize_t channel_copy_from(const struct transfer *t);

/* Signals of a write that fails: held back, and taken away, by a transfer. */
struct quiet {
	sigset_t before;	/* the mask */
	sigset_t ours;		/* what was not pending before */
};

void quiet_begin(struct quiet *q);
/* failed: one of them may have come. */
void quiet_end(const struct quiet *q, bool failed);

#endif /* FBUF_LIB_CHANNEL_H */
