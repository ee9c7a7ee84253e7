// SPDX-License-Identifier: GPL-2.0
/*
 * queue: messages lie scattered in memory, and a consumer gets a header and 32
 * of them at a time, as RocketMQ's do. In lock step; that the list of pieces is
 * made is in the send.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workload.h"

#define MESSAGES	32U		/* a pull */
#define PIECES		(1 + MESSAGES)
#define HEADER		96U		/* bytes */
#define STORED		1024U		/* messages: a power of two */
#define WARM_UP		16U
#define BUF_SIZE	((size_t)64 << 10)	/* of the pool */

struct queue;

/* A way to answer a pull; iov[] has the pieces. */
struct way {
	const char *name;
	const char *method;	/* to whose gather() it goes, or NULL: send() */
	bool file;		/* the messages are in a file that is mapped */
	bool pool;
	ssize_t (*send)(struct queue *q);
};

struct queue {
	const struct way *way;
	struct flow f;
	size_t size, apart;	/* of a message, and from one to the next */
	uint8_t *store;
	size_t mapped;		/* bytes of it, if it is no pool's */
	int file;
	struct fbuf_pool *pool;
	struct fbuf_gather *gather;
	uint64_t *names;	/* of the pool's buffers, by index */
	uint8_t header[HEADER];
	size_t picked[MESSAGES];	/* where in the store */
	uint8_t *pull;		/* what has to arrive */
};

static ssize_t gather_send(struct queue *q)
{
	struct flow *f = &q->f;
	unsigned int i;

	for (i = 0; i < MESSAGES; i++)
		f->iov[1 + i].iov_base = q->store + q->picked[i];
	return f->method->gather(f);
}

/* A region at a time, as Netty writes them. */
static ssize_t each_write(struct queue *q)
{
	ssize_t n = flow_result(write(q->f.tx, q->header, HEADER));
	ssize_t sum = n;
	unsigned int i;

	for (i = 0; n > 0 && i < MESSAGES; i++) {
		n = flow_result(write(q->f.tx, q->store + q->picked[i],
				      q->size));
		sum += n;
	}
	return n < 0 ? n : sum;
}

static ssize_t fbuf_pull(struct queue *q)
{
	struct fbuf_result res = { 0 };
	struct flow *f = &q->f;
	unsigned int i;
	ssize_t n;

	fbuf_gather_reset(q->gather);
	n = fbuf_gather_append_inline(q->gather, q->header, HEADER);
	for (i = 0; !n && i < MESSAGES; i++)
		n = fbuf_gather_append(q->gather,
				       q->names[q->picked[i] / BUF_SIZE],
				       q->picked[i] % BUF_SIZE, q->size);
	if (!n)
		n = fbuf_send(q->gather, f->tx, FBUF_SEND_DONTWAIT, &res);
	if (n < 0)
		return n;
	f->reported += n;
	f->copied += res.copied;
	f->engine = res.engine;
	return n;
}

static const struct way ways[] = {
	{ .name = "writev", .method = "write" },
	{ .name = "mmap-write", .file = true, .send = each_write },
	{ .name = "mmap-writev", .method = "write", .file = true },
	{ .name = "vmsplice", .method = "vmsplice" },
	{ .name = "msg-zerocopy", .method = "msg-zerocopy" },
	{ .name = "uring-sendmsg", .method = "uring-send" },
	{ .name = "uring-bundle", .method = "uring-bundle" },
	{ .name = "sendmsg-zc", .method = "send-zc" },
	{ .name = "fbuf", .pool = true, .send = fbuf_pull },
};

static int open_pool(struct queue *q)
{
	unsigned int nr = q->mapped / BUF_SIZE, i;
	uint64_t name;
	int err;

	err = fbuf_pool_create(&q->pool, BUF_SIZE, nr);
	if (err)
		return flow_fail(&q->f, err, "unsupported: making a pool");
	q->mapped = 0;
	q->names = calloc(nr, sizeof(*q->names));
	q->gather = fbuf_gather_new(q->pool);
	if (!q->names || !q->gather)
		return -ENOMEM;
	for (i = 0; i < nr; i++) {
		err = fbuf_alloc(q->pool, &name, 1, 0);
		if (err < 0)
			return err;
		q->names[FBUF_NAME_INDEX(name)] = name;
	}
	q->store = fbuf_addr(q->pool, q->names[0]);
	return 0;
}

