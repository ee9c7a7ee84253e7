// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Objects in memory, over HTTP/1.1: PUT stores one, GET returns it, whatever
 * its size. Connections are kept alive, requests may be pipelined, and clients
 * may be slow: who has begun to get an object gets that one, whole, whatever is
 * stored under its name meanwhile. One thread, one epoll.
 *
 *	serve PORT [MEBIBYTES]
 *
 * Lines marked m are all there is of memory, and those marked s all there is of
 * sending.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <fbuf/queue.h>
#include <fbuf/view.h>

#define HEAD_MAX	4096U		/* bytes of a request's head */
#define ANSWER_MAX	128U		/* and of an answer's */
#define AHEAD		(256U << 10)	/* bytes that may wait to be sent */
#define NR_LISTS	4096U		/* of objects */
#define OK		"HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n"

struct object {
	struct object *next;	/* in its list */
	struct fbuf_view *view;		/* the answer: head and body */	/* m */
	char path[];
};

struct conn {
	int sock;
	bool last;		/* no requests after this one */
	unsigned int events;	/* that epoll waits for */
	struct fbuf_queue *out;						/* s */
	struct fbuf_view *put;	/* an answer whose body comes */	/* m */
	size_t left;		/* bytes of that body */
	char path[HEAD_MAX];	/* where it is to be */
	size_t have;		/* bytes read, and not used */
	char in[HEAD_MAX + 1];
};

static struct fbuf_heap *heap;						/* m */
static struct object *objects[NR_LISTS];
static int poller;

/* The object of a path; makes one without an answer, or returns NULL. */
static struct object *object_at(const char *path, bool make)
{
	struct object **list, *o;
	unsigned int hash = 0;
	const char *p;

	for (p = path; *p; p++)
		hash = hash * 31 + *p;
	list = &objects[hash % NR_LISTS];
	for (o = *list; o; o = o->next)
		if (!strcmp(o->path, path))
			return o;
	if (!make)
		return NULL;
	o = calloc(1, sizeof(*o) + strlen(path) + 1);			/* m */
	if (!o)								/* m */
		return NULL;						/* m */
	memcpy(o->path, path, strlen(path));
	o->next = *list;
	*list = o;
	return o;
}

static void answer(struct conn *c, const char *status, bool last)
{
	char text[ANSWER_MAX];
	int len = snprintf(text, sizeof(text), "HTTP/1.1 %s\r\n%s%s\r\n",
			   status, *status == '1' || *status == '2' ? "" :
			   "Content-Length: 0\r\n",
			   last ? "Connection: close\r\n" : "");

	c->last |= last;
	if (fbuf_queue_copy(c->out, text, len))				/* s */
		c->last = true;
}

static void get(struct conn *c, const char *path)
{
	struct object *o = object_at(path, false);

	if (!o || !o->view) {
		answer(c, "404 Not Found", false);
		return;
	}
	if (!fbuf_queue_view(c->out, fbuf_view_retain(o->view)))	/* s */
		return;
	fbuf_view_release(o->view);					/* m */
	c->last = true;
}

static void put(struct conn *c, const char *path, size_t len)
{
	char text[ANSWER_MAX];

	if (len < SIZE_MAX / 2)
		c->put = fbuf_view_alloc(heap, ANSWER_MAX + len);	/* m */
	if (!c->put) {							/* m */
		answer(c, "507 Insufficient Storage", true);
		return;
	}
	fbuf_view_write(c->put, text, sprintf(text, OK, len));		/* m */
	memcpy(c->path, path, strlen(path) + 1);
	c->left = len;
}

/* The body is there. Who is being sent the old one has a reference to it. */
static void put_end(struct conn *c)
{
	struct object *o = object_at(c->path, true);

	if (o) {
		fbuf_view_release(o->view);				/* m */
		o->view = c->put;					/* m */
		answer(c, "204 No Content", false);
	} else {
		fbuf_view_release(c->put);				/* m */
		answer(c, "507 Insufficient Storage", true);
	}
	c->put = NULL;							/* m */
}

static void drop(struct conn *c, size_t len)
{
	c->have -= len;
	memmove(c->in, c->in + len, c->have);
}

/* Whether there was a head, and what it says. */
static bool request(struct conn *c)
{
	char method[8], path[HEAD_MAX], *end, *length;

	c->in[c->have] = 0;
	end = strstr(c->in, "\r\n\r\n");
	if (!end && c->have == HEAD_MAX)
		answer(c, "431 Request Header Fields Too Large", true);
	if (!end)
		return false;
	end[2] = 0;
	length = strcasestr(c->in, "\r\nContent-Length:");
	if (sscanf(c->in, "%7s %4095s HTTP/1.1", method, path) != 2)
		answer(c, "400 Bad Request", true);
	else if (!strcmp(method, "GET"))
		get(c, path);
	else if (strcmp(method, "PUT"))
		answer(c, "501 Not Implemented", true);
	else if (!length)
		answer(c, "411 Length Required", true);
	else
		put(c, path, strtoull(length + 17, NULL, 10));
	if (c->put && strcasestr(c->in, "\r\nExpect: 100-continue\r\n"))
		answer(c, "100 Continue", false);
	drop(c, end + 4 - c->in);
	return true;
}

