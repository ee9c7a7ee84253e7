// SPDX-License-Identifier: GPL-2.0
/*
 * Parcels and the rest: sent on, alone and among other segments; named by who may not,
 * or no longer; at each limit; what becomes of the sender's buffers meanwhile; and when
 * threads use the same ones, or their holder dies.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "../common/nl.h"
#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		8U
#define SEED		3
#define OTHER		8

/* Connected: what is written to the first is received, and sent on by the second. */
FIXTURE(forward)
{
	struct pool pool;
	__u64 buf;
	__u64 parcel;
	int in[2];
	int out[2];
	__u8 got[2 * BUF_SIZE];
	struct sent sent;
};

FIXTURE_VARIANT(forward)
{
	int family;
	int type;
	bool tls;
};

FIXTURE_VARIANT_ADD(forward, tcp4)
{
	.family = AF_INET, .type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(forward, tcp6)
{
	.family = AF_INET6, .type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(forward, udp4)
{
	.family = AF_INET, .type = SOCK_DGRAM,
};

FIXTURE_VARIANT_ADD(forward, unix_stream)
{
	.family = AF_UNIX, .type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(forward, tls)
{
	.family = AF_INET, .type = SOCK_STREAM, .tls = true,
};

#define LEN	60000U

FIXTURE_SETUP(forward)
{
	int err = variant->tls ? tls_pair(self->out) :
		  sock_pair(variant->family, variant->type, self->out);

	if (err && variant->tls)
		SKIP(return, "no kernel TLS");
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, tcp_pair(AF_INET, self->in));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->buf, 1));
	pattern_fill(buf_addr(&self->pool, self->buf), OTHER, 0, BUF_SIZE);
	ASSERT_EQ(0, pattern_write(self->in[0], SEED, 0, LEN));
	ASSERT_EQ((int)LEN, pool_recv(self->pool.fd, self->in[1], LEN,
				      FBUF_RECV_ALL, &self->parcel, NULL));
}

FIXTURE_TEARDOWN(forward)
{
	pool_unmake(&self->pool);
	close(self->in[0]);
	close(self->in[1]);
	close(self->out[0]);
	close(self->out[1]);
}

static ssize_t out_read(struct _test_data_forward *self, size_t len)
{
	memset(self->got, 0xee, sizeof(self->got));
	return recv(self->out[1], self->got, len, MSG_WAITALL);
}

TEST_F(forward, ranges)
{
	static const struct {
		size_t at, len;
	} range[] = {
		{ 0, LEN }, { 0, 1 }, { LEN - 1, 1 }, { 1, LEN - 2 },
		{ 4095, 2 }, { 511, 513 }, { 32768, 4096 }, { 40000, 17 },
	};
	struct fbuf_seg seg;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(range); i++) {
		seg = named_seg(self->parcel, range[i].at, range[i].len);
		ASSERT_EQ((ssize_t)range[i].len,
			  pool_send(self->pool.fd, self->out[0], &seg, 1, 0, 0,
				    &self->sent));
		ASSERT_EQ((ssize_t)range[i].len, out_read(self, range[i].len));
		EXPECT_EQ(-1, pattern_differs(self->got, SEED, range[i].at,
					      range[i].len));
		/* UDP copies what is short, and unix sockets before 6.5. */
		if (variant->type == SOCK_STREAM && range[i].len == LEN &&
		    !kernel_before(6, 5))
			EXPECT_EQ(0ULL, self->sent.copied);
	}
	/* It is as it was. */
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, self->parcel, SEED, 0, LEN));
}

/* By every engine that the socket has. */
TEST_F(forward, engines)
{
	static const __u32 engines[] = {
		FBUF_ENGINE_PAGEREF, FBUF_ENGINE_SPLICE, FBUF_ENGINE_COPY,
		FBUF_ENGINE_UBUF,
	};
	struct fbuf_seg seg = named_seg(self->parcel, 100, 50000);
	unsigned int i, ran = 0;

	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		ssize_t ret = pool_send(self->pool.fd, self->out[0], &seg, 1, 0,
					engines[i], &self->sent);

		if (ret == -EOPNOTSUPP)
			continue;
		ASSERT_EQ(50000, ret);
		ASSERT_EQ(50000, out_read(self, 50000));
		EXPECT_EQ(-1, pattern_differs(self->got, SEED, 100, 50000));
		ran++;
	}
	EXPECT_LE(2U - ((variant->family == AF_UNIX || variant->tls) &&
			unix_copies()), ran);
}

TEST_F(forward, among_others)
{
	struct fbuf_seg segs[6];
	__u8 want[40000];
	char head[20];
	size_t at = 0;

	memset(head, 'h', sizeof(head));
	segs[0] = inline_seg(head, sizeof(head));
	memcpy(want, head, sizeof(head));
	at += sizeof(head);
	segs[1] = named_seg(self->parcel, 7, 10000);
	pattern_fill(want + at, SEED, 7, 10000);
	at += 10000;
	segs[2] = buf_seg(&self->pool, self->buf, 33, 5000);
	pattern_fill(want + at, OTHER, 33, 5000);
	at += 5000;
	/* That goes on where the first one ended. */
	segs[3] = named_seg(self->parcel, 10007, 10000);
	pattern_fill(want + at, SEED, 10007, 10000);
	at += 10000;
	segs[4] = named_seg(self->buf, 5033, 100);
	pattern_fill(want + at, OTHER, 5033, 100);
	at += 100;
	segs[5] = inline_seg(head, 1);
	want[at++] = 'h';
	ASSERT_EQ((ssize_t)at, pool_send(self->pool.fd, self->out[0], segs, 6, 0,
					 0, &self->sent));
	ASSERT_EQ((ssize_t)at, out_read(self, at));
	EXPECT_EQ(0, memcmp(want, self->got, at));
}

/* So many that the gather's list of runs grows, with parcels everywhere in it. */
TEST_F(forward, many_segments)
{
	struct fbuf_seg segs[200];
	__u8 want[200 * 100];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(segs); i++) {
		if (i % 3) {
			segs[i] = named_seg(self->parcel, i * 250, 100);
			pattern_fill(want + i * 100, SEED, i * 250, 100);
		} else {
			segs[i] = buf_seg(&self->pool, self->buf, i * 300, 100);
			pattern_fill(want + i * 100, OTHER, i * 300, 100);
		}
	}
	ASSERT_EQ((ssize_t)sizeof(want),
		  pool_send(self->pool.fd, self->out[0], segs,
			    ARRAY_SIZE(segs), 0, 0, &self->sent));
	ASSERT_EQ((ssize_t)sizeof(want), out_read(self, sizeof(want)));
	EXPECT_EQ(0, memcmp(want, self->got, sizeof(want)));
}

