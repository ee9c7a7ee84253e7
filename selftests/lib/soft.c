// SPDX-License-Identifier: GPL-2.0
/*
 * What the library does in the module's stead: what lib.c asks of both is there,
 * here is how it keeps it, and what others do to it.
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

#include <fbuf/backend.h>

#include "kselftest_harness.h"
#include "util.h"
/* For calls that the library makes for itself. */
#include "../../user/lib/lib.h"

#define BUF_SIZE	((size_t)16384)
#define NR_BUFS		8U

static const char data[50] = "what is read from a pipe";

FIXTURE(soft)
{
	struct fbuf_pool *pool;
	struct fbuf_gather *g;
	uint64_t names[NR_BUFS];
	int sock[2];
	int pipe[2];
	ssize_t ret;		/* of a thread */
	bool done;		/* atomic */
	int tid;		/* of it; atomic */
};

FIXTURE_VARIANT(soft)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(soft, plain) { .flags = 0 };

FIXTURE_VARIANT_ADD(soft, secured) { .flags = FBUF_POOL_SECURED };

FIXTURE_VARIANT_ADD(soft, snapshot) { .flags = FBUF_POOL_SNAPSHOT };

FIXTURE_VARIANT_ADD(soft, sigbus)
{
	.flags = FBUF_POOL_SECURED | FBUF_POOL_SIGBUS,
};

FIXTURE_VARIANT_ADD(soft, lazy) { .flags = FBUF_POOL_LAZY };

FIXTURE_SETUP(soft)
{
	struct fbuf_pool_options opt = FBUF_POOL_OPTIONS_INIT;

	opt.buf_size = BUF_SIZE;
	opt.nr_bufs = NR_BUFS;
	opt.flags = variant->flags;
	ASSERT_EQ(0, fbuf_backend_set(FBUF_BACKEND_USER));
	ASSERT_EQ(0, fbuf_pool_create_with(&self->pool, &opt));
	ASSERT_EQ((int)NR_BUFS, fbuf_alloc(self->pool, self->names, NR_BUFS,
					   0));
	self->g = fbuf_gather_new(self->pool);
	ASSERT_NE(NULL, self->g);
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pipe2(self->pipe, O_CLOEXEC));
}

FIXTURE_TEARDOWN(soft)
{
	fbuf_gather_destroy(self->g);
	fbuf_pool_close(self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
	close(self->pipe[0]);
	close(self->pipe[1]);
}

static struct fbuf_pool *share(struct fbuf_pool *pool, unsigned int rights,
			       unsigned int max_holds)
{
	struct fbuf_pool *other;
	int fd = fbuf_pool_share(pool, rights, max_holds, NULL);

	return fd < 0 || fbuf_pool_open(&other, fd) ? NULL : other;
}

static int polled(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT };

	poll(&pfd, 1, 0);
	return pfd.revents;
}

TEST_F(soft, poll_tells_of_alloc)
{
	int fd = fbuf_pool_fd(self->pool);
	struct fbuf_pool *other, *deaf;
	uint64_t names[2];

	EXPECT_EQ(0, polled(fd));
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 3));
	EXPECT_EQ(POLLOUT, polled(fd));
	other = share(self->pool, ALL_RIGHTS, 2);
	ASSERT_NE(NULL, other);
	deaf = share(self->pool, FBUF_RIGHT_READ, 0);
	ASSERT_NE(NULL, deaf);
	EXPECT_EQ(0, polled(fbuf_pool_fd(deaf)));
	EXPECT_EQ(POLLOUT, polled(fbuf_pool_fd(other)));
	/* It has all that it may; and then there is nothing left. */
	ASSERT_EQ(2, fbuf_alloc(other, names, 2, 0));
	EXPECT_EQ(0, polled(fbuf_pool_fd(other)));
	EXPECT_EQ(POLLOUT, polled(fd));
	ASSERT_EQ(1, fbuf_alloc(self->pool, self->names, 2, 0));
	EXPECT_EQ(0, polled(fd));
	ASSERT_EQ(0, fbuf_free(other, names, 1));
	EXPECT_EQ(POLLOUT, polled(fbuf_pool_fd(other)));
	EXPECT_EQ(POLLOUT, polled(fd));
	fbuf_pool_close(other);
	EXPECT_EQ(POLLOUT, polled(fd));
	fbuf_pool_close(deaf);
}

TEST_F(soft, epoll_has_an_edge_for_each)
{
	struct epoll_event e = { .events = EPOLLIN | EPOLLET };
	struct fbuf_pool *other = share(self->pool, 0, 0);
	struct fbuf_ring_entry entry;
	int ep = epoll_create1(0);
	unsigned int i;

	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, fbuf_ring_setup(other, 4, FBUF_RING_ACCEPT, -1));
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, fbuf_pool_fd(other), &e));
	EXPECT_EQ(0, epoll_wait(ep, &e, 1, 0));
	for (i = 0; i < NR_BUFS; i++) {
		const struct fbuf_item item = { .name = self->names[i] };

		ASSERT_EQ(0, fbuf_pass(self->pool, fbuf_pool_handle(other),
				       &item, 1, 0));
		EXPECT_EQ(1, epoll_wait(ep, &e, 1, 0));
		EXPECT_EQ(0, epoll_wait(ep, &e, 1, 0));
		EXPECT_EQ(1, fbuf_ring_next(other, &entry));
		EXPECT_EQ(self->names[i], entry.name);
		EXPECT_EQ(0, fbuf_ring_next(other, &entry));
		EXPECT_EQ(0, polled(fbuf_pool_fd(other)) & POLLIN);
	}
	close(ep);
	fbuf_pool_close(other);
}

static int all_calls_say(struct _test_data_soft *self, int want)
{
	struct fbuf_item item = { .name = self->names[0] };
	struct fbuf_pool *pool;
	struct fbuf_info info;
	uint64_t name;

	if (fbuf_alloc(self->pool, &name, 1, 0) != want ||
	    fbuf_alloc(self->pool, &name, 1, -1) != want ||
	    fbuf_free(self->pool, self->names, 1) != want ||
	    fbuf_hold(self->pool, self->names, 1) != want ||
	    fbuf_wait(self->pool, self->names, 1, 0, -1) != want ||
	    fbuf_secure(self->pool, self->names, 1) != want)
		return 1;
	if (fbuf_pass(self->pool, 1, &item, 1, 0) != want ||
	    fbuf_pool_share(self->pool, 0, 0, NULL) != want ||
	    fbuf_ring_setup(self->pool, 4, 0, -1) != want ||
	    fbuf_pool_info(self->pool, &info) != want ||
	    fbuf_fill(self->pool, self->names[0], 0, 1, 0, 0) != want ||
	    fbuf_send(self->g, self->sock[0], 0, NULL) != want)
		return 2;
	return fbuf_pool_open(&pool, fbuf_pool_fd(self->pool)) != want ? 3 : 0;
}

