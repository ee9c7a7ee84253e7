// SPDX-License-Identifier: GPL-2.0
/*
 * libfbuf with a kernel under it: the module, and without it, where sends copy and
 * nothing is in flight after them.
 */
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <fbuf/backend.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	((size_t)16384)
#define NR_BUFS		16U

FIXTURE(lib)
{
	struct fbuf_pool *pool;
	struct fbuf_gather *g;
	uint64_t names[NR_BUFS];
	unsigned int to;	/* a handle to pass to */
	int sock[2];
};

FIXTURE_VARIANT(lib)
{
	unsigned int backend;
	unsigned int engine;	/* the one that sends to TCP and UDP */
};

FIXTURE_VARIANT_ADD(lib, module)
{
	.backend = FBUF_BACKEND_MODULE,
	.engine = FBUF_ENGINE_PAGEREF,
};

FIXTURE_VARIANT_ADD(lib, user)
{
	.backend = FBUF_BACKEND_USER,
	.engine = FBUF_ENGINE_COPY,
};

static bool in_user(const struct _test_data_lib *self)
{
	return fbuf_pool_backend(self->pool) == FBUF_BACKEND_USER;
}

FIXTURE_SETUP(lib)
{
	unsigned int i;

	if (variant->backend == FBUF_BACKEND_MODULE && only_user())
		SKIP(return, "without the module");
	ASSERT_EQ(0, fbuf_backend_set(variant->backend));
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
	EXPECT_EQ(in_user(self) ? 1 : -EAGAIN,
		  fbuf_alloc(self->pool, &name, 1, 0));
}

TEST_F(lib, alloc_times_out)
{
	long start = now_ms();
	uint64_t name;

	if (in_user(self))
		SKIP(return, "nothing stays in flight");
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

	if (in_user(self))
		SKIP(return, "nothing stays in flight");
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
	EXPECT_EQ(variant->engine, result.engine);
	/* What is not the pool's does not count. */
	EXPECT_EQ(in_user(self) ? sizeof(got) - 8 : 0, result.copied);

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

/* A notice on the error queue, which is the user's. */
static int notice_queue(int sock)
{
	int one = 1;

	if (setsockopt(sock, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)))
		return -errno;
	return send(sock, "x", 1, MSG_ZEROCOPY) == 1 ? 0 : -errno;
}

static bool notice_is_queued(int sock)
{
	char control[128];
	struct msghdr msg = {
		.msg_control = control, .msg_controllen = sizeof(control),
	};

	return recvmsg(sock, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) == 0;
}

/* Who spins may be found asleep, but not time and again. */
static bool stays_asleep(int tid)
{
	char path[64], state = 0;
	unsigned int i;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	for (i = 0; i < 20; i++) {
		relax();
		f = fopen(path, "r");
		if (!f || fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
			state = 0;
		if (f)
			fclose(f);
		if (state != 'S')
			return false;
	}
	return true;
}

struct all_sender {
	struct fbuf_gather *g;
	int sock, tid;
	ssize_t ret;
};

static void *send_all_of_it(void *arg)
{
	struct all_sender *s = arg;

	__atomic_store_n(&s->tid, gettid(), __ATOMIC_RELEASE);
	s->ret = fbuf_send_all(s->g, s->sock, 0, NULL);
	return NULL;
}

TEST_F(lib, send_all_sleeps_though_a_notice_is_queued)
{
	struct all_sender s = { .g = self->g, .sock = self->sock[0] };
	struct reader r = { .fd = self->sock[1] };
	pthread_t thread;
	int i;

	everything(self, "head");
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, fbuf_gather_slice(self->g, self->g, 0,
					       fbuf_gather_len(self->g)));
	sock_small(self->sock);
	ASSERT_EQ(0, notice_queue(self->sock[0]));
	ASSERT_EQ(0, fcntl(self->sock[0], F_SETFL, O_NONBLOCK));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_all_of_it, &s));
	EXPECT_TRUE(wait_for(stays_asleep(__atomic_load_n(&s.tid,
							  __ATOMIC_ACQUIRE)),
			     DEADLINE_MS));
	ASSERT_EQ(0, reader_start(&r, self->sock[1],
				  fbuf_gather_len(self->g) + 1, -1));
	pthread_join(thread, NULL);
	EXPECT_EQ((ssize_t)fbuf_gather_len(self->g), s.ret);
	EXPECT_EQ((ssize_t)fbuf_gather_len(self->g) + 1, reader_join(&r));
	EXPECT_TRUE(notice_is_queued(self->sock[0]));
	free(r.data);
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

TEST_F(lib, backend)
{
	unsigned int backend = variant->backend;

	EXPECT_EQ(backend, fbuf_backend());
	EXPECT_EQ(backend, fbuf_pool_backend(self->pool));
	EXPECT_STREQ(in_user(self) ? "user" : "module",
		     fbuf_backend_name(backend));
	EXPECT_EQ(fbuf_features(0), fbuf_features(backend));
	EXPECT_EQ(!in_user(self),
		  !!(fbuf_features(backend) & FBUF_FEATURE_REFERENCE));
	EXPECT_EQ(-EINVAL, fbuf_backend_set(3));
	EXPECT_EQ(backend, fbuf_backend());
}

TEST(engine_names)
{
	EXPECT_STREQ("pageref", fbuf_engine_name(FBUF_ENGINE_PAGEREF));
	EXPECT_STREQ("ubuf", fbuf_engine_name(FBUF_ENGINE_UBUF));
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

TEST(create_with)
{
	static const unsigned int flags[] = {
		0, FBUF_POOL_SECURED, FBUF_POOL_SNAPSHOT,
		FBUF_POOL_SECURED | FBUF_POOL_SIGBUS,
	};
	struct fbuf_pool_options opt = FBUF_POOL_OPTIONS_INIT;
	struct fbuf_pool *pool;
	struct fbuf_info info;
	unsigned int i;

	opt.buf_size = BUF_SIZE;
	opt.nr_bufs = 2;
	for (i = 0; i < 4; i++) {
		opt.flags = flags[i];
		ASSERT_EQ(0, fbuf_pool_create_with(&pool, &opt));
		ASSERT_EQ(0, fbuf_pool_info(pool, &info));
		EXPECT_EQ(flags[i], info.pool_flags);
		EXPECT_EQ(2U, info.nr_bufs);
		EXPECT_EQ(-1, info.node);
		fbuf_pool_close(pool);
	}
	opt.flags = FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT;
	EXPECT_EQ(-EINVAL, fbuf_pool_create_with(&pool, &opt));
	opt.flags = 0;
	opt.copy_above = 1;
	ASSERT_EQ(0, fbuf_pool_create_with(&pool, &opt));
	ASSERT_EQ(0, fbuf_pool_info(pool, &info));
	EXPECT_EQ(1U, info.copy_above);
	fbuf_pool_close(pool);
	opt.copy_above = 0;
	opt.buf_size = (size_t)(1ULL << 32) + BUF_SIZE;
	EXPECT_EQ(-EINVAL, fbuf_pool_create_with(&pool, &opt));
}

#define ALL_RIGHTS	(FBUF_RIGHT_READ | FBUF_RIGHT_WRITE |		\
			 FBUF_RIGHT_ALLOC | FBUF_RIGHT_SEND)

