// SPDX-License-Identifier: GPL-2.0
/*
 * SEND_BATCH: many sends by one call, each with its own result, none waited for;
 * and datagrams cut from one gather.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	16384U
#define NR_BUFS		32U
#define NO_FD		4095	/* one that is not open */

/* What no call writes: a word with it was left alone. */
#define UNSET		0x5a5a5a5aU

FIXTURE(batch)
{
	struct pool pool;
	__u64 names[NR_BUFS];
	struct fbuf_seg segs[NR_BUFS];	/* of each buffer, all */
	struct fbuf_send_item *items;
	int pairs[NR_BUFS][2];
	unsigned int nr;
	__u8 *got;
};

FIXTURE_SETUP(batch)
{
	unsigned int i;

	self->items = malloc((FBUF_BATCH_MAX + 1) * sizeof(*self->items));
	self->got = malloc(NR_BUFS * BUF_SIZE);
	ASSERT_TRUE(self->items && self->got);
	memset(self->items, UNSET & 0xff,
	       (FBUF_BATCH_MAX + 1) * sizeof(*self->items));
	ASSERT_EQ(0, pool_make_flags(&self->pool, BUF_SIZE, NR_BUFS, 0));
	ASSERT_EQ((int)NR_BUFS,
		  pool_alloc(self->pool.fd, self->names, NR_BUFS));
	for (i = 0; i < NR_BUFS; i++) {
		pattern_fill(buf_addr(&self->pool, self->names[i]), i, 0,
			     BUF_SIZE);
		self->segs[i] = buf_seg(&self->pool, self->names[i], 0,
					BUF_SIZE);
	}
}

FIXTURE_TEARDOWN(batch)
{
	unsigned int i;

	for (i = 0; i < self->nr; i++) {
		close(self->pairs[i][0]);
		close(self->pairs[i][1]);
	}
	pool_unmake(&self->pool);
	free(self->items);
	free(self->got);
}

static void item(struct fbuf_send_item *item, const struct fbuf_seg *segs,
		 unsigned int nr_segs, int fd)
{
	item->segs = (uintptr_t)segs;
	item->nr_segs = nr_segs;
	item->fd = fd;
	item->name = 0;
	item->namelen = 0;
	item->segment = 0;
}

/* One more item: a buffer of its own, to a socket of its own. */
static int add(struct _test_data_batch *self, int family, int type)
{
	unsigned int i = self->nr;
	int err = sock_pair(family, type, self->pairs[i]);

	if (err)
		return err;
	self->nr++;
	item(&self->items[i], &self->segs[i], 1, self->pairs[i][0]);
	return 0;
}

static int add_tcp(struct _test_data_batch *self, unsigned int nr)
{
	int err = 0;

	while (nr-- && !err)
		err = add(self, AF_INET, SOCK_STREAM);
	return err;
}

static int send_batch(int fd, struct fbuf_send_item *items, unsigned int count,
		      __u32 flags, __u32 engines)
{
	struct fbuf_send_batch arg = {
		.size = sizeof(arg),
		.flags = flags,
		.items = (uintptr_t)items,
		.count = count,
		.engines = engines,
	};
	int ret = ioctl(fd, FBUF_IOC_SEND_BATCH, &arg);

	return ret < 0 ? -errno : ret;
}

/* Whether a buffer comes to a socket, and nothing else. */
static bool arrived(struct _test_data_batch *self, int sock, unsigned int buf)
{
	return read_full(sock, self->got, BUF_SIZE) == BUF_SIZE &&
	       pattern_differs(self->got, buf, 0, BUF_SIZE) == -1 &&
	       sock_empty(sock);
}

static bool left_alone(const struct fbuf_send_item *item)
{
	return (__u32)item->result == UNSET && item->engine == UNSET &&
	       (__u32)item->copied == UNSET;
}

/* That no reference is lost or dropped twice shows in the pool's being idle. */
static bool all_idle(struct _test_data_batch *self)
{
	return pool_free(self->pool.fd, self->names, NR_BUFS) == (int)NR_BUFS &&
	       !pool_wait_idle(self->pool.fd, NR_BUFS, DEADLINE_MS);
}

TEST_F(batch, each_to_its_own)
{
	struct fbuf_info info;
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, NR_BUFS));
	ASSERT_EQ((int)NR_BUFS,
		  send_batch(self->pool.fd, self->items, NR_BUFS, 0, 0));
	for (i = 0; i < NR_BUFS; i++) {
		EXPECT_EQ((int)BUF_SIZE, self->items[i].result);
		EXPECT_EQ(FBUF_ENGINE_PAGEREF, self->items[i].engine);
		EXPECT_EQ(0ULL, self->items[i].copied);
		EXPECT_TRUE(arrived(self, self->pairs[i][1], i));
	}
	EXPECT_TRUE(left_alone(&self->items[NR_BUFS]));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(NR_BUFS, info.sends);
	EXPECT_EQ(NR_BUFS * BUF_SIZE, info.bytes);
	EXPECT_EQ(0ULL, info.copied);
	EXPECT_TRUE(all_idle(self));
}

