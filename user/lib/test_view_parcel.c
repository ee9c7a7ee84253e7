// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Views of parcels: what of them is read, and when; and how they go through queues.
 * That they are views like others is for test_view.c. TAP out.
 */

#include <pthread.h>

#include <linux/io_uring.h>

#include <fbuf/backend.h>
#include <fbuf/queue.h>
#include <fbuf/view.h>

#include "test_module.h"

#define LEN	((size_t)100000)
#define PLACE	(FBUF_MMAP_PARCELS + 5ULL * FBUF_PARCEL_MAX)

static char sent[2 * LEN], got[2 * LEN];
static struct fbuf_queue *queue;
/* A parcel comes by one pair, and goes by the other. */
static int in[2], out[2];

static void start_with(int type, const struct fbuf_queue_options *options)
{
	const int room = 1 << 20;
	unsigned int i;

	begin();
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, in));
	CHECK(!socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, out));
	for (i = 0; i < 2; i++) {
		setsockopt(in[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
		setsockopt(out[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	}
	CHECK(!fbuf_queue_create(&queue, heap, out[0], options));
}

static void start(void)
{
	start_with(SOCK_STREAM, NULL);
}

static void stop(void)
{
	unsigned int i;

	fbuf_queue_destroy(queue);
	fake_land_all();
	fbuf_queue_notices(heap);
	end();
	for (i = 0; i < 2; i++) {
		close(in[i]);
		close(out[i]);
	}
}

/* A parcel of bytes of the pattern. */
static uint64_t parcel_in(struct fbuf_pool *p, size_t from, size_t len)
{
	uint64_t name = 0;

	if (send(in[1], sent + from, len, 0) != (ssize_t)len ||
	    fbuf_recv(p, in[0], len, FBUF_RECV_ALL, &name) != (ssize_t)len) {
		printf("Bail out! No parcel.\n");
		exit(1);
	}
	return name;
}

static struct fbuf_view *view_of(size_t from, size_t len)
{
	struct fbuf_view *v = fbuf_view_parcel(pool, parcel_in(pool, from, len),
					       len);

	CHECK(v);
	return v;
}

static struct fbuf_view *heap_view(size_t from, size_t len)
{
	struct fbuf_view *v = fbuf_view_alloc(heap, len);

	CHECK(!fbuf_view_write(v, sent + from, len));
	return v;
}

/* READs since the last time were so many, of so many bytes. */
static bool were_read(unsigned int nr, size_t len)
{
	bool ret = fake.reads == nr && fake.read_bytes == len;

	if (!ret)
		printf("# %u READs, %zu bytes\n", fake.reads, fake.read_bytes);
	fake.reads = 0;
	fake.read_bytes = 0;
	return ret;
}

static bool peer_gets(size_t from, size_t len)
{
	size_t done = 0;
	ssize_t n;

	while (done < len) {
		n = recv(out[1], got + done, len - done, MSG_DONTWAIT);
		if (n <= 0)
			return false;
		done += n;
	}
	return !memcmp(got, sent + from, len);
}

static void test_makes(void)
{
	struct fbuf_view *v;
	uint64_t name;

	start();
	name = parcel_in(pool, 0, 10);
	errno = 77;
	CHECK(!fbuf_view_parcel(pool, FBUF_NAME(1, GEN), 10));
	CHECK(!fbuf_view_parcel(pool, name, FBUF_PARCEL_MAX + 1));
	CHECK(errno == 77 && fake.nr_parcels == 1);
	v = fbuf_view_parcel(pool, name, 10);
	CHECK(fbuf_view_is_read_only(v));
	CHECK(fbuf_view_set(v, 0, "", 0) == -EACCES);
	CHECK(fbuf_view_set(fbuf_view_slice(v, 1, 5), 0, "", 0) == -EACCES);
	CHECK(fbuf_view_release(v));
	CHECK(!fake.nr_parcels && were_read(0, 0) && !fake.shows);
	stop();
}

static void test_reads_what_is_asked(void)
{
	struct fbuf_view *v, *slice, *copy, *c;
	char bytes[3000];

	start();
	v = view_of(0, LEN);
	CHECK(!fbuf_view_get(v, 500, bytes, 30) && were_read(1, 30));
	CHECK(!memcmp(bytes, sent + 500, 30));
	CHECK(!fbuf_view_read(v, bytes, 10) && were_read(1, 10));
	CHECK(!memcmp(bytes, sent, 10) && fbuf_view_reader(v) == 10);
	slice = fbuf_view_slice(fbuf_view_slice(v, 1000, 9000), 100, 50);
	CHECK(!fbuf_view_get(slice, 7, bytes, 20) && were_read(1, 20));
	CHECK(!memcmp(bytes, sent + 1107, 20));
	copy = fbuf_view_copy(v, heap, 60000, 2000);
	CHECK(were_read(1, 2000) &&
	      !memcmp(fbuf_view_data(copy), sent + 60000, 2000));
	CHECK(!fbuf_view_write_view(copy, slice, 50) && were_read(1, 50));
	CHECK(!memcmp((char *)fbuf_view_data(copy) + 2000, sent + 1100, 50));
	CHECK(fbuf_view_release(copy));
	c = fbuf_view_composite(0);
	CHECK(!fbuf_view_add(c, heap_view(50, 100)));
	CHECK(!fbuf_view_concat(c, fbuf_view_slice(v, 150, 1000)));
	CHECK(!fbuf_view_add(c, heap_view(1150, 100)));
	CHECK(were_read(0, 0));
	CHECK(!fbuf_view_get(c, 90, bytes, 20) && were_read(1, 10));
	CHECK(!memcmp(bytes, sent + 140, 20));
	CHECK(!fbuf_view_consolidate(c, 0, 3) && were_read(1, 1000));
	CHECK(!memcmp(fbuf_view_data(c), sent + 50, 1200));
	CHECK(fbuf_view_release(c) && !fake.shows && fake.nr_parcels == 1);
	CHECK(fbuf_view_release(v));
	stop();
}

static void test_compare(void)
{
	struct fbuf_view *v, *w, *like;

	start();
	v = view_of(0, 5000);
	w = view_of(0, 5000);
	like = heap_view(0, 5000);
	CHECK(!fbuf_view_compare(v, like) && !fbuf_view_compare(like, v));
	CHECK(!fbuf_view_compare(v, w) && !fbuf_view_compare(v, v));
	CHECK(were_read(30, 30000));
	CHECK(fbuf_view_compare(fbuf_view_slice(v, 1, 4000), like));
	CHECK(fake.read_bytes < 2000);
	((unsigned char *)fbuf_view_data(like))[4999]++;
	CHECK(fbuf_view_compare(v, like) == -fbuf_view_compare(like, v));
	CHECK(fbuf_view_compare(v, like));
	CHECK(fbuf_view_release(v) && fbuf_view_release(w));
	CHECK(fbuf_view_release(like));
	stop();
}

/* Nothing can be shown: all is copied, once, for whoever asks. */
static void test_copies_once(void)
{
	struct fbuf_view *v, *slice;
	struct iovec iov[2];
	const char *data;
	size_t before;
	char bytes[10];

	start();
	before = memory_used();
	v = view_of(0, LEN);
	slice = fbuf_view_retained_slice(v, 200, 1000);
	CHECK(fbuf_view_release(v) == 0);
	CHECK(!fbuf_view_iovec(slice, 0, 10, iov, 0) && were_read(0, 0));
	data = fbuf_view_data(slice);
	CHECK(data && were_read(1, LEN));
	CHECK(!before || memory_used() - before > LEN);
	if (!data)
		return;
	CHECK(!memcmp(data, sent + 200, 1000));
	CHECK(fbuf_view_data(v) == data - 200);
	CHECK(fbuf_view_iovec(v, 10, LEN - 10, iov, 2) == 1);
	CHECK(iov[0].iov_base == data - 190 && iov[0].iov_len == LEN - 10);
	CHECK(!fbuf_view_get(v, 5, bytes, 10) && !memcmp(bytes, sent + 5, 10));
	CHECK(were_read(0, 0) && fake.shows == 1);
	CHECK(fbuf_view_release(slice) && !fake.nr_parcels);
	CHECK(memory_used() < before + LEN / 2);
	stop();
}

static void show_some(void)
{
	fake.parts[0] = (struct fbuf_part){ PLACE + 8192, 5000, 8192 };
	fake.parts[1] = (struct fbuf_part){ PLACE + 24576, 20000, 4096 };
	fake.parts[2] = (struct fbuf_part){ PLACE + 28672, 24096, 4096 };
	fake.nr_parts = 3;
}

/* Where a byte of the place is. */
static const char *place(size_t at)
{
	const struct fbuf_part part = { PLACE + at, 0, 1 };

	return fbuf_parcel_addr(pool, &part);
}

static void test_shown(void)
{
	struct fbuf_view *v, *slice;
	struct iovec iov[8];
	size_t done = 0, before;
	char bytes[100];
	int nr, i;

	start();
	before = memory_used();
	show_some();
	v = view_of(0, LEN);
	slice = fbuf_view_slice(v, 5100, 8000);
	CHECK(fbuf_view_data(slice) == place(8292));
	CHECK(!fbuf_view_get(v, 6000, bytes, 100) && were_read(0, 0));
	CHECK(!memcmp(bytes, sent + 6000, 100));
	/* Over its edge: what is there, and what was not asked for before. */
	CHECK(!fbuf_view_get(v, 4950, bytes, 100) && were_read(1, 100));
	CHECK(!memcmp(bytes, sent + 4950, 100));
	CHECK(!fbuf_view_get(v, 13150, bytes, 100) && were_read(1, 100));
	CHECK(!memcmp(bytes, sent + 13150, 100));
	nr = fbuf_view_iovec(v, 0, LEN, iov, 8);
	CHECK(nr == 5 && iov[1].iov_base == place(8192));
	CHECK(iov[3].iov_base == place(24576) && iov[3].iov_len == 8192);
	for (i = 0; i < nr; done += iov[i++].iov_len)
		CHECK(!memcmp(iov[i].iov_base, sent + done, iov[i].iov_len));
	CHECK(done == LEN && were_read(3, LEN - 8192 * 2));
	CHECK(fbuf_view_iovec(v, 4000, 2000, iov, 1) == 1);
	CHECK(iov[0].iov_len == 1000 && were_read(0, 0));
	/* In one piece it is to be had as a copy alone. */
	CHECK(!memcmp(fbuf_view_data(v), sent, LEN) && were_read(1, LEN));
	CHECK(!memcmp(fbuf_view_data(fbuf_view_slice(v, 4000, 90000)),
		      sent + 4000, 90000));
	CHECK(!fbuf_view_get(v, 4950, bytes, 100));
	CHECK(!memcmp(bytes, sent + 4950, 100));
	CHECK(were_read(0, 0) && fbuf_view_data(slice) == place(8292));
	CHECK(fbuf_view_release(v) && memory_used() < before + LEN / 2);
	stop();
}

static void test_many_parts(void)
{
	struct fbuf_view *v;
	struct iovec iov[128];
	unsigned int i;

	start();
	fake.nr_parts = 40;
	for (i = 0; i < 40; i++)
		fake.parts[i] = (struct fbuf_part){ PLACE + i * 4096, i * 10, 7 };
	v = view_of(0, 1000);
	CHECK(fbuf_view_iovec(v, 0, 1000, iov, 128) == 80);
	for (i = 0; i < 80; i++)
		CHECK(i % 2 || iov[i].iov_base == place(i / 2 * 4096));
	CHECK(fake.shows == 2 && were_read(40, 1000 - 280));
	CHECK(fbuf_view_release(v));
	stop();
}

/* Who says that he is the module may be anybody; there may be no addresses. */
static void test_lies(void)
{
	static const struct fbuf_part lies[] = {
		{ PLACE, 0, 0 }, { 0, 0, 4096 }, { PLACE, 900, 200 },
		{ PLACE, 2000, 1 }, { PLACE, UINT32_MAX, 2 },
		{ PLACE, 10, 10 }, { PLACE, 15, 10 }, { PLACE, 0, 5 },
		{ FBUF_MMAP_PARCELS + FBUF_MMAP_PARCELS_SIZE, 500, 1 },
	};
	struct fbuf_view *v;
	struct iovec iov[8];

	start();
	fake.lies = true;
	fake.nr_parts = sizeof(lies) / sizeof(*lies);
	memcpy(fake.parts, lies, sizeof(lies));
	v = view_of(0, 1000);
	CHECK(fbuf_view_iovec(v, 0, 1000, iov, 8) == 3);
	CHECK(iov[0].iov_len == 10 && iov[1].iov_len == 10);
	CHECK(iov[1].iov_base == place(0) && iov[2].iov_len == 980);
	CHECK(!memcmp(iov[2].iov_base, sent + 20, 980));
	CHECK(fbuf_view_release(v));
	stop();
}

/* Of a parcel that the program dropped, nothing is to be had. */
static void test_gone(void)
{
	struct fbuf_view *v, *like, *to, *c;
	struct iovec iov[2];
	uint64_t name;

	start();
	name = parcel_in(pool, 0, 1000);
	v = fbuf_view_parcel(pool, name, 1000);
	like = heap_view(0, 1000);
	to = fbuf_view_alloc(heap, 100);
	CHECK(!fbuf_view_compare(v, like));
	CHECK(!fbuf_free(pool, &name, 1));
	errno = 77;
	CHECK(fbuf_view_get(v, 0, got, 10) == -ESTALE);
	CHECK(fbuf_view_read(v, got, 10) == -ESTALE && !fbuf_view_reader(v));
	CHECK(!fbuf_view_data(v));
	CHECK(fbuf_view_iovec(v, 0, 10, iov, 2) == -ESTALE);
	CHECK(!fbuf_view_copy(v, heap, 0, 10));
	CHECK(fbuf_view_write_view(to, v, 10) == -ESTALE);
	CHECK(!fbuf_view_len(to) && fbuf_view_len(v) == 1000);
	c = fbuf_view_composite(0);
	CHECK(!fbuf_view_concat(c, v) && !fbuf_view_concat(c, like));
	CHECK(fbuf_view_get(c, 990, got, 20) == -ESTALE);
	CHECK(fbuf_view_consolidate(c, 0, 2) == -ESTALE);
	CHECK(fbuf_view_components(c) == 2 && fbuf_view_release(c));
	CHECK(fbuf_view_compare(v, like) < 0 && fbuf_view_compare(like, v) > 0);
	CHECK(fbuf_queue_view(queue, fbuf_view_slice(v, 0, 9)) == -ESTALE);
	CHECK(!fbuf_queue_len(queue));
	CHECK(fbuf_queue_view(queue, fbuf_view_retain(v)) == 0);
	CHECK(fbuf_queue_flush(queue) == -ESTALE);
	CHECK(fbuf_view_count(v) == 1 && errno == 77);
	/* What was before it goes out, though. */
	fbuf_queue_destroy(queue);
	CHECK(!fbuf_queue_create(&queue, heap, out[0], NULL));
	fake.fail = EOPNOTSUPP;
	CHECK(fbuf_queue_view(queue, heap_view(0, 6000)) == 0);
	CHECK(fbuf_queue_view(queue, fbuf_view_retain(v)) == 0);
	CHECK(fbuf_queue_flush(queue) == -ESTALE && peer_gets(0, 6000));
	CHECK(fbuf_view_release(v) && fbuf_view_release(like));
	CHECK(fbuf_view_release(to));
	stop();
}

/* A view may be told to be shorter; parts of it that there are stay. */
static void test_shorter(void)
{
	struct fbuf_view *v, *slice;
	char bytes[100];

	start();
	v = view_of(0, 1000);
	slice = fbuf_view_slice(v, 800, 100);
	CHECK(!fbuf_view_set_capacity(v, 300) && fbuf_view_len(v) == 300);
	CHECK(!fbuf_view_get(slice, 0, bytes, 100));
	CHECK(!memcmp(bytes, sent + 800, 100));
	CHECK(!fbuf_view_slice(v, 250, 100));
	CHECK(!memcmp(fbuf_view_data(slice), sent + 800, 100));
	CHECK(fbuf_view_release(v));
	stop();
}

static struct fbuf_view *shared;
static pthread_barrier_t barrier;
static const char *pieces[8][2];

static void *ask(void *arg)
{
	unsigned int nr = (uintptr_t)arg;
	struct fbuf_view *v = fbuf_view_retained_duplicate(shared);
	struct iovec iov[8];

	pthread_barrier_wait(&barrier);
	CHECK(fbuf_view_iovec(v, 0, 10000, iov, 8) == 3);
	pieces[nr][0] = iov[0].iov_base;
	pieces[nr][1] = iov[2].iov_base;
	CHECK(!memcmp(fbuf_view_data(v), sent, 10000));
	fbuf_view_release(v);
	return NULL;
}

static void test_threads(void)
{
	pthread_t threads[8];
	unsigned int i, round;

	for (round = 0; round < 30; round++) {
		start();
		fake.slow = round % 2 ? 1000 : 0;
		fake.parts[0] = (struct fbuf_part){ PLACE, 4000, 4096 };
		fake.nr_parts = 1;
		shared = view_of(0, 10000);
		pthread_barrier_init(&barrier, NULL, 8);
		for (i = 0; i < 8; i++)
			pthread_create(&threads[i], NULL, ask,
				       (void *)(uintptr_t)i);
		for (i = 0; i < 8; i++)
			pthread_join(threads[i], NULL);
		for (i = 1; i < 8; i++)
			CHECK(pieces[i][0] == pieces[0][0] &&
			      pieces[i][1] == pieces[0][1]);
		CHECK(fbuf_view_release(shared));
		stop();
	}
}

/* Head, and what is of a parcel, and again: one send, and nothing is read. */
static void test_queue(void)
{
	struct fbuf_view *v, *c;

	start();
	v = view_of(1000, LEN);
	c = fbuf_view_composite(0);
	CHECK(!fbuf_queue_copy(queue, sent, 1000));
	CHECK(!fbuf_view_concat(c, fbuf_view_slice(v, 0, 50)));
	CHECK(!fbuf_view_concat(c, fbuf_view_slice(v, 50, 9950)));
	CHECK(!fbuf_view_add(c, heap_view(11000, 2000)));
	CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(v, 12000, 10)));
	CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(v, 12010, 490)));
	CHECK(!fbuf_view_release(v));
	CHECK(!fbuf_queue_view(queue, c));
	CHECK(fbuf_queue_flush(queue) == 1 && fake.sends == 1);
	CHECK(fake.segs == 4 && fake.parcel_segs == 2 && were_read(0, 0));
	CHECK(peer_gets(0, 13500) && !fake.nr_parcels && !fake.shows);
	stop();
}