/* Another handle on a pool, opened. */
static struct fbuf_pool *share(struct fbuf_pool *pool, unsigned int rights,
			       unsigned int max_holds)
{
	struct fbuf_pool *other;
	unsigned int handle;
	int fd = fbuf_pool_share(pool, rights, max_holds, &handle);

	if (fd < 0 || fbuf_pool_open(&other, fd) ||
	    fbuf_pool_handle(other) != handle ||
	    fbuf_pool_rights(other) != rights)
		return NULL;
	return other;
}

/* All ways to send a gather; of each what came of it. */
static void send_in_all_ways(struct _test_data_lib *self, int ret[6])
{
	struct fbuf_target target = { .fd = self->sock[0] };
	struct fbuf_gather *part = fbuf_gather_new(self->pool);
	struct fbuf_send_item item;

	fbuf_item_set(&item, self->g, self->sock[0]);
	ret[0] = fbuf_send(self->g, self->sock[0], 0, NULL);
	ret[1] = fbuf_sendto(self->g, self->sock[0], 0, FBUF_ENGINE_COPY, NULL,
			     0, NULL);
	ret[2] = fbuf_send_all(self->g, self->sock[0], 0, NULL);
	ret[3] = fbuf_fanout(self->g, &target, 1, 0, 0);
	ret[4] = fbuf_send_batch(self->pool, &item, 1, 0, 0);
	if (ret[4] == 1)
		ret[4] = item.result;
	ret[5] = fbuf_gather_slice(part, self->g, 1,
				   fbuf_gather_len(self->g) - 2);
	if (!ret[5])
		ret[5] = fbuf_send(part, self->sock[0], 0, NULL);
	fbuf_gather_destroy(part);
}

/* Who got the buffer since is not to find his bytes sent. */
static int stale_sends(struct _test_data_lib *self, uint64_t old, uint64_t name)
{
	int ret[6], i;

	if (name == old || FBUF_NAME_INDEX(name) != FBUF_NAME_INDEX(old))
		return -1;
	send_in_all_ways(self, ret);
	for (i = 0; i < 6; i++) {
		if (ret[i] != -ESTALE)
			printf("# way %d: %d\n", i, ret[i]);
		else if (sock_empty(self->sock[1]))
			continue;
		return i + 1;
	}
	return 0;
}

TEST_F(lib, gather_of_a_buffer_handed_out_again)
{
	uint64_t old = self->names[3], name;
	struct fbuf_pool *other;
	char got[100];

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[5], 0, 100));
	ASSERT_EQ(0, fbuf_gather_append(self->g, old, 10, 100));
	ASSERT_EQ(0, fbuf_gather_append(self->g, old, 110, 100));
	ASSERT_EQ(2U, fbuf_gather_nr_segs(self->g));
	/* By another thread, say. */
	ASSERT_EQ(0, fbuf_free(self->pool, &old, 1));
	ASSERT_EQ(1, fbuf_alloc(self->pool, &name, 1, 0));
	EXPECT_EQ(0, stale_sends(self, old, name));
	/* By another process, which holds it beside us. */
	ASSERT_EQ(0, fbuf_free(self->pool, &name, 1));
	other = share(self->pool, ALL_RIGHTS, 0);
	ASSERT_NE(NULL, other);
	ASSERT_EQ(1, fbuf_alloc(other, &name, 1, 0));
	EXPECT_EQ(0, stale_sends(self, old, name));
	ASSERT_EQ(0, fbuf_hold(self->pool, &name, 1));
	EXPECT_EQ(0, stale_sends(self, old, name));
	fbuf_pool_close(other);
	/* Its new name is as good as any. */
	fbuf_gather_reset(self->g);
	ASSERT_EQ(0, fbuf_gather_append(self->g, name, 10, 100));
	ASSERT_EQ(100, fbuf_send(self->g, self->sock[0], 0, NULL));
	ASSERT_EQ(100, read_full(self->sock[1], got, sizeof(got)));
	EXPECT_EQ(-1, pattern_differs(got, 3, 10, 100));
}

/* Sizes as callers give them who have an older header, a newer one, or none. */
TEST(sizes)
{
	struct {
		struct fbuf_pool_options opt;
		char more[8];
	} o = { .opt = FBUF_POOL_OPTIONS_INIT };
	struct {
		struct fbuf_info info;
		char more[16];
	} i;
	const size_t first = offsetof(struct fbuf_info, pool_flags);
	struct fbuf_pool *pool = NULL;

	o.opt.buf_size = BUF_SIZE;
	o.opt.nr_bufs = 2;
	EXPECT_EQ(-EINVAL, fbuf_pool_create_sized(&pool, &o.opt, 4));
	o.more[7] = 1;
	EXPECT_EQ(-E2BIG, fbuf_pool_create_sized(&pool, &o.opt, sizeof(o)));
	o.more[7] = 0;
	ASSERT_EQ(0, fbuf_pool_create_sized(&pool, &o.opt, sizeof(o)));
	EXPECT_EQ(-EINVAL, fbuf_pool_info_sized(pool, &i.info, first - 1));
	EXPECT_EQ(-EINVAL, fbuf_pool_info_sized(pool, &i.info, 1 << 20));
	memset(&i, 0xee, sizeof(i));
	ASSERT_EQ(0, fbuf_pool_info_sized(pool, &i.info, first));
	EXPECT_EQ(first, i.info.size);
	EXPECT_EQ(2U, i.info.nr_bufs);
	EXPECT_EQ(0xeeeeeeeeU, i.info.pool_flags);
	ASSERT_EQ(0, fbuf_pool_info_sized(pool, &i.info, sizeof(i)));
	EXPECT_EQ(1U, i.info.nr_handles);
	EXPECT_EQ(0, i.more[0]);
	EXPECT_EQ(0, i.more[15]);
	fbuf_pool_close(pool);
}

