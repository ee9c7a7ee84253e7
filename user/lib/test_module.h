/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The module, as tests have it that run without one: ioctl() is our own. It sends by
 * copying; what was sent is in flight until the test has it land.
 */
#ifndef FBUF_TEST_MODULE_H
#define FBUF_TEST_MODULE_H

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <fbuf/parcel.h>

#include "heap.h"
#include "segs.h"
#include "test.h"

#define BUF		((size_t)65536)
#define NR_BUFS		128U
#define GEN		7U
#define MAX_FLIGHTS	512U
#define NR_PARCELS	16U

struct fake_flight {
	uint64_t cookie;
	unsigned int flags;		/* of the send */
	unsigned int nr;		/* buffers */
	uint32_t bufs[FBUF_SEGS_MAX];
};

struct fake_parcel {
	char *data;			/* or NULL: there is none */
	size_t len;
	uint32_t gen;
};

static struct {
	int fd;
	char *map;
	bool cookies;			/* it has them */
	bool no_parcels;		/* it knows of none */
	bool no_ring;			/* none can be had */
	bool held[NR_BUFS];
	unsigned int in_flight[NR_BUFS];
	struct fbuf_ring *ring;
	unsigned int mask;
	int eventfd;
	struct fake_flight *flights;	/* the oldest first */
	unsigned int nr_flights;

	int fail;			/* all sends do so */
	bool crowded;			/* those that would put entries into the ring */
	size_t take;			/* bytes of a send at most; 0: any number */
	unsigned int sends;
	unsigned int fanouts;
	unsigned int targets;
	unsigned int segs;		/* of the last send */
	unsigned int flags;
	unsigned int more;		/* sends that had MORE */
	size_t referred;		/* bytes, of all sends */
	size_t asked;			/* bytes of the longest send */

	struct fake_parcel parcels[NR_PARCELS];
	unsigned int nr_parcels;
	uint32_t parcel_gen;
	struct fbuf_part parts[40];	/* of every parcel */
	unsigned int nr_parts;
	bool lies;			/* they are not */
	unsigned int shows;
	unsigned int slow;		/* microseconds that a SHOW takes */
	/* The last calls; READs, and bytes of them; segments of parcels. */
	struct fbuf_recv recv;
	struct fbuf_read read;
	struct fbuf_show show;
	unsigned int reads;
	size_t read_bytes;
	unsigned int parcel_segs;
} fake;

static int fake_info(struct fbuf_info *info)
{
	info->pool_size = BUF * NR_BUFS;
	info->buf_size = BUF;
	info->nr_bufs = NR_BUFS;
	info->rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE | FBUF_RIGHT_ALLOC |
		       FBUF_RIGHT_SEND;
	info->features = FBUF_FEATURE_NAMED_SEGS;
	if (!fake.no_parcels)
		info->features |= FBUF_FEATURE_PARCELS;
	if (fake.cookies)
		info->features |= FBUF_FEATURE_COOKIE;
	return 0;
}

static int fake_alloc(const struct fbuf_batch *b)
{
	uint64_t *names = (void *)(uintptr_t)b->names;
	unsigned int i, n = 0;

	for (i = 0; i < NR_BUFS && n < b->count; i++) {
		if (fake.held[i])
			continue;
		fake.held[i] = true;
		names[n++] = FBUF_NAME(i, GEN);
	}
	return n ? (int)n : -ENOBUFS;
}

static int fake_wait(const struct fbuf_batch *b)
{
	const uint64_t *names = (const void *)(uintptr_t)b->names;
	unsigned int i, idle = 0;

	for (i = 0; i < b->count; i++)
		idle += !fake.in_flight[FBUF_NAME_INDEX(names[i]) % NR_BUFS];
	if (idle < (b->flags & FBUF_WAIT_ANY ? 1 : b->count))
		return -ETIMEDOUT;
	return idle;
}

static int fake_ring(struct fbuf_ring_setup *s)
{
	size_t size = FBUF_RING_ENTRIES +
		      s->entries * sizeof(struct fbuf_ring_entry);

	if (fake.ring)
		return -EEXIST;
	if (fake.no_ring)
		return -ENOMEM;
	if (ftruncate(fake.fd, FBUF_MMAP_RING + size) < 0)
		return -errno;
	fake.ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 fake.fd, FBUF_MMAP_RING);
	fake.mask = s->entries - 1;
	fake.eventfd = s->flags & FBUF_RING_EVENTFD ? s->eventfd : -1;
	s->map_size = size;
	return 0;
}