TEST_F(batch, in_order)
{
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, 1));
	for (i = 0; i < 4; i++)
		item(&self->items[i], &self->segs[3 - i], 1, self->pairs[0][0]);
	ASSERT_EQ(4, send_batch(self->pool.fd, self->items, 4, 0, 0));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ((ssize_t)BUF_SIZE,
			  read_full(self->pairs[0][1], self->got, BUF_SIZE));
		EXPECT_EQ(-1, pattern_differs(self->got, 3 - i, 0, BUF_SIZE));
	}
	EXPECT_TRUE(all_idle(self));
}

/* The most that there may be; each with a header of its own. */
TEST_F(batch, most_items)
{
	struct fbuf_seg *segs = calloc(FBUF_BATCH_MAX, 2 * sizeof(*segs));
	unsigned int i, *heads = calloc(FBUF_BATCH_MAX, sizeof(*heads)), buf;
	struct reader r;

	ASSERT_TRUE(segs && heads);
	ASSERT_EQ(0, add_tcp(self, 1));
	ASSERT_EQ(0, reader_start(&r, self->pairs[0][1], FBUF_BATCH_MAX * 12UL,
				  -1));
	for (i = 0; i < FBUF_BATCH_MAX; i++) {
		heads[i] = i;
		segs[2 * i] = inline_seg(&heads[i], 4);
		segs[2 * i + 1] = buf_seg(&self->pool,
					  self->names[i % NR_BUFS], i, 8);
		item(&self->items[i], &segs[2 * i], 2, self->pairs[0][0]);
	}
	/* What finds the socket full comes again; most need not. */
	for (i = 0; i < FBUF_BATCH_MAX;) {
		unsigned int n = 0;

		ASSERT_EQ((int)(FBUF_BATCH_MAX - i),
			  send_batch(self->pool.fd, &self->items[i],
				     FBUF_BATCH_MAX - i, 0, 0));
		while (i + n < FBUF_BATCH_MAX && self->items[i + n].result == 12)
			n++;
		/* Whole messages of 12 bytes fit, or the rest must wait. */
		if (i + n < FBUF_BATCH_MAX)
			ASSERT_EQ(-EAGAIN, self->items[i + n].result);
		i += n;
		relax();
		if (n)
			continue;
		ASSERT_EQ(1, poll(&(struct pollfd) {
			.fd = self->pairs[0][0], .events = POLLOUT }, 1,
			DEADLINE_MS));
	}
	ASSERT_EQ(FBUF_BATCH_MAX * 12L, reader_join(&r));
	for (i = 0; i < FBUF_BATCH_MAX; i++) {
		memcpy(&buf, r.data + i * 12, 4);
		ASSERT_EQ(i, buf);
		ASSERT_EQ(-1, pattern_differs(r.data + i * 12 + 4, i % NR_BUFS,
					      i, 8));
	}
	free(r.data);
	free(segs);
	free(heads);
	EXPECT_TRUE(all_idle(self));
}

TEST_F(batch, same_segment_again)
{
	struct fbuf_seg segs[] = {
		self->segs[0], self->segs[1], self->segs[0], self->segs[0],
	};
	static const unsigned int want[] = { 0, 1, 0, 0 };
	unsigned int i, j;

	ASSERT_EQ(0, add_tcp(self, 1));
	for (i = 0; i < 2; i++)
		item(&self->items[i], segs, 4, self->pairs[0][0]);
	ASSERT_EQ(2, send_batch(self->pool.fd, self->items, 2, 0, 0));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(4 * (int)BUF_SIZE, self->items[i].result);
		for (j = 0; j < 4; j++) {
			ASSERT_EQ((ssize_t)BUF_SIZE,
				  read_full(self->pairs[0][1], self->got,
					    BUF_SIZE));
			EXPECT_EQ(-1, pattern_differs(self->got, want[j], 0,
						      BUF_SIZE));
		}
	}
	EXPECT_TRUE(all_idle(self));
}

TEST_F(batch, full_socket)
{
	ASSERT_EQ(0, add_tcp(self, 3));
	sock_small(self->pairs[1]);
	ASSERT_LT(0, sock_fill(self->pairs[1][0]));
	ASSERT_EQ(3, send_batch(self->pool.fd, self->items, 3, 0, 0));
	EXPECT_EQ((int)BUF_SIZE, self->items[0].result);
	EXPECT_EQ(-EAGAIN, self->items[1].result);
	EXPECT_EQ(UNSET, self->items[1].engine);
	EXPECT_EQ((int)BUF_SIZE, self->items[2].result);
	EXPECT_TRUE(arrived(self, self->pairs[0][1], 0));
	EXPECT_TRUE(arrived(self, self->pairs[2][1], 2));
}

