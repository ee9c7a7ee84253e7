// SPDX-License-Identifier: GPL-2.0
/*
 * FANOUT: one gather to many sockets, each with its own result, none waited for.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		32U
#define MANY		256U
#define NO_FD		4095	/* one that is not open */

/* What no call writes: a word with it was left alone. */
#define UNSET		0x5a5a5a5aU

static const char header[] = "to many\n";
#define HEADER_LEN	(sizeof(header) - 1)

FIXTURE(fanout)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	struct fbuf_seg segs[NR_BUFS + 1];
	unsigned int nr_segs;
	__u8 *want;		/* the message */
	size_t len;
	__u8 *got;
	struct fbuf_target *targets;
	int (*pairs)[2];	/* those of the first targets */
	unsigned int nr;
};

static int make(struct _test_data_fanout *self, __u32 flags)
{
	unsigned int i;
	int err;

	pool_unmake(&self->pool);
	err = pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS, flags);
	if (err)
		return err;
	if (pool_alloc(self->pool.fd, self->names, NR_BUFS) != (int)NR_BUFS)
		return -EIO;
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(buf_addr(&self->pool, self->names[i]), i, 0,
			     BUF_SIZE);
	return 0;
}

/* Makes the message: a header, and some of the buffers. */
static void message(struct _test_data_fanout *self, unsigned int nr_bufs,
		    size_t offset, size_t len)
{
	unsigned int i;

	self->segs[0] = inline_seg(header, HEADER_LEN);
	memcpy(self->want, header, HEADER_LEN);
	self->len = HEADER_LEN;
	for (i = 0; i < nr_bufs; i++) {
		self->segs[1 + i] = buf_seg(&self->pool, self->names[i], offset,
					    len);
		pattern_fill(self->want + self->len, i, offset, len);
		self->len += len;
	}
	self->nr_segs = 1 + nr_bufs;
}

FIXTURE_SETUP(fanout)
{
	struct rlimit limit = { 4096, 4096 };

	setrlimit(RLIMIT_NOFILE, &limit);
	self->targets = malloc((FBUF_TARGETS_MAX + 1) * sizeof(*self->targets));
	self->pairs = calloc(MANY, sizeof(*self->pairs));
	self->want = malloc(HEADER_LEN + NR_BUFS * BUF_SIZE);
	self->got = malloc(HEADER_LEN + NR_BUFS * BUF_SIZE);
	ASSERT_TRUE(self->targets && self->pairs && self->want && self->got);
	memset(self->targets, UNSET & 0xff,
	       (FBUF_TARGETS_MAX + 1) * sizeof(*self->targets));
	ASSERT_EQ(0, make(self, 0));
	message(self, 1, 0, BUF_SIZE);
}

FIXTURE_TEARDOWN(fanout)
{
	unsigned int i;

	for (i = 0; i < self->nr; i++) {
		close(self->pairs[i][0]);
		close(self->pairs[i][1]);
	}
	pool_unmake(&self->pool);
	free(self->targets);
	free(self->pairs);
	free(self->want);
	free(self->got);
}

/* One more target with a receiver. */
static int add(struct _test_data_fanout *self, int family, int type)
{
	int err = sock_pair(family, type, self->pairs[self->nr]);

	if (!err) {
		self->targets[self->nr].fd = self->pairs[self->nr][0];
		self->nr++;
	}
	return err;
}

static int add_tcp(struct _test_data_fanout *self, unsigned int nr)
{
	int err = 0;

	while (nr-- && !err)
		err = add(self, AF_INET, SOCK_STREAM);
	return err;
}

/* Has room for all that a test sends. */
static void sock_large(const int fd[2])
{
	int size = 8 << 20;

	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(fd[1], SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
}

static int fanout(struct _test_data_fanout *self, unsigned int nr, __u32 flags)
{
	return pool_fanout(self->pool.fd, self->segs, self->nr_segs,
			   self->targets, nr, flags);
}

/* For calls with a word that pool_fanout() does not set. */
static struct fbuf_fanout fanout_arg(struct _test_data_fanout *self,
				     unsigned int nr)
{
	return (struct fbuf_fanout) {
		.size = sizeof(struct fbuf_fanout),
		.segs = (uintptr_t)self->segs,
		.targets = (uintptr_t)self->targets,
		.nr_segs = self->nr_segs,
		.nr_targets = nr,
	};
}

static int call(struct _test_data_fanout *self, struct fbuf_fanout *arg)
{
	int ret = ioctl(self->pool.fd, FBUF_IOC_FANOUT, arg);

	return ret < 0 ? -errno : ret;
}

/* Whether @len bytes of the message come there, in time. */
static bool comes(struct _test_data_fanout *self, int sock, size_t len)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	size_t done = 0;
	ssize_t ret;

	/* A datagram comes in one piece, a stream in any. */
	while (done < len) {
		if (poll(&p, 1, DEADLINE_MS) != 1)
			return false;
		ret = recv(sock, self->got + done, len - done, 0);
		if (ret <= 0)
			return false;
		done += ret;
	}
	return !memcmp(self->got, self->want, len);
}

