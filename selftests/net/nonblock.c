// SPDX-License-Identifier: GPL-2.0
/*
 * SEND to a socket that does not take everything at once: short counts, EAGAIN,
 * time limits, signals, peers that are gone.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		16U
#define POOL_SIZE	(NR_BUFS * BUF_SIZE)

static int signals;

static void count_signal(int sig)
{
	(void)sig;
	__atomic_add_fetch(&signals, 1, __ATOMIC_SEQ_CST);
}

static void catch_signal(int sig, int flags)
{
	struct sigaction sa = {
		.sa_handler = count_signal,
		.sa_flags = flags,
	};

	sigaction(sig, &sa, NULL);
	signals = 0;
}

FIXTURE(nonblock)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	struct fbuf_seg seg[NR_BUFS];
};

FIXTURE_VARIANT(nonblock)
{
	int family;
};

FIXTURE_VARIANT_ADD(nonblock, tcp)
{
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(nonblock, unix_stream)
{
	.family = AF_UNIX,
};

/* A pool whose buffers, in order, are one pattern; a socket with little room. */
FIXTURE_SETUP(nonblock)
{
	unsigned int i;

	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++) {
		self->seg[i] = buf_seg(&self->pool, self->names[i], 0,
				       BUF_SIZE);
		pattern_fill(buf_addr(&self->pool, self->names[i]), 1,
			     i * BUF_SIZE, BUF_SIZE);
	}
	ASSERT_EQ(0, variant->family == AF_UNIX ?
		  socketpair(AF_UNIX, SOCK_STREAM, 0, self->sock) :
		  tcp_pair(variant->family, self->sock));
	sock_small(self->sock);
}

FIXTURE_TEARDOWN(nonblock)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

/* Sends the pool from byte @from on. */
static ssize_t send_from(struct _test_data_nonblock *self, size_t from,
			 __u32 flags)
{
	struct fbuf_seg seg[NR_BUFS];
	unsigned int first = from / BUF_SIZE;

	memcpy(seg, self->seg, sizeof(seg));
	seg[first].addr += from % BUF_SIZE;
	seg[first].len -= from % BUF_SIZE;
	return pool_send(self->pool.fd, self->sock[0], seg + first,
			 NR_BUFS - first, flags, 0, NULL);
}

/* Reads what is there, up to the room in @got; never waits. */
static size_t drain(int sock, __u8 *got, size_t room)
{
	size_t done = 0;
	ssize_t ret;

	while (done < room) {
		ret = recv(sock, got + done, room - done, MSG_DONTWAIT);
		if (ret <= 0)
			break;
		done += ret;
	}
	return done;
}

/* All of the pool, in as many sends as it takes, through a small socket. */
static void send_piecemeal(struct __test_metadata *_metadata,
			   struct _test_data_nonblock *self, __u32 flags)
{
	__u8 *got = malloc(POOL_SIZE);
	size_t sent = 0, read = 0;
	unsigned int shorts = 0, full = 0;
	ssize_t ret;

	ASSERT_NE(NULL, got);
	while (read < POOL_SIZE) {
		while (sent < POOL_SIZE) {
			ret = send_from(self, sent, flags);
			if (ret == -EAGAIN) {
				full++;
				break;
			}
			ASSERT_LT(0, ret);
			ASSERT_GE(POOL_SIZE, sent + ret);
			sent += ret;
			shorts += sent < POOL_SIZE;
		}
		ret = drain(self->sock[1], got + read, POOL_SIZE - read);
		if (!ret)
			relax();
		read += ret;
		ASSERT_GE(sent, read);
	}
	EXPECT_LT(0U, shorts);
	EXPECT_LT(0U, full);
	EXPECT_EQ(-1, pattern_differs(got, 1, 0, POOL_SIZE));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	free(got);
}

TEST_F(nonblock, by_flag)
{
	send_piecemeal(_metadata, self, FBUF_SEND_DONTWAIT);
}

TEST_F(nonblock, by_socket)
{
	ASSERT_EQ(0, fcntl(self->sock[0], F_SETFL, O_NONBLOCK));
	send_piecemeal(_metadata, self, 0);
}

/* Of a send that took nothing, nothing stays. */
TEST_F(nonblock, again_leaves_nothing_in_flight)
{
	struct fbuf_info info;

	ASSERT_LT(0, sock_fill(self->sock[0]));
	EXPECT_EQ(-EAGAIN, send_from(self, 0, FBUF_SEND_DONTWAIT));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0ULL, info.sends);
	EXPECT_EQ(0ULL, info.bytes);
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0U, info.nr_in_flight);
}

static bool all_copied(int family)
{
	return family == AF_UNIX && unix_copies();
}