TEST_F(batch, errors_of_items)
{
	struct fbuf_seg odd[] = {
		{ .addr = (__u64)NR_BUFS * BUF_SIZE, .len = 1 },
		{ .addr = BUF_SIZE - 1, .len = 2 },
		{ .addr = 0, .len = 0 },
		{ .addr = 0, .len = 1, .flags = 1U << 2 },
		self->segs[NR_BUFS - 1],
	};
	static const struct {
		int result;
	} want[] = {
		{ BUF_SIZE }, { -EBADF }, { -ENOTSOCK }, { -EINVAL },
		{ -EINVAL }, { -EINVAL }, { -EINVAL }, { -ESTALE },
		{ -EINVAL }, { -EINVAL }, { -EFAULT }, { -EINVAL },
		{ -EINVAL }, { -EINVAL }, { -EPIPE }, { BUF_SIZE },
	};
	unsigned int i;

	ASSERT_EQ(0, add_tcp(self, ARRAY_SIZE(want)));
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[NR_BUFS - 1], 1));
	self->items[1].fd = NO_FD;
	self->items[2].fd = self->pool.fd;
	for (i = 0; i < ARRAY_SIZE(odd); i++)
		self->items[3 + i].segs = (uintptr_t)&odd[i];
	self->items[8].nr_segs = 0;
	self->items[9].nr_segs = FBUF_SEGS_MAX + 1;
	self->items[10].segs = (__u64)-4096L;
	self->items[11].namelen = FBUF_NAME_MAX + 1;
	self->items[12].name = (uintptr_t)self->got;
	self->items[13].segment = 65536;
	shutdown(self->pairs[14][0], SHUT_WR);
	ASSERT_EQ((int)ARRAY_SIZE(want),
		  send_batch(self->pool.fd, self->items, ARRAY_SIZE(want), 0,
			     0));
	for (i = 0; i < ARRAY_SIZE(want); i++) {
		EXPECT_EQ(want[i].result, self->items[i].result)
			TH_LOG("item %u", i);
		if (want[i].result < 0) {
			EXPECT_EQ(UNSET, self->items[i].engine);
			if (i != 14)
				EXPECT_TRUE(sock_empty(self->pairs[i][1]));
		} else {
			EXPECT_TRUE(arrived(self, self->pairs[i][1], i));
		}
	}
}

TEST_F(batch, bad_call)
{
	int fd = self->pool.fd;

	ASSERT_EQ(0, add_tcp(self, 1));
	EXPECT_EQ(-EINVAL, send_batch(fd, self->items, 0, 0, 0));
	EXPECT_EQ(-EINVAL, send_batch(fd, self->items, FBUF_BATCH_MAX + 1, 0,
				      0));
	EXPECT_EQ(-EINVAL, send_batch(fd, self->items, 1, 0, 1U << 31));
	EXPECT_EQ(-EINVAL, send_batch(fd, self->items, 1, FBUF_SEND_NOTIFY, 0));
	EXPECT_EQ(-EOPNOTSUPP, send_batch(fd, self->items, 1, FBUF_SEND_SECURED,
					  0));
	fd = pool_share(self->pool.fd, ALL_RIGHTS & ~FBUF_RIGHT_SEND, 0, NULL);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EACCES, send_batch(fd, self->items, 1, 0, 0));
	close(fd);
	EXPECT_TRUE(left_alone(&self->items[0]));
	EXPECT_TRUE(sock_empty(self->pairs[0][1]));
}

/* The last bytes of a page that has no next one. */
static struct fbuf_send_item *at_the_edge(unsigned int nr)
{
	char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || munmap(p + PAGE, PAGE))
		return NULL;
	return (struct fbuf_send_item *)(p + PAGE) - nr;
}

TEST_F(batch, items_that_cannot_be_read)
{
	struct fbuf_send_item *items = at_the_edge(2);

	ASSERT_NE(NULL, items);
	ASSERT_EQ(0, add_tcp(self, 3));
	memcpy(items, self->items, 2 * sizeof(*items));
	/* It comes to two of them. */
	EXPECT_EQ(2, send_batch(self->pool.fd, items, 3, 0, 0));
	EXPECT_EQ((int)BUF_SIZE, items[0].result);
	EXPECT_EQ((int)BUF_SIZE, items[1].result);
	EXPECT_TRUE(arrived(self, self->pairs[0][1], 0));
	EXPECT_TRUE(arrived(self, self->pairs[1][1], 1));
	EXPECT_EQ(-EFAULT, send_batch(self->pool.fd, items + 2, 1, 0, 0));
}

TEST_F(batch, results_that_cannot_be_written)
{
	struct fbuf_send_item *items = at_the_edge(2);

	ASSERT_NE(NULL, items);
	ASSERT_EQ(0, add_tcp(self, 2));
	memcpy(items, self->items, 2 * sizeof(*items));
	ASSERT_EQ(0, mprotect((char *)(items + 2) - PAGE, PAGE, PROT_READ));
	EXPECT_EQ(2, send_batch(self->pool.fd, items, 2, 0, 0));
	EXPECT_TRUE(left_alone(&items[0]));
	EXPECT_TRUE(arrived(self, self->pairs[0][1], 0));
	EXPECT_TRUE(arrived(self, self->pairs[1][1], 1));
}