TEST_F(forward, fan_out)
{
	struct fbuf_seg segs[2] = {
		named_seg(self->parcel, 3, 20000),
		buf_seg(&self->pool, self->buf, 0, 1000),
	};
	int other[2], i;
	struct fbuf_target target[3];

	ASSERT_EQ(0, tcp_pair(AF_INET, other));
	target[0].fd = self->out[0];
	target[1].fd = -1;
	target[2].fd = other[0];
	ASSERT_EQ(2, pool_fanout(self->pool.fd, segs, 2, target, 3, 0));
	/* Gone while it is in flight to both. */
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->parcel, 1));
	EXPECT_EQ(21000, target[0].result);
	EXPECT_EQ(-EBADF, target[1].result);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(21000, recv(i ? other[1] : self->out[1], self->got,
				      21000, MSG_WAITALL));
		EXPECT_EQ(-1, pattern_differs(self->got, SEED, 3, 20000));
		EXPECT_EQ(-1, pattern_differs(self->got + 20000, OTHER, 0,
					      1000));
	}
	close(other[0]);
	close(other[1]);
}

static int send_batch(int fd, struct fbuf_send_item *items, unsigned int count,
		      __u32 flags)
{
	struct fbuf_send_batch arg = {
		.size = sizeof(arg),
		.flags = flags,
		.items = (uintptr_t)items,
		.count = count,
	};
	int ret = ioctl(fd, FBUF_IOC_SEND_BATCH, &arg);

	return ret < 0 ? -errno : ret;
}

TEST_F(forward, batch)
{
	struct fbuf_seg segs[4] = {
		named_seg(self->parcel, 0, 1000),
		named_seg(self->parcel, 1000, LEN),	/* too much */
		named_seg(self->parcel + (1ULL << 32), 0, 1),
		named_seg(self->parcel, 1000, 2000),
	};
	struct fbuf_send_item item[4] = { 0 };
	int i;

	for (i = 0; i < 4; i++) {
		item[i].segs = (uintptr_t)&segs[i];
		item[i].nr_segs = 1;
		item[i].fd = self->out[0];
	}
	ASSERT_EQ(4, send_batch(self->pool.fd, item, 4, 0));
	EXPECT_EQ(1000, item[0].result);
	EXPECT_EQ(-EINVAL, item[1].result);
	EXPECT_EQ(-ESTALE, item[2].result);
	EXPECT_EQ(2000, item[3].result);
	ASSERT_EQ(1000, out_read(self, 1000));
	EXPECT_EQ(-1, pattern_differs(self->got, SEED, 0, 1000));
	ASSERT_EQ(2000, out_read(self, 2000));
	EXPECT_EQ(-1, pattern_differs(self->got, SEED, 1000, 2000));
	EXPECT_TRUE(sock_empty(self->out[1]));
}

/* Packets have what they need: the parcel, its socket and its pool may be gone. */
TEST_F(forward, dropped_in_flight)
{
	struct fbuf_seg seg = named_seg(self->parcel, 0, LEN);
	__u64 more[20];
	int i;

	ASSERT_EQ((ssize_t)LEN, pool_send(self->pool.fd, self->out[0], &seg, 1,
					  0, 0, NULL));
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->parcel, 1));
	/* Others come, to memory that was let go of. */
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, pattern_write(self->in[0], OTHER, 0, 30000));
		ASSERT_EQ(30000, pool_recv(self->pool.fd, self->in[1], 30000,
					   FBUF_RECV_ALL, &more[i], NULL));
	}
	ASSERT_EQ(20, pool_free(self->pool.fd, more, 20));
	close(self->in[0]);
	close(self->in[1]);
	self->in[0] = -1;
	self->in[1] = -1;
	pool_unmake(&self->pool);
	ASSERT_EQ((ssize_t)LEN, out_read(self, LEN));
	EXPECT_EQ(-1, pattern_differs(self->got, SEED, 0, LEN));
}

TEST_F(forward, drops_what_was_sent)
{
	struct fbuf_seg segs[2] = {
		named_seg(self->parcel, 0, 1000),
		named_seg(self->parcel, 5000, 1000),
	};
	struct fbuf_seg buf = buf_seg(&self->pool, self->buf, 0, 100);
	struct fbuf_target target = { .fd = self->out[0] };
	struct fbuf_info info;
	__u64 second;

	/* There must be one, and not two; a fan-out has no one end. */
	EXPECT_EQ(-EINVAL, pool_send(self->pool.fd, self->out[0], &buf, 1,
				     FBUF_SEND_FREE, 0, NULL));
	EXPECT_EQ(-EINVAL, pool_fanout(self->pool.fd, segs, 1, &target, 1,
				       FBUF_SEND_FREE));
	ASSERT_EQ(0, pattern_write(self->in[0], SEED, 0, 100));
	ASSERT_EQ(100, pool_recv(self->pool.fd, self->in[1], 100,
				 FBUF_RECV_ALL, &second, NULL));
	segs[1].addr = second;
	segs[1] = named_seg(second, 0, 100);
	EXPECT_EQ(-EINVAL, pool_send(self->pool.fd, self->out[0], segs, 2,
				     FBUF_SEND_FREE, 0, NULL));
	EXPECT_TRUE(sock_empty(self->out[1]));
	/* What failed drops nothing. */
	EXPECT_EQ(-EBADF, pool_send(self->pool.fd, -1, segs, 1, FBUF_SEND_FREE,
				    0, NULL));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(2U, info.nr_parcels);

	segs[1] = named_seg(self->parcel, 5000, 1000);
	ASSERT_EQ(2000, pool_send(self->pool.fd, self->out[0], segs, 2,
				  FBUF_SEND_FREE, 0, NULL));
	EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, &self->parcel, 1));
	ASSERT_EQ(2000, out_read(self, 2000));
	EXPECT_EQ(-1, pattern_differs(self->got, SEED, 0, 1000));
	EXPECT_EQ(-1, pattern_differs(self->got + 1000, SEED, 5000, 1000));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(1U, info.nr_parcels);
}

/* All of it, or it stays: who sent a part has to send the rest. */
TEST_F(forward, a_part_drops_nothing)
{
	struct fbuf_seg seg = named_seg(self->parcel, 0, LEN);
	ssize_t ret = 0;
	int tries;

	if (variant->type != SOCK_STREAM)
		SKIP(return, "a datagram goes as a whole");
	sock_small(self->out);
	for (tries = 0; tries < 1000; tries++) {
		ret = pool_send(self->pool.fd, self->out[0], &seg, 1,
				FBUF_SEND_DONTWAIT, FBUF_ENGINE_COPY, NULL);
		if (ret != (ssize_t)LEN)
			break;
	}
	ASSERT_GT(1000, tries);
	ret = pool_send(self->pool.fd, self->out[0], &seg, 1,
			FBUF_SEND_DONTWAIT | FBUF_SEND_FREE, FBUF_ENGINE_COPY,
			NULL);
	if (ret == (ssize_t)LEN)
		SKIP(return, "it found room for all");
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, self->parcel, SEED, 0, LEN));
	EXPECT_EQ(1, pool_free(self->pool.fd, &self->parcel, 1));
}

