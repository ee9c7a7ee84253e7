// SPDX-License-Identifier: GPL-2.0
/*
 * DROP: buffers of a lazy pool lose their memory, while they are held. What is in flight,
 * or another's, keeps it.
 */
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		8U
#define POOL_SIZE	(NR_BUFS * BUF_SIZE)
#define LEN		1000U

#define PROTECTS	(FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT)

/* A lazy pool of each kind, all of its buffers held and written. */
FIXTURE(drop)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	__u8 *got;
};

FIXTURE_VARIANT(drop)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(drop, unprotected)
{
	.flags = FBUF_POOL_LAZY,
};

FIXTURE_VARIANT_ADD(drop, secured)
{
	.flags = FBUF_POOL_LAZY | FBUF_POOL_SECURED | FBUF_POOL_SIGBUS,
};

FIXTURE_VARIANT_ADD(drop, snapshot)
{
	.flags = FBUF_POOL_LAZY | FBUF_POOL_SNAPSHOT,
};

FIXTURE_SETUP(drop)
{
	ASSERT_EQ(0, page_pair(self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	memset(self->pool.map, 0x5a, POOL_SIZE);
	self->got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(drop)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

static __u8 load(const __u8 *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static void store(__u8 *at, __u8 byte)
{
	__atomic_store_n(at, byte, __ATOMIC_RELAXED);
}

static __u8 *addr(struct _test_data_drop *self, unsigned int buf)
{
	return buf_addr(&self->pool, self->names[buf]);
}

static int drop(struct _test_data_drop *self, unsigned int first,
		unsigned int nr)
{
	return pool_drop(self->pool.fd, self->names + first, nr);
}

static ssize_t send_buf(struct _test_data_drop *self, unsigned int buf)
{
	struct fbuf_seg seg = named_seg(self->names[buf], 0, LEN);

	return pool_send(self->pool.fd, self->sock[0], &seg, 1, 0,
			 FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE, NULL);
}

/* So many buffers have memory, and those from @first on have what they had. */
static bool kept(struct _test_data_drop *self, unsigned int first)
{
	return pool_resident(self->pool.fd) == (__u64)POOL_SIZE &&
	       is_all(addr(self, first), 0x5a,
		      (size_t)(NR_BUFS - first) * BUF_SIZE);
}

/* The first has none; it is touched in some way, and has zeroes then. */
#define EXPECT_DROPPED()						\
do {									\
	ASSERT_EQ(1, drop(self, 0, 1));					\
	EXPECT_EQ((__u64)POOL_SIZE - BUF_SIZE, pool_resident(self->pool.fd));	\
} while (0)

#define EXPECT_BACK()							\
do {									\
	EXPECT_EQ((__u64)POOL_SIZE, pool_resident(self->pool.fd));		\
	EXPECT_TRUE(is_all(addr(self, 1), 0x5a, POOL_SIZE - BUF_SIZE));	\
} while (0)

TEST_F(drop, read)
{
	EXPECT_DROPPED();
	EXPECT_TRUE(is_all(addr(self, 0), 0, BUF_SIZE));
	EXPECT_BACK();
}

TEST_F(drop, write)
{
	EXPECT_DROPPED();
	addr(self, 0)[PAGE] = 1;
	EXPECT_TRUE(is_all(addr(self, 0), 0, PAGE));
	EXPECT_EQ(1, addr(self, 0)[PAGE]);
	EXPECT_TRUE(is_all(addr(self, 0) + PAGE + 1, 0, BUF_SIZE - PAGE - 1));
	EXPECT_BACK();
}

TEST_F(drop, send)
{
	EXPECT_DROPPED();
	ASSERT_EQ((ssize_t)LEN, send_buf(self, 0));
	ASSERT_EQ((ssize_t)LEN, read_full(self->sock[1], self->got, LEN));
	EXPECT_TRUE(is_all(self->got, 0, LEN));
	EXPECT_BACK();
}

TEST_F(drop, splice)
{
	loff_t pos = buf_offset(&self->pool, self->names[0]);
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	EXPECT_DROPPED();
	ASSERT_EQ((ssize_t)PAGE, splice(self->pool.fd, &pos, fd[1], NULL, PAGE,
					0));
	ASSERT_EQ((ssize_t)PAGE, read_full(fd[0], self->got, PAGE));
	EXPECT_TRUE(is_all(self->got, 0, PAGE));
	EXPECT_BACK();
	close(fd[0]);
	close(fd[1]);
}

TEST_F(drop, fill)
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
	EXPECT_DROPPED();
	ASSERT_EQ(10, ioctl(self->pool.fd, FBUF_IOC_FILL, &arg));
	EXPECT_TRUE(is_all(addr(self, 0), 0, 10));
	EXPECT_EQ(0, memcmp(addr(self, 0) + 10, "0123456789", 10));
	EXPECT_TRUE(is_all(addr(self, 0) + 20, 0, BUF_SIZE - 20));
	EXPECT_BACK();
	close(arg.fd);
}

/* A call's store, and its load. */
TEST_F(drop, inside_a_system_call)
{
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	EXPECT_DROPPED();
	ASSERT_EQ(10, write(fd[1], addr(self, 0), 10));
	ASSERT_EQ(10, read(fd[0], self->got, 10));
	EXPECT_TRUE(is_all(self->got, 0, 10));
	EXPECT_BACK();
	EXPECT_DROPPED();
	ASSERT_EQ(10, write(fd[1], "0123456789", 10));
	ASSERT_EQ(10, read(fd[0], addr(self, 0) + PAGE, 10));
	EXPECT_EQ(0, memcmp(addr(self, 0) + PAGE, "0123456789", 10));
	EXPECT_TRUE(is_all(addr(self, 0), 0, PAGE));
	EXPECT_BACK();
	close(fd[0]);
	close(fd[1]);
}

/* Entries of every mapping go: a child's, one that is locked, one of frames. */
TEST_F(drop, every_mapping)
{
	int ready[2], go[2], bare, status;
	struct pool other;
	__u8 *at = addr(self, 0);
	char c = 0;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	bare = pool_share_flags(self->pool.fd, FBUF_RIGHT_READ, 0,
				FBUF_SHARE_NO_PIN, NULL);
	ASSERT_LE(0, bare);
	ASSERT_EQ(0, pool_map(&other, bare, PROT_READ));
	EXPECT_EQ(0x5a, load(other.map + (at - self->pool.map) + 1));
	mlock(self->pool.map, BUF_SIZE);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		c = load(at);
		if (write(ready[1], &c, 1) != 1 || read(go[0], &c, 1) != 1)
			_exit(2);
		_exit(load(at) ? 1 : 0);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(0x5a, c);
	EXPECT_DROPPED();
	ASSERT_EQ(1, write(go[1], &c, 1));
	status = child_status(pid);
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, load(other.map + (at - self->pool.map) + 1));
	EXPECT_TRUE(is_all(addr(self, 0), 0, BUF_SIZE));
	EXPECT_BACK();
	pool_unmake(&other);
	close(ready[0]);
	close(ready[1]);
	close(go[0]);
	close(go[1]);
}

/* By mprotect() and mremap() as well. */
TEST_F(drop, mappings_that_changed)
{
	__u8 *second = mmap(NULL, POOL_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED, self->pool.fd, 0), *moved;
	size_t at = buf_offset(&self->pool, self->names[0]);

	ASSERT_NE(MAP_FAILED, second);
	second[at] = 1;
	ASSERT_EQ(0, mprotect(second, POOL_SIZE, PROT_READ));
	moved = mmap(NULL, POOL_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		     -1, 0);
	ASSERT_NE(MAP_FAILED, moved);
	moved = mremap(second, POOL_SIZE, POOL_SIZE,
		       MREMAP_MAYMOVE | MREMAP_FIXED, moved);
	ASSERT_NE(MAP_FAILED, moved);
	EXPECT_EQ(1, load(moved + at));
	EXPECT_DROPPED();
	EXPECT_EQ(0, load(moved + at));
	EXPECT_TRUE(is_all(addr(self, 0), 0, BUF_SIZE));
	munmap(moved, POOL_SIZE);
}

/* Nothing is taken off the account, and all may come back. */
TEST_F(drop, stays_charged)
{
	__u64 before = pool_charged(&self->pool);

	ASSERT_EQ((int)NR_BUFS, drop(self, 0, NR_BUFS));
	EXPECT_EQ(0ULL, pool_resident(self->pool.fd));
	EXPECT_EQ(before, pool_charged(&self->pool));
	memset(self->pool.map, 1, POOL_SIZE);
	EXPECT_EQ((__u64)POOL_SIZE, pool_resident(self->pool.fd));
	EXPECT_EQ(before, pool_charged(&self->pool));
}

/* What has no memory has none to lose; a name may come twice. */
TEST_F(drop, again)
{
	__u64 twice[] = { self->names[0], self->names[1], self->names[0] };

	ASSERT_EQ(3, pool_drop(self->pool.fd, twice, 3));
	EXPECT_EQ((__u64)POOL_SIZE - 2 * BUF_SIZE, pool_resident(self->pool.fd));
	ASSERT_EQ(3, pool_drop(self->pool.fd, twice, 3));
	EXPECT_EQ((__u64)POOL_SIZE - 2 * BUF_SIZE, pool_resident(self->pool.fd));
	EXPECT_TRUE(is_all(addr(self, 0), 0, 1));
	ASSERT_EQ(3, pool_drop(self->pool.fd, twice, 3));
	EXPECT_EQ((__u64)POOL_SIZE - 2 * BUF_SIZE, pool_resident(self->pool.fd));
}

/* It is held as it was, and by that name. */
TEST_F(drop, stays_held)
{
	struct fbuf_info info;
	__u64 name;

	ASSERT_EQ((int)NR_BUFS, drop(self, 0, NR_BUFS));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS, info.nr_held);
	EXPECT_EQ(NR_BUFS, info.holds);
	EXPECT_EQ(-ENOBUFS, pool_alloc(self->pool.fd, &name, 1));
	EXPECT_EQ((int)NR_BUFS, pool_wait(self->pool.fd, self->names, NR_BUFS,
					  0));
	EXPECT_EQ((ssize_t)LEN, send_buf(self, 3));
	ASSERT_EQ((ssize_t)LEN, read_full(self->sock[1], self->got, LEN));
	EXPECT_EQ(1, pool_wait(self->pool.fd, self->names + 3, 1,
			       DEADLINE_MS));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	EXPECT_EQ((int)NR_BUFS, pool_alloc_wait(self->pool.fd, self->names,
						NR_BUFS, 0));
}

/* One that was freed with memory and without. */
TEST_F(drop, then_freed)
{
	ASSERT_EQ(4, drop(self, 0, 4));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	EXPECT_EQ((__u64)POOL_SIZE / 2, pool_resident(self->pool.fd));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	/* Those that have memory are handed out first. */
	EXPECT_EQ(0x5a, addr(self, 0)[0]);
	EXPECT_EQ(0, addr(self, NR_BUFS - 1)[0]);
	memset(self->pool.map, 0x5a, POOL_SIZE);
	EXPECT_EQ((__u64)POOL_SIZE, pool_resident(self->pool.fd));
}

/* All or none: a bad one first, last, or between good ones. */
static void all_or_none(struct __test_metadata *_metadata,
			struct _test_data_drop *self, __u64 bad, int err)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		__u64 names[] = { self->names[1], self->names[2],
				  self->names[3] };

		names[i] = bad;
		EXPECT_EQ(err, pool_drop(self->pool.fd, names, 3));
		EXPECT_EQ(err, pool_drop(self->pool.fd, &bad, 1));
	}
	EXPECT_TRUE(kept(self, 1));
}

