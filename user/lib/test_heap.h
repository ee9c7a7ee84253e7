/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For tests of the heap without a module: ioctl() is our own. What was sent is in
 * flight until the test delivers it, and sees then that nobody has written there.
 */
#ifndef FBUF_TEST_HEAP_H
#define FBUF_TEST_HEAP_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "heap.h"
#include "test.h"

#define KIB		((size_t)1024)
#define MIB		(1024 * KIB)
#define BUF		(64 * KIB)
#define MAX_BUFS	5000U
#define GEN		7U
#define DEADLINE_MS	20000

/* The module. */
static struct {
	unsigned int flags;
	unsigned int buf_size;
	unsigned int nr;
	bool held[MAX_BUFS];
	unsigned int max;		/* as many can be held */
	atomic_uint in_flight[MAX_BUFS];
	atomic_uint waits;		/* calls */
	atomic_uint frees;		/* buffers */
	int again;			/* this buffer flies after a WAIT, or -1 */
	atomic_bool stuck;		/* WAIT does not come back */
	atomic_uint nr_stuck;
	bool no_drop;			/* it does not know DROP */
	atomic_uint drops;		/* buffers */
	atomic_uint drop_calls;
	atomic_bool drop_stuck;
} fake;

static inline void relax(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

static inline int fake_info(struct fbuf_info *info)
{
	info->pool_size = (uint64_t)fake.buf_size * fake.nr;
	info->buf_size = fake.buf_size;
	info->nr_bufs = fake.nr;
	info->rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE | FBUF_RIGHT_ALLOC |
		       FBUF_RIGHT_SEND;
	info->pool_flags = fake.flags;
	info->features = FBUF_FEATURE_NAMED_SEGS;
	if (!fake.no_drop)
		info->features |= FBUF_FEATURE_DROP;
	return 0;
}

/* All or none, the last one first. */
static inline int fake_alloc(const struct fbuf_batch *b)
{
	uint64_t *names = (void *)(uintptr_t)b->names;
	unsigned int n = 0, left = 0, i;

	for (i = 0; i < fake.nr; i++)
		left += !fake.held[i];
	if (b->count > left || b->count > fake.max)
		return -ENOBUFS;
	fake.max -= b->count;
	for (i = fake.nr; n < b->count; i--) {
		if (fake.held[i - 1])
			continue;
		fake.held[i - 1] = true;
		names[n++] = FBUF_NAME(i - 1, GEN);
	}
	return n;
}

static inline int fake_free(const struct fbuf_batch *b)
{
	const uint64_t *names = (const void *)(uintptr_t)b->names;
	unsigned int i;

	for (i = 0; i < b->count; i++) {
		uint32_t index = FBUF_NAME_INDEX(names[i]);

		if (index >= fake.nr || !fake.held[index])
			return -ESTALE;
		fake.held[index] = false;
		fake.max++;
		fake.frees++;
	}
	return b->count;
}

static inline int fake_wait(const struct fbuf_batch *b)
{
	const uint64_t *names = (const void *)(uintptr_t)b->names;
	int need = b->flags & FBUF_WAIT_ANY ? 1 : b->count, idle;
	long long end = lib_now_ms() + b->timeout;
	unsigned int i;

	fake.waits++;
	if (fake.stuck) {
		fake.nr_stuck++;
		while (fake.stuck)
			relax();
	}
	if (!b->count || b->count > FBUF_BATCH_MAX)
		return -EINVAL;
	for (;;) {
		idle = 0;
		for (i = 0; i < b->count; i++) {
			uint32_t index = FBUF_NAME_INDEX(names[i]);

			if (index >= fake.nr || !fake.held[index])
				return -ESTALE;
			if (names[i] >> 32 != GEN)
				return -ESTALE;
			idle += !fake.in_flight[index];
		}
		if (idle >= need) {
			if (fake.again >= 0)
				fake.in_flight[fake.again] = 1;
			return idle;
		}
		if (b->timeout >= 0 && lib_now_ms() >= end)
			return -ETIMEDOUT;
		relax();
	}
}

/* All or none; the memory is really gone. */
static inline int fake_drop(int fd, const struct fbuf_batch *b)
{
	const uint64_t *names = (const void *)(uintptr_t)b->names;
	unsigned int i;

	fake.drop_calls++;
	while (fake.drop_stuck)
		relax();
	if (!(fake.flags & FBUF_POOL_LAZY))
		return -EOPNOTSUPP;
	if (!b->count || b->count > FBUF_BATCH_MAX)
		return -EINVAL;
	for (i = 0; i < b->count; i++) {
		uint32_t index = FBUF_NAME_INDEX(names[i]);

		if (index >= fake.nr || !fake.held[index])
			return -ESTALE;
		if (fake.in_flight[index])
			return -EBUSY;
	}
	for (i = 0; i < b->count; i++) {
		fake.drops++;
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			      (off_t)FBUF_NAME_INDEX(names[i]) * fake.buf_size,
			      fake.buf_size))
			return -errno;
	}
	return b->count;
}

