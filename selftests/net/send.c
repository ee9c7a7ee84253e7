// SPDX-License-Identifier: GPL-2.0
/*
 * SEND on every kind of socket: that the right bytes arrive, by the engine
 * that is said to have run, with as many copied as is said.
 */
#include <linux/tcp.h>
#include <linux/tls.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		64U

/* The most that IP can carry, and what fits a packet of the loopback device. */
#define UDP4_MAX	65507U
#define UDP6_MAX	65527U
#define UDP6_UNBROKEN	65488U

#ifndef TCP_ULP
#define TCP_ULP		31
#endif

#ifndef SOL_TLS
#define SOL_TLS		282
#endif

#define ALL_ENGINES	(FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE | \
			 FBUF_ENGINE_COPY)

static const __u32 engines[] = {
	FBUF_ENGINE_PAGEREF, FBUF_ENGINE_SPLICE, FBUF_ENGINE_COPY,
};

/* Both ends with the same keys; 0 or a negative errno value. */
static int tls_start(const int sock[2])
{
	struct tls12_crypto_info_aes_gcm_128 keys = {
		.info = {
			.version = TLS_1_2_VERSION,
			.cipher_type = TLS_CIPHER_AES_GCM_128,
		},
		.iv = "12345678",
		.key = "0123456789abcdef",
		.salt = "salt",
	};

	if (setsockopt(sock[0], IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ||
	    setsockopt(sock[1], IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) ||
	    setsockopt(sock[0], SOL_TLS, TLS_TX, &keys, sizeof(keys)) ||
	    setsockopt(sock[1], SOL_TLS, TLS_RX, &keys, sizeof(keys)))
		return -errno;
	return 0;
}

FIXTURE(conn)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	struct fbuf_seg seg[FBUF_SEGS_MAX];
	unsigned int nr;
	__u8 *want;
	size_t len;		/* bytes of the gather */
	__u8 *got;
	struct sent sent;
	bool shorts;		/* so many and so short that they are copied */
};

/*
 * @engine: that runs when all may
 * @takes: engines that must serve the socket
 * @refuses: engines that must not
 * @splice_later: the splice engine must not before 6.5, and must since
 * @max: bytes in a message, or 0 for a stream
 * @unbroken: bytes in one that the network does not break up
 */
FIXTURE_VARIANT(conn)
{
	int family;
	int type;
	bool tls;
	__u32 engine;
	__u32 takes;
	__u32 refuses;
	bool splice_later;
	size_t max;
	size_t unbroken;
};

FIXTURE_VARIANT_ADD(conn, tcp4)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
	.engine = FBUF_ENGINE_PAGEREF,
	.takes = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_COPY,
	.splice_later = true,
};

FIXTURE_VARIANT_ADD(conn, tcp6)
{
	.family = AF_INET6,
	.type = SOCK_STREAM,
	.engine = FBUF_ENGINE_PAGEREF,
	.takes = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_COPY,
	.splice_later = true,
};

FIXTURE_VARIANT_ADD(conn, udp4)
{
	.family = AF_INET,
	.type = SOCK_DGRAM,
	.engine = FBUF_ENGINE_PAGEREF,
	.takes = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_COPY,
	.refuses = FBUF_ENGINE_SPLICE,
	.max = UDP4_MAX,
	.unbroken = UDP4_MAX,
};

FIXTURE_VARIANT_ADD(conn, udp6)
{
	.family = AF_INET6,
	.type = SOCK_DGRAM,
	.engine = FBUF_ENGINE_PAGEREF,
	.takes = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_COPY,
	.refuses = FBUF_ENGINE_SPLICE,
	.max = UDP6_MAX,
	.unbroken = UDP6_UNBROKEN,
};

FIXTURE_VARIANT_ADD(conn, unix_stream)
{
	.family = AF_UNIX,
	.type = SOCK_STREAM,
	.engine = FBUF_ENGINE_SPLICE,
	.takes = FBUF_ENGINE_SPLICE | FBUF_ENGINE_COPY,
	.refuses = FBUF_ENGINE_PAGEREF,
	.splice_later = true,
};

FIXTURE_VARIANT_ADD(conn, unix_seqpacket)
{
	.family = AF_UNIX,
	.type = SOCK_SEQPACKET,
	.engine = FBUF_ENGINE_COPY,
	.takes = FBUF_ENGINE_COPY,
	.refuses = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE,
	.max = 100000,
	.unbroken = 100000,
};

