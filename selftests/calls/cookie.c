// SPDX-License-Identifier: GPL-2.0
/*
 * Cookies: one entry in the ring for all buffers of a send, once each of them was idle.
 */
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	((unsigned int)getpagesize())
#define NR_BUFS		8U
#define LEN		100U
#define ENTRIES		64U
/* Long enough for the kernel to look some times. */
#define LOOKS_MS	50
/* What a buffer is sent by that is to stay in flight, to page_pair(). */
#define KEEPS		(FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE)
/* Segments of the sends whose cookies wait. */
#define COOKIES_MAX	65536U

/* A pool, its ring, and a way for what is sent. */
FIXTURE(cookie)
{
	struct pool pool;
	struct ring ring;
	__u64 names[NR_BUFS];
	int sock[2];
	__u8 *got;
};

FIXTURE_VARIANT(cookie)
{
	int family;
	int type;
	__u32 engines;
	__u32 flags;	/* of the pool */
};

FIXTURE_VARIANT_ADD(cookie, tcp)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(cookie, tcp_ubuf)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
	.engines = FBUF_ENGINE_UBUF,
};

FIXTURE_VARIANT_ADD(cookie, tcp_secured)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
	.flags = FBUF_POOL_SECURED,
};

FIXTURE_VARIANT_ADD(cookie, tcp_lazy)
{
	.family = AF_INET6,
	.type = SOCK_STREAM,
	.flags = FBUF_POOL_LAZY | FBUF_POOL_SNAPSHOT,
};

FIXTURE_VARIANT_ADD(cookie, udp)
{
	.family = AF_INET,
	.type = SOCK_DGRAM,
};

FIXTURE_VARIANT_ADD(cookie, unix_stream)
{
	.family = AF_UNIX,
	.type = SOCK_STREAM,
};

