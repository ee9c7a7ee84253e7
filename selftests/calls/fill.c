// SPDX-License-Identifier: GPL-2.0
/*
 * FILL: from every kind of file, to the byte; every error; what it does to
 * buffers that are in flight or secured, and what may be done to a buffer, a
 * handle and a task meanwhile.
 *
 * With SLOWER > 1 the race is shorter.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	(4 * PAGE)
#define HALF		(BUF_SIZE / 2)
#define NR_BUFS		4U
#define POOL_SIZE	(NR_BUFS * BUF_SIZE)

/* Not a whole number of buffers, pages or sectors. */
#define TAIL		100U
#define FILE_PAGES	32U
#define FILE_SIZE	(FILE_PAGES * PAGE + TAIL)

/* Patterns: of files, and of buffers that were not filled. */
#define DATA		5
#define CANARY		6

#define SECURED		FBUF_POOL_SECURED
#define SNAPSHOT	FBUF_POOL_SNAPSHOT
#define SIGBUS_POOL	(FBUF_POOL_SECURED | FBUF_POOL_SIGBUS)

#define ALL		FBUF_FILL_ALL
#define DIRECT		FBUF_FILL_DIRECT
#define DONTWAIT	FBUF_FILL_DONTWAIT
#define POS		FBUF_FILL_POS

#define DISK		"/dev/ram0"

static int fill_arg(int fd, struct fbuf_fill *arg)
{
	int ret;

	arg->size = sizeof(*arg);
	ret = ioctl(fd, FBUF_IOC_FILL, arg);
	return ret < 0 ? -errno : ret;
}

static int fill(int fd, __u64 name, size_t offset, size_t len, int from,
		__u32 flags)
{
	struct fbuf_fill arg = {
		.flags = flags,
		.name = name,
		.offset = offset,
		.len = len,
		.fd = from,
	};

	return fill_arg(fd, &arg);
}

static int fill_at(int fd, __u64 name, size_t offset, size_t len, int from,
		   __u32 flags, __u64 pos)
{
	struct fbuf_fill arg = {
		.flags = flags | POS,
		.name = name,
		.pos = pos,
		.offset = offset,
		.len = len,
		.fd = from,
	};

	return fill_arg(fd, &arg);
}

/* A pool all held, with the canary in it. */
static int pool_ready(struct pool *p, __u64 *names, __u32 flags)
{
	int err = pool_make_flags(p, BUF_SIZE, NR_BUFS, flags);

	if (err)
		return err;
	if (pool_alloc(p->fd, names, NR_BUFS) != (int)NR_BUFS)
		return -EIO;
	pattern_fill(p->map, CANARY, 0, POOL_SIZE);
	return 0;
}

/* Whether nothing of the pool changed but [offset, offset + len) of a buffer. */
static bool rest_untouched(const struct pool *p, __u64 name, size_t offset,
			   size_t len)
{
	size_t begin = buf_offset(p, name) + offset, end = begin + len;

	return pattern_differs(p->map, CANARY, 0, begin) < 0 &&
	       pattern_differs(p->map + end, CANARY, end, POOL_SIZE - end) < 0;
}

static int write_full(int fd, const void *from, size_t len)
{
	const char *p = from;
	ssize_t ret;

	while (len) {
		ret = write(fd, p, len);
		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0)
			return -EIO;
		p += ret;
		len -= ret;
	}
	return 0;
}

static int write_pattern(int fd, unsigned int seed, size_t len)
{
	__u8 *data = malloc(len);
	int err;

	if (!data)
		return -ENOMEM;
	pattern_fill(data, seed, 0, len);
	err = write_full(fd, data, len);
	free(data);
	return err;
}

/* On tmpfs, opened as files are: a memfd has no lock for its position. */
static int memory_file(unsigned int seed, size_t len)
{
	int memfd = memfd_create("fill", 0), fd;
	char path[64];

	if (memfd < 0 || write_pattern(memfd, seed, len))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	fd = open(path, O_RDWR);
	close(memfd);
	return fd;
}

/*
 * A file system of blocks on a RAM disk, for this process alone: 0, or a reason
 * why not. Its directory is where @dir says.
 */
static const char *disk_mount(char *dir)
{
	struct stat st;

	if (stat(DISK, &st) &&
	    (system("modprobe brd rd_nr=1 rd_size=4096 2>/dev/null") ||
	     !wait_for(!stat(DISK, &st), DEADLINE_MS)))
		return "no RAM disk";
	/* Nobody else's. */
	if (access("/sys/module/brd", F_OK))
		return DISK " is not of brd";
	if (system("modprobe -q ext4; mke2fs -b 4096 " DISK
		   " >/dev/null 2>&1"))
		return "no mke2fs";
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return "no mount namespace";
	if (!mkdtemp(dir) || mount(DISK, dir, "ext4", 0, NULL))
		return "no ext4";
	return NULL;
}

