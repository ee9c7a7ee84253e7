// SPDX-License-Identifier: LGPL-2.1-or-later
/* Files in memory, also while others make them shorter. TAP out. */

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "test.h"

#define PAGE		((size_t)sysconf(_SC_PAGESIZE))
#define SIZE		((size_t)100000)
#define GIB		((off_t)1 << 30)
#define ERRNO		4711

/* By the call for it, and without. */
static const unsigned int ways[] = { 0, CHANNEL_VM | CHANNEL_POPULATE };

#define NR_WAYS		(sizeof(ways) / sizeof(*ways))

static char data[SIZE], buf[SIZE];

/* Those who loop over the ways end with all of them open. */
static bool next_way(unsigned int w)
{
	channel_closed = w < NR_WAYS ? ways[w] : 0;
	return w < NR_WAYS;
}

static int file_make(void)
{
	int fd = memfd_create("file", 0);

	CHECK(write(fd, data, SIZE) == (ssize_t)SIZE);
	return fd;
}

static off_t file_size(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? -1 : st.st_size;
}

/* The same file, opened in another way. */
static int again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags);
}

static int map_open(struct fbuf_map **map, int fd, unsigned int mode, off_t pos,
		    size_t size)
{
	int ret;

	errno = ERRNO;
	ret = fbuf_map_open(map, fd, mode, pos, size);
	CHECK(errno == ERRNO);
	return ret;
}

static ssize_t map_read(struct fbuf_map *map, size_t offset, size_t len)
{
	ssize_t ret;

	memset(buf, 0xee, SIZE);
	errno = ERRNO;
	ret = fbuf_map_read(map, offset, buf, len);
	CHECK(errno == ERRNO);
	return ret;
}

static void test_positions(void)
{
	static const size_t at[] = { 0, 1, 4095, 4096, 4097, 70001 };
	static const size_t sizes[] = { 1, 2, 4095, 4096, 4097, 20000 };
	int fd = file_make(), ro = again(fd, O_RDONLY);
	unsigned int mode, i, j, w;
	struct fbuf_map *map;

	for (mode = FBUF_MAP_READ_ONLY; mode <= FBUF_MAP_PRIVATE; mode++) {
		for (i = 0; i < sizeof(at) / sizeof(*at); i++) {
			for (j = 0; j < sizeof(sizes) / sizeof(*sizes); j++) {
				const char *here = data + at[i];
				size_t n = sizes[j];

				CHECK(!map_open(&map, mode == FBUF_MAP_READ_ONLY ?
						ro : fd, mode, at[i], n));
				CHECK(fbuf_map_size(map) == n);
				CHECK(fbuf_map_mode(map) == mode);
				CHECK(!memcmp(fbuf_map_addr(map), here, n));
				for (w = 0; next_way(w); w++) {
					CHECK(map_read(map, 0, n) == (ssize_t)n);
					CHECK(!memcmp(buf, here, n));
					CHECK(map_read(map, n - 1, 1) == 1);
					CHECK(buf[0] == here[n - 1]);
					CHECK(map_read(map, n, 0) == 0);
				}
				fbuf_map_close(map);
			}
		}
	}
	CHECK(file_size(fd) == (off_t)SIZE);
	close(ro);
	close(fd);
}

static void test_modes(void)
{
	struct fbuf_map *shared, *own, *read_only;
	int fd = file_make();
	char *p;

	CHECK(!map_open(&shared, fd, FBUF_MAP_READ_WRITE, 10, 100));
	CHECK(!map_open(&own, fd, FBUF_MAP_PRIVATE, 10, 100));
	CHECK(!map_open(&read_only, fd, FBUF_MAP_READ_ONLY, 10, 100));
	p = fbuf_map_addr(own);
	memcpy(p, "private", 7);
	CHECK(pread(fd, buf, 100, 10) == 100 && !memcmp(buf, data + 10, 100));
	CHECK(map_read(own, 0, 100) == 100 && !memcmp(buf, "private", 7));
	p = fbuf_map_addr(shared);
	memcpy(p, "shared!", 7);
	CHECK(pread(fd, buf, 100, 10) == 100 && !memcmp(buf, "shared!", 7));
	CHECK(!memcmp(fbuf_map_addr(read_only), "shared!", 7));
	CHECK(!memcmp(fbuf_map_addr(own), "private", 7));
	/* The fd is not needed. */
	close(fd);
	CHECK(map_read(read_only, 0, 7) == 7 && !memcmp(buf, "shared!", 7));
	fbuf_map_close(shared);
	fbuf_map_close(own);
	fbuf_map_close(read_only);
	fbuf_map_close(NULL);
}

