// SPDX-License-Identifier: GPL-2.0
/* fbuf compare and bench: what system calls there are for it. */
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

#include <linux/errqueue.h>

#include "flow.h"

static ssize_t write_send(struct flow *f, size_t off, size_t len)
{
	return flow_result(write(f->tx, f->mem + off, len));
}

static ssize_t write_gather(struct flow *f)
{
	return flow_result(writev(f->tx, f->iov, f->nr_iov));
}

static ssize_t read_write_send(struct flow *f, size_t off, size_t len)
{
	/* What the socket did not take is still in memory. */
	if (off == f->at) {
		ssize_t n = pread(f->file, f->mem, len, off);

		if (n != (ssize_t)len)
			return n < 0 ? -errno : -EIO;
	}
	return flow_result(write(f->tx, f->mem + (off - f->at), len));
}

static ssize_t mmap_write_send(struct flow *f, size_t off, size_t len)
{
	uint8_t *p = mmap(NULL, f->size, PROT_READ, MAP_SHARED, f->file,
			  f->at);
	ssize_t n;

	if (p == MAP_FAILED)
		return -errno;
	n = flow_result(write(f->tx, p + (off - f->at), len));
	munmap(p, f->size);
	return n;
}

/* As RocketMQ does. The file's pages are there before any is written. */
static int mapped_init(struct flow *f)
{
	void *p;

	if (ftruncate(f->file, f->source))
		return flow_fail(f, -errno, "file");
	p = mmap(NULL, f->source, PROT_READ, MAP_SHARED | MAP_POPULATE,
		 f->file, 0);
	if (p == MAP_FAILED)
		return flow_fail(f, -errno, "mapping the file");
	f->priv = p;
	return 0;
}

static void mapped_fini(struct flow *f)
{
	munmap(f->priv, f->source);
}

static ssize_t mapped_send(struct flow *f, size_t off, size_t len)
{
	return flow_result(write(f->tx, (uint8_t *)f->priv + off, len));
}

static ssize_t sendfile_send(struct flow *f, size_t off, size_t len)
{
	off_t pos = off;

	return flow_result(sendfile(f->tx, f->file, &pos, len));
}

/* A pipe that holds a whole message, where the system allows it. */
struct pipe {
	int in, out;
	size_t room;
	size_t filled;		/* bytes that the socket has not yet taken */
};

static int pipe_init(struct flow *f)
{
	struct pipe *p = calloc(1, sizeof(*p));
	int fds[2];

	if (!p)
		return flow_fail(f, -ENOMEM, "pipe");
	if (pipe2(fds, O_CLOEXEC)) {
		free(p);
		return flow_fail(f, -errno, "pipe");
	}
	p->out = fds[0];
	p->in = fds[1];
	fcntl(p->in, F_SETPIPE_SZ, (int)f->size);
	p->room = fcntl(p->in, F_GETPIPE_SZ);
	f->priv = p;
	return 0;
}

static void pipe_fini(struct flow *f)
{
	struct pipe *p = f->priv;

	close(p->in);
	close(p->out);
	free(p);
}

static ssize_t pipe_drain(struct flow *f)
{
	struct pipe *p = f->priv;
	ssize_t n;

	n = flow_result(splice(p->out, NULL, f->tx, NULL, p->filled,
			       f->wait ? 0 : SPLICE_F_NONBLOCK));
	if (n > 0)
		p->filled -= n;
	return n;
}

static ssize_t splice_send(struct flow *f, size_t off, size_t len)
{
	struct pipe *p = f->priv;
	off_t pos = off;

	if (!p->filled) {
		ssize_t n = splice(f->file, &pos, p->in, NULL,
				   len < p->room ? len : p->room,
				   SPLICE_F_NONBLOCK);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p->filled = n;
	}
	return pipe_drain(f);
}

static ssize_t vmsplice_send(struct flow *f, size_t off, size_t len)
{
	struct pipe *p = f->priv;

	if (!p->filled) {
		struct iovec iov = {
			.iov_base = f->mem + off,
			.iov_len = len < p->room ? len : p->room,
		};
		ssize_t n = vmsplice(p->in, &iov, 1, SPLICE_F_NONBLOCK);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p->filled = n;
	}
	return pipe_drain(f);
}

/* All pieces in one pipe, at a slot each. */
static int vmsplice_init(struct flow *f)
{
	struct pipe *p;
	int err = pipe_init(f);

	if (err || f->nr_iov == 1)
		return err;
	p = f->priv;
	fcntl(p->in, F_SETPIPE_SZ, (int)(f->nr_iov * sysconf(_SC_PAGESIZE)));
	return 0;
}

static ssize_t vmsplice_gather(struct flow *f)
{
	struct pipe *p = f->priv;
	ssize_t n = vmsplice(p->in, f->iov, f->nr_iov, SPLICE_F_NONBLOCK);

	if (n <= 0)
		return n < 0 ? -errno : -EIO;
	p->filled = n;
	return pipe_drain(f);
}

