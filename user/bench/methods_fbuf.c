// SPDX-License-Identifier: GPL-2.0
/* fbuf compare and bench: fbuf's own ways, and the floor under them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <liburing.h>

#include "fbuf_floor.h"
#include "flow.h"

struct fbuf_flow {
	struct fbuf_pool *pool;
	struct fbuf_gather *gather;
	struct fbuf_target *targets;
	struct fbuf_send_item *items;
	struct fbuf_send *sends;	/* by io_uring, from here on */
	struct io_uring ring;
	unsigned int busy;	/* sends without a result yet */
	ssize_t res;		/* the first error, or bytes in all */
	uint64_t *names;	/* by index: where they are in the source */
	size_t buf_size;
	size_t off, len;	/* of what is in the gather */
	uint64_t name;		/* by turns: the buffer in use, */
	bool taken;		/* if there is one */
};

static void fbuf_flow_free(struct fbuf_flow *b)
{
	fbuf_gather_destroy(b->gather);
	fbuf_pool_close(b->pool);
	free(b->targets);
	free(b->items);
	free(b->sends);
	free(b->names);
	free(b);
}

static void fbuf_fini(struct flow *f)
{
	fbuf_flow_free(f->priv);
	f->mem = NULL;
}

/* All of the pool's buffers: together, in the order of the pool, the source. */
static int fbuf_alloc_all(struct fbuf_flow *b, unsigned int nr)
{
	uint64_t names[64];
	int n, i;

	for (; nr; nr -= n) {
		n = fbuf_alloc(b->pool, names,
			       nr < ARRAY_SIZE(names) ? nr : ARRAY_SIZE(names), 0);
		if (n <= 0)
			return n ? n : -ENOBUFS;
		for (i = 0; i < n; i++)
			b->names[FBUF_NAME_INDEX(names[i])] = names[i];
	}
	return 0;
}

/* Pieces are a buffer apart: buffers may touch, and would be sent as one. */
static int fbuf_take(struct flow *f, struct fbuf_flow *b)
{
	struct fbuf_pool_options options = FBUF_POOL_OPTIONS_INIT;
	unsigned int nr, i;
	int err;

	b->buf_size = f->nr_iov > 1 ? f->apart / 2 : f->apart;
	nr = f->source / b->buf_size;
	options.buf_size = b->buf_size;
	options.nr_bufs = nr;
	options.flags = f->method->protect;
	err = fbuf_pool_create_with(&b->pool, &options);
	if (err)
		return flow_fail(f, err, "unsupported: making a pool");
	b->names = calloc(nr, sizeof(*b->names));
	b->targets = calloc(f->nr, sizeof(*b->targets));
	b->items = calloc(f->nr, sizeof(*b->items));
	b->sends = calloc(f->nr, sizeof(*b->sends));
	b->gather = fbuf_gather_new(b->pool);
	if (!b->names || !b->targets || !b->items || !b->sends || !b->gather)
		return flow_fail(f, -ENOMEM, "memory");
	err = fbuf_alloc_all(b, nr);
	if (err)
		return flow_fail(f, err, "allocating buffers");
	for (i = 0; i < f->nr; i++)
		b->targets[i].fd = f->txs[i];
	return 0;
}

/* Bytes off .. off + len - 1 of the source, all in one buffer. */
static int fbuf_append(struct fbuf_flow *b, size_t off, size_t len)
{
	return fbuf_gather_append(b->gather, b->names[off / b->buf_size],
				  off % b->buf_size, len);
}

static int fbuf_init(struct flow *f)
{
	struct fbuf_flow *b = calloc(1, sizeof(*b));
	unsigned int i;
	int err;

	if (!b)
		return flow_fail(f, -ENOMEM, "fbuf");
	err = fbuf_take(f, b);
	for (i = 0; !err && i < f->nr_iov; i++) {
		err = fbuf_append(b, i * f->apart, f->size / f->nr_iov);
		if (err)
			flow_fail(f, err, "making a gather");
	}
	if (err) {
		fbuf_flow_free(b);
		return err;
	}
	b->len = f->size;
	f->priv = b;
	f->mem = fbuf_addr(b->pool, b->names[0]);
	return 0;
}