/* Through three hands, each of which looks at some of it. */
TEST_F(forward, chain)
{
	struct fbuf_seg seg = named_seg(self->parcel, 0, LEN);
	int link[2], i;
	__u64 name;
	__u8 byte;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, tcp_pair(AF_INET, link));
		ASSERT_EQ((ssize_t)LEN, pool_send(self->pool.fd, link[0], &seg,
						  1, FBUF_SEND_FREE, 0, NULL));
		ASSERT_EQ((int)LEN, pool_recv(self->pool.fd, link[1], LEN,
					      FBUF_RECV_ALL, &name, NULL));
		EXPECT_EQ(0, parcel_read(self->pool.fd, name, 777, &byte, 1));
		EXPECT_EQ(pattern_byte(SEED, 777), byte);
		seg = named_seg(name, 0, LEN);
		close(link[0]);
		close(link[1]);
	}
	ASSERT_EQ((ssize_t)LEN, pool_send(self->pool.fd, self->out[0], &seg, 1,
					  FBUF_SEND_FREE, 0, NULL));
	ASSERT_EQ((ssize_t)LEN, out_read(self, LEN));
	EXPECT_EQ(-1, pattern_differs(self->got, SEED, 0, LEN));
}

/* A parcel, its handle, another handle of the pool, and another pool. */
FIXTURE(names)
{
	struct pool pool;
	struct pool other;
	int second;
	int sock[2];
	__u64 buf;
	__u64 parcel;
};

FIXTURE_SETUP(names)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(0, pool_make(&self->other, BUF_SIZE, NR_BUFS));
	self->second = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, self->second);
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->buf, 1));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 5000));
	ASSERT_EQ(5000, pool_recv(self->pool.fd, self->sock[1], 5000,
				  FBUF_RECV_ALL, &self->parcel, NULL));
}

FIXTURE_TEARDOWN(names)
{
	close(self->second);
	pool_unmake(&self->other);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static int send_name(int fd, int sock, __u64 name)
{
	struct fbuf_seg seg = named_seg(name, 0, 1);

	return pool_send(fd, sock, &seg, 1, 0, 0, NULL);
}

static int recv_drop(int fd, int sock, __u64 drop)
{
	struct fbuf_recv arg = {
		.size = sizeof(arg),
		.flags = FBUF_RECV_DONTWAIT,
		.fd = sock,
		.len = 1,
		.drop = drop,
	};
	int ret = ioctl(fd, FBUF_IOC_RECV, &arg);

	return ret < 0 ? -errno : ret;
}

/* What each call that takes a parcel says about a name. */
static void all_say(struct __test_metadata *_metadata,
		    struct _test_data_names *self, int fd, __u64 name, int err)
{
	__u8 byte = 0xee;
	struct fbuf_part part;

	EXPECT_EQ(err, parcel_read(fd, name, 0, &byte, 1));
	EXPECT_EQ(0xee, byte);
	EXPECT_EQ(err, parcel_show(fd, name, &part, 1));
	EXPECT_EQ(err, pool_free(fd, &name, 1));
	EXPECT_EQ(err, recv_drop(fd, self->sock[1], name));
	EXPECT_EQ(err, send_name(fd, self->sock[0], name));
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

TEST_F(names, stale)
{
	__u64 name = self->parcel;

	ASSERT_EQ(1, pool_free(self->pool.fd, &name, 1));
	all_say(_metadata, self, self->pool.fd, name, -ESTALE);
	/* Another has its place now. */
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 5000));
	ASSERT_EQ(5000, pool_recv(self->pool.fd, self->sock[1], 5000,
				  FBUF_RECV_ALL, &self->parcel, NULL));
	EXPECT_NE(name, self->parcel);
	all_say(_metadata, self, self->pool.fd, name, -ESTALE);
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, self->parcel, SEED, 0, 5000));
}

/* It is the handle's alone, not the pool's. */
TEST_F(names, of_another_handle)
{
	all_say(_metadata, self, self->second, self->parcel, -ESTALE);
	all_say(_metadata, self, self->other.fd, self->parcel, -ESTALE);
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, self->parcel, SEED, 0, 5000));
}

TEST_F(names, forged)
{
	__u32 gen = FBUF_NAME_GEN(self->parcel);
	__u32 index = FBUF_NAME_INDEX(self->parcel);
	int fd = self->pool.fd;
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		all_say(_metadata, self, fd,
			FBUF_NAME(index, gen ^ (1U << bit)), -ESTALE);
		/* There are 65536 places at most. */
		if (bit < 31)
			all_say(_metadata, self, fd,
				FBUF_NAME(index ^ (1U << bit), gen),
				bit < 16 ? -ESTALE : -EINVAL);
	}
	all_say(_metadata, self, fd, FBUF_NAME(FBUF_NAME_PARCEL, 0), -ESTALE);
	all_say(_metadata, self, fd, ~0ULL, -EINVAL);
}

/* What is for buffers is not for parcels, and the other way round. */
TEST_F(names, of_the_wrong_kind)
{
	struct fbuf_item item = { .name = self->parcel };
	int fd = self->pool.fd;
	__u64 both[2] = { self->buf, self->parcel }, name = self->parcel;
	struct fbuf_fill fill = {
		.size = sizeof(fill),
		.name = self->parcel,
		.len = 1,
		.fd = self->sock[1],
	};
	struct fbuf_part part;
	struct fbuf_info info;
	struct ring ring;
	__u8 byte;
	int i;

	ASSERT_EQ(0, ring_make(&ring, self->second, FBUF_RING_ACCEPT, 8, 0));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EINVAL, pool_hold(fd, &name, 1));
		EXPECT_EQ(-EINVAL, pool_secure(fd, &name, 1));
		EXPECT_EQ(-EINVAL, pool_wait(fd, &name, 1, 0));
		EXPECT_EQ(-EINVAL, pool_pass(fd, pool_handle(self->second), 0,
					     &item, 1));
		EXPECT_EQ(-1, ioctl(fd, FBUF_IOC_FILL, &fill));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_LT(pool_drop(fd, &name, 1), 0);
		/* With one that is right before it, and none is freed. */
		EXPECT_EQ(-EINVAL, pool_free(fd, both, 2));
		both[0] = self->parcel;
		both[1] = self->buf;
		EXPECT_EQ(i ? -ESTALE : -EINVAL, pool_free(fd, both, 2));
		/* Of a parcel that is no more it is the same. */
		if (!i)
			ASSERT_EQ(1, pool_free(fd, &name, 1));
		both[0] = self->buf;
		both[1] = self->parcel;
	}
	EXPECT_EQ(-EINVAL, parcel_read(fd, self->buf, 0, &byte, 1));
	EXPECT_EQ(-EINVAL, parcel_show(fd, self->buf, &part, 1));
	EXPECT_EQ(-EINVAL, recv_drop(fd, self->sock[1], self->buf));
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(1U, info.holds);
	EXPECT_EQ(0U, ring_len(&ring));
	ring_unmake(&ring);
}

