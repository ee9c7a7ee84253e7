/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The functions that ours stand in front of. */
#ifndef RUN_NEXT_H
#define RUN_NEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Everything with a type of its own: the macro wants a name, and what it takes. */
#define NEXT_FUNCTIONS(F)						\
	F(void *, malloc, (size_t))					\
	F(void, free, (void *))						\
	F(void *, calloc, (size_t, size_t))				\
	F(void *, realloc, (void *, size_t))				\
	F(void *, memalign, (size_t, size_t))				\
	F(size_t, malloc_usable_size, (void *))				\
	F(ssize_t, write, (int, const void *, size_t))			\
	F(ssize_t, writev, (int, const struct iovec *, int))		\
	F(ssize_t, pwritev2, (int, const struct iovec *, int, off_t, int)) \
	F(ssize_t, send, (int, const void *, size_t, int))		\
	F(ssize_t, sendto, (int, const void *, size_t, int,		\
			    const struct sockaddr *, socklen_t))	\
	F(ssize_t, sendmsg, (int, const struct msghdr *, int))		\
	F(int, sendmmsg, (int, struct mmsghdr *, unsigned int, int))	\
	F(int, close, (int))						\
	F(void, closefrom, (int))					\
	F(int, close_range, (unsigned int, unsigned int, int))		\
	F(int, dup2, (int, int))					\
	F(int, dup3, (int, int, int))					\
	F(int, madvise, (void *, size_t, int))				\
	F(int, prctl, (int, unsigned long, unsigned long, unsigned long, \
		       unsigned long))					\
	F(long, syscall, (long, long, long, long, long, long, long))	\
	F(pid_t, _Fork, (void))						\
	F(int, clone, (int (*)(void *), void *, int, void *, void *,	\
		       void *, void *))					\
	F(void, _exit, (int))

struct next {
#define F(type, name, args)	type (*name) args;
	NEXT_FUNCTIONS(F)
#undef F
};

/*
 * Ready from the first call on, whoever makes it: at first each member finds out
 * what it is to be.
 */
extern struct next next;

/* Find all of them; once. */
void next_resolve(void);

/* Is it memory that was given out while malloc() itself was being looked for? */
bool next_is_early(const void *p);
size_t next_early_size(const void *p);

#endif /* RUN_NEXT_H */
