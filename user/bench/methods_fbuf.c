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

struct fbuf_lane {
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
};

static void fbuf_free_lane(struct fbuf_lane *f)
{
	fbuf_gather_destroy(f->gather);
	fbuf_pool_close(f->pool);
	free(f->targets);
	free(f->items);
	free(f->sends);
	free(f->names);
	free(f);
}

static void fbuf_fini(struct lane *l)
{
	fbuf_free_lane(l->priv);
	l->mem = NULL;
}

/* All of the pool's buffers: together, in the order of the pool, the source. */
static int fbuf_alloc_all(struct fbuf_lane *f, unsigned int nr)
{
	uint64_t names[64];
	int n, i;

	for (; nr; nr -= n) {
		n = fbuf_alloc(f->pool, names,
			       nr < ARRAY_SIZE(names) ? nr : ARRAY_SIZE(names), 0);
		if (n <= 0)
			return n ? n : -ENOBUFS;
		for (i = 0; i < n; i++)
			f->names[FBUF_NAME_INDEX(names[i])] = names[i];
	}
	return 0;
}

/* Pieces are a buffer apart: buffers may touch, and would be sent as one. */
static int fbuf_take(struct lane *l, struct fbuf_lane *f)
{
	unsigned int nr, i;
	int err;

	f->buf_size = l->nr_iov > 1 ? l->apart / 2 : l->apart;
	nr = l->source / f->buf_size;
	err = fbuf_pool_create(&f->pool, f->buf_size, nr);
	if (err)
		return lane_fail(l, err, "unsupported: making a pool");
	f->names = calloc(nr, sizeof(*f->names));
	f->targets = calloc(l->nr, sizeof(*f->targets));
	f->items = calloc(l->nr, sizeof(*f->items));
	f->sends = calloc(l->nr, sizeof(*f->sends));
	f->gather = fbuf_gather_new(f->pool);
	if (!f->names || !f->targets || !f->items || !f->sends || !f->gather)
		return lane_fail(l, -ENOMEM, "memory");
	err = fbuf_alloc_all(f, nr);
	if (err)
		return lane_fail(l, err, "allocating buffers");
	for (i = 0; i < l->nr; i++)
		f->targets[i].fd = l->txs[i];
	return 0;
}

/* Bytes off .. off + len - 1 of the source, all in one buffer. */
static int fbuf_append(struct fbuf_lane *f, size_t off, size_t len)
{
	return fbuf_gather_append(f->gather, f->names[off / f->buf_size],
				  off % f->buf_size, len);
}

static int fbuf_init(struct lane *l)
{
	struct fbuf_lane *f = calloc(1, sizeof(*f));
	unsigned int i;
	int err;

	if (!f)
		return lane_fail(l, -ENOMEM, "fbuf");
	err = fbuf_take(l, f);
	for (i = 0; !err && i < l->nr_iov; i++) {
		err = fbuf_append(f, i * l->apart, l->size / l->nr_iov);
		if (err)
			lane_fail(l, err, "making a gather");
	}
	if (err) {
		fbuf_free_lane(f);
		return err;
	}
	f->len = l->size;
	l->priv = f;
	l->mem = fbuf_addr(f->pool, f->names[0]);
	return 0;
}

/* What is named, or else whatever the module chooses. */
static ssize_t fbuf_whole(struct lane *l)
{
	unsigned int flags = l->wait ? 0 : FBUF_SEND_DONTWAIT;
	unsigned int engines = l->method->engines;
	struct fbuf_lane *f = l->priv;
	struct fbuf_result res;
	ssize_t n;

	n = engines ? fbuf_sendto(f->gather, l->tx, flags, engines, NULL, 0,
				  &res) :
		      fbuf_send(f->gather, l->tx, flags, &res);
	if (n < 0)
		return n;
	l->engine = res.engine;
	l->reported += n;
	l->copied += res.copied;
	return n;
}

/* The gather is made once; the rest of a short send needs another. */
static ssize_t fbuf_part(struct lane *l, size_t off, size_t len)
{
	struct fbuf_lane *f = l->priv;
	ssize_t n;

	fbuf_gather_reset(f->gather);
	n = fbuf_append(f, off, len);
	if (n)
		return n;
	f->off = off;
	f->len = len;
	return fbuf_whole(l);
}

