// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Parcels: those of the library itself, by real sockets, and what the module is asked
 * for. TAP out.
 */

#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <fbuf/backend.h>

#include "test_module.h"

#define MIB	((size_t)1 << 20)

static char sent[4 * MIB], got[4 * MIB];
/* A pool of the library itself, and a stream. */
static struct fbuf_pool *soft;
static int in, out;

static void soft_begin(void)
{
	int pair[2];

	fbuf_backend_set(FBUF_BACKEND_USER);
	if (fbuf_pool_create(&soft, 65536, 4) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
		printf("Bail out! No pool.\n");
		exit(1);
	}
	in = pair[0];
	out = pair[1];
}

static void soft_end(void)
{
	struct fbuf_info info;

	CHECK(!fbuf_pool_info(soft, &info));
	CHECK(!info.nr_parcels && !info.parcel_bytes);
	fbuf_pool_close(soft);
	close(in);
	close(out);
}

/* A parcel of the next len bytes. */
static uint64_t parcel_of(struct fbuf_pool *p, size_t from, size_t len)
{
	uint64_t name = 0;

	CHECK(send(out, sent + from, len, 0) == (ssize_t)len);
	CHECK(fbuf_recv(p, in, len, FBUF_RECV_ALL, &name) == (ssize_t)len);
	CHECK(fbuf_is_parcel(name));
	return name;
}

static bool parcel_is(struct fbuf_pool *p, uint64_t name, size_t from,
		      size_t len)
{
	return !fbuf_parcel_read(p, name, 0, got, len) &&
	       !memcmp(got, sent + from, len) &&
	       fbuf_parcel_read(p, name, 1, got, len) == -EINVAL;
}

/* So many bytes are there, as they were sent. */
static bool arrives(int sock, const char *what, size_t len)
{
	return recv(sock, got, len, MSG_WAITALL) == (ssize_t)len &&
	       !memcmp(got, what, len);
}

static int tcp_pair(int pair[2])
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int listener = socket(AF_INET, SOCK_STREAM, 0), ret = -1;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (!bind(listener, (void *)&sin, len) && !listen(listener, 1) &&
	    !getsockname(listener, (void *)&sin, &len) &&
	    !connect(pair[0], (void *)&sin, len)) {
		pair[1] = accept(listener, NULL, NULL);
		ret = pair[1] < 0 ? -1 : 0;
	}
	close(listener);
	return ret;
}

static void test_forward(void)
{
	struct fbuf_result result;
	struct fbuf_gather *g;
	uint64_t name, buf;
	int tcp[2] = { -1, -1 };

	soft_begin();
	CHECK(!tcp_pair(tcp));
	CHECK(send(tcp[0], sent, 100000, 0) == 100000);
	CHECK(fbuf_recv(soft, tcp[1], MIB, 0, &name) > 0);
	CHECK(!fbuf_free(soft, &name, 1));
	/* What is left, all of it. */
	while (recv(tcp[1], got, MIB, MSG_DONTWAIT) > 0)
		;
	name = parcel_of(soft, 5, 100000);
	CHECK(parcel_is(soft, name, 5, 100000));
	CHECK(!fbuf_parcel_read(soft, name, 70000, got, 30) &&
	      !memcmp(got, sent + 70005, 30));
	CHECK(fbuf_alloc(soft, &buf, 1, 0) == 1);
	memcpy(fbuf_addr(soft, buf), "buffer", 6);
	g = fbuf_gather_new(soft);
	CHECK(!fbuf_gather_append_inline(g, "inline", 6));
	CHECK(!fbuf_gather_append(g, name, 10, 50000));
	CHECK(!fbuf_gather_append(g, buf, 0, 6));
	CHECK(!fbuf_gather_append(g, name, 0, 20));
	CHECK(fbuf_send(g, tcp[0], 0, &result) == 50032);
	CHECK(result.engine == FBUF_ENGINE_COPY && result.copied == 50026);
	CHECK(arrives(tcp[1], "inline", 6) && arrives(tcp[1], sent + 15, 50000));
	CHECK(arrives(tcp[1], "buffer", 6) && arrives(tcp[1], sent + 5, 20));
	CHECK(!fbuf_free(soft, &buf, 1) && !fbuf_free(soft, &name, 1));
	fbuf_gather_destroy(g);
	close(tcp[0]);
	close(tcp[1]);
	soft_end();
}

