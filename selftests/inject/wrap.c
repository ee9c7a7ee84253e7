// SPDX-License-Identifier: GPL-2.0
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "inject.h"

#define POOL_MAX	(256U << 20)

/* If memory is short, or a copy to or from the user fails. */
static const int plain_errnos[] = { ENOMEM, EFAULT, 0 };
/* A socket says so in more ways. */
static const int send_errnos[] = { ENOMEM, EFAULT, ENOBUFS, EAGAIN, 0 };

static long result(long ret)
{
	return ret < 0 ? -errno : ret;
}

long call_give(long ret)
{
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

long call_make(struct call *c)
{
	return result(syscall(c->nr, c->arg[0], c->arg[1], c->arg[2], c->arg[3],
			      c->arg[4], c->arg[5]));
}

long raw_ioctl(int fd, unsigned long cmd, void *arg)
{
	return result(syscall(SYS_ioctl, fd, cmd, arg));
}

static bool is_pool(int fd)
{
	struct fbuf_info info = { .size = sizeof(info) };
	int saved = errno;
	bool is;

	is = fd >= 0 && !inject_off() &&
	     !raw_ioctl(fd, FBUF_IOC_INFO, &info);
	errno = saved;
	return is;
}

static void undo_fd(struct call *c, long fd)
{
	syscall(SYS_close, fd);
}

/* kTLS ends a connection for good whose encryption finds no memory. */
static bool is_tls(int sock)
{
	char ulp[16] = "";
	socklen_t len = sizeof(ulp);

	return !getsockopt(sock, IPPROTO_TCP, TCP_ULP, ulp, &len) &&
	       !strcmp(ulp, "tls");
}

static bool is_to_tls(const void *args)
{
	const struct fbuf_send *send = args;

	return is_tls(send->fd);
}

static bool is_from_tls(const void *args)
{
	const struct fbuf_fill *fill = args;

	return is_tls(fill->fd);
}

/*
 * What was taken before memory ran out is a parcel, and shorter than the test expects;
 * what was to be dropped first is gone when the call is made again.
 */
static bool is_long_take(const void *args)
{
	const struct fbuf_recv *recv = args;

	return recv->len > 512 || recv->drop || is_tls(recv->fd);
}

static bool recv_no_wait(void *args)
{
	struct fbuf_recv *recv = args;
	bool waits = !(recv->flags & FBUF_RECV_DONTWAIT);

	recv->flags |= FBUF_RECV_DONTWAIT;
	return waits;
}

static bool batch_no_wait(void *args)
{
	struct fbuf_batch *batch = args;
	bool waits = batch->timeout;

	/* Less than that is an error. */
	if (batch->timeout >= -1)
		batch->timeout = 0;
	return waits;
}

/* Without the flag it is an error to name a time. */
static bool alloc_no_wait(void *args)
{
	const struct fbuf_batch *batch = args;

	return batch->flags & FBUF_ALLOC_WAIT && batch_no_wait(args);
}

static bool send_no_wait(void *args)
{
	struct fbuf_send *send = args;
	bool waits = !(send->flags & FBUF_SEND_DONTWAIT);

	send->flags |= FBUF_SEND_DONTWAIT;
	return waits;
}

/* To take most of the memory, again and again, gets others killed. */
static bool is_huge(const void *args)
{
	const struct fbuf_pool_create *create = args;

	return (__u64)create->buf_size * create->nr_bufs > POOL_MAX;
}

/* What is told of an ioctl. */
static const struct {
	const char *name;
	long (*finish)(struct call *c, long ret);
	const int *errnos;
	bool (*spare)(const void *args);
	bool (*no_wait)(void *args);
	bool makes_fd;
} ioctls[64] = {
	[_IOC_NR(FBUF_IOC_POOL_CREATE)] = {
		.name = "POOL_CREATE",
		.spare = is_huge,
		.makes_fd = true,
	},
	[_IOC_NR(FBUF_IOC_ALLOC)] = {
		.name = "ALLOC",
		.no_wait = alloc_no_wait,
	},
	[_IOC_NR(FBUF_IOC_FREE)] = {
		.name = "FREE",
	},
	[_IOC_NR(FBUF_IOC_SEND)] = {
		.name = "SEND",
		.finish = rest_of_send,
		.errnos = send_errnos,
		.spare = is_to_tls,
		.no_wait = send_no_wait,
	},
	[_IOC_NR(FBUF_IOC_INFO)] = {
		.name = "INFO",
	},
	[_IOC_NR(FBUF_IOC_HOLD)] = {
		.name = "HOLD",
	},
	[_IOC_NR(FBUF_IOC_WAIT)] = {
		.name = "WAIT",
		.no_wait = batch_no_wait,
	},
	[_IOC_NR(FBUF_IOC_SECURE)] = {
		.name = "SECURE",
	},
	[_IOC_NR(FBUF_IOC_DROP)] = {
		.name = "DROP",
	},
	[_IOC_NR(FBUF_IOC_SHARE)] = {
		.name = "SHARE",
		.makes_fd = true,
	},
	[_IOC_NR(FBUF_IOC_PASS)] = {
		.name = "PASS",
	},
	[_IOC_NR(FBUF_IOC_RING)] = {
		.name = "RING",
	},
	[_IOC_NR(FBUF_IOC_FANOUT)] = {
		.name = "FANOUT",
		.finish = rest_of_fanout,
		.errnos = send_errnos,
	},
	[_IOC_NR(FBUF_IOC_FILL)] = {
		.name = "FILL",
		.finish = rest_of_fill,
		.errnos = send_errnos,
		.spare = is_from_tls,
	},
	[_IOC_NR(FBUF_IOC_RECV)] = {
		.name = "RECV",
		.errnos = send_errnos,
		.spare = is_long_take,
		.no_wait = recv_no_wait,
	},
	[_IOC_NR(FBUF_IOC_READ)] = {
		.name = "READ",
	},
	[_IOC_NR(FBUF_IOC_SHOW)] = {
		.name = "SHOW",
	},
	[_IOC_NR(FBUF_IOC_SEND_BATCH)] = {
		.name = "SEND_BATCH",
		.finish = rest_of_batch,
		.errnos = send_errnos,
	},
};

WRAPS int ioctl(int fd, unsigned long cmd, ...)
{
	unsigned int nr = _IOC_NR(cmd);
	struct call c = {
		.make = call_make, .nr = SYS_ioctl, .arg = { fd, cmd },
	};
	va_list ap;
	void *arg;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	c.arg[2] = (long)arg;
	if (_IOC_TYPE(cmd) != FBUF_IOC_MAGIC || nr >= 64 || !ioctls[nr].name)
		return call_give(call_make(&c));
	c.name = ioctls[nr].name;
	c.kind = KIND_IOCTL + nr;
	c.errnos = ioctls[nr].errnos ?: plain_errnos;
	c.finish = ioctls[nr].finish;
	c.makes_fd = ioctls[nr].makes_fd;
	c.of_user = cmd == FBUF_IOC_POOL_CREATE;
	c.undo = c.makes_fd ? undo_fd : NULL;
	c.spare = ioctls[nr].spare;
	c.no_wait = ioctls[nr].no_wait;
	c.fd = c.of_user ? -1 : fd;
	/* Shorter structures are of those that test for that. */
	if (_IOC_SIZE(cmd) <= ARGS_MAX) {
		c.args = arg;
		c.size = _IOC_SIZE(cmd);
	}
	return call_give(inject(&c));
}

WRAPS int open(const char *path, int flags, ...)
{
	struct call c = {
		.name = "open", .kind = KIND_OPEN, .make = call_make,
		.undo = undo_fd, .errnos = plain_errnos, .fd = -1,
		.makes_fd = true, .nr = SYS_openat,
		.arg = { AT_FDCWD, (long)path, flags },
	};
	va_list ap;

	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_start(ap, flags);
		c.arg[3] = va_arg(ap, mode_t);
		va_end(ap);
	}
	return call_give(strcmp(path, FBUF_DEVICE) ? call_make(&c) : inject(&c));
}

