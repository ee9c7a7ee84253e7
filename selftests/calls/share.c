// SPDX-License-Identifier: GPL-2.0
/*
 * Several handles on one pool: what each may do, who holds what, and buffers
 * that go from one to another.
 */
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		4U
#define RING_SIZE	4U
#define NOBODY		65534

FIXTURE(share)
{
	struct pool pool;
	__u64 names[NR_BUFS];
};

FIXTURE_SETUP(share)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	pattern_fill(self->pool.map, 1, 0, self->pool.size);
}

FIXTURE_TEARDOWN(share)
{
	pool_unmake(&self->pool);
}

static unsigned int nr_handles(int fd)
{
	struct fbuf_info info;

	return pool_info(fd, &info) ? 0 : info.nr_handles;
}

static unsigned int nr_held(int fd)
{
	struct fbuf_info info;

	return pool_info(fd, &info) ? ~0U : info.nr_held;
}

static unsigned int own_holds(int fd)
{
	struct fbuf_info info;

	return pool_info(fd, &info) ? ~0U : info.holds;
}

static int try_map_buf(int fd, int prot, int flags)
{
	return try_map(fd, BUF_SIZE, prot, flags, FBUF_MMAP_POOL);
}

TEST_F(share, new_handle)
{
	struct fbuf_info info;
	__u32 handle;
	int fd;

	fd = pool_share(self->pool.fd, FBUF_RIGHT_READ | FBUF_RIGHT_SEND, 3,
			&handle);
	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(FBUF_RIGHT_READ | FBUF_RIGHT_SEND, info.rights);
	EXPECT_EQ(3U, info.max_holds);
	EXPECT_EQ(0U, info.holds);
	EXPECT_EQ(handle, info.handle);
	EXPECT_NE(handle, pool_handle(self->pool.fd));
	EXPECT_EQ(2U, info.nr_handles);
	EXPECT_EQ(2U, nr_handles(self->pool.fd));
	close(fd);
	EXPECT_TRUE(wait_for(nr_handles(self->pool.fd) == 1, DEADLINE_MS));
}

/* What /proc says of it, but for the lines that all files have. */
static const char *proc_says(int fd, char *text, size_t size)
{
	char path[64];
	size_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	if (!f)
		return "";
	len = fread(text, 1, size - 1, f);
	text[len] = 0;
	fclose(f);
	return strstr(text, "fbuf-") ?: "";
}

static void expect_fdinfo(struct __test_metadata *const _metadata, int fd,
			  const char *rights, unsigned int holds)
{
	struct fbuf_info info;
	char want[256], text[1024];

	ASSERT_EQ(0, pool_info(fd, &info));
	snprintf(want, sizeof(want),
		 "fbuf-pool:\t%llu\nfbuf-handle:\t%u\nfbuf-rights:\t%s\n"
		 "fbuf-holds:\t%u\nfbuf-bytes:\t%u\n", info.id, info.handle,
		 rights, holds, holds * BUF_SIZE);
	EXPECT_STREQ(want, proc_says(fd, text, sizeof(text)));
}

TEST_F(share, fdinfo)
{
	int fd;

	expect_fdinfo(_metadata, self->pool.fd, "read,write,alloc,send", 0);
	ASSERT_EQ(3, pool_alloc(self->pool.fd, self->names, 3));
	expect_fdinfo(_metadata, self->pool.fd, "read,write,alloc,send", 3);
	fd = pool_share(self->pool.fd, 0, 0, NULL);
	ASSERT_LE(0, fd);
	expect_fdinfo(_metadata, fd, "none", 0);
	ASSERT_EQ(1, pool_hold(fd, self->names, 1));
	expect_fdinfo(_metadata, fd, "none", 1);
	close(fd);
	fd = pool_share(self->pool.fd, FBUF_RIGHT_READ | FBUF_RIGHT_SEND, 0,
			NULL);
	ASSERT_LE(0, fd);
	expect_fdinfo(_metadata, fd, "read,send", 0);
	close(fd);
	ASSERT_EQ(3, pool_free(self->pool.fd, self->names, 3));
	expect_fdinfo(_metadata, self->pool.fd, "read,write,alloc,send", 0);
}

TEST_F(share, same_pool)
{
	struct fbuf_info a, b;
	struct pool other;
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_map(&other, fd, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, pool_info(self->pool.fd, &a));
	ASSERT_EQ(0, pool_info(fd, &b));
	EXPECT_EQ(a.id, b.id);
	EXPECT_EQ(-1, pattern_differs(other.map, 1, 0, other.size));
	other.map[5] = 0x5a;
	EXPECT_EQ(0x5a, self->pool.map[5]);
	pool_unmake(&other);
}

/* The first handle is no better than the others: the pool outlives it. */
TEST_F(share, outlives_the_first)
{
	struct pool other;
	__u64 name;
	int fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &name, 1));
	pool_unmake(&self->pool);
	EXPECT_TRUE(wait_for(nr_handles(fd) == 1, DEADLINE_MS));
	EXPECT_EQ(0U, nr_held(fd));
	ASSERT_EQ(0, pool_map(&other, fd, PROT_READ | PROT_WRITE));
	EXPECT_EQ(-1, pattern_differs(other.map, 1, 0, other.size));
	EXPECT_EQ((int)NR_BUFS, pool_alloc(fd, self->names, NR_BUFS));
	pool_unmake(&other);
}

TEST_F(share, numbers_are_not_used_again_soon)
{
	__u32 seen[16];
	unsigned int i, j;
	int fd;

	for (i = 0; i < ARRAY_SIZE(seen); i++) {
		fd = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, &seen[i]);
		ASSERT_LE(0, fd);
		close(fd);
		for (j = 0; j < i; j++)
			EXPECT_NE(seen[j], seen[i]);
	}
}

TEST_F(share, unknown_rights)
{
	unsigned int bit;

	for (bit = 4; bit < 32; bit++) {
		EXPECT_EQ(-EINVAL, pool_share(self->pool.fd, 1U << bit, 0,
					      NULL));
		EXPECT_EQ(-EINVAL, pool_share(self->pool.fd,
					      FBUF_RIGHT_READ | 1U << bit, 0,
					      NULL));
	}
	EXPECT_EQ(1U, nr_handles(self->pool.fd));
}

TEST_F(share, what_can_be_written_can_be_read)
{
	EXPECT_EQ(-EINVAL, pool_share(self->pool.fd, FBUF_RIGHT_WRITE, 0,
				      NULL));
	EXPECT_EQ(-EINVAL, pool_share(self->pool.fd,
				      ALL_RIGHTS & ~FBUF_RIGHT_READ, 0, NULL));
}

