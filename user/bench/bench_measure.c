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

/* One socket after the other, for methods that have nothing better. */
static ssize_t send_each(struct flow *f)
{
	ssize_t n, sum = 0;
	unsigned int i;

	for (i = 0; i < f->nr; i++) {
		f->tx = f->txs[i];
		n = f->method->send(f, 0, f->size);
		if (n < 0)
			return n;
		sum += n;
	}
	return sum;
}

static ssize_t send_all(struct flow *f, unsigned int in)
{
	const struct method *m = f->method;

	if (in == IN_ONE)
		return m->send(f, 0, f->size);
	if (in == IN_GATHER)
		return m->gather(f);
	return m->fan ? m->fan(f) : send_each(f);
}

/* Drop what the sockets bring; or read it, to be checked. */
static int receive_all(struct flow *f, bool read, uint64_t seed)
{
	unsigned int i;
	int err;

	for (i = 0; i < f->nr; i++) {
		f->rx = f->rxs[i];
		err = flow_receive(f, read ? 0 : MSG_TRUNC);
		if (err)
			return err;
		if (read && !flow_check(f, seed, f->sink))
			return -EBADMSG;
	}
	return 0;
}

/* With read, what arrives is checked against the message of that seed. */
static int step(struct flow *f, unsigned int in, bool read, uint64_t seed,
		uint64_t *send, uint64_t *total)
{
	uint64_t start, sent;
	ssize_t n;
	int err;

	start = now_ns();
	n = send_all(f, in);
	sent = now_ns();
	if (n < 0)
		return f->punted ? -EINPROGRESS : n;
	if (n != (ssize_t)(f->size * f->nr))
		return -EMSGSIZE;
	err = receive_all(f, read, seed);
	*total = now_ns() - start;
	*send = sent - start;
	if (f->took) {
		*total -= *send - f->took;
		*send = f->took;
	}
	if (f->method->reap)
		f->method->reap(f);
	return err;
}

static int verify(struct flow *f, struct bench_row *r)
{
	uint64_t send, total;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < VERIFY_CALLS; i++, f->number++) {
		err = flow_fresh(f);
		if (!err)
			err = step(f, r->in, true, f->seed, &send, &total);
	}
	r->verified = !err;
	return err;
}

static int measure(struct flow *f, struct bench_row *r, unsigned int calls)
{
	unsigned int warm = r->sockets >= MANY ? WARM_UP_MANY : WARM_UP, i;
	double *send = calloc(calls, sizeof(*send));
	double *total = calloc(calls, sizeof(*total));
	uint64_t s, t;
	int err = send && total ? verify(f, r) : -ENOMEM;

	if (!err)
		err = flow_warm_up(f);
	f->reported = 0;
	f->copied = 0;
	for (i = 0; !err && i < warm + calls; i++) {
		err = step(f, r->in, false, 0, &s, &t);
		if (i < warm)
			continue;
		send[i - warm] = s;
		total[i - warm] = t;
	}
	/* Again, as by now it may have kept what is old. */
	if (!err)
		err = verify(f, r);
	if (!err) {
		r->send = median(send, calls);
		r->total = median(total, calls);
		r->min = send[0];
		r->max = send[calls - 1];
		r->repeats = calls;
	}
	if (f->reported)
		r->copied = (double)f->copied / f->reported * f->size;
	r->engine = f->engine;
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
	struct flow f;
	int err;

	err = flow_open_wide(&f, r->method, r->size, r->sockets, r->segs, false);
	if (err) {
		note(r, f.why[0] ? f.why : strerror(-err));
		return;
	}
	err = measure(&f, r, calls);
	flow_close(&f);
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
