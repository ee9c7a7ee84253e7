// SPDX-License-Identifier: GPL-2.0
/* fbuf compare: the two ways to measure a method on one. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "compare.h"

#define WARM_UP		16		/* calls that open the TCP window */
#define VERIFY_CALLS	2
#define REAP_EVERY	16		/* sends, free running */
#define STALL_NS	200000000ULL	/* without progress: it would block */

/* All of a message is sent: go on to the next. */
static void lane_next(struct lane *l)
{
	l->at += l->stride;
	if (l->at == l->source)
		l->at = 0;
}

/*
 * One message, sent and received in turns by this thread: as a rule one turn.
 * patient is how long it may wait for the kernel to bring the bytes over, and
 * whether it may sleep meanwhile; that is not for what is timed.
 */
static int step(struct lane *l, int flags, bool patient, struct tool_sha *sha,
		uint64_t *send, uint64_t *total)
{
	struct pollfd pfd = { .fd = l->rx, .events = POLLIN };
	uint64_t start = now_ns(), t = start, moved = start;
	size_t sent = 0, got = 0;
	ssize_t n, m;

	for (*send = 0; ; ) {
		n = 0;
		if (sent < l->size) {
			uint64_t before = t;

			n = l->method->send(l, l->at + sent, l->size - sent);
			t = now_ns();
			l->calls += l->method->calls;
			*send += t - before;
			if (n < 0 && n != -EAGAIN)
				return n;
			sent += n > 0 ? n : 0;
		}
		m = lane_drain(l, l->size - got, flags | MSG_DONTWAIT);
		l->calls++;
		t = now_ns();
		if (m < 0 && m != -EAGAIN)
			return m;
		if (m > 0 && sha)
			tool_sha_update(sha, l->sink, m);
		got += m > 0 ? m : 0;
		if (got == l->size && sent == l->size)
			break;
		if (n > 0 || m > 0)
			moved = t;
		else if (t - moved > STALL_NS * (patient ? 50 : 1))
			return -ETIMEDOUT;
		else if (patient)
			poll(&pfd, 1, 1);
		if (l->punted && !patient)
			return -EINPROGRESS;
	}
	*total = t - start;
	lane_next(l);
	if (l->method->reap)
		l->method->reap(l);
	return 0;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *v, unsigned int nr)
{
	qsort(v, nr, sizeof(*v), by_value);
	return nr % 2 ? v[nr / 2] : (v[nr / 2 - 1] + v[nr / 2]) / 2;
}

static void row_note(struct row *r, const char *what, int err)
{
	if (!r->note[0])
		snprintf(r->note, sizeof(r->note), "%s: %s", what,
			 strerror(-err));
}

static void row_verified(struct row *r, int err, const char *sent,
			 const char *got)
{
	r->verified = !err && !strcmp(sent, got);
	if (err)
		row_note(r, "verifying", err);
	else if (!r->verified)
		snprintf(r->note, sizeof(r->note), "the data arrived changed");
}

static void lockstep_verify(struct row *r)
{
	char sent[TOOL_SHA_HEX], got[TOOL_SHA_HEX];
	struct tool_sha *tx, *rx;
	uint64_t send, total;
	struct lane l;
	int i, err;

	err = lane_open(&l, r->method, r->size, false);
	if (err) {
		memcpy(r->note, l.why, sizeof(r->note));
		return;
	}
	tx = tool_sha_new();
	rx = tool_sha_new();
	for (i = 0; !err && i < VERIFY_CALLS; i++) {
		err = lane_fill(&l, LANE_SEED + i, tx);
		if (!err)
			err = step(&l, 0, true, rx, &send, &total);
	}
	lane_close(&l);
	tool_sha_end(tx, sent);
	tool_sha_end(rx, got);
	row_verified(r, err, sent, got);
}

static int lockstep_calls(struct row *r, struct lane *l, double *send,
			  double *total, unsigned int calls)
{
	int flags = r->read ? 0 : MSG_TRUNC, err;
	uint64_t s, t;
	unsigned int i;

	for (i = 0; i < WARM_UP + calls; i++) {
		err = step(l, flags, false, NULL, &s, &t);
		if (err)
			return err;
		if (i < WARM_UP) {
			l->calls = 0;
			continue;
		}
		send[i - WARM_UP] = s;
		total[i - WARM_UP] = t;
	}
	r->send = median(send, calls);
	r->total = median(total, calls);
	r->min = total[0];
	r->max = total[calls - 1];
	r->repeats = calls;
	r->calls = (double)l->calls / calls;
	/* This thread never sleeps: its CPU time is the time that passes. */
	r->gbytes_per_s = r->size / r->total;
	r->cpu_s_per_gib = r->total / 1e9 / r->size * (1 << 30);
	return 0;
}

