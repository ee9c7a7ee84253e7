// SPDX-License-Identifier: GPL-2.0
/* fbuf compare: the methods, from write() to fbuf. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <liburing.h>
#include <linux/errqueue.h>

#include "compare.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Newer than liburing 2.3. */
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE	(1U << 3)
#endif
#ifndef IORING_NOTIF_USAGE_ZC_COPIED
#define IORING_NOTIF_USAGE_ZC_COPIED	(1U << 31)
#endif

int lane_fail(struct lane *l, int err, const char *what)
{
	snprintf(l->why, sizeof(l->why), "%s: %s", what, strerror(-err));
	return err;
}

static ssize_t result(ssize_t n)
{
	return n < 0 ? -errno : n;
}

static ssize_t write_send(struct lane *l, size_t off, size_t len)
{
	return result(write(l->tx, l->mem + off, len));
}

static ssize_t read_write_send(struct lane *l, size_t off, size_t len)
{
	/* What the socket did not take is still in memory. */
	if (off == l->at) {
		ssize_t n = pread(l->file, l->mem, len, off);

		if (n != (ssize_t)len)
			return n < 0 ? -errno : -EIO;
	}
	return result(write(l->tx, l->mem + (off - l->at), len));
}

static ssize_t mmap_write_send(struct lane *l, size_t off, size_t len)
{
	uint8_t *p = mmap(NULL, l->size, PROT_READ, MAP_SHARED, l->file,
			  l->at);
	ssize_t n;

	if (p == MAP_FAILED)
		return -errno;
	n = result(write(l->tx, p + (off - l->at), len));
	munmap(p, l->size);
	return n;
}

static ssize_t sendfile_send(struct lane *l, size_t off, size_t len)
{
	off_t pos = off;

	return result(sendfile(l->tx, l->file, &pos, len));
}

/* A pipe that holds a whole message, where the system allows it. */
struct pipe {
	int in, out;
	size_t room;
	size_t filled;		/* bytes that the socket has not yet taken */
};

static int pipe_init(struct lane *l)
{
	struct pipe *p = calloc(1, sizeof(*p));
	int fds[2];

	if (!p)
		return lane_fail(l, -ENOMEM, "pipe");
	if (pipe2(fds, O_CLOEXEC)) {
		free(p);
		return lane_fail(l, -errno, "pipe");
	}
	p->out = fds[0];
	p->in = fds[1];
	fcntl(p->in, F_SETPIPE_SZ, (int)l->size);
	p->room = fcntl(p->in, F_GETPIPE_SZ);
	l->priv = p;
	return 0;
}

static void pipe_fini(struct lane *l)
{
	struct pipe *p = l->priv;

	close(p->in);
	close(p->out);
	free(p);
}

static ssize_t pipe_drain(struct lane *l)
{
	struct pipe *p = l->priv;
	ssize_t n;

	n = result(splice(p->out, NULL, l->tx, NULL, p->filled,
			  l->wait ? 0 : SPLICE_F_NONBLOCK));
	if (n > 0)
		p->filled -= n;
	return n;
}

static ssize_t splice_send(struct lane *l, size_t off, size_t len)
{
	struct pipe *p = l->priv;
	off_t pos = off;

	if (!p->filled) {
		ssize_t n = splice(l->file, &pos, p->in, NULL,
				   len < p->room ? len : p->room,
				   SPLICE_F_NONBLOCK);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p->filled = n;
	}
	return pipe_drain(l);
}

static ssize_t vmsplice_send(struct lane *l, size_t off, size_t len)
{
	struct pipe *p = l->priv;

	if (!p->filled) {
		struct iovec iov = {
			.iov_base = l->mem + off,
			.iov_len = len < p->room ? len : p->room,
		};
		ssize_t n = vmsplice(p->in, &iov, 1, SPLICE_F_NONBLOCK);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p->filled = n;
	}
	return pipe_drain(l);
}

