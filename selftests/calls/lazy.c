// SPDX-License-Identifier: GPL-2.0
/*
 * Lazy pools: buffers have no memory before somebody touches them, whichever way, and
 * then zeroed memory.
 */
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		8U
#define POOL_SIZE	(NR_BUFS * BUF_SIZE)
#define SHORT		100U
#define MANY		40U	/* more segments than a packet has frags */
#define DROP_CACHES	"/proc/sys/vm/drop_caches"

/* A lazy pool of each kind, all of its buffers held. */
FIXTURE(lazy)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	struct fbuf_seg seg;	/* all of the first */
	int sock[2];
	__u8 *got;
};

FIXTURE_VARIANT(lazy)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(lazy, unprotected)
{
	.flags = FBUF_POOL_LAZY,
};

FIXTURE_VARIANT_ADD(lazy, secured)
{
	.flags = FBUF_POOL_LAZY | FBUF_POOL_SECURED,
};

FIXTURE_VARIANT_ADD(lazy, snapshot)
{
	.flags = FBUF_POOL_LAZY | FBUF_POOL_SNAPSHOT | FBUF_POOL_SIGBUS,
};

/* Memory that is free has something in it. */
static int leave_dirt(void)
{
	struct pool pool;
	int err = pool_make(&pool, BUF_SIZE, 4 * NR_BUFS);

	if (err)
		return err;
	memset(pool.map, 0xa5, pool.size);
	pool_unmake(&pool);
	return 0;
}

FIXTURE_SETUP(lazy)
{
	ASSERT_EQ(0, leave_dirt());
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	self->seg = named_seg(self->names[0], 0, BUF_SIZE);
	self->got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(lazy)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

/* So many bytes are there to be read, all of them 0. */
static bool got_zeroes(struct _test_data_lazy *self, size_t len)
{
	memset(self->got, 0xff, len);
	return read_full(self->sock[1], self->got, len) == (ssize_t)len &&
	       is_all(self->got, 0, len);
}

static __u8 load(const __u8 *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static __u8 *first(struct _test_data_lazy *self)
{
	return buf_addr(&self->pool, self->names[0]);
}

TEST_F(lazy, no_memory_before)
{
	struct fbuf_info info;

	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_TRUE(info.features & FBUF_FEATURE_LAZY);
	EXPECT_EQ(variant->flags, info.pool_flags);
	EXPECT_EQ(NR_BUFS, info.nr_held);
	EXPECT_EQ(0ULL, info.resident);
	EXPECT_EQ((__u64)NR_BUFS, info.allocs);
	EXPECT_EQ(0U, info.nr_split);
}

/* Not what it has, but what it may have. */
TEST_F(lazy, charged_at_once)
{
	struct fbuf_info info;

	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ((__u64)POOL_SIZE, info.charged);
	memset(self->pool.map, 1, POOL_SIZE);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ((__u64)POOL_SIZE, info.charged);
	EXPECT_EQ((__u64)POOL_SIZE, info.resident);
}

/* Nobody else's buffer got memory with it. */
#define EXPECT_TOUCHED()						\
	EXPECT_EQ((__u64)BUF_SIZE, pool_resident(self->pool.fd))

TEST_F(lazy, read)
{
	EXPECT_EQ(0, load(first(self) + PAGE));
	EXPECT_TOUCHED();
	EXPECT_TRUE(is_all(first(self), 0, BUF_SIZE));
	first(self)[0] = 1;
	EXPECT_TOUCHED();
}

TEST_F(lazy, write)
{
	first(self)[PAGE] = 1;
	EXPECT_TOUCHED();
	first(self)[PAGE] = 0;
	EXPECT_TRUE(is_all(first(self), 0, BUF_SIZE));
	EXPECT_TOUCHED();
}

/* By another process, and through another mapping. */
TEST_F(lazy, written_by_another)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		first(self)[1] = 7;
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_TOUCHED();
	EXPECT_EQ(7, first(self)[1]);
	EXPECT_TRUE(is_all(first(self) + 2, 0, BUF_SIZE - 2));
}

TEST_F(lazy, written_by_a_call)
{
	int fd = open("/dev/zero", O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(100, read(fd, first(self) + 100, 100));
	EXPECT_TOUCHED();
	EXPECT_TRUE(is_all(first(self), 0, BUF_SIZE));
	close(fd);
}

TEST_F(lazy, send)
{
	EXPECT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, self->sock[0],
					       &self->seg, 1, 0, 0, NULL));
	EXPECT_TRUE(got_zeroes(self, BUF_SIZE));
	EXPECT_TOUCHED();
	EXPECT_TRUE(is_all(first(self), 0, BUF_SIZE));
}

