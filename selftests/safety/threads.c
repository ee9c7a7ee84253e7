// SPDX-License-Identifier: GPL-2.0
/*
 * Several threads and processes on one pool and one socket.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "util.h"

/*
 * No interleaving: every line of a gather says whose it is, which of his, and
 * where in it the line is.
 */
#define LINE		64U
#define NR_SENDERS	3U
#define NR_GATHERS	12U
#define GATHER_BUFS	18U
#define GATHER_SIZE	(GATHER_BUFS * PAGE)
#define GATHER_LINES	(GATHER_SIZE / LINE)

struct tag {
	__u32 sender;
	__u32 gather;
	__u32 line;
	__u32 pad;
};

FIXTURE(interleave)
{
	struct pool pool;
	int sock[2];
};

FIXTURE_VARIANT(interleave)
{
	int family;
	__u32 engine;
};

FIXTURE_VARIANT_ADD(interleave, tcp)
{
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(interleave, tcp_copy)
{
	.family = AF_INET,
	.engine = FBUF_ENGINE_COPY,
};

FIXTURE_SETUP(interleave)
{
	int size = 2 * NR_SENDERS * NR_GATHERS * GATHER_SIZE;

	ASSERT_EQ(0, pool_make(&self->pool, PAGE,
			       2 * NR_SENDERS * GATHER_BUFS));
	ASSERT_EQ(0, tcp_pair(variant->family, self->sock));
	/*
	 * As with sendmsg(), who waits for room in the middle of a gather lets
	 * others in: so there is room for all that they send.
	 */
	setsockopt(self->sock[0], SOL_SOCKET, SO_SNDBUFFORCE, &size,
		   sizeof(size));
}

FIXTURE_TEARDOWN(interleave)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

struct sender {
	struct _test_data_interleave *self;
	pthread_t thread;
	unsigned int number;
	__u32 engine;
	int err;
};

static int tagged_send(struct sender *s, unsigned int gather)
{
	struct pool *pool = &s->self->pool;
	struct fbuf_seg seg[GATHER_BUFS];
	__u64 names[GATHER_BUFS];
	unsigned int i, line, got = 0;
	ssize_t ret;

	while (got < GATHER_BUFS) {
		ret = pool_alloc_wait(pool->fd, names + got, GATHER_BUFS - got,
				      10000);
		if (ret == -ENOBUFS)
			continue;
		if (ret < 0)
			return ret;
		got += ret;
	}
	for (line = 0; line < GATHER_LINES; line++) {
		struct tag tag = { s->number, gather, line, 0 };

		memcpy(buf_addr(pool, names[line * LINE / PAGE]) +
		       line * LINE % PAGE, &tag, sizeof(tag));
	}
	for (i = 0; i < GATHER_BUFS; i++)
		seg[i] = buf_seg(pool, names[i], 0, PAGE);
	ret = pool_send(pool->fd, s->self->sock[0], seg, GATHER_BUFS, 0,
			s->engine, NULL);
	if (ret != (ssize_t)GATHER_SIZE)
		return ret < 0 ? ret : -EIO;
	ret = pool_free(pool->fd, names, GATHER_BUFS);
	return ret < 0 ? ret : 0;
}

static void *sender_run(void *arg)
{
	struct sender *s = arg;
	unsigned int i;

	for (i = 0; i < NR_GATHERS && !s->err; i++)
		s->err = tagged_send(s, i);
	if (s->err)
		shutdown(s->self->sock[0], SHUT_RDWR);
	return NULL;
}

TEST_F(interleave, none_within_a_gather)
{
	unsigned int next[NR_SENDERS] = { 0 };
	struct sender s[NR_SENDERS];
	unsigned int i, line;
	struct tag tag;
	struct reader r;
	__u8 *p;

	ASSERT_EQ(0, reader_start(&r, self->sock[1],
				  NR_SENDERS * NR_GATHERS * GATHER_SIZE, -1));
	for (i = 0; i < NR_SENDERS; i++) {
		s[i].self = self;
		s[i].number = i;
		s[i].engine = variant->engine;
		s[i].err = 0;
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, sender_run,
					    &s[i]));
	}
	for (i = 0; i < NR_SENDERS; i++) {
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ(0, s[i].err);
	}
	ASSERT_EQ((ssize_t)(NR_SENDERS * NR_GATHERS * GATHER_SIZE),
		  reader_join(&r));

	p = r.data;
	for (i = 0; i < NR_SENDERS * NR_GATHERS; i++) {
		struct tag first;

		memcpy(&first, p, sizeof(first));
		ASSERT_GT(NR_SENDERS, first.sender);
		/* Those of one sender come in his order. */
		ASSERT_EQ(next[first.sender]++, first.gather);
		for (line = 0; line < GATHER_LINES; line++) {
			memcpy(&tag, p, sizeof(tag));
			ASSERT_EQ(first.sender, tag.sender);
			ASSERT_EQ(first.gather, tag.gather);
			ASSERT_EQ(line, tag.line);
			p += LINE;
		}
	}
	free(r.data);
}