FIXTURE_VARIANT_ADD(conn, unix_dgram)
{
	.family = AF_UNIX,
	.type = SOCK_DGRAM,
	.engine = FBUF_ENGINE_COPY,
	.takes = FBUF_ENGINE_COPY,
	.refuses = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE,
	.max = 100000,
	.unbroken = 100000,
};

FIXTURE_VARIANT_ADD(conn, tls)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
	.tls = true,
	.engine = FBUF_ENGINE_SPLICE,
	.takes = FBUF_ENGINE_SPLICE | FBUF_ENGINE_COPY,
	.refuses = FBUF_ENGINE_PAGEREF,
};

FIXTURE_SETUP(conn)
{
	unsigned int i;
	int err;

	ASSERT_EQ(0, sock_pair(variant->family, variant->type, self->sock));
	if (variant->tls) {
		err = tls_start(self->sock);
		if (err)
			SKIP(return, "no kernel TLS: %s", strerror(-err));
	}
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(buf_addr(&self->pool, self->names[i]), i, 0,
			     BUF_SIZE);
	self->want = malloc(NR_BUFS * BUF_SIZE);
	self->got = malloc(NR_BUFS * BUF_SIZE);
	ASSERT_NE(NULL, self->want);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(conn)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->want);
	free(self->got);
}

/* Adds a part of a buffer to the gather and to what the peer is to get. */
static void add(struct _test_data_conn *self, unsigned int buf, size_t offset,
		size_t len)
{
	self->seg[self->nr++] = buf_seg(&self->pool, self->names[buf], offset,
					len);
	memcpy(self->want + self->len,
	       buf_addr(&self->pool, self->names[buf]) + offset, len);
	self->len += len;
}

static void add_inline(struct _test_data_conn *self, const void *data, size_t len)
{
	self->seg[self->nr++] = inline_seg(data, len);
	memcpy(self->want + self->len, data, len);
	self->len += len;
}

static ssize_t send_gather(struct _test_data_conn *self, __u32 flags,
			   __u32 mask)
{
	memset(&self->sent, 0xee, sizeof(self->sent));
	return pool_send(self->pool.fd, self->sock[0], self->seg, self->nr,
			 flags, mask, &self->sent);
}

static void clear(struct _test_data_conn *self)
{
	self->nr = 0;
	self->len = 0;
}

/*
 * Sends the gather and compares what arrives: on a stream while it is sent, for
 * it may be more than the socket holds; a message is to arrive as one.
 */
static void exchange(struct __test_metadata *_metadata,
		     struct _test_data_conn *self, bool stream, __u32 mask)
{
	struct reader reader;

	if (stream) {
		ASSERT_EQ(0, reader_start(&reader, self->sock[1], self->len,
					  -1));
		EXPECT_EQ((ssize_t)self->len, send_gather(self, 0, mask)) {
			/* The reader would wait for ever. */
			shutdown(self->sock[0], SHUT_RDWR);
		}
		EXPECT_EQ((ssize_t)self->len, reader_join(&reader));
		EXPECT_EQ(0, memcmp(self->want, reader.data, self->len));
		free(reader.data);
	} else {
		ASSERT_EQ((ssize_t)self->len, send_gather(self, 0, mask));
		ASSERT_EQ((ssize_t)self->len, recv(self->sock[1], self->got,
						   NR_BUFS * BUF_SIZE, 0));
		EXPECT_EQ(0, memcmp(self->want, self->got, self->len));
	}
	EXPECT_TRUE(sock_empty(self->sock[1]));

	EXPECT_EQ(self->sent.engine == FBUF_ENGINE_COPY || self->shorts ?
		  self->len : 0, self->sent.copied);
}

/* Whether an engine must serve the socket, with one run or with more. */
static bool takes(const struct _fixture_variant_conn *variant, __u32 engine,
		  bool many)
{
	if (engine == FBUF_ENGINE_SPLICE && kernel_before(6, 5) && many)
		return false;
	if (engine == FBUF_ENGINE_SPLICE && variant->splice_later)
		return !kernel_before(6, 5);
	return variant->takes & engine;
}

/* The one that is to run when all may. */
static __u32 best_engine(const struct _fixture_variant_conn *variant, bool many)
{
	return takes(variant, variant->engine, many) ? variant->engine :
						       FBUF_ENGINE_COPY;
}

