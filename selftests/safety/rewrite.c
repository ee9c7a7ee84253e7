// SPDX-License-Identifier: GPL-2.0
/*
 * Messages of many buffers that are written anew each time: they are protected together,
 * and made writable together, and the peer gets what was there when they were sent.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	(4 * PAGE)
#define NR_BUFS		24U
#define NR_SENT		16U	/* a message */
#define AHEAD		8U	/* buffers that a fault makes writable at most */
#define TIMES		32U	/* how often without a fault of their own */
#define MESSAGE		(NR_SENT * BUF_SIZE)

FIXTURE(rewrite)
{
	struct pool pool;
	__u64 names[NR_BUFS];	/* in their order */
	struct fbuf_seg segs[NR_BUFS];
	int sock[2];
	__u8 *got;
};

FIXTURE_VARIANT(rewrite)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(rewrite, snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT,
};

FIXTURE_VARIANT_ADD(rewrite, secured)
{
	.flags = FBUF_POOL_SECURED,
};

FIXTURE_VARIANT_ADD(rewrite, lazy)
{
	.flags = FBUF_POOL_SNAPSHOT | FBUF_POOL_LAZY,
};

FIXTURE_SETUP(rewrite)
{
	int size = 4 * MESSAGE;
	__u64 got[NR_BUFS];
	unsigned int i;

	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, got, NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		self->names[FBUF_NAME_INDEX(got[i])] = got[i];
	for (i = 0; i < NR_BUFS; i++)
		self->segs[i] = named_seg(self->names[i], 0, BUF_SIZE);
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	/* A message is taken whole, and need not be read for that. */
	setsockopt(self->sock[0], SOL_SOCKET, SO_SNDBUFFORCE, &size,
		   sizeof(size));
	setsockopt(self->sock[1], SOL_SOCKET, SO_RCVBUFFORCE, &size,
		   sizeof(size));
	self->got = malloc(NR_BUFS * BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(rewrite)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

static void write_all(struct _test_data_rewrite *self, __u8 seed,
		      unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		memset(self->pool.map + i * BUF_SIZE, seed + i, BUF_SIZE);
}

/* Buffer @i, as it comes from the peer next, is that of write_all(). */
static bool got_buf(struct _test_data_rewrite *self, __u8 seed, unsigned int i,
		    size_t len)
{
	if (read_full(self->sock[1], self->got, len) != (ssize_t)len)
		return false;
	return self->got[0] == (__u8)(seed + i) &&
	       !memcmp(self->got, self->got + 1, len - 1);
}

/* What was read is acknowledged, so that the sender lets go of it. */
static void sock_settle(struct _test_data_rewrite *self)
{
	int one = 1;

	setsockopt(self->sock[1], IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
}

static bool got_all(struct _test_data_rewrite *self, __u8 seed, unsigned int nr)
{
	unsigned int i;
	bool right = true;

	for (i = 0; i < nr; i++)
		right &= got_buf(self, seed, i, BUF_SIZE);
	sock_settle(self);
	return right;
}

/* Sends segments, all of them: how many buffers that protected, or an error. */
static int send_segs(struct _test_data_rewrite *self,
		     const struct fbuf_seg *segs, unsigned int nr)
{
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.segs = (uintptr_t)segs,
		.nr_segs = nr,
		.fd = self->sock[0],
	};
	unsigned int i;
	int ret, want = 0;

	for (i = 0; i < nr; i++)
		want += segs[i].len;
	ret = ioctl(self->pool.fd, FBUF_IOC_SEND, &arg);
	if (ret < 0)
		return -errno;
	return ret == want ? (int)arg.protects : -EIO;
}

static bool waits(struct _test_data_rewrite *self)
{
	struct fbuf_info info;

	return pool_info(self->pool.fd, &info) ||
	       info.pool_flags & FBUF_POOL_SECURED;
}

static long faults(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? -1 : usage.ru_minflt;
}

/* A system call stores there, which does not wait for long. */
static int zero_by_call(__u8 *at)
{
	int fd = open("/dev/zero", O_RDONLY), ret;

	ret = read(fd, at, 1) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

TEST_F(rewrite, all_at_once)
{
	write_all(self, 1, NR_SENT);
	EXPECT_EQ((int)NR_SENT, send_segs(self, self->segs, NR_SENT));
	EXPECT_EQ(0, send_segs(self, self->segs, NR_SENT));
	if (!waits(self))
		write_all(self, 100, NR_SENT);
	EXPECT_TRUE(got_all(self, 1, NR_SENT));
	EXPECT_TRUE(got_all(self, 1, NR_SENT));
}

/* Whatever their order, and whatever is between them. */
TEST_F(rewrite, in_any_order)
{
	static const unsigned char orders[][8] = {
		{ 0, 1, 2, 3, 4, 5, 6, 7 },
		{ 7, 6, 5, 4, 3, 2, 1, 0 },
		{ 0, 2, 4, 6, 1, 3, 5, 7 },
		{ 0, 0, 1, 0, 2, 1, 3, 3 },
		{ 5, 6, 7, 0, 1, 2, 23, 22 },
	};
	static const int protects[] = { 8, 8, 8, 4, 8 };
	struct fbuf_seg segs[9];
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(orders); i++) {
		write_all(self, i, NR_BUFS);
		for (j = 0; j < 8; j++)
			segs[j] = named_seg(self->names[orders[i][j]],
					    j * 10, 1000);
		/* By where it is, and not by name. */
		segs[3] = buf_seg(&self->pool, self->names[orders[i][3]], 30,
				  1000);
		segs[8] = segs[4];
		segs[4] = inline_seg("inline", 6);
		EXPECT_EQ(protects[i], send_segs(self, segs, 9));
		if (!waits(self))
			write_all(self, 77, NR_BUFS);
		for (j = 0; j < 9; j++) {
			if (j == 4) {
				ASSERT_EQ(6, read_full(self->sock[1],
						       self->got, 6));
				EXPECT_EQ(0, memcmp(self->got, "inline", 6));
			} else {
				EXPECT_TRUE(got_buf(self, i,
						    orders[i][j == 8 ? 4 : j],
						    1000));
			}
		}
	}
}

/* What others refer to is not protected, and the rest is not sent. */
TEST_F(rewrite, not_what_others_refer_to)
{
	struct iovec iov = { .iov_len = 1 };
	struct fbuf_info info;
	int fd[2];
	char c;

	write_all(self, 1, NR_SENT);
	ASSERT_EQ(0, pipe(fd));
	iov.iov_base = self->pool.map + 5 * BUF_SIZE + PAGE;
	ASSERT_EQ(1, vmsplice(fd[1], &iov, 1, 0));
	EXPECT_EQ(-EBUSY, send_segs(self, self->segs, NR_SENT));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	ASSERT_EQ(1, read(fd[0], &c, 1));
	/* INFO would find the others idle. */
	EXPECT_EQ(1, send_segs(self, self->segs, NR_SENT));
	EXPECT_TRUE(got_all(self, 1, NR_SENT));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ((__u64)NR_SENT, info.protects);
	close(fd[0]);
	close(fd[1]);
}

/* Nothing of a gather with a bad name goes out, whatever was protected for it. */
TEST_F(rewrite, not_what_is_not_held)
{
	write_all(self, 1, NR_SENT);
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[7], 1));
	EXPECT_EQ(-ESTALE, send_segs(self, self->segs, NR_SENT));
	self->segs[7].addr = ~0ULL;
	EXPECT_EQ(-EINVAL, send_segs(self, self->segs, NR_SENT));
	self->segs[7].flags = 0;
	EXPECT_EQ(-EINVAL, send_segs(self, self->segs, NR_SENT));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ(0, send_segs(self, self->segs, 7));
	EXPECT_TRUE(got_all(self, 1, 7));
}