FIXTURE_SETUP(cookie)
{
	if (variant->family == AF_UNIX && unix_copies())
		SKIP(return, "copied before Linux 6.5");
	ASSERT_EQ(0, sock_pair(variant->family, variant->type, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, FBUF_RING_ACCEPT,
			       ENTRIES, 0));
	self->got = malloc(NR_BUFS * BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(cookie)
{
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

static int send_segs(int fd, int sock, const struct fbuf_seg *segs,
		     unsigned int nr, __u32 flags, __u32 engines, __u64 cookie)
{
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.flags = FBUF_SEND_COOKIE | flags,
		.segs = (uintptr_t)segs,
		.nr_segs = nr,
		.fd = sock,
		.engines = engines,
		.cookie = cookie,
	};
	int ret = ioctl(fd, FBUF_IOC_SEND, &arg);

	return ret < 0 ? -errno : ret;
}

/* So many buffers, from one on. */
static int send_bufs(struct _test_data_cookie *self, unsigned int first,
		     unsigned int nr, __u32 flags, __u32 engines, __u64 cookie)
{
	struct fbuf_seg segs[NR_BUFS];
	unsigned int i;

	for (i = 0; i < nr; i++)
		segs[i] = named_seg(self->names[first + i], 0, LEN);
	return send_segs(self->pool.fd, self->sock[0], segs, nr, flags,
			 engines, cookie);
}

static bool sent_bufs(struct _test_data_cookie *self, unsigned int first,
		      unsigned int nr, __u32 engines, __u64 cookie)
{
	return send_bufs(self, first, nr, 0, engines, cookie) ==
	       (int)(nr * LEN);
}

static bool received(struct _test_data_cookie *self, unsigned int nr)
{
	return recv(self->sock[1], self->got, nr * LEN, MSG_WAITALL) ==
	       (ssize_t)nr * LEN;
}

#define SEND(first, nr, cookie)						\
	ASSERT_TRUE(sent_bufs(self, first, nr, variant->engines, cookie))
#define RECV(nr)							\
	ASSERT_TRUE(received(self, nr))

static bool is_sent(const struct fbuf_ring_entry *e, __u64 cookie)
{
	return e->type == FBUF_RING_SENT && e->data == cookie && !e->name &&
	       !e->from && !e->reserved;
}

/* The next thing that the ring says is that this send's buffers were idle. */
static bool told(struct ring *ring, __u64 cookie)
{
	struct fbuf_ring_entry e;

	return ring_wait(ring, &e, DEADLINE_MS) && is_sent(&e, cookie);
}

/* It says nothing, though the kernel has had time to look. */
static bool silent(struct ring *ring)
{
	return !wait_for(ring_len(ring), LOOKS_MS);
}

TEST_F(cookie, once_the_peer_has_read)
{
	SEND(0, 1, 0x123456789abcdefULL);
	/* On loopback what the engine "ubuf" sends is copied as it is delivered. */
	if (variant->engines != FBUF_ENGINE_UBUF)
		EXPECT_TRUE(silent(&self->ring));
	RECV(1);
	EXPECT_TRUE(told(&self->ring, 0x123456789abcdefULL));
	EXPECT_TRUE(silent(&self->ring));
	EXPECT_EQ(1, pool_wait(self->pool.fd, self->names, 1, DEADLINE_MS));
}

TEST_F(cookie, one_for_many_buffers)
{
	SEND(0, NR_BUFS, ~0ULL);
	RECV(NR_BUFS);
	EXPECT_TRUE(told(&self->ring, ~0ULL));
	EXPECT_TRUE(silent(&self->ring));
}

/* Not while one of them is in flight, whichever. */
TEST_F(cookie, waits_for_each)
{
	unsigned int i;
	int held[2];

	for (i = 0; i < 3; i++) {
		struct fbuf_seg seg = named_seg(self->names[i], 0, LEN);

		ASSERT_EQ(0, page_pair(held));
		/* Another send keeps this one. */
		ASSERT_EQ((int)LEN, pool_send(self->pool.fd, held[0], &seg, 1,
					      0, KEEPS, NULL));
		SEND(0, 3, i);
		RECV(3);
		EXPECT_TRUE(silent(&self->ring));
		ASSERT_EQ((ssize_t)LEN, read_full(held[1], self->got, LEN));
		EXPECT_TRUE(told(&self->ring, i));
		close(held[0]);
		close(held[1]);
	}
}

/* Each send has its own, though the buffers are the same. */
TEST_F(cookie, sent_twice)
{
	bool seen[2] = { false };
	struct fbuf_ring_entry e;
	int i;

	SEND(0, 2, 0);
	SEND(1, 2, 1);
	RECV(2);
	RECV(2);
	for (i = 0; i < 2; i++) {
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		ASSERT_EQ((__u32)FBUF_RING_SENT, e.type);
		ASSERT_GT(2ULL, e.data);
		EXPECT_FALSE(seen[e.data]);
		seen[e.data] = true;
	}
	EXPECT_TRUE(silent(&self->ring));
}

/* One buffer in several segments. */
TEST_F(cookie, a_buffer_twice_in_a_gather)
{
	struct fbuf_seg segs[3];

	segs[0] = named_seg(self->names[0], 0, LEN);
	segs[1] = named_seg(self->names[1], 0, LEN);
	segs[2] = named_seg(self->names[0], 2048, LEN);
	ASSERT_EQ(3 * (int)LEN, send_segs(self->pool.fd, self->sock[0], segs,
					  3, 0, variant->engines, 5));
	RECV(3);
	EXPECT_TRUE(told(&self->ring, 5));
	EXPECT_TRUE(silent(&self->ring));
}

/* Two sends with the same cookie are two. */
TEST_F(cookie, the_same_cookie)
{
	SEND(0, 1, 7);
	SEND(1, 1, 7);
	RECV(1);
	RECV(1);
	EXPECT_TRUE(told(&self->ring, 7));
	EXPECT_TRUE(told(&self->ring, 7));
	EXPECT_TRUE(silent(&self->ring));
}

TEST_F(cookie, though_freed)
{
	SEND(0, 2, 9);
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	RECV(2);
	EXPECT_TRUE(told(&self->ring, 9));
}

/* Whoever has the buffer next sends it at once: it was idle in between. */
TEST_F(cookie, handed_out_again)
{
	struct fbuf_seg seg;
	unsigned int i;
	int held[2];
	__u64 name;

	ASSERT_EQ(0, page_pair(held));
	for (i = 0; i < 3; i++) {
		SEND(0, 1, i);
		ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
		RECV(1);
		ASSERT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1,
					     DEADLINE_MS));
		ASSERT_EQ(FBUF_NAME_INDEX(self->names[0]),
			  FBUF_NAME_INDEX(name));
		self->names[0] = name;
		seg = named_seg(name, 0, LEN);
		ASSERT_EQ((int)LEN, pool_send(self->pool.fd, held[0], &seg, 1,
					      0, KEEPS, NULL));
		EXPECT_TRUE(told(&self->ring, i));
		ASSERT_EQ((ssize_t)LEN, read_full(held[1], self->got, LEN));
		ASSERT_EQ(1, pool_wait(self->pool.fd, &name, 1, DEADLINE_MS));
	}
	close(held[0]);
	close(held[1]);
}

/* The next holder has a cookie of his own, for the same handle. */
TEST_F(cookie, of_both_holders)
{
	__u64 name;

	SEND(0, 1, 1);
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	RECV(1);
	ASSERT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS));
	ASSERT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(name));
	self->names[0] = name;
	SEND(0, 1, 2);
	EXPECT_TRUE(told(&self->ring, 1));
	RECV(1);
	EXPECT_TRUE(told(&self->ring, 2));
	EXPECT_TRUE(silent(&self->ring));
}

/* With notices there are both; a notice has the name that was sent with it. */
TEST_F(cookie, with_notices)
{
	unsigned int i, notices = 0, cookies = 0;
	struct fbuf_ring_entry e;

	ASSERT_EQ(3 * (int)LEN, send_bufs(self, 0, 3, FBUF_SEND_NOTIFY,
					  variant->engines, 3));
	SEND(3, 1, 3);
	RECV(3);
	RECV(1);
	for (i = 0; i < 5; i++) {
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		if (e.type == FBUF_RING_SENT) {
			EXPECT_TRUE(is_sent(&e, 3));
			cookies++;
			continue;
		}
		EXPECT_EQ((__u32)FBUF_RING_IDLE, e.type);
		EXPECT_EQ(0ULL, e.data);
		notices |= (e.name == self->names[0]) << 0 |
			   (e.name == self->names[1]) << 1 |
			   (e.name == self->names[2]) << 2;
	}
	EXPECT_EQ(7U, notices);
	EXPECT_EQ(2U, cookies);
	EXPECT_TRUE(silent(&self->ring));
}