/* A pool of its own. */
static int uses_one(void)
{
	struct fbuf_pool *pool;
	uint64_t name;
	int ret;

	if (fbuf_pool_create(&pool, BUF_SIZE, 1))
		return 10;
	ret = fbuf_alloc(pool, &name, 1, 0) == 1 ? 0 : 11;
	if (!ret)
		memset(fbuf_addr(pool, name), 1, BUF_SIZE);
	fbuf_pool_close(pool);
	return ret;
}

TEST_F(soft, child_is_refused)
{
	struct fbuf_info info;
	pid_t pid;

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int ret = all_calls_say(self, -EXDEV) ?: uses_one();

		fbuf_pool_close(self->pool);
		_exit(ret ?: uses_one());
	}
	EXPECT_EQ(0, child_status(pid));
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(NR_BUFS, info.holds);
	EXPECT_EQ(10, fbuf_send(self->g, self->sock[0], 0, NULL));
	EXPECT_EQ(0, fbuf_free(self->pool, self->names, NR_BUFS));
}

/* Another program, which was passed the fd. */
TEST_F(soft, other_process_is_refused)
{
	char fd[16];
	pid_t pid;

	snprintf(fd, sizeof(fd), "%d", fbuf_pool_fd(self->pool));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		fcntl(fbuf_pool_fd(self->pool), F_SETFD, 0);
		execl("/proc/self/exe", "soft", "open", fd, NULL);
		_exit(99);
	}
	EXPECT_EQ(EXDEV, child_status(pid));
}

/* A handle is there as long as anything has its fd, and no longer. */
TEST_F(soft, handle_goes_with_its_last_fd)
{
	struct fbuf_pool *other = share(self->pool, 0, 0);
	struct fbuf_info info;
	int pair[2], fd;

	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, fbuf_hold(other, self->names, 2));
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, NR_BUFS));
	fd = dup(fbuf_pool_fd(other));
	fbuf_pool_close(other);
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(2U, info.nr_handles);
	EXPECT_EQ(2U, info.nr_held);
	/* Nobody has it, but somebody may yet. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(0, fbuf_pool_fd_send(pair[0], fd));
	close(fd);
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(2U, info.nr_held);
	fd = fbuf_pool_fd_recv(pair[1]);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fbuf_pool_open(&other, fd));
	ASSERT_EQ(0, fbuf_free(other, self->names, 1));
	fbuf_pool_close(other);
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(1U, info.nr_handles);
	EXPECT_EQ(0U, info.nr_held);
	close(pair[0]);
	close(pair[1]);
}

static void *close_later(void *arg)
{
	int i;

	for (i = 0; i < 50; i++)
		relax();
	close(*(int *)arg);
	return NULL;
}

TEST_F(soft, closed_fd_ends_a_wait)
{
	struct fbuf_pool *other = share(self->pool, 0, 0);
	pthread_t thread;
	uint64_t name;
	int fd;

	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, fbuf_hold(other, self->names, 1));
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 1));
	fd = dup(fbuf_pool_fd(other));
	fbuf_pool_close(other);
	EXPECT_EQ(-ENOBUFS, fbuf_alloc(self->pool, &name, 1, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, close_later, &fd));
	EXPECT_EQ(1, fbuf_alloc_flags(self->pool, &name, 1, FBUF_ALLOC_WAIT,
				      DEADLINE_MS));
	pthread_join(thread, NULL);
}

TEST_F(soft, pool_outlives_its_maker)
{
	struct fbuf_pool *other = share(self->pool, ALL_RIGHTS, 0);
	uint8_t *p;

	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, fbuf_hold(other, self->names, 1));
	pattern_fill(fbuf_addr(self->pool, self->names[0]), 3, 0, BUF_SIZE);
	fbuf_gather_destroy(self->g);
	fbuf_pool_close(self->pool);
	p = fbuf_addr(other, self->names[0]);
	EXPECT_EQ(-1, pattern_differs(p, 3, 0, BUF_SIZE));
	self->pool = other;
	self->g = fbuf_gather_new(other);
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	EXPECT_EQ(10, fbuf_send(self->g, self->sock[0], 0, NULL));
	/* All others are free. */
	EXPECT_EQ((int)NR_BUFS - 1, fbuf_alloc(other, self->names, NR_BUFS, 0));
}

TEST_F(soft, reader_cannot_write)
{
	struct fbuf_pool *other = share(self->pool, FBUF_RIGHT_READ, 0);
	char *p;

	ASSERT_NE(NULL, other);
	p = fbuf_addr(other, self->names[1]);
	EXPECT_NE(p, fbuf_addr(self->pool, self->names[1]));
	memset(fbuf_addr(self->pool, self->names[1]), 'x', BUF_SIZE);
	EXPECT_EQ('x', p[BUF_SIZE - 1]);
	EXPECT_EQ(-1, mprotect(p, BUF_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, BUF_SIZE, PROT_READ, MAP_SHARED,
				   fbuf_pool_fd(other), 0));
	fbuf_pool_close(other);
}

TEST_F(soft, lazy_has_memory_when_it_is_touched)
{
	const bool lazy = variant->flags & FBUF_POOL_LAZY;
	struct fbuf_info info;

	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(lazy ? 0 : NR_BUFS * BUF_SIZE, info.resident);
	EXPECT_EQ(0, *(char *)fbuf_addr(self->pool, self->names[5]));
	memset(fbuf_addr(self->pool, self->names[5]), 1, BUF_SIZE);
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(lazy ? BUF_SIZE : NR_BUFS * BUF_SIZE, info.resident);
}

static bool is_done(const struct _test_data_soft *self)
{
	return __atomic_load_n(&self->done, __ATOMIC_ACQUIRE);
}