/* A second pipe, from which each socket but the last is served. */
struct tee {
	struct pipe pipe;	/* with what splice_send() wants */
	int in, out;
};

static int tee_init(struct flow *f)
{
	struct tee *t = calloc(1, sizeof(*t));
	int fds[2], err;

	if (!t)
		return flow_fail(f, -ENOMEM, "tee");
	if (pipe2(fds, O_CLOEXEC)) {
		free(t);
		return flow_fail(f, -errno, "tee");
	}
	t->out = fds[0];
	t->in = fds[1];
	fcntl(t->in, F_SETPIPE_SZ, (int)f->size);
	err = pipe_init(f);
	if (err) {
		close(t->in);
		close(t->out);
		free(t);
	} else {
		t->pipe = *(struct pipe *)f->priv;
		free(f->priv);
		f->priv = t;
	}
	return err;
}

static void tee_fini(struct flow *f)
{
	struct tee *t = f->priv;

	close(t->in);
	close(t->out);
	pipe_fini(f);
}

static ssize_t tee_one(struct flow *f)
{
	struct tee *t = f->priv;
	ssize_t n = tee(t->pipe.out, t->in, f->size, SPLICE_F_NONBLOCK);

	if (n != (ssize_t)f->size)
		return n < 0 ? -errno : -EMSGSIZE;
	return flow_result(splice(t->out, NULL, f->tx, NULL, n,
				  SPLICE_F_NONBLOCK));
}

