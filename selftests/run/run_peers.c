// SPDX-License-Identifier: GPL-2.0
/*
 * A program under "fbuf run" and what is around it: sockets of all kinds, files,
 * fds that it closes and replaces, filters, users, limits, and peers that keep what
 * they were sent. Each case passes plain too.
 */
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "run_seen.h"
#include "util.h"

#define NOBODY		65534
/* Of UNREAD: a little beside whole buffers may be copied. */
#define MOST		(UNREAD - 8192)

/* Does a large send still work, and go without a copy? */
#define EXPECT_SENDS(least)						\
do {									\
	struct seen _was = seen_now();					\
	__u8 *_p = filled(UNREAD, 77);					\
	int _fd[2];							\
									\
	ASSERT_EQ(0, tcp_pair(AF_INET, _fd));				\
	ASSERT_EQ(UNREAD, write(_fd[0], _p, UNREAD));			\
	memset(_p, 0, UNREAD);						\
	EXPECT_TRUE(comes(_fd[1], 77, 0, UNREAD));			\
	EXPECT_GE(seen_since(&_was), (least));				\
	close(_fd[0]);							\
	close(_fd[1]);							\
	free(_p);							\
} while (0)

/* Sockets that take no pages of a pool, or only some of the time. */

TEST(unix_stream)
{
	__u8 *p = filled(3 << 20, 1);
	struct reader r;
	int fd[2];

	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, fd));
	ASSERT_EQ(0, reader_start(&r, fd[1], 3 << 20, -1));
	ASSERT_EQ(3 << 20, write(fd[0], p, 3 << 20));
	memset(p, 0, 3 << 20);
	ASSERT_EQ(3 << 20, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 1, 0, 3 << 20));
	free(r.data);
	free(p);
}

/* Bytes that come with an fd are not those before it or behind. */
TEST(fd_goes_with_its_own_bytes)
{
	char control[CMSG_SPACE(sizeof(int))] = "";
	__u8 *p = filled(40000, 2), *got = malloc(200000);
	struct iovec iov = { p, 40000 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int fd[2], one = 1, size = 1 << 20;
	ssize_t ret;

	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, fd));
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(one));
	memcpy(CMSG_DATA(cmsg), &one, sizeof(one));
	ASSERT_EQ(40000, write(fd[0], p, 40000));
	ASSERT_EQ(40000, sendmsg(fd[0], &msg, 0));
	ASSERT_EQ(40000, write(fd[0], p, 40000));
	memset(p, 0, 40000);

	iov = (struct iovec){ got, 200000 };
	memset(control, 0, sizeof(control));
	ASSERT_EQ(40000, read_full(fd[1], got, 40000));
	EXPECT_EQ(-1, pattern_differs(got, 2, 0, 40000));
	/* It comes in pieces, or as a whole, and with the first. */
	ret = recvmsg(fd[1], &msg, 0);
	ASSERT_GT(ret, 0);
	ASSERT_LE(ret, 40000);
	ASSERT_EQ(sizeof(control), msg.msg_controllen);
	EXPECT_EQ(SCM_RIGHTS, CMSG_FIRSTHDR(&msg)->cmsg_type);
	EXPECT_EQ(-1, pattern_differs(got, 2, 0, ret));
	EXPECT_TRUE(ret == 40000 || comes(fd[1], 2, ret, 40000 - ret));
	EXPECT_TRUE(comes(fd[1], 2, 0, 40000));
	free(p);
	free(got);
}

FIXTURE(messages)
{
	int fd[2];
};

FIXTURE_VARIANT(messages)
{
	int family;
	int type;
};

FIXTURE_VARIANT_ADD(messages, udp) { AF_INET, SOCK_DGRAM };
FIXTURE_VARIANT_ADD(messages, udp6) { AF_INET6, SOCK_DGRAM };
FIXTURE_VARIANT_ADD(messages, unix_dgram) { AF_UNIX, SOCK_DGRAM };
FIXTURE_VARIANT_ADD(messages, seqpacket) { AF_UNIX, SOCK_SEQPACKET };