/* A cookie for the next holder does not make a notice that waits one of him. */
TEST_F(cookie, notice_of_the_holder_before)
{
	__u64 old = self->names[0], name;
	struct fbuf_ring_entry e;
	int i, notices = 0;

	ASSERT_EQ((int)LEN, send_bufs(self, 0, 1, FBUF_SEND_NOTIFY,
				      variant->engines, 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, &old, 1));
	RECV(1);
	ASSERT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS));
	self->names[0] = name;
	SEND(0, 1, 2);
	RECV(1);
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		if (e.type != FBUF_RING_IDLE)
			continue;
		EXPECT_EQ(old, e.name);
		notices++;
	}
	EXPECT_EQ(1, notices);
	EXPECT_TRUE(silent(&self->ring));
}

TEST_F(cookie, not_if_the_send_failed)
{
	struct fbuf_seg seg = named_seg(self->names[0], 0, LEN);
	struct fbuf_seg stale = named_seg(self->names[0] + (1ULL << 32), 0, 1);
	int fd = self->pool.fd, other[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, other));
	EXPECT_EQ(-EBADF, send_segs(fd, -1, &seg, 1, 0, 0, 1));
	EXPECT_EQ(-ESTALE, send_segs(fd, self->sock[0], &stale, 1, 0, 0, 2));
	EXPECT_EQ(-EFAULT, send_segs(fd, self->sock[0], NULL, 1, 0, 0, 3));
	sock_small(other);
	sock_fill(other[0]);
	EXPECT_EQ(-EAGAIN, send_segs(fd, other[0], &seg, 1, FBUF_SEND_DONTWAIT,
				     0, 4));
	shutdown(other[0], SHUT_WR);
	EXPECT_EQ(-EPIPE, send_segs(fd, other[0], &seg, 1, 0, 0, 5));
	SEND(1, 1, 6);
	RECV(1);
	EXPECT_TRUE(told(&self->ring, 6));
	EXPECT_TRUE(silent(&self->ring));
	close(other[0]);
	close(other[1]);
}

/* To the handle that sent, not to others that hold the buffer. */
TEST_F(cookie, of_another_handle)
{
	struct ring ring;
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	struct fbuf_seg seg = named_seg(self->names[0], 0, LEN);

	ASSERT_LE(0, fd);
	ASSERT_EQ(-EINVAL, send_segs(fd, self->sock[0], &seg, 1, 0, 0, 1));
	ASSERT_EQ(0, ring_make(&ring, fd, 0, 8, 0));
	ASSERT_EQ(1, pool_hold(fd, self->names, 1));
	SEND(0, 1, 1);
	ASSERT_EQ((int)LEN, send_segs(fd, self->sock[0], &seg, 1, 0,
				      variant->engines, 2));
	RECV(1);
	RECV(1);
	EXPECT_TRUE(told(&self->ring, 1));
	EXPECT_TRUE(told(&ring, 2));
	EXPECT_TRUE(silent(&self->ring));
	EXPECT_EQ(0U, ring_len(&ring));
	ring_unmake(&ring);
	close(fd);
}

/* It comes though the sender dropped all that it had of pool and socket. */
TEST_F(cookie, when_the_sockets_go)
{
	SEND(0, 2, 8);
	close(self->sock[1]);
	close(self->sock[0]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	EXPECT_TRUE(told(&self->ring, 8));
}

/* What waits in the kernel goes with the handle, and keeps no pool. */
TEST_F(cookie, closed_meanwhile)
{
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	struct fbuf_info info;
	struct fbuf_seg segs[NR_BUFS];
	struct ring ring;
	unsigned int i;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&ring, fd, 0, 2, 0));
	ASSERT_EQ((int)NR_BUFS, pool_hold(fd, self->names, NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		segs[i] = named_seg(self->names[i], 0, LEN);
	for (i = 0; i < 4; i++)
		ASSERT_EQ((int)(NR_BUFS * LEN),
			  send_segs(fd, self->sock[0], segs, NR_BUFS, 0,
				    variant->engines, i));
	ring_unmake(&ring);
	close(fd);
	for (i = 0; i < 4; i++)
		RECV(NR_BUFS);
	EXPECT_TRUE(wait_for(!pool_info(self->pool.fd, &info) &&
			     info.nr_handles == 1, DEADLINE_MS));
	SEND(0, 1, 4);
	RECV(1);
	EXPECT_TRUE(told(&self->ring, 4));
}

TEST_F(cookie, to_a_poller)
{
	struct pollfd p = { .fd = self->pool.fd, .events = POLLIN };
	struct fbuf_ring_entry e;

	EXPECT_EQ(0, poll(&p, 1, 0));
	SEND(0, 1, 1);
	RECV(1);
	EXPECT_EQ(1, poll(&p, 1, DEADLINE_MS));
	EXPECT_EQ(POLLIN, p.revents);
	EXPECT_TRUE(ring_next(&self->ring, &e));
	EXPECT_EQ(0, poll(&p, 1, 0));
}

/* What the send is given in user memory is no more looked at once it returned. */
TEST_F(cookie, written_over_meanwhile)
{
	struct fbuf_seg seg = named_seg(self->names[0], 0, LEN);
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.flags = FBUF_SEND_COOKIE,
		.segs = (uintptr_t)&seg,
		.nr_segs = 1,
		.fd = self->sock[0],
		.engines = variant->engines,
		.cookie = 77,
	};

	ASSERT_EQ((int)LEN, ioctl(self->pool.fd, FBUF_IOC_SEND, &arg));
	EXPECT_EQ(77ULL, arg.cookie);
	memset(&arg, 0xff, sizeof(arg));
	memset(&seg, 0xff, sizeof(seg));
	RECV(1);
	EXPECT_TRUE(told(&self->ring, 77));
}

