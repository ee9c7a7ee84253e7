// SPDX-License-Identifier: GPL-2.0
/*
 * What users, and those who share a pool, can and cannot do to one another and to
 * the kernel, where no other test shows it. See Documentation/security.rst.
 */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "nl.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		4U
#define GUESSES		1000U
#define CGROUPS		"/sys/fs/cgroup"
#define STUCK_MS	"/sys/module/fbuf/parameters/stuck_ms"

/* Features and advice that the C library's headers may not know. */
#define WP_ASYNC	(1ULL << 15)
#define ADVICE_LAST	25
#define ADVICE_GUARD	102

/* Not even for the group of root, until udev gives it to another. */
TEST(device_is_for_root)
{
	struct stat st;

	if (!access("/run/udev/control", F_OK))
		SKIP(return, "udev may have given it to somebody");
	ASSERT_EQ(0, stat(FBUF_DEVICE, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0600U, st.st_mode & 07777);
	EXPECT_EQ(0U, st.st_uid);
	EXPECT_EQ(0U, st.st_gid);
}

/* Who shares a pool shares what is in it. */
FIXTURE(shared)
{
	struct pool pool;
	__u64 name;
	int sock[2];
};

FIXTURE_SETUP(shared)
{
	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, self->sock));
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->name, 1));
	pattern_fill(self->pool.map, 1, 0, BUF_SIZE);
}

FIXTURE_TEARDOWN(shared)
{
	pool_unmake(&self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

/* A name is no secret, and what may be sent can be sent to oneself. */
TEST_F(shared, send_is_read)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->name, 0, BUF_SIZE);
	int fd = pool_share(self->pool.fd, FBUF_RIGHT_SEND, 0, NULL);
	__u8 got[BUF_SIZE];
	__u32 gen = 0;
	__u64 guess;

	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	do {
		guess = FBUF_NAME(0, ++gen);
	} while (pool_hold(fd, &guess, 1) == -ESTALE && gen < GUESSES);
	ASSERT_EQ(self->name, guess);
	ASSERT_EQ((ssize_t)BUF_SIZE,
		  pool_send(fd, self->sock[0], &seg, 1, 0, 0, NULL));
	ASSERT_EQ((ssize_t)BUF_SIZE,
		  read_full(self->sock[1], got, BUF_SIZE));
	EXPECT_EQ(-1, pattern_differs(got, 1, 0, BUF_SIZE));
	close(fd);
}

/* Without any right, and without a hold, nothing of it is to be had. */
TEST_F(shared, no_rights_no_bytes)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->name, 0, BUF_SIZE);
	int fd = pool_share(self->pool.fd, 0, 0, NULL);
	off_t at = 0;

	ASSERT_LE(0, fd);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
	EXPECT_EQ(-1, splice(fd, &at, self->sock[0], NULL, PAGE, 0));
	EXPECT_EQ(-EACCES, pool_send(fd, self->sock[0], &seg, 1, 0, 0, NULL));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	close(fd);
}

/* Nothing is cleared between holders, but between pools. */
TEST_F(shared, next_holder_sees_it)
{
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	struct pool other;
	unsigned int i;
	__u64 name;

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->name, 1));
	ASSERT_EQ(1, pool_alloc(fd, &name, 1));
	EXPECT_EQ(-1, pattern_differs(self->pool.map, 1, 0, BUF_SIZE));
	close(fd);
	pool_unmake(&self->pool);
	ASSERT_EQ(0, pool_make(&other, BUF_SIZE, 1));
	for (i = 0; i < BUF_SIZE; i++)
		ASSERT_EQ(0, other.map[i]);
	self->pool = other;
}

/* A system call's write, which fails where a program's would get SIGBUS. */
static int write_at(void *at)
{
	int fd = open("/dev/zero", O_RDONLY), ret = 0;

	if (fd < 0)
		return -errno;
	if (read(fd, at, 1) != 1)
		ret = -errno;
	close(fd);
	return ret;
}

/*
 * Kernels that cannot split a large folio for want of huge pages say that they
 * have, and try for ever, whoever maps one.
 */
static bool may_advise(int advice)
{
	return (advice != MADV_COLD && advice != MADV_PAGEOUT) ||
	       !access("/sys/kernel/mm/transparent_hugepage", F_OK);
}

/*
 * Whatever the kernel is told of the memory, nothing is lost and nothing gets
 * through. With two pages and one packet, reclaim takes the folio for one that it
 * may split.
 */