/* What is named, or else whatever the module chooses. */
static ssize_t fbuf_whole(struct flow *f)
{
	unsigned int flags = f->wait ? 0 : FBUF_SEND_DONTWAIT;
	unsigned int engines = f->method->engines;
	struct fbuf_flow *b = f->priv;
	struct fbuf_result res;
	ssize_t n;

	n = engines ? fbuf_sendto(b->gather, f->tx, flags, engines, NULL, 0,
				  &res) :
		      fbuf_send(b->gather, f->tx, flags, &res);
	if (n < 0)
		return n;
	f->engine = res.engine;
	f->reported += n;
	f->copied += res.copied;
	return n;
}

/* The gather is made once; the rest of a short send needs another. */
static ssize_t fbuf_part(struct flow *f, size_t off, size_t len)
{
	struct fbuf_flow *b = f->priv;
	ssize_t n;

	fbuf_gather_reset(b->gather);
	n = fbuf_append(b, off, len);
	if (n)
		return n;
	b->off = off;
	b->len = len;
	return fbuf_whole(f);
}

static ssize_t fbuf_flow_send(struct flow *f, size_t off, size_t len)
{
	const struct fbuf_flow *b = f->priv;

	if (off != b->off || len != b->len)
		return fbuf_part(f, off, len);
	return fbuf_whole(f);
}

static ssize_t fbuf_flow_fan(struct flow *f)
{
	struct fbuf_flow *b = f->priv;
	ssize_t sum = 0;
	unsigned int i;
	int n;

	n = fbuf_fanout(b->gather, b->targets, f->nr, 0, f->method->engines);
	if (n < 0)
		return n;
	for (i = 0; i < f->nr; i++) {
		if (b->targets[i].result < 0)
			return b->targets[i].result;
		sum += b->targets[i].result;
		f->copied += b->targets[i].copied;
	}
	f->reported += sum;
	f->engine = b->targets[0].engine;
	return sum;
}

/* Many sends by one call, which happen to be of one gather. */
static int batch_init(struct flow *f)
{
	struct fbuf_flow *b;
	unsigned int i;
	int err = fbuf_init(f);

	if (err)
		return err;
	b = f->priv;
	for (i = 0; i < f->nr; i++)
		fbuf_item_set(&b->items[i], b->gather, f->txs[i]);
	return 0;
}

static ssize_t batch_fan(struct flow *f)
{
	struct fbuf_flow *b = f->priv;
	ssize_t sum = 0;
	int n, i;

	n = fbuf_send_batch(b->pool, b->items, f->nr, 0, f->method->engines);
	for (i = 0; i < n; i++) {
		if (b->items[i].result < 0)
			return b->items[i].result;
		sum += b->items[i].result;
		f->copied += b->items[i].copied;
	}
	f->reported += sum;
	f->engine = b->items[0].engine;
	return n < 0 ? n : sum;
}

static int fbuf_uring_init(struct flow *f)
{
	struct fbuf_flow *b;
	int err, fd;

	err = fbuf_init(f);
	if (err)
		return err;
	b = f->priv;
	err = io_uring_queue_init(f->nr, &b->ring, 0);
	if (err) {
		flow_fail(f, err, "unsupported: io_uring_setup");
		fbuf_fini(f);
		return err;
	}
	/* Spares a look-up: Linux 5.18. */
	io_uring_register_ring_fd(&b->ring);
	fd = fbuf_pool_fd(b->pool);
	err = io_uring_register_files(&b->ring, &fd, 1);
	if (err) {
		flow_fail(f, err, "registering a pool");
		io_uring_queue_exit(&b->ring);
		fbuf_fini(f);
	}
	return err;
}

static void fbuf_uring_reap(struct flow *f)
{
	struct fbuf_flow *b = f->priv;
	struct io_uring_cqe *cqe;

	while (b->busy && !io_uring_peek_cqe(&b->ring, &cqe)) {
		if (b->res >= 0)
			b->res = cqe->res < 0 ? cqe->res : b->res + cqe->res;
		io_uring_cqe_seen(&b->ring, cqe);
		b->busy--;
	}
}

/* What is on its way writes to b->sends. */
static void fbuf_uring_fini(struct flow *f)
{
	struct fbuf_flow *b = f->priv;
	struct io_uring_cqe *cqe;

	while (b->busy && !io_uring_wait_cqe(&b->ring, &cqe))
		fbuf_uring_reap(f);
	io_uring_queue_exit(&b->ring);
	fbuf_fini(f);
}

