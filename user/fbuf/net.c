// SPDX-License-Identifier: GPL-2.0
/* TCP sockets for the sub-commands. */

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tool.h"

static struct addrinfo *look_up(int family, const char *host, const char *port,
				int flags)
{
	struct addrinfo hints = {
		.ai_family = family,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = flags,
	};
	struct addrinfo *list;
	int ret = getaddrinfo(host, port, &hints, &list);

	if (ret) {
		tool_err("Cannot resolve %s port %s: %s.",
			 host ? host : "any address", port,
			 ret == EAI_SYSTEM ? strerror(errno) :
					     gai_strerror(ret));
		return NULL;
	}
	return list;
}

int tool_connect(int family, const char *host, const char *port)
{
	struct addrinfo *list = look_up(family, host, port, 0);
	struct addrinfo *ai;
	int fd = -1, err = 0;

	if (!list)
		return -1;
	for (ai = list; ai; ai = ai->ai_next) {
		fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
			break;
		err = errno;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	if (fd < 0)
		tool_err("Cannot connect to %s port %s: %s.", host, port,
			 strerror(err));
	return fd;
}

static int listen_on(const struct addrinfo *ai, int only6)
{
	int on = 1;
	int fd;

	fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* Unless told not to, an IPv6 wildcard socket takes IPv4 too. */
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only6,
			   sizeof(only6));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, 1) == 0)
		return fd;
	close(fd);
	return -1;
}

static unsigned int bound_port(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return 0;
	/* getsockname() wrote it. */
	/* NOLINTNEXTLINE(clang-analyzer-core.UndefinedBinaryOperatorResult) */
	if (ss.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
	return ntohs(((struct sockaddr_in *)&ss)->sin_port);
}

int tool_listen(int family, const char *addr, const char *port,
		unsigned int *bound)
{
	struct addrinfo *list = look_up(family, addr, port, AI_PASSIVE);
	struct addrinfo *ai;
	int pass, first, err = EAFNOSUPPORT;
	int fd = -1;

	if (!list)
		return -1;
	/* IPv6 first: one socket then serves both. */
	for (pass = 0; pass < 2 && fd < 0; pass++) {
		for (ai = list; ai && fd < 0; ai = ai->ai_next) {
			first = ai->ai_family == AF_INET6;
			if (first == pass)
				continue;
			fd = listen_on(ai, family == AF_INET6);
			if (fd < 0)
				err = errno;
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		tool_err("Cannot listen on port %s: %s.", port, strerror(err));
	else
		*bound = bound_port(fd);
	return fd;
}