/* It always closes, with whatever there is to do then. */
WRAPS int close(int fd)
{
	static const int none[] = { 0 };
	struct call c = {
		.name = "close", .kind = KIND_CLOSE, .make = call_make,
		.errnos = none, .fd = -1, .nr = SYS_close, .arg = { fd },
	};

	return call_give(is_pool(fd) ? inject(&c) : call_make(&c));
}

static void undo_mmap(struct call *c, long ret)
{
	munmap((void *)ret, c->arg[1]);
}

/* What was mapped at a fixed place is gone whether it fails or not. */
WRAPS void *mmap(void *addr, size_t len, int prot, int flags, int fd,
		 off_t offset)
{
	struct call c = {
		.name = "mmap", .kind = KIND_MMAP, .make = call_make,
		.undo = undo_mmap, .errnos = plain_errnos, .fd = fd,
		.nr = SYS_mmap,
		.arg = { (long)addr, len, prot, flags, fd, offset },
	};
	bool ours = !(flags & (MAP_ANONYMOUS | MAP_FIXED)) && is_pool(fd);

	/* Addresses are below the middle. */
	return (void *)call_give(ours ? inject(&c) : call_make(&c));
}

WRAPS void *mmap64(void *addr, size_t len, int prot, int flags, int fd,
		   off_t offset) __attribute__((alias("mmap")));

