// SPDX-License-Identifier: GPL-2.0
/*
 * Send queues, and sendmsg() with memory of a pool, with a kernel under them: all
 * bytes arrive in order, whatever the socket, and memory is told to be idle when it
 * is, and not before.
 */
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <fbuf/backend.h>
#include <fbuf/msg.h>
#include <fbuf/queue.h>
#include <fbuf/view.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	((size_t)65536)
#define NR_BUFS		128U
#define LONG_MS		20000

FIXTURE(queue)
{
	struct fbuf_pool *pool;
	struct fbuf_heap *heap;
	struct fbuf_queue *q;
	int sock[2];
	__u8 *model;		/* what the peer is to get */
	size_t len;
	size_t at;
	unsigned int seed;
	unsigned int taken;
	unsigned int idle;
	int err;
	bool secured;		/* whoever writes beside what is in flight waits */
};

FIXTURE_VARIANT(queue)
{
	unsigned int flags;
	bool user;		/* without the module */
};

FIXTURE_VARIANT_ADD(queue, plain) { .flags = 0 };
FIXTURE_VARIANT_ADD(queue, secured) { .flags = FBUF_POOL_SECURED };
FIXTURE_VARIANT_ADD(queue, snapshot) { .flags = FBUF_POOL_SNAPSHOT };
FIXTURE_VARIANT_ADD(queue, user) { .user = true };

#define MODEL_MAX	(32U << 20)

FIXTURE_SETUP(queue)
{
	struct fbuf_pool_options opt = FBUF_POOL_OPTIONS_INIT;

	opt.buf_size = BUF_SIZE;
	opt.nr_bufs = NR_BUFS;
	opt.flags = variant->flags;
	if (!variant->user && only_user())
		SKIP(return, "without the module");
	ASSERT_EQ(0, fbuf_backend_set(variant->user ? FBUF_BACKEND_USER :
						      FBUF_BACKEND_MODULE));
	ASSERT_EQ(0, fbuf_pool_create_with(&self->pool, &opt));
	ASSERT_EQ(0, fbuf_heap_create(&self->heap, self->pool,
				      FBUF_HEAP_IDLE));
	self->secured = variant->flags & FBUF_POOL_SECURED;
	self->model = malloc(MODEL_MAX);
	ASSERT_NE(NULL, self->model);
}

FIXTURE_TEARDOWN(queue)
{
	fbuf_heap_destroy(self->heap);
	fbuf_pool_close(self->pool);
	free(self->model);
}

static int begin_on(struct _test_data_queue *self, const int sock[2])
{
	const struct fbuf_queue_options opt = { .limit = 16 << 20 };

	self->sock[0] = sock[0];
	self->sock[1] = sock[1];
	fcntl(sock[0], F_SETFL, O_NONBLOCK);
	self->len = 0;
	self->at = 0;
	return fbuf_queue_create(&self->q, self->heap, sock[0], &opt);
}

static int begin(struct _test_data_queue *self)
{
	int sock[2], err = tcp_pair(AF_INET, sock);

	if (err)
		return err;
	sock_small(sock);
	return begin_on(self, sock);
}

/* What is in flight lands, as the peer's socket goes too. */
static bool end(struct _test_data_queue *self)
{
	fbuf_queue_destroy(self->q);
	close(self->sock[0]);
	close(self->sock[1]);
	return !fbuf_queue_notices_wait(self->heap, LONG_MS);
}

static void on_taken(void *arg, int err)
{
	struct _test_data_queue *self = arg;

	self->taken++;
	self->err = err;
}

static void on_idle(void *arg)
{
	struct _test_data_queue *self = arg;

	self->idle++;
}

static void expect(struct _test_data_queue *self, const void *p, size_t len)
{
	memcpy(self->model + self->len, p, len);
	self->len += len;
}

