// SPDX-License-Identifier: GPL-2.0
/*
 * RECV and recv(), on every kind of stream socket, those included whose protocol is
 * not their own: what one says in a case the other does; at limits, among other
 * readers, and when there is much of it.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		16U
#define SEED		9

/* What a call copies at most, where it has to copy. */
#define COPY_MAX	(256U << 10)

/* Up to so many bytes of a packet are copied, not referred to. */
#define SHORT		512U

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif

#define ALL		FBUF_RECV_ALL
#define DONTWAIT	FBUF_RECV_DONTWAIT
#define PEEK		FBUF_RECV_PEEK

enum kind {
	PLAIN,
	KTLS,
	SOCKMAP,
	MPTCP,
};

FIXTURE(conn)
{
	struct pool pool;
	int sock[2];
	size_t pos;	/* of the stream, as far as it was received */
	size_t copied;
};

/* @refers: TCP by itself, of which what is long is not copied */
FIXTURE_VARIANT(conn)
{
	int family;
	enum kind kind;
	bool refers;
};

FIXTURE_VARIANT_ADD(conn, tcp4)
{
	.family = AF_INET,
	.refers = true,
};

FIXTURE_VARIANT_ADD(conn, tcp6)
{
	.family = AF_INET6,
	.refers = true,
};

FIXTURE_VARIANT_ADD(conn, unix_stream)
{
	.family = AF_UNIX,
};

FIXTURE_VARIANT_ADD(conn, tls)
{
	.family = AF_INET,
	.kind = KTLS,
};

FIXTURE_VARIANT_ADD(conn, sockmap)
{
	.family = AF_INET,
	.kind = SOCKMAP,
};

FIXTURE_VARIANT_ADD(conn, mptcp)
{
	.family = AF_INET,
	.kind = MPTCP,
};

static int mptcp_pair(int fd[2])
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	int lsock = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);

	if (lsock < 0)
		return -errno;
	fd[0] = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (fd[0] < 0 || bind(lsock, (void *)&addr, len) ||
	    listen(lsock, 1) || getsockname(lsock, (void *)&addr, &len) ||
	    connect(fd[0], (void *)&addr, len))
		return -errno;
	fd[1] = accept(lsock, NULL, NULL);
	close(lsock);
	return fd[1] < 0 ? -errno : 0;
}

/* fd[1] receives. */
static int conn_pair(const struct _fixture_variant_conn *variant, int fd[2])
{
	int err;

	if (variant->kind == KTLS)
		return tls_pair(fd);
	if (variant->kind == MPTCP)
		return mptcp_pair(fd);
	err = sock_pair(variant->family, SOCK_STREAM, fd);
	if (!err && variant->kind == SOCKMAP)
		err = sockmap_add(fd[1]);
	return err;
}

FIXTURE_SETUP(conn)
{
	static const char * const what[] = {
		[KTLS] = "kernel TLS", [SOCKMAP] = "map of sockets",
		[MPTCP] = "MPTCP",
	};
	int err = conn_pair(variant, self->sock);

	if (err && variant->kind)
		SKIP(return, "no %s", what[variant->kind]);
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT));
}

FIXTURE_TEARDOWN(conn)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

struct parcel {
	__u64 name;
	__u32 copied;
};

static ssize_t parcel_recv(int pool, int sock, size_t len, __u32 flags,
			   struct parcel *p)
{
	return pool_recv(pool, sock, len, flags, &p->name, &p->copied);
}