/* Whether there was anything to do with what has been read. */
static bool use(struct conn *c)
{
	size_t len = c->have < c->left ? c->have : c->left;

	if (c->last)
		return false;
	if (!c->put)
		return request(c);
	fbuf_view_write(c->put, c->in, len);				/* m */
	drop(c, len);
	c->left -= len;
	if (!c->left)
		put_end(c);
	return len || !c->put;
}

/* A body goes where it is to be. */
static ssize_t receive(struct conn *c)
{
	size_t room = HEAD_MAX - c->have;
	void *to = c->in + c->have;
	ssize_t n;

	if (c->put)
		to = fbuf_view_space(c->put, &room);			/* m */
	if (c->put && room > c->left)
		room = c->left;
	n = recv(c->sock, to, room, 0);
	if (n > 0 && c->put) {
		fbuf_view_wrote(c->put, n);				/* m */
		c->left -= n;
	} else if (n > 0) {
		c->have += n;
	}
	return n;
}

static void conn_end(struct conn *c)
{
	fbuf_queue_destroy(c->out);					/* s */
	fbuf_view_release(c->put);					/* m */
	close(c->sock);
	free(c);							/* m */
}

static void wait_for(struct conn *c, unsigned int events)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	if (events != c->events)
		epoll_ctl(poller, c->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
			  c->sock, &e);
	c->events = events;
}

/*
 * What can be done without waiting, and without keeping others waiting for
 * long. While answers wait, nothing is read.
 */
static void work(struct conn *c)
{
	unsigned int turns = 16;
	ssize_t n = 1;
	bool more;
	int ret;

	do {
		while (fbuf_queue_len(c->out) < AHEAD && use(c))	/* s */
			;
		more = fbuf_queue_len(c->out) >= AHEAD;			/* s */
		ret = fbuf_queue_flush(c->out);				/* s */
		if (ret <= 0 || c->last || (!more && !turns--))
			break;
		if (!more)
			n = receive(c);
	} while (n > 0);
	if (ret < 0 || (ret > 0 && c->last) || !n ||
	    (n < 0 && errno != EAGAIN))
		conn_end(c);
	else
		wait_for(c, ret ? EPOLLIN : EPOLLOUT);			/* s */
}

static void conn_begin(int sock)
{
	const struct fbuf_queue_options any = { .limit = SIZE_MAX };	/* s */
	struct conn *c = calloc(1, sizeof(*c));				/* m */

	if (!c || fbuf_queue_create(&c->out, heap, sock, &any)) {	/* s */
		free(c);						/* m */
		close(sock);
		return;
	}
	c->sock = sock;
	work(c);
}

static int listen_on(unsigned int port)
{
	struct sockaddr_in6 addr = {
		.sin6_family = AF_INET6, .sin6_port = htons(port),
	};
	int sock = socket(AF_INET6, SOCK_STREAM, 0), one = 1;
	struct epoll_event e = { .events = EPOLLIN };

	setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	poller = epoll_create1(0);
	if (bind(sock, (void *)&addr, sizeof(addr)) || listen(sock, 4096) ||
	    epoll_ctl(poller, EPOLL_CTL_ADD, sock, &e))
		return -1;
	return sock;
}

int main(int argc, char **argv)
{
	const unsigned int mib = argc > 2 ? atoi(argv[2]) : 256;
	struct fbuf_pool_options is = { 65536, mib * 16, -1, 0, 0 };	/* m */
	struct epoll_event events[256];
	struct fbuf_pool *pool;						/* m */
	int listener, nr, i;

	is.flags = FBUF_POOL_LAZY;					/* m */
	if (argc < 2 || fbuf_pool_create_with(&pool, &is) ||		/* m */
	    fbuf_heap_create(&heap, pool, 0))				/* m */
		return 1;
	listener = listen_on(atoi(argv[1]));
	if (listener < 0)
		return 1;
	while ((nr = epoll_wait(poller, events, 256, -1)) > 0) {
		for (i = 0; i < nr; i++) {
			if (events[i].data.ptr)
				work(events[i].data.ptr);
			else
				conn_begin(accept4(listener, NULL, NULL,
						   SOCK_NONBLOCK));
		}
	}
	return 0;
}
