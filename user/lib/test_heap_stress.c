// SPDX-License-Identifier: GPL-2.0
/*
 * test_heap_stress [THREADS [ALLOCATIONS]]: threads that allocate from one heap without
 * the module under it, send what they have, and free what others allocated. For the
 * thread sanitizer, and by itself: what one has nobody else writes to. TAP out.
 */

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fbuf/backend.h>
#include <fbuf/heap.h>

#include "test.h"

#define BUF_SIZE	65536U
#define NR_BUFS		512U
#define KEPT		32U	/* objects that a thread has at once */
#define THREADS_MAX	64U

struct object {
	size_t size;		/* with this */
	unsigned int mark;	/* each further byte, and of the first ones */
};

struct worker {
	struct fbuf_heap *heap;
	struct worker *next;
	struct object *given;	/* atomic: the one before gave it, to be freed */
	struct object *kept[KEPT];
	pthread_t thread;
	unsigned int seed;
	unsigned long goal, done;
	int sock[2];
	bool wrong;
};

/* From 64 bytes to 256 KiB, as many of each magnitude. */
static size_t some_size(struct worker *w)
{
	size_t least = 64U << rand_r(&w->seed) % 12;

	return least + rand_r(&w->seed) % least;
}

static struct object *object_new(struct worker *w)
{
	size_t size = some_size(w);
	struct object *o = fbuf_heap_alloc(w->heap, size);
	char *byte = (char *)o;

	if (!o)
		return NULL;
	o->size = size;
	o->mark = rand_r(&w->seed) & 0x7f;
	byte[sizeof(*o)] = o->mark;
	byte[size / 2] = o->mark;
	byte[size - 1] = o->mark;
	w->done++;
	return o;
}

static void object_free(struct worker *w, struct object *o)
{
	const char *byte = (const char *)o;

	if (!o)
		return;
	if (byte[sizeof(*o)] != (char)o->mark ||
	    byte[o->size / 2] != (char)o->mark ||
	    byte[o->size - 1] != (char)o->mark)
		w->wrong = true;
	fbuf_heap_free(w->heap, o);
}

static void object_send(struct worker *w, struct object *o)
{
	struct fbuf_gather *g = fbuf_gather_new(fbuf_heap_pool(w->heap));
	size_t len = o->size < 20000 ? o->size : 20000;
	char got[20000];

	if (!g || fbuf_gather_append_mem(g, w->heap, o, len) ||
	    fbuf_send(g, w->sock[0], FBUF_SEND_DONTWAIT, NULL) != (ssize_t)len ||
	    recv(w->sock[1], got, len, MSG_WAITALL) != (ssize_t)len ||
	    memcmp(got, o, len))
		w->wrong = true;
	fbuf_gather_destroy(g);
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (w->done < w->goal && !w->wrong) {
		unsigned int i = rand_r(&w->seed) % KEPT;
		struct object *o = w->kept[i];

		w->kept[i] = NULL;
		if (o && rand_r(&w->seed) % 4 == 0)
			object_send(w, o);
		if (o && rand_r(&w->seed) % 2)
			o = __atomic_exchange_n(&w->next->given, o,
						__ATOMIC_ACQ_REL);
		object_free(w, o);
		object_free(w, __atomic_exchange_n(&w->given, NULL,
						   __ATOMIC_ACQ_REL));
		w->kept[i] = object_new(w);
	}
	return NULL;
}

static unsigned int nr_threads = 8;
static unsigned long nr_allocs = 20000;

static bool start(struct worker *all, struct fbuf_heap *heap)
{
	unsigned int i;

	for (i = 0; i < nr_threads; i++) {
		all[i] = (struct worker){
			.heap = heap, .seed = i,
			.goal = nr_allocs / nr_threads,
			.next = &all[(i + 1) % nr_threads],
		};
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, all[i].sock))
			return false;
	}
	for (i = 0; i < nr_threads; i++)
		if (pthread_create(&all[i].thread, NULL, work, &all[i]))
			return false;
	return true;
}

static unsigned long end(struct worker *all)
{
	unsigned long done = 0;
	unsigned int i, j;

	for (i = 0; i < nr_threads; i++)
		pthread_join(all[i].thread, NULL);
	for (i = 0; i < nr_threads; i++) {
		object_free(&all[i], all[i].given);
		for (j = 0; j < KEPT; j++)
			object_free(&all[i], all[i].kept[j]);
		CHECK(!all[i].wrong);
		done += all[i].done;
		close(all[i].sock[0]);
		close(all[i].sock[1]);
	}
	return done;
}

static void threads(void)
{
	struct fbuf_pool *pool;
	struct fbuf_heap *heap;
	struct worker all[THREADS_MAX];
	struct fbuf_heap_stats stats;

	CHECK(!fbuf_backend_set(FBUF_BACKEND_USER));
	CHECK(!fbuf_pool_create(&pool, BUF_SIZE, NR_BUFS));
	CHECK(!fbuf_heap_create(&heap, pool, 0));
	if (failed || !start(all, heap)) {
		CHECK(!"started");
		return;
	}
	CHECK(end(all) >= nr_allocs / nr_threads * nr_threads);
	CHECK(!fbuf_heap_stats(heap, &stats));
	CHECK(stats.allocs == stats.frees);
	CHECK(!stats.used);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		{ "heap: threads that free each other's memory", threads },
	};

	if (argc > 1)
		nr_threads = atoi(argv[1]);
	if (argc > 2)
		nr_allocs = strtoul(argv[2], NULL, 0);
	if (!nr_threads || nr_threads > THREADS_MAX)
		return 2;
	return run_tests(tests, 1);
}
