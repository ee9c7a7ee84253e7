// SPDX-License-Identifier: GPL-2.0
/*
 * The pool as a file: sendfile(2), splice(2) and tee(2) from it, as programs call
 * them that know nothing of fbuf.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	(4 * PAGE)
#define NR_BUFS		8U
#define POOL_SIZE	(NR_BUFS * BUF_SIZE)
#define PATTERN		3

/* What the pipe of a sendfile() holds. */
#define PIPE_SIZE	(16 * PAGE)

/* A pool all held and filled with one pattern, its buffers in their order. */
static int make_filled(struct pool *pool, __u64 *names, __u32 flags)
{
	__u64 got[NR_BUFS];
	unsigned int i;
	int err;

	err = pool_make_flags(pool, BUF_SIZE, NR_BUFS, flags);
	if (err)
		return err;
	if (pool_alloc(pool->fd, got, NR_BUFS) != (int)NR_BUFS)
		return -EIO;
	for (i = 0; i < NR_BUFS; i++)
		names[FBUF_NAME_INDEX(got[i])] = got[i];
	pattern_fill(pool->map, PATTERN, 0, POOL_SIZE);
	return 0;
}

/* sendfile() to each kind of file. */
FIXTURE(sink)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int out;
	int in;		/* where it comes out again */
	__u8 *got;
};

FIXTURE_VARIANT(sink)
{
	int family;
	bool tls;
	bool pipe;
	bool file;
};

