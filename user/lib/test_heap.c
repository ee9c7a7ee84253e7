// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A heap without a module. TAP out.
 *
 *	test_heap [N]		measure N times
 */

#include <signal.h>
#include <sys/wait.h>

#include "test_heap.h"

#define THREADS		4U

static void test_sizes(void)
{
	struct object *o = must(calloc(4000, sizeof(*o)));
	size_t size, want;
	unsigned int nr = 0;

	begin(64 * MIB, BUF, 0);
	for (size = 1; size < 32 * MIB; size += 1 + size / 64) {
		CHECK(object_new(&o[nr], size));
		want = fbuf_heap_usable_size(heap, o[nr].p);
		/* An eighth more, or up to 15 bytes. */
		CHECK(want <= size + size / 8 + 15);
		if (size < BUF)
			nr++;
		else
			object_free(&o[nr]);
	}
	while (nr)
		object_free(&o[--nr]);
	CHECK(!fbuf_heap_alloc(heap, 64 * MIB + 1));
	CHECK(!fbuf_heap_alloc(heap, SIZE_MAX));
	CHECK(!fbuf_heap_alloc(heap, SIZE_MAX - 4095));
	CHECK(stats().failed == 3);
	o->p = fbuf_heap_alloc(heap, 0);
	CHECK(fbuf_heap_usable_size(heap, o->p) == 16);
	fbuf_heap_free(heap, o->p);
	fbuf_heap_free(heap, NULL);
	CHECK(fbuf_heap_pool(heap) == pool);
	end();
	free(o);
}

/* What begins where, and is whose. */
static void test_bad_calls(void)
{
	struct fbuf_gather *g, *other;
	struct fbuf_pool another = { .buf_size = 4096, .nr_bufs = 1 };
	char *small, *large;
	uint64_t name = 0;
	size_t offset = 0;

	begin_pool(4 * MIB, BUF, 0);
	errno = 4711;
	CHECK(fbuf_heap_create(&heap, pool, ~FBUF_HEAP_IDLE) == -EINVAL);
	/* Half of it is somebody else's. */
	fake.held[7] = true;
	CHECK(fbuf_heap_create(&heap, pool, 0) == -ENOBUFS);
	fake.held[7] = false;
	pool->rights &= ~FBUF_RIGHT_WRITE;
	CHECK(fbuf_heap_create(&heap, pool, 0) == -EACCES);
	pool->rights |= FBUF_RIGHT_WRITE;
	fbuf_heap_destroy(NULL);
	CHECK(!fake.frees && fake.max == fake.nr);
	begin_heap(0);
	g = fbuf_gather_new(pool);
	other = fbuf_gather_new(&another);
	small = fbuf_heap_alloc(heap, 100);
	large = fbuf_heap_alloc(heap, 3 * BUF);
	CHECK(small && large);
	CHECK(fbuf_gather_append_mem(g, heap, small, 113) == -EINVAL);
	CHECK(fbuf_gather_append_mem(g, heap, small + 112, 1) == -EINVAL);
	CHECK(fbuf_gather_append_mem(g, heap, base - 1, 1) == -EINVAL);
	CHECK(fbuf_gather_append_mem(g, heap, base + 4 * MIB, 1) == -EINVAL);
	CHECK(fbuf_gather_append_mem(g, heap, large, SIZE_MAX) == -EINVAL);
	CHECK(fbuf_gather_append_mem(g, heap, large, 4 * MIB + 1) == -EINVAL);
	CHECK(fbuf_gather_append_mem(other, heap, small, 1) == -EINVAL);
	CHECK(fbuf_gather_append_mem(g, heap, small, 0) == 0);
	CHECK(!fbuf_gather_nr_segs(g));
	CHECK(fbuf_heap_ref(heap, base - 1, 1, &name, &offset) == -EINVAL);
	CHECK(fbuf_heap_ref(heap, small + 3, 50, &name, &offset) == 50);
	CHECK(FBUF_NAME_INDEX(name) * BUF + offset ==
	      (size_t)(small + 3 - base));
	CHECK(!fbuf_heap_alloc_aligned(heap, 0, 1));
	CHECK(!fbuf_heap_alloc_aligned(heap, 48, 1));
	CHECK(!fbuf_heap_calloc(heap, SIZE_MAX / 2, 3));
	CHECK(!fbuf_heap_calloc(heap, SIZE_MAX / 2 + 1, 2));
	CHECK(fbuf_heap_usable_size(heap, base - 1) == 0);
	CHECK(fbuf_heap_usable_size(heap, small + 16) == 0);
	CHECK(fbuf_heap_usable_size(heap, large + 4096) == 0);
	CHECK(fbuf_heap_stats_sized(heap, NULL, 8) == -EINVAL);
	CHECK(errno == 4711);
	fbuf_heap_free(heap, small);
	fbuf_heap_free(heap, large);
	CHECK(fbuf_gather_append_mem(g, heap, small, 1) == -EINVAL);
	fbuf_gather_destroy(g);
	fbuf_gather_destroy(other);
	end();
}

/* More buffers than a call takes, and one is somebody else's: none is held. */
static void test_not_all(void)
{
	begin_pool(5000 * 4 * KIB, 4 * KIB, 0);
	fake.held[10] = true;
	CHECK(fbuf_heap_create(&heap, pool, 0) == -ENOBUFS);
	CHECK(fake.frees == 4096);
	fake.held[10] = false;
	fake.max = fake.nr;
	fake.frees = 0;
	begin_heap(0);
	end();
}

