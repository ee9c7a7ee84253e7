/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Our own fds, which the program does not know of and must not close. */
#ifndef RUN_FDS_H
#define RUN_FDS_H

/* Each is -1 while there is none. */
enum fds_which {
	FD_CONTROL,	/* /dev/fbuf, to make pools */
	FD_POOL,
	FD_TELL,	/* where the statistics go */
	NR_FDS
};

extern int fds[NR_FDS];

static inline int fds_get(enum fds_which which)
{
	return __atomic_load_n(&fds[which], __ATOMIC_RELAXED);
}

/*
 * Take an fd over: it gets a high number, out of the program's way, and is closed
 * on exec. Closes the one that was there. -1 for fd takes none.
 */
void fds_set(enum fds_which which, int fd);
/* Move fd up, closing the low one; returns its number, which may be the old. */
int fds_up(int fd);

#endif /* RUN_FDS_H */