TEST_F(drop, names_that_are_none)
{
	all_or_none(_metadata, self, FBUF_NAME(NR_BUFS, 1), -EINVAL);
	all_or_none(_metadata, self, ~0ULL, -EINVAL);
	all_or_none(_metadata, self, self->names[0] + (1ULL << 32), -ESTALE);
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	all_or_none(_metadata, self, self->names[0], -ESTALE);
}

TEST_F(drop, in_flight)
{
	ASSERT_EQ((ssize_t)LEN, send_buf(self, 0));
	all_or_none(_metadata, self, self->names[0], -EBUSY);
	ASSERT_EQ((ssize_t)LEN, read_full(self->sock[1], self->got, LEN));
	EXPECT_TRUE(is_all(self->got, 0x5a, LEN));
	EXPECT_EQ(1, pool_wait(self->pool.fd, self->names, 1, DEADLINE_MS));
	EXPECT_DROPPED();
}

TEST_F(drop, in_a_pipe)
{
	loff_t pos = buf_offset(&self->pool, self->names[0]) + BUF_SIZE - PAGE;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ((ssize_t)PAGE, splice(self->pool.fd, &pos, fd[1], NULL, PAGE,
					0));
	all_or_none(_metadata, self, self->names[0], -EBUSY);
	ASSERT_EQ((ssize_t)PAGE, read_full(fd[0], self->got, PAGE));
	EXPECT_TRUE(is_all(self->got, 0x5a, PAGE));
	EXPECT_DROPPED();
	close(fd[0]);
	close(fd[1]);
}