TEST_F(share, rights_only_shrink)
{
	__u32 some = FBUF_RIGHT_READ | FBUF_RIGHT_SEND;
	int fd = pool_share(self->pool.fd, some, 0, NULL);
	int less;

	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, pool_share(fd, ALL_RIGHTS, 0, NULL));
	EXPECT_EQ(-EACCES, pool_share(fd, FBUF_RIGHT_ALLOC, 0, NULL));
	EXPECT_EQ(-EACCES, pool_share(fd, some | FBUF_RIGHT_WRITE, 0, NULL));
	less = pool_share(fd, some, 0, NULL);
	EXPECT_LE(0, less);
	close(less);
	less = pool_share(fd, FBUF_RIGHT_SEND, 0, NULL);
	ASSERT_LE(0, less);
	EXPECT_EQ(-EACCES, pool_share(less, FBUF_RIGHT_READ, 0, NULL));
	close(less);
	close(fd);
}

TEST_F(share, no_fd_left)
{
	int fd, last = -1;

	while ((fd = dup(self->pool.fd)) >= 0)
		last = fd;
	ASSERT_EQ(EMFILE, errno);
	EXPECT_EQ(-EMFILE, pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL));
	EXPECT_EQ(1U, nr_handles(self->pool.fd));
	close(last);
	EXPECT_EQ(last, pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL));
}

#define FILE_MAX	"/proc/sys/fs/file-max"

/* The error of a SHARE of one who may not pass over the limit of files. */
static int share_of_nobody(int fd)
{
	int next = dup(fd), ret;

	close(next);
	if (become(NOBODY))
		return 0;
	ret = pool_share(fd, ALL_RIGHTS, 0, NULL);
	/* Nor is the number gone that its fd was to have. */
	return dup(fd) == next ? -ret : 0;
}

TEST_F(share, no_file_left)
{
	unsigned long most;
	char text[24];
	pid_t pid;
	FILE *f;

	if (geteuid())
		SKIP(return, "needs root");
	f = fopen(FILE_MAX, "r");
	ASSERT_NE(NULL, f);
	ASSERT_EQ(1, fscanf(f, "%lu", &most));
	fclose(f);
	snprintf(text, sizeof(text), "%lu", most);

	ASSERT_EQ(0, file_put(FILE_MAX, "1"));
	pid = fork();
	if (!pid)
		_exit(share_of_nobody(self->pool.fd));
	EXPECT_EQ(ENFILE, child_status(pid));
	EXPECT_EQ(0, file_put(FILE_MAX, text));
	EXPECT_EQ(1U, nr_handles(self->pool.fd));
}

/* Whom it cannot tell the handle's number gets neither the handle nor its fd. */
TEST_F(share, number_that_cannot_be_told)
{
	struct fbuf_share *args;
	int next;

	args = mmap(NULL, sizeof(*args), PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, args);
	args->size = sizeof(*args);
	args->rights = ALL_RIGHTS;
	ASSERT_EQ(0, mprotect(args, sizeof(*args), PROT_READ));
	next = dup(self->pool.fd);
	ASSERT_LE(0, next);
	close(next);

	EXPECT_EQ(-1, ioctl(self->pool.fd, FBUF_IOC_SHARE, args));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(1U, nr_handles(self->pool.fd));
	EXPECT_EQ(next, dup(self->pool.fd));
	close(next);
	munmap(args, sizeof(*args));
}

/* Each right alone. */
FIXTURE(right)
{
	struct pool pool;
	int fd;
	int sock[2];
	__u64 names[2];
};

FIXTURE_VARIANT(right)
{
	__u32 rights;
};

FIXTURE_VARIANT_ADD(right, none)
{
	.rights = 0,
};

FIXTURE_VARIANT_ADD(right, read)
{
	.rights = FBUF_RIGHT_READ,
};

FIXTURE_VARIANT_ADD(right, write)
{
	.rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE,
};

FIXTURE_VARIANT_ADD(right, alloc)
{
	.rights = FBUF_RIGHT_ALLOC,
};

FIXTURE_VARIANT_ADD(right, send)
{
	.rights = FBUF_RIGHT_SEND,
};

FIXTURE_VARIANT_ADD(right, all)
{
	.rights = ALL_RIGHTS,
};

FIXTURE_SETUP(right)
{
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     FBUF_POOL_SECURED));
	ASSERT_EQ(2, pool_alloc(self->pool.fd, self->names, 2));
	self->fd = pool_share(self->pool.fd, variant->rights, 0, NULL);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->sock));
}

FIXTURE_TEARDOWN(right)
{
	close(self->fd);
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
}

TEST_F(right, to_map)
{
	int rd = variant->rights & FBUF_RIGHT_READ ? 0 : -EACCES;
	int wr = variant->rights & FBUF_RIGHT_WRITE ? 0 : -EACCES;

	EXPECT_EQ(rd, try_map_buf(self->fd, PROT_READ, MAP_SHARED));
	EXPECT_EQ(wr, try_map_buf(self->fd, PROT_READ | PROT_WRITE, MAP_SHARED));
	EXPECT_EQ(wr, try_map_buf(self->fd, PROT_WRITE, MAP_SHARED));
}

