// SPDX-License-Identifier: GPL-2.0
/*
 * What a program that knows nothing of fbuf sees of its sends: the same plain and
 * under "fbuf run". Each case passes without it, which says that it is right; with
 * it, and --stats=FILE, some also see that bytes went without a copy.
 */
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "run_seen.h"
#include "util.h"

static int signals;

static void on_signal(int sig)
{
	__atomic_fetch_add(&signals, 1, __ATOMIC_RELAXED);
}

static int caught(void)
{
	return __atomic_load_n(&signals, __ATOMIC_RELAXED);
}

static void catch_signal(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

FIXTURE(tcp)
{
	int fd[2];
};

FIXTURE_SETUP(tcp)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->fd));
}

FIXTURE_TEARDOWN(tcp)
{
	close(self->fd[0]);
	close(self->fd[1]);
}

TEST_F(tcp, bytes_stay_as_they_were_at_the_call)
{
	__u8 *p = filled(1 << 20, 1);
	struct seen was = seen_now();

	ASSERT_NE(NULL, p);
	ASSERT_EQ(UNREAD, write(self->fd[0], p + 100, UNREAD));
	EXPECT_GE(seen_since(&was), UNREAD - 8192);
	memset(p, 0xff, 1 << 20);
	EXPECT_TRUE(comes(self->fd[1], 1, 100, UNREAD));
	free(p);
}

TEST_F(tcp, freed_and_used_again_while_unread)
{
	__u8 *p;
	int i;

	for (i = 0; i < 3; i++) {
		p = filled(60000, i);
		ASSERT_NE(NULL, p);
		ASSERT_EQ(60000, write(self->fd[0], p, 60000));
		free(p);
	}
	p = malloc(300000);
	ASSERT_NE(NULL, p);
	memset(p, 0xee, 300000);
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(comes(self->fd[1], i, 0, 60000));
	free(p);
}

TEST_F(tcp, order_with_small_writes_between)
{
	static const size_t sizes[] = { 100, 70000, 1, 33000, 4096, 65536, 7 };
	struct reader r;
	size_t pos = 0, len;
	__u8 *p = malloc(65536 * 2);
	int i;

	ASSERT_EQ(0, reader_start(&r, self->fd[1], 40 * 177276UL, -1));
	for (i = 0; i < 40 * 7; i++) {
		len = sizes[i % 7];
		pattern_fill(p + i, 9, pos, len);
		ASSERT_EQ((ssize_t)len, write(self->fd[0], p + i, len));
		pos += len;
	}
	shutdown(self->fd[0], SHUT_WR);
	ASSERT_EQ((ssize_t)pos, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 9, 0, pos));
	free(r.data);
	free(p);
}

/* What is sent, by whatever call: large, small, empty, and elsewhere. */
FIXTURE(call)
{
	int fd[2];
	struct iovec iov[8];
	__u8 *large;
	__u8 *small;
	__u8 on_stack[100];
	__u8 *all;
	size_t len;
};

FIXTURE_VARIANT(call)
{
	ssize_t (*send)(int fd, const struct iovec *iov, int nr);
};

static ssize_t by_write(int fd, const struct iovec *iov, int nr)
{
	return write(fd, iov->iov_base, iov->iov_len);
}

static ssize_t by_send(int fd, const struct iovec *iov, int nr)
{
	return send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
}

static ssize_t by_sendto(int fd, const struct iovec *iov, int nr)
{
	return sendto(fd, iov->iov_base, iov->iov_len, 0, NULL, 0);
}

static ssize_t by_writev(int fd, const struct iovec *iov, int nr)
{
	return writev(fd, iov, nr);
}

static ssize_t by_pwritev2(int fd, const struct iovec *iov, int nr)
{
	return pwritev2(fd, iov, nr, -1, 0);
}

static ssize_t by_sendmsg(int fd, const struct iovec *iov, int nr)
{
	struct msghdr msg = { .msg_iov = (void *)iov, .msg_iovlen = nr };

	return sendmsg(fd, &msg, 0);
}

/* Each by a message of its own. */
static ssize_t by_sendmmsg(int fd, const struct iovec *iov, int nr)
{
	struct mmsghdr msgs[8] = { 0 };
	ssize_t all = 0;
	int i, sent;

	for (i = 0; i < nr; i++) {
		msgs[i].msg_hdr.msg_iov = (void *)(iov + i);
		msgs[i].msg_hdr.msg_iovlen = 1;
	}
	sent = sendmmsg(fd, msgs, nr, 0);
	for (i = 0; i < sent; i++)
		all += msgs[i].msg_len;
	return sent < 0 ? sent : all;
}