/* A write that makes a snapshot leaves the buffer idle, and ends the wait. */
TEST_F(cookie, written_in_flight)
{
	__u8 *at = buf_addr(&self->pool, self->names[0]);

	if (!(variant->flags & FBUF_POOL_SNAPSHOT))
		SKIP(return, "no snapshots");
	at[0] = 1;
	SEND(0, 1, 2);
	EXPECT_TRUE(silent(&self->ring));
	at[0] = 3;
	EXPECT_TRUE(told(&self->ring, 2));
	RECV(1);
	EXPECT_EQ(1, self->got[0]);
}

/* Fewer bytes than the gather has: all of its buffers are waited for. */
TEST_F(cookie, taken_in_part)
{
	struct fbuf_seg seg = named_seg(self->names[NR_BUFS - 1], 0, LEN);
	struct fbuf_seg *segs;
	int pair[2], held[2], ret;
	unsigned int i;

	ASSERT_EQ(0, tcp_pair(AF_INET, pair));
	ASSERT_EQ(0, page_pair(held));
	sock_small(pair);
	segs = calloc(FBUF_SEGS_MAX, sizeof(*segs));
	ASSERT_NE(NULL, segs);
	for (i = 0; i < FBUF_SEGS_MAX - 1; i++)
		segs[i] = named_seg(self->names[i % (NR_BUFS - 1)], 0,
				    BUF_SIZE);
	/* The last is not reached, but referred to. */
	segs[i] = named_seg(self->names[NR_BUFS - 1], 0, BUF_SIZE);
	ASSERT_EQ((int)LEN, pool_send(self->pool.fd, held[0], &seg, 1, 0,
				      KEEPS, NULL));
	ret = send_segs(self->pool.fd, pair[0], segs, FBUF_SEGS_MAX,
			FBUF_SEND_DONTWAIT, variant->engines, 12);
	EXPECT_LT(0, ret);
	EXPECT_GT((int)(FBUF_SEGS_MAX * BUF_SIZE), ret);
	for (i = 0; ret > 0; ret -= i)
		i = read_full(pair[1], self->got, ret < 4096 ? ret : 4096);
	EXPECT_TRUE(silent(&self->ring));
	ASSERT_EQ((ssize_t)LEN, read_full(held[1], self->got, LEN));
	EXPECT_TRUE(told(&self->ring, 12));
	EXPECT_TRUE(silent(&self->ring));
	free(segs);
	close(pair[0]);
	close(pair[1]);
	close(held[0]);
	close(held[1]);
}

/* What is copied needs no buffer: the entry is there when the call returns. */
TEST_F(cookie, of_a_copy)
{
	struct fbuf_seg seg = named_seg(self->names[0], 0, LEN);
	struct fbuf_ring_entry e;
	int held[2];

	ASSERT_EQ(0, page_pair(held));
	ASSERT_EQ((int)LEN, pool_send(self->pool.fd, held[0], &seg, 1, 0,
				      KEEPS, NULL));
	ASSERT_EQ((int)LEN, send_bufs(self, 0, 1, 0, FBUF_ENGINE_COPY, 21));
	ASSERT_TRUE(ring_next(&self->ring, &e));
	EXPECT_TRUE(is_sent(&e, 21));
	close(held[0]);
	close(held[1]);
}

TEST_F(cookie, inline_only)
{
	struct fbuf_seg seg = inline_seg("hello", 5);
	struct fbuf_ring_entry e;

	ASSERT_EQ(5, send_segs(self->pool.fd, self->sock[0], &seg, 1, 0, 0,
			       22));
	ASSERT_TRUE(ring_next(&self->ring, &e));
	EXPECT_TRUE(is_sent(&e, 22));
	ASSERT_EQ(5, recv(self->sock[1], self->got, 5, 0));
	EXPECT_TRUE(silent(&self->ring));
}

/* Inline parts are not waited for, the others are. */
TEST_F(cookie, inline_among_others)
{
	struct fbuf_seg segs[2];

	segs[0] = inline_seg(self->got, LEN);
	segs[1] = named_seg(self->names[0], 0, LEN);
	ASSERT_EQ(2 * (int)LEN, send_segs(self->pool.fd, self->sock[0], segs,
					  2, 0, variant->engines, 23));
	if (variant->engines != FBUF_ENGINE_UBUF)
		EXPECT_TRUE(silent(&self->ring));
	RECV(2);
	EXPECT_TRUE(told(&self->ring, 23));
}

