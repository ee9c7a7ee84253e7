// SPDX-License-Identifier: GPL-2.0
/*
 * libfbuf with a kernel under it.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <fbuf/fbuf.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	((size_t)16384)
#define NR_BUFS		16U

FIXTURE(lib)
{
	struct fbuf_pool *pool;
	struct fbuf_gather *g;
	uint64_t names[NR_BUFS];
	int sock[2];
};

FIXTURE_SETUP(lib)
{
	unsigned int i;

	ASSERT_EQ(0, fbuf_pool_create(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ((int)NR_BUFS, fbuf_alloc(self->pool, self->names, NR_BUFS,
					   0));
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(fbuf_addr(self->pool, self->names[i]), i, 0,
			     BUF_SIZE);
	self->g = fbuf_gather_new(self->pool);
	ASSERT_NE(NULL, self->g);
}

FIXTURE_TEARDOWN(lib)
{
	fbuf_gather_destroy(self->g);
	fbuf_pool_close(self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

TEST_F(lib, pool)
{
	struct fbuf_info info;

	EXPECT_EQ(BUF_SIZE, fbuf_pool_buf_size(self->pool));
	EXPECT_EQ(NR_BUFS, fbuf_pool_nr_bufs(self->pool));
	EXPECT_LE(0, fbuf_pool_fd(self->pool));
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(NR_BUFS, info.nr_held);
	EXPECT_EQ(-1, info.node);
}

TEST_F(lib, pool_on_node)
{
	struct fbuf_pool *pool;
	struct fbuf_info info;

	ASSERT_EQ(0, fbuf_pool_create_on(&pool, BUF_SIZE, 1, 0));
	ASSERT_EQ(0, fbuf_pool_info(pool, &info));
	EXPECT_EQ(0, info.node);
	fbuf_pool_close(pool);
	EXPECT_EQ(-EINVAL, fbuf_pool_create_on(&pool, BUF_SIZE, 1, 1000));
}

TEST_F(lib, bad_pool)
{
	struct fbuf_pool *pool = NULL;

	EXPECT_EQ(-EINVAL, fbuf_pool_create(&pool, 5000, 1));
	EXPECT_EQ(-EINVAL, fbuf_pool_create(&pool, BUF_SIZE, 0));
	/* More than the ABI's 32 bits hold must not come out as less. */
	EXPECT_EQ(-EINVAL, fbuf_pool_create(&pool, (1ULL << 32) + BUF_SIZE, 1));
	EXPECT_EQ(NULL, pool);
	fbuf_pool_close(NULL);
}

TEST_F(lib, errno_left_alone)
{
	struct fbuf_pool *pool;
	uint64_t name;

	errno = 4711;
	EXPECT_EQ(-EINVAL, fbuf_pool_create(&pool, 5000, 1));
	EXPECT_EQ(-ENOBUFS, fbuf_alloc(self->pool, &name, 1, 0));
	EXPECT_EQ(-EBADF, fbuf_pool_open(&pool, -1));
	EXPECT_EQ(4711, errno);
}

/* A pool of a passed fd is the same memory and the same holds. */
TEST_F(lib, open)
{
	struct fbuf_pool *pool;
	struct fbuf_info info;
	int fd = dup(fbuf_pool_fd(self->pool));

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fbuf_pool_open(&pool, fd));
	EXPECT_EQ(BUF_SIZE, fbuf_pool_buf_size(pool));
	EXPECT_EQ(-1, pattern_differs(fbuf_addr(pool, self->names[5]), 5, 0,
				      BUF_SIZE));
	fbuf_pool_close(pool);
	EXPECT_EQ(-1, fcntl(fd, F_GETFD));
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(NR_BUFS, info.nr_held);
}

TEST_F(lib, open_of_what_is_no_pool)
{
	struct fbuf_pool *pool;
	int fd = open("/dev/null", O_RDWR);

	EXPECT_GT(0, fbuf_pool_open(&pool, fd));
	/* It is still the caller's. */
	EXPECT_EQ(0, close(fd));
}

