// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Check mode: memory that had its last release is kept for a while. As soon as no
 * packet refers to it, it is poisoned; when it goes back, nobody may have written
 * there. A buffer of a pool is not poisoned, as others may have holds on it.
 */

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "view.h"

/* So much is kept at most; of a heap, an eighth. */
#define KEPT_MAX	1024U
#define BYTES_MAX	((size_t)32 << 20)
/* What is looked at, of all that is in flight, when there is more to keep. */
#define LOOKS		8U

struct kept {
	struct kept *next;
	struct fbuf_heap *heap;		/* NULL: malloc() */
	unsigned char *data;
	size_t len;
	bool poisoned;
	struct view_touch last;
};

/* The oldest is the first. */
static struct {
	pthread_mutex_t lock;
	struct kept *first;
	struct kept **end;
	unsigned int nr;
	size_t bytes;
} kept = { .lock = PTHREAD_MUTEX_INITIALIZER, .end = &kept.first };

/* Names of the buffers of a stretch, from done on: how many, or an error. */
static int names_of(const struct kept *k, size_t *done, uint64_t *names,
		    unsigned int max)
{
	size_t offset;
	unsigned int nr;
	ssize_t n;

	for (nr = 0; nr < max && *done < k->len; nr++) {
		n = fbuf_heap_ref(k->heap, k->data + *done, k->len - *done,
				  names + nr, &offset);
		if (n <= 0)
			return n < 0 ? n : -EINVAL;
		*done += n;
	}
	return nr;
}

static bool is_idle(const struct kept *k)
{
	uint64_t names[64];
	size_t done = 0;
	int nr;

	if (!k->heap)
		return true;
	while (done < k->len) {
		nr = names_of(k, &done, names, 64);
		if (nr < 0 || fbuf_wait(fbuf_heap_pool(k->heap), names, nr,
					FBUF_WAIT_ANY, 0) != nr)
			return false;
	}
	return true;
}

static void poison(struct kept *k)
{
	if (k->poisoned || !is_idle(k))
		return;
	memset(k->data, FBUF_VIEW_POISON, k->len);
	k->poisoned = true;
}

static void verify(const struct kept *k)
{
	size_t i;

	for (i = 0; k->poisoned && i < k->len; i++)
		if (k->data[i] != FBUF_VIEW_POISON)
			view_die_written(i, k->len, &k->last);
}

/* Take out the one at a link. */
static void give_back(struct kept **link)
{
	struct kept *k = *link;

	verify(k);
	*link = k->next;
	if (!k->next)
		kept.end = link;
	kept.nr--;
	kept.bytes -= k->len;
	if (k->heap)
		fbuf_heap_free(k->heap, k->data);
	else
		free(k->data);
	free(k);
}

static void poison_some(void)
{
	unsigned int looks = 0;
	struct kept *k;

	for (k = kept.first; k && looks < LOOKS; k = k->next) {
		if (k->poisoned)
			continue;
		poison(k);
		looks++;
	}
}

static size_t heap_bytes(const struct fbuf_heap *heap)
{
	const struct kept *k;
	size_t bytes = 0;

	for (k = kept.first; k; k = k->next)
		if (k->heap == heap)
			bytes += k->len;
	return bytes;
}

/* The oldest of a heap goes, or with NULL the oldest of all. */
static void give_oldest(const struct fbuf_heap *heap)
{
	struct kept **link;

	for (link = &kept.first; *link; link = &(*link)->next) {
		if (heap && (*link)->heap != heap)
			continue;
		give_back(link);
		return;
	}
}

bool view_check_keep(const struct fbuf_view *v)
{
	size_t len, max = 0;
	struct kept *k;

	/* A child that writes there writes to its parent's memory. */
	if (v->heap && v->heap->forked)
		return false;
	if (v->heap) {
		len = fbuf_heap_usable_size(v->heap, v->data);
		max = v->heap->size / 8;
	} else {
		len = malloc_usable_size(v->data);
	}
	if (!len || len > BYTES_MAX || (v->heap && len > max))
		return false;
	k = calloc(1, sizeof(*k));
	if (!k)
		return false;
	k->heap = v->heap;
	k->data = (unsigned char *)v->data;
	k->len = len;
	k->last = view_watch_last(v);
	pthread_mutex_lock(&kept.lock);
	*kept.end = k;
	kept.end = &k->next;
	kept.nr++;
	kept.bytes += len;
	poison(k);
	poison_some();
	while (kept.nr > KEPT_MAX || kept.bytes > BYTES_MAX)
		give_oldest(NULL);
	while (v->heap && heap_bytes(v->heap) > max)
		give_oldest(v->heap);
	pthread_mutex_unlock(&kept.lock);
	return true;
}

bool view_check_give(struct fbuf_heap *heap)
{
	struct kept **link = &kept.first;
	bool any = false;

	pthread_mutex_lock(&kept.lock);
	while (*link) {
		if ((*link)->heap == heap) {
			give_back(link);
			any = true;
		} else {
			link = &(*link)->next;
		}
	}
	pthread_mutex_unlock(&kept.lock);
	return any;
}

int fbuf_view_check(int on)
{
	bool was = __atomic_exchange_n(&view_checking, !!on, __ATOMIC_RELAXED);
	int saved = errno;

	pthread_mutex_lock(&kept.lock);
	while (!on && kept.first)
		give_back(&kept.first);
	pthread_mutex_unlock(&kept.lock);
	errno = saved;
	return was;
}

size_t fbuf_view_check_look(void)
{
	int saved = errno;
	size_t bytes = 0;
	struct kept *k;

	pthread_mutex_lock(&kept.lock);
	for (k = kept.first; k; k = k->next) {
		verify(k);
		poison(k);
		if (k->poisoned)
			bytes += k->len;
	}
	pthread_mutex_unlock(&kept.lock);
	errno = saved;
	return bytes;
}

void view_check_lock(void)
{
	pthread_mutex_lock(&kept.lock);
}

void view_check_unlock(void)
{
	pthread_mutex_unlock(&kept.lock);
}

/* What is the parent's stays the parent's. */
void view_check_child(void)
{
	kept.first = NULL;
	kept.end = &kept.first;
	kept.nr = 0;
	kept.bytes = 0;
	pthread_mutex_unlock(&kept.lock);
}