static void disk_unmount(const char *dir)
{
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

/* A file of DATA on it, nothing of which is in the page cache. */
static int disk_file(const char *dir, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/data", dir);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write_pattern(fd, DATA, FILE_SIZE) || fsync(fd) ||
	    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		return -1;
	close(fd);
	return open(path, O_RDONLY | flags);
}

/* Pages of a file that are in the page cache, from a page on. */
static int pages_cached(int fd, unsigned int first)
{
	size_t nr = (FILE_SIZE + getpagesize() - 1) / getpagesize();
	unsigned char in[nr];
	int count = 0;
	void *map;

	map = mmap(NULL, FILE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -errno;
	if (mincore(map, FILE_SIZE, in))
		count = -errno;
	munmap(map, FILE_SIZE);
	while (count >= 0 && first < nr)
		count += in[first++] & 1;
	return count;
}

/* Every kind of thing to read from; all give DATA, FILE_SIZE bytes of it. */
enum kind {
	TMPFS,
	EXT4,
	PIPE,
	SOCKET,
	KTLS,
};

FIXTURE(source)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	pthread_t thread;
	bool writes;	/* there is the thread */
	int in;		/* what it writes to, and closes */
	int fd;
	char dir[32];
};

FIXTURE_VARIANT(source)
{
	enum kind kind;
	int family;
	int open;
	__u32 flags;
};

FIXTURE_VARIANT_ADD(source, tmpfs)
{
	.kind = TMPFS,
};

FIXTURE_VARIANT_ADD(source, ext4)
{
	.kind = EXT4,
};

FIXTURE_VARIANT_ADD(source, ext4_direct)
{
	.kind = EXT4,
	.flags = DIRECT,
};

/* Opened for direct I/O. */
FIXTURE_VARIANT_ADD(source, ext4_o_direct)
{
	.kind = EXT4,
	.open = O_DIRECT,
};

FIXTURE_VARIANT_ADD(source, pipe)
{
	.kind = PIPE,
};

FIXTURE_VARIANT_ADD(source, tcp)
{
	.kind = SOCKET,
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(source, unix_stream)
{
	.kind = SOCKET,
	.family = AF_UNIX,
};

FIXTURE_VARIANT_ADD(source, tls)
{
	.kind = KTLS,
};

static void *source_write(void *arg)
{
	int fd = *(int *)arg;

	write_pattern(fd, DATA, FILE_SIZE);
	/* The last of a socket, and of a pipe. */
	shutdown(fd, SHUT_WR);
	close(fd);
	return NULL;
}

static int source_pair(int fd[2], enum kind kind, int family)
{
	int end[2], err;

	if (kind == KTLS)
		return tls_pair(fd);
	if (kind == SOCKET)
		return sock_pair(family, SOCK_STREAM, fd);
	err = pipe(end) ? -errno : 0;
	fd[0] = end[1];
	fd[1] = end[0];
	return err;
}

FIXTURE_SETUP(source)
{
	const char *why;
	int fd[2], err;

	snprintf(self->dir, sizeof(self->dir), "/tmp/fill-XXXXXX");
	ASSERT_EQ(0, pool_ready(&self->pool, self->names, 0));
	switch (variant->kind) {
	case TMPFS:
		self->fd = memory_file(DATA, FILE_SIZE);
		ASSERT_LE(0, self->fd);
		return;
	case EXT4:
		why = disk_mount(self->dir);
		if (why)
			SKIP(return, "%s", why);
		self->fd = disk_file(self->dir, variant->open);
		ASSERT_LE(0, self->fd);
		return;
	default:
		err = source_pair(fd, variant->kind, variant->family);
		if (err && variant->kind == KTLS)
			SKIP(return, "no kernel TLS: %s", strerror(-err));
		ASSERT_EQ(0, err);
		self->in = fd[0];
		self->fd = fd[1];
		self->writes = true;
		signal(SIGPIPE, SIG_IGN);
		ASSERT_EQ(0, pthread_create(&self->thread, NULL, source_write,
					    &self->in));
	}
}

FIXTURE_TEARDOWN(source)
{
	close(self->fd);
	if (self->writes)
		pthread_join(self->thread, NULL);
	pool_unmake(&self->pool);
	if (variant->kind == EXT4)
		disk_unmount(self->dir);
}

/* To the end, a buffer at a time. */
TEST_F(source, all_in_order)
{
	__u64 name = self->names[1];
	size_t pos, want;
	int ret;

	for (pos = 0; pos < FILE_SIZE; pos += want) {
		want = FILE_SIZE - pos;
		if (want > BUF_SIZE)
			want = BUF_SIZE;
		ret = fill(self->pool.fd, name, 0, BUF_SIZE, self->fd,
			   variant->flags | ALL);
		ASSERT_EQ((int)want, ret) {
			TH_LOG("at %zu", pos);
		}
		EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, name),
					      DATA, pos, want));
	}
	EXPECT_EQ(0, fill(self->pool.fd, name, 0, BUF_SIZE, self->fd,
			  variant->flags | ALL));
	EXPECT_TRUE(rest_untouched(&self->pool, name, 0, BUF_SIZE));
}

/* Into the middle of a buffer, as much as there is. */
TEST_F(source, part)
{
	__u64 name = self->names[2];
	int ret;

	ret = fill(self->pool.fd, name, PAGE, 2 * PAGE, self->fd,
		   variant->flags);
	ASSERT_LT(0, ret);
	ASSERT_GE((int)(2 * PAGE), ret);
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, name) + PAGE, DATA,
				      0, ret));
	EXPECT_TRUE(rest_untouched(&self->pool, name, PAGE, ret));
}

/* Bytes that are aligned to nothing: not for direct I/O. */
TEST_F(source, odd_bytes)
{
	__u64 name = self->names[3];
	int want = 1001, ret;

	if (variant->flags & DIRECT || variant->open & O_DIRECT)
		want = -EINVAL;
	ret = fill(self->pool.fd, name, 13, 1001, self->fd,
		   variant->flags | ALL);
	ASSERT_EQ(want, ret);
	if (ret < 0)
		ret = 0;
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, name) + 13, DATA,
				      0, ret));
	EXPECT_TRUE(rest_untouched(&self->pool, name, 13, ret));
}

/* File, change, socket: one pool, and no byte by way of the program. */
TEST_F(source, change_and_send)
{
	__u64 name = self->names[0];
	struct fbuf_seg seg = buf_seg(&self->pool, name, 0, BUF_SIZE);
	__u8 *buf = buf_addr(&self->pool, name);
	struct reader r;
	struct sent sent;
	int sock[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, sock));
	ASSERT_EQ(0, reader_start(&r, sock[1], BUF_SIZE, -1));
	ASSERT_EQ((int)BUF_SIZE, fill(self->pool.fd, name, 0, BUF_SIZE,
				      self->fd, variant->flags | ALL));
	memcpy(buf + 5000, "changed", 7);
	ASSERT_EQ((ssize_t)BUF_SIZE, pool_send(self->pool.fd, sock[0], &seg, 1,
					       0, 0, &sent));
	EXPECT_EQ(0ULL, sent.copied);
	ASSERT_EQ((ssize_t)BUF_SIZE, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, DATA, 0, 5000));
	EXPECT_EQ(0, memcmp(r.data + 5000, "changed", 7));
	EXPECT_EQ(-1, pattern_differs(r.data + 5007, DATA, 5007,
				      BUF_SIZE - 5007));
	free(r.data);
	close(sock[0]);
	close(sock[1]);
}

TEST_F(source, counted)
{
	struct fbuf_info before, after;
	int ret;

	ASSERT_EQ(0, pool_info(self->pool.fd, &before));
	ret = fill(self->pool.fd, self->names[0], 0, HALF, self->fd,
		   variant->flags | ALL);
	ASSERT_EQ((int)HALF, ret);
	EXPECT_EQ(-ESTALE, fill(self->pool.fd, self->names[0] ^ 1ULL << 32, 0,
				HALF, self->fd, variant->flags));
	ASSERT_EQ(0, pool_info(self->pool.fd, &after));
	EXPECT_EQ(before.fills + 1, after.fills);
	EXPECT_EQ(before.filled + HALF, after.filled);
}

/* Files that have positions. */
FIXTURE(file)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int fd;
	char dir[32];
};

FIXTURE_VARIANT(file)
{
	enum kind kind;
	__u32 flags;
};

FIXTURE_VARIANT_ADD(file, tmpfs)
{
	.kind = TMPFS,
};

FIXTURE_VARIANT_ADD(file, ext4)
{
	.kind = EXT4,
};

FIXTURE_VARIANT_ADD(file, ext4_direct)
{
	.kind = EXT4,
	.flags = DIRECT,
};