/*
 * Writes all in order, sends and reads it, some times: what the last one's faults were.
 * Then it is idle, but nobody has looked, so that it is still protected.
 */
static long train(struct _test_data_rewrite *self, unsigned int rounds)
{
	unsigned int i;
	long before, last = 0;

	for (i = 0; i < rounds; i++) {
		before = faults();
		write_all(self, i, NR_SENT);
		last = faults() - before;
		if (send_segs(self, self->segs, NR_SENT) < 0 ||
		    !got_all(self, i, NR_SENT))
			return -1;
	}
	return last;
}

TEST_F(rewrite, one_fault_for_many)
{
	EXPECT_EQ((long)NR_SENT, train(self, 1));
	EXPECT_GE((long)(NR_SENT / AHEAD) + 1, train(self, 3));
}

/* As memcpy() writes, when it likes. */
TEST_F(rewrite, one_fault_for_many_backwards)
{
	long before, last = 0;
	unsigned int i, n;

	for (n = 0; n < 3; n++) {
		before = faults();
		for (i = NR_SENT; i-- > 0; )
			memset(self->pool.map + i * BUF_SIZE, n + i, BUF_SIZE);
		last = faults() - before;
		ASSERT_LE(0, send_segs(self, self->segs, NR_SENT));
		ASSERT_TRUE(got_all(self, n, NR_SENT));
	}
	EXPECT_GE((long)(NR_SENT / AHEAD) + 1, last);
	/* One of them in flight, and another secured: neither is made writable. */
	ASSERT_EQ(0, send_segs(self, &self->segs[5], 1));
	ASSERT_EQ(1, pool_secure(self->pool.fd, &self->names[3], 1));
	self->pool.map[7 * BUF_SIZE] = 77;
	if (waits(self))
		EXPECT_EQ(-EFAULT, zero_by_call(self->pool.map + 5 * BUF_SIZE));
	EXPECT_EQ(-EFAULT, zero_by_call(self->pool.map + 3 * BUF_SIZE));
	EXPECT_TRUE(got_buf(self, n - 1, 5, BUF_SIZE));
}

/*
 * One of those that are made writable together is in flight: it is not among them, and
 * the peer gets what was sent.
 */