/* To map nothing for now, and have mprotect() raise it, is no way around. */
TEST_F(right, mprotect)
{
	int rd = variant->rights & FBUF_RIGHT_READ ? 0 : EACCES;
	int wr = variant->rights & FBUF_RIGHT_WRITE ? 0 : EACCES;
	void *p = mmap(NULL, BUF_SIZE, PROT_NONE, MAP_SHARED, self->fd, 0);

	if (p == MAP_FAILED) {
		EXPECT_EQ(EACCES, errno);
		EXPECT_EQ(EACCES, rd);
		return;
	}
	errno = 0;
	EXPECT_EQ(rd ? -1 : 0, mprotect(p, BUF_SIZE, PROT_READ));
	EXPECT_EQ(rd, errno);
	errno = 0;
	EXPECT_EQ(wr ? -1 : 0, mprotect(p, BUF_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(wr, errno);
}

TEST_F(right, to_alloc)
{
	int want = variant->rights & FBUF_RIGHT_ALLOC ? 1 : -EACCES;
	__u64 name;

	EXPECT_EQ(want, pool_alloc(self->fd, &name, 1));
	EXPECT_EQ(want > 0 ? 3U : 2U, nr_held(self->fd));
	EXPECT_EQ(want, pool_batch(self->fd, FBUF_IOC_ALLOC, &name, 1,
				   FBUF_ALLOC_WAIT, 1000));
}

TEST_F(right, to_send)
{
	ssize_t want = variant->rights & FBUF_RIGHT_SEND ? 100 : -EACCES;
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[0], 0, 100);

	ASSERT_EQ(1, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(want, pool_send(self->fd, self->sock[0], &seg, 1, 0, 0,
				  NULL));
	EXPECT_EQ(want < 0, sock_empty(self->sock[1]));
}

TEST_F(right, none_needed_for_the_rest)
{
	struct fbuf_info info;
	struct ring r[2];
	int fd = self->fd;

	ASSERT_EQ(0, ring_make(&r[0], self->pool.fd, FBUF_RING_ACCEPT, 4, 0));
	EXPECT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(variant->rights, info.rights);
	EXPECT_EQ(2, pool_hold(fd, self->names, 2));
	EXPECT_EQ(2, pool_wait(fd, self->names, 2, 0));
	EXPECT_EQ(2, pool_secure(fd, self->names, 2));
	EXPECT_EQ(1, pool_free(fd, self->names, 1));
	EXPECT_EQ(1, pool_pass_one(fd, pool_handle(self->pool.fd),
				   self->names[1], 0));
	EXPECT_EQ(0, ring_make(&r[1], fd, FBUF_RING_ACCEPT, 4, 0));
	EXPECT_EQ(1, pool_pass_one(self->pool.fd, info.handle, self->names[0],
				   0));
	EXPECT_EQ(1U, ring_len(&r[1]));
	ring_unmake(&r[0]);
	ring_unmake(&r[1]);
}

/* The ways to write where one may only read. */
FIXTURE(read_only)
{
	struct pool pool;
	int fd;
	__u8 *map;
};

FIXTURE_SETUP(read_only)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	pattern_fill(self->pool.map, 1, 0, self->pool.size);
	self->fd = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, NULL);
	ASSERT_LE(0, self->fd);
	self->map = mmap(NULL, self->pool.size, PROT_READ, MAP_SHARED,
			 self->fd, FBUF_MMAP_POOL);
	ASSERT_NE(MAP_FAILED, self->map);
	ASSERT_EQ(-1, pattern_differs(self->map, 1, 0, self->pool.size));
}

FIXTURE_TEARDOWN(read_only)
{
	/* None of it came through, whatever the call said. */
	EXPECT_EQ(-1, pattern_differs(self->pool.map, 1, 0, self->pool.size));
	close(self->fd);
	pool_unmake(&self->pool);
}

TEST_F(read_only, mprotect)
{
	EXPECT_EQ(-1, mprotect(self->map, BUF_SIZE, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(self->map, BUF_SIZE, PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
}

TEST_F(read_only, second_mapping)
{
	EXPECT_EQ(-EACCES, try_map_buf(self->fd, PROT_READ | PROT_WRITE,
				       MAP_SHARED));
	EXPECT_EQ(-EACCES, try_map_buf(self->fd, PROT_WRITE, MAP_SHARED));
	EXPECT_EQ(-EINVAL, try_map_buf(self->fd, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE));
	EXPECT_EQ(-EINVAL, try_map_buf(self->fd, PROT_READ, MAP_PRIVATE));
}

TEST_F(read_only, opened_again)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	fd = open(path, O_RDWR);
	EXPECT_EQ(-1, fd);
	EXPECT_EQ(ENXIO, errno);
}

TEST_F(read_only, shared_again)
{
	EXPECT_EQ(-EACCES, pool_share(self->fd,
				      FBUF_RIGHT_READ | FBUF_RIGHT_WRITE, 0,
				      NULL));
}

TEST_F(read_only, store)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		self->map[100] = 0xee;
		_exit(0);
	}
	EXPECT_EQ(-SIGSEGV, child_status(pid));
}

TEST_F(read_only, proc_mem)
{
	int fd = open("/proc/self/mem", O_RDWR);
	char c;

	if (fd < 0)
		SKIP(return, "no /proc/self/mem");
	EXPECT_EQ(1, pread(fd, &c, 1, (uintptr_t)self->map));
	EXPECT_EQ(-1, pwrite(fd, "bad", 3, (uintptr_t)self->map));
	close(fd);
}

TEST_F(read_only, process_vm_writev)
{
	struct iovec from = { .iov_base = "bad", .iov_len = 3 };
	struct iovec to = { .iov_base = self->map, .iov_len = 3 };

	EXPECT_EQ(-1, process_vm_writev(getpid(), &from, 1, &to, 1, 0));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(read_only, ptrace)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	errno = 0;
	ptrace(PTRACE_PEEKDATA, pid, self->map, 0);
	EXPECT_EQ(0, errno);
	EXPECT_EQ(-1, ptrace(PTRACE_POKEDATA, pid, self->map, 0xbad));
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status(pid));
}

TEST_F(read_only, system_call)
{
	int fd = open("/dev/zero", O_RDONLY);

	ASSERT_LE(0, fd);
	EXPECT_EQ(-1, read(fd, self->map, 100));
	EXPECT_EQ(EFAULT, errno);
	close(fd);
}

/*
 * A handle that may not pin: whoever only reads a pool is not to be able to keep
 * its buffers in flight, and so from others.
 */
FIXTURE(no_pin)
{
	struct pool pool;
	struct pool other;	/* what that handle maps */
	__u64 name;
	int fd[2];	/* a pipe */
};

FIXTURE_VARIANT(no_pin)
{
	__u32 flags;
	__u32 rights;
};

FIXTURE_VARIANT_ADD(no_pin, volatile_reader)
{
	.rights = FBUF_RIGHT_READ,
};

FIXTURE_VARIANT_ADD(no_pin, volatile_writer)
{
	.rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE,
};

FIXTURE_VARIANT_ADD(no_pin, snapshot_reader)
{
	.flags = FBUF_POOL_SNAPSHOT,
	.rights = FBUF_RIGHT_READ,
};

FIXTURE_VARIANT_ADD(no_pin, secured_writer)
{
	.flags = FBUF_POOL_SECURED,
	.rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE,
};

FIXTURE_SETUP(no_pin)
{
	bool writes = variant->rights & FBUF_RIGHT_WRITE;
	int fd;

	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS,
				     variant->flags));
	pattern_fill(self->pool.map, 1, 0, self->pool.size);
	fd = pool_share_flags(self->pool.fd, variant->rights, 0,
			      FBUF_SHARE_NO_PIN, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_map(&self->other, fd,
			      PROT_READ | (writes ? PROT_WRITE : 0)));
	/* Every entry is there: nothing is left to fail by a fault. */
	ASSERT_EQ(-1, pattern_differs(self->other.map, 1, 0,
				      self->other.size));
	if (writes)
		pattern_fill(self->other.map, 1, 0, self->other.size);
	ASSERT_EQ(0, pipe(self->fd));
}

/* All buffers can be had: nothing keeps any of them. */
FIXTURE_TEARDOWN(no_pin)
{
	__u64 names[NR_BUFS];

	EXPECT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, names, NR_BUFS));
	EXPECT_EQ(-1, pattern_differs(self->pool.map, 1, 0, self->pool.size));
	pool_unmake(&self->other);
	pool_unmake(&self->pool);
	close(self->fd[0]);
	close(self->fd[1]);
}