TEST_F(batch, copies_are_counted)
{
	struct fbuf_info info;

	ASSERT_EQ(0, add_tcp(self, 2));
	ASSERT_EQ(2, send_batch(self->pool.fd, self->items, 2, 0,
				FBUF_ENGINE_COPY));
	EXPECT_EQ(FBUF_ENGINE_COPY, self->items[1].engine);
	EXPECT_EQ(BUF_SIZE, self->items[1].copied);
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(2 * BUF_SIZE, info.copied);
	EXPECT_TRUE(arrived(self, self->pairs[1][1], 1));
}

TEST_F(batch, notices)
{
	struct fbuf_ring_entry entry;
	struct ring ring;
	unsigned int i, seen = 0;

	ASSERT_EQ(0, ring_make(&ring, self->pool.fd, 0, 8, 0));
	ASSERT_EQ(0, add_tcp(self, 4));
	ASSERT_EQ(4, send_batch(self->pool.fd, self->items, 4, FBUF_SEND_NOTIFY,
				0));
	for (i = 0; i < 4; i++)
		EXPECT_TRUE(arrived(self, self->pairs[i][1], i));
	for (i = 0; i < 4; i++) {
		ASSERT_TRUE(ring_wait(&ring, &entry, DEADLINE_MS));
		EXPECT_EQ(FBUF_RING_IDLE, entry.type);
		seen |= 1U << FBUF_NAME_INDEX(entry.name);
	}
	for (i = 0; i < 4; i++)
		EXPECT_TRUE(seen & (1U << FBUF_NAME_INDEX(self->names[i])));
	ring_unmake(&ring);
}

/* A contiguous run that many packets have parts of, and its end the last one. */
TEST_F(batch, run_of_many_packets)
{
	const size_t size = 1 << 20;
	struct fbuf_seg segs[2];
	struct reader r;
	struct pool pool;
	__u64 names[2];
	ssize_t sent = 0, n;

	ASSERT_EQ(0, pool_make(&pool, size, 2));
	ASSERT_EQ(2, pool_alloc(pool.fd, names, 2));
	pattern_fill(buf_addr(&pool, names[0]), 1, 0, size);
	pattern_fill(buf_addr(&pool, names[1]), 1, size, size);
	ASSERT_EQ(0, add_tcp(self, 1));
	ASSERT_EQ(0, reader_start(&r, self->pairs[0][1], 2 * size, -1));
	while (sent < 2 * (ssize_t)size) {
		size_t at = sent % size;

		segs[0] = buf_seg(&pool, names[sent / size], at, size - at);
		segs[1] = buf_seg(&pool, names[1], 0, size);
		n = pool_send(pool.fd, self->pairs[0][0], segs,
			      sent < (ssize_t)size ? 2 : 1, 0, 0, NULL);
		ASSERT_LT(0, n);
		sent += n;
	}
	ASSERT_EQ(2 * (ssize_t)size, reader_join(&r));
	EXPECT_EQ(-1, pattern_differs(r.data, 1, 0, 2 * size));
	free(r.data);
	EXPECT_EQ(2, pool_free(pool.fd, names, 2));
	EXPECT_EQ(0, pool_wait_idle(pool.fd, 2, DEADLINE_MS));
	pool_unmake(&pool);
}

/*
 * Short segments, of which there are more than a packet has frags, are copied
 * together; unless that is forbidden, or a notice asked for.
 */

#define MANY	40U

FIXTURE(shorts)
{
	struct pool pool;
	__u64 names[MANY];
	struct fbuf_seg segs[MANY];
	bool named;
	int sock[2];
	struct sent sent;
	__u8 got[MANY * 1024];
};

FIXTURE_VARIANT(shorts)
{
	bool named;
};

FIXTURE_VARIANT_ADD(shorts, by_offset)
{
	.named = false,
};

FIXTURE_VARIANT_ADD(shorts, by_name)
{
	.named = true,
};

FIXTURE_SETUP(shorts)
{
	unsigned int i;

	self->named = variant->named;
	ASSERT_EQ(0, pool_make(&self->pool, 2 * PAGE, MANY));
	ASSERT_EQ((int)MANY, pool_alloc(self->pool.fd, self->names, MANY));
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
	for (i = 0; i < MANY; i++)
		pattern_fill(buf_addr(&self->pool, self->names[i]), i, 0,
			     2 * PAGE);
}

FIXTURE_TEARDOWN(shorts)
{
	close(self->sock[0]);
	close(self->sock[1]);
	pool_unmake(&self->pool);
}

static struct fbuf_seg short_seg(struct _test_data_shorts *self,
				 unsigned int buf, size_t offset, size_t len)
{
	return self->named ? named_seg(self->names[buf], offset, len) :
			     buf_seg(&self->pool, self->names[buf], offset, len);
}

