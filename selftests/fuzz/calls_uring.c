// SPDX-License-Identifier: GPL-2.0
/*
 * io_uring: commands of pool fds, and what else it can do with them. One ring at a
 * time, and only the first thread uses it.
 */
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "fuzz.h"

#define ENTRIES		16
#define SLOTS		64
#define SLOT_BYTES	1024

struct uring {
	struct io_uring ring;
	unsigned int next;
	__u8 slot[SLOTS][SLOT_BYTES];	/* arguments, until nobody needs them */
};

static long call_uring(struct actor *me, const __u32 *a)
{
	static const unsigned int flags[] = {
		0, 0, IORING_SETUP_SQPOLL, IORING_SETUP_IOPOLL,
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_COOP_TASKRUN, IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
	};
	struct io_uring_params p = {
		.flags = flags[a[0] % ARRAY_LEN(flags)],
		.sq_thread_idle = 1 + a[1] % 20,
	};
	struct uring *u;

	uring_drop(me->run);
	u = calloc(1, sizeof(*u));
	if (!u)
		return -1;
	if (io_uring_queue_init_params(ENTRIES, &u->ring, &p)) {
		free(u);
		return -1;
	}
	me->run->uring = u;
	return 0;
}

void uring_drop(struct run *r)
{
	if (!r->uring)
		return;
	io_uring_queue_exit(&r->uring->ring);
	free(r->uring);
	r->uring = NULL;
}

static long call_udrop(struct actor *me, const __u32 *a)
{
	(void)a;
	uring_drop(me->run);
	return 0;
}

static struct io_uring_sqe *sqe_get(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe)
		return sqe;
	io_uring_submit(&u->ring);
	return io_uring_get_sqe(&u->ring);
}

/* Its structure stays until the ring is gone, or it is another's turn. */
static long call_ucmd(struct actor *me, const __u32 *a)
{
	struct uring *u = me->run->uring;
	struct io_uring_sqe *sqe = u ? sqe_get(u) : NULL;
	__u8 *slot;
	unsigned long cmd;
	__u64 args;
	size_t len;
	int fd;

	if (!sqe)
		return -1;
	slot = u->slot[u->next++ % SLOTS];
	cmd = pool_uring_make(me, a, &fd, slot, &len);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	sqe->cmd_op = cmd;
	args = a[8] & 15 ? put(me, a[8], slot, len) : (uintptr_t)slot;
	memcpy(sqe->cmd, &args, sizeof(args));
	memset(sqe->cmd + 8, a[8] == 31, 8);
	sqe->flags = a[9] & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC |
			     IOSQE_IO_DRAIN | IOSQE_CQE_SKIP_SUCCESS);
	sqe->user_data = u->next;
	if (a[9] & 512)
		sqe->uring_cmd_flags = IORING_URING_CMD_FIXED;
	return a[9] & 1 ? 0 : io_uring_submit(&u->ring);
}

/* Takes what has completed. */
static long call_ureap(struct actor *me, const __u32 *a)
{
	struct __kernel_timespec limit = { .tv_nsec = a[0] % 4 * 500000 };
	struct uring *u = me->run->uring;
	struct io_uring_cqe *cqe;
	unsigned int nr = 0;

	if (!u)
		return -1;
	io_uring_submit(&u->ring);
	if (a[0] % 4)
		io_uring_wait_cqe_timeout(&u->ring, &cqe, &limit);
	while (nr < 2 * ENTRIES && !io_uring_peek_cqe(&u->ring, &cqe)) {
		io_uring_cqe_seen(&u->ring, cqe);
		nr++;
	}
	return nr;
}

static void other_prep(struct actor *me, struct io_uring_sqe *sqe,
		       const __u32 *a)
{
	int pool = res_fd(me->run, K_POOL, a[1]);
	int pipe = res_fd(me->run, K_PIPE, a[2]);

	switch (a[0] % 8) {
	case 0:
		io_uring_prep_cancel64(sqe, a[1], IORING_ASYNC_CANCEL_ANY);
		break;
	case 1:
		io_uring_prep_cancel_fd(sqe, pool, IORING_ASYNC_CANCEL_ALL);
		break;
	case 2:
		io_uring_prep_poll_add(sqe, pool, a[2]);
		break;
	case 3:
		io_uring_prep_splice(sqe, pool, a[2] * 64, pipe, -1, a[3], 0);
		break;
	case 4:
		io_uring_prep_read(sqe, pool, me->arena, 64, a[2]);
		break;
	case 5:
		io_uring_prep_close(sqe, -1);
		break;
	case 6:
		io_uring_prep_recv(sqe, res_fd(me->run, K_SOCK, a[1]), me->arena,
				   PAGE, 0);
		break;
	default:
		io_uring_prep_send_zc(sqe, res_fd(me->run, K_SOCK, a[1]),
				      me->arena, PAGE, MSG_NOSIGNAL, 0);
	}
}

static long call_uother(struct actor *me, const __u32 *a)
{
	struct uring *u = me->run->uring;
	struct io_uring_sqe *sqe = u ? sqe_get(u) : NULL;

	if (!sqe)
		return -1;
	other_prep(me, sqe, a);
	sqe->flags |= a[4] & (IOSQE_IO_LINK | IOSQE_ASYNC);
	return io_uring_submit(&u->ring);
}

/* A pin of the pool's pages that lasts. */
static long call_ubuf(struct actor *me, const __u32 *a)
{
	struct uring *u = me->run->uring;
	struct handle *h = handle_pick(me->run, a[0]);
	struct iovec iov;

	if (!u || !h || !h->map_len)
		return -1;
	if (a[1] % 4 == 3)
		return io_uring_unregister_buffers(&u->ring);
	iov.iov_base = h->map;
	iov.iov_len = a[1] % 4 == 2 ? PAGE : h->map_len;
	return io_uring_register_buffers(&u->ring, &iov, 1);
}

const struct call_desc uring_calls[] = {
	{ "uring",	"nn",		3,	call_uring },
	{ "udrop",	"",		3,	call_udrop },
	{ "ucmd",	"nhfnrnneef",	30,	call_ucmd },
	{ "ureap",	"n",		10,	call_ureap },
	{ "uother",	"nhnnf",	10,	call_uother },
	{ "ubuf",	"hn",		4,	call_ubuf },
	{ 0 },
};