TEST_F(lib, share_flags)
{
	struct fbuf_info info;
	struct fbuf_pool *pool;
	unsigned int handle;
	int fd;

	fd = fbuf_pool_share_flags(self->pool, FBUF_RIGHT_READ, 0,
				   FBUF_SHARE_NO_PIN, &handle);
	if (in_user(self)) {
		EXPECT_EQ(-EINVAL, fd);
		return;
	}
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fbuf_pool_open(&pool, fd));
	EXPECT_EQ(handle, fbuf_pool_handle(pool));
	ASSERT_EQ(0, fbuf_pool_info(pool, &info));
	EXPECT_EQ(FBUF_SHARE_NO_PIN, info.handle_flags);
	fbuf_pool_close(pool);
	EXPECT_EQ(-EINVAL, fbuf_pool_share_flags(self->pool, FBUF_RIGHT_READ,
						 0, ~0U, NULL));
}

TEST_F(lib, rights)
{
	struct fbuf_pool *other;
	struct fbuf_info info;
	uint64_t name;

	EXPECT_EQ(ALL_RIGHTS, fbuf_pool_rights(self->pool));
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(info.handle, fbuf_pool_handle(self->pool));

	other = share(self->pool, FBUF_RIGHT_READ, 0);
	ASSERT_NE(NULL, other);
	EXPECT_NE(info.handle, fbuf_pool_handle(other));
	EXPECT_EQ(-1, pattern_differs(fbuf_addr(other, self->names[5]), 5, 0,
				      BUF_SIZE));
	EXPECT_EQ(-1, mprotect(fbuf_addr(other, self->names[0]), BUF_SIZE,
			       PROT_READ | PROT_WRITE));
	EXPECT_EQ(-EACCES, fbuf_alloc(other, &name, 1, 0));
	fbuf_pool_close(other);

	other = share(self->pool, FBUF_RIGHT_READ | FBUF_RIGHT_WRITE, 0);
	ASSERT_NE(NULL, other);
	pattern_fill(fbuf_addr(other, self->names[3]), 33, 0, BUF_SIZE);
	EXPECT_EQ(-1, pattern_differs(fbuf_addr(self->pool, self->names[3]),
				      33, 0, BUF_SIZE));
	fbuf_pool_close(other);
}

/* To send what one may not read. */
TEST_F(lib, no_right_to_read)
{
	struct fbuf_pool *other = share(self->pool, FBUF_RIGHT_SEND, 0);
	struct fbuf_gather *g;
	uint8_t got[100];

	ASSERT_NE(NULL, other);
	EXPECT_EQ(NULL, fbuf_addr(other, self->names[0]));
	EXPECT_EQ(BUF_SIZE, fbuf_pool_buf_size(other));
	g = fbuf_gather_new(other);
	ASSERT_NE(NULL, g);
	ASSERT_EQ(0, fbuf_gather_append(g, self->names[2], 50, 100));
	EXPECT_EQ(-ESTALE, fbuf_send(g, self->sock[0], 0, NULL));
	ASSERT_EQ(0, fbuf_hold(other, self->names + 2, 1));
	EXPECT_EQ(100, fbuf_send(g, self->sock[0], 0, NULL));
	ASSERT_EQ(100, read_full(self->sock[1], got, 100));
	EXPECT_EQ(-1, pattern_differs(got, 2, 50, 100));
	fbuf_gather_destroy(g);
	fbuf_pool_close(other);
}

TEST_F(lib, no_right_to_send)
{
	struct fbuf_pool *other = share(self->pool, FBUF_RIGHT_READ, 0);
	struct fbuf_gather *g;

	ASSERT_NE(NULL, other);
	g = fbuf_gather_new(other);
	ASSERT_NE(NULL, g);
	ASSERT_EQ(0, fbuf_hold(other, self->names, 1));
	ASSERT_EQ(0, fbuf_gather_append(g, self->names[0], 0, 10));
	EXPECT_EQ(-EACCES, fbuf_send(g, self->sock[0], 0, NULL));
	fbuf_gather_destroy(g);
	fbuf_pool_close(other);
}

TEST_F(lib, share_refused)
{
	struct fbuf_pool *other = share(self->pool, FBUF_RIGHT_READ, 3);
	unsigned int handle = 4711;

	ASSERT_NE(NULL, other);
	errno = 4711;
	EXPECT_EQ(-EINVAL, fbuf_pool_share(self->pool, 1U << 31, 0, &handle));
	EXPECT_EQ(-EINVAL, fbuf_pool_share(self->pool, FBUF_RIGHT_WRITE, 0,
					   &handle));
	EXPECT_EQ(-EACCES, fbuf_pool_share(other, ALL_RIGHTS, 1, &handle));
	EXPECT_EQ(-EDQUOT, fbuf_pool_share(other, FBUF_RIGHT_READ, 4,
					   &handle));
	EXPECT_EQ(-EDQUOT, fbuf_pool_share(other, FBUF_RIGHT_READ, 0, NULL));
	EXPECT_EQ(4711U, handle);
	EXPECT_EQ(4711, errno);
	fbuf_pool_close(other);
}

TEST_F(lib, max_holds)
{
	struct fbuf_pool *other = share(self->pool, ALL_RIGHTS, 2);
	uint64_t names[4];

	ASSERT_NE(NULL, other);
	EXPECT_EQ(-EDQUOT, fbuf_hold(other, self->names, 3));
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 4));
	EXPECT_EQ(2, fbuf_alloc(other, names, 4, 0));
	EXPECT_EQ(-EDQUOT, fbuf_alloc(other, names, 1, -1));
	fbuf_pool_close(other);
}

TEST_F(lib, pass_fd)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM };
	struct fbuf_pool *pool;
	int pair[2], fd;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, types[i], 0, pair));
		ASSERT_EQ(0, fbuf_pool_fd_send(pair[0],
					       fbuf_pool_fd(self->pool)));
		fd = fbuf_pool_fd_recv(pair[1]);
		ASSERT_LE(0, fd);
		EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
		ASSERT_EQ(0, fbuf_pool_open(&pool, fd));
		EXPECT_EQ(fbuf_pool_handle(self->pool), fbuf_pool_handle(pool));
		fbuf_pool_close(pool);
		close(pair[0]);
		close(pair[1]);
	}
}

static int send_fds(int sock, const int *fds, unsigned int nr)
{
	char control[CMSG_SPACE(2 * sizeof(int))] = { 0 }, byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(nr * sizeof(int)),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(nr * sizeof(int));
	memcpy(CMSG_DATA(c), fds, nr * sizeof(int));
	return sendmsg(sock, &m, 0);
}