/* Of what goes on with what was before it there is one segment, and of nothing else. */
static void test_queue_segments(void)
{
	struct fbuf_view *a, *b, *h, *c;

	start();
	a = view_of(100, 2000);
	b = view_of(100, 10000);
	h = heap_view(10100, 6000);
	c = fbuf_view_composite(0);
	CHECK(!fbuf_queue_copy(queue, sent, 100));
	CHECK(!fbuf_view_concat(c, fbuf_view_slice(a, 0, 1000)));
	CHECK(!fbuf_view_concat(c, fbuf_view_slice(b, 1000, 9000)));
	CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(h, 0, 2000)));
	CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(h, 2000, 4000)));
	CHECK(!fbuf_queue_view(queue, c));
	CHECK(!fbuf_queue_copy(queue, sent + 16100, 100));
	CHECK(!fbuf_queue_view(queue, fbuf_view_retained_slice(b, 0, 1000)));
	CHECK(!fbuf_queue_copy(queue, sent + 1100, 100));
	CHECK(fbuf_queue_flush(queue) == 1 && fake.sends == 1);
	CHECK(fake.segs == 7 && fake.parcel_segs == 3);
	CHECK(peer_gets(0, 16200) && peer_gets(100, 1100));
	CHECK(fbuf_view_release(a) && fbuf_view_release(b));
	CHECK(fbuf_view_release(h) && were_read(0, 0));
	stop();
}

