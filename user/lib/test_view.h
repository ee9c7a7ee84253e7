/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What tests of views share: views of every kind there is, all of the same bytes. */
#ifndef FBUF_TEST_VIEW_H
#define FBUF_TEST_VIEW_H

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fbuf/parcel.h>
#include <fbuf/view.h>

#include "test.h"
#include "test_view_fake.h"

#define UNUSED	__attribute__((__unused__))

static struct fbuf_pool *heap_pool, *buf_pool;
static struct fbuf_heap *heap;
/* What has memory: so many were made, and released. */
static int made, ended;

static UNUSED void count_end(void *arg)
{
	(void)arg;
	ended++;
}

static UNUSED unsigned char byte_at(size_t i)
{
	return i * 7 + i / 256 + 3;
}

static UNUSED void fill_bytes(unsigned char *to, size_t from, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		to[i] = byte_at(from + i);
}

static UNUSED void pools_begin(unsigned int flags)
{
	heap_pool = fake_pool(64, flags);
	buf_pool = fake_pool(64, flags);
	if (fbuf_heap_create(&heap, heap_pool, 0)) {
		printf("Bail out! No heap.\n");
		exit(1);
	}
}

/* Nothing of theirs is used, or held. */
static UNUSED void pools_end(void)
{
	struct fbuf_heap_stats stats;

	CHECK(!fbuf_heap_stats(heap, &stats) && !stats.used);
	CHECK(!fake_held(buf_pool));
	fbuf_heap_destroy(heap);
	fbuf_pool_close(heap_pool);
	fbuf_pool_close(buf_pool);
}

/* Something of bytes from to from + len - 1, and which test it is that has it. */
static UNUSED struct fbuf_view *root(struct fbuf_view *v)
{
	if (!v) {
		printf("Bail out! No memory.\n");
		exit(1);
	}
	fbuf_view_on_release(v, count_end, NULL);
	made++;
	return v;
}

static UNUSED struct fbuf_view *of_alloc(struct fbuf_heap *h, size_t from,
					 size_t len)
{
	struct fbuf_view *v = root(fbuf_view_alloc(h, len));
	unsigned char bytes[1024];

	fill_bytes(bytes, from, len);
	CHECK(!fbuf_view_write(v, bytes, len));
	return v;
}

static UNUSED struct fbuf_view *of_malloc(size_t from, size_t len)
{
	return of_alloc(NULL, from, len);
}

static UNUSED struct fbuf_view *of_heap(size_t from, size_t len)
{
	return of_alloc(heap, from, len);
}

static UNUSED struct fbuf_view *of_own_malloc(size_t from, size_t len)
{
	void *data = malloc(len + !len);

	fill_bytes(data, from, len);
	return root(fbuf_view_own(NULL, data, len));
}

static UNUSED struct fbuf_view *of_own_heap(size_t from, size_t len)
{
	void *data = fbuf_heap_alloc(heap, len);

	fill_bytes(data, from, len);
	return root(fbuf_view_own(heap, data, len));
}

static UNUSED struct fbuf_view *of_buf(size_t from, size_t len)
{
	struct fbuf_view *v;
	uint64_t name;

	if (fbuf_alloc(buf_pool, &name, 1, 0) != 1) {
		printf("Bail out! No buffer.\n");
		exit(1);
	}
	fill_bytes(fbuf_addr(buf_pool, name), from, len);
	v = root(fbuf_view_buf(buf_pool, name));
	CHECK(fbuf_view_len(v) == FAKE_BUF);
	CHECK(!fbuf_view_set_capacity(v, len));
	return v;
}

static UNUSED struct fbuf_view *of_parcel(size_t from, size_t len)
{
	unsigned char bytes[1024];
	uint64_t name = 0;
	int pair[2];

	/* A parcel has a byte, which need not be in the view. */
	fill_bytes(bytes, from, len + !len);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ||
	    write(pair[1], bytes, len + !len) < 0 ||
	    fbuf_recv(buf_pool, pair[0], len + !len, 0, &name) < 1) {
		printf("Bail out! No parcel.\n");
		exit(1);
	}
	close(pair[0]);
	close(pair[1]);
	return root(fbuf_view_parcel(buf_pool, name, len));
}

