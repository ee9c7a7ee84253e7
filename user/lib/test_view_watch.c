// SPDX-License-Identifier: LGPL-2.1-or-later
/* Views: leaks in four levels, check mode, and what the environment says. TAP out. */

#include <errno.h>
#include <fcntl.h>

#include "lib.h"
#include "test_view.h"

/* What reports there were, and the last one. */
static unsigned int reports;
static char said[8192];

static void hear(void *arg, const char *text)
{
	CHECK(arg == said);
	reports++;
	snprintf(said, sizeof(said), "%s", text);
}

static void level_begin(unsigned int level)
{
	reports = 0;
	said[0] = '\0';
	fbuf_view_on_report(hear, said);
	CHECK(fbuf_view_leaks(level) >= 0);
}

static void level_end(void)
{
	fbuf_view_on_report(NULL, NULL);
	fbuf_view_leaks(FBUF_VIEW_LEAKS_OFF);
}

static void levels(void)
{
	int was = fbuf_view_leaks(FBUF_VIEW_LEAKS_PARANOID);

	CHECK(was == FBUF_VIEW_LEAKS_SIMPLE || getenv("FBUF_VIEW_LEAKS"));
	CHECK(fbuf_view_leaks(4) == -EINVAL);
	CHECK(fbuf_view_leaks(FBUF_VIEW_LEAKS_OFF) ==
	      FBUF_VIEW_LEAKS_PARANOID);
}

/* Leaks of many views: how many are reported. */
static unsigned int found(unsigned int level, unsigned int nr)
{
	struct fbuf_view *views[nr];
	unsigned int i, n;

	level_begin(level);
	for (i = 0; i < nr; i++)
		views[i] = fbuf_view_alloc(NULL, 1);
	n = fbuf_view_leaks_report(0);
	CHECK(n == reports);
	for (i = 0; i < nr; i++)
		fbuf_view_release(views[i]);
	CHECK(!fbuf_view_leaks_report(0));
	level_end();
	return n;
}

static void off(void)
{
	CHECK(!found(FBUF_VIEW_LEAKS_OFF, 2000));
}

/* One in 128 of 12800 is 100, give or take. */
static void simple(void)
{
	unsigned int n = found(FBUF_VIEW_LEAKS_SIMPLE, 12800);

	CHECK(n > 40 && n < 180);
	CHECK(strstr(said, "leak") && strstr(said, "1 reference is left"));
	CHECK(strstr(said, "made by fbuf_view_alloc()"));
	CHECK(strstr(said, "FBUF_VIEW_LEAKS=advanced"));
	CHECK(!strstr(said, "touched last by"));
}

static void advanced(void)
{
	unsigned int n = found(FBUF_VIEW_LEAKS_ADVANCED, 12800);

	CHECK(n > 40 && n < 180);
	CHECK(strstr(said, "made by fbuf_view_alloc()"));
}

static void paranoid(void)
{
	CHECK(found(FBUF_VIEW_LEAKS_PARANOID, 2000) == 2000);
}

__attribute__((__noinline__)) void maker_of_leaks(struct fbuf_view **v);
void maker_of_leaks(struct fbuf_view **v)
{
	*v = fbuf_view_alloc(NULL, 10);
	__asm__ volatile("" : : : "memory");
}

__attribute__((__noinline__)) void toucher_of_leaks(struct fbuf_view *v);
void toucher_of_leaks(struct fbuf_view *v)
{
	fbuf_view_write(v, "a", 1);
	__asm__ volatile("" : : : "memory");
}