FIXTURE_VARIANT_ADD(call, write) { .send = by_write };
FIXTURE_VARIANT_ADD(call, send) { .send = by_send };
FIXTURE_VARIANT_ADD(call, sendto) { .send = by_sendto };
FIXTURE_VARIANT_ADD(call, writev) { .send = by_writev };
FIXTURE_VARIANT_ADD(call, pwritev2) { .send = by_pwritev2 };
FIXTURE_VARIANT_ADD(call, sendmsg) { .send = by_sendmsg };
FIXTURE_VARIANT_ADD(call, sendmmsg) { .send = by_sendmmsg };

FIXTURE_SETUP(call)
{
	int i;

	ASSERT_EQ(0, tcp_pair(AF_INET, self->fd));
	self->large = filled(500000, 1);
	self->small = filled(5000, 2);
	pattern_fill(self->on_stack, 3, 0, 100);
	self->iov[0] = (struct iovec){ self->on_stack, 0 };
	self->iov[1] = (struct iovec){ self->large + 1, 200000 };
	self->iov[2] = (struct iovec){ self->on_stack, 100 };
	self->iov[3] = (struct iovec){ NULL, 0 };
	self->iov[4] = (struct iovec){ self->small + 3, 4997 };
	self->iov[5] = (struct iovec){ self->large + 262143, 70001 };
	self->iov[6] = (struct iovec){ self->large + 400000, 10 };
	self->iov[7] = (struct iovec){ self->large + 500000, 0 };
	for (i = 0; i < 8; i++)
		self->len += self->iov[i].iov_len;
	self->all = malloc(self->len);
	self->len = 0;
	for (i = 0; i < 8; i++) {
		if (self->iov[i].iov_len)
			memcpy(self->all + self->len, self->iov[i].iov_base,
			       self->iov[i].iov_len);
		self->len += self->iov[i].iov_len;
	}
}

FIXTURE_TEARDOWN(call)
{
	close(self->fd[0]);
	close(self->fd[1]);
	free(self->large);
	free(self->small);
	free(self->all);
}

TEST_F(call, sends_equal_bytes)
{
	bool one = variant->send == by_write || variant->send == by_send ||
		   variant->send == by_sendto;
	struct seen was = seen_now();
	struct reader r;
	size_t done = 0;
	ssize_t ret;
	int i;

	ASSERT_EQ(0, reader_start(&r, self->fd[1], self->len, -1));
	errno = 4242;
	for (i = 0; i < 8; i += one ? 1 : 8) {
		ret = variant->send(self->fd[0], self->iov + i, 8);
		ASSERT_GE(ret, 0);
		done += ret;
	}
	EXPECT_EQ(4242, errno);
	EXPECT_EQ(self->len, done);
	memset(self->large, 0, 500000);
	memset(self->small, 0, 5000);
	ASSERT_EQ((ssize_t)self->len, reader_join(&r));
	EXPECT_EQ(0, memcmp(r.data, self->all, self->len));
	EXPECT_GE(seen_since(&was), 250000);
	free(r.data);
}

TEST_F(tcp, has_no_position)
{
	__u8 *p = filled(100000, 3);
	struct iovec iov = { p, 100000 };

	EXPECT_EQ(-1, pwritev2(self->fd[0], &iov, 1, 0, 0));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_TRUE(sock_empty(self->fd[1]));
	free(p);
}

TEST_F(tcp, as_many_iovecs_as_can_be_and_one_more)
{
	static struct iovec iov[IOV_MAX + 1];
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = IOV_MAX + 1 };
	__u8 *p = filled(200 * (IOV_MAX + 1), 4);
	int i;

	for (i = 0; i <= IOV_MAX; i++)
		iov[i] = (struct iovec){ p + 200 * i, 200 };
	EXPECT_EQ(-1, writev(self->fd[0], iov, IOV_MAX + 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, sendmsg(self->fd[0], &msg, 0));
	EXPECT_EQ(EMSGSIZE, errno);
	EXPECT_TRUE(sock_empty(self->fd[1]));
	ASSERT_EQ(200 * IOV_MAX, writev(self->fd[0], iov, IOV_MAX));
	EXPECT_TRUE(comes(self->fd[1], 4, 0, 200 * IOV_MAX));
	free(p);
}