/* User pages that the kernel has in hand: for as long as it does. */
TEST_F(drop, pinned_by_vmsplice)
{
	struct iovec iov = { addr(self, 0) + 2 * PAGE, 10 };
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(10, vmsplice(fd[1], &iov, 1, 0));
	all_or_none(_metadata, self, self->names[0], -EBUSY);
	ASSERT_EQ(10, read_full(fd[0], self->got, 10));
	EXPECT_TRUE(is_all(self->got, 0x5a, 10));
	EXPECT_DROPPED();
	close(fd[0]);
	close(fd[1]);
}

/* For long: only volatile pools have that. */
TEST_F(drop, registered_with_io_uring)
{
	struct iovec iov = { addr(self, 0), BUF_SIZE };
	struct io_uring ring;
	int err;

	if (variant->flags & PROTECTS)
		SKIP(return, "long-term pins are refused");
	if (io_uring_queue_init(1, &ring, 0))
		SKIP(return, "io_uring is disabled");
	err = io_uring_register_buffers(&ring, &iov, 1);
	if (err == -EOPNOTSUPP) {
		io_uring_queue_exit(&ring);
		SKIP(return, "no memory of files before Linux 6.5");
	}
	ASSERT_EQ(0, err);
	all_or_none(_metadata, self, self->names[0], -EBUSY);
	ASSERT_EQ(0, io_uring_unregister_buffers(&ring));
	io_uring_queue_exit(&ring);
	/* The kernel may let go of it a moment later. */
	EXPECT_TRUE(wait_for(drop(self, 0, 1) == 1, DEADLINE_MS));
	EXPECT_TRUE(is_all(addr(self, 0), 0, BUF_SIZE));
}

