// SPDX-License-Identifier: GPL-2.0
/*
 * Of many buffers in flight a call looks at some only: yet each that comes back is
 * found, whatever it is among, and by whoever waits.
 */
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	PAGE
#define NR_BUFS		1000U
#define SOCKBUF		(64 << 20)

/* From then on a buffer in flight is not looked at as often. */
#define OLD_MS		600

FIXTURE(many)
{
	struct pool pool;
	struct ring ring;
	__u64 names[NR_BUFS];
	int sock[2];
	__u8 *got;
};

/* Freed in another order than sent, if @step is not 1; and when it comes back. */
FIXTURE_VARIANT(many)
{
	unsigned int step;
	bool old;
};

FIXTURE_VARIANT_ADD(many, in_order)
{
	.step = 1,
};

FIXTURE_VARIANT_ADD(many, backwards)
{
	.step = NR_BUFS - 1,
};

FIXTURE_VARIANT_ADD(many, scattered_and_old)
{
	.step = 387,
	.old = true,
};

/* Of datagrams, each comes back by itself. */
FIXTURE_SETUP(many)
{
	const int size = SOCKBUF;

	ASSERT_EQ(0, sock_pair(AF_INET, SOCK_DGRAM, self->sock));
	ASSERT_EQ(0, setsockopt(self->sock[0], SOL_SOCKET, SO_SNDBUFFORCE,
				&size, sizeof(size)));
	ASSERT_EQ(0, setsockopt(self->sock[1], SOL_SOCKET, SO_RCVBUFFORCE,
				&size, sizeof(size)));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, 0, 1024, 0));
	self->got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(many)
{
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

static bool send_all(struct _test_data_many *self, __u32 flags, bool old)
{
	unsigned int i;
	long end;

	for (i = 0; i < NR_BUFS; i++) {
		struct fbuf_seg seg = buf_seg(&self->pool, self->names[i], 0,
					      BUF_SIZE);
		struct sent sent;

		if (pool_send(self->pool.fd, self->sock[0], &seg, 1, flags, 0,
			      &sent) != (ssize_t)BUF_SIZE || sent.copied)
			return false;
	}
	end = now_ms() + OLD_MS;
	while (old && time_left(end))
		;
	return true;
}

static bool free_all(struct _test_data_many *self, unsigned int step)
{
	unsigned int i;

	for (i = 0; i < NR_BUFS; i++) {
		if (pool_free(self->pool.fd,
			      &self->names[i * step % NR_BUFS], 1) != 1)
			return false;
	}
	return true;
}

/* All in flight, and without a hold. */
static bool begin(struct _test_data_many *self,
		  const struct _fixture_variant_many *variant)
{
	__u64 name;
	int i;

	if (!send_all(self, 0, variant->old) || !free_all(self, variant->step))
		return false;
	/* Looked at some times, so that they are in another order than at first. */
	for (i = 0; i < 37; i++) {
		if (pool_alloc(self->pool.fd, &name, 1) != -EAGAIN)
			return false;
	}
	return true;
}

static bool read_one(struct _test_data_many *self)
{
	return recv(self->sock[1], self->got, BUF_SIZE, 0) == BUF_SIZE;
}

static __u32 in_flight(struct _test_data_many *self)
{
	struct fbuf_info info = {};

	pool_info(self->pool.fd, &info);
	return info.nr_in_flight;
}

TEST_F(many, one_by_alloc_that_waits)
{
	__u64 name = 0;

	ASSERT_TRUE(begin(self, variant));
	ASSERT_TRUE(read_one(self));
	ASSERT_EQ(1, pool_batch(self->pool.fd, FBUF_IOC_ALLOC, &name, 1,
				FBUF_ALLOC_WAIT, DEADLINE_MS));
	EXPECT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(name));
	EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &name, 1));
}

TEST_F(many, one_by_alloc_again_and_again)
{
	__u64 name = 0;

	ASSERT_TRUE(begin(self, variant));
	ASSERT_TRUE(read_one(self));
	ASSERT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS));
	EXPECT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(name));
}

TEST_F(many, one_by_poll)
{
	struct pollfd p = { .fd = self->pool.fd, .events = POLLOUT };
	__u64 name;

	ASSERT_TRUE(begin(self, variant));
	ASSERT_EQ(0, poll(&p, 1, 0));
	ASSERT_TRUE(read_one(self));
	ASSERT_EQ(1, poll(&p, 1, DEADLINE_MS));
	ASSERT_EQ(POLLOUT, p.revents);
	/* It is free now, not merely said to be. */
	EXPECT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
}