static ssize_t fbuf_lane_send(struct lane *l, size_t off, size_t len)
{
	const struct fbuf_lane *f = l->priv;

	if (off != f->off || len != f->len)
		return fbuf_part(l, off, len);
	return fbuf_whole(l);
}

static ssize_t fbuf_lane_fan(struct lane *l)
{
	struct fbuf_lane *f = l->priv;
	ssize_t sum = 0;
	unsigned int i;
	int n;

	n = fbuf_fanout(f->gather, f->targets, l->nr, 0, l->method->engines);
	if (n < 0)
		return n;
	for (i = 0; i < l->nr; i++) {
		if (f->targets[i].result < 0)
			return f->targets[i].result;
		sum += f->targets[i].result;
		l->copied += f->targets[i].copied;
	}
	l->reported += sum;
	l->engine = f->targets[0].engine;
	return sum;
}

/* Many sends by one call, which happen to be of one gather. */
static int batch_init(struct lane *l)
{
	struct fbuf_lane *f;
	unsigned int i;
	int err = fbuf_init(l);

	if (err)
		return err;
	f = l->priv;
	for (i = 0; i < l->nr; i++)
		fbuf_item_set(&f->items[i], f->gather, l->txs[i]);
	return 0;
}

static ssize_t batch_fan(struct lane *l)
{
	struct fbuf_lane *f = l->priv;
	ssize_t sum = 0;
	int n, i;

	n = fbuf_send_batch(f->pool, f->items, l->nr, 0, l->method->engines);
	for (i = 0; i < n; i++) {
		if (f->items[i].result < 0)
			return f->items[i].result;
		sum += f->items[i].result;
		l->copied += f->items[i].copied;
	}
	l->reported += sum;
	l->engine = f->items[0].engine;
	return n < 0 ? n : sum;
}

static int fbuf_uring_init(struct lane *l)
{
	struct fbuf_lane *f;
	int err, fd;

	err = fbuf_init(l);
	if (err)
		return err;
	f = l->priv;
	err = io_uring_queue_init(l->nr, &f->ring, 0);
	if (err) {
		lane_fail(l, err, "unsupported: io_uring_setup");
		fbuf_fini(l);
		return err;
	}
	/* Spares a look-up: Linux 5.18. */
	io_uring_register_ring_fd(&f->ring);
	fd = fbuf_pool_fd(f->pool);
	err = io_uring_register_files(&f->ring, &fd, 1);
	if (err) {
		lane_fail(l, err, "registering a pool");
		io_uring_queue_exit(&f->ring);
		fbuf_fini(l);
	}
	return err;
}

static void fbuf_uring_reap(struct lane *l)
{
	struct fbuf_lane *f = l->priv;
	struct io_uring_cqe *cqe;

	while (f->busy && !io_uring_peek_cqe(&f->ring, &cqe)) {
		if (f->res >= 0)
			f->res = cqe->res < 0 ? cqe->res : f->res + cqe->res;
		io_uring_cqe_seen(&f->ring, cqe);
		f->busy--;
	}
}

/* What is on its way writes to f->sends. */
static void fbuf_uring_fini(struct lane *l)
{
	struct fbuf_lane *f = l->priv;
	struct io_uring_cqe *cqe;

	while (f->busy && !io_uring_wait_cqe(&f->ring, &cqe))
		fbuf_uring_reap(l);
	io_uring_queue_exit(&f->ring);
	fbuf_fini(l);
}

/* One submission for all sockets. */
static ssize_t fbuf_uring_fan(struct lane *l)
{
	struct fbuf_lane *f = l->priv;
	struct io_uring_sqe *sqe;
	unsigned int i;

	for (i = 0; i < l->nr; i++) {
		sqe = io_uring_get_sqe(&f->ring);
		io_uring_prep_rw(IORING_OP_URING_CMD, sqe, 0, NULL, 0, 0);
		sqe->flags = IOSQE_FIXED_FILE;
		sqe->cmd_op = fbuf_uring_send(&f->sends[i], sqe->cmd, f->gather,
					      l->txs[i], FBUF_SEND_DONTWAIT,
					      l->method->engines);
	}
	f->res = 0;
	f->busy = l->nr;
	io_uring_submit(&f->ring);
	fbuf_uring_reap(l);
	if (f->busy) {
		l->punted = true;
		return -EAGAIN;
	}
	if (f->res < 0)
		return f->res;
	for (i = 0; i < l->nr; i++)
		l->copied += f->sends[i].copied;
	l->reported += f->res;
	l->engine = f->sends[0].engine;
	return f->res;
}

