// SPDX-License-Identifier: GPL-2.0
/* fbuf relay: connections, one by one made to the target, and epoll for all. */

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay.h"

#define EVENTS		256
#define ACCEPTS		64	/* before others have their turn */
#define TICK_MS		50
#define PROGRESS_SEC	0.25
/* How long a flow waits for parcels of others to go, until it does without one. */
#define PATIENCE_SEC	0.1

struct relay_conn {
	TAILQ_ENTRY(relay_conn) in;
	TAILQ_ENTRY(relay_conn) in_waiting;
	struct relay_side side[2];	/* client, target */
	struct relay_flow flow[2];	/* from that side to the other one */
	enum relay_wait wait[2];
	struct addrinfo *next;		/* to try, if there is no answer */
	double since;			/* it waits for room, or 0 */
	bool connecting;
	bool dead;
};

static bool ask(const struct relay_loop *l, struct relay_side *s,
		unsigned int events)
{
	struct epoll_event ev = { .events = events, .data.ptr = s };
	int op = s->known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (s->known && events == s->asked)
		return true;
	s->known = true;
	s->asked = events;
	return !epoll_ctl(l->epoll, op, s->fd, &ev);
}

static bool forget(const struct relay_loop *l, struct relay_side *s)
{
	if (!s->known)
		return true;
	s->known = false;
	return !epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
}

static void wait_end(struct relay_loop *l, struct relay_conn *c)
{
	if (c->since)
		TAILQ_REMOVE(&l->waiting, c, in_waiting);
	c->since = 0;
}

/* Whose events may have been had already: it is freed after them. */
static void conn_end(struct relay_loop *l, struct relay_conn *c, bool broken)
{
	const struct linger reset = { .l_onoff = 1 };
	int i;

	wait_end(l, c);
	for (i = 0; i < 2; i++) {
		relay_flow_end(&l->r, &c->flow[i]);
		if (c->side[i].fd < 0)
			continue;
		if (broken)
			setsockopt(c->side[i].fd, SOL_SOCKET, SO_LINGER, &reset,
				   sizeof(reset));
		close(c->side[i].fd);
	}
	c->dead = true;
	TAILQ_REMOVE(&l->conns, c, in);
	TAILQ_INSERT_TAIL(&l->gone, c, in);
	l->done++;
}

/* The one who waited for longest is first. */
static void conn_await(struct relay_loop *l, struct relay_conn *c)
{
	bool waits = c->wait[0] == RELAY_ROOM || c->wait[1] == RELAY_ROOM;

	if (!waits) {
		wait_end(l, c);
	} else if (!c->since) {
		c->since = tool_now();
		TAILQ_INSERT_TAIL(&l->waiting, c, in_waiting);
	}
}

/*
 * A side of which nothing is wanted now still tells that it broke. But when both its
 * ways have come to their ends it would tell so for ever.
 */
static bool conn_ask(const struct relay_loop *l, struct relay_conn *c)
{
	unsigned int i, events[2] = { 0, 0 };

	for (i = 0; i < 2; i++) {
		if (c->wait[i] == RELAY_READ)
			events[i] |= EPOLLIN;
		if (c->wait[i] == RELAY_WRITE)
			events[!i] |= EPOLLOUT;
	}
	for (i = 0; i < 2; i++) {
		bool ok = !events[i] && c->flow[!i].shut ?
			  forget(l, &c->side[i]) :
			  ask(l, &c->side[i], events[i]);

		if (!ok)
			return false;
	}
	return true;
}

/* Its flows have run: what now? */
static void conn_look(struct relay_loop *l, struct relay_conn *c)
{
	if (c->wait[0] == RELAY_BROKEN || c->wait[1] == RELAY_BROKEN)
		conn_end(l, c, true);
	else if (c->wait[0] == RELAY_DONE && c->wait[1] == RELAY_DONE)
		conn_end(l, c, false);
	else if (!conn_ask(l, c))
		conn_end(l, c, true);
	else
		conn_await(l, c);
}