static inline void fake_reset(size_t buf_size, unsigned int nr,
			      unsigned int flags)
{
	memset(&fake, 0, sizeof(fake));
	fake.flags = flags;
	fake.buf_size = buf_size;
	fake.nr = nr;
	fake.max = nr;
	fake.again = -1;
}

static inline int fake_create(const struct fbuf_pool_create *create)
{
	int fd = memfd_create("pool", 0);

	if (create->nr_bufs > MAX_BUFS)
		return -EINVAL;
	fake_reset(create->buf_size, create->nr_bufs, create->flags);
	if (fd < 0 || ftruncate(fd, (off_t)fake.buf_size * fake.nr) < 0)
		return -ENOMEM;
	return fd;
}

/* Only of the module. */
int open(const char *file, int oflag, ...)
{
	if (strcmp(file, FBUF_DEVICE)) {
		errno = ENOENT;
		return -1;
	}
	return memfd_create("control", oflag & O_CLOEXEC ? MFD_CLOEXEC : 0);
}

int ioctl(int fd, unsigned long request, ...)
{
	int ret = -ENOTTY;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (request) {
	case FBUF_IOC_INFO:
		ret = fake_info(arg);
		break;
	case FBUF_IOC_ALLOC:
		ret = fake_alloc(arg);
		break;
	case FBUF_IOC_FREE:
		ret = fake_free(arg);
		break;
	case FBUF_IOC_WAIT:
		ret = fake_wait(arg);
		break;
	case FBUF_IOC_DROP:
		ret = fake_drop(fd, arg);
		break;
	case FBUF_IOC_POOL_CREATE:
		ret = fake_create(arg);
		break;
	}
	if (ret < 0) {
		errno = -ret;
		ret = -1;
	}
	return ret;
}

static struct fbuf_pool *pool;
static struct fbuf_heap *heap;
static char *base;
static size_t pool_size;

static inline void begin_pool(size_t size, size_t buf_size, unsigned int flags)
{
	int fd = memfd_create("pool", 0);

	fake_reset(buf_size, size / buf_size, flags);
	pool_size = size;
	if (fd < 0 || ftruncate(fd, size) < 0 || fbuf_pool_open(&pool, fd)) {
		printf("Bail out! No pool.\n");
		exit(1);
	}
	base = pool->map;
}

static inline void begin_heap(unsigned int flags)
{
	if (fbuf_heap_create(&heap, pool, flags)) {
		printf("Bail out! No heap.\n");
		exit(1);
	}
}

static inline void begin(size_t size, size_t buf_size, unsigned int flags)
{
	begin_pool(size, buf_size, flags);
	begin_heap(0);
}

static inline struct fbuf_heap_stats stats(void)
{
	struct fbuf_heap_stats s;

	CHECK(!fbuf_heap_stats(heap, &s));
	CHECK(s.size == pool_size && s.frees <= s.allocs);
	return s;
}

/* All was freed, and is one piece again, once it is asked for. */
static inline void end(void)
{
	void *all = fbuf_heap_alloc(heap, pool_size);

	CHECK(all == base);
	fbuf_heap_free(heap, all);
	CHECK(!stats().used && !stats().waiting && !stats().cached);
	CHECK(stats().allocs == stats().frees);
	fbuf_heap_destroy(heap);
	CHECK(fake.frees == fake.nr);
	fbuf_pool_close(pool);
}