static int vmsplice_all(struct _test_data_no_pin *self)
{
	unsigned int i;

	for (i = 0; i < NR_BUFS; i++) {
		struct iovec iov = { self->other.map + i * BUF_SIZE, 1 };

		if (vmsplice(self->fd[1], &iov, 1, 0) != -1 || errno != EFAULT)
			return -EINVAL;
	}
	return 0;
}

TEST_F(no_pin, vmsplice)
{
	EXPECT_EQ(0, vmsplice_all(self));
	/* As it would be with a handle that may. */
	if (!variant->flags) {
		struct iovec iov = { self->pool.map, 1 };
		char c;

		EXPECT_EQ(1, vmsplice(self->fd[1], &iov, 1, 0));
		EXPECT_EQ(1, read(self->fd[0], &c, 1));
	}
}

TEST_F(no_pin, vmsplice_after_mprotect)
{
	ASSERT_EQ(0, mprotect(self->other.map, self->other.size, PROT_NONE));
	ASSERT_EQ(0, mprotect(self->other.map, self->other.size, PROT_READ));
	EXPECT_EQ(0, vmsplice_all(self));
}

TEST_F(no_pin, vmsplice_of_a_moved_mapping)
{
	void *to = mmap(NULL, self->other.size, PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, to);
	self->other.map = mremap(self->other.map, self->other.size,
				 self->other.size,
				 MREMAP_MAYMOVE | MREMAP_FIXED, to);
	ASSERT_EQ(to, self->other.map);
	EXPECT_EQ(0, vmsplice_all(self));
}

TEST_F(no_pin, vmsplice_by_a_child)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-vmsplice_all(self));
	EXPECT_EQ(0, child_status(pid));
}

/* Advice and populating make no other entries. */
TEST_F(no_pin, vmsplice_after_advice)
{
	madvise(self->other.map, self->other.size, MADV_DONTNEED);
	madvise(self->other.map, self->other.size, MADV_WILLNEED);
	madvise(self->other.map, self->other.size, MADV_POPULATE_READ);
	EXPECT_EQ(-1, pattern_differs(self->other.map, 1, 0, self->other.size));
	EXPECT_EQ(0, vmsplice_all(self));
}

TEST_F(no_pin, by_anything_else)
{
	char word[8];
	struct iovec to = { word, 8 }, from = { self->other.map, 8 };
	struct io_uring_params params = { 0 };
	struct iovec iov = { self->other.map, BUF_SIZE };
	int ring, sock[2], one = 1;

	EXPECT_EQ(-1, process_vm_readv(getpid(), &to, 1, &from, 1, 0));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, setsockopt(sock[0], SOL_SOCKET, SO_ZEROCOPY, &one,
				sizeof(one)));
	EXPECT_EQ(-1, send(sock[0], self->other.map, BUF_SIZE, MSG_ZEROCOPY));
	EXPECT_EQ(EFAULT, errno);
	/* What copies goes on as ever. */
	EXPECT_EQ(100, send(sock[0], self->other.map, 100, 0));
	EXPECT_EQ(100, write(self->fd[1], self->other.map, 100));
	ring = syscall(SYS_io_uring_setup, 4, &params);
	if (ring >= 0)
		EXPECT_EQ(-1, syscall(SYS_io_uring_register, ring,
				      IORING_REGISTER_BUFFERS, &iov, 1));
	close(ring);
	close(sock[0]);
	close(sock[1]);
}

/* Nor by the fd itself, unless it may send, which is to keep in flight. */
TEST_F(no_pin, by_splice)
{
	loff_t at = 0;

	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->name, 1));
	ASSERT_EQ(1, pool_hold(self->other.fd, &self->name, 1));
	at = buf_offset(&self->pool, self->name);
	EXPECT_EQ(-1, splice(self->other.fd, &at, self->fd[1], NULL, 1, 0));
	EXPECT_EQ(EACCES, errno);
	ASSERT_EQ(1, pool_free(self->other.fd, &self->name, 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->name, 1));
}

TEST_F(no_pin, stays_so_when_shared_on)
{
	struct fbuf_info info;
	int fd;

	EXPECT_EQ(-EACCES, pool_share(self->other.fd, FBUF_RIGHT_READ, 0,
				      NULL));
	fd = pool_share_flags(self->other.fd, FBUF_RIGHT_READ, 0,
			      FBUF_SHARE_NO_PIN, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_info(fd, &info));
	EXPECT_EQ(FBUF_SHARE_NO_PIN, info.handle_flags);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0U, info.handle_flags);
	close(fd);
}

/* It sees what others write, though its entries have no references. */
TEST_F(no_pin, sees_what_is_written)
{
	pattern_fill(self->pool.map, 2, 0, self->pool.size);
	EXPECT_EQ(-1, pattern_differs(self->other.map, 2, 0, self->other.size));
	if (variant->rights & FBUF_RIGHT_WRITE)
		pattern_fill(self->other.map, 1, 0, self->other.size);
	else
		pattern_fill(self->pool.map, 1, 0, self->pool.size);
}

/* A child has what its parent had. */
TEST_F(read_only, child)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		int bad = pattern_differs(self->map, 1, 0, BUF_SIZE) >= 0;

		bad |= !mprotect(self->map, BUF_SIZE, PROT_READ | PROT_WRITE);
		bad |= try_map_buf(self->fd, PROT_WRITE, MAP_SHARED) != -EACCES;
		_exit(bad);
	}
	EXPECT_EQ(0, child_status(pid));
}

/* Another user, who could not open the device, with what he was given. */
static int stranger(struct pool *pool, int sock)
{
	struct pool mine;
	__u64 name;
	int fd;

	/* What was inherited does not count. */
	pool_unmake(pool);
	if (become(NOBODY) || control_open() != -EACCES)
		return 2;
	fd = fd_take(sock);
	if (fd < 0 || pool_map(&mine, fd, PROT_READ | PROT_WRITE))
		return 3;
	if (pattern_differs(mine.map, 1, 0, mine.size) >= 0)
		return 4;
	if (pool_alloc(fd, &name, 1) != 1)
		return 5;
	pattern_fill(buf_addr(&mine, name), 2, 0, BUF_SIZE);
	/* Says which, and keeps it until told to go. */
	if (send(sock, &name, sizeof(name), 0) != sizeof(name))
		return 6;
	recv(sock, &name, 1, 0);
	return 0;
}