static void read_only_is_read_only(void)
{
	struct fbuf_map *map;
	int fd = file_make();

	if (!fbuf_map_open(&map, fd, FBUF_MAP_READ_ONLY, 0, 100))
		__atomic_store_n((char *)fbuf_map_addr(map), 1,
				 __ATOMIC_RELAXED);
}

static void test_empty(void)
{
	unsigned int mode;
	struct fbuf_map *map;
	int fd = file_make(), empty = memfd_create("empty", 0);

	for (mode = FBUF_MAP_READ_ONLY; mode <= FBUF_MAP_PRIVATE; mode++) {
		CHECK(!map_open(&map, mode == 2 ? fd : empty, mode, 0, 0));
		CHECK(!fbuf_map_addr(map) && !fbuf_map_size(map));
		CHECK(!fbuf_map_force(map) && !fbuf_map_load(map));
		CHECK(!fbuf_map_force_range(map, 0, 0));
		CHECK(fbuf_map_force_range(map, 0, 1) == -EINVAL);
		CHECK(fbuf_map_is_loaded(map) == 1);
		CHECK(map_read(map, 0, 0) == 0);
		CHECK(map_read(map, 0, 1) == -EINVAL);
		fbuf_map_close(map);
	}
	CHECK(file_size(empty) == 0);
	/* As the JDK: the file ends no earlier than the mapping. */
	CHECK(!map_open(&map, empty, FBUF_MAP_READ_WRITE, 10, 0));
	CHECK(file_size(empty) == 10);
	fbuf_map_close(map);
	close(fd);
	close(empty);
}

static void test_grows(void)
{
	int fd = file_make(), ro = again(fd, O_RDONLY);
	struct fbuf_map *map;

	CHECK(map_open(&map, ro, FBUF_MAP_READ_ONLY, 0, SIZE + 1) == -EACCES);
	CHECK(map_open(&map, ro, FBUF_MAP_READ_ONLY, SIZE + 1, 0) == -EACCES);
	CHECK(file_size(fd) == (off_t)SIZE);
	CHECK(!map_open(&map, fd, FBUF_MAP_READ_WRITE, SIZE - 1, 2));
	CHECK(file_size(fd) == (off_t)SIZE + 1);
	CHECK(!memcmp(fbuf_map_addr(map), (char[]){ data[SIZE - 1], 0 }, 2));
	fbuf_map_close(map);
	CHECK(!map_open(&map, fd, FBUF_MAP_PRIVATE, SIZE, 10));
	CHECK(file_size(fd) == (off_t)SIZE + 10);
	fbuf_map_close(map);
	CHECK(!map_open(&map, fd, FBUF_MAP_READ_ONLY, SIZE, 20));
	CHECK(file_size(fd) == (off_t)SIZE + 20);
	fbuf_map_close(map);
	CHECK(pread(fd, buf, SIZE, 0) == (ssize_t)SIZE);
	CHECK(!memcmp(buf, data, SIZE));
	close(ro);
	close(fd);
}

static void test_arguments(void)
{
	int fd = file_make(), ro = again(fd, O_RDONLY), wo = again(fd, O_WRONLY);
	struct fbuf_map *map;
	unsigned int w;

	CHECK(map_open(&map, fd, 0, 0, 1) == -EINVAL);
	CHECK(map_open(&map, fd, 4, 0, 1) == -EINVAL);
	CHECK(map_open(&map, fd, FBUF_MAP_READ_ONLY, -1, 1) == -EINVAL);
	CHECK(map_open(&map, fd, FBUF_MAP_READ_ONLY, LLONG_MAX, 1) == -EINVAL);
	CHECK(map_open(&map, fd, FBUF_MAP_READ_ONLY, 0, SIZE_MAX) == -EINVAL);
	CHECK(map_open(&map, -1, FBUF_MAP_READ_ONLY, 0, 1) == -EBADF);
	CHECK(map_open(&map, ro, FBUF_MAP_READ_WRITE, 0, 1) == -EACCES);
	CHECK(map_open(&map, ro, FBUF_MAP_PRIVATE, 0, 1) == -EACCES);
	CHECK(map_open(&map, wo, FBUF_MAP_READ_ONLY, 0, 1) == -EACCES);
	CHECK(map_open(&map, wo, FBUF_MAP_READ_WRITE, 0, 1) == -EACCES);
	CHECK(file_size(fd) == (off_t)SIZE);
	CHECK(!map_open(&map, fd, FBUF_MAP_READ_WRITE, 100, 1000));
	CHECK(fbuf_map_force_range(map, 0, 1001) == -EINVAL);
	CHECK(fbuf_map_force_range(map, 1000, 1) == -EINVAL);
	CHECK(fbuf_map_force_range(map, 1, SIZE_MAX) == -EINVAL);
	CHECK(fbuf_map_force_range(map, 1000, 0) == 0);
	for (w = 0; next_way(w); w++) {
		CHECK(map_read(map, 0, 1001) == -EINVAL);
		CHECK(map_read(map, 1001, 0) == -EINVAL);
		CHECK(map_read(map, 1, SIZE_MAX) == -EINVAL);
	}
	fbuf_map_close(map);
	close(ro);
	close(wo);
	close(fd);
}