TEST_F(rewrite, not_what_is_in_flight)
{
	unsigned int i;

	for (i = 1; i < AHEAD; i++) {
		ASSERT_LE(0L, train(self, 2));
		/* The others are idle, and protected. */
		ASSERT_EQ(0, send_segs(self, &self->segs[i], 1));
		write_all(self, 50, i);
		if (!waits(self))
			memset(self->pool.map + i * BUF_SIZE, 99, BUF_SIZE);
		else
			EXPECT_EQ(-EFAULT, zero_by_call(self->pool.map +
							i * BUF_SIZE));
		EXPECT_TRUE(got_buf(self, 1, i, BUF_SIZE));
	}
}

/* Nor one that somebody keeps others from writing to. */
TEST_F(rewrite, not_what_is_secured)
{
	ASSERT_LE(0L, train(self, 3));
	ASSERT_EQ(1, pool_secure(self->pool.fd, &self->names[2], 1));
	memset(self->pool.map, 1, 2 * BUF_SIZE);
	EXPECT_EQ(-EFAULT, zero_by_call(self->pool.map + 2 * BUF_SIZE));
	EXPECT_EQ(2 + 2, self->pool.map[2 * BUF_SIZE]);
}

/* What was made writable along with others is protected anew when it is sent. */
TEST_F(rewrite, protected_again)
{
	unsigned int i;

	ASSERT_LE(0L, train(self, 3));
	/* By one fault: the first and some that follow. */
	self->pool.map[0] = 200;
	EXPECT_LT(1, send_segs(self, self->segs, NR_SENT));
	EXPECT_EQ(0, send_segs(self, self->segs, NR_SENT));
	if (!waits(self))
		write_all(self, 100, NR_SENT);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ((ssize_t)MESSAGE, read_full(self->sock[1], self->got,
						      MESSAGE));
		EXPECT_EQ(200, self->got[0]);
		EXPECT_EQ(2, self->got[1]);
		EXPECT_EQ(3, self->got[BUF_SIZE]);
		EXPECT_EQ(2 + NR_SENT - 1, self->got[MESSAGE - 1]);
	}
}

/* If those that follow are not written, that is not done for long. */
TEST_F(rewrite, given_up)
{
	unsigned int i, ret = 0;

	ASSERT_LE(0L, train(self, 2));
	for (i = 0; i < TIMES + 2; i++) {
		self->pool.map[0] = i;
		ret = send_segs(self, self->segs, NR_SENT);
		EXPECT_GE(AHEAD, ret);
		ASSERT_EQ((ssize_t)MESSAGE, read_full(self->sock[1], self->got,
						      MESSAGE));
		sock_settle(self);
	}
	EXPECT_EQ(1U, ret);
}

/* In the same place, without entries, so that each access is a fault. */
static bool map_anew(const struct pool *pool)
{
	return mmap(pool->map, pool->size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_FIXED, pool->fd, 0) == pool->map;
}

/* Who reads from the first to the last is not taken for one who writes. */
TEST_F(rewrite, not_for_reads)
{
	unsigned int i;

	/* No buffer after the one beside it. */
	for (i = 0; i < NR_SENT; i++)
		memset(self->pool.map + i * 7 % NR_SENT * BUF_SIZE, 1,
		       BUF_SIZE);
	EXPECT_EQ((int)NR_SENT, send_segs(self, self->segs, NR_SENT));
	ASSERT_EQ((ssize_t)MESSAGE, read_full(self->sock[1], self->got,
					      MESSAGE));
	sock_settle(self);
	ASSERT_TRUE(map_anew(&self->pool));
	for (i = 0; i < NR_SENT; i++)
		ASSERT_EQ(1, self->pool.map[i * BUF_SIZE]);
	ASSERT_TRUE(map_anew(&self->pool));
	self->pool.map[0] = 2;
	EXPECT_EQ(1, send_segs(self, self->segs, NR_SENT));
}

/* A mapping of a part of the pool, that ends in the midst of those that follow. */
TEST_F(rewrite, to_the_end_of_a_mapping)
{
	size_t len = 3 * BUF_SIZE + PAGE;
	__u8 *part;

	ASSERT_LE(0L, train(self, 3));
	part = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED,
		    self->pool.fd, 0);
	ASSERT_NE(MAP_FAILED, part);
	memset(part, 9, len);
	munmap(part, len);
	part = mmap(NULL, BUF_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
		    self->pool.fd, BUF_SIZE - PAGE);
	ASSERT_NE(MAP_FAILED, part);
	part[0] = 8;
	part[BUF_SIZE - 1] = 8;
	munmap(part, BUF_SIZE);
	EXPECT_EQ(8, self->pool.map[BUF_SIZE - PAGE]);
	EXPECT_EQ(8, self->pool.map[2 * BUF_SIZE - PAGE - 1]);
	EXPECT_EQ(9, self->pool.map[len - 1]);
	EXPECT_LE(4, send_segs(self, self->segs, NR_SENT));
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