static void fake_entry(struct fbuf_ring_entry e)
{
	struct fbuf_ring_entry *all = (void *)((char *)fake.ring +
					       FBUF_RING_ENTRIES);
	const uint64_t one = 1;

	all[fake.ring->tail & fake.mask] = e;
	__atomic_store_n(&fake.ring->tail, fake.ring->tail + 1,
			 __ATOMIC_RELEASE);
	if (fake.eventfd >= 0)
		CHECK(write(fake.eventfd, &one, sizeof(one)) == 8);
}

/* The packets of a send are gone: of the nr'th, the oldest being 0. */
static void fake_land(unsigned int nr)
{
	struct fake_flight f = fake.flights[nr];
	unsigned int i;

	memmove(&fake.flights[nr], &fake.flights[nr + 1],
		(--fake.nr_flights - nr) * sizeof(f));
	for (i = 0; i < f.nr; i++) {
		if (--fake.in_flight[f.bufs[i]] ||
		    !(f.flags & FBUF_SEND_NOTIFY))
			continue;
		fake_entry((struct fbuf_ring_entry){
			.name = FBUF_NAME(f.bufs[i], GEN),
			.type = FBUF_RING_IDLE,
		});
	}
	if (f.flags & FBUF_SEND_COOKIE)
		fake_entry((struct fbuf_ring_entry){
			.data = f.cookie, .type = FBUF_RING_SENT,
		});
}

static void fake_land_all(void)
{
	while (fake.nr_flights)
		fake_land(0);
}

static void fake_fly(const struct fbuf_seg *segs, unsigned int nr,
		     unsigned int flags, uint64_t cookie)
{
	struct fake_flight *f;
	unsigned int i;

	if (fake.nr_flights == MAX_FLIGHTS)
		fake_land(0);
	f = &fake.flights[fake.nr_flights++];
	f->flags = flags;
	f->cookie = cookie;
	f->nr = 0;
	for (i = 0; i < nr; i++) {
		if (segs[i].flags)
			continue;
		f->bufs[f->nr] = segs[i].addr / BUF;
		fake.in_flight[f->bufs[f->nr++]]++;
	}
}

static struct fake_parcel *fake_parcel(uint64_t name)
{
	uint32_t index = FBUF_NAME_INDEX(name) & ~FBUF_NAME_PARCEL;
	struct fake_parcel *p = &fake.parcels[index % NR_PARCELS];

	return fbuf_is_parcel(name) && index < NR_PARCELS && p->data &&
	       p->gen == FBUF_NAME_GEN(name) ? p : NULL;
}

static int fake_free(const struct fbuf_batch *b)
{
	const uint64_t *names = (const void *)(uintptr_t)b->names;
	unsigned int i;

	if (!fbuf_is_parcel(names[0]))
		return b->count;
	for (i = 0; i < b->count; i++) {
		struct fake_parcel *p = fake_parcel(names[i]);

		if (!p)
			return -ESTALE;
		free(p->data);
		p->data = NULL;
		fake.nr_parcels--;
	}
	return b->count;
}

static int fake_drop(uint64_t name)
{
	const struct fbuf_batch b = { .names = (uintptr_t)&name, .count = 1 };

	return fake_free(&b);
}

static int fake_recv(struct fbuf_recv *r)
{
	struct fake_parcel *p = fake.parcels;
	ssize_t ret;

	fake.recv = *r;
	if (!r->len || r->len > FBUF_PARCEL_MAX)
		return -EINVAL;
	if (r->drop && fake_drop(r->drop) < 0)
		return -ESTALE;
	r->drop = 0;
	while (p->data && p < fake.parcels + NR_PARCELS)
		p++;
	if (p == fake.parcels + NR_PARCELS)
		return -ENOBUFS;
	p->data = malloc(r->len);
	ret = recv(r->fd, p->data, r->len,
		   r->flags & FBUF_RECV_ALL ? MSG_WAITALL : MSG_DONTWAIT);
	if (ret <= 0) {
		free(p->data);
		p->data = NULL;
		return ret < 0 ? -errno : 0;
	}
	p->len = ret;
	p->gen = ++fake.parcel_gen;
	fake.nr_parcels++;
	if (r->head_len > p->len)
		r->head_len = p->len;
	if (r->head_len)
		memcpy((void *)(uintptr_t)r->head, p->data, r->head_len);
	r->name = FBUF_NAME(FBUF_NAME_PARCEL | (p - fake.parcels), p->gen);
	return ret;
}

static int fake_read(const struct fbuf_read *r)
{
	const struct fake_parcel *p = fake_parcel(r->name);

	fake.read = *r;
	fake.reads++;
	if (!p)
		return -ESTALE;
	if (!r->len || r->offset > p->len || r->len > p->len - r->offset)
		return -EINVAL;
	memcpy((void *)(uintptr_t)r->to, p->data + r->offset, r->len);
	fake.read_bytes += r->len;
	return r->len;
}

