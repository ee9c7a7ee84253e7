/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pools without the module: what Documentation/abi.rst says, in user space, within
 * one process.
 *
 * A pool's memory is a memfd. A handle's fd is one end of a pair of sockets, the
 * library has the other. So it can be passed and be waited for by poll() as one of
 * the module's, and the other end tells when its last copy was closed. What poll()
 * says of it is what is in the two sockets: a byte to read while the ring has
 * entries, and bytes that nobody read, until no more fit, while there is nothing
 * to ALLOC.
 *
 * The registry's lock comes before a pool's.
 */
#ifndef FBUF_SOFT_H
#define FBUF_SOFT_H

#include <limits.h>
#include <pthread.h>
#include <string.h>

#include "lib.h"

#define SOFT_RIGHTS	(FBUF_RIGHT_READ | FBUF_RIGHT_WRITE |		\
			 FBUF_RIGHT_ALLOC | FBUF_RIGHT_SEND)
#define SOFT_NONE	UINT32_MAX

struct soft_buf {
	uint32_t gen;
	uint32_t holds;		/* handles that hold it */
	uint32_t secured;	/* handles that secure it */
	uint32_t flights;	/* what refers to it: segments sent, FILLs */
	uint32_t fills;		/* of these, FILLs */
	uint32_t next;		/* the next one that is idle */
	uint64_t mark;		/* the last batch that named it */
};

/* What a handle gets to know; all but @map under the pool's lock. */
struct soft_ring {
	struct fbuf_ring *map;
	uint32_t entries;
	uint32_t tail;		/* our own: the ring's can be written */
	bool accept;
	int eventfd;		/* our own copy, or -1 */
	ino_t eventfd_ino;
	dev_t eventfd_dev;
	unsigned long *expect;	/* a bit for each buffer: tell when it is idle */
	unsigned int nr_expect;
	/* Entries for which there was no room yet: nr from first on. */
	struct fbuf_ring_entry *late;
	unsigned int late_first, nr_late, late_room;
	unsigned int late_segs;	/* of sends whose cookies are among them */
};

struct soft_handle {
	struct soft_pool *pool;
	struct soft_handle *next;	/* of the pool */
	uint64_t cookie;		/* of the socket that is its fd */
	uint64_t peer_cookie;		/* and of ours */
	struct fbuf_pool *open;		/* those on it: the registry's */
	int fd;				/* of one of these, or -1; atomic */
	uint32_t number;
	uint32_t rights;
	uint32_t max_holds;
	uint32_t nr_holds;
	unsigned long *holds;		/* a bit for each buffer */
	unsigned long *secures;
	struct soft_parcels *parcels;	/* or NULL: there never was one */
	struct soft_ring *ring;		/* or NULL; atomic */
	int peer;			/* our end */
	bool in, out;			/* what poll() says */
};

struct soft_pool {
	struct soft_pool *next;		/* the registry's */
	pthread_mutex_t lock;
	uint32_t seq;			/* a futex: what others wait for came */
	unsigned int waiters;
	bool forked;			/* a child has it, and cannot use it */

	char *rw, *ro;			/* mappings */
	size_t size;
	uint32_t buf_size, nr_bufs;
	uint32_t flags;			/* FBUF_POOL_* */
	uint32_t copy_above;
	int32_t node;
	uint64_t id;
	uid_t uid;
	int uffd;			/* guards what is secured, or -1 */

	struct soft_buf *bufs;
	uint32_t idle;			/* the first one handed out before */
	uint32_t nr_idle;		/* of those */
	uint32_t fresh;			/* from this one on none ever was */
	uint32_t nr_held;
	uint32_t nr_limbo;		/* in flight, without a hold */
	uint64_t batch;
	struct soft_handle *handles;
	uint32_t nr_handles;
	uint32_t last_number;

	uint64_t sends, bytes, copied, allocs, reuses, fills, filled;
	uint64_t parcel_bytes, recvs, received;
	uint32_t nr_parcels;
};

#define SOFT_WORD	(8 * sizeof(long))

static inline bool soft_bit(const unsigned long *map, uint32_t i)
{
	return map[i / SOFT_WORD] >> i % SOFT_WORD & 1;
}

static inline void soft_bit_set(unsigned long *map, uint32_t i)
{
	map[i / SOFT_WORD] |= 1UL << i % SOFT_WORD;
}

static inline void soft_bit_clear(unsigned long *map, uint32_t i)
{
	map[i / SOFT_WORD] &= ~(1UL << i % SOFT_WORD);
}

/* A map of a bit for each buffer, or NULL. */
unsigned long *soft_bits_new(const struct soft_pool *p);

static inline void soft_lock(struct soft_pool *p)
{
	pthread_mutex_lock(&p->lock);
}

static inline void soft_unlock(struct soft_pool *p)
{
	pthread_mutex_unlock(&p->lock);
}

static inline bool soft_is_forked(const struct soft_pool *p)
{
	return __atomic_load_n(&p->forked, __ATOMIC_RELAXED);
}

/*
 * As in a system call, errno is left alone, and nobody is cancelled half way.
 */
struct soft_entry {
	int saved;
	int cancel;
};

static inline void soft_enter(struct soft_entry *e)
{
	e->saved = errno;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &e->cancel);
}

