// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Views and many threads: counts, parts, structures, watching and check mode. TAP
 * out. Meant for TSan as well.
 *
 *	test_view_threads [ROUNDS]
 */

#include <pthread.h>
#include <stdatomic.h>

#include "test_view.h"

#define THREADS		8U
#define SLOTS		64U

static unsigned int rounds = 2000;
static atomic_int born, died;
static pthread_barrier_t barrier;

static void dies_once(void *arg)
{
	(void)arg;
	died++;
}

static void run(void *(*work)(void *arg), void *arg)
{
	pthread_t threads[THREADS];
	unsigned int i;

	pthread_barrier_init(&barrier, NULL, THREADS);
	for (i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, arg);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
}

/* Each has a reference; one of all releases is the last. */
static atomic_int lasts;

static void *releases(void *arg)
{
	unsigned int i;

	pthread_barrier_wait(&barrier);
	for (i = 0; i < 100; i++) {
		fbuf_view_retain(arg);
		if (fbuf_view_release(arg))
			lasts += 1000;
	}
	lasts += fbuf_view_release(arg);
	return NULL;
}

static void one_last_release(void)
{
	struct fbuf_view *v;
	unsigned int i;

	for (i = 0; i < rounds / 20; i++) {
		v = fbuf_view_alloc(i % 2 ? heap : NULL, 100);
		fbuf_view_on_release(v, dies_once, NULL);
		born++;
		fbuf_view_retain_many(v, THREADS - 1);
		lasts = 0;
		run(releases, v);
		CHECK(lasts == 1 && died == born);
	}
}

/* Parts of one view, of many threads; each reads and writes bytes of its own. */
static struct fbuf_view *shared;
static atomic_uint number;

static void *parts(void *arg)
{
	unsigned int me = number++ % THREADS, i;
	struct fbuf_view *s;
	unsigned char byte;
	atomic_bool *bad = arg;

	for (i = 0; i < rounds; i++) {
		s = i % 2 ? fbuf_view_retained_slice(shared, 10 * me, 10) :
			    fbuf_view_slice(shared, 10 * me, 10);
		byte = i;
		if (fbuf_view_set(s, i % 10, &byte, 1) ||
		    fbuf_view_get(shared, 10 * me + i % 10, &byte, 1) ||
		    byte != (unsigned char)i)
			*bad = true;
		if (i % 2)
			fbuf_view_release(s);
	}
	return NULL;
}

static void parts_at_once(void)
{
	atomic_bool bad = false;
	unsigned int i;

	for (i = 0; i < 2; i++) {
		shared = i ? composite_of(100, 10 * THREADS, 5) :
			     of_heap(100, 10 * THREADS);
		run(parts, &bad);
		CHECK(!bad && fbuf_view_count(shared) == 1);
		CHECK(fbuf_view_release(shared));
	}
}

/* Views wander: who finds one releases it, and leaves another. */
static struct fbuf_view *slots[SLOTS];

static void *wander(void *arg)
{
	unsigned int me = number++, i;
	struct fbuf_view *v, *s;

	(void)arg;
	for (i = 0; i < rounds; i++) {
		v = fbuf_view_alloc(i % 3 ? heap : NULL, 1 + i % 300);
		if (!v)
			continue;
		fbuf_view_on_release(v, dies_once, NULL);
		born++;
		fbuf_view_write(v, &i, 1);
		s = fbuf_view_retained_slice(v, 0, 1);
		fbuf_view_slice(s, 0, 1);
		fbuf_view_release(v);
		v = __atomic_exchange_n(&slots[(me * 31 + i * 7) % SLOTS], s,
					__ATOMIC_ACQ_REL);
		if (v && fbuf_view_len(v) != 1)
			abort();
		fbuf_view_release(v);
	}
	return NULL;
}

static void views_wander(void)
{
	unsigned int i;

	run(wander, NULL);
	for (i = 0; i < SLOTS; i++) {
		fbuf_view_release(slots[i]);
		slots[i] = NULL;
	}
	CHECK(died == born);
}

static void count_text(void *arg, const char *text)
{
	(void)text;
	++*(atomic_int *)arg;
}

static void *report(void *arg)
{
	unsigned int i;

	(void)arg;
	for (i = 0; i < rounds / 50; i++)
		fbuf_view_leaks_report(1000000);
	return wander(NULL);
}

static void watched_views_wander(void)
{
	atomic_int texts = 0;
	unsigned int was = rounds, i;

	/* A stack is walked at each step. */
	rounds /= 10;
	fbuf_view_on_report(count_text, &texts);
	fbuf_view_leaks(FBUF_VIEW_LEAKS_PARANOID);
	run(report, NULL);
	CHECK(!texts);
	/* What is left in the slots is what there is. */
	i = fbuf_view_leaks_report(0);
	CHECK(i && i <= 2 * SLOTS && texts == (int)i);
	for (i = 0; i < SLOTS; i++) {
		fbuf_view_release(slots[i]);
		slots[i] = NULL;
	}
	CHECK(died == born);
	fbuf_view_leaks(FBUF_VIEW_LEAKS_OFF);
	fbuf_view_on_report(NULL, NULL);
	rounds = was;
}

static void checked_views_wander(void)
{
	unsigned int was = rounds;

	rounds /= 10;
	fbuf_view_check(1);
	views_wander();
	CHECK(fbuf_view_check_look());
	fbuf_view_check(0);
	CHECK(!fbuf_view_check_look());
	rounds = was;
}

static const struct test tests[] = {
	{ "of many releases one is the last", one_last_release },
	{ "parts are made at once", parts_at_once },
	{ "views go from thread to thread", views_wander },
	{ "while they are watched", watched_views_wander },
	{ "and in check mode", checked_views_wander },
	{ "nothing is left of any", pools_end },
};

int main(int argc, char **argv)
{
	if (argc > 1)
		rounds = strtoul(argv[1], NULL, 0);
	pools_begin(0);
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
