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
static void flow_next(struct flow *f)
{
	f->at += f->stride;
	if (f->at == f->source)
		f->at = 0;
}

/*
 * One message, sent and received in turns by this thread: as a rule one turn.
 * patient is how long it may wait for the kernel to bring the bytes over, and
 * whether it may sleep meanwhile; that is not for what is timed.
 */
static int step(struct flow *f, int flags, bool patient, struct tool_sha *sha,
		uint64_t *send, uint64_t *total)
{
	struct pollfd pfd = { .fd = f->rx, .events = POLLIN };
	uint64_t start = now_ns(), t = start, moved = start;
	size_t sent = 0, got = 0;
	ssize_t n, m;

	for (*send = 0; ; ) {
		n = 0;
		if (sent < f->size) {
			uint64_t before = t;

			n = f->method->send(f, f->at + sent, f->size - sent);
			t = now_ns();
			f->calls += f->method->calls;
			*send += t - before;
			if (n < 0 && n != -EAGAIN)
				return n;
			sent += n > 0 ? n : 0;
		}
		m = flow_drain(f, f->size - got, flags | MSG_DONTWAIT);
		f->calls++;
		t = now_ns();
		if (m < 0 && m != -EAGAIN)
			return m;
		if (m > 0 && sha)
			tool_sha_update(sha, f->sink, m);
		got += m > 0 ? m : 0;
		if (got == f->size && sent == f->size)
			break;
		if (n > 0 || m > 0)
			moved = t;
		else if (t - moved > STALL_NS * (patient ? 50 : 1))
			return -ETIMEDOUT;
		else if (patient)
			poll(&pfd, 1, 1);
		if (f->punted && !patient)
			return -EINPROGRESS;
	}
	*total = t - start;
	flow_next(f);
	if (f->method->reap)
		f->method->reap(f);
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
	struct flow f;
	int i, err;

	err = flow_open(&f, r->method, r->size, false);
	if (err) {
		memcpy(r->note, f.why, sizeof(r->note));
		return;
	}
	tx = tool_sha_new();
	rx = tool_sha_new();
	for (i = 0; !err && i < VERIFY_CALLS; i++) {
		err = flow_fill(&f, FLOW_SEED + i, tx);
		if (!err)
			err = step(&f, 0, true, rx, &send, &total);
	}
	flow_close(&f);
	tool_sha_end(tx, sent);
	tool_sha_end(rx, got);
	row_verified(r, err, sent, got);
}