/* By all of them or none; none is named twice. */
TEST_F(names, free_of_many)
{
	int fd = self->pool.fd, i;
	struct fbuf_info info;
	__u64 names[8];

	names[0] = self->parcel;
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 7));
	for (i = 1; i < 8; i++)
		ASSERT_EQ(1, pool_recv(fd, self->sock[1], 1, 0, &names[i],
				       NULL));
	names[7] = names[3];
	EXPECT_EQ(-ESTALE, pool_free(fd, names, 8));
	names[7] = ~0ULL;
	EXPECT_EQ(-EINVAL, pool_free(fd, names, 8));
	names[7] = names[6] + (1ULL << 32) * 100;
	EXPECT_EQ(-ESTALE, pool_free(fd, names, 8));
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(8U, info.nr_parcels);
	EXPECT_LE(8ULL * PAGE, info.parcel_bytes);
	EXPECT_EQ(7, pool_free(fd, names, 7));
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(1U, info.nr_parcels);
}

/* Each segment is right, or nothing is sent. */
TEST_F(names, segments)
{
	struct fbuf_seg segs[2] = { named_seg(self->parcel, 0, 1) };
	static const struct {
		size_t at, len;
	} bad[] = {
		{ 0, 5001 }, { 5000, 1 }, { 4999, 2 }, { 1, 0xffffffff },
		{ 0xffffff, 1 }, { 0, 0 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		segs[1] = named_seg(self->parcel, bad[i].at, bad[i].len);
		EXPECT_EQ(-EINVAL, pool_send(self->pool.fd, self->sock[0], segs,
					     2, 0, 0, NULL));
	}
	/* Without the flag it is an offset in the pool, where there is nothing. */
	segs[1] = (struct fbuf_seg) { .addr = self->parcel, .len = 1 };
	EXPECT_EQ(-EINVAL, pool_send(self->pool.fd, self->sock[0], segs, 2, 0, 0,
				     NULL));
	segs[1] = named_seg(self->parcel, 0, 1);
	segs[1].flags |= FBUF_SEG_INLINE;
	EXPECT_EQ(-EINVAL, pool_send(self->pool.fd, self->sock[0], segs, 2, 0, 0,
				     NULL));
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

/* Without the right there is no RECV; what is there can be read by nobody else. */
TEST_F(names, rights)
{
	int fd = pool_share(self->pool.fd, FBUF_RIGHT_READ | FBUF_RIGHT_WRITE |
			    FBUF_RIGHT_SEND, 0, NULL);
	__u64 name;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 100));
	EXPECT_EQ(-EACCES, pool_recv(fd, self->sock[1], 100, 0, &name, NULL));
	close(fd);
	fd = pool_share(self->pool.fd, FBUF_RIGHT_ALLOC, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(100, pool_recv(fd, self->sock[1], 100, FBUF_RECV_ALL, &name,
				 NULL));
	EXPECT_EQ(-1, parcel_differs(fd, name, SEED, 0, 100));
	EXPECT_EQ(-EACCES, send_name(fd, self->sock[0], name));
	close(fd);
}

/* Limits, and what is charged. */
FIXTURE(limit)
{
	struct pool pool;
	int sock[2];
	__u64 parcel_max, user_max;
	struct fbuf_info before;
};

FIXTURE_SETUP(limit)
{
	if (geteuid())
		SKIP(return, "needs root");
	self->parcel_max = parameter_get("parcel_max");
	self->user_max = parameter_get("user_max");
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, PAGE, 4));
	ASSERT_EQ(0, pool_info(self->pool.fd, &self->before));
}

FIXTURE_TEARDOWN(limit)
{
	parameter_put("parcel_max", self->parcel_max);
	parameter_put("user_max", self->user_max);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

#define MOST	512U

/* Receives a byte a parcel until it is refused: how many, and the refusal. */
static int until_refused(int fd, const int sock[2], __u64 *names,
			 unsigned int *nr)
{
	int ret = 1;

	for (*nr = 0; *nr < MOST && ret == 1; *nr += ret == 1) {
		if (send(sock[0], "x", 1, 0) != 1)
			return -EIO;
		ret = pool_recv(fd, sock[1], 1, 0, &names[*nr], NULL);
	}
	return ret;
}

static bool charged_as_before(struct _test_data_limit *self)
{
	struct fbuf_info info = { };

	return wait_for(!pool_info(self->pool.fd, &info) &&
			info.charged == self->before.charged, DEADLINE_MS) &&
	       !info.nr_parcels && !info.parcel_bytes;
}

TEST_F(limit, defaults)
{
	EXPECT_EQ(0ULL, self->parcel_max);
}

/* Of one pool. A page is the least that a parcel costs. */
TEST_F(limit, parcel_max)
{
	struct fbuf_info info;
	__u64 names[MOST], name;
	struct pool other;
	unsigned int nr;
	char c;

	ASSERT_EQ(0, parameter_put("parcel_max", 100 * PAGE));
	EXPECT_EQ(-EDQUOT, until_refused(self->pool.fd, self->sock, names, &nr));
	EXPECT_LE(25U, nr);
	EXPECT_GE(100U, nr);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(nr, info.nr_parcels);
	EXPECT_LE((__u64)nr * PAGE, info.parcel_bytes);
	EXPECT_GE(100ULL * PAGE, info.parcel_bytes);
	EXPECT_EQ(self->before.charged + info.parcel_bytes, info.charged);
	/* The byte is there for recv(), or for another pool. */
	ASSERT_EQ(1, recv(self->sock[1], &c, 1, MSG_PEEK | MSG_DONTWAIT));
	ASSERT_EQ(0, pool_make(&other, PAGE, 1));
	EXPECT_EQ(1, pool_recv(other.fd, self->sock[1], 1, 0, &name, NULL));
	pool_unmake(&other);
	ASSERT_EQ((int)nr, pool_free(self->pool.fd, names, nr));
	EXPECT_TRUE(charged_as_before(self));
	/* And there is room again. */
	EXPECT_EQ(-EDQUOT, until_refused(self->pool.fd, self->sock, names, &nr));
	EXPECT_LE(25U, nr);
}

TEST_F(limit, user_max)
{
	__u64 names[MOST];
	unsigned int nr;

	ASSERT_EQ(0, parameter_put("user_max", self->before.charged +
				   100 * PAGE));
	EXPECT_EQ(-EDQUOT, until_refused(self->pool.fd, self->sock, names, &nr));
	EXPECT_GE(100U, nr);
	ASSERT_EQ((int)nr, pool_free(self->pool.fd, names, nr));
	EXPECT_TRUE(charged_as_before(self));
	parameter_put("user_max", self->user_max);
	EXPECT_EQ(1, until_refused(self->pool.fd, self->sock, names, &nr));
	EXPECT_EQ(MOST, nr);
}

/* RLIMIT_MEMLOCK is of the pool's maker. */
static int memlock_child(struct _test_data_limit *self)
{
	struct rlimit most = { 104 * PAGE, 104 * PAGE };
	__u64 names[MOST];
	struct pool pool;
	struct fbuf_info info;
	int control = control_open();
	unsigned int nr, i;

	if (setrlimit(RLIMIT_MEMLOCK, &most) || become(100000 + getpid()))
		return 1;
	if (pool_map(&pool, pool_create_on(control, PAGE, 4, 0), PROT_READ))
		return 2;
	for (i = 0; i < 3; i++) {
		if (until_refused(pool.fd, self->sock, names, &nr) != -ENOMEM)
			return 3;
		if (nr < 25 || nr > 100 || pool_info(pool.fd, &info) ||
		    info.nr_parcels != nr)
			return 4;
		if (pool_free(pool.fd, names, nr) != (int)nr ||
		    pool_info(pool.fd, &info) || info.parcel_bytes)
			return 5;
	}
	return 0;
}

TEST_F(limit, memlock)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(memlock_child(self));
	EXPECT_EQ(0, child_status(pid));
}