/* Of one that took some, what it took is, and no more. */
TEST_F(nonblock, short_count_is_what_is_in_flight)
{
	struct fbuf_info info;
	unsigned int taken;
	ssize_t ret;

	ret = send_from(self, 0, FBUF_SEND_DONTWAIT);
	ASSERT_LT(0, ret);
	ASSERT_GT((ssize_t)POOL_SIZE, ret);
	taken = (ret + BUF_SIZE - 1) / BUF_SIZE;
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(1ULL, info.sends);
	EXPECT_EQ((__u64)ret, info.bytes);
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(all_copied(variant->family) ? 0 : taken, info.nr_in_flight);
}

/* A sender in a thread of its own. */
struct sender {
	struct _test_data_nonblock *self;
	pthread_t thread;
	__u32 flags;
	pid_t tid;
	ssize_t ret;
	long ms;
};

static void *sender_run(void *arg)
{
	struct sender *s = arg;
	long start = now_ms();

	__atomic_store_n(&s->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	s->ret = send_from(s->self, 0, s->flags);
	s->ms = now_ms() - start;
	return NULL;
}

/* Starts it and waits until it is blocked. */
static int sender_start(struct sender *s, struct _test_data_nonblock *self,
			__u32 flags)
{
	s->self = self;
	s->flags = flags;
	s->tid = 0;
	if (pthread_create(&s->thread, NULL, sender_run, s))
		return -EAGAIN;
	while (!__atomic_load_n(&s->tid, __ATOMIC_ACQUIRE))
		relax();
	return wait_asleep(getpid(), s->tid, 5000);
}

TEST_F(nonblock, blocked_send_goes_on)
{
	struct sender s;
	struct reader r;

	ASSERT_EQ(0, sender_start(&s, self, 0));
	ASSERT_EQ(0, reader_start(&r, self->sock[1], POOL_SIZE, -1));
	pthread_join(s.thread, NULL);
	ASSERT_EQ((ssize_t)POOL_SIZE, s.ret) {
		shutdown(self->sock[0], SHUT_RDWR);
	}
	EXPECT_EQ((ssize_t)POOL_SIZE, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 1, 0, POOL_SIZE));
}

/* A signal ends a blocked send: with what went so far, exactly. */
TEST_F(nonblock, signal_gives_short_count)
{
	struct sender s;
	struct reader r;

	catch_signal(SIGUSR1, 0);
	ASSERT_EQ(0, sender_start(&s, self, 0));
	pthread_kill(s.thread, SIGUSR1);
	pthread_join(s.thread, NULL);
	EXPECT_EQ(1, signals);
	ASSERT_LT(0, s.ret);
	ASSERT_GT((ssize_t)POOL_SIZE, s.ret);

	/* One byte more is asked for, to see that there is none. */
	ASSERT_EQ(0, reader_start(&r, self->sock[1], s.ret + 1, -1));
	shutdown(self->sock[0], SHUT_WR);
	EXPECT_EQ(s.ret, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 1, 0, s.ret));
}

TEST_F(nonblock, signal_gives_eintr)
{
	struct sender s;

	catch_signal(SIGUSR1, 0);
	ASSERT_LT(0, sock_fill(self->sock[0]));
	ASSERT_EQ(0, sender_start(&s, self, 0));
	pthread_kill(s.thread, SIGUSR1);
	pthread_join(s.thread, NULL);
	EXPECT_EQ(1, signals);
	EXPECT_EQ(-EINTR, s.ret);
}

TEST_F(nonblock, signal_with_restart)
{
	ssize_t filled;
	struct sender s;
	struct reader r;

	catch_signal(SIGUSR1, SA_RESTART);
	filled = sock_fill(self->sock[0]);
	ASSERT_LT(0, filled);
	ASSERT_EQ(0, sender_start(&s, self, 0));
	pthread_kill(s.thread, SIGUSR1);
	while (!__atomic_load_n(&signals, __ATOMIC_SEQ_CST))
		relax();
	ASSERT_EQ(0, wait_asleep(getpid(), s.tid, 5000));

	ASSERT_EQ(0, reader_start(&r, self->sock[1], filled + POOL_SIZE, -1));
	pthread_join(s.thread, NULL);
	ASSERT_EQ((ssize_t)POOL_SIZE, s.ret) {
		shutdown(self->sock[0], SHUT_RDWR);
	}
	EXPECT_EQ(filled + (ssize_t)POOL_SIZE, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data + filled, 1, 0, POOL_SIZE));
}

TEST_F(nonblock, send_timeout)
{
	struct timeval tv = { .tv_usec = 200000 };
	struct sender s;

	ASSERT_LT(0, sock_fill(self->sock[0]));
	ASSERT_EQ(0, setsockopt(self->sock[0], SOL_SOCKET, SO_SNDTIMEO, &tv,
				sizeof(tv)));
	ASSERT_EQ(0, sender_start(&s, self, 0));
	pthread_join(s.thread, NULL);
	EXPECT_EQ(-EAGAIN, s.ret);
	/* It is told in ticks, which a busy host may owe the guest. */
	EXPECT_LE(150, s.ms);
}