/* Sets errno, as recv() does, for tests that do the same with both. */
static ssize_t recv_parcel(int pool, int sock, size_t len, __u32 flags,
			   struct parcel *p)
{
	ssize_t ret = parcel_recv(pool, sock, len, flags, p);

	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

/* Receives once: as recv() would, and the bytes where they are to be had. */
static ssize_t recv_bytes(int pool, int sock, void *to, size_t len, __u32 flags)
{
	struct parcel p;
	ssize_t ret = recv_parcel(pool, sock, len, flags, &p);

	if (ret <= 0)
		return ret;
	if (parcel_read(pool, p.name, 0, to, ret) ||
	    pool_free(pool, &p.name, 1) != 1) {
		errno = EIO;
		return -1;
	}
	return ret;
}

/* Receives the next bytes of the pattern; the parcel goes. */
static ssize_t next(struct _test_data_conn *self, size_t len, __u32 flags)
{
	struct parcel p;
	ssize_t ret = parcel_recv(self->pool.fd, self->sock[1], len, flags, &p);
	ssize_t bad;

	if (ret <= 0)
		return ret;
	bad = parcel_differs(self->pool.fd, p.name, SEED, self->pos, ret);
	if (bad != -1) {
		printf("# byte %zd of %zd from %zu on is wrong\n", bad, ret,
		       self->pos);
		return -EILSEQ;
	}
	if (pool_free(self->pool.fd, &p.name, 1) != 1)
		return -EIO;
	self->pos += ret;
	self->copied += p.copied;
	return ret;
}

/* The same until there are @len more. */
static ssize_t next_all(struct _test_data_conn *self, size_t len, size_t most)
{
	size_t end = self->pos + len;
	ssize_t ret;

	while (self->pos < end) {
		size_t want = end - self->pos;

		ret = next(self, want < most ? want : most, 0);
		if (ret <= 0)
			return ret ?: -ENODATA;
	}
	return len;
}

/* No parcel is left, and none is charged. */
static bool none_left(const struct pool *pool)
{
	struct fbuf_info info;

	return !pool_info(pool->fd, &info) && !info.nr_parcels &&
	       !info.parcel_bytes;
}

static bool there(int sock, size_t len)
{
	void *buf = malloc(len);
	bool ret = wait_for(recv(sock, buf, len, MSG_PEEK | MSG_DONTWAIT) ==
			    (ssize_t)len, DEADLINE_MS);

	free(buf);
	return ret;
}

/* As long as a parcel is from one byte on, and wherever in a packet it begins. */
TEST_F(conn, every_length)
{
	struct feeder w;
	size_t len;

	ASSERT_EQ(0, feeder_start(&w, self->sock[0], SEED, 0,
				  400 * 401 / 2, 30000));
	for (len = 1; len <= 400; len++)
		ASSERT_EQ((ssize_t)len, next(self, len, ALL));
	EXPECT_EQ(0, feeder_join(&w));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_TRUE(none_left(&self->pool));
}

/* Around what is copied, and around pages, packets and what a call copies. */
TEST_F(conn, lengths)
{
	static const size_t lens[] = {
		SHORT - 1, SHORT, SHORT + 1, 4095, 4096, 4097, 16383, 32768,
		65482, 65483, 65484, 131072 + 1, COPY_MAX - 1, COPY_MAX,
	};
	struct feeder w;
	size_t all = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(lens); i++)
		all += lens[i];
	ASSERT_EQ(0, feeder_start(&w, self->sock[0], SEED, 0,
				  all, 77777));
	for (i = 0; i < ARRAY_SIZE(lens); i++)
		ASSERT_EQ((ssize_t)lens[i], next(self, lens[i], ALL));
	EXPECT_EQ(0, feeder_join(&w));
	EXPECT_LE(variant->refers ? 0 : all, self->copied);
	EXPECT_GE(variant->refers ? all / 16 : all, self->copied);
	EXPECT_TRUE(none_left(&self->pool));
}

/* From each byte of a parcel on READ gives what is there, and not more. */
TEST_F(conn, read_at_every_byte)
{
	const size_t len = 9000;
	__u8 got[9000];
	struct parcel p;
	size_t at;

	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 3000));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 3000, 100));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 3100, len - 3100));
	ASSERT_EQ((ssize_t)len, parcel_recv(self->pool.fd, self->sock[1], len,
					    ALL, &p));
	for (at = 0; at < len; at++) {
		size_t n = len - at < 16 ? len - at : 16;

		memset(got, 0xee, 32);
		ASSERT_EQ(0, parcel_read(self->pool.fd, p.name, at, got, n));
		ASSERT_EQ(-1, pattern_differs(got, SEED, at, n));
		ASSERT_EQ(0xee, got[n]);
		if (at % 64)
			continue;
		ASSERT_EQ(0, parcel_read(self->pool.fd, p.name, at, got,
					 len - at));
		ASSERT_EQ(-1, pattern_differs(got, SEED, at, len - at));
	}
	EXPECT_EQ(-EINVAL, parcel_read(self->pool.fd, p.name, len, got, 1));
	EXPECT_EQ(-EINVAL, parcel_read(self->pool.fd, p.name, len - 1, got, 2));
	EXPECT_EQ(1, pool_free(self->pool.fd, &p.name, 1));
	EXPECT_EQ(-ESTALE, parcel_read(self->pool.fd, p.name, 0, got, 1));
}

static struct getter take(struct _test_data_conn *self, size_t len, __u32 flags)
{
	return (struct getter) {
		.pool = self->pool.fd,
		.sock = self->sock[1],
		.len = len,
		.flags = flags,
	};
}

TEST_F(conn, waits)
{
	struct getter t = take(self, 1000, 0);

	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	/* Who waits has no parcel. */
	EXPECT_EQ(!variant->refers ? 0 : 1, none_left(&self->pool));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 300));
	ASSERT_EQ(300, getter_ends(&t));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, t.name, SEED, 0,
				     300));
}

TEST_F(conn, waits_for_all)
{
	struct getter t = take(self, 5000, ALL);

	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 2000));
	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 2000, 2000));
	ASSERT_TRUE(getter_waits(&t));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 4000, 2000));
	ASSERT_EQ(5000, getter_ends(&t));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, t.name, SEED, 0,
				     5000));
	self->pos = 5000;
	EXPECT_EQ(1000, next(self, 5000, 0));
	/* The end of the stream is all, too. */
	t = take(self, 5000, ALL);
	ASSERT_EQ(0, getter_start(&t));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 6000, 500));
	ASSERT_TRUE(getter_waits(&t));
	shutdown(self->sock[0], SHUT_WR);
	ASSERT_EQ(500, getter_ends(&t));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, t.name, SEED, 6000,
				     500));
}

