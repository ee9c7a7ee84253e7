// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Transfers by user memory. A mapping saves the copy out of the file, and costs page
 * faults: not for little. What is written from a mapping that another cuts short is
 * EFAULT and no signal, as it is the kernel that reads.
 */

#include <sys/mman.h>
#include <unistd.h>

#include "channel.h"

/* The JDK's figures. */
#define MAPPED_MIN	((size_t)16 << 10)
#define MAPPED_PIECE	((size_t)8 << 20)
#define COPY_PIECE	((size_t)8192)

struct piece {
	void *map;
	size_t size;
	const char *data;
	size_t len;
};

static int piece_map(struct piece *p, int fd, off_t pos, size_t left)
{
	size_t skip = pos & (sysconf(_SC_PAGESIZE) - 1);

	p->len = left < MAPPED_PIECE ? left : MAPPED_PIECE;
	p->size = skip + p->len;
	p->map = mmap(NULL, p->size, PROT_READ, MAP_SHARED, fd, pos - skip);
	if (p->map == MAP_FAILED)
		return -errno;
	p->data = (const char *)p->map + skip;
	return 0;
}

/* read() or pread(), write() or pwrite(): with a pos of -1 the fd's own. */
static ssize_t copy_in(const struct transfer *t, int fd, char *buf, size_t len,
		       off_t pos)
{
	ssize_t ret;

	do {
		ret = pos < 0 ? read(fd, buf, len) : pread(fd, buf, len, pos);
		if (ret >= 0)
			return ret;
		if (errno == EAGAIN)
			return 0;
		ret = transfer_again(t, errno);
	} while (!ret);
	return ret;
}

static ssize_t copy_out(const struct transfer *t, int fd, const char *buf,
			size_t len, off_t pos)
{
	ssize_t ret;

	do {
		ret = pos < 0 ? write(fd, buf, len) :
				pwrite(fd, buf, len, pos);
		if (ret >= 0)
			return ret;
		if (errno == EAGAIN)
			return 0;
		ret = transfer_again(t, errno);
	} while (!ret);
	return ret;
}

/* Write a piece of a file, from at on; pos is as above. */
static ssize_t piece_write(const struct transfer *t, int from, off_t at,
			   size_t left, int to, off_t pos)
{
	struct piece p = { 0 };
	ssize_t ret;

	ret = piece_map(&p, from, at, left);
	if (ret < 0)
		return ret;
	ret = copy_out(t, to, p.data, p.len, pos);
	munmap(p.map, p.size);
	return ret;
}

/* A file that cannot be mapped, or has become shorter, can still be read. */
static ssize_t mapped_result(size_t done, ssize_t err)
{
	if (err == -EFAULT || err == -ENODEV || err == -EACCES ||
	    err == -ENOMEM || err == -EPERM)
		err = CHANNEL_NOT_SO;
	return transfer_result(done, err);
}

ssize_t channel_mapped_to(const struct transfer *t)
{
	bool waits_for_room = S_ISSOCK(t->peer.st.st_mode) ||
			      S_ISFIFO(t->peer.st.st_mode);
	size_t done = 0;
	ssize_t ret;

	if (!channel_is_open(CHANNEL_MAPPED) || t->count < MAPPED_MIN)
		return CHANNEL_NOT_SO;
	while (done < t->count) {
		ret = piece_write(t, t->file.fd, t->pos + done,
				  t->count - done, t->peer.fd, -1);
		if (ret < 0)
			return mapped_result(done, ret);
		done += ret;
		if (!ret || waits_for_room ||
		    (done < t->count && !transfer_stays(t)))
			break;
	}
	return done;
}

ssize_t channel_mapped_from(const struct transfer *t)
{
	size_t max = t->count, done = 0;
	ssize_t ret = 0;
	off_t at;

	if (!channel_is_open(CHANNEL_MAPPED) || t->count < MAPPED_MIN ||
	    !t->peer.size)
		return CHANNEL_NOT_SO;
	at = lseek(t->peer.fd, 0, SEEK_CUR);
	if (at < 0)
		return CHANNEL_NOT_SO;
	if (at >= t->peer.size)
		return 0;
	if (max > (size_t)(t->peer.size - at))
		max = t->peer.size - at;
	while (done < max) {
		ret = piece_write(t, t->peer.fd, at + done, max - done,
				  t->file.fd, t->pos + done);
		if (ret <= 0)
			break;
		done += ret;
		if (done < max && !transfer_stays(t))
			break;
	}
	if (done && transfer_stays(t))
		lseek(t->peer.fd, at + done, SEEK_SET);
	return mapped_result(done, ret < 0 ? ret : 0);
}

static size_t copy_len(const struct transfer *t, size_t done)
{
	return t->count - done < COPY_PIECE ? t->count - done : COPY_PIECE;
}

ssize_t channel_copy_to(const struct transfer *t)
{
	ssize_t got, ret = 0;
	char buf[COPY_PIECE];
	size_t done = 0;

	while (done < t->count) {
		got = copy_in(t, t->file.fd, buf, copy_len(t, done),
			      t->pos + done);
		if (got <= 0)
			return transfer_result(done, got);
		ret = copy_out(t, t->peer.fd, buf, got, -1);
		if (ret < 0)
			break;
		done += ret;
		if (ret < got || (done < t->count && !transfer_stays(t)))
			break;
	}
	return transfer_result(done, ret < 0 ? ret : 0);
}

/*
 * What the file did not take is put back, where the source is a file. Of a stream it
 * is lost.
 */
static void put_back(const struct transfer *t, size_t len)
{
	if (len && t->peer.size && channel_stays(&t->peer))
		lseek(t->peer.fd, -(off_t)len, SEEK_CUR);
}

/* The source may have waited for long. */
ssize_t channel_copy_from(const struct transfer *t)
{
	ssize_t got, ret = 0;
	char buf[COPY_PIECE];
	size_t done = 0;

	while (done < t->count) {
		got = copy_in(t, t->peer.fd, buf, copy_len(t, done), -1);
		if (got <= 0)
			return transfer_result(done, got);
		ret = -EBADF;
		if (channel_stays(&t->file))
			ret = copy_out(t, t->file.fd, buf, got, t->pos + done);
		put_back(t, got - (ret > 0 ? ret : 0));
		if (ret < 0)
			break;
		done += ret;
		if (ret < got ||
		    (done < t->count && !channel_stays(&t->peer)))
			break;
	}
	return transfer_result(done, ret < 0 ? ret : 0);
}
