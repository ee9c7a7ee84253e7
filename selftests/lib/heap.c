// SPDX-License-Identifier: GPL-2.0
/*
 * The library's heap with a kernel under it: memory that is in flight is not used
 * again, whatever the program does, and all of it comes back.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <fbuf/backend.h>
#include <fbuf/heap.h>

#include "kselftest_harness.h"
#include "util.h"

#define BUF_SIZE	((size_t)65536)
#define NR_BUFS		32U
#define POOL_SIZE	(BUF_SIZE * NR_BUFS)
#define LONG_MS		20000

FIXTURE(heap)
{
	struct fbuf_pool *pool;
	struct fbuf_heap *heap;
	struct fbuf_gather *g;
	int sock[2];
};

FIXTURE_VARIANT(heap)
{
	unsigned int flags;
	bool user;		/* without the module */
};

FIXTURE_VARIANT_ADD(heap, plain) { .flags = 0 };

FIXTURE_VARIANT_ADD(heap, secured) { .flags = FBUF_POOL_SECURED };

FIXTURE_VARIANT_ADD(heap, snapshot) { .flags = FBUF_POOL_SNAPSHOT };

FIXTURE_VARIANT_ADD(heap, user) { .user = true };

FIXTURE_VARIANT_ADD(heap, user_secured)
{
	.flags = FBUF_POOL_SECURED, .user = true,
};

FIXTURE_VARIANT_ADD(heap, user_snapshot)
{
	.flags = FBUF_POOL_SNAPSHOT, .user = true,
};

FIXTURE_SETUP(heap)
{
	struct fbuf_pool_options opt = FBUF_POOL_OPTIONS_INIT;

	opt.buf_size = BUF_SIZE;
	opt.nr_bufs = NR_BUFS;
	opt.flags = variant->flags;
	if (!variant->user && only_user())
		SKIP(return, "without the module");
	ASSERT_EQ(0, fbuf_backend_set(variant->user ? FBUF_BACKEND_USER :
						      FBUF_BACKEND_MODULE));
	ASSERT_EQ(0, fbuf_pool_create_with(&self->pool, &opt));
	ASSERT_EQ(0, fbuf_heap_create(&self->heap, self->pool, 0));
	self->g = fbuf_gather_new(self->pool);
	ASSERT_NE(NULL, self->g);
	ASSERT_EQ(0, tcp_pair(AF_INET, self->sock));
}

FIXTURE_TEARDOWN(heap)
{
	fbuf_gather_destroy(self->g);
	fbuf_heap_destroy(self->heap);
	fbuf_pool_close(self->pool);
	close(self->sock[0]);
	close(self->sock[1]);
}

/* Put what fits of an object into the socket, by reference; returns how much. */
static ssize_t send_some(struct _test_data_heap *self, const void *p,
			 size_t len)
{
	struct fbuf_result result;
	ssize_t ret;

	fbuf_gather_reset(self->g);
	ret = fbuf_gather_append_mem(self->g, self->heap, p, len);
	if (ret < 0)
		return ret;
	ret = fbuf_send(self->g, self->sock[0], FBUF_SEND_DONTWAIT, &result);
	if (fbuf_pool_backend(fbuf_heap_pool(self->heap)) == FBUF_BACKEND_USER)
		return ret;
	return ret > 0 && result.copied ? -EIO : ret;
}

/* Whether the peer gets the pattern as it was sent. */
static bool peer_gets(int sock, unsigned int seed, size_t len)
{
	__u8 *buf = malloc(len);
	bool same = buf && read_full(sock, buf, len) == (ssize_t)len &&
		    pattern_differs(buf, seed, 0, len) == -1;

	free(buf);
	return same;
}

/* Take all there is in pieces; true if one of them has a byte of p's. */
static bool all_touch(struct fbuf_heap *heap, const char *p, size_t len,
		      size_t piece)
{
	const unsigned int max = POOL_SIZE / piece + 1;
	char **all = calloc(max, sizeof(*all));
	bool touches = false;
	unsigned int nr = 0;

	if (!all)
		return false;
	while (nr < max && (all[nr] = fbuf_heap_alloc(heap, piece))) {
		touches |= all[nr] < p + len && p < all[nr] + piece;
		nr++;
	}
	while (nr)
		fbuf_heap_free(heap, all[--nr]);
	free(all);
	return touches;
}

