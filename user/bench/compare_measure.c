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
#define VERIFY_CALLS	2		/* before all others */
#define VERIFY_EVERY	8		/* of those that are dropped, one is not */
#define REAP_EVERY	16		/* sends, free running */
#define STALL_NS	200000000ULL	/* without progress: it would block */

/*
 * One message, sent and received in turns by this thread: as a rule one turn.
 * What is read has to be the message; that is not in the times. patient is how
 * long it may wait for the kernel to bring the bytes over, and whether it may
 * sleep meanwhile; that is not for what is timed.
 */
static int step(struct flow *f, bool read, bool patient, uint64_t *send,
		uint64_t *total)
{
	struct pollfd pfd = { .fd = f->rx, .events = POLLIN };
	int flags = MSG_DONTWAIT | (read ? 0 : MSG_TRUNC);
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
		m = flow_result(recv(f->rx, f->sink + got, f->size - got,
				     flags));
		f->calls++;
		t = now_ns();
		if (m < 0 && m != -EAGAIN)
			return m;
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
	if (read && !flow_check(f, f->seed, f->sink))
		return -EBADMSG;
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

static void row_changed(struct row *r)
{
	r->verified = false;
	snprintf(r->note, sizeof(r->note), "the data arrived changed");
}

/*
 * No message is like one before it in its place. Where many go round, those of
 * a round are written together: each is as cold as the source is big.
 */
static int lockstep_fresh(struct flow *f)
{
	uint64_t nr = f->source / f->stride, i;
	int err = 0;

	if (nr == 1 || f->method->rewrites)
		return flow_fresh(f);
	if (f->number < nr) {
		f->seed = f->number;
		return 0;
	}
	f->seed = FLOW_SEED + f->number;
	if (f->at)
		return 0;
	for (i = 0; !err && i < nr; i++, f->at += f->stride)
		err = flow_fill(f, f->seed + i);
	f->at = 0;
	return err;
}

static int lockstep_verify(struct row *r, struct flow *f)
{
	uint64_t send, total;
	int i, err = 0;

	for (i = 0; !err && i < VERIFY_CALLS; i++) {
		err = flow_fresh(f);
		if (!err)
			err = step(f, true, true, &send, &total);
	}
	r->verified = !err;
	return err;
}

/* The next message; if the row's are dropped, before some one that is read. */
static int lockstep_step(const struct row *r, struct flow *f, unsigned int i,
			 uint64_t *send, uint64_t *total)
{
	uint64_t calls = f->calls;
	int err = 0;

	if (!r->read && !(i % VERIFY_EVERY)) {
		err = lockstep_fresh(f);
		if (!err)
			err = step(f, true, false, send, total);
		f->calls = calls;
	}
	if (!err)
		err = lockstep_fresh(f);
	return err ? err : step(f, r->read, false, send, total);
}

static int lockstep_calls(struct row *r, struct flow *f, double *send,
			  double *total, unsigned int calls)
{
	uint64_t s, t;
	unsigned int i;
	int err;

	err = flow_warm_up(f);
	for (i = 0; !err && i < WARM_UP + calls; i++) {
		err = lockstep_step(r, f, i, &s, &t);
		if (i < WARM_UP) {
			f->calls = 0;
			continue;
		}
		send[i - WARM_UP] = s;
		total[i - WARM_UP] = t;
	}
	if (err)
		return err;
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
	r->sndbuf = f->sndbuf;
	r->rcvbuf = f->rcvbuf;
}

/* Why there is no figure. */
static void lockstep_note(struct row *r, int err)
{
	switch (err) {
	case 0:
		break;
	case -EBADMSG:
		row_changed(r);
		break;
	case -EINPROGRESS:
		snprintf(r->note, sizeof(r->note),
			 "goes to a worker thread: not measurable in lock step");
		break;
	case -ETIMEDOUT:
		snprintf(r->note, sizeof(r->note),
			 "would block: not measurable in lock step");
		break;
	default:
		row_note(r, r->verified ? "measuring" : "verifying", err);
	}
}

void measure_lockstep(struct row *r, unsigned int calls)
{
	double *send = calloc(calls, sizeof(*send));
	double *total = calloc(calls, sizeof(*total));
	struct flow f;
	int err;

	err = flow_open(&f, r->method, r->size, false);
	if (err) {
		memcpy(r->note, f.why, sizeof(r->note));
		goto free;
	}
	err = send && total ? lockstep_verify(r, &f) : -ENOMEM;
	f.punted = false;
	if (!err)
		err = lockstep_calls(r, &f, send, total, calls);
	row_flow(r, &f);
	flow_close(&f);
	lockstep_note(r, err);
free:
	free(send);
	free(total);
}

/*
 * One free run: a sender and a receiver, each in a thread. First and last, on the
 * same connection, come messages that are checked, one by one; what is between
 * them is timed.
 */
struct run {
	struct flow f;
	bool read;
	double seconds;
	sem_t checks_end;	/* the first: what is timed starts */
	sem_t arrived;		/* a message that is checked, or what is timed */
	uint64_t seed;		/* of the message on its way, to be checked */
	unsigned int checked, wrong;	/* messages */
	atomic_bool stop;
	atomic_uint_least64_t last;	/* bytes at whose end the timed part ends */
	uint64_t calls, start, sent, end;	/* end: ns, when all has arrived */
	uint64_t cpu;		/* ns, of the sender, */
	double cpu_all;		/* and s, of both */
	int err;
};

static int send_message(struct flow *f)
{
	size_t sent = 0;
	ssize_t n;

	f->seed = FLOW_SEED + f->number;
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

static void await(sem_t *sem)
{
	while (sem_wait(sem))
		;
}

/*
 * Messages like none before; else a method that sends an old one would pass. The
 * one before has arrived when the next is written.
 */
static int send_checked(struct run *run)
{
	struct flow *f = &run->f;
	unsigned int i;
	int err = 0;

	for (i = 0; !err && i < VERIFY_CALLS; i++) {
		err = flow_fresh(f);
		run->seed = f->seed;
		if (!err)
			err = send_message(f);
		if (!err)
			await(&run->arrived);
	}
	return err;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static uint64_t thread_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static int send_timed(struct run *run)
{
	double cpu_all = cpu_seconds();
	struct flow *f = &run->f;
	uint64_t cpu = thread_cpu();
	bool last;
	int err;

	run->start = now_ns();
	do {
		last = atomic_load_explicit(&run->stop, memory_order_relaxed);
		if (last)
			atomic_store(&run->last, (f->number + 1) * f->size);
		err = send_message(f);
		if (err)
			return err;
		run->calls++;
		if (f->method->reap && !(run->calls % REAP_EVERY))
			f->method->reap(f);
	} while (!last);
	run->sent = now_ns();
	run->cpu = thread_cpu() - cpu;
	await(&run->arrived);
	run->cpu_all = cpu_seconds() - cpu_all;
	return 0;
}

static void *sender(void *arg)
{
	struct run *run = arg;

	run->err = send_checked(run);
	sem_post(&run->checks_end);
	if (!run->err)
		run->err = send_timed(run);
	if (!run->err)
		run->err = send_checked(run);
	shutdown(run->f.tx, SHUT_WR);
	return NULL;
}

/* Returns 0 at the end of the stream, or when it breaks. */
static ssize_t receive(struct flow *f, size_t at, size_t len, int flags)
{
	ssize_t n;

	do {
		n = flow_result(recv(f->rx, f->sink + at, len, flags));
	} while (n == -EINTR);
	return n < 0 ? 0 : n;
}

static bool receive_checked(struct run *run)
{
	struct flow *f = &run->f;
	unsigned int i;
	size_t got;
	ssize_t n;

	for (i = 0; i < VERIFY_CALLS; i++) {
		for (got = 0; got < f->size; got += n) {
			n = receive(f, got, f->size - got, 0);
			if (!n)
				return false;
		}
		run->checked++;
		run->wrong += !flow_check(f, run->seed, f->sink);
		sem_post(&run->arrived);
	}
	return true;
}

static bool receive_timed(struct run *run)
{
	uint64_t got = VERIFY_CALLS * run->f.size;
	int flags = run->read ? 0 : MSG_TRUNC;
	ssize_t n;

	do {
		n = receive(&run->f, 0, SINK_SIZE, flags);
		got += n;
	} while (n && got < atomic_load(&run->last));
	run->end = now_ns();
	sem_post(&run->arrived);
	return n;
}

static void *receiver(void *arg)
{
	struct run *run = arg;
	unsigned int i;

	if (receive_checked(run) && receive_timed(run))
		receive_checked(run);
	while (receive(&run->f, 0, SINK_SIZE, MSG_TRUNC))
		;
	/* Nothing more to wait for. */
	for (i = 0; i < 2 * VERIFY_CALLS + 1; i++)
		sem_post(&run->arrived);
	return NULL;
}

static int run_threads(struct run *run)
{
	struct timespec ts = {
		.tv_sec = run->seconds,
		.tv_nsec = (run->seconds - (time_t)run->seconds) * 1e9,
	};
	pthread_t tx, rx;
	int err;

	sem_init(&run->checks_end, 0, 0);
	sem_init(&run->arrived, 0, 0);
	atomic_store(&run->last, UINT64_MAX);
	err = pthread_create(&rx, NULL, receiver, run);
	if (err)
		return -err;
	err = pthread_create(&tx, NULL, sender, run);
	if (err) {
		shutdown(run->f.tx, SHUT_WR);
	} else {
		await(&run->checks_end);
		nanosleep(&ts, NULL);
		atomic_store(&run->stop, true);
		pthread_join(tx, NULL);
	}
	pthread_join(rx, NULL);
	sem_destroy(&run->checks_end);
	sem_destroy(&run->arrived);
	return err ? -err : run->err;
}

/* What the repetitions of one row gave. */
struct samples {
	double *send, *total, *cpu, *rate, *cpu_gib;
	unsigned int nr;
};

static void stream_once(struct row *r, struct samples *samples, double seconds)
{
	struct run run = { .read = r->read, .seconds = seconds };
	unsigned int i = samples->nr;
	double bytes, ns;
	int err;

	err = flow_open(&run.f, r->method, r->size, true);
	if (err) {
		memcpy(r->note, run.f.why, sizeof(r->note));
		return;
	}
	err = run_threads(&run);
	row_flow(r, &run.f);
	flow_close(&run.f);
	r->verified = run.checked >= VERIFY_CALLS;
	if (run.wrong)
		row_changed(r);
	else if (err)
		row_note(r, r->verified ? "measuring" : "verifying", err);
	else if (run.checked != 2 * VERIFY_CALLS)
		row_note(r, "measuring", -EPIPE);
	if (r->note[0])
		return;
	ns = run.end - run.start;
	bytes = (double)run.calls * r->size;
	samples->send[i] = (double)(run.sent - run.start) / run.calls;
	samples->total[i] = ns / run.calls;
	samples->cpu[i] = (double)run.cpu / run.calls;
	samples->rate[i] = bytes / ns;
	samples->cpu_gib[i] = run.cpu_all / bytes * (1 << 30);
	samples->nr++;
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

	for (i = 0; values && samples && i < nr; i++) {
		double *v = values + (size_t)i * repeats * 5;

		samples[i] = (struct samples){
			.send = v, .total = v + repeats, .cpu = v + 2 * repeats,
			.rate = v + 3 * repeats, .cpu_gib = v + 4 * repeats,
		};
	}
	for (j = 0; values && samples && j < repeats; j++) {
		for (i = 0; i < nr; i++) {
			if (!rows[i].note[0])
				stream_once(&rows[i], &samples[i], seconds);
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