/* Reads from a pipe into the first buffer, and may have to wait for that. */
static void *fill_it(void *arg)
{
	struct _test_data_soft *self = arg;

	self->ret = fbuf_fill(self->pool, self->names[0], 100, 50,
			      self->pipe[0], 0);
	__atomic_store_n(&self->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static int in_flight(struct fbuf_pool *pool)
{
	struct fbuf_info info;

	return fbuf_pool_info(pool, &info) ?: (int)info.nr_in_flight;
}

TEST_F(soft, filled_is_in_flight)
{
	pthread_t thread;
	uint64_t name;

	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_it, self));
	ASSERT_TRUE(wait_for(fbuf_wait(self->pool, self->names, 1, 0, 0) < 0,
			     DEADLINE_MS));
	EXPECT_EQ(-ETIMEDOUT, fbuf_wait(self->pool, self->names, 1, 0, 10));
	EXPECT_EQ(1, fbuf_wait(self->pool, self->names, 2, FBUF_WAIT_ANY, 0));
	/* Freed, and yet nobody else's. */
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 1));
	EXPECT_EQ(1, in_flight(self->pool));
	EXPECT_EQ(0, polled(fbuf_pool_fd(self->pool)));
	EXPECT_EQ(-EAGAIN, fbuf_alloc(self->pool, &name, 1, 0));
	EXPECT_EQ(-EAGAIN, fbuf_alloc(self->pool, &name, 1, 20));
	EXPECT_EQ(-EAGAIN, fbuf_alloc_flags(self->pool, &name, 1,
					    FBUF_ALLOC_ALL, 0));
	ASSERT_EQ(50, write(self->pipe[1], data, 50));
	EXPECT_EQ(1, fbuf_alloc(self->pool, &name, 1, -1));
	pthread_join(thread, NULL);
	EXPECT_EQ(50, self->ret);
	EXPECT_EQ(0, in_flight(self->pool));
	EXPECT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(name));
	EXPECT_NE(self->names[0], name);
	EXPECT_EQ(0, memcmp(fbuf_addr(self->pool, name) + 100, data, 50));
}

TEST_F(soft, filled_is_not_protected)
{
	pthread_t thread;
	ssize_t want = variant->flags & (FBUF_POOL_SECURED |
					 FBUF_POOL_SNAPSHOT) ? -EBUSY : 10;

	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_it, self));
	ASSERT_TRUE(wait_for(fbuf_wait(self->pool, self->names, 1, 0, 0) < 0,
			     DEADLINE_MS));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	EXPECT_EQ(want, fbuf_send(self->g, self->sock[0], 0, NULL));
	EXPECT_EQ(want < 0 ? want : -EOPNOTSUPP,
		  fbuf_secure(self->pool, self->names, 1));
	EXPECT_EQ(10, fbuf_send(self->g, self->sock[0], FBUF_SEND_VOLATILE,
				NULL));
	ASSERT_EQ(50, write(self->pipe[1], data, 50));
	pthread_join(thread, NULL);
	EXPECT_EQ(10, fbuf_send(self->g, self->sock[0], 0, NULL));
}

TEST_F(soft, fill_past_the_page_cache)
{
	const unsigned int how = FBUF_FILL_DIRECT;
	char path[32];
	FILE *f = tmpfile();
	uint8_t *p = fbuf_addr(self->pool, self->names[0]), bytes[8192];
	int fd, direct;

	ASSERT_NE(NULL, f);
	fd = fileno(f);
	pattern_fill(bytes, 9, 0, sizeof(bytes));
	ASSERT_EQ((ssize_t)sizeof(bytes), write(fd, bytes, sizeof(bytes)));
	ASSERT_EQ(0, lseek(fd, 0, SEEK_SET));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	direct = open(path, O_RDONLY | O_DIRECT);
	if (direct < 0) {
		EXPECT_EQ(-EOPNOTSUPP, fbuf_fill(self->pool, self->names[0], 0,
						 4096, fd, how));
		fclose(f);
		return;
	}
	EXPECT_EQ(4096, fbuf_fill(self->pool, self->names[0], 0, 4096, fd, how));
	EXPECT_EQ(-1, pattern_differs(p, 9, 0, 4096));
	EXPECT_EQ(4096, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(4096, fbuf_fill_at(self->pool, self->names[0], 0, 4096, fd, 0,
				     0, how));
	EXPECT_EQ(-1, pattern_differs(p, 9, 0, 4096));
	EXPECT_EQ(4096, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(4096, fbuf_fill(self->pool, self->names[0], 4096, 8192, fd,
				  how | FBUF_FILL_ALL));
	EXPECT_EQ(-1, pattern_differs(p, 9, 0, 8192));
	EXPECT_EQ(0, fbuf_fill(self->pool, self->names[0], 0, 4096, fd, how));
	close(direct);
	/* What may not be read is not opened anew for that. */
	direct = open(path, O_WRONLY);
	EXPECT_EQ(-EBADF, fbuf_fill(self->pool, self->names[0], 0, 4096, direct,
				    how));
	close(direct);
	fclose(f);
}

TEST_F(soft, fill_from_what_there_is)
{
	uint8_t *p = fbuf_addr(self->pool, self->names[0]);
	int dir = open("/", O_RDONLY), null = open("/dev/null", O_WRONLY);

	EXPECT_EQ(-EAGAIN, fbuf_fill(self->pool, self->names[0], 0, 10,
				     self->sock[1], FBUF_FILL_DONTWAIT));
	ASSERT_EQ(10, write(self->sock[0], "0123456789", 10));
	EXPECT_EQ(4, fbuf_fill(self->pool, self->names[0], 0, 4, self->sock[1],
			       0));
	EXPECT_EQ(6, fbuf_fill(self->pool, self->names[0], 4, 6, self->sock[1],
			       FBUF_FILL_ALL));
	EXPECT_EQ(0, memcmp(p, "0123456789", 10));
	EXPECT_EQ(-EOPNOTSUPP, fbuf_fill(self->pool, self->names[0], 0, 10,
					 self->sock[1], FBUF_FILL_DIRECT));
	EXPECT_EQ(-EOPNOTSUPP, fbuf_fill(self->pool, self->names[0], 0, 10,
					 self->pipe[0], FBUF_FILL_DIRECT));
	EXPECT_EQ(-EISDIR, fbuf_fill(self->pool, self->names[0], 0, 10, dir,
				     0));
	EXPECT_EQ(-EBADF, fbuf_fill(self->pool, self->names[0], 0, 10, null,
				    0));
	EXPECT_EQ(-EINVAL, fbuf_fill_at(self->pool, self->names[0], 0, 10,
					self->sock[1], -1, 10, 0));
	EXPECT_EQ(-EINVAL, fbuf_fill(self->pool, self->names[0], BUF_SIZE - 5,
				     6, self->sock[1], 0));
	shutdown(self->sock[0], SHUT_WR);
	EXPECT_EQ(0, fbuf_fill(self->pool, self->names[0], 0, 4, self->sock[1],
			       FBUF_FILL_ALL));
	EXPECT_EQ(1, fbuf_wait(self->pool, self->names, 1, 0, 0));
	close(dir);
	close(null);
}

static int next_of_type(struct fbuf_pool *pool, struct fbuf_ring_entry *e,
			int ms)
{
	int ret = fbuf_ring_wait(pool, e, ms);

	return ret < 1 ? ret : e->type == FBUF_RING_IDLE ? 1 : -EPROTO;
}

/* A notice comes when all that uses the buffer is over, one for many sends. */
TEST_F(soft, notice_waits_for_a_fill)
{
	struct fbuf_ring_entry e;
	pthread_t thread;
	int i;

	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 4, 0, -1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_it, self));
	ASSERT_TRUE(wait_for(fbuf_wait(self->pool, self->names, 1, 0, 0) < 0,
			     DEADLINE_MS));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[1], 0, 10));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(20, fbuf_send(self->g, self->sock[0],
					FBUF_SEND_NOTIFY | FBUF_SEND_VOLATILE,
					NULL));
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, next_of_type(self->pool, &e, 0));
		EXPECT_EQ(self->names[1], e.name);
	}
	EXPECT_EQ(0, next_of_type(self->pool, &e, 20));
	ASSERT_EQ(50, write(self->pipe[1], data, 50));
	ASSERT_EQ(1, next_of_type(self->pool, &e, DEADLINE_MS));
	EXPECT_EQ(self->names[0], e.name);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, next_of_type(self->pool, &e, 0));
}

