// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Programs close all fds that they do not know, or put others in their places.
 * To them ours are not there: close() says EBADF, closefrom() and close_range()
 * go around them, and dup2() to the number of one moves it away.
 *
 * A child of vfork() has fds of its own, but our memory: it moves nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>

#include "fds.h"
#include "next.h"
#include "run.h"

int fds[NR_FDS] = { -1, -1, -1 };

/* From here on up, or as far up as the program's limit lets us. */
#define FDS_LOWEST	1000

int fds_up(int fd)
{
	int saved = errno, low, up = -1;

	for (low = FDS_LOWEST; low > 2 && up < 0; low /= 2)
		up = fcntl(fd, F_DUPFD_CLOEXEC, low);
	if (up >= 0)
		next.close(fd);
	errno = saved;
	return up >= 0 ? up : fd;
}

void fds_set(enum fds_which which, int fd)
{
	int old = fds[which], saved = errno;

	if (fd >= 0)
		fd = fds_up(fd);
	__atomic_store_n(&fds[which], fd, __ATOMIC_RELAXED);
	if (old >= 0)
		next.close(old);
	errno = saved;
}

static bool is_ours(int fd)
{
	return fd >= 0 && (fd == fds_get(FD_POOL) || fd == fds_get(FD_CONTROL) ||
			   fd == fds_get(FD_TELL));
}

/* The lowest of ours from low on, or INT_MAX. */
static int ours_from(int low)
{
	int i, found = INT_MAX;

	for (i = 0; i < NR_FDS; i++) {
		int fd = fds_get(i);

		if (fd >= low && fd < found)
			found = fd;
	}
	return found;
}

EXPORT int close(int fd)
{
	if (unlikely(is_ours(fd))) {
		errno = EBADF;
		return -1;
	}
	return next.close(fd);
}

/*
 * In pieces, around ours. With CLOSE_RANGE_UNSHARE the first piece does that for
 * all.
 */
EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	unsigned int ours;
	int ret = 0;

	if (first > last || first > INT_MAX)
		return next.close_range(first, last, flags);
	while (!ret && (ours = ours_from(first)) <= last && ours != INT_MAX) {
		if (ours > first)
			ret = next.close_range(first, ours - 1, flags);
		first = ours + 1;
		if (!first || first > last)
			return ret;
	}
	return ret ?: next.close_range(first, last, flags);
}

/* closefrom() cannot fail; where the kernel refuses it a range, one by one. */
static void close_each(int low)
{
	struct rlimit rl;
	rlim_t fd, end = INT_MAX;

	if (!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur < end)
		end = rl.rlim_cur;
	for (fd = low; fd < end; fd++)
		close(fd);
}

EXPORT void closefrom(int low)
{
	if (low < 0)
		low = 0;
	if (ours_from(low) == INT_MAX)
		next.closefrom(low);
	else if (close_range(low, ~0U, 0))
		close_each(low);
}

/* The program wants the number of one of ours: it gets it. */
static void make_way(int fd)
{
	int i, to;

	for (i = 0; i < NR_FDS; i++) {
		if (fds_get(i) != fd || getpid() != run_owner)
			continue;
		to = fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);
		if (to < 0)
			to = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		__atomic_store_n(&fds[i], to, __ATOMIC_RELAXED);
	}
}

EXPORT int dup2(int from, int to)
{
	int saved = errno;

	if (unlikely(is_ours(from))) {
		errno = EBADF;
		return -1;
	}
	if (unlikely(is_ours(to)) && fcntl(from, F_GETFD) >= 0) {
		make_way(to);
		errno = saved;
	}
	return next.dup2(from, to);
}

EXPORT int dup3(int from, int to, int flags)
{
	int saved = errno;

	if (unlikely(is_ours(from))) {
		errno = EBADF;
		return -1;
	}
	if (unlikely(is_ours(to)) && from != to && !(flags & ~O_CLOEXEC) &&
	    fcntl(from, F_GETFD) >= 0) {
		make_way(to);
		errno = saved;
	}
	return next.dup3(from, to, flags);
}
