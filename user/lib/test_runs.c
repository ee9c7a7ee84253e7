// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Runs of pages, against a map that has a number for each page. The memory itself
 * cannot be touched: nothing about it may be kept in it. TAP out.
 *
 *	test_runs [N]		measure N times
 */

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "runs.h"
#include "test.h"

#define PAGE		RUNS_PAGE
#define BUF		(16 * PAGE)
#define KIB		((size_t)1024)
#define MIB		(1024 * KIB)
#define MAX_PAGES	65536U

/* The mapping that the pool is in. */
#define MAP_SIZE	(MAX_PAGES * PAGE + 8 * MIB)

static struct runs *runs;
static char *map, *base;
static size_t nr_pages;

/* What should be true of each page: which object has it, or 0; had one ever. */
static unsigned int owner[MAX_PAGES];
static bool handed_out[MAX_PAGES];

struct object {
	char *p;
	size_t asked;
	size_t size;
};

#define MAX_OBJECTS	4096U

static struct object objects[MAX_OBJECTS];
static unsigned int nr_objects;
static unsigned int next_id;
/* Bytes that were asked for. */
static size_t live;

static uint64_t rand_state;

static uint64_t rand64(void)
{
	rand_state ^= rand_state << 13;
	rand_state ^= rand_state >> 7;
	rand_state ^= rand_state << 17;
	return rand_state;
}

static size_t below(size_t n)
{
	return rand64() % n;
}

/* A pool that begins so many pages after a boundary of 4 MiB. */
static void begin(size_t pages, size_t off)
{
	map = mmap(NULL, MAP_SIZE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		printf("Bail out! No memory.\n");
		exit(1);
	}
	base = map + (-(uintptr_t)map & (4 * MIB - 1)) + off * PAGE;
	nr_pages = pages;
	memset(owner, 0, sizeof(owner));
	memset(handed_out, 0, sizeof(handed_out));
	nr_objects = 0;
	live = 0;
	rand_state = 88172645463325252;
	runs = runs_new(base, pages * PAGE);
	if (!runs) {
		printf("Bail out! No runs.\n");
		exit(1);
	}
}

static void end(void)
{
	runs_destroy(runs);
	munmap(map, MAP_SIZE);
}

static size_t model_used(void)
{
	size_t used = 0, i;

	for (i = 0; i < nr_pages; i++)
		used += owner[i] != 0;
	return used * PAGE;
}

static size_t model_largest(void)
{
	size_t best = 0, len = 0, i;

	for (i = 0; i < nr_pages; i++) {
		len = owner[i] ? 0 : len + 1;
		if (len > best)
			best = len;
	}
	return best * PAGE;
}

/* Whether so many bytes are free anywhere, on such a boundary. */
static bool model_fits(size_t size, size_t align)
{
	size_t want = size ? (size + PAGE - 1) / PAGE : 1, len = 0, i;

	/* From the end: len pages are free from i on. */
	for (i = nr_pages; i-- > 0;) {
		len = owner[i] ? 0 : len + 1;
		if (len >= want && !((uintptr_t)(base + i * PAGE) % align))
			return true;
	}
	return false;
}

static bool set_owner(const char *p, size_t size, unsigned int from,
		      unsigned int to)
{
	size_t first = (p - base) / PAGE, i;

	for (i = first; i < first + size / PAGE; i++) {
		if (i >= nr_pages || owner[i] != from)
			return false;
		owner[i] = to;
		handed_out[i] |= to != 0;
	}
	return true;
}

static bool ever(const char *p, size_t size)
{
	size_t first = (p - base) / PAGE, i;

	for (i = first; i < first + size / PAGE; i++)
		if (handed_out[i])
			return true;
	return false;
}

/* Take a run, and look at what was given; NULL if none fits, as it should be. */
static struct object *take(size_t size, size_t align)
{
	struct object *o = &objects[nr_objects];
	bool zeroed = false;

