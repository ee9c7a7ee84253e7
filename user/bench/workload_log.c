// SPDX-License-Identifier: GPL-2.0
/*
 * log: one producer appends batches, many consumers read, each from its own
 * offset, as Kafka's do. In lock step: a batch is appended, then each consumer
 * gets one, and reads it. The send is of one batch to each consumer; what it
 * takes to append is a figure of its own.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "workload.h"

#define BATCHES		8U		/* that the log keeps */
#define OFFSETS		4U		/* by so many batches consumers differ */
#define WARM_UP		4U
#define BYTES_MAX	((size_t)16 << 20)	/* to all consumers at once */

struct log;

struct way {
	const char *name;
	const char *method;	/* whose send() serves one consumer, or NULL: */
	ssize_t (*send)(struct log *l, uint64_t head);
};

struct log {
	const struct way *way;
	struct flow f;
	uint8_t *batch;			/* to be appended, or that has to arrive */
	struct fbuf_pool *pool;
	uint64_t names[BATCHES];	/* by index */
	struct fbuf_gather *gathers[BATCHES];
	struct fbuf_target *targets;
	struct fbuf_send_item *items;
};

/* The batch that a consumer is at. */
static uint64_t offset_of(unsigned int consumer, uint64_t head)
{
	return head - consumer % OFFSETS;
}