/* What equal objects lose of their slabs; and the slabs come back by themselves. */
static void test_slabs(void)
{
	static struct object o[2000];
	size_t size, asked, left;
	char *p;
	unsigned int n, i;

	for (size = 16; size <= 32 * KIB; size += 16 + size / 16) {
		begin(8 * MIB, BUF, 0);
		for (n = 0, asked = 0; n < 2000 && asked < 2 * MIB; n++) {
			CHECK(object_new(&o[n], size));
			asked += fbuf_heap_usable_size(heap, o[n].p);
		}
		left = stats().largest;
		CHECK(8 * MIB - left <= asked + asked / 8 + 2 * BUF);
		for (i = 0; i < n; i++)
			object_free(&o[i]);
		/* They are used again while there is other memory. */
		p = fbuf_heap_alloc(heap, MIB);
		CHECK(p && (asked < 2 * MIB || p < base + 2 * MIB));
		fbuf_heap_free(heap, p);
		end();
	}
}

/* Where no page is free, a small object has the place of a larger one. */
static void test_place_of_a_larger(void)
{
	struct object o[8] = { 0 }, small = { 0 };
	unsigned int n = 0;

	begin(BUF, BUF, 0);
	while (n < 8 && object_new(&o[n], 8 * KIB))
		n++;
	CHECK(n == 8 && !object_new(&small, 16));
	object_free(&o[3]);
	CHECK(object_new(&small, 16));
	CHECK(fbuf_heap_usable_size(heap, small.p) == 8 * KIB);
	object_free(&small);
	CHECK(object_new(&o[3], 8 * KIB));
	while (n)
		object_free(&o[--n]);
	end();
}

static void test_aligned(void)
{
	void *p[64];
	size_t align, size;
	unsigned int nr = 0;

	begin(64 * MIB, BUF, 0);
	for (align = 1; align <= 8 * MIB; align *= 2)
		for (size = 5; size < 200 * KIB; size = size * 9 + 1) {
			void *q = fbuf_heap_alloc_aligned(heap, align, size);

			CHECK(q && !((uintptr_t)q % align));
			CHECK(fbuf_heap_usable_size(heap, q) >= size);
			fill(q, size, 3);
			if (nr < 64)
				p[nr++] = q;
			else
				fbuf_heap_free(heap, q);
		}
	while (nr)
		fbuf_heap_free(heap, p[--nr]);
	end();
}

static void test_calloc(void)
{
	static const char zeros[100 * 1024];
	struct object o[20] = { 0 };
	unsigned int i;
	size_t size;
	char *p;

	begin(4 * MIB, BUF, 0);
	for (size = 1; size < sizeof(zeros); size = size * 3 + 1) {
		for (i = 0; i < 20; i++) {
			CHECK(object_new(&o[i], size));
			memset(o[i].p, 0xee, size);
			o[i].byte = 0xee;
		}
		for (i = 0; i < 20; i++)
			object_free(&o[i]);
		for (i = 0; i < 20; i++) {
			p = fbuf_heap_calloc(heap, size, 1);
			o[i].p = p;
			CHECK(p && !memcmp(p, zeros, size));
		}
		for (i = 0; i < 20; i++)
			fbuf_heap_free(heap, o[i].p);
	}
	end();
}

static void test_realloc(void)
{
	size_t size = 1, next;
	char *p, *q, *wall;
	unsigned int i;

	begin(16 * MIB, BUF, 0);
	p = fbuf_heap_realloc(heap, NULL, size);
	if (!p) {
		CHECK(!"memory");
		return;
	}
	p[0] = 1;
	for (i = 0; i < 3000; i++) {
		next = i % 3 ? any_size(300 * KIB) : size + 1 + below(3);
		q = fbuf_heap_realloc(heap, p, next);
		CHECK(q && filled(q, size < next ? size : next, q[0]) == true);
		if (!q)
			break;
		p = q;
		size = next;
		fill(p, size, i);
		memset(p, (unsigned char)i, size);
	}
	fbuf_heap_free(heap, p);

	/* In place: down, and up again. */
	p = fbuf_heap_alloc(heap, 4 * MIB);
	CHECK(fbuf_heap_realloc(heap, p, MIB) == p);
	CHECK(fbuf_heap_usable_size(heap, p) < 2 * MIB);
	CHECK(fbuf_heap_realloc(heap, p, 6 * MIB) == p);
	/* There is not so much; the old one stays. */
	fill(p, 6 * MIB, 9);
	wall = fbuf_heap_alloc(heap, stats().largest);
	CHECK(wall && !fbuf_heap_realloc(heap, p, 9 * MIB));
	CHECK(filled(p, 6 * MIB, 9));
	CHECK(fbuf_heap_usable_size(heap, p) == 6 * MIB);
	/* Shorter is always possible. */
	while (fbuf_heap_alloc(heap, 16))
		;
	q = fbuf_heap_realloc(heap, p, 20);
	CHECK(q && q[0] == 9);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
}

/* Runs in a child, which has a heap of its own. */
static bool dies(void (*fn)(void))
{
	static const char want[] = "fbuf: ";
	char said[256] = "";
	int status = 0, fd;
	pid_t pid;

	fflush(stdout);
	fd = memfd_create("stderr", 0);
	pid = fork();
	if (!pid) {
		signal(SIGABRT, SIG_DFL);
		dup2(fd, STDERR_FILENO);
		begin(4 * MIB, BUF, 0);
		fn();
		_exit(0);
	}
	CHECK(waitpid(pid, &status, 0) == pid);
	CHECK(pread(fd, said, sizeof(said) - 1, 0) >= 0);
	close(fd);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
	       !memcmp(said, want, sizeof(want) - 1) && strchr(said, '\n');
}

static void twice_small(void)
{
	void *p = fbuf_heap_alloc(heap, 100);

	fbuf_heap_free(heap, p);
	fbuf_heap_free(heap, p);
}

static void twice_large(void)
{
	void *p = fbuf_heap_alloc(heap, 100 * KIB);

	fbuf_heap_free(heap, p);
	fbuf_heap_free(heap, p);
}