TEST_F(lib, pass_fd_that_is_none)
{
	int pair[2], fds[2], spare, again;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	errno = 4711;
	EXPECT_EQ(-EBADF, fbuf_pool_fd_send(pair[0], -1));
	EXPECT_EQ(-EBADF, fbuf_pool_fd_send(-1, pair[0]));
	EXPECT_EQ(-EBADF, fbuf_pool_fd_recv(-1));
	EXPECT_EQ(4711, errno);
	ASSERT_EQ(1, write(pair[0], "x", 1));
	EXPECT_EQ(-EBADMSG, fbuf_pool_fd_recv(pair[1]));

	/* Two are one too many, and neither must stay open. */
	spare = dup(pair[0]);
	ASSERT_LE(0, spare);
	close(spare);
	fds[0] = pair[0];
	fds[1] = pair[1];
	ASSERT_EQ(1, send_fds(pair[0], fds, 2));
	EXPECT_EQ(-EBADMSG, fbuf_pool_fd_recv(pair[1]));
	again = dup(pair[0]);
	EXPECT_EQ(spare, again);
	close(again);

	close(pair[0]);
	EXPECT_EQ(-ENODATA, fbuf_pool_fd_recv(pair[1]));
	EXPECT_EQ(-EPIPE, fbuf_pool_fd_send(pair[1], pair[1]));
	close(pair[1]);
}

TEST_F(lib, alloc_flags)
{
	uint64_t names[NR_BUFS];
	long start = now_ms();

	EXPECT_EQ(-ENOBUFS, fbuf_alloc_flags(self->pool, names, 1, 0, 0));
	EXPECT_EQ(-EINVAL, fbuf_alloc_flags(self->pool, names, 1, 0, 5));
	EXPECT_EQ(-EINVAL, fbuf_alloc_flags(self->pool, names, 1, 1U << 31,
					    0));
	/* Those that are held are waited for, too. */
	EXPECT_EQ(-ETIMEDOUT, fbuf_alloc_flags(self->pool, names, 1,
					       FBUF_ALLOC_WAIT, 100));
	EXPECT_LE(100, now_ms() - start + 1);
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 3));
	EXPECT_EQ(-ENOBUFS, fbuf_alloc_flags(self->pool, names, 4,
					     FBUF_ALLOC_ALL, 0));
	EXPECT_EQ(3, fbuf_alloc_flags(self->pool, names, 3, FBUF_ALLOC_ALL,
				      0));
}

static void *free_later(void *arg)
{
	struct _test_data_lib *self = arg;
	int i;

	for (i = 0; i < 50; i++)
		relax();
	fbuf_free(self->pool, self->names, 2);
	return NULL;
}

TEST_F(lib, alloc_flags_waits_for_a_free)
{
	uint64_t names[2];
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, free_later, self));
	EXPECT_EQ(2, fbuf_alloc_flags(self->pool, names, 2,
				      FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL, -1));
	pthread_join(thread, NULL);
}

static void ignore(int sig)
{
}

/* Also where SA_RESTART would have the module's wait start again. */
TEST_F(lib, alloc_is_interrupted)
{
	struct sigaction sa = { .sa_handler = ignore, .sa_flags = SA_RESTART };
	struct itimerval timer = {
		.it_value.tv_usec = 50000, .it_interval.tv_usec = 50000,
	};
	uint64_t name;

	if (in_user(self))
		SKIP(return, "nothing stays in flight");
	ASSERT_EQ(0, send_everything(self));
	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	EXPECT_EQ(-EINTR, fbuf_alloc(self->pool, &name, 1, -1));
	timer = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &timer, NULL);
}

TEST_F(lib, hold)
{
	struct fbuf_pool *other = share(self->pool, 0, 0);
	struct fbuf_info info;

	ASSERT_NE(NULL, other);
	EXPECT_EQ(-EEXIST, fbuf_hold(self->pool, self->names, 1));
	EXPECT_EQ(0, fbuf_hold(other, self->names, 2));
	EXPECT_EQ(-EEXIST, fbuf_hold(other, self->names + 1, 2));
	/* It stays when the first holder lets go, and no longer. */
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 3));
	ASSERT_EQ(0, fbuf_pool_info(other, &info));
	EXPECT_EQ(NR_BUFS - 1, info.nr_held);
	EXPECT_EQ(2U, info.holds);
	EXPECT_EQ(-ESTALE, fbuf_hold(other, self->names + 2, 1));
	fbuf_pool_close(other);
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(NR_BUFS - 3, info.nr_held);
}

TEST_F(lib, wait)
{
	uint64_t name = self->names[1];
	char got[64];

	EXPECT_EQ(2, fbuf_wait(self->pool, self->names, 2, 0, 0));
	ASSERT_EQ(0, fbuf_gather_append(self->g, name, 0, 64));
	ASSERT_EQ(64, fbuf_send(self->g, self->sock[0], 0, NULL));
	EXPECT_EQ(in_user(self) ? 2 : -ETIMEDOUT,
		  fbuf_wait(self->pool, self->names, 2, 0, 0));
	EXPECT_EQ(in_user(self) ? 1 : -ETIMEDOUT,
		  fbuf_wait(self->pool, &name, 1, 0, 50));
	EXPECT_EQ(in_user(self) ? 2 : 1,
		  fbuf_wait(self->pool, self->names, 2, FBUF_WAIT_ANY, -1));
	EXPECT_EQ(-EINVAL, fbuf_wait(self->pool, &name, 1, 0, -2));
	EXPECT_EQ(-EINVAL, fbuf_wait(self->pool, &name, 1, 1U << 31, 0));
	ASSERT_EQ(64, read_full(self->sock[1], got, 64));
	EXPECT_EQ(2, fbuf_wait(self->pool, self->names, 2, 0, 5000));
	ASSERT_EQ(0, fbuf_free(self->pool, &name, 1));
	EXPECT_EQ(-ESTALE, fbuf_wait(self->pool, &name, 1, 0, 0));
}

/* One byte into a buffer by a system call, which fails where a store dies. */
static int write_byte(void *to)
{
	int fd[2], ret;

	if (pipe(fd) || write(fd[1], "x", 1) != 1)
		return -EIO;
	ret = read(fd[0], to, 1) == 1 ? 0 : -errno;
	close(fd[0]);
	close(fd[1]);
	return ret;
}

TEST(secure)
{
	const struct fbuf_pool_options opt = {
		.buf_size = BUF_SIZE, .nr_bufs = 2, .node = -1,
		.flags = FBUF_POOL_SECURED | FBUF_POOL_SIGBUS,
	};
	struct fbuf_pool *pool, *other;
	uint64_t names[2];

	ASSERT_EQ(0, fbuf_pool_create_with(&pool, &opt));
	ASSERT_EQ(2, fbuf_alloc(pool, names, 2, 0));
	other = share(pool, FBUF_RIGHT_READ, 0);
	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, write_byte(fbuf_addr(pool, names[0])));
	EXPECT_EQ(-ESTALE, fbuf_secure(other, names, 1));
	ASSERT_EQ(0, fbuf_hold(other, names, 1));
	ASSERT_EQ(0, fbuf_secure(other, names, 1));
	EXPECT_EQ(0, fbuf_secure(other, names, 1));
	EXPECT_EQ(-EFAULT, write_byte(fbuf_addr(pool, names[0])));
	EXPECT_EQ('x', *(char *)fbuf_addr(pool, names[0]));
	EXPECT_EQ(0, write_byte(fbuf_addr(pool, names[1])));
	ASSERT_EQ(0, fbuf_free(other, names, 1));
	EXPECT_EQ(0, write_byte(fbuf_addr(pool, names[0])));
	fbuf_pool_close(other);
	fbuf_pool_close(pool);
}

