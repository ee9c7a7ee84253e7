// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools without the module: rings. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "soft.h"

static int ring_check(const struct fbuf_ring_setup *args)
{
	uint32_t nr = args->entries;

	if (args->flags & ~(FBUF_RING_ACCEPT | FBUF_RING_EVENTFD) ||
	    (!(args->flags & FBUF_RING_EVENTFD) && args->eventfd))
		return -EINVAL;
	return !nr || nr & (nr - 1) || nr > FBUF_RING_MAX ? -EINVAL : 0;
}

/* A copy, or an error. */
static int eventfd_get(int fd)
{
	static const char want[] = "anon_inode:[eventfd]";
	char path[32], is[sizeof(want)];
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	ssize_t len;

	if (copy < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", copy);
	len = readlink(path, is, sizeof(is));
	/* Without /proc it is as the caller says. */
	if (len < 0 || (len == sizeof(want) - 1 && !memcmp(is, want, len)))
		return copy;
	close(copy);
	return -EINVAL;
}

/* Whether it is what it was: all such files have one inode, and others not. */
static bool ring_has_eventfd(const struct soft_ring *r)
{
	struct stat st;

	return r->eventfd >= 0 && !fstat(r->eventfd, &st) &&
	       st.st_ino == r->eventfd_ino && st.st_dev == r->eventfd_dev;
}

static void ring_free(struct soft_ring *r)
{
	if (ring_has_eventfd(r))
		close(r->eventfd);
	free(r->map);
	free(r->expect);
	free(r->late);
	free(r);
}

static int ring_new(struct soft_ring **ring, const struct soft_pool *p,
		    const struct fbuf_ring_setup *args)
{
	struct soft_ring *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->entries = args->entries;
	r->accept = args->flags & FBUF_RING_ACCEPT;
	r->eventfd = -1;
	r->map = calloc(1, FBUF_RING_ENTRIES +
			   args->entries * sizeof(struct fbuf_ring_entry));
	r->expect = soft_bits_new(p);
	if (!r->map || !r->expect) {
		ring_free(r);
		return -ENOMEM;
	}
	r->map->mask = args->entries - 1;
	*ring = r;
	return 0;
}

static int ring_eventfd(struct soft_ring *r,
			const struct fbuf_ring_setup *args)
{
	struct stat st;
	int fd;

	if (!(args->flags & FBUF_RING_EVENTFD))
		return 0;
	fd = eventfd_get(args->eventfd);
	if (fd < 0)
		return fd;
	r->eventfd = fd;
	if (fstat(fd, &st))
		return -errno;
	r->eventfd_ino = st.st_ino;
	r->eventfd_dev = st.st_dev;
	return 0;
}

int soft_ring_setup(struct soft_handle *h, struct fbuf_ring_setup *args)
{
	struct soft_ring *r;
	int err;

	err = ring_check(args);
	if (err)
		return err;
	if (__atomic_load_n(&h->ring, __ATOMIC_ACQUIRE))
		return -EEXIST;
	err = ring_new(&r, h->pool, args);
	if (err)
		return err;
	err = ring_eventfd(r, args);
	soft_lock(h->pool);
	if (!err && h->ring)
		err = -EEXIST;
	if (!err)
		__atomic_store_n(&h->ring, r, __ATOMIC_RELEASE);
	soft_unlock(h->pool);
	if (err)
		ring_free(r);
	else
		args->map_size = FBUF_RING_ENTRIES +
				 args->entries * sizeof(struct fbuf_ring_entry);
	return err;
}

struct fbuf_ring *soft_ring_memory(struct soft_handle *h)
{
	return __atomic_load_n(&h->ring, __ATOMIC_ACQUIRE)->map;
}

void soft_ring_free(struct soft_handle *h)
{
	if (h->ring)
		ring_free(h->ring);
}

static uint32_t ring_len(const struct soft_ring *r)
{
	return r->tail - __atomic_load_n(&r->map->head, __ATOMIC_ACQUIRE);
}

/* A head that makes no sense is a full ring. */
uint32_t soft_ring_room(const struct soft_ring *r)
{
	uint32_t len = ring_len(r);

	return len > r->entries ? 0 : r->entries - len;
}

void soft_ring_put(struct soft_ring *r, const struct fbuf_ring_entry *e)
{
	char *base = (char *)r->map + FBUF_RING_ENTRIES;
	lib_word *to = (lib_word *)base +
		       (r->tail++ & (r->entries - 1)) * LIB_RING_WORDS;
	const union lib_ring_words from = { .entry = *e };
	unsigned int i;

	for (i = 0; i < LIB_RING_WORDS; i++)
		__atomic_store_n(to + i, from.words[i], __ATOMIC_RELAXED);
}

static void ring_signal(const struct soft_ring *r)
{
	const uint64_t one = 1;

	/* One that is full has been signalled. */
	if (ring_has_eventfd(r) && write(r->eventfd, &one, sizeof(one)) < 0)
		return;
}

void soft_ring_publish(struct soft_handle *h)
{
	struct soft_ring *r = h->ring;

	if (r->map->tail == r->tail)
		return;
	__atomic_store_n(&r->map->tail, r->tail, __ATOMIC_RELEASE);
	soft_poll_in(h, true);
	ring_signal(r);
}

int soft_ring_reserve(struct soft_ring *r, unsigned int nr)
{
	unsigned int want = r->nr_late + r->nr_expect + nr;
	struct fbuf_ring_entry *late;

	if (want <= r->late_room)
		return 0;
	if (want < 2 * r->late_room)
		want = 2 * r->late_room;
	late = calloc(want, sizeof(*late));
	if (!late)
		return -ENOMEM;
	if (r->nr_late)
		memcpy(late, r->late + r->late_first,
		       r->nr_late * sizeof(*late));
	free(r->late);
	r->late = late;
	r->late_first = 0;
	r->late_room = want;
	return 0;
}

void soft_ring_expect(struct soft_ring *r, uint32_t index)
{
	if (soft_bit(r->expect, index))
		return;
	soft_bit_set(r->expect, index);
	r->nr_expect++;
}

static void late_add(struct soft_ring *r, const struct fbuf_ring_entry *e)
{
	if (r->late_first + r->nr_late == r->late_room) {
		memmove(r->late, r->late + r->late_first,
			r->nr_late * sizeof(*e));
		r->late_first = 0;
	}
	r->late[r->late_first + r->nr_late] = *e;
	__atomic_store_n(&r->nr_late, r->nr_late + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&r->map->overflow, r->map->overflow + 1,
			 __ATOMIC_RELAXED);
}

static void ring_tell(struct soft_ring *r, const struct fbuf_ring_entry *e)
{
	if (!r->nr_late && soft_ring_room(r))
		soft_ring_put(r, e);
	else
		late_add(r, e);
}

/* As the module has it. */
#define COOKIE_SEGS_MAX	65536U

int soft_ring_cookie_check(const struct soft_ring *r)
{
	return r->late_segs >= COOKIE_SEGS_MAX ? -ENOBUFS : 0;
}

void soft_ring_cookie(struct soft_ring *r, uint64_t cookie, unsigned int segs)
{
	struct fbuf_ring_entry e = { .data = cookie, .type = FBUF_RING_SENT };

	if (!r->nr_late && soft_ring_room(r)) {
		soft_ring_put(r, &e);
		return;
	}
	e.reserved = segs;
	r->late_segs += segs;
	late_add(r, &e);
}

void soft_ring_idle(struct soft_pool *p, uint32_t index)
{
	const struct fbuf_ring_entry e = {
		.name = FBUF_NAME(index, p->bufs[index].gen),
		.type = FBUF_RING_IDLE,
	};
	struct soft_handle *h;

	for (h = p->handles; h; h = h->next) {
		if (!h->ring || !h->ring->nr_expect ||
		    !soft_bit(h->ring->expect, index))
			continue;
		soft_bit_clear(h->ring->expect, index);
		h->ring->nr_expect--;
		ring_tell(h->ring, &e);
	}
}

void soft_told(struct soft_pool *p)
{
	struct soft_handle *h;

	for (h = p->handles; h; h = h->next)
		if (h->ring)
			soft_ring_publish(h);
	soft_poll_out(p);
	soft_wake(p);
}

/* What had to wait for room. */
static void late_put(struct soft_ring *r)
{
	while (r->nr_late && soft_ring_room(r)) {
		struct fbuf_ring_entry *e = &r->late[r->late_first++];

		/* For us alone: how many segments a cookie's send had. */
		r->late_segs -= e->reserved;
		e->reserved = 0;
		soft_ring_put(r, e);
		__atomic_store_n(&r->nr_late, r->nr_late - 1, __ATOMIC_RELAXED);
	}
}

void soft_ring_took(struct fbuf_pool *pool, bool last)
{
	struct soft_handle *h = pool->soft;
	struct soft_ring *r = h->ring;
	struct soft_entry e;

	if (!last && !__atomic_load_n(&r->nr_late, __ATOMIC_RELAXED))
		return;
	if (soft_is_forked(h->pool))
		return;
	soft_enter(&e);
	soft_lock(h->pool);
	late_put(r);
	soft_ring_publish(h);
	if (!ring_len(r))
		soft_poll_in(h, false);
	soft_unlock(h->pool);
	soft_leave(&e);
}
