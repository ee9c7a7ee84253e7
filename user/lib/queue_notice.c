// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Who is to be told when memory that queues sent is idle. A send that anybody waits
 * for carries a cookie, which comes back in the pool's ring when no packet refers to
 * the send's buffers any more. Where there are no cookies, the module is asked.
 */
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "queue.h"
#include "view.h"

#define RING_ENTRIES	1024U
/* Where nothing tells, how long to sleep before the next look. */
#define LOOK_MS		10

/*
 * A cookie is one of ours if it has this bit; then come the slot of its flight, and
 * how often that was used.
 */
#define COOKIE_OURS	(1ULL << 63)
#define COOKIE_USES	0x7fffffffU

/* A send with watches. */
struct flight {
	unsigned int nr;
	struct watch *watches[];
};

struct slot {
	struct flight *flight;	/* or NULL */
	uint32_t uses;
	uint32_t next_free;
};

#define SLOT_END	UINT32_MAX

struct lib_notices {
	struct fbuf_pool *pool;
	pthread_mutex_t lock;
	bool tried;		/* to make the ring */
	bool cookies;		/* the module has them, and a ring */
	int eventfd;		/* or -1: no ring, or not ours; atomic */
	struct slot *slots;
	uint32_t nr_slots;
	uint32_t free;
	struct watch *looked;	/* at, to see if they are idle */
	size_t nr_waiting;	/* watches without an item */
};

static struct lib_notices *notices_new(struct fbuf_pool *pool)
{
	struct lib_notices *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->pool = pool;
	n->eventfd = -1;
	n->free = SLOT_END;
	pthread_mutex_init(&n->lock, NULL);
	return n;
}

/* The watches go with the last flight that they are waiting for. */
static void flight_free(struct flight *f)
{
	while (f && f->nr) {
		struct watch *w = f->watches[--f->nr];

		if (!--w->pending)
			free(w);
	}
	free(f);
}

/* What was to be told is not. */
void lib_notices_free(struct lib_notices *n)
{
	struct watch *w;
	uint32_t i;

	if (!n)
		return;
	for (i = 0; i < n->nr_slots; i++)
		flight_free(n->slots[i].flight);
	free(n->slots);
	while ((w = n->looked)) {
		n->looked = w->next;
		free(w);
	}
	if (n->eventfd >= 0)
		close(n->eventfd);
	pthread_mutex_destroy(&n->lock);
	free(n);
}

struct lib_notices *notices_get(struct fbuf_pool *pool)
{
	struct lib_notices *n, *old = NULL;

	n = __atomic_load_n(&pool->notices, __ATOMIC_ACQUIRE);
	if (n)
		return n;
	n = notices_new(pool);
	if (!n)
		return NULL;
	if (__atomic_compare_exchange_n(&pool->notices, &old, n, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return n;
	lib_notices_free(n);
	return old;
}

/* Once, and for good: the ring is the handle's. Locked. */
static void ring_make(struct lib_notices *n)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), ret;
	struct fbuf_info info = { 0 };

	n->tried = true;
	if (fd < 0)
		return;
	ret = fbuf_ring_setup(n->pool, RING_ENTRIES, FBUF_RING_EVENTFD, fd);
	/* The program's own ring will do: it hands us what is ours. */
	if (!ret || ret == -EEXIST)
		n->cookies = !fbuf_pool_info(n->pool, &info) &&
			     info.features & FBUF_FEATURE_COOKIE;
	/* From now on others read the ring, notices_eventfd(). */
	if (!ret)
		__atomic_store_n(&n->eventfd, fd, __ATOMIC_RELEASE);
	else
		close(fd);
}

/* -1: nothing is to be read. Pairs with ring_make(). */
static int notices_eventfd(const struct lib_notices *n)
{
	return __atomic_load_n(&n->eventfd, __ATOMIC_ACQUIRE);
}

static void ring_need(struct lib_notices *n)
{
	int saved = errno;

	if (!n->tried)
		ring_make(n);
	errno = saved;
}

struct watch *watch_new(void (*taken)(void *arg, int err),
			void (*idle)(void *arg), void *arg)
{
	int saved = errno;
	struct watch *w = calloc(1, sizeof(*w));

	errno = saved;
	if (!w)
		return NULL;
	w->taken = taken;
	w->idle = idle;
	w->arg = arg;
	w->pending = 1;
	return w;
}

/* Nothing is locked, and the watch is in no list. */
static void watch_run(struct watch *w)
{
	if (w->idle)
		w->idle(w->arg);
	if (w->view)
		fbuf_view_release(w->view);
	free(w);
}

static unsigned int watches_run(struct watch *w)
{
	unsigned int nr = 0;
	struct watch *next;

	for (; w; w = next, nr++) {
		next = w->next;
		watch_run(w);
	}
	return nr;
}

