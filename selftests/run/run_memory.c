// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a program under "fbuf run": malloc() and its family, and reads into
 * it while it is on its way. Each case passes plain too.
 */
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "run_seen.h"
#include "util.h"

static size_t too_much(void)
{
	return (size_t)hidden((void *)(PTRDIFF_MAX - 4096UL));
}

/* What malloc() and the like are not to give is given back, or nothing was. */
static bool refused(void *p)
{
	if (!p)
		return true;
	free(p);
	return false;
}

TEST(alignment)
{
	size_t size;
	void *p;

	for (size = 1; size < 3 << 20; size = size * 3 / 2 + 1) {
		p = malloc(size);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(0, (uintptr_t)p % 16);
		memset(p, 1, size);
		free(p);
	}
}

TEST(calloc_is_zero_after_dirty_reuse)
{
	size_t size, i;
	__u8 *p;
	int j;

	begin();
	for (size = 30000; size < 2 << 20; size = size * 2 + 11) {
		for (j = 0; j < 3; j++) {
			p = malloc(size);
			memset(hidden(p), 0xdd, size);
			free(p);
			p = calloc(size / 7, 7);
			ASSERT_NE(NULL, p);
			for (i = 0; i < size / 7 * 7 && !p[i]; i++)
				;
			ASSERT_EQ(size / 7 * 7, i);
			memset(hidden(p), 0xdd, size / 7 * 7);
			free(p);
		}
	}
}

TEST(realloc_keeps_what_was_there)
{
	static const size_t sizes[] = {
		100, 40000, 1 << 20, 3 << 20, 70000, 20000, 100, 50000, 65536,
		65537, 200000, 200001, 5000000, 4 << 20, 33000, 32767, 32768,
	};
	__u8 *p = filled(300000, 1);
	size_t have = 300000, keep;
	unsigned int i;

	errno = 4242;
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		keep = have < sizes[i] ? have : sizes[i];
		p = resized(p, sizes[i]);
		ASSERT_NE(NULL, p);
		ASSERT_EQ(-1, pattern_differs(p, i + 1, 0, keep));
		EXPECT_GE(malloc_usable_size(p), sizes[i]);
		have = sizes[i];
		pattern_fill(p, i + 2, 0, have);
	}
	EXPECT_EQ(4242, errno);
	EXPECT_TRUE(refused(realloc(hidden(p), too_much())));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(-1, pattern_differs(p, i + 1, 0, have));
	EXPECT_TRUE(refused(realloc(p, 0)));
	p = realloc(NULL, 100000);
	ASSERT_NE(NULL, p);
	memset(p, 1, 100000);
	free(p);
}

/* As a buffer does to which a line is added each time. */
TEST(realloc_bit_by_bit)
{
	__u8 *p = NULL;
	size_t n;

	for (n = 1000; n < 3 << 20; n += 1000) {
		p = resized(p, n);
		ASSERT_NE(NULL, p);
		pattern_fill(p + n - 1000, 3, n - 1000, 1000);
	}
	EXPECT_EQ(-1, pattern_differs(p, 3, 0, n - 1000));
	free(p);
}

TEST(usable_size_is_usable)
{
	size_t size, have;
	__u8 *p[4], i;

	EXPECT_EQ(0, malloc_usable_size(NULL));
	begin();
	for (size = 1; size < 1 << 20; size = size * 2 + 1) {
		for (i = 0; i < 4; i++) {
			p[i] = malloc(size);
			have = malloc_usable_size(p[i]);
			ASSERT_GE(have, size);
			pattern_fill(p[i], i, 0, have);
		}
		/* And is nobody else's. */
		for (i = 0; i < 4; i++) {
			have = malloc_usable_size(p[i]);
			ASSERT_EQ(-1, pattern_differs(p[i], i, 0, have));
			free(p[i]);
		}
	}
}

TEST(too_much_is_enomem)
{
	__u8 *p = filled(100000, 2);
	size_t half = (size_t)hidden((void *)(1UL << 63));

	EXPECT_TRUE(refused(malloc(too_much())));
	EXPECT_EQ(ENOMEM, errno);
	errno = 0;
	EXPECT_TRUE(refused(calloc(half, (size_t)hidden((void *)2))));
	EXPECT_EQ(ENOMEM, errno);
	errno = 0;
	EXPECT_TRUE(refused(reallocarray(hidden(p), half, (size_t)hidden((void *)3))));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(-1, pattern_differs(p, 2, 0, 100000));
	errno = 0;
	EXPECT_TRUE(refused(memalign(4096, too_much())));
	EXPECT_EQ(ENOMEM, errno);
	free(p);
	free(NULL);
}

