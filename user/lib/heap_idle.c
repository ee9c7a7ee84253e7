// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What was freed and may be in flight waits here until its buffers are idle.
 *
 * The kernel refers to an object's memory only if somebody asked where it is, for
 * a gather or by fbuf_heap_ref(): that is noted, for slots one by one, and for
 * large objects page by page. All others are free at once when they are freed, and
 * nobody has to ask the module.
 *
 * Slots wait in their slabs, and slabs and large objects in lists. Who needs memory
 * looks at all of these, if they have become many since they were looked at, and
 * before there is none. Meanwhile, no lock is held that others need: what is looked
 * at is in no list.
 */

#include <string.h>

#include "heap.h"

#define LOOK_STEP_MIN	((size_t)65536)
#define LOOK_STEP_MAX	((size_t)4 << 20)
/* While there is other memory, things are looked at in so many parts at most. */
#define LOOK_PARTS	8U

static void add_bytes(struct fbuf_heap *h, size_t n)
{
	__atomic_fetch_add(&h->bytes_waiting, n, __ATOMIC_RELAXED);
}

/* The class is locked. */
static void slab_append(struct heap_class *c, struct slab *slab)
{
	slab->next_waiting = NULL;
	if (c->waiting)
		c->waiting_last->next_waiting = slab;
	else
		c->waiting = slab;
	c->waiting_last = slab;
	slab->waits = true;
}

void idle_wait_slot(struct fbuf_heap *h, struct slab *slab, unsigned int slot)
{
	struct heap_class *c = &h->classes[slab->class];

	pthread_mutex_lock(&c->lock);
	slab_list_add(slab, &slab->waiting, slot);
	if (!slab->waits)
		slab_append(c, slab);
	add_bytes(h, slab->size);
	pthread_mutex_unlock(&c->lock);
}

/* The runs are locked. */
static void run_append(struct fbuf_heap *h, uint32_t page)
{
	h->next_waiting[page] = PAGE_NONE;
	if (h->waiting != PAGE_NONE)
		h->next_waiting[h->waiting_last] = page;
	else
		h->waiting = page;
	h->waiting_last = page;
}

void idle_wait_run(struct fbuf_heap *h, void *p, size_t size)
{
	pthread_mutex_lock(&h->runs_lock);
	run_append(h, heap_page(h, p));
	add_bytes(h, size);
	pthread_mutex_unlock(&h->runs_lock);
}

void idle_mark(struct fbuf_heap *h, const void *p, size_t len)
{
	size_t page = heap_page(h, p), next;
	size_t end = heap_page(h, (const char *)p + len - 1) + 1;

	for (; page < end; page = next) {
		unsigned long *word = &h->sent[page / WORD_BITS];
		unsigned long bits = word_bits(page, end, &next);

		if (~__atomic_load_n(word, __ATOMIC_RELAXED) & bits)
			__atomic_fetch_or(word, bits, __ATOMIC_RELAXED);
	}
}

bool idle_marked(const struct fbuf_heap *h, const void *p, size_t len)
{
	size_t page = heap_page(h, p), next;
	size_t end = heap_page(h, (const char *)p + len - 1) + 1;

	for (; page < end; page = next)
		if (__atomic_load_n(&h->sent[page / WORD_BITS], __ATOMIC_RELAXED) &
		    word_bits(page, end, &next))
			return true;
	return false;
}

static void unmark(struct fbuf_heap *h, const void *p, size_t len)
{
	size_t page = heap_page(h, p), next;
	size_t end = page + len / RUNS_PAGE;

	for (; page < end; page = next)
		__atomic_fetch_and(&h->sent[page / WORD_BITS],
				   ~word_bits(page, end, &next),
				   __ATOMIC_RELAXED);
}

/* The buffers of an item: how many, from *first on. */
static unsigned int item_bufs(const struct fbuf_heap *h,
			      const struct look_item *item, size_t *first)
{
	size_t buf = h->pool->buf_size, offset = item->base - h->base;

	*first = offset / buf;
	return (offset + item->size - 1) / buf - *first + 1;
}