/* By offset, and in the midst of others that have memory. */
TEST_F(lazy, send_among_others)
{
	struct fbuf_seg segs[3];

	segs[0] = buf_seg(&self->pool, self->names[1], 0, PAGE);
	segs[1] = buf_seg(&self->pool, self->names[0], 1, PAGE);
	segs[2] = buf_seg(&self->pool, self->names[2], 0, PAGE);
	memset(buf_addr(&self->pool, self->names[1]), 1, PAGE);
	memset(buf_addr(&self->pool, self->names[2]), 2, PAGE);
	ASSERT_EQ(3 * (ssize_t)PAGE, pool_send(self->pool.fd, self->sock[0],
					       segs, 3, 0, 0, NULL));
	ASSERT_EQ(3 * (ssize_t)PAGE, read_full(self->sock[1], self->got,
					       3 * PAGE));
	EXPECT_TRUE(self->got[0] == 1 && self->got[2 * PAGE] == 2);
	EXPECT_TRUE(is_all(self->got + PAGE, 0, PAGE));
	EXPECT_EQ(3ULL * BUF_SIZE, pool_resident(self->pool.fd));
}

/* As they are copied, some of buffers that have no memory, some of one that has. */
TEST_F(lazy, send_short_ones)
{
	struct fbuf_seg segs[MANY];
	unsigned int i;

	memset(buf_addr(&self->pool, self->names[0]), 1, BUF_SIZE);
	for (i = 0; i < MANY; i++)
		segs[i] = named_seg(self->names[i % NR_BUFS], 2 * SHORT * i,
				    SHORT);
	ASSERT_EQ((ssize_t)(MANY * SHORT),
		  pool_send(self->pool.fd, self->sock[0], segs, MANY, 0, 0,
			    NULL));
	ASSERT_EQ((ssize_t)(MANY * SHORT), read_full(self->sock[1], self->got,
						     MANY * SHORT));
	for (i = 0; i < MANY; i++) {
		EXPECT_EQ(i % NR_BUFS ? 0 : 1, self->got[i * SHORT]);
		EXPECT_EQ(0, memcmp(self->got + i * SHORT,
				    self->got + i * SHORT + 1, SHORT - 1));
	}
}

TEST_F(lazy, send_by_copy)
{
	struct sent sent;

	EXPECT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, self->sock[0],
					       &self->seg, 1, 0,
					       FBUF_ENGINE_COPY, &sent));
	EXPECT_EQ((__u64)BUF_SIZE, sent.copied);
	EXPECT_TRUE(got_zeroes(self, BUF_SIZE));
	EXPECT_TOUCHED();
}

TEST_F(lazy, fanout)
{
	struct fbuf_target target = { .fd = self->sock[0] };

	ASSERT_EQ(1, pool_fanout(self->pool.fd, &self->seg, 1, &target, 1, 0));
	ASSERT_EQ((int)BUF_SIZE, target.result);
	EXPECT_TRUE(got_zeroes(self, BUF_SIZE));
	EXPECT_TOUCHED();
}