WRAPS int poll(struct pollfd *fds, nfds_t nr, int timeout)
{
	struct call c = {
		.name = "poll", .kind = KIND_POLL, .make = call_make,
		.errnos = plain_errnos, .fd = -1, .nr = SYS_poll,
		.arg = { (long)fds, nr, timeout },
	};
	nfds_t i;

	for (i = 0; i < nr; i++) {
		if (is_pool(fds[i].fd))
			return call_give(inject(&c));
	}
	return call_give(call_make(&c));
}

WRAPS int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	struct call c = {
		.name = "epoll_ctl", .kind = KIND_EPOLL, .make = call_make,
		.errnos = plain_errnos, .fd = fd, .nr = SYS_epoll_ctl,
		.arg = { epfd, op, fd, (long)event },
	};

	return call_give(is_pool(fd) ? inject(&c) : call_make(&c));
}

static int pipe_len(int fd)
{
	int len = 0;

	syscall(SYS_ioctl, fd, FIONREAD, &len);
	return len;
}

/* The kernel says EFAULT too if all is in the pipe and it cannot tell where it is. */
static long make_splice(struct call *c)
{
	int out = c->arg[2], before = pipe_len(out), len;
	off_t *from = (off_t *)c->arg[1];
	long ret = call_make(c);

	if (ret != -EFAULT || !from)
		return ret;
	len = pipe_len(out) - before;
	if (len <= 0)
		return ret;
	*from += len;
	/* Nothing was left out. */
	c->finish = NULL;
	return len;
}

/* Positions have moved on: it goes on from there. */
static long go_on(struct call *c, long *len, long ret)
{
	long more;

	if (ret >= *len)
		return ret;
	*len -= ret;
	more = c->make(c);
	return more > 0 ? ret + more : ret;
}

/* But does not wait for room in a pipe of which it has taken all. */
static long rest_of_splice(struct call *c, long ret)
{
	c->arg[5] |= SPLICE_F_NONBLOCK;
	return go_on(c, &c->arg[4], ret);
}

static long rest_of_sendfile(struct call *c, long ret)
{
	return go_on(c, &c->arg[3], ret);
}

