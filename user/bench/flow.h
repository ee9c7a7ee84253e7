/* SPDX-License-Identifier: GPL-2.0 */
/* Flows: connections, messages, and a method to send them by. */
#ifndef FBUF_FLOW_H
#define FBUF_FLOW_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "tool.h"

#define NOTE_MAX	128	/* bytes of a text that says why */

struct flow;

/* What a method is measured in. */
#define IN_COMPARE	(1U << 0)	/* fbuf compare */
#define IN_ONE		(1U << 1)	/* bench: one message, one socket */
#define IN_FAN		(1U << 2)	/* bench: one message, many sockets */
#define IN_GATHER	(1U << 3)	/* bench: many pieces, one socket */
#define IN_CHURN	(1U << 4)	/* the workload of that name */

/*
 * A way to send. send() sends bytes off .. off + len - 1 of the flow's source,
 * all in the message at flow.at, and returns how many were taken, or a negative
 * errno value; while flow.wait is false it must not sleep and returns -EAGAIN
 * instead. fan() sends all of the first message to each of the flow's sockets,
 * gather() its pieces to the one; they return how many bytes were taken in all.
 * Only what the method is measured in needs to be there; without fan(), send()
 * is called for one socket after the other. The other functions may be NULL.
 */
struct method {
	const char *name;
	unsigned int in;	/* IN_* */
	bool file;		/* the message is in a file, not in memory */
	bool disk;		/* which is in disk_dir, */
	bool huge;		/* or in huge pages of a tmpfs */
	bool rewrites;		/* send() makes the message, number f->seed */
	bool memory;		/* init() makes flow.mem */
	unsigned int calls;	/* compare: system calls in a send() */
	unsigned int engines;	/* of fbuf: those that may run, or 0, */
	unsigned int protect;	/* and what its pool is: FBUF_POOL_* */
	int (*init)(struct flow *f);
	ssize_t (*send)(struct flow *f, size_t off, size_t len);
	ssize_t (*fan)(struct flow *f);
	ssize_t (*gather)(struct flow *f);
	void (*reap)(struct flow *f);	/* take the notices that are there */
	void (*fini)(struct flow *f);
};

#define METHODS_MAX	64U	/* that there may be */

/* Number i of all methods, or NULL. */
const struct method *method_get(unsigned int i);
/* That of this name, or NULL. */
const struct method *method_find(const char *name);

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
/* Bytes that the messages of a flow go round in, or 0: one message. */
extern size_t source_size;

/* The time, by the clock of the report. */
uint64_t now_ns(void);

/* How the sockets are connected; set before the first flow is opened. */
struct transport {
	const char *addr;	/* numeric, where the receiver is */
	const char *netns_tx, *netns_rx;	/* by ip netns; or NULL */
};

extern struct transport transport;

/* A method with its messages, and its TCP connections. */
struct flow {
	const struct method *method;
	size_t size;		/* bytes in a message */
	size_t stride;		/* from one message in the source to the next */
	size_t source;		/* bytes in the source: strides */
	size_t at;		/* where the next message starts, */
	uint64_t number;	/* how many were before it, */
	uint64_t seed;		/* and what it is made from */
	bool wait;		/* sends may sleep */
	bool punted;		/* the kernel gave a send to a worker thread */
	int sndbuf, rcvbuf;	/* bytes, as the kernel says */
	int tx, rx;		/* the pair in use, one of: */
	int *txs, *rxs;
	unsigned int nr;	/* pairs */
	int file;		/* the source if method->file, else -1 */
	uint8_t *mem;		/* the source, or room for a message of the file */
	size_t mapped;		/* bytes of it, if it is not the method's */
	struct iovec *iov;	/* the pieces of the first message in it, */
	unsigned int nr_iov;
	size_t apart;		/* so many bytes apart */
	uint8_t *sink;		/* where the receiver reads to: */
	size_t sink_size;	/* room for a message, at least */
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
int flow_open(struct flow *f, const struct method *m, size_t size, bool wait);
/* The same with nr connections and messages of nr_iov equal pieces. */
int flow_open_wide(struct flow *f, const struct method *m, size_t size,
		   unsigned int nr, unsigned int nr_iov, bool wait);
void flow_close(struct flow *f);
/* Note what failed; returns err. */
int flow_fail(struct flow *f, int err, const char *what);
/*
 * Write the message of a seed at f->at. Those that flow_open() wrote have the
 * seeds before FLOW_SEED: no later one is like them.
 */
#define FLOW_SEED	(1ULL << 40)
int flow_fill(struct flow *f, uint64_t seed);
/* Have the next message be like none before it. */
int flow_fresh(struct flow *f);
/* A message is sent: go on to the next. */
void flow_next(struct flow *f);
/* Write the message of that seed, of one piece, to any memory. */
void flow_message(const struct flow *f, uint64_t seed, void *to);
/* Its first bytes, as they are in memory: for a short look. */
uint64_t flow_first(const struct flow *f, uint64_t seed);
/* Is this the message of that seed? */
bool flow_check(const struct flow *f, uint64_t seed, const uint8_t *message);
/*
 * Bring the connections to where they stay. Nothing may be on its way; it takes
 * turns of sending and receiving, as lock step does.
 */
int flow_warm_up(struct flow *f);
/*
 * Receive all of a message from f->rx to f->sink, without sleeping; with MSG_TRUNC
 * in flags TCP drops it uncopied. -ETIMEDOUT if nothing comes any more.
 */
int flow_receive(struct flow *f, int flags);

static inline ssize_t flow_result(ssize_t n)
{
	return n < 0 ? -errno : n;
}

#endif /* FBUF_FLOW_H */
