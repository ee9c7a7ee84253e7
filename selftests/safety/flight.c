// SPDX-License-Identifier: GPL-2.0
/*
 * Buffers in flight: not handed out again, not freed, not forgotten in the
 * accounts, whatever becomes of the pool and of who sent them.
 */
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	32768U
#define NR_BUFS		4U

/* How long the reuse of a buffer may take that the peer has read. */
#define REUSE_MS	1000

FIXTURE(flight)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	__u8 *got;
};

FIXTURE_VARIANT(flight)
{
	int family;
	int type;
};

FIXTURE_VARIANT_ADD(flight, tcp4)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(flight, tcp6)
{
	.family = AF_INET6,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(flight, udp4)
{
	.family = AF_INET,
	.type = SOCK_DGRAM,
};

FIXTURE_VARIANT_ADD(flight, unix_stream)
{
	.family = AF_UNIX,
	.type = SOCK_STREAM,
};

FIXTURE_SETUP(flight)
{
	unsigned int i;

	if (variant->family == AF_UNIX && unix_copies())
		SKIP(return, "copied before Linux 6.5");
	ASSERT_EQ(0, sock_pair(variant->family, variant->type, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(buf_addr(&self->pool, self->names[i]), i, 0,
			     BUF_SIZE);
	self->got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(flight)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

/* Sends a whole buffer without a copy; by one message. */
static ssize_t send_buf(struct _test_data_flight *self, unsigned int buf)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[buf], 0,
				      BUF_SIZE);

	return pool_send(self->pool.fd, self->sock[0], &seg, 1, 0,
			 FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE, NULL);
}

static ssize_t recv_buf(struct _test_data_flight *self)
{
	return recv(self->sock[1], self->got, BUF_SIZE, MSG_WAITALL);
}

/* Of a pool all of whose buffers are in flight, ALLOC gives none. */
TEST_F(flight, not_reused_before_it_is_read)
{
	struct fbuf_info info;
	unsigned int i;
	__u64 again;

	for (i = 0; i < NR_BUFS; i++)
		ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, i));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	/* Not for having asked before, either. */
	for (i = 0; i < 3; i++)
		EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &again, 1));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0U, info.nr_held);
	EXPECT_EQ(NR_BUFS, info.nr_in_flight);

	for (i = 0; i < NR_BUFS; i++) {
		ASSERT_EQ((ssize_t)BUF_SIZE, recv_buf(self));
		EXPECT_EQ(-1, pattern_differs(self->got, i, 0, BUF_SIZE));
	}
	EXPECT_EQ(0ULL, info.reuses);
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, NR_BUFS, REUSE_MS));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0U, info.nr_in_flight);
	EXPECT_EQ((__u64)NR_BUFS, info.reuses);
}

/* A buffer comes back as another, as far as names go. */
TEST_F(flight, name_changes)
{
	__u64 again;

	ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, 0));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ((ssize_t)BUF_SIZE, recv_buf(self));
	ASSERT_EQ(1, pool_alloc_wait(self->pool.fd, &again, 1, REUSE_MS));
	EXPECT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(again));
	EXPECT_NE(FBUF_NAME_GEN(self->names[0]), FBUF_NAME_GEN(again));
}

/* ALLOC passes over those in flight, and the rest can be written at will. */
TEST_F(flight, others_are_handed_out)
{
	__u64 other[NR_BUFS];
	int i;

	ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, 2));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS - 1, pool_alloc(self->pool.fd, other, NR_BUFS));
	for (i = 0; i < (int)NR_BUFS - 1; i++)
		memset(buf_addr(&self->pool, other[i]), 0xff, BUF_SIZE);
	EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, other, 1));
	ASSERT_EQ((ssize_t)BUF_SIZE, recv_buf(self));
	EXPECT_EQ(-1, pattern_differs(self->got, 2, 0, BUF_SIZE));
}

/* One byte of a buffer that a packet refers to keeps all of it. */
TEST_F(flight, one_byte_is_enough)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[1],
				      BUF_SIZE - 1, 1);
	__u64 other[NR_BUFS];

	ASSERT_EQ(1, pool_send(self->pool.fd, self->sock[0], &seg, 1, 0,
			       FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE, NULL));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	EXPECT_EQ((int)NR_BUFS - 1, pool_alloc(self->pool.fd, other, NR_BUFS));
}