/* Whether the message comes to a target's receiver, and nothing else. */
static bool arrived(struct _test_data_fanout *self, unsigned int i)
{
	return comes(self, self->pairs[i][1], self->len) &&
	       sock_empty(self->pairs[i][1]);
}

static bool nothing_arrived(struct _test_data_fanout *self)
{
	unsigned int i;

	for (i = 0; i < self->nr; i++) {
		if (!sock_empty(self->pairs[i][1]))
			return false;
	}
	return true;
}

/* Whether the kernel wrote nothing to a target. */
static bool left_alone(const struct fbuf_target *target)
{
	return (__u32)target->result == UNSET && target->engine == UNSET &&
	       target->copied == UNSET;
}

static void to_many(struct __test_metadata *const _metadata,
		    struct _test_data_fanout *self, unsigned int nr)
{
	struct fbuf_info info;
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, nr));
	ASSERT_EQ((int)nr, fanout(self, nr, 0));
	for (i = 0; i < nr; i++) {
		EXPECT_EQ((int)self->len, self->targets[i].result);
		EXPECT_EQ(FBUF_ENGINE_PAGEREF, self->targets[i].engine);
		EXPECT_EQ(0U, self->targets[i].copied);
		EXPECT_EQ(self->pairs[i][0], self->targets[i].fd);
		EXPECT_TRUE(arrived(self, i));
	}
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(nr, info.sends);
	EXPECT_EQ((__u64)nr * self->len, info.bytes);
	EXPECT_EQ(0ULL, info.copied);
	/* What is behind the last target is none. */
	EXPECT_TRUE(left_alone(&self->targets[nr]));
}

TEST_F(fanout, to_one)
{
	to_many(_metadata, self, 1);
}

TEST_F(fanout, to_16)
{
	to_many(_metadata, self, 16);
}

TEST_F(fanout, to_256)
{
	to_many(_metadata, self, MANY);
}

static const struct kind {
	int family, type;
	__u32 engine;
} kinds[] = {
	{ AF_INET, SOCK_STREAM, FBUF_ENGINE_PAGEREF },
	{ AF_INET, SOCK_DGRAM, FBUF_ENGINE_PAGEREF },
	{ AF_UNIX, SOCK_STREAM, FBUF_ENGINE_SPLICE },
	{ AF_UNIX, SOCK_SEQPACKET, FBUF_ENGINE_COPY },
	{ AF_INET6, SOCK_STREAM, FBUF_ENGINE_PAGEREF },
	{ AF_UNIX, SOCK_DGRAM, FBUF_ENGINE_COPY },
	{ AF_INET6, SOCK_DGRAM, FBUF_ENGINE_PAGEREF },
};

static int add_kinds(struct _test_data_fanout *self)
{
	unsigned int i;
	int err = 0;

	for (i = 0; i < ARRAY_SIZE(kinds) && !err; i++)
		err = add(self, kinds[i].family, kinds[i].type);
	return err;
}

/* For a message of several runs. */
static __u32 kind_engine(unsigned int i)
{
	if (kinds[i].engine == FBUF_ENGINE_SPLICE && unix_copies())
		return FBUF_ENGINE_COPY;
	return kinds[i].engine;
}

/* Each by its own engine, and each gets all of it. */
TEST_F(fanout, sockets_of_all_kinds)
{
	struct fbuf_info info;
	unsigned int i;
	__u64 copied = 0;

	ASSERT_EQ(0, add_kinds(self));
	message(self, 2, 4001, 8193);
	ASSERT_EQ((int)self->nr, fanout(self, self->nr, 0));
	for (i = 0; i < self->nr; i++) {
		bool copy = kind_engine(i) == FBUF_ENGINE_COPY;

		EXPECT_EQ((int)self->len, self->targets[i].result);
		EXPECT_EQ(kind_engine(i), self->targets[i].engine);
		EXPECT_EQ(copy ? self->len : 0, self->targets[i].copied);
		EXPECT_TRUE(arrived(self, i));
		copied += self->targets[i].copied;
	}
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(self->nr, info.sends);
	EXPECT_EQ(self->nr * self->len, info.bytes);
	EXPECT_EQ(copied, info.copied);
}