/* The pool's buffers are in one piece, so that a buffer is one run. */
static bool one_piece(struct _test_data_conn *self)
{
	struct fbuf_info info;

	return !pool_info(self->pool.fd, &info) && !info.nr_split;
}

TEST_F(conn, one_buffer)
{
	add(self, 3, 0, BUF_SIZE);
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, !one_piece(self)), self->sent.engine);
}

TEST_F(conn, one_byte)
{
	add(self, 5, 4097, 1);
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, false), self->sent.engine);
}

TEST_F(conn, part_across_pages)
{
	add(self, 7, 4001, 8193);
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, !one_piece(self)), self->sent.engine);
}

/* Not in the order in which they lie in the pool. */
TEST_F(conn, odd_offsets_and_lengths)
{
	unsigned int i;

	for (i = 0; i < 12; i++)
		add(self, (i * 5 + 3) % NR_BUFS, 1 + 997 * i, 1 + 411 * i);
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, true), self->sent.engine);
}

TEST_F(conn, most_segments)
{
	unsigned int i;

	for (i = 0; i < FBUF_SEGS_MAX; i++)
		add(self, (i * 7) % NR_BUFS, i * 13 % 16000, 1 + i % 61);
	self->shorts = true;
	exchange(_metadata, self, !variant->max, 0);
}

/* Segments that go on where the last one ended are one run again. */
TEST_F(conn, adjoining_segments)
{
	unsigned int i;

	for (i = 0; i < 32; i++)
		add(self, 9, i * 512, 512);
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, !one_piece(self)), self->sent.engine);
}

/* However many they are, they are one of the few runs of a packet. */
TEST_F(conn, adjoining_segments_and_others)
{
	unsigned int i;

	for (i = 0; i < 16; i++)
		add(self, 9, i * 1000, 1000);
	add(self, 3, 0, 1000);
	add(self, 5, 100, 1000);
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, true), self->sent.engine);
}

TEST_F(conn, same_buffer_twice)
{
	add(self, 2, 100, 5000);
	add(self, 2, 100, 5000);
	add(self, 2, 0, 7000);
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, true), self->sent.engine);
}

TEST_F(conn, header_and_body)
{
	static const char head[] = "Content-Length: 20000\r\n\r\n";

	add_inline(self, head, strlen(head));
	add(self, 11, 0, BUF_SIZE);
	add(self, 10, 1, 3616);
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, true), self->sent.engine);
}

TEST_F(conn, inline_in_between)
{
	char mark[3][100];
	unsigned int i;

	for (i = 0; i < 3; i++) {
		memset(mark[i], '0' + i, sizeof(mark[i]));
		add(self, i, 33, 3333);
		add_inline(self, mark[i], sizeof(mark[i]));
	}
	exchange(_metadata, self, !variant->max, 0);
	EXPECT_EQ(best_engine(variant, true), self->sent.engine);
}

TEST_F(conn, inline_only)
{
	__u8 *data = malloc(FBUF_INLINE_MAX);

	ASSERT_NE(NULL, data);
	pattern_fill(data, 99, 0, FBUF_INLINE_MAX);
	add_inline(self, data, FBUF_INLINE_MAX);
	add_inline(self, data, 1);
	add_inline(self, data + 1, FBUF_INLINE_MAX - 1);
	exchange(_metadata, self, !variant->max, 0);
}

/* Inline memory is the caller's again when the call is back. */
TEST_F(conn, inline_may_change_after)
{
	char data[2000];

	memset(data, 'a', sizeof(data));
	add_inline(self, data, sizeof(data));
	ASSERT_EQ((ssize_t)self->len, send_gather(self, 0, 0));
	memset(data, 'b', sizeof(data));
	ASSERT_EQ((ssize_t)self->len, recv(self->sock[1], self->got, self->len,
					   MSG_WAITALL));
	EXPECT_EQ(0, memcmp(self->want, self->got, self->len));
}

TEST_F(conn, engine_demanded)
{
	unsigned int i;

	if (!one_piece(self))
		SKIP(return, "memory is fragmented");
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (!takes(variant, engines[i], false))
			continue;
		clear(self);
		add(self, 1, 10, 9000);
		exchange(_metadata, self, !variant->max, engines[i]);
		EXPECT_EQ(engines[i], self->sent.engine);
	}
}