/* Where it was made and touched, by the names of functions of the program. */
static void says_where(void)
{
	struct fbuf_view *v;

	level_begin(FBUF_VIEW_LEAKS_PARANOID);
	maker_of_leaks(&v);
	fbuf_view_retain(v);
	toucher_of_leaks(v);
	CHECK(fbuf_view_leaks_report(0) == 1);
	CHECK(strstr(said, "2 references are left"));
	CHECK(strstr(said, "made by fbuf_view_alloc()"));
	CHECK(strstr(said, "at maker_of_leaks+0x"));
	CHECK(strstr(said, "touched last by fbuf_view_write()"));
	CHECK(strstr(said, "at toucher_of_leaks+0x"));
	CHECK(strstr(said, "before that by fbuf_view_retain()"));
	CHECK(strstr(said, program_invocation_short_name));
	/* Only once. */
	CHECK(!fbuf_view_leaks_report(0));
	CHECK(!fbuf_view_release(v) && fbuf_view_release(v));
	level_end();
}

static void says_hint(void)
{
	struct fbuf_view *v, *s;

	level_begin(FBUF_VIEW_LEAKS_PARANOID);
	v = fbuf_view_alloc(NULL, 10);
	s = fbuf_view_slice(v, 0, 5);
	fbuf_view_touch(s, "in the queue of peer 7");
	CHECK(fbuf_view_leaks_report(0) == 1);
	CHECK(strstr(said, "fbuf_view_touch()"));
	CHECK(strstr(said, ": in the queue of peer 7\n"));
	fbuf_view_release(s);
	level_end();
}

/* Each kind with a count of its own is one. */
static void all_kinds(void)
{
	struct fbuf_view *v, *r, *c;

	level_begin(FBUF_VIEW_LEAKS_PARANOID);
	v = fbuf_view_wrap("abc", 3, NULL, NULL);
	r = fbuf_view_retained_slice(v, 0, 1);
	c = fbuf_view_composite(0);
	fbuf_view_slice(v, 0, 1);
	CHECK(!fbuf_view_add(c, fbuf_view_retained_duplicate(v)));
	CHECK(fbuf_view_leaks_report(0) == 4);
	fbuf_view_release(c);
	fbuf_view_release(r);
	CHECK(fbuf_view_release(v));
	level_end();
}

/* Those that somebody touched lately are no leaks yet. */
static void idle_ones(void)
{
	struct fbuf_view *v, *w;
	long long before;
	bool late;

	level_begin(FBUF_VIEW_LEAKS_PARANOID);
	/* Where this does not run for long, it was idle as well. */
	do {
		v = fbuf_view_alloc(NULL, 10);
		w = fbuf_view_alloc(NULL, 10);
		CHECK(!fbuf_view_leaks_report(60000));
		usleep(250000);
		before = lib_now_ms();
		fbuf_view_touch(w, NULL);
		reports = fbuf_view_leaks_report(200);
		late = lib_now_ms() - before >= 200;
		CHECK(late || reports == 1);
		CHECK(late || fbuf_view_leaks_report(0) == 1);
		fbuf_view_release(v);
		fbuf_view_release(w);
	} while (late);
	level_end();
}

static void heap_ends(void)
{
	struct fbuf_pool *pool = fake_pool(4, 0);
	struct fbuf_heap *h;
	struct fbuf_view *v, *w;

	CHECK(!fbuf_heap_create(&h, pool, 0));
	level_begin(FBUF_VIEW_LEAKS_PARANOID);
	v = fbuf_view_alloc(h, 10);
	w = fbuf_view_alloc(NULL, 10);
	CHECK(v);
	fbuf_heap_destroy(h);
	CHECK(reports == 1 && strstr(said, "leak"));
	fbuf_view_release(w);
	level_end();
	fbuf_pool_close(pool);
}

/* Check mode: what was released is poison, also before it is used again. */
static void poisons(void)
{
	struct fbuf_view *v, *w;
	unsigned char *p, *q;
	unsigned int i;

	CHECK(!fbuf_view_check(1) && fbuf_view_check(1) == 1);
	v = of_alloc(NULL, 0, 100);
	w = of_alloc(heap, 0, 100);
	p = fbuf_view_data(v);
	q = fbuf_view_data(w);
	CHECK(fbuf_view_release(v) && fbuf_view_release(w));
	for (i = 0; i < 100; i++)
		CHECK(p[i] == FBUF_VIEW_POISON && q[i] == FBUF_VIEW_POISON);
	CHECK(fbuf_view_check_look() >= 200);
	CHECK(fbuf_view_check(0) == 1 && !fbuf_view_check_look());
}