/* No buffer is handed to two at once. */
#define NR_BUFS		16U
#define ROUNDS		400

FIXTURE(pool)
{
	struct pool pool;
	int errors;
	bool stop;
	int sock[2];
};

FIXTURE_SETUP(pool)
{
	ASSERT_EQ(0, pool_make(&self->pool, PAGE, NR_BUFS));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
}

FIXTURE_TEARDOWN(pool)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static void count_error(struct _test_data_pool *self)
{
	__atomic_add_fetch(&self->errors, 1, __ATOMIC_SEQ_CST);
}

/* Large batches, so that calls overlap. */
#define ALLOC_BUFS	256
#define ALLOC_BATCH	100

struct allocator {
	struct _test_data_pool *self;
	pthread_t thread;
	int fd;
	int *owner;
};

static void *alloc_run(void *arg)
{
	struct allocator *a = arg;
	__u64 names[ALLOC_BATCH];
	int round, i, n;

	for (round = 0; round < ROUNDS; round++) {
		n = pool_alloc(a->fd, names, 1 + round % ALLOC_BATCH);
		if (n == -ENOBUFS)
			continue;
		if (n <= 0) {
			count_error(a->self);
			continue;
		}
		for (i = 0; i < n; i++) {
			int *owner = &a->owner[FBUF_NAME_INDEX(names[i])];

			if (__atomic_exchange_n(owner, 1, __ATOMIC_SEQ_CST))
				count_error(a->self);
		}
		for (i = 0; i < n; i++) {
			int *owner = &a->owner[FBUF_NAME_INDEX(names[i])];

			__atomic_store_n(owner, 0, __ATOMIC_SEQ_CST);
		}
		if (pool_free(a->fd, names, n) != n)
			count_error(a->self);
	}
	return NULL;
}

TEST_F(pool, concurrent_alloc)
{
	int owner[ALLOC_BUFS] = { 0 };
	struct allocator a[4];
	struct fbuf_info info;
	unsigned int i;
	int fd;

	fd = pool_create(PAGE, ALLOC_BUFS);
	ASSERT_LE(0, fd);
	for (i = 0; i < ARRAY_SIZE(a); i++) {
		a[i].self = self;
		a[i].fd = fd;
		a[i].owner = owner;
		ASSERT_EQ(0, pthread_create(&a[i].thread, NULL, alloc_run,
					    &a[i]));
	}
	for (i = 0; i < ARRAY_SIZE(a); i++)
		pthread_join(a[i].thread, NULL);
	EXPECT_EQ(0, self->errors);
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(0U, info.nr_held);
	EXPECT_EQ(0U, info.nr_in_flight);
	EXPECT_LT((__u64)ROUNDS, info.allocs);
	close(fd);
}

/* Of two that free the same buffer, one does. */
static __u64 contended;

static void *free_run(void *arg)
{
	struct _test_data_pool *self = arg;

	return (void *)(long)pool_free(self->pool.fd, &contended, 1);
}

TEST_F(pool, concurrent_free)
{
	pthread_t thread;
	void *other;
	int i, ret;

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(1, pool_alloc(self->pool.fd, &contended, 1));
		ASSERT_EQ(0, pthread_create(&thread, NULL, free_run, self));
		ret = pool_free(self->pool.fd, &contended, 1);
		pthread_join(thread, &other);
		ASSERT_EQ(1 - ESTALE, ret + (long)other);
	}
}

/* Everybody sends buffers that are freed and handed out again under him. */
static void *reuse_run(void *arg)
{
	struct _test_data_pool *self = arg;
	__u64 names[2];
	int n;

	while (!__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE)) {
		n = pool_alloc(self->pool.fd, names, 2);
		if (n > 0)
			pool_free(self->pool.fd, names, n);
		else if (n != -EAGAIN && n != -ENOBUFS)
			count_error(self);
	}
	return NULL;
}

/* An fd that is told of faults on a page, kernel's too; or a negative errno. */
static int fault_fd(void *page)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range = { .start = (unsigned long)page, .len = PAGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (!ioctl(fd, UFFDIO_API, &api) && !ioctl(fd, UFFDIO_REGISTER, &reg))
		return fd;
	close(fd);
	return -EINVAL;
}

#define NR_GUESSED	4U