/* No send has more than is worth it. */
static void test_queue_budget(void)
{
	const size_t most = (size_t)1 << 20;
	struct fbuf_view *v, *c;
	unsigned int i;

	start();
	v = view_of(0, LEN);
	c = fbuf_view_composite(0);
	for (i = 0; i < 15; i++)
		CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(v, 0, LEN)));
	CHECK(!fbuf_view_release(v) && !fbuf_queue_view(queue, c));
	while (!fbuf_queue_flush(queue) && fake.sends < 1000)
		while (recv(out[1], got, sizeof(got), MSG_DONTWAIT) > 0)
			;
	CHECK(!fbuf_queue_len(queue) && fake.asked == most);
	stop();
}

/* A parcel is there until the last of it was taken, and no longer. */
static void test_queue_keeps(void)
{
	const int room = 32768;
	size_t done = 0;
	ssize_t n;

	start();
	setsockopt(out[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	CHECK(!fbuf_queue_view(queue, view_of(0, LEN)));
	CHECK(!fbuf_queue_view(queue, view_of(0, 300)));
	while (!fbuf_queue_flush(queue)) {
		CHECK(fake.nr_parcels == (fbuf_queue_len(queue) > 300 ? 2 : 1));
		n = recv(out[1], got + done, 10000, 0);
		CHECK(n > 0);
		done += n;
	}
	CHECK(!fake.nr_parcels && fake.sends > 3 && were_read(0, 0));
	while (done < LEN + 300) {
		n = recv(out[1], got + done, LEN + 300 - done, 0);
		CHECK(n > 0);
		done += n > 0 ? (size_t)n : LEN;
	}
	CHECK(!memcmp(got, sent, LEN) && !memcmp(got + LEN, sent, 300));
	CHECK(!fbuf_queue_view(queue, view_of(0, LEN)));
	fake.fail = EAGAIN;
	CHECK(!fbuf_queue_flush(queue) && fake.nr_parcels == 1);
	stop();
}

static void test_queue_short(void)
{
	start();
	CHECK(!fbuf_queue_view(queue, view_of(0, 256)));
	CHECK(!fake.nr_parcels && were_read(1, 256) && !fake.shows);
	/* One byte more is not worth a call of its own. */
	CHECK(!fbuf_queue_view(queue, view_of(256, 257)));
	CHECK(fake.nr_parcels == 1 && fbuf_queue_flush(queue) == 1);
	CHECK(fake.sends == 1 && were_read(0, 0) && !fake.nr_parcels);
	CHECK(peer_gets(0, 513));
	stop();
}

/* Where the socket takes no references, it is copied; also if that fails first. */
static void test_queue_fallback(void)
{
	static const int errors[] = { EOPNOTSUPP, EINVAL, ENOMEM };
	unsigned int i;

	for (i = 0; i < 3; i++) {
		start();
		show_some();
		CHECK(!fbuf_queue_view(queue, heap_view(0, 6000)));
		CHECK(!fbuf_queue_view(queue, view_of(6000, LEN)));
		fake.fail = errors[i];
		CHECK(fbuf_queue_flush(queue) == 1);
		CHECK(fake.sends == 1 && were_read(3, LEN - 16384));
		CHECK(peer_gets(0, 6000 + LEN) && !fake.nr_parcels);
		stop();
	}
}

/* What is another pool's cannot be referred to. */
static void test_queue_other_pool(void)
{
	struct fbuf_pool *soft;
	struct fbuf_info info;
	uint64_t name;

	fbuf_backend_set(FBUF_BACKEND_USER);
	CHECK(!fbuf_pool_create(&soft, 65536, 1));
	start();
	name = parcel_in(soft, 0, 5000);
	CHECK(!fbuf_queue_view(queue, fbuf_view_parcel(soft, name, 5000)));
	CHECK(fbuf_queue_flush(queue) == 1 && !fake.sends);
	CHECK(peer_gets(0, 5000));
	CHECK(!fbuf_pool_info(soft, &info) && !info.nr_parcels);
	stop();
	fbuf_pool_close(soft);
}

static void on_idle(void *arg)
{
	++*(int *)arg;
}

/* Nobody waits for packets with a parcel's bytes: they never change. */
static void test_queue_idle(void)
{
	const struct fbuf_queue_options opt = { .flags = FBUF_QUEUE_HOLD };
	bool cookies = true;
	struct fbuf_view *c;
	int idle;

	do {
		start_with(SOCK_STREAM, &opt);
		fake.cookies = cookies;
		idle = 0;
		CHECK(!fbuf_queue_view_with(queue, view_of(0, LEN), NULL,
					    on_idle, &idle));
		CHECK(fbuf_queue_flush(queue) == 1 && idle == 1);
		CHECK(!fake.nr_parcels && peer_gets(0, LEN));
		/* With others' it waits for them, and so the view is there. */
		c = fbuf_view_composite(0);
		CHECK(!fbuf_view_add(c, view_of(0, 5000)));
		CHECK(!fbuf_view_add(c, heap_view(5000, 5000)));
		CHECK(!fbuf_queue_view_with(queue, c, NULL, on_idle, &idle));
		CHECK(fbuf_queue_flush(queue) == 1 && idle == 1);
		fbuf_queue_notices(heap);
		CHECK(idle == 1 && fake.nr_parcels == 1);
		fake_land_all();
		fbuf_queue_notices(heap);
		CHECK(idle == 2 && !fake.nr_parcels && peer_gets(0, 10000));
		CHECK(were_read(0, 0) && !fake.shows);
		stop();
		cookies = !cookies;
	} while (!cookies);
}

static void test_queue_fanout(void)
{
	struct fbuf_queue *queues[3];
	struct fbuf_view *v;
	int pairs[3][2];
	unsigned int i;

	start();
	for (i = 0; i < 3; i++) {
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0,
				  pairs[i]));
		CHECK(!fbuf_queue_create(&queues[i], heap, pairs[i][0], NULL));
	}
	/* One of them is full. */
	while (send(pairs[1][0], sent, LEN, 0) > 0)
		;
	v = view_of(0, 8000);
	CHECK(fbuf_queue_fanout(queues, 3, v, NULL) == 3);
	CHECK(fake.fanouts == 1 && fake.targets == 3 && were_read(0, 0));
	CHECK(!fbuf_view_release(v) && fake.nr_parcels == 1);
	CHECK(fbuf_queue_len(queues[1]) == 8000);
	while (recv(pairs[1][1], got, sizeof(got), 0) > 0)
		;
	CHECK(fbuf_queue_flush(queues[1]) == 1 && !fake.nr_parcels);
	for (i = 0; i < 3; i++) {
		CHECK(recv(pairs[i][1], got, sizeof(got), 0) == 8000);
		CHECK(!memcmp(got, sent, 8000));
		fbuf_queue_destroy(queues[i]);
		close(pairs[i][0]);
		close(pairs[i][1]);
	}
	CHECK(were_read(0, 0));
	stop();
}

