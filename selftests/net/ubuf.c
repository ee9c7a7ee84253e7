// SPDX-License-Identifier: GPL-2.0
/*
 * The ubuf engine on loopback: the right bytes arrive, what local delivery
 * copies is counted, and who waits is told. With NICs, see nic.c.
 */
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define BUF_SIZE	32768U
#define NR_BUFS		8U
#define SEED		7

FIXTURE(ubuf)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	struct sent sent;
};

FIXTURE_VARIANT(ubuf)
{
	int family;
	int type;
};

FIXTURE_VARIANT_ADD(ubuf, tcp4) { AF_INET, SOCK_STREAM };
FIXTURE_VARIANT_ADD(ubuf, tcp6) { AF_INET6, SOCK_STREAM };
FIXTURE_VARIANT_ADD(ubuf, udp4) { AF_INET, SOCK_DGRAM };
FIXTURE_VARIANT_ADD(ubuf, udp6) { AF_INET6, SOCK_DGRAM };

FIXTURE_SETUP(ubuf)
{
	unsigned int i;

	ASSERT_EQ(0, sock_pair(variant->family, variant->type, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(buf_addr(&self->pool, self->names[i]), SEED,
			     i * BUF_SIZE, BUF_SIZE);
}

FIXTURE_TEARDOWN(ubuf)
{
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
}

static ssize_t send_buf(struct _test_data_ubuf *self, unsigned int i,
			size_t len, __u32 flags)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[i], 0, len);

	memset(&self->sent, 0xee, sizeof(self->sent));
	return pool_send(self->pool.fd, self->sock[0], &seg, 1, flags,
			 FBUF_ENGINE_UBUF, &self->sent);
}

static __u64 copied(const struct pool *pool)
{
	struct fbuf_info info;

	return pool_info(pool->fd, &info) ? 0 : info.copied;
}

TEST_F(ubuf, arrives)
{
	__u8 got[BUF_SIZE];
	unsigned int i;

	for (i = 0; i < NR_BUFS; i++) {
		size_t len = BUF_SIZE >> (2 * i % 15);

		ASSERT_EQ((ssize_t)len, send_buf(self, i, len, 0));
		EXPECT_EQ(FBUF_ENGINE_UBUF, self->sent.engine);
		ASSERT_EQ((ssize_t)len, recv(self->sock[1], got, len,
					     MSG_WAITALL));
		EXPECT_EQ(-1, pattern_differs(got, SEED, i * BUF_SIZE, len));
	}
}

/* A send does not know yet; the counter does, once the packets are gone. */
TEST_F(ubuf, local_delivery_is_counted)
{
	__u8 got[1000];

	ASSERT_EQ(1000, send_buf(self, 0, 1000, 0));
	EXPECT_EQ(0, self->sent.copied);
	ASSERT_EQ(1000, recv(self->sock[1], got, 1000, MSG_WAITALL));
	EXPECT_TRUE(wait_for(copied(&self->pool), DEADLINE_MS));
	EXPECT_EQ(1000, copied(&self->pool));
}

/* The peer never reads: what was copied for it needs the buffers no more. */
TEST_F(ubuf, waits_and_notices)
{
	struct fbuf_ring_entry e;
	struct ring ring;

	ASSERT_EQ(0, ring_make(&ring, self->pool.fd, 0, 8, 0));
	ASSERT_EQ(1000, send_buf(self, 3, 1000, FBUF_SEND_NOTIFY));
	ASSERT_EQ(1, pool_wait(self->pool.fd, self->names + 3, 1,
			       DEADLINE_MS));
	ASSERT_TRUE(ring_wait(&ring, &e, DEADLINE_MS));
	EXPECT_EQ(FBUF_RING_IDLE, e.type);
	EXPECT_EQ(self->names[3], e.name);
	ring_unmake(&ring);
}

