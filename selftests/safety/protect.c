// SPDX-License-Identifier: GPL-2.0
/*
 * Writes to buffers in flight: what the peer gets, who waits and for how long,
 * and that there is no way around it.
 */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	16384U
#define PART		(BUF_SIZE / 4)	/* a page, where these are of 4 KiB */
#define HALF		(BUF_SIZE / 2)
#define NR_BUFS		4U

#define SECURED		FBUF_POOL_SECURED
#define SNAPSHOT	FBUF_POOL_SNAPSHOT
#define SIGBUS_POOL	(FBUF_POOL_SECURED | FBUF_POOL_SIGBUS)

/* Patterns: what was sent, and what is written over it. */
#define OLD		1
#define NEW		2

/* A write that may get SIGBUS. */
static __thread sigjmp_buf fault_env;
static __thread void *fault_at;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	fault_at = info->si_addr;
	siglongjmp(fault_env, 1);
}

static void catch_sigbus(void)
{
	struct sigaction act = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO,
	};

	sigaction(SIGBUS, &act, NULL);
}

/* False if SIGBUS came of it. */
static bool try_write(__u8 *at, unsigned int seed, size_t pos, size_t len)
{
	fault_at = NULL;
	if (sigsetjmp(fault_env, 1))
		return false;
	pattern_fill(at, seed, pos, len);
	return true;
}

/* A thread that writes, and has no other reason to sleep. */
struct writer {
	pthread_t thread;
	pid_t tid;
	__u8 *at;
	size_t pos;
	size_t len;
	bool sigbus;
	bool done;
};

static void *writer_run(void *arg)
{
	struct writer *w = arg;

	__atomic_store_n(&w->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	w->sigbus = !try_write(w->at, NEW, w->pos, w->len);
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static int writer_start(struct writer *w, __u8 *at, size_t pos, size_t len)
{
	*w = (struct writer) {
		.at = at + pos,
		.pos = pos,
		.len = len,
	};
	return pthread_create(&w->thread, NULL, writer_run, w);
}

static bool writer_done(struct writer *w)
{
	return __atomic_load_n(&w->done, __ATOMIC_ACQUIRE);
}

/* Whether it sleeps in the kernel, and goes on doing so for a while. */
static bool writer_waits(struct writer *w)
{
	long end;

	if (!wait_for(__atomic_load_n(&w->tid, __ATOMIC_ACQUIRE), DEADLINE_MS))
		return false;
	if (wait_state(getpid(), w->tid, "SD", DEADLINE_MS))
		return false;
	end = now_ms() + 30;
	while (time_left(end) && !writer_done(w))
		;
	return !writer_done(w) &&
	       !wait_state(getpid(), w->tid, "SD", DEADLINE_MS);
}

/* False, and the thread given up, if it does not end. */
static bool writer_ends(struct writer *w)
{
	if (!wait_for(writer_done(w), DEADLINE_MS))
		return false;
	pthread_join(w->thread, NULL);
	return true;
}

/* A process that does the same, by the mapping that it inherits. */
static pid_t write_elsewhere(__u8 *at, size_t pos, size_t len)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	_exit(!try_write(at + pos, NEW, pos, len));
}

/* A pool and a connection. */
struct conn {
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	__u8 *got;
};

/* All of it, on each transport. */
FIXTURE(conn)
{
	struct conn c;
};

FIXTURE_VARIANT(conn)
{
	int family;
	int type;
	bool tls;
};

FIXTURE_VARIANT_ADD(conn, tcp)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(conn, unix_stream)
{
	.family = AF_UNIX,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(conn, udp)
{
	.family = AF_INET,
	.type = SOCK_DGRAM,
};

/* Encryption reads the pages within the call: they are idle after it. */
FIXTURE_VARIANT_ADD(conn, tls)
{
	.tls = true,
	.type = SOCK_STREAM,
};

FIXTURE_SETUP(conn)
{
	int err;

	if (variant->family == AF_UNIX && unix_copies())
		SKIP(return, "copied before Linux 6.5");
	if (variant->tls) {
		err = tls_pair(self->c.sock);
		if (err)
			SKIP(return, "no kernel TLS: %s", strerror(-err));
	} else {
		ASSERT_EQ(0, sock_pair(variant->family, variant->type,
				       self->c.sock));
	}
	self->c.got = malloc(NR_BUFS * BUF_SIZE);
	ASSERT_NE(NULL, self->c.got);
	catch_sigbus();
}

FIXTURE_TEARDOWN(conn)
{
	pool_unmake(&self->c.pool);
	close(self->c.sock[0]);
	close(self->c.sock[1]);
	free(self->c.got);
}

static int make_filled(struct pool *pool, __u64 *names, __u32 flags)
{
	unsigned int i;
	int err;

	err = pool_make_flags(pool, BUF_SIZE, NR_BUFS, flags);
	if (err)
		return err;
	if (pool_alloc(pool->fd, names, NR_BUFS) != (int)NR_BUFS)
		return -EIO;
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(buf_addr(pool, names[i]), OLD, 0, BUF_SIZE);
	return 0;
}

static ssize_t send_one(struct pool *pool, __u64 name, int sock, __u32 flags)
{
	struct fbuf_seg seg = buf_seg(pool, name, 0, BUF_SIZE);

	return pool_send(pool->fd, sock, &seg, 1, flags,
			 FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE, NULL);
}

/* Reads one buffer; number of the first byte that is not OLD's, or -1. */
static ssize_t recv_one(int sock, __u8 *got)
{
	memset(got, 0, BUF_SIZE);
	if (recv(sock, got, BUF_SIZE, MSG_WAITALL) != (ssize_t)BUF_SIZE)
		return -1000;
	return pattern_differs(got, OLD, 0, BUF_SIZE);
}

static int conn_make(struct conn *c, __u32 flags)
{
	return make_filled(&c->pool, c->names, flags);
}

static ssize_t conn_send(struct conn *c, unsigned int buf, __u32 flags)
{
	return send_one(&c->pool, c->names[buf], c->sock[0], flags);
}

static ssize_t conn_recv(struct conn *c)
{
	return recv_one(c->sock[1], c->got);
}

static __u8 *conn_addr(struct conn *c, unsigned int buf)
{
	return buf_addr(&c->pool, c->names[buf]);
}

/* A secured send: a thread and a process write at once, and wait. */
static void secured(struct __test_metadata *const _metadata,
		    struct _test_data_conn *self, bool idle, __u32 flags)
{
	__u8 *at = conn_addr(&self->c, 0);
	struct writer w;
	pid_t pid;

	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, flags));
	ASSERT_EQ(0, writer_start(&w, at, 0, HALF));
	pid = write_elsewhere(at, HALF, HALF);
	ASSERT_LT(0, pid);
	if (!idle) {
		EXPECT_TRUE(writer_waits(&w));
		EXPECT_EQ(0, wait_state(pid, pid, "SD", DEADLINE_MS));
		EXPECT_EQ(-1, pattern_differs(at, OLD, 0, BUF_SIZE));
	}
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_TRUE(writer_ends(&w));
	EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	EXPECT_EQ(-1, pattern_differs(at, NEW, 0, BUF_SIZE));
}

/* A snapshot send: both go through, and see each other's, before the read. */
static void snapshot(struct __test_metadata *const _metadata,
		     struct _test_data_conn *self, __u32 flags)
{
	__u8 *at = conn_addr(&self->c, 0);
	struct writer w;
	pid_t pid;

	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, flags));
	ASSERT_EQ(0, writer_start(&w, at, 0, HALF));
	pid = write_elsewhere(at, HALF, HALF);
	ASSERT_LT(0, pid);
	EXPECT_TRUE(writer_ends(&w));
	EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	EXPECT_EQ(-1, pattern_differs(at, NEW, 0, BUF_SIZE));
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_EQ(-1, pattern_differs(at, NEW, 0, BUF_SIZE));
}

TEST_F(conn, secured)
{
	ASSERT_EQ(0, conn_make(&self->c, SECURED));
	secured(_metadata, self, variant->tls, 0);
	/* And once more with the same buffer. */
	pattern_fill(conn_addr(&self->c, 0), OLD, 0, BUF_SIZE);
	secured(_metadata, self, variant->tls, 0);
}

TEST_F(conn, snapshot)
{
	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	snapshot(_metadata, self, 0);
	pattern_fill(conn_addr(&self->c, 0), OLD, 0, BUF_SIZE);
	snapshot(_metadata, self, 0);
}

TEST_F(conn, sigbus)
{
	__u8 *at;

	ASSERT_EQ(0, conn_make(&self->c, SIGBUS_POOL));
	at = conn_addr(&self->c, 1);
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 1, 0));
	if (!variant->tls) {
		EXPECT_FALSE(try_write(at + 2 * PART + 100, NEW, 0, 8));
		EXPECT_EQ((uintptr_t)at + 2 * PART,
			  (uintptr_t)fault_at & ~(uintptr_t)(PART - 1));
		EXPECT_EQ(1, child_status_within(write_elsewhere(at, 0, 8),
						 DEADLINE_MS));
	}
	EXPECT_EQ(-1, conn_recv(&self->c));
	ASSERT_EQ(1, pool_wait(self->c.pool.fd, &self->c.names[1], 1,
			       DEADLINE_MS));
	EXPECT_TRUE(try_write(at, NEW, 0, BUF_SIZE));
}

/* Without protection the peer sees the write: so the tests above can fail. */
TEST_F(conn, volatile_pool)
{
	__u8 *at;

	if (variant->tls)
		SKIP(return, "encrypted before it can be overwritten");
	ASSERT_EQ(0, conn_make(&self->c, 0));
	at = conn_addr(&self->c, 0);
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_TRUE(try_write(at, NEW, 0, BUF_SIZE));
	EXPECT_LE(0, conn_recv(&self->c));
	EXPECT_EQ(-1, pattern_differs(self->c.got, NEW, 0, BUF_SIZE));
}