/* What is taken counts; but TCP does not wake who waits for less than the mark. */
TEST_F(conn, rcvlowat)
{
	struct getter t = take(self, 5000, 0);
	int low = 1000;

	ASSERT_EQ(0, setsockopt(self->sock[1], SOL_SOCKET, SO_RCVLOWAT, &low,
				sizeof(low)));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 600));
	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 600, 1000));
	ASSERT_EQ(1600, getter_ends(&t));
	self->pos = 1600;
	/* That there is less is no reason not to give it to who does not wait. */
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 1600, 600));
	ASSERT_TRUE(there(self->sock[1], 600));
	EXPECT_EQ(100, next(self, 100, 0));
	EXPECT_EQ(500, next(self, 5000, DONTWAIT));
}

/* A copy, of as much as is there, and the bytes stay. */
TEST_F(conn, peek)
{
	struct parcel p[3];
	unsigned int i;

	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 5000));
	ASSERT_TRUE(there(self->sock[1], 5000));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(i ? 5000 : 3000,
			  parcel_recv(self->pool.fd, self->sock[1],
				      i ? 6000 : 3000, PEEK, &p[i]));
		EXPECT_EQ(i ? 5000U : 3000U, p[i].copied);
	}
	EXPECT_EQ(5000, next(self, 6000, 0));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-1, parcel_differs(self->pool.fd, p[i].name, SEED, 0,
					     i ? 5000 : 3000));
		EXPECT_EQ(1, pool_free(self->pool.fd, &p[i].name, 1));
	}
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_TRUE(none_left(&self->pool));
}

TEST_F(conn, end_of_stream)
{
	struct parcel p = { .name = 1 };
	int i;

	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 6000));
	shutdown(self->sock[0], SHUT_WR);
	ASSERT_EQ(6000, next_all(self, 6000, 10000));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, parcel_recv(self->pool.fd, self->sock[1], 100,
					 i ? ALL : 0, &p));
		EXPECT_EQ(0ULL, p.name);
	}
	EXPECT_EQ(0, parcel_recv(self->pool.fd, self->sock[1], 100,
				 PEEK | DONTWAIT, &p));
	EXPECT_TRUE(none_left(&self->pool));
}

/* Who waits sees the end, too. */
TEST_F(conn, ends_while_waiting)
{
	struct getter t = take(self, 100, 0);

	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	close(self->sock[0]);
	self->sock[0] = -1;
	EXPECT_EQ(0, getter_ends(&t));
	EXPECT_TRUE(none_left(&self->pool));
}

/* What is said to one reader after the other, by either call. */
static void results(__u64 pool, int sock, int ret[4])
{
	char buf[100];
	int i;

	for (i = 0; i < 4; i++) {
		ret[i] = pool ? recv_bytes(pool, sock, buf, 100, 0) :
				recv(sock, buf, 100, 0);
		if (ret[i] < 0)
			ret[i] = -errno;
	}
}

/* Reset by a peer that leaves bytes unread, with bytes to be read here, or none. */
static void reset(struct __test_metadata *_metadata,
		  const struct _fixture_variant_conn *variant, __u64 pool,
		  size_t len, int ret[4])
{
	struct pollfd p = { .events = POLLIN };
	int sock[2];

	ASSERT_EQ(0, conn_pair(variant, sock));
	if (len) {
		ASSERT_EQ(0, pattern_write(sock[0], SEED, 0, len));
		ASSERT_TRUE(there(sock[1], len));
	}
	ASSERT_EQ(1, send(sock[1], "x", 1, 0));
	p.fd = sock[0];
	poll(&p, 1, 1000);
	close(sock[0]);
	p.fd = sock[1];
	p.events = POLLRDHUP;
	ASSERT_EQ(1, poll(&p, 1, DEADLINE_MS));
	results(pool, sock[1], ret);
	close(sock[1]);
}

TEST_F(conn, reset)
{
	int as_recv[4], ret[4], i;
	size_t len;

	for (len = 0; len <= 60; len += 60) {
		reset(_metadata, variant, 0, len, as_recv);
		reset(_metadata, variant, self->pool.fd, len, ret);
		for (i = 0; i < 4; i++)
			EXPECT_EQ(as_recv[i], ret[i]);
		if (variant->refers && !len)
			EXPECT_EQ(-ECONNRESET, ret[0]);
	}
	EXPECT_TRUE(none_left(&self->pool));
}