static void *send_later(void *arg)
{
	usleep(20000);
	CHECK(send(out, sent + 10, 10, 0) == 10);
	return arg;
}

static void test_flags(void)
{
	uint64_t name = 1, peeked;
	pthread_t thread;

	unsigned int i;

	soft_begin();
	for (i = 0; i < 100; i++)
		CHECK(fbuf_recv(soft, in, 10, FBUF_RECV_DONTWAIT, &name) ==
		      -EAGAIN);
	CHECK(!name);
	CHECK(send(out, sent, 10, 0) == 10);
	CHECK(fbuf_recv(soft, in, 4, FBUF_RECV_PEEK, &peeked) == 4);
	CHECK(fbuf_recv(soft, in, 20, 0, &name) == 10);
	CHECK(parcel_is(soft, peeked, 0, 4) && parcel_is(soft, name, 0, 10));
	/* What came to nothing has taken no place. */
	CHECK((FBUF_NAME_INDEX(name) & ~FBUF_NAME_PARCEL) < 10);
	CHECK(!fbuf_free(soft, &name, 1) && !fbuf_free(soft, &peeked, 1));
	CHECK(send(out, sent, 10, 0) == 10);
	pthread_create(&thread, NULL, send_later, NULL);
	CHECK(fbuf_recv(soft, in, 20, FBUF_RECV_ALL, &name) == 20);
	pthread_join(thread, NULL);
	CHECK(parcel_is(soft, name, 0, 20) && !fbuf_free(soft, &name, 1));
	soft_end();
}

static void test_eof(void)
{
	size_t head_len = 10;
	uint64_t name = 1;
	char head[10];

	soft_begin();
	shutdown(out, SHUT_WR);
	CHECK(!fbuf_recv(soft, in, 10, 0, &name) && !name);
	CHECK(!fbuf_recv_head(soft, in, 10, 0, head, &head_len, &name));
	CHECK(!name && !head_len);
	soft_end();
}

/* The old parcel goes if the socket is one; and *name tells. */
static void test_drop_and_head(void)
{
	size_t head_len = 8;
	uint64_t name, old;
	char head[64];

	soft_begin();
	name = parcel_of(soft, 0, 100);
	old = name;
	CHECK(fbuf_recv_head(soft, -1, 10, 0, head, &head_len, &name) ==
	      -EBADF);
	CHECK(name == old && !head_len && parcel_is(soft, name, 0, 100));
	head_len = 8;
	CHECK(send(out, sent + 100, 50, 0) == 50);
	CHECK(fbuf_recv_head(soft, in, 100, 0, head, &head_len, &name) == 50);
	CHECK(head_len == 8 && !memcmp(head, sent + 100, 8));
	CHECK(name != old && parcel_is(soft, name, 100, 50));
	CHECK(fbuf_parcel_read(soft, old, 0, got, 1) == -ESTALE);
	old = name;
	head_len = sizeof(head);
	CHECK(send(out, sent, 50, 0) == 50);
	CHECK(fbuf_recv_head(soft, in, 100, 0, head, &head_len, &name) == 50);
	CHECK(head_len == 50 && !memcmp(head, sent, 50));
	CHECK(fbuf_parcel_read(soft, old, 0, got, 1) == -ESTALE);
	old = name;
	CHECK(fbuf_recv_head(soft, in, 100, FBUF_RECV_DONTWAIT, head, &head_len,
			     &name) == -EAGAIN);
	CHECK(!name && fbuf_parcel_read(soft, old, 0, got, 1) == -ESTALE);
	CHECK(fbuf_recv_head(soft, in, 100, FBUF_RECV_DONTWAIT, head, &head_len,
			     &old) == -ESTALE);
	soft_end();
}