/* A parcel gets shorter where the limit is, and the rest stays. */
TEST_F(limit, less_than_asked_for)
{
	size_t pos = 0, len = 200000;
	__u64 name;

	ASSERT_EQ(0, parameter_put("parcel_max", 16 * PAGE));
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, len));
	while (pos < len) {
		int ret = pool_recv(self->pool.fd, self->sock[1], len - pos,
				    FBUF_RECV_ALL, &name, NULL);

		ASSERT_LT(0, ret);
		ASSERT_GE(16 * PAGE, (unsigned int)ret);
		ASSERT_EQ(-1, parcel_differs(self->pool.fd, name, SEED, pos,
					     ret));
		ASSERT_EQ(1, pool_free(self->pool.fd, &name, 1));
		pos += ret;
	}
	EXPECT_TRUE(charged_as_before(self));
}

/* As many as a handle may have. */
TEST_F(limit, number)
{
	__u64 name, *names = calloc(FBUF_PARCELS_MAX, sizeof(*names));
	unsigned int i, nr = FBUF_PARCELS_MAX / slower();
	static char data[4096];

	ASSERT_NE(NULL, names);
	for (i = 0; i < nr; i++) {
		if (i % sizeof(data) == 0)
			ASSERT_EQ((ssize_t)sizeof(data),
				  send(self->sock[0], data, sizeof(data), 0));
		ASSERT_EQ(1, pool_recv(self->pool.fd, self->sock[1], 1, 0,
				       &names[i], NULL))
			TH_LOG("number %u", i);
	}
	ASSERT_EQ(1, send(self->sock[0], data, 1, 0));
	if (nr == FBUF_PARCELS_MAX)
		EXPECT_EQ(-ENOBUFS, pool_recv(self->pool.fd, self->sock[1], 1, 0,
					      &name, NULL));
	for (i = 0; i < nr; i += FBUF_BATCH_MAX) {
		unsigned int n = nr - i < FBUF_BATCH_MAX ? nr - i :
							   FBUF_BATCH_MAX;

		ASSERT_EQ((int)n, pool_free(self->pool.fd, names + i, n));
	}
	EXPECT_EQ(1, pool_recv(self->pool.fd, self->sock[1], 1, 0, &name, NULL));
	EXPECT_EQ(1, pool_free(self->pool.fd, &name, 1));
	EXPECT_TRUE(charged_as_before(self));
	free(names);
}

/* A handle that goes takes its parcels with it, and no other's. */
TEST_F(limit, handle_goes)
{
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL), i;
	__u64 name, mine;
	struct fbuf_info info;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pattern_write(self->sock[0], SEED, 0, 51000));
	ASSERT_EQ(1000, pool_recv(self->pool.fd, self->sock[1], 1000,
				  FBUF_RECV_ALL, &mine, NULL));
	for (i = 0; i < 50; i++)
		ASSERT_EQ(1000, pool_recv(fd, self->sock[1], 1000,
					  FBUF_RECV_ALL, &name, NULL));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(51U, info.nr_parcels);
	close(fd);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(1U, info.nr_parcels);
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, mine, SEED, 0, 1000));
	ASSERT_EQ(1, pool_free(self->pool.fd, &mine, 1));
	EXPECT_TRUE(charged_as_before(self));
}

/* A parcel's reference is like a packet's, to the sender. */
FIXTURE(flight)
{
	struct pool from;
	struct pool to;
	__u64 name;
	__u64 parcel;
	int sock[2];
};

FIXTURE_VARIANT(flight)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(flight, volatile_pool)
{
};

FIXTURE_VARIANT_ADD(flight, snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT,
};

FIXTURE_VARIANT_ADD(flight, secured)
{
	.flags = FBUF_POOL_SECURED,
};

FIXTURE_SETUP(flight)
{
	struct fbuf_seg seg;

	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->from, BUF_SIZE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ(0, pool_make(&self->to, PAGE, 1));
	ASSERT_EQ(1, pool_alloc(self->from.fd, &self->name, 1));
	pattern_fill(buf_addr(&self->from, self->name), SEED, 0, BUF_SIZE);
	seg = buf_seg(&self->from, self->name, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(self->from.fd, self->sock[0],
					       &seg, 1, 0, 0, NULL));
	ASSERT_EQ((int)BUF_SIZE, pool_recv(self->to.fd, self->sock[1], BUF_SIZE,
					   FBUF_RECV_ALL, &self->parcel, NULL));
}

FIXTURE_TEARDOWN(flight)
{
	pool_unmake(&self->from);
	pool_unmake(&self->to);
	close(self->sock[0]);
	close(self->sock[1]);
}

static __u64 pool_id(int fd)
{
	struct fbuf_info info = { };

	return pool_info(fd, &info) ? 0 : info.id;
}

static int stats_of(struct nl *nl, __u64 id, struct nl_row *row)
{
	const struct nl_arg arg = { FBUF_A_STATS_POOL_ID, 8, id };

	return nl_do(nl, FBUF_CMD_STATS_GET, &arg, 1, row);
}

TEST_F(flight, until_it_is_freed)
{
	struct fbuf_info info;
	__u64 names[NR_BUFS];
	int i;

	/* Sent, acknowledged and received, but for the parcel. */
	close(self->sock[0]);
	close(self->sock[1]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->from.fd, &self->name, 1, 50));
	ASSERT_EQ(1, pool_free(self->from.fd, &self->name, 1));
	ASSERT_EQ(0, pool_info(self->from.fd, &info));
	EXPECT_EQ(1U, info.nr_in_flight);
	ASSERT_EQ((int)NR_BUFS - 1, pool_alloc(self->from.fd, names, NR_BUFS));
	for (i = 0; i < (int)NR_BUFS - 1; i++)
		EXPECT_NE(FBUF_NAME_INDEX(self->name),
			  FBUF_NAME_INDEX(names[i]));
	EXPECT_EQ(-EAGAIN, pool_alloc(self->from.fd, &names[NR_BUFS - 1], 1));
	EXPECT_EQ(-1, parcel_differs(self->to.fd, self->parcel, SEED, 0,
				     BUF_SIZE));
	ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	EXPECT_EQ(1, pool_alloc_wait(self->from.fd, &names[NR_BUFS - 1], 1,
				     DEADLINE_MS));
}