/* A view of the heap's memory, which is queued and expected. */
static int add_view(struct _test_data_queue *self, size_t len, bool told)
{
	void *p = fbuf_heap_alloc(self->heap, len ? len : 1);
	struct fbuf_view *view;
	int ret;

	if (!p)
		return -ENOMEM;
	pattern_fill(p, ++self->seed, 0, len);
	view = fbuf_view_own(self->heap, p, len);
	if (!view)
		return -ENOMEM;
	expect(self, p, len);
	ret = fbuf_queue_view_with(self->q, view, told ? on_taken : NULL,
				   told ? on_idle : NULL, self);
	if (ret < 0)
		fbuf_view_release(view);
	return ret;
}

static int add_copy(struct _test_data_queue *self, size_t len)
{
	pattern_fill(self->model + self->len, ++self->seed, 0, len);
	self->len += len;
	return fbuf_queue_copy(self->q, self->model + self->len - len, len);
}

/* Read up to max bytes; false if one is wrong. */
static bool peer_reads(struct _test_data_queue *self, size_t max)
{
	static __u8 got[65536];
	ssize_t n;

	while (max) {
		n = recv(self->sock[1], got, max < sizeof(got) ? max :
			 sizeof(got), MSG_DONTWAIT);
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		if ((size_t)n > self->len - self->at ||
		    memcmp(got, self->model + self->at, n))
			return false;
		self->at += n;
		max -= n;
	}
	return true;
}

static bool goes_out(struct _test_data_queue *self, size_t step)
{
	struct pollfd pfd = { .fd = self->sock[1], .events = POLLIN };
	int ret;

	do {
		ret = fbuf_queue_flush(self->q);
		if (ret < 0 || !peer_reads(self, step))
			return false;
	} while (!ret);
	while (self->at < self->len) {
		if (poll(&pfd, 1, LONG_MS) != 1 || !peer_reads(self, -1UL))
			return false;
	}
	return true;
}

static size_t any_len(unsigned int round)
{
	static const size_t lens[] = {
		1, 40, 256, 257, 1023, 1024, 4096, 5000, 65535, 65536, 65537,
		200000, 0,
	};

	return lens[round * 7 % 13];
}

static void try_socket(struct __test_metadata *_metadata, struct _test_data_queue *self)
{
	unsigned int i, told = 0;

	self->taken = 0;
	self->idle = 0;
	for (i = 0; i < 120; i++) {
		size_t len = any_len(i);

		/* Nobody else would read, and so nothing would land. */
		if (self->secured)
			ASSERT_TRUE(goes_out(self, 30000));
		if (i % 3 == 0) {
			ASSERT_EQ(0, add_copy(self, len % 6000));
		} else {
			ASSERT_EQ(0, add_view(self, len, i % 3 == 1));
			told += i % 3 == 1;
		}
		if (i % 5 == 0)
			ASSERT_LE(0, fbuf_queue_flush(self->q));
		if (i % 20 == 19)
			ASSERT_TRUE(goes_out(self, 30000));
		ASSERT_LE(0, fbuf_queue_notices(self->heap));
	}
	ASSERT_TRUE(goes_out(self, 30000));
	EXPECT_EQ(0, fbuf_queue_len(self->q));
	EXPECT_EQ(told, self->taken);
	EXPECT_EQ(0, fbuf_queue_notices_wait(self->heap, LONG_MS));
	EXPECT_EQ(told, self->idle);
	EXPECT_TRUE(end(self));
}

TEST_F(queue, tcp)
{
	ASSERT_EQ(0, begin(self));
	try_socket(_metadata, self);
}

TEST_F(queue, unix_stream)
{
	int sock[2];

	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, sock));
	ASSERT_EQ(0, begin_on(self, sock));
	try_socket(_metadata, self);
}

TEST_F(queue, ktls)
{
	int sock[2], err = tls_pair(sock);

	if (err)
		SKIP(return, "no kTLS");
	ASSERT_EQ(0, begin_on(self, sock));
	try_socket(_metadata, self);
}