TEST_F(conn, volatile_send)
{
	__u8 *at;

	if (variant->tls)
		SKIP(return, "encrypted before it can be overwritten");
	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	at = conn_addr(&self->c, 0);
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0,
					       FBUF_SEND_VOLATILE));
	EXPECT_TRUE(try_write(at, NEW, 0, BUF_SIZE));
	EXPECT_LE(0, conn_recv(&self->c));
	EXPECT_EQ(-1, pattern_differs(self->c.got, NEW, 0, BUF_SIZE));
}

TEST_F(conn, secured_send_in_a_snapshot_pool)
{
	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	secured(_metadata, self, variant->tls, FBUF_SEND_SECURED);
}

TEST_F(conn, snapshot_send_in_a_secured_pool)
{
	ASSERT_EQ(0, conn_make(&self->c, SECURED));
	snapshot(_metadata, self, FBUF_SEND_SNAPSHOT);
}

TEST_F(conn, sent_both_ways)
{
	struct writer w;

	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, FBUF_SEND_SECURED));
	ASSERT_EQ(0, writer_start(&w, conn_addr(&self->c, 0), 0, BUF_SIZE));
	if (!variant->tls)
		EXPECT_TRUE(writer_waits(&w));
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_TRUE(writer_ends(&w));
}

/* Whole buffers, though a few bytes across a page's end were sent. */
TEST_F(conn, part_of_a_buffer)
{
	struct fbuf_seg seg;
	struct writer w;

	ASSERT_EQ(0, conn_make(&self->c, SECURED));
	seg = buf_seg(&self->c.pool, self->c.names[2], PART - 50, 100);
	ASSERT_EQ(100, pool_send(self->c.pool.fd, self->c.sock[0], &seg, 1, 0,
				 0, NULL));
	ASSERT_EQ(0, writer_start(&w, conn_addr(&self->c, 2), BUF_SIZE - 10,
				  10));
	if (!variant->tls)
		EXPECT_TRUE(writer_waits(&w));
	ASSERT_EQ(100, recv(self->c.sock[1], self->c.got, 100, MSG_WAITALL));
	EXPECT_EQ(-1, pattern_differs(self->c.got, OLD, PART - 50, 100));
	EXPECT_TRUE(writer_ends(&w));
}

/* The buffers of a gather, one after another; and those that are not in it. */
TEST_F(conn, gather)
{
	struct fbuf_seg seg[3];
	struct writer w[3];
	int i;

	ASSERT_EQ(0, conn_make(&self->c, SECURED));
	for (i = 0; i < 3; i++)
		seg[i] = buf_seg(&self->c.pool, self->c.names[i], 0, 1000);
	ASSERT_EQ(3000, pool_send(self->c.pool.fd, self->c.sock[0], seg, 3, 0,
				  0, NULL));
	EXPECT_TRUE(try_write(conn_addr(&self->c, 3), NEW, 0, BUF_SIZE));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, writer_start(&w[i], conn_addr(&self->c, i), 0,
					  BUF_SIZE));
		if (!variant->tls)
			EXPECT_TRUE(writer_waits(&w[i]));
	}
	ASSERT_EQ(3000, recv(self->c.sock[1], self->c.got, 3000, MSG_WAITALL));
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(writer_ends(&w[i]));
		EXPECT_EQ(-1, pattern_differs(self->c.got + 1000 * i, OLD, 0,
					      1000));
	}
}

TEST_F(conn, gather_of_snapshots)
{
	struct fbuf_seg seg[3];
	struct fbuf_info info;
	int i;

	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	for (i = 0; i < 3; i++)
		seg[i] = buf_seg(&self->c.pool, self->c.names[i], 0, 1000);
	ASSERT_EQ(3000, pool_send(self->c.pool.fd, self->c.sock[0], seg, 3, 0,
				  0, NULL));
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(try_write(conn_addr(&self->c, i), NEW, 0,
				      BUF_SIZE));
	ASSERT_EQ(0, pool_info(self->c.pool.fd, &info));
	EXPECT_EQ(3ULL, info.protects);
	EXPECT_EQ(variant->tls ? 0ULL : 3ULL, info.snapshots);
	ASSERT_EQ(3000, recv(self->c.sock[1], self->c.got, 3000, MSG_WAITALL));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(-1, pattern_differs(self->c.got + 1000 * i, OLD, 0,
					      1000));
}

/* Reading goes on as before, by the program and by the kernel. */
TEST_F(conn, reading_never_waits)
{
	int fd[2];

	ASSERT_EQ(0, conn_make(&self->c, SIGBUS_POOL));
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_EQ(-1, pattern_differs(conn_addr(&self->c, 0), OLD, 0,
				      BUF_SIZE));
	ASSERT_EQ(0, pipe(fd));
	EXPECT_EQ((ssize_t)BUF_SIZE, write(fd[1], conn_addr(&self->c, 0),
					   BUF_SIZE));
	EXPECT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_EQ(-1, conn_recv(&self->c));
}

/* One buffer in flight, on a socket that keeps nothing to itself. */
FIXTURE(held)
{
	struct conn c;
	__u8 *at;	/* that buffer */
};

FIXTURE_VARIANT(held)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(held, secured)
{
	.flags = SECURED,
};

FIXTURE_VARIANT_ADD(held, snapshot)
{
	.flags = SNAPSHOT,
};

FIXTURE_VARIANT_ADD(held, sigbus)
{
	.flags = SIGBUS_POOL,
};

FIXTURE_SETUP(held)
{
	ASSERT_EQ(0, page_pair(self->c.sock));
	ASSERT_EQ(0, make_filled(&self->c.pool, self->c.names, variant->flags));
	self->c.got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->c.got);
	self->at = conn_addr(&self->c, 0);
	catch_sigbus();
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
}

FIXTURE_TEARDOWN(held)
{
	pool_unmake(&self->c.pool);
	close(self->c.sock[0]);
	close(self->c.sock[1]);
	free(self->c.got);
}

/*
 * A write by @at, whatever was done to get around the protection: the peer gets
 * what was sent, and the write ends as the pool says.
 */
static void no_bypass(struct __test_metadata *const _metadata,
		      struct _test_data_held *self, __u32 flags, __u8 *at)
{
	struct writer w;

	ASSERT_EQ(0, writer_start(&w, at, 0, BUF_SIZE));
	if (flags == SECURED) {
		EXPECT_TRUE(writer_waits(&w));
	} else {
		EXPECT_TRUE(writer_ends(&w));
		EXPECT_EQ(flags == SIGBUS_POOL, w.sigbus);
	}
	EXPECT_EQ(-1, conn_recv(&self->c));
	if (flags == SECURED)
		EXPECT_TRUE(writer_ends(&w));
	EXPECT_EQ(-1, pattern_differs(self->at,
				      flags == SIGBUS_POOL ? OLD : NEW, 0,
				      BUF_SIZE));
}

TEST_F(held, plain_write)
{
	no_bypass(_metadata, self, variant->flags, self->at);
}

TEST_F(held, mapped_again)
{
	munmap(self->c.pool.map, self->c.pool.size);
	self->c.pool.map = mmap(NULL, self->c.pool.size,
				PROT_READ | PROT_WRITE, MAP_SHARED,
				self->c.pool.fd, 0);
	ASSERT_NE(MAP_FAILED, self->c.pool.map);
	self->at = conn_addr(&self->c, 0);
	no_bypass(_metadata, self, variant->flags, self->at);
}

TEST_F(held, second_mapping)
{
	__u8 *p = mmap(NULL, self->c.pool.size, PROT_READ | PROT_WRITE,
		       MAP_SHARED, self->c.pool.fd, 0);

	ASSERT_NE(MAP_FAILED, p);
	no_bypass(_metadata, self, variant->flags,
		  p + buf_offset(&self->c.pool, self->c.names[0]));
}

TEST_F(held, another_handles_mapping)
{
	struct pool other;
	int fd = pool_share(self->c.pool.fd, ALL_RIGHTS, 0, NULL);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_map(&other, fd, PROT_READ | PROT_WRITE));
	no_bypass(_metadata, self, variant->flags,
		  buf_addr(&other, self->c.names[0]));
	pool_unmake(&other);
}

/* To populate for reading does not make it writable. */
TEST_F(held, map_populate)
{
	__u8 *p = mmap(NULL, self->c.pool.size, PROT_READ,
		       MAP_SHARED | MAP_POPULATE, self->c.pool.fd, 0);

	ASSERT_NE(MAP_FAILED, p);
	ASSERT_EQ(0, mprotect(p, self->c.pool.size, PROT_READ | PROT_WRITE));
	no_bypass(_metadata, self, variant->flags,
		  p + buf_offset(&self->c.pool, self->c.names[0]));
}

TEST_F(held, dontneed)
{
	ASSERT_EQ(0, madvise(self->c.pool.map, self->c.pool.size,
			     MADV_DONTNEED));
	no_bypass(_metadata, self, variant->flags, self->at);
}

TEST_F(held, mprotect_and_back)
{
	/* There is something for it to change. */
	EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
	ASSERT_EQ(0, mprotect(self->at, BUF_SIZE, PROT_READ));
	ASSERT_EQ(0, mprotect(self->at, BUF_SIZE, PROT_READ | PROT_WRITE));
	no_bypass(_metadata, self, variant->flags, self->at);
}

TEST_F(held, mprotect_none_and_back)
{
	/* There is something for it to change. */
	EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
	ASSERT_EQ(0, mprotect(self->at, BUF_SIZE, PROT_NONE));
	ASSERT_EQ(0, mprotect(self->at, BUF_SIZE, PROT_READ | PROT_WRITE));
	no_bypass(_metadata, self, variant->flags, self->at);
}

