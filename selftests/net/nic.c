// SPDX-License-Identifier: GPL-2.0
/*
 * SEND over a wire: that the right bytes arrive by each engine, that those that
 * the CPU copied are told, that what is sent again is what was sent first, and
 * that who waits for a send by the ubuf engine is told at once.
 */
#include <time.h>

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "bed.h"
#include "nl.h"
#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		17U
#define SEED		3
#define MAX_LEN		(1U << 20)

/* Of a datagram, with room for the headers of IPv6 in an Ethernet frame. */
#define UDP_WHOLE	1452U
#define UDP_MAX		65507U

static const size_t sizes[] = {
	1, 2, 64, 1000, 1447, 1448, 1449, UDP_WHOLE, 4095, 4096, 4097, 9000,
	UDP_MAX, 65536, 65537, 200000, MAX_LEN - 1, MAX_LEN,
};

static const __u32 masks[] = {
	0, FBUF_ENGINE_PAGEREF, FBUF_ENGINE_SPLICE, FBUF_ENGINE_UBUF,
	FBUF_ENGINE_COPY,
};

FIXTURE(wire)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	struct fbuf_seg seg[NR_BUFS];
	struct sent sent;
};

FIXTURE_VARIANT(wire)
{
	int family;
	int type;
};

FIXTURE_VARIANT_ADD(wire, tcp4) { AF_INET, SOCK_STREAM };
FIXTURE_VARIANT_ADD(wire, tcp6) { AF_INET6, SOCK_STREAM };
FIXTURE_VARIANT_ADD(wire, udp4) { AF_INET, SOCK_DGRAM };
FIXTURE_VARIANT_ADD(wire, udp6) { AF_INET6, SOCK_DGRAM };