/* Messages stay messages. */
TEST_F(queue, datagrams)
{
	static __u8 got[65536];
	unsigned int i, k;
	int sock[2];

	for (k = 0; k < 2; k++) {
		ASSERT_EQ(0, k ? udp_pair(AF_INET, sock) :
				 sock_pair(AF_UNIX, SOCK_SEQPACKET, sock));
		ASSERT_EQ(0, begin_on(self, sock));
		for (i = 0; i < 40; i++) {
			size_t len = 1 + any_len(i) % 30000, at = self->len;

			ASSERT_EQ(0, i % 2 ? add_view(self, len, false) :
					     add_copy(self, len));
			ASSERT_EQ(1, fbuf_queue_flush(self->q));
			ASSERT_EQ((ssize_t)len,
				  recv(sock[1], got, sizeof(got), 0));
			ASSERT_EQ(0, memcmp(got, self->model + at, len));
		}
		EXPECT_TRUE(end(self));
	}
}

/* Idle is said when the peer has read, and not before. */
TEST_F(queue, idle_when_read)
{
	struct pollfd pfd = { .events = POLLIN };

	ASSERT_EQ(0, begin(self));
	ASSERT_EQ(0, add_view(self, 20000, true));
	pfd.fd = fbuf_queue_notices_fd(self->heap);
	ASSERT_LE(0, pfd.fd);
	ASSERT_EQ(1, fbuf_queue_flush(self->q));
	EXPECT_EQ(1, self->taken);
	EXPECT_EQ(0, self->err);
	if (!variant->user) {
		EXPECT_EQ(-ETIMEDOUT,
			  fbuf_queue_notices_wait(self->heap, 50));
		EXPECT_EQ(0, self->idle);
		EXPECT_EQ(0, poll(&pfd, 1, 0));
		EXPECT_TRUE(goes_out(self, -1UL));
		EXPECT_EQ(1, poll(&pfd, 1, LONG_MS));
	}
	EXPECT_EQ(0, fbuf_queue_notices_wait(self->heap, LONG_MS));
	EXPECT_EQ(1, self->idle);
	EXPECT_TRUE(end(self));
}

/* Memory that was freed as soon as it was taken is not used while it is in flight. */
TEST_F(queue, freed_when_taken)
{
	char *p, *again[64];
	unsigned int i;

	ASSERT_EQ(0, begin(self));
	p = fbuf_heap_alloc(self->heap, 20000);
	ASSERT_NE(NULL, p);
	pattern_fill(p, 1, 0, 20000);
	expect(self, p, 20000);
	ASSERT_EQ(0, fbuf_queue_view(self->q,
				     fbuf_view_own(self->heap, p, 20000)));
	ASSERT_EQ(1, fbuf_queue_flush(self->q));
	for (i = 0; i < 64; i++) {
		again[i] = fbuf_heap_alloc(self->heap, 20000);
		ASSERT_NE(NULL, again[i]);
		if (!variant->user)
			EXPECT_NE(p, again[i]);
		if (!self->secured)
			memset(again[i], 0xee, 20000);
	}
	while (i)
		fbuf_heap_free(self->heap, again[--i]);
	EXPECT_TRUE(goes_out(self, -1UL));
	EXPECT_TRUE(end(self));
}

TEST_F(queue, peer_goes)
{
	unsigned int i;
	int ret;

	ASSERT_EQ(0, begin(self));
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0, add_view(self, 100000, true));
	ASSERT_EQ(0, fbuf_queue_flush(self->q));
	ASSERT_GT(20, self->taken);
	/* Unread bytes: it is a reset. */
	close(self->sock[1]);
	for (i = 0; i < LONG_MS; i++) {
		ret = fbuf_queue_flush(self->q);
		if (ret)
			break;
		usleep(1000);
	}
	EXPECT_TRUE(ret == -ECONNRESET || ret == -EPIPE);
	EXPECT_EQ(20, self->taken);
	EXPECT_EQ(ret, self->err);
	EXPECT_EQ(ret, fbuf_queue_copy(self->q, "x", 1));
	self->sock[1] = dup(self->sock[0]);
	EXPECT_TRUE(end(self));
	EXPECT_EQ(20, self->idle);
}

TEST_F(queue, destroyed_in_flight)
{
	unsigned int i;

	ASSERT_EQ(0, begin(self));
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0, add_view(self, 100000, true));
	ASSERT_EQ(0, fbuf_queue_flush(self->q));
	EXPECT_TRUE(end(self));
	EXPECT_EQ(20, self->taken);
	EXPECT_EQ(-ECANCELED, self->err);
	EXPECT_EQ(20, self->idle);
}

