// SPDX-License-Identifier: GPL-2.0
/*
 * Waiting for buffers, and being told of them: the ring, poll(), ALLOC that
 * waits and WAIT.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		4U
#define NR_SMALL	8U

/* RING and its mapping. */
FIXTURE(setup)
{
	struct pool pool;
	struct fbuf_ring_setup arg;
};

FIXTURE_SETUP(setup)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	self->arg = (struct fbuf_ring_setup) {
		.size = sizeof(self->arg),
		.entries = 64,
	};
}

FIXTURE_TEARDOWN(setup)
{
	pool_unmake(&self->pool);
}

static int setup(struct _test_data_setup *self)
{
	int ret = ioctl(self->pool.fd, FBUF_IOC_RING, &self->arg);

	return ret < 0 ? -errno : ret;
}

TEST_F(setup, entries)
{
	static const __u32 bad[] = {
		0, 3, 5, 63, 100, FBUF_RING_MAX - 1, FBUF_RING_MAX + 1,
		2 * FBUF_RING_MAX, 1U << 31, 0xffffffff,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		self->arg.entries = bad[i];
		EXPECT_EQ(-EINVAL, setup(self))
			TH_LOG("%u entries", bad[i]);
	}
	/* None of these made one. */
	self->arg.entries = 1;
	EXPECT_EQ(0, setup(self));
}

TEST_F(setup, largest)
{
	struct ring r;
	__u32 i;

	ASSERT_EQ(0, ring_make(&r, self->pool.fd, 0, FBUF_RING_MAX, 0));
	EXPECT_LE(FBUF_RING_ENTRIES +
		  FBUF_RING_MAX * sizeof(struct fbuf_ring_entry), r.size);
	for (i = 0; i < FBUF_RING_MAX; i += 1024)
		EXPECT_EQ(0U, r.entries[i].type);
	ring_unmake(&r);
}

TEST_F(setup, only_once)
{
	EXPECT_EQ(0, setup(self));
	EXPECT_EQ(-EEXIST, setup(self));
	/* Another handle has its own. */
	self->pool.fd = pool_share(self->pool.fd, 0, 0, NULL);
	ASSERT_LE(0, self->pool.fd);
	EXPECT_EQ(0, setup(self));
}

TEST_F(setup, eventfd)
{
	int fd = open("/dev/null", O_RDWR);
	int event = eventfd(0, 0);

	ASSERT_LE(0, fd);
	ASSERT_LE(0, event);
	self->arg.eventfd = event;
	EXPECT_EQ(-EINVAL, setup(self));
	self->arg.flags = FBUF_RING_EVENTFD;
	self->arg.eventfd = -1;
	EXPECT_EQ(-EBADF, setup(self));
	self->arg.eventfd = 1 << 20;
	EXPECT_EQ(-EBADF, setup(self));
	self->arg.eventfd = fd;
	EXPECT_EQ(-EINVAL, setup(self));
	self->arg.eventfd = self->pool.fd;
	EXPECT_EQ(-EINVAL, setup(self));
	self->arg.eventfd = event;
	EXPECT_EQ(0, setup(self));
	close(event);
	close(fd);
}

TEST_F(setup, empty)
{
	struct ring r;

	ASSERT_EQ(0, ring_make(&r, self->pool.fd, 0, 64, 0));
	EXPECT_EQ(0U, r.head->tail);
	EXPECT_EQ(0U, r.head->head);
	EXPECT_EQ(63U, r.head->mask);
	EXPECT_EQ(0ULL, r.head->overflow);
	EXPECT_LE(FBUF_RING_ENTRIES + 64 * sizeof(struct fbuf_ring_entry),
		  r.size);
	ring_unmake(&r);
}

/* Who got the fd from another process asks how much there is to map. */
TEST_F(setup, size_by_info)
{
	struct fbuf_info info;

	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0ULL, info.ring_size);
	ASSERT_EQ(0, setup(self));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(self->arg.map_size, info.ring_size);
}

TEST_F(setup, mapping)
{
	size_t page = sysconf(_SC_PAGESIZE);
	int rw = PROT_READ | PROT_WRITE;
	int fd = self->pool.fd;
	size_t size;

	/* There is none yet. */
	EXPECT_EQ(-EINVAL, try_map(fd, page, rw, MAP_SHARED, FBUF_MMAP_RING));
	ASSERT_EQ(0, setup(self));
	size = self->arg.map_size;
	EXPECT_EQ(0U, size % page);
	EXPECT_EQ(0, try_map(fd, size, rw, MAP_SHARED, FBUF_MMAP_RING));
	/* As often as one likes. */
	EXPECT_EQ(0, try_map(fd, size, rw, MAP_SHARED, FBUF_MMAP_RING));
	EXPECT_EQ(-EINVAL, try_map(fd, size, rw, MAP_PRIVATE,
				   FBUF_MMAP_RING));
	EXPECT_EQ(-EINVAL, try_map(fd, size + page, rw, MAP_SHARED,
				   FBUF_MMAP_RING));
	EXPECT_EQ(-EPERM, try_map(fd, size, rw | PROT_EXEC, MAP_SHARED,
				  FBUF_MMAP_RING));
}

TEST_F(setup, mapping_cannot_change)
{
	struct ring r;

	ASSERT_EQ(0, ring_make(&r, self->pool.fd, 0, 64, 0));
	EXPECT_EQ(-1, mprotect(r.head, r.size, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(MAP_FAILED, mremap(r.head, r.size, r.size + 4096,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	ring_unmake(&r);
}

/* Not the pool's size, and not its rights. */
TEST_F(setup, whatever_the_rights)
{
	struct fbuf_ring_entry e;
	struct ring r;
	__u32 handle;
	__u64 name;
	int fd;

	fd = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, &handle);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&r, fd, FBUF_RING_ACCEPT, 4, 0));
	EXPECT_EQ(-EACCES, try_map(fd, BUF_SIZE, PROT_READ | PROT_WRITE,
				   MAP_SHARED, FBUF_MMAP_POOL));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	ASSERT_EQ(1, pool_pass_one(self->pool.fd, handle, name, 0));
	EXPECT_TRUE(ring_next(&r, &e));
	EXPECT_EQ(1U, r.head->head);
	ring_unmake(&r);
	close(fd);
}

/* The mapping keeps the handle. */
TEST_F(setup, mapping_after_close)
{
	struct fbuf_ring_entry e;
	struct ring r;
	__u32 handle;
	__u64 name;
	int fd;

	fd = pool_share(self->pool.fd, 0, 0, &handle);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&r, fd, FBUF_RING_ACCEPT, 4, 0));
	close(fd);
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	EXPECT_EQ(1, pool_pass_one(self->pool.fd, handle, name, 7));
	EXPECT_TRUE(ring_next(&r, &e));
	EXPECT_EQ(7ULL, e.data);
	ring_unmake(&r);
}

/* Notices of buffers that are idle again. */
FIXTURE(notice)
{
	struct pool pool;
	struct ring ring;
	__u64 names[NR_BUFS];
	int sock[2];
	__u8 *got;
};

FIXTURE_VARIANT(notice)
{
	int family;
	int type;
};

FIXTURE_VARIANT_ADD(notice, tcp)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(notice, udp)
{
	.family = AF_INET,
	.type = SOCK_DGRAM,
};

FIXTURE_VARIANT_ADD(notice, unix_stream)
{
	.family = AF_UNIX,
	.type = SOCK_STREAM,
};

FIXTURE_SETUP(notice)
{
	if (variant->family == AF_UNIX && unix_copies())
		SKIP(return, "copied before Linux 6.5");
	ASSERT_EQ(0, sock_pair(variant->family, variant->type, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, 0, 64, 0));
	self->got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(notice)
{
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	free(self->got);
}

static ssize_t notice_send(struct _test_data_notice *self, unsigned int buf)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[buf], 0,
				      BUF_SIZE);

	return pool_send(self->pool.fd, self->sock[0], &seg, 1,
			 FBUF_SEND_NOTIFY, 0, NULL);
}

static ssize_t notice_recv(struct _test_data_notice *self)
{
	return recv(self->sock[1], self->got, BUF_SIZE, MSG_WAITALL);
}