FIXTURE_SETUP(messages)
{
	int size = 1 << 20;

	ASSERT_EQ(0, sock_pair(variant->family, variant->type, self->fd));
	setsockopt(self->fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &size,
		   sizeof(size));
}

FIXTURE_TEARDOWN(messages)
{
	close(self->fd[0]);
	close(self->fd[1]);
}

TEST_F(messages, stay_apart)
{
	__u8 *p = filled(60000, 3), *got = malloc(70000);
	struct iovec iov[3] = { { p, 20000 }, { p, 0 }, { p + 20000, 40000 } };
	struct mmsghdr msgs[2] = {
		{ .msg_hdr = { .msg_iov = iov, .msg_iovlen = 3 } },
		{ .msg_hdr = { .msg_iov = iov + 2, .msg_iovlen = 1 } },
	};

	ASSERT_EQ(60000, write(self->fd[0], p, 60000));
	ASSERT_EQ(35000, send(self->fd[0], p, 35000, MSG_DONTWAIT));
	ASSERT_EQ(60000, writev(self->fd[0], iov, 3));
	ASSERT_EQ(2, sendmmsg(self->fd[0], msgs, 2, 0));
	EXPECT_EQ(60000, msgs[0].msg_len);
	EXPECT_EQ(40000, msgs[1].msg_len);
	memset(p, 0, 60000);
	EXPECT_EQ(60000, recv(self->fd[1], got, 70000, 0));
	EXPECT_EQ(-1, pattern_differs(got, 3, 0, 60000));
	EXPECT_EQ(35000, recv(self->fd[1], got, 70000, 0));
	EXPECT_EQ(-1, pattern_differs(got, 3, 0, 35000));
	EXPECT_EQ(60000, recv(self->fd[1], got, 70000, 0));
	EXPECT_EQ(-1, pattern_differs(got, 3, 0, 60000));
	EXPECT_EQ(60000, recv(self->fd[1], got, 70000, 0));
	EXPECT_EQ(40000, recv(self->fd[1], got, 70000, 0));
	EXPECT_EQ(-1, pattern_differs(got, 3, 20000, 40000));
	free(p);
	free(got);
}

/* One message, of more pieces than one send of fbuf takes. */
TEST_F(messages, of_many_pieces)
{
	static struct iovec iov[1000];
	__u8 *p = filled(200000, 4), *got = malloc(70000);
	ssize_t ret;
	int i;

	for (i = 0; i < 1000; i++)
		iov[i] = (struct iovec){ p + i * 50, 50 };
	ASSERT_EQ(50000, writev(self->fd[0], iov, 1000));
	EXPECT_EQ(50000, recv(self->fd[1], got, 70000, 0));
	EXPECT_EQ(-1, pattern_differs(got, 4, 0, 50000));
	if (variant->family == AF_UNIX)
		return;
	/* More than there can be leaves nothing behind. */
	for (i = 0; i < 1000; i++)
		iov[i] = (struct iovec){ p + i * 200, 200 };
	ret = writev(self->fd[0], iov, 1000);
	EXPECT_EQ(-1, ret);
	EXPECT_EQ(EMSGSIZE, errno);
	ASSERT_EQ(40000, write(self->fd[0], p, 40000));
	EXPECT_EQ(40000, recv(self->fd[1], got, 70000, 0));
	EXPECT_EQ(-1, pattern_differs(got, 4, 0, 40000));
	free(p);
	free(got);
}

TEST(tls)
{
	__u8 *p = filled(1 << 20, 5);
	struct seen was = seen_now();
	struct reader r;
	int fd[2];

	if (tls_pair(fd))
		SKIP(return, "no kTLS here");
	ASSERT_EQ(0, reader_start(&r, fd[1], (1 << 20) + 5, -1));
	ASSERT_EQ(1 << 20, write(fd[0], p, 1 << 20));
	ASSERT_EQ(5, write(fd[0], "small", 5));
	memset(p, 0, 1 << 20);
	shutdown(fd[0], SHUT_WR);
	ASSERT_EQ((1 << 20) + 5, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 5, 0, 1 << 20));
	EXPECT_EQ(0, memcmp(r.data + (1 << 20), "small", 5));
	EXPECT_GE(seen_since(&was), (1 << 20) - 8192);
	free(r.data);
	free(p);
}

