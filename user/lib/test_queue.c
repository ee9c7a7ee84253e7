// SPDX-License-Identifier: LGPL-2.1-or-later
/* Send queues without a module. TAP out. */
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include <linux/io_uring.h>

#include <fbuf/queue.h>
#include <fbuf/view.h>

#include "test_module.h"

#define KIB		((size_t)1024)
#define MIB		(1024 * KIB)

static struct fbuf_queue *queue;
static int sock[2];

/* What the peer is to get, and how far it is. */
static char *model;
static size_t model_len, model_at, model_room;

static void model_add(const void *data, size_t len)
{
	if (model_len + len > model_room) {
		model_room = (model_len + len) * 2;
		model = realloc(model, model_room);
		if (!model)
			abort();
	}
	memcpy(model + model_len, data, len);
	model_len += len;
}

/* Little room in the socket, so that sends are short. */
static void make_pair(int type)
{
	const int room = 32768;

	CHECK(!socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, sock));
	setsockopt(sock[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
}

static void start_with(int type, const struct fbuf_queue_options *options)
{
	begin();
	make_pair(type);
	model_len = 0;
	model_at = 0;
	CHECK(!fbuf_queue_create(&queue, heap, sock[0], options));
}

static void start(int type)
{
	start_with(type, NULL);
}

static void stop(void)
{
	fbuf_queue_destroy(queue);
	fake_land_all();
	fbuf_queue_notices(heap);
	close(sock[0]);
	close(sock[1]);
	end();
}

/* Read what is there, up to max bytes; false if it is wrong. */
static bool peer_reads(size_t max)
{
	static char got[MIB];
	ssize_t n;

	while (max) {
		n = recv(sock[1], got, max < sizeof(got) ? max : sizeof(got),
			 MSG_DONTWAIT);
		if (n <= 0)
			return true;
		if ((size_t)n > model_len - model_at ||
		    memcmp(got, model + model_at, n))
			return false;
		model_at += n;
		max -= n;
	}
	return true;
}

/* Until nothing is queued: all is right, and all there is. */
static bool goes_out(size_t step)
{
	int ret;

	do {
		ret = fbuf_queue_flush(queue);
		if (ret < 0 || !peer_reads(step))
			return false;
		if (!ret != !!fbuf_queue_len(queue) && !ret)
			return false;
	} while (!ret);
	return peer_reads(SIZE_MAX) && model_at == model_len;
}

static struct fbuf_view *new_view(size_t len, size_t seed)
{
	char *p = fbuf_heap_alloc(heap, len);
	struct fbuf_view *view = p ? fbuf_view_own(heap, p, len) : NULL;

	if (!view) {
		printf("Bail out! No view.\n");
		exit(1);
	}
	pattern_fill(p, len, seed);
	return view;
}

/* Queued, and expected. */
static int queue_view(size_t len, size_t seed)
{
	struct fbuf_view *view = new_view(len, seed);
	int ret = fbuf_queue_view(queue, fbuf_view_retain(view));

	if (ret < 0)
		fbuf_view_release(view);
	else
		model_add(fbuf_view_data(view), len);
	fbuf_view_release(view);
	return ret;
}

static int queue_copy(size_t len, size_t seed)
{
	char *p = malloc(len + 1);
	int ret;

	if (!p)
		return -ENOMEM;
	pattern_fill(p, len, seed);
	ret = fbuf_queue_copy(queue, p, len);
	if (!ret)
		model_add(p, len);
	memset(p, 0xee, len);
	free(p);
	return ret;
}

/* What was told of an item. */
struct told {
	unsigned int taken;
	unsigned int idle;
	int err;
	unsigned int *order;	/* so many were told of before */
	unsigned int at;
	void *mem;		/* of the heap, freed when idle; or NULL */
};

static void on_taken(void *arg, int err)
{
	struct told *t = arg;

	CHECK(!t->taken && !t->idle);
	t->taken++;
	t->err = err;
	if (t->order)
		t->at = (*t->order)++;
}

static void on_idle(void *arg)
{
	struct told *t = arg;

	CHECK(t->taken == 1 && !t->idle);
	t->idle++;
	fbuf_heap_free(heap, t->mem);
}

static int queue_mem(struct told *t, size_t len, size_t seed)
{
	char *p = fbuf_heap_alloc(heap, len ? len : 1);
	int ret;

	if (!p)
		return -ENOMEM;
	t->mem = p;
	pattern_fill(p, len, seed);
	ret = fbuf_queue_mem(queue, p, len, on_taken, on_idle, t);
	if (ret < 0)
		fbuf_heap_free(heap, p);
	else
		model_add(p, len);
	return ret;
}

static bool was_told(const struct told *t, int err, bool idle)
{
	return t->taken == 1 && t->err == err && t->idle == idle;
}

static void test_order(void)
{
	struct told t = { 0 };

	start(SOCK_STREAM);
	CHECK(fbuf_queue_flush(queue) == 1);
	CHECK(!fbuf_queue_events(queue));
	CHECK(!queue_copy(100, 1));
	CHECK(!queue_view(300 * KIB, 2));
	CHECK(!queue_mem(&t, 100000, 3));
	CHECK(!queue_copy(5000, 4));
	CHECK(!queue_view(100, 5));
	CHECK(!queue_view(1000, 6));
	CHECK(!queue_copy(1, 7));
	CHECK(fbuf_queue_len(queue) == model_len);
	CHECK(fbuf_queue_events(queue) == EPOLLOUT);
	CHECK(!fake.sends);
	CHECK(fbuf_queue_flush(queue) == 0);
	CHECK(fake.sends);
	CHECK(fbuf_queue_events(queue) == EPOLLOUT);
	CHECK(goes_out(10000));
	CHECK(!fbuf_queue_events(queue) && !fbuf_queue_len(queue));
	CHECK(fbuf_queue_sock(queue) == sock[0]);
	CHECK(t.taken && !t.idle);
	fake_land_all();
	CHECK(fbuf_queue_notices(heap) == 1);
	CHECK(was_told(&t, 0, true));
	stop();
}

/* Whatever comes, and whatever the socket takes: the same bytes in the same order. */
static void try_random(bool cookies)
{
	static struct told told[5000];
	unsigned int nr = 0, i, round;

	start(SOCK_STREAM);
	fake.cookies = cookies;
	memset(told, 0, sizeof(told));
	for (round = 0; round < 3000; round++) {
		size_t len = below((size_t)1 << below(18));
		int ret = 0;

		fake.take = below(4) ? below((size_t)1 << below(20)) : 0;
		fake.fail = below(20) ? 0 : EBUSY;
		switch (below(5)) {
		case 0:
			ret = queue_copy(len, round);
			break;
		case 1:
			ret = queue_view(len ? len : 1, round);
			break;
		case 2:
			ret = queue_mem(&told[nr], len, round);
			nr += !ret;
			break;
		case 3:
			CHECK(fbuf_queue_flush(queue) >= 0);
			break;
		case 4:
			CHECK(peer_reads(below(100000)));
			break;
		}
		CHECK(!ret || ret == -EAGAIN || ret == -ENOMEM);
		if (fake.nr_flights && below(2))
			fake_land(below(fake.nr_flights));
		if (!below(4))
			fbuf_queue_notices(heap);
		if (failed)
			break;
	}
	fake.take = 0;
	fake.fail = 0;
	CHECK(goes_out(100000));
	for (i = 0; i < nr; i++)
		CHECK(told[i].taken == 1 && !told[i].err);
	fake_land_all();
	CHECK(!fbuf_queue_notices_wait(heap, 1000));
	for (i = 0; i < nr; i++)
		CHECK(told[i].idle == 1);
	printf("# %u sends, %zu bytes, %zu by reference\n", fake.sends,
	       model_len, fake.referred);
	CHECK(fake.referred > model_len / 4);
	stop();
}

static void test_random(void)
{
	try_random(true);
	try_random(false);
}

static void test_limit(void)
{
	const struct fbuf_queue_options opt = { .limit = 100000 };

	start_with(SOCK_STREAM, &opt);
	CHECK(fbuf_queue_room(queue) == 100000);
	CHECK(!queue_view(90000, 1));
	CHECK(fbuf_queue_room(queue) == 10000);
	CHECK(queue_view(10001, 2) == -EAGAIN);
	CHECK(queue_copy(10001, 2) == -EAGAIN);
	CHECK(fbuf_queue_len(queue) == 90000);
	CHECK(!queue_copy(10000, 2));
	CHECK(queue_copy(1, 2) == -EAGAIN);
	CHECK(goes_out(10000));
	/* However long, if there is nothing else. */
	CHECK(!queue_view(MIB, 3));
	CHECK(!fbuf_queue_room(queue));
	CHECK(queue_copy(1, 4) == -EAGAIN);
	CHECK(queue_copy(100, 4) == -EAGAIN);
	CHECK(goes_out(100000));
	stop();
}

static void try_told(bool cookies, bool no_ring)
{
	struct told t[3] = { 0 };
	unsigned int order = 0, i;
	struct pollfd pfd = { .events = POLLIN };

	start(SOCK_STREAM);
	fake.cookies = cookies;
	fake.no_ring = no_ring;
	for (i = 0; i < 3; i++) {
		t[i].order = &order;
		CHECK(!queue_mem(&t[i], 8000, i));
	}
	CHECK(goes_out(MIB));
	CHECK(fake.sends == 1 && fake.nr_flights == 1);
	for (i = 0; i < 3; i++)
		CHECK(was_told(&t[i], 0, false) && t[i].at == i);
	CHECK(!fbuf_queue_notices(heap));
	CHECK(fbuf_queue_notices_wait(heap, 20) == -ETIMEDOUT);
	pfd.fd = fbuf_queue_notices_fd(heap);
	CHECK(no_ring ? pfd.fd == -EBUSY : pfd.fd >= 0);
	CHECK(no_ring || !poll(&pfd, 1, 0));
	fake_land_all();
	CHECK(no_ring || poll(&pfd, 1, 0) == 1);
	CHECK(fbuf_queue_notices(heap) == 3);
	CHECK(no_ring || !poll(&pfd, 1, 0));
	for (i = 0; i < 3; i++)
		CHECK(was_told(&t[i], 0, true));
	CHECK(!fbuf_queue_notices_wait(heap, 0));
	stop();
}

static void test_told(void)
{
	try_told(true, false);
}

static void test_told_by_buffers(void)
{
	try_told(false, false);
}

static void test_told_without_ring(void)
{
	try_told(false, true);
	try_told(true, true);
}

/* The program took the ring for itself, and hands on what it finds there. */
static void test_ring_of_others(void)
{
	struct fbuf_ring_entry e, other = {
		.type = FBUF_RING_SENT, .data = 4711,
	};
	struct told t = { 0 }, next = { 0 };

	start(SOCK_STREAM);
	CHECK(!fbuf_ring_setup(pool, 64, 0, -1));
	CHECK(!queue_mem(&t, 8000, 1));
	CHECK(goes_out(MIB));
	fake_land_all();
	CHECK(!fbuf_queue_notices(heap) && !t.idle);
	CHECK(!fbuf_queue_notice(heap, &other));
	CHECK(fbuf_ring_next(pool, &e) == 1);
	CHECK(fbuf_queue_notice(heap, &e) == 1 && t.idle);
	/* Once is enough, also when others are under way. */
	CHECK(!fbuf_queue_notice(heap, &e));
	CHECK(!queue_mem(&next, 8000, 2));
	CHECK(goes_out(MIB));
	CHECK(!fbuf_queue_notice(heap, &e) && !next.idle);
	fake_land_all();
	CHECK(fbuf_ring_next(pool, &e) == 1);
	CHECK(fbuf_queue_notice(heap, &e) == 1 && next.idle);
	stop();
}

/* More than one send can tell of. */
static void test_many_told(void)
{
	static struct told told[300];
	const int room = 16 << 20;
	unsigned int i;

	start(SOCK_STREAM);
	setsockopt(sock[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	memset(told, 0, sizeof(told));
	for (i = 0; i < 300; i++)
		CHECK(!queue_mem(&told[i], 1200, i));
	CHECK(goes_out(MIB));
	printf("# %u sends\n", fake.sends);
	CHECK(fake.sends >= 5);
	while (fake.nr_flights)
		fake_land(fake.nr_flights - 1);
	CHECK(fbuf_queue_notices(heap) == 300);
	for (i = 0; i < 300; i++)
		CHECK(was_told(&told[i], 0, true));
	stop();
}

/* An item that goes by many sends is idle when the last of them has landed. */
static void test_many_flights(void)
{
	struct told t = { 0 };

	start(SOCK_STREAM);
	fake.take = 10000;
	CHECK(!queue_mem(&t, 100000, 1));
	CHECK(goes_out(MIB));
	CHECK(fake.nr_flights >= 10 && was_told(&t, 0, false));
	while (fake.nr_flights) {
		CHECK(!fbuf_queue_notices(heap));
		fake_land(below(fake.nr_flights));
	}
	CHECK(fbuf_queue_notices(heap) == 1 && was_told(&t, 0, true));
	stop();
}

/* Landed before all was taken: told when it is. */
static void test_landed_early(void)
{
	struct told t = { 0 };

	start(SOCK_STREAM);
	CHECK(!queue_mem(&t, 200000, 1));
	while (!fbuf_queue_flush(queue)) {
		fake_land_all();
		CHECK(!fbuf_queue_notices(heap));
		CHECK(!t.taken && peer_reads(MIB));
	}
	CHECK(was_told(&t, 0, fake.nr_flights == 0));
	fake_land_all();
	fbuf_queue_notices(heap);
	CHECK(was_told(&t, 0, true));
	stop();
}

/* What the kernel would do with an SQE. */
static int sqe_run(const struct io_uring_sqe *sqe)
{
	const struct fbuf_uring_cmd *cmd = (const void *)sqe->cmd;
	int ret;

	if (sqe->opcode == IORING_OP_SENDMSG)
		ret = sendmsg(sqe->fd, (void *)(uintptr_t)sqe->addr,
			      sqe->msg_flags | MSG_DONTWAIT);
	else if (sqe->opcode == IORING_OP_URING_CMD)
		ret = ioctl(sqe->fd, sqe->cmd_op, cmd->args);
	else
		return sqe->opcode == IORING_OP_POLL_ADD ?
		       (int)sqe->poll32_events : -EINVAL;
	return ret < 0 ? -errno : ret;
}

static void *new_sqe(void)
{
	struct io_uring_sqe *sqe = malloc(64);

	if (!sqe)
		abort();
	memset(sqe, 0xaa, 64);
	sqe->user_data = 4711;
	return sqe;
}

/* The module has no room for more cookies: then it is asked. */
static void test_crowded(void)
{
	struct told t[2] = { 0 };
	struct io_uring_sqe *sqe = new_sqe();

	start(SOCK_STREAM);
	fake.crowded = true;
	CHECK(!queue_mem(&t[0], 8000, 1));
	CHECK(goes_out(MIB) && was_told(&t[0], 0, false));
	CHECK(fake.nr_flights == 1);
	CHECK(!fbuf_queue_notices(heap));
	fake_land_all();
	CHECK(fbuf_queue_notices(heap) == 1 && was_told(&t[0], 0, true));
	CHECK(!queue_mem(&t[1], 8000, 2));
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(fbuf_queue_done(queue, sqe_run(sqe)) == 0);
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(fbuf_queue_done(queue, sqe_run(sqe)) == 1);
	CHECK(was_told(&t[1], 0, true));
	free(sqe);
	stop();
}

static void test_hold(void)
{
	const struct fbuf_queue_options opt = { .flags = FBUF_QUEUE_HOLD };
	struct fbuf_view *view;
	bool hold;

	for (hold = false; ; hold = true) {
		start_with(SOCK_STREAM, hold ? &opt : NULL);
		view = new_view(8000, 1);
		CHECK(!fbuf_queue_view(queue, fbuf_view_retain(view)));
		model_add(fbuf_view_data(view), 8000);
		CHECK(fbuf_view_count(view) == 2);
		CHECK(goes_out(MIB));
		CHECK(fbuf_view_count(view) == (hold ? 2U : 1U));
		fake_land_all();
		fbuf_queue_notices(heap);
		CHECK(fbuf_view_count(view) == 1);
		fbuf_view_release(view);
		stop();
		if (hold)
			break;
	}
}

static void test_peer_goes(void)
{
	struct told t[3] = { 0 };
	struct fbuf_view *view;
	unsigned int order = 0, i;

	start(SOCK_STREAM);
	for (i = 0; i < 3; i++) {
		t[i].order = &order;
		CHECK(!queue_mem(&t[i], i ? 100000 : 5000, i));
	}
	view = new_view(5000, 4);
	CHECK(!fbuf_queue_view(queue, fbuf_view_retain(view)));
	CHECK(!fbuf_queue_flush(queue));
	CHECK(t[0].taken && !t[1].taken);
	close(sock[1]);
	CHECK(fbuf_queue_flush(queue) == -EPIPE);
	CHECK(was_told(&t[0], 0, false));
	CHECK(was_told(&t[2], -EPIPE, true) && t[2].at == 2);
	CHECK(t[1].taken && t[1].err == -EPIPE && t[1].at == 1);
	CHECK(fbuf_view_count(view) == 1);
	CHECK(!fbuf_queue_len(queue) && !fbuf_queue_events(queue));
	/* And so it stays. */
	CHECK(fbuf_queue_flush(queue) == -EPIPE);
	CHECK(fbuf_queue_view(queue, view) == -EPIPE);
	CHECK(fbuf_queue_copy(queue, "x", 1) == -EPIPE);
	CHECK(fbuf_view_count(view) == 1);
	fbuf_view_release(view);
	CHECK(!t[1].idle);
	fake_land_all();
	CHECK(fbuf_queue_notices(heap) == 2);
	CHECK(was_told(&t[0], 0, true) && was_told(&t[1], -EPIPE, true));
	stop();
}

static void test_destroy(void)
{
	struct told t[3] = { 0 };
	unsigned int i;

	start(SOCK_STREAM);
	for (i = 0; i < 3; i++)
		CHECK(!queue_mem(&t[i], i ? 100000 : 5000, i));
	CHECK(!queue_copy(1000, 3));
	CHECK(!fbuf_queue_flush(queue));
	fbuf_queue_destroy(queue);
	queue = NULL;
	CHECK(was_told(&t[0], 0, false));
	CHECK(was_told(&t[1], -ECANCELED, false));
	CHECK(was_told(&t[2], -ECANCELED, true));
	CHECK(!fbuf_queue_notices(heap));
	fake_land_all();
	CHECK(fbuf_queue_notices(heap) == 2);
	CHECK(was_told(&t[0], 0, true));
	CHECK(was_told(&t[1], -ECANCELED, true));
	stop();
}

/* Nobody asks for what is in flight: the pool's end is the end of that. */
static void try_pool_goes(bool cookies)
{
	struct told t = { 0 };

	start(SOCK_STREAM);
	fake.cookies = cookies;
	CHECK(!queue_mem(&t, 5000, 0));
	CHECK(goes_out(MIB));
	fbuf_queue_destroy(queue);
	queue = NULL;
	fbuf_heap_free(heap, t.mem);
	CHECK(was_told(&t, 0, false));
	close(sock[0]);
	close(sock[1]);
	end();
}

static void test_pool_goes(void)
{
	try_pool_goes(true);
	try_pool_goes(false);
}

/* What a callback is to do. */
static struct {
	unsigned int calls;
	unsigned int left;	/* items to be queued yet */
	int err;
	int ret;
} act;

static void taken_queues(void *arg, int err)
{
	(void)arg;
	act.calls++;
	act.err = err;
	if (!act.left)
		return;
	act.left--;
	act.ret |= fbuf_queue_mem(queue, model, 50000, taken_queues, NULL,
				  NULL);
	/* It goes on by itself. */
	act.ret |= fbuf_queue_flush(queue);
	model_len += 50000;
}

/* What is sent is the model's own beginning, again and again. */
static bool peer_gets_50000s(size_t nr)
{
	static char got[50000];
	size_t at;

	for (; nr; nr--) {
		for (at = 0; at < sizeof(got); ) {
			ssize_t n = recv(sock[1], got + at, sizeof(got) - at,
					 MSG_DONTWAIT);

			if (n <= 0 && fbuf_queue_flush(queue) < 0)
				return false;
			at += n > 0 ? n : 0;
		}
		if (memcmp(got, model, sizeof(got)))
			return false;
	}
	return recv(sock[1], got, 1, MSG_DONTWAIT) < 0;
}

static void test_callback_queues(void)
{
	static char first[50000];

	start(SOCK_STREAM);
	pattern_fill(first, sizeof(first), 1);
	model_add(first, sizeof(first));
	memset(&act, 0, sizeof(act));
	act.left = 20;
	CHECK(!fbuf_queue_mem(queue, model, 50000, taken_queues, NULL, NULL));
	CHECK(peer_gets_50000s(21));
	CHECK(act.calls == 21 && !act.ret);
	/* Not any more when it ends. */
	act.left = 1;
	CHECK(!fbuf_queue_mem(queue, model, 50000, taken_queues, NULL, NULL));
	close(sock[1]);
	CHECK(fbuf_queue_flush(queue) == -EPIPE);
	CHECK(act.calls == 22 && act.err == -EPIPE && act.ret == -EPIPE);
	stop();
}

static void taken_destroys(void *arg, int err)
{
	(void)arg;
	act.calls++;
	act.err = err;
	fbuf_queue_destroy(queue);
	act.ret = fbuf_queue_copy(queue, "x", 1);
	fbuf_queue_destroy(queue);
}

static void test_callback_destroys(void)
{
	struct told t = { 0 };

	start(SOCK_STREAM);
	memset(&act, 0, sizeof(act));
	CHECK(!fbuf_queue_mem(queue, "abc", 3, taken_destroys, NULL, NULL));
	CHECK(!queue_mem(&t, 100000, 1));
	CHECK(!queue_copy(10, 1));
	CHECK(fbuf_queue_flush(queue) == -ECANCELED);
	CHECK(act.calls == 1 && !act.err && act.ret == -ECANCELED);
	CHECK(t.taken && t.err == -ECANCELED);
	queue = NULL;
	stop();
	/* While it is destroyed, and while the connection ends. */
	start(SOCK_STREAM);
	CHECK(!fbuf_queue_mem(queue, "abc", 3, taken_destroys, NULL, NULL));
	fbuf_queue_destroy(queue);
	CHECK(act.calls == 2 && act.err == -ECANCELED);
	queue = NULL;
	stop();
	start(SOCK_STREAM);
	CHECK(!fbuf_queue_mem(queue, "abc", 3, taken_destroys, NULL, NULL));
	close(sock[1]);
	CHECK(fbuf_queue_flush(queue) == -ECANCELED);
	CHECK(act.calls == 3 && act.err == -EPIPE);
	queue = NULL;
	stop();
}

static void idle_queues(void *arg)
{
	struct told *t = arg;

	act.calls++;
	if (queue && t)
		CHECK(!queue_mem(t, 5000, 9));
	CHECK(!fbuf_queue_notices(heap));
}

static void test_idle_calls_back(void)
{
	struct told t = { 0 };
	void *mem;

	start(SOCK_STREAM);
	memset(&act, 0, sizeof(act));
	mem = fbuf_heap_calloc(heap, 1, 5000);
	CHECK(!fbuf_queue_mem(queue, mem, 5000, NULL, idle_queues, &t));
	model_add(mem, 5000);
	CHECK(goes_out(MIB));
	fake_land_all();
	CHECK(fbuf_queue_notices(heap) == 1 && act.calls == 1);
	fbuf_heap_free(heap, mem);
	CHECK(fbuf_queue_len(queue) == 5000 && goes_out(MIB));
	stop();
	CHECK(was_told(&t, 0, true));
}

static void test_zero_lengths(void)
{
	struct told t[4] = { 0 };
	unsigned int order = 0, i;
	struct fbuf_view *view;

	start(SOCK_STREAM);
	for (i = 0; i < 4; i++)
		t[i].order = &order;
	CHECK(!queue_mem(&t[0], 0, 0));
	CHECK(!fbuf_queue_len(queue));
	/* Nothing is to be sent, but somebody is to be told. */
	CHECK(fbuf_queue_events(queue) == EPOLLOUT);
	CHECK(fbuf_queue_flush(queue) == 1 && was_told(&t[0], 0, true));
	CHECK(!queue_copy(0, 0) && !fbuf_queue_events(queue));
	view = fbuf_view_alloc(heap, 100);
	CHECK(!fbuf_queue_view(queue, view));
	CHECK(!queue_mem(&t[1], 100000, 1));
	CHECK(!queue_mem(&t[2], 0, 0));
	CHECK(!queue_mem(&t[3], 10, 2));
	CHECK(!fbuf_queue_flush(queue) && !t[2].taken);
	CHECK(goes_out(MIB));
	CHECK(t[1].at < t[2].at && t[2].at < t[3].at);
	CHECK(was_told(&t[2], 0, true));
	stop();
}

/* 100000 pieces: few calls, and not much memory. */
static void test_small_pieces(void)
{
	const struct fbuf_queue_options opt = { .limit = 64 * MIB };
	unsigned int i, calls = 0;

	start_with(SOCK_STREAM, &opt);
	for (i = 0; i < 100000; i++)
		CHECK(!(i % 2 ? queue_copy(1 + below(60), i) :
				queue_view(1 + below(60), i)));
	do {
		calls++;
		CHECK(fbuf_queue_flush(queue) >= 0);
		CHECK(peer_reads(SIZE_MAX));
	} while (fbuf_queue_len(queue) && !failed);
	printf("# %zu bytes, room was found %u times, %u sends\n", model_len,
	       calls, fake.sends);
	CHECK(model_at == model_len);
	CHECK(!fake.sends);
	stop();
	/* By reference: not a send for each. */
	start_with(SOCK_STREAM, &opt);
	for (i = 0; i < 10000; i++)
		CHECK(!queue_view(i % 8 ? 300 + below(200) : 2000, i));
	CHECK(goes_out(SIZE_MAX));
	printf("# %zu bytes, %u sends\n", model_len, fake.sends);
	CHECK(fake.sends > 10 && fake.sends < 1000);
	stop();
}

/* What goes by one call, and the flag that says that more comes. */
static void test_batches(void)
{
	const int room = 16 << 20;
	unsigned int i;

	start(SOCK_STREAM);
	setsockopt(sock[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	CHECK(!queue_copy(200, 1));
	CHECK(!queue_view(8000, 2));
	CHECK(!queue_copy(2, 1));
	CHECK(!queue_view(8000, 3));
	CHECK(fbuf_queue_flush(queue) == 1);
	CHECK(fake.sends == 1 && fake.segs == 4 && !fake.more);
	CHECK(fake.referred == 16000);
	CHECK(peer_reads(SIZE_MAX) && model_at == model_len);
	/* Small objects go by the socket's own call. */
	CHECK(!queue_view(3000, 3));
	CHECK(fbuf_queue_flush(queue) == 1 && fake.sends == 1);
	CHECK(peer_reads(SIZE_MAX) && model_at == model_len);
	/* More than a send takes: all but the last say so. */
	fake.sends = 0;
	for (i = 0; i < 600; i++)
		CHECK(!queue_view(1200, i));
	CHECK(goes_out(SIZE_MAX));
	CHECK(fake.sends >= 3 && !(fake.flags & FBUF_SEND_MORE));
	CHECK(fake.more && fake.more < fake.sends);
	CHECK(fake.flags & FBUF_SEND_DONTWAIT);
	stop();
}

/* What the module refuses, the socket may take all the same. */
static void test_refused(void)
{
	static const int errs[] = {
		EOPNOTSUPP, EBUSY, ENOMEM, EDQUOT, ESTALE, ENOTTY, EACCES,
	};
	struct told t = { 0 };
	unsigned int i;

	start(SOCK_STREAM);
	for (i = 0; i < sizeof(errs) / sizeof(*errs); i++) {
		memset(&t, 0, sizeof(t));
		fake.fail = errs[i];
		CHECK(!queue_mem(&t, 50000, i));
		CHECK(goes_out(MIB));
		/* Copied: nothing is in flight. */
		CHECK(was_told(&t, 0, true));
	}
	CHECK(!fake.nr_flights && fake.sends >= i);
	fake.fail = ECONNRESET;
	CHECK(!queue_view(50000, i));
	CHECK(fbuf_queue_flush(queue) == -ECONNRESET);
	stop();
}

static bool gets_message(size_t len, size_t seed)
{
	static char got[MIB];
	ssize_t n = recv(sock[1], got, sizeof(got), MSG_DONTWAIT);
	size_t i;

	if (n != (ssize_t)len)
		return false;
	for (i = 0; i < len; i++)
		if ((unsigned char)got[i] != pattern(seed, i))
			return false;
	return true;
}

static void try_messages(int type)
{
	const struct fbuf_queue_options opt = { .limit = 64 * MIB };
	struct told big = { 0 }, t = { 0 };
	struct fbuf_view *all, *part;
	unsigned int i;

	start_with(type, &opt);
	CHECK(!queue_copy(10, 1));
	CHECK(!queue_copy(20, 2));
	CHECK(!queue_view(10000, 3));
	CHECK(!queue_view(7, 4));
	CHECK(!queue_mem(&big, 4 * MIB, 5));
	CHECK(!queue_mem(&t, 6000, 6));
	CHECK(!fbuf_queue_copy(queue, NULL, 0));
	/* A message of very many pieces. */
	all = fbuf_view_composite(600);
	for (i = 0; i < 600; i++) {
		part = new_view(20, 7);
		pattern_fill(fbuf_view_data(part), 20, 7);
		CHECK(!fbuf_view_add(all, part));
	}
	CHECK(!fbuf_queue_view(queue, all));
	CHECK(fbuf_queue_flush(queue) == 1);
	CHECK(was_told(&big, -EMSGSIZE, true));
	CHECK(t.taken && !t.err);
	CHECK(gets_message(10, 1) && gets_message(20, 2));
	CHECK(gets_message(10000, 3) && gets_message(7, 4));
	CHECK(gets_message(6000, 6) && gets_message(0, 0));
	{
		static char got[MIB];

		CHECK(recv(sock[1], got, sizeof(got), MSG_DONTWAIT) == 12000);
		for (i = 0; i < 12000; i++)
			CHECK((unsigned char)got[i] == pattern(7, i % 20));
	}
	CHECK(recv(sock[1], NULL, 0, MSG_DONTWAIT) < 0);
	/* Each is whole, or waits. */
	for (i = 0; i < 100; i++)
		CHECK(!queue_view(5000, i));
	CHECK(fbuf_queue_flush(queue) == 0);
	for (i = 0; i < 100; i++) {
		CHECK(gets_message(5000, i));
		CHECK(fbuf_queue_flush(queue) >= 0);
	}
	CHECK(!fbuf_queue_len(queue));
	stop();
}

static void test_messages(void)
{
	try_messages(SOCK_DGRAM);
	try_messages(SOCK_SEQPACKET);
}

#define NR_FAN		600U
static struct fbuf_queue *fan[NR_FAN];
static int fan_sock[NR_FAN][2];
static int results[NR_FAN];

static void fan_start(unsigned int nr, const struct fbuf_queue_options *opt)
{
	unsigned int i;

	begin();
	for (i = 0; i < nr; i++) {
		make_pair(SOCK_STREAM);
		fan_sock[i][0] = sock[0];
		fan_sock[i][1] = sock[1];
		CHECK(!fbuf_queue_create(&fan[i], heap, sock[0], opt));
	}
}

static void fan_stop(unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++) {
		fbuf_queue_destroy(fan[i]);
		close(fan_sock[i][0]);
		close(fan_sock[i][1]);
	}
	fake_land_all();
	fbuf_queue_notices(heap);
	end();
}

static bool fan_gets(unsigned int i, size_t len, size_t seed)
{
	size_t at = 0, k;
	char got[16384];

	while (at < len) {
		ssize_t n = recv(fan_sock[i][1], got, len - at < sizeof(got) ?
				 len - at : sizeof(got), MSG_DONTWAIT);

		if (n <= 0 && fbuf_queue_flush(fan[i]) < 0)
			return false;
		for (k = 0; (ssize_t)k < n; k++)
			if ((unsigned char)got[k] != pattern(seed, at + k))
				return false;
		at += n > 0 ? n : 0;
	}
	return true;
}

static void test_fanout(void)
{
	struct fbuf_view *view;
	unsigned int i;

	fan_start(NR_FAN, NULL);
	view = new_view(10000, 1);
	CHECK(fbuf_queue_fanout(fan, NR_FAN, view, results) == NR_FAN);
	CHECK(fake.fanouts == 3 && fake.targets == NR_FAN && !fake.sends);
	CHECK(fbuf_view_count(view) == 1);
	for (i = 0; i < NR_FAN; i++)
		CHECK(results[i] == 1 && fan_gets(i, 10000, 1));
	/* Small ones cost no call of the module. */
	fbuf_view_release(view);
	view = new_view(100, 2);
	CHECK(fbuf_queue_fanout(fan, NR_FAN, view, NULL) == NR_FAN);
	CHECK(fake.fanouts == 3 && fbuf_view_release(view) == 1);
	for (i = 0; i < NR_FAN; i++)
		CHECK(fan_gets(i, 100, 2));
	view = new_view(1, 1);
	CHECK(!fbuf_queue_fanout(fan, 0, view, NULL));
	CHECK(fbuf_view_release(view) == 1);
	fan_stop(NR_FAN);
}

static void test_fanout_slow(void)
{
	const struct fbuf_queue_options opt = { .limit = 300000 };
	struct fbuf_view *view;
	unsigned int i;

	fan_start(8, &opt);
	/* One is full, one beyond its limit, one dead. */
	CHECK(!fbuf_queue_view(fan[1], new_view(100000, 5)));
	CHECK(fbuf_queue_flush(fan[1]) == 0);
	CHECK(!fbuf_queue_view(fan[2], new_view(290000, 5)));
	CHECK(fbuf_queue_flush(fan[2]) == 0);
	close(fan_sock[3][1]);
	view = new_view(150000, 6);
	CHECK(fbuf_queue_fanout(fan, 8, view, results) == 6);
	CHECK(fake.fanouts == 1 && fake.targets == 6);
	CHECK(results[1] == 0 && results[2] == -EAGAIN &&
	      results[3] == -EPIPE);
	CHECK(fbuf_view_count(view) == 1 + 6);
	CHECK(!fbuf_view_release(view));
	CHECK(fan_gets(1, 100000, 5) && fan_gets(2, 290000, 5));
	for (i = 0; i < 8; i++) {
		if (i == 2 || i == 3)
			continue;
		CHECK(i == 1 || results[i] == 0);
		CHECK(fan_gets(i, 150000, 6));
		CHECK(fbuf_queue_flush(fan[i]) == 1);
	}
	CHECK(fbuf_queue_flush(fan[3]) == -EPIPE);
	fan_stop(8);
}

/* The module refuses; a view longer than one send; queues that are unlike. */
static void test_fanout_odd(void)
{
	const struct fbuf_queue_options opt = { .flags = FBUF_QUEUE_HOLD };
	struct fbuf_view *view, *all;
	unsigned int i;

	fan_start(4, NULL);
	fbuf_queue_destroy(fan[3]);
	CHECK(!fbuf_queue_create(&fan[3], heap, fan_sock[3][0], &opt));
	view = new_view(20000, 1);
	fake.fail = EBUSY;
	CHECK(fbuf_queue_fanout(fan, 4, view, results) == 4);
	for (i = 0; i < 4; i++)
		CHECK(results[i] == 1 && fan_gets(i, 20000, 1));
	fake.fail = 0;
	CHECK(fbuf_queue_fanout(fan, 4, view, results) == 4);
	CHECK(fbuf_view_count(view) == 2);
	fake_land_all();
	CHECK(fbuf_queue_notices(heap) == 1);
	for (i = 0; i < 4; i++)
		CHECK(fan_gets(i, 20000, 1));
	CHECK(fbuf_view_release(view) == 1);
	all = fbuf_view_composite(1000);
	for (i = 0; i < 300; i++)
		CHECK(!fbuf_view_add(all, new_view(1030, 3)));
	CHECK(fbuf_queue_fanout(fan, 4, all, results) == 4);
	CHECK(!fbuf_view_release(all));
	for (i = 0; i < 300; i++) {
		unsigned int k;

		for (k = 0; k < 4; k++)
			CHECK(fan_gets(k, 1030, 3));
	}
	fan_stop(4);
}

static void test_uring(void)
{
	struct told t[3] = { 0 };
	struct io_uring_sqe *sqe = new_sqe();
	unsigned int i, ops = 0;
	int ret;

	start(SOCK_STREAM);
	CHECK(fbuf_queue_prep(queue, sqe) == 0);
	CHECK(fbuf_queue_done(queue, 0) == -EINVAL);
	CHECK(!queue_copy(100, 1));
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(sqe->opcode == IORING_OP_SENDMSG && sqe->user_data == 4711);
	CHECK(fbuf_queue_prep(queue, sqe) == -EBUSY);
	CHECK(fbuf_queue_flush(queue) == -EBUSY);
	/* Meanwhile more may be queued. */
	CHECK(!queue_copy(100, 2));
	CHECK(fbuf_queue_done(queue, sqe_run(sqe)) == 0);
	CHECK(fbuf_queue_len(queue) == 100);
	for (i = 0; i < 3; i++)
		CHECK(!queue_mem(&t[i], 100000, i));
	for (;;) {
		ret = fbuf_queue_prep(queue, sqe);
		CHECK(ret == 1 && sqe->user_data == 4711);
		if (ret != 1)
			break;
		ops |= 1U << (sqe->opcode == IORING_OP_URING_CMD);
		ops |= 4U * (sqe->opcode == IORING_OP_POLL_ADD);
		CHECK(sqe->flags == 0 && sqe->ioprio == 0);
		ret = fbuf_queue_done(queue, sqe_run(sqe));
		if (ret)
			break;
		if (ops & 4)
			CHECK(peer_reads(50000));
	}
	CHECK(ret == 1 && !fbuf_queue_len(queue) && ops == 7);
	CHECK(peer_reads(SIZE_MAX) && model_at == model_len);
	fake_land_all();
	fbuf_queue_notices(heap);
	for (i = 0; i < 3; i++)
		CHECK(was_told(&t[i], 0, true));
	free(sqe);
	stop();
}

static void test_uring_refused(void)
{
	struct io_uring_sqe *sqe = new_sqe();
	struct told t = { 0 };

	start(SOCK_STREAM);
	CHECK(!queue_mem(&t, 10000, 1));
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(sqe->opcode == IORING_OP_URING_CMD);
	CHECK(fbuf_queue_done(queue, -EBUSY) == 0);
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(sqe->opcode == IORING_OP_SENDMSG);
	CHECK(fbuf_queue_done(queue, sqe_run(sqe)) == 1);
	CHECK(was_told(&t, 0, true));
	/* It was cancelled: not the end of the connection. */
	CHECK(!queue_view(10000, 2));
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(fbuf_queue_done(queue, -ECANCELED) == 0);
	CHECK(fbuf_queue_prep(queue, sqe) == 1);
	CHECK(fbuf_queue_done(queue, -ECONNRESET) == -ECONNRESET);
	CHECK(fbuf_queue_prep(queue, sqe) == -ECONNRESET);
	free(sqe);
	stop();
}

static void test_uring_destroy(void)
{
	struct io_uring_sqe *sqe = new_sqe();
	struct told t[2] = { 0 };
	struct fbuf_queue *q;

	start(SOCK_STREAM);
	q = queue;
	CHECK(!queue_mem(&t[0], 10000, 1));
	CHECK(!queue_mem(&t[1], 100000, 1));
	CHECK(fbuf_queue_prep(q, sqe) == 1);
	fbuf_queue_destroy(q);
	queue = NULL;
	CHECK(!t[0].taken);
	CHECK(fbuf_queue_done(q, sqe_run(sqe)) == -ECANCELED);
	CHECK(was_told(&t[0], 0, false));
	CHECK(t[1].taken && t[1].err == -ECANCELED);
	free(sqe);
	stop();
}

static void test_arguments(void)
{
	struct fbuf_queue_options opt = { .flags = 2 };
	struct { struct fbuf_queue_options opt; int more; } longer = { 0 };
	struct fbuf_queue *q;

	start(SOCK_STREAM);
	errno = 4711;
	CHECK(fbuf_queue_create(&q, heap, sock[0], &opt) == -EINVAL);
	opt.flags = 0;
	opt.send_flags = FBUF_SEND_MORE;
	CHECK(fbuf_queue_create(&q, heap, sock[0], &opt) == -EINVAL);
	opt.send_flags = FBUF_SEND_VOLATILE | FBUF_SEND_SECURED;
	CHECK(fbuf_queue_create(&q, heap, sock[0], &opt) == -EINVAL);
	CHECK(fbuf_queue_create(&q, heap, fake.fd, NULL) == -ENOTSOCK);
	CHECK(fbuf_queue_create(&q, heap, -1, NULL) == -EBADF);
	CHECK(fbuf_queue_create_sized(&q, heap, sock[0], &opt, 8) == -EINVAL);
	longer.more = 1;
	CHECK(fbuf_queue_create_sized(&q, heap, sock[0], &longer.opt,
				      sizeof(longer)) == -E2BIG);
	longer.more = 0;
	longer.opt.send_flags = FBUF_SEND_VOLATILE;
	CHECK(!fbuf_queue_create_sized(&q, heap, sock[0], &longer.opt,
				       sizeof(longer)));
	CHECK(!fbuf_queue_view(q, new_view(10000, 1)));
	CHECK(fbuf_queue_flush(q) == 1);
	CHECK(fake.flags & FBUF_SEND_VOLATILE);
	fbuf_queue_destroy(q);
	fbuf_queue_destroy(NULL);
	CHECK(errno == 4711);
	stop();
}

static const struct test tests[] = {
	{ "queue order", test_order },
	{ "queue any bytes, any room", test_random },
	{ "queue limit", test_limit },
	{ "queue tells when memory is idle", test_told },
	{ "queue tells without cookies", test_told_by_buffers },
	{ "queue tells without a ring", test_told_without_ring },
	{ "queue with the program's own ring", test_ring_of_others },
	{ "queue with many to be told", test_many_told },
	{ "queue item of many sends", test_many_flights },
	{ "queue item landed before it was taken", test_landed_early },
	{ "queue without room for cookies", test_crowded },
	{ "queue holds views until idle", test_hold },
	{ "queue whose peer goes", test_peer_goes },
	{ "queue destroyed with all in it", test_destroy },
	{ "queue whose pool goes", test_pool_goes },
	{ "queue filled by callbacks", test_callback_queues },
	{ "queue destroyed by callbacks", test_callback_destroys },
	{ "queue filled when idle", test_idle_calls_back },
	{ "queue zero lengths", test_zero_lengths },
	{ "queue of 100000 pieces", test_small_pieces },
	{ "queue by few sends", test_batches },
	{ "queue that the module refuses", test_refused },
	{ "queue of messages", test_messages },
	{ "queue fan-out", test_fanout },
	{ "queue fan-out to slow ones", test_fanout_slow },
	{ "queue fan-out, odd ones", test_fanout_odd },
	{ "queue by io_uring", test_uring },
	{ "queue by io_uring, refused", test_uring_refused },
	{ "queue by io_uring, destroyed", test_uring_destroy },
	{ "queue arguments", test_arguments },
};

int main(void)
{
	int ret = run_tests(tests, sizeof(tests) / sizeof(*tests));

	free(model);
	return ret;
}