	if (nr_objects == MAX_OBJECTS)
		return NULL;
	o->p = runs_take(runs, size, align, &zeroed);
	if (!o->p) {
		CHECK(!model_fits(size, align));
		return NULL;
	}
	nr_objects++;
	o->asked = size;
	live += size;
	o->size = runs_size(runs, o->p);
	CHECK(o->p >= base && !((o->p - base) % PAGE));
	CHECK(!((uintptr_t)o->p % align));
	CHECK(o->size >= size && o->size % PAGE == 0);
	/* Rounded up: by a page, and 3 %. */
	CHECK(o->size <= size + size / 32 + PAGE);
	CHECK(!zeroed || !ever(o->p, o->size));
	CHECK(set_owner(o->p, o->size, 0, ++next_id));
	return o;
}

static unsigned int id_of(const struct object *o)
{
	return owner[(o->p - base) / PAGE];
}

static void give(struct object *o)
{
	CHECK(set_owner(o->p, o->size, id_of(o), 0));
	runs_give(runs, o->p);
	CHECK(!runs_size(runs, o->p));
	live -= o->asked;
	*o = objects[--nr_objects];
}

static void give_all(void)
{
	while (nr_objects)
		give(&objects[below(nr_objects)]);
	CHECK(runs_used(runs) == 0);
	CHECK(runs_largest(runs) == nr_pages * PAGE);
}

static void resize(struct object *o, size_t size)
{
	size_t end_page = (o->p - base + o->size) / PAGE, was = o->size;
	size_t behind = 0, now;

	while (end_page + behind < nr_pages && !owner[end_page + behind])
		behind++;
	if (!runs_resize(runs, o->p, size)) {
		CHECK(size > was + behind * PAGE);
		CHECK(runs_size(runs, o->p) == was);
		return;
	}
	now = runs_size(runs, o->p);
	CHECK(now >= size && now <= size + size / 32 + PAGE);
	if (now > was)
		CHECK(set_owner(o->p + was, now - was, 0, id_of(o)));
	else
		CHECK(set_owner(o->p + now, was - now, id_of(o), 0));
	live += size - o->asked;
	o->asked = size;
	o->size = now;
}

/* Runs by their address, as the map has them. */
static void each(void *p, size_t size, void *arg)
{
	size_t *at = arg, first = ((char *)p - base) / PAGE, i;

	CHECK(first >= *at && first + size / PAGE <= nr_pages);
	for (i = *at; i < first; i++)
		CHECK(!owner[i]);
	for (i = first; i < first + size / PAGE; i++)
		CHECK(owner[i] && owner[i] == owner[first]);
	*at = i;
	CHECK(i == nr_pages || owner[i] != owner[first]);
}

/* Free memory, as it is told: so far, and the one that was chosen of it. */
struct frees {
	size_t least;
	size_t handed_out;	/* bytes */
	unsigned int nr;
	unsigned int stop;	/* after so many */
	char *run;
	size_t size;
};

static bool each_free(void *run, size_t size, void *arg)
{
	size_t first = ((char *)run - base) / PAGE, i;
	struct frees *f = arg;

	CHECK(f->nr < f->stop);
	CHECK(size >= f->least && first + size / PAGE <= nr_pages);
	for (i = first; i < first + size / PAGE; i++) {
		CHECK(!owner[i]);
		f->handed_out += handed_out[i] * PAGE;
	}
	/* All there is, but for the rest where nothing was ever handed out. */
	CHECK(!first || owner[first - 1]);
	CHECK(i == nr_pages || owner[i] || !handed_out[i]);
	f->run = run;
	f->size = size;
	return ++f->nr < f->stop;
}

static size_t model_free(void)
{
	size_t bytes = 0, i;

	for (i = 0; i < nr_pages; i++)
		if (!owner[i] && handed_out[i])
			bytes += PAGE;
	return bytes;
}

