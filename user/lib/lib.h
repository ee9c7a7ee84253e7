/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of libfbuf share. */
#ifndef FBUF_LIB_H
#define FBUF_LIB_H

#include <errno.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include <fbuf/fbuf.h>

struct fbuf_pool {
	char *map;		/* or NULL: the handle has no right to read */
	size_t size;
	size_t buf_size;	/* a power of two */
	unsigned int nr_bufs;
	unsigned int rights;	/* FBUF_RIGHT_* */
	unsigned int handle;	/* its number */
	int fd;
	bool named;		/* segments have the buffer's name */
	struct fbuf_ring *ring;	/* or NULL */
	size_t ring_size;	/* bytes mapped there */
	uint32_t ring_mask;	/* our own: the ring's can be written */
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

/* Bytes of structures as the library had them first. */
#define LIB_INFO_MIN	offsetof(struct fbuf_info, pool_flags)
#define LIB_OPTIONS_MIN	(offsetof(struct fbuf_pool_options, flags) +	\
			 sizeof(unsigned int))

/* A call whose structure is of another size, as the module takes it. */
#define LIB_IOC(cmd, size)						\
	_IOC(_IOC_READ | _IOC_WRITE, FBUF_IOC_MAGIC, _IOC_NR(cmd), size)

/* close() that leaves errno alone. */
void lib_close(int fd);
/* CLOCK_MONOTONIC in milliseconds. */
long long lib_now_ms(void);

/* For a gather on the stack. */
void lib_gather_init(struct fbuf_gather *g, const struct fbuf_pool *pool);
void lib_gather_fini(struct fbuf_gather *g);

#endif /* FBUF_LIB_H */