TEST_F(held, shrunk)
{
	size_t size = buf_offset(&self->c.pool, self->c.names[0]) + BUF_SIZE;

	ASSERT_GT(self->c.pool.size, size);
	ASSERT_EQ(self->c.pool.map,
		  mremap(self->c.pool.map, self->c.pool.size, size, 0));
	self->c.pool.size = size;
	no_bypass(_metadata, self, variant->flags, self->at);
}

TEST_F(held, moved)
{
	void *to = mmap(NULL, self->c.pool.size, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, to);
	self->c.pool.map = mremap(self->c.pool.map, self->c.pool.size,
				  self->c.pool.size,
				  MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_EQ(to, self->c.pool.map);
	self->at = conn_addr(&self->c, 0);
	no_bypass(_metadata, self, variant->flags, self->at);
}

TEST_F(held, child)
{
	pid_t pid;

	/* Page tables that it inherits. */
	EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
	pid = write_elsewhere(self->at, 0, BUF_SIZE);
	ASSERT_LT(0, pid);
	if (variant->flags == SECURED) {
		EXPECT_EQ(0, wait_state(pid, pid, "SD", DEADLINE_MS));
		EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
		EXPECT_EQ(-1, conn_recv(&self->c));
		EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	} else {
		EXPECT_EQ(variant->flags == SIGBUS_POOL,
			  child_status_within(pid, DEADLINE_MS));
		EXPECT_EQ(-1, conn_recv(&self->c));
	}
}

/* Unmapped under the writer's feet: a plain fault, and no harm. */
static void unmap_meanwhile(struct _test_data_held *self, int ready)
{
	struct writer w;

	if (writer_start(&w, self->at, 0, BUF_SIZE) || !writer_waits(&w))
		_exit(1);
	munmap(self->c.pool.map, self->c.pool.size);
	if (write(ready, "", 1) == 1)
		pause();
	_exit(2);
}

TEST_F(held, unmapped_meanwhile)
{
	int ready[2];
	pid_t pid;
	char c;

	if (variant->flags != SECURED)
		SKIP(return, "nobody waits in such a pool");
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		unmap_meanwhile(self, ready[1]);
	}
	close(ready[1]);
	EXPECT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_EQ(-SIGSEGV, child_status_within(pid, DEADLINE_MS));
}

/*
 * The kernel's writes on behalf of a program are the program's, but wait for no
 * peer: they may hold locks that others need. Each of these stores to @at.
 */
static int store_by_read(__u8 *at)
{
	__u8 data[PART];
	int fd[2];

	pattern_fill(data, NEW, 0, PART);
	if (pipe(fd) || write(fd[1], data, PART) != PART)
		return -ENOTSUP;
	return read(fd[0], at, PART) == PART ? 0 : -errno;
}

static int store_by_recv(__u8 *at)
{
	__u8 data[PART];
	int fd[2];

	pattern_fill(data, NEW, 0, PART);
	if (tcp_pair(AF_INET, fd) || write(fd[0], data, PART) != PART)
		return -ENOTSUP;
	return recv(fd[1], at, PART, MSG_WAITALL) == PART ? 0 : -errno;
}

/* With rtnl_lock held. */
static int store_by_ifconf(__u8 *at)
{
	struct ifconf conf = { .ifc_len = PART, .ifc_buf = (char *)at };
	int sock = socket(AF_INET, SOCK_DGRAM, 0);

	if (system("ip link set lo up") || sock < 0)
		return -ENOTSUP;
	return ioctl(sock, SIOCGIFCONF, &conf) ? -errno : 0;
}

/* With the directory locked. */
static int store_by_getdents(__u8 *at)
{
	int dir = open("/proc/self", O_RDONLY | O_DIRECTORY);

	return syscall(SYS_getdents64, dir, at, PART) < 0 ? -errno : 0;
}

static int store_by_process_vm(__u8 *at)
{
	char data[8] = "";
	struct iovec from = { data, 8 }, to = { at, 8 };
	ssize_t ret = process_vm_writev(getpid(), &from, 1, &to, 1, 0);

	return ret == 8 ? 0 : -errno;
}

static int store_by_proc_mem(__u8 *at)
{
	int fd = open("/proc/self/mem", O_RDWR);

	/* It says EIO. */
	return pwrite(fd, "", 1, (uintptr_t)at) == 1 ? 0 : -EFAULT;
}

static int store_by_stat(__u8 *at)
{
	return fstat(0, (struct stat *)at) ? -errno : 0;
}

/* As a lock of user space is taken, with the page looked up by itself. */
static int store_by_futex(__u8 *at)
{
	__atomic_load_n(at, __ATOMIC_RELAXED);
	return syscall(SYS_futex, at, FUTEX_WAKE_OP, 1, 1, at,
		       FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_EQ, 0)) < 0 ?
	       -errno : 0;
}

/* The kernel makes the frame there: it cannot, and that is the end. */
static int store_by_signal(__u8 *at)
{
	stack_t stack = { .ss_sp = at, .ss_size = BUF_SIZE };
	struct sigaction act = {
		.sa_handler = SIG_IGN,
		.sa_flags = SA_ONSTACK,
	};

	signal(SIGSEGV, SIG_DFL);
	act.sa_handler = (void (*)(int))(uintptr_t)at;
	if (sigaltstack(&stack, NULL) || sigaction(SIGUSR1, &act, NULL))
		return -ENOTSUP;
	raise(SIGUSR1);
	return -ENOTSUP;
}

static const struct {
	const char *name;
	int (*store)(__u8 *at);
	int killed;	/* the signal that ends it instead of an error */
} stores[] = {
	{ "read", store_by_read, 0 },
	{ "recv", store_by_recv, 0 },
	{ "SIOCGIFCONF", store_by_ifconf, 0 },
	{ "getdents64", store_by_getdents, 0 },
	{ "process_vm_writev", store_by_process_vm, 0 },
	{ "/proc/self/mem", store_by_proc_mem, 0 },
	{ "fstat", store_by_stat, 0 },
	{ "futex", store_by_futex, 0 },
	{ "signal frame", store_by_signal, SIGSEGV },
};

TEST_F(held, system_calls_wait_for_no_peer)
{
	bool fails = variant->flags != SNAPSHOT;
	unsigned int i;
	int want, got;

	for (i = 0; i < ARRAY_SIZE(stores); i++) {
		pid_t pid = fork();

		ASSERT_LE(0, pid);
		if (!pid)
			_exit(-stores[i].store(self->at));
		want = fails ? EFAULT : 0;
		/* What is run there is no code, whatever the pool does. */
		if (stores[i].killed)
			want = -stores[i].killed;
		got = child_status_within(pid, DEADLINE_MS);
		EXPECT_EQ(want, got)
			TH_LOG("%s", stores[i].name);
	}
	if (fails)
		EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
	EXPECT_EQ(-1, conn_recv(&self->c));
	/* And when it is idle, they go through. */
	ASSERT_EQ(1, pool_wait(self->c.pool.fd, self->c.names, 1, DEADLINE_MS));
	for (i = 0; i < ARRAY_SIZE(stores); i++) {
		if (!stores[i].killed)
			EXPECT_EQ(0, stores[i].store(self->at))
				TH_LOG("%s", stores[i].name);
	}
}

/* One who exits writes there, and no signal reaches him any more. */
static int exit_with_tid_address(void *at)
{
	syscall(SYS_set_tid_address, at);
	syscall(SYS_exit_group, 7);
	return 0;
}

TEST_F(held, exiting_task_waits_for_nobody)
{
	static __u8 stack[65536];
	pid_t pid;

	/* Only where the memory is another's as well does it write. */
	pid = clone(exit_with_tid_address, stack + sizeof(stack),
		    CLONE_VM | SIGCHLD, self->at);
	ASSERT_LT(0, pid);
	EXPECT_EQ(7, child_status_within(pid, DEADLINE_MS));
	EXPECT_EQ(-1, conn_recv(&self->c));
	if (variant->flags != SNAPSHOT)
		EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
}

/* A mapping that may not be pinned: its entries are of another kind. */
TEST_F(held, no_pin_mapping)
{
	struct pool other;
	int fd = pool_share_flags(self->c.pool.fd, ALL_RIGHTS, 0,
				  FBUF_SHARE_NO_PIN, NULL);
	__u8 *at;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_map(&other, fd, PROT_READ | PROT_WRITE));
	at = buf_addr(&other, self->c.names[0]);
	/* There are entries, for reading. */
	EXPECT_EQ(-1, pattern_differs(at, OLD, 0, BUF_SIZE));
	no_bypass(_metadata, self, variant->flags, at);
	pool_unmake(&other);
}

static pid_t traced_child(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		return -1;
	return pid;
}

TEST_F(held, ptrace)
{
	pid_t pid = traced_child();
	long word;

	ASSERT_LT(0, pid);
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, pid, self->at, 0);
	EXPECT_EQ(0, errno);
	errno = 0;
	if (variant->flags == SNAPSHOT) {
		EXPECT_EQ(0, ptrace(PTRACE_POKEDATA, pid, self->at, ~word));
	} else {
		EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, pid, self->at, ~word));
		EXPECT_TRUE(errno == EIO || errno == EFAULT)
			TH_LOG("errno %d", errno);
	}
	EXPECT_EQ(-1, conn_recv(&self->c));
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status(pid));
}

/* What waits can be interrupted. */
static int nr_signals;

static void count_signal(int sig)
{
	__atomic_add_fetch(&nr_signals, 1, __ATOMIC_SEQ_CST);
}