/* A reader that shuts the door still gets what was there. */
TEST_F(conn, shut_down)
{
	int as_recv[4], ret[4], twin[2], i;
	struct getter t;

	ASSERT_EQ(0, conn_pair(variant, twin));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 60));
	ASSERT_EQ(0, pattern_write(twin[0], SEED, 0, 60));
	ASSERT_TRUE(there(self->sock[1], 60));
	ASSERT_TRUE(there(twin[1], 60));
	shutdown(self->sock[1], SHUT_RD);
	shutdown(twin[1], SHUT_RD);
	results(0, twin[1], as_recv);
	results(self->pool.fd, self->sock[1], ret);
	for (i = 0; i < 4; i++)
		EXPECT_EQ(as_recv[i], ret[i]);
	close(twin[0]);
	close(twin[1]);
	/* Nor does one wait on, */
	ASSERT_EQ(0, conn_pair(variant, twin));
	t = take(self, 100, ALL);
	t.sock = twin[1];
	ASSERT_EQ(0, pattern_write(twin[0], SEED, 0, 60));
	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	shutdown(twin[1], SHUT_RD);
	EXPECT_EQ(60, getter_ends(&t));
	close(twin[0]);
	close(twin[1]);
}

/* All that an urgent byte is to both calls; the byte is '!'. */
static ssize_t urgent(struct __test_metadata *_metadata,
		      const struct _fixture_variant_conn *variant, __u64 pool,
		      bool is_inline, __u32 flags, __u8 *got, int *ends)
{
	size_t done = 0;
	int one = is_inline, sock[2];

	*ends = 0;
	if (conn_pair(variant, sock))
		return -1;
	setsockopt(sock[1], SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	pattern_write(sock[0], SEED, 0, 1000);
	if (send(sock[0], "!", 1, MSG_OOB) != 1) {
		close(sock[0]);
		close(sock[1]);
		return -1;
	}
	pattern_write(sock[0], SEED, 1000, 1000);
	shutdown(sock[0], SHUT_WR);
	/* All of it is there, so that the calls see the same. */
	wait_for(recv(sock[1], got, 1, MSG_PEEK | MSG_DONTWAIT) == 1, 1000);
	usleep(20000);
	for (;;) {
		size_t room = 4000 - done;
		ssize_t ret = pool ?
			recv_bytes(pool, sock[1], got + done, room, flags) :
			recv(sock[1], got + done, room,
			     flags & ALL ? MSG_WAITALL : 0);

		if (ret <= 0)
			break;
		done += ret;
		/* Where they stop. */
		*ends = *ends * 31 + done;
	}
	close(sock[0]);
	close(sock[1]);
	return done;
}

TEST_F(conn, urgent)
{
	__u8 as_recv[4096], got[4096];
	int i, ends[2];

	for (i = 0; i < 4; i++) {
		__u32 flags = i & 2 ? ALL : 0;
		ssize_t len = urgent(_metadata, variant, 0, i & 1, flags,
				     as_recv, &ends[0]);

		if (len < 0)
			SKIP(return, "no urgent bytes here");
		/* In MPTCP they are ordinary ones. */
		if (variant->kind != MPTCP)
			EXPECT_EQ(2000 + (i & 1), len);
		EXPECT_EQ(len, urgent(_metadata, variant, self->pool.fd, i & 1,
				      flags, got, &ends[1]));
		EXPECT_EQ(0, memcmp(as_recv, got, len));
		EXPECT_EQ(ends[0], ends[1]);
	}
	EXPECT_TRUE(none_left(&self->pool));
}

static void on_signal(int sig)
{
}

/* A signal ends the wait, or does not, and no byte is lost. */
TEST_F(conn, signal)
{
	struct sigaction act = { .sa_handler = on_signal };
	struct getter t = take(self, 1000, 0);

	if (variant->kind == SOCKMAP)
		SKIP(return, "recv() there says EAGAIN");
	sigaction(SIGUSR1, &act, NULL);
	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	pthread_kill(t.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, getter_ends(&t));
	EXPECT_TRUE(none_left(&self->pool));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 100));
	EXPECT_EQ(100, next(self, 1000, 0));

	act.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &act, NULL);
	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	pthread_kill(t.thread, SIGUSR1);
	ASSERT_TRUE(getter_waits(&t));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 100, 100));
	ASSERT_EQ(100, getter_ends(&t));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, t.name, SEED, 100,
				     100));
	EXPECT_EQ(1, pool_free(self->pool.fd, &t.name, 1));

	/* What was received is not for nothing. */
	t = take(self, 1000, ALL);
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 200, 100));
	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	pthread_kill(t.thread, SIGUSR1);
	ASSERT_EQ(100, getter_ends(&t));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, t.name, SEED, 200,
				     100));
	EXPECT_EQ(1, pool_free(self->pool.fd, &t.name, 1));
	EXPECT_TRUE(none_left(&self->pool));
}

