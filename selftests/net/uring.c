// SPDX-License-Identifier: GPL-2.0
/*
 * SEND, FANOUT and SEND_BATCH by io_uring: results and errors are the ioctl's; a
 * send that waits for room goes on where it was, needs no thread where the kernel
 * lets it, and ends with its ring, its task, its socket or its time.
 */
#include <fcntl.h>
#include <dirent.h>
#include <liburing.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		16U
#define POOL_SIZE	(NR_BUFS * BUF_SIZE)
#define ENTRIES		64U

#define NOTHING		(-4095)		/* no completion in time */
#define UNSET		0x5a5a5a5aU

static const char header[] = "by io_uring\n";
#define HEADER_LEN	(sizeof(header) - 1)

/* Where a send that the socket took part of goes on, without a thread. */
static bool waits_alone(void)
{
	return !kernel_before(6, 10);
}

FIXTURE(uring)
{
	struct io_uring ring;
	struct pool pool;
	__u64 names[NR_BUFS];
	struct fbuf_seg seg[NR_BUFS];
	int sock[2];
	__u8 *got;
};

FIXTURE_VARIANT(uring)
{
	unsigned int setup;
	__u8 sqe_flags;
};

FIXTURE_VARIANT_ADD(uring, plain) { };

FIXTURE_VARIANT_ADD(uring, sqpoll)
{
	.setup = IORING_SETUP_SQPOLL,
};

FIXTURE_VARIANT_ADD(uring, defer)
{
	.setup = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
};

FIXTURE_VARIANT_ADD(uring, sqe128)
{
	.setup = IORING_SETUP_SQE128 | IORING_SETUP_CQE32,
};

FIXTURE_VARIANT_ADD(uring, async)
{
	.sqe_flags = IOSQE_ASYNC,
};

static int ring_init(struct io_uring *ring, unsigned int setup)
{
	struct io_uring_params params = {
		.flags = setup,
		.sq_thread_idle = 100,
	};

	return io_uring_queue_init_params(ENTRIES, ring, &params);
}

/* A pool whose buffers, in order, are one pattern; a stream with little room. */
FIXTURE_SETUP(uring)
{
	unsigned int i;
	int err;

	err = ring_init(&self->ring, variant->setup);
	if (err == -EPERM)
		SKIP(return, "io_uring is disabled");
	ASSERT_EQ(0, err);
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	for (i = 0; i < NR_BUFS; i++) {
		self->seg[i] = buf_seg(&self->pool, self->names[i], 0,
				       BUF_SIZE);
		pattern_fill(buf_addr(&self->pool, self->names[i]), 1,
			     i * BUF_SIZE, BUF_SIZE);
	}
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	sock_small(self->sock);
	self->got = malloc(4 * POOL_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(uring)
{
	io_uring_queue_exit(&self->ring);
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
	free(self->got);
}

static struct io_uring_sqe *prep_raw(struct io_uring *ring, int fd, __u32 op,
				     __u64 args, __u64 user_data)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct fbuf_uring_cmd *cmd;

	if (!sqe)
		abort();
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, fd, NULL, 0, 0);
	cmd = (struct fbuf_uring_cmd *)sqe->cmd;
	cmd->args = args;
	cmd->reserved = 0;
	sqe->cmd_op = op;
	sqe->user_data = user_data;
	return sqe;
}

static struct io_uring_sqe *prep(struct io_uring *ring, int fd,
				 const struct fbuf_send *args, __u64 user_data)
{
	return prep_raw(ring, fd, FBUF_IOC_SEND, (uintptr_t)args, user_data);
}

/* An SQ thread may have taken some before they are counted. */
static bool submit(struct io_uring *ring, int nr)
{
	int ret = io_uring_submit(ring);

	return ret == nr || (ret >= 0 && ring->flags & IORING_SETUP_SQPOLL);
}

static struct fbuf_send send_args(int sock, const struct fbuf_seg *segs,
				  unsigned int nr_segs)
{
	struct fbuf_send args = {
		.size = sizeof(args),
		.segs = (uintptr_t)segs,
		.nr_segs = nr_segs,
		.fd = sock,
		.engine = UNSET,
		.copied = UNSET,
		.protects = UNSET,
	};

	return args;
}

/* The next completion, or NOTHING. */
static int reap(struct io_uring *ring, int ms, __u64 *user_data)
{
	struct __kernel_timespec ts = {
		.tv_sec = ms / 1000,
		.tv_nsec = ms % 1000 * 1000000LL,
	};
	struct io_uring_cqe *cqe;
	int err, res;

	do {
		err = io_uring_wait_cqe_timeout(ring, &cqe, &ts);
	} while (err == -EINTR);
	if (err)
		return err == -ETIME ? NOTHING : err;
	res = cqe->res;
	if (user_data)
		*user_data = cqe->user_data;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

static int run_op(struct io_uring *ring, int fd, __u32 op, __u64 args,
		  __u8 sqe_flags)
{
	prep_raw(ring, fd, op, args, 1)->flags |= sqe_flags;
	if (!submit(ring, 1))
		return -EIO;
	return reap(ring, DEADLINE_MS, NULL);
}

static int run(struct io_uring *ring, int fd, struct fbuf_send *args,
	       __u8 sqe_flags)
{
	return run_op(ring, fd, FBUF_IOC_SEND, (uintptr_t)args, sqe_flags);
}

static int by_ioctl(int fd, unsigned long op, void *args)
{
	int ret = ioctl(fd, op, args);

	return ret < 0 ? -errno : ret;
}

/* Reads @want bytes, with the ring's task work done between. */
static size_t drain(struct io_uring *ring, int sock, __u8 *got, size_t want)
{
	long end = now_ms() + DEADLINE_MS;
	size_t done = 0;
	ssize_t ret;

	while (done < want) {
		ret = recv(sock, got + done, want - done, MSG_DONTWAIT);
		if (ret > 0) {
			done += ret;
			continue;
		}
		if (!ret || errno != EAGAIN || !time_left(end))
			break;
		io_uring_get_events(ring);
	}
	return done;
}

/* Reads what is there, and the end of the stream; -1 if that does not come. */
static ssize_t drain_to_end(int sock)
{
	long end = now_ms() + DEADLINE_MS;
	static char buf[65536];
	ssize_t done = 0, ret;

	do {
		ret = recv(sock, buf, sizeof(buf), MSG_DONTWAIT);
		if (ret > 0)
			done += ret;
		if (!ret || (ret < 0 && errno != EAGAIN))
			return done;
	} while (time_left(end));
	return -1;
}

static int threads_of(pid_t pid)
{
	char path[64];
	struct dirent *e;
	int nr = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((e = readdir(dir)))
		nr += e->d_name[0] != '.';
	closedir(dir);
	return nr;
}

struct kind {
	const char *name;
	int family, type;
};

static const struct kind kinds[] = {
	{ "tcp", AF_INET, SOCK_STREAM },
	{ "tcp6", AF_INET6, SOCK_STREAM },
	{ "udp", AF_INET, SOCK_DGRAM },
	{ "unix stream", AF_UNIX, SOCK_STREAM },
	{ "unix dgram", AF_UNIX, SOCK_DGRAM },
	{ "unix seqpacket", AF_UNIX, SOCK_SEQPACKET },
};

static const __u32 engines[] = {
	0, FBUF_ENGINE_PAGEREF, FBUF_ENGINE_SPLICE, FBUF_ENGINE_COPY,
	FBUF_ENGINE_PAGEREF | FBUF_ENGINE_COPY,
};

/* What arrived is the message; nothing if the send failed. */
static void check_arrived(struct __test_metadata *_metadata,
			  struct _test_data_uring *self, int sock, int res)
{
	if (res < 0)
		return;
	ASSERT_EQ(res, (int)drain(&self->ring, sock, self->got, res));
	EXPECT_EQ(0, memcmp(self->got, header, HEADER_LEN));
	EXPECT_EQ(-1, pattern_differs(self->got + HEADER_LEN, 1, 100,
				      res - HEADER_LEN));
}

TEST_F(uring, does_what_the_ioctl_does)
{
	struct fbuf_seg segs[] = {
		inline_seg(header, HEADER_LEN),
		buf_seg(&self->pool, self->names[0], 100, BUF_SIZE - 50000),
	};
	struct fbuf_send want, args;
	unsigned int i, j;
	int pair[2], res;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		ASSERT_EQ(0, sock_pair(kinds[i].family, kinds[i].type, pair));
		for (j = 0; j < ARRAY_SIZE(engines); j++) {
			want = send_args(pair[0], segs, 2);
			want.engines = engines[j];
			args = want;
			res = by_ioctl(self->pool.fd, FBUF_IOC_SEND, &want);
			if (!engines[j] || engines[j] & FBUF_ENGINE_COPY)
				EXPECT_LT(0, res);
			check_arrived(_metadata, self, pair[1], res);
			EXPECT_EQ(res, run(&self->ring, self->pool.fd, &args,
					   variant->sqe_flags));
			check_arrived(_metadata, self, pair[1], res);
			EXPECT_EQ(0, memcmp(&want, &args, sizeof(args))) {
				TH_LOG("%s, engines %x", kinds[i].name,
				       engines[j]);
			}
		}
		close(pair[0]);
		close(pair[1]);
	}
}