FIXTURE_VARIANT_ADD(sink, tcp)
{
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(sink, unix_stream)
{
	.family = AF_UNIX,
};

FIXTURE_VARIANT_ADD(sink, tls)
{
	.tls = true,
};

FIXTURE_VARIANT_ADD(sink, pipe)
{
	.pipe = true,
};

FIXTURE_VARIANT_ADD(sink, tmpfs)
{
	.file = true,
};

static int sink_open(const struct _fixture_variant_sink *variant, int fd[2])
{
	if (variant->tls)
		return tls_pair(fd);
	if (variant->family)
		return sock_pair(variant->family, SOCK_STREAM, fd);
	if (variant->pipe)
		return pipe(fd) ? -errno : 0;
	fd[0] = memfd_create("sink", 0);
	fd[1] = dup(fd[0]);
	return fd[1] < 0 ? -errno : 0;
}

FIXTURE_SETUP(sink)
{
	int fd[2], err;

	err = sink_open(variant, fd);
	if (err && variant->tls)
		SKIP(return, "no kernel TLS: %s", strerror(-err));
	ASSERT_EQ(0, err);
	/* A pipe has its ends the other way round. */
	self->out = fd[variant->pipe];
	self->in = fd[!variant->pipe];
	ASSERT_EQ(0, make_filled(&self->pool, self->names, 0));
	self->got = malloc(POOL_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(sink)
{
	close(self->out);
	close(self->in);
	pool_unmake(&self->pool);
	free(self->got);
}

/* All of it, in as many calls as that takes. */
static ssize_t sendfile_all(int out, int in, off_t pos, size_t len)
{
	off_t end = pos + len;
	ssize_t ret = 0;

	while (pos < end) {
		off_t before = pos;

		ret = sendfile(out, in, &pos, end - pos);
		if (ret <= 0)
			break;
		if (pos != before + ret)
			return -EINVAL;
	}
	return ret < 0 ? -errno : (ssize_t)(len - (end - pos));
}

/* Sends a part of the pool; whether it comes out there, and nothing else. */
static bool goes_through(struct _test_data_sink *self,
			 const struct _fixture_variant_sink *variant,
			 size_t pos, size_t len)
{
	struct reader reader;
	ssize_t sent, bad;

	if (variant->file) {
		if (ftruncate(self->out, 0) || lseek(self->out, 0, SEEK_SET))
			return false;
		sent = sendfile_all(self->out, self->pool.fd, pos, len);
		return sent == (ssize_t)len &&
		       pread(self->in, self->got, POOL_SIZE, 0) == sent &&
		       pattern_differs(self->got, PATTERN, pos, len) < 0;
	}
	if (reader_start(&reader, self->in, len, -1))
		return false;
	sent = sendfile_all(self->out, self->pool.fd, pos, len);
	if (sent != (ssize_t)len) {
		/* The reader would wait for ever. */
		close(self->out);
		self->out = -1;
	}
	sent = reader_join(&reader);
	bad = pattern_differs(reader.data, PATTERN, pos, len);
	free(reader.data);
	return sent == (ssize_t)len && self->out >= 0 && bad < 0;
}

/* Whole buffers, odd parts, across pages and buffers, up to the end. */
TEST_F(sink, parts)
{
	const struct {
		size_t pos, len;
	} parts[] = {
		{ 0, BUF_SIZE }, { BUF_SIZE, BUF_SIZE },
		{ 0, 1 }, { PAGE - 1, 2 }, { PAGE + 1, 1 }, { 1, PAGE },
		{ BUF_SIZE - 1, 1 }, { BUF_SIZE - 1, 2 },
		{ BUF_SIZE - 5, BUF_SIZE + 10 }, { 333, 3 * BUF_SIZE + 777 },
		{ 0, PIPE_SIZE }, { 1, PIPE_SIZE }, { 17, POOL_SIZE - 17 },
		{ POOL_SIZE - 1, 1 },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(parts); i++) {
		EXPECT_TRUE(goes_through(self, variant, parts[i].pos,
					 parts[i].len)) {
			TH_LOG("%zu bytes from %zu", parts[i].len,
			       parts[i].pos);
		}
	}
}

/* More than the pipe inside of sendfile() holds, in one call if that may be. */
TEST_F(sink, all_of_the_pool)
{
	struct reader reader;
	off_t pos = 0;
	ssize_t ret;

	if (variant->pipe) {
		EXPECT_TRUE(goes_through(self, variant, 0, POOL_SIZE));
		return;
	}
	if (!variant->file)
		ASSERT_EQ(0, reader_start(&reader, self->in, POOL_SIZE, -1));
	ret = sendfile(self->out, self->pool.fd, &pos, 2 * POOL_SIZE);
	ASSERT_EQ((ssize_t)POOL_SIZE, ret);
	EXPECT_EQ((off_t)POOL_SIZE, pos);
	if (variant->file) {
		EXPECT_EQ(ret, pread(self->in, self->got, POOL_SIZE, 0));
		EXPECT_EQ(-1, pattern_differs(self->got, PATTERN, 0,
					      POOL_SIZE));
		return;
	}
	EXPECT_EQ(ret, reader_join(&reader));
	EXPECT_EQ(-1, pattern_differs(reader.data, PATTERN, 0, POOL_SIZE));
	free(reader.data);
}

/* Nothing keeps the pages, and nothing took them away from the pool. */
TEST_F(sink, idle_afterwards)
{
	__u64 names[NR_BUFS];

	EXPECT_TRUE(goes_through(self, variant, 100, 3 * BUF_SIZE));
	EXPECT_EQ((int)NR_BUFS, pool_wait(self->pool.fd, self->names, NR_BUFS,
					  DEADLINE_MS));
	pattern_fill(self->pool.map, PATTERN + 1, 0, POOL_SIZE);
	/* The file has a copy of its own. */
	if (variant->file) {
		EXPECT_EQ((ssize_t)(3 * BUF_SIZE),
			  pread(self->in, self->got, POOL_SIZE, 0));
		EXPECT_EQ(-1, pattern_differs(self->got, PATTERN, 100,
					      3 * BUF_SIZE));
	}
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names,
					  NR_BUFS));
	EXPECT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, names, NR_BUFS));
}

FIXTURE(file)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	int pipe[2];
	__u8 *got;
};

FIXTURE_VARIANT(file)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(file, unprotected)
{
	.flags = 0,
};

FIXTURE_VARIANT_ADD(file, secured)
{
	.flags = FBUF_POOL_SECURED,
};

FIXTURE_VARIANT_ADD(file, snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT,
};