TEST(pipe_file_and_null)
{
	__u8 *p = filled(200000, 6), *got = malloc(200000);
	struct iovec iov[2] = { { p, 100000 }, { p + 100000, 100000 } };
	struct reader r;
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ(0, reader_start(&r, fd[0], 200000, -1));
	ASSERT_EQ(200000, write(fd[1], p, 200000));
	close(fd[1]);
	ASSERT_EQ(200000, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 6, 0, 200000));
	free(r.data);

	fd[0] = memfd_create("file", MFD_CLOEXEC);
	ASSERT_EQ(200000, write(fd[0], p, 200000));
	ASSERT_EQ(200000, writev(fd[0], iov, 2));
	EXPECT_EQ(400000, lseek(fd[0], 0, SEEK_CUR));
	EXPECT_EQ(100000, pwritev2(fd[0], iov, 1, 300000, 0));
	EXPECT_EQ(400000, lseek(fd[0], 0, SEEK_CUR));
	EXPECT_EQ(200000, pwritev2(fd[0], iov, 2, -1, 0));
	EXPECT_EQ(600000, lseek(fd[0], 0, SEEK_CUR));
	ASSERT_EQ(200000, pread(fd[0], got, 200000, 400000));
	EXPECT_EQ(-1, pattern_differs(got, 6, 0, 200000));
	EXPECT_EQ(-1, send(fd[0], p, 100000, 0));
	EXPECT_EQ(ENOTSOCK, errno);
	close(fd[0]);

	fd[0] = open("/dev/null", O_WRONLY);
	ASSERT_EQ(200000, write(fd[0], p, 200000));
	ASSERT_EQ(200000, writev(fd[0], iov, 2));
	close(fd[0]);
	fd[0] = open("/dev/null", O_RDONLY);
	EXPECT_EQ(-1, write(fd[0], p, 200000));
	EXPECT_EQ(EBADF, errno);
	free(p);
	free(got);
}

/* fds: the program knows nothing of those that are not its own. */

static void hides(struct __test_metadata *_metadata)
{
	int ours[8], nr = seen_fds(ours, 8), i;

	if (seen_any())
		EXPECT_GE(nr, 2);
	for (i = 0; i < nr; i++) {
		EXPECT_EQ(-1, close(ours[i]));
		EXPECT_EQ(EBADF, errno);
		EXPECT_EQ(-1, dup2(ours[i], 500));
		EXPECT_EQ(EBADF, errno);
		EXPECT_EQ(-1, dup3(ours[i], 500, O_CLOEXEC));
		EXPECT_EQ(EBADF, errno);
	}
}

/* How a program gets rid of all that it was given. */
FIXTURE(closed)
{
};

FIXTURE_VARIANT(closed)
{
	void (*close)(void);
};

static void by_loop(void)
{
	int fd;

	for (fd = 3; fd < 65536; fd++)
		close(fd);
}

static void by_loop_down(void)
{
	int fd;

	for (fd = sysconf(_SC_OPEN_MAX) - 1; fd > 2; fd--)
		close(fd);
}

static void by_closefrom(void)
{
	closefrom(3);
}

static void by_range(void)
{
	if (close_range(3, ~0U, 0))
		abort();
}

static void by_range_of_one(void)
{
	unsigned int fd;

	for (fd = 3; fd < 2000; fd++) {
		if (close_range(fd, fd, 0))
			abort();
	}
}

static void by_range_cloexec(void)
{
	if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC))
		abort();
}

static void by_range_unshare(void)
{
	if (close_range(3, ~0U, CLOSE_RANGE_UNSHARE))
		abort();
}

static void by_syscall(void)
{
	if (syscall(SYS_close_range, 3, ~0U, 0))
		abort();
}