/* Those for which there was no room have the names of then. */
TEST_F(soft, late_notices_keep_their_names)
{
	struct fbuf_ring_entry e;
	uint64_t names[NR_BUFS], count, overflow;
	unsigned int i, round;
	int efd = eventfd(0, EFD_NONBLOCK);

	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 2, FBUF_RING_EVENTFD, efd));
	for (i = 0; i < NR_BUFS; i++)
		ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[i], i,
						10));
	ASSERT_EQ(10 * NR_BUFS, fbuf_send(self->g, self->sock[0],
					  FBUF_SEND_NOTIFY, NULL));
	EXPECT_EQ(8, read(efd, &count, 8));
	ASSERT_EQ(0, fbuf_ring_overflow(self->pool, &overflow));
	EXPECT_EQ(NR_BUFS - 2, overflow);
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, fbuf_alloc(self->pool, names, NR_BUFS, 0));
	fbuf_gather_reset(self->g);
	for (i = 0; i < NR_BUFS; i++)
		ASSERT_EQ(0, fbuf_gather_append(self->g, names[i], i, 10));
	ASSERT_EQ(10 * NR_BUFS, fbuf_send(self->g, self->sock[0],
					  FBUF_SEND_NOTIFY, NULL));
	for (round = 0; round < 2; round++)
		for (i = 0; i < NR_BUFS; i++) {
			EXPECT_EQ(POLLIN, polled(fbuf_pool_fd(self->pool)) &
					  POLLIN);
			ASSERT_EQ(1, next_of_type(self->pool, &e, 0));
			EXPECT_EQ(round ? names[i] : self->names[i], e.name);
		}
	EXPECT_EQ(8, read(efd, &count, 8));
	EXPECT_EQ(0, next_of_type(self->pool, &e, 0));
	EXPECT_EQ(0, polled(fbuf_pool_fd(self->pool)) & POLLIN);
	close(efd);
}

TEST_F(soft, no_notice_of_a_send_that_fails)
{
	struct fbuf_target targets[2] = { { .fd = -1 }, { .fd = -1 } };
	struct fbuf_ring_entry e;

	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 4, 0, -1));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	EXPECT_EQ(-EBADF, fbuf_send(self->g, -1, FBUF_SEND_NOTIFY, NULL));
	EXPECT_EQ(-ENOTSOCK, fbuf_send(self->g, self->pipe[1],
				       FBUF_SEND_NOTIFY, NULL));
	EXPECT_EQ(0, fbuf_fanout(self->g, targets, 2, FBUF_SEND_NOTIFY, 0));
	EXPECT_EQ(-EBADF, targets[1].result);
	EXPECT_EQ(0, next_of_type(self->pool, &e, 0));
	targets[1].fd = self->sock[0];
	EXPECT_EQ(1, fbuf_fanout(self->g, targets, 2, FBUF_SEND_NOTIFY, 0));
	EXPECT_EQ(1, next_of_type(self->pool, &e, 0));
	EXPECT_EQ(1, fbuf_wait(self->pool, self->names, 1, 0, 0));
}

static int send_cookie(struct _test_data_soft *self, int sock, uint64_t cookie)
{
	struct fbuf_send send = {
		.size = sizeof(send),
		.flags = FBUF_SEND_COOKIE | FBUF_SEND_VOLATILE,
		.segs = (uintptr_t)fbuf_gather_segs(self->g),
		.nr_segs = fbuf_gather_nr_segs(self->g),
		.fd = sock,
		.cookie = cookie,
	};

	return lib_call(self->pool, FBUF_IOC_SEND, &send);
}

static uint64_t next_cookie(struct fbuf_pool *pool)
{
	struct fbuf_ring_entry e;

	if (fbuf_ring_wait(pool, &e, 0) != 1 || e.type != FBUF_RING_SENT ||
	    e.name || e.from || e.reserved)
		return 0;
	return e.data;
}

/* There when the send returns, whatever else is with the buffers. */
TEST_F(soft, cookies)
{
	struct fbuf_send_item items[3];
	struct fbuf_send_batch batch = {
		.size = sizeof(batch), .flags = FBUF_SEND_COOKIE,
		.items = (uintptr_t)items, .count = 3, .cookie = 100,
	};
	struct fbuf_target targets[2] = {
		{ .fd = self->sock[0] }, { .fd = self->sock[0] },
	};
	struct fbuf_fanout fanout = {
		.size = sizeof(fanout), .flags = FBUF_SEND_COOKIE,
		.targets = (uintptr_t)targets, .nr_targets = 2, .cookie = 200,
	};
	unsigned int i;

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	EXPECT_EQ(-EINVAL, send_cookie(self, self->sock[0], 1));
	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 2, 0, -1));
	EXPECT_EQ(-EBADF, send_cookie(self, -1, 1));
	EXPECT_EQ(0, next_cookie(self->pool));
	for (i = 0; i < 3; i++)
		fbuf_item_set(&items[i], self->g, i == 1 ? -1 : self->sock[0]);
	EXPECT_EQ(3, lib_call(self->pool, FBUF_IOC_SEND_BATCH, &batch));
	EXPECT_EQ(-EBADF, items[1].result);
	EXPECT_EQ(100, next_cookie(self->pool));
	EXPECT_EQ(102, next_cookie(self->pool));
	fanout.segs = items[0].segs;
	fanout.nr_segs = items[0].nr_segs;
	EXPECT_EQ(2, lib_call(self->pool, FBUF_IOC_FANOUT, &fanout));
	EXPECT_EQ(200, next_cookie(self->pool));
	EXPECT_EQ(0, next_cookie(self->pool));
	targets[0].fd = -1;
	targets[1].fd = -1;
	EXPECT_EQ(0, lib_call(self->pool, FBUF_IOC_FANOUT, &fanout));
	EXPECT_EQ(0, next_cookie(self->pool));
	/* More than there is room for. */
	for (i = 0; i < 10; i++)
		EXPECT_EQ(10, send_cookie(self, self->sock[0], 1 + i));
	for (i = 0; i < 10; i++)
		EXPECT_EQ(1 + i, next_cookie(self->pool));
	EXPECT_EQ(0, next_cookie(self->pool));
}