TEST_F(cookie, fanout)
{
	struct fbuf_seg segs[2];
	struct fbuf_target targets[3];
	struct fbuf_fanout arg = {
		.size = sizeof(arg),
		.flags = FBUF_SEND_COOKIE,
		.segs = (uintptr_t)segs,
		.targets = (uintptr_t)targets,
		.nr_segs = 2,
		.nr_targets = 3,
		.engines = variant->engines,
		.cookie = 1ULL << 63,
	};
	int held[2];

	ASSERT_EQ(0, page_pair(held));
	segs[0] = named_seg(self->names[0], 0, LEN);
	segs[1] = named_seg(self->names[1], 0, LEN);
	targets[0].fd = self->sock[0];
	targets[1].fd = held[0];
	targets[2].fd = -1;
	arg.engines = variant->engines | FBUF_ENGINE_PAGEREF |
		      FBUF_ENGINE_SPLICE;
	ASSERT_EQ(2, ioctl(self->pool.fd, FBUF_IOC_FANOUT, &arg));
	RECV(2);
	if (variant->engines != FBUF_ENGINE_UBUF)
		EXPECT_TRUE(silent(&self->ring));
	ASSERT_EQ((ssize_t)(2 * LEN), read_full(held[1], self->got, 2 * LEN));
	EXPECT_TRUE(told(&self->ring, 1ULL << 63));
	EXPECT_TRUE(silent(&self->ring));
	/* None if nobody took bytes. */
	targets[0].fd = -1;
	targets[1].fd = self->pool.fd;
	ASSERT_EQ(0, ioctl(self->pool.fd, FBUF_IOC_FANOUT, &arg));
	EXPECT_TRUE(silent(&self->ring));
	close(held[0]);
	close(held[1]);
}

/* Each item has its own, one more than that of the item before. */
TEST_F(cookie, batch)
{
	struct fbuf_seg segs[4];
	struct fbuf_send_item items[4];
	struct fbuf_send_batch arg = {
		.size = sizeof(arg),
		.flags = FBUF_SEND_COOKIE,
		.items = (uintptr_t)items,
		.count = 4,
		.engines = variant->engines,
		.cookie = ~0ULL,
	};
	struct fbuf_ring_entry e;
	unsigned int i, seen = 0;

	memset(items, 0, sizeof(items));
	for (i = 0; i < 4; i++) {
		segs[i] = named_seg(self->names[i], 0, LEN);
		items[i].segs = (uintptr_t)&segs[i];
		items[i].nr_segs = 1;
		items[i].fd = i == 2 ? -1 : self->sock[0];
	}
	ASSERT_EQ(4, ioctl(self->pool.fd, FBUF_IOC_SEND_BATCH, &arg));
	EXPECT_EQ(-EBADF, items[2].result);
	for (i = 0; i < 3; i++)
		RECV(1);
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		EXPECT_EQ((__u32)FBUF_RING_SENT, e.type);
		ASSERT_GT(4ULL, e.data + 1);
		seen |= 1U << (e.data + 1);
	}
	EXPECT_EQ(0xbU, seen);
	EXPECT_TRUE(silent(&self->ring));
}

/* A program that knows the structure as it was gets a cookie of 0. */
TEST_F(cookie, of_a_shorter_structure)
{
	size_t size = offsetof(struct fbuf_send, cookie);
	struct fbuf_seg seg = named_seg(self->names[0], 0, LEN);
	struct fbuf_send arg = {
		.size = size,
		.flags = FBUF_SEND_COOKIE,
		.segs = (uintptr_t)&seg,
		.nr_segs = 1,
		.fd = self->sock[0],
		.engines = variant->engines,
		.cookie = 55,
	};

	ASSERT_EQ((int)LEN, ioctl(self->pool.fd,
				  _IOC(_IOC_READ | _IOC_WRITE, FBUF_IOC_MAGIC,
				       _IOC_NR(FBUF_IOC_SEND), size), &arg));
	RECV(1);
	EXPECT_TRUE(told(&self->ring, 0));
}

/* Without the flag it is nothing. */
TEST_F(cookie, without_the_flag)
{
	struct fbuf_seg seg = named_seg(self->names[0], 0, LEN);
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.segs = (uintptr_t)&seg,
		.nr_segs = 1,
		.fd = self->sock[0],
		.engines = variant->engines,
		.cookie = 55,
	};

	ASSERT_EQ((int)LEN, ioctl(self->pool.fd, FBUF_IOC_SEND, &arg));
	RECV(1);
	ASSERT_EQ(1, pool_wait(self->pool.fd, self->names, 1, DEADLINE_MS));
	EXPECT_TRUE(silent(&self->ring));
}

static int alarms;

static void on_alarm(int sig)
{
	__atomic_fetch_add(&alarms, 1, __ATOMIC_RELAXED);
}

/* A signal ends a send that waits: with what was taken, and a cookie of that. */
TEST_F(cookie, interrupted)
{
	struct itimerval often = { { 0, 2000 }, { 0, 100000 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	struct sigaction act = { .sa_handler = on_alarm };
	struct fbuf_seg segs[NR_BUFS];
	unsigned int i;
	int pair[2], ret, n;

	ASSERT_EQ(0, tcp_pair(AF_INET, pair));
	sock_small(pair);
	for (i = 0; i < NR_BUFS; i++)
		segs[i] = named_seg(self->names[i], 0, BUF_SIZE);
	ASSERT_EQ(0, sigaction(SIGALRM, &act, NULL));
	sock_fill(pair[0]);
	__atomic_store_n(&alarms, 0, __ATOMIC_RELAXED);
	setitimer(ITIMER_REAL, &often, NULL);
	ret = send_segs(self->pool.fd, pair[0], segs, NR_BUFS, 0,
			variant->engines, 31);
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_EQ(-EINTR, ret);
	EXPECT_LT(0, __atomic_load_n(&alarms, __ATOMIC_RELAXED));
	EXPECT_TRUE(silent(&self->ring));
	/* Now there is room for some. */
	while (recv(pair[1], self->got, BUF_SIZE, MSG_DONTWAIT) > 0)
		;
	setitimer(ITIMER_REAL, &often, NULL);
	for (n = 0; n < 100; n++) {
		ret = send_segs(self->pool.fd, pair[0], segs, NR_BUFS, 0,
				variant->engines, 32);
		if (ret != (int)(NR_BUFS * BUF_SIZE))
			break;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	close(pair[0]);
	close(pair[1]);
	n += ret > 0;
	for (i = 0; i < (unsigned int)n; i++)
		EXPECT_TRUE(told(&self->ring, 32));
	EXPECT_TRUE(silent(&self->ring));
}

/* A ring that is full, or too full of others' entries. */
FIXTURE(crowded)
{
	struct pool pool;
	struct ring ring;
	__u64 names[NR_BUFS];
	int sock[2];
};

FIXTURE_SETUP(crowded)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, FBUF_RING_ACCEPT, 2,
			       0));
}

