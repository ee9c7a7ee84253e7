// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Many clients of a server of objects over HTTP, a quarter of them slow, while its
 * objects are replaced: each answer is one version of the object, whole, and not one
 * older than what was stored when it was asked for. TAP out.
 *
 *	test_serve SERVER [CLIENTS]
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NR_OBJECTS	16U
#define SIZE_TOP	(2U << 20)
/* Every client asks so often, for as many at once. */
#define ROUNDS		3U
#define SLOW_ROUNDS	1U
#define PIPELINE	2U
/* How long a version lasts. */
#define PUT_MS		50
/* How long a client waits that is done. */
#define DONE_MS		1000
/* A slow client reads little, now and then. */
#define SLOW_BYTES	16384U
#define SLOW_MS		20
#ifndef DEADLINE_MS
#define DEADLINE_MS	300000
#endif

/* What any version is a part of. */
static unsigned char bytes[2 * SIZE_TOP];

static struct {
	unsigned int begun;	/* versions that were sent to the server */
	unsigned int stored;	/* and that it said it has */
} objects[NR_OBJECTS];

struct client {
	int sock;
	bool slow;
	bool writes;		/* puts versions of one object, else gets any */
	bool done;
	bool more;		/* may be read, it was others' turn */
	unsigned int object;
	unsigned int rounds;
	unsigned int asked;	/* answers that are to come */
	unsigned int floor;	/* version that was stored when it was asked for */
	long long next;		/* when a slow one reads again */
	/* The answer that comes: its head, and then what is known of its body. */
	char head[512];
	size_t have;
	size_t left;
	size_t at;
	unsigned int version;
	/* The request that goes out. */
	char out[512];
	size_t out_len;
	size_t out_at;
	size_t body_at;		/* of a version, after that */
	size_t body_len;
};

static struct client *clients;
static unsigned int nr_clients, nr_done, nr_answers;
static unsigned long long nr_bytes;
static int poller;
static unsigned int port;
static bool failed;

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static void fail(const struct client *c, const char *what)
{
	if (!failed)
		printf("# client %td, object %u, version %u: %s\n",
		       c - clients, c->object, c->version, what);
	failed = true;
}

static size_t version_size(unsigned int object, unsigned int version)
{
	static const size_t sizes[] = {
		0, 100, 4096, 65536, 65537, 300000, 700000, SIZE_TOP,
	};
	size_t size = sizes[(object + version * 3) % 8];

	return size + (size && size < SIZE_TOP ? version % 50 : 0);
}

/* Which part of the bytes a version is. */
static const unsigned char *version_bytes(unsigned int object,
					  unsigned int version)
{
	return bytes + (object * 7919U + version * 104729U) % SIZE_TOP;
}

static void watch(struct client *c, unsigned int events, int op)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	epoll_ctl(poller, op, c->sock, &e);
}

static void ask(struct client *c)
{
	unsigned int i, nr = c->slow || c->writes ? 1 : PIPELINE;
	unsigned int version;

	c->out_at = 0;
	c->out_len = 0;
	c->body_len = 0;
	if (c->writes) {
		version = ++objects[c->object].begun;
		c->body_len = version_size(c->object, version);
		c->body_at = 0;
		c->version = version;
		c->out_len = snprintf(c->out, sizeof(c->out),
				      "PUT /%u HTTP/1.1\r\nContent-Length: %zu\r\n\r\n",
				      c->object, c->body_len);
	} else {
		c->object = rand() % NR_OBJECTS;
		c->floor = objects[c->object].stored;
		for (i = 0; i < nr; i++)
			c->out_len += snprintf(c->out + c->out_len,
					       sizeof(c->out) - c->out_len,
					       "GET /%u HTTP/1.1\r\nHost: here\r\n\r\n",
					       c->object);
	}
	c->asked = nr;
	c->have = 0;
	c->left = 0;
}

static bool push(struct client *c, const void *from, size_t *at, size_t len)
{
	ssize_t n;

	while (*at < len) {
		n = send(c->sock, (const char *)from + *at, len - *at,
			 MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN)
				fail(c, "it cannot be sent to");
			return false;
		}
		*at += n;
	}
	return true;
}