FIXTURE_VARIANT_ADD(closed, loop) { by_loop };
FIXTURE_VARIANT_ADD(closed, loop_down) { by_loop_down };
FIXTURE_VARIANT_ADD(closed, closefrom) { by_closefrom };
FIXTURE_VARIANT_ADD(closed, range) { by_range };
FIXTURE_VARIANT_ADD(closed, range_of_one) { by_range_of_one };
FIXTURE_VARIANT_ADD(closed, range_cloexec) { by_range_cloexec };
FIXTURE_VARIANT_ADD(closed, range_unshare) { by_range_unshare };
FIXTURE_VARIANT_ADD(closed, syscall) { by_syscall };

FIXTURE_SETUP(closed)
{
}

FIXTURE_TEARDOWN(closed)
{
}

TEST_F(closed, all_and_sends_without_a_copy)
{
	__u8 *p;
	int fd;

	variant->close();
	EXPECT_SENDS(MOST);
	/* The pool is there now. */
	p = filled(100000, 7);
	variant->close();
	EXPECT_SENDS(MOST);
	hides(_metadata);
	if (variant->close != by_range_cloexec) {
		fd = open("/dev/null", O_RDONLY);
		EXPECT_EQ(3, fd);
		close(fd);
	}
	EXPECT_EQ(-1, pattern_differs(p, 7, 0, 100000));
	free(p);
}

TEST(close_range_refuses_what_it_refuses)
{
	EXPECT_EQ(-1, close_range(10, 3, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, close_range(3, ~0U, 1 << 20));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, close_range(~0U, ~0U, 0));
}

TEST(dup_onto_every_number)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC), fd, to;
	struct rlimit rl = { 4096, 4096 };

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &rl));
	EXPECT_SENDS(MOST);
	errno = 4242;
	for (to = 10; to <= 1100; to++)
		ASSERT_EQ(to, to & 1 ? dup2(null, to) : dup3(null, to, O_CLOEXEC));
	EXPECT_EQ(4242, errno);
	EXPECT_SENDS(MOST);
	hides(_metadata);
	for (to = 10; to <= 1100; to++)
		ASSERT_EQ(1, write(to, "x", 1));
	EXPECT_EQ(-1, dup2(3000, 1050));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, dup3(null, null, 0));
	EXPECT_EQ(EINVAL, errno);
	for (to = 10; to <= 1100; to++)
		ASSERT_EQ(0, close(to));
	fd = open("/dev/null", O_RDONLY);
	EXPECT_LT(fd, 10);
	EXPECT_SENDS(MOST);
}

TEST(lowest_number_is_the_programs)
{
	int fd = open("/dev/null", O_RDONLY), again;
	__u8 *p;

	close(fd);
	p = filled(200000, 8);
	again = open("/dev/null", O_RDONLY);
	EXPECT_EQ(fd, again);
	free(p);
}

TEST(few_fds_are_allowed)
{
	struct rlimit rl = { 64, 64 };
	int null, fd;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &rl));
	EXPECT_SENDS(MOST);
	null = open("/dev/null", O_WRONLY);
	for (fd = null + 1; fd < 60; fd++)
		ASSERT_EQ(fd, dup2(null, fd));
	closefrom(3);
	EXPECT_SENDS(MOST);
}

/* Filters that kill the program for what it does not do itself. */

/* Of each of these the program knows nothing. */
static struct sock_filter no_ioctl[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 3, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getpid, 2, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getsockopt, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

static const struct sock_fprog filter = {
	.len = sizeof(no_ioctl) / sizeof(*no_ioctl),
	.filter = no_ioctl,
};

/* What goes on under it; as a child, whose end is seen. */
static int filtered(bool by_prctl, __u8 *before, const int fd[2])
{
	__u8 *p;
	pid_t pid;
	long ret;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return 10;
	ret = by_prctl ?
	      prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) :
	      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
	if (ret)
		return access("/proc/sys/kernel/seccomp", F_OK) ? 4 : 11;
	if (write(fd[0], before, 50000) != 50000)
		return 12;
	p = filled(150000, 10);
	before = resized(before, 300000);
	if (write(fd[0], p, 50000) != 50000)
		return 13;
	if (pattern_differs(before, 9, 0, 100000) >= 0)
		return 14;
	pid = fork();
	if (!pid)
		_exit(pattern_differs(before, 9, 0, 100000) >= 0 ||
		      pattern_differs(p, 10, 0, 150000) >= 0);
	if (child_status(pid))
		return 15;
	free(before);
	free(p);
	return 0;
}

