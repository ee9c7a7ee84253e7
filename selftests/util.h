/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the fbuf tests share: pools by the raw ioctls, connected sockets, a
 * pattern that shows where a byte came from, a reader, and ways to wait for a
 * condition. Functions return a negative errno value on failure.
 */
#ifndef FBUF_TEST_UTIL_H
#define FBUF_TEST_UTIL_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <linux/fbuf.h>

/* A pool, mapped whole. */
struct pool {
	int fd;
	size_t buf_size;
	unsigned int nr_bufs;
	size_t size;
	__u8 *map;
};

int control_open(void);
int pool_create(size_t buf_size, unsigned int nr_bufs);
int pool_make(struct pool *p, size_t buf_size, unsigned int nr_bufs);
void pool_unmake(struct pool *p);

int pool_alloc(int fd, __u64 *names, unsigned int count);
int pool_free(int fd, const __u64 *names, unsigned int count);
/* Retries while all free buffers are in flight. */
int pool_alloc_wait(int fd, __u64 *names, unsigned int count, int ms);
int pool_info(int fd, struct fbuf_info *info);
/* Waits until each of the pool's buffers was to be had, none being held. */
int pool_wait_idle(int fd, unsigned int nr_bufs, int ms);

__u64 buf_offset(const struct pool *p, __u64 name);
__u8 *buf_addr(const struct pool *p, __u64 name);
struct fbuf_seg buf_seg(const struct pool *p, __u64 name, size_t offset,
			size_t len);
struct fbuf_seg inline_seg(const void *data, size_t len);

/* What a send did, besides its result. */
struct sent {
	__u32 engine;
	__u64 copied;
};

ssize_t pool_send(int fd, int sock, const struct fbuf_seg *segs,
		  unsigned int nr_segs, __u32 flags, __u32 engines,
		  struct sent *sent);

/* Byte @pos of the endless pattern @seed; differs with both. */
static inline __u8 pattern_byte(unsigned int seed, size_t pos)
{
	__u32 x = (__u32)(pos >> 3) * 2654435761U + seed * 40503U;

	return (x >> 13) ^ (x >> 24) ^ (pos * 37 + seed);
}

void pattern_fill(void *to, unsigned int seed, size_t pos, size_t len);
/* Number of the first byte that is not the pattern's, or -1. */
ssize_t pattern_differs(const void *buf, unsigned int seed, size_t pos,
			size_t len);

/* Connected sockets; fd[0] sends, fd[1] receives. */
int tcp_pair(int family, int fd[2]);
int udp_pair(int family, int fd[2]);
/* One of these, or of AF_UNIX. */
int sock_pair(int family, int type, int fd[2]);
/* Makes the buffers of both sockets small. */
void sock_small(const int fd[2]);
/* Fills a stream socket until it takes no more; returns the bytes put in. */
ssize_t sock_fill(int sock);
/* True if nothing waits to be read. */
bool sock_empty(int sock);

/* Reads up to len bytes, fewer at the end of the stream. */
ssize_t read_full(int fd, void *buf, size_t len);

/* A thread that reads a number of bytes into memory. */
struct reader {
	pthread_t thread;
	int fd;
	int cpu;
	size_t want;
	ssize_t got;
	__u8 *data;
};

int reader_start(struct reader *r, int fd, size_t want, int cpu);
/* Returns the number of bytes read; the data is the caller's to free. */
ssize_t reader_join(struct reader *r);

long now_ms(void);
/* Lets another run for a short while, for use between looks at a condition. */
void relax(void);
/* Waits until a thread of a process sleeps in the kernel. */
int wait_asleep(pid_t pid, pid_t tid, int ms);
/* Exit status of a child, or minus the signal that killed it. */
int child_status(pid_t pid);

bool kernel_before(int major, int minor);
int pin_to_cpu(int cpu);
int nr_cpus(void);

/* Skips the whole program when there is no usable device. */
void need_device(int argc, char **argv);

#endif /* FBUF_TEST_UTIL_H */