TEST_F(lib, addr)
{
	uint8_t *base = fbuf_addr(self->pool, FBUF_NAME(0, 1));

	EXPECT_EQ(base + 3 * BUF_SIZE, fbuf_addr(self->pool, FBUF_NAME(3, 9)));
	EXPECT_EQ(NULL, fbuf_addr(self->pool, FBUF_NAME(NR_BUFS, 1)));
}

TEST_F(lib, alloc_when_all_held)
{
	long start = now_ms();
	uint64_t name;

	EXPECT_EQ(-ENOBUFS, fbuf_alloc(self->pool, &name, 1, 5000));
	EXPECT_GT(4000, now_ms() - start);
}

/* Puts all of the pool in flight. */
static ssize_t send_everything(struct _test_data_lib *self)
{
	unsigned int i;

	for (i = 0; i < NR_BUFS; i++)
		fbuf_gather_append(self->g, self->names[i], 0, 64);
	if (fbuf_send(self->g, self->sock[0], 0, NULL) != 64 * NR_BUFS)
		return -1;
	return fbuf_free(self->pool, self->names, NR_BUFS);
}

TEST_F(lib, alloc_without_waiting)
{
	uint64_t name;

	ASSERT_EQ(0, send_everything(self));
	EXPECT_EQ(-EAGAIN, fbuf_alloc(self->pool, &name, 1, 0));
}

TEST_F(lib, alloc_times_out)
{
	long start = now_ms();
	uint64_t name;

	ASSERT_EQ(0, send_everything(self));
	EXPECT_EQ(-EAGAIN, fbuf_alloc(self->pool, &name, 1, 200));
	EXPECT_LE(200, now_ms() - start + 1);
}

static void *read_later(void *arg)
{
	char buf[64 * NR_BUFS];
	int fd = *(int *)arg;
	int i;

	for (i = 0; i < 50; i++)
		relax();
	read_full(fd, buf, sizeof(buf));
	return NULL;
}

TEST_F(lib, alloc_waits)
{
	pthread_t thread;
	uint64_t name;

	ASSERT_EQ(0, send_everything(self));
	ASSERT_EQ(-EAGAIN, fbuf_alloc(self->pool, &name, 1, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_later,
				    &self->sock[1]));
	EXPECT_EQ(1, fbuf_alloc(self->pool, &name, 1, -1));
	pthread_join(thread, NULL);
}

TEST_F(lib, free_stale)
{
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 1));
	EXPECT_EQ(-ESTALE, fbuf_free(self->pool, self->names, 1));
}

TEST_F(lib, gather_arrives)
{
	static const char head[] = "head", tail[] = "tail";
	struct fbuf_result result;
	char got[4 + 100 + 50 + 200 + 4];

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[1], 10, 50));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[2], 20, 200));
	ASSERT_EQ(0, fbuf_gather_prepend(self->g, self->names[0], 0, 100));
	ASSERT_EQ(0, fbuf_gather_prepend_inline(self->g, head, 4));
	ASSERT_EQ(0, fbuf_gather_append_inline(self->g, tail, 4));
	EXPECT_EQ(sizeof(got), fbuf_gather_len(self->g));
	ASSERT_EQ((ssize_t)sizeof(got), fbuf_send(self->g, self->sock[0], 0,
						  &result));
	EXPECT_EQ((unsigned int)FBUF_ENGINE_PAGEREF, result.engine);
	EXPECT_EQ(0ULL, result.copied);
	EXPECT_STREQ("pageref", fbuf_engine_name(result.engine));

	ASSERT_EQ((ssize_t)sizeof(got), read_full(self->sock[1], got,
						  sizeof(got)));
	EXPECT_EQ(0, memcmp(got, "head", 4));
	EXPECT_EQ(-1, pattern_differs(got + 4, 0, 0, 100));
	EXPECT_EQ(-1, pattern_differs(got + 104, 1, 10, 50));
	EXPECT_EQ(-1, pattern_differs(got + 154, 2, 20, 200));
	EXPECT_EQ(0, memcmp(got + 354, "tail", 4));
}