TEST_F(drop, held_by_another)
{
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-ESTALE, pool_drop(fd, self->names, 1));
	ASSERT_EQ(1, pool_hold(fd, self->names, 1));
	EXPECT_EQ(-EBUSY, pool_drop(fd, self->names, 1));
	all_or_none(_metadata, self, self->names[0], -EBUSY);
	EXPECT_TRUE(kept(self, 0));
	close(fd);
	EXPECT_DROPPED();
}

TEST_F(drop, passed)
{
	struct ring ring;
	__u32 to;
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, &to);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&ring, fd, FBUF_RING_ACCEPT, 8, 0));
	ASSERT_EQ(1, pool_pass_one(self->pool.fd, to, self->names[0], 0));
	all_or_none(_metadata, self, self->names[0], -ESTALE);
	EXPECT_TRUE(kept(self, 0));
	EXPECT_EQ(1, pool_drop(fd, self->names, 1));
	EXPECT_EQ((__u64)POOL_SIZE - BUF_SIZE, pool_resident(self->pool.fd));
	ring_unmake(&ring);
	close(fd);
}

TEST_F(drop, secured_by_the_handle)
{
	if (!(variant->flags & PROTECTS))
		SKIP(return, "nothing is protected");
	ASSERT_EQ(1, pool_secure(self->pool.fd, self->names, 1));
	all_or_none(_metadata, self, self->names[0], -EBUSY);
	EXPECT_TRUE(kept(self, 0));
}