static int wait_any(struct fbuf_heap *h, const uint64_t *names, unsigned int nr)
{
	__atomic_fetch_add(&h->nr_looks, 1, __ATOMIC_RELAXED);
	return fbuf_wait(h->pool, names, nr, FBUF_WAIT_ANY, 0);
}

/* One that has more buffers than a call takes. */
static bool is_idle(struct fbuf_heap *h, const struct look_item *item)
{
	size_t first, nr = item_bufs(h, item, &first);

	while (nr) {
		unsigned int n = nr < FBUF_BATCH_MAX ? nr : FBUF_BATCH_MAX;

		if (wait_any(h, h->names + first, n) != (int)n)
			return false;
		first += n;
		nr -= n;
	}
	return true;
}

/* Put the names of items from lo on there; *nr is how many. Returns the end. */
static unsigned int put_names(struct fbuf_heap *h, unsigned int lo,
			      unsigned int hi, unsigned int *nr)
{
	struct heap_look *look = &h->look;
	size_t first, n;

	for (*nr = 0; lo < hi; lo++) {
		n = item_bufs(h, &look->items[lo], &first);
		if (n > FBUF_BATCH_MAX - *nr)
			break;
		while (n--)
			look->names[(*nr)++] = h->names[first++];
	}
	return lo;
}

/* Ranges that are still to be asked for; each half is put there once. */
struct halves {
	unsigned int nr;
	struct range {
		unsigned int lo, hi;
	} ranges[2 * 16];
};

static void halves_add(struct halves *halves, unsigned int lo, unsigned int hi)
{
	halves->ranges[halves->nr++] = (struct range){ lo, hi };
}

/* The lower half comes out first. */
static void halves_split(struct halves *halves, struct range r)
{
	unsigned int mid = r.lo + (r.hi - r.lo) / 2;

	halves_add(halves, mid, r.hi);
	halves_add(halves, r.lo, mid);
}

/*
 * Which items from lo on and before hi are idle: all of them go into one call.
 * Mostly all are or none is, so that tells; where only some are, halves are asked
 * for, down to as many as are not worth it, which pass for busy. Only a call in
 * which all of an item's buffers are idle says that it is: from two calls no sum
 * can be made, as a buffer with other objects may be in flight again in between.
 */
static void find_halves(struct fbuf_heap *h, unsigned int lo, unsigned int hi)
{
	struct heap_look *look = &h->look;
	struct halves halves = { 0 };
	unsigned int nr, i;
	int idle;

	halves_add(&halves, lo, hi);
	while (halves.nr) {
		struct range r = halves.ranges[--halves.nr];

		put_names(h, r.lo, r.hi, &nr);
		idle = wait_any(h, look->names, nr);
		if (idle > 0 && idle < (int)nr && r.hi - r.lo > look->part) {
			halves_split(&halves, r);
			continue;
		}
		for (i = r.lo; i < r.hi; i++)
			look->idle[i] = idle == (int)nr;
	}
}

static void find_idle(struct fbuf_heap *h, unsigned int nr_items)
{
	struct heap_look *look = &h->look;
	unsigned int lo, hi, nr;

	for (lo = 0; lo < nr_items; lo = hi) {
		hi = put_names(h, lo, nr_items, &nr);
		if (hi > lo) {
			find_halves(h, lo, hi);
			continue;
		}
		look->idle[lo] = is_idle(h, &look->items[lo]);
		hi = lo + 1;
	}
}