/* An administrator sees what a pool has in parcels, for how long, and what it had. */
TEST_F(flight, netlink_tells)
{
	const __u64 id = pool_id(self->to.fd);
	static const char text[100];
	struct nl_row row, stats;
	struct nl nl;

	ASSERT_EQ(0, nl_open(&nl));
	usleep(20000);
	ASSERT_EQ(0, nl_pool(&nl, id, &row));
	EXPECT_EQ(1ULL, row.val[FBUF_A_POOL_PARCELS]);
	EXPECT_LE(BUF_SIZE, row.val[FBUF_A_POOL_PARCEL_BYTES]);
	EXPECT_LE(20ULL, row.val[FBUF_A_POOL_PARCEL_OLDEST_MS]);
	EXPECT_GT(DEADLINE_MS, row.val[FBUF_A_POOL_PARCEL_OLDEST_MS]);
	ASSERT_EQ(0, stats_of(&nl, id, &stats));
	EXPECT_EQ(1ULL, stats.val[FBUF_A_STATS_RECVS]);
	EXPECT_EQ((__u64)BUF_SIZE, stats.val[FBUF_A_STATS_RECEIVED]);
	EXPECT_GT(BUF_SIZE / 4, stats.val[FBUF_A_STATS_RECV_COPIED]);
	ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	ASSERT_EQ(0, nl_pool(&nl, id, &row));
	EXPECT_EQ(0ULL, row.val[FBUF_A_POOL_PARCELS]);
	EXPECT_EQ(0ULL, row.val[FBUF_A_POOL_PARCEL_BYTES]);
	EXPECT_FALSE(row.has[FBUF_A_POOL_PARCEL_OLDEST_MS]);
	/* What was copied is counted as such. */
	ASSERT_EQ(100, send(self->sock[0], text, 100, 0));
	ASSERT_EQ(100, pool_recv(self->to.fd, self->sock[1], 100, 0,
				 &self->parcel, NULL));
	ASSERT_EQ(0, stats_of(&nl, id, &row));
	EXPECT_EQ(2ULL, row.val[FBUF_A_STATS_RECVS]);
	EXPECT_EQ(BUF_SIZE + 100ULL, row.val[FBUF_A_STATS_RECEIVED]);
	EXPECT_EQ(stats.val[FBUF_A_STATS_RECV_COPIED] + 100,
		  row.val[FBUF_A_STATS_RECV_COPIED]);
	nl_close(&nl);
}

TEST_F(flight, written_meanwhile)
{
	__u8 *buf = buf_addr(&self->from, self->name);
	struct fbuf_info info;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		memset(buf, 0x55, BUF_SIZE);
		_exit(0);
	}
	if (variant->flags & FBUF_POOL_SECURED) {
		ASSERT_EQ(0, wait_state(pid, pid, "SD", DEADLINE_MS));
		usleep(30000);
		EXPECT_EQ(-1, parcel_differs(self->to.fd, self->parcel, SEED, 0,
					     BUF_SIZE));
		ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
		EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	} else {
		EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
		/* Of a volatile pool the peer sees it. */
		EXPECT_EQ(variant->flags ? -1 : 0,
			  parcel_differs(self->to.fd, self->parcel, SEED, 0,
					 BUF_SIZE));
		ASSERT_EQ(0, pool_info(self->from.fd, &info));
		EXPECT_EQ(!!variant->flags, info.snapshots);
	}
	EXPECT_TRUE(is_all(buf, 0x55, BUF_SIZE));
}

/* Its maker is charged for the snapshot as long as the parcel needs it. */
TEST_F(flight, snapshot_charged)
{
	struct fbuf_info info, after;

	if (variant->flags != FBUF_POOL_SNAPSHOT)
		SKIP(return, "no snapshots");
	memset(buf_addr(&self->from, self->name), 0x55, BUF_SIZE);
	ASSERT_EQ(0, pool_info(self->from.fd, &info));
	EXPECT_LT(info.pool_size, info.charged);
	ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	EXPECT_TRUE(wait_for(!pool_info(self->from.fd, &after) &&
			     after.charged < info.charged, DEADLINE_MS));
}

/* It goes on to a third, and the first is waited for still. */
TEST_F(flight, sent_on)
{
	struct fbuf_seg seg = named_seg(self->parcel, 0, BUF_SIZE);
	static __u8 got[BUF_SIZE];
	int sock[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(self->to.fd, sock[0], &seg, 1, 0,
					       0, NULL));
	ASSERT_EQ(1, pool_free(self->to.fd, &self->parcel, 1));
	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->from.fd, &self->name, 1, 50));
	ASSERT_EQ((ssize_t)BUF_SIZE, read_full(sock[1], got, BUF_SIZE));
	EXPECT_EQ(-1, pattern_differs(got, SEED, 0, BUF_SIZE));
	EXPECT_EQ(1, pool_wait(self->from.fd, &self->name, 1, DEADLINE_MS));
	close(sock[0]);
	close(sock[1]);
}

/* A pool that sends to itself what it has received of its own. */
FIXTURE(self_sent)
{
	struct pool pool;
	struct ring ring;
	__u64 bufs[2];
	__u64 parcel;
	int sock[2];
};

FIXTURE_SETUP(self_sent)
{
	struct fbuf_seg seg;

	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, 0, 64, 0));
	ASSERT_EQ(2, pool_alloc(self->pool.fd, self->bufs, 2));
	pattern_fill(buf_addr(&self->pool, self->bufs[0]), SEED, 0, BUF_SIZE);
	pattern_fill(buf_addr(&self->pool, self->bufs[1]), OTHER, 0, BUF_SIZE);
	seg = buf_seg(&self->pool, self->bufs[0], 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, self->sock[0],
					       &seg, 1, 0, 0, NULL));
	ASSERT_EQ((int)BUF_SIZE, pool_recv(self->pool.fd, self->sock[1],
					   BUF_SIZE, FBUF_RECV_ALL,
					   &self->parcel, NULL));
}

FIXTURE_TEARDOWN(self_sent)
{
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static void drain(struct __test_metadata *_metadata,
		  struct _test_data_self_sent *self, size_t len)
{
	__u8 *got = malloc(len);

	ASSERT_NE(NULL, got);
	ASSERT_EQ((ssize_t)len, read_full(self->sock[1], got, len));
	EXPECT_EQ(-1, pattern_differs(got, SEED, 0, 20000));
	free(got);
}

/* A notice is of the gather's buffers, not of one that a parcel refers to. */
TEST_F(self_sent, notify)
{
	struct fbuf_seg segs[2] = {
		named_seg(self->parcel, 0, 20000),
		buf_seg(&self->pool, self->bufs[1], 0, 10000),
	};
	struct fbuf_ring_entry entry;

	ASSERT_EQ(30000, pool_send(self->pool.fd, self->sock[0], segs, 2,
				   FBUF_SEND_NOTIFY, 0, NULL));
	drain(_metadata, self, 30000);
	ASSERT_TRUE(ring_wait(&self->ring, &entry, DEADLINE_MS));
	EXPECT_EQ(FBUF_RING_IDLE, entry.type);
	EXPECT_EQ(self->bufs[1], entry.name);
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->parcel, 1));
	EXPECT_FALSE(ring_wait(&self->ring, &entry, 300));
	/* Of a parcel alone there is none. */
	ASSERT_EQ(1, pool_wait(self->pool.fd, self->bufs, 1, DEADLINE_MS));
}