static void poisons_idle_only(void)
{
	struct fbuf_view *v;
	unsigned char *p;

	fbuf_view_check(1);
	v = of_alloc(heap, 0, 100);
	p = fbuf_view_data(v);
	fake_fly(true);
	CHECK(fbuf_view_release(v) && !fbuf_view_check_look());
	CHECK(p[0] == byte_at(0) && p[99] == byte_at(99));
	fake_fly(false);
	CHECK(fbuf_view_check_look() >= 100);
	CHECK(p[0] == FBUF_VIEW_POISON && p[99] == FBUF_VIEW_POISON);
	fbuf_view_check(0);
}

/* Of the heap so much is kept that others get some: all, if they ask for it. */
static void gives_back(void)
{
	struct fbuf_view *v, *views[60];
	size_t size = 64 * (size_t)FAKE_BUF;
	unsigned int i;

	fbuf_view_check(1);
	for (i = 0; i < 60; i++)
		CHECK((views[i] = fbuf_view_alloc(heap, size / 64)));
	for (i = 0; i < 60; i++)
		fbuf_view_release(views[i]);
	CHECK(fbuf_view_check_look() <= size / 8);
	v = fbuf_view_alloc(heap, size);
	CHECK(v && fbuf_view_release(v));
	fbuf_view_check(0);
}

/* A heap takes what is kept of it along. */
static void heap_takes_along(void)
{
	struct fbuf_pool *pool = fake_pool(4, 0);
	struct fbuf_heap *h;

	fbuf_view_check(1);
	CHECK(!fbuf_heap_create(&h, pool, 0));
	fbuf_view_release(fbuf_view_alloc(h, 1000));
	CHECK(fbuf_view_check_look() >= 1000);
	fbuf_heap_destroy(h);
	CHECK(!fbuf_view_check_look());
	fbuf_view_check(0);
	fbuf_pool_close(pool);
}

__attribute__((__noinline__)) void last_holder(struct fbuf_view *v);
void last_holder(struct fbuf_view *v)
{
	fbuf_view_release(v);
	__asm__ volatile("" : : : "memory");
}

static void use_it(void *arg)
{
	struct fbuf_view *v;
	unsigned int i;

	(void)arg;
	fbuf_view_check(1);
	maker_of_leaks(&v);
	last_holder(v);
	/* Many others do not become it. */
	for (i = 0; i < 3000; i++)
		fbuf_view_release(fbuf_view_alloc(NULL, 1));
	fbuf_view_len(v);
}

static void use_part(void *arg)
{
	struct fbuf_view *v, *s;

	(void)arg;
	fbuf_view_check(1);
	maker_of_leaks(&v);
	s = fbuf_view_slice(v, 0, 1);
	last_holder(v);
	fbuf_view_len(s);
}

static void names_last_holder(void)
{
	CHECK(dies(use_it, NULL, "had last by fbuf_view_release()",
		   "last_holder+0x"));
	CHECK(dies(use_it, NULL, "made by fbuf_view_alloc()",
		   "maker_of_leaks+0x"));
	CHECK(dies(use_part, NULL, "used after its last release",
		   "last_holder+0x"));
}

static void write_it(void *arg)
{
	struct fbuf_view *v;
	unsigned char *p;

	(void)arg;
	fbuf_view_check(1);
	v = of_alloc(NULL, 0, 50);
	p = fbuf_view_data(v);
	last_holder(v);
	p[17] = 1;
	fbuf_view_check_look();
}

static void write_and_end(void *arg)
{
	struct fbuf_view *v;
	unsigned char *p;

	(void)arg;
	fbuf_view_check(1);
	v = of_alloc(NULL, 0, 50);
	p = fbuf_view_data(v);
	last_holder(v);
	p[0] = 1;
	exit(0);
}