TEST(posix_memalign_says_it_by_its_result)
{
	static const size_t bad[] = { 0, 1, 3, 24, 4097 };
	void *p = &p;
	unsigned int i;

	begin();
	errno = 4242;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(EINVAL, posix_memalign(&p, bad[i], 100000));
		EXPECT_EQ(&p, p);
	}
	EXPECT_EQ(4242, errno);
	EXPECT_EQ(ENOMEM, posix_memalign(&p, 64, too_much()));
	EXPECT_EQ(&p, p);
	/* The compiler thinks that it knows. */
	errno = 4242;
	EXPECT_EQ(0, posix_memalign(&p, 8, 100000));
	EXPECT_EQ(4242, *(int *)hidden(&errno));
	free(p);
}

TEST(aligned_as_asked)
{
	size_t align;
	void *p;

	for (align = 8; align <= 2 << 20; align *= 2) {
		ASSERT_EQ(0, posix_memalign(&p, align, 100000));
		EXPECT_EQ(0, (uintptr_t)p % align);
		memset(p, 1, 100000);
		free(p);
		p = memalign(align, 70000);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(0, (uintptr_t)p % align);
		p = resized(p, 300000);
		ASSERT_NE(NULL, p);
		memset(p, 1, 300000);
		free(p);
		p = aligned_alloc(align, 2 << 20);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(0, (uintptr_t)p % align);
		free(p);
	}
	p = valloc(100000);
	EXPECT_EQ(0, (uintptr_t)p % PAGE);
	free(p);
	p = pvalloc(100001);
	EXPECT_EQ(0, (uintptr_t)p % PAGE);
	EXPECT_GE(malloc_usable_size(p), 102400);
	free(p);
}

#define NR_THREADS	8

/* Allocates, grows and frees at random; what is in it stays. */
static void *allocate(void *arg)
{
	unsigned int seed = (uintptr_t)arg, i, n;
	__u8 *p[16] = { NULL };
	size_t len[16] = { 0 };
	void *ret = NULL;

	for (i = 0; i < 600 && !ret; i++) {
		n = rand_r(&seed) % 16;
		if (p[n] && pattern_differs(p[n], n, 0, len[n]) >= 0)
			ret = arg;
		if (p[n] && rand_r(&seed) % 3) {
			free(p[n]);
			p[n] = NULL;
			continue;
		}
		len[n] = 1 + rand_r(&seed) % (rand_r(&seed) % 4 ? 80000 : 500000);
		p[n] = resized(p[n], len[n]);
		pattern_fill(p[n], n, 0, len[n]);
	}
	for (n = 0; n < 16; n++)
		free(p[n]);
	return ret;
}

TEST(threads_at_random)
{
	pthread_t threads[NR_THREADS];
	uintptr_t i;
	void *ret;

	for (i = 0; i < NR_THREADS; i++)
		ASSERT_EQ(0, pthread_create(threads + i, NULL, allocate,
					    (void *)(i + 1)));
	for (i = 0; i < NR_THREADS; i++) {
		ASSERT_EQ(0, pthread_join(threads[i], &ret));
		EXPECT_EQ(NULL, ret);
	}
}

TEST(more_than_the_pool_has)
{
	__u8 *p[60];
	int i;

	for (i = 0; i < 60; i++) {
		p[i] = filled(1 << 20, i);
		ASSERT_NE(NULL, p[i]);
	}
	for (i = 0; i < 60; i++)
		EXPECT_EQ(-1, pattern_differs(p[i], i, 0, 1 << 20));
	for (i = 0; i < 60; i += 2)
		free(p[i]);
	for (i = 1; i < 60; i += 2) {
		p[i] = resized(p[i], 3 << 20);
		ASSERT_NE(NULL, p[i]);
		EXPECT_EQ(-1, pattern_differs(p[i], i, 0, 1 << 20));
		free(p[i]);
	}
}

static void free_twice(void)
{
	void *p = malloc(200000);

	free(hidden(p));
	free(hidden(p));
}

static void free_the_middle(void)
{
	char *p = hidden(malloc(200000));

	free(hidden(p + 4096));
}

TEST(freeing_what_is_not_ends_the_program)
{
	static void (* const wrong[])(void) = { free_twice, free_the_middle };
	struct rlimit none = { 0 };
	unsigned int i;
	pid_t pid;

	for (i = 0; i < 2; i++) {
		pid = fork();
		if (!pid) {
			setrlimit(RLIMIT_CORE, &none);
			close(STDERR_FILENO);
			wrong[i]();
			_exit(0);
		}
		EXPECT_LT(child_status(pid), 0);
	}
}

/* Whoever gives memory back by this expects zeros. */
TEST(dontneed_reads_zero)
{
	const size_t page = PAGE, end = page + (500000 + page - 1) / page * page;
	__u8 *p;
	size_t i;

	ASSERT_EQ(0, posix_memalign((void **)&p, page, 1 << 20));
	memset(p, 0xcc, 1 << 20);
	ASSERT_EQ(0, madvise(p + page, 500000, MADV_DONTNEED));
	EXPECT_EQ(0xcc, p[page - 1]);
	for (i = page; i < end && !p[i]; i++)
		;
	EXPECT_EQ(end, i);
	EXPECT_EQ(0xcc, p[i]);
	EXPECT_EQ(-1, madvise(p + 1, page, MADV_DONTNEED));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, madvise(p, 1 << 20, MADV_SEQUENTIAL));
	EXPECT_EQ(0, madvise(p, 1 << 20, MADV_DONTDUMP));
	EXPECT_EQ(0, madvise(p, 1 << 20, MADV_DODUMP));
	EXPECT_EQ(0, madvise(p, 1 << 20, MADV_FREE));
	free(p);
}

