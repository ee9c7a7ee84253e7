// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping of a pool: what mmap() takes and refuses, that it is ordinary
 * shared memory, and that what takes user pages works on it.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		4U

FIXTURE(map)
{
	struct pool pool;
	size_t page;
};

FIXTURE_SETUP(map)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	self->page = sysconf(_SC_PAGESIZE);
}

FIXTURE_TEARDOWN(map)
{
	pool_unmake(&self->pool);
}

TEST_F(map, private_refused)
{
	int fd = self->pool.fd;

	EXPECT_EQ(-EINVAL, try_map(fd, BUF_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE, 0));
	EXPECT_EQ(-EINVAL, try_map(fd, BUF_SIZE, PROT_READ, MAP_PRIVATE, 0));
}

TEST_F(map, beyond_the_end)
{
	size_t size = self->pool.size;
	int fd = self->pool.fd;

	EXPECT_EQ(-EINVAL, try_map(fd, size + self->page, PROT_READ,
				   MAP_SHARED, 0));
	EXPECT_EQ(-EINVAL, try_map(fd, size, PROT_READ, MAP_SHARED,
				   self->page));
	EXPECT_EQ(-EINVAL, try_map(fd, self->page, PROT_READ, MAP_SHARED,
				   size));
	/* The last page is part of it. */
	EXPECT_EQ(0, try_map(fd, self->page, PROT_READ, MAP_SHARED,
			     size - self->page));
}

TEST_F(map, reserved_offsets)
{
	unsigned int bit;

	for (bit = 40; bit < 62; bit++) {
		if (1ULL << bit == FBUF_MMAP_PARCELS)
			continue;
		EXPECT_EQ(-EINVAL, try_map(self->pool.fd, self->page, PROT_READ,
					   MAP_SHARED, 1ULL << bit))
			TH_LOG("offset 1 << %u", bit);
	}
}

TEST_F(map, unaligned_offset)
{
	EXPECT_EQ(-EINVAL, try_map(self->pool.fd, self->page, PROT_READ,
				   MAP_SHARED, self->page / 2));
}

/* Each page of a partial mapping is the page at that offset of the whole. */
TEST_F(map, parts)
{
	size_t offset;

	pattern_fill(self->pool.map, 1, 0, self->pool.size);
	for (offset = 0; offset < self->pool.size; offset += self->page) {
		__u8 *p = mmap(NULL, self->page, PROT_READ | PROT_WRITE,
				  MAP_SHARED, self->pool.fd, offset);

		ASSERT_NE(MAP_FAILED, p);
		EXPECT_EQ(-1, pattern_differs(p, 1, offset, self->page));
		p[5] ^= 0xff;
		EXPECT_EQ(p[5], self->pool.map[offset + 5]);
		munmap(p, self->page);
	}
}

TEST_F(map, read_only_can_be_made_writable)
{
	__u8 *p = mmap(NULL, BUF_SIZE, PROT_READ, MAP_SHARED, self->pool.fd,
		       0);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(0, p[0]);
	ASSERT_EQ(0, mprotect(p, BUF_SIZE, PROT_READ | PROT_WRITE));
	p[0] = 7;
	EXPECT_EQ(7, self->pool.map[0]);
}

