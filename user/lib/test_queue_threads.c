// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Queues of many threads on one heap, views that they share, and notices that any of
 * them takes: for a sanitizer of data races, without the module. TAP out.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fbuf/backend.h>
#include <fbuf/queue.h>
#include <fbuf/view.h>

#include "test.h"

#define THREADS		4U
#define ROUNDS		500U
#define LEN		((size_t)20000)

static struct fbuf_heap *heap;
static struct fbuf_view *shared;
static atomic_uint nr_taken, nr_idle, nr_wrong;
static atomic_bool over;

static void on_taken(void *arg, int err)
{
	(void)arg;
	nr_taken++;
	nr_wrong += err != 0;
}

/* By whichever thread finds it. */
static void on_idle(void *arg)
{
	nr_idle++;
	fbuf_heap_free(heap, arg);
}

static void peer_reads(int sock, unsigned char byte, size_t *left)
{
	static __thread unsigned char got[LEN];
	ssize_t n;

	do {
		n = recv(sock, got, *left < LEN ? *left : LEN, MSG_DONTWAIT);
		if (n > 0) {
			nr_wrong += got[0] != byte || got[n - 1] != byte;
			*left -= n;
		}
	} while (n > 0 && *left);
}

/* Memory of its own and a view of all threads', which have the same bytes. */
static void round_of(struct fbuf_queue *q, int sock)
{
	char *p = fbuf_heap_alloc(heap, LEN);
	size_t left = 2 * LEN;

	if (!p || fbuf_queue_view(q, fbuf_view_retain(shared))) {
		nr_wrong++;
		return;
	}
	memset(p, 'x', LEN);
	if (fbuf_queue_mem(q, p, LEN, on_taken, on_idle, p))
		nr_wrong++;
	do {
		if (fbuf_queue_flush(q) < 0)
			nr_wrong++;
		peer_reads(sock, 'x', &left);
	} while (left && !nr_wrong);
	fbuf_queue_notices(heap);
}

static void *sender(void *arg)
{
	struct fbuf_queue *q;
	int sock[2], i;

	(void)arg;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sock) ||
	    fbuf_queue_create(&q, heap, sock[0], NULL)) {
		nr_wrong++;
		return NULL;
	}
	for (i = 0; i < (int)ROUNDS && !nr_wrong; i++)
		round_of(q, sock[1]);
	fbuf_queue_destroy(q);
	close(sock[0]);
	close(sock[1]);
	return NULL;
}

static void *taker(void *arg)
{
	(void)arg;
	while (!over)
		fbuf_queue_notices(heap);
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[THREADS + 1];
	struct fbuf_pool *pool;
	unsigned int i;

	CHECK(!fbuf_backend_set(FBUF_BACKEND_USER));
	CHECK(!fbuf_pool_create(&pool, 65536, 64));
	CHECK(!fbuf_heap_create(&heap, pool, 0));
	shared = fbuf_view_own(heap, fbuf_heap_alloc(heap, LEN), LEN);
	CHECK(shared);
	if (failed)
		return;
	memset(fbuf_view_data(shared), 'x', LEN);
	for (i = 0; i <= THREADS; i++)
		CHECK(!pthread_create(&threads[i], NULL,
				      i < THREADS ? sender : taker, NULL));
	for (i = 0; i <= THREADS; i++) {
		over = i == THREADS;
		pthread_join(threads[i], NULL);
	}
	CHECK(!fbuf_queue_notices_wait(heap, 10000));
	CHECK(!nr_wrong);
	CHECK(nr_taken == THREADS * ROUNDS && nr_idle == nr_taken);
	CHECK(fbuf_view_release(shared) == 1);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
}

static const struct test tests[] = {
	{ "queues of many threads", test_threads },
};

int main(void)
{
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