/* In flight is what has no hold: a held buffer is not counted twice. */
TEST_F(flight, held_is_not_counted_in_flight)
{
	struct fbuf_info info;

	ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, 0));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS, info.nr_held);
	EXPECT_EQ(0U, info.nr_in_flight);
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS - 1, info.nr_held);
	EXPECT_EQ(1U, info.nr_in_flight);
}

/* A buffer that was sent and is still held can be sent again. */
TEST_F(flight, sent_again_while_in_flight)
{
	__u64 again;
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, 0));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &again, 1));
		ASSERT_EQ((ssize_t)BUF_SIZE, recv_buf(self));
		EXPECT_EQ(-1, pattern_differs(self->got, 0, 0, BUF_SIZE));
	}
	EXPECT_EQ(1, pool_alloc_wait(self->pool.fd, &again, 1, REUSE_MS));
}

static void *recv_elsewhere(void *arg)
{
	struct _test_data_flight *self = arg;

	pin_to_cpu(1);
	return (void *)recv_buf(self);
}

/* Sends a buffer, frees it, and has it read there. */
static void read_elsewhere(struct __test_metadata *const _metadata,
			   struct _test_data_flight *self)
{
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, pin_to_cpu(0));
	ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, 0));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, recv_elsewhere, self));
	pthread_join(thread, &ret);
	ASSERT_EQ((ssize_t)BUF_SIZE, (ssize_t)ret);
	EXPECT_EQ(-1, pattern_differs(self->got, 0, 0, BUF_SIZE));
}

/*
 * A peer on another CPU leaves what it has read on a list of the sender's CPU.
 * A waiter gets its buffer all the same, soon.
 */
TEST_F(flight, read_on_another_cpu)
{
	__u64 again;
	int i;

	if (nr_cpus() < 2)
		SKIP(return, "one CPU only");
	for (i = 0; i < 4; i++) {
		read_elsewhere(_metadata, self);
		ASSERT_EQ(1, pool_alloc_wait(self->pool.fd, &again, 1,
					     REUSE_MS));
		self->names[0] = again;
	}
}

static bool all_idle(int fd)
{
	struct fbuf_info info;

	return !pool_info(fd, &info) && !info.nr_in_flight;
}

/* The same, and nobody waits, but for the count to be right. */
TEST_F(flight, counted_when_read_on_another_cpu)
{
	int i;

	if (nr_cpus() < 2)
		SKIP(return, "one CPU only");
	for (i = 0; i < 4; i++) {
		read_elsewhere(_metadata, self);
		EXPECT_TRUE(wait_for(all_idle(self->pool.fd), REUSE_MS));
		ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, 1));
	}
}

/* The peer never reads and goes: its queue's buffers come back. */
TEST_F(flight, peer_goes_without_reading)
{
	__u64 again;

	ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, 0));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &again, 1));
	close(self->sock[1]);
	close(self->sock[0]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	EXPECT_EQ(1, pool_alloc_wait(self->pool.fd, &again, 1, 5 * REUSE_MS));
}

/* The pool is gone; what would be free memory now is used for another. */
TEST_F(flight, pool_closed)
{
	struct pool other[4];
	unsigned int i;

	ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(self, 3));
	pool_unmake(&self->pool);
	for (i = 0; i < ARRAY_SIZE(other); i++) {
		ASSERT_EQ(0, pool_make(&other[i], BUF_SIZE, NR_BUFS));
		memset(other[i].map, 0xff, other[i].size);
	}
	ASSERT_EQ((ssize_t)BUF_SIZE, recv_buf(self));
	EXPECT_EQ(-1, pattern_differs(self->got, 0, 0, BUF_SIZE));
	ASSERT_EQ((ssize_t)BUF_SIZE, recv_buf(self));
	EXPECT_EQ(-1, pattern_differs(self->got, 3, 0, BUF_SIZE));
	for (i = 0; i < ARRAY_SIZE(other); i++)
		pool_unmake(&other[i]);
}

/* Senders that block, on a socket that holds less than they send. */
#define BIG_SIZE	65536U
#define BIG_BUFS	16U
#define BIG_POOL	(BIG_SIZE * BIG_BUFS)

