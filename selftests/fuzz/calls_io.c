// SPDX-License-Identifier: GPL-2.0
/* Sockets, files, pipes, and what moves bytes between them and pools. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#include "fuzz.h"
#include "util.h"

static int vsock_pair(int fd[2])
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_LOCAL,
		.svm_port = VMADDR_PORT_ANY,
	};
	socklen_t len = sizeof(addr);
	int lsock = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fd[0] = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fd[1] = -1;
	if (!bind(lsock, (void *)&addr, len) && !listen(lsock, 1) &&
	    !getsockname(lsock, (void *)&addr, &len) &&
	    !connect(fd[0], (void *)&addr, len))
		fd[1] = accept4(lsock, NULL, NULL, SOCK_CLOEXEC);
	close(lsock);
	return fd[1] < 0 ? -1 : 0;
}

/* Each process keeps what it listens on, which saves half of what a pair costs. */
static int tcp_fast(int family, int fd[2])
{
	static struct {
		int sock;
		struct sockaddr_storage addr;
		socklen_t len;	/* 0: none yet */
	} listener[2], *l;

	l = &listener[family == AF_INET6];
	if (!l->len) {
		struct sockaddr_in6 any = { .sin6_family = family };

		l->sock = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (bind(l->sock, (void *)&any, family == AF_INET ?
			 sizeof(struct sockaddr_in) : sizeof(any)) ||
		    listen(l->sock, 8))
			return -1;
		l->len = sizeof(l->addr);
		getsockname(l->sock, (void *)&l->addr, &l->len);
	}
	fd[0] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* An address of zeros is this machine. */
	if (connect(fd[0], (void *)&l->addr, l->len)) {
		close(fd[0]);
		return -1;
	}
	fd[1] = accept4(l->sock, NULL, NULL, SOCK_CLOEXEC);
	return 0;
}

/* Those that cost much come seldom. */
static int pair_make(__u32 a, int fd[2])
{
	switch (a % 16) {
	case 0:
	case 1:
	case 2:
		return tcp_fast(AF_INET, fd);
	case 3:
		return tcp_fast(AF_INET6, fd);
	case 4:
	case 5:
		return udp_pair(AF_INET, fd);
	case 6:
		return udp_pair(AF_INET6, fd);
	case 7:
		return socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd);
	case 8:
		return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fd);
	case 9:
		return tls_pair(fd);
	case 10:
		return vsock_pair(fd);
	case 11:
		fd[1] = -1;
		fd[0] = socket(a & 16 ? AF_INET : AF_INET6,
			       a & 32 ? SOCK_STREAM : SOCK_DGRAM, 0);
		return 0;
	case 12:
		fd[1] = -1;
		fd[0] = socket(AF_NETLINK, SOCK_RAW, a / 16 % 20);
		return 0;
	default:
		return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd);
	}
}

static long call_sock(struct actor *me, const __u32 *a)
{
	int fd[2] = { -1, -1 };
	long ret = pair_make(a[0], fd);

	if (ret)
		return ret;
	if (a[1] & 1 && fd[1] >= 0)
		sock_small(fd);
	if (a[1] & 2)
		fcntl(fd[0], F_SETFL, O_NONBLOCK);
	res_add(me->run, fd[0], K_SOCK);
	res_add(me->run, fd[1], K_SOCK);
	return 0;
}

static int memfd_full(void)
{
	int fd = memfd_create("full", MFD_CLOEXEC);

	return fd < 0 || ftruncate(fd, 64 * PAGE) ? -1 : fd;
}

static long call_file(struct actor *me, const __u32 *a)
{
	struct run *r = me->run;
	int fd[2];

	switch (a[0] % 10) {
	case 0:
		return res_add(r, memfd_full(), K_FILE);
	case 1:
		if (pipe2(fd, O_CLOEXEC | (a[1] & 1 ? O_NONBLOCK : 0)))
			return -1;
		if (a[1] & 2)
			fcntl(fd[0], F_SETPIPE_SZ, PAGE);
		res_add(r, fd[0], K_PIPE);
		return res_add(r, fd[1], K_PIPE);
	case 2:
		return res_add(r, open("/dev/zero", O_RDWR | O_CLOEXEC), K_FILE);
	case 3:
		return res_add(r, open("/dev/ram0", O_RDWR | O_DIRECT | O_CLOEXEC),
			       K_FILE);
	case 4:
		return res_add(r, open("/dev/ram0", O_RDWR | O_CLOEXEC), K_FILE);
	case 5:
		return res_add(r, open("/proc/self/smaps", O_RDONLY | O_CLOEXEC),
			       K_FILE);
	case 6:
		return res_add(r, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
			       K_EVENT);
	case 7:
		return res_add(r, epoll_create1(EPOLL_CLOEXEC), K_EPOLL);
	case 8:
		return res_add(r, timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC),
			       K_EVENT);
	default:
		return res_add(r, open("/tmp", O_RDWR | O_TMPFILE | O_CLOEXEC |
				       (a[1] & 1 ? O_DIRECT : 0), 0600), K_FILE);
	}
}