/* Who takes none of the engines that may run is no obstacle to the others. */
TEST_F(fanout, engines_that_may_run)
{
	struct fbuf_fanout arg;
	unsigned int i;

	ASSERT_EQ(0, add_kinds(self));
	arg = fanout_arg(self, self->nr);
	arg.engines = FBUF_ENGINE_PAGEREF;
	EXPECT_EQ(4, call(self, &arg));
	for (i = 0; i < self->nr; i++) {
		if (kinds[i].engine == FBUF_ENGINE_PAGEREF) {
			EXPECT_EQ((int)self->len, self->targets[i].result);
			EXPECT_TRUE(arrived(self, i));
		} else {
			EXPECT_EQ(-EOPNOTSUPP, self->targets[i].result);
			EXPECT_EQ(UNSET, self->targets[i].engine);
			EXPECT_TRUE(sock_empty(self->pairs[i][1]));
		}
	}
	arg.engines = FBUF_ENGINE_COPY;
	EXPECT_EQ((int)self->nr, call(self, &arg));
	for (i = 0; i < self->nr; i++) {
		EXPECT_EQ(FBUF_ENGINE_COPY, self->targets[i].engine);
		EXPECT_EQ(self->len, self->targets[i].copied);
		EXPECT_TRUE(arrived(self, i));
	}
}

TEST_F(fanout, same_socket_twice)
{
	ASSERT_EQ(0, add_tcp(self, 2));
	self->targets[2] = self->targets[0];
	self->targets[3] = self->targets[0];
	EXPECT_EQ(4, fanout(self, 4, 0));
	EXPECT_TRUE(arrived(self, 1));
	EXPECT_TRUE(comes(self, self->pairs[0][1], self->len));
	EXPECT_TRUE(comes(self, self->pairs[0][1], self->len));
	EXPECT_TRUE(arrived(self, 0));
}

TEST_F(fanout, most_targets)
{
	unsigned int i, j;

	ASSERT_EQ(0, add_tcp(self, 8));
	message(self, 1, 100, 64);
	for (i = 0; i < self->nr; i++)
		sock_large(self->pairs[i]);
	for (i = 0; i < FBUF_TARGETS_MAX; i++)
		self->targets[i].fd = self->pairs[i % self->nr][0];
	EXPECT_EQ((int)FBUF_TARGETS_MAX, fanout(self, FBUF_TARGETS_MAX, 0));
	for (i = 0; i < FBUF_TARGETS_MAX; i++)
		ASSERT_EQ((int)self->len, self->targets[i].result);
	for (i = 0; i < self->nr; i++) {
		for (j = 1; j < FBUF_TARGETS_MAX / self->nr; j++)
			ASSERT_TRUE(comes(self, self->pairs[i][1], self->len));
		EXPECT_TRUE(arrived(self, i));
	}
	EXPECT_TRUE(left_alone(&self->targets[FBUF_TARGETS_MAX]));
}

/* The inline header is the caller's again, and the buffer may be freed. */
TEST_F(fanout, caller_goes_on)
{
	char head[HEADER_LEN];
	unsigned int i;
	__u64 name;

	ASSERT_EQ(0, add_tcp(self, 3));
	memcpy(head, header, HEADER_LEN);
	self->segs[0] = inline_seg(head, HEADER_LEN);
	ASSERT_EQ(3, fanout(self, 3, 0));
	memset(head, 'x', HEADER_LEN);
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &name, 1));
		EXPECT_TRUE(arrived(self, i));
	}
	EXPECT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS));
}

/* One datagram of two calls. */
TEST_F(fanout, flags_go_to_each)
{
	unsigned int i;

	ASSERT_EQ(0, add(self, AF_INET, SOCK_DGRAM));
	ASSERT_EQ(0, add(self, AF_INET6, SOCK_DGRAM));
	message(self, 1, 0, 500);
	ASSERT_EQ(2, fanout(self, 2, FBUF_SEND_MORE));
	EXPECT_TRUE(nothing_arrived(self));
	ASSERT_EQ(2, fanout(self, 2, FBUF_SEND_DONTWAIT));
	memcpy(self->want + self->len, self->want, self->len);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ((ssize_t)(2 * self->len),
			  recv(self->pairs[i][1], self->got, BUF_SIZE, 0));
		EXPECT_EQ(0, memcmp(self->want, self->got, 2 * self->len));
	}
}