TEST_F(lazy, send_batch)
{
	struct fbuf_send_item item = {
		.segs = (uintptr_t)&self->seg,
		.nr_segs = 1,
		.fd = self->sock[0],
	};
	struct fbuf_send_batch arg = {
		.size = sizeof(arg),
		.items = (uintptr_t)&item,
		.count = 1,
	};

	ASSERT_EQ(1, ioctl(self->pool.fd, FBUF_IOC_SEND_BATCH, &arg));
	ASSERT_EQ((int)BUF_SIZE, item.result);
	EXPECT_TRUE(got_zeroes(self, BUF_SIZE));
	EXPECT_TOUCHED();
}

TEST_F(lazy, uring)
{
	struct fbuf_send args = {
		.size = sizeof(args),
		.segs = (uintptr_t)&self->seg,
		.nr_segs = 1,
		.fd = self->sock[0],
	};
	struct fbuf_uring_cmd cmd = { .args = (uintptr_t)&args };
	struct io_uring_params params = { 0 };
	struct io_uring_cqe *cqe;
	struct io_uring_sqe *sqe;
	struct io_uring ring;

	if (io_uring_queue_init_params(1, &ring, &params))
		SKIP(return, "io_uring is disabled");
	sqe = io_uring_get_sqe(&ring);
	ASSERT_NE(NULL, sqe);
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, self->pool.fd, NULL, 0, 0);
	sqe->cmd_op = FBUF_IOC_SEND;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	ASSERT_EQ(1, io_uring_submit_and_wait(&ring, 1));
	ASSERT_EQ(0, io_uring_peek_cqe(&ring, &cqe));
	EXPECT_EQ((int)BUF_SIZE, cqe->res);
	io_uring_cqe_seen(&ring, cqe);
	EXPECT_TRUE(got_zeroes(self, BUF_SIZE));
	EXPECT_TOUCHED();
	io_uring_queue_exit(&ring);
}

TEST_F(lazy, splice)
{
	loff_t pos = buf_offset(&self->pool, self->names[0]) + 1;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ((ssize_t)PAGE, splice(self->pool.fd, &pos, fd[1], NULL, PAGE,
					0));
	memset(self->got, 0xff, PAGE);
	ASSERT_EQ((ssize_t)PAGE, read_full(fd[0], self->got, PAGE));
	EXPECT_TRUE(is_all(self->got, 0, PAGE));
	EXPECT_TOUCHED();
	close(fd[0]);
	close(fd[1]);
}

TEST_F(lazy, sendfile)
{
	off_t pos = buf_offset(&self->pool, self->names[0]);

	ASSERT_EQ((ssize_t)PAGE, sendfile(self->sock[0], self->pool.fd, &pos,
					  PAGE));
	EXPECT_TRUE(got_zeroes(self, PAGE));
	EXPECT_TOUCHED();
}

TEST_F(lazy, fill)
{
	struct fbuf_fill arg = {
		.size = sizeof(arg),
		.name = self->names[0],
		.offset = 10,
		.len = 10,
		.fd = memfd_create("source", 0),
	};

	ASSERT_LE(0, arg.fd);
	ASSERT_EQ(10, pwrite(arg.fd, "0123456789", 10, 0));
	ASSERT_EQ(10, ioctl(self->pool.fd, FBUF_IOC_FILL, &arg));
	EXPECT_TOUCHED();
	EXPECT_EQ(0, memcmp(first(self) + 10, "0123456789", 10));
	EXPECT_TRUE(is_all(first(self), 0, 10));
	EXPECT_TRUE(is_all(first(self) + 20, 0, BUF_SIZE - 20));
	close(arg.fd);
}

/* Nobody may write there: what is read is 0, and stays so until it is let go of. */
TEST_F(lazy, secure)
{
	int ret = pool_secure(self->pool.fd, self->names, 1);

	if (!(variant->flags & (FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT))) {
		EXPECT_EQ(-EOPNOTSUPP, ret);
		EXPECT_EQ(0ULL, pool_resident(self->pool.fd));
		return;
	}
	EXPECT_EQ(1, ret);
	EXPECT_TOUCHED();
	EXPECT_TRUE(is_all(first(self), 0, BUF_SIZE));
	EXPECT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	first(self)[0] = 1;
}