TEST_F(share, with_another_user)
{
	int sock[2], fd;
	__u64 name;
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(sock[0]);
		_exit(stranger(&self->pool, sock[1]));
	}
	close(sock[1]);
	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fd_pass(sock[0], fd));
	close(fd);
	EXPECT_EQ((ssize_t)sizeof(name), recv(sock[0], &name, sizeof(name),
					      MSG_WAITALL)) {
		kill(pid, SIGKILL);
	}
	EXPECT_EQ(1, pool_hold(self->pool.fd, &name, 1));
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, name), 2, 0,
				      BUF_SIZE));
	close(sock[0]);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_TRUE(wait_for(nr_handles(self->pool.fd) == 1, DEADLINE_MS));
	EXPECT_EQ(1U, nr_held(self->pool.fd));
}

/* max_holds */
FIXTURE(few)
{
	struct pool pool;
	int fd;
	__u64 names[NR_BUFS];
};

FIXTURE_SETUP(few)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	self->fd = pool_share(self->pool.fd, ALL_RIGHTS, 2, NULL);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(few)
{
	close(self->fd);
	pool_unmake(&self->pool);
}

TEST_F(few, alloc)
{
	EXPECT_EQ(2, pool_alloc(self->fd, self->names, NR_BUFS));
	EXPECT_EQ(-EDQUOT, pool_alloc(self->fd, &self->names[2], 1));
	EXPECT_EQ(2U, own_holds(self->fd));
	EXPECT_EQ(1, pool_free(self->fd, self->names, 1));
	EXPECT_EQ(1, pool_alloc(self->fd, self->names, 1));
}

TEST_F(few, alloc_all)
{
	ASSERT_EQ(1, pool_alloc(self->fd, self->names, 1));
	EXPECT_EQ(-EINVAL, pool_batch(self->fd, FBUF_IOC_ALLOC, self->names, 3,
				      FBUF_ALLOC_ALL, 0));
	EXPECT_EQ(-EDQUOT, pool_batch(self->fd, FBUF_IOC_ALLOC,
				      &self->names[1], 2, FBUF_ALLOC_ALL, 0));
	EXPECT_EQ(1U, own_holds(self->fd));
	EXPECT_EQ(1, pool_batch(self->fd, FBUF_IOC_ALLOC, &self->names[1], 1,
				FBUF_ALLOC_ALL, 0));
}

/* It is not waited for: only the handle itself could end it. */
TEST_F(few, alloc_wait)
{
	ASSERT_EQ(2, pool_alloc(self->fd, self->names, 2));
	EXPECT_EQ(-EDQUOT, pool_batch(self->fd, FBUF_IOC_ALLOC,
				      &self->names[2], 1, FBUF_ALLOC_WAIT,
				      -1));
	EXPECT_EQ(-EDQUOT, pool_batch(self->fd, FBUF_IOC_ALLOC,
				      &self->names[2], 1,
				      FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL, -1));
}

TEST_F(few, hold)
{
	ASSERT_EQ(3, pool_alloc(self->pool.fd, self->names, 3));
	EXPECT_EQ(-EDQUOT, pool_hold(self->fd, self->names, 3));
	EXPECT_EQ(0U, own_holds(self->fd));
	EXPECT_EQ(2, pool_hold(self->fd, self->names, 2));
	EXPECT_EQ(-EDQUOT, pool_hold(self->fd, &self->names[2], 1));
}

TEST_F(few, pass)
{
	struct fbuf_item items[3] = { 0 };
	__u32 to = pool_handle(self->fd);
	struct ring r;
	int i;

	ASSERT_EQ(0, ring_make(&r, self->fd, FBUF_RING_ACCEPT, 8, 0));
	ASSERT_EQ(3, pool_alloc(self->pool.fd, self->names, 3));
	for (i = 0; i < 3; i++)
		items[i].name = self->names[i];
	EXPECT_EQ(-EDQUOT, pool_pass(self->pool.fd, to, 0, items, 3));
	EXPECT_EQ(0U, ring_len(&r));
	EXPECT_EQ(0U, own_holds(self->fd));
	EXPECT_EQ(3U, own_holds(self->pool.fd));
	EXPECT_EQ(2, pool_pass(self->pool.fd, to, 0, items, 2));
	EXPECT_EQ(-EDQUOT, pool_pass(self->pool.fd, to, FBUF_PASS_KEEP,
				     &items[2], 1));
	/* One that it holds already is not one more. */
	ASSERT_EQ(1, pool_hold(self->pool.fd, self->names, 1));
	EXPECT_EQ(1, pool_pass(self->pool.fd, to, 0, items, 1));
	ring_unmake(&r);
}

TEST_F(few, share)
{
	static const __u32 good[] = { 1, 2 };
	unsigned int i;
	int fd;

	EXPECT_EQ(-EDQUOT, pool_share(self->fd, ALL_RIGHTS, 3, NULL));
	EXPECT_EQ(-EDQUOT, pool_share(self->fd, FBUF_RIGHT_READ, 0, NULL));
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		fd = pool_share(self->fd, ALL_RIGHTS, good[i], NULL);
		EXPECT_LE(0, fd);
		close(fd);
	}
}

/* HOLD, and names. */
FIXTURE(hold)
{
	struct pool pool;
	int fd;
	__u64 names[NR_BUFS + 1];
};