FIXTURE_SETUP(file)
{
	const char *why;

	snprintf(self->dir, sizeof(self->dir), "/tmp/fill-XXXXXX");
	ASSERT_EQ(0, pool_ready(&self->pool, self->names, 0));
	if (variant->kind == TMPFS) {
		self->fd = memory_file(DATA, FILE_SIZE);
	} else {
		why = disk_mount(self->dir);
		if (why)
			SKIP(return, "%s", why);
		self->fd = disk_file(self->dir, 0);
	}
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(file)
{
	close(self->fd);
	pool_unmake(&self->pool);
	if (variant->kind == EXT4)
		disk_unmount(self->dir);
}

TEST_F(file, position)
{
	__u8 *buf = buf_addr(&self->pool, self->names[0]);
	int fd = self->pool.fd;

	/* The file's own, which moves. */
	ASSERT_EQ(PAGE, lseek(self->fd, PAGE, SEEK_SET));
	ASSERT_EQ((int)PAGE, fill(fd, self->names[0], 0, PAGE, self->fd,
				  variant->flags));
	EXPECT_EQ(-1, pattern_differs(buf, DATA, PAGE, PAGE));
	EXPECT_EQ(2 * PAGE, lseek(self->fd, 0, SEEK_CUR));
	/* The caller's, and then it does not. */
	ASSERT_EQ((int)HALF, fill_at(fd, self->names[0], 0, HALF, self->fd,
				     variant->flags | ALL, 5 * PAGE));
	EXPECT_EQ(-1, pattern_differs(buf, DATA, 5 * PAGE, HALF));
	ASSERT_EQ((int)PAGE, fill_at(fd, self->names[0], 0, PAGE, self->fd,
				     variant->flags, 0));
	EXPECT_EQ(-1, pattern_differs(buf, DATA, 0, PAGE));
	EXPECT_EQ(2 * PAGE, lseek(self->fd, 0, SEEK_CUR));
}

TEST_F(file, end)
{
	__u64 pos = FILE_SIZE - TAIL;
	int fd = self->pool.fd;

	ASSERT_EQ((int)TAIL, fill_at(fd, self->names[0], 0, BUF_SIZE, self->fd,
				     variant->flags | ALL, pos));
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, self->names[0]),
				      DATA, pos, TAIL));
	EXPECT_EQ(0, fill_at(fd, self->names[0], 0, BUF_SIZE, self->fd,
			     variant->flags | ALL, pos + PAGE));
	EXPECT_EQ(0, fill_at(fd, self->names[0], 0, BUF_SIZE, self->fd,
			     variant->flags, 1ULL << 40));
	EXPECT_EQ(-EINVAL, fill_at(fd, self->names[0], 0, BUF_SIZE, self->fd,
				   variant->flags, 1ULL << 63));
	EXPECT_EQ(-EINVAL, fill_at(fd, self->names[0], 0, BUF_SIZE, self->fd,
				   variant->flags, (1ULL << 63) - PAGE));
}

/* One position for all who have the file, a share of it for each of them. */
struct taker {
	pthread_t thread;
	int pool;
	int fd;
	__u64 name;
	__u8 *buf;
	__u32 flags;
	__u8 *seen;	/* one for each page */
	int bad;
};

static void *taker_run(void *arg)
{
	struct taker *t = arg;
	int ret;

	for (;;) {
		size_t page;

		ret = fill(t->pool, t->name, 0, PAGE, t->fd, t->flags);
		if (ret != (int)PAGE)
			break;
		for (page = 0; page < FILE_PAGES; page++) {
			if (pattern_differs(t->buf, DATA, page * PAGE, PAGE) < 0)
				break;
		}
		if (page == FILE_PAGES ||
		    __atomic_fetch_add(&t->seen[page], 1, __ATOMIC_RELAXED))
			t->bad++;
	}
	if (ret != 0 && ret != (int)TAIL)
		t->bad++;
	return NULL;
}

TEST_F(file, position_is_shared)
{
	__u8 seen[FILE_PAGES] = { 0 };
	struct taker t[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		t[i] = (struct taker) {
			.pool = self->pool.fd,
			.fd = self->fd,
			.name = self->names[i],
			.buf = buf_addr(&self->pool, self->names[i]),
			.flags = variant->flags,
			.seen = seen,
		};
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, taker_run,
					    &t[i]));
	}
	for (i = 0; i < 2; i++) {
		pthread_join(t[i].thread, NULL);
		EXPECT_EQ(0, t[i].bad);
	}
	for (i = 0; i < FILE_PAGES; i++)
		EXPECT_EQ(1, seen[i]);
}

/* The proof of the DMA: the page cache has nothing of what was read. */
TEST_F(file, page_cache)
{
	int want = variant->flags & DIRECT ? 0 : BUF_SIZE / getpagesize();

	if (variant->kind != EXT4)
		SKIP(return, "it is all page cache");
	ASSERT_EQ(0, pages_cached(self->fd, 0));
	ASSERT_EQ((int)BUF_SIZE, fill(self->pool.fd, self->names[0], 0,
				      BUF_SIZE, self->fd,
				      variant->flags | ALL));
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, self->names[0]),
				      DATA, 0, BUF_SIZE));
	EXPECT_LE(want, pages_cached(self->fd, 0));
	if (!want)
		EXPECT_EQ(0, pages_cached(self->fd, 0));
}

TEST_F(file, dontwait)
{
	const __u32 flags = variant->flags | DONTWAIT;
	__u8 *buf = buf_addr(&self->pool, self->names[0]);
	int ret;

	ret = fill(self->pool.fd, self->names[0], 0, BUF_SIZE, self->fd, flags);
	if (variant->kind == TMPFS) {
		/* It knows no such reads. */
		EXPECT_EQ(-EOPNOTSUPP, ret);
		return;
	}
	/* It is not in the page cache yet, and reading it there may block. */
	if (!(flags & DIRECT)) {
		EXPECT_EQ(-EAGAIN, ret);
		EXPECT_EQ(0, pages_cached(self->fd, 0));
	}
	ASSERT_TRUE(ret > 0 || ret == -EAGAIN);
	EXPECT_EQ(ret > 0 ? ret : 0, lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ((int)BUF_SIZE, fill_at(self->pool.fd, self->names[0], 0,
					 BUF_SIZE, self->fd, ALL, 0));
	pattern_fill(buf, CANARY, 0, BUF_SIZE);
	/* Direct I/O would have to drop what is in the page cache. */
	if (variant->flags & DIRECT)
		ASSERT_EQ(0, posix_fadvise(self->fd, 0, 0,
					   POSIX_FADV_DONTNEED));
	EXPECT_TRUE(wait_for((ret = fill_at(self->pool.fd, self->names[0], 0,
					    BUF_SIZE, self->fd, flags | ALL,
					    0)) != -EAGAIN, DEADLINE_MS));
	ASSERT_EQ((int)BUF_SIZE, ret);
	EXPECT_EQ(-1, pattern_differs(buf, DATA, 0, BUF_SIZE));
}

/* What was asked for ahead is read, and no more than without. */
TEST_F(file, ahead)
{
	struct fbuf_fill arg = {
		.flags = POS,
		.name = self->names[0],
		.len = PAGE,
		.fd = self->fd,
		.ahead = 4 * getpagesize(),
	};
	int before;

	if (variant->flags & DIRECT) {
		arg.flags |= DIRECT;
		EXPECT_EQ(-EINVAL, fill_arg(self->pool.fd, &arg));
		return;
	}
	if (variant->kind == TMPFS) {
		EXPECT_EQ((int)PAGE, fill_arg(self->pool.fd, &arg));
		return;
	}
	/* Else the kernel, too, reads ahead. */
	ASSERT_EQ(0, posix_fadvise(self->fd, 0, 0, POSIX_FADV_RANDOM));
	arg.ahead = 0;
	ASSERT_EQ((int)PAGE, fill_arg(self->pool.fd, &arg));
	before = pages_cached(self->fd, 0);
	ASSERT_EQ(1, before);
	arg.pos = 2 * getpagesize();
	arg.ahead = 4 * getpagesize();
	ASSERT_EQ((int)PAGE, fill_arg(self->pool.fd, &arg));
	EXPECT_TRUE(wait_for(pages_cached(self->fd, 0) == 6, DEADLINE_MS)) {
		TH_LOG("%d pages", pages_cached(self->fd, 0));
	}
	EXPECT_EQ(5, pages_cached(self->fd, 2));
	/* Past the end of the file is nothing to read. */
	arg.pos = FILE_SIZE - TAIL;
	arg.ahead = FBUF_AHEAD_MAX;
	EXPECT_EQ((int)TAIL, fill_arg(self->pool.fd, &arg));
	arg.pos = FILE_SIZE;
	EXPECT_EQ(0, fill_arg(self->pool.fd, &arg));
}

/* Errors. */
FIXTURE(error)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	struct fbuf_fill arg;
	int fd;
};