struct filler {
	struct fbuf_fill arg;
	int fd;
	int ret;
	pid_t tid;
};

static void *fill_run(void *arg)
{
	struct filler *f = arg;

	__atomic_store_n(&f->tid, gettid(), __ATOMIC_RELEASE);
	f->ret = ioctl(f->fd, FBUF_IOC_FILL, &f->arg);
	return NULL;
}

/* A FILL that waits for its bytes. */
TEST_F(drop, being_filled)
{
	struct filler f = {
		.arg = {
			.size = sizeof(f.arg),
			.name = self->names[0],
			.len = 10,
		},
		.fd = self->pool.fd,
	};
	pthread_t thread;
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	f.arg.fd = pair[1];
	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_run, &f));
	ASSERT_TRUE(wait_for(__atomic_load_n(&f.tid, __ATOMIC_ACQUIRE),
			     DEADLINE_MS));
	ASSERT_EQ(0, wait_asleep(getpid(), f.tid, DEADLINE_MS));
	all_or_none(_metadata, self, self->names[0], -EBUSY);
	ASSERT_EQ(10, write(pair[0], "0123456789", 10));
	pthread_join(thread, NULL);
	EXPECT_EQ(10, f.ret);
	EXPECT_EQ(0, memcmp(addr(self, 0), "0123456789", 10));
	EXPECT_DROPPED();
	close(pair[0]);
	close(pair[1]);
}

/* The packet has what was sent, whatever becomes of the buffer. */
TEST_F(drop, written_in_flight)
{
	if (!(variant->flags & FBUF_POOL_SNAPSHOT))
		SKIP(return, "no snapshots");
	ASSERT_EQ((ssize_t)LEN, send_buf(self, 0));
	addr(self, 0)[0] = 1;
	EXPECT_DROPPED();
	EXPECT_TRUE(is_all(addr(self, 0), 0, BUF_SIZE));
	ASSERT_EQ((ssize_t)LEN, read_full(self->sock[1], self->got, LEN));
	EXPECT_TRUE(is_all(self->got, 0x5a, LEN));
	EXPECT_TRUE(wait_for(pool_charged(&self->pool) == POOL_SIZE,
			     DEADLINE_MS));
}

/* One that was protected can be written at once, and is protected when it is sent. */
TEST_F(drop, after_a_protected_send)
{
	struct fbuf_info before, after;

	ASSERT_EQ((ssize_t)LEN, send_buf(self, 0));
	ASSERT_EQ((ssize_t)LEN, read_full(self->sock[1], self->got, LEN));
	EXPECT_TRUE(wait_for(drop(self, 0, 1) == 1, DEADLINE_MS));
	EXPECT_EQ((__u64)POOL_SIZE, pool_charged(&self->pool));
	addr(self, 0)[0] = 7;
	ASSERT_EQ(0, pool_info(self->pool.fd, &before));
	ASSERT_EQ((ssize_t)LEN, send_buf(self, 0));
	ASSERT_EQ(0, pool_info(self->pool.fd, &after));
	EXPECT_EQ(before.protects + !!(variant->flags & PROTECTS),
		  after.protects);
	if (variant->flags & FBUF_POOL_SNAPSHOT)
		addr(self, 0)[0] = 8;
	ASSERT_EQ((ssize_t)LEN, read_full(self->sock[1], self->got, LEN));
	EXPECT_EQ(7, self->got[0]);
	EXPECT_TRUE(is_all(self->got + 1, 0, LEN - 1));
}