FIXTURE_SETUP(hold)
{
	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ(2, pool_alloc(self->pool.fd, self->names, 2));
	self->fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(hold)
{
	close(self->fd);
	pool_unmake(&self->pool);
}

/* True if ALLOC would give the buffer of a name. */
static bool handed_out(int fd, __u64 name)
{
	__u64 got[NR_BUFS];
	bool found = false;
	int i, n;

	n = pool_alloc(fd, got, NR_BUFS);
	for (i = 0; i < n; i++)
		found |= FBUF_NAME_INDEX(got[i]) == FBUF_NAME_INDEX(name);
	if (n > 0)
		pool_free(fd, got, n);
	return found;
}

TEST_F(hold, free_once_all_are_dropped)
{
	EXPECT_EQ(1, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(1U, own_holds(self->fd));
	EXPECT_EQ(2U, own_holds(self->pool.fd));
	/* Two holds, one buffer. */
	EXPECT_EQ(2U, nr_held(self->fd));
	EXPECT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(2U, nr_held(self->fd));
	EXPECT_FALSE(handed_out(self->pool.fd, self->names[0]));
	EXPECT_EQ(1, pool_free(self->fd, self->names, 1));
	EXPECT_EQ(1U, nr_held(self->fd));
	EXPECT_TRUE(handed_out(self->pool.fd, self->names[0]));
}

TEST_F(hold, the_other_way_round)
{
	EXPECT_EQ(1, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(1, pool_free(self->fd, self->names, 1));
	EXPECT_FALSE(handed_out(self->fd, self->names[0]));
	EXPECT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_TRUE(handed_out(self->fd, self->names[0]));
}

TEST_F(hold, close_drops_it)
{
	int fd = pool_share(self->pool.fd, 0, 0, NULL);

	ASSERT_LE(0, fd);
	ASSERT_EQ(2, pool_hold(fd, self->names, 2));
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	EXPECT_EQ(2U, nr_held(self->pool.fd));
	close(fd);
	EXPECT_TRUE(wait_for(!nr_held(self->pool.fd), DEADLINE_MS));
}

/* A mapping keeps the handle, and so its holds. */
TEST_F(hold, mapping_keeps_it)
{
	int fd = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, NULL);
	struct pool other;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, pool_map(&other, fd, PROT_READ));
	ASSERT_EQ(2, pool_hold(fd, self->names, 2));
	close(fd);
	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	EXPECT_EQ(2U, nr_held(self->pool.fd));
	EXPECT_EQ(3U, nr_handles(self->pool.fd));
	munmap(other.map, other.size);
	EXPECT_TRUE(wait_for(!nr_held(self->pool.fd), DEADLINE_MS));
	EXPECT_EQ(2U, nr_handles(self->pool.fd));
}

/* Others may free it meanwhile, and none of them by another's hold. */
TEST_F(hold, is_the_handles_own)
{
	EXPECT_EQ(-ESTALE, pool_free(self->fd, self->names, 1));
	EXPECT_EQ(1, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(1, pool_free(self->fd, self->names, 1));
	EXPECT_EQ(-ESTALE, pool_free(self->fd, self->names, 1));
	EXPECT_EQ(2U, own_holds(self->pool.fd));
}

TEST_F(hold, of_a_free_buffer)
{
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(-ESTALE, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(-ESTALE, pool_hold(self->pool.fd, self->names, 1));
	EXPECT_EQ(1U, nr_held(self->fd));
}

/* FREE and ALLOC: the same buffer, and the old name is none of it. */
TEST_F(hold, of_an_earlier_name)
{
	__u64 again[NR_BUFS];

	ASSERT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, again, NR_BUFS));
	EXPECT_EQ(-ESTALE, pool_hold(self->fd, &self->names[0], 1));
	EXPECT_EQ(-ESTALE, pool_hold(self->fd, &self->names[1], 1));
	EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, &self->names[0], 1));
	EXPECT_EQ(-ESTALE, pool_wait(self->pool.fd, &self->names[0], 1, 0));
	EXPECT_EQ((int)NR_BUFS, pool_hold(self->fd, again, NR_BUFS));
}

/* As long as anybody holds it, it has its name. */
TEST_F(hold, name_stays_while_held)
{
	ASSERT_EQ(1, pool_hold(self->fd, self->names, 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	EXPECT_EQ(1, pool_hold(self->pool.fd, self->names, 1));
	EXPECT_EQ(1, pool_free(self->fd, self->names, 1));
	EXPECT_EQ(1, pool_hold(self->fd, self->names, 1));
}

TEST_F(hold, twice)
{
	ASSERT_EQ(1, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(-EEXIST, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(-EEXIST, pool_hold(self->pool.fd, self->names, 1));
	EXPECT_EQ(1U, own_holds(self->fd));
}

TEST_F(hold, same_name_twice)
{
	__u64 names[3] = { self->names[0], self->names[1], self->names[0] };

	EXPECT_EQ(-EEXIST, pool_hold(self->fd, names, 3));
	EXPECT_EQ(0U, own_holds(self->fd));
	EXPECT_EQ(2, pool_hold(self->fd, names, 2));
}

TEST_F(hold, all_or_none)
{
	__u64 names[3] = { self->names[0], self->names[1] };

	names[2] = FBUF_NAME(NR_BUFS, 1);
	EXPECT_EQ(-EINVAL, pool_hold(self->fd, names, 3));
	names[2] = names[1] ^ (1ULL << 32);
	EXPECT_EQ(-ESTALE, pool_hold(self->fd, names, 3));
	EXPECT_EQ(0U, own_holds(self->fd));
	EXPECT_EQ(1, pool_hold(self->fd, &names[1], 1));
	EXPECT_EQ(-EEXIST, pool_hold(self->fd, names, 2));
	EXPECT_EQ(1U, own_holds(self->fd));
	/* Nor was it of the first name that one hold was left. */
	ASSERT_EQ(2, pool_free(self->pool.fd, names, 2));
	EXPECT_EQ(1U, nr_held(self->fd));
}

TEST_F(hold, sends)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[0], 0, 100);
	int sock[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sock));
	EXPECT_EQ(-ESTALE, pool_send(self->fd, sock[0], &seg, 1, 0, 0, NULL));
	ASSERT_EQ(1, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(100, pool_send(self->fd, sock[0], &seg, 1, 0, 0, NULL));
	close(sock[0]);
	close(sock[1]);
}

/* PASS */
FIXTURE(pass)
{
	struct pool pool;
	int fd;
	__u32 from;
	__u32 to;
	struct ring ring;
	__u64 names[NR_BUFS];
	struct fbuf_item items[NR_BUFS + 2];
};

FIXTURE_SETUP(pass)
{
	unsigned int i;

	ASSERT_EQ(0, pool_make(&self->pool, BUF_SIZE, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS, pool_alloc(self->pool.fd, self->names,
					   NR_BUFS));
	self->fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, &self->to);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, ring_make(&self->ring, self->fd, FBUF_RING_ACCEPT,
			       RING_SIZE, 0));
	self->from = pool_handle(self->pool.fd);
	for (i = 0; i < NR_BUFS; i++) {
		self->items[i].name = self->names[i];
		self->items[i].data = 0x1122334455667788ULL * (i + 1);
	}
}

FIXTURE_TEARDOWN(pass)
{
	ring_unmake(&self->ring);
	close(self->fd);
	pool_unmake(&self->pool);
}

static int pass(struct _test_data_pass *self, __u32 flags, unsigned int count)
{
	return pool_pass(self->pool.fd, self->to, flags, self->items, count);
}

/* A call that failed has done nothing. */
#define EXPECT_PASS_FAILS(err, flags, count) do {			\
		EXPECT_EQ(-(err), pass(self, flags, count));		\
		EXPECT_EQ(NR_BUFS, own_holds(self->pool.fd));		\
		EXPECT_EQ(0U, own_holds(self->fd));			\
		EXPECT_EQ(0U, ring_len(&self->ring));			\
	} while (0)

TEST_F(pass, hold_moves)
{
	EXPECT_EQ(2, pass(self, 0, 2));
	EXPECT_EQ(NR_BUFS - 2, own_holds(self->pool.fd));
	EXPECT_EQ(2U, own_holds(self->fd));
	EXPECT_EQ(NR_BUFS, nr_held(self->fd));
	EXPECT_EQ(-ESTALE, pool_free(self->pool.fd, self->names, 1));
	/* The name is as it was: nobody handed the buffer out. */
	EXPECT_EQ(2, pool_free(self->fd, self->names, 2));
}