FIXTURE_SETUP(error)
{
	ASSERT_EQ(0, pool_ready(&self->pool, self->names, 0));
	self->fd = memory_file(DATA, FILE_SIZE);
	ASSERT_LE(0, self->fd);
	self->arg = (struct fbuf_fill) {
		.name = self->names[0],
		.len = PAGE,
		.fd = self->fd,
	};
	/* It is good as it is. */
	ASSERT_EQ((int)PAGE, fill_arg(self->pool.fd, &self->arg));
	pattern_fill(self->pool.map, CANARY, 0, POOL_SIZE);
	ASSERT_EQ(0, lseek(self->fd, 0, SEEK_SET));
}

/* Whatever was refused did nothing. */
FIXTURE_TEARDOWN(error)
{
	EXPECT_TRUE(rest_untouched(&self->pool, self->names[0], 0, 0));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	close(self->fd);
	pool_unmake(&self->pool);
}

#define refused(err)	EXPECT_EQ(-(err), fill_arg(self->pool.fd, &self->arg))

TEST_F(error, numbers)
{
	const struct fbuf_fill good = self->arg;
	const struct {
		__u32 offset;
		__u32 len;
	} bad[] = {
		{ 0, 0 }, { 0, BUF_SIZE + 1 }, { 1, BUF_SIZE }, { BUF_SIZE, 1 },
		{ BUF_SIZE - 1, 2 }, { ~0U, 1 }, { 1, ~0U }, { ~0U, ~0U },
		{ BUF_SIZE, 0 }, { ~0U - PAGE + 1, PAGE },
	};
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		self->arg.offset = bad[i].offset;
		self->arg.len = bad[i].len;
		refused(EINVAL);
	}
	self->arg = good;
	for (i = 4; i < 32; i++) {
		self->arg.flags = 1U << i;
		refused(EINVAL);
	}
	self->arg = good;
	self->arg.pos = 1;
	refused(EINVAL);
	self->arg.pos = 1ULL << 32;
	refused(EINVAL);
	self->arg = good;
	self->arg.ahead = FBUF_AHEAD_MAX + 1;
	refused(EINVAL);
	self->arg.ahead = 1;
	self->arg.flags = DONTWAIT;
	refused(EINVAL);
	self->arg.flags = DIRECT;
	refused(EINVAL);
}

TEST_F(error, names)
{
	__u64 name = self->names[0];
	int other;

	self->arg.name = FBUF_NAME(NR_BUFS, 1);
	refused(EINVAL);
	self->arg.name = FBUF_NAME(~0U, 1);
	refused(EINVAL);
	/* Of an earlier and a later holder. */
	self->arg.name = name - (1ULL << 32);
	refused(ESTALE);
	self->arg.name = name + (1ULL << 32);
	refused(ESTALE);
	/* The hold is another handle's. */
	other = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, other);
	self->arg.name = name;
	EXPECT_EQ(-ESTALE, fill_arg(other, &self->arg));
	close(other);
	ASSERT_EQ(1, pool_free(self->pool.fd, &name, 1));
	refused(ESTALE);
}

TEST_F(error, rights)
{
	int fd;

	fd = pool_share(self->pool.fd, ALL_RIGHTS & ~FBUF_RIGHT_WRITE, 0, NULL);
	ASSERT_LE(0, fd);
	ASSERT_EQ(1, pool_hold(fd, self->names, 1));
	EXPECT_EQ(-EACCES, fill_arg(fd, &self->arg));
	close(fd);
}

TEST_F(error, files)
{
	int fd[2], i;
	struct {
		const char *path;
		int open;
		int err;
	} bad[] = {
		{ "/dev/null", O_WRONLY, EBADF },
		{ "/dev/null", O_PATH, EBADF },
		{ "/", O_RDONLY, EISDIR },
		/* It is read by copies to user memory. */
		{ "/proc/self/mem", O_RDONLY, EINVAL },
		{ FBUF_DEVICE, O_RDWR, EINVAL },
	};

	self->arg.fd = -1;
	refused(EBADF);
	self->arg.fd = 1 << 20;
	refused(EBADF);
	for (i = 0; i < (int)(sizeof(bad) / sizeof(*bad)); i++) {
		self->arg.fd = open(bad[i].path, bad[i].open);
		ASSERT_LE(0, self->arg.fd);
		refused(bad[i].err);
		close(self->arg.fd);
	}
	/* Pools: this one, by another handle too, and another. */
	self->arg.fd = self->pool.fd;
	refused(EINVAL);
	self->arg.fd = pool_share(self->pool.fd, ALL_RIGHTS, 0, NULL);
	ASSERT_LE(0, self->arg.fd);
	refused(EINVAL);
	close(self->arg.fd);
	self->arg.fd = pool_create(getpagesize(), 1);
	ASSERT_LE(0, self->arg.fd);
	refused(EINVAL);
	close(self->arg.fd);
	/* The wrong end. */
	ASSERT_EQ(0, pipe(fd));
	self->arg.fd = fd[1];
	refused(EBADF);
	close(fd[0]);
	close(fd[1]);
	/* Too short for a number. */
	self->arg.fd = eventfd(1, 0);
	self->arg.len = 4;
	refused(EINVAL);
	close(self->arg.fd);
}

TEST_F(error, no_position_no_cache)
{
	int fd[3], end[2], i;

	ASSERT_EQ(0, pipe(end));
	fd[0] = end[0];
	close(end[1]);
	ASSERT_EQ(0, tcp_pair(AF_INET, end));
	fd[1] = end[1];
	close(end[0]);
	fd[2] = eventfd(1, 0);
	for (i = 0; i < 3; i++) {
		self->arg.fd = fd[i];
		self->arg.flags = POS;
		refused(ESPIPE);
		self->arg.flags = DIRECT;
		refused(EOPNOTSUPP);
		self->arg.flags = 0;
		self->arg.ahead = PAGE;
		refused(EINVAL);
		self->arg.ahead = 0;
		close(fd[i]);
	}
	self->arg.flags = POS;
	self->arg.fd = socket(AF_INET, SOCK_STREAM, 0);
	refused(ESPIPE);
	self->arg.flags = 0;
	refused(ENOTCONN);
	close(self->arg.fd);
	/* A file that can be neither. */
	self->arg.fd = open("/dev/zero", O_RDONLY);
	self->arg.flags = DIRECT;
	refused(EOPNOTSUPP);
	close(self->arg.fd);
}