/* Each view is a message, whether one send has room for it or not. */
static void test_queue_messages(void)
{
	struct fbuf_view *v, *c;
	unsigned int i;

	start_with(SOCK_DGRAM, NULL);
	CHECK(!fbuf_queue_view(queue, view_of(0, 3000)));
	CHECK(fbuf_queue_flush(queue) == 1 && were_read(0, 0));
	CHECK(recv(out[1], got, sizeof(got), 0) == 3000);
	CHECK(!memcmp(got, sent, 3000) && !fake.nr_parcels);
	v = view_of(0, 3000);
	c = fbuf_view_composite(0);
	for (i = 0; i < 600; i++)
		CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(v, 2 * i, 1)));
	CHECK(!fbuf_view_release(v) && !fbuf_queue_view(queue, c));
	CHECK(fbuf_queue_flush(queue) == 1 && !fake.nr_parcels);
	CHECK(recv(out[1], got, sizeof(got), 0) == 600);
	for (i = 0; i < 600; i++)
		CHECK(got[i] == sent[2 * i]);
	/* Of which nothing is to be had, nothing is sent. */
	v = view_of(0, 3000);
	c = fbuf_view_composite(0);
	for (i = 0; i < 600; i++)
		CHECK(!fbuf_view_add(c, fbuf_view_retained_slice(v, 2 * i, 1)));
	CHECK(fake_drop(FBUF_NAME(FBUF_NAME_PARCEL, fake.parcel_gen)) == 1);
	CHECK(!fbuf_view_release(v) && !fbuf_queue_view(queue, c));
	CHECK(fbuf_queue_flush(queue) == 1 && !fbuf_queue_len(queue));
	CHECK(!fbuf_queue_view(queue, view_of(0, 3000)));
	CHECK(fake_drop(FBUF_NAME(FBUF_NAME_PARCEL, fake.parcel_gen)) == 1);
	CHECK(fbuf_queue_flush(queue) == 1 && !fbuf_queue_len(queue));
	CHECK(recv(out[1], got, 1, 0) < 0);
	stop();
}

