/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of libfbuf share. */
#ifndef FBUF_LIB_H
#define FBUF_LIB_H

#include <errno.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <fbuf/fbuf.h>

struct soft_handle;
struct lib_notices;

struct fbuf_pool {
	struct soft_handle *soft;	/* or NULL: the module's */
	char *map;		/* or NULL: the handle has no right to read */
	size_t size;
	size_t buf_size;	/* a power of two */
	unsigned int nr_bufs;
	unsigned int rights;	/* FBUF_RIGHT_* */
	unsigned int handle;	/* its number */
	int fd;
	bool named;		/* segments have the buffer's name */
	bool parcels;		/* can be received */
	char *parcel_map;	/* their places, or NULL: not yet; atomic */
	struct fbuf_ring *ring;	/* or NULL */
	size_t ring_size;	/* bytes mapped there */
	uint32_t ring_mask;	/* our own: the ring's can be written */
	struct fbuf_pool *next_on;	/* on the same handle, see soft.h */
	struct lib_notices *notices;	/* of send queues, or NULL */
};

/* A gather of up to this many segments needs no memory besides its own. */
#define GATHER_INLINE	16U

struct fbuf_gather {
	const struct fbuf_pool *pool;
	size_t len;		/* bytes */
	unsigned int nr;	/* segments */
	unsigned int room;	/* segments that fit at segs */
	struct fbuf_seg *segs;	/* few, or memory of malloc() */
	struct fbuf_seg few[GATHER_INLINE];
};

/*
 * ioctl() that returns a negative errno value and leaves errno alone. As in
 * liburing, without the C library where that is simple: a send is short enough
 * for the difference to show. LIB_LIBC_IOCTL is for those who put something
 * between it and the kernel.
 */
static inline int lib_ioctl(int fd, unsigned long cmd, void *arg)
{
#if defined(__x86_64__) && !defined(LIB_LIBC_IOCTL)
	long ret;

	__asm__ volatile("syscall" : "=a"(ret)
			 : "0"((long)SYS_ioctl), "D"((long)fd), "S"(cmd),
			   "d"(arg)
			 : "rcx", "r11", "memory");
	return ret;
#else
	int saved = errno;
	int ret = ioctl(fd, cmd, arg);

	if (ret < 0) {
		ret = -errno;
		errno = saved;
	}
	return ret;
#endif
}

/*
 * soft*.c: pools without the module. Calls are those of the ABI, from the library
 * itself: their structures have the sizes of this version, but for INFO's.
 */
int soft_call(struct soft_handle *h, unsigned long cmd, void *arg);
uint64_t soft_features(void);
/* Returns a pool fd. */
int soft_create(const struct fbuf_pool_create *arg);
/* Sets what of the pool depends on it; -ENOTTY if its fd is none of ours. */
int soft_open(struct fbuf_pool *pool);
/* Closes the fd. */
void soft_close(struct fbuf_pool *pool);
struct fbuf_ring *soft_ring_memory(struct soft_handle *h);
/* An entry was taken, and the ring's tail was found there. */
void soft_ring_took(struct fbuf_pool *pool, bool last);

/* A call of a pool, whoever does what it says. */
static inline int lib_call(const struct fbuf_pool *pool, unsigned long cmd,
			   void *arg)
{
	if (__builtin_expect(!!pool->soft, 0))
		return soft_call(pool->soft, cmd, arg);
	return lib_ioctl(pool->fd, cmd, arg);
}

/* An entry of a ring, as it is read and written: nobody is kept from either. */
typedef uint64_t __attribute__((may_alias)) lib_word;
#define LIB_RING_WORDS	(sizeof(struct fbuf_ring_entry) / sizeof(lib_word))
union lib_ring_words {
	struct fbuf_ring_entry entry;
	lib_word words[LIB_RING_WORDS];
};

/* Bytes of structures as the library had them first. */
#define LIB_INFO_MIN	offsetof(struct fbuf_info, pool_flags)
#define LIB_OPTIONS_MIN	(offsetof(struct fbuf_pool_options, flags) +	\
			 sizeof(unsigned int))

/* A call whose structure is of another size, as the module takes it. */
#define LIB_IOC(cmd, size)						\
	_IOC(_IOC_READ | _IOC_WRITE, FBUF_IOC_MAGIC, _IOC_NR(cmd), size)

/* backend.c: makes a pool with the one that is asked for; returns its fd. */
int lib_pool_create(const struct fbuf_pool_create *create);
/*
 * Options of a caller whose idea of them may be older than ours, or newer: known bytes
 * of them, of which he has size, and at least as many as there were first. 0; -EINVAL;
 * -E2BIG: something is set that we do not know.
 */
int lib_options_get(void *opt, size_t known, const void *from, size_t size,
		    size_t least);
/* close() that leaves errno alone. */
void lib_close(int fd);
/* CLOCK_MONOTONIC in milliseconds. */
long long lib_now_ms(void);

/* queue_notice.c: NULL is ignored. */
void lib_notices_free(struct lib_notices *n);

/* parcel.c */
void lib_parcels_unmap(struct fbuf_pool *pool);

/* For a gather on the stack. */
void lib_gather_init(struct fbuf_gather *g, const struct fbuf_pool *pool);
void lib_gather_fini(struct fbuf_gather *g);

#endif /* FBUF_LIB_H */