/* Some whole pages of some free memory. */
static void take_part(void)
{
	struct frees f = { .least = 1 + below(2 * BUF), .stop = 1 + below(9) };
	struct object *o = &objects[nr_objects];
	size_t first, nr;

	runs_each_free(runs, f.least, each_free, &f);
	if (!f.nr || nr_objects == MAX_OBJECTS)
		return;
	first = below(f.size / PAGE);
	nr = 1 + below(f.size / PAGE - first);
	o->p = f.run + first * PAGE;
	o->size = nr * PAGE;
	o->asked = o->size;
	runs_take_part(runs, f.run, o->p, o->size);
	CHECK(set_owner(o->p, o->size, 0, ++next_id));
	CHECK(runs_size(runs, o->p) == o->size);
	live += o->size;
	nr_objects++;
}

/* All that can be asked is as in the map. */
static void compare(void)
{
	struct frees f = { .least = 1, .stop = UINT32_MAX };
	size_t at = 0, i;

	runs_each(runs, each, &at);
	runs_each_free(runs, 1, each_free, &f);
	CHECK(f.handed_out == model_free());
	for (; at < nr_pages; at++)
		CHECK(!owner[at]);
	CHECK(runs_used(runs) == model_used());
	CHECK(runs_largest(runs) == model_largest());
	for (i = 0; i < nr_pages; i++) {
		bool first = owner[i] && (!i || owner[i - 1] != owner[i]);

		CHECK(!!runs_size(runs, base + i * PAGE) == first);
	}
}

static size_t any_size(void)
{
	static const size_t max[] = { PAGE, 4 * PAGE, BUF, 3 * BUF, MIB };

	return below(max[below(5)] + 2);
}

static size_t any_align(void)
{
	return below(4) ? 1 : (size_t)1 << below(23);
}

static void random_ops(size_t pages, size_t off, unsigned int nr)
{
	unsigned int i;

	begin(pages, off);
	for (i = 0; i < nr && !failed; i++) {
		struct object *o = nr_objects ?
			&objects[below(nr_objects)] : NULL;
		/* Up and down: full, and nearly empty. */
		bool fill = i / 512 % 2;

		if (!o || below(10) < (fill ? 6 : 3))
			take(any_size(), any_align());
		else if (below(10) < 2)
			take_part();
		else if (below(10) < 3)
			resize(o, any_size());
		else
			give(o);
		if (i % 16 == 0)
			compare();
	}
	give_all();
	compare();
	end();
}

static void test_random(void)
{
	random_ops(1, 0, 2000);
	random_ops(17, 3, 20000);
	random_ops(256, 0, 50000);
	random_ops(1000, 5, 50000);
	random_ops(4096, 16, 20000);
}

static void test_bounds(void)
{
	bool zeroed;

	begin(64, 0);
	CHECK(!runs_new(base + 1, PAGE) && !runs_new(base, PAGE + 1) &&
	      !runs_new(base, 0));
	CHECK(!runs_take(runs, 64 * PAGE + 1, 1, &zeroed));
	CHECK(!runs_take(runs, SIZE_MAX, 1, &zeroed));
	CHECK(!runs_take(runs, SIZE_MAX - PAGE + 2, 1, &zeroed));
	CHECK(!runs_take(runs, 1, 0, &zeroed));
	CHECK(!runs_take(runs, 1, 3, &zeroed));
	CHECK(runs_used(runs) == 0);
	CHECK(take(0, 1) && runs_used(runs) == PAGE);
	CHECK(!runs_size(runs, base - PAGE) &&
	      !runs_size(runs, base + 64 * PAGE) && !runs_size(runs, NULL) &&
	      !runs_size(runs, base + 1) && !runs_size(runs, base + PAGE));
	CHECK(!runs_resize(runs, objects[0].p, SIZE_MAX));
	resize(&objects[0], 64 * PAGE);
	CHECK(objects[0].size == 64 * PAGE && !take(1, 1));
	resize(&objects[0], 0);
	CHECK(objects[0].size == PAGE);
	give_all();
	runs_destroy(NULL);
	end();
}