static void flow_run(struct relay_loop *l, struct relay_conn *c, int i)
{
	c->wait[i] = relay_flow_run(&l->r, &c->flow[i], &l->r.bytes[i]);
}

static void set_up(int fd)
{
	const int on = 1;

	/* What comes is sent on at once; a peer that is gone is found out. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static void conn_refused(struct relay_loop *l, struct relay_conn *c, int err)
{
	if (!l->refused++)
		tool_err("Cannot connect to %s port %s: %s.", l->host, l->port,
			 strerror(err));
	conn_end(l, c, true);
}

/* To the next of the target's addresses; err is what became of the last one. */
static void conn_connect(struct relay_loop *l, struct relay_conn *c, int err)
{
	struct relay_side *s = &c->side[1];
	struct addrinfo *ai;

	for (ai = c->next; ai; ai = ai->ai_next) {
		if (s->fd >= 0)
			close(s->fd);
		s->known = false;
		s->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC |
			       SOCK_NONBLOCK, 0);
		if (s->fd >= 0 &&
		    (!connect(s->fd, ai->ai_addr, ai->ai_addrlen) ||
		     errno == EINPROGRESS) && ask(l, s, EPOLLOUT)) {
			c->next = ai->ai_next;
			return;
		}
		err = errno;
	}
	conn_refused(l, c, err);
}

/* The target has answered, or not. */
static void conn_connected(struct relay_loop *l, struct relay_conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (getsockopt(c->side[1].fd, SOL_SOCKET, SO_ERROR, &err, &len))
		err = errno;
	if (err) {
		conn_connect(l, c, err);
		return;
	}
	c->connecting = false;
	set_up(c->side[1].fd);
	c->flow[0].to = c->side[1].fd;
	c->flow[1].from = c->side[1].fd;
	c->wait[0] = RELAY_READ;
	c->wait[1] = RELAY_READ;
	conn_look(l, c);
}

static void conn_event(struct relay_loop *l, struct relay_side *s,
		       unsigned int events)
{
	const unsigned int broken = events & (EPOLLERR | EPOLLHUP);
	struct relay_conn *c = s->conn;
	int i = s - c->side;

	if (c->dead)
		return;
	if (c->connecting && i == 1) {
		conn_connected(l, c);
		return;
	}
	if (broken && !s->asked) {
		conn_end(l, c, true);
		return;
	}
	if (c->wait[i] == RELAY_READ && events & (EPOLLIN | broken))
		flow_run(l, c, i);
	if (c->wait[!i] == RELAY_WRITE && events & (EPOLLOUT | broken))
		flow_run(l, c, !i);
	conn_look(l, c);
}

/* There may be room for parcels, or who waited long enough does without. */
static void run_waiting(struct relay_loop *l)
{
	double now = TAILQ_EMPTY(&l->waiting) ? 0 : tool_now();
	bool room = l->r.freed;
	struct relay_conn *c;
	int i;

	l->r.freed = false;
	while ((c = TAILQ_FIRST(&l->waiting))) {
		bool late = now - c->since >= PATIENCE_SEC;

		if (!room && !late)
			break;
		if (late) {
			wait_end(l, c);
			l->r.stuck = true;
		}
		for (i = 0; i < 2; i++) {
			if (c->wait[i] != RELAY_ROOM)
				continue;
			c->flow[i].hurry = late;
			flow_run(l, c, i);
		}
		conn_look(l, c);
		if (!c->dead && c->since)
			room = false;
	}
}

static bool conn_new(struct relay_loop *l, int client)
{
	struct relay_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return false;
	if (!relay_flow_init(&l->r, &c->flow[0]))
		goto err_free;
	if (!relay_flow_init(&l->r, &c->flow[1]))
		goto err_flow;
	set_up(client);
	c->side[0] = (struct relay_side){ .conn = c, .fd = client };
	c->side[1] = (struct relay_side){ .conn = c, .fd = -1 };
	c->flow[0].from = client;
	c->flow[1].to = client;
	c->next = l->to;
	c->connecting = true;
	TAILQ_INSERT_TAIL(&l->conns, c, in);
	l->accepted++;
	if (!ask(l, &c->side[0], 0))
		conn_end(l, c, true);
	else
		conn_connect(l, c, 0);
	return true;

err_flow:
	relay_flow_end(&l->r, &c->flow[0]);
err_free:
	free(c);
	return false;
}