/* A buffer of another's packet in the midst of many. */
TEST_F(drop, many)
{
	__u64 *names = calloc(FBUF_BATCH_MAX, sizeof(*names));
	unsigned int i;

	ASSERT_NE(NULL, names);
	for (i = 0; i < FBUF_BATCH_MAX; i++)
		names[i] = self->names[i % NR_BUFS];
	ASSERT_EQ((ssize_t)LEN, send_buf(self, 5));
	EXPECT_EQ(-EBUSY, pool_drop(self->pool.fd, names, FBUF_BATCH_MAX));
	EXPECT_EQ((__u64)POOL_SIZE, pool_resident(self->pool.fd));
	EXPECT_EQ(-EINVAL, pool_drop(self->pool.fd, names, FBUF_BATCH_MAX + 1));
	EXPECT_EQ(-EINVAL, pool_drop(self->pool.fd, names, 0));
	EXPECT_EQ(-EFAULT, pool_drop(self->pool.fd, NULL, 1));
	EXPECT_TRUE(kept(self, 0));
	ASSERT_EQ((ssize_t)LEN, read_full(self->sock[1], self->got, LEN));
	EXPECT_TRUE(wait_for(pool_drop(self->pool.fd, names, FBUF_BATCH_MAX) ==
			     (int)FBUF_BATCH_MAX, DEADLINE_MS));
	EXPECT_EQ(0ULL, pool_resident(self->pool.fd));
	free(names);
}

/* It needs the right to write, and no other. */
TEST_F(drop, rights)
{
	unsigned int rights;

	for (rights = 0; rights <= ALL_RIGHTS; rights++) {
		struct ring ring;
		__u32 to;
		int fd;

		if (rights & FBUF_RIGHT_WRITE && !(rights & FBUF_RIGHT_READ))
			continue;
		fd = pool_share(self->pool.fd, rights, 0, &to);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ring_make(&ring, fd, FBUF_RING_ACCEPT, 8, 0));
		ASSERT_EQ(1, pool_pass_one(self->pool.fd, to, self->names[0],
					   0));
		EXPECT_EQ(rights & FBUF_RIGHT_WRITE ? 1 : -EACCES,
			  pool_drop(fd, self->names, 1));
		ring_unmake(&ring);
		close(fd);
		ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, 1));
		memset(addr(self, 0), 0x5a, BUF_SIZE);
		EXPECT_TRUE(kept(self, 0));
	}
}

/* What two threads do at once. */
struct racer {
	struct _test_data_drop *self;
	bool stop;
	unsigned int drops;
	int bad;
};

static void *drop_run(void *arg)
{
	struct racer *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		int ret = drop(r->self, 0, 2);

		if (ret == 2)
			__atomic_add_fetch(&r->drops, 1, __ATOMIC_RELAXED);
		else if (ret != -EBUSY)
			r->bad = ret;
	}
	return NULL;
}

/* The other thread may have no turn for long where there is one CPU, and others want it. */
static bool raced(const struct racer *r)
{
	return __atomic_load_n(&r->drops, __ATOMIC_RELAXED);
}