/* True if the next thing that the ring says is that this buffer is idle. */
static bool notice_of(struct _test_data_notice *self, unsigned int buf)
{
	struct fbuf_ring_entry e;

	return ring_wait(&self->ring, &e, DEADLINE_MS) &&
	       e.type == FBUF_RING_IDLE && e.name == self->names[buf] &&
	       !e.reserved;
}

TEST_F(notice, once_the_peer_has_read)
{
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 0));
	/* The kernel has had time to look. */
	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->pool.fd, self->names, 1, 50));
	EXPECT_EQ(0U, ring_len(&self->ring));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	EXPECT_TRUE(notice_of(self, 0));
	EXPECT_EQ(0U, ring_len(&self->ring));
	/* It is true. */
	EXPECT_EQ(1, pool_wait(self->pool.fd, self->names, 1, 0));
}

/* The second buffer's notice shows that there was no other before it. */
TEST_F(notice, one_though_sent_twice)
{
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->pool.fd, self->names, 1, 50));
	EXPECT_EQ(0U, ring_len(&self->ring));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	EXPECT_TRUE(notice_of(self, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 1));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	EXPECT_TRUE(notice_of(self, 1));
	EXPECT_EQ(0U, ring_len(&self->ring));
}

TEST_F(notice, again_when_sent_again)
{
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 2));
		ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
		EXPECT_TRUE(notice_of(self, 2));
	}
	EXPECT_EQ(0U, ring_len(&self->ring));
}

/* Who did not ask is not told. */
TEST_F(notice, only_if_asked_for)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[0], 0,
				      BUF_SIZE);

	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, self->sock[0],
					       &seg, 1, 0, 0, NULL));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 1));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	EXPECT_TRUE(notice_of(self, 1));
	EXPECT_EQ(1, pool_wait(self->pool.fd, self->names, 1, DEADLINE_MS));
	EXPECT_EQ(0U, ring_len(&self->ring));
}

TEST_F(notice, though_freed)
{
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 0));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(0U, ring_len(&self->ring));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	EXPECT_TRUE(notice_of(self, 0));
}

TEST_F(notice, of_each_buffer_of_a_gather)
{
	struct fbuf_seg seg[NR_BUFS];
	struct fbuf_ring_entry e;
	unsigned int i, j, found;

	for (i = 0; i < NR_BUFS; i++)
		seg[i] = buf_seg(&self->pool, self->names[i], 100 * i, 1000);
	ASSERT_EQ(1000 * (int)NR_BUFS,
		  pool_send(self->pool.fd, self->sock[0], seg, NR_BUFS,
			    FBUF_SEND_NOTIFY, 0, NULL));
	ASSERT_EQ(1000 * (int)NR_BUFS, recv(self->sock[1], self->got,
					    1000 * NR_BUFS, MSG_WAITALL));
	for (i = 0, found = 0; i < NR_BUFS; i++) {
		ASSERT_TRUE(ring_wait(&self->ring, &e, DEADLINE_MS));
		for (j = 0; j < NR_BUFS; j++)
			found |= (e.name == self->names[j]) << j;
	}
	EXPECT_EQ((1U << NR_BUFS) - 1, found);
	EXPECT_EQ(0U, ring_len(&self->ring));
}

/* One for whoever sent: to the handle, not to the pool. */
TEST_F(notice, to_the_handle_that_sent)
{
	struct ring r;
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&r, fd, FBUF_RING_ACCEPT, 8, 0));
	ASSERT_EQ(1, pool_hold(fd, self->names, 1));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	EXPECT_TRUE(notice_of(self, 0));
	EXPECT_EQ(0U, ring_len(&r));
	ring_unmake(&r);
	close(fd);
}

TEST_F(notice, not_if_the_send_failed)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[0], 0, 100);
	int other[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, other));
	shutdown(other[0], SHUT_WR);
	EXPECT_EQ(-EPIPE, pool_send(self->pool.fd, other[0], &seg, 1,
				    FBUF_SEND_NOTIFY, 0, NULL));
	EXPECT_EQ(-EBADF, pool_send(self->pool.fd, -1, &seg, 1,
				    FBUF_SEND_NOTIFY, 0, NULL));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 1));
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
	EXPECT_TRUE(notice_of(self, 1));
	EXPECT_EQ(0U, ring_len(&self->ring));
	close(other[0]);
	close(other[1]);
}

/* What was copied is never in flight. */
TEST_F(notice, of_a_copy)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[3], 0, 100);

	ASSERT_EQ(100, pool_send(self->pool.fd, self->sock[0], &seg, 1,
				 FBUF_SEND_NOTIFY, FBUF_ENGINE_COPY, NULL));
	EXPECT_TRUE(notice_of(self, 3));
}

TEST_F(notice, when_the_sockets_go)
{
	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 0));
	close(self->sock[1]);
	close(self->sock[0]);
	self->sock[0] = -1;
	self->sock[1] = -1;
	EXPECT_TRUE(notice_of(self, 0));
}

TEST_F(notice, to_a_poller)
{
	struct pollfd p = { .fd = self->pool.fd, .events = POLLIN };
	struct reader r;

	ASSERT_EQ((ssize_t)BUF_SIZE, notice_send(self, 0));
	EXPECT_EQ(0, poll(&p, 1, 50));
	if (variant->type == SOCK_DGRAM) {
		ASSERT_EQ((ssize_t)BUF_SIZE, notice_recv(self));
		EXPECT_EQ(1, poll(&p, 1, DEADLINE_MS));
	} else {
		ASSERT_EQ(0, reader_start(&r, self->sock[1], BUF_SIZE, -1));
		EXPECT_EQ(1, poll(&p, 1, DEADLINE_MS));
		reader_join(&r);
		free(r.data);
	}
	EXPECT_EQ(POLLIN, p.revents);
	EXPECT_EQ(1U, ring_len(&self->ring));
}

/* More notices than the ring has room for. */
FIXTURE(full)
{
	struct pool pool;
	struct ring ring;
	__u64 names[NR_SMALL];
	int sock[2];
	unsigned int seen;
};

FIXTURE_SETUP(full)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, getpagesize(), NR_SMALL));
	ASSERT_EQ((int)NR_SMALL, pool_alloc(self->pool.fd, self->names,
					    NR_SMALL));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, FBUF_RING_ACCEPT, 2,
			       0));
}

