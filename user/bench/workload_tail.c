// SPDX-License-Identifier: GPL-2.0
/*
 * tail: a server of one thread answers requests of 1 KiB on a few connections
 * while 8 MiB at a time go out on another, to a receiver that reads. How long an
 * answer takes, from the request on, is the figure.
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "workload.h"

#define REQUEST		1024U		/* bytes, and of an answer */
#define CLIENTS		4U		/* connections, served in turn */
#define LARGE		((size_t)8 << 20)
#define PART		FBUF_BUF_SIZE_MAX	/* in a call, at most */
#define PARTS		(LARGE / PART)
#define SAMPLES_MAX	1000000U
#define WARM_UP_NS	100000000ULL
#define STALL_NS	20000000000ULL

struct server {
	struct flow f;		/* of the large messages, part by part */
	bool large;		/* there are any */
	int ours[CLIENTS], theirs[CLIENTS];	/* ends of each connection */
	size_t sent;		/* bytes of the part at f.at */
	uint64_t calm, end;	/* ns: when what counts begins and ends */
	uint64_t first, last;	/* parts that were sent then */
	atomic_uint_least64_t arrived;		/* parts, and: */
	atomic_uint_least64_t base;	/* what those of a round are made from */
	atomic_bool check;	/* look at each byte of a part */
	atomic_bool stop;
	unsigned int wrong;	/* parts */
	double *samples;	/* ns */
	unsigned int nr;
	int err;		/* of the clients, or a negative errno value */
};

static const char * const ways[] = {
	"none", "write", "mmap-write-once", "sendfile", "sendfile-huge",
	"splice", "splice-huge", "vmsplice", "msg-zerocopy", "fbuf",
};

/* Part number n; but for the first and last ones only a word of it. */
static bool part_right(const struct server *s, uint64_t n)
{
	uint64_t seed = atomic_load(&s->base) + n % PARTS, word;

	if (atomic_load(&s->check))
		return flow_check(&s->f, seed, s->f.sink);
	word = flow_first(&s->f, seed);
	return !memcmp(&word, s->f.sink, sizeof(word));
}

/* Reads the large messages. */
static void *reader(void *arg)
{
	struct server *s = arg;
	struct flow *f = &s->f;
	uint64_t n;
	size_t got;
	ssize_t m;

	for (n = 0; ; n++) {
		for (got = 0; got < f->size; got += m) {
			m = flow_result(recv(f->rx, f->sink + got,
					     f->size - got, 0));
			if (m == -EINTR)
				m = 0;
			else if (m <= 0)
				return NULL;
		}
		s->wrong += !part_right(s, n);
		atomic_fetch_add(&s->arrived, 1);
	}
}

static int transfer(int fd, void *buf, size_t len, bool out)
{
	size_t done;
	ssize_t n;

	for (done = 0; done < len; done += n) {
		n = flow_result(out ? write(fd, (char *)buf + done, len - done) :
				      read(fd, (char *)buf + done, len - done));
		if (n == -EINTR)
			n = 0;
		else if (n <= 0)
			return n ? n : -EPIPE;
	}
	return 0;
}

/* One request at a time, on each connection in turn. */
static void *clients(void *arg)
{
	struct server *s = arg;
	uint8_t buf[REQUEST];
	uint64_t start, i;
	int err = 0, fd;

	for (i = 0; !err && now_ns() < s->end; i++) {
		fd = s->theirs[i % CLIENTS];
		memset(buf, i, sizeof(buf));
		start = now_ns();
		err = transfer(fd, buf, sizeof(buf), true);
		if (!err)
			err = transfer(fd, buf, sizeof(buf), false);
		if (!err && buf[REQUEST - 1] != (uint8_t)~i)
			err = -EBADMSG;
		if (!err && start > s->calm && s->nr < SAMPLES_MAX)
			s->samples[s->nr++] = now_ns() - start;
	}
	s->err = err;
	atomic_store(&s->stop, true);
	return NULL;
}

static int answer(int fd)
{
	uint8_t buf[REQUEST];
	int err;

	err = transfer(fd, buf, sizeof(buf), false);
	memset(buf, ~buf[0], sizeof(buf));
	return err ? err : transfer(fd, buf, sizeof(buf), true);
}

/* As much as the socket takes now. */
static int send_large(struct server *s)
{
	struct flow *f = &s->f;
	ssize_t n;

	n = f->method->send(f, f->at + s->sent, f->size - s->sent);
	if (n < 0)
		return n == -EAGAIN || n == -EINTR ? 0 : n;
	s->sent += n;
	if (s->sent < f->size)
		return 0;
	s->sent = 0;
	flow_next(f);
	if (f->method->reap)
		f->method->reap(f);
	return 0;
}

/* So that nobody waits for more. */
static void shutdown_all(struct server *s)
{
	unsigned int i;

	for (i = 0; i < CLIENTS; i++)
		shutdown(s->ours[i], SHUT_RDWR);
}

/* The last fd is of the large messages: served when all others were. */
static int serve(struct server *s)
{
	struct pollfd fds[CLIENTS + 1];
	unsigned int i;
	int err = 0;

	for (i = 0; i < CLIENTS; i++)
		fds[i] = (struct pollfd){ .fd = s->ours[i], .events = POLLIN };
	fds[CLIENTS] = (struct pollfd){
		.fd = s->large ? s->f.tx : -1, .events = POLLOUT,
	};
	while (!err && !atomic_load(&s->stop)) {
		if (poll(fds, CLIENTS + 1, 100) < 0 && errno != EINTR)
			return -errno;
		for (i = 0; !err && i < CLIENTS; i++) {
			if (fds[i].revents)
				err = answer(fds[i].fd);
		}
		if (!err && s->large && fds[CLIENTS].revents)
			err = send_large(s);
	}
	return err;
}