/* A file that is opened for direct I/O does not read ahead. */
TEST_F(error, ahead_direct)
{
	char dir[] = "/tmp/fill-XXXXXX";
	const char *why = disk_mount(dir);

	if (why)
		SKIP(return, "%s", why);
	self->arg.fd = disk_file(dir, O_DIRECT);
	ASSERT_LE(0, self->arg.fd);
	self->arg.ahead = PAGE;
	refused(EINVAL);
	close(self->arg.fd);
	disk_unmount(dir);
}

/* What sockets and devices have of their own. */
FIXTURE(other)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int fd[2];
};

FIXTURE_SETUP(other)
{
	ASSERT_EQ(0, pool_ready(&self->pool, self->names, 0));
}

FIXTURE_TEARDOWN(other)
{
	close(self->fd[0]);
	close(self->fd[1]);
	pool_unmake(&self->pool);
}

/* One datagram a call, also with ALL; what is too long is cut. */
TEST_F(other, datagrams)
{
	__u8 *buf = buf_addr(&self->pool, self->names[0]);
	static const int sizes[] = { 100, 1000, 0, 3000 };
	char data[3000];
	int i;

	pattern_fill(data, DATA, 0, sizeof(data));
	ASSERT_EQ(0, udp_pair(AF_INET, self->fd));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(sizes[i], send(self->fd[0], data, sizes[i], 0));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(sizes[i], fill(self->pool.fd, self->names[0], 0,
					 BUF_SIZE, self->fd[1], ALL));
	EXPECT_EQ(2000, fill(self->pool.fd, self->names[0], 0, 2000,
			     self->fd[1], 0));
	EXPECT_EQ(-1, pattern_differs(buf, DATA, 0, 2000));
	EXPECT_TRUE(rest_untouched(&self->pool, self->names[0], 0, 2000));
	EXPECT_EQ(-EAGAIN, fill(self->pool.fd, self->names[0], 0, 2000,
				self->fd[1], DONTWAIT));
}

TEST_F(other, seqpacket)
{
	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_SEQPACKET, self->fd));
	ASSERT_EQ(3, send(self->fd[0], "one", 3, 0));
	ASSERT_EQ(5, send(self->fd[0], "three", 5, 0));
	EXPECT_EQ(3, fill(self->pool.fd, self->names[0], 0, BUF_SIZE,
			  self->fd[1], ALL));
	EXPECT_EQ(5, fill(self->pool.fd, self->names[0], 3, BUF_SIZE - 3,
			  self->fd[1], ALL));
	EXPECT_EQ(0, memcmp(buf_addr(&self->pool, self->names[0]), "onethree",
			    8));
	shutdown(self->fd[0], SHUT_WR);
	EXPECT_EQ(0, fill(self->pool.fd, self->names[0], 0, BUF_SIZE,
			  self->fd[1], ALL));
}

/* Files that come along are closed, as recv() does. */
TEST_F(other, passed_files)
{
	int end[2];
	char c;

	ASSERT_EQ(0, sock_pair(AF_UNIX, SOCK_STREAM, self->fd));
	ASSERT_EQ(0, pipe(end));
	ASSERT_EQ(0, fd_pass(self->fd[0], end[1]));
	close(end[1]);
	EXPECT_EQ(1, fill(self->pool.fd, self->names[0], 0, BUF_SIZE,
			  self->fd[1], 0));
	/* The end of the pipe: nobody has the other side. */
	EXPECT_EQ(0, read(end[0], &c, 1));
	close(end[0]);
}