TEST_F(lib, protection_of_a_volatile_pool)
{
	EXPECT_EQ(-EOPNOTSUPP, fbuf_secure(self->pool, self->names, 1));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 64));
	EXPECT_EQ(-EOPNOTSUPP, fbuf_send(self->g, self->sock[0],
					 FBUF_SEND_SECURED, NULL));
	EXPECT_EQ(-EOPNOTSUPP, fbuf_send(self->g, self->sock[0],
					 FBUF_SEND_SNAPSHOT, NULL));
	EXPECT_EQ(64, fbuf_send(self->g, self->sock[0], FBUF_SEND_VOLATILE,
				NULL));
}

TEST_F(lib, no_ring)
{
	struct fbuf_ring_entry e;
	uint64_t overflow;

	EXPECT_EQ(-EINVAL, fbuf_ring_next(self->pool, &e));
	EXPECT_EQ(-EINVAL, fbuf_ring_wait(self->pool, &e, -1));
	EXPECT_EQ(-EINVAL, fbuf_ring_overflow(self->pool, &overflow));
	EXPECT_EQ(-EINVAL, fbuf_ring_setup(self->pool, 0, 0, -1));
	EXPECT_EQ(-EINVAL, fbuf_ring_setup(self->pool, 3, 0, -1));
	EXPECT_EQ(-EINVAL, fbuf_ring_setup(self->pool, 2 * FBUF_RING_MAX, 0,
					   -1));
	EXPECT_EQ(-EINVAL, fbuf_ring_setup(self->pool, 4, 1U << 31, -1));
	EXPECT_EQ(-EBADF, fbuf_ring_setup(self->pool, 4, FBUF_RING_EVENTFD,
					  -1));
}

TEST_F(lib, ring)
{
	struct fbuf_ring_entry e;
	long start = now_ms();
	uint64_t overflow;

	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 4, 0, -1));
	EXPECT_EQ(-EEXIST, fbuf_ring_setup(self->pool, 4, 0, -1));
	errno = 4711;
	EXPECT_EQ(0, fbuf_ring_next(self->pool, &e));
	EXPECT_EQ(0, fbuf_ring_wait(self->pool, &e, 0));
	EXPECT_EQ(0, fbuf_ring_wait(self->pool, &e, 100));
	EXPECT_LE(100, now_ms() - start + 1);
	ASSERT_EQ(0, fbuf_ring_overflow(self->pool, &overflow));
	EXPECT_EQ(0ULL, overflow);
	EXPECT_EQ(4711, errno);
}

TEST_F(lib, ring_notice)
{
	struct fbuf_ring_entry e;
	char got[64];

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[7], 0, 64));
	EXPECT_EQ(-EINVAL, fbuf_send(self->g, self->sock[0], FBUF_SEND_NOTIFY,
				     NULL));
	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 4, 0, -1));
	ASSERT_EQ(64, fbuf_send(self->g, self->sock[0], FBUF_SEND_NOTIFY,
				NULL));
	if (!in_user(self))
		EXPECT_EQ(0, fbuf_ring_wait(self->pool, &e, 50));
	ASSERT_EQ(64, read_full(self->sock[1], got, 64));
	ASSERT_EQ(1, fbuf_ring_wait(self->pool, &e, 5000));
	EXPECT_EQ((uint32_t)FBUF_RING_IDLE, e.type);
	EXPECT_EQ(self->names[7], e.name);
	EXPECT_EQ(0, fbuf_ring_next(self->pool, &e));
}

/* Notices for which there was no room come later, and are counted. */
TEST_F(lib, ring_overflow)
{
	unsigned int i, seen = 0;
	struct fbuf_ring_entry e;
	uint64_t overflow = 0;
	char got[4 * 64];

	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 1, 0, -1));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[i], 0,
						64));
	ASSERT_EQ(4 * 64, fbuf_send(self->g, self->sock[0], FBUF_SEND_NOTIFY,
				    NULL));
	ASSERT_EQ(4 * 64, read_full(self->sock[1], got, sizeof(got)));
	for (i = 0; i < 5000 && !overflow; i++) {
		relax();
		ASSERT_EQ(0, fbuf_ring_overflow(self->pool, &overflow));
	}
	EXPECT_LT(0ULL, overflow);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(1, fbuf_ring_wait(self->pool, &e, 5000));
		seen |= 1U << FBUF_NAME_INDEX(e.name);
	}
	for (i = 0; i < 4; i++)
		seen &= ~(1U << FBUF_NAME_INDEX(self->names[i]));
	EXPECT_EQ(0U, seen);
	EXPECT_EQ(0, fbuf_ring_wait(self->pool, &e, 50));
}

TEST_F(lib, pass)
{
	struct fbuf_pool *other = share(self->pool, FBUF_RIGHT_READ, 0);
	struct fbuf_item items[2] = {
		{ .name = self->names[4], .data = 1ULL << 40 },
		{ .name = self->names[6], .data = 7 },
	};
	struct fbuf_ring_entry e;
	uint64_t count, name;
	unsigned int to, i;
	int efd = eventfd(0, EFD_NONBLOCK);

	ASSERT_NE(NULL, other);
	to = fbuf_pool_handle(other);
	EXPECT_EQ(-EACCES, fbuf_pass(self->pool, to, items, 2, 0));
	ASSERT_EQ(0, fbuf_ring_setup(other, 2, FBUF_RING_ACCEPT |
				     FBUF_RING_EVENTFD, efd));
	EXPECT_EQ(-ENOENT, fbuf_pass(self->pool, to + 1000, items, 2, 0));
	EXPECT_EQ(-EINVAL, fbuf_pass(self->pool, fbuf_pool_handle(self->pool),
				     items, 2, 0));
	EXPECT_EQ(-EINVAL, fbuf_pass(self->pool, to, items, 0, 0));
	EXPECT_EQ(-1, read(efd, &count, 8));
	ASSERT_EQ(0, fbuf_pass(self->pool, to, items, 2, 0));
	EXPECT_EQ(8, read(efd, &count, 8));
	EXPECT_EQ(-ESTALE, fbuf_pass(self->pool, to, items, 1, 0));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, fbuf_ring_wait(other, &e, 0));
		EXPECT_EQ((uint32_t)FBUF_RING_PASSED, e.type);
		EXPECT_EQ(items[i].name, e.name);
		EXPECT_EQ(items[i].data, e.data);
		EXPECT_EQ(fbuf_pool_handle(self->pool), e.from);
		name = e.name;
		EXPECT_EQ(-ESTALE, fbuf_free(self->pool, &name, 1));
		EXPECT_EQ(0, fbuf_free(other, &name, 1));
	}
	EXPECT_EQ(0, fbuf_ring_next(other, &e));
	fbuf_pool_close(other);
	close(efd);
}