static int msg_zc_init(struct lane *l)
{
	int one = 1;

	if (setsockopt(l->tx, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		return lane_fail(l, -errno, "SO_ZEROCOPY");
	return 0;
}

/* One notice covers a range of sends. */
static void msg_zc_reap(struct lane *l)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(struct sock_extended_err)) + 64];
	} control;
	struct sock_extended_err err;
	struct cmsghdr *c;
	double bytes;

	for (;;) {
		struct msghdr msg = {
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};

		if (recvmsg(l->tx, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		c = CMSG_FIRSTHDR(&msg);
		if (!c)
			continue;
		memcpy(&err, CMSG_DATA(c), sizeof(err));
		if (err.ee_origin != SO_EE_ORIGIN_ZEROCOPY)
			continue;
		bytes = (double)l->size * (err.ee_data - err.ee_info + 1);
		l->reported += bytes;
		if (err.ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
			l->copied += bytes;
	}
}

static ssize_t msg_zc_send(struct lane *l, size_t off, size_t len)
{
	int flags = MSG_ZEROCOPY | (l->wait ? 0 : MSG_DONTWAIT);
	struct pollfd pfd = { .fd = l->tx };
	ssize_t n;

	for (;;) {
		n = result(send(l->tx, l->mem + off, len, flags));
		if (n != -ENOBUFS)
			return n;
		/* No room for one more notice: fetch those that wait. */
		if (!l->wait)
			return -EAGAIN;
		poll(&pfd, 1, 1);
		msg_zc_reap(l);
	}
}

struct send_zc {
	struct io_uring ring;
	unsigned int flags;
	bool busy;		/* a send has no result yet */
	int res;
};

static int send_zc_ring(struct lane *l, struct send_zc *z)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE,
		.cq_entries = 4096,
	};
	struct iovec iov = { .iov_base = l->mem, .iov_len = l->source };
	struct io_uring_probe *probe;
	bool known;
	int err;

	err = io_uring_queue_init_params(8, &z->ring, &params);
	if (err)
		return lane_fail(l, err, "unsupported: io_uring_setup");
	probe = io_uring_get_probe_ring(&z->ring);
	known = probe && io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
	io_uring_free_probe(probe);
	if (!known)
		err = lane_fail(l, -EOPNOTSUPP, "unsupported: SEND_ZC");
	else
		err = io_uring_register_buffers(&z->ring, &iov, 1);
	if (err)
		io_uring_queue_exit(&z->ring);
	if (err && !l->why[0])
		lane_fail(l, err, "unsupported: registering a buffer");
	return err;
}

static int send_zc_init(struct lane *l)
{
	struct send_zc *z = calloc(1, sizeof(*z));
	int err;

	if (!z)
		return lane_fail(l, -ENOMEM, "send-zc");
	z->flags = IORING_SEND_ZC_REPORT_USAGE;
	err = send_zc_ring(l, z);
	if (err)
		free(z);
	else
		l->priv = z;
	return err;
}

static void send_zc_fini(struct lane *l)
{
	struct send_zc *z = l->priv;

	io_uring_queue_exit(&z->ring);
	free(z);
}

/* Two kinds of completion: a send's result, and that its memory is free. */
static void send_zc_reap(struct lane *l)
{
	struct send_zc *z = l->priv;
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&z->ring, &cqe)) {
		if (!(cqe->flags & IORING_CQE_F_NOTIF)) {
			z->res = cqe->res;
			z->busy = false;
		} else if (z->flags & IORING_SEND_ZC_REPORT_USAGE) {
			l->reported += l->size;
			if (cqe->res & IORING_NOTIF_USAGE_ZC_COPIED)
				l->copied += l->size;
		}
		io_uring_cqe_seen(&z->ring, cqe);
	}
}

static void send_zc_start(struct lane *l, size_t off, size_t len)
{
	struct send_zc *z = l->priv;

	io_uring_prep_send_zc_fixed(io_uring_get_sqe(&z->ring), l->tx,
				    l->mem + off, len,
				    l->wait ? MSG_WAITALL : MSG_DONTWAIT,
				    z->flags, 0);
	z->busy = true;
	io_uring_submit_and_wait(&z->ring, l->wait);
	send_zc_reap(l);
}