static void test_bad_recv(void)
{
	const unsigned int rights = FBUF_RIGHT_READ | FBUF_RIGHT_SEND;
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	int file = open("/dev/null", O_RDONLY);
	struct fbuf_pool *other = NULL;
	size_t head_len = 5;
	uint64_t name;
	int fd;

	soft_begin();
	CHECK(send(out, sent, 10, 0) == 10);
	CHECK(fbuf_recv(soft, in, 0, 0, &name) == -EINVAL);
	CHECK(fbuf_recv(soft, in, FBUF_PARCEL_MAX + 1, 0, &name) == -EINVAL);
	CHECK(fbuf_recv(soft, in, (1ULL << 32) + 1, 0, &name) == -EINVAL);
	CHECK(fbuf_recv(soft, in, 1, 8, &name) == -EINVAL);
	CHECK(fbuf_recv(soft, -1, 1, 0, &name) == -EBADF);
	CHECK(fbuf_recv(soft, file, 1, 0, &name) == -ENOTSOCK);
	CHECK(fbuf_recv(soft, fbuf_pool_fd(soft), 1, 0, &name) == -ENOTSOCK);
	CHECK(fbuf_recv(soft, udp, 1, 0, &name) == -EOPNOTSUPP);
	name = 0;
	CHECK(fbuf_recv_head(soft, in, 5, 0, NULL, &head_len, &name) ==
	      -EINVAL);
	fd = fbuf_pool_share(soft, rights, 0, NULL);
	CHECK(fd >= 0 && !fbuf_pool_open(&other, fd));
	CHECK(fbuf_recv(other, in, 1, 0, &name) == -EACCES);
	fbuf_pool_close(other);
	close(udp);
	close(file);
	/* None of them took a byte; the longest there may be is one. */
	CHECK(fbuf_recv(soft, in, FBUF_PARCEL_MAX, 0, &name) == 10);
	CHECK(parcel_is(soft, name, 0, 10) && !fbuf_free(soft, &name, 1));
	soft_end();
}

static void test_bad_read(void)
{
	uint64_t name, buf;

	soft_begin();
	CHECK(fbuf_parcel_read(soft, FBUF_NAME(FBUF_NAME_PARCEL, 1), 0, got,
			       1) == -ESTALE);
	name = parcel_of(soft, 0, 100);
	CHECK(fbuf_alloc(soft, &buf, 1, 0) == 1);
	CHECK(!fbuf_parcel_read(soft, name, 99, got, 1));
	CHECK(fbuf_parcel_read(soft, name, 0, got, 0) == -EINVAL);
	CHECK(fbuf_parcel_read(soft, name, 100, got, 1) == -EINVAL);
	CHECK(fbuf_parcel_read(soft, name, 101, got, 1) == -EINVAL);
	CHECK(fbuf_parcel_read(soft, name, 99, got, 2) == -EINVAL);
	CHECK(fbuf_parcel_read(soft, name, 1ULL << 32, got, 1) == -EINVAL);
	CHECK(fbuf_parcel_read(soft, name, 0, got, (1ULL << 32) + 1) ==
	      -EINVAL);
	CHECK(fbuf_parcel_read(soft, name, 0, NULL, 1) == -EFAULT);
	CHECK(fbuf_parcel_read(soft, buf, 0, got, 1) == -EINVAL);
	CHECK(fbuf_parcel_read(soft, name + (1ULL << 32), 0, got, 1) ==
	      -ESTALE);
	CHECK(fbuf_parcel_read(soft, name + 1, 0, got, 1) == -ESTALE);
	CHECK(fbuf_parcel_read(soft, name + FBUF_PARCELS_MAX, 0, got, 1) ==
	      -EINVAL);
	/* Nothing of it is to be seen where it is. */
	CHECK(!fbuf_parcel_show(soft, name, NULL, 0));
	CHECK(fbuf_parcel_show(soft, buf, NULL, 0) == -EINVAL);
	CHECK(!fbuf_free(soft, &name, 1) && !fbuf_free(soft, &buf, 1));
	CHECK(fbuf_parcel_read(soft, name, 0, got, 1) == -ESTALE);
	CHECK(fbuf_parcel_show(soft, name, NULL, 0) == -ESTALE);
	soft_end();
}