TEST_F(other, nothing_there)
{
	struct timeval tv = { .tv_usec = 10000 };
	int end[2];

	ASSERT_EQ(0, tcp_pair(AF_INET, self->fd));
	EXPECT_EQ(-EAGAIN, fill(self->pool.fd, self->names[0], 0, PAGE,
				self->fd[1], DONTWAIT));
	EXPECT_EQ(-EAGAIN, fill(self->pool.fd, self->names[0], 0, PAGE,
				self->fd[1], DONTWAIT | ALL));
	ASSERT_EQ(3, send(self->fd[0], "abc", 3, 0));
	/* Some is better than EAGAIN. */
	ASSERT_TRUE(wait_for(!sock_empty(self->fd[1]), DEADLINE_MS));
	EXPECT_EQ(3, fill(self->pool.fd, self->names[0], 0, PAGE, self->fd[1],
			  DONTWAIT | ALL));
	ASSERT_EQ(0, setsockopt(self->fd[1], SOL_SOCKET, SO_RCVTIMEO, &tv,
				sizeof(tv)));
	EXPECT_EQ(-EAGAIN, fill(self->pool.fd, self->names[0], 0, PAGE,
				self->fd[1], 0));
	ASSERT_EQ(0, fcntl(self->fd[1], F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, fill(self->pool.fd, self->names[0], 0, PAGE,
				self->fd[1], 0));

	/* Older kernels cannot read pipes that way. */
	ASSERT_EQ(0, pipe(end));
	EXPECT_EQ(kernel_before(6, 4) ? -EOPNOTSUPP : -EAGAIN,
		  fill(self->pool.fd, self->names[0], 0, PAGE, end[0],
		       DONTWAIT));
	ASSERT_EQ(0, fcntl(end[0], F_SETFL, O_NONBLOCK));
	EXPECT_EQ(-EAGAIN, fill(self->pool.fd, self->names[0], 0, PAGE, end[0],
				0));
	ASSERT_EQ(3, write(end[1], "abc", 3));
	EXPECT_EQ(3, fill(self->pool.fd, self->names[0], 0, PAGE, end[0], ALL));
	close(end[0]);
	close(end[1]);
}

TEST_F(other, reset)
{
	struct linger now = { .l_onoff = 1 };

	ASSERT_EQ(0, tcp_pair(AF_INET, self->fd));
	ASSERT_EQ(0, setsockopt(self->fd[0], SOL_SOCKET, SO_LINGER, &now,
				sizeof(now)));
	close(self->fd[0]);
	self->fd[0] = -1;
	EXPECT_EQ(-ECONNRESET, fill(self->pool.fd, self->names[0], 0, PAGE,
				    self->fd[1], 0));
	EXPECT_EQ(0, fill(self->pool.fd, self->names[0], 0, PAGE, self->fd[1],
			  0));
}

/* A pool of huge buffers, of two folios each, from a file without an end. */
TEST_F(other, large)
{
	struct pool big;
	size_t size = FBUF_BUF_SIZE_MAX, i;
	__u64 name;
	int fd;

	ASSERT_EQ(0, pool_make(&big, size, 1));
	ASSERT_EQ(1, pool_alloc(big.fd, &name, 1));
	memset(big.map, 1, size);
	fd = open("/dev/zero", O_RDONLY);
	ASSERT_EQ((int)size - 2, fill(big.fd, name, 1, size - 2, fd, ALL));
	for (i = 1; i < size - 1 && !big.map[i]; i++)
		;
	EXPECT_EQ(size - 1, i);
	EXPECT_EQ(1, big.map[0]);
	EXPECT_EQ(1, big.map[size - 1]);
	close(fd);
	pool_unmake(&big);
}

/* From a pipe or socket that carries the very buffer: volatile, so it goes. */
TEST_F(other, into_itself)
{
	struct fbuf_seg seg = buf_seg(&self->pool, self->names[0], 0, PAGE);

	ASSERT_EQ(0, tcp_pair(AF_INET, self->fd));
	ASSERT_EQ((ssize_t)PAGE, pool_send(self->pool.fd, self->fd[0], &seg, 1,
					   0, 0, NULL));
	EXPECT_EQ((int)PAGE, fill(self->pool.fd, self->names[0], 0, PAGE,
				  self->fd[1], ALL));
	EXPECT_TRUE(rest_untouched(&self->pool, self->names[0], 0, 0));
}

/* A FILL by a thread. */
struct filler {
	pthread_t thread;
	pid_t tid;
	int pool;
	struct fbuf_fill arg;
	int ret;
	bool done;
};

static void *filler_run(void *data)
{
	struct filler *f = data;

	__atomic_store_n(&f->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	f->ret = fill_arg(f->pool, &f->arg);
	__atomic_store_n(&f->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static int filler_start(struct filler *f, int pool, __u64 name, size_t offset,
			size_t len, int from, __u32 flags)
{
	*f = (struct filler) {
		.pool = pool,
		.arg = {
			.flags = flags,
			.name = name,
			.offset = offset,
			.len = len,
			.fd = from,
		},
	};
	return pthread_create(&f->thread, NULL, filler_run, f);
}

static bool filler_done(struct filler *f)
{
	return __atomic_load_n(&f->done, __ATOMIC_ACQUIRE);
}

/* Whether it sleeps in the kernel, and goes on doing so for a while. */
static bool filler_waits(struct filler *f)
{
	long end;

	if (!wait_for(__atomic_load_n(&f->tid, __ATOMIC_ACQUIRE), DEADLINE_MS))
		return false;
	if (wait_state(getpid(), f->tid, "SD", DEADLINE_MS))
		return false;
	end = now_ms() + 30;
	while (time_left(end) && !filler_done(f))
		;
	return !filler_done(f) &&
	       !wait_state(getpid(), f->tid, "SD", DEADLINE_MS);
}

/* What it returned; -ETIME, and the thread given up, if it does not end. */
static int filler_ends(struct filler *f)
{
	if (!wait_for(filler_done(f), DEADLINE_MS))
		return -ETIME;
	pthread_join(f->thread, NULL);
	return f->ret;
}

/* Buffers in flight, and other reasons why they must not be written. */
FIXTURE(protect)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	int fd;
	__u8 *got;
};

FIXTURE_VARIANT(protect)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(protect, secured)
{
	.flags = SECURED,
};

FIXTURE_VARIANT_ADD(protect, snapshot)
{
	.flags = SNAPSHOT,
};

FIXTURE_VARIANT_ADD(protect, sigbus)
{
	.flags = SIGBUS_POOL,
};

FIXTURE_SETUP(protect)
{
	ASSERT_EQ(0, pool_ready(&self->pool, self->names, variant->flags));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	self->fd = memory_file(DATA, FILE_SIZE);
	ASSERT_LE(0, self->fd);
	self->got = malloc(BUF_SIZE);
	ASSERT_NE(NULL, self->got);
}

FIXTURE_TEARDOWN(protect)
{
	close(self->sock[0]);
	close(self->sock[1]);
	close(self->fd);
	pool_unmake(&self->pool);
	free(self->got);
}

static ssize_t send_buf(const struct pool *p, __u64 name, int sock, __u32 flags)
{
	struct fbuf_seg seg = buf_seg(p, name, 0, BUF_SIZE);

	return pool_send(p->fd, sock, &seg, 1, flags, 0, NULL);
}

#define EXPECT_CANARY(at, name)						\
	EXPECT_EQ(-1, pattern_differs(at, CANARY,			\
				      buf_offset(&self->pool, name), BUF_SIZE))

/* What is in flight is what was sent, whatever is filled meanwhile. */
TEST_F(protect, in_flight)
{
	__u64 name = self->names[1];
	struct fbuf_info info;
	struct filler f;

	ASSERT_EQ((ssize_t)BUF_SIZE, send_buf(&self->pool, name, self->sock[0],
					      0));
	if (variant->flags == SNAPSHOT) {
		EXPECT_EQ((int)HALF, fill(self->pool.fd, name, HALF, HALF,
					  self->fd, 0));
		ASSERT_EQ(0, pool_info(self->pool.fd, &info));
		EXPECT_EQ(1ULL, info.snapshots);
	} else {
		EXPECT_EQ(-EBUSY, fill(self->pool.fd, name, HALF, HALF,
				       self->sock[0], DONTWAIT));
	}
	if (variant->flags == SIGBUS_POOL)
		EXPECT_EQ(-EBUSY, fill(self->pool.fd, name, HALF, HALF,
				       self->fd, 0));
	if (variant->flags == SECURED) {
		ASSERT_EQ(0, filler_start(&f, self->pool.fd, name, HALF, HALF,
					  self->fd, 0));
		EXPECT_TRUE(filler_waits(&f));
	}
	/* Refused or waiting, it read nothing. */
	EXPECT_EQ(variant->flags == SNAPSHOT ? HALF : 0,
		  lseek(self->fd, 0, SEEK_CUR));
	ASSERT_EQ((ssize_t)BUF_SIZE, read_full(self->sock[1], self->got,
					       BUF_SIZE));
	EXPECT_CANARY(self->got, name);
	if (variant->flags == SECURED) {
		ASSERT_EQ((int)HALF, filler_ends(&f));
	} else if (variant->flags == SIGBUS_POOL) {
		ASSERT_EQ(1, pool_wait(self->pool.fd, &name, 1, DEADLINE_MS));
		ASSERT_EQ((int)HALF, fill(self->pool.fd, name, HALF, HALF,
					  self->fd, 0));
	}
	/* The other half is what it was, in fresh pages too. */
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, name) + HALF, DATA,
				      0, HALF));
	EXPECT_TRUE(rest_untouched(&self->pool, name, HALF, HALF));
}

/* Somebody's SECURE is against us, too. */
TEST_F(protect, secured_by_another)
{
	__u64 name = self->names[2];
	struct filler f;
	int other;

	other = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, NULL);
	ASSERT_LE(0, other);
	ASSERT_EQ(1, pool_hold(other, &name, 1));
	ASSERT_EQ(1, pool_secure(other, &name, 1));
	EXPECT_EQ(-EBUSY, fill(self->pool.fd, name, 0, HALF, self->sock[0],
			       DONTWAIT));
	if (variant->flags & FBUF_POOL_SIGBUS) {
		EXPECT_EQ(-EBUSY, fill(self->pool.fd, name, 0, HALF, self->fd,
				       0));
	} else {
		ASSERT_EQ(0, filler_start(&f, self->pool.fd, name, 0, HALF,
					  self->fd, 0));
		EXPECT_TRUE(filler_waits(&f));
	}
	EXPECT_TRUE(rest_untouched(&self->pool, name, 0, 0));
	close(other);
	if (variant->flags & FBUF_POOL_SIGBUS) {
		EXPECT_EQ((int)HALF, fill(self->pool.fd, name, 0, HALF,
					  self->fd, 0));
	} else {
		EXPECT_EQ((int)HALF, filler_ends(&f));
	}
	EXPECT_TRUE(rest_untouched(&self->pool, name, 0, HALF));
}