TEST_F(uring, sends_to_an_address)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);
	struct fbuf_send args;
	int from, to;

	from = socket(AF_INET, SOCK_DGRAM, 0);
	to = socket(AF_INET, SOCK_DGRAM, 0);
	ASSERT_EQ(0, bind(to, (void *)&addr, sizeof(addr)));
	ASSERT_EQ(0, getsockname(to, (void *)&addr, &len));
	self->seg[0].len = 1000;
	args = send_args(from, self->seg, 1);
	EXPECT_EQ(-EDESTADDRREQ, run(&self->ring, self->pool.fd, &args,
				     variant->sqe_flags));
	EXPECT_EQ(UNSET, args.engine);
	args.name = (uintptr_t)&addr;
	args.namelen = sizeof(addr);
	EXPECT_EQ(1000, run(&self->ring, self->pool.fd, &args,
			    variant->sqe_flags));
	EXPECT_EQ((__u32)FBUF_ENGINE_PAGEREF, args.engine);
	EXPECT_EQ(1000U, drain(&self->ring, to, self->got, 1000));
	EXPECT_EQ(-1, pattern_differs(self->got, 1, 0, 1000));
	close(from);
	close(to);
}

TEST_F(uring, takes_a_fixed_file)
{
	struct fbuf_send args = send_args(self->sock[0], self->seg, 1);

	self->seg[0].len = 1000;
	ASSERT_EQ(0, io_uring_register_files(&self->ring, &self->pool.fd, 1));
	EXPECT_EQ(1000, run(&self->ring, 0, &args,
			    variant->sqe_flags | IOSQE_FIXED_FILE));
	EXPECT_EQ(1000U, drain(&self->ring, self->sock[1], self->got, 1000));
	EXPECT_EQ(-1, pattern_differs(self->got, 1, 0, 1000));
}

/* IORING_URING_CMD_MULTISHOT, which older kernels refuse by themselves. */
TEST_F(uring, refuses_multishot)
{
	struct fbuf_send args = send_args(self->sock[0], self->seg, 1);
	struct io_uring_sqe *sqe = prep(&self->ring, self->pool.fd, &args, 1);
	int res;

	sqe->flags |= variant->sqe_flags | IOSQE_BUFFER_SELECT;
	sqe->rw_flags = 2;
	ASSERT_TRUE(submit(&self->ring, 1));
	res = reap(&self->ring, DEADLINE_MS, NULL);
	EXPECT_TRUE(res == -EINVAL || res == -EOPNOTSUPP);
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

TEST_F(uring, fans_out)
{
	struct fbuf_target want[4], targets[4];
	struct fbuf_fanout args = {
		.size = sizeof(args),
		.segs = (uintptr_t)self->seg,
		.targets = (uintptr_t)want,
		.nr_segs = 1,
		.nr_targets = 4,
	};
	int udp[2], res;

	self->seg[0].len = 1000;
	ASSERT_EQ(0, udp_pair(AF_INET, udp));
	memset(want, 0x5a, sizeof(want));
	want[0].fd = self->sock[0];
	want[1].fd = -1;
	want[2].fd = udp[0];
	want[3].fd = self->pool.fd;
	memcpy(targets, want, sizeof(want));
	ASSERT_EQ(2, by_ioctl(self->pool.fd, FBUF_IOC_FANOUT, &args));
	args.targets = (uintptr_t)targets;
	res = run_op(&self->ring, self->pool.fd, FBUF_IOC_FANOUT,
		     (uintptr_t)&args, variant->sqe_flags);
	EXPECT_EQ(2, res);
	EXPECT_EQ(0, memcmp(want, targets, sizeof(want)));
	EXPECT_EQ(2000U, drain(&self->ring, self->sock[1], self->got, 2000));
	EXPECT_EQ(-1, pattern_differs(self->got + 1000, 1, 0, 1000));

	args.nr_targets = 0;
	EXPECT_EQ(-EINVAL, run_op(&self->ring, self->pool.fd, FBUF_IOC_FANOUT,
				  (uintptr_t)&args, variant->sqe_flags));
	args.nr_targets = 4;
	args.flags = FBUF_SEND_SIGPIPE;
	EXPECT_EQ(-EINVAL, run_op(&self->ring, self->pool.fd, FBUF_IOC_FANOUT,
				  (uintptr_t)&args, variant->sqe_flags));
	args.flags = 0;
	args.targets = 0;
	EXPECT_EQ(-EFAULT, run_op(&self->ring, self->pool.fd, FBUF_IOC_FANOUT,
				  (uintptr_t)&args, variant->sqe_flags));
	close(udp[0]);
	close(udp[1]);
}

/* A segment to a socket; the out words are as no call leaves them. */
static void batch_item(struct fbuf_send_item *item, const struct fbuf_seg *seg,
		       int sock)
{
	memset(item, 0x5a, sizeof(*item));
	item->segs = (uintptr_t)seg;
	item->nr_segs = 1;
	item->fd = sock;
	item->name = 0;
	item->namelen = 0;
	item->segment = 0;
}

static int run_batch(struct _test_data_uring *self,
		     const struct fbuf_send_batch *args, __u8 sqe_flags)
{
	return run_op(&self->ring, self->pool.fd, FBUF_IOC_SEND_BATCH,
		      (uintptr_t)args, sqe_flags);
}

/* Each has the result, and each socket the bytes, that the ioctl gives. */
TEST_F(uring, sends_a_batch)
{
	struct fbuf_send_item want[5], items[5];
	struct fbuf_send_batch args = {
		.size = sizeof(args),
		.items = (uintptr_t)want,
		.count = 5,
	};
	int udp[2], full[2], i;

	self->seg[0].len = 1000;
	ASSERT_EQ(0, udp_pair(AF_INET, udp));
	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, full));
	sock_small(full);
	ASSERT_LT(0, sock_fill(full[0]));
	batch_item(&want[0], self->seg, self->sock[0]);
	batch_item(&want[1], self->seg, -1);
	batch_item(&want[2], self->seg, udp[0]);
	/* Not waited for, by whatever runs the command. */
	batch_item(&want[3], self->seg, full[0]);
	batch_item(&want[4], self->seg, self->sock[0]);
	/* Before 6.5 splice finds room where there is none. */
	args.engines = FBUF_ENGINE_PAGEREF | FBUF_ENGINE_COPY;
	memcpy(items, want, sizeof(want));
	ASSERT_EQ(5, by_ioctl(self->pool.fd, FBUF_IOC_SEND_BATCH, &args));
	EXPECT_EQ(1000, want[0].result);
	EXPECT_EQ(-EBADF, want[1].result);
	EXPECT_EQ(1000, want[2].result);
	EXPECT_EQ(-EAGAIN, want[3].result);
	EXPECT_EQ(1000, want[4].result);
	args.items = (uintptr_t)items;
	EXPECT_EQ(5, run_batch(self, &args, variant->sqe_flags));
	EXPECT_EQ(0, memcmp(want, items, sizeof(want)));
	EXPECT_EQ((__u32)FBUF_ENGINE_PAGEREF, items[4].engine);
	EXPECT_EQ(0ULL, items[4].copied);
	EXPECT_EQ(UNSET, items[3].engine);
	ASSERT_EQ(4000U, drain(&self->ring, self->sock[1], self->got, 4000));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(-1, pattern_differs(self->got + i * 1000, 1, 0,
					      1000));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1000, recv(udp[1], self->got, POOL_SIZE, 0));
		EXPECT_EQ(-1, pattern_differs(self->got, 1, 0, 1000));
	}
	close(udp[0]);
	close(udp[1]);
	close(full[0]);
	close(full[1]);
}