FIXTURE_TEARDOWN(crowded)
{
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static __u64 overflow(const struct ring *ring)
{
	return __atomic_load_n(&ring->head->overflow, __ATOMIC_RELAXED);
}

/* Inline, so that the order is that of the sends. */
TEST_F(crowded, in_turn)
{
	struct fbuf_seg seg = inline_seg("x", 1);
	unsigned int i;

	for (i = 0; i < 20; i++)
		ASSERT_EQ(1, send_segs(self->pool.fd, self->sock[0], &seg, 1,
				       0, 0, i));
	EXPECT_EQ(2U, ring_len(&self->ring));
	EXPECT_TRUE(wait_for(overflow(&self->ring), DEADLINE_MS));
	EXPECT_FALSE(wait_for(overflow(&self->ring) != 1, 200));
	for (i = 0; i < 20; i++)
		EXPECT_TRUE(told(&self->ring, i));
	EXPECT_TRUE(silent(&self->ring));
}

/* Buffers are sent again while their cookies wait for room: these are not put off. */
TEST_F(crowded, sent_again_meanwhile)
{
	struct fbuf_seg seg = named_seg(self->names[0], 0, LEN);
	struct fbuf_ring_entry e;
	unsigned int i, seen = 0;
	char got[LEN];

	for (i = 0; i < 4; i++) {
		ASSERT_EQ((int)LEN, send_segs(self->pool.fd, self->sock[0],
					      &seg, 1, 0, 0, i));
		ASSERT_EQ((ssize_t)LEN, read_full(self->sock[1], got, LEN));
		ASSERT_EQ(1, pool_wait(self->pool.fd, self->names, 1,
				       DEADLINE_MS));
		/* So that it was looked at. */
		EXPECT_TRUE(wait_for(i < 2 ? ring_len(&self->ring) == i + 1 :
				     overflow(&self->ring), DEADLINE_MS));
		EXPECT_FALSE(wait_for(false, i > 2 ? 100 : 0));
	}
	ASSERT_EQ((int)LEN, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0,
				      0, NULL));
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		EXPECT_EQ((__u32)FBUF_RING_SENT, e.type);
		ASSERT_GT(4ULL, e.data);
		seen |= 1U << e.data;
	}
	EXPECT_EQ(0xfU, seen);
}

/* PASS finds no room while cookies have it, and cookies none while it is passed. */
TEST_F(crowded, with_passed_ones)
{
	struct fbuf_seg seg = inline_seg("x", 1);
	struct fbuf_ring_entry e;
	__u32 to = pool_handle(self->pool.fd);
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	unsigned int i, passed = 0, sent = 0;

	ASSERT_LE(0, fd);
	ASSERT_EQ(2, pool_hold(fd, self->names, 2));
	ASSERT_EQ(1, pool_pass_one(fd, to, self->names[0], 5));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(1, send_segs(self->pool.fd, self->sock[0], &seg, 1,
				       0, 0, 1));
	EXPECT_EQ(-EAGAIN, pool_pass_one(fd, to, self->names[1], 6));
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		passed += e.type == FBUF_RING_PASSED && e.data == 5;
		sent += is_sent(&e, 1);
	}
	EXPECT_EQ(1U, passed);
	EXPECT_EQ(3U, sent);
	EXPECT_EQ(1, pool_pass_one(fd, to, self->names[1], 6));
	close(fd);
}

/* A head that makes no sense is a full ring, and nothing is lost by it. */
TEST_F(crowded, head_that_makes_no_sense)
{
	struct fbuf_seg seg = inline_seg("x", 1);
	unsigned int i;

	__atomic_store_n(&self->ring.head->head, 1000, __ATOMIC_RELEASE);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(1, send_segs(self->pool.fd, self->sock[0], &seg, 1,
				       0, 0, i));
	EXPECT_TRUE(wait_for(overflow(&self->ring), DEADLINE_MS));
	EXPECT_EQ(0U, self->ring.head->tail);
	__atomic_store_n(&self->ring.head->head, 0, __ATOMIC_RELEASE);
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(told(&self->ring, i));
}

/* As long as can be, of which nothing is waited for but room in the ring. */
static bool send_long(struct _test_data_crowded *self, __u64 cookie)
{
	static struct fbuf_seg segs[FBUF_SEGS_MAX];
	static char got[FBUF_SEGS_MAX];
	unsigned int i;

	for (i = 0; i < FBUF_SEGS_MAX; i++)
		segs[i] = named_seg(self->names[i % NR_BUFS], i, 1);
	return send_segs(self->pool.fd, self->sock[0], segs, FBUF_SEGS_MAX, 0,
			 FBUF_ENGINE_COPY, cookie) == (int)FBUF_SEGS_MAX &&
	       read_full(self->sock[1], got, sizeof(got)) == sizeof(got);
}