static void on_signal(int sig)
{
}

/* A wait for the buffer ends with a signal, and with the hold. */
TEST_F(protect, wait_ends)
{
	struct sigaction act = { .sa_handler = on_signal };
	__u64 name = self->names[0];
	struct filler f;
	int other;

	if (variant->flags & FBUF_POOL_SIGBUS)
		SKIP(return, "nothing waits there");
	sigaction(SIGUSR1, &act, NULL);
	other = pool_share(self->pool.fd, FBUF_RIGHT_READ, 0, NULL);
	ASSERT_LE(0, other);
	ASSERT_EQ(1, pool_hold(other, &name, 1));
	ASSERT_EQ(1, pool_secure(other, &name, 1));

	ASSERT_EQ(0, filler_start(&f, self->pool.fd, name, 0, HALF, self->fd,
				  0));
	ASSERT_TRUE(filler_waits(&f));
	pthread_kill(f.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, filler_ends(&f));

	ASSERT_EQ(0, filler_start(&f, self->pool.fd, name, 0, HALF, self->fd,
				  0));
	ASSERT_TRUE(filler_waits(&f));
	ASSERT_EQ(1, pool_free(self->pool.fd, &name, 1));
	EXPECT_EQ(-ESTALE, filler_ends(&f));
	EXPECT_TRUE(rest_untouched(&self->pool, name, 0, 0));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_CUR));
	close(other);
}

/* While a FILL waits for its bytes. */
FIXTURE(stall)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	int pipe[2];
	struct filler f;
};

FIXTURE_VARIANT(stall)
{
	__u32 flags;
};

FIXTURE_VARIANT_ADD(stall, volatile_pool)
{
};

FIXTURE_VARIANT_ADD(stall, secured)
{
	.flags = SECURED,
};

FIXTURE_VARIANT_ADD(stall, snapshot)
{
	.flags = SNAPSHOT,
};

FIXTURE_SETUP(stall)
{
	ASSERT_EQ(0, pool_ready(&self->pool, self->names, variant->flags));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	ASSERT_EQ(0, pipe(self->pipe));
	ASSERT_EQ(0, filler_start(&self->f, self->pool.fd, self->names[0], 0,
				  HALF, self->pipe[0], ALL));
	ASSERT_TRUE(filler_waits(&self->f));
}

FIXTURE_TEARDOWN(stall)
{
	close(self->sock[0]);
	close(self->sock[1]);
	close(self->pipe[0]);
	close(self->pipe[1]);
	pool_unmake(&self->pool);
}

/* Nobody gets to see a buffer that is half full, unless he asks for it. */
TEST_F(stall, send_and_secure)
{
	__u64 name = self->names[0];
	__u8 got[BUF_SIZE];
	ssize_t busy = variant->flags ? -EBUSY : (ssize_t)BUF_SIZE;
	struct fbuf_info info;

	EXPECT_EQ(busy, send_buf(&self->pool, name, self->sock[0], 0));
	if (!variant->flags) {
		ASSERT_EQ((ssize_t)BUF_SIZE, read_full(self->sock[1], got,
						       BUF_SIZE));
		goto out;
	}
	EXPECT_EQ(busy, send_buf(&self->pool, name, self->sock[0],
				 FBUF_SEND_SECURED));
	EXPECT_EQ(busy, send_buf(&self->pool, name, self->sock[0],
				 FBUF_SEND_SNAPSHOT));
	EXPECT_EQ(-EBUSY, pool_secure(self->pool.fd, &name, 1));
	EXPECT_EQ(-EBUSY, pool_secure(self->pool.fd, self->names, 2));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	/* names[1], for nothing. */
	EXPECT_GE(1ULL, info.protects);
	/* Another buffer, and the same one if nobody cares. */
	EXPECT_EQ((ssize_t)BUF_SIZE, send_buf(&self->pool, self->names[1],
					      self->sock[0], 0));
	EXPECT_EQ((ssize_t)BUF_SIZE, send_buf(&self->pool, name, self->sock[0],
					      FBUF_SEND_VOLATILE));
	EXPECT_EQ((ssize_t)BUF_SIZE, read_full(self->sock[1], got, BUF_SIZE));
	EXPECT_EQ((ssize_t)BUF_SIZE, read_full(self->sock[1], got, BUF_SIZE));
out:
	EXPECT_FALSE(filler_done(&self->f));
	ASSERT_EQ(0, write_pattern(self->pipe[1], DATA, HALF));
	ASSERT_EQ((int)HALF, filler_ends(&self->f));
	EXPECT_EQ(-1, pattern_differs(buf_addr(&self->pool, name), DATA, 0,
				      HALF));
	/* And now it can be sent, and be secured. */
	EXPECT_EQ((ssize_t)BUF_SIZE, send_buf(&self->pool, name, self->sock[0],
					      0));
	EXPECT_EQ(variant->flags ? 1 : -EOPNOTSUPP,
		  pool_secure(self->pool.fd, &name, 1));
}

/* By sendfile() and splice() too. */
TEST_F(stall, splice)
{
	loff_t pos = buf_offset(&self->pool, self->names[0]);
	int end[2];

	ASSERT_EQ(0, pipe(end));
	EXPECT_EQ(variant->flags ? -1 : (int)PAGE,
		  splice(self->pool.fd, &pos, end[1], NULL, PAGE, 0));
	if (variant->flags)
		EXPECT_EQ(EBUSY, errno);
	close(end[0]);
	close(end[1]);
	close(self->pipe[1]);
	EXPECT_EQ(0, filler_ends(&self->f));
}

/* Two at once, and a program that writes. */
TEST_F(stall, others_write)
{
	__u64 name = self->names[0];
	__u8 *buf = buf_addr(&self->pool, name);
	int fd = memory_file(DATA, BUF_SIZE);

	ASSERT_EQ((int)PAGE, fill_at(self->pool.fd, name, HALF, PAGE, fd, 0,
				     HALF));
	pattern_fill(buf + HALF + PAGE, DATA, HALF + PAGE, PAGE);
	EXPECT_FALSE(filler_done(&self->f));
	/* The first is still under way. */
	if (variant->flags)
		EXPECT_EQ(-EBUSY, pool_secure(self->pool.fd, &name, 1));
	ASSERT_EQ(0, write_pattern(self->pipe[1], DATA, HALF));
	ASSERT_EQ((int)HALF, filler_ends(&self->f));
	EXPECT_EQ(-1, pattern_differs(buf, DATA, 0, BUF_SIZE));
	EXPECT_TRUE(rest_untouched(&self->pool, name, 0, BUF_SIZE));
	close(fd);
}