/* ALLOC whose names go to a page that is not there, and one that never will be. */
struct faulting {
	int fd;
	__u64 *names;
	int ret;
};

static void *alloc_into_fault(void *arg)
{
	struct faulting *a = arg;

	a->ret = pool_alloc(a->fd, a->names, NR_GUESSED);
	return NULL;
}

/*
 * Names can be guessed: what another thread frees while they are written, and
 * cannot be, is gone, and all others go too.
 */
TEST_F(pool, freed_before_its_name_is_known)
{
	struct uffdio_zeropage zero = { .range.len = PAGE };
	struct faulting a = { .fd = self->pool.fd };
	struct fbuf_info before, after;
	struct uffd_msg msg;
	pthread_t thread;
	__u64 name;
	__u8 *map;
	int fd;

	map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	ASSERT_EQ(0, mprotect(map + PAGE, PAGE, PROT_NONE));
	fd = fault_fd(map);
	if (fd < 0)
		SKIP(return, "no userfaultfd");
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, &name, 1));
	ASSERT_EQ(0, pool_info(self->pool.fd, &before));
	a.names = (__u64 *)(map + PAGE) - (NR_GUESSED - 1);
	ASSERT_EQ(0, pthread_create(&thread, NULL, alloc_into_fault, &a));
	ASSERT_EQ((ssize_t)sizeof(msg), read(fd, &msg, sizeof(msg)));
	/* Last in, first out. */
	name += 1ULL << 32;
	EXPECT_EQ(1, pool_free(self->pool.fd, &name, 1));
	zero.range.start = (unsigned long)map;
	ASSERT_EQ(0, ioctl(fd, UFFDIO_ZEROPAGE, &zero));
	pthread_join(thread, NULL);
	EXPECT_EQ(-EFAULT, a.ret);
	ASSERT_EQ(0, pool_info(self->pool.fd, &after));
	EXPECT_EQ(0U, after.holds);
	/* The one that was freed was had. */
	EXPECT_EQ(before.allocs + 1, after.allocs);
	close(fd);
	munmap(map, 2 * PAGE);
}

TEST_F(pool, free_during_send)
{
	long end = now_ms() + DEADLINE_MS;
	size_t want = 0, got = 0;
	char *aside = malloc(1 << 20);
	unsigned int stale = 0, i;
	struct fbuf_info info;
	pthread_t thread;
	ssize_t ret;

	ASSERT_NE(NULL, aside);
	ASSERT_EQ(0, pthread_create(&thread, NULL, reuse_run, self));
	for (i = 0; now_ms() < end; i++) {
		/* Held by the other thread, or not. */
		struct fbuf_seg seg = {
			.addr = i % NR_BUFS * PAGE,
			.len = 1 + i % PAGE,
		};

		ret = pool_send(self->pool.fd, self->sock[0], &seg, 1,
				FBUF_SEND_DONTWAIT, 0, NULL);
		if (ret > 0)
			want += ret;
		else if (ret == -ESTALE)
			stale++;
		else
			ASSERT_EQ(-EAGAIN, ret);
		ret = recv(self->sock[1], aside, 1 << 20, MSG_DONTWAIT);
		if (ret > 0)
			got += ret;
		/* Often, and each of them. */
		if (want && stale && (i >= 2000 || want >= (1 << 20)))
			break;
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, self->errors);
	EXPECT_LT(0U, stale);
	EXPECT_LT(0U, want);
	while (got < want) {
		ret = recv(self->sock[1], aside, 1 << 20, 0);
		ASSERT_LT(0, ret);
		got += ret;
	}
	EXPECT_EQ(want, got);
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, NR_BUFS, 5000));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(want, info.bytes);
	free(aside);
}

/* A thread that sends one pattern, on and on. */
static void *stream_run(void *arg)
{
	struct _test_data_pool *self = arg;
	struct fbuf_seg seg;
	size_t pos = 0;
	__u64 name;

	while (!__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE)) {
		if (pool_alloc_wait(self->pool.fd, &name, 1, 10000) != 1) {
			count_error(self);
			break;
		}
		pattern_fill(buf_addr(&self->pool, name), 3, pos, PAGE);
		seg = buf_seg(&self->pool, name, 0, PAGE);
		if (pool_send(self->pool.fd, self->sock[0], &seg, 1, 0, 0,
			      NULL) != PAGE) {
			count_error(self);
			break;
		}
		pool_free(self->pool.fd, &name, 1);
		pos += PAGE;
	}
	shutdown(self->sock[0], SHUT_WR);
	return NULL;
}