static void twice_in_flight(void)
{
	struct object o = { 0 };

	if (!object_new(&o, 100 * KIB))
		return;
	send_object(&o);
	fbuf_heap_free(heap, o.p);
	fbuf_heap_free(heap, o.p);
}

static void twice_small_in_flight(void)
{
	struct object o = { 0 };

	if (!object_new(&o, 100))
		return;
	send_object(&o);
	fbuf_heap_free(heap, o.p);
	fbuf_heap_free(heap, o.p);
}

static void inside_small(void)
{
	char *p = fbuf_heap_alloc(heap, 100);

	fbuf_heap_free(heap, p + 16);
}

static void inside_large(void)
{
	char *p = fbuf_heap_alloc(heap, 100 * KIB);

	fbuf_heap_free(heap, p + 4096);
}

static void between_pages(void)
{
	char *p = fbuf_heap_alloc(heap, 100 * KIB);

	fbuf_heap_free(heap, p + 16);
}

/* Of a size that would be at hand. */
static void between_pages_at_hand(void)
{
	char *p = fbuf_heap_alloc(heap, 40 * KIB);

	fbuf_heap_free(heap, p + 16);
}

static void of_nobody(void)
{
	static char c;

	fbuf_heap_free(heap, &c);
}

static void never_used(void)
{
	fbuf_heap_free(heap, base + 2 * MIB);
}

static void behind_a_slab(void)
{
	char *p = fbuf_heap_alloc(heap, 20000);
	size_t left = fbuf_heap_usable_size(heap, p);

	/* The rest of the slab is too short for another. */
	while (fbuf_heap_usable_size(heap, p + left))
		left += fbuf_heap_usable_size(heap, p);
	fbuf_heap_free(heap, p + left);
}

static void realloc_freed(void)
{
	void *p = fbuf_heap_alloc(heap, 100);

	fbuf_heap_free(heap, p);
	fbuf_heap_realloc(heap, p, 50);
}

static void free_one(void)
{
	fbuf_heap_free(heap, fbuf_heap_alloc(heap, 100));
	fbuf_heap_free(heap, fbuf_heap_alloc(heap, 100 * KIB));
}

static void test_wrong_frees(void)
{
	CHECK(dies(twice_small));
	CHECK(dies(twice_large));
	CHECK(dies(twice_in_flight));
	CHECK(dies(twice_small_in_flight));
	CHECK(dies(inside_small));
	CHECK(dies(inside_large));
	CHECK(dies(between_pages));
	CHECK(dies(between_pages_at_hand));
	CHECK(dies(of_nobody));
	CHECK(dies(never_used));
	CHECK(dies(behind_a_slab));
	CHECK(dies(realloc_freed));
	CHECK(!dies(free_one));
}

/* Memory that was sent is not used before it is idle; nor is it forgotten. */
static void try_in_flight(size_t len, size_t buf_size, unsigned int flags)
{
	struct packet *packets[300];
	struct object o = { 0 }, other[300] = { 0 };
	unsigned int nr = 0, n = 0, i;

	begin(2 * MIB, buf_size, flags);
	while (nr < 300 && object_new(&o, len)) {
		packets[nr++] = send_object(&o);
		fbuf_heap_free(heap, o.p);
	}
	CHECK(stats().waiting >= nr * len);
	/* All that is left, and not a byte more. */
	while (n < 300 && object_new(&other[n], len))
		n++;
	for (i = 0; i < n; i++)
		object_free(&other[i]);
	for (i = 0; i < nr; i++)
		deliver(packets[i]);
	end();
}

static void test_in_flight(void)
{
	try_in_flight(16, BUF, 0);
	try_in_flight(1000, BUF, 0);
	try_in_flight(9000, BUF, FBUF_POOL_SECURED);
	try_in_flight(32 * KIB, 4 * KIB, 0);
	try_in_flight(40 * KIB, BUF, 0);
	try_in_flight(300 * KIB, BUF, 0);
	try_in_flight(300 * KIB, 4 * KIB, 0);
}

/* Whichever page of a run was sent, the run waits; and only then. */
static void test_any_page(void)
{
	struct object o[2] = { 0 };
	unsigned int i, round;
	size_t offset, was;
	uint64_t name;

	begin(64 * MIB, BUF, 0);
	for (round = 0; round < 3000; round++) {
		for (i = 0; i < 2; i++)
			CHECK(object_new(&o[i], 36 * KIB + below(224 * KIB)));
		offset = below(4) ? below(o[0].len) :
			 below(2) ? o[0].len - 1 : 0;
		CHECK(fbuf_heap_ref(heap, o[0].p + offset, 1, &name,
				    &offset) == 1);
		was = stats().waiting;
		object_free(&o[1]);
		CHECK(stats().waiting == was);
		was += fbuf_heap_usable_size(heap, o[0].p);
		object_free(&o[0]);
		CHECK(stats().waiting == was);
	}
	end();
}

/* A large object has more buffers than a call takes. */
static void test_many_buffers(void)
{
	struct packet *p;
	struct object o = { 0 };

	begin(5000 * 4 * KIB, 4 * KIB, 0);
	CHECK(object_new(&o, 4999 * 4 * KIB));
	fill(o.p, o.len, o.byte);
	p = must(malloc(sizeof(*p)));
	p->o = o;
	/* A gather has no room for all that, but for a part. */
	{
		struct fbuf_gather *g = fbuf_gather_new(pool);

		CHECK(fbuf_gather_append_inline(g, "x", 1) == 0);
		CHECK(fbuf_gather_append_mem(g, heap, o.p, o.len) ==
		      -EMSGSIZE);
		CHECK(fbuf_gather_nr_segs(g) == 1 && fbuf_gather_len(g) == 1);
		fbuf_gather_destroy(g);
	}
	fly(p, 1);
	object_free(&o);
	CHECK(!object_new(&o, 8 * KIB));
	deliver(p);
	end();
}