TEST_F(held, signal_handler_runs)
{
	struct sigaction act = { .sa_handler = count_signal };
	struct writer w;
	int i;

	if (variant->flags != SECURED)
		SKIP(return, "nobody waits in such a pool");
	ASSERT_EQ(0, sigaction(SIGUSR1, &act, NULL));
	ASSERT_EQ(0, writer_start(&w, self->at, 0, BUF_SIZE));
	for (i = 1; i <= 3; i++) {
		EXPECT_TRUE(writer_waits(&w));
		ASSERT_EQ(0, pthread_kill(w.thread, SIGUSR1));
		EXPECT_TRUE(wait_for(__atomic_load_n(&nr_signals,
						     __ATOMIC_SEQ_CST) == i,
				     DEADLINE_MS));
	}
	EXPECT_TRUE(writer_waits(&w));
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_TRUE(writer_ends(&w));
	EXPECT_EQ(-1, pattern_differs(self->at, NEW, 0, BUF_SIZE));
}

TEST_F(held, writer_killed)
{
	pid_t pid;

	if (variant->flags != SECURED)
		SKIP(return, "nobody waits in such a pool");
	pid = write_elsewhere(self->at, 0, BUF_SIZE);
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, wait_state(pid, pid, "SD", DEADLINE_MS));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_status_within(pid, DEADLINE_MS));
	EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
	EXPECT_EQ(-1, conn_recv(&self->c));
}

TEST_F(held, several_processes)
{
	pid_t pid[3];
	unsigned int i;

	if (variant->flags != SECURED)
		SKIP(return, "nobody waits in such a pool");
	for (i = 0; i < 3; i++) {
		pid[i] = write_elsewhere(self->at, i * PART, PART);
		ASSERT_LT(0, pid[i]);
	}
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, wait_state(pid[i], pid[i], "SD", DEADLINE_MS));
	EXPECT_EQ(-1, conn_recv(&self->c));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(0, child_status_within(pid[i], DEADLINE_MS));
	EXPECT_EQ(-1, pattern_differs(self->at, NEW, 0, 3 * PART));
}

TEST_F(held, other_buffers_are_free)
{
	unsigned int i;

	for (i = 1; i < NR_BUFS; i++)
		EXPECT_TRUE(try_write(conn_addr(&self->c, i), NEW, 0,
				      BUF_SIZE));
	EXPECT_EQ(-1, conn_recv(&self->c));
}

/* The sockets go without a reader: that is idle too. */
TEST_F(held, sockets_closed)
{
	struct writer w;

	if (variant->flags != SECURED)
		SKIP(return, "nobody waits in such a pool");
	ASSERT_EQ(0, writer_start(&w, self->at, 0, BUF_SIZE));
	EXPECT_TRUE(writer_waits(&w));
	close(self->c.sock[1]);
	close(self->c.sock[0]);
	self->c.sock[0] = -1;
	self->c.sock[1] = -1;
	EXPECT_TRUE(writer_ends(&w));
}

/* Handed out again after use, it is nobody's to wait for. */
TEST_F(held, handed_out_again)
{
	__u64 again;

	EXPECT_EQ(-1, conn_recv(&self->c));
	ASSERT_EQ(1, pool_free(self->c.pool.fd, self->c.names, 1));
	ASSERT_EQ(1, pool_alloc_wait(self->c.pool.fd, &again, 1, DEADLINE_MS));
	EXPECT_TRUE(try_write(buf_addr(&self->c.pool, again), NEW, 0,
			      BUF_SIZE));
}

TEST_F(held, counted)
{
	struct fbuf_info info;

	ASSERT_EQ(0, pool_info(self->c.pool.fd, &info));
	EXPECT_EQ(1ULL, info.protects);
	EXPECT_EQ(0ULL, info.snapshots);
	/* What a write may need is charged, until none can. */
	EXPECT_EQ(self->c.pool.size +
		  (variant->flags == SNAPSHOT ? BUF_SIZE : 0), info.charged);
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_EQ(1, pool_wait(self->c.pool.fd, self->c.names, 1, DEADLINE_MS));
	ASSERT_EQ(0, pool_info(self->c.pool.fd, &info));
	EXPECT_EQ(self->c.pool.size, info.charged);
}

/* Snapshots in particular. */
FIXTURE(snap)
{
	struct conn c;
};

FIXTURE_SETUP(snap)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->c.sock));
	self->c.got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->c.got);
	catch_sigbus();
}

FIXTURE_TEARDOWN(snap)
{
	pool_unmake(&self->c.pool);
	close(self->c.sock[0]);
	close(self->c.sock[1]);
	free(self->c.got);
}

TEST_F(snap, charged_while_in_flight)
{
	struct fbuf_info info;
	__u64 size;
	int i;

	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	size = self->c.pool.size;
	for (i = 1; i <= 3; i++) {
		pattern_fill(conn_addr(&self->c, 0), OLD, 0, BUF_SIZE);
		ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
		EXPECT_TRUE(try_write(conn_addr(&self->c, 0), NEW, 0,
				      BUF_SIZE));
		ASSERT_EQ(0, pool_info(self->c.pool.fd, &info));
		EXPECT_EQ((__u64)i, info.snapshots);
		EXPECT_EQ(size + i * BUF_SIZE, info.charged);
		EXPECT_EQ(size, info.pool_size);
	}
	for (i = 1; i <= 3; i++)
		EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_TRUE(wait_for(pool_charged(&self->c.pool) == size, DEADLINE_MS));
}

/* Whoever maps the pool, and however, has the new content. */
TEST_F(snap, seen_by_all)
{
	int down[2], up[2];
	struct pool other;
	__u8 *at;
	pid_t pid;
	int fd;
	char c;

	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	at = conn_addr(&self->c, 0);
	fd = pool_share(self->c.pool.fd, FBUF_RIGHT_READ, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_map(&other, fd, PROT_READ));
	ASSERT_EQ(-1, pattern_differs(buf_addr(&other, self->c.names[0]), OLD,
				      0, BUF_SIZE));
	ASSERT_EQ(0, pipe(down));
	ASSERT_EQ(0, pipe(up));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* Has the old pages before, in its own page tables. */
		int bad = pattern_differs(at, OLD, 0, BUF_SIZE) >= 0;

		bad |= write(up[1], "", 1) != 1;
		bad |= read(down[0], &c, 1) != 1;
		bad |= pattern_differs(at, NEW, 0, BUF_SIZE) >= 0;
		_exit(bad);
	}
	ASSERT_EQ(1, read(up[0], &c, 1));
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_TRUE(try_write(at, NEW, 0, BUF_SIZE));
	EXPECT_EQ(-1, pattern_differs(buf_addr(&other, self->c.names[0]), NEW,
				      0, BUF_SIZE));
	ASSERT_EQ(1, write(down[1], "", 1));
	EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	EXPECT_EQ(-1, conn_recv(&self->c));
	pool_unmake(&other);
}

/* One byte is written: the rest of the copy is as it was. */
TEST_F(snap, copies_the_rest)
{
	__u8 *at;

	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	at = conn_addr(&self->c, 0);
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	at[5000] ^= 0xff;
	EXPECT_EQ(5000, pattern_differs(at, OLD, 0, BUF_SIZE));
	EXPECT_EQ(-1, pattern_differs(at + 5001, OLD, 5001, BUF_SIZE - 5001));
	EXPECT_EQ(-1, conn_recv(&self->c));
}

/* What takes the buffer's place is sent, and protected, like any other. */
TEST_F(snap, sent_again)
{
	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_TRUE(try_write(conn_addr(&self->c, 0), NEW, 0, BUF_SIZE));
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_TRUE(try_write(conn_addr(&self->c, 0), OLD, 0, BUF_SIZE));
	EXPECT_EQ(-1, conn_recv(&self->c));
	EXPECT_EQ(0, conn_recv(&self->c));
	EXPECT_EQ(-1, pattern_differs(self->c.got, NEW, 0, BUF_SIZE));
}

/* The pool goes while its snapshots are in flight. */
TEST_F(snap, pool_closed)
{
	ASSERT_EQ(0, conn_make(&self->c, SNAPSHOT));
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_TRUE(try_write(conn_addr(&self->c, 0), NEW, 0, BUF_SIZE));
	pool_unmake(&self->c.pool);
	EXPECT_EQ(-1, conn_recv(&self->c));
}

/* A pool of a user who can be charged for so many bytes, and no more. */
static int limited_pool(struct pool *pool, size_t buf_size,
			unsigned int nr_bufs, size_t most)
{
	struct rlimit limit = { most, most };
	int control = control_open();
	int fd;

	/* A user of this test's own, who owes nothing. */
	if (control < 0 || setrlimit(RLIMIT_MEMLOCK, &limit) ||
	    become(100000 + getpid()))
		return -EPERM;
	fd = pool_create_on(control, buf_size, nr_bufs, SNAPSHOT);
	close(control);
	return fd < 0 ? fd : pool_map(pool, fd, PROT_READ | PROT_WRITE);
}

/* Of one snapshot; all buffers are held, and filled. */
static int snap_limited(struct conn *c)
{
	unsigned int i;

	if (limited_pool(&c->pool, BUF_SIZE, NR_BUFS,
			 (NR_BUFS + 1) * BUF_SIZE) ||
	    pool_alloc(c->pool.fd, c->names, NR_BUFS) != (int)NR_BUFS)
		return -EIO;
	for (i = 0; i < NR_BUFS; i++)
		pattern_fill(conn_addr(c, i), OLD, 0, BUF_SIZE);
	return 0;
}

static ssize_t snap_send(struct conn *c, unsigned int buf, __u32 engines,
			 struct sent *sent)
{
	struct fbuf_seg seg = buf_seg(&c->pool, c->names[buf], 0, BUF_SIZE);

	return pool_send(c->pool.fd, c->sock[0], &seg, 1, 0, engines, sent);
}