static void test_align(void)
{
	size_t align;

	begin(4096, 5);
	for (align = 1; align <= 2048 * PAGE; align *= 2) {
		CHECK(take(PAGE, align));
		CHECK(take(1, 1));
	}
	give_all();
	/* The only place for it in all of the pool. */
	CHECK(take(4 * MIB, 4 * MIB) && take(4 * MIB, 4 * MIB) &&
	      take(4 * MIB, 4 * MIB) && !take(4 * MIB, 4 * MIB));
	give_all();
	end();
}

/* Whose size says so begins with a buffer; a gap is for what is smaller. */
static void test_buffers(void)
{
	struct object *o;

	begin(1024, 0);
	CHECK(take(PAGE, 1));
	o = take(BUF, 1);
	CHECK(o && (o->p - base) % BUF == 0);
	o = take(1000000, 1);
	CHECK(o && (o->p - base) % BUF == 0);
	/* This fits behind the first. */
	o = take(BUF + PAGE, 1);
	CHECK(o && (o->p - base) % BUF != 0);
	o = take(10 * PAGE, 1);
	CHECK(o && o->p == base + PAGE);
	give_all();
	end();
}

/* All that fits is had, down to the last page; then nothing, then all again. */
static void test_exhaustion(void)
{
	size_t size;

	begin(MAX_PAGES / 8, 0);
	for (size = 64 * BUF; size >= PAGE; size /= 2)
		while (take(size, 1))
			;
	CHECK(runs_used(runs) == nr_pages * PAGE && !runs_largest(runs));
	CHECK(nr_objects == nr_pages / 1024);
	give_all();
	for (size = 0; size < 3000; size++)
		CHECK(take(1 + below(2 * PAGE), 1));
	give_all();
	CHECK(take(nr_pages * PAGE, 1));
	give_all();
	CHECK(take(nr_pages * PAGE / 2 + 1, 1));
	CHECK(take(runs_largest(runs), 1) && !runs_largest(runs));
	give_all();
	end();
}

/* Equal sizes take each other's places, the last one that was left first. */
static void test_reuse(void)
{
	char *first, *second;
	unsigned int i;

	begin(8192, 0);
	for (i = 0; i < 60; i++)
		CHECK(take(400000, 1));
	first = objects[20].p;
	second = objects[40].p;
	give(&objects[40]);
	give(&objects[20]);
	CHECK(take(394000, 1) && objects[58].p == first &&
	      objects[58].size == objects[0].size);
	CHECK(take(400100, 1) && objects[59].p == second);
	/* What was used comes before what never was. */
	give_all();
	for (i = 0; i < 40; i++)
		CHECK(take(100000, 1));
	for (i = 0; i < 20; i++)
		give(&objects[below(nr_objects)]);
	for (i = 0; i < 20; i++)
		CHECK(take(100000, 1));
	for (i = 0; i < 40; i++)
		CHECK(objects[i].p < base + 41 * 2 * BUF);
	give_all();
	end();
}

static void test_zeroed(void)
{
	bool zeroed = false;
	char *p, *q;

	begin(256, 0);
	/* One behind the other, nothing is skipped. */
	while (runs_largest(runs)) {
		zeroed = false;
		CHECK(runs_take(runs, PAGE, 1, &zeroed) && zeroed);
	}
	end();
	begin(256, 0);
	p = runs_take(runs, BUF, 1, &zeroed);
	CHECK(p && zeroed);
	/* It grew into what was fresh, and that is fresh no more. */
	CHECK(runs_resize(runs, p, 4 * BUF) && runs_resize(runs, p, PAGE));
	q = runs_take(runs, 4 * BUF, 1, &zeroed);
	CHECK(q && q < p + 4 * BUF && !zeroed);
	runs_give(runs, p);
	p = runs_take(runs, PAGE, 1, &zeroed);
	CHECK(p && !zeroed);
	CHECK(runs_take(runs, 4 * BUF, 1, &zeroed) && zeroed);
	end();
}

/* A child has runs of its own. */
static void test_fork(void)
{
	int status = -1;
	pid_t pid;

	begin(256, 0);
	CHECK(take(BUF, 1) && take(BUF, 1));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		failed = false;
		compare();
		give_all();
		_exit(failed);
	}
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	compare();
	give_all();
	end();
}