TEST_F(lazy, wait)
{
	EXPECT_EQ((int)NR_BUFS, pool_wait(self->pool.fd, self->names, NR_BUFS,
					  0));
	EXPECT_EQ(0ULL, pool_resident(self->pool.fd));
}

/* What goes to another is held there, and touched there. */
TEST_F(lazy, pass_and_hold)
{
	struct pool other;
	struct ring ring;
	__u32 to;
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, &to);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_map(&other, fd, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, ring_make(&ring, fd, FBUF_RING_ACCEPT, 8, 0));
	EXPECT_EQ(1, pool_pass_one(self->pool.fd, to, self->names[0], 0));
	EXPECT_EQ(1, pool_hold(fd, &self->names[1], 1));
	EXPECT_EQ(0ULL, pool_resident(self->pool.fd));
	EXPECT_EQ(-ESTALE, pool_send(self->pool.fd, self->sock[0], &self->seg,
				     1, 0, 0, NULL));
	EXPECT_EQ(0ULL, pool_resident(self->pool.fd));
	EXPECT_EQ((ssize_t)BUF_SIZE, pool_send(fd, self->sock[0], &self->seg,
					       1, 0, 0, NULL));
	EXPECT_TRUE(got_zeroes(self, BUF_SIZE));
	EXPECT_TOUCHED();
	ring_unmake(&ring);
	pool_unmake(&other);
}

/* A stale name gets nothing its memory. */
TEST_F(lazy, refused_without_memory)
{
	struct fbuf_seg seg = named_seg(self->names[0] + (1ULL << 32), 0, 1);

	EXPECT_EQ(-ESTALE, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0,
				     0, NULL));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(-ESTALE, pool_send(self->pool.fd, self->sock[0], &self->seg,
				     1, 0, 0, NULL));
	seg = buf_seg(&self->pool, self->names[0], 0, 1);
	EXPECT_EQ(-ESTALE, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0,
				     0, NULL));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ(0ULL, pool_resident(self->pool.fd));
}

static bool to_be_had(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && p.revents == POLLOUT;
}

/* Held buffers without memory are not to be had, as others are not. */
TEST_F(lazy, all_held)
{
	const __u32 wait = FBUF_ALLOC_WAIT;
	__u64 name;

	EXPECT_EQ(-ENOBUFS, pool_alloc(self->pool.fd, &name, 1));
	EXPECT_FALSE(to_be_had(self->pool.fd));
	EXPECT_EQ(-ETIMEDOUT, pool_batch(self->pool.fd, FBUF_IOC_ALLOC, &name,
					 1, wait, 10));
	first(self)[0] = 1;
	EXPECT_EQ(-ENOBUFS, pool_alloc(self->pool.fd, &name, 1));
	EXPECT_FALSE(to_be_had(self->pool.fd));
	/* One that has none yet comes back, and goes out. */
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[3], 1));
	EXPECT_TRUE(to_be_had(self->pool.fd));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	EXPECT_EQ(FBUF_NAME_INDEX(self->names[3]), FBUF_NAME_INDEX(name));
	EXPECT_NE(self->names[3], name);
	EXPECT_FALSE(to_be_had(self->pool.fd));
	EXPECT_TOUCHED();
	self->names[3] = name;
	self->seg = named_seg(name, 0, BUF_SIZE);
	EXPECT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, self->sock[0],
					       &self->seg, 1, 0, 0, NULL));
	EXPECT_TRUE(got_zeroes(self, BUF_SIZE));
}

/* Free, and without memory: all of them, again and again. */
TEST_F(lazy, freed_and_taken_again)
{
	struct fbuf_info info;
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names,
						  NR_BUFS));
		ASSERT_EQ(0, pool_info(self->pool.fd, &info));
		EXPECT_EQ(0U, info.nr_held);
		EXPECT_EQ(0U, info.nr_in_flight);
		EXPECT_EQ(0ULL, info.resident);
		ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
						   NR_BUFS));
	}
	/* One that has memory keeps it, and is the first to be handed out. */
	first(self)[0] = 1;
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	EXPECT_TOUCHED();
	ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, 1));
	EXPECT_EQ(1, first(self)[0]);
	EXPECT_TOUCHED();
}