FIXTURE(blocked)
{
	struct pool pool;
	__u64 names[BIG_BUFS];
	struct fbuf_seg seg[BIG_BUFS];
	int sock[2];
	pid_t tid;
	ssize_t ret;
};

FIXTURE_VARIANT(blocked)
{
	int family;
};

FIXTURE_VARIANT_ADD(blocked, tcp)
{
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(blocked, unix_stream)
{
	.family = AF_UNIX,
};

FIXTURE_SETUP(blocked)
{
	unsigned int i;

	ASSERT_EQ(0, variant->family == AF_UNIX ?
		  socketpair(AF_UNIX, SOCK_STREAM, 0, self->sock) :
		  tcp_pair(variant->family, self->sock));
	sock_small(self->sock);
	ASSERT_EQ(0, pool_make(&self->pool, BIG_SIZE, BIG_BUFS));
	ASSERT_EQ((int)BIG_BUFS, pool_alloc(self->pool.fd, self->names,
					    BIG_BUFS));
	for (i = 0; i < BIG_BUFS; i++) {
		self->seg[i] = buf_seg(&self->pool, self->names[i], 0,
				       BIG_SIZE);
		pattern_fill(buf_addr(&self->pool, self->names[i]), 5,
			     i * BIG_SIZE, BIG_SIZE);
	}
}

FIXTURE_TEARDOWN(blocked)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static void *blocked_send(void *arg)
{
	struct _test_data_blocked *self = arg;

	__atomic_store_n(&self->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	self->ret = pool_send(self->pool.fd, self->sock[0], self->seg, BIG_BUFS,
			      0, 0, NULL);
	return NULL;
}

static int blocked_start(struct _test_data_blocked *self, pthread_t *thread)
{
	if (pthread_create(thread, NULL, blocked_send, self))
		return -EAGAIN;
	while (!__atomic_load_n(&self->tid, __ATOMIC_ACQUIRE))
		relax();
	return wait_asleep(getpid(), self->tid, 5000);
}

TEST_F(blocked, pool_closed)
{
	struct pool other;
	pthread_t thread;
	struct reader r;

	ASSERT_EQ(0, blocked_start(self, &thread));
	pool_unmake(&self->pool);
	ASSERT_EQ(0, pool_make(&other, BIG_SIZE, BIG_BUFS));
	memset(other.map, 0xff, other.size);
	ASSERT_EQ(0, reader_start(&r, self->sock[1], BIG_POOL, -1));
	pthread_join(thread, NULL);
	ASSERT_EQ((ssize_t)BIG_POOL, self->ret) {
		shutdown(self->sock[0], SHUT_RDWR);
	}
	EXPECT_EQ((ssize_t)BIG_POOL, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 5, 0, BIG_POOL));
	pool_unmake(&other);
}

/* The buffers are freed while they wait for their turn. */
TEST_F(blocked, buffers_freed)
{
	__u64 again[BIG_BUFS];
	pthread_t thread;
	struct reader r;

	ASSERT_EQ(0, blocked_start(self, &thread));
	ASSERT_EQ((int)BIG_BUFS, pool_free(self->pool.fd, self->names,
					   BIG_BUFS));
	EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, again, BIG_BUFS));
	ASSERT_EQ(0, reader_start(&r, self->sock[1], BIG_POOL, -1));
	pthread_join(thread, NULL);
	ASSERT_EQ((ssize_t)BIG_POOL, self->ret) {
		shutdown(self->sock[0], SHUT_RDWR);
	}
	EXPECT_EQ((ssize_t)BIG_POOL, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 5, 0, BIG_POOL));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, BIG_BUFS, 5 * REUSE_MS));
}

/* The socket is closed under it: the send keeps it. */
TEST_F(blocked, socket_closed)
{
	pthread_t thread;
	struct reader r;

	ASSERT_EQ(0, blocked_start(self, &thread));
	close(self->sock[0]);
	self->sock[0] = -1;
	/* The end of the stream comes after the last byte. */
	ASSERT_EQ(0, reader_start(&r, self->sock[1], BIG_POOL + 1, -1));
	pthread_join(thread, NULL);
	EXPECT_EQ((ssize_t)BIG_POOL, self->ret);
	EXPECT_EQ((ssize_t)BIG_POOL, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 5, 0, BIG_POOL));
}