static ssize_t send_zc_send(struct lane *l, size_t off, size_t len)
{
	struct send_zc *z = l->priv;
	struct io_uring_cqe *cqe;

	if (z->busy)
		send_zc_reap(l);
	else
		send_zc_start(l, off, len);
	/* Linux before 6.2 cannot say whether it copied. */
	if (!z->busy && z->res == -EINVAL && z->flags) {
		z->flags = 0;
		send_zc_start(l, off, len);
	}
	while (z->busy && l->wait && !io_uring_wait_cqe(&z->ring, &cqe))
		send_zc_reap(l);
	if (!z->busy)
		return z->res;
	l->punted = true;
	return -EAGAIN;
}

struct fbuf_lane {
	struct fbuf_pool *pool;
	struct fbuf_gather *gather;
	uint64_t *names;	/* by index: where they are in the source */
	size_t off;		/* of what is in the gather */
};

static void fbuf_fini(struct lane *l)
{
	struct fbuf_lane *f = l->priv;

	fbuf_gather_destroy(f->gather);
	fbuf_pool_close(f->pool);
	free(f->names);
	free(f);
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

static int fbuf_init(struct lane *l)
{
	unsigned int nr = l->source / l->stride;
	struct fbuf_lane *f = calloc(1, sizeof(*f));
	int err;

	if (!f)
		return lane_fail(l, -ENOMEM, "fbuf");
	l->priv = f;
	err = fbuf_pool_create(&f->pool, l->stride, nr);
	if (err) {
		lane_fail(l, err, "unsupported: making a pool");
		goto free;
	}
	err = -ENOMEM;
	f->names = calloc(nr, sizeof(*f->names));
	if (f->names)
		err = fbuf_alloc_all(f, nr);
	if (err) {
		lane_fail(l, err, "allocating buffers");
		goto close;
	}
	err = -ENOMEM;
	f->gather = fbuf_gather_new(f->pool);
	if (f->gather)
		err = fbuf_gather_append(f->gather, f->names[0], 0, l->size);
	if (err) {
		lane_fail(l, err, "making a gather");
		goto destroy;
	}
	l->mem = fbuf_addr(f->pool, f->names[0]);
	return 0;

destroy:
	fbuf_gather_destroy(f->gather);
close:
	fbuf_pool_close(f->pool);
free:
	free(f->names);
	free(f);
	return err;
}

static ssize_t fbuf_lane_send(struct lane *l, size_t off, size_t len)
{
	struct fbuf_lane *f = l->priv;
	struct fbuf_result res;
	ssize_t n;

	/* The gather is made once; the rest of a short send needs another. */
	if (off != f->off || len != fbuf_gather_len(f->gather)) {
		fbuf_gather_reset(f->gather);
		n = fbuf_gather_append(f->gather, f->names[off / l->stride],
				       off % l->stride, len);
		if (n)
			return n;
		f->off = off;
	}
	n = fbuf_send(f->gather, l->tx, l->wait ? 0 : FBUF_SEND_DONTWAIT, &res);
	if (n < 0)
		return n;
	l->engine = res.engine;
	l->reported += n;
	l->copied += res.copied;
	return n;
}

const struct method methods[] = {
	{ .name = "write", .reads = true, .send = write_send, .calls = 1 },
	{ .name = "read-write", .file = true, .send = read_write_send,
	  .calls = 2 },
	{ .name = "mmap-write", .file = true, .send = mmap_write_send,
	  .calls = 3 },
	{ .name = "sendfile", .file = true, .reads = true,
	  .send = sendfile_send, .calls = 1 },
	{ .name = "splice", .file = true, .init = pipe_init,
	  .send = splice_send, .fini = pipe_fini, .calls = 2 },
	{ .name = "vmsplice", .init = pipe_init, .send = vmsplice_send,
	  .fini = pipe_fini, .calls = 2 },
	{ .name = "msg-zerocopy", .init = msg_zc_init, .send = msg_zc_send,
	  .reap = msg_zc_reap, .calls = 1 },
	{ .name = "send-zc", .init = send_zc_init, .send = send_zc_send,
	  .reap = send_zc_reap, .fini = send_zc_fini, .calls = 1 },
	{ .name = "fbuf", .reads = true, .memory = true, .calls = 1,
	  .init = fbuf_init, .send = fbuf_lane_send, .fini = fbuf_fini },
};

const unsigned int nr_methods = ARRAY_SIZE(methods);