TEST_F(self_sent, notify_of_a_parcel_alone)
{
	struct fbuf_seg seg = named_seg(self->parcel, 0, 20000);
	struct fbuf_ring_entry entry;

	ASSERT_EQ(20000, pool_send(self->pool.fd, self->sock[0], &seg, 1,
				   FBUF_SEND_NOTIFY, 0, NULL));
	drain(_metadata, self, 20000);
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->parcel, 1));
	EXPECT_FALSE(ring_wait(&self->ring, &entry, 300));
}

/* The buffer of which the parcel is, in the gather as well: that one is told of. */
TEST_F(self_sent, notify_of_both)
{
	struct fbuf_seg segs[2] = {
		named_seg(self->parcel, 0, 20000),
		buf_seg(&self->pool, self->bufs[0], 20000, 20000),
	};
	struct fbuf_ring_entry entry;

	ASSERT_EQ(40000, pool_send(self->pool.fd, self->sock[0], segs, 2,
				   FBUF_SEND_NOTIFY, 0, NULL));
	drain(_metadata, self, 40000);
	/* It is in flight as long as there is the parcel. */
	EXPECT_FALSE(ring_wait(&self->ring, &entry, 300));
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->parcel, 1));
	ASSERT_TRUE(ring_wait(&self->ring, &entry, DEADLINE_MS));
	EXPECT_EQ(self->bufs[0], entry.name);
	EXPECT_FALSE(ring_wait(&self->ring, &entry, 100));
}

static int send_cookie(struct _test_data_self_sent *self,
		       const struct fbuf_seg *segs, unsigned int nr,
		       __u64 cookie)
{
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.flags = FBUF_SEND_COOKIE,
		.segs = (uintptr_t)segs,
		.nr_segs = nr,
		.fd = self->sock[0],
		.cookie = cookie,
	};
	int ret = ioctl(self->pool.fd, FBUF_IOC_SEND, &arg);

	return ret < 0 ? -errno : ret;
}

/* It comes when the gather's buffers are idle, be the parcel's what they may. */
TEST_F(self_sent, cookie)
{
	struct fbuf_seg segs[2] = {
		named_seg(self->parcel, 0, 20000),
		buf_seg(&self->pool, self->bufs[1], 0, 10000),
	};
	struct fbuf_ring_entry entry;

	ASSERT_EQ(30000, send_cookie(self, segs, 2, 77));
	EXPECT_FALSE(ring_wait(&self->ring, &entry, 100));
	drain(_metadata, self, 30000);
	ASSERT_TRUE(ring_wait(&self->ring, &entry, DEADLINE_MS));
	EXPECT_EQ(FBUF_RING_SENT, entry.type);
	EXPECT_EQ(77ULL, entry.data);
	EXPECT_EQ(0ULL, entry.name);
	/* Of a parcel alone, there is nothing to wait for. */
	ASSERT_EQ(20000, send_cookie(self, segs, 1, 78));
	ASSERT_TRUE(ring_wait(&self->ring, &entry, DEADLINE_MS));
	EXPECT_EQ(78ULL, entry.data);
	drain(_metadata, self, 20000);
	EXPECT_FALSE(ring_wait(&self->ring, &entry, 100));
}

/* To send a parcel protects nothing more, and counts as no buffer's. */
TEST_F(self_sent, protects)
{
	struct fbuf_seg seg = named_seg(self->parcel, 0, 20000);
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.segs = (uintptr_t)&seg,
		.nr_segs = 1,
		.fd = self->sock[0],
	};
	struct fbuf_info before, info;

	ASSERT_EQ(0, pool_info(self->pool.fd, &before));
	ASSERT_EQ(20000, ioctl(self->pool.fd, FBUF_IOC_SEND, &arg));
	EXPECT_EQ(0U, arg.protects);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(before.protects, info.protects);
	EXPECT_EQ(before.sends + 1, info.sends);
	EXPECT_EQ(before.bytes + 20000, info.bytes);
	/* What the sender writes now is not what is sent. */
	memset(buf_addr(&self->pool, self->bufs[0]), 0x55, BUF_SIZE);
	drain(_metadata, self, 20000);
}

/* Threads that do all there is to the same few names. */
#define SHARED	8U

FIXTURE(crowd)
{
	struct pool pool;
	struct pool from;
	int in[2];
	int out[2];
	__u64 names[SHARED];
	bool stop;
	unsigned int wrong, good[4];
};

FIXTURE_SETUP(crowd)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->in));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->out));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ(0, pool_make_flags(&self->from, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SNAPSHOT));
}

FIXTURE_TEARDOWN(crowd)
{
	pool_unmake(&self->pool);
	pool_unmake(&self->from);
	close(self->in[0]);
	close(self->in[1]);
	close(self->out[0]);
	close(self->out[1]);
}

static bool goes_on(struct _test_data_crowd *self)
{
	return !__atomic_load_n(&self->stop, __ATOMIC_RELAXED);
}

static __u64 any_name(struct _test_data_crowd *self, unsigned int i)
{
	return __atomic_load_n(&self->names[i * 2654435761U >> 16 & (SHARED - 1)],
			       __ATOMIC_RELAXED);
}

/* What may come of a name that another thread drops at any time. */
static void judge(struct _test_data_crowd *self, unsigned int what, int ret,
		  int want)
{
	if (ret == want)
		__atomic_fetch_add(&self->good[what], 1, __ATOMIC_RELAXED);
	else if (ret != -ESTALE && ret != -EAGAIN)
		__atomic_fetch_add(&self->wrong, 1, __ATOMIC_RELAXED);
}

/* Every parcel is the same 3000 bytes: a byte that is not there is another's. */
#define EACH	3000U

static void *crowd_feed(void *arg)
{
	struct _test_data_crowd *self = arg;
	__u8 data[EACH];

	pattern_fill(data, SEED, 0, EACH);
	while (goes_on(self)) {
		if (send(self->in[0], data, EACH, MSG_NOSIGNAL) != EACH)
			break;
	}
	shutdown(self->in[0], SHUT_WR);
	return NULL;
}

static void *crowd_receive(void *arg)
{
	struct _test_data_crowd *self = arg;
	unsigned int i;

	for (i = 0;; i++) {
		__u64 name, old;
		int ret = pool_recv(self->pool.fd, self->in[1], EACH,
				    FBUF_RECV_ALL, &name, NULL);

		if (ret <= 0)
			return NULL;
		judge(self, 0, ret, EACH);
		old = __atomic_exchange_n(&self->names[i % SHARED], name,
					  __ATOMIC_RELAXED);
		if (old)
			judge(self, 1, pool_free(self->pool.fd, &old, 1), 1);
	}
}

static void *crowd_use(void *arg)
{
	static __thread __u8 got[EACH];
	struct _test_data_crowd *self = arg;
	struct fbuf_part part;
	struct fbuf_seg seg;
	unsigned int i;
	__u64 name;
	int ret;

	for (i = 0; goes_on(self); i++) {
		name = any_name(self, i);
		if (!name)
			continue;
		ret = parcel_read(self->pool.fd, name, 0, got, EACH);
		judge(self, 2, ret, 0);
		if (!ret && pattern_differs(got, SEED, 0, EACH) != -1)
			judge(self, 2, -EILSEQ, 0);
		ret = parcel_show(self->pool.fd, name, &part, 1);
		if (ret < 0 && ret != -ESTALE)
			judge(self, 2, ret, 0);
		seg = named_seg(name, 0, EACH);
		ret = pool_send(self->pool.fd, self->out[0], &seg, 1,
				i % 3 ? 0 : FBUF_SEND_FREE, 0, NULL);
		judge(self, 3, ret, EACH);
	}
	return NULL;
}