/* The call is back at once, though the full one is a blocking socket. */
TEST_F(fanout, full)
{
	static const int families[] = { AF_INET, AF_UNIX };
	ssize_t fill, n;
	unsigned int i;
	long start;

	for (i = 0; i < ARRAY_SIZE(families); i++)
		ASSERT_EQ(0, add(self, families[i], SOCK_STREAM));
	ASSERT_EQ(0, add_tcp(self, 2));
	sock_small(self->pairs[0]);
	ASSERT_LT(0, sock_fill(self->pairs[1][0]));
	fill = sock_fill(self->pairs[0][0]);
	ASSERT_LT(0, fill);
	start = now_ms();
	EXPECT_EQ(2, fanout(self, 4, 0));
	EXPECT_GT(2000 * slower(), now_ms() - start);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EAGAIN, self->targets[i].result);
		EXPECT_EQ(UNSET, self->targets[i].engine);
		EXPECT_EQ(UNSET, self->targets[i].copied);
	}
	EXPECT_TRUE(arrived(self, 2));
	EXPECT_TRUE(arrived(self, 3));
	/* Nothing went there, not later either. */
	while (fill > 0) {
		n = recv(self->pairs[0][1], self->got, BUF_SIZE, 0);
		ASSERT_LT(0, n);
		fill -= n;
	}
	EXPECT_EQ(0, fill);
	EXPECT_TRUE(sock_empty(self->pairs[0][1]));
}

/* One that has room for a part takes a part, the others all. */
TEST_F(fanout, short_counts)
{
	struct fbuf_info info;
	unsigned int i;
	int part;

	ASSERT_EQ(0, add_tcp(self, 3));
	for (i = 0; i < 3; i += 2)
		sock_large(self->pairs[i]);
	sock_small(self->pairs[1]);
	message(self, NR_BUFS, 0, BUF_SIZE);
	EXPECT_EQ(3, fanout(self, 3, 0));
	part = self->targets[1].result;
	EXPECT_LT(0, part);
	EXPECT_GT((int)self->len, part);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(2 * self->len + part, info.bytes);
	for (i = 0; i < 3; i++) {
		if (i != 1)
			EXPECT_EQ((int)self->len, self->targets[i].result);
		EXPECT_TRUE(comes(self, self->pairs[i][1],
				  self->targets[i].result));
		EXPECT_TRUE(sock_empty(self->pairs[i][1]));
	}
}

static int nr_sigpipe;

static void count_sigpipe(int sig)
{
	nr_sigpipe++;
}