/* Everything is one piece again. */
static bool all_is_back(struct fbuf_heap *heap)
{
	void *all;

	while (fbuf_heap_wait(heap, LONG_MS) > 0)
		;
	all = fbuf_heap_alloc(heap, POOL_SIZE);
	fbuf_heap_free(heap, all);
	return all;
}

static void try_in_flight(struct __test_metadata *_metadata,
			  struct _test_data_heap *self, bool waits, size_t len)
{
	struct fbuf_heap_stats s;
	ssize_t taken;
	char *p;

	p = fbuf_heap_alloc(self->heap, len);
	ASSERT_NE(NULL, p);
	pattern_fill(p, len, 0, len);
	taken = send_some(self, p, len);
	ASSERT_LT(0, taken);
	fbuf_heap_free(self->heap, p);
	ASSERT_EQ(0, fbuf_heap_stats(self->heap, &s));
	EXPECT_EQ(waits, s.waiting >= len);
	/* Nobody reads: then it is not to be had. */
	EXPECT_EQ(!waits, all_touch(self->heap, p, len, len));
	EXPECT_EQ(!waits, all_touch(self->heap, p, len, 16));
	if (waits)
		EXPECT_EQ(-ETIMEDOUT, fbuf_heap_wait(self->heap, 50));
	EXPECT_TRUE(peer_gets(self->sock[1], len, taken));
	if (waits)
		EXPECT_EQ(1, fbuf_heap_wait(self->heap, LONG_MS));
	EXPECT_TRUE(all_touch(self->heap, p, len, 16));
}

TEST_F(heap, unread_is_not_used_again)
{
	const bool waits = !(variant->flags & FBUF_POOL_SNAPSHOT);

	if (variant->user)
		SKIP(return, "nothing stays in flight");
	try_in_flight(_metadata, self, waits, 100);
	try_in_flight(_metadata, self, waits, 3000);
	try_in_flight(_metadata, self, waits, 40000);
	try_in_flight(_metadata, self, waits, 200000);
	EXPECT_TRUE(all_is_back(self->heap));
}

/* What overwrites it at once, where it need not wait, is not what the peer gets. */
TEST_F(heap, reuse_is_not_seen)
{
	unsigned int i;
	ssize_t taken;
	char *p;

	if (!(variant->flags & FBUF_POOL_SNAPSHOT))
		SKIP(return, "memory in flight waits here");
	for (i = 0; i < 50; i++) {
		p = fbuf_heap_alloc(self->heap, 10000);
		ASSERT_NE(NULL, p);
		pattern_fill(p, i, 0, 10000);
		taken = send_some(self, p, 10000);
		ASSERT_LT(0, taken);
		fbuf_heap_free(self->heap, p);
		EXPECT_EQ(p, fbuf_heap_alloc(self->heap, 10000));
		memset(p, 0xee, 10000);
		fbuf_heap_free(self->heap, p);
		EXPECT_TRUE(peer_gets(self->sock[1], i, taken));
	}
}

/* Small objects of one buffer: one lives, one is in flight, others come and go. */
TEST_F(heap, neighbours_in_one_buffer)
{
	char *lives, *flies, *other;
	unsigned int i;

	if (variant->flags & FBUF_POOL_SECURED)
		SKIP(return, "a write to such a buffer waits");
	lives = fbuf_heap_alloc(self->heap, 16);
	flies = fbuf_heap_alloc(self->heap, 16);
	ASSERT_NE(NULL, lives);
	ASSERT_NE(NULL, flies);
	ASSERT_EQ((uintptr_t)lives / BUF_SIZE, (uintptr_t)flies / BUF_SIZE);
	memset(lives, 'a', 16);
	pattern_fill(flies, 1, 0, 16);
	ASSERT_EQ(16, send_some(self, flies, 16));
	fbuf_heap_free(self->heap, flies);
	for (i = 0; i < 1000; i++) {
		other = fbuf_heap_alloc(self->heap, 16);
		ASSERT_NE(NULL, other);
		if (!variant->user && !(variant->flags & FBUF_POOL_SNAPSHOT))
			ASSERT_NE(flies, other);
		memset(other, i, 16);
		fbuf_heap_free(self->heap, other);
		memset(lives, i, 16);
	}
	EXPECT_TRUE(peer_gets(self->sock[1], 1, 16));
	fbuf_heap_free(self->heap, lives);
	EXPECT_TRUE(all_is_back(self->heap));
}