TEST_F(lib, slice_arrives)
{
	struct fbuf_gather *whole = fbuf_gather_new(self->pool);
	char got[150];

	ASSERT_NE(NULL, whole);
	ASSERT_EQ(0, fbuf_gather_append(whole, self->names[0], 0, 100));
	ASSERT_EQ(0, fbuf_gather_append(whole, self->names[1], 0, 100));
	ASSERT_EQ(0, fbuf_gather_append(whole, self->names[2], 0, 100));
	ASSERT_EQ(0, fbuf_gather_slice(self->g, whole, 75, 150));
	EXPECT_EQ(3U, fbuf_gather_nr_segs(self->g));
	ASSERT_EQ(150, fbuf_send(self->g, self->sock[0], 0, NULL));
	ASSERT_EQ(150, read_full(self->sock[1], got, 150));
	EXPECT_EQ(-1, pattern_differs(got, 0, 75, 25));
	EXPECT_EQ(-1, pattern_differs(got + 25, 1, 0, 100));
	EXPECT_EQ(-1, pattern_differs(got + 125, 2, 0, 25));
	fbuf_gather_destroy(whole);
}

TEST_F(lib, sendto)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	struct fbuf_result result;
	char got[2000];
	int pair[2];
	int sock;

	ASSERT_EQ(0, udp_pair(AF_INET, pair));
	ASSERT_EQ(0, getsockname(pair[1], (void *)&addr, &len));
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_LE(0, sock);
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[3], 5, 1000));
	ASSERT_EQ(1000, fbuf_sendto(self->g, sock, 0, FBUF_ENGINE_COPY,
				    (void *)&addr, len, &result));
	EXPECT_EQ((unsigned int)FBUF_ENGINE_COPY, result.engine);
	EXPECT_EQ(1000ULL, result.copied);
	ASSERT_EQ(1000, recv(pair[1], got, sizeof(got), 0));
	EXPECT_EQ(-1, pattern_differs(got, 3, 5, 1000));
}

static void everything(struct _test_data_lib *self, const char *head)
{
	unsigned int i;

	fbuf_gather_append_inline(self->g, head, strlen(head));
	for (i = 0; i < NR_BUFS; i++)
		fbuf_gather_append(self->g, self->names[i], 0, BUF_SIZE);
}

static ssize_t everything_differs(const uint8_t *got, const char *head)
{
	unsigned int i;

	if (memcmp(got, head, strlen(head)))
		return 0;
	got += strlen(head);
	for (i = 0; i < NR_BUFS; i++) {
		if (pattern_differs(got + i * BUF_SIZE, i, 0, BUF_SIZE) >= 0)
			return strlen(head) + i * BUF_SIZE;
	}
	return -1;
}

static void *read_slowly(void *arg)
{
	struct reader *r = arg;
	size_t done = 0;
	ssize_t ret;

	while (done < r->want) {
		size_t len = r->want - done < 9999 ? r->want - done : 9999;

		relax();
		ret = recv(r->fd, r->data + done, len, 0);
		if (ret <= 0)
			break;
		done += ret;
	}
	r->got = done;
	return NULL;
}

TEST_F(lib, send_all_to_slow_reader)
{
	int nonblock;

	for (nonblock = 0; nonblock < 2; nonblock++) {
		struct reader r = { .fd = self->sock[1] };
		size_t sent = 0;
		ssize_t ret;

		fbuf_gather_reset(self->g);
		EXPECT_EQ(0ULL, fbuf_gather_len(self->g));
		everything(self, "some header");
		r.want = fbuf_gather_len(self->g);
		r.data = malloc(r.want);
		ASSERT_NE(NULL, r.data);
		sock_small(self->sock);
		if (nonblock)
			fcntl(self->sock[0], F_SETFL, O_NONBLOCK);
		ASSERT_EQ(0, pthread_create(&r.thread, NULL, read_slowly, &r));
		ret = fbuf_send_all(self->g, self->sock[0], 0, &sent);
		EXPECT_EQ((ssize_t)r.want, ret) {
			shutdown(self->sock[0], SHUT_RDWR);
		}
		EXPECT_EQ(r.want, sent);
		EXPECT_EQ((ssize_t)r.want, reader_join(&r));
		EXPECT_EQ(-1, everything_differs(r.data, "some header"));
		free(r.data);
	}
}

