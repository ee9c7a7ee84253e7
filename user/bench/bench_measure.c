// SPDX-License-Identifier: GPL-2.0
/* fbuf bench: one row, in lock step. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"

#define WARM_UP		16U		/* messages */
#define WARM_UP_MANY	4U		/* with so many sockets as this: */
#define MANY		64U
#define VERIFY_CALLS	2
#define STALL_NS	2000000000ULL	/* nothing comes: it would block */

/* One socket after the other, for methods that have nothing better. */
static ssize_t send_each(struct lane *l)
{
	ssize_t n, sum = 0;
	unsigned int i;

	for (i = 0; i < l->nr; i++) {
		l->tx = l->txs[i];
		n = l->method->send(l, 0, l->size);
		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

static ssize_t send_all(struct lane *l, unsigned int in)
{
	const struct method *m = l->method;

	if (in == IN_ONE)
		return m->send(l, 0, l->size);
	if (in == IN_GATHER)
		return m->gather(l);
	return m->fan ? m->fan(l) : send_each(l);
}

/* Drop what the socket brings, without sleeping; or read it, to be checked. */
static int receive(struct lane *l, bool read)
{
	int flags = MSG_DONTWAIT | (read ? 0 : MSG_TRUNC);
	uint64_t moved = now_ns();
	size_t got = 0;
	ssize_t n;

	while (got < l->size) {
		n = lane_result(recv(l->rx, l->sink + got, l->size - got,
				     flags));
		if (n > 0) {
			got += n;
			moved = now_ns();
		} else if (n != -EAGAIN) {
			return n ? n : -EPIPE;
		} else if (now_ns() - moved > STALL_NS) {
			return -ETIMEDOUT;
		}
	}
	return 0;
}

static int receive_all(struct lane *l, bool read, uint64_t seed)
{
	unsigned int i;
	int err;

	for (i = 0; i < l->nr; i++) {
		l->rx = l->rxs[i];
		err = receive(l, read);
		if (err)
			return err;
		if (read && !lane_check(l, seed, l->sink))
			return -EBADMSG;
	}
	return 0;
}

/*
 * Bring a connection to where it stays: only when the receiver's window has
 * grown as far as its buffer allows does it stop to acknowledge each segment
 * at once, inside the send. Messages would take hundreds of turns for that.
 */
static int warm_up_one(struct lane *l)
{
	size_t left, size;
	socklen_t len = sizeof(int);
	uint64_t moved = now_ns();
	ssize_t n, m;
	int buf;

	if (getsockopt(l->rx, SOL_SOCKET, SO_RCVBUF, &buf, &len))
		return -errno;
	for (left = buf; left; left -= n) {
		size = left < SINK_SIZE ? left : SINK_SIZE;
		n = lane_result(write(l->tx, l->sink, size));
		if (n == -EAGAIN && now_ns() - moved < STALL_NS)
			n = 0;
		if (n < 0)
			return n;
		for (size = n; size; size -= m) {
			m = lane_drain(l, size, MSG_TRUNC | MSG_DONTWAIT);
			if (m > 0)
				moved = now_ns();
			else if (m == -EAGAIN && now_ns() - moved < STALL_NS)
				m = 0;
			else
				return m ? m : -EPIPE;
		}
	}
	return 0;
}

static int warm_up(struct lane *l)
{
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < l->nr; i++) {
		l->tx = l->txs[i];
		l->rx = l->rxs[i];
		err = warm_up_one(l);
	}
	l->tx = l->txs[0];
	return err;
}

/* With read, what arrives is checked against the message of that seed. */
static int step(struct lane *l, unsigned int in, bool read, uint64_t seed,
		uint64_t *send, uint64_t *total)
{
	uint64_t start, sent;
	ssize_t n;
	int err;

	start = now_ns();
	n = send_all(l, in);
	sent = now_ns();
	if (n < 0)
		return l->punted ? -EINPROGRESS : n;
	if (n != (ssize_t)(l->size * l->nr))
		return -EMSGSIZE;
	err = receive_all(l, read, seed);
	*total = now_ns() - start;
	*send = sent - start;
	if (l->took) {
		*total -= *send - l->took;
		*send = l->took;
	}
	if (l->method->reap)
		l->method->reap(l);
	return err;
}

static int verify(struct lane *l, struct bench_row *r)
{
	uint64_t send, total, seed;
	int err;

	for (seed = 1; seed <= VERIFY_CALLS; seed++) {
		err = lane_fill(l, seed, NULL);
		if (!err)
			err = step(l, r->in, true, seed, &send, &total);
		if (err)
			return err;
	}
	r->verified = true;
	return 0;
}

static int measure(struct lane *l, struct bench_row *r, unsigned int calls)
{
	unsigned int warm = r->sockets >= MANY ? WARM_UP_MANY : WARM_UP, i;
	double *send = calloc(calls, sizeof(*send));
	double *total = calloc(calls, sizeof(*total));
	uint64_t s, t;
	int err = send && total ? verify(l, r) : -ENOMEM;

	if (!err)
		err = warm_up(l);
	l->reported = 0;
	l->copied = 0;
	for (i = 0; !err && i < warm + calls; i++) {
		err = step(l, r->in, false, 0, &s, &t);
		if (i < warm)
			continue;
		send[i - warm] = s;
		total[i - warm] = t;
	}
	if (!err) {
		r->send = median(send, calls);
		r->total = median(total, calls);
		r->min = send[0];
		r->max = send[calls - 1];
		r->repeats = calls;
	}
	if (l->reported)
		r->copied = (double)l->copied / l->reported * l->size;
	r->engine = l->engine;
	free(send);
	free(total);
	return err;
}

static void note(struct bench_row *r, const char *text)
{
	snprintf(r->note, sizeof(r->note), "%s", text);
}

void bench_measure(struct bench_row *r, unsigned int calls)
{
	struct lane l;
	int err;

	err = lane_open_wide(&l, r->method, r->size, r->sockets, r->segs, false);
	if (err) {
		note(r, l.why[0] ? l.why : strerror(-err));
		return;
	}
	err = measure(&l, r, calls);
	lane_close(&l);
	switch (err) {
	case 0:
		break;
	case -EINPROGRESS:
		note(r, "unsupported: goes to a worker thread, which lock step cannot measure");
		break;
	case -EAGAIN:
	case -EMSGSIZE:
	case -ETIMEDOUT:
		note(r, "unsupported: would sleep, which lock step cannot measure");
		break;
	case -EOPNOTSUPP:
		note(r, "unsupported: this engine does not take it");
		break;
	case -EBADMSG:
		note(r, "the data arrived changed");
		break;
	default:
		note(r, strerror(-err));
	}
}