TEST_F(blocked, process_killed)
{
	struct pool other;
	struct reader r;
	ssize_t got;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		blocked_send(self);
		_exit(0);
	}
	/* The child has the only pool and the only end that sends. */
	pool_unmake(&self->pool);
	close(self->sock[0]);
	self->sock[0] = -1;
	/* It sleeps for good only where it has sent some. */
	while (sock_empty(self->sock[1]))
		relax();
	ASSERT_EQ(0, wait_asleep(pid, pid, 5000));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(-SIGKILL, child_status(pid));

	ASSERT_EQ(0, pool_make(&other, BIG_SIZE, BIG_BUFS));
	memset(other.map, 0xff, other.size);
	ASSERT_EQ(0, reader_start(&r, self->sock[1], BIG_POOL, -1));
	got = reader_join(&r);
	EXPECT_LT(0, got);
	EXPECT_GT((ssize_t)BIG_POOL, got);
	EXPECT_EQ(-1, pattern_differs(r.data, 5, 0, got));
	pool_unmake(&other);
}

/* The accounts: who is charged, and until when. */
#define QUOTA		(NR_BUFS * BUF_SIZE)

FIXTURE(quota)
{
	int control;
	int sock[2];
};

FIXTURE_SETUP(quota)
{
	struct rlimit limit = { QUOTA, QUOTA };
	/* A user of this test's own, who owes nothing. */
	uid_t uid = 100000 + getpid();

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	self->control = control_open();
	ASSERT_LE(0, self->control);
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &limit));
	ASSERT_EQ(0, setgroups(0, NULL));
	ASSERT_EQ(0, setresgid(uid, uid, uid));
	ASSERT_EQ(0, setresuid(uid, uid, uid));
	ASSERT_EQ(0, prctl(PR_SET_DUMPABLE, 1));
}

FIXTURE_TEARDOWN(quota)
{
	close(self->control);
	close(self->sock[0]);
	close(self->sock[1]);
}

/* The device is closed to this user; what was open stays. */
static int quota_pool(struct _test_data_quota *self, unsigned int nr)
{
	struct fbuf_pool_create arg = {
		.size = sizeof(arg),
		.buf_size = BUF_SIZE,
		.nr_bufs = nr,
		.node = -1,
	};
	int fd = ioctl(self->control, FBUF_IOC_POOL_CREATE, &arg);

	return fd < 0 ? -errno : fd;
}

static int quota_pool_wait(struct _test_data_quota *self, unsigned int nr,
			   int ms)
{
	long end = now_ms() + ms;
	int fd;

	do {
		fd = quota_pool(self, nr);
		if (fd != -ENOMEM)
			break;
		relax();
	} while (now_ms() < end);
	return fd;
}

TEST_F(quota, device_is_for_root)
{
	EXPECT_EQ(-EACCES, control_open());
}

TEST_F(quota, up_to_the_limit)
{
	int fd;

	EXPECT_EQ(-ENOMEM, quota_pool(self, NR_BUFS + 1));
	fd = quota_pool(self, NR_BUFS);
	EXPECT_LE(0, fd);
	close(fd);
}

TEST_F(quota, all_pools_of_a_user)
{
	int fd[2];

	fd[0] = quota_pool(self, 1);
	fd[1] = quota_pool(self, NR_BUFS - 1);
	EXPECT_LE(0, fd[0]);
	EXPECT_LE(0, fd[1]);
	EXPECT_EQ(-ENOMEM, quota_pool(self, 1));
	close(fd[0]);
	fd[0] = quota_pool(self, 1);
	EXPECT_LE(0, fd[0]);
	EXPECT_EQ(-ENOMEM, quota_pool(self, 1));
	close(fd[0]);
	close(fd[1]);
}

TEST_F(quota, whoever_holds_the_fd)
{
	struct fbuf_info info;
	int fd = quota_pool(self, NR_BUFS);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(getuid(), info.uid);
	close(fd);
}

/* A pool that could not be made owes nothing. */
TEST_F(quota, failure_is_not_charged)
{
	int fds[2], fd, i;

	/* No descriptor is left for the pool. */
	fds[0] = dup(self->control);
	ASSERT_LE(0, fds[0]);
	do {
		fds[1] = fds[0];
		fds[0] = dup(self->control);
	} while (fds[0] >= 0);
	for (i = 0; i < 3; i++)
		EXPECT_EQ(-EMFILE, quota_pool(self, NR_BUFS));
	close(fds[1]);
	fd = quota_pool(self, NR_BUFS);
	EXPECT_LE(0, fd);
}

