// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets of all kinds, connected. Those between namespaces are from left to
 * right, which the guest's script made, with a link for each kind of path.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "soak.h"

/* Where each path's link is: 10.0.LINK.1 on the left, .2 on the right. */
static const int links[NR_PATHS] = {
	[P_VETH] = 1,
	[P_VETH_TLS] = 1,
	[P_VETH_UDP] = 1,
	[P_MTU] = 2,
	[P_MTU_UDP] = 2,
	[P_LOSSY] = 3,
	[P_LOSSY_UDP] = 3,
	[P_GCM] = 4,
	[P_GCM_UDP] = 4,
	[P_CBC] = 5,
	[P_CBC_UDP] = 5,
	[P_DOOMED] = 6,
};

static int home = -1, left = -1, right = -1;
static bool no_sockmap;

void paths_open(void)
{
	no_sockmap = sockmap_add(-1) == -ENOSYS;
	home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	left = open("/run/netns/left", O_RDONLY | O_CLOEXEC);
	right = open("/run/netns/right", O_RDONLY | O_CLOEXEC);
	if (left < 0 || right < 0)
		fail("no namespaces left and right: guest-soak makes them");
}

bool path_there(enum path path)
{
	return path != P_SOCKMAP || !no_sockmap;
}

bool path_udp(enum path path)
{
	return path == P_UDP || path == P_VETH_UDP || path == P_MTU_UDP ||
	       path == P_LOSSY_UDP || path == P_GCM_UDP || path == P_CBC_UDP;
}

bool path_loses(enum path path)
{
	return path >= P_VETH;
}

static int socket_in(int ns, int type)
{
	int fd;

	if (setns(ns, CLONE_NEWNET))
		return -errno;
	fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	fd = fd < 0 ? -errno : fd;
	if (setns(home, CLONE_NEWNET))
		fail("no way back from a namespace");
	return fd;
}

static struct sockaddr_in address(int link, int host)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(0x0a000000 | link << 8 | host),
	};

	return addr;
}

/* Its link may be down just now. */
static int connect_soon(int fd, const struct sockaddr_in *addr)
{
	long end = now_ms() + 20000 * soak->slower;

	while (connect(fd, (const void *)addr, sizeof(*addr))) {
		if (errno != ENETUNREACH && errno != EHOSTUNREACH &&
		    errno != ETIMEDOUT && errno != ENETDOWN)
			return -errno;
		if (!time_left(end) || stopped())
			return -ETIMEDOUT;
	}
	return 0;
}

static int accept_one(int lsock)
{
	struct timeval limit = { .tv_sec = 20 * soak->slower };
	int fd;

	setsockopt(lsock, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	fd = accept4(lsock, NULL, NULL, SOCK_CLOEXEC);
	return fd < 0 ? -ETIMEDOUT : fd;
}

static int udp_across(int fd[2], int link, int near, int far)
{
	struct sockaddr_in addr = address(link, 2);
	socklen_t len = sizeof(addr);
	int size = 1 << 20;

	fd[1] = socket_in(far, SOCK_DGRAM);
	fd[0] = socket_in(near, SOCK_DGRAM);
	if (fd[0] < 0 || fd[1] < 0)
		return -ENOBUFS;
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	setsockopt(fd[1], SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(fd[1], (void *)&addr, len) ||
	    getsockname(fd[1], (void *)&addr, &len))
		return -errno;
	return connect_soon(fd[0], &addr);
}

static int tcp_across(int fd[2], int link, int near, int far)
{
	struct sockaddr_in addr = address(link, 2);
	socklen_t len = sizeof(addr);
	int lsock, err;

	fd[1] = -1;
	fd[0] = socket_in(near, SOCK_STREAM);
	lsock = socket_in(far, SOCK_STREAM);
	if (fd[0] < 0 || lsock < 0)
		return -ENOBUFS;
	if (bind(lsock, (void *)&addr, len) || listen(lsock, 1) ||
	    getsockname(lsock, (void *)&addr, &len)) {
		err = -errno;
	} else {
		err = connect_soon(fd[0], &addr);
		if (!err)
			fd[1] = accept_one(lsock);
		if (!err && fd[1] < 0)
			err = fd[1];
	}
	close(lsock);
	return err;
}

static int tls_both(const int fd[2])
{
	int err = tls_attach(fd[0], true);

	return err ? err : tls_attach(fd[1], false);
}

int path_pair(enum path path, int fd[2], int near, int far)
{
	int err, one = 1;

	if (path != P_DOOMED) {
		near = left;
		far = right;
	}
	switch (path) {
	case P_LO:
		return tcp_pair(AF_INET, fd);
	case P_LO6:
		return tcp_pair(AF_INET6, fd);
	case P_UNIX:
		return sock_pair(AF_UNIX, SOCK_STREAM, fd);
	case P_SEQPACKET:
		return sock_pair(AF_UNIX, SOCK_SEQPACKET, fd);
	case P_TLS:
		return tls_pair(fd);
	case P_SOCKMAP:
		err = tcp_pair(AF_INET, fd);
		return err ? err : sockmap_add(fd[1]);
	case P_UDP:
		return udp_pair(AF_INET, fd);
	default:
		break;
	}
	if (path_udp(path))
		return udp_across(fd, links[path], near, far);
	err = tcp_across(fd, links[path], near, far);
	if (err)
		return err;
	setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return path == P_VETH_TLS ? tls_both(fd) : 0;
}