FIXTURE_TEARDOWN(full)
{
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

/* Sends all, and has them read. */
static int full_send_all(struct _test_data_full *self)
{
	struct fbuf_seg seg[NR_SMALL];
	char got[100 * NR_SMALL];
	unsigned int i;

	for (i = 0; i < NR_SMALL; i++)
		seg[i] = buf_seg(&self->pool, self->names[i], 0, 100);
	if (pool_send(self->pool.fd, self->sock[0], seg, NR_SMALL,
		      FBUF_SEND_NOTIFY, 0, NULL) != (ssize_t)sizeof(got))
		return -1;
	return read_full(self->sock[1], got, sizeof(got)) == sizeof(got) ?
	       0 : -1;
}

static __u64 full_overflow(struct _test_data_full *self)
{
	return __atomic_load_n(&self->ring.head->overflow, __ATOMIC_RELAXED);
}

/* Takes what is left, one by one: each buffer once, and then no more. */
static int full_consume(struct _test_data_full *self, unsigned int nr)
{
	struct fbuf_ring_entry e;
	unsigned int i, j, seen = 0;

	for (i = 0; i < nr; i++) {
		if (!ring_wait(&self->ring, &e, DEADLINE_MS))
			return -1;
		for (j = 0; j < NR_SMALL; j++) {
			if (e.name != self->names[j])
				continue;
			if (seen & 1U << j)
				return -2;
			seen |= 1U << j;
		}
	}
	return ring_len(&self->ring) ? -3 : __builtin_popcount(seen);
}

TEST_F(full, counted_and_not_lost)
{
	ASSERT_EQ(0, full_send_all(self));
	EXPECT_TRUE(wait_for(ring_len(&self->ring) == 2 &&
			     full_overflow(self), DEADLINE_MS));
	EXPECT_EQ(2U, ring_len(&self->ring));
	EXPECT_EQ((int)NR_SMALL, full_consume(self, NR_SMALL));
}

/* However often the kernel looks whether there is room. */
TEST_F(full, counted_once)
{
	ASSERT_EQ(0, full_send_all(self));
	EXPECT_TRUE(wait_for(full_overflow(self), DEADLINE_MS));
	EXPECT_FALSE(wait_for(full_overflow(self) != 1, 200));
	EXPECT_EQ((int)NR_SMALL, full_consume(self, NR_SMALL));
}

/* A notice has the name that was sent, also if the buffer has another by now. */
TEST_F(full, handed_out_again)
{
	struct fbuf_seg seg[NR_SMALL];
	__u64 again[NR_SMALL];
	unsigned int i;
	int fd;

	ASSERT_EQ(0, full_send_all(self));
	EXPECT_TRUE(wait_for(full_overflow(self), DEADLINE_MS));
	ASSERT_EQ((int)NR_SMALL, pool_free(self->pool.fd, self->names,
					   NR_SMALL));
	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ((int)NR_SMALL, pool_alloc(fd, again, NR_SMALL));
	/* The next holder's send is not what is waited for. */
	for (i = 0; i < NR_SMALL; i++)
		seg[i] = buf_seg(&self->pool, again[i], 0, 100);
	ASSERT_EQ(100 * (int)NR_SMALL, pool_send(fd, self->sock[0], seg,
						 NR_SMALL, 0, 0, NULL));
	EXPECT_EQ((int)NR_SMALL, full_consume(self, NR_SMALL));
	close(fd);
}

/* Those that wait in the kernel go with the handle. */
TEST_F(full, closed_meanwhile)
{
	ASSERT_EQ(0, full_send_all(self));
	EXPECT_TRUE(wait_for(full_overflow(self), DEADLINE_MS));
}

TEST_F(full, head_that_makes_no_sense)
{
	static const __u32 bad[] = { 1, 2, 1000, 1U << 31, ~0U - 2 };
	struct fbuf_info info;
	unsigned int i;
	__u32 second;
	__u64 name;
	int fd;

	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, &second);
	ASSERT_LE(0, fd);
	name = self->names[0];
	ASSERT_EQ(1, pool_hold(fd, &name, 1));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		__atomic_store_n(&self->ring.head->head, bad[i],
				 __ATOMIC_RELEASE);
		EXPECT_EQ(-EAGAIN, pool_pass_one(fd, pool_handle(self->pool.fd),
						 name, 0));
		EXPECT_EQ(0U, self->ring.head->tail);
	}
	ASSERT_EQ(0, full_send_all(self));
	EXPECT_TRUE(wait_for(full_overflow(self), DEADLINE_MS));
	EXPECT_EQ(0U, self->ring.head->tail);
	EXPECT_EQ(0, pool_info(self->pool.fd, &info));
	/* Once it makes sense, all are there. */
	__atomic_store_n(&self->ring.head->head, 0, __ATOMIC_RELEASE);
	EXPECT_EQ((int)NR_SMALL, full_consume(self, NR_SMALL));
	close(fd);
}

/* The kernel's part of the ring is not the user's to break. */
TEST_F(full, written_over)
{
	__u64 name = self->names[0];
	int fd;

	memset(self->ring.head, 0xff, self->ring.size);
	ASSERT_EQ(0, full_send_all(self));
	EXPECT_EQ(1, pool_wait(self->pool.fd, &name, 1, DEADLINE_MS));
	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pool_hold(fd, &name, 1));
	pool_pass_one(fd, pool_handle(self->pool.fd), name, 0);
	close(fd);
}

/* poll() and epoll. */
FIXTURE(poll)
{
	struct pool pool;
	struct ring ring;
	__u64 names[NR_BUFS];
	int other;	/* another handle */
	__u32 handle;	/* the pool's own */
	int sock[2];
	int epoll;
};

FIXTURE_SETUP(poll)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, FBUF_RING_ACCEPT, 8,
			       0));
	self->handle = pool_handle(self->pool.fd);
	self->other = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, self->other);
	self->epoll = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, self->epoll);
}

FIXTURE_TEARDOWN(poll)
{
	close(self->epoll);
	close(self->other);
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static int look(struct _test_data_poll *self, int ms)
{
	struct pollfd p = { .fd = self->pool.fd, .events = POLLIN | POLLOUT };
	int ret = poll(&p, 1, ms);

	return ret < 0 ? -errno : p.revents;
}

static int watch(struct _test_data_poll *self, __u32 events)
{
	struct epoll_event ev = { .events = events };

	return epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->pool.fd, &ev);
}

/* What epoll says within a time, 0 if nothing. */
static __u32 watched(struct _test_data_poll *self, int ms)
{
	struct epoll_event ev = { 0 };

	return epoll_wait(self->epoll, &ev, 1, ms) == 1 ? ev.events : 0;
}

/* All buffers are the other handle's, or in flight if wanted. */
static int take_all(struct _test_data_poll *self, bool flight)
{
	struct fbuf_seg seg[NR_BUFS];
	unsigned int i;

	if (pool_alloc(self->other, self->names, NR_BUFS) != (int)NR_BUFS)
		return -1;
	if (!flight)
		return 0;
	for (i = 0; i < NR_BUFS; i++)
		seg[i] = buf_seg(&self->pool, self->names[i], 0, 100);
	if (pool_send(self->other, self->sock[0], seg, NR_BUFS, 0, 0, NULL) !=
	    100 * NR_BUFS)
		return -1;
	return pool_free(self->other, self->names, NR_BUFS) == (int)NR_BUFS ?
	       0 : -1;
}

TEST_F(poll, writable_while_a_buffer_is_to_be_had)
{
	EXPECT_EQ(POLLOUT, look(self, 0));
	ASSERT_EQ(0, take_all(self, false));
	EXPECT_EQ(0, look(self, 0));
	ASSERT_EQ(1, pool_free(self->other, self->names, 1));
	EXPECT_EQ(POLLOUT, look(self, 0));
	/* For as long as it is so. */
	EXPECT_EQ(POLLOUT, look(self, DEADLINE_MS));
	ASSERT_EQ(1, pool_alloc(self->other, self->names, 1));
	EXPECT_EQ(0, look(self, 0));
}

TEST_F(poll, not_writable_while_in_flight)
{
	struct reader r;

	ASSERT_EQ(0, take_all(self, true));
	EXPECT_EQ(0, look(self, 0));
	EXPECT_EQ(0, look(self, 50));
	ASSERT_EQ(0, reader_start(&r, self->sock[1], 100 * NR_BUFS, -1));
	EXPECT_EQ(POLLOUT, look(self, DEADLINE_MS));
	reader_join(&r);
	free(r.data);
}

/* There are buffers, but not for this handle. */
TEST_F(poll, not_writable_without_the_right)
{
	struct pollfd p = { .events = POLLIN | POLLOUT };

	p.fd = pool_share(self->pool.fd, FBUF_RIGHT_READ | FBUF_RIGHT_SEND, 0,
			  NULL);
	ASSERT_LE(0, p.fd);
	EXPECT_EQ(0, poll(&p, 1, 0));
	close(p.fd);
}

TEST_F(poll, not_writable_at_max_holds)
{
	struct pollfd p = { .events = POLLIN | POLLOUT };

	p.fd = pool_share(self->pool.fd, ALL_RIGHTS, 1, NULL);
	ASSERT_LE(0, p.fd);
	EXPECT_EQ(1, poll(&p, 1, 0));
	ASSERT_EQ(1, pool_alloc(p.fd, self->names, 1));
	EXPECT_EQ(0, poll(&p, 1, 0));
	ASSERT_EQ(1, pool_free(p.fd, self->names, 1));
	EXPECT_EQ(1, poll(&p, 1, 0));
	EXPECT_EQ(POLLOUT, p.revents);
	close(p.fd);
}

TEST_F(poll, readable_while_there_are_entries)
{
	struct fbuf_ring_entry e;
	int i;

	ASSERT_EQ(0, take_all(self, false));
	EXPECT_EQ(0, look(self, 0));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(1, pool_pass_one(self->other, self->handle,
					   self->names[i], 0));
	EXPECT_EQ(POLLIN, look(self, 0));
	EXPECT_EQ(POLLIN, look(self, DEADLINE_MS));
	ASSERT_TRUE(ring_next(&self->ring, &e));
	EXPECT_EQ(POLLIN, look(self, 0));
	ASSERT_TRUE(ring_next(&self->ring, &e));
	EXPECT_EQ(0, look(self, 0));
}