/* A slot that is free; or SLOT_END. Locked. */
static uint32_t slot_take(struct lib_notices *n)
{
	uint32_t room = n->nr_slots ? n->nr_slots * 2 : 16, i;
	struct slot *slots;

	if (n->free == SLOT_END) {
		slots = realloc(n->slots, room * sizeof(*slots));
		if (!slots)
			return SLOT_END;
		for (i = room; i-- > n->nr_slots; n->free = i)
			slots[i] = (struct slot){ .next_free = n->free };
		n->slots = slots;
		n->nr_slots = room;
	}
	i = n->free;
	n->free = n->slots[i].next_free;
	return i;
}

/* The flight that a cookie is of; or NULL. Locked. */
static struct flight *slot_flight(const struct lib_notices *n,
				  uint64_t cookie)
{
	uint32_t i = cookie, uses = cookie >> 32 & COOKIE_USES;

	return cookie & COOKIE_OURS && i < n->nr_slots &&
	       n->slots[i].uses == uses ? n->slots[i].flight : NULL;
}

/* The same; it is over. */
static struct flight *slot_give(struct lib_notices *n, uint64_t cookie)
{
	struct flight *f = slot_flight(n, cookie);
	uint32_t i = cookie;

	if (!f)
		return NULL;
	n->slots[i].flight = NULL;
	n->slots[i].uses = (n->slots[i].uses + 1) & COOKIE_USES;
	n->slots[i].next_free = n->free;
	n->free = i;
	return f;
}

uint64_t notices_cookie(struct lib_notices *n, const struct batch *b)
{
	unsigned int nr = b->nr_watches;
	struct flight *f = NULL;
	int saved = errno;
	uint64_t cookie = 0;
	uint32_t i;

	pthread_mutex_lock(&n->lock);
	ring_need(n);
	if (n->cookies)
		f = malloc(sizeof(*f) + nr * sizeof(f->watches[0]));
	i = f ? slot_take(n) : SLOT_END;
	if (i == SLOT_END) {
		free(f);
	} else {
		cookie = COOKIE_OURS | (uint64_t)n->slots[i].uses << 32 | i;
		n->slots[i].flight = f;
		f->nr = nr;
		memcpy(f->watches, b->watches, nr * sizeof(f->watches[0]));
		while (nr)
			f->watches[--nr]->pending++;
	}
	pthread_mutex_unlock(&n->lock);
	errno = saved;
	return cookie;
}

/* Those of a flight that were only waiting for it. Locked. */
static struct watch *flight_end(struct lib_notices *n, struct flight *f)
{
	struct watch *done = NULL, **last = &done;
	unsigned int i;

	for (i = 0; i < f->nr; i++) {
		struct watch *w = f->watches[i];

		if (--w->pending)
			continue;
		n->nr_waiting--;
		w->next = NULL;
		*last = w;
		last = &w->next;
	}
	free(f);
	return done;
}

/*
 * A flight that has not landed forgets of which nothing was taken: as their items
 * wait still, none of them is done.
 */
static void flight_shorten(struct lib_notices *n, uint64_t cookie,
			   unsigned int nr)
{
	struct flight *f;

	pthread_mutex_lock(&n->lock);
	f = slot_flight(n, cookie);
	while (f && f->nr > nr)
		f->watches[--f->nr]->pending--;
	if (!nr)
		free(slot_give(n, cookie));
	pthread_mutex_unlock(&n->lock);
}

void notices_sent(struct lib_notices *n, uint64_t cookie,
		  const struct batch *b, int sent)
{
	unsigned int nr = b->nr_watches;

	while (nr && (sent <= 0 || b->begins[nr - 1] >= (size_t)sent))
		nr--;
	if (cookie && nr < b->nr_watches)
		flight_shorten(n, cookie, nr);
	while (!cookie && nr)
		b->watches[--nr]->sent = true;
}

/* How many functions ran for a cookie that came back; -1: it is none of ours. */
static int cookie_back(struct lib_notices *n, uint64_t cookie)
{
	struct watch *done = NULL;
	struct flight *f;

	pthread_mutex_lock(&n->lock);
	f = slot_give(n, cookie);
	if (f)
		done = flight_end(n, f);
	pthread_mutex_unlock(&n->lock);
	return f ? (int)watches_run(done) : -1;
}

/* Names of the buffers of one piece, which are many: whether all are idle. */
static bool piece_is_idle(const struct lib_notices *n, const char *p,
			  size_t len)
{
	struct fbuf_heap *heap = fbuf_heap_of(p);
	uint64_t names[64];
	unsigned int nr;
	size_t offset;
	ssize_t in;

	while (heap && len) {
		for (nr = 0; len && nr < 64; nr++, p += in, len -= in) {
			in = fbuf_heap_ref(heap, p, len, &names[nr], &offset);
			if (in <= 0)
				return true;
		}
		if (fbuf_wait(n->pool, names, nr, 0, 0) != (int)nr)
			return false;
	}
	return true;
}