TEST_F(map, never_executable)
{
	EXPECT_EQ(-EPERM, try_map(self->pool.fd, BUF_SIZE,
				  PROT_READ | PROT_EXEC, MAP_SHARED, 0));
	EXPECT_EQ(-1, mprotect(self->pool.map, BUF_SIZE,
			       PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(map, cannot_grow)
{
	void *p = mmap(NULL, BUF_SIZE, PROT_READ, MAP_SHARED, self->pool.fd, 0);

	ASSERT_NE(MAP_FAILED, p);
	EXPECT_EQ(MAP_FAILED, mremap(p, BUF_SIZE, 2 * BUF_SIZE,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(map, can_shrink_and_move)
{
	__u8 *to, *p;

	pattern_fill(self->pool.map, 2, 0, self->pool.size);
	to = mmap(NULL, BUF_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		  0);
	ASSERT_NE(MAP_FAILED, to);
	p = mremap(self->pool.map, self->pool.size, BUF_SIZE,
		   MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_EQ(to, p);
	EXPECT_EQ(-1, pattern_differs(p, 2, 0, BUF_SIZE));
	self->pool.map = p;
	self->pool.size = BUF_SIZE;
}

TEST_F(map, bytes_stay_when_unmapped)
{
	pattern_fill(self->pool.map, 3, 0, self->pool.size);
	munmap(self->pool.map, self->pool.size);
	self->pool.map = mmap(NULL, self->pool.size, PROT_READ, MAP_SHARED,
			      self->pool.fd, 0);
	ASSERT_NE(MAP_FAILED, self->pool.map);
	EXPECT_EQ(-1, pattern_differs(self->pool.map, 3, 0, self->pool.size));
}

TEST_F(map, bytes_stay_after_dontneed)
{
	pattern_fill(self->pool.map, 4, 0, self->pool.size);
	ASSERT_EQ(0, madvise(self->pool.map, self->pool.size, MADV_DONTNEED));
	EXPECT_EQ(-1, pattern_differs(self->pool.map, 4, 0, self->pool.size));
}

TEST_F(map, survives_close_of_the_fd)
{
	struct pool other;

	pattern_fill(self->pool.map, 5, 0, self->pool.size / 2);
	close(self->pool.fd);
	/* Were the memory free, this would take and clear it. */
	ASSERT_EQ(0, pool_make(&other, BUF_SIZE, NR_BUFS));
	memset(other.map, 0xff, other.size);
	/* The half that was not touched before can be still. */
	pattern_fill(self->pool.map + self->pool.size / 2, 5,
		     self->pool.size / 2, self->pool.size / 2);
	EXPECT_EQ(-1, pattern_differs(self->pool.map, 5, 0, self->pool.size));
	munmap(self->pool.map, self->pool.size);
	self->pool = other;
}

/* Not a byte of what used the memory before can be seen. */
TEST(zeroed)
{
	const size_t size[] = { getpagesize(), 65536, FBUF_BUF_SIZE_MAX };
	struct pool pool;
	unsigned int i;
	size_t j;

	for (i = 0; i < ARRAY_SIZE(size); i++) {
		unsigned int nr = 2 * FBUF_BUF_SIZE_MAX / size[i];

		ASSERT_EQ(0, pool_make(&pool, size[i], nr));
		memset(pool.map, 0xa5, pool.size);
		pool_unmake(&pool);
		ASSERT_EQ(0, pool_make(&pool, size[i], nr));
		for (j = 0; j < pool.size; j++) {
			if (pool.map[j])
				break;
		}
		EXPECT_EQ(pool.size, j);
		pool_unmake(&pool);
	}
}

TEST_F(map, shared_with_a_child)
{
	pid_t pid;

	pattern_fill(self->pool.map, 6, 0, BUF_SIZE);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (pattern_differs(self->pool.map, 6, 0, BUF_SIZE) >= 0)
			_exit(1);
		pattern_fill(self->pool.map, 7, 0, BUF_SIZE);
		/* A page that the parent has not touched yet. */
		self->pool.map[3 * BUF_SIZE] = 42;
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(-1, pattern_differs(self->pool.map, 7, 0, BUF_SIZE));
	EXPECT_EQ(42, self->pool.map[3 * BUF_SIZE]);
}

/* Mapped any number of times, a buffer without a hold is idle all the same. */
TEST_F(map, mappings_do_not_make_busy)
{
	__u64 names[NR_BUFS];
	int go[2], ready[2];
	__u8 *again;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(ready));
	memset(self->pool.map, 1, self->pool.size);
	again = mmap(NULL, self->pool.size, PROT_READ | PROT_WRITE, MAP_SHARED,
		     self->pool.fd, 0);
	ASSERT_NE(MAP_FAILED, again);
	/* One page of one buffer, all of another, nothing of the rest. */
	again[0] = 1;
	memset(again + BUF_SIZE, 1, BUF_SIZE);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		memset(self->pool.map, 2, self->pool.size);
		close(go[1]);
		_exit(write(ready[1], "", 1) != 1 || read(go[0], &c, 1));
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	EXPECT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, names, NR_BUFS));
	close(go[1]);
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(map, closed_by_exec)
{
	char arg[16];
	pid_t pid;

	snprintf(arg, sizeof(arg), "%d", self->pool.fd);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		execl("/proc/self/exe", "map", "--is-closed", arg, NULL);
		_exit(127);
	}
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(map, smaps)
{
	unsigned long start = 0, end, rss = 0;
	bool ours = false, seen = false;
	char line[256];
	FILE *f;

	memset(self->pool.map, 1, self->pool.size);
	f = fopen("/proc/self/smaps", "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			ours = start == (uintptr_t)self->pool.map;
		else if (ours && sscanf(line, "Rss: %lu kB", &rss) == 1)
			break;
		seen |= ours;
	}
	fclose(f);
	EXPECT_TRUE(seen);
	EXPECT_EQ(self->pool.size / 1024, rss);
}

/* A block device in memory, made for this, or a negative errno value. */
static int direct_open(void)
{
	int fd;

	/* One that was there before may be in use. */
	if (access("/dev/ram0", F_OK) && !access("/sys/module/brd", F_OK))
		return -ENODEV;
	if (access("/dev/ram0", F_OK) &&
	    system("modprobe brd rd_nr=1 rd_size=4096 2>/dev/null"))
		return -ENODEV;
	fd = open("/dev/ram0", O_RDWR | O_DIRECT | O_EXCL);
	return fd < 0 ? -errno : fd;
}

TEST_F(map, direct_io)
{
	static __u8 aside[BUF_SIZE];
	int direct, plain;
	__u64 names[2];

	direct = direct_open();
	if (direct < 0)
		SKIP(return, "no block device: %s", strerror(-direct));
	plain = open("/dev/ram0", O_RDONLY);
	ASSERT_LE(0, plain);
	ASSERT_EQ(2, pool_alloc(self->pool.fd, names, 2));

	/* Out of one buffer, */
	pattern_fill(buf_addr(&self->pool, names[0]), 8, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pwrite(direct,
					    buf_addr(&self->pool, names[0]),
					    BUF_SIZE, 8192));
	ASSERT_EQ(0, ioctl(plain, BLKFLSBUF, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, pread(plain, aside, BUF_SIZE, 8192));
	EXPECT_EQ(-1, pattern_differs(aside, 8, 0, BUF_SIZE));
	/* into another. */
	ASSERT_EQ((ssize_t)BUF_SIZE, pread(direct,
					   buf_addr(&self->pool, names[1]),
					   BUF_SIZE, 8192));
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, names[1]), 8, 0,
				      BUF_SIZE));
	/* Nothing of it remains. */
	EXPECT_EQ(2, pool_free(self->pool.fd, names, 2));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, NR_BUFS, 2000));
	close(direct);
	close(plain);
}

TEST_F(map, read_and_write)
{
	__u64 names[2];
	FILE *f = tmpfile();

	ASSERT_NE(NULL, f);
	ASSERT_EQ(2, pool_alloc(self->pool.fd, names, 2));
	pattern_fill(buf_addr(&self->pool, names[0]), 9, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, pwrite(fileno(f),
					    buf_addr(&self->pool, names[0]),
					    BUF_SIZE, 0));
	ASSERT_EQ((ssize_t)BUF_SIZE, pread(fileno(f),
					   buf_addr(&self->pool, names[1]),
					   BUF_SIZE, 0));
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, names[1]), 9, 0,
				      BUF_SIZE));
	fclose(f);
}