TEST_F(conn, engine_refused)
{
	__u32 refuses = variant->refuses;
	unsigned int i;

	if (variant->splice_later && kernel_before(6, 5))
		refuses |= FBUF_ENGINE_SPLICE;
	if (!refuses)
		SKIP(return, "takes every engine");
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (!(engines[i] & refuses))
			continue;
		clear(self);
		add(self, 1, 10, 9000);
		EXPECT_EQ(-EOPNOTSUPP, send_gather(self, 0, engines[i]));
		EXPECT_TRUE(sock_empty(self->sock[1]));
	}
}

/* Each does it right, or, where it cannot, says so. */
TEST_F(conn, every_engine_with_many_runs)
{
	unsigned int i, j;
	__u32 engine;

	for (j = 0; j < ARRAY_SIZE(engines); j++) {
		engine = engines[j];
		clear(self);
		for (i = 0; i < 8; i++)
			add(self, i * 3, i, 777);
		if (!takes(variant, engine, true)) {
			EXPECT_EQ(-EOPNOTSUPP,
				  send_gather(self, FBUF_SEND_DONTWAIT,
					      engine));
			EXPECT_TRUE(sock_empty(self->sock[1]));
			continue;
		}
		ASSERT_EQ((ssize_t)self->len,
			  send_gather(self, FBUF_SEND_DONTWAIT, engine));
		EXPECT_EQ(engine, self->sent.engine);
		ASSERT_EQ((ssize_t)self->len, recv(self->sock[1], self->got,
						   self->len, MSG_WAITALL));
		EXPECT_EQ(0, memcmp(self->want, self->got, self->len));
	}
}

TEST_F(conn, best_engine_forbidden)
{
	__u32 best = best_engine(variant, false);
	__u32 others = ALL_ENGINES & ~best;

	add(self, 1, 10, 9000);
	if (best == FBUF_ENGINE_COPY) {
		EXPECT_EQ(-EOPNOTSUPP, send_gather(self, 0, others));
		EXPECT_TRUE(sock_empty(self->sock[1]));
		return;
	}
	exchange(_metadata, self, !variant->max, others);
	EXPECT_NE(best, self->sent.engine);
}

/* All of a 1 MiB pool at once. */
TEST_F(conn, large_gather)
{
	unsigned int i;

	if (variant->max)
		SKIP(return, "more than a message holds");
	for (i = 0; i < NR_BUFS; i++)
		add(self, NR_BUFS - 1 - i, 0, BUF_SIZE);
	exchange(_metadata, self, true, 0);
	EXPECT_EQ(best_engine(variant, true), self->sent.engine);
}

TEST_F(conn, largest_unbroken_message)
{
	size_t left = variant->unbroken;
	unsigned int i;

	if (!left)
		SKIP(return, "a stream has no messages");
	for (i = 0; left; i++) {
		size_t len = left < BUF_SIZE ? left : BUF_SIZE;

		add(self, i, BUF_SIZE - len, len);
		left -= len;
	}
	exchange(_metadata, self, false, 0);
	EXPECT_EQ(best_engine(variant, true), self->sent.engine);
}

TEST_F(conn, longest_message)
{
	size_t left = variant->max;
	unsigned int i;

	if (!left)
		SKIP(return, "a stream has no messages");
	for (i = 0; left; i++) {
		size_t len = left < BUF_SIZE ? left : BUF_SIZE;

		add(self, i, 0, len);
		left -= len;
	}
	ASSERT_EQ((ssize_t)self->len, send_gather(self, 0, 0));
	ASSERT_EQ((ssize_t)self->len, recv(self->sock[1], self->got,
					   NR_BUFS * BUF_SIZE, 0));
	EXPECT_EQ(0, memcmp(self->want, self->got, self->len));
}

TEST_F(conn, message_too_long)
{
	size_t left = NR_BUFS * BUF_SIZE;
	unsigned int i;

	if (!variant->max)
		SKIP(return, "a stream has no messages");
	if (variant->family != AF_UNIX)
		left = variant->max + 1;
	for (i = 0; left; i++) {
		size_t len = left < BUF_SIZE ? left : BUF_SIZE;

		add(self, i, 0, len);
		left -= len;
	}
	EXPECT_EQ(-EMSGSIZE, send_gather(self, 0, 0));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	/* Nothing of it is left in the socket for the next one. */
	clear(self);
	add(self, 0, 0, 100);
	exchange(_metadata, self, false, 0);
}