static ssize_t send_shorts(struct _test_data_shorts *self, unsigned int nr,
			   size_t len, __u32 flags, __u32 engines)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		self->segs[i] = short_seg(self, i, 100 + i, len);
	return pool_send(self->pool.fd, self->sock[0], self->segs, nr, flags,
			 engines, &self->sent);
}

static bool shorts_read(struct _test_data_shorts *self, int sock,
			unsigned int nr, size_t len)
{
	unsigned int i;

	if (read_full(sock, self->got, nr * len) != (ssize_t)(nr * len))
		return false;
	for (i = 0; i < nr; i++) {
		if (pattern_differs(self->got + i * len, i, 100 + i, len) != -1)
			return false;
	}
	return true;
}

static bool shorts_come(struct _test_data_shorts *self, unsigned int nr,
			size_t len)
{
	return shorts_read(self, self->sock[1], nr, len) &&
	       sock_empty(self->sock[1]);
}

TEST_F(shorts, many_are_copied)
{
	struct fbuf_info info;

	ASSERT_EQ(MANY * 512L, send_shorts(self, MANY, 512, 0, 0));
	EXPECT_EQ(FBUF_ENGINE_PAGEREF, self->sent.engine);
	EXPECT_EQ(MANY * 512ULL, self->sent.copied);
	/* Nothing is in flight: they can be changed at once. */
	EXPECT_EQ((int)MANY, pool_free(self->pool.fd, self->names, MANY));
	ASSERT_EQ(0, pool_info(self->pool.fd, &info));
	EXPECT_EQ(0U, info.nr_in_flight);
	EXPECT_EQ(MANY * 512ULL, info.copied);
	memset(self->pool.map, 0xff, self->pool.size);
	EXPECT_TRUE(shorts_come(self, MANY, 512));
}

TEST_F(shorts, few_are_not)
{
	ASSERT_EQ(17 * 64L, send_shorts(self, 17, 64, 0, 0));
	EXPECT_EQ(0ULL, self->sent.copied);
	EXPECT_TRUE(shorts_come(self, 17, 64));
}

TEST_F(shorts, longer_ones_are_not)
{
	ASSERT_EQ(MANY * 513L, send_shorts(self, MANY, 513, 0, 0));
	EXPECT_EQ(0ULL, self->sent.copied);
	EXPECT_TRUE(shorts_come(self, MANY, 513));
}

/* One byte longer than those that are copied, between these. */
TEST_F(shorts, mixed)
{
	unsigned int i;
	size_t len, sum = 0;

	for (i = 0; i < MANY; i++) {
		len = i % 3 ? 512 : 513;
		self->segs[i] = short_seg(self, i, 0, len);
		sum += len;
	}
	ASSERT_EQ((ssize_t)sum, pool_send(self->pool.fd, self->sock[0],
					  self->segs, MANY, 0, 0, &self->sent));
	EXPECT_EQ(26 * 512ULL, self->sent.copied);
	ASSERT_EQ((ssize_t)sum, read_full(self->sock[1], self->got, sum));
	for (i = 0, sum = 0; i < MANY; i++, sum += len) {
		len = i % 3 ? 512 : 513;
		EXPECT_EQ(-1, pattern_differs(self->got + sum, i, 0, len));
	}
	EXPECT_EQ((int)MANY, pool_free(self->pool.fd, self->names, MANY));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, MANY, DEADLINE_MS));
}

/*
 * A task copies to 32 KiB of its own, from where it was on. Those of others, who
 * have sent before, are beside it: that nothing is written there, they tell.
 */
#define NR_TASKS	8U
#define TASK_LEN	500U

struct task {
	pthread_t thread;
	pthread_barrier_t *turn;
	struct _test_data_shorts *test;
	int sock[2];
	ssize_t sent[2];
};

static void *task_run(void *arg)
{
	struct task *t = arg;
	int i;

	for (i = 0; i < 2; i++) {
		pthread_barrier_wait(t->turn);
		t->sent[i] = pool_send(t->test->pool.fd, t->sock[0],
				       t->test->segs, MANY, 0, 0, NULL);
	}
	/* Their memory is theirs until all have sent. */
	pthread_barrier_wait(t->turn);
	return NULL;
}

TEST_F(shorts, copies_stay_where_they_belong)
{
	struct task task[NR_TASKS];
	pthread_barrier_t turn;
	unsigned int i;
	int j;

	ASSERT_EQ(0, pthread_barrier_init(&turn, NULL, NR_TASKS));
	for (i = 0; i < MANY; i++)
		self->segs[i] = short_seg(self, i, 100 + i, TASK_LEN);
	for (i = 0; i < NR_TASKS; i++) {
		task[i].turn = &turn;
		task[i].test = self;
		ASSERT_EQ(0, tcp_pair(AF_INET, task[i].sock));
		ASSERT_EQ(0, pthread_create(&task[i].thread, NULL, task_run,
					    &task[i]));
	}
	for (i = 0; i < NR_TASKS; i++)
		pthread_join(task[i].thread, NULL);
	for (i = 0; i < NR_TASKS; i++) {
		for (j = 0; j < 2; j++) {
			EXPECT_EQ((ssize_t)(MANY * TASK_LEN), task[i].sent[j]);
			EXPECT_TRUE(shorts_read(self, task[i].sock[1], MANY,
						TASK_LEN));
		}
		close(task[i].sock[0]);
		close(task[i].sock[1]);
	}
}

