// SPDX-License-Identifier: GPL-2.0
/*
 * writev PORT: a relay's least, as a peer: SUBSCRIBE of one channel, and PUBLISH, which
 * is one writev() for each subscriber, of head, message and end where they lie. What a
 * socket does not take is kept for it by one copy, which those that are late share.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define EVENTS		256
#define LATE_MAX	64		/* messages for one that is late */
#define CHANNELS	256		/* of one letter */

struct message {
	unsigned int count;
	size_t len;
	char data[];
};

struct conn {
	int fd;
	char *input;			/* a request that is not whole yet */
	size_t len, room;
	struct message *late[LATE_MAX];
	unsigned int first, nr;
	size_t done;			/* of the first */
	int channel;			/* or -1 */
	unsigned int place;
};

static int poller;
static struct conn *conns[1 << 20];	/* by their fds */
static struct conn **subscribers[CHANNELS];
static unsigned int nr_subscribers[CHANNELS];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void watch(struct conn *conn, int op, unsigned int events)
{
	struct epoll_event event = { .events = events, .data.fd = conn->fd };

	if (epoll_ctl(poller, op, conn->fd, &event))
		die("epoll_ctl");
}

static void release(struct message *message)
{
	if (!--message->count)
		free(message);
}

static void drop(struct conn *conn)
{
	struct conn *last;

	if (conn->channel >= 0) {
		last = subscribers[conn->channel][--nr_subscribers[conn->channel]];
		last->place = conn->place;
		subscribers[conn->channel][conn->place] = last;
	}
	for (; conn->nr; conn->nr--)
		release(conn->late[conn->first++ % LATE_MAX]);
	conns[conn->fd] = NULL;
	close(conn->fd);
	free(conn->input);
	free(conn);
}

/* Later, from a copy that is made once a message. */
static void keep(struct conn *conn, struct message **copy, const struct iovec *iov,
		 size_t done)
{
	char *p;
	int i;

	if (!*copy) {
		*copy = malloc(sizeof(**copy) + iov[0].iov_len + iov[1].iov_len + iov[2].iov_len);
		if (!*copy)
			die("malloc");
		(*copy)->count = 0;
		p = (*copy)->data;
		for (i = 0; i < 3; i++)
			p = mempcpy(p, iov[i].iov_base, iov[i].iov_len);
		(*copy)->len = p - (*copy)->data;
	}
	if (!conn->nr) {
		conn->done = done;
		watch(conn, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
	}
	(*copy)->count++;
	conn->late[(conn->first + conn->nr++) % LATE_MAX] = *copy;
}

static void publish(struct conn *by, int channel, char *data, size_t len)
{
	char head[64], reply[32];
	struct iovec iov[3] = { { head, 0 }, { data, len }, { "\r\n", 2 } };
	size_t all;
	struct message *copy = NULL;
	unsigned int i;
	ssize_t n;

	iov[0].iov_len = sprintf(head, "*3\r\n$7\r\nmessage\r\n$1\r\n%c\r\n$%zu\r\n", channel, len);
	all = iov[0].iov_len + len + 2;
	for (i = 0; i < nr_subscribers[channel]; i++) {
		struct conn *conn = subscribers[channel][i];

		n = conn->nr ? 0 : writev(conn->fd, iov, 3);
		if (n < 0 && errno == EAGAIN)
			n = 0;
		if (n >= 0 && (size_t)n < all && conn->nr < LATE_MAX)
			keep(conn, &copy, iov, n);
		else if (n < 0 || (size_t)n < all)
			shutdown(conn->fd, SHUT_RDWR);
	}
	n = sprintf(reply, ":%u\r\n", nr_subscribers[channel]);
	if (write(by->fd, reply, n) != n)
		shutdown(by->fd, SHUT_RDWR);
}

static void subscribe(struct conn *conn, int channel)
{
	char reply[64];
	int n = sprintf(reply, "*3\r\n$9\r\nsubscribe\r\n$1\r\n%c\r\n:1\r\n", channel);
	unsigned int nr = nr_subscribers[channel]++;

	subscribers[channel] = realloc(subscribers[channel], (nr + 1) * sizeof(conn));
	if (!subscribers[channel] || write(conn->fd, reply, n) != n)
		die("subscribe");
	conn->place = nr;
	conn->channel = channel;
	subscribers[channel][nr] = conn;
}

/* A request that is whole: its length, else 0. */
static size_t request(struct conn *conn)
{
	static const char sub[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\n";
	static const char pub[] = "*3\r\n$7\r\nPUBLISH\r\n$1\r\n";
	size_t len, head = strlen(sub) + 3;
	char *data;

	conn->input[conn->len] = '\0';
	if (conn->len >= head && !memcmp(conn->input, sub, strlen(sub))) {
		subscribe(conn, conn->input[head - 3]);
		return head;
	}
	head = strlen(pub) + 4;		/* a letter, the end of its line, a dollar sign */
	if (conn->len <= head || memcmp(conn->input, pub, strlen(pub)))
		return 0;
	len = strtoul(conn->input + head, &data, 10);
	data += 2;
	if (data + len + 2 > conn->input + conn->len)
		return 0;
	publish(conn, conn->input[strlen(pub)], data, len);
	return data + len + 2 - conn->input;
}

static bool hear(struct conn *conn)
{
	size_t used;
	ssize_t n;

	if (conn->room - conn->len < 65536) {
		conn->room = 2 * conn->room + 131072;
		conn->input = realloc(conn->input, conn->room + 1);
		if (!conn->input)
			die("realloc");
	}
	n = read(conn->fd, conn->input + conn->len, conn->room - conn->len);
	if (n <= 0)
		return n < 0 && errno == EAGAIN;
	conn->len += n;
	while (conn->len && (used = request(conn))) {
		conn->len -= used;
		memmove(conn->input, conn->input + used, conn->len);
	}
	return true;
}

static bool go_on(struct conn *conn)
{
	ssize_t n;

	while (conn->nr) {
		struct message *message = conn->late[conn->first % LATE_MAX];

		n = send(conn->fd, message->data + conn->done, message->len - conn->done, 0);
		if (n < 0)
			return errno == EAGAIN;
		conn->done += n;
		if (conn->done < message->len)
			return true;
		release(message);
		conn->first++;
		conn->nr--;
		conn->done = 0;
	}
	watch(conn, EPOLL_CTL_MOD, EPOLLIN);
	return true;
}

static void welcome(int listener)
{
	struct conn *conn;
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		conn = calloc(1, sizeof(*conn));
		if (!conn)
			die("calloc");
		conn->fd = fd;
		conns[fd] = conn;
		conn->channel = -1;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		watch(conn, EPOLL_CTL_ADD, EPOLLIN);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event events[EVENTS];
	struct conn listener = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) };
	struct rlimit limit;
	int i, n, one = 1;

	addr.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	poller = epoll_create1(0);
	setsockopt(listener.fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener.fd, (struct sockaddr *)&addr, sizeof(addr)) ||
	    listen(listener.fd, SOMAXCONN))
		die("listen");
	watch(&listener, EPOLL_CTL_ADD, EPOLLIN);
	for (;;) {
		n = epoll_wait(poller, events, EVENTS, -1);
		for (i = 0; i < n; i++) {
			struct conn *conn = conns[events[i].data.fd];

			if (!conn)
				welcome(listener.fd);
			else if (events[i].events & EPOLLOUT && !go_on(conn))
				drop(conn);
			else if (events[i].events & ~EPOLLOUT && !hear(conn))
				drop(conn);
		}
	}
}
