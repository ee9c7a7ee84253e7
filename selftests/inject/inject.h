/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault injection into the calls that enter the module. inject.so is preloaded
 * into a test and stands between it and the C library: each such call is made
 * with its first allocation (or copy from or to user memory) failing, then with
 * its second, and so on, until none fails any more. The test sees that last call
 * alone, so that its own assertions say whether those that failed did nothing.
 *
 *	inject.c	goes through the n of a call, and logs what came of each
 *	nth.c		the kernel's side: makes the n-th allocation of a thread fail
 *	state.c		what must be the same after a call that failed
 *	rest.c		does what a fault made a call leave undone, and finds out
 *	wrap.c		the calls themselves
 *	netlink.c	those that are requests of the netlink family
 */
#ifndef FBUF_INJECT_H
#define FBUF_INJECT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <linux/fbuf.h>

#define ARGS_MAX	256

/* What a call that failed must not have changed. */
struct state {
	struct fbuf_info info;	/* of the handle; size 0 if there is none */
	__u64 pools;		/* of the user */
	__u64 charged;		/* to the user */
	int fd;			/* the lowest that is free, or -1 */
};

/**
 * struct call - a call of the test's
 * @name: for the log
 * @kind: one of KIND_*: where it goes on when a fault was survived
 * @make: makes it; returns what it does, or a negative errno value
 * @rehearse: does so with the n-th fault, in a way that may be repeated, and says
 *	whether it came; @make has none then; or NULL
 * @undo: takes back a success, that more faults can be tried; or NULL
 * @finish: does what a fault made it leave out; returns what the test is to see
 * @spare: whether it is to be spared, going by its structure; or NULL
 * @no_wait: makes its structure one that does not wait; whether it was; or NULL
 * @errnos: what it may fail with if memory is short, ends with 0
 * @fd: the pool fd, or -1
 * @makes_fd: on success it returns an fd
 * @of_user: it may change what there is of the user, and what is charged to him
 * @args: its structure in the test's memory, put back if it fails; or NULL
 * @size: of that
 * @nr: the system call's number
 * @arg: its arguments
 * @more: what else @make needs
 * @saved: @args as the test left it
 * @asked: the same, before @no_wait
 * @waits: @no_wait did change it
 */
struct call {
	const char *name;
	unsigned int kind;
	long (*make)(struct call *c);
	long (*rehearse)(struct call *c, unsigned int n, bool *taken);
	void (*undo)(struct call *c, long ret);
	long (*finish)(struct call *c, long ret);
	bool (*spare)(const void *args);
	bool (*no_wait)(void *args);
	const int *errnos;
	int fd;
	bool makes_fd;
	bool of_user;
	void *args;
	size_t size;
	long nr;
	long arg[6];
	void *more;
	unsigned char saved[ARGS_MAX];
	unsigned char asked[ARGS_MAX];
	bool waits;
};

enum {
	KIND_IOCTL = 0,		/* and its number */
	KIND_OPEN = 64,
	KIND_CLOSE,
	KIND_MMAP,
	KIND_POLL,
	KIND_EPOLL,
	KIND_SPLICE,
	KIND_SENDFILE,
	KIND_URING,
	KIND_NETLINK,		/* and which request */
	KIND_NR = KIND_NETLINK + 16
};

/* inject.c */
long inject(struct call *c);
void inject_stop(void);
/* Whether calls are to be left alone: after that, or as they are its own. */
bool inject_off(void);
bool inject_expects(const struct call *c, long ret);
void inject_complain(const struct call *c, unsigned int n, const char *format,
		     ...) __attribute__((format(printf, 3, 4)));

/* nth.c */
bool nth_ready(void);
void nth_set(unsigned int n);
/* Whether the fault has come; none comes from now on. */
bool nth_taken(void);

/* state.c */
void state_get(struct state *state, const struct call *c);
void state_check(const struct state *before, const struct call *c,
		 unsigned int n);

/* rest.c */
long rest_of_send(struct call *c, long ret);
long rest_of_fanout(struct call *c, long ret);
long rest_of_batch(struct call *c, long ret);
long rest_of_fill(struct call *c, long ret);

/* What takes the place of the C library's. */
#define WRAPS	__attribute__((visibility("default")))

/* wrap.c: the system call, and no faults; returns as it does in the kernel. */
long raw_ioctl(int fd, unsigned long cmd, void *arg);
long call_make(struct call *c);
/* As the C library returns it. */
long call_give(long ret);

#endif /* FBUF_INJECT_H */