/* Whoever waits gets what the first peer that reads lets go of. */
static void *read_later(void *arg)
{
	unsigned int i;

	for (i = 0; i < 20; i++)
		relax();
	return (void *)(uintptr_t)peer_gets(*(int *)arg, 1, 5000);
}

TEST_F(heap, wait_ends_when_the_peer_reads)
{
	pthread_t thread;
	void *same;
	char *p;

	if (variant->user)
		SKIP(return, "nothing stays in flight");
	if (variant->flags & FBUF_POOL_SNAPSHOT)
		SKIP(return, "nothing waits here");
	p = fbuf_heap_alloc(self->heap, 5000);
	ASSERT_NE(NULL, p);
	pattern_fill(p, 1, 0, 5000);
	ASSERT_EQ(5000, send_some(self, p, 5000));
	fbuf_heap_free(self->heap, p);
	ASSERT_EQ(NULL, fbuf_heap_alloc(self->heap, POOL_SIZE));
	ASSERT_EQ(0, pthread_create(&thread, NULL, read_later,
				    &self->sock[1]));
	EXPECT_EQ(1, fbuf_heap_wait(self->heap, LONG_MS));
	pthread_join(thread, &same);
	EXPECT_NE(NULL, same);
	EXPECT_TRUE(all_is_back(self->heap));
}

TEST_F(heap, holds_the_whole_pool)
{
	struct fbuf_heap *heap = NULL;
	struct fbuf_info info;
	uint64_t name;
	char *p, data[5000];

	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(NR_BUFS, info.holds);
	EXPECT_EQ(-ENOBUFS, fbuf_heap_create(&heap, self->pool, 0));
	p = fbuf_heap_alloc(self->heap, 5000);
	ASSERT_NE(NULL, p);
	ASSERT_EQ(5000, send_some(self, p, 5000));
	fbuf_heap_destroy(self->heap);
	self->heap = NULL;
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(0, info.holds);
	/* One buffer is in flight, and then another held by somebody else. */
	if (!variant->user)
		EXPECT_EQ(-EAGAIN, fbuf_heap_create(&heap, self->pool, 0));
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(0, info.holds);
	ASSERT_EQ(1, fbuf_alloc(self->pool, &name, 1, 0));
	EXPECT_EQ(5000, read_full(self->sock[1], data, sizeof(data)));
	EXPECT_EQ(-ENOBUFS, fbuf_heap_create(&heap, self->pool, 0));
	EXPECT_EQ(NULL, heap);
	ASSERT_EQ(0, fbuf_free(self->pool, &name, 1));
	EXPECT_TRUE(wait_for(!fbuf_heap_create(&self->heap, self->pool, 0),
			     LONG_MS));
}

/* A heap with a pool of its own, in place of the fixture's. */
#define LIMIT		((size_t)16 << 20)
#define OBJECTS		200U
#define OBJECT		(LIMIT / OBJECTS / 2)

static int grow_heap(struct _test_data_heap *self, unsigned int pool_flags,
		     size_t keep)
{
	const struct fbuf_heap_options opt = {
		.limit = LIMIT, .pool_flags = pool_flags, .keep = keep,
	};
	int ret;

	fbuf_gather_destroy(self->g);
	self->g = NULL;
	fbuf_heap_destroy(self->heap);
	self->heap = NULL;
	fbuf_pool_close(self->pool);
	self->pool = NULL;
	ret = fbuf_heap_create_with(&self->heap, &opt);
	if (ret < 0)
		return ret;
	self->g = fbuf_gather_new(fbuf_heap_pool(self->heap));
	return self->g ? 0 : -ENOMEM;
}

/* Bytes that have memory; as the heap believes, no less. */
static size_t resident(struct __test_metadata *_metadata,
		       struct _test_data_heap *self)
{
	struct fbuf_heap_stats s = { };
	struct fbuf_info info = { };

	EXPECT_EQ(0, fbuf_heap_stats(self->heap, &s));
	EXPECT_EQ(0, fbuf_pool_info(fbuf_heap_pool(self->heap), &info));
	EXPECT_GE(s.resident, info.resident);
	return info.resident;
}