/* Take back the slots that were looked at, or let them wait; returns bytes. */
static size_t settle_slab(struct fbuf_heap *h, struct slab *slab, bool idle)
{
	struct heap_class *c = &h->classes[slab->class];
	size_t bytes = 0;
	bool go = false;

	pthread_mutex_lock(&c->lock);
	slab->waits = false;
	if (idle) {
		bytes = (size_t)slab->looked.nr * slab->size;
		slab_list_move(slab, &slab->free, &slab->looked);
	} else {
		slab_list_move(slab, &slab->waiting, &slab->looked);
	}
	if (slab->waiting.nr)
		slab_append(c, slab);
	if (idle)
		go = slab_more_free(c, slab);
	pthread_mutex_unlock(&c->lock);
	if (go)
		slab_free(h, slab);
	return bytes;
}

static size_t settle_run(struct fbuf_heap *h, char *p, size_t size, bool idle)
{
	size_t page = heap_page(h, p);

	if (idle) {
		unmark(h, p, size);
		__atomic_store_n(&h->pages[page], 0, __ATOMIC_RELAXED);
		heap_runs_give(h, (void **)&p, 1);
		return size;
	}
	pthread_mutex_lock(&h->runs_lock);
	run_append(h, page);
	pthread_mutex_unlock(&h->runs_lock);
	return 0;
}

/* Look at nr items; returns how many bytes were taken back. */
static size_t look_at(struct fbuf_heap *h, unsigned int nr)
{
	struct heap_look *look = &h->look;
	size_t bytes = 0;
	unsigned int i;

	if (!nr)
		return 0;
	look->part = look->thorough || nr < LOOK_PARTS ? 1 : nr / LOOK_PARTS;
	find_idle(h, nr);
	for (i = 0; i < nr; i++) {
		const struct look_item *item = &look->items[i];

		if (item->slab)
			bytes += settle_slab(h, item->slab, look->idle[i]);
		else
			bytes += settle_run(h, item->base, item->size,
					    look->idle[i]);
	}
	return bytes;
}

static void slab_item(struct fbuf_heap *h, struct slab *slab,
		      struct look_item *item)
{
	struct heap_class *c = &h->classes[slab->class];

	/* What is freed from now on was not looked at. */
	pthread_mutex_lock(&c->lock);
	slab_list_move(slab, &slab->looked, &slab->waiting);
	pthread_mutex_unlock(&c->lock);
	item->slab = slab;
	item->base = slab->base;
	item->size = c->pages * RUNS_PAGE;
}

static size_t look_at_slabs(struct fbuf_heap *h)
{
	size_t bytes = 0;
	unsigned int class, nr = 0;

	for (class = 0; class < NR_CLASSES; class++) {
		struct heap_class *c = &h->classes[class];
		struct slab *slab, *next;

		pthread_mutex_lock(&c->lock);
		slab = c->waiting;
		c->waiting = NULL;
		pthread_mutex_unlock(&c->lock);
		for (; slab; slab = next) {
			/* It is nobody else's to change while it is looked at. */
			next = slab->next_waiting;
			slab_item(h, slab, &h->look.items[nr++]);
			if (nr == LOOK_ITEMS) {
				bytes += look_at(h, nr);
				nr = 0;
			}
		}
	}
	return bytes + look_at(h, nr);
}

static size_t look_at_runs(struct fbuf_heap *h)
{
	size_t bytes = 0;
	unsigned int nr = 0;
	uint32_t page, next;

	pthread_mutex_lock(&h->runs_lock);
	page = h->waiting;
	h->waiting = PAGE_NONE;
	pthread_mutex_unlock(&h->runs_lock);
	for (; page != PAGE_NONE; page = next) {
		struct look_item *item = &h->look.items[nr++];

		next = h->next_waiting[page];
		item->slab = NULL;
		item->base = h->base + page * RUNS_PAGE;
		item->size = runs_size(h->runs, item->base);
		if (nr == LOOK_ITEMS) {
			bytes += look_at(h, nr);
			nr = 0;
		}
	}
	return bytes + look_at(h, nr);
}

