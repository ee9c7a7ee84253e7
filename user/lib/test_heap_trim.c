// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A heap that grows, and gives memory back; without a module. What the pool has in
 * memory is what its file has. TAP out.
 */

#include <sys/stat.h>
#include <sys/wait.h>

#include "test_heap.h"

#define THREADS		4U
#define LIMIT		(128 * MIB)
/* Of a heap of that size: what it keeps, and as much again. */
#define FLOOR		(8 * MIB)

/* A heap with a pool of its own. */
static void begin_limit(size_t limit, unsigned int pool_flags,
			unsigned int flags, size_t keep)
{
	const struct fbuf_heap_options opt = {
		.limit = limit, .pool_flags = pool_flags, .flags = flags,
		.keep = keep,
	};

	if (fbuf_heap_create_with(&heap, &opt)) {
		printf("Bail out! No heap.\n");
		exit(1);
	}
	pool = fbuf_heap_pool(heap);
	base = pool->map;
	pool_size = pool->size;
}

/* Bytes of the pool that are in memory. */
static size_t in_memory(void)
{
	struct stat st = { 0 };

	CHECK(!fstat(fbuf_pool_fd(pool), &st));
	return st.st_blocks * 512;
}

static void end_limit(void)
{
	int fd = fbuf_pool_fd(pool);
	struct stat st;

	fbuf_heap_destroy(heap);
	CHECK(fake.frees == fake.nr);
	CHECK(fstat(fd, &st) < 0 && errno == EBADF);
}

/* Every page of it. */
static bool object_new_full(struct object *o, size_t len)
{
	if (!object_new(o, len))
		return false;
	memset(o->p, o->byte, len);
	return true;
}

static void test_grows(void)
{
	static const unsigned int kinds[] = {
		0, FBUF_POOL_SECURED, FBUF_POOL_SNAPSHOT | FBUF_POOL_SIGBUS
	};
	struct object o[16] = { 0 }, all = { 0 };
	unsigned int k, i;

	for (k = 0; k < 3; k++) {
		begin_limit(16 * MIB - 100, kinds[k], 0, 0);
		CHECK(fake.flags == (kinds[k] | FBUF_POOL_LAZY));
		CHECK(fake.buf_size == BUF && stats().size == 16 * MIB);
		CHECK(!in_memory() && !stats().resident);
		for (i = 0; i < 16; i++) {
			CHECK(object_new_full(&o[i], MIB));
			CHECK(stats().resident == (i + 1) * MIB);
			CHECK(in_memory() == (i + 1) * MIB);
		}
		CHECK(!object_new(&all, 16));
		for (i = 0; i < 16; i++)
			object_free(&o[i]);
		CHECK(object_new_full(&all, 16 * MIB));
		object_free(&all);
		end_limit();
	}
}

static int try_options(const struct fbuf_heap_options *opt)
{
	struct fbuf_heap *was = heap;
	int ret = fbuf_heap_create_with(&heap, opt);

	CHECK(heap == was || !ret);
	return ret;
}

static void test_bad_options(void)
{
	struct {
		struct fbuf_heap_options opt;
		char newer;
	} long_opt = { .opt = { .limit = MIB } };
	struct fbuf_heap_options opt = { 0 };

	begin_pool(4 * MIB, BUF, 0);
	errno = 4711;
	CHECK(try_options(&opt) == -EINVAL);
	opt.limit = MIB;
	opt.flags = ~FBUF_HEAP_IDLE;
	CHECK(try_options(&opt) == -EINVAL);
	opt.flags = 0;
	opt.pool = pool;
	CHECK(try_options(&opt) == -EINVAL);
	opt.limit = 0;
	opt.buf_size = 4096;
	CHECK(try_options(&opt) == -EINVAL);
	opt.buf_size = 0;
	opt.pool_flags = FBUF_POOL_SNAPSHOT;
	CHECK(try_options(&opt) == -EINVAL);
	opt.pool_flags = 0;
	CHECK(fbuf_heap_create_sized(&heap, &opt, 16) == -EINVAL);
	CHECK(fbuf_heap_create(&heap, NULL, 0) == -EINVAL);
	/* As many buffers as no pool can have. */
	opt.pool = NULL;
	opt.limit = SIZE_MAX;
	CHECK(try_options(&opt) == -EINVAL);
	long_opt.newer = 1;
	CHECK(fbuf_heap_create_sized(&heap, &long_opt.opt,
				     sizeof(long_opt)) == -E2BIG);
	CHECK(errno == 4711);
	/* All buffers of one that is given. */
	opt.limit = 0;
	opt.pool = pool;
	opt.keep = 1;
	CHECK(!try_options(&opt) && fbuf_heap_pool(heap) == pool);
	end();
}