static UNUSED void free_and_count(void *arg)
{
	free(arg);
	ended++;
}

static UNUSED struct fbuf_view *of_wrap(size_t from, size_t len)
{
	void *data = malloc(len + !len);

	fill_bytes(data, from, len);
	made++;
	return fbuf_view_wrap_writable(data, len, free_and_count, data);
}

static UNUSED struct fbuf_view *of_const(size_t from, size_t len)
{
	void *data = malloc(len + !len);

	fill_bytes(data, from, len);
	made++;
	return fbuf_view_wrap(data, len, free_and_count, data);
}

static UNUSED struct fbuf_view *of_slice(size_t from, size_t len)
{
	return fbuf_view_slice(of_malloc(from - 5, len + 12), 5, len);
}

/* A view that has the only reference to another. */
static UNUSED struct fbuf_view *only(struct fbuf_view *part,
				     struct fbuf_view *of)
{
	CHECK(part && !fbuf_view_release(of));
	return part;
}

static UNUSED struct fbuf_view *of_retained_slice(size_t from, size_t len)
{
	struct fbuf_view *v = of_heap(from - 5, len + 12);

	return only(fbuf_view_retained_slice(v, 5, len), v);
}

static UNUSED struct fbuf_view *of_duplicate(size_t from, size_t len)
{
	return fbuf_view_duplicate(of_heap(from, len));
}

static UNUSED struct fbuf_view *of_retained_duplicate(size_t from, size_t len)
{
	struct fbuf_view *v = of_malloc(from, len);

	return only(fbuf_view_retained_duplicate(v), v);
}

static UNUSED struct fbuf_view *of_parcel_slice(size_t from, size_t len)
{
	return fbuf_view_slice(of_parcel(from - 5, len + 12), 5, len);
}

static UNUSED struct fbuf_view *of_parcel_retained(size_t from, size_t len)
{
	struct fbuf_view *v = of_parcel(from - 5, len + 12);
	struct fbuf_view *part = fbuf_view_slice(v, 2, len + 10);

	return only(fbuf_view_retained_slice(part, 3, len), v);
}

static UNUSED struct fbuf_view *composite_of(size_t from, size_t len,
					     unsigned int parts)
{
	static struct fbuf_view *(*const make[])(size_t from, size_t len) = {
		of_malloc, of_slice, of_heap, of_wrap, of_buf,
		of_retained_slice, of_retained_duplicate,
	};
	struct fbuf_view *v = root(fbuf_view_composite(0));
	size_t n, done = 0;
	unsigned int i;

	for (i = 0; i < parts; i++, done += n) {
		n = i + 1 == parts ? len - done : len / parts;
		CHECK(!fbuf_view_add(v, make[i % 7](from + done, n)));
	}
	return v;
}

static UNUSED struct fbuf_view *of_composite_1(size_t from, size_t len)
{
	return composite_of(from, len, 1);
}

static UNUSED struct fbuf_view *of_composite_7(size_t from, size_t len)
{
	return composite_of(from, len, 7);
}

static UNUSED struct fbuf_view *of_nested(size_t from, size_t len)
{
	struct fbuf_view *v = root(fbuf_view_composite(0));

	CHECK(!fbuf_view_add(v, composite_of(from, len / 2, 3)));
	CHECK(!fbuf_view_add(v, composite_of(from + len / 2, len - len / 2,
					     4)));
	return v;
}

static UNUSED struct fbuf_view *of_composite_slice(size_t from, size_t len)
{
	return fbuf_view_slice(composite_of(from - 5, len + 12, 5), 5, len);
}

static UNUSED struct fbuf_view *of_composite_retained(size_t from, size_t len)
{
	struct fbuf_view *v = composite_of(from - 5, len + 12, 5);

	return only(fbuf_view_retained_slice(v, 5, len), v);
}

static UNUSED struct fbuf_view *of_composite_duplicate(size_t from, size_t len)
{
	return fbuf_view_duplicate(composite_of(from, len, 3));
}