TEST_F(lib, pass_and_keep)
{
	struct fbuf_pool *other = share(self->pool, 0, 0);
	struct fbuf_item item = { .name = self->names[0] };
	unsigned int to;

	ASSERT_NE(NULL, other);
	to = fbuf_pool_handle(other);
	ASSERT_EQ(0, fbuf_ring_setup(other, 1, FBUF_RING_ACCEPT, -1));
	ASSERT_EQ(0, fbuf_pass(self->pool, to, &item, 1, FBUF_PASS_KEEP));
	EXPECT_EQ(0, fbuf_free(self->pool, self->names, 1));
	EXPECT_EQ(0, fbuf_free(other, self->names, 1));
	/* The entry was not taken: no room for a second. */
	item.name = self->names[1];
	EXPECT_EQ(-EAGAIN, fbuf_pass(self->pool, to, &item, 1, 0));
	EXPECT_EQ(0, fbuf_free(self->pool, self->names + 1, 1));
	fbuf_pool_close(other);
}

static void *pass_later(void *arg)
{
	struct _test_data_lib *self = arg;
	struct fbuf_item item = { .name = self->names[0], .data = 5 };
	int i;

	for (i = 0; i < 50; i++)
		relax();
	fbuf_pass(self->pool, self->to, &item, 1, 0);
	return NULL;
}

TEST_F(lib, ring_wait)
{
	struct fbuf_pool *other = share(self->pool, 0, 0);
	struct fbuf_ring_entry e;
	pthread_t thread;

	ASSERT_NE(NULL, other);
	self->to = fbuf_pool_handle(other);
	ASSERT_EQ(0, fbuf_ring_setup(other, 1, FBUF_RING_ACCEPT, -1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, pass_later, self));
	EXPECT_EQ(1, fbuf_ring_wait(other, &e, -1));
	EXPECT_EQ(5ULL, e.data);
	pthread_join(thread, NULL);
	fbuf_pool_close(other);
}

/* One ring, many threads that consume it: each entry comes to one of them. */
#define NR_PASSES	400

struct consumer {
	struct fbuf_pool *pool;
	pthread_t thread;
	unsigned int *seen;
	int err;
};

static void *consume(void *arg)
{
	struct consumer *c = arg;
	struct fbuf_ring_entry e;
	uint64_t name;

	for (;;) {
		c->err = fbuf_ring_wait(c->pool, &e, 10000);
		if (c->err != 1)
			return NULL;
		name = e.name;
		c->err = fbuf_free(c->pool, &name, 1);
		if (c->err || e.data >= NR_PASSES)
			return NULL;
		__atomic_add_fetch(&c->seen[e.data], 1, __ATOMIC_RELAXED);
	}
}

static int pass_patiently(struct fbuf_pool *pool, unsigned int to,
			  uint64_t data)
{
	struct fbuf_item item = { .data = data };
	uint64_t name;
	int i, ret;

	ret = fbuf_alloc_flags(pool, &name, 1, FBUF_ALLOC_WAIT, 10000);
	if (ret < 0)
		return ret;
	item.name = name;
	for (i = 0; i < 10000; i++) {
		ret = fbuf_pass(pool, to, &item, 1, 0);
		if (ret != -EAGAIN)
			break;
		relax();
	}
	return ret;
}

TEST_F(lib, ring_threads)
{
	struct fbuf_pool *other = share(self->pool, 0, 0);
	struct consumer c[NR_THREADS];
	unsigned int seen[NR_PASSES] = { 0 };
	unsigned int to, i;

	ASSERT_NE(NULL, other);
	to = fbuf_pool_handle(other);
	ASSERT_EQ(0, fbuf_ring_setup(other, 4, FBUF_RING_ACCEPT, -1));
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, NR_BUFS));
	for (i = 0; i < NR_THREADS; i++) {
		c[i] = (struct consumer){ .pool = other, .seen = seen };
		ASSERT_EQ(0, pthread_create(&c[i].thread, NULL, consume,
					    &c[i]));
	}
	/* Those past the last number tell the threads to end. */
	for (i = 0; i < NR_PASSES + NR_THREADS; i++)
		EXPECT_EQ(0, pass_patiently(self->pool, to, i));
	for (i = 0; i < NR_THREADS; i++) {
		pthread_join(c[i].thread, NULL);
		EXPECT_EQ(0, c[i].err);
	}
	for (i = 0; i < NR_PASSES; i++)
		EXPECT_EQ(1U, seen[i]);
	fbuf_pool_close(other);
}

TEST_F(lib, fanout)
{
	struct fbuf_target targets[3] = {
		{ .fd = self->sock[0] },
		{ .fd = -1 },
		{ .fd = self->sock[0] },
	};
	char got[128];

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 64));
	EXPECT_EQ(2, fbuf_fanout(self->g, targets, 3, 0, 0));
	EXPECT_EQ(64, targets[0].result);
	EXPECT_EQ(-EBADF, targets[1].result);
	EXPECT_EQ(64, targets[2].result);
	EXPECT_EQ(variant->engine, targets[2].engine);
	ASSERT_EQ(128, read_full(self->sock[1], got, sizeof(got)));
	EXPECT_EQ(0, memcmp(got, fbuf_addr(self->pool, self->names[0]), 64));
	EXPECT_EQ(0, memcmp(got, got + 64, 64));
	EXPECT_EQ(-EINVAL, fbuf_fanout(self->g, targets, 0, 0, 0));
	EXPECT_EQ(2, fbuf_fanout(self->g, targets, 3, 0, FBUF_ENGINE_COPY));
	EXPECT_EQ(64U, targets[0].copied);
}

/* Two and a half datagrams, of memory that is not in the pool too. */
static void gather_for_datagrams(struct _test_data_lib *self)
{
	fbuf_gather_reset(self->g);
	fbuf_gather_append_inline(self->g, "0123456789", 10);
	fbuf_gather_append(self->g, self->names[4], 0, 1200);
	fbuf_gather_append(self->g, self->names[7], 100, 1290);
}