/* A call that is wrong sends nothing, and writes to no item. */
TEST_F(uring, refuses_a_bad_batch)
{
	struct fbuf_send_batch good = {
		.size = sizeof(good),
		.count = 1,
	}, args;
	struct fbuf_send_item item;

	self->seg[0].len = 1000;
	batch_item(&item, self->seg, self->sock[0]);
	good.items = (uintptr_t)&item;
	args = good;
	args.size -= 8;
	EXPECT_EQ(-EINVAL, run_batch(self, &args, variant->sqe_flags));
	args = good;
	args.flags = FBUF_SEND_SIGPIPE;
	EXPECT_EQ(-EINVAL, run_batch(self, &args, variant->sqe_flags));
	args = good;
	args.count = 0;
	EXPECT_EQ(-EINVAL, run_batch(self, &args, variant->sqe_flags));
	args.count = FBUF_BATCH_MAX + 1;
	EXPECT_EQ(-EINVAL, run_batch(self, &args, variant->sqe_flags));
	args = good;
	args.engines = 1U << 31;
	EXPECT_EQ(-EINVAL, run_batch(self, &args, variant->sqe_flags));
	args = good;
	args.pad = 1;
	EXPECT_EQ(-EINVAL, run_batch(self, &args, variant->sqe_flags));
	args = good;
	args.items = 0;
	EXPECT_EQ(-EFAULT, run_batch(self, &args, variant->sqe_flags));
	EXPECT_EQ(-EFAULT, run_batch(self, NULL, variant->sqe_flags));
	EXPECT_EQ(UNSET, (__u32)item.result);
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ(1, run_batch(self, &good, variant->sqe_flags));
	EXPECT_EQ(1000, item.result);
}

TEST(refused_by_a_polled_ring)
{
	struct fbuf_seg seg = { .len = 1 };
	struct fbuf_send args = send_args(1, &seg, 1);
	struct io_uring ring;
	int fd;

	if (ring_init(&ring, IORING_SETUP_IOPOLL))
		SKIP(return, "no such ring");
	fd = pool_create(PAGE, 1);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EOPNOTSUPP, run(&ring, fd, &args, 0));
	close(fd);
	io_uring_queue_exit(&ring);
}

/* What can be wrong with a send, one thing at a time. */
#define AT(member)	offsetof(struct fbuf_send, member)

static const struct {
	size_t at, bytes;
	__u64 value;
	int err;
} wrongs[] = {
	{ AT(size), 4, 8, -EINVAL },
	{ AT(flags), 4, 1U << 31, -EINVAL },
	{ AT(flags), 4, FBUF_SEND_VOLATILE | FBUF_SEND_SECURED, -EINVAL },
	{ AT(flags), 4, FBUF_SEND_SECURED, -EOPNOTSUPP },
	{ AT(flags), 4, FBUF_SEND_NOTIFY, -EINVAL },
	{ AT(segs), 8, 0, -EFAULT },
	{ AT(segs), 8, 1ULL << 63, -EFAULT },
	{ AT(nr_segs), 4, 0, -EINVAL },
	{ AT(nr_segs), 4, FBUF_SEGS_MAX + 1, -EINVAL },
	{ AT(fd), 4, 0xffffffff, -EBADF },
	{ AT(fd), 4, 1, -ENOTSOCK },
	{ AT(engines), 4, 1U << 31, -EINVAL },
	{ AT(namelen), 4, FBUF_NAME_MAX + 1, -EINVAL },
	{ AT(name), 8, 1, -EINVAL },
	{ AT(segment), 4, 65536, -EINVAL },
};

/* How many buffers it protected, to who asks for it. */
TEST_F(uring, protects)
{
	const size_t once = offsetof(struct fbuf_send, protects);
	struct fbuf_send args;
	struct fbuf_seg seg;
	struct pool pool;
	__u64 names[2];
	int i;

	ASSERT_EQ(0, pool_make_flags(&pool, BUF_SIZE, 2, FBUF_POOL_SNAPSHOT));
	ASSERT_EQ(2, pool_alloc(pool.fd, names, 2));
	for (i = 0; i < 2; i++) {
		seg = buf_seg(&pool, names[i], 0, PAGE);
		args = send_args(self->sock[0], &seg, 1);
		if (i)
			args.size = once;
		EXPECT_EQ((int)PAGE, run_op(&self->ring, pool.fd,
					    _IOC(_IOC_READ | _IOC_WRITE,
						 FBUF_IOC_MAGIC,
						 _IOC_NR(FBUF_IOC_SEND),
						 args.size),
					    (uintptr_t)&args, 0));
		EXPECT_EQ(i ? UNSET : 1U, args.protects);
	}
	pool_unmake(&pool);
}

TEST_F(uring, errors_are_the_ioctls)
{
	const struct fbuf_send good = send_args(self->sock[0], self->seg, 1);
	struct fbuf_send args;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(wrongs); i++) {
		args = good;
		memcpy((char *)&args + wrongs[i].at, &wrongs[i].value,
		       wrongs[i].bytes);
		EXPECT_EQ(wrongs[i].err, by_ioctl(self->pool.fd, FBUF_IOC_SEND,
						  &args));
		EXPECT_EQ(wrongs[i].err, run(&self->ring, self->pool.fd, &args,
					     variant->sqe_flags)) {
			TH_LOG("number %u", i);
		}
	}
	args = good;
	self->seg[0].len = BUF_SIZE + 1;
	EXPECT_EQ(-EINVAL, run(&self->ring, self->pool.fd, &args,
			       variant->sqe_flags));
	self->seg[0].len = 1;
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(-ESTALE, run(&self->ring, self->pool.fd, &args,
			       variant->sqe_flags));
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

TEST_F(uring, errors_of_its_own)
{
	struct fbuf_send args = send_args(self->sock[0], self->seg, 1);
	struct io_uring_sqe *sqe;
	struct {
		struct fbuf_send send;
		__u64 more;
	} longer = { args, 0 };
	const __u32 op = _IOWR(FBUF_IOC_MAGIC, 0x12, longer);
	const __u32 others[] = {
		FBUF_IOC_ALLOC, FBUF_IOC_INFO, FBUF_IOC_POOL_CREATE,
		_IOR(FBUF_IOC_MAGIC, 0x12, struct fbuf_send), 0, 0x12,
		_IOWR(0xfa, 0x12, struct fbuf_send),
	};
	unsigned int i;
	int control, fd;

	self->seg[0].len = 1;
	for (i = 0; i < ARRAY_SIZE(others); i++) {
		EXPECT_EQ(-ENOTTY, run_op(&self->ring, self->pool.fd,
					  others[i], (uintptr_t)&args,
					  variant->sqe_flags)) {
			TH_LOG("%x", others[i]);
		}
	}
	EXPECT_EQ(-EFAULT, run(&self->ring, self->pool.fd, NULL,
			       variant->sqe_flags));
	args.flags = FBUF_SEND_SIGPIPE;
	EXPECT_EQ(-EINVAL, run(&self->ring, self->pool.fd, &args,
			       variant->sqe_flags));
	args.flags = 0;

	sqe = prep(&self->ring, self->pool.fd, &args, 1);
	((struct fbuf_uring_cmd *)sqe->cmd)->reserved = 1;
	sqe->flags |= variant->sqe_flags;
	ASSERT_TRUE(submit(&self->ring, 1));
	EXPECT_EQ(-EINVAL, reap(&self->ring, DEADLINE_MS, NULL));

	/* A structure that has grown. */
	longer.send.size = sizeof(longer);
	EXPECT_EQ(1, run_op(&self->ring, self->pool.fd, op,
			    (uintptr_t)&longer, variant->sqe_flags));
	longer.more = 1;
	EXPECT_EQ(-E2BIG, run_op(&self->ring, self->pool.fd, op,
				 (uintptr_t)&longer, variant->sqe_flags));

	fd = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, run(&self->ring, fd, &args, variant->sqe_flags));
	close(fd);
	control = control_open();
	ASSERT_LE(0, control);
	EXPECT_EQ(-EOPNOTSUPP, run(&self->ring, control, &args,
				   variant->sqe_flags));
	close(control);
	EXPECT_EQ(1U, drain(&self->ring, self->sock[1], self->got, 1));
	EXPECT_TRUE(sock_empty(self->sock[1]));
}