TEST(advice_on_a_protected_buffer)
{
	const size_t size = 2 * PAGE;
	struct fbuf_seg seg;
	struct pool pool;
	__u8 got[2 * PAGE];
	int advice, sock[2];
	void *page;
	__u64 name;

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, pool_make_flags(&pool, size, 1,
				     FBUF_POOL_SECURED | FBUF_POOL_SIGBUS));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	pattern_fill(pool.map, 1, 0, size);
	seg = buf_seg(&pool, name, 0, size);
	ASSERT_EQ((ssize_t)size,
		  pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL));
	for (advice = 0; advice <= ADVICE_LAST + 1; advice++) {
		int a = advice <= ADVICE_LAST ? advice : ADVICE_GUARD;

		if (!may_advise(a))
			continue;
		madvise(pool.map, PAGE, a);
		ASSERT_EQ(-1, pattern_differs(pool.map, 1, 0, size));
		madvise(pool.map, size, a);
		ASSERT_EQ(-1, pattern_differs(pool.map, 1, 0, size));
		ASSERT_EQ(-EFAULT, write_at(pool.map + PAGE)) {
			TH_LOG("after madvise(%d)", a);
		}
	}
	page = pool.map;
	mlock(pool.map, size);
	syscall(SYS_move_pages, 0, 1UL, &page, &(int){ 0 }, &(int){ 0 }, 2);
	syscall(SYS_mbind, pool.map, size, 1, &(unsigned long){ 1 }, 2UL, 6UL);
	ASSERT_EQ(-EFAULT, write_at(pool.map));
	ASSERT_EQ((ssize_t)size, read_full(sock[1], got, size));
	EXPECT_EQ(-1, pattern_differs(got, 1, 0, size));
	EXPECT_EQ(1, pool_wait(pool.fd, &name, 1, DEADLINE_MS));
	EXPECT_EQ(0, write_at(pool.map));
	pool_unmake(&pool);
	close(sock[0]);
	close(sock[1]);
}

/* Write protection of what is not mapped yet; -errno if it is refused. */
static int uffd_protect(void *at, size_t len)
{
	struct uffdio_api api = { .api = UFFD_API, .features = WP_ASYNC };
	struct uffdio_register reg = {
		.range = { (unsigned long)at, len },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	struct uffdio_writeprotect wp = {
		.range = { (unsigned long)at, len },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | 1);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api))
		return -EOPNOTSUPP;
	if (ioctl(fd, UFFDIO_REGISTER, &reg) ||
	    ioctl(fd, UFFDIO_WRITEPROTECT, &wp))
		return -errno;
	return 0;
}