/* The buffer is in flight, and goes to nobody else. */
TEST_F(stall, free)
{
	__u64 names[NR_BUFS];
	struct fbuf_info info;
	int i;

	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->pool.fd, self->names, 1, 0));
	ASSERT_EQ((int)NR_BUFS, pool_free(self->pool.fd, self->names, NR_BUFS));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(1U, info.nr_in_flight);
	ASSERT_EQ((int)NR_BUFS - 1, pool_alloc(self->pool.fd, names, NR_BUFS));
	for (i = 0; i < (int)NR_BUFS - 1; i++)
		EXPECT_NE(FBUF_NAME_INDEX(self->names[0]),
			  FBUF_NAME_INDEX(names[i]));
	EXPECT_EQ(-EAGAIN, pool_alloc(self->pool.fd, names, 1));
	/* It goes on all the same, to pages that are its own. */
	ASSERT_EQ(0, write_pattern(self->pipe[1], DATA, HALF));
	ASSERT_EQ((int)HALF, filler_ends(&self->f));
	EXPECT_TRUE(rest_untouched(&self->pool, self->names[0], 0, HALF));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, names, 1));
	EXPECT_EQ(FBUF_NAME_INDEX(self->names[0]), FBUF_NAME_INDEX(names[0]));
	/* The next holder may protect it. */
	EXPECT_EQ((ssize_t)BUF_SIZE, send_buf(&self->pool, names[0],
					      self->sock[0], 0));
}

/* The call keeps the handle. */
TEST_F(stall, close)
{
	int pool = self->pool.fd;

	munmap(self->pool.map, self->pool.size);
	self->pool.map = NULL;
	close(pool);
	close(self->pipe[0]);
	self->pipe[0] = -1;
	EXPECT_FALSE(filler_done(&self->f));
	ASSERT_EQ(0, write_pattern(self->pipe[1], DATA, HALF));
	EXPECT_EQ((int)HALF, filler_ends(&self->f));
}

TEST_F(stall, signal)
{
	struct sigaction act = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &act, NULL);
	pthread_kill(self->f.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, filler_ends(&self->f));
	/* It goes on with SA_RESTART; */
	act.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &act, NULL);
	ASSERT_EQ(0, filler_start(&self->f, self->pool.fd, self->names[0], 0,
				  HALF, self->pipe[0], ALL));
	ASSERT_TRUE(filler_waits(&self->f));
	pthread_kill(self->f.thread, SIGUSR1);
	ASSERT_TRUE(filler_waits(&self->f));
	ASSERT_EQ(0, write_pattern(self->pipe[1], DATA, 100));
	ASSERT_TRUE(filler_waits(&self->f));
	/* but what was read is not for nothing. */
	pthread_kill(self->f.thread, SIGUSR1);
	EXPECT_EQ(100, filler_ends(&self->f));
	if (variant->flags)
		EXPECT_EQ(1, pool_secure(self->pool.fd, self->names, 1));
}

TEST_F(stall, kill)
{
	__u64 name = self->names[1];
	pid_t pid;

	ASSERT_EQ(0, write_pattern(self->pipe[1], DATA, HALF));
	ASSERT_EQ((int)HALF, filler_ends(&self->f));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		fill(self->pool.fd, name, 0, HALF, self->pipe[0], 0);
		_exit(1);
	}
	ASSERT_EQ(0, wait_asleep(pid, pid, DEADLINE_MS));
	EXPECT_EQ(-ETIMEDOUT, pool_wait(self->pool.fd, &name, 1, 0));
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status_within(pid, DEADLINE_MS));
	EXPECT_EQ(1, pool_wait(self->pool.fd, &name, 1, 0));
	EXPECT_EQ((ssize_t)BUF_SIZE, send_buf(&self->pool, name, self->sock[0],
					      0));
}

/*
 * One thread fills a buffer from files of one byte each, another sends it, and
 * the peer gets no buffer that is of both.
 */
FIXTURE(race)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	int sock[2];
	int file[2];
	bool stop;
	unsigned int fills;
	unsigned int mixed;
	unsigned int got;
};

FIXTURE_VARIANT(race)
{
	__u32 flags;
	int family;
};

FIXTURE_VARIANT_ADD(race, secured)
{
	.flags = SECURED,
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(race, snapshot)
{
	.flags = SNAPSHOT,
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(race, sigbus_unix)
{
	.flags = SIGBUS_POOL,
	.family = AF_UNIX,
};

FIXTURE_SETUP(race)
{
	__u8 data[BUF_SIZE];
	int i;

	ASSERT_EQ(0, pool_ready(&self->pool, self->names, variant->flags));
	ASSERT_EQ(0, sock_pair(variant->family, SOCK_STREAM, self->sock));
	for (i = 0; i < 2; i++) {
		memset(data, 'a' + i, sizeof(data));
		self->file[i] = memfd_create("race", 0);
		ASSERT_LE(0, self->file[i]);
		ASSERT_EQ(0, write_full(self->file[i], data, sizeof(data)));
	}
}

FIXTURE_TEARDOWN(race)
{
	close(self->sock[0]);
	close(self->sock[1]);
	close(self->file[0]);
	close(self->file[1]);
	pool_unmake(&self->pool);
}

static void *race_fill(void *arg)
{
	struct _test_data_race *self = arg;
	unsigned int i;

	for (i = 0; !__atomic_load_n(&self->stop, __ATOMIC_RELAXED); i++) {
		if (fill_at(self->pool.fd, self->names[0], 0, BUF_SIZE,
			    self->file[i % 2], ALL, 0) == (int)BUF_SIZE)
			self->fills++;
	}
	return NULL;
}

static void *race_read(void *arg)
{
	struct _test_data_race *self = arg;
	__u8 got[BUF_SIZE];
	size_t i;

	while (read_full(self->sock[1], got, BUF_SIZE) == (ssize_t)BUF_SIZE) {
		for (i = 0; i < BUF_SIZE && got[i] == got[0]; i++)
			;
		self->mixed += i != BUF_SIZE;
		self->got++;
	}
	return NULL;
}

TEST_F(race, no_mixture)
{
	unsigned int sent = 0, other = 0;
	pthread_t filler, reader;
	long end;

	ASSERT_EQ((int)BUF_SIZE, fill_at(self->pool.fd, self->names[0], 0,
					 BUF_SIZE, self->file[0], ALL, 0));
	ASSERT_EQ(0, pthread_create(&filler, NULL, race_fill, self));
	ASSERT_EQ(0, pthread_create(&reader, NULL, race_read, self));
	end = now_ms() + 2000;
	while (now_ms() < end || (sent < 20 && now_ms() < end + DEADLINE_MS)) {
		ssize_t ret = send_buf(&self->pool, self->names[0],
				       self->sock[0], 0);

		if (ret == BUF_SIZE)
			sent++;
		else if (ret != -EBUSY)
			other++;
		/* Let the filler have the buffer, too. */
		if (sent % 4 == 0)
			pool_wait(self->pool.fd, self->names, 1, 20);
	}
	shutdown(self->sock[0], SHUT_WR);
	pthread_join(reader, NULL);
	__atomic_store_n(&self->stop, true, __ATOMIC_RELAXED);
	pthread_join(filler, NULL);
	TH_LOG("%u sent, %u filled", sent, self->fills);
	EXPECT_LE(20U, sent);
	EXPECT_LE(5U, self->fills);
	EXPECT_EQ(0U, other);
	EXPECT_EQ(sent, self->got);
	EXPECT_EQ(0U, self->mixed);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