static long call_close(struct actor *me, const __u32 *a)
{
	res_close(me->run, a[0]);
	return 0;
}

static long call_dup(struct actor *me, const __u32 *a)
{
	struct handle *h = handle_pick(me->run, a[0]);
	int fd;

	if (!h)
		return -1;
	fd = fcntl(h->fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -1;
	handle_add(me->run, fd, h)->id = h->id;
	return 0;
}

static loff_t *offset(struct actor *me, __u32 a)
{
	loff_t *at;

	if (!a)
		return NULL;
	at = scratch(me, sizeof(*at));
	*at = a & WILD ? (loff_t)a << 12 : (loff_t)a * 64;
	return at;
}

static unsigned int splice_flags(__u32 a)
{
	return a & 16 ? a & 15 : (a & 15) | SPLICE_F_NONBLOCK;
}

static long call_splice(struct actor *me, const __u32 *a)
{
	int in = res_fd(me->run, a[0] & 8 ? K_PIPE : K_POOL, a[0]);
	int out = res_fd(me->run, a[0] & 16 ? K_SOCK | K_FILE : K_PIPE, a[1]);

	return splice(in, offset(me, a[2]), out, NULL, count_of(a[3], 1U << 17),
		      splice_flags(a[4]));
}

static long call_tee(struct actor *me, const __u32 *a)
{
	return tee(res_fd(me->run, K_PIPE, a[0]), res_fd(me->run, K_PIPE, a[1]),
		   count_of(a[2], 1U << 17), splice_flags(a[3]));
}

static long call_sendfile(struct actor *me, const __u32 *a)
{
	int in = res_fd(me->run, a[0] & 16 ? K_FILE : K_POOL, a[0]);

	return sendfile(res_fd(me->run, K_SOCK | K_PIPE, a[1]), in,
			offset(me, a[2]), count_of(a[3], 1U << 18));
}

/* Of the pool fd itself, by its position. */
static long call_rw(struct actor *me, const __u32 *a)
{
	int fd = res_fd(me->run, a[0] & 16 ? K_FILE | K_PIPE | K_EVENT : K_POOL,
			a[0]);
	void *at = (void *)(uintptr_t)put(me, a[1], "", 1);

	switch (a[2] % 8) {
	case 0:
		return read(fd, at, a[3] % 4096);
	case 1:
		return write(fd, at, a[3] % 4096);
	case 2:
		return pread(fd, at, a[3] % 4096, a[3]);
	case 3:
		return fcntl(fd, F_SETFL, (int)a[3] & (O_NONBLOCK | O_APPEND |
						       O_DIRECT | O_ASYNC));
	case 4:
		return ftruncate(fd, a[3]);
	case 5:
		return fallocate(fd, (int)a[3] & 3, 0, a[3]);
	case 6:
		return fsync(fd);
	default:
		return lseek(fd, (int)a[3], a[2] / 8 % 6);
	}
}

static long call_recv(struct actor *me, const __u32 *a)
{
	size_t len = count_of(a[1], 1U << 17);
	char *to = scratch(me, 1U << 17);
	long ret, all = 0;
	int fd = res_fd(me->run, a[0] & 16 ? K_PIPE : K_SOCK, a[0]);

	/* Most often all that there is, which ends the flights. */
	do {
		ret = a[0] & 16 ? read(fd, to, 1U << 17) :
				  recv(fd, to, a[1] ? len : 1U << 17,
				       MSG_DONTWAIT | (a[2] & (MSG_TRUNC | MSG_PEEK)));
		all += ret;
	} while (ret > 0 && !a[1] && !a[2] && !(a[0] & 16) && all < 1L << 20);
	return all;
}

static long call_setsock(struct actor *me, const __u32 *a)
{
	static const struct {
		int level, name;
	} option[] = {
		{ SOL_SOCKET, SO_SNDBUF }, { SOL_SOCKET, SO_RCVBUF },
		{ SOL_SOCKET, SO_ZEROCOPY }, { SOL_SOCKET, SO_SNDTIMEO_OLD },
		{ SOL_SOCKET, SO_LINGER }, { IPPROTO_TCP, TCP_CORK },
		{ IPPROTO_TCP, TCP_NODELAY }, { IPPROTO_TCP, TCP_MAXSEG },
		{ IPPROTO_UDP, 1 /* UDP_CORK */ },
		{ IPPROTO_UDP, 103 /* UDP_SEGMENT */ },
		{ IPPROTO_TCP, TCP_NOTSENT_LOWAT }, { IPPROTO_TCP, TCP_REPAIR },
		{ SOL_SOCKET, SO_TXTIME }, { SOL_SOCKET, SO_NO_CHECK },
	};
	__u64 value[2] = { a[2] & WILD ? a[2] : a[2] % 4096, a[2] };
	unsigned int i = a[1] % ARRAY_LEN(option);

	if (a[2] % 32 == 31)
		return tls_attach(res_fd(me->run, K_SOCK, a[0]), a[1] & 1);
	return setsockopt(res_fd(me->run, K_SOCK, a[0]), option[i].level,
			  option[i].name, value, i == 3 ? 16 : i == 4 ? 8 : 4);
}

static long call_shut(struct actor *me, const __u32 *a)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };
	int fd = res_fd(me->run, K_SOCK, a[0]);

	return a[1] & 4 ? connect(fd, &none, sizeof(none)) :
			  shutdown(fd, a[1] % 4);
}

