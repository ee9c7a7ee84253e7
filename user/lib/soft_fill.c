// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools without the module: buffers filled from files and sockets. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "soft.h"

#define FILL_FLAGS	(FBUF_FILL_DIRECT | FBUF_FILL_POS |		\
			 FBUF_FILL_DONTWAIT | FBUF_FILL_ALL)

struct soft_file {
	const struct fbuf_fill *args;
	char *to;
	int fd;			/* to read from, ours if it is not the caller's */
	bool socket;
};

static int fill_check(const struct soft_handle *h,
		      const struct fbuf_fill *args)
{
	uint32_t size = h->pool->buf_size;

	if (!(h->rights & FBUF_RIGHT_WRITE))
		return -EACCES;
	if (args->flags & ~FILL_FLAGS || !args->len || args->offset >= size ||
	    args->len > size - args->offset)
		return -EINVAL;
	if (args->flags & FBUF_FILL_POS ? args->pos > INT64_MAX : args->pos)
		return -EINVAL;
	if (args->ahead > FBUF_AHEAD_MAX ||
	    (args->ahead &&
	     args->flags & (FBUF_FILL_DIRECT | FBUF_FILL_DONTWAIT)))
		return -EINVAL;
	return 0;
}

/* Past the page cache: another file, as the flags of the caller's are his. */
static int file_direct(struct soft_file *f, int flags)
{
	char path[32];

	if (!(f->args->flags & FBUF_FILL_DIRECT) || flags & O_DIRECT)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->args->fd);
	f->fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (f->fd >= 0)
		return 0;
	return errno == EMFILE || errno == ENFILE || errno == ENOMEM ?
	       -errno : -EOPNOTSUPP;
}

static int file_get(struct soft_file *f, const struct soft_handle *h)
{
	const struct fbuf_fill *args = f->args;
	int flags = fcntl(args->fd, F_GETFL);
	struct stat st;
	bool on_disk;

	if (flags < 0)
		return -errno;
	if (soft_is_own_fd(h, args->fd))
		return -EINVAL;
	if ((flags & O_ACCMODE) == O_WRONLY || flags & O_PATH)
		return -EBADF;
	if (fstat(args->fd, &st))
		return -errno;
	f->socket = S_ISSOCK(st.st_mode);
	on_disk = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (args->flags & FBUF_FILL_POS &&
	    lseek(args->fd, 0, SEEK_CUR) < 0 && errno == ESPIPE)
		return -ESPIPE;
	if (args->flags & FBUF_FILL_DIRECT && !on_disk)
		return -EOPNOTSUPP;
	if (args->ahead && (flags & O_DIRECT || !on_disk))
		return -EINVAL;
	return file_direct(f, flags);
}

/* Bytes from done on, by one call. */
static ssize_t file_read(const struct soft_file *f, size_t done)
{
	const struct fbuf_fill *args = f->args;
	bool waits = !(args->flags & FBUF_FILL_DONTWAIT);
	struct iovec iov = { f->to + done, args->len - done };
	off_t pos = -1;
	ssize_t ret;

	if (f->socket) {
		ret = recv(f->fd, iov.iov_base, iov.iov_len,
			   (waits ? 0 : MSG_DONTWAIT) |
			   (args->flags & FBUF_FILL_ALL ? MSG_WAITALL : 0));
		return ret < 0 ? -errno : ret;
	}
	if (args->flags & FBUF_FILL_POS)
		pos = args->pos + done;
	else if (f->fd != args->fd)
		pos = lseek(args->fd, 0, SEEK_CUR);
	ret = preadv2(f->fd, &iov, 1, pos, waits ? 0 : RWF_NOWAIT);
	if (ret < 0)
		return -errno;
	/* Ours has a position of its own. */
	if (f->fd != args->fd && !(args->flags & FBUF_FILL_POS))
		lseek(args->fd, ret, SEEK_CUR);
	return ret;
}

static ssize_t file_read_all(const struct soft_file *f)
{
	ssize_t ret, done = 0;

	do {
		ret = file_read(f, done);
		if (ret <= 0)
			break;
		done += ret;
	} while (f->args->flags & FBUF_FILL_ALL && !f->socket &&
		 done < (ssize_t)f->args->len);
	return done ? done : ret;
}

static void file_read_ahead(const struct soft_file *f, ssize_t done)
{
	off_t pos;

	if (!f->args->ahead || done <= 0)
		return;
	pos = f->args->flags & FBUF_FILL_POS ? (off_t)f->args->pos + done :
					       lseek(f->fd, 0, SEEK_CUR);
	posix_fadvise(f->fd, pos, f->args->ahead, POSIX_FADV_WILLNEED);
}

/* The pool is locked. What is secured is waited for, as a write would. */
static int64_t buf_take(struct soft_handle *h, const struct fbuf_fill *args)
{
	struct soft_pool *p = h->pool;
	struct soft_deadline d;
	int64_t index;
	int err = 0;

	soft_deadline(&d, -1);
	for (;;) {
		index = soft_buf_check(h, args->name);
		if (index < 0 || !p->bufs[index].secured)
			break;
		if (args->flags & FBUF_FILL_DONTWAIT ||
		    p->flags & FBUF_POOL_SIGBUS)
			return -EBUSY;
		if (err)
			return err;
		err = soft_sleep(p, &d);
	}
	if (index < 0)
		return index;
	soft_fly(p, index);
	p->bufs[index].fills++;
	return index;
}

static void buf_put(struct soft_pool *p, uint32_t index, ssize_t ret)
{
	soft_lock(p);
	p->bufs[index].fills--;
	soft_land(p, index);
	if (ret >= 0) {
		p->fills++;
		p->filled += ret;
	}
	soft_told(p);
	soft_unlock(p);
}

int soft_fill(struct soft_handle *h, const struct fbuf_fill *args)
{
	struct soft_pool *p = h->pool;
	struct soft_file f = { .args = args, .fd = args->fd };
	int64_t index;
	ssize_t ret;

	ret = fill_check(h, args);
	if (ret < 0)
		return ret;
	ret = file_get(&f, h);
	if (ret < 0)
		return ret;
	soft_lock(p);
	index = buf_take(h, args);
	soft_unlock(p);
	ret = index;
	if (index >= 0) {
		f.to = soft_addr(p, index) + args->offset;
		ret = file_read_all(&f);
		file_read_ahead(&f, ret);
		buf_put(p, index, ret);
	}
	if (f.fd != args->fd)
		close(f.fd);
	return ret;
}