static ssize_t each_send(struct log *l, uint64_t head)
{
	struct flow *f = &l->f;
	ssize_t n, sum = 0;
	unsigned int i;

	for (i = 0; i < f->nr; i++) {
		f->tx = f->txs[i];
		f->at = offset_of(i, head) % BATCHES * f->stride;
		n = f->method->send(f, f->at, f->size);
		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

/* One call for all that are at the same offset. */
static ssize_t fanout_send(struct log *l, uint64_t head)
{
	unsigned int nr, i, offset;
	struct flow *f = &l->f;
	ssize_t sum = 0;
	int n;

	for (offset = 0; offset < OFFSETS && offset < f->nr; offset++) {
		nr = 0;
		for (i = offset; i < f->nr; i += OFFSETS)
			l->targets[nr++].fd = f->txs[i];
		n = fbuf_fanout(l->gathers[offset_of(offset, head) % BATCHES],
				l->targets, nr, 0, 0);
		if (n < 0)
			return n;
		for (i = 0; i < nr; i++) {
			if (l->targets[i].result < 0)
				return l->targets[i].result;
			sum += l->targets[i].result;
			f->copied += l->targets[i].copied;
		}
	}
	f->reported += sum;
	f->engine = l->targets[0].engine;
	return sum;
}

/* One call for all, wherever they are. */
static ssize_t batch_send(struct log *l, uint64_t head)
{
	struct flow *f = &l->f;
	ssize_t sum = 0;
	unsigned int i;
	int n;

	for (i = 0; i < f->nr; i++)
		fbuf_item_set(&l->items[i],
			      l->gathers[offset_of(i, head) % BATCHES],
			      f->txs[i]);
	n = fbuf_send_batch(l->pool, l->items, f->nr, 0, 0);
	if (n < 0)
		return n;
	for (i = 0; i < f->nr; i++) {
		if (l->items[i].result < 0)
			return l->items[i].result;
		sum += l->items[i].result;
		f->copied += l->items[i].copied;
	}
	f->reported += sum;
	f->engine = l->items[0].engine;
	return sum;
}

/* A call for each, as those have that have no better. */
static ssize_t single_send(struct log *l, uint64_t head)
{
	struct fbuf_result res = { 0 };
	struct flow *f = &l->f;
	ssize_t n, sum = 0;
	unsigned int i;

	for (i = 0; i < f->nr; i++) {
		n = fbuf_send(l->gathers[offset_of(i, head) % BATCHES],
			      f->txs[i], FBUF_SEND_DONTWAIT, &res);
		if (n < 0)
			return n;
		sum += n;
		f->copied += res.copied;
	}
	f->reported += sum;
	f->engine = res.engine;
	return sum;
}

static const struct way ways[] = {
	{ .name = "write", .method = "write" },
	{ .name = "mmap-write-once", .method = "mmap-write-once" },
	{ .name = "sendfile", .method = "sendfile" },
	{ .name = "sendfile-huge", .method = "sendfile-huge" },
	{ .name = "splice", .method = "splice" },
	{ .name = "splice-huge", .method = "splice-huge" },
	{ .name = "fbuf-fanout", .send = fanout_send },
	{ .name = "fbuf-batch", .send = batch_send },
	{ .name = "fbuf", .send = single_send },
};

/* The buffers, one a batch. */
static int log_pool(struct log *l)
{
	struct flow *f = &l->f;
	unsigned int i;
	uint64_t name;
	int err;

	err = fbuf_pool_create(&l->pool, f->stride, BATCHES);
	if (err)
		return flow_fail(f, err, "unsupported: making a pool");
	l->targets = calloc(f->nr, sizeof(*l->targets));
	l->items = calloc(f->nr, sizeof(*l->items));
	if (!l->targets || !l->items)
		return -ENOMEM;
	for (i = 0; i < BATCHES; i++) {
		l->gathers[i] = fbuf_gather_new(l->pool);
		if (!l->gathers[i])
			return -ENOMEM;
		err = fbuf_alloc(l->pool, &name, 1, 0);
		if (err < 0)
			return err;
		l->names[FBUF_NAME_INDEX(name)] = name;
	}
	return 0;
}

/* The oldest goes: the only buffer that is free then is its own. */
static int pool_append(struct log *l, unsigned int slot)
{
	int err = fbuf_free(l->pool, &l->names[slot], 1);

	if (!err)
		err = fbuf_alloc(l->pool, &l->names[slot], 1, -1);
	if (err < 0)
		return err;
	memcpy(fbuf_addr(l->pool, l->names[slot]), l->batch, l->f.size);
	fbuf_gather_reset(l->gathers[slot]);
	return fbuf_gather_append(l->gathers[slot], l->names[slot], 0,
				  l->f.size);
}

static int log_append(struct log *l, uint64_t head)
{
	unsigned int slot = head % BATCHES;
	struct flow *f = &l->f;
	ssize_t n;

	if (l->pool)
		return pool_append(l, slot);
	if (f->file < 0) {
		memcpy(f->mem + slot * f->stride, l->batch, f->size);
		return 0;
	}
	n = pwrite(f->file, l->batch, f->size, slot * f->stride);
	return n == (ssize_t)f->size ? 0 : n < 0 ? -errno : -ENOSPC;
}

static int log_open(struct log *l, size_t size, unsigned int consumers)
{
	const struct method *m = method_find(l->way->method ?: "write");
	size_t source = source_size;
	int err;

	/* As many strides as batches. */
	source_size = 1;
	while (source_size < size || source_size < (size_t)getpagesize())
		source_size *= 2;
	source_size *= BATCHES;
	err = flow_open_wide(&l->f, m, size, consumers, 1, false);
	source_size = source;
	if (!err && !l->way->method)
		err = log_pool(l);
	if (err)
		return err;
	l->batch = malloc(size);
	return l->batch ? flow_warm_up(&l->f) : -ENOMEM;
}

static void log_close(struct log *l)
{
	unsigned int i;

	if (l->f.txs)
		flow_close(&l->f);
	for (i = 0; i < BATCHES; i++)
		fbuf_gather_destroy(l->gathers[i]);
	fbuf_pool_close(l->pool);
	free(l->targets);
	free(l->items);
	free(l->batch);
}

/* Every byte of every consumer's is looked at, while nobody counts. */
static int log_receive(struct log *l, uint64_t head, uint64_t *ns)
{
	struct flow *f = &l->f;
	uint64_t start;
	unsigned int i;
	int err;

	for (i = 0, *ns = 0; i < f->nr; i++) {
		f->rx = f->rxs[i];
		start = now_ns();
		err = flow_receive(f, 0);
		*ns += now_ns() - start;
		if (err)
			return err;
		if (!flow_check(f, FLOW_SEED + offset_of(i, head), f->sink))
			return -EBADMSG;
	}
	return 0;
}

static int log_once(struct log *l, uint64_t head, double t[3])
{
	struct flow *f = &l->f;
	uint64_t start, appended, sent, received;
	ssize_t n;
	int err;

	flow_message(f, FLOW_SEED + head, l->batch);
	start = now_ns();
	err = log_append(l, head);
	appended = now_ns();
	if (err || head < BATCHES)
		return err;
	n = l->way->send ? l->way->send(l, head) : each_send(l, head);
	sent = now_ns();
	if (n < 0)
		return n;
	if (n != (ssize_t)(f->size * f->nr))
		return -EMSGSIZE;
	err = log_receive(l, head, &received);
	t[0] = appended - start;
	t[1] = sent - appended;
	t[2] = sent - start + received;
	return err;
}

static unsigned int calls(const struct load_options *o, size_t bytes)
{
	unsigned int n = bytes > 4 << 20 ? 9 : bytes > 1 << 20 ? 15 : 31;

	return o->repeats ? o->repeats : o->quick ? 5 : n;
}

static int log_times(struct log *l, struct load_row *r, unsigned int nr)
{
	double *v = calloc(3 * nr, sizeof(*v)), t[3] = { 0 };
	uint64_t first = BATCHES + WARM_UP, i;
	int err = v ? 0 : -ENOMEM;

	for (i = 0; !err && i < first + nr; i++) {
		err = log_once(l, i, t);
		if (err || i < first)
			continue;
		v[i - first] = t[0];
		v[nr + i - first] = t[1];
		v[2 * nr + i - first] = t[2];
	}
	if (!err) {
		r->append = median(v, nr);
		load_times(r, v + nr, v + 2 * nr, nr);
	}
	free(v);
	return err;
}

static void measure(struct load_run *run, const struct way *way, size_t size,
		    unsigned int consumers)
{
	struct load_row r = LOAD_ROW_INIT("log", way->name);
	struct log l = { .way = way };
	int err;

	r.size = size;
	r.consumers = consumers;
	load_progress(&r);
	err = log_open(&l, size, consumers);
	if (!err)
		err = log_times(&l, &r, calls(run->o, size * consumers));
	load_flow(&r, &l.f, err);
	log_close(&l);
	load_add(run, &r);
}

void workload_log(struct load_run *run)
{
	static const struct list sizes = { { 16384, 65536, 1048576 }, 3 };
	static const struct list consumers = { { 1, 16, 64, 256 }, 4 };
	const struct load_options *o = run->o;
	const struct list *s = o->sizes.nr ? &o->sizes : &sizes;
	const struct list *c = o->consumers.nr ? &o->consumers : &consumers;
	unsigned int i, j, k;

	for (i = 0; i < s->nr; i++) {
		for (j = 0; j < c->nr; j++) {
			/* By default, what a small machine has memory for. */
			if (c == &consumers && s->v[i] * c->v[j] > BYTES_MAX)
				continue;
			for (k = 0; k < ARRAY_SIZE(ways); k++)
				measure(run, &ways[k], s->v[i], c->v[j]);
		}
	}
}
