/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The functions that ours stand in front of. */
#ifndef RUN_NEXT_H
#define RUN_NEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/*
 * Each is ready from the first call on, whoever makes it: at first it finds out what
 * it is to be. fork_only is _Fork(), exit_now is _exit(). Those that take a varying
 * number of arguments are given all that there can be.
 */
struct next {
	void *(*malloc)(size_t size);
	void (*free)(void *p);
	void *(*calloc)(size_t nr, size_t size);
	void *(*realloc)(void *p, size_t size);
	void *(*memalign)(size_t align, size_t size);
	size_t (*malloc_usable_size)(void *p);
	ssize_t (*write)(int fd, const void *p, size_t n);
	ssize_t (*writev)(int fd, const struct iovec *iov, int nr);
	ssize_t (*pwritev2)(int fd, const struct iovec *iov, int nr, off_t pos,
			    int flags);
	ssize_t (*send)(int fd, const void *p, size_t n, int flags);
	ssize_t (*sendto)(int fd, const void *p, size_t n, int flags,
			  const struct sockaddr *to, socklen_t len);
	ssize_t (*sendmsg)(int fd, const struct msghdr *msg, int flags);
	int (*sendmmsg)(int fd, struct mmsghdr *msgs, unsigned int nr,
			int flags);
	int (*close)(int fd);
	void (*closefrom)(int low);
	int (*close_range)(unsigned int first, unsigned int last, int flags);
	int (*dup2)(int from, int to);
	int (*dup3)(int from, int to, int flags);
	int (*madvise)(void *p, size_t size, int advice);
	int (*prctl)(int op, unsigned long a, unsigned long b, unsigned long c,
		     unsigned long d);
	long (*syscall)(long nr, long a, long b, long c, long d, long e,
			long f);
	pid_t (*fork_only)(void);
	int (*clone)(int (*fn)(void *arg), void *stack, int flags, void *arg,
		     void *parent, void *tls, void *child);
	void (*exit_now)(int status);
};

extern struct next next;

/* Find all of them; once. */
void next_resolve(void);

/* Is it memory that was given out while malloc() itself was being looked for? */
bool next_is_early(const void *p);
size_t next_early_size(const void *p);

#endif /* RUN_NEXT_H */
