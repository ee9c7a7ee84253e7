// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * fbuf_send_all() on sockets that do not block, without a module: ioctl() is
 * our own, and counts. TAP out.
 */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <linux/errqueue.h>

#include "lib.h"
#include "test.h"

#define LEN		(1U << 20)
/* Calls of a send that waits once, for whatever reason, are a few. */
#define FEW		64U
#define DEADLINE_MS	10000

static struct fbuf_pool pool = { .buf_size = 4096, .nr_bufs = 1, .fd = -1 };
static char data[LEN];
static atomic_uint nr_calls, nr_refused;
/* So many sends find no room, though the socket has some. */
static atomic_int no_room;

/* SEND of inline segments, as the module would do it. */
int ioctl(int fd, unsigned long request, ...)
{
	struct iovec iov[FBUF_SEGS_MAX];
	struct msghdr msg = { .msg_iov = iov };
	const struct fbuf_send *send;
	const struct fbuf_seg *segs;
	ssize_t ret = -1;
	va_list ap;

	(void)fd;
	va_start(ap, request);
	send = va_arg(ap, const struct fbuf_send *);
	va_end(ap);
	if (request != FBUF_IOC_SEND) {
		errno = ENOTTY;
		return -1;
	}
	segs = (const void *)(uintptr_t)send->segs;
	for (; msg.msg_iovlen < send->nr_segs; msg.msg_iovlen++) {
		iov[msg.msg_iovlen].iov_base =
			(void *)(uintptr_t)segs[msg.msg_iovlen].addr;
		iov[msg.msg_iovlen].iov_len = segs[msg.msg_iovlen].len;
	}
	if (atomic_fetch_sub(&no_room, 1) <= 0) {
		no_room = 0;
		ret = sendmsg(send->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	} else {
		errno = EAGAIN;
	}
	nr_calls++;
	if (ret < 0 && errno == EAGAIN)
		nr_refused++;
	return ret;
}

/* Connected, with little room; the segments are short enough for it. */
static int tcp_pair(int sock[2])
{
	const int room = 16384, mss = 1024;
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(addr);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	sock[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	setsockopt(sock[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	setsockopt(sock[0], IPPROTO_TCP, TCP_MAXSEG, &mss, sizeof(mss));
	if (bind(listener, (void *)&addr, len) < 0 || listen(listener, 1) < 0 ||
	    getsockname(listener, (void *)&addr, &len) < 0)
		return -1;
	if (connect(sock[0], (void *)&addr, len) < 0 && errno != EINPROGRESS)
		return -1;
	sock[1] = accept(listener, NULL, NULL);
	close(listener);
	return sock[1];
}

/* Leave a notice on the error queue that nobody fetches. */
static void make_notice(int sock)
{
	int one = 1;

	CHECK(!setsockopt(sock, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)));
	CHECK(send(sock, data, 1, MSG_ZEROCOPY) == 1);
}

static bool notice_is_there(int sock)
{
	char control[128];
	struct msghdr msg = {
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	const struct sock_extended_err *e;
	const struct cmsghdr *c;

	if (recvmsg(sock, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return false;
	c = CMSG_FIRSTHDR(&msg);
	e = c ? (const void *)CMSG_DATA(c) : NULL;
	return e && e->ee_origin == SO_EE_ORIGIN_ZEROCOPY;
}

struct sender {
	pthread_t thread;
	atomic_int tid;
	int sock;
	unsigned int flags;
	ssize_t ret;
	size_t sent;
};

static void *send_all(void *arg)
{
	struct fbuf_gather *g = fbuf_gather_new(&pool);
	struct sender *s = arg;

	s->tid = gettid();
	CHECK(!fbuf_gather_append_inline(g, data, sizeof(data)));
	errno = 4711;
	s->ret = fbuf_send_all(g, s->sock, s->flags, &s->sent);
	CHECK(errno == 4711);
	fbuf_gather_destroy(g);
	return NULL;
}

static void sender_start(struct sender *s)
{
	nr_calls = 0;
	nr_refused = 0;
	if (pthread_create(&s->thread, NULL, send_all, s)) {
		printf("Bail out! No thread.\n");
		exit(1);
	}
}

static void relax(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

/* Instants at which a sender that was refused was asleep; a spin has few. */
static bool sender_sleeps(const struct sender *s)
{
	long long end = lib_now_ms() + DEADLINE_MS;
	unsigned int before, asleep = 0;
	char path[64], state;

	while (asleep < 50) {
		FILE *f;

		if (lib_now_ms() > end)
			return false;
		before = nr_calls;
		relax();
		snprintf(path, sizeof(path), "/proc/self/task/%d/stat",
			 (int)s->tid);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fscanf(f, "%*d (%*[^)]) %c", &state) == 1 &&
		    state == 'S' && nr_refused && nr_calls == before)
			asleep++;
		fclose(f);
	}
	return true;
}

static size_t drain(int sock, size_t want)
{
	static char buf[65536];
	size_t got = 0;
	ssize_t n;

	while (got < want) {
		n = recv(sock, buf, sizeof(buf), 0);
		if (n <= 0)
			break;
		got += n;
	}
	return got;
}

/* Full socket, a notice or none; then the peer reads all, or goes. */
static void try_send(unsigned int flags, bool notice, bool goes)
{
	struct linger linger = { .l_onoff = 1 };
	struct sender s = { .flags = flags };
	int sock[2];

	if (tcp_pair(sock) < 0) {
		CHECK(!"sockets");
		return;
	}
	s.sock = sock[0];
	if (notice)
		make_notice(sock[0]);
	sender_start(&s);
	CHECK(sender_sleeps(&s));
	printf("# %u calls until it slept\n", (unsigned int)nr_calls);
	/* Whose peer reads nothing, it may look now and then. */
	CHECK(nr_refused <= FEW);
	if (goes) {
		setsockopt(sock[1], SOL_SOCKET, SO_LINGER, &linger,
			   sizeof(linger));
		close(sock[1]);
	} else {
		CHECK(drain(sock[1], LEN + notice) == LEN + notice);
	}
	pthread_join(s.thread, NULL);
	if (goes) {
		CHECK(s.ret == -ECONNRESET || s.ret == -EPIPE);
		CHECK(s.sent > 0 && s.sent < LEN);
	} else {
		CHECK(s.ret == LEN && s.sent == LEN);
		close(sock[1]);
	}
	CHECK(notice_is_there(sock[0]) == notice);
	close(sock[0]);
}

static void test_waits(void)
{
	try_send(0, false, false);
	try_send(FBUF_SEND_DONTWAIT, false, false);
}

static void test_notice(void)
{
	try_send(0, true, false);
	try_send(FBUF_SEND_DONTWAIT, true, false);
}

static void test_peer_goes(void)
{
	try_send(0, false, true);
	try_send(0, true, true);
}

/* Memory was short, say: poll() knows of room, and the send found none. */
static void test_room_that_is_none(void)
{
	struct sender s = { 0 };
	int sock[2];

	if (tcp_pair(sock) < 0) {
		CHECK(!"sockets");
		return;
	}
	s.sock = sock[0];
	no_room = 1000;
	sender_start(&s);
	CHECK(sender_sleeps(&s));
	printf("# %u calls until it slept\n", (unsigned int)nr_calls);
	CHECK(nr_refused <= FEW);
	/* Nothing tells that there is room again: it looks by itself. */
	no_room = 0;
	CHECK(drain(sock[1], LEN) == LEN);
	pthread_join(s.thread, NULL);
	CHECK(s.ret == LEN);
	close(sock[0]);
	close(sock[1]);
}

static const struct test tests[] = {
	{ "send_all sleeps while the socket is full", test_waits },
	{ "send_all sleeps though a notice is queued", test_notice },
	{ "send_all tells that the peer has gone", test_peer_goes },
	{ "send_all sleeps where room is none", test_room_that_is_none },
};

int main(void)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