/* A parcel that is dropped first is dropped once, if the call is begun again. */
TEST_F(conn, signal_after_the_drop)
{
	struct sigaction act = {
		.sa_handler = on_signal, .sa_flags = SA_RESTART,
	};
	struct getter t = take(self, 1000, 0);
	struct parcel p;
	ssize_t ret;

	if (variant->kind == SOCKMAP)
		SKIP(return, "recv() there says EAGAIN");
	sigaction(SIGUSR1, &act, NULL);
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 100));
	ASSERT_EQ(100, parcel_recv(self->pool.fd, self->sock[1], 100, ALL, &p));
	t.drop = p.name;
	ASSERT_EQ(0, getter_start(&t));
	ASSERT_TRUE(getter_waits(&t));
	pthread_kill(t.thread, SIGUSR1);
	/* It waits on, or says that it was interrupted: no other error. */
	if (getter_waits(&t))
		ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 100, 100));
	ret = getter_ends(&t);
	EXPECT_TRUE(ret == 100 || ret == -EINTR)
		TH_LOG("%zd", ret);
	EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, &p.name, 1));
}

TEST_F(conn, killed_while_waiting)
{
	pid_t pid = fork();
	struct parcel p;

	ASSERT_LE(0, pid);
	if (!pid) {
		parcel_recv(self->pool.fd, self->sock[1], 1000, ALL, &p);
		_exit(1);
	}
	ASSERT_EQ(0, wait_asleep(pid, pid, DEADLINE_MS));
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status_within(pid, DEADLINE_MS));
	EXPECT_TRUE(none_left(&self->pool));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 100));
	EXPECT_EQ(100, next(self, 1000, 0));
}

/* Each in a packet of its own, at first. */
TEST_F(conn, many_short_segments)
{
	const size_t nr = 3000, len = 7;
	struct feeder w;
	ssize_t ret;

	ASSERT_EQ(0, feeder_start(&w, self->sock[0], SEED, 0,
				  nr * len, len));
	while (self->pos < nr * len) {
		ret = next(self, 10000, 0);
		ASSERT_LT(0, ret);
	}
	EXPECT_EQ(0, feeder_join(&w));
	EXPECT_EQ(nr * len, self->pos);
	EXPECT_TRUE(none_left(&self->pool));
}

/* More pieces of memory than a parcel may have. */
TEST_F(conn, many_pieces)
{
	const size_t len = SHORT + 100, per_buf = BUF_SIZE / (2 * len);
	struct fbuf_seg segs[NR_BUFS * (BUF_SIZE / (2 * (SHORT + 100)))];
	const size_t nr = NR_BUFS * per_buf, rounds = 5000 / nr + 1;
	size_t i, at = 0;
	__u64 names[NR_BUFS];

	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, names, NR_BUFS));
	/* Every second piece, so that none goes on where another ends. */
	for (i = 0; i < nr; i++) {
		size_t off = i % per_buf * 2 * len;

		segs[i] = buf_seg(&self->pool, names[i / per_buf], off, len);
		pattern_fill(buf_addr(&self->pool, names[i / per_buf]) + off,
			     SEED, i * len, len);
	}
	if (!variant->refers)
		SKIP(return, "no pieces here");
	for (i = 0; i < rounds; i++) {
		size_t left = nr * len;
		struct parcel p;

		ASSERT_EQ((ssize_t)left, pool_send(self->pool.fd, self->sock[0],
						   segs, nr, 0, 0, NULL));
		while (left) {
			ssize_t ret = parcel_recv(self->pool.fd, self->sock[1],
						  left, 0, &p);

			ASSERT_LT(0, ret);
			ASSERT_EQ(-1, parcel_differs(self->pool.fd, p.name, SEED,
						     nr * len - left, ret));
			ASSERT_EQ(0U, p.copied);
			left -= ret;
			at += ret;
			ASSERT_EQ(1, pool_free(self->pool.fd, &p.name, 1));
		}
	}
	EXPECT_EQ(rounds * nr * len, at);
}

TEST_F(conn, sixteen_mib)
{
	const size_t len = FBUF_PARCEL_MAX;
	struct feeder w;
	struct parcel p;
	ssize_t ret;

	if (!variant->refers)
		SKIP(return, "a call copies no more than 256 KiB");
	ASSERT_EQ(0, feeder_start(&w, self->sock[0], SEED, 0,
				  len + 1000, 1 << 20));
	ret = parcel_recv(self->pool.fd, self->sock[1], len, ALL, &p);
	ASSERT_EQ((ssize_t)len, ret);
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, p.name, SEED, 0, len));
	EXPECT_EQ(1, pool_free(self->pool.fd, &p.name, 1));
	self->pos = len;
	EXPECT_EQ(1000, next_all(self, 1000, 1000));
	EXPECT_EQ(0, feeder_join(&w));
	EXPECT_TRUE(none_left(&self->pool));
}

/* Where all is copied, a call gives what it may. */
TEST_F(conn, copies_up_to_a_limit)
{
	struct feeder w;
	ssize_t ret;

	if (variant->refers)
		SKIP(return, "not copied");
	ASSERT_EQ(0, feeder_start(&w, self->sock[0], SEED, 0,
				  1 << 20, 1 << 16));
	ret = next(self, 1 << 20, ALL);
	EXPECT_EQ((ssize_t)COPY_MAX, ret);
	EXPECT_EQ((1 << 20) - ret, next_all(self, (1 << 20) - ret, 1 << 20));
	EXPECT_EQ(0, feeder_join(&w));
}