TEST_F(conn, messages_stay_apart)
{
	unsigned int i;

	if (!variant->max)
		SKIP(return, "a stream has no messages");
	for (i = 0; i < 3; i++) {
		clear(self);
		add(self, i, i, 100 + i);
		ASSERT_EQ((ssize_t)self->len, send_gather(self, 0, 0));
	}
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(100 + i, recv(self->sock[1], self->got, BUF_SIZE, 0));
		EXPECT_EQ(-1, pattern_differs(self->got, i, i, 100 + i));
	}
}

/* In order with what is written to the socket by other means. */
TEST_F(conn, between_writes)
{
	unsigned int i;

	if (variant->max)
		SKIP(return, "messages are apart anyway");
	for (i = 0; i < 3; i++) {
		add(self, i, i, 1000);
		memcpy(self->want + self->len, "separator", 9);
		ASSERT_EQ(1000, pool_send(self->pool.fd, self->sock[0],
					  &self->seg[i], 1, 0, 0, NULL));
		ASSERT_EQ(9, send(self->sock[0], "separator", 9, 0));
		self->len += 9;
	}
	ASSERT_EQ((ssize_t)self->len, read_full(self->sock[1], self->got,
						self->len));
	EXPECT_EQ(0, memcmp(self->want, self->got, self->len));
}

/* As recv() with MSG_WAITALL, but not for ever. */
static ssize_t recv_soon(int sock, void *buf, size_t len)
{
	struct timeval limit = { .tv_sec = DEADLINE_MS / 1000 };

	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return recv(sock, buf, len, MSG_WAITALL);
}

/* An urgent byte is no part of the stream, and what comes after it is. */
TEST_F(conn, after_an_urgent_byte)
{
	unsigned int i;

	if (variant->max)
		SKIP(return, "a message cannot be urgent");
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (!takes(variant, engines[i], false))
			continue;
		if (send(self->sock[0], "!", 1, MSG_OOB) != 1)
			SKIP(return, "no urgent bytes here: %s",
			     strerror(errno));
		clear(self);
		add(self, 1, i, 1000);
		ASSERT_EQ(1000, send_gather(self, 0, engines[i]));
		EXPECT_EQ(1000, recv_soon(self->sock[1], self->got, 1000));
		EXPECT_EQ(0, memcmp(self->want, self->got, 1000));
	}
}

/* No read of a byte that has an fd with it goes on to those after it. */
TEST_F(conn, after_an_fd)
{
	unsigned int i;

	if (variant->family != AF_UNIX)
		SKIP(return, "no fds go this way");
	for (i = 0; i < ARRAY_SIZE(engines); i++) {
		if (!takes(variant, engines[i], false))
			continue;
		ASSERT_EQ(0, fd_pass(self->sock[0], self->pool.fd));
		clear(self);
		add(self, 1, i, 1000);
		ASSERT_EQ(1000, send_gather(self, 0, engines[i]));
		EXPECT_EQ(1, recv(self->sock[1], self->got, BUF_SIZE, 0));
		EXPECT_EQ(1000, recv(self->sock[1], self->got, BUF_SIZE,
				     MSG_DONTWAIT));
		EXPECT_EQ(0, memcmp(self->want, self->got, 1000));
	}
}

TEST_F(conn, end_of_record)
{
	add(self, 1, 0, 1000);
	/* Kernel TLS does not know it before 6.7. */
	if (send(self->sock[0], "x", 1, MSG_EOR) < 0) {
		EXPECT_EQ(-errno, send_gather(self, FBUF_SEND_EOR, 0));
		EXPECT_TRUE(sock_empty(self->sock[1]));
		return;
	}
	ASSERT_EQ(1, recv(self->sock[1], self->got, 1, 0));
	ASSERT_EQ(1000, send_gather(self, FBUF_SEND_EOR, 0));
	ASSERT_EQ(1000, recv(self->sock[1], self->got, 1000, MSG_WAITALL));
	EXPECT_EQ(0, memcmp(self->want, self->got, 1000));
}

static unsigned int data_segs_out(int sock)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &len);
	return info.tcpi_data_segs_out;
}