static void test_free(void)
{
	uint64_t a, b, again, buf, names[3];

	soft_begin();
	a = parcel_of(soft, 0, 10);
	b = parcel_of(soft, 10, 10);
	CHECK(fbuf_alloc(soft, &buf, 1, 0) == 1);
	CHECK(fbuf_free(soft, (uint64_t[]){ a, buf }, 2) == -EINVAL);
	CHECK(fbuf_free(soft, (uint64_t[]){ buf, a }, 2) == -EINVAL);
	CHECK(fbuf_free(soft, (uint64_t[]){ a, b, a }, 3) == -EINVAL);
	CHECK(fbuf_free(soft, (uint64_t[]){ a, b + (1ULL << 32) }, 2) ==
	      -ESTALE);
	CHECK(parcel_is(soft, a, 0, 10) && parcel_is(soft, b, 10, 10));
	/* They are no buffers. */
	CHECK(fbuf_hold(soft, &a, 1) == -EINVAL && !fbuf_addr(soft, a));
	CHECK(fbuf_wait(soft, &a, 1, 0, 0) == -EINVAL);
	CHECK(!fbuf_free(soft, (uint64_t[]){ b, a }, 2));
	CHECK(fbuf_free(soft, &a, 1) == -ESTALE);
	again = parcel_of(soft, 0, 10);
	CHECK(FBUF_NAME_INDEX(again) == FBUF_NAME_INDEX(a) && again != a);
	CHECK(fbuf_free(soft, &a, 1) == -ESTALE);
	names[0] = again;
	CHECK(!fbuf_free(soft, names, 1) && !fbuf_free(soft, &buf, 1));
	soft_end();
}

/* A parcel is its handle's alone, and goes with it. */
static void test_handles(void)
{
	struct fbuf_pool *other = NULL;
	struct fbuf_gather *g;
	struct fbuf_info info;
	uint64_t mine, its;
	int fd;

	soft_begin();
	fd = fbuf_pool_share(soft, fbuf_pool_rights(soft), 0, NULL);
	CHECK(fd >= 0 && !fbuf_pool_open(&other, fd));
	mine = parcel_of(soft, 0, 10);
	parcel_of(other, 10, 20);
	its = parcel_of(other, 30, 30);
	CHECK(fbuf_parcel_read(soft, its, 0, got, 1) == -ESTALE);
	CHECK(fbuf_free(soft, &its, 1) == -ESTALE);
	g = fbuf_gather_new(soft);
	CHECK(!fbuf_gather_append(g, its, 0, 1));
	CHECK(fbuf_send(g, out, 0, NULL) == -ESTALE);
	fbuf_gather_destroy(g);
	CHECK(!fbuf_pool_info(soft, &info) && info.nr_parcels == 3);
	CHECK(info.parcel_bytes == 60 && info.received == 60);
	fbuf_pool_close(other);
	CHECK(!fbuf_pool_info(soft, &info) && info.nr_parcels == 1);
	CHECK(info.parcel_bytes == 10 && parcel_is(soft, mine, 0, 10));
	CHECK(!fbuf_free(soft, &mine, 1));
	soft_end();
}

static void test_limit(void)
{
	static uint64_t names[FBUF_PARCELS_MAX + 1];
	unsigned int i;

	soft_begin();
	for (i = 0; i < FBUF_PARCELS_MAX && !failed; i++)
		names[i] = parcel_of(soft, i, 1);
	CHECK(send(out, sent, 1, 0) == 1);
	CHECK(fbuf_recv(soft, in, 1, 0, &names[i]) == -ENOBUFS);
	/* It was not taken; and where one goes there is room. */
	CHECK(fbuf_recv_head(soft, in, 1, 0, NULL, &(size_t){ 0 },
			     &names[7]) == 1);
	CHECK(parcel_is(soft, names[7], 0, 1));
	for (i = 0; i < FBUF_PARCELS_MAX && !failed; i += FBUF_BATCH_MAX)
		CHECK(!fbuf_free(soft, names + i, FBUF_BATCH_MAX));
	soft_end();
}

static void test_info(void)
{
	struct fbuf_info info, before;
	uint64_t a, b;

	soft_begin();
	CHECK(!fbuf_pool_info(soft, &before));
	a = parcel_of(soft, 0, 1000);
	b = parcel_of(soft, 0, 234);
	CHECK(!fbuf_free(soft, &a, 1));
	CHECK(!fbuf_pool_info(soft, &info));
	CHECK(info.size == sizeof(info) && info.features & FBUF_FEATURE_PARCELS);
	CHECK(info.nr_parcels == 1 && info.parcel_bytes == 234);
	CHECK(info.recvs == 2 && info.received == 1234);
	CHECK(info.recv_copied == 1234);
	CHECK(info.charged - info.resident == 234);
	CHECK(before.charged == before.resident);
	/* Who knows no parcels is told of none. */
	memset(&info, 0x55, sizeof(info));
	CHECK(!fbuf_pool_info_sized(soft, &info,
				    offsetof(struct fbuf_info, nr_parcels)));
	CHECK(info.features == before.features && info.nr_parcels == 0x55555555);
	CHECK(fbuf_features(FBUF_BACKEND_USER) & FBUF_FEATURE_PARCELS);
	CHECK(!fbuf_free(soft, &b, 1));
	soft_end();
}