TEST(filters_that_kill_for_ioctl)
{
	int fd[2], i, status;
	__u8 *p;
	pid_t pid;

	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, tcp_pair(AF_INET, fd));
		p = filled(100000, 9);
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			_exit(filtered(i, p, fd));
		status = child_status(pid);
		if (status == 4)
			SKIP(return, "no seccomp filters here");
		ASSERT_EQ(0, status);
		EXPECT_TRUE(comes(fd[1], 9, 0, 50000));
		EXPECT_TRUE(comes(fd[1], 10, 0, 50000));
		free(p);
	}
}

/* A program that only asks what there is goes on as before. */
TEST(asking_for_filters_changes_nothing)
{
	__u32 action = SECCOMP_RET_ALLOW;

	prctl(PR_GET_SECCOMP, 0, 0, 0, 0);
	syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
	/* This one fails. */
	prctl(PR_SET_SECCOMP, 1234, 0, 0, 0);
	EXPECT_SENDS(MOST);
}

/* Users, roots, and limits. */

TEST(another_user_before_the_first_allocation)
{
	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, become(NOBODY));
	EXPECT_SENDS(MOST);
}

TEST(another_user_after_it)
{
	__u8 *p = filled(100000, 11);
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, become(NOBODY));
	EXPECT_SENDS(MOST);
	pid = fork();
	if (!pid)
		_exit(pattern_differs(p, 11, 0, 100000) >= 0);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_SENDS(MOST);
	free(p);
}

TEST(nothing_may_be_locked)
{
	struct rlimit rl = { 0, 0 };
	__u8 *p;
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &rl));
	ASSERT_EQ(0, become(NOBODY));
	errno = 4242;
	p = filled(1 << 20, 12);
	EXPECT_EQ(4242, errno);
	EXPECT_SENDS(0);
	pid = fork();
	if (!pid)
		_exit(pattern_differs(p, 12, 0, 1 << 20) >= 0);
	EXPECT_EQ(0, child_status(pid));
	free(p);
}

/* The limit falls when there is a pool: a child cannot have one. */
TEST(nothing_may_be_locked_any_more)
{
	struct rlimit rl = { 0, 0 };
	__u8 *p = filled(1 << 20, 13);
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &rl));
	ASSERT_EQ(0, become(NOBODY));
	EXPECT_SENDS(0);
	pid = fork();
	if (!pid) {
		__u8 *q = realloc(p, 2 << 20);
		int bad = pattern_differs(q, 13, 0, 1 << 20) >= 0;

		memset(q, 0, 2 << 20);
		free(q);
		_exit(bad);
	}
	memset(p, 0, 1 << 20);
	EXPECT_EQ(0, child_status(pid));
	free(p);
}

TEST(root_is_an_empty_folder)
{
	char dir[] = "/tmp/run_peers.XXXXXX";
	int fd[2];
	__u8 *p;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_NE(NULL, mkdtemp(dir));
	ASSERT_EQ(0, chroot(dir));
	ASSERT_EQ(0, chdir("/"));
	ASSERT_EQ(0, tcp_pair(AF_INET, fd));
	p = filled(UNREAD, 14);
	ASSERT_EQ(UNREAD, write(fd[0], p, UNREAD));
	memset(p, 0, UNREAD);
	EXPECT_TRUE(comes(fd[1], 14, 0, UNREAD));
	free(p);
}

/* Whoever keeps what was sent keeps no more than may be. */

/*
 * Snapshots, and what is set aside for them, are no more than the user allows; but
 * for what comes between two looks at it.
 */