/* What the kernel does with an SQE. */
static int sqe_run(const struct io_uring_sqe *sqe)
{
	const struct fbuf_uring_cmd *cmd = (const void *)sqe->cmd;
	ssize_t ret;

	switch (sqe->opcode) {
	case IORING_OP_URING_CMD:
		return fake_send((const void *)(uintptr_t)cmd->args);
	case IORING_OP_SENDMSG:
		ret = sendmsg(sqe->fd, (const void *)(uintptr_t)sqe->addr,
			      sqe->msg_flags);
		return ret < 0 ? -errno : ret;
	}
	return -EINVAL;
}

static void test_queue_uring(void)
{
	struct io_uring_sqe *sqe = calloc(1, 256);
	int ret;

	start();
	CHECK(!fbuf_queue_view(queue, view_of(0, LEN)));
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(sqe->opcode == IORING_OP_URING_CMD && fake.nr_parcels == 1);
	CHECK(fbuf_queue_done(queue, sqe_run(sqe)) == 1 && !fake.nr_parcels);
	CHECK(fake.parcel_segs == 1 && were_read(0, 0) && peer_gets(0, LEN));
	/* Refused, it is copied. */
	CHECK(!fbuf_queue_view(queue, view_of(0, 5000)));
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(fbuf_queue_done(queue, -EOPNOTSUPP) == 0);
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(sqe->opcode == IORING_OP_SENDMSG && were_read(1, 5000));
	CHECK(fbuf_queue_done(queue, sqe_run(sqe)) == 1 && !fake.nr_parcels);
	CHECK(peer_gets(0, 5000));
	/* Gone, as well: that is the end. */
	CHECK(!fbuf_queue_view(queue, view_of(0, 5000)));
	CHECK(fake_drop(FBUF_NAME(FBUF_NAME_PARCEL, fake.parcel_gen)) == 1);
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	ret = fbuf_queue_done(queue, sqe_run(sqe));
	CHECK(!ret && fbuf_queue_prep(queue, sqe) == -ESTALE);
	CHECK(fbuf_queue_flush(queue) == -ESTALE && !fbuf_queue_len(queue));
	free(sqe);
	stop();
}

