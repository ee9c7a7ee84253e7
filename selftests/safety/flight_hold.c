// SPDX-License-Identifier: GPL-2.0
/*
 * For unload.sh: holds what it is told to, says "ready", waits for a line on
 * standard input, lets go, and looks at what its peer got.
 *
 *   flight_hold control|pool|map|flight|ubuf
 *
 * "flight" holds nothing but packets in flight: no descriptor, no mapping. So
 * does "ubuf", by that engine, of packets that wait for a reader.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		4U
#define NR_PAIRS	3

/* A pair of each kind that takes pages: TCP, UDP, AF_UNIX. */
static int pairs_make(int sock[NR_PAIRS][2])
{
	return tcp_pair(AF_INET, sock[0]) || udp_pair(AF_INET, sock[1]) ||
	       socketpair(AF_UNIX, SOCK_STREAM, 0, sock[2]);
}

static int pairs_send(struct pool *pool, int sock[NR_PAIRS][2])
{
	__u64 names[NR_BUFS];
	int i;

	if (pool_alloc(pool->fd, names, NR_BUFS) != (int)NR_BUFS)
		return -1;
	for (i = 0; i < NR_PAIRS; i++) {
		struct fbuf_seg seg = buf_seg(pool, names[i], 0, BUF_SIZE / 2);

		pattern_fill(buf_addr(pool, names[i]), i, 0, BUF_SIZE);
		if (pool_send(pool->fd, sock[i][0], &seg, 1, 0, 0, NULL) !=
		    BUF_SIZE / 2)
			return -1;
	}
	return 0;
}

static int pairs_check(int sock[NR_PAIRS][2])
{
	static __u8 got[BUF_SIZE];
	int i;

	for (i = 0; i < NR_PAIRS; i++) {
		memset(got, 0, sizeof(got));
		if (recv(sock[i][1], got, BUF_SIZE / 2, MSG_WAITALL) !=
		    BUF_SIZE / 2)
			return -1;
		if (pattern_differs(got, i, 0, BUF_SIZE / 2) >= 0)
			return -1;
	}
	return 0;
}

/* Until the socket takes no more: what was delivered, was copied. */
static int ubuf_send(struct pool *pool, int sock)
{
	__u64 name;
	struct fbuf_seg seg;
	ssize_t ret;

	if (pool_alloc(pool->fd, &name, 1) != 1)
		return -1;
	seg = buf_seg(pool, name, 0, BUF_SIZE);
	do {
		ret = pool_send(pool->fd, sock, &seg, 1, FBUF_SEND_DONTWAIT,
				FBUF_ENGINE_UBUF, NULL);
	} while (ret > 0);
	return ret == -EAGAIN ? 0 : -1;
}

static int wait_for_word(void)
{
	char line[16];

	puts("ready");
	fflush(stdout);
	return !fgets(line, sizeof(line), stdin);
}

int main(int argc, char **argv)
{
	int sock[NR_PAIRS][2];
	const char *what;
	struct pool pool;
	int control;

	if (argc != 2)
		return 2;
	what = argv[1];
	control = control_open();
	if (control < 0 || pairs_make(sock) ||
	    pool_make(&pool, BUF_SIZE, NR_BUFS))
		return 2;
	if (strcmp(what, "control"))
		close(control);
	if (!strcmp(what, "control"))
		pool_unmake(&pool);
	else if (!strcmp(what, "map"))
		close(pool.fd);
	if (!strcmp(what, "ubuf")) {
		if (ubuf_send(&pool, sock[0][0]))
			return 3;
		pool_unmake(&pool);
		return wait_for_word();
	}
	if (strcmp(what, "flight"))
		return wait_for_word();
	if (pairs_send(&pool, sock))
		return 3;
	pool_unmake(&pool);
	if (wait_for_word())
		return 2;
	return pairs_check(sock) ? 1 : 0;
}
