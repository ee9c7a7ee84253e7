// SPDX-License-Identifier: GPL-2.0
/*
 * For netem.sh: sends a pattern through a pool, each buffer of which is
 * overwritten as soon as it is sent, or compares what comes with the pattern.
 *
 *   netem_peer recv PORT plain|tls
 *   netem_peer send HOST PORT volatile|secured|snapshot plain|tls
 *
 * Both print what they found as NAME=NUMBER.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		16U
#define SEED		1

/* It goes on, up to a point, until packets were sent again. */
#define MIN_BYTES	(4U << 20)
#define MAX_BYTES	(64U << 20)
#define MIN_RETRANS	3

/* TcpRetransSegs of this network namespace. */
static long retrans(void)
{
	static const char name[] = "RetransSegs";
	char names[1024] = "", values[1024] = "";
	char *n, *v, *keep_n, *keep_v;
	FILE *f = fopen("/proc/net/snmp", "r");

	while (f && fgets(names, sizeof(names), f)) {
		if (!strncmp(names, "Tcp:", 4) &&
		    fgets(values, sizeof(values), f))
			break;
	}
	if (f)
		fclose(f);
	n = strtok_r(names, "\n ", &keep_n);
	v = strtok_r(values, "\n ", &keep_v);
	while (n && v && strcmp(n, name)) {
		n = strtok_r(NULL, "\n ", &keep_n);
		v = strtok_r(NULL, "\n ", &keep_v);
	}
	return n && v ? atol(v) : -1;
}

static int do_recv(int port, bool tls)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int lsock = socket(AF_INET, SOCK_STREAM, 0);
	size_t total = 0, differs = 0;
	static __u8 got[BUF_SIZE];
	ssize_t len, i;
	int one = 1;
	int sock;

	setsockopt(lsock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(lsock, (void *)&addr, sizeof(addr)) ||
	    listen(lsock, 1))
		return 2;
	puts("ready");
	fflush(stdout);
	sock = accept(lsock, NULL, NULL);
	if (sock < 0 || (tls && tls_attach(sock, false)))
		return 2;
	while ((len = read(sock, got, BUF_SIZE)) > 0) {
		for (i = 0; i < len; i++)
			differs += got[i] != pattern_byte(SEED, total + i);
		total += len;
	}
	printf("received=%zu differs=%zu\n", total, differs);
	return len ? 2 : 0;
}

/* A process that overwrites the buffers that it is told of. */
static int overwriter(const struct pool *pool, int from)
{
	__u64 name;

	while (read(from, &name, sizeof(name)) == sizeof(name)) {
		memset(buf_addr(pool, name), 0xee, BUF_SIZE);
		if (write(from, &name, sizeof(name)) != sizeof(name))
			return 1;
	}
	return 0;
}

static int do_connect(const char *host, int port, bool tls)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int sock = socket(AF_INET, SOCK_STREAM, 0);

	if (inet_pton(AF_INET, host, &addr.sin_addr) != 1 ||
	    connect(sock, (void *)&addr, sizeof(addr)) ||
	    (tls && tls_attach(sock, true)))
		return -1;
	return sock;
}

static int send_all(struct pool *pool, __u64 name, int sock)
{
	size_t done = 0;

	while (done < BUF_SIZE) {
		struct fbuf_seg seg = buf_seg(pool, name, done,
					      BUF_SIZE - done);
		ssize_t ret;

		ret = pool_send(pool->fd, sock, &seg, 1, 0,
				FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE, NULL);
		if (ret <= 0)
			return -1;
		done += ret;
	}
	return 0;
}

/* One buffer: filled, sent, and at once overwritten by two. */
static int send_buffer(struct pool *pool, int sock, int other, size_t pos)
{
	__u64 name = 0;
	int ret;

	ret = pool_batch(pool->fd, FBUF_IOC_ALLOC, &name, 1, FBUF_ALLOC_WAIT,
			 60000);
	if (ret != 1)
		return -1;
	pattern_fill(buf_addr(pool, name), SEED, pos, BUF_SIZE);
	if (send_all(pool, name, sock))
		return -1;
	if (write(other, &name, sizeof(name)) != sizeof(name))
		return -1;
	memset(buf_addr(pool, name), 0xdd, BUF_SIZE);
	/* It answers when it has written: not into what is sent next. */
	if (read(other, &name, sizeof(name)) != sizeof(name))
		return -1;
	return pool_free(pool->fd, &name, 1) == 1 ? 0 : -1;
}

static int do_send(const char *host, int port, __u32 flags, bool tls)
{
	long before = retrans();
	struct pool pool;
	size_t total = 0;
	int other[2];
	int sock;

	if (pool_make_flags(&pool, BUF_SIZE, NR_BUFS, flags) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, other))
		return 2;
	if (!fork()) {
		close(other[0]);
		_exit(overwriter(&pool, other[1]));
	}
	close(other[1]);
	sock = do_connect(host, port, tls);
	if (sock < 0)
		return 2;
	while (total < MIN_BYTES ||
	       (total < MAX_BYTES && retrans() - before < MIN_RETRANS)) {
		if (send_buffer(&pool, sock, other[0], total))
			return 3;
		total += BUF_SIZE;
	}
	close(sock);
	close(other[0]);
	wait(NULL);
	printf("sent=%zu retrans=%ld\n", total, retrans() - before);
	return 0;
}

static __u32 pool_flags(const char *kind)
{
	if (!strcmp(kind, "secured"))
		return FBUF_POOL_SECURED;
	return strcmp(kind, "snapshot") ? 0 : FBUF_POOL_SNAPSHOT;
}

int main(int argc, char **argv)
{
	bool tls = argc > 1 && !strcmp(argv[argc - 1], "tls");

	if (argc >= 3 && !strcmp(argv[1], "recv"))
		return do_recv(atoi(argv[2]), tls);
	if (argc >= 5 && !strcmp(argv[1], "send"))
		return do_send(argv[2], atoi(argv[3]), pool_flags(argv[4]),
			       tls);
	return 2;
}