static bool datagrams_arrive(struct _test_data_lib *self, int sock)
{
	const size_t want[] = { 1000, 1000, 500 };
	uint8_t got[2501];
	size_t len = 0;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		if (recv(sock, got + len, sizeof(got) - len, 0) !=
		    (ssize_t)want[i])
			return false;
		len += want[i];
	}
	return sock_empty(sock) && !memcmp(got, "0123456789", 10) &&
	       pattern_differs(got + 10, 4, 0, 1200) < 0 &&
	       pattern_differs(got + 1210, 7, 100, 1290) < 0;
}

TEST_F(lib, send_datagrams)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	struct fbuf_result result;
	int pair[2], sock;

	ASSERT_EQ(0, udp_pair(AF_INET, pair));
	gather_for_datagrams(self);
	ASSERT_EQ(2500, fbuf_send_datagrams(self->g, pair[0], 0, 0, NULL, 0,
					    1000, &result));
	EXPECT_EQ(variant->engine, result.engine);
	EXPECT_TRUE(datagrams_arrive(self, pair[1]));
	/* To an address, by an engine that is named. */
	ASSERT_EQ(0, getsockname(pair[1], (void *)&addr, &len));
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_LE(0, sock);
	ASSERT_EQ(2500, fbuf_send_datagrams(self->g, sock, 0, FBUF_ENGINE_COPY,
					    (void *)&addr, len, 1000,
					    &result));
	EXPECT_EQ((unsigned int)FBUF_ENGINE_COPY, result.engine);
	EXPECT_LE(2490ULL, result.copied);
	EXPECT_TRUE(datagrams_arrive(self, pair[1]));
	/* And as one, with no result wanted. */
	ASSERT_EQ(2500, fbuf_send_datagrams(self->g, sock, 0, 0, (void *)&addr,
					    len, 0, NULL));
	EXPECT_EQ(2500, recv(pair[1], NULL, 0, MSG_TRUNC));
	EXPECT_EQ(-EOPNOTSUPP, fbuf_send_datagrams(self->g, self->sock[0], 0, 0,
						   NULL, 0, 1000, NULL));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	close(sock);
	close(pair[0]);
	close(pair[1]);
}

TEST_F(lib, item_set)
{
	const struct fbuf_send_item blank = { 0 };
	struct fbuf_send_item item;

	everything(self, "head");
	memset(&item, 0xff, sizeof(item));
	fbuf_item_set(&item, self->g, 4711);
	EXPECT_EQ((uintptr_t)fbuf_gather_segs(self->g), item.segs);
	EXPECT_EQ(NR_BUFS + 1, item.nr_segs);
	EXPECT_EQ(4711, item.fd);
	item.segs = 0;
	item.nr_segs = 0;
	item.fd = 0;
	EXPECT_EQ(0, memcmp(&blank, &item, sizeof(item)));
}

TEST_F(lib, send_batch)
{
	struct fbuf_gather *other = fbuf_gather_new(self->pool);
	struct fbuf_send_item items[5];
	struct fbuf_pool *deaf;
	int pair[2], full[2];
	uint8_t got[4000];

	ASSERT_EQ(0, udp_pair(AF_INET, pair));
	ASSERT_EQ(0, tcp_pair(AF_INET, full));
	ASSERT_LT(0, sock_fill(full[0]));
	gather_for_datagrams(self);
	ASSERT_EQ(0, fbuf_gather_append(other, self->names[9], 1, 1500));
	fbuf_item_set(&items[0], other, self->sock[0]);
	fbuf_item_set(&items[1], other, -1);
	fbuf_item_set(&items[2], self->g, pair[0]);
	items[2].segment = 1000;
	fbuf_item_set(&items[3], other, full[0]);
	fbuf_item_set(&items[4], self->g, self->sock[0]);
	EXPECT_EQ(5, fbuf_send_batch(self->pool, items, 5, 0, 0));
	EXPECT_EQ(1500, items[0].result);
	EXPECT_EQ(variant->engine, items[0].engine);
	EXPECT_EQ(-EBADF, items[1].result);
	EXPECT_EQ(2500, items[2].result);
	EXPECT_TRUE(datagrams_arrive(self, pair[1]));
	EXPECT_EQ(-EAGAIN, items[3].result);
	EXPECT_EQ(2500, items[4].result);
	ASSERT_EQ(4000, read_full(self->sock[1], got, sizeof(got)));
	EXPECT_EQ(-1, pattern_differs(got, 9, 1, 1500));
	EXPECT_EQ(-1, pattern_differs(got + 2710, 7, 100, 1290));
	EXPECT_EQ(1, fbuf_send_batch(self->pool, items, 1, 0,
				     FBUF_ENGINE_COPY));
	EXPECT_EQ((unsigned int)FBUF_ENGINE_COPY, items[0].engine);
	EXPECT_EQ(1500ULL, items[0].copied);

	EXPECT_EQ(-EINVAL, fbuf_send_batch(self->pool, items, 0, 0, 0));
	EXPECT_EQ(-EINVAL, fbuf_send_batch(self->pool, items, 1, ~0U, 0));
	EXPECT_EQ(-EFAULT, fbuf_send_batch(self->pool, NULL, 1, 0, 0));
	EXPECT_EQ(-EOPNOTSUPP, fbuf_send_batch(self->pool, items, 1,
					       FBUF_SEND_SECURED, 0));
	deaf = share(self->pool, FBUF_RIGHT_READ, 0);
	ASSERT_NE(NULL, deaf);
	EXPECT_EQ(-EACCES, fbuf_send_batch(deaf, items, 1, 0, 0));
	fbuf_pool_close(deaf);
	fbuf_gather_destroy(other);
	close(pair[0]);
	close(pair[1]);
	close(full[0]);
	close(full[1]);
}

static int complete(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ret;

	io_uring_submit(ring);
	ret = io_uring_wait_cqe(ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

TEST_F(lib, uring)
{
	struct fbuf_target target = { .fd = self->sock[0] };
	struct io_uring_sqe *sqe;
	struct fbuf_fanout fanout;
	struct fbuf_send send;
	struct io_uring ring;
	char got[128];

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 64));
	memset(&send, 0xff, sizeof(send));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fbuf_pool_fd(self->pool),
			 NULL, 0, 0);
	sqe->cmd_op = fbuf_uring_send(&send, sqe->cmd, self->g, self->sock[0],
				      FBUF_SEND_MORE, FBUF_ENGINE_COPY);
	if (in_user(self)) {
		EXPECT_EQ(-EOPNOTSUPP, complete(&ring));
		EXPECT_TRUE(sock_empty(self->sock[1]));
		io_uring_queue_exit(&ring);
		return;
	}
	EXPECT_EQ(64, complete(&ring));
	EXPECT_EQ(FBUF_ENGINE_COPY, send.engine);
	EXPECT_EQ(64U, send.copied);

	memset(&fanout, 0xff, sizeof(fanout));
	sqe = io_uring_get_sqe(&ring);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fbuf_pool_fd(self->pool),
			 NULL, 0, 0);
	sqe->cmd_op = fbuf_uring_fanout(&fanout, sqe->cmd, self->g, &target, 1,
					0, FBUF_ENGINE_PAGEREF);
	EXPECT_EQ(1, complete(&ring));
	EXPECT_EQ(64, target.result);
	EXPECT_EQ(FBUF_ENGINE_PAGEREF, target.engine);
	ASSERT_EQ(128, read_full(self->sock[1], got, sizeof(got)));
	EXPECT_EQ(0, memcmp(got, fbuf_addr(self->pool, self->names[0]), 64));
	EXPECT_EQ(0, memcmp(got, got + 64, 64));
	io_uring_queue_exit(&ring);
}