static UNUSED struct fbuf_view *of_composite_read_only(size_t from, size_t len)
{
	return fbuf_view_read_only(composite_of(from, len, 3));
}

static UNUSED struct fbuf_view *of_aggregate(size_t from, size_t len)
{
	struct fbuf_view *v = of_nested(from, len);
	struct fbuf_view *aggregate = root(fbuf_view_aggregate(v));

	CHECK(fbuf_view_release(v));
	return aggregate;
}

enum {
	CONST = 1,	/* nobody may write */
	GROWS = 2,	/* beyond its capacity */
	PARTED = 4,	/* composite, or of one: many pieces */
	LIST = 8,	/* composite itself */
	PART = 16,	/* cannot be told to have another capacity */
	BELOW = 32,	/* a view below it has the bytes */
};

struct kind {
	const char *name;
	struct fbuf_view *(*make)(size_t from, size_t len);
	int is;
};

static const struct kind kinds[] UNUSED = {
	{ "malloc", of_malloc, GROWS },
	{ "heap", of_heap, GROWS },
	{ "own malloc", of_own_malloc, GROWS },
	{ "own heap", of_own_heap, GROWS },
	{ "buffer", of_buf, 0 },
	{ "wrapped", of_wrap, 0 },
	{ "wrapped const", of_const, CONST },
	{ "parcel", of_parcel, CONST },
	{ "slice", of_slice, PART },
	{ "retained slice", of_retained_slice, PART },
	{ "duplicate", of_duplicate, PART },
	{ "retained duplicate", of_retained_duplicate, PART },
	{ "slice of parcel", of_parcel_slice, CONST | PART },
	{ "retained slice of parcel", of_parcel_retained,
	  CONST | PART | BELOW },
	{ "composite of 1", of_composite_1, GROWS | LIST },
	{ "composite of 7", of_composite_7, GROWS | PARTED | LIST },
	{ "composite of composites", of_nested, GROWS | PARTED | LIST },
	{ "slice of composite", of_composite_slice, PARTED | PART },
	{ "retained slice of composite", of_composite_retained, PARTED | PART },
	{ "duplicate of composite", of_composite_duplicate, PARTED | PART },
	{ "read-only composite", of_composite_read_only, CONST | PARTED | PART },
	{ "aggregate", of_aggregate, GROWS | PARTED | LIST },
};

/* Bytes of a view from index on are those of the pattern from there on. */
static UNUSED bool has_bytes(struct fbuf_view *v, size_t index, size_t from,
			     size_t len)
{
	unsigned char is[1024], want[1024];

	fill_bytes(want, from, len);
	return !fbuf_view_get(v, index, is, len) && !memcmp(is, want, len);
}

/* Readable bytes are those. */
static UNUSED bool reads_as(struct fbuf_view *v, const char *text)
{
	size_t len = fbuf_view_len(v);
	char is[1024];

	return len == strlen(text) &&
	       !fbuf_view_get(v, fbuf_view_reader(v), is, len) &&
	       !memcmp(is, text, len);
}

static UNUSED struct fbuf_view *text(const char *s)
{
	struct fbuf_view *v = root(fbuf_view_alloc(NULL, strlen(s)));

	CHECK(!fbuf_view_write(v, s, strlen(s)));
	return v;
}

static UNUSED bool cursors_are(const struct fbuf_view *v, size_t reader,
			       size_t writer)
{
	return fbuf_view_reader(v) == reader && fbuf_view_writer(v) == writer;
}

/* run(arg) ends the program, with a text that has all of these in it. */
static UNUSED bool dies(void (*run)(void *arg), void *arg, const char *says,
			const char *also)
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
		signal(SIGABRT, SIG_DFL);
		run(arg);
		_exit(0);
	}
	close(fds[1]);
	while ((n = read(fds[0], out + len, sizeof(out) - 1 - len)) > 0)
		len += n;
	out[len] = '\0';
	close(fds[0]);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
	    strstr(out, says) && (!also || strstr(out, also)))
		return true;
	printf("# status %d, says: %s\n", status, out);
	return false;
}

#endif /* FBUF_TEST_VIEW_H */