TEST_F(soft, cookies_that_wait_are_bounded)
{
	char drain[1024];
	unsigned int i;
	int ret = 0;

	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 1, 0, -1));
	for (i = 0; i < FBUF_SEGS_MAX; i++)
		ASSERT_EQ(0, fbuf_gather_append(self->g,
						self->names[i % NR_BUFS], i, 1));
	for (i = 0; i < 100; i++) {
		ret = send_cookie(self, self->sock[0], 1 + i);
		if (ret != FBUF_SEGS_MAX)
			break;
		ASSERT_EQ(ret, read_full(self->sock[1], drain, ret));
	}
	EXPECT_EQ(-ENOBUFS, ret);
	/* One of them found room. */
	EXPECT_EQ(65536 / FBUF_SEGS_MAX + 1, i);
	EXPECT_EQ(1, next_cookie(self->pool));
	EXPECT_EQ((int)FBUF_SEGS_MAX, send_cookie(self, self->sock[0], 4711));
	for (i = 1; i <= 65536 / FBUF_SEGS_MAX; i++)
		EXPECT_EQ(1 + i, next_cookie(self->pool));
	EXPECT_EQ(4711, next_cookie(self->pool));
}

static int drop(struct fbuf_pool *pool, const uint64_t *names,
		unsigned int count)
{
	struct fbuf_batch batch = {
		.size = sizeof(batch), .names = (uintptr_t)names,
		.count = count,
	};

	return lib_call(pool, FBUF_IOC_DROP, &batch);
}

TEST_F(soft, drop)
{
	struct fbuf_pool *other = share(self->pool, FBUF_RIGHT_READ, 0);
	char *p = fbuf_addr(self->pool, self->names[0]);
	struct fbuf_info info;
	uint64_t stale[2] = { self->names[1], self->names[2] + (1ULL << 32) };

	ASSERT_NE(NULL, other);
	if (!(variant->flags & FBUF_POOL_LAZY)) {
		EXPECT_EQ(-EOPNOTSUPP, drop(self->pool, self->names, 1));
		fbuf_pool_close(other);
		return;
	}
	memset(p, 1, 3 * BUF_SIZE);
	EXPECT_EQ(-EACCES, drop(other, self->names, 1));
	EXPECT_EQ(-ESTALE, drop(self->pool, stale, 2));
	ASSERT_EQ(0, fbuf_hold(other, self->names + 2, 1));
	EXPECT_EQ(-EBUSY, drop(self->pool, self->names, 3));
	EXPECT_EQ(1, p[0]);
	EXPECT_EQ(2, drop(self->pool, self->names, 2));
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(BUF_SIZE, info.resident);
	EXPECT_EQ(0, p[0]);
	EXPECT_EQ(0, p[2 * BUF_SIZE - 1]);
	EXPECT_EQ(1, p[2 * BUF_SIZE]);
	fbuf_pool_close(other);
}

/* Nobody is to see what a pool fd is. */
TEST_F(soft, own_fd)
{
	int fd = fbuf_pool_fd(self->pool);
	struct fbuf_target target = { .fd = fd };

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	EXPECT_EQ(-ENOTSOCK, fbuf_send(self->g, fd, 0, NULL));
	EXPECT_EQ(0, fbuf_fanout(self->g, &target, 1, 0, 0));
	EXPECT_EQ(-ENOTSOCK, target.result);
	EXPECT_EQ(-EINVAL, fbuf_fill(self->pool, self->names[0], 0, 10, fd, 0));
}

TEST_F(soft, engines)
{
	struct fbuf_result result;

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	EXPECT_EQ(-EOPNOTSUPP, fbuf_sendto(self->g, self->sock[0], 0,
					   FBUF_ENGINE_PAGEREF, NULL, 0,
					   NULL));
	EXPECT_EQ(-EBADF, fbuf_sendto(self->g, -1, 0, FBUF_ENGINE_PAGEREF,
				      NULL, 0, NULL));
	EXPECT_EQ(-ENOTSOCK, fbuf_sendto(self->g, self->pipe[1], 0,
					 FBUF_ENGINE_PAGEREF, NULL, 0, NULL));
	EXPECT_EQ(-EINVAL, fbuf_sendto(self->g, self->sock[0], 0, 1U << 31,
				       NULL, 0, NULL));
	EXPECT_EQ(10, fbuf_sendto(self->g, self->sock[0], 0,
				  FBUF_ENGINE_PAGEREF | FBUF_ENGINE_COPY, NULL,
				  0, &result));
	EXPECT_EQ(FBUF_ENGINE_COPY, result.engine);
	EXPECT_EQ(10, result.copied);
}

static ssize_t send_to_name(struct _test_data_soft *self, const void *name,
			    socklen_t len)
{
	return fbuf_sendto(self->g, self->sock[0], 0, 0, name, len, NULL);
}

TEST_F(soft, bad_sends)
{
	char name[256] = { 0 };

	EXPECT_EQ(-EINVAL, fbuf_send(self->g, self->sock[0], 0, NULL));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	EXPECT_EQ(-EINVAL, send_to_name(self, name, FBUF_NAME_MAX + 1));
	EXPECT_EQ(-EINVAL, send_to_name(self, name, 0));
	EXPECT_EQ(-EINVAL, fbuf_send(self->g, self->sock[0], 1U << 30, NULL));
	EXPECT_EQ(-EINVAL, fbuf_send(self->g, self->sock[0],
				     FBUF_SEND_VOLATILE | FBUF_SEND_SECURED,
				     NULL));
	EXPECT_EQ(-EINVAL, fbuf_send_datagrams(self->g, self->sock[0], 0, 0,
					       NULL, 0, 65536, NULL));
	EXPECT_EQ(-EBADF, fbuf_send_datagrams(self->g, -1, 0, 0, NULL, 0, 10,
					      NULL));
	ASSERT_EQ(0, fbuf_gather_append_inline(self->g, NULL, 10));
	EXPECT_EQ(-EFAULT, fbuf_send(self->g, self->sock[0], 0, NULL));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ(1, fbuf_wait(self->pool, self->names, 1, 0, 0));
}

/* Segments, of 4 MiB: more than two sockets hold. */
#define MANY	256U