#define NR_FAN		40

/* One view to many: those that are slow, too, get it, and one that is gone. */
TEST_F(queue, fanout)
{
	static int results[NR_FAN], sock[NR_FAN][2];
	static struct fbuf_queue *q[NR_FAN];
	static __u8 got[200000];
	struct fbuf_view *view;
	unsigned int i, k;

	for (i = 0; i < NR_FAN; i++) {
		ASSERT_EQ(0, tcp_pair(AF_INET, sock[i]));
		if (i % 4 == 0)
			sock_small(sock[i]);
		fcntl(sock[i][0], F_SETFL, O_NONBLOCK);
		ASSERT_EQ(0, fbuf_queue_create(&q[i], self->heap, sock[i][0],
					       NULL));
	}
	shutdown(sock[7][0], SHUT_WR);
	view = fbuf_view_own(self->heap,
			     fbuf_heap_alloc(self->heap, sizeof(got)),
			     sizeof(got));
	ASSERT_NE(NULL, view);
	pattern_fill(fbuf_view_data(view), 3, 0, sizeof(got));
	for (k = 0; k < 3; k++) {
		EXPECT_EQ(NR_FAN - 1,
			  fbuf_queue_fanout(q, NR_FAN, view, results));
		EXPECT_EQ(-EPIPE, results[7]);
		for (i = 0; i < NR_FAN; i++) {
			size_t at = 0;

			if (i == 7)
				continue;
			while (at < sizeof(got)) {
				ssize_t n = recv(sock[i][1], got + at,
						 sizeof(got) - at,
						 MSG_DONTWAIT);

				at += n > 0 ? n : 0;
				ASSERT_LE(0, fbuf_queue_flush(q[i]));
			}
			EXPECT_EQ(-1, pattern_differs(got, 3, 0, sizeof(got)));
		}
	}
	for (i = 0; i < NR_FAN; i++) {
		EXPECT_EQ(0, fbuf_queue_len(q[i]));
		fbuf_queue_destroy(q[i]);
		close(sock[i][0]);
		close(sock[i][1]);
	}
	EXPECT_EQ(1, fbuf_view_release(view));
}

/* An SQE at a time; for a socket that blocks, too. */
static void try_uring(struct __test_metadata *_metadata, struct _test_data_queue *self,
		      struct io_uring *ring, unsigned int round)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	unsigned int told = 0, i;
	int ret;

	self->taken = 0;
	self->idle = 0;
	for (i = 0; i < 40; i++) {
		ASSERT_EQ(0, i % 3 ? add_view(self, any_len(i), true) :
				     add_copy(self, any_len(i) % 6000));
		told += i % 3 != 0;
	}
	for (;;) {
		struct __kernel_timespec ts = { .tv_nsec = 2000000 };

		sqe = io_uring_get_sqe(ring);
		ASSERT_NE(NULL, sqe);
		sqe->user_data = 4711;
		ret = fbuf_queue_prep(self->q, sqe);
		ASSERT_EQ(1, ret);
		ASSERT_EQ(1, io_uring_submit(ring));
		/* A peer that reads meanwhile, in its own time. */
		while (io_uring_wait_cqe_timeout(ring, &cqe, &ts))
			ASSERT_TRUE(peer_reads(self, 20000));
		ASSERT_EQ(4711, cqe->user_data);
		ret = fbuf_queue_done(self->q, cqe->res);
		io_uring_cqe_seen(ring, cqe);
		ASSERT_LE(0, ret);
		if (ret)
			break;
	}
	ASSERT_TRUE(goes_out(self, -1UL));
	EXPECT_EQ(told, self->taken);
	EXPECT_EQ(0, fbuf_queue_notices_wait(self->heap, LONG_MS));
	EXPECT_EQ(told, self->idle);
}