/* Nobody asks the module of what was never sent. */
static void test_no_calls(void)
{
	struct object o[50] = { 0 };
	unsigned int i, n;

	begin(8 * MIB, BUF, 0);
	for (i = 0; i < 20000; i++) {
		n = below(50);
		object_free(&o[n]);
		object_new(&o[n], any_size(64 * KIB));
	}
	for (i = 0; i < 50; i++)
		object_free(&o[i]);
	CHECK(!fake.waits && !stats().looks && !stats().waiting);
	end();
	/* Nor of snapshots, unless told to. */
	begin(2 * MIB, BUF, FBUF_POOL_SNAPSHOT);
	for (i = 0; i < 1000; i++) {
		CHECK(object_new(&o[0], any_size(64 * KIB)));
		free(send_object(&o[0]));
		object_free(&o[0]);
	}
	memset(fake.in_flight, 0, sizeof(fake.in_flight));
	CHECK(!fake.waits);
	end();
}

static void test_idle_flag(void)
{
	struct packet *p;
	struct object o = { 0 };

	begin_pool(MIB, BUF, FBUF_POOL_SNAPSHOT);
	begin_heap(FBUF_HEAP_IDLE);
	CHECK(object_new(&o, MIB));
	p = send_object(&o);
	object_free(&o);
	CHECK(!object_new(&o, 1));
	deliver(p);
	end();
}

/* What comes and goes by the thousand is looked at by the hundred. */
static void test_few_calls(void)
{
	struct packet *queue[32] = { 0 };
	struct object o = { 0 };
	unsigned int i;

	begin(32 * MIB, BUF, 0);
	for (i = 0; i < 20000; i++) {
		struct packet **at = &queue[i % 32];

		if (*at)
			deliver(*at);
		CHECK(object_new(&o, i % 2 ? 200 : 20000));
		/* And memory that was in flight comes before what never was. */
		CHECK(o.p < base + 16 * MIB);
		*at = send_object(&o);
		object_free(&o);
	}
	printf("# %u calls for 20000 objects that were sent\n", fake.waits);
	CHECK(fake.waits && fake.waits < 20000 / 8);
	for (i = 0; i < 32; i++)
		deliver(queue[i]);
	end();
}

/* Objects of one buffer: one lives, one flies, one is free. */
static void test_one_buffer(void)
{
	struct object live = { 0 }, sent = { 0 }, o = { 0 };
	struct packet *p;
	unsigned int i;
	char *was;

	begin(BUF, BUF, 0);
	CHECK(object_new(&live, 16) && object_new(&sent, 16));
	p = send_object(&sent);
	was = sent.p;
	object_free(&sent);
	/* The living one changes, and goes, and its place is used again. */
	for (i = 0; i < 100; i++) {
		fill(live.p, live.len, i);
		live.byte = i;
		object_free(&live);
		CHECK(object_new(&live, 16) && live.p != was);
	}
	/* All of the buffer but for one slot. */
	for (i = 0; i < 2 * BUF / 16; i++) {
		if (!object_new(&o, 16))
			break;
		CHECK(o.p != was);
	}
	CHECK(i > 1000 && i < BUF / 16);
	deliver(p);
	CHECK(object_new(&o, 16) && o.p == was);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
}

/* A buffer is idle when it is asked for first, and then has something else to send. */
static void test_flies_again(void)
{
	struct object idle = { 0 }, busy = { 0 }, live = { 0 }, o = { 0 };
	struct packet *p;
	size_t at;

	begin(MIB, BUF, 0);
	CHECK(object_new(&idle, 100 * KIB) && object_new(&live, 40 * KIB));
	CHECK(object_new(&busy, 64 * KIB));
	at = live.p - base;
	/* They share a buffer. */
	CHECK((size_t)(idle.p + idle.len - 1 - base) / BUF == at / BUF);
	deliver(send_object(&idle));
	p = send_object(&busy);
	object_free(&idle);
	object_free(&busy);
	fake.again = at / BUF;
	CHECK(fbuf_heap_wait(heap, 0) == -ETIMEDOUT);
	while (object_new(&o, 64 * KIB))
		;
	fake.again = -1;
	fake.in_flight[at / BUF] = 0;
	deliver(p);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
}

/* The end of a large one is in flight, and not given away when it is cut. */
static void test_cut_in_flight(void)
{
	struct object o = { 0 }, tail = { 0 }, all = { 0 };
	struct packet *p;

	begin(MIB, BUF, 0);
	CHECK(object_new(&o, 512 * KIB));
	tail = o;
	tail.p += 256 * KIB;
	tail.len = 256 * KIB;
	fill(tail.p, tail.len, tail.byte);
	p = send_object(&tail);
	CHECK(fbuf_heap_realloc(heap, o.p, 100 * KIB) == o.p);
	while (object_new(&all, 64 * KIB))
		;
	deliver(p);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
}

static void *deliver_later(void *arg)
{
	relax();
	deliver(arg);
	return NULL;
}