/* A parcel's memory goes when it was freed, and no send has it. */
static void test_memory(void)
{
	struct fbuf_gather *g;
	size_t before;
	uint64_t name;

	soft_begin();
	g = fbuf_gather_new(soft);
	CHECK(!setsockopt(out, SOL_SOCKET, SO_SNDBUF, &(int){ 1 << 20 }, 4));
	name = parcel_of(soft, 0, 100);
	before = memory_used();
	CHECK(!fbuf_free(soft, &name, 1));
	name = parcel_of(soft, 0, 150000);
	CHECK(!before || memory_used() - before > 140000);
	CHECK(!fbuf_gather_append(g, name, 0, 10));
	CHECK(fbuf_send(g, in, 0, NULL) == 10);
	CHECK(!fbuf_gather_append(g, name + (1ULL << 32), 0, 1));
	CHECK(fbuf_send(g, in, 0, NULL) == -ESTALE);
	CHECK(!fbuf_free(soft, &name, 1));
	CHECK(memory_used() < before + 10000);
	fbuf_gather_destroy(g);
	soft_end();
}

/* All is checked before a byte is sent, and nothing is kept of what fails. */
static void test_bad_segs(void)
{
	struct fbuf_gather *g;
	uint64_t name;
	unsigned int i;

	soft_begin();
	name = parcel_of(soft, 0, 100);
	g = fbuf_gather_new(soft);
	for (i = 0; i < 40; i++)
		CHECK(!fbuf_gather_append(g, name, 99 - i, 1));
	CHECK(!fbuf_gather_append(g, name, 99, 2));
	CHECK(fbuf_send(g, in, 0, NULL) == -EINVAL);
	fbuf_gather_reset(g);
	CHECK(!fbuf_gather_append(g, name, 0, 50));
	CHECK(!fbuf_gather_append(g, name + (1ULL << 32), 0, 1));
	CHECK(fbuf_send(g, in, 0, NULL) == -ESTALE);
	CHECK(recv(out, got, 1, MSG_DONTWAIT) < 0);
	fbuf_gather_reset(g);
	for (i = 0; i < 40; i++)
		CHECK(!fbuf_gather_append(g, name, 2 * i, 1));
	CHECK(fbuf_send(g, in, 0, NULL) == 40);
	CHECK(recv(out, got, 100, 0) == 40);
	for (i = 0; i < 40; i++)
		CHECK(got[i] == sent[2 * i]);
	/* The next send has the same memory, and not these parcels. */
	fbuf_gather_reset(g);
	for (i = 0; i < 40; i++)
		CHECK(!fbuf_gather_append_inline(g, sent + i, 1));
	for (i = 0; i < 40; i++)
		CHECK(fbuf_send(g, in, 0, NULL) == 40);
	CHECK(parcel_is(soft, name, 0, 100));
	CHECK(!fbuf_gather_append(g, name, 0, 1));
	CHECK(!fbuf_free(soft, &name, 1));
	CHECK(fbuf_send(g, in, 0, NULL) == -ESTALE);
	fbuf_gather_destroy(g);
	soft_end();
}