TEST_F(tcp, bad_addresses_are_errors)
{
	__u8 *p = filled(100000, 5);
	void *bad = hidden((void *)8);
	int less = (intptr_t)hidden((void *)-1);
	struct iovec iov[2] = { { p, 100000 }, { bad, 100000 } };
	ssize_t ret;

	EXPECT_EQ(-1, write(self->fd[0], bad, 100000));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, writev(self->fd[0], iov, less));
	EXPECT_EQ(EINVAL, errno);
	/* What is before it goes, or the part that fits no packet with it. */
	ret = writev(self->fd[0], iov, 2);
	ASSERT_GT(ret, 0);
	ASSERT_LE(ret, 100000);
	EXPECT_TRUE(comes(self->fd[1], 5, 0, ret));
	EXPECT_TRUE(sock_empty(self->fd[1]));
	free(p);
}

static void nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* Ends where it would wait; returns what was taken. */
static size_t write_until_full(int fd, const __u8 *p, size_t pos, size_t size,
			       bool stop_if_short)
{
	ssize_t ret;

	while (pos < size) {
		ret = write(fd, p + pos, size - pos);
		if (ret < 0)
			return errno == EAGAIN ? pos : 0;
		pos += ret;
		if (stop_if_short && pos < size)
			break;
	}
	return pos;
}

static void edge_triggered(struct __test_metadata *_metadata, const int fd[2],
			   bool stop_if_short)
{
	const size_t size = 3 << 20;
	struct epoll_event ev = { .events = EPOLLOUT | EPOLLET };
	__u8 *p = filled(size, 6), *got = malloc(size);
	int ep = epoll_create1(0), turns = 0;
	size_t pos = 0, have = 0;
	ssize_t n;

	sock_small(fd);
	nonblocking(fd[0]);
	nonblocking(fd[1]);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, fd[0], &ev));
	while (pos < size) {
		/* The one who reads is here: an edge that is lost is missed. */
		long end = now_ms() + DEADLINE_MS;

		while (epoll_wait(ep, &ev, 1, 0) != 1) {
			n = read(fd[1], got + have, size - have);
			have += n > 0 ? n : 0;
			ASSERT_TRUE(time_left(end));
		}
		pos = write_until_full(fd[0], p, pos, size, stop_if_short);
		ASSERT_GT(pos, 0);
		turns++;
	}
	EXPECT_GT(turns, 3);
	ASSERT_TRUE(wait_for(({
		n = read(fd[1], got + have, size - have);
		have += n > 0 ? n : 0;
		have == size; }), DEADLINE_MS));
	EXPECT_EQ(-1, pattern_differs(got, 6, 0, size));
	close(ep);
	free(p);
	free(got);
}

TEST_F(tcp, edge_triggered_after_eagain)
{
	edge_triggered(_metadata, self->fd, false);
}

TEST_F(tcp, edge_triggered_after_a_short_count)
{
	edge_triggered(_metadata, self->fd, true);
}

TEST_F(tcp, dontwait_neither_waits_nor_sends)
{
	__u8 *p = filled(100000, 7);
	ssize_t full = sock_fill(self->fd[0]);
	int left;

	ASSERT_GT(full, 0);
	EXPECT_EQ(-1, send(self->fd[0], p, 100000, MSG_DONTWAIT));
	EXPECT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, ioctl(self->fd[1], FIONREAD, &left));
	EXPECT_LE(left, full);
	free(p);
}