static void *crowd_drain(void *arg)
{
	static __thread __u8 got[EACH];
	struct _test_data_crowd *self = arg;
	ssize_t ret;

	while ((ret = read_full(self->out[1], got, EACH)) == EACH) {
		if (pattern_differs(got, SEED, 0, EACH) != -1)
			judge(self, 3, -EILSEQ, 0);
	}
	return NULL;
}

TEST_F(crowd, same_names)
{
	static void *(* const run[])(void *arg) = {
		crowd_feed, crowd_use, crowd_use, crowd_use,
		crowd_receive, crowd_drain,
	};
	pthread_t thread[ARRAY_SIZE(run)];
	struct fbuf_info info;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(run); i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, run[i], self));
	usleep(2000000);
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 5; i++)
		pthread_join(thread[i], NULL);
	shutdown(self->out[0], SHUT_WR);
	pthread_join(thread[5], NULL);
	TH_LOG("%u received, %u freed, %u read, %u sent", self->good[0],
	       self->good[1], self->good[2], self->good[3]);
	EXPECT_EQ(0U, self->wrong);
	for (i = 0; i < 4; i++)
		EXPECT_LT(0U, self->good[i]);
	for (i = 0; i < SHARED; i++)
		pool_free(self->pool.fd, &self->names[i], 1);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0U, info.nr_parcels);
	EXPECT_EQ(0ULL, info.parcel_bytes);
}

/* The fd is closed while a call waits: that one keeps the handle, and ends. */
TEST_F(crowd, closed_in_a_call)
{
	struct getter g = {
		.pool = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL),
		.sock = self->in[1],
		.len = 5000,
		.flags = FBUF_RECV_ALL,
	};
	struct fbuf_info info;

	ASSERT_LE(0, g.pool);
	ASSERT_EQ(0, pattern_write(self->in[0], SEED, 0, 3000));
	ASSERT_EQ(0, getter_start(&g));
	ASSERT_TRUE(getter_waits(&g));
	close(g.pool);
	ASSERT_TRUE(getter_waits(&g));
	ASSERT_EQ(0, pattern_write(self->in[0], SEED, 3000, 2000));
	EXPECT_EQ(5000, getter_ends(&g));
	/* And with it went the parcel. */
	EXPECT_TRUE(wait_for(!pool_info(self->pool.fd, &info) &&
			     info.nr_handles == 1 && !info.nr_parcels,
			     DEADLINE_MS));
	EXPECT_EQ(0ULL, info.parcel_bytes);
}

/* So is the socket. */
TEST_F(crowd, socket_closed_in_a_call)
{
	struct getter g = {
		.pool = self->pool.fd,
		.sock = self->in[1],
		.len = 5000,
		.flags = FBUF_RECV_ALL,
	};

	ASSERT_EQ(0, pattern_write(self->in[0], SEED, 0, 3000));
	ASSERT_EQ(0, getter_start(&g));
	ASSERT_TRUE(getter_waits(&g));
	close(self->in[1]);
	self->in[1] = -1;
	ASSERT_TRUE(getter_waits(&g));
	ASSERT_EQ(0, pattern_write(self->in[0], SEED, 3000, 2000));
	EXPECT_EQ(5000, getter_ends(&g));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, g.name, SEED, 0, 5000));
}

/* A process that receives, looks, maps, sends on, and is killed at any moment. */
static void holder(struct _test_data_crowd *self)
{
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	static __u8 got[BUF_SIZE];
	struct fbuf_part part;
	struct fbuf_seg seg;
	unsigned int i;
	__u64 name;

	for (i = 0;; i++) {
		int ret = pool_recv(fd, self->in[1], 1 + i * 7919 % BUF_SIZE, 0,
				    &name, NULL);

		if (ret <= 0)
			_exit(1);
		parcel_read(fd, name, 0, got, ret);
		if (parcel_show(fd, name, &part, 1) > 0) {
			void *map = mmap(NULL, part.len, PROT_READ, MAP_SHARED,
					 fd, part.at);

			if (map != MAP_FAILED)
				memcpy(got, map, part.len);
		}
		seg = named_seg(name, 0, ret);
		pool_send(fd, self->out[0], &seg, 1, FBUF_SEND_DONTWAIT, 0,
			  NULL);
		if (i % 3)
			pool_free(fd, &name, 1);
	}
}

static void *killed_feed(void *arg)
{
	struct _test_data_crowd *self = arg;
	__u64 names[NR_BUFS];
	unsigned int i;

	if (pool_alloc(self->from.fd, names, NR_BUFS) != (int)NR_BUFS)
		return NULL;
	for (i = 0; goes_on(self); i++) {
		struct fbuf_seg seg = buf_seg(&self->from, names[i % NR_BUFS], 0,
					      BUF_SIZE);

		if (pool_send(self->from.fd, self->in[0], &seg, 1, 0, 0,
			      NULL) <= 0)
			break;
	}
	pool_free(self->from.fd, names, NR_BUFS);
	return NULL;
}

TEST_F(crowd, killed)
{
	unsigned int i, rounds = 60 / slower();
	static __u8 got[BUF_SIZE];
	struct fbuf_info before, info;
	pthread_t feed;

	ASSERT_EQ(0, pool_info(self->pool.fd, &before));
	ASSERT_EQ(0, pthread_create(&feed, NULL, killed_feed, self));
	for (i = 0; i < rounds; i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid)
			holder(self);
		usleep(1000 + i * 7919 % 30000);
		kill(pid, SIGKILL);
		ASSERT_EQ(-SIGKILL, child_status_within(pid, DEADLINE_MS));
		while (recv(self->out[1], got, sizeof(got), MSG_DONTWAIT) > 0)
			;
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	shutdown(self->in[1], SHUT_RDWR);
	shutdown(self->in[0], SHUT_RDWR);
	pthread_join(feed, NULL);
	/* Of the pool it was, nothing is left, */
	EXPECT_TRUE(wait_for(!pool_info(self->pool.fd, &info) &&
			     !info.nr_parcels && !info.parcel_bytes &&
			     info.nr_handles == 1 &&
			     info.charged == before.charged, DEADLINE_MS));
	EXPECT_LT((__u64)rounds, info.recvs);
	TH_LOG("%llu received", info.recvs);
	/* and what was sent is idle, once the sockets are gone. */
	close(self->in[0]);
	close(self->in[1]);
	close(self->out[0]);
	close(self->out[1]);
	self->in[0] = -1;
	self->in[1] = -1;
	self->out[0] = -1;
	self->out[1] = -1;
	EXPECT_EQ(0, pool_wait_idle(self->from.fd, NR_BUFS, DEADLINE_MS));
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