static void talk(struct client *c)
{
	if (push(c, c->out, &c->out_at, c->out_len))
		push(c, version_bytes(c->object, c->version), &c->body_at,
		     c->body_len);
}

/* An answer is there. */
static void answered(struct client *c)
{
	nr_answers++;
	if (c->writes)
		objects[c->object].stored = c->version;
	if (--c->asked)
		return;
	c->rounds++;
	if (!c->done && c->rounds >= (c->slow ? SLOW_ROUNDS : ROUNDS)) {
		c->done = true;
		nr_done++;
	}
	/* Those that are done go on, slowly: it is as crowded at the end. */
	if (c->writes || (c->done && !c->slow)) {
		c->next = now_ms() + (c->writes ? PUT_MS : DONE_MS);
		return;
	}
	ask(c);
	talk(c);
}

/*
 * Of which version the body is that begins: the length tells which it may be, and
 * the first bytes which of those it is.
 */
static bool find_version(struct client *c, const unsigned char *body,
			 size_t len)
{
	unsigned int v;

	for (v = c->floor ? c->floor : 1; v <= objects[c->object].begun; v++) {
		if (version_size(c->object, v) != c->left ||
		    memcmp(version_bytes(c->object, v), body, len))
			continue;
		c->version = v;
		return true;
	}
	return false;
}

static size_t take_body(struct client *c, const char *from, size_t len)
{
	const unsigned char *is = (const void *)from;

	if (len > c->left)
		len = c->left;
	if (!c->at && !find_version(c, is, len))
		fail(c, "no version that may come begins like this");
	if (memcmp(version_bytes(c->object, c->version) + c->at, is, len))
		fail(c, "wrong bytes");
	c->at += len;
	c->left -= len;
	nr_bytes += len;
	if (!c->left)
		answered(c);
	return len;
}

static size_t take_head(struct client *c, const char *from, size_t len)
{
	size_t old = c->have;
	char *end, *length;

	if (len > sizeof(c->head) - 1 - old)
		len = sizeof(c->head) - 1 - old;
	memcpy(c->head + old, from, len);
	c->head[old + len] = 0;
	end = strstr(c->head, "\r\n\r\n");
	if (!end) {
		c->have += len;
		if (c->have == sizeof(c->head) - 1)
			fail(c, "an endless head");
		return len;
	}
	c->have = 0;
	c->at = 0;
	c->left = 0;
	length = strcasestr(c->head, "Content-Length: ");
	if (memcmp(c->head, c->writes ? "HTTP/1.1 204 " : "HTTP/1.1 200 ", 13))
		fail(c, "an error");
	else if (length)
		c->left = strtoul(length + 16, NULL, 10);
	len = end + 4 - c->head - old;
	if (!c->left) {
		if (!c->writes && !find_version(c, bytes, 0))
			fail(c, "an empty version that may not come");
		answered(c);
	}
	return len;
}

static void listen_to(struct client *c)
{
	static char in[1 << 18];
	size_t room = c->slow ? SLOW_BYTES : sizeof(in), at;
	unsigned int turns = c->slow ? 1 : 8;
	ssize_t n;

	do {
		n = recv(c->sock, in, room, 0);
		if (!n || (n < 0 && errno != EAGAIN)) {
			fail(c, "the connection has ended");
			return;
		}
		for (at = 0; n > 0 && at < (size_t)n && !failed; )
			at += c->left ? take_body(c, in + at, n - at) :
					take_head(c, in + at, n - at);
	} while (n > 0 && --turns && !failed);
	c->more = n > 0;
	if (c->slow)
		c->next = now_ms() + SLOW_MS;
}

static int dial(bool slow)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET, .sin_port = htons(port),
	};
	int sock = socket(AF_INET, SOCK_STREAM, 0), room = SLOW_BYTES;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (slow)
		setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	if (connect(sock, (void *)&addr, sizeof(addr))) {
		close(sock);
		return -1;
	}
	fcntl(sock, F_SETFL, O_NONBLOCK);
	return sock;
}