/* No limit left for a copy by a write: so the send makes one. */
TEST_F(snap, at_the_limit)
{
	struct fbuf_info info;
	struct sent sent;
	unsigned int i;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, snap_limited(&self->c));
	ASSERT_EQ((ssize_t)BUF_SIZE, snap_send(&self->c, 0, 0, &sent));
	EXPECT_EQ(FBUF_ENGINE_PAGEREF, sent.engine);
	/* The first has all that there is. */
	ASSERT_EQ((ssize_t)BUF_SIZE, snap_send(&self->c, 1, 0, &sent));
	EXPECT_EQ(FBUF_ENGINE_COPY, sent.engine);
	EXPECT_EQ((__u64)BUF_SIZE, sent.copied);
	/* Both may be written, from wherever it comes, and nobody waits. */
	EXPECT_TRUE(try_write(conn_addr(&self->c, 0), NEW, 0, BUF_SIZE));
	EXPECT_EQ(0, store_by_read(conn_addr(&self->c, 1)));
	ASSERT_EQ(0, pool_info(self->c.pool.fd, &info));
	EXPECT_EQ(1ULL, info.snapshots);
	EXPECT_EQ(1ULL, info.protects);
	EXPECT_EQ(self->c.pool.size + BUF_SIZE, info.charged);
	EXPECT_EQ((__u64)BUF_SIZE, info.copied);
	/* Who must not copy is told. */
	EXPECT_EQ(-ENOMEM, snap_send(&self->c, 2, FBUF_ENGINE_PAGEREF, NULL));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(-1, conn_recv(&self->c));
	/* All is idle: the next is referred to again. */
	ASSERT_EQ(1, pool_wait(self->c.pool.fd, self->c.names, 1, DEADLINE_MS));
	EXPECT_TRUE(wait_for(pool_charged(&self->c.pool) == self->c.pool.size,
			     DEADLINE_MS));
	ASSERT_EQ((ssize_t)BUF_SIZE, snap_send(&self->c, 2, 0, &sent));
	EXPECT_EQ(FBUF_ENGINE_PAGEREF, sent.engine);
	EXPECT_EQ(-1, conn_recv(&self->c));
}

/*
 * What is charged for idle buffers, and for what snapshots replaced, is to be had,
 * though nobody has looked.
 */
TEST_F(snap, what_is_idle_leaves_room)
{
	struct sent sent;
	unsigned int i;

	if (geteuid())
		SKIP(return, "needs root");
	close(self->c.sock[0]);
	close(self->c.sock[1]);
	ASSERT_EQ(0, page_pair(self->c.sock));
	ASSERT_EQ(0, snap_limited(&self->c));
	for (i = 0; i < 3 * NR_BUFS; i++) {
		unsigned int buf = i % NR_BUFS;

		ASSERT_EQ((ssize_t)BUF_SIZE, snap_send(&self->c, buf, 0,
						       &sent));
		EXPECT_EQ(0ULL, sent.copied)
			TH_LOG("send number %u", i);
		if (i & 1)
			EXPECT_TRUE(try_write(conn_addr(&self->c, buf), OLD, 0,
					      BUF_SIZE));
		EXPECT_EQ(-1, conn_recv(&self->c));
	}
}

/* What they replaced is given up by the next ALLOC, which is not for them. */
TEST_F(snap, alloc_gives_up_what_is_idle)
{
	int control = control_open(), fd;

	if (geteuid())
		SKIP(return, "needs root");
	close(self->c.sock[0]);
	close(self->c.sock[1]);
	ASSERT_EQ(0, page_pair(self->c.sock));
	ASSERT_EQ(0, snap_limited(&self->c));
	ASSERT_EQ(1, pool_free(self->c.pool.fd, &self->c.names[1], 1));
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_TRUE(try_write(conn_addr(&self->c, 0), NEW, 0, BUF_SIZE));
	EXPECT_EQ(-1, conn_recv(&self->c));
	/* Another pool is at the limit until then. */
	EXPECT_EQ(-ENOMEM, pool_create_on(control, BUF_SIZE, 1, 0));
	ASSERT_EQ(1, pool_alloc(self->c.pool.fd, &self->c.names[1], 1));
	fd = pool_create_on(control, BUF_SIZE, 1, 0);
	EXPECT_LE(0, fd);
	close(fd);
	close(control);
}

/* It is found behind others that stay in flight, more than one call looks at. */
#define NR_STAY		70U

static void found_behind_others(struct __test_metadata *const _metadata,
				struct _test_data_snap *self, bool snapshots)
{
	__u64 names[NR_STAY + 2];
	unsigned int i, tries;
	struct fbuf_seg seg;
	struct sent sent;
	struct pool *pool = &self->c.pool;
	unsigned int page = PAGE;
	int sock[2];
	char byte;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, page_pair(sock));
	ASSERT_EQ(0, limited_pool(pool, page, NR_STAY + 2,
				  page * (2 * NR_STAY + 3)));
	ASSERT_EQ((int)NR_STAY + 2, pool_alloc(pool->fd, names, NR_STAY + 2));
	for (i = 0; i <= NR_STAY; i++) {
		seg = buf_seg(pool, names[i], 0, 1);
		ASSERT_EQ(1, pool_send(pool->fd, i < NR_STAY ?
				       self->c.sock[0] : sock[0], &seg, 1, 0, 0,
				       &sent));
		ASSERT_EQ(0ULL, sent.copied);
		if (snapshots)
			ASSERT_TRUE(try_write(buf_addr(pool, names[i]), NEW, 0,
					      1));
	}
	ASSERT_EQ(1, read(sock[1], &byte, 1));
	seg = buf_seg(pool, names[i], 0, 1);
	for (tries = 0; tries < 4; tries++) {
		ASSERT_EQ(1, pool_send(pool->fd, sock[0], &seg, 1, 0, 0,
				       &sent));
		if (!sent.copied)
			break;
		ASSERT_EQ(1, read(sock[1], &byte, 1));
	}
	/* Not by the first: it was behind more than one looks at. */
	EXPECT_LT(0U, tries);
	EXPECT_GT(4U, tries);
	close(sock[0]);
	close(sock[1]);
}

TEST_F(snap, idle_buffer_is_found_behind_others)
{
	found_behind_others(_metadata, self, false);
}

TEST_F(snap, idle_snapshot_is_found_behind_others)
{
	found_behind_others(_metadata, self, true);
}

/* Some of the gather is protected and some cannot be: all of it is copied. */
TEST_F(snap, gather_at_the_limit)
{
	struct fbuf_seg seg[3];
	struct sent sent;
	unsigned int i;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, snap_limited(&self->c));
	for (i = 0; i < 3; i++)
		seg[i] = buf_seg(&self->c.pool, self->c.names[i], 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)(3 * BUF_SIZE),
		  pool_send(self->c.pool.fd, self->c.sock[0], seg, 3, 0, 0,
			    &sent));
	EXPECT_EQ(FBUF_ENGINE_COPY, sent.engine);
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(try_write(conn_addr(&self->c, i), NEW, 0,
				      BUF_SIZE));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(-1, conn_recv(&self->c));
}

/*
 * Mappings in any order, by any handle: each has entries that were written
 * through before the send, and each is written through after it.
 */
FIXTURE(order)
{
	struct conn c;
	int shared;	/* a handle that may only read */
};

FIXTURE_VARIANT(order)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(order, snapshot)
{
	.flags = SNAPSHOT,
};

FIXTURE_VARIANT_ADD(order, sigbus)
{
	.flags = SIGBUS_POOL,
};

FIXTURE_SETUP(order)
{
	ASSERT_EQ(0, tcp_pair(AF_INET, self->c.sock));
	ASSERT_EQ(0, make_filled(&self->c.pool, self->c.names, variant->flags));
	self->shared = pool_share(self->c.pool.fd, FBUF_RIGHT_READ, 0, NULL);
	ASSERT_LE(0, self->shared);
	self->c.got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->c.got);
	catch_sigbus();
}

FIXTURE_TEARDOWN(order)
{
	close(self->shared);
	pool_unmake(&self->c.pool);
	close(self->c.sock[0]);
	close(self->c.sock[1]);
	free(self->c.got);
}

static __u8 *order_map(int fd, struct conn *c, int prot)
{
	__u8 *p = mmap(NULL, c->pool.size, prot, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL :
				 p + buf_offset(&c->pool, c->names[0]);
}

static void order_check(struct __test_metadata *const _metadata,
			struct _test_data_order *self, __u32 flags, __u8 **at,
			unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		ASSERT_NE(NULL, at[i]);
		pattern_fill(at[i], OLD, 0, BUF_SIZE);
	}
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	for (i = 0; i < nr; i++)
		EXPECT_EQ(flags == SNAPSHOT, try_write(at[i], NEW, 0, BUF_SIZE))
			TH_LOG("mapping %u", i);
	EXPECT_EQ(-1, conn_recv(&self->c));
}

TEST_F(order, reader_maps_before_a_writer)
{
	struct conn *c = &self->c;
	__u8 *at[2], *read;

	read = order_map(self->shared, c, PROT_READ);
	ASSERT_NE(NULL, read);
	at[0] = conn_addr(c, 0);
	at[1] = order_map(c->pool.fd, c, PROT_READ | PROT_WRITE);
	ASSERT_EQ(-1, pattern_differs(read, OLD, 0, BUF_SIZE));
	order_check(_metadata, self, variant->flags, at, 2);
}

/* The maker's first mapping goes: what is left comes after the reader's. */
TEST_F(order, reader_maps_first)
{
	struct conn *c = &self->c;
	__u8 *at, *read;

	read = order_map(self->shared, c, PROT_READ);
	ASSERT_NE(NULL, read);
	munmap(c->pool.map, c->pool.size);
	c->pool.map = mmap(NULL, c->pool.size, PROT_READ | PROT_WRITE,
			   MAP_SHARED, c->pool.fd, 0);
	ASSERT_NE(MAP_FAILED, c->pool.map);
	at = conn_addr(c, 0);
	ASSERT_EQ(-1, pattern_differs(read, OLD, 0, BUF_SIZE));
	order_check(_metadata, self, variant->flags, &at, 1);
}