static bool dies(size_t offset, bool resizes)
{
	int status = 0, null;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		null = memfd_create("stderr", 0);
		dup2(null, STDERR_FILENO);
		if (resizes)
			runs_resize(runs, base + offset, PAGE);
		else
			runs_give(runs, base + offset);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
	       WTERMSIG(status) == SIGABRT;
}

/* What is in no use, or begins elsewhere, is not freed. */
static void test_wrong(void)
{
	begin(64, 0);
	CHECK(take(BUF, 1) && take(BUF, 1) && take(BUF, 1));
	CHECK(dies(1, false) && dies(PAGE, false) && dies(3 * BUF, false));
	CHECK(dies(64 * PAGE, false) && dies(-PAGE, false));
	CHECK(dies(PAGE, true) && !dies(BUF, true) && !dies(BUF, false));
	runs_give(runs, base + BUF);
	CHECK(dies(BUF, false) && dies(BUF, true));
	end();
}

/* 32 KiB to 1 MiB: each size as likely as any, or small ones more. */
static size_t mixed_size(bool small)
{
	size_t max = MIB;

	if (small)
		max = 64 * KIB << below(5);
	return 32 * KIB + below(max - 32 * KIB + 1);
}

/*
 * What is lost when memory ends: objects come and go at random, those that go are
 * as many as it takes for the next to fit.
 */
static void lose(bool small)
{
	double lost = 0, worst = 0;
	unsigned int i, nr = 0;

	begin(MAX_PAGES, 0);
	for (i = 0; i < 30000; i++) {
		double now;

		if (take(mixed_size(small), 1))
			continue;
		now = 1 - (double)live / (nr_pages * PAGE);
		/* Not while it fills for the first time. */
		if (i > 10000) {
			lost += now;
			worst = now > worst ? now : worst;
			nr++;
		}
		give(&objects[below(nr_objects)]);
	}
	lost /= nr ? nr : 1;
	printf("# %s: lost when memory ended: %.1f %%, at worst %.1f %%\n",
	       small ? "small more likely" : "any size", lost * 100,
	       worst * 100);
	CHECK(nr > 1000 && lost <= 0.25 && worst <= 0.25);
	give_all();
	end();
}

static void test_waste(void)
{
	lose(false);
	lose(true);
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/* Not a test: a pool that is three quarters full, a run out and one in. */
static int measure(unsigned int nr)
{
	static char *p[2048];
	static size_t size[2048];
	unsigned int i, n = 0;
	size_t sum = 0;
	bool zeroed;
	double t;

	begin(MAX_PAGES, 0);
	while (n < 2048 && sum < MAX_PAGES * PAGE / 4 * 3) {
		size[n] = mixed_size(true);
		p[n] = runs_take(runs, size[n], 1, &zeroed);
		sum += size[n++];
	}
	t = now();
	for (i = 0; i < nr; i++) {
		unsigned int k = below(n);

		if (p[k])
			runs_give(runs, p[k]);
		p[k] = runs_take(runs, size[below(n)], 1, &zeroed);
	}
	printf("%u times runs_give() and runs_take(): %.1f ns\n", nr,
	       (now() - t) * 1e9 / (nr ? nr : 1));
	end();
	return 0;
}

static const struct test tests[] = {
	{ "runs: random operations are as in a map", test_random },
	{ "runs: sizes and addresses that are none", test_bounds },
	{ "runs: every boundary", test_align },
	{ "runs: large ones begin with a buffer", test_buffers },
	{ "runs: all is had, and is one again", test_exhaustion },
	{ "runs: equal sizes take each other's places", test_reuse },
	{ "runs: zeroed is true where it is said", test_zeroed },
	{ "runs: a child has its own", test_fork },
	{ "runs: what is not in use cannot be freed", test_wrong },
	{ "runs: a quarter is lost at most", test_waste },
};

int main(int argc, char **argv)
{
	if (argc > 1)
		return measure(strtoul(argv[1], NULL, 0));
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