/* Until so many parts were sent, and have arrived. */
static int send_until(struct server *s, uint64_t parts)
{
	struct pollfd pfd = { .fd = s->f.tx, .events = POLLOUT };
	uint64_t start = now_ns();
	int err = 0;

	while (!err && s->f.number < parts) {
		poll(&pfd, 1, 1);
		err = now_ns() - start > STALL_NS ? -ETIMEDOUT : send_large(s);
	}
	while (!err && atomic_load(&s->arrived) < parts) {
		poll(NULL, 0, 1);
		err = now_ns() - start > STALL_NS ? -ETIMEDOUT : 0;
	}
	return err;
}

/* The rest of the round, and one of parts like none before. */
static int send_fresh(struct server *s)
{
	struct flow *f = &s->f;
	unsigned int i;
	int err;

	err = send_until(s, (f->number + PARTS) / PARTS * PARTS);
	atomic_store(&s->base, FLOW_SEED);
	atomic_store(&s->check, true);
	for (i = 0; !err && i < PARTS; i++) {
		err = flow_fill(f, FLOW_SEED + i);
		f->at = (f->at + f->stride) % f->source;
	}
	return err ? err : send_until(s, f->number + PARTS);
}

static int run_server(struct server *s, double seconds)
{
	pthread_t client;
	int err = 0;

	atomic_store(&s->check, true);
	if (s->large)
		err = send_until(s, PARTS);
	atomic_store(&s->check, false);
	s->calm = now_ns() + WARM_UP_NS;
	s->end = s->calm + seconds * 1e9;
	s->first = s->f.number;
	if (!err)
		err = -pthread_create(&client, NULL, clients, s);
	if (err)
		return err;
	err = serve(s);
	s->last = s->f.number;
	if (err)
		shutdown_all(s);
	pthread_join(client, NULL);
	if (!err)
		err = s->err;
	return err || !s->large ? err : send_fresh(s);
}

static int connect_clients(struct server *s)
{
	unsigned int i;
	int err, fd[2];

	for (i = 0; i < CLIENTS; i++) {
		err = tool_tcp_pair(fd, 0);
		if (err < 0)
			return err;
		s->theirs[i] = fd[0];
		s->ours[i] = fd[1];
	}
	return 0;
}

static int tail_open(struct server *s, const char *way)
{
	const struct method *m = method_find(s->large ? way : "write");
	size_t source = source_size;
	int err;

	source_size = LARGE;
	err = flow_open(&s->f, m, PART, false);
	source_size = source;
	if (err)
		return err;
	s->samples = calloc(SAMPLES_MAX, sizeof(*s->samples));
	return s->samples ? connect_clients(s) : -ENOMEM;
}

static void tail_close(struct server *s)
{
	unsigned int i;

	for (i = 0; i < CLIENTS; i++) {
		if (s->ours[i] >= 0)
			close(s->ours[i]);
		if (s->theirs[i] >= 0)
			close(s->theirs[i]);
	}
	if (s->f.txs)
		flow_close(&s->f);
	free(s->samples);
}

static int tail_run(struct server *s, double seconds)
{
	pthread_t rx;
	int err, flags;

	/* Only the server must not wait. */
	flags = fcntl(s->f.rx, F_GETFL);
	fcntl(s->f.rx, F_SETFL, flags & ~O_NONBLOCK);
	err = -pthread_create(&rx, NULL, reader, s);
	if (err)
		return err;
	err = run_server(s, seconds);
	shutdown(s->f.tx, SHUT_WR);
	pthread_join(rx, NULL);
	return !err && s->wrong ? -EBADMSG : err;
}

static void take_samples(struct load_row *r, struct server *s, double seconds)
{
	unsigned int nr = s->nr;

	r->p50 = median(s->samples, nr);
	r->p99 = s->samples[(uint64_t)nr * 99 / 100];
	r->p999 = s->samples[(uint64_t)nr * 999 / 1000];
	r->total = r->p50;
	r->min = s->samples[0];
	r->max = s->samples[nr - 1];
	r->repeats = nr;
	r->verified = true;
	if (s->large)
		r->large = (s->last - s->first) * (double)PART / (1 << 20) /
			   (seconds + WARM_UP_NS / 1e9);
}

static void measure(struct load_run *run, const char *way)
{
	double seconds = run->o->seconds ?: run->o->quick ? 0.3 : 2;
	struct load_row r = LOAD_ROW_INIT("tail", way);
	struct server s = { .large = strcmp(way, "none") };
	int err;

	r.size = REQUEST;
	load_progress(&r);
	memset(s.ours, -1, sizeof(s.ours));
	memset(s.theirs, -1, sizeof(s.theirs));
	if (clock_is_instructions()) {
		snprintf(r.note, NOTE_MAX,
			 "unsupported: it needs a clock of time, not of instructions");
		load_add(run, &r);
		return;
	}
	err = tail_open(&s, way);
	if (!err)
		err = tail_run(&s, seconds);
	if (!err && !s.nr)
		err = -ETIMEDOUT;
	if (!err)
		take_samples(&r, &s, seconds);
	load_flow(&r, &s.f, err);
	tail_close(&s);
	load_add(run, &r);
}

void workload_tail(struct load_run *run)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ways); i++)
		measure(run, ways[i]);
}