FIXTURE_SETUP(file)
{
	ASSERT_EQ(0, make_filled(&self->pool, self->names, variant->flags));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pipe2(self->pipe, O_NONBLOCK));
	self->got = malloc(POOL_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(file)
{
	close(self->pipe[0]);
	close(self->pipe[1]);
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
	free(self->got);
}

/* Whether the next bytes there are the pool's from @pos on. */
static bool comes(struct _test_data_file *self, int fd, size_t pos, size_t len)
{
	return read_full(fd, self->got, len) == (ssize_t)len &&
	       pattern_differs(self->got, PATTERN, pos, len) < 0;
}

static ssize_t into_pipe(struct _test_data_file *self, loff_t pos, size_t len)
{
	ssize_t ret = splice(self->pool.fd, &pos, self->pipe[1], NULL, len, 0);

	return ret < 0 ? -errno : ret;
}

static ssize_t try_sendfile(int out, int in, off_t pos, size_t len)
{
	ssize_t ret = sendfile(out, in, &pos, len);

	return ret < 0 ? -errno : ret;
}

/* The position is where sendfile() and splice() begin that are given none. */
TEST_F(file, position)
{
	int fd = self->pool.fd;
	int again = dup(fd);

	EXPECT_EQ(0, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(100, lseek(fd, 100, SEEK_SET));
	EXPECT_EQ(50, sendfile(self->sock[0], fd, NULL, 50));
	EXPECT_EQ(150, lseek(again, 0, SEEK_CUR));
	EXPECT_EQ(30, splice(fd, NULL, self->pipe[1], NULL, 30, 0));
	EXPECT_EQ(180, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(170, lseek(fd, -10, SEEK_CUR));
	EXPECT_EQ(20, sendfile(self->sock[0], fd, NULL, 20));
	EXPECT_TRUE(comes(self, self->sock[1], 100, 50));
	EXPECT_TRUE(comes(self, self->pipe[0], 150, 30));
	EXPECT_TRUE(comes(self, self->sock[1], 170, 20));
	EXPECT_EQ((off_t)POOL_SIZE - 7, lseek(fd, -7, SEEK_END));
	EXPECT_EQ(7, sendfile(self->sock[0], fd, NULL, 100));
	EXPECT_TRUE(comes(self, self->sock[1], POOL_SIZE - 7, 7));
	/* A handle has its own. */
	close(again);
	again = pool_share(fd, FBUF_RIGHT_READ, 0, NULL);
	ASSERT_LE(0, again);
	EXPECT_EQ(0, lseek(again, 0, SEEK_CUR));
	EXPECT_EQ((off_t)POOL_SIZE, lseek(again, 0, SEEK_END));
	close(again);
}

/* An offset that is given moves, and the position does not. */
TEST_F(file, offset)
{
	loff_t pos = 4000;
	off_t off = 5000;

	EXPECT_EQ(9, lseek(self->pool.fd, 9, SEEK_SET));
	EXPECT_EQ(200, splice(self->pool.fd, &pos, self->pipe[1], NULL, 200,
			      0));
	EXPECT_EQ(4200, pos);
	EXPECT_EQ(300, sendfile(self->sock[0], self->pool.fd, &off, 300));
	EXPECT_EQ(5300, off);
	EXPECT_EQ(9, lseek(self->pool.fd, 0, SEEK_CUR));
	EXPECT_TRUE(comes(self, self->pipe[0], 4000, 200));
	EXPECT_TRUE(comes(self, self->sock[1], 5000, 300));
}

TEST_F(file, bad_position)
{
	int fd = self->pool.fd;

	EXPECT_EQ(-1, lseek(fd, -1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(fd, POOL_SIZE + 1, SEEK_SET));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, lseek(fd, 1, SEEK_END));
	EXPECT_EQ(-1, lseek(fd, -1, SEEK_CUR));
	EXPECT_EQ(0, lseek(fd, 0, SEEK_CUR));
	EXPECT_EQ(-EINVAL, try_sendfile(self->sock[0], fd, -1, 1));
	EXPECT_EQ(-EINVAL, into_pipe(self, -1, 1));
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

TEST_F(file, end_of_the_pool)
{
	const loff_t beyond[] = {
		POOL_SIZE, POOL_SIZE + 1, POOL_SIZE + BUF_SIZE, 1LL << 32,
		1LL << 40, 1LL << 62,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(beyond); i++) {
		EXPECT_EQ(0, into_pipe(self, beyond[i], 1));
		EXPECT_EQ(0, try_sendfile(self->sock[0], self->pool.fd,
					  beyond[i], 1));
	}
	EXPECT_EQ((off_t)POOL_SIZE, lseek(self->pool.fd, 0, SEEK_END));
	EXPECT_EQ(0, sendfile(self->sock[0], self->pool.fd, NULL, 1));
	EXPECT_EQ(0, splice(self->pool.fd, NULL, self->pipe[1], NULL, 1, 0));
	/* Up to there and no further. */
	EXPECT_EQ(10, into_pipe(self, POOL_SIZE - 10, BUF_SIZE));
	EXPECT_TRUE(comes(self, self->pipe[0], POOL_SIZE - 10, 10));
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

/* There is no reading it, and no writing to it. */
TEST_F(file, nothing_else)
{
	struct iovec iov = { .iov_base = self->got, .iov_len = 1 };
	int fd = self->pool.fd;

	EXPECT_EQ(-1, read(fd, self->got, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(fd, self->got, 1, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, readv(fd, &iov, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(fd, self->got, 1));
	EXPECT_EQ(EINVAL, errno);
	ASSERT_EQ(1, write(self->pipe[1], "x", 1));
	EXPECT_EQ(-1, splice(self->pipe[0], NULL, fd, NULL, 1, 0));
	EXPECT_EQ(-1, pattern_differs(self->pool.map, PATTERN, 0, POOL_SIZE));
}

/* Through one's own pipe, in parts, and by two ways. */
TEST_F(file, splice_and_tee)
{
	int other[2];

	ASSERT_EQ(0, pipe(other));
	EXPECT_EQ(9000, into_pipe(self, 10, 9000));
	EXPECT_EQ(700, into_pipe(self, 3 * BUF_SIZE + 1, 700));
	EXPECT_EQ(9700, tee(self->pipe[0], other[1], 10000, 0));
	EXPECT_EQ(5000, splice(self->pipe[0], NULL, self->sock[0], NULL, 5000,
			       SPLICE_F_MORE));
	EXPECT_EQ(4000, splice(self->pipe[0], NULL, self->sock[0], NULL, 4000,
			       0));
	EXPECT_TRUE(comes(self, self->sock[1], 10, 9000));
	EXPECT_TRUE(comes(self, self->pipe[0], 3 * BUF_SIZE + 1, 700));
	EXPECT_TRUE(comes(self, other[0], 10, 9000));
	EXPECT_TRUE(comes(self, other[0], 3 * BUF_SIZE + 1, 700));
	close(other[0]);
	close(other[1]);
}

/* A call ends with the buffer that it began with. */
TEST_F(file, splice_of_a_buffer_at_a_time)
{
	EXPECT_EQ(100, into_pipe(self, BUF_SIZE - 100, 200));
	EXPECT_EQ((ssize_t)BUF_SIZE, into_pipe(self, BUF_SIZE, 2 * BUF_SIZE));
	EXPECT_TRUE(comes(self, self->pipe[0], BUF_SIZE - 100, BUF_SIZE + 100));
}

/* A full pipe takes what it can, then nothing; what it refused is let go. */
TEST_F(file, full_pipe)
{
	ssize_t ret, total = 0;
	loff_t pos = 33;

	ASSERT_EQ((int)PAGE, fcntl(self->pipe[1], F_SETPIPE_SZ, PAGE));
	while ((ret = splice(self->pool.fd, &pos, self->pipe[1], NULL,
			     BUF_SIZE, SPLICE_F_NONBLOCK)) > 0)
		total += ret;
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ((ssize_t)PAGE - 33, total);
	EXPECT_EQ(33 + total, pos);
	EXPECT_TRUE(comes(self, self->pipe[0], 33, total));
	EXPECT_EQ((int)NR_BUFS, pool_wait(self->pool.fd, self->names, NR_BUFS,
					  DEADLINE_MS));
}

/* What comes before it is sent, and the call says how much that was. */
TEST_F(file, buffer_that_is_not_held)
{
	int fd = self->pool.fd;

	ASSERT_EQ(1, pool_free(fd, &self->names[2], 1));
	EXPECT_EQ(-ESTALE, into_pipe(self, 2 * BUF_SIZE, 1));
	EXPECT_EQ(-ESTALE, into_pipe(self, 3 * BUF_SIZE - 1, 2));
	EXPECT_EQ(-ESTALE, try_sendfile(self->sock[0], fd, 2 * BUF_SIZE, 1));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ((ssize_t)BUF_SIZE + 100,
		  try_sendfile(self->sock[0], fd, BUF_SIZE - 100, POOL_SIZE));
	EXPECT_TRUE(comes(self, self->sock[1], BUF_SIZE - 100,
			  BUF_SIZE + 100));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ(100, into_pipe(self, 3 * BUF_SIZE, 100));
	/* What was refused is not in flight. */
	EXPECT_EQ(1, pool_alloc(fd, &self->names[2], 1));
}

/* Rights and holds are the handle's own. */
TEST_F(file, another_handle)
{
	int reader = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, NULL);
	int other = pool_share(self->pool.fd, FBUF_RIGHT_SEND |
			       FBUF_RIGHT_ALLOC, 0, NULL);

	ASSERT_LE(0, reader);
	ASSERT_LE(0, other);
	ASSERT_EQ((int)NR_BUFS, pool_hold(other, self->names, NR_BUFS));
	EXPECT_EQ(-EACCES, try_sendfile(self->sock[0], other, 0, 1));
	EXPECT_EQ(-EACCES, try_sendfile(self->sock[0], other, POOL_SIZE, 1));
	EXPECT_EQ(-1, splice(other, NULL, self->pipe[1], NULL, 1, 0));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-ESTALE, try_sendfile(self->sock[0], reader, BUF_SIZE, 1));
	ASSERT_EQ(1, pool_hold(reader, &self->names[1], 1));
	EXPECT_EQ((ssize_t)BUF_SIZE, try_sendfile(self->sock[0], reader,
						  BUF_SIZE, POOL_SIZE));
	EXPECT_TRUE(comes(self, self->sock[1], BUF_SIZE, BUF_SIZE));
	EXPECT_EQ(-ESTALE, try_sendfile(self->sock[0], reader, 0, 1));
	close(reader);
	close(other);
}

/* Frees all, and takes what is to be had: all but one that is in a pipe. */
static bool one_in_flight(struct _test_data_file *self, unsigned int which)
{
	__u64 names[NR_BUFS];
	struct fbuf_info info;
	int i, got;

	if (pool_free(self->pool.fd, self->names, NR_BUFS) != (int)NR_BUFS)
		return false;
	got = pool_alloc(self->pool.fd, names, NR_BUFS);
	if (got != (int)NR_BUFS - 1 ||
	    pool_alloc(self->pool.fd, names + got, 1) != -EAGAIN ||
	    pool_info(self->pool.fd, &info) || info.nr_in_flight != 1)
		return false;
	for (i = 0; i < got; i++) {
		if (FBUF_NAME_INDEX(names[i]) == which)
			return false;
	}
	return true;
}

TEST_F(file, in_flight_until_read)
{
	__u64 name;

	EXPECT_EQ((ssize_t)BUF_SIZE - 10, into_pipe(self, 3 * BUF_SIZE + 10,
						    BUF_SIZE));
	EXPECT_TRUE(one_in_flight(self, 3));
	/* The last byte counts. */
	EXPECT_TRUE(comes(self, self->pipe[0], 3 * BUF_SIZE + 10,
			  BUF_SIZE - 11));
	EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &name, 1));
	EXPECT_TRUE(comes(self, self->pipe[0], 4 * BUF_SIZE - 1, 1));
	EXPECT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS));
	EXPECT_EQ(3U, FBUF_NAME_INDEX(name));
}

TEST_F(file, in_flight_until_the_pipe_is_closed)
{
	__u64 name;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	EXPECT_EQ(1, into_pipe(self, 5 * BUF_SIZE, 1));
	EXPECT_EQ(1, tee(self->pipe[0], fd[1], 1, 0));
	EXPECT_TRUE(one_in_flight(self, 5));
	EXPECT_TRUE(comes(self, self->pipe[0], 5 * BUF_SIZE, 1));
	/* The other pipe has it still. */
	EXPECT_EQ(-EAGAIN, pool_alloc_wait(self->pool.fd, &name, 1, 30));
	close(fd[0]);
	close(fd[1]);
	EXPECT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS));
}