static int lockstep_calls(struct row *r, struct flow *f, double *send,
			  double *total, unsigned int calls)
{
	int flags = r->read ? 0 : MSG_TRUNC, err;
	uint64_t s, t;
	unsigned int i;

	for (i = 0; i < WARM_UP + calls; i++) {
		err = step(f, flags, false, NULL, &s, &t);
		if (err)
			return err;
		if (i < WARM_UP) {
			f->calls = 0;
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
	r->calls = (double)f->calls / calls;
	/* This thread never sleeps: its CPU time is the time that passes. */
	r->gbytes_per_s = r->size / r->total;
	r->cpu_s_per_gib = r->total / 1e9 / r->size * (1 << 30);
	return 0;
}

static void row_flow(struct row *r, const struct flow *f)
{
	if (f->reported)
		r->copied = (double)f->copied / f->reported * f->size;
	r->engine = f->engine;
}

void measure_lockstep(struct row *r, unsigned int calls)
{
	double *send, *total;
	struct flow f;
	int err;

	lockstep_verify(r);
	if (!r->verified)
		return;
	send = calloc(calls, sizeof(*send));
	total = calloc(calls, sizeof(*total));
	err = send && total ? flow_open(&f, r->method, r->size, false) : -ENOMEM;
	if (err) {
		row_note(r, "measuring", err);
		goto free;
	}
	err = lockstep_calls(r, &f, send, total, calls);
	row_flow(r, &f);
	flow_close(&f);
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
	struct flow f;
	bool read;
	unsigned int limit;	/* messages, or 0: until stop */
	struct tool_sha *tx, *rx;	/* of what is sent and what comes, or NULL */
	sem_t arrived;		/* with them: a message, or nothing more will */
	atomic_bool stop;
	uint64_t calls, start, sent, end;	/* end: ns, at the receiver's EOF */
	uint64_t cpu;		/* ns, of the sender */
	int err;
};

static int send_message(struct flow *f)
{
	size_t sent = 0;
	ssize_t n;

	while (sent < f->size) {
		n = f->method->send(f, f->at + sent, f->size - sent);
		/* Being stopped and going on is no failure. */
		if (n == -EINTR)
			continue;
		if (n <= 0)
			return n ? n : -EIO;
		sent += n;
	}
	flow_next(f);
	return 0;
}

/*
 * A message like none before it; else a method that sends an old one would pass.
 * Where all share one place, each has to wait for the one before.
 */
static int send_fresh(struct run *run)
{
	struct flow *f = &run->f;
	int err;

	err = flow_fill(f, FLOW_SEED + run->calls, run->tx);
	if (!err)
		err = send_message(f);
	while (!err && f->source == f->stride && sem_wait(&run->arrived))
		;
	return err;
}

static void *sender(void *arg)
{
	struct run *run = arg;
	struct flow *f = &run->f;
	struct timespec ts;

	do {
		run->err = run->tx ? send_fresh(run) : send_message(f);
		if (run->err)
			break;
		run->calls++;
		if (f->method->reap && !(run->calls % REAP_EVERY))
			f->method->reap(f);
	} while (run->calls != run->limit &&
		 !atomic_load_explicit(&run->stop, memory_order_relaxed));
	run->sent = now_ns();
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	run->cpu = ts.tv_sec * 1000000000ULL + ts.tv_nsec;
	shutdown(f->tx, SHUT_WR);
	return NULL;
}

/* Bytes of a message that is to be verified; the rest of the one before is left. */
static size_t take_fresh(struct run *run, size_t left, size_t len)
{
	tool_sha_update(run->rx, run->f.sink, len);
	for (left += len; left >= run->f.size; left -= run->f.size)
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
		n = flow_drain(&run->f, SINK_SIZE, flags);
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
		shutdown(run->f.tx, SHUT_WR);
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

	err = flow_open(&run.f, r->method, r->size, true);
	if (err) {
		memcpy(r->note, run.f.why, sizeof(r->note));
		return;
	}
	run.tx = tool_sha_new();
	run.rx = tool_sha_new();
	sem_init(&run.arrived, 0, 0);
	err = run_threads(&run, 0);
	sem_destroy(&run.arrived);
	flow_close(&run.f);
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
struct samples {
	double *send, *total, *cpu, *rate, *cpu_gib;
	unsigned int nr;
};

static int stream_once(struct row *r, struct samples *samples, double seconds)
{
	struct run run = { .read = r->read };
	unsigned int i = samples->nr;
	double cpu, bytes, ns;
	int err;

	err = flow_open(&run.f, r->method, r->size, true);
	if (err)
		return err;
	cpu = cpu_seconds();
	err = run_threads(&run, seconds);
	cpu = cpu_seconds() - cpu;
	row_flow(r, &run.f);
	flow_close(&run.f);
	if (err)
		return err;
	ns = run.end - run.start;
	bytes = (double)run.calls * r->size;
	samples->send[i] = (double)(run.sent - run.start) / run.calls;
	samples->total[i] = ns / run.calls;
	samples->cpu[i] = (double)run.cpu / run.calls;
	samples->rate[i] = bytes / ns;
	samples->cpu_gib[i] = cpu / bytes * (1 << 30);
	samples->nr++;
	return 0;
}

static void stream_medians(struct row *r, struct samples *samples)
{
	r->send = median(samples->send, samples->nr);
	r->total = median(samples->total, samples->nr);
	r->min = samples->total[0];
	r->max = samples->total[samples->nr - 1];
	r->send_cpu = median(samples->cpu, samples->nr);
	r->gbytes_per_s = median(samples->rate, samples->nr);
	r->cpu_s_per_gib = median(samples->cpu_gib, samples->nr);
	r->repeats = samples->nr;
}

void measure_stream(struct row *rows, unsigned int nr, unsigned int repeats,
		    double seconds)
{
	double *values = calloc((size_t)nr * repeats * 5, sizeof(*values));
	struct samples *samples = calloc(nr, sizeof(*samples));
	unsigned int i, j;
	int err;

	for (i = 0; values && samples && i < nr; i++) {
		double *v = values + (size_t)i * repeats * 5;

		samples[i] = (struct samples){
			.send = v, .total = v + repeats, .cpu = v + 2 * repeats,
			.rate = v + 3 * repeats, .cpu_gib = v + 4 * repeats,
		};
		stream_verify(&rows[i]);
	}
	for (j = 0; values && samples && j < repeats; j++) {
		for (i = 0; i < nr; i++) {
			if (!rows[i].verified || rows[i].note[0])
				continue;
			err = stream_once(&rows[i], &samples[i], seconds);
			if (err)
				row_note(&rows[i], "measuring", err);
		}
	}
	for (i = 0; i < nr; i++) {
		if (!values || !samples)
			row_note(&rows[i], "measuring", -ENOMEM);
		else if (samples[i].nr && !rows[i].note[0])
			stream_medians(&rows[i], &samples[i]);
	}
	free(values);
	free(samples);
}
