// SPDX-License-Identifier: GPL-2.0
/*
 * Transfers with the module under them: those that the JDK tries, by each way, and
 * what goes by memory of a heap. What needs no module is in user/lib.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <fbuf/backend.h>
#include <fbuf/channel.h>

#include "kselftest_harness.h"
#include "util.h"
#include "../../user/lib/channel.h"
#include "../../user/lib/test_transfers.h"

#define BUF_SIZE	((size_t)65536)
#define NR_BUFS		32U
#define LEN		((size_t)300000)
#define LONG_MS		20000

static const unsigned int ways[] = {
	0, CHANNEL_DIRECT, CHANNEL_DIRECT | CHANNEL_POOL,
	CHANNEL_DIRECT | CHANNEL_POOL | CHANNEL_MAPPED,
};

FIXTURE(channel)
{
	struct fbuf_pool *pool;
	struct fbuf_heap *heap;
	int file;
	int sock[2];
};

FIXTURE_VARIANT(channel)
{
	unsigned int flags;
	unsigned int backend;
};

FIXTURE_VARIANT_ADD(channel, plain) { .backend = FBUF_BACKEND_MODULE };

FIXTURE_VARIANT_ADD(channel, secured)
{
	.flags = FBUF_POOL_SECURED, .backend = FBUF_BACKEND_MODULE,
};

FIXTURE_VARIANT_ADD(channel, snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT, .backend = FBUF_BACKEND_MODULE,
};

FIXTURE_VARIANT_ADD(channel, user) { .backend = FBUF_BACKEND_USER };

/* LEN bytes of the pattern, in memory. */
static int file_make(void)
{
	int fd = memfd_create("file", 0);
	__u8 *map;

	if (fd < 0 || ftruncate(fd, LEN) < 0)
		return -1;
	map = mmap(NULL, LEN, PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return -1;
	pattern_fill(map, 1, 0, LEN);
	munmap(map, LEN);
	return fd;
}

FIXTURE_SETUP(channel)
{
	struct fbuf_pool_options opt = FBUF_POOL_OPTIONS_INIT;

	opt.buf_size = BUF_SIZE;
	opt.nr_bufs = NR_BUFS;
	opt.flags = variant->flags;
	ASSERT_EQ(0, fbuf_backend_set(variant->backend));
	ASSERT_EQ(0, fbuf_pool_create_with(&self->pool, &opt));
	ASSERT_EQ(0, fbuf_heap_create(&self->heap, self->pool, 0));
	self->file = file_make();
	ASSERT_LE(0, self->file);
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	/* The kernel's own way does not pass by the pool. */
	channel_closed = CHANNEL_DIRECT;
}

FIXTURE_TEARDOWN(channel)
{
	channel_closed = 0;
	close(self->sock[0]);
	close(self->sock[1]);
	close(self->file);
	fbuf_heap_destroy(self->heap);
	fbuf_pool_close(self->pool);
}

/* How many sends there were of the pool, and what they copied. */
static __u64 sends(struct _test_data_channel *self, __u64 *copied)
{
	struct fbuf_info info;

	if (fbuf_pool_info(self->pool, &info))
		return ~0ULL;
	if (copied)
		*copied = info.copied;
	return info.sends;
}

static bool all_is_back(struct fbuf_heap *heap)
{
	void *all;

	while (fbuf_heap_wait(heap, LONG_MS) > 0)
		;
	all = fbuf_heap_alloc(heap, BUF_SIZE * NR_BUFS);
	fbuf_heap_free(heap, all);
	return all;
}

/*
 * Some of all offsets and lengths, fewer by the ways that are not the first, and by
 * pools that are not plain; with TRANSFERS=all in the environment all of them, which
 * takes minutes. user/lib/test_channel.c has the backend in user space try them all.
 */
TEST_F_TIMEOUT(channel, offsets_and_lengths, 230)
{
	bool plain = !variant->flags && variant->backend == FBUF_BACKEND_MODULE;
	const char *how = getenv("TRANSFERS"), *err;
	unsigned int step = plain ? 3 : 15, kind, w, tried;
	bool all = how && !strcmp(how, "all");

	for (w = 0; w < ARRAY_SIZE(ways); w++) {
		for (kind = 0; kind < transfers_nr_kinds(); kind++) {
			err = transfers_try(kind, self->heap, ways[w],
					    all ? 1 : w ? 3 * step : step,
					    &tried);
			EXPECT_EQ(NULL, err)
				TH_LOG("%s, %#x closed: %s",
				       transfers_name(kind), ways[w], err);
			EXPECT_LT(40, tried);
		}
	}
	EXPECT_LT(0, sends(self, NULL));
	EXPECT_TRUE(all_is_back(self->heap));
}

/* A reader that takes len bytes of the pattern, from pos on. */
struct checker {
	pthread_t thread;
	int sock;
	size_t pos;
	size_t len;
	bool right;
};

static void *check_run(void *arg)
{
	struct checker *r = arg;
	__u8 *buf = malloc(r->len);

	r->right = buf && read_full(r->sock, buf, r->len) == (ssize_t)r->len &&
		   pattern_differs(buf, 1, r->pos, r->len) == -1;
	free(buf);
	return NULL;
}

/* A socket that blocks takes all, in pieces of the heap, without a copy. */
TEST_F(channel, by_the_pool)
{
	struct checker r = {
		.sock = self->sock[1], .pos = 1001, .len = LEN - 1001,
	};
	__u64 copied;

	ASSERT_EQ(0, pthread_create(&r.thread, NULL, check_run, &r));
	EXPECT_EQ((ssize_t)r.len,
		  fbuf_transfer_to(self->heap, self->file, r.pos, SIZE_MAX,
				   self->sock[0]));
	pthread_join(r.thread, NULL);
	EXPECT_TRUE(r.right);
	EXPECT_LE(2, sends(self, &copied));
	if (variant->backend == FBUF_BACKEND_MODULE)
		EXPECT_EQ(0, copied);
	EXPECT_TRUE(all_is_back(self->heap));
}

/* What is on its way is what was in the file, whoever writes there now. */
TEST_F(channel, a_later_write_is_not_sent)
{
	struct checker r = { .sock = self->sock[1], .pos = 0, .len = 50000 };
	static char junk[50000];

	ASSERT_EQ(50000, fbuf_transfer_to(self->heap, self->file, 0, 50000,
					  self->sock[0]));
	ASSERT_EQ(50000, pwrite(self->file, junk, sizeof(junk), 0));
	check_run(&r);
	EXPECT_TRUE(r.right);
}

/* Then it is the kernel, or a mapping. */
TEST_F(channel, a_heap_that_is_full)
{
	struct checker r = { .sock = self->sock[1], .len = 50000 };
	void *all = fbuf_heap_alloc(self->heap, BUF_SIZE * NR_BUFS);

	ASSERT_NE(NULL, all);
	EXPECT_EQ(50000, fbuf_transfer_to(self->heap, self->file, 0, 50000,
					  self->sock[0]));
	check_run(&r);
	EXPECT_TRUE(r.right);
	EXPECT_EQ(0, sends(self, NULL));
	fbuf_heap_free(self->heap, all);
}

TEST_F(channel, a_socket_that_is_full)
{
	struct fbuf_heap_stats s;

	ASSERT_EQ(0, fcntl(self->sock[0], F_SETFL, O_NONBLOCK));
	transfers_fill(self->sock[0]);
	/* The peer's queue takes some yet. */
	EXPECT_TRUE(wait_for(!fbuf_transfer_to(self->heap, self->file, 0,
					       SIZE_MAX, self->sock[0]),
			     LONG_MS));
	ASSERT_EQ(0, fbuf_heap_stats(self->heap, &s));
	EXPECT_EQ(0, s.used);
	close(self->sock[1]);
	self->sock[1] = -1;
	EXPECT_GT(0, fbuf_transfer_to(self->heap, self->file, 0, SIZE_MAX,
				      self->sock[0]));
	EXPECT_EQ(-EPIPE, fbuf_transfer_to(self->heap, self->file, 0, SIZE_MAX,
					   self->sock[0]));
	EXPECT_TRUE(all_is_back(self->heap));
}

/* Beyond 4 GiB, and where the file ends meanwhile. */
TEST_F(channel, large_and_cut)
{
	struct checker r = { .sock = self->sock[1], .len = 100000 };
	const off_t at = (4LL << 30) - 50000;
	off_t from = 0, to = at;
	size_t left = 100000;
	int large = memfd_create("large", 0);
	ssize_t n;

	while (left) {
		n = copy_file_range(self->file, &from, large, &to, left, 0);
		ASSERT_LT(0, n);
		left -= n;
	}
	ASSERT_EQ(0, ftruncate(large, 6LL << 30));
	EXPECT_EQ(100000, fbuf_transfer_to(self->heap, large, at, 100000,
					   self->sock[0]));
	check_run(&r);
	EXPECT_TRUE(r.right);
	ASSERT_EQ(0, ftruncate(large, at + 10));
	EXPECT_EQ(10, fbuf_transfer_to(self->heap, large, at, 100000,
				       self->sock[0]));
	EXPECT_EQ(0, fbuf_transfer_to(self->heap, large, at + 10, 1,
				      self->sock[0]));
	close(large);
}

static atomic_bool stop;

static void *shorten(void *arg)
{
	int fd = *(int *)arg;

	while (!stop)
		if (ftruncate(fd, 0) < 0 || ftruncate(fd, LEN) < 0)
			break;
	return NULL;
}

struct drain {
	pthread_t thread;
	int sock;
	size_t got;
};

static void *drain_run(void *arg)
{
	struct drain *d = arg;
	static __u8 buf[65536];
	ssize_t n;

	while ((n = read(d->sock, buf, sizeof(buf))) > 0)
		d->got += n;
	return NULL;
}

/* Nothing but a count is wrong with it. */
TEST_F(channel, cut_again_and_again)
{
	struct drain d = { .sock = self->sock[1] };
	pthread_t thread;
	size_t sent = 0;
	unsigned int i;
	ssize_t n;

	stop = false;
	ASSERT_EQ(0, pthread_create(&thread, NULL, shorten, &self->file));
	ASSERT_EQ(0, pthread_create(&d.thread, NULL, drain_run, &d));
	for (i = 0; i < 200; i++) {
		channel_closed = ways[i % ARRAY_SIZE(ways)];
		n = fbuf_transfer_to(self->heap, self->file, 7, SIZE_MAX,
				     self->sock[0]);
		EXPECT_LE(0, n);
		sent += n > 0 ? n : 0;
	}
	stop = true;
	pthread_join(thread, NULL);
	shutdown(self->sock[0], SHUT_WR);
	pthread_join(d.thread, NULL);
	EXPECT_EQ(sent, d.got);
}

/* The source is read no further than the bytes that were written. */
TEST_F(channel, a_disk_that_is_full)
{
	char dir[] = "/tmp/channel.XXXXXX";
	struct fbuf_map *map;
	unsigned int w;
	int fd = -1;

	ASSERT_NE(NULL, mkdtemp(dir));
	if (!mount("none", dir, "tmpfs", 0, "size=64k"))
		fd = open(dir, O_TMPFILE | O_RDWR, 0600);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
	ASSERT_LE(0, fd);
	for (w = 0; w < ARRAY_SIZE(ways); w++) {
		channel_closed = ways[w];
		ASSERT_EQ(0, ftruncate(fd, 0));
		lseek(self->file, 0, SEEK_SET);
		EXPECT_EQ(BUF_SIZE, fbuf_transfer_from(self->heap, fd, 0, LEN,
						       self->file));
		EXPECT_EQ(BUF_SIZE, lseek(self->file, 0, SEEK_CUR));
		EXPECT_EQ(-ENOSPC, fbuf_transfer_from(self->heap, fd, BUF_SIZE,
						      LEN, self->file));
	}
	EXPECT_EQ(-ENOSPC, fbuf_map_open(&map, fd, FBUF_MAP_READ_WRITE,
					 BUF_SIZE, 1));
	close(fd);
}

/* What another cuts off is no signal, on this kernel. */
TEST_F(channel, a_mapping_that_is_cut)
{
	const unsigned int closed[] = { 0, CHANNEL_VM | CHANNEL_POPULATE };
	const ssize_t page = PAGE;
	__u8 *buf = malloc(LEN);
	struct fbuf_map *map;
	unsigned int i;

	ASSERT_NE(NULL, buf);
	ASSERT_EQ(0, fbuf_map_open(&map, self->file, FBUF_MAP_READ_ONLY, 5,
				   LEN - 5));
	for (i = 0; i < ARRAY_SIZE(closed); i++) {
		channel_closed = closed[i];
		EXPECT_EQ(LEN - 5, fbuf_map_read(map, 0, buf, LEN - 5));
		EXPECT_EQ(-1, pattern_differs(buf, 1, 5, LEN - 5));
		EXPECT_EQ(0, fbuf_map_load(map));
		EXPECT_EQ(1, fbuf_map_is_loaded(map));
	}
	ASSERT_EQ(0, ftruncate(self->file, page));
	for (i = 0; i < ARRAY_SIZE(closed); i++) {
		channel_closed = closed[i];
		EXPECT_EQ(page - 5, fbuf_map_read(map, 0, buf, LEN - 5));
		EXPECT_EQ(-1, pattern_differs(buf, 1, 5, page - 5));
		EXPECT_EQ(0, fbuf_map_read(map, page - 5, buf, 1));
		EXPECT_EQ(-EFAULT, fbuf_map_load(map));
	}
	fbuf_map_close(map);
	free(buf);
}

TEST_HARNESS_MAIN