/* The look is locked. */
static size_t look_at_all(struct fbuf_heap *h, bool thorough)
{
	size_t step = h->size / 16, bytes, left;

	h->look.thorough = thorough;
	bytes = look_at_runs(h) + look_at_slabs(h);
	left = __atomic_sub_fetch(&h->bytes_waiting, bytes, __ATOMIC_RELAXED);
	if (step < LOOK_STEP_MIN)
		step = LOOK_STEP_MIN;
	if (step > LOOK_STEP_MAX)
		step = LOOK_STEP_MAX;
	/* What was in flight a moment ago may be so for long. */
	if (step < left)
		step = left;
	__atomic_store_n(&h->look_at, left + step, __ATOMIC_RELAXED);
	return bytes;
}

static bool nothing_waits(const struct fbuf_heap *h)
{
	return !__atomic_load_n(&h->bytes_waiting, __ATOMIC_RELAXED);
}

size_t idle_look(struct fbuf_heap *h)
{
	size_t bytes;

	if (nothing_waits(h))
		return 0;
	pthread_mutex_lock(&h->look.lock);
	bytes = look_at_all(h, true);
	pthread_mutex_unlock(&h->look.lock);
	return bytes;
}

void idle_look_maybe(struct fbuf_heap *h)
{
	if (__atomic_load_n(&h->bytes_waiting, __ATOMIC_RELAXED) <
	    __atomic_load_n(&h->look_at, __ATOMIC_RELAXED) ||
	    nothing_waits(h) || pthread_mutex_trylock(&h->look.lock))
		return;
	look_at_all(h, false);
	pthread_mutex_unlock(&h->look.lock);
}

/* Those of an item's buffers that there is room for. */
static unsigned int item_names(const struct fbuf_heap *h,
			       const struct look_item *item, uint64_t *names,
			       unsigned int max)
{
	size_t first;
	unsigned int nr = item_bufs(h, item, &first), i;

	if (nr > max)
		nr = max;
	for (i = 0; i < nr; i++)
		names[i] = h->names[first + i];
	return nr;
}

static unsigned int all_names(struct fbuf_heap *h, uint64_t *names,
			      unsigned int max)
{
	struct look_item item = { 0 };
	unsigned int nr = 0, class;
	const struct slab *slab;
	uint32_t page;

	pthread_mutex_lock(&h->look.lock);
	pthread_mutex_lock(&h->runs_lock);
	for (page = h->waiting; page != PAGE_NONE && nr < max;
	     page = h->next_waiting[page]) {
		item.base = h->base + page * RUNS_PAGE;
		item.size = runs_size(h->runs, item.base);
		nr += item_names(h, &item, names + nr, max - nr);
	}
	pthread_mutex_unlock(&h->runs_lock);
	for (class = 0; class < NR_CLASSES && nr < max; class++) {
		struct heap_class *c = &h->classes[class];

		pthread_mutex_lock(&c->lock);
		for (slab = c->waiting; slab && nr < max;
		     slab = slab->next_waiting) {
			item.base = slab->base;
			item.size = c->pages * RUNS_PAGE;
			nr += item_names(h, &item, names + nr, max - nr);
		}
		pthread_mutex_unlock(&c->lock);
	}
	pthread_mutex_unlock(&h->look.lock);
	return nr;
}

/* Take those out that are idle: how many are left. */
static unsigned int drop_idle(struct fbuf_heap *h, uint64_t *names,
			      unsigned int nr)
{
	struct halves halves = { 0 };
	unsigned int left = 0;

	if (nr)
		halves_add(&halves, 0, nr);
	while (halves.nr) {
		struct range r = halves.ranges[--halves.nr];
		int n = r.hi - r.lo, idle = wait_any(h, names + r.lo, n);

		if (idle > 0 && idle < n) {
			halves_split(&halves, r);
		} else if (idle <= 0) {
			memmove(names + left, names + r.lo,
				n * sizeof(*names));
			left += n;
		}
	}
	return left;
}

unsigned int idle_names(struct fbuf_heap *h, uint64_t *names, unsigned int max,
			bool *waits)
{
	unsigned int nr = all_names(h, names, max);

	*waits = nr;
	return drop_idle(h, names, nr);
}