/* As many segments as may wait, and no more; others when entries are consumed. */
TEST_F(crowded, too_many)
{
	struct fbuf_seg seg = inline_seg("x", 1), buf;
	struct fbuf_ring_entry e;
	char got[FBUF_SEGS_MAX];
	unsigned int i;

	buf = named_seg(self->names[0], 0, 1);
	/* The ring has room for two, and then they wait. */
	for (i = 0; i < 2 + COOKIES_MAX / FBUF_SEGS_MAX - 1; i++)
		ASSERT_TRUE(send_long(self, i));
	for (i = 0; i < FBUF_SEGS_MAX; i++)
		ASSERT_EQ(1, send_segs(self->pool.fd, self->sock[0], &seg, 1,
				       0, 0, 1000));
	EXPECT_EQ(-ENOBUFS, send_segs(self->pool.fd, self->sock[0], &seg, 1, 0,
				      0, 2000));
	EXPECT_EQ(-ENOBUFS, send_segs(self->pool.fd, self->sock[0], &buf, 1, 0,
				      0, 2000));
	ASSERT_EQ((ssize_t)sizeof(got), read_full(self->sock[1], got,
						  sizeof(got)));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	/* Without a cookie it goes. */
	EXPECT_EQ(1, pool_send(self->pool.fd, self->sock[0], &buf, 1, 0, 0,
			       NULL));
	ASSERT_TRUE(ring_next(&self->ring, &e));
	EXPECT_TRUE(is_sent(&e, 0));
	EXPECT_TRUE(wait_for(send_segs(self->pool.fd, self->sock[0], &seg, 1, 0,
				       0, 3000) == 1, DEADLINE_MS));
}

/* A send by io_uring that goes on when there is room has one, at its end. */
FIXTURE(later)
{
	struct pool pool;
	struct ring ring;
	struct io_uring uring;
	__u64 names[NR_BUFS];
	struct fbuf_seg segs[NR_BUFS];
	int sock[2];
	__u8 *got;
};

#define LATER_SIZE	65536U

FIXTURE_SETUP(later)
{
	unsigned int i;

	if (kernel_before(6, 10))
		SKIP(return, "such a send is short before Linux 6.10");
	if (io_uring_queue_init(4, &self->uring, 0))
		SKIP(return, "io_uring is disabled");
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	sock_small(self->sock);
	ASSERT_EQ(0, pool_make(&self->pool, LATER_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, 0, ENTRIES, 0));
	for (i = 0; i < NR_BUFS; i++)
		self->segs[i] = named_seg(self->names[i], 0, LATER_SIZE);
	self->got = malloc(NR_BUFS * LATER_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(later)
{
	io_uring_queue_exit(&self->uring);
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

static int submit_send(struct _test_data_later *self, struct fbuf_send *args)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&self->uring);
	struct fbuf_uring_cmd *cmd;

	*args = (struct fbuf_send) {
		.size = sizeof(*args),
		.flags = FBUF_SEND_COOKIE,
		.segs = (uintptr_t)self->segs,
		.nr_segs = NR_BUFS,
		.fd = self->sock[0],
		.cookie = 99,
	};
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, self->pool.fd, NULL, 0, 0);
	cmd = (struct fbuf_uring_cmd *)sqe->cmd;
	cmd->args = (uintptr_t)args;
	cmd->reserved = 0;
	sqe->cmd_op = FBUF_IOC_SEND;
	return io_uring_submit(&self->uring);
}

TEST_F(later, one_at_its_end)
{
	struct io_uring_cqe *cqe;
	struct fbuf_send args;
	struct reader r;

	ASSERT_EQ(1, submit_send(self, &args));
	EXPECT_TRUE(silent(&self->ring));
	EXPECT_EQ(-EAGAIN, io_uring_peek_cqe(&self->uring, &cqe));
	/* Wait for room as the reader makes it. */
	ASSERT_EQ(0, reader_start(&r, self->sock[1], NR_BUFS * LATER_SIZE, -1));
	ASSERT_EQ(0, io_uring_wait_cqe(&self->uring, &cqe));
	EXPECT_EQ((int)(NR_BUFS * LATER_SIZE), cqe->res);
	io_uring_cqe_seen(&self->uring, cqe);
	EXPECT_EQ((ssize_t)(NR_BUFS * LATER_SIZE), reader_join(&r));
	free(r.data);
	EXPECT_TRUE(told(&self->ring, 99));
	EXPECT_TRUE(silent(&self->ring));
}