static void finds_writes(void)
{
	CHECK(dies(write_it, NULL, "byte 17 of ", "last_holder+0x"));
	CHECK(dies(write_and_end, NULL, "byte 0 of ", "last_holder+0x"));
}

/* This program again, with something in its environment. */
static bool again(const char *variable, const char *value, const char *what,
		  const char *says, int want)
{
	char out[8192];
	int fds[2], status;
	size_t len = 0;
	ssize_t n;
	pid_t pid;

	if (pipe(fds))
		return false;
	pid = fork();
	if (!pid) {
		dup2(fds[1], STDERR_FILENO);
		dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
		unsetenv("FBUF_VIEW_LEAKS");
		unsetenv("FBUF_VIEW_CHECK");
		if (variable)
			setenv(variable, value, 1);
		/* A leak is what this is about. */
		setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
		execl("/proc/self/exe", "test_view_watch", what, NULL);
		_exit(99);
	}
	close(fds[1]);
	while ((n = read(fds[0], out + len, sizeof(out) - 1 - len)) > 0)
		len += n;
	out[len] = '\0';
	close(fds[0]);
	waitpid(pid, &status, 0);
	if ((status & ~0x80) == want && (says ? !!strstr(out, says) : !len))
		return true;
	printf("# status %d, says: %s\n", status, out);
	return false;
}

static void finds_writes_to_heap(void)
{
	CHECK(again("FBUF_VIEW_CHECK", "1", "write",
		    "was written after the last release", SIGABRT));
	CHECK(again("FBUF_VIEW_CHECK", "1", "write", "last_holder+0x",
		    SIGABRT));
	CHECK(again("FBUF_VIEW_CHECK", "0", "write", NULL, 0));
}

static void retain_for_ever(void *arg)
{
	struct fbuf_view *v = fbuf_view_alloc(NULL, 1);

	(void)arg;
	fbuf_view_retain_many(v, 0x7fffffff);
}

static void counts_have_a_limit(void)
{
	CHECK(dies(retain_for_ever, NULL, "too many references", NULL));
}

static int again_main(const char *what)
{
	static struct fbuf_view *views[3000];
	struct fbuf_view *v;
	unsigned int i;

	/* Of a heap: it is not to be had by a fork. */
	if (!strcmp(what, "write")) {
		pools_begin(0);
		v = of_heap(0, 50);
		what = fbuf_view_data(v);
		last_holder(v);
		*(char *)what = 1;
		return 0;
	}
	/* There are dead ones to be had. */
	for (i = 0; i < 300; i++)
		views[i] = fbuf_view_alloc(NULL, 1);
	for (i = 0; i < 300; i++)
		fbuf_view_release(views[i]);
	maker_of_leaks(&v);
	if (!strcmp(what, "leak"))
		return 0;
	last_holder(v);
	/* Others do not become it soon. */
	for (i = 0; i < 100 || (i < 3000 && !strcmp(what, "use many")); i++)
		views[i] = fbuf_view_alloc(NULL, 1);
	if (!strncmp(what, "use", 3))
		return fbuf_view_len(v);
	while (i)
		fbuf_view_release(views[--i]);
	return 0;
}

static void environment(void)
{
	CHECK(again("FBUF_VIEW_LEAKS", "paranoid", "leak",
		    "a view was not released", 0));
	CHECK(again("FBUF_VIEW_LEAKS", "paranoid", "no", NULL, 0));
	CHECK(again("FBUF_VIEW_LEAKS", "off", "leak", NULL, 0));
	CHECK(again(NULL, NULL, "leak", NULL, 0));
	CHECK(again("FBUF_VIEW_LEAKS", "loud", "no",
		    "none of off, simple, advanced, paranoid", 0));
	CHECK(again("FBUF_VIEW_CHECK", "1", "use", "last_holder+0x", SIGABRT));
	CHECK(again("FBUF_VIEW_CHECK", "1", "use many", "last_holder+0x",
		    SIGABRT));
	CHECK(again("FBUF_VIEW_CHECK", "1", "no", NULL, 0));
	CHECK(again(NULL, NULL, "use", "used after its last release", SIGABRT));
}