/* Another process frees or passes a buffer to who sleeps in poll(). */
static pid_t other_process(struct _test_data_poll *self, bool passes)
{
	pid_t self_pid = getpid();
	pid_t pid = fork();

	if (pid)
		return pid;
	if (wait_asleep(self_pid, self_pid, DEADLINE_MS))
		_exit(1);
	if (passes)
		_exit(pool_pass_one(self->other, self->handle, self->names[0],
				    0) != 1);
	_exit(pool_free(self->other, self->names, 1) != 1);
}

TEST_F(poll, woken_by_free)
{
	pid_t pid;

	ASSERT_EQ(0, take_all(self, false));
	pid = other_process(self, false);
	ASSERT_LT(0, pid);
	EXPECT_EQ(POLLOUT, look(self, DEADLINE_MS));
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(poll, woken_by_pass)
{
	pid_t pid;

	ASSERT_EQ(0, take_all(self, false));
	pid = other_process(self, true);
	ASSERT_LT(0, pid);
	EXPECT_EQ(POLLIN, look(self, DEADLINE_MS));
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(poll, woken_by_death)
{
	int fd = self->other;
	pid_t pid, parent = getpid();

	ASSERT_EQ(0, take_all(self, false));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* The only one that still has the other handle. */
		wait_asleep(parent, parent, DEADLINE_MS);
		_exit(0);
	}
	close(fd);
	self->other = -1;
	EXPECT_EQ(POLLOUT, look(self, DEADLINE_MS));
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(poll, level_triggered)
{
	struct fbuf_ring_entry e;

	ASSERT_EQ(0, take_all(self, false));
	ASSERT_EQ(0, watch(self, EPOLLIN | EPOLLOUT));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(1, pool_pass_one(self->other, self->handle, self->names[0],
				   0));
	EXPECT_EQ((__u32)EPOLLIN, watched(self, DEADLINE_MS));
	EXPECT_EQ((__u32)EPOLLIN, watched(self, DEADLINE_MS));
	ASSERT_TRUE(ring_next(&self->ring, &e));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(1, pool_free(self->other, &self->names[1], 1));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
}

TEST_F(poll, edge_triggered)
{
	ASSERT_EQ(0, take_all(self, false));
	ASSERT_EQ(0, watch(self, EPOLLIN | EPOLLET));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(1, pool_pass_one(self->other, self->handle, self->names[0],
				   0));
	EXPECT_EQ((__u32)EPOLLIN, watched(self, DEADLINE_MS));
	/* Nothing new, though nothing was consumed. */
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(1, pool_pass_one(self->other, self->handle, self->names[1],
				   0));
	EXPECT_EQ((__u32)EPOLLIN, watched(self, DEADLINE_MS));
}

TEST_F(poll, edge_triggered_out)
{
	long end = now_ms() + DEADLINE_MS;
	struct reader r;

	ASSERT_EQ(0, take_all(self, true));
	ASSERT_EQ(0, watch(self, EPOLLOUT | EPOLLET));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(0, reader_start(&r, self->sock[1], 100 * NR_BUFS, -1));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
	reader_join(&r);
	free(r.data);
	/* Taken and freed: an edge again. */
	EXPECT_EQ(0, pool_wait_idle(self->other, NR_BUFS, DEADLINE_MS));
	while (watched(self, 0) && time_left(end))
		;
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->other, self->names, NR_BUFS));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(1, pool_free(self->other, self->names, 1));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
}

/* All are held when the wait begins, and in flight when they are freed. */
TEST_F(poll, freed_in_flight)
{
	struct fbuf_seg seg[NR_BUFS];
	char got[100 * NR_BUFS];
	unsigned int i;

	ASSERT_EQ(0, take_all(self, false));
	for (i = 0; i < NR_BUFS; i++)
		seg[i] = buf_seg(&self->pool, self->names[i], 0, 100);
	ASSERT_EQ((ssize_t)sizeof(got), pool_send(self->other, self->sock[0],
						  seg, NR_BUFS, 0, 0, NULL));
	ASSERT_EQ(0, watch(self, EPOLLOUT | EPOLLET));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->other, self->names, NR_BUFS));
	ASSERT_EQ((ssize_t)sizeof(got), read_full(self->sock[1], got,
						  sizeof(got)));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
}

/* Takes what there is: one. Until EAGAIN, or until fewer than asked for. */
static int take_in_turn(struct _test_data_poll *self, bool until_eagain)
{
	__u64 names[NR_BUFS];
	int ret = pool_alloc(self->pool.fd, names, NR_BUFS);

	if (ret != 1 || !until_eagain)
		return ret;
	ret = pool_alloc(self->pool.fd, names, NR_BUFS - 1);
	return ret == -EAGAIN ? 1 : -1;
}

static void in_turn(struct __test_metadata *const _metadata,
		    struct _test_data_poll *self, bool until_eagain)
{
	struct fbuf_seg seg[NR_BUFS];
	char got[100 * NR_BUFS];
	unsigned int i;
	int sock[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->other, self->names, NR_BUFS));
	for (i = 0; i < NR_BUFS; i++)
		seg[i] = buf_seg(&self->pool, self->names[i], 0, 100);
	ASSERT_EQ(100, pool_send(self->other, sock[0], seg, 1, 0, 0, NULL));
	ASSERT_EQ(100 * (int)(NR_BUFS - 1),
		  pool_send(self->other, self->sock[0], seg + 1, NR_BUFS - 1, 0,
			    0, NULL));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->other, self->names, NR_BUFS));

	ASSERT_EQ(0, watch(self, EPOLLOUT | EPOLLET));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(100, read_full(sock[1], got, 100));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
	EXPECT_EQ(1, take_in_turn(self, until_eagain));
	EXPECT_EQ(0U, watched(self, 50));
	ASSERT_EQ(100 * (int)(NR_BUFS - 1),
		  read_full(self->sock[1], got, 100 * (NR_BUFS - 1)));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
	close(sock[0]);
	close(sock[1]);
}

/* Who took all that there was hears of what comes back later. */
TEST_F(poll, edge_triggered_out_after_eagain)
{
	in_turn(_metadata, self, true);
}

TEST_F(poll, edge_triggered_out_after_fewer)
{
	in_turn(_metadata, self, false);
}

static int rewatch(struct _test_data_poll *self, __u32 events)
{
	struct epoll_event ev = { .events = events };

	return epoll_ctl(self->epoll, EPOLL_CTL_MOD, self->pool.fd, &ev);
}

/*
 * As event loops do: they ask for EPOLLOUT once they need a buffer, by MOD, which
 * polls again, but registers with nothing.
 */
static void armed_later(struct __test_metadata *const _metadata,
			struct _test_data_poll *self, __u32 mode, bool flight)
{
	char got[100 * NR_BUFS];

	ASSERT_EQ(0, watch(self, EPOLLIN | mode));
	ASSERT_EQ(0, take_all(self, flight));
	ASSERT_EQ(0, rewatch(self, EPOLLIN | EPOLLOUT | mode));
	EXPECT_EQ(0U, watched(self, 0));
	if (flight) {
		ASSERT_EQ((ssize_t)sizeof(got),
			  read_full(self->sock[1], got, sizeof(got)));
	} else {
		ASSERT_EQ(1, pool_free(self->other, self->names, 1));
	}
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
}

TEST_F(poll, armed_later_level)
{
	armed_later(_metadata, self, 0, false);
	/* For as long as it is so, and no longer. */
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, self->names, NR_BUFS));
	EXPECT_EQ(0U, watched(self, 0));
	/* Disarmed, and armed again. */
	ASSERT_EQ(0, rewatch(self, EPOLLIN));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(0U, watched(self, 50));
	ASSERT_EQ(0, rewatch(self, EPOLLIN | EPOLLOUT));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
}

TEST_F(poll, armed_later_level_in_flight)
{
	armed_later(_metadata, self, 0, true);
}