TEST_F(shorts, forbidden)
{
	ASSERT_EQ(MANY * 64L, send_shorts(self, MANY, 64, 0,
					  FBUF_ENGINE_PAGEREF));
	EXPECT_EQ(0ULL, self->sent.copied);
	EXPECT_TRUE(shorts_come(self, MANY, 64));
}

TEST_F(shorts, copied_by_the_engine_anyway)
{
	ASSERT_EQ(MANY * 64L, send_shorts(self, MANY, 64, 0, FBUF_ENGINE_COPY));
	EXPECT_EQ(FBUF_ENGINE_COPY, self->sent.engine);
	EXPECT_EQ(MANY * 64ULL, self->sent.copied);
	EXPECT_TRUE(shorts_come(self, MANY, 64));
}

TEST_F(shorts, notices_come)
{
	struct fbuf_ring_entry entry;
	struct ring ring;
	unsigned int i;

	ASSERT_EQ(0, ring_make(&ring, self->pool.fd, 0, 64, 0));
	ASSERT_EQ(MANY * 64L, send_shorts(self, MANY, 64, FBUF_SEND_NOTIFY, 0));
	EXPECT_EQ(0ULL, self->sent.copied);
	EXPECT_TRUE(shorts_come(self, MANY, 64));
	for (i = 0; i < MANY; i++)
		ASSERT_TRUE(ring_wait(&ring, &entry, DEADLINE_MS));
	ring_unmake(&ring);
}

TEST_F(shorts, not_held)
{
	ASSERT_EQ(1, pool_free(self->pool.fd, &self->names[30], 1));
	EXPECT_EQ(-ESTALE, send_shorts(self, MANY, 64, 0, 0));
	EXPECT_TRUE(sock_empty(self->sock[1]));
	EXPECT_EQ(30, pool_free(self->pool.fd, self->names, 30));
	EXPECT_EQ(9, pool_free(self->pool.fd, &self->names[31], 9));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, MANY, DEADLINE_MS));
}

/* More than a packet has frags; they are looked at together. */
#define NR_64	30U

/* Sends @segs, of 64 bytes each, of which some are not to be copied. */
static bool send_64(struct _test_data_shorts *self, unsigned int copied)
{
	return pool_send(self->pool.fd, self->sock[0], self->segs, NR_64, 0, 0,
			 &self->sent) == NR_64 * 64L &&
	       self->sent.copied == copied * 64ULL &&
	       read_full(self->sock[1], self->got, NR_64 * 64) == NR_64 * 64L;
}

/* Those that adjoin are one run, wherever they are, and are not copied. */
TEST_F(shorts, adjoining)
{
	unsigned int at, run, i, buf;

	for (run = 2; run < 5; run++) {
		for (at = 0; at + run <= NR_64; at++) {
			for (i = 0; i < NR_64; i++) {
				bool in = i >= at && i < at + run;

				buf = in ? at : i;
				self->segs[i] = short_seg(self, buf,
							  64 * (i - buf), 64);
			}
			ASSERT_TRUE(send_64(self, NR_64 - run));
			for (i = 0; i < NR_64; i++) {
				buf = i >= at && i < at + run ? at : i;
				ASSERT_EQ(-1, pattern_differs(self->got + i * 64,
							      buf, 64 * (i - buf),
							      64));
			}
		}
	}
}

/* Across pages, at the end of a buffer, and backwards. */
TEST_F(shorts, wherever_in_the_buffer)
{
	const size_t at[] = { PAGE - 32, 2 * PAGE - 64, PAGE, 0 };
	unsigned int i;

	for (i = 0; i < NR_64; i++)
		self->segs[i] = short_seg(self, NR_64 - 1 - i, at[i % 4], 64);
	ASSERT_TRUE(send_64(self, NR_64));
	for (i = 0; i < NR_64; i++)
		EXPECT_EQ(-1, pattern_differs(self->got + i * 64, NR_64 - 1 - i,
					      at[i % 4], 64));
}