/* More than the JDK maps in one: what is beyond INT_MAX. */
static void test_large(void)
{
	int fd = memfd_create("file", 0);
	struct fbuf_map *map;
	unsigned int w;

	CHECK(!map_open(&map, fd, FBUF_MAP_READ_WRITE, 4 * GIB + 5, 3 * GIB));
	CHECK(file_size(fd) == 7 * GIB + 5);
	CHECK(pwrite(fd, data, 1000, 7 * GIB - 995) == 1000);
	for (w = 0; next_way(w); w++) {
		CHECK(map_read(map, 3 * GIB - 1000, 1000) == 1000);
		CHECK(!memcmp(buf, data, 1000));
	}
	memcpy((char *)fbuf_map_addr(map) + 2 * GIB, "here", 4);
	CHECK(!fbuf_map_force_range(map, 2 * GIB, 4));
	CHECK(pread(fd, buf, 4, 6 * GIB + 5) == 4 && !memcmp(buf, "here", 4));
	fbuf_map_close(map);
	close(fd);
}

static void test_force_and_load(void)
{
	char path[] = "/tmp/test_map.XXXXXX";
	int fd = mkstemp(path);
	struct fbuf_map *map;
	unsigned int w, mode;

	unlink(path);
	CHECK(write(fd, data, SIZE) == (ssize_t)SIZE);
	for (mode = FBUF_MAP_READ_ONLY; mode <= FBUF_MAP_PRIVATE; mode++) {
		CHECK(!map_open(&map, fd, mode, 4097, 60000));
		if (mode != FBUF_MAP_READ_ONLY)
			memcpy((char *)fbuf_map_addr(map) + 5000, "new", 3);
		CHECK(!fbuf_map_force_range(map, 5000, 3));
		CHECK(!fbuf_map_force(map));
		for (w = 0; next_way(w); w++)
			CHECK(!fbuf_map_load(map));
		CHECK(fbuf_map_is_loaded(map) == 1);
		fbuf_map_close(map);
	}
	close(fd);
}

/* Pages of a hole in a tmpfs have no memory before something is there. */
static void test_is_loaded(void)
{
	int fd = memfd_create("file", 0);
	size_t n = 20000 * PAGE;
	struct fbuf_map *map;

	CHECK(!ftruncate(fd, n));
	CHECK(!map_open(&map, fd, FBUF_MAP_READ_WRITE, 0, n));
	CHECK(fbuf_map_is_loaded(map) == 0);
	channel_closed = 0;
	CHECK(!fbuf_map_load(map));
	CHECK(fbuf_map_is_loaded(map) == 1);
	fbuf_map_close(map);
	/* The last page alone is missing. */
	CHECK(!map_open(&map, fd, FBUF_MAP_READ_WRITE, 1, n));
	CHECK(fbuf_map_is_loaded(map) == 0);
	fbuf_map_close(map);
	close(fd);
}

/* What others cut off. */