/* A stream that is full, and stays so: many segments are copied to it. */
static int fill_up(struct _test_data_uring *self)
{
	close(self->sock[0]);
	close(self->sock[1]);
	if (sock_pair(AF_UNIX, SOCK_STREAM, self->sock))
		return -errno;
	sock_small(self->sock);
	return sock_fill(self->sock[0]) > 0 ? 0 : -EIO;
}

TEST_F(uring, does_not_wait_when_told)
{
	struct fbuf_send args = send_args(self->sock[0], self->seg, NR_BUFS);
	int res;

	args.flags = FBUF_SEND_DONTWAIT;
	res = run(&self->ring, self->pool.fd, &args, variant->sqe_flags);
	EXPECT_LT(0, res);
	EXPECT_GT((int)POOL_SIZE, res);
	ASSERT_EQ(0, fill_up(self));
	args = send_args(self->sock[0], self->seg, NR_BUFS);
	args.flags = FBUF_SEND_DONTWAIT;
	EXPECT_EQ(-EAGAIN, run(&self->ring, self->pool.fd, &args,
			       variant->sqe_flags));
	args.flags = 0;
	ASSERT_EQ(0, fcntl(self->sock[0], F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, run(&self->ring, self->pool.fd, &args,
			       variant->sqe_flags));
}

TEST_F(uring, goes_on_when_there_is_room)
{
	struct fbuf_send args = send_args(self->sock[0], self->seg, NR_BUFS);
	struct fbuf_info before, after;
	int res;

	ASSERT_EQ(0, pool_info(self->pool.fd, &before));
	prep(&self->ring, self->pool.fd, &args, 7)->flags |=
		variant->sqe_flags;
	ASSERT_TRUE(submit(&self->ring, 1));
	res = reap(&self->ring, 300, NULL);
	if (!waits_alone() && !variant->sqe_flags) {
		/* It fills the socket, and is short. */
		ASSERT_LT(0, res);
		EXPECT_GT((int)POOL_SIZE, res);
		EXPECT_EQ((size_t)res, drain(&self->ring, self->sock[1],
					     self->got, res));
		EXPECT_EQ(-1, pattern_differs(self->got, 1, 0, res));
		EXPECT_TRUE(sock_empty(self->sock[1]));
		return;
	}
	EXPECT_EQ(NOTHING, res);
	EXPECT_EQ(UNSET, args.engine);
	/* What it took is its own: neither holds nor memory are needed. */
	EXPECT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names,
					  NR_BUFS));
	memset(self->seg, 0xff, sizeof(self->seg));
	EXPECT_EQ(POOL_SIZE, drain(&self->ring, self->sock[1], self->got,
				   POOL_SIZE));
	EXPECT_EQ((int)POOL_SIZE, reap(&self->ring, DEADLINE_MS, NULL));
	EXPECT_EQ(-1, pattern_differs(self->got, 1, 0, POOL_SIZE));
	EXPECT_EQ((__u32)FBUF_ENGINE_PAGEREF, args.engine);
	EXPECT_EQ(0U, args.copied);
	EXPECT_EQ(0U, args.protects);
	ASSERT_EQ(0, pool_info(self->pool.fd, &after));
	EXPECT_EQ(before.sends + 1, after.sends);
	EXPECT_EQ(before.bytes + POOL_SIZE, after.bytes);
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, NR_BUFS, DEADLINE_MS));
}

/* The copies of all its pieces are counted, and the gather is not one run. */
TEST_F(uring, goes_on_with_a_header_and_copies)
{
	struct fbuf_seg segs[2 * NR_BUFS];
	struct fbuf_send args = send_args(self->sock[0], segs, 2 * NR_BUFS);
	const size_t len = POOL_SIZE + NR_BUFS * HEADER_LEN;
	size_t at = 0;
	unsigned int i;
	int res;

	if (!waits_alone() && !variant->sqe_flags)
		SKIP(return, "a short send on this kernel");
	for (i = 0; i < NR_BUFS; i++) {
		segs[2 * i] = inline_seg(header, HEADER_LEN);
		segs[2 * i + 1] = self->seg[i];
	}
	args.engines = FBUF_ENGINE_COPY;
	prep(&self->ring, self->pool.fd, &args, 7)->flags |=
		variant->sqe_flags;
	ASSERT_TRUE(submit(&self->ring, 1));
	EXPECT_EQ(len, drain(&self->ring, self->sock[1], self->got, len));
	res = reap(&self->ring, DEADLINE_MS, NULL);
	EXPECT_EQ((int)len, res);
	EXPECT_EQ(len, args.copied);
	EXPECT_EQ((__u32)FBUF_ENGINE_COPY, args.engine);
	for (i = 0; i < NR_BUFS; i++) {
		EXPECT_EQ(0, memcmp(self->got + at, header, HEADER_LEN));
		at += HEADER_LEN;
		EXPECT_EQ(-1, pattern_differs(self->got + at, 1,
					      i * BUF_SIZE, BUF_SIZE));
		at += BUF_SIZE;
	}
}

/* TCP finds a little more room now and then. */
static const struct kind stopping[] = {
	{ "unix stream", AF_UNIX, SOCK_STREAM },
	{ "unix dgram", AF_UNIX, SOCK_DGRAM },
	{ "unix seqpacket", AF_UNIX, SOCK_SEQPACKET },
};

/* Sends until there is no room; returns the bytes put in. */
static size_t fill(struct _test_data_uring *self, int sock, int type)
{
	struct fbuf_seg seg = self->seg[0];
	size_t done = 0;
	ssize_t ret;

	if (type == SOCK_STREAM)
		return sock_fill(sock);
	seg.len = 1000;
	do {
		ret = pool_send(self->pool.fd, sock, &seg, 1,
				FBUF_SEND_DONTWAIT, FBUF_ENGINE_COPY, NULL);
		if (ret > 0)
			done += ret;
	} while (ret > 0);
	return done;
}

/* Where nothing can be taken at first. */
TEST_F(uring, waits_for_a_full_socket)
{
	struct fbuf_send args;
	size_t in;
	unsigned int i;
	int pair[2];

	for (i = 0; i < ARRAY_SIZE(stopping); i++) {
		ASSERT_EQ(0, sock_pair(stopping[i].family, stopping[i].type,
				       pair));
		sock_small(pair);
		in = fill(self, pair[0], stopping[i].type);
		args = send_args(pair[0], self->seg, 1);
		/* Before 6.5 splice finds room where there is none. */
		args.engines = FBUF_ENGINE_COPY;
		self->seg[0].len = 500;
		prep(&self->ring, self->pool.fd, &args, 7)->flags |=
			variant->sqe_flags;
		ASSERT_TRUE(submit(&self->ring, 1));
		EXPECT_EQ(NOTHING, reap(&self->ring, 100, NULL)) {
			TH_LOG("%s", stopping[i].name);
		}
		EXPECT_EQ(in + 500, drain(&self->ring, pair[1], self->got,
					  in + 500)) {
			TH_LOG("%s", stopping[i].name);
		}
		EXPECT_EQ(500, reap(&self->ring, DEADLINE_MS, NULL));
		EXPECT_EQ(-1, pattern_differs(self->got + in, 1, 0, 500));
		close(pair[0]);
		close(pair[1]);
	}
}