/* Only where it can be. */
static void test_cannot_trim(void)
{
	int status = -1;
	pid_t pid;

	begin(4 * MIB, BUF, FBUF_POOL_SNAPSHOT);
	CHECK(fbuf_heap_trim(heap, 0) == -EOPNOTSUPP);
	CHECK(stats().resident == 4 * MIB && !fake.drop_calls);
	end();
	begin_pool(4 * MIB, BUF, FBUF_POOL_LAZY);
	fake.no_drop = true;
	begin_heap(0);
	CHECK(fbuf_heap_trim(heap, 0) == -EOPNOTSUPP && !fake.drop_calls);
	end();
	begin_limit(4 * MIB, 0, 0, 0);
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(fbuf_heap_trim(heap, 0) != -EINVAL || fake.drop_calls);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(fbuf_heap_trim(heap, 0) == 0);
	end_limit();
}

/* What is free of whole buffers goes, what is in use stays as it is. */
static void test_trim(void)
{
	static struct object o[600];
	size_t had, used, i;
	unsigned int round;

	begin_limit(LIMIT, 0, 0, SIZE_MAX);
	for (round = 0; round < 6; round++) {
		for (i = 0; i < 600; i++)
			CHECK(object_new_full(&o[i], any_size(200 * KIB)));
		for (i = 0; i < 600; i++)
			if (below(8))
				object_free(&o[i]);
		CHECK(!fake.drops);
		had = in_memory();
		CHECK(had <= stats().resident);
		/* Some stays. */
		CHECK(fbuf_heap_trim(heap, had / 2) > 0);
		CHECK(in_memory() < had && in_memory() > had / 2);
		CHECK(fbuf_heap_trim(heap, 0) > 0 && !stats().cached);
		used = stats().used;
		/* Small objects are in slabs, and share buffers. */
		CHECK(in_memory() < 2 * used + 2 * MIB);
		CHECK(in_memory() <= stats().resident);
		CHECK(fbuf_heap_trim(heap, 0) == 0);
		for (i = 0; i < 600; i++)
			object_free(&o[i]);
		CHECK(fbuf_heap_trim(heap, 0) > 0);
		CHECK(!in_memory() && !stats().resident);
		fake.drops = 0;
	}
	CHECK(object_new_full(&o[0], LIMIT));
	object_free(&o[0]);
	end_limit();
}

/* A call takes so many; what is in the middle of the heap goes as well. */
static void test_trim_all(void)
{
	struct object o[20] = { 0 };
	unsigned int i;

	begin_limit(LIMIT, FBUF_POOL_SECURED, 0, SIZE_MAX);
	for (i = 0; i < 20; i++)
		CHECK(object_new_full(&o[i], 5 * MIB));
	for (i = 0; i < 20; i += 2)
		object_free(&o[i]);
	CHECK(fbuf_heap_trim(heap, 0) == 50 * (ssize_t)MIB);
	CHECK(in_memory() == 50 * MIB && fake.drops == 800);
	for (i = 1; i < 20; i += 2)
		object_free(&o[i]);
	CHECK(fbuf_heap_trim(heap, 10 * MIB) == 40 * (ssize_t)MIB);
	CHECK(in_memory() == 10 * MIB);
	end_limit();
}

/* Without being told to: all but what is kept. */
static void test_by_itself(void)
{
	static struct object o[1600];
	unsigned int i, kind;
	size_t size;

	for (kind = 0; kind < 4; kind++) {
		begin_limit(LIMIT, 0, 0, 0);
		size = kind == 0 ? 64 * KIB : kind == 1 ? 16 * KIB :
		       kind == 2 ? 300 * KIB : 1000;
		for (i = 0; i < 1600 && i * size < 110 * MIB; i++)
			CHECK(object_new_full(&o[i], size));
		CHECK(!fake.drop_calls);
		for (i = 0; i < 1600; i++)
			object_free(&o[i]);
		CHECK(in_memory() <= FLOOR + 2 * MIB);
		CHECK(!fake.drops == (1600 * size < FLOOR));
		end_limit();
	}
	/* Unless it is told not to: twice of that is 0. */
	begin_limit(LIMIT, 0, 0, SIZE_MAX / 2 + 1);
	CHECK(object_new_full(&o[0], 100 * MIB));
	object_free(&o[0]);
	CHECK(object_new(&o[0], 300 * KIB));
	object_free(&o[0]);
	CHECK(in_memory() == 100 * MIB && !fake.drop_calls);
	end_limit();
	/* Or to keep nearly nothing. */
	begin_limit(LIMIT, 0, 0, 1);
	for (i = 0; i < 100; i++)
		CHECK(object_new_full(&o[i], 300 * KIB));
	for (i = 0; i < 100; i++)
		object_free(&o[i]);
	CHECK(in_memory() <= 2 * MIB);
	end_limit();
}