static __thread uint64_t rand_state = 88172645463325252;

static inline uint64_t rand64(void)
{
	rand_state ^= rand_state << 13;
	rand_state ^= rand_state >> 7;
	rand_state ^= rand_state << 17;
	return rand_state;
}

static inline size_t below(size_t n)
{
	return rand64() % n;
}

/* Sizes of all orders. */
static inline size_t any_size(size_t max)
{
	size_t top = (size_t)16 << below(15);

	return 1 + below(top < max ? top : max);
}

/* Both ends of an object, and something of each page. */
static inline void fill(char *p, size_t len, unsigned char byte)
{
	size_t i;

	memset(p, byte, len < 64 ? len : 64);
	for (i = 4096; i < len; i += 4096)
		p[i] = byte;
	p[len - 1] = byte;
}

static inline bool filled(const char *p, size_t len, unsigned char byte)
{
	size_t i;

	for (i = 0; i < len && i < 64; i++)
		if ((unsigned char)p[i] != byte)
			return false;
	for (i = 4096; i < len; i += 4096)
		if ((unsigned char)p[i] != byte)
			return false;
	return (unsigned char)p[len - 1] == byte;
}

struct object {
	char *p;
	size_t len;
	unsigned char byte;
};

/* Memory of the test's own. */
static inline void *must(void *p)
{
	if (!p) {
		printf("Bail out! No memory.\n");
		exit(1);
	}
	return p;
}

static inline bool object_new(struct object *o, size_t len)
{
	o->p = fbuf_heap_alloc(heap, len);
	if (!o->p)
		return false;
	o->len = len;
	o->byte = below(256);
	CHECK((uintptr_t)o->p % HEAP_ALIGN == 0);
	CHECK(fbuf_heap_usable_size(heap, o->p) >= len);
	fill(o->p, len, o->byte);
	return true;
}

static inline void object_free(struct object *o)
{
	if (!o->p)
		return;
	CHECK(filled(o->p, o->len, o->byte));
	fbuf_heap_free(heap, o->p);
	o->p = NULL;
}

/* What is in flight: some bytes of the pool, which stay as they are. */
struct packet {
	struct object o;
	struct packet *next;
};

static inline size_t seg_at(const struct fbuf_seg *s)
{
	CHECK(s->flags & FBUF_SEG_NAMED && FBUF_NAME_GEN(s->addr) == GEN);
	return (size_t)FBUF_NAME_INDEX(s->addr) * fake.buf_size +
	       (s->flags >> 8);
}

static inline void fly(const struct packet *p, int by)
{
	size_t at = p->o.p - base, buf = at / fake.buf_size;

	for (; buf <= (at + p->o.len - 1) / fake.buf_size; buf++)
		fake.in_flight[buf] += by;
}

/* The gather has exactly these bytes, in order. */
static inline void check_gather(const struct fbuf_gather *g, const char *p, size_t len)
{
	const struct fbuf_seg *s = fbuf_gather_segs(g);
	unsigned int i;

	CHECK(fbuf_gather_len(g) == len);
	for (i = 0; i < fbuf_gather_nr_segs(g); i++) {
		size_t at = seg_at(&s[i]);

		CHECK(base + at == p && s[i].len <= len);
		CHECK(at / fake.buf_size ==
		      (at + s[i].len - 1) / fake.buf_size);
		p += s[i].len;
		len -= s[i].len;
	}
	CHECK(!len);
}

static inline struct packet *send_object(const struct object *o)
{
	struct packet *p = must(malloc(sizeof(*p)));
	struct fbuf_gather *g = fbuf_gather_new(pool);

	CHECK(!fbuf_gather_append_mem(g, heap, o->p, o->len));
	check_gather(g, o->p, o->len);
	fbuf_gather_destroy(g);
	p->o = *o;
	fly(p, 1);
	return p;
}

static inline void deliver(struct packet *p)
{
	CHECK(filled(p->o.p, p->o.len, p->o.byte));
	fly(p, -1);
	free(p);
}

#endif /* FBUF_TEST_HEAP_H */