TEST_F(queue, uring)
{
	struct io_uring ring;
	unsigned int i;
	int err;

	err = io_uring_queue_init(8, &ring, 0);
	if (err)
		SKIP(return, "io_uring is disabled");
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, begin(self));
		if (i % 2)
			fcntl(self->sock[0], F_SETFL, 0);
		try_uring(_metadata, self, &ring, i);
		EXPECT_TRUE(end(self));
	}
	io_uring_queue_exit(&ring);
}

/* Destroyed while an SQE waits for room. */
TEST_F(queue, uring_destroyed)
{
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;
	struct fbuf_queue *q;
	unsigned int i;
	int ret;

	if (io_uring_queue_init(8, &ring, 0))
		SKIP(return, "io_uring is disabled");
	ASSERT_EQ(0, begin(self));
	q = self->q;
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0, add_view(self, 100000, true));
	ASSERT_EQ(0, fbuf_queue_flush(q));
	sqe = io_uring_get_sqe(&ring);
	ASSERT_EQ(1, fbuf_queue_prep(q, sqe));
	ASSERT_EQ(1, io_uring_submit(&ring));
	fbuf_queue_destroy(q);
	self->q = NULL;
	EXPECT_GT(20, self->taken);
	shutdown(self->sock[0], SHUT_RDWR);
	ASSERT_EQ(0, io_uring_wait_cqe(&ring, &cqe));
	ret = fbuf_queue_done(q, cqe->res);
	EXPECT_EQ(-ECANCELED, ret);
	io_uring_cqe_seen(&ring, cqe);
	io_uring_queue_exit(&ring);
	EXPECT_EQ(20, self->taken);
	EXPECT_TRUE(end(self));
	EXPECT_EQ(20, self->idle);
}

/* Any mix of iovecs, as sendmsg() would send them. */
static void try_msg(struct __test_metadata *_metadata, struct _test_data_queue *self, bool stream)
{
	const size_t all = 1 << 20;
	static struct iovec iov[40];
	struct msghdr msg = { .msg_iov = iov };
	__u8 *inside = fbuf_heap_alloc(self->heap, all);
	__u8 *beside = malloc(all);
	unsigned int round, i;
	ssize_t ret;

	ASSERT_NE(NULL, inside);
	ASSERT_NE(NULL, beside);
	pattern_fill(inside, 1, 0, all);
	pattern_fill(beside, 2, 0, all);
	for (round = 0; round < 60; round++) {
		size_t len = 0;

		self->len = 0;
		self->at = 0;
		msg.msg_iovlen = 1 + round % 40;
		for (i = 0; i < msg.msg_iovlen; i++) {
			size_t n = any_len(round * 5 + i) % 20000;

			if (!stream && len + n > 60000)
				n = 0;
			iov[i].iov_base = (i + round) % 2 ?
					  beside + round * 100 + i :
					  inside + round * 5000 + i * 3;
			iov[i].iov_len = n;
			len += n;
			expect(self, iov[i].iov_base, n);
		}
		ret = round % 2 ?
		      fbuf_writev(self->pool, self->sock[0], iov,
				  msg.msg_iovlen) :
		      fbuf_sendmsg(self->pool, self->sock[0], &msg,
				   MSG_NOSIGNAL);
		if (!stream && !len) {
			recv(self->sock[1], self->model, 1, MSG_DONTWAIT);
			continue;
		}
		ASSERT_EQ((ssize_t)len, ret);
		ASSERT_TRUE(goes_out(self, -1UL));
	}
	fbuf_heap_free(self->heap, inside);
	free(beside);
}

TEST_F(queue, sendmsg)
{
	struct fbuf_info info;
	int sock[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, begin_on(self, sock));
	try_msg(_metadata, self, true);
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_LT(0, info.sends);
	EXPECT_TRUE(end(self));
	ASSERT_EQ(0, udp_pair(AF_INET, sock));
	ASSERT_EQ(0, begin_on(self, sock));
	try_msg(_metadata, self, false);
	EXPECT_TRUE(end(self));
	if (tls_pair(sock))
		return;
	ASSERT_EQ(0, begin_on(self, sock));
	try_msg(_metadata, self, true);
	EXPECT_TRUE(end(self));
}

TEST_HARNESS_MAIN