static void reset(int sock)
{
	struct linger linger = { .l_onoff = 1 };

	setsockopt(sock, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(sock);
}

/* Two good ones, and between them those whose peers are gone. */
TEST_F(fanout, dead)
{
	char c;

	signal(SIGPIPE, count_sigpipe);
	ASSERT_EQ(0, add_tcp(self, 3));
	ASSERT_EQ(0, add(self, AF_UNIX, SOCK_STREAM));
	ASSERT_EQ(0, add_tcp(self, 1));
	reset(self->pairs[1][1]);
	reset(self->pairs[2][1]);
	close(self->pairs[3][1]);
	/* This one has said so before. */
	EXPECT_EQ(-1, recv(self->pairs[2][0], &c, 1, 0));
	EXPECT_EQ(2, fanout(self, 5, 0));
	EXPECT_EQ(-ECONNRESET, self->targets[1].result);
	EXPECT_EQ(-EPIPE, self->targets[2].result);
	EXPECT_EQ(-EPIPE, self->targets[3].result);
	EXPECT_EQ(UNSET, self->targets[3].engine);
	EXPECT_TRUE(arrived(self, 0));
	EXPECT_TRUE(arrived(self, 4));
	EXPECT_EQ(0, nr_sigpipe);

	EXPECT_EQ(2, fanout(self, 5, FBUF_SEND_SIGPIPE));
	EXPECT_EQ(-EPIPE, self->targets[1].result);
	EXPECT_TRUE(arrived(self, 0));
	EXPECT_TRUE(arrived(self, 4));
	EXPECT_LT(0, nr_sigpipe);
}

/* What is no socket, or no open file. */
TEST_F(fanout, not_a_socket)
{
	static const int results[] = {
		0, -EBADF, -ENOTSOCK, -EBADF, -ENOTSOCK, 0, -EBADF,
	};
	int null = open("/dev/null", O_RDWR);
	unsigned int i;

	ASSERT_LE(0, null);
	ASSERT_EQ(0, add_tcp(self, 1));
	self->targets[1].fd = NO_FD;
	self->targets[2].fd = self->pool.fd;
	self->targets[3].fd = -1;
	self->targets[4].fd = null;
	self->targets[5].fd = self->pairs[0][0];
	self->targets[6].fd = 1 << 30;
	EXPECT_EQ(2, fanout(self, 7, 0));
	for (i = 0; i < ARRAY_SIZE(results); i++) {
		EXPECT_EQ(results[i] ?: (int)self->len,
			  self->targets[i].result);
	}
	EXPECT_TRUE(comes(self, self->pairs[0][1], self->len));
	EXPECT_TRUE(arrived(self, 0));
	/* With nothing else, it is no error of the call either. */
	self->targets[0].fd = NO_FD;
	EXPECT_EQ(0, fanout(self, 1, 0));
	EXPECT_EQ(-EBADF, self->targets[0].result);
	close(null);
}

/* Each socket says what it says to sendmsg(). */
TEST_F(fanout, sockets_own_errors)
{
	static const struct kind loose[] = {
		{ .family = AF_INET, .type = SOCK_STREAM },
		{ .family = AF_INET, .type = SOCK_DGRAM },
		{ .family = AF_UNIX, .type = SOCK_STREAM },
		{ .family = AF_UNIX, .type = SOCK_DGRAM },
	};
	struct fbuf_target *target;
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, 1));
	ASSERT_EQ(0, add(self, AF_INET, SOCK_DGRAM));
	for (i = 0; i < ARRAY_SIZE(loose); i++)
		self->targets[2 + i].fd = socket(loose[i].family,
						 loose[i].type, 0);
	/* More than a datagram holds. */
	message(self, 5, 0, BUF_SIZE);
	sock_large(self->pairs[0]);
	EXPECT_EQ(1, fanout(self, 2 + ARRAY_SIZE(loose), 0));
	EXPECT_TRUE(arrived(self, 0));
	EXPECT_EQ(-EMSGSIZE, self->targets[1].result);
	EXPECT_TRUE(sock_empty(self->pairs[1][1]));
	for (i = 0; i < ARRAY_SIZE(loose); i++) {
		target = &self->targets[2 + i];
		message(self, 1, 0, 100);
		EXPECT_EQ(0, pool_fanout(self->pool.fd, self->segs,
					 self->nr_segs, target, 1, 0));
		EXPECT_EQ(-1, send(target->fd, "x", 1,
				   MSG_DONTWAIT | MSG_NOSIGNAL));
		EXPECT_EQ(-errno, target->result);
		close(target->fd);
	}
}

static int with_arg(struct _test_data_fanout *self, size_t word, __u32 value)
{
	struct fbuf_fanout arg = fanout_arg(self, self->nr);

	memcpy((char *)&arg + word, &value, sizeof(value));
	return call(self, &arg);
}

#define WITH(word, value)						\
	with_arg(self, offsetof(struct fbuf_fanout, word), value)

/* No socket gets anything by a call that fails. */
TEST_F(fanout, bad_arguments)
{
	struct fbuf_info info;

	ASSERT_EQ(0, add_tcp(self, 2));
	EXPECT_EQ(-EINVAL, WITH(nr_targets, 0));
	EXPECT_EQ(-EINVAL, WITH(nr_targets, FBUF_TARGETS_MAX + 1));
	EXPECT_EQ(-EINVAL, WITH(nr_targets, 0xffffffff));
	EXPECT_EQ(-EINVAL, WITH(nr_segs, 0));
	EXPECT_EQ(-EINVAL, WITH(nr_segs, FBUF_SEGS_MAX + 1));
	EXPECT_EQ(-EINVAL, WITH(pad, 1));
	EXPECT_EQ(-EINVAL, WITH(size, sizeof(struct fbuf_fanout) - 8));
	EXPECT_EQ(-EINVAL, WITH(engines, 1U << 30));
	EXPECT_EQ(-EINVAL, WITH(flags, 1U << 31));
	EXPECT_EQ(-EINVAL, WITH(flags, FBUF_SEND_SNAPSHOT << 1));
	EXPECT_EQ(-EINVAL, WITH(flags, FBUF_SEND_SECURED |
				FBUF_SEND_VOLATILE));
	/* Without a ring, and in a volatile pool. */
	EXPECT_EQ(-EINVAL, WITH(flags, FBUF_SEND_NOTIFY));
	EXPECT_EQ(-EOPNOTSUPP, WITH(flags, FBUF_SEND_SECURED));
	EXPECT_EQ(-EOPNOTSUPP, WITH(flags, FBUF_SEND_SNAPSHOT));
	EXPECT_TRUE(nothing_arrived(self));
	EXPECT_TRUE(left_alone(&self->targets[0]));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0ULL, info.sends);
	/* It was not for anything else. */
	EXPECT_EQ(2, WITH(pad, 0));
}