/* poll() knows nothing of the room at the address of a datagram. */
TEST_F(uring, waits_for_a_full_receiver)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct fbuf_send args;
	socklen_t len = sizeof(addr);
	int from, to, before, n = 0;

	from = socket(AF_UNIX, SOCK_DGRAM, 0);
	to = socket(AF_UNIX, SOCK_DGRAM, 0);
	ASSERT_EQ(0, bind(to, (void *)&addr, sizeof(addr.sun_family)));
	ASSERT_EQ(0, getsockname(to, (void *)&addr, &len));
	while (sendto(from, header, 1, MSG_DONTWAIT, (void *)&addr, len) == 1)
		n++;
	ASSERT_EQ(EAGAIN, errno);
	args = send_args(from, self->seg, 1);
	self->seg[0].len = 500;
	args.name = (uintptr_t)&addr;
	args.namelen = len;
	before = threads_of(getpid());
	prep(&self->ring, self->pool.fd, &args, 7)->flags |=
		variant->sqe_flags;
	ASSERT_TRUE(submit(&self->ring, 1));
	EXPECT_EQ(NOTHING, reap(&self->ring, 100, NULL));
	/* So a thread waits. */
	EXPECT_LT(before, threads_of(getpid()));
	EXPECT_EQ(n + 500U, drain(&self->ring, to, self->got, n + 500));
	EXPECT_EQ(500, reap(&self->ring, DEADLINE_MS, NULL));
	close(from);
	close(to);
}

TEST_F(uring, many_wait_for_one_socket)
{
	struct fbuf_send args[NR_BUFS];
	unsigned int i, counts[NR_BUFS] = {};
	size_t got, j;
	__u64 which;
	int res;

	if (!waits_alone() && !variant->sqe_flags)
		SKIP(return, "a short send on this kernel");
	for (i = 0; i < NR_BUFS; i++) {
		memset(buf_addr(&self->pool, self->names[i]), i, BUF_SIZE);
		args[i] = send_args(self->sock[0], &self->seg[i], 1);
		prep(&self->ring, self->pool.fd, &args[i], i)->flags |=
			variant->sqe_flags;
	}
	ASSERT_TRUE(submit(&self->ring, NR_BUFS));
	got = drain(&self->ring, self->sock[1], self->got, POOL_SIZE);
	EXPECT_EQ(POOL_SIZE, got);
	for (i = 0; i < NR_BUFS; i++) {
		res = reap(&self->ring, DEADLINE_MS, &which);
		EXPECT_EQ((int)BUF_SIZE, res);
		ASSERT_GT((__u64)NR_BUFS, which);
		EXPECT_EQ(0U, counts[which]++);
	}
	memset(counts, 0, sizeof(counts));
	for (j = 0; j < got; j++)
		counts[self->got[j] % NR_BUFS]++;
	for (i = 0; i < NR_BUFS; i++)
		EXPECT_EQ(BUF_SIZE, counts[i]);
}

TEST_F(uring, needs_no_thread_to_wait)
{
	struct fbuf_send args = send_args(self->sock[0], self->seg, NR_BUFS);
	bool more;
	int before;

	if (!waits_alone())
		SKIP(return, "a thread waits on this kernel");
	before = threads_of(getpid());
	prep(&self->ring, self->pool.fd, &args, 7)->flags |=
		variant->sqe_flags;
	ASSERT_TRUE(submit(&self->ring, 1));
	EXPECT_EQ(NOTHING, reap(&self->ring, 300, NULL));
	more = threads_of(getpid()) > before;
	EXPECT_EQ(!!(variant->sqe_flags & IOSQE_ASYNC), more);
}

TEST_F(uring, linked_sends_keep_their_order)
{
	struct fbuf_send a = send_args(self->sock[0], self->seg, NR_BUFS / 2);
	struct fbuf_send b = send_args(self->sock[0],
				       self->seg + NR_BUFS / 2, NR_BUFS / 2);
	__u64 which;

	if (!waits_alone() && !variant->sqe_flags)
		SKIP(return, "a short send on this kernel");
	prep(&self->ring, self->pool.fd, &a, 1)->flags |=
		IOSQE_IO_LINK | variant->sqe_flags;
	prep(&self->ring, self->pool.fd, &b, 2)->flags |= variant->sqe_flags;
	ASSERT_TRUE(submit(&self->ring, 2));
	EXPECT_EQ(NOTHING, reap(&self->ring, 100, NULL));
	/* The first goes on by the ring's task, and then there is a second. */
	EXPECT_EQ(POOL_SIZE / 2, drain(&self->ring, self->sock[1], self->got,
				       POOL_SIZE / 2));
	EXPECT_EQ((int)POOL_SIZE / 2, reap(&self->ring, DEADLINE_MS, &which));
	EXPECT_EQ(1U, which);
	EXPECT_EQ(POOL_SIZE / 2, drain(&self->ring, self->sock[1],
				       self->got + POOL_SIZE / 2,
				       POOL_SIZE / 2));
	EXPECT_EQ((int)POOL_SIZE / 2, reap(&self->ring, DEADLINE_MS, &which));
	EXPECT_EQ(2U, which);
	EXPECT_EQ(-1, pattern_differs(self->got, 1, 0, POOL_SIZE));
}

TEST_F(uring, short_send_ends_a_chain)
{
	struct fbuf_send a = send_args(self->sock[0], self->seg, NR_BUFS);
	struct fbuf_send b = send_args(self->sock[0], self->seg, 1);
	__u64 which;
	int res;

	a.flags = FBUF_SEND_DONTWAIT;
	prep(&self->ring, self->pool.fd, &a, 1)->flags |=
		IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS | variant->sqe_flags;
	prep(&self->ring, self->pool.fd, &b, 2)->flags |= variant->sqe_flags;
	ASSERT_TRUE(submit(&self->ring, 2));
	res = reap(&self->ring, DEADLINE_MS, &which);
	EXPECT_EQ(1U, which);
	EXPECT_LT(0, res);
	EXPECT_GT((int)POOL_SIZE, res);
	/* No CQE of the one that was never begun, as io_uring has it. */
	res = reap(&self->ring, 100, &which);
	EXPECT_TRUE(res == NOTHING || res == -ECANCELED);
	EXPECT_EQ(UNSET, b.engine);
}

TEST_F(uring, send_timeout_of_the_socket)
{
	struct timeval tv = { .tv_usec = 200000 };
	struct fbuf_send args;
	long begin;

	ASSERT_EQ(0, fill_up(self));
	args = send_args(self->sock[0], self->seg, NR_BUFS);
	begin = now_ms();
	ASSERT_EQ(0, setsockopt(self->sock[0], SOL_SOCKET, SO_SNDTIMEO, &tv,
				sizeof(tv)));
	EXPECT_EQ(-EAGAIN, run(&self->ring, self->pool.fd, &args,
			       variant->sqe_flags));
	/* It is told in ticks, which a busy host may owe the guest. */
	EXPECT_LE(150, now_ms() - begin);
}

/* Has a send wait, and returns 0. */
static int begin_wait(struct _test_data_uring *self, struct fbuf_send *args,
		      __u8 sqe_flags)
{
	*args = send_args(self->sock[0], self->seg, NR_BUFS);
	prep(&self->ring, self->pool.fd, args, 7)->flags |= sqe_flags;
	if (!submit(&self->ring, 1))
		return -EIO;
	return reap(&self->ring, 100, NULL) == NOTHING ? 0 : -EBUSY;
}

/* Where the first try is short, nobody waits with a part taken. */
static bool waits_with_part(__u8 sqe_flags)
{
	return waits_alone() || sqe_flags & IOSQE_ASYNC;
}