/* A child has what it had; it must not poison what is the parent's as well. */
static void forks(void)
{
	/* Of snapshots: of others a child is told nothing. */
	struct fbuf_pool *pool = fake_pool(4, FBUF_POOL_SNAPSHOT);
	struct fbuf_view *v, *w;
	struct fbuf_heap *h;
	unsigned char *p;
	int status;
	pid_t pid;

	CHECK(!fbuf_heap_create(&h, pool, 0));
	fbuf_view_check(1);
	fbuf_view_release(of_alloc(h, 0, 200));
	CHECK(fbuf_view_check_look() >= 200);
	v = of_alloc(h, 0, 100);
	w = of_alloc(NULL, 0, 100);
	p = fbuf_view_data(v);
	pid = fork();
	if (!pid) {
		bool right = !fbuf_view_check_look();

		right = right && fbuf_view_release(v) && fbuf_view_release(w);
		v = fbuf_view_alloc(NULL, 10);
		right = right && v && fbuf_view_release(v);
		right = right && !fbuf_view_alloc(h, 10);
		_exit(!right);
	}
	waitpid(pid, &status, 0);
	CHECK(!status && p[0] == byte_at(0) && p[99] == byte_at(99));
	CHECK(fbuf_view_release(v) && fbuf_view_release(w));
	fbuf_view_check(0);
	fbuf_heap_destroy(h);
	fbuf_pool_close(pool);
}

static void errno_stays(void)
{
	struct fbuf_view *v;

	errno = 77;
	v = fbuf_view_alloc(heap, 100);
	CHECK(errno == 77 && !fbuf_view_alloc(heap, (size_t)1 << 40));
	CHECK(!fbuf_view_alloc(NULL, SIZE_MAX / 2) && errno == 77);
	CHECK(fbuf_view_ensure(v, (size_t)1 << 40) == -ENOMEM && errno == 77);
	fbuf_view_release(v);
	v = fbuf_view_alloc(NULL, 10);
	CHECK(fbuf_view_ensure(v, SIZE_MAX / 4) == -ENOMEM && errno == 77);
	CHECK(!fbuf_view_write(v, "a", 1));
	CHECK(fbuf_view_ensure(v, SIZE_MAX) == -EOVERFLOW && errno == 77);
	fbuf_view_release(v);
	fbuf_view_leaks_report(0);
	CHECK(errno == 77);
}

static void names_of_others(void)
{
	CHECK(!fbuf_view_buf(buf_pool, FBUF_NAME(1000, 1)));
}

static const struct test tests[] = {
	{ "levels are four", levels },
	{ "off: nothing is watched", off },
	{ "simple: one in 128, and where it was made", simple },
	{ "advanced: one in 128", advanced },
	{ "paranoid: all", paranoid },
	{ "a report says where it was made and touched", says_where },
	{ "and with what hint", says_hint },
	{ "each view with a count is watched", all_kinds },
	{ "those are reported that are idle for so long", idle_ones },
	{ "when a heap ends its views are reported", heap_ends },
	{ "check mode poisons", poisons },
	{ "but nothing in flight", poisons_idle_only },
	{ "what is kept goes back if it is needed", gives_back },
	{ "a heap takes along what is kept of it", heap_takes_along },
	{ "use after the last release names who had it", names_last_holder },
	{ "writes after the last release are found", finds_writes },
	{ "and those to memory of a heap", finds_writes_to_heap },
	{ "counts have a limit", counts_have_a_limit },
	{ "the environment says it all", environment },
	{ "forks", forks },
	{ "errno stays", errno_stays },
	{ "a buffer that is none", names_of_others },
	{ "nothing is left of any", pools_end },
};

int main(int argc, char **argv)
{
	if (argc > 1)
		return again_main(argv[1]);
	pools_begin(0);
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