TEST_F(poll, armed_later_edge)
{
	__u64 name;

	armed_later(_metadata, self, EPOLLET, false);
	EXPECT_EQ(0U, watched(self, 50));
	/* Fewer than asked for: whatever comes is an edge. */
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	ASSERT_EQ(-ENOBUFS, pool_alloc(self->pool.fd, &name, 1));
	ASSERT_EQ(1, pool_free(self->other, &self->names[1], 1));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
}

TEST_F(poll, armed_later_edge_in_flight)
{
	armed_later(_metadata, self, EPOLLET, true);
}

TEST_F(poll, armed_later_once)
{
	__u64 name;

	armed_later(_metadata, self, EPOLLONESHOT, false);
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	ASSERT_EQ(1, pool_free(self->other, &self->names[1], 1));
	EXPECT_EQ(0U, watched(self, 50));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	ASSERT_EQ(0, rewatch(self, EPOLLOUT | EPOLLONESHOT));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(1, pool_free(self->other, &self->names[2], 1));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
}

TEST_F(poll, armed_later_once_in_flight)
{
	armed_later(_metadata, self, EPOLLONESHOT, true);
}

/* What keeps it from a buffer is its own limit: its own FREE is the edge. */
TEST_F(poll, edge_triggered_at_max_holds)
{
	struct epoll_event ev = { .events = EPOLLOUT | EPOLLET };
	__u64 name;
	int fd;

	fd = pool_share(self->pool.fd, ALL_RIGHTS, 1, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, epoll_ctl(self->epoll, EPOLL_CTL_ADD, fd, &ev));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
	ASSERT_EQ(1, pool_alloc(fd, &name, 1));
	ASSERT_EQ(-EDQUOT, pool_alloc(fd, self->names, 1));
	EXPECT_EQ(0U, watched(self, 0));
	ASSERT_EQ(1, pool_free(fd, &name, 1));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
	close(fd);
}

/* Of several that wait, each is told, though one buffer is all there is. */
TEST_F(poll, each_of_two_exclusive)
{
	struct epoll_event ev = { .events = EPOLLOUT | EPOLLEXCLUSIVE };
	int second = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_LE(0, second);
	ASSERT_EQ(0, take_all(self, false));
	ASSERT_EQ(0, watch(self, ev.events));
	ASSERT_EQ(0, epoll_ctl(second, EPOLL_CTL_ADD, self->pool.fd, &ev));
	EXPECT_EQ(0U, watched(self, 0));
	EXPECT_EQ(0, epoll_wait(second, &ev, 1, 0));
	ASSERT_EQ(1, pool_free(self->other, &self->names[0], 1));
	ASSERT_EQ(1, pool_free(self->other, &self->names[1], 1));
	EXPECT_EQ((__u32)EPOLLOUT, watched(self, DEADLINE_MS));
	EXPECT_EQ(1, epoll_wait(second, &ev, 1, DEADLINE_MS));
	close(second);
}

TEST_F(poll, eventfd)
{
	int event = eventfd(0, EFD_NONBLOCK);
	struct pollfd p = { .fd = event, .events = POLLIN };
	struct fbuf_item item = { 0 };
	eventfd_t count;
	struct ring r;
	__u32 to;
	int fd;

	ASSERT_LE(0, event);
	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, &to);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&r, fd, FBUF_RING_ACCEPT | FBUF_RING_EVENTFD, 8,
			       event));
	ASSERT_EQ(0, take_all(self, false));
	EXPECT_EQ(0, poll(&p, 1, 0));
	item.name = self->names[0];
	ASSERT_EQ(1, pool_pass(self->other, to, 0, &item, 1));
	EXPECT_EQ(1, poll(&p, 1, DEADLINE_MS));
	EXPECT_EQ(0, eventfd_read(event, &count));
	EXPECT_LE(1U, count);
	EXPECT_EQ(0, poll(&p, 1, 0));
	ring_unmake(&r);
	close(fd);
	close(event);
}

TEST_F(poll, eventfd_of_a_notice)
{
	struct fbuf_seg seg;
	int event = eventfd(0, EFD_NONBLOCK);
	struct pollfd p = { .fd = event, .events = POLLIN };
	struct ring r;
	char got[100];
	int fd;

	ASSERT_LE(0, event);
	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&r, fd, FBUF_RING_EVENTFD, 8, event));
	/* The ring keeps it. */
	ASSERT_EQ(1, pool_alloc(fd, self->names, 1));
	seg = buf_seg(&self->pool, self->names[0], 0, 100);
	ASSERT_EQ(100, pool_send(fd, self->sock[0], &seg, 1, FBUF_SEND_NOTIFY,
				 0, NULL));
	EXPECT_EQ(0, poll(&p, 1, 50));
	ASSERT_EQ(100, read_full(self->sock[1], got, sizeof(got)));
	EXPECT_EQ(1, poll(&p, 1, DEADLINE_MS));
	EXPECT_EQ(1U, ring_len(&r));
	ring_unmake(&r);
	close(fd);
	close(event);
}

/* Calls that wait. */
static int nr_signals;

static void count_signal(int sig)
{
	__atomic_add_fetch(&nr_signals, 1, __ATOMIC_SEQ_CST);
}

static int signals(void)
{
	return __atomic_load_n(&nr_signals, __ATOMIC_SEQ_CST);
}

/* A thread in such a call. */
struct waiter {
	pthread_t thread;
	pid_t tid;
	int fd;
	unsigned long cmd;
	__u64 *names;
	unsigned int count;
	__u32 flags;
	int timeout;
	int ret;
	long took;
};

static void *waiter_run(void *arg)
{
	struct waiter *w = arg;
	long start = now_ms();

	__atomic_store_n(&w->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	w->ret = pool_batch(w->fd, w->cmd, w->names, w->count, w->flags,
			    w->timeout);
	w->took = now_ms() - start;
	return NULL;
}

/* Returns once it waits. */
static int waiter_start(struct waiter *w)
{
	w->tid = 0;
	if (pthread_create(&w->thread, NULL, waiter_run, w))
		return -EAGAIN;
	if (!wait_for(__atomic_load_n(&w->tid, __ATOMIC_ACQUIRE), DEADLINE_MS))
		return -ETIMEDOUT;
	return wait_asleep(getpid(), w->tid, DEADLINE_MS);
}

static int waiter_join(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	return w->ret;
}

FIXTURE(wait)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	__u64 more[NR_BUFS];
	int sock[2];
	struct waiter alloc;	/* for one buffer more */
	struct waiter wait;	/* for those that are held */
};

FIXTURE_SETUP(wait)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	self->alloc = (struct waiter) {
		.fd = self->pool.fd,
		.cmd = FBUF_IOC_ALLOC,
		.names = self->more,
		.count = 1,
		.flags = FBUF_ALLOC_WAIT,
		.timeout = DEADLINE_MS,
	};
	self->wait = (struct waiter) {
		.fd = self->pool.fd,
		.cmd = FBUF_IOC_WAIT,
		.names = self->names,
		.count = NR_BUFS,
		.timeout = DEADLINE_MS,
	};
}

FIXTURE_TEARDOWN(wait)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

static ssize_t wait_send(struct _test_data_wait *self, unsigned int first,
			 unsigned int nr)
{
	struct fbuf_seg seg[NR_BUFS];
	unsigned int i;

	for (i = 0; i < nr; i++)
		seg[i] = buf_seg(&self->pool, self->names[first + i], 0, 100);
	return pool_send(self->pool.fd, self->sock[0], seg, nr, 0, 0, NULL);
}

static ssize_t wait_recv(struct _test_data_wait *self, unsigned int nr)
{
	char got[100 * NR_BUFS];

	return read_full(self->sock[1], got, 100 * nr);
}

static unsigned int wait_held(struct _test_data_wait *self)
{
	struct fbuf_info info;

	return pool_info(self->pool.fd, &info) ? ~0U : info.nr_held;
}

TEST_F(wait, alloc_times_out)
{
	self->alloc.timeout = 200;
	waiter_run(&self->alloc);
	EXPECT_EQ(-ETIMEDOUT, self->alloc.ret);
	EXPECT_LE(199, self->alloc.took);
	EXPECT_GT(DEADLINE_MS, self->alloc.took);
	EXPECT_EQ(NR_BUFS, wait_held(self));
}