/* At a limit nothing is taken, the peer has to wait, and nothing is lost. */
TEST_F(conn, window)
{
	/* Several times what there may be. */
	const size_t len = (slower() > 2 ? 3 : 8) << 20;
	__u64 before = parameter_get("parcel_max"), names[4096];
	size_t got = 0, checked = 0, each[4096];
	unsigned int nr = 0, i, full = 0;
	struct fbuf_info info;
	struct parcel p;
	struct feeder w;
	ssize_t ret;

	if (geteuid())
		SKIP(return, "needs root");
	sock_small(self->sock);
	ASSERT_EQ(0, parameter_put("parcel_max", 1 << 20));
	ASSERT_EQ(0, feeder_start(&w, self->sock[0], SEED, 0,
				  len, 1 << 16));
	while (got < len) {
		ret = parcel_recv(self->pool.fd, self->sock[1], 100000, 0, &p);
		if (ret > 0) {
			names[nr] = p.name;
			each[nr++] = ret;
			got += ret;
			if (nr < ARRAY_SIZE(names))
				continue;
		} else {
			EXPECT_EQ(-EDQUOT, ret);
			EXPECT_EQ(0ULL, p.name);
			if (ret != -EDQUOT)
				break;
			/* Some of them, so that it goes on at once. */
			if (!full++) {
				const int fd = self->pool.fd;

				EXPECT_FALSE(wait_for(feeder_done(&w), 500));
				ret = parcel_recv(fd, self->sock[1], 1,
						  DONTWAIT, &p);
				EXPECT_EQ(-EDQUOT, ret);
			}
			ASSERT_EQ(0, pool_info(self->pool.fd, &info));
			EXPECT_GE(1ULL << 20, info.parcel_bytes);
			EXPECT_EQ(nr, info.nr_parcels);
		}
		for (i = 0; i < nr; i++) {
			ASSERT_EQ(-1, parcel_differs(self->pool.fd, names[i],
						     SEED, checked, each[i]));
			checked += each[i];
		}
		ASSERT_EQ((int)nr, pool_free(self->pool.fd, names, nr));
		nr = 0;
	}
	parameter_put("parcel_max", before);
	EXPECT_LT(0U, full);
	EXPECT_EQ(len, got);
	if (got < len)
		shutdown(self->sock[0], SHUT_RDWR);
	feeder_join(&w);
}

/* One byte past what may be charged is not taken either. */
TEST_F(conn, no_room_at_all)
{
	__u64 before = parameter_get("parcel_max");
	struct parcel p;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 5000));
	ASSERT_TRUE(there(self->sock[1], 5000));
	ASSERT_EQ(0, parameter_put("parcel_max", 1));
	EXPECT_EQ(-EDQUOT, parcel_recv(self->pool.fd, self->sock[1], 1000, 0,
				       &p));
	EXPECT_EQ(0ULL, p.name);
	EXPECT_TRUE(none_left(&self->pool));
	EXPECT_TRUE(there(self->sock[1], 5000));
	parameter_put("parcel_max", before);
	EXPECT_EQ(5000, next(self, 5000, ALL));
}

/* Another call's reader gets what comes next, and so does this one. */
static ssize_t by_recv(struct _test_data_conn *self, __u8 *got, size_t len)
{
	return recv(self->sock[1], got, len, 0);
}

static ssize_t by_splice(struct _test_data_conn *self, __u8 *got, size_t len)
{
	return sock_splice(self->sock[1], got, len);
}

static ssize_t by_fill(struct _test_data_conn *self, __u8 *got, size_t len)
{
	struct fbuf_fill arg = {
		.size = sizeof(arg),
		.len = len,
		.fd = self->sock[1],
	};
	__u64 name;
	ssize_t ret;

	if (pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS) != 1)
		return -1;
	arg.name = name;
	ret = ioctl(self->pool.fd, FBUF_IOC_FILL, &arg);
	if (ret > 0)
		memcpy(got, buf_addr(&self->pool, name), ret);
	pool_free(self->pool.fd, &name, 1);
	return ret;
}

static ssize_t by_peek(struct _test_data_conn *self, __u8 *got, size_t len)
{
	recv(self->sock[1], got, len, MSG_PEEK);
	return recv(self->sock[1], got, len, 0);
}

static ssize_t by_mapping(struct _test_data_conn *self, __u8 *got, size_t len)
{
	return sock_map(self->sock[1], got, len);
}