static void test_wait(void)
{
	struct object o = { 0 }, stays = { 0 };
	struct packet *p, *q;
	unsigned int calls;
	pthread_t t;

	begin(MIB, BUF, 0);
	CHECK(fbuf_heap_wait(heap, 0) == 0 && fbuf_heap_wait(heap, -1) == 0);
	CHECK(object_new(&o, 640 * KIB) && object_new(&stays, 100));
	p = send_object(&o);
	q = send_object(&stays);
	object_free(&o);
	object_free(&stays);
	errno = 4711;
	CHECK(fbuf_heap_wait(heap, 0) == -ETIMEDOUT);
	CHECK(fbuf_heap_wait(heap, 5) == -ETIMEDOUT);
	CHECK(errno == 4711);
	CHECK(!object_new(&o, 640 * KIB));
	pthread_create(&t, NULL, deliver_later, p);
	CHECK(fbuf_heap_wait(heap, DEADLINE_MS) == 1);
	pthread_join(t, NULL);
	CHECK(object_new(&o, 600 * KIB));
	/* Some of its buffers are idle: that is neither an end, nor a spin. */
	o.len = 200 * KIB;
	fill(o.p, o.len, o.byte);
	p = send_object(&o);
	object_free(&o);
	calls = fake.waits;
	CHECK(fbuf_heap_wait(heap, 20) == -ETIMEDOUT);
	CHECK(fake.waits - calls < 40);
	pthread_create(&t, NULL, deliver_later, p);
	CHECK(fbuf_heap_wait(heap, -1) == 1);
	pthread_join(t, NULL);
	deliver(q);
	CHECK(fbuf_heap_wait(heap, -1) == 1);
	CHECK(fbuf_heap_wait(heap, -1) == 0 && !stats().waiting);
	end();
}

/* While a thread is in the module, others find no lock. */
static atomic_bool looker_done;

static void *look_thread(void *arg)
{
	(void)arg;
	fbuf_heap_wait(heap, 0);
	looker_done = true;
	return NULL;
}

static void test_no_lock(void)
{
	struct object o[100] = { 0 };
	struct packet *p[3];
	unsigned int i, n;
	pthread_t t;

	begin(16 * MIB, BUF, 0);
	for (i = 0; i < 3; i++) {
		CHECK(object_new(&o[0], i == 1 ? MIB : 200));
		p[i] = send_object(&o[0]);
		object_free(&o[0]);
		deliver(p[i]);
	}
	fake.stuck = true;
	looker_done = false;
	pthread_create(&t, NULL, look_thread, NULL);
	while (!fake.nr_stuck)
		relax();
	/* All kinds of operations; who waited for a lock would not come back. */
	alarm(DEADLINE_MS / 1000);
	for (i = 0; i < 30000; i++) {
		n = below(100);
		if (o[n].p && o[n].len < 2000 && below(20) == 0)
			free(send_object(&o[n]));
		object_free(&o[n]);
		CHECK(object_new(&o[n], any_size(40 * KIB)));
	}
	alarm(0);
	CHECK(!looker_done);
	fake.stuck = false;
	pthread_join(t, NULL);
	memset(fake.in_flight, 0, sizeof(fake.in_flight));
	for (i = 0; i < 100; i++)
		object_free(&o[i]);
	end();
}

/* A child has its own idea of the heap, and the parent's memory and holds. */
static void test_fork(void)
{
	struct object small = { 0 }, large = { 0 }, o = { 0 };
	struct fbuf_heap_stats s;
	int status = -1;
	uint64_t name;
	pid_t pid;
	size_t n;

	begin(4 * MIB, BUF, 0);
	CHECK(object_new(&small, 100) && object_new(&large, MIB));
	CHECK(object_new(&o, 100));
	object_free(&o);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		failed = false;
		CHECK(filled(large.p, large.len, large.byte));
		CHECK(!fbuf_heap_alloc(heap, 100));
		CHECK(!fbuf_heap_alloc(heap, 20));
		CHECK(!fbuf_heap_alloc(heap, MIB));
		CHECK(!fbuf_heap_realloc(heap, small.p, MIB));
		CHECK(fbuf_heap_realloc(heap, small.p, 50) == small.p);
		CHECK(fbuf_heap_ref(heap, large.p, 1, &name, &n) == -EINVAL);
		object_free(&small);
		object_free(&large);
		CHECK(!fbuf_heap_alloc(heap, MIB));
		CHECK(fbuf_heap_wait(heap, 0) == 0);
		CHECK(fbuf_heap_stats(heap, &s) == -EINVAL);
		fbuf_heap_destroy(heap);
		CHECK(!fake.frees);
		/* A new one works. */
		begin(4 * MIB, BUF, 0);
		CHECK(object_new(&small, 100));
		object_free(&small);
		end();
		fflush(stdout);
		_exit(failed);
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(object_new(&o, 100));
	object_free(&o);
	object_free(&small);
	object_free(&large);
	end();
}

