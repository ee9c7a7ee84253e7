// SPDX-License-Identifier: GPL-2.0
/*
 * RECV, in ways in which its caller uses it: sizes and steps, what is referred to and
 * what copied, the head that comes along, parcels that are kept, and counters. What
 * recv() does of each kind of socket is in streams.c.
 */
#include <linux/fbuf.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define KIB		1024U
#define MIB		(1024U * KIB)
#define SEED		7
#define ALL		FBUF_RECV_ALL

FIXTURE(recv)
{
	struct pool pool;
	int sock[2];
};

FIXTURE_VARIANT(recv)
{
	int family;
	int type;
	bool tls;
	bool copies;	/* all that is received */
};

FIXTURE_VARIANT_ADD(recv, tcp)
{
	.family = AF_INET, .type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(recv, tcp6)
{
	.family = AF_INET6, .type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(recv, unix_stream)
{
	.family = AF_UNIX, .type = SOCK_STREAM, .copies = true,
};

FIXTURE_VARIANT_ADD(recv, tls)
{
	.family = AF_INET, .type = SOCK_STREAM, .tls = true, .copies = true,
};

FIXTURE_SETUP(recv)
{
	int err;

	ASSERT_EQ(0, pool_make(&self->pool, 64 * KIB, 4));
	if (variant->tls)
		err = tls_pair(self->sock);
	else
		err = sock_pair(variant->family, variant->type, self->sock);
	if (err && variant->tls)
		SKIP(return, "no kTLS here");
	ASSERT_EQ(0, err);
}

FIXTURE_TEARDOWN(recv)
{
	struct fbuf_info info;

	if (self->sock[0] > 0) {
		EXPECT_EQ(0, pool_info(self->pool.fd, &info));
		EXPECT_EQ(0U, info.nr_parcels);
		EXPECT_EQ(0ULL, info.parcel_bytes);
		close(self->sock[0]);
		close(self->sock[1]);
	}
	pool_unmake(&self->pool);
}

#define FD	(self->pool.fd)
#define TX	(self->sock[0])
#define RX	(self->sock[1])

/* Takes @len bytes by any number of calls of up to @step; the bytes are right. */
static size_t take_all(int fd, int sock, size_t len, size_t step, size_t *copied)
{
	size_t done = 0;

	*copied = 0;
	while (done < len) {
		__u32 c;
		__u64 name;
		int n;

		n = pool_recv(fd, sock, len - done < step ? len - done : step,
			      0, &name, &c);
		if (n <= 0 || n > (int)step ||
		    parcel_differs(fd, name, SEED, done, n) >= 0 ||
		    pool_free(fd, &name, 1) != 1)
			break;
		*copied += c;
		done += n;
	}
	return done;
}

TEST_F(recv, sizes)
{
	static const size_t sizes[] = {
		1, 2, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537,
		MIB + 3, 5 * MIB,
	};
	static const size_t steps[] = { 997, 4096, 65536, MIB, 16 * MIB };
	struct feeder w;
	size_t i, j, copied;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (j = 0; j < ARRAY_SIZE(steps); j++) {
			if (steps[j] < 4096 && sizes[i] > 65537)
				continue;
			ASSERT_EQ(0, feeder_start(&w, TX, SEED, 0,
						  sizes[i], sizes[i]));
			ASSERT_EQ(sizes[i], take_all(FD, RX, sizes[i], steps[j],
						     &copied))
				TH_LOG("size %zu, by %zu", sizes[i], steps[j]);
			ASSERT_EQ(0, feeder_join(&w));
			if (variant->copies)
				ASSERT_EQ(sizes[i], copied);
		}
	}
}

/* What is written in one piece and is long is not copied. */
TEST_F(recv, large_is_referred_to)
{
	struct feeder w;
	size_t copied;

	ASSERT_EQ(0, feeder_start(&w, TX, SEED, 0, 4 * MIB, 4 * MIB));
	ASSERT_EQ(4 * MIB, take_all(FD, RX, 4 * MIB, 4 * MIB, &copied));
	ASSERT_EQ(0, feeder_join(&w));
	EXPECT_EQ(variant->copies, copied == 4 * MIB);
	EXPECT_TRUE(variant->copies || copied < 4 * MIB / 100);
}

TEST_F(recv, head_and_drop)
{
	__u8 head[100];
	struct fbuf_recv arg = {
		.size = sizeof(arg), .fd = RX, .len = 3000, .flags = ALL,
		.head = (uintptr_t)head, .head_len = sizeof(head),
	};
	struct fbuf_info info;
	struct fbuf_recv one;
	__u64 first;

	ASSERT_EQ(0, pattern_write(TX, SEED, 0, 9010));
	ASSERT_EQ(3000, ioctl(FD, FBUF_IOC_RECV, &arg));
	EXPECT_EQ(100U, arg.head_len);
	EXPECT_EQ(-1, pattern_differs(head, SEED, 0, 100));
	first = arg.name;
	arg.drop = first;
	ASSERT_EQ(3000, ioctl(FD, FBUF_IOC_RECV, &arg));
	EXPECT_EQ(-1, pattern_differs(head, SEED, 3000, 100));
	EXPECT_NE(first, arg.name);
	EXPECT_EQ(-ESTALE, parcel_read(FD, first, 0, head, 1));
	EXPECT_EQ(0, pool_info(FD, &info));
	EXPECT_EQ(1U, info.nr_parcels);
	/* A bad one: nothing is received. */
	arg.drop = first;
	EXPECT_EQ(-1, ioctl(FD, FBUF_IOC_RECV, &arg));
	EXPECT_EQ(ESTALE, errno);
	EXPECT_EQ(0, pool_info(FD, &info));
	EXPECT_EQ(1U, info.nr_parcels);
	/* A head that cannot be written does not lose the bytes. */
	one = arg;
	one.drop = 0;
	one.head = 8;
	ASSERT_EQ(3000, ioctl(FD, FBUF_IOC_RECV, &one));
	EXPECT_EQ(0U, one.head_len);
	EXPECT_EQ(-1, parcel_differs(FD, one.name, SEED, 6000, 3000));
	EXPECT_EQ(1, pool_free(FD, &one.name, 1));
	/* No more than there are. */
	one.head = (uintptr_t)head;
	one.head_len = sizeof(head);
	one.flags = 0;
	ASSERT_EQ(10, ioctl(FD, FBUF_IOC_RECV, &one));
	EXPECT_EQ(10U, one.head_len);
	EXPECT_EQ(1, pool_free(FD, &one.name, 1));
	/* The last that was received into arg. */
	EXPECT_EQ(0, pool_info(FD, &info));
	EXPECT_EQ(1U, info.nr_parcels);
	EXPECT_EQ(1, pool_free(FD, &arg.name, 1));
}

/* The bytes stay, however many come after, and the parcel is dropped last. */
TEST_F(recv, parcels_stay)
{
	enum { NR = 40 };
	const size_t total = 20 * NR * KIB;
	struct feeder w;
	size_t len[NR], pos = 0;
	__u64 names[NR];
	int i;

	ASSERT_EQ(0, feeder_start(&w, TX, SEED, 0, total, total));
	for (i = 0; i < NR; i++) {
		int n = pool_recv(FD, RX, 10000 + i, ALL, &names[i], NULL);

		ASSERT_LT(0, n);
		len[i] = n;
	}
	for (i = 0; i < NR; i++) {
		EXPECT_EQ(-1, parcel_differs(FD, names[i], SEED, pos, len[i]));
		pos += len[i];
	}
	EXPECT_EQ(NR, pool_free(FD, names, NR));
	while (pos < total) {
		i = pool_recv(FD, RX, MIB, 0, &names[0], NULL);
		ASSERT_LT(0, i);
		EXPECT_EQ(-1, parcel_differs(FD, names[0], SEED, pos, i));
		EXPECT_EQ(1, pool_free(FD, names, 1));
		pos += i;
	}
	EXPECT_EQ(total, pos);
	EXPECT_EQ(0, feeder_join(&w));
	shutdown(TX, SHUT_WR);
	EXPECT_EQ(0, pool_recv(FD, RX, MIB, 0, &names[0], NULL));
}

TEST_F(recv, counters)
{
	struct fbuf_info before, after;
	size_t copied;

	ASSERT_EQ(0, pool_info(FD, &before));
	ASSERT_EQ(0, pattern_write(TX, SEED, 0, 70000));
	ASSERT_EQ(70000U, take_all(FD, RX, 70000, 70000, &copied));
	ASSERT_EQ(0, pool_info(FD, &after));
	EXPECT_LT(before.recvs, after.recvs);
	EXPECT_EQ(70000ULL, after.received - before.received);
	EXPECT_EQ(copied, after.recv_copied - before.recv_copied);
}

/* Memory of the machine, in KiB. */
static long available(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	char line[128];
	long kib = -1;

	while (f && fgets(line, sizeof(line), f) &&
	       sscanf(line, "MemAvailable: %ld", &kib) != 1)
		;
	if (f)
		fclose(f);
	return kib;
}

/* A page for each copy goes with its parcel. */
TEST(copies_leak_no_page)
{
	static const char text[100];
	const unsigned int nr = 3000;
	long before = available();
	int fd, sock[2];
	unsigned int i;
	__u64 name;

	fd = pool_create(PAGE, 1);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(100, send(sock[0], text, 100, 0));
		ASSERT_EQ(100, pool_recv(fd, sock[1], 100, 0, &name, NULL));
		ASSERT_EQ(1, pool_free(fd, &name, 1));
	}
	EXPECT_GT(nr * (PAGE / 1024L) / 2, before - available());
	close(sock[0]);
	close(sock[1]);
	close(fd);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