TEST_F(pass, keep)
{
	EXPECT_EQ(2, pass(self, FBUF_PASS_KEEP, 2));
	EXPECT_EQ(NR_BUFS, own_holds(self->pool.fd));
	EXPECT_EQ(2U, own_holds(self->fd));
	EXPECT_EQ(2, pool_free(self->pool.fd, self->names, 2));
	EXPECT_EQ(NR_BUFS, nr_held(self->fd));
	EXPECT_EQ(2, pool_free(self->fd, self->names, 2));
	EXPECT_EQ(NR_BUFS - 2, nr_held(self->fd));
}

TEST_F(pass, entries)
{
	struct fbuf_ring_entry e;
	unsigned int i;

	ASSERT_EQ(3, pass(self, 0, 3));
	ASSERT_EQ(3U, ring_len(&self->ring));
	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(ring_next(&self->ring, &e));
		EXPECT_EQ(self->items[i].name, e.name);
		EXPECT_EQ(self->items[i].data, e.data);
		EXPECT_EQ(FBUF_RING_PASSED, e.type);
		EXPECT_EQ(self->from, e.from);
		EXPECT_EQ(0ULL, e.reserved);
	}
}

/* Once round the ring and further. */
TEST_F(pass, many_times)
{
	struct fbuf_ring_entry e;
	unsigned int i;

	for (i = 0; i < 5 * RING_SIZE + 1; i++) {
		ASSERT_EQ(1, pool_pass_one(self->pool.fd, self->to,
					   self->names[0], i));
		ASSERT_TRUE(ring_next(&self->ring, &e));
		EXPECT_EQ((__u64)i, e.data);
		EXPECT_EQ(self->names[0], e.name);
		ASSERT_EQ(1, pool_hold(self->pool.fd, self->names, 1));
		ASSERT_EQ(1, pool_free(self->fd, self->names, 1));
	}
}

/* What a batch has named before it is not named twice. */
TEST_F(pass, between_batches)
{
	__u64 again;

	ASSERT_EQ(1, pool_free(self->pool.fd, self->names, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &again, 1));
	ASSERT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(again));
	EXPECT_EQ(1, pool_pass_one(self->pool.fd, self->to, self->names[1], 0));
	EXPECT_EQ(1, pool_free(self->pool.fd, &again, 1));
}

TEST_F(pass, receiver_has_a_hold)
{
	struct fbuf_ring_entry e;

	ASSERT_EQ(1, pool_hold(self->fd, self->names, 1));
	EXPECT_EQ(1, pass(self, 0, 1));
	EXPECT_EQ(1U, own_holds(self->fd));
	EXPECT_EQ(NR_BUFS - 1, own_holds(self->pool.fd));
	ASSERT_TRUE(ring_next(&self->ring, &e));
	EXPECT_EQ(self->names[0], e.name);
	EXPECT_EQ(1, pool_free(self->fd, self->names, 1));
	EXPECT_EQ(NR_BUFS - 1, nr_held(self->fd));
}

TEST_F(pass, batch_limits)
{
	struct fbuf_item *items = calloc(FBUF_BATCH_MAX + 1, sizeof(*items));

	ASSERT_NE(NULL, items);
	EXPECT_PASS_FAILS(EINVAL, 0, 0);
	EXPECT_EQ(-EINVAL, pool_pass(self->pool.fd, self->to, 0, items,
				     FBUF_BATCH_MAX + 1));
	EXPECT_EQ(-EINVAL, pool_pass(self->pool.fd, self->to, 0, items,
				     0xffffffff));
	free(items);
}

TEST_F(pass, bad_pointer)
{
	EXPECT_EQ(-EFAULT, pool_pass(self->pool.fd, self->to, 0, NULL, 1));
	EXPECT_EQ(-EFAULT, pool_pass(self->pool.fd, self->to, 0,
				     (void *)-4096L, 1));
	EXPECT_EQ(NR_BUFS, own_holds(self->pool.fd));
}

TEST_F(pass, to_itself)
{
	self->to = self->from;
	EXPECT_PASS_FAILS(EINVAL, 0, 1);
}

TEST_F(pass, bad_index)
{
	self->items[1].name = FBUF_NAME(NR_BUFS, 1);
	EXPECT_PASS_FAILS(EINVAL, 0, 2);
}

TEST_F(pass, without_a_hold)
{
	self->items[1].name ^= 1ULL << 32;
	EXPECT_PASS_FAILS(ESTALE, 0, 2);
	/* What the receiver holds is not the caller's to pass. */
	self->items[1].name = self->names[1];
	ASSERT_EQ(1, pool_hold(self->fd, &self->names[1], 1));
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[1], 1));
	EXPECT_EQ(-ESTALE, pass(self, FBUF_PASS_KEEP, 2));
	EXPECT_EQ(0U, ring_len(&self->ring));
}

TEST_F(pass, same_name_twice)
{
	self->items[2].name = self->names[0];
	EXPECT_PASS_FAILS(ESTALE, 0, 3);
	EXPECT_PASS_FAILS(ESTALE, FBUF_PASS_KEEP, 3);
}

TEST_F(pass, to_nobody)
{
	__u32 to = self->to;
	int fd;

	self->to = ~0U;
	EXPECT_PASS_FAILS(ENOENT, 0, 1);
	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, &self->to);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_TRUE(wait_for(nr_handles(self->fd) == 2, DEADLINE_MS));
	EXPECT_PASS_FAILS(ENOENT, 0, 1);
	self->to = to;
	EXPECT_EQ(1, pass(self, 0, 1));
}

TEST_F(pass, to_one_who_does_not_accept)
{
	struct ring r;
	int fd;

	fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, &self->to);
	ASSERT_LE(0, fd);
	EXPECT_PASS_FAILS(EACCES, 0, 1);
	ASSERT_EQ(0, ring_make(&r, fd, 0, 8, 0));
	EXPECT_PASS_FAILS(EACCES, 0, 1);
	ring_unmake(&r);
	close(fd);
}

TEST_F(pass, no_room)
{
	struct fbuf_ring_entry e;

	ASSERT_EQ(3, pass(self, FBUF_PASS_KEEP, 3));
	ASSERT_EQ(2, pool_free(self->fd, self->names, 2));
	/* There is room for one. */
	EXPECT_EQ(-EAGAIN, pass(self, 0, 2));
	EXPECT_EQ(3U, ring_len(&self->ring));
	EXPECT_EQ(NR_BUFS, own_holds(self->pool.fd));
	EXPECT_EQ(1U, own_holds(self->fd));
	EXPECT_EQ(1, pass(self, 0, 1));
	EXPECT_EQ(-EAGAIN, pool_pass_one(self->pool.fd, self->to,
					 self->names[1], 0));
	ASSERT_TRUE(ring_next(&self->ring, &e));
	EXPECT_EQ(1, pool_pass_one(self->pool.fd, self->to, self->names[1],
				   0));
}