/* One submission for all sockets. */
static ssize_t fbuf_uring_fan(struct flow *f)
{
	struct fbuf_flow *b = f->priv;
	struct io_uring_sqe *sqe;
	unsigned int i;

	for (i = 0; i < f->nr; i++) {
		sqe = io_uring_get_sqe(&b->ring);
		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, 0, NULL, 0, 0);
		sqe->flags = IOSQE_FIXED_FILE;
		sqe->cmd_op = fbuf_uring_send(&b->sends[i], sqe->cmd, b->gather,
					      f->txs[i], FBUF_SEND_DONTWAIT,
					      f->method->engines);
	}
	b->res = 0;
	b->busy = f->nr;
	io_uring_submit(&b->ring);
	fbuf_uring_reap(f);
	if (b->busy) {
		f->punted = true;
		return -EAGAIN;
	}
	if (b->res < 0)
		return b->res;
	for (i = 0; i < f->nr; i++)
		f->copied += b->sends[i].copied;
	f->reported += b->res;
	f->engine = b->sends[0].engine;
	return b->res;
}

static ssize_t fbuf_uring_one(struct flow *f, size_t off, size_t len)
{
	(void)off;
	(void)len;
	return fbuf_uring_fan(f);
}

static ssize_t pool_sendfile(struct flow *f, size_t off, size_t len)
{
	struct fbuf_flow *b = f->priv;
	off_t pos = off;

	return flow_result(sendfile(f->tx, fbuf_pool_fd(b->pool), &pos, len));
}

/*
 * As a program uses it: takes a buffer, writes every byte, sends and frees it.
 * Enough of them that those in flight do not stop it.
 */
#define TURNS_BYTES	((size_t)16 << 20)
#define TURNS_LEAST	16U
#define TURNS_MOST	4096U

static int turns_init(struct flow *f)
{
	struct fbuf_pool_options options = FBUF_POOL_OPTIONS_INIT;
	struct fbuf_flow *b = calloc(1, sizeof(*b));
	int err;

	if (!b)
		return flow_fail(f, -ENOMEM, "fbuf");
	options.buf_size = f->stride;
	options.nr_bufs = f->wait ? TURNS_BYTES / f->stride : TURNS_LEAST;
	if (options.nr_bufs < TURNS_LEAST)
		options.nr_bufs = TURNS_LEAST;
	if (options.nr_bufs > TURNS_MOST)
		options.nr_bufs = TURNS_MOST;
	options.flags = f->method->protect;
	err = fbuf_pool_create_with(&b->pool, &options);
	if (!err) {
		b->gather = fbuf_gather_new(b->pool);
		err = b->gather ? 0 : -ENOMEM;
	}
	if (err) {
		fbuf_flow_free(b);
		return flow_fail(f, err, "unsupported: making a pool");
	}
	f->priv = b;
	return 0;
}

/* What one call does not take stays in the buffer for the next. */
static ssize_t turns_send(struct flow *f, size_t off, size_t len)
{
	struct fbuf_flow *b = f->priv;
	ssize_t n;
	int err;

	if (!b->taken) {
		n = fbuf_alloc(b->pool, &b->name, 1, f->wait ? -1 : 0);
		if (n < 0)
			return n;
		b->taken = true;
		flow_message(f, f->seed, fbuf_addr(b->pool, b->name));
	}
	fbuf_gather_reset(b->gather);
	n = fbuf_gather_append(b->gather, b->name, off - f->at, len);
	if (!n)
		n = fbuf_whole(f);
	if (n != (ssize_t)len)
		return n;
	b->taken = false;
	err = fbuf_free(b->pool, &b->name, 1);
	return err ? err : n;
}

/* From a file past its page cache, by FILL. */
static ssize_t direct_send(struct flow *f, size_t off, size_t len)
{
	struct fbuf_flow *b = f->priv;
	ssize_t n;

	if (off == f->at) {
		n = fbuf_fill_at(b->pool, b->names[off / b->buf_size], 0, len,
				 f->file, off, 0, FBUF_FILL_DIRECT);
		if (n != (ssize_t)len)
			return n < 0 ? n : -EIO;
	}
	return fbuf_flow_send(f, off, len);
}