/* One parcel goes with what is sent of it, if all was taken. */
static void test_send_free(void)
{
	struct fbuf_target target;
	struct fbuf_gather *g;
	uint64_t a, b;

	soft_begin();
	a = parcel_of(soft, 0, 100);
	b = parcel_of(soft, 0, 100);
	g = fbuf_gather_new(soft);
	CHECK(!fbuf_gather_append_inline(g, "inline", 6));
	CHECK(fbuf_send(g, in, FBUF_SEND_FREE, NULL) == -EINVAL);
	CHECK(!fbuf_gather_append(g, a, 0, 50));
	CHECK(!fbuf_gather_append(g, b, 0, 50));
	CHECK(fbuf_send(g, in, FBUF_SEND_FREE, NULL) == -EINVAL);
	fbuf_gather_reset(g);
	CHECK(!fbuf_gather_append(g, a, 0, 50));
	CHECK(!fbuf_gather_append_inline(g, "inline", 6));
	CHECK(!fbuf_gather_append(g, a, 60, 20));
	target = (struct fbuf_target){ .fd = in };
	CHECK(fbuf_fanout(g, &target, 1, FBUF_SEND_FREE, 0) == -EINVAL);
	while (send(in, sent, MIB, MSG_DONTWAIT) > 0)
		;
	CHECK(fbuf_send(g, in, FBUF_SEND_FREE | FBUF_SEND_DONTWAIT, NULL) ==
	      -EAGAIN);
	CHECK(parcel_is(soft, a, 0, 100));
	while (recv(out, got, sizeof(got), MSG_DONTWAIT) > 0)
		;
	CHECK(fbuf_send(g, in, FBUF_SEND_FREE, NULL) == 76);
	CHECK(arrives(out, sent, 50) && arrives(out, "inline", 6));
	CHECK(arrives(out, sent + 60, 20) && parcel_is(soft, b, 0, 100));
	CHECK(fbuf_parcel_read(soft, a, 0, got, 1) == -ESTALE);
	CHECK(fbuf_send(g, in, FBUF_SEND_FREE, NULL) == -ESTALE);
	CHECK(!fbuf_free(soft, &b, 1));
	fbuf_gather_destroy(g);
	soft_end();
}

static void *send_waiting(void *arg)
{
	CHECK(fbuf_send_all(arg, in, 0, NULL) == 4 * MIB);
	return NULL;
}

static void test_free_while_sent(void)
{
	struct fbuf_gather *g;
	pthread_t thread;
	uint64_t name;
	int tcp[2] = { -1, -1 };
	ssize_t n;

	soft_begin();
	/* The parcel comes by another way than it goes. */
	CHECK(!tcp_pair(tcp));
	for (n = 0; n < 4; n++)
		CHECK(setsockopt(tcp[n & 1], SOL_SOCKET,
				 n < 2 ? SO_RCVBUF : SO_SNDBUF,
				 &(int){ 8 << 20 }, sizeof(int)) == 0);
	if (!fork()) {
		for (n = 0; n < (ssize_t)sizeof(sent);)
			n += send(tcp[0], sent + n, sizeof(sent) - n, 0);
		_exit(0);
	}
	CHECK(fbuf_recv(soft, tcp[1], 4 * MIB, FBUF_RECV_ALL, &name) ==
	      4 * MIB);
	wait(NULL);
	g = fbuf_gather_new(soft);
	CHECK(!fbuf_gather_append(g, name, 0, 4 * MIB));
	pthread_create(&thread, NULL, send_waiting, g);
	CHECK(arrives(out, sent, 10));
	CHECK(!fbuf_free(soft, &name, 1));
	/* Its memory would be gone, with what it has to send. */
	CHECK(arrives(out, sent + 10, 4 * MIB - 10));
	pthread_join(thread, NULL);
	fbuf_gather_destroy(g);
	close(tcp[0]);
	close(tcp[1]);
	soft_end();
}

static void test_fanout(void)
{
	struct fbuf_send_item items[2];
	struct fbuf_target targets[2];
	struct fbuf_gather *g;
	uint64_t name;

	soft_begin();
	name = parcel_of(soft, 3, 1000);
	g = fbuf_gather_new(soft);
	CHECK(!fbuf_gather_append(g, name, 7, 500));
	targets[0] = (struct fbuf_target){ .fd = in };
	targets[1] = (struct fbuf_target){ .fd = out };
	CHECK(fbuf_fanout(g, targets, 2, 0, 0) == 2);
	CHECK(targets[0].copied == 500 && targets[1].copied == 500);
	CHECK(arrives(in, sent + 10, 500) && arrives(out, sent + 10, 500));
	fbuf_item_set(&items[0], g, in);
	fbuf_item_set(&items[1], g, out);
	CHECK(fbuf_send_batch(soft, items, 2, 0, 0) == 2);
	CHECK(items[0].result == 500 && items[1].copied == 500);
	CHECK(arrives(in, sent + 10, 500) && arrives(out, sent + 10, 500));
	CHECK(!fbuf_free(soft, &name, 1));
	fbuf_gather_destroy(g);
	soft_end();
}

