// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools for other processes: handles of their own, and the way there. */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "lib.h"

int fbuf_pool_share_flags(struct fbuf_pool *pool, unsigned int rights,
			  unsigned int max_holds, unsigned int flags,
			  unsigned int *handle)
{
	struct fbuf_share share = {
		.size = sizeof(share),
		.flags = flags,
		.rights = rights,
		.max_holds = max_holds,
	};
	int fd = lib_call(pool, FBUF_IOC_SHARE, &share);

	if (fd >= 0 && handle)
		*handle = share.handle;
	return fd;
}

int fbuf_pool_share(struct fbuf_pool *pool, unsigned int rights,
		    unsigned int max_holds, unsigned int *handle)
{
	return fbuf_pool_share_flags(pool, rights, max_holds, 0, handle);
}

/* A message of one byte, because a stream carries none without; and one fd. */
struct fd_message {
	struct msghdr head;
	struct iovec iov;
	char byte;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
};

static struct cmsghdr *fd_message(struct fd_message *m)
{
	memset(m, 0, sizeof(*m));
	m->iov.iov_base = &m->byte;
	m->iov.iov_len = sizeof(m->byte);
	m->head.msg_iov = &m->iov;
	m->head.msg_iovlen = 1;
	m->head.msg_control = &m->control;
	/* Not CMSG_SPACE(), which has room for a second one. */
	m->head.msg_controllen = CMSG_LEN(sizeof(int));
	return CMSG_FIRSTHDR(&m->head);
}

int fbuf_pool_fd_send(int sock, int fd)
{
	struct fd_message m;
	struct cmsghdr *c = fd_message(&m);
	int saved = errno, ret = 0;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(sock, &m.head, MSG_NOSIGNAL) < 0)
		ret = -errno;
	errno = saved;
	return ret;
}

int fbuf_pool_fd_recv(int sock)
{
	struct fd_message m;
	int saved = errno, fd = -1;
	struct cmsghdr *c;
	ssize_t n;

	fd_message(&m);
	n = recvmsg(sock, &m.head, MSG_CMSG_CLOEXEC);
	if (n < 0) {
		fd = -errno;
		errno = saved;
		return fd;
	}
	c = CMSG_FIRSTHDR(&m.head);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(fd)))
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	if (fd >= 0 && !(m.head.msg_flags & MSG_CTRUNC))
		return fd;
	if (fd >= 0)
		lib_close(fd);
	return n ? -EBADMSG : -ENODATA;
}