/* Starts that thread, and waits until it sends. */
static int stream_start(struct _test_data_pool *self, pthread_t *thread)
{
	struct fbuf_info info = { 0 };
	int ret;

	if (pthread_create(thread, NULL, stream_run, self))
		return -EAGAIN;
	do {
		relax();
		ret = pool_info(self->pool.fd, &info);
	} while (!ret && !info.sends);
	return ret;
}

TEST_F(pool, fork_during_send)
{
	struct reader r;
	pthread_t thread;
	pid_t pid;
	int i;

	ASSERT_EQ(0, reader_start(&r, self->sock[1], 64 << 20, -1));
	ASSERT_EQ(0, stream_start(self, &thread));
	for (i = 0; i < 20; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			unsigned int sum = 0;
			size_t j;

			for (j = 0; j < self->pool.size; j += PAGE)
				sum += self->pool.map[j];
			_exit(sum > NR_BUFS * 255);
		}
		EXPECT_EQ(0, child_status(pid));
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, self->errors);
	ASSERT_LT(0, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 3, 0, r.got));
}

/* A part of the mapping comes and goes while another thread sends from it. */
TEST_F(pool, unmap_during_send)
{
	struct fbuf_seg seg;
	pthread_t thread;
	struct reader r;
	void *p;
	int i;

	ASSERT_EQ(0, reader_start(&r, self->sock[1], 64 << 20, -1));
	ASSERT_EQ(0, stream_start(self, &thread));
	for (i = 0; i < 200; i++) {
		p = mmap(NULL, self->pool.size, PROT_READ, MAP_SHARED,
			 self->pool.fd, 0);
		ASSERT_NE(MAP_FAILED, p);
		seg.addr = *(__u8 *)p;
		munmap(p, self->pool.size);
	}
	__atomic_store_n(&self->stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, self->errors);
	ASSERT_LT(0, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 3, 0, r.got));
	/* For the compiler's sake. */
	EXPECT_GT(256ULL, seg.addr);
}

/* Sent without ever having been mapped again. */
TEST_F(pool, send_without_mapping)
{
	__u8 got[PAGE];
	struct fbuf_seg seg;
	__u64 name;

	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	pattern_fill(buf_addr(&self->pool, name), 8, 0, PAGE);
	seg = buf_seg(&self->pool, name, 0, PAGE);
	munmap(self->pool.map, self->pool.size);
	ASSERT_EQ((ssize_t)PAGE, pool_send(self->pool.fd, self->sock[0], &seg,
					   1, 0, 0, NULL));
	ASSERT_EQ((ssize_t)PAGE, read_full(self->sock[1], got, PAGE));
	EXPECT_EQ(-1, pattern_differs(got, 8, 0, PAGE));
	close(self->pool.fd);
	self->pool.map = NULL;
}

/* Two processes, one handle: both allocate, fill and send. */
TEST_F(pool, two_processes)
{
	unsigned int i, who = 1;
	int sock[2][2];
	struct reader r;
	pid_t pid;

	ASSERT_EQ(0, tcp_pair(AF_INET, sock[0]));
	ASSERT_EQ(0, tcp_pair(AF_INET, sock[1]));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		who = 0;
	if (reader_start(&r, sock[who][1], 100 * PAGE, -1))
		_exit(1);
	for (i = 0; i < 100; i++) {
		struct fbuf_seg seg;
		__u64 name;

		if (pool_alloc_wait(self->pool.fd, &name, 1, 10000) != 1)
			break;
		pattern_fill(buf_addr(&self->pool, name), who, i * PAGE, PAGE);
		seg = buf_seg(&self->pool, name, 0, PAGE);
		if (pool_send(self->pool.fd, sock[who][0], &seg, 1, 0, 0,
			      NULL) != PAGE)
			break;
		if (pool_free(self->pool.fd, &name, 1) != 1)
			break;
	}
	if (i < 100)
		shutdown(sock[who][0], SHUT_RDWR);
	reader_join(&r);
	if (!pid)
		_exit(i != 100 || r.got != 100 * PAGE ||
		      pattern_differs(r.data, who, 0, r.got) >= 0);
	EXPECT_EQ(100U, i);
	EXPECT_EQ(100 * (ssize_t)PAGE, r.got);
	EXPECT_EQ(-1, pattern_differs(r.data, who, 0, r.got));
	EXPECT_EQ(0, child_status(pid));
}

/* Not before the last process has closed it do the holds go. */
TEST_F(pool, holds_outlive_the_process_that_made_them)
{
	struct fbuf_info info;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		__u64 names[2];

		_exit(pool_alloc(self->pool.fd, names, 2) != 2);
	}
	EXPECT_EQ(0, child_status(pid));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(2U, info.nr_held);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
