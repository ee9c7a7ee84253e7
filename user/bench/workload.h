/* SPDX-License-Identifier: GPL-2.0 */
/* Workloads of "fbuf compare": what programs do that send, each way to do it. */
#ifndef FBUF_WORKLOAD_H
#define FBUF_WORKLOAD_H

#include "compare.h"
#include "options.h"

/* What a workload is to be measured with; 0 in a number: its default. */
struct load_options {
	struct list sizes, consumers;
	unsigned int repeats;
	double seconds;
	bool quick;
};

/* A row in the making. Numbers that there are not are NAN. */
struct load_row {
	const char *workload, *method;
	size_t size;			/* bytes of what is handed over */
	unsigned int consumers, pieces;	/* or 0 */
	unsigned int repeats;
	bool verified;
	double send, total, min, max;	/* ns, medians; of total */
	double append;			/* ns, before the send */
	double p50, p99, p999;		/* ns */
	double large;			/* MiB a second of what else goes out */
	double copied;			/* bytes of one message */
	unsigned int engine;
	int sndbuf, rcvbuf;		/* bytes, as the kernel says */
	char note[NOTE_MAX];
};

/* Where the rows go. */
struct load_run {
	const struct load_options *o;
	const json_t *where;
	json_t *rows;
	json_t *buffers;	/* of the sockets, by workload */
};

#define LOAD_ROW_INIT(w, m)						\
	{ .workload = (w), .method = (m), .send = NAN, .total = NAN,	\
	  .min = NAN, .max = NAN, .append = NAN, .p50 = NAN,		\
	  .p99 = NAN, .p999 = NAN, .large = NAN, .copied = NAN }

/* Tell what is measured next, and keep what came of it. */
void load_progress(const struct load_row *r);
void load_add(struct load_run *run, const struct load_row *r);
/* What f did; if err is not 0, why there is no figure. */
void load_flow(struct load_row *r, const struct flow *f, int err);
/* The times of nr messages, which are sorted, as the row's. */
void load_times(struct load_row *r, double *send, double *total,
		unsigned int nr);

/* The names in a list, for messages and help. */
#define WORKLOADS	"log, queue, churn, pass, tail"

/* Into a mask of workload_run(); false after a message. */
bool workload_parse(char *arg, unsigned int *mask);
/* Rows are added to run->rows. */
void workload_run(unsigned int mask, struct load_run *run);
/* Print the rows of workloads, table by table. */
void workload_print(const json_t *rows);

void workload_log(struct load_run *run);
void workload_queue(struct load_run *run);
void workload_churn(struct load_run *run);
void workload_pass(struct load_run *run);
void workload_tail(struct load_run *run);

#endif /* FBUF_WORKLOAD_H */