/* What the module is asked for. */
static void module_begin(void)
{
	int pair[2];

	begin();
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	in = pair[0];
	out = pair[1];
}

static void module_end(void)
{
	end();
	close(in);
	close(out);
}

static void test_calls(void)
{
	struct fbuf_part parts[2];
	size_t head_len = 4096;
	uint64_t name, old;
	char head[32];

	module_begin();
	name = parcel_of(pool, 0, 100);
	CHECK(fake.recv.size == sizeof(fake.recv) && fake.recv.fd == in);
	CHECK(fake.recv.flags == FBUF_RECV_ALL && fake.recv.len == 100);
	CHECK(!fake.recv.drop && !fake.recv.head && !fake.recv.head_len);
	old = name;
	CHECK(send(out, sent, 30, 0) == 30);
	CHECK(fbuf_recv_head(pool, in, 31, 0, head, &head_len, &name) == 30);
	CHECK(fake.recv.drop == old && fake.recv.len == 31 && !fake.recv.flags);
	CHECK(fake.recv.head == (uintptr_t)head && fake.recv.head_len == 31);
	CHECK(head_len == 30 && fake.nr_parcels == 1);
	CHECK(!fbuf_parcel_read(pool, name, 3, got, 20));
	CHECK(fake.read.size == sizeof(fake.read) && fake.read.name == name);
	CHECK(!fake.read.flags && fake.read.to == (uintptr_t)got);
	CHECK(fake.read.offset == 3 && fake.read.len == 20);
	CHECK(!fbuf_parcel_show(pool, name, parts, UINT_MAX));
	CHECK(fake.show.size == sizeof(fake.show) && fake.show.name == name);
	CHECK(fake.show.parts == (uintptr_t)parts && !fake.show.flags);
	CHECK(fake.show.count == FBUF_BATCH_MAX && !fake.show.pad);
	/* What does not fit into a word of a call is not in one. */
	memset(&fake.recv, 0, sizeof(fake.recv));
	memset(&fake.read, 0, sizeof(fake.read));
	old = name;
	CHECK(fbuf_recv_head(pool, in, (1ULL << 32) + 1, 0, head, &head_len,
			     &name) == -EINVAL);
	CHECK(name == old && !fake.recv.size);
	CHECK(fbuf_parcel_read(pool, name, 1ULL << 32, got, 1) == -EINVAL);
	CHECK(fbuf_parcel_read(pool, name, 0, got, (1ULL << 32) + 1) ==
	      -EINVAL);
	CHECK(!fake.read.size);
	CHECK(!fbuf_free(pool, &name, 1));
	module_end();
}

static void test_old_module(void)
{
	struct fbuf_pool *old;
	size_t head_len = 10;
	uint64_t name = 3;

	module_begin();
	fake.no_parcels = true;
	CHECK(!fbuf_pool_open(&old, fake.fd));
	CHECK(fbuf_recv(old, in, 10, 0, &name) == -EOPNOTSUPP);
	name = 3;
	CHECK(fbuf_recv_head(old, in, 10, 0, got, &head_len, &name) ==
	      -EOPNOTSUPP);
	CHECK(name == 3 && !head_len && !fake.recv.size);
	CHECK(fbuf_parcel_read(old, name, 0, got, 1) == -EOPNOTSUPP);
	CHECK(fbuf_parcel_show(old, name, NULL, 0) == -EOPNOTSUPP);
	/* The other one has the same fd. */
	fbuf_pool_close(old);
	module_end();
}

/* Mappings of the places of parcels. */
static unsigned int nr_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned int nr = 0;
	char line[512];

	while (f && fgets(line, sizeof(line), f))
		nr += !!strstr(line, "r--s 40000000000 ");
	if (f)
		fclose(f);
	return nr;
}

static bool has(const struct fbuf_part *part, size_t from)
{
	const char *at = fbuf_parcel_addr(pool, part);

	return at && !memcmp(at, sent + from + part->offset, part->len);
}

