// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Transfers that the kernel does by one call, without user memory. What it refuses
 * in this case goes another way.
 */

#include <sys/sendfile.h>
#include <unistd.h>

#include "channel.h"

/* The kernel moves no more in a call. */
#define DIRECT_MAX	((size_t)0x7ffff000)

static size_t direct_count(const struct transfer *t, size_t done)
{
	return t->count - done < DIRECT_MAX ? t->count - done : DIRECT_MAX;
}

/* Errors that say that it cannot be had: not of this fd, or not at all. */
static bool refused(int err)
{
	return err == EINVAL || err == ENOSYS || err == EXDEV ||
	       err == EOPNOTSUPP;
}

/* From one file to another, each from its own position or one that is given. */
static ssize_t copy_range(const struct transfer *t, int in, off_t *in_pos,
			  int out, off_t *out_pos)
{
	ssize_t ret;

	if (!channel_is_open(CHANNEL_RANGE))
		return CHANNEL_NOT_SO;
	do {
		ret = copy_file_range(in, in_pos, out, out_pos,
				      direct_count(t, 0), 0);
		if (ret >= 0)
			return ret;
		if (errno == ENOSYS)
			channel_close_way(CHANNEL_RANGE);
		if (refused(errno))
			return CHANNEL_NOT_SO;
		if (errno == EAGAIN)
			return 0;
		ret = transfer_again(t, errno);
	} while (!ret);
	return ret;
}

static ssize_t send_file(const struct transfer *t)
{
	off_t pos = t->pos;
	ssize_t ret;

	do {
		ret = sendfile(t->peer.fd, t->file.fd, &pos, direct_count(t, 0));
		if (ret >= 0)
			return ret;
		if (errno == ENOSYS)
			channel_close_way(CHANNEL_DIRECT);
		if (errno == EINVAL || errno == ENOSYS)
			return CHANNEL_NOT_SO;
		if (errno == EAGAIN)
			return 0;
		ret = transfer_again(t, errno);
	} while (!ret);
	return ret;
}

/* Neither call takes a target that is opened to append. */
ssize_t channel_direct_to(const struct transfer *t)
{
	ssize_t ret = CHANNEL_NOT_SO;
	off_t pos = t->pos;

	if (!channel_is_open(CHANNEL_DIRECT) || t->peer.flags & O_APPEND)
		return CHANNEL_NOT_SO;
	/* Of a datagram sendfile() makes many. */
	if (S_ISSOCK(t->peer.st.st_mode) && !t->peer.stream)
		return CHANNEL_NOT_SO;
	if (S_ISREG(t->peer.st.st_mode))
		ret = copy_range(t, t->file.fd, &pos, t->peer.fd, NULL);
	return ret == CHANNEL_NOT_SO ? send_file(t) : ret;
}

/* Until the pipe ends, or has no more now; what was not written stays in it. */
static ssize_t splice_from(const struct transfer *t)
{
	unsigned int flags = t->peer.flags & O_NONBLOCK ? SPLICE_F_NONBLOCK : 0;
	off_t pos = t->pos;
	size_t done = 0;
	ssize_t ret = 0;

	while (done < t->count) {
		ret = splice(t->peer.fd, NULL, t->file.fd, &pos,
			     direct_count(t, done), flags);
		if (ret > 0) {
			done += ret;
			if (done < t->count && !transfer_stays(t))
				return done;
			continue;
		}
		if (!ret || errno == EAGAIN)
			return done;
		if (errno == EINVAL || errno == ENOSYS)
			return transfer_result(done, CHANNEL_NOT_SO);
		ret = transfer_again(t, errno);
		if (ret < 0)
			break;
	}
	return transfer_result(done, ret);
}

ssize_t channel_direct_from(const struct transfer *t)
{
	off_t pos = t->pos;
	ssize_t ret;

	if (!channel_is_open(CHANNEL_DIRECT) || t->file.flags & O_APPEND)
		return CHANNEL_NOT_SO;
	if (S_ISFIFO(t->peer.st.st_mode))
		return splice_from(t);
	/* A file of /proc has bytes, and no size. */
	if (!t->peer.size)
		return CHANNEL_NOT_SO;
	ret = copy_range(t, t->peer.fd, NULL, t->file.fd, &pos);
	/* What the descriptors cannot do was looked at before. */
	return ret == -EBADF && transfer_stays(t) ? CHANNEL_NOT_SO : ret;
}