/* The last of many segments is wrong in turn in all ways. */
TEST_F(fanout, bad_segment)
{
	struct fbuf_seg *last = &self->segs[NR_BUFS];
	struct fbuf_seg good;

	ASSERT_EQ(0, add_tcp(self, 2));
	message(self, NR_BUFS, 0, 10);
	good = *last;
	last->len = 0;
	EXPECT_EQ(-EINVAL, fanout(self, 2, 0));
	last->len = BUF_SIZE + 1;
	EXPECT_EQ(-EINVAL, fanout(self, 2, 0));
	*last = good;
	last->flags = 1U << 31;
	EXPECT_EQ(-EINVAL, fanout(self, 2, 0));
	*last = good;
	last->addr = self->pool.size;
	EXPECT_EQ(-EINVAL, fanout(self, 2, 0));
	*last = inline_seg((void *)8, 10);
	EXPECT_EQ(-EFAULT, fanout(self, 2, 0));
	*last = good;
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[NR_BUFS - 1], 1));
	EXPECT_EQ(-ESTALE, fanout(self, 2, 0));
	EXPECT_TRUE(nothing_arrived(self));
	EXPECT_TRUE(left_alone(&self->targets[0]));
	/* Nor is a buffer left in flight. */
	ASSERT_EQ((int)NR_BUFS - 1, pool_free(self->pool.fd, self->names,
					      NR_BUFS - 1));
	EXPECT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
}

TEST_F(fanout, no_right_to_send)
{
	int fd = pool_share(self->pool.fd, ALL_RIGHTS & ~FBUF_RIGHT_SEND, 0,
			    NULL);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, add_tcp(self, 1));
	ASSERT_EQ((int)NR_BUFS, pool_hold(fd, self->names, NR_BUFS));
	EXPECT_EQ(-EACCES, pool_fanout(fd, self->segs, self->nr_segs,
				       self->targets, 1, 0));
	EXPECT_TRUE(nothing_arrived(self));
	close(fd);
}

/* That right is enough, but the holds must be its own. */
TEST_F(fanout, another_handle)
{
	int fd = pool_share(self->pool.fd, FBUF_RIGHT_SEND, 0, NULL);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, add_tcp(self, 1));
	EXPECT_EQ(-ESTALE, pool_fanout(fd, self->segs, self->nr_segs,
				       self->targets, 1, 0));
	EXPECT_TRUE(nothing_arrived(self));
	ASSERT_EQ(1, pool_hold(fd, self->names, 1));
	EXPECT_EQ(1, pool_fanout(fd, self->segs, self->nr_segs, self->targets,
				 1, 0));
	EXPECT_TRUE(arrived(self, 0));
	close(fd);
}

/* Room for this many, and behind it no memory. */
static struct fbuf_target *targets_at_the_end(unsigned int nr)
{
	char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || munmap(map + PAGE, PAGE))
		return NULL;
	return (struct fbuf_target *)(map + PAGE) - nr;
}

/* Also if it is only the last one. */
TEST_F(fanout, targets_that_cannot_be_read)
{
	struct fbuf_target *targets = targets_at_the_end(100);
	struct fbuf_fanout arg;
	unsigned int i;

	ASSERT_NE(NULL, targets);
	ASSERT_EQ(0, add_tcp(self, 1));
	for (i = 0; i < 100; i++)
		targets[i] = self->targets[0];
	arg = fanout_arg(self, 1);
	arg.targets = 8;
	EXPECT_EQ(-EFAULT, call(self, &arg));
	arg.targets = -8ULL;
	EXPECT_EQ(-EFAULT, call(self, &arg));
	arg.targets = (uintptr_t)targets;
	arg.nr_targets = 101;
	EXPECT_EQ(-EFAULT, call(self, &arg));
	arg.targets = (uintptr_t)&targets[98];
	arg.nr_targets = 3;
	EXPECT_EQ(-EFAULT, call(self, &arg));
	arg.nr_targets = 1;
	arg.segs = 8;
	EXPECT_EQ(-EFAULT, call(self, &arg));
	EXPECT_TRUE(nothing_arrived(self));
	EXPECT_TRUE(left_alone(&targets[98]));
}