/* A full one is not waited for, and what the call refuses goes to nobody. */
TEST_F(lib, fanout_refused)
{
	struct fbuf_target targets[2] = { 0 };
	struct fbuf_pool *other;
	struct fbuf_gather *g;
	int pair[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, pair));
	sock_small(pair);
	targets[0].fd = pair[0];
	targets[1].fd = self->sock[0];
	errno = 4711;
	EXPECT_EQ(-EINVAL, fbuf_fanout(self->g, targets, 2, 0, 0));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 64));
	EXPECT_EQ(-EINVAL, fbuf_fanout(self->g, targets, 2, FBUF_SEND_NOTIFY,
				       0));
	EXPECT_EQ(-EINVAL, fbuf_fanout(self->g, targets, FBUF_TARGETS_MAX + 1,
				       0, 0));
	EXPECT_EQ(-EINVAL, fbuf_fanout(self->g, targets, 2, 0, 1U << 31));
	EXPECT_EQ(-EFAULT, fbuf_fanout(self->g, NULL, 2, 0, 0));
	EXPECT_EQ(4711, errno);

	other = share(self->pool, FBUF_RIGHT_READ, 0);
	ASSERT_NE(NULL, other);
	g = fbuf_gather_new(other);
	ASSERT_NE(NULL, g);
	ASSERT_EQ(0, fbuf_gather_append(g, self->names[0], 0, 64));
	EXPECT_EQ(-EACCES, fbuf_fanout(g, targets, 2, 0, 0));
	fbuf_gather_destroy(g);
	fbuf_pool_close(other);
	EXPECT_TRUE(sock_empty(pair[1]));
	EXPECT_TRUE(sock_empty(self->sock[1]));

	ASSERT_LT(0, sock_fill(pair[0]));
	EXPECT_EQ(1, fbuf_fanout(self->g, targets, 2, 0, 0));
	EXPECT_EQ(-EAGAIN, targets[0].result);
	EXPECT_EQ(64, targets[1].result);
	close(pair[0]);
	close(pair[1]);
}

TEST_F(lib, fill)
{
	uint8_t *buf = fbuf_addr(self->pool, self->names[2]);
	uint8_t data[300];
	int fd = memfd_create("fill", 0);

	pattern_fill(data, 77, 0, sizeof(data));
	ASSERT_EQ((ssize_t)sizeof(data), write(fd, data, sizeof(data)));
	/* From its position on is nothing. */
	EXPECT_EQ(0, fbuf_fill(self->pool, self->names[2], 0, 100, fd, 0));
	EXPECT_EQ(100, fbuf_fill_at(self->pool, self->names[2], 20, 100, fd,
				    50, 4096, FBUF_FILL_ALL));
	EXPECT_EQ(-1, pattern_differs(buf + 20, 77, 50, 100));
	EXPECT_EQ(-1, pattern_differs(buf, 2, 0, 20));
	EXPECT_EQ(-1, pattern_differs(buf + 120, 2, 120, BUF_SIZE - 120));
	ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
	EXPECT_EQ(100, fbuf_fill(self->pool, self->names[2], 0, 100, fd, 0));
	EXPECT_EQ(200, fbuf_fill_at(self->pool, self->names[2], 100, 5000, fd,
				    -1, 0, FBUF_FILL_ALL));
	EXPECT_EQ(-1, pattern_differs(buf, 77, 0, 300));
	close(fd);
}

TEST_F(lib, fill_errors)
{
	const size_t wrap = 1ULL << 32;
	int fd = memfd_create("fill", 0);
	uint64_t name = self->names[2];

	ASSERT_EQ(0, ftruncate(fd, BUF_SIZE));
	errno = 4711;
	/* What 32 bits cannot hold must not come out as less. */
	EXPECT_EQ(-EINVAL, fbuf_fill(self->pool, name, wrap, 1, fd, 0));
	EXPECT_EQ(-EINVAL, fbuf_fill(self->pool, name, 0, wrap + 1, fd, 0));
	EXPECT_EQ(-EINVAL, fbuf_fill_at(self->pool, name, 0, 1, fd, 0, wrap,
					0));
	EXPECT_EQ(-EINVAL, fbuf_fill_at(self->pool, name, 0, 1, fd, -2, 0, 0));
	EXPECT_EQ(-EINVAL, fbuf_fill(self->pool, name, 0, 0, fd, 0));
	EXPECT_EQ(-EINVAL, fbuf_fill(self->pool, name, 0, 1, fd, 1U << 31));
	EXPECT_EQ(-EBADF, fbuf_fill(self->pool, name, 0, 1, -1, 0));
	EXPECT_EQ(-ESPIPE, fbuf_fill_at(self->pool, name, 0, 1, self->sock[1],
					0, 0, 0));
	ASSERT_EQ(0, fbuf_free(self->pool, &name, 1));
	EXPECT_EQ(-ESTALE, fbuf_fill(self->pool, name, 0, 1, fd, 0));
	EXPECT_EQ(4711, errno);
	EXPECT_EQ(0, lseek(fd, 0, SEEK_CUR));
	close(fd);
}

/* By those who know nothing of the library. */
TEST_F(lib, sendfile)
{
	uint8_t got[100];
	off_t pos;

	pos = (uint8_t *)fbuf_addr(self->pool, self->names[4]) + 300 -
	      (uint8_t *)fbuf_addr(self->pool, FBUF_NAME(0, 0));
	if (in_user(self)) {
		EXPECT_EQ(-1, sendfile(self->sock[0], fbuf_pool_fd(self->pool),
				       &pos, 100));
		EXPECT_TRUE(errno == EINVAL || errno == ESPIPE);
		return;
	}
	ASSERT_EQ(100, sendfile(self->sock[0], fbuf_pool_fd(self->pool), &pos,
				100));
	ASSERT_EQ(100, read_full(self->sock[1], got, 100));
	EXPECT_EQ(-1, pattern_differs(got, 4, 300, 100));
}

int main(int argc, char **argv)
{
	if (!only_user())
		need_device(argc, argv);
	return test_harness_run(argc, argv);
}