static void run_threads(void *(*fn)(void *))
{
	pthread_t t[THREADS];
	uintptr_t i;

	for (i = 0; i < THREADS; i++)
		if (pthread_create(&t[i], NULL, fn, (void *)i)) {
			printf("Bail out! No thread.\n");
			exit(1);
		}
	for (i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

static void seed(void *arg)
{
	rand_state = 88172645463325252 + 1234567 * (uintptr_t)arg;
}

/* What one thread leaves for another to free. */
#define PLACES	64U

static struct object places[PLACES];
static pthread_mutex_t places_lock = PTHREAD_MUTEX_INITIALIZER;
static struct packet *on_the_way;
static unsigned int senders;

static void swap(struct object *o)
{
	struct object *place = &places[below(PLACES)], had;

	pthread_mutex_lock(&places_lock);
	had = *place;
	*place = *o;
	*o = had;
	pthread_mutex_unlock(&places_lock);
}

static void add_packet(struct packet *p)
{
	pthread_mutex_lock(&places_lock);
	p->next = on_the_way;
	on_the_way = p;
	pthread_mutex_unlock(&places_lock);
}

static struct packet *next_packet(bool *more)
{
	struct packet *p;

	pthread_mutex_lock(&places_lock);
	p = on_the_way;
	if (p)
		on_the_way = p->next;
	*more = p || senders;
	pthread_mutex_unlock(&places_lock);
	return p;
}

static void *deliver_all(void *arg)
{
	struct packet *held[64] = { 0 }, *p;
	unsigned int at;
	bool more = true;

	seed(arg);
	/* In any order, and not at once. */
	while (more) {
		p = next_packet(&more);
		if (!p)
			relax();
		at = below(64);
		if (held[at])
			deliver(held[at]);
		held[at] = p;
	}
	for (at = 0; at < 64; at++)
		if (held[at])
			deliver(held[at]);
	return NULL;
}

static void *send_and_free(void *arg)
{
	struct object o[32] = { 0 };
	unsigned int i, n;

	seed(arg);
	for (i = 0; i < 40000; i++) {
		n = below(32);
		if (o[n].p && below(4) == 0)
			add_packet(send_object(&o[n]));
		if (below(3) == 0)
			swap(&o[n]);
		object_free(&o[n]);
		object_new(&o[n], any_size(100 * KIB));
	}
	for (n = 0; n < 32; n++)
		object_free(&o[n]);
	pthread_mutex_lock(&places_lock);
	senders--;
	pthread_mutex_unlock(&places_lock);
	return NULL;
}

/* Threads send, free each other's, and end; what flies stays as it is. */
static void test_threads_send(void)
{
	pthread_t t;
	unsigned int i;

	begin(16 * MIB, BUF, 0);
	senders = THREADS;
	pthread_create(&t, NULL, deliver_all, (void *)99);
	run_threads(send_and_free);
	pthread_join(t, NULL);
	for (i = 0; i < PLACES; i++)
		object_free(&places[i]);
	printf("# %lu objects, %u calls\n", (unsigned long)stats().allocs,
	       fake.waits);
	CHECK(stats().allocs > 100000 && fake.waits);
	end();
}

static void *exhaust(void *arg)
{
	struct object *o = must(calloc(4096, sizeof(*o)));
	unsigned int round, n, i;

	seed(arg);
	for (round = 0; round < 30; round++) {
		for (n = 0; n < 4096; n++)
			if (!object_new(&o[n], any_size(256 * KIB)))
				break;
		CHECK(n < 4096);
		/* In another order than they came. */
		for (i = 0; i < n; i++) {
			struct object *a = &o[i], *b = &o[below(n)], c = *a;

			*a = *b;
			*b = c;
		}
		for (i = 0; i < n; i++)
			object_free(&o[i]);
	}
	free(o);
	return NULL;
}

static void test_exhaustion(void)
{
	begin(8 * MIB, BUF, 0);
	run_threads(exhaust);
	CHECK(stats().failed >= 30 * THREADS);
	/* They have ended, and have nothing at hand any more. */
	CHECK(!stats().used && !stats().cached);
	end();
	/* A pool of a few pages. */
	begin(4 * 4 * KIB, 4 * KIB, 0);
	run_threads(exhaust);
	end();
	begin(4 * KIB, 4 * KIB, 0);
	run_threads(exhaust);
	end();
}

/* What a thread has at hand is somebody else's when memory is short. */
static atomic_uint steps;

static void *keeps_at_hand(void *arg)
{
	struct object o[64] = { 0 };
	unsigned int i, n;

	(void)arg;
	for (n = 0; n < 10; n++) {
		for (i = 0; i < 64; i++)
			CHECK(object_new(&o[i], (size_t)16 << n));
		for (i = 0; i < 64; i++)
			object_free(&o[i]);
	}
	steps = 1;
	while (steps == 1)
		relax();
	CHECK(object_new(&o[0], 16));
	object_free(&o[0]);
	return NULL;
}

static void test_at_hand(void)
{
	pthread_t t;
	void *all;

	begin(16 * MIB, BUF, 0);
	steps = 0;
	pthread_create(&t, NULL, keeps_at_hand, NULL);
	while (!steps)
		relax();
	CHECK(stats().cached > 0);
	all = fbuf_heap_alloc(heap, 16 * MIB);
	CHECK(all);
	fbuf_heap_free(heap, all);
	steps = 2;
	pthread_join(t, NULL);
	CHECK(!stats().cached);
	end();
}

/* How many runs of a size the only thread has at hand. */
static unsigned int run_bin(size_t size)
{
	return heap->caches->bins[heap_bin_of(heap_pages(size))].nr;
}

/* Runs are at hand: as many bytes as a pool may spare, of the sizes in use. */
static void test_runs_at_hand(void)
{
	static struct object o[64];
	size_t size, had;
	unsigned int i;

	begin(16 * MIB, BUF, 0);
	for (size = 40 * KIB; size <= 256 * KIB; size += 4 * KIB) {
		for (i = 0; i < 20; i++)
			CHECK(object_new(&o[i], size));
		CHECK(stats().used == 20 * size);
		for (i = 0; i < 20; i++)
			object_free(&o[i]);
		CHECK(!stats().used && stats().cached <= 256 * KIB);
		CHECK(run_bin(size) == 256 * KIB / size);
	}
	/* What nobody uses any more makes room in the end. */
	for (i = 0; i < 4; i++)
		CHECK(object_new(&o[i], 48 * KIB));
	for (i = 0; i < 4; i++)
		object_free(&o[i]);
	for (i = 0; i < 40; i++) {
		CHECK(object_new(&o[0], 52 * KIB) && object_new(&o[1], 52 * KIB));
		object_free(&o[0]);
		CHECK(run_bin(52 * KIB) == 1);
		object_free(&o[1]);
	}
	CHECK(run_bin(52 * KIB) == 2 && !run_bin(48 * KIB));
	/* Others have what is left. */
	had = stats().cached;
	CHECK(had && fbuf_heap_alloc(heap, 16 * MIB) == base);
	CHECK(!stats().cached);
	fbuf_heap_free(heap, base);
	/* Too large a part of a small pool. */
	end();
	begin(2 * MIB, BUF, 0);
	CHECK(object_new(&o[0], 64 * KIB));
	object_free(&o[0]);
	CHECK(!stats().cached);
	end();
}

/* Whose an address is, while heaps come and go. */
static void *heaps_come_and_go(void *arg)
{
	struct fbuf_heap *h;
	unsigned int i;

	for (i = 0; i < 2000; i++)
		if (!fbuf_heap_create(&h, arg, 0))
			fbuf_heap_destroy(h);
	steps = 1;
	return NULL;
}

static void test_heap_of(void)
{
	struct fbuf_pool *first_pool, *second_pool;
	struct fbuf_heap *first;
	pthread_t t;
	char *p;

	begin(MIB, BUF, 0);
	first = heap;
	first_pool = pool;
	p = fbuf_heap_alloc(heap, 100);
	CHECK(fbuf_heap_of(p) == heap && fbuf_heap_of(p + 99) == heap);
	CHECK(fbuf_heap_of(base + MIB - 1) == heap);
	CHECK(!fbuf_heap_of(base - 1) && !fbuf_heap_of(base + MIB));
	CHECK(!fbuf_heap_of(&p) && !fbuf_heap_of(NULL));
	begin_pool(2 * MIB, BUF, 0);
	second_pool = pool;
	steps = 0;
	pthread_create(&t, NULL, heaps_come_and_go, pool);
	while (!steps) {
		struct fbuf_heap *of = fbuf_heap_of(base);

		CHECK(fbuf_heap_of(p) == first && of != first);
	}
	pthread_join(t, NULL);
	CHECK(!fbuf_heap_of(base));
	begin_heap(0);
	CHECK(fbuf_heap_of(base) == heap && fbuf_heap_of(p) == first);
	fbuf_heap_destroy(first);
	CHECK(!fbuf_heap_of(p) && fbuf_heap_of(base) == heap);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(first_pool);
	fbuf_pool_close(second_pool);
}

/* A thread uses more heaps than it remembers: each has its own. */
static void test_many_heaps(void)
{
	struct fbuf_pool *pools[9];
	struct fbuf_heap *heaps[9];
	struct fbuf_heap_stats s;
	void *p[9], *had[9] = { 0 };
	unsigned int i, k;

	for (k = 0; k < 9; k++) {
		begin(4 * MIB, BUF, 0);
		pools[k] = pool;
		heaps[k] = heap;
	}
	for (i = 0; i < 100; i++) {
		for (k = 0; k < 9; k++) {
			p[k] = fbuf_heap_alloc(heaps[k], i % 2 ? 40 : 60000);
			CHECK(fbuf_heap_of(p[k]) == heaps[k]);
			CHECK(i < 2 || had[k] != p[k]);
		}
		for (k = 0; k < 9; k++) {
			fbuf_heap_free(heaps[k], p[k]);
			had[k] = p[k];
		}
	}
	for (k = 0; k < 9; k++) {
		CHECK(!fbuf_heap_stats(heaps[k], &s) && s.allocs == 100);
		CHECK(s.frees == 100 && !s.used && s.cached);
		fbuf_heap_destroy(heaps[k]);
		fbuf_pool_close(pools[k]);
	}
}

/* A thread frees what others do, as they end. */
static void *makes_and_ends(void *arg)
{
	struct object *o = arg;
	unsigned int i;

	seed(arg);
	for (i = 0; i < 100; i++)
		CHECK(object_new(&o[i], any_size(2000)));
	__atomic_store_n(&o[100].len, 1, __ATOMIC_RELEASE);
	return NULL;
}

static void test_thread_ends(void)
{
	struct object *o = must(calloc(101, sizeof(*o)));
	unsigned int round, i;
	pthread_t t;

	begin(16 * MIB, BUF, 0);
	for (round = 0; round < 300; round++) {
		o[100].len = 0;
		pthread_create(&t, NULL, makes_and_ends, o);
		while (!__atomic_load_n(&o[100].len, __ATOMIC_ACQUIRE))
			;
		for (i = 0; i < 100; i++)
			object_free(&o[i]);
		pthread_join(t, NULL);
	}
	CHECK(stats().allocs == 30000 && stats().frees == 30000);
	end();
	free(o);
}

/* A thread that ends uses the heap after its cache went. */
static pthread_key_t late_key;

static void use_late(void *arg)
{
	fbuf_heap_free(arg, fbuf_heap_alloc(arg, 100));
}

static void *ends_late(void *arg)
{
	fbuf_heap_free(heap, fbuf_heap_alloc(heap, 100));
	pthread_setspecific(late_key, heap);
	return arg;
}

static void test_late_use(void)
{
	pthread_t t;

	begin(16 * MIB, BUF, 0);
	/* Of two keys, that of the heap is first. */
	CHECK(!pthread_key_create(&late_key, use_late));
	CHECK(late_key > heap->key);
	pthread_create(&t, NULL, ends_late, NULL);
	pthread_join(t, NULL);
	CHECK(stats().allocs == 2 && stats().frees == 2 && !stats().cached);
	pthread_key_delete(late_key);
	end();
}

/* The heap goes before a thread that used it. */
static void *outlives(void *arg)
{
	(void)arg;
	fbuf_heap_free(heap, fbuf_heap_alloc(heap, 100));
	steps = 1;
	while (steps == 1)
		relax();
	return NULL;
}

static void test_heap_goes_first(void)
{
	pthread_t t;

	begin(MIB, BUF, 0);
	steps = 0;
	pthread_create(&t, NULL, outlives, NULL);
	while (!steps)
		relax();
	end();
	begin(MIB, BUF, 0);
	steps = 2;
	pthread_join(t, NULL);
	end();
}

/* The workload that says what is lost: three quarters of the pool are in use. */
#define LOAD_POOL	(256 * MIB)
#define LOAD_OBJECTS	6000U
#define LOAD_ALLOCS	250000U

static struct {
	struct object *o;
	unsigned int nr;
	size_t live;
	unsigned int refused;
	double worst;
} load[THREADS];

static double now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static size_t load_size(void)
{
	size_t top = (size_t)64 << below(13);

	return 64 + below(top - 63);
}

static void load_free(unsigned int t)
{
	struct object *o = &load[t].o[below(load[t].nr)];

	load[t].live -= o->len;
	object_free(o);
	*o = load[t].o[--load[t].nr];
}

static void *load_thread(void *arg)
{
	unsigned int t = (uintptr_t)arg, i;
	double begun, took;
	size_t len;

	seed(arg);
	for (i = 0; i < LOAD_ALLOCS; i++) {
		/* Some objects larger than all others would be few, and few small. */
		len = i % 4 ? load_size() : 64 + below(256 * KIB - 63);
		while (load[t].live + len > LOAD_POOL / 4 * 3 / THREADS ||
		       load[t].nr == LOAD_OBJECTS)
			load_free(t);
		begun = now(CLOCK_THREAD_CPUTIME_ID);
		if (!object_new(&load[t].o[load[t].nr], len)) {
			load[t].refused++;
			continue;
		}
		took = now(CLOCK_THREAD_CPUTIME_ID) - begun;
		if (took > load[t].worst)
			load[t].worst = took;
		load[t].live += len;
		load[t].nr++;
	}
	return NULL;
}

static void test_load(void)
{
	size_t live = 0, len;
	struct object o = { 0 };
	double begun, worst = 0;
	unsigned int t;

	begin(LOAD_POOL, BUF, 0);
	memset(load, 0, sizeof(load));
	for (t = 0; t < THREADS; t++)
		load[t].o = must(calloc(LOAD_OBJECTS, sizeof(*load[t].o)));
	begun = now(CLOCK_MONOTONIC);
	run_threads(load_thread);
	begun = now(CLOCK_MONOTONIC) - begun;
	for (t = 0; t < THREADS; t++) {
		live += load[t].live;
		CHECK(!load[t].refused);
		if (load[t].worst > worst)
			worst = load[t].worst;
	}
	printf("# %u allocations by %u threads in %.2f s, at most %.2f ms of CPU for one\n",
	       LOAD_ALLOCS * THREADS, THREADS, begun, worst * 1000);
	printf("# in use %.1f %%, asked for %.1f %%\n",
	       stats().used * 100.0 / LOAD_POOL, live * 100.0 / LOAD_POOL);
	/* Then more of the same, until there is none. */
	while (object_new(&o, len = 64 + below(256 * KIB - 63)))
		live += len;
	printf("# lost when memory ended: %.1f %%\n",
	       100 - live * 100.0 / LOAD_POOL);
	CHECK(live >= LOAD_POOL / 4 * 3);
	for (t = 0; t < THREADS; t++)
		free(load[t].o);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
}

/* Not a test. */
static int measure(unsigned int nr)
{
	static const size_t sizes[] = { 64, 1000, 16384, 100000 };
	unsigned int i, k;
	double begun;

	begin(256 * MIB, BUF, 0);
	for (k = 0; k < 4; k++) {
		begun = now(CLOCK_MONOTONIC);
		for (i = 0; i < nr; i++)
			fbuf_heap_free(heap, fbuf_heap_alloc(heap, sizes[k]));
		printf("%zu bytes: %.1f ns for alloc and free\n", sizes[k],
		       (now(CLOCK_MONOTONIC) - begun) * 1e9 / (nr ? nr : 1));
	}
	end();
	return failed;
}

static const struct test tests[] = {
	{ "heap: objects of all sizes", test_sizes },
	{ "heap: calls that are wrong", test_bad_calls },
	{ "heap: all buffers or none", test_not_all },
	{ "heap: slabs lose little, and come back", test_slabs },
	{ "heap: a small one where a larger was", test_place_of_a_larger },
	{ "heap: every boundary", test_aligned },
	{ "heap: calloc is zero", test_calloc },
	{ "heap: realloc keeps what was there", test_realloc },
	{ "heap: what is not in use is not freed", test_wrong_frees },
	{ "heap: nothing in flight is used", test_in_flight },
	{ "heap: any page that was sent waits", test_any_page },
	{ "heap: an object of many buffers", test_many_buffers },
	{ "heap: no call for what was not sent", test_no_calls },
	{ "heap: snapshots wait if they are told to", test_idle_flag },
	{ "heap: few calls for much that was sent", test_few_calls },
	{ "heap: one buffer has all kinds", test_one_buffer },
	{ "heap: a buffer that flies again is no other's", test_flies_again },
	{ "heap: what is cut off stays while it flies", test_cut_in_flight },
	{ "heap: wait ends with the first that is idle", test_wait },
	{ "heap: no lock is held in the module", test_no_lock },
	{ "heap: a child leaves the heap alone", test_fork },
	{ "heap: threads send and free each other's", test_threads_send },
	{ "heap: threads run out of memory", test_exhaustion },
	{ "heap: what is at hand is given when it is short", test_at_hand },
	{ "heap: runs are at hand, and not too many", test_runs_at_hand },
	{ "heap: which heap has an address", test_heap_of },
	{ "heap: a thread has many heaps", test_many_heaps },
	{ "heap: a thread ends while its objects are freed", test_thread_ends },
	{ "heap: a thread ends, and uses it once more", test_late_use },
	{ "heap: a heap goes before its threads", test_heap_goes_first },
	{ "heap: a quarter is lost at most", test_load },
};

int main(int argc, char **argv)
{
	if (argc > 1)
		return measure(strtoul(argv[1], NULL, 0));
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