TEST_F(file, in_flight_in_a_socket)
{
	__u64 name;

	EXPECT_EQ(100, try_sendfile(self->sock[0], self->pool.fd, BUF_SIZE,
				    100));
	EXPECT_TRUE(one_in_flight(self, 1));
	EXPECT_TRUE(comes(self, self->sock[1], BUF_SIZE, 100));
	EXPECT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS));
}

/* The pages outlive the pool. */
TEST_F(file, pool_closed)
{
	EXPECT_EQ((ssize_t)BUF_SIZE, into_pipe(self, BUF_SIZE, BUF_SIZE));
	pool_unmake(&self->pool);
	EXPECT_TRUE(comes(self, self->pipe[0], BUF_SIZE, BUF_SIZE));
}

/* A thread that writes over the first buffer. */
struct writer {
	pthread_t thread;
	__u8 *to;
	pid_t tid;
	bool done;
};

static void *writer_run(void *arg)
{
	struct writer *w = arg;

	__atomic_store_n(&w->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	pattern_fill(w->to, PATTERN + 1, 0, BUF_SIZE);
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static bool writer_done(struct writer *w)
{
	return __atomic_load_n(&w->done, __ATOMIC_ACQUIRE);
}

/* Whether it sleeps, and goes on doing so for a while. */
static bool writer_waits(struct writer *w)
{
	long end;

	if (!wait_for(__atomic_load_n(&w->tid, __ATOMIC_ACQUIRE), DEADLINE_MS))
		return false;
	if (wait_state(getpid(), w->tid, "SD", DEADLINE_MS))
		return false;
	end = now_ms() + 50;
	while (time_left(end) && !writer_done(w))
		;
	return !writer_done(w);
}

/*
 * A write to a buffer of which the last two bytes are in @fd: it waits until
 * these are read; or goes elsewhere; or is seen there.
 */
static void overwritten(struct __test_metadata *const _metadata,
			struct _test_data_file *self, __u32 flags, int fd)
{
	struct writer w = { .to = self->pool.map };
	size_t pos = BUF_SIZE - 2;

	ASSERT_EQ(0, pthread_create(&w.thread, NULL, writer_run, &w));
	if (flags & FBUF_POOL_SECURED) {
		EXPECT_TRUE(writer_waits(&w));
		EXPECT_EQ(-1, pattern_differs(w.to, PATTERN, 0, BUF_SIZE));
	} else {
		ASSERT_TRUE(wait_for(writer_done(&w), DEADLINE_MS));
	}
	ASSERT_EQ(2, read_full(fd, self->got, 2));
	EXPECT_EQ(-1, pattern_differs(self->got, PATTERN + !flags, pos, 2));
	ASSERT_TRUE(wait_for(writer_done(&w), DEADLINE_MS));
	pthread_join(w.thread, NULL);
	EXPECT_EQ(-1, pattern_differs(w.to, PATTERN + 1, 0, BUF_SIZE));
}

TEST_F(file, overwritten_in_a_pipe)
{
	EXPECT_EQ(2, into_pipe(self, BUF_SIZE - 2, BUF_SIZE));
	overwritten(_metadata, self, variant->flags, self->pipe[0]);
}

/* Protection lasts on the whole way. */
TEST_F(file, overwritten_in_a_socket)
{
	EXPECT_EQ(2, into_pipe(self, BUF_SIZE - 2, BUF_SIZE));
	EXPECT_EQ(2, splice(self->pipe[0], NULL, self->sock[0], NULL, 2, 0));
	overwritten(_metadata, self, variant->flags, self->sock[1]);
}

TEST_F(file, overwritten_after_sendfile)
{
	EXPECT_EQ(2, try_sendfile(self->sock[0], self->pool.fd, BUF_SIZE - 2,
				  2));
	overwritten(_metadata, self, variant->flags, self->sock[1]);
}

/* A program that knows nothing of fbuf, and reads files by sendfile(2). */
TEST(stock_program)
{
	int sock[2], room = 8 * POOL_SIZE;
	__u64 names[NR_BUFS];
	struct fbuf_info info;
	struct reader reader;
	struct pool pool;
	pid_t pid;

	if (system("busybox true >/dev/null 2>&1"))
		SKIP(return, "no busybox, whose cat uses sendfile()");
	ASSERT_EQ(0, make_filled(&pool, names, 0));
	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, setsockopt(sock[0], SOL_SOCKET, SO_SNDBUFFORCE, &room,
				sizeof(room)));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		dup2(pool.fd, STDIN_FILENO);
		dup2(sock[0], STDOUT_FILENO);
		execlp("busybox", "busybox", "cat", NULL);
		_exit(127);
	}
	EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	/* That they were not copied shows before anybody reads. */
	EXPECT_EQ((int)NR_BUFS, pool_free(pool.fd, names, NR_BUFS));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	EXPECT_EQ(NR_BUFS, info.nr_in_flight);
	close(sock[0]);
	ASSERT_EQ(0, reader_start(&reader, sock[1], POOL_SIZE, -1));
	EXPECT_EQ((ssize_t)POOL_SIZE, reader_join(&reader));
	EXPECT_EQ(-1, pattern_differs(reader.data, PATTERN, 0, POOL_SIZE));
	free(reader.data);
	close(sock[1]);
	EXPECT_EQ(0, pool_wait_idle(pool.fd, NR_BUFS, DEADLINE_MS));
	pool_unmake(&pool);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