TEST_F(conn, more)
{
	unsigned int tries, segs = 0;

	if (variant->family == AF_UNIX)
		SKIP(return, "has no meaning here");
	if (variant->type == SOCK_DGRAM) {
		/* One datagram of two sends. */
		add(self, 1, 0, 500);
		ASSERT_EQ(500, send_gather(self, FBUF_SEND_MORE, 0));
		EXPECT_TRUE(sock_empty(self->sock[1]));
		self->nr = 0;
		add(self, 2, 7, 600);
		ASSERT_EQ(600, send_gather(self, 0, 0));
		ASSERT_EQ(1100, recv(self->sock[1], self->got, BUF_SIZE, 0));
		EXPECT_EQ(0, memcmp(self->want, self->got, 1100));
		return;
	}
	/* One packet of two sends, if the second comes soon enough. */
	for (tries = 0; tries < 10 && segs != 1; tries++) {
		clear(self);
		segs = data_segs_out(self->sock[0]);
		add(self, 1, 0, 500);
		ASSERT_EQ(500, send_gather(self, FBUF_SEND_MORE, 0));
		self->nr = 0;
		add(self, 2, 7, 600);
		ASSERT_EQ(600, send_gather(self, 0, 0));
		ASSERT_EQ(1100, read_full(self->sock[1], self->got, 1100));
		EXPECT_EQ(0, memcmp(self->want, self->got, 1100));
		segs = data_segs_out(self->sock[0]) - segs;
	}
	EXPECT_EQ(1U, segs);
}

/* The memory is not copied: what is stored before the peer reads, it reads. */
TEST_F(conn, really_not_copied)
{
	if (best_engine(variant, false) == FBUF_ENGINE_COPY || variant->tls)
		SKIP(return, "is copied, or encrypted at once");
	add(self, 4, 0, 4096);
	ASSERT_EQ(4096, send_gather(self, 0, 0));
	ASSERT_EQ(0ULL, self->sent.copied);
	pattern_fill(buf_addr(&self->pool, self->names[4]), 77, 0, 4096);
	ASSERT_EQ(4096, recv(self->sock[1], self->got, 4096, MSG_WAITALL));
	EXPECT_EQ(-1, pattern_differs(self->got, 77, 0, 4096));
}

/* And where it says that it is, it is. */
TEST_F(conn, really_copied)
{
	add(self, 4, 0, 4096);
	ASSERT_EQ(4096, send_gather(self, 0, FBUF_ENGINE_COPY));
	pattern_fill(buf_addr(&self->pool, self->names[4]), 77, 0, 4096);
	ASSERT_EQ(4096, recv(self->sock[1], self->got, 4096, MSG_WAITALL));
	EXPECT_EQ(0, memcmp(self->want, self->got, 4096));
}

/* To an address, on a socket that has no peer. */
FIXTURE(to)
{
	struct pool pool;
	__u64 name;
	int sock[2];
	struct sockaddr_storage addr;
	socklen_t len;
};

FIXTURE_VARIANT(to)
{
	int family;
};

FIXTURE_VARIANT_ADD(to, udp4)
{
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(to, udp6)
{
	.family = AF_INET6,
};

FIXTURE_VARIANT_ADD(to, unix_dgram)
{
	.family = AF_UNIX,
};

FIXTURE_SETUP(to)
{
	if (variant->family == AF_UNIX) {
		sa_family_t family = AF_UNIX;

		self->sock[1] = socket(AF_UNIX, SOCK_DGRAM, 0);
		/* The kernel gives it a name. */
		ASSERT_EQ(0, bind(self->sock[1], (void *)&family,
				  sizeof(family)));
	} else {
		ASSERT_EQ(0, udp_pair(variant->family, self->sock));
		close(self->sock[0]);
	}
	self->sock[0] = socket(variant->family, SOCK_DGRAM, 0);
	ASSERT_LE(0, self->sock[0]);
	self->len = sizeof(self->addr);
	ASSERT_EQ(0, getsockname(self->sock[1], (void *)&self->addr,
				 &self->len));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->name, 1));
}

FIXTURE_TEARDOWN(to)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

TEST_F(to, address)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->name, 17, 1000);
	struct fbuf_send arg = {
		.size = sizeof(arg),
		.segs = (uintptr_t)&seg,
		.nr_segs = 1,
		.fd = self->sock[0],
		.name = (uintptr_t)&self->addr,
		.namelen = self->len,
	};
	__u8 got[BUF_SIZE];

	pattern_fill(buf_addr(&self->pool, self->name), 1, 0, BUF_SIZE);
	ASSERT_EQ(1000, ioctl(self->pool.fd, FBUF_IOC_SEND, &arg));
	ASSERT_EQ(1000, recv(self->sock[1], got, sizeof(got), 0));
	EXPECT_EQ(-1, pattern_differs(got, 1, 17, 1000));
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