FIXTURE_SETUP(wire)
{
	unsigned int i;

	ASSERT_EQ(0, bed_pair(variant->family, variant->type, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(buf_addr(&self->pool, self->names[i]), SEED,
			     (size_t)i * BUF_SIZE, BUF_SIZE);
}

FIXTURE_TEARDOWN(wire)
{
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
}

/* Bytes of the pattern from the second one on, so that no page is whole. */
static unsigned int gather(struct _test_data_wire *self, size_t len)
{
	size_t offset = 1;
	unsigned int i;

	for (i = 0; len; i++) {
		size_t part = BUF_SIZE - offset;

		if (part > len)
			part = len;
		self->seg[i] = buf_seg(&self->pool, self->names[i], offset,
				       part);
		len -= part;
		offset = 0;
	}
	return i;
}

static ssize_t send_len(struct _test_data_wire *self, size_t len, __u32 mask)
{
	memset(&self->sent, 0xee, sizeof(self->sent));
	return pool_send(self->pool.fd, self->sock[0], self->seg,
			 gather(self, len), 0, mask, &self->sent);
}

/* The engine that runs when those of @mask may, or 0 if none does. */
static __u32 engine_of(bool stream, __u32 mask)
{
	if (!mask || mask & FBUF_ENGINE_PAGEREF)
		return FBUF_ENGINE_PAGEREF;
	if (stream && mask & FBUF_ENGINE_SPLICE && !kernel_before(6, 5))
		return FBUF_ENGINE_SPLICE;
	return mask & (FBUF_ENGINE_UBUF | FBUF_ENGINE_COPY);
}

/*
 * A datagram that does not fit a frame has its checksum made by the CPU, for
 * which the kernel copies it; and without scatter-gather it copies all.
 */
static size_t copied_of(bool stream, __u32 engine, size_t len)
{
	bool pages = bed_has_sg() && (stream || len <= UDP_WHOLE);

	return pages && engine != FBUF_ENGINE_COPY ? 0 : len;
}

static void stream_len(struct __test_metadata *_metadata,
		       struct _test_data_wire *self, size_t len, __u32 mask)
{
	struct reader reader;

	ASSERT_EQ(0, reader_start(&reader, self->sock[1], len, -1));
	EXPECT_EQ((ssize_t)len, send_len(self, len, mask)) {
		/* The reader would wait for ever. */
		shutdown(self->sock[0], SHUT_RDWR);
	}
	EXPECT_EQ((ssize_t)len, reader_join(&reader));
	EXPECT_EQ(-1, pattern_differs(reader.data, SEED, 1, len));
	free(reader.data);
}

/* It may get lost, when the machine is slow: once or twice. */
static void datagram_len(struct __test_metadata *_metadata,
			 struct _test_data_wire *self, size_t len, __u32 mask)
{
	static __u8 got[BUF_SIZE];
	struct timeval limit = { .tv_sec = 5 };
	ssize_t ret = -1;
	int try;

	setsockopt(self->sock[1], SOL_SOCKET, SO_RCVTIMEO, &limit,
		   sizeof(limit));
	for (try = 0; try < 3 && ret < 0; try++) {
		ASSERT_EQ((ssize_t)len, send_len(self, len, mask));
		ret = recv(self->sock[1], got, sizeof(got), 0);
	}
	ASSERT_EQ((ssize_t)len, ret);
	EXPECT_EQ(-1, pattern_differs(got, SEED, 1, len));
}

TEST_F_TIMEOUT(wire, sizes_and_engines, 200)
{
	bool stream = variant->type == SOCK_STREAM;
	unsigned int i, j, step = slower() > 1 ? 3 : 1;

	for (i = 0; i < ARRAY_SIZE(masks); i++) {
		__u32 engine = engine_of(stream, masks[i]);

		if (!engine) {
			ASSERT_EQ(-EOPNOTSUPP, send_len(self, 1, masks[i]));
			continue;
		}
		for (j = 0; j < ARRAY_SIZE(sizes); j += step) {
			size_t len = sizes[j];

			if (stream)
				stream_len(_metadata, self, len, masks[i]);
			else if (len <= UDP_MAX)
				datagram_len(_metadata, self, len, masks[i]);
			else
				continue;
			EXPECT_EQ(engine, self->sent.engine);
			EXPECT_EQ(copied_of(stream, engine, len),
				  self->sent.copied) {
				TH_LOG("%zu bytes, mask %u", len, masks[i]);
			}
		}
	}
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

/* Many parts and inline data, which no copy is reported for, in one message. */
TEST_F(wire, header_and_parts)
{
	static const char head[] = "a header, and then data";
	struct fbuf_seg seg[9] = { inline_seg(head, sizeof(head)) };
	size_t len = sizeof(head), part = 150, want = 0;
	__u8 got[2048];
	unsigned int i;
	ssize_t ret;

	for (i = 1; i < ARRAY_SIZE(seg); i++) {
		seg[i] = buf_seg(&self->pool, self->names[i], 77 * i, part);
		len += part;
	}
	ASSERT_EQ((ssize_t)len, pool_send(self->pool.fd, self->sock[0], seg,
					  ARRAY_SIZE(seg), 0, 0, &self->sent));
	if (variant->type == SOCK_STREAM)
		ret = read_full(self->sock[1], got, len);
	else
		ret = recv(self->sock[1], got, sizeof(got), 0);
	ASSERT_EQ((ssize_t)len, ret);
	EXPECT_EQ(0, memcmp(got, head, sizeof(head)));
	want = sizeof(head);
	for (i = 1; i < ARRAY_SIZE(seg); i++, want += part)
		EXPECT_EQ(-1, pattern_differs(got + want, SEED, i * BUF_SIZE +
					      77 * i, part));
	EXPECT_EQ(bed_has_sg() ? 0 : len, self->sent.copied);
}

/*
 * The bed itself: what the kernel's own zero copy says of it. Over TCP it says
 * that it did not copy, whatever the device had to do.
 */
TEST_F(wire, msg_zerocopy_copies_nothing)
{
	char control[128];
	struct msghdr msg = { .msg_control = control };
	struct sock_extended_err *ee;
	__u8 got[UDP_WHOLE];
	int one = 1;
	bool copied;

	ASSERT_EQ(0, setsockopt(self->sock[0], SOL_SOCKET, SO_ZEROCOPY, &one,
				sizeof(one)));
	ASSERT_EQ((ssize_t)sizeof(got),
		  send(self->sock[0], self->pool.map, sizeof(got),
		       MSG_ZEROCOPY));
	ASSERT_EQ((ssize_t)sizeof(got), read_full(self->sock[1], got,
						  sizeof(got)));
	/* The call adds to what it is given. */
	ASSERT_TRUE(wait_for((msg.msg_controllen = sizeof(control)) &&
			     recvmsg(self->sock[0], &msg, MSG_ERRQUEUE) >= 0,
			     DEADLINE_MS));
	ASSERT_NE(NULL, CMSG_FIRSTHDR(&msg));
	ee = (void *)CMSG_DATA(CMSG_FIRSTHDR(&msg));
	ASSERT_EQ(SO_EE_ORIGIN_ZEROCOPY, ee->ee_origin);
	copied = ee->ee_code & SO_EE_CODE_ZEROCOPY_COPIED;
	EXPECT_EQ(variant->type == SOCK_DGRAM && !bed_has_sg(), copied);
}

FIXTURE(loss)
{
	struct pool pool;
	int sock[2];
};

FIXTURE_VARIANT(loss)
{
	__u32 flags;
	__u32 engines;
};

FIXTURE_VARIANT_ADD(loss, secured) { FBUF_POOL_SECURED, 0 };
FIXTURE_VARIANT_ADD(loss, snapshot) { FBUF_POOL_SNAPSHOT, 0 };
FIXTURE_VARIANT_ADD(loss, secured_ubuf) { FBUF_POOL_SECURED, FBUF_ENGINE_UBUF };

FIXTURE_SETUP(loss)
{
	ASSERT_EQ(0, bed_pair(AF_INET, SOCK_STREAM, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, 4,
				     variant->flags));
	ASSERT_EQ(0, bed_netem("delay 2ms loss 5%"));
}

FIXTURE_TEARDOWN(loss)
{
	bed_netem(NULL);
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
}

static unsigned int retransmitted(int sock)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);

	getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &len);
	return info.tcpi_total_retrans;
}