/* What is gone is gone: the call says how many, if not which. */
TEST_F(fanout, results_that_cannot_be_written)
{
	struct fbuf_target *targets = targets_at_the_end(64);
	struct fbuf_fanout arg;
	unsigned int i;

	ASSERT_NE(NULL, targets);
	ASSERT_EQ(0, add_tcp(self, 64));
	memcpy(targets, self->targets, 64 * sizeof(*targets));
	targets[63].fd = NO_FD;
	arg = fanout_arg(self, 64);
	arg.targets = (uintptr_t)targets;
	ASSERT_EQ(0, mprotect((char *)&targets[64] - PAGE, PAGE, PROT_READ));
	EXPECT_EQ(63, call(self, &arg));
	for (i = 0; i < 63; i++)
		EXPECT_TRUE(arrived(self, i));
	EXPECT_TRUE(left_alone(&targets[0]));
}

/* One entry a buffer, when the last of the receivers has read. */
TEST_F(fanout, notices)
{
	struct fbuf_ring_entry first, second;
	struct ring ring;
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, 3));
	ASSERT_EQ(0, ring_make(&ring, self->pool.fd, 0, 8, 0));
	message(self, 2, 0, 5000);
	ASSERT_EQ(3, fanout(self, 3, FBUF_SEND_NOTIFY));
	/* In another order than they were sent in. */
	for (i = 2; i < 3; i--) {
		EXPECT_FALSE(ring_wait(&ring, &first, 50));
		EXPECT_TRUE(arrived(self, i));
	}
	ASSERT_TRUE(ring_wait(&ring, &first, DEADLINE_MS));
	ASSERT_TRUE(ring_wait(&ring, &second, DEADLINE_MS));
	EXPECT_EQ(FBUF_RING_IDLE, first.type);
	EXPECT_EQ(FBUF_RING_IDLE, second.type);
	EXPECT_EQ(self->names[0] + self->names[1], first.name + second.name);
	EXPECT_NE(first.name, second.name);
	EXPECT_FALSE(ring_wait(&ring, &first, 50));
	ring_unmake(&ring);
}

TEST_F(fanout, no_notice_if_nobody_took_it)
{
	struct fbuf_ring_entry e;
	struct ring ring;

	ASSERT_EQ(0, add_tcp(self, 1));
	ASSERT_EQ(0, ring_make(&ring, self->pool.fd, 0, 8, 0));
	self->targets[1].fd = self->targets[0].fd;
	self->targets[0].fd = NO_FD;
	EXPECT_EQ(0, fanout(self, 1, FBUF_SEND_NOTIFY));
	EXPECT_FALSE(ring_wait(&ring, &e, 50));
	/* One is enough. */
	EXPECT_EQ(1, fanout(self, 2, FBUF_SEND_NOTIFY));
	EXPECT_TRUE(arrived(self, 0));
	EXPECT_TRUE(ring_wait(&ring, &e, DEADLINE_MS));
	EXPECT_EQ(self->names[0], e.name);
	ring_unmake(&ring);
}

/* A thread that writes over the first buffer. */
struct writer {
	pthread_t thread;
	__u8 *to;
	pid_t tid;
	bool done;
};