/* A send finds the hold, and all of the memory or none of it. */
TEST_F(drop, while_sends_run)
{
	long end = now_ms() + DEADLINE_MS;
	struct racer r = { .self = self };
	struct fbuf_seg segs[3];
	pthread_t thread;
	unsigned int i, zero = 0;
	struct fbuf_info info;

	ASSERT_EQ(0, pthread_create(&thread, NULL, drop_run, &r));
	segs[0] = named_seg(self->names[0], 0, LEN);
	segs[1] = named_seg(self->names[2], 0, LEN);
	segs[2] = buf_seg(&self->pool, self->names[1], BUF_SIZE - LEN, LEN);
	for (i = 0; i < 2000 || (!raced(&r) && !zero && time_left(end)); i++) {
		unsigned int nr = i % 2 ? 3 : 1;

		if (i % 4 == 0)
			memset(addr(self, 0), 0x5a, LEN);
		ASSERT_EQ((ssize_t)(nr * LEN),
			  pool_send(self->pool.fd, self->sock[0], segs, nr, 0,
				    0, NULL));
		/* It is in flight, by pages that are the pool's. */
		ASSERT_EQ(-ETIMEDOUT, pool_wait(self->pool.fd, self->names, 1,
						0));
		ASSERT_EQ((ssize_t)(nr * LEN), read_full(self->sock[1],
							 self->got, nr * LEN));
		if (!self->got[0])
			zero++;
		else if (i % 4)
			EXPECT_EQ(0x5a, self->got[0]);
		if (nr == 3)
			EXPECT_TRUE(is_all(self->got + LEN, 0x5a, LEN));
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, r.bad);
	EXPECT_LT(0U, r.drops + zero);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS, info.holds);
	EXPECT_TRUE(wait_for(drop(self, 0, NR_BUFS) == (int)NR_BUFS,
			     DEADLINE_MS));
	EXPECT_EQ(0ULL, pool_resident(self->pool.fd));
	EXPECT_TRUE(wait_for(pool_charged(&self->pool) == POOL_SIZE,
			     DEADLINE_MS));
}

/* Short segments, which are copied with the lock, or without if another has it. */
#define SHORTS	40U

TEST_F(drop, while_short_ones_are_sent)
{
	struct racer r = { .self = self };
	struct fbuf_seg segs[SHORTS];
	pthread_t thread;
	unsigned int i;
	int pair[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, pair));
	for (i = 0; i < SHORTS; i++)
		segs[i] = named_seg(self->names[i % 3], 200 * i, 100);
	ASSERT_EQ(0, pthread_create(&thread, NULL, drop_run, &r));
	for (i = 0; i < 1000; i++) {
		ASSERT_EQ((ssize_t)(SHORTS * 100),
			  pool_send(self->pool.fd, pair[0], segs, SHORTS, 0, 0,
				    NULL));
		ASSERT_EQ((ssize_t)(SHORTS * 100),
			  read_full(pair[1], self->got, SHORTS * 100));
		EXPECT_TRUE(is_all(self->got + 200, 0x5a, 100));
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, r.bad);
	EXPECT_TRUE(is_all(addr(self, 2), 0x5a, BUF_SIZE));
	close(pair[0]);
	close(pair[1]);
}

/* Stores are not lost but by the DROP itself: what is read is what was, or 0. */
TEST_F(drop, while_it_is_written)
{
	struct racer r = { .self = self };
	__u8 *at = addr(self, 0);
	pthread_t thread;
	unsigned int i;

	ASSERT_EQ(0, pthread_create(&thread, NULL, drop_run, &r));
	for (i = 0; i < 20000; i++) {
		__u8 byte = 1 + i % 250, seen;

		store(at + i * 61 % BUF_SIZE, byte);
		seen = load(at + i * 61 % BUF_SIZE);
		if (seen && seen != byte)
			r.bad = seen;
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, r.bad);
}

/* One thread frees and takes buffers that the other drops. */
static void *drop_any(void *arg)
{
	struct racer *r = arg;

	while (!__atomic_load_n(&r->stop, __ATOMIC_RELAXED)) {
		__u64 name = __atomic_load_n(&r->self->names[0],
					     __ATOMIC_RELAXED);
		int ret = pool_drop(r->self->pool.fd, &name, 1);

		if (ret == 1)
			r->drops++;
		else if (ret != -ESTALE && ret != -EBUSY)
			r->bad = ret;
	}
	return NULL;
}