static bool watch_is_idle(const struct lib_notices *n, const struct watch *w)
{
	struct view_piece piece;
	size_t at;

	if (!w->view)
		return piece_is_idle(n, w->ptr, w->len);
	for (at = 0; at < w->len; at += piece.len) {
		if (view_readable(w->view, at, w->len - at, &piece,
				  "fbuf_queue_notices"))
			return true;
		/* A parcel's bytes are nobody's to change. */
		if (piece.view->kind != VIEW_PARCEL &&
		    !piece_is_idle(n, view_data(&piece), piece.len))
			return false;
	}
	return true;
}

void watch_put(struct lib_notices *n, struct watch *w)
{
	bool looks, done;

	/* What is told only when it is idle may have been so already. */
	looks = w->sent && !watch_is_idle(n, w);
	pthread_mutex_lock(&n->lock);
	if (looks) {
		w->next = n->looked;
		n->looked = w;
	}
	done = !looks && !--w->pending;
	n->nr_waiting += !done;
	pthread_mutex_unlock(&n->lock);
	if (done)
		watch_run(w);
}

unsigned int notices_flags(struct lib_notices *n)
{
	return notices_eventfd(n) >= 0 && !n->cookies ? FBUF_SEND_NOTIFY : 0;
}

/* One that was looked at; with a flight it waits for that. Locked. */
static bool look_ends(struct lib_notices *n, struct watch *w, bool idle)
{
	if (idle && w->pending == 1) {
		n->nr_waiting--;
		return true;
	}
	w->next = n->looked;
	n->looked = w;
	return false;
}

/* Look at all that are to be looked at. */
static unsigned int look(struct lib_notices *n)
{
	struct watch *list, *w, *done = NULL, **last = &done;
	bool idle;

	pthread_mutex_lock(&n->lock);
	list = n->looked;
	n->looked = NULL;
	pthread_mutex_unlock(&n->lock);
	while ((w = list)) {
		list = w->next;
		idle = watch_is_idle(n, w);
		pthread_mutex_lock(&n->lock);
		if (look_ends(n, w, idle)) {
			*last = w;
			last = &w->next;
		}
		pthread_mutex_unlock(&n->lock);
	}
	*last = NULL;
	return watches_run(done);
}

int fbuf_queue_notice(struct fbuf_heap *heap,
		      const struct fbuf_ring_entry *entry)
{
	struct lib_notices *n = fbuf_heap_pool(heap)->notices;

	return n && entry->type == FBUF_RING_SENT &&
	       cookie_back(n, entry->data) >= 0;
}

int fbuf_queue_notices(struct fbuf_heap *heap)
{
	struct lib_notices *n = notices_get(fbuf_heap_pool(heap));
	struct fbuf_ring_entry entry;
	int saved = errno, nr = 0, fd, ret;
	uint64_t count;

	if (!n)
		return -ENOMEM;
	fd = notices_eventfd(n);
	if (fd >= 0 && read(fd, &count, sizeof(count)) < 0)
		errno = saved;
	while (fd >= 0 && fbuf_ring_next(n->pool, &entry) > 0) {
		ret = cookie_back(n, entry.data);
		nr += ret > 0 ? ret : 0;
	}
	nr += look(n);
	errno = saved;
	return nr;
}

int fbuf_queue_notices_fd(struct fbuf_heap *heap)
{
	struct lib_notices *n = notices_get(fbuf_heap_pool(heap));
	int fd;

	if (!n)
		return -ENOMEM;
	pthread_mutex_lock(&n->lock);
	ring_need(n);
	fd = notices_eventfd(n);
	pthread_mutex_unlock(&n->lock);
	return fd >= 0 ? fd : -EBUSY;
}

static void notices_sleep(struct lib_notices *n, long long ms)
{
	struct pollfd pfd = { .fd = notices_eventfd(n), .events = POLLIN };

	/* Somebody else may be reading the ring. */
	if (ms < 0 || ms > LOOK_MS)
		ms = LOOK_MS;
	poll(&pfd, 1, ms);
}

int fbuf_queue_notices_wait(struct fbuf_heap *heap, int timeout_ms)
{
	struct lib_notices *n = notices_get(fbuf_heap_pool(heap));
	long long end = lib_now_ms() + timeout_ms, left = timeout_ms;
	int saved = errno, ret = 0;
	size_t waiting;

	if (!n)
		return -ENOMEM;
	for (;;) {
		fbuf_queue_notices(heap);
		pthread_mutex_lock(&n->lock);
		waiting = n->nr_waiting;
		pthread_mutex_unlock(&n->lock);
		if (!waiting)
			break;
		if (timeout_ms >= 0)
			left = end - lib_now_ms();
		if (timeout_ms >= 0 && left <= 0) {
			ret = -ETIMEDOUT;
			break;
		}
		notices_sleep(n, left);
	}
	errno = saved;
	return ret;
}