/* Readers on both sides, one of whom has parts only, and one that moved. */
TEST_F(order, readers_all_around)
{
	struct conn *c = &self->c;
	__u8 *at[3], *to;
	void *part;
	int fd;

	ASSERT_NE(NULL, order_map(self->shared, c, PROT_READ));
	at[0] = order_map(c->pool.fd, c, PROT_READ | PROT_WRITE);
	part = mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED, self->shared,
		    getpagesize());
	ASSERT_NE(MAP_FAILED, part);
	fd = pool_share_flags(c->pool.fd, ALL_RIGHTS, 0, FBUF_SHARE_NO_PIN,
			      NULL);
	ASSERT_LE(0, fd);
	at[1] = order_map(fd, c, PROT_READ | PROT_WRITE);
	ASSERT_NE(NULL, order_map(self->shared, c, PROT_READ));
	to = mmap(NULL, c->pool.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		  -1, 0);
	ASSERT_NE(MAP_FAILED, to);
	ASSERT_EQ(to, mremap(c->pool.map, c->pool.size, c->pool.size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	c->pool.map = to;
	at[2] = conn_addr(c, 0);
	order_check(_metadata, self, variant->flags, at, 3);
	close(fd);
}

/* Threads that make mappings read-only and back, move and copy them meanwhile. */
struct shaker {
	pthread_t thread;
	__u8 *map;
	size_t size;
	bool stop;
	unsigned long rounds;
};

static void *shake(void *arg)
{
	struct shaker *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		mprotect(s->map, s->size, PROT_READ);
		mprotect(s->map, s->size, PROT_READ | PROT_WRITE);
		__atomic_add_fetch(&s->rounds, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

#define SHAKE_ROUNDS	200

TEST_F(order, mprotect_meanwhile)
{
	struct conn *c = &self->c;
	struct shaker s = { .size = c->pool.size };
	bool snapshots = variant->flags == SNAPSHOT;
	unsigned int i, bad = 0;
	unsigned long before;
	__u8 *at;

	for (i = 0; i < SHAKE_ROUNDS; i++) {
		pattern_fill(conn_addr(c, 0), OLD, 0, BUF_SIZE);
		at = order_map(c->pool.fd, c, PROT_READ | PROT_WRITE);
		ASSERT_NE(NULL, at);
		s.map = at - buf_offset(&c->pool, c->names[0]);
		/* Entries that are dirty and writable, for it to find. */
		pattern_fill(at, OLD, 0, BUF_SIZE);
		s.stop = false;
		before = s.rounds;
		ASSERT_EQ(0, pthread_create(&s.thread, NULL, shake, &s));
		ASSERT_TRUE(wait_for(__atomic_load_n(&s.rounds,
						     __ATOMIC_ACQUIRE) > before,
				     DEADLINE_MS));
		ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(c, 0, 0));
		__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
		pthread_join(s.thread, NULL);
		bad += try_write(at, NEW, 0, BUF_SIZE) != snapshots;
		bad += conn_recv(c) != -1;
		munmap(s.map, s.size);
		ASSERT_EQ(1, pool_wait(c->pool.fd, c->names, 1, DEADLINE_MS));
	}
	EXPECT_EQ(0U, bad);
}

/* Children take entries along, as they are, while protection begins. */
TEST_F(order, fork_meanwhile)
{
	struct conn *c = &self->c;
	bool snapshots = variant->flags == SNAPSHOT;
	unsigned int i, bad = 0;
	int go[2];
	pid_t pid;
	char byte;

	for (i = 0; i < SHAKE_ROUNDS / 10; i++) {
		struct shaker s = { .map = c->pool.map, .size = c->pool.size };

		pattern_fill(conn_addr(c, 0), OLD, 0, BUF_SIZE);
		ASSERT_EQ(0, pipe(go));
		ASSERT_EQ(0, pthread_create(&s.thread, NULL, shake, &s));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			close(go[1]);
			mprotect(c->pool.map, c->pool.size,
				 PROT_READ | PROT_WRITE);
			if (read(go[0], &byte, 1) != 1)
				_exit(2);
			_exit(try_write(conn_addr(c, 0), NEW, 0, BUF_SIZE) !=
			      snapshots);
		}
		ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(c, 0, 0));
		__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
		pthread_join(s.thread, NULL);
		ASSERT_EQ(1, write(go[1], "", 1));
		bad += child_status_within(pid, DEADLINE_MS) != 0;
		bad += conn_recv(c) != -1;
		close(go[0]);
		close(go[1]);
		ASSERT_EQ(1, pool_wait(c->pool.fd, c->names, 1, DEADLINE_MS));
	}
	EXPECT_EQ(0U, bad);
}

/* Threads that write to an idle buffer at once, to a page each. */
#define AT_ONCE		4
#define AT_ONCE_ROUNDS	300U

struct at_once {
	pthread_t thread[AT_ONCE];
	__u8 *map;
	unsigned int round;
	unsigned int threads;
	unsigned int done;
	unsigned int failed;
};

static void at_once_wait(const unsigned int *what, unsigned int val)
{
	while (__atomic_load_n(what, __ATOMIC_ACQUIRE) < val)
		sched_yield();
}

static void *at_once_run(void *arg)
{
	struct at_once *o = arg;
	__u8 *at = o->map + PART * __atomic_fetch_add(&o->threads, 1,
						      __ATOMIC_RELAXED);
	unsigned int i;

	for (i = 1; i <= AT_ONCE_ROUNDS; i++) {
		at_once_wait(&o->round, i);
		if (!try_write(at, NEW, 0, 1))
			__atomic_add_fetch(&o->failed, 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&o->done, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* That others fault as well is no reason for SIGBUS. */
TEST(sigbus_at_once)
{
	struct at_once o = { 0 };
	struct conn c;
	unsigned int i;

	catch_sigbus();
	ASSERT_EQ(0, page_pair(c.sock));
	c.got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, c.got);
	ASSERT_EQ(0, conn_make(&c, SIGBUS_POOL));
	o.map = conn_addr(&c, 0);
	for (i = 0; i < AT_ONCE; i++)
		ASSERT_EQ(0, pthread_create(&o.thread[i], NULL, at_once_run,
					    &o));
	for (i = 1; i <= AT_ONCE_ROUNDS; i++) {
		ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&c, 0, 0));
		ASSERT_NE(-1000, conn_recv(&c));
		ASSERT_EQ(1, pool_wait(c.pool.fd, c.names, 1, DEADLINE_MS));
		__atomic_store_n(&o.round, i, __ATOMIC_RELEASE);
		at_once_wait(&o.done, AT_ONCE * i);
	}
	for (i = 0; i < AT_ONCE; i++)
		pthread_join(o.thread[i], NULL);
	EXPECT_EQ(0U, o.failed);
	pool_unmake(&c.pool);
	close(c.sock[0]);
	close(c.sock[1]);
	free(c.got);
}

/* A large buffer is more than one piece of memory: all of it counts. */
TEST(in_flight_elsewhere)
{
	const size_t size = 2 << 20;
	struct fbuf_seg seg;
	struct pool pool;
	int sock[2], i;
	char got[100];
	__u64 name;

	catch_sigbus();
	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, pool_make_flags(&pool, size, 1, SIGBUS_POOL));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	for (i = 0; i < 2; i++) {
		memset(pool.map, 1, size);
		seg = buf_seg(&pool, name, i ? 0 : size - PART, 100);
		ASSERT_EQ(100, pool_send(pool.fd, sock[0], &seg, 1, 0, 0,
					 NULL));
		/* What is written is mapped for reading, and not in flight. */
		EXPECT_FALSE(try_write(pool.map + (i ? size - PART : 0), NEW, 0,
				       8));
		ASSERT_EQ(100, read_full(sock[1], got, 100));
		ASSERT_EQ(1, pool_wait(pool.fd, &name, 1, DEADLINE_MS));
		EXPECT_TRUE(try_write(pool.map, NEW, 0, 8));
	}
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
}

/* The cost: one fault for a buffer, when it is idle. */
static void one_fault(struct __test_metadata *const _metadata, size_t size)
{
	struct rusage before, after;
	struct fbuf_seg seg;
	struct pool pool;
	struct reader r;
	int sock[2];
	__u64 name;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	ASSERT_EQ(0, pool_make_flags(&pool, size, 1, SECURED));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	memset(pool.map, 1, size);
	seg = buf_seg(&pool, name, 0, size);
	ASSERT_EQ(0, reader_start(&r, sock[1], size, -1));
	ASSERT_EQ((ssize_t)size, pool_send(pool.fd, sock[0], &seg, 1, 0, 0,
					   NULL));
	ASSERT_EQ((ssize_t)size, reader_join(&r));
	free(r.data);
	ASSERT_EQ(1, pool_wait(pool.fd, &name, 1, DEADLINE_MS));
	getrusage(RUSAGE_THREAD, &before);
	memset(pool.map, 2, size);
	getrusage(RUSAGE_THREAD, &after);
	EXPECT_LE(1, after.ru_minflt - before.ru_minflt);
	EXPECT_GE(2, after.ru_minflt - before.ru_minflt);
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
}

TEST(one_fault_for_64_kib)
{
	one_fault(_metadata, 64 << 10);
}

TEST(one_fault_for_2_mib)
{
	one_fault(_metadata, 2 << 20);
}

/* SECURE */
FIXTURE(secure)
{
	struct conn c;
	int other;	/* another handle */
	struct ring ring;
	__u8 *at;
};

FIXTURE_VARIANT(secure)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(secure, secured)
{
	.flags = SECURED,
};