static void *send_it(void *arg)
{
	struct _test_data_soft *self = arg;

	__atomic_store_n(&self->tid, gettid(), __ATOMIC_RELEASE);
	self->ret = fbuf_send(self->g, self->sock[0], 0, NULL);
	__atomic_store_n(&self->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool sleeps_for_long(const struct _test_data_soft *self)
{
	int tid = __atomic_load_n(&self->tid, __ATOMIC_ACQUIRE);
	unsigned int i;

	for (i = 0; tid && i < 10; i++) {
		if (wait_state(getpid(), tid, "S", 0))
			return false;
		relax();
	}
	return tid;
}

TEST_F(soft, send_that_waits_keeps_its_promise)
{
	struct reader r = { .fd = self->sock[1] };
	pthread_t thread;
	unsigned int i;

	if (!(variant->flags & (FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT)))
		SKIP(return, "it promises nothing");
	sock_small(self->sock);
	for (i = 0; i < MANY; i++) {
		pattern_fill(fbuf_addr(self->pool, self->names[i % NR_BUFS]),
			     i % NR_BUFS, 0, BUF_SIZE);
		ASSERT_EQ(0, fbuf_gather_append(self->g,
						self->names[i % NR_BUFS], 0,
						BUF_SIZE));
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_it, self));
	/* What is written while it copies may be sent. */
	EXPECT_TRUE(wait_for(sleeps_for_long(self), DEADLINE_MS));
	EXPECT_FALSE(is_done(self));
	for (i = 0; i < NR_BUFS; i++)
		memset(fbuf_addr(self->pool, self->names[i]), 0xee, BUF_SIZE);
	/* It is read from until it is over: nobody else gets it. */
	EXPECT_EQ(-ETIMEDOUT, fbuf_wait(self->pool, self->names, 1, 0, 0));
	ASSERT_EQ(0, reader_start(&r, self->sock[1], MANY * BUF_SIZE, -1));
	pthread_join(thread, NULL);
	EXPECT_EQ((ssize_t)(MANY * BUF_SIZE), self->ret);
	EXPECT_EQ((ssize_t)(MANY * BUF_SIZE), reader_join(&r));
	for (i = 0; i < MANY; i++)
		EXPECT_EQ(-1, pattern_differs(r.data + i * BUF_SIZE,
					      i % NR_BUFS, 0, BUF_SIZE));
	free(r.data);
}

TEST_F(soft, send_in_progress_keeps_its_buffers)
{
	pthread_t thread;
	uint64_t name;

	sock_small(self->sock);
	ASSERT_LT(0, sock_fill(self->sock[0]));
	ASSERT_EQ(0, fcntl(self->sock[0], F_SETFL, 0));
	pattern_fill(fbuf_addr(self->pool, self->names[2]), 2, 0, BUF_SIZE);
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[2], 0, BUF_SIZE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_it, self));
	ASSERT_TRUE(wait_for(fbuf_wait(self->pool, self->names + 2, 1, 0, 0) < 0,
			     DEADLINE_MS));
	ASSERT_EQ(0, fbuf_free(self->pool, self->names + 2, 1));
	EXPECT_EQ(-EAGAIN, fbuf_alloc(self->pool, &name, 1, 0));
	EXPECT_EQ(1, in_flight(self->pool));
	shutdown(self->sock[0], SHUT_RDWR);
	EXPECT_EQ(1, fbuf_alloc(self->pool, &name, 1, DEADLINE_MS));
	pthread_join(thread, NULL);
	EXPECT_EQ(-EPIPE, self->ret);
}

static bool secures(void)
{
	return fbuf_features(FBUF_BACKEND_USER) & FBUF_FEATURE_SECURE;
}

static int read_into(int fd[2], void *to)
{
	int saved = errno;
	ssize_t n;

	if (write(fd[1], "x", 1) != 1)
		return -EIO;
	n = read(fd[0], to, 1);
	if (n == 1)
		return 0;
	n = -errno;
	errno = saved;
	return n;
}

static void *store(void *arg)
{
	struct _test_data_soft *self = arg;

	__atomic_store_n((char *)fbuf_addr(self->pool, self->names[0]), 'y',
			 __ATOMIC_RELAXED);
	__atomic_store_n(&self->done, true, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F(soft, secured_is_not_written)
{
	struct fbuf_pool *other;
	pthread_t thread;
	char *p = fbuf_addr(self->pool, self->names[0]);
	char byte;

	if (!(variant->flags & (FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT)))
		SKIP(return, "nothing is secured in such a pool");
	if (!secures())
		SKIP(return, "no userfaultfd for that");
	other = share(self->pool, 0, 0);
	ASSERT_NE(NULL, other);
	ASSERT_EQ(0, fbuf_hold(other, self->names, 1));
	*p = 'x';
	ASSERT_EQ(0, fbuf_secure(self->pool, self->names, 1));
	ASSERT_EQ(0, fbuf_secure(other, self->names, 1));
	EXPECT_EQ('x', *p);
	EXPECT_EQ(-EFAULT, read_into(self->pipe, p));
	EXPECT_EQ(0, read_into(self->pipe, p + BUF_SIZE));
	/* The byte that was not read. */
	EXPECT_EQ(1, read(self->pipe[0], &byte, 1));
	EXPECT_EQ(-EBUSY, fbuf_fill(self->pool, self->names[0], 0, 1,
				    self->pipe[0], FBUF_FILL_DONTWAIT));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 1));
	EXPECT_EQ(1, fbuf_send(self->g, self->sock[0], 0, NULL));
	if (variant->flags & FBUF_POOL_SIGBUS) {
		EXPECT_EQ(-EBUSY, fbuf_fill(self->pool, self->names[0], 0, 1,
					    self->pipe[0], 0));
		fbuf_pool_close(other);
		ASSERT_EQ(0, fbuf_free(self->pool, self->names, 1));
		EXPECT_EQ(0, read_into(self->pipe, p));
		return;
	}
	ASSERT_EQ(0, pthread_create(&thread, NULL, store, self));
	EXPECT_FALSE(wait_for(is_done(self), 50));
	/* One of two is not enough. */
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 1));
	EXPECT_FALSE(wait_for(is_done(self), 50));
	EXPECT_EQ('x', __atomic_load_n(p, __ATOMIC_RELAXED));
	fbuf_pool_close(other);
	EXPECT_TRUE(wait_for(is_done(self), DEADLINE_MS));
	pthread_join(thread, NULL);
	EXPECT_EQ('y', *p);
}

static sigjmp_buf before_sigbus;
static void *sigbus_at;		/* atomic */

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	__atomic_store_n(&sigbus_at, info->si_addr, __ATOMIC_RELAXED);
	siglongjmp(before_sigbus, 1);
}