static inline void soft_leave(const struct soft_entry *e)
{
	int ignored;

	pthread_setcancelstate(e->cancel, &ignored);
	errno = e->saved;
}

static inline bool soft_is_volatile(const struct soft_pool *p)
{
	return !(p->flags & (FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT));
}

static inline char *soft_addr(const struct soft_pool *p, uint32_t index)
{
	return p->rw + (size_t)index * p->buf_size;
}

static inline uint32_t soft_free_bufs(const struct soft_pool *p)
{
	return p->nr_idle + (p->nr_bufs - p->fresh);
}

/* soft_pool.c: the memory. */
int soft_pool_new(struct soft_pool **pool,
		  const struct fbuf_pool_create *create);
void soft_pool_free(struct soft_pool *p);
uint64_t soft_pool_resident(const struct soft_pool *p);

/* soft_handle.c: handles, and which fd is one. */
int soft_share(struct soft_handle *h, struct fbuf_share *share);
/* Ends those handles of the pool whose fd is closed. */
void soft_sweep(struct soft_pool *p);
/* The pool is locked; what poll() says of ALLOC. */
void soft_poll_out(struct soft_pool *p);
/* The pool is locked; what it says of the ring. */
void soft_poll_in(struct soft_handle *h, bool in);

/* Whether it is one of this handle's. */
bool soft_is_own_fd(const struct soft_handle *h, int fd);

/* soft_wait.c: threads that wait for others. */
struct soft_deadline {
	struct timespec end;
	bool forever;
};

void soft_deadline(struct soft_deadline *d, int timeout_ms);
/* The pool is locked, but not while it sleeps. 0, -ETIMEDOUT or -EINTR. */
int soft_sleep(struct soft_pool *p, const struct soft_deadline *d);
/* The pool is locked. */
void soft_wake(struct soft_pool *p);

/* soft_buf.c: names and holds; all but soft_batch() with the pool locked. */
int soft_batch(struct soft_handle *h, unsigned long cmd,
	       const struct fbuf_batch *args);
int soft_pass(struct soft_handle *h, const struct fbuf_pass *args);
/* The index of a buffer that the handle holds by this name, or an error. */
int64_t soft_buf_check(const struct soft_handle *h, uint64_t name);
void soft_drop_all(struct soft_handle *h);
/* Something refers to it; and does not any more: then soft_told() is to come. */
void soft_fly(struct soft_pool *p, uint32_t index);
void soft_land(struct soft_pool *p, uint32_t index);

/* soft_drop.c */
int soft_drop(struct soft_handle *h, const uint64_t *names, unsigned int count);

/* soft_secure.c */
bool soft_can_secure(void);
void soft_secure_end(struct soft_pool *p);
int soft_secure(struct soft_handle *h, const uint64_t *names,
		unsigned int count);
/* The pool is locked; the handle secures it no more. */
void soft_unsecure(struct soft_handle *h, uint32_t index);

/* soft_parcel.c: bytes that were received; these with the pool locked. */
struct soft_parcel;
/* Where bytes of a parcel are, which stays until it is put. */
int soft_parcel_get(const struct soft_handle *h, uint64_t name, uint32_t offset,
		    uint32_t len, struct soft_parcel **parcel, char **at);
void soft_parcel_put(struct soft_parcel *parcel);
int soft_parcels_free(struct soft_handle *h, const uint64_t *names,
		      unsigned int count);
void soft_parcels_end(struct soft_handle *h);
/* And these without. */
int soft_recv(struct soft_handle *h, struct fbuf_recv *args);
int soft_read(struct soft_handle *h, const struct fbuf_read *args);
int soft_show(struct soft_handle *h, const struct fbuf_show *args);

/* soft_ring.c: all but setup with the pool locked. */
int soft_ring_setup(struct soft_handle *h, struct fbuf_ring_setup *args);
void soft_ring_free(struct soft_handle *h);
uint32_t soft_ring_room(const struct soft_ring *r);
/* There is room. */
void soft_ring_put(struct soft_ring *r, const struct fbuf_ring_entry *e);
/* What was put is to be seen. */
void soft_ring_publish(struct soft_handle *h);
/* Room for this many notices, so that none of them fails. */
int soft_ring_reserve(struct soft_ring *r, unsigned int nr);
/* A notice when the buffer is idle, for which there is room. */
void soft_ring_expect(struct soft_ring *r, uint32_t index);
/* The buffer is idle: who expected it? */
void soft_ring_idle(struct soft_pool *p, uint32_t index);
/* -ENOBUFS if too many wait; and one, for which there is room. */
int soft_ring_cookie_check(const struct soft_ring *r);
void soft_ring_cookie(struct soft_ring *r, uint64_t cookie, unsigned int segs);
/* Buffers became idle: all who wait are told. */
void soft_told(struct soft_pool *p);

/* soft_send.c, soft_fill.c */
int soft_send(struct soft_handle *h, struct fbuf_send *args);
int soft_fanout(struct soft_handle *h, const struct fbuf_fanout *args);
int soft_send_batch(struct soft_handle *h, const struct fbuf_send_batch *args);
int soft_fill(struct soft_handle *h, const struct fbuf_fill *args);

#endif /* FBUF_SOFT_H */
