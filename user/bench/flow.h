/* SPDX-License-Identifier: GPL-2.0 */
/* Lanes: connections, messages, and a method to send them by. */
#ifndef FBUF_LANE_H
#define FBUF_LANE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "tool.h"

#define NOTE_MAX	128	/* bytes of a text that says why */

struct lane;

/* What a method is measured in. */
#define IN_COMPARE	(1U << 0)	/* fbuf compare */
#define IN_ONE		(1U << 1)	/* bench: one message, one socket */
#define IN_FAN		(1U << 2)	/* bench: one message, many sockets */
#define IN_GATHER	(1U << 3)	/* bench: many pieces, one socket */

/*
 * A way to send. send() sends bytes off .. off + len - 1 of the lane's source,
 * all in the message at lane.at, and returns how many were taken, or a negative
 * errno value; while lane.wait is false it must not sleep and returns -EAGAIN
 * instead. fan() sends all of the first message to each of the lane's sockets,
 * gather() its pieces to the one; they return how many bytes were taken in all.
 * Only what the method is measured in needs to be there; without fan(), send()
 * is called for one socket after the other. The other functions may be NULL.
 */
struct method {
	const char *name;
	unsigned int in;	/* IN_* */
	bool reads;		/* compare: also with a receiver that reads */
	bool file;		/* the message is in a file, not in memory */
	bool disk;		/* which is in disk_dir */
	bool memory;		/* init() makes lane.mem */
	unsigned int calls;	/* compare: system calls in a send() */
	unsigned int engines;	/* of fbuf: those that may run, or 0 */
	int (*init)(struct lane *l);
	ssize_t (*send)(struct lane *l, size_t off, size_t len);
	ssize_t (*fan)(struct lane *l);
	ssize_t (*gather)(struct lane *l);
	void (*reap)(struct lane *l);	/* take the notices that are there */
	void (*fini)(struct lane *l);
};

#define METHODS_MAX	64U	/* that there may be */

/* Number i of all methods, or NULL. */
const struct method *method_get(unsigned int i);

/* More of them: each file has its own. */
struct method_list {
	const struct method *methods;
	unsigned int nr;
};

extern const struct method_list uring_methods, fbuf_methods;

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/*
 * Where the files are: a directory, or NULL for memfds; and where those of
 * methods are that are for files on a disk, which are left out if it is NULL.
 */
extern const char *file_dir, *disk_dir;
/* Bytes that the messages of a lane go round in, or 0: one message. */
extern size_t source_size;

/* How the sockets are connected; set before the first lane is opened. */
struct transport {
	const char *addr;	/* numeric, where the receiver is */
	const char *netns_tx, *netns_rx;	/* by ip netns; or NULL */
};

extern struct transport transport;

/* A method with its messages, and its TCP connections. */
struct lane {
	const struct method *method;
	size_t size;		/* bytes in a message */
	size_t stride;		/* from one message in the source to the next */
	size_t source;		/* bytes in the source: strides */
	size_t at;		/* where the next message starts */
	bool wait;		/* sends may sleep */
	bool punted;		/* the kernel gave a send to a worker thread */
	int tx, rx;		/* the pair in use, one of: */
	int *txs, *rxs;
	unsigned int nr;	/* pairs */
	int file;		/* the source if method->file, else -1 */
	uint8_t *mem;		/* the source, or room for a message of the file */
	size_t mapped;		/* bytes of it, if it is not the method's */
	struct iovec *iov;	/* the pieces of the first message in it, */
	unsigned int nr_iov;
	size_t apart;		/* so many bytes apart */
	uint8_t *sink;		/* where the receiver reads to */
	void *priv;		/* of the method */
	uint64_t took;		/* ns of the last send, if told by the kernel */
	unsigned int engine;	/* of fbuf: the one that ran last */
	uint64_t calls;		/* compare: system calls, in lockstep */
	uint64_t reported;	/* bytes whose fate the kernel told, */
	uint64_t copied;	/* and those of them that it copied */
	char why[NOTE_MAX];	/* what could not be done, if anything */
};

#define SINK_SIZE	((size_t)1 << 20)

/* Connect, fill the source and start the method; why says what failed. */
int lane_open(struct lane *l, const struct method *m, size_t size, bool wait);
/* The same with nr connections and messages of nr_iov equal pieces. */
int lane_open_wide(struct lane *l, const struct method *m, size_t size,
		   unsigned int nr, unsigned int nr_iov, bool wait);
void lane_close(struct lane *l);
/* Note what failed; returns err. */
int lane_fail(struct lane *l, int err, const char *what);
/*
 * Write a new message at l->at, and add it to a hash if there is one. Those that
 * lane_open() wrote have the seeds before LANE_SEED: no later one is like them.
 */
#define LANE_SEED	(1ULL << 40)
int lane_fill(struct lane *l, uint64_t seed, struct tool_sha *sha);
/* Is this the message of that seed? */
bool lane_check(const struct lane *l, uint64_t seed, const uint8_t *message);
/* Receive up to len bytes from l->rx; with MSG_TRUNC TCP drops them uncopied. */
ssize_t lane_drain(struct lane *l, size_t len, int flags);

static inline ssize_t lane_result(ssize_t n)
{
	return n < 0 ? -errno : n;
}

#endif /* FBUF_LANE_H */
