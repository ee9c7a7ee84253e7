// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * In a lazy pool, buffers of which nothing is in use give their memory back.
 *
 * They do so by themselves when much of what has memory is spare; and some stays,
 * as the next object is likely to want it. What a program that frees and takes the
 * same again and again can lose by that has a bound: so many bytes in a second, and
 * all of the heap after it left it alone for long.
 *
 * Meanwhile the memory is in a run of its own, so that nobody has it, and no lock is
 * held that others need. Who finds no other memory waits for that.
 */

#include <stdlib.h>

#include "heap.h"

/* Buffers, and pieces of free memory, that one call is about. */
#define TRIM_BUFS	256U
#define TRIM_PIECES	64U
/* Calls that a free makes at most. */
#define TRIM_CALLS	16U
/* So much of the heap may be spare, and as much again before it is given back. */
#define TRIM_KEEP	32U
#define TRIM_KEEP_MIN	((size_t)1 << 20)
#define TRIM_KEEP_MAX	((size_t)32 << 20)
/* Bytes that may be given back in a millisecond: 1 % of a CPU, about. */
#define TRIM_RATE	((size_t)64 << 10)

struct piece {
	void *run;		/* the free memory that it is of */
	void *p;
	size_t size;
};

struct heap_trim {
	pthread_mutex_t lock;	/* one thread trims at a time */
	size_t keep;
	size_t step;
	size_t floor;		/* both together */
	size_t at;		/* so much is worth it, never less; atomic */
	size_t may;		/* bytes, as of now_ms */
	long long now_ms;
	/* What is given back now. */
	struct fbuf_heap *heap;
	size_t left;		/* bytes more */
	unsigned int nr_pieces;
	unsigned int nr_names;
	struct piece pieces[TRIM_PIECES];
	uint64_t names[TRIM_BUFS];
};

int trim_init(struct fbuf_heap *h, size_t keep)
{
	struct heap_trim *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	if (!keep) {
		keep = h->size / TRIM_KEEP;
		if (keep < TRIM_KEEP_MIN)
			keep = TRIM_KEEP_MIN;
		if (keep > TRIM_KEEP_MAX)
			keep = TRIM_KEEP_MAX;
	}
	pthread_mutex_init(&t->lock, NULL);
	t->heap = h;
	t->keep = keep;
	t->step = keep < TRIM_KEEP_MIN ? TRIM_KEEP_MIN : keep;
	t->floor = t->step > SIZE_MAX - keep ? SIZE_MAX : keep + t->step;
	t->at = t->floor;
	t->may = h->size;
	t->now_ms = lib_now_ms();
	h->trim = t;
	return 0;
}

void trim_fini(struct fbuf_heap *h)
{
	if (!h->trim)
		return;
	pthread_mutex_destroy(&h->trim->lock);
	free(h->trim);
}

static size_t spare(const struct fbuf_heap *h)
{
	return __atomic_load_n(&h->spare, __ATOMIC_RELAXED);
}

/* The first buffer from first on that may have memory; or end. */
static size_t next_touched(const struct fbuf_heap *h, size_t first, size_t end)
{
	size_t next;

	for (; first < end; first = next) {
		unsigned long bits = h->touched[first / WORD_BITS] &
				     word_bits(first, end, &next);

		if (bits)
			return first / WORD_BITS * WORD_BITS +
			       __builtin_ctzl(bits);
	}
	return end;
}

/* A piece of that, if a whole buffer of it has memory; false if there is no room. */
static bool find_piece(void *run, size_t size, void *arg)
{
	struct heap_trim *t = arg;
	const struct fbuf_heap *h = t->heap;
	const size_t buf = h->pool->buf_size;
	size_t at = (char *)run - h->base, first, end;
	struct piece *piece = &t->pieces[t->nr_pieces];

	end = (at + size) / buf;
	first = next_touched(h, (at + buf - 1) / buf, end);
	if (first >= end)
		return true;
	piece->run = run;
	piece->p = h->base + first * buf;
	while (first < end && t->nr_names < TRIM_BUFS && t->left) {
		t->names[t->nr_names++] = h->names[first];
		t->left -= t->left < buf ? t->left : buf;
		piece->size = h->base + (first + 1) * buf - (char *)piece->p;
		first = next_touched(h, first + 1, end);
	}
	t->nr_pieces++;
	return t->left && t->nr_names < TRIM_BUFS &&
	       t->nr_pieces < TRIM_PIECES;
}

