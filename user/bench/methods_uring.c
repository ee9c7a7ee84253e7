// SPDX-License-Identifier: GPL-2.0
/*
 * fbuf compare and bench: sends by io_uring, plain and SEND_ZC.
 *
 * As cheap as it gets: ring, sockets and, where the kernel takes them, buffers
 * registered, one submission for all sockets of a fan-out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <liburing.h>

#include "flow.h"

/* Newer than liburing 2.3. */
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE	(1U << 3)
#endif
#ifndef IORING_NOTIF_USAGE_ZC_COPIED
#define IORING_NOTIF_USAGE_ZC_COPIED	(1U << 31)
#endif

#ifndef IORING_RECVSEND_BUNDLE
#define IORING_RECVSEND_BUNDLE		(1U << 4)
#define IORING_FEAT_RECVSEND_BUNDLE	(1U << 14)
#endif

#define QUEUE	256U	/* entries to submit at once, at least */
#define BUNDLE	1024U	/* buffers that may wait for a bundle: a power of two */

struct uring {
	struct io_uring ring;
	bool zc;
	unsigned int flags;	/* of SEND_ZC */
	unsigned int busy;	/* sends without a result yet */
	int res;		/* the first error, or bytes in all */
	struct msghdr msg;	/* of a gather */
	bool enabled;		/* by the thread that sends */
	struct io_uring_buf_ring *bufs;	/* that a bundle is taken from */
};

/*
 * What the kernel can do where one thread submits, which need not be the one
 * that opened it: so the ring starts disabled. Linux 6.1; before, without.
 */
static int uring_queue_init(struct uring *u, unsigned int entries,
			    struct io_uring_params *params)
{
	const struct io_uring_params plain = *params;
	int err;

	params->flags |= IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED;
	err = io_uring_queue_init_params(entries, &u->ring, params);
	if (err != -EINVAL)
		return err;
	*params = plain;
	u->enabled = true;
	return io_uring_queue_init_params(entries, &u->ring, params);
}

static int uring_register(struct flow *f, struct uring *u)
{
	struct iovec iov = { .iov_base = f->mem, .iov_len = f->source };
	struct io_uring_probe *probe;
	bool known;
	int err;

	/* Spares a look-up, but is for this thread only: Linux 5.18. */
	if (!f->wait)
		io_uring_register_ring_fd(&u->ring);
	err = io_uring_register_files(&u->ring, f->txs, f->nr);
	if (err)
		return flow_fail(f, err, "registering sockets");
	if (!u->zc)
		return 0;
	probe = io_uring_get_probe_ring(&u->ring);
	known = probe && io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
	io_uring_free_probe(probe);
	if (!known)
		return flow_fail(f, -EOPNOTSUPP, "unsupported: SEND_ZC");
	if (f->nr_iov > 1)
		return 0;
	err = io_uring_register_buffers(&u->ring, &iov, 1);
	return err ? flow_fail(f, err, "unsupported: registering a buffer") : 0;
}

static int uring_open(struct flow *f, bool zc)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE,
		.cq_entries = 16 * QUEUE,
	};
	struct uring *u = calloc(1, sizeof(*u));
	int err;

	if (!u)
		return flow_fail(f, -ENOMEM, "io_uring");
	u->zc = zc;
	u->flags = IORING_SEND_ZC_REPORT_USAGE;
	u->msg.msg_iov = f->iov;
	u->msg.msg_iovlen = f->nr_iov;
	err = uring_queue_init(u, f->nr > QUEUE ? f->nr : QUEUE, &params);
	if (err) {
		free(u);
		return flow_fail(f, err, "unsupported: io_uring_setup");
	}
	err = uring_register(f, u);
	if (err) {
		io_uring_queue_exit(&u->ring);
		free(u);
		return err;
	}
	f->priv = u;
	return 0;
}

static int send_init(struct flow *f)
{
	return uring_open(f, false);
}

static int send_zc_init(struct flow *f)
{
	return uring_open(f, true);
}

static void uring_fini(struct flow *f)
{
	struct uring *u = f->priv;

	io_uring_queue_exit(&u->ring);
	free(u->bufs);
	free(u);
}

/*
 * Pieces as provided buffers, which one send takes as many of as there are.
 * Linux 6.10; liburing 2.3 does not know it, but the kernel does.
 */
static int bundle_init(struct flow *f)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUNDLE };
	struct uring *u;
	int err = uring_open(f, false);

	if (err)
		return err;
	u = f->priv;
	if (!(u->ring.features & IORING_FEAT_RECVSEND_BUNDLE)) {
		err = flow_fail(f, -EOPNOTSUPP, "unsupported: bundles");
		goto fail;
	}
	u->bufs = aligned_alloc(sysconf(_SC_PAGESIZE),
				BUNDLE * sizeof(struct io_uring_buf));
	reg.ring_addr = (uintptr_t)u->bufs;
	err = u->bufs ? io_uring_register_buf_ring(&u->ring, &reg, 0) : -ENOMEM;
	if (err) {
		flow_fail(f, err, "providing buffers");
		goto fail;
	}
	io_uring_buf_ring_init(u->bufs);
	return 0;