TEST_F(heap, grows_and_gives_back)
{
	char *p[OBJECTS];
	unsigned int i;
	size_t had;

	ASSERT_EQ(0, grow_heap(self, variant->flags, SIZE_MAX));
	EXPECT_EQ(0, resident(_metadata, self));
	for (i = 0; i < OBJECTS; i++) {
		p[i] = fbuf_heap_alloc(self->heap, OBJECT);
		ASSERT_NE(NULL, p[i]);
		pattern_fill(p[i], i, 0, OBJECT);
	}
	had = resident(_metadata, self);
	EXPECT_LE(OBJECTS * OBJECT, had);
	for (i = 0; i < OBJECTS; i++)
		if (i % 8)
			fbuf_heap_free(self->heap, p[i]);
	EXPECT_EQ(had, resident(_metadata, self));
	EXPECT_LT(0, fbuf_heap_trim(self->heap, 0));
	/* Each object that is left is in one buffer more than it needs. */
	EXPECT_GE(OBJECTS / 8 * (OBJECT + 2 * BUF_SIZE),
		  resident(_metadata, self));
	for (i = 0; i < OBJECTS; i += 8)
		EXPECT_EQ(-1, pattern_differs(p[i], i, 0, OBJECT));
	/* All of it comes again. */
	for (i = 0; i < OBJECTS; i++)
		if (i % 8) {
			p[i] = fbuf_heap_alloc(self->heap, OBJECT);
			ASSERT_NE(NULL, p[i]);
			pattern_fill(p[i], i, 0, OBJECT);
		}
	for (i = 0; i < OBJECTS; i++) {
		EXPECT_EQ(-1, pattern_differs(p[i], i, 0, OBJECT));
		fbuf_heap_free(self->heap, p[i]);
	}
	EXPECT_LT(0, fbuf_heap_trim(self->heap, 0));
	EXPECT_EQ(0, resident(_metadata, self));
}

TEST_F(heap, gives_back_by_itself)
{
	char *p[OBJECTS];
	unsigned int i;

	ASSERT_EQ(0, grow_heap(self, variant->flags, (size_t)1 << 20));
	for (i = 0; i < OBJECTS; i++) {
		p[i] = fbuf_heap_alloc(self->heap, OBJECT);
		ASSERT_NE(NULL, p[i]);
		memset(p[i], i, OBJECT);
	}
	for (i = 0; i < OBJECTS; i++)
		fbuf_heap_free(self->heap, p[i]);
	/* Twice of what it keeps, and what is at hand. */
	EXPECT_GE((size_t)3 << 20, resident(_metadata, self));
}

/* What a peer has not read yet stays as it was sent. */
TEST_F(heap, gives_back_nothing_in_flight)
{
	ssize_t taken;
	char *p;

	ASSERT_EQ(0, grow_heap(self, variant->flags, SIZE_MAX));
	p = fbuf_heap_alloc(self->heap, 300000);
	ASSERT_NE(NULL, p);
	pattern_fill(p, 5, 0, 300000);
	taken = send_some(self, p, 300000);
	ASSERT_LT(0, taken);
	fbuf_heap_free(self->heap, p);
	EXPECT_LE(0, fbuf_heap_trim(self->heap, 0));
	if (!variant->user)
		EXPECT_LT(0, resident(_metadata, self));
	EXPECT_TRUE(peer_gets(self->sock[1], 5, taken));
	EXPECT_TRUE(wait_for(fbuf_heap_trim(self->heap, 0) >= 0 &&
			     !resident(_metadata, self), LONG_MS));
}

TEST_F(heap, child_does_not_touch_it)
{
	char *p = fbuf_heap_alloc(self->heap, 100);
	struct fbuf_info info;
	pid_t pid;

	ASSERT_NE(NULL, p);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		void *more = fbuf_heap_alloc(self->heap, 100);

		fbuf_heap_free(self->heap, p);
		fbuf_heap_destroy(self->heap);
		_exit(!!more);
	}
	EXPECT_EQ(0, child_status(pid));
	ASSERT_EQ(0, fbuf_pool_info(self->pool, &info));
	EXPECT_EQ(NR_BUFS, info.holds);
	EXPECT_EQ(112, fbuf_heap_usable_size(self->heap, p));
	fbuf_heap_free(self->heap, p);
	EXPECT_TRUE(all_is_back(self->heap));
}