/* Nothing is sent if one of them is not right, wherever it is. */
TEST_F(shorts, one_that_is_wrong)
{
	static const unsigned int wheres[] = { 0, 1, 15, 16, NR_64 - 1 };
	unsigned int where;
	__u64 stale;
	unsigned int i;

	stale = self->names[7];
	ASSERT_EQ(1, pool_free(self->pool.fd, &stale, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->names[7], 1));
	for (i = 0; i < ARRAY_SIZE(wheres); i++) {
		where = wheres[i];
		ASSERT_EQ(NR_64 * 64L, send_shorts(self, NR_64, 64, 0, 0));
		ASSERT_EQ(NR_64 * 64L, read_full(self->sock[1], self->got,
						 NR_64 * 64));
		self->segs[where] = short_seg(self, where, 2 * PAGE - 32, 64);
		EXPECT_FALSE(send_64(self, NR_64));
		self->segs[where] = short_seg(self, where, 0, 0);
		EXPECT_FALSE(send_64(self, NR_64));
		self->segs[where] = named_seg(FBUF_NAME(MANY, 1), 0, 64);
		EXPECT_FALSE(send_64(self, NR_64));
		self->segs[where] = named_seg(stale, 0, 64);
		EXPECT_FALSE(send_64(self, NR_64));
		self->segs[where] = named_seg(self->names[7], 2 * PAGE, 64);
		EXPECT_FALSE(send_64(self, NR_64));
		EXPECT_TRUE(sock_empty(self->sock[1]));
	}
}

/* Not by the same call either. */
TEST_F(shorts, few_after_many_are_not)
{
	static const unsigned int nr[] = { MANY, 3 };
	struct fbuf_send_item items[ARRAY_SIZE(nr)] = { 0 };
	struct fbuf_send_batch arg = {
		.size = sizeof(arg),
		.items = (uintptr_t)items,
		.count = ARRAY_SIZE(nr),
	};
	unsigned int i;

	for (i = 0; i < MANY; i++)
		self->segs[i] = short_seg(self, i, 100 + i, 64);
	for (i = 0; i < ARRAY_SIZE(nr); i++) {
		items[i].segs = (uintptr_t)self->segs;
		items[i].nr_segs = nr[i];
		items[i].fd = self->sock[0];
	}
	ASSERT_EQ(2, ioctl(self->pool.fd, FBUF_IOC_SEND_BATCH, &arg));
	EXPECT_EQ(MANY * 64ULL, items[0].copied);
	EXPECT_EQ(0ULL, items[1].copied);
	for (i = 0; i < ARRAY_SIZE(nr); i++) {
		EXPECT_EQ(nr[i] * 64LL, items[i].result);
		EXPECT_TRUE(shorts_read(self, self->sock[1], nr[i], 64));
	}
}

/* What an earlier call left where this one looks is none of its segments. */
TEST_F(shorts, nothing_of_an_earlier_call)
{
	static const unsigned int nr[] = { 2, 18 };
	struct fbuf_seg segs[18];
	unsigned int i, j;
	ssize_t len;

	for (i = 0; i < ARRAY_SIZE(nr); i++) {
		for (j = 1, len = 10; j < nr[i]; j++, len += 64)
			segs[j] = short_seg(self, j, 0, 64);
		segs[0] = inline_seg("0123456789", 10);
		/* All but the last are good. */
		for (j = 0; j < 32; j++)
			self->segs[j] = short_seg(self, j, 100 + j, 64);
		self->segs[31].len = 0;
		EXPECT_EQ(-EINVAL, pool_send(self->pool.fd, self->sock[0],
					     self->segs, 32, 0, 0, NULL));
		ASSERT_EQ(len, pool_send(self->pool.fd, self->sock[0], segs,
					 nr[i], 0, 0, NULL));
		EXPECT_EQ(len, read_full(self->sock[1], self->got, len));
		EXPECT_TRUE(sock_empty(self->sock[1]));
	}
}

/* UDP: datagrams to addresses, or cut from one gather. */

FIXTURE(udp)
{
	struct pool pool;
	__u64 name;
	struct fbuf_seg seg;
	int fd[2];
	__u8 got[65536];
};

FIXTURE_VARIANT(udp)
{
	int family;
};

FIXTURE_VARIANT_ADD(udp, ipv4)
{
	.family = AF_INET,
};

FIXTURE_VARIANT_ADD(udp, ipv6)
{
	.family = AF_INET6,
};