/* The kernel ends after a message that was not sent whole. */
TEST_F(tcp, sendmmsg_ends_after_a_short_message)
{
	__u8 *p = filled(6 << 20, 8);
	struct iovec iov[2] = { { p, 4 << 20 }, { p + (4 << 20), 2 << 20 } };
	struct mmsghdr msgs[2] = {
		{ .msg_hdr = { .msg_iov = iov, .msg_iovlen = 1 } },
		{ .msg_hdr = { .msg_iov = iov + 1, .msg_iovlen = 1 } },
	};
	int size = 150000, rcv = 8 << 20;
	struct seen was = seen_now();

	setsockopt(self->fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(self->fd[1], SOL_SOCKET, SO_RCVBUFFORCE, &rcv, sizeof(rcv));
	nonblocking(self->fd[0]);
	ASSERT_EQ(1, sendmmsg(self->fd[0], msgs, 2, 0));
	EXPECT_GT(msgs[0].msg_len, 0);
	EXPECT_LT(msgs[0].msg_len, 4 << 20);
	EXPECT_EQ(0, msgs[1].msg_len);
	EXPECT_TRUE(comes(self->fd[1], 8, 0, msgs[0].msg_len));
	EXPECT_TRUE(sock_empty(self->fd[1]));
	EXPECT_GT(seen_since(&was), 0);
	free(p);
}

/* It may be pushed out by a timer, on a slow machine; but not each time. */
TEST_F(tcp, more_is_held_back)
{
	__u8 *p = filled(40000, 9);
	bool held = false;
	struct seen was;
	int i;

	for (i = 0; i < 3 && !held; i++) {
		was = seen_now();
		ASSERT_EQ(40000, send(self->fd[0], p, 40000, MSG_MORE));
		held = sock_empty(self->fd[1]);
		EXPECT_GE(seen_since(&was), 30000);
		ASSERT_EQ(1, send(self->fd[0], "x", 1, 0));
		EXPECT_TRUE(comes(self->fd[1], 9, 0, 40000));
		EXPECT_TRUE(wait_for(!sock_empty(self->fd[1]), DEADLINE_MS));
		ASSERT_EQ(1, read(self->fd[1], p + 40000 - 1, 1));
		EXPECT_EQ('x', p[40000 - 1]);
		p[40000 - 1] = pattern_byte(9, 40000 - 1);
	}
	EXPECT_TRUE(held);
	ASSERT_EQ(40000, send(self->fd[0], p, 40000, 0));
	EXPECT_TRUE(wait_for(!sock_empty(self->fd[1]), 100));
	free(p);
}

/* More than one send of fbuf can take, and no room for it in any socket. */
TEST_F(tcp, blocking_writev_of_40_mb_is_whole)
{
	const size_t size = 8 << 20;
	__u8 *p = filled(size, 10);
	struct iovec iov[5];
	struct seen was = seen_now();
	struct reader r;
	int i;

	for (i = 0; i < 5; i++)
		iov[i] = (struct iovec){ p, size };
	ASSERT_EQ(0, reader_start(&r, self->fd[1], 5 * size, -1));
	ASSERT_EQ(5 * size, writev(self->fd[0], iov, 5));
	EXPECT_GE(seen_since(&was), 4 * size);
	memset(p, 0, size);
	ASSERT_EQ(5 * size, reader_join(&r));
	for (i = 0; i < 5; i++)
		EXPECT_EQ(-1, pattern_differs(r.data + i * size, 10, 0, size));
	free(r.data);
	free(p);
}

TEST_F(tcp, blocking_write_of_20_mb_is_whole)
{
	const size_t size = 20 << 20;
	__u8 *p = filled(size, 11);
	struct reader r;

	ASSERT_EQ(0, reader_start(&r, self->fd[1], size, -1));
	ASSERT_EQ(size, write(self->fd[0], p, size));
	memset(p, 0, size);
	ASSERT_EQ(size, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 11, 0, size));
	free(r.data);
	free(p);
}

/* Errors, and the signal that goes with one of them. */

TEST_F(tcp, epipe_has_one_sigpipe)
{
	__u8 *p = filled(100000, 12);
	struct iovec iov = { p, 100000 };

	catch_signal(SIGPIPE, 0);
	shutdown(self->fd[0], SHUT_WR);
	EXPECT_EQ(-1, write(self->fd[0], p, 100000));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, caught());
	EXPECT_EQ(-1, writev(self->fd[0], &iov, 1));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(2, caught());
	EXPECT_EQ(-1, send(self->fd[0], p, 100000, 0));
	EXPECT_EQ(3, caught());
	EXPECT_EQ(-1, send(self->fd[0], p, 100000, MSG_NOSIGNAL));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(3, caught());
	free(p);
}

TEST_F(tcp, peer_that_is_gone_is_epipe)
{
	__u8 *p = filled(100000, 12);
	int fd = dup(self->fd[0]);

	catch_signal(SIGPIPE, 0);
	close(self->fd[1]);
	/* The answer to the first one is the reset. */
	EXPECT_EQ(100000, write(fd, p, 100000));
	EXPECT_EQ(0, caught());
	EXPECT_TRUE(wait_for(write(fd, p, 100000) < 0, DEADLINE_MS));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, caught());
	free(p);
}