TEST_F(conn, readers_in_turn)
{
	static ssize_t (* const by[])(struct _test_data_conn *self, __u8 *got,
				      size_t len) = {
		by_recv, by_splice, by_fill, by_peek, by_mapping,
	};
	const size_t len = 1 << 20;
	__u8 got[BUF_SIZE];
	struct feeder w;
	unsigned int i;

	ASSERT_EQ(0, feeder_start(&w, self->sock[0], SEED, 0,
				  len, 50000));
	for (i = 0; self->pos < len; i++) {
		size_t want = 1 + i * 2654435761U % BUF_SIZE;
		ssize_t ret = next(self, want, i % 3 ? 0 : DONTWAIT);

		if (ret == -EAGAIN)
			continue;
		ASSERT_LE(self->pos == len ? 0 : 1, ret);
		if (self->pos == len)
			break;
		/* kTLS has the last one as well, and gives what is encrypted. */
		ret = by[i % (ARRAY_SIZE(by) - !variant->refers)](self, got,
								  want);
		ASSERT_LT(0, ret)
			TH_LOG("reader %zu", i % ARRAY_SIZE(by));
		ASSERT_EQ(-1, pattern_differs(got, SEED, self->pos, ret))
			TH_LOG("reader %zu", i % ARRAY_SIZE(by));
		self->pos += ret;
	}
	EXPECT_EQ(0, feeder_join(&w));
	EXPECT_EQ(len, self->pos);
	EXPECT_TRUE(none_left(&self->pool));
}

/*
 * A stream of words of 8 bytes, each of which says which it is: the first byte has its
 * high bit set, then there are 28 bits of its number, and 28 that follow from these.
 */
#define WORDS		(256U << 10)

static __u64 word_make(__u64 nr)
{
	__u64 v = nr | (nr * 2654435761U >> 3 & 0xfffffff) << 28, word = 0;
	int i;

	for (i = 0; i < 8; i++)
		word |= (v >> (7 * i) & 127) << (8 * i);
	return word | 128;
}

/* The number of the word that is there, or a greater one than there is. */
static __u64 word_nr(const __u8 *p)
{
	__u64 word, nr = 0;
	int i;

	memcpy(&word, p, 8);
	for (i = 0; i < 4; i++)
		nr |= (word >> (8 * i) & 127) << (7 * i);
	return word == word_make(nr) ? nr : ~0ULL;
}

/* @again: recv() of such a socket says EAGAIN to one whose bytes another took */
struct racer {
	pthread_t thread;
	struct _test_data_conn *conn;
	bool again;
	__u8 *seen;
	size_t got, parcels;
	unsigned int twice;
	ssize_t ret;
};

static void *racer_run(void *arg)
{
	static __thread __u8 got[40000];
	struct racer *r = arg;
	ssize_t i;

	for (;; r->parcels++) {
		size_t want = 100 + r->parcels * 7919 % (sizeof(got) - 100);

		r->ret = recv_bytes(r->conn->pool.fd, r->conn->sock[1], got,
				    want, r->parcels % 5 ? 0 : ALL);
		if (r->ret < 0 && errno == EAGAIN && r->again)
			continue;
		if (r->ret < 0)
			r->ret = -errno;
		if (r->ret <= 0)
			return NULL;
		r->got += r->ret;
		for (i = 0; i + 8 <= r->ret; i++) {
			__u64 nr = word_nr(got + i);

			if (nr < WORDS)
				r->twice += __atomic_fetch_add(&r->seen[nr], 1,
							       __ATOMIC_RELAXED);
		}
	}
}

/* Words that come apart are not counted; of the others each is there once. */
TEST_F(conn, two_at_once)
{
	__u64 *data = calloc(WORDS, 8);
	__u8 *seen = calloc(WORDS, 1);
	size_t i, done = 0, unseen = 0;
	struct racer r[2];

	ASSERT_TRUE(data && seen);
	for (i = 0; i < WORDS; i++)
		data[i] = word_make(i);
	for (i = 0; i < 2; i++) {
		r[i] = (struct racer) {
			.conn = self, .seen = seen,
			.again = variant->kind == SOCKMAP,
		};
		ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, racer_run,
					    &r[i]));
	}
	while (done < WORDS * 8) {
		size_t n = WORDS * 8 - done < 30001 ? WORDS * 8 - done : 30001;
		ssize_t ret = send(self->sock[0], (__u8 *)data + done, n, 0);

		ASSERT_LT(0, ret);
		done += ret;
	}
	shutdown(self->sock[0], SHUT_WR);
	for (i = 0; i < 2; i++) {
		pthread_join(r[i].thread, NULL);
		EXPECT_EQ(0, r[i].ret);
		EXPECT_EQ(0U, r[i].twice);
	}
	for (i = 0; i < WORDS; i++)
		unseen += !seen[i];
	/* Others come in between where one waits, or has to charge for more. */
	EXPECT_GE(8 * (r[0].parcels + r[1].parcels), unseen);
	EXPECT_EQ(WORDS * 8, r[0].got + r[1].got);
	EXPECT_TRUE(none_left(&self->pool));
	free(data);
	free(seen);
}