static void row_lane(struct row *r, const struct lane *l)
{
	if (l->reported)
		r->copied = (double)l->copied / l->reported * l->size;
	r->engine = l->engine;
}

void measure_lockstep(struct row *r, unsigned int calls)
{
	double *send, *total;
	struct lane l;
	int err;

	lockstep_verify(r);
	if (!r->verified)
		return;
	send = calloc(calls, sizeof(*send));
	total = calloc(calls, sizeof(*total));
	err = send && total ? lane_open(&l, r->method, r->size, false) : -ENOMEM;
	if (err) {
		row_note(r, "measuring", err);
		goto free;
	}
	err = lockstep_calls(r, &l, send, total, calls);
	row_lane(r, &l);
	lane_close(&l);
	if (err == -EINPROGRESS)
		snprintf(r->note, sizeof(r->note),
			 "goes to a worker thread: not measurable in lock step");
	else if (err == -ETIMEDOUT)
		snprintf(r->note, sizeof(r->note),
			 "would block: not measurable in lock step");
	else if (err)
		row_note(r, "measuring", err);
free:
	free(send);
	free(total);
}

/* One free run: a sender and a receiver, each in a thread. */
struct run {
	struct lane l;
	bool read;
	unsigned int limit;	/* messages, or 0: until stop */
	struct tool_sha *tx, *rx;	/* of what is sent and what comes, or NULL */
	sem_t arrived;		/* with them: a message, or nothing more will */
	atomic_bool stop;
	uint64_t calls, start, sent, end;	/* end: ns, at the receiver's EOF */
	uint64_t cpu;		/* ns, of the sender */
	int err;
};

static int send_message(struct lane *l)
{
	size_t sent = 0;
	ssize_t n;

	while (sent < l->size) {
		n = l->method->send(l, l->at + sent, l->size - sent);
		/* Being stopped and going on is no failure. */
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? n : -EIO;
		sent += n;
	}
	lane_next(l);
	return 0;
}

/*
 * A message like none before it; else a method that sends an old one would pass.
 * Where all share one place, each has to wait for the one before.
 */
static int send_fresh(struct run *run)
{
	struct lane *l = &run->l;
	int err;

	err = lane_fill(l, LANE_SEED + run->calls, run->tx);
	if (!err)
		err = send_message(l);
	while (!err && l->source == l->stride && sem_wait(&run->arrived))
		;
	return err;
}

static void *sender(void *arg)
{
	struct run *run = arg;
	struct lane *l = &run->l;
	struct timespec ts;

	do {
		run->err = run->tx ? send_fresh(run) : send_message(l);
		if (run->err)
			break;
		run->calls++;
		if (l->method->reap && !(run->calls % REAP_EVERY))
			l->method->reap(l);
	} while (run->calls != run->limit &&
		 !atomic_load_explicit(&run->stop, memory_order_relaxed));
	run->sent = now_ns();
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	run->cpu = ts.tv_sec * 1000000000ULL + ts.tv_nsec;
	shutdown(l->tx, SHUT_WR);
	return NULL;
}

/* Bytes of a message that is to be verified; the rest of the one before is left. */
static size_t take_fresh(struct run *run, size_t left, size_t len)
{
	tool_sha_update(run->rx, run->l.sink, len);
	for (left += len; left >= run->l.size; left -= run->l.size)
		sem_post(&run->arrived);
	return left;
}

static void *receiver(void *arg)
{
	struct run *run = arg;
	int flags = run->read ? 0 : MSG_TRUNC;
	size_t left = 0;
	unsigned int i;
	ssize_t n;

	do {
		n = lane_drain(&run->l, SINK_SIZE, flags);
		if (n > 0 && run->rx)
			left = take_fresh(run, left, n);
	} while (n > 0 || n == -EINTR);
	run->end = now_ns();
	/* Nothing more to wait for. */
	for (i = 0; run->rx && i < run->limit; i++)
		sem_post(&run->arrived);
	return NULL;
}