static void reset(int fd)
{
	struct linger linger = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

TEST_F(tcp, reset_is_told_once_and_then_epipe)
{
	__u8 *p = filled(100000, 13);

	catch_signal(SIGPIPE, 0);
	reset(self->fd[1]);
	EXPECT_EQ(-1, write(self->fd[0], p, 100000));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, caught());
	EXPECT_EQ(-1, write(self->fd[0], p, 100000));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, caught());
	free(p);
}

/* A thread that writes, and what came of it. */
struct writer {
	pthread_t thread;
	pid_t tid;
	int fd;
	const __u8 *p;
	size_t len;
	ssize_t ret;
	int err;
	bool cleaned;
};

static void writer_cleanup(void *arg)
{
	((struct writer *)arg)->cleaned = true;
}

static void *writer_run(void *arg)
{
	struct writer *w = arg;

	pthread_cleanup_push(writer_cleanup, w);
	__atomic_store_n(&w->tid, gettid(), __ATOMIC_RELEASE);
	w->ret = write(w->fd, w->p, w->len);
	w->err = errno;
	pthread_cleanup_pop(0);
	return NULL;
}

/* Until it waits in write(). */
static bool writer_waits(struct writer *w, int fd, const __u8 *p, size_t len)
{
	*w = (struct writer){ .fd = fd, .p = p, .len = len, .ret = -2 };
	if (pthread_create(&w->thread, NULL, writer_run, w))
		return false;
	return wait_for(__atomic_load_n(&w->tid, __ATOMIC_ACQUIRE),
			DEADLINE_MS) &&
	       !wait_asleep(getpid(), w->tid, DEADLINE_MS) &&
	       (usleep(50000), !wait_asleep(getpid(), w->tid, DEADLINE_MS));
}

TEST_F(tcp, reset_in_the_middle)
{
	__u8 *p = filled(8 << 20, 14);
	struct writer w;

	catch_signal(SIGPIPE, 0);
	ASSERT_TRUE(writer_waits(&w, self->fd[0], p, 8 << 20));
	reset(self->fd[1]);
	pthread_join(w.thread, NULL);
	EXPECT_GT(w.ret, 0);
	EXPECT_LT(w.ret, 8 << 20);
	EXPECT_EQ(-1, write(self->fd[0], p, 100000));
	EXPECT_EQ(ECONNRESET, errno);
	EXPECT_EQ(0, caught());
	EXPECT_EQ(-1, write(self->fd[0], p, 100000));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, caught());
	free(p);
}

TEST_F(tcp, signal_interrupts_a_full_socket)
{
	__u8 *p = filled(100000, 15);
	struct writer w;

	catch_signal(SIGALRM, 0);
	ASSERT_GT(sock_fill(self->fd[0]), 0);
	ASSERT_TRUE(writer_waits(&w, self->fd[0], p, 100000));
	pthread_kill(w.thread, SIGALRM);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(-1, w.ret);
	EXPECT_EQ(EINTR, w.err);
	free(p);
}

TEST_F(tcp, signal_leaves_a_count_and_one_goes_on)
{
	const ssize_t size = 8 << 20;
	__u8 *p = filled(size, 16);
	struct reader r;
	struct writer w;

	catch_signal(SIGALRM, 0);
	ASSERT_TRUE(writer_waits(&w, self->fd[0], p, size));
	pthread_kill(w.thread, SIGALRM);
	pthread_join(w.thread, NULL);
	ASSERT_GT(w.ret, 0);
	ASSERT_LT(w.ret, size);
	memset(p, 0, w.ret);
	ASSERT_EQ(0, reader_start(&r, self->fd[1], size, -1));
	ASSERT_EQ(size - w.ret, write(self->fd[0], p + w.ret, size - w.ret));
	ASSERT_EQ(size, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 16, 0, size));
	free(r.data);
	free(p);
}