/* The peer goes half way: an error, and how much went before it. */
static void *read_some_and_go(void *arg)
{
	struct linger linger = { .l_onoff = 1 };
	char buf[10000];
	int fd = *(int *)arg;

	read_full(fd, buf, sizeof(buf));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
	return NULL;
}

TEST_F(lib, send_all_peer_goes)
{
	pthread_t thread;
	size_t sent = 0;
	ssize_t ret;
	int i;

	everything(self, "head");
	/* Far more than the buffers of the two sockets hold. */
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, fbuf_gather_slice(self->g, self->g, 0,
					       fbuf_gather_len(self->g)));
	sock_small(self->sock);
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_some_and_go,
				    &self->sock[1]));
	ret = fbuf_send_all(self->g, self->sock[0], 0, &sent);
	EXPECT_TRUE(ret == -ECONNRESET || ret == -EPIPE);
	EXPECT_LE(10000UL, sent);
	EXPECT_GT(fbuf_gather_len(self->g), sent);
	pthread_join(thread, NULL);
	self->sock[1] = -1;
}

TEST(engine_names)
{
	EXPECT_STREQ("pageref", fbuf_engine_name(FBUF_ENGINE_PAGEREF));
	EXPECT_STREQ("splice", fbuf_engine_name(FBUF_ENGINE_SPLICE));
	EXPECT_STREQ("copy", fbuf_engine_name(FBUF_ENGINE_COPY));
}

/* One pool, many threads, each with gathers of its own. */
#define NR_THREADS	4
#define NR_MESSAGES	50

struct worker {
	struct fbuf_pool *pool;
	pthread_t thread;
	unsigned int number;
	int sock;
	int err;
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	struct fbuf_gather *g = fbuf_gather_new(w->pool);
	int i, ret = 0;

	for (i = 0; i < NR_MESSAGES && ret >= 0; i++) {
		uint64_t name;

		do {
			ret = fbuf_alloc(w->pool, &name, 1, 10000);
		} while (ret == -ENOBUFS);
		if (ret < 0)
			break;
		pattern_fill(fbuf_addr(w->pool, name), w->number, i * 3000,
			     3000);
		fbuf_gather_reset(g);
		ret = fbuf_gather_append(g, name, 0, 3000);
		if (ret)
			break;
		ret = fbuf_send_all(g, w->sock, 0, NULL);
		if (ret < 0)
			break;
		ret = fbuf_free(w->pool, &name, 1);
	}
	w->err = ret < 0 ? ret : 0;
	if (w->err)
		shutdown(w->sock, SHUT_RDWR);
	fbuf_gather_destroy(g);
	return NULL;
}

TEST_F(lib, threads)
{
	struct worker w[NR_THREADS];
	struct reader r[NR_THREADS];
	unsigned int i;
	int sock[2];

	/* Leave fewer buffers than would do without waiting. */
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 3));
	for (i = 0; i < NR_THREADS; i++) {
		ASSERT_EQ(0, tcp_pair(AF_INET, sock));
		w[i].pool = self->pool;
		w[i].number = i;
		w[i].sock = sock[0];
		ASSERT_EQ(0, reader_start(&r[i], sock[1], NR_MESSAGES * 3000,
					  -1));
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, worker_run,
					    &w[i]));
	}
	for (i = 0; i < NR_THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_EQ(0, w[i].err);
		EXPECT_EQ(NR_MESSAGES * 3000, reader_join(&r[i]));
		EXPECT_EQ(-1, pattern_differs(r[i].data, i, 0,
					      NR_MESSAGES * 3000));
	}
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