WRAPS ssize_t splice(int in, off_t *from, int out, off_t *to, size_t len,
		     unsigned int flags)
{
	struct call c = {
		.name = "splice", .kind = KIND_SPLICE, .make = make_splice,
		.finish = rest_of_splice, .errnos = send_errnos, .fd = in,
		.nr = SYS_splice,
		.arg = { in, (long)from, out, (long)to, len, flags },
	};

	return call_give(is_pool(in) && !is_tls(out) ? inject(&c) : call_make(&c));
}

WRAPS ssize_t sendfile(int out, int in, off_t *from, size_t len)
{
	struct call c = {
		.name = "sendfile", .kind = KIND_SENDFILE, .make = call_make,
		.finish = rest_of_sendfile, .errnos = send_errnos, .fd = in,
		.nr = SYS_sendfile, .arg = { out, in, (long)from, len },
	};

	return call_give(is_pool(in) && !is_tls(out) ? inject(&c) : call_make(&c));
}

struct uring_args {
	struct io_uring *ring;
	int (*submit)(struct io_uring *ring);
	unsigned char sqe[128];
	size_t size;
	bool failed;	/* its completion is there */
};

/* What the completion says, if that came at once; else what submitting does. */
static long make_submit(struct call *c)
{
	struct uring_args *a = c->more;
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	int ret;

	if (a->failed) {
		io_uring_cq_advance(a->ring, 1);
		sqe = io_uring_get_sqe(a->ring);
		if (!sqe)
			return -EBUSY;
		memcpy(sqe, a->sqe, a->size);
	}
	ret = a->submit(a->ring);
	a->failed = ret == 1 && io_uring_cq_ready(a->ring) == 1 &&
		    !io_uring_peek_cqe(a->ring, &cqe) &&
		    inject_expects(c, cqe->res);
	return a->failed ? cqe->res : ret;
}

/* The one command that waits to be submitted, if it is one of ours. */
static const struct io_uring_sqe *only_sqe(struct io_uring *ring)
{
	const struct io_uring_sqe *sqe;
	unsigned int at;

	if (ring->flags & IORING_SETUP_SQPOLL || io_uring_cq_ready(ring) ||
	    ring->sq.sqe_tail - ring->sq.sqe_head != 1)
		return NULL;
	at = ring->sq.sqe_head & ring->sq.ring_mask;
	if (ring->flags & IORING_SETUP_SQE128)
		at *= 2;
	sqe = &ring->sq.sqes[at];
	if (sqe->opcode != IORING_OP_URING_CMD ||
	    _IOC_TYPE(sqe->cmd_op) != FBUF_IOC_MAGIC)
		return NULL;
	return sqe;
}

WRAPS int io_uring_submit(struct io_uring *ring)
{
	struct uring_args a = {
		.ring = ring, .submit = dlsym(RTLD_NEXT, "io_uring_submit"),
	};
	struct call c = {
		.name = "io_uring", .kind = KIND_URING, .make = make_submit,
		.errnos = send_errnos, .fd = -1, .more = &a,
	};
	const struct io_uring_sqe *sqe = only_sqe(ring);
	int ret;

	if (!sqe)
		return a.submit(ring);
	a.size = ring->flags & IORING_SETUP_SQE128 ? 128 : 64;
	memcpy(a.sqe, sqe, a.size);
	if (!(sqe->flags & IOSQE_FIXED_FILE))
		c.fd = sqe->fd;
	ret = inject(&c);
	return a.failed ? 1 : ret;
}

/* A filter knows what the test calls, and kills it for more. */
WRAPS int prctl(int option, ...)
{
	unsigned long args[4];
	va_list ap;
	int i;

	va_start(ap, option);
	for (i = 0; i < 4; i++)
		args[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (option == PR_SET_SECCOMP)
		inject_stop();
	return syscall(SYS_prctl, option, args[0], args[1], args[2], args[3]);
}