/* A fault that is tried again for ever could not be killed. */
TEST(userfaultfd_does_not_hang)
{
	struct pool pool;
	pid_t pid;
	int status;

	ASSERT_EQ(0, pool_make(&pool, BUF_SIZE, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int err = uffd_protect(pool.map, BUF_SIZE);

		if (err == -EOPNOTSUPP)
			_exit(4);
		_exit(write_at(pool.map) != (err ? 0 : -EFAULT));
	}
	status = child_status_within(pid, DEADLINE_MS);
	pool_unmake(&pool);
	if (status == 4)
		SKIP(return, "no asynchronous write protection");
	EXPECT_EQ(0, status);
}

/* Root of a user namespace of his own is nobody here. */
static int root_elsewhere(int control, __u64 others, int told)
{
	struct nl_arg limit = { FBUF_A_LIMIT_USER_MAX, 8, 1 };
	struct rlimit memlock = { PAGE, PAGE };
	struct fbuf_info info;
	struct nl_row row;
	struct nl nl;
	int fd;

	if (setrlimit(RLIMIT_MEMLOCK, &memlock) || become(100000 + getpid()) ||
	    unshare(CLONE_NEWUSER | CLONE_NEWNET))
		return 4;
	if (nl_open(&nl))
		return 1;
	fd = pool_create_on(control, PAGE, 1, 0);
	if (fd < 0 || pool_info(fd, &info))
		return 2;
	/* Capable he is, but of none of this. */
	if (pool_create_on(control, PAGE, 1, 0) != -ENOMEM)
		return 9;
	if (nl_dump(&nl, FBUF_CMD_POOL_GET, &row, 1) != 1 ||
	    row.val[FBUF_A_POOL_ID] != info.id)
		return 3;
	if (nl_pool(&nl, others, &row) != -ENOENT)
		return 5;
	if (nl_do(&nl, FBUF_CMD_LIMIT_SET, &limit, 1, NULL) != -EPERM)
		return 6;
	if (nl_do(&nl, FBUF_CMD_STATS_GET, NULL, 0, &row) != -EPERM)
		return 7;
	/* He may listen where nothing is said. */
	nl_join(&nl);
	close(fd);
	if (read(told, &fd, 1) != 1 || nl_next(&nl, &row, 200) != -ETIMEDOUT)
		return 8;
	return 0;
}

TEST(root_of_another_namespace)
{
	int control, fd, told[2], status;
	struct fbuf_info info;
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs root");
	control = control_open();
	ASSERT_LE(0, control);
	fd = pool_create_on(control, PAGE, 1, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	ASSERT_EQ(0, pipe(told));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(root_elsewhere(control, info.id, told[0]));
	ASSERT_EQ(1, write(told[1], "", 1));
	close(fd);
	close(pool_create_on(control, PAGE, 1, 0));
	status = child_status(pid);
	if (status == 4)
		SKIP(return, "no user namespaces");
	EXPECT_EQ(0, status);
	close(control);
}

/* A pool whose lock is held for seconds, by a fault of its maker. */
FIXTURE(slow)
{
	char dir[64];
	int *go;	/* shared with him */
	int ready[2];
	__u64 id;
	pid_t maker;
};

/* Copies a buffer on write, when told to: the kernel slows that down. */
static int slow_maker(struct _test_data_slow *self)
{
	struct fbuf_info info;
	struct fbuf_seg seg;
	struct pool pool;
	int sock[2];
	__u64 name;

	/* What he touches now costs nothing later. */
	__atomic_store_n(self->go, 0, __ATOMIC_RELAXED);
	if (page_pair(sock) ||
	    pool_make_flags(&pool, FBUF_BUF_SIZE_MAX, 1, FBUF_POOL_SNAPSHOT) ||
	    pool_alloc(pool.fd, &name, 1) != 1 || pool_info(pool.fd, &info))
		return 1;
	memset(pool.map, 1, pool.size);
	seg = buf_seg(&pool, name, 0, 1);
	if (pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL) != 1)
		return 2;
	/* A copy that is in flight, for which whoever looks takes the lock. */
	pool.map[0] = 3;
	if (pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL) != 1 ||
	    write(self->ready[1], &info.id, sizeof(info.id)) < 0)
		return 2;
	while (!__atomic_load_n(self->go, __ATOMIC_ACQUIRE))
		sched_yield();
	pool.map[0] = 2;
	return 0;
}

FIXTURE_SETUP(slow)
{
	char path[96], text[16];

	snprintf(self->dir, sizeof(self->dir), CGROUPS "/fbuf-slow-%d",
		 getpid());
	if (geteuid() ||
	    file_put(CGROUPS "/cgroup.subtree_control", "+memory") ||
	    mkdir(self->dir, 0755))
		SKIP(return, "no memory cgroup");
	self->go = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->go);
	ASSERT_EQ(0, pipe(self->ready));
	self->maker = fork();
	ASSERT_LE(0, self->maker);
	if (!self->maker) {
		snprintf(path, sizeof(path), "%s/cgroup.procs", self->dir);
		snprintf(text, sizeof(text), "%d", getpid());
		_exit(file_put(path, text) ? 3 : slow_maker(self));
	}
	ASSERT_EQ((ssize_t)sizeof(self->id),
		  read(self->ready[0], &self->id, sizeof(self->id)));
	snprintf(path, sizeof(path), "%s/memory.high", self->dir);
	ASSERT_EQ(0, file_put(path, "0"));
}

FIXTURE_TEARDOWN(slow)
{
	kill(self->maker, SIGKILL);
	child_status(self->maker);
	wait_for(!rmdir(self->dir), DEADLINE_MS);
}

/* Looks at it until that takes a second; 4 if it never does. */
static int look(struct nl *nl, __u64 id)
{
	long end = now_ms() + DEADLINE_MS, start;
	struct nl_row row;

	do {
		start = now_ms();
		if (nl_pool(nl, id, &row))
			return 1;
		if (now_ms() - start > 1000)
			return 0;
	} while (time_left(end));
	return 4;
}