/* Take up to so many bytes out of the free memory. */
static void take_pieces(struct heap_trim *t, size_t bytes)
{
	struct fbuf_heap *h = t->heap;
	unsigned int i;

	t->left = bytes;
	t->nr_pieces = 0;
	t->nr_names = 0;
	pthread_mutex_lock(&h->runs_lock);
	runs_each_free(h->runs, h->pool->buf_size, find_piece, t);
	for (i = 0; i < t->nr_pieces; i++)
		runs_take_part(h->runs, t->pieces[i].run, t->pieces[i].p,
			       t->pieces[i].size);
	pthread_mutex_unlock(&h->runs_lock);
}

static void give_pieces(struct heap_trim *t)
{
	void *runs[TRIM_PIECES];
	unsigned int i;

	for (i = 0; i < t->nr_pieces; i++)
		runs[i] = t->pieces[i].p;
	heap_runs_give(t->heap, runs, t->nr_pieces);
}

/* In halves, where one is in flight, or in use elsewhere; returns how many. */
static unsigned int drop(struct heap_trim *t, unsigned int calls)
{
	unsigned int at = 0, nr = t->nr_names, dropped = 0;
	int ret;

	while (at < t->nr_names && calls--) {
		ret = fbuf_drop(t->heap->pool, t->names + at, nr);
		if (ret == -EBUSY && nr > 1) {
			nr /= 2;
			continue;
		}
		if (ret && ret != -EBUSY)
			break;
		if (!ret) {
			heap_runs_forget(t->heap, t->names + at, nr);
			dropped += nr;
		}
		at += nr;
		/* What begins here as a half of something larger. */
		nr = at & -at;
		if (nr > t->nr_names - at)
			nr = t->nr_names - at;
	}
	return dropped;
}

/* Give back up to so many bytes; returns how many. The trim is locked. */
static size_t trim_pass(struct heap_trim *t, size_t bytes, unsigned int calls)
{
	unsigned int nr;

	take_pieces(t, bytes);
	nr = drop(t, calls);
	give_pieces(t);
	return nr * t->heap->pool->buf_size;
}

/* How much may be given back by now. */
static size_t allowed(struct heap_trim *t)
{
	long long now = lib_now_ms();
	size_t max = t->heap->size, more = (size_t)(now - t->now_ms);

	more = more > max / TRIM_RATE ? max : more * TRIM_RATE;
	t->may = t->may + more < max ? t->may + more : max;
	t->now_ms = now;
	return t->may;
}

/* The trim is locked. */
static void trim_step(struct heap_trim *t)
{
	struct fbuf_heap *h = t->heap;
	size_t have = spare(h), most = allowed(t), at = t->floor, got;

	if (have <= at)
		goto out;
	if (!most) {
		at = have + TRIM_KEEP_MIN;
		goto out;
	}
	if (most > have - t->keep)
		most = have - t->keep;
	got = trim_pass(t, most, TRIM_CALLS);
	t->may -= got < t->may ? got : t->may;
	/* What is left is in buffers with something in use, or has to wait. */
	if (got < most && got < TRIM_BUFS * h->pool->buf_size)
		at = spare(h) + t->step;
out:
	__atomic_store_n(&t->at, at, __ATOMIC_RELAXED);
}

void trim_some(struct fbuf_heap *h)
{
	struct heap_trim *t = h->trim;
	size_t at = __atomic_load_n(&t->at, __ATOMIC_RELAXED), have = spare(h);

	/* It is more than the floor only while about as much is spare as was. */
	if (have <= at && (at == t->floor || have + t->step >= at))
		return;
	if (h->forked || pthread_mutex_trylock(&t->lock))
		return;
	trim_step(t);
	pthread_mutex_unlock(&t->lock);
}

void trim_wait(struct fbuf_heap *h)
{
	if (!h->trim)
		return;
	pthread_mutex_lock(&h->trim->lock);
	pthread_mutex_unlock(&h->trim->lock);
}

ssize_t fbuf_heap_trim(struct fbuf_heap *heap, size_t keep)
{
	struct heap_trim *t = heap->trim;
	int saved = errno;
	ssize_t bytes = 0;
	size_t got = 1;

	if (!t)
		return -EOPNOTSUPP;
	if (heap->forked)
		return -EINVAL;
	idle_look(heap);
	cache_shrink(heap);
	slab_shrink(heap);
	pthread_mutex_lock(&t->lock);
	while (got && spare(heap) > keep) {
		got = trim_pass(t, spare(heap) - keep, 2 * TRIM_BUFS);
		bytes += got;
	}
	pthread_mutex_unlock(&t->lock);
	errno = saved;
	return bytes;
}