/* One page of each buffer is in use: nothing can go, and nobody tries for long. */
static void test_fragments(void)
{
	static struct object o[4][1900];
	unsigned int i;

	begin_limit(LIMIT, 0, 0, 0);
	for (i = 0; i < 1900; i++) {
		CHECK(object_new(&o[0][i], 4 * KIB + 1));
		o[1][i].p = fbuf_heap_alloc_aligned(heap, BUF, 40 * KIB);
		CHECK(o[1][i].p);
	}
	for (i = 0; i < 1900; i++) {
		fbuf_heap_free(heap, o[1][i].p);
		if (i % 128 == 0)
			trim_maybe(heap);
	}
	printf("# %zu MiB in memory, %zu in use\n", in_memory() / MIB,
	       (size_t)stats().used / MIB);
	/* Then all of it can. */
	for (i = 0; i < 1900; i++)
		object_free(&o[0][i]);
	CHECK(in_memory() <= FLOOR + 2 * MIB);
	end_limit();
}

/* Whoever takes and frees the same all the time does not lose it each time. */
static void test_not_each_time(void)
{
	static struct object o[400];
	unsigned int round, i;
	long long begun;
	size_t may;

	begin_limit(LIMIT, 0, 0, 0);
	begun = lib_now_ms();
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 400; i++)
			CHECK(object_new(&o[i], 256 * KIB));
		for (i = 0; i < 400; i++)
			object_free(&o[i]);
	}
	may = LIMIT / MIB + (lib_now_ms() - begun) * 64 / 1000;
	printf("# %u MiB of %d were given back, in %lld ms\n",
	       fake.drops / 16, 20 * 100, lib_now_ms() - begun);
	CHECK(fake.drops && fake.drops / 16 <= may + 16);
	end_limit();
}

/* Nor when no byte more may be given back in this millisecond. */
static void test_not_now(void)
{
	struct object o[40] = { 0 }, all = { 0 };
	unsigned int round, i;

	begin_limit(16 * MIB, 0, 0, 1);
	for (round = 0; round < 3000; round++) {
		for (i = 0; i < 40; i++)
			if (!o[i].p)
				CHECK(object_new(&o[i], 1 + below(400 * KIB)));
		for (i = 0; i < 40; i++)
			if (below(4))
				object_free(&o[i]);
	}
	for (i = 0; i < 40; i++)
		object_free(&o[i]);
	CHECK(fake.drops && !stats().used);
	CHECK(object_new_full(&all, 16 * MIB));
	object_free(&all);
	end_limit();
}

/* Memory that is in flight stays, whether it waits or not. */
static void try_in_flight(unsigned int pool_flags, unsigned int flags)
{
	struct packet *packets[20];
	struct object o[200] = { 0 };
	unsigned int i;

	begin_limit(LIMIT, pool_flags, flags, SIZE_MAX);
	for (i = 0; i < 200; i++)
		CHECK(object_new_full(&o[i], 300 * KIB));
	for (i = 0; i < 20; i++)
		packets[i] = send_object(&o[i * 10]);
	for (i = 0; i < 200; i++)
		object_free(&o[i]);
	CHECK(fbuf_heap_trim(heap, 0) > 0);
	printf("# %zu KiB of %d are in memory, after %u calls\n",
	       in_memory() / KIB, 20 * 300, fake.drop_calls);
	/* All but the buffers of the packets. */
	CHECK(in_memory() >= 20 * 300 * KIB && in_memory() <= 20 * 384 * KIB);
	for (i = 0; i < 20; i++)
		deliver(packets[i]);
	CHECK(fbuf_heap_trim(heap, 0) > 0);
	CHECK(!in_memory() && !stats().waiting);
	end_limit();
}

static void test_in_flight(void)
{
	try_in_flight(0, 0);
	try_in_flight(FBUF_POOL_SNAPSHOT, FBUF_HEAP_IDLE);
	try_in_flight(FBUF_POOL_SNAPSHOT, 0);
}

