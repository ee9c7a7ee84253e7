// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "uring.h"

#define ENTRIES		32U

void uring_init(struct uring *u, const struct lane *l)
{
	struct io_uring_params params = { .sq_thread_idle = 20 };
	int err;

	if (one_in(16))
		params.flags = IORING_SETUP_SQPOLL;
	else if (one_in(2))
		params.flags = IORING_SETUP_SINGLE_ISSUER |
			       IORING_SETUP_DEFER_TASKRUN;
	err = io_uring_queue_init_params(ENTRIES, &u->ring, &params);
	if (err)
		lane_broke(l, "io_uring", -err);
	u->there = true;
}

void uring_exit(struct uring *u)
{
	if (u->there)
		io_uring_queue_exit(&u->ring);
	u->there = false;
}

/* The result of the request just made; what tells of older ones is dropped. */
static int run(struct uring *u, struct io_uring_sqe *sqe)
{
	static __u64 last;
	struct io_uring_cqe *cqe;
	int ret;

	sqe->user_data = ++last;
	if (one_in(8))
		sqe->flags |= IOSQE_ASYNC;
	ret = io_uring_submit(&u->ring);
	if (ret < 0)
		return ret;
	for (;;) {
		bool ours;

		ret = io_uring_wait_cqe(&u->ring, &cqe);
		if (ret == -EINTR)
			continue;
		if (ret)
			return ret;
		ours = cqe->user_data == last &&
		       !(cqe->flags & IORING_CQE_F_NOTIF);
		ret = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
		if (ours)
			return ret;
	}
}

int pool_command(struct uring *u, int pool, __u32 op, void *args)
{
	struct io_uring_sqe *sqe;
	struct fbuf_uring_cmd *cmd;

	if (!u)
		return ioctl(pool, op, args) < 0 ? -errno : 0;
	sqe = io_uring_get_sqe(&u->ring);
	if (!sqe)
		return -EAGAIN;
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, pool, NULL, 0, 0);
	cmd = (struct fbuf_uring_cmd *)sqe->cmd;
	cmd->args = (uintptr_t)args;
	cmd->reserved = 0;
	sqe->cmd_op = op;
	return run(u, sqe);
}

ssize_t uring_send_zc(struct uring *u, int sock, const void *p, size_t len)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_send_zc(sqe, sock, p, len, MSG_NOSIGNAL, 0);
	return run(u, sqe);
}