FIXTURE_SETUP(udp)
{
	int size = 8 << 20;

	ASSERT_EQ(0, pool_make(&self->pool, 65536, 1));
	ASSERT_EQ(1, pool_alloc(self->pool.fd, &self->name, 1));
	pattern_fill(self->pool.map, 7, 0, 65536);
	ASSERT_EQ(0, udp_pair(variant->family, self->fd));
	setsockopt(self->fd[1], SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
}

FIXTURE_TEARDOWN(udp)
{
	pool_unmake(&self->pool);
	close(self->fd[0]);
	close(self->fd[1]);
}

static int send_segments(struct _test_data_udp *self, size_t len, __u32 segment,
			 struct fbuf_send *arg)
{
	int ret;

	self->seg = buf_seg(&self->pool, self->name, 0, len);
	*arg = (struct fbuf_send) {
		.size = sizeof(*arg),
		.flags = FBUF_SEND_DONTWAIT,
		.segs = (uintptr_t)&self->seg,
		.nr_segs = 1,
		.fd = self->fd[0],
		.segment = segment,
	};
	ret = ioctl(self->pool.fd, FBUF_IOC_SEND, arg);
	return ret < 0 ? -errno : ret;
}

static bool datagrams_come(struct _test_data_udp *self, size_t len,
			   size_t segment)
{
	size_t pos, n;

	for (pos = 0; pos < len; pos += n) {
		struct pollfd p = { .fd = self->fd[1], .events = POLLIN };

		n = len - pos < segment ? len - pos : segment;
		if (poll(&p, 1, DEADLINE_MS) != 1 ||
		    recv(self->fd[1], self->got, sizeof(self->got), 0) !=
		    (ssize_t)n ||
		    pattern_differs(self->got, 7, pos, n) != -1)
			return false;
	}
	return sock_empty(self->fd[1]);
}

TEST_F(udp, cut_into_datagrams)
{
	static const struct {
		size_t len;
		__u32 segment;
	} cuts[] = {
		{ 10300, 1000 }, { 3000, 1000 }, { 999, 1000 }, { 60000, 1400 },
		{ 64, 1 },
	};
	struct fbuf_send arg;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cuts); i++) {
		ASSERT_EQ((int)cuts[i].len,
			  send_segments(self, cuts[i].len, cuts[i].segment,
					&arg))
			TH_LOG("%zu by %u", cuts[i].len, cuts[i].segment);
		EXPECT_EQ(FBUF_ENGINE_PAGEREF, arg.engine);
		EXPECT_EQ(0ULL, arg.copied);
		EXPECT_TRUE(datagrams_come(self, cuts[i].len, cuts[i].segment))
			TH_LOG("%zu by %u", cuts[i].len, cuts[i].segment);
	}
}

TEST_F(udp, cuts_that_cannot_be)
{
	struct fbuf_send arg;
	int tcp[2];

	EXPECT_EQ(-EINVAL, send_segments(self, 1000, 65536, &arg));
	/* More datagrams than one call may make. */
	EXPECT_EQ(-EINVAL, send_segments(self, 2000, 1, &arg));
	EXPECT_TRUE(sock_empty(self->fd[1]));
	close(self->fd[0]);
	close(self->fd[1]);
	ASSERT_EQ(0, tcp_pair(variant->family, tcp));
	memcpy(self->fd, tcp, sizeof(tcp));
	EXPECT_EQ(-EOPNOTSUPP, send_segments(self, 1000, 100, &arg));
	EXPECT_TRUE(sock_empty(self->fd[1]));
	/* The pages are not kept by what was refused. */
	EXPECT_EQ(1, pool_free(self->pool.fd, &self->name, 1));
	EXPECT_EQ(0, pool_wait_idle(self->pool.fd, 1, DEADLINE_MS));
}

TEST_F(udp, batch_to_addresses)
{
	struct fbuf_send_item items[3] = {};
	struct sockaddr_storage name;
	struct fbuf_seg segs[3];
	socklen_t len = variant->family == AF_INET ?
			sizeof(struct sockaddr_in) :
			sizeof(struct sockaddr_in6);
	unsigned int i;
	int fd;

	/* Neither of them is connected. */
	fd = socket(variant->family, SOCK_DGRAM, 0);
	close(self->fd[1]);
	self->fd[1] = socket(variant->family, SOCK_DGRAM, 0);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, self->fd[1]);
	memset(&name, 0, sizeof(name));
	name.ss_family = variant->family;
	if (variant->family == AF_INET)
		((struct sockaddr_in *)&name)->sin_addr.s_addr =
			htonl(INADDR_LOOPBACK);
	else
		((struct sockaddr_in6 *)&name)->sin6_addr = in6addr_loopback;
	ASSERT_EQ(0, bind(self->fd[1], (struct sockaddr *)&name, len));
	ASSERT_EQ(0, getsockname(self->fd[1], (struct sockaddr *)&name, &len));
	for (i = 0; i < 3; i++) {
		segs[i] = buf_seg(&self->pool, self->name, i * 2000, 2000);
		item(&items[i], &segs[i], 1, fd);
		items[i].name = (uintptr_t)&name;
		items[i].namelen = len;
		items[i].segment = 500;
	}
	items[1].name = (__u64)-4096L;
	ASSERT_EQ(3, send_batch(self->pool.fd, items, 3, 0, 0));
	EXPECT_EQ(2000, items[0].result);
	EXPECT_EQ(-EFAULT, items[1].result);
	EXPECT_EQ(2000, items[2].result);
	for (i = 0; i < 8; i++) {
		ASSERT_EQ(500, recv(self->fd[1], self->got, sizeof(self->got),
				    0));
		EXPECT_EQ(-1, pattern_differs(self->got, 7,
					      i * 500 + (i < 4 ? 0 : 2000),
					      500));
	}
	EXPECT_TRUE(sock_empty(self->fd[1]));
	close(fd);
}

int main(int argc, char **argv)
{
	need_device(argc, argv);
	return test_harness_run(argc, argv);
}