int main(void)
{
	static const struct test tests[] = {
		{ "view of a parcel has it", test_makes },
		{ "view of a parcel reads what is asked for",
		  test_reads_what_is_asked },
		{ "view of a parcel is compared", test_compare },
		{ "view of a parcel is copied once", test_copies_once },
		{ "view of a parcel that is shown", test_shown },
		{ "view of a parcel of many parts", test_many_parts },
		{ "view of a parcel of wrong parts", test_lies },
		{ "view of a parcel that is gone", test_gone },
		{ "view of a parcel becomes shorter", test_shorter },
		{ "view of a parcel and threads", test_threads },
		{ "queue refers to parcels", test_queue },
		{ "queue segments of parcels", test_queue_segments },
		{ "queue sends of parcels are not too long",
		  test_queue_budget },
		{ "queue keeps parcels until all was taken",
		  test_queue_keeps },
		{ "queue copies short parcels", test_queue_short },
		{ "queue copies parcels that it has to",
		  test_queue_fallback },
		{ "queue copies parcels of another pool",
		  test_queue_other_pool },
		{ "queue and parcels that are idle", test_queue_idle },
		{ "queue fan-out of a parcel", test_queue_fanout },
		{ "queue messages of parcels", test_queue_messages },
		{ "queue parcels by io_uring", test_queue_uring },
	};

	pattern_fill(sent, sizeof(sent), 1);
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