static ssize_t tee_fan(struct flow *f)
{
	struct tee *t = f->priv;
	ssize_t n, sum = 0;
	unsigned int i;
	off_t pos = 0;

	n = splice(f->file, &pos, t->pipe.in, NULL, f->size, SPLICE_F_NONBLOCK);
	if (n != (ssize_t)f->size)
		return n < 0 ? -errno : -EMSGSIZE;
	t->pipe.filled = n;
	for (i = 0; i < f->nr; i++) {
		f->tx = f->txs[i];
		n = i + 1 < f->nr ? tee_one(f) : pipe_drain(f);
		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

static int msg_zc_init(struct flow *f)
{
	unsigned int i;
	int one = 1;

	for (i = 0; i < f->nr; i++) {
		if (setsockopt(f->txs[i], SOL_SOCKET, SO_ZEROCOPY, &one,
			       sizeof(one)))
			return flow_fail(f, -errno, "SO_ZEROCOPY");
	}
	return 0;
}

/* One notice covers a range of sends. */
static void msg_zc_reap_one(struct flow *f, int sock)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(struct sock_extended_err)) + 64];
	} control;
	struct sock_extended_err err;
	struct cmsghdr *c;
	uint64_t bytes;

	for (;;) {
		struct msghdr msg = {
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};

		if (recvmsg(sock, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
			return;
		c = CMSG_FIRSTHDR(&msg);
		if (!c)
			continue;
		memcpy(&err, CMSG_DATA(c), sizeof(err));
		if (err.ee_origin != SO_EE_ORIGIN_ZEROCOPY)
			continue;
		bytes = (uint64_t)f->size * (err.ee_data - err.ee_info + 1);
		f->reported += bytes;
		if (err.ee_code & SO_EE_CODE_ZEROCOPY_COPIED)
			f->copied += bytes;
	}
}

static void msg_zc_reap(struct flow *f)
{
	unsigned int i;

	for (i = 0; i < f->nr; i++)
		msg_zc_reap_one(f, f->txs[i]);
}

static ssize_t msg_zc_gather(struct flow *f)
{
	struct msghdr msg = { .msg_iov = f->iov, .msg_iovlen = f->nr_iov };

	return flow_result(sendmsg(f->tx, &msg, MSG_ZEROCOPY | MSG_DONTWAIT));
}

static ssize_t msg_zc_send(struct flow *f, size_t off, size_t len)
{
	int flags = MSG_ZEROCOPY | (f->wait ? 0 : MSG_DONTWAIT);
	struct pollfd pfd = { .fd = f->tx };
	ssize_t n;

	for (;;) {
		n = flow_result(send(f->tx, f->mem + off, len, flags));
		if (n != -ENOBUFS)
			return n;
		/* No room for one more notice: fetch those that wait. */
		if (!f->wait)
			return -EAGAIN;
		poll(&pfd, 1, 1);
		msg_zc_reap(f);
	}
}

/*
 * The same by a program that makes each message anew, where the one before was:
 * which is right in lock step, where that one has arrived.
 */
static void make_message(const struct flow *f, size_t off, uint8_t *source)
{
	if (off == f->at)
		flow_message(f, f->seed, source + off);
}

static ssize_t write_anew(struct flow *f, size_t off, size_t len)
{
	make_message(f, off, f->mem);
	return write_send(f, off, len);
}

/* The file's pages, for the program to write to. */
static int shared_init(struct flow *f)
{
	size_t at;
	void *p;

	if (ftruncate(f->file, f->source))
		return flow_fail(f, -errno, "file");
	/* A page that a mapping asks for is a small one, if that is small. */
	for (at = 0; at < f->source; at += sysconf(_SC_PAGESIZE)) {
		if (pwrite(f->file, "", 1, at) != 1)
			return flow_fail(f, -errno, "file");
	}
	p = mmap(NULL, f->source, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_POPULATE, f->file, 0);
	if (p == MAP_FAILED)
		return flow_fail(f, -errno, "mapping the file");
	f->priv = p;
	return 0;
}

static ssize_t sendfile_anew(struct flow *f, size_t off, size_t len)
{
	make_message(f, off, f->priv);
	return sendfile_send(f, off, len);
}

static ssize_t vmsplice_anew(struct flow *f, size_t off, size_t len)
{
	make_message(f, off, f->mem);
	return vmsplice_send(f, off, len);
}

/* Only its notice says that the memory may be written to. */
static ssize_t msg_zc_anew(struct flow *f, size_t off, size_t len)
{
	if (off == f->at)
		msg_zc_reap(f);
	make_message(f, off, f->mem);
	return msg_zc_send(f, off, len);
}

#define ALL	(IN_COMPARE | IN_ONE | IN_FAN | IN_GATHER)

static const struct method plain[] = {
	{ .name = "write", .in = ALL, .calls = 1,
	  .send = write_send, .gather = write_gather },
	{ .name = "read-write", .in = IN_COMPARE | IN_ONE, .file = true,
	  .calls = 2, .send = read_write_send },
	{ .name = "read-write-disk", .in = IN_ONE, .file = true, .disk = true,
	  .send = read_write_send },
	{ .name = "mmap-write", .in = IN_COMPARE | IN_ONE, .file = true,
	  .calls = 3, .send = mmap_write_send },
	{ .name = "mmap-write-once", .in = IN_COMPARE | IN_ONE, .file = true,
	  .calls = 1, .init = mapped_init, .send = mapped_send,
	  .fini = mapped_fini },
	{ .name = "sendfile", .in = IN_COMPARE | IN_ONE | IN_FAN, .file = true,
	  .calls = 1, .send = sendfile_send },
	{ .name = "sendfile-huge", .in = IN_COMPARE | IN_ONE | IN_FAN,
	  .file = true, .huge = true, .calls = 1, .send = sendfile_send },
	{ .name = "sendfile-disk", .in = IN_ONE | IN_FAN, .file = true,
	  .disk = true, .send = sendfile_send },
	{ .name = "splice", .in = IN_COMPARE | IN_ONE, .file = true,
	  .calls = 2, .init = pipe_init, .send = splice_send, .fini = pipe_fini },
	{ .name = "splice-huge", .in = IN_COMPARE | IN_ONE, .file = true,
	  .huge = true, .calls = 2, .init = pipe_init, .send = splice_send,
	  .fini = pipe_fini },
	{ .name = "tee", .in = IN_FAN, .file = true, .init = tee_init,
	  .fan = tee_fan, .fini = tee_fini },
	{ .name = "vmsplice", .in = IN_COMPARE | IN_ONE | IN_GATHER,
	  .calls = 2, .init = vmsplice_init, .send = vmsplice_send,
	  .gather = vmsplice_gather, .fini = pipe_fini },
	{ .name = "msg-zerocopy", .in = ALL, .calls = 1, .init = msg_zc_init,
	  .send = msg_zc_send, .gather = msg_zc_gather, .reap = msg_zc_reap },
	{ .name = "write-rewrite", .in = IN_COMPARE | IN_CHURN,
	  .rewrites = true, .calls = 1, .send = write_anew },
	{ .name = "sendfile-rewrite", .in = IN_CHURN, .rewrites = true,
	  .file = true, .calls = 1, .init = shared_init, .send = sendfile_anew,
	  .fini = mapped_fini },
	{ .name = "sendfile-huge-rewrite", .in = IN_CHURN, .rewrites = true,
	  .file = true, .huge = true, .calls = 1, .init = shared_init,
	  .send = sendfile_anew, .fini = mapped_fini },
	{ .name = "vmsplice-rewrite", .in = IN_CHURN, .rewrites = true,
	  .calls = 2, .init = vmsplice_init, .send = vmsplice_anew,
	  .fini = pipe_fini },
	{ .name = "msg-zerocopy-rewrite", .in = IN_CHURN, .rewrites = true,
	  .calls = 2, .init = msg_zc_init, .send = msg_zc_anew },
};

static const struct method_list plain_methods = { plain, ARRAY_SIZE(plain) };

const struct method *method_get(unsigned int i)
{
	const struct method_list * const lists[] = {
		&plain_methods, &uring_methods, &fbuf_methods,
	};
	unsigned int j;

	for (j = 0; j < ARRAY_SIZE(lists); j++) {
		if (i < lists[j]->nr)
			return &lists[j]->methods[i];
		i -= lists[j]->nr;
	}
	return NULL;
}

const struct method *method_find(const char *name)
{
	const struct method *m;
	unsigned int i;

	for (i = 0; (m = method_get(i)) && strcmp(m->name, name); i++)
		;
	return m;
}