static void test_truncated(void)
{
	struct fbuf_map *map;
	unsigned int w, mode;
	size_t left;
	int fd;

	for (mode = FBUF_MAP_READ_ONLY; mode <= FBUF_MAP_PRIVATE; mode++) {
		for (w = 0; next_way(w); w++) {
			fd = file_make();
			CHECK(!map_open(&map, fd, mode, 100, SIZE - 100));
			if (mode == FBUF_MAP_PRIVATE)
				((char *)fbuf_map_addr(map))[0] = 'x';
			CHECK(!ftruncate(fd, 3 * PAGE + 10));
			/* The rest of the last page is zero. */
			left = 4 * PAGE - 100;
			CHECK(map_read(map, 0, SIZE - 100) == (ssize_t)left);
			CHECK(buf[0] == (mode == FBUF_MAP_PRIVATE ? 'x' :
					 data[100]));
			CHECK(!memcmp(buf + 1, data + 101, 3 * PAGE - 91));
			CHECK(!buf[3 * PAGE - 90] && !buf[left - 1]);
			CHECK(buf[left] == (char)0xee);
			CHECK(map_read(map, left, 1) == 0);
			CHECK(map_read(map, left - 1, 2) == 1);
			CHECK(map_read(map, SIZE - 101, 1) == 0);
			CHECK(fbuf_map_load(map) == -EFAULT);
			CHECK(fbuf_map_is_loaded(map) == 0);
			/* It comes again. */
			CHECK(!ftruncate(fd, SIZE));
			CHECK(map_read(map, left, 1) == 1 && !buf[0]);
			CHECK(!fbuf_map_load(map));
			CHECK(!ftruncate(fd, 0));
			CHECK(map_read(map, 0, 10) == 0);
			fbuf_map_close(map);
			close(fd);
		}
	}
}

static int status_of(void (*run)(void))
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		failed = false;
		run();
		fflush(stdout);
		_exit(failed);
	}
	waitpid(pid, &status, 0);
	return status;
}

static struct fbuf_map *cut_map(void)
{
	struct fbuf_map *map = NULL;
	int fd = file_make();

	CHECK(!fbuf_map_open(&map, fd, FBUF_MAP_READ_ONLY, 0, SIZE));
	CHECK(!ftruncate(fd, 0));
	return map;
}

static void touches(void)
{
	buf[0] = __atomic_load_n((char *)fbuf_map_addr(cut_map()),
				 __ATOMIC_RELAXED);
}

static void reads(void)
{
	struct fbuf_map *map = cut_map();
	struct sigaction sa;
	unsigned int w;

	for (w = 0; next_way(w); w++) {
		CHECK(map_read(map, 0, SIZE) == 0);
		CHECK(fbuf_map_load(map) == -EFAULT);
	}
	/* And nobody has taken the signal over. */
	CHECK(!sigaction(SIGBUS, NULL, &sa) && sa.sa_handler == SIG_DFL);
}

static void test_hazard(void)
{
	int status = status_of(touches);

	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	CHECK(status_of(reads) == 0);
	status = status_of(read_only_is_read_only);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static atomic_bool stop;

static void *shorten(void *arg)
{
	int fd = *(int *)arg;

	while (!stop) {
		CHECK(!ftruncate(fd, 0));
		CHECK(pwrite(fd, data, SIZE, 0) == (ssize_t)SIZE);
	}
	return NULL;
}

static void test_truncated_again_and_again(void)
{
	unsigned int w, i, reads_done = 0, cut = 0;
	struct fbuf_map *map;
	pthread_t thread;
	int fd = file_make();
	ssize_t n, j;

	CHECK(!map_open(&map, fd, FBUF_MAP_READ_ONLY, 1, SIZE - 1));
	CHECK(!pthread_create(&thread, NULL, shorten, &fd));
	for (w = 0; next_way(w); w++) {
		for (i = 0; i < 2000; i++) {
			n = map_read(map, 0, SIZE - 1);
			CHECK(n >= 0);
			cut += n < (ssize_t)SIZE - 1;
			reads_done++;
			for (j = 0; j < n; j++)
				if (buf[j] && buf[j] != data[j + 1])
					break;
			CHECK(j >= n);
			if (i % 16 == 0) {
				int ret = fbuf_map_load(map);

				CHECK(!ret || ret == -EFAULT);
			}
		}
	}
	printf("# %u of %u were cut\n", cut, reads_done);
	stop = true;
	pthread_join(thread, NULL);
	fbuf_map_close(map);
	close(fd);
}

static const struct test tests[] = {
	{ "positions and sizes of any kind", test_positions },
	{ "who sees what is written", test_modes },
	{ "a mapping of nothing", test_empty },
	{ "a file becomes as long as its mapping", test_grows },
	{ "bad arguments are refused", test_arguments },
	{ "more than INT_MAX, beyond 4 GiB", test_large },
	{ "force and load", test_force_and_load },
	{ "what is loaded", test_is_loaded },
	{ "reads of what was cut off end there", test_truncated },
	{ "a touch is SIGBUS, a read is not", test_hazard },
	{ "a file is cut again and again", test_truncated_again_and_again },
};

int main(void)
{
	uint32_t x = 1;
	size_t i;

	for (i = 0; i < SIZE; i++) {
		x = x * 1664525 + 1013904223;
		data[i] = x >> 25 | 0x80;
	}
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