TEST_F(wait, alloc_times_out_for_one_in_flight)
{
	ASSERT_EQ(100, wait_send(self, 0, 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	self->alloc.timeout = 200;
	waiter_run(&self->alloc);
	EXPECT_EQ(-ETIMEDOUT, self->alloc.ret);
	EXPECT_LE(199, self->alloc.took);
}

TEST_F(wait, alloc_woken_by_another_process)
{
	pid_t pid, parent = getpid();
	int fd;

	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pool_hold(fd, self->names, 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (wait_asleep(parent, parent, DEADLINE_MS))
			_exit(2);
		_exit(pool_free(fd, self->names, 1) != 1);
	}
	self->alloc.timeout = -1;
	waiter_run(&self->alloc);
	EXPECT_EQ(1, self->alloc.ret);
	EXPECT_EQ(FBUF_NAME_INDEX(self->names[0]),
		  FBUF_NAME_INDEX(self->more[0]));
	EXPECT_EQ(0, child_status(pid));
	close(fd);
}

/* One that waits from when another has the last buffer. */
static void *late_alloc(void *arg)
{
	struct _test_data_wait *self = arg;

	__atomic_store_n(&self->wait.tid, 1, __ATOMIC_RELEASE);
	while (wait_held(self) != NR_BUFS &&
	       __atomic_load_n(&self->wait.tid, __ATOMIC_ACQUIRE))
		sched_yield();
	return waiter_run(&self->alloc);
}

/*
 * The other one's ALLOC cannot tell what it got, and that takes a moment, as it is
 * to be written to a buffer in flight: who waits gets it.
 */
TEST_F(wait, alloc_woken_by_one_that_failed)
{
	struct fbuf_seg seg;
	struct pool full;
	__u64 name;
	int i, sock[2];

	ASSERT_EQ(0, page_pair(sock));
	ASSERT_EQ(0, pool_make_flags(&full, BUF_SIZE, 1, FBUF_POOL_SECURED));
	ASSERT_EQ(1, pool_alloc(full.fd, &name, 1));
	seg = buf_seg(&full, name, 0, 1);
	ASSERT_EQ(1, pool_send(full.fd, sock[0], &seg, 1, 0, 0, NULL));
	self->alloc.timeout = 4000;
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
		ASSERT_EQ(0, pthread_create(&self->alloc.thread, NULL,
					    late_alloc, self));
		ASSERT_TRUE(wait_for(__atomic_load_n(&self->wait.tid,
						     __ATOMIC_ACQUIRE),
				     DEADLINE_MS));
		EXPECT_EQ(-EFAULT, pool_alloc(self->pool.fd, (void *)full.map,
					      1));
		/* If that was too short for it to see, there it is. */
		__atomic_store_n(&self->wait.tid, 0, __ATOMIC_RELEASE);
		ASSERT_EQ(1, waiter_join(&self->alloc));
		/* Not when it looked for the last time. */
		ASSERT_GT(3000, self->alloc.took);
		self->names[0] = self->more[0];
	}
	pool_unmake(&full);
	close(sock[0]);
	close(sock[1]);
}

TEST_F(wait, alloc_woken_by_a_reader)
{
	ASSERT_EQ(100, wait_send(self, 0, 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(0, waiter_start(&self->alloc));
	ASSERT_EQ(100, wait_recv(self, 1));
	EXPECT_EQ(1, waiter_join(&self->alloc));
}

/* It takes what there is, and does not wait for the rest. */
TEST_F(wait, alloc_of_several)
{
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	self->alloc.count = NR_BUFS;
	waiter_run(&self->alloc);
	EXPECT_EQ(2, self->alloc.ret);
}

TEST_F(wait, alloc_all)
{
	self->alloc.flags |= FBUF_ALLOC_ALL;
	self->alloc.count = 3;
	ASSERT_EQ(100, wait_send(self, 0, 1));
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	ASSERT_EQ(0, waiter_start(&self->alloc));
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[2], 1));
	/* One that is held, three free, one of which is in flight. */
	ASSERT_EQ(0, wait_asleep(getpid(), self->alloc.tid, DEADLINE_MS));
	ASSERT_EQ(100, wait_recv(self, 1));
	EXPECT_EQ(3, waiter_join(&self->alloc));
	EXPECT_EQ(NR_BUFS, wait_held(self));
}

/* In vain: and holds none of them. */
TEST_F(wait, alloc_all_or_none)
{
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	self->alloc.flags |= FBUF_ALLOC_ALL;
	self->alloc.count = 3;
	self->alloc.timeout = 100;
	waiter_run(&self->alloc);
	EXPECT_EQ(-ETIMEDOUT, self->alloc.ret);
	EXPECT_EQ(2U, wait_held(self));
}

TEST_F(wait, alloc_all_without_waiting)
{
	ASSERT_EQ(100, wait_send(self, 0, 1));
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	EXPECT_EQ(-EAGAIN, pool_batch(self->pool.fd, FBUF_IOC_ALLOC, self->more,
				      2, FBUF_ALLOC_ALL, 0));
	EXPECT_EQ(2U, wait_held(self));
}

/* Whoever holds the rest may be the caller: that would be to wait for ever. */
TEST_F(wait, alloc_unheld)
{
	self->alloc.flags |= FBUF_ALLOC_UNHELD;
	self->alloc.timeout = -1;
	waiter_run(&self->alloc);
	EXPECT_EQ(-ENOBUFS, self->alloc.ret);
	/* One in flight is waited for, though. */
	ASSERT_EQ(100, wait_send(self, 0, 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(0, waiter_start(&self->alloc));
	ASSERT_EQ(100, wait_recv(self, 1));
	EXPECT_EQ(1, waiter_join(&self->alloc));
}

TEST_F(wait, alloc_all_unheld)
{
	self->alloc.flags |= FBUF_ALLOC_UNHELD | FBUF_ALLOC_ALL;
	self->alloc.timeout = -1;
	self->alloc.count = 2;
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	waiter_run(&self->alloc);
	EXPECT_EQ(-ENOBUFS, self->alloc.ret);
	EXPECT_EQ(NR_BUFS - 1, wait_held(self));
	/* It means nothing to a call that does not wait. */
	EXPECT_EQ(-EINVAL, pool_batch(self->pool.fd, FBUF_IOC_ALLOC, self->more,
				      1, FBUF_ALLOC_UNHELD, 0));
}

TEST_F(wait, idle_at_once)
{
	EXPECT_EQ((int)NR_BUFS, pool_wait(self->pool.fd, self->names, NR_BUFS,
					  0));
	EXPECT_EQ((int)NR_BUFS, pool_wait(self->pool.fd, self->names, NR_BUFS,
					  -1));
	EXPECT_EQ((int)NR_BUFS, pool_batch(self->pool.fd, FBUF_IOC_WAIT,
					   self->names, NR_BUFS, FBUF_WAIT_ANY,
					   -1));
}

TEST_F(wait, wait_times_out)
{
	ASSERT_EQ(100, wait_send(self, 0, 1));
	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->pool.fd, self->names, 1, 0));
	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->pool.fd, self->names, NR_BUFS,
					0));
	self->wait.timeout = 200;
	waiter_run(&self->wait);
	EXPECT_EQ(-ETIMEDOUT, self->wait.ret);
	EXPECT_LE(199, self->wait.took);
	EXPECT_GT(DEADLINE_MS, self->wait.took);
}

TEST_F(wait, wait_for_all)
{
	ASSERT_EQ(200, wait_send(self, 0, 2));
	ASSERT_EQ(200, wait_send(self, 2, 2));
	ASSERT_EQ(0, waiter_start(&self->wait));
	ASSERT_EQ(200, wait_recv(self, 2));
	ASSERT_EQ(0, wait_asleep(getpid(), self->wait.tid, DEADLINE_MS));
	ASSERT_EQ(200, wait_recv(self, 2));
	EXPECT_EQ((int)NR_BUFS, waiter_join(&self->wait));
}