TEST_F(quota, mapping_stays_charged)
{
	int fd = quota_pool(self, NR_BUFS);
	void *p;

	ASSERT_LE(0, fd);
	p = mmap(NULL, QUOTA, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, p);
	close(fd);
	EXPECT_EQ(-ENOMEM, quota_pool(self, 1));
	munmap(p, QUOTA);
	fd = quota_pool(self, NR_BUFS);
	EXPECT_LE(0, fd);
}

TEST_F(quota, in_flight_stays_charged)
{
	struct fbuf_seg seg[NR_BUFS];
	__u64 names[NR_BUFS];
	__u8 got[BUF_SIZE];
	unsigned int i;
	int fd;

	fd = quota_pool(self, NR_BUFS);
	ASSERT_LE(0, fd);
	ASSERT_EQ((int)NR_BUFS, pool_alloc(fd, names, NR_BUFS));
	for (i = 0; i < NR_BUFS; i++) {
		seg[i].addr = FBUF_NAME_INDEX(names[i]) * BUF_SIZE;
		seg[i].len = 1000;
		seg[i].flags = 0;
	}
	ASSERT_EQ(1000 * (int)NR_BUFS, pool_send(fd, self->sock[0], seg,
						 NR_BUFS, 0, 0, NULL));
	close(fd);

	/* A byte in flight keeps its buffer charged, after the close too. */
	EXPECT_EQ(-ENOMEM, quota_pool_wait(self, 1, 300));
	ASSERT_EQ(1000 * (int)NR_BUFS, read_full(self->sock[1], got,
						 1000 * NR_BUFS));
	fd = quota_pool_wait(self, NR_BUFS, 5000);
	EXPECT_LE(0, fd);
	close(fd);
}

/* What is idle of it comes back at once. */
TEST_F(quota, rest_is_given_back_at_close)
{
	struct fbuf_seg seg = { .len = 1 };
	__u64 name;
	int fd;

	fd = quota_pool(self, NR_BUFS);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pool_alloc(fd, &name, 1));
	seg.addr = FBUF_NAME_INDEX(name) * BUF_SIZE;
	ASSERT_EQ(1, pool_send(fd, self->sock[0], &seg, 1, 0, 0, NULL));
	close(fd);
	EXPECT_EQ(-ENOMEM, quota_pool(self, NR_BUFS));
	fd = quota_pool(self, NR_BUFS - 1);
	EXPECT_LE(0, fd);
	close(fd);
}

/* Two that ask at the same moment must not both pass the limit. */
#define RACE_ROUNDS	300

struct racer {
	struct _test_data_quota *self;
	pthread_t thread;
	int *arrived;
	bool got[RACE_ROUNDS];
};

/* Both leave it at once, as nearly as can be. */
static void meet(struct racer *r, int nr)
{
	__atomic_add_fetch(r->arrived, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(r->arrived, __ATOMIC_SEQ_CST) < nr) {
		if (nr_cpus() < 2)
			sched_yield();
	}
}

static void *racer_run(void *arg)
{
	struct racer *r = arg;
	int i, fd;

	for (i = 0; i < RACE_ROUNDS; i++) {
		meet(r, 4 * i + 2);
		fd = quota_pool(r->self, NR_BUFS / 2 + 1);
		r->got[i] = fd >= 0;
		meet(r, 4 * i + 4);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

TEST_F(quota, race)
{
	struct racer r[2];
	int arrived = 0;
	int i, fd, got = 0;

	for (i = 0; i < 2; i++) {
		r[i].self = self;
		r[i].arrived = &arrived;
		ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, racer_run,
					    &r[i]));
	}
	for (i = 0; i < 2; i++)
		pthread_join(r[i].thread, NULL);
	for (i = 0; i < RACE_ROUNDS; i++) {
		ASSERT_FALSE(r[0].got[i] && r[1].got[i]);
		got += r[0].got[i] || r[1].got[i];
	}
	/* Now and then each keeps the other from it, but not all the time. */
	EXPECT_LT(0, got);
	/* The account is even. */
	fd = quota_pool(self, NR_BUFS);
	EXPECT_LE(0, fd);
	EXPECT_EQ(-ENOMEM, quota_pool(self, 1));
}