/* It does not come first unless it is asked for. */
TEST_F(ubuf, only_on_request)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[0], 0, 100);

	ASSERT_EQ(100, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0, 0,
				 &self->sent));
	EXPECT_EQ(FBUF_ENGINE_PAGEREF, self->sent.engine);
	ASSERT_EQ(100, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0,
				 FBUF_ENGINE_UBUF | FBUF_ENGINE_PAGEREF |
				 FBUF_ENGINE_COPY, &self->sent));
	EXPECT_EQ(FBUF_ENGINE_UBUF, self->sent.engine);
}

/* Packets have one ubuf each, or none. */
TEST_F(ubuf, engines_take_turns)
{
	static const __u32 engines[] = {
		FBUF_ENGINE_UBUF, FBUF_ENGINE_PAGEREF, FBUF_ENGINE_UBUF,
		FBUF_ENGINE_COPY, FBUF_ENGINE_UBUF, FBUF_ENGINE_UBUF,
	};
	__u8 got[3000];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		struct fbuf_seg seg = buf_seg(&self->pool, self->names[0],
					      i * 500, 500);

		ASSERT_EQ(500, pool_send(self->pool.fd, self->sock[0], &seg, 1,
					 0, engines[i], &self->sent));
		EXPECT_EQ(engines[i], self->sent.engine);
	}
	for (i = 0; i < ARRAY_SIZE(engines); i++)
		ASSERT_EQ(500, recv(self->sock[1], got + i * 500, 500,
				    MSG_WAITALL));
	EXPECT_EQ(-1, pattern_differs(got, SEED, 0, sizeof(got)));
	EXPECT_EQ((int)NR_BUFS, pool_wait(self->pool.fd, self->names, NR_BUFS,
					  DEADLINE_MS));
}

TEST(sockets_that_it_does_not_take)
{
	struct pool pool;
	struct fbuf_seg seg;
	struct sent sent;
	int sock[2];
	__u64 name;

	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, sock));
	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, 1));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	seg = buf_seg(&pool, name, 0, 10);
	EXPECT_EQ(-EOPNOTSUPP, pool_send(pool.fd, sock[0], &seg, 1, 0,
					 FBUF_ENGINE_UBUF, &sent));
	EXPECT_EQ(10, pool_send(pool.fd, sock[0], &seg, 1, 0,
				FBUF_ENGINE_UBUF | FBUF_ENGINE_COPY, &sent));
	EXPECT_EQ(FBUF_ENGINE_COPY, sent.engine);
	close(sock[0]);
	close(sock[1]);
	pool_unmake(&pool);
}

static bool no_pools(struct nl *nl)
{
	return nl_dump(nl, FBUF_CMD_POOL_GET, NULL, 0) == 0;
}

/* Sends until it cannot, for ever; and dies with packets that nobody reads. */
static void send_for_ever(int sock)
{
	struct pool pool;
	__u64 names[4];

	if (pool_make(&pool, BUF_SIZE, 4) ||
	    pool_alloc(pool.fd, names, 4) != 4)
		_exit(1);
	for (;;) {
		struct fbuf_seg seg = buf_seg(&pool, names[0], 0, BUF_SIZE);

		if (pool_send(pool.fd, sock, &seg, 1, 0, FBUF_ENGINE_UBUF,
			      NULL) < 0)
			_exit(2);
	}
}

TEST(killed_in_the_middle)
{
	struct nl nl;
	int round;

	ASSERT_EQ(0, nl_open(&nl));
	for (round = 0; round < 10; round++) {
		int sock[2];
		pid_t pid;

		ASSERT_EQ(0, tcp_pair(AF_INET, sock));
		pid = fork();
		if (!pid)
			send_for_ever(sock[0]);
		ASSERT_EQ(0, wait_asleep(pid, pid, DEADLINE_MS));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(-SIGKILL, child_status(pid));
		/* Packets that nobody has read keep the pool's file. */
		EXPECT_FALSE(no_pools(&nl));
		close(sock[0]);
		close(sock[1]);
		EXPECT_TRUE(wait_for(no_pools(&nl), DEADLINE_MS));
	}
	nl_close(&nl);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