static void test_addr(void)
{
	const uint64_t place = FBUF_MMAP_PARCELS + 3ULL * FBUF_PARCEL_MAX;
	struct fbuf_part parts[4], bad;
	uint64_t name;

	module_begin();
	fake.parts[0] = (struct fbuf_part){ place + 8192, 5000, 8192 };
	fake.parts[1] = (struct fbuf_part){ place + 20480, 20000, 4096 };
	fake.nr_parts = 2;
	name = parcel_of(pool, 0, 50000);
	CHECK(fbuf_parcel_show(pool, name, NULL, 0) == 2);
	CHECK(fbuf_parcel_show(pool, name, parts, 4) == 2 && !nr_maps());
	CHECK(has(&parts[0], 0) && has(&parts[1], 0) && nr_maps() == 1);
	bad = parts[0];
	bad.at = FBUF_MMAP_PARCELS - 4096;
	CHECK(!fbuf_parcel_addr(pool, &bad));
	bad.at = FBUF_MMAP_PARCELS + FBUF_MMAP_PARCELS_SIZE - 4096;
	CHECK(!fbuf_parcel_addr(pool, &bad));
	bad.len = 4096;
	CHECK(fbuf_parcel_addr(pool, &bad));
	bad.at += 4096;
	CHECK(!fbuf_parcel_addr(pool, &bad));
	CHECK(!fbuf_free(pool, &name, 1));
	module_end();
	CHECK(!nr_maps());
	soft_begin();
	CHECK(!fbuf_parcel_addr(soft, &parts[0]));
	soft_end();
}

static void test_no_addresses(void)
{
	const struct fbuf_part part = { FBUF_MMAP_PARCELS, 0, 4096 };
	struct rlimit old, less;

	module_begin();
	getrlimit(RLIMIT_AS, &old);
	less = old;
	less.rlim_cur = 1UL << 36;
	CHECK(!setrlimit(RLIMIT_AS, &less));
	errno = 77;
	CHECK(!fbuf_parcel_addr(pool, &part) && errno == 77);
	CHECK(!setrlimit(RLIMIT_AS, &old));
	CHECK(fbuf_parcel_addr(pool, &part) && errno == 77);
	module_end();
}

static bool go;
static const void *addrs[8];

static void *ask(void *arg)
{
	const struct fbuf_part part = { FBUF_MMAP_PARCELS, 0, 4096 };
	const void **addr = arg;

	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
		sched_yield();
	*addr = fbuf_parcel_addr(pool, &part);
	return NULL;
}

static void test_addr_threads(void)
{
	pthread_t threads[8];
	unsigned int i, round;

	for (round = 0; round < 50; round++) {
		module_begin();
		go = false;
		for (i = 0; i < 8; i++)
			pthread_create(&threads[i], NULL, ask, &addrs[i]);
		__atomic_store_n(&go, true, __ATOMIC_RELEASE);
		for (i = 0; i < 8; i++)
			pthread_join(threads[i], NULL);
		for (i = 0; i < 8; i++)
			CHECK(addrs[i] && addrs[i] == addrs[0]);
		CHECK(nr_maps() == 1);
		module_end();
	}
}

int main(void)
{
	static const struct test tests[] = {
		{ "parcel is received, read and sent", test_forward },
		{ "parcel flags of RECV", test_flags },
		{ "parcel at the end of a stream is none", test_eof },
		{ "parcel drop and head of RECV", test_drop_and_head },
		{ "parcel RECVs that are wrong take nothing", test_bad_recv },
		{ "parcel READs that are wrong", test_bad_read },
		{ "parcel FREE drops all or none", test_free },
		{ "parcel is of one handle", test_handles },
		{ "parcel limit of a handle", test_limit },
		{ "parcel counters", test_info },
		{ "parcel segments that are wrong send nothing", test_bad_segs },
		{ "parcel that is dropped gives its memory back", test_memory },
		{ "parcel that is dropped is sent all the same",
		  test_free_while_sent },
		{ "parcel to many sockets", test_fanout },
		{ "parcel that goes with what was sent", test_send_free },
		{ "parcel calls of the module", test_calls },
		{ "parcel calls and an old module", test_old_module },
		{ "parcel parts are at their addresses", test_addr },
		{ "parcel parts without address space", test_no_addresses },
		{ "parcel places are mapped once", test_addr_threads },
	};

	pattern_fill(sent, sizeof(sent), 1);
	return run_tests(tests, sizeof(tests) / sizeof(*tests));
}