/* What it says is there is there, in the file that it has for a device. */
static int fake_show(const struct fbuf_show *s)
{
	struct fbuf_part *parts = (void *)(uintptr_t)s->parts;
	const struct fake_parcel *p = fake_parcel(s->name);
	unsigned int i;

	fake.show = *s;
	fake.shows++;
	/* Others may ask as well. */
	usleep(fake.slow);
	if (!p)
		return -ESTALE;
	for (i = 0; i < fake.nr_parts; i++) {
		const struct fbuf_part *part = &fake.parts[i];

		CHECK(fake.lies || part->offset + part->len <= p->len);
		CHECK(fake.lies ||
		      pwrite(fake.fd, p->data + part->offset, part->len,
			     part->at) == part->len);
		if (i < s->count)
			parts[i] = *part;
	}
	return i;
}

/* What is wrong with it; or by an iovec what is to be sent. */
static int fake_segs(const struct fbuf_seg *segs, unsigned int nr,
		     struct iovec *iov)
{
	unsigned int i;

	if (!nr || nr > FBUF_SEGS_MAX)
		return -EINVAL;
	for (i = 0; i < nr; i++) {
		const struct fbuf_seg *s = &segs[i];

		iov[i].iov_len = s->len;
		iov[i].iov_base = (void *)(uintptr_t)s->addr;
		if (!s->len)
			return -EINVAL;
		if (s->flags == FBUF_SEG_INLINE && s->len <= FBUF_INLINE_MAX)
			continue;
		if ((s->flags & 0xff) == FBUF_SEG_NAMED) {
			const struct fake_parcel *p = fake_parcel(s->addr);
			size_t at = s->flags >> 8;

			if (!p)
				return -ESTALE;
			if (at > p->len || s->len > p->len - at)
				return -EINVAL;
			iov[i].iov_base = p->data + at;
			fake.parcel_segs++;
			continue;
		}
		if (s->flags || s->addr >= BUF * NR_BUFS ||
		    s->len > BUF - s->addr % BUF || !fake.held[s->addr / BUF])
			return -ESTALE;
		iov[i].iov_base = fake.map + s->addr;
	}
	return 0;
}

/* To one socket; no more than the bytes that a send takes. */
static int fake_out(int sock, struct iovec *iov, unsigned int nr,
		    unsigned int flags, const void *name, unsigned int namelen)
{
	struct msghdr msg = {
		.msg_iov = iov, .msg_name = (void *)name,
		.msg_namelen = namelen,
	};
	size_t len = fake.take ? fake.take : SIZE_MAX;
	size_t asked = 0;
	unsigned int i;
	ssize_t ret;

	for (i = 0; i < nr; i++)
		asked += iov[i].iov_len;
	if (asked > fake.asked)
		fake.asked = asked;
	while (msg.msg_iovlen < nr && len > iov[msg.msg_iovlen].iov_len)
		len -= iov[msg.msg_iovlen++].iov_len;
	if (msg.msg_iovlen < nr)
		iov[msg.msg_iovlen++].iov_len = len;
	ret = sendmsg(sock, &msg,
		      (flags & FBUF_SEND_DONTWAIT ? MSG_DONTWAIT : 0) |
		      (flags & FBUF_SEND_SIGPIPE ? 0 : MSG_NOSIGNAL) |
		      (flags & FBUF_SEND_EOR ? MSG_EOR : 0));
	return ret < 0 ? -errno : ret;
}

/* How many of the bytes that were taken are the pool's. */
static size_t fake_referred(const struct fbuf_seg *s, size_t taken)
{
	size_t referred = 0, n;

	for (; taken; s++, taken -= n) {
		n = s->len < taken ? s->len : taken;
		referred += s->flags & FBUF_SEG_INLINE ? 0 : n;
	}
	return referred;
}