/* Ended with a part taken: that is no failure. */
TEST_F(later, shut_down_meanwhile)
{
	struct io_uring_cqe *cqe;
	struct fbuf_send args;

	ASSERT_EQ(1, submit_send(self, &args));
	EXPECT_TRUE(silent(&self->ring));
	shutdown(self->sock[0], SHUT_WR);
	ASSERT_EQ(0, io_uring_wait_cqe(&self->uring, &cqe));
	EXPECT_LT(0, cqe->res);
	io_uring_cqe_seen(&self->uring, cqe);
	EXPECT_TRUE(silent(&self->ring));
	close(self->sock[1]);
	close(self->sock[0]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	EXPECT_TRUE(told(&self->ring, 99));
	EXPECT_TRUE(silent(&self->ring));
}

/* Nothing taken, and an error: none. */
TEST_F(later, failed_meanwhile)
{
	struct io_uring_cqe *cqe;
	struct fbuf_send args;

	sock_fill(self->sock[0]);
	ASSERT_EQ(1, submit_send(self, &args));
	EXPECT_EQ(-EAGAIN, io_uring_peek_cqe(&self->uring, &cqe));
	shutdown(self->sock[0], SHUT_WR);
	ASSERT_EQ(0, io_uring_wait_cqe(&self->uring, &cqe));
	EXPECT_EQ(-EPIPE, cqe->res);
	io_uring_cqe_seen(&self->uring, cqe);
	EXPECT_TRUE(silent(&self->ring));
}

/* The ring of io_uring goes, and the send with it. */
TEST_F(later, ring_gone_meanwhile)
{
	struct fbuf_send args;

	ASSERT_EQ(1, submit_send(self, &args));
	io_uring_queue_exit(&self->uring);
	close(self->sock[1]);
	close(self->sock[0]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	EXPECT_TRUE(told(&self->ring, 99));
	ASSERT_EQ(0, io_uring_queue_init(4, &self->uring, 0));
}

/* The pool fd is closed while it waits. */
TEST_F(later, closed_meanwhile)
{
	struct fbuf_send args;

	ASSERT_EQ(1, submit_send(self, &args));
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	io_uring_queue_exit(&self->uring);
	ASSERT_EQ(0, io_uring_queue_init(4, &self->uring, 0));
	ASSERT_EQ(0, pool_make(&self->pool, LATER_SIZE, NR_BUFS));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, 0, ENTRIES, 0));
}

/* Threads that send the same buffers, with cookies of their own: all come, once. */
#define THREADS		4U
#define ROUNDS		400U

struct sender {
	pthread_t thread;
	const struct pool *pool;
	const __u64 *names;
	unsigned int nr;
	int pair[2];
	int bad;
};

static void *sender_run(void *arg)
{
	struct sender *s = arg;
	char got[2 * LEN];
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		struct fbuf_seg segs[2];
		int ret;

		segs[0] = named_seg(s->names[i % NR_BUFS], 0, LEN);
		segs[1] = named_seg(s->names[(i + s->nr) % NR_BUFS], 0, LEN);
		ret = send_segs(s->pool->fd, s->pair[0], segs, 2,
				i % 3 ? 0 : FBUF_SEND_NOTIFY,
				i % 5 ? 0 : FBUF_ENGINE_UBUF,
				s->nr * ROUNDS + i);
		if (ret != 2 * (int)LEN ||
		    read_full(s->pair[1], got, sizeof(got)) != sizeof(got))
			s->bad = ret ? ret : -EIO;
	}
	return NULL;
}

TEST(of_threads)
{
	struct sender senders[THREADS];
	__u64 names[NR_BUFS];
	struct fbuf_ring_entry e;
	unsigned int i, seen = 0;
	struct pool pool;
	struct ring ring;
	__u8 *had;

	had = calloc(THREADS, ROUNDS);
	ASSERT_NE(NULL, had);
	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(pool.fd, names, NR_BUFS));
	/* So small that it is full now and then. */
	ASSERT_EQ(0, ring_make(&ring, pool.fd, 0, 16, 0));
	for (i = 0; i < THREADS; i++) {
		senders[i] = (struct sender) {
			.pool = &pool, .names = names, .nr = i,
		};
		ASSERT_EQ(0, tcp_pair(AF_INET, senders[i].pair));
		ASSERT_EQ(0, pthread_create(&senders[i].thread, NULL,
					    sender_run, &senders[i]));
	}
	while (seen < THREADS * ROUNDS) {
		ASSERT_TRUE(ring_wait(&ring, &e, DEADLINE_MS));
		if (e.type != FBUF_RING_SENT)
			continue;
		ASSERT_GT(THREADS * ROUNDS, e.data);
		ASSERT_EQ(0, had[e.data]);
		had[e.data] = 1;
		seen++;
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(senders[i].thread, NULL);
		EXPECT_EQ(0, senders[i].bad);
		close(senders[i].pair[0]);
		close(senders[i].pair[1]);
	}
	ring_unmake(&ring);
	pool_unmake(&pool);
	free(had);
}

/* The eventfd of the ring is told, also of what needs no buffer. */
TEST(by_eventfd)
{
	struct fbuf_seg seg = inline_seg("x", 1);
	struct pool pool;
	struct ring ring;
	int sock[2], event = eventfd(0, EFD_NONBLOCK);
	eventfd_t count;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, 1));
	ASSERT_EQ(0, ring_make(&ring, pool.fd, FBUF_RING_EVENTFD, 4, event));
	ASSERT_EQ(1, send_segs(pool.fd, sock[0], &seg, 1, 0, 0, 1));
	EXPECT_EQ(0, eventfd_read(event, &count));
	EXPECT_EQ(1ULL, count);
	EXPECT_TRUE(told(&ring, 1));
	EXPECT_EQ(-1, eventfd_read(event, &count));
	ring_unmake(&ring);
	pool_unmake(&pool);
	close(event);
	close(sock[0]);
	close(sock[1]);
}

TEST(told_by_info)
{
	struct fbuf_info info;
	struct pool pool;

	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, 1));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_TRUE(info.features & FBUF_FEATURE_COOKIE);
	pool_unmake(&pool);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