/* As far as can be, a part of what waits next is taken. */
static bool make_room(struct _test_data_uring *self, __u8 sqe_flags)
{
	return waits_with_part(sqe_flags) || !fill_up(self);
}

/*
 * Nothing of a send is left: neither the pages that the socket did not take,
 * before there is room that would end it anyway, nor the socket, nor the others.
 */
static void check_gone(struct __test_metadata *_metadata,
		       struct _test_data_uring *self)
{
	__u64 name;

	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names,
					  NR_BUFS));
	ASSERT_EQ(1, pool_alloc_wait(self->pool.fd, &name, 1, DEADLINE_MS));
	ASSERT_EQ(1, pool_free(self->pool.fd, &name, 1));
	close(self->sock[0]);
	EXPECT_LE(0, drain_to_end(self->sock[1]));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, NR_BUFS, DEADLINE_MS));
	self->sock[0] = -1;
}

TEST_F(uring, ring_goes_while_it_waits)
{
	struct fbuf_send args;

	ASSERT_TRUE(make_room(self, variant->sqe_flags));
	ASSERT_EQ(0, begin_wait(self, &args, variant->sqe_flags));
	io_uring_queue_exit(&self->ring);
	check_gone(_metadata, self);
	ASSERT_EQ(0, ring_init(&self->ring, 0));
}

TEST_F(uring, ring_goes_while_the_socket_is_full)
{
	struct fbuf_send args;

	ASSERT_EQ(0, fill_up(self));
	ASSERT_EQ(0, begin_wait(self, &args, variant->sqe_flags));
	io_uring_queue_exit(&self->ring);
	check_gone(_metadata, self);
	ASSERT_EQ(0, ring_init(&self->ring, 0));
}

/* By io_uring's own means, where a thread waits. */
static void cancel_wait(struct __test_metadata *_metadata,
			struct _test_data_uring *self, bool by_fd)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&self->ring);
	__u64 which;
	int i, res;

	if (by_fd)
		io_uring_prep_cancel_fd(sqe, self->pool.fd, 0);
	else
		io_uring_prep_cancel64(sqe, 7, 0);
	sqe->user_data = 8;
	ASSERT_TRUE(submit(&self->ring, 1));
	for (i = 0; i < 2; i++) {
		res = reap(&self->ring, DEADLINE_MS, &which);
		if (which == 8) {
			EXPECT_TRUE(!res || res == -EALREADY) {
				TH_LOG("of the other: %d", res);
			}
		} else {
			EXPECT_TRUE(res == -EINTR || res == -ECANCELED) {
				TH_LOG("of the send: %d", res);
			}
		}
	}
}

TEST_F(uring, cancelled_by_user_data)
{
	struct fbuf_send args;

	ASSERT_EQ(0, fill_up(self));
	ASSERT_EQ(0, begin_wait(self, &args, IOSQE_ASYNC));
	cancel_wait(_metadata, self, false);
	check_gone(_metadata, self);
}

TEST_F(uring, cancelled_by_fd)
{
	struct fbuf_send args;

	ASSERT_EQ(0, fill_up(self));
	ASSERT_EQ(0, begin_wait(self, &args, IOSQE_ASYNC));
	cancel_wait(_metadata, self, true);
	check_gone(_metadata, self);
}

TEST_F(uring, pool_fd_closed_while_it_waits)
{
	struct fbuf_send args;

	if (!waits_with_part(variant->sqe_flags))
		SKIP(return, "a short send on this kernel");
	ASSERT_EQ(0, begin_wait(self, &args, variant->sqe_flags));
	ASSERT_EQ(0, close(self->pool.fd));
	ASSERT_EQ(0, munmap(self->pool.map, self->pool.size));
	self->pool.map = MAP_FAILED;
	EXPECT_EQ(POOL_SIZE, drain(&self->ring, self->sock[1], self->got,
				   POOL_SIZE));
	EXPECT_EQ((int)POOL_SIZE, reap(&self->ring, DEADLINE_MS, NULL));
	EXPECT_EQ(-1, pattern_differs(self->got, 1, 0, POOL_SIZE));
	/* For the teardown. */
	ASSERT_EQ(0, pool_make(&self->pool, PAGE, 1));
}

TEST_F(uring, peer_goes_while_it_waits)
{
	struct fbuf_send args;
	int res;

	ASSERT_EQ(0, fill_up(self));
	ASSERT_EQ(0, begin_wait(self, &args, variant->sqe_flags));
	/* SIGPIPE would end us. */
	close(self->sock[1]);
	res = reap(&self->ring, DEADLINE_MS, NULL);
	EXPECT_TRUE(res == -EPIPE || res == -ECONNRESET) {
		TH_LOG("%d", res);
	}
	EXPECT_EQ(UNSET, args.engine);
	close(self->sock[0]);

	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	sock_small(self->sock);
	if (!waits_with_part(variant->sqe_flags))
		return;
	ASSERT_EQ(0, begin_wait(self, &args, variant->sqe_flags));
	close(self->sock[1]);
	res = reap(&self->ring, DEADLINE_MS, NULL);
	EXPECT_LT(0, res);
	EXPECT_GT((int)POOL_SIZE, res);
}

TEST_F(uring, socket_shut_down_while_it_waits)
{
	struct fbuf_send args;
	bool part = waits_with_part(variant->sqe_flags);
	int res;

	ASSERT_TRUE(make_room(self, variant->sqe_flags));
	ASSERT_EQ(0, begin_wait(self, &args, variant->sqe_flags));
	ASSERT_EQ(0, shutdown(self->sock[0], SHUT_WR));
	res = reap(&self->ring, DEADLINE_MS, NULL);
	if (part) {
		/* The bytes taken are what counts. */
		EXPECT_LT(0, res);
		EXPECT_GT((int)POOL_SIZE, res);
		EXPECT_EQ((__u32)FBUF_ENGINE_PAGEREF, args.engine);
		EXPECT_EQ(res, (int)drain_to_end(self->sock[1]));
	} else {
		EXPECT_EQ(-EPIPE, res);
	}
	EXPECT_EQ(-EPIPE, run(&self->ring, self->pool.fd, &args,
			      variant->sqe_flags));
}

/* A child with a ring of its own, whose send waits; then @end. */
static pid_t child_waits(struct _test_data_uring *self, unsigned int setup,
			 __u8 sqe_flags, void (*end)(void))
{
	struct fbuf_send args;
	int ready[2];
	char c;
	pid_t pid;

	if (pipe(ready))
		return -1;
	pid = fork();
	if (pid) {
		close(ready[1]);
		if (read(ready[0], &c, 1) != 1)
			pid = -1;
		close(ready[0]);
		return pid;
	}
	if (ring_init(&self->ring, setup) ||
	    begin_wait(self, &args, sqe_flags))
		_exit(2);
	if (write(ready[1], "", 1) != 1)
		_exit(3);
	end();
	_exit(4);
}

static void sleep_for_ever(void)
{
	for (;;)
		pause();
}

static void become_another(void)
{
	execl("/bin/true", "true", NULL);
}

TEST_F(uring, task_killed_while_it_waits)
{
	pid_t pid;

	ASSERT_TRUE(make_room(self, variant->sqe_flags));
	pid = child_waits(self, variant->setup, variant->sqe_flags,
			  sleep_for_ever);
	ASSERT_LT(0, pid);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_status_within(pid, DEADLINE_MS));
	check_gone(_metadata, self);
}

TEST_F(uring, task_becomes_another_while_it_waits)
{
	pid_t pid;

	ASSERT_TRUE(make_room(self, variant->sqe_flags));
	pid = child_waits(self, variant->setup, variant->sqe_flags,
			  become_another);
	ASSERT_LT(0, pid);
	EXPECT_EQ(0, child_status_within(pid, DEADLINE_MS));
	check_gone(_metadata, self);
}