FIXTURE_VARIANT_ADD(secure, snapshot)
{
	.flags = SNAPSHOT,
};

FIXTURE_VARIANT_ADD(secure, sigbus)
{
	.flags = SIGBUS_POOL,
};

FIXTURE_VARIANT_ADD(secure, snapshot_sigbus)
{
	.flags = SNAPSHOT | FBUF_POOL_SIGBUS,
};

FIXTURE_SETUP(secure)
{
	ASSERT_EQ(0, make_filled(&self->c.pool, self->c.names, variant->flags));
	self->other = pool_share(self->c.pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, ring_make(&self->ring, self->other, FBUF_RING_ACCEPT, 8,
			       0));
	self->at = conn_addr(&self->c, 0);
	catch_sigbus();
	ASSERT_EQ(1, pool_secure(self->c.pool.fd, self->c.names, 1));
}

FIXTURE_TEARDOWN(secure)
{
	ring_unmake(&self->ring);
	close(self->other);
	pool_unmake(&self->c.pool);
}

/* A writer that is kept out: it waits, or has got SIGBUS. */
static bool kept_out(struct writer *w, __u32 flags, __u8 *at)
{
	if (writer_start(w, at, 0, PART))
		return false;
	if (!(flags & FBUF_POOL_SIGBUS))
		return writer_waits(w);
	return writer_ends(w) && w->sigbus;
}

/* And that may go on now. */
static bool let_in(struct writer *w, __u32 flags, __u8 *at)
{
	if (!(flags & FBUF_POOL_SIGBUS))
		return writer_ends(w) && !w->sigbus;
	return wait_for(try_write(at, NEW, 0, PART), DEADLINE_MS);
}

TEST_F(secure, until_free)
{
	struct fbuf_info info;
	struct writer w;

	/* Its own process's write. */
	EXPECT_TRUE(kept_out(&w, variant->flags, self->at));
	EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
	ASSERT_EQ(0, pool_info(self->c.pool.fd, &info));
	EXPECT_EQ(0ULL, info.snapshots);
	ASSERT_EQ(1, pool_hold(self->other, self->c.names, 1));
	ASSERT_EQ(1, pool_free(self->c.pool.fd, self->c.names, 1));
	EXPECT_TRUE(let_in(&w, variant->flags, self->at));
}

TEST_F(secure, until_pass)
{
	struct writer w;

	EXPECT_TRUE(kept_out(&w, variant->flags, self->at));
	ASSERT_EQ(1, pool_pass_one(self->c.pool.fd, pool_handle(self->other),
				   self->c.names[0], 0));
	EXPECT_TRUE(let_in(&w, variant->flags, self->at));
}

/* Who keeps the hold keeps what it secured. */
TEST_F(secure, not_until_pass_and_keep)
{
	struct fbuf_item item = { .name = self->c.names[0] };
	struct writer w;

	ASSERT_EQ(1, pool_pass(self->c.pool.fd, pool_handle(self->other),
			       FBUF_PASS_KEEP, &item, 1));
	EXPECT_TRUE(kept_out(&w, variant->flags, self->at));
	ASSERT_EQ(1, pool_free(self->c.pool.fd, self->c.names, 1));
	EXPECT_TRUE(let_in(&w, variant->flags, self->at));
}

TEST_F(secure, until_no_handle_does)
{
	struct writer w;

	ASSERT_EQ(1, pool_hold(self->other, self->c.names, 1));
	ASSERT_EQ(1, pool_secure(self->other, self->c.names, 1));
	ASSERT_EQ(1, pool_free(self->c.pool.fd, self->c.names, 1));
	EXPECT_TRUE(kept_out(&w, variant->flags, self->at));
	ASSERT_EQ(1, pool_free(self->other, self->c.names, 1));
	EXPECT_TRUE(let_in(&w, variant->flags, self->at));
}

TEST_F(secure, until_death)
{
	struct writer w;
	int ready[2];
	pid_t pid;
	char c;

	ASSERT_EQ(1, pool_hold(self->other, &self->c.names[1], 1));
	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ring_unmake(&self->ring);
		if (pool_secure(self->other, &self->c.names[1], 1) == 1 &&
		    write(ready[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	ring_unmake(&self->ring);
	close(self->other);
	self->other = -1;
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_TRUE(kept_out(&w, variant->flags, conn_addr(&self->c, 1)));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_status(pid));
	EXPECT_TRUE(let_in(&w, variant->flags, conn_addr(&self->c, 1)));
}

TEST_F(secure, other_processes)
{
	bool bus = variant->flags & FBUF_POOL_SIGBUS;
	pid_t pid = write_elsewhere(self->at, 0, PART);

	ASSERT_LT(0, pid);
	if (!bus) {
		EXPECT_EQ(0, wait_state(pid, pid, "SD", DEADLINE_MS));
		EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
		ASSERT_EQ(1, pool_free(self->c.pool.fd, self->c.names, 1));
	}
	EXPECT_EQ(bus, child_status_within(pid, DEADLINE_MS));
}

TEST_F(secure, again_is_no_error)
{
	__u64 names[2] = { self->c.names[0], self->c.names[0] };
	struct writer w;

	EXPECT_EQ(1, pool_secure(self->c.pool.fd, names, 1));
	EXPECT_EQ(2, pool_secure(self->c.pool.fd, names, 2));
	EXPECT_TRUE(kept_out(&w, variant->flags, self->at));
	ASSERT_EQ(1, pool_free(self->c.pool.fd, self->c.names, 1));
	EXPECT_TRUE(let_in(&w, variant->flags, self->at));
}

TEST_F(secure, all_or_none)
{
	__u64 names[2] = { self->c.names[1], self->c.names[2] ^ (1ULL << 32) };

	EXPECT_EQ(-ESTALE, pool_secure(self->c.pool.fd, names, 2));
	EXPECT_EQ(-ESTALE, pool_secure(self->other, self->c.names, 1));
	EXPECT_TRUE(try_write(conn_addr(&self->c, 1), NEW, 0, BUF_SIZE));
}

/* Protection is for who holds the buffer now, not for who held it once. */
TEST_F(secure, stale_name_is_not_sent)
{
	__u64 fresh;
	struct fbuf_seg seg = named_seg(self->c.names[0], 0, BUF_SIZE);
	int sock[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(1, pool_free(self->c.pool.fd, self->c.names, 1));
	ASSERT_EQ(1, pool_alloc(self->c.pool.fd, &fresh, 1));
	ASSERT_EQ(FBUF_NAME_INDEX(self->c.names[0]), FBUF_NAME_INDEX(fresh));
	EXPECT_EQ(-ESTALE, pool_send(self->c.pool.fd, sock[0], &seg, 1, 0, 0,
				     NULL));
	EXPECT_TRUE(sock_empty(sock[1]));
	seg = named_seg(fresh, 0, BUF_SIZE);
	EXPECT_EQ((ssize_t)BUF_SIZE, pool_send(self->c.pool.fd, sock[0], &seg,
					       1, 0, 0, NULL));
	close(sock[0]);
	close(sock[1]);
}

TEST_F(secure, can_be_read_and_sent)
{
	__u8 got[BUF_SIZE];
	struct writer w;
	int sock[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	EXPECT_EQ(-1, pattern_differs(self->at, OLD, 0, BUF_SIZE));
	ASSERT_EQ((ssize_t)BUF_SIZE, send_one(&self->c.pool, self->c.names[0],
					      sock[0], 0));
	EXPECT_EQ(-1, recv_one(sock[1], got));
	ASSERT_EQ(1, pool_wait(self->c.pool.fd, self->c.names, 1, DEADLINE_MS));
	/* Idle, and secured all the same. */
	EXPECT_TRUE(kept_out(&w, variant->flags, self->at));
	ASSERT_EQ(1, pool_free(self->c.pool.fd, self->c.names, 1));
	EXPECT_TRUE(let_in(&w, variant->flags, self->at));
	close(sock[0]);
	close(sock[1]);
}

TEST_F(secure, next_holder_may_write)
{
	__u64 again[NR_BUFS];

	ASSERT_EQ((int)NR_BUFS, pool_free(self->c.pool.fd, self->c.names,
					  NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->c.pool.fd, again, NR_BUFS));
	EXPECT_TRUE(try_write(self->c.pool.map, NEW, 0, self->c.pool.size));
}

TEST(secure_in_a_volatile_pool)
{
	struct pool pool;
	__u64 name;

	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, 1));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	EXPECT_EQ(-EOPNOTSUPP, pool_secure(pool.fd, &name, 1));
	pool_unmake(&pool);
}

/* Pages that somebody else may write to. */
FIXTURE(pinned)
{
	struct conn c;
};

FIXTURE_SETUP(pinned)
{
	ASSERT_EQ(0, make_filled(&self->c.pool, self->c.names, SECURED));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->c.sock));
}

FIXTURE_TEARDOWN(pinned)
{
	pool_unmake(&self->c.pool);
	close(self->c.sock[0]);
	close(self->c.sock[1]);
}

/* A thread that reads to memory of the pool. */
struct copier {
	pthread_t thread;
	pid_t tid;
	int fd;
	__u8 *to;
	ssize_t ret;
	bool done;
};