/* Pressure takes it from those that are free; ALLOC does not bring it back. */
TEST_F(lazy, under_pressure)
{
	if (access(DROP_CACHES, W_OK))
		SKIP(return, "no " DROP_CACHES);
	memset(self->pool.map, 1, POOL_SIZE / 2);
	ASSERT_EQ((__u64)POOL_SIZE / 2, pool_resident(self->pool.fd));
	ASSERT_EQ((int)NR_BUFS - 1, pool_free(self->pool.fd, self->names + 1,
					      NR_BUFS - 1));
	first(self)[0] = 1;
	EXPECT_TRUE(wait_for(!file_put(DROP_CACHES, "2") &&
			     pool_resident(self->pool.fd) == BUF_SIZE, DEADLINE_MS));
	ASSERT_EQ((int)NR_BUFS - 1, pool_alloc(self->pool.fd, self->names + 1,
					       NR_BUFS - 1));
	EXPECT_TOUCHED();
	EXPECT_EQ(1, first(self)[0]);
	EXPECT_TRUE(is_all(buf_addr(&self->pool, self->names[1]), 0, BUF_SIZE));
	EXPECT_EQ(2ULL * BUF_SIZE, pool_resident(self->pool.fd));
}

/* A pool of buffers that two touch at the same time, each in its own way. */
#define RACE_BUFS	256U
#define RACE_ROUNDS	4U

struct toucher {
	struct pool *pool;
	const __u64 *names;
	unsigned int *turn;	/* which both are at */
	int sock;
	__u8 seen;		/* of all that should be 0 */
	ssize_t bad;
};

static void meet(unsigned int *turn, unsigned int nr)
{
	unsigned int all = __atomic_add_fetch(turn, 1, __ATOMIC_ACQ_REL);

	while (all < 2 * (nr + 1)) {
		relax();
		all = __atomic_load_n(turn, __ATOMIC_ACQUIRE);
	}
}

static void *touch_by_store(void *arg)
{
	struct toucher *t = arg;
	unsigned int i;

	for (i = 0; i < RACE_BUFS; i++) {
		__u8 *at = buf_addr(t->pool, t->names[i]);

		meet(t->turn, i);
		at[t->pool->buf_size - 1] = 1;
		t->seen |= load(at + PAGE);
	}
	return NULL;
}

static void *touch_by_send(void *arg)
{
	struct toucher *t = arg;
	unsigned int i;

	for (i = 0; i < RACE_BUFS; i++) {
		struct fbuf_seg seg = named_seg(t->names[i], 0,
						t->pool->buf_size - PAGE);
		ssize_t ret;

		meet(t->turn, i);
		ret = pool_send(t->pool->fd, t->sock, &seg, 1, 0, 0, NULL);
		if (ret != (ssize_t)seg.len)
			t->bad = ret;
	}
	return NULL;
}

/* Nobody loses what he wrote, and no send misses memory that is on its way. */
TEST_F(lazy, touched_by_two)
{
	__u64 names[RACE_BUFS];
	unsigned int round, i, turn;
	struct reader r;
	ssize_t j, want;

	for (round = 0; round < RACE_ROUNDS; round++) {
		struct toucher t[2];
		pthread_t thread;
		struct pool pool;

		ASSERT_EQ(0, pool_make_flags(&pool, 4 * PAGE, RACE_BUFS,
					     variant->flags));
		ASSERT_EQ((int)RACE_BUFS, pool_alloc(pool.fd, names,
						     RACE_BUFS));
		turn = 0;
		for (i = 0; i < 2; i++)
			t[i] = (struct toucher) {
				.pool = &pool,
				.names = names,
				.turn = &turn,
				.sock = self->sock[0],
			};
		want = RACE_BUFS * 3 * PAGE;
		ASSERT_EQ(0, reader_start(&r, self->sock[1], want, -1));
		ASSERT_EQ(0, pthread_create(&thread, NULL, touch_by_store,
					    &t[0]));
		touch_by_send(&t[1]);
		pthread_join(thread, NULL);
		EXPECT_EQ(0, t[0].seen);
		EXPECT_EQ(0, t[1].bad);
		ASSERT_EQ(want, reader_join(&r));
		for (j = 0; j < want && !r.data[j]; j++)
			;
		EXPECT_EQ(want, j);
		free(r.data);
		for (i = 0; i < RACE_BUFS; i++)
			EXPECT_EQ(1, buf_addr(&pool, names[i])[4 * PAGE - 1]);
		EXPECT_EQ((__u64)pool.size, pool_resident(pool.fd));
		pool_unmake(&pool);
	}
}