static ssize_t fbuf_uring_one(struct lane *l, size_t off, size_t len)
{
	(void)off;
	(void)len;
	return fbuf_uring_fan(l);
}

static ssize_t pool_sendfile(struct lane *l, size_t off, size_t len)
{
	struct fbuf_lane *f = l->priv;
	off_t pos = off;

	return lane_result(sendfile(l->tx, fbuf_pool_fd(f->pool), &pos, len));
}

/* selftests/bench/floor/fbuf_floor.c: its clock, and its pages. */
static int floor_init(struct lane *l)
{
	struct floor args = {
		.nr = l->nr_iov, .seg_size = l->size / l->nr_iov,
	};

	l->file = open(FLOOR_DEVICE, O_RDWR | O_CLOEXEC);
	if (l->file < 0)
		return lane_fail(l, -errno, "unsupported: " FLOOR_DEVICE);
	if (ioctl(l->file, FLOOR_IOC_SETUP, &args))
		return lane_fail(l, -errno, FLOOR_DEVICE);
	return 0;
}

static ssize_t floor_fan(struct lane *l)
{
	struct floor args = { .nr = l->nr, .fds = (uintptr_t)l->txs };

	if (ioctl(l->file, FLOOR_IOC_SEND, &args))
		return -errno;
	l->took = args.ns;
	return l->nr * l->size;
}

static ssize_t floor_send(struct lane *l, size_t off, size_t len)
{
	(void)off;
	(void)len;
	return floor_fan(l);
}

#define ALL	(IN_ONE | IN_FAN | IN_GATHER)
#define POOL	.memory = true, .init = fbuf_init, .fini = fbuf_fini

static const struct method fbuf[] = {
	{ .name = "fbuf", .in = IN_COMPARE | ALL, .reads = true, POOL,
	  .calls = 1,
	  .send = fbuf_lane_send, .fan = fbuf_lane_fan, .gather = fbuf_whole },
	{ .name = "fbuf-pageref", .in = ALL, POOL,
	  .engines = FBUF_ENGINE_PAGEREF,
	  .send = fbuf_lane_send, .fan = fbuf_lane_fan, .gather = fbuf_whole },
	{ .name = "fbuf-ubuf", .in = IN_ONE, POOL,
	  .engines = FBUF_ENGINE_UBUF, .send = fbuf_lane_send },
	{ .name = "fbuf-splice", .in = ALL, POOL,
	  .engines = FBUF_ENGINE_SPLICE,
	  .send = fbuf_lane_send, .fan = fbuf_lane_fan, .gather = fbuf_whole },
	{ .name = "fbuf-copy", .in = ALL, POOL,
	  .engines = FBUF_ENGINE_COPY,
	  .send = fbuf_lane_send, .fan = fbuf_lane_fan, .gather = fbuf_whole },
	/* A SEND for each socket. */
	{ .name = "fbuf-each", .in = IN_FAN, POOL, .send = fbuf_lane_send },
	{ .name = "fbuf-batch", .in = IN_FAN, .memory = true,
	  .init = batch_init, .fan = batch_fan, .fini = fbuf_fini },
	{ .name = "fbuf-uring", .in = ALL, .memory = true,
	  .init = fbuf_uring_init, .send = fbuf_uring_one,
	  .fan = fbuf_uring_fan, .gather = fbuf_uring_fan,
	  .fini = fbuf_uring_fini },
	{ .name = "fbuf-sendfile", .in = IN_ONE | IN_FAN, POOL,
	  .send = pool_sendfile },
	{ .name = "floor", .in = ALL, .init = floor_init,
	  .send = floor_send, .fan = floor_fan, .gather = floor_fan },
};

const struct method_list fbuf_methods = { fbuf, ARRAY_SIZE(fbuf) };