/* Whoever looks at it waits. Others do not wait for him. */
TEST_F(slow, others_go_on)
{
	long start, most = 0;
	pid_t looks;
	struct nl nl;
	int fd, status;

	ASSERT_EQ(0, nl_open(&nl));
	looks = fork();
	ASSERT_LE(0, looks);
	if (!looks)
		_exit(look(&nl, self->id));
	__atomic_store_n(self->go, 1, __ATOMIC_RELEASE);
	while (wait_state(looks, looks, "Z", 0)) {
		start = now_ms();
		fd = pool_create(PAGE, 1);
		ASSERT_LE(0, fd);
		close(fd);
		if (now_ms() - start > most)
			most = now_ms() - start;
		relax();
	}
	status = child_status(looks);
	nl_close(&nl);
	if (status == 4)
		SKIP(return, "it was not slow");
	EXPECT_EQ(0, status);
	EXPECT_GT(1000, most);
}

/* Asks for his limits until he is told to stop: 1 if he waited for a second. */
static int ask_limits(struct _test_data_slow *self)
{
	struct nl_row row;
	long start, most = 0;
	struct nl nl;

	if (become(100000 + getpid()) || nl_open(&nl))
		return 2;
	while (__atomic_load_n(self->go, __ATOMIC_ACQUIRE) != 2) {
		start = now_ms();
		if (nl_dump(&nl, FBUF_CMD_LIMIT_GET, &row, 1) < 0)
			return 3;
		if (now_ms() - start > most)
			most = now_ms() - start;
		relax();
	}
	return most > 1000;
}

/* Nor does who may not see it, when he asks what is charged to himself. */
TEST_F(slow, others_ask_for_limits)
{
	pid_t looks, asks;
	struct nl nl;
	int status;

	ASSERT_EQ(0, nl_open(&nl));
	looks = fork();
	ASSERT_LE(0, looks);
	if (!looks)
		_exit(look(&nl, self->id));
	asks = fork();
	ASSERT_LE(0, asks);
	if (!asks)
		_exit(ask_limits(self));
	__atomic_store_n(self->go, 1, __ATOMIC_RELEASE);
	status = child_status(looks);
	__atomic_store_n(self->go, 2, __ATOMIC_RELEASE);
	EXPECT_EQ(0, child_status(asks));
	nl_close(&nl);
	if (status == 4)
		SKIP(return, "it was not slow");
	EXPECT_EQ(0, status);
}

/* How long it takes to hear that a buffer of a pool is stuck. */
static long stuck_told(struct nl *events, __u64 id)
{
	long start = now_ms(), end = start + DEADLINE_MS;
	struct nl_row row;

	while (!nl_next(events, &row, end - now_ms())) {
		if (row.cmd == FBUF_CMD_STUCK_NTF &&
		    row.val[FBUF_A_POOL_ID] == id)
			break;
	}
	return now_ms() - start;
}

/* And events of other pools come. */
TEST_F(slow, others_are_told_of)
{
	struct nl nl, events;
	struct fbuf_info info;
	struct fbuf_seg seg;
	struct pool pool;
	int sock[2], status;
	pid_t looks;
	__u64 name;
	long took;

	ASSERT_EQ(0, nl_open(&nl));
	ASSERT_EQ(0, nl_open(&events));
	/* First: once somebody listens, the next look may be a second off. */
	ASSERT_EQ(0, file_put(STUCK_MS, "200"));
	ASSERT_EQ(0, nl_join(&events));
	ASSERT_EQ(0, page_pair(sock));
	ASSERT_EQ(0, pool_make(&pool, PAGE, 1));
	ASSERT_EQ(0, pool_info(pool.fd, &info));
	ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
	seg = buf_seg(&pool, name, 0, 1);
	looks = fork();
	ASSERT_LE(0, looks);
	if (!looks)
		_exit(look(&nl, self->id));
	__atomic_store_n(self->go, 1, __ATOMIC_RELEASE);
	ASSERT_EQ(1, pool_send(pool.fd, sock[0], &seg, 1, 0, 0, NULL));
	/* An event begins it: to ask for a dump would be to wait. */
	EXPECT_EQ(-ENOBUFS, pool_alloc(pool.fd, &name, 1));
	took = stuck_told(&events, info.id);
	status = child_status(looks);
	file_put(STUCK_MS, "10000");
	if (status == 4)
		SKIP(return, "it was not slow");
	EXPECT_EQ(0, status);
	EXPECT_GT(1000 * slower(), took);
	pool_unmake(&pool);
	nl_close(&events);
	nl_close(&nl);
	close(sock[0]);
	close(sock[1]);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