/* Threads, with a connection each, and what the next one is to free. */
#define THREADS		4U
#define MESSAGES	400U

struct message {
	__u32 len;		/* with this */
	__u32 seed;
};

struct sender {
	pthread_t thread, reader;
	struct _test_data_heap *self;
	struct sender *next;
	void *to_free;		/* atomic */
	int sock[2];
	unsigned int seed;
	bool sent, got;
};

static void *read_messages(void *arg)
{
	struct sender *s = arg;
	struct message m;
	unsigned int i;

	for (i = 0; i < MESSAGES; i++)
		if (read_full(s->sock[1], &m, sizeof(m)) != sizeof(m) ||
		    !peer_gets(s->sock[1], m.seed, m.len - sizeof(m)))
			return NULL;
	s->got = true;
	return NULL;
}

static struct message *new_message(struct fbuf_heap *heap, unsigned int *seed)
{
	size_t len = sizeof(struct message) + 1 +
		     rand_r(seed) % (16U << rand_r(seed) % 13);
	struct message *m;

	while (!(m = fbuf_heap_alloc(heap, len)))
		if (fbuf_heap_wait(heap, 10) < 0)
			relax();
	m->len = len;
	m->seed = rand_r(seed);
	pattern_fill(m + 1, m->seed, 0, len - sizeof(*m));
	return m;
}

static void *swap(void **place, void *p)
{
	return __atomic_exchange_n(place, p, __ATOMIC_ACQ_REL);
}

static void *send_messages(void *arg)
{
	struct sender *s = arg;
	struct fbuf_heap *heap = s->self->heap;
	struct fbuf_gather *g = fbuf_gather_new(s->self->pool);
	struct message *m;
	unsigned int i;

	for (i = 0; i < MESSAGES; i++) {
		m = new_message(heap, &s->seed);
		fbuf_gather_reset(g);
		if (fbuf_gather_append_mem(g, heap, m, m->len) ||
		    fbuf_send_all(g, s->sock[0], 0, NULL) != m->len)
			break;
		/* Every other one is freed by another thread. */
		if (i % 2)
			fbuf_heap_free(heap, m);
		else
			fbuf_heap_free(heap, swap(&s->next->to_free, m));
		fbuf_heap_free(heap, swap(&s->to_free, NULL));
	}
	s->sent = i == MESSAGES;
	fbuf_gather_destroy(g);
	return NULL;
}

TEST_F(heap, threads_send_and_free)
{
	struct sender s[THREADS] = { };
	struct fbuf_heap_stats stats;
	unsigned int i;

	for (i = 0; i < THREADS; i++) {
		s[i].self = self;
		s[i].seed = i;
		s[i].next = &s[(i + 1) % THREADS];
		ASSERT_EQ(0, tcp_pair(AF_INET, s[i].sock));
	}
	for (i = 0; i < THREADS; i++) {
		ASSERT_EQ(0, pthread_create(&s[i].reader, NULL, read_messages,
					    &s[i]));
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, send_messages,
					    &s[i]));
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(s[i].thread, NULL);
		/* The last ones of a reader that has given up. */
		shutdown(s[i].sock[0], SHUT_WR);
		pthread_join(s[i].reader, NULL);
		EXPECT_TRUE(s[i].sent);
		EXPECT_TRUE(s[i].got);
		close(s[i].sock[0]);
		close(s[i].sock[1]);
	}
	for (i = 0; i < THREADS; i++)
		fbuf_heap_free(self->heap, s[i].to_free);
	ASSERT_EQ(0, fbuf_heap_stats(self->heap, &stats));
	TH_LOG("%llu messages, %llu calls to see what is idle",
	       (unsigned long long)stats.allocs,
	       (unsigned long long)stats.looks);
	EXPECT_EQ(THREADS * MESSAGES, stats.allocs);
	EXPECT_EQ(stats.allocs, stats.frees);
	EXPECT_EQ(0, stats.used);
	if (variant->flags & FBUF_POOL_SNAPSHOT)
		EXPECT_EQ(0, stats.looks);
	EXPECT_TRUE(all_is_back(self->heap));
}

TEST_HARNESS_MAIN