static bool accept_one(struct relay_loop *l)
{
	int fd = accept4(l->listener.fd, NULL, NULL, SOCK_CLOEXEC |
			 SOCK_NONBLOCK);

	if (fd >= 0) {
		if (conn_new(l, fd))
			return true;
		close(fd);
	} else if (errno == EAGAIN) {
		return false;
	} else if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS &&
		   errno != ENOMEM) {
		/* That one went, or the network did; so may the next. */
		return true;
	}
	/* Until the next tick: who waits in the queue is not asked for at once. */
	forget(l, &l->listener);
	return false;
}

static bool may_accept(const struct relay_loop *l)
{
	return (!l->limit || l->accepted < l->limit) &&
	       l->accepted - l->done < l->max;
}

static void accept_some(struct relay_loop *l)
{
	int i;

	for (i = 0; i < ACCEPTS && may_accept(l); i++)
		if (!accept_one(l))
			return;
	if (!may_accept(l))
		forget(l, &l->listener);
}

static void progress(struct relay_loop *l, double now)
{
	char bytes[FMT_BYTES_MAX], rate[FMT_BYTES_MAX];
	uint64_t sum = l->r.bytes[0] + l->r.bytes[1];

	l->shown = now;
	tool_progress("%llu connections, %llu open, %s, %s/s",
		      (unsigned long long)l->accepted,
		      (unsigned long long)(l->accepted - l->done),
		      fmt_bytes(bytes, sum),
		      fmt_bytes(rate, sum / (now - l->start)));
}

static void tick(struct relay_loop *l)
{
	double now = tool_now();

	if (now - l->shown < PROGRESS_SEC)
		return;
	progress(l, now);
	/* It may have been files of others that there were too many of. */
	if (may_accept(l))
		ask(l, &l->listener, EPOLLIN);
}

static void free_gone(struct relay_loop *l)
{
	struct relay_conn *c;

	if (!TAILQ_EMPTY(&l->gone) && may_accept(l))
		ask(l, &l->listener, EPOLLIN);
	while ((c = TAILQ_FIRST(&l->gone))) {
		TAILQ_REMOVE(&l->gone, c, in);
		free(c);
	}
}

bool relay_loop_init(struct relay_loop *l, int fd)
{
	TAILQ_INIT(&l->conns);
	TAILQ_INIT(&l->gone);
	TAILQ_INIT(&l->waiting);
	l->listener = (struct relay_side){ .fd = fd };
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll >= 0 && ask(l, &l->listener, EPOLLIN))
		return true;
	tool_err("Cannot wait for connections: %s.", strerror(errno));
	return false;
}

void relay_loop_run(struct relay_loop *l, const bool *stopped)
{
	struct epoll_event events[EVENTS];
	int i, n;

	l->start = tool_now();
	l->shown = l->start;
	while (!__atomic_load_n(stopped, __ATOMIC_RELAXED) &&
	       (!l->limit || l->done < l->limit)) {
		n = epoll_wait(l->epoll, events, EVENTS, TICK_MS);
		for (i = 0; i < n; i++) {
			struct relay_side *s = events[i].data.ptr;

			if (s->conn)
				conn_event(l, s, events[i].events);
			else
				accept_some(l);
		}
		run_waiting(l);
		free_gone(l);
		tick(l);
	}
	tool_progress_end();
	/* Nobody is to think that he had everything. */
	while (!TAILQ_EMPTY(&l->conns))
		conn_end(l, TAILQ_FIRST(&l->conns), true);
	free_gone(l);
	free(l->r.spare);
	close(l->epoll);
	close(l->listener.fd);
}