/* seconds is not used when run->limit is set. */
static int run_threads(struct run *run, double seconds)
{
	struct timespec ts = {
		.tv_sec = seconds,
		.tv_nsec = (seconds - (time_t)seconds) * 1e9,
	};
	pthread_t tx, rx;
	int err;

	err = pthread_create(&rx, NULL, receiver, run);
	if (err)
		return -err;
	run->start = now_ns();
	err = pthread_create(&tx, NULL, sender, run);
	if (err) {
		shutdown(run->l.tx, SHUT_WR);
	} else {
		if (!run->limit) {
			nanosleep(&ts, NULL);
			atomic_store(&run->stop, true);
		}
		pthread_join(tx, NULL);
	}
	pthread_join(rx, NULL);
	return err ? -err : run->err;
}

static void stream_verify(struct row *r)
{
	struct run run = { .read = true, .limit = VERIFY_CALLS };
	char sent[TOOL_SHA_HEX], got[TOOL_SHA_HEX];
	int err;

	err = lane_open(&run.l, r->method, r->size, true);
	if (err) {
		memcpy(r->note, run.l.why, sizeof(r->note));
		return;
	}
	run.tx = tool_sha_new();
	run.rx = tool_sha_new();
	sem_init(&run.arrived, 0, 0);
	err = run_threads(&run, 0);
	sem_destroy(&run.arrived);
	lane_close(&run.l);
	tool_sha_end(run.tx, sent);
	tool_sha_end(run.rx, got);
	row_verified(r, err, sent, got);
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* What the repetitions of one row gave. */
struct reps {
	double *send, *total, *cpu, *rate, *cpu_gib;
	unsigned int nr;
};

static int stream_once(struct row *r, struct reps *reps, double seconds)
{
	struct run run = { .read = r->read };
	unsigned int i = reps->nr;
	double cpu, bytes, ns;
	int err;

	err = lane_open(&run.l, r->method, r->size, true);
	if (err)
		return err;
	cpu = cpu_seconds();
	err = run_threads(&run, seconds);
	cpu = cpu_seconds() - cpu;
	row_lane(r, &run.l);
	lane_close(&run.l);
	if (err)
		return err;
	ns = run.end - run.start;
	bytes = (double)run.calls * r->size;
	reps->send[i] = (double)(run.sent - run.start) / run.calls;
	reps->total[i] = ns / run.calls;
	reps->cpu[i] = (double)run.cpu / run.calls;
	reps->rate[i] = bytes / ns;
	reps->cpu_gib[i] = cpu / bytes * (1 << 30);
	reps->nr++;
	return 0;
}

static void stream_medians(struct row *r, struct reps *reps)
{
	r->send = median(reps->send, reps->nr);
	r->total = median(reps->total, reps->nr);
	r->min = reps->total[0];
	r->max = reps->total[reps->nr - 1];
	r->send_cpu = median(reps->cpu, reps->nr);
	r->gbytes_per_s = median(reps->rate, reps->nr);
	r->cpu_s_per_gib = median(reps->cpu_gib, reps->nr);
	r->repeats = reps->nr;
}

void measure_stream(struct row *rows, unsigned int nr, unsigned int repeats,
		    double seconds)
{
	double *values = calloc((size_t)nr * repeats * 5, sizeof(*values));
	struct reps *reps = calloc(nr, sizeof(*reps));
	unsigned int i, j;
	int err;

	for (i = 0; values && reps && i < nr; i++) {
		double *v = values + (size_t)i * repeats * 5;

		reps[i] = (struct reps){
			.send = v, .total = v + repeats, .cpu = v + 2 * repeats,
			.rate = v + 3 * repeats, .cpu_gib = v + 4 * repeats,
		};
		stream_verify(&rows[i]);
	}
	for (j = 0; values && reps && j < repeats; j++) {
		for (i = 0; i < nr; i++) {
			if (!rows[i].verified || rows[i].note[0])
				continue;
			err = stream_once(&rows[i], &reps[i], seconds);
			if (err)
				row_note(&rows[i], "measuring", err);
		}
	}
	for (i = 0; i < nr; i++) {
		if (!values || !reps)
			row_note(&rows[i], "measuring", -ENOMEM);
		else if (reps[i].nr && !rows[i].note[0])
			stream_medians(&rows[i], &reps[i]);
	}
	free(values);
	free(reps);
}