TEST_F(wait, wait_for_any)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[2], 0, 100);
	int other[2];
	char got[100];

	/* Two sockets: one would make one packet of it all. */
	ASSERT_EQ(0, tcp_pair(AF_INET, other));
	ASSERT_EQ(200, wait_send(self, 0, 2));
	ASSERT_EQ(100, pool_send(self->pool.fd, other[0], &seg, 1, 0, 0, NULL));
	self->wait.count = 3;
	EXPECT_EQ(-ETIMEDOUT, pool_batch(self->pool.fd, FBUF_IOC_WAIT,
					 self->names, 3, FBUF_WAIT_ANY, 0));
	self->wait.flags = FBUF_WAIT_ANY;
	ASSERT_EQ(0, waiter_start(&self->wait));
	ASSERT_EQ(100, read_full(other[1], got, 100));
	EXPECT_EQ(1, waiter_join(&self->wait));
	ASSERT_EQ(200, wait_recv(self, 2));
	close(other[0]);
	close(other[1]);
}

TEST_F(wait, wait_for_any_counts)
{
	ASSERT_EQ(100, wait_send(self, 0, 1));
	EXPECT_EQ((int)NR_BUFS - 1, pool_batch(self->pool.fd, FBUF_IOC_WAIT,
					       self->names, NR_BUFS,
					       FBUF_WAIT_ANY, 0));
}

TEST_F(wait, wait_without_a_hold)
{
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-ESTALE, pool_wait(fd, self->names, 1, 0));
	ASSERT_EQ(1, pool_hold(fd, self->names, 1));
	EXPECT_EQ(1, pool_wait(fd, self->names, 1, 0));
	EXPECT_EQ(-ESTALE, pool_wait(fd, self->names, 2, -1));
	close(fd);
}

TEST_F(wait, hold_dropped_meanwhile)
{
	ASSERT_EQ(100, wait_send(self, 0, 1));
	self->wait.timeout = -1;
	ASSERT_EQ(0, waiter_start(&self->wait));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(-ESTALE, waiter_join(&self->wait));
}

/* The descriptor is closed: the call keeps the handle, and can be ended. */
TEST_F(wait, closed_meanwhile)
{
	struct sigaction act = { .sa_handler = count_signal };

	ASSERT_EQ(0, sigaction(SIGUSR1, &act, NULL));
	ASSERT_EQ(0, waiter_start(&self->alloc));
	pool_unmake(&self->pool);
	ASSERT_EQ(0, pthread_kill(self->alloc.thread, SIGUSR1));
	EXPECT_EQ(-EINTR, waiter_join(&self->alloc));
}

static int signalled(struct waiter *w, int timeout, int flags)
{
	struct sigaction act = {
		.sa_handler = count_signal,
		.sa_flags = flags,
	};
	int before = signals();

	w->timeout = timeout;
	if (sigaction(SIGUSR1, &act, NULL) || waiter_start(w) ||
	    pthread_kill(w->thread, SIGUSR1))
		return -1;
	return wait_for(signals() > before, DEADLINE_MS) ? 0 : -1;
}

TEST_F(wait, alloc_interrupted)
{
	ASSERT_EQ(0, signalled(&self->alloc, DEADLINE_MS, 0));
	EXPECT_EQ(-EINTR, waiter_join(&self->alloc));
	ASSERT_EQ(0, signalled(&self->alloc, -1, 0));
	EXPECT_EQ(-EINTR, waiter_join(&self->alloc));
	/* What is left of the time cannot be told to a call that restarts. */
	ASSERT_EQ(0, signalled(&self->alloc, DEADLINE_MS, SA_RESTART));
	EXPECT_EQ(-EINTR, waiter_join(&self->alloc));
	EXPECT_EQ(NR_BUFS, wait_held(self));
}

TEST_F(wait, alloc_restarts)
{
	ASSERT_EQ(0, signalled(&self->alloc, -1, SA_RESTART));
	ASSERT_EQ(0, wait_asleep(getpid(), self->alloc.tid, DEADLINE_MS));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(1, waiter_join(&self->alloc));
}

TEST_F(wait, wait_interrupted)
{
	ASSERT_EQ(100, wait_send(self, 0, 1));
	ASSERT_EQ(0, signalled(&self->wait, DEADLINE_MS, 0));
	EXPECT_EQ(-EINTR, waiter_join(&self->wait));
	ASSERT_EQ(0, signalled(&self->wait, -1, 0));
	EXPECT_EQ(-EINTR, waiter_join(&self->wait));
	ASSERT_EQ(0, signalled(&self->wait, DEADLINE_MS, SA_RESTART));
	EXPECT_EQ(-EINTR, waiter_join(&self->wait));
}

TEST_F(wait, wait_restarts)
{
	ASSERT_EQ(100, wait_send(self, 0, 1));
	ASSERT_EQ(0, signalled(&self->wait, -1, SA_RESTART));
	ASSERT_EQ(0, wait_asleep(getpid(), self->wait.tid, DEADLINE_MS));
	ASSERT_EQ(100, wait_recv(self, 1));
	EXPECT_EQ((int)NR_BUFS, waiter_join(&self->wait));
}

/* How soon: the peer reads all, on another CPU, while the sender waits. */
#define PROMPT_SIZE	65536U
#define PROMPT_ROUNDS	21

FIXTURE(prompt)
{
	struct pool pool;
	struct ring ring;
	int event;
	int sock[2];
	__u64 name;
	pthread_t thread;
	pid_t tid;	/* of the one that waits */
	sem_t start;
	sem_t done;
	__s64 read_from;	/* before that it cannot be idle */
	__s64 read_at;
	bool failed;
	__s64 late[PROMPT_ROUNDS];
};

FIXTURE_VARIANT(prompt)
{
	int family;
	bool free;	/* the buffer is freed before the wait */
	int (*wait)(struct _test_data_prompt *self);
};

static int prompt_wait(struct _test_data_prompt *self)
{
	return pool_wait(self->pool.fd, &self->name, 1, DEADLINE_MS) == 1 ?
	       0 : -1;
}

static int prompt_alloc(struct _test_data_prompt *self)
{
	return pool_batch(self->pool.fd, FBUF_IOC_ALLOC, &self->name, 1,
			  FBUF_ALLOC_WAIT, DEADLINE_MS) == 1 ? 0 : -1;
}

static int prompt_poll(struct _test_data_prompt *self)
{
	struct pollfd p = { .fd = self->pool.fd, .events = POLLOUT };

	return poll(&p, 1, DEADLINE_MS) == 1 ? 0 : -1;
}

static int prompt_event(struct _test_data_prompt *self)
{
	struct fbuf_ring_entry e;
	eventfd_t count;

	if (eventfd_read(self->event, &count))
		return -1;
	return ring_next(&self->ring, &e) ? 0 : -1;
}

FIXTURE_VARIANT_ADD(prompt, tcp_wait)
{
	.family = AF_INET,
	.wait = prompt_wait,
};

FIXTURE_VARIANT_ADD(prompt, tcp_alloc)
{
	.family = AF_INET,
	.free = true,
	.wait = prompt_alloc,
};

FIXTURE_VARIANT_ADD(prompt, tcp_poll)
{
	.family = AF_INET,
	.free = true,
	.wait = prompt_poll,
};

FIXTURE_VARIANT_ADD(prompt, tcp_eventfd)
{
	.family = AF_INET,
	.wait = prompt_event,
};

FIXTURE_VARIANT_ADD(prompt, unix_wait)
{
	.family = AF_UNIX,
	.wait = prompt_wait,
};

FIXTURE_VARIANT_ADD(prompt, unix_poll)
{
	.family = AF_UNIX,
	.free = true,
	.wait = prompt_poll,
};

FIXTURE_SETUP(prompt)
{
	if (variant->family == AF_UNIX && unix_copies())
		SKIP(return, "copied before Linux 6.5");
	if (nr_cpus() < 2)
		SKIP(return, "one CPU only");
	ASSERT_EQ(0, sock_pair(variant->family, SOCK_STREAM, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, PROMPT_SIZE, 1));
	self->event = eventfd(0, 0);
	ASSERT_LE(0, self->event);
	ASSERT_EQ(0, ring_make(&self->ring, self->pool.fd, FBUF_RING_EVENTFD,
			       8, self->event));
	ASSERT_EQ(0, sem_init(&self->start, 0, 0));
	ASSERT_EQ(0, sem_init(&self->done, 0, 0));
	self->tid = getpid();
}

FIXTURE_TEARDOWN(prompt)
{
	ring_unmake(&self->ring);
	pool_unmake(&self->pool);
	close(self->event);
	close(self->sock[0]);
	close(self->sock[1]);
}