TEST_F(soft, secured_gets_sigbus)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO };
	char *p = fbuf_addr(self->pool, self->names[3]);

	if (!(variant->flags & FBUF_POOL_SIGBUS))
		SKIP(return, "here it waits, if at all");
	if (!secures())
		SKIP(return, "no userfaultfd for that");
	ASSERT_EQ(0, fbuf_secure(self->pool, self->names, NR_BUFS));
	ASSERT_EQ(0, sigaction(SIGBUS, &sa, NULL));
	if (!sigsetjmp(before_sigbus, 1))
		__atomic_store_n(&p[4096], 1, __ATOMIC_RELAXED);
	EXPECT_EQ(&p[4096], __atomic_load_n(&sigbus_at, __ATOMIC_RELAXED));
	EXPECT_EQ(0, p[4096]);
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 4));
	__atomic_store_n(&p[4096], 1, __ATOMIC_RELAXED);
}

TEST_F(soft, fill_waits_for_what_is_secured)
{
	pthread_t thread;

	if (!(variant->flags & (FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT)) ||
	    variant->flags & FBUF_POOL_SIGBUS)
		SKIP(return, "nobody waits in such a pool");
	if (!secures())
		SKIP(return, "no userfaultfd for that");
	ASSERT_EQ(0, fbuf_secure(self->pool, self->names, 1));
	ASSERT_EQ(50, write(self->pipe[1], data, 50));
	ASSERT_EQ(0, pthread_create(&thread, NULL, fill_it, self));
	EXPECT_FALSE(wait_for(is_done(self), 50));
	/* With the hold of the one who fills, too. */
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, 1));
	pthread_join(thread, NULL);
	EXPECT_EQ(-ESTALE, self->ret);
}

static void on_alarm(int sig)
{
}

TEST_F(soft, wait_is_interrupted)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	struct itimerval timer = {
		.it_value.tv_usec = 50000, .it_interval.tv_usec = 50000,
	};
	uint64_t name;

	ASSERT_EQ(0, sigaction(SIGALRM, &sa, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &timer, NULL));
	EXPECT_EQ(-EINTR, fbuf_alloc_flags(self->pool, &name, 1,
					   FBUF_ALLOC_WAIT, DEADLINE_MS));
	timer = (struct itimerval){ 0 };
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void *alloc_forever(void *arg)
{
	struct _test_data_soft *self = arg;
	uint64_t name;

	self->ret = fbuf_alloc(self->pool, &name, 1, 200);
	return NULL;
}

/* As with the module: what was begun is ended, and nothing stays locked. */
TEST_F(soft, cancelled_thread_leaves_no_mess)
{
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, BUF_SIZE));
	sock_small(self->sock);
	ASSERT_LT(0, sock_fill(self->sock[0]));
	ASSERT_EQ(0, fcntl(self->sock[0], F_SETFL, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_it, self));
	ASSERT_TRUE(wait_for(fbuf_wait(self->pool, self->names, 1, 0, 0) < 0,
			     DEADLINE_MS));
	pthread_cancel(thread);
	EXPECT_FALSE(wait_for(fbuf_wait(self->pool, self->names, 1, 0, 0) > 0,
			      30));
	shutdown(self->sock[0], SHUT_RDWR);
	pthread_join(thread, &ret);
	EXPECT_EQ(1, fbuf_wait(self->pool, self->names, 1, 0, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, alloc_forever, self));
	pthread_cancel(thread);
	pthread_join(thread, &ret);
	EXPECT_EQ(0, fbuf_free(self->pool, self->names, NR_BUFS));
}

/* As daemons do. Then the numbers are others', and so are their bytes. */
TEST_F(soft, closes_all_fds)
{
	struct fbuf_ring_entry e;
	int others[32][2], fd = eventfd(0, EFD_NONBLOCK);
	unsigned int i;

	ASSERT_EQ(0, fbuf_ring_setup(self->pool, 1, FBUF_RING_EVENTFD, fd));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[0], 0, 10));
	ASSERT_EQ(0, fbuf_gather_append(self->g, self->names[1], 0, 10));
	if (secures() && variant->flags & FBUF_POOL_SECURED)
		ASSERT_EQ(0, fbuf_secure(self->pool, self->names, 1));
	for (fd = 3; fd < 64; fd++)
		close(fd);
	for (i = 0; i < 32; i++)
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, others[i]));
	ASSERT_EQ(20, fbuf_send(self->g, others[31][0], FBUF_SEND_NOTIFY,
				NULL));
	ASSERT_EQ(1, fbuf_ring_next(self->pool, &e));
	ASSERT_EQ(1, fbuf_ring_next(self->pool, &e));
	ASSERT_EQ(0, fbuf_free(self->pool, self->names, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, fbuf_alloc(self->pool, self->names, NR_BUFS,
					   0));
	for (i = 0; i < 31; i++) {
		EXPECT_EQ(0, polled(others[i][0]) & POLLIN);
		EXPECT_EQ(0, polled(others[i][1]) & POLLIN);
	}
	/* What the program has there now is not closed either, but for its fd. */
	fd = fbuf_pool_fd(self->pool);
	fbuf_gather_destroy(self->g);
	fbuf_pool_close(self->pool);
	self->pool = NULL;
	self->g = NULL;
	for (i = 0; i < 31; i++) {
		EXPECT_TRUE(others[i][0] == fd || !fcntl(others[i][0], F_GETFD));
		EXPECT_TRUE(others[i][1] == fd || !fcntl(others[i][1], F_GETFD));
	}
}

/* Threads that do everything at once, each with a handle of its own. */
#define THREADS	4U
#define ROUNDS	1500U

struct mixer {
	struct fbuf_pool *pool, *maker;
	const struct mixer *all;
	pthread_t thread;
	unsigned int seed;
	uint64_t names[64];
	unsigned int nr;
	int sock[2];
	const char *wrong;
};

static void mixer_drop(struct mixer *m, unsigned int i)
{
	m->names[i] = m->names[--m->nr];
}

static void mixer_send(struct mixer *m)
{
	struct fbuf_gather *g = fbuf_gather_new(m->pool);
	struct fbuf_result result;
	char got[3000];
	unsigned int i;
	ssize_t ret;

	for (i = 0; i < m->nr && i < 3; i++)
		fbuf_gather_append(g, m->names[i], 0, 900);
	ret = fbuf_send(g, m->sock[0], FBUF_SEND_NOTIFY, &result);
	if (ret != (ssize_t)fbuf_gather_len(g) ||
	    recv(m->sock[1], got, sizeof(got), MSG_WAITALL | MSG_DONTWAIT) != ret)
		m->wrong = "send";
	for (i = 0; i < m->nr && i < 3; i++)
		if (memcmp(got + i * 900, fbuf_addr(m->pool, m->names[i]), 900))
			m->wrong = "bytes";
	fbuf_gather_destroy(g);
}

static void mixer_pass(struct mixer *m)
{
	const struct mixer *to = &m->all[rand_r(&m->seed) % THREADS];
	struct fbuf_item item = { .name = m->names[0] };
	int ret;

	if (to == m)
		return;
	ret = fbuf_pass(m->pool, fbuf_pool_handle(to->pool), &item, 1, 0);
	if (!ret)
		mixer_drop(m, 0);
	else if (ret != -EAGAIN)
		m->wrong = "pass";
}

