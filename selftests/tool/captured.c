// SPDX-License-Identifier: GPL-2.0
/*
 * For control.sh: buffers that stay in flight though their socket is done with
 * them. Sends some of a pool over TCP to a peer that reads them all, while
 * somebody else has the packets, or to one that reads nothing:
 *
 *   captured packet|unread|shared
 *
 * "packet" has a packet socket that nobody reads, "unread" a peer that does not.
 * "shared" sends nothing: two processes have the pool, and one of its handles is
 * only mapped. Nor do "thread" and "gone": a thread alone has it, by a table of files of
 * its own, or as the first one has ended. Says "pool ID inode NUMBER pid SECOND", for a
 * line on standard input closes the sender's socket and says "closed", and for another
 * one ends.
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <linux/if_ether.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util.h"

#define BUF_SIZE	65536U
#define NR_BUFS		4U

#define CHECK(cond) do {						\
	if (!(cond)) {							\
		fprintf(stderr, "captured: not so: %s\n", #cond);	\
		exit(1);						\
	}								\
} while (0)

static void next_line(const char *word)
{
	puts(word);
	fflush(stdout);
	while (getchar() != '\n' && !feof(stdin))
		;
}

static int capture_open(void)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = if_nametoindex("lo"),
	};
	int sock = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));

	CHECK(sock >= 0);
	CHECK(!bind(sock, (struct sockaddr *)&addr, sizeof(addr)));
	return sock;
}

static int unsent(int sock)
{
	int bytes = -1;

	return ioctl(sock, SIOCOUTQ, &bytes) ? -1 : bytes;
}

/* All buffers, or as much as the socket takes; the pool keeps no hold of them. */
static void send_all(struct pool *pool, int sock)
{
	__u64 names[NR_BUFS];
	ssize_t ret = BUF_SIZE;
	unsigned int i;

	CHECK(pool_alloc(pool->fd, names, NR_BUFS) == (int)NR_BUFS);
	for (i = 0; i < NR_BUFS && ret == BUF_SIZE; i++) {
		struct fbuf_seg seg = buf_seg(pool, names[i], 0, BUF_SIZE);

		ret = pool_send(pool->fd, sock, &seg, 1, FBUF_SEND_DONTWAIT, 0,
				NULL);
		CHECK(ret > 0 || ret == -EAGAIN);
	}
	CHECK(pool_free(pool->fd, names, NR_BUFS) == (int)NR_BUFS);
}

/* A second process has the pool, twice; a handle that nobody has open is mapped. */
static pid_t share(const struct pool *pool, int stop[2])
{
	pid_t pid;
	int fd;

	fd = pool_share(pool->fd, FBUF_RIGHT_READ, 0, NULL);
	CHECK(fd >= 0);
	CHECK(mmap(NULL, BUF_SIZE, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
	close(fd);
	CHECK(!pipe(stop));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(stop[1]);
		CHECK(dup(pool->fd) >= 0);
		/* Until the parent is gone. */
		(void)!read(stop[0], &fd, 1);
		_exit(0);
	}
	return pid;
}

/* For a line on standard input the process ends. */
static void *own_files(void *how)
{
	struct fbuf_info info;
	struct pool pool;

	if (!strcmp(how, "thread"))
		CHECK(!unshare(CLONE_FILES));
	CHECK(!pool_make(&pool, BUF_SIZE, NR_BUFS));
	CHECK(!pool_info(pool.fd, &info));
	printf("pool %llu inode 0 pid %d", (unsigned long long)info.id, getpid());
	next_line("");
	exit(0);
}

static void thread(char *how)
{
	pthread_t other;

	CHECK(!pthread_create(&other, NULL, own_files, how));
	if (!strcmp(how, "gone"))
		pthread_exit(NULL);
	pthread_join(other, NULL);
}

int main(int argc, char **argv)
{
	static __u8 got[NR_BUFS * BUF_SIZE];
	const char *how = argc == 2 ? argv[1] : "";
	pid_t pid = getpid();
	struct fbuf_info info;
	int sock[2], stop[2];
	struct pool pool;
	struct stat st;
	char words[96];

	if (!strcmp(how, "thread") || !strcmp(how, "gone"))
		thread(argv[1]);
	CHECK(!pool_make(&pool, BUF_SIZE, NR_BUFS));
	CHECK(!tcp_pair(AF_INET, sock));
	CHECK(!fstat(sock[0], &st));
	CHECK(!pool_info(pool.fd, &info));
	if (!strcmp(how, "shared"))
		pid = share(&pool, stop);
	if (!strcmp(how, "packet"))
		capture_open();
	if (strcmp(how, "shared"))
		send_all(&pool, sock[0]);
	if (!strcmp(how, "packet")) {
		/* All that was sent, and its last acknowledgment. */
		CHECK(wait_for(recv(sock[1], got, sizeof(got), MSG_DONTWAIT) < 0 &&
			       !unsent(sock[0]), 10000));
	}
	snprintf(words, sizeof(words), "pool %llu inode %llu pid %d",
		 (unsigned long long)info.id, (unsigned long long)st.st_ino,
		 pid);
	next_line(words);
	close(sock[0]);
	next_line("closed");
	return 0;
}