TEST_F(many, one_by_info)
{
	ASSERT_TRUE(begin(self, variant));
	ASSERT_EQ(NR_BUFS, in_flight(self));
	ASSERT_TRUE(read_one(self));
	EXPECT_TRUE(wait_for(in_flight(self) == NR_BUFS - 1, DEADLINE_MS));
}

/* Each of them once; those that stay in flight are none of them. */
TEST_F(many, half_by_alloc)
{
	unsigned int i, got = 0;
	bool seen[NR_BUFS] = {};
	__u64 name = 0;

	ASSERT_TRUE(begin(self, variant));
	for (i = 0; i < NR_BUFS / 2; i++)
		ASSERT_TRUE(read_one(self));
	while (got < NR_BUFS / 2) {
		ASSERT_EQ(1, pool_batch(self->pool.fd, FBUF_IOC_ALLOC, &name, 1,
					FBUF_ALLOC_WAIT, DEADLINE_MS));
		for (i = 0; i < NR_BUFS / 2; i++) {
			if (FBUF_NAME_INDEX(self->names[i]) ==
			    FBUF_NAME_INDEX(name))
				break;
		}
		ASSERT_GT(NR_BUFS / 2, i);
		ASSERT_FALSE(seen[i]);
		seen[i] = true;
		got++;
	}
	for (i = 0; i < 37; i++)
		EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &name, 1));
}

TEST_F(many, all_at_once)
{
	unsigned int i;

	ASSERT_TRUE(begin(self, variant));
	for (i = 0; i < NR_BUFS; i++)
		ASSERT_TRUE(read_one(self));
	EXPECT_EQ((int)NR_BUFS,
		  pool_batch(self->pool.fd, FBUF_IOC_ALLOC, self->names, NR_BUFS,
			     FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL, DEADLINE_MS));
	EXPECT_EQ(0U, in_flight(self));
}

/* A notice of one, which comes once, and then of each of the others. */
TEST_F(many, notices)
{
	struct fbuf_ring_entry e = {};
	bool seen[NR_BUFS] = {};
	unsigned int i, n;

	ASSERT_TRUE(send_all(self, FBUF_SEND_NOTIFY, variant->old));
	ASSERT_FALSE(ring_wait(&self->ring, &e, 100));
	ASSERT_TRUE(read_one(self));
	ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
	EXPECT_EQ(self->names[0], e.name);
	for (n = 1; n < NR_BUFS; n++)
		ASSERT_TRUE(read_one(self));
	for (n = 1; n < NR_BUFS; n++) {
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		for (i = 1; i < NR_BUFS; i++) {
			if (self->names[i] == e.name)
				break;
		}
		ASSERT_GT(NR_BUFS, i);
		ASSERT_FALSE(seen[i]);
		seen[i] = true;
	}
	EXPECT_FALSE(ring_wait(&self->ring, &e, 100));
}

/* Behind many that never come back, those that do are found time and again. */
TEST_F(many, a_few_among_those_that_do_not)
{
	__u64 names[8], name;
	struct fbuf_seg seg;
	unsigned int turn;
	int live[2], i;

	ASSERT_EQ(0, sock_pair(AF_INET, SOCK_DGRAM, live));
	ASSERT_EQ(8, pool_free(self->pool.fd, &self->names[NR_BUFS - 8], 8));
	ASSERT_EQ(8, pool_alloc(self->pool.fd, names, 8));
	memcpy(&self->names[NR_BUFS - 8], names, sizeof(names));
	for (i = 0; i < (int)NR_BUFS - 8; i++) {
		seg = buf_seg(&self->pool, self->names[i], 0, BUF_SIZE);
		ASSERT_EQ((ssize_t)BUF_SIZE,
			  pool_send(self->pool.fd, self->sock[0], &seg, 1, 0, 0,
				    NULL));
		ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[i], 1));
	}
	for (turn = 0; turn < 50; turn++) {
		for (i = 0; i < 8; i++) {
			seg = buf_seg(&self->pool, names[i], 0, BUF_SIZE);
			ASSERT_EQ((ssize_t)BUF_SIZE,
				  pool_send(self->pool.fd, live[0], &seg, 1, 0,
					    0, NULL));
		}
		ASSERT_EQ(8, pool_free(self->pool.fd, names, 8));
		ASSERT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &name, 1));
		for (i = 0; i < 8; i++)
			ASSERT_EQ((ssize_t)BUF_SIZE,
				  recv(live[1], self->got, BUF_SIZE, 0));
		ASSERT_EQ(8, pool_batch(self->pool.fd, FBUF_IOC_ALLOC, names, 8,
					FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL,
					DEADLINE_MS));
	}
	close(live[0]);
	close(live[1]);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