/* What a pool takes of a user's account; he has no other. */
static __u64 charged_to(struct nl *nl, uid_t uid)
{
	struct nl_row row;

	return nl_user(nl, uid, &row) ? 0 : row.val[FBUF_A_LIMIT_CHARGED];
}

/* Held or free, with memory or without: with the last fd all is gone. */
TEST_F(lazy, closed)
{
	struct fbuf_info info;
	struct nl_row row;
	struct nl nl;
	__u64 before;

	ASSERT_EQ(0, nl_open(&nl));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	before = charged_to(&nl, info.uid);
	EXPECT_LE((__u64)POOL_SIZE, before);
	munmap(self->pool.map, self->pool.size);
	close(self->pool.fd);
	EXPECT_TRUE(wait_for(nl_pool(&nl, info.id, &row) == -ENOENT,
			     DEADLINE_MS));
	EXPECT_GE(before - POOL_SIZE, charged_to(&nl, info.uid));
	nl_close(&nl);
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
}

/* What a send gives its memory, it protects. */
TEST(protected_from_the_first_send)
{
	static __u8 got[BUF_SIZE];
	struct fbuf_info info;
	struct fbuf_seg seg;
	struct pool pool;
	int sock[2];
	__u64 name;

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, pool_make_flags(&pool, BUF_SIZE, 2, FBUF_POOL_LAZY |
				     FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	seg = named_seg(name, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(pool.fd, sock[0], &seg, 1, 0, 0,
					       NULL));
	memset(buf_addr(&pool, name), 1, BUF_SIZE);
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_EQ(1ULL, info.protects);
	EXPECT_EQ(1ULL, info.snapshots);
	ASSERT_EQ((ssize_t)BUF_SIZE, read_full(sock[1], got, BUF_SIZE));
	EXPECT_TRUE(is_all(got, 0, BUF_SIZE));
	EXPECT_EQ(1, buf_addr(&pool, name)[0]);
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
}

/* Of two folios: both come at once. */
TEST(largest_buffers)
{
	struct pool pool;
	__u64 names[4];

	ASSERT_EQ(0, pool_make_flags(&pool, FBUF_BUF_SIZE_MAX, 4,
				     FBUF_POOL_LAZY));
	ASSERT_EQ(4, pool_alloc(pool.fd, names, 4));
	buf_addr(&pool, names[2])[FBUF_BUF_SIZE_MAX - 1] = 1;
	EXPECT_EQ((__u64)FBUF_BUF_SIZE_MAX, pool_resident(pool.fd));
	EXPECT_TRUE(is_all(buf_addr(&pool, names[2]), 0, FBUF_BUF_SIZE_MAX - 1));
	pool_unmake(&pool);
}

/* SIGBUS goes with one of the protections, as before. */
TEST(sigbus_alone)
{
	int control = control_open();

	ASSERT_LE(0, control);
	EXPECT_EQ(-EINVAL, pool_create_on(control, PAGE, 1, FBUF_POOL_LAZY |
					  FBUF_POOL_SIGBUS));
	EXPECT_EQ(-EINVAL, pool_create_on(control, PAGE, 1,
					  FBUF_POOL_LAZY << 1));
	close(control);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