/* Its task and its memory are gone when there is room: no more is sent. */
TEST_F(uring, submitter_goes_and_the_ring_stays)
{
	struct fbuf_send args;
	int res;
	pid_t pid;

	if (!waits_alone() || variant->sqe_flags ||
	    variant->setup & (IORING_SETUP_SQPOLL | IORING_SETUP_DEFER_TASKRUN))
		SKIP(return, "another task goes on with it");
	pid = fork();
	if (!pid)
		_exit(begin_wait(self, &args, 0) ? 1 : 0);
	ASSERT_EQ(0, child_status_within(pid, DEADLINE_MS));
	close(self->sock[0]);
	res = drain_to_end(self->sock[1]);
	EXPECT_LT(0, res);
	EXPECT_GT((int)POOL_SIZE, res);
	EXPECT_EQ(res, reap(&self->ring, DEADLINE_MS, NULL));
	self->sock[0] = -1;
}

TEST_F(uring, notice_after_it_waited)
{
	struct fbuf_ring_entry entry;
	struct fbuf_send args = send_args(self->sock[0], self->seg, NR_BUFS);
	struct ring ring;
	unsigned int i;

	ASSERT_EQ(0, ring_make(&ring, self->pool.fd, 0, 64, 0));
	if (!waits_alone() && !variant->sqe_flags)
		SKIP(return, "a short send on this kernel");
	args.flags = FBUF_SEND_NOTIFY;
	prep(&self->ring, self->pool.fd, &args, 7)->flags |=
		variant->sqe_flags;
	ASSERT_TRUE(submit(&self->ring, 1));
	EXPECT_EQ(NOTHING, reap(&self->ring, 100, NULL));
	EXPECT_EQ(0U, ring_len(&ring));
	EXPECT_EQ(POOL_SIZE, drain(&self->ring, self->sock[1], self->got,
				   POOL_SIZE));
	EXPECT_EQ((int)POOL_SIZE, reap(&self->ring, DEADLINE_MS, NULL));
	for (i = 0; i < NR_BUFS; i++) {
		ASSERT_TRUE(ring_wait(&ring, &entry, DEADLINE_MS));
		EXPECT_EQ((__u32)FBUF_RING_IDLE, entry.type);
	}
	ring_unmake(&ring);
}

/* Changes a structure, and takes its memory away, while sends run. */
struct hostile {
	pthread_t thread;
	struct fbuf_send *args;
	struct fbuf_send good;
	bool stop;
};

#define set(word, value) __atomic_store_n(word, value, __ATOMIC_RELAXED)

static void *hostile_thread(void *arg)
{
	struct hostile *h = arg;
	unsigned int i;

	for (i = 0; !__atomic_load_n(&h->stop, __ATOMIC_RELAXED); i++) {
		set(&h->args->nr_segs, i % 3 ? 1 : FBUF_SEGS_MAX);
		set(&h->args->segs, h->good.segs + i % 2 * PAGE);
		set(&h->args->namelen, i % 4 ? 0 : ~0U);
		set(&h->args->size, i % 5 ? sizeof(h->good) : 0);
		set(&h->args->flags, i % 7 ? FBUF_SEND_DONTWAIT : ~0U);
		if (i % 64 == 0)
			(void)mmap(h->args, PAGE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				   0);
		if (i % 8 == 0) {
			/* Both states last. */
			if (i % 16)
				*h->args = h->good;
			relax();
		}
	}
	return NULL;
}

TEST_F(uring, memory_changes_meanwhile)
{
	struct hostile h = {};
	unsigned int i, good = 0, bad = 0;
	long end = now_ms() + 5000;
	int udp[2], res;

	if (nr_cpus() < 2)
		SKIP(return, "needs a second CPU");
	ASSERT_EQ(0, udp_pair(AF_INET, udp));
	self->seg[0].len = 100;
	h.good = send_args(udp[0], self->seg, 1);
	h.good.flags = FBUF_SEND_DONTWAIT;
	h.args = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, h.args);
	*h.args = h.good;
	ASSERT_EQ(0, pthread_create(&h.thread, NULL, hostile_thread, &h));
	for (i = 0; i < 20000 && (!good || !bad ||
				  (i < 2000 && now_ms() < end)); i++) {
		res = run(&self->ring, self->pool.fd, h.args,
			  variant->sqe_flags);
		ASSERT_NE(NOTHING, res);
		good += res == 100;
		bad += res < 0;
		recv(udp[1], self->got, POOL_SIZE, MSG_DONTWAIT);
		/* A polling thread and this one can keep both CPUs. */
		if (i >= 2000)
			usleep(100);
	}
	__atomic_store_n(&h.stop, true, __ATOMIC_RELAXED);
	pthread_join(h.thread, NULL);
	EXPECT_LT(0U, good);
	EXPECT_LT(0U, bad);
	munmap(h.args, PAGE);
	close(udp[0]);
	close(udp[1]);
}

/* The out words' memory is gone when it ends: the bytes still count. */
TEST_F(uring, memory_gone_meanwhile)
{
	struct fbuf_send *args;

	if (!waits_with_part(variant->sqe_flags))
		SKIP(return, "a short send on this kernel");
	args = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, args);
	ASSERT_EQ(0, begin_wait(self, args, variant->sqe_flags));
	munmap(args, PAGE);
	EXPECT_EQ(POOL_SIZE, drain(&self->ring, self->sock[1], self->got,
				   POOL_SIZE));
	EXPECT_EQ((int)POOL_SIZE, reap(&self->ring, DEADLINE_MS, NULL));
	EXPECT_EQ(-1, pattern_differs(self->got, 1, 0, POOL_SIZE));
}

static void *read_to_end(void *arg)
{
	static char buf[16384];

	while (read(*(int *)arg, buf, sizeof(buf)) > 0)
		;
	return NULL;
}

/* Waits, wakes and ends against each other, from all sides. */
TEST_F(uring, rings_come_and_go)
{
	unsigned int i, j, rounds = 100 / slower();
	pthread_t reader;
	struct fbuf_send args[4];

	ASSERT_EQ(0, pthread_create(&reader, NULL, read_to_end,
				    &self->sock[1]));
	io_uring_queue_exit(&self->ring);
	for (i = 0; i < rounds; i++) {
		ASSERT_EQ(0, ring_init(&self->ring, variant->setup));
		for (j = 0; j < 4; j++) {
			args[j] = send_args(self->sock[0], self->seg, NR_BUFS);
			prep(&self->ring, self->pool.fd, &args[j], j)->flags |=
				variant->sqe_flags;
		}
		ASSERT_TRUE(submit(&self->ring, 4));
		if (i % 2)
			reap(&self->ring, i % 5, NULL);
		io_uring_queue_exit(&self->ring);
	}
	shutdown(self->sock[0], SHUT_WR);
	pthread_join(reader, NULL);
	check_gone(_metadata, self);
	ASSERT_EQ(0, ring_init(&self->ring, 0));
}

/* RECV: from sock[1], what is sent by sock[0]. */

static struct fbuf_recv recv_args(int sock, __u32 len)
{
	struct fbuf_recv args = {
		.size = sizeof(args),
		.fd = sock,
		.len = len,
		.copied = UNSET,
	};

	return args;
}

static int run_recv(struct _test_data_uring *self, struct fbuf_recv *args,
		    __u8 sqe_flags)
{
	return run_op(&self->ring, self->pool.fd, FBUF_IOC_RECV,
		      (uintptr_t)args, sqe_flags);
}

/* Now one waits for bytes of the connection. */
static int begin_recv(struct _test_data_uring *self, struct fbuf_recv *args,
		      __u8 sqe_flags)
{
	prep_raw(&self->ring, self->pool.fd, FBUF_IOC_RECV, (uintptr_t)args,
		 7)->flags |= sqe_flags;
	if (!submit(&self->ring, 1))
		return -EIO;
	return reap(&self->ring, 100, NULL) == NOTHING ? 0 : -EBUSY;
}

static bool no_parcels(int fd)
{
	struct fbuf_info info;

	return !pool_info(fd, &info) && !info.nr_parcels && !info.parcel_bytes;
}