static void *copier_run(void *arg)
{
	struct copier *c = arg;

	__atomic_store_n(&c->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	c->ret = read(c->fd, c->to, PART);
	__atomic_store_n(&c->done, true, __ATOMIC_RELEASE);
	return NULL;
}

/* A disk that takes more than a second to answer. */
#define SLOW_DISK	"modprobe null_blk queue_mode=2 irqmode=2 " \
			"completion_nsec=1500000000 nr_devices=1 gb=1 " \
			">/dev/null 2>&1"

TEST_F(pinned, by_direct_io)
{
	struct copier c = { .to = conn_addr(&self->c, 0) };

	if (system(SLOW_DISK))
		SKIP(return, "no null_blk");
	c.fd = open("/dev/nullb0", O_RDONLY | O_DIRECT);
	if (c.fd < 0)
		SKIP(return, "no /dev/nullb0");
	ASSERT_EQ(0, pthread_create(&c.thread, NULL, copier_run, &c));
	EXPECT_TRUE(wait_for(__atomic_load_n(&c.tid, __ATOMIC_ACQUIRE),
			     DEADLINE_MS));
	EXPECT_EQ(0, wait_state(getpid(), c.tid, "D", 5000));
	EXPECT_EQ(-EBUSY, conn_send(&self->c, 0, 0));
	EXPECT_EQ(-EBUSY, pool_secure(self->c.pool.fd, self->c.names, 1));
	/* None is secured when one cannot be. */
	EXPECT_EQ(-EBUSY, pool_secure(self->c.pool.fd, self->c.names, 2));
	EXPECT_TRUE(try_write(conn_addr(&self->c, 1), NEW, 0, BUF_SIZE));
	EXPECT_FALSE(__atomic_load_n(&c.done, __ATOMIC_ACQUIRE));
	EXPECT_TRUE(sock_empty(self->c.sock[1]));
	pthread_join(c.thread, NULL);
	EXPECT_EQ((ssize_t)PART, c.ret);
	EXPECT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_EQ(1, pool_secure(self->c.pool.fd, self->c.names, 1));
	close(c.fd);
	EXPECT_EQ(0, system("modprobe -r null_blk"));
}

/* A reference is enough, which leaves no other trace: nobody knows what for. */
TEST_F(pinned, by_a_plain_reference)
{
	struct iovec iov = { conn_addr(&self->c, 0) + PART, 1 };
	int fd[2];
	char c;

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(1, vmsplice(fd[1], &iov, 1, 0));
	EXPECT_EQ(-EBUSY, conn_send(&self->c, 0, 0));
	EXPECT_EQ(-EBUSY, conn_send(&self->c, 0, FBUF_SEND_SNAPSHOT));
	EXPECT_EQ(-EBUSY, pool_secure(self->c.pool.fd, self->c.names, 1));
	EXPECT_TRUE(sock_empty(self->c.sock[1]));
	/* What is not protected is not refused. */
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0,
					       FBUF_SEND_VOLATILE));
	ASSERT_EQ(1, read(fd[0], &c, 1));
	self->c.got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->c.got);
	EXPECT_EQ(-1, conn_recv(&self->c));
	ASSERT_EQ(1, pool_wait(self->c.pool.fd, self->c.names, 1, DEADLINE_MS));
	EXPECT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	free(self->c.got);
}

/* A thread that lets go of such a reference when another sleeps for it. */
struct passer {
	pthread_t thread;
	pid_t waiter;
	int fd;
	bool go;
	bool stop;
};

static void *passer_run(void *arg)
{
	struct passer *p = arg;
	char c;

	while (!__atomic_load_n(&p->stop, __ATOMIC_ACQUIRE)) {
		if (__atomic_load_n(&p->go, __ATOMIC_ACQUIRE) &&
		    !wait_state(getpid(), p->waiter, "D", 0) &&
		    read(p->fd, &c, 1) == 1)
			__atomic_store_n(&p->go, false, __ATOMIC_RELEASE);
		sched_yield();
	}
	return NULL;
}

/* Calls that protect a buffer, each in its way. */
static ssize_t pinned_secure(struct conn *c)
{
	int ret = pool_secure(c->pool.fd, c->names, 1);

	if (ret == 1 && (pool_free(c->pool.fd, c->names, 1) != 1 ||
			 pool_alloc(c->pool.fd, c->names, 1) != 1))
		return -EIO;
	return ret;
}

static ssize_t pinned_send(struct conn *c)
{
	ssize_t ret = conn_send(c, 0, 0);

	return ret < 0 || conn_recv(c) == -1 ? ret : -EILSEQ;
}

static ssize_t pinned_splice(struct conn *c)
{
	loff_t pos = buf_offset(&c->pool, c->names[0]);
	ssize_t ret;
	int fd[2];

	if (pipe(fd))
		return -errno;
	ret = splice(c->pool.fd, &pos, fd[1], NULL, 100, 0);
	if (ret < 0)
		ret = -errno;
	close(fd[0]);
	close(fd[1]);
	return ret;
}

static const struct {
	ssize_t (*call)(struct conn *c);
	ssize_t ret;
} pinned_calls[] = {
	{ pinned_secure, 1 },
	{ pinned_send, BUF_SIZE },
	{ pinned_splice, 100 },
};

/* One that passes is waited for, but not for long: it may take some tries. */
TEST_F(pinned, by_a_reference_that_passes)
{
	struct passer p = { .waiter = syscall(SYS_gettid) };
	struct iovec iov = { .iov_len = 1 };
	long end = now_ms() + DEADLINE_MS / 2;
	unsigned int i;
	ssize_t ret;
	int fd[2];
	char c;

	self->c.got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->c.got);
	ASSERT_EQ(0, pipe2(fd, O_NONBLOCK));
	p.fd = fd[0];
	ASSERT_EQ(0, pthread_create(&p.thread, NULL, passer_run, &p));
	for (i = 0; i < ARRAY_SIZE(pinned_calls); i++) {
		do {
			iov.iov_base = conn_addr(&self->c, 0);
			/* Not protected any more. */
			pattern_fill(iov.iov_base, OLD, 0, BUF_SIZE);
			ASSERT_EQ(1, vmsplice(fd[1], &iov, 1, 0));
			__atomic_store_n(&p.go, true, __ATOMIC_RELEASE);
			ret = pinned_calls[i].call(&self->c);
			__atomic_store_n(&p.go, false, __ATOMIC_RELEASE);
			while (read(fd[0], &c, 1) == 1)
				;
		} while (ret == -EBUSY && time_left(end));
		EXPECT_EQ(pinned_calls[i].ret, ret)
			TH_LOG("call %u", i);
	}
	__atomic_store_n(&p.stop, true, __ATOMIC_RELEASE);
	pthread_join(p.thread, NULL);
	free(self->c.got);
}

/* Packets of a volatile send cannot be told from strangers. */
TEST_F(pinned, by_a_volatile_send)
{
	ASSERT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0,
					       FBUF_SEND_VOLATILE));
	EXPECT_EQ(-EBUSY, conn_send(&self->c, 0, 0));
	EXPECT_EQ(-EBUSY, pool_secure(self->c.pool.fd, self->c.names, 1));
	self->c.got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->c.got);
	EXPECT_EQ(-1, conn_recv(&self->c));
	ASSERT_EQ(1, pool_wait(self->c.pool.fd, self->c.names, 1, DEADLINE_MS));
	EXPECT_EQ((ssize_t)BUF_SIZE, conn_send(&self->c, 0, 0));
	EXPECT_EQ(1, pool_secure(self->c.pool.fd, self->c.names, 1));
	free(self->c.got);
}

/* As many mappings as once passed for a pin. */
#define MANY		1100

TEST_F(pinned, not_by_many_mappings)
{
	struct fbuf_seg seg;
	struct pool pool;
	unsigned int i;
	__u64 name;
	__u8 *p;

	ASSERT_EQ(0, pool_make_flags(&pool, getpagesize(), 1, SECURED));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	for (i = 0; i < MANY; i++) {
		p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, pool.fd, 0);
		ASSERT_NE(MAP_FAILED, p);
		ASSERT_EQ(0, __atomic_load_n(p, __ATOMIC_RELAXED));
	}
	EXPECT_EQ(1, pool_secure(pool.fd, &name, 1));
	seg = buf_seg(&pool, name, 0, PAGE);
	EXPECT_EQ((ssize_t)PAGE, pool_send(pool.fd, self->c.sock[0], &seg, 1, 0,
					   0, NULL));
	pool_unmake(&pool);
}

/* Nor by as many sockets, that have it from one call. */
TEST_F(pinned, not_by_a_wide_fan_out)
{
	struct rlimit files = { 4 * MANY, 4 * MANY };
	struct fbuf_target *targets;
	struct fbuf_seg seg;
	struct pool pool;
	int i, sock[2];
	__u64 name;

	if (setrlimit(RLIMIT_NOFILE, &files))
		SKIP(return, "may not have so many files");
	targets = calloc(MANY, sizeof(*targets));
	ASSERT_NE(NULL, targets);
	ASSERT_EQ(0, pool_make_flags(&pool, getpagesize(), 1, SNAPSHOT));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, udp_pair(AF_INET, sock));
		targets[i].fd = sock[0];
	}
	seg = buf_seg(&pool, name, 0, 1000);
	ASSERT_EQ(MANY, pool_fanout(pool.fd, &seg, 1, targets, MANY, 0));
	/* In flight, protected, and to be sent again. */
	EXPECT_EQ(1, pool_secure(pool.fd, &name, 1));
	EXPECT_EQ(1000, pool_send(pool.fd, self->c.sock[0], &seg, 1,
				  FBUF_SEND_SECURED, 0, NULL));
	pool_unmake(&pool);
	free(targets);
}

static int register_buffer(int ring, void *at)
{
	struct iovec iov = { .iov_base = at, .iov_len = PAGE };

	return syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
		       &iov, 1);
}

TEST_F(pinned, for_long_is_refused)
{
	struct io_uring_params params = { 0 };
	void *plain = aligned_alloc(PAGE, PAGE);
	int ring = syscall(SYS_io_uring_setup, 4, &params);

	if (ring < 0)
		SKIP(return, "no io_uring");
	EXPECT_GT(0, register_buffer(ring, conn_addr(&self->c, 0)));
	/* Ordinary memory is taken. */
	EXPECT_EQ(0, register_buffer(ring, plain));
	close(ring);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