static void start_clients(void)
{
	unsigned int i;

	for (i = 0; i < nr_clients && !failed; i++) {
		struct client *c = &clients[i];

		c->writes = i < NR_OBJECTS;
		c->slow = !c->writes && i % 4 == 0;
		c->object = i % NR_OBJECTS;
		c->sock = dial(c->slow);
		if (c->sock < 0) {
			fail(c, "no connection");
			return;
		}
		watch(c, c->slow ? EPOLLOUT | EPOLLET :
				   EPOLLIN | EPOLLOUT | EPOLLET,
		      EPOLL_CTL_ADD);
		ask(c);
		talk(c);
	}
}

/* Whose time has come; false if that is nobody's. */
static bool serve_others(void)
{
	long long now = now_ms();
	bool more = false;
	unsigned int i;

	for (i = 0; i < nr_clients; i++) {
		struct client *c = &clients[i];

		if (c->next > now)
			continue;
		if (!c->asked) {
			ask(c);
			talk(c);
		} else if (c->more || c->slow) {
			listen_to(c);
			more |= c->more && !c->slow;
		}
	}
	return more;
}

static void run_clients(void)
{
	long long end = now_ms() + DEADLINE_MS;
	struct epoll_event events[256];
	bool more = false;
	int nr, i;

	while (nr_done < nr_clients && !failed) {
		nr = epoll_wait(poller, events, 256, more ? 0 : 5);
		for (i = 0; i < nr; i++) {
			struct client *c = events[i].data.ptr;

			talk(c);
			if (!c->slow)
				listen_to(c);
		}
		more = serve_others();
		if (now_ms() > end) {
			printf("# %u of %u clients are done\n", nr_done,
			       nr_clients);
			failed = true;
		}
	}
}

static unsigned int free_port(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int sock = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(addr);

	if (bind(sock, (void *)&addr, len) ||
	    getsockname(sock, (void *)&addr, &len))
		return 0;
	close(sock);
	return ntohs(addr.sin_port);
}

static pid_t start_server(const char *path)
{
	const struct timespec ms = { .tv_nsec = 10000000 };
	char text[16];
	pid_t pid;
	int i, sock;

	port = free_port();
	snprintf(text, sizeof(text), "%u", port);
	pid = fork();
	if (!pid) {
		execl(path, path, text, "512", NULL);
		_exit(127);
	}
	for (i = 0; i < 3000; i++) {
		sock = dial(false);
		if (sock >= 0) {
			close(sock);
			return pid;
		}
		if (waitpid(pid, NULL, WNOHANG) == pid)
			break;
		nanosleep(&ms, NULL);
	}
	printf("# the server does not start\n");
	failed = true;
	return pid;
}

/* The first versions are there before anybody asks. */
static void store_first(void)
{
	unsigned int all = nr_clients, i;

	nr_clients = NR_OBJECTS;
	start_clients();
	run_clients();
	nr_clients = all;
	for (i = 0; i < NR_OBJECTS; i++) {
		close(clients[i].sock);
		/* What was begun last may be stored yet, or not. */
		memset(&clients[i], 0, sizeof(clients[i]));
	}
	nr_done = 0;
	nr_answers = 0;
}

int main(int argc, char **argv)
{
	struct rlimit files = { 8192, 8192 };
	unsigned int i;
	int status = -1;
	pid_t pid;

	nr_clients = argc > 2 ? atoi(argv[2]) : 1000;
	clients = calloc(nr_clients, sizeof(*clients));
	poller = epoll_create1(EPOLL_CLOEXEC);
	if (argc < 2 || nr_clients <= NR_OBJECTS || !clients)
		return 2;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (i * 2654435761U >> 11) ^ (i >> 16);
	setlinebuf(stdout);
	printf("TAP version 13\n1..1\n");
	pid = start_server(argv[1]);
	if (!failed)
		store_first();
	if (!failed)
		start_clients();
	if (!failed)
		run_clients();
	if (waitpid(pid, &status, WNOHANG)) {
		printf("# the server ended: status %#x\n", status);
		failed = true;
	} else {
		kill(pid, SIGTERM);
		waitpid(pid, &status, 0);
	}
	printf("# %u clients, %u answers, %llu bytes, all of them looked at\n",
	       nr_clients, nr_answers, nr_bytes);
	printf("%sok 1 serve: slow clients, objects replaced: no wrong byte\n",
	       failed ? "not " : "");
	return failed;
}