static void *writer_run(void *arg)
{
	struct writer *w = arg;

	__atomic_store_n(&w->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	memset(w->to, 0, BUF_SIZE);
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool writer_done(struct writer *w)
{
	return __atomic_load_n(&w->done, __ATOMIC_ACQUIRE);
}

/* Whether it sleeps, and goes on doing so for a while. */
static bool writer_waits(struct writer *w)
{
	long end;

	if (!wait_for(__atomic_load_n(&w->tid, __ATOMIC_ACQUIRE), DEADLINE_MS))
		return false;
	if (wait_state(getpid(), w->tid, "SD", DEADLINE_MS))
		return false;
	end = now_ms() + 50;
	while (time_left(end) && !writer_done(w))
		;
	return !writer_done(w);
}

/* The write waits for the last receiver, whichever that is. */
static void secured(struct __test_metadata *const _metadata,
		    struct _test_data_fanout *self, __u32 flags)
{
	struct writer w = { .to = buf_addr(&self->pool, self->names[0]) };
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, 3));
	message(self, 1, 100, BUF_SIZE - 200);
	ASSERT_EQ(3, fanout(self, 3, flags));
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, writer_run, &w));
	for (i = 2; i < 3; i--) {
		EXPECT_TRUE(writer_waits(&w));
		EXPECT_TRUE(arrived(self, i));
	}
	ASSERT_TRUE(wait_for(writer_done(&w), DEADLINE_MS));
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.to[0]);
	EXPECT_EQ(0, w.to[BUF_SIZE - 1]);
}

/* All see what was sent, and the writer what it writes, at once. */
static void snapshot(struct __test_metadata *const _metadata,
		     struct _test_data_fanout *self, __u32 flags)
{
	__u8 *at = buf_addr(&self->pool, self->names[0]);
	struct fbuf_info info;
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, 3));
	message(self, 1, 100, BUF_SIZE - 200);
	ASSERT_EQ(3, fanout(self, 3, flags));
	memset(at, 0, BUF_SIZE);
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(arrived(self, i));
	EXPECT_EQ(0, at[100]);
	/* One copy is enough for all. */
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(1ULL, info.snapshots);
	EXPECT_EQ(1ULL, info.protects);
}

TEST_F(fanout, secured_pool)
{
	ASSERT_EQ(0, make(self, FBUF_POOL_SECURED));
	secured(_metadata, self, 0);
}

TEST_F(fanout, secured_send)
{
	ASSERT_EQ(0, make(self, FBUF_POOL_SNAPSHOT));
	secured(_metadata, self, FBUF_SEND_SECURED);
}

TEST_F(fanout, snapshot_pool)
{
	ASSERT_EQ(0, make(self, FBUF_POOL_SNAPSHOT));
	snapshot(_metadata, self, 0);
}

TEST_F(fanout, snapshot_send)
{
	ASSERT_EQ(0, make(self, FBUF_POOL_SECURED));
	snapshot(_metadata, self, FBUF_SEND_SNAPSHOT);
}

/* And without: the memory is not copied, every receiver sees the write. */
TEST_F(fanout, volatile_send)
{
	unsigned int i;

	ASSERT_EQ(0, make(self, FBUF_POOL_SECURED));
	ASSERT_EQ(0, add_tcp(self, 3));
	ASSERT_EQ(3, fanout(self, 3, FBUF_SEND_VOLATILE));
	pattern_fill(buf_addr(&self->pool, self->names[0]), 77, 0, BUF_SIZE);
	pattern_fill(self->want + HEADER_LEN, 77, 0, BUF_SIZE);
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(arrived(self, i));
}

/* The pool is gone before anybody reads. */
TEST_F(fanout, pool_closed)
{
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, 3));
	ASSERT_EQ(3, fanout(self, 3, 0));
	pool_unmake(&self->pool);
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(arrived(self, i));
}

static void *fanout_often(void *arg)
{
	struct _test_data_fanout *self = arg;
	struct fbuf_target targets[2];
	long failed = 0;
	int i;

	memcpy(targets, self->targets, sizeof(targets));
	for (i = 0; i < 50; i++) {
		failed += pool_fanout(self->pool.fd, self->segs, self->nr_segs,
				      targets, 2, 0) != 2;
		failed += targets[0].result != (int)self->len ||
			  targets[1].result != (int)self->len;
	}
	return (void *)failed;
}

/* What another thread sends does not get in between. */
TEST_F(fanout, threads)
{
	pthread_t threads[2];
	void *failed;
	int i, j;

	ASSERT_EQ(0, add_tcp(self, 2));
	message(self, 4, 1, 1000);
	for (i = 0; i < 2; i++)
		sock_large(self->pairs[i]);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, fanout_often,
					    self));
	for (i = 0; i < 2; i++) {
		pthread_join(threads[i], &failed);
		EXPECT_EQ(NULL, failed);
	}
	for (i = 0; i < 2; i++) {
		for (j = 1; j < 100; j++)
			ASSERT_TRUE(comes(self, self->pairs[i][1], self->len));
		EXPECT_TRUE(arrived(self, i));
	}
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