static void mixer_take(struct mixer *m)
{
	struct fbuf_ring_entry e;

	while (m->nr < 60 && fbuf_ring_next(m->pool, &e) == 1)
		if (e.type == FBUF_RING_PASSED)
			m->names[m->nr++] = e.name;
}

static void mixer_share(struct mixer *m)
{
	struct fbuf_pool *other = share(m->maker, ALL_RIGHTS, 2);
	uint64_t name;

	if (!other) {
		m->wrong = "share";
		return;
	}
	fbuf_alloc(other, &name, 1, 0);
	if (m->nr && fbuf_hold(other, m->names, 1) &&
	    fbuf_hold(other, m->names, 1) != -EDQUOT)
		m->wrong = "hold";
	fbuf_pool_close(other);
}

static void mixer_alloc(struct mixer *m)
{
	int ret = fbuf_alloc(m->pool, m->names + m->nr, 2, 1);
	unsigned int i;

	for (i = 0; ret > 0 && i < (unsigned int)ret; i++)
		memset(fbuf_addr(m->pool, m->names[m->nr + i]), m->seed, 900);
	if (ret > 0)
		m->nr += ret;
	else if (ret != -ENOBUFS && ret != -EAGAIN)
		m->wrong = "alloc";
}

static void *mix(void *arg)
{
	struct mixer *m = arg;
	unsigned int i;

	for (i = 0; i < ROUNDS && !m->wrong; i++) {
		mixer_take(m);
		switch (rand_r(&m->seed) % 8) {
		case 0:
		case 1:
			if (m->nr < 60)
				mixer_alloc(m);
			break;
		case 2:
		case 3:
			if (m->nr)
				mixer_send(m);
			break;
		case 4:
			if (m->nr)
				mixer_pass(m);
			break;
		case 5:
			if (i % 16 == 0)
				mixer_share(m);
			break;
		default:
			if (!m->nr)
				break;
			if (fbuf_free(m->pool, m->names, 1))
				m->wrong = "free";
			mixer_drop(m, 0);
		}
	}
	return NULL;
}

TEST_F(soft, threads)
{
	struct mixer m[THREADS] = { 0 };
	struct fbuf_info info;
	unsigned int i;

	ASSERT_EQ(0, fbuf_free(self->pool, self->names, NR_BUFS));
	for (i = 0; i < THREADS; i++) {
		m[i].maker = self->pool;
		m[i].all = m;
		m[i].seed = i;
		m[i].pool = share(self->pool, ALL_RIGHTS, 0);
		ASSERT_NE(NULL, m[i].pool);
		ASSERT_EQ(0, fbuf_ring_setup(m[i].pool, 4, FBUF_RING_ACCEPT,
					     -1));
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, m[i].sock));
	}
	for (i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&m[i].thread, NULL, mix, &m[i]));
	for (i = 0; i < THREADS; i++)
		pthread_join(m[i].thread, NULL);
	for (i = 0; i < THREADS; i++) {
		EXPECT_EQ(NULL, m[i].wrong) {
			TH_LOG("%s", m[i].wrong);
		}
		fbuf_pool_close(m[i].pool);
		close(m[i].sock[0]);
		close(m[i].sock[1]);
	}
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(0U, info.nr_held);
	EXPECT_EQ(0U, info.nr_in_flight);
	EXPECT_EQ(1U, info.nr_handles);
	EXPECT_EQ((int)NR_BUFS, fbuf_alloc(self->pool, self->names, NR_BUFS,
					   0));
}

/* What the environment and the program say. */
TEST(backend_wanted)
{
	struct fbuf_pool *pool;

	unsetenv("FBUF_BACKEND");
	ASSERT_EQ(0, fbuf_backend_set(0));
	EXPECT_EQ(access(FBUF_DEVICE, R_OK | W_OK) ? FBUF_BACKEND_USER :
						     FBUF_BACKEND_MODULE,
		  fbuf_backend());
	setenv("FBUF_BACKEND", "user", 1);
	EXPECT_EQ(FBUF_BACKEND_USER, fbuf_backend());
	ASSERT_EQ(0, fbuf_pool_create(&pool, BUF_SIZE, 1));
	EXPECT_EQ(FBUF_BACKEND_USER, fbuf_pool_backend(pool));
	fbuf_pool_close(pool);
	setenv("FBUF_BACKEND", "module", 1);
	EXPECT_EQ(access(FBUF_DEVICE, R_OK | W_OK) ? 0 : FBUF_BACKEND_MODULE,
		  fbuf_backend());
	if (access(FBUF_DEVICE, F_OK))
		EXPECT_EQ(-ENOENT, fbuf_pool_create(&pool, BUF_SIZE, 1));
	/* The program has the last word. */
	ASSERT_EQ(0, fbuf_backend_set(FBUF_BACKEND_USER));
	EXPECT_EQ(FBUF_BACKEND_USER, fbuf_backend());
	EXPECT_STREQ("none", fbuf_backend_name(0));
}

TEST(bad_pools)
{
	struct fbuf_pool_options opt = FBUF_POOL_OPTIONS_INIT;
	struct fbuf_pool *pool;

	ASSERT_EQ(0, fbuf_backend_set(FBUF_BACKEND_USER));
	EXPECT_EQ(-EINVAL, fbuf_pool_create(&pool, 2048, 1));
	EXPECT_EQ(-EINVAL, fbuf_pool_create(&pool, 4 << 20, 1));
	EXPECT_EQ(-EINVAL, fbuf_pool_create(&pool, BUF_SIZE, 0));
	EXPECT_EQ(-EINVAL, fbuf_pool_create(&pool, BUF_SIZE, ~0U));
	EXPECT_EQ(-ENOMEM, fbuf_pool_create(&pool, 2 << 20, 1 << 19));
	EXPECT_EQ(-EINVAL, fbuf_pool_create_on(&pool, BUF_SIZE, 1, -2));
	opt.buf_size = BUF_SIZE;
	opt.nr_bufs = 1;
	opt.flags = FBUF_POOL_SIGBUS;
	EXPECT_EQ(-EINVAL, fbuf_pool_create_with(&pool, &opt));
	opt.flags = 1U << 31;
	EXPECT_EQ(-EINVAL, fbuf_pool_create_with(&pool, &opt));
}

/* In a program of its own: with what it fails to open an fd. */
static int open_errno(const char *fd)
{
	struct fbuf_pool *pool;

	return -fbuf_pool_open(&pool, atoi(fd));
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "open"))
		return open_errno(argv[2]);
	return test_harness_run(argc, argv);
}