TEST_F(tcp, signal_with_sa_restart_goes_on)
{
	__u8 *p = filled(100000, 17);
	ssize_t full;
	struct writer w;

	catch_signal(SIGALRM, SA_RESTART);
	full = sock_fill(self->fd[0]);
	ASSERT_GT(full, 0);
	ASSERT_TRUE(writer_waits(&w, self->fd[0], p, 100000));
	pthread_kill(w.thread, SIGALRM);
	EXPECT_TRUE(wait_for(caught() == 1, DEADLINE_MS));
	ASSERT_EQ(0, wait_asleep(getpid(), w.tid, DEADLINE_MS));
	EXPECT_EQ(-2, w.ret);
	while (full > 0) {
		char some[4096];
		ssize_t n = read(self->fd[1], some, full < 4096 ? full : 4096);

		ASSERT_GT(n, 0);
		full -= n;
	}
	EXPECT_TRUE(comes(self->fd[1], 17, 0, 100000));
	pthread_join(w.thread, NULL);
	EXPECT_EQ(100000, w.ret);
	free(p);
}

TEST_F(tcp, send_timeout_is_waited_for_once)
{
	struct timeval tv = { .tv_sec = 2 };
	__u8 *p = filled(100000, 18);
	long start;

	ASSERT_GT(sock_fill(self->fd[0]), 0);
	setsockopt(self->fd[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	start = now_ms();
	EXPECT_EQ(-1, write(self->fd[0], p, 100000));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_GE(now_ms() - start, 1900);
	EXPECT_LT(now_ms() - start, 3900);
	free(p);
}

TEST_F(tcp, thread_that_waits_is_cancelled)
{
	__u8 *p = filled(100000, 19);
	struct writer w;
	void *ret;

	ASSERT_GT(sock_fill(self->fd[0]), 0);
	ASSERT_TRUE(writer_waits(&w, self->fd[0], p, 100000));
	pthread_cancel(w.thread);
	ASSERT_EQ(0, pthread_join(w.thread, &ret));
	EXPECT_EQ(PTHREAD_CANCELED, ret);
	EXPECT_TRUE(w.cleaned);
	EXPECT_EQ(-2, w.ret);
	free(p);
}

static void *writer_not_cancelled(void *arg)
{
	struct writer *w = arg;
	int type, i;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cancel(pthread_self());
	w->ret = write(w->fd, w->p, w->len);
	/* No cancellation point may follow from here on but the last write(). */
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
	w->err = type;
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
	for (i = 0; i < 1000; i++)
		w->cleaned = true;
	w->tid = 1;
	if (write(w->fd, w->p, w->len) > 0)
		w->tid = 2;
	return NULL;
}

/* As it is a cancellation point, and only where it may be. */
TEST_F(tcp, cancelled_only_as_the_program_allows)
{
	__u8 *p = filled(50000, 20);
	struct writer w = { .fd = self->fd[0], .p = p, .len = 50000 };
	void *ret;

	ASSERT_EQ(0, pthread_create(&w.thread, NULL, writer_not_cancelled, &w));
	ASSERT_EQ(0, pthread_join(w.thread, &ret));
	EXPECT_EQ(PTHREAD_CANCELED, ret);
	EXPECT_EQ(50000, w.ret);
	EXPECT_EQ(PTHREAD_CANCEL_DEFERRED, w.err);
	EXPECT_EQ(1, w.tid);
	EXPECT_TRUE(comes(self->fd[1], 20, 0, 50000));
	EXPECT_TRUE(sock_empty(self->fd[1]));
	free(p);
}

TEST_F(tcp, urgent_byte)
{
	__u8 *p = filled(40000, 21), last = 0;

	ASSERT_EQ(40000, send(self->fd[0], p, 40000, MSG_OOB));
	EXPECT_TRUE(wait_for(recv(self->fd[1], &last, 1, MSG_OOB) == 1,
			     DEADLINE_MS));
	EXPECT_EQ(pattern_byte(21, 39999), last);
	EXPECT_TRUE(comes(self->fd[1], 21, 0, 39999));
	free(p);
}

TEST(unconnected_and_listening_sockets_say_epipe)
{
	struct sockaddr_in any = { .sin_family = AF_INET };
	__u8 *p = filled(100000, 22);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	catch_signal(SIGPIPE, 0);
	EXPECT_EQ(-1, write(fd, p, 100000));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(1, caught());
	ASSERT_EQ(0, bind(fd, (void *)&any, sizeof(any)));
	ASSERT_EQ(0, listen(fd, 1));
	EXPECT_EQ(-1, write(fd, p, 100000));
	EXPECT_EQ(EPIPE, errno);
	EXPECT_EQ(2, caught());
	close(fd);
	EXPECT_EQ(-1, write(fd, p, 100000));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, write(-1, p, 100000));
	EXPECT_EQ(EBADF, errno);
	free(p);
}

TEST_HARNESS_MAIN