/* selftests/bench/floor/fbuf_floor.c: its clock, and its pages. */
static int floor_init(struct flow *f)
{
	struct floor args = {
		.nr = f->nr_iov, .seg_size = f->size / f->nr_iov,
	};

	f->file = open(FLOOR_DEVICE, O_RDWR | O_CLOEXEC);
	if (f->file < 0)
		return flow_fail(f, -errno, "unsupported: " FLOOR_DEVICE);
	if (ioctl(f->file, FLOOR_IOC_SETUP, &args))
		return flow_fail(f, -errno, FLOOR_DEVICE);
	return 0;
}

static ssize_t floor_fan(struct flow *f)
{
	struct floor args = { .nr = f->nr, .fds = (uintptr_t)f->txs };

	if (ioctl(f->file, FLOOR_IOC_SEND, &args))
		return -errno;
	f->took = args.ns;
	return f->nr * f->size;
}

static ssize_t floor_send(struct flow *f, size_t off, size_t len)
{
	(void)off;
	(void)len;
	return floor_fan(f);
}

#define ALL	(IN_ONE | IN_FAN | IN_GATHER)
#define POOL	.memory = true, .init = fbuf_init, .fini = fbuf_fini

#define TURNS	.memory = true, .calls = 3, .init = turns_init, \
		.send = turns_send, .fini = fbuf_fini

static const struct method fbuf[] = {
	{ .name = "fbuf", .in = IN_COMPARE | ALL, POOL, .calls = 1,
	  .send = fbuf_flow_send, .fan = fbuf_flow_fan, .gather = fbuf_whole },
	{ .name = "fbuf-secured", .in = IN_COMPARE, POOL, .calls = 1,
	  .protect = FBUF_POOL_SECURED, .send = fbuf_flow_send },
	{ .name = "fbuf-snapshot", .in = IN_COMPARE, POOL, .calls = 1,
	  .protect = FBUF_POOL_SNAPSHOT, .send = fbuf_flow_send },
	{ .name = "fbuf-rewrite", .in = IN_COMPARE | IN_CHURN,
	  .rewrites = true, TURNS },
	{ .name = "fbuf-secured-rewrite", .in = IN_CHURN, .rewrites = true,
	  .protect = FBUF_POOL_SECURED, TURNS },
	{ .name = "fbuf-snapshot-rewrite", .in = IN_CHURN, .rewrites = true,
	  .protect = FBUF_POOL_SNAPSHOT, TURNS },
	{ .name = "fbuf-pageref", .in = ALL, POOL,
	  .engines = FBUF_ENGINE_PAGEREF,
	  .send = fbuf_flow_send, .fan = fbuf_flow_fan, .gather = fbuf_whole },
	{ .name = "fbuf-ubuf", .in = IN_ONE, POOL,
	  .engines = FBUF_ENGINE_UBUF, .send = fbuf_flow_send },
	{ .name = "fbuf-splice", .in = ALL, POOL,
	  .engines = FBUF_ENGINE_SPLICE,
	  .send = fbuf_flow_send, .fan = fbuf_flow_fan, .gather = fbuf_whole },
	{ .name = "fbuf-copy", .in = ALL, POOL,
	  .engines = FBUF_ENGINE_COPY,
	  .send = fbuf_flow_send, .fan = fbuf_flow_fan, .gather = fbuf_whole },
	/* A SEND for each socket. */
	{ .name = "fbuf-each", .in = IN_FAN, POOL, .send = fbuf_flow_send },
	{ .name = "fbuf-batch", .in = IN_FAN, .memory = true,
	  .init = batch_init, .fan = batch_fan, .fini = fbuf_fini },
	{ .name = "fbuf-uring", .in = ALL, .memory = true,
	  .init = fbuf_uring_init, .send = fbuf_uring_one,
	  .fan = fbuf_uring_fan, .gather = fbuf_uring_fan,
	  .fini = fbuf_uring_fini },
	{ .name = "fbuf-sendfile", .in = IN_ONE | IN_FAN, POOL,
	  .send = pool_sendfile },
	/* For fbuf compare --count alone. */
	{ .name = "direct-fbuf", .file = true, POOL, .send = direct_send },
	{ .name = "floor", .in = ALL, .init = floor_init,
	  .send = floor_send, .fan = floor_fan, .gather = floor_fan },
};

const struct method_list fbuf_methods = { fbuf, ARRAY_SIZE(fbuf) };