TEST_F(nonblock, send_timeout_after_some)
{
	struct timeval tv = { .tv_usec = 200000 };
	ssize_t ret;

	ASSERT_EQ(0, setsockopt(self->sock[0], SOL_SOCKET, SO_SNDTIMEO, &tv,
				sizeof(tv)));
	ret = send_from(self, 0, 0);
	EXPECT_LT(0, ret);
	EXPECT_GT((ssize_t)POOL_SIZE, ret);
}

TEST_F(nonblock, dontwait_beats_send_timeout)
{
	struct timeval tv = { .tv_sec = 1000 };

	ASSERT_LT(0, sock_fill(self->sock[0]));
	ASSERT_EQ(0, setsockopt(self->sock[0], SOL_SOCKET, SO_SNDTIMEO, &tv,
				sizeof(tv)));
	EXPECT_EQ(-EAGAIN, send_from(self, 0, FBUF_SEND_DONTWAIT));
}

TEST_F(nonblock, epipe_without_signal)
{
	catch_signal(SIGPIPE, 0);
	ASSERT_EQ(0, shutdown(self->sock[0], SHUT_WR));
	EXPECT_EQ(-EPIPE, send_from(self, 0, 0));
	EXPECT_EQ(0, signals);
}

TEST_F(nonblock, epipe_with_signal)
{
	catch_signal(SIGPIPE, 0);
	ASSERT_EQ(0, shutdown(self->sock[0], SHUT_WR));
	EXPECT_EQ(-EPIPE, send_from(self, 0, FBUF_SEND_SIGPIPE));
	EXPECT_EQ(1, signals);
}

/* Whether a stream takes one run by an engine. */
static bool takes(int family, __u32 engine)
{
	switch (engine) {
	case FBUF_ENGINE_PAGEREF:
		return family != AF_UNIX;
	case FBUF_ENGINE_SPLICE:
		return !kernel_before(6, 5);
	}
	return true;
}

/* The same by every engine that there is for the socket. */
TEST_F(nonblock, epipe_by_each_engine)
{
	static const __u32 engines[] = {
		FBUF_ENGINE_PAGEREF, FBUF_ENGINE_SPLICE, FBUF_ENGINE_COPY,
	};
	unsigned int i;
	ssize_t ret;

	catch_signal(SIGPIPE, 0);
	ASSERT_EQ(0, shutdown(self->sock[0], SHUT_WR));
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		ret = pool_send(self->pool.fd, self->sock[0], self->seg, 1, 0,
				engines[i], NULL);
		EXPECT_EQ(takes(variant->family, engines[i]) ? -EPIPE :
			  -EOPNOTSUPP, ret) {
			TH_LOG("engine %u", engines[i]);
		}
		EXPECT_EQ(0, signals);
	}
}

/* As sendmsg() has it: the reset once, then EPIPE. */
TEST_F(nonblock, peer_reset)
{
	struct linger linger = { .l_onoff = 1 };
	struct pollfd pfd = { .fd = self->sock[0] };

	if (variant->family == AF_UNIX)
		SKIP(return, "there are no resets here");
	catch_signal(SIGPIPE, 0);
	ASSERT_EQ(0, setsockopt(self->sock[1], SOL_SOCKET, SO_LINGER, &linger,
				sizeof(linger)));
	close(self->sock[1]);
	self->sock[1] = -1;
	ASSERT_EQ(1, poll(&pfd, 1, 5000));
	EXPECT_EQ(-ECONNRESET, send_from(self, 0, 0));
	EXPECT_EQ(-EPIPE, send_from(self, 0, 0));
	EXPECT_EQ(0, signals);
}

/* The peer goes while a send is blocked: it ends, and nothing stays. */
TEST_F(nonblock, peer_goes_during_blocked_send)
{
	struct linger linger = { .l_onoff = 1 };
	struct sender s;

	catch_signal(SIGPIPE, 0);
	ASSERT_EQ(0, sender_start(&s, self, 0));
	setsockopt(self->sock[1], SOL_SOCKET, SO_LINGER, &linger,
		   sizeof(linger));
	close(self->sock[1]);
	self->sock[1] = -1;
	pthread_join(s.thread, NULL);
	/* What the peer's socket had room for counts, not the error. */
	EXPECT_GT((ssize_t)POOL_SIZE, s.ret);
	EXPECT_LT(0, s.ret);
	EXPECT_EQ(0, signals);
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, NR_BUFS, 5000));
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