TEST_F(drop, while_it_is_freed)
{
	struct racer r = { .self = self };
	struct fbuf_info info;
	pthread_t thread;
	unsigned int i;
	__u64 name = self->names[0];

	ASSERT_EQ(0, pthread_create(&thread, NULL, drop_any, &r));
	for (i = 0; i < 2000; i++) {
		ASSERT_EQ(1, pool_free(self->pool.fd, &name, 1));
		ASSERT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1,
					     DEADLINE_MS));
		__atomic_store_n(&self->names[0], name, __ATOMIC_RELAXED);
		store(buf_addr(&self->pool, name), 1);
	}
	__atomic_store_n(&r.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, r.bad);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS, info.holds);
	EXPECT_EQ(NR_BUFS, info.nr_held);
}

/* A process dies in the midst of it, and holds nothing then. */
TEST_F(drop, killed_in_it)
{
	struct fbuf_info info;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		struct racer r = { .self = self };
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid) {
			drop_run(&r);
			_exit(0);
		}
		/* It is at it, if the machine lets it. */
		usleep(100 * i);
		kill(pid, SIGKILL);
		EXPECT_EQ(-SIGKILL, child_status_within(pid, DEADLINE_MS));
		addr(self, 0)[0] = 1;
	}
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS, info.holds);
	EXPECT_EQ(1, drop(self, 0, 1));
}

static int alarms;

static void on_alarm(int sig)
{
	__atomic_fetch_add(&alarms, 1, __ATOMIC_RELAXED);
}

/* It waits for nobody, and so no signal ends it. */
TEST_F(drop, under_signals)
{
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	struct sigaction act = { .sa_handler = on_alarm };
	int ret = 0;

	ASSERT_EQ(0, sigaction(SIGALRM, &act, NULL));
	__atomic_store_n(&alarms, 0, __ATOMIC_RELAXED);
	setitimer(ITIMER_REAL, &often, NULL);
	while (__atomic_load_n(&alarms, __ATOMIC_RELAXED) < 50) {
		ret = drop(self, 0, NR_BUFS);
		if (ret != (int)NR_BUFS)
			break;
		addr(self, 0)[0] = 1;
	}
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_EQ((int)NR_BUFS, ret);
}

/* Other pools have no such thing. */
TEST(not_of_others)
{
	static const __u32 flags[] = {
		0, FBUF_POOL_SECURED, FBUF_POOL_SNAPSHOT,
		FBUF_POOL_SECURED | FBUF_POOL_SIGBUS,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		struct pool pool;
		__u64 name;

		ASSERT_EQ(0, pool_make_flags(&pool, getpagesize(), 1, flags[i]));
		ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
		pool.map[0] = 1;
		EXPECT_EQ(-EOPNOTSUPP, pool_drop(pool.fd, &name, 1));
		EXPECT_EQ(1, pool.map[0]);
		EXPECT_EQ((__u64)getpagesize(), pool_resident(pool.fd));
		pool_unmake(&pool);
	}
}

/* Buffers of one page, and of two folios. */
TEST(of_any_size)
{
	const unsigned int sizes[] = { getpagesize(), FBUF_BUF_SIZE_MAX };
	struct fbuf_info info;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct pool pool;
		__u64 names[2];

		ASSERT_EQ(0, pool_make_flags(&pool, sizes[i], 2,
					     FBUF_POOL_LAZY));
		ASSERT_EQ(0, pool_info(pool.fd, &info));
		EXPECT_TRUE(info.features & FBUF_FEATURE_DROP);
		ASSERT_EQ(2, pool_alloc(pool.fd, names, 2));
		memset(pool.map, 1, pool.size);
		ASSERT_EQ(1, pool_drop(pool.fd, &names[1], 1));
		EXPECT_EQ((__u64)sizes[i], pool_resident(pool.fd));
		EXPECT_TRUE(is_all(buf_addr(&pool, names[0]), 1, sizes[i]));
		EXPECT_TRUE(is_all(buf_addr(&pool, names[1]), 0, sizes[i]));
		pool_unmake(&pool);
	}
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
