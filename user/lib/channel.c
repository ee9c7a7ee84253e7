// SPDX-License-Identifier: LGPL-2.1-or-later
/* Transfers: which way they go. */

#include <limits.h>
#include <linux/fs.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"

unsigned int channel_closed;

/*
 * A thread may close an fd meanwhile, and the next call would go to whatever has the
 * number then. A dup() would be surer, and its close() would take the locks away
 * that the program has on the file, fcntl(2).
 */
bool channel_stays(const struct channel_end *e)
{
	struct stat st;

	return !fstat(e->fd, &st) && st.st_dev == e->st.st_dev &&
	       st.st_ino == e->st.st_ino;
}

bool transfer_stays(const struct transfer *t)
{
	return channel_stays(&t->file) && channel_stays(&t->peer);
}

int transfer_again(const struct transfer *t, int err)
{
	if (err != EINTR)
		return -err;
	return transfer_stays(t) ? 0 : -EBADF;
}

/*
 * write() tells of a dead peer, and of a file that would be too long, by a signal as
 * well, which ends a program that does not expect it.
 */
void quiet_begin(struct quiet *q)
{
	sigset_t pending;
	int sig;

	sigemptyset(&q->ours);
	sigaddset(&q->ours, SIGPIPE);
	sigaddset(&q->ours, SIGXFSZ);
	pthread_sigmask(SIG_BLOCK, &q->ours, &q->before);
	/* What was not blocked is not pending. */
	if (!sigismember(&q->before, SIGPIPE) &&
	    !sigismember(&q->before, SIGXFSZ))
		return;
	sigpending(&pending);
	for (sig = 1; sig < NSIG; sig++)
		if (sigismember(&pending, sig) == 1)
			sigdelset(&q->ours, sig);
}

void quiet_end(const struct quiet *q, bool failed)
{
	const struct timespec now = { 0 };

	while (failed && sigtimedwait(&q->ours, NULL, &now) > 0)
		;
	pthread_sigmask(SIG_SETMASK, &q->before, NULL);
}

/* access is O_RDONLY or O_WRONLY. */
static int end_open(struct channel_end *e, int fd, int access)
{
	socklen_t len = sizeof(int);
	uint64_t bytes;
	int type;

	e->fd = fd;
	e->flags = fcntl(fd, F_GETFL);
	if (e->flags < 0)
		return -errno;
	if (e->flags & O_PATH || ((e->flags & O_ACCMODE) != O_RDWR &&
				  (e->flags & O_ACCMODE) != access))
		return -EBADF;
	if (fstat(fd, &e->st) < 0)
		return -errno;
	e->size = S_ISREG(e->st.st_mode) ? e->st.st_size : 0;
	if (S_ISBLK(e->st.st_mode) && !ioctl(fd, BLKGETSIZE64, &bytes))
		e->size = bytes;
	e->stream = S_ISSOCK(e->st.st_mode) &&
		    !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) &&
		    type == SOCK_STREAM;
	return 0;
}

static int transfer_begin(struct transfer *t, int file, int peer, bool to)
{
	int ret;

	if (t->pos < 0)
		return -EINVAL;
	if (t->count > SSIZE_MAX)
		t->count = SSIZE_MAX;
	ret = end_open(&t->file, file, to ? O_RDONLY : O_WRONLY);
	if (ret < 0)
		return ret;
	return end_open(&t->peer, peer, to ? O_WRONLY : O_RDONLY);
}

static ssize_t try_ways(const struct transfer *t,
			ssize_t (*const *ways)(const struct transfer *t))
{
	ssize_t ret = CHANNEL_NOT_SO;

	while (ret == CHANNEL_NOT_SO && *ways)
		ret = (*ways++)(t);
	return ret;
}

static ssize_t transfer_to(struct transfer *t)
{
	static ssize_t (*const ways[])(const struct transfer *t) = {
		channel_direct_to, channel_pool_to, channel_mapped_to,
		channel_copy_to, NULL,
	};

	if (t->pos > t->file.size)
		return 0;
	/* Files of /proc have bytes, and no size. */
	if (!t->file.size)
		return t->count ? channel_copy_to(t) : 0;
	if (t->count > (size_t)(t->file.size - t->pos))
		t->count = t->file.size - t->pos;
	return t->count ? try_ways(t, ways) : 0;
}

static ssize_t transfer_from(struct transfer *t)
{
	static ssize_t (*const ways[])(const struct transfer *t) = {
		channel_direct_from, channel_mapped_from, channel_copy_from,
		NULL,
	};

	return t->count ? try_ways(t, ways) : 0;
}

static ssize_t transfer(struct transfer *t, int file, int peer, bool to)
{
	int saved = errno;
	struct quiet q;
	ssize_t ret;

	ret = transfer_begin(t, file, peer, to);
	if (!ret) {
		quiet_begin(&q);
		ret = to ? transfer_to(t) : transfer_from(t);
		quiet_end(&q, ret < 0 || (size_t)ret < t->count);
	}
	errno = saved;
	return ret;
}

ssize_t fbuf_transfer_to(struct fbuf_heap *heap, int file, off_t pos,
			 size_t count, int target)
{
	struct transfer t = { .heap = heap, .pos = pos, .count = count };

	return transfer(&t, file, target, true);
}

ssize_t fbuf_transfer_from(struct fbuf_heap *heap, int file, off_t pos,
			   size_t count, int source)
{
	struct transfer t = { .heap = heap, .pos = pos, .count = count };

	return transfer(&t, file, source, false);
}