/* Memory cgroups. */
FIXTURE(memcg)
{
	const char *root;
	char dir[64];
	char path[128];
	bool mounted;
};

FIXTURE_SETUP(memcg)
{
	self->root = "/sys/fs/cgroup";
	snprintf(self->path, sizeof(self->path), "%s/cgroup.controllers",
		 self->root);
	if (access(self->path, F_OK)) {
		snprintf(self->dir, sizeof(self->dir),
			 "/tmp/fbuf-cgroup-XXXXXX");
		self->root = mkdtemp(self->dir);
		ASSERT_NE(NULL, self->root);
		self->mounted = !mount("cgroup2", self->root, "cgroup2", 0,
				       NULL);
		if (!self->mounted) {
			rmdir(self->root);
			SKIP(return, "no cgroup v2");
		}
	}
	snprintf(self->path, sizeof(self->path), "%s/fbuf-test-%d", self->root,
		 getpid());
	if (put_file(self->root, "cgroup.subtree_control", "+memory") ||
	    mkdir(self->path, 0755))
		SKIP(return, "no memory cgroup");
	ASSERT_EQ(0, put_file(self->path, "cgroup.procs", "0"));
}

FIXTURE_TEARDOWN_PARENT(memcg)
{
	long end = now_ms() + 5000;

	/* The child that is the test is gone, if not yet for the cgroup. */
	while (rmdir(self->path) && errno == EBUSY && now_ms() < end)
		relax();
	if (self->mounted) {
		umount(self->root);
		rmdir(self->root);
	}
}

#define MEMCG_BUF	65536U
#define MEMCG_BUFS	64U
#define MEMCG_POOL	(MEMCG_BUF * MEMCG_BUFS)

TEST_F(memcg, charged)
{
	long long before, with, after;
	long end;
	int fd;

	before = get_file(self->path, "memory.current", NULL);
	ASSERT_LE(0, before);
	fd = pool_create(MEMCG_BUF, MEMCG_BUFS);
	ASSERT_LE(0, fd);
	with = get_file(self->path, "memory.current", NULL);
	EXPECT_LE(before + MEMCG_POOL, with);
	close(fd);
	/* Freed charges are kept in stock for a while, but not that many. */
	end = now_ms() + 5000;
	do {
		after = get_file(self->path, "memory.current", NULL);
		relax();
	} while (after > with - MEMCG_POOL / 2 && now_ms() < end);
	EXPECT_GE(with - MEMCG_POOL / 2, after);
}

/* No memory is an error, not a killed process. */
TEST_F(memcg, limit)
{
	char max[32];
	int fd;

	snprintf(max, sizeof(max), "%lld",
		 get_file(self->path, "memory.current", NULL) + MEMCG_POOL / 2);
	ASSERT_EQ(0, put_file(self->path, "memory.max", max));
	EXPECT_EQ(-ENOMEM, pool_create(MEMCG_BUF, MEMCG_BUFS));
	EXPECT_EQ(0, get_file(self->path, "memory.events", "oom_kill"));
	/* What it got before it failed is given back. */
	fd = pool_create(MEMCG_BUF, MEMCG_BUFS / 4);
	EXPECT_LE(0, fd);
	close(fd);
}

/* A byte of a child's own memory, or the signal that it gets for the try. */
static int read_in_child(const __u8 *at)
{
	pid_t pid = fork();

	if (!pid)
		_exit(__atomic_load_n(at, __ATOMIC_RELAXED));
	return pid < 0 ? -errno : child_status(pid);
}

/*
 * A lazy pool takes no memory when it is made, nor for holds, and no more than there is
 * when it is touched: that fails, and nobody is killed. It is filled up by FILL, as what
 * a socket takes is taken past the limit, and kept for whoever wants memory next.
 */