/* What a debugger does. */
TEST_F(map, access_by_another_process)
{
	static __u8 aside[BUF_SIZE];
	struct iovec local = { aside, BUF_SIZE };
	struct iovec remote = { self->pool.map, BUF_SIZE };
	pid_t parent = getpid();
	char path[32];
	pid_t pid;

	pattern_fill(self->pool.map, 10, 0, BUF_SIZE);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd;

		if (process_vm_readv(parent, &local, 1, &remote, 1, 0) !=
		    BUF_SIZE)
			_exit(1);
		if (pattern_differs(aside, 10, 0, BUF_SIZE) >= 0)
			_exit(2);
		snprintf(path, sizeof(path), "/proc/%d/mem", parent);
		fd = open(path, O_RDONLY);
		if (pread(fd, aside, 100, (uintptr_t)self->pool.map) != 100)
			_exit(3);
		if (pattern_differs(aside, 10, 0, 100) >= 0)
			_exit(4);
		pattern_fill(aside, 11, 0, BUF_SIZE);
		if (process_vm_writev(parent, &local, 1, &remote, 1, 0) !=
		    BUF_SIZE)
			_exit(5);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(-1, pattern_differs(self->pool.map, 11, 0, BUF_SIZE));
}

TEST_F(map, msg_zerocopy)
{
	__u8 *aside = malloc(BUF_SIZE);
	int one = 1, sock[2];

	ASSERT_NE(NULL, aside);
	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, setsockopt(sock[0], SOL_SOCKET, SO_ZEROCOPY, &one,
				sizeof(one)));
	pattern_fill(self->pool.map, 12, 0, BUF_SIZE);
	ASSERT_EQ((ssize_t)BUF_SIZE, send(sock[0], self->pool.map, BUF_SIZE,
					  MSG_ZEROCOPY));
	ASSERT_EQ((ssize_t)BUF_SIZE, read_full(sock[1], aside, BUF_SIZE));
	EXPECT_EQ(-1, pattern_differs(aside, 12, 0, BUF_SIZE));
	close(sock[0]);
	close(sock[1]);
}

