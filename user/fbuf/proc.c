// SPDX-License-Identifier: GPL-2.0
/* What the sub-commands need that are several processes. */

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tool.h"

static void set_sockbuf(int fd, int size)
{
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

int tool_tcp_pair(int fd[2], int sockbuf)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	struct sockaddr *sa = (struct sockaddr *)&addr;
	socklen_t len = sizeof(addr);
	int listener, one = 1, err;

	fd[1] = -1;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0)
		return -errno;
	fd[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sockbuf && fd[0] >= 0) {
		set_sockbuf(listener, sockbuf);	/* accepted ones inherit it */
		set_sockbuf(fd[0], sockbuf);
	}
	if (fd[0] >= 0 && !bind(listener, sa, len) && !listen(listener, 1) &&
	    !getsockname(listener, sa, &len) && !connect(fd[0], sa, len))
		fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	err = fd[1] < 0 || setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one,
				      sizeof(one)) ? -errno : 0;
	close(listener);
	if (err && fd[0] >= 0)
		close(fd[0]);
	if (err && fd[1] >= 0)
		close(fd[1]);
	return err;
}

int tool_pool_create_flags(struct fbuf_pool **pool, size_t buf_size,
			   unsigned int nr_bufs, unsigned int flags)
{
	int fd = tool_pool_fd(buf_size, nr_bufs, flags), ret;

	if (fd < 0)
		return fd;
	ret = fbuf_pool_open(pool, fd);
	if (ret < 0) {
		tool_err("Cannot map the pool: %s.", strerror(-ret));
		close(fd);
	}
	return ret;
}

void tool_die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* It may have died before. */
	if (getppid() != parent)
		_exit(TOOL_FAIL);
}