/* Fills a buffer, sends it and at once writes over it. */
static bool send_and_spoil(const struct pool *pool, int sock, size_t pos,
			   __u32 engines)
{
	__u64 name = 0;
	struct fbuf_seg seg;
	struct sent sent;
	bool good;

	if (pool_batch(pool->fd, FBUF_IOC_ALLOC, &name, 1, FBUF_ALLOC_WAIT,
		       60000) != 1)
		return false;
	pattern_fill(buf_addr(pool, name), SEED, pos, BUF_SIZE);
	seg = buf_seg(pool, name, 0, BUF_SIZE);
	good = pool_send(pool->fd, sock, &seg, 1, 0, engines, &sent) ==
	       BUF_SIZE &&
	       sent.copied == (bed_has_sg() ? 0 : BUF_SIZE);
	memset(buf_addr(pool, name), 0xdd, BUF_SIZE);
	return pool_free(pool->fd, &name, 1) == 1 && good;
}

/* On past the size until some was sent again: it was lost by chance. */
TEST_F_TIMEOUT(loss, arrives_as_sent, 200)
{
	const size_t step = 16 * BUF_SIZE, most = 16 << 20;
	struct reader reader;
	size_t pos = 0;

	while (!pos || (retransmitted(self->sock[0]) < 2 && pos < most)) {
		size_t end = pos + step;

		ASSERT_EQ(0, reader_start(&reader, self->sock[1], step, -1));
		for (; pos < end; pos += BUF_SIZE) {
			EXPECT_TRUE(send_and_spoil(&self->pool, self->sock[0],
						   pos, variant->engines))
				shutdown(self->sock[0], SHUT_RDWR);
		}
		ASSERT_EQ((ssize_t)step, reader_join(&reader));
		EXPECT_EQ(-1, pattern_differs(reader.data, SEED, end - step,
					      step));
		free(reader.data);
	}
	EXPECT_GE(retransmitted(self->sock[0]), 2);
}

/* Acknowledged late, so that who waits has to sleep. */
FIXTURE(late)
{
	struct pool pool;
	__u64 name;
	struct ring ring;
	struct nl nl;
	__u64 id;
	int sock[2];
};

FIXTURE_SETUP(late)
{
	struct fbuf_info info;

	ASSERT_EQ(0, bed_pair(AF_INET, SOCK_STREAM, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->name, 1));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, 0, 1, 0));
	ASSERT_EQ(0, nl_open(&self->nl));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	self->id = info.id;
	ASSERT_EQ(0, bed_netem("delay 100ms"));
}

FIXTURE_TEARDOWN(late)
{
	bed_netem(NULL);
	nl_close(&self->nl);
	ring_unmake(&self->ring);
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
}

static __u64 waits(struct _test_data_late *self)
{
	const struct nl_arg id = { FBUF_A_STATS_POOL_ID, 8, self->id };
	struct nl_row row;

	if (nl_do(&self->nl, FBUF_CMD_STATS_GET, &id, 1, &row))
		return 0;
	return row.val[FBUF_A_STATS_WAITS];
}

static ssize_t send_late(struct _test_data_late *self, __u32 engine,
			 __u32 flags)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->name, 0, 4000);

	return pool_send(self->pool.fd, self->sock[0], &seg, 1, flags, engine,
			 NULL);
}

/* Looks in vain during WAIT, per send. */
static double naps(struct __test_metadata *_metadata,
		   struct _test_data_late *self, __u32 engine)
{
	const int rounds = 5;
	__u64 before = waits(self);
	int i;

	for (i = 0; i < rounds; i++) {
		EXPECT_EQ(4000, send_late(self, engine, 0));
		EXPECT_EQ(1, pool_wait(self->pool.fd, &self->name, 1,
				       DEADLINE_MS));
	}
	return (double)(waits(self) - before) / rounds;
}

/* One look, one sleep, and then it is there; else it takes many looks. */
TEST_F(late, ubuf_wakes_who_waits)
{
	double told = naps(_metadata, self, FBUF_ENGINE_UBUF);
	double looked = naps(_metadata, self, FBUF_ENGINE_PAGEREF);

	TH_LOG("looks in vain: %.1f when told, %.1f else", told, looked);
	EXPECT_LE(told, 2);
	EXPECT_GE(looked, 5);
}

/*
 * The notice is there before a waiter is woken, if he was asleep when it came:
 * he was, if not for a machine that stands still.
 */
TEST_F(late, ubuf_posts_notices)
{
	struct fbuf_ring_entry e;
	int i, at_once = 0;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(4000, send_late(self, FBUF_ENGINE_UBUF,
					  FBUF_SEND_NOTIFY));
		ASSERT_EQ(1, pool_wait(self->pool.fd, &self->name, 1,
				       DEADLINE_MS));
		at_once += ring_len(&self->ring);
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		EXPECT_EQ(FBUF_RING_IDLE, e.type);
	}
	EXPECT_GE(at_once, 3);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	need_bed(argc, argv);
	return test_harness_run(argc, argv);
}