fail:
	uring_fini(f);
	return err;
}

/* SEND_ZC has two completions: a result, and that the memory is free. */
static void uring_reap(struct flow *f)
{
	struct uring *u = f->priv;
	struct io_uring_cqe *cqe;

	while (!io_uring_peek_cqe(&u->ring, &cqe)) {
		if (!(cqe->flags & IORING_CQE_F_NOTIF)) {
			if (u->res >= 0)
				u->res = cqe->res < 0 ? cqe->res :
							u->res + cqe->res;
			/* A bundle has results while it goes on. */
			if (!u->bufs || !(cqe->flags & IORING_CQE_F_MORE))
				u->busy--;
		} else if (u->flags & IORING_SEND_ZC_REPORT_USAGE) {
			f->reported += f->size;
			if (cqe->res & IORING_NOTIF_USAGE_ZC_COPIED)
				f->copied += f->size;
		}
		io_uring_cqe_seen(&u->ring, cqe);
	}
}

/* One more entry, for socket number i. */
static void uring_prep(struct flow *f, unsigned int i, size_t off, size_t len)
{
	struct uring *u = f->priv;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	int flags = f->wait ? MSG_WAITALL : MSG_DONTWAIT;

	if (u->bufs) {
		io_uring_prep_send(sqe, i, NULL, 0, flags);
		sqe->ioprio = IORING_RECVSEND_BUNDLE;
		sqe->flags |= IOSQE_BUFFER_SELECT;
	} else if (f->nr_iov > 1 && u->zc) {
		io_uring_prep_sendmsg_zc(sqe, i, &u->msg, flags);
		sqe->ioprio = u->flags;
	} else if (f->nr_iov > 1) {
		io_uring_prep_sendmsg(sqe, i, &u->msg, flags);
	} else if (u->zc) {
		io_uring_prep_send_zc_fixed(sqe, i, f->mem + off, len, flags,
					    u->flags, 0);
	} else {
		io_uring_prep_send(sqe, i, f->mem + off, len, flags);
	}
	sqe->flags |= IOSQE_FIXED_FILE;
	u->busy++;
}

/* That of liburing 2.3 is in its header and not in the library. */
static int uring_enable(struct uring *u)
{
	u->enabled = true;
	return flow_result(syscall(SYS_io_uring_register, u->ring.ring_fd,
				   IORING_REGISTER_ENABLE_RINGS, NULL, 0));
}

static void uring_submit(struct flow *f, size_t off, size_t len)
{
	struct uring *u = f->priv;
	unsigned int i;

	u->res = 0;
	if (!u->enabled) {
		u->res = uring_enable(u);
		if (u->res)
			return;
	}
	for (i = 0; i < f->nr; i++)
		uring_prep(f, i, off, len);
	io_uring_submit_and_wait(&u->ring, f->wait);
	uring_reap(f);
}

static ssize_t uring_send(struct flow *f, size_t off, size_t len)
{
	struct uring *u = f->priv;
	struct io_uring_cqe *cqe;
	int err = 0;

	if (u->busy)
		uring_reap(f);
	else
		uring_submit(f, off, len);
	/* Linux before 6.2 cannot say whether it copied. */
	if (!u->busy && u->res == -EINVAL && u->zc && u->flags) {
		u->flags = 0;
		uring_submit(f, off, len);
	}
	/* Who is stopped and goes on has to wait again. */
	while (u->busy && f->wait && (!err || err == -EINTR)) {
		err = io_uring_wait_cqe(&u->ring, &cqe);
		if (!err)
			uring_reap(f);
	}
	if (!u->busy)
		return u->res;
	f->punted = true;
	return -EAGAIN;
}

static ssize_t uring_all(struct flow *f)
{
	return uring_send(f, 0, f->size);
}

static ssize_t bundle_all(struct flow *f)
{
	struct uring *u = f->priv;
	unsigned int i;

	for (i = 0; i < f->nr_iov && !u->busy; i++)
		io_uring_buf_ring_add(u->bufs, f->iov[i].iov_base,
				      f->iov[i].iov_len, i, BUNDLE - 1, i);
	if (!u->busy)
		io_uring_buf_ring_advance(u->bufs, f->nr_iov);
	return uring_all(f);
}

static const struct method uring[] = {
	{ .name = "uring-send", .in = IN_COMPARE | IN_ONE | IN_FAN | IN_GATHER,
	  .calls = 1, .init = send_init, .send = uring_send, .fan = uring_all,
	  .gather = uring_all, .reap = uring_reap, .fini = uring_fini },
	{ .name = "send-zc", .in = IN_COMPARE | IN_ONE | IN_FAN | IN_GATHER,
	  .calls = 1, .init = send_zc_init, .send = uring_send, .fan = uring_all,
	  .gather = uring_all, .reap = uring_reap, .fini = uring_fini },
	{ .name = "uring-bundle", .in = IN_GATHER, .init = bundle_init,
	  .gather = bundle_all, .reap = uring_reap, .fini = uring_fini },
};

const struct method_list uring_methods = { uring, ARRAY_SIZE(uring) };