static int fake_send(const struct fbuf_send *s)
{
	const struct fbuf_seg *segs = (const void *)(uintptr_t)s->segs;
	struct iovec iov[FBUF_SEGS_MAX];
	socklen_t len = sizeof(int);
	int type, ret;

	fake.sends++;
	fake.segs = s->nr_segs;
	fake.flags = s->flags;
	fake.more += !!(s->flags & FBUF_SEND_MORE);
	CHECK(!(s->flags & (FBUF_SEND_NOTIFY | FBUF_SEND_COOKIE)) || fake.ring);
	CHECK(!(s->flags & FBUF_SEND_COOKIE) || fake.cookies);
	CHECK(s->nr_segs <= SEGS_MAX);
	if (fake.fail)
		return -fake.fail;
	if (fake.crowded && s->flags & (FBUF_SEND_COOKIE | FBUF_SEND_NOTIFY))
		return -ENOBUFS;
	ret = fcntl(s->fd, F_GETFD) < 0 ? -EBADF : 0;
	if (!ret && getsockopt(s->fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		ret = -ENOTSOCK;
	if (!ret)
		ret = fake_segs(segs, s->nr_segs, iov);
	if (!ret)
		ret = fake_out(s->fd, iov, s->nr_segs, s->flags,
			       (const void *)(uintptr_t)s->name, s->namelen);
	if (ret > 0) {
		fake_fly(segs, s->nr_segs, s->flags, s->cookie);
		fake.referred += fake_referred(segs, ret);
	}
	return ret;
}

static int fake_fanout(const struct fbuf_fanout *f)
{
	const struct fbuf_seg *segs = (const void *)(uintptr_t)f->segs;
	struct fbuf_target *t = (void *)(uintptr_t)f->targets;
	struct iovec iov[FBUF_SEGS_MAX];
	unsigned int i;
	int ret, took = 0;

	fake.fanouts++;
	fake.targets += f->nr_targets;
	fake.flags = f->flags;
	if (fake.fail)
		return -fake.fail;
	for (i = 0; i < f->nr_targets; i++) {
		ret = fake_segs(segs, f->nr_segs, iov);
		if (ret < 0)
			return ret;
		ret = fake_out(t[i].fd, iov, f->nr_segs,
			       f->flags | FBUF_SEND_DONTWAIT, NULL, 0);
		t[i].result = ret;
		took += ret >= 0;
	}
	if (took)
		fake_fly(segs, f->nr_segs, f->flags, 0);
	return took;
}

int ioctl(int fd, unsigned long request, ...)
{
	int ret = -ENOTTY;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	/* There are pools of the library itself as well. */
	switch (fd == fake.fd ? request : 0) {
	case FBUF_IOC_INFO:
		ret = fake_info(arg);
		break;
	case FBUF_IOC_ALLOC:
		ret = fake_alloc(arg);
		break;
	case FBUF_IOC_FREE:
		ret = fake_free(arg);
		break;
	case FBUF_IOC_WAIT:
		ret = fake_wait(arg);
		break;
	case FBUF_IOC_RING:
		ret = fake_ring(arg);
		break;
	case FBUF_IOC_SEND:
		ret = fake_send(arg);
		break;
	case FBUF_IOC_FANOUT:
		ret = fake_fanout(arg);
		break;
	case FBUF_IOC_RECV:
		ret = fake_recv(arg);
		break;
	case FBUF_IOC_READ:
		ret = fake_read(arg);
		break;
	case FBUF_IOC_SHOW:
		ret = fake_show(arg);
		break;
	}
	if (ret < 0) {
		errno = -ret;
		ret = -1;
	}
	return ret;
}

static struct fbuf_pool *pool;
static struct fbuf_heap *heap;

static void begin(void)
{
	struct fake_flight *flights = calloc(MAX_FLIGHTS, sizeof(*flights));

	memset(&fake, 0, sizeof(fake));
	fake.cookies = true;
	fake.flights = flights;
	fake.fd = memfd_create("pool", 0);
	if (!flights || fake.fd < 0 ||
	    ftruncate(fake.fd, BUF * NR_BUFS) < 0 ||
	    fbuf_pool_open(&pool, fake.fd) ||
	    fbuf_heap_create(&heap, pool, 0)) {
		printf("Bail out! No heap.\n");
		exit(1);
	}
	fake.map = pool->map;
}

/* Nothing is in use, or in flight. */
static void end(void)
{
	struct fbuf_heap_stats stats;

	fake_land_all();
	CHECK(!fake.nr_parcels);
	CHECK(!fbuf_heap_stats(heap, &stats));
	CHECK(!stats.used);
	fbuf_heap_destroy(heap);
	if (fake.ring)
		munmap(fake.ring, FBUF_RING_ENTRIES + (fake.mask + 1) *
		       sizeof(struct fbuf_ring_entry));
	fbuf_pool_close(pool);
	fake.fd = -1;
	free(fake.flights);
}

/* Bytes of malloc(); 0 with sanitizers. */
static inline size_t memory_used(void)
{
	const struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* Bytes that are different everywhere. */
static inline unsigned char pattern(size_t seed, size_t at)
{
	return (at * 2654435761U >> 13) ^ (at >> 7) ^ seed * 37 ^ at;
}

static inline void pattern_fill(char *p, size_t len, size_t seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		p[i] = pattern(seed, i);
}

static __thread uint64_t rand_state = 88172645463325252;

static inline size_t below(size_t n)
{
	rand_state ^= rand_state << 13;
	rand_state ^= rand_state >> 7;
	rand_state ^= rand_state << 17;
	return rand_state % n;
}

#endif /* FBUF_TEST_MODULE_H */