/* One call drops the parcel before, whatever comes of the rest. */
TEST_F(conn, drop)
{
	struct fbuf_recv arg = {
		.size = sizeof(arg),
		.flags = DONTWAIT,
		.fd = self->sock[1],
		.len = 1000,
	};
	struct fbuf_info info;
	__u64 first;

	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 2000));
	ASSERT_TRUE(there(self->sock[1], 2000));
	ASSERT_EQ(1000, ioctl(self->pool.fd, FBUF_IOC_RECV, &arg));
	first = arg.name;
	arg.drop = first;
	ASSERT_EQ(1000, ioctl(self->pool.fd, FBUF_IOC_RECV, &arg));
	EXPECT_NE(first, arg.name);
	EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, &first, 1));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, arg.name, SEED, 1000, 1000));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(1U, info.nr_parcels);
	/* There is nothing to receive: dropped all the same. */
	arg.drop = arg.name;
	EXPECT_EQ(-1, ioctl(self->pool.fd, FBUF_IOC_RECV, &arg));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_TRUE(none_left(&self->pool));
	/* A bad one: nothing is received. */
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 2000, 100));
	ASSERT_TRUE(there(self->sock[1], 100));
	arg.drop = first;
	EXPECT_EQ(-1, ioctl(self->pool.fd, FBUF_IOC_RECV, &arg));
	EXPECT_EQ(ESTALE, errno);
	arg.drop = 1;
	EXPECT_EQ(-1, ioctl(self->pool.fd, FBUF_IOC_RECV, &arg));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TRUE(there(self->sock[1], 100));
	EXPECT_TRUE(none_left(&self->pool));
}

/* What there is, is there also when the socket is not. */
TEST_F(conn, outlives_the_socket)
{
	struct parcel p;

	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 60000));
	ASSERT_EQ(60000, parcel_recv(self->pool.fd, self->sock[1], 60000, ALL,
				     &p));
	close(self->sock[0]);
	close(self->sock[1]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, p.name, SEED, 0, 60000));
}

/* Sockets from which there is nothing to be had. */
FIXTURE(global)
{
	struct pool pool;
	struct parcel p;
};

FIXTURE_SETUP(global)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, 1));
}

FIXTURE_TEARDOWN(global)
{
	EXPECT_EQ(0ULL, self->p.name);
	EXPECT_TRUE(none_left(&self->pool));
	pool_unmake(&self->pool);
}

/* What recv() says about it, and RECV. */
static void refused(struct __test_metadata *_metadata,
		    struct _test_data_global *self, int sock)
{
	char c;

	ASSERT_EQ(-1, recv(sock, &c, 1, MSG_DONTWAIT));
	EXPECT_EQ(-errno, parcel_recv(self->pool.fd, sock, 1, 0, &self->p));
	close(sock);
}

TEST_F(global, not_connected)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int sock = socket(AF_INET, SOCK_STREAM, 0);

	EXPECT_EQ(-ENOTCONN, parcel_recv(self->pool.fd, sock, 1, 0, &self->p));
	refused(_metadata, self, sock);
	refused(_metadata, self, socket(AF_INET6, SOCK_STREAM, 0));
	refused(_metadata, self, socket(AF_UNIX, SOCK_STREAM, 0));
	/* Nor to be. */
	sock = socket(AF_INET, SOCK_STREAM, 0);
	ASSERT_EQ(0, bind(sock, (void *)&in, sizeof(in)));
	ASSERT_EQ(0, listen(sock, 1));
	EXPECT_EQ(-ENOTCONN, parcel_recv(self->pool.fd, sock, 1, 0, &self->p));
	refused(_metadata, self, sock);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	ASSERT_EQ(0, bind(sock, (void *)&un, sizeof(un.sun_family)));
	ASSERT_EQ(0, listen(sock, 1));
	refused(_metadata, self, sock);
}

/* A datagram is whole, or is not; a parcel has no ends in it. */
TEST_F(global, no_streams)
{
	static const struct {
		int family, type;
	} kinds[] = {
		{ AF_INET, SOCK_DGRAM }, { AF_INET6, SOCK_DGRAM },
		{ AF_UNIX, SOCK_DGRAM }, { AF_UNIX, SOCK_SEQPACKET },
	};
	unsigned int i;
	int sock[2];

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		ASSERT_EQ(0, sock_pair(kinds[i].family, kinds[i].type, sock));
		ASSERT_EQ(8, send(sock[0], "datagram", 8, 0));
		EXPECT_EQ(-EOPNOTSUPP, parcel_recv(self->pool.fd, sock[1], 8,
						   0, &self->p));
		/* It is still there. */
		EXPECT_FALSE(sock_empty(sock[1]));
		close(sock[0]);
		close(sock[1]);
	}
}

TEST_F(global, no_sockets)
{
	int end[2];

	ASSERT_EQ(0, pipe(end));
	EXPECT_EQ(-ENOTSOCK, parcel_recv(self->pool.fd, end[0], 1, 0, &self->p));
	EXPECT_EQ(-ENOTSOCK, parcel_recv(self->pool.fd, self->pool.fd, 1, 0,
					 &self->p));
	EXPECT_EQ(-EBADF, parcel_recv(self->pool.fd, -1, 1, 0, &self->p));
	close(end[0]);
	close(end[1]);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