static __s64 now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000LL + ts.tv_nsec / 1000;
}

/* Reads as soon as the other waits. */
static void *prompt_reader(void *arg)
{
	struct _test_data_prompt *self = arg;
	__u8 *got = malloc(PROMPT_SIZE);
	int i;

	pin_to_cpu(1);
	for (i = 0; i < PROMPT_ROUNDS; i++) {
		sem_wait(&self->start);
		if (wait_asleep(self->tid, self->tid, DEADLINE_MS))
			self->failed = true;
		self->read_from = now_us();
		if (read_full(self->sock[1], got, PROMPT_SIZE) != PROMPT_SIZE)
			self->failed = true;
		self->read_at = now_us();
		sem_post(&self->done);
	}
	free(got);
	return NULL;
}

static int prompt_round(struct _test_data_prompt *self,
			const struct _fixture_variant_prompt *variant,
			__s64 *late)
{
	struct fbuf_seg seg;
	__s64 now;
	int ret;

	/* Some of the ways to wait do not take the buffer. */
	if (variant->free &&
	    pool_alloc_wait(self->pool.fd, &self->name, 1, DEADLINE_MS) != 1)
		return -1;
	seg = buf_seg(&self->pool, self->name, 0, PROMPT_SIZE);
	if (pool_send(self->pool.fd, self->sock[0], &seg, 1,
		      variant->wait == prompt_event ? FBUF_SEND_NOTIFY : 0, 0,
		      NULL) != PROMPT_SIZE)
		return -1;
	if (variant->free && pool_free(self->pool.fd, &self->name, 1) != 1)
		return -1;
	sem_post(&self->start);
	ret = variant->wait(self);
	now = now_us();
	sem_wait(&self->done);
	if (now < self->read_from)
		return -1;
	*late = now > self->read_at ? now - self->read_at : 0;
	if (variant->wait == prompt_alloc)
		pool_free(self->pool.fd, &self->name, 1);
	return ret;
}

static int by_value(const void *a, const void *b)
{
	__s64 x = *(const __s64 *)a, y = *(const __s64 *)b;

	return (x > y) - (x < y);
}

TEST_F(prompt, median)
{
	struct utsname uts;
	__s64 limit = 10000;
	int i, ret;

	ASSERT_EQ(0, uname(&uts));
	if (strstr(uts.release, "debug") || strstr(uts.release, "kcsan"))
		limit = 100000;
	/* Those who free it before the wait take it in each round. */
	ret = variant->free ? 1 : pool_alloc(self->pool.fd, &self->name, 1);
	ASSERT_EQ(1, ret);
	ASSERT_EQ(0, pin_to_cpu(0));
	ASSERT_EQ(0, pthread_create(&self->thread, NULL, prompt_reader, self));
	for (i = 0; i < PROMPT_ROUNDS; i++)
		ASSERT_EQ(0, prompt_round(self, variant, &self->late[i]));
	pthread_join(self->thread, NULL);
	EXPECT_FALSE(self->failed);
	qsort(self->late, PROMPT_ROUNDS, sizeof(self->late[0]), by_value);
	EXPECT_GT(limit, self->late[PROMPT_ROUNDS / 2]);
	TH_LOG("microseconds: %lld, half of them %lld, at most %lld",
	       self->late[0], self->late[PROMPT_ROUNDS / 2],
	       self->late[PROMPT_ROUNDS - 1]);
}

/* A buffer in flight, and how often the module looks for it in vain. */
FIXTURE(quiet)
{
	struct nl nl;
	struct pool pool;
	__u64 id;
	int sock[2];
};

FIXTURE_SETUP(quiet)
{
	struct fbuf_info info;
	struct fbuf_seg seg;
	__u64 name;

	ASSERT_EQ(0, nl_open(&self->nl));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, 1,
				     FBUF_POOL_SECURED));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	self->id = info.id;
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	seg = buf_seg(&self->pool, name, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, self->sock[0],
					       &seg, 1, 0, 0, NULL));
	ASSERT_EQ(1, pool_free(self->pool.fd, &name, 1));
}

FIXTURE_TEARDOWN(quiet)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	nl_close(&self->nl);
}

static long looks(struct _test_data_quiet *self)
{
	struct nl_arg arg = { FBUF_A_STATS_POOL_ID, 8, self->id };
	struct nl_row row;

	if (nl_do(&self->nl, FBUF_CMD_STATS_GET, &arg, 1, &row))
		return -1;
	return row.val[FBUF_A_STATS_WAITS];
}

/* How often it looks in a while, in poll() or not. */
static long runs_in(struct _test_data_quiet *self, int ms, bool in_poll)
{
	struct pollfd p = { .fd = self->pool.fd, .events = POLLOUT };
	long before = looks(self);

	poll(&p, in_poll ? 1 : 0, ms);
	return before < 0 ? -1 : looks(self) - before;
}

TEST_F(quiet, while_nobody_waits)
{
	EXPECT_EQ(0, runs_in(self, 300, false));
}

TEST_F(quiet, not_while_somebody_waits)
{
	EXPECT_LT(0, runs_in(self, 300, true));
}

/* Whoever asks for nothing but entries of the ring has no use for buffers. */
TEST_F(quiet, while_epoll_wants_entries)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };
	__u64 name;

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->pool.fd, &ev));
	EXPECT_EQ(0, runs_in(self, 300, false));
	ASSERT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &name, 1));
	EXPECT_EQ(0, runs_in(self, 300, false));
	ev.events = EPOLLIN | EPOLLOUT;
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_MOD, self->pool.fd, &ev));
	EXPECT_LT(0, runs_in(self, 300, false));
	close(epoll);
	EXPECT_TRUE(wait_for(!runs_in(self, 300, false), DEADLINE_MS));
}

/* Nor once it was told of the buffer that it asked for. */
TEST_F(quiet, after_epoll_was_told)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLOUT };
	__u8 got[BUF_SIZE];
	struct fbuf_seg seg;
	__u64 name;

	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->pool.fd, &ev));
	ASSERT_EQ((ssize_t)BUF_SIZE, read_full(self->sock[1], got, BUF_SIZE));
	ASSERT_EQ(1, epoll_wait(epoll, &ev, 1, DEADLINE_MS));
	ev.events = EPOLLIN;
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_MOD, self->pool.fd, &ev));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	seg = buf_seg(&self->pool, name, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, self->sock[0],
					       &seg, 1, 0, 0, NULL));
	EXPECT_EQ(0, runs_in(self, 300, false));
	close(epoll);
}

/* And quiet again. */
TEST_F(quiet, after_the_wait)
{
	EXPECT_LT(0, runs_in(self, 300, true));
	EXPECT_TRUE(wait_for(!runs_in(self, 300, false), DEADLINE_MS));
}

/* Every 2 ms: this allows for ten times that. */
TEST_F(quiet, often_while_somebody_polls)
{
	EXPECT_LT(50, runs_in(self, 1000, true));
}

TEST_F(quiet, often_while_somebody_waits)
{
	long before = looks(self);
	__u64 name;

	ASSERT_LE(0, before);
	EXPECT_EQ(-ETIMEDOUT, pool_batch(self->pool.fd, FBUF_IOC_ALLOC, &name,
					 1, FBUF_ALLOC_WAIT, 1000));
	EXPECT_LT(50, looks(self) - before);
}

/* Quiet as well when the handle that waited for a notice is gone. */
TEST_F(quiet, after_the_handle)
{
	__u8 got[BUF_SIZE];
	struct fbuf_seg seg;
	struct ring r;
	__u64 name;
	int fd;

	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ring_make(&r, fd, 0, 2, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, read_full(self->sock[1], got, BUF_SIZE));
	ASSERT_EQ(1, pool_alloc_wait(fd, &name, 1, DEADLINE_MS));
	seg = buf_seg(&self->pool, name, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(fd, self->sock[0], &seg, 1,
					       FBUF_SEND_NOTIFY, 0, NULL));
	EXPECT_LT(0, runs_in(self, 300, false));
	ring_unmake(&r);
	close(fd);
	EXPECT_TRUE(wait_for(!runs_in(self, 300, false), DEADLINE_MS));
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