/* Nor does a free make many calls to find what is not. */
static void test_few_calls(void)
{
	struct packet *packets[100];
	struct object o[1000] = { 0 };
	unsigned int i, calls;

	begin_limit(LIMIT, FBUF_POOL_SNAPSHOT, 0, 1);
	for (i = 0; i < 1000; i++)
		CHECK(object_new_full(&o[i], 100 * KIB));
	for (i = 0; i < 100; i++)
		packets[i] = send_object(&o[i * 10]);
	for (i = 0; i < 1000; i++) {
		calls = fake.drop_calls;
		object_free(&o[i]);
		CHECK(fake.drop_calls - calls <= 16);
	}
	CHECK(fake.drops);
	for (i = 0; i < 100; i++)
		deliver(packets[i]);
	end_limit();
}

/* While a thread is in the module, others find no lock, and miss no memory. */
static void *trim_thread(void *arg)
{
	CHECK(fbuf_heap_trim(heap, 0) > 0);
	return arg;
}

static void *wants_all(void *arg)
{
	void *all = fbuf_heap_alloc(heap, 16 * MIB);

	CHECK(all == base);
	fbuf_heap_free(heap, all);
	return arg;
}

static void test_no_lock(void)
{
	struct object o[50] = { 0 };
	pthread_t t, waits;
	unsigned int i, n;

	begin_limit(16 * MIB, 0, 0, SIZE_MAX);
	CHECK(object_new_full(&o[0], 8 * MIB));
	object_free(&o[0]);
	fake.drop_stuck = true;
	pthread_create(&t, NULL, trim_thread, NULL);
	while (!fake.drop_calls)
		relax();
	alarm(DEADLINE_MS / 1000);
	for (i = 0; i < 30000; i++) {
		n = below(50);
		object_free(&o[n]);
		CHECK(object_new(&o[n], any_size(100 * KIB)));
	}
	alarm(0);
	for (i = 0; i < 50; i++)
		object_free(&o[i]);
	pthread_create(&waits, NULL, wants_all, NULL);
	for (i = 0; i < 20; i++)
		relax();
	CHECK(fake.drop_calls == 1 && !stats().failed);
	fake.drop_stuck = false;
	pthread_join(t, NULL);
	pthread_join(waits, NULL);
	CHECK(!stats().failed);
	end_limit();
}

static atomic_uint at_work;

static void *trims(void *arg)
{
	(void)arg;
	while (at_work) {
		fbuf_heap_trim(heap, below(4) * MIB);
		usleep(500);
	}
	return NULL;
}

static void *works(void *arg)
{
	static __thread struct object o[64];
	unsigned int i, n;

	rand_state = 88172645463325252 + 1234567 * (uintptr_t)arg;
	for (i = 0; i < 20000; i++) {
		n = below(64);
		object_free(&o[n]);
		object_new(&o[n], any_size(300 * KIB));
		/* All of it, now and then. */
		if (below(2000) == 0)
			for (n = 0; n < 64; n++)
				object_free(&o[n]);
	}
	for (n = 0; n < 64; n++)
		object_free(&o[n]);
	at_work--;
	return NULL;
}

/* Nothing is lost that is in use, whoever gives back what. */
static void test_threads(void)
{
	pthread_t t[THREADS + 1];
	uintptr_t i;

	begin_limit(LIMIT, 0, 0, 1);
	at_work = THREADS;
	for (i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, works, (void *)i);
	pthread_create(&t[THREADS], NULL, trims, NULL);
	for (i = 0; i <= THREADS; i++)
		pthread_join(t[i], NULL);
	printf("# %lu objects, %u buffers lost their memory\n",
	       (unsigned long)stats().allocs, fake.drops);
	CHECK(fake.drops > 200 && !stats().failed && !stats().used);
	CHECK(fbuf_heap_trim(heap, 0) >= 0 && !in_memory());
	end_limit();
}

static const struct test tests[] = {
	{ "trim: a heap grows to its limit, of all kinds", test_grows },
	{ "trim: options that are wrong", test_bad_options },
	{ "trim: pools and processes that cannot", test_cannot_trim },
	{ "trim: what is in use stays", test_trim },
	{ "trim: as much as is asked for", test_trim_all },
	{ "trim: much that is freed goes by itself", test_by_itself },
	{ "trim: buffers in use by parts stay", test_fragments },
	{ "trim: not each time that it is freed", test_not_each_time },
	{ "trim: not more than may be for now", test_not_now },
	{ "trim: what is in flight stays", test_in_flight },
	{ "trim: few calls where some is in flight", test_few_calls },
	{ "trim: no lock is held meanwhile", test_no_lock },
	{ "trim: threads use what others give back", test_threads },
};

int main(void)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
