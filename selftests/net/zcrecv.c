// SPDX-License-Identifier: GPL-2.0
/*
 * A peer that receives by TCP_ZEROCOPY_RECEIVE must not get the pool's pages
 * into its page tables: it would see what the buffer's next holder writes.
 */
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

#define NR	4

FIXTURE(zcrecv)
{
	struct pool pool;
	__u64 names[NR];
	int sock[2];
	size_t buf_size;
	size_t len;
	void *window;
};

FIXTURE_VARIANT(zcrecv)
{
	unsigned int pages;
};

/* The kernel maps only single pages; larger ones it must leave alone too. */
FIXTURE_VARIANT_ADD(zcrecv, one_page) { .pages = 1 };
FIXTURE_VARIANT_ADD(zcrecv, pages) { .pages = 4 };

FIXTURE_SETUP(zcrecv)
{
	int i, room = 1 << 20;

	self->buf_size = variant->pages * PAGE;
	self->len = NR * self->buf_size;
	ASSERT_EQ(0, pool_make(&self->pool, self->buf_size, NR));
	ASSERT_EQ(NR, pool_alloc(self->pool.fd, self->names, NR));
	for (i = 0; i < NR; i++)
		pattern_fill(buf_addr(&self->pool, self->names[i]), 1,
			     i * self->buf_size, self->buf_size);
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	/* For all of it at once, where pages are large. */
	ASSERT_EQ(0, setsockopt(self->sock[1], SOL_SOCKET, SO_RCVBUFFORCE,
				&room, sizeof(room)));
	self->window = mmap(NULL, self->len, PROT_READ, MAP_SHARED,
			    self->sock[1], 0);
	ASSERT_NE(MAP_FAILED, self->window);
}

FIXTURE_TEARDOWN(zcrecv)
{
	munmap(self->window, self->len);
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
}

static bool readable(int sock, size_t len)
{
	long end = now_ms() + 5000;
	__u8 *buf = malloc(len);
	ssize_t n;

	do {
		n = recv(sock, buf, len, MSG_PEEK | MSG_DONTWAIT);
		relax();
	} while (n != (ssize_t)len && now_ms() < end);
	free(buf);
	return n == (ssize_t)len;
}

/* What the peer gets of all that was sent: bytes mapped, or a negative errno. */
static int receive(struct _test_data_zcrecv *self,
		   struct tcp_zerocopy_receive *zc)
{
	socklen_t len = sizeof(*zc);

	*zc = (struct tcp_zerocopy_receive) {
		.address = (uintptr_t)self->window,
		.length = self->len,
	};
	return getsockopt(self->sock[1], IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE, zc,
			  &len) ? -errno : (int)zc->length;
}

/* A pipe's pages it does get: so the other test can fail. */
TEST_F(zcrecv, maps_pages_of_a_pipe)
{
	struct tcp_zerocopy_receive zc;
	size_t left = self->len;
	ssize_t ret;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ((ssize_t)left, write(fd[1], self->pool.map, left));
	for (; left; left -= ret) {
		ret = splice(fd[0], NULL, self->sock[0], NULL, left, 0);
		ASSERT_LT(0, ret);
	}
	ASSERT_TRUE(readable(self->sock[1], self->len));
	EXPECT_LT(0, receive(self, &zc));
	EXPECT_EQ(0, memcmp(self->window, self->pool.map, zc.length));
	close(fd[0]);
	close(fd[1]);
}

TEST_F(zcrecv, maps_nothing)
{
	struct tcp_zerocopy_receive zc;
	struct fbuf_seg segs[NR];
	struct sent sent;
	__u8 *got;
	int i;

	for (i = 0; i < NR; i++)
		segs[i] = buf_seg(&self->pool, self->names[i], 0,
				  self->buf_size);
	ASSERT_EQ((ssize_t)self->len,
		  pool_send(self->pool.fd, self->sock[0], segs, NR, 0, 0,
			    &sent));
	EXPECT_EQ(0ULL, sent.copied);
	ASSERT_TRUE(readable(self->sock[1], self->len));
	EXPECT_EQ(0, receive(self, &zc));
	EXPECT_LT(0U, zc.recv_skip_hint);

	got = malloc(self->len);
	ASSERT_NE(NULL, got);
	EXPECT_EQ((ssize_t)self->len,
		  read_full(self->sock[1], got, self->len));
	EXPECT_EQ(-1, pattern_differs(got, 1, 0, self->len));
	free(got);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