static bool within_the_pool(void)
{
	const char *text = getenv("FBUF_RUN_POOL");
	__u64 pool = text ? strtoull(text, NULL, 0) : 0, more;
	int ours[8], nr = seen_fds(ours, 8), i;
	struct fbuf_info info;

	for (i = 0; seen_any() && i < nr; i++) {
		if (pool_info(ours[i], &info))
			continue;
		more = info.charged - info.pool_size;
		if (info.resident + more <= pool)
			return true;
		ksft_print_msg("%llu bytes, and %llu more, of %llu\n",
			       info.resident, more, pool);
		return false;
	}
	return true;
}

#define NR_CLIENTS	24
#define NR_PIECES	12

TEST(clients_that_never_read)
{
	const size_t len = 256 << 10;
	int fd[NR_CLIENTS][2], size = 2 << 20, i, turn;
	size_t pos[NR_CLIENTS] = { 0 };
	struct seen was = seen_now();
	__u8 *p = malloc(NR_PIECES * len), *more[NR_CLIENTS];
	ssize_t ret;

	for (i = 0; i < NR_CLIENTS; i++) {
		ASSERT_EQ(0, tcp_pair(AF_INET, fd[i]));
		setsockopt(fd[i][0], SOL_SOCKET, SO_SNDBUFFORCE, &size,
			   sizeof(size));
		setsockopt(fd[i][1], SOL_SOCKET, SO_RCVBUFFORCE, &size,
			   sizeof(size));
	}
	/* All of the pool, none of it changed. */
	for (i = 0; i < NR_CLIENTS; i++)
		pattern_fill(p + i % NR_PIECES * len, i % NR_PIECES, 0, len);
	for (i = 0; i < NR_CLIENTS; i++) {
		ASSERT_EQ(len, write(fd[i][0], p + i % NR_PIECES * len, len));
		ASSERT_TRUE(within_the_pool());
	}
	/* From the same memory each time, which is other bytes. */
	for (turn = 0; turn < 3; turn++) {
		for (i = 0; i < NR_CLIENTS; i++) {
			pattern_fill(p, i, pos[i], len);
			ret = send(fd[i][0], p, len, MSG_DONTWAIT);
			if (ret > 0)
				pos[i] += ret;
			else
				ASSERT_EQ(EAGAIN, errno);
			ASSERT_TRUE(within_the_pool());
		}
	}
	if (seen_any() && strtoull(getenv("FBUF_RUN_POOL"), NULL, 0) <= 4 << 20)
		EXPECT_GT(seen_now().crowded, was.crowded);
	/* Whatever it wants beside that is not of the pool. */
	for (i = 0; i < NR_CLIENTS; i++) {
		more[i] = malloc(len);
		ASSERT_NE(NULL, more[i]);
		memset(more[i], i, len);
		ASSERT_TRUE(within_the_pool());
	}
	for (i = 0; i < NR_CLIENTS; i++) {
		free(more[i]);
		EXPECT_TRUE(comes(fd[i][1], i % NR_PIECES, 0, len));
		EXPECT_TRUE(comes(fd[i][1], i, 0, pos[i]));
		close(fd[i][0]);
		close(fd[i][1]);
	}
	/* With nobody who keeps anything, it goes on as it began. */
	if (seen_any()) {
		was = seen_now();
		ASSERT_TRUE(wait_for(({ EXPECT_SENDS(0);
					seen_since(&was) > 0; }), DEADLINE_MS));
	}
	free(p);
}

TEST(capture_that_nobody_reads)
{
	int capture = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC,
			     htons(ETH_P_ALL));
	int fd[2], size = 64 << 20, i;
	__u8 *p;

	if (capture < 0)
		SKIP(return, "no packet sockets here");
	p = malloc(256 << 10);
	ASSERT_NE(NULL, p);
	setsockopt(capture, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	ASSERT_EQ(0, tcp_pair(AF_INET, fd));
	for (i = 0; i < 200; i++) {
		pattern_fill(p, i, 0, 256 << 10);
		ASSERT_EQ(UNREAD, write(fd[0], p, UNREAD));
		memset(p, 0, 256 << 10);
		ASSERT_TRUE(comes(fd[1], i, 0, UNREAD));
		ASSERT_TRUE(within_the_pool());
	}
	close(capture);
	free(p);
}

TEST_HARNESS_MAIN
