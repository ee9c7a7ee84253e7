// SPDX-License-Identifier: GPL-2.0
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kselftest.h"

#include "bed.h"
#include "util.h"

#define NEAR	"/run/netns/near"
#define FAR	"/run/netns/far"
#define FAR4	"192.0.2.2"
#define FAR6	"2001:db8::2"
#define NIC	"nic"

static int netns_enter(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	int err = 0;

	if (fd < 0 || setns(fd, CLONE_NEWNET))
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* A socket keeps the namespace that it was opened in. */
static int bed_socket(const char *path, int family, int type)
{
	int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int sock;

	if (home < 0)
		return -errno;
	sock = netns_enter(path);
	if (!sock)
		sock = socket(family, type | SOCK_CLOEXEC, 0);
	if (sock < 0)
		sock = -errno;
	if (setns(home, CLONE_NEWNET))
		abort();
	close(home);
	return sock;
}

static socklen_t far_address(int family, struct sockaddr_storage *addr)
{
	struct sockaddr_in6 *in6 = (void *)addr;
	struct sockaddr_in *in = (void *)addr;

	memset(addr, 0, sizeof(*addr));
	addr->ss_family = family;
	if (family == AF_INET6) {
		inet_pton(AF_INET6, FAR6, &in6->sin6_addr);
		return sizeof(*in6);
	}
	inet_pton(AF_INET, FAR4, &in->sin_addr);
	return sizeof(*in);
}

/* @listener is bound; for a datagram socket it is the other end itself. */
static int pair_connect(int listener, int type, int fd[2])
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	int one = 1;

	if (getsockname(listener, (void *)&addr, &len) ||
	    (type == SOCK_STREAM && listen(listener, 1)) ||
	    connect(fd[0], (void *)&addr, len))
		return -errno;
	if (type == SOCK_DGRAM) {
		fd[1] = dup(listener);
	} else {
		fd[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	return fd[1] < 0 ? -errno : 0;
}

int bed_pair(int family, int type, int fd[2])
{
	int listener = bed_socket(FAR, family, type);
	struct sockaddr_storage addr;
	socklen_t len = far_address(family, &addr);
	int err;

	fd[0] = bed_socket(NEAR, family, type);
	fd[1] = -1;
	if (fd[0] < 0 || listener < 0)
		err = -ENETUNREACH;
	else if (bind(listener, (void *)&addr, len))
		err = -errno;
	else
		err = pair_connect(listener, type, fd);
	if (listener >= 0)
		close(listener);
	if (err && fd[0] >= 0)
		close(fd[0]);
	return err;
}

bool bed_has_sg(void)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GSG };
	struct ifreq ifr = { .ifr_name = NIC, .ifr_data = (void *)&value };
	int sock = bed_socket(NEAR, AF_INET, SOCK_DGRAM);
	int err = ioctl(sock, SIOCETHTOOL, &ifr);

	close(sock);
	return !err && value.data;
}

int bed_netem(const char *words)
{
	static const char tc[] = "ip netns exec near tc qdisc";
	char command[256];

	/* Before it is the first of its kind, to have it loaded. */
	if (system("modprobe -q sch_netem"))
		ksft_print_msg("no module sch_netem: it may be built in\n");
	snprintf(command, sizeof(command), "%s %s dev " NIC " root %s %s", tc,
		 words ? "replace" : "del", words ? "netem" : "", words ?: "");
	return system(command) ? -EINVAL : 0;
}

void need_bed(int argc, char **argv)
{
	/* Lists and help need none. */
	if (argc > 1 && (!strcmp(argv[1], "-l") || !strcmp(argv[1], "-h")))
		return;
	if (!access(NEAR, F_OK) && !access(FAR, F_OK))
		return;
	ksft_print_header();
	ksft_exit_skip("no two NICs in namespaces near and far (see vm/guest-nic)\n");
}