TEST_F(memcg, lazy)
{
	struct fbuf_fill fill = { .size = sizeof(fill), .len = 1 };
	struct fbuf_seg seg[2];
	__u64 names[MEMCG_BUFS];
	struct fbuf_info info;
	struct pool pool;
	unsigned int i;
	char max[32];
	int sock[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	fill.fd = open("/dev/zero", O_RDONLY);
	ASSERT_LE(0, fill.fd);
	ASSERT_EQ(0, pool_make_flags(&pool, MEMCG_BUF, MEMCG_BUFS,
				     FBUF_POOL_SNAPSHOT | FBUF_POOL_LAZY));
	/* Nobody else is to want memory there. */
	ASSERT_EQ(0, put_file(self->root, "cgroup.procs", "0"));
	snprintf(max, sizeof(max), "%lld",
		 get_file(self->path, "memory.current", NULL) + MEMCG_POOL / 2);
	ASSERT_EQ(0, put_file(self->path, "memory.max", max));
	ASSERT_EQ((int)MEMCG_BUFS, pool_alloc(pool.fd, names, MEMCG_BUFS));
	EXPECT_EQ(0ULL, pool_resident(pool.fd));
	for (i = 0; i < MEMCG_BUFS; i++) {
		fill.name = names[i];
		if (ioctl(pool.fd, FBUF_IOC_FILL, &fill) != 1)
			break;
	}
	EXPECT_EQ(ENOMEM, errno);
	ASSERT_LT(MEMCG_BUFS / 4, i);
	ASSERT_GT(MEMCG_BUFS, i);
	EXPECT_EQ((__u64)i * MEMCG_BUF, pool_resident(pool.fd));
	/* After one that has memory, one that has not: all or nothing. */
	seg[0] = buf_seg(&pool, names[0], 0, 1);
	seg[1] = buf_seg(&pool, names[i], 0, MEMCG_BUF);
	EXPECT_EQ(-ENOMEM, pool_send(pool.fd, sock[0], &seg[1], 1, 0, 0, NULL));
	EXPECT_EQ(-ENOMEM, pool_send(pool.fd, sock[0], seg, 2, 0, 0, NULL));
	EXPECT_TRUE(sock_empty(sock[1]));
	EXPECT_EQ(-ENOMEM, pool_secure(pool.fd, &names[i], 1));
	EXPECT_EQ(-SIGBUS, read_in_child(buf_addr(&pool, names[i])));
	EXPECT_EQ(0, get_file(self->path, "memory.events", "oom_kill"));
	ASSERT_EQ(0, put_file(self->path, "memory.max", "max"));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_EQ(MEMCG_BUFS, info.nr_held);
	EXPECT_EQ(0ULL, info.sends);
	EXPECT_EQ(1 + (ssize_t)MEMCG_BUF, pool_send(pool.fd, sock[0], seg, 2, 0,
						    0, NULL));
	pool_unmake(&pool);
	close(fill.fd);
	close(sock[0]);
	close(sock[1]);
}

/* Whoever has memory come back, the maker's group pays for it. */
TEST_F(memcg, back_on_touch_by_another)
{
	struct pool pool;
	long long without;
	pid_t pid;

	if (access("/proc/sys/vm/drop_caches", W_OK))
		SKIP(return, "no drop_caches");
	ASSERT_EQ(0, pool_make(&pool, MEMCG_BUF, MEMCG_BUFS));
	/* Has its own page tables for it before. */
	memset(pool.map, 1, pool.size);
	ASSERT_TRUE(wait_for(!put_file("/proc/sys/vm", "drop_caches", "2") &&
			     !pool_resident(pool.fd), DEADLINE_MS));
	without = get_file(self->path, "memory.current", NULL);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (put_file(self->root, "cgroup.procs", "0"))
			_exit(1);
		memset(pool.map, 1, pool.size);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(pool.size, pool_resident(pool.fd));
	EXPECT_LE(without + MEMCG_POOL / 2,
		  get_file(self->path, "memory.current", NULL));
	pool_unmake(&pool);
}

/*
 * All are free, and there is memory for the first alone: to wait for the others
 * would be to wait for ever.
 */
TEST_F(memcg, alloc_all)
{
	const __u32 all = FBUF_ALLOC_ALL | FBUF_ALLOC_WAIT;
	__u64 names[MEMCG_BUFS];
	struct fbuf_info info;
	char max[32];
	int fd;

	if (access("/proc/sys/vm/drop_caches", W_OK))
		SKIP(return, "no drop_caches");
	fd = pool_create(MEMCG_BUF, MEMCG_BUFS);
	ASSERT_LE(0, fd);
	ASSERT_TRUE(wait_for(!put_file("/proc/sys/vm", "drop_caches", "2") &&
			     !pool_resident(fd), DEADLINE_MS));
	ASSERT_EQ(0, put_file(self->root, "cgroup.procs", "0"));
	snprintf(max, sizeof(max), "%lld",
		 get_file(self->path, "memory.current", NULL) + MEMCG_POOL / 2);
	ASSERT_EQ(0, put_file(self->path, "memory.max", max));
	EXPECT_EQ(-ENOMEM, pool_batch(fd, FBUF_IOC_ALLOC, names, MEMCG_BUFS,
				      FBUF_ALLOC_ALL, 0));
	EXPECT_EQ(-ENOMEM, pool_batch(fd, FBUF_IOC_ALLOC, names, MEMCG_BUFS,
				      all, 2000));
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(0U, info.nr_held);
	EXPECT_LT(0U, info.resident);
	/* Who takes what there is gets it, and the error when there is none. */
	EXPECT_LT(0, pool_alloc(fd, names, MEMCG_BUFS));
	EXPECT_EQ(-ENOMEM, pool_alloc(fd, names, MEMCG_BUFS));
	EXPECT_EQ(0, get_file(self->path, "memory.events", "oom_kill"));
	ASSERT_EQ(0, put_file(self->path, "memory.max", "max"));
	close(fd);
}

#define MEMCG_BIG	(2U << 20)

/* Of more than one piece: all of them go. */
TEST_F(memcg, large_buffers_go)
{
	struct pool pool;
	long long with;

	if (access("/proc/sys/vm/drop_caches", W_OK))
		SKIP(return, "no drop_caches");
	ASSERT_EQ(0, pool_make(&pool, MEMCG_BIG, 4));
	with = get_file(self->path, "memory.current", NULL);
	ASSERT_TRUE(wait_for(!put_file("/proc/sys/vm", "drop_caches", "2") &&
			     !pool_resident(pool.fd), DEADLINE_MS));
	EXPECT_TRUE(wait_for(get_file(self->path, "memory.current", NULL) <=
			     with - 3LL * MEMCG_BIG, DEADLINE_MS));
	pool_unmake(&pool);
}

/* A thread that writes a byte when told to. */
struct memcg_writer {
	pthread_t thread;
	__u8 *at;
	bool go;
	bool done;
};

static void *memcg_write(void *arg)
{
	struct memcg_writer *w = arg;

	while (!__atomic_load_n(&w->go, __ATOMIC_ACQUIRE))
		relax();
	*w->at = 2;
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* No memory for a snapshot: the write waits, and is not charged for it. */
TEST_F(memcg, snapshot)
{
	struct memcg_writer w = { 0 };
	struct fbuf_info info;
	struct fbuf_seg seg;
	struct pool pool;
	char max[32];
	int sock[2];
	__u64 name;
	__u8 c;

	ASSERT_EQ(0, page_pair(sock));
	ASSERT_EQ(0, pool_make_flags(&pool, MEMCG_BIG, 1, FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	memset(pool.map, 1, MEMCG_BIG);
	w.at = pool.map;
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, memcg_write, &w));
	seg = buf_seg(&pool, name, 0, 1);
	ASSERT_EQ(1, pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL));
	/* The pool's group is full, and the writer in another: that one pays. */
	ASSERT_EQ(0, put_file(self->root, "cgroup.procs", "0"));
	snprintf(max, sizeof(max), "%lld",
		 get_file(self->path, "memory.current", NULL) + MEMCG_BIG / 4);
	ASSERT_EQ(0, put_file(self->path, "memory.max", max));
	__atomic_store_n(&w.go, true, __ATOMIC_RELEASE);
	EXPECT_TRUE(wait_for(__atomic_load_n(&w.done, __ATOMIC_ACQUIRE),
			     DEADLINE_MS));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_EQ(1ULL, info.snapshots);
	/* Of its two pieces, the one that was sent from is in flight. */
	EXPECT_LT(pool.size, info.charged);
	EXPECT_EQ(0, get_file(self->path, "memory.events", "oom_kill"));
	ASSERT_EQ(0, put_file(self->path, "memory.max", "max"));
	ASSERT_EQ(1, read(sock[1], &c, 1));
	EXPECT_EQ(1, c);
	pthread_join(w.thread, NULL);
	EXPECT_EQ(2, pool.map[0]);
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