/* User space can put a buffer in flight, too. */
TEST_F(map, vmspliced_is_in_flight)
{
	__u64 names[NR_BUFS], again;
	struct iovec iov = { .iov_len = 4096 };
	__u8 aside[4096];
	int fd[2];

	ASSERT_EQ(0, pipe(fd));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, names, NR_BUFS));
	iov.iov_base = buf_addr(&self->pool, names[2]) + 4096;
	pattern_fill(iov.iov_base, 13, 0, 4096);
	ASSERT_EQ(4096, vmsplice(fd[1], &iov, 1, 0));
	ASSERT_EQ(1, pool_free(self->pool.fd, &names[2], 1));

	EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, &again, 1));
	ASSERT_EQ(4096, read_full(fd[0], aside, 4096));
	EXPECT_EQ(-1, pattern_differs(aside, 13, 0, 4096));
	EXPECT_EQ(1, pool_alloc_wait(self->pool.fd, &again, 1, 2000));
	close(fd[0]);
	close(fd[1]);
}

/* The same with a buffer that was free and idle when it was taken. */
TEST_F(map, vmspliced_while_free)
{
	__u64 names[NR_BUFS];
	struct iovec iov = { .iov_base = self->pool.map, .iov_len = 1 };
	struct pollfd p = { .fd = self->pool.fd, .events = POLLOUT };
	struct fbuf_info info;
	char c;
	int fd[2], i;

	ASSERT_EQ(0, pipe(fd));
	self->pool.map[0] = 1;
	ASSERT_EQ(1, vmsplice(fd[1], &iov, 1, 0));
	ASSERT_EQ((int)NR_BUFS - 1, pool_alloc(self->pool.fd, names, NR_BUFS));
	for (i = 0; i < (int)NR_BUFS - 1; i++)
		EXPECT_NE(0U, FBUF_NAME_INDEX(names[i]));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(1U, info.nr_in_flight);
	/* Nor is it said to be to be had. */
	EXPECT_EQ(0, poll(&p, 1, 0));
	ASSERT_EQ(1, read(fd[0], &c, 1));
	EXPECT_EQ(1, pool_alloc_wait(self->pool.fd, names, 1, 2000));
	close(fd[0]);
	close(fd[1]);
}

int main(int argc, char **argv)
{
	/* The other half of closed_by_exec. */
	if (argc == 3 && !strcmp(argv[1], "--is-closed"))
		return fcntl(atoi(argv[2]), F_GETFD) >= 0 || errno != EBADF;
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