static int open_store(struct queue *q)
{
	int flags = MAP_POPULATE;

	q->apart = 256;
	while (q->apart < 2 * q->size)
		q->apart *= 2;
	q->mapped = q->apart * STORED;
	if (q->way->pool)
		return open_pool(q);
	if (q->way->file) {
		q->file = memfd_create("fbuf-compare", MFD_CLOEXEC);
		if (q->file < 0 || ftruncate(q->file, q->mapped))
			return -errno;
		flags |= MAP_SHARED;
	} else {
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
	}
	q->store = mmap(NULL, q->mapped, PROT_READ | PROT_WRITE, flags,
			q->file, 0);
	if (q->store != MAP_FAILED)
		return 0;
	q->store = NULL;
	return -errno;
}

/* The flow is of as many pieces, but they are ours. */
static int queue_open(struct queue *q)
{
	const struct method *m = method_find(q->way->method ?: "write");
	struct flow *f = &q->f;
	unsigned int i;
	int err;

	/* None is cut by the end of a buffer. */
	if (q->size > BUF_SIZE / 2)
		return flow_fail(f, -EINVAL, "the size of a message");
	err = flow_open_wide(f, m, q->size * PIECES, 1, PIECES, false);
	if (err)
		return err;
	err = open_store(q);
	if (err)
		return err;
	f->size = HEADER + q->size * MESSAGES;
	f->iov[0].iov_base = q->header;
	f->iov[0].iov_len = HEADER;
	for (i = 0; i < MESSAGES; i++)
		f->iov[1 + i].iov_len = q->size;
	q->pull = malloc(f->size);
	return q->pull ? flow_warm_up(f) : -ENOMEM;
}

static void queue_close(struct queue *q)
{
	if (q->f.txs)
		flow_close(&q->f);
	fbuf_gather_destroy(q->gather);
	fbuf_pool_close(q->pool);
	if (q->mapped && q->store)
		munmap(q->store, q->mapped);
	if (q->file >= 0)
		close(q->file);
	free(q->names);
	free(q->pull);
}

/* Messages that are not neighbours, and like none that were there before. */
static void store_messages(struct queue *q, unsigned int pull)
{
	unsigned int i;

	flow_message(&q->f, FLOW_SEED + pull, q->pull);
	memcpy(q->header, q->pull, HEADER);
	for (i = 0; i < MESSAGES; i++) {
		q->picked[i] = (pull * 37 + i * 101) % STORED * q->apart;
		memcpy(q->store + q->picked[i],
		       q->pull + HEADER + i * q->size, q->size);
	}
}

static int pull_once(struct queue *q, unsigned int pull, double *send,
		     double *total)
{
	struct flow *f = &q->f;
	uint64_t start, sent;
	ssize_t n;
	int err;

	store_messages(q, pull);
	start = now_ns();
	n = q->way->send ? q->way->send(q) : gather_send(q);
	sent = now_ns();
	if (n < 0)
		return f->punted ? -EINPROGRESS : n;
	if (n != (ssize_t)f->size)
		return -EMSGSIZE;
	err = flow_receive(f, 0);
	*total = now_ns() - start;
	*send = sent - start;
	if (err)
		return err;
	if (f->method->reap)
		f->method->reap(f);
	return memcmp(f->sink, q->pull, f->size) ? -EBADMSG : 0;
}

static void measure(struct load_run *run, const struct way *way, size_t size)
{
	unsigned int calls = run->o->repeats ?: run->o->quick ? 21 : 101, i;
	double *send = calloc(calls, sizeof(*send));
	double *total = calloc(calls, sizeof(*total));
	struct load_row r = LOAD_ROW_INIT("queue", way->name);
	struct queue q = { .way = way, .size = size, .file = -1 };
	double s = 0, t = 0;
	int err;

	r.size = size;
	r.pieces = PIECES;
	load_progress(&r);
	err = send && total ? queue_open(&q) : -ENOMEM;
	for (i = 0; !err && i < WARM_UP + calls; i++) {
		err = pull_once(&q, i, &s, &t);
		if (i < WARM_UP)
			continue;
		send[i - WARM_UP] = s;
		total[i - WARM_UP] = t;
	}
	if (!err)
		load_times(&r, send, total, calls);
	load_flow(&r, &q.f, err);
	queue_close(&q);
	free(send);
	free(total);
	load_add(run, &r);
}

void workload_queue(struct load_run *run)
{
	static const uint64_t defaults[] = { 100, 256, 1024, 4096 };
	const struct load_options *o = run->o;
	unsigned int nr = o->sizes.nr ?: ARRAY_SIZE(defaults);
	const uint64_t *sizes = o->sizes.nr ? o->sizes.v : defaults;
	unsigned int i, j;

	for (i = 0; i < nr; i++) {
		for (j = 0; j < ARRAY_SIZE(ways); j++)
			measure(run, &ways[j], sizes[i]);
	}
}