static long call_poll(struct actor *me, const __u32 *a)
{
	struct pollfd p[4];
	unsigned int i;

	for (i = 0; i < 4; i++) {
		p[i].fd = res_fd(me->run, i ? K_ANY : K_POOL, a[0] + i);
		p[i].events = a[1];
	}
	return poll(p, 1 + a[0] % 4, a[2] % 8);
}

static long call_epoll(struct actor *me, const __u32 *a)
{
	int ep = res_fd(me->run, K_EPOLL, a[0]);
	int fd = res_fd(me->run, a[1] & 16 ? K_ANY : K_POOL, a[1]);
	struct epoll_event ev[4] = { { .events = a[3] } };

	if (a[2] % 4 == 3)
		return epoll_wait(ep, ev, 4, a[3] % 4);
	return epoll_ctl(ep, 1 + a[2] % 4, fd, ev);
}

/* Through a socket of AF_UNIX; in there it stays, or it comes back as another fd. */
static long call_rights(struct actor *me, const __u32 *a)
{
	int sock[2], fd = res_fd(me->run, K_POOL, a[0]);
	long ret;

	if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock))
		return -1;
	ret = fd_pass(sock[0], fd);
	if (a[1] & 1) {
		res_add(me->run, sock[0], K_SOCK);
		res_add(me->run, sock[1], K_SOCK);
		/* A socket in its own queue is for the garbage collector. */
		return a[1] & 2 ? fd_pass(sock[0], sock[1]) : ret;
	}
	fd = ret ? -1 : fd_take(sock[1]);
	close(sock[0]);
	close(sock[1]);
	if (fd >= 0)
		handle_add(me->run, fd, handle_pick(me->run, a[0]));
	return 0;
}

const struct call_desc io_calls[] = {
	{ "sock",	"nf",		16,	call_sock },
	{ "file",	"nf",		16,	call_file },
	{ "close",	"n",		10,	call_close },
	{ "dup",	"h",		3,	call_dup },
	{ "splice",	"hhenn",	16,	call_splice },
	{ "tee",	"hhnn",		4,	call_tee },
	{ "sendfile",	"hhen",		12,	call_sendfile },
	{ "rw",		"hwnn",		5,	call_rw },
	{ "recv",	"hee",		20,	call_recv },
	{ "setsock",	"hnn",		8,	call_setsock },
	{ "shut",	"hn",		4,	call_shut },
	{ "poll",	"hfn",		5,	call_poll },
	{ "epoll",	"hhnf",		6,	call_epoll },
	{ "rights",	"hn",		4,	call_rights },
	{ 0 },
};