/* What was passed and not taken goes with the handle. */
TEST_F(pass, receiver_closes)
{
	ASSERT_EQ(3, pass(self, 0, 3));
	EXPECT_EQ(NR_BUFS, nr_held(self->pool.fd));
	ring_unmake(&self->ring);
	close(self->fd);
	EXPECT_TRUE(wait_for(nr_held(self->pool.fd) == NR_BUFS - 3,
			     DEADLINE_MS));
}

/* Passes one after another, until there is nobody to pass to. */
struct passer {
	pthread_t thread;
	int fd;
	__u32 to;
	const __u64 *names;
	unsigned int nr;
	unsigned int passed;
	int ret;
};

static void *passer_run(void *arg)
{
	struct passer *p = arg;
	unsigned int i;

	for (i = 0; i < p->nr; i++) {
		p->ret = pool_pass_one(p->fd, p->to, p->names[i], 0);
		if (p->ret != 1)
			break;
		__atomic_store_n(&p->passed, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Nothing is passed to one who has dropped all that he held. */
TEST(pass_to_one_who_leaves)
{
	const unsigned int nr = FBUF_BATCH_MAX;
	__u64 *names = calloc(2 * nr, sizeof(*names));
	struct passer p = { .names = names + nr, .nr = nr };
	struct ring r;
	int i, fd;

	ASSERT_NE(NULL, names);
	p.fd = pool_create(getpagesize(), 2 * nr);
	ASSERT_LE(0, p.fd);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ((int)nr, pool_alloc(p.fd, names, nr));
		ASSERT_EQ((int)nr, pool_alloc(p.fd, names + nr, nr));
		fd = pool_share(p.fd, 0, 0, &p.to);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, ring_make(&r, fd, FBUF_RING_ACCEPT, nr, 0));
		ring_unmake(&r);
		/* So many that to drop them takes a while. */
		ASSERT_EQ((int)nr, pool_hold(fd, names, nr));
		p.passed = 0;
		ASSERT_EQ(0, pthread_create(&p.thread, NULL, passer_run, &p));
		wait_for(__atomic_load_n(&p.passed, __ATOMIC_ACQUIRE) > 10,
			 DEADLINE_MS);
		close(fd);
		pthread_join(p.thread, NULL);
		EXPECT_TRUE(p.ret == -ENOENT || p.passed == nr);
		EXPECT_TRUE(wait_for(nr_handles(p.fd) == 1, DEADLINE_MS));
		ASSERT_EQ(2 * nr - p.passed, nr_held(p.fd));
		ASSERT_EQ((int)nr, pool_free(p.fd, names, nr));
		if (p.passed < nr)
			ASSERT_EQ((int)(nr - p.passed),
				  pool_free(p.fd, names + nr + p.passed,
					    nr - p.passed));
	}
	close(p.fd);
	free(names);
}

/*
 * A chain of three processes. Each is bound to make no system call but the one
 * that passes, so that the kernel counts for us.
 */
#define ROUNDS		20U
#define BIG		(256U << 10)

static int allow_only_pass(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, FBUF_IOC_PASS, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog prog = {
		.len = ARRAY_SIZE(filter),
		.filter = filter,
	};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
		return -errno;
	return 0;
}

struct station {
	int fd;
	__u32 handle;
	struct ring ring;
};

/* Takes what comes and passes it on; the call count is the number of rounds. */
static int station_run(struct station *s, const __u8 *map, __u32 to)
{
	struct fbuf_ring_entry e;
	unsigned int i;

	for (i = 0; i < ROUNDS; i++) {
		while (!ring_next(&s->ring, &e))
			;
		if (e.type != FBUF_RING_PASSED || e.data != i)
			return 3;
		if (pattern_differs(map + (size_t)FBUF_NAME_INDEX(e.name) * BIG,
				    i, 0, BIG) >= 0)
			return 4;
		if (pool_pass_one(s->fd, to, e.name, i) != 1)
			return 5;
	}
	return 0;
}

static pid_t station_start(struct station *s, struct pool *pool, __u32 to)
{
	struct pool mine;
	pid_t pid = fork();

	if (pid)
		return pid;
	if (pool_map(&mine, s->fd, PROT_READ))
		_exit(2);
	/* One that waits in vain must end. */
	alarm(25);
	if (allow_only_pass())
		_exit(KSFT_SKIP);
	_exit(station_run(s, mine.map, to));
}

TEST(chain)
{
	struct station s[3];
	struct fbuf_ring_entry e;
	struct pool pool;
	unsigned int i;
	pid_t pid[2];
	__u64 name;
	int status;

	ASSERT_EQ(0, pool_make(&pool, BIG, 2));
	for (i = 0; i < 3; i++) {
		s[i].fd = pool_share(pool.fd, FBUF_RIGHT_READ, 0, &s[i].handle);
		ASSERT_LE(0, s[i].fd);
		ASSERT_EQ(0, ring_make(&s[i].ring, s[i].fd, FBUF_RING_ACCEPT, 4,
				       0));
	}
	pid[0] = station_start(&s[0], &pool, s[1].handle);
	pid[1] = station_start(&s[1], &pool, s[2].handle);
	ASSERT_LT(0, pid[0]);
	ASSERT_LT(0, pid[1]);

	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(1, pool_alloc(pool.fd, &name, 1));
		pattern_fill(buf_addr(&pool, name), i, 0, BIG);
		ASSERT_EQ(1, pool_pass_one(pool.fd, s[0].handle, name, i));
		if (!ring_wait(&s[2].ring, &e, DEADLINE_MS))
			break;
		EXPECT_EQ(name, e.name);
		EXPECT_EQ((__u64)i, e.data);
		EXPECT_EQ(s[1].handle, e.from);
		EXPECT_EQ(-1, pattern_differs(buf_addr(&pool, name), i, 0,
					      BIG));
		ASSERT_EQ(1, pool_free(s[2].fd, &name, 1));
	}
	status = child_status_within(pid[0], DEADLINE_MS);
	kill(pid[1], status ? SIGKILL : 0);
	if (status == KSFT_SKIP) {
		child_status(pid[1]);
		SKIP(return, "no seccomp filters");
	}
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, child_status_within(pid[1], DEADLINE_MS));
	EXPECT_EQ(ROUNDS, i);
	EXPECT_EQ(0U, nr_held(pool.fd));
	pool_unmake(&pool);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