/* What nobody received is there for the next one. */
static void check_none_lost(struct __test_metadata *_metadata,
			    struct _test_data_uring *self)
{
	EXPECT_TRUE(wait_for(no_parcels(self->pool.fd), DEADLINE_MS));
	ASSERT_EQ(0, pattern_write(self->sock[0], 3, 0, 3000));
	EXPECT_EQ(3000U, drain(&self->ring, self->sock[1], self->got, 3000));
	EXPECT_EQ(-1, pattern_differs(self->got, 3, 0, 3000));
}

TEST_F(uring, receives_as_the_ioctl_does)
{
	__u8 head[100];
	unsigned int i;
	int pair[2];

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct fbuf_recv want, args;

		ASSERT_EQ(0, sock_pair(kinds[i].family, kinds[i].type, pair));
		want = recv_args(pair[1], 20000);
		want.head = (uintptr_t)head;
		want.head_len = sizeof(head);
		args = want;
		ASSERT_EQ(0, pattern_write(pair[0], 3, 0, 20000));
		ASSERT_EQ(0, pattern_write(pair[0], 3, 0, 20000));
		if (kinds[i].type != SOCK_STREAM) {
			EXPECT_EQ(-EOPNOTSUPP, run_recv(self, &args,
							variant->sqe_flags));
			goto next;
		}
		ASSERT_EQ(20000, by_ioctl(self->pool.fd, FBUF_IOC_RECV, &want));
		memset(head, 0, sizeof(head));
		ASSERT_EQ(20000, run_recv(self, &args, variant->sqe_flags)) {
			TH_LOG("%s", kinds[i].name);
		}
		EXPECT_EQ(-1, pattern_differs(head, 3, 0, sizeof(head)));
		EXPECT_EQ(-1, parcel_differs(self->pool.fd, args.name, 3, 0,
					     20000));
		EXPECT_EQ(1, pool_free(self->pool.fd, &args.name, 1));
		EXPECT_EQ(1, pool_free(self->pool.fd, &want.name, 1));
		EXPECT_EQ(want.head_len, args.head_len);
		EXPECT_EQ(i > 1, args.copied == 20000);
next:
		close(pair[0]);
		close(pair[1]);
	}
	EXPECT_TRUE(no_parcels(self->pool.fd));
}

TEST_F(uring, errors_of_recv)
{
	struct fbuf_recv args = recv_args(self->sock[1], 100);
	int fd;

	args.flags = FBUF_RECV_DONTWAIT;
	EXPECT_EQ(-EAGAIN, run_recv(self, &args, variant->sqe_flags));
	args.drop = 1;
	EXPECT_EQ(-EINVAL, run_recv(self, &args, variant->sqe_flags));
	EXPECT_EQ(1ULL, args.drop);
	args.drop = 0;
	args.len = 0;
	EXPECT_EQ(-EINVAL, run_recv(self, &args, variant->sqe_flags));
	args.len = 100;
	args.fd = self->pool.fd;
	EXPECT_EQ(-ENOTSOCK, run_recv(self, &args, variant->sqe_flags));
	EXPECT_EQ(-EFAULT, run_recv(self, NULL, variant->sqe_flags));
	args.fd = self->sock[1];
	fd = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, run_op(&self->ring, fd, FBUF_IOC_RECV,
				  (uintptr_t)&args, variant->sqe_flags));
	close(fd);
	check_none_lost(_metadata, self);
}

TEST_F(uring, recv_waits)
{
	struct fbuf_recv args = recv_args(self->sock[1], 5000);

	ASSERT_EQ(0, begin_recv(self, &args, variant->sqe_flags));
	EXPECT_TRUE(no_parcels(self->pool.fd));
	ASSERT_EQ(0, pattern_write(self->sock[0], 3, 0, 1000));
	ASSERT_EQ(1000, reap(&self->ring, DEADLINE_MS, NULL));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, args.name, 3, 0, 1000));
	EXPECT_EQ(1, pool_free(self->pool.fd, &args.name, 1));

	args = recv_args(self->sock[1], 5000);
	args.flags = FBUF_RECV_ALL;
	ASSERT_EQ(0, pattern_write(self->sock[0], 3, 0, 1000));
	ASSERT_EQ(0, begin_recv(self, &args, variant->sqe_flags));
	ASSERT_EQ(0, pattern_write(self->sock[0], 3, 1000, 5000));
	ASSERT_EQ(5000, reap(&self->ring, DEADLINE_MS, NULL));
	EXPECT_EQ(-1, parcel_differs(self->pool.fd, args.name, 3, 0, 5000));
	EXPECT_EQ(1, pool_free(self->pool.fd, &args.name, 1));
	EXPECT_EQ(1000U, drain(&self->ring, self->sock[1], self->got, 1000));
	check_none_lost(_metadata, self);
}

TEST_F(uring, recv_cancelled)
{
	struct fbuf_recv args = recv_args(self->sock[1], 5000);

	ASSERT_EQ(0, begin_recv(self, &args, variant->sqe_flags));
	cancel_wait(_metadata, self, false);
	EXPECT_EQ(0ULL, args.name);
	check_none_lost(_metadata, self);
	ASSERT_EQ(0, begin_recv(self, &args, variant->sqe_flags));
	cancel_wait(_metadata, self, true);
	check_none_lost(_metadata, self);
}

TEST_F(uring, ring_goes_while_recv_waits)
{
	struct fbuf_recv args = recv_args(self->sock[1], 5000);

	ASSERT_EQ(0, begin_recv(self, &args, variant->sqe_flags));
	io_uring_queue_exit(&self->ring);
	ASSERT_EQ(0, ring_init(&self->ring, 0));
	/* The ring may take its time, and so what comes first. It is there all the same. */
	ASSERT_EQ(0, pattern_write(self->sock[0], 3, 0, 3000));
	if (wait_for(sock_empty(self->sock[1]), 200)) {
		EXPECT_EQ(-1, parcel_differs(self->pool.fd, args.name, 3, 0,
					     3000));
		EXPECT_EQ(1, pool_free(self->pool.fd, &args.name, 1));
	} else {
		EXPECT_EQ(3000U, drain(&self->ring, self->sock[1], self->got,
				       3000));
		EXPECT_EQ(-1, pattern_differs(self->got, 3, 0, 3000));
	}
	check_none_lost(_metadata, self);
}

/* The end of the stream is no error, and no parcel. */
TEST_F(uring, peer_goes_while_recv_waits)
{
	struct fbuf_recv args = recv_args(self->sock[1], 5000);

	ASSERT_EQ(0, begin_recv(self, &args, variant->sqe_flags));
	shutdown(self->sock[0], SHUT_WR);
	EXPECT_EQ(0, reap(&self->ring, DEADLINE_MS, NULL));
	EXPECT_EQ(0ULL, args.name);
	EXPECT_TRUE(no_parcels(self->pool.fd));
}

/* Its parcel goes with the handle, which the command kept. */
TEST_F(uring, pool_fd_closed_while_recv_waits)
{
	struct fbuf_recv args = recv_args(self->sock[1], 5000);

	ASSERT_EQ(0, begin_recv(self, &args, variant->sqe_flags));
	ASSERT_EQ(0, close(self->pool.fd));
	ASSERT_EQ(0, munmap(self->pool.map, self->pool.size));
	self->pool.map = MAP_FAILED;
	ASSERT_EQ(0, pattern_write(self->sock[0], 3, 0, 1000));
	EXPECT_EQ(1000, reap(&self->ring, DEADLINE_MS, NULL));
	EXPECT_NE(0ULL, args.name);
	ASSERT_EQ(0, pool_make(&self->pool, PAGE, 1));
	EXPECT_EQ(-ESTALE, parcel_read(self->pool.fd, args.name, 0, self->got,
				       1));
}

TEST_F(uring, task_killed_while_recv_waits)
{
	struct fbuf_recv args = recv_args(self->sock[1], 5000);
	int ready[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid) {
		if (ring_init(&self->ring, variant->setup) ||
		    begin_recv(self, &args, variant->sqe_flags) ||
		    write(ready[1], "", 1) != 1)
			_exit(1);
		sleep_for_ever();
	}
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &c, 1));
	close(ready[0]);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_status_within(pid, DEADLINE_MS));
	check_none_lost(_metadata, self);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