/* A mutex of any kind may lie in any memory. */
static void *lock_and_count(void *arg)
{
	pthread_mutex_t *m = arg;
	int *count = (int *)(m + 1), i;

	for (i = 0; i < 2000; i++) {
		pthread_mutex_lock(m);
		++*count;
		if (!(i % 20))
			sched_yield();
		pthread_mutex_unlock(m);
	}
	return NULL;
}

TEST(mutexes_of_all_kinds_lie_there)
{
	pthread_t threads[4];
	pthread_mutexattr_t attr;
	pthread_mutex_t *m;
	int kind, i;

	for (kind = 0; kind < 8; kind++) {
		m = calloc(1, 100000);
		ASSERT_NE(NULL, m);
		pthread_mutexattr_init(&attr);
		pthread_mutexattr_setpshared(&attr, kind & 1);
		pthread_mutexattr_setrobust(&attr, kind >> 1 & 1);
		pthread_mutexattr_setprotocol(&attr, kind >> 2);
		ASSERT_EQ(0, pthread_mutex_init(m, &attr));
		for (i = 0; i < 4; i++)
			ASSERT_EQ(0, pthread_create(threads + i, NULL,
						    lock_and_count, m));
		for (i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
		EXPECT_EQ(8000, *(int *)(m + 1));
		free(m);
	}
}

/* Reads into memory of which a packet on its way has a part. */
FIXTURE(flight)
{
	int fd[2];
	int from[2];
	__u8 *p;
};

FIXTURE_SETUP(flight)
{
	struct seen was = seen_now();
	__u8 *other = filled(100000, 2);

	ASSERT_EQ(0, tcp_pair(AF_INET, self->fd));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->from));
	self->p = NULL;
	ASSERT_EQ(0, posix_memalign((void **)&self->p, 4096, 1 << 20));
	pattern_fill(self->p, 1, 0, 1 << 20);
	ASSERT_EQ(UNREAD, write(self->fd[0], self->p, UNREAD));
	EXPECT_GE(seen_since(&was), UNREAD - 8192);
	ASSERT_EQ(100000, write(self->from[0], other, 100000));
	free(other);
}

FIXTURE_TEARDOWN(flight)
{
	/* What the peer gets is what was sent. */
	EXPECT_TRUE(comes(self->fd[1], 1, 0, UNREAD));
	EXPECT_EQ(-1, pattern_differs(self->p + 100100, 1, 100100,
				      (1 << 20) - 100100));
	free(self->p);
}

TEST_F(flight, recv_into_it)
{
	ASSERT_EQ(100000, recv(self->from[1], self->p + 100, 100000,
			       MSG_WAITALL));
	EXPECT_EQ(-1, pattern_differs(self->p + 100, 2, 0, 100000));
}

TEST_F(flight, read_into_it)
{
	ASSERT_EQ(100000, read_full(self->from[1], self->p + 100, 100000));
	EXPECT_EQ(-1, pattern_differs(self->p + 100, 2, 0, 100000));
}

TEST_F(flight, readv_and_recvmsg_into_it)
{
	struct iovec iov[2] = {
		{ self->p + 100, 30000 }, { self->p + 30100, 20000 },
	};
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	ASSERT_TRUE(wait_for(recv(self->from[1], self->p, 100000,
				  MSG_PEEK | MSG_DONTWAIT) == 100000,
			     DEADLINE_MS));
	ASSERT_EQ(50000, readv(self->from[1], iov, 2));
	EXPECT_EQ(-1, pattern_differs(self->p + 100, 2, 0, 50000));
	ASSERT_EQ(50000, recvmsg(self->from[1], &msg, 0));
	EXPECT_EQ(-1, pattern_differs(self->p + 100, 2, 50000, 50000));
}

TEST_F(flight, files_read_into_it)
{
	static const char name[] = "/tmp/run_memory.file";
	__u8 *other = filled(98304, 3);
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(98304, write(fd, other, 98304));
	ASSERT_EQ(98304, pread(fd, self->p + 1, 98304, 0));
	EXPECT_EQ(-1, pattern_differs(self->p + 1, 3, 0, 98304));
	close(fd);
	free(other);
	/* Past the page cache, where the file system has that. */
	fd = open(name, O_RDONLY | O_DIRECT | O_CLOEXEC);
	unlink(name);
	if (fd < 0)
		return;
	ASSERT_EQ(98304, read(fd, self->p, 98304));
	EXPECT_EQ(-1, pattern_differs(self->p, 3, 0, 98304));
	close(fd);
}

TEST_HARNESS_MAIN
